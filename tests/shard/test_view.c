/* The view against a naive map, and what it refuses. */
#include "test.h"

#include "base/mem.h"
#include "base/prng.h"
#include "shard/effects.h"
#include "shard/view.h"

/* ---- the naive twin: rows in no order, looked at one by one ---- */

struct row {
    struct buf key, value;
};

struct map {
    struct row row[4096];
    size_t count;
};

static void map_clear_rows(struct map *m)
{
    for (size_t i = 0; i < m->count; i++) {
        buf_deinit(&m->row[i].key);
        buf_deinit(&m->row[i].value);
    }
    m->count = 0;
}

static struct row *map_row(struct map *m, struct bytes key)
{
    for (size_t i = 0; i < m->count; i++)
        if (bytes_equal(buf_bytes(&m->row[i].key), key)) return &m->row[i];
    return NULL;
}

static void map_set(struct map *m, struct bytes key, struct bytes value)
{
    struct row *r = map_row(m, key);
    if (!r) {
        assert_true(m->count < sizeof m->row / sizeof *m->row);
        r = &m->row[m->count++];
        *r = (struct row){0};
        buf_append_bytes(&r->key, key);
    }
    buf_clear(&r->value);
    buf_append_bytes(&r->value, value);
}

static void map_unset(struct map *m, struct bytes key)
{
    struct row *r = map_row(m, key);
    if (!r) return;
    buf_deinit(&r->key);
    buf_deinit(&r->value);
    *r = m->row[--m->count];
}

static void map_copy(struct map *to, const struct map *from)
{
    map_clear_rows(to);
    for (size_t i = 0; i < from->count; i++)
        map_set(to, buf_bytes(&from->row[i].key), buf_bytes(&from->row[i].value));
}

/* The row that follows `after` (NULL: the first) in [lo, hi). */
static struct row *map_next(struct map *m, struct bytes lo, struct bytes hi,
                            const struct row *after, bool reverse)
{
    struct row *best = NULL;
    for (size_t i = 0; i < m->count; i++) {
        struct row *r = &m->row[i];
        struct bytes key = buf_bytes(&r->key);
        if (bytes_compare(key, lo) < 0 || bytes_compare(key, hi) >= 0) continue;
        int side = after ? bytes_compare(key, buf_bytes(&after->key)) : reverse ? -1 : 1;
        if (reverse ? side >= 0 : side <= 0) continue;
        int c = best ? bytes_compare(key, buf_bytes(&best->key)) : reverse ? 1 : -1;
        if (reverse ? c > 0 : c < 0) best = r;
    }
    return best;
}

/* ---- a source that misses ---- */

struct source {
    struct map *map;
    struct prng *random;
    uint32_t miss_ppm;
};

static enum view_result source_get(void *ctx, struct bytes key, struct bytes *value)
{
    struct source *s = ctx;
    if (prng_chance(s->random, s->miss_ppm)) return VIEW_MISS;
    const struct row *r = map_row(s->map, key);
    if (r) *value = buf_bytes(&r->value);
    return r ? VIEW_FOUND : VIEW_ABSENT;
}

static enum view_result source_range(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                                     view_each *each, void *each_ctx)
{
    struct source *s = ctx;
    const struct row *r = NULL;
    while ((r = map_next(s->map, lo, hi, r, reverse))) {
        if (prng_chance(s->random, s->miss_ppm)) return VIEW_MISS;
        if (!each(each_ctx, buf_bytes(&r->key), buf_bytes(&r->value))) return VIEW_FOUND;
    }
    return VIEW_ABSENT;
}

/* ---- the rig ---- */

struct rig {
    struct view view;
    struct map state, twin; /* what is applied; what the view should show */
    struct map kept;        /* ... and showed at `mark`, which it may be rewound to */
    size_t mark;
    struct source source;
    struct prng random;
    struct buf key, value, lo, hi;
};

static struct rig *rig_new(uint64_t seed, uint32_t miss_ppm)
{
    struct rig *r = mem_zalloc(sizeof *r);
    prng_init(&r->random, seed);
    view_init(&r->view);
    r->source = (struct source){&r->state, &r->random, miss_ppm};
    return r;
}

static void rig_free(struct rig *r)
{
    view_deinit(&r->view);
    map_clear_rows(&r->state);
    map_clear_rows(&r->twin);
    map_clear_rows(&r->kept);
    struct buf *bufs[] = {&r->key, &r->value, &r->lo, &r->hi};
    for (size_t i = 0; i < 4; i++) buf_deinit(bufs[i]);
    mem_free(r);
}

static void rig_begin(struct rig *r)
{
    struct view_source source = {source_get, source_range, &r->source};
    view_begin(&r->view, &source, 1000, prng_u64(&r->random), 1 << 16, 0, 4);
    map_copy(&r->twin, &r->state);
    map_copy(&r->kept, &r->state);
    r->mark = 0;
}

/* Keys of the four slots 0..3, few enough to meet again. */
static struct bytes random_key(struct rig *r, struct buf *out)
{
    buf_clear(out);
    buf_u8(out, 0);
    buf_u8(out, (uint8_t)prng_below(&r->random, 4));
    buf_printf(out, "m%u", (unsigned)prng_below(&r->random, 30));
    return buf_bytes(out);
}

static struct bytes random_value(struct rig *r)
{
    size_t size =
        prng_below(&r->random, 10) ? prng_below(&r->random, 20) : prng_below(&r->random, 3000);
    buf_clear(&r->value);
    for (size_t i = 0; i < size; i++) buf_u8(&r->value, (uint8_t)prng_u64(&r->random));
    return buf_bytes(&r->value);
}

struct walk {
    struct rig *rig;
    const struct row *at;
    struct bytes lo, hi;
    bool reverse;
    uint64_t left; /* stop after so many */
};

static bool walk_each(void *ctx, struct bytes key, struct bytes value)
{
    struct walk *w = ctx;
    w->at = map_next(&w->rig->twin, w->lo, w->hi, w->at, w->reverse);
    assert_non_null(w->at);
    assert_true(bytes_equal(key, buf_bytes(&w->at->key)));
    assert_true(bytes_equal(value, buf_bytes(&w->at->value)));
    return --w->left > 0;
}

static void check_range(struct rig *r)
{
    struct walk w = {.rig = r, .reverse = prng_below(&r->random, 2)};
    w.lo = random_key(r, &r->lo);
    w.hi = random_key(r, &r->hi);
    w.left = prng_below(&r->random, 3) ? UINT64_MAX : 1 + prng_below(&r->random, 5);
    enum view_result result = view_range(&r->view, w.lo, w.hi, w.reverse, walk_each, &w);
    if (result == VIEW_MISS) {
        assert_true(r->view.missed);
        assert_true(bytes_equal(buf_bytes(&r->view.miss_lo), w.lo));
        assert_true(bytes_equal(buf_bytes(&r->view.miss_hi), w.hi));
        assert_int_equal(r->view.miss_reverse, w.reverse);
    } else if (result == VIEW_ABSENT) {
        assert_null(map_next(&r->twin, w.lo, w.hi, w.at, w.reverse)); /* nothing left out */
    } else {
        assert_int_equal(w.left, 0);
    }
}

static void check_get(struct rig *r, struct bytes key)
{
    struct bytes value;
    const struct row *row = map_row(&r->twin, key);
    switch (view_get(&r->view, key, &value)) {
    case VIEW_FOUND:
        assert_non_null(row);
        assert_true(bytes_equal(value, buf_bytes(&row->value)));
        break;
    case VIEW_ABSENT: assert_null(row); break;
    case VIEW_MISS:
        assert_true(r->view.missed && !r->view.wiped);
        assert_true(bytes_equal(buf_bytes(&r->view.miss_lo), key));
        assert_int_equal(r->view.miss_hi.size, 0);
        break;
    }
}

/* Writes what was read under another key: the value is a slice of the view's own effects if it was
 * written in this evaluation. */
static void copy_within(struct rig *r)
{
    struct bytes from = random_key(r, &r->lo), to = random_key(r, &r->hi), value;
    if (view_get(&r->view, from, &value) != VIEW_FOUND) return;
    const struct row *row = map_row(&r->twin, from);
    assert_non_null(row);
    buf_clear(&r->value);
    buf_append_bytes(&r->value, buf_bytes(&row->value));
    view_put(&r->view, to, value);
    map_set(&r->twin, to, buf_bytes(&r->value));
}

static void rig_operate(struct rig *r)
{
    struct bytes key = random_key(r, &r->key);
    switch (prng_below(&r->random, 100) / 10) {
    case 0:
    case 1:
    case 2: {
        struct bytes value = random_value(r);
        view_put(&r->view, key, value);
        map_set(&r->twin, key, value);
        break;
    }
    case 3:
    case 4:
        view_del(&r->view, key);
        map_unset(&r->twin, key);
        break;
    case 5: copy_within(r); break;
    case 6:
    case 7: check_get(r, key); break;
    case 8: check_range(r); break;
    default:
        if (prng_below(&r->random, 10)) break;
        view_wipe(&r->view);
        map_clear_rows(&r->twin);
    }
}

/* A follower would do this with the effects. */
static void effects_apply(struct map *m, struct bytes effects)
{
    struct reader reader = reader_of(effects);
    struct effect e;
    int more;
    while ((more = effects_next(&reader, &e)) == 1) {
        if (e.op == EFFECT_PUT) map_set(m, e.key, e.value);
        if (e.op == EFFECT_DEL) map_unset(m, e.key);
        if (e.op == EFFECT_WIPE) map_clear_rows(m);
    }
    assert_int_equal(more, 0);
}

static void maps_equal(struct map *a, struct map *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        const struct row *r = map_row(b, buf_bytes(&a->row[i].key));
        assert_non_null(r);
        assert_true(bytes_equal(buf_bytes(&a->row[i].value), buf_bytes(&r->value)));
    }
}

/* A point to go back to, or a way back: also from a miss. */
static void rig_mark_or_rewind(struct rig *r)
{
    uint64_t dice = prng_below(&r->random, 40);
    if (r->view.wiped) return;
    if (dice == 0 && !r->view.missed) {
        map_copy(&r->kept, &r->twin);
        r->mark = r->view.effects.size;
    } else if (dice == 1 || (r->view.missed && dice < 30)) {
        view_rewind(&r->view, r->mark);
        map_copy(&r->twin, &r->kept);
    }
}

static void evaluations(uint64_t seed, uint32_t miss_ppm)
{
    struct rig *r = rig_new(seed, miss_ppm);
    uint32_t misses = 0;
    for (int round = 0; round < 300; round++) {
        rig_begin(r);
        uint64_t operations =
            prng_below(&r->random, 4) ? prng_below(&r->random, 12) : prng_below(&r->random, 120);
        for (uint64_t i = 0; i < operations && !r->view.missed; i++) {
            rig_operate(r);
            misses += r->view.missed;
            rig_mark_or_rewind(r);
        }
        if (r->view.missed) continue; /* thrown away */
        assert_int_equal(r->view.refused, VIEW_ALLOWED);
        effects_apply(&r->state, buf_bytes(&r->view.effects));
        maps_equal(&r->state, &r->twin);
    }
    assert_int_equal(misses > 0, miss_ppm > 0);
    rig_free(r);
}

TEST(a_view_shows_what_a_naive_map_shows)
{
    for (uint64_t seed = 1; seed <= 20; seed++) evaluations(seed, 0);
}

TEST(a_view_that_missed_says_what_and_one_that_did_not_is_right)
{
    for (uint64_t seed = 1; seed <= 20; seed++) evaluations(seed, 30000);
}

/* ---- what a missed view does ---- */

static bool never(void *ctx, struct bytes key, struct bytes value)
{
    (void)ctx, (void)key, (void)value;
    fail_msg("a missed view visited a key");
    return false;
}

TEST(after_a_miss_nothing_is_read_and_the_first_miss_is_the_one_to_fetch)
{
    struct rig *r = rig_new(1, 1000000);
    struct bytes value;
    rig_begin(r);
    assert_int_equal(view_get(&r->view, bytes_of("\0\1a", 3), &value), VIEW_MISS);
    assert_int_equal(view_get(&r->view, bytes_of("\0\1b", 3), &value), VIEW_MISS);
    assert_int_equal(
        view_range(&r->view, bytes_of("\0\1", 2), bytes_of("\0\2", 2), false, never, NULL),
        VIEW_MISS);
    assert_true(bytes_equal(buf_bytes(&r->view.miss_lo), bytes_of("\0\1a", 3)));
    rig_begin(r);
    assert_false(r->view.missed);
    rig_free(r);
}

/* ---- refusals ---- */

TEST(effects_beyond_the_bound_are_refused_and_the_view_reads_no_more)
{
    struct rig *r = rig_new(1, 0);
    struct bytes value;
    uint8_t large[600] = {0};
    rig_begin(r);
    r->view.effects_max = 1000;
    view_put(&r->view, bytes_of("\0\1a", 3), bytes_of(large, sizeof large));
    assert_int_equal(r->view.refused, VIEW_ALLOWED);
    view_put(&r->view, bytes_of("\0\1b", 3), bytes_of(large, sizeof large));
    assert_int_equal(r->view.refused, VIEW_EFFECTS_TOO_LARGE);
    assert_int_equal(view_get(&r->view, bytes_of("\0\1a", 3), &value), VIEW_MISS);
    size_t size = r->view.effects.size;
    for (int i = 0; i < 1000; i++) view_put(&r->view, bytes_of("\0\1c", 3), bytes_of(large, 8));
    assert_int_equal(r->view.effects.size, size); /* a command that goes on takes no memory */
    rig_begin(r);
    assert_int_equal(r->view.refused, VIEW_ALLOWED);
    rig_free(r);
}

struct growing {
    struct buf *out;
    int visited;
};

static bool grow(void *ctx, struct bytes key, struct bytes value)
{
    struct growing *g = ctx;
    (void)key;
    g->visited++;
    buf_append_bytes(g->out, value);
    return true;
}

TEST(a_reply_that_grows_beyond_its_bound_ends_the_reading)
{
    struct rig *r = rig_new(1, 0);
    struct buf out = {0};
    struct bytes value;
    uint8_t large[100] = {0};
    for (int i = 0; i < 50; i++) {
        buf_clear(&r->key);
        buf_u8(&r->key, 0), buf_u8(&r->key, 1), buf_u8(&r->key, (uint8_t)i);
        map_set(&r->state, buf_bytes(&r->key), bytes_of(large, sizeof large));
    }
    for (int reverse = 0; reverse < 2; reverse++) {
        rig_begin(r);
        struct growing g = {&out, 0};
        buf_clear(&out);
        r->view.reply = &out;
        r->view.reply_max = 1000;
        assert_int_equal(
            view_range(&r->view, bytes_of("\0\1", 2), bytes_of("\0\2", 2), reverse, grow, &g),
            VIEW_MISS);
        assert_int_equal(r->view.refused, VIEW_REPLY_TOO_LARGE);
        assert_int_equal(g.visited, 11); /* the one that went over, and no more */
        assert_int_equal(view_get(&r->view, bytes_of("\0\1\0", 3), &value), VIEW_MISS);
    }
    buf_deinit(&out);
    rig_free(r);
}

TEST(keys_outside_the_slots_are_refused)
{
    struct rig *r = rig_new(1, 0);
    rig_begin(r); /* slots 0 to 3 */
    view_put(&r->view, bytes_of("\0\3a", 3), BYTES("v"));
    assert_int_equal(r->view.refused, VIEW_ALLOWED);
    view_put(&r->view, bytes_of("\0\4a", 3), BYTES("v"));
    assert_int_equal(r->view.refused, VIEW_FOREIGN);
    rig_begin(r);
    view_del(&r->view, bytes_of("\1\0a", 3));
    assert_int_equal(r->view.refused, VIEW_FOREIGN);
    rig_begin(r);
    view_trash(&r->view, bytes_of("\0", 1));
    assert_int_equal(r->view.refused, VIEW_FOREIGN);
    assert_false(view_wrote(&r->view));
    rig_free(r);
}

TEST_MAIN
