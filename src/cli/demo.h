/* What the files of `synod demo` share: demo.c founds and loads, demo_kill.c kills a leader in the
 * middle of it, demo_ring.c changes the cluster under a steady load, demo_bank.c moves money
 * between groups meanwhile, demo_jobs.c, demo_script.c and demo_dask.c compute, demo_check.c counts
 * and compares. */
#ifndef SYNOD_CLI_DEMO_H
#define SYNOD_CLI_DEMO_H

#include "cli/bar.h"
#include "cli/cluster.h"
#include "cli/loader.h"
#include "cli/overview.h"
#include "cli/writer.h"

#define DEMO_CALL_MS 5000

/* One key of a group that the victim led, written again and again until it is accepted elsewhere.
 */
struct probe {
    char address[OPTION_ADDRESS_MAX];
    char key[48];
    struct client *client;
    bool waiting;
    uint64_t killed_ns, accepted_ns, sent_ns, next_ns;
};

enum stage { STAGE_BEFORE, STAGE_KILLED, STAGE_BACK, STAGE_CALM };

struct demo {
    struct cluster cluster;
    bool own; /* the cluster is ours to kill; else --at */
    enum stage stage;
    unsigned victim; /* node number */
    struct probe probe;
    struct packages packages;
    struct loader loader;
    struct bar bar;
    struct writer *writer;
    bool failed; /* and a line on stderr says why */
};

/* A line of the story; wipes the bar before it. */
void demo_say(struct demo *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* NULL after a line on stderr. */
struct client *demo_connect(const char *address);
/* The nodes that run, as the loader's and the writer's addresses. */
void demo_addresses(struct demo *d);

/* demo_kill.c: called all through the load, with whether half and three quarters of it are done.
 * False: failed, after a line. */
bool demo_kill_turn(struct demo *d, bool half, bool three_quarters);
/* Until the killed node was started again. */
bool demo_kill_end(struct demo *d);

/* demo_ring.c: nodes join, money moves (demo_bank), one leaves, one dies for good, a group splits;
 * under load. False after a line on stderr. */
bool demo_ring(struct demo *d);

/* demo_bank.c: transactions over groups while a node dies and comes back and a group moves, for
 * which there must be a node more than a group has replicas. False after a line on stderr. */
bool demo_bank(struct demo *d);

/* demo_jobs.c: queries, and a job of map and reduce while its owner dies, beside awk. False after a
 * line on stderr. */
bool demo_jobs(struct demo *d);
/* demo_script.c: one line of Lua over keys of many groups. False after a line on stderr. */
bool demo_script(struct demo *d);
/* demo_dask.c: Dask's workers over a snapshot, if Dask is installed. False after a line. */
bool demo_dask(struct demo *d);

/* The number that the demo calls a node by, from the cluster's; 0: none of ours. */
unsigned demo_number(const struct demo *d, const struct overview *o, int64_t id);

/* demo_check.c: the replicas of every group are equal at some position of each; redis-cli, if it
 * is installed, finds nothing to complain of. False after a line on stderr. */
bool demo_digests(struct demo *d);
bool demo_redis_check(struct demo *d);

#endif
