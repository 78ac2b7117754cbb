/* synod group list|move|split|merge|transfer, synod rebalance, synod set. */
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/status.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char group_usage[] =
    "usage: synod group list                the groups, their replicas, and moves under way\n"
    "       synod group move G FROM TO      group G's replica on node FROM goes to node TO\n"
    "       synod group split G [SLOT]      slots from SLOT on (the middle) become a new group\n"
    "       synod group merge G             group G takes over the group whose slots follow\n"
    "       synod group transfer G NODE     node NODE leads group G\n\n";

static const char rebalance_usage[] =
    "usage: synod rebalance [--dry-run] [--at HOST:PORT]\n"
    "  The cluster balances by itself; this shows what is under way, or what would be.\n\n";

static const char set_usage[] =
    "usage: synod set NAME VALUE [--at HOST:PORT]\n"
    "  replicas 1-5              a group, as far as there are nodes\n"
    "  grace-ms 1000-86400000    a node that is down for longer is replaced\n"
    "  moves-max 0-16384         groups that change members at once; 0 stops all moves\n"
    "  split-keys N              a group with more keys is split; 0: never\n"
    "  split-ops N               or with more commands a second; 0: never\n"
    "  merge-keys N              neighbours with fewer keys together are merged; 0: never\n\n";

#define AT(at)                                                                                     \
    {                                                                                              \
        "at", OPTION_ADDRESS, at,                                                                  \
            .value = "HOST:PORT",                                                                  \
            .help = "any node's client address (one of ./synod-data, 127.0.0.1:7001, or 6379)"     \
    }

/* ---- group ---- */

static int group_list(struct client **c, const char *at)
{
    struct overview o;
    if (!ask_overview(c, at, &o)) return EXIT_FAILED;
    status_print_groups(stdout, &o);
    if (overview_moves(&o)) putchar('\n');
    status_print_moves(stdout, &o);
    overview_free(&o);
    return EXIT_DONE;
}

static int group_split(struct client *c, int count, const int64_t *n)
{
    const struct client_reply *r =
        count == 1 ? ask(c, "SYNOD GROUP SPLIT %lld", (long long)n[0])
                   : ask(c, "SYNOD GROUP SPLIT %lld %lld", (long long)n[0], (long long)n[1]);
    if (!r) return EXIT_FAILED;
    if (r->type != CLIENT_INTEGER) return ask_failed(r);
    printf("group %lld is to be born of group %lld\n", (long long)r->integer, (long long)n[0]);
    return EXIT_DONE;
}

static int group_merge(struct client *c, int64_t group)
{
    const struct client_reply *r = ask(c, "SYNOD GROUP MERGE %lld", (long long)group);
    if (!r) return EXIT_FAILED;
    if (r->type != CLIENT_INTEGER) return ask_failed(r);
    printf("group %lld takes over group %lld; `synod group list` shows it\n", (long long)group,
           (long long)r->integer);
    return EXIT_DONE;
}

static int group_run(struct client **c, const char *at, const char *verb, int count,
                     const int64_t *n)
{
    int status;
    if (strcmp(verb, "list") == 0) return group_list(c, at);
    if (strcmp(verb, "split") == 0) return group_split(*c, count, n);
    if (strcmp(verb, "merge") == 0) return group_merge(*c, n[0]);
    if (strcmp(verb, "move") == 0) {
        status = ask_done(*c, "SYNOD GROUP MOVE %lld %lld %lld", (long long)n[0], (long long)n[1],
                          (long long)n[2]);
        if (status == EXIT_DONE)
            printf("group %lld moves from node %lld to node %lld; `synod group list` shows it\n",
                   (long long)n[0], (long long)n[1], (long long)n[2]);
        return status;
    }
    status = ask_done(*c, "SYNOD GROUP TRANSFER %lld %lld", (long long)n[0], (long long)n[1]);
    if (status == EXIT_DONE)
        printf("node %lld is to lead group %lld\n", (long long)n[1], (long long)n[0]);
    return status;
}

static const struct {
    const char *verb, *takes;
    int least, most;
} group_verbs[] = {
    {"list", "nothing", 0, 0},
    {"move", "a group and the numbers of two nodes", 3, 3},
    {"split", "a group, and a slot if it is not to be the middle", 1, 2},
    {"merge", "a group", 1, 1},
    {"transfer", "a group and a node's number", 2, 2},
};

int cmd_group(int argc, char **argv)
{
    char at[OPTION_ADDRESS_MAX] = "";
    const struct option table[] = {AT(at), {0}};
    int words;
    int64_t number[3] = {0};
    int status = options_parse(&(struct options){group_usage, table}, argc, argv, &words, NULL);
    if (status != EXIT_DONE) return status;
    if (words == 0) return cli_usage(argv[0], "list, move, split, merge or transfer?");

    for (size_t i = 0; i < sizeof group_verbs / sizeof *group_verbs; i++) {
        if (strcmp(group_verbs[i].verb, argv[1]) != 0) continue;
        int count = words - 1;
        bool good = count >= group_verbs[i].least && count <= group_verbs[i].most;
        for (int w = 0; w < count && good; w++)
            good = bytes_to_i64(bytes_str(argv[2 + w]), &number[w]) && number[w] >= 0;
        if (!good) return cli_usage(argv[0], "%s takes %s", argv[1], group_verbs[i].takes);
        struct client *c = ask_connect(at);
        status = c ? group_run(&c, at, argv[1], count, number) : EXIT_FAILED;
        client_free(c);
        return status;
    }
    return cli_usage(argv[0], "there is no '%s'", argv[1]);
}

/* ---- rebalance ---- */

static int print_plan(struct client *c)
{
    const struct client_reply *r = ask(c, "SYNOD PLAN");
    if (!r) return EXIT_FAILED;
    if (r->type != CLIENT_BULK) return ask_failed(r);
    fwrite(r->text.data, 1, r->text.size, stdout);
    return EXIT_DONE;
}

static int print_under_way(struct client **c, const char *at)
{
    struct overview o;
    if (!ask_overview(c, at, &o)) return EXIT_FAILED;
    puts("The cluster balances by itself, a few groups at a time.");
    if (strcmp(o.state, "failing") == 0)
        puts("Some group has no leader, and cannot move before it has one: `synod status`.");
    if (o.moves_max == 0)
        puts("All moves are stopped: moves-max is 0 (`synod set moves-max 4` lets them go on).");
    if (overview_moves(&o) == 0) puts("Nothing is under way. What it would do:");
    status_print_moves(stdout, &o);
    bool idle = overview_moves(&o) == 0;
    overview_free(&o);
    return idle ? print_plan(*c) : EXIT_DONE;
}

int cmd_rebalance(int argc, char **argv)
{
    char at[OPTION_ADDRESS_MAX] = "";
    bool dry_run = false;
    const struct option table[] = {
        {"dry-run", OPTION_FLAG, &dry_run, .help = "print the plan, and nothing else"},
        AT(at),
        {0},
    };
    int status = options_parse(&(struct options){rebalance_usage, table}, argc, argv, NULL, NULL);
    if (status != EXIT_DONE) return status;
    struct client *c = ask_connect(at);
    if (!c) return EXIT_FAILED;
    status = dry_run ? print_plan(c) : print_under_way(&c, at);
    client_free(c);
    return status;
}

/* ---- set ---- */

static bool is_setting(const char *name)
{
    static const char *const names[] = {"replicas",   "grace-ms",  "moves-max",
                                        "split-keys", "split-ops", "merge-keys"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

int cmd_set(int argc, char **argv)
{
    char at[OPTION_ADDRESS_MAX] = "";
    const struct option table[] = {AT(at), {0}};
    int words;
    int64_t value;
    int status = options_parse(&(struct options){set_usage, table}, argc, argv, &words, NULL);
    if (status != EXIT_DONE) return status;
    if (words != 2) return cli_usage(argv[0], "a name and a value are needed");
    if (!is_setting(argv[1]))
        return cli_usage(argv[0],
                         "there is no setting '%s': replicas, grace-ms, moves-max, "
                         "split-keys, split-ops, merge-keys",
                         argv[1]);
    if (!bytes_to_i64(bytes_str(argv[2]), &value) || value < 0)
        return cli_usage(argv[0], "%s takes a number, not '%s'", argv[1], argv[2]);
    struct client *c = ask_connect(at);
    if (!c) return EXIT_FAILED;
    status = ask_done(c, "SYNOD SET %s %lld", argv[1], (long long)value);
    if (status == EXIT_DONE) printf("%s is %lld now\n", argv[1], (long long)value);
    client_free(c);
    return status;
}
