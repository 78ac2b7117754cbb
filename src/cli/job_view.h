/* A job as JOB STATUS, JOB LIST and JOB HISTORY tell of it: a map as a flat array of names and
 * values. Names that are not known here are passed over, for there may be more one day. */
#ifndef SYNOD_CLI_JOB_VIEW_H
#define SYNOD_CLI_JOB_VIEW_H

#include "cli/client.h"

#define JOB_VIEW_NAME_MAX 129 /* with its NUL */

/* What a job goes through, as people see it: one bar each. */
enum job_step { JOB_STEP_CUT, JOB_STEP_MAP, JOB_STEP_REDUCE, JOB_STEP_PUBLISH, JOB_STEPS };

struct job_view {
    char name[JOB_VIEW_NAME_MAX], id[20], state[16], snapshot[20], error[800];
    /* 0 where a list does not say: owner (a node), running, failures, records, bytes */
    int64_t owner, maps, maps_done, reduces, reduces_done, running, failures, records, bytes,
        submitted_ms, spent_ms;
};

/* False if it is no such map: no name, or no state that is known. *v is then empty. */
bool job_view_read(const struct client_reply *r, struct job_view *v);

bool job_view_over(const struct job_view *v); /* done, failed or cancelled */
bool job_view_done(const struct job_view *v);
/* The step that it is at; JOB_STEPS: it is done. Of a job that failed or was cancelled, how far its
 * tasks had come. */
unsigned job_view_step(const struct job_view *v);

#endif
