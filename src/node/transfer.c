/* Snapshots on their way: from a group's leader to a member that needs what the log has no more.
 * The leader announces one (SNAP_BEGIN, with the header) until it is answered, then sends chunks, a
 * few ahead of what is acknowledged. The target acknowledges a chunk as it comes, as long as few
 * wait there to be taken: so it has some to go on with whatever the way takes, they come while
 * others are ingested, and neither its memory nor the connection, on which all else travels too,
 * fills up. A connection that breaks costs the chunks that were not taken: the leader announces the
 * same snapshot again, and the answer names the last key that is there. The target's marker, wipe
 * and ingests are the shard's (shard/snapshot.h); its acceptor goes on voting meanwhile. A witness
 * is content with the header. */
#include "node/internal.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "paxos/msg.h"
#include "shard/snapshot.h"

#include <errno.h>

#define WINDOW      4           /* chunks under way to one target */
#define QUEUE_BYTES (16u << 20) /* that wait at the target, before it asks for no more */
#define SENDING_MAX 2           /* snapshots that a node sends at once, and takes at once */
#define BEGIN_EVERY (500 * MS)  /* an announcement without an answer is repeated */
#define PROGRESS_MAX                                                                               \
    (30000 * MS) /* without any, a snapshot is given up: its log entries are held back */
#define RETRY_AFTER (1000 * MS)
#define SILENT_AFTER                                                                               \
    (2000 * MS) /* the target asks again: whoever leads now may know nothing of it */

/* ---- the source ---- */

struct sending {
    struct group *group;
    uint16_t node, replica;
    struct snapshot_out *out;
    uint64_t id, position;
    uint64_t sent, acked; /* chunks */
    uint64_t begin_at, answered_at, progress_at, next_at;
    uint64_t began_at, bytes;
    int percent;
    bool answered, reading;
};

/* A leader may not serve yet: who lacks entries that the log has no more cannot accept its barrier,
 * and may be the one whose vote it needs. */
static bool may_send(const struct group *g)
{
    if (MUTANT(MUTANT_SEND_WHEN_SERVING)) return g->leading;
    return g->px && g->shard && paxos_role(g->px) == PAXOS_LEADER;
}

void transfer_want(struct group *g, struct group_peer *gp)
{
    gp->behind = g->transferring = true;
    group_busy(g);
}

void transfer_stop(struct group *g, struct group_peer *gp)
{
    struct sending *s = gp->sending;
    if (!s) return;
    if (g->node->dead)
        snapshot_out_abandon(s->out);
    else
        snapshot_out_free(s->out);
    g->node->sending_count--;
    gp->sending = NULL;
    mem_free(s);
}

/* The entries behind a snapshot that is on its way. */
uint64_t transfer_floor(const struct group *g)
{
    uint64_t floor = UINT64_MAX;
    for (int i = 0; i < GROUP_PEERS && g->transferring; i++)
        if (g->peer[i].sending && g->peer[i].sending->position + 1 < floor)
            floor = g->peer[i].sending->position + 1;
    return floor;
}

bool transfer_progress(struct group *g, uint16_t node, struct transfer_progress *out)
{
    const struct group_peer *gp = g->transferring ? group_peer(g, node) : NULL;
    const struct sending *s = gp ? gp->sending : NULL;
    if (!s) return false;
    *out = (struct transfer_progress){s->percent, s->bytes, (g->node->now - s->began_at) / MS};
    return true;
}

static void say_begin(struct sending *s)
{
    struct node *n = s->group->node;
    struct buf *out = peer_out(n, s->node);
    s->begin_at = n->now + BEGIN_EVERY;
    s->answered = false;
    if (!out) return;
    wire_put_snap(out, WIRE_SNAP_BEGIN,
                  &(struct wire_snap){.group = s->group->id,
                                      .replica = s->replica,
                                      .id = s->id,
                                      .bytes = snapshot_out_header(s->out)});
}

void node_limit_snapshots(struct node *n, uint64_t bytes_per_s)
{
    n->config.snapshot_rate = bytes_per_s;
}

static void pump(struct sending *s);

static void chunk_read(void *ctx, struct bytes chunk, int error)
{
    struct sending *s = ctx;
    struct group *g = s->group;
    struct node *n = g->node;
    node_begin(n);
    s->reading = false;
    struct buf *out = error ? NULL : peer_out(n, s->node);
    if (error) {
        node_log(
            n,
            "group %u: a snapshot for node %u cannot be read from the store; see INFO persistence",
            g->id, s->node);
        struct group_peer *gp = group_peer(g, s->node);
        if (gp) transfer_stop(g, gp);
        return;
    }
    s->sent++;
    s->bytes += chunk.size;
    s->percent = snapshot_out_percent(s->out);
    if (n->config.snapshot_rate)
        s->next_at = (s->next_at > n->now ? s->next_at : n->now) +
                     chunk.size * 1000 * MS / n->config.snapshot_rate;
    if (!out)
        return; /* the connection is gone: announced again, it goes on where the target says */
    wire_put_snap(out, WIRE_SNAP_CHUNK,
                  &(struct wire_snap){.group = g->id,
                                      .replica = s->replica,
                                      .id = s->id,
                                      .sequence = s->sent,
                                      .bytes = chunk});
    pump(s);
}

static void pump(struct sending *s)
{
    struct node *n = s->group->node;
    if (!s->answered || s->reading || s->sent >= s->acked + WINDOW || n->now < s->next_at) return;
    if (snapshot_out_ended(s->out)) return;
    s->reading = true;
    snapshot_out_next(s->out, chunk_read, s);
}

/* To begin at the position of a snapshot from here is to forget all below, which a member that
 * lacks it may have to learn from the witness's log: such a member comes first. */
static bool witness_may_begin(struct group *g)
{
    return g->shard->flushed <= group_held(g, false);
}

static void send_start(struct group *g, struct group_peer *gp)
{
    struct node *n = g->node;
    uint16_t replica = group_replica_on(g, gp->node);
    if (n->sending_count >= SENDING_MAX || gp->replica != replica || n->now < gp->send_at ||
        !peer_out(n, gp->node))
        return;
    if (g->shard->flushed < gp->chosen) { /* of no use to one that had more before it lost it */
        if (n->now >= g->flush_retry_at) (void)group_flush(g);
        return;
    }
    if (n->ring_node[gp->node].witness && !witness_may_begin(g)) return;
    struct snapshot_out *out = snapshot_out_new(g->shard);
    if (!out) return; /* a flush is under way: at the next look */
    if (n->config.snapshot_chunk) snapshot_out_set_chunk(out, n->config.snapshot_chunk);
    struct sending *s = mem_zalloc(sizeof *s);
    s->group = g;
    s->node = gp->node;
    s->replica = replica;
    s->out = out;
    s->id = io_random(n->io) | 1;
    s->position = snapshot_out_position(out);
    s->progress_at = s->began_at = n->now;
    gp->sending = s;
    gp->behind = false;
    n->sending_count++;
    n->stats.snapshots_sent++;
    trace_line("group %u: snapshot of position %llu for node %u", g->id,
               (unsigned long long)s->position, s->node);
    group_tell(g, NODE_REPLICA_SENDS);
    say_begin(s);
}

static void send_look(struct group *g, struct group_peer *gp)
{
    struct node *n = g->node;
    struct sending *s = gp->sending;
    const struct peer *p = n->peers[gp->node];
    if (!s) {
        if (gp->behind) send_start(g, gp);
        return;
    }
    if (n->now > s->progress_at + PROGRESS_MAX || gp->replica != s->replica) {
        transfer_stop(g, gp);
        return;
    }
    bool broken = s->answered && p && p->up_since > s->answered_at;
    if ((!s->answered && n->now >= s->begin_at) || (broken && !s->reading)) say_begin(s);
    pump(s);
}

void transfer_on_ack(struct peer *p, struct bytes payload)
{
    struct node *n = p->node;
    struct wire_snap w;
    struct group *g = wire_get_snap(payload, &w) ? group_named(n, w.group) : NULL;
    struct group_peer *gp = g && g->px ? group_peer(g, p->id) : NULL;
    if (!gp || !may_send(g)) return;
    if (!w.id && !gp->sending) { /* it asks for one: it has nothing that the log could add to */
        transfer_want(g, gp);
        return;
    }
    struct sending *s = gp->sending;
    if (!s || s->id != w.id || w.sequence > s->sent) return;
    if (w.status == WIRE_SNAP_DONE && s->position > gp->chosen) gp->chosen = s->position;
    if (w.status == WIRE_SNAP_DONE || w.status == WIRE_SNAP_REFUSED) {
        gp->send_at = n->now + RETRY_AFTER;
        transfer_stop(g, gp);
        group_set_floor(g);
        return;
    }
    s->progress_at = n->now;
    bool begun = w.status == WIRE_SNAP_BEGUN;
    if (begun == s->answered) return; /* said twice, or of the connection that broke */
    if (begun) {
        if (s->reading || !snapshot_out_seek(s->out, w.bytes)) return; /* announced again shortly */
        s->answered = true;
        s->answered_at = n->now;
        if (w.bytes.size) group_tell(g, NODE_REPLICA_RESUMES);
        s->sent = s->acked = w.sequence;
    }
    if (w.sequence > s->acked) s->acked = w.sequence;
    pump(s);
}

/* ---- the target ---- */

struct chunk {
    struct list link;
    struct buf bytes;
};

struct installing {
    struct group *group;
    struct snapshot_in *in;
    struct buf header;
    uint16_t from;
    uint64_t id;
    uint64_t sequence; /* chunks taken */
    uint64_t heard_at;
    struct list queue; /* chunks that wait for the one under way */
    uint32_t queued;
    size_t queued_bytes;
    bool begun, busy;
};

static void say_ack(struct group *g, uint16_t to, uint64_t id, uint64_t sequence, uint8_t status,
                    struct bytes after)
{
    struct buf *out = peer_out(g->node, to);
    if (!out) return;
    wire_put_snap(out, WIRE_SNAP_ACK,
                  &(struct wire_snap){.group = g->id,
                                      .replica = g->replica,
                                      .id = id,
                                      .sequence = sequence,
                                      .status = status,
                                      .bytes = after});
}

static void queue_empty(struct installing *i)
{
    struct list *l;
    while ((l = list_pop(&i->queue))) {
        struct chunk *c = LIST_OF(l, struct chunk, link);
        buf_deinit(&c->bytes);
        mem_free(c);
    }
    i->queued = 0;
    i->queued_bytes = 0;
}

static void install_end(struct group *g)
{
    struct installing *i = g->installing;
    if (!i) return;
    if (i->in && g->node->dead)
        snapshot_in_abandon(i->in);
    else if (i->in)
        snapshot_in_free(i->in);
    queue_empty(i);
    buf_deinit(&i->header);
    g->node->installing_count--;
    g->installing = NULL;
    mem_free(i);
}

static void install_failed(struct installing *i, int error)
{
    struct group *g = i->group;
    node_log(g->node,
             "group %u: a snapshot from node %u cannot be installed: %s; it is tried again", g->id,
             i->from, strerror(-error));
    say_ack(g, i->from, i->id, i->sequence, WIRE_SNAP_REFUSED, (struct bytes){0});
    install_end(g);
}

static void install_whole(struct installing *i)
{
    struct group *g = i->group;
    struct node *n = g->node;
    struct paxos_config config;
    char why[200] = "";
    if (!group_open_shard(g, why, sizeof why)) {
        node_fatal(n, "%s", why);
        return;
    }
    const struct shard *s = g->shard;
    if (!paxos_config_decode(buf_bytes(&s->config), &config)) {
        node_fatal(
            n, "group %u: the snapshot from node %u has no readable configuration; the node stops",
            g->id, i->from);
        return;
    }
    group_installed(g, &config);
    n->stats.snapshots_taken++;
    trace_line("group %u: snapshot of position %llu is installed", g->id,
               (unsigned long long)s->applied);
    say_ack(g, i->from, i->id, i->sequence, WIRE_SNAP_DONE, (struct bytes){0});
    install_end(g);
}

static void install_finished(void *ctx, int error)
{
    struct installing *i = ctx;
    node_begin(i->group->node);
    i->busy = false;
    if (error)
        install_failed(i, error);
    else
        install_whole(i);
}

/* How much of it came, or was taken, if much waits. */
static void say_goes_on(struct installing *i)
{
    bool room = i->queued_bytes < QUEUE_BYTES;
    say_ack(i->group, i->from, i->id, i->sequence + (room ? i->queued + i->busy : 0),
            WIRE_SNAP_GOES_ON, (struct bytes){0});
}

static void install_next(struct installing *i);

static void chunk_taken(void *ctx, int error)
{
    struct installing *i = ctx;
    node_begin(i->group->node);
    i->busy = false;
    if (error) {
        install_failed(i, error);
        return;
    }
    i->sequence++;
    say_goes_on(i);
    install_next(i);
}

static void install_next(struct installing *i)
{
    struct list *l;
    if (i->busy) return;
    if (snapshot_in_whole(i->in)) {
        i->busy = true;
        snapshot_in_finish(i->in, install_finished, i);
    } else if ((l = list_pop(&i->queue))) {
        struct chunk *c = LIST_OF(l, struct chunk, link);
        i->queued--;
        i->queued_bytes -= c->bytes.size;
        i->busy = true;
        snapshot_in_chunk(i->in, c->bytes, chunk_taken, i);
        mem_free(c);
    }
}

static void install_begun(void *ctx, int error)
{
    struct installing *i = ctx;
    node_begin(i->group->node);
    i->busy = false;
    if (error) {
        install_failed(i, error);
        return;
    }
    i->begun = true;
    if (snapshot_in_whole(i->in)) /* a witness */
        install_next(i);
    else
        say_ack(i->group, i->from, i->id, 0, WIRE_SNAP_BEGUN, (struct bytes){0});
}

/* The shard goes first, once nothing uses it. */
static void install_start(struct installing *i)
{
    struct group *g = i->group;
    struct node *n = g->node;
    if (i->in || i->busy) return;
    if (g->shard && (space_flushing(g->shard->space) || g->expire_fetching)) return;
    if (merge_heirs(g)) return; /* what it took over is written down first */
    shard_free(g->shard);
    g->shard = NULL;
    i->busy = true;
    i->in =
        snapshot_in_new(&(struct snapshot_in_options){.io = n->io,
                                                      .engine = n->config.engine,
                                                      .cache = n->cache,
                                                      .group = g->id,
                                                      .replica = g->replica,
                                                      .witness = n->identity.witness,
                                                      .header = buf_bytes(&i->header),
                                                      .watermark = paxos_chosen(g->px),
                                                      .gather_bytes = 4 * n->config.snapshot_chunk,
                                                      .begun = install_begun,
                                                      .ctx = i});
    if (i->in) return;
    i->busy = false;
    install_failed(i, -EBADMSG);
}

/* An announcement that is the one under way is answered with how far it is. Another one takes its
 * place when nothing of the old one is under way. */
static bool answer_known(struct group *g, uint16_t from, uint64_t id)
{
    struct installing *i = g->installing;
    if (!i) return false;
    if (i->id == id && i->from == from) {
        i->heard_at = g->node->now;
        queue_empty(i);
        if (i->begun && !i->busy)
            say_ack(g, from, id, i->sequence, WIRE_SNAP_BEGUN, snapshot_in_after(i->in));
        return true;
    }
    if (i->busy) return true;
    install_end(g);
    return false;
}

void transfer_on_begin(struct peer *p, struct bytes payload)
{
    struct node *n = p->node;
    struct wire_snap w;
    struct shard_record r;
    struct group *g = wire_get_snap(payload, &w) ? group_named(n, w.group) : NULL;
    if (!g || !g->px || g->dying || w.replica != g->replica || answer_known(g, p->id, w.id)) return;
    if (!snapshot_header_read(g->id, w.bytes, &r)) {
        n->stats.bad_frames++;
        return;
    }
    if (!paxos_installing(g->px)) {
        bool lacks = r.applied > paxos_chosen(g->px);
        if (lacks && n->installing_count < SENDING_MAX) group_install_begin(g);
        if (!lacks) say_ack(g, p->id, w.id, 0, WIRE_SNAP_DONE, (struct bytes){0});
    }
    if (!paxos_installing(g->px) || n->installing_count >= SENDING_MAX) return;
    struct installing *i = mem_zalloc(sizeof *i);
    i->group = g;
    i->from = p->id;
    i->id = w.id;
    i->heard_at = n->now;
    buf_append_bytes(&i->header, w.bytes);
    list_init(&i->queue);
    g->installing = i;
    n->installing_count++;
    group_busy(g);
    install_start(i);
}

void transfer_on_chunk(struct peer *p, struct bytes payload)
{
    struct node *n = p->node;
    struct wire_snap w;
    struct group *g = wire_get_snap(payload, &w) ? group_named(n, w.group) : NULL;
    struct installing *i = g ? g->installing : NULL;
    if (!i || i->id != w.id || i->from != p->id || !i->begun) return;
    i->heard_at = n->now;
    if (w.sequence != i->sequence + i->queued + i->busy + 1) return; /* a gap: it will ask */
    if (i->queued_bytes > QUEUE_BYTES + WINDOW * (size_t)SNAPSHOT_CHUNK_MAX) return; /* unasked */
    struct chunk *c = mem_zalloc(sizeof *c);
    c->bytes = buf_copy(w.bytes);
    list_push(&i->queue, &c->link);
    i->queued++;
    i->queued_bytes += c->bytes.size;
    install_next(i);
    if (i->queued_bytes < QUEUE_BYTES) say_goes_on(i);
}

/* ---- both ---- */

void transfer_end(struct group *g)
{
    for (int i = 0; i < GROUP_PEERS; i++) transfer_stop(g, &g->peer[i]);
    g->transferring = false;
    install_end(g);
}

/* Nothing comes any more: from one that leads no more, soon; else it may just be slow. */
static bool install_is_over(const struct installing *i, uint16_t leader)
{
    uint64_t patience = leader && leader != i->from ? RETRY_AFTER : PROGRESS_MAX;
    return !i->busy && i->group->node->now > i->heard_at + patience;
}

static void install_look(struct group *g)
{
    struct node *n = g->node;
    struct installing *i = g->installing;
    uint16_t leader = group_leader_node(g);
    if (i) {
        install_start(i);
        i = g->installing;
        if (i && install_is_over(i, leader)) install_end(g);
        i = g->installing;
        if (i && n->now < i->heard_at + SILENT_AFTER) return;
    }
    /* Who was sending may lead no more, or have forgotten. One that still sends takes no notice. */
    if (n->now < g->ask_at || !leader || leader == n->identity.node) return;
    g->ask_at = n->now + RETRY_AFTER;
    say_ack(g, leader, 0, 0, WIRE_SNAP_GOES_ON, (struct bytes){0});
}

void transfer_slow(struct group *g)
{
    if (g->installing || !g->shard || g->overtaken) install_look(g);
    if (!g->transferring) return;
    g->transferring = false;
    for (int i = 0; i < GROUP_PEERS; i++) {
        struct group_peer *gp = &g->peer[i];
        if (!may_send(g)) {
            transfer_stop(g, gp);
            gp->behind = false;
        }
        if (gp->node && (gp->behind || gp->sending)) send_look(g, gp);
        g->transferring |= gp->behind || gp->sending;
    }
}
