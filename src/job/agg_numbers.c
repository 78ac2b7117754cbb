/* COUNT, SUM, MIN, MAX, AVG. */
#include "job/aggregate_impl.h"

#include <math.h>

void numbers_add(struct numbers *n, const struct number *v)
{
    if (!n->count || v->d < n->min) n->min = v->d;
    if (!n->count || v->d > n->max) n->max = v->d;
    n->count++;
    if (v->whole) {
        n->whole += v->i;
        return;
    }
    double t = n->fraction + v->d;
    if (isfinite(t))
        n->lost +=
            fabs(n->fraction) >= fabs(v->d) ? n->fraction - t + v->d : v->d - t + n->fraction;
    n->fraction = t;
}

void numbers_merge(struct numbers *n, const struct numbers *other)
{
    if (!other->count) return;
    struct number fraction = {.d = other->fraction};
    double min = n->count && n->min < other->min ? n->min : other->min;
    double max = n->count && n->max > other->max ? n->max : other->max;
    uint64_t count = n->count + other->count;
    numbers_add(n, &fraction);
    n->lost += other->lost;
    n->whole += other->whole;
    n->count = count;
    n->min = min;
    n->max = max;
}

void numbers_put(const struct numbers *n, struct buf *out)
{
    buf_varint(out, n->count);
    buf_u64(out, (uint64_t)n->whole);
    buf_u64(out, (uint64_t)(n->whole >> 64));
    agg_put_double(out, n->fraction);
    agg_put_double(out, n->lost);
    agg_put_double(out, n->min);
    agg_put_double(out, n->max);
}

void numbers_get(struct numbers *n, struct reader *r)
{
    n->count = reader_varint(r);
    uint64_t low = reader_u64(r), high = reader_u64(r);
    n->whole = (__int128)((unsigned __int128)high << 64 | low);
    n->fraction = agg_get_double(r);
    n->lost = agg_get_double(r);
    n->min = agg_get_double(r);
    n->max = agg_get_double(r);
}

bool agg_numbers_result(const struct numbers *n, uint8_t op, char *text, struct bytes *out)
{
    double fraction = n->fraction + n->lost;
    if (op == JOB_OP_COUNT) {
        *out = agg_int128((__int128)n->count, text);
        return true;
    }
    if (op == JOB_OP_SUM) {
        *out = fraction == 0 ? agg_int128(n->whole, text)
                             : agg_double((double)((long double)n->whole + fraction), text);
        return true;
    }
    if (!n->count) return false;
    double v = op == JOB_OP_MIN ? n->min
               : op == JOB_OP_MAX
                   ? n->max
                   : (double)(((long double)n->whole + fraction) / (long double)n->count);
    *out = agg_double(v, text);
    return true;
}

static void count_value(void *ctx)
{
    ((struct numbers *)ctx)->count++;
}

static void add(void *ctx, const struct number *v)
{
    numbers_add(ctx, v);
}

/* COUNT looks at values only if a field is asked for. */
static bool of_record(struct aggregate *a, const struct record *r)
{
    struct record_item item;
    struct reader at = record_items(r);
    if (a->query.op != JOB_OP_COUNT) return agg_numbers_of(a, r, add, a->state);
    if (!a->query.field.size) {
        if (!r->further) count_value(a->state);
        return true;
    }
    while (record_item(r, &at, &item))
        if (agg_wants(a, r, &item)) count_value(a->state);
    return !at.bad;
}

static void encode(const struct aggregate *a, uint32_t partition, uint32_t partitions,
                   struct buf *out)
{
    (void)partition, (void)partitions;
    numbers_put(a->state, out);
}

static void merge(struct aggregate *a, struct reader *r)
{
    struct numbers other;
    numbers_get(&other, r);
    if (!r->bad) numbers_merge(a->state, &other);
}

static void finish(struct aggregate *a)
{
    static const char *const name[] = {[JOB_OP_COUNT] = "count",
                                       [JOB_OP_SUM] = "sum",
                                       [JOB_OP_MIN] = "min",
                                       [JOB_OP_MAX] = "max",
                                       [JOB_OP_AVG] = "avg"};
    const struct numbers *n = a->state;
    char text[40];
    struct bytes value;
    if (agg_numbers_result(n, a->query.op, text, &value))
        agg_row(a, bytes_str(name[a->query.op]), value);
    if (a->query.op != JOB_OP_COUNT) agg_note_number(a, "values", n->count);
}

const struct agg_kind agg_numbers = {.state_size = sizeof(struct numbers),
                                     .record = of_record,
                                     .encode = encode,
                                     .merge = merge,
                                     .finish = finish};
