/* BEGIN, COMMIT, ROLLBACK, SAVEPOINT on a cluster of the real node code: what commands between them
 * see, who wins, and what is left where somebody dies. Keys a, b, c, d are of four groups. */
#include "cluster.h"

#define NIL "$-1\r\n"

static bool begins(struct bytes reply, const char *text)
{
    return reply.size >= strlen(text) && memcmp(reply.data, text, strlen(text)) == 0;
}

/* The number that -TXNABORT says to BEGIN RETRY with; fails if the reply is another. */
static unsigned long long aborted(struct client *k)
{
    struct buf reply = {0};
    struct bytes got = client_reply(k, &reply);
    if (!begins(got, "-TXNABORT ")) print_error("%.*s\n", (int)got.size, (const char *)got.data);
    assert_true(begins(got, "-TXNABORT "));
    const char *at = memmem(got.data, got.size, "RETRY ", 6);
    assert_non_null(at);
    unsigned long long number = strtoull(at + 6, NULL, 10);
    buf_deinit(&reply);
    return number;
}

TEST(commands_are_answered_one_by_one_and_seen_by_others_only_after_commit)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0), *other = client_open(&c, 1);
    client_says(k, "MSET a 1 b 2", "+OK\r\n");
    client_says(k, "BEGIN", "+OK\r\n");
    client_says(k, "GET a", "$1\r\n1\r\n");
    client_says(k, "INCRBY a 10", ":11\r\n");
    client_says(k, "GET a", "$2\r\n11\r\n");
    client_says(k, "HSET c f v g w", ":2\r\n");
    client_unpack(k, "c");
    client_says(k, "RENAME c d", "+OK\r\n");
    client_says(k, "HGETALL d", "*4\r\n$1\r\nf\r\n$1\r\nv\r\n$1\r\ng\r\n$1\r\nw\r\n");
    client_says(k, "NOSUCH a", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' \r\n");
    client_says(k, "HSET a f v",
                "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    client_says(k, "PING", "+PONG\r\n");
    client_say(other, "GET a"); /* waits: it is locked */
    client_says(k, "MGET a b c", "*3\r\n$2\r\n11\r\n$1\r\n2\r\n" NIL);
    client_says(k, "COMMIT", "+OK\r\n");
    client_expect(other, "$2\r\n11\r\n");
    client_says(other, "HGET d f", "$1\r\nv\r\n");
    client_says(other, "EXISTS c", ":0\r\n");
    client_says(other, "HSET d f x", ":0\r\n");
    client_says(other, "DBSIZE", ":3\r\n");
    cluster_deinit(&c);
}

TEST(what_is_rolled_back_was_never_done)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0), *other = client_open(&c, 1);
    client_says(k, "SET a 1", "+OK\r\n");
    client_says(k, "BEGIN", "+OK\r\n");
    client_says(k, "SET a 2", "+OK\r\n");
    client_says(k, "SAVEPOINT one", "+OK\r\n");
    client_says(k, "SET a 3", "+OK\r\n");
    client_says(k, "HSET b f v", ":1\r\n");
    client_says(k, "SAVEPOINT two", "+OK\r\n");
    client_says(k, "HSET c f v", ":1\r\n");
    client_unpack(k, "c");
    for (int i = 0; i < 20; i++) { /* more than are searched one by one */
        char line[32];
        snprintf(line, sizeof line, "HSET c f%d v", i);
        client_says(k, line, ":1\r\n");
    }
    client_says(k, "ROLLBACK TO two", "+OK\r\n");
    client_says(k, "HLEN c", ":0\r\n");
    client_says(k, "HLEN b", ":1\r\n");
    client_says(k, "ROLLBACK TO one", "+OK\r\n");
    client_says(k, "ROLLBACK TO two", "-ERR no such savepoint in this transaction\r\n");
    client_says(k, "HLEN b", ":0\r\n");
    client_says(k, "GET a", "$1\r\n2\r\n");
    client_says(k, "ROLLBACK TO one", "+OK\r\n");
    client_says(k, "COMMIT", "+OK\r\n");
    client_says(other, "MGET a b c", "*3\r\n$1\r\n2\r\n" NIL NIL);
    client_says(k, "BEGIN", "+OK\r\n");
    client_says(k, "MSET a 7 b 7", "+OK\r\n");
    client_says(k, "ROLLBACK", "+OK\r\n");
    client_says(other, "MGET a b", "*2\r\n$1\r\n2\r\n" NIL);
    client_says(other, "DBSIZE", ":1\r\n");
    cluster_deinit(&c);
}

TEST(wrong_words_are_told_what_is_right)
{
    static const char *const says[][2] = {
        {"COMMIT", "-ERR COMMIT without BEGIN\r\n"},
        {"ROLLBACK", "-ERR ROLLBACK without BEGIN\r\n"},
        {"SAVEPOINT s", "-ERR SAVEPOINT without BEGIN\r\n"},
        {"BEGIN now", "-ERR syntax: BEGIN [READ ONLY] [TIMEOUT ms] [RETRY number]\r\n"},
        {"BEGIN TIMEOUT 0", "-ERR TIMEOUT is 1 to 3600000 ms\r\n"},
        {"BEGIN RETRY 1",
         "-ERR RETRY takes the number that a -TXNABORT of the last two hours named\r\n"},
        {"BEGIN READ ONLY TIMEOUT 500", "+OK\r\n"},
        {"BEGIN", "-ERR BEGIN calls can not be nested: COMMIT or ROLLBACK first\r\n"},
        {"SET a 1", "-ERR 'set' writes, and the transaction was begun READ ONLY\r\n"},
        {"MULTI", "-ERR multi is not allowed between BEGIN and COMMIT\r\n"},
        {"WATCH a", "-ERR watch is not allowed between BEGIN and COMMIT\r\n"},
        {"FLUSHALL", "-ERR 'flushall' concerns all groups: it is not allowed inside a transaction "
                     "in this version\r\n"},
        {"ROLLBACK TO", "-ERR syntax: ROLLBACK [TO savepoint]\r\n"},
        {"ROLLBACK TO s", "-ERR no such savepoint in this transaction\r\n"},
        {"GET", "-ERR wrong number of arguments for 'get' command\r\n"},
        {"GET a", NIL},
        {"COMMIT", "+OK\r\n"},
        {"BEGIN", "+OK\r\n"},
        {"COMMIT", "+OK\r\n"}, /* of nothing */
        {"MULTI", "+OK\r\n"},
        {"BEGIN", "-ERR Command not allowed inside a transaction\r\n"},
        {"DISCARD", "+OK\r\n"},
        {"BEGIN", "+OK\r\n"},
        {"SET a 1", "+OK\r\n"},
        {"RESET", "+RESET\r\n"},
        {"COMMIT", "-ERR COMMIT without BEGIN\r\n"},
        {"GET a", NIL},
    };
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 2);
    for (size_t i = 0; i < sizeof says / sizeof *says; i++) client_says(k, says[i][0], says[i][1]);
    cluster_deinit(&c);
}

/* What came before BEGIN on the same connection is done before it, and what comes after COMMIT
 * after it, however they are sent. */
TEST(a_pipeline_is_done_in_order)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    for (uint32_t n = 0; n < 3; n++) {
        struct client *k = client_open(&c, n);
        client_send(k, BYTES("SET a 1\r\nSET b 1\r\nBEGIN\r\nINCR a\r\nGET b\r\nAPPEND b x\r\n"
                             "COMMIT\r\nMGET a b\r\nDEL a b\r\n"));
        client_expect(k, "+OK\r\n+OK\r\n+OK\r\n:2\r\n$1\r\n1\r\n:2\r\n+OK\r\n"
                         "*2\r\n$1\r\n2\r\n$2\r\n1x\r\n:2\r\n");
    }
    cluster_deinit(&c);
}

/* Two that want each other's keys: the younger one gives way, and nothing of what it says then is
 * done, until it says that it knows. Tried again with its number it is the older one. */
TEST(the_older_one_wins_and_a_retry_keeps_its_age)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *old = client_open(&c, 0), *young = client_open(&c, 1),
                  *late = client_open(&c, 2);
    char line[64];
    client_says(old, "BEGIN", "+OK\r\n");
    client_says(old, "SET a old", "+OK\r\n");
    client_says(young, "BEGIN", "+OK\r\n");
    client_says(young, "SET b young", "+OK\r\n");
    client_say(young, "SET a young");
    cluster_run(&c, 50);
    client_says(old, "SET b old", "+OK\r\n");
    client_says(old, "COMMIT", "+OK\r\n");
    client_expect(young, "+OK\r\n"); /* a is free now; that b is lost it hears by and by */
    cluster_run(&c, 3500);
    client_say(young, "SET c young");
    unsigned long long age = aborted(young);
    client_say(young, "COMMIT");
    assert_true(age == aborted(young));
    client_says(young, "MGET a b c", "*3\r\n$3\r\nold\r\n$3\r\nold\r\n" NIL);

    client_says(late, "BEGIN TIMEOUT 60000", "+OK\r\n");
    client_says(late, "SET a late", "+OK\r\n");
    snprintf(line, sizeof line, "BEGIN RETRY %llu", age);
    client_says(young, line, "+OK\r\n");
    client_says(young, "SET a young", "+OK\r\n"); /* taken from one that began before the retry */
    client_says(young, "COMMIT", "+OK\r\n");
    client_say(late, "COMMIT");
    (void)aborted(late);
    client_says(late, "GET a", "$5\r\nyoung\r\n");
    cluster_deinit(&c);
}

/* It is told of a lost lock while it says nothing, and keeps what it has for as long as it may. */
TEST(an_idle_one_keeps_its_locks_until_its_time_is_over)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0), *other = client_open(&c, 1);
    client_says(k, "BEGIN TIMEOUT 40000", "+OK\r\n");
    client_says(k, "MSET a 1 b 1", "+OK\r\n");
    cluster_run(&c, 22000);
    client_say(other, "SET a 2");
    cluster_run(&c, 9500);
    client_expect(other, "-TRYAGAIN keys of this command were locked by a transaction for 9 s (TXN "
                         "LIST shows it); nothing was changed\r\n");
    client_says(k, "GET a", "$1\r\n1\r\n");
    cluster_run(&c, 9000);
    client_says(other, "MGET a b", "*2\r\n" NIL NIL);
    client_say(k, "COMMIT");
    (void)aborted(k);
    cluster_deinit(&c);
}

TEST(a_client_that_hangs_up_and_a_node_that_dies_leave_no_locks)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0), *other = client_open(&c, 1);
    client_says(k, "BEGIN TIMEOUT 60000", "+OK\r\n");
    client_says(k, "MSET a 1 b 1 c 1 d 1", "+OK\r\n");
    client_close(k);
    client_says(other, "MGET a b", "*2\r\n" NIL NIL);
    k = client_open(&c, 2);
    client_says(k, "BEGIN TIMEOUT 60000", "+OK\r\n");
    client_says(k, "MSET a 1 b 1 c 1 d 1", "+OK\r\n");
    cluster_kill(&c, 2);
    cluster_settle(&c);
    client_says(other, "MGET a b c d", "*4\r\n" NIL NIL NIL NIL);
    cluster_deinit(&c);
}

/* Another leader knows nothing of its locks. */
TEST(a_leader_that_resigns_ends_it)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    client_says(k, "BEGIN", "+OK\r\n");
    client_says(k, "MSET a 1 b 1 c 1 d 1", "+OK\r\n");
    for (uint32_t n = 0; n < 3; n++) cluster_resign(&c, n);
    cluster_run(&c, 1000);
    cluster_settle(&c);
    client_say(k, "COMMIT");
    (void)aborted(k);
    client_says(k, "MGET a b c d", "*4\r\n" NIL NIL NIL NIL);
    cluster_deinit(&c);
}

TEST(an_expired_key_that_is_only_read_is_deleted_by_commit)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0), *other = client_open(&c, 1);
    client_says(k, "PSETEX a 300 1", "+OK\r\n");
    client_says(k, "BEGIN", "+OK\r\n");
    client_says(k, "SET b 1", "+OK\r\n");
    client_says(k, "GET a", "$1\r\n1\r\n");
    cluster_run(&c, 310);
    client_says(k, "GET a", NIL);
    client_says(k, "GET a", NIL);
    client_say(other, "GET a"); /* waits, for whoever meets it deletes it */
    cluster_run(&c, 100);
    client_says(k, "COMMIT", "+OK\r\n");
    client_expect(other, NIL);
    client_says(k, "DBSIZE", ":1\r\n"); /* it was deleted once */
    cluster_deinit(&c);
}

/* A client that does not know whether COMMIT was done says all of it again, by whichever node. */
TEST(a_commit_with_a_token_is_done_once)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    for (uint32_t n = 0; n < 6; n++) {
        struct client *k = client_open(&c, n % 3);
        if (n == 3) /* whoever leads now has it from the log */
            for (uint32_t i = 0; i < 3; i++) cluster_resign(&c, i);
        if (n == 3) cluster_run(&c, 1000);
        client_says(k, "BEGIN", "+OK\r\n");
        client_says(k, "INCR a", n ? ":2\r\n" : ":1\r\n"); /* what was said again is not done */
        client_says(k, "INCR b", n ? ":2\r\n" : ":1\r\n");
        client_says(k, "IDEMPOTENT t IDEMPOTENT t COMMIT",
                    "-ERR idempotent is not allowed between BEGIN and COMMIT\r\n");
        client_says(k, "IDEMPOTENT t INCR a",
                    "-ERR idempotent is not allowed between BEGIN and COMMIT\r\n");
        client_says(k, "IDEMPOTENT t COMMIT", "+OK\r\n");
        client_says(k, "MGET a b", "*2\r\n$1\r\n1\r\n$1\r\n1\r\n");
        client_says(k, "IDEMPOTENT t INCR a",
                    "-ERR this token was used for another request; nothing was done\r\n");
        client_says(k, "COMMIT", "-ERR COMMIT without BEGIN\r\n");
        client_says(k, "IDEMPOTENT t COMMIT", "-ERR COMMIT without BEGIN\r\n");
    }
    struct client *k = client_open(&c, 1);
    client_says(k, "IDEMPOTENT u INCR a", ":2\r\n");
    client_says(k, "BEGIN", "+OK\r\n");
    client_says(k, "INCR a", ":3\r\n");
    client_says(k, "IDEMPOTENT u COMMIT",
                "-ERR this token was used for another request; nothing was done\r\n");
    client_says(k, "GET a", "$1\r\n2\r\n");
    client_says(k, "BEGIN", "+OK\r\n"); /* nothing to keep: nothing was written */
    client_says(k, "GET a", "$1\r\n2\r\n");
    client_says(k, "IDEMPOTENT v COMMIT", "+OK\r\n");
    client_says(k, "IDEMPOTENT v INCR a", ":3\r\n");
    cluster_deinit(&c);
}

TEST_MAIN
