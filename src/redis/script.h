/* Scripts and functions (docs/COMPUTE.md): EVAL, FCALL, SCRIPT, FUNCTION.
 *
 * A script is a command like any other: a function over a view. What runs it is behind struct
 * script_runner (src/script), which whoever evaluates gives to the view. What travels between nodes
 * carries the code itself, so that no leader needs to know it: EVALSHA becomes EVAL, and FCALL's
 * function "name" becomes "name\n" and its library's code (node/script.c).
 *
 * What SCRIPT LOAD and FUNCTION LOAD keep are rows in group 0 (shard/keys.h, 0x03):
 *   'v'          version:8 (+1 with each change of a library), scripts:8, libraries:8 (bytes)
 *   's' sha:40   a script's body
 *   'f' name     a library: code (blob), count (LEB128), count times: function's name (blob),
 *                flags:1, description (blob)
 * Numbers little-endian. */
#ifndef SYNOD_REDIS_SCRIPT_H
#define SYNOD_REDIS_SCRIPT_H

#include "redis/command.h"

#define SCRIPT_CODE_MAX (1u << 20) /* bytes of one script or library */
#define SCRIPT_ROWS_MAX (8u << 20) /* ... of all that are loaded, of each kind */
#define SCRIPT_NAME_MAX 256u
#define FUNCTION_NO_NAME                                                                           \
    "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least " \
    "one character long"

enum script_flag {
    SCRIPT_NO_WRITES = 1 << 0,
    SCRIPT_ALLOW_OOM = 1 << 1,
    SCRIPT_ALLOW_STALE = 1 << 2,
    SCRIPT_NO_CLUSTER = 1 << 3,
    SCRIPT_CROSS_SLOT = 1 << 4,
};
#define SCRIPT_FLAGS 5
extern const char *const script_flag_name[SCRIPT_FLAGS];
/* The bit of a flag's name; 0: there is no such flag. */
uint8_t script_flag_named(struct bytes name);

struct script_call {
    struct bytes code;
    struct bytes function; /* of the library `code`; data NULL: `code` is a script */
    struct cmd_args keys, args;
    bool read_only;
};

/* What runs code. compiles, describes: false: `error` is the text of an error, its prefix included.
 * describes: appends to `functions` what a library registers, as in its row. */
struct script_runner {
    void (*run)(struct script_runner *r, struct view *v, const struct script_call *call,
                struct reply *out);
    bool (*compiles)(struct script_runner *r, struct bytes code, struct buf *error);
    bool (*describes)(struct script_runner *r, struct bytes code, struct buf *functions,
                      struct buf *error);
};

/* The first line "#!engine option=value ...", and what follows it from its line feed on. */
struct script_head {
    bool there;
    struct bytes engine, name, body;
    uint8_t flags;
};
/* Of a script, which need not have one; of a library. False: an error's text. */
bool script_head_of_script(struct bytes code, struct script_head *h, struct buf *error);
bool script_head_of_library(struct bytes code, struct script_head *h, struct buf *error);
bool script_name_sound(struct bytes name);

/* Does a command run a script, behind its token or in its transaction? */
bool script_is_in(const struct command *c, const struct cmd_args *a);
/* Is it EVAL, FCALL, ...: where numkeys stands at argument 2? */
static inline bool script_is(const struct command *c)
{
    return c->flags & CMD_SCRIPT;
}
/* Checks numkeys; else answers the error. */
bool script_check_keys(const struct cmd_args *a, struct reply *out);

/* FCALL's first argument as it travels. */
void script_put_function(struct buf *out, struct bytes function, struct bytes code);

/* A library's row. */
struct script_library {
    struct bytes code, functions; /* functions: the rest, with their count */
};
struct script_function {
    struct bytes name, description;
    uint8_t flags;
};
bool script_library_get(struct bytes row, struct script_library *l); /* false: malformed */
void script_function_put(struct buf *out, const struct script_function *f);
/* Takes the next one off; `functions` begins behind the count. False: malformed. */
bool script_function_get(struct reader *functions, struct script_function *f);

/* The counts of 'v', as a command reads and writes them. */
struct script_counts {
    uint64_t version, scripts, libraries;
};
bool script_counts_get(struct view *v, struct script_counts *c); /* false: missed */
void script_counts_put(struct view *v, const struct script_counts *c);
void script_row_key(struct buf *out, uint8_t kind, struct bytes name);
/* Visits the rows of a kind in order of their names. False: missed. */
bool script_rows(struct view *v, uint8_t kind, view_each *each, void *ctx);
/* Deletes them all. False: missed. */
bool script_rows_delete(struct view *v, uint8_t kind);
/* FLUSH with SYNC, ASYNC or nothing behind it; else false, and the error. */
bool script_flush_checks(const struct cmd_args *a, struct reply *out, const char *error);

/* function_dump.c: the payload of FUNCTION DUMP, as Redis writes it; and back. */
void function_dump_begin(struct buf *out);
void function_dump_library(struct buf *out, struct bytes code);
void function_dump_end(struct buf *out);
/* Calls `each` for every library's code. False: it is not such a payload, or `each` said so. */
bool function_dump_read(struct bytes payload, bool (*each)(void *ctx, struct bytes code),
                        void *ctx);

#endif
