/* What the operator's commands share: whom to ask, how to ask for a change, how to tell what was
 * answered. */
#ifndef SYNOD_CLI_ASK_H
#define SYNOD_CLI_ASK_H

#include "cli/client.h"
#include "cli/overview.h"

/* A connection to `at`; where that is empty, to the first that answers of the nodes of the cluster
 * in ./synod-data, 127.0.0.1:7001 and 127.0.0.1:6379. NULL after a line on stderr. */
struct client *ask_connect(const char *at);

/* Sends one command. What says TRYAGAIN is sent again for three seconds. The reply (an error too)
 * is borrowed until the next call on `c`; NULL after a line on stderr. */
const struct client_reply *ask(struct client *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same where only success is expected: EXIT_DONE, or EXIT_FAILED after a line on stderr. */
int ask_done(struct client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An error reply as one line on stderr, without the word for programs in front. EXIT_FAILED. */
int ask_failed(const struct client_reply *r);

/* overview_ask; connects anew where the connection broke, for up to ten seconds. `*c` may be
 * replaced, by NULL too. False after a line on stderr. */
bool ask_overview(struct client **c, const char *at, struct overview *o);

/* Waits until the node holds no replica, with a bar. EXIT_DONE, or EXIT_FAILED after a line. */
int ask_until_empty(struct client **c, const char *at, int64_t node);
/* Removes the node from the cluster; one that is down is given up first, and waited for with a
 * bar. */
int ask_remove_and_wait(struct client **c, const char *at, int64_t node);

#endif
