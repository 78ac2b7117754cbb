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
    place_split(n->identity.address[id], peer_host, sizeof peer_host, &p.bus);
    place_split(peer ? peer->client : n->listen, p.host, sizeof p.host, &p.port);
    if (peer && !peer->client[0]) { /* never met: the usual distance between the two ports */
        memcpy(p.host, peer_host, sizeof p.host);
        p.port = p.bus - 10000;
    }
    if (peer)
        p.up = peer->out_ready &&
               !lease_suspects(&n->leases, id, n->config.election_ms * MS, n->started_at, n->now);
    return p;
}

static bool group_has(const struct group *g, uint16_t node)
{
    for (int i = 0; i < g->config.count; i++)
        if (g->config.member[i].node == node) return true;
    return false;
}

static uint32_t groups_without_leader(struct node *n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->group_count; i++) {
        struct group *g = &n->groups[i];
        uint16_t leader = group_leader_node(g);
        bool lost = !leader || (leader == n->identity.node && !g->leading) ||
                    (leader != n->identity.node && !place_of(n, leader).up);
        count += lost;
    }
    return count;
}

static void cluster_info(struct node *n, struct reply *out)
{
    struct buf text = {0};
    uint32_t lost = groups_without_leader(n);
    buf_printf(&text,
               "cluster_enabled:%d\r\ncluster_state:%s\r\ncluster_slots_assigned:%d\r\ncluster_"
               "slots_ok:%u\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:%u\r\n",
               n->identity.node_count > 1, lost ? "fail" : "ok", SLOT_COUNT,
               SLOT_COUNT - lost * (SLOT_COUNT / n->group_count),
               lost * (SLOT_COUNT / n->group_count));
    buf_printf(&text,
               "cluster_known_nodes:%u\r\ncluster_size:%u\r\ncluster_current_epoch:1\r\ncluster_my_"
               "epoch:1\r\ncluster_groups:%u\r\ncluster_groups_without_leader:%u\r\n",
               n->identity.node_count, n->identity.node_count, n->group_count, lost);
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

static uint16_t leader_or_first(const struct group *g)
{
    uint16_t leader = group_leader_node(g);
    return leader ? leader : g->config.member[0].node;
}

static void cluster_slots(struct node *n, struct reply *out)
{
    reply_array(out, n->group_count);
    for (uint32_t i = 0; i < n->group_count; i++) {
        struct group *g = &n->groups[i];
        uint16_t leader = leader_or_first(g);
        reply_array(out, 2u + g->config.count);
        reply_i64(out, g->slot_lo);
        reply_i64(out, g->slot_hi - 1);
        reply_place(n, leader, out);
        for (int m = 0; m < g->config.count; m++)
            if (g->config.member[m].node != leader) reply_place(n, g->config.member[m].node, out);
    }
}

/* Slots that `node` leads, as ranges: each pair is given to `each`. */
static size_t slots_led(struct node *n, uint16_t node, void (*each)(void *ctx, int lo, int hi),
                        void *ctx)
{
    size_t ranges = 0;
    for (uint32_t i = 0; i < n->group_count; i++) {
        if (leader_or_first(&n->groups[i]) != node) continue;
        uint32_t last = i;
        while (last + 1 < n->group_count && leader_or_first(&n->groups[last + 1]) == node) last++;
        ranges++;
        if (each) each(ctx, n->groups[i].slot_lo, n->groups[last].slot_hi - 1);
        i = last;
    }
    return ranges;
}

static void range_text(void *ctx, int lo, int hi)
{
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
    slots_led(n, id, range_text, text);
    buf_append_bytes(text, BYTES("\n"));
}

static void cluster_nodes(struct node *n, struct reply *out)
{
    struct buf text = {0};
    for (uint16_t id = 1; id <= n->identity.node_count; id++) cluster_node_line(n, id, &text);
    reply_verbatim(out, buf_bytes(&text));
    buf_deinit(&text);
}

static void range_pair(void *ctx, int lo, int hi)
{
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
    reply_array(out, n->identity.node_count);
    for (uint16_t id = 1; id <= n->identity.node_count; id++) {
        reply_map(out, 2);
        reply_bulk_str(out, "slots");
        reply_array(out, 2 * slots_led(n, id, NULL, NULL));
        slots_led(n, id, range_pair, out);
        reply_bulk_str(out, "nodes");
        reply_array(out, 1);
        shard_node(n, id, true, out);
    }
}

static void cluster_links(struct node *n, struct reply *out)
{
    size_t count = 0;
    for (uint16_t id = 1; id <= n->identity.node_count; id++)
        if (n->peers[id]) count += (n->peers[id]->out != NULL) + (n->peers[id]->in != NULL);
    reply_array(out, count);
    for (uint16_t id = 1; id <= n->identity.node_count; id++) {
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

/* Nodes that have replicas of groups which the named node leads. */
static void cluster_replicas(struct node *n, struct bytes name, struct reply *out)
{
    struct buf text = {0};
    for (uint16_t master = 1; master <= n->identity.node_count; master++) {
        if (!bytes_equal(name, bytes_str(place_of(n, master).id))) continue;
        size_t count = 0;
        bool replica[NODE_NODES_MAX + 1] = {0};
        for (uint32_t i = 0; i < n->group_count; i++) {
            if (leader_or_first(&n->groups[i]) != master) continue;
            for (uint16_t id = 1; id <= n->identity.node_count; id++)
                if (id != master && group_has(&n->groups[i], id)) replica[id] = true;
        }
        for (uint16_t id = 1; id <= n->identity.node_count; id++) count += replica[id];
        reply_array(out, count);
        for (uint16_t id = 1; id <= n->identity.node_count; id++) {
            if (!replica[id]) continue;
            buf_clear(&text);
            cluster_node_line(n, id, &text);
            reply_bulk(out, bytes_of(text.data, text.size - 1));
        }
        buf_deinit(&text);
        return;
    }
    reply_error(out, "ERR Unknown node");
}

void cluster_command(struct client *c, const struct command *cmd, const struct cmd_args *a,
                     struct reply *out)
{
    struct node *n = c->node;
    const char *name = cmd->name;
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
    else if (!strcmp(name, "replicas"))
        cluster_replicas(n, a->v[2], out);
    else
        reply_errorf(out, "ERR 'cluster|%s' is not served by this version", name);
}
