/* Who should not lead does not: one whose log device is slow, one that is cut off from somebody
 * whom others hear. Their votes count as before. */
#include "cluster.h"

#define GROUPS 8

static uint32_t led_by(struct cluster *c, uint32_t node)
{
    uint32_t led = 0;
    for (uint32_t g = 0; g < GROUPS; g++) led += cluster_leader(c, g) == node;
    return led;
}

static bool await_led(struct cluster *c, uint32_t node, uint32_t least, uint32_t most, uint64_t ms)
{
    uint64_t end = world_now(c->w) + ms * 1000000;
    while (world_now(c->w) < end) {
        if (led_by(c, node) >= least && led_by(c, node) <= most) return true;
        cluster_run(c, 100);
    }
    return false;
}

static void await_spread(struct cluster *c)
{
    for (uint32_t n = 0; n < c->nodes; n++) assert_true(await_led(c, n, 1, GROUPS, 60000));
}

static void block(struct cluster *c, uint32_t a, uint32_t b, bool blocked)
{
    world_block(c->w, a, b, blocked);
    world_block(c->w, b, a, blocked);
}

/* Is some node in this state, as that one sees it? */
static bool sees(struct client *k, const char *state)
{
    struct buf reply = {0};
    char field[40];
    snprintf(field, sizeof field, "\"state\":\"%s\"", state);
    client_say(k, "SYNOD STATUS");
    struct bytes r = client_reply(k, &reply);
    bool said = memmem(r.data, r.size, field, strlen(field)) != NULL;
    buf_deinit(&reply);
    return said;
}

static void transfer(struct client *k, const char *reply)
{
    client_say(k, "MULTI");
    client_say(k, "INCR a");
    client_say(k, "INCR b");
    client_say(k, "INCR c");
    client_say(k, "INCR d");
    client_say(k, "EXEC");
    if (!reply) return;
    client_expect(k, "+OK\r\n" QUEUED QUEUED QUEUED QUEUED);
    client_expect(k, reply);
}

/* Nodes 0 and 1 do not hear each other; between them are transactions in every stage. All go on as
 * soon as node 2, which hears both, leads all groups, whoever is asked. */
TEST(who_hears_all_leads_all_while_two_do_not_hear_each_other)
{
    struct cluster c;
    cluster_init(&c, 3, GROUPS, 3);
    await_spread(&c);
    struct client *look = client_open(&c, 2);
    for (uint32_t i = 0; i < 20; i++) {
        transfer(client_open(&c, i % 3), NULL);
        world_run(c.w, world_now(c.w) + 100000, NULL);
    }
    block(&c, 0, 1, true);
    assert_true(await_led(&c, 2, GROUPS, GROUPS, 5000));
    assert_true(sees(look, "cut"));
    cluster_run(&c, 2000);
    for (uint32_t n = 0; n < 3; n++) {
        uint64_t began = world_now(c.w);
        struct client *k = client_open(&c, n);
        client_says(k, "MSET a 1 b 1 c 1 d 1", "+OK\r\n");
        transfer(k, "*4\r\n:2\r\n:2\r\n:2\r\n:2\r\n");
        assert_true(world_now(c.w) - began < 1000000000ull);
        cluster_run(&c, 100);
        client_says(k, "TXN LIST", "*0\r\n");
    }
    block(&c, 0, 1, false);
    await_spread(&c);
    assert_false(sees(look, "cut"));
    cluster_deinit(&c);
}

/* All that are left hear one node less, some a little later than others. */
TEST(where_a_node_dies_or_is_alone_nobody_is_cut_off)
{
    struct cluster c;
    cluster_init(&c, 3, GROUPS, 3);
    struct client *look[] = {client_open(&c, 0), client_open(&c, 1)};
    for (int alone = 0; alone < 2; alone++) {
        await_spread(&c);
        if (alone)
            block(&c, 2, 0, true), block(&c, 2, 1, true);
        else
            cluster_kill(&c, 2);
        for (int i = 0; i < 100; i++) {
            cluster_run(&c, 100);
            for (uint32_t n = 0; n < 2; n++) assert_false(sees(look[n], "cut"));
            assert_true(led_by(&c, 0) > 0);
            assert_true(led_by(&c, 1) > 0);
        }
        if (alone)
            block(&c, 2, 0, false), block(&c, 2, 1, false);
        else
            cluster_start(&c, 2);
    }
    await_spread(&c);
    cluster_deinit(&c);
}

/* Two cuts between four nodes: each hears two others, nobody hears more. Groups go on. */
TEST(where_nobody_hears_more_nobody_gives_anything_away)
{
    struct cluster c;
    cluster_init(&c, 4, GROUPS, 3);
    await_spread(&c);
    struct client *look = client_open(&c, 0);
    block(&c, 0, 1, true), block(&c, 2, 3, true);
    for (int i = 0; i < 50; i++) {
        cluster_run(&c, 100);
        assert_false(sees(look, "cut"));
    }
    cluster_settle(&c);
    cluster_deinit(&c);
}

/* A minute after its log is well again it leads again. */
TEST(one_with_a_slow_log_leads_nothing_until_it_is_well)
{
    struct cluster c;
    cluster_init(&c, 3, GROUPS, 3);
    await_spread(&c);
    struct client *k = client_open(&c, 1);
    for (int slow = 1; slow >= 0; slow--) {
        uint64_t least = 0, *write_ns = &world_disk(c.w, 0)->write_ns;
        *write_ns = slow ? *write_ns * 1000 + 50000000 : (*write_ns - 50000000) / 1000;
        for (int i = 0; i < 100; i++) {
            client_say(k, "MSET a %d b %d c %d d %d", i, i, i, i);
            client_expect(k, "+OK\r\n");
            cluster_run(&c, 100);
            least += led_by(&c, 0) > 0;
        }
        assert_true(slow ? least < 90 : least == 0);
        assert_int_equal(led_by(&c, 0), 0);
        assert_true(sees(k, "slow"));
    }
    assert_true(await_led(&c, 0, 1, GROUPS, 80000));
    assert_false(sees(k, "slow"));
    cluster_deinit(&c);
}

TEST_MAIN
