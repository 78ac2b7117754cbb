/* Locks: each rule alone, and all of them against a naive twin. */
#include "test.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/prng.h"
#include "shard/locks.h"

/* ---- the rules ---- */

/* A transaction that began at n, and what it does; items are written "+a -b": a exclusively, b
 * shared. */
static struct txn_id txn(uint64_t n)
{
    return (struct txn_id){1, n};
}

static void put_items(struct buf *out, const char *text)
{
    for (; *text; text += text[2] ? 3 : 2)
        locks_put_item(out, *text == '+' ? LOCK_EXCLUSIVE : LOCK_SHARED, bytes_of(text + 1, 1));
}

static enum locks_result take(struct locks *l, uint64_t n, const char *text)
{
    struct buf items = {0};
    put_items(&items, text);
    enum locks_result result = locks_take(l, txn(n), n, buf_bytes(&items), 0);
    buf_deinit(&items);
    locks_check(l);
    return result;
}

static void advance(struct locks *l, uint64_t n, enum lock_state state)
{
    locks_advance(l, locks_find(l, txn(n)), state, BYTES("record"), 0);
    locks_check(l);
}

TEST(a_key_is_shared_by_readers_and_a_writers_alone)
{
    struct locks l = {0};
    assert_false(locks_bar(&l, BYTES("a"), LOCK_EXCLUSIVE));
    assert_int_equal(take(&l, 1, "-a"), LOCKS_TAKEN);
    assert_int_equal(take(&l, 2, "-a"), LOCKS_TAKEN);
    assert_int_equal(take(&l, 3, "+a"), LOCKS_WAIT);
    assert_false(locks_bar(&l, BYTES("a"), LOCK_SHARED));
    assert_true(locks_bar(&l, BYTES("a"), LOCK_EXCLUSIVE));
    assert_int_equal(take(&l, 1, "+b"), LOCKS_TAKEN);
    assert_int_equal(take(&l, 2, "-b"), LOCKS_WAIT);
    assert_true(locks_bar(&l, BYTES("b"), LOCK_SHARED));
    locks_clear(&l);
}

TEST(an_open_owner_that_began_later_loses_all_it_has)
{
    struct locks l = {0};
    assert_int_equal(take(&l, 5, "-a -b"), LOCKS_TAKEN);
    assert_int_equal(take(&l, 6, "-a +c"), LOCKS_TAKEN);
    assert_int_equal(take(&l, 4, "+a"), LOCKS_TAKEN);
    assert_null(locks_find(&l, txn(5)));
    assert_null(locks_find(&l, txn(6)));
    assert_false(locks_bar(&l, BYTES("c"), LOCK_SHARED));
    assert_int_equal(l.held, 1);
    locks_clear(&l);
}

TEST(of_two_that_began_together_the_id_tells_the_older)
{
    struct locks l = {0};
    struct buf items = {0};
    put_items(&items, "+a");
    struct txn_id low = {1, 9}, high = {2, 1};
    assert_int_equal(locks_take(&l, high, 7, buf_bytes(&items), 0), LOCKS_TAKEN);
    assert_int_equal(locks_take(&l, low, 7, buf_bytes(&items), 0), LOCKS_TAKEN);
    assert_null(locks_find(&l, high));
    assert_int_equal(locks_take(&l, high, 7, buf_bytes(&items), 0), LOCKS_WAIT);
    buf_deinit(&items);
    locks_clear(&l);
}

TEST(a_prepared_owner_is_waited_for_by_whoever_began_earlier)
{
    struct locks l = {0};
    assert_int_equal(take(&l, 5, "+a"), LOCKS_TAKEN);
    advance(&l, 5, LOCK_PREPARED);
    assert_int_equal(take(&l, 1, "-a"), LOCKS_WAIT);
    EXPECT_BYTES(locks_find(&l, txn(5))->record, "record");
    locks_clear(&l);
}

TEST(a_decided_owner_stays_but_its_keys_are_free)
{
    struct locks l = {0};
    assert_int_equal(take(&l, 5, "+a -b"), LOCKS_TAKEN);
    advance(&l, 5, LOCK_PREPARED);
    advance(&l, 5, LOCK_DECIDED);
    assert_int_equal(l.held, 0);
    assert_int_equal(take(&l, 6, "+a +b"), LOCKS_TAKEN);
    assert_int_equal(locks_find(&l, txn(5))->state, LOCK_DECIDED);
    locks_clear(&l);
}

TEST(who_waits_takes_nothing_and_drops_nobody)
{
    struct locks l = {0};
    assert_int_equal(take(&l, 1, "-b"), LOCKS_TAKEN);
    assert_int_equal(take(&l, 9, "+a"), LOCKS_TAKEN);
    uint64_t tokens = l.tokens;
    assert_int_equal(take(&l, 5, "+c +a +b"), LOCKS_WAIT); /* a is to be had, b is not */
    assert_non_null(locks_find(&l, txn(9)));
    assert_null(locks_find(&l, txn(5)));
    assert_false(locks_bar(&l, BYTES("c"), LOCK_EXCLUSIVE));
    assert_int_equal(l.tokens, tokens);
    locks_clear(&l);
}

TEST(a_shared_key_becomes_exclusive_if_no_older_one_shares_it)
{
    struct locks l = {0};
    assert_int_equal(take(&l, 1, "-a"), LOCKS_TAKEN);
    assert_int_equal(take(&l, 2, "-a"), LOCKS_TAKEN);
    assert_int_equal(take(&l, 2, "+a"), LOCKS_WAIT);
    assert_int_equal(take(&l, 1, "+a"), LOCKS_TAKEN);
    assert_null(locks_find(&l, txn(2)));
    assert_int_equal(take(&l, 1, "-a"), LOCKS_TAKEN); /* which takes nothing back */
    assert_true(locks_bar(&l, BYTES("a"), LOCK_SHARED));
    locks_clear(&l);
}

TEST(an_owner_keeps_start_and_token_and_no_token_is_given_twice)
{
    struct locks l = {0};
    assert_int_equal(take(&l, 5, "+a"), LOCKS_TAKEN);
    uint64_t token = locks_find(&l, txn(5))->token;
    assert_int_not_equal(token, 0);
    assert_int_equal(locks_take(&l, txn(5), 1, BYTES(""), 77), LOCKS_TAKEN);
    assert_int_equal(locks_find(&l, txn(5))->start, 5);
    assert_int_equal(locks_find(&l, txn(5))->token, token);
    assert_int_equal(locks_find(&l, txn(5))->at, 77);
    locks_clear(&l);
    assert_int_equal(take(&l, 5, "+a"), LOCKS_TAKEN);
    assert_true(locks_find(&l, txn(5))->token > token);
    locks_clear(&l);
}

static void each_item(void *ctx, enum lock_mode mode, struct bytes key)
{
    buf_printf(ctx, "%c%.*s ", mode == LOCK_EXCLUSIVE ? '+' : '-', (int)key.size,
               (const char *)key.data);
}

TEST(items_are_visited_in_the_order_in_which_they_were_put)
{
    struct buf items = {0}, seen = {0};
    put_items(&items, "+b -a +a");
    locks_items(buf_bytes(&items), each_item, &seen);
    EXPECT_BYTES(buf_bytes(&seen), "+b -a +a ");
    buf_deinit(&items);
    buf_deinit(&seen);
}

TEST(items_cut_short_or_of_an_unknown_mode_are_refused)
{
    struct buf items = {0};
    struct bytes sound = {0};
    put_items(&items, "+a -b");
    locks_put_item(&items, LOCK_SHARED, (struct bytes){0});
    assert_int_equal(items.size, 8); /* mode, size, key; the last is empty */
    for (size_t size = 0; size <= items.size; size++) {
        sound = bytes_of(items.data, size);
        assert_int_equal(locks_items_sound(sound),
                         size == 0 || size == 3 || size == 6 || size == 8);
    }
    for (size_t at = 0; at < items.size; at += 3)
        for (unsigned mode = 0; mode < 256; mode++) {
            uint8_t was = items.data[at];
            items.data[at] = (uint8_t)mode;
            assert_int_equal(locks_items_sound(sound), mode <= LOCK_EXCLUSIVE);
            items.data[at] = was;
        }
    assert_true(locks_items_sound(bytes_of("\2\2ab", 4)));
    assert_false(locks_items_sound(bytes_of("\2\1a", 3))); /* a row has a slot */
    assert_false(locks_items_sound(bytes_of("\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 11)));
    assert_false(locks_items_sound(bytes_of("\0\x80", 2)));
    buf_deinit(&items);
}

/* ---- the naive twin: owners in an array, each with a mode for every key there is ---- */

#define KEYS   200
#define OWNERS 24 /* ids that are used: so many at once */

enum { FREE, SHARED, EXCLUSIVE }; /* a lock_mode, and 1 */

struct twin_owner {
    struct txn_id id;
    uint64_t start, token, at;
    int state;
    char record[16];
    uint8_t mode[KEYS];
};

struct twin {
    struct twin_owner owner[OWNERS]; /* in the order in which they began */
    int owners;
    uint64_t tokens;
};

struct twin_items {
    struct buf bytes;
    int count;
    struct {
        unsigned key, mode;
    } item[16];
};

static struct twin_owner *twin_find(struct twin *t, struct txn_id id)
{
    for (int i = 0; i < t->owners; i++)
        if (txn_equal(t->owner[i].id, id)) return &t->owner[i];
    return NULL;
}

static void twin_drop(struct twin *t, struct twin_owner *o)
{
    t->owners--;
    memmove(o, o + 1, (size_t)(&t->owner[t->owners] - o) * sizeof *o);
}

static struct twin_owner *twin_begin(struct twin *t, struct txn_id id, uint64_t start)
{
    assert_true(t->owners < OWNERS);
    struct twin_owner *o = &t->owner[t->owners++];
    *o = (struct twin_owner){.id = id, .start = start, .token = ++t->tokens};
    return o;
}

static bool twin_older(const struct twin_owner *a, uint64_t start, struct txn_id id)
{
    if (a->start != start) return a->start < start;
    return a->id.who < id.who || (a->id.who == id.who && a->id.seq < id.seq);
}

static bool twin_in_the_way(const struct twin_owner *o, struct txn_id id, unsigned key,
                            unsigned mode)
{
    return !txn_equal(o->id, id) && o->mode[key] &&
           (o->mode[key] == EXCLUSIVE || mode == EXCLUSIVE);
}

static void twin_hold(struct twin_owner *o, const struct twin_items *items)
{
    for (int i = 0; i < items->count; i++) {
        uint8_t *mode = &o->mode[items->item[i].key];
        if (*mode < items->item[i].mode) *mode = (uint8_t)items->item[i].mode;
    }
}

static enum locks_result twin_take(struct twin *t, struct txn_id id, uint64_t start,
                                   const struct twin_items *items, uint64_t now)
{
    struct twin_owner *me = twin_find(t, id);
    bool drop[OWNERS] = {0};
    if (me) start = me->start;
    for (int i = 0; i < items->count; i++)
        for (int o = 0; o < t->owners; o++) {
            struct twin_owner *other = &t->owner[o];
            if (!twin_in_the_way(other, id, items->item[i].key, items->item[i].mode)) continue;
            if (other->state == LOCK_PREPARED || twin_older(other, start, id)) return LOCKS_WAIT;
            drop[o] = true;
        }
    for (int o = t->owners - 1; o >= 0; o--)
        if (drop[o]) twin_drop(t, &t->owner[o]);
    me = twin_find(t, id);
    if (!me) me = twin_begin(t, id, start);
    me->at = now;
    twin_hold(me, items);
    return LOCKS_TAKEN;
}

/* The strongest mode in which anybody has the key. */
static unsigned twin_strongest(const struct twin *t, unsigned key)
{
    unsigned strongest = FREE;
    for (int o = 0; o < t->owners; o++)
        if (t->owner[o].mode[key] > strongest) strongest = t->owner[o].mode[key];
    return strongest;
}

/* ---- the rig ---- */

struct rig {
    struct locks locks;
    struct twin twin;
    struct prng random;
    struct buf key[KEYS];
    unsigned keys;
    uint64_t now;
    struct twin_items items;
    unsigned taken, waited, dropped, restored, advanced;
};

static struct rig *rig_new(uint64_t seed, unsigned keys)
{
    struct rig *r = mem_zalloc(sizeof *r);
    prng_init(&r->random, seed);
    r->keys = keys;
    for (unsigned k = 1; k < keys; k++) { /* the first is empty */
        buf_printf(&r->key[k], "%u", k);
        buf_u8(&r->key[k], 0);
        for (unsigned i = 0; i < k; i++) buf_u8(&r->key[k], (uint8_t)i);
    }
    return r;
}

static void rig_free(struct rig *r)
{
    locks_clear(&r->locks);
    for (unsigned k = 0; k < KEYS; k++) buf_deinit(&r->key[k]);
    buf_deinit(&r->items.bytes);
    mem_free(r);
}

static unsigned below(struct rig *r, unsigned bound)
{
    return (unsigned)prng_below(&r->random, bound);
}

/* One of OWNERS ids. Those of a pair have one hash in the table of owners (src/shard/locks.c). */
static struct txn_id id_at(unsigned n)
{
    uint64_t who = n / 8, seq = n / 2 % 4;
    if (n % 2 == 0) return (struct txn_id){who, seq};
    return (struct txn_id){100 + who, seq ^ hash_mix(who) ^ hash_mix(100 + who)};
}

static void random_items(struct rig *r, bool free_only)
{
    struct twin_items *items = &r->items;
    buf_clear(&items->bytes);
    items->count = 0;
    for (unsigned left = below(r, below(r, 4) ? 4 : 16); left > 0; left--) {
        unsigned key = below(r, r->keys), mode = below(r, 3) ? SHARED : EXCLUSIVE;
        unsigned others = twin_strongest(&r->twin, key);
        if (free_only && others && (others == EXCLUSIVE || mode == EXCLUSIVE)) continue;
        items->item[items->count].key = key;
        items->item[items->count++].mode = mode;
        locks_put_item(&items->bytes, mode == SHARED ? LOCK_SHARED : LOCK_EXCLUSIVE,
                       buf_bytes(&r->key[key]));
    }
    assert_true(locks_items_sound(buf_bytes(&items->bytes)));
}

static void operate_take(struct rig *r, struct txn_id id)
{
    const struct twin_owner *o = twin_find(&r->twin, id);
    if (o && o->state != LOCK_OPEN) return;
    uint64_t start = below(r, 10);
    random_items(r, false);
    int owners = r->twin.owners + !o;
    enum locks_result expected = twin_take(&r->twin, id, start, &r->items, r->now);
    assert_int_equal(locks_take(&r->locks, id, start, buf_bytes(&r->items.bytes), r->now),
                     expected);
    r->taken += expected == LOCKS_TAKEN;
    r->waited += expected == LOCKS_WAIT;
    r->dropped += expected == LOCKS_TAKEN && r->twin.owners < owners;
}

static void operate_restore(struct rig *r, struct txn_id id)
{
    if (twin_find(&r->twin, id)) return;
    enum lock_state state = below(r, 2) ? LOCK_PREPARED : LOCK_DECIDED;
    random_items(r, true);
    if (state == LOCK_DECIDED) r->items.count = 0, buf_clear(&r->items.bytes);
    struct twin_owner *o = twin_begin(&r->twin, id, below(r, 10));
    o->state = (int)state;
    o->at = r->now;
    snprintf(o->record, sizeof o->record, "r%u", (unsigned)r->now);
    twin_hold(o, &r->items);
    const struct lock_owner *made = locks_restore(
        &r->locks, id, o->start, state, buf_bytes(&r->items.bytes), bytes_str(o->record), r->now);
    assert_ptr_equal(made, locks_find(&r->locks, id));
    r->restored++;
}

static void operate_advance(struct rig *r, struct txn_id id)
{
    struct twin_owner *o = twin_find(&r->twin, id);
    if (!o || o->state == LOCK_DECIDED) return;
    o->state++;
    o->at = r->now;
    snprintf(o->record, sizeof o->record, "a%u", (unsigned)r->now);
    if (o->state == LOCK_DECIDED) memset(o->mode, FREE, sizeof o->mode);
    locks_advance(&r->locks, locks_find(&r->locks, id), (enum lock_state)o->state,
                  bytes_str(o->record), r->now);
    r->advanced++;
}

static void operate_drop(struct rig *r, struct txn_id id)
{
    struct twin_owner *o = twin_find(&r->twin, id);
    if (!o) return;
    twin_drop(&r->twin, o);
    locks_drop(&r->locks, locks_find(&r->locks, id));
}

static void rig_operate(struct rig *r)
{
    struct txn_id id = id_at(below(r, OWNERS));
    unsigned dice = below(r, 1000);
    r->now++;
    if (dice < 700) {
        operate_take(r, id);
    } else if (dice < 720) {
        operate_restore(r, id);
    } else if (dice < 820) {
        operate_advance(r, id);
    } else if (dice < 998) {
        operate_drop(r, id);
    } else {
        locks_clear(&r->locks);
        r->twin.owners = 0; /* tokens go on */
    }
}

static void rig_compare(struct rig *r)
{
    const struct lock_owner *o = r->locks.first;
    uint32_t held = 0;
    for (int i = 0; i < r->twin.owners; i++, o = o->next) {
        const struct twin_owner *t = &r->twin.owner[i];
        uint32_t before = held;
        for (unsigned k = 0; k < r->keys; k++) held += t->mode[k] != FREE;
        assert_non_null(o);
        assert_true(txn_equal(o->id, t->id));
        assert_ptr_equal(locks_find(&r->locks, t->id), o);
        assert_int_equal(o->start, t->start);
        assert_int_equal(o->token, t->token);
        assert_int_equal(o->at, t->at);
        assert_int_equal(o->state, t->state);
        EXPECT_BYTES(o->record, t->record);
        assert_int_equal(o->locks != NULL, held > before);
    }
    assert_null(o);
    assert_int_equal(r->locks.owners, r->twin.owners);
    assert_int_equal(r->locks.tokens, r->twin.tokens);
    assert_int_equal(r->locks.held, held);
    for (unsigned k = 0; k < r->keys; k++) {
        unsigned strongest = twin_strongest(&r->twin, k);
        struct bytes key = buf_bytes(&r->key[k]);
        assert_int_equal(locks_bar(&r->locks, key, LOCK_SHARED), strongest == EXCLUSIVE);
        assert_int_equal(locks_bar(&r->locks, key, LOCK_EXCLUSIVE), strongest != FREE);
    }
    for (unsigned n = 0; n < OWNERS; n++)
        assert_int_equal(!locks_find(&r->locks, id_at(n)), !twin_find(&r->twin, id_at(n)));
}

static void operations(uint64_t seed, unsigned keys)
{
    struct rig *r = rig_new(seed, keys);
    for (int step = 0; step < 2000; step++) {
        rig_operate(r);
        locks_check(&r->locks);
        rig_compare(r);
    }
    assert_true(r->taken > 5 && r->waited > 5 && r->dropped > 5); /* none is rare */
    assert_true(r->restored > 5 && r->advanced > 5);
    rig_free(r);
}

TEST(locks_do_what_a_naive_twin_does)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        operations(seed, 3);
        operations(seed, 20);
        operations(seed, KEYS);
    }
}

TEST_MAIN
