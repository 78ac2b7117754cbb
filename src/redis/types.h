/* The rows of the command table, one array a file: the file that holds a type's commands describes
 * them too. table.c gathers them.
 *
 * Within an array rows rise by full name, compared as bytes: "name", or "parent|name" for a
 * subcommand ("client" < "client|id" < "command"), since they are found by binary search; a test
 * checks the order. A container ("client") has a row of its own with the flag CMD_CONTAINER and fn
 * NULL; its subcommands may stand in another array than it does ("memory|usage" is data,
 * "memory|doctor" local). */
#ifndef SYNOD_REDIS_TYPES_H
#define SYNOD_REDIS_TYPES_H

#include "redis/command.h"

extern const struct command strings_commands[]; /* strings.c */
extern const size_t strings_command_count;

extern const struct command hashes_commands[]; /* hashes.c */
extern const size_t hashes_command_count;

extern const struct command
    keys_commands[]; /* keys.c and scan.c: keys of any type, and the key space */
extern const size_t keys_command_count;

extern const struct command
    local_commands[]; /* local.c: connection, server, cluster; rows only, fn is NULL */
extern const size_t local_command_count;

extern const struct command ring_commands[]; /* ring.c: the cluster map, in group 0 */
extern const size_t ring_command_count;

extern const struct command cut_commands[]; /* cut.c: cuts of the whole database */
extern const size_t cut_command_count;

extern const struct command job_commands[]; /* job.c: the rows of jobs, in group 0 */
extern const size_t job_command_count;

extern const struct command txn_commands[]; /* txn.c: parts of transactions over groups */
extern const size_t txn_command_count;

extern const struct command script_commands[]; /* script.c: running scripts, and keeping them */
extern const size_t script_command_count;

extern const struct command function_commands[]; /* function.c: libraries, in group 0 */
extern const size_t function_command_count;

#endif
