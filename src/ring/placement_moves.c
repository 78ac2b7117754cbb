#include "ring/placement_impl.h"

#include <string.h>

/* Urgency: 0 to SPARE_MAX for groups in danger, by how many voters they can lose before they have
 * no majority. */
#define SPARE_MAX 3u
enum { RANK_LEAVES = SPARE_MAX + 1, RANK_REST, RANKS, RANK_NONE = RANKS };

struct moves {
    const struct placement_input *in;
    struct placement_limits limits;
    uint16_t *busy; /* by node's index: moves that it sends or receives */
    struct placement_move *out;
    size_t count, running;
};

static size_t node_index(const struct placement_input *in, uint16_t id)
{
    size_t low = 0, high = in->node_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (in->nodes[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < in->node_count && in->nodes[low].id == id ? low : in->node_count;
}

static enum placement_role role_of(const struct placement_input *in, uint16_t id)
{
    size_t i = node_index(in, id);
    return i == in->node_count ? PLACEMENT_DEAD : (enum placement_role)in->nodes[i].role;
}

static bool is_up(const struct placement_input *in, uint16_t id)
{
    enum placement_role role = role_of(in, id);
    return role == PLACEMENT_HOLDS || role == PLACEMENT_LEAVES;
}

static bool has(const uint16_t *node, size_t count, uint16_t id)
{
    for (size_t i = 0; i < count; i++)
        if (node[i] == id) return true;
    return false;
}

static unsigned rank_of(const struct placement_input *in, const struct placement_group *g,
                        const struct placement_target *t)
{
    unsigned up = 0, majority = g->count / 2u + 1;
    bool danger = g->count < t->count, leaves = false;
    if (!t->changed || !g->count) return RANK_NONE;
    for (size_t i = 0; i < g->count; i++) {
        up += is_up(in, g->node[i]);
        if (has(t->node, t->count, g->node[i])) continue;
        danger |= role_of(in, g->node[i]) == PLACEMENT_DEAD;
        leaves |= role_of(in, g->node[i]) == PLACEMENT_LEAVES;
    }
    if (up < majority) return RANK_NONE;
    if (danger) return up - majority < SPARE_MAX ? up - majority : SPARE_MAX;
    return leaves ? RANK_LEAVES : RANK_REST;
}

/* The leader, if it is up; else the first voter that is. */
static uint16_t source_of(const struct placement_input *in, const struct placement_group *g)
{
    if (has(g->node, g->count, g->leader) && is_up(in, g->leader)) return g->leader;
    for (size_t i = 0; i < g->count; i++)
        if (is_up(in, g->node[i])) return g->node[i];
    return 0;
}

static bool has_room(const struct moves *m, uint16_t id)
{
    size_t i = node_index(m->in, id);
    return i < m->in->node_count && m->busy[i] < m->limits.per_node;
}

static void occupy(struct moves *m, uint16_t id)
{
    size_t i = node_index(m->in, id);
    if (i < m->in->node_count) m->busy[i]++;
}

/* Dead before down before leaving before holding, the leader last. */
static uint16_t drop_of(const struct placement_input *in, const struct placement_group *g,
                        const struct placement_target *t)
{
    static const uint8_t order[] = {
        [PLACEMENT_DEAD] = 8, [PLACEMENT_KEEPS] = 6, [PLACEMENT_LEAVES] = 4, [PLACEMENT_HOLDS] = 2};
    uint16_t best = 0;
    int best_value = -1;
    for (size_t i = 0; i < g->count; i++) {
        if (has(t->node, t->count, g->node[i])) continue;
        int value = order[role_of(in, g->node[i])] + (g->node[i] != g->leader);
        if (value <= best_value) continue;
        best = g->node[i];
        best_value = value;
    }
    return best;
}

/* False if there is no room for it now. */
static bool start_move(struct moves *m, const struct placement_group *g,
                       const struct placement_target *t)
{
    struct placement_move move = {.group = g->id};
    unsigned wanting = 0;
    for (size_t i = 0; i < t->count && !move.add; i++) {
        if (has(g->node, g->count, t->node[i])) continue;
        wanting++;
        if (has_room(m, t->node[i])) move.add = t->node[i];
    }
    if (wanting && !move.add) return false;
    if (move.add) {
        move.source = source_of(m->in, g);
        if (!has_room(m, move.source)) return false;
        occupy(m, move.source);
        occupy(m, move.add);
    }
    if (g->count + (move.add != 0) > t->count) move.drop = drop_of(m->in, g, t);
    m->out[m->count++] = move;
    return true;
}

static bool is_running(const struct placement_move *running, size_t count, uint32_t group)
{
    for (size_t i = 0; i < count; i++)
        if (running[i].group == group) return true;
    return false;
}

size_t placement_first_moves(const struct placement_input *in,
                             const struct placement_target *targets,
                             const struct placement_move *running, size_t running_count,
                             struct placement_limits limits, void *scratch,
                             struct placement_move *moves)
{
    struct moves m = {.in = in, .limits = limits, .busy = scratch, .out = moves};
    memset(m.busy, 0, in->node_count * sizeof *m.busy);
    for (size_t i = 0; i < running_count; i++) {
        if (running[i].add) occupy(&m, running[i].source);
        if (running[i].add) occupy(&m, running[i].add);
    }
    for (unsigned rank = 0; rank < RANKS; rank++)
        for (size_t g = 0; g < in->group_count; g++) {
            if (running_count + m.count >= limits.total) return m.count;
            if (!targets[g].changed || rank_of(in, &in->groups[g], &targets[g]) != rank) continue;
            if (!is_running(running, running_count, in->groups[g].id))
                (void)start_move(&m, &in->groups[g], &targets[g]);
        }
    return m.count;
}
