/* Which keys a load meets: all alike, or few of them most of the time. Pure. */
#ifndef SYNOD_CLI_BENCH_KEYS_H
#define SYNOD_CLI_BENCH_KEYS_H

#include "base/prng.h"

#define BENCH_ZIPF_KEYS_MAX 100000000u /* each is looked at once, at the start */
#define BENCH_TAG_KEYS      10         /* accounts under one hash tag, or a few more */

struct bench_keys {
    uint64_t count;
    double zipf, zeta, eta, half; /* zipf 0: all alike */
};

/* 0 <= zipf < 1: key i is drawn with a probability in proportion to (i + 1) ^ -zipf. */
void bench_keys_init(struct bench_keys *k, uint64_t count, double zipf);
uint64_t bench_keys_draw(const struct bench_keys *k, struct prng *random);

/* The other account of a transfer from `from`, never the same. Of at least two. */
uint64_t bench_keys_other(const struct bench_keys *k, uint64_t from, struct prng *random);
/* The same, one whose tag is from's. */
uint64_t bench_keys_tag(const struct bench_keys *k, uint64_t number);
uint64_t bench_keys_tagged(const struct bench_keys *k, uint64_t from, struct prng *random);

#endif
