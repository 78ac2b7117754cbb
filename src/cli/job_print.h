/* Jobs as text: one in full, or many as a table; and as JSON. */
#ifndef SYNOD_CLI_JOB_PRINT_H
#define SYNOD_CLI_JOB_PRINT_H

#include "cli/job_view.h"

#include <stdio.h>

void job_print(const struct job_view *v, FILE *out);
/* An array of views, as JOB LIST and JOB HISTORY give it. False: one of them is none. */
bool job_print_list(const struct client_reply *list, FILE *out);

/* The map or the array of maps as it came. */
void job_print_json(const struct client_reply *r, FILE *out);

#endif
