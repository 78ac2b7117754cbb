/* What an attempt gave: pairs by partition, in memory up to a bound, then in an unnamed file that
 * is gone with the output. Written once, by one thread, partitions in rising order; then read by
 * any, at any place.
 *
 * It is counted who uses it: by one thread (the node's), which lets a reader on another one go on
 * while it is given up. */
#ifndef SYNOD_JOB_OUTPUT_H
#define SYNOD_JOB_OUTPUT_H

#include "job/task_run.h"

struct job_output;

struct job_output_options {
    const char *dir; /* NULL: all stays in memory */
    uint32_t partitions;
    size_t memory_max;
    uint64_t bytes_max; /* more, and the task fails */
};

struct job_output *job_output_new(const struct job_output_options *o); /* one use */
struct job_output *job_output_use(struct job_output *o);
void job_output_release(struct job_output *o); /* NULL is fine; the last one frees it */

task_out job_output_put; /* ctx: the output */
/* No more: what is to be in the file goes there. False: `why` as with job_output_put. */
bool job_output_end(struct job_output *o, char *why);

/* Appends at most `max` bytes of a partition from `offset` on to `out`; *end: those were its last.
 * False: the file cannot be read. */
bool job_output_read(const struct job_output *o, uint32_t partition, uint64_t offset, size_t max,
                     struct buf *out, bool *end);
uint64_t job_output_bytes(const struct job_output *o);
size_t job_output_memory(const struct job_output *o);
bool job_output_in_memory(const struct job_output *o); /* reading it does not block */

#endif
