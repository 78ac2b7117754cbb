/* A cluster as its nodes tell it: SYNOD STATUS (cli/status.h has the contract of that text), read
 * into plain structs for whoever prints it, waits for it, or draws a bar.
 *
 * One node's answer is all that overview_read needs. overview_ask goes further: it asks the leader
 * of each group as well, for only a group's leader knows how far the others are and what snapshots
 * are on their way. */
#ifndef SYNOD_CLI_OVERVIEW_H
#define SYNOD_CLI_OVERVIEW_H

#include "base/bytes.h"
#include "cli/client.h"

#define OVERVIEW_NODES_MAX    63
#define OVERVIEW_REPLICAS_MAX 8
#define OVERVIEW_RANGES_MAX   8
#define OVERVIEW_TXNS_MAX     1024

struct overview_node {
    int64_t id;
    char address[80], peer[80], zone[40], state[16], io[16];
    bool up;      /* heard of, whatever else its state is */
    bool witness; /* it holds no data */
    int64_t age_ms, capacity, leads, follows, keys /* -1: not said */, disk_bytes, log_bytes,
        room_bytes, memory_bytes, ops_per_s /* -1 */, uptime_s, tasks /* of jobs */,
        pins /* states kept for snapshots */;
};

struct overview_replica {
    int64_t node, applied, lag /* -1: unknown */;
    char role[16];
    bool votes;
    int64_t snapshot_percent /* -1: none is on its way */, snapshot_bytes, snapshot_ms;
};

/* Of one over groups, in one of them; greater is further. */
enum overview_txn_state { OVERVIEW_OPEN, OVERVIEW_PREPARED, OVERVIEW_IN_DOUBT, OVERVIEW_DECIDED };
struct overview_txn {
    char id[48];
    int64_t age_ms;
    uint8_t state;
};

struct overview_group {
    int64_t id, leader /* 0: none known */, chosen, keys /* -1 */, ops_per_s /* -1 */;
    int64_t slots[OVERVIEW_RANGES_MAX][2]; /* ranges, ends included */
    size_t range_count;
    struct overview_replica replica[OVERVIEW_REPLICAS_MAX];
    size_t replica_count;
    int64_t target[OVERVIEW_REPLICAS_MAX]; /* nodes that are to hold it; none: as it is */
    size_t target_count;
    int64_t splits_at;  /* slot from which on it is to be another group; 0: no split */
    int64_t takes_over; /* group whose slots it is to take over; 0: none */
};

struct overview {
    char cluster[20], version[20], state[16];
    int64_t epoch, self, replicas, grace_ms, moves_max; /* -1: not said */
    struct overview_node node[OVERVIEW_NODES_MAX];
    size_t node_count;
    struct overview_group *group;
    size_t group_count;
    struct overview_txn *txn; /* each once, as the group has it that knows most */
    size_t txn_count;
};

/* Reads the JSON text. False, with a line in error[error_size], if it is not as agreed; *o is then
 * empty. Free with overview_free in any case. */
bool overview_read(struct overview *o, struct bytes json, char *error, size_t error_size);
void overview_free(struct overview *o);

/* Asks the node at the other end of `c`, and then the leaders of groups; who does not answer
 * within a second is left out. False, with a line in error, if the first does not answer. */
bool overview_ask(struct overview *o, struct client *c, char *error, size_t error_size);

/* ---- facts ---- */

const struct overview_node *overview_node(const struct overview *o, int64_t id); /* or NULL */
const struct overview_node *overview_node_at(const struct overview *o, const char *address);
const struct overview_group *overview_group(const struct overview *o, int64_t id);
bool overview_has(const struct overview_group *g, int64_t node); /* has it a replica there? */
size_t overview_holds(const struct overview *o, int64_t node);   /* replicas on that node */
bool overview_targets(const struct overview_group *g, int64_t node);
/* Groups that change members, or are to be split or merged. */
size_t overview_moves(const struct overview *o);

#endif
