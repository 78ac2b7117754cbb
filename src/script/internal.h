/* What the files of src/script share.
 *   engine.c   the state, a run, its limits      cache.c    code that was met, by hash and by SHA1
 *   sandbox.c  what scripts can reach            api.c      redis.call and the other redis.*
 *   convert.c  replies to Lua values and back    library.c  what a library registers
 *   json.c, msgpack.c, pack.c  cjson, cmsgpack, struct      match.c  string.find and its like */
#ifndef SYNOD_SCRIPT_INTERNAL_H
#define SYNOD_SCRIPT_INTERNAL_H

#include "base/list.h"
#include "base/map.h"
#include "base/sha1.h"
#include "script/engine.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#define OUTPUT_MAX        (64u << 20) /* bytes of a reply, where the view does not say */
#define SCRIPT_ERR_WRITES "ERR Can not execute a script with write flag using *_ro command."
#define DEPTH_MAX         1000 /* of tables in each other */

enum ending {
    END_NONE,
    END_VIEW, /* the view missed or refused: there is no answer */
    END_TIME, /* the limits */
    END_STEPS,
};

enum chunk_kind { CHUNK_SCRIPT, CHUNK_LIBRARY };

struct chunk {        /* code that was met */
    struct list used; /* engine->chunks, the latest first */
    uint64_t hash;
    uint8_t kind;
    char sha[SHA1_HEX];
    struct bytes code; /* own copy */
    int ref;           /* compiled, in Lua's registry; LUA_NOREF: not yet */
    uint8_t flags;     /* enum script_flag; once compiled */
    bool declared;     /* it says what it does, by its flags */
    bool abroad;       /* it comes to keys of other groups */
};

/* Of cjson. */
struct json_options {
    bool sparse_convert, decode_invalid;
    int sparse_ratio, sparse_safe, encode_depth, decode_depth, precision;
    enum { JSON_INVALID_ERROR, JSON_INVALID_ON, JSON_INVALID_NULL } invalid;
};

struct script_engine {
    struct script_runner runner; /* first */
    struct script_host host;
    struct script_limits limits;
    lua_State *lua; /* NULL: not made yet */
    size_t used;    /* bytes that Lua has */
    size_t used_max, used_calm;
    int sandbox, globals,
        handler; /* references: what scripts see, what is behind it, see sandbox.c */

    struct list chunks;
    struct map by_hash, by_sha;
    uint32_t chunk_count;
    size_t chunk_bytes;

    /* of the run */
    struct view *view;
    const struct script_call *call;
    struct reply *out;
    size_t out_max;
    uint8_t ending; /* enum ending */
    uint32_t depth; /* of coroutines in each other */
    bool read_only, loading;
    uint8_t version; /* of RESP, by redis.setresp */
    uint64_t steps, began;
    int32_t random[3]; /* math.random: as Redis's */
    uint32_t registered;
    struct json_options json;

    struct bytes *args; /* of the command that is called */
    uint32_t args_capacity;
    struct buf reply, text; /* of that command; of the encoder at work */
    struct buf *described;  /* a library is being described: what it registers */
};

static inline struct script_engine *engine_of(lua_State *L)
{
    void *e;
    (void)lua_getallocf(L, &e);
    return e;
}

/* engine.c */
/* Counts what costs as much as so many instructions. Does not return if that is too much. */
void engine_charge(struct script_engine *e, lua_State *L, uint64_t steps);
/* Ends the run; does not return. */
int engine_end(struct script_engine *e, lua_State *L, enum ending why);
/* Calls fn in protected mode with the engine's state; false: an error's text is in `error`. */
bool engine_protected(struct script_engine *e, lua_CFunction fn, struct buf *error);
bool engine_open(struct script_engine *e);

/* cache.c */
void chunks_init(struct script_engine *e);
void chunks_clear(struct script_engine *e);
struct chunk *chunk_of(struct script_engine *e, enum chunk_kind kind, struct bytes code);
/* Pushes the function. False: it does not compile; pushes the error's text instead. May raise what
 * Lua raises. */
bool chunk_push(struct script_engine *e, lua_State *L, struct chunk *c);

/* sandbox.c */
void sandbox_make(struct script_engine *e, lua_State *L); /* may raise */
/* Makes the globals what a run begins with: a script's have KEYS and ARGV. May raise. */
void sandbox_begin(struct script_engine *e, lua_State *L, const struct cmd_args *keys,
                   const struct cmd_args *args);
/* Replaces the table on top by one through which it can be read only. */
void sandbox_protect(lua_State *L);
void sandbox_push_list(lua_State *L, const struct cmd_args *a);

/* api.c */
void api_push(lua_State *L); /* the table `redis` */
/* Raises {err = text}, without a place. */
int api_error(lua_State *L, const char *text);

/* convert.c */
void convert_to_lua(struct script_engine *e, lua_State *L, struct bytes reply);
void convert_to_reply(struct script_engine *e, lua_State *L, int at);

/* library.c */
int library_register(lua_State *L);
/* Runs the library's code and pushes the function. Raises an error's text. */
void library_push(struct script_engine *e, lua_State *L);
bool library_describe(struct script_runner *r, struct bytes code, struct buf *functions,
                      struct buf *error);

/* json.c, msgpack.c, pack.c, match.c: push a table of functions. */
void json_begin(struct json_options *o);
void json_push(lua_State *L);
void msgpack_push(lua_State *L);
void pack_push(lua_State *L);
void match_register(lua_State *L); /* into the table on top, which is `string` */

#endif
