/* A cut of the whole database, as its coordinator makes it: an event in, effects out
 * (docs/SNAPSHOTS.md). Pure, as txn/txn.h is.
 *
 *   FREEZE all groups -> all are held, and their slots are all slots, each once
 *   -> SNAP in each group's log -> all are chosen
 *   -> RESUME: each says that it held all the time, and lets go -> MADE
 *
 * Anything else makes the attempt VOID: all are told to let go, and to drop what they keep. An
 * attempt has an id that no other has, so what is late means nothing. A coordinator that dies
 * leaves holds, which run out, and states that are kept, which have a time of their own.
 *
 * What is prepared in the cut (Gray and Lamport, "Consensus on Transaction Commit", 2006, as
 * docs/TXN.md has it): a transaction is in it if the cut has its decision, or a record of it in
 * every group that it writes to (cut_resolve). */
#ifndef SYNOD_TXN_CUT_H
#define SYNOD_TXN_CUT_H

#include <stdbool.h>
#include <stdint.h>

enum cut_phase { CUT_FREEZING, CUT_SNAPPING, CUT_RESUMING, CUT_OVER };

struct cut_part {              /* one group's */
    bool open;                 /* something is asked of it, and not answered */
    uint16_t slot_lo, slot_hi; /* set by whoever drives it, before the YES to FREEZE */
};

struct cut {
    struct cut_part *part; /* the caller's, `count` of them */
    uint32_t count, open;
    uint8_t phase;
    bool failed;
};

enum cut_event_type {
    CUT_EV_BEGIN,
    CUT_EV_YES, /* part i: it is frozen; its SNAP is chosen; it held all the time */
    CUT_EV_NO,  /* not so, or nobody knows */
    CUT_EV_LATE /* it takes too long */
};

enum cut_effect_type {
    CUT_FX_FREEZE,
    CUT_FX_SNAP,
    CUT_FX_RESUME,
    CUT_FX_LET_GO, /* its answer is for nobody. kept: a SNAP may be in its log */
    CUT_FX_MADE,   /* the last effect, or: */
    CUT_FX_VOID
};
struct cut_effect {
    uint8_t type;
    bool kept;
    uint32_t part;
};
typedef void cut_sink(void *ctx, const struct cut_effect *fx);

/* Parts stand in the order of their slots. */
void cut_init(struct cut *c, struct cut_part *part, uint32_t count);
/* Events after the last effect mean nothing. */
void cut_step(struct cut *c, uint8_t event, uint32_t part, cut_sink *sink, void *ctx);

/* Who is prepared or decided in a group's part of the cut. */
struct cut_row {
    uint64_t who, seq; /* the transaction */
    uint32_t group;
    bool decided;
    uint32_t writers;      /* groups that it writes to, */
    const uint8_t *groups; /* each u32 little-endian */
    bool in;               /* set by cut_resolve */
};
/* Says of each row whether its transaction is in the cut. Rows of one transaction stand together.
 */
void cut_resolve(struct cut_row *row, uint32_t count);

#endif
