/* Two nodes, one lease, clocks of any rate within a bound: does the holder ever count on a grant
 * that has ended? */
#ifndef SYNOD_TEST_PAXOS_DUEL_H
#define SYNOD_TEST_PAXOS_DUEL_H

#include <stdbool.h>
#include <stdint.h>

/* One random run with clock rates within 1 +- ppm / 10^6 and a drift bound of 5000 ppm. True: it
 * did. */
bool lease_duel(uint64_t seed, uint32_t ppm);

#endif
