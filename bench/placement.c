/* How fast a large cluster is planned, how even it gets, and how much moves. Figures for people;
 * nothing is asserted.
 *
 *   bench_placement [NODES [GROUPS]]     default: 1000 nodes in 10 zones, 16000 groups, 3 replicas
 *
 * "moved" is to the least that had to move: what a leaver held, a newcomer's fair share. */
#include "base/prng.h"
#include "ring/placement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ZONES = 10, SPARE = 10, TOLERANCE = 50, REPLICAS = 3 };

struct cluster {
    struct placement_input in;
    struct placement_node *nodes; /* SPARE more than in.node_count */
    struct placement_group *groups;
    struct placement_target *targets;
    void *scratch;
};

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* The sizes of groups: all the same; from half to one and a half; from 1 to 16, small ones the most
 * (1 / x). */
static uint64_t size_of(struct prng *r, char kind)
{
    uint64_t any = prng_below(r, 1001);
    if (kind == 'e') return 1000000;
    if (kind == 'u') return 500000 + any * 1000;
    return 16000000 / (1000 + any * 15) * 1000;
}

static void found(struct cluster *c, size_t nodes, size_t groups, char kind)
{
    struct prng r;
    prng_init(&r, 7);
    c->nodes = calloc(nodes + SPARE, sizeof *c->nodes);
    c->groups = calloc(groups, sizeof *c->groups);
    c->targets = calloc(groups, sizeof *c->targets);
    c->scratch = malloc(placement_scratch_size(nodes + SPARE, groups));
    for (size_t i = 0; i < nodes + SPARE; i++)
        c->nodes[i] = (struct placement_node){
            .id = (uint16_t)(i + 1), .zone = (uint16_t)(i % ZONES), .capacity = 100};
    for (size_t g = 0; g < groups; g++)
        c->groups[g] = (struct placement_group){
            .id = (uint32_t)g + 1, .size = size_of(&r, kind), .load = size_of(&r, kind)};
    c->in = (struct placement_input){
        .nodes = c->nodes,
        .node_count = nodes,
        .groups = c->groups,
        .group_count = groups,
        .options = {.replicas = REPLICAS, .tolerance_permille = TOLERANCE, 3, 1, 1}};
}

static void adopt(struct cluster *c)
{
    for (size_t g = 0; g < c->in.group_count; g++) {
        struct placement_group *group = &c->groups[g];
        group->count = c->targets[g].count;
        memcpy(group->node, c->targets[g].node, sizeof group->node);
        group->leader = c->targets[g].leader;
    }
}

static void plan(struct cluster *c, const char *what)
{
    struct placement_summary s;
    double start = cpu_ms();
    placement_plan(&c->in, c->scratch, c->targets, &s);
    double took = cpu_ms() - start;
    char moved[32] = "-";
    if (s.weight_minimum)
        (void)snprintf(moved, sizeof moved, "%.3f",
                       (double)s.weight_moved / (double)s.weight_minimum);
    printf("| %s | %.0f | %.1f | %.1f | %zu | %s | %zu | %.1f |%s%s\n", what, took,
           s.imbalance_before / 10.0, s.imbalance_after / 10.0, s.replicas_moved, moved,
           s.leaders_changed, s.leader_imbalance_after / 10.0,
           s.leaders_held ? " leaders held" : "", s.cut_short ? " cut short" : "");
}

static void restore(struct cluster *c, const struct placement_group *groups, size_t nodes)
{
    memcpy(c->groups, groups, c->in.group_count * sizeof *groups);
    c->in.node_count = nodes;
    for (size_t i = 0; i < nodes; i++) c->nodes[i].role = PLACEMENT_HOLDS;
}

static void set_roles(struct cluster *c, size_t first, size_t step, size_t count, uint8_t role)
{
    for (size_t i = 0; i < count; i++) c->nodes[first + i * step].role = role;
}

/* Every group on three of the first few nodes. */
static void crowd(struct cluster *c, size_t few)
{
    struct prng r;
    prng_init(&r, 8);
    for (size_t g = 0; g < c->in.group_count; g++) {
        size_t any = prng_below(&r, few);
        for (size_t i = 0; i < REPLICAS; i++) c->groups[g].node[i] = c->nodes[(any + i) % few].id;
        c->groups[g].count = REPLICAS;
        c->groups[g].leader = c->groups[g].node[0];
    }
}

static void run(size_t nodes, size_t groups, char kind, const char *name)
{
    struct cluster c;
    found(&c, nodes, groups, kind);
    printf(
        "\n%s\n\n"
        "| | CPU ms | imbalance before %% | after %% | replicas moved | moved | leaders changed | "
        "leaders' imbalance %% |\n|---|--:|--:|--:|--:|--:|--:|--:|\n",
        name);
    plan(&c, "founding");
    adopt(&c);
    plan(&c, "nothing to do");
    struct placement_group *founded = malloc(groups * sizeof *founded);
    memcpy(founded, c.groups, groups * sizeof *founded);

    c.in.node_count = nodes + 1;
    plan(&c, "1 joins");
    c.in.node_count = nodes + 10;
    plan(&c, "10 join");
    restore(&c, founded, nodes);
    set_roles(&c, 5, 1, 1, PLACEMENT_LEAVES);
    plan(&c, "1 leaves");
    restore(&c, founded, nodes);
    set_roles(&c, 5, 37, 10, PLACEMENT_LEAVES);
    plan(&c, "10 leave");
    restore(&c, founded, nodes);
    set_roles(&c, 0, ZONES, nodes / ZONES, PLACEMENT_KEEPS);
    plan(&c, "a zone is down");
    set_roles(&c, 0, ZONES, nodes / ZONES, PLACEMENT_DEAD);
    plan(&c, "a zone is dead");
    adopt(&c);
    set_roles(&c, 0, ZONES, nodes / ZONES, PLACEMENT_HOLDS);
    plan(&c, "the zone is back, empty");
    crowd(&c, nodes / 5);
    plan(&c, "all on a fifth of the nodes");
    free(founded);
    free(c.nodes);
    free(c.groups);
    free(c.targets);
    free(c.scratch);
}

int main(int argc, char **argv)
{
    size_t nodes = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
    size_t groups = argc > 2 ? strtoul(argv[2], NULL, 10) : 16000;
    run(nodes, groups, 'e', "Groups of equal size and load");
    run(nodes, groups, 'u', "Sizes and loads from half to one and a half of the mean");
    run(nodes, groups, 's', "Sizes and loads from 1 to 16, small ones the most");
    return 0;
}
