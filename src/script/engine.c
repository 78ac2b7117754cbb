#include "base/assert.h"
#include "base/mem.h"
#include "script/internal.h"

#include <luajit.h>

#define COUNT      200u       /* instructions between two looks at the limits */
#define CALM       (8u << 20) /* bytes of garbage that a run may leave */
#define ERR_NO_LUA "ERR the Lua library of this node makes no state; scripts are not run here"

/* ---- memory ---- */

static void *allocate(void *ctx, void *old, size_t had, size_t wanted)
{
    struct script_engine *e = ctx;
    if (!old) had = 0;
    if (wanted == 0) {
        mem_free(old);
        e->used -= had;
        return NULL;
    }
    if (wanted > had && e->used + (wanted - had) > e->used_max) return NULL;
    void *p = mem_realloc(old, wanted);
    e->used += wanted - had;
    return p;
}

/* ---- limits ---- */

static void look_at_limits(struct script_engine *e, lua_State *L)
{
    if (e->ending) (void)engine_end(e, L, e->ending);
    if (e->steps > e->limits.steps) (void)engine_end(e, L, END_STEPS);
    if (e->host.now && e->host.now(e->host.ctx) - e->began > e->limits.time_ns)
        (void)engine_end(e, L, END_TIME);
}

int engine_end(struct script_engine *e, lua_State *L, enum ending why)
{
    e->ending = (uint8_t)why;
    lua_pushliteral(L, "the run has ended");
    return lua_error(L);
}

void engine_charge(struct script_engine *e, lua_State *L, uint64_t steps)
{
    uint64_t before = e->steps / COUNT;
    e->steps += steps;
    if (e->steps / COUNT != before) look_at_limits(e, L);
}

static void count_hook(lua_State *L, lua_Debug *ar)
{
    struct script_engine *e = engine_of(L);
    (void)ar;
    e->steps += COUNT;
    look_at_limits(e, L);
}

/* ---- the state ---- */

static int make_sandbox(lua_State *L)
{
    sandbox_make(engine_of(L), L);
    return 0;
}

bool engine_open(struct script_engine *e)
{
    if (e->lua) return true;
    e->used_max = SIZE_MAX;
    e->lua = lua_newstate(allocate, e);
    if (!e->lua) return false;
    if (!luaJIT_setmode(e->lua, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF) ||
        lua_cpcall(e->lua, make_sandbox, NULL) != 0) {
        lua_close(e->lua);
        e->lua = NULL;
        return false;
    }
    (void)lua_sethook(e->lua, count_hook, LUA_MASKCOUNT, COUNT);
    lua_settop(e->lua, 0);
    (void)lua_gc(e->lua, LUA_GCCOLLECT, 0);
    e->used_calm = e->used;
    return true;
}

static void run_begin(struct script_engine *e)
{
    e->ending = END_NONE;
    e->loading = false;
    e->version = 2;
    e->steps = 0;
    e->depth = 0;
    e->began = e->host.now ? e->host.now(e->host.ctx) : 0;
    e->random[0] = 0x330e, e->random[1] = 0xabcd, e->random[2] = 0x1234; /* as in a new Redis */
    e->used_max = e->used + e->limits.memory;
    json_begin(&e->json);
}

static void run_end(struct script_engine *e)
{
    lua_settop(e->lua, 0);
    e->used_max = SIZE_MAX;
    if (e->used > e->used_calm + CALM) {
        (void)lua_gc(e->lua, LUA_GCCOLLECT, 0);
        e->used_calm = e->used;
    }
    if (e->reply.capacity > CALM) buf_deinit(&e->reply);
    if (e->text.capacity > CALM) buf_deinit(&e->text);
}

/* ---- errors ---- */

/* What is on top, as an error reply's text: a string, or Redis's {err, source, line}. */
static void error_text(lua_State *L, const char *name, struct buf *text)
{
    size_t size = 0;
    const char *err = NULL;
    bool table = lua_istable(L, -1);
    if (table) lua_pushliteral(L, "err"), lua_rawget(L, -2);
    if (lua_type(L, -1) == LUA_TSTRING) err = lua_tolstring(L, -1, &size);
    if (!err) err = "ERR unknown error", size = strlen(err);
    if (!table && strncmp(err, "ERR ", 4) != 0) buf_append_bytes(text, BYTES("ERR "));
    buf_append(text, err, size);
    if (table) lua_pop(L, 1);
    if (!table || !name) return;
    lua_pushliteral(L, "source"), lua_rawget(L, -2);
    lua_pushliteral(L, "line"), lua_rawget(L, -3);
    buf_printf(text, " script: %s", name);
    if (lua_isstring(L, -2) && lua_isnumber(L, -1))
        buf_printf(text, ", on %s:%d", lua_tostring(L, -2), (int)lua_tonumber(L, -1));
    buf_u8(text, '.');
    lua_pop(L, 2);
}

static void limit_text(const struct script_engine *e, struct buf *text)
{
    if (e->ending == END_TIME)
        buf_printf(text,
                   "ERR the script ran for more than %llu ms and was stopped; nothing was changed. "
                   "Let it do less at once, or raise lua-time-limit (CONFIG SET)",
                   (unsigned long long)(e->limits.time_ns / 1000000));
    else
        buf_printf(text,
                   "ERR the script ran for more than %llu million instructions and was stopped; "
                   "nothing was changed. Let it do less at once",
                   (unsigned long long)(e->limits.steps / 1000000));
}

/* An error reply is one line. */
static void reply_text(struct reply *out, struct buf *text)
{
    for (size_t i = 0; i < text->size; i++)
        if (text->data[i] == '\r' || text->data[i] == '\n' || text->data[i] == 0)
            text->data[i] = ' ';
    buf_u8(text, 0);
    reply_error(out, (const char *)text->data);
}

bool engine_protected(struct script_engine *e, lua_CFunction fn, struct buf *error)
{
    if (!engine_open(e)) {
        buf_append_bytes(error, BYTES(ERR_NO_LUA));
        return false;
    }
    run_begin(e);
    bool fine = lua_cpcall(e->lua, fn, e) == 0;
    if (!fine && e->ending)
        limit_text(e, error);
    else if (!fine)
        error_text(e->lua, NULL, error);
    run_end(e);
    return fine;
}

/* ---- a run ---- */

/* Pushes what is to be called and its arguments; returns how many. */
static int push_script(struct script_engine *e, lua_State *L)
{
    const struct script_call *call = e->call;
    struct chunk *c = chunk_of(e, CHUNK_SCRIPT, call->code);
    sandbox_begin(e, L, &call->keys, &call->args);
    if (!chunk_push(e, L, c)) return lua_error(L);
    bool only_reads = (c->flags & SCRIPT_NO_WRITES) != 0;
    if (c->declared && e->read_only && !only_reads) {
        lua_pushliteral(L, SCRIPT_ERR_WRITES);
        return lua_error(L);
    }
    e->read_only |= only_reads;
    return 0;
}

static int push_function(struct script_engine *e, lua_State *L)
{
    library_push(e, L);
    sandbox_push_list(L, &e->call->keys);
    sandbox_push_list(L, &e->call->args);
    return 2;
}

static void put_name(struct script_engine *e, char name[SCRIPT_NAME_MAX + 1])
{
    const struct script_call *call = e->call;
    struct bytes is = call->function;
    if (!is.data) is = bytes_of(chunk_of(e, CHUNK_SCRIPT, call->code)->sha, SHA1_HEX);
    size_t size = is.size < SCRIPT_NAME_MAX ? is.size : SCRIPT_NAME_MAX;
    memcpy(name, is.data, size);
    name[size] = 0;
}

static int run_protected(lua_State *L)
{
    struct script_engine *e = engine_of(L);
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->handler);
    int args = e->call->function.data ? push_function(e, L) : push_script(e, L);
    if (lua_pcall(L, args, 1, 1) == 0) {
        convert_to_reply(e, L, lua_gettop(L));
        return 0;
    }
    if (e->ending) return lua_error(L);
    char name[SCRIPT_NAME_MAX + 1];
    put_name(e, name);
    buf_clear(&e->text);
    error_text(L, name, &e->text);
    lua_pushnil(L); /* the text is in e->text */
    return lua_error(L);
}

static void run_failed(struct script_engine *e, size_t effects, size_t before)
{
    struct buf text = {0};
    view_rewind(e->view, effects);
    e->out->out->size = before;
    if (e->ending)
        limit_text(e, &text);
    else if (lua_isnil(e->lua, -1))
        buf_append_bytes(&text, buf_bytes(&e->text));
    else
        error_text(e->lua, NULL, &text);
    reply_text(e->out, &text);
    buf_deinit(&text);
}

static void engine_run(struct script_runner *r, struct view *v, const struct script_call *call,
                       struct reply *out)
{
    struct script_engine *e = (struct script_engine *)r;
    size_t effects = v->effects.size, before = out->out->size;
    if (call->code.size > SCRIPT_CODE_MAX) {
        reply_errorf(out, "ERR a script has at most %u KiB", SCRIPT_CODE_MAX >> 10);
        return;
    }
    if (!engine_open(e)) {
        reply_error(out, ERR_NO_LUA);
        return;
    }
    e->view = v, e->call = call, e->out = out;
    e->out_max = v->reply ? v->reply_max : before + OUTPUT_MAX;
    e->read_only = call->read_only;
    run_begin(e);
    bool fine = lua_cpcall(e->lua, run_protected, NULL) == 0;
    ASSERT(e->ending != END_VIEW || v->missed);
    if (!fine && !v->missed) run_failed(e, effects, before);
    run_end(e);
    e->view = NULL, e->call = NULL, e->out = NULL;
}

/* ---- does it compile? ---- */

static int compile_protected(lua_State *L)
{
    struct script_engine *e = engine_of(L);
    if (!chunk_push(e, L, chunk_of(e, CHUNK_SCRIPT, e->call->code))) return lua_error(L);
    return 0;
}

static bool engine_compiles(struct script_runner *r, struct bytes code, struct buf *error)
{
    struct script_engine *e = (struct script_engine *)r;
    struct script_call call = {.code = code};
    e->call = &call;
    bool fine = engine_protected(e, compile_protected, error);
    e->call = NULL;
    return fine;
}

/* ---- making and ending ---- */

struct script_engine *script_engine_new(const struct script_host *host)
{
    struct script_engine *e = mem_zalloc(sizeof *e);
    e->runner = (struct script_runner){engine_run, engine_compiles, library_describe};
    e->host = *host;
    e->limits = (struct script_limits){SCRIPT_TIME_NS, SCRIPT_STEPS, SCRIPT_MEMORY, SCRIPT_CACHE,
                                       SCRIPT_COUNT};
    chunks_init(e);
    return e;
}

void script_engine_free(struct script_engine *e)
{
    chunks_clear(e);
    if (e->lua) lua_close(e->lua);
    map_deinit(&e->by_hash), map_deinit(&e->by_sha);
    buf_deinit(&e->reply), buf_deinit(&e->text);
    mem_free(e->args);
    mem_free(e);
}

struct script_runner *script_engine_runner(struct script_engine *e)
{
    return &e->runner;
}

struct script_limits *script_engine_limits(struct script_engine *e)
{
    return &e->limits;
}

size_t script_engine_memory(const struct script_engine *e)
{
    return e->used;
}
