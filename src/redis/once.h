/* Exactly once: IDEMPOTENT token command. What was answered to the first request with a token is
 * kept beside what it did, in the same entry of the log (or the same transaction over groups), as a
 * row in the slot of its first key. Whoever evaluates the request looks there first: a repeated one
 * gets the same bytes again, and nothing is done (Lee and others, "Implementing Linearizability at
 * Large Scale and Low Latency", 2015: RIFL's completion record).
 *
 *   SYNOD ONCE token request...   request: a command that writes, with its arguments; or SYNOD EXEC
 *                                 and what follows it (redis/multi.h)
 *
 * Row (shard/keys.h, 'o'): expire_ms:8, fingerprint:8, RESP version:1, reply. The fingerprint is of
 * the request's arguments, so that a token that is used again for another request is noticed; of a
 * transaction it is that of its commands, without what is watched and what the node itself answers.
 * A row goes like a key whose expiry has come, after ONCE_KEEP_MS; FLUSHALL forgets all.
 *
 * Kept is every answer that came of evaluating the request, its errors and nil too: a copy of the
 * request that is still on its way somewhere may not do later what the client was told was not done
 * (of an EXEC it may have watched later; seed 74000147). */
#ifndef SYNOD_REDIS_ONCE_H
#define SYNOD_REDIS_ONCE_H

#include "redis/command.h"

#define ONCE_TOKEN_MAX 64
#define ONCE_REPLY_MAX (64u << 10) /* a request whose answer is larger is refused, and not done */
#define ONCE_KEEP_MS   (24 * 3600 * 1000)

/* The request behind a token, its arguments being slices of a; any other command is its own. So is
 * one whose arguments nobody sends: it answers an error. */
const struct command *once_request(const struct command *c, const struct cmd_args *a,
                                   struct cmd_args *request);
/* May the command stand behind a token? (EXEC's is multi_exec.) */
bool once_takes(const struct command *c);
/* The key of the token's row, which is also what a transaction locks. False: there is no token. */
bool once_row(const struct command *c, const struct cmd_args *a, struct buf *out);

void once_run(struct view *v, const struct cmd_args *a, struct reply *out);
/* What its EXEC watched was written to: answers what is kept, or keeps that it is nil. */
void once_nil(struct view *v, const struct cmd_args *a, struct reply *out);
/* Of a COMMIT, whose commands have been run already: FOUND: it was done before, and is answered as
 * then; ABSENT: that it is done, "OK", is kept now. `row` is its token's. */
enum view_result once_commit(struct view *v, struct bytes row, struct reply *out);
/* Was anything else written than an answer? */
bool once_did(const struct view *v);
/* Deletes an answer whose time has come; `index` is the key of the row that says when
 * (KEYS_ONCE_EXPIRY). */
void once_expire(struct view *v, struct bytes index);

#endif
