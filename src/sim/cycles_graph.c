#include "sim/cycles_graph.h"

#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

void graph_add(struct graph *g, struct graph_edge edge)
{
    ASSERT(edge.from < g->nodes && edge.to < g->nodes && edge.from != edge.to && !g->start);
    if (g->edges == g->capacity) {
        g->capacity = g->capacity ? 2 * g->capacity : 256;
        g->edge = mem_realloc(g->edge, g->capacity * sizeof *g->edge);
    }
    g->edge[g->edges++] = edge;
}

void graph_deinit(struct graph *g)
{
    mem_free(g->edge);
    mem_free(g->start);
    mem_free(g->component);
    *g = (struct graph){0};
}

/* ---- components ---- */

static void edges_sort(struct graph *g)
{
    struct graph_edge *sorted = mem_alloc((g->edges + 1) * sizeof *sorted);
    g->start = mem_zalloc((g->nodes + 2) * sizeof *g->start);
    for (size_t i = 0; i < g->edges; i++) g->start[g->edge[i].from + 2]++;
    for (uint32_t n = 1; n <= g->nodes; n++) g->start[n + 1] += g->start[n];
    for (size_t i = 0; i < g->edges; i++) sorted[g->start[g->edge[i].from + 1]++] = g->edge[i];
    mem_free(g->edge);
    g->edge = sorted;
}

/* Nodes are numbered as they are met; `low` is the least number that a node is known to reach among
 * those that are of no component yet. */
struct visit {
    struct graph *g;
    uint32_t *number, *low; /* [node]; number 0: not met yet */
    size_t *next;           /* [node]: the edge to follow next */
    uint32_t *open, *path;  /* met, and of no component yet; from the root to here */
    uint32_t opens, depth, met;
    bool cyclic;
};

static void visit_enter(struct visit *v, uint32_t node)
{
    v->number[node] = v->low[node] = ++v->met;
    v->next[node] = v->g->start[node];
    v->open[v->opens++] = node;
    v->path[v->depth++] = node;
}

static void visit_reaches(struct visit *v, uint32_t node, uint32_t number)
{
    if (number < v->low[node]) v->low[node] = number;
}

static void visit_leave(struct visit *v)
{
    uint32_t node = v->path[--v->depth], last;
    if (v->depth) visit_reaches(v, v->path[v->depth - 1], v->low[node]);
    if (v->low[node] != v->number[node]) return;
    v->cyclic |= v->open[v->opens - 1] != node;
    do {
        last = v->open[--v->opens];
        v->g->component[last] = node + 1;
    } while (last != node);
}

static void visit_from(struct visit *v, uint32_t root)
{
    const struct graph *g = v->g;
    visit_enter(v, root);
    while (v->depth) {
        uint32_t node = v->path[v->depth - 1];
        if (v->next[node] == g->start[node + 1]) {
            visit_leave(v);
            continue;
        }
        uint32_t to = g->edge[v->next[node]++].to;
        if (!v->number[to])
            visit_enter(v, to);
        else if (!g->component[to])
            visit_reaches(v, node, v->number[to]);
    }
}

bool graph_components(struct graph *g)
{
    size_t room = (g->nodes + 1) * sizeof(uint32_t);
    ASSERT(!g->start);
    edges_sort(g);
    g->component = mem_zalloc(room);
    struct visit v = {.g = g,
                      .number = mem_zalloc(room),
                      .low = mem_alloc(room),
                      .next = mem_alloc((g->nodes + 1) * sizeof(size_t)),
                      .open = mem_alloc(room),
                      .path = mem_alloc(room)};
    for (uint32_t n = 0; n < g->nodes; n++)
        if (!v.number[n]) visit_from(&v, n);
    ASSERT(v.opens == 0 && v.met == g->nodes);
    mem_free(v.number), mem_free(v.low), mem_free(v.next), mem_free(v.open), mem_free(v.path);
    return v.cyclic;
}

/* ---- cycles ---- */

struct search {
    const struct graph *g;
    unsigned rest;
    uint32_t round;           /* of this search */
    uint32_t *seen;           /* [node]: the last round that came here */
    uint32_t *length, *queue; /* [node]: of the way here */
    size_t *by;               /* [node]: the edge by which it came */
};

/* The length of the shortest way, if it is below `bound`; else 0. Breadth first. */
static uint32_t search_way(struct search *s, uint32_t from, uint32_t to, uint32_t bound)
{
    const struct graph *g = s->g;
    uint32_t head = 0, tail = 0;
    s->seen[from] = ++s->round;
    s->length[from] = 0;
    s->queue[tail++] = from;
    while (head < tail) {
        uint32_t node = s->queue[head++], length = s->length[node] + 1;
        if (length >= bound) return 0;
        for (size_t i = g->start[node]; i < g->start[node + 1]; i++) {
            const struct graph_edge *e = &g->edge[i];
            if (!(e->kind & s->rest) || s->seen[e->to] == s->round) continue;
            if (g->component[e->to] != g->component[from]) continue;
            s->seen[e->to] = s->round;
            s->length[e->to] = length;
            s->by[e->to] = i;
            if (e->to == to) return length;
            s->queue[tail++] = e->to;
        }
    }
    return 0;
}

/* The edge `first`, and the way back that was just found. */
static void cycle_take(const struct search *s, const struct graph_edge *first, uint32_t way,
                       struct graph_edge *cycle)
{
    uint32_t node = first->from;
    cycle[0] = *first;
    for (uint32_t i = way; i > 0; i--) {
        cycle[i] = s->g->edge[s->by[node]];
        node = cycle[i].from;
    }
    ASSERT(node == first->to);
}

uint32_t graph_shortest_cycle(const struct graph *g, unsigned first, unsigned rest,
                              struct graph_edge *cycle)
{
    size_t room = (g->nodes + 1) * sizeof(uint32_t);
    uint32_t best = g->nodes + 1;
    struct search s = {.g = g,
                       .rest = rest,
                       .seen = mem_zalloc(room),
                       .length = mem_alloc(room),
                       .queue = mem_alloc(room),
                       .by = mem_alloc((g->nodes + 1) * sizeof(size_t))};
    for (size_t i = 0; i < g->edges; i++) {
        const struct graph_edge *e = &g->edge[i];
        if (!(e->kind & first) || g->component[e->from] != g->component[e->to]) continue;
        uint32_t way = search_way(&s, e->to, e->from, best - 1);
        if (!way) continue;
        best = way + 1;
        cycle_take(&s, e, way, cycle);
    }
    mem_free(s.seen), mem_free(s.length), mem_free(s.queue), mem_free(s.by);
    return best <= g->nodes ? best : 0;
}
