/* A transaction on its way: what EXEC sends to the leader of the group that has all of its keys, as
 * the arguments of one command (synod|exec). There it is evaluated as a whole over one view, and
 * becomes one entry of the log.
 *
 *   SYNOD EXEC watches item...
 *   watches: per watched key: group:4, leadership:8, version:8, existed:1, key (blob)
 *   item: 'c', count (LEB128), arguments (blobs): a command; or 'r', bytes: a reply that is known
 *
 * (synod|exec-free is the same for what needs no room on a full disk, synod|exec-read for what only
 * reads.) SYNOD WATCH key... answers an array of bulk strings: per key its watch, as above. */
#ifndef SYNOD_REDIS_MULTI_H
#define SYNOD_REDIS_MULTI_H

#include "redis/command.h"

enum { MULTI_COMMAND = 'c', MULTI_REPLY = 'r' };

/* Appends an item that is a command. */
void multi_put_command(struct buf *out, const struct cmd_args *a);
/* Reads one; the arguments are slices of the item, their array in `storage` (grown; the caller's).
 * False: malformed, or no command. */
bool multi_get_command(struct bytes item, struct cmd_args *a, struct buf *storage);
/* The key of each watch. False: malformed. */
bool multi_watched_keys(struct bytes watches, void (*each)(void *ctx, struct bytes key), void *ctx);
/* The same with the bytes of each watch. */
void multi_watched_each(struct bytes watches,
                        void (*each)(void *ctx, struct bytes key, struct bytes watch), void *ctx);
/* All its commands. `a` are the arguments of synod|exec. */
typedef void multi_each(void *ctx, const struct command *c, const struct cmd_args *a);
void multi_commands(const struct cmd_args *a, multi_each *each, void *ctx);
/* The keys of all its commands. `a` are the arguments of synod|exec. */
void multi_keys(const struct cmd_args *a, void (*each)(void *ctx, struct bytes key), void *ctx);

/* Is nothing of what is watched written since? False also after a miss. */
bool multi_unchanged(struct view *v, struct bytes watches);
/* May the command be one of a transaction's, at the leader? */
bool multi_takes(const struct command *c);
void multi_exec(struct view *v, const struct cmd_args *a, struct reply *out);
void multi_watch(struct view *v, const struct cmd_args *a, struct reply *out);

#endif
