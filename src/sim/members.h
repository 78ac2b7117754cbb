/* The parts of a run, shared by the files that make it: the members (nodes on hosts), what was
 * agreed, the nemesis, the clients. */
#ifndef SYNOD_SIM_MEMBERS_H
#define SYNOD_SIM_MEMBERS_H

#include "base/assert.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/mem.h"
#include "node/node.h"
#include "sim/history.h"
#include "sim/sim.h"
#include "sim/world.h"

#define SIM_NODES_MAX  5
#define SIM_GROUPS_MAX 8

struct sim;

enum member_state {
    MEMBER_DOWN,
    MEMBER_UP,
    MEMBER_LOST, /* for good: its data is damaged or gone */
};

/* The engine of a member, with what a disk may do to it. */
struct shim {
    struct engine base; /* first */
    struct engine *inner;
    struct sim *s;
    uint32_t full_ppm; /* an ingest finds the disk full */
};

struct member {
    struct sim *s;
    uint32_t host; /* of the world; its number among the nodes is host + 1 */
    enum member_state state;
    struct node *node;
    struct engine_mem_disk *disk;
    struct shim shim;
    struct node_config config;
    char listen[32], peer[32];
    uint32_t lives;
    bool damaged;  /* part of its data was damaged, or all of it taken away */
    bool excused;  /* this life may end by itself: its disk fails */
    bool stopping; /* asked to stop */
    bool cut;      /* this life was ended by the world in the midst of a blocking write */
    char last_words[200];
    uint64_t applied[SIM_GROUPS_MAX]; /* in this life; 0: nothing yet */
    uint64_t applied_ever[SIM_GROUPS_MAX];
    uint64_t chosen[SIM_GROUPS_MAX], promised[SIM_GROUPS_MAX],
        flushed[SIM_GROUPS_MAX]; /* last seen in this life */
};

/* What was chosen at a position, as the first replica that applied it said. */
struct agreed {
    struct paxos_id base, last_valid; /* last_valid: after it */
    paxos_ballot born;
    uint64_t hash, effects_hash;
    uint32_t size;
    uint8_t kind;
    bool valid;
};

struct agreement {
    struct agreed *entry[SIM_GROUPS_MAX]; /* [position - 1] */
    uint64_t count[SIM_GROUPS_MAX], capacity[SIM_GROUPS_MAX];
};

struct nemesis;
struct workload;

struct sim {
    struct sim_options options;
    struct sim_result *result;
    struct world *w;
    struct prng random;
    bool stop; /* a failure was found */
    bool calm; /* no more faults */
    uint32_t nodes, groups, clients_host;
    char found[SIM_NODES_MAX * 32];
    struct node_config knobs;
    int32_t drift_ppm;
    uint64_t latency_ns, write_ns; /* of links and disks, where no fault is */
    struct member member[SIM_NODES_MAX];
    struct agreement agreement;
    paxos_ballot serving[SIM_GROUPS_MAX]; /* the highest ballot seen serving */
    uint32_t serving_host[SIM_GROUPS_MAX];
    struct history history;
    struct nemesis *nemesis;
    struct workload *workload;
};

#define SIM_COUNT(s, name) ((s)->result->cover.name++)

/* The first failure counts. */
void sim_fail(struct sim *s, enum sim_class class, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* members.c */
void members_init(struct sim *s);
void members_deinit(struct sim *s);
bool member_start(struct member *m); /* false: it did not, and why is in last_words */
void member_kill(struct member *m, enum world_death how);
void member_died(void *ctx, uint32_t host); /* world_options.died */
void members_look(
    struct sim *s); /* looks at every group of every node, for what never may be seen */
bool members_converged(struct sim *s, char *why, size_t why_size);
void members_digests(struct sim *s);
uint32_t members_up(const struct sim *s);

/* agree.c */
void agree_applied(struct member *m, uint32_t group, const struct paxos_entry *entry, bool valid,
                   uint64_t effects_hash);
void agree_deinit(struct agreement *a);

/* nemesis.c */
struct nemesis *nemesis_new(struct sim *s);
void nemesis_free(struct nemesis *n);
void nemesis_start(struct nemesis *n);
void nemesis_node_down(struct nemesis *n,
                       struct member *m); /* it ended by itself: start it again some time */
/* Ends all faults; starts what is down and not lost. keep_down: a host that stays cut off, or
 * UINT32_MAX. */
void nemesis_heal(struct nemesis *n, uint32_t keep_down);

/* workload.c */
struct workload *workload_new(struct sim *s);
void workload_free(struct workload *l);
void workload_quiet(struct workload *l); /* no new requests of its own */
/* From now on clients go to this host or not. */
void workload_avoid(struct workload *l, uint32_t host);
/* Asks until it is answered: one write in each group; then, one read of each object. */
void workload_demand_writes(struct workload *l);
void workload_demand_reads(struct workload *l);
bool workload_satisfied(const struct workload *l, char *missing, size_t size);

#endif
