/* Reading ahead beside plain reading of the same state: whatever is walked from wherever, until
 * whenever, and asked meanwhile, gives the same rows. */
#include "store/world.h"
#include "base/prng.h"
#include "node/read_ahead.h"

#define SLOTS    20
#define ROWS     600
#define LONG_ROW 60000 /* so that a walk needs several reads */

struct walker {
    struct read_ahead *ahead;
    const struct space_pin *pin;
    struct buf seen;
    uint32_t left; /* rows until it has enough */
};

static struct bytes key_of(uint32_t i, char text[8])
{
    (void)snprintf(text, 8, "b%c%05u", (char)('a' + i / (ROWS / SLOTS)), i);
    return bytes_of(text, 7);
}

static bool see(void *ctx, struct bytes key, struct bytes value)
{
    struct walker *w = ctx;
    buf_blob(&w->seen, key);
    buf_u64(&w->seen, value.size);
    return --w->left > 0;
}

static enum engine_result range(struct walker *w, struct bytes lo, struct bytes hi,
                                bool (*each)(void *ctx, struct bytes key, struct bytes value))
{
    return w->ahead ? read_ahead_range(w->ahead, lo, hi, each, w)
                    : space_pin_range(w->pin, lo, hi, each, w);
}

static bool see_and_ask(void *ctx, struct bytes key, struct bytes value)
{
    struct walker *w = ctx;
    uint32_t left = w->left;
    struct buf lo = buf_copy(key), hi = buf_copy(key);
    hi.data[hi.size - 1]++;
    w->left = 3;
    (void)range(w, buf_bytes(&lo), buf_bytes(&hi), see);
    buf_deinit(&lo), buf_deinit(&hi);
    w->left = left;
    return see(ctx, key, value);
}

static void fill(struct world *w)
{
    uint8_t *room = calloc(1, LONG_ROW);
    char text[8];
    for (uint32_t i = 0; i < ROWS; i++)
        space_put(w->space, 1, key_of(i, text), bytes_of(room, i % 7 ? i : LONG_ROW));
    space_set_applied(w->space, 1);
    free(room);
}

static void walk_both(struct walker *fast, struct walker *plain, struct prng *r)
{
    char from[8], to[8];
    uint32_t a = (uint32_t)prng_below(r, ROWS), b = a + (uint32_t)prng_below(r, ROWS - a);
    struct bytes lo = key_of(a, from), hi = key_of(b, to);
    bool asks = prng_below(r, 2);
    fast->left = plain->left = prng_below(r, 2) ? UINT32_MAX : 1 + (uint32_t)prng_below(r, 50);
    buf_clear(&fast->seen), buf_clear(&plain->seen);
    enum engine_result f = range(fast, lo, hi, asks ? see_and_ask : see),
                       p = range(plain, lo, hi, asks ? see_and_ask : see);
    assert_int_equal(f, p);
    assert_true(bytes_equal(buf_bytes(&fast->seen), buf_bytes(&plain->seen)));
}

TEST(what_is_read_ahead_is_what_is_there)
{
    struct world w;
    struct prng r;
    world_init(&w, false, 0, 1);
    fill(&w);
    struct space_pin *pin = space_pin_new(w.space);
    prng_init(&r, 7);
    for (int round = 0; round < 30; round++) {
        struct read_ahead ahead = {.state = pin};
        struct walker fast = {.ahead = &ahead}, plain = {.pin = pin};
        for (int i = 0; i < 20; i++) walk_both(&fast, &plain, &r);
        buf_deinit(&fast.seen), buf_deinit(&plain.seen);
        read_ahead_free(&ahead);
    }
    space_pin_free(pin);
    world_deinit(&w);
}

TEST_MAIN
