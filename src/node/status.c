/* SYNOD STATUS (the JSON that cli/status.h describes) and SYNOD DIGEST. */
#include "node/internal.h"
#include "base/mem.h"

#include <jansson.h>

void status_report(struct node *n, struct wire_report *r)
{
    struct log_stats s;
    log_stats(n->log, &s);
    *r = (struct wire_report){.log_bytes = s.segments * n->config.log_segment_bytes,
                              .room_bytes = (uint64_t)io_room(n->io),
                              .memory_bytes = info_memory_bytes(n),
                              .ops_per_s = n->ops_per_s,
                              .uptime_s = (n->now - n->started_at) / (1000 * MS),
                              .uring = n->config.backend_name &&
                                       strcmp(n->config.backend_name, "io_uring") == 0};
    r->disk_bytes = n->config.engine ? n->config.engine->ops->disk_bytes(n->config.engine) : 0;
    for (uint32_t i = 0; i < n->group_count; i++) {
        r->leads += n->groups[i].leading;
        if (n->groups[i].shard) r->keys += (uint64_t)n->groups[i].shard->keys;
    }
}

static bool node_is_up(struct node *n, uint16_t id)
{
    if (id == n->identity.node) return true;
    struct peer *p = n->peers[id];
    return p->out_ready &&
           !lease_suspects(&n->leases, id, n->config.election_ms * MS, n->started_at, n->now);
}

static json_t *node_json(struct node *n, uint16_t id)
{
    struct wire_report own;
    struct peer *p = n->peers[id];
    const struct wire_report *r = p ? &p->report : &own;
    uint32_t follows = 0;
    if (!p) status_report(n, &own);
    for (uint32_t i = 0; i < n->group_count; i++)
        for (int m = 0; m < n->groups[i].config.count; m++)
            follows += n->groups[i].config.member[m].node == id;
    if (follows >= r->leads) follows -= (uint32_t)r->leads;
    uint64_t age = p ? (p->report_at ? (n->now - p->report_at) / MS : 0) : 0;
    const char *zone = p ? p->zone : n->zone;
    return json_pack(
        "{s:i, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "id",
        (int)id, "address", p ? p->client : n->listen, "peer", n->identity.address[id], "zone",
        zone[0] ? zone : "default", "state", node_is_up(n, id) ? "up" : "down", "age_ms",
        (json_int_t)age, "leads", (json_int_t)r->leads, "follows", (json_int_t)follows, "keys",
        (json_int_t)r->keys, "disk_bytes", (json_int_t)r->disk_bytes, "log_bytes",
        (json_int_t)r->log_bytes, "room_bytes", (json_int_t)r->room_bytes, "memory_bytes",
        (json_int_t)r->memory_bytes, "ops_per_s", (json_int_t)r->ops_per_s, "uptime_s",
        (json_int_t)r->uptime_s, "io", r->uring ? "io_uring" : "epoll");
}

static json_t *replica_json(struct group *g, uint16_t node, uint64_t chosen)
{
    struct node *n = g->node;
    bool self = node == n->identity.node, up = node_is_up(n, node);
    bool leads = group_leader_node(g) == node;
    uint64_t applied = self ? g->shard->applied : g->peer_chosen[node];
    if (!self && g->leading && paxos_match(g->px, node) > applied)
        applied = paxos_match(g->px, node);
    if (applied > chosen) applied = chosen;
    json_int_t lag = !self && !g->peer_heard[node] ? -1 : (json_int_t)(chosen - applied);
    return json_pack("{s:i, s:s, s:I, s:I}", "node", (int)node, "role",
                     !up     ? "down"
                     : leads ? "leader"
                             : "follower",
                     "applied", (json_int_t)applied, "lag", lag);
}

static json_t *group_json(struct group *g)
{
    char ballot[48] = "";
    uint64_t chosen = 0;
    json_t *replicas = json_array();
    if (g->px) {
        paxos_ballot b = paxos_promised(g->px);
        snprintf(ballot, sizeof ballot, "%llu.%u", (unsigned long long)paxos_ballot_round(b),
                 paxos_ballot_replica(b));
        chosen = paxos_chosen(g->px);
        for (int i = 0; i < g->config.count; i++)
            if (g->peer_chosen[g->config.member[i].node] > chosen)
                chosen = g->peer_chosen[g->config.member[i].node];
        for (int i = 0; i < g->config.count; i++)
            json_array_append_new(replicas, replica_json(g, g->config.member[i].node, chosen));
    }
    return json_pack("{s:i, s:[[i,i]], s:i, s:s, s:I, s:o}", "id", (int)g->id, "slots", g->slot_lo,
                     g->slot_hi - 1, "leader", (int)group_leader_node(g), "ballot", ballot,
                     "chosen", (json_int_t)chosen, "replicas", replicas);
}

static const char *cluster_state(struct node *n)
{
    const char *state = "ok";
    for (uint16_t i = 1; i <= n->identity.node_count; i++)
        if (!node_is_up(n, i)) state = "degraded";
    for (uint32_t i = 0; i < n->group_count; i++) {
        uint16_t leader = group_leader_node(&n->groups[i]);
        if (!leader || !node_is_up(n, leader) ||
            (leader == n->identity.node && !n->groups[i].leading))
            return "failing";
    }
    return state;
}

void status_json(struct node *n, struct buf *out)
{
    char id[17];
    json_t *nodes = json_array(), *groups = json_array();
    snprintf(id, sizeof id, "%016llx", (unsigned long long)n->identity.cluster);
    for (uint16_t i = 1; i <= n->identity.node_count; i++)
        json_array_append_new(nodes, node_json(n, i));
    for (uint32_t i = 0; i < n->group_count; i++)
        json_array_append_new(groups, group_json(&n->groups[i]));
    json_t *whole = json_pack("{s:{s:s, s:s, s:i, s:s, s:i}, s:o, s:o}", "cluster", "id", id,
                              "version", "0.1.0", "epoch", 1, "state", cluster_state(n), "self",
                              (int)n->identity.node, "nodes", nodes, "groups", groups);
    char *text = json_dumps(whole, JSON_COMPACT);
    if (text) buf_append_bytes(out, bytes_str(text));
    free(text);
    json_decref(whole);
}

/* One line a group: "group position digest keys". */
void status_digest(struct node *n, struct buf *out)
{
    uint64_t position, digest, keys;
    for (uint32_t i = 0; i < n->group_count; i++)
        if (node_digest(n, i, &position, &digest, &keys))
            buf_printf(out, "%u %llu %016llx %llu\n", i, (unsigned long long)position,
                       (unsigned long long)digest, (unsigned long long)keys);
}
