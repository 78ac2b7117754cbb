/* The sub-commands of the program. Each gets argv[0] as the user typed it ("synod cluster") and its
 * own arguments, and returns an exit status of cli/options.h. */
#ifndef SYNOD_CLI_COMMANDS_H
#define SYNOD_CLI_COMMANDS_H

int cmd_server(int argc, char **argv);
int cmd_cluster(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_node(int argc, char **argv);
int cmd_group(int argc, char **argv);
int cmd_rebalance(int argc, char **argv);
int cmd_set(int argc, char **argv);
int cmd_job(int argc, char **argv);
int cmd_demo(int argc, char **argv);
int cmd_bench(int argc, char **argv);

/* Each in a file of its name that need not be there: src/cli/meson.build tells by WITH_SIM and so
 * on which are. */
int cmd_sim(int argc, char **argv);
int cmd_log(int argc, char **argv);
int cmd_explain(int argc, char **argv);

#endif
