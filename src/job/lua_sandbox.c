#include "job/lua_sandbox.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdlib.h>

static void *allocate(void *ctx, void *old, size_t old_size, size_t size)
{
    struct lua_heap *heap = ctx;
    if (!size) {
        free(old);
        heap->used -= old_size;
        return NULL;
    }
    if (size > old_size && size - old_size > heap->max - heap->used) return NULL;
    void *p = realloc(old, size);
    if (p) heap->used += size - old_size;
    return p;
}

static const char *const globals[] = {
    "assert", "bit",          "error",  "getmetatable", "ipairs",   "math",     "next",
    "os",     "pairs",        "pcall",  "rawequal",     "rawget",   "rawlen",   "rawset",
    "select", "setmetatable", "string", "table",        "tonumber", "tostring", "type",
    "unpack", "xpcall",       "_G",     "_VERSION",     NULL};
static const char *const os_names[] = {"clock", "time", NULL};

static int among(const char *const *names, const char *name)
{
    for (; *names; names++)
        if (!strcmp(*names, name)) return 1;
    return 0;
}

/* Removes from the table on top what is not among `names`. */
static void keep(lua_State *l, const char *const *names)
{
    lua_pushnil(l);
    while (lua_next(l, -2)) {
        lua_pop(l, 1);
        if (lua_type(l, -1) == LUA_TSTRING && among(names, lua_tostring(l, -1))) continue;
        lua_pushvalue(l, -1);
        lua_pushnil(l);
        lua_rawset(l, -4); /* to clear a field while walking is allowed */
    }
}

static int open_all(lua_State *l)
{
    luaL_openlibs(l); /* the one of jit switches the compiler on */
    lua_getglobal(l, "os");
    keep(l, os_names);
    lua_getglobal(l, "string");
    lua_pushnil(l);
    lua_setfield(l, -2, "dump");
    lua_pushvalue(l, LUA_GLOBALSINDEX);
    keep(l, globals);
    lua_pushnil(l); /* what require and the debugger found there */
    lua_setfield(l, LUA_REGISTRYINDEX, "_LOADED");
    lua_pushnil(l);
    lua_setfield(l, LUA_REGISTRYINDEX, "_PRELOAD");
    return 0;
}

lua_State *lua_sandbox_new(struct lua_heap *heap)
{
    lua_State *l = lua_newstate(allocate, heap);
    if (!l) return NULL;
    if (lua_cpcall(l, open_all, NULL)) {
        lua_close(l);
        return NULL;
    }
    return l;
}

int lua_sandbox_load(lua_State *l, struct bytes source, const char *name)
{
    return luaL_loadbufferx(l, (const char *)source.data, source.size, name, "t");
}
