/* Commands on their way through real nodes in the simulated world: order, waiting, spreading,
 * limits, and what hostile peers may not do. */
#include "cluster.h"

#include "base/mem.h"
#include "node/identity.h"
#include "node/wire.h"

static bool starts(struct bytes s, const char *text)
{
    size_t size = strlen(text);
    return s.size >= size && memcmp(s.data, text, size) == 0;
}

static bool contains(struct bytes s, const char *text)
{
    return s.size && memmem(s.data, s.size, text, strlen(text));
}

/* ---- one connection ---- */

TEST(ten_thousand_commands_in_one_breath_are_answered_in_order)
{
    for (uint32_t nodes = 1; nodes <= 3; nodes += 2) {
        struct cluster c;
        struct buf text = {0}, expected = {0};
        cluster_init(&c, nodes, 4, 0);
        struct client *a = client_open(&c, 0);
        for (int i = 0; i < 10000; i++) {
            switch (i % 4) { /* keys of all groups: some are led here, some elsewhere */
            case 0:
                buf_printf(&text, "SET key%d %d\r\n", i, i);
                buf_printf(&expected, "+OK\r\n");
                break;
            case 1:
                buf_printf(&text, "INCR key%d\r\n", i - 1);
                buf_printf(&expected, ":%d\r\n", i);
                break;
            case 2:
                buf_printf(&text, "ECHO %d\r\n", 10000 + i);
                buf_printf(&expected, "$5\r\n%d\r\n", 10000 + i);
                break;
            default:
                buf_printf(&text, "EXISTS key%d key%d\r\n", i - 3, i - 3);
                buf_printf(&expected, ":2\r\n");
            }
        }
        client_send(a, buf_bytes(&text));
        client_await(a, expected.size);
        assert_true(bytes_equal(buf_bytes(&a->got), buf_bytes(&expected)));
        buf_deinit(&text);
        buf_deinit(&expected);
        cluster_deinit(&c);
    }
}

TEST(quit_in_a_pipeline_is_the_last_command)
{
    struct cluster c;
    cluster_init(&c, 3, 1, 0);
    struct client *a = client_open(&c, cluster_other(&c, 0)), *b = client_open(&c, 0);
    client_send(a, BYTES("SET a 1\r\nQUIT\r\nSET a 2\r\n"));
    client_expect(a, "+OK\r\n+OK\r\n");
    cluster_run(&c, 500);
    assert_null(a->conn);
    assert_int_equal(a->got.size, 0);
    client_say(b, "GET a");
    client_expect(b, "$1\r\n1\r\n");
    cluster_deinit(&c);
}

TEST(client_reply_silences_what_it_should_and_no_more)
{
    struct cluster c;
    cluster_init(&c, 3, 1, 0);
    for (uint32_t node = 0; node < 3; node++) {
        struct client *a = client_open(&c, node);
        client_send(a, BYTES("SET a 1\r\nCLIENT REPLY OFF\r\nINCR a\r\nHGET a f\r\nNOSUCH\r\n"
                             "CLIENT REPLY ON\r\nGET a\r\n"));
        client_expect(a, "+OK\r\n+OK\r\n$1\r\n2\r\n");
        client_send(a, BYTES("CLIENT REPLY SKIP\r\nINCR a\r\nINCR a\r\n"));
        client_expect(a, ":4\r\n");
        client_send(a, BYTES("CLIENT REPLY SKIP\r\nHGET a f\r\nHGET a f\r\n"));
        client_expect(a, "-WRONGTYPE");
        cluster_run(&c, 300);
        assert_true(contains(buf_bytes(&a->got), "\r\n") && a->got.size < 100);
    }
    cluster_deinit(&c);
}

TEST(a_client_that_sleeps_keeps_nobody_else_waiting)
{
    struct cluster c;
    cluster_init(&c, 1, 1, 0);
    struct client *a = client_open(&c, 0), *b = client_open(&c, 0);
    client_send(a, BYTES("DEBUG SLEEP 3\r\nSET a 1\r\n"));
    cluster_run(&c, 100);
    client_send(b, BYTES("GET a\r\nSET b 1\r\n"));
    client_expect(b, "$-1\r\n+OK\r\n");
    cluster_run(&c, 2000);
    assert_int_equal(a->got.size, 0);
    cluster_run(&c, 1500);
    client_expect(a, "+OK\r\n+OK\r\n");
    cluster_deinit(&c);
}

TEST(clients_may_be_killed_while_their_commands_are_under_way)
{
    struct cluster c;
    struct buf text = {0}, list = {0};
    cluster_init(&c, 3, 4, 0);
    for (int round = 0; round < 3; round++) {
        struct client *a = client_open(&c, 0);
        client_say(a, "CLIENT ID");
        struct bytes id = client_reply(a, &list);
        struct client *b = client_open(&c, 0);
        buf_clear(&text);
        for (int i = 0; i < 200; i++) buf_printf(&text, "INCR k%d\r\nGET k%d\r\n", i, i);
        if (round == 1) buf_printf(&text, "FLUSHALL\r\n");
        if (round == 2) buf_printf(&text, "DEBUG SLEEP 1\r\nWAIT 2 0\r\n");
        client_send(a, buf_bytes(&text));
        world_run(c.w, world_now(c.w) + 700 * MICROSECOND, NULL); /* some are forwarded by now */
        client_say(b, "CLIENT KILL ID %.*s", (int)id.size - 3, (const char *)id.data + 1);
        client_expect(b, ":1\r\n");
        cluster_run(&c, 2000);
        assert_null(a->conn);
        client_send(b, BYTES("CLIENT KILL SKIPME no\r\nSET never done\r\n"));
        cluster_run(&c, 200);
        assert_null(b->conn);
        assert_true(starts(buf_bytes(&b->got), ":1\r\n"));
    }
    struct client *d = client_open(&c, 0);
    client_say(d, "EXISTS never");
    client_expect(d, ":0\r\n");
    buf_deinit(&text);
    buf_deinit(&list);
    cluster_deinit(&c);
}

/* ---- order across leaderships ---- */

/* Each command appends its number; what was answered is there, in order, once. */
static void order_run(bool kill)
{
    enum { COUNT = 1500 };
    struct cluster c;
    struct buf text = {0}, reply = {0}, value = {0};
    static char said[COUNT];
    cluster_init(&c, 3, 1, 0);
    uint32_t leader = cluster_leader(&c, 0);
    struct client *a = client_open(&c, cluster_other(&c, 0)), *b;
    int answered = 0, done = 0;
    for (int i = 0; i < COUNT; i++) {
        buf_clear(&text);
        buf_printf(&text, "APPEND list %d,\r\n", i);
        client_send(a, buf_bytes(&text));
        if (i % 10 == 0) world_run(c.w, world_now(c.w) + 2 * MILLISECOND, NULL);
        if (i != COUNT / 2) continue;
        if (kill)
            cluster_kill(&c, leader);
        else
            cluster_resign(&c, leader);
    }
    for (; answered < COUNT; answered++) {
        struct bytes r = client_reply(a, &reply);
        said[answered] = starts(r, ":") ? 'y' : starts(r, "-UNKNOWN") ? '?' : 'n';
        if (said[answered] == 'n') assert_true(starts(r, "-TRYAGAIN") || starts(r, "-CLUSTERDOWN"));
        done += said[answered] == 'y';
    }
    assert_true(done > COUNT / 2);
    b = client_open(&c, cluster_other(&c, 0));
    client_say(b, "GET list");
    struct bytes r = client_reply(b, &value);
    const char *at = memchr(r.data, '\n', r.size);
    int last = -1;
    for (at++; *at != '\r';) {
        int number = (int)strtol(at, (char **)(uintptr_t)&at, 10);
        assert_true(*at++ == ',');
        assert_true(number > last); /* in order, and nothing twice */
        assert_int_not_equal(said[number], 'n');
        for (int i = last + 1; i < number; i++) assert_int_not_equal(said[i], 'y');
        last = number;
    }
    for (int i = last + 1; i < COUNT; i++) assert_int_not_equal(said[i], 'y');
    buf_deinit(&text);
    buf_deinit(&reply);
    buf_deinit(&value);
    cluster_deinit(&c);
}

TEST(the_order_of_a_connection_survives_a_leadership_that_is_handed_over)
{
    order_run(false);
}

/* Who talks to the leader itself does not see it hand over: what it began is finished, and what
 * comes meanwhile waits for the successor. */
TEST(a_leadership_that_is_handed_over_is_not_seen_by_the_leaders_own_clients)
{
    enum { COUNT = 600 };
    struct cluster c;
    struct buf text = {0}, reply = {0};
    cluster_init(&c, 3, 1, 0);
    uint32_t leader = cluster_leader(&c, 0);
    struct client *a = client_open(&c, leader), *b = client_open(&c, leader);
    for (int i = 1; i <= COUNT; i++) {
        client_send(a, BYTES("INCR n\r\n"));
        client_send(b, BYTES("STRLEN m\r\n"));
        world_run(c.w, world_now(c.w) + MILLISECOND / 10, NULL);
        if (i == COUNT / 2) cluster_resign(&c, leader);
    }
    for (int i = 1; i <= COUNT; i++) {
        buf_clear(&text);
        buf_printf(&text, ":%d\r\n", i);
        assert_true(bytes_equal(client_reply(a, &reply), buf_bytes(&text)));
        client_expect(b, ":0\r\n");
    }
    assert_int_not_equal(cluster_leader(&c, 0), leader);
    buf_deinit(&text);
    buf_deinit(&reply);
    cluster_deinit(&c);
}

TEST(the_order_of_a_connection_survives_a_leader_that_dies)
{
    order_run(true);
}

/* ---- WAIT ---- */

TEST(wait_counts_the_replicas_that_have_it_on_disk)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 0);
    struct client *a = client_open(&c, 0);
    client_say(a, "WAIT 2 1000"); /* nothing written: at once */
    client_expect(a, ":2\r\n");
    for (int i = 0; i < 20; i++) client_say(a, "SET k%d 1", i);
    client_say(a, "WAIT 2 5000");
    client_say(a, "WAIT 9 5000"); /* more than there are: as many as there are */
    for (int i = 0; i < 20; i++) client_expect(a, "+OK\r\n");
    client_expect(a, ":2\r\n:2\r\n");
    cluster_deinit(&c);
}

TEST(wait_tells_how_many_there_are_when_its_time_is_over)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 0);
    cluster_kill(&c, 2);
    cluster_settle(&c);
    for (uint32_t node = 0; node < 2; node++) {
        struct client *a = client_open(&c, node);
        for (int i = 0; i < 20; i++) client_say(a, "SET k%d 1", i);
        for (int i = 0; i < 20; i++) client_expect(a, "+OK\r\n");
        uint64_t began = world_now(c.w);
        client_say(a, "WAIT 2 700");
        client_expect(a, ":1\r\n");
        uint64_t took = (world_now(c.w) - began) / MILLISECOND;
        assert_true(took >= 690 && took < 1100);
        client_say(a, "WAIT 1 700");
        client_expect(a, ":1\r\n");
    }
    cluster_deinit(&c);
}

TEST(wait_covers_writes_that_are_not_even_proposed)
{
    struct cluster c;
    cluster_init(&c, 3, 1, 0);
    uint32_t leader = cluster_leader(&c, 0);
    struct client *a = client_open(&c, leader);
    client_send(a, BYTES("SET a 1\r\nWAIT 2 0\r\n"));
    client_expect(a, "+OK\r\n:2\r\n");
    world_block(c.w, leader, (leader + 1) % 3, true);
    client_send(a, BYTES("SET a 2\r\nWAIT 2 300\r\nWAIT 1 300\r\n"));
    client_expect(a, "+OK\r\n:1\r\n:1\r\n");
    cluster_deinit(&c);
}

TEST(wait_without_a_limit_waits_until_the_replica_is_back)
{
    struct cluster c;
    cluster_init(&c, 3, 2, 0);
    cluster_kill(&c, 2);
    cluster_settle(&c);
    struct client *a = client_open(&c, 0), *gone = client_open(&c, 0);
    client_send(a, BYTES("SET a 1\r\nSET b 1\r\nWAIT 2 0\r\n"));
    client_send(gone, BYTES("SET a 1\r\nSET b 1\r\nWAIT 2 0\r\n"));
    client_expect(a, "+OK\r\n+OK\r\n");
    cluster_run(&c, 3000);
    client_close(gone);
    cluster_run(&c, 22000); /* longer than any request may take */
    assert_int_equal(a->got.size, 0);
    cluster_start(&c, 2);
    client_expect(a, ":2\r\n");
    cluster_deinit(&c);
}

/* ---- all groups ---- */

TEST(spread_commands_keep_their_place_in_the_pipeline)
{
    struct cluster c;
    struct buf text = {0};
    cluster_init(&c, 3, 8, 0);
    struct client *a = client_open(&c, 1);
    for (int i = 0; i < 50; i++) buf_printf(&text, "SET k%d %d\r\n", i, i);
    buf_printf(&text, "DBSIZE\r\nFLUSHALL\r\nDBSIZE\r\nSET x 1\r\nDBSIZE\r\n");
    client_send(a, buf_bytes(&text));
    for (int i = 0; i < 50; i++) client_expect(a, "+OK\r\n");
    client_expect(a, ":50\r\n+OK\r\n:0\r\n+OK\r\n:1\r\n");
    buf_deinit(&text);
    cluster_deinit(&c);
}

TEST(flushall_comes_after_what_was_sent_before_it_also_when_the_leader_moves)
{
    struct cluster c;
    struct buf reply = {0};
    cluster_init(&c, 3, 1, 0);
    for (int round = 0; round < 20; round++) {
        struct client *a = client_open(&c, cluster_other(&c, 0));
        uint32_t leader = cluster_leader(&c, 0);
        client_send(a, BYTES("SET a 1\r\nSET b 1\r\nFLUSHALL\r\nEXISTS a b\r\n"));
        world_run(c.w, world_now(c.w) + (uint64_t)round * 100 * MICROSECOND, NULL);
        cluster_resign(&c, leader);
        (void)client_reply(a, &reply), (void)client_reply(a, &reply);
        bool flushed = starts(client_reply(a, &reply), "+OK");
        struct bytes r = client_reply(a, &reply);
        if (flushed) assert_true(starts(r, ":0") || starts(r, "-TRYAGAIN"));
        client_close(a);
        c.clients--;
        buf_deinit(&a->got);
        cluster_kill(&c, leader); /* it stays stopping otherwise */
        cluster_start(&c, leader);
        cluster_settle(&c);
    }
    buf_deinit(&reply);
    cluster_deinit(&c);
}

TEST(spread_commands_go_on_without_one_node)
{
    struct cluster c;
    cluster_init(&c, 3, 8, 0);
    struct client *a = client_open(&c, 1);
    for (int i = 0; i < 30; i++) client_say(a, "SET k%d 1", i);
    for (int i = 0; i < 30; i++) client_expect(a, "+OK\r\n");
    cluster_kill(&c, 0);
    client_send(a, BYTES("DBSIZE\r\nFLUSHALL\r\nDBSIZE\r\n"));
    client_expect(a, ":30\r\n+OK\r\n:0\r\n");
    cluster_deinit(&c);
}

TEST(a_node_without_a_replica_of_a_group_finds_its_leader)
{
    struct cluster c;
    cluster_init(&c, 4, 8, 3);
    for (uint32_t node = 0; node < 4; node++) {
        struct client *a = client_open(&c, node);
        for (int i = 0; i < 40; i++) client_say(a, "SET k%d %u", i, node);
        for (int i = 0; i < 40; i++) client_expect(a, "+OK\r\n");
        client_say(a, "DBSIZE");
        client_expect(a, ":40\r\n");
    }
    cluster_kill(&c, 1);
    struct client *a = client_open(&c, 3);
    for (int i = 0; i < 40; i++) client_say(a, "INCR k%d", i);
    for (int i = 0; i < 40; i++) client_expect(a, ":4\r\n");
    cluster_deinit(&c);
}

TEST(without_a_majority_a_command_is_refused_in_time_and_not_done_later)
{
    struct cluster c;
    struct buf reply = {0};
    cluster_init(&c, 3, 1, 0);
    cluster_kill(&c, 1);
    cluster_kill(&c, 2);
    cluster_run(&c, 3000);
    struct client *a = client_open(&c, 0);
    uint64_t began = world_now(c.w);
    client_say(a, "SET a 1");
    assert_true(starts(client_reply(a, &reply), "-CLUSTERDOWN"));
    assert_true(world_now(c.w) - began < 11 * SECOND);
    cluster_start(&c, 1);
    cluster_start(&c, 2);
    cluster_settle(&c);
    client_say(a, "GET a");
    client_expect(a, "$-1\r\n");
    buf_deinit(&reply);
    cluster_deinit(&c);
}

/* ---- TRACE ---- */

TEST(trace_tells_the_path_and_answers_the_command)
{
    struct cluster c;
    struct buf reply = {0};
    cluster_init(&c, 3, 4, 0);
    for (uint32_t node = 0; node < 3; node++) {
        struct client *a = client_open(&c, node);
        client_say(a, "TRACE INCR counter");
        struct bytes r = client_reply(a, &reply);
        assert_true(starts(r, "*"));
        assert_true(contains(r, "hash: slot") && contains(r, "Accepted by node") &&
                    contains(r, "chosen (on disk at a majority)"));
        char text[20];
        int size = snprintf(text, sizeof text, ":%u\r\n", node + 1);
        assert_memory_equal(r.data + r.size - size, text, size);
        client_say(a, "TRACE PING");
        assert_true(starts(client_reply(a, &reply), "-ERR"));
    }
    buf_deinit(&reply);
    cluster_deinit(&c);
}

TEST(the_slow_log_has_what_took_long)
{
    struct cluster c;
    struct buf reply = {0};
    cluster_init(&c, 1, 1, 0);
    struct client *a = client_open(&c, 0);
    client_send(a,
                BYTES("CONFIG SET slowlog-log-slower-than 500000\r\nSET a 1\r\nSLOWLOG LEN\r\n"));
    client_expect(a, "+OK\r\n+OK\r\n:0\r\n");
    client_send(a, BYTES("DEBUG SLEEP 1\r\nGET a\r\n"));
    client_expect(a, "+OK\r\n$1\r\n1\r\n");
    client_say(a, "SLOWLOG LEN");
    client_expect(a, ":1\r\n");
    client_say(a, "SLOWLOG GET");
    struct bytes r = client_reply(a, &reply);
    assert_true(starts(r, "*1\r\n*6\r\n:0\r\n") && contains(r, "sleep"));
    client_send(a, BYTES("SLOWLOG RESET\r\nSLOWLOG LEN\r\n"));
    client_expect(a, "+OK\r\n:0\r\n");
    buf_deinit(&reply);
    cluster_deinit(&c);
}

/* ---- limits ---- */

static void say_set(struct client *c, const char *head, size_t size)
{
    struct buf text = {0};
    buf_printf(&text, "%s", head);
    buf_printf(&text, "$%zu\r\n", size);
    memset(buf_reserve(&text, size), 'v', size);
    text.size += size;
    buf_printf(&text, "\r\n");
    client_send(c, buf_bytes(&text));
    buf_deinit(&text);
}

TEST(the_largest_value_passes_and_what_no_frame_or_entry_can_hold_is_refused)
{
    struct cluster c;
    struct buf reply = {0};
    const size_t large = 30u << 20;
    cluster_init(&c, 3, 1, 0);
    for (int led = 0; led < 2; led++) {
        struct client *a = client_open(&c, led ? cluster_leader(&c, 0) : cluster_other(&c, 0));
        say_set(a, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n", 32u << 20);
        assert_true(starts(client_reply(a, &reply), "+OK"));
        client_say(a, "STRLEN a");
        client_expect(a, ":33554432\r\n");

        client_say(a, "MGET a a"); /* a little more than 64 MiB */
        assert_true(contains(client_reply(a, &reply), "the reply is larger than 64 MiB"));
        client_say(a, "MGET a a a");
        assert_true(contains(client_reply(a, &reply), "the reply is larger than 64 MiB"));

        say_set(a, "*5\r\n$4\r\nMSET\r\n$1\r\na\r\n", large); /* ... and a second pair */
        say_set(a, "$1\r\nb\r\n", large);
        assert_true(contains(client_reply(a, &reply), "would write more than 49152 KiB"));
        client_say(a, "STRLEN a");
        client_expect(a, ":33554432\r\n");
        client_say(a, "EXISTS b");
        client_expect(a, ":0\r\n");
        client_say(a, "DEL a");
        client_expect(a, ":1\r\n");
        client_close(a);
    }
    cluster_run(&c, 3000);
    buf_deinit(&reply);
    cluster_deinit(&c);
}

/* More than the recent tables may hold comes at once: writes wait for the flush, and for nothing
 * else (seed 201371: only the next entry would have ended it). */
TEST(writes_go_on_once_the_memory_that_was_full_is_flushed)
{
    struct cluster c;
    cluster_init(&c, 1, 1, 0);
    cluster_kill(&c, 0);
    c.member[0].config.memory_bytes = 16u << 10;
    cluster_start(&c, 0);
    cluster_settle(&c);
    struct client *a = client_open(&c, 0);
    for (int i = 0; i < 5; i++) {
        say_set(a, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n", 1u << 20);
        client_expect(a, "+OK\r\n");
        cluster_run(&c, 1000);
    }
    client_close(a);
    cluster_deinit(&c);
}

TEST(keys_expire_on_time_although_the_clock_was_set_back)
{
    struct cluster c;
    cluster_init(&c, 3, 16, 0);
    struct client *a = client_open(&c, 0);
    for (uint32_t i = 0; i < 3; i++) world_wall_jump(c.w, i, 86400000);
    client_send(a, BYTES("SET a 1 PX 3000\r\n"));
    client_expect(a, "+OK\r\n");
    for (uint32_t i = 0; i < 3; i++) world_wall_jump(c.w, i, -86400000);
    cluster_run(&c, 2500);
    client_say(a, "EXISTS a");
    client_expect(a, ":1\r\n");
    cluster_run(&c, 1000);
    client_say(a, "DBSIZE"); /* expired by the leader itself */
    client_expect(a, ":0\r\n");
    cluster_deinit(&c);
}

/* ---- hostile peers ---- */

static void hello_of(struct cluster *c, uint32_t node, struct buf *out)
{
    struct identity id;
    world_enter(c->w, node);
    assert_int_equal(identity_load(world_io(c->w, node), &id), IDENTITY_FOUND);
    world_leave(c->w, node);
    wire_put_hello(out, &(struct wire_hello){.cluster = id.cluster,
                                             .node = id.node,
                                             .disk = id.disk,
                                             .incarnation = id.incarnation,
                                             .client = BYTES("x")});
}

static void command_frame(struct buf *out, uint32_t group, uint64_t id)
{
    struct bytes v[] = {BYTES("SET"), BYTES("k0"), BYTES("hostile")};
    size_t begun = wire_begin(out, WIRE_COMMAND);
    wire_put_command(out, &(struct wire_command){
                              .id = id, .client = 1, .group = group, .version = 2, .args = {v, 3}});
    wire_end(out, begun);
}

static void reply_frame(struct buf *out, uint64_t id)
{
    size_t begun = wire_begin(out, WIRE_REPLY);
    wire_put_reply(out, &(struct wire_reply){id, WIRE_DONE, BYTES("+OK\r\n")});
    wire_end(out, begun);
}

TEST(a_peer_that_did_not_say_who_it_is_gets_nothing_done)
{
    struct cluster c;
    struct buf text = {0};
    cluster_init(&c, 3, 2, 0);
    for (int kind = 0; kind < 4; kind++) {
        struct client *p = client_open_peer(&c, 0), *a = client_open(&c, 1);
        buf_clear(&text);
        if (kind == 0) command_frame(&text, 0, 1), command_frame(&text, 1, 2);
        if (kind == 1) buf_printf(&text, "GET / HTTP/1.1\r\n\r\n");
        if (kind == 2) reply_frame(&text, 1);
        if (kind == 3) { /* a frame of 90 MiB, of which some is sent */
            wire_put_text(&text, WIRE_HELLO, "x");
            text.data[3] = 5, text.data[2] = 0xa0;
            memset(buf_reserve(&text, 100000), 0, 100000);
            text.size += 100000;
        }
        client_send(p, buf_bytes(&text));
        cluster_run(&c, 300);
        assert_null(p->conn);
        client_say(a, "GET k0");
        client_expect(a, "$-1\r\n");
        client_close(a);
    }
    buf_deinit(&text);
    cluster_deinit(&c);
}

TEST(a_peer_may_not_become_another_one)
{
    struct cluster c;
    struct buf text = {0};
    cluster_init(&c, 3, 2, 0);
    struct client *p = client_open_peer(&c, 0);
    hello_of(&c, 1, &text);
    hello_of(&c, 2, &text);
    client_send(p, buf_bytes(&text));
    cluster_run(&c, 300);
    assert_null(p->conn);
    cluster_run(&c, 2000); /* the real ones dial again, and replace what was there */
    struct client *a = client_open(&c, 0);
    client_send(a, BYTES("SET a 1\r\nSET b 1\r\nDBSIZE\r\n"));
    client_expect(a, "+OK\r\n+OK\r\n:2\r\n");
    buf_deinit(&text);
    cluster_deinit(&c);
}

TEST(frames_of_a_lying_peer_are_refused_without_harm)
{
    struct cluster c;
    struct buf text = {0};
    cluster_init(&c, 3, 2, 0);
    uint32_t leader = cluster_leader(&c, 0);
    for (int kind = 0; kind < 5; kind++) {
        struct client *p = client_open_peer(&c, leader);
        buf_clear(&text);
        hello_of(&c, (leader + 1) % 3, &text);
        if (kind == 0) command_frame(&text, 77, 1); /* no such group */
        if (kind == 1)
            command_frame(&text, 0, 1), command_frame(&text, 1, 1); /* one is not the key's */
        if (kind == 2) reply_frame(&text, 12345);
        if (kind == 3) {
            size_t begun = wire_begin(&text, WIRE_STATE);
            for (int i = 0; i < 100; i++) buf_u8(&text, 0xff);
            wire_end(&text, begun);
        }
        if (kind == 4) {
            size_t begun = wire_begin(&text, WIRE_PAXOS);
            buf_u32(&text, 0);
            for (int i = 0; i < 100; i++) buf_u8(&text, 7);
            wire_end(&text, begun);
        }
        client_send(p, buf_bytes(&text));
        cluster_run(&c, 500);
        client_close(p);
        cluster_run(&c, 1500);
    }
    struct client *a = client_open(&c, 0);
    client_send(a, BYTES("SET a 1\r\nSET b 1\r\nGET a\r\n"));
    client_expect(a, "+OK\r\n+OK\r\n$1\r\n1\r\n");
    buf_deinit(&text);
    cluster_deinit(&c);
}

TEST_MAIN
