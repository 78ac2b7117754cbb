/* A connection to a cluster rather than to a node: when the node at its other end dies, is frozen
 * or shut off, it goes on with another one, and asks that the same.
 *
 * So it is for commands that may be asked twice. Errors that say "not now" or "nobody knows" are
 * such a reason too. The nodes are those of CLUSTER SLOTS, asked for with each connection. */
#ifndef SYNOD_CLI_LINK_H
#define SYNOD_CLI_LINK_H

#include "cli/client.h"
#include "cli/options.h"

#define LINK_NODES_MAX  64
#define LINK_GIVE_UP_MS 30000 /* without any answer */
#define LINK_SILENT_MS  5000  /* a node that owes an answer for so long is given up */

struct link {
    char address[LINK_NODES_MAX][OPTION_ADDRESS_MAX];
    unsigned addresses, next; /* next: the one to try */
    struct client *client;    /* NULL: not connected */
    int stop_fd;              /* when it can be read, whoever waits is to stop; -1: none */
    bool stopped;             /* and so nothing was answered */
    void (*say)(void *ctx, const char *line); /* a node was lost; NULL: silently */
    void *ctx;
};

/* Connects as ask_connect does. False after a line on stderr. */
bool link_open(struct link *l, const char *at);
void link_close(struct link *l);

/* The answer to this command; an error that will not pass is one, too. A node may be silent for
 * silent_ms (0: as long as it likes) before the next is asked. Borrowed until the next call. NULL:
 * stopped, or, after a line on stderr, no node has answered. */
const struct client_reply *link_ask(struct link *l, uint32_t silent_ms, size_t argc,
                                    const struct bytes *argv);
/* The same for a few plain words. */
const struct client_reply *link_askf(struct link *l, const char *verb, const char *name);

#endif
