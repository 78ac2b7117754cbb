/* Replicas over a bad network: agreement always, progress as soon as a majority can talk. */
#include "test.h"
#include "storm.h"

static void check(const struct cluster *c, uint64_t seed)
{
    if (c->violation) fail_msg("seed %llu at %llu ms: %s", (unsigned long long)seed, (unsigned long long)(c->now / MS), c->violation);
}

static struct cluster_options calm(uint64_t seed, int count)
{
    return (struct cluster_options){.seed = seed, .count = count, .delay_min = MS / 5, .delay_max = MS / 2, .sync_min = MS / 2,
                                    .sync_max = MS, .drift_ppm = 2000, .window = 16, .retain_bytes = 4096};
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

TEST_MAIN
