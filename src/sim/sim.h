/* One simulated run: a cluster of real nodes in a simulated world, clients, faults, and the checks
 * of what came of it.
 *
 * Everything follows from options.seed (and the other options): the knobs of the cluster, which
 * kinds of faults there are and how often, what the clients ask. First a phase in which faults
 * happen, all within a budget that leaves a majority able to go on in the end; then all is healed
 * but what may be lost for ever, and progress is demanded. So every failure is a bug. */
#ifndef SYNOD_SIM_SIM_H
#define SYNOD_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum sim_class {
    SIM_PASSED,
    SIM_AGREEMENT, /* two replicas applied different things, or not in order */
    SIM_LINEAR,    /* a history has no linearization: a lost write, a stale read */
    SIM_ATOMICITY, /* a transaction was done in part, twice, or seen so; an acknowledged one lost */
    SIM_ISOLATION, /* transactions on lists saw each other in a way that no order explains */
    SIM_DIVERGED,  /* replicas at the same position hold different data */
    SIM_STUCK,     /* no progress although a majority is well */
    SIM_ENDED,     /* a node ended itself, or does not start, without cause */
    SIM_PROTOCOL,  /* a reply no client would understand */
    SIM_RANDOM,    /* the same seed made two different runs */
    SIM_ASSERTED,  /* an assertion failed or the process crashed (seen from outside) */
    SIM_CLASSES,
};
const char *sim_class_name(enum sim_class class);

/* Which kinds of faults may be drawn. */
enum sim_mode {
    SIM_SWARM,
    SIM_CALM,
    SIM_CRASHES,
    SIM_NETWORK,
    SIM_DISKS,
    SIM_CLOCKS,
    SIM_ELASTIC, /* as SIM_SWARM, but in every run nodes come and go */
    SIM_MODES
};
extern const char *const sim_mode_names[]; /* NULL-ended */

struct sim_options {
    uint64_t seed;
    uint32_t ticks; /* of the phase with faults, virtual milliseconds; 0: 20000 */
    uint32_t nodes; /* 0: drawn (3 mostly) */
    enum sim_mode mode;
    int32_t drift_ppm; /* clock rates differ from true time by up to this; 0: what the nodes are
                          told to expect */
    bool verbose;
};

/* How often what happened. */
/* It would move these for ever. */
/* clang-format off */
#define SIM_COVER(X)                                                                               \
    X(starts)                                                                                      \
    X(refused_starts)                                                                              \
    X(crash)                                                                                       \
    X(crash_all)                                                                                   \
    X(crash_in_recovery)                                                                           \
    X(stale_log) /* begun */                                                                       \
    X(jumps)     /* of these, as far as the snapshot */                                            \
    X(power_loss) X(stop) X(pause) X(pause_long) X(partition) X(one_way) X(isolate_leader)         \
        X(betrayal) X(swizzle) X(client_cut) X(slow_link) X(frame_storm) X(reset) X(wall_jump)     \
            X(rate_change) X(stall) X(disk_stall) X(disk_slow) X(disk_error) X(disk_full)          \
                X(ingest_full) X(miss_storm) X(damage) X(format) X(quorum_reads) X(one_node)       \
                    X(five_nodes) X(core_only) X(applied) X(noops) X(reproposed) X(invalid)        \
                        X(elections) X(rivals) X(flushes) X(ingests) X(misses) X(frames_lost)      \
                            X(frames_doubled) X(frames_delayed) X(resets) X(timeouts) X(half_open) \
                                X(refused) X(writes_torn) X(writes_failed) X(stalls) X(ops_done)   \
                                    X(ops_refused) X(ops_no_room) X(ops_unknown) X(reads)          \
                                        X(writes) X(swaps) X(adds) X(breadth) X(pipelined)         \
                                            X(reconnects) X(undecided)                                        \
    X(elastic) X(witnesses) X(witness_votes) X(last_copies)                                        \
    X(joins) X(joined) X(join_refused) X(wipes) X(repairs) X(missed) X(removed)                    \
        X(births) X(drops) X(snapshots) X(installed) X(resumed) X(configs) X(learners) X(leavers)  \
            X(splits) X(split_births) X(gone) X(came_back) X(asked) X(asked_ok) X(asked_refused)   \
                X(asked_unknown) X(drains) X(undrains) X(removes) X(moves) X(splits_asked)         \
                X(merges_asked) X(yields) X(transactions) X(watched) X(watch_aborts)               \
                    X(leaders_asked) X(settings) X(weights)                                        \
    X(bank) X(transfers) X(audits) X(pairs) X(bank_refused) X(bank_unknown)                        \
    X(scribes) X(lists) X(lists_opened) X(lists_done) X(lists_refused) X(lists_unknown)                            \
    X(once_asked) X(once_done) X(once_again)                                                       \
    X(cutters) X(cuts) X(cuts_read) X(cuts_refused) X(cuts_unread) X(chains)                       \
    X(clerks) X(jobs) X(jobs_ended) X(jobs_judged) X(jobs_into) X(jobs_failed) X(jobs_cancelled)   \
    X(jobs_twins) X(jobs_unread)
/* clang-format on */
struct sim_cover {
#define SIM_COVER_FIELD(name) uint64_t name;
    SIM_COVER(SIM_COVER_FIELD)
#undef SIM_COVER_FIELD
};

struct sim_result {
    enum sim_class class;
    char why[2000];
    uint64_t hash; /* of everything that happened */
    uint64_t events, turns, virtual_ms;
    struct sim_cover cover;
};

void sim_run(const struct sim_options *options, struct sim_result *result);

#endif
