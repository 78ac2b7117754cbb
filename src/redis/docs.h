/* COMMAND DOCS: what the table says about a command, in the form that redis-cli and client
 * libraries make hints and help from. */
#ifndef SYNOD_REDIS_DOCS_H
#define SYNOD_REDIS_DOCS_H

#include "redis/command.h"

/* One command's name and the map that describes it: summary, since, group, complexity, arguments,
 * subcommands. */
void docs_command(const struct command *c, struct reply *out);
/* True: the notation of c->syntax was understood to its end. (A test wants it of every row.) */
bool docs_syntax_ok(const struct command *c);

#endif
