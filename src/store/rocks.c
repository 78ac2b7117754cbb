/* The engine on RocksDB, used as a keeper of sorted files: it merges them, checks their checksums,
 * filters and caches their blocks. Its write buffer and write-ahead log stay empty. What is
 * ingested is written as sorted files under PATH/ingest, a new one every FILE_BYTES, the system
 * keys (0xffff...: the applied record) in one of their own, so that no file spans from a group's
 * keys to the end. All go in with one call, which is one record in RocksDB's manifest: all or
 * nothing, also across a crash.
 *
 * INV-ROCKS-1: the store holds no range deletions. A wiped range becomes one deletion for each key
 * that is in it, found by walking it while the file is written (nobody else changes that range
 * meanwhile). Iterators of the releases we run on (up to 8.5: RocksDB's #11782 and #11786) forget a
 * failed read, and with it the rest of a level, when they may meet range deletions: "not in the
 * cache" or a bad checksum then looks like the end. So every read says ignore_range_deletions,
 * which takes the older, sound path. After a large wipe RocksDB is asked to merge the range soon,
 * for walks have to step over its deletions until then.
 *
 * On a full disk RocksDB may fail to write any file but its manifest: a failed write there stops
 * the store, and in builds with assertions ends the process. So nothing is ingested that leaves no
 * room for it, and PATH/reserve is a file without meaning that is given up to open a store on a
 * full disk, and made again when there is room. */
#include "store/engine.h"

#include "base/assert.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <rocksdb/c.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FILE_BYTES      (64u << 20)
#define LEVEL_BYTES     (256u << 20)
#define NEVER           (1 << 20) /* a number of files no trigger reaches */
#define SCAN_AHEAD      (1u << 20)
#define SCAN_GIVE_WAY   512u /* rows: some 300 microseconds */
#define READ_TIER_CACHE 1    /* rocksdb::kBlockCacheTier */
#define INGEST_DIR      "ingest"
#define RESERVE_FILE    "reserve"
#define RESERVE_BYTES   (16u << 20)
#define MANIFEST_ROOM   (8u << 20) /* for what RocksDB says about its files; 4 MiB and a bit */
#define WIPE_LARGE      10000u     /* deletions that are worth a merge of their own */
#define DELETED_WINDOW  4096u      /* a file with this many keys in a row, */
#define DELETED_MANY    3072u      /* of which this many are deletions, is merged soon */

struct engine_rocks {
    struct engine engine;
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *table_options;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read_cached, *read_blocking; /* of get */
    rocksdb_ingestexternalfileoptions_t *ingest_options;
    rocksdb_envoptions_t *env_options;
    char *path;
    pthread_mutex_t lock; /* over what follows */
    uint64_t file_number, ingests, misses, errors;
    char last_error[256];
};

struct engine_iter {
    struct engine_rocks *engine;
    rocksdb_readoptions_t *options; /* the bounds' addresses are in it */
    rocksdb_iterator_t *iter;
    struct buf lo, hi;
    struct buf from; /* where to start, if not at lo */
    bool reverse, started;
    bool kept;      /* of a kept state: what computes reads it */
    unsigned steps; /* wraps */
};

struct engine_snap {
    const rocksdb_snapshot_t *snapshot;
};

static struct engine_rocks *rocks_of(struct engine *e)
{
    return (struct engine_rocks *)e;
}

/* ---- errors ---- */

static bool begins(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static void rocks_note_error(struct engine_rocks *r, const char *what, const char *text)
{
    pthread_mutex_lock(&r->lock);
    r->errors++;
    (void)snprintf(r->last_error, sizeof r->last_error, "%s: %s", what, text);
    for (char *c = r->last_error; *c; c++)
        if (*c == '\r' || *c == '\n') *c = ' ';
    pthread_mutex_unlock(&r->lock);
}

/* Takes the error's text. RocksDB's C API gives a status as text only; its first words are its
 * code. */
static enum engine_result rocks_read_error(struct engine_rocks *r, const char *what,
                                           char *take_text)
{
    enum engine_result result = ENGINE_E_IO;
    if (begins(take_text, "Result incomplete")) {
        result = ENGINE_MISS;
        pthread_mutex_lock(&r->lock);
        r->misses++;
        pthread_mutex_unlock(&r->lock);
    } else {
        rocks_note_error(r, what, take_text);
    }
    rocksdb_free(take_text);
    return result;
}

static int rocks_write_error(struct engine_rocks *r, char *take_text)
{
    int error = -EIO;
    if (strstr(take_text, "No space left") || strstr(take_text, "Disk quota") ||
        begins(take_text, "IO error: No space"))
        error = -ENOSPC;
    else if (begins(take_text, "Corruption"))
        error = -EBADMSG;
    rocks_note_error(r, "ingest", take_text);
    rocksdb_free(take_text);
    return error;
}

/* ---- reading ---- */

static rocksdb_readoptions_t *read_options_new(bool block)
{
    rocksdb_readoptions_t *o = rocksdb_readoptions_create();
    rocksdb_readoptions_set_ignore_range_deletions(o, 1); /* INV-ROCKS-1 */
    if (!block) rocksdb_readoptions_set_read_tier(o, READ_TIER_CACHE);
    return o;
}

static enum engine_result rocks_get(struct engine *e, struct bytes key, bool block,
                                    struct buf *value)
{
    struct engine_rocks *r = rocks_of(e);
    char *error = NULL;
    buf_clear(value);
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(
        r->db, block ? r->read_blocking : r->read_cached, (const char *)key.data, key.size, &error);
    if (error) return rocks_read_error(r, "get", error);
    if (!slice) return ENGINE_ABSENT;
    size_t size;
    const char *data = rocksdb_pinnableslice_value(slice, &size);
    buf_append(value, data, size);
    rocksdb_pinnableslice_destroy(slice);
    return ENGINE_FOUND;
}

/* Takes the options. */
static struct engine_iter *iter_make(struct engine_rocks *r, struct bytes lo, struct bytes hi,
                                     bool reverse, rocksdb_readoptions_t *take_options)
{
    struct engine_iter *it = mem_zalloc(sizeof *it);
    it->engine = r;
    it->reverse = reverse;
    buf_append_bytes(&it->lo, lo);
    buf_append_bytes(&it->hi, hi);
    it->options = take_options;
    rocksdb_readoptions_set_iterate_lower_bound(it->options, (const char *)it->lo.data,
                                                it->lo.size);
    rocksdb_readoptions_set_iterate_upper_bound(it->options, (const char *)it->hi.data,
                                                it->hi.size);
    it->iter = rocksdb_create_iterator(r->db, it->options);
    return it;
}

static enum engine_result rocks_iter_new(struct engine *e, struct bytes lo, struct bytes hi,
                                         bool reverse, bool block, struct engine_iter **out)
{
    *out = iter_make(rocks_of(e), lo, hi, reverse, read_options_new(block));
    return ENGINE_FOUND;
}

/* A kept state is read in pieces, too: there RocksDB itself sees whether to read ahead. */
static enum engine_result rocks_scan_new(struct engine *e, const struct engine_snap *at,
                                         struct bytes lo, struct bytes hi, struct engine_iter **out)
{
    rocksdb_readoptions_t *options = read_options_new(true);
    rocksdb_readoptions_set_fill_cache(options, 0);
    if (at)
        rocksdb_readoptions_set_snapshot(options, at->snapshot);
    else
        rocksdb_readoptions_set_readahead_size(options, SCAN_AHEAD);
    *out = iter_make(rocks_of(e), lo, hi, false, options);
    (*out)->kept = at != NULL;
    return ENGINE_FOUND;
}

static struct engine_snap *rocks_snap_new(struct engine *e)
{
    struct engine_snap *s = mem_alloc(sizeof *s);
    s->snapshot = rocksdb_create_snapshot(rocks_of(e)->db);
    return s;
}

static void rocks_snap_free(struct engine *e, struct engine_snap *s)
{
    rocksdb_release_snapshot(rocks_of(e)->db, s->snapshot);
    mem_free(s);
}

/* Some kernels tell a processor that computes of a thread of higher rank only at its next tick,
 * which is 4 ms away: who reads a kept state asks before. Other scans keep their turn: groups that
 * move wait for them. */
static void iter_give_way(struct engine_iter *it)
{
    if (it->kept && ++it->steps % SCAN_GIVE_WAY == 0) (void)sched_yield();
}

static void iter_step(struct engine_iter *it)
{
    iter_give_way(it);
    const struct buf *from = it->from.size ? &it->from : &it->lo;
    if (!it->started) {
        it->started = true;
        if (it->reverse)
            rocksdb_iter_seek_to_last(it->iter); /* the last below the upper bound */
        else
            rocksdb_iter_seek(it->iter, (const char *)from->data, from->size);
    } else if (it->reverse) {
        rocksdb_iter_prev(it->iter);
    } else {
        rocksdb_iter_next(it->iter);
    }
}

static enum engine_result rocks_iter_next(struct engine_iter *it, struct bytes *key,
                                          struct bytes *value)
{
    iter_step(it);
    if (!rocksdb_iter_valid(it->iter)) {
        char *error = NULL;
        rocksdb_iter_get_error(it->iter, &error);
        return error ? rocks_read_error(it->engine, "iterate", error) : ENGINE_ABSENT;
    }
    key->data = (const uint8_t *)rocksdb_iter_key(it->iter, &key->size);
    value->data = (const uint8_t *)rocksdb_iter_value(it->iter, &value->size);
    return ENGINE_FOUND;
}

static void rocks_iter_seek(struct engine_iter *it, struct bytes key)
{
    ASSERT(!it->reverse);
    buf_clear(&it->from);
    buf_append_bytes(&it->from, key);
    it->started = false;
}

static void rocks_iter_free(struct engine_iter *it)
{
    rocksdb_iter_destroy(it->iter);
    rocksdb_readoptions_destroy(it->options);
    buf_deinit(&it->from);
    buf_deinit(&it->lo);
    buf_deinit(&it->hi);
    mem_free(it);
}

/* ---- wiped ranges, as a walk over the keys they hold ---- */

struct wipe {
    struct engine_rocks *engine;
    struct engine_range *range; /* sorted, apart */
    size_t count, at;
    rocksdb_readoptions_t *options;
    rocksdb_iterator_t *iter; /* in range[at]; NULL: not begun */
    bool found;
    struct bytes key; /* the next key to delete, if found */
    uint64_t deleted;
    char *error;
};

static int range_compare(const void *a, const void *b)
{
    return bytes_compare(((const struct engine_range *)a)->lo,
                         ((const struct engine_range *)b)->lo);
}

static void wipe_init(struct wipe *w, struct engine_rocks *r, const struct engine_source *source)
{
    *w = (struct wipe){.engine = r};
    if (source->wipe_count == 0) return;
    w->range = mem_dup(source->wipe, source->wipe_count * sizeof *w->range);
    qsort(w->range, source->wipe_count, sizeof *w->range, range_compare);
    for (size_t i = 0; i < source->wipe_count; i++) { /* join those that overlap */
        struct engine_range *last = w->count ? &w->range[w->count - 1] : NULL;
        if (!last || bytes_compare(w->range[i].lo, last->hi) > 0)
            w->range[w->count++] = w->range[i];
        else if (bytes_compare(w->range[i].hi, last->hi) > 0)
            last->hi = w->range[i].hi;
    }
    w->options = read_options_new(true);
    rocksdb_readoptions_set_fill_cache(w->options, 0);
}

static void wipe_end_range(struct wipe *w)
{
    if (w->iter) rocksdb_iter_destroy(w->iter);
    w->iter = NULL;
}

static void wipe_deinit(struct wipe *w)
{
    wipe_end_range(w);
    if (w->options) rocksdb_readoptions_destroy(w->options);
    mem_free(w->range);
}

static void wipe_begin_range(struct wipe *w)
{
    struct bytes lo = w->range[w->at].lo, hi = w->range[w->at].hi;
    rocksdb_readoptions_set_iterate_upper_bound(w->options, (const char *)hi.data, hi.size);
    w->iter = rocksdb_create_iterator(w->engine->db, w->options);
    rocksdb_iter_seek(w->iter, (const char *)lo.data, lo.size);
}

/* Finds the next key to delete, over all ranges in order. */
static void wipe_step(struct wipe *w)
{
    w->found = false;
    for (; w->at < w->count && !w->error; w->at++) {
        if (w->iter)
            rocksdb_iter_next(w->iter);
        else
            wipe_begin_range(w);
        if (rocksdb_iter_valid(w->iter)) {
            w->key.data = (const uint8_t *)rocksdb_iter_key(w->iter, &w->key.size);
            w->found = true;
            return;
        }
        rocksdb_iter_get_error(w->iter, &w->error);
        wipe_end_range(w);
    }
}

/* A walk over a range would step over all these deletions until they are merged with what they
 * delete. */
static void wipe_suggest_merge(struct wipe *w)
{
    if (w->deleted < WIPE_LARGE) return;
    struct bytes lo = w->range[0].lo, hi = w->range[w->count - 1].hi;
    char *error = NULL;
    rocksdb_suggest_compact_range(w->engine->db, (const char *)lo.data, lo.size,
                                  (const char *)hi.data, hi.size, &error);
    if (error) rocks_note_error(w->engine, "suggest a merge", error);
    rocksdb_free(error);
}

/* ---- room ---- */

static uint64_t room_at(const char *path)
{
    struct statvfs st;
    if (statvfs(path, &st) != 0) return UINT64_MAX; /* then a write will tell */
    return (uint64_t)st.f_bavail * st.f_frsize;
}

static void reserve_name(const struct engine_rocks *r, struct buf *name)
{
    buf_printf(name, "%s/" RESERVE_FILE, r->path);
    buf_u8(name, 0);
}

static void reserve_give_up(const struct engine_rocks *r)
{
    struct buf name = {0};
    if (room_at(r->path) >= RESERVE_BYTES) return;
    reserve_name(r, &name);
    (void)unlink((const char *)name.data);
    buf_deinit(&name);
}

/* Where the file system cannot, there is none. */
static void reserve_make(const struct engine_rocks *r)
{
    struct buf name = {0};
    struct stat st;
    reserve_name(r, &name);
    if (stat((const char *)name.data, &st) != 0 && room_at(r->path) >= 4ull * RESERVE_BYTES) {
        int fd = open((const char *)name.data, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd >= 0 && fallocate(fd, 0, 0, RESERVE_BYTES) != 0)
            (void)unlink((const char *)name.data);
        if (fd >= 0) (void)close(fd);
    }
    buf_deinit(&name);
}

/* How much a merge of this file is worth. In the last level there is nothing below to delete. A
 * file whose numbers are not known yet (just after opening) is worth a try. */
static uint64_t reclaim_worth(const rocksdb_livefiles_t *files, int i, int last_level)
{
    if (rocksdb_livefiles_level(files, i) >= last_level) return 0;
    if (rocksdb_livefiles_entries(files, i) == 0) return 1;
    return rocksdb_livefiles_deletions(files, i);
}

/* A merge needs room for its output before its input goes; so one file at a time, with what it
 * overlaps. */
static void rocks_reclaim(struct engine *e)
{
    struct engine_rocks *r = rocks_of(e);
    const rocksdb_livefiles_t *files = rocksdb_livefiles(r->db);
    int count = rocksdb_livefiles_count(files), last = 0, best = -1;
    uint64_t most = 0;
    for (int i = 0; i < count; i++)
        if (rocksdb_livefiles_level(files, i) > last) last = rocksdb_livefiles_level(files, i);
    for (int i = 0; i < count; i++) {
        uint64_t worth = reclaim_worth(files, i, last);
        if (worth > most) most = worth, best = i;
    }
    if (best >= 0) {
        size_t lo_size, hi_size;
        const char *lo = rocksdb_livefiles_smallestkey(files, best, &lo_size),
                   *hi = rocksdb_livefiles_largestkey(files, best, &hi_size);
        char *error = NULL;
        rocksdb_suggest_compact_range(r->db, lo, lo_size, hi, hi_size, &error);
        if (error) rocks_note_error(r, "suggest a merge", error);
        rocksdb_free(error);
    }
    rocksdb_livefiles_destroy(files);
}

/* ---- ingesting ---- */

struct ingest {
    struct engine_rocks *engine;
    char **file; /* finished ones, and the open one last */
    size_t count;
    rocksdb_sstfilewriter_t *writer;
    size_t open_bytes; /* 0: no file is open */
    bool open_system;
    char *error;
};

static void ingest_open(struct ingest *g)
{
    ASSERT(g->open_bytes == 0);
    struct engine_rocks *r = g->engine;
    pthread_mutex_lock(&r->lock);
    uint64_t number = ++r->file_number;
    pthread_mutex_unlock(&r->lock);
    struct buf name = {0};
    buf_printf(&name, "%s/" INGEST_DIR "/%llu.sst", r->path, (unsigned long long)number);
    buf_u8(&name, 0);
    g->file = mem_realloc(g->file, (g->count + 1) * sizeof *g->file);
    g->file[g->count++] = (char *)name.data;
    g->writer = rocksdb_sstfilewriter_create(r->env_options, r->options);
    rocksdb_sstfilewriter_open(g->writer, (const char *)name.data, &g->error);
    g->open_bytes = 1;
}

static void ingest_finish(struct ingest *g)
{
    if (g->open_bytes == 0) return;
    if (!g->error) rocksdb_sstfilewriter_finish(g->writer, &g->error); /* synced to disk */
    rocksdb_sstfilewriter_destroy(g->writer);
    g->writer = NULL;
    g->open_bytes = 0;
}

static bool key_is_system(struct bytes key)
{
    return key.size >= 2 && key.data[0] == 0xff && key.data[1] == 0xff;
}

static void ingest_key(struct ingest *g, struct bytes key, struct bytes value, bool deleted)
{
    bool system = key_is_system(key);
    if (g->open_bytes >= FILE_BYTES || (g->open_bytes && g->open_system != system))
        ingest_finish(g);
    if (g->open_bytes == 0 && !g->error) ingest_open(g);
    if (g->error) return; /* nothing is open: the last finish, or this open, failed */
    g->open_system = system;
    g->open_bytes += key.size + value.size;
    if (deleted)
        rocksdb_sstfilewriter_delete(g->writer, (const char *)key.data, key.size, &g->error);
    else
        rocksdb_sstfilewriter_put(g->writer, (const char *)key.data, key.size,
                                  (const char *)value.data, value.size, &g->error);
}

/* The batch and the deletions of the wipe, merged in order; a key of the batch stands for its own
 * deletion. */
static void ingest_keys(struct ingest *g, struct engine_source *source, struct wipe *w)
{
    struct bytes key, value;
    bool deleted;
    wipe_step(w);
    while (!g->error && !w->error && source->next(source->ctx, &key, &value, &deleted)) {
        int order = -1;
        while (w->found && !g->error && (order = bytes_compare(w->key, key)) < 0) {
            ingest_key(g, w->key, (struct bytes){0}, true);
            w->deleted++;
            wipe_step(w);
        }
        if (w->found && order == 0) wipe_step(w);
        if (!g->error && !w->error)
            ingest_key(g, key, deleted ? (struct bytes){0} : value, deleted);
    }
    for (; w->found && !g->error && !w->error; wipe_step(w), w->deleted++)
        ingest_key(g, w->key, (struct bytes){0}, true);
    ingest_finish(g);
    if (g->error)
        rocksdb_free(w->error);
    else
        g->error = w->error;
}

static int rocks_ingest(struct engine *e, struct engine_source *source)
{
    struct engine_rocks *r = rocks_of(e);
    struct ingest g = {.engine = r};
    struct wipe wipe;
    wipe_init(&wipe, r, source);
    ingest_keys(&g, source, &wipe);
    bool full = !g.error && room_at(r->path) < MANIFEST_ROOM;
    if (!full && !g.error && g.count)
        rocksdb_ingest_external_file(r->db, (const char *const *)g.file, g.count, r->ingest_options,
                                     &g.error);
    if (!full && !g.error) {
        wipe_suggest_merge(&wipe);
        reserve_make(r);
    }
    wipe_deinit(&wipe);
    for (size_t i = 0; i < g.count; i++) {
        if (full || g.error) (void)unlink(g.file[i]); /* after success RocksDB has moved them */
        mem_free(g.file[i]);
    }
    mem_free(g.file);
    if (g.error) return rocks_write_error(r, g.error);
    if (full) {
        rocks_note_error(r, "ingest", "no room is left for the manifest");
        return -ENOSPC;
    }
    pthread_mutex_lock(&r->lock);
    r->ingests++;
    pthread_mutex_unlock(&r->lock);
    return 0;
}

/* ---- numbers ---- */

static uint64_t rocks_property(struct engine_rocks *r, const char *name)
{
    uint64_t value = 0;
    return rocksdb_property_int(r->db, name, &value) == 0 ? value : 0;
}

static uint64_t rocks_disk_bytes(struct engine *e)
{
    return rocks_property(rocks_of(e), "rocksdb.total-sst-files-size");
}

static void rocks_stats(struct engine *e, struct buf *text)
{
    struct engine_rocks *r = rocks_of(e);
    static const struct {
        const char *name, *property;
    } row[] = {
        {"engine_disk_bytes", "rocksdb.total-sst-files-size"},
        {"engine_live_data_bytes", "rocksdb.estimate-live-data-size"},
        {"engine_keys_estimate", "rocksdb.estimate-num-keys"},
        {"engine_block_cache_bytes", "rocksdb.block-cache-usage"},
        {"engine_table_readers_bytes", "rocksdb.estimate-table-readers-mem"},
        {"engine_files_level0", "rocksdb.num-files-at-level0"},
        {"engine_compactions_running", "rocksdb.num-running-compactions"},
        {"engine_compaction_pending_bytes", "rocksdb.estimate-pending-compaction-bytes"},
        {"engine_background_errors", "rocksdb.background-errors"},
    };
    buf_printf(text, "engine:rocksdb\r\n");
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        uint64_t value = rocks_property(r, row[i].property);
        if (strcmp(row[i].name, "engine_files_level0") == 0) { /* this one is text */
            char *files = rocksdb_property_value(r->db, row[i].property);
            buf_printf(text, "%s:%s\r\n", row[i].name, files ? files : "0");
            rocksdb_free(files);
            continue;
        }
        buf_printf(text, "%s:%llu\r\n", row[i].name, (unsigned long long)value);
    }
    pthread_mutex_lock(&r->lock);
    buf_printf(text, "engine_ingests:%llu\r\nengine_misses:%llu\r\nengine_errors:%llu\r\n",
               (unsigned long long)r->ingests, (unsigned long long)r->misses,
               (unsigned long long)r->errors);
    if (r->errors) buf_printf(text, "engine_last_error:%s\r\n", r->last_error);
    pthread_mutex_unlock(&r->lock);
}

/* ---- opening and closing ---- */

static void rocks_close(struct engine *e)
{
    struct engine_rocks *r = rocks_of(e);
    if (r->db) {
        rocksdb_cancel_all_background_work(r->db, 1);
        rocksdb_close(r->db);
    }
    rocksdb_readoptions_destroy(r->read_cached);
    rocksdb_readoptions_destroy(r->read_blocking);
    rocksdb_ingestexternalfileoptions_destroy(r->ingest_options);
    rocksdb_envoptions_destroy(r->env_options);
    rocksdb_options_destroy(r->options);
    rocksdb_block_based_options_destroy(r->table_options);
    rocksdb_cache_destroy(r->cache);
    pthread_mutex_destroy(&r->lock);
    mem_free(r->path);
    mem_free(r);
}

/* Indexes and filters live in the block cache in small parts, so that memory is bounded by
 * cache_bytes whatever the data's size. */
static void rocks_table_options(struct engine_rocks *r, size_t cache_bytes)
{
    r->cache = rocksdb_cache_create_lru(cache_bytes);
    rocksdb_block_based_table_options_t *t = r->table_options =
        rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(t, r->cache);
    rocksdb_block_based_options_set_format_version(t, 5);
    rocksdb_block_based_options_set_checksum(t, 4); /* XXH3 */
    rocksdb_block_based_options_set_block_size(t, 4096);
    rocksdb_block_based_options_set_data_block_index_type(t,
                                                          1); /* point reads hash within a block */
    rocksdb_block_based_options_set_data_block_hash_ratio(t, 0.75);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_whole_key_filtering(t, 1);
    rocksdb_block_based_options_set_index_type(
        t, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_partition_filters(t, 1);
    rocksdb_block_based_options_set_metadata_block_size(t, 4096);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(t, 1);
    rocksdb_block_based_options_set_pin_top_level_index_and_filter(t, 1);
    rocksdb_options_set_block_based_table_factory(r->options, t);
}

static void rocks_options(struct engine_rocks *r, size_t cache_bytes)
{
    rocksdb_options_t *o = r->options = rocksdb_options_create();
    rocks_table_options(r, cache_bytes);
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_paranoid_checks(o, 1);
    rocksdb_options_set_compression(o, rocksdb_lz4_compression);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_target_file_size_base(o, FILE_BYTES);
    rocksdb_options_set_max_bytes_for_level_base(o, LEVEL_BYTES);
    rocksdb_options_compaction_readahead_size(o, 1u << 20);
    rocksdb_options_set_bytes_per_sync(o, 1u << 20);
    rocksdb_options_add_compact_on_deletion_collector_factory(o, DELETED_WINDOW, DELETED_MANY);
    /* The write buffer is never used. Nothing may ever stall: back-pressure is the node's business
     * (PROTOCOLS 2.3). */
    rocksdb_options_set_write_buffer_size(o, 64u << 10);
    rocksdb_options_set_level0_slowdown_writes_trigger(o, NEVER);
    rocksdb_options_set_level0_stop_writes_trigger(o, NEVER);
    rocksdb_options_set_soft_pending_compaction_bytes_limit(o, 0);
    rocksdb_options_set_hard_pending_compaction_bytes_limit(o, 0);
    rocksdb_options_set_avoid_unnecessary_blocking_io(
        o, 1); /* the reactor frees iterators: leave deleting files to others */
    rocksdb_options_set_info_log_level(o, 2); /* warnings */
    rocksdb_options_set_keep_log_file_num(o, 2);
    rocksdb_options_set_max_log_file_size(o, 1u << 20);
    rocksdb_options_set_max_manifest_file_size(o, 4u << 20);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
}

/* Creates a directory, durably, unless it exists. 0 or -errno. */
static int dir_make(const char *path)
{
    if (mkdir(path, 0777) != 0) return errno == EEXIST ? 0 : -errno;
    struct buf parent = {0};
    const char *slash = strrchr(path, '/');
    if (slash == path)
        buf_append(&parent, "/", 2);
    else if (slash)
        buf_append(&parent, path, (size_t)(slash - path)), buf_u8(&parent, 0);
    else
        buf_append(&parent, ".", 2);
    int fd = open((const char *)parent.data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    buf_deinit(&parent);
    if (fd < 0) return -errno;
    int error = fsync(fd) == 0 ? 0 : -errno;
    (void)close(fd);
    return error;
}

/* Files that a crash left on their way into the store belong to no flush that was reported. */
static int dir_empty(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir) return -errno;
    int error = 0;
    struct dirent *entry;
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.' && unlinkat(dirfd(dir), entry->d_name, 0) != 0) error = -errno;
    (void)closedir(dir);
    return error;
}

/* One line that says what is wrong with the store and what to do. */
static void open_error(const char *path, const char *text, char *error, size_t error_size)
{
    if (strstr(text, "/LOCK"))
        (void)snprintf(error, error_size,
                       "%s: in use by another process; stop it or choose another data directory",
                       path);
    else if (begins(text, "Corruption"))
        (void)snprintf(
            error, error_size,
            "%s: damaged (%s); move the data directory away and let this node join as a new one",
            path, text);
    else if (strstr(text, "No space left"))
        (void)snprintf(error, error_size, "%s: the disk is full; make room and start again", path);
    else
        (void)snprintf(error, error_size, "%s: cannot open the store: %s", path, text);
    for (char *c = error; *c; c++)
        if (*c == '\n' || *c == '\r') *c = ' ';
}

static bool rocks_open_db(struct engine_rocks *r, char *error, size_t error_size)
{
    char *text = NULL;
    struct buf ingest = {0};
    buf_printf(&ingest, "%s/" INGEST_DIR, r->path);
    buf_u8(&ingest, 0);
    int failed = dir_make(r->path);
    if (!failed) reserve_give_up(r);
    if (!failed) failed = dir_make((const char *)ingest.data);
    if (failed) {
        open_error(r->path, strerror(-failed), error, error_size);
    } else if (!(r->db = rocksdb_open(r->options, r->path, &text))) {
        open_error(r->path, text ? text : "unknown error", error, error_size);
    } else if ((failed =
                    dir_empty((const char *)ingest.data))) { /* only now that the store is locked */
        open_error(r->path, strerror(-failed), error, error_size);
    }
    rocksdb_free(text);
    buf_deinit(&ingest);
    return r->db && !failed;
}

struct engine *engine_rocks_open(const char *path, size_t cache_bytes, char *error,
                                 size_t error_size)
{
    static const struct engine_ops ops = {
        .get = rocks_get,
        .iter_new = rocks_iter_new,
        .scan_new = rocks_scan_new,
        .snap_new = rocks_snap_new,
        .snap_free = rocks_snap_free,
        .iter_next = rocks_iter_next,
        .iter_seek = rocks_iter_seek,
        .iter_free = rocks_iter_free,
        .ingest = rocks_ingest,
        .stats = rocks_stats,
        .disk_bytes = rocks_disk_bytes,
        .reclaim = rocks_reclaim,
        .close = rocks_close,
    };
    ASSERT(error_size > 0);
    error[0] = 0;
    struct engine_rocks *r = mem_zalloc(sizeof *r);
    r->engine.ops = &ops;
    r->path = mem_strdup(path);
    pthread_mutex_init(&r->lock, NULL);
    rocks_options(r, cache_bytes);
    r->env_options = rocksdb_envoptions_create();
    r->read_blocking = read_options_new(true);
    r->read_cached = read_options_new(false);
    r->ingest_options = rocksdb_ingestexternalfileoptions_create();
    rocksdb_ingestexternalfileoptions_set_move_files(r->ingest_options, 1);
    if (rocks_open_db(r, error, error_size)) return &r->engine;
    rocks_close(&r->engine);
    return NULL;
}
