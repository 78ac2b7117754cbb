/* Scripts and functions on a cluster of the real node code: over any keys, declared or not, through
 * any node; among transactions, and while leaders die. */
#include "cluster.h"

#include "base/prng.h"

/* a, b, c, d: of four groups (test_txn.c). */
#define READ_ALL "EVAL \"return redis.call('mget', 'a', 'b', 'c', 'd')\" 0"

TEST(a_script_comes_to_keys_of_any_group)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    for (uint32_t n = 0; n < 3; n++) {
        struct client *k = client_open(&c, n);
        client_says(k, "EVAL \"return redis.call('incr', KEYS[1])\" 1 a", ":1\r\n");
        client_says(
            k, "EVAL \"return {redis.call('incr', KEYS[1]), redis.call('incr', KEYS[2])}\" 2 a b",
            "*2\r\n:2\r\n:1\r\n");
        /* One declared, one not: its group's leader finds that it must go abroad. */
        client_says(k,
                    "EVAL \"redis.call('incr', 'a') redis.call('incr', 'c') return "
                    "redis.call('get', 'd')\" 1 a",
                    "$-1\r\n");
        /* And again, now that it is known. */
        client_says(k,
                    "EVAL \"redis.call('incr', 'a') redis.call('incr', 'c') return "
                    "redis.call('get', 'd')\" 1 a",
                    "$-1\r\n");
        client_says(
            k,
            "EVAL \"for _, key in ipairs({'a', 'b', 'c', 'd'}) do redis.call('incr', key) end\" 0",
            "$-1\r\n");
        client_says(k, READ_ALL, "*4\r\n$1\r\n5\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n1\r\n");
        /* Keys that depend on what was read; of those that are read alone nothing is left locked.
         */
        client_says(k, "MSET ptr:a b ptr:b c ptr:c d ptr:d end", "+OK\r\n");
        client_says(k,
                    "EVAL \"local at, path = 'a', {} while at ~= 'end' do path[#path + 1] = at at "
                    "= redis.call('get', "
                    "'ptr:' .. at) end return path\" 0",
                    "*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n");
        client_says(k, "EVAL \"return 7\" 0", ":7\r\n");
        client_says(k, "DEL a b c d ptr:a ptr:b ptr:c ptr:d", ":8\r\n");
    }
    cluster_deinit(&c);
}

/* Commits over groups that the client's node has coordinated. */
static int64_t transactions(struct client *k)
{
    static const char name[] = "transactions_over_groups:";
    struct buf reply = {0};
    client_say(k, "INFO stats");
    struct bytes r = client_reply(k, &reply);
    const uint8_t *at = memmem(r.data, r.size, name, sizeof name - 1);
    assert_non_null(at);
    int64_t n = strtoll((const char *)at + sizeof name - 1, NULL, 10);
    buf_deinit(&reply);
    return n;
}

/* Once abroad it begins as a transaction, which saves a round trip; once back it does not. */
TEST(whether_a_script_goes_abroad_is_remembered)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    static const int64_t grows[] = {0, 1, 1, 1, 0, 0};
    static const char other[][8] = {"x{a}", "b", "b", "x{a}", "x{a}", "x{a}"};
    for (uint32_t n = 0; n < 3; n++) {
        struct client *k = client_open(&c, n);
        for (int i = 0; i < 6; i++) {
            int64_t before = transactions(k);
            client_say(
                k, "EVAL \"redis.call('set', KEYS[1], 1) redis.call('set', ARGV[1], 1)\" 1 a %s",
                other[i]);
            client_expect(k, "$-1\r\n");
            assert_int_equal(transactions(k) - before, grows[i]);
        }
    }
    cluster_deinit(&c);
}

TEST(a_script_over_groups_that_fails_leaves_nothing)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    struct buf reply = {0};
    static const char *const failing[] = {"error('no')", "redis.call('hset', 'a', 'f', 'v')",
                                          "return redis.call('nosuch')",
                                          "redis.call('set', 'd', ('x'):rep(1e9))"};
    for (size_t i = 0; i < sizeof failing / sizeof *failing; i++) {
        client_say(k,
                   "EVAL \"redis.call('set', 'a', 1) redis.call('set', 'b', 2) redis.call('set', "
                   "KEYS[1], 3) %s\" 1 c",
                   failing[i]);
        struct bytes r = client_reply(k, &reply);
        assert_int_equal(r.data[0], '-');
        client_says(k, "EXISTS a b c d", ":0\r\n");
    }
    buf_deinit(&reply);
    cluster_deinit(&c);
}

TEST(scripts_stand_in_transactions)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 1), *other = client_open(&c, 2);
    for (int abroad = 0; abroad < 2; abroad++) {
        client_says(k, "MULTI", "+OK\r\n");
        client_says(k, "SET a 1", QUEUED);
        client_say(k, "EVAL \"return redis.call('incr', '%s')\" 1 a", abroad ? "b" : "a");
        client_expect(k, QUEUED);
        client_says(k, "EVAL \"redis.call('incr', 'a') error('x')\" 1 a", QUEUED);
        client_says(k, "GET a", QUEUED);
        client_expect(k, "");
        client_say(k, "EXEC");
        client_expect(k, abroad ? "*4\r\n+OK\r\n:1\r\n" : "*4\r\n+OK\r\n:2\r\n");
        client_expect(k, "-ERR user_script:1: x script: ");
        struct buf rest = {0};
        client_await(k, 40 + 22 + 7);
        buf_append(&rest, k->got.data, k->got.size);
        buf_u8(&rest, 0);
        assert_non_null(strstr((const char *)rest.data, abroad ? "$1\r\n1\r\n" : "$1\r\n2\r\n"));
        buf_deinit(&rest);
        buf_clear(&k->got);
        client_says(k, "DEL a b", abroad ? ":2\r\n" : ":1\r\n");
    }
    client_says(k, "BEGIN", "+OK\r\n");
    client_says(k, "EVAL \"redis.call('set', 'a', 5) return redis.call('incr', 'b')\" 0", ":1\r\n");
    client_says(k,
                "EVAL \"return {redis.call('get', 'a'), redis.call('get', 'b'), redis.call('get', "
                "KEYS[1])}\" 1 c",
                "*3\r\n$1\r\n5\r\n$1\r\n1\r\n$-1\r\n");
    client_says(other, "EXISTS a{d}", ":0\r\n");
    client_says(k, "ROLLBACK", "+OK\r\n");
    client_says(other, "EXISTS a b", ":0\r\n");
    client_says(k, "BEGIN", "+OK\r\n");
    client_says(k, "EVAL \"redis.call('set', 'a', 5) return redis.call('incr', 'b')\" 0", ":1\r\n");
    client_says(k, "COMMIT", "+OK\r\n");
    client_says(other, "MGET a b", "*2\r\n$1\r\n5\r\n$1\r\n1\r\n");
    cluster_deinit(&c);
}

/* What is watched is noted by the keys that a script comes to, too. */
TEST(watchers_notice_what_scripts_write)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0), *other = client_open(&c, 1);
    static const char *const write[] = {
        "EVAL \"redis.call('set', 'a', 1)\" 1 a{a}", "EVAL \"redis.call('set', 'a', 1)\" 0",
        "EVAL \"redis.call('set', 'a', 1) redis.call('set', 'b{a}', 1)\" 0",
        "EVAL \"redis.call('get', 'a') redis.call('set', 'b{a}', 1)\" 0"};
    client_says(k, "SET a 0", "+OK\r\n");
    for (int i = 0; i < 4; i++) {
        client_says(k, "WATCH a", "+OK\r\n");
        client_says(other, write[i], "$-1\r\n");
        client_says(k, "MULTI", "+OK\r\n");
        client_says(k, "PING", QUEUED);
        client_says(k, "SET z 1", QUEUED);
        client_says(k, "EXEC", i == 3 ? "*2\r\n+PONG\r\n+OK\r\n" : "*-1\r\n");
    }
    cluster_deinit(&c);
}

/* Of a key that somebody has locked a script waits, whether it was declared or not. */
TEST(scripts_wait_for_locks)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *holder = client_open(&c, 0);
    static const char *const wanting[] = {"EVAL \"return redis.call('incr', 'x{a}')\" 1 a",
                                          "EVAL \"return redis.call('incr', 'x{a}')\" 0",
                                          "EVAL \"return redis.call('incr', KEYS[1])\" 1 x{a}"};
    client_says(holder, "SET a 1", "+OK\r\n");
    for (int i = 0; i < 3; i++) {
        struct client *k = client_open(&c, 1);
        client_says(holder, "SET x{a} 0", "+OK\r\n");
        client_says(holder, "BEGIN", "+OK\r\n");
        client_says(holder, "INCR x{a}", ":1\r\n");
        client_say(k, "%s", wanting[i]);
        cluster_run(&c, 500);
        assert_int_equal(k->got.size, 0);
        client_says(holder, "COMMIT", "+OK\r\n");
        client_expect(k, ":2\r\n");
        client_close(k);
    }
    cluster_deinit(&c);
}

TEST(a_script_that_waits_is_killed)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *holder = client_open(&c, 0), *k = client_open(&c, 1),
                  *killer = client_open(&c, 1);
    client_says(killer, "SCRIPT KILL", "-NOTBUSY No scripts in execution right now.\r\n");
    client_says(holder, "BEGIN", "+OK\r\n");
    client_says(holder, "INCR a", ":1\r\n");
    client_say(k, "EVAL \"redis.call('set', 'b', 1) return redis.call('incr', 'a')\" 0");
    cluster_run(&c, 300);
    client_says(killer, "SCRIPT KILL", "+OK\r\n");
    client_expect(
        k, "-ERR Error running script: it was killed by SCRIPT KILL; nothing was changed\r\n");
    client_says(holder, "COMMIT", "+OK\r\n");
    client_says(k, "MGET a b", "*2\r\n$1\r\n1\r\n$-1\r\n");
    cluster_deinit(&c);
}

/* ---- what is loaded ---- */

TEST(a_script_loaded_anywhere_is_known_everywhere)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k[3];
    const char *sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"; /* return 1 */
    char line[200];
    for (uint32_t n = 0; n < 3; n++) k[n] = client_open(&c, n);
    snprintf(line, sizeof line, "EVALSHA %s 0", sha);
    for (int n = 0; n < 3; n++)
        client_says(k[n], line, "-NOSCRIPT No matching script. Please use EVAL.\r\n");
    client_says(k[0], "SCRIPT LOAD \"return 1\"",
                "$40\r\ne0e1f9fabfc9d4800c877a703b823ac0578ff8db\r\n");
    for (int n = 0; n < 3; n++) client_says(k[n], line, ":1\r\n");
    for (int n = 0; n < 3; n++) cluster_kill(&c, (uint32_t)n);
    for (int n = 0; n < 3; n++) cluster_start(&c, (uint32_t)n);
    cluster_settle(&c);
    for (uint32_t n = 0; n < 3; n++) k[n] = client_open(&c, n);
    for (int n = 0; n < 3; n++) client_says(k[n], line, ":1\r\n");
    /* What EVAL brought is known to its node alone. */
    client_says(k[1], "EVAL \"return 2\" 0", ":2\r\n");
    client_says(k[1], "EVALSHA 7F923F79FE76194C868D7E1D0820DE36700EB649 0", ":2\r\n");
    client_says(k[0], "EVALSHA 7f923f79fe76194c868d7e1d0820de36700eb649 0",
                "-NOSCRIPT No matching script. Please use EVAL.\r\n");
    client_says(k[1], "SCRIPT EXISTS 7f923f79fe76194c868d7e1d0820de36700eb649 x",
                "*2\r\n:1\r\n:0\r\n");
    /* Behind a token, in a transaction, and with keys. */
    client_says(k[2], "SCRIPT LOAD \"return redis.call('incr', KEYS[1])\"",
                "$40\r\n2bab3b661081db58bd2341920e0ba7cf5dc77b25\r\n");
    client_says(k[0], "IDEMPOTENT t EVALSHA 2bab3b661081db58bd2341920e0ba7cf5dc77b25 1 a",
                ":1\r\n");
    client_says(k[1], "IDEMPOTENT t EVALSHA 2bab3b661081db58bd2341920e0ba7cf5dc77b25 1 a",
                ":1\r\n");
    client_says(k[1], "MULTI", "+OK\r\n");
    client_says(k[1], "EVALSHA 2bab3b661081db58bd2341920e0ba7cf5dc77b25 1 a", QUEUED);
    client_says(k[1], "EVALSHA ffff3b661081db58bd2341920e0ba7cf5dc77b25 1 a", QUEUED);
    client_says(k[1], "EXEC", "*2\r\n:2\r\n-NOSCRIPT No matching script. Please use EVAL.\r\n");
    cluster_deinit(&c);
}

#define LOAD(n)                                                                                    \
    "FUNCTION LOAD REPLACE \"#!lua name=lib\\nredis.register_function('f', function(keys) return " \
    "{" #n ", redis.call('incr', keys[1]), redis.call('incr', 'd')} end)\""

/* Where it was loaded it is there at once; elsewhere an old one is called for a second at most. */
TEST(functions_are_seen_by_all_nodes_within_a_second)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k[3];
    for (uint32_t n = 0; n < 3; n++) k[n] = client_open(&c, n);
    for (int n = 0; n < 3; n++) client_says(k[n], "FCALL f 1 a", "-ERR Function not found\r\n");
    client_says(k[1], LOAD(1), "$3\r\nlib\r\n");
    for (int n = 0; n < 3; n++) {
        client_says(k[n], "FCALL f 1 a",
                    "*3\r\n:1\r\n:1\r\n:1\r\n"); /* a new one is there for all, at once */
        client_says(k[n], "DEL a d", ":2\r\n");
    }
    client_says(k[2], LOAD(2), "$3\r\nlib\r\n");
    client_says(k[2], "FCALL f 1 a", "*3\r\n:2\r\n:1\r\n:1\r\n");
    client_says(k[2], "DEL a d", ":2\r\n");
    cluster_run(&c, 1000);
    for (int n = 0; n < 3; n++) {
        client_says(k[n], "FCALL f 1 a", "*3\r\n:2\r\n:1\r\n:1\r\n");
        client_says(k[n], "DEL a d", ":2\r\n");
    }
    client_send(k[0], BYTES("FUNCTION DELETE lib\r\nFCALL f 1 a\r\n")); /* one behind the other */
    client_expect(k[0], "+OK\r\n-ERR Function not found\r\n");
    cluster_run(&c, 1000);
    for (int n = 0; n < 3; n++) client_says(k[n], "FCALL f 1 a", "-ERR Function not found\r\n");
    cluster_deinit(&c);
}

/* A client that hangs up while its script is asked for is not missed; without group 0 nobody can
 * say whether there is such a function. */
TEST(nobody_waits_for_ever_for_code)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *gone = client_open(&c, 0), *k = client_open(&c, 0);
    client_say(gone, "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0");
    client_say(gone, "FCALL f 0");
    client_close(gone);
    cluster_kill(&c, 1), cluster_kill(&c, 2);
    cluster_run(&c, 2000);
    client_say(k, "FCALL f 0");
    client_expect(k, "-CLUSTERDOWN group 0, which keeps scripts and functions, has no leader; "
                     "nothing was done\r\n");
    client_say(k, "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0");
    client_expect(k, "-CLUSTERDOWN group 0, which keeps scripts and functions, has no leader; "
                     "nothing was done\r\n");
    cluster_deinit(&c);
}

/* ---- while leaders die ---- */

#define ACCOUNTS 8
#define MONEY                                                                                      \
    "EVAL \"local s = 0 for i = 1, 8 do s = s + redis.call('get', 'acc' .. i) end return s\" 0"

/* Scripts move money between accounts that they do not declare, through all nodes, while nodes die
 * and come back: what there is stays the same at every look. */
TEST(money_is_kept_by_scripts_that_declare_nothing)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct cluster c;
        struct prng random;
        struct buf reply = {0};
        cluster_init(&c, 3, 4, 3);
        prng_init(&random, seed);
        struct client *k = client_open(&c, 0);
        client_says(k, "EVAL \"for i = 1, 8 do redis.call('set', 'acc' .. i, 100) end\" 0",
                    "$-1\r\n");
        for (int round = 0; round < 12; round++) {
            uint32_t dies = (uint32_t)prng_below(&random, 3);
            struct client *t[6];
            for (int i = 0; i < 6; i++) {
                t[i] = client_open(&c, (uint32_t)prng_below(&random, 3));
                for (int n = 0; n < 5; n++)
                    client_say(
                        t[i],
                        "EVAL \"local a, b = 'acc' .. ARGV[1], 'acc' .. ARGV[2] local v = "
                        "redis.call('get', a) "
                        "redis.call('set', a, v - 1) redis.call('incrby', b, 1) return v\" 0 %d %d",
                        (int)prng_below(&random, ACCOUNTS) + 1,
                        (int)prng_below(&random, ACCOUNTS) + 1);
            }
            cluster_run(&c, prng_below(&random, 30));
            cluster_kill(&c, dies);
            cluster_run(&c, prng_below(&random, 1000));
            cluster_start(&c, dies);
            cluster_settle(&c);
            for (int i = 0; i < 6; i++) client_close(t[i]);
            k = client_open(&c, (uint32_t)prng_below(&random, 3));
            client_say(k, MONEY);
            struct bytes r = client_reply(k, &reply);
            assert_true(bytes_equal(r, BYTES(":800\r\n")));
            client_close(k);
        }
        buf_deinit(&reply);
        cluster_deinit(&c);
    }
}

TEST_MAIN
