#include "job/lua_task.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "job/lua_sandbox.h"
#include "job/task_value.h"

#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum phase { IDLE, MAPPING, COMBINING, REDUCING };

struct lua_task {
    struct lua_task_options o;
    struct lua_heap heap;
    lua_State *l;
    struct sorter *sorter;
    int map, combine, reduce, emit; /* references; LUA_NOREF: none */
    int type[RECORD_TYPES];         /* their names */
    uint8_t combine_op, reduce_op;
    enum phase phase;
    struct bytes key; /* what is worked on; for errors, and for combine */
    bool has_key;
    struct sorter_run *run; /* combining into this; NULL: into the output */
    uint32_t partition;
    struct groups *groups; /* whose values `values` gives */
    uint64_t group;        /* which; a `values` of an earlier one is empty */
    struct buf value[2];   /* [1]: while combining, for that may happen within an emit of map */
    bool failed;
    char error[LUA_TASK_ERROR_MAX];
};

static const char *const phase_names[] = {"the source", "map", "combine", "reduce"};

/* The first reason stays. */
static bool fail(struct lua_task *t, const char *format, ...)
{
    va_list args;
    if (t->failed) return false;
    t->failed = true;
    va_start(args, format);
    (void)vsnprintf(t->error, sizeof t->error, format, args);
    va_end(args);
    return false;
}

static bool fail_sorter(struct lua_task *t)
{
    return fail(t, "%s (task %u, attempt %u)", sorter_error(t->sorter), t->o.task, t->o.attempt);
}

/* "map failed at key 'k': map:3: ... (task 1, attempt 2)" */
static bool fail_in(struct lua_task *t, const char *function, const char *text)
{
    char key[80] = "";
    if (t->has_key) {
        int shown = t->key.size > 40 ? 40 : (int)t->key.size;
        (void)snprintf(key, sizeof key, " at key '%.*s%s'", shown, (const char *)t->key.data,
                       shown < (int)t->key.size ? "..." : "");
    }
    bool memory = strstr(text, "not enough memory") != NULL;
    return fail(t, "%s failed%s: %.300s%s (task %u, attempt %u)", function, key, text,
                memory ? "; raise LIMITS MEMORY, or keep less" : "", t->o.task, t->o.attempt);
}

/* What is on top of the stack is the reason. */
static bool fail_lua(struct lua_task *t, lua_State *l, const char *function)
{
    const char *text = lua_tostring(l, -1);
    (void)fail_in(t, function, text ? text : "an error that is not a string");
    lua_pop(l, 1);
    return false;
}

/* ---- values ---- */

static void push_value(lua_State *l, struct bytes data)
{
    struct task_value v;
    if (!task_value_get(data, &v)) luaL_error(l, "a value came damaged from another task");
    if (v.kind == TASK_NUMBER)
        lua_pushnumber(l, v.number);
    else if (v.kind == TASK_TRUE || v.kind == TASK_FALSE)
        lua_pushboolean(l, v.kind == TASK_TRUE);
    else
        lua_pushlstring(l, (const char *)v.bytes.data, v.bytes.size);
}

static struct buf *value_room(struct lua_task *t)
{
    struct buf *b = &t->value[t->phase == COMBINING];
    buf_clear(b);
    return b;
}

static struct bytes take_value(struct lua_task *t, lua_State *l, int at)
{
    struct buf *to = value_room(t);
    size_t size;
    const char *text;
    switch (lua_type(l, at)) {
    case LUA_TNUMBER: task_value_put_number(to, lua_tonumber(l, at)); break;
    case LUA_TBOOLEAN: buf_u8(to, lua_toboolean(l, at) ? TASK_TRUE : TASK_FALSE); break;
    case LUA_TSTRING:
        text = lua_tolstring(l, at, &size);
        if (size >= SORTER_VALUE_MAX)
            luaL_error(l, "emit was given a value of %d MiB; at most 64", (int)(size >> 20));
        task_value_put_string(to, TASK_STRING, bytes_of(text, size));
        break;
    default:
        luaL_error(l, "emit was given a %s for a value; it takes strings, numbers and booleans",
                   luaL_typename(l, at));
    }
    return buf_bytes(to);
}

static struct bytes take_key(lua_State *l, int at)
{
    size_t size;
    int type = lua_type(l, at);
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        luaL_error(l, "emit was given a %s for a key; it takes strings and numbers",
                   luaL_typename(l, at));
    const char *text = lua_tolstring(l, at, &size);
    if (size > SORTER_KEY_MAX)
        luaL_error(l, "emit was given a key of %d bytes; at most 65536", (int)size);
    return bytes_of(text, size);
}

static bool send(struct lua_task *t, uint32_t partition, struct bytes key, struct bytes value)
{
    char why[LUA_TASK_ERROR_MAX] = "";
    if (t->o.out(t->o.ctx, partition, key, value, why)) return true;
    return fail(t, "%s (task %u, attempt %u)", why, t->o.task, t->o.attempt);
}

static bool put(struct lua_task *t, struct bytes key, struct bytes value)
{
    if (t->phase == REDUCING) return send(t, 0, key, value);
    if (t->phase == COMBINING) {
        if (!t->run) return send(t, t->partition, key, value);
        sorter_write(t->run, t->partition, key, value);
        return true;
    }
    uint32_t partition = (uint32_t)(hash64(key, 0) % t->o.partitions);
    return sorter_add(t->sorter, partition, key, value) || fail_sorter(t);
}

static struct lua_task *task_of(lua_State *l)
{
    return lua_touserdata(l, lua_upvalueindex(1));
}

/* Errors that user code may not catch and go on from are in t->failed. */
static int emit(lua_State *l)
{
    struct lua_task *t = task_of(l);
    if (t->failed) return luaL_error(l, "the task has failed already");
    if (t->phase == IDLE) return luaL_error(l, "emit is for map, combine, reduce and task only");
    struct bytes key = take_key(l, 1), value = take_value(t, l, 2);
    if (t->phase == COMBINING && !bytes_equal(key, t->key))
        return luaL_error(l, "combine may emit under the key it was called with only");
    return put(t, key, value) ? 0 : luaL_error(l, "the task has failed");
}

/* ---- calls ---- */

static void push_ref(lua_State *l, int ref)
{
    lua_rawgeti(l, LUA_REGISTRYINDEX, ref);
}

static int next_value(lua_State *l)
{
    struct lua_task *t = task_of(l);
    struct bytes value;
    if (lua_tonumber(l, lua_upvalueindex(2)) != (lua_Number)t->group) return 0;
    int r = groups_value(t->groups, &value);
    if (r < 0) {
        fail_sorter(t);
        return luaL_error(l, "the task has failed");
    }
    if (!r) return 0;
    push_value(l, value);
    return 1;
}

static bool call(struct lua_task *t, lua_State *l, int args, const char *function)
{
    if (lua_pcall(l, args, 0, 0)) return fail_lua(t, l, function);
    return !t->failed;
}

/* f(key, values, emit). For lua_cpcall: pushing may run out of memory. */
struct group_call {
    struct lua_task *t;
    int function;
};

static int group_protected(lua_State *l)
{
    struct group_call *c = lua_touserdata(l, 1);
    push_ref(l, c->function);
    lua_pushlstring(l, (const char *)c->t->key.data, c->t->key.size);
    lua_pushlightuserdata(l, c->t);
    lua_pushnumber(l, (lua_Number)c->t->group);
    lua_pushcclosure(l, next_value, 2);
    push_ref(l, c->t->emit);
    lua_call(l, 3, 0);
    return 0;
}

static bool group_in_lua(struct lua_task *t, int function, const char *name)
{
    struct group_call c = {t, function};
    t->group++;
    if (lua_cpcall(t->l, group_protected, &c)) return fail_lua(t, t->l, name);
    return !t->failed;
}

/* SUM, COUNT, MIN, MAX in C. A COUNT that was combined is summed from then on: so combine with
 * COUNT makes numbers that reduce with SUM counts. */
static bool group_in_c(struct lua_task *t, uint8_t op, const char *name)
{
    struct bytes data;
    struct task_value v;
    double sum = 0;
    uint64_t n = 0;
    int r;
    while ((r = groups_value(t->groups, &data)) > 0) {
        bool number = task_value_get(data, &v) && v.kind == TASK_NUMBER;
        if (!number && op != JOB_OP_COUNT) {
            return fail_in(t, name,
                           op == JOB_OP_SUM ? "SUM takes numbers" : "MIN and MAX take numbers");
        }
        if (op == JOB_OP_COUNT)
            sum += 1;
        else if (op == JOB_OP_SUM)
            sum += v.number;
        else
            sum = !n ? v.number : op == JOB_OP_MIN ? fmin(sum, v.number) : fmax(sum, v.number);
        n++;
    }
    if (r < 0) return fail_sorter(t);
    struct buf *to = value_room(t);
    task_value_put_number(to, sum);
    return put(t, t->key, buf_bytes(to));
}

static bool group(struct lua_task *t, struct groups *g, struct bytes key)
{
    bool reduces = t->phase == REDUCING;
    uint8_t op = reduces ? t->reduce_op : t->combine_op;
    t->groups = g;
    t->key = key;
    t->has_key = true;
    return op ? group_in_c(t, op, reduces ? "reduce" : "combine")
              : group_in_lua(t, reduces ? t->reduce : t->combine, reduces ? "reduce" : "combine");
}

/* The sorter's: while it spills in the midst of a map, or merges at the end. */
static bool combine_run(void *ctx, struct groups *g, uint32_t partition, struct bytes key,
                        struct sorter_run *out)
{
    struct lua_task *t = ctx;
    struct lua_task was = {.phase = t->phase, .key = t->key, .has_key = t->has_key};
    t->phase = COMBINING;
    t->run = out;
    t->partition = partition;
    bool good = group(t, g, key);
    t->run = NULL;
    t->phase = was.phase;
    t->key = was.key;
    t->has_key = was.has_key;
    return good;
}

/* ---- input ---- */

static void push_collection(lua_State *l, const struct record *r)
{
    struct record_item item;
    struct reader at = record_items(r);
    bool array = r->type == RECORD_LIST || r->type == RECORD_SET;
    int n = 0, room = r->count > 1000000 ? 1000000 : (int)r->count;
    lua_createtable(l, array ? room : 0, array ? 0 : room);
    while (record_item(r, &at, &item)) {
        if (!array) lua_pushlstring(l, (const char *)item.name.data, item.name.size);
        if (r->type == RECORD_ZSET)
            lua_pushnumber(l, item.score);
        else
            lua_pushlstring(l, (const char *)item.value.data, item.value.size);
        if (array)
            lua_rawseti(l, -2, ++n);
        else
            lua_rawset(l, -3);
    }
    if (at.bad) luaL_error(l, "the record is damaged");
}

struct map_call {
    struct lua_task *t;
    const struct record *r;
};

static int map_protected(lua_State *l)
{
    struct map_call *c = lua_touserdata(l, 1);
    const struct record *r = c->r;
    push_ref(l, c->t->map);
    lua_pushlstring(l, (const char *)r->key.data, r->key.size);
    if (r->type == RECORD_STRING)
        lua_pushlstring(l, (const char *)r->rest.data, r->rest.size);
    else
        push_collection(l, r);
    push_ref(l, c->t->emit);
    push_ref(l, c->t->type[r->type]);
    lua_call(l, 4, 0);
    return 0;
}

bool lua_task_record(struct lua_task *t, const struct record *r)
{
    struct map_call c = {t, r};
    if (t->failed) return false;
    t->phase = MAPPING;
    t->key = r->key;
    t->has_key = true;
    if (lua_cpcall(t->l, map_protected, &c)) fail_lua(t, t->l, "map");
    t->phase = IDLE;
    t->has_key = false;
    return !t->failed;
}

bool lua_task_number(struct lua_task *t, uint32_t count)
{
    if (t->failed) return false;
    t->phase = MAPPING;
    push_ref(t->l, t->map);
    lua_pushnumber(t->l, t->o.task);
    lua_pushnumber(t->l, count);
    push_ref(t->l, t->emit);
    call(t, t->l, 3, "task");
    t->phase = IDLE;
    return !t->failed;
}

bool lua_task_pair(struct lua_task *t, struct bytes key, struct bytes value)
{
    struct task_value v;
    if (t->failed) return false;
    if (key.size > SORTER_KEY_MAX || value.size > SORTER_VALUE_MAX || !task_value_get(value, &v))
        return fail(t, "a pair came damaged from another task (task %u, attempt %u)", t->o.task,
                    t->o.attempt);
    return sorter_add(t->sorter, 0, key, value) || fail_sorter(t);
}

static bool pass_on(struct lua_task *t, struct groups *g, struct bytes key)
{
    struct bytes value;
    int r;
    while ((r = groups_value(g, &value)) > 0)
        if (!send(t, t->partition, key, value)) return false;
    return r < 0 ? fail_sorter(t) : true;
}

static bool walk(struct lua_task *t, struct groups *g)
{
    struct bytes key;
    int r;
    bool as_it_is = t->phase == COMBINING && !t->combine_op && t->combine == LUA_NOREF;
    while ((r = groups_next(g, &t->partition, &key)) > 0)
        if (!(as_it_is ? pass_on(t, g, key) : group(t, g, key))) return false;
    return r < 0 ? fail_sorter(t) : true;
}

bool lua_task_end(struct lua_task *t)
{
    if (t->failed) return false;
    struct groups *g = sorter_groups(t->sorter);
    if (!g) return fail_sorter(t);
    t->phase = t->o.reduces ? REDUCING : COMBINING;
    bool good = walk(t, g);
    t->phase = IDLE;
    t->has_key = false;
    return good;
}

/* ---- beginning ---- */

static bool run_source(struct lua_task *t, struct bytes source, const char *name)
{
    if (!source.size) return true;
    if (lua_sandbox_load(t->l, source, name)) return fail_lua(t, t->l, phase_names[IDLE]);
    return call(t, t->l, 0, phase_names[IDLE]);
}

/* The global function of this name; LUA_NOREF: there is none. */
static int function(struct lua_task *t, const char *name)
{
    lua_getglobal(t->l, name);
    if (lua_isfunction(t->l, -1)) return luaL_ref(t->l, LUA_REGISTRYINDEX);
    lua_pop(t->l, 1);
    return LUA_NOREF;
}

static bool take_functions(struct lua_task *t)
{
    const struct job_spec *s = t->o.spec;
    bool tasks = s->kind == JOB_KIND_TASKS;
    const char *name = tasks ? "task" : "map";
    t->map = function(t, name);
    t->combine = function(t, "combine");
    t->reduce = function(t, "reduce");
    t->combine_op = s->combine.size ? JOB_OP_NONE : s->combine_op;
    t->reduce_op = s->reduce.size ? JOB_OP_NONE : s->reduce_op;
    if (!t->o.reduces && t->map == LUA_NOREF)
        return fail(t, "the source defines no function %s", name);
    if (!t->reduce_op && t->reduce == LUA_NOREF)
        return fail(t, "the source defines no function reduce, and there is no REDUCE clause");
    if (s->combine.size && t->combine == LUA_NOREF)
        return fail(t, "the source of COMBINE defines no function combine");
    return true;
}

static void seed(struct lua_task *t)
{
    lua_getglobal(t->l, "math");
    lua_getfield(t->l, -1, "randomseed");
    lua_pushnumber(t->l, t->o.task);
    lua_call(t->l, 1, 0);
    lua_pop(t->l, 1);
}

static int prepare(lua_State *l)
{
    struct lua_task *t = lua_touserdata(l, 1);
    const struct job_spec *s = t->o.spec;
    lua_pushlightuserdata(l, t);
    lua_pushcclosure(l, emit, 1);
    t->emit = luaL_ref(l, LUA_REGISTRYINDEX);
    for (unsigned i = 0; i < RECORD_TYPES; i++) {
        lua_pushstring(l, record_kind_name(i));
        t->type[i] = luaL_ref(l, LUA_REGISTRYINDEX);
    }
    seed(t);
    if (run_source(t, s->map, s->kind == JOB_KIND_TASKS ? "=task" : "=map") &&
        run_source(t, s->combine, "=combine") && run_source(t, s->reduce, "=reduce"))
        (void)take_functions(t);
    return 0;
}

struct lua_task *lua_task_new(const struct lua_task_options *o)
{
    struct lua_task *t = mem_zalloc(sizeof *t);
    ASSERT(o->spec->kind != JOB_KIND_QUERY && (o->reduces || o->partitions));
    t->o = *o;
    t->map = t->combine = t->reduce = LUA_NOREF;
    t->heap.max = o->memory_max / 2;
    t->l = lua_sandbox_new(&t->heap);
    if (!t->l) {
        fail(t,
             "no Lua state could be made: LIMITS MEMORY is too low, or LuaJIT is not a GC64 build");
        return t;
    }
    if (lua_cpcall(t->l, prepare, t)) fail_lua(t, t->l, phase_names[IDLE]);
    bool combines = !o->reduces && (t->combine_op || t->combine != LUA_NOREF);
    t->sorter = sorter_new(&(struct sorter_options){.memory_max = o->memory_max / 2,
                                                    .spill_fd = o->spill_fd,
                                                    .spill_max = o->spill_max,
                                                    .combine = combines ? combine_run : NULL,
                                                    .ctx = t});
    return t;
}

void lua_task_free(struct lua_task *t)
{
    if (!t) return;
    if (t->l) lua_close(t->l);
    sorter_free(t->sorter);
    buf_deinit(&t->value[0]);
    buf_deinit(&t->value[1]);
    mem_free(t);
}

const char *lua_task_error(const struct lua_task *t)
{
    return t->failed ? t->error : NULL;
}

uint64_t lua_task_spilled(const struct lua_task *t)
{
    return t->sorter ? sorter_spilled(t->sorter) : 0;
}
