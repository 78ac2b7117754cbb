/* How a group's state is laid out as ordered keys (docs/FORMAT.md, "Engine keys"). All of a slot's
 * keys are one range, so that a group, a slot that moves, a snapshot and a drop are ranges.
 *
 *   slot 0 0x01 suffix              a row of the cluster map: group 0 alone has them
 *   slot:2 0x02 who:8 seq:8         a transaction's record (redis/txn.h), in the group's first slot
 *   slot 0 0x03 suffix              scripts and functions (redis/script.h): group 0 alone
 *   slot 0 0x04 suffix              jobs (redis/job.h): group 0 alone. A wipe forgets them
 *   slot:2 'm' h48:6 key            meta: type, expiry, and a string's bytes or a collection's head
 *                                   (redis/object.h)
 *   slot:2 'o' token                what was answered to the request with this token (redis/once.h)
 *   slot:2 's' objid:8 member       an element of a collection
 *   slot:2 'x' ms:8 key             to be expired at ms (present exactly while the meta of key has
 *                                   this expiry)
 *   slot:2 'y' ms:8 token           the same for the answer to this token
 *   0xffff 'a' group:4              a replica's applied record (shard/birth.h)
 *
 * Meta comes before whatever else many slots have: SCAN relies on it. Numbers are big-endian. h48:
 * the upper 48 bits of hash64(key, 0): SCAN goes in hash order, which makes its cursor stateless.
 * objid: (the group's objid_base + the position of the creating entry)
 * << 16 | a count within it; unique in the slot for ever. */
#ifndef SYNOD_SHARD_KEYS_H
#define SYNOD_SHARD_KEYS_H

#include "base/buf.h"

#define KEYS_SYSTEM      0x01
#define KEYS_TXN         0x02
#define KEYS_SCRIPT      0x03
#define KEYS_JOB         0x04
#define KEYS_META        'm'
#define KEYS_ONCE        'o'
#define KEYS_SUB         's'
#define KEYS_EXPIRY      'x'
#define KEYS_ONCE_EXPIRY 'y' /* the next one: both are swept together */
#define KEYS_APPLIED     'a'
#define KEYS_RECORDS     0xffff /* in place of a slot: behind them all */

#define KEYS_SYSTEM_HEAD 3
#define KEYS_META_HEAD   9  /* bytes before the user's key in a meta key */
#define KEYS_SUB_HEAD    11 /* bytes before the member in a sub key, and the size of a sub prefix */
#define KEYS_EXPIRY_HEAD 11 /* of both kinds */
#define KEYS_TXN_HEAD    3
#define KEYS_ONCE_HEAD   3

/* Each clears `out` and writes one key. */
void keys_meta(struct buf *out, uint16_t slot, struct bytes key);
void keys_sub(struct buf *out, uint16_t slot, uint64_t objid,
              struct bytes member); /* member empty: the prefix of the object */
void keys_expiry(struct buf *out, uint16_t slot, uint64_t ms, struct bytes key);
void keys_once(struct buf *out, uint16_t slot, struct bytes token);
void keys_once_expiry(struct buf *out, uint16_t slot, uint64_t ms, struct bytes token);
void keys_system(struct buf *out, struct bytes suffix);
void keys_txn(struct buf *out, uint16_t slot, uint64_t who, uint64_t seq);
void keys_applied(struct buf *out, uint32_t group);
uint32_t keys_applied_group(struct bytes key); /* UINT32_MAX: no such key */
/* Start of everything of `slot`, or of one kind in it. slot may be SLOT_COUNT: the end of all
 * slots. */
void keys_slot(struct buf *out, uint16_t slot);
void keys_kind(struct buf *out, uint16_t slot, uint8_t kind);
uint64_t keys_h48(struct bytes key);
/* First possible meta key of `slot` with hash >= h48. */
void keys_meta_from(struct buf *out, uint16_t slot, uint64_t h48);

static inline bool keys_is_system(struct bytes engine_key)
{
    return engine_key.size >= KEYS_SYSTEM_HEAD && be16_get(engine_key.data) == 0 &&
           engine_key.data[2] == KEYS_SYSTEM;
}
static inline struct bytes keys_user(struct bytes engine_key, size_t head)
{
    return (struct bytes){engine_key.data + head, engine_key.size - head};
}

#endif
