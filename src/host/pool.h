/* A few threads for what blocks. Jobs run in the order they came, as threads are free; each is
 * finished on the reactor.
 *
 * The threads start with the first job, so that a host which never blocks has none. pool_push and
 * pool_collect belong to the reactor; `wake` is called from pool threads. */
#ifndef SYNOD_HOST_POOL_H
#define SYNOD_HOST_POOL_H

#include "base/list.h"

struct pool;

struct pool_job {
    struct list link;
    void (*run)(struct pool_job *job); /* on a pool thread */
    void (*finish)(
        struct pool_job *job); /* on the reactor, from pool_collect; owns the job from then on */
    void (*drop)(struct pool_job *job); /* instead of finish, when the pool is freed first */
};

/* idle: its threads compute (SCHED_IDLE): whatever else wakes up in the process's session or
 * control group takes the processor from them when the kernel next looks. */
struct pool *pool_new(unsigned threads, bool idle, void (*wake)(void *ctx), void *ctx);
/* Waits for running jobs; those that wait or are unfinished are dropped. */
void pool_free(struct pool *p);
void pool_push(struct pool *p, struct pool_job *job);
/* Finishes what has run. */
void pool_collect(struct pool *p);

#endif
