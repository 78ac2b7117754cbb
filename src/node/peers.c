/* Connections between nodes. Each node dials every other and says what it has to say there; what it
 * hears comes on the connections the others dialled. The first frame each way is a HELLO; a node
 * whose disk is not the one that was recorded is told so, and stops. */
#include "node/internal.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"

#include <stdio.h>

#define PEER_BACKLOG_MAX (64u << 20)
#define HELLO_MAX        4096 /* bytes that a connection may make us keep before it said who it is */
#define BACKOFF_FIRST    (20 * MS)
#define BACKOFF_MAX      (500 * MS)
#define PEER_SILENCE     (1600 * MS)

/* ---- sending ---- */

struct buf *peer_out(struct node *n, uint16_t to)
{
    struct peer *p = to <= n->identity.node_count ? n->peers[to] : NULL;
    if (!p || !p->out || !p->out_ready || io_conn_backlog(p->out) > PEER_BACKLOG_MAX) return NULL;
    return io_conn_out(p->out);
}

void peer_send(struct node *n, uint16_t to, struct bytes frame)
{
    struct buf *out = peer_out(n, to);
    if (out) buf_append_bytes(out, frame);
}

static void say_hello(struct node *n, struct io_conn *c, uint16_t to)
{
    wire_put_hello(io_conn_out(c), &(struct wire_hello){.cluster = n->identity.cluster,
                                                        .node = n->identity.node,
                                                        .disk = n->identity.disk,
                                                        .incarnation = n->identity.incarnation,
                                                        .knows = to ? n->identity.disks[to] : 0,
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
    uint64_t *known = &n->identity.disks[p->id];
    if (*known == h->disk) return true;
    if (*known && !MUTANT(MUTANT_LOST_DISK_REJOIN)) return false;
    *known = h->disk;
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
    for (int i = 1; i <= n->identity.node_count; i++)
        know += i != n->identity.node && n->peers[i]->knows_me;
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

/* NULL: refused (the text was sent). */
static struct peer *hello_check(struct node *n, struct io_conn *c, const struct wire_hello *h)
{
    char text[256];
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
    if (h->node == 0 || h->node > n->identity.node_count || h->node == n->identity.node) {
        wire_put_text(io_conn_out(c), WIRE_REFUSE,
                      "your node id is not one that this cluster could give you");
        return NULL;
    }
    struct peer *p = n->peers[h->node];
    if (!disk_is_known(n, p, h)) {
        snprintf(text, sizeof text,
                 "node %u lost its disk: the cluster knows it by another one. Bring the old data "
                 "directory back; a new one cannot stand in for it",
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
    while (reader_left(&r) && wire_get_state(&r, &s)) {
        if (s.group >= n->group_count) continue;
        struct group *g = &n->groups[s.group];
        if (g->replica) {
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
    if (n->taking_part) group_message(&n->groups[group], bytes_of(r.at, reader_left(&r)), p->id);
}

static void on_heartbeat(struct node *n, struct peer *p, struct bytes payload)
{
    struct lease_heartbeat hb;
    if (!wire_get_heartbeat(payload, &hb) || !n->taking_part) return;
    struct lease_answer a = lease_on_heartbeat(&n->leases, p->id, &hb, io_now(n->io));
    struct buf *out = peer_out(n, p->id);
    if (out) wire_put_answer(out, &a);
}

/* Its word ends only a node that never took part: one that did is not to be talked out of it by
 * whoever now has the other's address. */
static void on_refuse(struct node *n, struct peer *p, struct bytes payload)
{
    char text[300];
    copy_text(text, sizeof text, payload);
    if (n->identity.founded)
        warn(p, text, "refused this node");
    else
        node_fatal(n, "node %u refused this one: %s", p->id, text);
}

/* False: the connection must be closed. */
static bool on_frame(struct node *n, struct peer *p, struct io_conn *c, uint8_t type,
                     struct bytes payload)
{
    struct lease_answer answer;
    struct wire_command command;
    struct wire_reply reply;

    switch (type) {
    case WIRE_HEARTBEAT: on_heartbeat(n, p, payload); return true;
    case WIRE_ANSWER:
        if (n->taking_part && wire_get_answer(payload, &answer))
            lease_on_answer(&n->leases, p->id, &answer, io_now(n->io));
        return true;
    case WIRE_STATE: on_state(n, p, payload); return true;
    case WIRE_PAXOS: on_paxos(n, p, payload); return true;
    case WIRE_COMMAND:
        if (c != p->in || !wire_get_command(payload, &command, &n->scratch)) break;
        request_remote(p, c, &command);
        return true;
    case WIRE_REPLY:
        if (c != p->out || !wire_get_reply(payload, &reply)) break;
        request_replied(p, &reply);
        return true;
    default: break;
    }
    n->stats.bad_frames++;
    return false;
}

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

static struct peer *in_hello(struct node *n, struct io_conn *c, const struct wire_hello *h)
{
    struct peer *p = hello_check(n, c, h);
    if (!p) return NULL;
    if (p->in && p->in != c) {
        request_conn_lost(n, p->in);
        io_conn_set_user(p->in, NULL);
        io_conn_close(p->in, false);
    }
    p->in = c;
    io_conn_set_user(c, p);
    io_conn_set_limit(c, WIRE_HEAD + WIRE_FRAME_MAX);
    say_hello(n, c, p->id);
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
    request_conn_lost(n, c);
    if (p && p->in == c) p->in = NULL;
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

const struct io_handler peer_in_handler = {
    .opened = in_opened, .data = in_data, .closed = in_closed};

/* ---- connections that I dial ---- */

static void out_down(struct peer *p)
{
    struct node *n = p->node;
    p->out = NULL;
    p->out_ready = false;
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
    p->backoff = 0;
    found_if_complete(n);
    for (uint32_t i = 0; i < n->group_count; i++) group_retry(&n->groups[i]);
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

static void send_states(struct node *n, struct buf *out)
{
    struct wire_report report;
    size_t begun = wire_begin(out, WIRE_STATE);
    status_report(n, &report);
    wire_put_report(out, &report);
    for (uint32_t i = 0; i < n->group_count; i++) {
        struct group *g = &n->groups[i];
        if (!g->px) continue;
        wire_put_state(out, &(struct wire_state){g->id, group_durable_chosen(g), g->shard->flushed,
                                                 log_first(n->log, g->id), group_serves(g)});
    }
    wire_end(out, begun);
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
    struct node *n = p->node;
    if (p->in) {
        struct io_conn *c = p->in;
        in_closed(n, c, 0);
        io_conn_set_user(c, NULL);
        io_conn_close(c, false);
    }
    io_conn_close(p->out, false);
    out_down(p);
}

void peers_turn(struct node *n)
{
    bool beat = n->taking_part && n->now >= n->heartbeat_at && may_beat(n);
    bool state = n->now >= n->state_at;
    for (int i = 1; i <= n->identity.node_count; i++) {
        struct peer *p = n->peers[i];
        if (!p) continue;
        if (p->out && !p->out_ready && n->now >= p->dial_at) {
            io_conn_close(p->out, false);
            out_down(p);
        }
        if (p->out_ready && n->now > p->heard_at + PEER_SILENCE) hang_up(p);
        if (!p->out && n->now >= p->dial_at) dial(p);
        struct buf *out = beat || state ? peer_out(n, p->id) : NULL;
        if (!out) continue;
        if (beat) {
            struct lease_heartbeat hb = lease_send(&n->leases, p->id, io_now(n->io));
            wire_put_heartbeat(out, &hb);
        }
        if (state) send_states(n, out);
    }
    if (n->now >= n->heartbeat_at) n->heartbeat_at = n->now + n->config.heartbeat_ms * MS;
    if (n->now >= n->state_at) n->state_at = n->now + 500 * MS;
}

/* ---- life ---- */

void peers_start(struct node *n)
{
    for (uint16_t i = 1; i <= n->identity.node_count; i++) {
        if (i == n->identity.node) continue;
        struct peer *p = mem_zalloc(sizeof *p);
        p->node = n;
        p->id = i;
        snprintf(p->address, sizeof p->address, "%s", n->identity.address[i]);
        list_init(&p->forwarded);
        n->peers[i] = p;
    }
}

void peers_free(struct node *n)
{
    for (int i = 1; i <= NODE_NODES_MAX; i++) {
        struct peer *p = n->peers[i];
        if (!p) continue;
        if (p->out) io_conn_close(p->out, false);
        if (p->in) io_conn_close(p->in, false);
        mem_free(p);
        n->peers[i] = NULL;
    }
}
