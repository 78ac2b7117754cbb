/* What request.c (a request's life), dispatch.c (what clients ask) and spread.c (commands over all
 * groups) share. */
#ifndef SYNOD_NODE_REQUEST_H
#define SYNOD_NODE_REQUEST_H

#include "node/internal.h"

#define REQUEST_DEADLINE (10000 * MS)

#define REPLY_MAX                                                                                  \
    (64u << 20) /* bytes of one command's reply in one group: it travels in one frame */

#define TEXT_FULL                                                                                  \
    "OOM the disk of the leader is nearly full: writes are refused until there is room; reads "    \
    "and deletes go on"

#define TEXT_LOCKED                                                                                \
    "TRYAGAIN keys of this command were locked by a transaction for 9 s (TXN LIST shows it); "     \
    "nothing was changed"

/* A request that nobody has asked for yet; it ends with request_done, or request_free. */
struct request *request_new(struct node *n);
/* Gives it a command: its own copy of the arguments, a deadline. */
void request_take(struct request *r, const struct command *cmd, const struct cmd_args *a,
                  uint8_t version);
/* A client's command that is not of one group, or has a life of its own: RUNNING, with nothing
 * behind it done before it. */
struct request *request_parent(struct client *c, const struct command *cmd,
                               const struct cmd_args *a);
/* Its reply is complete: goes to whoever asked. The request may be gone after it. */
void request_done(struct request *r);

/* Evaluates a command at the group led here; the reply is appended to `out`, to leave when *hold is
 * fulfilled. But for RAN_DONE nothing was appended, and nothing happened. */
enum ran {
    RAN_DONE,
    RAN_MISSED,  /* the node's view says what to fetch */
    RAN_LOCKED,  /* a script came to a key that a transaction has; again later */
    RAN_FOREIGN, /* a script came to a key that is not the group's */
};
enum ran request_run(struct group *g, const struct command *cmd, const struct cmd_args *a,
                     uint8_t version, bool block, struct buf *out, struct hold *hold);
/* Reads what is applied here, at a replica that does not lead. False: it would take the disk;
 * nothing was appended. */
bool request_run_stale(struct group *g, const struct command *cmd, const struct cmd_args *a,
                       uint8_t version, struct buf *out);
/* Why the view refused; effects_max: bytes. */
void request_reply_refused(struct reply *out, const struct view *v, size_t effects_max);
bool request_refused_full(const struct node *n, const struct command *cmd,
                          const struct cmd_args *a);
/* Puts it at the end of the group's waiting list; group_retry looks at it. */
void request_wait(struct request *r, struct group *g);
/* Fetches what the view just missed, then tries again. It stays in the waiting list. */
void request_fetch(struct request *r, struct group *g);
/* Sends it to the leader's node. False: no leader is known, or it cannot be reached. */
bool request_forward(struct request *r, struct group *g);
/* Evaluates a request here. It stays in the waiting list if it cannot be done now. */
enum attempt { ATTEMPT_OVER, ATTEMPT_WAITS };
enum attempt request_evaluate(struct request *r, struct group *g);
/* Nobody knows whether it was done. True: it has a token, so it is asked again. */
bool request_asks_again(struct request *r);
/* Is something of the same client under way that this request must not overtake or be overtaken by?
 */
bool request_follows(const struct client *c, const struct request *r);
/* The number in the first line of a RESP reply of this type (":1", "*3"); *line is that line's
 * size. */
bool request_reply_number(struct bytes reply, uint8_t type, int64_t *v, size_t *line);

#define SLOT_SEVERAL (-2) /* of a command whose keys are of several groups */
/* dispatch.c: the group of a command's keys; or answers the error and returns NULL. Keys of several
 * groups: NULL, no answer, and *slot is SLOT_SEVERAL. */
struct group *dispatch_group_of(struct client *c, const struct command *cmd,
                                const struct cmd_args *a, int32_t *slot, struct reply *out);
/* Evaluates it, forwards it, or makes a request of it. */
void dispatch_group(struct client *c, const struct command *cmd, const struct cmd_args *a,
                    struct group *g, int32_t slot);
/* The same with its path: the reply is an array of lines and the command's own. */
void dispatch_traced(struct client *c, const struct command *cmd, const struct cmd_args *a,
                     struct group *g, int32_t slot);
/* One of these for its keys' group; or answers the error, or begins a transaction over groups. */
void dispatch_keyed(struct client *c, const struct command *cmd, const struct cmd_args *a,
                    bool traced, struct reply *out);
/* The slot of its first key, or that it names; -1: none. */
int32_t dispatch_slot_of(struct node *n, const struct command *cmd, const struct cmd_args *a);
/* Answers a WAIT: so many replicas have it. */
void request_wait_answer(struct request *r, uint32_t have);

/* spread.c: makes and starts a child of `parent` for one group's slots [slot_lo, slot_hi), or
 * (slot_hi 0) for the group, whatever slots it has; and: a child has its reply. */
struct request *spread_child(struct request *parent, uint32_t group, uint16_t slot_lo,
                             uint16_t slot_hi);
/* The map has a part of its slots elsewhere now: another child asks there. */
void spread_narrow(struct request *child);
/* Is it one of the groups that a command for all slots is sent to? */
bool spread_counts(const struct group *g);
void spread_child_done(struct request *parent, struct request *child);

#endif
