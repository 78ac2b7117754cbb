/* Exactly-once requests where they are evaluated: the first answer comes again, and nothing is done
 * a second time. */
#include "redis/world.h"
#include "redis/once.h"
#include "shard/keys.h"

#define WORLD(w)                                                                                   \
    struct world w;                                                                                \
    world_init(&w)

#define OTHER "ERR this token was used for another request; nothing was done"
#define BAD   "ERR not a request as nodes send them to each other"

TEST(a_repeated_request_gets_the_first_answer_and_does_nothing)
{
    WORLD(w);
    EXPECT_RUN(&w, "synod once t incrby a 5", "5");
    assert_int_equal(world_rows(&w, KEYS_ONCE), 1);
    for (int i = 0; i < 3; i++) {
        EXPECT_RUN(&w, "synod once t incrby a 5", "5");
        assert_false(w.wrote);
    }
    EXPECT_RUN(&w, "incr a", "6");
    EXPECT_RUN(&w, "del a", "1");
    EXPECT_RUN(&w, "synod once t incrby a 5", "5");
    EXPECT_RUN(&w, "synod once u incrby a 5", "5");
    EXPECT_RUN(&w, "get a", "'5'");
    world_deinit(&w);
}

/* Also that something failed, or was not to be done: a late copy does not do it after all. */
TEST(every_answer_of_an_evaluation_is_kept)
{
    WORLD(w);
    EXPECT_RUN(&w, "set a x", "OK");
    EXPECT_RUN(&w, "synod once t1 incr a", "ERR value is not an integer or out of range");
    EXPECT_RUN(&w, "synod once t2 hset a f v",
               "WRONGTYPE Operation against a key holding the wrong kind of value");
    EXPECT_RUN(&w, "synod once t3 set a y nx", "nil");
    EXPECT_RUN(&w, "synod once t4 getdel a", "'x'");
    EXPECT_RUN(&w, "synod once t1 incr a", "ERR value is not an integer or out of range");
    EXPECT_RUN(&w, "synod once t2 hset a f v",
               "WRONGTYPE Operation against a key holding the wrong kind of value");
    EXPECT_RUN(&w, "synod once t3 set a y nx", "nil");
    EXPECT_RUN(&w, "synod once t4 getdel a", "'x'");
    EXPECT_RUN(&w, "exists a", "0");
    world_deinit(&w);
}

TEST(a_token_of_another_request_is_refused)
{
    WORLD(w);
    EXPECT_RUN(&w, "synod once t incrby a 5", "5");
    EXPECT_RUN(&w, "synod once t incrby a 6", OTHER);
    EXPECT_RUN(&w, "synod once t incr a", OTHER);
    EXPECT_RUN(&w, "synod once t append a 5", OTHER);
    assert_false(w.wrote);
    EXPECT_RUN(&w, "synod once t incrby b 5", "5"); /* of another slot: another token */
    EXPECT_RUN(&w, "synod once s mset a 12 b 3", "OK");
    EXPECT_RUN(&w, "synod once s mset a 1 2b 3", OTHER);
    world_deinit(&w);
}

TEST(an_answer_is_forgotten_when_its_time_has_come_and_not_before)
{
    WORLD(w);
    int64_t begin = w.now_ms;
    EXPECT_RUN(&w, "synod once t incr a", "1");
    w.now_ms = begin + ONCE_KEEP_MS;
    EXPECT_RUN(&w, "synod once t incr a", "1");
    assert_false(w.wrote);
    w.now_ms++;
    EXPECT_RUN(&w, "synod once t incr a", "2");
    assert_int_equal(world_rows(&w, KEYS_ONCE), 1);
    w.now_ms = begin + 2 * (int64_t)ONCE_KEEP_MS;
    EXPECT_RUN(&w, "synod once t incr a", "2");
    world_deinit(&w);
}

/* Not counted, not found by a walk; FLUSHALL forgets them. */
TEST(answers_are_no_keys)
{
    WORLD(w);
    EXPECT_RUN(&w, "synod once t incr {a}1", "1");
    EXPECT_RUN(&w, "synod once u incr {a}2", "1");
    EXPECT_RUN(&w, "incr b", "1");
    EXPECT_RUN(&w, "dbsize", "3");
    EXPECT_RUN(&w, "scan 0 count 100", "['0', ['b', '{a}2', '{a}1']]");
    assert_int_equal(w.keys, 3);
    EXPECT_RUN(&w, "flushall", "OK");
    assert_int_equal(w.count, 0);
    EXPECT_RUN(&w, "synod once t incr {a}1", "1");
    world_deinit(&w);
}

TEST(an_answer_is_of_one_version_of_the_protocol)
{
    WORLD(w);
    EXPECT_RUN(&w, "set a 1", "OK");
    EXPECT_RUN(&w, "synod once t set a 1 nx", "nil");
    w.version = 3;
    EXPECT_RUN(&w, "synod once t set a 1 nx",
               "ERR the request with this token was done, and answered in another version of RESP: "
               "HELLO 2 and ask again");
    w.version = 2;
    EXPECT_RUN(&w, "synod once t set a 1 nx", "nil");
    world_deinit(&w);
}

TEST(what_nobody_sends_is_refused)
{
    WORLD(w);
    EXPECT_RUN(&w, "synod once t get a", BAD);
    EXPECT_RUN(&w, "synod once t nosuch a", BAD);
    EXPECT_RUN(&w, "synod once t incr", BAD);
    EXPECT_RUN(&w, "synod once t incr a b", BAD);
    EXPECT_RUN(&w, "synod once t flushall", BAD);
    EXPECT_RUN(&w, "synod once t synod once u incr a", BAD);
    EXPECT_RUN(&w, "synod once t synod exec ''", BAD);
    EXPECT_RUN(&w, "synod once '' incr a", BAD);
    EXPECT_RUN(&w,
               "synod once aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa "
               "incr a",
               BAD);
    EXPECT_RUN(&w,
               "synod once aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa "
               "incr a",
               "1");
    world_deinit(&w);
}

TEST_MAIN
