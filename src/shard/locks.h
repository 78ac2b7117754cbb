/* Who has which keys of a group locked: transactions over several groups, in the memory of the
 * group's leader (docs/TXN.md). Commands of one group hold no locks; they only ask whether a key is
 * free, and wait holding nothing.
 *
 * An owner is *open* while its coordinator still collects locks and evaluates, *prepared* once its
 * Prepared record is evaluated (its locks then follow from that record, and outlive the leader), or
 * *decided*: the anchor keeps its decision, and it has no locks any more.
 *
 * Deadlock is avoided by wound-wait: whoever meets an open owner that began later ends it, and
 * takes its keys; whoever meets one that began earlier, or is prepared, waits. A prepared owner
 * waits for nothing. "Earlier" is (start, id), which a transaction keeps when it is tried again.
 *
 * Iteration depends on the history of calls alone. All bytes are copied. */
#ifndef SYNOD_SHARD_LOCKS_H
#define SYNOD_SHARD_LOCKS_H

#include "base/buf.h"
#include "base/map.h"

/* A try of a transaction: never used twice. who: its coordinator's node << 48 | that node's
 * incarnation (its lower 48 bits). */
struct txn_id {
    uint64_t who, seq;
};
static inline uint16_t txn_node(struct txn_id t)
{
    return (uint16_t)(t.who >> 48);
}
static inline bool txn_equal(struct txn_id a, struct txn_id b)
{
    return a.who == b.who && a.seq == b.seq;
}

/* RECORD: exclusive too, of no user's key but of a row of the engine, which is named by its key. */
enum lock_mode { LOCK_SHARED, LOCK_EXCLUSIVE, LOCK_RECORD };
enum lock_state { LOCK_OPEN, LOCK_PREPARED, LOCK_DECIDED };

struct lock; /* of one key, by one owner */

struct lock_owner {
    struct txn_id id;
    uint64_t start; /* of its first try: who is older wins */
    uint64_t token; /* this owner's, and no other's in this table's life; never 0 */
    uint64_t at;    /* when it last did something (the caller's clock) */
    uint64_t sees;  /* OPEN: position of the last entry that it read of (the caller's; 0: none) */
    uint8_t state;
    struct bytes record; /* PREPARED, DECIDED: the record's bytes, the owner's copy */
    struct lock *locks;
    struct lock_owner *next, *previous; /* in struct locks, in the order in which they began */
    struct lock_owner *same;            /* the next one whose id has this one's hash */
};

struct locks {
    struct lock_owner *first, *last; /* all owners */
    struct map ids;                  /* the owners, by a hash of their id */
    uint32_t owners;
    uint32_t held; /* locks, of all owners. 0: every key is free */
    struct lock **bucket;
    uint32_t mask;
    uint64_t newest; /* the greatest start that was asked with: the caller's (redis/txn.h) */
    uint64_t tokens; /* the last one given */
};

/* {0} is empty. */
void locks_clear(struct locks *l); /* the leadership is over: everybody is forgotten */

struct lock_owner *locks_find(const struct locks *l, struct txn_id id); /* NULL: not there */

enum locks_result { LOCKS_TAKEN, LOCKS_WAIT };

/* Items: a lock_mode (1), a key (blob), and again. False: malformed (a row's key has its slot at
 * least). */
bool locks_items_sound(struct bytes items);
void locks_put_item(struct buf *out, enum lock_mode mode, struct bytes key);
/* Visits them; items are sound. */
void locks_items(struct bytes items, void (*each)(void *ctx, enum lock_mode mode, struct bytes key),
                 void *ctx);

/* All items for this owner, which is begun if it is not there, or none of them: WAIT, if one of
 * them conflicts with a prepared owner or an older open one. Younger open ones in the way are
 * dropped. Having a key in a mode already is fine; to have it exclusively after shared is a new
 * lock, that conflicts with other sharers. A new owner gets the next token, and `start`; an old one
 * keeps its own. On WAIT nothing changes, and nobody is dropped. */
enum locks_result locks_take(struct locks *l, struct txn_id id, uint64_t start, struct bytes items,
                             uint64_t now);
/* After a change of leader: an owner as a Prepared record tells (its items cannot conflict), or a
 * decision (items empty). */
struct lock_owner *locks_restore(struct locks *l, struct txn_id id, uint64_t start,
                                 enum lock_state state, struct bytes items, struct bytes record,
                                 uint64_t now);
/* An open owner becomes prepared, or a prepared one decided (its locks are let go of). */
void locks_advance(struct locks *l, struct lock_owner *o, enum lock_state state,
                   struct bytes record, uint64_t now);
void locks_drop(struct locks *l, struct lock_owner *o);

/* Would a command that reads (or, exclusive, writes) the key meet somebody's lock? */
bool locks_bar(const struct locks *l, struct bytes key, enum lock_mode mode);

void locks_check(const struct locks *l); /* asserts what must hold */

#endif
