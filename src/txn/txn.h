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
 *   LOCK all -> EVALUATE (-> LOCK more, EVALUATE ...) -> HOLDS at the groups that are only read
 *   (an open one: begins with no parts, EVALUATING, and gets them by and by)
 *     none is written to                                               -> answer
 *     one:  APPLY there                                                -> answer
 *     more: PREPARE at all of them                                     -> answer
 *           -> DECIDE at the anchor -> FINISH the others -> FORGET at the anchor
 *
 * Of several that write it is committed as soon as all are prepared: each Prepared is chosen by its
 * group, whatever becomes of the coordinator (Paxos Commit, section 4 there). DECIDE only writes
 * that down in one place. So once a PREPARE is on its way, only who knows of one that is not
 * prepared, nor ever will be, may end it otherwise. An effect on a part replaces what was asked of
 * it before: events are of the last one only.
 *
 * A PREPARE whose answer is lost is asked about: PREPARED, which also keeps one that is not from
 * ever being it. If it is not, somebody else may have finished the whole: the anchor is asked to
 * RESOLVE it; and if that knows nothing, it is ended for certain only if somebody is prepared after
 * that (for a decision is kept until all have finished). */
#ifndef SYNOD_TXN_TXN_H
#define SYNOD_TXN_TXN_H

#include <stdbool.h>
#include <stdint.h>

enum txn_phase {
    TXN_LOCKING,
    TXN_EVALUATING,
    TXN_HOLDING,
    TXN_VOTING,
    TXN_RESOLVING,
    TXN_WITNESSING, /* is somebody prepared, after the anchor knew nothing? */
    TXN_APPLYING,
    TXN_DECIDING,
    TXN_FINISHING,
    TXN_OVER
};

struct txn_part {  /* one group's */
    bool writes;   /* set by whoever evaluates */
    bool open;     /* something is asked of it, and not answered */
    bool prepared; /* it has said so */
    bool lost;     /* the answer to its PREPARE */
};

enum txn_outcome { TXN_COMMITTED, TXN_ABORTED, TXN_UNKNOWN };

struct txn {
    struct txn_part *part; /* the caller's, `count` of them */
    uint32_t count;
    uint8_t phase;
    bool answered;
    bool in_doubt; /* one whose answer was lost is not prepared: it never was, or has finished */
    bool commits;  /* FINISHING */
    /* Of those that write the one whose locks were given last, for its keys are likeliest to be
     * wanted by others: they are free once it decides, the others' a consensus round later. */
    uint32_t anchor;
    uint32_t open; /* parts that are */
};

enum txn_event_type {
    TXN_EV_BEGIN,
    TXN_EV_MORE,      /* EVALUATE: part i must be locked, or read, further; others may follow */
    TXN_EV_EVALUATED, /* EVALUATE: part[].writes is set */
    TXN_EV_REFUSED,   /* EVALUATE: it cannot be done; no answer is given by this machine */
    TXN_EV_YES,       /* what was asked of part i is done. PREPARED: it is. RESOLVE: commit */
    TXN_EV_NO,      /* certainly not done, nor will it be. DECIDE: there is no such one (any more).
                       RESOLVE: it was ended now */
    TXN_EV_NONE,    /* RESOLVE: nothing is known of it */
    TXN_EV_FAILED,  /* certainly not done, but might be if it is asked again */
    TXN_EV_LOST,    /* nobody knows whether it was done */
    TXN_EV_GIVE_UP, /* it takes too long. Not while an APPLY may be on its way */
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
    TXN_FX_PREPARED,
    TXN_FX_RESOLVE,
    TXN_FX_APPLY,
    TXN_FX_DECIDE,
    TXN_FX_FINISH, /* commit */
    TXN_FX_FORGET, /* at the part, its anchor, some time: no event comes of it */
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
