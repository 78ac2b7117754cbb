/* MULTI, EXEC, WATCH on a cluster: whoever is asked, a transaction is evaluated at the leader of
 * its keys' group as a whole. */
#include "cluster.h"

/* All that is said is answered in order. */
static void says(struct client *k, const char *line, const char *reply)
{
    client_say(k, "%s", line);
    client_expect(k, reply);
}

#define QUEUED "+QUEUED\r\n"

TEST(a_transaction_is_done_as_a_whole_through_any_node)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    for (uint32_t n = 0; n < 3; n++) {
        struct client *k = client_open(&c, n);
        says(k, "MULTI", "+OK\r\n");
        says(k, "SET {t}a 5", QUEUED);
        says(k, "INCR {t}a", QUEUED);
        says(k, "PING", QUEUED);
        says(k, "HSET {t}a f v", QUEUED);
        says(k, "DEL {t}a", QUEUED);
        says(k, "EXISTS {t}a", QUEUED);
        says(k, "EXEC",
             "*6\r\n+OK\r\n:6\r\n+PONG\r\n-WRONGTYPE Operation against a key holding the "
             "wrong kind of value\r\n:1\r\n:0\r\n");
        says(k, "MULTI", "+OK\r\n");
        says(k, "EXEC", "*0\r\n");
    }
    cluster_deinit(&c);
}

TEST(what_is_refused_while_it_is_queued_ends_the_transaction)
{
    struct cluster c;
    cluster_init(&c, 1, 4, 1);
    struct client *k = client_open(&c, 0);
    says(k, "SET {t}a 1", "+OK\r\n");
    for (int i = 0; i < 4; i++) {
        static const char *const wrong[] = {"NOSUCH x", "GET", "DBSIZE", "WAIT 0 0"};
        struct buf reply = {0};
        says(k, "MULTI", "+OK\r\n");
        says(k, "INCR {t}a", QUEUED);
        client_say(k, "%s", wrong[i]);
        assert_int_equal(client_reply(k, &reply).data[0], '-');
        says(k, "EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
        buf_deinit(&reply);
    }
    says(k, "GET {t}a", "$1\r\n1\r\n");
    says(k, "MULTI", "+OK\r\n");
    says(k, "MULTI", "-ERR MULTI calls can not be nested\r\n");
    says(k, "WATCH {t}a", "-ERR WATCH inside MULTI is not allowed\r\n");
    says(k, "INCR {t}a", QUEUED);
    says(k, "DISCARD", "+OK\r\n");
    says(k, "EXEC", "-ERR EXEC without MULTI\r\n");
    says(k, "DISCARD", "-ERR DISCARD without MULTI\r\n");
    says(k, "GET {t}a", "$1\r\n1\r\n");
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
        says(other, "SET {t}a 1", "+OK\r\n");
        says(other, "HSET {t}h f 1", ":1\r\n");
        says(k, "WATCH {t}a {t}h", "+OK\r\n");
        says(k, "WATCH {t}new", "+OK\r\n");
        says(other, cases[i].meanwhile, cases[i].answer);
        says(k, "MULTI", "+OK\r\n");
        says(k, "SET {t}a 9", QUEUED);
        says(k, "EXEC", cases[i].aborts ? "*-1\r\n" : "*1\r\n+OK\r\n");
        says(k, "MULTI", "+OK\r\n"); /* nothing is watched any more */
        says(k, "EXEC", "*0\r\n");
        buf_deinit(&reply);
    }
    says(k, "WATCH {t}a", "+OK\r\n");
    says(other, "MULTI", "+OK\r\n");
    says(other, "SET {t}a 2", QUEUED);
    says(other, "EXEC", "*1\r\n+OK\r\n");
    says(k, "MULTI", "+OK\r\n");
    says(k, "EXEC", "*-1\r\n");
    says(k, "WATCH {t}a", "+OK\r\n");
    says(other, "SET {t}a 3", "+OK\r\n");
    says(k, "UNWATCH", "+OK\r\n");
    says(k, "MULTI", "+OK\r\n");
    says(k, "GET {t}a", QUEUED);
    says(k, "EXEC", "*1\r\n$1\r\n3\r\n");
    cluster_deinit(&c);
}

TEST(a_watched_key_that_expires_ends_the_transaction_and_one_that_had_does_not)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    says(k, "SET {t}a 1 PX 500", "+OK\r\n");
    says(k, "WATCH {t}a", "+OK\r\n");
    cluster_run(&c, 1000);
    says(k, "MULTI", "+OK\r\n");
    says(k, "SET {t}b 1", QUEUED);
    says(k, "EXEC", "*-1\r\n");
    says(k, "WATCH {t}a", "+OK\r\n");
    cluster_run(&c, 1000);
    says(k, "MULTI", "+OK\r\n");
    says(k, "SET {t}b 1", QUEUED);
    says(k, "EXEC", "*1\r\n+OK\r\n");
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
    says(k, "SET {t}a 1", "+OK\r\n");
    says(k, "WATCH {t}a", "+OK\r\n");
    says(other, "MULTI", "+OK\r\n");
    says(other, "INCR {t}a", QUEUED);
    says(k, "MULTI", "+OK\r\n");
    says(k, "INCR {t}a", QUEUED);
    cluster_resign(&c, cluster_leader(&c, 0));
    cluster_settle(&c);
    says(client_open(&c, 0), "WATCH {t}a", "+OK\r\n");
    says(k, "EXEC", "*-1\r\n");
    says(other, "EXEC", "*1\r\n:2\r\n");
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
    says(k, "UNWATCH", "+OK\r\n");
    client_send(k, buf_bytes(&line));
    client_expect(k, "+OK\r\n");
    buf_deinit(&line);
    buf_deinit(&reply);
    cluster_deinit(&c);
}

TEST_MAIN
