/* What the files about jobs share, but for those that run tasks (job.h). */
#ifndef SYNOD_NODE_JOB_INTERNAL_H
#define SYNOD_NODE_JOB_INTERNAL_H

#include "job/task_value.h"
#include "node/job.h"
#include "redis/job.h"

struct job_seen { /* another node, or this one, as jobs are told */
    bool up;
    uint16_t slots;
    uint64_t incarnation, silent_since;
};

struct jobs {                 /* node->jobs */
    struct buf self, scratch; /* messages to itself */
    struct list owned;        /* struct owned, below */
    struct list errands;      /* questions under way */
    struct list calls;        /* clients' JOB commands (job_command.c) */
    bool look, looking;       /* which jobs there are is to be asked, is being asked, */
    bool listed;              /* is known, in this era */
    uint32_t era;             /* of group 0, in which those below are owned */
    uint64_t look_at, fence_at, orphans_at;
    struct job_seen seen[NODE_NODES_MAX + 1]; /* [id] */
};

/* ---- questions to group 0 ---- */

/* done is called once, with the reply (empty: nobody knows), unless jobs_forget was called with
 * this ctx before; then never. Not from inside the call. */
typedef void jobs_answer(void *ctx, struct bytes reply);
void jobs_ask(struct node *n, const char *name, const struct bytes *arg, uint32_t count,
              jobs_answer *done, void *ctx);
/* The same with `word` and numbers, then `last` unless its data is NULL. */
void jobs_ask_numbers(struct node *n, const char *name, const char *word, const uint64_t *number,
                      uint32_t numbers, struct bytes last, jobs_answer *done, void *ctx);
/* A request of this node's own, whose reply goes to done in the same way. */
struct request *jobs_request(struct node *n, const char *name, jobs_answer *done, void *ctx);
void jobs_publish(struct node *n, const struct cmd_args *a, jobs_answer *done, void *ctx);
void jobs_forget(struct node *n, const void *ctx);
void jobs_nobody(void *ctx, struct bytes reply); /* for answers that nobody waits for */
void jobs_errands_free(struct node *n);

/* Of a reply: ":1"; its bulk string (false: there is none; *nil says whether it said so). */
bool jobs_said(struct bytes reply, int64_t what);
bool jobs_bulk(struct bytes reply, struct bytes *bulk, bool *nil);

/* ---- what winners staged ---- */

struct gather;
/* error: NULL, or a text for clients; pairs: of all winners, in the order of their tasks. The
 * gather is gone when it returns. */
typedef void gather_done(void *ctx, struct bytes pairs, const char *error);
struct gather_winner {
    uint32_t task;
    struct job_attempt attempt;
};
/* Copies the winners. bytes_max: of pairs; more is an error. */
struct gather *gather_begin(struct node *n, uint64_t job, const struct gather_winner *winner,
                            uint32_t count, size_t bytes_max, gather_done *done, void *ctx);
void gather_cancel(struct gather *g);
/* The next pair that is a result, or (of a query) a note about it. False: no more. */
struct gather_pair {
    struct bytes key;
    struct task_value value; /* all of it borrowed from the pairs */
    bool note;
};
bool gather_next(struct reader *pairs, struct gather_pair *out);

/* ---- a job that is owned here ---- */

struct job_range {
    uint32_t group;
    uint16_t slot_lo, slot_hi;
};

struct owned {
    struct list link;
    struct node *node;
    uint64_t id;
    bool begun, cancelled;
    bool over;     /* of its machine: goes in the next slow turn */
    bool carrying; /* effects are being carried out, further down the stack */
    struct buf spec_bytes;
    struct job_spec spec; /* borrows spec_bytes */
    struct job machine;
    struct job_task *task;
    struct job_node nodes[NODE_NODES_MAX + 1];
    struct job_range *range; /* of its map tasks; NULL: they read nothing, or not known yet */
    uint32_t ranges;
    void (*ranged)(struct owned *o, int32_t count);
    uint64_t cut; /* a snapshot that was made for it, and is not in the machine yet */
    struct job_effect *fx;
    uint32_t fx_count, fx_at, fx_capacity;
    struct buf record; /* that is being written or published */
    struct gather *gather;
    struct buf log; /* lines that are not written yet */
    bool telling;
    uint8_t told_phase;
    uint64_t tell_at, tick_at, resend_at, ranges_at;
};

void owned_step(struct owned *o, struct job_event ev);
void owned_log(struct owned *o, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Asks which jobs there are, if it is time. */
void jobs_look_now(struct node *n);

/* job_effects.c */
void owned_carry(struct owned *o, const struct job_effect *fx);
void owned_start(struct owned *o, uint32_t task, uint32_t number, uint32_t node);
void owned_fence(struct owned *o);
void jobs_drop_cut(struct node *n, uint64_t cut);
/* Does the reply (nil) say that there is no such job any more? Somebody forgot it, or all: then
 * nodes drop it at once, and it is over; its snapshot goes as an orphan (job_owner.c). */
bool owned_forgotten(struct owned *o, struct bytes reply);

/* job_ranges.c: divides the snapshot into the job's map tasks. Asks for the snapshot's row, and
 * calls done with how many there are; or: */
#define RANGES_GONE    (-1) /* there is no such snapshot (any more) */
#define RANGES_UNKNOWN (-2)
void ranges_ask(struct owned *o, uint64_t snapshot, void (*done)(struct owned *o, int32_t count));
void ranges_hold(struct owned *o); /* tells the machine who holds them */

/* job_command.c */
void job_calls_slow(struct node *n);
void job_calls_free(struct node *n);

#endif
