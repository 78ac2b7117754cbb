/* The search of the transactions' explorer: breadth first over all worlds within the bounds, each
 * once, or random walks. explorer.c says what a world is and what is checked in it.
 *
 *   explorer [--groups N] [--access WW,RW ...] [--retries 1] [--open 1] [--crashes N] [--changes N]
 *            [--losses N] [--failures N] [--impatience N] [--recoveries N] [--mutant N] [--walks N]
 * [--seed S]
 *            [--max-states N]
 *
 * --access: a transaction each, what it does with each group's key: w, r, u (reads, then writes),
 * . (nothing); a, g: it is no transaction but APPEND or GET of that group. Exit status: 0 nothing
 * found, 1 found (the path is printed), 2 usage or memory. */
#include "explorer.h"

#include "explore.h"

#include "base/hash.h"
#include "base/mutant.h"
#include "base/prng.h"

#include <time.h>

int mutant_active;
sigjmp_buf on_assert;

enum { LIST = 4 * ASKS + 64, WALK_STEPS = 400 };
_Static_assert(sizeof(struct world) % 8 == 0, "worlds are kept as words");

static uint64_t scratch[sizeof(struct world) / 4];

static struct hash128 world_hash(void)
{
    struct bytes b = bytes_of(scratch, squeeze(w, sizeof *w, scratch) * 8);
    return (struct hash128){hash64(b, 1), hash64(b, 2)};
}

/* ---- one action, and what it broke ---- */

static uint64_t transitions, ends, ends_with[TXNS + 1]; /* so many transactions committed */

/* An assertion of what is explored is a violation too. */
static void try_act(struct action a)
{
    if (sigsetjmp(on_assert, 0)) {
        violate("an assertion failed (its text is above)");
        return;
    }
    act(a);
    transitions += 1;
    if (!violation) check_quiet();
}

static void end_add(void)
{
    uint32_t n = 0;
    for (uint32_t t = 0; t < bound.txns; t++) n += is_committed(t);
    ends_with[n] += 1;
    ends += 1;
}

static bool same(struct hash128 x, struct hash128 y)
{
    return x.a == y.a && x.b == y.b;
}

/* ---- breadth first ---- */

struct node {
    uint32_t parent;
    struct action action;
};
static struct node *nodes;
static uint64_t **blobs; /* of nodes not yet expanded */
static struct seen seen;
static uint64_t states, states_max = 8000000;

static void remember(uint32_t parent, struct action a)
{
    size_t n = squeeze(w, sizeof *w, scratch);
    blobs[states] = must(malloc(n * 8));
    memcpy(blobs[states], scratch, n * 8);
    nodes[states++] = (struct node){parent, a};
}

static void replay(const struct action *path, size_t n)
{
    genesis();
    narrate = true;
    violation = NULL;
    printf("counter-example, %zu steps:\n", n);
    for (size_t i = 0; i < n; i++) try_act(path[i]);
    narrate = false;
}

static int found(uint32_t at, const struct action *last)
{
    static struct action path[10000];
    size_t n = sizeof path / sizeof *path, end = n;
    printf("VIOLATED: %s (mutant %d, after %llu states)\n", violation, mutant_active,
           (unsigned long long)states);
    if (last) path[--n] = *last;
    for (; at; at = nodes[at].parent) path[--n] = nodes[at].action;
    replay(path + n, end - n);
    return 1;
}

static void search_init(void)
{
    seen_init(&seen, states_max);
    nodes = must(malloc(states_max * sizeof *nodes));
    blobs = must(malloc(states_max * sizeof *blobs));
    genesis();
    (void)seen_add(&seen, world_hash());
    remember(0, (struct action){0});
}

/* All that may follow a world: 0, or the exit status. */
static int successors(uint32_t at)
{
    static struct action list[LIST];
    expand(blobs[at], w, sizeof *w);
    struct hash128 here = world_hash();
    uint32_t n = actions(list), others = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (i) expand(blobs[at], w, sizeof *w);
        try_act(list[i]);
        if (violation) return found(at, &list[i]);
        struct hash128 there = world_hash();
        others += !same(there, here);
        if (!seen_add(&seen, there)) continue;
        if (states == states_max) {
            printf("txn explorer: more than %llu states within the bounds: not exhaustive\n",
                   (unsigned long long)states);
            return 2;
        }
        remember(at, list[i]);
    }
    if (others) return 0;
    expand(blobs[at], w, sizeof *w);
    if (is_clean()) {
        end_add();
        return 0;
    }
    violate("nothing more can happen, and it is not over");
    return found(at, NULL);
}

static void print_bounds(void)
{
    printf(": %u groups, ", bound.groups);
    for (uint32_t t = 0; t < bound.txns; t++) printf("%s%s", t ? "," : "", bound.access[t]);
    printf("%s; %u crashes, %u changes, %u losses, %u failures, %u impatience\n",
           bound.open      ? " (open)"
           : bound.retries ? " (retried)"
                           : "",
           bound.crashes, bound.changes, bound.losses, bound.failures, bound.impatience);
    printf("  ends with");
    for (uint32_t n = 0; n <= bound.txns; n++)
        printf(" %u committed: %llu%s", n, (unsigned long long)ends_with[n],
               n < bound.txns ? "," : "\n");
}

static int search(void)
{
    uint64_t depth = 0, depth_end = 1;
    clock_t start = clock();
    search_init();
    for (uint64_t at = 0; at < states; at++) {
        if (at == depth_end) depth += 1, depth_end = states;
        int status = successors((uint32_t)at);
        if (status) return status;
        free(blobs[at]);
    }
    printf("txn explorer: exhaustive: %llu states, %llu transitions, %llu ends, depth %llu, %.1f s",
           (unsigned long long)states, (unsigned long long)transitions, (unsigned long long)ends,
           (unsigned long long)depth, (double)(clock() - start) / CLOCKS_PER_SEC);
    print_bounds();
    return 0;
}

/* ---- walks ---- */

static bool is_mishap(struct action a)
{
    return (a.type >= A_CHANGE && a.type <= A_FAIL) || a.type >= A_GIVE_UP;
}

/* Mishaps as often as this walk has them: else most transactions would end before they began. */
static struct action walk_choice(struct prng *r, const struct action *list, uint32_t n,
                                 uint32_t mishaps_ppm)
{
    for (int i = 0; i < 20; i++) {
        struct action a = list[prng_below(r, n)];
        if (!is_mishap(a) || prng_chance(r, mishaps_ppm)) return a;
    }
    return list[prng_below(r, n)];
}

static int walk_one(uint64_t seed)
{
    static struct action list[LIST], path[WALK_STEPS];
    struct prng r;
    uint32_t n, length = 0;
    prng_init(&r, seed);
    uint32_t mishaps_ppm = 1000000u >> (1 + prng_below(&r, 8));
    genesis();
    while (length < WALK_STEPS && (n = actions(list)) > 0) {
        struct action a = walk_choice(&r, list, n, mishaps_ppm);
        path[length++] = a;
        try_act(a);
        if (!violation) continue;
        printf("VIOLATED: %s (mutant %d, walk %llu)\n", violation, mutant_active,
               (unsigned long long)seed);
        replay(path, length);
        return 1;
    }
    if (is_clean()) end_add();
    return 0;
}

static int walk(uint64_t walks, uint64_t seed)
{
    clock_t start = clock();
    for (uint64_t k = 0; k < walks; k++) {
        int status = walk_one(seed + k);
        if (status) return status;
    }
    printf("txn explorer: %llu walks, %llu steps, %llu to the end, %.1f s",
           (unsigned long long)walks, (unsigned long long)transitions, (unsigned long long)ends,
           (double)(clock() - start) / CLOCKS_PER_SEC);
    print_bounds();
    return 0;
}

/* ---- arguments ---- */

static bool take_access(const char *text)
{
    bound.txns = 0;
    while (*text) {
        size_t n = strcspn(text, ",");
        if (bound.txns == TXNS || n > GROUPS || strspn(text, "wruag.") < n) return false;
        char *access = bound.access[bound.txns++];
        memset(access, '.', GROUPS);
        memcpy(access, text, n);
        text += n + (text[n] == ',');
    }
    return bound.txns > 0;
}

struct option {
    const char *name;
    uint32_t *value;
};

static bool take_bound(const char *name, const char *value)
{
    const struct option options[] = {
        {"--groups", &bound.groups},     {"--crashes", &bound.crashes},
        {"--changes", &bound.changes},   {"--losses", &bound.losses},
        {"--failures", &bound.failures}, {"--impatience", &bound.impatience}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (strcmp(name, options[i].name)) continue;
        *options[i].value = (uint32_t)atoi(value);
        return bound.groups >= 1 && bound.groups <= GROUPS;
    }
    return false;
}

/* The last transaction is another try of the first. */
static void add_retry(void)
{
    bound.retries = true;
    memcpy(bound.access[bound.txns++], bound.access[0], sizeof bound.access[0]);
}

int main(int argc, char **argv)
{
    uint64_t walks = 0, seed = 1;
    bool retries = false;
    for (int i = 1; i < argc; i += 2) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
        bool good = *v;
        if (!strcmp(a, "--access"))
            good = take_access(v);
        else if (!strcmp(a, "--recoveries"))
            bound.recoveries = (uint32_t)atoi(v);
        else if (!strcmp(a, "--open"))
            bound.open = atoi(v);
        else if (!strcmp(a, "--retries"))
            retries = atoi(v);
        else if (!strcmp(a, "--mutant"))
            mutant_active = atoi(v);
        else if (!strcmp(a, "--walks"))
            walks = (uint64_t)atoll(v);
        else if (!strcmp(a, "--seed"))
            seed = (uint64_t)atoll(v);
        else if (!strcmp(a, "--max-states"))
            states_max = (uint64_t)atoll(v);
        else
            good = take_bound(a, v);
        if (!good) return fprintf(stderr, "txn explorer: what is %s %s?\n", a, v), 2;
    }
    if (retries && bound.txns < TXNS) add_retry();
    static struct world world;
    w = &world;
    groups_init();
    signal(SIGABRT, on_abort);
    setvbuf(stdout, NULL, _IOLBF, 0);
    return walks ? walk(walks, seed) : search();
}
