/* Which keys a transaction over several groups has, in which mode it needs them, and in which
 * groups they are. */
#include "base/mem.h"
#include "node/txn.h"
#include "redis/multi.h"
#include "redis/once.h"

#include <stdlib.h>

struct planning {
    struct transaction *t;
    uint32_t capacity;
    enum lock_mode mode;
};

static void plan_key(void *ctx, struct bytes key)
{
    struct planning *p = ctx;
    struct transaction *t = p->t;
    if (t->items == p->capacity) {
        p->capacity = p->capacity ? 2 * p->capacity : 16;
        t->item = mem_realloc(t->item, p->capacity * sizeof *t->item);
    }
    t->item[t->items++] = (struct item){.key = key, .mode = (uint8_t)p->mode};
}

static void plan_command(void *ctx, const struct command *c, const struct cmd_args *a)
{
    struct planning *p = ctx;
    p->mode = txn_mode(c);
    (void)command_keys(c, a, plan_key, p);
}

static int item_order(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    int c = (x->mode == LOCK_RECORD) - (y->mode == LOCK_RECORD);
    if (!c) c = bytes_compare(x->key, y->key);
    return c ? c : (int)y->mode - (int)x->mode;
}

/* Each key once, in the stronger mode; behind them the token. */
static void plan_sort(struct transaction *t)
{
    uint32_t kept = 0;
    qsort(t->item, t->items, sizeof *t->item, item_order);
    for (uint32_t i = 0; i < t->items; i++)
        if (i == 0 || t->item[i].mode == LOCK_RECORD ||
            !bytes_equal(t->item[i].key, t->item[kept - 1].key))
            t->item[kept++] = t->item[i];
    t->items = kept;
}

uint32_t transaction_part_of(const struct transaction *t, uint32_t group)
{
    uint32_t i = 0;
    while (i < t->parts && t->part[i].group != group) i++;
    return i;
}

static void plan_parts(struct transaction *t)
{
    struct node *n = t->node;
    uint32_t *index = mem_zalloc(n->group_count * sizeof *index); /* part + 1 */
    t->part = mem_zalloc(n->group_count * sizeof *t->part);
    for (uint32_t i = 0; i < t->items; i++) {
        uint32_t group = n->slot_group[txn_slot(t->item[i].mode, t->item[i].key)];
        if (!index[group]) {
            t->part[t->parts].group = group;
            index[group] = ++t->parts;
        }
        t->item[i].part = index[group] - 1;
    }
    mem_free(index);
    t->part = mem_realloc(t->part, t->parts * sizeof *t->part);
    t->state = mem_zalloc(t->parts * sizeof *t->state);
}

struct item *transaction_item_of(const struct transaction *t, struct bytes key)
{
    uint32_t lo = 0, hi = t->items;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = t->item[mid].mode == LOCK_RECORD ? 1 : bytes_compare(t->item[mid].key, key);
        if (c == 0) return &t->item[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static void plan_watch(void *ctx, struct bytes key, struct bytes watch)
{
    struct transaction *t = ctx;
    const struct item *item = transaction_item_of(t, key);
    if (item) buf_append_bytes(&t->part[item->part].watches, watch);
}

static void plan_keys(struct planning *p, const struct command *c, const struct cmd_args *a)
{
    if (c->fn == multi_exec) {
        multi_commands(a, plan_command, p);
        p->mode = LOCK_SHARED;
        (void)multi_watched_keys(a->v[2], plan_key, p);
    } else {
        plan_command(p, c, a);
    }
}

void transaction_plan(struct transaction *t)
{
    const struct request *r = t->r;
    struct planning p = {.t = t};
    struct cmd_args a;
    const struct command *c = once_request(r->command, &r->args, &a);
    if (!t->nil) plan_keys(&p, c, &a);
    p.mode = LOCK_RECORD;
    if (once_row(r->command, &r->args, &t->token)) plan_key(&p, buf_bytes(&t->token));
    plan_sort(t);
    plan_parts(t);
    if (c->fn == multi_exec && !t->nil) multi_watched_each(a.v[2], plan_watch, t);
    t->free_of_room = !(r->command->flags & CMD_DENYOOM);
}

void transaction_put_items(struct transaction *t, uint32_t i)
{
    struct buf *out = &t->part[i].items;
    buf_clear(out);
    for (uint32_t k = 0; k < t->items; k++)
        if (t->item[k].part == i)
            locks_put_item(out, (enum lock_mode)t->item[k].mode, t->item[k].key);
}
