/* A node: the groups it has replicas of, its log, its connections to peers and clients. It orders
 * persist, send and apply over struct io, and is the same code in the server and in the simulator.
 * Everything hangs from struct node; many may live in one process.
 *
 * Life: node_new opens the data directory behind io (identity, log), recovers, listens, and
 * installs itself as io->client; from then on the io drives it. node_free lets go of everything
 * without waiting, for what was acknowledged is on disk; so the io must have ended before it:
 * nothing of the pool runs any more, no write is under way, and nothing calls back. */
#ifndef SYNOD_NODE_H
#define SYNOD_NODE_H

#include "base/io.h"
#include "base/trace.h"
#include "paxos/paxos.h"
#include "store/engine.h"

#define NODE_NODES_MAX  63 /* as RING_NODES_MAX */
#define NODE_FOUND_MAX  16 /* nodes that found a cluster */
#define NODE_GROUPS_MAX 16384

enum node_read_mode { NODE_READ_LEASE, NODE_READ_QUORUM };

enum node_replica_event {
    NODE_REPLICA_OPENED,    /* found in the store at start; position 0 if a snapshot is missing */
    NODE_REPLICA_BORN,      /* made empty, on a leader's word */
    NODE_REPLICA_SPLIT,     /* the upper half of another one, which was split at `position` */
    NODE_REPLICA_INSTALLED, /* the snapshot of `position` has come whole */
    NODE_REPLICA_DROPPED,   /* it is gone for good */
    NODE_REPLICA_YIELDS,    /* its left neighbour took its slots over; it will be dropped */
    NODE_REPLICA_SENDS,     /* a snapshot sets out from here */
    NODE_REPLICA_RESUMES,   /* and goes on after a connection was lost */
};

struct node_config {
    const char *listen; /* where clients connect, "host:port" */
    const char *peer;   /* where nodes connect */
    const char *http;   /* where http will be served; shown only; may be NULL */
    const char *zone;   /* may be NULL */
    const char *found; /* founding nodes' peer addresses, comma separated, the same on each; NULL: a
                        * cluster of one, or as the data directory says */
    const char *join;  /* peer address of any node of the cluster to join; NULL: none */
    bool witness;      /* it joins as a witness: votes and keeps a log, holds no data; with join */
    uint32_t groups;   /* at founding; 0: 16 */
    uint32_t replicas; /* per group; 0: 3, or as many as found it up to 5 */
    uint32_t capacity; /* how much of the data this node takes; 0: 100, one share */
    uint32_t grace_ms; /* at founding; how long a silent node keeps its place; 0: 5 minutes */
    uint8_t read_mode; /* enum node_read_mode */
    bool redirect;     /* answer -MOVED for keys that are led elsewhere, instead of forwarding */
    struct engine *engine;      /* opened by the caller, closed by it after node_free */
    uint64_t log_segment_bytes; /* 0: 64 MiB */
    uint64_t log_quota_bytes;   /* 0: 1 GiB */
    size_t memory_bytes; /* of recent and frozen tables, before the largest is flushed; 0: 64 MiB */
    size_t cache_bytes;  /* value cache; 0: 32 MiB */
    uint32_t lease_ms;   /* 0: 400 */
    uint32_t drift_ppm;  /* 0: 5000 */
    uint32_t heartbeat_ms;    /* 0: 50 */
    uint32_t election_ms;     /* 0: 300 */
    uint32_t campaigns_max;   /* groups of this node that campaign at once; 0: 128 */
    uint32_t clients_max;     /* 0: 10000 */
    uint32_t job_slots;       /* attempts of jobs' tasks at once; 0: none */
    const char *job_dir;      /* where their unnamed files are made; NULL: outputs stay in memory */
    const char *job_program;  /* of a nursery of workers for users' Lua (job/nursery.h); NULL: Lua
                                 runs in the node's own process */
    uint64_t snapshot_rate;   /* bytes a second of each snapshot that is sent; 0: no limit */
    size_t snapshot_chunk;    /* bytes of a chunk of one; 0: SNAPSHOT_CHUNK */
    struct trace *trace;      /* where its last events go; NULL: a place of its own */
    const char *backend_name; /* for INFO: "io_uring", "epoll", "sim" */

    void (*log_line)(void *ctx, const char *line); /* one line for the operator; may be NULL */
    /* The node cannot go on (a log write failed, its disk was replaced, ...): must end this node
     * and not return into it. In the server: prints and _exits; in the simulator: a longjmp-free
     * "crash me now" that marks the node dead, after which every io call made while unwinding is
     * ignored. */
    void (*fatal)(void *ctx, const char *why);
    /* For checkers: an entry is chosen and was applied (valid) or skipped here. May be NULL. */
    void (*applied)(void *ctx, uint32_t group, const struct paxos_entry *entry, bool valid,
                    uint64_t effects_hash);
    /* For checkers: what became of a replica here. position and last_valid: what its state is from
     * now on, or that of the snapshot. May be NULL. */
    void (*replica)(void *ctx, enum node_replica_event what, uint32_t group, uint16_t replica,
                    uint64_t position, struct paxos_id last_valid);
    uint64_t (*resident)(
        void *ctx); /* bytes of memory that the process has, for status; may be NULL */
    void *ctx;
};

struct node;

/* NULL on failure, with one line in error that says what failed and what to do. */
struct node *node_new(struct io *io, const struct node_config *config, char *error,
                      size_t error_size);
void node_free(struct node *n);

/* Begins an orderly stop: resigns leaderships, flushes, stops accepting; true once done (poll it
 * each turn). */
bool node_stop(struct node *n);

/* A client asked for SHUTDOWN. */
bool node_wants_stop(const struct node *n);

/* What a checker wants to know of one replica here. False: no such group here. */
struct node_group_view {
    uint16_t leader_node; /* 0: unknown */
    bool leads, serving;
    paxos_ballot promised;
    uint64_t chosen, applied, flushed;
    uint64_t accepted;  /* the last position */
    uint64_t log_first; /* the first position that the log still has; 0: none */
    struct paxos_id last_valid;
    bool installing; /* a snapshot: applied, flushed and last_valid are 0 */
    uint16_t replica, slot_lo, slot_hi;
    uint64_t config_position;
    struct paxos_config config;
};
bool node_group(struct node *n, uint32_t group, struct node_group_view *out);
uint32_t node_group_count(const struct node *n);
/* What this node has of jobs, for checks: rows in its replica of group 0, as applied and without
 * what waits to be swept (blocking); attempts of tasks that run or wait; bytes of their outputs. */
struct node_jobs {
    uint32_t rows, attempts;
    uint64_t bytes;
};
void node_jobs(struct node *n, struct node_jobs *out);
/* Digest of the group's live data here at `*position` (blocking; see space_digest). */
bool node_digest(struct node *n, uint32_t group, uint64_t *position, uint64_t *digest,
                 uint64_t *keys);
uint16_t node_id(const struct node *n);     /* 0: of no cluster yet */
bool node_takes_part(const struct node *n); /* founded, or joined */
/* A row of the cluster map as this node knows it (ring/ring.h has types and rows). False: none. */
struct ring_row;
bool node_ring_row(const struct node *n, uint8_t type, uint32_t id, struct ring_row *out);
/* Walks the invariants of everything in the node, ASSERTing each. */
void node_check(struct node *n);
/* What each snapshot that is sent may take from now on: bytes a second; 0: no limit. */
void node_limit_snapshots(struct node *n, uint64_t bytes_per_s);

#endif
