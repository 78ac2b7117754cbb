/* Effects: what a command changes, as bytes. A log entry's value is a sequence of them
 * (docs/FORMAT.md); followers apply them blindly.
 *
 *   op:1 then  PUT: key blob, value blob · DEL: key blob · TRASH: prefix blob · WIPE: nothing ·
 *              COUNT: slot:2, zigzag varint · SPLIT: group:4, at:2, config blob
 *
 * (blob: LEB128 length, bytes.) Counts travel as differences, never as sums. A SPLIT is alone in
 * its entry; it names the new group's configuration, for replicas may know a later one by then. */
#ifndef SYNOD_SHARD_EFFECTS_H
#define SYNOD_SHARD_EFFECTS_H

#include "base/buf.h"

enum effect_op {
    EFFECT_PUT = 1,
    EFFECT_DEL,
    EFFECT_TRASH,
    EFFECT_WIPE,
    EFFECT_COUNT,
    EFFECT_SPLIT
};

struct effect {
    uint8_t op;
    uint16_t slot; /* SPLIT: where the new group begins */
    uint32_t group;
    int64_t delta;
    struct bytes key, value; /* TRASH: key is the prefix; SPLIT: value is the configuration */
};

void effects_put(struct buf *out, struct bytes key, struct bytes value);
void effects_del(struct buf *out, struct bytes key);
void effects_trash(struct buf *out, struct bytes prefix);
void effects_wipe(struct buf *out);
void effects_count(struct buf *out, uint16_t slot, int64_t delta);
void effects_split(struct buf *out, uint32_t group, uint16_t at, struct bytes config);

/* Reads the next effect: 1; 0 at the end; -1 malformed. Slices borrow from the reader's bytes. */
int effects_next(struct reader *r, struct effect *e);

#endif
