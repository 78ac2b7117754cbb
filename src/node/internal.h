/* What the files of src/node share. One idea each:
 *   node.c     life of a node, the turn           peers.c    connections to other nodes, heartbeats
 *   group.c    a replica: paxos, log, shard       client.c   client connections, answers in order
 *   dispatch.c what clients ask: command, group, evaluate or make a request
 *   request.c  requests on their way: evaluate, wait, forward     spread.c  over all groups
 *   local.c    commands a node answers by itself  info.c, cluster.c, status.c   the larger of these
 *   trace.c    TRACE: the path of one command
 *   wire.c     frames                              identity.c who we are */
#ifndef SYNOD_NODE_INTERNAL_H
#define SYNOD_NODE_INTERNAL_H

#include "base/list.h"
#include "base/map.h"
#include "base/prng.h"
#include "base/trace.h"
#include "node/identity.h"
#include "node/node.h"
#include "node/wire.h"
#include "paxos/lease.h"
#include "paxos/msg.h"
#include "redis/resp.h"
#include "shard/shard.h"
#include "store/log.h"

#define MS 1000000ull /* ns */

/* A log entry's value while paxos, the log or a peer needs it: the handle in struct paxos_entry. */
struct value {
    uint32_t refs, size;
    uint8_t data[];
};

/* ---- a reply that may not leave yet ---- */

/* What must be true before: the position is applied and the read round confirmed, both in this era
 * of the group's leadership. group UINT32_MAX: nothing. */
struct hold {
    uint32_t group, era;
    uint64_t position, read_seq;
};
#define HOLD_NONE ((struct hold){.group = UINT32_MAX})

enum hold_state { HOLD_WAIT, HOLD_READY, HOLD_NOT_DONE, HOLD_UNKNOWN };

/* ---- groups ---- */

#define GROUP_PAST_ERAS 4
#define GROUP_FATES     1024 /* positions of a lost era whose outcome is watched */
#define GROUP_FATE_WAIT (5000 * MS)

enum fate { FATE_OPEN, FATE_DONE, FATE_NOT_DONE };

/* A leadership that ended with replies outstanding. */
struct past_era {
    uint32_t era;
    paxos_ballot ballot;
    uint64_t first, end; /* positions [first, end) were open */
    uint64_t read_confirmed;
    uint64_t lost_at;
    uint8_t fate[GROUP_FATES];
};

struct sent_later { /* a message that waits for the log */
    uint64_t after_lsn;
    uint16_t node;
    struct buf frame;
};

struct group {
    struct node *node;
    uint32_t id;
    uint16_t slot_lo, slot_hi;
    struct paxos_config config;
    uint16_t replica; /* mine; 0: no replica here */
    bool broken;      /* its data failed to apply: takes no part */

    struct paxos *px;
    struct paxos_slot *ring;
    uint32_t ring_capacity;
    struct shard *shard;

    uint64_t lsn_synced; /* paxos' numbering */
    uint64_t synced_to;  /* while a completion is handed out (node.c) */
    struct group *synced_next;
    struct sent_later *later; /* FIFO ring */
    uint32_t later_head, later_count, later_capacity;

    uint32_t era; /* of my leadership here; 0: never led */
    bool leading; /* serving in this era */
    paxos_ballot era_ballot;
    uint64_t era_began;
    uint64_t read_open,
        read_confirmed; /* rounds of reads: the one that is filling; the last that was confirmed */
    bool reads_this_turn;
    bool retry_waiting; /* look at `waiting` again in this turn */
    bool awake;         /* in node->awake: group_turn has something to do */
    struct group *awake_next;
    bool dirty; /* has an open batch */
    struct past_era *past[GROUP_PAST_ERAS];

    uint16_t leader_hint; /* node that leads, as last known; 0: unknown */
    struct list waiting;  /* requests that wait for a leader, or for room */
    uint64_t tick_at;     /* no earlier than this may paxos want a tick; 0: look */
    int64_t time_ms;      /* of the group, at time_at (group_time_ms) */
    uint64_t time_at;
    int64_t expire_at_ms;
    struct space_fetch expire_fetch;
    bool expire_fetching;
    uint64_t fetch_busy; /* bit per node: a LEARN is being read for it */
    uint64_t flush_retry_at;
    uint64_t behind_warned_at;
    uint64_t
        chosen_durable; /* what a restart would know to be chosen, at least; as told to peers */
    uint64_t hint_next, hint_next_lsn, hint_last,
        hint_last_lsn; /* records that will raise it, once on disk; 0: none */
    uint64_t peer_chosen[NODE_NODES_MAX + 1],
        peer_flushed[NODE_NODES_MAX + 1]; /* as they last said */
    uint64_t peer_heard[NODE_NODES_MAX + 1];
};

/* ---- peers ---- */

struct peer {
    struct node *node;
    uint16_t id;
    char address[64];
    struct io_conn *out; /* dialled by me; carries what I say */
    bool out_ready;      /* its HELLO came back, at up_since */
    uint64_t up_since, heard_at;
    struct io_conn *in; /* the one it dialled, after its HELLO */
    uint64_t dial_at, backoff;
    bool knows_me; /* it has recorded my disk */
    char client[64], http[64], zone[32];
    uint64_t incarnation;
    uint64_t warned_at;
    struct wire_report report; /* as it last said, at report_at */
    uint64_t report_at;
    struct list forwarded; /* requests sent on `out`, in order */
};

/* ---- requests ---- */

struct client;

enum request_state {
    REQUEST_WAITING,
    REQUEST_FETCHING,
    REQUEST_FORWARDED,
    REQUEST_RUNNING,
    REQUEST_DONE
};

struct request {
    struct list link; /* group->waiting, peer->forwarded, or alone */
    struct list all;  /* node->requests */
    struct node *node;
    uint8_t state;
    uint8_t version; /* RESP */
    bool writes;
    bool gone;    /* the asker is gone: drop the reply */
    bool sent;    /* it was forwarded at least once */
    bool failed;  /* of a parent: the reply is settled */
    bool refused; /* its reply says that nothing was done */
    bool mapped;  /* in node->requests_by_id */
    uint64_t id;
    uint32_t group;
    const struct command *command;
    struct cmd_args args; /* into bytes */
    uint8_t *bytes;
    uint64_t deadline;
    uint32_t misses;
    struct hold hold; /* once evaluated here */
    struct buf reply;
    size_t counted; /* in the client's async_bytes */

    /* who asked: one of these */
    struct client *client; /* a client of mine; `seq` is its answer */
    uint64_t seq;
    uint16_t origin; /* a peer; `origin_id` is its request, on connection `origin_conn` */
    struct io_conn *origin_conn;
    uint64_t origin_id, origin_client;
    struct request *parent; /* a command that is spread over groups */

    /* of a parent */
    uint32_t children, next_group;
    int64_t sum;
    uint64_t items;

    struct space_fetch fetch;

    bool sleeping;          /* DEBUG SLEEP: done at the deadline */
    uint32_t wait_replicas; /* WAIT: one more than must have wait_position on disk; 0: no WAIT */
    uint64_t wait_position;
    bool traced;               /* TRACE: the reply is wrapped (trace.c) */
    struct timeline *timeline; /* at the leader */
    uint16_t slot;
    uint64_t began;
};

/* ---- clients ---- */

struct answer { /* one a command, in order */
    struct hold hold;
    uint32_t size; /* of its reply, next in client->held; or request != NULL */
    bool silent;   /* CLIENT REPLY OFF or SKIP */
    uint64_t began;
    const char *name; /* of the command */
    struct request *request;
};

/* SKIP_NEXT: CLIENT REPLY SKIP itself is being answered (with nothing). */
enum client_reply_mode {
    CLIENT_REPLY_ON,
    CLIENT_REPLY_OFF,
    CLIENT_REPLY_SKIP_NEXT,
    CLIENT_REPLY_SKIP
};

struct client {
    struct list link;    /* node->clients */
    struct list waiting; /* node->waiting while it has answers */
    struct node *node;
    struct io_conn *conn;
    uint64_t id;
    uint8_t version;
    struct resp_args args;
    struct answer *answers; /* ring */
    uint32_t answer_head, answer_count, answer_capacity;
    uint64_t answer_seq; /* of answers[head] */
    struct buf held;     /* replies of evaluated answers, in order, from held_at on */
    size_t held_at;
    uint32_t async;          /* answers with a request */
    size_t async_bytes;      /* of arguments and replies that these requests hold */
    size_t reply_expected;   /* bytes, of the next of their replies, by those that came */
    uint64_t async_epoch;    /* leader_epoch when the oldest of them was made */
    struct request *barrier; /* nothing is parsed before it is done */
    bool paused, closing;    /* closing: after the answers left */
    uint8_t reply_mode;
    bool readonly, no_evict, no_touch;
    uint64_t *written; /* bit per group: written to since the last WAIT; NULL: none */
    char name[64], lib_name[64], lib_version[32];
    uint64_t created_at, active_at;
    int64_t created_ms;
    const char *last_command;
    uint64_t commands, in_bytes;
};

/* ---- the node ---- */

struct append_mark { /* which of a group's appends a log record was */
    uint64_t log_lsn, lsn;
    uint64_t position; /* of an entry; 0: something else */
    struct group *group;
};

struct node_stats {
    uint64_t commands, connections, rejected, forwarded, forwarded_in, evaluated, misses, entries,
        effects_bytes;
    uint64_t not_done, unknown, bad_frames, reads_lease, reads_quorum, elections, learned,
        refused_full, expired;
    uint64_t net_in, net_out;
};

struct slow_entry {
    uint64_t id;
    int64_t at_ms, micros; /* from its arrival until its answer could leave */
    const char *name;
    char client[64];
};

struct node {
    struct io *io;
    struct node_config config;
    struct identity identity;
    struct trace trace;
    char listen[64], peer_address[64], http[64], zone[32];
    char run_id[41];

    struct log *log;
    struct lease_table leases;
    bool taking_part; /* founded, and paxos started */
    bool dead;        /* fatal was called */
    bool started;     /* node_new succeeded */
    bool stopping, shutdown_asked;
    uint64_t stop_at;
    uint64_t started_at;
    int64_t started_ms;

    struct group *groups;
    struct group *awake; /* those with something to do at the end of this turn */
    uint32_t group_count;
    uint32_t slot_group_count; /* = group_count */
    uint16_t *slot_group;      /* slot -> group */

    struct peer *peers[NODE_NODES_MAX + 1]; /* [id]; own id: NULL */
    struct io_listener *client_listener, *peer_listener;

    struct append_mark *marks; /* FIFO ring of appends not yet on disk */
    uint32_t mark_head, mark_count, mark_capacity;

    struct space_cache *cache;
    struct view view;
    struct list clients, waiting; /* waiting: clients with answers */
    uint32_t client_count;
    uint64_t client_id, request_id;
    struct map requests_by_id; /* forwarded ones: id -> request */
    struct list requests;      /* all */
    struct list learns;        /* reads of the log for peers that lag (group.c) */
    struct list remote;        /* evaluated for peers, hold not yet ready */
    struct buf scratch, scratch2;

    uint64_t now;       /* of this turn, or of the handler under way */
    uint64_t turned_at; /* the last turn; only a planted bug looks at it */
    int64_t wall_ms;
    struct prng random;
    uint64_t leader_epoch; /* rises whenever any group's leader changes, as far as known here */
    uint64_t heartbeat_at, state_at, slow_at, beat_at, spread_at, flush_at;
    bool log_full;                          /* refuse writes that need room */
    bool log_stuck;                         /* nothing can be written at all: accept nothing */
    bool memory_full;                       /* flushing does not keep up: writes wait */
    uint64_t engine_bytes, engine_bytes_at; /* on the disk, as of a second ago at most */
    uint64_t reclaim_at;                    /* when to flush and merge next on a full disk */
    struct io_work reclaim;
    bool reclaiming;
    size_t batch_max, effects_max; /* of an entry; what a log segment holds with ease */
    bool advanced; /* something was applied or confirmed since replies were last released */

    struct node_stats stats;
    uint64_t ops_per_s, ops_at, ops_before; /* commands in the last second */
    struct slow_entry slow[128];
    uint64_t slow_count, slow_id;
    int64_t slow_micros;
    struct list traces; /* TRACE commands under way (trace.c) */
};

/* node.c */
void node_log(struct node *n, const char *format, ...) __attribute__((format(printf, 2, 3)));
void node_fatal(struct node *n, const char *format, ...) __attribute__((format(printf, 2, 3)));
void node_begin(struct node *n); /* at the start of each handler: clock and trace */
void node_take_part(struct node *n);
struct value *value_new(struct bytes s);
void value_release(struct value *v);
static inline struct bytes value_bytes(void *handle)
{
    struct value *v = handle;
    return v ? bytes_of(v->data, v->size) : (struct bytes){0};
}

/* group.c */
bool group_open(struct group *g, char *error, size_t error_size);
void group_restore(struct group *g, const struct log_record *r);
void group_start(struct group *g);
void group_free(struct group *g);
void group_free_learns(struct node *n); /* after the log: it forgets its reads */
void group_message(struct group *g, struct bytes payload, uint16_t from);
void group_synced(struct group *g, uint64_t lsn);
/* Makes group_turn look at the group at the end of this turn. */
static inline void group_wake(struct group *g)
{
    if (g->awake) return;
    g->awake = true;
    g->awake_next = g->node->awake;
    g->node->awake = g;
}
/* ... and at its waiting requests. */
static inline void group_retry(struct group *g)
{
    g->retry_waiting = true;
    group_wake(g);
}
void group_turn(struct group *g);         /* proposes the open batch, asks for reads */
void group_slow(struct group *g);         /* every 10 ms or so: ticks, expiry */
bool group_can_write(struct group *g);    /* an evaluation that writes may be started */
bool group_serves(const struct group *g); /* evaluates commands */
int64_t group_time_ms(struct group *g);
struct hold group_hold(struct group *g, uint64_t saw, bool wrote);
enum hold_state group_hold_state(struct node *n, const struct hold *h);
uint16_t group_leader_node(const struct group *g); /* 0: unknown */
uint64_t group_durable_chosen(struct group *g);
void group_set_floor(struct group *g);
bool group_flush(struct group *g); /* starts one, if it may and there is something to flush */
void group_peer_state(struct group *g, uint16_t node, const struct wire_state *s);
void group_step(struct group *g, struct paxos_event *ev);

/* peers.c */
void peers_start(struct node *n);
void peers_turn(struct node *n);
void peers_free(struct node *n);
void peer_send(struct node *n, uint16_t to, struct bytes frame);
struct buf *peer_out(struct node *n,
                     uint16_t to); /* NULL: not connected, or too much waits already */
extern const struct io_handler peer_in_handler;

/* client.c */
extern const struct io_handler client_handler;
void client_end(struct client *c);
void client_release(struct client *c); /* sends what may leave */
void client_unblock(struct client *c);
struct request *
client_request(struct client *c); /* adds an answer that waits for the returned request */
void client_answer(struct client *c, struct hold hold,
                   size_t held_before); /* the reply was appended to c->held */
void client_hold_bytes(struct client *c, struct request *r, size_t bytes);
void client_wrote(struct client *c, uint32_t group);
struct client *client_by_id(struct node *n, uint64_t id);

/* request.c */
void request_dispatch(struct client *c); /* c->args is a whole command */
void request_remote(struct peer *p, struct io_conn *conn, const struct wire_command *w);
void request_replied(struct peer *p, const struct wire_reply *w);
void request_peer_lost(struct peer *p);
void request_conn_lost(struct node *n,
                       struct io_conn *conn); /* a peer's connection that awaited replies */
void request_retry_group(struct group *g);    /* leader changed, or there is room again */
void request_release_remote(struct node *n);
void request_deadlines(struct node *n);
void request_client_gone(struct node *n, struct client *c);
void request_free(struct request *r);
void request_free_all(struct node *n);
struct request *request_spread(struct client *c, const struct command *cmd,
                               const struct cmd_args *a);
void request_sleep(struct client *c, const struct command *cmd, const struct cmd_args *a,
                   uint64_t ns);
void request_wait_replicas(struct client *c, const struct command *cmd, const struct cmd_args *a,
                           uint64_t timeout_ms);
void request_trace(struct client *c, const struct cmd_args *a, struct reply *out);
#define TEXT_NOT_DONE                                                                              \
    "TRYAGAIN the leadership of the group moved before this was done; nothing was changed, send "  \
    "it again"
#define TEXT_UNKNOWN                                                                               \
    "UNKNOWN the leader was lost before the outcome was known; the write may or may not have "     \
    "been done"

/* trace.c */
struct timeline;
struct timeline *trace_begin(struct node *n, uint32_t group);
void trace_end(struct timeline *t);
void trace_evaluated(struct node *n, struct timeline *t, uint64_t position);
void trace_append(struct group *g, uint64_t position, uint64_t lsn);
void trace_sent(struct group *g, uint64_t last, uint16_t node);
void trace_synced(struct group *g, uint64_t lsn);
void trace_accepted(struct group *g, uint64_t upto, uint16_t node);
void trace_chosen(struct group *g, uint64_t position);
void trace_report(struct node *n, const struct timeline *t, struct buf *out);
void trace_reply(struct request *r, struct bytes wire);
static inline bool tracing(const struct group *g)
{
    return !list_empty(&g->node->traces);
}

/* local.c: commands answered by the node itself. False: it became a request (spread, or to be
 * answered later). */
void local_command(struct client *c, const struct command *cmd, const struct cmd_args *a,
                   struct reply *out);
/* info.c, cluster.c, status.c */
void info_command(struct client *c, const struct cmd_args *a, struct reply *out);
void cluster_command(struct client *c, const struct command *cmd, const struct cmd_args *a,
                     struct reply *out);
uint64_t info_memory_bytes(struct node *n); /* resident; 0: not known */
void status_report(struct node *n, struct wire_report *r);
void status_json(struct node *n, struct buf *out);
void status_digest(struct node *n, struct buf *out);

#endif
