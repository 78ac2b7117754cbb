/* What the files of src/paxos share. Nobody outside includes it, tests and explorer excepted.
 *
 * The acceptor's log, as the ring holds it:
 *
 *      floor            chosen            streamed              last
 *        |  retained      |  accepted at    |  accepted at older  |
 *        |  for laggards  |  `follow`       |  ballots            |
 *
 * Positions in (floor, chosen] are chosen and were emitted; the leader alone keeps any (a
 * follower's floor is its chosen). Those in (chosen, streamed] were accepted at ballot `follow` in
 * position order, so a commit notice of that ballot covers them; those in (streamed, last] are what
 * older ballots left, kept until overwritten (docs/PAXOS.md, P6). There is no hole up to `last`. */
#ifndef SYNOD_PAXOS_INTERNAL_H
#define SYNOD_PAXOS_INTERNAL_H

#include "base/assert.h"
#include "base/hash.h"
#include "base/mutant.h"
#include "paxos/lease.h"
#include "paxos/paxos.h"

struct paxos_slot {
    struct paxos_entry entry;   /* accepted here (position 0: nothing) */
    struct paxos_entry pending; /* not accepted: held for its turn (follower), or adopted from a
                                   promise (candidate) */
    uint64_t lsn;               /* append number of `entry`; 0: restored from disk */
};

/* What a leader knows of the member at the same index; indices are those of the configuration. */
struct paxos_peer {
    uint64_t match;       /* all up to here are on its disk, accepted at my ballot or chosen */
    uint64_t next;        /* all below were sent in this ballot's stream */
    uint64_t chosen;      /* its watermark, as last said */
    uint64_t mark;        /* its lease mark towards me, sent while bound to my ballot */
    uint64_t resend_at;   /* when to probe it if it still lags */
    uint64_t resend_wait; /* the back-off: how long after that */
    uint64_t repaired;    /* the gap that was repaired last, not again before resend_at */
    bool marked;          /* mark is known at this ballot */
    bool paused;          /* not streamed to: far behind, or not answering */
    bool live;            /* its node was heard of lately */
};

struct paxos {
    struct paxos_options opt;
    struct paxos_slot *ring;
    uint32_t capacity;
    int8_t self;  /* index of my replica in config; -1: it is not there */
    uint8_t role; /* enum paxos_role */
    bool started;
    bool installing; /* a snapshot is taking the place of the state: nothing is chosen meanwhile */
    bool switched;   /* the configuration changed, and the role has not followed yet */
    uint64_t
        remind_at; /* when to remind the voters of a configuration in which I am none; 0: never */
    uint64_t remind_wait;

    /* acceptor and learner */
    paxos_ballot promised;
    uint64_t floor, chosen, streamed, last;
    paxos_ballot follow;
    struct paxos_id last_valid;
    uint64_t lsn, synced;
    uint64_t hint;  /* restore: positions known chosen. Later: the last chosen watermark written to
                       the log */
    uint64_t heard; /* highest position known chosen, by anybody's word */
    uint64_t noticed; /* the same, of `follow`, by its leader's word: it covers what was accepted at
                         it */
    uint64_t fetch_at; /* when to ask for what heard > chosen says is missing; 0: nothing asked */
    uint16_t fetch_from;
    uint16_t leader; /* as far as known; 0: nobody */
    uint64_t leader_since;

    /* candidate */
    paxos_ballot trial;  /* of the pre-vote */
    paxos_ballot ballot; /* the last one I asked promises for; mine to lead only in roles CANDIDATE
                            and LEADER */
    paxos_ballot seen;   /* highest heard of */
    paxos_ballot released; /* somebody's, known to be led no more */
    uint64_t promise_lsn;  /* append number of my promise to myself */
    uint64_t campaign_at;  /* when to campaign if there is still no leader; UINT64_MAX: never */
    uint64_t candidate_until;
    uint64_t ask_at; /* when to repeat PREVOTE or PREPARE */
    uint32_t attempts;
    uint8_t votes; /* members (bit: index) that said yes */

    /* leader */
    bool serving;
    uint64_t barrier;        /* serving once this position is chosen */
    uint64_t config_at;      /* position of the CONFIG entry of my ballot that is not chosen yet; 0:
                                none.      Nothing above it is mine: streamed ends there (P14) */
    struct paxos_id chain;   /* the valid entry on which the next proposal stands */
    uint64_t inflight_bytes; /* of values in (chosen, last] */
    uint64_t retained_bytes; /* of values in (floor, chosen] */
    uint64_t quorum_at;      /* when a quorum last was known to support me */
    uint64_t checked_at;     /* when that was last looked at */
    uint64_t busy_at;        /* when something was last chosen */
    uint16_t transfer_to;    /* 0: no transfer under way */
    bool lease_given;        /* this ballot's lease was handed over */
    uint64_t transfer_until;

    /* reads: one confirmation round at a time */
    uint64_t round; /* number of the round; answers to another do not count */
    bool round_open;
    uint64_t round_seq; /* reads it answers */
    uint64_t round_position;
    uint64_t round_started;
    uint64_t round_ask_at;
    uint64_t read_wanted; /* highest read asked for */
    uint64_t read_done;
    uint8_t confirms;

    struct paxos_peer peer[PAXOS_MEMBERS_MAX];
    struct paxos_stats stats;
};

/* One call of paxos_step: the machine, where effects go, and the event's time and randomness. */
struct turn {
    struct paxos *px;
    const struct paxos_sink *sink;
    uint64_t now;
    uint64_t random;
};

/* paxos.c */
void turn_emit(struct turn *t, struct paxos_effect fx);
void turn_send(struct turn *t, uint16_t to, uint64_t after_lsn, struct paxos_message m);
uint64_t turn_random(struct turn *t, uint64_t bound);
void turn_append_promise(struct turn *t, paxos_ballot ballot);
/* What a reply must wait for: every append so far, or nothing if all are on disk. */
uint64_t paxos_after(const struct paxos *px);

/* config.c */
int paxos_member_of(const struct paxos *px, uint16_t replica);    /* index, or -1 */
uint16_t paxos_node_of(const struct paxos *px, uint16_t replica); /* 0: not a member */
uint16_t paxos_holder(const struct paxos *px, uint16_t replica);
uint64_t paxos_mark_for(const struct paxos *px, uint16_t replica);
bool paxos_votes(const struct paxos *px, int i);
bool paxos_alone(const struct paxos *px);
bool paxos_may_campaign(const struct paxos *px);
bool paxos_may_lead(const struct paxos *px);
uint32_t paxos_count(const struct paxos *px, uint8_t members); /* of these, whose votes count */
bool config_read(const struct paxos *px, const struct paxos_entry *e, struct paxos_config *out);
bool config_follows(const struct paxos *px, const struct paxos_entry *e);
void config_switch(struct turn *t, const struct paxos_config *next, struct paxos_id id);
void config_settle(struct turn *t);
void config_remind(struct turn *t, uint64_t wait);
void config_heard(struct turn *t, const struct paxos_message *m);
void config_tick(struct turn *t);

/* ring.c */
struct paxos_slot *ring_at(const struct paxos *px, uint64_t position);
struct paxos_entry *ring_entry(const struct paxos *px,
                               uint64_t position); /* accepted there, or NULL */
bool ring_room(struct turn *t, uint64_t position); /* may let go of retained entries */
void ring_release(struct turn *t, void *value);
/* Accepts `e` (taking its value) at its ballot: replaces what is there, appends. `chosen` goes into
 * the record. */
void ring_accept(struct turn *t, struct paxos_entry *e, uint64_t chosen);
void ring_hold(struct turn *t, struct paxos_entry *e); /* as pending; keeps the higher ballot */
void ring_clear_pending(struct turn *t);
void ring_choose(struct turn *t); /* position chosen + 1, which is accepted, is chosen: emit it */
void ring_trim(struct turn *t);   /* lets go of retained entries that no live peer needs */
uint64_t ring_limit(const struct paxos *px); /* highest position that may be accepted now */
bool entry_plausible(const struct paxos_entry *e);

/* election.c */
bool election_permits(const struct paxos *px, uint16_t candidate, paxos_ballot released,
                      uint64_t now);
void election_follow(struct turn *t, const struct paxos_message *m, paxos_ballot ballot);
void election_promise(struct turn *t, paxos_ballot ballot);
void election_leaderless(struct turn *t, uint64_t delay);
void election_restart(struct turn *t); /* leaderless, and nobody has tried yet */
void election_step_down(struct turn *t, bool tell);
void election_refuse(struct turn *t, const struct paxos_message *m, uint8_t flags);
void election_prevote(struct turn *t);
void election_prepare(struct turn *t);
void election_on_synced(struct turn *t);
void election_tick(struct turn *t);
void election_on_prevote(struct turn *t, const struct paxos_message *m);
void election_on_prevote_ok(struct turn *t, const struct paxos_message *m);
void election_on_prepare(struct turn *t, const struct paxos_message *m);
void election_on_promise(struct turn *t, const struct paxos_message *m);
void election_on_nack(struct turn *t, const struct paxos_message *m);
void election_on_timeout_now(struct turn *t, const struct paxos_message *m);
void election_on_resigned(struct turn *t, const struct paxos_message *m);
void election_on_transfer(struct turn *t, uint16_t to);
void election_transfer_ready(struct turn *t);
uint64_t election_deadline(const struct paxos *px);

/* accept.c */
void leader_begin(struct turn *t);
void leader_propose(struct turn *t, const struct paxos_event *ev);
void leader_on_accepted(struct turn *t, const struct paxos_message *m);
void leader_advance(struct turn *t);
void leader_stream(struct turn *t, int i);
void follower_on_accept(struct turn *t, const struct paxos_message *m);
void follower_on_commit(struct turn *t, const struct paxos_message *m);
void follower_take_held(struct turn *t);
void follower_commit(struct turn *t, uint64_t chosen);

/* catchup.c */
void catchup_on_gap(struct turn *t, int i, uint64_t missing);
void catchup_heard(struct turn *t, uint16_t from, uint64_t chosen, bool at_once);
void catchup_on_fetch(struct turn *t, const struct paxos_message *m);
void catchup_on_learn(struct turn *t, const struct paxos_message *m);
void catchup_tick(struct turn *t);
uint64_t catchup_deadline(const struct paxos *px);

/* read.c */
uint64_t read_support_end(const struct paxos *px);
void read_ask(struct turn *t, uint64_t seq);
void read_start(struct turn *t);
void read_on_confirm(struct turn *t, const struct paxos_message *m);
void read_on_confirmed(struct turn *t, const struct paxos_message *m);
void read_tick(struct turn *t);
uint64_t read_deadline(const struct paxos *px);

#endif
