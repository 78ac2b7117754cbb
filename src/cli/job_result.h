/* The result of a job, as JOB RESULT and JOB RUN give it, for people and for programs: a map of
 * "rows" (arrays of cells) and "notes" (a map of texts). */
#ifndef SYNOD_CLI_JOB_RESULT_H
#define SYNOD_CLI_JOB_RESULT_H

#include "base/buf.h"
#include "cli/client.h"

#include <stdio.h>

struct json_t;

#define JOB_RESULT_CELL_MAX 60 /* columns of a cell of the table; what is longer ends in "..." */

struct job_result { /* borrowed from the reply; rows and notes are arrays */
    const struct client_reply *rows, *notes;
};

/* False: it is no such map. */
bool job_result_read(const struct client_reply *r, struct job_result *out);

/* At most rows_max rows with aligned columns, those of numbers to the right; how many more there
 * are; the notes. What a terminal would take for a command, and what is no UTF-8, is written as
 * \x1b. */
void job_result_table(const struct job_result *r, size_t rows_max, struct buf *out);
/* One line, {"rows": [["a", "1"], ...], "notes": {...}}, all rows. A cell that is no UTF-8 is
 * {"hex": "00ff"} in place of a text. */
void job_result_json(const struct job_result *r, FILE *out);

/* A text as the table shows a cell. Appended. */
void job_result_cell(struct bytes text, struct buf *out);
/* The same of any length. */
void job_result_text(struct bytes text, struct buf *out);
/* ... and as the JSON has it. A new reference. */
struct json_t *job_result_json_text(struct bytes text);

#endif
