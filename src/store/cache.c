#include "store/cache.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/mem.h"

enum entry_state {
    ENTRY_VALUE,
    ENTRY_ABSENT,
    ENTRY_RESERVED,
};

struct entry {
    struct entry *next; /* in its bucket */
    struct list link;   /* in the queue, or in limbo */
    uint64_t hash, ticket;
    uint32_t key_size, value_size;
    uint8_t state;
    bool hit;        /* since it last came to the back of the queue */
    uint8_t bytes[]; /* key, value */
};

struct space_cache {
    struct entry **bucket; /* NULL until the first entry */
    size_t mask, count;
    struct list queue;
    struct list limbo; /* evicted or forgotten this turn, perhaps still borrowed */
    size_t bytes, bytes_max;
    uint64_t ticket, hits, misses;
};

struct space_cache *space_cache_new(size_t bytes_max)
{
    struct space_cache *c = mem_zalloc(sizeof *c);
    list_init(&c->queue);
    list_init(&c->limbo);
    c->bytes_max = bytes_max;
    return c;
}

static void entries_free(struct list *head)
{
    struct list *link;
    while ((link = list_pop(head))) mem_free(LIST_OF(link, struct entry, link));
}

void space_cache_turn(struct space_cache *c)
{
    entries_free(&c->limbo);
}

void space_cache_free(struct space_cache *c)
{
    if (!c) return;
    entries_free(&c->limbo);
    entries_free(&c->queue);
    mem_free(c->bucket);
    mem_free(c);
}

static struct bytes entry_key(const struct entry *e)
{
    return (struct bytes){e->bytes, e->key_size};
}

static struct bytes entry_value(const struct entry *e)
{
    return (struct bytes){e->bytes + e->key_size, e->value_size};
}

static size_t entry_size(const struct entry *e)
{
    return sizeof *e + e->key_size + e->value_size + sizeof(struct entry *); /* and its bucket */
}

static struct entry *entry_new(struct bytes key, struct bytes value, enum entry_state state)
{
    ASSERT(key.size <= UINT32_MAX && value.size <= UINT32_MAX);
    struct entry *e = mem_alloc(sizeof *e + key.size + value.size);
    *e = (struct entry){.hash = hash64(key, 0),
                        .key_size = (uint32_t)key.size,
                        .value_size = (uint32_t)value.size,
                        .state = (uint8_t)state};
    if (key.size) memcpy(e->bytes, key.data, key.size);
    if (value.size) memcpy(e->bytes + key.size, value.data, value.size);
    return e;
}

/* ---- the hash table ---- */

/* Where the pointer to the entry is, or would be put. */
static struct entry **entry_find(struct space_cache *c, struct bytes key, uint64_t hash)
{
    struct entry **at = &c->bucket[hash & c->mask];
    while (*at && ((*at)->hash != hash || !bytes_equal(entry_key(*at), key))) at = &(*at)->next;
    return at;
}

static void buckets_grow(struct space_cache *c)
{
    size_t size = c->bucket ? (c->mask + 1) * 2 : 64;
    struct entry **bucket = mem_zalloc(size * sizeof *bucket);
    mem_free(c->bucket);
    c->bucket = bucket;
    c->mask = size - 1;
    for (struct list *l = c->queue.next; l != &c->queue; l = l->next) {
        struct entry *e = LIST_OF(l, struct entry, link);
        e->next = bucket[e->hash & c->mask];
        bucket[e->hash & c->mask] = e;
    }
}

static void entry_unlink(struct space_cache *c, struct entry **at)
{
    struct entry *e = *at;
    *at = e->next;
    list_remove(&e->link);
    list_push(&c->limbo, &e->link);
    ASSERT(c->count > 0 && c->bytes >= entry_size(e));
    c->count--;
    c->bytes -= entry_size(e);
}

static void evict(struct space_cache *c)
{
    while (c->bytes > c->bytes_max) {
        ASSERT(!list_empty(&c->queue));
        struct entry *e = LIST_OF(c->queue.next, struct entry, link);
        if (e->hit) {
            e->hit = false;
            list_remove(&e->link);
            list_push(&c->queue, &e->link);
            continue;
        }
        struct entry **at = &c->bucket[e->hash & c->mask];
        while (*at != e) at = &(*at)->next;
        entry_unlink(c, at);
    }
}

/* Links the entry in place of an older one of its key; one that would push out half of all others
 * goes to limbo at once. */
static void entry_link(struct space_cache *c, struct entry *e)
{
    cache_forget(c, entry_key(e));
    if (entry_size(e) > c->bytes_max / 2) {
        list_push(&c->limbo, &e->link);
        return;
    }
    if (!c->bucket || c->count > c->mask) buckets_grow(c);
    e->next = c->bucket[e->hash & c->mask];
    c->bucket[e->hash & c->mask] = e;
    list_push(&c->queue, &e->link);
    c->count++;
    c->bytes += entry_size(e);
    evict(c);
}

/* ---- what spaces call ---- */

enum cache_found cache_get(struct space_cache *c, struct bytes key, struct bytes *value)
{
    struct entry *e = c->count ? *entry_find(c, key, hash64(key, 0)) : NULL;
    if (!e || e->state == ENTRY_RESERVED) {
        c->misses++;
        return CACHE_NONE;
    }
    c->hits++;
    e->hit = true;
    if (e->state == ENTRY_ABSENT) return CACHE_ABSENT;
    *value = entry_value(e);
    return CACHE_VALUE;
}

struct bytes cache_fill(struct space_cache *c, struct bytes key, struct bytes value, bool absent)
{
    struct entry *e = entry_new(key, value, absent ? ENTRY_ABSENT : ENTRY_VALUE);
    entry_link(c, e);
    return entry_value(e); /* in the queue or in limbo: valid for this turn */
}

void cache_forget(struct space_cache *c, struct bytes key)
{
    if (c->count == 0) return;
    struct entry **at = entry_find(c, key, hash64(key, 0));
    if (*at) entry_unlink(c, at);
}

void cache_forget_range(struct space_cache *c, struct bytes lo, struct bytes hi)
{
    for (size_t i = 0; c->count && i <= c->mask; i++) {
        for (struct entry **at = &c->bucket[i]; *at;) {
            struct bytes key = entry_key(*at);
            if (bytes_compare(lo, key) <= 0 && bytes_compare(key, hi) < 0)
                entry_unlink(c, at);
            else
                at = &(*at)->next;
        }
    }
}

void space_cache_forget(struct space_cache *c, struct bytes lo, struct bytes hi)
{
    cache_forget_range(c, lo, hi);
}

uint64_t cache_reserve(struct space_cache *c, struct bytes key)
{
    struct entry *e = c->count ? *entry_find(c, key, hash64(key, 0)) : NULL;
    if (e)
        return e->state == ENTRY_RESERVED ? e->ticket : 0; /* what others fetched meanwhile stays */
    e = entry_new(key, (struct bytes){0}, ENTRY_RESERVED);
    uint64_t ticket = e->ticket = ++c->ticket;
    entry_link(c, e);
    return ticket;
}

void cache_fill_reserved(struct space_cache *c, uint64_t ticket, struct bytes key,
                         struct bytes value, bool absent)
{
    if (c->count == 0) return;
    struct entry *e = *entry_find(c, key, hash64(key, 0));
    if (e && e->state == ENTRY_RESERVED && e->ticket == ticket)
        (void)cache_fill(c, key, value, absent);
}

void space_cache_stats(const struct space_cache *c, struct space_cache_stats *out)
{
    *out = (struct space_cache_stats){
        .hits = c->hits, .misses = c->misses, .entries = c->count, .bytes = c->bytes};
}
