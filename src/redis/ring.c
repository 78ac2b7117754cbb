/* SYNOD MAP, NODE, GROUP and SET: changes of the cluster map (ring/ring.h). They are commands like
 * any other, evaluated at the leader of group 0 over the view of its rows: so a change is
 * replicated, linearizable, and answered when it is chosen. Every check comes before the first
 * write.
 *
 * MAP is what nodes say to each other (CMD_INTERNAL): a node that joins, a leader that reports its
 * group's members, the driver that moves things (node/driver.c). The others are the operator's. */
#include "base/mutant.h"
#include "redis/multi.h"
#include "redis/once.h"
#include "redis/ring_rows.h"

#include <string.h>

#define ERR_BAD_ROW "ERR not a row of the cluster map"

static bool text_arg(struct bytes from, char *to, size_t size)
{
    if (from.size >= size || (from.size && memchr(from.data, 0, from.size))) return false;
    memset(to, 0, size);
    if (from.size) memcpy(to, from.data, from.size);
    return true;
}

/* ---- the nodes' part ---- */

/* MAP BOOT row...: the first map of a cluster, once. */
static void map_boot(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct ring_row row;
    enum row_found found = row_get(v, RING_ROW_SETTINGS, 0, &row);
    if (found == ROW_MISS) return;
    struct change c = {.v = v, .out = out};
    for (uint32_t i = 3; i < a->count; i++) {
        if (!ring_row_decode(a->v[i], &row)) {
            reply_error(out, ERR_BAD_ROW);
            return;
        }
        if (row.type == RING_ROW_SETTINGS) c.settings = row.settings;
    }
    for (uint32_t i = 3; i < a->count && found == ROW_ABSENT; i++)
        if (ring_row_decode(a->v[i], &row) && row.type != RING_ROW_SETTINGS) row_put(&c, &row);
    change_end(&c);
    reply_ok(out);
}

struct joiner {
    const struct ring_node *wanted;
    struct ring_node same, rival; /* of that disk; at that address, with another disk */
};

static void join_look(void *ctx, const struct ring_node *n)
{
    struct joiner *j = ctx;
    bool claimed = n->disk || strcmp(n->peer, j->wanted->peer) != 0;
    if ((n->disk == j->wanted->disk && !MUTANT(MUTANT_DISK_TWO_IDS)) || !claimed)
        j->same = *n;
    else if (n->state != RING_NODE_REMOVED && strcmp(n->peer, j->wanted->peer) == 0)
        j->rival = *n;
}

static void join_rows(struct change *c, struct joiner *j, struct ring_node *n)
{
    if (j->same.id) {
        n->id = j->same.id;
        n->state = j->same.state;
        n->drained = j->same.drained;
        n->witness = j->same.witness;
        n->since_ms = j->same.since_ms;
        /* The first word on it counts; after that it is the operator's (NODE CAPACITY). */
        if (j->same.client[0]) n->capacity = j->same.capacity;
    } else {
        n->id = c->settings.next_node++;
        n->state = RING_NODE_JOINING;
        n->since_ms = c->v->now_ms;
    }
    if (j->rival.id && j->rival.state != RING_NODE_GONE) { /* its disk is lost, or it moved away */
        j->rival.drained = j->rival.state == RING_NODE_DRAINING || j->rival.drained;
        j->rival.state = RING_NODE_GONE;
        j->rival.since_ms = c->v->now_ms;
        node_put(c, &j->rival);
    }
    node_put(c, n);
}

/* MAP JOIN disk capacity peer client http zone [witness]: the id of the node with this data
 * directory, which is new or known. A new directory at the address of a node that is down is that
 * node's, rebuilt: the old one is given up, for its disk can never come back under that address. */
static void map_join(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct change c;
    struct ring_node n = {0};
    int64_t disk, capacity;
    if (!change_begin(&c, v, out)) return;
    n.witness = a->count == 10 && arg_is(a, 9, "witness");
    if (a->count != 9u + n.witness || !bytes_to_i64(a->v[3], &disk) ||
        !bytes_to_i64(a->v[4], &capacity) || capacity < 1 || capacity > 1000000 ||
        !text_arg(a->v[5], n.peer, sizeof n.peer) ||
        !text_arg(a->v[6], n.client, sizeof n.client) ||
        !text_arg(a->v[7], n.http, sizeof n.http) || !text_arg(a->v[8], n.zone, sizeof n.zone) ||
        !n.peer[0]) {
        reply_error(out, ERR_SYNTAX);
        return;
    }
    n.disk = (uint64_t)disk;
    n.capacity = (uint32_t)capacity;
    struct joiner j = {.wanted = &n};
    if (!rows_walk(v, &(struct walk){.node = join_look, .ctx = &j})) return;
    if (j.same.state == RING_NODE_REMOVED)
        reply_errorf(out,
                     "REMOVED node %u was removed from this cluster; use an empty data directory "
                     "to join anew",
                     j.same.id);
    else if (!j.same.id && j.rival.id && ring_node_lives(&j.rival))
        reply_errorf(out, "INUSE node %u is alive at %s; give the new node an address of its own",
                     j.rival.id, n.peer);
    else if (!j.same.id && c.settings.next_node > RING_NODES_MAX)
        reply_errorf(out, "FULL this cluster has given out all of its %d node ids", RING_NODES_MAX);
    else {
        join_rows(&c, &j, &n);
        change_end(&c);
        reply_i64(out, n.id);
    }
}

/* MAP NODE id: the row's addresses and disk are filled in by the node itself (founding nodes know
 * only each other's peer addresses). MAP STATE id state: the driver's word on who lives. */
static void map_state(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct change c;
    struct ring_node n;
    int64_t id, state;
    if (!change_begin(&c, v, out) || !arg_i64(&c, a, 3, &id) || !arg_i64(&c, a, 4, &state) ||
        !node_of(&c, id, &n))
        return;
    if (state < RING_NODE_JOINING || state > RING_NODE_GONE || n.state == RING_NODE_REMOVED) {
        reply_error(out, ERR_SYNTAX);
        return;
    }
    if (n.state != state) {
        bool away = state == RING_NODE_DOWN || state == RING_NODE_GONE;
        if (away)
            n.drained |= n.state == RING_NODE_DRAINING;
        else if (n.drained && state == RING_NODE_SERVING)
            state = RING_NODE_DRAINING, n.drained = false;
        n.state = (uint8_t)state;
        n.since_ms = v->now_ms;
        node_put(&c, &n);
        change_end(&c);
    }
    reply_ok(out);
}

/* MAP REPORT row: a leader says what its group's configuration is. */
static void map_report(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct change c;
    struct ring_row row;
    struct ring_group g;
    if (!change_begin(&c, v, out)) return;
    if (a->count != 4 || !ring_row_decode(a->v[3], &row) || row.type != RING_ROW_GROUP) {
        reply_error(out, ERR_BAD_ROW);
        return;
    }
    if (!group_of(&c, row.group.id, &g)) return;
    bool newer = row.group.config_position > g.config_position;
    if (newer) {
        g.config = row.group.config;
        g.config_position = row.group.config_position;
        if (!merge_hold_members(&c, &g)) return;
    }
    bool reached = g.target_count && ring_group_reached(&g, &g.config);
    if (reached) g.target_count = 0;
    if (newer || reached) {
        group_put(&c, &g);
        change_end(&c);
    }
    reply_ok(out);
}

/* MAP BORN parent at: the parent made its upper half a group. Its members are the parent's until
 * its own leader reports: by then it may have others, and who is not in a reported configuration
 * lets go of its replica. */
static void map_born(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct change c;
    struct ring_group g, child;
    int64_t id, at;
    if (!change_begin(&c, v, out) || !arg_i64(&c, a, 3, &id) || !arg_i64(&c, a, 4, &at) ||
        !group_of(&c, id, &g))
        return;
    if (g.split_id && g.split_at == at) {
        if (!group_of(&c, g.split_id, &child)) return;
        child.slot_lo = (uint16_t)at;
        child.slot_hi = g.slot_hi;
        child.state = RING_GROUP_SERVING;
        if (!child.config_position) child.config = g.config;
        g.slot_hi = (uint16_t)at;
        g.split_id = 0;
        g.split_at = 0;
        group_put(&c, &g);
        group_put(&c, &child);
        change_end(&c);
    }
    reply_ok(out);
}

/* MAP TARGET group node...: the nodes that are to hold the group's voters. */
static void map_target(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct change c;
    struct ring_group g;
    struct ring_node n;
    int64_t id, node;
    if (!change_begin(&c, v, out) || !arg_i64(&c, a, 3, &id) || !group_of(&c, id, &g)) return;
    if (a->count < 5 || a->count > 4 + PAXOS_MEMBERS_MAX) {
        reply_error(out, ERR_SYNTAX);
        return;
    }
    g.target_count = 0;
    for (uint32_t i = 4; i < a->count; i++) {
        if (!arg_i64(&c, a, i, &node) || !node_of(&c, node, &n)) return;
        if (ring_group_is_target(&g, (uint16_t)node)) {
            reply_errorf(out, "ERR node %lld is named twice; a group has one replica a node",
                         (long long)node);
            return;
        }
        g.target[g.target_count++] = (uint16_t)node;
    }
    group_put(&c, &g); /* reached or not is for the leader to say: it knows its members */
    change_end(&c);
    reply_ok(out);
}

static void map_leader(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct change c;
    struct ring_group g;
    int64_t id, node;
    if (!change_begin(&c, v, out) || !arg_i64(&c, a, 3, &id) || !arg_i64(&c, a, 4, &node) ||
        !group_of(&c, id, &g))
        return;
    int at =
        node > 0 && node <= RING_NODES_MAX ? paxos_config_member(&g.config, (uint16_t)node) : -1;
    if (at < 0 || g.config.member[at].role != PAXOS_VOTER) {
        reply_errorf(out, "ERR node %lld has no voting replica of group %lld", (long long)node,
                     (long long)id);
        return;
    }
    if (g.leader != node) {
        g.leader = (uint16_t)node;
        group_put(&c, &g);
        change_end(&c);
    }
    reply_ok(out);
}

static void cmd_group(struct view *v, const struct cmd_args *a, struct reply *out);

static void cmd_map(struct view *v, const struct cmd_args *a, struct reply *out)
{
    static const struct {
        const char *name;
        void (*fn)(struct view *v, const struct cmd_args *a, struct reply *out);
    } part[] = {{"boot", map_boot},     {"join", map_join},     {"state", map_state},
                {"report", map_report}, {"target", map_target}, {"born", map_born},
                {"leader", map_leader}, {"split", cmd_group},   {"merge", map_merge},
                {"sealed", map_sealed}, {"open", map_open},     {"merged", map_merged}};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        if (!arg_is(a, 2, part[i].name)) continue;
        part[i].fn(v, a, out);
        return;
    }
    reply_error(out, ERR_SYNTAX);
}

/* ---- the operator's part: nodes ---- */

/* What a node's leaving would mean. */
struct leaving {
    uint16_t node;
    uint32_t holds;      /* groups with a replica on it */
    uint32_t serving;    /* other nodes that take data */
    bool witness;        /* another one takes witnesses */
    uint32_t moving;     /* groups whose members are changing: their last report may be old */
    uint32_t endangered; /* a group that would be without a majority while it is rebuilt */
    bool danger;
    uint64_t alive; /* bit per node */
};

static void leaving_node(void *ctx, const struct ring_node *n)
{
    struct leaving *l = ctx;
    if (n->id == l->node) return;
    l->serving += n->state == RING_NODE_SERVING && !n->witness;
    l->witness |= n->state == RING_NODE_SERVING && n->witness;
    if (ring_node_lives(n)) l->alive |= 1ull << n->id;
}

static void leaving_group(void *ctx, const struct ring_group *g)
{
    struct leaving *l = ctx;
    uint32_t voters = 0, alive = 0;
    l->moving += g->target_count > 0;
    if (paxos_config_member(&g->config, l->node) < 0) return;
    l->holds++;
    for (int i = 0; i < g->config.count; i++) {
        if (g->config.member[i].role == PAXOS_LEARNER) continue;
        voters++;
        alive += (uint32_t)(l->alive >> g->config.member[i].node & 1);
    }
    if (alive > voters / 2 || l->danger) return;
    l->danger = true;
    l->endangered = g->id;
}

static bool leaving_look(struct change *c, struct leaving *l)
{
    /* Nodes first: their rows come behind the groups' ('g' < 'n'). */
    return rows_walk(c->v, &(struct walk){.node = leaving_node, .ctx = l}) &&
           rows_walk(c->v, &(struct walk){.group = leaving_group, .ctx = l});
}

static bool leaving_refused(struct change *c, const struct leaving *l, const char *what)
{
    bool tie = l->witness && l->serving >= 2 && l->serving % 2 == 0; /* placement.h, R8 */
    if (l->holds && l->serving + tie < c->settings.replicas) {
        reply_errorf(c->out,
                     "REFUSED %s node %u would leave %u nodes for groups of %u replicas; let "
                     "another node join first%s",
                     what, l->node, l->serving, c->settings.replicas,
                     l->serving ? ", or have fewer: `synod set replicas N`" : "");
        return true;
    }
    if (l->danger) {
        reply_errorf(c->out,
                     "REFUSED %s node %u: group %u would have no majority left alive; bring the "
                     "nodes that are down "
                     "back first",
                     what, l->node, l->endangered);
        return true;
    }
    return false;
}

static void node_set_state(struct change *c, struct ring_node *n, uint8_t state)
{
    n->state = state;
    n->drained = false;
    n->since_ms = c->v->now_ms;
    node_put(c, n);
    change_end(c);
    reply_ok(c->out);
}

static void node_drain(struct change *c, struct ring_node *n)
{
    struct leaving l = {.node = n->id};
    if (n->state == RING_NODE_DRAINING) {
        reply_ok(c->out);
        return;
    }
    if (n->state != RING_NODE_SERVING && n->state != RING_NODE_JOINING) {
        reply_errorf(
            c->out,
            "REFUSED node %u is %s, there is nothing to drain; `synod node remove %u` gives it up",
            n->id, ring_node_state_name(n->state), n->id);
        return;
    }
    if (!leaving_look(c, &l) || leaving_refused(c, &l, "draining")) return;
    node_set_state(c, n, RING_NODE_DRAINING);
}

static void node_remove(struct change *c, struct ring_node *n)
{
    struct leaving l = {.node = n->id};
    if (n->state == RING_NODE_REMOVED) {
        reply_ok(c->out);
        return;
    }
    if (!leaving_look(c, &l)) return;
    if (l.holds == 0 && l.moving) {
        reply_errorf(c->out,
                     "TRYAGAIN %u groups are being moved, perhaps to node %u; remove it when they "
                     "have settled",
                     l.moving, n->id);
        return;
    }
    if (l.holds == 0) {
        node_set_state(c, n, RING_NODE_REMOVED);
        return;
    }
    if (n->state == RING_NODE_DRAINING) { /* empty by its groups' own word, perhaps: reports lag */
        reply_errorf(c->out,
                     "TRYAGAIN node %u still holds %u replicas, which are on their way to other "
                     "nodes; remove it when it is empty",
                     n->id, l.holds);
        return;
    }
    if (ring_node_lives(n)) {
        reply_errorf(c->out,
                     "REFUSED node %u still holds %u replicas; `synod node drain %u` first, and "
                     "wait until it is empty",
                     n->id, l.holds, n->id);
        return;
    }
    if (leaving_refused(c, &l, "giving up")) return;
    if (n->state != RING_NODE_GONE) {
        n->state = RING_NODE_GONE;
        n->since_ms = c->v->now_ms;
        node_put(c, n);
        change_end(c);
    }
    reply_errorf(c->out,
                 "TRYAGAIN node %u is given up; its %u replicas are being rebuilt elsewhere, "
                 "remove it when none is left",
                 n->id, l.holds);
}

/* SYNOD NODE DRAIN|UNDRAIN|REMOVE id, SYNOD NODE CAPACITY id n */
static void cmd_node(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct change c;
    struct ring_node n;
    int64_t id, capacity;
    if (!change_begin(&c, v, out) || !arg_i64(&c, a, 3, &id) || !node_of(&c, id, &n)) return;
    if (arg_is(a, 2, "drain") && a->count == 4) {
        node_drain(&c, &n);
    } else if (arg_is(a, 2, "remove") && a->count == 4) {
        node_remove(&c, &n);
    } else if (arg_is(a, 2, "undrain") && a->count == 4) {
        if (n.state == RING_NODE_DRAINING)
            node_set_state(&c, &n, RING_NODE_SERVING);
        else
            reply_errorf(out, "REFUSED node %u is %s, not draining", n.id,
                         ring_node_state_name(n.state));
    } else if (arg_is(a, 2, "capacity") && a->count == 5) {
        if (!arg_i64(&c, a, 4, &capacity)) return;
        if (capacity < 1 || capacity > 1000000) {
            reply_error(out, "ERR a capacity is 1 to 1000000; 100 is one share");
            return;
        }
        n.capacity = (uint32_t)capacity;
        node_put(&c, &n);
        change_end(&c);
        reply_ok(out);
    } else {
        reply_error(out,
                    "ERR syntax: SYNOD NODE DRAIN id | UNDRAIN id | REMOVE id | CAPACITY id n");
    }
}

/* ---- the operator's part: groups ---- */

static void group_move(struct change *c, struct ring_group *g, const struct cmd_args *a)
{
    struct ring_node n, old;
    int64_t from, to;
    if (!arg_i64(c, a, 4, &from) || !arg_i64(c, a, 5, &to) || !node_of(c, to, &n)) return;
    if (!group_is_free(c, g)) return;
    int at =
        from > 0 && from <= RING_NODES_MAX ? paxos_config_member(&g->config, (uint16_t)from) : -1;
    if (at < 0 || paxos_config_member(&g->config, n.id) >= 0 || n.state != RING_NODE_SERVING) {
        reply_errorf(c->out,
                     at < 0 ? "ERR node %lld has no replica of group %u"
                     : n.state != RING_NODE_SERVING
                         ? "REFUSED node %lld is not serving (group %u)"
                         : "ERR node %lld has a replica of group %u already",
                     (long long)(at < 0 ? from : to), g->id);
        return;
    }
    if (!node_of(c, from, &old)) return;
    if (n.witness != old.witness) {
        reply_errorf(c->out, "REFUSED node %u is a witness, and the replica to be moved %s",
                     n.witness ? n.id : old.id, n.witness ? "is none" : "stays one");
        return;
    }
    for (int i = 0; i < g->config.count; i++)
        g->target[g->target_count++] = i == at ? n.id : g->config.member[i].node;
    group_put(c, g);
    change_end(c);
    reply_ok(c->out);
}

static void group_split(struct change *c, struct ring_group *g, const struct cmd_args *a)
{
    int64_t at = (g->slot_lo + g->slot_hi) / 2;
    if (a->count > 4 && !arg_i64(c, a, 4, &at)) return;
    if (!group_is_free(c, g)) return;
    if (at <= g->slot_lo || at >= g->slot_hi) {
        reply_errorf(c->out,
                     "ERR group %u has slots %u to %u; split it at a slot above the first of them",
                     g->id, g->slot_lo, g->slot_hi - 1);
    } else if (c->settings.next_group >= RING_GROUPS_MAX) {
        reply_errorf(c->out, "ERR there are %d groups, which is the limit", RING_GROUPS_MAX);
    } else {
        struct ring_group child = {.id = c->settings.next_group++,
                                   .state = RING_GROUP_BORN,
                                   .slot_lo = (uint16_t)at,
                                   .slot_hi = g->slot_hi};
        g->split_id = child.id;
        g->split_at = (uint16_t)at;
        group_put(c, g);
        group_put(c, &child);
        change_end(c);
        reply_i64(c->out, child.id);
    }
}

/* SYNOD GROUP MOVE id from to | SPLIT id [slot] | MERGE id | TRANSFER id node */
static void cmd_group(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct change c;
    struct ring_group g;
    int64_t id;
    if (!change_begin(&c, v, out) || !arg_i64(&c, a, 3, &id) || !group_of(&c, id, &g)) return;
    if (arg_is(a, 2, "move") && a->count == 6)
        group_move(&c, &g, a);
    else if (arg_is(a, 2, "split") && a->count <= 5)
        group_split(&c, &g, a);
    else if (arg_is(a, 2, "merge") && a->count == 4)
        map_merge(v, a, out);
    else if (arg_is(a, 2, "transfer") && a->count == 5)
        map_leader(v, a, out);
    else
        reply_error(out, "ERR syntax: SYNOD GROUP MOVE id from to | SPLIT id [slot] | MERGE id | "
                         "TRANSFER id node");
}

/* SYNOD SET name value */
static void cmd_set(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct change c;
    int64_t value;
    if (!change_begin(&c, v, out) || !arg_i64(&c, a, 3, &value)) return;
    if (arg_is(a, 2, "replicas") && value >= 1 && value <= 5)
        c.settings.replicas = (uint32_t)value;
    else if (arg_is(a, 2, "grace-ms") && value >= 1000 && value <= 86400000)
        c.settings.grace_ms = (uint32_t)value;
    else if (arg_is(a, 2, "moves-max") && value >= 0 && value <= RING_GROUPS_MAX)
        c.settings.moves_max = (uint32_t)value;
    else if (arg_is(a, 2, "split-keys") && value >= 0)
        c.settings.split_keys = (uint64_t)value;
    else if (arg_is(a, 2, "split-ops") && value >= 0)
        c.settings.split_ops = (uint64_t)value;
    else if (arg_is(a, 2, "merge-keys") && value >= 0)
        c.settings.merge_keys = (uint64_t)value;
    else {
        reply_error(out, "ERR settings: replicas 1-5, grace-ms 1000-86400000, moves-max 0-16384 (0 "
                         "stops all moves), "
                         "split-keys n, split-ops n, merge-keys n (0: never)");
        return;
    }
    c.settings.epoch++;
    c.changed = true;
    change_end(&c);
    reply_ok(out);
}

#define SYSTEM(name, arity, flags, fn, summary, syntax)                                            \
    {                                                                                              \
        name, "synod", arity, CMD_SYSTEM | CMD_WRITE | CMD_ADMIN | CMD_NOSCRIPT | (flags), 0, 0,   \
            0, CMD_SPREAD_NONE, fn, "cluster", "synod 0.1",                                        \
            "O(N) where N is the number of nodes and groups", summary, syntax                      \
    }

/* What nodes send each other of a client's transaction (redis/multi.h). */
#define TRANSACTION(name, flags, fn, summary)                                                      \
    {                                                                                              \
        name, "synod", -3, CMD_INTERNAL | CMD_NOSCRIPT | (flags), 0, 0, 0, CMD_SPREAD_NONE, fn,    \
            "cluster", "synod 0.1", "Depends on commands in the transaction", summary, ""          \
    }

const struct command ring_commands[] = {
    TRANSACTION("exec", CMD_WRITE | CMD_DENYOOM, multi_exec, "A transaction"),
    TRANSACTION("exec-free", CMD_WRITE, multi_exec, "A transaction that needs no room"),
    TRANSACTION("exec-read", CMD_READONLY, multi_exec, "A transaction that only reads"),
    SYSTEM(
        "group", -4, 0, cmd_group,
        "Move a replica, split a group at a slot, merge it with the next, or hand its leadership "
        "over",
        "<MOVE id from to | SPLIT id [slot] | MERGE id | TRANSFER id node>"),
    SYSTEM("map", -3, CMD_INTERNAL, cmd_map, "What nodes tell the keeper of the cluster map", ""),
    SYSTEM("node", -4, 0, cmd_node, "Drain a node, take it back, remove it, or weigh it",
           "<DRAIN id | UNDRAIN id | REMOVE id | CAPACITY id n>"),
    {"once", "synod", -4, CMD_INTERNAL | CMD_NOSCRIPT | CMD_WRITE | CMD_DENYOOM, 0, 0, 0,
     CMD_SPREAD_NONE, once_run, "cluster", "synod 0.1", "The command's",
     "A request that is done once, however often it is sent", ""},
    SYSTEM("set", 4, 0, cmd_set, "Change a setting of the cluster",
           "<replicas | grace-ms | moves-max | split-keys | split-ops | merge-keys> value"),
    {"watch", "synod", -3, CMD_INTERNAL | CMD_NOSCRIPT | CMD_READONLY, 2, -1, 1, CMD_SPREAD_NONE,
     multi_watch, "cluster", "synod 0.1", "O(1) for every key", "Is a key written to from here on?",
     "key [key ...]"},
    {"watch-all", "synod", -3, CMD_INTERNAL | CMD_NOSCRIPT | CMD_READONLY, 2, -1, 1,
     CMD_SPREAD_CONCAT, multi_watch, "cluster", "synod 0.1", "O(1) for every key",
     "Is a key written to from here on?", "key [key ...]"},
};
const size_t ring_command_count = sizeof ring_commands / sizeof *ring_commands;
