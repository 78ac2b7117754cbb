/* Libraries: code whose first lines register functions. The code is run anew for each call, so what
 * it keeps in local variables is not there in the next one (INV-SCRIPT-1).
 *
 * The table of what is registered, name -> {callback, flags, description}, is in Lua's registry
 * while the library is being run. */
#include "base/assert.h"
#include "redis/script.h"
#include "script/internal.h"

#include <string.h>

#define REGISTRY      "functions"
#define FUNCTIONS_MAX 10000u
#define ERR_ARGUMENTS "ERR wrong number of arguments to redis.register_function"

struct registering {
    const char *error;
    uint8_t flags;
};

/* The flags in the list on top. */
static void take_flags(lua_State *L, struct registering *r)
{
    int list = lua_gettop(L);
    for (int i = 1;; i++) {
        size_t size;
        lua_rawgeti(L, list, i);
        if (lua_isnil(L, -1)) break;
        const char *name = lua_tolstring(L, -1, &size);
        uint8_t flag = name ? script_flag_named(bytes_of(name, size)) : 0;
        if (!flag) r->error = "ERR unknown flag given";
        r->flags |= flag;
        lua_pop(L, 1);
    }
    lua_settop(L, list);
}

/* One named argument: its key at -2, its value at -1. Leaves name, callback, description at 2, 3,
 * 4. */
static void take_named(lua_State *L, struct registering *r)
{
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
    if (strcmp(key, "function_name") == 0) {
        if (!lua_isstring(L, -1))
            r->error =
                "ERR function_name argument given to redis.register_function must be a string";
        lua_pushvalue(L, -1), lua_replace(L, 2);
    } else if (strcmp(key, "callback") == 0) {
        if (!lua_isfunction(L, -1))
            r->error = "ERR callback argument given to redis.register_function must be a function";
        lua_pushvalue(L, -1), lua_replace(L, 3);
    } else if (strcmp(key, "description") == 0) {
        if (lua_type(L, -1) != LUA_TSTRING)
            r->error = "ERR description argument given to redis.register_function must be a string";
        lua_pushvalue(L, -1), lua_replace(L, 4);
    } else if (strcmp(key, "flags") == 0) {
        if (lua_istable(L, -1))
            take_flags(L, r);
        else
            r->error = "ERR flags argument to redis.register_function must be a table representing "
                       "function flags";
    } else {
        r->error = "ERR unknown argument given to redis.register_function";
    }
}

static void take_table(lua_State *L, struct registering *r)
{
    lua_settop(L, 1);
    lua_settop(L, 4); /* name, callback, description */
    if (!lua_istable(L, 1)) {
        r->error = "ERR calling redis.register_function with a single argument is only applicable "
                   "to Lua table (representing named arguments).";
        return;
    }
    for (lua_pushnil(L); !r->error && lua_next(L, 1); lua_pop(L, 1)) take_named(L, r);
    lua_settop(L, 4);
    if (!r->error && lua_isnil(L, 2))
        r->error = "ERR redis.register_function must get a function name argument";
    else if (!r->error && lua_isnil(L, 3))
        r->error = "ERR redis.register_function must get a callback argument";
}

static void take_two(lua_State *L, struct registering *r)
{
    lua_settop(L, 2);
    if (!lua_isstring(L, 1))
        r->error = "ERR first argument to redis.register_function must be a string";
    else if (!lua_isfunction(L, 2))
        r->error = "ERR second argument to redis.register_function must be a function";
    lua_pushnil(L), lua_insert(L, 1); /* the same places as in take_table */
    lua_pushnil(L);
}

static void check_name(lua_State *L, struct registering *r)
{
    size_t size;
    const char *name = lua_tolstring(L, 2, &size);
    if (r->error) return;
    if (!script_name_sound(bytes_of(name, size))) {
        r->error = FUNCTION_NO_NAME;
        return;
    }
    lua_getfield(L, LUA_REGISTRYINDEX, REGISTRY);
    lua_pushvalue(L, 2), lua_rawget(L, -2);
    if (!lua_isnil(L, -1)) r->error = "ERR Function already exists in the library";
    lua_pop(L, 2);
}

int library_register(lua_State *L)
{
    struct script_engine *e = engine_of(L);
    struct registering r = {0};
    int count = lua_gettop(L);
    if (!e->loading)
        return api_error(L,
                         "ERR redis.register_function can only be called on FUNCTION LOAD command");
    if (count < 1 || count > 2) return api_error(L, ERR_ARGUMENTS);
    if (count == 1)
        take_table(L, &r);
    else
        take_two(L, &r);
    check_name(L, &r);
    if (!r.error && ++e->registered > FUNCTIONS_MAX) r.error = "ERR too many functions";
    if (r.error) return api_error(L, r.error);
    lua_getfield(L, LUA_REGISTRYINDEX, REGISTRY);
    lua_pushvalue(L, 2);
    lua_createtable(L, 3, 0);
    lua_pushvalue(L, 3), lua_rawseti(L, -2, 1);
    lua_pushinteger(L, r.flags), lua_rawseti(L, -2, 2);
    lua_pushvalue(L, 4), lua_rawseti(L, -2, 3);
    lua_rawset(L, -3);
    return 0;
}

/* Runs the library's first lines; the table of what they registered is on top then. */
static void load_library(struct script_engine *e, lua_State *L, struct bytes code)
{
    e->registered = 0;
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, REGISTRY);
    sandbox_begin(e, L, NULL, NULL);
    if (!chunk_push(e, L, chunk_of(e, CHUNK_LIBRARY, code))) (void)lua_error(L);
    e->loading = true;
    lua_call(L, 0, 0);
    e->loading = false;
    lua_getfield(L, LUA_REGISTRYINDEX, REGISTRY);
}

void library_push(struct script_engine *e, lua_State *L)
{
    const struct script_call *call = e->call;
    load_library(e, L, call->code);
    lua_pushlstring(L, (const char *)call->function.data, call->function.size);
    lua_rawget(L, -2);
    if (!lua_istable(L, -1)) (void)luaL_error(L, "ERR Function not found");
    lua_rawgeti(L, -1, 2);
    bool only_reads = (uint8_t)lua_tointeger(L, -1) & SCRIPT_NO_WRITES;
    if (e->read_only && !only_reads) {
        lua_pushliteral(L, SCRIPT_ERR_WRITES);
        (void)lua_error(L);
    }
    e->read_only |= only_reads;
    lua_pop(L, 1);
    lua_rawgeti(L, -1, 1);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

/* ---- FUNCTION LOAD ---- */

static struct bytes string_of(lua_State *L, int at)
{
    size_t size = 0;
    const char *text = lua_type(L, at) == LUA_TSTRING ? lua_tolstring(L, at, &size) : "";
    return bytes_of(text, size);
}

/* Name at -2, {callback, flags, description} at -1. */
static void put_function(lua_State *L, struct buf *out)
{
    int entry = lua_gettop(L);
    lua_rawgeti(L, entry, 2);
    lua_rawgeti(L, entry, 3);
    script_function_put(out, &(struct script_function){.name = string_of(L, entry - 1),
                                                       .flags = (uint8_t)lua_tointeger(L, -2),
                                                       .description = string_of(L, -1)});
    lua_settop(L, entry);
}

static int describe_protected(lua_State *L)
{
    struct script_engine *e = engine_of(L);
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->handler);
    sandbox_begin(e, L, NULL, NULL);
    if (!chunk_push(e, L, chunk_of(e, CHUNK_LIBRARY, e->call->code))) return lua_error(L);
    e->registered = 0;
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, REGISTRY);
    e->loading = true;
    if (lua_pcall(L, 0, 0, 1)) {
        if (e->ending) return lua_error(L);
        lua_pushliteral(L, "ERR Error registering functions: ");
        if (lua_istable(L, -2))
            lua_pushliteral(L, "err"), lua_rawget(L, -3);
        else
            lua_pushvalue(L, -2);
        if (!lua_isstring(L, -1)) lua_pop(L, 1), lua_pushliteral(L, "unknown error");
        lua_concat(L, 2);
        return lua_error(L);
    }
    if (e->registered == 0) {
        lua_pushliteral(L, "ERR No functions registered");
        return lua_error(L);
    }
    buf_varint(e->described, e->registered);
    lua_getfield(L, LUA_REGISTRYINDEX, REGISTRY);
    int table = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) put_function(L, e->described);
    return 0;
}

bool library_describe(struct script_runner *r, struct bytes code, struct buf *functions,
                      struct buf *error)
{
    struct script_engine *e = (struct script_engine *)r;
    struct script_call call = {.code = code};
    e->call = &call;
    e->described = functions;
    bool fine = engine_protected(e, describe_protected, error);
    e->call = NULL;
    e->described = NULL;
    return fine;
}
