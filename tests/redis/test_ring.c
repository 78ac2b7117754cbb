/* The cluster map's commands, over the rows they keep: what each changes, and what each refuses and
 * why. */
#include "redis/world.h"
#include "ring/ring.h"
#include "shard/keys.h"

#include <stdlib.h>

#define GROUPS 2

static const char *run_blob(struct world *w, const char *what, struct bytes blob)
{
    struct bytes v[] = {BYTES("synod"), BYTES("map"), bytes_str(what), blob};
    return world_run_args(w, v, 4);
}

static struct ring_row row_of(struct world *w, uint8_t type, uint32_t id)
{
    struct buf suffix = {0}, key = {0};
    struct ring_row row = {0};
    ring_row_key(&suffix, type, id);
    keys_system(&key, buf_bytes(&suffix));
    for (size_t i = 0; i < w->count; i++)
        if (bytes_equal(buf_bytes(&w->rows[i].key), buf_bytes(&key)))
            assert_true(ring_row_decode(buf_bytes(&w->rows[i].value), &row));
    buf_deinit(&suffix), buf_deinit(&key);
    return row;
}

static struct ring_node node_of(struct world *w, uint32_t id)
{
    return row_of(w, RING_ROW_NODE, id).node;
}

static struct ring_group group_of(struct world *w, uint32_t id)
{
    return row_of(w, RING_ROW_GROUP, id).group;
}

static uint64_t epoch(struct world *w)
{
    return row_of(w, RING_ROW_SETTINGS, 0).settings.epoch;
}

static struct ring_group group_row(uint32_t id)
{
    struct ring_group g = {.id = id,
                           .state = RING_GROUP_SERVING,
                           .slot_lo = (uint16_t)(id * 8192),
                           .slot_hi = (uint16_t)(id * 8192 + 8192),
                           .config.count = 3,
                           .config.next_replica = 4};
    for (uint16_t i = 0; i < 3; i++)
        g.config.member[i] =
            (struct paxos_member){.replica = (uint16_t)(i + 1), .node = (uint16_t)(i + 1)};
    return g;
}

/* Nodes 1 to 3 with disks 101 to 103, and two groups on all of them. */
static void boot(struct world *w)
{
    struct buf row[1 + 3 + GROUPS] = {0};
    struct bytes v[3 + 1 + 3 + GROUPS] = {BYTES("synod"), BYTES("map"), BYTES("boot")};
    world_init(w);
    w->now_ms = 1000;
    ring_row_encode(&(struct ring_row){.type = RING_ROW_SETTINGS,
                                       .settings = {.cluster = 7,
                                                    .replicas = 3,
                                                    .next_group = GROUPS,
                                                    .next_node = 4,
                                                    .grace_ms = 1000,
                                                    .moves_max = 4}},
                    &row[0]);
    for (uint16_t i = 1; i <= 3; i++) {
        struct ring_row r = {
            .type = RING_ROW_NODE,
            .node = {.id = i, .state = RING_NODE_SERVING, .capacity = 100, .disk = 100u + i}};
        snprintf(r.node.peer, sizeof r.node.peer, "10.0.0.%u:17000", i);
        ring_row_encode(&r, &row[i]);
    }
    for (uint32_t i = 0; i < GROUPS; i++)
        ring_row_encode(&(struct ring_row){.type = RING_ROW_GROUP, .group = group_row(i)},
                        &row[4 + i]);
    for (size_t i = 0; i < 4 + GROUPS; i++) v[3 + i] = buf_bytes(&row[i]);
    assert_string_equal(world_run_args(w, v, 3 + 4 + GROUPS), "OK");
    for (size_t i = 0; i < 4 + GROUPS; i++) buf_deinit(&row[i]);
}

static void report(struct world *w, const struct ring_group *g)
{
    struct buf row = {0};
    ring_row_encode(&(struct ring_row){.type = RING_ROW_GROUP, .group = *g}, &row);
    assert_string_equal(run_blob(w, "report", buf_bytes(&row)), "OK");
    buf_deinit(&row);
}

#define EXPECT_BEGINS(w, line, start)                                                              \
    assert_memory_equal(world_run((w), (line)), (start), strlen(start))
#define JOIN_4 "synod map join 104 100 10.0.0.4:17000 10.0.0.4:7000 \"\" east"

TEST(before_the_map_is_written_every_change_asks_to_be_tried_again)
{
    struct world w;
    world_init(&w);
    EXPECT_BEGINS(&w, "synod node drain 1", "TRYAGAIN");
    EXPECT_BEGINS(&w, JOIN_4, "TRYAGAIN");
    world_deinit(&w);
}

TEST(a_map_is_written_once_and_a_second_boot_changes_nothing)
{
    struct world w;
    boot(&w);
    assert_int_equal(epoch(&w), 1);
    assert_int_equal(node_of(&w, 3).epoch, 1);
    size_t rows = w.count;
    struct bytes v[] = {BYTES("synod"), BYTES("map"), BYTES("boot")};
    assert_string_equal(world_run_args(&w, v, 3), "OK");
    assert_false(w.wrote);
    assert_int_equal(w.count, rows);
    world_deinit(&w);
}

TEST(a_newcomer_gets_the_next_id_and_the_same_one_however_often_it_asks)
{
    struct world w;
    boot(&w);
    EXPECT_RUN(&w, JOIN_4, "4");
    EXPECT_RUN(&w, JOIN_4, "4");
    assert_int_equal(node_of(&w, 4).state, RING_NODE_JOINING);
    assert_string_equal(node_of(&w, 4).zone, "east");
    EXPECT_RUN(&w, "synod map join 105 100 10.0.0.5:17000 10.0.0.5:7000 \"\" east", "5");
    EXPECT_RUN(&w, "synod map join 104 300 10.0.0.9:17000 10.0.0.9:7000 \"\" west",
               "4"); /* it moved */
    assert_string_equal(node_of(&w, 4).peer, "10.0.0.9:17000");
    assert_int_equal(node_of(&w, 4).capacity, 100);
    world_deinit(&w);
}

TEST(a_capacity_counts_as_first_said_and_then_as_the_operator_sets_it)
{
    struct world w;
    boot(&w);
    EXPECT_RUN(&w, JOIN_4, "4");
    EXPECT_RUN(&w, "synod node capacity 4 300", "OK");
    EXPECT_RUN(&w, JOIN_4, "4");
    assert_int_equal(node_of(&w, 4).capacity, 300);
    world_deinit(&w);
}

TEST(a_new_disk_at_the_address_of_a_live_node_is_refused_and_of_a_dead_one_takes_its_place)
{
    struct world w;
    boot(&w);
    EXPECT_BEGINS(&w, "synod map join 999 100 10.0.0.2:17000 10.0.0.2:7000 \"\" z", "INUSE");
    EXPECT_RUN(&w, "synod map state 2 4", "OK"); /* DOWN */
    EXPECT_RUN(&w, "synod map join 999 100 10.0.0.2:17000 10.0.0.2:7000 \"\" z", "4");
    assert_int_equal(node_of(&w, 2).state, RING_NODE_GONE);
    assert_int_equal(node_of(&w, 2).disk, 102);
    world_deinit(&w);
}

TEST(a_node_that_drained_goes_on_draining_when_it_comes_back_from_silence)
{
    struct world w;
    boot(&w);
    EXPECT_RUN(&w, JOIN_4, "4");
    EXPECT_RUN(&w, "synod map state 4 2", "OK");
    EXPECT_RUN(&w, "synod node drain 1", "OK");
    EXPECT_BEGINS(&w, "synod node remove 1", "TRYAGAIN node 1 still holds 2 replicas");
    EXPECT_RUN(&w, "synod map state 1 4", "OK");
    assert_int_equal(node_of(&w, 1).state, RING_NODE_DOWN);
    EXPECT_RUN(&w, "synod map state 1 2", "OK");
    assert_int_equal(node_of(&w, 1).state, RING_NODE_DRAINING);
    EXPECT_RUN(&w, "synod node undrain 1", "OK");
    assert_int_equal(node_of(&w, 1).state, RING_NODE_SERVING);
    EXPECT_BEGINS(&w, "synod node undrain 1", "REFUSED");
    world_deinit(&w);
}

TEST(the_last_spare_is_not_drained)
{
    struct world w;
    boot(&w);
    EXPECT_BEGINS(&w, "synod node drain 1", "REFUSED draining node 1 would leave 2 nodes");
    assert_false(w.wrote);
    EXPECT_RUN(&w, "synod set replicas 2", "OK");
    EXPECT_RUN(&w, "synod node drain 1", "OK");
    EXPECT_RUN(&w, "synod node drain 1", "OK");
    EXPECT_BEGINS(&w, "synod node drain 2", "REFUSED");
    world_deinit(&w);
}

/* A node that joins as a witness is one for ever, whatever it says later. Two nodes with data and
 * it are enough for groups of three; a replica moves between nodes of one kind. */
TEST(a_witness_stands_for_the_third_replica_and_takes_no_data)
{
    struct world w;
    boot(&w);
    EXPECT_RUN(&w, JOIN_4 " witness", "4");
    assert_true(node_of(&w, 4).witness);
    EXPECT_BEGINS(&w, "synod node drain 1", "REFUSED draining node 1 would leave 2 nodes");
    EXPECT_RUN(&w, "synod map state 4 2", "OK");
    EXPECT_RUN(&w, JOIN_4, "4");
    assert_true(node_of(&w, 4).witness);
    EXPECT_RUN(&w, "synod map join 103 100 10.0.0.3:17000 10.0.0.3:7000 \"\" east witness", "3");
    assert_false(node_of(&w, 3).witness);
    EXPECT_BEGINS(&w, "synod map join 105 100 10.0.0.5:17000 10.0.0.5:7000 \"\" east other", "ERR");

    EXPECT_RUN(&w, "synod group move 0 1 4",
               "REFUSED node 4 is a witness, and the replica to be moved is none");
    EXPECT_RUN(&w, "synod node drain 1", "OK");
    EXPECT_BEGINS(&w, "synod node drain 2", "REFUSED draining node 2 would leave 1 nodes");
    world_deinit(&w);
}

TEST(nothing_is_drained_that_a_group_needs_for_its_majority)
{
    struct world w;
    boot(&w);
    EXPECT_RUN(&w, JOIN_4, "4");
    EXPECT_RUN(&w, "synod map state 4 2", "OK");
    EXPECT_RUN(&w, "synod map join 105 100 10.0.0.5:17000 10.0.0.5:7000 \"\" z", "5");
    EXPECT_RUN(&w, "synod map state 5 2", "OK");
    EXPECT_RUN(&w, "synod map state 2 4", "OK");
    EXPECT_BEGINS(&w, "synod node drain 1",
                  "REFUSED draining node 1: group 0 would have no majority");
    EXPECT_BEGINS(&w, "synod node drain 2", "REFUSED node 2 is down");
    EXPECT_BEGINS(&w, "synod node remove 1", "REFUSED node 1 still holds 2 replicas");
    EXPECT_BEGINS(&w, "synod node remove 2", "TRYAGAIN node 2 is given up; its 2 replicas");
    assert_int_equal(node_of(&w, 2).state, RING_NODE_GONE);
    world_deinit(&w);
}

TEST(an_empty_node_is_removed_for_good_and_its_disk_refused)
{
    struct world w;
    boot(&w);
    EXPECT_RUN(&w, JOIN_4, "4");
    EXPECT_RUN(&w, "synod node remove 4", "OK");
    EXPECT_RUN(&w, "synod node remove 4", "OK");
    EXPECT_BEGINS(&w, JOIN_4, "REMOVED");
    EXPECT_RUN(&w, "synod map state 4 2", "ERR syntax error");
    EXPECT_RUN(&w, "synod map join 204 100 10.0.0.4:17000 10.0.0.4:7000 \"\" z",
               "5"); /* a new disk there */
    EXPECT_BEGINS(&w, "synod node remove 9", "ERR there is no node 9");
    world_deinit(&w);
}

TEST(a_target_lasts_until_a_report_shows_exactly_its_voters)
{
    struct world w;
    boot(&w);
    EXPECT_RUN(&w, JOIN_4, "4");
    EXPECT_RUN(&w, "synod map state 4 2", "OK");
    EXPECT_RUN(&w, "synod group move 0 1 4", "OK");
    assert_int_equal(group_of(&w, 0).target_count, 3);
    EXPECT_BEGINS(&w, "synod group move 0 2 4", "TRYAGAIN");
    EXPECT_BEGINS(&w, "synod group split 0", "TRYAGAIN");
    struct ring_group g = group_of(&w, 0);
    g.config_position = 5;
    g.config.member[g.config.count++] =
        (struct paxos_member){.replica = 4, .node = 4, .role = PAXOS_LEARNER};
    report(&w, &g);
    assert_int_equal(group_of(&w, 0).target_count, 3);
    g.config_position = 7;
    g.config.count = 3;
    g.config.member[0] = (struct paxos_member){.replica = 4, .node = 4};
    report(&w, &g);
    assert_int_equal(group_of(&w, 0).target_count, 0);
    assert_int_equal(group_of(&w, 0).config.member[0].node, 4);
    struct ring_group old = group_row(0);
    old.config_position = 6;
    report(&w, &old); /* a leader that was deposed: late, and changes nothing */
    assert_false(w.wrote);
    assert_int_equal(group_of(&w, 0).config.member[0].node, 4);
    world_deinit(&w);
}

TEST(moves_and_transfers_name_what_is_wrong)
{
    struct world w;
    boot(&w);
    EXPECT_BEGINS(&w, "synod group move 0 9 1", "ERR node 9 has no replica");
    EXPECT_BEGINS(&w, "synod group move 0 1 2", "ERR node 2 has a replica of group 0 already");
    EXPECT_BEGINS(&w, "synod group move 0 1 7", "ERR there is no node 7");
    EXPECT_BEGINS(&w, "synod group move 9 1 2", "ERR there is no group 9");
    EXPECT_BEGINS(&w, "synod group transfer 0 9", "ERR node 9 has no voting replica");
    EXPECT_RUN(&w, "synod group transfer 0 3", "OK");
    assert_int_equal(group_of(&w, 0).leader, 3);
    EXPECT_BEGINS(&w, "synod map target 0 1 1", "ERR node 1 is named twice");
    EXPECT_BEGINS(&w, "synod group juggle 0", "ERR syntax");
    world_deinit(&w);
}

TEST(a_split_gives_out_an_id_and_the_slots_change_hands_when_it_is_made)
{
    struct world w;
    boot(&w);
    EXPECT_BEGINS(&w, "synod group split 1 8192", "ERR group 1 has slots 8192 to 16383");
    EXPECT_RUN(&w, "synod group split 1 9000", "2");
    assert_int_equal(group_of(&w, 1).slot_hi, 16384);
    assert_int_equal(group_of(&w, 2).state, RING_GROUP_BORN);
    EXPECT_RUN(&w, "synod map born 1 9001", "OK"); /* not the split that was asked for */
    assert_false(w.wrote);
    EXPECT_RUN(&w, "synod map born 1 9000", "OK");
    assert_int_equal(group_of(&w, 1).slot_hi, 9000);
    assert_int_equal(group_of(&w, 2).slot_lo, 9000);
    assert_int_equal(group_of(&w, 2).slot_hi, 16384);
    assert_int_equal(group_of(&w, 2).state, RING_GROUP_SERVING);
    /* The parent's members are a guess, which removes nobody's replica (seed 501561). */
    assert_int_equal(group_of(&w, 2).config.count, group_of(&w, 1).config.count);
    assert_int_equal(group_of(&w, 2).config_position, 0);
    EXPECT_RUN(&w, "synod map born 1 9000", "OK");
    assert_false(w.wrote);
    EXPECT_RUN(&w, "synod group split 1", "3");
    world_deinit(&w);
}

/* Groups 1 and 2 beside group 0. */
static void boot_three(struct world *w)
{
    boot(w);
    EXPECT_RUN(w, "synod group split 1 12000", "2");
    EXPECT_RUN(w, "synod map born 1 12000", "OK");
}

TEST(a_merge_is_sealed_once_and_then_ends_in_one_group)
{
    struct world w;
    boot_three(&w);
    EXPECT_BEGINS(&w, "synod group merge 0", "ERR group 0 keeps the cluster map");
    EXPECT_BEGINS(&w, "synod group merge 2", "ERR group 2 has the last slots");
    EXPECT_BEGINS(&w, "synod group merge 9", "ERR there is no group 9");
    EXPECT_RUN(&w, "synod map open 2", "1"); /* a group that is sealed and that nobody merges */
    EXPECT_RUN(&w, "synod map sealed 2 5", "1");
    EXPECT_RUN(&w, "synod group merge 1", "2");
    assert_int_equal(group_of(&w, 1).merge_id, 2);
    assert_true(group_of(&w, 2).merging);
    EXPECT_BEGINS(&w, "synod group split 1", "TRYAGAIN");
    EXPECT_BEGINS(&w, "synod group split 2", "TRYAGAIN");
    EXPECT_BEGINS(&w, "synod group merge 1", "TRYAGAIN");
    EXPECT_RUN(&w, "synod map open 2", "1"); /* called off */
    assert_int_equal(group_of(&w, 1).merge_id, 0);
    assert_false(group_of(&w, 2).merging);

    EXPECT_RUN(&w, "synod group merge 1", "2");
    EXPECT_RUN(&w, "synod map sealed 2 7", "0");
    assert_int_equal(group_of(&w, 2).sealed, 7);
    EXPECT_RUN(&w, "synod map open 2", "0");     /* too late */
    EXPECT_RUN(&w, "synod map sealed 2 6", "0"); /* an old word */
    assert_false(w.wrote);
    EXPECT_RUN(&w, "synod map merged 1 3", "OK"); /* of another merge */
    assert_false(w.wrote);
    EXPECT_RUN(&w, "synod map merged 1 2", "OK");
    assert_int_equal(group_of(&w, 1).slot_hi, 16384);
    assert_int_equal(group_of(&w, 1).merge_id, 0);
    assert_true(ring_is_merged_away((struct ring_group[]){group_of(&w, 2)}));
    EXPECT_RUN(&w, "synod map merged 1 2", "OK");
    assert_false(w.wrote);
    EXPECT_BEGINS(&w, "synod group split 2", "ERR there is no group 2");
    EXPECT_RUN(&w, "synod group split 1", "3"); /* ids are not used again */
    world_deinit(&w);
}

/* Neighbours that are on different nodes meet first; and if the left one has gone elsewhere since
 * the right one was sealed, it goes back. */
TEST(a_merge_needs_both_groups_on_the_same_nodes)
{
    struct world w;
    boot_three(&w);
    EXPECT_RUN(&w, JOIN_4, "4");
    EXPECT_RUN(&w, "synod map state 4 2", "OK");
    struct ring_group g = group_of(&w, 2);
    g.config_position = 5;
    g.config.member[0] = (struct paxos_member){.replica = 4, .node = 4};
    report(&w, &g);
    EXPECT_RUN(&w, "synod group merge 1", "2");
    assert_int_equal(group_of(&w, 2).target_count, 3);
    assert_true(ring_group_is_target((struct ring_group[]){group_of(&w, 2)}, 1));
    EXPECT_RUN(&w, "synod map sealed 2 7", "1"); /* they have not met */
    assert_int_equal(group_of(&w, 1).merge_id, 0);

    g.config_position = 8;
    g.config.member[0] = (struct paxos_member){.replica = 5, .node = 1};
    report(&w, &g);
    EXPECT_RUN(&w, "synod group merge 1", "2");
    assert_int_equal(group_of(&w, 2).target_count, 0);
    EXPECT_RUN(&w, "synod map sealed 2 9", "0");
    g = group_of(&w, 1);
    g.config_position = 3;
    g.config.member[0] = (struct paxos_member){.replica = 4, .node = 4};
    report(&w, &g);
    assert_int_equal(group_of(&w, 1).target_count, 3);
    assert_true(ring_group_is_target((struct ring_group[]){group_of(&w, 1)}, 1));
    world_deinit(&w);
}

TEST(every_change_raises_the_epoch_by_one_and_marks_the_rows_it_changed)
{
    struct world w;
    boot(&w);
    uint64_t before = epoch(&w);
    EXPECT_RUN(&w, "synod group split 0", "2");
    assert_int_equal(epoch(&w), before + 1);
    assert_int_equal(group_of(&w, 0).epoch, before + 1);
    assert_int_equal(group_of(&w, 2).epoch, before + 1);
    assert_int_equal(group_of(&w, 1).epoch, 1);
    EXPECT_RUN(&w, "synod set grace-ms 5000", "OK");
    assert_int_equal(epoch(&w), before + 2);
    EXPECT_RUN(&w, "synod set split-ops 9000", "OK");
    assert_int_equal(row_of(&w, RING_ROW_SETTINGS, 0).settings.split_ops, 9000);
    EXPECT_BEGINS(&w, "synod set replicas 9", "ERR settings");
    assert_int_equal(epoch(&w), before + 3);
    world_deinit(&w);
}

TEST(flushall_leaves_the_map)
{
    struct world w;
    boot(&w);
    EXPECT_RUN(&w, "set a 1", "OK");
    EXPECT_RUN(&w, "flushall", "OK");
    EXPECT_RUN(&w, "dbsize", "0");
    EXPECT_RUN(&w, "keys *", "[]");
    assert_int_equal(node_of(&w, 3).disk, 103);
    EXPECT_RUN(&w, JOIN_4, "4");
    world_deinit(&w);
}

TEST(rows_that_are_cut_short_or_beyond_their_bounds_are_not_taken)
{
    struct ring_row row = {.type = RING_ROW_GROUP, .group = group_row(1)}, back;
    struct buf bytes = {0};
    ring_row_encode(&row, &bytes);
    assert_true(ring_row_decode(buf_bytes(&bytes), &back));
    assert_memory_equal(&back.group.config, &row.group.config, sizeof back.group.config);
    for (size_t i = 0; i < bytes.size; i++)
        assert_false(ring_row_decode(bytes_of(bytes.data, i), &back));
    buf_u8(&bytes, 0);
    assert_false(ring_row_decode(buf_bytes(&bytes), &back));
    buf_clear(&bytes);
    row.group.slot_hi = 100; /* below slot_lo */
    ring_row_encode(&row, &bytes);
    assert_false(ring_row_decode(buf_bytes(&bytes), &back));
    buf_deinit(&bytes);
}

TEST_MAIN
