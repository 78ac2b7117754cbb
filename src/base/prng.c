#include "base/prng.h"
#include "base/hash.h"

void prng_init(struct prng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) r->s[i] = hash_mix(seed += 0x9e3779b97f4a7c15u);
}

static uint64_t rotate(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

uint64_t prng_u64(struct prng *r)
{
    uint64_t *s = r->s, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t prng_below(struct prng *r, uint64_t bound)
{
    return bound ? (uint64_t)((unsigned __int128)prng_u64(r) * bound >> 64) : 0;
}

bool prng_chance(struct prng *r, uint32_t ppm)
{
    return prng_below(r, 1000000) < ppm;
}
