/* The built-in queries (spec.h) over records: feed, merge, encode a partial for the shuffle, finish
 * into rows. One object is used by one thread at a time.
 *
 *   query       partial                              result
 *   COUNT       a number                             exact
 *   SUM, AVG    whole numbers apart, in 128 bits     exact for them; others to a few 1e-16 of the
 *                                                    sum of their magnitudes
 *   MIN, MAX    a double                             exact (of whole numbers, up to 2^53)
 *   TOP n       the n largest                        exact; of equal ones the smaller keys
 *   DISTINCT    hashes up to AGGREGATE_EXACT, then   "exact" (but for equal 64-bit hashes), then
 *               HyperLogLog of 2^14 registers        "estimate", within 2 % (standard error 0.81 %)
 *   QUANTILES   KLL sketch, k = 1000                 rank within 0.005 of what is asked
 *   HISTOGRAM   at most 1024 buckets of one width,   exact counts; the width is the step, doubled
 *               which doubles when there are more    until the buckets are few enough
 *   GROUP       the numbers of each group            as COUNT .. AVG
 *   JOIN        keys of both sides, for each value   exact
 *   GREP        what was found                       exact
 *
 * COUNT counts records (keys); with FIELD, values. Values that are no numbers are left out of what
 * needs numbers, and counted (`skipped`). Merging is associative and commutative, but for QUANTILES
 * (within its error) and the rounding of fractions. Past `memory_max` (JOIN, GREP, GROUP, TOP)
 * there is an error that says so, and no result.
 *
 * KLL: Karnin, Lang, Liberty, "Optimal Quantile Approximation in Streams", 2016. HyperLogLog:
 * Flajolet et al. 2007, with the estimator of Ertl, arXiv:1702.01284, section 2.4. */
#ifndef SYNOD_JOB_AGGREGATE_H
#define SYNOD_JOB_AGGREGATE_H

#include "job/records.h"
#include "job/spec.h"

#define AGGREGATE_EXACT     65536
#define AGGREGATE_CELLS_MAX 3
#define AGGREGATE_SHOWN_MAX 256 /* bytes of a value that GREP found */

struct aggregate;

enum aggregate_result {
    AGGREGATE_OK,
    AGGREGATE_E_CORRUPT, /* broken records or partials */
    AGGREGATE_E_FULL     /* more than memory_max */
};

/* Copies what it needs of the spec (JOB_KIND_QUERY). */
struct aggregate *aggregate_new(const struct job_spec *spec, size_t memory_max);
void aggregate_free(struct aggregate *a);

/* After anything but OK the object is only good for aggregate_free. Records that do not match are
 * the caller's to leave out (job_spec_wants). */
enum aggregate_result aggregate_feed(struct aggregate *a, const struct record *r);

/* The partial's part for one of `partitions`, appended: groups and joins go where their key hashes,
 * all else to partition 0. Nothing appended: there is nothing for it. */
void aggregate_encode(const struct aggregate *a, uint32_t partition, uint32_t partitions,
                      struct buf *out);
/* Takes in what an aggregate of the same spec encoded. */
enum aggregate_result aggregate_merge(struct aggregate *a, struct bytes partial);

struct aggregate_row {
    bool note; /* not of the result but about it: (name, value) */
    uint8_t count;
    struct bytes cell[AGGREGATE_CELLS_MAX]; /* until the sink returns */
};
typedef void aggregate_sink(void *ctx, const struct aggregate_row *row);

/* The rows in order, then notes: records, and where it applies skipped, values, method, width. */
void aggregate_finish(struct aggregate *a, aggregate_sink *sink, void *ctx);

#endif
