/* Header: version:1 (1), group:4, applied record blob, checksum:8
 * Chunk:  version:1 (1), flags:1 (1: the last), after blob, then pairs of key blob, value blob;
 *         checksum:8
 *
 * Little-endian. Checksums are XXH3 of all that precedes them, the header's with seed 0, a chunk's
 * with the header's checksum as seed: a chunk of another snapshot counts as damaged. `after` is the
 * key before the chunk's first, empty at the start: so chunks can neither be lost, repeated nor
 * change places, wherever the sender began again. */
#include "shard/snapshot.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "shard/keys.h"

#include <errno.h>

#define HEADER_VERSION 1
#define CHUNK_VERSION  1
#define CHUNK_LAST     1
#define CHECKSUM_SIZE  8

/* ---- bytes ---- */

static void seal(struct buf *b, uint64_t seed)
{
    buf_u64(b, hash64(buf_bytes(b), seed));
}

/* What the checksum stands behind, if it is right; else empty. */
static struct bytes unseal(struct bytes b, uint64_t seed)
{
    if (b.size <= CHECKSUM_SIZE) return (struct bytes){0};
    struct bytes body = bytes_of(b.data, b.size - CHECKSUM_SIZE);
    struct reader r = reader_of(bytes_of(body.data + body.size, CHECKSUM_SIZE));
    return reader_u64(&r) == hash64(body, seed) ? body : (struct bytes){0};
}

static uint64_t checksum_of(struct bytes sealed)
{
    struct reader r = reader_of(bytes_of(sealed.data + sealed.size - CHECKSUM_SIZE, CHECKSUM_SIZE));
    return reader_u64(&r);
}

/* *counts: the per-slot counts that end the record, as they are. */
static bool header_open(uint32_t group, struct bytes header, struct shard_record *record,
                        struct bytes *counts)
{
    struct reader in = reader_of(unseal(header, 0)), rest;
    uint8_t version = reader_u8(&in);
    uint32_t of = reader_u32(&in);
    struct bytes value = reader_blob(&in);
    if (in.bad || reader_left(&in) || version != HEADER_VERSION || of != group ||
        !birth_decode(group, value, record, &rest) || record->state != SHARD_LIVE)
        return false;
    *counts = bytes_of(rest.at, reader_left(&rest));
    return true;
}

bool snapshot_header_read(uint32_t group, struct bytes header, struct shard_record *r)
{
    struct bytes counts;
    return header_open(group, header, r, &counts);
}

/* ---- source ---- */

struct snapshot_out {
    struct io *io;
    struct engine *engine;
    struct engine_iter *iter;
    struct buf header;
    uint64_t position;
    struct buf lo, hi;
    struct buf after; /* the last key read */
    bool seek, ended;
    /* the call under way */
    struct io_work work;
    bool busy, freed;
    struct buf chunk;
    size_t chunk_bytes;
    enum engine_result result;
    void (*done)(void *ctx, struct bytes chunk, int error);
    void *ctx;
};

struct snapshot_out *snapshot_out_new(struct shard *s)
{
    if (space_flushing(s->space) || shard_unborn(s) || s->state != SHARD_LIVE) return NULL;
    struct snapshot_out *o = mem_zalloc(sizeof *o);
    space_source(s->space, &o->io, &o->engine);
    o->position = s->flushed;
    o->chunk_bytes = SNAPSHOT_CHUNK;
    keys_slot(&o->lo, s->slot_lo);
    keys_slot(&o->hi, s->slot_hi);
    buf_u8(&o->header, HEADER_VERSION);
    buf_u32(&o->header, s->group);
    buf_blob(&o->header, space_record(s->space));
    seal(&o->header, 0);
    if (engine_scan_new(o->engine, NULL, buf_bytes(&o->lo), buf_bytes(&o->hi), &o->iter) ==
        ENGINE_FOUND)
        return o;
    o->iter = NULL;
    snapshot_out_abandon(o);
    return NULL;
}

void snapshot_out_abandon(struct snapshot_out *o)
{
    if (!o) return;
    if (o->iter) engine_iter_free(o->engine, o->iter);
    buf_deinit(&o->header);
    buf_deinit(&o->lo);
    buf_deinit(&o->hi);
    buf_deinit(&o->after);
    buf_deinit(&o->chunk);
    mem_free(o);
}

void snapshot_out_free(struct snapshot_out *o)
{
    if (o && o->busy)
        o->freed = true;
    else
        snapshot_out_abandon(o);
}

void snapshot_out_set_chunk(struct snapshot_out *o, size_t bytes)
{
    o->chunk_bytes = bytes;
}

struct bytes snapshot_out_header(const struct snapshot_out *o)
{
    return buf_bytes(&o->header);
}

uint64_t snapshot_out_position(const struct snapshot_out *o)
{
    return o->position;
}

bool snapshot_out_ended(const struct snapshot_out *o)
{
    return o->ended;
}

int snapshot_out_percent(const struct snapshot_out *o)
{
    ASSERT(!o->busy);
    if (o->after.size < 2) return 0;
    int lo = be16_get(o->lo.data), hi = be16_get(o->hi.data), at = be16_get(o->after.data);
    return 100 * (at - lo) / (hi - lo);
}

bool snapshot_out_seek(struct snapshot_out *o, struct bytes after)
{
    ASSERT(!o->busy);
    if (after.size && (bytes_compare(after, buf_bytes(&o->lo)) < 0 ||
                       bytes_compare(after, buf_bytes(&o->hi)) >= 0))
        return false;
    buf_clear(&o->after);
    buf_append_bytes(&o->after, after);
    o->seek = true;
    o->ended = false;
    return true;
}

/* The key after `after` is that with a zero byte behind it. */
static void out_seek(struct snapshot_out *o)
{
    struct buf from = {0};
    buf_append_bytes(&from, buf_bytes(&o->after));
    if (from.size)
        buf_u8(&from, 0);
    else
        buf_append_bytes(&from, buf_bytes(&o->lo));
    engine_iter_seek(o->engine, o->iter, buf_bytes(&from));
    buf_deinit(&from);
    o->seek = false;
}

static void out_run(void *ctx)
{
    struct snapshot_out *o = ctx;
    struct bytes key, value;
    if (o->seek) out_seek(o);
    buf_clear(&o->chunk);
    buf_u8(&o->chunk, CHUNK_VERSION);
    buf_u8(&o->chunk, 0);
    buf_blob(&o->chunk, buf_bytes(&o->after));
    o->result = ENGINE_FOUND;
    while (o->chunk.size < o->chunk_bytes &&
           (o->result = engine_iter_next(o->engine, o->iter, &key, &value)) == ENGINE_FOUND) {
        buf_blob(&o->chunk, key);
        buf_blob(&o->chunk, value);
        buf_clear(&o->after);
        buf_append_bytes(&o->after, key);
    }
    if (o->result == ENGINE_ABSENT) o->chunk.data[1] = CHUNK_LAST;
    seal(&o->chunk, checksum_of(buf_bytes(&o->header)));
}

static void out_done(void *ctx)
{
    struct snapshot_out *o = ctx;
    o->busy = false;
    if (o->freed) {
        snapshot_out_abandon(o);
        return;
    }
    bool failed = o->result != ENGINE_FOUND && o->result != ENGINE_ABSENT;
    o->ended = o->result == ENGINE_ABSENT;
    o->done(o->ctx, failed ? (struct bytes){0} : buf_bytes(&o->chunk), failed ? -EIO : 0);
}

void snapshot_out_next(struct snapshot_out *o,
                       void (*done)(void *ctx, struct bytes chunk, int error), void *ctx)
{
    ASSERT(!o->busy && !o->ended);
    o->busy = true;
    o->done = done;
    o->ctx = ctx;
    o->work = (struct io_work){.run = out_run, .done = out_done, .ctx = o};
    io_work(o->io, &o->work);
}

/* ---- target ---- */

struct gathered {
    struct buf chunk;
    struct bytes pairs; /* in it */
};

struct snapshot_in {
    struct io *io;
    struct engine *engine;
    struct space_cache *cache;
    uint32_t group;
    uint16_t replica;
    uint64_t watermark;
    size_t gather_bytes;
    struct buf header;
    struct shard_record record; /* the header's */
    struct bytes counts;        /* in header */
    struct buf lo, hi, key;     /* key: of the record */
    struct buf after;
    struct gathered *gathered; /* checked, not ingested yet */
    uint32_t gathered_count, gathered_capacity;
    size_t gathered_bytes;
    bool begun, whole, live;
    /* the call under way */
    struct io_work work;
    bool busy, freed;
    struct buf chunk;
    struct buf old_lo, old_hi; /* what the replica had before */
    int error;
    void (*done)(void *ctx, int error);
    void *ctx;
};

static void gathered_clear(struct snapshot_in *in)
{
    for (uint32_t i = 0; i < in->gathered_count; i++) buf_deinit(&in->gathered[i].chunk);
    in->gathered_count = 0;
    in->gathered_bytes = 0;
}

void snapshot_in_abandon(struct snapshot_in *in)
{
    if (!in) return;
    gathered_clear(in);
    mem_free(in->gathered);
    buf_deinit(&in->header);
    buf_deinit(&in->lo);
    buf_deinit(&in->hi);
    buf_deinit(&in->key);
    buf_deinit(&in->after);
    buf_deinit(&in->chunk);
    buf_deinit(&in->old_lo);
    buf_deinit(&in->old_hi);
    mem_free(in);
}

void snapshot_in_free(struct snapshot_in *in)
{
    if (in && in->busy)
        in->freed = true;
    else
        snapshot_in_abandon(in);
}

struct bytes snapshot_in_after(const struct snapshot_in *in)
{
    ASSERT(!in->busy);
    return buf_bytes(&in->after);
}

bool snapshot_in_whole(const struct snapshot_in *in)
{
    return in->whole;
}

static void in_done(void *ctx)
{
    struct snapshot_in *in = ctx;
    bool changed = !in->error && (!in->begun || in->live);
    in->busy = false;
    if (changed && in->cache) space_cache_forget(in->cache, buf_bytes(&in->lo), buf_bytes(&in->hi));
    if (changed && in->cache && in->old_hi.size)
        space_cache_forget(in->cache, buf_bytes(&in->old_lo), buf_bytes(&in->old_hi));
    in->begun |= !in->error;
    if (in->freed)
        snapshot_in_abandon(in);
    else
        in->done(in->ctx, in->error);
}

static void in_start(struct snapshot_in *in, void (*run)(void *ctx),
                     void (*done)(void *ctx, int error), void *ctx)
{
    ASSERT(!in->busy && !in->live);
    in->busy = true;
    in->done = done;
    in->ctx = ctx;
    in->work = (struct io_work){.run = run, .done = in_done, .ctx = in};
    io_work(in->io, &in->work);
}

/* The gathered pairs in order, then the record. */
struct pairs {
    struct reader in;
    const struct gathered *next, *end; /* what follows `in` */
    struct bytes key, record;          /* record empty: none */
};

static bool pairs_next(void *ctx, struct bytes *key, struct bytes *value, bool *deleted)
{
    struct pairs *p = ctx;
    *deleted = false;
    if (reader_left(&p->in) == 0 && p->next < p->end) p->in = reader_of(p->next++->pairs);
    if (reader_left(&p->in) > 0) {
        *key = reader_blob(&p->in);
        *value = reader_blob(&p->in);
        ASSERT(!p->in.bad);
        return true;
    }
    if (!p->record.size) return false;
    *key = p->key;
    *value = p->record;
    p->record.size = 0;
    return true;
}

/* ---- beginning ---- */

/* What the engine says of the replica itself; its bytes stay in `value`. */
static int own_record(struct snapshot_in *in, struct buf *value, struct shard_record *own)
{
    struct reader counts;
    enum engine_result result = engine_get(in->engine, buf_bytes(&in->key), true, value);
    if (result == ENGINE_ABSENT) return -ENOENT;
    if (result != ENGINE_FOUND || !birth_decode(in->group, buf_bytes(value), own, &counts))
        return -EIO;
    return own->state == SHARD_DEAD || own->replica != in->replica ? -ESTALE : 0;
}

static int write_marker(struct snapshot_in *in, const struct shard_record *own)
{
    struct shard_record marker = *own;
    struct buf value = {0};
    marker.state = SHARD_INSTALLING;
    marker.slot_lo = in->record.slot_lo;
    marker.slot_hi = in->record.slot_hi;
    marker.applied = in->watermark;
    marker.last_valid = (struct paxos_id){0};
    birth_encode(&marker, &value);
    struct pairs pairs = {.key = buf_bytes(&in->key), .record = buf_bytes(&value)};
    struct engine_range wipe[2] = {{buf_bytes(&in->old_lo), buf_bytes(&in->old_hi)},
                                   {buf_bytes(&in->lo), buf_bytes(&in->hi)}};
    struct engine_source source = {
        .next = pairs_next, .ctx = &pairs, .wipe = wipe, .wipe_count = 2};
    if (MUTANT(MUTANT_INSTALL_NO_MARKER)) pairs.record.size = 0;
    if (MUTANT(MUTANT_INSTALL_NO_WIPE)) source.wipe_count = 0;
    int error = births_check(in->engine, &marker, 1);
    if (!error) error = engine_ingest(in->engine, &source);
    buf_deinit(&value);
    return error;
}

static void begin_run(void *ctx)
{
    struct snapshot_in *in = ctx;
    struct buf value = {0};
    struct shard_record own;
    in->error = own_record(in, &value, &own);
    if (!in->error && in->watermark < own.applied) in->watermark = own.applied;
    if (!in->error && in->watermark > in->record.applied) in->error = -ESTALE; /* INV-SNAPSHOT-2 */
    if (!in->error) {
        keys_slot(&in->old_lo, own.slot_lo);
        keys_slot(&in->old_hi, own.slot_hi);
        in->error = write_marker(in, &own);
    }
    buf_deinit(&value);
}

struct snapshot_in *snapshot_in_new(const struct snapshot_in_options *options)
{
    struct snapshot_in *in = mem_zalloc(sizeof *in);
    in->io = options->io;
    in->engine = options->engine;
    in->cache = options->cache;
    in->group = options->group;
    in->replica = options->replica;
    in->whole = options->witness;
    in->watermark = options->watermark;
    in->gather_bytes = options->gather_bytes ? options->gather_bytes : SNAPSHOT_GATHER;
    buf_append_bytes(&in->header, options->header);
    if (!header_open(in->group, buf_bytes(&in->header), &in->record, &in->counts)) {
        snapshot_in_abandon(in);
        return NULL;
    }
    if (options->witness) in->counts = (struct bytes){0}; /* of keys that it will not have */
    keys_slot(&in->lo, in->record.slot_lo);
    keys_slot(&in->hi, in->record.slot_hi);
    keys_applied(&in->key, in->group);
    in_start(in, begin_run, options->begun, options->ctx);
    return in;
}

/* ---- chunks ---- */

/* Keys rise, from behind `after`, within the slots, and are no shorter than any key is. */
static bool chunk_sound(const struct snapshot_in *in, struct reader r, struct bytes *last)
{
    struct bytes before = buf_bytes(&in->after);
    while (reader_left(&r) > 0) {
        struct bytes key = reader_blob(&r);
        (void)reader_blob(&r);
        if (r.bad || key.size < 3 || bytes_compare(key, buf_bytes(&in->hi)) >= 0 ||
            bytes_compare(key, before.size ? before : buf_bytes(&in->lo)) <= 0)
            return false;
        before = key;
    }
    *last = before;
    return !r.bad;
}

static int ingest_gathered(struct snapshot_in *in, struct bytes record)
{
    struct pairs pairs = {.next = in->gathered,
                          .end = in->gathered + in->gathered_count,
                          .key = buf_bytes(&in->key),
                          .record = record};
    struct engine_source source = {.next = pairs_next, .ctx = &pairs};
    int error = engine_ingest(in->engine, &source);
    if (!error) gathered_clear(in);
    return error;
}

/* Keeps the chunk, with the pairs in it; there are some. */
static void gather(struct snapshot_in *in, struct bytes pairs)
{
    if (in->gathered_count == in->gathered_capacity) {
        in->gathered_capacity = in->gathered_capacity ? 2 * in->gathered_capacity : 16;
        in->gathered = mem_realloc(in->gathered, in->gathered_capacity * sizeof *in->gathered);
    }
    in->gathered[in->gathered_count++] = (struct gathered){in->chunk, pairs};
    in->gathered_bytes += pairs.size;
    in->chunk = (struct buf){0};
}

static int chunk_take(struct snapshot_in *in)
{
    struct bytes last, body = unseal(buf_bytes(&in->chunk), checksum_of(buf_bytes(&in->header)));
    struct reader r = reader_of(body);
    if (body.size == 0) return -EBADMSG;
    uint8_t version = reader_u8(&r), flags = reader_u8(&r);
    struct bytes after = reader_blob(&r);
    if (r.bad || version != CHUNK_VERSION || flags > CHUNK_LAST) return -EBADMSG;
    if (in->whole || !bytes_equal(after, buf_bytes(&in->after)) || !chunk_sound(in, r, &last))
        return -EPROTO;
    if (in->gathered_bytes && in->gathered_bytes + reader_left(&r) > in->gather_bytes) {
        int error = ingest_gathered(in, (struct bytes){0});
        if (error) return error;
    }
    if (reader_left(&r) > 0) { /* else `last` is `after` itself */
        buf_clear(&in->after);
        buf_append_bytes(&in->after, last);
        gather(in, bytes_of(r.at, reader_left(&r)));
    }
    in->whole = flags == CHUNK_LAST;
    return 0;
}

static void chunk_run(void *ctx)
{
    struct snapshot_in *in = ctx;
    bool sized = in->chunk.size > 0 && in->chunk.size <= SNAPSHOT_CHUNK_MAX;
    in->error = sized ? chunk_take(in) : -EPROTO;
}

void snapshot_in_chunk(struct snapshot_in *in, struct buf take_chunk,
                       void (*done)(void *ctx, int error), void *ctx)
{
    ASSERT(in->begun);
    buf_deinit(&in->chunk);
    in->chunk = take_chunk;
    in_start(in, chunk_run, done, ctx);
}

/* ---- the end ---- */

static void finish_run(void *ctx)
{
    struct snapshot_in *in = ctx;
    struct buf value = {0}, own_value = {0};
    struct shard_record own, record = in->record;
    in->error = in->whole ? own_record(in, &own_value, &own) : -EPROTO;
    if (!in->error) {
        record.replica = in->replica;
        record.installed = record.applied;
        if (own.config_id.position > record.config_id.position) {
            record.config_id = own.config_id;
            record.config = own.config;
        }
        birth_encode(&record, &value);
        buf_append_bytes(&value, in->counts);
        in->error = ingest_gathered(in, buf_bytes(&value));
        in->live = !in->error;
    }
    buf_deinit(&value), buf_deinit(&own_value);
}

void snapshot_in_finish(struct snapshot_in *in, void (*done)(void *ctx, int error), void *ctx)
{
    ASSERT(in->begun);
    in_start(in, finish_run, done, ctx);
}
