/* Multi-Paxos for one group, as a pure machine: an event goes in, effects come out.
 *
 * The machine sees no clock, file, thread, allocator or random source. Time, randomness and "it is
 * on disk now" arrive in events; what must be written, sent or applied leaves as effects, in the
 * order in which they were emitted. The same code therefore runs in the server, in the simulator
 * and in the explorer. (docs/PAXOS.md has the rules P1.. that the code and the tests cite; Lamport,
 * "Paxos Made Simple", 2001; van Renesse and Altinbuken, "Paxos Made Moderately Complex", 2015.)
 *
 * Words: position (index in the group's log, from 1), ballot, promise, accepted, chosen (a majority
 * accepted it at one ballot), valid (its base is the state it was evaluated on), leader, follower,
 * learner, witness, configuration. See docs/GLOSSARY.md.
 *
 * Values are opaque handles. A handle given to the machine in an event is the machine's from then
 * on; it gives each one back exactly once, by a RELEASE effect, or by a CHOSEN effect whose
 * `take_value` is true. NULL handles are never given back.
 *
 * Threading: none; one machine belongs to one thread. Nothing here is global. */
#ifndef SYNOD_PAXOS_H
#define SYNOD_PAXOS_H

#include "base/bytes.h"

struct lease_table;

#define PAXOS_MEMBERS_MAX    7
#define PAXOS_CONFIG_VERSION 1 /* of a configuration's byte form (config.c) */

/* (round << 16 | replica id of the proposer); 0 is "none". Replica ids are issued once and never
 * used again. */
typedef uint64_t paxos_ballot;

static inline paxos_ballot paxos_ballot_make(uint64_t round, uint16_t replica)
{
    return round << 16 | replica;
}
static inline uint64_t paxos_ballot_round(paxos_ballot b)
{
    return b >> 16;
}
static inline uint16_t paxos_ballot_replica(paxos_ballot b)
{
    return (uint16_t)b;
}

/* Which entry: its position and the ballot that first evaluated it. {0, 0} is the empty state
 * before the first entry. */
struct paxos_id {
    uint64_t position;
    paxos_ballot born;
};

enum paxos_kind {
    PAXOS_NOOP, /* fills a gap, or opens a leadership; never valid nor invalid: it leaves the effect
                   chain alone */
    PAXOS_DATA, /* effects evaluated on the state `base` */
    PAXOS_CONFIG, /* who the members are at the positions above it; its value is an encoded
                     struct paxos_config, its `base` the identity of the configuration it follows */
};

/* One log entry. The effect chain (PROTOCOLS 0.1, 1.1): a DATA entry is valid, and applied, exactly
 * if `base` is the identity of the last valid entry below it; else every replica skips it. A CONFIG
 * entry is valid exactly if its `base` is the identity of the configuration in force at its
 * position (P13), and leaves the chain of DATA alone. `born` and `base` survive re-proposal,
 * `ballot` does not. */
struct paxos_entry {
    uint64_t position;
    paxos_ballot ballot; /* the ballot at which it was proposed or accepted (vbal) */
    paxos_ballot born;   /* b0 */
    struct paxos_id base;
    uint64_t hash; /* of the value; compared where two entries must be the same */
    uint32_t size; /* of the value in bytes; counts against the window */
    uint8_t kind;  /* enum paxos_kind */
    void *value;   /* opaque; NULL iff size is 0 */
};

enum paxos_member_role {
    PAXOS_VOTER,   /* votes, and may lead */
    PAXOS_LEARNER, /* gets the stream, and has no vote */
    PAXOS_WITNESS, /* votes, and never campaigns or leads */
};

struct paxos_member {
    uint16_t replica; /* 0: free */
    uint16_t node;    /* the node it lives on, never another; leases are per node */
    uint8_t role;     /* enum paxos_member_role */
};

/* The members of a group, at the positions above the CONFIG entry that set it. Quorums are
 * majorities of voters and witnesses. */
struct paxos_config {
    uint8_t count;
    uint16_t next_replica; /* the lowest replica id never issued yet */
    struct paxos_member member[PAXOS_MEMBERS_MAX];
};

/* The index of the member that lives on the node, or -1. */
static inline int paxos_config_member(const struct paxos_config *c, uint16_t node)
{
    for (int i = 0; i < c->count; i++)
        if (c->member[i].node == node) return i;
    return -1;
}

/* How many of the voting members make a quorum of phase 1, and of phase 2. */
uint32_t paxos_quorum_prepare(const struct paxos_config *c);
uint32_t paxos_quorum_accept(const struct paxos_config *c);
/* The highest value that at least `quorum` of the voting members' values reach; value[i] is member
 * i's. */
uint64_t paxos_reached(const struct paxos_config *c, const uint64_t *value, uint32_t quorum);

/* The byte form (config.c; its other half is paxos_config_encode in msg.h). False: malformed, or
 * not 1 to PAXOS_MEMBERS_MAX members of distinct replicas and nodes, none of them 0, replicas below
 * next_replica, with a voter among them; *out is then unchanged. */
bool paxos_config_decode(struct bytes in, struct paxos_config *out);

enum paxos_message_type {
    PAXOS_PREVOTE, /* would you promise `ballot`? position: my chosen. Changes nothing */
    PAXOS_PREVOTE_OK,
    PAXOS_PREPARE,  /* phase 1a. position: my chosen */
    PAXOS_PROMISE,  /* phase 1b. chosen: mine; entries: all I accepted above the candidate's chosen
                     */
    PAXOS_ACCEPT,   /* phase 2a. entries in position order, position: the one before the first;
                     * chosen: the leader's   watermark at this ballot. Without entries: a probe,
                     * "have   you all up to `position`?" */
    PAXOS_ACCEPTED, /* phase 2b. position: all up to here accepted at `ballot` (or chosen); chosen:
                       mine */
    PAXOS_NACK,   /* ballot: the refused one; promised: what binds me; position: my chosen, or with
                   * PAXOS_F_GAP the first   position I miss; flags say why */
    PAXOS_COMMIT, /* commit notice: (ballot, chosen). Apply only what was accepted at this ballot */
    PAXOS_FETCH,  /* send me chosen entries from `position` on */
    PAXOS_LEARN,  /* entries, each known chosen by the sender, in order; chosen: the sender's
                   * watermark (of the answer to a SERVE_FETCH: as in that effect). Without entries:
                   * a reminder, "is that known to you who vote?" */
    PAXOS_CONFIRM, /* is `ballot` still your promise? seq: the round (ReadIndex) */
    PAXOS_CONFIRMED,
    PAXOS_TIMEOUT_NOW, /* leadership transfer: campaign now; ballot: mine, whose lease I have given
                          up */
    PAXOS_RESIGNED,    /* nobody leads, or will ever lead again, at `ballot`, which is mine */
};
#define PAXOS_MESSAGE_TYPES (PAXOS_RESIGNED + 1)

/* Entries in one message at most: what a window can hold, a barrier, and the one a gap may add. */
#define PAXOS_WINDOW_MAX  256
#define PAXOS_ENTRIES_MAX (PAXOS_WINDOW_MAX + 8)

enum {
    PAXOS_F_LEADER = 1, /* NACK: I lead, at ballot `promised` */
    PAXOS_F_LEASE = 2,  /* NACK: bound by a lease or by a leader that is alive, ask again later */
    PAXOS_F_BEHIND = 4, /* NACK: you are behind my chosen watermark: fetch first */
    PAXOS_F_GAP = 8,    /* NACK: accepts must come in order; position is the first I miss */
    PAXOS_F_STREAM =
        16, /* LEARN: the accepts that follow it are on their way, so do not ask for them */
};

struct paxos_message {
    uint8_t type; /* enum paxos_message_type */
    uint8_t flags;
    uint16_t from, to; /* replica ids */
    paxos_ballot ballot;
    paxos_ballot promised;
    paxos_ballot released; /* known to lead no more, nor ever again: no lease protects it
                              (PREVOTE.., PREPARE, NACK); or 0 */
    uint64_t position;
    uint64_t chosen;
    uint64_t seq;
    uint64_t mark;   /* lease mark of the sender towards the receiver (lease.h); PROMISE, ACCEPTED,
                        CONFIRMED; 0: it does not know the receiver's node, and supports it not */
    uint64_t config; /* position of the CONFIG entry that set the sender's configuration */
    uint32_t entry_count;
    /* Borrowed for the call. In an effect the handles are lent for the call. In an event they pass
     * to the machine, which sets each to NULL in this array as it takes it, or releases it. */
    struct paxos_entry *entries;
};

enum paxos_event_type {
    PAXOS_EV_TICK, /* time passed; every 10 to 50 ms while anything is going on in the group, else
                      rarely */
    PAXOS_EV_MESSAGE, /* message: from a peer; the handles of its entries pass to the machine */
    PAXOS_EV_SYNCED,  /* lsn: all appends up to this one are on disk */
    PAXOS_EV_PROPOSE, /* only while paxos_can_propose: value, size, hash; becomes one DATA entry at
                         paxos_next_position */
    PAXOS_EV_READ, /* serving leader only (else ignored): seq, rising; answered by READ_READY once a
                    * quorum confirmed this ballot after now. A lost leadership (ROLE) answers no
                    * more reads */
    PAXOS_EV_CAMPAIGN,    /* try to become leader now (start of a single node, operator, tests) */
    PAXOS_EV_TRANSFER,    /* leader only: to = replica that should lead; ignored if it is no
                             voter, or while a CONFIG entry is unchosen */
    PAXOS_EV_RESIGN,      /* leader only: step down (slow disk, shut-down) */
    PAXOS_EV_RECONFIGURE, /* only while paxos_can_reconfigure: value (an encoded configuration),
                             size, hash; becomes one CONFIG entry at paxos_next_position. A replica
                             that stays keeps its node */
};

struct paxos_event {
    uint8_t type;
    uint64_t now;    /* ns, the lease clock */
    uint64_t random; /* fresh random bits, for back-off */
    const struct paxos_message *message;
    uint64_t lsn;
    uint64_t seq;
    uint16_t to;
    void *value;
    uint32_t size;
    uint64_t hash;
};

enum paxos_effect_type {
    PAXOS_FX_APPEND_PROMISE, /* write {promised ballot}; it is append number lsn */
    PAXOS_FX_APPEND_ENTRY,  /* write {entry, chosen}, one record; it is append number lsn; the value
                             * is lent until RELEASE or  CHOSEN. chosen may be the entry's own
                             * position (it was learned). On recovery: restore_entry, then
                             * restore_chosen(chosen) */
    PAXOS_FX_APPEND_CHOSEN, /* write {chosen}: a hint, has no lsn, needs no sync (rare: when a group
                               goes idle) */
    PAXOS_FX_SEND,   /* send message to message->to once all appends up to after_lsn are on disk (0:
                        now) */
    PAXOS_FX_CHOSEN, /* entry is chosen and next in order; apply it if valid. take_value: the handle
                        is yours now. A valid CONFIG: the machine has switched right before this
                        effect; look at paxos_config after the step */
    PAXOS_FX_RELEASE,     /* value: the machine is done with this handle */
    PAXOS_FX_ROLE,        /* role changed: see paxos_role(), paxos_leader() */
    PAXOS_FX_SERVING,     /* this leadership may serve: an entry of its own ballot is chosen and all
                             below was emitted */
    PAXOS_FX_READ_READY,  /* all reads up to seq are confirmed; serve them once applied >= position
                           */
    PAXOS_FX_SERVE_FETCH, /* peer `to` wants chosen entries from `position` to `chosen`: read them
                             from the log, send LEARN */
    PAXOS_FX_DROPPED, /* leadership lost: entries proposed by me at or above position may never be
                         chosen */
};

struct paxos_effect {
    uint8_t type;
    bool valid;      /* CHOSEN: DATA on its base; a NOOP is never valid. CONFIG: it is, or set, the
                        configuration in force; of one below paxos_config_id false, whatever it was */
    bool take_value; /* CHOSEN */
    uint16_t to;
    uint64_t lsn;
    uint64_t after_lsn;
    uint64_t position;
    uint64_t chosen;
    uint64_t seq;
    paxos_ballot promised;
    void *value;
    const struct paxos_entry *entry;     /* borrowed for the call */
    const struct paxos_message *message; /* borrowed for the call */
};

/* Where effects go, in order. May not call back into the machine. */
struct paxos_sink {
    void (*emit)(void *ctx, const struct paxos_effect *fx);
    void *ctx;
};

enum paxos_role { PAXOS_FOLLOWER, PAXOS_PRECANDIDATE, PAXOS_CANDIDATE, PAXOS_LEADER };

struct paxos_options {
    uint16_t replica;           /* mine; not in config if it was removed */
    struct paxos_config config; /* at a restart that of the restored state (the log above it brings
                                   the younger ones); ahead of the state only at birth, of a replica
                                   that has yet to reach the entry that named it */
    struct paxos_id config_id;  /* of the CONFIG entry that set it; {0, 0}: the founding one */
    struct bytes (*value_of)(void *handle); /* bytes of a CONFIG entry's value, borrowed for the
                                               step; NULL: such entries are refused as hostile */
    struct lease_table
        *leases; /* of this node, shared by all its groups; borrowed for the machine's life */
    uint64_t election_timeout_ns; /* how long without a leader's support before campaigning, plus up
                                     to as much at random */
    uint16_t preferred; /* replica that campaigns first in a group that never promised anything; 0:
                           the lowest */
    uint32_t window_entries; /* unchosen entries in flight at most (1 to PAXOS_WINDOW_MAX) */
    uint32_t window_bytes;   /* and their bytes (8 MiB); one entry is always allowed */
    uint32_t retain_bytes;   /* chosen entries kept for peers that are slightly behind (4 MiB) */
};

/* The machine. The fields are private to src/paxos (the explorer copies it whole, so it holds no
 * pointers into itself; `ring` is the caller's memory). */
struct paxos;

/* Memory is the caller's: paxos_size() bytes for the machine, and a ring of slots that can be
 * replaced by another at any time between steps. Before each step, while paxos_ring_wanted(px)
 * > the present capacity, give a larger one (power of two). */
size_t paxos_size(void);
struct paxos_slot;
size_t paxos_slot_size(void);
void paxos_init(struct paxos *px, const struct paxos_options *options, struct paxos_slot *ring,
                uint32_t capacity);
/* Capacity (a power of two) with which the next event fits; ev NULL: what is held now. At most
 * paxos_ring_max. A ring smaller than that is never unsafe: what finds no room is refused, and
 * repeated by its sender. */
uint32_t paxos_ring_wanted(const struct paxos *px, const struct paxos_event *ev);
uint32_t paxos_ring_max(const struct paxos_options *options);
/* Capacity of the smallest ring that holds what is held now. O(capacity). */
uint32_t paxos_ring_least(const struct paxos *px);
/* Moves to another ring, no smaller than paxos_ring_least; returns the old one, for the caller to
 * free. */
struct paxos_slot *paxos_ring_replace(struct paxos *px, struct paxos_slot *ring, uint32_t capacity);

/* Recovery, between paxos_init and paxos_start, in log order. `restore_applied` first: what the
 * engine has on disk. An entry at or below the applied position is ignored (its handle is released
 * through `sink`). restore_chosen: a hint from the log, true of the entries restored before it; the
 * machine emits CHOSEN for what it covers during paxos_start. */
void paxos_restore_applied(struct paxos *px, uint64_t position, struct paxos_id last_valid);
void paxos_restore_promise(struct paxos *px, paxos_ballot promised);
/* Takes the entry's handle. Emits CHOSEN for what hints cover already if room is short; before it,
 * while paxos_restore_ring_wanted > the present capacity, give a larger ring. */
void paxos_restore_entry(struct paxos *px, const struct paxos_entry *entry,
                         const struct paxos_sink *sink);
uint32_t paxos_restore_ring_wanted(const struct paxos *px, uint64_t position);
void paxos_restore_chosen(struct paxos *px, uint64_t chosen);
/* May be called repeatedly during recovery too, to emit CHOSEN for a restored prefix so that the
 * ring stays small. */
void paxos_restore_emit(struct paxos *px, const struct paxos_sink *sink);
/* After it the machine takes part. lsn_base: appends are numbered from lsn_base + 1. */
void paxos_start(struct paxos *px, uint64_t now, uint64_t random, uint64_t lsn_base,
                 const struct paxos_sink *sink);

/* A snapshot of the group's state takes the place of this replica's, which is of no use until it is
 * complete. From paxos_install_begin to paxos_installed nothing is emitted as chosen and nobody
 * campaigns; the acceptor goes on: it promises, and accepts what finds room above its watermark.
 * A leader lacks nothing and ignores both: see paxos_installing. Only outside paxos_step.
 *
 * paxos_installed, also without _begin: the state is that at `position` (chosen): jump there,
 * releasing what is below; not if that is behind. `config` and its identity are those of the
 * snapshot, taken if they are younger than the present ones. What is still missing is fetched on
 * the next tick.
 *
 * After a crash in between: paxos_restore_applied with what was applied when the installation began
 * (the log above that is still needed), paxos_restore_installing, then the log. */
void paxos_install_begin(struct paxos *px, const struct paxos_sink *sink);
void paxos_installed(struct paxos *px, uint64_t position, struct paxos_id last_valid,
                     const struct paxos_config *config, struct paxos_id config_id,
                     const struct paxos_sink *sink);
void paxos_restore_installing(struct paxos *px);

/* The one entrance. Hostile or stale messages are ignored or nacked; they never assert. */
void paxos_step(struct paxos *px, const struct paxos_event *ev, const struct paxos_sink *sink);

/* Gives back every handle still held, by RELEASE effects; the machine is dead after it. */
void paxos_deinit(struct paxos *px, const struct paxos_sink *sink);

/* Views of the state. */
enum paxos_role paxos_role(const struct paxos *px);
bool paxos_serving(const struct paxos *px); /* leader, and SERVING was emitted */
/* Serving, window not full, no transfer under way, no CONFIG entry unchosen. */
bool paxos_can_propose(const struct paxos *px, uint32_t size);
/* A leader that hands its leadership over: what is begun now may not be finished by it. */
bool paxos_transferring(const struct paxos *px);
/* Serving, no CONFIG entry unchosen, no transfer under way. Entries below may be outstanding. */
bool paxos_can_reconfigure(const struct paxos *px);
const struct paxos_config *paxos_config(const struct paxos *px); /* the newest known */
struct paxos_id paxos_config_id(const struct paxos *px);         /* of the entry that set it */
bool paxos_is_voter(const struct paxos *px); /* in it; neither learner, witness nor removed */
bool paxos_installing(const struct paxos *px);
uint64_t paxos_next_position(const struct paxos *px); /* where the next PROPOSE will go */
uint16_t
paxos_leader(const struct paxos *px); /* replica id of the leader as far as known; 0: unknown */
paxos_ballot paxos_promised(const struct paxos *px);
uint64_t paxos_chosen(const struct paxos *px);
struct paxos_id paxos_last_valid(const struct paxos *px); /* at paxos_chosen */
/* Until when (lease clock) this leader may answer reads alone; 0: not, as while a CONFIG entry is
 * unchosen. Compare with a clock read AFTER the read (PROTOCOLS 1.4). */
uint64_t paxos_lease_end(const struct paxos *px);
/* Highest position that member `replica`, of any role, is known to have accepted (leader only). */
uint64_t paxos_match(const struct paxos *px, uint16_t replica);
/* Earliest time at which a TICK could matter; UINT64_MAX: only messages matter. */
uint64_t paxos_deadline(const struct paxos *px);
/* Nothing is under way, and a TICK could matter only after a node fell silent or came back, or its
 * support ended or changed its mark (lease.h). Whoever watches the nodes need not tick until then.
 */
bool paxos_rests(const struct paxos *px, uint64_t now);
/* Counters for status and tests. */
struct paxos_stats {
    uint64_t hostile;   /* messages ignored because no honest member sends them */
    uint64_t stale;     /* messages ignored because their time has passed */
    uint64_t campaigns; /* times this replica asked for promises */
    uint64_t elected;   /* times it got them */
    uint64_t repairs;   /* gaps of peers repaired from memory */
    uint64_t fetches;   /* gaps of peers handed to the log (SERVE_FETCH) */
    uint64_t learned;   /* entries learned as chosen */
};
const struct paxos_stats *paxos_stats(const struct paxos *px);
/* Walks all invariants of the state (docs/PAXOS.md), ASSERTing each. */
void paxos_check(const struct paxos *px);

#endif
