/* Exactly-once requests on a cluster of the real node code: whatever happens between the first
 * request with a token and the next, it is done once, and answered alike. Slots of a, b, c and d:
 * 15495, 3300, 7365, 11298, of four groups. */
#include "cluster.h"

#include "base/prng.h"

static void ask_exec(struct client *k, const char *token)
{
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "DECR a", QUEUED);
    client_says(k, "TIME", QUEUED); /* the node's own answer, another each time */
    client_says(k, "INCR b", QUEUED);
    client_say(k, "IDEMPOTENT %s EXEC", token);
}

/* One request of each kind, of one group and of several; the answers come again. */
static void ask_all(struct cluster *c, uint32_t node)
{
    struct client *k = client_open(c, node);
    struct buf reply = {0};
    client_says(k, "IDEMPOTENT t1 INCR a", ":1\r\n");
    client_says(k, "IDEMPOTENT t2 SET a 7 GET", "$1\r\n1\r\n");
    client_says(k, "IDEMPOTENT t3 MSETNX a 1 b 2", ":0\r\n");
    client_says(k, "IDEMPOTENT t4 MSET b 10 c 20", "+OK\r\n");
    client_says(k, "IDEMPOTENT t5 RENAME c d", "+OK\r\n");
    client_says(k, "IDEMPOTENT t6 HSET b f v",
                "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    ask_exec(k, "t7");
    struct bytes r = client_reply(k, &reply);
    assert_memory_equal(r.data, "*3\r\n:6\r\n*2\r\n", 12);
    assert_memory_equal(r.data + r.size - 5, ":11\r\n", 5);
    client_close(k);
    buf_deinit(&reply);
}

static void look(struct cluster *c, uint32_t node)
{
    struct client *k = client_open(c, node);
    client_says(k, "MGET a b c d", "*4\r\n$1\r\n6\r\n$2\r\n11\r\n$-1\r\n$2\r\n20\r\n");
    client_says(k, "DBSIZE", ":3\r\n");
    client_close(k);
}

static void ask_again(struct cluster *c)
{
    for (uint32_t n = 0; n < c->nodes; n++) {
        if (!c->member[n].node) continue;
        ask_all(c, n);
        look(c, n);
    }
}

TEST(any_node_repeats_the_first_answer)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    ask_again(&c);
    cluster_deinit(&c);
}

TEST(the_first_answer_survives_leaders_and_restarts)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    ask_all(&c, 0);
    for (uint32_t n = 0; n < 3; n++) {
        cluster_kill(&c, n);
        cluster_settle(&c);
        ask_again(&c);
        cluster_start(&c, n);
        cluster_settle(&c);
    }
    for (uint32_t n = 0; n < 3; n++) cluster_kill(&c, n);
    for (uint32_t n = 0; n < 3; n++) cluster_start(&c, n);
    cluster_settle(&c);
    ask_again(&c);
    cluster_deinit(&c);
}

TEST(the_first_answer_moves_with_its_slot)
{
    struct cluster c;
    cluster_init(&c, 3, 2, 3);
    struct client *k = client_open(&c, 0);
    cluster_run(&c, 2000);
    ask_all(&c, 0);
    client_say(k, "SYNOD GROUP SPLIT 1 12000"); /* between d and a */
    cluster_run(&c, 3000);
    client_say(k, "SYNOD GROUP SPLIT 0 5000"); /* between b and c */
    cluster_run(&c, 3000);
    ask_again(&c);
    client_say(k, "SYNOD GROUP MERGE 1");
    cluster_run(&c, 3000);
    ask_again(&c);
    struct buf reply = {0};
    for (int i = 0; i < 3; i++) assert_int_equal(client_reply(k, &reply).data[0], ':');
    buf_deinit(&reply);
    cluster_deinit(&c);
}

TEST(the_first_answer_travels_in_snapshots)
{
    struct cluster c;
    cluster_init_small(&c, 3, 1, 3);
    cluster_kill(&c, 2);
    cluster_settle(&c);
    ask_all(&c, 0);
    struct client *k = client_open(&c, 0);
    for (int i = 0; i < 400; i++) {
        client_says(k, "SETRANGE big 1999 x", ":2000\r\n");
    }
    client_says(k, "DEL big", ":1\r\n");
    cluster_start(&c, 2);
    cluster_run(&c, 5000);
    assert_true(c.member[2].installs > 0);
    client_say(k, "SYNOD GROUP TRANSFER 0 3");
    cluster_run(&c, 3000);
    assert_int_equal(cluster_leader(&c, 0), 2);
    ask_again(&c);
    cluster_deinit(&c);
}

/* ---- at the same time ---- */

TEST(copies_of_a_request_at_the_same_time_are_done_once)
{
    static const char *const commands[] = {"INCR a", "MSETNX a 1 b 1", "RENAMENX d c"};
    struct cluster c;
    struct client *k[9];
    struct buf first = {0}, reply = {0};
    cluster_init(&c, 3, 4, 3);
    for (uint32_t i = 0; i < 9; i++) k[i] = client_open(&c, i % 3);
    client_says(k[0], "SET d 1", "+OK\r\n");
    for (int round = 0; round < 60; round++) {
        const char *command = commands[round % 3];
        client_say(k[0], "DEL b"), (void)client_reply(k[0], &reply);
        for (int i = 0; i < 9; i++) client_say(k[i], "IDEMPOTENT r%d %s", round, command);
        buf_clear(&first);
        buf_append_bytes(&first, client_reply(k[0], &reply));
        for (int i = 1; i < 9; i++)
            assert_true(bytes_equal(client_reply(k[i], &reply), buf_bytes(&first)));
    }
    buf_deinit(&first), buf_deinit(&reply);
    cluster_deinit(&c);
}

/* Two requests by mistake: one is done, the other is told so. Their first keys are of one slot, so
 * that they would not meet but for the token. */
TEST(of_two_requests_with_one_token_one_is_done)
{
    struct cluster c;
    struct buf one = {0}, two = {0};
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0), *l = client_open(&c, 1);
    for (int round = 0; round < 40; round++) {
        client_say(k, "IDEMPOTENT r%d MSET {a}k 1 b 1", round);
        if (round % 2)
            client_say(l, "IDEMPOTENT r%d MSET {a}l 1 c 1", round);
        else
            client_say(l, "IDEMPOTENT r%d INCR {a}l", round);
        struct bytes x = client_reply(k, &one), y = client_reply(l, &two);
        assert_int_equal((x.data[0] == '-') + (y.data[0] == '-'), 1);
        if (x.data[0] == '-') assert_memory_equal(x.data, "-ERR this token", 15);
        if (y.data[0] == '-') assert_memory_equal(y.data, "-ERR this token", 15);
    }
    buf_deinit(&one), buf_deinit(&two);
    cluster_deinit(&c);
}

TEST(what_was_done_is_answered_before_what_was_watched_is_looked_at)
{
    for (int several = 0; several < 2; several++) {
        struct cluster c;
        cluster_init(&c, 3, 4, 3);
        struct client *k = client_open(&c, 0), *other = client_open(&c, 1);
        for (int round = 0; round < 2; round++) {
            client_says(k, "WATCH a b", "+OK\r\n");
            if (round) client_says(other, several ? "SET b 9" : "SET a 9", "+OK\r\n");
            client_says(k, "MULTI", "+OK\r\n");
            client_says(k, "INCR a", QUEUED);
            client_says(k, several ? "INCR c" : "INCR {a}c", QUEUED);
            client_says(k, "IDEMPOTENT t EXEC", "*2\r\n:1\r\n:1\r\n");
        }
        client_says(k, "WATCH a", "+OK\r\n");
        client_says(other, "SET a 5", "+OK\r\n");
        client_says(other, "WATCH a", "+OK\r\n");
        for (int round = 0; round < 2; round++) { /* its nil is kept, too */
            client_says(k, "MULTI", "+OK\r\n");
            client_says(k, "INCR a", QUEUED);
            client_says(k, several ? "INCR c" : "INCR {a}c", QUEUED);
            client_says(k, "IDEMPOTENT u EXEC", "*-1\r\n");
        }
        /* what is kept of it is nothing that was written to a */
        client_says(other, "MULTI", "+OK\r\n");
        client_says(other, "GET a", QUEUED);
        client_says(other, "EXEC", "*1\r\n$1\r\n5\r\n");
        client_says(k, several ? "MGET a c" : "MGET a {a}c", "*2\r\n$1\r\n5\r\n$1\r\n1\r\n");
        cluster_deinit(&c);
    }
}

/* ---- those who die ---- */

/* Node `dies` does, so many steps of 100 us after each request; whoever was not answered asks again
 * at another node. */
static void ask_and_die(struct cluster *c, int steps, uint32_t dies, int64_t *done)
{
    struct client *k = client_open(c, 0), *l = client_open(c, 0);
    struct buf reply = {0}, text = {0};
    bool lost = dies == 0;
    client_say(k, "IDEMPOTENT one%d INCR d", steps);
    client_say(l, "MULTI"), client_say(l, "INCR a"), client_say(l, "INCR b");
    client_say(l, "IDEMPOTENT two%d EXEC", steps);
    for (int i = 0; i < steps; i++) world_run(c->w, world_now(c->w) + 100000, NULL);
    cluster_kill(c, dies);
    cluster_settle(c);
    ++*done;
    buf_printf(&text, ":%lld\r\n", (long long)*done);
    struct buf pair = {0};
    buf_printf(&pair, "*2\r\n:%lld\r\n:%lld\r\n", (long long)*done, (long long)*done);
    buf_u8(&text, 0), buf_u8(&pair, 0);
    if (lost) client_close(k), client_close(l);
    if (!lost) { /* the node itself has asked again: no client hears -UNKNOWN */
        client_expect(k, (const char *)text.data);
        client_expect(l, "+OK\r\n+QUEUED\r\n+QUEUED\r\n");
        client_expect(l, (const char *)pair.data);
    }
    struct client *again = client_open(c, dies == 1 ? 2 : 1);
    client_say(again, "IDEMPOTENT one%d INCR d", steps);
    client_expect(again, (const char *)text.data);
    client_says(again, "MULTI", "+OK\r\n");
    client_says(again, "INCR a", QUEUED), client_says(again, "INCR b", QUEUED);
    client_say(again, "IDEMPOTENT two%d EXEC", steps);
    client_expect(again, (const char *)pair.data);
    client_close(again);
    if (!lost) client_close(k), client_close(l);
    cluster_start(c, dies);
    cluster_settle(c);
    cluster_run(c, 500);
    buf_deinit(&reply), buf_deinit(&text), buf_deinit(&pair);
}

TEST(a_leader_that_dies_is_not_noticed_by_who_has_a_token)
{
    struct cluster c;
    int64_t done = 0;
    cluster_init(&c, 3, 4, 3);
    for (int steps = 0; steps < 60; steps += 2)
        ask_and_die(&c, steps, 1 + (uint32_t)steps / 2 % 2, &done);
    cluster_deinit(&c);
}

TEST(a_node_that_dies_leaves_the_answer_to_others)
{
    struct cluster c;
    int64_t done = 0;
    cluster_init(&c, 3, 4, 3);
    for (int steps = 0; steps < 60; steps += 2) ask_and_die(&c, steps, 0, &done);
    cluster_deinit(&c);
}

/* It is asked again for ten seconds, but nobody is there: that the last try was not done does not
 * say that the first was not. */
TEST(what_may_have_been_done_is_never_told_as_not_done)
{
    struct cluster c;
    struct buf reply = {0};
    cluster_init(&c, 3, 1, 3);
    while (cluster_leader(&c, 0) == 0) {
        cluster_resign(&c, 0);
        cluster_run(&c, 1000);
    }
    struct client *k = client_open(&c, 0);
    client_says(k, "IDEMPOTENT t0 INCR a", ":1\r\n");
    for (uint32_t n = 0; n < 3; n++) world_disk(c.w, n)->write_ns = 5000000;
    client_say(k, "IDEMPOTENT t1 INCR a");
    cluster_run(&c, 2);
    cluster_kill(&c, 1), cluster_kill(&c, 2);
    assert_memory_equal(client_reply(k, &reply).data, "-UNKNOWN", 8);
    client_say(k, "IDEMPOTENT t2 INCR a"); /* this one was sent nowhere */
    assert_memory_equal(client_reply(k, &reply).data, "-CLUSTERDOWN", 12);
    cluster_start(&c, 1), cluster_start(&c, 2);
    cluster_settle(&c);
    client_says(k, "IDEMPOTENT t1 INCR a", ":2\r\n");
    client_says(k, "IDEMPOTENT t2 INCR a", ":3\r\n");
    buf_deinit(&reply);
    cluster_deinit(&c);
}

/* ---- what is refused ---- */

TEST(too_large_an_answer_is_refused_and_nothing_done)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    client_says(k, "SETRANGE a 69999 x", ":70000\r\n");
    for (int round = 0; round < 2; round++) {
        client_says(k, "IDEMPOTENT t GETDEL a",
                    "-ERR the answer is larger than the 64 KiB that are kept for a token; nothing "
                    "was changed\r\n");
        client_says(k, "MULTI", "+OK\r\n");
        client_says(k, "INCR b", QUEUED), client_says(k, "GET a", QUEUED);
        client_says(k, "IDEMPOTENT t EXEC",
                    "-ERR the answer is larger than the 64 KiB that are kept for a token; nothing "
                    "was changed\r\n");
    }
    client_says(k, "STRLEN a", ":70000\r\n");
    client_says(k, "EXISTS a b", ":1\r\n");
    cluster_deinit(&c);
}

TEST(what_cannot_have_a_token_says_so)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    client_says(k, "IDEMPOTENT t SET a 1", "+OK\r\n");
    client_says(k, "IDEMPOTENT t GET a", "$1\r\n1\r\n"); /* reads have none */
    client_says(k, "IDEMPOTENT t MGET a b", "*2\r\n$1\r\n1\r\n$-1\r\n");
    client_says(k, "IDEMPOTENT t FLUSHALL",
                "-ERR IDEMPOTENT is for EXEC, COMMIT and commands on keys, not for 'flushall'\r\n");
    client_says(k, "IDEMPOTENT t SYNOD ONCE u INCR a",
                "-ERR unknown subcommand 'ONCE'. Try SYNOD HELP.\r\n");
    client_says(k, "IDEMPOTENT t EXEC", "-ERR EXEC without MULTI\r\n");
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "IDEMPOTENT t INCR a",
                "-ERR inside MULTI only EXEC has a token: IDEMPOTENT token EXEC\r\n");
    client_says(k, "IDEMPOTENT t EXEC",
                "-EXECABORT Transaction discarded because of previous errors.\r\n");
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "INCR a", QUEUED);
    client_says(k, "IDEMPOTENT t EXEC now",
                "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' "
                "command\r\n");
    client_says(k, "GET a", "$1\r\n1\r\n");
    cluster_deinit(&c);
}

/* In a pipeline, with others between: all in their order. */
TEST(tokens_do_not_disturb_the_order_of_a_connection)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    for (uint32_t n = 0; n < 3; n++) {
        struct client *k = client_open(&c, n);
        client_says(k, "DEL a", n ? ":1\r\n" : ":0\r\n");
        for (int i = 0; i < 200; i += 2) {
            client_say(k, "IDEMPOTENT n%u.%d INCR a", n, i);
            client_say(k, "INCR a");
        }
        for (int i = 1; i <= 200; i++) {
            char text[16];
            snprintf(text, sizeof text, ":%d\r\n", i);
            client_expect(k, text);
        }
        client_close(k);
    }
    cluster_deinit(&c);
}

TEST(answers_go_by_themselves_after_a_day)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    ask_all(&c, 0);
    for (uint32_t n = 0; n < 3; n++) world_wall_jump(c.w, n, 24 * 3600 * 1000 + 1000);
    cluster_run(&c, 1000);
    struct client *k = client_open(&c, 0);
    client_says(k, "IDEMPOTENT t1 INCR a", ":7\r\n");
    cluster_deinit(&c);
}

/* The token's lock stands behind all keys, whatever its bytes are. */
TEST(the_last_of_many_keys_is_watched_too)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0), *other = client_open(&c, 1);
    client_says(k, "WATCH d", "+OK\r\n");
    client_says(other, "SET d 1", "+OK\r\n");
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "MSET a 2 b 2 c 2 d 2", QUEUED);
    client_says(k, "IDEMPOTENT t EXEC", "*-1\r\n");
    client_says(k, "MGET a d", "*2\r\n$-1\r\n$1\r\n1\r\n");
    cluster_deinit(&c);
}

TEST_MAIN
