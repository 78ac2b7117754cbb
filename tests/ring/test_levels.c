/* levels: shares and extremes against naive twins. */
#include "test.h"
#include "base/prng.h"
#include "ring/levels.h"

#define PLACES_MAX 40

struct world {
    struct levels l;
    struct levels_zone zone[PLACES_MAX];
    size_t zones;
    void *memory;
};

static struct world world_of(size_t places, size_t zones)
{
    struct world w = {.zones = zones, .memory = malloc(levels_size(places))};
    levels_init(&w.l, places, w.memory);
    for (size_t z = 0; z < zones; z++)
        w.zone[z] = (struct levels_zone){(uint16_t)(z * places / zones),
                                         (uint16_t)((z + 1) * places / zones), 1000000};
    for (size_t p = 0; p < places; p++) {
        w.l.capacity[p] = 100;
        w.l.limit[p] = 1000000;
    }
    return w;
}

TEST(shares_are_by_capacity)
{
    struct world w = world_of(3, 1);
    w.l.capacity[1] = 200;
    levels_share_out(&w.l, w.zone, 1, 4000);
    assert_in_range(w.l.target[0], 999, 1000);
    assert_in_range(w.l.target[1], 1999, 2000);
    free(w.memory);
}

TEST(what_a_place_cannot_take_the_others_share)
{
    struct world w = world_of(3, 1);
    w.l.limit[1] = 400;
    levels_share_out(&w.l, w.zone, 1, 3000);
    assert_int_equal(w.l.target[1], 400);
    assert_in_range(w.l.target[2], 1299, 1300);
    free(w.memory);
}

TEST(what_a_zone_cannot_take_the_others_share)
{
    struct world w = world_of(6, 3);
    w.zone[1].limit = 500;
    levels_share_out(&w.l, w.zone, 3, 3300);
    assert_in_range(w.l.target[2], 249, 250);
    assert_in_range(w.l.target[0], 699, 700);
    free(w.memory);
}

TEST(a_place_without_capacity_has_no_share_and_is_no_answer)
{
    struct world w = world_of(3, 1);
    w.l.capacity[0] = 0;
    levels_share_out(&w.l, w.zone, 1, 2000);
    levels_rebuild(&w.l);
    levels_set(&w.l, 1, 10);
    assert_in_range(w.l.target[1], 999, 1000);
    assert_int_equal(levels_lowest(&w.l, 0, 3), 2);
    assert_int_equal(levels_lowest(&w.l, 0, 1), LEVELS_NONE);
    levels_hide(&w.l, 2);
    assert_int_equal(levels_lowest(&w.l, 0, 3), 1);
    levels_show(&w.l, 2);
    assert_int_equal(levels_lowest(&w.l, 0, 3), 2);
    free(w.memory);
}

/* Within the thousandth in which a hash decides. */
static bool is_extreme(const struct world *w, uint16_t found, uint32_t first, uint32_t end,
                       bool lowest)
{
    for (uint32_t p = first; p < end; p++) {
        uint64_t mine = w->l.level[found], other = w->l.level[p], slack = LEVEL_ONE / 1024;
        if (lowest ? other + slack <= mine : other >= mine + slack) return false;
    }
    return found >= first && found < end;
}

TEST(lowest_and_highest_are_those_of_a_scan)
{
    struct prng r;
    prng_init(&r, 1);
    for (int i = 0; i < 200; i++) {
        size_t places = 1 + prng_below(&r, PLACES_MAX);
        struct world w = world_of(places, 1);
        levels_share_out(&w.l, w.zone, 1, places * 1000);
        levels_rebuild(&w.l);
        for (int j = 0; j < 50; j++) {
            uint32_t first = (uint32_t)prng_below(&r, places);
            uint32_t end = (uint32_t)(first + 1 + prng_below(&r, places - first));
            levels_set(&w.l, (uint16_t)prng_below(&r, places), prng_below(&r, 5000));
            assert_true(is_extreme(&w, levels_lowest(&w.l, first, end), first, end, true));
            assert_true(is_extreme(&w, levels_highest(&w.l, first, end), first, end, false));
        }
        free(w.memory);
    }
}

TEST_MAIN
