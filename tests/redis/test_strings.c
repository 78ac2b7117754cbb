/* String commands: each one's answers and effects; differential.py holds them against redis-server
 * with random arguments, here stand the cases that need a clock, or that Redis 7 does not have. */
#include "redis/world.h"
#include "base/mem.h"
#include "base/prng.h"
#include "redis/object.h"
#include "ring/slot.h"
#include "shard/keys.h"

#define WORLD(w)                                                                                   \
    struct world w;                                                                                \
    world_init(&w)

TEST(set_and_get_keep_any_bytes)
{
    WORLD(w);
    EXPECT_RUN(&w, "set a \"\\x00\\xff\\r\\n\"", "OK");
    EXPECT_RUN(&w, "get a", "'\\x00\\xff\\r\\n'");
    EXPECT_RUN(&w, "set \"\" \"\"", "OK");
    EXPECT_RUN(&w, "get \"\"", "''");
    EXPECT_RUN(&w, "get b", "nil");
    assert_int_equal(w.keys, 2);
    world_deinit(&w);
}

TEST(a_read_has_no_effects_and_a_write_to_an_existing_key_has_one)
{
    WORLD(w);
    world_run(&w, "set a 1");
    world_run(&w, "get a");
    assert_false(w.wrote);
    assert_int_equal(w.misses, 1);
    world_run(&w, "set a 2");
    assert_int_equal(w.count, 1);
    world_run(&w, "incr nosuch x");
    assert_false(w.wrote);
    world_deinit(&w);
}

TEST(set_obeys_nx_xx_get_and_keepttl)
{
    WORLD(w);
    EXPECT_RUN(&w, "set a 1 xx", "nil");
    EXPECT_RUN(&w, "set a 1 nx", "OK");
    EXPECT_RUN(&w, "set a 2 nx", "nil");
    EXPECT_RUN(&w, "set a 2 xx get", "'1'");
    EXPECT_RUN(&w, "set a 3 nx get", "'2'");
    EXPECT_RUN(&w, "get a", "'2'");
    EXPECT_RUN(&w, "set b 1 get", "nil");
    EXPECT_RUN(&w, "set a 1 nx xx", "ERR syntax error");
    EXPECT_RUN(&w, "set a 1 ex 10 keepttl", "ERR syntax error");
    EXPECT_RUN(&w, "set a 1 ex", "ERR syntax error");
    EXPECT_RUN(&w, "set a 1 ex 0", "ERR invalid expire time in 'set' command");
    EXPECT_RUN(&w, "set a 1 ex 9223372036854775807", "ERR invalid expire time in 'set' command");
    EXPECT_RUN(&w, "set a 1 ex x", "ERR value is not an integer or out of range");
    EXPECT_RUN(&w, "set a 1 px 1500", "OK");
    EXPECT_RUN(&w, "set a 2 keepttl", "OK");
    EXPECT_RUN(&w, "pttl a", "1500");
    EXPECT_RUN(&w, "set a 3", "OK");
    EXPECT_RUN(&w, "pttl a", "-1");
    assert_int_equal(world_rows(&w, KEYS_EXPIRY), 0);
    world_deinit(&w);
}

TEST(set_compares_with_ifeq_and_ifne)
{
    WORLD(w);
    EXPECT_RUN(&w, "set a 1 ifeq 1", "nil"); /* an absent key equals nothing */
    EXPECT_RUN(&w, "get a", "nil");
    EXPECT_RUN(&w, "set a 1 ifne 1", "OK");
    EXPECT_RUN(&w, "set a 2 ifne 1", "nil");
    EXPECT_RUN(&w, "set a 2 ifeq x", "nil");
    EXPECT_RUN(&w, "set a 2 ifeq 1", "OK");
    EXPECT_RUN(&w, "set a 3 ifeq 2 get ex 10", "'2'");
    EXPECT_RUN(&w, "set a 4 ifeq 2 get", "'3'"); /* not set; the old value all the same */
    EXPECT_RUN(&w, "get a", "'3'");
    EXPECT_RUN(&w, "ttl a", "10");
    EXPECT_RUN(&w, "set a 4 ifeq 3 nx", "ERR syntax error");
    EXPECT_RUN(&w, "set a 4 nx ifne 3", "ERR syntax error");
    EXPECT_RUN(&w, "set a 4 ifne 3 ifeq 3", "ERR syntax error");
    EXPECT_RUN(&w, "set a 4 ifeq", "ERR syntax error");
    world_run(&w, "hset h f v");
    EXPECT_RUN(&w, "set h 1 ifne x",
               "WRONGTYPE Operation against a key holding the wrong kind of value");
    EXPECT_RUN(&w, "set h 1", "OK"); /* without a comparison SET replaces whatever is there */
    assert_int_equal(world_rows(&w, KEYS_SUB), 0);
    world_deinit(&w);
}

TEST(delex_deletes_only_what_compares)
{
    WORLD(w);
    EXPECT_RUN(&w, "delex a", "0");
    EXPECT_RUN(&w, "set a 1 ex 5", "OK");
    EXPECT_RUN(&w, "delex a ifeq 2", "0");
    EXPECT_RUN(&w, "delex a ifne 1", "0");
    EXPECT_RUN(&w, "delex b ifne 1", "0");
    EXPECT_RUN(&w, "delex a ifeq 1", "1");
    assert_int_equal(w.count, 0);
    world_run(&w, "hset h f v");
    EXPECT_RUN(&w, "delex h ifeq 1",
               "ERR Key should be of string type if conditions are specified");
    EXPECT_RUN(&w, "delex h", "1");
    EXPECT_RUN(&w, "delex h junk", "ERR syntax error");
    assert_int_equal(w.count, 0);
    world_deinit(&w);
}

TEST(an_expired_key_is_absent_and_whoever_meets_it_deletes_it)
{
    static const char *meet[] = {"get a",    "getex a ex 10", "getdel a",
                                 "strlen a", "mget a",        "getrange a 0 -1",
                                 "lcs a b",  "delex a",       "set a 1 xx"};
    for (size_t i = 0; i < sizeof meet / sizeof *meet; i++) {
        WORLD(w);
        EXPECT_RUN(&w, "set a 1 px 100", "OK");
        w.now_ms += 100;
        EXPECT_RUN(&w, "get a", "'1'"); /* as in Redis, it lives through its last millisecond */
        assert_false(w.wrote);
        w.now_ms += 1;
        world_run(&w, meet[i]);
        assert_true(w.wrote); /* the deletion is logged, so that no later leader with a slower clock
                                 shows the key again */
        assert_int_equal(w.count, 0);
        assert_int_equal(w.keys, 0);
        w.now_ms -= 50;
        EXPECT_RUN(&w, "get a", "nil");
        world_deinit(&w);
    }
}

TEST(an_expired_key_does_not_lend_its_value_or_time_to_a_new_one)
{
    WORLD(w);
    world_run(&w, "set n 5 px 10");
    world_run(&w, "set s abc px 10");
    w.now_ms += 11;
    EXPECT_RUN(&w, "incr n", "1");
    EXPECT_RUN(&w, "ttl n", "-1");
    EXPECT_RUN(&w, "append s x", "1");
    EXPECT_RUN(&w, "msetnx s 1 t 2", "0");
    EXPECT_RUN(&w, "set n 7 keepttl", "OK");
    EXPECT_RUN(&w, "pttl n", "-1");
    world_deinit(&w);
}

TEST(getex_moves_removes_and_ends_the_time_to_live)
{
    WORLD(w);
    world_run(&w, "set a 1");
    EXPECT_RUN(&w, "getex a", "'1'");
    assert_false(w.wrote);
    EXPECT_RUN(&w, "getex a ex 10", "'1'");
    EXPECT_RUN(&w, "ttl a", "10");
    EXPECT_RUN(&w, "getex a", "'1'");
    EXPECT_RUN(&w, "ttl a", "10");
    EXPECT_RUN(&w, "getex a persist", "'1'");
    EXPECT_RUN(&w, "ttl a", "-1");
    EXPECT_RUN(&w, "getex a exat 1", "'1'");
    EXPECT_RUN(&w, "exists a", "0");
    EXPECT_RUN(&w, "getex a ex 0", "nil"); /* the key is looked up before the time is looked at */
    EXPECT_RUN(&w, "getex a keepttl", "ERR syntax error");
    world_deinit(&w);
}

TEST(a_time_in_the_past_expires_at_once)
{
    WORLD(w);
    EXPECT_RUN(&w, "set a 1 exat 1", "OK");
    EXPECT_RUN(&w, "get a", "nil");
    assert_int_equal(w.count, 0);
    world_deinit(&w);
}

TEST(several_keys_are_set_in_order_or_not_at_all)
{
    WORLD(w);
    EXPECT_RUN(&w, "mset a 1 b 2 a 3", "OK");
    EXPECT_RUN(&w, "mget a nosuch b a", "['3', nil, '2', '3']");
    EXPECT_RUN(&w, "msetnx c 1 c 2", "1");
    EXPECT_RUN(&w, "get c", "'2'");
    EXPECT_RUN(&w, "msetnx d 1 a 2", "0");
    EXPECT_RUN(&w, "exists d", "0");
    EXPECT_RUN(&w, "mset a 1 b", "ERR wrong number of arguments for 'mset' command");
    world_run(&w, "hset h f v");
    EXPECT_RUN(&w, "mget h", "[nil]");
    assert_int_equal(w.keys, 4);
    w.version = 3;
    EXPECT_RUN(&w, "mget nosuch", "[nil]");
    world_deinit(&w);
}

TEST(values_over_32_mib_are_refused_and_change_nothing)
{
    WORLD(w);
    w.once = true; /* two runs of 32 MiB each are slow under a sanitizer */
    EXPECT_RUN(&w, "setrange a 33554431 x", "33554432");
    EXPECT_RUN(&w, "append a x", "ERR string exceeds maximum allowed size (32 MiB in synod)");
    EXPECT_RUN(&w, "setrange a 33554432 x",
               "ERR string exceeds maximum allowed size (32 MiB in synod)");
    EXPECT_RUN(&w, "setrange b 9223372036854775807 x",
               "ERR string exceeds maximum allowed size (32 MiB in synod)");
    EXPECT_RUN(&w, "setrange b 9223372036854775807 \"\"", "0");
    EXPECT_RUN(&w, "setrange b -1 x", "ERR offset is out of range");
    EXPECT_RUN(&w, "strlen a", "33554432");
    EXPECT_RUN(&w, "getrange a -2 -1", "'\\x00x'");
    EXPECT_RUN(&w, "exists b", "0");
    world_deinit(&w);
}

TEST(lcs_refuses_a_table_that_would_hold_the_node_up)
{
    WORLD(w);
    world_run(&w, "setrange a 8191 x");
    world_run(&w, "setrange b 8191 x");
    EXPECT_RUN(&w, "lcs a b len",
               "ERR Insufficient memory, transient memory for LCS exceeds 128 MiB");
    EXPECT_RUN(&w, "mset c ohmytext d mynewtext", "OK");
    EXPECT_RUN(&w, "lcs c d", "'mytext'");
    EXPECT_RUN(&w, "lcs c d idx minmatchlen 4 withmatchlen",
               "['matches', [[[4, 7], [5, 8], 4]], 'len', 6]");
    w.version = 3;
    EXPECT_RUN(&w, "lcs c d idx", "{'matches': [[[4, 7], [5, 8]], [[2, 3], [0, 1]]], 'len': 6}");
    world_deinit(&w);
}

/* An earlier command of the same evaluation wrote the key: what a command then borrows are the
 * view's own bytes, which move when it writes. (A transaction runs its commands this way.) */
TEST(commands_that_run_in_one_view_see_each_other)
{
    static const char *line[] = {"set a 5",         "incr a",     "append a x", "set b abc px 5",
                                 "getex a ex 100",  "lcs a b",    "getset b 1", "setrange a 600 y",
                                 "getex a persist", "append a z", "getdel b",   "strlen a"};
    static const char *expected[] = {"OK",    "6",   "2",  "OK",  "'6x'", "''",
                                     "'abc'", "601", NULL, "602", "'1'",  "602"};
    WORLD(w);
    struct view_source source = {0};
    struct buf out = {0}, text = {0};
    struct resp_args args = {0};

    view_begin(&w.view, &source, w.now_ms, 1, 1, 0, SLOT_COUNT);
    w.view.wiped = true; /* nothing is read from the source */
    for (size_t i = 0; i < sizeof line / sizeof *line; i++) {
        struct reply reply = {&out, 2};
        buf_clear(&out), buf_clear(&text), buf_clear(&w.text);
        buf_printf(&text, "%s\r\n", line[i]);
        assert_int_equal(resp_parse(&args, buf_bytes(&text)), text.size);
        struct cmd_args a = {args.v, args.count};
        command_find(&a, NULL)->fn(&w.view, &a, &reply);
        world_text(buf_bytes(&out), &w.text);
        if (expected[i]) EXPECT_BYTES(buf_bytes(&w.text), expected[i]);
    }
    buf_deinit(&out), buf_deinit(&text);
    resp_args_deinit(&args);
    world_deinit(&w);
}

/* ---- against a naive twin ---- */

#define TWIN_KEYS 4
struct twin {
    bool there[TWIN_KEYS];
    int64_t value[TWIN_KEYS], expire_ms[TWIN_KEYS];
};

static void twin_expire(struct twin *t, int64_t now_ms)
{
    for (int k = 0; k < TWIN_KEYS; k++)
        if (t->there[k] && t->expire_ms[k] >= 0 && now_ms > t->expire_ms[k]) t->there[k] = false;
}

TEST(counters_with_times_to_live_agree_with_a_naive_twin_as_the_clock_goes_on)
{
    WORLD(w);
    struct twin t = {0};
    struct prng r;
    prng_init(&r, 9);
    for (int step = 0; step < 20000; step++) {
        char line[64], expected[64];
        int k = (int)prng_below(&r, TWIN_KEYS), n = (int)prng_below(&r, 50) - 25;
        w.now_ms += (int64_t)prng_below(&r, 20);
        twin_expire(&t, w.now_ms);
        switch (prng_below(&r, 4)) {
        case 0:
            (void)snprintf(line, sizeof line, "set k%d %d px %d", k, n, n + 26);
            (void)snprintf(expected, sizeof expected, "OK");
            t.there[k] = true, t.value[k] = n, t.expire_ms[k] = w.now_ms + n + 26;
            break;
        case 1:
            (void)snprintf(line, sizeof line, "incrby k%d %d", k, n);
            if (!t.there[k]) t.there[k] = true, t.value[k] = 0, t.expire_ms[k] = -1;
            t.value[k] += n;
            (void)snprintf(expected, sizeof expected, "%d", (int)t.value[k]);
            break;
        case 2:
            (void)snprintf(line, sizeof line, "getdel k%d", k);
            (void)snprintf(expected, sizeof expected, t.there[k] ? "'%d'" : "nil", (int)t.value[k]);
            t.there[k] = false;
            break;
        default:
            (void)snprintf(line, sizeof line, "get k%d", k);
            (void)snprintf(expected, sizeof expected, t.there[k] ? "'%d'" : "nil", (int)t.value[k]);
        }
        EXPECT_RUN(&w, line, expected);
    }
    world_deinit(&w);
}

TEST_MAIN
