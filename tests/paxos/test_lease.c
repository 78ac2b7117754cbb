/* Leases: whatever the clocks do within the drift bound, nobody counts on a grant that has ended.
 */
#include "test.h"
#include "base/prng.h"
#include "paxos/lease.h"
#include "duel.h"

#define L 1000000000ull

TEST(a_grant_binds_until_it_runs_out)
{
    struct lease_table t;
    lease_init(&t, 1, 1, L, 5000, 100, true);
    assert_true(lease_allows(&t, 2, 100));
    struct lease_heartbeat hb = {.incarnation = 1, .seq = 1, .t_send = 5};
    struct lease_answer a = lease_on_heartbeat(&t, 2, &hb, 200);
    assert_int_equal(a.t_send, 5);
    assert_false(lease_allows(&t, 2, 200 + L - 1));
    assert_true(lease_allows(&t, 3, 200));
    assert_true(lease_allows(&t, 2, 200 + L));
}

TEST(a_restarted_node_waits_and_a_fresh_one_does_not)
{
    struct lease_table t;
    lease_init(&t, 1, 2, L, 5000, 100, false);
    assert_false(lease_allows(&t, 2, 100 + L - 1));
    assert_false(lease_allows(&t, 0, 100 + L - 1));
    assert_true(lease_allows(&t, 2, 100 + L));
}

TEST(support_counts_from_sending_less_the_drift_of_two_clocks)
{
    struct lease_table t;
    lease_init(&t, 1, 1, L, 5000, 0, true);
    struct lease_heartbeat hb = lease_send(&t, 2, 1000);
    struct lease_answer a = {.incarnation = 1, .seq = hb.seq, .t_send = hb.t_send, .mark = 9};
    lease_on_answer(&t, 2, &a, 500000);
    assert_int_equal(lease_supported_until(&t, 2, 9), 1000 + L - L / 100);
    assert_int_equal(lease_supported_until(&t, 2, 8), 0);
}

TEST(answers_to_what_was_never_sent_are_not_believed)
{
    struct lease_table t;
    lease_init(&t, 1, 3, L, 5000, 0, true);
    struct lease_heartbeat hb = lease_send(&t, 2, 1000);
    struct lease_answer future = {.incarnation = 1, .seq = hb.seq + 1, .t_send = 1000, .mark = 9};
    struct lease_answer ahead = {.incarnation = 1, .seq = hb.seq, .t_send = 5000, .mark = 9};
    struct lease_answer former = {.incarnation = 1,
                                  .seq = 2ull << 32 | 1,
                                  .t_send = 900,
                                  .mark = 9}; /* to my last incarnation */
    lease_on_answer(&t, 2, &future, 2000);
    lease_on_answer(&t, 2, &ahead, 2000);
    lease_on_answer(&t, 2, &former, 2000);
    lease_on_answer(&t, 999, &former, 2000);
    assert_int_equal(lease_supported_until(&t, 2, 9), 0);
}

TEST(a_heartbeat_of_an_ended_incarnation_earns_nothing)
{
    struct lease_table t;
    lease_init(&t, 1, 1, L, 5000, 0, true);
    struct lease_heartbeat young = {.incarnation = 5, .seq = 1, .t_send = 1},
                           old = {.incarnation = 4, .seq = 9, .t_send = 1};
    (void)lease_on_heartbeat(&t, 2, &young, 100);
    struct lease_answer a = lease_on_heartbeat(&t, 2, &old, 100 + L);
    assert_int_equal(a.seq, 0);
    assert_true(lease_allows(&t, 2, 100 + L));
}

TEST(taking_a_group_away_changes_the_mark)
{
    struct lease_table t;
    lease_init(&t, 1, 1, L, 5000, 0, true);
    uint64_t mark = lease_mark(&t, 2);
    lease_lost(&t, 2);
    assert_int_not_equal(lease_mark(&t, 2), mark);
    assert_int_equal(lease_mark(&t, 3), mark);
}

TEST(silence_is_suspected_after_the_timeout)
{
    struct lease_table t;
    lease_init(&t, 1, 1, L, 5000, 0, true);
    assert_false(lease_suspects(&t, 2, 100, 1000, 1100));
    assert_true(lease_suspects(&t, 2, 100, 1000, 1101));
    struct lease_heartbeat hb = {.incarnation = 1, .seq = 1};
    (void)lease_on_heartbeat(&t, 2, &hb, 2000);
    assert_false(lease_suspects(&t, 2, 100, 0, 2100));
    assert_true(lease_suspects(&t, 2, 100, 0, 2101));
}

TEST(no_lease_outlives_its_grant_while_clocks_keep_to_the_drift_bound)
{
    for (uint64_t seed = 1; seed <= 3000; seed++)
        if (lease_duel(seed, 5000))
            fail_msg("seed %llu: a lease outlived its grant", (unsigned long long)seed);
}

/* The test of the test: with clocks that drift further apart than was promised, it does go wrong.
 */
TEST(the_duel_notices_clocks_outside_the_bound)
{
    int found = 0;
    for (uint64_t seed = 1; seed <= 3000; seed++) found += lease_duel(seed, 30000);
    assert_true(found > 0);
}

TEST_MAIN
