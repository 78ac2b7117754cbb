#include "ring/ring.h"

const char *ring_node_state_name(uint8_t state)
{
    static const char *const names[] = {"free", "joining", "serving", "draining",
                                        "down", "gone",    "removed"};
    return state < sizeof names / sizeof *names ? names[state] : "?";
}

bool ring_group_is_target(const struct ring_group *g, uint16_t node)
{
    for (int i = 0; i < g->target_count; i++)
        if (g->target[i] == node) return true;
    return false;
}

bool ring_group_changes(const struct ring_group *g)
{
    return g->state != RING_GROUP_SERVING || g->target_count || g->split_id || g->merge_id ||
           g->merging;
}

bool ring_same_nodes(const struct paxos_config *a, const struct paxos_config *b)
{
    if (a->count != b->count) return false;
    for (int i = 0; i < a->count; i++) {
        int at = paxos_config_member(b, a->member[i].node);
        if (at < 0 || a->member[i].role == PAXOS_LEARNER || a->member[i].role != b->member[at].role)
            return false;
    }
    return true;
}

bool ring_group_reached(const struct ring_group *g, const struct paxos_config *c)
{
    if (c->count != g->target_count) return false;
    for (int i = 0; i < c->count; i++)
        if (c->member[i].role == PAXOS_LEARNER || !ring_group_is_target(g, c->member[i].node))
            return false;
    return true;
}
