/* The machine's rules, one test a rule (docs/PAXOS.md has the numbers): an event goes in, the trace
 * of effects is compared. */
#include "node.h"
#include "base/prng.h"

/* ---- phase 1: the acceptor ---- */

/* An acceptor bound to ballot 7 refuses ballot 5 and names the ballot it is bound to, so that the
 * loser can jump past it (P1). Saying yes to ballot 7 again is allowed, for replies get lost, but
 * it appends nothing. The promise leaves only once it is on disk (P2). */
TEST(acceptor_refuses_a_lower_ballot)
{
    NODE(n, .id = 1, .replicas = 3);

    node_recv(&n, PREPARE(.from = 2, .ballot = B(7, 2)));
    EXPECT_TRACE(&n, "append promise b=7.2 lsn=1\n"
                     "send 1->2 promise b=7.2 after=1\n");
    node_sync(&n);
    node_recv(&n, PREPARE(.from = 2, .ballot = B(7, 2)));
    EXPECT_TRACE(&n, "send 1->2 promise b=7.2\n");
    node_recv(&n, PREPARE(.from = 3, .ballot = B(5, 3)));
    EXPECT_TRACE(&n, "send 1->3 nack b=5.3 promised=7.2\n");
    node_end(&n);
}

/* A promise carries what was accepted above the candidate's watermark, values included, even what
 * is not on disk yet: the reply waits for that too (PROTOCOLS 1.1, "promise sent before fsync"). */
TEST(a_promise_carries_the_accepted_entries_and_waits_for_the_disk)
{
    NODE(n, .id = 1, .replicas = 3);
    node_recv(&n, ACCEPT(.from = 2, .ballot = B(1, 2),
                         ENTRIES(NOOP(1, B(1, 2)), E(2, B(1, 2), 'A', 0, 0),
                                 E(3, B(1, 2), 'B', 2, B(1, 2)))));
    EXPECT_TRACE(&n, "append promise b=1.2 lsn=1\n"
                     "role follower leader=2\n"
                     "append [1 b=1.2 noop] chosen=0 lsn=2\n"
                     "append [2 b=1.2 A on 0] chosen=0 lsn=3\n"
                     "append [3 b=1.2 B on 2] chosen=0 lsn=4\n"
                     "send 1->2 accepted b=1.2 at=3 after=4\n");

    node_recv(&n, PREPARE(.from = 3, .ballot = B(2, 3), .position = 1));
    EXPECT_TRACE(&n, "append promise b=2.3 lsn=5\n"
                     "role follower leader=0\n"
                     "send 1->3 promise b=2.3 [2 b=1.2 A on 0] [3 b=1.2 B on 2] after=5\n");
    node_end(&n);
}

/* A candidate that lacks what is chosen would ask for positions whose values are gone: it must
 * learn first. */
TEST(a_candidate_behind_the_chosen_watermark_is_told_so_and_fetches)
{
    NODE(a, .id = 1, .replicas = 3);
    node_recv(&a, ACCEPT(.from = 2, .ballot = B(1, 2), .chosen = 2,
                         ENTRIES(NOOP(1, B(1, 2)), E(2, B(1, 2), 'A', 0, 0))));
    node_sync(&a);
    node_forget_trace(&a);
    node_recv(&a, PREPARE(.from = 3, .ballot = B(2, 3), .position = 1));
    EXPECT_TRACE(&a, "send 1->3 nack b=2.3 promised=1.2 at=2 chosen=2 behind\n");

    NODE(c, .id = 3, .replicas = 3);
    node_step(&c, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_forget_trace(&c);
    node_recv(&c, NACK(.from = 1, .ballot = B(1, 3), .position = 2, .flags = PAXOS_F_BEHIND));
    EXPECT_TRACE(&c, "send 3->1 fetch at=1\n"
                     "role follower leader=0\n");
    /* Having learned, it campaigns again at once. */
    node_recv(&c,
              LEARN(.from = 1, .chosen = 2, ENTRIES(NOOP(1, B(1, 2)), E(2, B(1, 2), 'A', 0, 0))));
    EXPECT_TRACE(&c, "append [1 b=1.2 noop] chosen=1 lsn=1\n"
                     "chosen [1 b=1.2 noop]\n"
                     "append [2 b=1.2 A on 0] chosen=2 lsn=2\n"
                     "chosen [2 b=1.2 A on 0] valid take\n");
    node_tick(&c, 1);
    EXPECT_TRACE(&c, "role precandidate leader=0\n"
                     "send 3->1 prevote b=1.3 at=2 chosen=2\n"
                     "send 3->2 prevote b=1.3 at=2 chosen=2\n");
    node_end(&a);
    node_end(&c);
}

/* ---- phase 1: the candidate ---- */

/* PREPARE leaves only when the candidate's own promise is on disk, so that a restart never uses the
 * ballot again (P3). */
TEST(a_candidate_promises_itself_on_disk_before_it_asks)
{
    NODE(n, .id = 2, .replicas = 3);
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    EXPECT_TRACE(&n, "role precandidate leader=0\n"
                     "send 2->1 prevote b=1.2\n"
                     "send 2->3 prevote b=1.2\n");
    node_recv(&n, PREVOTE_OK(.from = 1, .ballot = B(1, 2)));
    EXPECT_TRACE(&n, "append promise b=1.2 lsn=1\n"
                     "role candidate leader=0\n"
                     "send 2->1 prepare b=1.2 promised=1.2 after=1\n"
                     "send 2->3 prepare b=1.2 promised=1.2 after=1\n");
    /* Another's promise alone is no majority while its own is not on disk. */
    node_recv(&n, PROMISE(.from = 1, .ballot = B(1, 2)));
    EXPECT_TRACE(&n, "");
    node_sync(&n);
    EXPECT_TRACE(&n, "append [1 b=1.2 noop] chosen=0 lsn=2\n"
                     "role leader leader=2\n"
                     "send 2->1 accept b=1.2 [1 b=1.2 noop]\n"
                     "send 2->3 accept b=1.2 [1 b=1.2 noop]\n");
    node_end(&n);
}

/* A restarted leader does not lead, and its next ballot is above the one it used. */
TEST(a_ballot_is_never_used_again_after_a_restart)
{
    NODE(n, .id = 2, .replicas = 3, .promised = B(4, 2));
    node_tick(&n, 200);
    EXPECT_TRACE(&n, "role precandidate leader=0\n"
                     "send 2->1 prevote b=5.2 promised=4.2 released=4.2\n"
                     "send 2->3 prevote b=5.2 promised=4.2 released=4.2\n");
    node_end(&n);
}

/* Per position the highest ballot wins; gaps get a no-op; a barrier goes on top; everything is
 * proposed again at the new ballot with its birth kept, and nothing above is dropped (P4, P5).
 * Served is only when the barrier is chosen. */
TEST(a_new_leader_adopts_the_highest_ballot_per_position_and_serves_after_its_barrier)
{
    NODE(n, .id = 2, .replicas = 3);
    node_recv(&n, ACCEPT(.from = 1, .ballot = B(1, 1),
                         ENTRIES(E(1, B(1, 1), 'A', 0, 0), E(2, B(1, 1), 'B', 1, B(1, 1)),
                                 E(3, B(1, 1), 'C', 2, B(1, 1)))));
    node_sync(&n);
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_forget_trace(&n);
    node_recv(&n, PREVOTE_OK(.from = 3, .ballot = B(2, 2)));
    node_sync(&n);
    EXPECT_TRACE(&n, "append promise b=2.2 lsn=5\n"
                     "role candidate leader=0\n"
                     "send 2->1 prepare b=2.2 promised=2.2 after=5\n"
                     "send 2->3 prepare b=2.2 promised=2.2 after=5\n");
    /* Replica 3 was led meanwhile by itself at 1.3, which filled position 2 with a no-op. */
    node_recv(&n, PROMISE(.from = 3, .ballot = B(2, 2),
                          ENTRIES(E(1, B(1, 1), 'A', 0, 0), NOOP(2, B(1, 3)))));
    EXPECT_TRACE(&n, "append [1 b=2.2 born=1.1 A on 0] chosen=0 lsn=6\n"
                     "release A\n"
                     "append [2 b=2.2 born=1.3 noop] chosen=0 lsn=7\n"
                     "release B\n"
                     "append [3 b=2.2 born=1.1 C on 2] chosen=0 lsn=8\n"
                     "append [4 b=2.2 noop] chosen=0 lsn=9\n"
                     "role leader leader=2\n"
                     "send 2->1 accept b=2.2 [1 b=2.2 born=1.1 A on 0] [2 b=2.2 born=1.3 noop] [3 "
                     "b=2.2 born=1.1 C on 2] [4 b=2.2 noop]\n"
                     "send 2->3 accept b=2.2 [1 b=2.2 born=1.1 A on 0] [2 b=2.2 born=1.3 noop] [3 "
                     "b=2.2 born=1.1 C on 2] [4 b=2.2 noop]\n");
    node_sync(&n);
    node_recv(&n, ACCEPTED(.from = 3, .ballot = B(2, 2), .position = 4));
    /* C stood on B, which was never chosen: everybody skips it. */
    EXPECT_TRACE(&n, "chosen [1 b=2.2 born=1.1 A on 0] valid\n"
                     "chosen [2 b=2.2 born=1.3 noop]\n"
                     "chosen [3 b=2.2 born=1.1 C on 2]\n"
                     "chosen [4 b=2.2 noop]\n"
                     "serving\n"
                     "send 2->1 commit b=2.2 chosen=4\n"
                     "send 2->3 commit b=2.2 chosen=4\n");
    /* A proposal stands on the last valid entry, and the next one on that proposal. */
    node_propose(&n, 'D');
    node_propose(&n, 'E');
    EXPECT_TRACE(&n, "append [5 b=2.2 D on 1] chosen=4 lsn=10\n"
                     "send 2->1 accept b=2.2 at=4 chosen=4 [5 b=2.2 D on 1]\n"
                     "send 2->3 accept b=2.2 at=4 chosen=4 [5 b=2.2 D on 1]\n"
                     "append [6 b=2.2 E on 5] chosen=4 lsn=11\n"
                     "send 2->1 accept b=2.2 at=5 chosen=4 [6 b=2.2 E on 5]\n"
                     "send 2->3 accept b=2.2 at=5 chosen=4 [6 b=2.2 E on 5]\n");
    node_end(&n);
}

/* Promises about a position nobody accepted: a no-op fills it, for a later entry may have been
 * chosen. */
TEST(a_gap_below_an_adopted_entry_is_filled_with_a_noop)
{
    NODE(n, .id = 2, .replicas = 3);
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_recv(&n, PREVOTE_OK(.from = 3, .ballot = B(1, 2)));
    node_sync(&n);
    node_forget_trace(&n);
    node_recv(&n, PROMISE(.from = 3, .ballot = B(1, 2), ENTRIES(E(2, B(1, 1), 'B', 1, B(1, 1)))));
    EXPECT_TRACE(
        &n, "append [1 b=1.2 noop] chosen=0 lsn=2\n"
            "append [2 b=1.2 born=1.1 B on 1] chosen=0 lsn=3\n"
            "append [3 b=1.2 noop] chosen=0 lsn=4\n"
            "role leader leader=2\n"
            "send 2->1 accept b=1.2 [1 b=1.2 noop] [2 b=1.2 born=1.1 B on 1] [3 b=1.2 noop]\n"
            "send 2->3 accept b=1.2 [1 b=1.2 noop] [2 b=1.2 born=1.1 B on 1] [3 b=1.2 noop]\n");
    node_end(&n);
}

/* Two candidates: the one refused jumps past the ballot it was told. */
TEST(a_refused_candidate_jumps_past_the_ballot_that_beat_it)
{
    NODE(n, .id = 2, .replicas = 3);
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_recv(&n, PREVOTE_OK(.from = 3, .ballot = B(1, 2)));
    node_sync(&n);
    node_forget_trace(&n);
    node_recv(&n, NACK(.from = 3, .ballot = B(1, 2), .promised = B(9, 1)));
    EXPECT_TRACE(&n, "role follower leader=0\n"
                     "send 2->1 resigned b=1.2\n"
                     "send 2->3 resigned b=1.2\n");
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    EXPECT_TRACE(&n, "role precandidate leader=0\n"
                     "send 2->1 prevote b=10.2 promised=1.2 released=1.2\n"
                     "send 2->3 prevote b=10.2 promised=1.2 released=1.2\n");
    node_end(&n);
}

/* ---- pre-vote and leases ---- */

TEST(a_prevote_changes_nothing_and_is_refused_while_the_leader_is_heard)
{
    NODE(n, .id = 1, .replicas = 3);
    node_recv(&n, PREVOTE(.from = 3, .ballot = B(1, 3)));
    EXPECT_TRACE(&n, "send 1->3 prevote_ok b=1.3\n");
    node_recv(&n, ACCEPT(.from = 2, .ballot = B(2, 2), ENTRIES(NOOP(1, B(2, 2)))));
    node_sync(&n);
    node_hear(&n, 2);
    node_forget_trace(&n);
    node_recv(&n, PREVOTE(.from = 3, .ballot = B(3, 3)));
    EXPECT_TRACE(&n, "send 1->3 nack b=3.3 promised=2.2 lease\n");
    node_recv(&n, PREPARE(.from = 3, .ballot = B(3, 3)));
    EXPECT_TRACE(&n, "send 1->3 nack b=3.3 promised=2.2 lease\n");
    /* The grant runs out, the node stays silent: now it may be taken away, and the mark says so to
     * the old leader's node. */
    uint64_t mark = lease_mark(&n.leases, 2);
    n.now += NODE_LEASE + MS;
    node_recv(&n, PREPARE(.from = 3, .ballot = B(3, 3)));
    EXPECT_TRACE(&n, "append promise b=3.3 lsn=3\n"
                     "role follower leader=0\n"
                     "send 1->3 promise b=3.3 [1 b=2.2 noop] after=3\n");
    assert_int_not_equal(lease_mark(&n.leases, 2), mark);
    node_end(&n);
}

/* Whose last ballot is dead leads at none of its earlier ones either, though its node is heard, and
 * whoever is bound to such a one never heard of the later (seed 6000446). */
TEST(a_ballot_is_dead_once_a_later_one_of_its_replica_is)
{
    NODE(n, .id = 1, .replicas = 3);
    node_recv(&n, ACCEPT(.from = 2, .ballot = B(2, 2), ENTRIES(NOOP(1, B(2, 2)))));
    node_sync(&n);
    node_hear(&n, 2);
    node_recv(&n, PREVOTE(.from = 2, .ballot = B(6, 2), .promised = B(5, 2), .released = B(5, 2)));
    node_forget_trace(&n);
    node_recv(&n, PREPARE(.from = 3, .ballot = B(7, 3)));
    EXPECT_TRACE(&n, "append promise b=7.3 lsn=3\n"
                     "send 1->3 promise b=7.3 [1 b=2.2 noop] after=3\n");
    node_end(&n);
}

/* Grants are volatile: after a restart an acceptor promises nothing to anybody but the one it is
 * bound to, for a lease's time. */
TEST(a_restarted_acceptor_waits_a_lease_before_it_promises_away)
{
    NODE(n, .id = 1, .replicas = 3, .promised = B(2, 2), .restarted = true);
    node_recv(&n, PREPARE(.from = 3, .ballot = B(3, 3)));
    EXPECT_TRACE(&n, "send 1->3 nack b=3.3 promised=2.2 lease\n");
    node_recv(&n, PREPARE(.from = 2, .ballot = B(4, 2)));
    EXPECT_TRACE(&n, "append promise b=4.2 lsn=1\n"
                     "send 1->2 promise b=4.2 after=1\n");
    node_end(&n);
}

/* A leader heard of no more: pre-vote after the election timeout and a little, by replica order. */
TEST(a_follower_campaigns_when_its_leaders_node_is_silent)
{
    NODE(n, .id = 1, .replicas = 3);
    node_hear(&n, 2);
    node_recv(&n, ACCEPT(.from = 2, .ballot = B(2, 2), ENTRIES(NOOP(1, B(2, 2)))));
    node_sync(&n);
    node_forget_trace(&n);
    node_tick(&n, 900);
    node_hear(&n, 2);
    node_tick(&n, 900);
    EXPECT_TRACE(&n, "");
    node_tick(&n, 200);
    EXPECT_TRACE(&n, "role follower leader=0\n");
    node_end(&n);
}

/* A leader's lease ends with the support of the quorum-th best supporter, and only supporters count
 * whose mark is the one they sent while bound to this ballot. */
TEST(a_lease_lasts_as_long_as_a_quorum_supports_it_under_the_same_mark)
{
    NODE(n, .id = 1, .replicas = 3);
    node_lead(&n);
    assert_int_equal(paxos_lease_end(&n.px), 0);
    uint64_t t0 = n.now;
    node_supported(&n, 2, 7);
    assert_int_equal(paxos_lease_end(&n.px), t0 + NODE_LEASE);
    n.now += 500 * MS;
    node_supported(&n, 3, 8); /* it promised some group away from this node meanwhile */
    assert_int_equal(paxos_lease_end(&n.px), t0 + NODE_LEASE);
    node_supported(&n, 3, 7);
    assert_int_equal(
        paxos_lease_end(&n.px),
        t0 + NODE_LEASE); /* an older mark does not bring back what was lost: equal time */
    /* Asked whether it is still bound to this ballot, it says yes under its new mark. */
    n.now += 100 * MS;
    node_supported(&n, 3, 8);
    node_recv(&n, CONFIRMED(.from = 3, .ballot = n.px.ballot, .mark = 8));
    assert_int_equal(paxos_lease_end(&n.px), t0 + 600 * MS + NODE_LEASE);
    node_end(&n);
}

/* Without a quorum's support for a lease and an election timeout a leader gives up, and says so:
 * the others need not wait. */
TEST(a_leader_without_support_steps_down)
{
    NODE(n, .id = 1, .replicas = 3);
    node_lead(&n);
    node_propose(&n, 'A');
    node_forget_trace(&n);
    n.quiet = true;
    for (int i = 0; i < 31; i++) node_tick(&n, 100);
    n.quiet = false;
    EXPECT_TRACE(&n, "");
    assert_int_equal(paxos_role(&n.px), PAXOS_FOLLOWER);
    node_end(&n);
}

TEST(a_resigned_leader_frees_the_others_at_once)
{
    NODE(n, .id = 1, .replicas = 3);
    node_lead(&n);
    node_propose(&n, 'A');
    node_forget_trace(&n);
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_RESIGN});
    EXPECT_TRACE(&n, "dropped from 2\n"
                     "role follower leader=0\n"
                     "send 1->2 resigned b=1.1 chosen=1\n"
                     "send 1->3 resigned b=1.1 chosen=1\n");
    assert_int_equal(paxos_lease_end(&n.px), 0);

    NODE(f, .id = 2, .replicas = 3);
    node_hear(&f, 1);
    node_recv(&f, ACCEPT(.from = 1, .ballot = B(1, 1), ENTRIES(NOOP(1, B(1, 1)))));
    node_sync(&f);
    node_forget_trace(&f);
    node_recv(&f, RESIGNED(.from = 1, .ballot = B(1, 1), .chosen = 1));
    EXPECT_TRACE(&f, "chosen [1 b=1.1 noop]\n"
                     "role follower leader=0\n");
    node_recv(&f, PREPARE(.from = 3, .ballot = B(2, 3), .position = 1));
    EXPECT_TRACE(&f, "append promise b=2.3 lsn=3\n"
                     "send 2->3 promise b=2.3 chosen=1 after=3\n");
    node_end(&n);
    node_end(&f);
}

/* ---- phase 2 ---- */

/* Accepts go out while the leader's own write is under way, which counts once it is on disk; a
 * majority makes it chosen; with nothing more in the pipeline the notice goes at once (P5, P6). */
TEST(an_entry_is_chosen_when_a_majority_has_it_on_disk)
{
    NODE(n, .id = 1, .replicas = 3);
    node_lead(&n);
    node_forget_trace(&n);
    node_propose(&n, 'A');
    EXPECT_TRACE(&n, "append [2 b=1.1 A on 0] chosen=1 lsn=3\n"
                     "send 1->2 accept b=1.1 at=1 chosen=1 [2 b=1.1 A on 0]\n"
                     "send 1->3 accept b=1.1 at=1 chosen=1 [2 b=1.1 A on 0]\n");
    node_recv(&n, ACCEPTED(.from = 2, .ballot = B(1, 1), .position = 2, .chosen = 1, .mark = 7));
    EXPECT_TRACE(&n, "");
    node_sync(&n);
    EXPECT_TRACE(&n, "chosen [2 b=1.1 A on 0] valid\n"
                     "send 1->2 commit b=1.1 chosen=2\n"
                     "send 1->3 commit b=1.1 chosen=2\n");
    node_recv(&n, ACCEPTED(.from = 3, .ballot = B(1, 1), .position = 2, .chosen = 1, .mark = 7));
    EXPECT_TRACE(&n, "release A\n");
    node_end(&n);
}

TEST(two_followers_on_disk_choose_without_the_leaders_own_disk)
{
    NODE(n, .id = 1, .replicas = 3);
    node_lead(&n);
    node_propose(&n, 'A');
    node_forget_trace(&n);
    node_recv(&n, ACCEPTED(.from = 2, .ballot = B(1, 1), .position = 2, .chosen = 1));
    node_recv(&n, ACCEPTED(.from = 3, .ballot = B(1, 1), .position = 2, .chosen = 1));
    EXPECT_TRACE(&n, "chosen [2 b=1.1 A on 0] valid\n"
                     "release A\n"
                     "send 1->2 commit b=1.1 chosen=2\n"
                     "send 1->3 commit b=1.1 chosen=2\n");
    node_end(&n);
}

TEST(a_full_window_lets_nothing_more_in)
{
    NODE(n, .id = 1, .replicas = 3, .window = 2);
    node_lead(&n);
    assert_true(paxos_can_propose(&n.px, 10));
    node_propose(&n, 'A');
    assert_false(paxos_can_propose(&n.px, 991)); /* bytes */
    node_propose(&n, 'B');
    assert_false(paxos_can_propose(&n.px, 1));
    node_sync(&n);
    node_recv(&n, ACCEPTED(.from = 2, .ballot = B(1, 1), .position = 2));
    assert_true(paxos_can_propose(&n.px, 1));
    node_sync(&n);
    node_recv(&n, ACCEPTED(.from = 2, .ballot = B(1, 1), .position = 3));
    assert_true(paxos_can_propose(&n.px, 5000)); /* one is always allowed */
    node_end(&n);
}

/* Accepts of one ballot are taken in order: one that comes early is held, not accepted, and the gap
 * is named (P5). */
TEST(an_early_accept_is_held_until_its_turn)
{
    NODE(n, .id = 2, .replicas = 3);
    node_recv(
        &n, ACCEPT(.from = 1, .ballot = B(1, 1), .position = 1, ENTRIES(E(2, B(1, 1), 'A', 0, 0))));
    EXPECT_TRACE(&n, "append promise b=1.1 lsn=1\n"
                     "role follower leader=1\n"
                     "send 2->1 nack b=1.1 promised=1.1 at=1 gap after=1\n");
    node_recv(&n, ACCEPT(.from = 1, .ballot = B(1, 1), .position = 0, .chosen = 1,
                         ENTRIES(NOOP(1, B(1, 1)))));
    EXPECT_TRACE(&n, "append [1 b=1.1 noop] chosen=0 lsn=2\n"
                     "chosen [1 b=1.1 noop]\n"
                     "append [2 b=1.1 A on 0] chosen=1 lsn=3\n"
                     "send 2->1 accepted b=1.1 at=2 chosen=1 after=3\n");
    node_end(&n);
}

/* What is held is not accepted: a promise does not speak of it, and it ends with its ballot. */
TEST(a_held_entry_is_not_reported_as_accepted)
{
    NODE(n, .id = 2, .replicas = 3);
    node_recv(
        &n, ACCEPT(.from = 1, .ballot = B(1, 1), .position = 1, ENTRIES(E(2, B(1, 1), 'A', 0, 0))));
    node_sync(&n);
    node_forget_trace(&n);
    node_recv(&n, PREPARE(.from = 3, .ballot = B(2, 3)));
    EXPECT_TRACE(&n, "append promise b=2.3 lsn=2\n"
                     "role follower leader=0\n"
                     "send 2->3 promise b=2.3 after=2\n");
    node_recv(&n, ACCEPT(.from = 3, .ballot = B(2, 3), .position = 0, ENTRIES(NOOP(1, B(2, 3)))));
    EXPECT_TRACE(&n, "role follower leader=3\n"
                     "release A\n"
                     "append [1 b=2.3 noop] chosen=0 lsn=3\n"
                     "send 2->3 accepted b=2.3 at=1 after=3\n");
    node_end(&n);
}

/* A commit notice of ballot 2 says nothing about what was accepted at ballot 1 (P6; mpaxos.pml
 * -DLEARN). */
TEST(a_commit_notice_covers_only_what_was_accepted_at_its_ballot)
{
    NODE(n, .id = 3, .replicas = 3);
    node_recv(&n, ACCEPT(.from = 1, .ballot = B(1, 1), ENTRIES(E(1, B(1, 1), 'A', 0, 0))));
    node_sync(&n);
    node_forget_trace(&n);
    node_recv(&n, COMMIT(.from = 2, .ballot = B(2, 2), .chosen = 1));
    EXPECT_TRACE(&n, "role follower leader=2\n"
                     "send 3->2 fetch at=1\n");
    node_recv(&n, LEARN(.from = 2, .chosen = 1, ENTRIES(E(1, B(2, 2), 'X', 0, 0))));
    EXPECT_TRACE(&n, "append [1 b=2.2 X on 0] chosen=1 lsn=3\n"
                     "release A\n"
                     "chosen [1 b=2.2 X on 0] valid take\n"
                     "send 3->2 fetch at=2 chosen=1\n");
    node_end(&n);
}

/* What was held at ballot 1 and is accepted later is not covered by what ballot 2 is known to have
 * chosen meanwhile (P6). The explorer found it with a fourth member. */
TEST(a_held_entry_is_not_chosen_by_the_notice_of_another_ballot)
{
    NODE(n, .id = 3, .replicas = 5);
    node_recv(&n, COMMIT(.from = 1, .ballot = B(2, 1), .chosen = 2));
    node_recv(
        &n, ACCEPT(.from = 2, .ballot = B(1, 2), .position = 1, ENTRIES(E(2, B(1, 2), 'A', 0, 0))));
    node_forget_trace(&n);
    node_recv(&n, ACCEPT(.from = 2, .ballot = B(1, 2), ENTRIES(NOOP(1, B(1, 2)))));
    EXPECT_TRACE(&n, "append [1 b=1.2 noop] chosen=0 lsn=2\n"
                     "append [2 b=1.2 A on 0] chosen=0 lsn=3\n"
                     "send 3->2 accepted b=1.2 at=2 after=3\n");
    node_end(&n);
}

/* A new leader proposes position 1 again; what an older ballot left at 2 and 3 stays until it is
 * overwritten (P5; mpaxos.pml -DTRUNC). */
TEST(an_accepted_suffix_survives_the_acceptance_of_an_earlier_position_at_a_higher_ballot)
{
    NODE(n, .id = 3, .replicas = 3);
    node_recv(&n, ACCEPT(.from = 1, .ballot = B(1, 1),
                         ENTRIES(E(1, B(1, 1), 'A', 0, 0), E(2, B(1, 1), 'B', 1, B(1, 1)),
                                 E(3, B(1, 1), 'C', 2, B(1, 1)))));
    node_recv(&n, ACCEPT(.from = 2, .ballot = B(2, 2), ENTRIES(E(1, B(2, 2), 'A', 0, 0))));
    node_sync(&n);
    node_forget_trace(&n);
    node_recv(&n, PREPARE(.from = 1, .ballot = B(3, 1)));
    EXPECT_TRACE(
        &n, "append promise b=3.1 lsn=7\n"
            "role follower leader=0\n"
            "send 3->1 promise b=3.1 [1 b=2.2 A on 0] [2 b=1.1 B on 1] [3 b=1.1 C on 2] after=7\n");
    node_end(&n);
}

TEST(an_accept_below_the_promise_is_refused)
{
    NODE(n, .id = 3, .replicas = 3, .promised = B(5, 2));
    node_recv(&n, ACCEPT(.from = 1, .ballot = B(4, 1), ENTRIES(E(1, B(4, 1), 'A', 0, 0))));
    EXPECT_TRACE(&n, "send 3->1 nack b=4.1 promised=5.2\n"
                     "release A\n");
    node_end(&n);
}

/* A member bound above the leader's ballot by a campaign that failed: the leader goes above it, and
 * drops no proposal. */
TEST(a_leader_refused_by_a_higher_ballot_leads_from_above)
{
    NODE(n, .id = 1, .replicas = 3);
    node_lead(&n);
    node_propose(&n, 'A');
    node_sync(&n);
    node_forget_trace(&n);
    node_recv(&n, NACK(.from = 3, .ballot = B(1, 1), .promised = B(6, 3)));
    EXPECT_TRACE(&n, "dropped from 2\n"
                     "role follower leader=0\n"
                     "append promise b=7.1 lsn=4\n"
                     "role candidate leader=0\n"
                     "send 1->2 prepare b=7.1 promised=7.1 at=1 chosen=1 after=4\n"
                     "send 1->3 prepare b=7.1 promised=7.1 at=1 chosen=1 after=4\n");
    node_sync(&n);
    node_recv(&n, PROMISE(.from = 2, .ballot = B(7, 1)));
    EXPECT_TRACE(&n,
                 "append [2 b=7.1 born=1.1 A on 0] chosen=1 lsn=5\n"
                 "append [3 b=7.1 noop] chosen=1 lsn=6\n"
                 "role leader leader=1\n"
                 "send 1->2 accept b=7.1 at=1 chosen=1 [2 b=7.1 born=1.1 A on 0] [3 b=7.1 noop]\n"
                 "send 1->3 accept b=7.1 at=1 chosen=1 [2 b=7.1 born=1.1 A on 0] [3 b=7.1 noop]\n");
    node_end(&n);
}

/* ---- catch-up ---- */

TEST(a_gap_near_the_end_is_repaired_from_memory_and_the_stream_goes_on)
{
    NODE(n, .id = 1, .replicas = 3);
    node_lead(&n);
    node_propose(&n, 'A');
    node_propose(&n, 'B');
    node_sync(&n);
    node_recv(&n, ACCEPTED(.from = 2, .ballot = B(1, 1), .position = 2, .chosen = 1));
    node_forget_trace(&n);
    node_recv(&n, NACK(.from = 3, .ballot = B(1, 1), .promised = B(1, 1), .position = 2,
                       .flags = PAXOS_F_GAP));
    EXPECT_TRACE(&n, "send 1->3 learn b=1.1 at=1 chosen=2 stream [2 b=1.1 A on 0]\n"
                     "send 1->3 accept b=1.1 at=2 chosen=2 [3 b=1.1 B on 2]\n");
    /* The next accepts behind the same gap tell nothing new. */
    node_recv(&n, NACK(.from = 3, .ballot = B(1, 1), .promised = B(1, 1), .position = 2,
                       .flags = PAXOS_F_GAP));
    EXPECT_TRACE(&n, "");
    node_end(&n);
}

TEST(a_follower_far_behind_is_served_from_the_log_and_then_joins_the_stream)
{
    NODE(n, .id = 1, .replicas = 3, .retain = 1);
    node_lead(&n);
    for (char c = 'A'; c <= 'C'; c++) {
        node_propose(&n, c);
        node_sync(&n);
        node_recv(&n, ACCEPTED(.from = 2, .ballot = B(1, 1),
                               .position = paxos_next_position(&n.px) - 1, .chosen = 1));
    }
    node_forget_trace(&n);
    node_recv(&n, NACK(.from = 3, .ballot = B(1, 1), .promised = B(1, 1), .position = 2,
                       .flags = PAXOS_F_GAP));
    EXPECT_TRACE(&n, "serve fetch to=3 2..4\n");
    node_propose(&n, 'D'); /* not streamed to one that is far behind */
    EXPECT_TRACE(&n, "append [5 b=1.1 D on 4] chosen=4 lsn=6\n"
                     "send 1->2 accept b=1.1 at=4 chosen=4 [5 b=1.1 D on 4]\n");
    node_recv(&n, FETCH(.from = 3, .position = 5));
    EXPECT_TRACE(&n, "send 1->3 accept b=1.1 at=4 chosen=4 [5 b=1.1 D on 4]\n");
    node_end(&n);
}

TEST(a_follower_learns_in_order_asks_for_more_and_tells_the_leader_when_it_has_all)
{
    NODE(n, .id = 3, .replicas = 3);
    node_recv(&n, COMMIT(.from = 1, .ballot = B(1, 1), .chosen = 3));
    EXPECT_TRACE(&n, "role follower leader=1\n"
                     "send 3->1 fetch at=1\n");
    node_recv(&n,
              LEARN(.from = 1, .chosen = 3, ENTRIES(NOOP(1, B(1, 1)), E(2, B(1, 1), 'A', 0, 0))));
    EXPECT_TRACE(&n, "append [1 b=1.1 noop] chosen=1 lsn=1\n"
                     "chosen [1 b=1.1 noop]\n"
                     "append [2 b=1.1 A on 0] chosen=2 lsn=2\n"
                     "chosen [2 b=1.1 A on 0] valid take\n"
                     "send 3->1 fetch at=3 chosen=2\n");
    node_recv(&n, LEARN(.from = 1, .chosen = 3, ENTRIES(E(3, B(1, 1), 'B', 2, B(1, 1)))));
    EXPECT_TRACE(&n, "append [3 b=1.1 B on 2] chosen=3 lsn=3\n"
                     "chosen [3 b=1.1 B on 2] valid take\n"
                     "send 3->1 fetch at=4 chosen=3\n");
    node_end(&n);
}

/* Lost messages are found out by asking, with back-off, and never by sending everything again. */
TEST(a_silent_gap_is_probed_on_ticks_with_back_off)
{
    NODE(n, .id = 1, .replicas = 3);
    node_lead(&n);
    node_propose(&n, 'A');
    node_forget_trace(&n);
    node_hear(&n, 2);
    node_hear(&n, 3);
    node_supported(&n, 2, 7);
    node_tick(&n, 100);
    EXPECT_TRACE(&n, "");
    node_tick(&n, 30);
    EXPECT_TRACE(&n, "send 1->2 accept b=1.1 at=2 chosen=1\n"
                     "send 1->3 accept b=1.1 at=2 chosen=1\n");
    node_tick(&n, 130);
    EXPECT_TRACE(&n, "");
    node_tick(&n, 150);
    EXPECT_TRACE(&n, "send 1->2 accept b=1.1 at=2 chosen=1\n"
                     "send 1->3 accept b=1.1 at=2 chosen=1\n");
    node_end(&n);
}

/* A leader that is busy with members who have all needs no ticks of theirs: a peer that comes back
 * from silence is found only by looking. */
TEST(a_busy_leader_looks_again_at_a_peer_that_lags_in_silence)
{
    NODE(n, .id = 1, .replicas = 3);
    node_lead(&n);
    for (uint64_t i = 0; i < 600; i++) { /* for the first half of it 3 is silent */
        n.now += 10 * MS;
        node_hear(&n, 2);
        if (i > 300) node_hear(&n, 3);
        node_supported(&n, 2, 7);
        node_propose(&n, 'A');
        node_sync(&n);
        node_recv(&n, ACCEPTED(.from = 2, .ballot = B(1, 1), .position = i + 2, .chosen = i + 2,
                               .mark = 7));
        node_forget_trace(&n);
        if (n.now >= paxos_deadline(&n.px)) node_tick(&n, 0);
        if (i == 300) assert_false(n.px.peer[2].live);
    }
    assert_true(n.px.peer[2].live);
    node_end(&n);
}

TEST(a_quiet_group_needs_no_ticks_but_for_leases_and_writes_its_watermark_once)
{
    NODE(n, .id = 2, .replicas = 3);
    node_hear(&n, 1);
    node_recv(&n, ACCEPT(.from = 1, .ballot = B(1, 1), ENTRIES(NOOP(1, B(1, 1)))));
    node_sync(&n);
    node_recv(&n, COMMIT(.from = 1, .ballot = B(1, 1), .chosen = 1));
    node_forget_trace(&n);
    assert_int_equal(paxos_deadline(&n.px), n.now + NODE_TIMEOUT / 4);
    assert_false(paxos_rests(&n.px, n.now));
    node_tick(&n, 250);
    EXPECT_TRACE(&n, "append chosen 1\n");
    node_tick(&n, 250);
    EXPECT_TRACE(&n, "");
    assert_int_equal(paxos_deadline(&n.px), n.now - 500 * MS + NODE_TIMEOUT + 1);
    node_end(&n);
}

/* It rests while its leader's node is heard of, or, at the leader, while a quorum supports it; and
 * all that it holds then fits one slot. */
TEST(a_quiet_group_rests_until_a_node_falls_silent)
{
    NODE(f, .id = 2, .replicas = 3);
    node_hear(&f, 1);
    node_recv(&f,
              ACCEPT(.from = 1, .ballot = B(1, 1), ENTRIES(NOOP(1, B(1, 1)), NOOP(2, B(1, 1)))));
    node_sync(&f);
    assert_int_equal(paxos_ring_least(&f.px), 2);
    node_recv(&f, COMMIT(.from = 1, .ballot = B(1, 1), .chosen = 2));
    node_tick(&f, 250);
    assert_int_equal(paxos_ring_least(&f.px), 1);
    assert_true(paxos_rests(&f.px, f.now));
    assert_false(paxos_rests(&f.px, f.now + NODE_TIMEOUT));
    node_end(&f);

    NODE(n, .id = 1, .replicas = 3);
    node_lead(&n);
    node_supported(&n, 2, 7);
    node_recv(&n, ACCEPTED(.from = 2, .ballot = B(1, 1), .position = 1, .chosen = 1, .mark = 7));
    node_recv(&n, ACCEPTED(.from = 3, .ballot = B(1, 1), .position = 1, .chosen = 1, .mark = 7));
    node_tick(&n, 250);
    assert_true(paxos_rests(&n.px, n.now));
    assert_false(paxos_rests(&n.px, n.now + NODE_LEASE));
    node_propose(&n, 'A');
    assert_false(paxos_rests(&n.px, n.now));
    node_end(&n);
}

/* ---- recovery ---- */

static void restore(struct node *n, struct paxos_entry e, uint64_t chosen)
{
    struct paxos_sink sink = node_sink(n);
    if (e.value) n->held[(uintptr_t)e.value] += 1;
    paxos_restore_entry(&n->px, &e, &sink);
    paxos_restore_chosen(&n->px, chosen);
}

/* Entries at or below the applied position are let go; hints say what is chosen; what was accepted
 * at a ballot binds to it even where no promise record is left (P2); a later record of a position
 * replaces an earlier one. */
TEST(recovery_restores_promise_entries_and_watermark)
{
    struct node n = {.id = 1, .replicas = 3};
    node_init(&n);
    paxos_restore_applied(&n.px, 2, (struct paxos_id){2, B(1, 1)});
    paxos_restore_promise(&n.px, B(1, 2));
    restore(&n, (struct paxos_entry)E(2, B(1, 1), 'A', 0, 0), 1);
    restore(&n, (struct paxos_entry)E(3, B(1, 1), 'B', 2, B(1, 1)), 2);
    restore(&n, (struct paxos_entry)E(4, B(1, 1), 'C', 3, B(1, 1)), 3);
    restore(&n, (struct paxos_entry)E(4, B(3, 2), 'D', 3, B(1, 1)), 3);
    EXPECT_TRACE(&n, "release A\n"
                     "release C\n");
    node_start(&n);
    EXPECT_TRACE(&n, "chosen [3 b=1.1 B on 2] valid take\n");
    assert_int_equal(paxos_promised(&n.px), B(3, 2));
    assert_int_equal(paxos_chosen(&n.px), 3);
    /* Its leader, still in office, goes on where it was; nothing is accepted twice. */
    node_recv(&n, ACCEPT(.from = 2, .ballot = B(3, 2), .position = 4, .chosen = 4));
    EXPECT_TRACE(&n, "role follower leader=2\n"
                     "chosen [4 b=3.2 D on 3] valid take\n"
                     "send 1->2 accepted b=3.2 at=4 chosen=4\n");
    node_end(&n);
}

/* ---- reads ---- */

/* One round answers all reads that came before it began; later ones wait for the next; an answer to
 * an old round counts nothing. */
TEST(reads_are_confirmed_in_batches_by_a_quorum)
{
    NODE(n, .id = 1, .replicas = 3);
    node_lead(&n);
    node_forget_trace(&n);
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_READ, .seq = 1});
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_READ, .seq = 2});
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_READ, .seq = 3});
    EXPECT_TRACE(&n, "send 1->2 confirm b=1.1 chosen=1 seq=1\n"
                     "send 1->3 confirm b=1.1 chosen=1 seq=1\n");
    node_recv(&n, CONFIRMED(.from = 2, .ballot = B(1, 1), .seq = 1, .mark = 7));
    EXPECT_TRACE(&n, "read ready seq=1 at=1\n"
                     "send 1->2 confirm b=1.1 chosen=1 seq=2\n"
                     "send 1->3 confirm b=1.1 chosen=1 seq=2\n");
    node_recv(&n, CONFIRMED(.from = 3, .ballot = B(1, 1), .seq = 1, .mark = 7));
    EXPECT_TRACE(&n, "");
    node_recv(&n, CONFIRMED(.from = 3, .ballot = B(1, 1), .seq = 2, .mark = 7));
    EXPECT_TRACE(&n, "read ready seq=3 at=1\n");
    node_end(&n);
}

TEST(a_member_bound_higher_does_not_confirm_and_its_answer_ends_the_leadership)
{
    NODE(n, .id = 2, .replicas = 3, .promised = B(5, 3));
    node_recv(&n, CONFIRM(.from = 1, .ballot = B(4, 1), .seq = 1));
    EXPECT_TRACE(&n, "send 2->1 nack b=4.1 promised=5.3\n");
    node_end(&n);
}

TEST(no_read_is_confirmed_before_the_leader_serves)
{
    NODE(n, .id = 1, .replicas = 3);
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_recv(&n, PREVOTE_OK(.from = 2, .ballot = B(1, 1)));
    node_sync(&n);
    node_recv(&n, PROMISE(.from = 2, .ballot = B(1, 1)));
    node_forget_trace(&n);
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_READ, .seq = 1});
    EXPECT_TRACE(&n, "");
    assert_int_equal(paxos_lease_end(&n.px), 0);
    node_end(&n);
}

/* ---- transfer ---- */

/* Drain, wait until the target has everything, give up the lease, and only then tell the target; it
 * campaigns without a pre-vote, and the others are freed from the lease by the word of the old
 * leader that PREPARE carries. */
TEST(leadership_is_transferred_to_a_replica_that_has_everything)
{
    NODE(n, .id = 1, .replicas = 3);
    node_lead(&n);
    node_supported(&n, 2, 7);
    node_propose(&n, 'A');
    node_sync(&n);
    node_forget_trace(&n);
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_TRANSFER, .to = 3});
    EXPECT_TRACE(&n, "");
    assert_false(paxos_can_propose(&n.px, 1));
    node_recv(&n, ACCEPTED(.from = 2, .ballot = B(1, 1), .position = 2, .chosen = 1, .mark = 7));
    EXPECT_TRACE(&n, "chosen [2 b=1.1 A on 0] valid\n"
                     "send 1->2 commit b=1.1 chosen=2\n"
                     "send 1->3 commit b=1.1 chosen=2\n");
    assert_true(paxos_lease_end(&n.px) > n.now);
    node_recv(&n, ACCEPTED(.from = 3, .ballot = B(1, 1), .position = 2, .chosen = 2, .mark = 7));
    EXPECT_TRACE(&n, "send 1->3 timeout_now b=1.1 released=1.1 chosen=2\n"
                     "release A\n");
    assert_int_equal(paxos_lease_end(&n.px), 0);

    NODE(f, .id = 3, .replicas = 3);
    node_recv(&f, ACCEPT(.from = 1, .ballot = B(1, 1), .chosen = 0,
                         ENTRIES(NOOP(1, B(1, 1)), E(2, B(1, 1), 'A', 0, 0))));
    node_sync(&f);
    node_hear(&f, 1);
    node_forget_trace(&f);
    node_recv(&f, TIMEOUT_NOW(.from = 1, .ballot = B(1, 1), .released = B(1, 1), .chosen = 2));
    EXPECT_TRACE(&f, "role follower leader=0\n"
                     "chosen [1 b=1.1 noop]\n"
                     "chosen [2 b=1.1 A on 0] valid take\n"
                     "append promise b=2.3 lsn=4\n"
                     "role candidate leader=0\n"
                     "send 3->1 prepare b=2.3 promised=2.3 released=1.1 at=2 chosen=2 after=4\n"
                     "send 3->2 prepare b=2.3 promised=2.3 released=1.1 at=2 chosen=2 after=4\n");
    node_end(&n);
    node_end(&f);
}

/* The old leader counts on nobody at the ballot that it released: its node's mark, on which the
 * leases of its other groups stand, stays as it is (L3). */
TEST(a_promise_at_a_released_ballot_takes_nothing_from_the_old_leader)
{
    NODE(n, .id = 2, .replicas = 3);
    node_recv(&n, ACCEPT(.from = 1, .ballot = B(1, 1), ENTRIES(NOOP(1, B(1, 1)))));
    node_sync(&n);
    node_hear(&n, 1);
    node_forget_trace(&n);
    uint64_t mark = lease_mark(&n.leases, 1);
    node_recv(&n, PREPARE(.from = 3, .ballot = B(2, 3), .released = B(1, 1)));
    EXPECT_TRACE(&n, "append promise b=2.3 lsn=3\n"
                     "role follower leader=0\n"
                     "send 2->3 promise b=2.3 [1 b=1.1 noop] after=3\n");
    assert_int_equal(lease_mark(&n.leases, 1), mark);
    node_end(&n);
}

/* Not replaced in time, the old leader takes a new ballot: the word that the old one is released
 * cannot be taken back. */
TEST(a_transfer_that_fails_ends_in_a_new_ballot_of_the_old_leader)
{
    NODE(n, .id = 1, .replicas = 3);
    node_lead(&n);
    node_step(&n, (struct paxos_event){.type = PAXOS_EV_TRANSFER, .to = 3});
    node_hear(&n, 2);
    node_supported(&n, 2, 7);
    node_forget_trace(&n);
    node_tick(&n, 1001);
    EXPECT_TRACE(&n, "dropped from 2\n"
                     "role follower leader=0\n"
                     "append promise b=2.1 lsn=3\n"
                     "role candidate leader=0\n"
                     "send 1->2 prepare b=2.1 promised=2.1 at=1 chosen=1 after=3\n"
                     "send 1->3 prepare b=2.1 promised=2.1 at=1 chosen=1 after=3\n"
                     "append chosen 1\n");
    node_end(&n);
}

/* ---- founding ---- */

TEST(the_preferred_replica_of_a_fresh_group_campaigns_first)
{
    NODE(a, .id = 1, .replicas = 3, .preferred = 2);
    NODE(b, .id = 2, .replicas = 3, .preferred = 2);
    NODE(c, .id = 3, .replicas = 3, .preferred = 2);
    assert_true(b.px.campaign_at <= b.now + NODE_TIMEOUT / 32);
    assert_true(a.px.campaign_at > b.now + NODE_TIMEOUT / 8);
    assert_true(c.px.campaign_at > a.px.campaign_at && c.px.campaign_at < c.now + NODE_TIMEOUT);
    node_end(&a), node_end(&b), node_end(&c);
}

TEST(a_single_replica_leads_as_soon_as_its_disk_allows)
{
    NODE(n, .id = 1, .replicas = 1);
    EXPECT_TRACE(&n, "append promise b=1.1 lsn=1\n"
                     "role candidate leader=0\n");
    node_sync(&n);
    EXPECT_TRACE(&n, "append [1 b=1.1 noop] chosen=0 lsn=2\n"
                     "role leader leader=1\n");
    node_sync(&n);
    EXPECT_TRACE(&n, "chosen [1 b=1.1 noop]\n"
                     "serving\n");
    assert_true(paxos_lease_end(&n.px) == UINT64_MAX);
    node_end(&n);
}

/* ---- hostile input ---- */

TEST(messages_that_no_member_would_send_are_counted_and_change_nothing)
{
    NODE(n, .id = 1, .replicas = 3);
    node_lead(&n);
    node_forget_trace(&n);
    struct paxos before = n.px;
    paxos_ballot b = B(9, 2);
    struct paxos_message bad[] = {
        PREPARE(.from = 0, .ballot = B(9, 0)),                              /* nobody */
        PREPARE(.from = 1, .ballot = B(9, 1)),                              /* myself */
        PREPARE(.from = 2, .to = 3, .ballot = b),                           /* not to me */
        PREPARE(.from = 2, .ballot = B(9, 3)),                              /* another's ballot */
        MESSAGE(77, .from = 2),                                             /* no such type */
        ACCEPT(.from = 2, .ballot = B(9, 3), ENTRIES(NOOP(2, B(9, 3)))),    /* another's ballot */
        ACCEPT(.from = 2, .ballot = b, .position = 5, ENTRIES(NOOP(2, b))), /* not where it says */
        ACCEPT(.from = 2, .ballot = b, .position = 1,
               ENTRIES(NOOP(2, b), NOOP(2, b))), /* not in order */
        ACCEPT(.from = 2, .ballot = b, .position = 1,
               ENTRIES(NOOP(2, B(8, 2)))), /* of another ballot */
        ACCEPT(.from = 2, .ballot = b, .position = 1,
               ENTRIES(E(2, b, 'A', 2, b))), /* stands on itself */
        ACCEPT(.from = 2, .ballot = b, .position = 1,
               ENTRIES({.position = 2, .ballot = b, .born = b, .kind = 9})),
        ACCEPT(.from = 2, .ballot = b, .position = UINT64_MAX),
        PREPARE(.from = 2, .ballot = B(1ull << 47, 2)), /* would end the ballots */
        COMMIT(.from = 2, .ballot = B(9, 3), .chosen = 5),
        FETCH(.from = 2, .position = 0),
        FETCH(.from = 2, .position = 99),
        NACK(.from = 2, .ballot = B(1, 1), .position = 99, .flags = PAXOS_F_GAP),
        CONFIRM(.from = 2, .ballot = B(9, 3), .seq = 1),
        RESIGNED(.from = 2, .ballot = B(9, 3)),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t count = paxos_stats(&n.px)->hostile;
        n.quiet = true;
        node_recv(&n, bad[i]);
        n.quiet = false;
        if (paxos_stats(&n.px)->hostile != count + 1)
            fail_msg("message %zu was not counted as hostile", i);
        if (n.px.role != before.role || n.px.promised != before.promised ||
            n.px.last != before.last || n.px.lsn != before.lsn)
            fail_msg("message %zu changed something", i);
    }
    node_recv(&n, ACCEPTED(.from = 2, .ballot = B(1, 1),
                           .position = 99)); /* stale or a lie: never believed */
    assert_int_equal(paxos_match(&n.px, 2), 1);
    node_end(&n);
}

static uint16_t below(struct prng *r, uint16_t bound)
{
    return (uint16_t)prng_below(r, bound);
}

/* Any bytes in any field: no assertion, no handle lost. */
TEST(random_messages_never_break_an_invariant)
{
    struct prng r;
    prng_init(&r, 1);
    for (int run = 0; run < 200; run++) {
        NODE(n, .id = 1, .replicas = 3);
        n.quiet = true;
        if (below(&r, 2)) node_lead(&n);
        for (int i = 0; i < 300; i++) {
            struct paxos_entry e[4];
            uint32_t count = (uint32_t)below(&r, 5);
            paxos_ballot b = B(1 + below(&r, 6), 1 + below(&r, 3));
            uint64_t first = below(&r, 8);
            for (uint32_t k = 0; k < count; k++) {
                e[k] = (struct paxos_entry)E(
                    first + k, below(&r, 8) ? b : B(1 + below(&r, 6), 1 + below(&r, 3)),
                    'A' + (int)below(&r, 26), below(&r, 4), B(1, 1));
                if (below(&r, 3) == 0) e[k] = (struct paxos_entry)NOOP(first + k, b);
                if (below(&r, 30) == 0) e[k].position = below(&r, 1000);
            }
            struct paxos_message m = {.type = (uint8_t)below(&r, PAXOS_MESSAGE_TYPES),
                                      .flags = (uint8_t)below(&r, 32),
                                      .from = (uint16_t)(1 + below(&r, 3)),
                                      .ballot = below(&r, 4) ? b : n.px.ballot,
                                      .promised = B(below(&r, 6), 1 + below(&r, 3)),
                                      .released = B(below(&r, 6), 1 + below(&r, 3)),
                                      .position = first ? first - 1 : below(&r, 8),
                                      .chosen = below(&r, 8),
                                      .seq = below(&r, 4),
                                      .mark = 7,
                                      .entry_count = count,
                                      .entries = e};
            /* An honest cluster chooses one value a position; LEARN of rubbish is not something
             * paxos can survive, so it is left to the explorer and the storms. */
            if (m.type != PAXOS_LEARN) node_recv(&n, m);
            if (below(&r, 4) == 0) node_sync(&n);
            if (below(&r, 8) == 0) node_tick(&n, below(&r, 500));
            if (below(&r, 4) == 0 && paxos_can_propose(&n.px, 10)) node_propose(&n, 'Z');
        }
        node_end(&n);
    }
}

TEST_MAIN
