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

/* Whom it knew is not there when it comes back; who is there joined meanwhile, and dials it
 * (seed 17000790). */
TEST(the_map_may_be_learned_from_a_stranger)
{
    struct cluster c;
    cluster_init(&c, 3, 1, 3);
    await_booted(&c);
    cluster_kill(&c, 2);
    join(&c, 3);
    for (uint32_t i = 0; i < 2; i++) cluster_kill(&c, i);
    cluster_start(&c, 2);
    cluster_run(&c, 3000);
    assert_int_equal(state_of(&c, 2, 4), RING_NODE_SERVING);

    for (uint32_t i = 0; i < 2; i++) cluster_start(&c, i);
    cluster_settle(&c);
    struct client *k = client_open(&c, 2);
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

/* A newcomer has no vote before it has what made it a member: a snapshot that takes its time. */
TEST(a_learner_votes_once_it_has_caught_up)
{
    struct cluster c;
    struct node_group_view v;
    uint32_t learned = 0;
    cluster_init_small(&c, 3, 1, 3);
    await_booted(&c);
    struct client *k = client_open(&c, 0);
    fill(k, 0, 200);
    for (uint32_t i = 0; i < 3; i++) {
        cluster_kill(&c, i);
        c.member[i].config.snapshot_chunk = 4096;
        cluster_start(&c, i);
    }
    cluster_settle(&c);
    for (uint32_t i = 0; i < 3; i++) {
        k = client_open(&c, i);
        client_says(k, "CONFIG SET snapshot-rate 40000", "+OK\r\n");
        client_close(k);
    }
    join(&c, 3);
    k = client_open(&c, 0);
    client_say(k, "SYNOD GROUP MOVE 0 3 4");
    client_expect(k, "+OK\r\n");
    for (int i = 0; i < 400 && row_of(&c, 0, 0).target_count; i++) {
        cluster_run(&c, 10);
        uint32_t leader = cluster_leader(&c, 0);
        if (leader == UINT32_MAX || !node_group(c.member[leader].node, 0, &v)) continue;
        int at = paxos_config_member(&v.config, 4);
        bool votes = at >= 0 && v.config.member[at].role == PAXOS_VOTER;
        bool installing = !node_group(c.member[3].node, 0, &v) || v.installing;
        learned += at >= 0 && installing;
        assert_false(votes && installing);
    }
    assert_int_equal(row_of(&c, 0, 0).target_count, 0);
    assert_true(learned > 10);
    cluster_deinit(&c);
}

/* ---- merges ---- */

static void merge(struct client *k)
{
    client_say(k, "SYNOD SET moves-max 0");
    client_expect(k, "+OK\r\n");
    client_say(k, "SYNOD GROUP MERGE 1");
    client_expect(k, ":2\r\n");
}

static void await_merged(struct cluster *c)
{
    for (int i = 0; i < 200; i++) {
        uint32_t all = 0;
        for (uint32_t n = 0; n < c->nodes; n++)
            all += c->member[n].node && row_of(c, n, 1).slot_hi == SLOT_COUNT &&
                   !row_of(c, n, 1).merge_id;
        if (all == c->nodes) return;
        cluster_run(c, 50);
    }
    fail_msg("never merged");
}

static void expect_all(struct client *k, int keys)
{
    struct buf reply = {0};
    for (int i = 0; i < keys; i++) {
        client_say(k, "STRLEN key%d", i);
        client_expect(k, ":400\r\n");
    }
    client_say(k, "DBSIZE");
    assert_int_equal(atoi((const char *)client_reply(k, &reply).data + 1), keys);
    buf_deinit(&reply);
}

/* Clients of all nodes see nothing but a short wait; a restart of all finds one group. */
TEST(two_groups_become_one_and_nothing_is_missing)
{
    struct cluster c;
    cluster_init(&c, 3, 3, 3);
    await_booted(&c);
    struct client *k = client_open(&c, 0), *other = client_open(&c, 1);
    fill(k, 0, 100);
    merge(k);
    for (int i = 0; i < 50; i++) {
        fill(other, i, 1);
        cluster_run(&c, 20);
    }
    await_merged(&c);
    for (uint32_t n = 0; n < 3; n++) await_replica(&c, n, 2, false);
    expect_all(other, 100);
    for (uint32_t n = 0; n < 3; n++) assert_int_equal(c.member[n].installs, 0);

    for (uint32_t n = 0; n < 3; n++) cluster_kill(&c, n);
    for (uint32_t n = 0; n < 3; n++) cluster_start(&c, n);
    cluster_settle(&c);
    k = client_open(&c, 2);
    expect_all(k, 100);
    client_say(k, "SYNOD GROUP SPLIT 1");
    client_expect(k, ":3\r\n");
    for (uint32_t n = 0; n < 3; n++) await_replica(&c, n, 3, true);
    expect_all(k, 100);
    cluster_deinit(&c);
}

/* Not with a member away: both groups go on as they were. */
TEST(a_merge_is_called_off_while_a_member_is_away)
{
    struct cluster c;
    cluster_init(&c, 3, 3, 3);
    await_booted(&c);
    struct client *k = client_open(&c, 0);
    fill(k, 0, 20);
    cluster_kill(&c, 2);
    cluster_settle(&c);
    merge(k);
    cluster_run(&c, 3000);
    assert_int_equal(row_of(&c, 0, 1).merge_id, 0);
    assert_false(row_of(&c, 0, 2).merging);
    fill(k, 20, 20);
    expect_all(k, 40);
    cluster_deinit(&c);
}

/* A member that is cut off from the seal on misses the merge, and may have lost the log behind it:
 * it follows by a snapshot, for which its replica of the taken group makes way. */
TEST(who_misses_a_merge_follows)
{
    struct cluster c;
    cluster_init_small(&c, 3, 3, 3);
    await_booted(&c);
    struct client *k = client_open(&c, 0);
    fill(k, 0, 20);
    merge(k);
    for (int i = 0; i < 200 && !row_of(&c, 0, 2).sealed; i++) cluster_run(&c, 5);
    assert_true(row_of(&c, 0, 2).sealed > 0);
    cluster_kill(&c, 2);
    for (int i = 0; i < 200 && row_of(&c, 0, 1).slot_hi != SLOT_COUNT; i++) cluster_run(&c, 50);
    assert_int_equal(row_of(&c, 0, 1).slot_hi, SLOT_COUNT);
    for (int i = 0; i < 2000; i += 100) {
        fill(k, i, 100);
        cluster_run(&c, 200);
    }
    cluster_start(&c, 2);
    await_replica(&c, 2, 2, false);
    await_merged(&c);
    cluster_run(&c, 5000);
    await_replica(&c, 2, 1, true);
    struct node_group_view v;
    assert_true(node_group(c.member[2].node, 1, &v));
    assert_int_equal(v.slot_hi, SLOT_COUNT);
    assert_true(c.member[2].installs > 0);
    expect_all(k, 2000);
    cluster_deinit(&c);
}

/* The same, and between what it has and the merge lies a FLUSHALL: what it would take over is not
 * to be hidden by that, so it needs a snapshot although the log has everything. */
TEST(a_wipe_that_is_not_on_disk_yet_does_not_reach_what_is_taken_over)
{
    struct cluster c;
    struct buf reply = {0};
    cluster_init(&c, 3, 3, 3);
    await_booted(&c);
    uint32_t leader = cluster_leader(&c, 1), away = (leader + 1) % 3;
    struct client *k = client_open(&c, leader), *other = client_open(&c, leader);
    fill(k, 0, 20);
    merge(k);
    for (int i = 0; i < 400 && !row_of(&c, leader, 2).sealed; i++) cluster_run(&c, 1);
    cluster_kill(&c, away);
    client_say(other, "FLUSHALL");
    (void)client_reply(other, &reply);
    for (int i = 0; i < 200 && row_of(&c, leader, 1).slot_hi != SLOT_COUNT; i++)
        cluster_run(&c, 50);
    fill(k, 0, 20);
    cluster_start(&c, away);
    cluster_run(&c, 5000);
    await_merged(&c);
    await_replica(&c, away, 1, true);
    assert_int_equal(c.member[away].installs, 1);
    struct client *there = client_open(&c, away);
    client_say(there, "READONLY");
    client_expect(there, "+OK\r\n");
    expect_all(there, 20);
    buf_deinit(&reply);
    cluster_deinit(&c);
}

/* What concerns all keys reaches all, though the slots change hands on its way: asked through a
 * node that hears of the split later than it is made. */
TEST(flushall_reaches_what_a_split_takes_away_meanwhile)
{
    struct cluster c;
    cluster_init(&c, 3, 2, 3);
    await_booted(&c);
    struct client *k = client_open(&c, 0), *other = client_open(&c, cluster_other(&c, 1));
    for (uint32_t i = 0; i < 30; i++) {
        fill(k, 0, 30);
        client_say(k, "SYNOD GROUP SPLIT 1");
        cluster_run(&c, 2 * i);
        client_say(other, "FLUSHALL");
        client_expect(other, "+OK\r\n");
        client_say(other, "DBSIZE");
        client_expect(other, ":0\r\n");
        char born[16];
        snprintf(born, sizeof born, ":%u\r\n", i + 2);
        client_expect(k, born);
        for (uint32_t n = 0; n < 3; n++) await_replica(&c, n, i + 2, true);
        for (int w = 0; w < 100 && row_of(&c, 0, 1).split_id; w++) cluster_run(&c, 20);
        client_say(k, "SYNOD GROUP MERGE 1");
        client_expect(k, born);
        await_merged(&c);
    }
    cluster_deinit(&c);
}

/* ---- witnesses ---- */

static bool votes_as_witness(struct cluster *c, uint16_t id)
{
    struct paxos_config config = row_of(c, 0, 0).config;
    int at = paxos_config_member(&config, id);
    return at >= 0 && config.member[at].role == PAXOS_WITNESS;
}

/* Two nodes with data, and a third that joined as a witness: the group is on all three. */
static void two_and_a_witness(struct cluster *c, bool small)
{
    (small ? cluster_init_small : cluster_init)(c, 2, 1, 0);
    await_booted(c);
    cluster_join_witness(c, 2, 0);
    for (int i = 0; i < 100 && !votes_as_witness(c, 3); i++) cluster_run(c, 100);
    assert_true(votes_as_witness(c, 3));
}

static void check(struct client *k, int from, int keys)
{
    char text[500];
    for (int i = from; i < from + keys; i++) {
        client_say(k, "GET key%d", i);
        snprintf(text, sizeof text, "$400\r\n%0400d\r\n", i);
        client_expect(k, text);
    }
}

static uint64_t digest_of(struct cluster *c, uint32_t node)
{
    uint64_t position, digest, keys;
    assert_true(node_digest(c->member[node].node, 0, &position, &digest, &keys));
    return digest;
}

TEST(with_a_witness_two_nodes_go_on_when_either_dies)
{
    struct cluster c;
    struct node_group_view v;
    uint64_t position, digest, keys;
    two_and_a_witness(&c, false);
    for (uint32_t dies = 0; dies < 2; dies++) {
        struct client *k = client_open(&c, 2); /* a witness forwards like any node */
        fill(k, (int)dies * 100, 50);
        cluster_kill(&c, dies);
        cluster_settle(&c);
        assert_int_equal(cluster_leader(&c, 0), 1 - dies);
        fill(k, (int)dies * 100 + 50, 50);
        cluster_start(&c, dies);
        cluster_run(&c, 3000);
        check(k, 0, (int)dies * 100 + 100);
        assert_int_equal(digest_of(&c, 0), digest_of(&c, 1));
    }
    assert_true(node_group(c.member[2].node, 0, &v) && v.applied == v.chosen && !v.leads);
    assert_false(node_digest(c.member[2].node, 0, &position, &digest, &keys));
    cluster_deinit(&c);
}

/* What was acknowledged while the second node was away is in the first one's store and in the
 * witness's log, which is far over its quota by then. The first is lost: the second has all of it.
 */
TEST(what_the_lost_node_had_the_other_learns_from_the_witness)
{
    struct cluster c;
    two_and_a_witness(&c, true);
    struct client *k = client_open(&c, 0);
    fill(k, 0, 100);
    cluster_run(&c, 1000);
    cluster_kill(&c, 1);
    cluster_settle(&c);
    for (int i = 100; i < 3000; i += 100) {
        fill(k, i, 100);
        cluster_run(&c, 100);
    }
    cluster_kill(&c, 0);
    cluster_start(&c, 1);
    cluster_settle(&c);
    assert_int_equal(c.member[1].installs, 0);
    check(client_open(&c, 1), 0, 3000);
    cluster_deinit(&c);
}

/* A witness that was away for so long that it was given up begins anew at the leader's position. */
TEST(a_witness_that_lacks_what_no_log_has_goes_on_from_where_the_others_are)
{
    struct cluster c;
    two_and_a_witness(&c, true);
    assert_int_equal(c.member[2].installs, 1);
    struct client *k = client_open(&c, 0);
    client_say(k, "SYNOD SET grace-ms 1000");
    client_expect(k, "+OK\r\n");
    cluster_kill(&c, 2);
    for (int i = 0; i < 3000; i += 100) {
        fill(k, i, 100);
        cluster_run(&c, 300);
    }
    assert_int_equal(state_of(&c, 0, 3), RING_NODE_GONE);
    cluster_start(&c, 2);
    cluster_run(&c, 5000);
    assert_int_equal(c.member[2].installs, 2);
    uint32_t dies = cluster_leader(&c, 0);
    cluster_kill(&c, dies);
    cluster_settle(&c);
    k = client_open(&c, 1 - dies);
    check(k, 0, 3000);
    fill(k, 3000, 10);
    cluster_deinit(&c);
}

/* A witness is to take a leaver's place, while a member is away that lacks much: it waits for that
 * one, for what it will not have the other may have to learn from the leaver. */
TEST(a_witness_does_not_begin_above_what_a_member_lacks)
{
    struct cluster c;
    struct node_group_view v;
    cluster_init_small(&c, 3, 1, 3);
    await_booted(&c);
    cluster_join_witness(&c, 3, 0);
    for (int i = 0; i < 100 && state_of(&c, 0, 4) != RING_NODE_SERVING; i++) cluster_run(&c, 100);
    struct client *k = client_open(&c, 0);
    client_say(k, "SYNOD SET moves-max 0");
    client_expect(k, "+OK\r\n");
    client_say(k, "SYNOD NODE DRAIN 3");
    client_expect(k, "+OK\r\n");
    cluster_kill(&c, 1);
    cluster_settle(&c);
    fill(k, 0, 1000);
    client_say(k, "SYNOD SET moves-max 4");
    client_expect(k, "+OK\r\n");
    cluster_run(&c, 3000);
    assert_true(node_group(c.member[3].node, 0, &v) && v.installing);

    cluster_start(&c, 1);
    for (int i = 0; i < 100 && !votes_as_witness(&c, 4); i++) cluster_run(&c, 100);
    assert_true(votes_as_witness(&c, 4));
    await_replica(&c, 2, 0, false);
    cluster_kill(&c, 2);
    cluster_kill(&c, 0);
    cluster_settle(&c);
    check(client_open(&c, 1), 0, 1000);
    cluster_deinit(&c);
}

TEST(the_halves_of_a_split_have_a_witness_each)
{
    struct cluster c;
    two_and_a_witness(&c, false);
    struct client *k = client_open(&c, 0);
    fill(k, 0, 50);
    client_say(k, "SYNOD GROUP SPLIT 0");
    client_expect(k, ":1\r\n");
    for (uint32_t i = 0; i < 3; i++) await_replica(&c, i, 1, true);
    cluster_kill(&c, 0);
    cluster_settle(&c);
    k = client_open(&c, 1);
    check(k, 0, 50);
    fill(k, 50, 50);
    cluster_deinit(&c);
}

/* A third node that takes data takes the witness's place; and the witness takes it back, when that
 * node is gone. */
TEST(a_third_node_with_data_takes_the_place_of_the_witness)
{
    struct cluster c;
    two_and_a_witness(&c, false);
    struct client *k = client_open(&c, 0);
    fill(k, 0, 50);
    client_say(k, "SYNOD SET grace-ms 1000");
    client_expect(k, "+OK\r\n");
    join(&c, 3);
    await_replica(&c, 3, 0, true);
    await_replica(&c, 2, 0, false);
    cluster_run(&c, 2000);
    assert_int_equal(digest_of(&c, 0), digest_of(&c, 3));
    cluster_kill(&c, 3);
    await_replica(&c, 2, 0, true);
    cluster_run(&c, 2000);
    struct paxos_config config = row_of(&c, 0, 0).config;
    assert_true(paxos_config_member(&config, 4) < 0);
    assert_true(votes_as_witness(&c, 3));
    check(k, 0, 50);
    cluster_deinit(&c);
}

/* It is a witness as its directory says, also while it knows no map. */
TEST(a_witness_that_lost_its_copy_of_the_map_is_still_one)
{
    struct cluster c;
    two_and_a_witness(&c, false);
    cluster_kill(&c, 2);
    world_boot(c.w, 2);
    assert_int_equal(io_file_remove(world_io(c.w, 2), "ring"), 0);
    world_die(c.w, 2);
    world_reap(c.w, 2, WORLD_EXIT);
    c.member[2].config.witness = false;
    cluster_start(&c, 2);
    cluster_run(&c, 3000);
    cluster_kill(&c, 1);
    cluster_settle(&c);
    fill(client_open(&c, 0), 0, 10);
    cluster_deinit(&c);
}

TEST_MAIN
