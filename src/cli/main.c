/* The program: `synod COMMAND ...`. Everything else is in the command's own file. */
#include "cli/commands.h"
#include "cli/options.h"
#include "job/nursery.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
};

static int cmd_help(int argc, char **argv);
static int cmd_version(int argc, char **argv);

static const struct command commands[] = {
    {"server", cmd_server, "run a node"},
    {"cluster", cmd_cluster, "start and stop a cluster on this machine, and break it"},
    {"status", cmd_status, "nodes, groups, leaders, lag, disk, moves under way"},
    {"node", cmd_node, "list, drain and remove nodes"},
    {"group", cmd_group, "list, move, split, merge groups; hand their leadership over"},
    {"rebalance", cmd_rebalance, "what moves, or would move, to be in balance"},
    {"set", cmd_set, "change a setting of the cluster"},
    {"job", cmd_job, "map, reduce and query many keys where they are"},
    {"demo", cmd_demo, "see it work: load real data, kill a leader, count"},
    {"bench", cmd_bench, "generate load and measure"},
#ifdef WITH_EXPLAIN
    {"explain", cmd_explain, "run one command and show its way through the cluster"},
#endif
#ifdef WITH_LOG
    {"log", cmd_log, "read a node's log for people"},
#endif
#ifdef WITH_SIM
    {"sim", cmd_sim, "run clusters in a simulated, failing world"},
#endif
    {"version", cmd_version, "print the version"},
    {"help", cmd_help, "print this"},
};

#define COMMANDS (sizeof commands / sizeof *commands)

static int cmd_help(int argc, char **argv)
{
    (void)argc, (void)argv;
    puts("usage: synod COMMAND [options]");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].help);
    puts("`synod COMMAND --help` tells more.");
    return EXIT_DONE;
}

static int cmd_version(int argc, char **argv)
{
    (void)argc, (void)argv;
    puts("synod " SYNOD_VERSION);
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("synod: which command? See `synod help`\n", stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, NURSERY_ARGUMENT) == 0)
        return nursery_main(); /* a node's own; not for people */
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-v") == 0) name = "version";
    signal(SIGPIPE, SIG_IGN); /* a closed connection is an error of that connection */

    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) != 0) continue;
        char typed[64];
        snprintf(typed, sizeof typed, "synod %s", name);
        argv[1] = typed;
        int status = commands[i].run(argc - 1, argv + 1);
        if (fflush(stdout) != 0 && status == EXIT_DONE)
            status = cli_fail("cannot write the output");
        return status == OPTIONS_HELPED ? EXIT_DONE : status;
    }
    fprintf(stderr, "synod: there is no command '%s'; see `synod help`\n", name);
    return EXIT_USAGE;
}
