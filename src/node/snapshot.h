/* Reading a snapshot on a node that has it: a range of its slots, piece by piece, for
 * whoever computes on it (docs/SNAPSHOTS.md). A stream is one reader's. */
#ifndef SYNOD_NODE_SNAPSHOT_H
#define SYNOD_NODE_SNAPSHOT_H

#include "node/node.h"
#include "redis/cut.h"

/* Into how many ranges a part is divided if the whole snapshot is to be about `wanted`: the same
 * for all who ask. And the k-th: [*lo, *hi). */
uint32_t snapshot_pieces(const struct cut_snapshot_part *p, int64_t wanted);
void snapshot_range(const struct cut_snapshot_part *p, uint32_t pieces, uint32_t k, uint16_t *lo,
                    uint16_t *hi);
/* Nodes that have a replica with data of the group, as far as is known; the leader, which has most
 * to do, last. At most PAXOS_MEMBERS_MAX. */
uint32_t snapshot_holders(struct node *n, uint32_t group, uint16_t *node);

struct snapshot_stream;

/* Opens the slots [slot_lo, slot_hi), which are of one group's part of the cut. `done` is called
 * once on the reactor, perhaps before this returns: with a stream, or with NULL and an error
 * ("NOSNAPSHOT
 * ...": this node has not got them, another replica may; "TRYAGAIN ..."), borrowed for the call.
 * Not called if the node ends first. The reactor's. */
void snapshot_open(struct node *n, uint64_t cut, uint16_t slot_lo, uint16_t slot_hi,
                   void (*done)(void *ctx, struct snapshot_stream *s, const char *error),
                   void *ctx);
/* The reactor's, when nobody reads. The stream need not have ended. */
void snapshot_close(struct snapshot_stream *s);

enum snapshot_result {
    SNAPSHOT_PIECE,       /* and there may be more */
    SNAPSHOT_END,         /* a piece, the last one */
    SNAPSHOT_E_IO,        /* the store failed to read: what was given is not all */
    SNAPSHOT_E_TOO_LARGE, /* a value is larger than the piece may hold: likewise */
};
#define SNAPSHOT_VALUE_MAX (64u << 20)

/* A piece: what cut_read (redis/cut.h) finds from *place on, where it begins at
 * cut_place_of_slot(slot_lo) or where the last one ended; SNAPSHOT_END: *place is CUT_PLACE_END
 * now. Keys that had expired are not given. Blocks for the disk: on any thread, one at a time. */
enum snapshot_result snapshot_piece(struct snapshot_stream *s, uint64_t *place,
                                    const struct cut_reading *what, struct buf *records);

#endif
