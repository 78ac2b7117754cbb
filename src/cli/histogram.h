/* Counts of times by size, after HdrHistogram: 64 steps to each power of two, so a quantile is off
 * by less than 1.6 %. Values are microseconds or nanoseconds, as the caller likes; {0} is empty. */
#ifndef SYNOD_CLI_HISTOGRAM_H
#define SYNOD_CLI_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS   64
#define HISTOGRAM_BUCKETS ((64 - 6 + 1) * HISTOGRAM_STEPS)

struct histogram {
    uint64_t bucket[HISTOGRAM_BUCKETS];
    uint64_t count, max, sum;
};

void histogram_add(struct histogram *h, uint64_t value);
/* The value below or at which `share` (0..1) of all lie, rounded up to its bucket's end, at most
 * the maximum; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *h, double share);

#endif
