/* The leader of group 0 owns all jobs. */
#include "node/job.h"

void jobs_look(struct node *n)
{
    (void)n;
}
