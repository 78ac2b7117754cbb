/* Spaces under random use against a naive model: an array of values, the pending changes as a list,
 * and a copy of the array for every flush. After a crash the space must be exactly the copy of the
 * last flush that ran. */
#include "world.h"
#include "base/prng.h"

enum {
    PLAIN = 40,
    OBJECTS = 60,
    MEMBERS = 5,
    KEYS = PLAIN + OBJECTS * MEMBERS,
    CHANGES_MAX = 4000
};

enum change_type { PUT, DEL, WIPE, TRASH };

struct change {
    uint64_t position;
    enum change_type type;
    unsigned which; /* key, or object */
    uint32_t value;
};

struct state {
    uint32_t value[KEYS]; /* 0: not there; else the seed of its bytes */
    bool dead[OBJECTS];   /* its keys are trash: not compared */
};

enum { PINS = 4 };

struct kept {
    struct space_pin *pin;
    struct state state;
};

struct model {
    struct kept kept[PINS];
    struct world w;
    struct prng r;
    struct state applied, now, frozen, durable; /* frozen: what a flush under way carries */
    uint64_t applied_at, last, frozen_at, durable_at;
    bool has_frozen;
    struct change change[CHANGES_MAX]; /* pending */
    size_t changes;
    uint32_t values;
    struct buf expected;
};

static struct bytes key_name(unsigned k, char *room)
{
    if (k < PLAIN)
        (void)snprintf(room, 24, "m%02u", k);
    else
        (void)snprintf(room, 24, "s%03u/%u", (k - PLAIN) / MEMBERS, (k - PLAIN) % MEMBERS);
    return bytes_str(room);
}

static struct bytes value_bytes(uint32_t value, uint8_t *room)
{
    struct prng r;
    prng_init(&r, value);
    size_t size = value % 50 == 0 ? 9000 : prng_below(&r, 60);
    for (size_t i = 0; i < size; i++) room[i] = (uint8_t)prng_u64(&r);
    return bytes_of(room, size);
}

static bool is_dead(const struct state *s, unsigned k)
{
    return k >= PLAIN && s->dead[(k - PLAIN) / MEMBERS];
}

static void state_change(struct state *s, const struct change *c)
{
    switch (c->type) {
    case PUT: s->value[c->which] = c->value; break;
    case DEL: s->value[c->which] = 0; break;
    case WIPE: memset(s->value, 0, sizeof s->value); break;
    case TRASH:
        s->dead[c->which] = true;
        for (unsigned i = 0; i < MEMBERS; i++) s->value[PLAIN + c->which * MEMBERS + i] = 0;
        break;
    }
}

static void refold(struct model *m)
{
    m->now = m->applied;
    for (size_t i = 0; i < m->changes; i++) state_change(&m->now, &m->change[i]);
}

static void space_change(struct model *m, const struct change *c)
{
    char key[24];
    uint8_t room[9000];
    switch (c->type) {
    case PUT:
        space_put(m->w.space, c->position, key_name(c->which, key), value_bytes(c->value, room));
        break;
    case DEL: space_del(m->w.space, c->position, key_name(c->which, key)); break;
    case WIPE: space_wipe(m->w.space, c->position); break;
    case TRASH:
        (void)snprintf(key, sizeof key, "s%03u/", c->which);
        space_trash(m->w.space, c->position, bytes_str(key));
        break;
    }
}

static void step_change(struct model *m)
{
    if (m->changes == CHANGES_MAX) return;
    if (m->last == m->applied_at || prng_chance(&m->r, 600000)) m->last++;
    struct change c = {.position = m->last};
    uint64_t dice = prng_below(&m->r, 100);
    c.type = dice < 62 ? PUT : dice < 94 ? DEL : dice < 98 ? TRASH : WIPE;
    if (c.type == TRASH) {
        c.which = (unsigned)prng_below(&m->r, OBJECTS);
        if (m->now.dead[c.which]) return;
    } else {
        c.which = (unsigned)prng_below(&m->r, KEYS);
        if (prng_below(&m->r, 2)) c.which %= PLAIN;
        if (is_dead(&m->now, c.which)) return; /* never written again */
        c.value = ++m->values;
    }
    m->change[m->changes++] = c;
    state_change(&m->now, &c);
    space_change(m, &c);
}

static void model_apply(struct model *m, uint64_t position)
{
    size_t i = 0;
    for (; i < m->changes && m->change[i].position <= position; i++)
        state_change(&m->applied, &m->change[i]);
    memmove(m->change, m->change + i, (m->changes - i) * sizeof *m->change);
    m->changes -= i;
    m->applied_at = position;
}

static void step_apply(struct model *m)
{
    uint64_t position = m->applied_at + prng_below(&m->r, m->last - m->applied_at + 1);
    model_apply(m, position);
    space_set_applied(m->w.space, position);
}

static void step_drop(struct model *m)
{
    m->changes = 0;
    m->last = m->applied_at;
    refold(m);
    space_drop_pending(m->w.space);
}

static void step_flush(struct model *m)
{
    char record[32];
    bool fresh = !m->has_frozen;
    (void)snprintf(record, sizeof record, "%llu", (unsigned long long)m->applied_at);
    if (!space_flush(m->w.space, m->applied_at, bytes_str(record)) || !fresh) return;
    m->frozen = m->applied;
    m->frozen_at = m->applied_at;
    m->has_frozen = true;
}

/* The pool's part: from here on a crash keeps it. */
static void step_run(struct model *m)
{
    bool full = !m->w.rocks && prng_chance(&m->r, 200000);
    if (m->w.disk) engine_mem_set_full(m->w.disk, full);
    bool ran = m->w.pool.ran < m->w.pool.count && space_flushing(m->w.space);
    pool_run(&m->w.pool);
    if (ran && !full) m->durable = m->frozen, m->durable_at = m->frozen_at;
    if (m->w.disk) engine_mem_set_full(m->w.disk, false);
    if (prng_below(&m->r, 2)) return;
    bool flushing = space_flushing(m->w.space);
    pool_finish(&m->w.pool);
    if (flushing && m->w.error == 0) {
        assert_int_equal(m->w.flushed, m->frozen_at);
        m->has_frozen = false;
    }
}

static void kept_drop(struct model *m)
{
    for (int i = 0; i < PINS; i++) {
        space_pin_free(m->kept[i].pin);
        m->kept[i].pin = NULL;
    }
}

static void step_crash(struct model *m)
{
    struct buf record = {0};
    kept_drop(m);
    world_crash(&m->w);
    m->applied = m->now = m->durable;
    m->applied_at = m->last = m->durable_at;
    m->changes = 0;
    m->has_frozen = false;
    enum engine_result result = space_flushed_record(m->w.space, &record);
    if (m->durable_at == 0)
        assert_int_equal(result, ENGINE_ABSENT);
    else {
        buf_u8(&record, 0);
        assert_int_equal(strtoull((char *)record.data, NULL, 10), m->durable_at);
    }
    space_set_applied(m->w.space, m->durable_at);
    buf_deinit(&record);
}

static void on_fetched(void *ctx, struct space_fetch *f)
{
    (void)ctx, (void)f;
}

/* Fetches what a read missed; whatever else waits in the pool goes on too, as in life. */
static void model_fetch(struct model *m, struct bytes lo, struct bytes hi, bool reverse,
                        uint32_t limit)
{
    struct space_fetch f = {.reverse = reverse, .limit = limit, .done = on_fetched};
    buf_append_bytes(&f.lo, lo);
    buf_append_bytes(&f.hi, hi);
    bool flushing = space_flushing(m->w.space), ran = m->w.pool.ran > 0;
    space_fetch(m->w.space, &f);
    pool_finish(&m->w.pool);
    if (flushing) {
        if (!ran) m->durable = m->frozen, m->durable_at = m->frozen_at;
        if (m->w.error == 0) m->has_frozen = false;
    }
    assert_true(f.result == ENGINE_FOUND || f.result == ENGINE_ABSENT);
    buf_deinit(&f.lo);
    buf_deinit(&f.hi);
}

static void step_get(struct model *m)
{
    char name[24];
    uint8_t room[9000];
    unsigned k = (unsigned)prng_below(&m->r, KEYS);
    if (is_dead(&m->now, k)) return;
    struct bytes key = key_name(k, name), value;
    bool block = prng_chance(&m->r, 200000);
    enum engine_result result = space_get(m->w.space, key, block, &value);
    if (result == ENGINE_MISS) {
        assert_false(block);
        model_fetch(m, key, (struct bytes){0}, false, 1);
        result = space_get(m->w.space, key, false, &value);
    }
    assert_int_equal(result, m->now.value[k] ? ENGINE_FOUND : ENGINE_ABSENT);
    if (m->now.value[k]) assert_true(bytes_equal(value, value_bytes(m->now.value[k], room)));
}

struct walk {
    const struct state *state;
    bool reverse;
    unsigned next, end; /* keys the model expects: [next, end), or falling from end - 1 */
    uint32_t left;
};

static bool walk_each(void *ctx, struct bytes key, struct bytes value)
{
    struct walk *w = ctx;
    const struct state *s = w->state;
    char name[24];
    uint8_t room[9000];
    if (key.data[0] == 's') { /* trash may or may not be seen */
        unsigned object = (unsigned)strtoul((const char *)key.data + 1, NULL, 10);
        if (s->dead[object]) return true;
    }
    while (w->next < w->end && s->value[w->reverse ? w->end - 1 : w->next] == 0) {
        if (w->reverse)
            w->end--;
        else
            w->next++;
    }
    assert_true(w->next < w->end);
    unsigned k = w->reverse ? --w->end : w->next++;
    assert_true(bytes_equal(key, key_name(k, name)));
    assert_true(bytes_equal(value, value_bytes(s->value[k], room)));
    return --w->left > 0;
}

static void step_range(struct model *m)
{
    unsigned a = (unsigned)prng_below(&m->r, KEYS), b = (unsigned)prng_below(&m->r, KEYS);
    char low[24], high[24];
    struct bytes lo = key_name(a < b ? a : b, low), hi = key_name(a < b ? b : a, high);
    struct walk start = {&m->now, prng_below(&m->r, 2), a < b ? a : b, a < b ? b : a,
                         1 + (uint32_t)prng_below(&m->r, 30)},
                walk;
    enum engine_result result;
    for (int attempt = 0;; attempt++) {
        walk = start;
        result = space_range(m->w.space, lo, hi, walk.reverse, attempt == 8, walk_each, &walk);
        if (result != ENGINE_MISS) break;
        assert_true(attempt < 8);
        model_fetch(m, lo, hi, walk.reverse, start.left + 20);
    }
    if (result == ENGINE_FOUND)
        assert_int_equal(walk.left, 0);
    else {
        assert_int_equal(result, ENGINE_ABSENT);
        while (walk.next < walk.end) assert_int_equal(m->now.value[walk.next++], 0);
    }
}

/* A kept state is what was applied when it was made, whatever became of it since. */
static void step_kept(struct model *m)
{
    struct kept *k = &m->kept[prng_below(&m->r, PINS)];
    if (!k->pin) {
        *k = (struct kept){space_pin_new(m->w.space), m->applied};
        return;
    }
    if (prng_below(&m->r, 2)) (void)space_pin_settle(k->pin);
    struct walk walk = {&k->state, false, 0, KEYS, UINT32_MAX};
    assert_int_equal(space_pin_range(k->pin, BYTES("a"), BYTES("z"), walk_each, &walk),
                     ENGINE_ABSENT);
    while (walk.next < walk.end) assert_int_equal(k->state.value[walk.next++], 0);
    if (prng_below(&m->r, 3)) return;
    space_pin_free(k->pin);
    k->pin = NULL;
}

/* The digest is that of a fresh space into which the applied state was put. */
static void step_digest(struct model *m)
{
    struct world other;
    uint64_t digest, keys, expected, expected_keys;
    char name[24];
    uint8_t room[9000];
    world_init(&other, false, 0, 1);
    for (unsigned k = 0; k < KEYS; k++)
        if (m->applied.value[k])
            space_put(other.space, 1, key_name(k, name), value_bytes(m->applied.value[k], room));
    space_set_applied(other.space, 1);
    assert_int_equal(space_digest(other.space, &expected, &expected_keys), ENGINE_FOUND);
    assert_int_equal(space_digest(m->w.space, &digest, &keys), ENGINE_FOUND);
    assert_int_equal(keys, expected_keys);
    assert_true(digest == expected);
    world_deinit(&other);
}

static void run_model(bool rocks, uint64_t seed, int steps)
{
    struct model *m = calloc(1, sizeof *m);
    prng_init(&m->r, seed);
    world_init(&m->w, rocks, 300000, seed);
    bool crashes = seed % 2;
    for (int i = 0; i < steps; i++) {
        uint64_t dice = prng_below(&m->r, 1000);
        if (dice < 450)
            step_change(m);
        else if (dice < 520)
            step_apply(m);
        else if (dice < 535)
            step_drop(m);
        else if (dice < 565)
            step_flush(m);
        else if (dice < 600)
            step_run(m);
        else if (dice < 850)
            step_get(m);
        else if (dice < 970)
            step_range(m);
        else if (dice < 980)
            step_digest(m);
        else if (dice < 990)
            space_cache_turn(m->w.cache);
        else if (dice < 991 && crashes)
            step_crash(m);
        else
            step_kept(m);
        if (dice % 16 == 0) space_check(m->w.space);
    }
    kept_drop(m);
    world_deinit(&m->w);
    free(m);
}

TEST(a_space_over_the_twin_agrees_with_the_model_through_flushes_misses_and_crashes)
{
    for (uint64_t seed = 1; seed <= 60; seed++) run_model(false, seed, 6000);
}

TEST(a_space_over_rocksdb_agrees_with_the_model_through_flushes_misses_and_crashes)
{
    for (uint64_t seed = 1; seed <= 8; seed++) run_model(true, seed, 3000);
}

TEST_MAIN
