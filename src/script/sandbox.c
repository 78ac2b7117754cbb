/* What scripts can reach: the names of Redis's Lua, and no others. Every table of it is behind a
 * *proxy*, an empty table that reads through and refuses to be written, so nothing a script does is
 * there in the next run (INV-SCRIPT-1). What writes without asking a metatable (rawset,
 * table.insert) knows proxies by engine->guards.
 *
 * What catches errors (pcall, xpcall, coroutine.resume) asks `over` first, which goes on with an
 * end that nobody may catch (INV-SCRIPT-2). An error handler runs before its error is caught, that
 * is inside the hook that has ended the run, where no hook looks at it: so it does not run then. */
#include "script/internal.h"

#include <math.h>
#include <string.h>

#define COROUTINES_MAX 150
#define READ_ONLY      "Attempt to modify a readonly table"

/* What Lua can say better than C. `over` is given what a protected call returned. */
static const char prelude[] =
    "local over, ending, enter, leave, unwrap, guarded, copy, compile, type, error, next = ...\n"
    "local pcall, xpcall, pairs, rawset = pcall, xpcall, pairs, rawset\n"
    "local setmetatable = setmetatable\n"
    "local create, resume = coroutine.create, coroutine.resume\n"
    "local insert, concat = table.insert, table.concat\n"
    "local own = {}\n"
    "function own.pcall(...) return over(true, pcall(...)) end\n"
    "function own.xpcall(f, h, ...)\n"
    "  local function handler(e)\n"
    "    if ending() then return e end\n"
    "    return h(e)\n"
    "  end\n"
    "  return over(false, xpcall(f, handler, ...))\n"
    "end\n"
    "function own.resume(co, ...)\n"
    "  if type(co) ~= 'thread' then return resume(co) end\n"
    "  enter()\n"
    "  return over(false, leave(resume(co, ...)))\n"
    "end\n"
    "function own.wrap(f)\n"
    "  local co = create(f)\n"
    "  return function(...)\n"
    "    enter()\n"
    "    return unwrap(leave(resume(co, ...)))\n"
    "  end\n"
    "end\n"
    "function own.pairs(t)\n"
    "  if guarded[t] then return next, copy(guarded[t]), nil end\n"
    "  return pairs(t)\n"
    "end\n"
    "function own.next(t, k)\n"
    "  if guarded[t] then t = guarded[t] end\n"
    "  return next(t, k)\n"
    "end\n"
    "function own.rawset(t, k, v)\n"
    "  if guarded[t] then error({err = 'ERR " READ_ONLY "'}, 2) end\n"
    "  return rawset(t, k, v)\n"
    "end\n"
    "function own.setmetatable(t, m)\n"
    "  if guarded[t] then error({err = 'ERR " READ_ONLY "'}, 2) end\n"
    "  return setmetatable(t, m)\n"
    "end\n"
    "function own.insert(t, ...)\n"
    "  if guarded[t] then error({err = 'ERR " READ_ONLY "'}, 2) end\n"
    "  return insert(t, ...)\n"
    "end\n"
    "function own.load(f, name)\n"
    "  if type(f) ~= 'function' then\n"
    "    error(\"bad argument #1 to 'load' (function expected, got \" .. type(f) .. ')', 2)\n"
    "  end\n"
    "  local parts, n = {}, 0\n"
    "  repeat\n"
    "    local part = f()\n"
    "    n = n + 1\n"
    "    parts[n] = part\n"
    "  until part == nil or part == ''\n"
    "  return compile(concat(parts), name or '=(load)')\n"
    "end\n"
    "return own\n";

/* ---- errors ---- */

/* The place where an error was raised, and its text, as Redis has them: {err, source, line}. */
static int handle_error(lua_State *L)
{
    lua_Debug ar = {0};
    bool placed = false;
    if (engine_of(L)->ending) return 1;
    for (int level = 1; !placed && lua_getstack(L, level, &ar); level++)
        placed = lua_getinfo(L, "Sl", &ar) && ar.what[0] != 'C' && ar.source[0] != '=';
    if (!lua_istable(L, 1)) {
        const char *text = lua_tostring(L, 1);
        lua_createtable(L, 0, 3);
        lua_pushfstring(L, "ERR %s", text ? text : luaL_typename(L, 1));
        lua_setfield(L, -2, "err");
        lua_replace(L, 1);
    }
    lua_settop(L, 1);
    if (!placed) return 1; /* LuaJIT forgets who said `return f()` */
    lua_pushliteral(L, "source"), lua_pushstring(L, ar.source), lua_rawset(L, 1);
    lua_pushliteral(L, "line"), lua_pushinteger(L, ar.currentline), lua_rawset(L, 1);
    return 1;
}

/* over(texts, ok, ...): what a protected call returned. As in Redis, pcall gives the text of an
 * error that has one. */
static int over(lua_State *L)
{
    struct script_engine *e = engine_of(L);
    if (e->ending) return engine_end(e, L, e->ending);
    if (!lua_toboolean(L, 2)) engine_charge(e, L, 100); /* as dear as so many */
    if (lua_toboolean(L, 1) && !lua_toboolean(L, 2) && lua_istable(L, 3)) {
        lua_pushliteral(L, "err"), lua_rawget(L, 3);
        if (lua_type(L, -1) == LUA_TSTRING)
            lua_replace(L, 3);
        else
            lua_pop(L, 1);
    }
    return lua_gettop(L) - 1;
}

static int is_ending(lua_State *L)
{
    lua_pushboolean(L, engine_of(L)->ending != END_NONE);
    return 1;
}

/* Coroutines inside each other use the C stack, which nobody else looks after. */
static int enter_coroutine(lua_State *L)
{
    struct script_engine *e = engine_of(L);
    if (e->depth == COROUTINES_MAX) return luaL_error(L, "C stack overflow");
    e->depth++;
    return 0;
}

static int leave_coroutine(lua_State *L)
{
    engine_of(L)->depth--;
    return lua_gettop(L);
}

/* unwrap(ok, ...): what coroutine.wrap's function gives. */
static int unwrap(lua_State *L)
{
    struct script_engine *e = engine_of(L);
    if (e->ending) return engine_end(e, L, e->ending);
    if (lua_toboolean(L, 1)) return lua_gettop(L) - 1;
    lua_settop(L, 2);
    if (lua_type(L, 2) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, 2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int refuse_write(lua_State *L)
{
    return luaL_error(L, READ_ONLY);
}

static int refuse_unknown(lua_State *L)
{
    return luaL_error(L, "Script attempted to access nonexistent global variable '%s'",
                      lua_tostring(L, 2) ? lua_tostring(L, 2) : luaL_typename(L, 2));
}

/* ---- what replaces functions of Lua's ---- */

/* loadstring(text, name): text only, and its globals are the script's. */
static int load_text(lua_State *L)
{
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    const char *name = luaL_optstring(L, 2, text);
    engine_charge(engine_of(L), L, size);
    if (luaL_loadbufferx(L, text, size, name, "t")) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, engine_of(L)->sandbox);
    (void)lua_setfenv(L, -2);
    return 1;
}

static int copy_table(lua_State *L)
{
    lua_createtable(L, 0, 32);
    for (lua_pushnil(L); lua_next(L, 1);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, 2);
    }
    return 1;
}

/* Only what is asked for; when memory is given back is the engine's business. */
static int collect_garbage(lua_State *L)
{
    const char *what = luaL_optstring(L, 1, "collect");
    if (strcmp(what, "count") == 0)
        lua_pushnumber(L, (lua_Number)engine_of(L)->used / 1024);
    else
        lua_pushinteger(L, 0);
    return 1;
}

/* Redis's own drand48, which gives every run the same numbers. */
static double random_next(struct script_engine *e)
{
    uint64_t x = (uint64_t)(uint32_t)e->random[2] << 32 | (uint32_t)e->random[1] << 16 |
                 (uint32_t)e->random[0];
    x = (x * 0x5deece66dull + 0xb) & ((1ull << 48) - 1);
    e->random[0] = (int32_t)(x & 0xffff);
    e->random[1] = (int32_t)(x >> 16 & 0xffff);
    e->random[2] = (int32_t)(x >> 32);
    uint64_t high = x >> 17; /* 31 bits */
    return (double)(high % 0x7fffffff) / (double)0x7fffffff;
}

static int math_random(lua_State *L)
{
    double r = random_next(engine_of(L));
    if (lua_gettop(L) == 0) {
        lua_pushnumber(L, r);
        return 1;
    }
    bool two = lua_gettop(L) == 2;
    if (lua_gettop(L) > 2) return luaL_error(L, "wrong number of arguments");
    double low = two ? luaL_checknumber(L, 1) : 1, high = luaL_checknumber(L, two ? 2 : 1);
    luaL_argcheck(L, low <= high, two ? 2 : 1, "interval is empty");
    lua_pushnumber(L, floor(r * (high - low + 1)) + low);
    return 1;
}

static int math_seed(lua_State *L)
{
    struct script_engine *e = engine_of(L);
    int32_t seed = (int32_t)(int64_t)luaL_checknumber(L, 1);
    e->random[0] = 0x330e;
    e->random[1] = seed & 0xffff;
    e->random[2] = (int32_t)((uint32_t)seed >> 16);
    return 0;
}

/* ---- putting it together ---- */

static void open(lua_State *L, const char *name, lua_CFunction fn)
{
    lua_pushcfunction(L, fn);
    lua_pushstring(L, name);
    lua_call(L, 1, 0);
}

/* Moves fields of the table at `from` to a new one, which is pushed. NULL: the end. */
static void pick(lua_State *L, int from, const char *const *name)
{
    if (from < 0 && from > LUA_REGISTRYINDEX) from = lua_gettop(L) + 1 + from;
    lua_createtable(L, 0, 32);
    for (; *name; name++) {
        lua_getfield(L, from, *name);
        lua_setfield(L, -2, *name);
    }
}

static const char *const base_names[] = {"_VERSION", "assert",   "error",  "gcinfo", "getmetatable",
                                         "ipairs",   "rawequal", "rawget", "select", "tonumber",
                                         "tostring", "type",     "unpack", NULL};
static const char *const string_names[] = {"byte", "char",    "dump", "format", "len", "lower",
                                           "rep",  "reverse", "sub",  "upper",  NULL};
static const char *const table_names[] = {"concat", "foreach", "foreachi", "getn",
                                          "maxn",   "remove",  "sort",     NULL};
static const char *const math_names[] = {
    "abs",   "acos", "asin",  "atan", "atan2", "ceil", "cos",   "cosh", "deg", "exp",
    "floor", "fmod", "frexp", "huge", "ldexp", "log",  "log10", "max",  "min", "modf",
    "pi",    "pow",  "rad",   "sin",  "sinh",  "sqrt", "tan",   "tanh", NULL};
static const char *const coroutine_names[] = {"create", "running", "status", "yield", NULL};
static const char *const bit_names[] = {"arshift", "band",   "bnot", "bor", "bswap",
                                        "bxor",    "lshift", "rol",  "ror", "rshift",
                                        "tobit",   "tohex",  NULL};

/* Replaces the table on top by its proxy; what it hides from writing is noted in the table of
 * guards, so that it can still be walked over. */
static void protect(lua_State *L, lua_CFunction unknown)
{
    int real = lua_gettop(L);
    lua_newtable(L); /* the proxy */
    lua_createtable(L, 0, 3);
    lua_pushvalue(L, real), lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, refuse_write), lua_setfield(L, -2, "__newindex");
    lua_pushvalue(L, -2), lua_setfield(L, -2, "__metatable");
    (void)lua_setmetatable(L, -2);
    if (unknown) {
        lua_createtable(L, 0, 2);
        lua_pushcfunction(L, unknown), lua_setfield(L, -2, "__index");
        (void)lua_setmetatable(L, real);
    }
    lua_getfield(L, LUA_REGISTRYINDEX, "guards");
    lua_pushvalue(L, -2);
    lua_pushvalue(L, real);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    lua_remove(L, real);
}

void sandbox_protect(lua_State *L)
{
    protect(L, NULL);
}

/* ---- its parts; each has the table of globals-to-be at index 1, and what the prelude made at 2 */

static void add_own(lua_State *L, const char *name)
{
    lua_getfield(L, 2, name);
    lua_setfield(L, -2, name);
}

static void add_string(lua_State *L)
{
    lua_getglobal(L, "string");
    pick(L, -1, string_names);
    match_register(L);
    /* Strings have these as methods, and their metatable is nobody's. */
    lua_pushliteral(L, "");
    (void)lua_getmetatable(L, -1);
    lua_pushvalue(L, -3), lua_setfield(L, -2, "__index");
    lua_newtable(L);
    sandbox_protect(L);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
    sandbox_protect(L);
    lua_setfield(L, 1, "string");
    lua_pop(L, 1);
}

static void add_table(lua_State *L)
{
    lua_getglobal(L, "table");
    pick(L, -1, table_names);
    add_own(L, "insert");
    sandbox_protect(L);
    lua_setfield(L, 1, "table");
    lua_pop(L, 1);
}

static void add_math(lua_State *L)
{
    lua_getglobal(L, "math");
    pick(L, -1, math_names);
    lua_getfield(L, -1, "fmod"), lua_setfield(L, -2, "mod");
    lua_pushcfunction(L, math_random), lua_setfield(L, -2, "random");
    lua_pushcfunction(L, math_seed), lua_setfield(L, -2, "randomseed");
    sandbox_protect(L);
    lua_setfield(L, 1, "math");
    lua_pop(L, 1);
}

static void add_coroutine(lua_State *L)
{
    lua_getglobal(L, "coroutine");
    pick(L, -1, coroutine_names);
    add_own(L, "resume");
    add_own(L, "wrap");
    sandbox_protect(L);
    lua_setfield(L, 1, "coroutine");
    lua_pop(L, 1);
}

static void add_libraries(lua_State *L)
{
    static const struct {
        const char *name;
        void (*push)(lua_State *L);
    } library[] = {{"redis", api_push},
                   {"cjson", json_push},
                   {"cmsgpack", msgpack_push},
                   {"struct", pack_push}};
    for (size_t i = 0; i < sizeof library / sizeof *library; i++) {
        library[i].push(L);
        sandbox_protect(L);
        lua_setfield(L, 1, library[i].name);
    }
    lua_getglobal(L, "bit");
    pick(L, -1, bit_names);
    sandbox_protect(L);
    lua_setfield(L, 1, "bit");
    lua_pop(L, 1);
}

static void add_functions(lua_State *L)
{
    static const char *const own[] = {"pcall",  "xpcall",       "pairs", "next",
                                      "rawset", "setmetatable", "load"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        lua_getfield(L, 2, own[i]);
        lua_setfield(L, 1, own[i]);
    }
    lua_pushcfunction(L, load_text), lua_setfield(L, 1, "loadstring");
    lua_pushcfunction(L, collect_garbage), lua_setfield(L, 1, "collectgarbage");
}

static void run_prelude(lua_State *L)
{
    static const char *const pass[] = {"type", "error", "next"};
    if (luaL_loadbufferx(L, prelude, sizeof prelude - 1, "=prelude", "t")) (void)lua_error(L);
    lua_pushcfunction(L, over);
    lua_pushcfunction(L, is_ending);
    lua_pushcfunction(L, enter_coroutine);
    lua_pushcfunction(L, leave_coroutine);
    lua_pushcfunction(L, unwrap);
    lua_getfield(L, LUA_REGISTRYINDEX, "guards");
    lua_pushcfunction(L, copy_table);
    lua_pushcfunction(L, load_text);
    for (size_t i = 0; i < sizeof pass / sizeof *pass; i++) lua_getglobal(L, pass[i]);
    lua_call(L, 11, 1);
}

void sandbox_make(struct script_engine *e, lua_State *L)
{
    open(L, "", luaopen_base);
    open(L, LUA_TABLIBNAME, luaopen_table);
    open(L, LUA_STRLIBNAME, luaopen_string);
    open(L, LUA_MATHLIBNAME, luaopen_math);
    open(L, "bit", luaopen_bit);
    lua_settop(L, 0);
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "guards");
    pick(L, LUA_GLOBALSINDEX, base_names);
    run_prelude(L);
    add_functions(L);
    add_string(L), add_table(L), add_math(L), add_coroutine(L), add_libraries(L);

    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    e->globals = luaL_ref(L, LUA_REGISTRYINDEX);
    protect(L, refuse_unknown);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->globals);
    lua_pushvalue(L, 1), lua_setfield(L, 2, "_G");
    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    lua_replace(L, LUA_GLOBALSINDEX);
    e->sandbox = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushcfunction(L, handle_error);
    e->handler = luaL_ref(L, LUA_REGISTRYINDEX);
}

void sandbox_push_list(lua_State *L, const struct cmd_args *a)
{
    lua_createtable(L, (int)a->count, 0);
    for (uint32_t i = 0; i < a->count; i++) {
        lua_pushlstring(L, a->v[i].size ? (const char *)a->v[i].data : "", a->v[i].size);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

static void set_list(lua_State *L, const char *name, const struct cmd_args *a)
{
    lua_pushstring(L, name);
    if (a)
        sandbox_push_list(L, a);
    else
        lua_pushnil(L);
    lua_rawset(L, -3);
}

void sandbox_begin(struct script_engine *e, lua_State *L, const struct cmd_args *keys,
                   const struct cmd_args *args)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->globals);
    set_list(L, "KEYS", keys);
    set_list(L, "ARGV", args);
    lua_pop(L, 1);
}
