/* What the files of the job's machine share. */
#ifndef SYNOD_JOB_JOB_INTERNAL_H
#define SYNOD_JOB_JOB_INTERNAL_H

#include "job/job_state.h"

struct job_turn {
    struct job *j;
    job_sink *sink;
    void *ctx;
};

void job_emit(struct job_turn *t, struct job_effect fx);

/* job_plan.c: which task runs where. */
void job_schedule(struct job_turn *t);
/* Ends run `r` of a task: its worker's slot is free. The caller says KILL if the worker lives. */
void job_run_end(struct job *j, struct job_task *task, int r);
void job_run_kill(struct job_turn *t, uint32_t task, int r);
/* An attempt took so long. */
void job_took(struct job *j, int64_t ms);
struct job_node *job_node_find(struct job *j, uint32_t id);

#endif
