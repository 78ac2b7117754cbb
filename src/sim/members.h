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

#define SIM_NODES_MAX  7 /* hosts that may run a node */
#define SIM_GROUPS_MAX 64

struct sim;

enum member_state {
    MEMBER_DOWN,
    MEMBER_UP,
    MEMBER_LOST, /* its data is damaged or gone: only a node with an empty disk may run here again
                  */
    MEMBER_IDLE, /* a spare that was not started yet, or a node that was removed */
};

/* The engine of a member, with what a disk may do to it. */
struct shim {
    struct engine base; /* first */
    struct engine *inner;
    struct sim *s;
    uint32_t full_ppm; /* an ingest finds the disk full */
};

/* A group on a member: its replica, if there is one, as it said and as it was last seen. */
struct seat {
    uint16_t replica; /* 0: none in this life */
    uint16_t buried;  /* ids up to it were dropped from this disk: none may come back */
    uint64_t applied; /* what its state is */
    uint64_t chosen, promised, flushed; /* last seen, of the replica `seen`, in this life */
    uint16_t seen;
    uint64_t row_epoch;       /* of the group's row in the member's map, last seen, in this life */
    bool installing;          /* when last seen */
    uint64_t config_position; /* last seen, in whatever life */
    struct paxos_config config;
    uint64_t durable_position; /* of the configuration that it finds after a restart, or older */
    struct paxos_config durable;
};

/* What runs on a host of the world. Messages call it node host + 1, which for those that founded
 * the cluster is its id; whoever joins gets another one. */
struct member {
    struct sim *s;
    uint32_t host;
    uint16_t id;   /* in the cluster, as last seen; 0: none yet */
    uint16_t past; /* its id before its disk was replaced */
    enum member_state state;
    struct node *node;
    struct engine_mem_disk *disk;
    struct shim shim;
    struct node_config config;
    char listen[32], peer[32], join[32];
    uint32_t lives;
    bool took_part; /* in whatever life */
    bool away;      /* cut off in the end */
    bool behind;    /* it was given up, and has not been seen with everything since */
    bool damaged;   /* part of its data was damaged, or all of it taken away */
    bool excused;   /* this life may end by itself: its disk fails */
    bool stopping;  /* asked to stop */
    bool cut;       /* this life was ended by the world in the midst of a blocking write */
    char last_words[200];
    struct seat seat[SIM_GROUPS_MAX];
};

/* What was chosen at a position, as the first replica that applied it said. valid: of a CONFIG,
 * that it followed the one in force. */
struct agreed {
    struct paxos_id base, last_valid; /* last_valid: after it */
    paxos_ballot born;
    uint64_t hash, effects_hash;
    uint32_t size;
    uint8_t kind;
    bool valid;
};

/* A group's history. One that was born of another begins behind the entry that split it. */
struct chain {
    bool known;
    uint64_t start, last; /* positions (start, last] are agreed */
    struct paxos_id start_id;
    struct paxos_id config; /* in force */
    struct agreed *entry;   /* [position - start - 1] */
    uint64_t capacity;
};

struct agreement {
    struct chain chain[SIM_GROUPS_MAX];
};

#define SIM_GRACE_SHORT   10000       /* ms: a grace time that a run can wait for */
#define SIM_SEGMENT_SHORT (64u << 10) /* bytes: who lags for long needs a snapshot */

struct append_work;
struct askers;
struct bank;
struct clerks;
struct cuts;
struct nemesis;
struct workload;
struct operator;

struct sim {
    struct sim_options options;
    struct sim_result *result;
    struct world *w;
    struct prng random;
    bool stop;                /* a failure was found */
    bool calm;                /* no more faults */
    bool elastic;             /* nodes come and go */
    uint32_t founders, nodes; /* hosts 0 to founders - 1 found it, up to nodes - 1 may join */
    bool witness;             /* the first that may join is a witness node */
    uint32_t founded_groups, groups, clients_host; /* groups: as many as anybody knows of */
    uint8_t node_state[64];                        /* [id], as the newest map had it */
    uint64_t lost_ids;    /* bit per node id: its disk is gone, or damaged */
    uint64_t removed_ids; /* somebody asked for its removal */
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
    struct bank *bank;          /* NULL: this seed has none */
    struct cuts *cuts;          /* NULL: this seed has none */
    struct clerks *clerks;      /* the same */
    struct append_work *append; /* NULL: this seed has none */
    struct askers *askers;      /* the same */
    struct operator* operator;
};

#define SIM_COUNT(s, name) ((s)->result->cover.name++)

/* The first failure counts. */
void sim_fail(struct sim *s, enum sim_class class, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* members.c */
void members_init(struct sim *s);
void members_deinit(struct sim *s);
/* An empty disk takes the place of its disk; it is to join the cluster as a new node. */
void member_wipe(struct member *m);
void member_format(struct member *m); /* an empty disk, and nothing else is changed */
bool member_start(struct member *m);  /* false: it did not, and why is in last_words */
void member_kill(struct member *m, enum world_death how);
void member_died(void *ctx, uint32_t host); /* world_options.died */
void members_look(
    struct sim *s); /* looks at every group of every node, for what never may be seen */
void members_print(struct sim *s);
void member_configs(struct member *m);
struct node *members_map(const struct sim *s);
const struct paxos_config *members_config(const struct sim *s, uint32_t group, uint64_t *position);
bool members_may_lose(struct sim *s, const struct member *m);
bool members_settled(struct sim *s, char *why, size_t size);
void members_digests(struct sim *s);
uint32_t members_up(const struct sim *s);

/* agree.c */
void agree_init(struct agreement *a, uint32_t groups); /* those that are founded */
void agree_replica(struct member *m, enum node_replica_event what, uint32_t group, uint16_t replica,
                   uint64_t position, struct paxos_id last_valid);
/* Was the entry there a configuration that came into force, or is it the group's first? */
bool agree_configured(const struct agreement *a, uint32_t group, uint64_t position);
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
/* Asks until it is answered: one write in each range of slots; then, one read of each object. */
void workload_demand_writes(struct workload *l);
void workload_demand_reads(struct workload *l);
bool workload_satisfied(const struct workload *l, char *missing, size_t size);

/* operator.c */
struct operator* operator_new(struct sim *s);
void operator_free(struct operator* o);
uint64_t operator_turn(struct operator* o, uint64_t now); /* returns when to look again */

#endif
