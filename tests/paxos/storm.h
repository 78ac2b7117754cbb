/* One random run: faults for a while, then everything heals and progress is demanded. Used by the
 * tests, and by the mutant hunt, where such a run has to fail. */
#ifndef SYNOD_TEST_PAXOS_STORM_H
#define SYNOD_TEST_PAXOS_STORM_H

#include "cluster.h"

/* Runs until everybody has all that is chosen and nothing is in flight; false if that takes longer
 * than `ns`. */
bool storm_settles(struct cluster *c, uint64_t ns);
/* NULL, or what went wrong. */
const char *storm_run(uint64_t seed, int count);
/* The same over 5 or 6 nodes with random changes of the members, snapshots in half of the runs. */
const char *storm_reconfigure(uint64_t seed);

#endif
