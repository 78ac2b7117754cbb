/* Is a history linearizable? The judge of recorded runs, of the simulator and of real processes.
 *
 * A history is a list of operations on keys: what a client asked, what it was told, and when it
 * asked and was told. Each key is judged by itself (linearizability is local: Herlihy and Wing
 * 1990) against one model, a register that is absent or holds bytes; bytes that are a decimal int64
 * can be counted. That covers string keys, counters, and each field of a hash taken as a key of its
 * own.
 *
 * The search is Wing and Gong's with Lowe's cache ("Testing for linearizability", 2017), as in
 * Porcupine: linearize any operation whose call no pending return precedes, step the model, go on;
 * at a return of an operation that is not linearized yet, go back; never visit a pair (set of
 * linearized operations, state) twice. Two rules cut the tree without changing the answer:
 *
 *   C1  An answered operation whose answer says that it changed nothing (a read, a CAS that failed)
 * and is right now comes next: moved to here from later in any valid order, the order stays valid.
 * So it is never undone alone. (A write of the value that is there is no such operation: later it
 * may change something.) C2  An operation of unknown outcome is linearized only where it changes
 * the state: elsewhere it may as well be left for later, or never.
 *
 * The problem is NP-complete; `budget` bounds the work, and the verdict TOO_HARD is neither a proof
 * nor a fault. */
#ifndef SYNOD_SIM_CHECK_LINEAR_H
#define SYNOD_SIM_CHECK_LINEAR_H

#include "base/buf.h"

enum check_kind {
    CHECK_READ,   /* -> value or nil */
    CHECK_WRITE,  /* argument -> no result */
    CHECK_PUT,    /* argument -> "1": it was absent, "0" (HSET) */
    CHECK_CREATE, /* argument, if absent -> "1", else "0" (SETNX, HSETNX) */
    CHECK_SWAP,   /* argument -> the old value or nil (GETSET) */
    CHECK_CAS,    /* argument, if it is `expected` (which may be nil) -> "1", else "0" */
    CHECK_DELETE, /* -> "1": it was there, "0" */
    CHECK_TAKE,   /* deletes -> the old value or nil (GETDEL) */
    CHECK_ADD,    /* argument: a number, absent counts as 0 -> the new value (INCRBY, HINCRBY) */
    CHECK_KINDS
};

enum check_outcome {
    CHECK_OK,
    CHECK_UNKNOWN, /* no answer, or one that does not tell: it may have been done at any time after
                      the call, or never */
};
/* An operation known not to be done (an error that says so) is no part of a history: do not add it.
 */

struct check_value {
    bool there; /* false: nil */
    struct bytes bytes;
};
#define CHECK_NIL ((struct check_value){false, {NULL, 0}})

static inline struct check_value check_value(struct bytes bytes)
{
    return (struct check_value){true, bytes};
}

struct check_op {
    struct bytes key;
    uint32_t client;
    uint8_t kind, outcome;
    struct check_value argument, expected,
        result; /* those that the kind does not have are not looked at; nor `result` if UNKNOWN */
    uint64_t call, ret; /* in any one unit; ret >= call, not looked at if UNKNOWN. Equal times count
                           as overlapping */
};

enum check_verdict { CHECK_LINEARIZABLE, CHECK_VIOLATION, CHECK_TOO_HARD };

struct check_history;

struct check_history *check_new(void);
void check_free(struct check_history *h);
/* Copies all bytes. In any order. False: the operation makes no sense (ret < call, an argument
 * missing, ADD of no number) and is not in. */
bool check_add(struct check_history *h, const struct check_op *op);
size_t check_count(const struct check_history *h);
/* The i-th operation added; its bytes are borrowed until the next change. */
struct check_op check_get(const struct check_history *h, size_t i);

#define CHECK_BUDGET ((uint64_t)4000000) /* steps a key; some seconds at most */

/* Judges every key. `explanation` (may be NULL) is cleared and says, for the first key that is
 * wrong, the shortest part of its history that is, in the text format; or which key was too hard. A
 * violation of one key outweighs another that is too hard. */
enum check_verdict check_linearizable(const struct check_history *h, uint64_t budget,
                                      struct buf *explanation);

/* ---- the text format: one operation a line ----
 *
 *     CALL RETURN CLIENT KIND KEY [ARGUMENT [EXPECTED]] -> RESULT
 *
 *     120 180 3 write k hello -> ok
 *     130 150 1 cas k new old -> 1
 *     140 - 2 add k 1 -> ?              unknown outcome
 *     190 195 1 read "two words" -> nil
 *
 * Kinds: read write put create swap cas delete take add. CALL and RETURN are unsigned numbers,
 * values are words of letters, digits and
 * _.:{}+- or are quoted, with \" \\ \n \r \t \xHH inside; nil, ok, - and -> mean themselves only
 * when quoted. Empty lines and those that start with # are skipped. */
void check_write_op(const struct check_op *op, struct buf *out);
void check_write(const struct check_history *h, struct buf *out);
/* Adds the operations of `text`. False: `error` says what is wrong in which line; what came before
 * that line was added. */
bool check_read(struct check_history *h, struct bytes text, struct buf *error);

#endif
