/* One attempt of a task, computed in the process that calls: records or pairs in, pairs out. What a
 * worker does between its frames (worker.h), and what a node does by itself with built-in queries
 * (engine.h).
 *
 * A map of a query sends one pair for each partition that has something: an empty key and the
 * partial. Its reduce takes such pairs and sends rows. One thread at a time; each call does as much
 * as its input is large, but for task_run_end, which does all that is left. */
#ifndef SYNOD_JOB_TASK_RUN_H
#define SYNOD_JOB_TASK_RUN_H

#include "job/records.h"
#include "job/spec.h"

#define TASK_ERROR_MAX 700
#define TASK_INPUT_MAX (68u << 20) /* one pair at its largest */
#define TASK_OUT_BYTES (64u << 10) /* of pairs that are put out together, but for a larger one */

struct task_run;

/* Which task, as those who compute it want to know it. */
struct worker_task {
    uint32_t task, attempt; /* of its phase */
    uint32_t tasks;         /* JOB_KIND_TASKS: how many */
    uint32_t partitions;    /* of a map's output */
    bool reduces;
};

/* Takes whole pairs of the output, partitions in rising order; borrowed until it returns. False:
 * the task is to fail with what `why` (TASK_ERROR_MAX) then says. */
typedef bool task_out(void *ctx, uint32_t partition, struct bytes pairs, char *why);

struct task_run_options {
    const struct job_spec *spec; /* borrowed until task_run_free */
    struct worker_task task;
    int spill_fd; /* -1: none. The caller's */
    task_out *out;
    void *ctx;
};

struct task_counts {
    uint64_t records, bytes; /* of input */
    uint64_t pairs_out, bytes_out;
};

/* Look at task_run_error. All below return false once there is an error. */
struct task_run *task_run_new(const struct task_run_options *o);
void task_run_free(struct task_run *t);
bool task_run_record(struct task_run *t, const struct record *r); /* of a map */
/* A piece of the input stream, cut anywhere: records for a map, pairs for a reduce. */
bool task_run_feed(struct task_run *t, struct bytes piece);
bool task_run_end(struct task_run *t); /* no more input: the rest of the output comes */
const char *task_run_error(const struct task_run *t); /* NULL: none */
/* These are read by a signal's handler, too. */
const struct task_counts *task_run_counts(const struct task_run *t);
uint64_t task_run_spilled(const struct task_run *t);

#endif
