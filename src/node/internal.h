/* What the files of src/node share. One idea each:
 *   node.c     life of a node, the turn           peers.c    connections to other nodes, heartbeats
 *   group.c    a replica: paxos, log, shard       client.c   client connections, answers in order
 *   era.c, keep.c, life.c  its leaderships; what it keeps and for whom; its opening and its end
 *   dispatch.c what clients ask: command, group, evaluate or make a request
 *   request.c  requests on their way: evaluate, wait, forward     spread.c  over all groups
 *   local.c    commands a node answers by itself  info.c, cluster.c, status.c   the larger of these
 *   trace.c    TRACE: the path of one command      multi.c    MULTI, EXEC, WATCH
 *   session.c  BEGIN, COMMIT, ROLLBACK
 *   once.c     IDEMPOTENT
 *   script.c   EVALSHA and FCALL become code; what is loaded of scripts and functions
 *   txn.c, txn_plan.c, txn_eval.c  transactions over groups, at their coordinator
 *   txn_leader.c  ... and at the leaders of their groups          txn_trace.c TRACE of one
 *   txn_list.c, txn_status.c   TXN LIST, TXN STATUS
 *   cut.c      cuts of the database, at their coordinator          cut_leader.c ... at leaders
 *   pin.c      states that are kept for snapshots; reading them    snapshot.c   SNAPSHOT
 *   job_*.c    JOB, and what is behind it (job.h)
 *   wire.c     frames                              identity.c who we are
 *   ring.c     the cluster map as known here       replica.c  birth and death of replicas
 *   join.c     becoming a node of a cluster        transfer.c snapshots on their way
 *   job.h      jobs: job_*.c       task.h     attempts of their tasks on this node
 *   driver.c   who shall hold what (group 0)       reconcile.c making it so (each group's leader)
 *   merge.c    a group takes its neighbour over
 */
#ifndef SYNOD_NODE_INTERNAL_H
#define SYNOD_NODE_INTERNAL_H

#include "base/list.h"
#include "base/map.h"
#include "base/mutant.h"
#include "base/prng.h"
#include "base/trace.h"
#include "node/identity.h"
#include "node/node.h"
#include "node/wire.h"
#include "paxos/lease.h"
#include "paxos/msg.h"
#include "redis/resp.h"
#include "ring/ring.h"
#include "script/engine.h"
#include "shard/locks.h"
#include "shard/shard.h"
#include "shard/watch.h"
#include "store/log.h"
#include "txn/hold.h"

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
    bool passes; /* also while a cut holds the group's replies: it is about that */
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

/* What a group's replica here knows of the one on another node. */
struct group_peer {
    uint16_t node;    /* 0: free */
    uint64_t since;   /* when it was first of interest */
    uint16_t replica; /* as it last said; 0: it has none */
    uint64_t chosen, applied, flushed, heard;
    bool leads;              /* it serves the group, as it last said */
    bool reading;            /* a LEARN is being read for it */
    bool behind;             /* it wants what the log has no more */
    uint64_t told_at;        /* when it was last told to have a replica */
    uint64_t send_at;        /* no snapshot before */
    struct sending *sending; /* a snapshot on its way to it (transfer.c) */
};
#define GROUP_PEERS     (PAXOS_MEMBERS_MAX + 2)
#define GROUP_STRANGERS 4

struct group {
    struct node *node;
    uint32_t id;
    struct ring_group row;      /* as the cluster map has it; id 0 and state FREE: not in it yet */
    uint16_t slot_lo, slot_hi;  /* of the replica here, else of the row */
    struct paxos_config config; /* of the replica here, else of the row */
    struct paxos_id config_id;
    uint16_t replica;   /* mine; 0: no replica here */
    uint16_t tombstone; /* replica ids up to this one died here: none of them may come back */
    uint64_t installed; /* position of the replica's last snapshot; 0: none */
    bool broken;        /* its data failed to apply: takes no part */
    bool bearing;       /* a birth or a death is being written */
    struct shard_write *writing;
    struct birth *birth; /* what is written, if it is a birth (replica.c) */
    bool dying;          /* takes no part any more; its data goes when nothing uses it */
    struct group *heir;  /* has its slots and its data, by position heir_at of its log (merge.c) */
    uint64_t heir_at;
    uint32_t took;  /* the last group that the replica here took over, in this life; 0: none */
    bool overtaken; /* a merge was chosen that its data here cannot follow: it needs a snapshot */
    struct installing *installing; /* a snapshot is coming in (transfer.c) */
    uint64_t ask_at;               /* when to ask for one again */
    bool transferring;             /* some member wants a snapshot, or gets one */

    struct paxos *px;
    struct paxos_slot *ring;
    uint32_t ring_capacity;
    struct shard *shard; /* NULL while a snapshot is installed */

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
    paxos_ballot bound_to; /* my promise, when it was last looked at, and since when it is that */
    uint64_t bound_at;
    uint16_t successor; /* the replica that group_hand_over named; 0: none */
    bool retry_waiting; /* look at `waiting` again in this turn */
    bool awake;         /* in node->awake: group_turn has something to do */
    struct group *awake_next;
    bool busy;    /* in node->busy: group_slow looks at it with every slow turn */
    bool resting; /* only an event, or a change among the nodes, gives group_slow anything to do */
    struct group *busy_next;
    struct wire_state said; /* what peers were last told of it */
    bool news;              /* that may be old */
    bool campaigning;       /* counted in the node's */
    bool dirty;             /* has an open batch */
    struct past_era *past[GROUP_PAST_ERAS];

    bool draining;            /* writes wait: something is to be proposed that nothing may follow */
    struct buf config_wanted; /* the configuration to propose, once the batch is out; empty: none */
    uint64_t drain_since;
    uint64_t alone_at; /* position of a SPLIT, SEAL or MERGE under way; 0: none */
    uint64_t reconcile_at;
    bool asking;        /* a report or request about this group is under way to group 0, */
    uint32_t asked_era; /* since this era */
    bool reopen;        /* sealed, and by group 0's word it may open again */
    uint64_t sealed_since;

    uint16_t leader_hint; /* node that leads, as last known; 0: unknown */
    struct list waiting;  /* requests that wait for a leader, or for room */
    uint64_t tick_at;     /* no earlier than this may paxos want a tick; 0: look */
    int64_t time_ms;      /* of the group, at time_at (group_time_ms) */
    uint64_t time_at;
    int64_t expire_at_ms;
    struct space_fetch expire_fetch;
    bool expire_fetching;
    uint64_t flush_retry_at;
    uint64_t
        chosen_durable; /* what a restart would know to be chosen, at least; as told to peers */
    uint64_t hint_next, hint_next_lsn, hint_last,
        hint_last_lsn; /* records that will raise it, once on disk; 0: none */
    uint32_t learns;   /* reads of the log under way */
    struct group_peer peer[GROUP_PEERS];
    struct {
        uint16_t replica, node;
    } stranger[GROUP_STRANGERS]; /* replicas that spoke and are not in config: where they live */
    struct watch watch;          /* leader: what WATCH asks */
    struct locks locks;          /* leader: what transactions over groups have (txn_leader.c) */
    struct cut_hold hold;        /* leader: replies are held for a cut (cut_leader.c) */
    struct buf hold_rows;        /* its `rows` */
    uint64_t stale_after;        /* READONLY: nothing is read here before, for a cut may be held */
    struct list pins;            /* states of the replica here that are kept (pin.c) */
    uint64_t quiet_until;        /* until then none begins here: something waits for their end */
    uint64_t load, load_before, load_rate; /* commands evaluated; a second ago; per second */
};

/* ---- peers ---- */

struct peer {
    struct node *node;
    uint16_t id;
    char address[64];
    struct io_conn *out; /* dialled by me; carries what I say */
    bool out_ready;      /* its HELLO came back, at up_since */
    uint64_t up_since, heard_at;
    uint64_t told_at; /* when it was last told how far groups are */
    uint64_t full_at; /* when it last named every replica that it has */
    uint64_t beat_at; /* its clock when it sent the last heartbeat that came here */
    uint64_t said_at; /* my clock, no later than when it made its last word on how far groups are */
    struct io_conn *in; /* the one it dialled, after its HELLO */
    uint64_t dial_at, backoff;
    bool knows_me; /* it has recorded my disk */
    bool removed;  /* from the cluster: let go of at the next turn */
    char client[64], http[64], zone[32];
    uint64_t disk;  /* of the one whose HELLO was taken; 0: none */
    uint64_t epoch; /* of its copy of the cluster map, as last said */
    uint64_t incarnation;
    uint64_t warned_at;
    struct wire_report report; /* as it last said, at report_at */
    uint64_t report_at;
    struct list forwarded; /* requests sent on `out`, in order */
    struct buf commands;   /* rows for `out` */
    struct buf replies;    /* rows for `in`; both leave at the end of the turn */
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
    struct list all;  /* node->requests, or node->spare_requests */
    struct node *node;
    uint8_t state;
    uint8_t version; /* RESP */
    bool writes;
    bool gone;    /* the asker is gone: drop the reply */
    bool sent;    /* others of its client may have been done since: it was forwarded, or kept */
    bool failed;  /* of a parent: the reply is settled */
    bool refused; /* its reply says that nothing was done */
    bool doubt;   /* it has a token, and an earlier try of it may have been done */
    bool mapped;  /* in node->requests_by_id */
    uint64_t id;
    uint32_t group;
    const struct command *command;
    struct cmd_args args; /* into bytes */
    uint64_t deadline;
    uint32_t misses;
    struct hold hold; /* once evaluated here */
    size_t counted;   /* in the client's async_bytes */

    /* who asked: one of these */
    struct client *client; /* a client of mine; `seq` is its answer */
    uint64_t seq;
    uint16_t origin; /* a peer; `origin_id` is its request, on connection `origin_conn` */
    struct io_conn *origin_conn;
    uint64_t origin_id, origin_client;
    struct request *parent; /* a command that is spread over groups */

    /* of a parent */
    bool begun; /* something of it was sent, or evaluated */
    uint32_t children, next_group;
    int64_t sum;
    uint64_t items;

    struct space_fetch fetch;

    bool sleeping;          /* DEBUG SLEEP: done at the deadline */
    uint32_t wait_replicas; /* WAIT: one more than must have wait_position on disk; 0: no WAIT */
    uint64_t wait_position;
    bool traced;               /* TRACE: the reply is wrapped (trace.c) */
    bool watching;             /* WATCH: the reply is kept (multi.c) */
    bool called_off;           /* LOCK: its transaction has ended meanwhile */
    struct buf *report;        /* the asker's, who wants reply and report apart; else NULL */
    struct timeline *timeline; /* at the leader */
    bool barred;               /* it waits for keys that a transaction has locked */
    bool keyed;                /* `slot` says where it belongs, whatever becomes of its group */
    uint16_t slot;
    uint16_t slot_hi; /* of a child: it concerns the slots [slot, slot_hi); else 0 */
    uint64_t began;
    /* Of the node itself (ring.c): called with the reply (size 0: not done, or unknown). */
    void (*done)(void *ctx, struct bytes reply);
    void *done_ctx;

    struct buf bytes, reply; /* last: a spare request keeps their memory */
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
    uint32_t lag_max_ms;    /* READONLY: how stale a read may be */
    bool stalled;           /* its next command waits for code that group 0 may have (script.c), */
    uint64_t stalled_since; /* since then; 0: it does not, nor did */
    bool script_asked, script_failed; /* ... and the answer to that has come; it was none */
    bool stalled_for_functions;
    struct multi *multi;     /* MULTI and WATCH (multi.c); NULL: neither */
    struct session *session; /* BEGIN (session.c); NULL: none */
    uint64_t *written;       /* bit per group: written to since the last WAIT; NULL: none */
    uint32_t written_words;
    char name[64], lib_name[64], lib_version[32];
    uint64_t created_at, active_at;
    int64_t created_ms;
    const char *last_command;
    uint64_t commands, in_bytes;
};

/* ---- the node ---- */

struct ailment {
    uint64_t since;
    bool bad; /* since then, or not; */
    bool ill; /* ... long enough */
};

struct health { /* of the log device, and of the links to others (health.c) */
    struct ailment slow, cut;
    uint64_t look_at, full_look_at;
    uint64_t writes, write_ns; /* of the log, at the last look */
    uint64_t write_us;         /* a write took, lately */
    uint64_t hears;            /* other nodes */
};

struct append_mark { /* which of a group's appends a log record was */
    uint64_t log_lsn, lsn;
    uint64_t position; /* of an entry; 0: something else */
    struct group *group;
};

struct node_stats {
    uint64_t commands, connections, rejected, forwarded, forwarded_in, evaluated, misses, entries,
        effects_bytes;
    uint64_t reads_stale, not_done, unknown, bad_frames, reads_lease, reads_quorum, elections,
        learned, refused_full, expired, snapshots_sent, snapshots_taken;
    uint64_t net_in, net_out;
    uint64_t txn_committed, txn_retried, txn_aborted; /* over groups, coordinated here */
    uint64_t cuts_made, cuts_void;                    /* coordinated here; void: attempts */
    uint64_t hold_last_ns, hold_max_ns;               /* of groups led here, for cuts */
};

/* What concerns a group at rest and is no event of its own, of one other node. */
struct node_seen {
    bool silent, connected, supports;
    uint64_t mark;
};

/* Libraries, as this node last heard of them from group 0 (script.c). */
struct scripts {
    struct script_engine *engine;
    struct buf rows;          /* of all libraries: blobs */
    struct script_name *name; /* their functions, rising; slices of `rows` */
    uint32_t names;
    uint64_t version;
    uint64_t asked_at, failed_at; /* when the last answer, or none, was asked for; 0: never */
    uint64_t changed_at;          /* a client of this node changed something then, or may have */
    uint64_t asking_at;           /* an answer is under way; 0: none */
    struct buf text;              /* of the command that is being resolved */
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

    struct group **group; /* [id]; none is NULL below group_count */
    struct group *awake;  /* those with something to do at the end of this turn */
    struct group
        *busy; /* those that were touched since the last slow turn, or wait for something */
    uint32_t slow_next; /* the idle ones are looked at in turn, from this one on; */
    uint32_t slow_all;  /* so many of them even if they rest */
    uint64_t rested_at; /* when those at rest were last looked at all the same */
    struct node_seen seen[NODE_NODES_MAX + 1]; /* [id], at the last slow turn */
    uint32_t campaigning, campaigns_begun;     /* groups that do; in this slow turn */
    uint32_t state_round;                      /* of telling peers how far groups are */
    uint64_t said_keys, said_leads;            /* what the groups add up to, as last told */
    uint32_t group_count, group_capacity;
    uint32_t *slot_group; /* slot -> group */

    struct ring_settings ring;                      /* of the map as known here */
    struct ring_node ring_node[RING_NODES_MAX + 1]; /* [id] */
    bool ring_there;                                /* a map of this cluster is known */
    bool ring_changed;                              /* the copy on disk is older */
    struct ring_save *ring_saving;                  /* it is being written */
    bool ring_asking; /* something of this node's is under way to group 0 */
    uint64_t ring_at, driver_at;
    struct driver *driver;
    struct joining *joining; /* before this node is one of a cluster */
    struct list askers;      /* newcomers that asked this node and wait (join.c) */
    uint32_t sending_count, installing_count;

    struct peer *peers[NODE_NODES_MAX + 1]; /* [id]; own id and unknown ones: NULL */
    uint16_t node_max;                      /* no node id above it is known */
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
    struct list spare_requests;
    uint32_t spare_count;
    struct list learns; /* reads of the log for peers that lag (group.c) */
    struct list remote; /* evaluated for peers, hold not yet ready */
    struct buf scratch, scratch2;

    uint64_t now;       /* of this turn, or of the handler under way */
    uint64_t turned_at; /* the last turn; only a planted bug looks at it */
    int64_t wall_ms;
    struct prng random;
    uint64_t leader_epoch; /* rises whenever any group's leader changes, as far as known here */
    uint64_t heartbeat_at, state_at, slow_at, beat_at, spread_at, flush_at;
    uint64_t applied_bytes, flush_bytes; /* of entries' values; when memory was last looked at */
    bool log_full;                       /* refuse writes that need room */
    bool log_stuck;                      /* nothing can be written at all: accept nothing */
    bool memory_over;                    /* more than is to be kept: a flush is due, or under way */
    bool memory_full;                    /* flushing does not keep up: writes wait */
    uint64_t engine_bytes, engine_bytes_at; /* on the disk, as of a second ago at most */
    uint64_t reclaim_at;                    /* when to flush and merge next on a full disk */
    struct io_work reclaim;
    bool reclaiming;
    size_t batch_max, effects_max; /* of an entry; what a log segment holds with ease */
    bool advanced; /* something was applied or confirmed since replies were last released */

    struct health health;
    struct node_stats stats;
    uint64_t ops_per_s, ops_at, ops_before; /* commands in the last second */
    struct slow_entry slow[128];
    uint64_t slow_count, slow_id;
    int64_t slow_micros;
    struct list traces; /* TRACE commands under way (trace.c) */

    struct scripts scripts;
    struct forgets *forgets; /* that are over everywhere (txn_forget.c) */
    struct list txns;    /* transactions over groups that clients of this node wait for (txn.c) */
    struct list cuts;    /* that are being made here (cut.c) */
    struct list opens;   /* of snapshots: streams that wait until they may be read (pin.c) */
    struct list scans;   /* SNAPSHOT SCAN under way (snapshot.c) */
    struct tasks *tasks; /* attempts of jobs' tasks here (job_task.c) */
    uint32_t pins;
    struct jobs *jobs; /* that are owned here, and what is asked about jobs (job_internal.h) */
    uint64_t txn_seq;
    uint64_t txn_at;    /* when one of them is to be looked at again, at the latest */
    uint64_t txn_clock; /* the greatest age given or heard of: ms since 1970 << 20, and a count */
};

/* node.c */
void node_log(struct node *n, const char *format, ...) __attribute__((format(printf, 2, 3)));
void node_fatal(struct node *n, const char *format, ...) __attribute__((format(printf, 2, 3)));
void node_begin(struct node *n); /* at the start of each handler: clock and trace */
void node_take_part(struct node *n);
void node_identified(struct node *n); /* the node's id is known now */
struct value *value_new(struct bytes s);
void value_release(struct value *v);
static inline struct bytes value_bytes(void *handle)
{
    struct value *v = handle;
    return v ? bytes_of(v->data, v->size) : (struct bytes){0};
}

/* group.c; era.c, keep.c, life.c: parts of it */
void group_emit(void *ctx, const struct paxos_effect *fx); /* ctx: the group; paxos' sink */
void group_ring_grow(struct group *g, uint32_t wanted);
void group_ring_fit(struct group *g, const struct paxos_event *ev); /* room for the event */
void group_era_begin(struct group *g);
void group_campaigns(struct group *g, bool does); /* counted */
/* NULL: there is none of that id. */
static inline struct group *group_named(const struct node *n, uint32_t id)
{
    return id < n->group_count ? n->group[id] : NULL;
}
/* The replica of its configuration that lives on the node; 0: none. */
static inline uint16_t group_replica_on(const struct group *g, uint16_t node)
{
    int at = paxos_config_member(&g->config, node);
    return at < 0 ? 0 : g->config.member[at].replica;
}
void group_era_end(struct group *g);
void group_fates_note(struct group *g, const struct paxos_entry *e, bool valid);
void group_hint_note(struct group *g, uint64_t chosen, uint64_t log_lsn);
void group_flush_done(void *ctx, struct shard *s, int error);
struct group *group_at(struct node *n, uint32_t id); /* made if it is not there */
bool group_open(struct group *g, const struct shard_record *r, char *error, size_t error_size);
void group_stop(struct group *g); /* the machine is gone; the shard stays */
bool group_open_shard(struct group *g, char *error, size_t error_size);
void group_restore(struct group *g, const struct log_record *r);
void group_start(struct group *g);
void group_free(struct group *g);
void group_free_learns(struct node *n); /* after the log: it forgets its reads */
void group_message(struct group *g, struct bytes payload, uint16_t from);
void group_synced(struct group *g, uint64_t lsn);
/* Makes group_slow look at it in the next slow turn, and not only when its turn comes. */
static inline void group_busy(struct group *g)
{
    if (g->busy) return;
    g->resting = false;
    g->news = true;
    g->busy = true;
    g->busy_next = g->node->busy;
    g->node->busy = g;
}
/* Makes group_turn look at the group at the end of this turn. */
static inline void group_wake(struct group *g)
{
    group_busy(g);
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
void group_slow(struct group *g);         /* ticks, expiry, steps toward what the map wants */
bool group_idle(const struct group *g);   /* nothing of it waits for the next slow turn */
bool group_rests(struct group *g);        /* nor for any later one, and it is idle */
void group_settle(struct group *g);       /* it rests: gives back what only a busy one needs */
bool group_can_write(struct group *g);    /* an evaluation that writes may be started */
bool group_serves(const struct group *g); /* leads; evaluates commands, if group_begins too */
/* A command may be evaluated now. Not while the leadership is handed over: it could be lost with
 * the old era, where the successor can simply be asked. */
bool group_begins(const struct group *g);
int64_t group_time_ms(struct group *g);
struct hold group_hold(struct group *g, uint64_t saw, bool wrote);
enum hold_state group_hold_state(struct node *n, const struct hold *h);
uint16_t group_leader_node(const struct group *g); /* 0: unknown */
uint64_t group_durable_chosen(struct group *g);
uint64_t group_majority_knows(struct group *g);
uint64_t group_held(struct group *g, bool all);
bool group_log_covers(
    const struct group *g); /* all that is applied is in this node's log, on disk */
void group_set_floor(struct group *g);
bool group_flush(struct group *g); /* starts one, if it may and there is something to flush */
void group_peer_state(struct group *g, uint16_t node, const struct wire_state *s);
void group_step(struct group *g, struct paxos_event *ev);
struct group_peer *group_peer(struct group *g, uint16_t node); /* NULL: neither a member nor room */
/* Leader: the leadership goes to that replica, once all that was evaluated is proposed. */
void group_hand_over(struct group *g, uint16_t replica);
void group_give_away(
    struct group *g); /* the leadership, to whoever is there and has most of the log */
void group_free_dead_ballot(struct group *g); /* that binds a replica which does not lead */
uint16_t group_home(const struct group *g);   /* the node that is to lead; 0: no matter */
void group_trust_log(struct group *g);        /* once the log is open */
void group_install_begin(struct group *g);
void group_installed(struct group *g, const struct paxos_config *config); /* the shard is open */
void group_configured(struct group *g); /* looks whether the configuration changed */
/* Tells a checker what became of the replica. */
static inline void group_tell(const struct group *g, enum node_replica_event what)
{
    const struct node_config *c = &g->node->config;
    const struct shard *s = g->shard;
    if (c->replica)
        c->replica(c->ctx, what, g->id, g->replica, s ? s->applied : 0,
                   s ? s->last_valid : (struct paxos_id){0});
}
/* Is the slot of the replica here? -1: any group will do. */
static inline bool group_has_slot(const struct group *g, int32_t slot)
{
    if (MUTANT(MUTANT_SLOTS_BEYOND)) return true;
    return slot < 0 || (slot >= g->slot_lo && slot < g->slot_hi);
}
/* All that the request concerns? */
static inline bool group_has_slots_of(const struct group *g, const struct request *r)
{
    return !r->keyed || (group_has_slot(g, r->slot) &&
                         (!r->slot_hi || r->slot_hi <= g->slot_hi || MUTANT(MUTANT_SLOTS_BEYOND)));
}
/* ns that what a replica here shows may be behind its leader; UINT64_MAX: nobody knows. */
uint64_t group_staleness(struct group *g);
static inline uint64_t group_flushed(const struct group *g)
{
    return g->shard ? g->shard->flushed : 0;
}

/* ring.c */
bool ring_load(struct node *n, char *error, size_t error_size); /* at start */
int ring_save_now(struct node *n); /* blocking; 0 or a negative errno */
void ring_free(struct node *n);
void ring_take(struct node *n, const struct ring_row *row);
void ring_row_stored(void *ctx, struct bytes suffix, struct bytes value);
void ring_system(void *ctx, struct shard *s, struct bytes suffix, struct bytes value, bool deleted);
void ring_route(struct node *n); /* slots to groups, anew */
void ring_turn(struct node *n);
void ring_put_ask(const struct node *n,
                  struct buf *out); /* "which rows do you have that I lack?" */
void ring_heard(struct peer *p, uint64_t epoch);
void ring_on_ask(struct peer *p, struct bytes payload);
void ring_on_rows(struct peer *p, struct bytes payload);
void ring_put_rows(struct node *n, uint64_t above, struct buf *out);
/* Sends a SYNOD MAP command (words after MAP) to the keeper; done is called once. */
void ring_ask(struct node *n, const struct bytes *word, uint32_t count,
              void (*done)(void *ctx, struct bytes reply), void *ctx);
bool ring_node_heard(struct node *n, uint16_t id);     /* lately */
uint16_t ring_heir(const struct node *n, uint16_t id); /* who has its address now; 0: nobody */
bool ring_is_cluster(const struct node *n);            /* of more nodes than this one */
static inline bool ring_shows(const struct node *n,
                              uint16_t id) /* a node that is, or was not removed */
{
    return n->ring_node[id].id && n->ring_node[id].state != RING_NODE_REMOVED;
}

/* health.c */
void health_turn(struct node *n);
bool health_takes_leaders(const struct node *n, uint16_t other); /* as far as it says */

/* replica.c */
void replica_yield(struct group *g, struct group *heir, uint64_t at); /* its slots are heir's now */
bool replicas_open(struct node *n, char *error, size_t error_size);   /* at start, before the log */
void replica_on_create(struct peer *p, struct bytes payload);
void replica_tell(struct group *g, struct group_peer *gp); /* leader: you are to have a replica */
void replica_born(void *ctx, struct shard *s, const struct shard_record *newborn);
void replica_drop(struct group *g);
void replica_forget_birth(struct group *g);
void replica_slow(struct group *g);

/* transfer.c */
void transfer_want(struct group *g, struct group_peer *gp); /* leader: it needs a snapshot */
void transfer_slow(struct group *g);
void transfer_stop(struct group *g, struct group_peer *gp); /* the one to this member */
void transfer_end(struct group *g);                         /* all of the group's, both ways */
uint64_t transfer_floor(const struct group *g); /* positions from here on are needed after one */
void transfer_on_begin(struct peer *p, struct bytes payload);
void transfer_on_chunk(struct peer *p, struct bytes payload);
void transfer_on_ack(struct peer *p, struct bytes payload);
struct transfer_progress {
    int percent;
    uint64_t bytes, ms; /* sent so far, in this time */
};
/* Of a snapshot on its way to the node. False: there is none. */
bool transfer_progress(struct group *g, uint16_t node, struct transfer_progress *out);

/* reconcile.c, merge.c, driver.c, join.c */
void reconcile(struct group *g);
bool reconcile_rests(struct group *g);   /* it has nothing to do before the map, a report or a
                                            configuration changes */
void reconcile_dropped(struct group *g); /* the leadership ended */
bool reconcile_lives(const struct group *g, uint16_t node);
/* Sends SYNOD MAP what number... to the keeper, about this group. */
void reconcile_ask(struct group *g, const char *what, const uint64_t *number, uint32_t count,
                   void (*done)(void *ctx, struct bytes reply));
void reconcile_told(void *ctx, struct bytes reply); /* that all of them end with */
/* One step toward an entry that stands alone: writes wait until it is applied. */
void reconcile_alone(struct group *g, void (*run)(void *ctx, struct view *v));
bool merge_report(struct group *g);    /* any replica: tells the keeper of one that is done */
void merge_reconcile(struct group *g); /* leader: steps toward a merge, either side */
/* A valid DATA entry is about to be applied. False: it is a merge that cannot be followed. */
bool merge_follow(struct group *g, const struct paxos_entry *e);
void merge_slow(struct group *g);
/* Some other group has slots of this one, and not on disk yet. */
bool merge_heirs(const struct group *g);
void driver_turn(struct node *n);
void driver_heard(struct node *n, uint16_t node, const struct wire_state *s); /* a leader's row */
void driver_free(struct node *n);
void driver_plan(struct node *n, struct buf *out);          /* what would be moved, for people */
uint64_t driver_keys(const struct node *n, uint32_t group); /* as its leader last said */
uint64_t driver_load(const struct node *n, uint32_t group);
bool join_start(struct node *n, char *error, size_t error_size);
void join_turn(struct node *n);
void join_free(struct node *n);
void join_on_request(struct node *n, struct io_conn *c, struct bytes payload);
void join_conn_lost(struct node *n, struct io_conn *c);
void join_free_askers(struct node *n);

/* peers.c */
void peers_start(struct node *n);
void peer_update(struct node *n, uint16_t id); /* its row is new or changed */
void peers_turn(struct node *n);
bool peers_changed(struct node *n); /* since the last call: silence, connections, support */
void peers_free(struct node *n);
void peer_send(struct node *n, uint16_t to, struct bytes frame);
struct buf *peer_out(struct node *n,
                     uint16_t to); /* NULL: not connected, or too much waits already */
/* Rows of this turn's frames. To be called only where peer_out gives something, and with `in`. */
void peer_put_command(struct peer *p, const struct wire_command *c);
void peer_put_reply(struct peer *p, uint64_t id, enum wire_status status, struct bytes reply);
void peers_flush(struct node *n); /* at the end of the turn */
extern const struct io_handler peer_in_handler;

/* client.c */
extern const struct io_handler client_handler;
void client_end(struct client *c);
void client_release(struct client *c); /* sends what may leave */
void client_unblock(struct client *c);
void client_pause(struct client *c); /* or goes on, if it may */
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
/* TRACE's own: is it TRACE EXEC? It ends a MULTI, and is not queued. */
bool request_traces_exec(const struct cmd_args *a);
#define TEXT_NOT_DONE                                                                              \
    "TRYAGAIN the leadership of the group moved before this was done; nothing was changed, send "  \
    "it again"
#define TEXT_NOT_JOINED "CLUSTERDOWN this node has not joined its cluster yet; see its log"
#define TEXT_UNKNOWN                                                                               \
    "UNKNOWN the leader was lost before the outcome was known; the write may or may not have "     \
    "been done"

/* multi.c */
void multi_free(struct client *c);
int64_t multi_count(const struct client *c); /* commands queued; -1: not in a transaction */
bool multi_queues(const struct client *c, const struct command *cmd);
void multi_queue(struct client *c, const struct command *cmd, const struct cmd_args *a,
                 struct reply *out);
void multi_break(struct client *c); /* a command was refused: if in a transaction, it is too */
/* EXEC with arguments: true, and answered as Redis does. */
bool multi_ends_badly(struct client *c, const struct command *cmd, const struct cmd_args *a,
                      struct reply *out);
/* Has it a place in a transaction? Else answers the error. */
bool multi_may_queue(const struct command *cmd, struct reply *out);
void multi_begin(struct client *c, struct reply *out);
/* traced: TRACE's. token: empty, or IDEMPOTENT's. */
void multi_end_exec(struct client *c, bool traced, struct bytes token, struct reply *out);
void multi_discard(struct client *c, struct reply *out);
void multi_watch_keys(struct client *c, const struct cmd_args *a, struct reply *out);
void multi_unwatch(struct client *c, struct reply *out);
void multi_watched(struct request *r); /* a WATCH has its reply */
/* Leader: an evaluation of this command has written. */
void multi_note(struct group *g, const struct command *cmd, const struct cmd_args *a);

/* session.c: BEGIN ... COMMIT */
void session_begin(struct client *c, const struct cmd_args *a, struct reply *out);
/* Answered, or made a request of: true. False: it is done as outside of a transaction. */
bool session_command(struct client *c, const struct command *cmd, const struct cmd_args *a,
                     struct reply *out);
/* Answers, or makes a request of it. token: empty, or IDEMPOTENT's. */
void session_commit(struct client *c, const struct command *cmd, const struct cmd_args *a,
                    struct bytes token, struct reply *out);
void session_rollback(struct client *c, const struct cmd_args *a, struct reply *out);
void session_savepoint(struct client *c, const struct cmd_args *a, struct reply *out);
void session_free(struct client *c); /* rolls back, if there is something */
/* once.c: IDEMPOTENT; the arity has been checked */
void once_ask(struct client *c, const struct cmd_args *a, struct reply *out);

/* script.c */
void script_init(struct node *n);
void script_deinit(struct node *n);
/* Puts a script's or a library's code into the command in c->args, if it names any. */
enum script_resolved {
    SCRIPT_GO,
    SCRIPT_STALL,   /* the client is stalled: the command stays unread, and comes again */
    SCRIPT_ANSWERED /* an error */
};
enum script_resolved script_resolve(struct client *c);
void script_client_gone(struct client *c);
/* A command has been answered: it may have changed what is loaded. */
void script_done(struct node *n, const struct command *cmd);
/* A script came to keys of other groups, or (false) did not though it might have: the next time it
 * begins as a transaction, or does not. */
void script_note_abroad(struct node *n, const struct command *cmd, const struct cmd_args *a,
                        bool abroad);
bool script_goes_abroad(struct node *n, const struct command *cmd, const struct cmd_args *a);

/* txn.c: a transaction over several groups, at its coordinator */
/* Makes a request of a command whose keys are of several groups, or a transaction. */
void txn_begin(struct client *c, const struct command *cmd, const struct cmd_args *a, bool traced);
/* Asks a group's leader, wherever it is; done is called once. The name is a full one. */
void txn_ask(struct node *n, uint32_t group, const char *name, const struct bytes *arg,
             uint32_t count, void (*done)(void *ctx, struct bytes reply), void *ctx);
/* The same with more to say. */
struct txn_question {
    const char *name;
    const struct bytes *arg;
    uint32_t count;
    void (*done)(void *ctx, struct bytes reply);
    void *ctx;
    struct buf *report; /* what the leader's trace says, before done is called; NULL: not traced */
    uint64_t within;    /* ns; 0: as long as any request may take */
};
void txn_ask_for(struct node *n, uint32_t group, const struct txn_question *q);
/* Runs a command of this node's own as a transaction over the groups of its keys, and of its row
 * (txn_row); it has one at least. `a` is copied. done is called once, not before this returns,
 * with the reply; empty: the node stops. */
void txn_run(struct node *n, const char *name, const struct cmd_args *a,
             void (*done)(void *ctx, struct bytes reply), void *ctx);
/* A client's request that was for one group becomes a transaction; nothing of it was done. */
void txn_take_over(struct request *r);
/* Those whose scripts wait end, and nothing of them is done. Returns how many. */
uint32_t txn_kill_scripts(struct node *n);
void txn_turn(struct node *n);
void txn_forget_free(struct node *n);
void txn_list(struct node *n, struct reply *out); /* TXN LIST (txn_list.c) */
/* TXN STATUS (txn_status.c): becomes a request, or answers the error. */
void txn_status(struct client *c, const struct command *cmd, const struct cmd_args *a,
                struct reply *out);
void txn_free_all(struct node *n);

/* txn_leader.c: what others' transactions have locked in a group that is led here */
bool txn_may_run(struct group *g, const struct command *cmd, const struct cmd_args *a);
void txn_ran(struct group *g, const struct command *cmd, const struct cmd_args *a);
void txn_era_begin(struct group *g);
void txn_era_end(struct group *g);
void txn_slow(struct group *g);
/* One that has something here: prepared, and its coordinator is gone or does not go on? */
bool txn_is_in_doubt(struct group *g, const struct lock_owner *o);
int64_t txn_age_ms(const struct node *n, uint64_t start); /* since its first try began */
/* Its node is not there any more, or has been started anew. */
bool txn_coordinator_gone(struct node *n, struct txn_id id);
bool txn_answers_sealed(const struct group *g, const struct command *cmd);
/* Nobody is prepared here, and nothing is locked. If not, none begins for a while. */
bool txn_quiet(struct group *g);

/* cut.c: a cut of the whole database, at its coordinator. Answers r, whose end is its own, with the
 * snapshot's name. job: that has it made for itself; 0: a user. */
void cut_begin(struct node *n, struct request *r, uint64_t ttl_ms, uint64_t job);
void cuts_slow(struct node *n);
void cuts_free_all(struct node *n);
/* Every group lets go of what it keeps for the snapshot, as far as it can be reached: else that
 * goes when its time is over. */
void cut_drop(struct node *n, uint64_t cut);

/* cut_leader.c: at the leader of a group. Before and after one of a cut's commands is evaluated. */
void cut_before(struct group *g);
void cut_after(struct group *g);
bool cut_holds(struct group *g);                       /* replies are held */
bool cut_keeps(struct group *g, const struct hold *h); /* this one is */
void cut_slow(struct group *g);
void cut_era_end(struct group *g);

/* pin.c */
/* A SNAP was applied here: the state as it is now is kept; or (ttl_ms 0) let go of. */
void pin_snap(void *ctx, struct shard *s, uint64_t cut, uint64_t ttl_ms);
void pins_slow(struct group *g); /* those whose time is over */
void pins_drop(struct group *g); /* all of them: the replica leaves */
void pins_free(struct group *g); /* the node ends */
uint32_t pins_of(const struct node *n, uint64_t cut);
void opens_slow(struct node *n);
void opens_free(struct node *n);

/* snapshot.c: SNAPSHOT ... : becomes a request, or answers the error. */
void snapshot_command(struct client *c, const struct command *cmd, const struct cmd_args *a,
                      struct reply *out);
void snapshots_free(struct node *n);

/* trace.c */
struct timeline;
struct timeline *trace_begin(const struct request *r);
void trace_end(struct timeline *t);
void trace_evaluated(struct node *n, struct timeline *t, uint64_t position);
void trace_append(struct group *g, uint64_t position, uint64_t lsn);
void trace_sent(struct group *g, uint64_t last, uint16_t node);
void trace_synced(struct group *g, uint64_t lsn);
void trace_accepted(struct group *g, uint64_t upto, uint16_t node);
void trace_chosen(struct group *g, uint64_t position);
void trace_report(struct node *n, const struct timeline *t, struct buf *out);
void trace_reply(struct request *r, struct bytes wire);
/* Lines of text, each ending in a line feed, and then a reply: as one array. */
void trace_put_lines(struct reply *out, struct bytes text, struct bytes reply);
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
uint64_t info_memory_bytes(struct node *n);                /* resident; 0: not known */
void status_report(struct node *n, struct wire_report *r); /* without what the groups add up to */
void status_json(struct node *n, struct buf *out);
void status_digest(struct node *n, uint32_t group, struct buf *out);

#endif
