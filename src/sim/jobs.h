/* Jobs: clerks, callers that have jobs done and know what they must give. A round of a clerk is
 * either over a snapshot that it makes, and reads itself, before it submits up to three jobs over
 * it; or jobs that make their own, of which it knows what the bank says, or that read nothing.
 * Some are cancelled; of some the snapshot is dropped; some choke on a key, on purpose; some are
 * submitted by the other clerk as well. Then:
 *
 *   W1  a job gives what a count by hand gives; what it finds of the bank, an audit may find that
 *       was sent when it was submitted;
 *   W2  it has one result: who asks again, elsewhere, gets the same bytes; who submits it again,
 *       the same id;
 *   W3  INTO: all keys are there, or none, as the job ended; and no others, in the end;
 *   W4  one that was submitted does not vanish, and ends; cancelled only if somebody asked for
 *       that, failed only for a reason that the world explains;
 *   W5  once all have ended and are forgotten nothing is left: no row of theirs, no snapshot, and
 *       no attempt or output on any node.
 *
 * A failure is SIM_ATOMICITY. A third of the seeds have them; the others are as if they did not
 * exist. */
#ifndef SYNOD_SIM_JOBS_H
#define SYNOD_SIM_JOBS_H

#include <stdbool.h>
#include <stddef.h>

struct sim;
struct clerks;

/* After bank_new. NULL: this seed has none, which is fine for the functions below. */
struct clerks *clerks_new(struct sim *s);
void clerks_free(struct clerks *k); /* after workload_free, before bank_free */
/* No new rounds: each clerk ends its own, and has one job more done. */
void clerks_demand(struct clerks *k);
bool clerks_satisfied(const struct clerks *k, char *missing, size_t size);
/* After that: all jobs are ended and forgotten, and it is seen whether anything is left. */
void clerks_sweep(struct clerks *k);
bool clerks_swept(struct clerks *k, char *missing, size_t size);

#endif
