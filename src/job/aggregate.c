/* What the built-in queries have in common: records to values, partials' head, rows.
 * A partial: version:1  op:1  records skipped (varints), then what the query keeps. */
#include "job/aggregate_impl.h"
#include "base/assert.h"
#include "base/hash.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define PARTIAL_VERSION 1

static const struct agg_kind *const kinds[JOB_OPS] = {
    [JOB_OP_COUNT] = &agg_numbers,       [JOB_OP_SUM] = &agg_numbers,
    [JOB_OP_MIN] = &agg_numbers,         [JOB_OP_MAX] = &agg_numbers,
    [JOB_OP_AVG] = &agg_numbers,         [JOB_OP_TOP] = &agg_top,
    [JOB_OP_DISTINCT] = &agg_distinct,   [JOB_OP_QUANTILES] = &agg_quantiles,
    [JOB_OP_HISTOGRAM] = &agg_histogram, [JOB_OP_GROUP] = &agg_group,
    [JOB_OP_JOIN] = &agg_join,           [JOB_OP_GREP] = &agg_grep};

struct aggregate *aggregate_new(const struct job_spec *spec, size_t memory_max)
{
    struct aggregate *a = mem_zalloc(sizeof *a);
    ASSERT(spec->kind == JOB_KIND_QUERY && kinds[spec->query.op]);
    a->kind = kinds[spec->query.op];
    a->query = spec->query;
    a->match = spec->match;
    a->memory_max = memory_max;
    struct bytes *keep[] = {&a->query.field, &a->query.by_field, &a->query.argument, &a->match};
    size_t size = 1;
    for (size_t i = 0; i < 4; i++) size += keep[i]->size;
    (void)buf_reserve(&a->own, size);
    for (size_t i = 0; i < 4; i++) {
        buf_append_bytes(&a->own, *keep[i]);
        *keep[i] = bytes_of(a->own.data + a->own.size - keep[i]->size, keep[i]->size);
    }
    a->state = mem_zalloc(a->kind->state_size);
    return a;
}

void aggregate_free(struct aggregate *a)
{
    if (!a) return;
    if (a->kind->deinit) a->kind->deinit(a);
    mem_free(a->state);
    buf_deinit(&a->own);
    mem_free(a);
}

/* Whole numbers of up to 18 digits, the most of all, without the library's help. */
static bool short_whole(struct bytes t, int64_t *out)
{
    size_t i = t.size && t.data[0] == '-', from = i;
    int64_t v = 0;
    if (t.size == i || t.size - i > 18) return false;
    for (; i < t.size; i++) {
        unsigned digit = (unsigned)t.data[i] - '0';
        if (digit > 9) return false;
        v = v * 10 + digit;
    }
    *out = from ? -v : v;
    return true;
}

static bool number_of(const struct record *r, const struct record_item *item, struct number *v)
{
    long double d;
    *v = (struct number){0};
    if (r->type == RECORD_ZSET) {
        v->d = item->score;
        v->whole = v->d == floor(v->d) && fabs(v->d) < 9e15;
        if (v->whole) v->i = (int64_t)v->d;
        return !isnan(v->d);
    }
    v->whole = short_whole(item->value, &v->i) || bytes_to_i64(item->value, &v->i);
    if (v->whole) {
        v->d = (double)v->i;
        return true;
    }
    if (item->value.size > 64 || !bytes_to_double(item->value, &d)) return false;
    v->d = (double)d;
    return true;
}

bool agg_wants(const struct aggregate *a, const struct record *r, const struct record_item *item)
{
    if (!a->query.field.size) return true;
    return (r->type == RECORD_HASH || r->type == RECORD_ZSET) &&
           bytes_equal(item->name, a->query.field);
}

bool agg_numbers_of(struct aggregate *a, const struct record *r, agg_number_fn *fn, void *ctx)
{
    struct record_item item;
    struct number v;
    struct reader at = record_items(r);
    while (record_item(r, &at, &item)) {
        if (!agg_wants(a, r, &item)) continue;
        if (!number_of(r, &item, &v))
            a->skipped++;
        else if (fn)
            fn(ctx, &v);
        else
            a->kind->number(a, r, &item, &v);
    }
    return !at.bad;
}

static bool values_of(struct aggregate *a, const struct record *r)
{
    struct record_item item;
    struct reader at = record_items(r);
    while (record_item(r, &at, &item))
        if (agg_wants(a, r, &item)) a->kind->value(a, r, &item);
    return !at.bad;
}

bool agg_field(const struct record *r, struct bytes field, char *text, struct bytes *out)
{
    struct record_item item;
    struct reader at = record_items(r);
    if (r->type != RECORD_HASH && r->type != RECORD_ZSET) return false;
    while (record_item(r, &at, &item)) {
        if (!bytes_equal(item.name, field)) continue;
        *out = r->type == RECORD_HASH ? item.value : agg_double(item.score, text);
        return true;
    }
    return false;
}

static bool too_large(const struct aggregate *a)
{
    return a->kind->memory && a->kind->memory(a) > a->memory_max;
}

enum aggregate_result aggregate_feed(struct aggregate *a, const struct record *r)
{
    a->records += !r->further;
    bool good = a->kind->record   ? a->kind->record(a, r)
                : a->kind->number ? agg_numbers_of(a, r, NULL, NULL)
                                  : values_of(a, r);
    if (!good) return AGGREGATE_E_CORRUPT;
    return too_large(a) ? AGGREGATE_E_FULL : AGGREGATE_OK;
}

/* What is not of a key (records, skipped) goes with partition 0. */
void aggregate_encode(const struct aggregate *a, uint32_t partition, uint32_t partitions,
                      struct buf *out)
{
    if (partition && !a->kind->partitioned) return;
    buf_u8(out, PARTIAL_VERSION);
    buf_u8(out, a->query.op);
    buf_varint(out, partition ? 0 : a->records);
    buf_varint(out, partition ? 0 : a->skipped);
    a->kind->encode(a, partition, partitions, out);
}

enum aggregate_result aggregate_merge(struct aggregate *a, struct bytes partial)
{
    struct reader r = reader_of(partial);
    if (reader_u8(&r) != PARTIAL_VERSION || reader_u8(&r) != a->query.op)
        return AGGREGATE_E_CORRUPT;
    a->records += reader_varint(&r);
    a->skipped += reader_varint(&r);
    a->kind->merge(a, &r);
    if (r.bad || reader_left(&r)) return AGGREGATE_E_CORRUPT;
    return too_large(a) ? AGGREGATE_E_FULL : AGGREGATE_OK;
}

void aggregate_finish(struct aggregate *a, aggregate_sink *sink, void *ctx)
{
    a->sink = sink;
    a->sink_ctx = ctx;
    a->kind->finish(a);
    agg_note_number(a, "records", a->records);
    if (a->skipped) agg_note_number(a, "skipped", a->skipped);
}

void agg_row(struct aggregate *a, struct bytes c0, struct bytes c1)
{
    struct aggregate_row row = {.count = 2, .cell = {c0, c1}};
    a->sink(a->sink_ctx, &row);
}

void agg_row3(struct aggregate *a, struct bytes c0, struct bytes c1, struct bytes c2)
{
    struct aggregate_row row = {.count = 3, .cell = {c0, c1, c2}};
    a->sink(a->sink_ctx, &row);
}

void agg_note(struct aggregate *a, const char *name, struct bytes value)
{
    struct aggregate_row row = {.note = true, .count = 2, .cell = {bytes_str(name), value}};
    a->sink(a->sink_ctx, &row);
}

void agg_note_number(struct aggregate *a, const char *name, uint64_t value)
{
    char text[40];
    agg_note(a, name, agg_int128((__int128)value, text));
}

struct bytes agg_double(double v, char *text)
{
    return bytes_of(text, bytes_put_double(text, v));
}

struct bytes agg_int128(__int128 v, char *text)
{
    char back[40];
    size_t n = 0, at = 0;
    unsigned __int128 u = v < 0 ? -(unsigned __int128)v : (unsigned __int128)v;
    do back[n++] = (char)('0' + (int)(u % 10));
    while (u /= 10);
    if (v < 0) text[at++] = '-';
    while (n) text[at++] = back[--n];
    return bytes_of(text, at);
}

uint32_t agg_partition(struct bytes key, uint32_t partitions)
{
    return (uint32_t)(hash64(key, 0) % partitions);
}

double agg_get_double(struct reader *r)
{
    uint64_t bits = reader_u64(r);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

void agg_put_double(struct buf *out, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    buf_u64(out, bits);
}
