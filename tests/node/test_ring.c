/* Nodes that come and go, groups that move and split: what seeds of the simulator found, one by
 * one. */
#include "cluster.h"

#include "ring/ring.h"

static struct ring_group row_of(struct cluster *c, uint32_t node, uint32_t group)
{
    struct ring_row row;
    assert_true(node_ring_row(c->member[node].node, RING_ROW_GROUP, group, &row));
    return row.group;
}

static uint8_t state_of(struct cluster *c, uint32_t node, uint16_t id)
{
    struct ring_row row;
    return node_ring_row(c->member[node].node, RING_ROW_NODE, id, &row) ? row.node.state
                                                                        : RING_NODE_FREE;
}

/* Until `node` has a whole replica of the group, or none. */
static void await_replica(struct cluster *c, uint32_t node, uint32_t group, bool there)
{
    struct node_group_view v;
    for (int i = 0; i < 300; i++) {
        bool has = node_group(c->member[node].node, group, &v) && !v.installing;
        if (has == there) return;
        cluster_run(c, 100);
    }
    fail_msg("node %u %s group %u", node + 1, there ? "never got" : "never lost", group);
}

static void await_booted(struct cluster *c)
{
    struct ring_row row;
    for (int i = 0; i < 100; i++) {
        if (node_ring_row(c->member[0].node, RING_ROW_SETTINGS, 0, &row) && row.settings.epoch)
            return;
        cluster_run(c, 100);
    }
    fail_msg("no map");
}

static void fill(struct client *k, int from, int keys)
{
    for (int i = from; i < from + keys; i++) {
        client_say(k, "SET key%d %0400d", i, i);
        client_expect(k, "+OK\r\n");
    }
}

static void join(struct cluster *c, uint32_t node)
{
    cluster_join(c, node, 0);
    for (int i = 0; i < 100 && state_of(c, 0, (uint16_t)(node + 1)) != RING_NODE_SERVING; i++)
        cluster_run(c, 100);
    assert_int_equal(state_of(c, 0, (uint16_t)(node + 1)), RING_NODE_SERVING);
}

/* With more nodes than a group has replicas, founding puts nothing on some of them. They start, and
 * start again. */
TEST(a_founding_node_may_hold_nothing)
{
    struct cluster c;
    struct node_group_view v;
    cluster_init(&c, 5, 1, 3);
    cluster_run(&c, 2000);
    assert_false(node_group(c.member[4].node, 0, &v));
    cluster_kill(&c, 4);
    cluster_start(&c, 4);
    cluster_run(&c, 2000);

    struct client *k = client_open(&c, 4);
    fill(k, 0, 1);
    cluster_deinit(&c);
}

/* A newcomer takes the place of a member that is away, in a group that has been split. */
TEST(who_joins_after_a_split_gets_what_the_group_still_has)
{
    struct cluster c;
    cluster_init(&c, 3, 1, 3);
    await_booted(&c);
    cluster_kill(&c, 2);
    cluster_settle(&c);
    struct client *k = client_open(&c, 0);
    fill(k, 0, 50);
    client_say(k, "SYNOD SET moves-max 0");
    client_expect(k, "+OK\r\n");
    client_say(k, "SYNOD GROUP SPLIT 0");
    client_expect(k, ":1\r\n");
    for (uint32_t i = 0; i < 2; i++) await_replica(&c, i, 1, true);

    join(&c, 3);
    client_say(k, "SYNOD GROUP MOVE 0 3 4");
    client_expect(k, "+OK\r\n");
    await_replica(&c, 3, 0, true);
    cluster_run(&c, 2000);
    assert_int_equal(c.member[3].installs, 1);
    assert_true(paxos_config_member((struct paxos_config[]){row_of(&c, 0, 0).config}, 3) < 0);
    cluster_deinit(&c);
}

/* Of three, one is away and one lacks what the log has no more. The third is elected by it, cannot
 * serve without it, and sends it what it lacks all the same. */
TEST(a_leader_that_cannot_serve_yet_sends_a_snapshot)
{
    struct cluster c;
    cluster_init_small(&c, 3, 1, 3);
    cluster_kill(&c, 2);
    cluster_settle(&c);
    struct client *k = client_open(&c, cluster_leader(&c, 0));
    for (int i = 0; i < 2000; i += 100) {
        fill(k, i, 100);
        cluster_run(&c, 200);
    }

    cluster_kill(&c, 0);
    cluster_kill(&c, 1);
    cluster_start(&c, 1);
    cluster_start(&c, 2);
    cluster_settle(&c);
    await_replica(&c, 2, 0, true);
    assert_int_equal(c.member[2].installs, 1);
    cluster_deinit(&c);
}

/* The copy of the map is lost: the node knows its id and its cluster, and nobody to dial. */
TEST(a_node_that_lost_its_copy_of_the_map_asks_again)
{
    struct cluster c;
    cluster_init(&c, 3, 1, 3);
    await_booted(&c);
    join(&c, 3);
    uint16_t id = node_id(c.member[3].node);
    cluster_kill(&c, 3);
    world_boot(c.w, 3);
    assert_int_equal(io_file_remove(world_io(c.w, 3), "ring"), 0);
    world_die(c.w, 3);
    world_reap(c.w, 3, WORLD_EXIT);

    cluster_start(&c, 3);
    cluster_run(&c, 3000);
    assert_true(node_takes_part(c.member[3].node));
    assert_int_equal(node_id(c.member[3].node), id);
    struct client *k = client_open(&c, 3);
    fill(k, 0, 1);
    cluster_deinit(&c);
}

/* A node that is silent for longer than the grace time keeps its place while there is no other to
 * take it. */
TEST(nobody_is_dropped_for_whom_there_is_no_other)
{
    struct cluster c;
    cluster_init(&c, 3, 1, 3);
    await_booted(&c);
    struct client *k = client_open(&c, 0);
    client_say(k, "SYNOD SET grace-ms 1000");
    client_expect(k, "+OK\r\n");
    cluster_kill(&c, 2);
    cluster_run(&c, 8000);
    assert_int_equal(state_of(&c, 0, 3), RING_NODE_GONE);
    assert_int_equal(row_of(&c, 0, 0).config.count, 3);

    join(&c, 3);
    await_replica(&c, 3, 0, true);
    cluster_run(&c, 2000);
    assert_int_equal(paxos_config_member((struct paxos_config[]){row_of(&c, 0, 0).config}, 3), -1);
    cluster_deinit(&c);
}

TEST_MAIN
