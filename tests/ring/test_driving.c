/* Moves made as the driver makes them: planned again whenever one begins or ends, a few under way
 * at once, which end in any order. What is planned beside a move must take it as made; then all
 * comes to rest. */
#include "test.h"
#include "base/prng.h"
#include "ring/placement.h"

#define NODES  12
#define GROUPS 24
#define MOVES  3 /* under way at once */

struct world {
    struct placement_node node[NODES];
    struct placement_group group[GROUPS]; /* as they are */
    struct placement_group then[GROUPS];  /* ... and as moves under way will leave them */
    struct placement_target target[GROUPS];
    struct placement_summary sum;
    struct placement_input in;
    struct placement_move running[MOVES];
    size_t running_count, made;
};

static void world_init(struct world *w, size_t nodes, size_t groups)
{
    *w = (struct world){0};
    assert_true(nodes <= NODES && groups <= GROUPS);
    w->in = (struct placement_input){w->node, nodes, w->then, groups, {3, 50, 1, 0, 3}};
    for (size_t i = 0; i < nodes; i++)
        w->node[i] = (struct placement_node){.id = (uint16_t)(i + 1), .zone = 1, .capacity = 100};
    for (size_t g = 0; g < groups; g++) w->group[g].id = (uint32_t)g;
}

static void make(struct placement_group *g, const struct placement_move *m)
{
    for (size_t i = 0; m->drop && i < g->count; i++)
        if (g->node[i] == m->drop) g->node[i] = g->node[--g->count];
    if (m->add) g->node[g->count++] = m->add;
    if (g->leader == m->drop) g->leader = g->node[0];
}

/* Begins the most urgent move that there is room for. */
static bool begin(struct world *w)
{
    size_t size = placement_scratch_size(w->in.node_count, w->in.group_count);
    void *scratch = malloc(size);
    memcpy(w->then, w->group, sizeof w->then);
    for (size_t i = 0; i < w->running_count; i++)
        make(&w->then[w->running[i].group], &w->running[i]);
    placement_plan(&w->in, scratch, w->target, &w->sum);
    struct placement_move move[MOVES];
    bool any = w->running_count < MOVES &&
               placement_first_moves(&w->in, w->target, w->running, w->running_count,
                                     (struct placement_limits){MOVES, 2}, scratch, move) > 0;
    if (any) w->running[w->running_count++] = move[0];
    free(scratch);
    return any;
}

static void end(struct world *w, size_t i)
{
    make(&w->group[w->running[i].group], &w->running[i]);
    w->running[i] = w->running[--w->running_count];
    w->made++;
}

/* True if it came to rest within so many moves. */
static bool drive(struct world *w, struct prng *r, size_t most)
{
    while (w->made <= most) {
        if (begin(w)) continue;
        if (!w->running_count) return true;
        end(w, prng_below(r, w->running_count));
    }
    return false;
}

static void found(struct world *w)
{
    size_t size = placement_scratch_size(w->in.node_count, w->in.group_count);
    void *scratch = malloc(size);
    memcpy(w->then, w->group, sizeof w->then);
    placement_plan(&w->in, scratch, w->target, &w->sum);
    for (size_t g = 0; g < w->in.group_count; g++) {
        w->group[g].count = w->target[g].count;
        memcpy(w->group[g].node, w->target[g].node, sizeof w->group[g].node);
        w->group[g].leader = w->target[g].leader;
    }
    free(scratch);
}

static void is_on(struct world *w, size_t g, uint64_t size, uint16_t a, uint16_t b, uint16_t c)
{
    w->group[g] = (struct placement_group){
        .id = (uint32_t)g, .size = size, .count = 3, .node = {a, b, c}, .leader = a};
}

TEST(an_exchange_is_not_undone_by_the_next)
{
    struct prng r;
    prng_init(&r, 1);
    for (int i = 0; i < 1000; i++) {
        struct world w;
        world_init(&w, 7, 4);
        w.node[1].role = PLACEMENT_KEEPS;
        w.node[2].capacity = 63;
        w.node[3].capacity = 292;
        is_on(&w, 0, 10, 4, 6, 7);
        is_on(&w, 1, 31, 4, 3, 5);
        is_on(&w, 2, 7, 4, 1, 5);
        is_on(&w, 3, 6, 1, 6, 4);
        assert_true(drive(&w, &r, 6));
    }
}

TEST(any_cluster_comes_to_rest)
{
    struct prng r;
    prng_init(&r, 2);
    size_t made = 0, wanted = 0, longest = 0;
    for (int i = 0; i < 2000; i++) {
        struct world w;
        world_init(&w, 4 + prng_below(&r, NODES - 3), 1 + prng_below(&r, GROUPS));
        for (size_t k = 0; k < w.in.node_count; k++) {
            if (prng_below(&r, 3) == 0) w.node[k].capacity = (uint32_t)(50 + prng_below(&r, 250));
            w.node[k].zone = (uint16_t)(1 + prng_below(&r, 1 + prng_below(&r, 4)));
        }
        found(&w);
        for (size_t g = 0; g < w.in.group_count; g++) w.group[g].size = prng_below(&r, 40);
        if (prng_below(&r, 2)) w.node[prng_below(&r, w.in.node_count)].role = PLACEMENT_LEAVES;
        if (prng_below(&r, 2)) w.node[prng_below(&r, w.in.node_count)].role = PLACEMENT_DEAD;
        if (prng_below(&r, 2)) w.node[prng_below(&r, w.in.node_count)].capacity = 300;
        begin(&w);
        size_t least = w.sum.replicas_moved;
        if (!drive(&w, &r, 10 * least + 40)) fail_msg("world %d does not come to rest", i);
        wanted += least;
        made += w.made;
        if (w.made > least && w.made - least > longest) longest = w.made - least;
    }
    print_message("%zu moves made, %zu planned at first; at most %zu more\n", made, wanted,
                  longest);
    assert_true(made <= wanted + wanted / 4);
}

TEST_MAIN
