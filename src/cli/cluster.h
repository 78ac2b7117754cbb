/* A cluster of background `synod server` processes on this machine, all of it under one directory:
 *
 *   cluster.conf   one "name value" a line: nodes (that found it), added (those that joined later),
 *                  removed (one line a node that left), port, groups, founded (1 once it is), and
 *                  the server options that were passed through
 *   nodeN/         node N's data (N counts from 1)
 *   nodeN.log      its output, appended to
 *   nodeN.pid      "PID START", START being the kernel's start time of that process, so that
 *                  another process which got the same number later is never taken for it
 *
 * Node N serves clients at 127.0.0.1:(port + N - 1); peers are at + 10000, http at + 1000. Numbers
 * are never used again; N is the number here, the cluster's own node id may be another. The
 * processes outlive the program that started them. Functions that can fail print one line on stderr
 * and return EXIT_FAILED (cli/options.h). */
#ifndef SYNOD_CLI_CLUSTER_H
#define SYNOD_CLI_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "cli/server.h"

#define CLUSTER_NODES_MAX SERVER_FOUND_MAX
#define CLUSTER_DIR_MAX   3072 /* a path, with room behind it for the names above */
#define CLUSTER_WAIT_MS   20000

struct cluster {
    char dir[CLUSTER_DIR_MAX]; /* absolute */
    unsigned founders;         /* nodes 1 to this founded it */
    unsigned nodes;            /* the highest number there is */
    bool removed[CLUSTER_NODES_MAX + 1];
    bool founded;
    unsigned port;
    unsigned groups;
    struct buf extra; /* lines "name value" for every node's server; no NUL */
};

/* Fills *c from DIR/cluster.conf. `found`, if not NULL, is set to whether there is one, and its
 * absence is no failure then. */
int cluster_open(struct cluster *c, const char *dir, bool *found);
/* Makes c->dir, which the caller set (any path), where it is not there yet. */
int cluster_create(struct cluster *c);
/* Writes its cluster.conf, whole or not at all. */
int cluster_save(const struct cluster *c);
void cluster_close(struct cluster *c);

/* Starts node n in the background; does not wait for it. Does nothing if it is running. A node
 * that did not found the cluster, or whose data is gone, joins through one that runs. */
int cluster_start(const struct cluster *c, unsigned n);
/* Would node n join, if it were started now, rather than come back as who it was? */
bool cluster_joins(const struct cluster *c, unsigned n);
/* Waits until the others have taken up node n, which joins. */
int cluster_wait_member(const struct cluster *c, unsigned n);
/* Starts a new node with the next number, *n, which joins; waits until the others hear of it. */
int cluster_add(struct cluster *c, unsigned *n);
/* The node has left the cluster: it is ended, and none of the functions here knows it any more. */
int cluster_forget(struct cluster *c, unsigned n);
/* The lowest number of a node that runs, other than `but`; 0: there is none. */
unsigned cluster_running(const struct cluster *c, unsigned but);
/* Waits until node n (0: every one there is) says that each group has a leader, or with `any_state`
 * that it answers at all. Gives up after timeout_ms, or at once when a node ends, showing the end
 * of its log. */
int cluster_wait(const struct cluster *c, unsigned n, bool any_state, uint32_t timeout_ms);
/* Sends a signal to node n, which must be running; after SIGKILL it waits until the process is
 * gone. */
int cluster_signal(const struct cluster *c, unsigned n, int signal);
/* SIGTERM to all, SIGKILL after ten seconds to those that are left. Fine if none is running. */
int cluster_down(const struct cluster *c);

/* The process of node n, or 0 if it is not running. */
pid_t cluster_pid(const struct cluster *c, unsigned n);
/* Node n's address for clients. */
void cluster_address(const struct cluster *c, unsigned n, char out[OPTION_ADDRESS_MAX]);

#endif
