/* The driver: who lives, and who shall hold what. It runs where group 0 is led, looks at the map
 * and at what leaders report of their groups, and writes what is wanted into the map (node states,
 * targets, leaders, splits); each group's leader then brings it about (reconcile.c). It remembers
 * nothing that the map does not say, but for how long a node has been silent: with a new leader of
 * group 0 that is counted anew. */
#include "node/internal.h"
#include "base/mem.h"
#include "ring/placement.h"

#include <stdio.h>

#define LOOK_EVERY  (100 * MS)
#define PLAN_EVERY  (100 * MS) /* while there is something to do */
#define PLAN_IDLE   (2000 * MS)
#define PLAN_SHARE  50          /* planning takes no more than one part in so many of the time */
#define DOWN_AFTER  (3000 * MS) /* silent for so long is DOWN */
#define PER_NODE    2           /* moves that one node sends or takes at once */
#define TOLERANCE   50          /* per mille, of a node's fair share */
#define ASKED_WORDS (3 + PAXOS_MEMBERS_MAX)

struct group_says { /* as its leader last said */
    uint64_t keys, load;
    uint16_t leader;
};

struct driver {
    struct node *node;
    bool leading, asking;
    uint64_t plan_at, plan_soonest, plan_epoch; /* the map's, when the last plan was made */
    uint64_t heard_at[RING_NODES_MAX + 1];      /* when it was last known to live */
    struct group_says *says;
    uint32_t says_count;
};

static struct driver *driver_of(struct node *n)
{
    if (!n->driver) {
        n->driver = mem_zalloc(sizeof *n->driver);
        n->driver->node = n;
    }
    return n->driver;
}

void driver_free(struct node *n)
{
    if (n->driver) mem_free(n->driver->says);
    mem_free(n->driver);
    n->driver = NULL;
}

static struct group_says *says_of(struct driver *d, uint32_t group)
{
    if (group >= d->says_count) {
        uint32_t count = group + 64;
        d->says = mem_realloc(d->says, count * sizeof *d->says);
        memset(d->says + d->says_count, 0, (count - d->says_count) * sizeof *d->says);
        d->says_count = count;
    }
    return &d->says[group];
}

void driver_heard(struct node *n, uint16_t node, const struct wire_state *s)
{
    *says_of(driver_of(n), s->group) = (struct group_says){s->keys, s->load, node};
}

/* Of a group that is led here, nobody else says it. */
static struct group_says says_now(struct node *n, uint32_t group)
{
    const struct group *g = n->group[group];
    if (g->leading && g->shard)
        return (struct group_says){(uint64_t)g->shard->keys, g->load_rate, n->identity.node};
    return *says_of(driver_of(n), group);
}

uint64_t driver_keys(const struct node *n, uint32_t group)
{
    return n->driver && group < n->driver->says_count ? n->driver->says[group].keys : 0;
}

uint64_t driver_load(const struct node *n, uint32_t group)
{
    return n->driver && group < n->driver->says_count ? n->driver->says[group].load : 0;
}

/* ---- asking, one thing at a time ---- */

static void asked(void *ctx, struct bytes reply)
{
    struct driver *d = ctx;
    d->asking = false;
    if (reply.size && reply.data[0] == '-')
        trace_line("driver: refused: %.*s", (int)(reply.size < 200 ? reply.size : 200),
                   (const char *)reply.data);
}

static void ask(struct driver *d, const char *what, const uint64_t *number, uint32_t count)
{
    char text[ASKED_WORDS][24];
    struct bytes word[ASKED_WORDS] = {bytes_str(what)};
    for (uint32_t i = 0; i < count; i++)
        word[1 + i] =
            bytes_of(text[i], (size_t)snprintf(text[i], 24, "%llu", (unsigned long long)number[i]));
    d->asking = true;
    ring_ask(d->node, word, 1 + count, asked, d);
}

/* ---- who lives ---- */

static uint8_t state_next(struct driver *d, const struct ring_node *r)
{
    struct node *n = d->node;
    bool heard = ring_node_heard(n, r->id);
    if (heard) d->heard_at[r->id] = n->now;
    uint64_t silent = n->now - d->heard_at[r->id];
    switch (r->state) {
    case RING_NODE_JOINING:
    case RING_NODE_GONE: return heard ? RING_NODE_SERVING : r->state;
    case RING_NODE_SERVING:
    case RING_NODE_DRAINING: return silent > DOWN_AFTER ? RING_NODE_DOWN : r->state;
    case RING_NODE_DOWN:
        if (heard) return RING_NODE_SERVING;
        return silent > n->ring.grace_ms * MS ? RING_NODE_GONE : r->state;
    default: return r->state;
    }
}

static bool look_at_nodes(struct driver *d)
{
    struct node *n = d->node;
    bool asking = false;
    for (uint16_t i = 1; i <= RING_NODES_MAX; i++) {
        const struct ring_node *r = &n->ring_node[i];
        if (!r->id) continue;
        uint8_t next = state_next(d, r);
        if (next == r->state || asking) continue;
        node_log(n, "node %u is %s (was %s)", i, ring_node_state_name(next),
                 ring_node_state_name(r->state));
        ask(d, "STATE", (uint64_t[]){i, next}, 2);
        asking = true;
    }
    return asking;
}

/* ---- the plan ---- */

struct plan {
    struct placement_node node[RING_NODES_MAX];
    struct placement_group *group;
    struct placement_target *target;
    struct placement_move *running;
    void *scratch;
    struct placement_input in;
    struct placement_summary summary;
    uint32_t running_count;
};

static uint16_t zone_number(const struct node *n, uint16_t id)
{
    for (uint16_t i = 1; i < id; i++) /* the first node of the zone names it */
        if (n->ring_node[i].id && strcmp(n->ring_node[i].zone, n->ring_node[id].zone) == 0)
            return i;
    return id;
}

static int role_of(uint8_t state)
{
    switch (state) {
    case RING_NODE_SERVING: return PLACEMENT_HOLDS;
    case RING_NODE_DRAINING: return PLACEMENT_LEAVES;
    case RING_NODE_DOWN: return PLACEMENT_KEEPS;
    case RING_NODE_GONE: return PLACEMENT_DEAD;
    default: return -1;
    }
}

static void plan_node(struct plan *p, const struct node *n, const struct ring_node *r)
{
    int role = r->id ? role_of(r->state) : -1;
    if (role < 0) return;
    p->node[p->in.node_count++] = (struct placement_node){.id = r->id,
                                                          .role = (uint8_t)role,
                                                          .zone = zone_number(n, r->id),
                                                          .capacity = r->capacity,
                                                          .witness = r->witness};
}

static bool has_voter_on(const struct ring_group *r, uint16_t node)
{
    int at = paxos_config_member(&r->config, node);
    return at >= 0 && r->config.member[at].role != PAXOS_LEARNER;
}

/* The voters as they are, or as the move under way will leave them: what is planned beside it must
 * not count on what it takes away, or two exchanges follow each other for ever. */
static void plan_voters(struct placement_group *g, const struct ring_group *r)
{
    for (int i = 0; i < r->target_count; i++) g->node[g->count++] = r->target[i];
    for (int i = 0; i < r->config.count && !r->target_count; i++)
        if (r->config.member[i].role != PAXOS_LEARNER)
            g->node[g->count++] = r->config.member[i].node;
}

static void plan_running(struct plan *p, const struct ring_group *r, uint16_t leader)
{
    struct placement_move *m = &p->running[p->running_count++];
    *m = (struct placement_move){.group = r->id, .source = leader};
    for (int i = 0; i < r->target_count; i++)
        if (!has_voter_on(r, r->target[i])) m->add = r->target[i];
    for (int i = 0; i < r->config.count && r->target_count; i++)
        if (!ring_group_is_target(r, r->config.member[i].node)) m->drop = r->config.member[i].node;
}

static void plan_group(struct plan *p, struct node *n, const struct ring_group *r)
{
    struct group_says says = says_now(n, r->id);
    struct placement_group *g = &p->group[p->in.group_count++];
    *g = (struct placement_group){
        .id = r->id, .size = says.keys, .load = says.load, .leader = says.leader};
    if (!has_voter_on(r, g->leader)) g->leader = 0;
    if (ring_group_changes(r)) plan_running(p, r, g->leader);
    plan_voters(g, r);
    if (r->target_count && !ring_group_is_target(r, g->leader)) g->leader = 0;
}

static bool plan_make(struct plan *p, struct node *n)
{
    *p = (struct plan){0};
    p->group = mem_zalloc((n->group_count + 1) * sizeof *p->group);
    p->target = mem_zalloc((n->group_count + 1) * sizeof *p->target);
    p->running = mem_zalloc((n->group_count + 1) * sizeof *p->running);
    for (uint16_t i = 1; i <= RING_NODES_MAX; i++) plan_node(p, n, &n->ring_node[i]);
    for (uint32_t i = 0; i < n->group_count; i++)
        if (n->group[i]->row.state == RING_GROUP_SERVING) plan_group(p, n, &n->group[i]->row);
    p->in.nodes = p->node;
    p->in.groups = p->group;
    p->in.options = (struct placement_options){.replicas = (uint8_t)n->ring.replicas,
                                               .tolerance_permille = TOLERANCE,
                                               .size_part = 1,
                                               .load_part = 0,
                                               .count_part = 3};
    p->scratch = mem_alloc(placement_scratch_size(p->in.node_count, p->in.group_count) + 1);
    if (!p->in.node_count || !p->in.group_count) return false;
    placement_plan(&p->in, p->scratch, p->target, &p->summary);
    return true;
}

static void plan_free(struct plan *p)
{
    mem_free(p->group);
    mem_free(p->target);
    mem_free(p->running);
    mem_free(p->scratch);
}

static const struct placement_group *planned_group(const struct plan *p, uint32_t id)
{
    for (size_t i = 0; i < p->in.group_count; i++)
        if (p->group[i].id == id) return &p->group[i];
    return NULL;
}

/* A move as the list of nodes that are to hold the group's voters after it. */
static void ask_move(struct driver *d, const struct plan *p, const struct placement_move *m)
{
    uint64_t number[1 + PAXOS_MEMBERS_MAX] = {m->group};
    uint32_t count = 1;
    const struct placement_group *g = planned_group(p, m->group);
    for (int i = 0; g && i < g->count; i++)
        if (g->node[i] != m->drop) number[count++] = g->node[i];
    if (m->add) number[count++] = m->add;
    if (count > 1) ask(d, "TARGET", number, count);
}

/* A newcomer must serve; a voter that is there already may be away, but not for good. */
static bool may_be_target(const struct node *n, const struct ring_group *r, uint16_t node)
{
    uint8_t state = n->ring_node[node].state;
    return has_voter_on(r, node) ? state < RING_NODE_GONE : state == RING_NODE_SERVING;
}

/* A move towards a node that has died, or is to leave itself, is called off: voters that are there
 * stay instead. A dead node may have become a voter by then, beside a leader that was to go. */
static bool call_off(struct driver *d, const struct plan *p)
{
    struct node *n = d->node;
    for (uint32_t i = 0; i < p->running_count; i++) {
        const struct ring_group *r = &n->group[p->running[i].group]->row;
        uint64_t number[1 + PAXOS_MEMBERS_MAX] = {r->id};
        uint32_t count = 1;
        for (int k = 0; k < r->target_count; k++)
            if (may_be_target(n, r, r->target[k])) number[count++] = r->target[k];
        if (count == 1u + r->target_count) continue;
        for (int k = 0; k < r->config.count && count < 1u + r->target_count; k++) {
            uint16_t node = r->config.member[k].node;
            if (!ring_group_is_target(r, node) && has_voter_on(r, node) &&
                may_be_target(n, r, node))
                number[count++] = node;
        }
        if (count == 1) continue;
        ask(d, "TARGET", number, count);
        return true;
    }
    return false;
}

static bool ask_leader(struct driver *d, const struct plan *p)
{
    struct node *n = d->node;
    for (size_t i = 0; i < p->in.group_count; i++) {
        const struct placement_group *g = &p->group[i];
        const struct ring_group *row = &n->group[g->id]->row;
        uint16_t to = p->target[i].leader;
        bool known =
            g->leader && to && to != g->leader && to != row->leader && !p->target[i].changed;
        if (!known || row->target_count || paxos_config_member(&row->config, to) < 0) continue;
        ask(d, "LEADER", (uint64_t[]){g->id, to}, 2);
        return true;
    }
    return false;
}

/* Too many keys, or too much to do for one leader. */
static bool is_large(struct node *n, uint32_t group)
{
    struct group_says s = says_now(n, group);
    return (n->ring.split_keys && s.keys > n->ring.split_keys) ||
           (n->ring.split_ops && s.load > n->ring.split_ops);
}

static bool ask_split(struct driver *d)
{
    struct node *n = d->node;
    bool wanted = n->ring.split_keys || n->ring.split_ops;
    for (uint32_t i = 0; i < n->group_count && wanted; i++) {
        const struct ring_group *r = &n->group[i]->row;
        if (ring_group_changes(r) || r->slot_hi - r->slot_lo < 2 || !is_large(n, i)) continue;
        ask(d, "SPLIT", (uint64_t[]){i}, 1);
        return true;
    }
    return false;
}

/* Together they would not be half of what is split again. */
static bool are_small(struct node *n, uint32_t left, uint32_t right)
{
    struct group_says a = says_now(n, left), b = says_now(n, right);
    uint64_t keys = a.keys + b.keys, load = a.load + b.load;
    return a.leader && b.leader && keys < n->ring.merge_keys &&
           (!n->ring.split_keys || keys <= n->ring.split_keys / 2) &&
           (!n->ring.split_ops || load <= n->ring.split_ops / 2);
}

/* Small neighbours that are on the same nodes: nothing has to move. */
static bool ask_merge(struct driver *d)
{
    struct node *n = d->node;
    for (uint32_t i = 1; i < n->group_count && n->ring.merge_keys; i++) {
        const struct ring_group *left = &n->group[i]->row;
        if (ring_group_changes(left) || left->slot_hi == SLOT_COUNT) continue;
        uint32_t next = n->slot_group[left->slot_hi];
        const struct ring_group *right = &n->group[next]->row;
        if (ring_group_changes(right) || right->slot_lo != left->slot_hi ||
            !ring_same_nodes(&left->config, &right->config) || !are_small(n, i, next))
            continue;
        ask(d, "MERGE", (uint64_t[]){i}, 1);
        return true;
    }
    return false;
}

/* Nobody is dropped for whom there is no other, though it is gone: what is left would need all of
 * itself, and the one that is gone may come back with its disk. */
static bool may_move(const struct driver *d, const struct plan *p, const struct placement_move *m)
{
    const struct placement_group *g = planned_group(p, m->group);
    return m->add || !g || g->count > d->node->ring.replicas;
}

#define MOVES_LOOK 64

/* The most urgent move that may be made; false: none. */
static bool next_move(struct driver *d, struct plan *p, struct placement_move *out)
{
    struct placement_move move[MOVES_LOOK];
    if (p->running_count >= d->node->ring.moves_max) return false;
    size_t count =
        placement_first_moves(&p->in, p->target, p->running, p->running_count,
                              (struct placement_limits){MOVES_LOOK, PER_NODE}, p->scratch, move);
    for (size_t i = 0; i < count; i++) {
        if (!may_move(d, p, &move[i])) continue;
        *out = move[i];
        return true;
    }
    return false;
}

static void look_at_groups(struct driver *d)
{
    struct plan p;
    struct placement_move move;
    if (!d->node->ring.moves_max) return;
    if (plan_make(&p, d->node) && !call_off(d, &p)) {
        if (next_move(d, &p, &move))
            ask_move(d, &p, &move);
        else if (!d->asking && !ask_leader(d, &p) && !ask_split(d))
            (void)ask_merge(d);
    }
    plan_free(&p);
}

void driver_turn(struct node *n)
{
    if (n->now < n->driver_at || !n->group_count) return;
    n->driver_at = n->now + LOOK_EVERY;
    struct driver *d = driver_of(n);
    if (!n->group[0]->leading || !n->ring.epoch) {
        d->leading = false;
        return;
    }
    if (!d->leading) { /* silence is counted from here */
        for (uint16_t i = 1; i <= RING_NODES_MAX; i++) d->heard_at[i] = n->now;
        d->leading = true;
        d->plan_at = n->now + 5 * PLAN_EVERY;
    }
    if (d->asking || look_at_nodes(d)) return;
    if (n->now < d->plan_at && (n->ring.epoch == d->plan_epoch || n->now < d->plan_soonest)) return;
    uint64_t began = io_now(n->io);
    d->plan_epoch = n->ring.epoch;
    look_at_groups(d);
    uint64_t took = io_now(n->io) - began;
    d->plan_soonest = n->now + PLAN_EVERY + PLAN_SHARE * took;
    d->plan_at = d->plan_soonest + (d->asking ? 0 : PLAN_IDLE);
}

/* ---- for people ---- */

void driver_plan(struct node *n, struct buf *out)
{
    struct plan p;
    if (!plan_make(&p, n)) {
        buf_printf(out, "there is nothing to plan yet\n");
        plan_free(&p);
        return;
    }
    for (size_t i = 0; i < p.in.group_count; i++) {
        const struct placement_target *t = &p.target[i];
        if (!t->changed) continue;
        buf_printf(out, "group %u:", p.group[i].id);
        for (int k = 0; k < p.group[i].count; k++) buf_printf(out, " %u", p.group[i].node[k]);
        buf_printf(out, " ->");
        for (int k = 0; k < t->count; k++) buf_printf(out, " %u", t->node[k]);
        buf_printf(out, "\n");
    }
    if (p.running_count)
        buf_printf(out, "%u groups change now; the plan is for after that\n", p.running_count);
    const struct placement_summary *s = &p.summary;
    buf_printf(
        out,
        "%zu groups change, %zu replicas move (%llu keys); imbalance %.1f %% now, %.1f %% after\n",
        s->groups_changed, s->replicas_moved, (unsigned long long)s->size_moved,
        s->imbalance_before / 10.0, s->imbalance_after / 10.0);
    if (s->groups_short)
        buf_printf(out, "%zu groups have fewer than %u replicas, for want of nodes\n",
                   s->groups_short, n->ring.replicas);
    if (s->groups_stay)
        buf_printf(out, "%zu groups stay on a node that is to leave, for want of another\n",
                   s->groups_stay);
    if (s->groups_lost)
        buf_printf(out, "%zu groups have no replica left on a node that is up\n", s->groups_lost);
    plan_free(&p);
}
