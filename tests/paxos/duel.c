#include "duel.h"
#include "base/prng.h"
#include "paxos/lease.h"

#define L 1000000000ull

struct clock {
    double rate;
    uint64_t skew;
};

static uint64_t read_clock(const struct clock *c, uint64_t now)
{
    return (uint64_t)((double)now * c->rate) + c->skew;
}

/* Rates at the very ends of the bound half of the time: that is where it hurts. */
static struct clock clock_any(struct prng *r, uint32_t ppm)
{
    double drift = prng_below(r, 2) ? ppm : (double)prng_below(r, ppm + 1);
    return (struct clock){1 + (prng_below(r, 2) ? drift : -drift) * 1e-6, prng_below(r, 1000) * L};
}

bool lease_duel(uint64_t seed, uint32_t ppm)
{
    struct prng r;
    prng_init(&r, seed);
    struct clock ch = clock_any(&r, ppm), cg = clock_any(&r, ppm);
    struct lease_table holder, granter;
    uint64_t now = L;
    uint32_t incarnation = 1;
    lease_init(&holder, 1, 1, L, 5000, read_clock(&ch, now), true);
    lease_init(&granter, 2, incarnation, L, 5000, read_clock(&cg, now), true);
    uint64_t mark = lease_mark(&granter, 1); /* as sent with its promise for the group */

    for (int i = 0; i < 20; i++) {
        struct lease_heartbeat hb = lease_send(&holder, 2, read_clock(&ch, now));
        now += prng_below(&r, 3) ? prng_below(&r, L / 1000) : prng_below(&r, L / 2);
        struct lease_answer a = lease_on_heartbeat(&granter, 1, &hb, read_clock(&cg, now));
        now += prng_below(&r, 3) ? prng_below(&r, L / 1000) : prng_below(&r, L / 2);
        lease_on_answer(&holder, 2, &a, read_clock(&ch, now));
        if (prng_below(&r, 8) == 0) { /* the granter restarts; the group's promise is on its disk,
                                         so is the mark's incarnation not */
            incarnation += 1;
            lease_init(&granter, 2, incarnation, L, 5000, read_clock(&cg, now), false);
        }
        /* Look at moments around the end of the lease. */
        uint64_t until = lease_supported_until(&holder, 2, mark), local = read_clock(&ch, now);
        if (until <= local) continue;
        uint64_t left = (uint64_t)((double)(until - local) / ch.rate);
        for (uint64_t back = 1000; back < left; back *= 4) {
            uint64_t then = now + left - back;
            if (until > read_clock(&ch, then) && lease_allows(&granter, 1, read_clock(&cg, then)))
                return true;
        }
        now += prng_below(&r, L / 4);
    }
    return false;
}
