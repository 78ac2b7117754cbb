/* A small world for tests of the consensus core alone: replicas with logs that lose what was not
 * synced, clocks that drift, and a network that drops, doubles, delays and reorders. One seed, one
 * run. (The simulator in src/sim runs whole nodes; this runs only paxos_step, and so is fast enough
 * to run thousands of faults in a second.) */
#ifndef SYNOD_TEST_PAXOS_CLUSTER_H
#define SYNOD_TEST_PAXOS_CLUSTER_H

#include "base/prng.h"
#include "paxos/internal.h"

#define MS            1000000ull
#define CLUSTER_MAX   6
#define POSITIONS_MAX 65536

struct record {
    enum { RECORD_PROMISE, RECORD_ENTRY, RECORD_CHOSEN } type;
    uint64_t lsn; /* 0 for hints */
    paxos_ballot promised;
    struct paxos_entry entry; /* value: an id, not a handle */
    uint64_t chosen;
};

/* A group's state at a position, and who its members were known to be. */
struct snapshot {
    uint64_t applied, state;
    struct paxos_id last_valid;
    struct paxos_config config;
    struct paxos_id config_id;
};

struct packet {
    uint64_t at; /* true time of arrival */
    uint16_t to;
    enum { PACKET_PAXOS, PACKET_HEARTBEAT, PACKET_ANSWER, PACKET_SNAPSHOT } type;
    struct lease_heartbeat heartbeat;
    struct lease_answer answer;
    uint16_t from;
    struct paxos_message message; /* entries malloc'd; values: ids */
    struct snapshot snapshot;
};

struct waiting { /* a message that waits for the disk */
    uint64_t after_lsn;
    struct packet packet;
};

struct replica {
    struct cluster *world;
    uint16_t id;
    bool up, ever, cut_in, cut_out; /* cut: its network, one way */
    bool exists, birth;             /* a configuration named it; it is yet to be started */
    struct paxos *px;
    struct paxos_slot *ring;
    uint32_t capacity;
    struct lease_table leases;
    uint32_t incarnation;
    int64_t skew; /* local = true * rate + skew */
    double rate;
    struct record *disk;
    size_t records, durable;
    uint64_t lsn;
    uint64_t sync_at; /* when the write under way is done; 0: none */
    size_t sync_to;
    struct waiting *wait;
    size_t waits;
    /* the state machine: a chain of hashes over valid entries, and what survives a crash of it */
    uint64_t applied, state;
    struct paxos_id last_valid;
    struct snapshot flushed;
    /* installing: the marker that says so is on disk, with what was applied when it began */
    bool installing;
    struct snapshot install;
    uint64_t install_base, install_at, snapped; /* the log lacks what is not above `snapped` */
    struct paxos_id install_valid;
    uint64_t read_seq, read_floor[64]; /* what a read must see, by seq % 64 */
    uint64_t reads_done, lease_reads;
    paxos_ballot promise_seen; /* highest durable promise, over restarts */
};

struct cluster_options {
    uint64_t seed;
    int count;
    int members;    /* voters at the founding: 1 to this; 0: all */
    bool snapshots; /* sometimes a snapshot answers a fetch */
    uint32_t drop_ppm, dup_ppm;
    uint64_t delay_min, delay_max, sync_min, sync_max;
    uint32_t drift_ppm; /* how much clocks really differ in rate, up to */
    uint32_t window;
    uint32_t retain_bytes;
};

struct cluster {
    struct cluster_options opt;
    struct prng prng;
    uint64_t now;                      /* true time */
    struct replica r[CLUSTER_MAX + 1]; /* index = replica id = node id */
    struct packet *net;
    size_t net_count, net_capacity;
    bool linked[CLUSTER_MAX + 1][CLUSTER_MAX + 1];
    uint64_t next_value;
    struct paxos_config founding, newest; /* newest: that was chosen */
    struct paxos_id newest_id;
    struct paxos_config *configs; /* by value */
    size_t config_count;
    uint8_t encoded[64];
    uint64_t installs, sent; /* sent: messages of the groups, heartbeats apart */
    /* what is true for ever */
    struct {
        uint64_t hash, state;
        paxos_ballot born;
        uint8_t kind;
        bool set, valid;
    } truth[POSITIONS_MAX];
    uint64_t chosen_max;      /* highest position that some leader saw chosen */
    uint64_t proposed, valid; /* data entries: proposed, chosen and valid */
    uint64_t handles;         /* values alive */
    uint64_t leaders;         /* times somebody began to serve */
    const char *violation;    /* first one, or NULL */
    void (*on_effect)(void *ctx, struct replica *r, const struct paxos_effect *fx);
    void *on_effect_ctx;
};

struct cluster *cluster_new(const struct cluster_options *opt);
void cluster_free(struct cluster *c);
void cluster_start(struct cluster *c, uint16_t id);
void cluster_crash(struct cluster *c, uint16_t id,
                   bool lose); /* lose: of what is not synced, keep a random part */
void cluster_step(struct cluster *c, uint16_t id, struct paxos_event ev);
/* Runs `ns` of true time; every `propose_every` ns leaders propose (0: never). */
void cluster_run(struct cluster *c, uint64_t ns, uint64_t propose_every);
uint64_t cluster_local(const struct cluster *c, const struct replica *r);
bool cluster_propose(struct cluster *c, uint16_t id);
bool cluster_reconfigure(struct cluster *c, uint16_t id, const struct paxos_config *next);
bool cluster_member(const struct cluster *c, uint16_t id); /* of the newest configuration */
void cluster_read(struct cluster *c, uint16_t id);
uint16_t cluster_leader(const struct cluster *c); /* a serving one of the highest ballot, or 0 */
bool cluster_converged(
    const struct cluster *c); /* all members that are up have applied all that is chosen */
void cluster_heal(struct cluster *c);
void cluster_link(struct cluster *c, uint16_t a, uint16_t b, bool up);

#endif
