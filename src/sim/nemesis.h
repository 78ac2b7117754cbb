/* Inside the nemesis: what its files share. nemesis.c has the swarm and the faults of one act,
 * composed.c those of several. */
#ifndef SYNOD_SIM_NEMESIS_H
#define SYNOD_SIM_NEMESIS_H

#include "sim/members.h"

enum fault {
    FAULT_CRASH,
    FAULT_CRASH_ALL,
    FAULT_POWER,
    FAULT_RECOVERY, /* crashes while starting */
    FAULT_STOP,
    FAULT_PAUSE,
    FAULT_PAUSE_LONG,
    FAULT_PARTITION,
    FAULT_ONE_WAY,
    FAULT_ISOLATE_LEADER,
    FAULT_BETRAYAL,
    FAULT_STALE_LOG,
    FAULT_SWIZZLE,
    FAULT_CLIENT_CUT,
    FAULT_SLOW_LINK,
    FAULT_FRAMES,
    FAULT_RESET,
    FAULT_WALL,
    FAULT_RATE,
    FAULT_STALL,
    FAULT_DISK_STALL,
    FAULT_DISK_SLOW,
    FAULT_DISK_ERROR,
    FAULT_DISK_FULL,
    FAULT_INGEST_FULL,
    FAULT_MISSES,
    FAULT_DAMAGE,
    FAULT_FORMAT,
    FAULT_JOIN,
    FAULT_WIPE,
    FAULT_REPAIR,
    FAULT_MISSED,
    FAULT_LAST_COPY,
    FAULTS,
};

/* What will be undone or done later. */
struct task {
    struct list in_nemesis;
    struct nemesis *n;
    void (*run)(struct task *t);
    uint32_t a, b, c;
    bool done;
};

struct habit {
    struct nemesis *n;
    enum fault fault;
    uint64_t mean_ns; /* 0: this seed has it not */
};

/* strike_stale_log: one at a time. Hosts, but for the group. */
struct stale {
    bool under_way;
    bool learns; /* the sleeper is a learner */
    uint32_t group, leader, sleeper;
    uint32_t meet;   /* a bit per host: who is together in the end */
    uint64_t chosen; /* by the leader, when it was cut off */
    uint64_t first;  /* in the log of who leads since */
};

struct nemesis {
    struct sim *s;
    struct prng random;
    struct list tasks;
    struct habit habit[FAULTS];
    uint32_t cuts[WORLD_HOSTS_MAX][WORLD_HOSTS_MAX]; /* how many faults block this link */
    bool restart[SIM_NODES_MAX];                     /* a restart is under way */
    struct stale stale;
};

static inline uint64_t draw(struct nemesis *n, uint64_t min, uint64_t max)
{
    return min + prng_below(&n->random, max - min + 1);
}

static inline uint64_t draw_ms(struct nemesis *n, uint64_t min, uint64_t max)
{
    return draw(n, min * MILLISECOND, max * MILLISECOND);
}

/* `run` is called after `delay`, or when all faults end (then s->calm is true). */
void nemesis_after(struct nemesis *n, uint64_t delay, void (*run)(struct task *t), uint32_t a,
                   uint32_t b, uint32_t c);
void nemesis_restart(struct nemesis *n, struct member *m, uint64_t delay);
struct member *nemesis_leader(struct nemesis *n); /* of some group; NULL: nobody is up */
struct member *nemesis_victim(struct nemesis *n); /* whose data may be lost for good; NULL: none */

/* Cuts are counted: a link is whole once each that cut it has ended. */
void nemesis_cut(struct nemesis *n, uint32_t from, uint32_t to);
void nemesis_uncut(struct nemesis *n, uint32_t from, uint32_t to);
void nemesis_cut_for(struct nemesis *n, uint32_t from, uint32_t to, uint64_t time);
bool nemesis_is_cut(const struct nemesis *n); /* somewhere */
uint64_t nemesis_election_time(struct nemesis *n);

/* composed.c */
void strike_betrayal(struct nemesis *n);
void strike_format(struct nemesis *n);
void strike_stale_log(struct nemesis *n);
void strike_last_copy(struct nemesis *n);

#endif
