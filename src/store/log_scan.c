#include "store/log_scan.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/mem.h"

#define ADVICE                                                                                     \
    "do not start this node with this data: move the directory away and let the node join anew "   \
    "under a new id; its replicas are rebuilt from their peers"

#define FAIL(s, code, ...) (snprintf((s)->message, sizeof(s)->message, __VA_ARGS__), (code))

/* ---- files ---- */

static bool is_log_name(const char *name)
{
    size_t prefix = strlen(LOG_FILE_PREFIX), size = strlen(name);
    if (size >= LOG_NAME_MAX || size <= prefix) return false;
    return strspn(name + prefix, "0123456789") == size - prefix;
}

static void add_file(void *ctx, const char *name)
{
    struct scan *s = ctx;
    if (!is_log_name(name)) return;
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 16;
        s->file = mem_realloc(s->file, s->capacity * sizeof *s->file);
    }
    struct scan_file *f = &s->file[s->count++];
    *f = (struct scan_file){.head = RECORD_BAD};
    snprintf(f->name, sizeof f->name, "%s", name);
}

static enum log_open_result read_head(struct scan *s, struct scan_file *f)
{
    uint8_t head[IO_BLOCK];
    int error = io_file_open(s->io, f->name, 0, &f->file);
    if (error) return FAIL(s, LOG_E_IO, "%s: cannot open: %s", f->name, strerror(-error));
    f->bytes = io_file_size(s->io, f->file);
    int64_t got = io_file_read_now(s->io, f->file, head, sizeof head, 0);
    if (got < 0) return FAIL(s, LOG_E_IO, "%s: cannot read: %s", f->name, strerror((int)-got));
    f->head = record_segment_get(bytes_of(head, (size_t)got), &f->h);
    f->was_log = got >= 8 && !memcmp(head, RECORD_SEGMENT_MAGIC, 8);
    if (f->head == RECORD_VERSION_OTHER)
        return FAIL(s, LOG_E_FORMAT, "%s: log format version %u, this program reads %u", f->name,
                    f->h.version, RECORD_VERSION);
    if (f->head == RECORD_OK && s->log_id && f->h.log_id != s->log_id)
        return FAIL(s, LOG_E_FORMAT, "%s: belongs to another log than the files before it",
                    f->name);
    if (f->head == RECORD_OK) s->log_id = f->h.log_id;
    return LOG_OPENED;
}

static enum log_open_result load(struct scan *s, uint32_t i)
{
    struct scan_file *f = &s->file[i];
    if (s->image_of == i) return LOG_OPENED;
    s->image_of = UINT32_MAX;
    if (s->image_capacity < f->bytes) {
        mem_free(s->image);
        s->image = mem_alloc(f->bytes);
        s->image_capacity = f->bytes;
    }
    int64_t got = io_file_read_now(s->io, f->file, s->image, f->bytes, 0);
    if (got < 0) return FAIL(s, LOG_E_IO, "%s: cannot read: %s", f->name, strerror((int)-got));
    if ((uint64_t)got != f->bytes) return FAIL(s, LOG_E_IO, "%s: short read", f->name);
    s->image_of = i;
    return LOG_OPENED;
}

static bool block_at(const struct scan *s, uint32_t i, uint64_t offset, struct record_block *h)
{
    const struct scan_file *f = &s->file[i];
    ASSERT(s->image_of == i);
    if (offset >= f->bytes) return false;
    return record_block_get(bytes_of(s->image + offset, f->bytes - offset), s->log_id, offset, h);
}

/* The file whose header has this sequence, of the latest epoch if two claim it; count if none does.
 */
static uint32_t find_sequence(const struct scan *s, uint64_t sequence)
{
    uint32_t best = s->count;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct scan_file *f = &s->file[i];
        if (f->head != RECORD_OK || f->h.sequence != sequence) continue;
        if (best == s->count || f->h.epoch > s->file[best].h.epoch) best = i;
    }
    return best;
}

/* ---- where the chain begins ---- */

/* A segment is overwritten only after a durable block said that it is old. That block is in the
 * segment before the overwriting one, if the overwriting one's own header is not sound; so all
 * headers and the blocks of the newest segment know the truth. */
static enum log_open_result find_oldest(struct scan *s)
{
    uint32_t newest = s->count;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct scan_file *f = &s->file[i];
        if (f->head != RECORD_OK) continue;
        if (f->h.oldest > s->oldest) s->oldest = f->h.oldest;
        if (f->h.epoch > s->epoch_max) s->epoch_max = f->h.epoch;
        if (newest == s->count || f->h.sequence > s->file[newest].h.sequence) newest = i;
    }
    if (newest == s->count) {
        bool once = false;
        for (uint32_t i = 0; i < s->count; i++) once |= s->file[i].was_log;
        return FAIL(s, once ? LOG_E_CORRUPT : LOG_E_FORMAT, "%s: %s; " ADVICE, s->file[0].name,
                    once ? "no log segment has a sound header" : "not a segment of a log");
    }
    enum log_open_result e = load(s, newest);
    if (e) return e;
    const struct scan_file *f = &s->file[newest];
    struct record_block h;
    for (uint64_t at = IO_BLOCK; at < f->bytes; at += IO_BLOCK)
        if (block_at(s, newest, at, &h) && h.sequence == f->h.sequence && h.oldest > s->oldest)
            s->oldest = h.oldest;
    return LOG_OPENED;
}

/* ---- the chain ---- */

/* The block's records, each with its place. False: checksummed yet malformed, which no torn write
 * can make. */
static bool deliver(struct scan *s, const struct scan_file *f, const struct record_block *h,
                    const struct scan_sink *sink)
{
    struct bytes in = bytes_of(s->image + s->offset + sizeof *h, h->payload);
    struct log_record r;
    if (sink->block) sink->block(sink->ctx, f, h);
    for (uint32_t i = 0; i < h->count; i++) {
        struct log_place place = {.sequence = (uint32_t)h->sequence,
                                  .offset = (uint32_t)(in.data - s->image)};
        size_t before = in.size;
        if (!record_get(&in, s->log_id, &r, &place.check)) return false;
        place.size = (uint32_t)(before - in.size);
        if (sink->record) sink->record(sink->ctx, &place, h->lsn + i, &r);
    }
    return in.size == 0;
}

static bool continues(const struct scan *s, const struct record_block *h)
{
    return h->sequence == s->sequence && h->lsn == s->end.lsn + 1 && h->epoch >= s->end.epoch;
}

/* Whether segment `i` goes on where the chain ended: header and first block, which left in one
 * write, must both be there. */
static enum log_open_result enter_next(struct scan *s, uint32_t i, bool *entered)
{
    struct record_block h;
    *entered = false;
    if (i == s->count) return LOG_OPENED;
    const struct record_segment *head = &s->file[i].h;
    if (head->lsn != s->end.lsn + 1 || head->epoch < s->end.epoch) return LOG_OPENED;
    enum log_open_result e = load(s, i);
    if (e) return e;
    *entered = block_at(s, i, IO_BLOCK, &h) && h.sequence == head->sequence && h.lsn == head->lsn &&
               h.epoch == head->epoch;
    return LOG_OPENED;
}

static enum log_open_result walk_segment(struct scan *s, uint32_t i, const struct scan_sink *sink)
{
    struct scan_file *f = &s->file[i];
    enum log_open_result e = load(s, i);
    if (e) return e;
    f->live = true;
    s->sequence = f->h.sequence;
    s->offset = IO_BLOCK;
    if (sink->segment) sink->segment(sink->ctx, f);
    for (struct record_block h; block_at(s, i, s->offset, &h) && continues(s, &h);) {
        if (!deliver(s, f, &h, sink))
            return FAIL(s, LOG_E_CORRUPT,
                        "%s: a malformed record in the block at offset %llu (lsn %llu); " ADVICE,
                        f->name, (unsigned long long)s->offset, (unsigned long long)h.lsn);
        s->end = (struct record_end){h.lsn + h.count - 1, h.epoch};
        s->offset += record_block_size(&h);
    }
    return LOG_OPENED;
}

/* ---- what is behind its end ---- */

static void note_behind(struct scan *s, uint64_t epoch, uint64_t lsn, uint64_t synced)
{
    if (epoch > s->epoch_max) s->epoch_max = epoch;
    if (!record_follows(s->end, epoch, lsn)) return;
    s->torn = true;
    if (synced > s->proven) s->proven = synced;
}

static enum log_open_result look_behind(struct scan *s)
{
    uint32_t last = find_sequence(s, s->sequence);
    for (uint32_t k = 0; k < s->count; k++) {
        uint32_t i = (last + k) % s->count; /* the one in memory first */
        const struct scan_file *f = &s->file[i];
        if (f->live && i != last) continue;
        if (!f->live && f->head == RECORD_OK) note_behind(s, f->h.epoch, f->h.lsn, f->h.synced);
        enum log_open_result e = load(s, i);
        if (e) return e;
        struct record_block h;
        for (uint64_t at = i == last ? s->offset : IO_BLOCK; at < f->bytes; at += IO_BLOCK)
            if (block_at(s, i, at, &h)) note_behind(s, h.epoch, h.lsn, h.synced);
        if (i != last || s->offset + sizeof h > f->bytes) continue;
        /* A torn first page of a block is not sound, but shows what it was meant to be. */
        memcpy(&h, s->image + s->offset, sizeof h);
        if (h.magic == RECORD_BLOCK_MAGIC && h.log_id == s->log_id && continues(s, &h))
            s->torn = true;
    }
    return LOG_OPENED;
}

static enum log_open_result verdict(struct scan *s)
{
    enum log_open_result e = look_behind(s);
    if (e || record_classify(s->end, s->proven) == RECORD_TORN || MUTANT(MUTANT_CUT_CORRUPT))
        return e;
    uint32_t i = find_sequence(s, s->sequence);
    return FAIL(s, LOG_E_CORRUPT,
                "%s: damaged at offset %llu, or the segment behind it is missing: records from lsn "
                "%llu on cannot be read, "
                "but those up to lsn %llu had been on disk; " ADVICE,
                s->file[i].name, (unsigned long long)s->offset, (unsigned long long)s->end.lsn + 1,
                (unsigned long long)s->proven);
}

enum log_open_result scan_run(struct scan *s, struct io *io, const struct scan_sink *sink)
{
    *s = (struct scan){.io = io, .image_of = UINT32_MAX};
    int error = io_file_list(io, LOG_FILE_PREFIX, add_file, s);
    if (error) return FAIL(s, LOG_E_IO, "cannot list the data directory: %s", strerror(-error));
    if (s->count == 0) return LOG_OPENED;
    enum log_open_result e = LOG_OPENED;
    for (uint32_t i = 0; i < s->count && !e; i++) e = read_head(s, &s->file[i]);
    if (!e) e = find_oldest(s);
    if (e) return e;

    uint32_t i = find_sequence(s, s->oldest);
    if (i == s->count)
        return FAIL(s, LOG_E_CORRUPT,
                    "log segment %llu is missing, or its header is damaged; " ADVICE,
                    (unsigned long long)s->oldest);
    s->end = (struct record_end){s->file[i].h.lsn - 1, s->file[i].h.epoch};
    for (bool more = true; more;) {
        e = walk_segment(s, i, sink);
        if (e) return e;
        i = find_sequence(s, s->sequence + 1);
        e = enter_next(s, i, &more);
        if (e) return e;
    }
    return verdict(s);
}

void scan_deinit(struct scan *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (s->file[i].file) io_file_close(s->io, s->file[i].file);
    mem_free(s->file);
    mem_free(s->image);
    s->file = NULL, s->image = NULL, s->count = 0;
}
