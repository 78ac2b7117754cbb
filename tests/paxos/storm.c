#include "storm.h"

#include <stdio.h>
#include <stdlib.h>

bool storm_settles(struct cluster *c, uint64_t ns)
{
    for (uint64_t end = c->now + ns; c->now < end && !c->violation;) {
        cluster_run(c, 50 * MS, 0);
        uint16_t leader = cluster_leader(c);
        if (leader && cluster_converged(c) &&
            paxos_chosen(c->r[leader].px) + 1 == paxos_next_position(c->r[leader].px))
            return true;
    }
    return false;
}

static uint8_t random_role(struct prng *r)
{
    uint64_t dice = prng_below(r, 8);
    return dice == 0 ? PAXOS_WITNESS : dice == 1 ? PAXOS_LEARNER : PAXOS_VOTER;
}

/* One member comes, one goes (the leader, often), both, or all are others. */
static struct paxos_config random_config(struct cluster *c, struct prng *r, uint16_t leader)
{
    struct paxos_config next = *paxos_config(c->r[leader].px);
    uint16_t count = (uint16_t)c->opt.count;
    uint64_t how = prng_below(r, 5);
    if (how == 4) next.count = 0;
    for (int k = next.count - 1; k >= 0 && how >= 2; k--) {
        uint16_t gone = prng_below(r, 2) ? leader : (uint16_t)(1 + prng_below(r, count));
        if (next.member[k].replica == gone) next.member[k] = next.member[--next.count];
    }
    for (uint16_t id = (uint16_t)(1 + prng_below(r, count)), n = 0; n < count;
         n++, id = id % count + 1) {
        bool there = false;
        for (int k = 0; k < next.count; k++) there |= next.member[k].replica == id;
        if (there || (how != 4 && n > prng_below(r, 3)) || next.count > prng_below(r, 6)) continue;
        next.member[next.count++] = (struct paxos_member){id, id, random_role(r)};
    }
    bool voter = false;
    for (int k = 0; k < next.count; k++) {
        if (prng_below(r, 4) == 0) next.member[k].role = random_role(r);
        voter |= next.member[k].role == PAXOS_VOTER;
    }
    if (next.count == 0) next.member[next.count++] = (struct paxos_member){leader, leader, 0};
    if (!voter) next.member[0].role = PAXOS_VOTER;
    return next;
}

static void reconfigure(struct cluster *c, struct prng *r)
{
    for (uint16_t id = 1; id <= c->opt.count && c->opt.members; id++) {
        if (!c->r[id].up || !paxos_can_reconfigure(c->r[id].px)) continue;
        struct paxos_config next = random_config(c, r, id);
        cluster_reconfigure(c, id, &next);
    }
}

static void fault(struct cluster *c, struct prng *r)
{
    if (c->opt.members && prng_below(r, 3)) reconfigure(c, r);
    uint64_t count = (uint64_t)c->opt.count;
    uint16_t a = (uint16_t)(1 + prng_below(r, count)), b = (uint16_t)(1 + prng_below(r, count));
    uint16_t leader = cluster_leader(c);
    if (leader && prng_below(r, 3) == 0) a = leader;
    switch (prng_below(r, 14)) {
    case 0:
    case 1: cluster_crash(c, a, true); break;
    case 2:
    case 3:
    case 4: cluster_start(c, a); break;
    case 5: c->r[a].cut_in = !c->r[a].cut_in; break;
    case 6: c->r[a].cut_out = !c->r[a].cut_out; break;
    case 7: cluster_link(c, a, b, false); break;
    case 8: cluster_link(c, a, b, true); break;
    case 9:
    case 10:
        if (leader)
            cluster_step(c, leader, (struct paxos_event){.type = PAXOS_EV_TRANSFER, .to = b});
        break;
    case 11:
        if (c->r[a].up) cluster_step(c, a, (struct paxos_event){.type = PAXOS_EV_RESIGN});
        break;
    case 12:
        if (c->r[a].up) cluster_step(c, a, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
        break;
    default: /* a crash and a quick return */ cluster_crash(c, a, true); cluster_start(c, a);
    }
}

/* Faults pile up to a limit, or most runs would be spent without a majority. */
static void mend_some(struct cluster *c, struct prng *r)
{
    int down = 0, cut = 0;
    for (uint16_t i = 1; i <= c->opt.count; i++) {
        down += !c->r[i].up;
        cut += c->r[i].cut_in || c->r[i].cut_out;
        for (uint16_t k = 1; k < i; k++) cut += !c->linked[i][k];
    }
    uint16_t any = (uint16_t)(1 + prng_below(r, (uint64_t)c->opt.count));
    if (down * 2 >= c->opt.count) cluster_start(c, any);
    if (cut <= c->opt.count / 2) return;
    c->r[any].cut_in = c->r[any].cut_out = false;
    for (uint16_t k = 1; k <= c->opt.count; k++) cluster_link(c, any, k, true);
}

static void dump(const struct cluster *c)
{
    static const char *const role[] = {"follower", "precandidate", "candidate", "leader"};
    for (int i = 1; i <= c->opt.count; i++) {
        const struct paxos *px = c->r[i].px;
        if (!c->r[i].up) continue;
        fprintf(stderr,
                "  %d: %s leader=%u promised=%llx ballot=%llx released=%llx floor=%llu chosen=%llu "
                "streamed=%llu last=%llu "
                "heard=%llu follow=%llx lsn=%llu/%llu config=%llu.%llx self=%d installing=%d\n",
                i, role[paxos_role(px)], paxos_leader(px), (unsigned long long)px->promised,
                (unsigned long long)px->ballot, (unsigned long long)px->released,
                (unsigned long long)px->floor, (unsigned long long)px->chosen,
                (unsigned long long)px->streamed, (unsigned long long)px->last,
                (unsigned long long)px->heard, (unsigned long long)px->follow,
                (unsigned long long)px->synced, (unsigned long long)px->lsn,
                (unsigned long long)px->opt.config_id.position,
                (unsigned long long)px->opt.config_id.born, px->self, px->installing);
        for (int k = 0; k < px->opt.config.count; k++)
            fprintf(stderr, " %c%u", "vlw"[px->opt.config.member[k].role],
                    px -> opt.config.member[k].replica);
        fprintf(stderr, "\n");
        for (int k = 0; k < px->opt.config.count && paxos_role(px) == PAXOS_LEADER; k++)
            fprintf(
                stderr,
                "     peer %d: match=%llu next=%llu chosen=%llu live=%d paused=%d repaired=%llu\n",
                px->opt.config.member[k].replica, (unsigned long long)px->peer[k].match,
                (unsigned long long)px->peer[k].next, (unsigned long long)px->peer[k].chosen,
                px->peer[k].live, px->peer[k].paused, (unsigned long long)px->peer[k].repaired);
    }
}

static const char *storm_rage(struct cluster *c, struct prng *r)
{
    for (int i = 0; i < 40 && !c->violation; i++) {
        cluster_run(c, prng_below(r, 3) ? prng_below(r, 50) * MS : prng_below(r, 600) * MS,
                    (1 + prng_below(r, 20)) * MS);
        fault(c, r);
        mend_some(c, r);
    }
    if (c->violation) return c->violation;
    uint64_t valid = c->valid;
    cluster_heal(c);
    bool settled = storm_settles(c, 6000 * MS);
    for (int i = 0; i < 10 && c->valid == valid; i++) cluster_run(c, 200 * MS, 2 * MS);
    if (c->violation) return c->violation;
    if (getenv("STORM_VERBOSE") && !(settled && c->valid > valid)) dump(c);
    return settled && c->valid > valid ? NULL : "no progress after everything healed";
}

static const char *storm(uint64_t seed, int count, int members)
{
    struct prng r;
    prng_init(&r, seed);
    struct cluster_options o = {.seed = seed,
                                .count = count,
                                .members = members,
                                .snapshots = members && prng_below(&r, 2),
                                .drop_ppm = (uint32_t)prng_below(&r, 200000),
                                .dup_ppm = (uint32_t)prng_below(&r, 100000),
                                .delay_min = MS / 10,
                                .delay_max = prng_below(&r, 2) ? MS : 20 * MS,
                                .sync_min = MS / 10,
                                .sync_max = prng_below(&r, 2) ? MS : 30 * MS,
                                .drift_ppm = 4900,
                                .window = (uint32_t)(1 + prng_below(&r, 32)),
                                .retain_bytes = (uint32_t)prng_below(&r, 5000)};
    struct cluster *c = cluster_new(&o);
    const char *failure = storm_rage(c, &r);
    if (getenv("STORM_VERBOSE"))
        fprintf(stderr,
                "seed %llu: %llu chosen, %llu valid of %llu proposed, %llu leaderships, %llu "
                "configurations, %llu installs, %llu ms\n",
                (unsigned long long)seed, (unsigned long long)c->chosen_max,
                (unsigned long long)c->valid, (unsigned long long)c->proposed,
                (unsigned long long)c->leaders, (unsigned long long)c->config_count,
                (unsigned long long)c->installs, (unsigned long long)(c->now / MS));
    cluster_free(c);
    return failure;
}

const char *storm_run(uint64_t seed, int count)
{
    return storm(seed, count, 0);
}

const char *storm_reconfigure(uint64_t seed)
{
    return storm(seed, 5 + (int)(seed % 2), 1 + (int)(seed / 2 % 3));
}
