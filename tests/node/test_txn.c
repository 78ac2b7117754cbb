/* Transactions over several groups, on a cluster of the real node code: what commands mean over any
 * keys, and what is left of one whose coordinator or leaders die. */
#include "cluster.h"

#include "base/prng.h"
#include "ring/ring.h"

#define QUEUED "+QUEUED\r\n"

static void says(struct client *k, const char *line, const char *reply)
{
    client_say(k, "%s", line);
    client_expect(k, reply);
}

/* Slots 15495, 3300, 7365, 11298: of four groups, all of them apart. */
TEST(commands_take_keys_of_any_groups)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    for (uint32_t n = 0; n < 3; n++) {
        struct client *k = client_open(&c, n);
        says(k, "MSET a 1 b 2 c 3", "+OK\r\n");
        says(k, "MGET a b c d", "*4\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$-1\r\n");
        says(k, "EXISTS a b c d a", ":4\r\n");
        says(k, "MSETNX d 4 a 9", ":0\r\n");
        says(k, "EXISTS d", ":0\r\n");
        says(k, "MSETNX d 4 e 5", ":1\r\n");
        says(k, "TOUCH a d nobody", ":2\r\n");
        says(k, "RENAME a aa", "+OK\r\n");
        says(k, "GET aa", "$1\r\n1\r\n");
        says(k, "RENAMENX aa b", ":0\r\n");
        says(k, "COPY aa f", ":1\r\n");
        says(k, "DEL aa b c d e f f", ":6\r\n");
        says(k, "DBSIZE", ":0\r\n");
    }
    cluster_deinit(&c);
}

/* Objects get their ids where they live: what is made elsewhere meets no other object's elements.
 */
TEST(collections_and_their_expiry_move_between_groups)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    says(k, "HSET a f v g w", ":2\r\n");
    says(k, "PEXPIREAT a 4000000000000", ":1\r\n");
    says(k, "RENAME a b", "+OK\r\n");
    says(k, "PEXPIRETIME b", ":4000000000000\r\n");
    says(k, "HGETALL b", "*4\r\n$1\r\nf\r\n$1\r\nv\r\n$1\r\ng\r\n$1\r\nw\r\n");
    says(k, "COPY b c", ":1\r\n");
    says(k, "HSET c f other", ":0\r\n");
    says(k, "HGET b f", "$1\r\nv\r\n");
    says(k, "MULTI", "+OK\r\n");
    says(k, "HSET x 1 1", QUEUED);
    says(k, "HSET y 2 2", QUEUED);
    says(k, "HSET x 3 3", QUEUED);
    says(k, "DEL x", QUEUED);
    says(k, "HSET x 4 4", QUEUED);
    says(k, "HLEN x", QUEUED);
    says(k, "EXEC", "*6\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n");
    says(k, "HGETALL x", "*2\r\n$1\r\n4\r\n$1\r\n4\r\n");
    says(k, "HGETALL y", "*2\r\n$1\r\n2\r\n$1\r\n2\r\n");
    says(k, "DBSIZE", ":4\r\n");
    cluster_deinit(&c);
}

TEST(an_exec_over_groups_is_as_one_in_a_group)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 1);
    says(k, "MULTI", "+OK\r\n");
    says(k, "SET a 5", QUEUED);
    says(k, "INCR a", QUEUED);
    says(k, "HSET a f v", QUEUED);
    says(k, "PING", QUEUED);
    says(k, "RENAME a b", QUEUED);
    says(k, "MGET a b", QUEUED);
    says(k, "EXEC",
         "*6\r\n+OK\r\n:6\r\n-WRONGTYPE Operation against a key holding the wrong kind of "
         "value\r\n+PONG\r\n+OK\r\n*2\r\n$-1\r\n$1\r\n6\r\n");
    says(k, "GET b", "$1\r\n6\r\n");
    cluster_deinit(&c);
}

TEST(keys_of_several_groups_are_watched)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0), *other = client_open(&c, 1);
    says(k, "MSET a 1 b 2", "+OK\r\n");
    for (int changes = 0; changes < 3; changes++) {
        says(k, "WATCH a b nobody", "+OK\r\n");
        if (changes == 1) says(other, "SET b 3", "+OK\r\n");
        if (changes == 2) says(other, "MSET nobody 1 other 1", "+OK\r\n");
        says(k, "MULTI", "+OK\r\n");
        says(k, "INCR a", QUEUED);
        says(k, "INCR c", QUEUED);
        says(k, "EXEC", changes ? "*-1\r\n" : "*2\r\n:2\r\n:1\r\n");
    }
    says(k, "MGET a c", "*2\r\n$1\r\n2\r\n$1\r\n1\r\n");
    cluster_deinit(&c);
}

/* Whoever meets an expired key deletes it, also where it came only to read. */
TEST(expired_keys_of_several_groups_are_deleted_once)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    says(k, "PSETEX a 30 1", "+OK\r\n");
    says(k, "PSETEX b 30 1", "+OK\r\n");
    cluster_run(&c, 31);
    says(k, "MGET a b", "*2\r\n$-1\r\n$-1\r\n");
    says(k, "DBSIZE", ":0\r\n");
    cluster_run(&c, 1000);
    says(k, "DBSIZE", ":0\r\n");
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

/* ---- groups that change ---- */

/* Transfers go on for so many rounds; some are refused, while a group is between two owners. */
static void transfers(struct cluster *c, struct client *k, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        struct buf reply = {0};
        says(k, "MULTI", "+OK\r\n");
        for (int n = 0; n < 4; n++) {
            client_say(k, "%s %s", n % 2 ? "INCR" : "DECR", account[n]);
            client_expect(k, QUEUED);
        }
        client_say(k, "EXEC");
        struct bytes r = client_reply(k, &reply);
        assert_true(r.data[0] == '*' || memcmp(r.data, "-TRYAGAIN", 9) == 0);
        buf_deinit(&reply);
        cluster_run(c, 10);
    }
    int64_t sum = 0;
    for (int i = 0; i < 4; i++) sum += number(k, account[i]);
    assert_int_equal(sum, 0);
    assert_true(number(k, "b") > rounds * 3 / 4);
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
    struct client *k = client_open(&c, 0), *o = client_open(&c, 1);
    says(k, "MSET a 0 b 0 c 0 d 0", "+OK\r\n");
    cluster_run(&c, 2000);
    says(o, "SYNOD GROUP SPLIT 0", ":2\r\n");
    says(o, "SYNOD GROUP SPLIT 1", ":3\r\n");
    transfers(&c, k, 200);
    assert_int_equal(group_state(&c, 3), RING_GROUP_SERVING);
    cluster_deinit(&c);
}

/* Between the evaluation of a seal and its end nobody begins (seed 35000739). */
TEST(a_merge_waits_for_who_is_prepared_and_others_for_it)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0), *o = client_open(&c, 1);
    says(k, "MSET a 0 b 0 c 0 d 0", "+OK\r\n");
    cluster_run(&c, 2000);
    says(o, "SYNOD GROUP MERGE 1", ":2\r\n");
    transfers(&c, k, 200);
    assert_int_not_equal(group_state(&c, 2), RING_GROUP_SERVING);
    says(o, "SYNOD GROUP MERGE 1", ":3\r\n");
    transfers(&c, k, 200);
    assert_int_not_equal(group_state(&c, 3), RING_GROUP_SERVING);
    cluster_deinit(&c);
}

TEST_MAIN
