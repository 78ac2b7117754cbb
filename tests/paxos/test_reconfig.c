/* The rules of reconfiguration, one test a rule (docs/PAXOS.md, P13 to P19). Configurations are the
 * small letters of node.h: a = {1,2,3}, b = {2,3,4}, c = {4}, d = {1,2}, e = {1,2,3, learner 4},
 * f = {1,2, witness 3}, g = {1,4,5}, h = {4,5,6}, i = {1, learner 2}, j = {learner 1,4,5}. */
#include "node.h"
#include "base/prng.h"

#define ID(position, born) ((struct paxos_id){position, born})

static void ask_reconfigure(struct node *n, char letter)
{
    assert_true(paxos_can_reconfigure(&n->px));
    node_reconfigure(n, letter);
    node_sync(n);
}

static void accepted(struct node *n, uint16_t from, uint64_t position)
{
    node_recv(n, ACCEPTED(.from = from, .ballot = n->px.ballot, .position = position,
                          .chosen = paxos_chosen(&n->px), .mark = 7));
}

/* ---- the byte form ---- */

TEST(a_configuration_is_read_back_and_nothing_unsound_is_read)
{
    struct paxos_config c, read;
    struct buf b = {0};
    assert_true(node_config('e', &c));
    paxos_config_encode(&c, &b);
    assert_true(paxos_config_decode(buf_bytes(&b), &read));
    assert_int_equal(read.count, 4);
    assert_int_equal(read.next_replica, 10);
    for (int i = 0; i < 4; i++)
        assert_true(read.member[i].replica == i + 1 && read.member[i].node == i + 1 &&
                    read.member[i].role == (i == 3 ? PAXOS_LEARNER : PAXOS_VOTER));
    for (size_t cut = 0; cut < b.size; cut++)
        assert_false(paxos_config_decode(bytes_of(b.data, cut), &read));
    buf_u8(&b, 0);
    assert_false(paxos_config_decode(buf_bytes(&b), &read));

    struct paxos_config bad[8];
    for (int i = 0; i < 8; i++) bad[i] = c;
    bad[0].member[1].replica = 1;
    bad[1].member[1].node = 1;
    bad[2].member[1].replica = 0;
    bad[3].member[1].node = 0;
    bad[4].member[1].role = 3;
    bad[5].next_replica = 4;
    bad[6].count = 0;
    for (int i = 0; i < 3; i++) bad[7].member[i].role = PAXOS_WITNESS;
    for (int i = 0; i < 8; i++) {
        buf_clear(&b);
        paxos_config_encode(&bad[i], &b);
        assert_false(paxos_config_decode(buf_bytes(&b), &read));
    }
    buf_deinit(&b);
}

TEST(a_config_entry_that_does_not_decode_is_hostile)
{
    NODE(n, .id = 1, .config = 'a');
    node_recv(&n, ACCEPT(.from = 2, .ballot = B(1, 2), ENTRIES(CONFIG(1, B(1, 2), 'Z', 0, 0))));
    EXPECT_TRACE(&n, "release Z\n");
    assert_int_equal(paxos_stats(&n.px)->hostile, 1);
    node_end(&n);
}

/* ---- the barrier, and the switch (P13, P14) ---- */

/* Entries below it may be outstanding; nothing goes above it; the lease is void until it is chosen
 * (P17). The leader stays: it goes on at its ballot, under the new quorum. */
TEST(nothing_is_proposed_above_an_unchosen_configuration)
{
    NODE(n, .id = 2, .config = 'a');
    node_lead(&n);
    node_supported(&n, 1, 7);
    node_propose(&n, 'A');
    assert_true(paxos_lease_end(&n.px) > n.now);
    node_forget_trace(&n);
    ask_reconfigure(&n, 'b');
    EXPECT_TRACE(&n, "append [3 b=1.2 config b on 0] chosen=1 lsn=4\n"
                     "send 2->1 accept b=1.2 at=2 chosen=1 [3 b=1.2 config b on 0]\n"
                     "send 2->3 accept b=1.2 at=2 chosen=1 [3 b=1.2 config b on 0]\n");
    assert_false(paxos_can_propose(&n.px, 1));
    assert_false(paxos_can_reconfigure(&n.px));
    assert_int_equal(paxos_lease_end(&n.px), 0);
    accepted(&n, 1, 2);
    EXPECT_TRACE(&n, "chosen [2 b=1.2 A on 0] valid\n");
    assert_int_equal(paxos_config(&n.px)->member[0].replica, 1);
    accepted(&n, 1, 3);
    EXPECT_TRACE(&n, "send 2->1 commit b=1.2 chosen=3 config=3\n"
                     "chosen [3 b=1.2 config b on 0] valid\n"
                     "send 2->3 commit b=1.2 chosen=3 config=3\n"
                     "send 2->4 commit b=1.2 chosen=3 config=3\n");
    assert_int_equal(paxos_config(&n.px)->member[0].replica, 2);
    assert_true(paxos_config_id(&n.px).position == 3 && paxos_config_id(&n.px).born == B(1, 2));
    assert_true(paxos_can_propose(&n.px, 1) && paxos_can_reconfigure(&n.px));

    /* Above it 3 or 4 are needed: what 1, which left, says counts no more. */
    node_propose(&n, 'B');
    node_sync(&n);
    node_forget_trace(&n);
    accepted(&n, 1, 4);
    EXPECT_TRACE(&n, "");
    accepted(&n, 3, 4);
    EXPECT_TRACE(&n, "chosen [4 b=1.2 B on 2] valid\n"
                     "send 2->3 commit b=1.2 chosen=4 config=3\n"
                     "send 2->4 commit b=1.2 chosen=4 config=3\n");
    node_end(&n);
}

/* What was known of a member stays with its id when its index changes, a mark too; of a new member
 * nothing is known, whatever its node's heartbeats say (P17). */
TEST(support_is_counted_over_the_new_members_only)
{
    NODE(n, .id = 2, .config = 'a');
    node_lead(&n);
    node_supported(&n, 1, 7);
    ask_reconfigure(&n, 'b');
    node_supported(&n, 4, 1ull << 32);
    accepted(&n, 1, 2);
    assert_int_equal(paxos_match(&n.px, 1), 0);
    assert_int_equal(paxos_match(&n.px, 3), 1);
    assert_int_equal(paxos_match(&n.px, 4), 0);
    assert_int_equal(paxos_lease_end(&n.px), 0);
    n.now += MS;
    node_supported(&n, 3, 7);
    assert_int_equal(paxos_lease_end(&n.px), n.now + NODE_LEASE);
    n.now += MS;
    node_supported(&n, 4, 1ull << 32);
    assert_int_equal(paxos_lease_end(&n.px), n.now - MS + NODE_LEASE);
    node_recv(&n, ACCEPTED(.from = 4, .ballot = B(1, 2), .position = 2, .mark = 1ull << 32));
    assert_int_equal(paxos_lease_end(&n.px), n.now + NODE_LEASE);
    node_end(&n);
}

/* A round of confirmations that was open begins again among the new members. */
TEST(a_read_that_waits_is_confirmed_by_the_new_members)
{
    NODE(n, .id = 2, .config = 'a');
    node_lead(&n);
    ask_reconfigure(&n, 'b');
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_READ, .seq = 1});
    accepted(&n, 1, 2);
    node_forget_trace(&n);
    node_recv(&n, CONFIRMED(.from = 1, .ballot = B(1, 2), .seq = 1, .mark = 7));
    node_recv(&n, CONFIRMED(.from = 3, .ballot = B(1, 2), .seq = 1, .mark = 7));
    EXPECT_TRACE(&n, "");
    node_recv(&n, CONFIRMED(.from = 4, .ballot = B(1, 2), .seq = 2, .mark = 7));
    EXPECT_TRACE(&n, "read ready seq=1 at=2\n");
    node_end(&n);
}

/* A follower switches when it learns that the entry is chosen, not when it accepts it. */
TEST(a_follower_switches_when_the_entry_is_chosen)
{
    NODE(n, .id = 3, .config = 'a');
    node_recv(&n, ACCEPT(.from = 2, .ballot = B(1, 2),
                         ENTRIES(NOOP(1, B(1, 2)), CONFIG(2, B(1, 2), 'b', 0, 0))));
    assert_int_equal(paxos_config_id(&n.px).position, 0);
    node_forget_trace(&n);
    node_recv(&n, COMMIT(.from = 2, .ballot = B(1, 2), .chosen = 2, .config = 2));
    EXPECT_TRACE(&n, "chosen [1 b=1.2 noop]\n"
                     "chosen [2 b=1.2 config b on 0] valid take\n");
    assert_int_equal(paxos_config_id(&n.px).position, 2);
    assert_true(paxos_is_voter(&n.px));
    node_end(&n);
}

/* An entry that stands on another configuration than the one in force is skipped, by all alike
 * (P13); and it is no barrier to a leader who finds it. */
TEST(a_configuration_on_another_base_changes_nothing)
{
    NODE(n, .id = 3, .config = 'b', .config_id = ID(4, B(1, 2)));
    struct paxos_sink sink = node_sink(&n);
    paxos_installed(&n.px, 5, ID(3, B(1, 2)), paxos_config(&n.px), paxos_config_id(&n.px), &sink);
    node_recv(&n, ACCEPT(.from = 2, .ballot = B(2, 2), .position = 5, .config = 4,
                         ENTRIES(CONFIG(6, B(2, 2), 'c', 0, 0), E(7, B(2, 2), 'A', 3, B(1, 2)))));
    node_sync(&n);
    n.now += NODE_LEASE;
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_recv(&n, PREVOTE_OK(.from = 4, .ballot = n.px.trial));
    node_sync(&n);
    node_forget_trace(&n);
    node_recv(&n, PROMISE(.from = 4, .ballot = n.px.ballot, .config = 4));
    EXPECT_TRACE(&n, "append [6 b=3.3 born=2.2 config c on 0] chosen=5 lsn=5\n"
                     "append [7 b=3.3 born=2.2 A on 3] chosen=5 lsn=6\n"
                     "append [8 b=3.3 noop] chosen=5 lsn=7\n"
                     "role leader leader=3\n"
                     "send 3->2 accept b=3.3 at=5 chosen=5 config=4 [6 b=3.3 born=2.2 config c on "
                     "0] [7 b=3.3 born=2.2 A on 3] [8 b=3.3 noop]\n"
                     "send 3->4 accept b=3.3 at=5 chosen=5 config=4 [6 b=3.3 born=2.2 config c on "
                     "0] [7 b=3.3 born=2.2 A on 3] [8 b=3.3 noop]\n");
    node_sync(&n);
    node_forget_trace(&n);
    node_recv(&n, ACCEPTED(.from = 4, .ballot = n.px.ballot, .position = 8, .config = 4));
    EXPECT_TRACE(&n, "chosen [6 b=3.3 born=2.2 config c on 0]\n"
                     "chosen [7 b=3.3 born=2.2 A on 3] valid\n"
                     "chosen [8 b=3.3 noop]\n"
                     "serving\n"
                     "send 3->2 commit b=3.3 chosen=8 config=4\n"
                     "send 3->4 commit b=3.3 chosen=8 config=4\n");
    assert_int_equal(paxos_config_id(&n.px).position, 4);
    node_end(&n);
}

/* ---- phase 1 again (P15) ---- */

/* A leader that finds a configuration proposes it, and nothing beyond it: not what it found further
 * up either, which stays where it is. Once it is chosen, it asks the new members. */
TEST(a_leader_that_adopted_a_configuration_asks_its_members_before_it_goes_on)
{
    NODE(n, .id = 3, .config = 'a');
    node_recv(&n, ACCEPT(.from = 1, .ballot = B(1, 1),
                         ENTRIES(NOOP(1, B(1, 1)), E(2, B(1, 1), 'A', 0, 0),
                                 E(3, B(1, 1), 'B', 2, B(1, 1)))));
    node_recv(&n, ACCEPT(.from = 2, .ballot = B(2, 2), .chosen = 1,
                         ENTRIES(NOOP(1, B(2, 2)), CONFIG(2, B(2, 2), 'b', 0, 0))));
    node_sync(&n);
    n.now += NODE_LEASE;
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_recv(&n, PREVOTE_OK(.from = 1, .ballot = n.px.trial));
    node_sync(&n);
    node_forget_trace(&n);
    node_recv(&n, PROMISE(.from = 1, .ballot = n.px.ballot,
                          ENTRIES(E(2, B(1, 1), 'A', 0, 0), E(3, B(1, 1), 'B', 2, B(1, 1)),
                                  E(4, B(1, 1), 'C', 3, B(1, 1)))));
    EXPECT_TRACE(&n, "append [2 b=3.3 born=2.2 config b on 0] chosen=1 lsn=9\n"
                     "release A\n"
                     "release B\n"
                     "release C\n"
                     "role leader leader=3\n"
                     "send 3->1 accept b=3.3 at=1 chosen=1 [2 b=3.3 born=2.2 config b on 0]\n"
                     "send 3->2 accept b=3.3 at=1 chosen=1 [2 b=3.3 born=2.2 config b on 0]\n");
    assert_false(paxos_serving(&n.px));
    node_sync(&n);
    node_recv(&n, ACCEPTED(.from = 1, .ballot = n.px.ballot, .position = 2, .chosen = 1));
    EXPECT_TRACE(&n, "send 3->1 commit b=3.3 chosen=2 config=2\n"
                     "chosen [2 b=3.3 born=2.2 config b on 0] valid\n"
                     "send 3->2 commit b=3.3 chosen=2 config=2\n"
                     "send 3->4 commit b=3.3 chosen=2 config=2\n"
                     "dropped from 3\n"
                     "role follower leader=0\n"
                     "release b\n"
                     "append promise b=4.3 lsn=10\n"
                     "role candidate leader=0\n"
                     "send 3->2 prepare b=4.3 promised=4.3 at=2 chosen=2 config=2 after=10\n"
                     "send 3->4 prepare b=4.3 promised=4.3 at=2 chosen=2 config=2 after=10\n");
    node_sync(&n);
    node_recv(&n, PROMISE(.from = 1, .ballot = n.px.ballot)); /* it left */
    EXPECT_TRACE(&n, "");
    node_recv(&n, PROMISE(.from = 4, .ballot = n.px.ballot));
    EXPECT_TRACE(
        &n,
        "append [3 b=4.3 born=1.1 B on 2] chosen=2 lsn=11\n"
        "append [4 b=4.3 noop] chosen=2 lsn=12\n"
        "role leader leader=3\n"
        "send 3->2 accept b=4.3 at=2 chosen=2 config=2 [3 b=4.3 born=1.1 B on 2] [4 b=4.3 noop]\n"
        "send 3->4 accept b=4.3 at=2 chosen=2 config=2 [3 b=4.3 born=1.1 B on 2] [4 b=4.3 noop]\n");
    node_end(&n);
}

/* A member that already has more than the adopted entry, chosen, says so; that much counts. */
TEST(a_member_that_is_ahead_of_an_adopted_configuration_helps_to_choose_it)
{
    NODE(n, .id = 3, .config = 'a');
    node_recv(&n, ACCEPT(.from = 2, .ballot = B(2, 2), ENTRIES(CONFIG(1, B(2, 2), 'b', 0, 0))));
    node_sync(&n);
    n.now += NODE_LEASE;
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_recv(&n, PREVOTE_OK(.from = 1, .ballot = n.px.trial));
    node_sync(&n);
    node_recv(&n, PROMISE(.from = 1, .ballot = n.px.ballot));
    node_sync(&n);
    node_forget_trace(&n);
    node_recv(&n,
              ACCEPTED(.from = 2, .ballot = n.px.ballot, .position = 9, .chosen = 9, .config = 1));
    EXPECT_TRACE(&n, "send 3->1 commit b=3.3 chosen=1 config=1\n"
                     "chosen [1 b=3.3 born=2.2 config b on 0] valid\n"
                     "send 3->2 commit b=3.3 chosen=1 config=1\n"
                     "send 3->4 commit b=3.3 chosen=1 config=1\n"
                     "dropped from 2\n"
                     "role follower leader=0\n"
                     "release b\n"
                     "append promise b=4.3 lsn=5\n"
                     "role candidate leader=0\n"
                     "send 3->2 prepare b=4.3 promised=4.3 at=1 chosen=1 config=1 after=5\n"
                     "send 3->4 prepare b=4.3 promised=4.3 at=1 chosen=1 config=1 after=5\n");
    node_end(&n);
}

/* The leader that proposed a configuration goes on above it without asking, so whoever campaigns
 * under that configuration goes above that leader's ballot, even if it never promised it (P15). */
TEST(a_candidate_goes_above_the_ballot_that_chose_its_configuration)
{
    NODE(n, .id = 4, .config = 'b', .config_id = ID(2, B(7, 2)));
    node_recv(&n, LEARN(.from = 3, .chosen = 2, .config = 2,
                        ENTRIES(NOOP(1, B(7, 2)), CONFIG(2, B(7, 2), 'b', 0, 0))));
    assert_int_equal(paxos_promised(&n.px), 0);
    node_forget_trace(&n);
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    EXPECT_TRACE(&n, "role precandidate leader=0\n"
                     "send 4->2 prevote b=8.4 at=2 chosen=2 config=2\n"
                     "send 4->3 prevote b=8.4 at=2 chosen=2 config=2\n");
    node_end(&n);
}

/* A candidate that learns of a configuration begins anew. */
TEST(a_candidate_whose_configuration_changes_starts_over)
{
    NODE(n, .id = 3, .config = 'a');
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_recv(&n, PREVOTE_OK(.from = 1, .ballot = B(1, 3)));
    node_forget_trace(&n);
    node_recv(&n, LEARN(.from = 2, .chosen = 2, .config = 2,
                        ENTRIES(NOOP(1, B(1, 2)), CONFIG(2, B(1, 2), 'b', 0, 0))));
    EXPECT_TRACE(&n, "append [1 b=1.2 noop] chosen=1 lsn=2\n"
                     "chosen [1 b=1.2 noop]\n"
                     "append [2 b=1.2 config b on 0] chosen=2 lsn=3\n"
                     "chosen [2 b=1.2 config b on 0] valid take\n"
                     "role follower leader=0\n"
                     "send 3->2 resigned b=1.3 chosen=2 config=2\n"
                     "send 3->4 resigned b=1.3 chosen=2 config=2\n");
    assert_int_equal(paxos_role(&n.px), PAXOS_FOLLOWER);
    node_end(&n);
}

/* A configuration ahead of the state (a new learner is born so): it is not entered again on the way
 * there, and nobody leads before the state has reached it. */
TEST(a_replica_behind_its_own_configuration_neither_switches_back_nor_leads)
{
    NODE(n, .id = 4, .config = 'b', .config_id = ID(3, B(1, 2)));
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_recv(&n, PREVOTE_OK(.from = 2, .ballot = n.px.trial, .config = 3));
    node_recv(&n, PREVOTE_OK(.from = 3, .ballot = n.px.trial, .config = 3));
    assert_int_equal(paxos_role(&n.px), PAXOS_PRECANDIDATE);
    node_forget_trace(&n);
    node_recv(&n, LEARN(.from = 2, .chosen = 4, .config = 3,
                        ENTRIES(NOOP(1, B(1, 2)), CONFIG(2, B(1, 2), 'e', 0, 0),
                                CONFIG(3, B(1, 2), 'b', 2, B(1, 2)))));
    EXPECT_TRACE(&n, "append [1 b=1.2 noop] chosen=1 lsn=1\n"
                     "chosen [1 b=1.2 noop]\n"
                     "append [2 b=1.2 config e on 0] chosen=2 lsn=2\n"
                     "chosen [2 b=1.2 config e on 0] take\n"
                     "append [3 b=1.2 config b on 2] chosen=3 lsn=3\n"
                     "chosen [3 b=1.2 config b on 2] valid take\n"
                     "send 4->2 fetch at=4 chosen=3 config=3\n");
    assert_int_equal(paxos_config_id(&n.px).position, 3);
    node_end(&n);
}

/* ---- leaving (P18) ---- */

/* It tells old and new members the watermark, then that nobody leads, so that one campaigns soon.
 * As nobody has answered, it reminds the new voters after a while, ever less often. */
TEST(a_leader_that_is_no_voter_any_more_tells_everybody_and_steps_down)
{
    NODE(n, .id = 1, .config = 'e');
    node_lead(&n);
    ask_reconfigure(&n, 'c');
    node_forget_trace(&n);
    accepted(&n, 2, 2);
    EXPECT_TRACE(&n, "send 1->2 commit b=1.1 chosen=2 config=2\n"
                     "send 1->3 commit b=1.1 chosen=2 config=2\n"
                     "chosen [2 b=1.1 config c on 0] valid\n"
                     "send 1->4 commit b=1.1 chosen=2 config=2\n"
                     "dropped from 3\n"
                     "role follower leader=0\n"
                     "release c\n"
                     "send 1->4 resigned b=1.1 chosen=2 config=2\n");
    assert_false(paxos_is_voter(&n.px));
    assert_int_equal(paxos_lease_end(&n.px), 0);
    node_hear(&n, 4);
    assert_int_equal(paxos_deadline(&n.px), n.now + NODE_TIMEOUT / 4);
    node_tick(&n, 250);
    EXPECT_TRACE(&n, "append chosen 2\n"
                     "send 1->4 learn at=2 chosen=2 config=2\n");
    node_tick(&n, 250);
    EXPECT_TRACE(&n, "");
    node_tick(&n, 250);
    EXPECT_TRACE(&n, "send 1->4 learn at=2 chosen=2 config=2\n");
    node_recv(&n, FETCH(.from = 4, .position = 3, .chosen = 2, .config = 2));
    node_tick(&n, 10000);
    EXPECT_TRACE(&n, "");
    assert_true(paxos_deadline(&n.px) == UINT64_MAX);

    /* The one it was left to campaigns, alone. */
    NODE(f, .id = 4, .config = 'e');
    node_recv(&f, ACCEPT(.from = 1, .ballot = B(1, 1),
                         ENTRIES(NOOP(1, B(1, 1)), CONFIG(2, B(1, 1), 'c', 0, 0))));
    node_sync(&f);
    node_forget_trace(&f);
    node_recv(&f, COMMIT(.from = 1, .ballot = B(1, 1), .chosen = 2, .config = 2));
    node_recv(&f, RESIGNED(.from = 1, .ballot = B(1, 1), .chosen = 2, .config = 2));
    EXPECT_TRACE(&f, "chosen [1 b=1.1 noop]\n"
                     "chosen [2 b=1.1 config c on 0] valid take\n"
                     "role follower leader=0\n");
    node_recv(&f, LEARN(.from = 1, .position = 2, .chosen = 2, .config = 2));
    EXPECT_TRACE(&f, "send 4->1 fetch at=3 chosen=2 config=2\n");
    node_tick(&f, 130);
    node_sync(&f);
    node_sync(&f);
    EXPECT_TRACE(&f, "append promise b=2.4 lsn=4\n"
                     "role candidate leader=0\n"
                     "append [3 b=2.4 noop] chosen=2 lsn=5\n"
                     "role leader leader=4\n"
                     "chosen [3 b=2.4 noop]\n"
                     "serving\n");
    assert_true(paxos_serving(&f.px) && paxos_lease_end(&f.px) == UINT64_MAX);
    node_end(&n), node_end(&f);
}

/* The only voter that knew of it is silent, and the other asks nobody: who cannot lead reminds it,
 * and goes on, if rarely, until somebody does lead (seed 11000006). */
TEST(without_a_leader_who_cannot_lead_reminds_the_voters)
{
    NODE(n, .id = 3, .config = 'a');
    node_recv(&n, ACCEPT(.from = 1, .ballot = B(1, 1),
                         ENTRIES(NOOP(1, B(1, 1)), CONFIG(2, B(1, 1), 'f', 0, 0))));
    node_sync(&n);
    node_recv(&n, COMMIT(.from = 1, .ballot = B(1, 1), .chosen = 2, .config = 2));
    node_hear(&n, 1), node_hear(&n, 2);
    node_tick(&n, 300);
    node_forget_trace(&n);
    node_tick(&n, 300);
    EXPECT_TRACE(&n, ""); /* 1 leads, and knows */
    node_hear(&n, 2);
    node_tick(&n, 600);
    EXPECT_TRACE(&n, "role follower leader=0\n");
    node_hear(&n, 2);
    node_tick(&n, 1000);
    EXPECT_TRACE(&n, "send 3->2 learn at=2 chosen=2 config=2\n");
    node_hear(&n, 2);
    node_recv(&n, PREVOTE(.from = 2, .ballot = B(2, 2), .position = 2, .chosen = 2, .config = 2));
    node_forget_trace(&n);
    node_tick(&n, 3000);
    EXPECT_TRACE(&n, "");
    node_hear(&n, 2);
    node_tick(&n, 1000); /* it asked, and never led */
    EXPECT_TRACE(&n, "send 3->2 learn at=2 chosen=2 config=2\n");
    node_recv(&n, ACCEPT(.from = 2, .ballot = B(2, 2), .config = 2, .chosen = 2, .position = 2,
                         ENTRIES(NOOP(3, B(2, 2)))));
    node_sync(&n);
    node_forget_trace(&n);
    node_hear(&n, 2);
    node_tick(&n, 500);
    EXPECT_TRACE(&n, "");
    node_end(&n);
}

/* One that became a learner is told like the others, and stays. */
TEST(a_leader_that_becomes_a_learner_steps_down)
{
    NODE(n, .id = 1, .config = 'g');
    n.quiet = true;
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_recv(&n, PREVOTE_OK(.from = 4, .ballot = n.px.trial));
    node_sync(&n);
    node_recv(&n, PROMISE(.from = 4, .ballot = n.px.ballot, .mark = 7));
    node_sync(&n);
    accepted(&n, 4, 1);
    n.quiet = false;
    ask_reconfigure(&n, 'j');
    node_forget_trace(&n);
    accepted(&n, 5, 2);
    EXPECT_TRACE(&n, "chosen [2 b=1.1 config j on 0] valid\n"
                     "send 1->4 commit b=1.1 chosen=2 config=2\n"
                     "send 1->5 commit b=1.1 chosen=2 config=2\n"
                     "dropped from 3\n"
                     "role follower leader=0\n"
                     "release j\n"
                     "send 1->4 resigned b=1.1 chosen=2 config=2\n"
                     "send 1->5 resigned b=1.1 chosen=2 config=2\n");
    node_end(&n);
}

/* A replica that left never campaigns, and needs no ticks. */
TEST(a_removed_replica_only_answers)
{
    NODE(n, .id = 1, .config = 'b', .config_id = ID(2, B(1, 2)));
    struct paxos_sink sink = node_sink(&n);
    paxos_installed(&n.px, 2, ID(0, 0), paxos_config(&n.px), paxos_config_id(&n.px), &sink);
    node_forget_trace(&n);
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    EXPECT_TRACE(&n, "");
    node_tick(&n, 20000);
    EXPECT_TRACE(&n, "append chosen 2\n");
    node_recv(&n, FETCH(.from = 4, .position = 1, .config = 0));
    EXPECT_TRACE(&n, "serve fetch to=4 1..2\n");
    node_end(&n);
}

/* ---- roles ---- */

TEST(a_learner_does_not_count)
{
    NODE(n, .id = 1, .config = 'e');
    node_lead(&n);
    node_propose(&n, 'A');
    node_sync(&n);
    node_forget_trace(&n);
    accepted(&n, 4, 2);
    EXPECT_TRACE(&n, "");
    assert_int_equal(paxos_match(&n.px, 4), 2);
    node_supported(&n, 4, 7);
    assert_int_equal(paxos_lease_end(&n.px), 0);
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_READ, .seq = 1});
    node_forget_trace(&n);
    node_recv(&n, CONFIRMED(.from = 4, .ballot = B(1, 1), .seq = 1, .mark = 7));
    EXPECT_TRACE(&n, "");
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_TRANSFER, .to = 4});
    assert_true(paxos_can_propose(&n.px, 1));

    NODE(f, .id = 4, .config = 'e');
    node_step(&f, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_tick(&f, 20000);
    EXPECT_TRACE(&f, "");
    node_end(&n), node_end(&f);
}

TEST(a_witness_votes_and_never_campaigns)
{
    NODE(n, .id = 3, .config = 'f');
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_tick(&n, 20000);
    EXPECT_TRACE(&n, "");
    node_recv(&n, ACCEPT(.from = 1, .ballot = B(1, 1), ENTRIES(NOOP(1, B(1, 1)))));
    EXPECT_TRACE(&n, "append promise b=1.1 lsn=1\n"
                     "role follower leader=1\n"
                     "append [1 b=1.1 noop] chosen=0 lsn=2\n"
                     "send 3->1 accepted b=1.1 at=1 after=2\n");
    node_sync(&n);
    node_recv(&n, TIMEOUT_NOW(.from = 1, .ballot = B(1, 1), .released = B(1, 1), .chosen = 1));
    EXPECT_TRACE(&n, "");

    NODE(l, .id = 1, .config = 'f');
    node_step(&l, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_recv(&l, PREVOTE_OK(.from = 3, .ballot = l.px.trial));
    node_sync(&l);
    node_recv(&l, PROMISE(.from = 3, .ballot = l.px.ballot, .mark = 7));
    node_sync(&l);
    accepted(&l, 3, 1);
    assert_true(paxos_serving(&l.px));
    node_step(&l, (struct paxos_event){.type = PAXOS_EV_TRANSFER, .to = 3});
    assert_true(paxos_can_propose(&l.px, 1));
    node_end(&n), node_end(&l);
}

/* The leader's disk is lost, and what it chose with the witness is nowhere else: the other voter
 * gets it with the witness's promise, and below the witness's watermark by asking. */
TEST(what_only_a_witness_has_is_learned_from_it)
{
    NODE(l, .id = 2, .config = 'f');
    node_step(&l, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_forget_trace(&l);
    node_recv(&l, NACK(.from = 3, .ballot = l.px.trial, .promised = B(1, 1), .position = 1,
                       .chosen = 1, .flags = PAXOS_F_BEHIND));
    EXPECT_TRACE(&l, "send 2->3 fetch at=1\n"
                     "role follower leader=0\n");
    node_recv(&l, LEARN(.from = 3, .chosen = 1, ENTRIES(E(1, B(1, 1), 'A', 0, 0))));
    node_step(&l, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_recv(&l, PREVOTE_OK(.from = 3, .ballot = l.px.trial));
    node_sync(&l);
    node_recv(&l, PROMISE(.from = 3, .ballot = l.px.ballot, .chosen = 1, .mark = 7,
                          ENTRIES(E(2, B(1, 1), 'B', 1, B(1, 1)))));
    node_sync(&l);
    node_forget_trace(&l);
    accepted(&l, 3, 3);
    EXPECT_TRACE(&l, "chosen [2 b=2.2 born=1.1 B on 1] valid\n"
                     "chosen [3 b=2.2 noop]\n"
                     "serving\n"
                     "send 2->1 commit b=2.2 chosen=3\n"
                     "send 2->3 commit b=2.2 chosen=3\n");
    node_end(&l);
}

/* ---- one voter, and more ---- */

/* Alone, its own disk chooses the entry; above it the newcomer is needed, which catches up first.
 */
TEST(a_single_voter_takes_a_second)
{
    NODE(n, .id = 1, .config = 'i');
    node_sync(&n);
    node_sync(&n);
    assert_true(paxos_serving(&n.px) && paxos_lease_end(&n.px) == UINT64_MAX);
    node_forget_trace(&n);
    node_reconfigure(&n, 'd');
    assert_int_equal(paxos_lease_end(&n.px), 0);
    EXPECT_TRACE(&n, "append [2 b=1.1 config d on 0] chosen=1 lsn=3\n"
                     "send 1->2 accept b=1.1 at=1 chosen=1 [2 b=1.1 config d on 0]\n");
    node_sync(&n);
    EXPECT_TRACE(&n, "chosen [2 b=1.1 config d on 0] valid\n"
                     "send 1->2 commit b=1.1 chosen=2 config=2\n");
    assert_int_equal(paxos_lease_end(&n.px), 0);
    node_propose(&n, 'A');
    node_sync(&n);
    node_forget_trace(&n);
    assert_int_equal(paxos_chosen(&n.px), 2);
    node_recv(&n, NACK(.from = 2, .ballot = B(1, 1), .promised = B(1, 1), .position = 1,
                       .flags = PAXOS_F_GAP));
    EXPECT_TRACE(
        &n,
        "send 1->2 learn b=1.1 chosen=2 config=2 stream [1 b=1.1 noop] [2 b=1.1 config d on 0]\n"
        "send 1->2 accept b=1.1 at=2 chosen=2 config=2 [3 b=1.1 A on 0]\n");
    accepted(&n, 2, 3);
    EXPECT_TRACE(&n, "chosen [3 b=1.1 A on 0] valid\n"
                     "release d\n"
                     "release A\n"
                     "send 1->2 commit b=1.1 chosen=3 config=2\n");
    node_end(&n);
}

/* A member that is new to all is asked, told, and left alone while its node is silent (P11). */
TEST(a_new_member_that_is_silent_is_left_alone)
{
    NODE(n, .id = 1, .config = 'i');
    node_sync(&n), node_sync(&n);
    node_reconfigure(&n, 'g');
    node_sync(&n);
    node_forget_trace(&n);
    n.quiet = true;
    for (int i = 0; i < 11; i++) node_tick(&n, 100);
    n.quiet = false;
    node_tick(&n, 100);
    assert_int_equal(paxos_role(&n.px), PAXOS_LEADER);
    EXPECT_TRACE(&n, "");
    node_end(&n);
}

/* ---- strangers (P16) ---- */

/* One of an older configuration that asks for votes is told that it is behind: it fetches. */
TEST(a_stranger_of_an_older_configuration_is_told_that_it_is_behind)
{
    NODE(n, .id = 3, .config = 'b', .config_id = ID(2, B(1, 2)));
    struct paxos_sink sink = node_sink(&n);
    paxos_installed(&n.px, 2, ID(0, 0), paxos_config(&n.px), paxos_config_id(&n.px), &sink);
    node_forget_trace(&n);
    node_recv(&n, PREVOTE(.from = 1, .ballot = B(9, 1), .position = 9));
    node_recv(&n, PREPARE(.from = 1, .ballot = B(9, 1), .position = 9));
    node_recv(&n, ACCEPT(.from = 1, .ballot = B(9, 1), .position = 1, ENTRIES(NOOP(2, B(9, 1)))));
    EXPECT_TRACE(&n, "send 3->1 nack b=9.1 at=2 chosen=2 config=2 behind\n"
                     "send 3->1 nack b=9.1 at=2 chosen=2 config=2 behind\n"
                     "send 3->1 nack b=9.1 at=2 chosen=2 config=2 behind\n");
    node_recv(&n, COMMIT(.from = 1, .ballot = B(9, 1), .chosen = 9));
    node_recv(&n, TIMEOUT_NOW(.from = 1, .ballot = B(9, 1)));
    EXPECT_TRACE(&n, "");
    node_recv(&n, FETCH(.from = 1, .position = 1));
    EXPECT_TRACE(&n, "serve fetch to=1 1..2\n");

    /* So a leader that was removed, and does not know, learns of it. */
    NODE(l, .id = 1, .config = 'a');
    node_lead(&l);
    node_propose(&l, 'A');
    node_forget_trace(&l);
    node_recv(&l, NACK(.from = 3, .ballot = B(1, 1), .promised = B(1, 2), .position = 2,
                       .config = 2, .flags = PAXOS_F_BEHIND));
    EXPECT_TRACE(&l, "dropped from 2\n"
                     "role follower leader=0\n"
                     "send 1->2 resigned b=1.1 chosen=1\n"
                     "send 1->3 resigned b=1.1 chosen=1\n"
                     "send 1->3 fetch at=2 chosen=1\n");
    node_end(&n), node_end(&l);
}

/* One of my configuration or a newer one is answered as a member is: it is I who lag, and an
 * acceptor's word does not depend on what it knows of the members. Support it cannot keep is not
 * claimed. */
TEST(a_stranger_of_a_newer_configuration_is_answered_as_a_member)
{
    NODE(n, .id = 3, .config = 'a');
    node_recv(&n, PREVOTE(.from = 4, .ballot = B(3, 4), .position = 0, .config = 2));
    node_recv(&n, PREPARE(.from = 4, .ballot = B(3, 4), .position = 0, .config = 2));
    EXPECT_TRACE(&n, "send 3->4 prevote_ok b=3.4\n"
                     "append promise b=3.4 lsn=1\n"
                     "send 3->4 promise b=3.4 after=1\n");
    node_sync(&n);
    n.quiet = true;
    node_recv(&n, ACCEPT(.from = 4, .ballot = B(3, 4), .config = 2, ENTRIES(NOOP(1, B(3, 4)))));
    n.quiet = false;
    assert_int_equal(paxos_leader(&n.px), 4);
    assert_int_equal(paxos_mark_for(&n.px, 4), 0);
    assert_int_not_equal(paxos_mark_for(&n.px, 2), 0);
    /* It heard of a configuration that it does not have, and asks for it. */
    node_tick(&n, 130);
    EXPECT_TRACE(&n, "send 3->4 fetch at=1\n");
    node_end(&n);
}

TEST(votes_of_strangers_do_not_count)
{
    NODE(n, .id = 3, .config = 'a');
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_recv(&n, PREVOTE_OK(.from = 4, .ballot = B(1, 3), .config = 9));
    assert_int_equal(paxos_role(&n.px), PAXOS_PRECANDIDATE);
    node_recv(&n, PREVOTE_OK(.from = 1, .ballot = B(1, 3)));
    node_sync(&n);
    node_recv(&n, PROMISE(.from = 4, .ballot = B(1, 3), .config = 9));
    assert_int_equal(paxos_role(&n.px), PAXOS_CANDIDATE);
    node_recv(&n, PROMISE(.from = 1, .ballot = B(1, 3)));
    node_sync(&n);
    node_recv(&n, ACCEPTED(.from = 4, .ballot = B(1, 3), .position = 1));
    assert_int_equal(paxos_chosen(&n.px), 0);
    node_forget_trace(&n);
    node_recv(&n, NACK(.from = 4, .ballot = B(1, 3), .promised = B(8, 4), .position = 1,
                       .flags = PAXOS_F_GAP));
    node_recv(&n, CONFIRMED(.from = 4, .ballot = B(1, 3), .seq = 1));
    EXPECT_TRACE(&n, "");
    assert_int_equal(paxos_match(&n.px, 4), 0);
    node_end(&n);
}

/* A restarted acceptor may have known the holder's node before, and forgotten the configuration
 * that said so: it waits for the lease it may have granted (P17). */
TEST(a_restarted_acceptor_waits_even_for_a_holder_it_does_not_know)
{
    NODE(n, .id = 3, .config = 'a', .promised = B(5, 4), .restarted = true);
    node_recv(&n, PREPARE(.from = 2, .ballot = B(6, 2)));
    EXPECT_TRACE(&n, "send 3->2 nack b=6.2 promised=5.4 lease\n");
    n.now += NODE_LEASE + MS;
    node_recv(&n, PREPARE(.from = 2, .ballot = B(6, 2)));
    EXPECT_TRACE(&n, "append promise b=6.2 lsn=1\n"
                     "send 3->2 promise b=6.2 after=1\n");
    node_end(&n);
}

/* ---- snapshots (P19) ---- */

/* While the state is replaced nothing is chosen here and nobody campaigns; the acceptor goes on. */
TEST(an_installing_replica_accepts_and_promises_and_chooses_nothing)
{
    NODE(n, .id = 3, .config = 'a');
    struct paxos_sink sink = node_sink(&n);
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    paxos_install_begin(&n.px, &sink);
    assert_true(paxos_installing(&n.px));
    assert_int_equal(paxos_role(&n.px), PAXOS_FOLLOWER);
    node_forget_trace(&n);
    node_recv(&n, ACCEPT(.from = 2, .ballot = B(1, 2), .chosen = 2,
                         ENTRIES(NOOP(1, B(1, 2)), E(2, B(1, 2), 'A', 0, 0),
                                 E(3, B(1, 2), 'B', 2, B(1, 2)))));
    node_sync(&n);
    node_recv(&n, COMMIT(.from = 2, .ballot = B(1, 2), .chosen = 3));
    node_recv(&n, LEARN(.from = 2, .chosen = 3, ENTRIES(NOOP(1, B(1, 2)))));
    EXPECT_TRACE(&n, "append promise b=1.2 lsn=1\n"
                     "role follower leader=2\n"
                     "append [1 b=1.2 noop] chosen=0 lsn=2\n"
                     "append [2 b=1.2 A on 0] chosen=0 lsn=3\n"
                     "append [3 b=1.2 B on 2] chosen=0 lsn=4\n"
                     "send 3->2 accepted b=1.2 at=3 after=4\n");
    assert_int_equal(paxos_chosen(&n.px), 0);
    /* A gap is not named: the snapshot will fill it. */
    node_recv(&n, ACCEPT(.from = 2, .ballot = B(1, 2), .position = 5, .chosen = 3));
    EXPECT_TRACE(&n, "send 3->2 accepted b=1.2 at=3\n");
    node_tick(&n, 20000);
    EXPECT_TRACE(&n, "role follower leader=0\n");
    node_recv(&n, PREPARE(.from = 1, .ballot = B(2, 1), .position = 0));
    EXPECT_TRACE(
        &n, "append promise b=2.1 lsn=5\n"
            "send 3->1 promise b=2.1 [1 b=1.2 noop] [2 b=1.2 A on 0] [3 b=1.2 B on 2] after=5\n");

    struct paxos_config next;
    assert_true(node_config('b', &next));
    paxos_installed(&n.px, 2, ID(2, B(1, 2)), &next, ID(1, B(1, 2)), &sink);
    EXPECT_TRACE(&n, "release A\n");
    assert_false(paxos_installing(&n.px));
    assert_int_equal(paxos_chosen(&n.px), 2);
    assert_int_equal(paxos_config_id(&n.px).position, 1);
    node_tick(&n, 10);
    EXPECT_TRACE(&n, "send 3->2 fetch at=3 chosen=2 config=1\n");
    node_end(&n);
}

TEST(an_installation_that_a_crash_cut_short_is_resumed)
{
    struct node n = {.id = 3, .config = 'a'};
    node_init(&n);
    struct paxos_sink sink = node_sink(&n);
    paxos_restore_applied(&n.px, 1, ID(0, 0));
    paxos_restore_installing(&n.px);
    struct paxos_entry e = E(2, B(1, 2), 'A', 0, 0);
    n.held['A'] += 1;
    paxos_restore_entry(&n.px, &e, &sink);
    paxos_restore_chosen(&n.px, 2);
    node_start(&n);
    EXPECT_TRACE(&n, "");
    assert_int_equal(paxos_chosen(&n.px), 1);
    paxos_installed(&n.px, 5, ID(5, B(1, 2)), paxos_config(&n.px), ID(0, 0), &sink);
    EXPECT_TRACE(&n, "release A\n");
    assert_int_equal(paxos_chosen(&n.px), 5);
    node_end(&n);
}

/* The record of an installation under way knows its position alone. A snapshot of just that
 * position is new enough, and says what the entries above it stand on. */
TEST(a_resumed_installation_may_end_where_it_began)
{
    struct node n = {.id = 3, .config = 'a'};
    node_init(&n);
    struct paxos_sink sink = node_sink(&n);
    paxos_restore_applied(&n.px, 5, ID(0, 0));
    paxos_restore_installing(&n.px);
    node_start(&n);
    paxos_installed(&n.px, 5, ID(5, B(1, 2)), paxos_config(&n.px), ID(0, 0), &sink);
    node_recv(&n, ACCEPT(.from = 2, .ballot = B(2, 2), .position = 5,
                         ENTRIES(E(6, B(2, 2), 'A', 5, B(1, 2)))));
    node_forget_trace(&n);
    node_recv(&n, COMMIT(.from = 2, .ballot = B(2, 2), .chosen = 6));
    EXPECT_TRACE(&n, "chosen [6 b=2.2 A on 5] valid take\n");
    node_end(&n);
}

/* After a restart configurations come from the log, above what the state had applied. */
TEST(recovery_switches_where_the_log_says_that_it_is_chosen)
{
    struct node n = {.id = 3, .config = 'a'};
    node_init(&n);
    struct paxos_sink sink = node_sink(&n);
    struct paxos_entry e[] = {NOOP(1, B(1, 2)), CONFIG(2, B(1, 2), 'e', 0, 0),
                              CONFIG(3, B(1, 2), 'b', 2, B(1, 2))};
    for (int i = 0; i < 3; i++) {
        if (e[i].value) n.held[(uintptr_t)e[i].value] += 1;
        paxos_restore_entry(&n.px, &e[i], &sink);
    }
    paxos_restore_chosen(&n.px, 2);
    node_start(&n);
    EXPECT_TRACE(&n, "chosen [1 b=1.2 noop]\n"
                     "chosen [2 b=1.2 config e on 0] valid take\n");
    assert_int_equal(paxos_config_id(&n.px).position, 2);
    assert_int_equal(paxos_config(&n.px)->count, 4);
    node_end(&n);
}

/* ---- hostile input ---- */

static char any_letter(struct prng *r)
{
    return (char)('a' + (int)prng_below(r, 11));
}

/* Messages of members and strangers, with configurations in them: no assertion, no handle lost. */
TEST(random_messages_with_configurations_never_break_an_invariant)
{
    struct prng r;
    prng_init(&r, 7);
    for (int run = 0; run < 300; run++) {
        NODE(n, .id = 1, .config = 'e');
        n.quiet = true;
        if (prng_below(&r, 2)) node_lead(&n);
        for (int i = 0; i < 300; i++) {
            struct paxos_entry e[4];
            uint32_t count = (uint32_t)prng_below(&r, 5);
            paxos_ballot b = B(1 + prng_below(&r, 6), (uint16_t)(1 + prng_below(&r, 5)));
            uint64_t first = prng_below(&r, 8), base = prng_below(&r, 3);
            for (uint32_t k = 0; k < count; k++) {
                e[k] = (struct paxos_entry)E(first + k, b, 'A' + (int)prng_below(&r, 26), base, b);
                if (prng_below(&r, 3) == 0) e[k] = (struct paxos_entry)NOOP(first + k, b);
                if (prng_below(&r, 3) == 0)
                    e[k] = (struct paxos_entry)CONFIG(first + k, b, any_letter(&r), base,
                                                      base ? b : 0);
            }
            struct paxos_message m = {.type = (uint8_t)prng_below(&r, PAXOS_MESSAGE_TYPES),
                                      .flags = (uint8_t)prng_below(&r, 32),
                                      .from = (uint16_t)(2 + prng_below(&r, 4)),
                                      .ballot = prng_below(&r, 3) ? b : n.px.ballot,
                                      .promised = prng_below(&r, 4) ? 0 : b,
                                      .released = prng_below(&r, 4) ? 0 : n.px.promised,
                                      .position = first ? first - 1 : prng_below(&r, 8),
                                      .chosen = prng_below(&r, 8),
                                      .config = prng_below(&r, 6),
                                      .seq = prng_below(&r, 4),
                                      .mark = 7,
                                      .entry_count = count,
                                      .entries = e};
            if (m.type != PAXOS_LEARN || count == 0) node_recv(&n, m);
            if (prng_below(&r, 4) == 0) node_sync(&n);
            if (prng_below(&r, 8) == 0) node_tick(&n, prng_below(&r, 500));
            if (prng_below(&r, 4) == 0 && paxos_can_propose(&n.px, 10)) node_propose(&n, 'Z');
            if (prng_below(&r, 6) == 0 && paxos_can_reconfigure(&n.px))
                node_reconfigure(&n, any_letter(&r));
        }
        node_end(&n);
    }
}

TEST_MAIN
