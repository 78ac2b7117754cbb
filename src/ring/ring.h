/* The cluster map: which nodes there are, which groups, and who holds what. Group 0 keeps it as
 * rows among its own data (shard/keys.h, KEYS_SYSTEM), so that it is replicated, snapshotted and
 * moved like any state; every node holds a copy and learns newer rows from its peers (node/ring.c).
 * Pure.
 *
 * Each row carries the epoch of its last change; the settings row carries the highest. Whoever has
 * all rows up to epoch E needs only those above it.
 *
 * The map says where groups *are to be found*, for routing and for the driver. Who votes in a group
 * is said by that group's own log alone (paxos, CONFIG entries); the map's row follows it. */
#ifndef SYNOD_RING_RING_H
#define SYNOD_RING_RING_H

#include "base/buf.h"
#include "paxos/paxos.h"
#include "ring/slot.h"

#define RING_NODES_MAX                                                                             \
    63 /* node ids are 1 to this (one bit each in a word; lease.h has the same) */
#define RING_GROUPS_MAX 16384
#define RING_ADDRESS    64
#define RING_ZONE       32

enum ring_node_state {
    RING_NODE_FREE,     /* no such node */
    RING_NODE_JOINING,  /* has a row, was not yet heard of */
    RING_NODE_SERVING,  /* holds replicas, gets more */
    RING_NODE_DRAINING, /* asked to leave: loses its replicas one by one */
    RING_NODE_DOWN,     /* silent; keeps its place until the grace time is over */
    RING_NODE_GONE, /* silent for longer: its replicas are rebuilt elsewhere; welcome back, empty */
    RING_NODE_REMOVED, /* for good: its disk is refused; the row keeps its id from being used again
                        */
};

struct ring_node {
    uint16_t id;
    uint8_t state;     /* enum ring_node_state */
    bool drained;      /* DOWN or GONE: it was draining before */
    bool witness;      /* has votes and a log, and no data: its replicas are witnesses; for ever */
    uint32_t capacity; /* weight; 100 is one share */
    uint64_t disk;     /* of its data directory; 0: not known yet */
    uint64_t epoch;    /* of this row */
    int64_t since_ms;  /* of the state, in group 0's time */
    char peer[RING_ADDRESS], client[RING_ADDRESS], http[RING_ADDRESS], zone[RING_ZONE];
};

enum ring_group_state {
    RING_GROUP_FREE, /* no such group, or merged away */
    RING_GROUP_BORN, /* its id is given out, its parent is to split */
    RING_GROUP_SERVING,
};

struct ring_group {
    uint32_t id;
    uint8_t state; /* enum ring_group_state */
    uint64_t epoch;
    uint16_t slot_lo, slot_hi; /* [lo, hi) */
    uint64_t config_position;  /* of the configuration below, in the group's log */
    struct paxos_config config;
    uint8_t target_count; /* nodes that are to hold its voters; 0: as it is */
    uint16_t target[PAXOS_MEMBERS_MAX];
    uint16_t leader;   /* node that is to lead; 0: whoever does */
    uint32_t split_id; /* slots from split_at on are to become this group; 0: no split */
    uint16_t split_at;
    uint32_t merge_id; /* its right neighbour, whose slots it is to take over; 0: none */
    bool merging;      /* its left neighbour is to take it over */
    uint64_t sealed;   /* then: its log's position from which on it is sealed, on disk at all of its
                          members; 0: not yet, and the merge may be called off */
};

struct ring_settings {
    uint64_t cluster, epoch;
    uint32_t replicas;   /* voters a group is to have, as far as there are nodes */
    uint32_t next_group; /* the lowest group id never given out */
    uint16_t next_node;
    uint32_t grace_ms;   /* DOWN for longer is GONE */
    uint32_t moves_max;  /* groups that change members at once */
    uint64_t split_keys; /* a group with more keys than this is split; 0: never */
    uint64_t split_ops;  /* or one that does more commands a second than this; 0: never */
    uint64_t merge_keys; /* two neighbours that have fewer keys together are merged; 0: never */
};

/* ---- rows as bytes (docs/FORMAT.md) ---- */

enum ring_row_type { RING_ROW_SETTINGS = 's', RING_ROW_NODE = 'n', RING_ROW_GROUP = 'g' };

struct ring_row {
    uint8_t type; /* enum ring_row_type */
    union {
        struct ring_settings settings;
        struct ring_node node;
        struct ring_group group;
    };
};

/* The key of a row within the system rows; clears `out`. id is not used for the settings. */
void ring_row_key(struct buf *out, uint8_t type, uint32_t id);
void ring_row_encode(const struct ring_row *row, struct buf *out); /* appends */
/* False: not a row of this version. Every field is checked against its bounds. */
bool ring_row_decode(struct bytes in, struct ring_row *row);
uint64_t ring_row_epoch(const struct ring_row *row);

/* ---- facts ---- */

static inline bool ring_node_lives(const struct ring_node *n)
{
    return n->state == RING_NODE_SERVING || n->state == RING_NODE_DRAINING;
}
const char *ring_node_state_name(uint8_t state);
bool ring_group_is_target(const struct ring_group *g, uint16_t node);
static inline bool ring_is_merged_away(const struct ring_group *g)
{
    return g->state == RING_GROUP_FREE && g->epoch > 0;
}
/* Its members or its slots are to change: one thing at a time. */
bool ring_group_changes(const struct ring_group *g);
/* Are both on the same nodes, in the same roles, without learners? */
bool ring_same_nodes(const struct paxos_config *a, const struct paxos_config *b);
/* Are the members of `c` exactly the voters that the group's target wants? */
bool ring_group_reached(const struct ring_group *g, const struct paxos_config *c);

#endif
