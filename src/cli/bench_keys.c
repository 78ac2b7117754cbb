/* Zipf's distribution after Gray, Sundaresan, Englert, Baclawski and Weinberger, "Quickly
 * Generating Billion-Record Synthetic Databases", 1994, section 3. */
#include "cli/bench_keys.h"

#include "base/assert.h"

#include <math.h>

void bench_keys_init(struct bench_keys *k, uint64_t count, double zipf)
{
    ASSERT(count > 0 && zipf >= 0 && zipf < 1);
    *k = (struct bench_keys){.count = count, .zipf = zipf};
    if (zipf <= 0) return;
    for (uint64_t i = 1; i <= count; i++) k->zeta += pow((double)i, -zipf);
    k->half = 1 + pow(0.5, zipf); /* the first two's weight */
    if (count > 2) k->eta = (1 - pow(2.0 / (double)count, 1 - zipf)) / (1 - k->half / k->zeta);
}

uint64_t bench_keys_draw(const struct bench_keys *k, struct prng *random)
{
    if (k->zipf <= 0) return prng_below(random, k->count);
    double u = (double)(prng_u64(random) >> 11) * 0x1p-53, weight = u * k->zeta;
    if (weight < 1) return 0;
    if (weight < k->half || k->count <= 2) return k->count > 1;
    uint64_t drawn = (uint64_t)((double)k->count * pow(k->eta * u - k->eta + 1, 1 / (1 - k->zipf)));
    return drawn < k->count ? drawn : k->count - 1;
}

uint64_t bench_keys_other(const struct bench_keys *k, uint64_t from, struct prng *random)
{
    ASSERT(k->count > 1);
    uint64_t to;
    do to = bench_keys_draw(k, random);
    while (to == from);
    return to;
}

static uint64_t tags(const struct bench_keys *k)
{
    return k->count < BENCH_TAG_KEYS ? 1 : k->count / BENCH_TAG_KEYS;
}

uint64_t bench_keys_tag(const struct bench_keys *k, uint64_t number)
{
    return number % tags(k);
}

uint64_t bench_keys_tagged(const struct bench_keys *k, uint64_t from, struct prng *random)
{
    ASSERT(k->count > 1);
    uint64_t step = tags(k), tag = from % step, under = (k->count - tag + step - 1) / step;
    return tag + step * ((from / step + 1 + prng_below(random, under - 1)) % under);
}
