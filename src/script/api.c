/* The table `redis`. */
#include "base/mem.h"
#include "script/internal.h"

#include <stdio.h>
#include <string.h>

#define REDIS_VERSION     "7.2.0" /* as INFO says */
#define REDIS_VERSION_NUM 0x00070200
#define REPL_NONE         0
#define REPL_AOF          1
#define REPL_REPLICA      2
#define REPL_ALL          3

/* ---- errors ---- */

/* A table {err = text}; what has no code gets ERR. */
static void push_error(lua_State *L, struct bytes text)
{
    bool coded = text.size && memchr(text.data, ' ', text.size) != NULL;
    lua_createtable(L, 0, 1);
    lua_pushstring(L, coded ? "" : "ERR ");
    lua_pushlstring(L, text.size ? (const char *)text.data : "", text.size);
    lua_concat(L, 2);
    lua_setfield(L, -2, "err");
}

int api_error(lua_State *L, const char *text)
{
    push_error(L, bytes_str(text));
    return lua_error(L);
}

/* Raises it, or returns it to the script. */
static int call_error(lua_State *L, bool raise, const char *text)
{
    push_error(L, bytes_str(text));
    return raise ? lua_error(L) : 1;
}

/* ---- redis.call ---- */

/* Puts numbers as Redis does, and makes slices of all arguments, which the stack keeps. */
static bool take_args(struct script_engine *e, lua_State *L, uint32_t count)
{
    if (count > e->args_capacity) {
        e->args_capacity = count + 16;
        e->args = mem_realloc(e->args, e->args_capacity * sizeof *e->args);
    }
    for (uint32_t i = 0; i < count; i++) {
        char number[64];
        size_t size;
        int at = (int)i + 1;
        if (lua_type(L, at) == LUA_TNUMBER) {
            int n = snprintf(number, sizeof number, "%.17g", lua_tonumber(L, at));
            lua_pushlstring(L, number, (size_t)n);
            lua_replace(L, at);
        } else if (lua_type(L, at) != LUA_TSTRING) {
            return false;
        }
        const char *text = lua_tolstring(L, at, &size);
        e->args[i] = bytes_of(text, size);
    }
    return true;
}

struct touching {
    struct view *view;
    bool writes;
};

static void touch_key(void *ctx, struct bytes key)
{
    struct touching *t = ctx;
    (void)view_touch(t->view, key, t->writes);
}

/* What a node answers by itself, and a script may ask. */
static bool answer_local(struct script_engine *e, const struct command *c, const struct cmd_args *a,
                         struct reply *out)
{
    int64_t ms = e->view->now_ms;
    if (c->parent) return false;
    if (strcmp(c->name, "time") == 0) {
        reply_array(out, 2);
        reply_bulk_i64(out, ms / 1000);
        reply_bulk_i64(out, ms % 1000 * 1000);
    } else if (strcmp(c->name, "ping") == 0 && a->count == 1) {
        reply_simple(out, "PONG");
    } else if (strcmp(c->name, "ping") == 0 || strcmp(c->name, "echo") == 0) {
        reply_bulk(out, a->v[a->count - 1]);
    } else if (strcmp(c->name, "select") == 0 && bytes_equal(a->v[1], BYTES("0"))) {
        reply_ok(out);
    } else {
        return false;
    }
    return true;
}

static bool is_allowed(const struct command *c)
{
    return c->fn && !(c->flags & (CMD_NOSCRIPT | CMD_SYSTEM | CMD_INTERNAL | CMD_GROUP)) &&
           c->spread == CMD_SPREAD_NONE;
}

/* The command's reply is in e->reply. Does not return if the view missed. */
static void run_command(struct script_engine *e, lua_State *L, const struct command *c,
                        const struct cmd_args *a)
{
    struct view *v = e->view;
    struct reply out = {&e->reply, e->version};
    struct touching touching = {v, (c->flags & CMD_WRITE) != 0};
    const struct buf *reply = v->reply;
    size_t reply_max = v->reply_max;
    (void)command_keys(c, a, touch_key, &touching);
    if (!v->missed) {
        v->reply = &e->reply;
        v->reply_max = e->limits.memory;
        c->fn(v, a, &out);
        v->reply = reply;
        v->reply_max = reply_max;
    }
    if (v->missed) (void)engine_end(e, L, END_VIEW);
}

static int call(lua_State *L, bool raise)
{
    struct script_engine *e = engine_of(L);
    uint32_t count = (uint32_t)lua_gettop(L);
    if (count == 0)
        return call_error(L, raise,
                          "ERR Please specify at least one argument for this redis lib call");
    if (e->view == NULL || e->loading)
        return luaL_error(L, "Script attempted to access nonexistent global variable '%s'",
                          raise ? "call" : "pcall");
    if (!take_args(e, L, count))
        return call_error(L, raise,
                          "ERR Lua redis lib command arguments must be strings or integers");
    struct cmd_args a = {e->args, count};
    const struct command *c = command_find(&a, NULL);
    struct reply out = {&e->reply, e->version};
    engine_charge(e, L, 20);
    buf_clear(&e->reply);
    if (!c || c->flags & CMD_INTERNAL)
        return call_error(L, raise, "ERR Unknown Redis command called from script");
    if (!command_check_arity(c, &a, &out))
        return call_error(L, raise, "ERR Wrong number of args calling Redis command from script");
    if (!(c->flags & CMD_LOCAL && answer_local(e, c, &a, &out))) {
        if (!is_allowed(c))
            return call_error(L, raise, "ERR This Redis command is not allowed from script");
        if (e->read_only && c->flags & CMD_WRITE)
            return call_error(L, raise,
                              "ERR Write commands are not allowed from read-only scripts.");
        if (command_check_keys(c, &a, &out)) run_command(e, L, c, &a);
    }
    convert_to_lua(e, L, buf_bytes(&e->reply));
    bool failed = e->reply.size && e->reply.data[0] == '-';
    return raise && failed ? lua_error(L) : 1;
}

static int api_call(lua_State *L)
{
    return call(L, true);
}

static int api_pcall(lua_State *L)
{
    return call(L, false);
}

/* ---- the others ---- */

static int wrong_arguments(lua_State *L)
{
    return call_error(L, false, "ERR wrong number or type of arguments");
}

static int api_error_reply(lua_State *L)
{
    size_t size;
    if (lua_gettop(L) != 1 || lua_type(L, 1) != LUA_TSTRING) return wrong_arguments(L);
    const char *text = lua_tolstring(L, 1, &size);
    bool dash = size && text[0] == '-';
    push_error(L, bytes_of(text + dash, size - dash));
    return 1;
}

static int api_status_reply(lua_State *L)
{
    if (lua_gettop(L) != 1 || lua_type(L, 1) != LUA_TSTRING) return wrong_arguments(L);
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "ok");
    return 1;
}

static int api_sha1hex(lua_State *L)
{
    char sha[SHA1_HEX];
    size_t size;
    if (lua_gettop(L) != 1) return api_error(L, "ERR wrong number of arguments");
    const char *text = lua_tolstring(L, 1, &size);
    if (!text) text = "", size = 0;
    engine_charge(engine_of(L), L, size / 16);
    sha1_hex(bytes_of(text, size), sha);
    lua_pushlstring(L, sha, sizeof sha);
    return 1;
}

static int api_log(lua_State *L)
{
    struct script_engine *e = engine_of(L);
    int count = lua_gettop(L);
    size_t size;
    if (count < 2) return api_error(L, "ERR redis.log() requires two arguments or more.");
    if (!lua_isnumber(L, 1))
        return api_error(L, "ERR First argument must be a number (log level).");
    double level = lua_tonumber(L, 1);
    if (!(level >= SCRIPT_LOG_DEBUG && level <= SCRIPT_LOG_WARNING))
        return api_error(L, "ERR Invalid debug level.");
    buf_clear(&e->text);
    for (int i = 2; i <= count; i++) {
        const char *text = lua_tolstring(L, i, &size);
        if (!text || size > 1024 - e->text.size) break;
        if (i > 2) buf_u8(&e->text, ' ');
        buf_append(&e->text, text, size);
    }
    engine_charge(e, L, 1000);
    if (e->host.log) e->host.log(e->host.ctx, (enum script_log)level, buf_bytes(&e->text));
    return 0;
}

static int api_setresp(lua_State *L)
{
    if (lua_gettop(L) != 1) return api_error(L, "ERR redis.setresp() requires one argument.");
    double version = lua_tonumber(L, 1);
    if (version != 2 && version != 3) return api_error(L, "ERR RESP version must be 2 or 3.");
    engine_of(L)->version = (uint8_t)version;
    return 0;
}

/* Effects are replicated, all of them. */
static int api_set_repl(lua_State *L)
{
    double flags = lua_tonumber(L, 1);
    if (lua_gettop(L) != 1) return api_error(L, "ERR redis.set_repl() requires one argument.");
    if (!(flags >= REPL_NONE && flags <= REPL_ALL))
        return api_error(
            L, "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.");
    if (flags != REPL_ALL)
        return api_error(L,
                         "ERR whatever a script writes is replicated: only REPL_ALL is possible");
    return 0;
}

static int api_true(lua_State *L)
{
    lua_pushboolean(L, true);
    return 1;
}

/* ---- the table ---- */

static void set_number(lua_State *L, const char *name, int value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void push_common(lua_State *L)
{
    static const luaL_Reg fns[] = {{"error_reply", api_error_reply},
                                   {"status_reply", api_status_reply},
                                   {"sha1hex", api_sha1hex},
                                   {"log", api_log},
                                   {"setresp", api_setresp},
                                   {"set_repl", api_set_repl},
                                   {NULL, NULL}};
    lua_createtable(L, 0, 24);
    luaL_setfuncs(L, fns, 0);
    set_number(L, "LOG_DEBUG", SCRIPT_LOG_DEBUG);
    set_number(L, "LOG_VERBOSE", SCRIPT_LOG_VERBOSE);
    set_number(L, "LOG_NOTICE", SCRIPT_LOG_NOTICE);
    set_number(L, "LOG_WARNING", SCRIPT_LOG_WARNING);
    set_number(L, "REPL_NONE", REPL_NONE);
    set_number(L, "REPL_AOF", REPL_AOF);
    set_number(L, "REPL_REPLICA", REPL_REPLICA);
    set_number(L, "REPL_SLAVE", REPL_REPLICA);
    set_number(L, "REPL_ALL", REPL_ALL);
    set_number(L, "REDIS_VERSION_NUM", REDIS_VERSION_NUM);
    lua_pushliteral(L, REDIS_VERSION);
    lua_setfield(L, -2, "REDIS_VERSION");
}

void api_push(lua_State *L)
{
    push_common(L);
    lua_pushcfunction(L, api_call), lua_setfield(L, -2, "call");
    lua_pushcfunction(L, api_pcall), lua_setfield(L, -2, "pcall");
    lua_pushcfunction(L, api_true), lua_setfield(L, -2, "replicate_commands");
    lua_pushcfunction(L, library_register), lua_setfield(L, -2, "register_function");
}
