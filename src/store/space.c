#include "store/space.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "store/cache.h"
#include "store/merge.h"
#include "store/ranges.h"
#include "store/table.h"

#include <stdlib.h>

#define ALL_VERSIONS UINT64_MAX

/* A range of keys in a table that is flushed: the space's own, or one that was split off. */
struct part {
    struct buf lo, hi;
    bool wiped; /* what the engine holds of it goes */
    struct buf record_key, record;
};

struct parts {
    struct part *list;
    size_t count;
};

/* What the pool works on while it writes the frozen table. */
struct flush {
    struct io_work work;
    bool running;
    uint64_t position;  /* what the frozen table holds up to; after success what the engine does */
    struct parts parts; /* of the frozen table: those split off, and last the space's own range;
                           from flush_start on in the order of their records' keys */
    size_t part_at;     /* the next record to give */
    struct engine_source source;
    struct engine_range *wipe; /* the wiped parts and the trash */
    struct ranges trash;
    size_t trash_at;
    struct table_cursor cursor;
    int error;
};

struct space {
    struct io *io;
    struct engine *engine;
    struct space_cache *cache;
    bool cache_own; /* it keeps nothing, but holds what is borrowed */
    struct buf lo, hi, applied_key;
    void (*flushed)(void *ctx, uint64_t position, int error);
    void *ctx;

    uint64_t applied;
    struct table *recent;
    struct parts born;    /* split off recent, by falling lo */
    struct table *frozen; /* NULL, or what is on its way to the engine; no pending writes */
    struct flush flush;
    struct buf record;  /* as the engine has it */
    struct buf scratch; /* a value on its way from the engine to the cache */
};

static void parts_free(struct parts *p)
{
    for (size_t i = 0; i < p->count; i++) {
        buf_deinit(&p->list[i].lo);
        buf_deinit(&p->list[i].hi);
        buf_deinit(&p->list[i].record_key);
        buf_deinit(&p->list[i].record);
    }
    mem_free(p->list);
    *p = (struct parts){0};
}

static void parts_add(struct parts *p, const struct buf *lo, const struct buf *hi, bool wiped,
                      struct bytes record_key, struct bytes record)
{
    p->list = mem_realloc(p->list, (p->count + 1) * sizeof *p->list);
    struct part *part = &p->list[p->count++];
    *part = (struct part){.wiped = wiped};
    buf_append_bytes(&part->lo, buf_bytes(lo));
    buf_append_bytes(&part->hi, buf_bytes(hi));
    buf_append_bytes(&part->record_key, record_key);
    buf_append_bytes(&part->record, record);
}

struct space *space_new(const struct space_options *o)
{
    ASSERT(o->hi.size > 0 && bytes_compare(o->lo, o->hi) < 0 &&
           bytes_compare(o->hi, o->applied_key) <= 0);
    struct space *s = mem_zalloc(sizeof *s);
    s->io = o->io;
    s->engine = o->engine;
    s->cache = o->cache ? o->cache : space_cache_new(0);
    s->cache_own = !o->cache;
    buf_append_bytes(&s->lo, o->lo);
    buf_append_bytes(&s->hi, o->hi);
    buf_append_bytes(&s->applied_key, o->applied_key);
    buf_append_bytes(&s->record, o->record);
    s->flushed = o->flushed;
    s->ctx = o->ctx;
    s->recent = table_new(0);
    cache_forget_range(s->cache, o->lo, o->hi);
    return s;
}

void space_free(struct space *s)
{
    if (!s) return;
    table_free(s->recent);
    table_free(s->frozen);
    if (s->cache_own) space_cache_free(s->cache);
    ranges_deinit(&s->flush.trash);
    mem_free(s->flush.wipe);
    parts_free(&s->flush.parts);
    parts_free(&s->born);
    buf_deinit(&s->record);
    buf_deinit(&s->lo);
    buf_deinit(&s->hi);
    buf_deinit(&s->applied_key);
    buf_deinit(&s->scratch);
    mem_free(s);
}

enum engine_result space_flushed_record(struct space *s, struct buf *record)
{
    return engine_get(s->engine, buf_bytes(&s->applied_key), true, record);
}

struct bytes space_record(const struct space *s)
{
    return buf_bytes(&s->record);
}

void space_source(const struct space *s, struct io **io, struct engine **engine)
{
    *io = s->io;
    *engine = s->engine;
}

static bool in_range(const struct space *s, struct bytes key)
{
    return bytes_compare(buf_bytes(&s->lo), key) <= 0 && bytes_compare(key, buf_bytes(&s->hi)) < 0;
}

/* ---- reading ---- */

/* What the tables say of a key, a wipe counting as its deletion. NONE: ask the engine. */
static enum table_found space_lookup(const struct space *s, struct bytes key, struct bytes *value,
                                     uint64_t *position)
{
    const struct table *layer[] = {s->recent, s->frozen};
    for (int i = 0; i < 2 && layer[i]; i++) {
        enum table_found found = table_get(layer[i], key, value, position);
        if (found != TABLE_NONE) return found;
        *position = table_wiped(layer[i], ALL_VERSIONS);
        if (*position) return TABLE_DELETED;
    }
    *position = 0;
    return TABLE_NONE;
}

/* The engine's answer, through the cache. */
static enum engine_result space_get_engine(struct space *s, struct bytes key, bool block,
                                           struct bytes *value)
{
    switch (cache_get(s->cache, key, value)) {
    case CACHE_VALUE: return ENGINE_FOUND;
    case CACHE_ABSENT: return ENGINE_ABSENT;
    case CACHE_NONE: break;
    }
    enum engine_result result = engine_get(s->engine, key, block, &s->scratch);
    if (result == ENGINE_FOUND || result == ENGINE_ABSENT) {
        struct bytes kept =
            cache_fill(s->cache, key, buf_bytes(&s->scratch), result == ENGINE_ABSENT);
        if (result == ENGINE_FOUND) *value = kept;
    }
    if (s->scratch.capacity > 1u << 16)
        buf_deinit(&s->scratch); /* one large value should not stay for ever */
    return result;
}

enum engine_result space_get_at(struct space *s, struct bytes key, bool block, struct bytes *value,
                                uint64_t *position)
{
    *value = (struct bytes){0};
    switch (space_lookup(s, key, value, position)) {
    case TABLE_VALUE: return ENGINE_FOUND;
    case TABLE_DELETED: return ENGINE_ABSENT;
    case TABLE_NONE: break;
    }
    return space_get_engine(s, key, block, value);
}

/* Puts all layers that are visible at `upto` into a merge. */
static void space_merge(const struct space *s, struct merge *m, uint64_t upto, bool block)
{
    merge_add_table(m, s->recent, upto);
    if (table_wiped(s->recent, upto)) return;
    if (s->frozen) {
        merge_add_table(m, s->frozen, upto);
        if (table_wiped(s->frozen, upto)) return;
    }
    merge_add_engine(m, s->engine, block);
}

/* Ends the merge. */
static enum engine_result merge_visit(struct merge *m,
                                      bool (*each)(void *ctx, struct bytes key, struct bytes value),
                                      void *ctx)
{
    struct bytes key, value;
    enum engine_result result;
    while ((result = merge_next(m, &key, &value)) == ENGINE_FOUND)
        if (!each(ctx, key, value)) break;
    merge_deinit(m);
    return result;
}

/* `m` is made with its range; the rest as space_range. */
static enum engine_result space_visit(struct space *s, struct merge *m, uint64_t upto, bool block,
                                      bool (*each)(void *ctx, struct bytes key, struct bytes value),
                                      void *ctx)
{
    ASSERT(m->hi.size > 0);
    if (bytes_compare(m->lo, m->hi) >= 0) return ENGINE_ABSENT;
    space_merge(s, m, upto, block);
    return merge_visit(m, each, ctx);
}

enum engine_result space_range(struct space *s, struct bytes lo, struct bytes hi, bool reverse,
                               bool block,
                               bool (*each)(void *ctx, struct bytes key, struct bytes value),
                               void *ctx)
{
    struct merge m;
    merge_init(&m, lo, hi, reverse);
    return space_visit(s, &m, ALL_VERSIONS, block, each, ctx);
}

enum engine_result
space_range_applied(struct space *s, struct bytes lo, struct bytes hi, bool block,
                    bool (*each)(void *ctx, struct bytes key, struct bytes value), void *ctx)
{
    struct merge m;
    merge_init(&m, lo, hi, false);
    return space_visit(s, &m, s->applied, block, each, ctx);
}

/* ---- kept states ---- */

struct space_pin {
    struct engine *engine;
    struct engine_snap *snap;
    struct table *recent, *frozen; /* NULL: none */
    bool copied;                   /* recent is its own */
    uint64_t upto;
};

struct space_pin *space_pin_new(struct space *s)
{
    struct space_pin *p = mem_alloc(sizeof *p);
    *p = (struct space_pin){.engine = s->engine, .upto = s->applied, .frozen = s->frozen};
    if (table_has_applied(s->recent)) p->recent = s->recent;
    if (p->recent) table_keep(p->recent, p->upto);
    if (p->frozen) table_keep(p->frozen, p->upto);
    p->snap = engine_snap_new(s->engine);
    return p;
}

void space_pin_free(struct space_pin *p)
{
    if (!p) return;
    if (p->copied)
        table_free(p->recent);
    else if (p->recent)
        table_unkeep(p->recent, p->upto);
    if (p->frozen) table_unkeep(p->frozen, p->upto);
    engine_snap_free(p->engine, p->snap);
    mem_free(p);
}

/* What is seen of a table at a position, as a table of its own. It has no wipe. */
static struct table *table_copy(const struct table *t, uint64_t upto)
{
    struct table *copy = table_new(0);
    struct table_cursor c;
    struct bytes key, value;
    enum table_found found;
    table_seek(t, (struct bytes){0}, upto, &c);
    while ((found = table_next(&c, &key, &value)) != TABLE_NONE) {
        if (found == TABLE_VALUE)
            table_put(copy, upto, key, value);
        else
            table_del(copy, upto, key);
    }
    table_set_applied(copy, upto);
    return copy;
}

bool space_pin_settle(struct space_pin *p)
{
    if (!p->recent || p->copied || table_is_frozen(p->recent)) return true;
    if (table_bytes(p->recent) > SPACE_PIN_COPY || table_wiped(p->recent, p->upto)) return false;
    struct table *copy = table_copy(p->recent, p->upto);
    table_unkeep(p->recent, p->upto);
    p->recent = copy;
    p->copied = true;
    return true;
}

static void pin_merge(const struct space_pin *p, struct merge *m)
{
    const struct table *layer[] = {p->recent, p->frozen};
    for (int i = 0; i < 2; i++) {
        if (!layer[i]) continue;
        merge_add_table(m, layer[i], p->upto);
        if (table_wiped(layer[i], p->upto)) return;
    }
    merge_add_snap(m, p->engine, p->snap);
}

enum engine_result space_pin_range(const struct space_pin *p, struct bytes lo, struct bytes hi,
                                   bool (*each)(void *ctx, struct bytes key, struct bytes value),
                                   void *ctx)
{
    struct merge m;
    if (bytes_compare(lo, hi) >= 0) return ENGINE_ABSENT;
    merge_init(&m, lo, hi, false);
    pin_merge(p, &m);
    return merge_visit(&m, each, ctx);
}

/* Engine keys that a walk over [lo, hi) may have to step over because a table deleted them. */
static uint64_t space_hidden(const struct space *s, struct bytes lo, struct bytes hi)
{
    uint64_t hidden = 0;
    const struct table *layer[] = {s->recent, s->frozen};
    for (int i = 0; i < 2 && layer[i]; i++) {
        struct table_cursor c;
        struct bytes key, value;
        enum table_found found;
        table_seek(layer[i], lo, ALL_VERSIONS, &c);
        while ((found = table_next(&c, &key, &value)) != TABLE_NONE && bytes_compare(key, hi) < 0)
            hidden += found == TABLE_DELETED;
    }
    return hidden;
}

static void fetch_run(void *ctx)
{
    struct space_fetch *f = ctx;
    struct bytes lo = buf_bytes(&f->lo), hi = buf_bytes(&f->hi), key, value;
    if (hi.size == 0) {
        f->result = engine_get(f->engine, lo, true, &f->value);
        return;
    }
    struct engine_iter *it;
    f->result = engine_iter_new(f->engine, lo, hi, f->reverse, true, &it);
    if (f->result != ENGINE_FOUND) return;
    for (uint64_t i = 0; i <= f->keys_max && f->result == ENGINE_FOUND;
         i++) /* one more: the walk looks at it to stop */
        f->result = engine_iter_next(f->engine, it, &key, &value);
    engine_iter_free(f->engine, it);
}

static void fetch_done(void *ctx)
{
    struct space_fetch *f = ctx;
    if (f->ticket && f->result != ENGINE_E_IO)
        cache_fill_reserved(f->cache, f->ticket, buf_bytes(&f->lo), buf_bytes(&f->value),
                            f->result == ENGINE_ABSENT);
    buf_deinit(&f->value);
    f->done(f->ctx, f);
}

void space_fetch(struct space *s, struct space_fetch *f)
{
    struct bytes lo = buf_bytes(&f->lo), hi = buf_bytes(&f->hi), value;
    uint64_t position;
    f->engine = s->engine;
    f->cache = s->cache_own ? NULL : s->cache;
    f->ticket = 0;
    f->value = (struct buf){0};
    f->keys_max = UINT64_MAX - 1;
    if (hi.size == 0) {
        if (f->cache && space_lookup(s, lo, &value, &position) == TABLE_NONE)
            f->ticket = cache_reserve(f->cache, lo);
    } else if (f->limit) {
        f->keys_max = f->limit + space_hidden(s, lo, hi);
    }
    f->work = (struct io_work){.run = fetch_run, .done = fetch_done, .ctx = f};
    io_work(s->io, &f->work);
}

/* ---- writing ---- */

/* Every change ends the borrowing of what was read from this space. */
static void space_change(struct space *s)
{
    if (s->cache_own) space_cache_turn(s->cache);
}

void space_put(struct space *s, uint64_t position, struct bytes key, struct bytes value)
{
    ASSERT(in_range(s, key));
    table_put(s->recent, position, key, value);
    cache_forget(s->cache, key);
    space_change(s);
}

void space_del(struct space *s, uint64_t position, struct bytes key)
{
    ASSERT(in_range(s, key));
    table_del(s->recent, position, key);
    cache_forget(s->cache, key);
    space_change(s);
}

void space_wipe(struct space *s, uint64_t position)
{
    table_wipe(s->recent, position);
    cache_forget_range(s->cache, buf_bytes(&s->lo), buf_bytes(&s->hi));
    space_change(s);
}

void space_trash(struct space *s, uint64_t position, struct bytes prefix)
{
    ASSERT(in_range(s, prefix));
    table_trash(s->recent, position, prefix);
    space_change(s);
}

void space_set_applied(struct space *s, uint64_t position)
{
    ASSERT(position >= s->applied);
    s->applied = position;
    table_set_applied(s->recent, position);
}

void space_drop_pending(struct space *s)
{
    table_drop_pending(s->recent);
    space_change(s);
}

/* ---- flushing ---- */

size_t space_recent_bytes(const struct space *s)
{
    return table_bytes(s->recent);
}

size_t space_memory(const struct space *s)
{
    return table_bytes(s->recent) + (s->frozen ? table_bytes(s->frozen) : 0);
}

bool space_flushing(const struct space *s)
{
    return s->flush.running;
}

static bool flush_wiped(const struct flush *f, struct bytes key)
{
    for (size_t i = 0; i < f->parts.count; i++) {
        const struct part *p = &f->parts.list[i];
        if (bytes_compare(buf_bytes(&p->lo), key) <= 0 && bytes_compare(key, buf_bytes(&p->hi)) < 0)
            return p->wiped;
    }
    ASSERT(false);
    return false;
}

/* The frozen table's keys in order, then the records, which sort behind every group's keys. */
static bool flush_next(void *ctx, struct bytes *key, struct bytes *value, bool *deleted)
{
    struct space *s = ctx;
    struct flush *f = &s->flush;
    enum table_found found;
    while ((found = table_next(&f->cursor, key, value)) != TABLE_NONE) {
        *deleted = found == TABLE_DELETED;
        if (*deleted && flush_wiped(f, *key)) continue; /* the wipe deletes it in the engine */
        if (!ranges_cover(&f->trash, &f->trash_at, *key)) return true;
    }
    if (f->part_at == f->parts.count) return false;
    const struct part *p = &f->parts.list[f->part_at++];
    *key = buf_bytes(&p->record_key);
    *value = buf_bytes(&p->record);
    *deleted = false;
    return true;
}

static void flush_run(void *ctx)
{
    struct space *s = ctx;
    s->flush.error = engine_ingest(s->engine, &s->flush.source);
}

/* The engine has the frozen table, and its records. */
static void flush_landed(struct space *s)
{
    struct flush *f = &s->flush;
    for (size_t i = 0; i < f->parts.count; i++) {
        const struct part *p = &f->parts.list[i];
        if (!bytes_equal(buf_bytes(&p->record_key), buf_bytes(&s->applied_key))) continue;
        buf_clear(&s->record);
        buf_append_bytes(&s->record, buf_bytes(&p->record));
    }
    parts_free(&f->parts);
    table_free(s->frozen);
    s->frozen = NULL;
    space_change(s);
}

static void flush_done(void *ctx)
{
    struct space *s = ctx;
    ASSERT(s->flush.running && s->frozen);
    s->flush.running = false;
    ranges_deinit(&s->flush.trash);
    mem_free(s->flush.wipe);
    s->flush.wipe = NULL;
    if (s->flush.error == 0) flush_landed(s);
    s->flushed(s->ctx, s->flush.position, s->flush.error);
}

static int part_compare(const void *a, const void *b)
{
    return bytes_compare(buf_bytes(&((const struct part *)a)->record_key),
                         buf_bytes(&((const struct part *)b)->record_key));
}

static void space_freeze(struct space *s, struct bytes record)
{
    struct parts *parts = &s->flush.parts;
    s->frozen = s->recent;
    s->recent = table_split_pending(s->frozen);
    s->flush.position = s->applied;
    ASSERT(parts->count == 0);
    *parts = s->born;
    s->born = (struct parts){0};
    parts_add(parts, &s->lo, &s->hi, table_wiped(s->frozen, ALL_VERSIONS) != 0,
              buf_bytes(&s->applied_key), record);
    qsort(parts->list, parts->count, sizeof *parts->list, part_compare);
    space_change(s);
}

/* What the engine deletes before it takes the table. */
static void flush_make_wipe(struct flush *f)
{
    size_t count = f->trash.count;
    f->wipe = mem_alloc((f->parts.count + count) * sizeof *f->wipe);
    if (count) memcpy(f->wipe, f->trash.list, count * sizeof *f->wipe);
    for (size_t i = 0; i < f->parts.count; i++) {
        const struct part *p = &f->parts.list[i];
        if (p->wiped)
            f->wipe[count++] = (struct engine_range){buf_bytes(&p->lo), buf_bytes(&p->hi)};
    }
    f->source.wipe = f->wipe;
    f->source.wipe_count = count;
}

static void flush_start(struct space *s)
{
    struct flush *f = &s->flush;
    ASSERT(!f->running && !table_has_pending(s->frozen));
    f->running = true;
    f->part_at = f->trash_at = 0;
    ranges_add_trash(&f->trash, s->frozen, ALL_VERSIONS);
    ranges_sort(&f->trash);
    f->source = (struct engine_source){.next = flush_next, .ctx = s};
    flush_make_wipe(f);
    table_seek(s->frozen, buf_bytes(&s->lo), ALL_VERSIONS, &f->cursor);
    f->work = (struct io_work){.run = flush_run, .done = flush_done, .ctx = s};
    io_work(s->io, &f->work);
}

bool space_flush(struct space *s, uint64_t applied, struct bytes record)
{
    space_set_applied(s, applied);
    if (s->flush.running) return false;
    if (!s->frozen) {
        if (s->flush.position == applied && !table_has_applied(s->recent)) return false;
        space_freeze(s, record);
    }
    flush_start(s);
    return true;
}

void space_narrow(struct space *s, struct bytes at, struct bytes record_key, struct bytes record)
{
    struct buf lo = {0};
    ASSERT(bytes_compare(buf_bytes(&s->lo), at) < 0 && in_range(s, at));
    ASSERT(!table_has_pending(s->recent) && !bytes_equal(record_key, buf_bytes(&s->applied_key)));
    buf_append_bytes(&lo, at);
    parts_add(&s->born, &lo, &s->hi, table_wiped(s->recent, ALL_VERSIONS) != 0, record_key, record);
    table_narrow(s->recent, at);
    buf_deinit(&s->hi);
    s->hi = lo;
    space_change(s);
}

bool space_wiped(const struct space *s)
{
    return table_wiped(s->recent, ALL_VERSIONS) ||
           (s->frozen && table_wiped(s->frozen, ALL_VERSIONS));
}

void space_widen(struct space *s, struct bytes new_hi, struct bytes record_key, struct bytes record)
{
    const struct buf none = {0};
    ASSERT(bytes_compare(buf_bytes(&s->hi), new_hi) < 0);
    ASSERT(bytes_compare(new_hi, buf_bytes(&s->applied_key)) <= 0);
    ASSERT(!space_wiped(s) && !table_has_pending(s->recent));
    parts_add(&s->born, &none, &none, false, record_key, record);
    buf_clear(&s->hi);
    buf_append_bytes(&s->hi, new_hi);
    space_change(s);
}

bool space_narrowed(const struct space *s)
{
    return s->born.count > 0 || s->flush.parts.count > 1;
}

/* ---- checks ---- */

enum engine_result space_digest(struct space *s, uint64_t *digest, uint64_t *keys)
{
    struct ranges trash = {0};
    ranges_add_trash(&trash, s->recent, s->applied);
    if (s->frozen) ranges_add_trash(&trash, s->frozen, s->applied);
    ranges_sort(&trash);

    struct merge m;
    struct bytes key, value;
    size_t trash_at = 0;
    *digest = *keys = 0;
    merge_init(&m, buf_bytes(&s->lo), buf_bytes(&s->hi), false);
    space_merge(s, &m, s->applied, true);
    enum engine_result result;
    while ((result = merge_next(&m, &key, &value)) == ENGINE_FOUND) {
        if (ranges_cover(&trash, &trash_at, key)) continue;
        *digest += hash64(value, hash64(key, 0));
        ++*keys;
    }
    merge_deinit(&m);
    ranges_deinit(&trash);
    return result == ENGINE_ABSENT ? ENGINE_FOUND : result;
}

void space_check(const struct space *s)
{
    table_check(s->recent);
    ASSERT(!s->flush.running || s->frozen);
    if (!s->frozen) return;
    table_check(s->frozen);
    ASSERT(!table_has_pending(s->frozen) && s->flush.position <= s->applied);
}
