/* One job, as its owner sees it: an event in, effects out (docs/JOBS.md). Pure: no clock, memory or
 * message of its own; whoever drives it carries the effects out and says what became of each.
 *
 *   SUBMITTED -> CUT -> MAP -> REDUCE -> COMMITTING -> DONE        any of them -> FAILED |
 * CANCELLED
 *
 * The owner may vanish at any point. What must outlive it is the *record* (job_record.h), a row of
 * the job's home group, written under the owner's *epoch*: each owner has a higher one. The home
 * group takes a record (epoch, revision) if the one it has is of the same epoch and a lower
 * revision, or is the very one that this owner read when it began (`base`; none: 0, 0); it says
 * WRITTEN if it has this one already, and DEPOSED for all else. So:
 *
 *   J1  An attempt is (epoch, number), and never used twice: numbers only grow within an epoch.
 * What is reported of an attempt of another epoch, or of one that was given up, is nothing. J2  A
 * task is done when a record that names its winning attempt is written; the first one reported
 * under this epoch wins, and a record is never written with another one after it unless the
 * winner's output was lost with its node (map tasks only). J3  A reduce attempt starts only after
 * the winners of all map tasks are in the record. J4  PUBLISH happens only after a record
 * COMMITTING, with all winners, is written; it is one transaction that requires the record to be
 * that very one (epoch and revision), and makes it DONE. So a publication of an older owner, or one
 * that comes twice, changes nothing. J5  Staging is dropped only after a record that says how the
 * job ended is written. J6  An ending on record stays: who read the record before it was written
 * has no base to write on.
 *
 * The idea of a recorded winner is Hadoop's and Spark's commit coordination (PROTOCOLS.md 5). */
#ifndef SYNOD_JOB_JOB_STATE_H
#define SYNOD_JOB_JOB_STATE_H

#include "base/bytes.h"

#define JOB_TASKS_MAX      16384 /* map and reduce tasks together */
#define JOB_NODES_MAX      1024
#define JOB_HOLDERS_MAX    7
#define JOB_RUNS_MAX       2     /* attempts of one task at once */
#define JOB_RETRIES        4     /* an attempt that fails is followed by so many others */
#define JOB_SILENT_MS      30000 /* an attempt that says nothing for so long has failed */
#define JOB_STRANDED_MS    30000 /* no node is up that has what a map reads: it never will */
#define JOB_PUBLISH_TRIES  8     /* refusals for a passing reason */
#define JOB_PAUSE_MS       500   /* before a cut, write, publication or drop is tried again */
#define JOB_ERROR_MAX      200
#define JOB_SPECULATE_MULT 3    /* a task slower than so many medians ... */
#define JOB_SPECULATE_PCT  75   /* ... while more than so many per cent are done */
#define JOB_SPECULATE_MS   2000 /* and never one that is younger */

enum job_phase {
    JOB_SUBMITTED,
    JOB_CUT,
    JOB_MAP,
    JOB_REDUCE,
    JOB_COMMITTING,
    JOB_DONE,
    JOB_FAILED,
    JOB_CANCELLED
};

enum job_task_state {
    JOB_TASK_WAITING,
    JOB_TASK_RUNNING,
    JOB_TASK_REPORTED, /* done, and not yet in a written record */
    JOB_TASK_DONE
};

struct job_attempt {
    uint64_t epoch;
    uint32_t number;
};

struct job_run { /* an attempt under way */
    bool live;
    uint32_t number; /* its epoch is the owner's */
    uint32_t node;
    int64_t started_ms, heard_ms;
    uint64_t records, bytes; /* as last reported */
};

struct job_task {
    uint8_t state;
    uint8_t failures;
    uint32_t started;          /* attempts under this epoch: the last one's number */
    uint64_t in_revision;      /* REPORTED: the record that first says so */
    uint32_t avoid;            /* where it failed last; 0: nowhere */
    struct job_attempt winner; /* REPORTED, DONE */
    uint32_t winner_node;      /* where a map task's output is */
    uint64_t records, bytes;   /* the winner's */
    struct job_run run[JOB_RUNS_MAX];
    /* Map tasks: the nodes that hold the range, those that lead least first; only they can run it.
     * None: any node can. Reduce tasks: nodes that would be best; any can. */
    uint8_t holder_count;
    uint8_t unfit; /* bit i: holder i has said that it has no such snapshot */
    uint32_t holder[JOB_HOLDERS_MAX];
};

struct job_node {
    uint32_t id;          /* not 0 */
    uint16_t slots, busy; /* workers it may run for this job; those that do */
    bool up;
};

struct job {
    /* The caller's; `task` holds maps first, then reduces. Both stay where they are until the end.
     */
    struct job_task *task;
    uint32_t task_room;
    uint32_t maps, reduces;
    struct job_node *node;
    uint32_t node_room, nodes;

    uint64_t epoch;
    uint64_t base_epoch, base_revision; /* the record that this owner began with; 0: none */
    uint64_t revision;                  /* of the record last asked to be written */
    uint64_t snapshot;                  /* 0: none */
    int64_t submitted_ms;               /* wall clock of the cluster, for people */
    int64_t began_ms;                   /* this owner's clock */
    int64_t limit_ms;                   /* of run time, over all owners; 0: none */
    int64_t spent_ms;                   /* run time under earlier owners */
    int64_t now_ms;
    uint8_t phase;
    bool needs_cut;
    bool begun;
    bool over;        /* nothing is asked of it any more */
    bool dropped;     /* after the end: staging and snapshot are gone */
    bool cancelling;  /* asked for while a publication was under way */
    bool dirty;       /* the record is behind */
    bool writing;     /* a record is on its way */
    bool cutting;     /* a cut is being made */
    bool publishing;  /* a publication is under way */
    bool dropping;    /* staging is being dropped */
    bool republish;   /* nobody knows what became of the publication under way */
    int64_t pause_ms; /* something failed: nothing of the kind is tried before */
    bool stranded;    /* a map waits for holders of its range, none of which is up: since */
    int64_t stranded_ms;
    uint8_t cut_failures, publish_failures;
    uint8_t asked_phase;              /* of the record last asked to be written */
    uint8_t written_phase;            /* of the last record known to be written */
    uint64_t written;                 /* its revision */
    uint32_t maps_done, reduces_done; /* in a written record */
    uint16_t error_size;
    char error[JOB_ERROR_MAX];
    uint32_t took[256]; /* of this phase: finished attempts by run time, eight to an octave */
    uint32_t took_count;
};

enum job_event_type {
    JOB_EV_BEGIN,       /* once: after job_init, or after a record was read into it */
    JOB_EV_CUT_MADE,    /* snapshot; the caller has called job_set_maps before */
    JOB_EV_CUT_FAILED,  /* text */
    JOB_EV_WRITTEN,     /* WRITE: the record of this revision is chosen */
    JOB_EV_WRITE_LOST,  /* nobody knows */
    JOB_EV_DEPOSED,     /* WRITE or PUBLISH met another's record, or the lease is lost */
    JOB_EV_PROGRESS,    /* task, attempt, records, bytes */
    JOB_EV_TASK_DONE,   /* task, attempt, records, bytes; its output is whole where it ran */
    JOB_EV_TASK_FAILED, /* task, attempt, text */
    JOB_EV_TASK_UNFIT,  /* task, attempt: its node lacks the snapshot or the range */
    JOB_EV_INPUT_LOST,  /* task, attempt of a reduce; input, winner: whose output is gone */
    JOB_EV_NODE_UP,     /* node, slots */
    JOB_EV_NODE_LOST,   /* node: silent, or restarted: what ran there is gone, and so are outputs */
    JOB_EV_PUBLISHED,   /* PUBLISH: the record is DONE */
    JOB_EV_PUBLISH_LOST,   /* nobody knows */
    JOB_EV_PUBLISH_FAILED, /* certainly not, text; may be tried again if `retry` */
    JOB_EV_DROPPED,
    JOB_EV_DROP_FAILED,
    JOB_EV_CANCEL,
    JOB_EV_TICK /* a few times a second */
};

struct job_event {
    uint8_t type;
    bool retry;
    uint32_t task, node, input;
    uint16_t slots;
    struct job_attempt attempt, winner;
    uint64_t revision, snapshot, records, bytes;
    int64_t now_ms; /* of any clock that does not run backwards; in each event */
    struct bytes text;
};

enum job_effect_type {
    JOB_FX_FENCE, /* tell every node: attempts of this job of a lower epoch are to die */
    JOB_FX_CUT,   /* take a snapshot, then job_set_maps and CUT_MADE */
    JOB_FX_START, /* task, attempt, node */
    JOB_FX_KILL,  /* task, attempt, node. No event is awaited */
    JOB_FX_WRITE, /* encode the job now (job_record.h) and write it as (epoch, revision) on base */
    JOB_FX_PUBLISH, /* one transaction: if the record is of this epoch and revision, write the
                       winners' output and the record as it is encoded now (DONE, revision + 1). If
                       that record is there already: PUBLISHED */
    JOB_FX_DROP,    /* outputs, staging and the snapshot (but for one that the user gave) */
    JOB_FX_OVER     /* the machine may go. The last effect */
};

struct job_effect {
    uint8_t type;
    uint32_t task, node;
    struct job_attempt attempt;
    uint64_t revision, base_epoch, base_revision;
};
typedef void job_sink(void *ctx, const struct job_effect *fx);

struct job_options {
    uint64_t epoch; /* of this owner; above all before it */
    int64_t submitted_ms;
    int64_t limit_ms;    /* of run time, over all owners; 0: none */
    uint32_t reduces;    /* 1 .. */
    uint32_t task_count; /* TASKS n: so many map tasks, and no cut. 0: a cut */
};

/* A new job. `task` has room for all tasks that it may get, `node` for all nodes; the caller's, and
 * borrowed until JOB_FX_OVER. */
void job_init(struct job *j, const struct job_options *o, struct job_task *task, uint32_t task_room,
              struct job_node *node, uint32_t node_room);

/* Before CUT_MADE: `count` map tasks, without holders yet. False, and nothing changed, if there is
 * no room. Then job_hold for each. */
bool job_set_maps(struct job *j, uint32_t count);
/* The nodes that hold a map task's range (followers first, the leader last), or would suit a reduce
 * task; at most JOB_HOLDERS_MAX, the rest is left out. */
void job_hold(struct job *j, uint32_t task, const uint32_t *node, uint32_t count);

void job_step(struct job *j, const struct job_event *ev, job_sink *sink, void *ctx);

/* The invariants above, as far as one state shows them. Asserts. */
void job_check(const struct job *j);

static inline bool job_is_map(const struct job *j, uint32_t task)
{
    return task < j->maps;
}
static inline bool job_ended(const struct job *j)
{
    return j->phase >= JOB_DONE;
}

#endif
