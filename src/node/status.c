/* SYNOD STATUS (the JSON that cli/status.h describes) and SYNOD DIGEST. */
#include "node/internal.h"
#include "node/job.h"
#include "base/mem.h"
#include "node/txn.h"

#include <jansson.h>

#define TRANSACTIONS_MAX 64 /* told of a group */

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
    r->epoch = n->ring_there ? n->ring.epoch : 0;
    r->write_us = n->health.write_us;
    r->slow = n->health.slow.ill;
    r->cut = n->health.cut.ill;
    r->hears = n->health.hears;
    r->workers = tasks_slots(n);
    struct tasks_load load = tasks_load(n);
    r->tasks = load.running + load.waiting;
    r->pins = n->pins;
    r->disk_bytes = n->config.engine ? n->config.engine->ops->disk_bytes(n->config.engine) : 0;
}

static void count_groups(const struct node *n, struct wire_report *r)
{
    for (uint32_t i = 0; i < n->group_count; i++) {
        r->leads += n->group[i]->leading;
        if (n->group[i]->shard) r->keys += (uint64_t)n->group[i]->shard->keys;
    }
}

static bool node_is_up(struct node *n, uint16_t id)
{
    return ring_node_heard(n, id);
}

/* "up" and "down" are what this node sees; what the map says otherwise goes before it. */
static const char *node_state(struct node *n, uint16_t id)
{
    uint8_t state = n->ring_node[id].state;
    bool plain = state == RING_NODE_SERVING || state == RING_NODE_DOWN;
    if (!plain) return ring_node_state_name(state);
    if (!node_is_up(n, id)) return "down";
    bool here = id == n->identity.node;
    if (here ? n->health.slow.ill : n->peers[id]->report.slow) return "slow";
    return (here ? n->health.cut.ill : n->peers[id]->report.cut) ? "cut" : "up";
}

static json_t *node_json(struct node *n, uint16_t id)
{
    struct wire_report own;
    const struct ring_node *row = &n->ring_node[id];
    struct peer *p = n->peers[id];
    const struct wire_report *r = p ? &p->report : &own;
    uint32_t follows = 0;
    if (!p) status_report(n, &own), count_groups(n, &own);
    for (uint32_t i = 0; i < n->group_count; i++)
        for (int m = 0; m < n->group[i]->config.count; m++)
            follows += n->group[i]->config.member[m].node == id;
    if (follows >= r->leads) follows -= (uint32_t)r->leads;
    uint64_t age = p ? (p->report_at ? (n->now - p->report_at) / MS : 0) : 0;
    const char *zone = row->zone[0] ? row->zone : p ? p->zone : n->zone;
    const char *client = p && p->client[0] ? p->client : p ? row->client : n->listen;
    return json_pack(
        "{s:i, s:s, s:s, s:s, s:s, s:b, s:b, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
        "s:I, s:I, s:I, s:I, s:I, s:s}",
        "id", (int)id, "address", client, "peer", row->peer, "zone", zone[0] ? zone : "default",
        "state", node_state(n, id), "up", (int)node_is_up(n, id), "witness", (int)row->witness,
        "capacity", (int)row->capacity, "age_ms", (json_int_t)age, "leads", (json_int_t)r->leads,
        "follows", (json_int_t)follows, "keys", (json_int_t)r->keys, "disk_bytes",
        (json_int_t)r->disk_bytes, "log_bytes", (json_int_t)r->log_bytes, "room_bytes",
        (json_int_t)r->room_bytes, "memory_bytes", (json_int_t)r->memory_bytes, "ops_per_s",
        (json_int_t)r->ops_per_s, "uptime_s", (json_int_t)r->uptime_s, "tasks",
        (json_int_t)r->tasks, "pins", (json_int_t)r->pins, "io", r->uring ? "io_uring" : "epoll");
}

static const char *role_name(struct group *g, const struct paxos_member *m)
{
    if (!node_is_up(g->node, m->node)) return "down";
    if (m->role == PAXOS_LEARNER) return "learner";
    if (m->role == PAXOS_WITNESS) return "witness";
    return group_leader_node(g) == m->node ? "leader" : "follower";
}

/* A group that this node has no replica of: as the map has it. */
static json_t *replica_elsewhere(struct group *g, const struct paxos_member *m)
{
    return json_pack("{s:i, s:i, s:s, s:b, s:i, s:i}", "node", (int)m->node, "replica",
                     (int)m->replica, "role", role_name(g, m), "votes", m->role != PAXOS_LEARNER,
                     "applied", 0, "lag", -1);
}

static json_t *replica_json(struct group *g, const struct paxos_member *m, uint64_t chosen)
{
    struct node *n = g->node;
    bool self = m->node == n->identity.node;
    const struct group_peer *gp = self ? NULL : group_peer(g, m->node);
    uint64_t applied = self ? paxos_chosen(g->px) : gp ? gp->chosen : 0;
    if (!self && g->leading && paxos_match(g->px, m->replica) > applied)
        applied = paxos_match(g->px, m->replica);
    if (applied > chosen) applied = chosen;
    json_int_t lag = !self && (!gp || !gp->heard) ? -1 : (json_int_t)(chosen - applied);
    json_t *j = json_pack("{s:i, s:i, s:s, s:b, s:I, s:I}", "node", (int)m->node, "replica",
                          (int)m->replica, "role", role_name(g, m), "votes",
                          m->role != PAXOS_LEARNER, "applied", (json_int_t)applied, "lag", lag);
    struct transfer_progress t;
    if (transfer_progress(g, m->node, &t)) {
        json_object_set_new(j, "snapshot_percent", json_integer(t.percent));
        json_object_set_new(j, "snapshot_bytes", json_integer((json_int_t)t.bytes));
        json_object_set_new(j, "snapshot_ms", json_integer((json_int_t)t.ms));
    }
    return j;
}

/* Who has something in a group that is led here. */
static json_t *transactions_json(struct group *g)
{
    static const char *const states[] = {
        [LOCK_OPEN] = "open", [LOCK_PREPARED] = "prepared", [LOCK_DECIDED] = "decided"};
    json_t *all = json_array();
    for (const struct lock_owner *o = g->locks.first; o && json_array_size(all) < TRANSACTIONS_MAX;
         o = o->next) {
        struct buf id = {0};
        txn_put_name(&id, o->id);
        const char *state = txn_is_in_doubt(g, o) ? "in doubt" : states[o->state];
        json_array_append_new(all, json_pack("{s:s%, s:s, s:I}", "id", (const char *)id.data,
                                             id.size, "state", state, "age_ms",
                                             (json_int_t)txn_age_ms(g->node, o->start)));
        buf_deinit(&id);
    }
    return all;
}

/* Members as this node's replica knows them; without one, as the map has them. */
static json_t *group_json(struct group *g)
{
    char ballot[48] = "";
    uint64_t chosen = 0;
    json_t *replicas = json_array(), *target = json_array();
    if (g->px) {
        paxos_ballot b = paxos_promised(g->px);
        snprintf(ballot, sizeof ballot, "%llu.%u", (unsigned long long)paxos_ballot_round(b),
                 paxos_ballot_replica(b));
        chosen = paxos_chosen(g->px);
        for (int i = 0; i < GROUP_PEERS; i++)
            if (g->peer[i].chosen > chosen) chosen = g->peer[i].chosen;
    }
    for (int i = 0; i < g->config.count; i++) {
        const struct paxos_member *m = &g->config.member[i];
        json_array_append_new(replicas,
                              g->px ? replica_json(g, m, chosen) : replica_elsewhere(g, m));
    }
    for (int i = 0; i < g->row.target_count; i++)
        json_array_append_new(target, json_integer(g->row.target[i]));
    json_t *j = json_pack(
        "{s:i, s:[[i,i]], s:i, s:s, s:I, s:I, s:I, s:o}", "id", (int)g->id, "slots", g->slot_lo,
        g->slot_hi - 1, "leader", (int)group_leader_node(g), "ballot", ballot, "chosen",
        (json_int_t)chosen, "keys",
        (json_int_t)(g->shard ? (uint64_t)g->shard->keys : driver_keys(g->node, g->id)),
        "ops_per_s", (json_int_t)(g->leading ? g->load_rate : driver_load(g->node, g->id)),
        "replicas", replicas);
    if (json_array_size(target))
        json_object_set_new(j, "target", target);
    else
        json_decref(target);
    if (g->leading && g->locks.owners) json_object_set_new(j, "transactions", transactions_json(g));
    if (g->row.split_id) json_object_set_new(j, "splits_at", json_integer(g->row.split_at));
    if (g->row.merge_id) json_object_set_new(j, "takes_over", json_integer(g->row.merge_id));
    return j;
}

static bool group_is(const struct group *g)
{
    return g->row.state == RING_GROUP_SERVING || g->px;
}

static const char *cluster_state(struct node *n)
{
    const char *state = "ok";
    if (!n->taking_part) return "joining";
    for (uint32_t i = 0; i < n->group_count; i++) {
        const struct group *g = n->group[i];
        if (!group_is(g)) continue;
        for (int m = 0; m < g->config.count; m++)
            if (!node_is_up(n, g->config.member[m].node)) state = "degraded";
        uint16_t leader = group_leader_node(g);
        if (!leader || !node_is_up(n, leader) || (leader == n->identity.node && !g->leading))
            return "failing";
    }
    return state;
}

void status_json(struct node *n, struct buf *out)
{
    char id[17];
    json_t *nodes = json_array(), *groups = json_array();
    snprintf(id, sizeof id, "%016llx", (unsigned long long)n->identity.cluster);
    for (uint16_t i = 1; i <= n->node_max; i++)
        if (ring_shows(n, i)) json_array_append_new(nodes, node_json(n, i));
    for (uint32_t i = 0; i < n->group_count; i++)
        if (group_is(n->group[i])) json_array_append_new(groups, group_json(n->group[i]));
    json_t *whole =
        json_pack("{s:{s:s, s:s, s:I, s:s, s:i, s:i, s:I, s:i, s:I, s:I}, s:o, s:o}", "cluster",
                  "id", id, "version", "0.1.0", "epoch", (json_int_t)n->ring.epoch, "state",
                  cluster_state(n), "self", (int)n->identity.node, "replicas",
                  (int)n->ring.replicas, "grace_ms", (json_int_t)n->ring.grace_ms, "moves_max",
                  (int)n->ring.moves_max, "split_keys", (json_int_t)n->ring.split_keys,
                  "states_kept", (json_int_t)n->pins, "nodes", nodes, "groups", groups);
    char *text = json_dumps(whole, JSON_COMPACT);
    if (text) buf_append_bytes(out, bytes_str(text));
    free(text);
    json_decref(whole);
}

/* One line a group: "group position digest keys". group UINT32_MAX: all that are here. */
void status_digest(struct node *n, uint32_t group, struct buf *out)
{
    uint64_t position, digest, keys;
    uint32_t first = group == UINT32_MAX ? 0 : group,
             end = group < n->group_count ? group + 1 : n->group_count;
    for (uint32_t i = first; i < end; i++)
        if (node_digest(n, i, &position, &digest, &keys))
            buf_printf(out, "%u %llu %016llx %llu\n", i, (unsigned long long)position,
                       (unsigned long long)digest, (unsigned long long)keys);
}
