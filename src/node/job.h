/* Jobs on nodes (docs/JOBS.md): what the owner of jobs, the nodes that run their tasks and the
 * commands of clients say to each other.
 *
 *   job_command.c   JOB: what clients ask, at the node that they are connected to
 *   job_owner.c     the leader of group 0 owns all jobs: which there are, and what they hear
 *   job_effects.c   ... what their machines (job_state.h) ask for
 *   job_ranges.c    ... who reads what of a snapshot
 *   job_gather.c    what the winners of reduces gave, as one
 *   job_task.c      attempts of tasks on this node
 *   job_output.c    what maps gave, kept where they ran, and fetched from there by reduces
 *   job_wire.c      the messages below
 *
 * A job's rows are in group 0 (redis/job.h), so whoever leads it can go on with any job. Messages
 * may be lost or come twice: an owner repeats START until it has heard of the attempt, a node
 * repeats its REPORTs until it is told that they are known, a reduce repeats its FETCHes. */
#ifndef SYNOD_NODE_JOB_H
#define SYNOD_NODE_JOB_H

#include "node/internal.h"
#include "job/job_state.h"
#include "job/spec.h"

/* ---- messages ---- */

enum job_msg_type {
    JOB_MSG_START = 1, /* owner to node: run this attempt, and report to me */
    JOB_MSG_KILL,      /* owner to node: give this attempt up, and forget what it has given */
    JOB_MSG_FENCE,     /* owner to node: the job lives, and this is its epoch: attempts of lower
                          ones end. Again every few seconds */
    JOB_MSG_DROP,      /* owner to node: the job is over, forget all of it */
    JOB_MSG_KNOWN,     /* owner to node: the last REPORT of this attempt need not come again */
    JOB_MSG_REPORT,    /* node to owner: how far the attempt is, or how it ended */
    JOB_MSG_FETCH,     /* reduce's node to a map's: a piece of that output, please */
    JOB_MSG_PIECE,     /* the piece */
};

enum job_report_status {
    JOB_REPORT_RUNS,   /* records, bytes so far. Once a second */
    JOB_REPORT_DONE,   /* records, bytes; its output is whole: here (maps), or staged (reduces) */
    JOB_REPORT_FAILED, /* text */
    JOB_REPORT_UNFIT,  /* text: this node lacks the snapshot or the range */
    JOB_REPORT_LOST,   /* of a reduce: the output of map `input`, attempt `winner`, is gone */
};

enum job_piece_status { JOB_PIECE_MORE, JOB_PIECE_END, JOB_PIECE_LOST };

#define JOB_PIECE_BYTES (256u << 10) /* of one PIECE, at most */
#define JOB_STAGE_BYTES                                                                            \
    (512u << 10)                /* of one staged piece; one pair may make it larger, up to:        \
                                 */
#define JOB_PAIR_MAX (8u << 20) /* of one pair that a reduce gives */

struct job_msg {
    uint8_t type;
    uint64_t job;
    uint64_t epoch;  /* of the attempt that it is about; FENCE, DROP: the owner's */
    uint32_t task;   /* of all of the job's: maps first, then reduces */
    uint32_t number; /* of the attempt within its epoch */

    /* START */
    uint32_t maps, reduces;
    uint64_t snapshot;         /* a map that reads: with [slot_lo, slot_hi) */
    uint16_t slot_lo, slot_hi; /* hi 0: a map that reads nothing (TASKS) */
    struct bytes spec;         /* job_spec_encode */
    struct bytes inputs;       /* of a reduce: JOB_INPUT bytes for each map */

    /* REPORT */
    uint8_t status; /* enum job_report_status; PIECE: enum job_piece_status */
    uint64_t records, bytes;
    uint32_t input;            /* LOST */
    struct job_attempt winner; /* LOST */
    struct bytes text;

    /* FETCH and PIECE: task, epoch and number are the map's; offset is within the partition */
    uint32_t partition;
    uint64_t offset;
    struct bytes piece;
};

struct job_input { /* where a map's output is */
    uint16_t node;
    struct job_attempt attempt;
};
#define JOB_INPUT 14 /* node:2 epoch:8 number:4 */
void job_input_put(struct buf *out, const struct job_input *in);
struct job_input job_input_get(struct bytes inputs, uint32_t map);

/* Appends the payload of a WIRE_JOB. */
void job_msg_put(struct buf *out, const struct job_msg *m);
/* False: malformed. Borrows. Bounds: tasks within JOB_TASKS_MAX, text within JOB_TEXT_MAX, sizes as
 * above, `inputs` exactly what `maps` says. */
bool job_msg_get(struct bytes payload, struct job_msg *m);
#define JOB_TEXT_MAX 800

/* To a node, itself included (then it is handled later, in the same turn or the next). False: it
 * could not be sent now. */
bool job_send(struct node *n, uint16_t to, const struct job_msg *m);
void job_on_frame(struct peer *p, struct bytes payload); /* WIRE_JOB */

/* ---- job_task.c: attempts on this node ---- */

/* Of node->tasks; made by tasks_init in node_new, before anything else is called. */
void tasks_init(struct node *n);
void tasks_free(struct node *n); /* the node ends: kills workers, waits for nothing else */
/* START, KILL, FENCE, DROP, KNOWN, FETCH and PIECE, from a node (perhaps this one). `m` borrows. */
void tasks_on_message(struct node *n, uint16_t from, const struct job_msg *m);
void tasks_slow(
    struct node *n); /* about 20 times a second: reports, repeated fetches, forgetting */
uint32_t tasks_slots(const struct node *n); /* attempts that this node runs at once; 0: none */
/* For INFO and status: attempts that run or wait, bytes of outputs that are kept. */
struct tasks_load {
    uint32_t running, waiting;
    uint64_t output_bytes;
};
struct tasks_load tasks_load(const struct node *n);

/* ---- job_owner.c ---- */

void jobs_init(struct node *n);
void jobs_free(struct node *n);
void jobs_on_report(struct node *n, uint16_t from, const struct job_msg *m);
void jobs_slow(struct node *n); /* about 20 times a second */
/* Handles what this node said to itself. True: there is more, for another turn. */
bool jobs_turn(struct node *n);
/* A command about jobs was evaluated at group 0, led here: there may be something new. */
void jobs_look(struct node *n);

/* job_command.c: becomes a request, or answers the error. */
void job_command(struct client *c, const struct command *cmd, const struct cmd_args *a,
                 struct reply *out);

#endif
