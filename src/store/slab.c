#include "store/slab.h"

#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

#define CHUNK_FIRST 4096u /* an idle group costs little */
#define CHUNK_MAX   (256u << 10)

struct slab_chunk {
    struct slab_chunk *next;
};

struct slab_big {
    struct list link;
    size_t size;
};

void slab_init(struct slab *s)
{
    *s = (struct slab){0};
    list_init(&s->big);
}

void slab_deinit(struct slab *s)
{
    while (s->chunks) {
        struct slab_chunk *c = s->chunks;
        s->chunks = c->next;
        mem_free(c);
    }
    struct list *link;
    while ((link = list_pop(&s->big))) mem_free(LIST_OF(link, struct slab_big, link));
    *s = (struct slab){0};
}

/* Class of a size in 1 ... SLAB_SMALL_MAX, and the room of that class. */
static size_t slab_class(size_t size, size_t *room)
{
    if (size <= 512) {
        size_t class = size ? (size - 1) / 8 : 0;
        *room = (class + 1) * 8;
        return class;
    }
    unsigned doubling =
        63u - (unsigned)__builtin_clzll((unsigned long long)size -
                                        1); /* 2^doubling < size <= 2^(doubling+1) */
    size_t step = (size_t)1 << (doubling - 2);
    size_t quarter = (size - 1 - ((size_t)1 << doubling)) / step;
    *room = ((size_t)1 << doubling) + (quarter + 1) * step;
    return 64 + (doubling - 9) * 4u + quarter;
}

size_t slab_room(size_t size)
{
    size_t room;
    if (size > SLAB_SMALL_MAX) return size;
    (void)slab_class(size, &room);
    return room;
}

static void slab_grow(struct slab *s)
{
    s->chunk_bytes = s->chunk_bytes ? s->chunk_bytes * 2 : CHUNK_FIRST;
    if (s->chunk_bytes > CHUNK_MAX) s->chunk_bytes = CHUNK_MAX;
    struct slab_chunk *c = mem_alloc(s->chunk_bytes);
    c->next = s->chunks;
    s->chunks = c;
    s->at = (uint8_t *)(c + 1);
    s->end = (uint8_t *)c + s->chunk_bytes;
    s->bytes += s->chunk_bytes;
    if (s->free) return;
    s->free = memset(s->at, 0, SLAB_CLASSES * sizeof *s->free);
    s->at += SLAB_CLASSES * sizeof *s->free;
}

static void *slab_alloc_big(struct slab *s, size_t size)
{
    struct slab_big *b = mem_alloc(sizeof *b + size);
    b->size = size;
    list_push(&s->big, &b->link);
    s->bytes += sizeof *b + size;
    return b + 1;
}

void *slab_alloc(struct slab *s, size_t size)
{
    if (size > SLAB_SMALL_MAX) return slab_alloc_big(s, size);

    size_t room, class = slab_class(size, &room);
    void *block = s->free ? s->free[class] : NULL;
    if (block) {
        memcpy(&s->free[class], block, sizeof(void *));
        return block;
    }
    while ((size_t)(s->end - s->at) < room) slab_grow(s); /* the first chunk may be too small */
    block = s->at;
    s->at += room;
    return block;
}

void slab_free(struct slab *s, void *block, size_t size)
{
    if (size > SLAB_SMALL_MAX) {
        struct slab_big *b = (struct slab_big *)block - 1;
        ASSERT(b->size == size);
        list_remove(&b->link);
        s->bytes -= sizeof *b + size;
        mem_free(b);
        return;
    }
    size_t room, class = slab_class(size, &room);
    memcpy(block, &s->free[class], sizeof(void *));
    s->free[class] = block;
}
