/* The progress of one job, drawn: a bar for each of its steps, on a terminal redrawn in place, four
 * lines; elsewhere a plain line when a step begins, and one about each second.
 *
 *   cut        [########################################] 100 %  after 0.1 s
 *   map        [################------------------------]  40 %  12 of 30 tasks, 6 run; 84000
 *                                        records/s, 12.3 MB/s; about 12 s to go
 *   reduce     [----------------------------------------]   0 %
 *   publish    [----------------------------------------]   0 %
 *
 * Rates are of the last seconds; what an attempt had read that is lost counts again when it is read
 * again. The time left is the step's, from how long its tasks that are done took. The clock is the
 * caller's. */
#ifndef SYNOD_CLI_JOB_BARS_H
#define SYNOD_CLI_JOB_BARS_H

#include "cli/job_view.h"

#include <stdio.h>

#define JOB_BARS_SAMPLES 16

struct job_bars {
    FILE *out;
    bool tty;
    unsigned width;    /* of the terminal: longer lines would wrap, and not be redrawn in place */
    unsigned lines;    /* that are drawn, above the cursor */
    unsigned step;     /* as last shown */
    uint64_t began_ms; /* the first that was shown */
    uint64_t step_ms;  /* when the step was first seen */
    int64_t step_done; /* tasks that were done then */
    uint64_t took_ms[JOB_STEPS];
    uint64_t line_ms; /* without a terminal: the last line */
    struct {
        uint64_t at_ms;
        int64_t records, bytes;
    } sample[JOB_BARS_SAMPLES]; /* a ring, the oldest at `oldest` */
    unsigned oldest, samples;
};

/* Looks whether `out` is a terminal, and how wide. */
void job_bars_begin(struct job_bars *b, FILE *out);
void job_bars_show(struct job_bars *b, const struct job_view *v, uint64_t now_ms);
/* A line that stays, above the bars. */
void job_bars_say(struct job_bars *b, const char *line);
/* No more bars: those that are drawn stay. */
void job_bars_end(struct job_bars *b);

#endif
