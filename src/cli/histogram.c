/* Logarithmic buckets, each power of two cut into equal steps. */
#include "cli/histogram.h"

#include "base/assert.h"

/* Below 64 each value has its own bucket; from there the six bits after the leading one choose the
 * step. */
static unsigned bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_STEPS) return (unsigned)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - 6u;
    return (shift + 1) * HISTOGRAM_STEPS + (unsigned)(value >> shift) - HISTOGRAM_STEPS;
}

/* The largest value that belongs to a bucket. */
static uint64_t bucket_end(unsigned bucket)
{
    if (bucket < HISTOGRAM_STEPS) return bucket;
    unsigned shift = bucket / HISTOGRAM_STEPS - 1;
    uint64_t step = bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS;
    return ((step + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    unsigned b = bucket_of(value);
    ASSERT(b < HISTOGRAM_BUCKETS && value <= bucket_end(b));
    h->bucket[b]++;
    h->count++;
    h->sum += value;
    if (value > h->max) h->max = value;
}

uint64_t histogram_quantile(const struct histogram *h, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)h->count + 0.999999), seen = 0;
    if (wanted > h->count) wanted = h->count;
    for (unsigned b = 0; b < HISTOGRAM_BUCKETS && h->count; b++) {
        seen += h->bucket[b];
        if (seen < wanted || seen == 0) continue;
        return bucket_end(b) < h->max ? bucket_end(b) : h->max;
    }
    return 0;
}
