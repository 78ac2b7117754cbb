/* The command table: data from which dispatch, COMMAND, HELP and docs/COMMANDS.md are made.
 *
 * A data command is a pure function over a view (shard/view.h): check arguments, look up, check,
 * act, reply. Every check comes before the first write, so that an error leaves no trace. After any
 * VIEW_MISS it returns at once. It runs at the leader of the group that holds its keys. */
#ifndef SYNOD_REDIS_COMMAND_H
#define SYNOD_REDIS_COMMAND_H

#include "base/buf.h"
#include "redis/reply.h"
#include "shard/view.h"

struct cmd_args {
    struct bytes *v; /* v[0] is the command's name */
    uint32_t count;
};

typedef void cmd_fn(struct view *v, const struct cmd_args *a, struct reply *out);

enum cmd_flag {
    CMD_WRITE = 1 << 0, /* may write */
    CMD_READONLY = 1 << 1,
    CMD_FAST = 1 << 2,
    CMD_ADMIN = 1 << 3,
    CMD_DENYOOM = 1 << 4, /* refused when the disk is nearly full (deletes are not) */
    CMD_LOADING = 1 << 5, /* answered also while starting */
    CMD_NOSCRIPT = 1 << 6,
    CMD_LOCAL = 1 << 7,      /* answered by the node that got it (node/commands): fn is NULL */
    CMD_NUMKEYS = 1 << 8,    /* the number of keys stands at argument `first`, the keys follow */
    CMD_INTERNAL = 1 << 9,   /* sent by nodes to each other only; hidden from COMMAND */
    CMD_CONTAINER = 1 << 10, /* its first argument names a subcommand; fn is NULL */
    CMD_SYSTEM = 1 << 11,    /* without keys; evaluated at group 0, on the cluster map */
    CMD_GROUP = 1 << 12,     /* for the group that it is sent to, whatever its slots are */
    CMD_SCRIPT = 1 << 13,    /* runs a script: CMD_NUMKEYS, but there may be none, and it may come
                                to others */
};

/* Commands without keys that concern all groups: run once in each, at its leader, and the replies
 * are combined. */
enum cmd_spread {
    CMD_SPREAD_NONE,
    CMD_SPREAD_SUM,    /* integers are added: DBSIZE */
    CMD_SPREAD_CONCAT, /* arrays are joined: KEYS */
    CMD_SPREAD_OK,     /* OK if all are: FLUSHALL */
    CMD_SPREAD_ANY,    /* groups are asked one after another from a random one until one answers not
                          nil: RANDOMKEY */
    CMD_SPREAD_CURSOR, /* SCAN: the cursor names the slot, and so the group */
};

struct command {
    const char *name;   /* lower case */
    const char *parent; /* for a subcommand: its container's name, else NULL ("client" for "id") */
    int8_t arity;       /* as Redis: the count, or minus the least count */
    uint16_t flags;     /* enum cmd_flag */
    int8_t first, last, step; /* key positions as Redis; 0: none */
    uint8_t spread;           /* enum cmd_spread */
    cmd_fn *fn;
    const char *group; /* "string", "hash", "generic", "connection", "server", "cluster" */
    const char *since; /* version of Redis (or "synod 0.1") that brought it */
    const char *complexity;
    const char *summary;
    const char *syntax; /* arguments in the notation of Redis's documentation, for HELP and docs */
};

/* All rows, one array a type (redis/types.h). */
struct command_rows {
    const struct command *row;
    const size_t *count;
};
#define COMMAND_ROWS 10
extern const struct command_rows command_table[COMMAND_ROWS];

/* Looks a command up by name (any case), and by its subcommand where it is a container. NULL:
 * unknown; *container (may be NULL) then tells whether the first word is a known container with an
 * unknown subcommand. A container alone is found as itself (its arity refuses it, where it means
 * nothing alone). Some tens of nanoseconds. */
const struct command *command_find(const struct cmd_args *a, bool *container);
/* The row with this full name ("get", "client|id"; lower case), or NULL. */
const struct command *command_named(const char *full_name);
#define COMMAND_NAME_MAX 64
void command_full_name(const struct command *c, char out[COMMAND_NAME_MAX]);
/* Visits the subcommands of a container, or of NULL what is none (`each` may be NULL), and returns
 * how many there are. What nodes send each other is not among them. */
typedef void command_each(void *ctx, const struct command *c);
size_t command_children(const struct command *c, command_each *each, void *ctx);
/* True if the count fits; else writes Redis's "wrong number of arguments for 'x' command". */
bool command_check_arity(const struct command *c, const struct cmd_args *a, struct reply *out);
/* True if no key is longer than COMMAND_KEY_MAX; else writes an error that names the limit. */
bool command_check_keys(const struct command *c, const struct cmd_args *a, struct reply *out);
/* Writes "ERR unknown command 'x', with args beginning with: ..." or the text of an unknown
 * subcommand. */
void command_unknown(const struct cmd_args *a, struct reply *out);
/* Visits the keys of a request, in order. False with nothing visited: the arguments do not fit
 * (numkeys wrong ...). */
bool command_keys(const struct command *c, const struct cmd_args *a,
                  void (*each)(void *ctx, struct bytes key), void *ctx);

/* COMMAND, COMMAND COUNT|LIST|INFO|DOCS|GETKEYS|GETKEYSANDFLAGS|HELP; the arity has been
 * checked. */
void command_command(const struct cmd_args *a, struct reply *out);
/* What `<container> HELP` answers: its subcommands, made from the table. */
void command_help(const char *container, struct reply *out);
/* The reference page in Markdown, made from the table. */
void command_reference(struct buf *out);

/* Limits, with errors that name them. */
#define COMMAND_KEY_MAX   (64u << 10)
#define COMMAND_VALUE_MAX (32u << 20)

/* Error texts of Redis that more than one file uses. */
#define ERR_SYNTAX       "ERR syntax error"
#define ERR_NOT_INTEGER  "ERR value is not an integer or out of range"
#define ERR_NOT_FLOAT    "ERR value is not a valid float"
#define ERR_WRONGTYPE    "WRONGTYPE Operation against a key holding the wrong kind of value"
#define ERR_OVERFLOW     "ERR increment or decrement would overflow"
#define ERR_NO_KEY       "ERR no such key"
#define ERR_OUT_OF_RANGE "ERR index out of range"
#define ERR_TOO_LARGE    "ERR string exceeds maximum allowed size (32 MiB in synod)"
#define ERR_EXPIRE       "ERR invalid expire time in '%s' command"

#endif
