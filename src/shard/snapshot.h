/* Snapshots: one replica's state at a position, whole, as chunks of sorted keys for another replica
 * of the group (docs/FORMAT.md, "Snapshot"; PROTOCOLS 1.5).
 *
 * The source is the engine's state at shard->flushed, which an iterator keeps: the shard goes on
 * applying and flushing, and may be freed. The header is the applied record of that state.
 *
 * The target replaces what the replica's engine holds. INV-SNAPSHOT-1: at any moment the engine has
 * one of three: the replica's old state; the INSTALLING marker, and any part of anything in the
 * slots; the new state with its LIVE record. The marker comes with the wipe in one ingest, the
 * record with the last keys in one. After a crash in between, begin again: the wipe forgives all.
 *
 * INV-SNAPSHOT-2: a replica never goes back: the snapshot's position is not below what the replica
 * had applied or knows chosen, also when it is only a marker that remembers that. Its log need not
 * have what lies below any more, and an acceptor that forgot an accepted entry could let it be
 * chosen differently.
 *
 * One call may be under way on each object; its `done` comes on the reactor, never from inside the
 * call, and may free the object. Threading: the reactor's; reading, checking and ingesting are the
 * pool's. */
#ifndef SYNOD_SHARD_SNAPSHOT_H
#define SYNOD_SHARD_SNAPSHOT_H

#include "shard/shard.h"

#define SNAPSHOT_CHUNK     (960u << 10) /* bytes of a chunk, before the last pair is added */
#define SNAPSHOT_CHUNK_MAX (64u << 20)  /* what a target takes: a pair may be large */
#define SNAPSHOT_GATHER    (16u << 20)  /* a target ingests so much at once */

/* ---- source ---- */

struct snapshot_out;

/* The state at s->flushed. NULL: not now (a flush runs, a newborn waits for its flush, the shard is
 * no state itself), or the engine failed. What was applied since is the log's to bring. */
struct snapshot_out *snapshot_out_new(struct shard *s);
/* While a call is under way its end frees the object, without a `done`. */
void snapshot_out_free(struct snapshot_out *o);
/* The io is gone and will not call back: frees at once. */
void snapshot_out_abandon(struct snapshot_out *o);
/* How large a chunk is, before the last pair is added; else SNAPSHOT_CHUNK. */
void snapshot_out_set_chunk(struct snapshot_out *o, size_t bytes);
/* Borrowed until the object is freed. */
struct bytes snapshot_out_header(const struct snapshot_out *o);
uint64_t snapshot_out_position(const struct snapshot_out *o);
/* Reads the next chunk. error: 0, or -EIO (free it; the engine's state says more). The chunk is
 * borrowed until the next call. After the last one there is nothing to ask for. */
void snapshot_out_next(struct snapshot_out *o,
                       void (*done)(void *ctx, struct bytes chunk, int error), void *ctx);
bool snapshot_out_ended(const struct snapshot_out *o); /* the last chunk was given */
/* How much of it was given, by the slot it has come to: keys spread evenly over slots. Not while a
 * chunk is being read. */
int snapshot_out_percent(const struct snapshot_out *o);
/* The next chunk begins behind this key, which the target says is the last it has; empty: from the
 * start. False: no key of this snapshot's slots; nothing changed. */
bool snapshot_out_seek(struct snapshot_out *o, struct bytes after);

/* ---- target ---- */

struct snapshot_in;

struct snapshot_in_options {
    struct io *io;
    struct engine *engine;
    struct space_cache *cache;
    uint32_t group;
    uint16_t replica;    /* the id of this replica, which stays */
    bool witness;        /* the header is all that it takes: whole once it has begun */
    struct bytes header; /* copied */
    uint64_t watermark;  /* the acceptor's chosen when the install begins; the marker's position is
                            it,  or what the replica has applied if that is more */
    size_t gather_bytes; /* ingested at once; 0: SNAPSHOT_GATHER */
    /* The marker is there and the slots are wiped: chunks may come. Or a negative errno, and
     * nothing changed: -ENOENT (no such replica here), -ESTALE (another replica, or
     * INV-SNAPSHOT-2: take a later snapshot), -EEXIST (another group's replica here has some of
     * these slots), -ENOSPC... */
    void (*begun)(void *ctx, int error);
    void *ctx;
};

/* What a header says; for the node's choice. False: damaged, or not of this group. The
 * configuration is borrowed from the header. */
bool snapshot_header_read(uint32_t group, struct bytes header, struct shard_record *r);

/* Begins an install. No shard may be open on the group. NULL: the header is damaged or another
 * group's; nothing changed. */
struct snapshot_in *snapshot_in_new(const struct snapshot_in_options *options);
void snapshot_in_free(struct snapshot_in *in);    /* as snapshot_out_free */
void snapshot_in_abandon(struct snapshot_in *in); /* as snapshot_out_abandon */
/* Takes a chunk, whose memory becomes its own. 0, or: -EBADMSG (damaged, or of another snapshot),
 * -EPROTO (does not follow what is here, or keys out of order or range), -ENOSPC and the like. The
 * chunk is not taken then, everything before it is: another may be tried, from snapshot_in_after
 * on. */
void snapshot_in_chunk(struct snapshot_in *in, struct buf take_chunk,
                       void (*done)(void *ctx, int error), void *ctx);
/* The last key that is here: where to go on after a connection was lost. Borrowed until the next
 * call; not while one is under way. */
struct bytes snapshot_in_after(const struct snapshot_in *in);
bool snapshot_in_whole(const struct snapshot_in *in); /* the last chunk is here */
/* Brings the rest and the record: 0: the replica is LIVE at the snapshot's position, its shard may
 * be opened. Else as above (-EPROTO: chunks are missing), and it may be called again. */
void snapshot_in_finish(struct snapshot_in *in, void (*done)(void *ctx, int error), void *ctx);

#endif
