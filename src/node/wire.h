/* Frames between nodes (docs/FORMAT.md, "Between nodes"). Pure.
 *
 *   size:4 of what follows the header · magic:2 "sy" · type:1 · version:1 · checksum:8 (XXH3 of
 * type and payload) · payload
 *
 * A frame is whole and checksummed by itself. On a connection the first frame each way is a HELLO;
 * the two ends then know each other's cluster, node and disk. Requests and paxos messages travel on
 * the connection that the sender dialled, answers to requests come back on the same one. */
#ifndef SYNOD_NODE_WIRE_H
#define SYNOD_NODE_WIRE_H

#include "base/buf.h"
#include "paxos/lease.h"
#include "paxos/paxos.h"
#include "redis/command.h"

#define WIRE_VERSION 8
#define WIRE_HEAD    16
#define WIRE_FRAME_MAX                                                                             \
    (96u << 20) /* a window of entries in a promise, or a request with the largest value */

enum wire_type {
    WIRE_HELLO = 1,
    WIRE_REFUSE, /* text: why the other end may not take part; it ends */
    WIRE_HEARTBEAT,
    WIRE_ANSWER,     /* to a heartbeat */
    WIRE_STATE,      /* per group: how far the sender is */
    WIRE_PAXOS,      /* group:4, message */
    WIRE_COMMAND,    /* rows: clients' commands for groups that the receiver leads */
    WIRE_REPLY,      /* rows: to commands */
    WIRE_JOIN,       /* instead of a HELLO, by a node that is of no cluster yet: let me in */
    WIRE_JOINED,     /* its answer: the node id, the cluster, the map */
    WIRE_RING_ASK,   /* rows of the cluster map above an epoch, please */
    WIRE_RING,       /* rows of the cluster map */
    WIRE_CREATE,     /* by a group's leader: you are to have a replica */
    WIRE_SNAP_BEGIN, /* by a group's leader: a snapshot for your replica follows */
    WIRE_SNAP_CHUNK,
    WIRE_SNAP_ACK, /* what the receiver has of it */
    WIRE_JOB,      /* of jobs: a job_msg (node/job.h) */
};

struct wire_hello {
    uint64_t cluster;
    uint16_t node;
    uint64_t disk; /* drawn when the data directory was made */
    uint64_t incarnation;
    uint64_t knows; /* the receiver's disk as the sender has recorded it; 0: not yet */
    struct bytes client, http, zone; /* addresses that the sender listens on */
};

/* What a node says of itself with each WIRE_STATE, before the rows: for `synod status`. */
struct wire_report {
    uint64_t leads, keys, disk_bytes, log_bytes, room_bytes, memory_bytes, ops_per_s, uptime_s;
    bool uring;
    bool slow, cut;    /* its log device is; from one whom others hear: it wants no leaderships */
    uint64_t hears;    /* other nodes */
    bool full;         /* a row follows for every group of which the sender has a replica */
    uint64_t write_us; /* a write of its log took, lately */
    uint64_t epoch;    /* of its copy of the cluster map */
    uint64_t echo;     /* t_send of the receiver's last heartbeat that the sender had seen */
    uint64_t workers;  /* attempts of jobs' tasks that it runs at once; */
    uint64_t tasks;    /* those that run, or wait for that */
    uint64_t pins;     /* states that it keeps for snapshots */
};

struct wire_state {
    uint32_t group;
    uint16_t replica; /* the sender's, in this group */
    uint64_t chosen, applied, flushed, log_first;
    uint64_t keys, load; /* of its replica; commands a second, if it leads */
    bool leads;          /* the sender serves the group */
};

struct wire_command {
    uint64_t id; /* of the sender, for the reply */
    uint64_t
        client; /* the sender's client: its commands are done in the order in which they come */
    uint32_t group;
    uint16_t slot_lo,
        slot_hi;     /* a part of a command for all slots: [slot_lo, slot_hi); else 0, 0 */
    uint8_t version; /* RESP */
    bool traced;
    struct cmd_args args;
};

enum wire_status {
    WIRE_DONE,     /* the reply is the client's */
    WIRE_NOT_DONE, /* nothing was done: not the leader, or it lost the leadership before the entry
                      was chosen; send again */
    WIRE_UNKNOWN,  /* it may or may not have been done */
    WIRE_FOREIGN,  /* nothing was done: a script came to keys of other groups */
};

struct wire_reply {
    uint64_t id;
    uint8_t status;
    struct bytes reply;
};

struct wire_join { /* addresses that the newcomer listens on */
    uint64_t disk;
    uint32_t capacity;
    bool witness;
    struct bytes peer, client, http, zone;
};

struct wire_joined {
    uint16_t node;
    uint64_t cluster;
    struct bytes rows; /* blobs: encoded rows of the map */
};

/* A replica that the receiver is to have, or (SNAP_BEGIN) has. */
struct wire_create {
    uint32_t group;
    uint16_t replica;
    uint16_t slot_lo, slot_hi;
    struct paxos_id config_id;
    struct bytes config; /* encoded */
};

struct wire_snap {
    uint32_t group;
    uint16_t replica;   /* the receiver's */
    uint64_t id;        /* of this snapshot; drawn by its sender */
    uint64_t sequence;  /* of a chunk, from 1; of an ack: see wire_snap_status */
    uint8_t status;     /* of an ack: enum wire_snap_status */
    struct bytes bytes; /* BEGIN: the header; CHUNK: the chunk */
};
enum wire_snap_status {
    WIRE_SNAP_GOES_ON, /* all up to the sequence came, and there is room for some more */
    WIRE_SNAP_DONE,
    WIRE_SNAP_REFUSED,
    WIRE_SNAP_BEGUN, /* to a BEGIN: all up to the sequence is here, `bytes` is the last key of it */
};

/* Size of the first whole frame at the start of `in`; 0: incomplete; SIZE_MAX: not a frame of ours.
 */
size_t wire_frame_size(struct bytes in);
/* May a network test lose, repeat, delay or reorder this frame by itself? (Those that are messages,
 * not a stream.) */
bool wire_frame_may_disturb(struct bytes frame);

/* Writing: begin, append the payload to `out`, end. */
size_t wire_begin(struct buf *out, uint8_t type);
void wire_end(struct buf *out, size_t begun);
/* Opens a whole frame: its type and payload. False: bad magic, version or checksum. */
bool wire_open(struct bytes frame, uint8_t *type, struct bytes *payload);

void wire_put_hello(struct buf *out, const struct wire_hello *h);
bool wire_get_hello(struct bytes payload, struct wire_hello *h);
void wire_put_text(struct buf *out, uint8_t type, const char *text);
void wire_put_heartbeat(struct buf *out, const struct lease_heartbeat *h);
bool wire_get_heartbeat(struct bytes payload, struct lease_heartbeat *h);
void wire_put_answer(struct buf *out, const struct lease_answer *a);
bool wire_get_answer(struct bytes payload, struct lease_answer *a);
void wire_put_report(struct buf *out, const struct wire_report *r);
void wire_get_report(struct reader *r, struct wire_report *report);
void wire_put_state(
    struct buf *out,
    const struct wire_state *s); /* appends one row; between wire_begin and wire_end */
bool wire_get_state(struct reader *r, struct wire_state *s);
void wire_put_join(struct buf *out, const struct wire_join *j);
bool wire_get_join(struct bytes payload, struct wire_join *j);
void wire_put_joined(struct buf *out, const struct wire_joined *j);
bool wire_get_joined(struct bytes payload, struct wire_joined *j);
void wire_put_create(struct buf *out, const struct wire_create *c);
bool wire_get_create(struct bytes payload, struct wire_create *c);
void wire_put_snap(struct buf *out, uint8_t type, const struct wire_snap *s);
bool wire_get_snap(struct bytes payload, struct wire_snap *s);
/* Append one row; many go in one frame. */
void wire_put_command(struct buf *rows, const struct wire_command *c);
void wire_put_reply(struct buf *rows, const struct wire_reply *r);
/* Take one row. args: slices of the payload, in `storage` (grown; the caller's). */
bool wire_get_command(struct reader *r, struct wire_command *c, struct buf *storage);
bool wire_get_reply(struct reader *r, struct wire_reply *reply);

#endif
