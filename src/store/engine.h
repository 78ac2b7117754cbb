/* The ordered store at the bottom of a node: sorted files that were flushed from memory (rocks.c:
 * RocksDB; mem.c: the simulator's twin). It takes whole sorted batches only; what it holds is
 * therefore known exactly: per group, everything up to the applied position that travelled with the
 * last batch. It has no write-ahead log; the paxos log is it.
 *
 * Threads: get and iter are the reactor's with block = false, and any thread's with block = true
 * (an iterator may go from thread to thread, one at a time); ingest runs on a pool thread. Groups
 * share the engine, so ingests of different groups (whose keys do not overlap) may run at once. */
#ifndef SYNOD_STORE_ENGINE_H
#define SYNOD_STORE_ENGINE_H

#include "base/buf.h"

enum engine_result {
    ENGINE_FOUND,
    ENGINE_ABSENT,
    ENGINE_MISS, /* only with block = false: it would have to touch the disk */
    ENGINE_E_IO, /* the disk or a checksum failed: the node must stop applying */
};

struct engine;
struct engine_iter;
struct engine_snap;

/* A sorted source of changes for ingest: next() yields keys in strictly rising order. */
struct engine_source {
    /* False at the end. value.data == NULL with deleted = true: a deletion. Borrowed until the next
     * call. */
    bool (*next)(void *ctx, struct bytes *key, struct bytes *value, bool *deleted);
    void *ctx;
    /* Ranges [lo, hi) wiped before the batch applies (older data only): for FLUSHALL, collections
     * dropped, replicas removed. */
    const struct engine_range {
        struct bytes lo, hi;
    } * wipe;
    size_t wipe_count;
};

struct engine_ops {
    /* FOUND: *value, cleared first, holds the value. Else it is empty. */
    enum engine_result (*get)(struct engine *e, struct bytes key, bool block, struct buf *value);
    /* Keys in [lo, hi), rising, or falling if reverse. lo and hi are copied. The iterator sees the
     * state at its creation. FOUND: *out is one to free; else *out is NULL. */
    enum engine_result (*iter_new)(struct engine *e, struct bytes lo, struct bytes hi, bool reverse,
                                   bool block, struct engine_iter **out);
    /* As iter_new, rising and blocking, for who reads much of it once: caches stay as they are.
     * What it may still read is kept on disk while it lives. at: the state that it sees; NULL: as
     * it is now. */
    enum engine_result (*scan_new)(struct engine *e, const struct engine_snap *at, struct bytes lo,
                                   struct bytes hi, struct engine_iter **out);
    /* The state as it is now, kept on disk until it is freed, which is before the engine is closed.
     * Neither waits for the disk. Scans of it may be made and read on any thread. */
    struct engine_snap *(*snap_new)(struct engine *e);
    void (*snap_free)(struct engine *e, struct engine_snap *s);
    /* FOUND: key and value borrowed until the next call; ABSENT: the end; MISS, E_IO: as above
     * (then only free it). */
    enum engine_result (*iter_next)(struct engine_iter *it, struct bytes *key, struct bytes *value);
    /* The next iter_next gives the first key >= `key` (which is in the iterator's range, and
     * copied), in the same state as ever. Rising iterators only. */
    void (*iter_seek)(struct engine_iter *it, struct bytes key);
    void (*iter_free)(struct engine_iter *it);
    /* Makes the batch durable and visible, all or nothing, also across a crash. 0, or a negative
     * errno (full disk: -ENOSPC: nothing changed, try again later; -EBADMSG: a checksum failed).
     * The wiped ranges go first: keys of the batch itself survive them. */
    int (*ingest)(struct engine *e, struct engine_source *source);
    /* "name:value\r\n" lines for INFO; engine_last_error among them once something failed. */
    void (*stats)(struct engine *e, struct buf *text);
    uint64_t (*disk_bytes)(struct engine *e);
    /* The disk is nearly full: begins to merge, in the background, what deletions are likeliest to
     * shrink. Call it again while that is so. Any thread. NULL: deleted is gone at once. */
    void (*reclaim)(struct engine *e);
    void (*close)(struct engine *e);
};

struct engine {
    const struct engine_ops *ops;
};

/* RocksDB in directory `path` (made if missing). cache_bytes: block cache. NULL on failure, with
 * one line in error. */
struct engine *engine_rocks_open(const char *path, size_t cache_bytes, char *error,
                                 size_t error_size);

static inline enum engine_result engine_get(struct engine *e, struct bytes key, bool block,
                                            struct buf *value)
{
    return e->ops->get(e, key, block, value);
}
static inline enum engine_result engine_iter_new(struct engine *e, struct bytes lo, struct bytes hi,
                                                 bool reverse, bool block, struct engine_iter **out)
{
    return e->ops->iter_new(e, lo, hi, reverse, block, out);
}
static inline enum engine_result engine_scan_new(struct engine *e, const struct engine_snap *at,
                                                 struct bytes lo, struct bytes hi,
                                                 struct engine_iter **out)
{
    return e->ops->scan_new(e, at, lo, hi, out);
}
static inline struct engine_snap *engine_snap_new(struct engine *e)
{
    return e->ops->snap_new(e);
}
static inline void engine_snap_free(struct engine *e, struct engine_snap *s)
{
    e->ops->snap_free(e, s);
}
static inline enum engine_result engine_iter_next(struct engine *e, struct engine_iter *it,
                                                  struct bytes *key, struct bytes *value)
{
    return e->ops->iter_next(it, key, value);
}
static inline void engine_iter_seek(struct engine *e, struct engine_iter *it, struct bytes key)
{
    e->ops->iter_seek(it, key);
}
static inline void engine_iter_free(struct engine *e, struct engine_iter *it)
{
    e->ops->iter_free(it);
}
static inline int engine_ingest(struct engine *e, struct engine_source *source)
{
    return e->ops->ingest(e, source);
}
static inline void engine_close(struct engine *e)
{
    e->ops->close(e);
}

/* The twin in memory. `disk` outlives engines opened on it: closing an engine without ingesting
 * loses nothing that was ingested. */
struct engine_mem_disk;
struct engine_mem_disk *engine_mem_disk_new(void);
void engine_mem_disk_free(struct engine_mem_disk *d);
struct engine *engine_mem_open(struct engine_mem_disk *d);
/* From now on every block = false read that was not made with block = true before answers MISS, by
 * this chance (per million). */
void engine_mem_set_miss(struct engine *e, uint32_t ppm, uint64_t seed);
/* The disk refuses ingests with -ENOSPC while it is full. */
void engine_mem_set_full(struct engine_mem_disk *d, bool full);

#endif
