/* Merging as the map sees it. A group takes its right neighbour over: MERGE marks both; the right
 * one's leader brings its replicas to the left one's nodes, seals it, and says where (SEALED) once
 * all of its members have that on disk. Up to then it may call it off (OPEN); from then on the left
 * one's leader makes it one group, and says so (MERGED). */
#include "redis/ring_rows.h"

struct neighbour {
    uint16_t slot;  /* wanted: the one that begins here, */
    uint32_t taken; /* or that is to take this one over; 0: by the slot */
    struct ring_group found;
    bool is;
};

static void neighbour_look(void *ctx, const struct ring_group *g)
{
    struct neighbour *n = ctx;
    if (g->state != RING_GROUP_SERVING) return;
    if (n->taken ? g->merge_id != n->taken : g->slot_lo != n->slot) return;
    n->found = *g;
    n->is = true;
}

static bool neighbour_find(struct change *c, struct neighbour *n)
{
    return rows_walk(c->v, &(struct walk){.group = neighbour_look, .ctx = n});
}

static void call_off(struct change *c, struct ring_group *left, struct ring_group *right)
{
    right->merging = false;
    right->sealed = 0;
    group_put(c, right);
    if (!left) return;
    left->merge_id = 0;
    group_put(c, left);
}

static void target_put(struct ring_group *g, const struct paxos_config *at)
{
    g->target_count = 0;
    for (int i = 0; i < at->count; i++)
        if (at->member[i].role != PAXOS_LEARNER) g->target[g->target_count++] = at->member[i].node;
}

/* MAP MERGE id, GROUP MERGE id: the group takes over the one whose slots follow; its id. */
void map_merge(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct change c;
    struct ring_group g;
    int64_t id;
    if (!change_begin(&c, v, out) || !arg_i64(&c, a, 3, &id) || !group_of(&c, id, &g)) return;
    struct neighbour right = {.slot = g.slot_hi};
    if (!neighbour_find(&c, &right)) return;
    if (g.id == 0) { /* were it short of a quorum, nobody could be told that the other is gone */
        reply_error(out, "ERR group 0 keeps the cluster map, and takes no other group over");
        return;
    }
    if (g.slot_hi == SLOT_COUNT) {
        reply_errorf(out,
                     "ERR group %u has the last slots; a group takes over the one whose slots "
                     "follow, so merge its left neighbour",
                     g.id);
        return;
    }
    if (!group_is_free(&c, &g)) return;
    if (!right.is) {
        reply_errorf(out, "TRYAGAIN the group at slot %u is being born", g.slot_hi);
        return;
    }
    if (!group_is_free(&c, &right.found)) return;
    g.merge_id = right.found.id;
    right.found.merging = true;
    right.found.sealed = 0;
    if (!ring_same_nodes(&g.config, &right.found.config)) target_put(&right.found, &g.config);
    group_put(&c, &g);
    group_put(&c, &right.found);
    change_end(&c);
    reply_i64(out, right.found.id);
}

/* The group of the third word, if it is being merged, and who takes it over. False: answered (1: it
 * may open again), or missed. */
static bool merging_of(struct change *c, const struct cmd_args *a, struct ring_group *g,
                       struct neighbour *left)
{
    int64_t id;
    if (!change_begin(c, c->v, c->out) || !arg_i64(c, a, 3, &id) || !group_of(c, id, g))
        return false;
    *left = (struct neighbour){.taken = g->id};
    if (g->merging) return neighbour_find(c, left);
    reply_i64(c->out, 1);
    return false;
}

/* 0: it is sealed, and stays so; 1: it may open again. At position 0 it is not to be. */
static void seal_or_call_off(struct change *c, struct ring_group *g, struct neighbour *left,
                             uint64_t position)
{
    bool meet = left->is && !left->found.target_count && !g->target_count &&
                ring_same_nodes(&g->config, &left->found.config);
    /* A lower one may be an old word, of a merge that was called off. */
    if (meet && position > g->sealed) {
        g->sealed = position;
        group_put(c, g);
    } else if (!g->sealed) {
        call_off(c, left->is ? &left->found : NULL, g);
    }
    change_end(c);
    reply_i64(c->out, g->sealed == 0);
}

/* MAP SEALED id position: it is sealed there, on disk at all of its members. It may open again if
 * the two are not where they were. */
void map_sealed(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct change c = {.v = v, .out = out};
    struct ring_group g;
    struct neighbour left;
    int64_t position;
    if (merging_of(&c, a, &g, &left) && arg_i64(&c, a, 4, &position))
        seal_or_call_off(&c, &g, &left, (uint64_t)position);
}

/* MAP OPEN id: its leader calls the merge off, for it takes too long, or knows of none. It may be
 * too late for that. */
void map_open(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct change c = {.v = v, .out = out};
    struct ring_group g;
    struct neighbour left;
    if (merging_of(&c, a, &g, &left)) seal_or_call_off(&c, &g, &left, 0);
}

/* MAP MERGED id right: the group has that neighbour's slots. Said more than once, so it counts only
 * while that one is the neighbour (seed 6002302). */
void map_merged(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct change c;
    struct ring_group g, right;
    int64_t id, taken;
    if (!change_begin(&c, v, out) || !arg_i64(&c, a, 3, &id) || !arg_i64(&c, a, 4, &taken) ||
        !group_of(&c, id, &g))
        return;
    if (g.merge_id && g.merge_id == taken) {
        if (!group_of(&c, taken, &right)) return;
        if (!right.sealed) {
            reply_error(out, "ERR the group was not sealed, and so cannot have been taken over");
            return;
        }
        g.slot_hi = right.slot_hi;
        g.merge_id = 0;
        right = (struct ring_group){.id = right.id,
                                    .state = RING_GROUP_FREE,
                                    .slot_lo = right.slot_hi,
                                    .slot_hi = right.slot_hi};
        group_put(&c, &g);
        group_put(&c, &right);
        change_end(&c);
    }
    reply_ok(out);
}

bool merge_hold_members(struct change *c, struct ring_group *g)
{
    struct ring_group right;
    if (!g->merge_id) return true;
    if (!group_of(c, g->merge_id, &right)) return false;
    if (right.sealed && !ring_same_nodes(&g->config, &right.config)) target_put(g, &right.config);
    return true;
}
