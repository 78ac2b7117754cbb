/* Replicas over a bad network: agreement always, progress as soon as a majority can talk. */
#include "test.h"
#include "storm.h"

static void check(const struct cluster *c, uint64_t seed)
{
    if (c->violation)
        fail_msg("seed %llu at %llu ms: %s", (unsigned long long)seed,
                 (unsigned long long)(c->now / MS), c->violation);
}

static struct cluster_options calm(uint64_t seed, int count)
{
    return (struct cluster_options){.seed = seed,
                                    .count = count,
                                    .delay_min = MS / 5,
                                    .delay_max = MS / 2,
                                    .sync_min = MS / 2,
                                    .sync_max = MS,
                                    .drift_ppm = 2000,
                                    .window = 16,
                                    .retain_bytes = 4096};
}

TEST(three_and_five_replicas_elect_the_preferred_one_and_agree)
{
    for (int count = 3; count <= 5; count++) {
        struct cluster_options o = calm((uint64_t)count, count);
        struct cluster *c = cluster_new(&o);
        cluster_run(c, 100 * MS, MS);
        assert_int_equal(cluster_leader(c), 1);
        cluster_run(c, 1000 * MS, MS);
        assert_int_equal(c->leaders, 1);
        assert_true(c->valid > 900 && c->r[1].lease_reads > 0 && c->r[1].reads_done > 0);
        assert_true(storm_settles(c, 1000 * MS));
        check(c, o.seed);
        cluster_free(c);
    }
}

TEST(a_single_replica_elects_itself_at_once)
{
    struct cluster_options o = calm(1, 1);
    struct cluster *c = cluster_new(&o);
    cluster_run(c, 5 * MS, 0);
    assert_int_equal(cluster_leader(c), 1);
    cluster_run(c, 100 * MS, MS);
    assert_true(c->valid > 50 && c->r[1].lease_reads > 0 && c->r[1].reads_done > 0);
    cluster_crash(c, 1, true);
    cluster_start(c, 1);
    cluster_run(c, 100 * MS, MS);
    assert_true(c->leaders == 2);
    check(c, 1);
    cluster_free(c);
}

TEST(a_leaders_death_costs_about_a_lease_and_no_write)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct cluster_options o = calm(seed, 3);
        struct cluster *c = cluster_new(&o);
        cluster_run(c, 500 * MS, MS);
        uint16_t old = cluster_leader(c);
        assert_int_not_equal(old, 0);
        cluster_crash(c, old, true);
        uint64_t died = c->now;
        while (!cluster_leader(c) && c->now < died + 3000 * MS) cluster_run(c, 10 * MS, MS);
        assert_true(c->now < died + 1000 * MS);
        cluster_run(c, 200 * MS, MS);
        cluster_start(c, old);
        assert_true(storm_settles(c, 3000 * MS));
        check(c, seed);
        cluster_free(c);
    }
}

static void run_random(uint64_t seed, int count)
{
    const char *failure = storm_run(seed, count);
    if (failure) fail_msg("seed %llu, %d replicas: %s", (unsigned long long)seed, count, failure);
}

TEST(three_replicas_agree_under_random_faults_and_go_on_after_them)
{
    for (uint64_t seed = 1; seed <= 150; seed++) run_random(seed, 3);
}

TEST(five_replicas_agree_under_random_faults_and_go_on_after_them)
{
    for (uint64_t seed = 1001; seed <= 1060; seed++) run_random(seed, 5);
}

/* ---- partial connectivity (PROTOCOLS 1.3): progress within some election timeouts, one change of
 * leader a fault ---- */

/* Connects only the given pairs. */
static void only(struct cluster *c, const int (*pair)[2], int pairs)
{
    for (uint16_t a = 1; a <= c->opt.count; a++)
        for (uint16_t b = 1; b < a; b++) cluster_link(c, a, b, false);
    for (int i = 0; i < pairs; i++)
        cluster_link(c, (uint16_t)pair[i][0], (uint16_t)pair[i][1], true);
}

static void expect_progress(struct cluster *c, uint64_t leaders_max, uint64_t seed)
{
    uint64_t leaders = c->leaders;
    cluster_run(c, 3000 * MS, 2 * MS);
    uint64_t valid = c->valid;
    cluster_run(c, 2000 * MS, 2 * MS);
    check(c, seed);
    if (c->valid < valid + 500)
        fail_msg("seed %llu: only %llu writes in 2 s", (unsigned long long)seed,
                 (unsigned long long)(c->valid - valid));
    if (c->leaders > leaders + leaders_max)
        fail_msg("seed %llu: %llu leaders in 5 s", (unsigned long long)seed,
                 (unsigned long long)(c->leaders - leaders));
}

TEST(a_chain_of_three_or_five_makes_progress_under_a_stable_leader)
{
    static const int chain[4][2] = {{1, 2}, {2, 3}, {3, 4}, {4, 5}};
    for (uint64_t seed = 1; seed <= 20; seed++)
        for (int count = 3; count <= 5; count += 2) {
            struct cluster_options o = calm(seed, count);
            struct cluster *c = cluster_new(&o);
            cluster_run(c, 300 * MS, 2 * MS);
            only(c, chain, count - 1);
            expect_progress(c, 3, seed);
            cluster_free(c);
        }
}

TEST(a_star_makes_progress_whoever_led_before)
{
    static const int star[4][2] = {{3, 1}, {3, 2}, {3, 4}, {3, 5}};
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct cluster_options o = calm(seed, 5);
        struct cluster *c = cluster_new(&o);
        cluster_run(c, 300 * MS, 2 * MS);
        only(c, star, 4);
        expect_progress(c, 3, seed);
        cluster_free(c);
    }
}

TEST(one_cut_link_costs_at_most_one_change_of_leader)
{
    for (uint64_t seed = 1; seed <= 20; seed++)
        for (uint16_t other = 2; other <= 3; other++) {
            struct cluster_options o = calm(seed, 3);
            struct cluster *c = cluster_new(&o);
            cluster_run(c, 300 * MS, 2 * MS);
            cluster_link(c, 1, other, false);
            expect_progress(c, 1, seed);
            cluster_free(c);
        }
}

TEST(a_leader_that_only_sends_or_only_receives_is_replaced_once)
{
    for (uint64_t seed = 1; seed <= 20; seed++)
        for (int way = 0; way < 2; way++) {
            struct cluster_options o = calm(seed, 3);
            struct cluster *c = cluster_new(&o);
            cluster_run(c, 300 * MS, 2 * MS);
            assert_int_equal(cluster_leader(c), 1);
            if (way)
                c->r[1].cut_in = true;
            else
                c->r[1].cut_out = true;
            expect_progress(c, 2, seed);
            assert_int_not_equal(cluster_leader(c), 1);
            cluster_free(c);
        }
}

TEST(a_follower_that_only_sends_or_only_receives_changes_nothing)
{
    for (uint64_t seed = 1; seed <= 20; seed++)
        for (int way = 0; way < 2; way++) {
            struct cluster_options o = calm(seed, 3);
            struct cluster *c = cluster_new(&o);
            cluster_run(c, 300 * MS, 2 * MS);
            if (way)
                c->r[3].cut_in = true;
            else
                c->r[3].cut_out = true;
            expect_progress(c, 0, seed);
            cluster_heal(c);
            expect_progress(c, 1, seed);
            assert_true(storm_settles(c, 2000 * MS));
            cluster_free(c);
        }
}

/* A follower that was away long returns under load and catches up, from the log first, then into
 * the stream. */
TEST(a_lagging_follower_converges_under_load)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct cluster_options o = calm(seed, 3);
        struct cluster *c = cluster_new(&o);
        cluster_run(c, 300 * MS, 2 * MS);
        cluster_crash(c, 3, true);
        cluster_run(c, 2000 * MS, 2 * MS);
        cluster_start(c, 3);
        cluster_run(c, 3000 * MS, MS);
        check(c, seed);
        uint16_t leader = cluster_leader(c);
        assert_int_not_equal(leader, 0);
        assert_true(paxos_match(c->r[leader].px, 3) + 20 > paxos_chosen(c->r[leader].px));
        assert_true(c->r[3].applied + 40 > c->chosen_max);
        cluster_free(c);
    }
}

TEST(transfer_moves_leadership_without_waiting_for_a_lease)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct cluster_options o = calm(seed, 3);
        struct cluster *c = cluster_new(&o);
        cluster_run(c, 300 * MS, 2 * MS);
        assert_int_equal(cluster_leader(c), 1);
        cluster_step(c, 1, (struct paxos_event){.type = PAXOS_EV_TRANSFER, .to = 3});
        uint64_t begun = c->now;
        while (cluster_leader(c) != 3 && c->now < begun + 500 * MS) cluster_run(c, 1 * MS, MS);
        assert_true(c->now < begun + 50 * MS);
        expect_progress(c, 0, seed);
        cluster_free(c);
    }
}

/* ---- reconfiguration (docs/PAXOS.md, P13 to P19) ---- */

TEST(members_change_at_random_under_random_faults_and_the_group_goes_on)
{
    for (uint64_t seed = 1; seed <= 400; seed++) {
        const char *failure = storm_reconfigure(seed);
        if (failure) fail_msg("seed %llu: %s", (unsigned long long)seed, failure);
    }
}

static struct paxos_config voters(uint16_t first, uint16_t last)
{
    struct paxos_config c = {.next_replica = CLUSTER_MAX + 1};
    for (uint16_t id = first; id <= last; id++)
        c.member[c.count++] = (struct paxos_member){id, id, PAXOS_VOTER};
    return c;
}

/* Runs until `next` is the configuration, and somebody of it serves. */
static void change(struct cluster *c, const struct paxos_config *next, uint64_t seed)
{
    uint16_t leader = cluster_leader(c);
    assert_true(leader && cluster_reconfigure(c, leader, next));
    uint64_t end = c->now + 1500 * MS, valid;
    for (leader = 0; c->now < end && !leader;) {
        cluster_run(c, 10 * MS, 2 * MS);
        leader = cluster_leader(c);
        if (leader &&
            (!cluster_member(c, leader) || c->newest.member[0].replica != next->member[0].replica))
            leader = 0;
    }
    if (!leader) fail_msg("seed %llu: nobody leads the new members", (unsigned long long)seed);
    valid = c->valid;
    cluster_run(c, 500 * MS, 2 * MS);
    check(c, seed);
    assert_true(c->valid > valid + 100);
}

/* {1} -> {1,2} -> {1,2,3} -> {4,5,6}, none of whom knew anything -> {6}: a leader that stays goes
 * on at its ballot, one that goes hands over. */
TEST(a_group_grows_moves_to_other_nodes_and_shrinks_under_load)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct cluster_options o = calm(seed, 6);
        o.members = 1;
        struct cluster *c = cluster_new(&o);
        cluster_run(c, 200 * MS, 2 * MS);
        struct paxos_config two = voters(1, 2), three = voters(1, 3), others = voters(4, 6),
                            last = voters(6, 6);
        change(c, &two, seed);
        change(c, &three, seed);
        assert_int_equal(c->leaders, 1);
        change(c, &others, seed);
        assert_true(c->leaders <= 3);
        change(c, &last, seed);
        assert_true(storm_settles(c, 1000 * MS));
        cluster_free(c);
    }
}

/* Whoever left, and the leader with it, are silent again once somebody leads (P11). */
TEST(a_group_that_changed_its_members_is_silent_again)
{
    struct cluster_options o = calm(3, 6);
    o.members = 3;
    struct cluster *c = cluster_new(&o);
    cluster_run(c, 300 * MS, 2 * MS);
    struct paxos_config next = voters(2, 4);
    change(c, &next, 3);
    assert_true(storm_settles(c, 1000 * MS));
    cluster_run(c, 2000 * MS, 0);
    uint64_t sent = c->sent;
    cluster_run(c, 5000 * MS, 0);
    assert_int_equal(c->sent, sent);
    cluster_free(c);
}

TEST_MAIN
