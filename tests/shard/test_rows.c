/* Rows from elsewhere, against a map that knows all. */
#include "test.h"

#include "base/mem.h"
#include "base/prng.h"
#include "shard/rows.h"

/* ---- the truth: a value for each of a few keys, which are in order ---- */

#define KEYS 121 /* all of up to four letters */

struct truth {
    uint8_t value[KEYS]; /* 0: absent */
};

struct rig {
    struct buf key[KEYS];
    uint8_t bytes[512];       /* what values are made of */
    struct truth truth, twin; /* what is on the far side; what the near view should show */
    struct rows *rows;
    struct view near, far;
    struct prng random, misses;
    uint32_t miss_ppm; /* of the far side's own source */
    size_t fetches, fetches_max;
    struct buf answer;
};

/* A word and those that begin with it. The letters are such that "w" and "w\0" meet, and that what
 * lies above 0xff is tried. */
static size_t keys_make(struct rig *r, size_t at, const char *word, size_t size)
{
    static const char letter[3] = {0, 'a', (char)0xff};
    char longer[4];
    buf_append(&r->key[at], "\0\1", 2);
    buf_append(&r->key[at++], word, size);
    for (size_t i = 0; i < sizeof letter && size < sizeof longer; i++) {
        memcpy(longer, word, size);
        longer[size] = letter[i];
        at = keys_make(r, at, longer, size + 1);
    }
    return at;
}

static struct bytes key_at(const struct rig *r, size_t i)
{
    return buf_bytes(&r->key[i]);
}

/* The first that is not below `key`. */
static size_t key_index(const struct rig *r, struct bytes key)
{
    size_t i = 0;
    while (i < KEYS && bytes_compare(key_at(r, i), key) < 0) i++;
    return i;
}

static struct bytes value_of(const struct rig *r, uint8_t value)
{
    return bytes_of(r->bytes + value, value % 8 == 1 ? 200 - value % 64 : value % 16);
}

static enum view_result truth_get(void *ctx, struct bytes key, struct bytes *value)
{
    struct rig *r = ctx;
    size_t i = key_index(r, key);
    *value = (struct bytes){0};
    if (prng_chance(&r->misses, r->miss_ppm)) return VIEW_MISS;
    if (i == KEYS || !bytes_equal(key_at(r, i), key) || !r->truth.value[i]) return VIEW_ABSENT;
    *value = value_of(r, r->truth.value[i]);
    return VIEW_FOUND;
}

static enum view_result truth_range(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                                    view_each *each, void *each_ctx)
{
    struct rig *r = ctx;
    size_t a = key_index(r, lo), b = key_index(r, hi);
    for (size_t n = a; n < b; n++) {
        size_t i = reverse ? b - 1 - (n - a) : n;
        if (!r->truth.value[i]) continue;
        if (prng_chance(&r->misses, r->miss_ppm)) return VIEW_MISS;
        if (!each(each_ctx, key_at(r, i), value_of(r, r->truth.value[i]))) return VIEW_FOUND;
    }
    return VIEW_ABSENT;
}

/* ---- the rig ---- */

static struct rig *rig_new(uint64_t seed)
{
    struct rig *r = mem_zalloc(sizeof *r);
    assert_int_equal(keys_make(r, 0, "", 0), KEYS);
    prng_init(&r->random, seed);
    prng_init(&r->misses, seed + 1);
    for (size_t i = 0; i < sizeof r->bytes; i++) r->bytes[i] = (uint8_t)prng_u64(&r->random);
    r->rows = rows_new();
    view_init(&r->near);
    view_init(&r->far);
    return r;
}

static void rig_free(struct rig *r)
{
    for (size_t i = 0; i < KEYS; i++) buf_deinit(&r->key[i]);
    rows_free(r->rows);
    view_deinit(&r->near);
    view_deinit(&r->far);
    buf_deinit(&r->answer);
    mem_free(r);
}

/* Key number i is there if it is a multiple of `step`. */
static void rig_fill(struct rig *r, size_t step)
{
    for (size_t i = 0; i < KEYS; i++) r->truth.value[i] = i % step ? 0 : (uint8_t)(i + 1);
}

static void near_begin(struct rig *r)
{
    struct view_source source = rows_source(r->rows);
    view_begin(&r->near, &source, 1000, 1, 1 << 16, 0, 4);
    r->twin = r->truth;
}

static bool ask(struct rig *r, struct bytes lo, struct bytes hi, bool reverse, size_t bytes_max)
{
    struct view_source source = {truth_get, truth_range, r};
    view_begin(&r->far, &source, 1000, 1, 1 << 16, 0, 4);
    buf_clear(&r->answer);
    buf_u8(&r->answer, 'x');
    if (rows_encode(&r->far, lo, hi, reverse, bytes_max, &r->answer)) {
        buf_drop_front(&r->answer, 1);
        return true;
    }
    assert_true(r->far.missed);
    assert_int_equal(r->answer.size, 1);
    return false;
}

static bool take(struct rig *r)
{
    struct reader in = reader_of(buf_bytes(&r->answer));
    return rows_add(r->rows, &in) && reader_left(&in) == 0;
}

static void fetch(struct rig *r, size_t lo, size_t hi, bool reverse, size_t bytes_max)
{
    assert_true(ask(r, key_at(r, lo), key_at(r, hi), reverse, bytes_max));
    assert_true(take(r));
}

static enum view_result get(struct rig *r, size_t i)
{
    struct bytes value;
    near_begin(r);
    enum view_result result = view_get(&r->near, key_at(r, i), &value);
    if (result == VIEW_FOUND) assert_true(bytes_equal(value, value_of(r, r->truth.value[i])));
    return result;
}

struct walk {
    struct rig *rig;
    size_t a, b; /* what is left: keys [a, b) */
    bool reverse;
    uint64_t left; /* stop after so many */
};

/* The next that the twin has: its index; KEYS if there is none. */
static size_t walk_next(struct walk *w)
{
    while (w->a < w->b) {
        size_t i = w->reverse ? --w->b : w->a++;
        if (w->rig->twin.value[i]) return i;
    }
    return KEYS;
}

static bool walk_each(void *ctx, struct bytes key, struct bytes value)
{
    struct walk *w = ctx;
    size_t i = walk_next(w);
    assert_true(i < KEYS);
    assert_true(bytes_equal(key, key_at(w->rig, i)));
    assert_true(bytes_equal(value, value_of(w->rig, w->rig->twin.value[i])));
    return --w->left > 0;
}

static enum view_result walk(struct rig *r, size_t lo, size_t hi, bool reverse, uint64_t left)
{
    struct walk w = {r, lo, hi, reverse, left};
    enum view_result result =
        view_range(&r->near, key_at(r, lo), key_at(r, hi), reverse, walk_each, &w);
    if (result == VIEW_ABSENT) assert_int_equal(walk_next(&w), KEYS); /* nothing left out */
    if (result == VIEW_FOUND) assert_int_equal(w.left, 0);
    return result;
}

static enum view_result range(struct rig *r, size_t lo, size_t hi, bool reverse, uint64_t left)
{
    near_begin(r);
    return walk(r, lo, hi, reverse, left);
}

static void expect_missing(struct rig *r, size_t lo, size_t hi, bool reverse, struct bytes want_lo,
                           struct bytes want_hi)
{
    struct buf a = buf_copy(key_at(r, lo)), b = buf_copy(key_at(r, hi));
    rows_missing(r->rows, &a, &b, reverse);
    assert_true(bytes_equal(buf_bytes(&a), want_lo));
    assert_true(bytes_equal(buf_bytes(&b), want_hi));
    buf_deinit(&a), buf_deinit(&b);
}

/* ---- the rules ---- */

TEST(a_key_is_known_present_or_absent_and_so_is_nothing_else)
{
    struct rig *r = rig_new(1);
    rig_fill(r, 2);
    for (size_t i = 50; i < 52; i++) {
        assert_int_equal(get(r, i), VIEW_MISS);
        assert_true(ask(r, key_at(r, i), (struct bytes){0}, false, 0));
        assert_true(take(r));
        assert_int_equal(get(r, i), i == 50 ? VIEW_FOUND : VIEW_ABSENT);
        assert_int_equal(get(r, i - 1), i == 50 ? VIEW_MISS : VIEW_FOUND);
        assert_int_equal(get(r, i + 1), VIEW_MISS);
    }
    rows_clear(r->rows);
    assert_int_equal(get(r, 50), VIEW_MISS);
    assert_int_equal(rows_bytes(r->rows), 0);
    rig_free(r);
}

TEST(a_range_cut_short_is_known_up_to_its_last_row_in_the_direction_of_reading)
{
    struct rig *r = rig_new(1);
    rig_fill(r, 14);
    fetch(r, 16, 95, false, 0); /* one row: 28; its key and a zero is key 29 */
    assert_int_equal(range(r, 16, 29, false, 9), VIEW_ABSENT);
    assert_int_equal(range(r, 16, 30, false, 9), VIEW_MISS);
    assert_int_equal(range(r, 16, 95, false, 1), VIEW_FOUND); /* it wants no more */
    assert_int_equal(range(r, 16, 95, false, 2), VIEW_MISS);
    fetch(r, 16, 95, true, 0); /* 84 */
    assert_int_equal(range(r, 84, 95, true, 9), VIEW_ABSENT);
    assert_int_equal(range(r, 83, 95, true, 9), VIEW_MISS);
    assert_int_equal(range(r, 16, 95, true, 1), VIEW_FOUND);
    assert_int_equal(range(r, 16, 95, true, 2), VIEW_MISS);
    assert_int_equal(range(r, 16, 95, false, 2), VIEW_MISS);
    rig_free(r);
}

TEST(what_is_missing_is_the_first_gap_in_the_direction_of_reading)
{
    struct rig *r = rig_new(1);
    struct bytes none = {0};
    rig_fill(r, 3);
    fetch(r, 20, 30, false, SIZE_MAX);
    fetch(r, 60, 70, true, SIZE_MAX);
    for (int reverse = 0; reverse < 2; reverse++) {
        expect_missing(r, 22, 28, reverse, none, none);
        expect_missing(r, 25, 65, reverse, key_at(r, 30), key_at(r, 60));
        expect_missing(r, 30, 60, reverse, key_at(r, 30), key_at(r, 60));
        expect_missing(r, 40, 50, reverse, key_at(r, 40), key_at(r, 50));
    }
    expect_missing(r, 10, 90, false, key_at(r, 10), key_at(r, 20));
    expect_missing(r, 10, 90, true, key_at(r, 70), key_at(r, 90));
    fetch(r, 30, 60, false, SIZE_MAX); /* now they are one */
    expect_missing(r, 20, 70, false, none, none);
    assert_int_equal(range(r, 20, 70, true, UINT64_MAX), VIEW_ABSENT);
    rig_free(r);
}

TEST(a_range_that_comes_again_replaces_what_was_known_in_it)
{
    struct rig *r = rig_new(1);
    rig_fill(r, 2);
    fetch(r, 10, 60, false, SIZE_MAX);
    size_t bytes = rows_bytes(r->rows);
    fetch(r, 20, 50, false, SIZE_MAX);
    assert_int_equal(rows_bytes(r->rows), bytes);
    for (size_t i = 20; i < 50; i++) r->truth.value[i] = (uint8_t)(i % 3);
    fetch(r, 20, 50, true, SIZE_MAX);
    assert_int_equal(range(r, 10, 60, false, UINT64_MAX), VIEW_ABSENT);
    rig_free(r);
}

/* An answer made by hand: in [b, f), the rows `keys`, one letter each. */
static bool take_letters(struct rig *r, const char *lo, const char *hi, const char *keys,
                         uint32_t count)
{
    buf_clear(&r->answer);
    buf_blob(&r->answer, bytes_str(lo));
    buf_blob(&r->answer, bytes_str(hi));
    buf_u32(&r->answer, count);
    for (; *keys; keys++) {
        buf_blob(&r->answer, bytes_of(keys, 1));
        buf_blob(&r->answer, BYTES("value"));
    }
    return take(r);
}

TEST(a_malformed_answer_is_refused_and_nothing_is_taken)
{
    struct rig *r = rig_new(1);
    assert_false(take_letters(r, "b", "f", "ac", 2)); /* below */
    assert_false(take_letters(r, "b", "f", "cf", 2)); /* above */
    assert_false(take_letters(r, "b", "f", "dc", 2)); /* falling */
    assert_false(take_letters(r, "b", "f", "cc", 2)); /* twice */
    assert_false(take_letters(r, "b", "f", "cd", 3)); /* fewer than it says */
    assert_false(take_letters(r, "b", "f", "cd", UINT32_MAX));
    assert_false(take_letters(r, "f", "b", "", 0));
    assert_false(take_letters(r, "b", "b", "", 0));
    assert_false(take_letters(r, "b", "", "", 0));
    assert_int_equal(rows_bytes(r->rows), 0);

    rig_fill(r, 2);
    assert_true(ask(r, key_at(r, 10), key_at(r, 30), false, SIZE_MAX));
    for (size_t size = r->answer.size; r->answer.size = --size, size > 0;) assert_false(take(r));
    assert_int_equal(rows_bytes(r->rows), 0);
    assert_true(take_letters(r, "b", "f", "be", 2));
    rig_free(r);
}

TEST(a_far_side_that_misses_on_its_way_answers_nothing)
{
    struct rig *r = rig_new(1);
    size_t answers = 0;
    rig_fill(r, 10);
    r->miss_ppm = 100000;
    for (int i = 0; i < 100; i++) answers += ask(r, key_at(r, 0), key_at(r, 100), i % 2, SIZE_MAX);
    assert_in_range(answers, 1, 99);
    rig_free(r);
}

/* ---- near against far ---- */

/* Asks for what the near view missed, as its coordinator does. */
static void fetch_missed(struct rig *r)
{
    struct view *v = &r->near;
    size_t bytes_max = prng_below(&r->misses, 200);
    assert_int_equal(v->refused, VIEW_ALLOWED);
    rows_missing(r->rows, &v->miss_lo, &v->miss_hi, v->miss_reverse);
    struct bytes lo = buf_bytes(&v->miss_lo), hi = buf_bytes(&v->miss_hi);
    assert_true(lo.size > 0); /* something is missing, then */
    while (!ask(r, lo, hi, v->miss_reverse, bytes_max)) continue;
    assert_true(take(r));
    assert_true(++r->fetches <= r->fetches_max);
}

static void operate(struct rig *r)
{
    size_t i = prng_below(&r->random, KEYS), k = prng_below(&r->random, KEYS);
    uint8_t what = (uint8_t)prng_below(&r->random, 8), value = (uint8_t)prng_u64(&r->random);
    struct bytes got;
    if (what < 2) {
        r->twin.value[i] = what ? value : 0;
        if (r->twin.value[i])
            view_put(&r->near, key_at(r, i), value_of(r, value));
        else
            view_del(&r->near, key_at(r, i));
    } else if (what < 4) {
        enum view_result result = view_get(&r->near, key_at(r, i), &got);
        if (result == VIEW_MISS) return;
        assert_int_equal(result == VIEW_FOUND, r->twin.value[i] != 0);
        assert_true(bytes_equal(got, value_of(r, r->twin.value[i])));
    } else {
        (void)walk(r, i, k, what % 2, what < 6 ? UINT64_MAX : 1U + value % 6);
    }
}

/* Another truth, of which nothing is known. */
static void rig_renew(struct rig *r)
{
    rows_clear(r->rows);
    rig_fill(r, 1 + prng_below(&r->random, 1 + prng_below(&r->random, 30)));
    r->miss_ppm = prng_below(&r->random, 4) ? 0 : 50000;
    r->fetches = r->fetches_max = 0;
    for (size_t i = 0; i < KEYS; i++) r->fetches_max += r->truth.value[i] != 0;
}

/* Evaluates the same operations until they do not miss. */
static void evaluation(struct rig *r)
{
    uint64_t operations = prng_below(&r->random, 12);
    struct prng begin = r->random;
    r->fetches_max += 2 * operations;
    do {
        r->random = begin;
        near_begin(r);
        for (uint64_t i = 0; i < operations && !r->near.missed; i++) operate(r);
        if (r->near.missed) fetch_missed(r);
    } while (r->near.missed);
}

/* A fetch brings a row, or all of a gap. An operation makes one gap at most, for it goes on where
 * the answer before ended; and one fetch is its last. So there are no more than rows + 2 x
 * operations. */
TEST(a_view_over_fetched_rows_shows_what_the_far_side_has)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct rig *r = rig_new(seed);
        for (int round = 0; round < 100; round++) {
            if (round % 5 == 0) rig_renew(r);
            evaluation(r);
        }
        rig_free(r);
    }
}

TEST_MAIN
