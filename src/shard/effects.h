/* Effects: what a command changes, as bytes. A log entry's value is a sequence of them
 * (docs/FORMAT.md); followers apply them blindly.
 *
 *   op:1 then  PUT: key blob, value blob · DEL: key blob · TRASH: prefix blob · WIPE: nothing ·
 *              COUNT: slot:2, zigzag varint · SPLIT: group:4, at:2, config blob ·
 *              SEAL: on:1 · MERGE: group:4, sealed:8 · SNAP: cut:8, ttl_ms:8
 *
 * (blob: LEB128 length, bytes.) Counts travel as differences, never as sums. SPLIT, SEAL and MERGE
 * are alone in their entries. A SPLIT names the new group's configuration, for replicas may know a
 * later one by then. SNAP changes nothing: each replica keeps the state behind its entry, for a
 * snapshot (docs/SNAPSHOTS.md). */
#ifndef SYNOD_SHARD_EFFECTS_H
#define SYNOD_SHARD_EFFECTS_H

#include "base/buf.h"

enum effect_op {
    EFFECT_PUT = 1,
    EFFECT_DEL,
    EFFECT_TRASH,
    EFFECT_WIPE,
    EFFECT_COUNT,
    EFFECT_SPLIT,
    EFFECT_SEAL,
    EFFECT_MERGE,
    EFFECT_SNAP
};

struct effect {
    uint8_t op;
    uint16_t slot; /* SPLIT: where the new group begins */
    uint32_t group;
    uint64_t sealed; /* MERGE: where the other group was sealed; SEAL: 1, or 0 to open it again */
    uint64_t cut;    /* SNAP */
    uint64_t ttl_ms; /* SNAP; 0: what was kept for it is let go of */
    int64_t delta;
    struct bytes key, value; /* TRASH: key is the prefix; SPLIT: value is the configuration */
};

void effects_put(struct buf *out, struct bytes key, struct bytes value);
void effects_del(struct buf *out, struct bytes key);
void effects_trash(struct buf *out, struct bytes prefix);
void effects_wipe(struct buf *out);
void effects_count(struct buf *out, uint16_t slot, int64_t delta);
void effects_split(struct buf *out, uint32_t group, uint16_t at, struct bytes config);
void effects_seal(struct buf *out, bool on);
void effects_merge(struct buf *out, uint32_t group, uint64_t sealed);
void effects_snap(struct buf *out, uint64_t cut, uint64_t ttl_ms);

static inline bool effect_is_alone(const struct effect *e)
{
    return e->op >= EFFECT_SPLIT && e->op <= EFFECT_MERGE;
}

/* Reads the next effect: 1; 0 at the end; -1 malformed. Slices borrow from the reader's bytes. */
int effects_next(struct reader *r, struct effect *e);

#endif
