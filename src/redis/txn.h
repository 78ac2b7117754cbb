/* A group's part in a transaction over several groups (docs/TXN.md): what its coordinator asks of
 * the group's leader, as commands that are evaluated over a view like any other. What must survive
 * the leader is a row of the group's own (shard/keys.h), so it is replicated, moved and restored as
 * all rows are; what need not is in the leader's lock table (shard/locks.h).
 *
 *   LOCK txn start token lo hi reverse watches items  locks items (or waits: txn_admits), then
 *                                          bulk: token:8, now_ms:8, newest start that was asked
 *                                          with here:8, rows (shard/rows.h); nil: what is watched
 *                                          was written to
 *   HOLDS txn token                        OK: all is still locked
 *   APPLY txn token effects items          the only group that writes: done, and over
 *   PREPARE txn token record               writes the row: now only its anchor's word ends it
 *   DECIDE txn                             at the anchor, which is prepared: commits. 1, or 0: no
 *                                          such transaction (any more)
 *   FINISH txn commit                      what was prepared is done (1), or let go of (0)
 *   PREPARED txn                           2: prepared. 1: decided, at the anchor: commit. 0: it is
 *                                          not prepared here (any more), nor will it be
 *   RESOLVE txn                            at the anchor, once somebody is known not to be
 *                                          prepared. 1: commit, as was decided before. 0: aborted
 *                                          now, for good. -1: nothing is known of it, nor will be
 *   FORGET txn txn ...                     (one argument) at the anchor: everybody knows
 *   STATE txn                              a state (below), or nil: nothing is known of it here
 *
 * txn: who:8 seq:8; numbers little-endian. lo, hi, reverse: a range to read (lo empty: none; hi
 * empty: for each item the key's meta row). An answer -TXNLOST says that the leader does not have
 * the owner with this token (any more): it was wounded, or the leader is another one.
 *
 * Record: state:1 ('P', 'D'), start:8, anchor:4, count (LEB128), count times group:4 (who is
 * prepared, the anchor among them), and of a P items (blob; shard/locks.h), effects (blob). */
#ifndef SYNOD_REDIS_TXN_H
#define SYNOD_REDIS_TXN_H

#include "redis/command.h"
#include "ring/slot.h"
#include "shard/locks.h"

#define TXN_LOST        "TXNLOST the transaction holds no locks here any more"
#define TXN_OBJIDS      (1ull << 63) /* of objects that a coordinator makes; real ones come later */
#define TXN_ROWS        (1u << 20)   /* bytes of rows in an answer, or so */
#define TXN_OBJECTS_MAX 0x7fffu      /* in one group: an entry may have twice as many */

struct txn_record {
    uint8_t state; /* TXN_PREPARED, TXN_DECIDED */
    uint64_t start;
    uint32_t anchor, count;
    struct bytes groups; /* count times u32 */
    struct bytes items, effects;
};
enum { TXN_PREPARED = 'P', TXN_DECIDED = 'D' };

/* What a group has of a transaction: state:1 (enum lock_state), start:8, and of one that is not
 * open anchor:4, group:4 of each that is prepared. */
struct txn_state {
    uint8_t state;
    uint64_t start;
    uint32_t anchor;
    struct bytes groups;
};
bool txn_state_get(struct bytes in, struct txn_state *s); /* false: malformed */

void txn_record_put(struct buf *out, const struct txn_record *r);
bool txn_record_get(struct bytes in, struct txn_record *r); /* false: malformed */

void txn_put_id(struct buf *out, struct txn_id id);
bool txn_get_id(struct bytes in, struct txn_id *id);
/* The same of a row's key, where it is one. */
bool txn_row_id(struct bytes engine_key, struct txn_id *id);

/* Of a LOCK: the age of the transaction. */
static inline uint64_t txn_start(const struct cmd_args *lock)
{
    struct reader r = reader_of(lock->v[3]);
    return reader_u64(&r);
}
/* Does what a transaction has prepared. False: the view missed. */
bool txn_take_effects(struct view *v, struct bytes effects);

/* Is it one of the commands above? */
static inline bool txn_is(const struct command *c)
{
    return c->flags & CMD_GROUP;
}
/* How a command needs its keys. */
static inline enum lock_mode txn_mode(const struct command *c)
{
    return c->flags & CMD_WRITE ? LOCK_EXCLUSIVE : LOCK_SHARED;
}
/* Of what is locked. */
static inline uint16_t txn_slot(enum lock_mode mode, struct bytes key)
{
    return mode == LOCK_RECORD ? be16_get(key.data) : slot_of(key);
}
/* The key of the row of the engine that the command is about, beside its keys: the row of a token
 * (redis/once.h), or of a job (redis/job.h). A transaction locks it as a LOCK_RECORD, and a command
 * of one group waits for it. False: none. */
bool txn_row(const struct command *c, const struct cmd_args *a, struct buf *out);
/* May the command be evaluated now, or must it wait for locks? A LOCK takes what it asks for. False
 * too where what it asks for is not in slots [slot_lo, slot_hi). */
bool txn_admits(struct locks *l, const struct command *c, const struct cmd_args *a, uint64_t now);
/* It was evaluated, and nothing can undo that but the loss of the leadership. */
void txn_evaluated(struct locks *l, const struct command *c, const struct cmd_args *a,
                   uint64_t now);
/* The position that must be chosen before the answer may leave, when what the command read was
 * written by `saw` at the latest. What a LOCK tells leaves at once: its owner remembers what it
 * saw, and is not said to hold before that is chosen (HOLDS); and who writes does so above it. */
uint64_t txn_saw(struct locks *l, const struct command *c, const struct cmd_args *a, uint64_t saw);
/* Keys that an evaluated command has changed (for WATCH); nothing for other commands. Call it
 * before txn_evaluated. */
void txn_written(const struct locks *l, const struct command *c, const struct cmd_args *a,
                 void (*each)(void *ctx, struct bytes key), void *ctx);

void txn_lock(struct view *v, const struct cmd_args *a, struct reply *out);
void txn_holds(struct view *v, const struct cmd_args *a, struct reply *out);
void txn_apply(struct view *v, const struct cmd_args *a, struct reply *out);
void txn_prepare(struct view *v, const struct cmd_args *a, struct reply *out);
void txn_decide(struct view *v, const struct cmd_args *a, struct reply *out);
void txn_finish(struct view *v, const struct cmd_args *a, struct reply *out);
void txn_prepared(struct view *v, const struct cmd_args *a, struct reply *out);
void txn_resolve(struct view *v, const struct cmd_args *a, struct reply *out);
void txn_forget(struct view *v, const struct cmd_args *a, struct reply *out);
void txn_state(struct view *v, const struct cmd_args *a, struct reply *out);

#endif
