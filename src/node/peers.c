/* Connections between nodes. Each node dials every other and says what it has to say there; what it
 * hears comes on the connections the others dialled. The first frame each way is a HELLO; a node
 * whose disk is not the one that was recorded is told so, and stops. */
#include "node/internal.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "node/job.h"

#include <stdio.h>

#define PEER_BACKLOG_MAX (64u << 20)
#define HELLO_MAX        4096 /* bytes that a connection may make us keep before it said who it is */
#define BACKOFF_FIRST    (20 * MS)
#define BACKOFF_MAX      (500 * MS)
#define PEER_SILENCE     (1600 * MS)
#define STATE_FULL       8
#define REMOVED          "REMOVED "  /* begins a refusal that is for good */
#define BATCH_BYTES      (32u << 10) /* rows that are worth a frame before the turn ends */

/* ---- sending ---- */

struct buf *peer_out(struct node *n, uint16_t to)
{
    struct peer *p = to <= NODE_NODES_MAX ? n->peers[to] : NULL;
    if (!p || !p->out || !p->out_ready || io_conn_backlog(p->out) > PEER_BACKLOG_MAX) return NULL;
    return io_conn_out(p->out);
}

void peer_send(struct node *n, uint16_t to, struct bytes frame)
{
    struct buf *out = peer_out(n, to);
    if (out) buf_append_bytes(out, frame);
}

/* Clients' commands and the replies to them are many and small: a frame takes all of a turn. */
static void batch_send(struct io_conn *c, uint8_t type, struct buf *rows)
{
    if (rows->size == 0) return;
    struct buf *out = io_conn_out(c);
    size_t begun = wire_begin(out, type);
    buf_append_bytes(out, buf_bytes(rows));
    wire_end(out, begun);
    buf_clear(rows);
    if (rows->capacity > 2 * BATCH_BYTES) buf_deinit(rows);
}

void peer_put_command(struct peer *p, const struct wire_command *c)
{
    wire_put_command(&p->commands, c);
    if (p->commands.size >= BATCH_BYTES) batch_send(p->out, WIRE_COMMAND, &p->commands);
}

void peer_put_reply(struct peer *p, uint64_t id, enum wire_status status, struct bytes reply)
{
    wire_put_reply(&p->replies, &(struct wire_reply){id, (uint8_t)status, reply});
    if (p->replies.size >= BATCH_BYTES) batch_send(p->in, WIRE_REPLY, &p->replies);
}

void peers_flush(struct node *n)
{
    for (int i = 1; i <= n->node_max; i++) {
        struct peer *p = n->peers[i];
        if (!p) continue;
        batch_send(p->out, WIRE_COMMAND, &p->commands);
        batch_send(p->in, WIRE_REPLY, &p->replies);
    }
}

/* The disk that node `id` is known by; 0: none yet. */
static uint64_t disk_of(const struct node *n, uint16_t id)
{
    if (id > NODE_NODES_MAX) return 0;
    bool mapped = n->ring_node[id].disk && !MUTANT(MUTANT_LOST_DISK_REJOIN);
    if (mapped) return n->ring_node[id].disk;
    return id <= n->identity.node_count ? n->identity.disks[id] : 0;
}

static void say_hello(struct node *n, struct io_conn *c, uint16_t to)
{
    wire_put_hello(io_conn_out(c), &(struct wire_hello){.cluster = n->identity.cluster,
                                                        .node = n->identity.node,
                                                        .disk = n->identity.disk,
                                                        .incarnation = n->identity.incarnation,
                                                        .knows = disk_of(n, to),
                                                        .client = bytes_str(n->listen),
                                                        .http = bytes_str(n->http),
                                                        .zone = bytes_str(n->zone)});
}

/* ---- hello ---- */

static void copy_text(char *to, size_t size, struct bytes from)
{
    size_t count = from.size < size - 1 ? from.size : size - 1;
    if (count) memcpy(to, from.data, count);
    to[count] = 0;
}

static void warn(struct peer *p, const char *text, const char *who)
{
    struct node *n = p->node;
    if (p->warned_at && n->now - p->warned_at < 10000 * MS) return;
    p->warned_at = n->now;
    node_log(n, "node %u at %s: %s", p->id, who, text);
}

/* The disk that a node had when this one first met it is the only one whose promises count
 * (PROTOCOLS 0.4). */
static bool disk_is_known(struct node *n, struct peer *p, const struct wire_hello *h)
{
    uint64_t known = disk_of(n, p->id);
    if (known == h->disk) return true;
    if (known && !MUTANT(MUTANT_LOST_DISK_REJOIN)) return false;
    if (p->id > n->identity.node_count) return true; /* its row will say it */
    n->identity.disks[p->id] = h->disk;
    int error = identity_save(n->io, &n->identity);
    if (error) node_fatal(n, "cannot save the identity file: %s; the node stops", strerror(-error));
    return true;
}

/* A fresh disk takes part only once a majority of the other founding nodes (of three: both) has
 * recorded it. Two lives of one node with different disks would need two such majorities; these
 * share a node, and it refuses the second (disk_is_known). Otherwise a node that lost its disk
 * could outvote what it had accepted, together with one that never met its earlier self. */
static bool enough_know_me(const struct node *n)
{
    int others = n->identity.node_count - 1, know = 0;
    for (int i = 1; i <= n->identity.node_count; i++) know += n->peers[i] && n->peers[i]->knows_me;
    return know > others / 2;
}

static void found_if_complete(struct node *n)
{
    if (n->identity.founded || !enough_know_me(n)) return;
    n->identity.founded = true;
    int error = identity_save(n->io, &n->identity);
    if (error) {
        node_fatal(n, "cannot save the identity file: %s; the node stops", strerror(-error));
        return;
    }
    node_log(n, "cluster of %u nodes founded; this is node %u", n->identity.node_count,
             n->identity.node);
    node_take_part(n);
}

/* The disk that this id is known by was let go of for good: its node was removed, or given up when
 * another disk joined at its address. */
static bool is_removed(struct node *n, const struct wire_hello *h, char *text, size_t size)
{
    const struct ring_node *row = &n->ring_node[h->node];
    uint16_t heir = ring_heir(n, h->node);
    if (row->disk != h->disk || (row->state != RING_NODE_REMOVED && !heir)) return false;
    if (heir)
        snprintf(text, size,
                 REMOVED "node %u was given up when node %u joined at its address with another "
                         "data directory; this old one is not needed any more",
                 h->node, heir);
    else
        snprintf(text, size,
                 REMOVED "node %u was removed from the cluster; its data directory is not needed "
                         "any more",
                 h->node);
    return true;
}

/* It may not know it, and may still hold what it was to drop. It believes the map, from a peer that
 * it knows. */
static void say_removed(struct node *n, struct io_conn *c, uint16_t id, const char *text)
{
    struct buf *out = io_conn_out(c);
    say_hello(n, c, id);
    size_t begun = wire_begin(out, WIRE_RING);
    ring_put_rows(n, 0, out);
    wire_end(out, begun);
    wire_put_text(out, WIRE_REFUSE, text);
}

static struct peer *peer_new(struct node *n, uint16_t id);

/* A node that the map here has not: it joined while this one was away, and may be the only one left
 * that both lives and can tell it the map. One that dials is believed that much; by the map's rows
 * its address is known, or that it was removed. */
static struct peer *stranger(struct node *n, uint16_t id)
{
    if (n->ring_node[id].id) return NULL;
    return peer_new(n, id);
}

/* NULL: refused (the text was sent). */
static struct peer *hello_check(struct node *n, struct io_conn *c, const struct wire_hello *h)
{
    char text[256];
    if (!n->identity.node) return NULL; /* of no cluster yet; whoever dials is ahead of us */
    if (h->cluster != n->identity.cluster) {
        snprintf(text, sizeof text,
                 "this is cluster %016llx, you are of %016llx: were all nodes started with the "
                 "same --found list?",
                 (unsigned long long)n->identity.cluster, (unsigned long long)h->cluster);
        wire_put_text(io_conn_out(c), WIRE_REFUSE, text);
        node_log(n, "refused %s: it is of another cluster (%016llx; this is %016llx)", c->peer,
                 (unsigned long long)h->cluster, (unsigned long long)n->identity.cluster);
        return NULL;
    }
    if (h->node == 0 || h->node > NODE_NODES_MAX || h->node == n->identity.node) {
        wire_put_text(io_conn_out(c), WIRE_REFUSE,
                      "your node id is not one that this cluster could give you");
        return NULL;
    }
    struct peer *p = n->peers[h->node];
    if (is_removed(n, h, text, sizeof text)) {
        say_removed(n, c, h->node, text);
        return NULL;
    }
    if (!p && !c->user) p = stranger(n, h->node);
    if (!p) return NULL; /* it was removed; or not the one that was dialled */
    if (!disk_is_known(n, p, h)) {
        snprintf(text, sizeof text,
                 "node %u lost its disk: the cluster knows it by another one. Bring the old data "
                 "directory back, or start the empty one with --join to rebuild it as a new node",
                 p->id);
        wire_put_text(io_conn_out(c), WIRE_REFUSE, text);
        warn(p, "refused: it came with a new disk under its old id", c->peer);
        return NULL;
    }
    if (h->incarnation < p->incarnation) {
        warn(p,
             "refused: an earlier life of it is already known to have ended (two processes on one "
             "data directory?)",
             c->peer);
        return NULL;
    }
    if (h->knows == n->identity.disk) p->knows_me = true;
    p->incarnation = h->incarnation;
    copy_text(p->client, sizeof p->client, h->client);
    copy_text(p->http, sizeof p->http, h->http);
    copy_text(p->zone, sizeof p->zone, h->zone);
    return p;
}

/* ---- what comes on either connection ---- */

static void on_state(struct node *n, struct peer *p, struct bytes payload)
{
    struct reader r = reader_of(payload);
    struct wire_state s;
    wire_get_report(&r, &p->report);
    p->report_at = n->now;
    if (p->report.full) p->full_at = n->now;
    if (p->report.echo > p->said_at && p->report.echo <= n->now) p->said_at = p->report.echo;
    ring_heard(p, p->report.epoch);
    while (reader_left(&r) && wire_get_state(&r, &s)) {
        if (s.group >= n->group_count) continue;
        struct group *g = n->group[s.group];
        if (s.leads) driver_heard(n, p->id, &s);
        if (g->px) {
            group_peer_state(g, p->id, &s);
        } else if (s.leads && g->leader_hint != p->id) { /* no replica here: this is how to know */
            g->leader_hint = p->id;
            n->leader_epoch++;
            group_retry(g);
        }
    }
}

static void on_paxos(struct node *n, struct peer *p, struct bytes payload)
{
    struct reader r = reader_of(payload);
    uint32_t group = reader_u32(&r);
    if (r.bad || group >= n->group_count) {
        n->stats.bad_frames++;
        return;
    }
    if (n->taking_part) group_message(n->group[group], bytes_of(r.at, reader_left(&r)), p->id);
}

static void on_heartbeat(struct node *n, struct peer *p, struct bytes payload)
{
    struct lease_heartbeat hb;
    if (!wire_get_heartbeat(payload, &hb) || !n->taking_part) return;
    p->beat_at = hb.t_send;
    struct lease_answer a = lease_on_heartbeat(&n->leases, p->id, &hb, io_now(n->io));
    struct buf *out = peer_out(n, p->id);
    if (out) wire_put_answer(out, &a);
}

/* Its word ends only a node that never took part, or one that was removed: that is said of the disk
 * alone that this node has, so never by another cluster that has the address now. What was removed
 * while it was away may still hold replicas: they were rebuilt elsewhere first. */
static void on_refuse(struct node *n, struct peer *p, struct bytes payload)
{
    char text[300];
    copy_text(text, sizeof text, payload);
    if (strncmp(text, REMOVED, strlen(REMOVED)) == 0)
        node_fatal(n, "%s", text + strlen(REMOVED));
    else if (n->identity.founded)
        warn(p, text, "refused this node");
    else
        node_fatal(n, "node %u refused this one: %s", p->id, text);
}

static bool on_commands(struct node *n, struct peer *p, struct io_conn *c, struct bytes payload)
{
    struct reader r = reader_of(payload);
    struct wire_command command;
    while (reader_left(&r) && c == p->in && !n->dead) {
        if (!wire_get_command(&r, &command, &n->scratch)) return false;
        request_remote(p, c, &command);
    }
    return c == p->in;
}

static bool on_replies(struct peer *p, struct io_conn *c, struct bytes payload)
{
    struct reader r = reader_of(payload);
    struct wire_reply reply;
    while (reader_left(&r) && c == p->out) {
        if (!wire_get_reply(&r, &reply)) return false;
        request_replied(p, &reply);
    }
    return c == p->out;
}

/* False: the connection must be closed. */
static bool on_frame(struct node *n, struct peer *p, struct io_conn *c, uint8_t type,
                     struct bytes payload)
{
    struct lease_answer answer;

    switch (type) {
    case WIRE_HEARTBEAT: on_heartbeat(n, p, payload); return true;
    case WIRE_ANSWER:
        if (n->taking_part && wire_get_answer(payload, &answer))
            lease_on_answer(&n->leases, p->id, &answer, io_now(n->io));
        return true;
    case WIRE_STATE: on_state(n, p, payload); return true;
    case WIRE_PAXOS: on_paxos(n, p, payload); return true;
    case WIRE_RING_ASK: ring_on_ask(p, payload); return true;
    case WIRE_RING: ring_on_rows(p, payload); return true;
    case WIRE_CREATE: replica_on_create(p, payload); return true;
    case WIRE_SNAP_BEGIN: transfer_on_begin(p, payload); return true;
    case WIRE_SNAP_CHUNK: transfer_on_chunk(p, payload); return true;
    case WIRE_SNAP_ACK: transfer_on_ack(p, payload); return true;
    case WIRE_JOB: job_on_frame(p, payload); return true;
    case WIRE_COMMAND:
        if (!on_commands(n, p, c, payload)) break;
        return true;
    case WIRE_REPLY:
        if (!on_replies(p, c, payload)) break;
        return true;
    case WIRE_REFUSE: on_refuse(n, p, payload); return false;
    default: break;
    }
    n->stats.bad_frames++;
    return false;
}

static struct peer *in_hello(struct node *n, struct io_conn *c, const struct wire_hello *h);

/* Takes whole frames off `in`. hello: called for a HELLO; returns the peer, or NULL to close. */
static size_t take_frames(struct node *n, struct io_conn *c, struct bytes in, struct peer **peer,
                          struct peer *(*hello)(struct node *, struct io_conn *,
                                                const struct wire_hello *))
{
    size_t done = 0;
    while (done < in.size && !n->dead) {
        struct bytes rest = bytes_of(in.data + done, in.size - done), payload;
        size_t size = wire_frame_size(rest);
        uint8_t type;
        if (size == 0) break;
        bool good = size != SIZE_MAX && wire_open(bytes_of(rest.data, size), &type, &payload);
        if (!good) n->stats.bad_frames++;
        if (good && type == WIRE_HELLO && !*peer) {
            struct wire_hello h;
            *peer = wire_get_hello(payload, &h) ? hello(n, c, &h) : NULL;
            good = *peer != NULL;
        } else if (good && *peer) {
            good = on_frame(n, *peer, c, type, payload);
        } else if (good && type == WIRE_JOIN && hello == in_hello) {
            join_on_request(n, c, payload);
        } else if (good && type == WIRE_REFUSE && c->user) {
            on_refuse(n, c->user, payload);
            good = false;
        } else {
            good = false;
        }
        if (!good) return SIZE_MAX;
        done += size;
    }
    return done;
}

/* ---- connections that others dialled ---- */

/* Who asked on it must not be answered on another one: there the numbers may mean other commands.
 */
static void in_lost(struct peer *p)
{
    request_conn_lost(p->node, p->in);
    buf_clear(&p->replies);
}

static struct peer *in_hello(struct node *n, struct io_conn *c, const struct wire_hello *h)
{
    struct peer *p = hello_check(n, c, h);
    if (!p) return NULL;
    if (p->in && p->in != c) {
        in_lost(p);
        io_conn_set_user(p->in, NULL);
        io_conn_close(p->in, false);
    }
    p->in = c;
    io_conn_set_user(c, p);
    io_conn_set_limit(c, WIRE_HEAD + WIRE_FRAME_MAX);
    say_hello(n, c, p->id);
    if (!p->address[0]) ring_put_ask(n, io_conn_out(c));
    found_if_complete(n);
    return p;
}

static void in_opened(void *ctx, struct io_conn *c)
{
    (void)ctx;
    io_conn_set_limit(c, HELLO_MAX);
}

static void in_closed(void *ctx, struct io_conn *c, int error)
{
    struct node *n = ctx;
    struct peer *p = c->user;
    (void)error;
    node_begin(n);
    join_conn_lost(n, c);
    if (!p || p->in != c) return;
    in_lost(p);
    p->in = NULL;
}

static size_t in_data(void *ctx, struct io_conn *c, struct bytes in)
{
    struct node *n = ctx;
    struct peer *p = c->user;
    node_begin(n);
    size_t done = take_frames(n, c, in, &p, in_hello);
    if (p) p->heard_at = n->now;
    if (done != SIZE_MAX) return done;
    if (!n->dead) {
        in_closed(n, c, 0);
        io_conn_close(c, true);
    }
    return in.size;
}

static void in_hang_up(struct peer *p)
{
    struct io_conn *c = p->in;
    if (!c) return;
    in_closed(p->node, c, 0);
    io_conn_set_user(c, NULL);
    io_conn_close(c, false);
}

const struct io_handler peer_in_handler = {
    .opened = in_opened, .data = in_data, .closed = in_closed};

/* ---- connections that I dial ---- */

static void out_down(struct peer *p)
{
    struct node *n = p->node;
    p->out = NULL;
    p->out_ready = false;
    buf_clear(&p->commands);
    p->backoff = p->backoff ? p->backoff * 2 : BACKOFF_FIRST;
    if (p->backoff > BACKOFF_MAX) p->backoff = BACKOFF_MAX;
    p->dial_at = n->now + p->backoff / 2 + io_random(n->io) % (p->backoff / 2);
    request_peer_lost(p);
}

static void out_opened(void *ctx, struct io_conn *c)
{
    (void)ctx;
    io_conn_set_limit(c, WIRE_HEAD + WIRE_FRAME_MAX);
}

static struct peer *out_hello(struct node *n, struct io_conn *c, const struct wire_hello *h)
{
    struct peer *p = hello_check(n, c, h), *dialled = c->user;
    if (!p || p != dialled) return NULL;
    p->out_ready = true;
    p->up_since = p->heard_at = n->now;
    p->told_at = 0;
    n->state_at = 0;
    p->backoff = 0;
    found_if_complete(n);
    for (uint32_t i = 0; i < n->group_count; i++) group_retry(n->group[i]);
    return p;
}

static size_t out_data(void *ctx, struct io_conn *c, struct bytes in)
{
    struct peer *p = ctx, *at = p->out_ready ? p : NULL;
    struct node *n = p->node;
    node_begin(n);
    size_t done = take_frames(n, c, in, &at, out_hello);
    if (done != SIZE_MAX) return done;
    if (!n->dead) {
        io_conn_close(c, false);
        out_down(p);
    }
    return in.size;
}

static void out_closed(void *ctx, struct io_conn *c, int error)
{
    struct peer *p = ctx;
    (void)c;
    (void)error;
    node_begin(p->node);
    out_down(p);
}

static const struct io_handler peer_out_handler = {
    .opened = out_opened, .data = out_data, .closed = out_closed};

static void dial(struct peer *p)
{
    struct node *n = p->node;
    p->out = io_connect(n->io, p->address, &peer_out_handler, p);
    if (!p->out) {
        out_down(p);
        return;
    }
    io_conn_set_user(p->out, p);
    p->dial_at = n->now + 1000 * MS; /* a connect that hangs is given up (below) */
    say_hello(n, p->out, p->id);
}

/* ---- the turn ---- */

/* Compared as bytes, so it is zeroed first. */
static void state_of(struct group *g, struct wire_state *s)
{
    memset(s, 0, sizeof *s);
    s->group = g->id;
    if (!g->px) return;
    s->replica = g->replica;
    s->chosen = group_durable_chosen(g);
    s->flushed = group_flushed(g);
    s->log_first = log_first(g->node->log, g->id);
    s->leads = group_serves(g);
    if (!g->shard) return;
    s->applied = g->shard->applied;
    s->keys = (uint64_t)g->shard->keys;
    s->load = g->load_rate;
}

/* It was told nothing on its connection yet, and so is told all at once. */
static bool is_fresh(const struct peer *p)
{
    return p->out_ready && p->told_at < p->up_since;
}

/* How far the groups here are. A row that says what the last one did is left out, but for a round
 * in STATE_FULL, and in `all`, where some peer needs it. A group to which nothing happened is not
 * even looked at. */
static bool states_look(struct node *n, struct buf *all, struct buf *changed)
{
    bool full = n->state_round++ % STATE_FULL == 0;
    for (uint32_t i = 0; i < n->group_count; i++) {
        struct group *g = n->group[i];
        struct wire_state s;
        if (!g->news && !full && !all) continue;
        if (!g->px && !g->said.replica) continue;
        s = g->said;
        if (g->news) state_of(g, &s);
        g->news = g->busy || g->hint_next; /* more to come, or on its way to the disk */
        if (full || memcmp(&s, &g->said, sizeof s) != 0) wire_put_state(changed, &s);
        if (all) wire_put_state(all, &s);
        n->said_keys += s.keys - g->said.keys;
        n->said_leads += (uint64_t)s.leads - g->said.leads;
        g->said = s;
    }
    return full;
}

static void send_states(struct node *n)
{
    struct wire_report report;
    struct buf all = {0}, changed = {0};
    status_report(n, &report);
    bool fresh = false;
    for (int i = 1; i <= n->node_max; i++) fresh |= n->peers[i] && is_fresh(n->peers[i]);
    bool full = states_look(n, fresh ? &all : NULL, &changed);
    report.keys = n->said_keys;
    report.leads = n->said_leads;
    for (int i = 1; i <= n->node_max; i++) {
        struct peer *p = n->peers[i];
        struct buf *out = p ? peer_out(n, p->id) : NULL;
        if (!out) continue;
        size_t begun = wire_begin(out, WIRE_STATE);
        bool known = !is_fresh(p);
        report.echo = p->beat_at;
        report.full = full || !known;
        wire_put_report(out, &report);
        buf_append_bytes(out, known ? buf_bytes(&changed) : buf_bytes(&all));
        wire_end(out, begun);
        p->told_at = n->now;
    }
    buf_deinit(&all), buf_deinit(&changed);
}

static bool may_beat(const struct node *n)
{
    return log_write_age(n->log, n->now) < n->config.lease_ms * MS;
}

/* A peer says something every half second. One that is silent for longer is paused, or cut off: TCP
 * would keep its connections for minutes, and what is cut now would stay in retransmission back-off
 * long after the cut has healed. */
static void hang_up(struct peer *p)
{
    in_hang_up(p);
    io_conn_close(p->out, false);
    out_down(p);
}

static void peer_free(struct peer *p);

void peers_turn(struct node *n)
{
    bool beat = n->taking_part && n->now >= n->heartbeat_at && may_beat(n);
    bool state = n->now >= n->state_at;
    for (int i = 1; i <= n->node_max; i++) {
        struct peer *p = n->peers[i];
        if (p && p->removed) peer_free(p), p = NULL;
        if (!p) continue;
        if (p->out && !p->out_ready && n->now >= p->dial_at) {
            io_conn_close(p->out, false);
            out_down(p);
        }
        if (p->out_ready && n->now > p->heard_at + PEER_SILENCE) hang_up(p);
        if (!p->out && p->address[0] && n->now >= p->dial_at && !ring_heir(n, p->id)) dial(p);
        struct buf *out = beat ? peer_out(n, p->id) : NULL;
        if (!out) continue;
        struct lease_heartbeat hb = lease_send(&n->leases, p->id, io_now(n->io));
        wire_put_heartbeat(out, &hb);
    }
    if (state) send_states(n);
    if (n->now >= n->heartbeat_at) n->heartbeat_at = n->now + n->config.heartbeat_ms * MS;
    if (n->now >= n->state_at) n->state_at = n->now + 500 * MS;
}

/* A group at rest is concerned by these alone. Of nodes, not peers: one that was removed falls
 * silent too. */
bool peers_changed(struct node *n)
{
    bool changed = false;
    for (uint16_t i = 1; i <= n->node_max; i++) {
        const struct lease_peer *l = &n->leases.peer[i];
        struct node_seen *seen = &n->seen[i],
                         now = {.silent = lease_suspects(&n->leases, i, n->config.election_ms * MS,
                                                         n->started_at, n->now),
                                .connected = n->peers[i] && n->peers[i]->out_ready,
                                .supports = l->supported_until > n->now,
                                .mark = l->supported_mark};
        changed |= now.silent != seen->silent || now.connected != seen->connected ||
                   now.supports != seen->supports || now.mark != seen->mark;
        *seen = now;
    }
    return changed;
}

/* ---- life ---- */

static void peer_end(struct peer *p)
{
    p->node->peers[p->id] = NULL;
    buf_deinit(&p->commands);
    buf_deinit(&p->replies);
    mem_free(p);
}

static void peer_free(struct peer *p)
{
    in_hang_up(p);
    if (p->out) io_conn_close(p->out, false);
    request_peer_lost(p);
    peer_end(p);
}

static struct peer *peer_new(struct node *n, uint16_t id)
{
    struct peer *p = mem_zalloc(sizeof *p);
    p->node = n;
    p->id = id;
    list_init(&p->forwarded);
    n->peers[id] = p;
    if (id > n->node_max) n->node_max = id;
    return p;
}

/* A row of the map is new or has changed. Who was removed is let go of at the next turn: this may
 * be called from inside one of its frames. */
void peer_update(struct node *n, uint16_t id)
{
    const struct ring_node *row = &n->ring_node[id];
    struct peer *p = n->peers[id];
    if (id > n->node_max) n->node_max = id;
    if (!n->identity.node) return; /* node_identified comes here again */
    if (id == n->identity.node) {
        if (row->disk != n->identity.disk) return;
        if (row->state == RING_NODE_REMOVED)
            node_fatal(n,
                       "this node was removed from the cluster; its data directory is not needed "
                       "any more");
        else if (row->witness != n->identity.witness)
            node_fatal(n, "the cluster takes this witness for a node that holds data: its other "
                          "nodes know no witnesses, and must be of this version");
        return;
    }
    if (row->state == RING_NODE_REMOVED) {
        if (p) p->removed = true;
        return;
    }
    if (!p) p = peer_new(n, id);
    if (strcmp(p->address, row->peer) == 0) return;
    snprintf(p->address, sizeof p->address, "%s", row->peer);
    p->dial_at = 0;
    if (p->out) {
        io_conn_close(p->out, false);
        out_down(p);
    }
}

void peers_start(struct node *n)
{
    n->node_max = n->identity.node > n->node_max ? n->identity.node : n->node_max;
    for (uint16_t i = 1; i <= n->identity.node_count; i++) {
        if (i == n->identity.node || n->peers[i]) continue;
        struct peer *p = peer_new(n, i);
        snprintf(p->address, sizeof p->address, "%s", n->identity.address[i]);
    }
    for (uint16_t i = 1; i <= RING_NODES_MAX; i++)
        if (n->ring_node[i].id) peer_update(n, i);
}

void peers_free(struct node *n)
{
    for (int i = 1; i <= NODE_NODES_MAX; i++) {
        struct peer *p = n->peers[i];
        if (!p) continue;
        if (p->out) io_conn_close(p->out, false);
        if (p->in) io_conn_close(p->in, false);
        peer_end(p);
    }
}
