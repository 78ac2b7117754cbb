/* A try of a transaction over several groups, as its coordinator sees it: an event in, effects out
 * (docs/TXN.md). Pure: no clock, memory, or message of its own; whoever drives it carries the
 * effects out and says what became of each.
 *
 * Two-phase commit in which no role is a process: who is prepared is a row of its group, what was
 * decided is a row of the anchor's, and each is written by the group's log. So the coordinator may
 * vanish at any point: what is not decided by then is decided by whoever asks the anchor
 * (Gray and Lamport, "Consensus on Transaction Commit", 2006, section 3: the coordinator's decision
 * replicated).
 *
 *   LOCK all -> EVALUATE (-> LOCK more, EVALUATE ...) -> which groups are written to?
 *   (an open one: begins with no parts, EVALUATING, and gets them by and by)
 *     none   HOLDS all                                                 -> answer
 *     one    HOLDS the others -> APPLY                                 -> answer
 *     more   PREPARE them, HOLDS the others -> DECIDE at the anchor    -> answer
 *            -> FINISH the other prepared ones -> FORGET at the anchor
 * Whatever goes wrong before APPLY or DECIDE is sent ends in FINISH without commit for all. An
 * effect on a part replaces what was asked of it before: events are of the last one only. */
#ifndef SYNOD_TXN_TXN_H
#define SYNOD_TXN_TXN_H

#include <stdbool.h>
#include <stdint.h>

enum txn_phase {
    TXN_LOCKING,
    TXN_EVALUATING,
    TXN_VOTING,
    TXN_APPLYING,
    TXN_DECIDING,
    TXN_FINISHING,
    TXN_FORGETTING,
    TXN_OVER
};

struct txn_part { /* one group's */
    bool writes;  /* set by whoever evaluates */
    bool open;    /* something is asked of it, and not answered */
};

enum txn_outcome { TXN_COMMITTED, TXN_ABORTED, TXN_UNKNOWN };

struct txn {
    struct txn_part *part; /* the caller's, `count` of them */
    uint32_t count;
    uint8_t phase;
    bool answered;
    bool in_doubt; /* a DECIDE or APPLY may have been done, and nobody said so */
    bool commits;  /* FINISHING, FORGETTING */
    uint32_t anchor;
    uint32_t open; /* parts that are */
};

enum txn_event_type {
    TXN_EV_BEGIN,
    TXN_EV_MORE,      /* EVALUATE: part i must be locked, or read, further; others may follow */
    TXN_EV_EVALUATED, /* EVALUATE: part[].writes is set */
    TXN_EV_REFUSED,   /* EVALUATE: it cannot be done; no answer is given by this machine */
    TXN_EV_YES,    /* LOCK, HOLDS, PREPARE, APPLY, FINISH, FORGET of part i: done. DECIDE: commit */
    TXN_EV_NO,     /* the same: certainly not done, nor will it be. DECIDE: there is no such one */
    TXN_EV_FAILED, /* certainly not done, but might be if it is asked again */
    TXN_EV_LOST,   /* nobody knows whether it was done */
    TXN_EV_GIVE_UP, /* it takes too long. Not while an APPLY or DECIDE may be on its way */
};
struct txn_event {
    uint8_t type;
    uint32_t part;
};

enum txn_effect_type {
    TXN_FX_LOCK,
    TXN_FX_EVALUATE,
    TXN_FX_HOLDS,
    TXN_FX_PREPARE,
    TXN_FX_APPLY,
    TXN_FX_DECIDE,
    TXN_FX_FINISH, /* commit */
    TXN_FX_FORGET,
    TXN_FX_AGAIN,  /* what was last asked of this part, once more, after a while */
    TXN_FX_ANSWER, /* outcome */
    TXN_FX_OVER,   /* nothing is open any more: the machine may go. The last effect */
};
struct txn_effect {
    uint8_t type, outcome;
    bool commit;
    uint32_t part;
};
typedef void txn_sink(void *ctx, const struct txn_effect *fx);

void txn_init(struct txn *t, struct txn_part *part, uint32_t count);
/* Of a transaction whose commands come one by one: EVALUATING, without any part. */
void txn_init_open(struct txn *t);
/* While EVALUATING: it has more parts from now on. Those that it had stand first in `part`, which
 * replaces the old array; the others are new. */
void txn_grow(struct txn *t, struct txn_part *part, uint32_t count);
void txn_step(struct txn *t, const struct txn_event *ev, txn_sink *sink, void *ctx);

#endif
