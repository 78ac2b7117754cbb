/* The explorer's search: breadth first over all worlds within the bounds, each once, or random
 * walks. explorer.c says what a world is and what is checked in it.
 *
 *   explorer [--ballots N] [--data N] [--crashes N] [--dups N] [--fetches N] [--leases]
 *            [--configs N] [--learners 0] [--mutant N] [--walks N] [--seed S] [--max-states N]
 *
 * --walks: random paths instead of breadth first, for bounds that are too wide to exhaust. Exit
 * status: 0 nothing found, 1 found (the path is printed), 2 usage or memory. */
#include "explorer.h"

#include "base/prng.h"

#include <time.h>

int mutant_active;
sigjmp_buf on_assert;

/* ---- the search ---- */

struct node {
    uint32_t parent;
    struct action action;
};
static struct node *nodes;
static struct {
    uint64_t *data;
} * blobs; /* of nodes not yet expanded */
static struct seen seen;
static uint64_t states, states_max = 12000000, transitions;

static void remember(uint32_t parent, struct action a)
{
    static uint64_t scratch[sizeof(struct world) / 4];
    size_t n = squeeze(w, sizeof *w, scratch);
    blobs[states].data = must(malloc(n * 8));
    memcpy(blobs[states].data, scratch, n * 8);
    nodes[states] = (struct node){parent, a};
    states += 1;
}

/* Does `a` from the present world; false if the result is outside the bounds. An assertion of the
 * core is a violation too. */
static bool try_act(struct action a)
{
    out_of_bounds = false;
    if (sigsetjmp(on_assert, 0)) {
        violate("an assertion of the core failed (its text is above)");
        return true;
    }
    act(a);
    transitions += 1;
    return !out_of_bounds;
}

static void print_path(uint32_t at, struct action last)
{
    static struct action path[10000];
    size_t n = 0;
    path[n++] = last;
    for (; at; at = nodes[at].parent) path[n++] = nodes[at].action;
    genesis();
    narrate = true;
    violation = NULL;
    printf("counter-example, %zu steps:\n", n);
    while (n-- > 0) (void)try_act(path[n]);
    narrate = false;
}

static int search(void)
{
    seen_init(&seen, states_max);
    nodes = must(malloc(states_max * sizeof *nodes));
    blobs = must(malloc(states_max * sizeof *blobs));
    static struct action list[4 * NET];
    uint64_t depth_end = 1, depth = 0;
    clock_t start = clock();
    genesis();
    (void)seen_add(&seen, world_hash());
    remember(0, (struct action){0});
    for (uint64_t at = 0; at < states; at++) {
        if (at == depth_end) depth += 1, depth_end = states;
        expand(blobs[at].data, w, sizeof *w);
        uint32_t n = actions(list);
        for (uint32_t i = 0; i < n; i++) {
            if (i) expand(blobs[at].data, w, sizeof *w);
            bool inside = try_act(list[i]);
            if (violation) {
                const char *what = violation;
                printf("VIOLATED: %s (mutant %d, after %llu states)\n", what, mutant_active,
                       (unsigned long long)states);
                print_path((uint32_t)at, list[i]);
                return 1;
            }
            if (!inside || !seen_add(&seen, world_hash())) continue;
            if (states == states_max) {
                printf("explorer: more than %llu states within the bounds: not exhaustive (depth "
                       "%llu reached)\n",
                       (unsigned long long)states, (unsigned long long)depth);
                return mutant_active ? 0 : 2;
            }
            remember((uint32_t)at, list[i]);
        }
        free(blobs[at].data);
    }
    printf("explorer: exhaustive: %u ballots, %u data entries, %u crashes, %u duplicates%s: %llu "
           "states, %llu transitions, depth %llu, "
           "%.1f s\n",
           bound.ballots, bound.data, bound.crashes, bound.dups,
           bound.configs  ? ", reconfiguration"
           : bound.leases ? ", leases"
                          : "",
           (unsigned long long)states, (unsigned long long)transitions, (unsigned long long)depth,
           (double)(clock() - start) / CLOCKS_PER_SEC);
    return 0;
}

static int walk(uint64_t walks, uint64_t seed)
{
    static struct action list[4 * NET], path[400];
    struct prng r;
    uint64_t steps = 0;
    nodes = must(malloc(sizeof *nodes));
    for (uint64_t k = 0; k < walks; k++) {
        prng_init(&r, seed + k);
        genesis();
        uint32_t n = 0, length = 0;
        while (length < 400 && (n = actions(list)) > 0) {
            struct action a = list[prng_below(&r, n)];
            path[length++] = a;
            bool inside = try_act(a);
            steps += 1;
            if (violation) {
                printf("VIOLATED: %s (mutant %d, walk %llu, %u steps)\n", violation, mutant_active,
                       (unsigned long long)(seed + k), length);
                genesis();
                narrate = true;
                for (uint32_t i = 0; i < length; i++) (void)try_act(path[i]);
                return 1;
            }
            if (!inside) break;
        }
    }
    printf("explorer: %llu walks, %llu steps: %u ballots, %u data entries, %u crashes%s\n",
           (unsigned long long)walks, (unsigned long long)steps, bound.ballots, bound.data,
           bound.crashes,
           bound.configs  ? ", reconfiguration"
           : bound.leases ? ", leases"
                          : "");
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t walks = 0, seed = 1;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (!strcmp(a, "--leases")) {
            bound.leases = true, bound.times = 5, bound.beats = 2, bound.handovers = 1;
            continue;
        }
        if (!strcmp(a, "--soak")) {
            bound.ballots = 3, states_max = 60000000;
            continue;
        }
        if (i + 1 == argc) return fprintf(stderr, "explorer: %s needs a number\n", a), 2;
        uint64_t v = (uint64_t)atoll(argv[++i]);
        if (!strcmp(a, "--ballots"))
            bound.ballots = (uint32_t)v;
        else if (!strcmp(a, "--data"))
            bound.data = (uint32_t)v;
        else if (!strcmp(a, "--crashes"))
            bound.crashes = (uint32_t)v;
        else if (!strcmp(a, "--dups"))
            bound.dups = (uint32_t)v;
        else if (!strcmp(a, "--fetches"))
            bound.fetches = (uint32_t)v;
        else if (!strcmp(a, "--times"))
            bound.times = (uint32_t)v;
        else if (!strcmp(a, "--beats"))
            bound.beats = (uint32_t)v;
        else if (!strcmp(a, "--handovers"))
            bound.handovers = (uint32_t)v;
        else if (!strcmp(a, "--configs"))
            bound.configs = N == 3 ? 0 : (uint32_t)v;
        else if (!strcmp(a, "--learners"))
            bound.learners = (uint32_t)v;
        else if (!strcmp(a, "--mutant"))
            mutant_active = (int)v;
        else if (!strcmp(a, "--walks"))
            walks = v;
        else if (!strcmp(a, "--seed"))
            seed = v;
        else if (!strcmp(a, "--max-states"))
            states_max = v;
        else
            return fprintf(stderr, "explorer: unknown option %s\n", a), 2;
    }
    w = must(calloc(1, sizeof *w));
    signal(SIGABRT, on_abort);
    setvbuf(stdout, NULL, _IOLBF, 0);
    return walks ? walk(walks, seed) : search();
}
