/* Checksums and hashes: xxHash's XXH3 (64 bits) for both, the library's code behind one name. Pure.
 */
#ifndef SYNOD_BASE_HASH_H
#define SYNOD_BASE_HASH_H

#include "base/bytes.h"

uint64_t hash64(struct bytes s, uint64_t seed);

static inline uint64_t hash_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

#endif
