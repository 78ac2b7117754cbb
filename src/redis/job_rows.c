#include "redis/job_rows.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "shard/keys.h"

#include <stdlib.h>

#define HEAD_VERSION 1
#define NEWS_VERSION 1

/* ---- as bytes ---- */

static bool taken(const struct reader *r)
{
    return !r->bad && reader_left(r) == 0;
}

static bool flag(struct reader *r)
{
    uint8_t v = reader_u8(r);
    r->bad |= v > 1;
    return v == 1;
}

static uint8_t phase(struct reader *r)
{
    uint8_t v = reader_u8(r);
    r->bad |= v > JOB_CANCELLED;
    return v;
}

void job_head_put(struct buf *out, const struct job_head *h)
{
    buf_u8(out, HEAD_VERSION);
    buf_varint(out, h->epoch);
    buf_varint(out, h->revision);
    buf_u8(out, h->phase);
    buf_u8(out, h->dropped);
    buf_varint(out, h->spent_ms);
    buf_varint(out, h->maps);
    buf_varint(out, h->maps_done);
    buf_varint(out, h->reduces);
    buf_varint(out, h->reduces_done);
    buf_append_bytes(out, h->error);
}

bool job_head_get(struct bytes in, struct job_head *h)
{
    struct reader r = reader_of(in);
    uint8_t version = reader_u8(&r);
    *h = (struct job_head){.epoch = reader_varint(&r)};
    h->revision = reader_varint(&r);
    h->phase = phase(&r);
    h->dropped = flag(&r);
    h->spent_ms = reader_varint(&r);
    h->maps = (uint32_t)reader_bounded(&r, JOB_TASKS_MAX);
    h->maps_done = (uint32_t)reader_bounded(&r, h->maps);
    h->reduces = (uint32_t)reader_bounded(&r, JOB_TASKS_MAX);
    h->reduces_done = (uint32_t)reader_bounded(&r, h->reduces);
    h->error = reader_take(&r, reader_left(&r));
    return !r.bad && version == HEAD_VERSION && h->error.size <= JOB_ERROR_MAX;
}

bool job_head_of(struct bytes record, struct job_head *h)
{
    struct job_record_head r;
    if (!job_record_peek(record, &r)) return false;
    *h = (struct job_head){.epoch = r.epoch,
                           .revision = r.revision,
                           .spent_ms = (uint64_t)r.spent_ms,
                           .phase = r.phase,
                           .dropped = r.dropped,
                           .maps = r.maps,
                           .maps_done = r.maps_done,
                           .reduces = r.reduces,
                           .reduces_done = r.reduces_done,
                           .error = r.error};
    return true;
}

void job_news_put(struct buf *out, const struct job_news *news)
{
    buf_u8(out, NEWS_VERSION);
    buf_u64(out, news->epoch);
    buf_u16(out, news->node);
    buf_u64(out, news->at_ms);
    buf_u8(out, news->phase);
    buf_u32(out, news->maps);
    buf_u32(out, news->maps_done);
    buf_u32(out, news->reduces);
    buf_u32(out, news->reduces_done);
    buf_u32(out, news->running);
    buf_u32(out, news->failures);
    buf_u64(out, news->spent_ms);
    buf_u64(out, news->records);
    buf_u64(out, news->bytes);
}

bool job_news_get(struct bytes in, struct job_news *news)
{
    struct reader r = reader_of(in);
    uint8_t version = reader_u8(&r);
    *news = (struct job_news){.epoch = reader_u64(&r)};
    news->node = reader_u16(&r);
    news->at_ms = reader_u64(&r);
    news->phase = phase(&r);
    news->maps = reader_u32(&r);
    news->maps_done = reader_u32(&r);
    news->reduces = reader_u32(&r);
    news->reduces_done = reader_u32(&r);
    news->running = reader_u32(&r);
    news->failures = reader_u32(&r);
    news->spent_ms = reader_u64(&r);
    news->records = reader_u64(&r);
    news->bytes = reader_u64(&r);
    return taken(&r) && version == NEWS_VERSION;
}

void job_summary_put(struct buf *out, const struct job_summary *s)
{
    buf_u64(out, s->job);
    buf_u64(out, s->submitted_ms);
    buf_u64(out, s->spent_ms);
    buf_u8(out, s->phase);
    buf_u8(out, s->dropped);
    buf_u32(out, s->maps);
    buf_u32(out, s->maps_done);
    buf_u32(out, s->reduces);
    buf_u32(out, s->reduces_done);
    buf_blob(out, s->name);
    buf_blob(out, s->error);
}

bool job_summary_get(struct bytes in, struct job_summary *s)
{
    struct reader r = reader_of(in);
    *s = (struct job_summary){.job = reader_u64(&r)};
    s->submitted_ms = reader_u64(&r);
    s->spent_ms = reader_u64(&r);
    s->phase = phase(&r);
    s->dropped = flag(&r);
    s->maps = reader_u32(&r);
    s->maps_done = reader_u32(&r);
    s->reduces = reader_u32(&r);
    s->reduces_done = reader_u32(&r);
    s->name = reader_blob(&r);
    s->error = reader_blob(&r);
    return taken(&r);
}

bool job_rows_get(struct bytes in, struct job_rows *rows)
{
    struct reader r = reader_of(in);
    *rows = (struct job_rows){.job = reader_u64(&r)};
    rows->submitted_ms = reader_u64(&r);
    rows->cancelled = flag(&r);
    rows->name = reader_blob(&r);
    rows->spec = reader_blob(&r);
    rows->record = reader_blob(&r);
    rows->news = reader_blob(&r);
    rows->log = reader_blob(&r);
    return taken(&r);
}

bool job_owned_get(struct bytes in, struct job_owned *o)
{
    struct reader r = reader_of(in);
    *o = (struct job_owned){.epoch = reader_u64(&r)};
    o->submitted_ms = reader_u64(&r);
    o->cancelled = flag(&r);
    o->name = reader_blob(&r);
    o->spec = reader_blob(&r);
    o->record = reader_blob(&r);
    return taken(&r);
}

/* ---- keys ---- */

#define KEY_JOB                                                                                    \
    4 /* where the job stands in a key: behind slot, kind of row, kind of a job's row              \
       */

static void put_be32(struct buf *out, uint32_t v)
{
    for (int shift = 24; shift >= 0; shift -= 8) buf_u8(out, (uint8_t)(v >> shift));
}

static void put_be64(struct buf *out, uint64_t v)
{
    put_be32(out, (uint32_t)(v >> 32));
    put_be32(out, (uint32_t)v);
}

static void kind_key(struct buf *out, uint8_t kind)
{
    keys_kind(out, 0, KEYS_JOB);
    buf_u8(out, kind);
}

void job_key(struct buf *out, uint8_t kind, uint64_t job)
{
    kind_key(out, kind);
    put_be64(out, job);
}

void job_key_named(struct buf *out, struct bytes name)
{
    kind_key(out, 'n');
    buf_append_bytes(out, name);
}

static void stage_key(struct buf *out, uint8_t kind, const struct job_stage *s)
{
    job_key(out, kind, s->job);
    put_be32(out, s->task);
    put_be64(out, s->epoch);
    put_be32(out, s->number);
}

void job_key_staged(struct buf *out, const struct job_stage *s)
{
    stage_key(out, 't', s);
}

void job_key_piece(struct buf *out, const struct job_stage *s, uint32_t piece)
{
    stage_key(out, 's', s);
    put_be32(out, piece);
}

/* ---- rows of one job ---- */

enum view_result job_get(struct view *v, uint8_t kind, uint64_t job, struct bytes *value)
{
    struct buf key = {0};
    job_key(&key, kind, job);
    enum view_result found = view_get(v, buf_bytes(&key), value);
    buf_deinit(&key);
    return found;
}

void job_put(struct view *v, uint8_t kind, uint64_t job, struct bytes value)
{
    struct buf key = {0};
    job_key(&key, kind, job);
    view_put(v, buf_bytes(&key), value);
    buf_deinit(&key);
}

void job_del(struct view *v, uint8_t kind, uint64_t job)
{
    struct buf key = {0};
    job_key(&key, kind, job);
    view_del(v, buf_bytes(&key));
    buf_deinit(&key);
}

enum view_result job_head(struct view *v, uint64_t job, struct job_head *h)
{
    struct bytes value;
    *h = (struct job_head){.phase = JOB_SUBMITTED};
    enum view_result found = job_get(v, 'h', job, &value);
    if (found == VIEW_FOUND) {
        bool sound = job_head_get(value, h);
        ASSERT(sound);
    }
    return found;
}

bool job_uses(struct view *v, uint64_t job, uint64_t snapshot)
{
    struct job_record_head r;
    struct job_head h;
    struct bytes row;
    if (job_get(v, 'j', job, &row) == VIEW_ABSENT) return false;
    if (job_head(v, job, &h) == VIEW_FOUND && h.dropped) return false;
    bool has = job_get(v, 'r', job, &row) == VIEW_FOUND && job_record_peek(row, &r) && r.snapshot;
    return v->missed || !has || r.snapshot == snapshot;
}

static bool note_key(void *ctx, struct bytes key, struct bytes value)
{
    (void)value;
    buf_blob(ctx, key);
    return true;
}

/* The keys (blobs) of the small rows that say what attempts have staged. False: missed. */
static bool staged_keys(struct view *v, uint64_t job, struct buf *keys)
{
    struct buf lo = {0}, hi = {0};
    job_key(&lo, 't', job);
    if (job < UINT64_MAX)
        job_key(&hi, 't', job + 1);
    else
        kind_key(&hi, 't' + 1);
    (void)view_range(v, buf_bytes(&lo), buf_bytes(&hi), false, note_key, keys);
    buf_deinit(&lo), buf_deinit(&hi);
    return !v->missed;
}

/* No piece is ever staged again under a prefix that is trash: a job that has ended takes none
 * (job.c), nor does one that is not there. */
bool job_unstage_all(struct view *v, uint64_t job)
{
    struct buf keys = {0}, prefix = {0};
    if (staged_keys(v, job, &keys) && keys.size) {
        struct reader r = reader_of(buf_bytes(&keys));
        while (reader_left(&r)) view_del(v, reader_blob(&r));
        job_key(&prefix, 's', job);
        view_trash(v, buf_bytes(&prefix));
    }
    buf_deinit(&keys), buf_deinit(&prefix);
    return !v->missed;
}

bool job_forget(struct view *v, uint64_t job)
{
    static const char kinds[] = "jdehrcpl";
    struct buf key = {0};
    struct bytes value;
    if (job_get(v, 'j', job, &value) == VIEW_FOUND) {
        struct reader r = reader_of(value);
        (void)reader_u64(&r);
        job_key_named(&key, reader_take(&r, reader_left(&r)));
    }
    if (!v->missed && (MUTANT(MUTANT_JOB_FORGET_PART) || job_unstage_all(v, job))) {
        if (key.size) view_del(v, buf_bytes(&key));
        for (const char *kind = kinds; *kind; kind++) job_del(v, (uint8_t)*kind, job);
    }
    buf_deinit(&key);
    return !v->missed;
}

/* ---- all of them ---- */

static bool each_job(void *ctx, struct bytes key, struct bytes value)
{
    struct job_listing *l = ctx;
    struct reader r = reader_of(value);
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 32;
        l->entry = mem_realloc(l->entry, l->capacity * sizeof *l->entry);
    }
    struct job_entry *e = &l->entry[l->count++];
    *e = (struct job_entry){.job = be64_get(key.data + KEY_JOB), .submitted_ms = reader_u64(&r)};
    e->name_at = l->text.size;
    e->name_size = reader_left(&r);
    buf_append_bytes(&l->text, reader_take(&r, e->name_size));
    return true;
}

/* Of the job that a row is of. */
static struct job_entry *entry_of(const struct job_listing *l, struct bytes key)
{
    uint64_t job = be64_get(key.data + KEY_JOB);
    uint32_t lo = 0, hi = l->count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (l->entry[mid].job < job)
            lo = mid + 1;
        else
            hi = mid;
    }
    ASSERT(lo < l->count && l->entry[lo].job == job);
    return &l->entry[lo];
}

static bool each_head(void *ctx, struct bytes key, struct bytes value)
{
    struct job_listing *l = ctx;
    struct job_entry *e = entry_of(l, key);
    bool sound = job_head_get(value, &e->head);
    ASSERT(sound);
    e->error_at = l->text.size;
    e->error_size = e->head.error.size;
    buf_append_bytes(&l->text, e->head.error);
    e->head.error = (struct bytes){0};
    return true;
}

static bool each_cancelled(void *ctx, struct bytes key, struct bytes value)
{
    (void)value;
    entry_of(ctx, key)->cancelled = true;
    return true;
}

static bool kind_each(struct view *v, uint8_t kind, view_each *each, void *ctx)
{
    struct buf lo = {0}, hi = {0};
    kind_key(&lo, kind);
    kind_key(&hi, (uint8_t)(kind + 1));
    (void)view_range(v, buf_bytes(&lo), buf_bytes(&hi), false, each, ctx);
    buf_deinit(&lo), buf_deinit(&hi);
    return !v->missed;
}

bool job_list(struct view *v, struct job_listing *l)
{
    *l = (struct job_listing){0};
    return kind_each(v, 'j', each_job, l) && kind_each(v, 'h', each_head, l) &&
           kind_each(v, 'c', each_cancelled, l);
}

static int by_age(const void *a, const void *b)
{
    const struct job_entry *x = a, *y = b;
    if (x->submitted_ms != y->submitted_ms) return x->submitted_ms < y->submitted_ms ? -1 : 1;
    return x->job < y->job ? -1 : x->job > y->job;
}

void job_listing_by_age(struct job_listing *l)
{
    if (l->count) qsort(l->entry, l->count, sizeof *l->entry, by_age);
}

void job_listing_free(struct job_listing *l)
{
    mem_free(l->entry);
    buf_deinit(&l->text);
}
