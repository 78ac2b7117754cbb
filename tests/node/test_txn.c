/* Transactions over several groups, on a cluster of the real node code: what commands mean over any
 * keys, and what is left of one whose coordinator or leaders die. */
#include "cluster.h"

#include "base/prng.h"
#include "redis/fields.h"
#include "ring/ring.h"

/* Slots 15495, 3300, 7365, 11298: of four groups, all of them apart. */
TEST(commands_take_keys_of_any_groups)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    for (uint32_t n = 0; n < 3; n++) {
        struct client *k = client_open(&c, n);
        client_says(k, "MSET a 1 b 2 c 3", "+OK\r\n");
        client_says(k, "MGET a b c d", "*4\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$-1\r\n");
        client_says(k, "EXISTS a b c d a", ":4\r\n");
        client_says(k, "MSETNX d 4 a 9", ":0\r\n");
        client_says(k, "EXISTS d", ":0\r\n");
        client_says(k, "MSETNX d 4 e 5", ":1\r\n");
        client_says(k, "TOUCH a d nobody", ":2\r\n");
        client_says(k, "RENAME a aa", "+OK\r\n");
        client_says(k, "GET aa", "$1\r\n1\r\n");
        client_says(k, "RENAMENX aa b", ":0\r\n");
        client_says(k, "COPY aa f", ":1\r\n");
        client_says(k, "DEL aa b c d e f f", ":6\r\n");
        client_says(k, "DBSIZE", ":0\r\n");
    }
    cluster_deinit(&c);
}

static void queue_unpack(struct client *k, const char *key)
{
    client_say(k, "HSET %s ~ %0*d", key, FIELDS_PACKED_MAX, 0);
    client_say(k, "HDEL %s ~", key);
    client_expect(k, QUEUED QUEUED);
}

/* Objects get their ids where they live: what is made elsewhere meets no other object's elements.
 * `large`: with fields in records of their own. */
static void collections_move(bool large)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    client_says(k, "HSET a f v g w", ":2\r\n");
    if (large) client_unpack(k, "a");
    client_says(k, "PEXPIREAT a 4000000000000", ":1\r\n");
    client_says(k, "RENAME a b", "+OK\r\n");
    client_says(k, "PEXPIRETIME b", ":4000000000000\r\n");
    client_says(k, "HGETALL b", "*4\r\n$1\r\nf\r\n$1\r\nv\r\n$1\r\ng\r\n$1\r\nw\r\n");
    if (large) client_unpack(k, "b");
    client_says(k, "COPY b c", ":1\r\n");
    client_says(k, "HSET c f other", ":0\r\n");
    client_says(k, "HGET b f", "$1\r\nv\r\n");
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "HSET x 1 1", QUEUED);
    if (large) queue_unpack(k, "x");
    client_says(k, "HSET y 2 2", QUEUED);
    if (large) queue_unpack(k, "y");
    client_says(k, "HSET x 3 3", QUEUED);
    client_says(k, "DEL x", QUEUED);
    client_says(k, "HSET x 4 4", QUEUED);
    if (large) queue_unpack(k, "x");
    client_says(k, "HLEN x", QUEUED);
    client_says(
        k, "EXEC",
        large ? "*12\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n"
              : "*6\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n");
    client_says(k, "HGETALL x", "*2\r\n$1\r\n4\r\n$1\r\n4\r\n");
    client_says(k, "HGETALL y", "*2\r\n$1\r\n2\r\n$1\r\n2\r\n");
    client_says(k, "DBSIZE", ":4\r\n");
    cluster_deinit(&c);
}

TEST(collections_and_their_expiry_move_between_groups)
{
    collections_move(false);
    collections_move(true);
}

TEST(an_exec_over_groups_is_as_one_in_a_group)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 1);
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "SET a 5", QUEUED);
    client_says(k, "INCR a", QUEUED);
    client_says(k, "HSET a f v", QUEUED);
    client_says(k, "PING", QUEUED);
    client_says(k, "RENAME a b", QUEUED);
    client_says(k, "MGET a b", QUEUED);
    client_says(k, "EXEC",
                "*6\r\n+OK\r\n:6\r\n-WRONGTYPE Operation against a key holding the wrong kind of "
                "value\r\n+PONG\r\n+OK\r\n*2\r\n$-1\r\n$1\r\n6\r\n");
    client_says(k, "GET b", "$1\r\n6\r\n");
    cluster_deinit(&c);
}

TEST(keys_of_several_groups_are_watched)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0), *other = client_open(&c, 1);
    client_says(k, "MSET a 1 b 2", "+OK\r\n");
    for (int changes = 0; changes < 3; changes++) {
        client_says(k, "WATCH a b nobody", "+OK\r\n");
        if (changes == 1) client_says(other, "SET b 3", "+OK\r\n");
        if (changes == 2) client_says(other, "MSET nobody 1 other 1", "+OK\r\n");
        client_says(k, "MULTI", "+OK\r\n");
        client_says(k, "INCR a", QUEUED);
        client_says(k, "INCR c", QUEUED);
        client_says(k, "EXEC", changes ? "*-1\r\n" : "*2\r\n:2\r\n:1\r\n");
    }
    client_says(k, "MGET a c", "*2\r\n$1\r\n2\r\n$1\r\n1\r\n");
    cluster_deinit(&c);
}

/* Whoever meets an expired key deletes it, also where it came only to read. */
TEST(expired_keys_of_several_groups_are_deleted_once)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    client_says(k, "PSETEX a 30 1", "+OK\r\n");
    client_says(k, "PSETEX b 30 1", "+OK\r\n");
    cluster_run(&c, 31);
    client_says(k, "MGET a b", "*2\r\n$-1\r\n$-1\r\n");
    client_says(k, "DBSIZE", ":0\r\n");
    cluster_run(&c, 1000);
    client_says(k, "DBSIZE", ":0\r\n");
    cluster_deinit(&c);
}

/* ---- those who die ---- */

static int64_t number(struct client *k, const char *key)
{
    struct buf reply = {0};
    int64_t v = 0;
    client_say(k, "INCRBY %s 0", key);
    struct bytes r = client_reply(k, &reply);
    assert_int_equal(r.data[0], ':');
    assert_true(bytes_to_i64(bytes_of(r.data + 1, r.size - 3), &v));
    buf_deinit(&reply);
    return v;
}

static const char *const account[] = {"a", "b", "c", "d"};

/* Node `dies` does, so many steps of 100 us after a transfer was sent to node `asks`. What is not
 * in doubt any more is whole, and nobody has a key: all that within two seconds of there being
 * leaders again. */
static void transfer_and_die(struct cluster *c, uint32_t asks, uint32_t dies, int steps)
{
    struct client *k = client_open(c, asks);
    client_say(k, "MULTI");
    client_say(k, "DECRBY a 1");
    client_say(k, "INCRBY b 1");
    client_say(k, "DECRBY c 1");
    client_say(k, "INCRBY d 1");
    client_say(k, "EXEC");
    for (int i = 0; i < steps; i++) world_run(c->w, world_now(c->w) + 100000, NULL);
    cluster_kill(c, dies);
    cluster_settle(c);
    uint32_t third = 3 - asks - dies;
    struct client *look = client_open(c, asks == dies ? (dies + 1) % 3 : third);
    uint64_t since = world_now(c->w);
    int64_t v[4];
    for (int i = 0; i < 4; i++) v[i] = number(look, account[i]);
    assert_true(world_now(c->w) - since < 2000000000ull);
    assert_int_equal(v[0], -v[1]);
    assert_int_equal(v[0], v[2]);
    assert_int_equal(v[1], v[3]);
    client_close(k), client_close(look);
    cluster_start(c, dies);
    cluster_settle(c);
    cluster_run(c, 500);
}

TEST(a_coordinator_that_dies_leaves_all_or_nothing_and_no_locks)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    for (int steps = 0; steps < 60; steps += 2) transfer_and_die(&c, 0, 0, steps);
    cluster_deinit(&c);
}

TEST(a_leader_that_dies_leaves_all_or_nothing_and_no_locks)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    for (int steps = 0; steps < 60; steps += 2)
        transfer_and_die(&c, 0, 1 + (uint32_t)steps / 2 % 2, steps);
    cluster_deinit(&c);
}

/* ---- a key that all want ---- */

static int64_t info(struct cluster *c, uint32_t node, const char *name)
{
    struct client *k = client_open(c, node);
    struct buf reply = {0};
    client_say(k, "INFO");
    struct bytes r = client_reply(k, &reply);
    const uint8_t *at = memmem(r.data, r.size, name, strlen(name));
    assert_non_null(at);
    int64_t v = strtoll((const char *)at + strlen(name) + 1, NULL, 10);
    client_close(k);
    buf_deinit(&reply);
    return v;
}

/* Twelve clients, each with ten transfers to an account of its own, all out of one. The time that
 * the key is locked for is what all of it takes: a write to disk for each, and the way there. Who
 * came first has it first, so nobody is begun in vain. */
TEST(a_key_that_all_want_is_handed_on_with_each_write)
{
    enum { CLIENTS = 12, EACH = 10, WRITE_US = 2000 };
    struct cluster c;
    struct client *k[CLIENTS];
    cluster_init(&c, 3, 4, 3);
    cluster_run(&c, 1000);
    for (uint32_t n = 0; n < 3; n++) world_disk(c.w, n)->write_ns = WRITE_US * 1000;
    for (uint32_t i = 0; i < CLIENTS; i++) k[i] = client_open(&c, i % 3);
    uint64_t since = world_now(c.w);
    for (int n = 0; n < EACH; n++)
        for (int i = 0; i < CLIENTS; i++) {
            client_say(k[i], "MULTI");
            client_say(k[i], "DECRBY hot 1");
            client_say(k[i], "INCRBY own%d 1", i);
            client_say(k[i], "EXEC");
        }
    struct buf reply = {0};
    for (int n = 0; n < 4 * EACH; n++)
        for (int i = 0; i < CLIENTS; i++)
            assert_int_not_equal(client_reply(k[i], &reply).data[0], '-');
    uint64_t us = (world_now(c.w) - since) / 1000;
    int64_t retried = 0;
    for (uint32_t n = 0; n < 3; n++) retried += info(&c, n, "transactions_retried");
    assert_true(us / CLIENTS / EACH < WRITE_US * 3 / 2);
    assert_true(retried < CLIENTS * EACH / 2);
    assert_int_equal(number(k[0], "hot"), -CLIENTS * EACH);
    for (int i = 0; i < CLIENTS; i++) client_close(k[i]);
    buf_deinit(&reply);
    cluster_deinit(&c);
}

/* Nobody waits for it, so only that it happens shows that it does. */
TEST(what_is_over_is_soon_forgotten)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    for (int i = 0; i < 10; i++)
        for (uint32_t n = 0; n < 3; n++) {
            struct client *k = client_open(&c, n);
            client_says(k, "MSET a 1 b 2 c 3", "+OK\r\n");
            client_close(k);
        }
    cluster_run(&c, 50);
    for (uint32_t n = 0; n < 3; n++) client_says(client_open(&c, n), "TXN LIST", "*0\r\n");
    cluster_deinit(&c);
}

/* ---- groups that change ---- */

/* So many rounds of a transfer by each of three clients at once, and of an INCR by a fourth, which
 * meets their locks. `meanwhile` is said in their midst. Transfers may be refused while a group is
 * between two owners. */
static void transfers(struct cluster *c, int rounds, const char *meanwhile)
{
    struct client *k[3], *plain = client_open(c, 0), *oper = client_open(c, 1);
    int64_t added =
        number(plain, "a") + number(plain, "b") + number(plain, "c") + number(plain, "d");
    struct buf reply = {0};
    int done = 0;
    for (uint32_t n = 0; n < 3; n++) {
        k[n] = client_open(c, n);
        world_disk(c->w, n)->write_ns = 5000000; /* somebody is prepared nearly always */
    }
    for (int i = 0; i < rounds; i++) {
        for (int n = 0; n < 3; n++) {
            client_says(k[n], "MULTI", "+OK\r\n");
            for (int j = 0; j < 4; j++) {
                client_say(k[n], "%s %s", j % 2 ? "INCR" : "DECR", account[j]);
                client_expect(k[n], QUEUED);
            }
        }
        for (int n = 0; n < 3; n++) client_say(k[n], "EXEC");
        client_say(plain, "INCR %s", account[i % 4]);
        if (meanwhile && i == rounds / 4) client_say(oper, "%s", meanwhile);
        for (int n = 0; n < 3; n++) {
            struct bytes r = client_reply(k[n], &reply);
            assert_true(r.data[0] == '*' || memcmp(r.data, "-TRYAGAIN", 9) == 0);
            done += r.data[0] == '*';
        }
        added += client_reply(plain, &reply).data[0] == ':';
    }
    int64_t sum = 0;
    for (int i = 0; i < 4; i++) sum += number(plain, account[i]);
    assert_int_equal(sum, added);
    assert_true(done > rounds * 2);
    for (int n = 0; n < 3; n++) client_close(k[n]);
    if (meanwhile) assert_int_equal(client_reply(oper, &reply).data[0], ':');
    client_close(plain), client_close(oper);
    buf_deinit(&reply);
}

TEST(commands_of_one_group_wait_for_locks)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    transfers(&c, 60, NULL);
    cluster_deinit(&c);
}

static uint8_t group_state(struct cluster *c, uint32_t group)
{
    struct ring_row row;
    return node_ring_row(c->member[0].node, RING_ROW_GROUP, group, &row) ? row.group.state
                                                                         : RING_GROUP_FREE;
}

TEST(a_split_waits_for_who_is_prepared_and_others_for_it)
{
    struct cluster c;
    cluster_init(&c, 3, 2, 3);
    cluster_run(&c, 2000);
    transfers(&c, 120, "SYNOD GROUP SPLIT 0");
    transfers(&c, 120, "SYNOD GROUP SPLIT 1");
    cluster_run(&c, 2000);
    assert_int_equal(group_state(&c, 3), RING_GROUP_SERVING);
    cluster_deinit(&c);
}

TEST(a_merge_waits_for_who_is_prepared_and_others_for_it)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    cluster_run(&c, 2000);
    transfers(&c, 120, "SYNOD GROUP MERGE 1");
    cluster_run(&c, 2000);
    assert_int_not_equal(group_state(&c, 2), RING_GROUP_SERVING);
    transfers(&c, 120, "SYNOD GROUP MERGE 1");
    cluster_run(&c, 2000);
    assert_int_not_equal(group_state(&c, 3), RING_GROUP_SERVING);
    cluster_deinit(&c);
}

TEST_MAIN
