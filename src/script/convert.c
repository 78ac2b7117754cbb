/* Replies as Lua values, and Lua values as replies, by Redis's rules ("Redis Lua API reference",
 * data type conversion). In a script that has not asked for RESP3 by redis.setresp(3) there is no
 * nil, and no map. */
#include "base/assert.h"
#include "script/internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- to Lua ---- */

/* Takes a line off, without its end. The reply is one of our own: it is sound. */
static struct bytes take_line(struct bytes *in)
{
    const uint8_t *end = memchr(in->data, '\r', in->size);
    ASSERT(end && end + 1 < in->data + in->size);
    struct bytes line = bytes_of(in->data, (size_t)(end - in->data));
    *in = bytes_of(end + 2, in->size - line.size - 2);
    return line;
}

static struct bytes take_bytes(struct bytes *in, size_t size)
{
    ASSERT(in->size >= size + 2);
    struct bytes s = bytes_of(in->data, size);
    *in = bytes_of(in->data + size + 2, in->size - size - 2);
    return s;
}

static void push_bytes(lua_State *L, struct bytes s)
{
    lua_pushlstring(L, s.size ? (const char *)s.data : "", s.size);
}

/* A table with one field. */
static void push_field(lua_State *L, const char *name, struct bytes s)
{
    lua_createtable(L, 0, 1);
    push_bytes(L, s);
    lua_setfield(L, -2, name);
}

static void push_nothing(struct script_engine *e, lua_State *L)
{
    if (e->version == 3)
        lua_pushnil(L);
    else
        lua_pushboolean(L, false);
}

static void push_value(struct script_engine *e, lua_State *L, struct bytes *in);

static void push_array(struct script_engine *e, lua_State *L, int64_t count, struct bytes *in)
{
    lua_createtable(L, (int)count, 0);
    for (int64_t i = 1; i <= count; i++) {
        push_value(e, L, in);
        lua_rawseti(L, -2, (int)i);
    }
}

static void push_map(struct script_engine *e, lua_State *L, int64_t count, struct bytes *in)
{
    lua_createtable(L, 0, 1);
    lua_createtable(L, 0, (int)count);
    while (count--) {
        push_value(e, L, in);
        push_value(e, L, in);
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "map");
}

static void push_set(struct script_engine *e, lua_State *L, int64_t count, struct bytes *in)
{
    lua_createtable(L, 0, 1);
    lua_createtable(L, 0, (int)count);
    while (count--) {
        push_value(e, L, in);
        lua_pushboolean(L, true);
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "set");
}

static void push_verbatim(lua_State *L, struct bytes s)
{
    lua_createtable(L, 0, 1);
    push_field(L, "string", bytes_of(s.data + 4, s.size - 4));
    push_bytes(L, bytes_of(s.data, 3));
    lua_setfield(L, -2, "format");
    lua_setfield(L, -2, "verbatim_string");
}

static void push_counted(struct script_engine *e, lua_State *L, uint8_t type, int64_t count,
                         struct bytes *in)
{
    if (count < 0) {
        push_nothing(e, L);
        return;
    }
    switch (type) {
    case '$': push_bytes(L, take_bytes(in, (size_t)count)); break;
    case '=': push_verbatim(L, take_bytes(in, (size_t)count)); break;
    case '*': push_array(e, L, count, in); break;
    case '%': push_map(e, L, count, in); break;
    default: push_set(e, L, count, in);
    }
}

static void push_value(struct script_engine *e, lua_State *L, struct bytes *in)
{
    int64_t number = 0;
    uint8_t type = in->data[0];
    luaL_checkstack(L, 6, "reached lua stack limit");
    engine_charge(e, L, 2);
    struct bytes line = take_line(in);
    line = bytes_of(line.data + 1, line.size - 1);
    switch (type) {
    case ':':
        (void)bytes_to_i64(line, &number);
        lua_pushnumber(L, (lua_Number)number);
        break;
    case '+': push_field(L, "ok", line); break;
    case '-': push_field(L, "err", line); break;
    case '_': lua_pushnil(L); break;
    case '#': lua_pushboolean(L, line.data[0] == 't'); break;
    case ',':
        lua_createtable(L, 0, 1);
        lua_pushnumber(L, strtod((const char *)line.data, NULL));
        lua_setfield(L, -2, "double");
        break;
    case '(': push_field(L, "big_number", line); break;
    default: (void)bytes_to_i64(line, &number); push_counted(e, L, type, number, in);
    }
}

void convert_to_lua(struct script_engine *e, lua_State *L, struct bytes reply)
{
    push_value(e, L, &reply);
}

/* ---- to a reply ---- */

struct writer {
    struct script_engine *e;
    lua_State *L;
    struct reply *out;
    int depth;
};

static void put_value(struct writer *w, int at);

/* Pushes a field, if it is of that type. */
static bool field(lua_State *L, int at, const char *name, int type)
{
    lua_pushstring(L, name);
    lua_rawget(L, at);
    if (lua_type(L, -1) == type) return true;
    lua_pop(L, 1);
    return false;
}

static struct bytes string_at(lua_State *L, int at)
{
    size_t size;
    const char *text = lua_tolstring(L, at, &size);
    return bytes_of(text, size);
}

/* "+text" or "-text": one line. */
static void put_line(struct writer *w, uint8_t type, struct bytes text)
{
    struct buf *out = w->out->out;
    buf_u8(out, type);
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        buf_u8(out, c == '\r' || c == '\n' ? ' ' : c);
    }
    buf_append(out, "\r\n", 2);
}

static void put_error(struct writer *w, struct bytes text)
{
    if (text.size && text.data[0] == '-') text = bytes_of(text.data + 1, text.size - 1);
    put_line(w, '-', text);
}

static size_t count_pairs(lua_State *L, int at)
{
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1)) count++;
    return count;
}

static void put_map(struct writer *w, int at, bool set)
{
    lua_State *L = w->L;
    size_t count = count_pairs(L, at);
    engine_charge(w->e, L, count);
    if (set)
        reply_set(w->out, count);
    else
        reply_map(w->out, count);
    for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1)) {
        lua_pushvalue(L, -2);
        put_value(w, lua_gettop(L));
        lua_pop(L, 1);
        if (!set) put_value(w, lua_gettop(L));
    }
}

static void put_array(struct writer *w, int at)
{
    lua_State *L = w->L;
    size_t count = 0;
    for (;; count++) {
        lua_rawgeti(L, at, (int)count + 1);
        bool end = lua_isnil(L, -1);
        lua_pop(L, 1);
        if (end) break;
    }
    engine_charge(w->e, L, count);
    reply_array(w->out, count);
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, at, (int)i);
        put_value(w, lua_gettop(L));
        lua_pop(L, 1);
    }
}

/* Both parts are on the stack. */
static void put_verbatim(struct writer *w, struct bytes format, struct bytes text)
{
    if (w->out->version < 3) {
        reply_bulk(w->out, text);
        return;
    }
    buf_printf(w->out->out, "=%zu\r\n%.3s:", text.size + 4,
               format.size == 3 ? (const char *)format.data : "txt");
    buf_append_bytes(w->out->out, text);
    buf_append(w->out->out, "\r\n", 2);
}

static void put_big_number(struct writer *w, struct bytes digits)
{
    if (w->out->version < 3)
        reply_bulk(w->out, digits);
    else
        put_line(w, '(', digits);
}

static bool put_as_verbatim(struct writer *w, int at)
{
    lua_State *L = w->L;
    if (!field(L, at, "verbatim_string", LUA_TTABLE)) return false;
    int inner = lua_gettop(L);
    if (!field(L, inner, "string", LUA_TSTRING)) return false;
    if (!field(L, inner, "format", LUA_TSTRING)) return false;
    put_verbatim(w, string_at(L, -1), string_at(L, -2));
    return true;
}

/* A table that stands for something else than an array. */
static bool put_special(struct writer *w, int at)
{
    lua_State *L = w->L;
    if (field(L, at, "err", LUA_TSTRING))
        put_error(w, string_at(L, -1));
    else if (field(L, at, "ok", LUA_TSTRING))
        put_line(w, '+', string_at(L, -1));
    else if (field(L, at, "double", LUA_TNUMBER))
        reply_double(w->out, (long double)lua_tonumber(L, -1));
    else if (field(L, at, "big_number", LUA_TSTRING))
        put_big_number(w, string_at(L, -1));
    else if (field(L, at, "map", LUA_TTABLE))
        put_map(w, lua_gettop(L), false);
    else if (field(L, at, "set", LUA_TTABLE))
        put_map(w, lua_gettop(L), true);
    else
        return put_as_verbatim(w, at);
    return true;
}

static void put_table(struct writer *w, int at)
{
    int top = lua_gettop(w->L);
    if (w->depth == DEPTH_MAX || !lua_checkstack(w->L, 12)) {
        reply_error(w->out, "ERR reached lua stack limit");
        return;
    }
    w->depth++;
    if (!put_special(w, at)) {
        lua_settop(w->L, top);
        put_array(w, at);
    }
    lua_settop(w->L, top);
    w->depth--;
}

static int64_t whole(lua_Number n)
{
    return n >= -0x1p63 && n < 0x1p63 ? (int64_t)n : INT64_MIN;
}

static void put_boolean(struct writer *w, bool v)
{
    if (w->e->version == 3)
        reply_bool(w->out, v);
    else if (v)
        reply_i64(w->out, 1);
    else
        reply_nil(w->out);
}

static void put_value(struct writer *w, int at)
{
    lua_State *L = w->L;
    struct view *v = w->e->view;
    engine_charge(w->e, L, 2);
    if (w->out->out->size > w->e->out_max) {
        v->refused = VIEW_REPLY_TOO_LARGE;
        v->missed = true;
        (void)engine_end(w->e, L, END_VIEW);
    }
    switch (lua_type(L, at)) {
    case LUA_TSTRING: reply_bulk(w->out, string_at(L, at)); break;
    case LUA_TNUMBER: reply_i64(w->out, whole(lua_tonumber(L, at))); break;
    case LUA_TBOOLEAN: put_boolean(w, lua_toboolean(L, at)); break;
    case LUA_TTABLE: put_table(w, at); break;
    default: reply_nil(w->out);
    }
}

void convert_to_reply(struct script_engine *e, lua_State *L, int at)
{
    struct writer w = {e, L, e->out, 0};
    put_value(&w, at);
}
