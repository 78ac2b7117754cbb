/* A seeded random generator (xoshiro256**, seeded by splitmix64). Same seed, same numbers, on every
 * machine. Pure. */
#ifndef SYNOD_BASE_PRNG_H
#define SYNOD_BASE_PRNG_H

#include <stdbool.h>
#include <stdint.h>

struct prng {
    uint64_t s[4];
};

void prng_init(struct prng *r, uint64_t seed);
uint64_t prng_u64(struct prng *r);
/* Uniform in [0, bound); 0 for bound 0. */
uint64_t prng_below(struct prng *r, uint64_t bound);
/* True `ppm` times in a million. */
bool prng_chance(struct prng *r, uint32_t ppm);

#endif
