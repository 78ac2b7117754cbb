/* Applied record, the value of `0xffff 'a' group:4` (little-endian):
 *
 *   version:1 (2), state:1, replica:2
 *   unless DEAD: slot_lo:2, slot_hi:2, applied:8, last_valid 8 + 8, now_ms:8, sealed:8,
 *     objid_base:8, installed:8, config_id 8 + 8, config blob, then for each slot with keys slot:2,
 * varint count
 *
 * Valid: the state is known, the replica not 0, slot_lo < slot_hi <= 16384, counts name rising
 * slots of the range, and nothing follows. */
#include "shard/birth.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "ring/slot.h"
#include "shard/keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define RECORD_VERSION 2

/* ---- bytes ---- */

static void put_id(struct buf *out, struct paxos_id id)
{
    buf_u64(out, id.position);
    buf_u64(out, id.born);
}

static struct paxos_id read_id(struct reader *r)
{
    struct paxos_id id = {.position = reader_u64(r)};
    id.born = reader_u64(r);
    return id;
}

void birth_encode(const struct shard_record *r, struct buf *out)
{
    ASSERT(r->replica > 0 && r->state >= SHARD_LIVE && r->state <= SHARD_DEAD);
    buf_u8(out, RECORD_VERSION);
    buf_u8(out, r->state);
    buf_u16(out, r->replica);
    if (r->state == SHARD_DEAD) return;
    ASSERT(r->slot_lo < r->slot_hi && r->slot_hi <= SLOT_COUNT);
    buf_u16(out, r->slot_lo);
    buf_u16(out, r->slot_hi);
    buf_u64(out, r->applied);
    put_id(out, r->last_valid);
    buf_u64(out, (uint64_t)r->now_ms);
    buf_u64(out, r->sealed);
    buf_u64(out, r->objid_base);
    buf_u64(out, r->installed);
    put_id(out, r->config_id);
    buf_blob(out, r->config);
}

void birth_encode_count(struct buf *out, uint16_t slot, uint64_t count)
{
    buf_u16(out, slot);
    buf_varint(out, count);
}

int birth_next_count(const struct shard_record *r, struct reader *counts, uint16_t *slot,
                     uint64_t *count)
{
    if (reader_left(counts) == 0) return counts->bad ? -1 : 0;
    *slot = reader_u16(counts);
    *count = reader_varint(counts);
    bool good = !counts->bad && *slot >= r->slot_lo && *slot < r->slot_hi && *count <= INT64_MAX;
    return good ? 1 : -1;
}

static bool counts_sound(const struct shard_record *r, struct reader counts)
{
    uint16_t slot;
    uint64_t count;
    int more, last = -1;
    while ((more = birth_next_count(r, &counts, &slot, &count)) == 1) {
        if (slot <= last) return false;
        last = slot;
    }
    return more == 0;
}

bool birth_decode(uint32_t group, struct bytes value, struct shard_record *r, struct reader *counts)
{
    struct reader in = reader_of(value);
    *r = (struct shard_record){.group = group};
    if (reader_u8(&in) != RECORD_VERSION) return false;
    r->state = reader_u8(&in);
    r->replica = reader_u16(&in);
    if (r->replica == 0 || r->state < SHARD_LIVE || r->state > SHARD_DEAD) return false;
    if (r->state != SHARD_DEAD) {
        r->slot_lo = reader_u16(&in);
        r->slot_hi = reader_u16(&in);
        r->applied = reader_u64(&in);
        r->last_valid = read_id(&in);
        r->now_ms = (int64_t)reader_u64(&in);
        r->sealed = reader_u64(&in);
        r->objid_base = reader_u64(&in);
        r->installed = reader_u64(&in);
        r->config_id = read_id(&in);
        r->config = reader_blob(&in);
        if (r->slot_lo >= r->slot_hi || r->slot_hi > SLOT_COUNT) return false;
    }
    *counts = in;
    if (in.bad) return false;
    return r->state == SHARD_DEAD ? reader_left(&in) == 0 : counts_sound(r, in);
}

/* ---- all records of an engine ---- */

/* Visits all of them. A damaged one ends it, with *group saying whose and *value what is there. */
static enum engine_result births_visit(struct engine *e,
                                       void (*each)(void *ctx, const struct shard_record *r),
                                       void *ctx, uint32_t *damaged, uint8_t *version)
{
    struct buf lo = {0}, hi = {0};
    struct engine_iter *it = NULL;
    struct bytes key, value;
    *damaged = UINT32_MAX;
    keys_kind(&lo, KEYS_RECORDS, KEYS_APPLIED);
    keys_kind(&hi, KEYS_RECORDS, KEYS_APPLIED + 1);
    enum engine_result result =
        engine_iter_new(e, buf_bytes(&lo), buf_bytes(&hi), false, true, &it);
    while (result == ENGINE_FOUND &&
           (result = engine_iter_next(e, it, &key, &value)) == ENGINE_FOUND) {
        struct shard_record r;
        struct reader counts;
        uint32_t group = keys_applied_group(key);
        if (birth_decode(group, value, &r, &counts)) {
            each(ctx, &r);
            continue;
        }
        *damaged = group;
        *version = value.size ? value.data[0] : 0;
        result = ENGINE_E_IO;
    }
    if (it) engine_iter_free(e, it);
    buf_deinit(&lo), buf_deinit(&hi);
    return result == ENGINE_ABSENT ? ENGINE_FOUND : result;
}

bool shard_list(struct engine *e, void (*each)(void *ctx, const struct shard_record *r), void *ctx,
                char *error, size_t error_size)
{
    uint32_t group;
    uint8_t version = 0;
    if (births_visit(e, each, ctx, &group, &version) == ENGINE_FOUND) return true;
    if (group == UINT32_MAX)
        snprintf(error, error_size,
                 "the engine cannot read the replicas' records; move this data directory away and "
                 "let the node join as a new one");
    else if (version == 1)
        snprintf(error, error_size,
                 "group %u: the record is of an older version of synod, which this one cannot "
                 "read; start the older version, or move this data directory away and let the "
                 "node join as a new one",
                 group);
    else
        snprintf(error, error_size,
                 "group %u: the engine's applied record is damaged; move this data directory away "
                 "and let the node join as a new one",
                 group);
    return false;
}

/* ---- what may be written ---- */

struct check {
    const struct shard_record *record;
    uint32_t record_count;
    struct shard_record *range; /* of replicas that there will be */
    size_t count, capacity;
    int error;
};

static void check_range(struct check *c, const struct shard_record *r)
{
    if (r->state == SHARD_DEAD) return;
    if (c->count == c->capacity) {
        c->capacity = c->capacity ? 2 * c->capacity : 32;
        c->range = mem_realloc(c->range, c->capacity * sizeof *c->range);
    }
    c->range[c->count++] = *r;
}

static void check_each(void *ctx, const struct shard_record *old)
{
    struct check *c = ctx;
    for (uint32_t i = 0; i < c->record_count; i++) {
        const struct shard_record *new = &c->record[i];
        if (new->group != old->group) continue;
        bool used = old->state == SHARD_DEAD &&
                    new->state != SHARD_DEAD &&new->replica == old->replica &&
                    !MUTANT(MUTANT_TOMBSTONE_IGNORED);
        if (new->replica < old->replica || used) c->error = -ESTALE;
        return; /* replaced: its range does not count */
    }
    check_range(c, old);
}

static int slot_compare(const void *a, const void *b)
{
    return ((const struct shard_record *)a)->slot_lo - ((const struct shard_record *)b)->slot_lo;
}

int births_check(struct engine *e, const struct shard_record *records, uint32_t count)
{
    struct check c = {.record = records, .record_count = count};
    uint32_t damaged;
    uint8_t version;
    if (births_visit(e, check_each, &c, &damaged, &version) != ENGINE_FOUND) c.error = -EIO;
    for (uint32_t i = 0; i < count; i++) check_range(&c, &records[i]);
    if (c.count) qsort(c.range, c.count, sizeof *c.range, slot_compare);
    for (size_t i = 1; i < c.count && !c.error; i++)
        if (c.range[i].slot_lo < c.range[i - 1].slot_hi) c.error = -EEXIST; /* INV-BIRTH-1 */
    mem_free(c.range);
    return c.error;
}

/* ---- writing ---- */

struct write_item {
    struct buf key, value, lo, hi; /* lo, hi: what is wiped; empty: nothing */
    struct shard_record record;
};

struct shard_write {
    struct io_work work;
    struct engine *engine;
    void (*done)(void *ctx, int error);
    void *ctx;
    struct write_item *item; /* by rising key */
    uint32_t count, at;
    int error;
};

void shard_write_abandon(struct shard_write *w)
{
    if (!w) return;
    for (uint32_t i = 0; i < w->count; i++) {
        buf_deinit(&w->item[i].key);
        buf_deinit(&w->item[i].value);
        buf_deinit(&w->item[i].lo);
        buf_deinit(&w->item[i].hi);
    }
    mem_free(w->item);
    mem_free(w);
}

static bool write_next(void *ctx, struct bytes *key, struct bytes *value, bool *deleted)
{
    struct shard_write *w = ctx;
    while (w->at < w->count && MUTANT(MUTANT_NO_TOMBSTONE) &&
           w->item[w->at].record.state == SHARD_DEAD)
        w->at++;
    if (w->at == w->count) return false;
    *key = buf_bytes(&w->item[w->at].key);
    *value = buf_bytes(&w->item[w->at].value);
    *deleted = false;
    w->at++;
    return true;
}

static void write_run(void *ctx)
{
    struct shard_write *w = ctx;
    struct shard_record *records = mem_alloc(w->count * sizeof *records);
    struct engine_range *wipe = mem_alloc(w->count * sizeof *wipe);
    struct engine_source source = {.next = write_next, .ctx = w, .wipe = wipe};
    for (uint32_t i = 0; i < w->count; i++) {
        const struct write_item *item = &w->item[i];
        records[i] = item->record;
        if (item->hi.size)
            wipe[source.wipe_count++] =
                (struct engine_range){buf_bytes(&item->lo), buf_bytes(&item->hi)};
    }
    w->error = births_check(w->engine, records, w->count);
    if (!w->error) w->error = engine_ingest(w->engine, &source);
    mem_free(records);
    mem_free(wipe);
}

static void write_done(void *ctx)
{
    struct shard_write *w = ctx;
    void (*done)(void *ctx, int error) = w->done;
    void *done_ctx = w->ctx;
    int error = w->error;
    shard_write_abandon(w);
    done(done_ctx, error);
}

static int item_compare(const void *a, const void *b)
{
    return bytes_compare(buf_bytes(&((const struct write_item *)a)->key),
                         buf_bytes(&((const struct write_item *)b)->key));
}

static struct shard_write *write_new(struct engine *e, const struct shard_birth *births,
                                     uint32_t count)
{
    ASSERT(count > 0);
    struct shard_write *w = mem_zalloc(sizeof *w);
    w->engine = e;
    w->count = count;
    w->item = mem_zalloc(count * sizeof *w->item);
    for (uint32_t i = 0; i < count; i++) {
        struct write_item *item = &w->item[i];
        item->record = births[i].record;
        item->record.config = (struct bytes){0};
        keys_applied(&item->key, births[i].record.group);
        birth_encode(&births[i].record, &item->value);
        if (!births[i].wipe_data) continue;
        ASSERT(item->record.slot_lo < item->record.slot_hi);
        keys_slot(&item->lo, item->record.slot_lo);
        keys_slot(&item->hi, item->record.slot_hi);
    }
    qsort(w->item, count, sizeof *w->item, item_compare);
    for (uint32_t i = 1; i < count; i++)
        ASSERT(w->item[i].record.group != w->item[i - 1].record.group);
    return w;
}

int shard_write_records_now(struct engine *e, const struct shard_birth *births, uint32_t count)
{
    struct shard_write *w = write_new(e, births, count);
    write_run(w);
    int error = w->error;
    shard_write_abandon(w);
    return error;
}

struct shard_write *shard_write_records(struct io *io, struct engine *e,
                                        const struct shard_birth *births, uint32_t count,
                                        void (*done)(void *ctx, int error), void *ctx)
{
    struct shard_write *w = write_new(e, births, count);
    w->done = done;
    w->ctx = ctx;
    w->work = (struct io_work){.run = write_run, .done = write_done, .ctx = w};
    io_work(io, &w->work);
    return w;
}
