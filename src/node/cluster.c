/* CLUSTER: the view that Redis Cluster's clients and tools have of a cluster. A node is the master
 * of the slots of the groups it leads, and a replica of the others; what clients send to the wrong
 * node is forwarded, so an old map costs a hop and no error. */
#include "node/internal.h"
#include "base/hash.h"
#include "base/mem.h"
#include "ring/slot.h"

#include <stdio.h>
#include <stdlib.h>

struct place {
    char id[41], host[64];
    int64_t port, bus;
    bool up;
};

static void place_split(const char *address, char *host, size_t size, int64_t *port)
{
    const char *colon = strrchr(address, ':');
    size_t count = colon ? (size_t)(colon - address) : strlen(address);
    if (count >= size) count = size - 1;
    memcpy(host, address, count);
    host[count] = 0;
    *port = colon ? atoi(colon + 1) : 0;
}

/* How node `id` is shown: a name of 40 hex digits, its client address, whether it was heard of
 * lately. */
static struct place place_of(struct node *n, uint16_t id)
{
    struct place p = {.up = true};
    char peer_host[64];
    struct peer *peer = n->peers[id];
    for (int i = 0; i < 40; i++)
        p.id[i] = "0123456789abcdef"[hash_mix(n->identity.cluster ^ (uint64_t)(id * 64 + i)) & 15];
    const char *client = !peer             ? n->listen
                         : peer->client[0] ? peer->client
                                           : n->ring_node[id].client;
    place_split(n->ring_node[id].peer, peer_host, sizeof peer_host, &p.bus);
    place_split(client, p.host, sizeof p.host, &p.port);
    if (!client[0]) { /* never met: the usual distance between the two ports */
        memcpy(p.host, peer_host, sizeof p.host);
        p.port = p.bus - 10000;
    }
    p.up = ring_node_heard(n, id);
    return p;
}

/* Nodes that clients may be told of: those that are, or were lately, part of it. */
static bool is_shown(const struct node *n, uint16_t id)
{
    bool witness = n->ring_node[id].witness && id != n->identity.node; /* nothing to ask it for */
    return ring_shows(n, id) && n->ring_node[id].state != RING_NODE_GONE && !witness;
}

static uint16_t leader_or_first(const struct group *g)
{
    uint16_t leader = group_leader_node(g);
    return leader ? leader : g->config.member[0].node;
}

/* Runs of slots that are one group's, or one leading node's, in the order of slots: every slot is
 * in one. Returns how many; `each` may be NULL. */
typedef void range_each(void *ctx, struct group *g, int lo, int hi);

static size_t ranges_of(struct node *n, bool by_node, uint16_t node, range_each *each, void *ctx)
{
    size_t count = 0;
    if (!n->group_count) return 0; /* not yet of any cluster */
    for (int lo = 0, hi; lo < SLOT_COUNT; lo = hi) {
        struct group *g = n->group[n->slot_group[lo]];
        uint16_t leader = leader_or_first(g);
        for (hi = lo + 1; hi < SLOT_COUNT; hi++) {
            const struct group *next = n->group[n->slot_group[hi]];
            if (by_node ? leader_or_first(next) != leader : next != g) break;
        }
        if (by_node && leader != node) continue;
        count++;
        if (each) each(ctx, g, lo, hi - 1);
    }
    return count;
}

static void count_lost(void *ctx, struct group *g, int lo, int hi)
{
    uint32_t *lost = ctx;
    struct node *n = g->node;
    uint16_t leader = group_leader_node(g);
    bool self = leader == n->identity.node;
    if (leader && (self ? g->leading : ring_node_heard(n, leader))) return;
    lost[0]++;
    lost[1] += (uint32_t)(hi - lo + 1);
}

static void cluster_info(struct node *n, struct reply *out)
{
    struct buf text = {0};
    uint32_t lost[2] = {0}, nodes = 0, masters = 0; /* lost: groups, slots */
    size_t groups = ranges_of(n, false, 0, count_lost, lost);
    int assigned = groups ? SLOT_COUNT : 0;
    for (uint16_t i = 1; i <= n->node_max; i++) {
        nodes += is_shown(n, i);
        masters += is_shown(n, i) && ranges_of(n, true, i, NULL, NULL);
    }
    buf_printf(&text,
               "cluster_enabled:%d\r\ncluster_state:%s\r\ncluster_slots_assigned:%d\r\ncluster_"
               "slots_ok:%u\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:%u\r\n",
               nodes > 1, lost[0] || !groups ? "fail" : "ok", assigned,
               (uint32_t)assigned - lost[1], lost[1]);
    buf_printf(
        &text,
        "cluster_known_nodes:%u\r\ncluster_size:%u\r\ncluster_current_epoch:%llu\r\ncluster_my_"
        "epoch:%llu\r\ncluster_groups:%zu\r\ncluster_groups_without_leader:%u\r\n",
        nodes, masters,
        (unsigned long long)(n->ring.epoch > n->node_max ? n->ring.epoch : n->node_max),
        (unsigned long long)n->identity.node, groups, lost[0]);
    reply_verbatim(out, buf_bytes(&text));
    buf_deinit(&text);
}

static void reply_place(struct node *n, uint16_t id, struct reply *out)
{
    struct place p = place_of(n, id);
    reply_array(out, 4);
    reply_bulk_str(out, p.host);
    reply_i64(out, p.port);
    reply_bulk_str(out, p.id);
    reply_array(out, 0);
}

static void reply_range(void *ctx, struct group *g, int lo, int hi)
{
    struct reply *out = ctx;
    uint16_t leader = leader_or_first(g);
    size_t others = 0;
    for (int m = 0; m < g->config.count; m++)
        others += g->config.member[m].node != leader && g->config.member[m].role == PAXOS_VOTER;
    reply_array(out, 3 + others);
    reply_i64(out, lo);
    reply_i64(out, hi);
    reply_place(g->node, leader, out);
    for (int m = 0; m < g->config.count; m++)
        if (g->config.member[m].node != leader && g->config.member[m].role == PAXOS_VOTER)
            reply_place(g->node, g->config.member[m].node, out);
}

static void cluster_slots(struct node *n, struct reply *out)
{
    reply_array(out, ranges_of(n, false, 0, NULL, NULL));
    ranges_of(n, false, 0, reply_range, out);
}

static void range_text(void *ctx, struct group *g, int lo, int hi)
{
    (void)g;
    if (lo == hi)
        buf_printf(ctx, " %d", lo);
    else
        buf_printf(ctx, " %d-%d", lo, hi);
}

static void cluster_node_line(struct node *n, uint16_t id, struct buf *text)
{
    struct place p = place_of(n, id);
    buf_printf(text, "%s %s:%lld@%lld %smaster%s - 0 %lld %u %s", p.id, p.host, (long long)p.port,
               (long long)p.bus, id == n->identity.node ? "myself," : "", p.up ? "" : ",fail",
               (long long)n->wall_ms, id, p.up ? "connected" : "disconnected");
    ranges_of(n, true, id, range_text, text);
    buf_append_bytes(text, BYTES("\n"));
}

static void cluster_nodes(struct node *n, struct reply *out)
{
    struct buf text = {0};
    for (uint16_t id = 1; id <= n->node_max; id++)
        if (is_shown(n, id)) cluster_node_line(n, id, &text);
    reply_verbatim(out, buf_bytes(&text));
    buf_deinit(&text);
}

static void range_pair(void *ctx, struct group *g, int lo, int hi)
{
    (void)g;
    reply_i64(ctx, lo);
    reply_i64(ctx, hi);
}

static void shard_node(struct node *n, uint16_t id, bool master, struct reply *out)
{
    struct place p = place_of(n, id);
    reply_map(out, 7);
    reply_bulk_str(out, "id"), reply_bulk_str(out, p.id);
    reply_bulk_str(out, "port"), reply_i64(out, p.port);
    reply_bulk_str(out, "ip"), reply_bulk_str(out, p.host);
    reply_bulk_str(out, "endpoint"), reply_bulk_str(out, p.host);
    reply_bulk_str(out, "role"), reply_bulk_str(out, master ? "master" : "replica");
    reply_bulk_str(out, "replication-offset"), reply_i64(out, 0);
    reply_bulk_str(out, "health"), reply_bulk_str(out, p.up ? "online" : "fail");
}

static void cluster_shards(struct node *n, struct reply *out)
{
    size_t count = 0;
    for (uint16_t id = 1; id <= n->node_max; id++) count += is_shown(n, id);
    reply_array(out, count);
    for (uint16_t id = 1; id <= n->node_max; id++) {
        if (!is_shown(n, id)) continue;
        reply_map(out, 2);
        reply_bulk_str(out, "slots");
        reply_array(out, 2 * ranges_of(n, true, id, NULL, NULL));
        ranges_of(n, true, id, range_pair, out);
        reply_bulk_str(out, "nodes");
        reply_array(out, 1);
        shard_node(n, id, true, out);
    }
}

static void cluster_links(struct node *n, struct reply *out)
{
    size_t count = 0;
    for (uint16_t id = 1; id <= n->node_max; id++)
        if (n->peers[id]) count += (n->peers[id]->out != NULL) + (n->peers[id]->in != NULL);
    reply_array(out, count);
    for (uint16_t id = 1; id <= n->node_max; id++) {
        for (int to = 0; n->peers[id] && to < 2; to++) {
            struct io_conn *c = to ? n->peers[id]->out : n->peers[id]->in;
            if (!c) continue;
            struct place p = place_of(n, id);
            reply_map(out, 6);
            reply_bulk_str(out, "direction"), reply_bulk_str(out, to ? "to" : "from");
            reply_bulk_str(out, "node"), reply_bulk_str(out, p.id);
            reply_bulk_str(out, "create-time"), reply_i64(out, 0);
            reply_bulk_str(out, "events"), reply_bulk_str(out, "rw");
            reply_bulk_str(out, "send-buffer-allocated"), reply_i64(out, (int64_t)c->out.capacity);
            reply_bulk_str(out, "send-buffer-used"), reply_i64(out, (int64_t)c->out.size);
        }
    }
}

/* The id of the node with this name; 0 after an error. */
static uint16_t node_named(struct node *n, struct bytes name, struct reply *out)
{
    for (uint16_t id = 1; id <= n->node_max; id++)
        if (is_shown(n, id) && bytes_equal(name, bytes_str(place_of(n, id).id))) return id;
    reply_errorf(out, "ERR Unknown node %.*s", (int)(name.size < 64 ? name.size : 64),
                 (const char *)name.data);
    return 0;
}

/* Does it have a replica of a group that `master` leads? */
static bool follows(struct node *n, uint16_t id, uint16_t master)
{
    for (uint32_t i = 0; i < n->group_count && id != master; i++) {
        const struct group *g = n->group[i];
        if (g->row.state == RING_GROUP_SERVING && leader_or_first(g) == master &&
            group_replica_on(g, id) && !n->ring_node[id].witness)
            return true;
    }
    return false;
}

static void cluster_replicas(struct node *n, struct bytes name, struct reply *out)
{
    struct buf text = {0};
    size_t count = 0;
    uint16_t master = node_named(n, name, out);
    if (!master) return;
    for (uint16_t id = 1; id <= n->node_max; id++)
        count += is_shown(n, id) && follows(n, id, master);
    reply_array(out, count);
    for (uint16_t id = 1; id <= n->node_max; id++) {
        if (!is_shown(n, id) || !follows(n, id, master)) continue;
        buf_clear(&text);
        cluster_node_line(n, id, &text);
        reply_bulk(out, bytes_of(text.data, text.size - 1));
    }
    buf_deinit(&text);
}

static void cluster_failures(struct node *n, struct bytes name, struct reply *out)
{
    uint16_t id = node_named(n, name, out);
    if (id) reply_i64(out, !ring_node_heard(n, id));
}

/* ---- what changes a Redis Cluster ---- */

#define TEXT_SLOTS                                                                                 \
    "slots belong to groups; `synod group split` cuts one in two, `synod group move` moves a "     \
    "replica of one"

static const struct {
    const char *name, *text;
} refused[] = {
    {"addslots", TEXT_SLOTS},
    {"addslotsrange", TEXT_SLOTS},
    {"delslots", TEXT_SLOTS},
    {"delslotsrange", TEXT_SLOTS},
    {"setslot", TEXT_SLOTS},
    {"flushslots", TEXT_SLOTS},
    {"failover", "groups fail over by themselves; `synod group transfer GROUP NODE` hands the "
                 "leadership of one over"},
    {"meet", "a node joins by itself: start it with `synod server --data DIR --join HOST:PORT`, "
             "the peer address of any node"},
    {"replicate", "replicas are placed by themselves; `synod group move GROUP FROM TO` moves one"},
    {"set-config-epoch", "the epoch is the cluster map's, and grows with each change by itself"},
};

static void cluster_refused(struct node *n, const char *name, const struct cmd_args *a,
                            struct reply *out)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (strcmp(refused[i].name, name) != 0) continue;
        reply_errorf(out, "ERR %s", refused[i].text);
        return;
    }
    bool forget = strcmp(name, "forget") == 0;
    uint16_t id = forget ? node_named(n, a->v[2], out) : n->identity.node;
    if (!id) return;
    reply_errorf(out,
                 "ERR a node leaves in two steps: `synod node drain %u`, and once it is empty "
                 "`synod node remove %u`",
                 id, id);
}

void cluster_command(struct client *c, const struct command *cmd, const struct cmd_args *a,
                     struct reply *out)
{
    struct node *n = c->node;
    const char *name = cmd->name;
    char epoch[32];
    if (!strcmp(name, "info"))
        cluster_info(n, out);
    else if (!strcmp(name, "myid") || !strcmp(name, "myshardid"))
        reply_bulk_str(out, place_of(n, n->identity.node).id);
    else if (!strcmp(name, "slots"))
        cluster_slots(n, out);
    else if (!strcmp(name, "shards"))
        cluster_shards(n, out);
    else if (!strcmp(name, "nodes"))
        cluster_nodes(n, out);
    else if (!strcmp(name, "keyslot"))
        reply_i64(out, slot_of(a->v[2]));
    else if (!strcmp(name, "links"))
        cluster_links(n, out);
    else if (!strcmp(name, "replicas") || !strcmp(name, "slaves"))
        cluster_replicas(n, a->v[2], out);
    else if (!strcmp(name, "count-failure-reports"))
        cluster_failures(n, a->v[2], out);
    else if (!strcmp(name, "saveconfig"))
        reply_ok(out);
    else if (!strcmp(name, "bumpepoch"))
        snprintf(epoch, sizeof epoch, "STILL %llu", (unsigned long long)n->ring.epoch),
            reply_simple(out, epoch);
    else
        cluster_refused(n, name, a, out);
}
