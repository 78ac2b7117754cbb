/* A space on either engine: what each call promises, told one at a time. The random comparison is
 * in test_space_model.c. */
#include "world.h"
#include "base/prng.h"

#include <pthread.h>

/* Runs the body for both engines. */
#define BOTH(w, miss)                                                                              \
    for (int rocks_ = 0; rocks_ < 2; rocks_++)                                                     \
        for (struct world w, *once_ = (world_init(&w, rocks_, miss, 1), &w); once_;                \
             once_ = NULL, world_deinit(&w))

TEST(what_was_flushed_is_there_after_a_crash_and_what_was_not_is_gone)
{
    BOTH(w, 0)
    {
        struct buf record = {0};
        assert_int_equal(space_flushed_record(w.space, &record), ENGINE_ABSENT);
        world_put(&w, 1, "a1", "one");
        world_put(&w, 2, "a2", "two");
        world_put(&w, 3, "a3", "pending");
        world_flush(&w, 2, "at 2");
        EXPECT_BYTES(world_get(&w, "a3", true), "pending");
        space_set_applied(w.space, 3);

        world_crash(&w);
        assert_int_equal(space_flushed_record(w.space, &record), ENGINE_FOUND);
        EXPECT_BYTES(buf_bytes(&record), "at 2");
        EXPECT_BYTES(world_get(&w, "a1", true), "one");
        EXPECT_BYTES(world_get(&w, "a2", true), "two");
        EXPECT_BYTES(world_get(&w, "a3", true), "(absent)");
        buf_deinit(&record);
    }
}

TEST(a_flush_under_way_hides_nothing_and_a_second_one_is_refused)
{
    BOTH(w, 0)
    {
        world_put(&w, 1, "a1", "one");
        assert_true(space_flush(w.space, 1, BYTES("r")));
        assert_true(space_flushing(w.space));
        EXPECT_BYTES(world_get(&w, "a1", true), "one");
        world_put(&w, 2, "a1", "new");
        assert_false(space_flush(w.space, 2, BYTES("r")));
        pool_run(&w.pool);
        EXPECT_BYTES(world_get(&w, "a1", true), "new");
        assert_int_equal(w.reports, 0);
        pool_finish(&w.pool);
        assert_int_equal(w.flushed, 1);
        EXPECT_BYTES(world_get(&w, "a1", true), "new");
        world_flush(&w, 2, "r");
        assert_false(space_flush(w.space, 2, BYTES("r"))); /* nothing happened since */
        world_flush(&w, 3, "r");                           /* only the position moved */
    }
}

TEST(a_failed_flush_keeps_its_table_and_the_next_call_tries_again)
{
    struct world w;
    world_init(&w, false, 0, 1);
    world_put(&w, 1, "a1", "one");
    engine_mem_set_full(w.disk, true);
    assert_true(space_flush(w.space, 1, BYTES("at 1")));
    pool_finish(&w.pool);
    assert_int_equal(w.error, -28); /* no space */
    EXPECT_BYTES(world_get(&w, "a1", true), "one");
    world_put(&w, 2, "a2", "two");

    engine_mem_set_full(w.disk, false);
    assert_true(space_flush(w.space, 2, BYTES("at 2")));
    pool_finish(&w.pool);
    assert_int_equal(w.error, 0);
    assert_int_equal(w.flushed, 1); /* the old table first, with its own record */
    world_flush(&w, 2, "at 2");
    world_deinit(&w);
}

TEST(a_wipe_hides_all_layers_at_once_and_the_flush_carries_it)
{
    BOTH(w, 0)
    {
        world_put(&w, 1, "a1", "engine");
        world_flush(&w, 1, "r");
        world_put(&w, 2, "a2", "frozen");
        assert_true(space_flush(w.space, 2, BYTES("r")));
        world_put(&w, 3, "a3", "recent");
        EXPECT_BYTES(world_get(&w, "a1", true), "engine"); /* now in the cache */
        space_wipe(w.space, 4);
        world_put(&w, 4, "a4", "after");
        for (int i = 0; i < 2; i++) {
            EXPECT_BYTES(world_get(&w, "a1", true), "(absent)");
            EXPECT_BYTES(world_get(&w, "a2", true), "(absent)");
            EXPECT_BYTES(world_get(&w, "a3", true), "(absent)");
            EXPECT_BYTES(world_get(&w, "a4", true), "after");
            struct bytes value;
            uint64_t position;
            (void)space_get_at(w.space, BYTES("a1"), true, &value, &position);
            assert_int_equal(position, i == 0 ? 4 : 0);
            if (i == 0) pool_finish(&w.pool), world_flush(&w, 4, "r");
        }
        world_crash(&w);
        EXPECT_BYTES(world_get(&w, "a1", true), "(absent)");
        EXPECT_BYTES(world_get(&w, "a4", true), "after");
    }
}

TEST(a_dropped_wipe_brings_everything_back)
{
    BOTH(w, 0)
    {
        world_put(&w, 1, "a1", "engine");
        world_flush(&w, 1, "r");
        world_put(&w, 2, "a2", "recent");
        space_set_applied(w.space, 2);
        space_wipe(w.space, 3);
        EXPECT_BYTES(world_get(&w, "a1", true), "(absent)");
        space_drop_pending(w.space);
        EXPECT_BYTES(world_get(&w, "a1", true), "engine");
        EXPECT_BYTES(world_get(&w, "a2", true), "recent");
    }
}

static bool count_keys(void *ctx, struct bytes key, struct bytes value)
{
    (void)key, (void)value;
    ++*(uint64_t *)ctx;
    return true;
}

static uint64_t engine_keys(struct engine *e)
{
    struct engine_iter *it;
    struct bytes key, value;
    uint64_t keys = 0;
    assert_int_equal(engine_iter_new(e, BYTES("a"), BYTES("z"), false, true, &it), ENGINE_FOUND);
    while (engine_iter_next(e, it, &key, &value) == ENGINE_FOUND) keys++;
    engine_iter_free(e, it);
    return keys;
}

TEST(digests_are_equal_however_the_data_is_layered_and_whether_or_not_trash_was_removed)
{
    BOTH(w, 0)
    {
        uint64_t digest[4], keys[4];
        world_put(&w, 1, "a1", "one");
        world_put(&w, 2, "s/1/a", "member");
        world_put(&w, 2, "s/1/b", "member");
        world_put(&w, 3, "s/2/a", "member");
        space_set_applied(w.space, 3);
        assert_int_equal(space_digest(w.space, &digest[0], &keys[0]), ENGINE_FOUND);
        assert_int_equal(keys[0], 4);

        world_flush(&w, 3, "r");
        assert_int_equal(space_digest(w.space, &digest[1], &keys[1]), ENGINE_FOUND);
        assert_true(digest[0] == digest[1]);
        space_trash(w.space, 4, BYTES("s/1/"));
        assert_int_equal(space_digest(w.space, &digest[1], &keys[1]), ENGINE_FOUND);
        assert_true(digest[0] == digest[1]); /* pending */

        space_set_applied(w.space, 4);
        assert_int_equal(space_digest(w.space, &digest[1], &keys[1]),
                         ENGINE_FOUND); /* remembered in the recent table */
        assert_true(digest[0] != digest[1]);
        assert_int_equal(keys[1], 2);
        assert_true(space_flush(w.space, 4, BYTES("r")));
        assert_int_equal(space_digest(w.space, &digest[2], &keys[2]),
                         ENGINE_FOUND); /* in the frozen one */
        assert_int_equal(engine_keys(w.engine), 4);
        pool_finish(&w.pool);
        assert_int_equal(space_digest(w.space, &digest[3], &keys[3]),
                         ENGINE_FOUND); /* in the engine */
        assert_int_equal(engine_keys(w.engine), 2);
        assert_true(digest[1] == digest[2] && digest[2] == digest[3]);
        assert_int_equal(keys[3], 2);

        world_put(&w, 5, "a1", "two");
        space_set_applied(w.space, 5);
        assert_int_equal(space_digest(w.space, &digest[2], &keys[2]), ENGINE_FOUND);
        assert_true(digest[2] != digest[3]);
    }
}

static void fetched(void *ctx, struct space_fetch *f)
{
    (void)f;
    ++*(int *)ctx;
}

static int fetch(struct world *w, const char *lo, const char *hi, bool reverse, uint32_t limit)
{
    int done = 0;
    struct space_fetch f = {.reverse = reverse, .limit = limit, .done = fetched, .ctx = &done};
    buf_append_bytes(&f.lo, bytes_str(lo));
    buf_append_bytes(&f.hi, bytes_str(hi));
    space_fetch(w->space, &f);
    assert_int_equal(done, 0); /* never from inside the call */
    pool_finish(&w->pool);
    assert_true(f.result == ENGINE_FOUND || f.result == ENGINE_ABSENT);
    buf_deinit(&f.lo);
    buf_deinit(&f.hi);
    return done;
}

TEST(a_read_that_would_wait_for_the_disk_misses_is_fetched_and_then_hits)
{
    BOTH(w, 1000000)
    {
        world_put(&w, 1, "a1", "one");
        world_put(&w, 1, "a2", "two");
        world_flush(&w, 1, "r");
        world_crash(&w); /* nothing cached */
        EXPECT_BYTES(world_get(&w, "a1", false), "(miss)");
        assert_int_equal(fetch(&w, "a1", "", false, 1), 1);
        EXPECT_BYTES(world_get(&w, "a1", false), "one");

        uint64_t keys = 0;
        world_crash(&w);
        assert_int_equal(
            space_range(w.space, BYTES("a"), BYTES("b"), false, false, count_keys, &keys),
            ENGINE_MISS);
        assert_int_equal(fetch(&w, "a", "b", false, 0), 1);
        assert_int_equal(
            space_range(w.space, BYTES("a"), BYTES("b"), false, false, count_keys, &keys),
            ENGINE_ABSENT);
        assert_int_equal(keys, 2);
    }
}

/* The limit counts live keys: those that a table deleted must be stepped over too, or the read
 * would miss for ever. */
TEST(a_limited_fetch_reaches_past_keys_that_are_deleted_in_memory)
{
    struct world w;
    world_init(&w, false, 1000000, 1);
    char key[8];
    for (int i = 0; i < 60; i++)
        (void)snprintf(key, sizeof key, "a%02d", i), world_put(&w, 1, key, "x");
    world_flush(&w, 1, "r");
    for (int i = 0; i < 50; i++)
        (void)snprintf(key, sizeof key, "a%02d", i), space_del(w.space, 2, bytes_str(key));
    assert_int_equal(fetch(&w, "a", "b", false, 3), 1);
    uint64_t keys = 0;
    enum engine_result result =
        space_range(w.space, BYTES("a"), BYTES("a53"), false, false, count_keys, &keys);
    assert_int_equal(result, ENGINE_ABSENT);
    assert_int_equal(keys, 3);
    world_deinit(&w);
}

static bool count_one(void *ctx, struct bytes key, struct bytes value)
{
    (void)key, (void)value;
    ++*(int *)ctx;
    return true;
}

static void pin_holds(const struct space_pin *p, int keys)
{
    int seen = 0;
    assert_int_equal(space_pin_range(p, BYTES("a"), BYTES("z"), count_one, &seen), ENGINE_ABSENT);
    assert_int_equal(seen, keys);
}

TEST(a_kept_state_is_settled_by_a_copy_if_it_is_small_and_by_a_flush_if_not)
{
    BOTH(w, 0)
    {
        static char large[SPACE_PIN_COPY + 1];
        memset(large, 'v', sizeof large - 1);
        world_put(&w, 1, "a1", "one");
        world_put(&w, 1, "a2", "two");
        world_flush(&w, 1, "r");
        world_put(&w, 2, "a3", "three");
        space_del(w.space, 2, BYTES("a1"));
        space_set_applied(w.space, 2);
        struct space_pin *small = space_pin_new(w.space);
        world_put(&w, 3, "a4", "later");
        space_del(w.space, 3, BYTES("a2"));
        space_set_applied(w.space, 3);
        assert_true(space_pin_settle(small));
        assert_false(space_flushing(w.space));
        world_put(&w, 4, "a3", large);
        space_set_applied(w.space, 4);
        struct space_pin *big = space_pin_new(w.space);
        assert_false(space_pin_settle(big));
        assert_true(space_flush(w.space, 4, BYTES("r")));
        assert_true(space_pin_settle(big));
        pool_finish(&w.pool);
        pin_holds(small, 2); /* a2 and a3 */
        pin_holds(big, 2);   /* a3 and a4 */
        space_wipe(w.space, 5);
        space_set_applied(w.space, 5);
        struct space_pin *wiped = space_pin_new(w.space);
        assert_false(space_pin_settle(wiped)); /* a copy would not hide what is below */
        pin_holds(wiped, 0);
        space_pin_free(small), space_pin_free(big), space_pin_free(wiped);
    }
}

/* The pool read the old value, then the key was written and flushed, then the read reported: the
 * cache must not take it. */
TEST(a_fetch_that_comes_back_late_does_not_cache_what_was_overwritten_meanwhile)
{
    BOTH(w, 0)
    {
        world_put(&w, 1, "a1", "old");
        world_put(&w, 1, "a2", "other");
        world_flush(&w, 1, "r");
        EXPECT_BYTES(world_get(&w, "a2", true), "other"); /* the cache is not empty */
        int done = 0;
        struct space_fetch f = {.done = fetched, .ctx = &done};
        buf_append(&f.lo, "a1", 2);
        space_fetch(w.space, &f);
        pool_run(&w.pool); /* has read "old" */
        world_put(&w, 2, "a1", "new");
        assert_true(space_flush(w.space, 2, BYTES("r")));
        struct io_work *read = w.pool.queue[0]; /* its report is late */
        w.pool.queue[0] = w.pool.queue[1];
        w.pool.count = 1;
        w.pool.ran = 0;
        pool_finish(&w.pool);
        assert_int_equal(w.flushed, 2);
        read->done(read->ctx);
        assert_int_equal(done, 1);
        EXPECT_BYTES(world_get(&w, "a1", true), "new");
        buf_deinit(&f.lo);
    }
}

TEST(values_stay_borrowed_until_the_end_of_the_turn_though_the_cache_is_small)
{
    BOTH(w, 0)
    {
        static char text[200][1001];
        char key[8];
        struct bytes value[200];
        for (int i = 0; i < 200; i++) {
            memset(text[i], 'a' + i % 26, 1000);
            (void)snprintf(key, sizeof key, "a%03d", i);
            world_put(&w, 1, key, text[i]);
        }
        world_flush(&w, 1, "r");
        for (int i = 0; i < 200; i++)
            (void)snprintf(key, sizeof key, "a%03d", i), value[i] = world_get(&w, key, true);
        for (int i = 0; i < 200; i++) EXPECT_BYTES(value[i], text[i]);
        space_cache_turn(w.cache);
        struct space_cache_stats stats;
        space_cache_stats(w.cache, &stats);
        assert_true(stats.entries > 20 && stats.bytes <= 64u << 10);
        EXPECT_BYTES(world_get(&w, "a199", false), text[199]);
        space_cache_stats(w.cache, &stats);
        assert_int_equal(stats.hits, 1);
    }
}

TEST(a_space_without_a_cache_works_too)
{
    BOTH(w, 0)
    {
        world_put(&w, 1, "a1", "one");
        world_flush(&w, 1, "r");
        struct space_options o = {.io = &w.pool.io,
                                  .engine = w.engine,
                                  .lo = BYTES("a"),
                                  .hi = BYTES("z"),
                                  .applied_key = APPLIED_KEY,
                                  .flushed = world_flushed,
                                  .ctx = &w};
        struct space *bare = space_new(&o);
        struct bytes one, again;
        assert_int_equal(space_get(bare, BYTES("a1"), true, &one), ENGINE_FOUND);
        assert_int_equal(space_get(bare, BYTES("a1"), true, &again), ENGINE_FOUND);
        EXPECT_BYTES(one, "one");
        EXPECT_BYTES(again, "one");
        space_put(bare, 2, BYTES("a1"), BYTES("two"));
        assert_int_equal(space_get(bare, BYTES("a1"), true, &one), ENGINE_FOUND);
        EXPECT_BYTES(one, "two");
        space_free(bare);
    }
}

/* A value that no cache can hold would miss for ever: the runner's last resort, block = true, must
 * not. */
TEST(a_value_larger_than_every_cache_is_still_read)
{
    BOTH(w, 0)
    {
        size_t size = 20u << 20;
        uint8_t *large = malloc(size);
        struct prng r;
        prng_init(&r, 1);
        for (size_t i = 0; i < size; i++) large[i] = (uint8_t)prng_u64(&r);
        space_put(w.space, 1, BYTES("a1"), bytes_of(large, size));
        world_flush(&w, 1, "r");
        world_crash(&w);
        assert_int_equal(fetch(&w, "a1", "", false, 1), 1);
        struct bytes value;
        assert_int_equal(space_get(w.space, BYTES("a1"), true, &value), ENGINE_FOUND);
        assert_true(bytes_equal(value, bytes_of(large, size)));
        space_cache_turn(w.cache);
        free(large);
    }
}

static void *run_work(void *ctx)
{
    struct io_work *work = ctx;
    work->run(work->ctx);
    return NULL;
}

/* What a real pool does: the frozen table is written on another thread while this one reads it and
 * writes the recent one. */
TEST(a_flush_on_another_thread_disturbs_no_reader)
{
    BOTH(w, 0)
    {
        char key[16], value[16];
        for (uint64_t round = 1; round <= 5; round++) {
            for (int i = 0; i < 3000; i++) {
                (void)snprintf(key, sizeof key, "a%04d", i);
                (void)snprintf(value, sizeof value, "%d", i + (int)round);
                world_put(&w, round, key, value);
            }
            assert_true(space_flush(w.space, round, BYTES("r")));
            pthread_t thread;
            assert_int_equal(pthread_create(&thread, NULL, run_work, w.pool.queue[0]), 0);
            for (int i = 0; i < 3000; i++) {
                (void)snprintf(key, sizeof key, "a%04d", i);
                (void)snprintf(value, sizeof value, "%d", i + (int)round);
                EXPECT_BYTES(world_get(&w, key, true), value);
                (void)snprintf(key, sizeof key, "b%04d", i);
                EXPECT_BYTES(world_get(&w, key, true), round == 1 || i % 2 ? "(absent)" : "even");
                if (i % 2 == 0) world_put(&w, round + 1, key, "even");
            }
            assert_int_equal(pthread_join(thread, NULL), 0);
            w.pool.ran = 1; /* its run is behind it */
            pool_finish(&w.pool);
            assert_int_equal(w.flushed, round);
            space_cache_turn(w.cache);
        }
    }
}

TEST_MAIN
