/* What jobs.c (rounds of clerks, and what they ask), jobs_answers.c and jobs_sweep.c (the end)
 * share. */
#ifndef SYNOD_SIM_JOBS_INTERNAL_H
#define SYNOD_SIM_JOBS_INTERNAL_H

#include "sim/bank.h"
#include "sim/caller.h"
#include "sim/jobs.h"
#include "sim/jobs_judge.h"
#include "sim/reply.h"

#define CLERKS         2
#define LATENCY_MAX    (10 * MILLISECOND) /* sim/cuts.c: above it holds may take too long */
#define ROUND_JOBS_MAX 3

enum clerk_ask {
    ASK_NOTHING, /* between two rounds */
    ASK_CREATE,
    ASK_SPLITS,
    ASK_SCAN,
    ASK_SUBMIT,
    ASK_WAIT,
    ASK_CANCEL,
    ASK_RESULT,
    ASK_AGAIN, /* the result, elsewhere */
    ASK_KEYS,  /* that it published, or did not */
    ASK_FORGET,
    ASK_DROP,
    ASK_TWIN, /* submits what the other clerk has submitted */
    /* the end */
    ASK_LIST,
    ASK_END_CANCEL,
    ASK_HISTORY,
    ASK_END_FORGET,
    ASK_TIME,
    ASK_SNAPSHOTS,
    ASK_PUBLISHED,
    ASK_NO_MORE,
};

enum errand_end { ERRAND_RUNS, ERRAND_DONE, ERRAND_FAILED, ERRAND_CANCELLED };

struct errand { /* a job */
    struct jobs_plan plan;
    char name[24], prefix[24], id[20];
    bool into, given; /* given: its snapshot is the clerk's */
    bool sent;        /* somebody may know of it */
    bool calm;        /* asked for when nothing failed any more */
    bool cancelled;   /* somebody asked for that */
    bool ghost;       /* SUBMIT was not answered: it may come late, and make the job anew */
    bool known;       /* `expected` is what it gives */
    bool fails;       /* ... and that is an error */
    uint8_t end;
    uint32_t waits, cancel_after; /* 0: never */
    uint32_t twins;               /* who is submitting it as well */
    struct jobs_rows expected;
    struct buf result;
    struct bank_cut *bank;
};

struct clerk {
    enum clerk_ask next;
    struct errand job[ROUND_JOBS_MAX];
    uint32_t jobs, at;
    struct errand *twin; /* of the other's */
    bool wants;          /* one more job must be done */
    /* its snapshot */
    char id[20], cursor[24];
    reply_split split[REPLY_SPLITS_MAX];
    bool drops_early, dropped, read;
    uint32_t splits, split_at, tries;
    struct jobs_records records;
};

struct book { /* what a job with INTO left */
    char prefix[24];
    bool must, may; /* its keys are there; are perhaps there */
    bool known;
    struct jobs_rows rows;
    uint32_t found;
};

struct clerks {
    struct callers callers;
    struct clerk clerk[CLERKS];
    bool quiet;
    uint32_t serial; /* of jobs */
    struct book *book;
    uint32_t books, books_capacity;
    /* the end */
    bool sweeps, swept;
    bool ghosts; /* a SUBMIT was not answered: it may come when all were forgotten */
    char name[40];
    int64_t wall_ms; /* of that node */
    uint32_t wall_node;
    uint32_t leaks; /* snapshots of jobs */
};

static inline uint64_t clerks_draw(struct clerks *k, uint64_t min, uint64_t max)
{
    return callers_draw(&k->callers, min, max);
}
void clerks_wrong(struct clerks *k, const char *name, const char *what);
void clerks_enter(struct clerks *k, struct errand *e); /* into the books, as it ended */

/* jobs_answers.c */
void clerk_done(struct clerks *k, struct clerk *w, struct caller *c, struct bytes whole);
/* The snapshot is read, or cannot be; it is dropped; the other one's job is submitted, or not. */
void clerk_read(struct clerk *w, bool read);
void clerk_dropped(struct clerk *w);
void clerk_twin_ended(struct clerk *w, enum caller_outcome how);

/* jobs_sweep.c */
void sweep_ask(struct clerks *k, struct caller *c);
void sweep_done(struct clerks *k, struct caller *c, struct bytes whole);

#endif
