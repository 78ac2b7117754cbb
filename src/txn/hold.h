/* What a group's leader holds back while a cut of the whole database is made (docs/SNAPSHOTS.md):
 * every reply, of reads too. It evaluates and replicates as ever. Pure; the caller says what time
 * it is (ns, never falling).
 *
 * A hold is one leadership's, of one cut, and bounded: it ends by itself after HOLD_MAX, and then
 * is never said to have lasted. After it the group rests: of any time no more than a fifth is held.
 */
#ifndef SYNOD_TXN_HOLD_H
#define SYNOD_TXN_HOLD_H

#include "base/bytes.h"

#define HOLD_MAX        (250 * 1000000ull)
#define HOLD_REST_MIN   (100 * 1000000ull)
#define HOLD_REST_TIMES 4 /* it rests for so many times as long as it was held, at least */

struct cut_hold {
    uint64_t cut; /* 0: nothing is held */
    uint64_t since, until;
    uint64_t position; /* of its SNAP, once that is applied; 0: not yet */
    struct bytes rows; /* the caller's: who is prepared or decided there (redis/cut.h) */
    bool snapped;      /* `position` and `rows` are known */
    uint64_t over;     /* the last cut that was let go of, or was called off before it came */
    uint64_t rests_until, last_ns;
    /* The caller's, before each command of a cut is evaluated. */
    uint64_t now;
    bool changes; /* the group's slots are about to change */
};

enum hold_answer {
    HOLD_IS_HELD, /* from now on, or since it was asked before */
    HOLD_BUSY,    /* for another cut */
    HOLD_RESTS,
    HOLD_CHANGES,
    HOLD_OVER /* this cut was let go of already: the request is late */
};

/* At `now` in the hold. cut: not 0. */
enum hold_answer hold_begin(struct cut_hold *h, uint64_t cut);
/* Is something held? One whose time is over ends here. */
bool hold_holds(struct cut_hold *h, uint64_t now);
/* Must this reply stay? read: it is one of a command that changed nothing. */
bool hold_keeps(struct cut_hold *h, uint64_t now, bool read);
/* The SNAP of this cut is applied. */
void hold_snapped(struct cut_hold *h, uint64_t cut, uint64_t position, struct bytes rows);
/* Was it held for this cut all the time since hold_begin, until `now` in the hold, with its SNAP
 * applied in between? */
bool hold_lasted(struct cut_hold *h, uint64_t cut);
/* Lets go, if it is held for this cut; it will not be held for it again. */
void hold_end(struct cut_hold *h, uint64_t cut, uint64_t now);
/* The leadership is over. */
void hold_lost(struct cut_hold *h, uint64_t now);

#endif
