/* HISTOGRAM: buckets [i * width, (i + 1) * width), width = step * 2^doubled. The number of
 * doublings is the least at which all values seen fit into BUCKETS: so it does not matter in which
 * order they, or partials, came. */
#include "job/aggregate_impl.h"

#include <math.h>

enum { BUCKETS = 1024, DOUBLED_MAX = 64 };

struct bucket {
    int64_t index;
    uint64_t count;
};

struct histogram {
    uint32_t doubled, count;
    uint64_t values;
    struct bucket bucket[BUCKETS + 1]; /* by index; one more before it doubles */
};

/* The bucket of an index after `by` doublings: rounded down, below zero too. */
static int64_t halved(int64_t index, uint64_t by)
{
    return index >> (by > 63 ? 63 : by);
}

/* Of equal neighbours one. */
static void twice_as_wide(struct histogram *h)
{
    uint32_t n = 0;
    h->doubled++;
    for (uint32_t i = 0; i < h->count; i++) {
        struct bucket b = h->bucket[i];
        b.index >>= 1;
        if (n && h->bucket[n - 1].index == b.index)
            h->bucket[n - 1].count += b.count;
        else
            h->bucket[n++] = b;
    }
    h->count = n;
}

static void add(struct histogram *h, int64_t index, uint64_t count)
{
    uint32_t lo = 0, hi = h->count;
    h->values += count;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (h->bucket[mid].index < index)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < h->count && h->bucket[lo].index == index) {
        h->bucket[lo].count += count;
        return;
    }
    memmove(&h->bucket[lo + 1], &h->bucket[lo], (h->count - lo) * sizeof *h->bucket);
    h->bucket[lo] = (struct bucket){index, count};
    h->count++;
    while (h->count > BUCKETS) twice_as_wide(h);
}

static void number(struct aggregate *a, const struct record *r, const struct record_item *item,
                   const struct number *v)
{
    struct histogram *h = a->state;
    double at = floor(v->d / a->query.step), most = 4e18;
    (void)r, (void)item;
    at = at > most ? most : at < -most ? -most : at;
    add(h, halved((int64_t)at, h->doubled), 1);
}

/* doubled, count, then (index:8, count) of each. */
static void encode(const struct aggregate *a, uint32_t partition, uint32_t partitions,
                   struct buf *out)
{
    const struct histogram *h = a->state;
    (void)partition, (void)partitions;
    buf_varint(out, h->doubled);
    buf_varint(out, h->count);
    for (uint32_t i = 0; i < h->count; i++) {
        buf_u64(out, (uint64_t)h->bucket[i].index);
        buf_varint(out, h->bucket[i].count);
    }
}

static void merge(struct aggregate *a, struct reader *r)
{
    struct histogram *h = a->state;
    uint64_t doubled = reader_varint(r), count = reader_varint(r);
    if (doubled >= DOUBLED_MAX || count > BUCKETS) r->bad = true;
    if (r->bad) return;
    while (h->doubled < doubled) twice_as_wide(h);
    for (uint64_t i = 0; !r->bad && i < count; i++) {
        int64_t index = (int64_t)reader_u64(r);
        uint64_t n = reader_varint(r);
        if (!r->bad) add(h, halved(index, h->doubled - doubled), n);
    }
}

static void finish(struct aggregate *a)
{
    const struct histogram *h = a->state;
    char from[40], count[40];
    double width = ldexp(a->query.step, (int)h->doubled);
    for (uint32_t i = 0; i < h->count; i++)
        agg_row(a, agg_double((double)h->bucket[i].index * width, from),
                agg_int128((__int128)h->bucket[i].count, count));
    agg_note(a, "width", agg_double(width, from));
    agg_note_number(a, "values", h->values);
}

const struct agg_kind agg_histogram = {.state_size = sizeof(struct histogram),
                                       .number = number,
                                       .encode = encode,
                                       .merge = merge,
                                       .finish = finish};
