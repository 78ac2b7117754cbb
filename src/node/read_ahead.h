/* Rows of a state that is kept for a snapshot, read many at once. Whoever walks keys and, at each
 * key, the elements of a collection, asks for a range for each; to open the engine for every one of
 * them costs ten times what the rows do. So a walk reads ahead, whole slots, and what is asked
 * within a walk is mostly there already. One thread at a time. */
#ifndef SYNOD_NODE_READ_AHEAD_H
#define SYNOD_NODE_READ_AHEAD_H

#include "base/buf.h"
#include "store/space.h"

/* Each reading begins with a seek, which passes over all that was written since the snapshot; but
 * what is much larger than a processor's cache is written to memory and read from there again. */
#define READ_AHEAD_BYTES     (1u << 20) /* then to the end of the slot, but for: */
#define READ_AHEAD_BYTES_MAX (2u << 20)

struct read_ahead_row {
    uint32_t at, key_size, value_size; /* in `rows`: the key, then the value */
};

struct read_ahead {
    const struct space_pin *state;
    struct buf lo, hi; /* all rows of [lo, hi) are here */
    struct buf rows;
    struct read_ahead_row *row;
    uint32_t count, capacity;
    uint32_t next; /* the row behind those of the last visit */
    bool walks;    /* a walk is under way: its rows stay */
};

void read_ahead_free(struct read_ahead *a);
/* As space_pin_range. */
enum engine_result read_ahead_range(struct read_ahead *a, struct bytes lo, struct bytes hi,
                                    bool (*each)(void *ctx, struct bytes key, struct bytes value),
                                    void *ctx);

#endif
