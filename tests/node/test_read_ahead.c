/* Reading ahead: whatever is asked for, in whatever order, within walks too, comes as from the
 * state itself; and what is asked within a walk costs no reading of its own. */
#include "test.h"
#include "base/prng.h"
#include "node/read_ahead.h"

#define ROWS 4000

/* ---- a state: rows in order ---- */

struct space_pin {
    struct buf key[ROWS], value[ROWS];
    int count, reads;
    int breaks; /* the read after so many fails; 0: none does */
};

typedef bool each_row(void *ctx, struct bytes key, struct bytes value);
enum engine_result __wrap_space_pin_range(const struct space_pin *p, struct bytes lo,
                                          struct bytes hi, each_row *each, void *ctx);
enum engine_result __wrap_space_pin_range(const struct space_pin *p, struct bytes lo,
                                          struct bytes hi, each_row *each, void *ctx)
{
    struct space_pin *s = (struct space_pin *)p;
    if (++s->reads == s->breaks) return ENGINE_E_IO;
    for (int i = 0; i < s->count; i++) {
        struct bytes key = buf_bytes(&s->key[i]);
        if (bytes_compare(key, lo) < 0 || bytes_compare(key, hi) >= 0) continue;
        if (!each(ctx, key, buf_bytes(&s->value[i]))) return ENGINE_FOUND;
    }
    return ENGINE_ABSENT;
}

static int order(const void *a, const void *b)
{
    const struct buf *x = a, *y = b;
    return bytes_compare(buf_bytes(x), buf_bytes(y));
}

static void fill(struct space_pin *s, struct prng *r, int slots, size_t value_max)
{
    memset(s, 0, sizeof *s);
    for (int i = 0; i < ROWS; i++) {
        uint16_t slot = (uint16_t)(100 + prng_below(r, (uint64_t)slots));
        uint8_t head[3] = {(uint8_t)(slot >> 8), (uint8_t)slot, "mosx"[prng_below(r, 4)]};
        buf_append(&s->key[i], head, 3);
        buf_u32(&s->key[i], (uint32_t)i * 2654435761u); /* no two alike */
    }
    qsort(s->key, ROWS, sizeof *s->key, order);
    for (int i = 0; i < ROWS; i++) {
        size_t size = (size_t)prng_below(r, value_max + 1);
        memset(buf_reserve(&s->value[i], size + 1), 'a' + i % 26, size);
        s->value[i].size = size;
    }
    s->count = ROWS;
}

static void empty(struct space_pin *s, struct read_ahead *a)
{
    for (int i = 0; i < s->count; i++) buf_deinit(&s->key[i]), buf_deinit(&s->value[i]);
    read_ahead_free(a);
}

/* ---- walks ---- */

struct walk {
    struct read_ahead *ahead; /* NULL: the naive twin */
    struct space_pin *state;
    struct prng random; /* the same for both */
    bool nested;
    int left; /* rows until it stops */
    struct buf *seen;
};

static enum engine_result range(const struct walk *w, struct bytes lo, struct bytes hi,
                                each_row *each, void *ctx)
{
    return w->ahead ? read_ahead_range(w->ahead, lo, hi, each, ctx)
                    : __wrap_space_pin_range(w->state, lo, hi, each, ctx);
}

static bool see(void *ctx, struct bytes key, struct bytes value);

static struct buf some_key(struct prng *r, int slots)
{
    struct buf key = {0};
    uint16_t slot = (uint16_t)(100 + prng_below(r, (uint64_t)slots + 1));
    uint8_t head[3] = {(uint8_t)(slot >> 8), (uint8_t)slot, "mosx"[prng_below(r, 4)]};
    buf_append(&key, head, 2 + prng_below(r, 2));
    if (key.size == 3 && prng_below(r, 2)) buf_u32(&key, (uint32_t)prng_u64(r));
    return key;
}

static void some_walk(struct walk *w, bool nested)
{
    struct buf lo = some_key(&w->random, 40), hi = some_key(&w->random, 40);
    struct walk inner = *w;
    inner.nested = nested;
    inner.left = (int)prng_below(&w->random, nested ? 20 : 2000);
    enum engine_result r = range(w, buf_bytes(&lo), buf_bytes(&hi), see, &inner);
    w->random = inner.random;
    buf_u8(w->seen, (uint8_t)r);
    buf_deinit(&lo), buf_deinit(&hi);
}

static bool see(void *ctx, struct bytes key, struct bytes value)
{
    struct walk *w = ctx;
    buf_blob(w->seen, key);
    if (!w->nested && prng_below(&w->random, 30) == 0) some_walk(w, true);
    buf_blob(w->seen, value); /* is as it was, whatever was read meanwhile */
    return w->left-- > 0;
}

static void both_see_the_same(uint64_t seed, int slots, size_t value_max)
{
    static struct space_pin state;
    struct buf one = {0}, two = {0};
    struct prng random;
    prng_init(&random, seed);
    fill(&state, &random, slots, value_max);
    struct read_ahead ahead = {.state = &state};
    struct walk a = {.ahead = &ahead, .state = &state, .random = random, .seen = &one}, b = a;
    b.ahead = NULL;
    b.seen = &two;
    for (int i = 0; i < 60; i++) {
        some_walk(&a, false);
        some_walk(&b, false);
        assert_int_equal(one.size, two.size);
        assert_memory_equal(one.data, two.data, one.size);
        buf_clear(&one), buf_clear(&two);
    }
    buf_deinit(&one), buf_deinit(&two);
    empty(&state, &ahead);
}

TEST(what_is_read_ahead_is_what_is_there)
{
    for (uint64_t seed = 0; seed < 20; seed++) both_see_the_same(seed, 40, 30);
    both_see_the_same(20, 40, 5000); /* many readings */
    both_see_the_same(21, 40, 5000);
    both_see_the_same(22, 2, 10000); /* slots too large to be read at once */
}

/* ---- what it costs, and what breaks ---- */

struct visit {
    struct read_ahead *ahead;
    int rows;
};

static bool count_row(void *ctx, struct bytes key, struct bytes value)
{
    (void)key, (void)value;
    ((struct visit *)ctx)->rows++;
    return true;
}

/* Each row asks for the rest of its slot. */
static bool visit_row(void *ctx, struct bytes key, struct bytes value)
{
    struct visit *v = ctx, inner = *v;
    uint8_t end[2] = {key.data[0], (uint8_t)(key.data[1] + 1)};
    (void)value;
    v->rows++;
    assert_int_equal(read_ahead_range(v->ahead, key, bytes_of(end, sizeof end), count_row, &inner),
                     ENGINE_ABSENT);
    return true;
}

TEST(what_is_asked_within_a_walk_is_there_already)
{
    static struct space_pin state;
    struct prng random;
    prng_init(&random, 7);
    fill(&state, &random, 10, 30);
    struct read_ahead ahead = {.state = &state};
    struct visit v = {&ahead, 0};
    assert_int_equal(read_ahead_range(&ahead, BYTES("\0"), BYTES("\1"), visit_row, &v),
                     ENGINE_ABSENT);
    assert_int_equal(v.rows, ROWS);
    assert_int_equal(state.reads, 1);
    empty(&state, &ahead);
}

TEST(a_read_that_fails_is_told_and_what_follows_is_read_again)
{
    static struct space_pin state;
    struct prng random;
    prng_init(&random, 8);
    fill(&state, &random, 40, 8000);
    struct read_ahead ahead = {.state = &state};
    struct visit v = {&ahead, 0};
    state.breaks = 3;
    assert_int_equal(read_ahead_range(&ahead, BYTES("\0"), BYTES("\1"), count_row, &v),
                     ENGINE_E_IO);
    v.rows = 0;
    assert_int_equal(read_ahead_range(&ahead, BYTES("\0"), BYTES("\1"), count_row, &v),
                     ENGINE_ABSENT);
    assert_int_equal(v.rows, ROWS);
    empty(&state, &ahead);
}

TEST_MAIN
