/* The log's hot path: appends, blocks, writes, completions (log_internal.h has the invariants). */
#include "store/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/log_internal.h"

/* ---- segments ---- */

struct log_segment *log_segment_of(const struct log *l, uint64_t sequence)
{
    ASSERT(l->segment_count > 0);
    uint64_t i = sequence - l->segment[0]->sequence;
    ASSERT(i < l->segment_count);
    return l->segment[i];
}

static struct log_segment *tail_segment(const struct log *l)
{
    return l->segment[l->segment_count - 1];
}

static struct log_segment *segment_push(struct log *l, uint64_t sequence)
{
    if (l->segment_count == l->segment_capacity) {
        l->segment_capacity = l->segment_capacity ? 2 * l->segment_capacity : 8;
        l->segment = mem_realloc(l->segment, l->segment_capacity * sizeof(struct log_segment *));
    }
    struct log_segment *s = mem_zalloc(sizeof *s);
    s->sequence = sequence;
    s->bytes = l->options.segment_bytes;
    s->end = IO_BLOCK;
    list_init(&s->link);
    ASSERT(sequence < UINT32_MAX);
    ASSERT(l->segment_count == 0 || tail_segment(l)->sequence + 1 == sequence);
    l->segment[l->segment_count++] = s;
    return s;
}

/* ---- blocks ---- */

uint8_t *log_align(uint8_t *raw)
{
    return (uint8_t *)(((uintptr_t)raw + IO_BLOCK - 1) & ~(uintptr_t)(IO_BLOCK - 1));
}

static void block_grow(struct log_block *b, size_t size)
{
    if (size <= b->capacity) return;
    size_t capacity = b->capacity ? b->capacity : 64u << 10;
    while (capacity < size) capacity *= 2;
    uint8_t *raw = mem_alloc(capacity + IO_BLOCK), *data = log_align(raw);
    if (b->size) memcpy(data, b->data, b->size);
    mem_free(b->raw);
    b->raw = raw, b->data = data, b->capacity = capacity;
}

static void block_free(struct log_block *b)
{
    mem_free(b->raw);
    mem_free(b);
}

/* An empty block at the tail of segment s, with records from lsn on. */
static struct log_block *block_begin(struct log *l, struct log_segment *s, uint64_t lsn)
{
    struct list *link = list_pop(&l->idle_blocks);
    struct log_block *b = link ? LIST_OF(link, struct log_block, link) : mem_zalloc(sizeof *b);
    if (link) l->idle_count--;
    list_init(&b->link);
    b->log = l;
    b->segment = s;
    b->offset = s->end;
    b->lead = s->end == IO_BLOCK ? IO_BLOCK : 0;
    b->lsn = lsn;
    b->count = 0;
    b->complete = false;
    b->size = 0;
    block_grow(b, b->lead + sizeof(struct record_block));
    b->size = b->lead + sizeof(struct record_block);
    return b;
}

static void block_end(struct log *l, struct log_block *b)
{
    if (b->capacity > LOG_BLOCK_KEEP || l->idle_count > LOG_FLYING_MAX) {
        block_free(b);
        return;
    }
    list_push(&l->idle_blocks, &b->link);
    l->idle_count++;
}

static size_t block_disk_size(const struct log_block *b)
{
    return (size_t)record_align(b->size - b->lead);
}

/* The fill block takes no more; the next one begins behind it. */
static void seal(struct log *l)
{
    struct log_block *b = l->fill;
    ASSERT(b && b->count > 0 && b->offset == b->segment->end);
    b->segment->end += block_disk_size(b);
    ASSERT(b->segment->end <= b->segment->bytes);
    list_push(&l->sealed, &b->link);
    l->fill = NULL;
}

/* The last IO_BLOCK of a segment is kept for a notice (log_start_notice). */
static bool fits(const struct log_segment *s, uint64_t offset, size_t bytes)
{
    return offset + record_align(bytes) <= s->bytes - IO_BLOCK;
}

static struct log_block *fill_for(struct log *l, size_t bytes)
{
    struct log_block *b = l->fill;
    if (b && b->count) {
        bool room = fits(b->segment, b->offset, b->size - b->lead + bytes);
        if (!room || b->size + bytes > LOG_BLOCK_BYTES) {
            seal(l);
            b = NULL;
        }
    }
    if (!b) {
        struct log_segment *s = tail_segment(l);
        size_t need = sizeof(struct record_block) + bytes;
        if (!fits(s, s->end, need)) s = segment_push(l, s->sequence + 1);
        ASSERT(fits(s, s->end, need)); /* the caller bounds values well below segment_bytes */
        b = l->fill = block_begin(l, s, l->appended + 1);
    }
    block_grow(b, b->size + bytes);
    return b;
}

uint64_t log_put(struct log *l, const struct log_record *r)
{
    struct log_block *b = fill_for(l, record_size_max(r));
    struct log_place place = {.sequence = (uint32_t)b->segment->sequence,
                              .offset = (uint32_t)(b->offset + b->size - b->lead)};
    place.size = (uint32_t)record_put(r, l->log_id, b->data + b->size, &place.check);
    b->size += place.size;
    b->count++;
    l->appended++;
    if (r->type != LOG_BEAT) l->worth = l->appended;
    l->stats.records++;
    l->stats.bytes += place.size;
    index_record(l, r, &place);
    return l->appended;
}

uint64_t log_append(struct log *l, const struct log_record *r)
{
    ASSERT(!l->freed);
    ASSERT(r->type >= LOG_PROMISE && r->type <= LOG_DROP);
    ASSERT(r->type != LOG_ENTRY || (r->entry.position > 0 && r->entry.size == r->value.size));
    return log_put(l, r);
}

/* Whether the record is in a block that is not on disk yet; *at is valid until the next append or
 * callback. */
bool log_in_memory(const struct log *l, const struct log_place *place, const uint8_t **at)
{
    const struct list *queue[] = {&l->flying, &l->sealed};
    const struct log_block *found = NULL, *b = l->fill;
    if (b && b->segment->sequence == place->sequence && place->offset >= b->offset) found = b;
    for (size_t q = 0; q < 2 && !found; q++) {
        for (struct list *i = queue[q]->next; i != queue[q] && !found; i = i->next) {
            b = LIST_OF(i, struct log_block, link);
            if (b->segment->sequence == place->sequence && place->offset >= b->offset &&
                place->offset < b->offset + block_disk_size(b))
                found = b;
        }
    }
    if (found) *at = found->data + found->lead + (place->offset - found->offset);
    return found;
}

/* ---- writes ---- */

void log_called_back(struct log *l)
{
    ASSERT(l->pending > 0);
    l->pending--;
    if (l->freed && l->pending == 0) {
        l->freed = false;
        log_free(l);
    }
}

static void report(struct log *l, uint64_t lsn)
{
    if (lsn <= l->reported) return;
    l->reported = lsn;
    l->options.synced(l->options.ctx, lsn);
}

static void settle(struct log *l, struct log_block *b)
{
    if (b->count) l->synced = b->lsn + b->count - 1;
    l->oldest_durable = b->oldest;
    if (b->synced > l->claimed) l->claimed = b->synced;
    b->segment->written = true;
    list_remove(&b->link);
    l->flying_count--;
    block_end(l, b);
}

static void write_done(void *ctx, int error)
{
    struct log_block *b = ctx;
    struct log *l = b->log;
    if (l->freed) {
        log_called_back(l);
        return;
    }
    if (error) {
        char why[256];
        snprintf(why, sizeof why, "writing the log failed (%s at offset %" PRIu64 "): %s",
                 b->segment->name, b->offset, strerror(-error));
        l->options.fatal(l->options.ctx, why);
    }
    uint64_t now = io_now(l->io), took = now - b->started;
    l->last_completion = now;
    l->stats.write_ns_total += took;
    if (took > l->stats.write_ns_max) l->stats.write_ns_max = took;
    b->complete = true;
    while (!list_empty(&l->flying)) {
        struct log_block *first = LIST_OF(l->flying.next, struct log_block, link);
        if (!first->complete) break;
        settle(l, first);
    }
    ASSERT(l->synced <= l->appended);
    report(l, l->synced);
    log_called_back(l);
}

static void put_headers(struct log *l, struct log_block *b)
{
    b->oldest = l->segment[0]->sequence;
    b->synced = l->synced;
    struct record_block h = {
        .log_id = l->log_id,
        .sequence = b->segment->sequence,
        .epoch = l->epoch,
        .lsn = b->lsn,
        .synced = b->synced,
        .oldest = b->oldest,
        .place = (uint32_t)(b->offset / IO_BLOCK),
        .count = b->count,
        .payload = (uint32_t)(b->size - b->lead - sizeof h),
    };
    block_grow(b, (size_t)record_align(b->size));
    record_block_put(&h, b->data + b->lead);
    if (!b->lead) return;
    struct record_segment head = {
        .log_id = l->log_id,
        .sequence = b->segment->sequence,
        .epoch = l->epoch,
        .lsn = b->lsn,
        .synced = b->synced,
        .oldest = b->oldest,
    };
    record_segment_put(&head, b->data);
}

static void start_write(struct log *l, struct log_block *b)
{
    ASSERT(b->segment->file && l->flying_count < LOG_FLYING_MAX);
    put_headers(l, b);
    list_push(&l->flying, &b->link);
    l->flying_count++;
    l->pending++;
    b->started = io_now(l->io);
    b->op = (struct io_write){.data = b->data,
                              .size = b->lead + block_disk_size(b),
                              .offset = b->offset - b->lead,
                              .done = write_done,
                              .ctx = b};
    l->stats.writes++;
    io_file_write(l->io, b->segment->file, &b->op);
    if (MUTANT(MUTANT_SKIP_LOG_SYNC) && b->count) report(l, b->lsn + b->count - 1);
}

/* Nothing can be written for want of a segment, and a dead one may not be reused before its death
 * is on disk (L4): the block that every segment keeps in reserve says so. It has no record, for all
 * lsns given out are above it in the queue. */
static void start_notice(struct log *l, const struct log_block *waiting)
{
    if (list_empty(&l->dying) || l->flying_count || waiting->segment == l->segment[0]) return;
    struct log_segment *s = log_segment_of(l, waiting->segment->sequence - 1);
    const struct log_segment *dead = LIST_OF(l->dying.prev, struct log_segment, link);
    bool durable = dead->sequence < l->oldest_durable;
    if (!s->file || s->noticed || durable || s->end + IO_BLOCK > s->bytes) return;
    s->noticed = true;
    struct log_block *b = block_begin(l, s, waiting->lsn);
    s->end += IO_BLOCK;
    start_write(l, b);
}

static void start_writes(struct log *l)
{
    while (l->flying_count < LOG_FLYING_MAX) {
        struct log_block *b =
            list_empty(&l->sealed) ? l->fill : LIST_OF(l->sealed.next, struct log_block, link);
        if (!b || !b->count) return;
        if (!b->segment->file && !log_take_spare(l, b->segment)) {
            start_notice(l, b);
            return;
        }
        if (b == l->fill) seal(l);
        list_remove(&b->link);
        start_write(l, b);
    }
}

/* ---- turns ---- */

static bool nothing_queued(const struct log *l)
{
    return !l->flying_count && list_empty(&l->sealed) && (!l->fill || !l->fill->count);
}

/* When to write a beat so that what is on disk is proven to be (docs/FORMAT.md, the window);
 * UINT64_MAX: it is. */
static uint64_t idle_beat_at(const struct log *l)
{
    if (!nothing_queued(l) || l->claimed >= l->worth) return UINT64_MAX;
    return l->last_completion + LOG_IDLE_NS;
}

void log_turn(struct log *l)
{
    uint64_t now = io_now(l->io);
    ASSERT(!l->freed);
    log_collect(l, now);
    if (now >= idle_beat_at(l)) log_put(l, &(struct log_record){.type = LOG_BEAT});
    start_writes(l);
    log_start_reads(l);
}

uint64_t log_deadline(const struct log *l)
{
    uint64_t at = idle_beat_at(l);
    return l->make_failed && l->retry_at < at ? l->retry_at : at;
}

void log_check(const struct log *l)
{
    for (uint32_t i = 0; i < l->segment_count; i++) {
        const struct log_segment *s = l->segment[i];
        ASSERT(s->sequence == l->segment[0]->sequence + i);
        ASSERT(s->end <= s->bytes && s->end % IO_BLOCK == 0);
    }
    ASSERT(l->oldest_durable <= l->segment[0]->sequence);
    ASSERT(l->synced <= l->reported && l->reported <= l->appended && l->claimed <= l->synced);
    index_check(l);
}

/* ---- opening ---- */

struct replay {
    struct log *log;
    void (*each)(void *ctx, const struct log_record *);
    void *ctx;
};

static void replay_segment(void *ctx, const struct scan_file *f)
{
    struct replay *p = ctx;
    struct log_segment *s = segment_push(p->log, f->h.sequence);
    snprintf(s->name, sizeof s->name, "%s", f->name);
    s->bytes = f->bytes;
    s->written = true;
}

static void replay_record(void *ctx, const struct log_place *place, uint64_t lsn,
                          const struct log_record *r)
{
    struct replay *p = ctx;
    (void)lsn;
    index_record(p->log, r, place);
    if (r->type != LOG_BEAT) p->each(p->ctx, r);
}

/* A new log's first segment gets its header under another name, so that a file with a segment's
 * name was a segment once. */
static int create(struct io *io, const struct log_options *options)
{
    uint8_t *raw = mem_alloc(2 * IO_BLOCK), *head = log_align(raw);
    struct record_segment h = {
        .log_id = io_random(io) | 1, .sequence = 1, .epoch = 1, .lsn = 1, .oldest = 1};
    struct io_file *f;
    io_file_remove(io, "newlog");
    int error = io_file_open(io, "newlog", options->segment_bytes, &f);
    if (!error) {
        record_segment_put(&h, head);
        error = io_file_write_now(io, f, head, IO_BLOCK, 0);
        io_file_close(io, f);
    }
    if (!error) error = io_file_rename(io, "newlog", LOG_FILE_PREFIX "000001");
    mem_free(raw);
    return error;
}

/* What the chain does not use becomes a spare. A header beyond the cut is wiped first: its sequence
 * will be given out again. */
static int adopt_spare(struct log *l, struct scan *s, struct scan_file *f)
{
    int error = 0;
    if (f->bytes != l->options.segment_bytes || l->spare_count > l->options.spare_segments) {
        io_file_close(l->io, f->file);
        f->file = NULL;
        return io_file_remove(l->io, f->name);
    }
    if (f->head == RECORD_OK && f->h.sequence >= s->oldest) {
        uint8_t *raw = mem_zalloc(2 * IO_BLOCK);
        error = io_file_write_now(l->io, f->file, log_align(raw), IO_BLOCK, 0);
        mem_free(raw);
    }
    if (error) return error;
    log_add_spare(l, f->file, f->name);
    f->file = NULL;
    return 0;
}

static int adopt(struct log *l, struct scan *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        struct scan_file *f = &s->file[i];
        uint64_t number = strtoull(f->name + strlen(LOG_FILE_PREFIX), NULL, 10);
        if (number >= l->next_name) l->next_name = number + 1;
        if (f->live) {
            log_segment_of(l, f->h.sequence)->file = f->file;
            f->file = NULL;
        } else {
            int error = adopt_spare(l, s, f);
            if (error) return error;
        }
    }
    l->log_id = s->log_id;
    l->epoch = (s->epoch_max > s->end.epoch ? s->epoch_max : s->end.epoch) + 1;
    l->appended = l->synced = l->reported = l->claimed = l->worth = s->end.lsn;
    l->oldest_durable = s->oldest;
    for (uint32_t i = 0; i < l->segment_count; i++) l->segment[i]->end = l->segment[i]->bytes;
    tail_segment(l)->end = s->offset;
    return 0;
}

static struct log *new_log(struct io *io, const struct log_options *options)
{
    struct log *l = mem_zalloc(sizeof *l);
    l->io = io;
    l->options = *options;
    l->next_name = 1;
    l->last_completion = io_now(io);
    list_init(&l->dying);
    list_init(&l->sealed);
    list_init(&l->flying);
    list_init(&l->idle_blocks);
    list_init(&l->reads);
    list_init(&l->reading);
    return l;
}

enum log_open_result log_open(struct io *io, const struct log_options *options,
                              void (*each)(void *ctx, const struct log_record *), void *each_ctx,
                              struct log **out, char *error, size_t error_size)
{
    ASSERT(options->segment_bytes % IO_BLOCK == 0 && options->segment_bytes >= 8 * IO_BLOCK);
    ASSERT(options->segment_bytes <= 1u << 30);
    *out = NULL;
    struct scan s;
    struct log *l = new_log(io, options);
    struct replay replay = {l, each, each_ctx};
    struct scan_sink sink = {.segment = replay_segment, .record = replay_record, .ctx = &replay};
    enum log_open_result e = scan_run(&s, io, &sink);
    if (!e && s.count == 0) {
        int failed = create(io, options);
        if (failed)
            snprintf(s.message, sizeof s.message, "cannot make the first log segment: %s",
                     strerror(-failed));
        scan_deinit(&s);
        e = failed ? LOG_E_IO : scan_run(&s, io, &sink);
    }
    if (!e) {
        int failed = adopt(l, &s);
        if (failed)
            snprintf(s.message, sizeof s.message, "cannot reuse old log segments: %s",
                     strerror(-failed));
        e = failed ? LOG_E_IO : LOG_OPENED;
    }
    snprintf(error, error_size, "%s", e ? s.message : "");
    if (!e && s.torn)
        snprintf(error, error_size,
                 "the log's torn tail behind lsn %llu was cut (never acknowledged)",
                 (unsigned long long)s.end.lsn);
    scan_deinit(&s);
    if (e) {
        log_free(l);
        return e;
    }
    /* The first block of this opening proves all that was replayed and, by its epoch, ends what was
     * cut for good. */
    log_put(l, &(struct log_record){.type = LOG_BEAT});
    *out = l;
    return LOG_OPENED;
}

/* ---- ending ---- */

static void destroy(struct log *l, bool close)
{
    struct list *link;
    struct list *queue[] = {&l->sealed, &l->flying, &l->idle_blocks};
    for (size_t q = 0; q < 3; q++)
        while ((link = list_pop(queue[q]))) block_free(LIST_OF(link, struct log_block, link));
    if (l->fill) block_free(l->fill);
    log_free_reads(l);
    index_deinit(l);
    for (uint32_t i = 0; i < l->segment_count; i++) list_push(&l->dying, &l->segment[i]->link);
    while ((link = list_pop(&l->dying))) {
        struct log_segment *s = LIST_OF(link, struct log_segment, link);
        if (s->file && close) io_file_close(l->io, s->file);
        mem_free(s);
    }
    for (uint32_t i = 0; i < l->spare_count && close; i++) io_file_close(l->io, l->spare[i].file);
    mem_free(l->segment);
    mem_free(l->spare);
    mem_free(l);
}

void log_free(struct log *l)
{
    if (!l) return;
    if (l->pending)
        l->freed =
            true; /* buffers are the io's until it calls back; log_called_back comes here again */
    else
        destroy(l, true);
}

void log_abandon(struct log *l)
{
    if (l) destroy(l, false);
}

/* ---- facts ---- */

uint64_t log_synced(const struct log *l)
{
    return l->reported;
}

uint64_t log_appended(const struct log *l)
{
    return l->appended;
}

uint64_t log_first(const struct log *l, uint32_t group)
{
    const struct log_group *g = map_get(&l->groups, group);
    return g ? index_first(g) : 0;
}

bool log_has_group(const struct log *l, uint32_t group)
{
    return map_get(&l->groups, group) != NULL;
}

void log_set_floor(struct log *l, uint32_t group, uint64_t floor)
{
    struct log_group *g = index_group(l, group);
    if (g) index_set_floor(l, g, floor);
}

void log_drop_group(struct log *l, uint32_t group)
{
    log_put(l, &(struct log_record){.type = LOG_DROP, .group = group});
}

uint64_t log_write_age(const struct log *l, uint64_t now)
{
    if (list_empty(&l->flying)) return 0;
    uint64_t started = LIST_OF(l->flying.next, struct log_block, link)->started;
    return now > started ? now - started : 0;
}

uint64_t log_last_completion(const struct log *l)
{
    return l->last_completion;
}

void log_stats(const struct log *l, struct log_stats *out)
{
    *out = l->stats;
    out->segments = l->segment_count;
    out->segment_bytes = l->options.segment_bytes;
    out->reserve_bytes = l->reserve;
}
