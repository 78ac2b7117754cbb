/* What `synod server` was asked to do: the command line of docs/GUARANTEES.md and of `synod server
 * --help`, parsed and checked.
 *
 * Addresses are HOST:PORT texts, ready for io_listen and io_connect. Defaults are filled in:
 * nothing here is empty but what says so. Texts that are pointers live as long as the program's
 * arguments and configuration, that is: while server_run runs. */
#ifndef SYNOD_CLI_SERVER_H
#define SYNOD_CLI_SERVER_H

#include "cli/options.h"

#define SERVER_FOUND_MAX 32 /* founding nodes */

enum server_io { SERVER_IO_AUTO, SERVER_IO_URING, SERVER_IO_EPOLL };
enum server_read_mode { SERVER_READ_LEASE, SERVER_READ_QUORUM };
enum server_log_level { SERVER_LOG_ERROR, SERVER_LOG_WARN, SERVER_LOG_INFO, SERVER_LOG_DEBUG };

struct server_options {
    const char *data_dir;
    char listen[OPTION_ADDRESS_MAX]; /* clients; default 127.0.0.1:6379 */
    char peer[OPTION_ADDRESS_MAX];   /* other nodes; default listen's host, its port + 10000 */
    char http[OPTION_ADDRESS_MAX];   /* metrics and pages; default listen's host, its port + 1000 */
    const char *zone;                /* default "default" */

    /* The founding nodes' peer addresses, in the order given, which is the same on each; this
     * node's own `peer` is among them. Count 0 with an empty `join`: a cluster of one, if data_dir
     * is empty. Node numbers may follow from the order. */
    char found[SERVER_FOUND_MAX][OPTION_ADDRESS_MAX];
    unsigned found_count;
    unsigned found_self;           /* index of `peer` in `found`, if there is any */
    char join[OPTION_ADDRESS_MAX]; /* any member's peer address; empty: none */

    unsigned groups;   /* at founding; 0: not said (16, or as founded) */
    unsigned capacity; /* weight; 100 is one share */
    unsigned grace_s;  /* at founding: a node silent for longer is replaced */
    unsigned replicas; /* a group; 0: not said (all founding nodes up to 5, or as founded) */
    enum server_io io;
    enum server_read_mode read_mode;
    enum server_log_level log_level;
    const char *fault; /* for tests: a fault of the host (host/host.h); NULL: none */
    bool witness;      /* with join: votes and a log, no data */
    bool redirect;     /* answer -MOVED instead of forwarding */
};

/* Fills *options from the command line; *text must outlive them. As options_parse: EXIT_DONE,
 * OPTIONS_HELPED, EXIT_USAGE after a line on stderr, EXIT_FAILED. */
int server_options_parse(struct server_options *options, struct options_text *text, int argc,
                         char **argv);

/* Runs the node until SIGTERM or SIGINT. Returns the program's exit status. In serve.c. */
int server_run(const struct server_options *options);

#endif
