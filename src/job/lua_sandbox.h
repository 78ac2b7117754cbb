/* A LuaJIT state for code that nobody trusts: memory bounded by its allocator, and of the standard
 * libraries only what computes. No io, debug, ffi, package; of os time and clock; nothing that
 * loads code, and no bytecode. */
#ifndef SYNOD_JOB_LUA_SANDBOX_H
#define SYNOD_JOB_LUA_SANDBOX_H

#include <stddef.h>

#include "base/bytes.h"

struct lua_State;

struct lua_heap {
    size_t used, max;
};

/* NULL: this LuaJIT takes no allocator (it was built without GC64), or there is no memory. `heap`
 * is the caller's until lua_close. */
struct lua_State *lua_sandbox_new(struct lua_heap *heap);
/* Compiles source text (never bytecode) and leaves the function on the stack, or an error message.
 * 0: a function. */
int lua_sandbox_load(struct lua_State *l, struct bytes source, const char *name);

#endif
