/* MULTI, EXEC, WATCH on a cluster: whoever is asked, a transaction is evaluated at the leader of
 * its keys' group as a whole. */
#include "cluster.h"

TEST(a_transaction_is_done_as_a_whole_through_any_node)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    for (uint32_t n = 0; n < 3; n++) {
        struct client *k = client_open(&c, n);
        client_says(k, "MULTI", "+OK\r\n");
        client_says(k, "SET {t}a 5", QUEUED);
        client_says(k, "INCR {t}a", QUEUED);
        client_says(k, "PING", QUEUED);
        client_says(k, "HSET {t}a f v", QUEUED);
        client_says(k, "DEL {t}a", QUEUED);
        client_says(k, "EXISTS {t}a", QUEUED);
        client_says(k, "EXEC",
                    "*6\r\n+OK\r\n:6\r\n+PONG\r\n-WRONGTYPE Operation against a key holding the "
                    "wrong kind of value\r\n:1\r\n:0\r\n");
        client_says(k, "MULTI", "+OK\r\n");
        client_says(k, "EXEC", "*0\r\n");
    }
    cluster_deinit(&c);
}

TEST(what_is_refused_while_it_is_queued_ends_the_transaction)
{
    struct cluster c;
    cluster_init(&c, 1, 4, 1);
    struct client *k = client_open(&c, 0);
    client_says(k, "SET {t}a 1", "+OK\r\n");
    for (int i = 0; i < 4; i++) {
        static const char *const wrong[] = {"NOSUCH x", "GET", "DBSIZE", "WAIT 0 0"};
        struct buf reply = {0};
        client_says(k, "MULTI", "+OK\r\n");
        client_says(k, "INCR {t}a", QUEUED);
        client_say(k, "%s", wrong[i]);
        assert_int_equal(client_reply(k, &reply).data[0], '-');
        client_says(k, "EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
        buf_deinit(&reply);
    }
    client_says(k, "GET {t}a", "$1\r\n1\r\n");
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "MULTI", "-ERR MULTI calls can not be nested\r\n");
    client_says(k, "WATCH {t}a", "-ERR WATCH inside MULTI is not allowed\r\n");
    client_says(k, "INCR {t}a", QUEUED);
    client_says(k, "DISCARD", "+OK\r\n");
    client_says(k, "EXEC", "-ERR EXEC without MULTI\r\n");
    client_says(k, "DISCARD", "-ERR DISCARD without MULTI\r\n");
    client_says(k, "GET {t}a", "$1\r\n1\r\n");
    cluster_deinit(&c);
}

/* Of what is watched, each change between WATCH and EXEC counts, and nothing else does. */
TEST(a_watched_key_that_was_written_to_ends_the_transaction)
{
    static const struct {
        const char *meanwhile, *answer;
        bool aborts;
    } cases[] = {
        {"SET {t}a 2", "+OK\r\n", true},
        {"SET {t}b 2", "+OK\r\n", false},
        {"SETNX {t}a 2", ":0\r\n", false}, /* wrote nothing */
        {"DEL {t}a", ":1\r\n", true},
        {"SET {t}a 1", "+OK\r\n", true}, /* the same value is a write */
        {"HSET {t}h f 2", ":0\r\n", true},
        {"EXPIREAT {t}h 4102444800", ":1\r\n", true}, /* so is the same expiry */
        {"GETEX {t}a PERSIST", "$1\r\n1\r\n", false},
        {"FLUSHALL", "+OK\r\n", true},
        {"SET {t}new 1", "+OK\r\n", true},
    };
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0), *other = client_open(&c, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf reply = {0};
        client_say(other, "DEL {t}a {t}h {t}new");
        (void)client_reply(other, &reply);
        client_says(other, "SET {t}a 1", "+OK\r\n");
        client_says(other, "HSET {t}h f 1", ":1\r\n");
        client_says(other, "EXPIREAT {t}h 4102444800", ":1\r\n");
        client_says(k, "WATCH {t}a {t}h", "+OK\r\n");
        client_says(k, "WATCH {t}new", "+OK\r\n");
        client_says(other, cases[i].meanwhile, cases[i].answer);
        client_says(k, "MULTI", "+OK\r\n");
        client_says(k, "SET {t}a 9", QUEUED);
        client_says(k, "EXEC", cases[i].aborts ? "*-1\r\n" : "*1\r\n+OK\r\n");
        client_says(k, "MULTI", "+OK\r\n"); /* nothing is watched any more */
        client_says(k, "EXEC", "*0\r\n");
        buf_deinit(&reply);
    }
    client_says(k, "WATCH {t}a", "+OK\r\n");
    client_says(other, "MULTI", "+OK\r\n");
    client_says(other, "SET {t}a 2", QUEUED);
    client_says(other, "EXEC", "*1\r\n+OK\r\n");
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "EXEC", "*-1\r\n");
    client_says(k, "WATCH {t}a", "+OK\r\n");
    client_says(other, "SET {t}a 3", "+OK\r\n");
    client_says(k, "UNWATCH", "+OK\r\n");
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "GET {t}a", QUEUED);
    client_says(k, "EXEC", "*1\r\n$1\r\n3\r\n");
    cluster_deinit(&c);
}

TEST(a_watched_key_that_expires_ends_the_transaction_and_one_that_had_does_not)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    client_says(k, "SET {t}a 1 PX 500", "+OK\r\n");
    client_says(k, "WATCH {t}a", "+OK\r\n");
    cluster_run(&c, 1000);
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "SET {t}b 1", QUEUED);
    client_says(k, "EXEC", "*-1\r\n");
    client_says(k, "WATCH {t}a", "+OK\r\n");
    cluster_run(&c, 1000);
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "SET {t}b 1", QUEUED);
    client_says(k, "EXEC", "*1\r\n+OK\r\n");
    cluster_deinit(&c);
}

/* Another leader knows nothing of what was watched: nil, and try again. Without WATCH nothing is
 * seen of it. */
TEST(another_leader_ends_what_was_watched_and_nothing_else)
{
    struct cluster c;
    cluster_init(&c, 3, 1, 3);
    struct client *k = client_open(&c, cluster_other(&c, 0)),
                  *other = client_open(&c, cluster_other(&c, 0));
    client_says(k, "SET {t}a 1", "+OK\r\n");
    client_says(k, "WATCH {t}a", "+OK\r\n");
    client_says(other, "MULTI", "+OK\r\n");
    client_says(other, "INCR {t}a", QUEUED);
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "INCR {t}a", QUEUED);
    cluster_resign(&c, cluster_leader(&c, 0));
    cluster_settle(&c);
    client_says(client_open(&c, 0), "WATCH {t}a", "+OK\r\n");
    client_says(k, "EXEC", "*-1\r\n");
    client_says(other, "EXEC", "*1\r\n:2\r\n");
    cluster_deinit(&c);
}

TEST(what_a_connection_watches_is_bounded)
{
    struct cluster c;
    cluster_init(&c, 1, 1, 1);
    struct client *k = client_open(&c, 0);
    struct buf reply = {0}, line = {0};
    buf_append(&line, "WATCH ", 6);
    memset(buf_reserve(&line, 40000), 'k', 40000);
    line.size += 40000;
    buf_append(&line, "\r\n", 2);
    for (int i = 0; i < 104; i++) { /* 4 MiB */
        client_send(k, buf_bytes(&line));
        client_expect(k, "+OK\r\n");
    }
    client_send(k, buf_bytes(&line));
    assert_memory_equal(client_reply(k, &reply).data, "-ERR a connection watches at most 4 MiB",
                        39);
    client_says(k, "UNWATCH", "+OK\r\n");
    client_send(k, buf_bytes(&line));
    client_expect(k, "+OK\r\n");
    buf_deinit(&line);
    buf_deinit(&reply);
    cluster_deinit(&c);
}

TEST_MAIN
