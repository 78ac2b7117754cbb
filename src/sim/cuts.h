/* Cuts: one caller makes snapshots of the whole database again and again, and reads each of them
 * from whichever nodes have it. Two others write chains: x, and, once that is acknowledged, y of
 * another group with what x was; and z with what was read of x. Of each cut:
 *
 *   C1  the bank (sim/bank_judge.h) finds in it what an audit may find that was sent when the cut
 * was asked for, and nothing that was sent after it was answered; C2  y and z are not ahead of x;
 *   C3  what was acknowledged before it was asked for is in it, what was sent after it was answered
 *       is not;
 *   C4  no key is in it twice.
 *
 * A failure is SIM_ATOMICITY. Half of the seeds have them; the others are as if they did not exist.
 */
#ifndef SYNOD_SIM_CUTS_H
#define SYNOD_SIM_CUTS_H

#include <stdbool.h>
#include <stddef.h>

struct sim;
struct cuts;

/* After bank_new. NULL: this seed has none, which is fine for the functions below. */
struct cuts *cuts_new(struct sim *s);
void cuts_free(struct cuts *k);   /* after workload_free, before bank_free */
void cuts_demand(struct cuts *k); /* one more cut must be made, and read */
bool cuts_satisfied(const struct cuts *k, char *missing, size_t size);
void cuts_quiet(struct cuts *k); /* no new requests */

#endif
