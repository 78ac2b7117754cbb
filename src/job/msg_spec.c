#include "job/spec.h"
#include "job/records.h"

#define SPEC_VERSION 1

static void put_double(struct buf *out, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    buf_u64(out, bits);
}

static void query_put(const struct job_query *q, struct buf *out)
{
    buf_u8(out, q->op);
    buf_u8(out, q->group_op);
    buf_u8(out, q->by);
    buf_varint(out, q->n);
    put_double(out, q->step);
    buf_blob(out, q->field);
    buf_blob(out, q->by_field);
    buf_blob(out, q->argument);
}

static void limits_put(const struct job_limits *l, struct buf *out)
{
    buf_varint(out, l->time_ms);
    buf_varint(out, l->cpu_ms);
    buf_varint(out, l->memory);
    buf_varint(out, l->spill);
    buf_varint(out, l->output);
}

void job_spec_encode(const struct job_spec *s, struct buf *out)
{
    buf_u8(out, SPEC_VERSION);
    buf_blob(out, s->name);
    buf_u8(out, s->kind);
    query_put(&s->query, out);
    buf_blob(out, s->map);
    buf_blob(out, s->combine);
    buf_blob(out, s->reduce);
    buf_u8(out, s->combine_op);
    buf_u8(out, s->reduce_op);
    buf_blob(out, s->match);
    buf_u8(out, s->type);
    buf_u8(out, s->into);
    buf_blob(out, s->prefix);
    buf_varint(out, s->partitions);
    buf_varint(out, s->tasks);
    buf_varint(out, s->snapshot);
    limits_put(&s->limits, out);
}

static uint8_t below(struct reader *r, uint8_t bound)
{
    uint8_t v = reader_u8(r);
    if (v >= bound) r->bad = true;
    return r->bad ? 0 : v;
}

static struct bytes blob(struct reader *r, size_t max)
{
    struct bytes b = reader_blob(r);
    if (b.size > max) r->bad = true;
    return r->bad ? (struct bytes){0} : b;
}

static void query_get(struct reader *r, struct job_query *q)
{
    uint64_t bits;
    q->op = below(r, JOB_OPS);
    q->group_op = below(r, JOB_OP_AVG + 1);
    q->by = below(r, JOB_BY_PART + 1);
    q->n = (uint32_t)reader_bounded(r, JOB_TOP_MAX);
    bits = reader_u64(r);
    memcpy(&q->step, &bits, sizeof q->step);
    q->field = blob(r, JOB_FIELD_MAX);
    q->by_field = blob(r, JOB_FIELD_MAX);
    q->argument = blob(r, JOB_PATTERN_MAX);
    if (q->op == JOB_OP_HISTOGRAM && !(q->step > 0 && q->step < 1e300)) r->bad = true;
    if (q->op == JOB_OP_GROUP && (q->by == JOB_BY_NOTHING || !q->group_op)) r->bad = true;
}

bool job_spec_decode(struct bytes data, struct job_spec *s)
{
    struct reader r = reader_of(data);
    *s = (struct job_spec){0};
    if (data.size > JOB_SPEC_MAX || reader_u8(&r) != SPEC_VERSION) return false;
    s->name = blob(&r, JOB_NAME_MAX);
    s->kind = below(&r, JOB_KIND_TASKS + 1);
    query_get(&r, &s->query);
    s->map = blob(&r, JOB_SOURCE_MAX);
    s->combine = blob(&r, JOB_SOURCE_MAX);
    s->reduce = blob(&r, JOB_SOURCE_MAX);
    s->combine_op = below(&r, JOB_OP_AVG);
    s->reduce_op = below(&r, JOB_OP_AVG);
    s->match = blob(&r, JOB_PATTERN_MAX);
    s->type = below(&r, RECORD_TYPES + 1);
    s->into = below(&r, 2);
    s->prefix = blob(&r, JOB_PATTERN_MAX);
    s->partitions = (uint32_t)reader_bounded(&r, JOB_PARTITIONS_MAX);
    s->tasks = (uint32_t)reader_bounded(&r, UINT32_MAX);
    s->snapshot = reader_varint(&r);
    s->limits.time_ms = reader_bounded(&r, INT64_MAX);
    s->limits.cpu_ms = reader_bounded(&r, INT64_MAX);
    s->limits.memory = reader_bounded(&r, INT64_MAX);
    s->limits.spill = reader_bounded(&r, INT64_MAX);
    s->limits.output = reader_bounded(&r, INT64_MAX);
    return !r.bad && reader_left(&r) == 0 &&
           (s->kind == JOB_KIND_QUERY) == (s->query.op != JOB_OP_NONE);
}
