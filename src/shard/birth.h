/* A replica's record in the engine: its birth certificate, and all that is known of it before
 * anything else of it is read (docs/FORMAT.md, "Applied record"). Every flush writes it anew with
 * what it flushes; the functions here write it when there is no shard to flush: a replica is born,
 * dropped, or begins to be installed.
 *
 * INV-BIRTH-1: the slot ranges of an engine's replicas (LIVE and INSTALLING) are disjoint.
 * INV-BIRTH-2: the replica id in a group's record never falls; one that a tombstone (DEAD) names is
 * never used again. Whoever writes records checks both on the pool, and refuses. */
#ifndef SYNOD_SHARD_BIRTH_H
#define SYNOD_SHARD_BIRTH_H

#include "base/io.h"
#include "paxos/paxos.h"
#include "store/engine.h"

enum shard_state {
    SHARD_LIVE = 1,
    SHARD_INSTALLING, /* what the engine has of the range is no state at all: wipe, and fetch it */
    SHARD_DEAD,       /* only the id counts: ids up to it are used up for this group on this disk */
};

struct shard_record {
    uint32_t group;
    uint8_t state; /* enum shard_state */
    uint16_t replica;
    uint16_t slot_lo, slot_hi;
    uint64_t applied; /* INSTALLING: the acceptor's watermark when the install began */
    struct paxos_id last_valid;
    int64_t now_ms;
    uint64_t sealed;     /* position of the seal that holds; 0: none */
    uint64_t installed;  /* position of the last snapshot that was installed; 0: none. What the log
                            has up to there was perhaps never chosen */
    uint64_t objid_base; /* object ids begin with this + the position of their entry */
    struct paxos_id config_id; /* the entry that brought the configuration; {0, 0}: the founding */
    struct bytes config;       /* encoded by the node; opaque here. Borrowed */
};

/* Every replica the engine knows of, tombstones too, in group order; blocking; at start. The record
 * is borrowed for the call. False: the engine failed or a record is damaged (error says what and
 * what to do; some may have been visited). */
bool shard_list(struct engine *e, void (*each)(void *ctx, const struct shard_record *r), void *ctx,
                char *error, size_t error_size);

struct shard_birth {
    struct shard_record record;
    bool wipe_data; /* everything in the record's slots goes */
};

/* Writes records, of groups that differ, durably and all in one ingest, on the pool; `done` comes
 * on the reactor. 0, or a negative errno: -EEXIST (INV-BIRTH-1) and -ESTALE (INV-BIRTH-2) for good,
 * -ENOSPC and the like for now; nothing has changed then. Copies what it is given. No shard may be
 * open on these groups. The result is needed only by shard_write_abandon. */
struct shard_write;
struct shard_write *shard_write_records(struct io *io, struct engine *e,
                                        const struct shard_birth *births, uint32_t count,
                                        void (*done)(void *ctx, int error), void *ctx);
/* The same, blocking: at start. */
int shard_write_records_now(struct engine *e, const struct shard_birth *births, uint32_t count);
/* The io is gone and will not call back. */
void shard_write_abandon(struct shard_write *w);

/* ---- for the other files of the shard ---- */

/* Appends the record's value, but for the counts per slot. */
void birth_encode(const struct shard_record *r, struct buf *out);
void birth_encode_count(struct buf *out, uint16_t slot, uint64_t count);
/* Reads a record's value; *counts: the pairs for birth_next_count, which are sound. False: damaged.
 * The configuration is borrowed from `value`. */
bool birth_decode(uint32_t group, struct bytes value, struct shard_record *r,
                  struct reader *counts);
/* 1: the next slot with keys; 0: the end; -1: damaged. */
int birth_next_count(const struct shard_record *r, struct reader *counts, uint16_t *slot,
                     uint64_t *count);
/* Whether these records may be written: 0, -EEXIST, -ESTALE, or what reading failed with.
 * Blocking. */
int births_check(struct engine *e, const struct shard_record *records, uint32_t count);

#endif
