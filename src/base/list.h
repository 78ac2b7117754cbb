/* An intrusive doubly linked ring. The head is a link whose neighbours are the first and the last.
 * Pure. */
#ifndef SYNOD_BASE_LIST_H
#define SYNOD_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define LIST_OF(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list *head)
{
    head->next = head->prev = head;
}
static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}
static inline void list_push(struct list *head, struct list *link) /* at the back */
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}
static inline void list_push_front(struct list *head, struct list *link)
{
    list_push(head->next, link); /* before the first */
}
static inline void
list_remove(struct list *link) /* leaves the link pointing at itself: removing again is harmless */
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = link->prev = link;
}
static inline struct list *list_pop(struct list *head) /* NULL when empty */
{
    struct list *link = head->next;
    if (link == head) return NULL;
    list_remove(link);
    return link;
}

#endif
