/* A worker: a process of its own for one attempt of one task, and what its parent does with it.
 *
 * They talk over one socket pair, in frames:  size:4 (of type and payload)  type:1  payload
 *
 *   to the worker     START   task, attempt, tasks, partitions (varints), reduces:1, spec (the
 * rest) INPUT   a piece of the input stream: records (records.h) for a map, pairs (task_value.h)
 * for a reduce; pieces may be cut anywhere END     no more input to the parent     OUT partition
 * (varint), then whole pairs PROGRESS  records, bytes of input, bytes spilled (varints); once a
 * second DONE    records, bytes of input, pairs and bytes of output (varints). The last ERROR   one
 * line of text. The last
 *
 * The process: worker_main gets the socket as fd WORKER_FD and the spill file, opened by the parent
 * before, as fd WORKER_SPILL_FD; all other descriptors are closed, then it locks itself in
 * (worker_sandbox.h). Memory is bounded by RLIMIT_AS, CPU time by RLIMIT_CPU, the spill file by
 * RLIMIT_FSIZE and the spec.
 *
 * The parent: nothing here blocks but worker_spawn, for a moment, and worker_free, which kills and
 * reaps. One thread at a time. */
#ifndef SYNOD_JOB_WORKER_H
#define SYNOD_JOB_WORKER_H

#include "base/buf.h"
#include "job/spec.h"
#include "job/task_run.h"

#define WORKER_FD        3
#define WORKER_SPILL_FD  4
#define WORKER_FRAME_MAX TASK_INPUT_MAX
#define WORKER_INPUT_MAX (256u << 10) /* of one INPUT frame */
#define WORKER_ERROR_MAX TASK_ERROR_MAX
#define WORKER_QUEUE_MAX (1u << 20) /* input that waits in the parent */

enum worker_frame {
    WORKER_START = 1,
    WORKER_INPUT,
    WORKER_END,
    WORKER_OUT,
    WORKER_PROGRESS,
    WORKER_DONE,
    WORKER_ERROR
};

/* The process: never returns to what the parent was. 0: it did what was asked, or said why not. */
int worker_main(void);

struct worker;
struct nursery; /* job/nursery.h */

struct worker_options {
    struct nursery *nursery; /* that it is born of */
    int spill_fd; /* worker_spill_open; -1: none. Stays the caller's, who may close it after the
                     spawn */
};

/* An unnamed file in `dir`, gone when all have closed it. -1: errno. */
int worker_spill_open(const char *dir);

/* Starts a worker and queues START. NULL: `error` (WORKER_ERROR_MAX) says why. */
struct worker *worker_spawn(const struct worker_options *o, const struct job_spec *spec,
                            const struct worker_task *task, char *error);
void worker_kill(struct worker *w); /* SIGKILL; events go on until FAILED */
void worker_free(struct worker *w);

int worker_pid(const struct worker *w);
/* To wait for: readable always, writable too while worker_wants_write. */
int worker_fd(const struct worker *w);
bool worker_wants_write(const struct worker *w);
/* How many bytes of input may be queued now; 0: write first. */
size_t worker_room(const struct worker *w);
void worker_input(struct worker *w, struct bytes piece); /* copies */
void worker_end(struct worker *w);
/* Writes what the socket takes. False: the worker is gone (worker_next says why). */
bool worker_write(struct worker *w);

enum worker_event_type {
    WORKER_EV_NOTHING,  /* for now: wait */
    WORKER_EV_OUT,      /* partition, pairs */
    WORKER_EV_PROGRESS, /* records, bytes, spilled */
    WORKER_EV_DONE,     /* records, bytes, pairs_out, bytes_out; no more events */
    WORKER_EV_FAILED /* error; no more events. `user`: the task's own fault, told by the worker */
};

struct worker_event {
    uint8_t type;
    bool user;
    uint32_t partition;
    struct bytes pairs; /* until the next call */
    uint64_t records, bytes, spilled, pairs_out, bytes_out;
    const char *error;
};

/* Reads at most once, and returns the next event. */
struct worker_event worker_next(struct worker *w);

#endif
