/* One group's ordered key-value state in layers, newest first: the recent table (in memory,
 * versions by log position), frozen tables (on their way to the engine), the engine. One structure
 * is at once the leader's speculation, the write buffer and the cache of what was just written
 * (DESIGN 6).
 *
 * Positions. Writes carry the log position of their entry. Those above `applied` are *pending*: the
 * leader's own proposals. They are visible to space_get and space_range (the leader evaluates on
 * them) and are dropped with space_drop_pending when leadership is lost. space_set_applied(p) says
 * that everything written at positions <= p is chosen and valid; entries at or below it may not be
 * dropped. A follower writes position p only when it applies p.
 *
 * Keys are full engine keys (shard/keys.h). All of a group's keys lie within its ranges [lo, hi),
 * given at creation.
 *
 * Within one position calls count in their order: a put before a wipe of the same entry is wiped, a
 * put after it is not.
 *
 * Borrowing: values returned are valid until the next call that changes this space (write, drop,
 * freeze, flush completion) and at most to the end of the turn, which the node marks with
 * space_cache_turn. Threading: the reactor's.
 *
 * Progress. After MISS and space_fetch the same read may miss again if the caches are too small for
 * what a command reads. A runner that has restarted a command a few times evaluates it with block =
 * true, which never misses. */
#ifndef SYNOD_STORE_SPACE_H
#define SYNOD_STORE_SPACE_H

#include "base/io.h"
#include "store/engine.h"

struct space;

struct space_options {
    struct io *io;
    struct engine *engine; /* shared by all groups of the node; borrowed */
    /* The node's shared value cache (below); borrowed. NULL: none, and values borrowed from the
     * engine are kept until the next change of this space. */
    struct space_cache *cache;
    struct bytes lo, hi; /* the group's range; copied */
    /* Where the applied record lives in the engine; copied; at or above hi. */
    struct bytes applied_key;
    struct bytes record; /* what is there now, for space_record; copied */
    /* A flush reached the engine: everything up to `position` is in it. Or failed: error < 0
     * (retried by the next space_flush). */
    void (*flushed)(void *ctx, uint64_t position, int error);
    void *ctx;
};

struct space *space_new(const struct space_options *options);
void space_free(struct space *s); /* waits for nothing: the caller has seen `flushed` of a running
                                     flush, or the io is gone */

/* The record stored with the last flush: its bytes as given to space_flush, empty if never. Read
 * with blocking; at start. */
enum engine_result space_flushed_record(struct space *s, struct buf *record);
/* The same without reading: as given to space_new, or to the last flush that reached the engine.
 * Borrowed until the next flush ends. */
struct bytes space_record(const struct space *s);

/* What it was made with. */
void space_source(const struct space *s, struct io **io, struct engine **engine);

/* ---- reading: newest first, pending included ---- */
/* *position: where the key's latest version in memory (recent or frozen) was written, or the wipe
 * that hides it; else 0. So the reader knows whether it saw pending data. */
enum engine_result space_get_at(struct space *s, struct bytes key, bool block, struct bytes *value,
                                uint64_t *position);
static inline enum engine_result space_get(struct space *s, struct bytes key, bool block,
                                           struct bytes *value)
{
    uint64_t position;
    return space_get_at(s, key, block, value, &position);
}
/* Visits live keys in [lo, hi) in rising order (falling if reverse) until `each` returns false.
 * FOUND: stopped by each; ABSENT: reached the end; MISS/E_IO: as engine.h, some may have been
 * visited. `each` may not write to the space; key and value are borrowed for the call. */
enum engine_result space_range(struct space *s, struct bytes lo, struct bytes hi, bool reverse,
                               bool block,
                               bool (*each)(void *ctx, struct bytes key, struct bytes value),
                               void *ctx);
/* The same of what is applied: pending writes are not seen. */
enum engine_result
space_range_applied(struct space *s, struct bytes lo, struct bytes hi, bool block,
                    bool (*each)(void *ctx, struct bytes key, struct bytes value), void *ctx);
/* Reads the same with blocking on a pool thread, so that block = false will find it cached; `done`
 * later on the reactor. The space may be freed meanwhile, its cache and engine may not. lo and hi
 * stay the caller's to fill before and to free after. */
struct space_fetch {
    struct buf lo, hi; /* hi empty: one key */
    bool reverse;      /* a range is read from its end */
    uint32_t limit;    /* live keys wanted at most; 0: all */
    void (*done)(void *ctx, struct space_fetch *f);
    void *ctx;
    enum engine_result result; /* FOUND or ABSENT: read; E_IO */
    /* the module's own */
    struct io_work work;
    struct engine *engine;
    struct space_cache *cache;
    uint64_t ticket, keys_max;
    struct buf value;
};
void space_fetch(struct space *s, struct space_fetch *f); /* f is the caller's until done */

/* ---- writing ---- */
void space_put(struct space *s, uint64_t position, struct bytes key, struct bytes value);
void space_del(struct space *s, uint64_t position, struct bytes key);
/* Everything in the space's range written before this call is gone (FLUSHALL). Pending like any
 * write. O(keys in memory). */
void space_wipe(struct space *s, uint64_t position);
/* All keys with this prefix are unreachable garbage from `position` on: removed some time later, by
 * the flush. Reads of them are undefined from now on, and they are never written again. Costs one
 * record. */
void space_trash(struct space *s, uint64_t position, struct bytes prefix);
void space_set_applied(struct space *s, uint64_t position);
/* Forgets all writes at positions > applied. */
void space_drop_pending(struct space *s);
/* A split at `applied`: the space keeps [lo, at). What it holds in memory of [at, hi) as of now
 * goes to the engine with the next flush that is begun, all or nothing with it and with `record`,
 * stored at `record_key` (at or above hi): then another space may be opened on [at, hi). Nothing
 * may be pending. Everything is copied. Any number may wait for the same flush. */
void space_narrow(struct space *s, struct bytes at, struct bytes record_key, struct bytes record);
/* The opposite: the space takes over [hi, new_hi) as the engine has it. `record` is stored at
 * `record_key` with the next flush that is begun. Nothing may be pending, and no wipe in memory,
 * which would hide what is taken over. */
void space_widen(struct space *s, struct bytes new_hi, struct bytes record_key,
                 struct bytes record);
bool space_wiped(const struct space *s);    /* a wipe waits for its flush, or is in it */
bool space_narrowed(const struct space *s); /* such a record waits for its flush, or is in it */

/* ---- kept states ---- */

/* What is applied now, kept: it costs no copy, and never waits for the disk. */
struct space_pin;
struct space_pin *space_pin_new(struct space *s);
/* The reactor's, while nobody reads. It outlives the space, but not the engine. */
void space_pin_free(struct space_pin *p);
/* May it be read on any thread? So it is once the space does not write to what was in memory any
 * more, that is, has begun a flush since (or there was nothing, or the space is gone); before that
 * it is the reactor's. A table of at most SPACE_PIN_COPY bytes without a wipe is copied, and then
 * it is so at once, without a flush. */
bool space_pin_settle(struct space_pin *p);
#define SPACE_PIN_COPY (512u << 10)
/* As space_range_applied, with blocking, of that state. Several may read at once. */
enum engine_result space_pin_range(const struct space_pin *p, struct bytes lo, struct bytes hi,
                                   bool (*each)(void *ctx, struct bytes key, struct bytes value),
                                   void *ctx);

/* ---- flushing ---- */
size_t space_memory(const struct space *s); /* bytes held by recent and frozen tables */
size_t space_recent_bytes(const struct space *s);
/* Sets applied, freezes what is applied (pending writes move to the new recent table) with
 * `record`, which will be stored at applied_key, and starts its flush on the pool. False: a flush
 * is under way already, or nothing happened since the last one (applied has not moved either).
 * After a failed flush this call tries the same frozen table again, with its own record and
 * position; what was applied since waits for the flush after it. */
bool space_flush(struct space *s, uint64_t applied, struct bytes record);
bool space_flushing(const struct space *s);

/* Order-free digest of all live keys in range (sum of hashes), recent layers included, at the
 * applied position: equal data, equal digest, whatever was flushed. Pending writes and trash are
 * left out. Blocking, on the reactor; for checks. */
enum engine_result space_digest(struct space *s, uint64_t *digest, uint64_t *keys);

/* Values read often from the engine and not written lately, by key, for all groups of a node;
 * bounded. Absent keys too. */
struct space_cache *space_cache_new(size_t bytes_max);
void space_cache_free(struct space_cache *c); /* after all spaces and fetches that use it */
/* Forgets all keys of [lo, hi): the engine's range was changed by somebody else than a space. (A
 * new space does so for its own range.) O(entries). */
void space_cache_forget(struct space_cache *c, struct bytes lo, struct bytes hi);
/* The end of a turn: values borrowed from any space of the node end here. Call once a turn: what
 * was evicted goes only now. */
void space_cache_turn(struct space_cache *c);
struct space_cache_stats {
    uint64_t hits, misses, entries, bytes;
};
void space_cache_stats(const struct space_cache *c, struct space_cache_stats *out);

/* Walks invariants, ASSERTing each. */
void space_check(const struct space *s);

#endif
