/* The ring as a whole: what the map says, what may be lost without harm, and whether in the end
 * everybody is where the map wants it. */
#include "ring/ring.h"
#include "sim/members.h"

#include <inttypes.h>

/* ---- the map ---- */

/* The node whose map is the newest; NULL: nobody has one that was agreed. */
struct node *members_map(const struct sim *s)
{
    struct node *best = NULL;
    uint64_t newest = 0;
    struct ring_row row;
    for (uint32_t i = 0; i < s->nodes; i++) {
        const struct member *m = &s->member[i];
        if (m->state != MEMBER_UP || !node_ring_row(m->node, RING_ROW_SETTINGS, 0, &row)) continue;
        if (row.settings.epoch <= newest) continue;
        newest = row.settings.epoch;
        best = m->node;
    }
    return best;
}

/* Was the group merged into another, as anybody knows? */
static bool is_merged_away(const struct sim *s, uint32_t group)
{
    struct ring_row row;
    for (uint32_t i = 0; i < s->nodes; i++)
        if (s->member[i].state == MEMBER_UP &&
            node_ring_row(s->member[i].node, RING_ROW_GROUP, group, &row) &&
            ring_is_merged_away(&row.group))
            return true;
    return false;
}

/* The newest configuration of a group that anybody ever saw; NULL: none. */
const struct paxos_config *members_config(const struct sim *s, uint32_t group, uint64_t *position)
{
    const struct seat *best = NULL;
    if (is_merged_away(s, group)) return NULL;
    for (uint32_t i = 0; i < s->nodes; i++) {
        const struct seat *seat = &s->member[i].seat[group];
        if (!seat->config.count) continue;
        if (!best || seat->config_position > best->config_position) best = seat;
    }
    if (position) *position = best ? best->config_position : 0;
    return best ? &best->config : NULL;
}

/* Its replica has a state, and the node was not given up since it last had everything. */
static bool is_counted_on(const struct sim *s, uint32_t group, const struct paxos_member *p)
{
    for (uint32_t i = 0; i < s->nodes; i++) {
        const struct member *m = &s->member[i];
        const struct seat *seat = &m->seat[group];
        if (m->id == p->node) return seat->seen == p->replica && !seat->installing && !m->behind;
    }
    return false;
}

/* Where a witness votes: can each other voter with data go on without node `id`, with what the
 * witness's log has? Not if it is being copied to, or was given up (docs/GUARANTEES.md). */
static bool witness_suffices(const struct sim *s, uint32_t group, const struct paxos_config *c,
                             uint16_t id)
{
    bool witness = false, all = true;
    for (int i = 0; i < c->count; i++) {
        const struct paxos_member *p = &c->member[i];
        if (p->node == id) continue;
        witness |= p->role == PAXOS_WITNESS;
        all &= p->role != PAXOS_VOTER || is_counted_on(s, group, p);
    }
    return !witness || all;
}

static bool may_lose_of(const struct sim *s, uint32_t group, const struct paxos_config *c,
                        uint16_t id)
{
    uint32_t voters = 0, lost = 0;
    bool in = false;
    for (int i = 0; i < c->count; i++) {
        uint16_t node = c->member[i].node;
        in |= node == id;
        lost += node != id && (s->lost_ids >> node & 1);
        voters += c->member[i].role != PAXOS_LEARNER;
    }
    return !in || (voters >= 3 && !lost && witness_suffices(s, group, c, id));
}

/* The configuration that a member's replica goes on from: the one that it is at, or, if it is down,
 * that it has on its disk (seed 43000378). False: it has none. */
static bool goes_on_from(const struct member *m, uint32_t group, const struct paxos_config *newest,
                         struct paxos_config *out)
{
    struct node_group_view v;
    bool member = false;
    if (m->state == MEMBER_UP) {
        if (!node_group(m->node, group, &v)) return false;
        *out = v.config;
        return true;
    }
    for (int i = 0; i < newest->count; i++) member |= newest->member[i].node == m->id;
    *out = m->seat[group].durable;
    return m->state == MEMBER_DOWN && member && out->count;
}

/* May the member's data be lost for good? Not before the cluster is founded, which needs every
 * node; and in no group that would have lost two of its members, or has fewer than three that vote,
 * by the newest configuration and by those that its replicas are at: whoever knows of the newest
 * may be the one that is lost, and the others go on from the one before it (seed 3200272). */
bool members_may_lose(struct sim *s, const struct member *m)
{
    struct paxos_config at;
    if (!members_map(s) || !m->id) return false;
    for (uint32_t i = 0; i < s->founders; i++)
        if (!s->member[i].took_part) return false;
    for (uint32_t i = 0; i < s->nodes; i++) member_configs(&s->member[i]);
    for (uint32_t g = 0; g < s->groups; g++) {
        const struct paxos_config *c = members_config(s, g, NULL);
        if (!c) continue;
        if (!may_lose_of(s, g, c, m->id)) return false;
        for (uint32_t i = 0; i < s->nodes; i++)
            if (goes_on_from(&s->member[i], g, c, &at) && !may_lose_of(s, g, &at, m->id))
                return false;
    }
    return true;
}

/* ---- the end ---- */

static struct member *member_of_id(struct sim *s, uint16_t id)
{
    for (uint32_t i = 0; i < s->nodes; i++)
        if (s->member[i].state == MEMBER_UP && s->member[i].id == id) return &s->member[i];
    return NULL;
}

struct settling {
    struct sim *s;
    struct node *map;
    struct ring_settings settings;
    uint32_t serving; /* nodes that take data */
    bool enough;      /* with a witness to break a tie, if there is one: for all replicas wanted */
    uint32_t slots;   /* that are somebody's */
    char *why;
    size_t size;
};

#define UNSETTLED(t, ...) (snprintf((t)->why, (t)->size, __VA_ARGS__), false)

static uint8_t state_of(const struct settling *t, uint16_t node)
{
    struct ring_row row;
    return node_ring_row(t->map, RING_ROW_NODE, node, &row) ? row.node.state : RING_NODE_FREE;
}

static bool is_witness(const struct settling *t, uint16_t node)
{
    struct ring_row row;
    return node_ring_row(t->map, RING_ROW_NODE, node, &row) && row.node.witness;
}

static void count_serving(struct settling *t)
{
    bool witness = false;
    for (uint16_t i = 1; i <= RING_NODES_MAX; i++) {
        if (state_of(t, i) != RING_NODE_SERVING) continue;
        t->serving += !is_witness(t, i);
        witness |= is_witness(t, i);
    }
    bool tie = witness && t->serving >= 2 && t->serving % 2 == 0;
    t->enough = t->serving + tie >= t->settings.replicas;
}

/* Somebody who is gone, or is to go, holds nothing, if there are enough others. Who is down keeps
 * its place for the grace time, which may be longer than any run. */
static bool may_hold(const struct settling *t, uint16_t node)
{
    uint8_t state = state_of(t, node);
    if (state == RING_NODE_SERVING) return true;
    if (state == RING_NODE_DOWN) return t->settings.grace_ms > SIM_GRACE_SHORT;
    return !t->enough && (state == RING_NODE_DRAINING || state == RING_NODE_GONE);
}

static bool replica_settled(struct settling *t, const struct ring_group *row,
                            const struct paxos_member *p)
{
    struct node_group_view v;
    struct member *m = member_of_id(t->s, p->node);
    const struct chain *c = &t->s->agreement.chain[row->id];
    if (!may_hold(t, p->node))
        return UNSETTLED(t, "group %u is still on node id %u, which is %s", row->id, p->node,
                         ring_node_state_name(state_of(t, p->node)));
    if (p->role != (is_witness(t, p->node) ? PAXOS_WITNESS : PAXOS_VOTER))
        return UNSETTLED(t, "group %u: the member on node id %u has role %u", row->id, p->node,
                         p->role);
    if (p->role == PAXOS_WITNESS && t->serving >= t->settings.replicas)
        return UNSETTLED(t, "group %u has a witness, and needs none", row->id);
    if (!m || m->damaged) return true; /* lost: it counts as down */
    if (!node_group(m->node, row->id, &v) || v.replica != p->replica || v.installing)
        return UNSETTLED(t, "group %u: node %u has no replica %u of it, or none that is whole",
                         row->id, m->host + 1, p->replica);
    if (v.applied != c->last)
        return UNSETTLED(t, "group %u: node %u has applied %" PRIu64 " of %" PRIu64, row->id,
                         m->host + 1, v.applied, c->last);
    if (v.slot_lo != row->slot_lo || v.slot_hi != row->slot_hi)
        return UNSETTLED(t, "group %u: node %u has slots [%u, %u), the map says [%u, %u)", row->id,
                         m->host + 1, v.slot_lo, v.slot_hi, row->slot_lo, row->slot_hi);
    return true;
}

static bool group_settled(struct settling *t, uint32_t g)
{
    struct ring_row row;
    uint64_t position;
    const struct paxos_config *c = members_config(t->s, g, &position);
    if (!node_ring_row(t->map, RING_ROW_GROUP, g, &row)) return true;
    const struct ring_group *r = &row.group;
    if (ring_is_merged_away(r)) return true;
    if (ring_group_changes(r))
        return UNSETTLED(t,
                         "group %u is in state %u, with %u targets, to split off group %u, to take "
                         "over %u, or to be (%u, %" PRIu64 ")",
                         g, r->state, r->target_count, r->split_id, r->merge_id, r->merging,
                         r->sealed);
    if (!c || r->config_position != position)
        return UNSETTLED(
            t, "group %u: its configuration is of position %" PRIu64 ", the map says %" PRIu64, g,
            position, r->config_position);
    if (t->enough && c->count != t->settings.replicas)
        return UNSETTLED(t, "group %u has %u members, %u are wanted, %u nodes serve", g, c->count,
                         t->settings.replicas, t->serving);
    for (int i = 0; i < c->count; i++)
        if (!replica_settled(t, r, &c->member[i])) return false;
    t->slots += (uint32_t)(r->slot_hi - r->slot_lo);
    return true;
}

/* Its copy of the map is the newest, row by row. */
static bool knows_row(struct settling *t, const struct member *m, uint8_t type, uint32_t id)
{
    struct ring_row newest, here;
    if (!node_ring_row(t->map, type, id, &newest)) return true;
    uint64_t epoch = node_ring_row(m->node, type, id, &here) ? ring_row_epoch(&here) : 0;
    if (epoch == ring_row_epoch(&newest)) return true;
    return UNSETTLED(
        t, "node %u has row %c%u of the map as of epoch %" PRIu64 ", it is of epoch %" PRIu64,
        m->host + 1, type, id, epoch, ring_row_epoch(&newest));
}

static bool knows_map(struct settling *t, const struct member *m)
{
    for (uint32_t i = 1; i <= RING_NODES_MAX; i++)
        if (!knows_row(t, m, RING_ROW_NODE, i)) return false;
    for (uint32_t g = 0; g < t->s->groups; g++)
        if (!knows_row(t, m, RING_ROW_GROUP, g)) return false;
    return knows_row(t, m, RING_ROW_SETTINGS, 0);
}

/* Nobody has what is not its own, and who was removed has ended. */
static bool member_settled(struct settling *t, struct member *m)
{
    struct node_group_view v;
    if (m->damaged) return true;
    if (!m->id || state_of(t, m->id) == RING_NODE_FREE)
        return UNSETTLED(t, "node %u has not joined", m->host + 1);
    if (state_of(t, m->id) == RING_NODE_REMOVED)
        return UNSETTLED(t, "node %u was removed, and is still there", m->host + 1);
    if (state_of(t, m->id) != RING_NODE_SERVING && state_of(t, m->id) != RING_NODE_DRAINING)
        return UNSETTLED(t, "node %u is there, the map says %s", m->host + 1,
                         ring_node_state_name(state_of(t, m->id)));
    if (!knows_map(t, m)) return false;
    for (uint32_t g = 0; g < t->s->groups; g++) {
        const struct paxos_config *c = members_config(t->s, g, NULL);
        bool member = false;
        if (!node_group(m->node, g, &v)) continue;
        for (int i = 0; c && i < c->count; i++) member |= c->member[i].replica == v.replica;
        if (!member)
            return UNSETTLED(t, "node %u has still replica %u of group %u, which is no member",
                             m->host + 1, v.replica, g);
    }
    return true;
}

/* Everybody is where the map wants it, and has everything. */
bool members_settled(struct sim *s, char *why, size_t size)
{
    struct settling t = {.s = s, .map = members_map(s), .why = why, .size = size};
    struct ring_row row;
    if (!t.map) return UNSETTLED(&t, "no map of the cluster was agreed");
    (void)node_ring_row(t.map, RING_ROW_SETTINGS, 0, &row);
    t.settings = row.settings;
    count_serving(&t);
    for (uint32_t g = 0; g < s->groups; g++)
        if (!group_settled(&t, g)) return false;
    for (uint32_t i = 0; i < s->nodes; i++)
        if (s->member[i].state == MEMBER_UP && !member_settled(&t, &s->member[i])) return false;
    return t.slots == SLOT_COUNT ? true : UNSETTLED(&t, "%u slots are somebody's", t.slots);
}
