/* What the explorer's two halves share: the world (explorer.c) and the search (explorer_search.c).
 */
#ifndef SYNOD_TEST_PAXOS_EXPLORER_H
#define SYNOD_TEST_PAXOS_EXPLORER_H

#include "explore.h"
#include "paxos/internal.h"

#ifndef EXPLORER_REPLICAS
#define EXPLORER_REPLICAS 3 /* the build makes one of 4, too */
#endif

enum {
    N = EXPLORER_REPLICAS, /* 3, or 4, of which the last is a learner and the members may change */
    RING = 16,
    ENTRIES = 6,
    NET = N == 3 ? 40 : 64,
    TAIL = 12,
    WAITS = 12,
    POSITIONS = 8,
    ROUNDS = 5,
    BALLOTS = ROUNDS * N
};
#define UNIT  1000000ull /* of time; multiples of what drift arithmetic divides by */
#define EPOCH (1000 * UNIT)

enum { X_HEARTBEAT = 100, X_ANSWER };

struct xmessage {
    struct paxos_message m; /* entries: NULL; see below */
    struct paxos_entry entry[ENTRIES];
};

struct xrecord {
    uint64_t promised; /* a promise, or: */
    struct paxos_entry entry;
    uint64_t chosen, lsn;
    bool learned;
};

struct xreplica {
    struct paxos px;
    struct paxos_slot ring[RING];
    struct lease_peer lease[N + 1];
    uint64_t silent_until;
    uint32_t incarnation;
    /* disk: what is synced, folded; then the tail that a crash may cut */
    uint64_t disk_promised, disk_hint, disk_own;
    struct paxos_entry disk_entry[POSITIONS];
    struct xrecord tail[TAIL];
    uint32_t tail_count;
    struct {
        uint64_t after;
        struct xmessage x;
    } wait[WAITS];
    uint32_t wait_count;
    /* the state machine */
    uint64_t applied, fold;
    struct paxos_id last_valid;
};

/* A CONFIG entry as the history keeps it: which configuration, on which base, born when (ballots as
 * indices + 1). */
struct xconfig {
    uint8_t next, base_position, base_born, born;
};

struct world {
    struct xreplica r[N];
    struct xmessage net[NET];
    uint32_t net_count;
    uint64_t now;
    uint32_t campaigns, data, crashes, dups, times, beats, handovers, fetches; /* used so far */
    uint32_t configs;
    /* history */
    uint64_t value[BALLOTS][POSITIONS];   /* proposed at (ballot, position): identity hash */
    uint8_t accepted[BALLOTS][POSITIONS]; /* by whom, on disk */
    struct xconfig config[BALLOTS][POSITIONS];
    uint8_t under[BALLOTS][POSITIONS]; /* the configuration whose votes its proposer counts */
    uint64_t truth[POSITIONS], fold[POSITIONS];
};

/* How much may happen. */
struct bounds {
    uint32_t ballots, data, crashes, dups, times, beats, handovers, fetches, configs, learners;
    bool leases;
};

enum {
    A_DELIVER,
    A_DUPLICATE,
    A_SYNC,
    A_CRASH,
    A_CAMPAIGN,
    A_PROPOSE,
    A_TIME,
    A_BEAT,
    A_TRANSFER,
    A_RESIGN,
    A_RECONFIGURE
};
struct action {
    uint8_t type, replica, arg;
};

extern struct bounds bound;
extern struct world *w;       /* the world at work */
extern const char *violation; /* the first one, or NULL */
extern bool out_of_bounds;    /* of the last action's result */
extern bool narrate;          /* print what happens */

void violate(const char *what);
void genesis(void);
uint32_t actions(struct action *out); /* all that may happen next: room for 4 * NET */
void act(struct action a);
struct hash128 world_hash(void);

#endif
