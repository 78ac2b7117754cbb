/* Running a job from the command line: submit, watch with bars, fetch what it gave. For `synod job`
 * and the demo. All return EXIT_DONE, or EXIT_FAILED after a line on stderr. */
#ifndef SYNOD_CLI_JOB_RUN_H
#define SYNOD_CLI_JOB_RUN_H

#include "cli/job_view.h"
#include "cli/job_words.h"
#include "cli/link.h"

#include <stdio.h>

enum { JOB_INTERRUPTED = 130 }; /* by Ctrl-C: the job goes on, and a line has said so */

/* Sends it; the job runs then, whatever becomes of us. */
int job_run_submit(struct link *l, const struct job_words *w);

/* Until the job has ended, with bars on `bars` (stdout, or stderr where stdout is for programs).
 * `turn`, if it is not NULL, is called with each look; false: gives up, EXIT_FAILED without a line.
 * timeout_ms 0: as long as it takes. */
struct job_watch {
    const char *name;
    FILE *bars;
    uint64_t timeout_ms;
    bool (*turn)(void *ctx, const struct job_view *v);
    void *ctx;
    struct job_view view; /* out: as last seen */
};
int job_run_watch(struct link *l, struct job_watch *w);

/* JOB RESULT, as a table of at most rows_max rows or as JSON, on stdout. A job INTO has none. */
int job_run_show(struct link *l, const char *name, size_t rows_max, bool json);
/* The same reply, if it is there: borrowed until the next call on `l`. NULL after a line. */
const struct client_reply *job_run_result(struct link *l, const char *name);
/* JOB FORGET. It may be that it is forgotten already. */
int job_run_forget(struct link *l, const char *name);

/* The reply was an error, or not what was expected: a line that says so. EXIT_FAILED. */
int job_run_refused(const struct client_reply *r, const char *name);

#endif
