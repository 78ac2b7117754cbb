/* Attempts of tasks on this node: what job_task.c (their lives, and messages about them),
 * job_step.c (computing, off the reactor), job_fetch.c (a reduce gets its input), job_stage.c (and
 * hands its output over) and job_output.c (maps' outputs, for others) share.
 *
 *   WAITS --> OPENS --> RUNS --> ENDED          a map
 *   WAITS ------------> RUNS --> STAGES --> ENDED   a reduce; TASKS' maps do not open
 *
 * From any of them to ENDED with a failure, or to GONE: killed, fenced, or dropped. What has ended
 * is reported until it is known; then a map that is done keeps its output, and of all others only
 * their names stay for a while, so that a late START does not begin them again.
 *
 * Steps run on batch threads, one of an attempt at a time. While one is under way (`working`) what
 * is below "whoever works" belongs to it, and nothing of that is freed. */
#ifndef SYNOD_NODE_TASK_H
#define SYNOD_NODE_TASK_H

#include "node/job.h"
#include "node/snapshot.h"
#include "job/engine.h"
#include "job/output.h"

#define TASK_ATTEMPTS_MAX  4096 /* known here and not over; of those that are over as many names */
#define TASK_JOBS_MAX      1024
#define TASK_HELD_MAX      (256u << 20) /* of specs and lists of inputs */
#define TASK_FORGET        (60000 * MS) /* a job that nobody speaks of: its owner does every 5 s */
#define TASK_REPORT_EVERY  (1000 * MS)
#define TASK_FETCH_AGAIN   (2000 * MS)
#define TASK_FETCH_GONE    (4000 * MS)  /* ... from a node that nobody hears */
#define TASK_FETCH_MAX     (20000 * MS) /* without a piece: that node cannot be reached */
#define TASK_OPEN_MAX      (10000 * MS)
#define TASK_AGAIN         (500 * MS)
#define TASK_FETCHES       3           /* of different maps at once */
#define TASK_SENDS_MAX     64          /* answers to FETCH that wait for a file */
#define TASK_OUTPUT_MEMORY (1u << 20)  /* of one output, before it goes to a file */
#define TASK_MEMORY_MAX    (64u << 20) /* of all of them: above, new ones go to files at once */

enum task_state {
    TASK_WAITING,
    TASK_OPENS,
    TASK_RUNS,
    TASK_STAGES,
    TASK_ENDED, /* `status` says how */
    TASK_OVER,  /* ... and the owner knows; or killed: only the name is left */
    TASK_GONE   /* in no job any more: freed once nothing uses it */
};

struct task_job {
    struct list link;    /* tasks->jobs */
    uint64_t job, epoch; /* the highest that was heard of */
    uint16_t owner;
    uint64_t heard_at;
    bool dropped;
    struct list attempts;
};

/* What a reduce gets from one map. */
struct fetch {
    bool open;
    uint32_t map;
    struct job_input input;
    uint64_t offset; /* of the next piece, within the partition */
    bool asked;      /* a piece is on its way */
    uint64_t asked_at, heard_at;
    struct buf arrived; /* a piece that no step has taken yet */
    bool came, last;    /* one has, perhaps an empty one; it is the last */
    /* whoever works: */
    struct job_output *local; /* it is here */
    struct buf taken;         /* bytes that no engine has been fed yet */
    size_t left;              /* of them, those that begin a pair whose end is not here yet */
    bool whole;               /* with these, it is all */
    bool fed;                 /* ... and the engine has it */
};

struct task_attempt {
    struct list link;  /* task_job->attempts, or tasks->gone */
    struct list queue; /* tasks->waiting or tasks->over */
    struct node *node;
    struct task_job *job; /* NULL: GONE */
    uint64_t id;          /* of the job */
    uint64_t epoch;
    uint32_t task, number, maps, reduces;
    uint64_t snapshot;
    uint16_t slot_lo, slot_hi;
    uint16_t owner; /* who is told */
    uint8_t state, status;
    bool working, opening, known;
    bool ending; /* with `status`, as soon as nobody works */
    struct buf spec_bytes, inputs;
    struct job_spec spec;
    char *text; /* FAILED, UNFIT: why; else NULL */
    uint32_t lost;
    struct job_attempt winner; /* LOST: which */
    uint64_t records, bytes;
    uint64_t report_at, retry_at, began_at;
    struct io_work work;
    void (*run)(struct task_attempt *a);

    uint32_t next_map; /* a reduce: how many it has begun to fetch */
    struct fetch fetch[TASK_FETCHES];

    uint32_t piece; /* of those that are staged, the next one */
    bool asking;    /* it is on its way to group 0 */

    /* whoever works: */
    struct task_engine *engine;
    struct snapshot_stream *stream;
    uint64_t place;
    struct buf records_read;
    struct buf key; /* the last one that was looked at */
    uint64_t records_done, bytes_done;
    struct job_output *output;
    uint64_t staged; /* bytes of the output that are, and were read for the piece that is next */
    struct buf pairs;
    bool all_read, no_more_maps, end_fed;
    bool more; /* a reduce: a step has something to do */
    enum task_engine_state engine_state;
    bool failed;
    char why[TASK_ERROR_MAX];
};

struct tasks {
    struct list jobs, waiting, over, gone, sends;
    size_t held_bytes; /* of specs and lists of inputs */
    uint32_t job_count, known, over_count, running, send_count;
    struct nursery *nursery; /* of workers; NULL: users' Lua runs in this process */
};

static inline bool attempt_reduces(const struct task_attempt *a)
{
    return a->task >= a->maps;
}

/* job_task.c */
struct task_attempt *attempt_find(struct node *n, uint64_t job, uint64_t epoch, uint32_t task,
                                  uint32_t number);
void attempt_fail(struct task_attempt *a, uint8_t status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* It is reported, its slot is free. If somebody works: as soon as that is over. */
void attempt_end(struct task_attempt *a, uint8_t status);
void attempt_forget(struct task_attempt *a); /* only its name stays */
void attempt_next(struct task_attempt *a);   /* a step is over, or something came: what is next? */

/* job_step.c. On the reactor: starts a step. */
void attempt_step(struct task_attempt *a, void (*run)(struct task_attempt *a));

/* On a batch thread. */
void attempt_run_map(struct task_attempt *a);
void attempt_run_reduce(struct task_attempt *a);
void attempt_read_staged(struct task_attempt *a);
void attempt_close(struct task_attempt *a); /* it is given up: the engine goes */
/* How many of these bytes are whole pairs: no more than max, but at least one. */
size_t pairs_whole(struct bytes s, size_t max);

/* job_fetch.c */
/* Before a step: gives it what came, and asks for more. */
void fetch_go_on(struct task_attempt *a);
void fetch_slow(struct task_attempt *a);
void fetch_on_piece(struct task_attempt *a, uint16_t from, const struct job_msg *m);
void fetch_free(struct task_attempt *a);

/* job_stage.c */
void stage_next(struct task_attempt *a); /* a->pairs is the piece; empty: that was all */

/* job_output.c */
void output_on_fetch(struct node *n, uint16_t from, const struct job_msg *m);
void outputs_free(struct node *n);

#endif
