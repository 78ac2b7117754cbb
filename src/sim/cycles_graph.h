/* Dependencies between transactions, and the shortest cycles among them. Pure but for memory;
 * nothing recurs, so that long histories need no deep stack. */
#ifndef SYNOD_SIM_CYCLES_GRAPH_H
#define SYNOD_SIM_CYCLES_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Why `from` comes before `to`. Sets of them are sums. */
enum dependency {
    DEPENDS_WW = 1, /* it wrote the version before */
    DEPENDS_WR = 2, /* it wrote what the other one read */
    DEPENDS_RW = 4, /* it read, and did not see what the other one wrote */
    DEPENDS_RT = 8, /* it had ended before the other one began */
};

struct graph_edge {
    uint32_t from, to;
    uint8_t kind;
    uint32_t key, value, before; /* RT: none. WW: `before` is what `from` wrote */
};

/* {.nodes = n} has no edges. */
struct graph {
    uint32_t nodes;
    struct graph_edge *edge; /* by graph_components: in the order of `from` */
    size_t edges, capacity;
    size_t *start;       /* [node], [nodes]: its first edge */
    uint32_t *component; /* [node]: nodes that reach each other have the same one */
};

void graph_add(struct graph *g, struct graph_edge edge);
void graph_deinit(struct graph *g);

/* Tarjan's strongly connected components (1972). True: there is a cycle. Once, after all edges. */
bool graph_components(struct graph *g);

/* The shortest cycle of an edge of a kind in `first` and any number of those in `rest`, into
 * cycle[] (room for as many as there are nodes), each edge's `to` being the next one's `from`.
 * Returns its length; 0: there is none. */
uint32_t graph_shortest_cycle(const struct graph *g, unsigned first, unsigned rest,
                              struct graph_edge *cycle);

#endif
