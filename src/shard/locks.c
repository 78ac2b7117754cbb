#include "shard/locks.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/mutant.h"

#define BUCKETS_MIN 16u

/* The strongest mode in which an owner has a key: there is one for each of the two. */
struct lock {
    struct lock *chain; /* in its bucket */
    struct lock *next;  /* of its owner */
    struct lock_owner *owner;
    uint64_t hash; /* of the key */
    size_t size;
    uint8_t mode;
    uint8_t key[];
};

struct item {
    enum lock_mode mode;
    struct bytes key;
    uint64_t hash;
};

/* ---- items ---- */

static struct item item_of(enum lock_mode mode, struct bytes key)
{
    return (struct item){mode, key, hash64(key, 0)};
}

static bool item_next(struct reader *r, struct item *i)
{
    if (!reader_left(r)) return false;
    enum lock_mode mode = reader_u8(r);
    *i = item_of(mode, reader_blob(r));
    return true;
}

bool locks_items_sound(struct bytes items)
{
    struct reader r = reader_of(items);
    while (reader_left(&r)) {
        uint8_t mode = reader_u8(&r);
        struct bytes key = reader_blob(&r);
        if (r.bad || mode > LOCK_RECORD || (mode == LOCK_RECORD && key.size < 2)) return false;
    }
    return true;
}

void locks_put_item(struct buf *out, enum lock_mode mode, struct bytes key)
{
    buf_u8(out, (uint8_t)mode);
    buf_blob(out, key);
}

void locks_items(struct bytes items, void (*each)(void *ctx, enum lock_mode mode, struct bytes key),
                 void *ctx)
{
    struct reader r = reader_of(items);
    for (struct item i; item_next(&r, &i);) each(ctx, i.mode, i.key);
}

/* ---- owners ---- */

static uint64_t id_hash(struct txn_id t)
{
    return hash_mix(t.who) ^ t.seq;
}

struct lock_owner *locks_find(const struct locks *l, struct txn_id id)
{
    struct lock_owner *o = map_get(&l->ids, id_hash(id));
    while (o && !txn_equal(o->id, id)) o = o->same;
    return o;
}

static bool older(const struct lock_owner *a, const struct lock_owner *b)
{
    if (a->start != b->start) return a->start < b->start;
    if (a->id.who != b->id.who) return a->id.who < b->id.who;
    return a->id.seq < b->id.seq;
}

static struct lock_owner *owner_begin(struct locks *l, struct txn_id id, uint64_t start,
                                      enum lock_state state)
{
    struct lock_owner *o = mem_zalloc(sizeof *o);
    *o = (struct lock_owner){
        .id = id, .start = start, .token = ++l->tokens, .state = (uint8_t)state};
    o->previous = l->last;
    *(l->last ? &l->last->next : &l->first) = o;
    l->last = o;
    l->owners++;
    o->same = map_get(&l->ids, id_hash(id));
    map_put(&l->ids, id_hash(id), o);
    return o;
}

static void owner_unname(struct locks *l, struct lock_owner *o)
{
    uint64_t hash = id_hash(o->id);
    struct lock_owner *head = map_remove(&l->ids, hash), **at = &head;
    while (*at != o) at = &(*at)->same;
    *at = o->same;
    if (head) map_put(&l->ids, hash, head);
}

static void owner_record(struct lock_owner *o, struct bytes record)
{
    void *copy = mem_dup(record.data, record.size); /* record may be a part of the old one */
    mem_free((void *)o->record.data);
    o->record = bytes_of(copy, record.size);
}

/* ---- locks ---- */

static struct lock **bucket_of(const struct locks *l, uint64_t hash)
{
    return &l->bucket[hash & l->mask];
}

/* The first of the item's key, or the one that follows `after`. */
static struct lock *lock_next(const struct locks *l, const struct item *i, const struct lock *after)
{
    if (!l->held) return NULL;
    struct lock *k = after ? after->chain : *bucket_of(l, i->hash);
    while (k && (k->hash != i->hash || !bytes_equal(bytes_of(k->key, k->size), i->key)))
        k = k->chain;
    return k;
}

static bool agree(uint8_t held, enum lock_mode asked)
{
    return held == LOCK_SHARED && (asked == LOCK_SHARED || MUTANT(MUTANT_TXN_SHARED));
}

/* As lock_next, of those that keep o (NULL: a newcomer) from having the item. */
static struct lock *conflict(const struct locks *l, const struct item *i,
                             const struct lock_owner *o, const struct lock *after)
{
    struct lock *k = lock_next(l, i, after);
    while (k && (k->owner == o || agree(k->mode, i->mode))) k = lock_next(l, i, k);
    return k;
}

static struct lock *lock_of(const struct locks *l, const struct item *i, const struct lock_owner *o)
{
    struct lock *k = lock_next(l, i, NULL);
    while (k && k->owner != o) k = lock_next(l, i, k);
    return k;
}

static void lock_link(struct locks *l, struct lock *k)
{
    struct lock **bucket = bucket_of(l, k->hash);
    k->chain = *bucket;
    *bucket = k;
}

static void grow(struct locks *l)
{
    struct lock **old = l->bucket;
    uint32_t count = old ? l->mask + 1 : 0;

    l->mask = old ? 2 * count - 1 : BUCKETS_MIN - 1;
    l->bucket = mem_zalloc((l->mask + 1) * sizeof(struct lock *));
    for (uint32_t b = 0; b < count; b++)
        for (struct lock *k = old[b], *next; k; k = next) {
            next = k->chain;
            lock_link(l, k);
        }
    mem_free(old);
}

static void hold(struct locks *l, struct lock_owner *o, const struct item *i)
{
    struct lock *k = lock_of(l, i, o);
    if (k) {
        if (i->mode > k->mode) k->mode = (uint8_t)i->mode;
        return;
    }
    if (!l->bucket || l->held > l->mask) grow(l);
    k = mem_alloc(sizeof *k + i->key.size);
    *k = (struct lock){.next = o->locks, .owner = o, .hash = i->hash, .size = i->key.size};
    k->mode = (uint8_t)i->mode;
    if (i->key.size) memcpy(k->key, i->key.data, i->key.size);
    o->locks = k;
    l->held++;
    lock_link(l, k);
}

static void let_go(struct locks *l, struct lock_owner *o)
{
    for (struct lock *k = o->locks, *next; k; k = next) {
        next = k->next;
        struct lock **at = bucket_of(l, k->hash);
        while (*at != k) at = &(*at)->chain;
        *at = k->chain;
        mem_free(k);
        l->held--;
    }
    o->locks = NULL;
}

/* ---- what owners do ---- */

enum locks_result locks_take(struct locks *l, struct txn_id id, uint64_t start, struct bytes items,
                             uint64_t now)
{
    struct lock_owner *o = locks_find(l, id);
    const struct lock_owner asks = {.id = id, .start = o ? o->start : start};
    struct reader r = reader_of(items);

    ASSERT(!o || o->state == LOCK_OPEN);
    for (struct item i; item_next(&r, &i);)
        for (struct lock *k = NULL; (k = conflict(l, &i, o, k));)
            if (k->owner->state != LOCK_OPEN || older(k->owner, &asks)) return LOCKS_WAIT;

    if (!o) o = owner_begin(l, id, start, LOCK_OPEN);
    o->at = now;
    r = reader_of(items);
    for (struct item i; item_next(&r, &i);) {
        for (struct lock *k; (k = conflict(l, &i, o, NULL));) locks_drop(l, k->owner);
        hold(l, o, &i);
    }
    return LOCKS_TAKEN;
}

struct lock_owner *locks_restore(struct locks *l, struct txn_id id, uint64_t start,
                                 enum lock_state state, struct bytes items, struct bytes record,
                                 uint64_t now)
{
    ASSERT(!locks_find(l, id));
    ASSERT(state == LOCK_PREPARED || (state == LOCK_DECIDED && !items.size));
    struct lock_owner *o = owner_begin(l, id, start, state);
    struct reader r = reader_of(items);
    for (struct item i; item_next(&r, &i);) {
        ASSERT(!conflict(l, &i, o, NULL));
        hold(l, o, &i);
    }
    owner_record(o, record);
    o->at = now;
    return o;
}

void locks_advance(struct locks *l, struct lock_owner *o, enum lock_state state,
                   struct bytes record, uint64_t now)
{
    ASSERT(state <= LOCK_DECIDED && (int)state == o->state + 1);
    owner_record(o, record);
    o->state = (uint8_t)state;
    o->at = now;
    if (state == LOCK_DECIDED || MUTANT(MUTANT_TXN_BARE)) let_go(l, o);
}

void locks_drop(struct locks *l, struct lock_owner *o)
{
    let_go(l, o);
    owner_unname(l, o);
    *(o->previous ? &o->previous->next : &l->first) = o->next;
    *(o->next ? &o->next->previous : &l->last) = o->previous;
    l->owners--;
    mem_free((void *)o->record.data);
    mem_free(o);
}

bool locks_bar(const struct locks *l, struct bytes key, enum lock_mode mode)
{
    if (!l->held) return false; /* as nearly always: no hash is needed */
    struct item i = item_of(mode, key);
    return conflict(l, &i, NULL, NULL);
}

/* Tokens go on: what was addressed to an owner of the last leadership meets none of the next. */
void locks_clear(struct locks *l)
{
    while (l->first) locks_drop(l, l->first);
    map_deinit(&l->ids);
    mem_free(l->bucket);
    *l = (struct locks){.tokens = l->tokens};
}

static uint32_t owner_check(const struct locks *l, const struct lock_owner *o)
{
    uint32_t held = 0;
    ASSERT(locks_find(l, o->id) == o);
    ASSERT(o->token > (o->previous ? o->previous->token : 0) && o->token <= l->tokens);
    ASSERT(o->state != LOCK_OPEN ? o->record.data != NULL : o->record.data == NULL);
    ASSERT(o->state < LOCK_DECIDED || (o->state == LOCK_DECIDED && !o->locks));
    for (const struct lock *k = o->locks; k; k = k->next, held++) {
        struct item i = item_of(k->mode, bytes_of(k->key, k->size));
        ASSERT(k->owner == o && k->mode <= LOCK_RECORD && k->hash == i.hash);
        ASSERT(lock_of(l, &i, o) == k); /* it is found, and the only one */
        ASSERT(!conflict(l, &i, o, NULL));
    }
    return held;
}

void locks_check(const struct locks *l)
{
    const struct lock_owner *last = NULL;
    uint32_t owners = 0, held = 0, chained = 0;
    for (const struct lock_owner *o = l->first; o; last = o, o = o->next, owners++) {
        ASSERT(o->previous == last);
        held += owner_check(l, o);
    }
    for (uint32_t b = 0; l->bucket && b <= l->mask; b++)
        for (const struct lock *k = l->bucket[b]; k; k = k->chain) chained++;
    ASSERT(l->last == last && l->owners == owners && l->ids.count <= owners);
    ASSERT((l->mask & (l->mask + 1)) == 0);
    ASSERT(l->held == held && chained == held && held <= (l->bucket ? l->mask + 1 : 0));
}
