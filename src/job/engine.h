/* What computes one attempt, in one of two ways behind one interface: users' Lua in a process of
 * its own (worker.h), built-in queries (trusted C, and much faster without a pipe) where they are.
 * Lua runs in this process too if no nursery is given.
 *
 * One thread at a time. Each call does a bounded amount of work and returns, but for the last pump
 * of an engine in this process, which does what is left when all input is there. */
#ifndef SYNOD_JOB_ENGINE_H
#define SYNOD_JOB_ENGINE_H

#include "job/task_run.h"

#define TASK_ENGINE_PIECE                                                                          \
    (256u << 10) /* so much of a stream can always be fed where there is room */

struct task_engine;
struct nursery; /* job/nursery.h */

struct task_engine_options {
    const struct job_spec *spec; /* borrowed until task_engine_free */
    struct worker_task task;
    struct nursery *nursery; /* of workers for users' Lua; NULL: in this process */
    const char *dir;         /* for the spill file; NULL: there is none */
    task_out *out;
    void *ctx;
};

/* What is wrong is known from the first pump on. */
struct task_engine *task_engine_new(const struct task_engine_options *o);
void task_engine_free(struct task_engine *e); /* kills its process, if there is one */

/* May something be fed now? If not: pump. */
bool task_engine_has_room(const struct task_engine *e);
/* Of a map: one record, of whatever size; large collections are divided where that is needed. */
void task_engine_record(struct task_engine *e, const struct record *r);
/* Of a reduce: a piece of the pairs, cut anywhere. */
void task_engine_feed(struct task_engine *e, struct bytes piece);
void task_engine_end(struct task_engine *e); /* no more input */

enum task_engine_state { TASK_ENGINE_RUNS, TASK_ENGINE_DONE, TASK_ENGINE_FAILED };
/* Goes on: output may come. Waits for a process, but no longer than wait_ms. */
enum task_engine_state task_engine_pump(struct task_engine *e, int wait_ms);

const char *task_engine_error(const struct task_engine *e);         /* FAILED: one line */
struct task_counts task_engine_counts(const struct task_engine *e); /* of a process: a second old */

#endif
