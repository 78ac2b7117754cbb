/* cmsgpack, as Redis has it (lua-cmsgpack 0.4.0): MessagePack of Lua values and back. */
#include "script/internal.h"

#include <math.h>
#include <string.h>

#define NESTING_MAX 16 /* deeper tables are packed as nil */

/* ---- packing ---- */

struct packer {
    struct script_engine *e;
    lua_State *L;
    struct buf *out;
};

static void put_big(struct buf *out, uint64_t v, int bytes)
{
    while (bytes--) buf_u8(out, (uint8_t)(v >> 8 * bytes));
}

static void put_head(struct buf *out, uint8_t type, uint64_t v, int bytes)
{
    buf_u8(out, type);
    put_big(out, v, bytes);
}

static void pack_integer(struct buf *out, int64_t n)
{
    uint64_t u = (uint64_t)n;
    if (n >= 0) {
        if (n <= 127)
            buf_u8(out, (uint8_t)n);
        else if (n <= 0xff)
            put_head(out, 0xcc, u, 1);
        else if (n <= 0xffff)
            put_head(out, 0xcd, u, 2);
        else if (n <= 0xffffffffll)
            put_head(out, 0xce, u, 4);
        else
            put_head(out, 0xcf, u, 8);
    } else if (n >= -32) {
        buf_u8(out, (uint8_t)n);
    } else if (n >= -128) {
        put_head(out, 0xd0, u, 1);
    } else if (n >= -32768) {
        put_head(out, 0xd1, u, 2);
    } else {
        put_head(out, n >= INT32_MIN ? 0xd2 : 0xd3, u, n >= INT32_MIN ? 4 : 8);
    }
}

static void pack_number(struct buf *out, double n)
{
    uint64_t bits;
    uint32_t bits32;
    float f = (float)n;
    if (n >= -0x1p63 && n < 0x1p63 && floor(n) == n) {
        pack_integer(out, (int64_t)n);
    } else if ((double)f == n) {
        memcpy(&bits32, &f, 4);
        put_head(out, 0xca, bits32, 4);
    } else {
        memcpy(&bits, &n, 8);
        put_head(out, 0xcb, bits, 8);
    }
}

static void pack_string(struct packer *p)
{
    size_t size;
    const char *text = lua_tolstring(p->L, -1, &size);
    if (size < 32)
        buf_u8(p->out, (uint8_t)(0xa0 | size));
    else if (size <= 0xff)
        put_head(p->out, 0xd9, size, 1);
    else if (size <= 0xffff)
        put_head(p->out, 0xda, size, 2);
    else
        put_head(p->out, 0xdb, size, 4);
    engine_charge(p->e, p->L, size / 16);
    buf_append(p->out, text, size);
}

static void pack_value(struct packer *p, int depth);

/* Keys are 1 .. count? */
static bool is_array(struct packer *p, uint64_t *count)
{
    lua_Number max = 0;
    bool is = true;
    *count = 0;
    for (lua_pushnil(p->L); lua_next(p->L, -2); lua_pop(p->L, 1)) {
        lua_Number k = lua_type(p->L, -2) == LUA_TNUMBER ? lua_tonumber(p->L, -2) : 0;
        is &= k > 0 && floor(k) == k;
        if (k > max) max = k;
        ++*count;
    }
    engine_charge(p->e, p->L, *count);
    return is && max == (lua_Number)*count;
}

static void pack_array(struct packer *p, uint64_t count, int depth)
{
    if (count <= 15)
        buf_u8(p->out, (uint8_t)(0x90 | count));
    else if (count <= 0xffff)
        put_head(p->out, 0xdc, count, 2);
    else
        put_head(p->out, 0xdd, count, 4);
    for (uint64_t i = 1; i <= count; i++) {
        lua_rawgeti(p->L, -1, (int)i);
        pack_value(p, depth);
        lua_pop(p->L, 1);
    }
}

static void pack_map(struct packer *p, uint64_t count, int depth)
{
    if (count <= 15)
        buf_u8(p->out, (uint8_t)(0x80 | count));
    else if (count <= 0xffff)
        put_head(p->out, 0xde, count, 2);
    else
        put_head(p->out, 0xdf, count, 4);
    for (lua_pushnil(p->L); lua_next(p->L, -2); lua_pop(p->L, 1)) {
        lua_pushvalue(p->L, -2);
        pack_value(p, depth);
        lua_pop(p->L, 1);
        pack_value(p, depth);
    }
}

static void pack_value(struct packer *p, int depth)
{
    uint64_t count;
    int type = lua_type(p->L, -1);
    engine_charge(p->e, p->L, 3);
    if (p->out->size > p->e->limits.memory) (void)luaL_error(p->L, "not enough memory");
    luaL_checkstack(p->L, 5, "in function mp_check");
    if (type == LUA_TSTRING)
        pack_string(p);
    else if (type == LUA_TBOOLEAN)
        buf_u8(p->out, lua_toboolean(p->L, -1) ? 0xc3 : 0xc2);
    else if (type == LUA_TNUMBER)
        pack_number(p->out, lua_tonumber(p->L, -1));
    else if (type != LUA_TTABLE || depth == NESTING_MAX)
        buf_u8(p->out, 0xc0);
    else if (is_array(p, &count))
        pack_array(p, count, depth + 1);
    else
        pack_map(p, count, depth + 1);
}

static int msgpack_pack(lua_State *L)
{
    struct script_engine *e = engine_of(L);
    struct packer p = {e, L, &e->text};
    int count = lua_gettop(L);
    if (count == 0) return luaL_argerror(L, 0, "MessagePack pack needs input.");
    buf_clear(&e->text);
    for (int i = 1; i <= count; i++) {
        lua_pushvalue(L, i);
        pack_value(&p, 0);
        lua_pop(L, 1);
    }
    lua_pushlstring(L, (const char *)e->text.data, e->text.size);
    return 1;
}

/* ---- unpacking ---- */

struct unpacker {
    struct script_engine *e;
    lua_State *L;
    struct reader in;
};

static int bad_format(struct unpacker *u)
{
    return luaL_error(u->L, "Bad data format in input.");
}

static uint64_t take_big(struct unpacker *u, int bytes)
{
    uint64_t v = 0;
    if (reader_left(&u->in) < (size_t)bytes) (void)luaL_error(u->L, "Missing bytes in input.");
    while (bytes--) v = v << 8 | reader_u8(&u->in);
    return v;
}

static void unpack_value(struct unpacker *u, int depth);

static void unpack_string(struct unpacker *u, uint64_t size)
{
    if (size > reader_left(&u->in)) (void)luaL_error(u->L, "Missing bytes in input.");
    struct bytes s = reader_take(&u->in, (size_t)size);
    lua_pushlstring(u->L, s.size ? (const char *)s.data : "", s.size);
}

/* No more is made at once than the input can hold. */
static void unpack_array(struct unpacker *u, uint64_t count, int depth)
{
    lua_newtable(u->L);
    for (uint64_t i = 1; i <= count; i++) {
        unpack_value(u, depth);
        lua_rawseti(u->L, -2, (int)i);
    }
}

static void unpack_map(struct unpacker *u, uint64_t count, int depth)
{
    lua_newtable(u->L);
    while (count--) {
        unpack_value(u, depth);
        if (lua_isnil(u->L, -1)) (void)bad_format(u);
        unpack_value(u, depth);
        lua_rawset(u->L, -3);
    }
}

static void unpack_float(struct unpacker *u, bool wide)
{
    double d;
    float f;
    uint64_t bits = take_big(u, wide ? 8 : 4);
    uint32_t bits32 = (uint32_t)bits;
    memcpy(&d, &bits, 8);
    memcpy(&f, &bits32, 4);
    lua_pushnumber(u->L, wide ? d : (double)f);
}

static void unpack_signed(struct unpacker *u, int bytes)
{
    uint64_t v = take_big(u, bytes);
    int shift = 64 - 8 * bytes;
    lua_pushnumber(u->L, (lua_Number)((int64_t)(v << shift) >> shift));
}

static void unpack_value(struct unpacker *u, int depth)
{
    engine_charge(u->e, u->L, 3);
    if (depth == DEPTH_MAX) (void)bad_format(u);
    luaL_checkstack(u->L, 5,
                    "too many return values at once; use unpack_one or unpack_limit "
                    "instead.");
    uint8_t c = (uint8_t)take_big(u, 1);
    if (c < 0x80)
        lua_pushinteger(u->L, c);
    else if (c >= 0xe0)
        lua_pushinteger(u->L, (int8_t)c);
    else if (c < 0x90)
        unpack_map(u, c & 15, depth + 1);
    else if (c < 0xa0)
        unpack_array(u, c & 15, depth + 1);
    else if (c < 0xc0)
        unpack_string(u, c & 31);
    else if (c == 0xc0)
        lua_pushnil(u->L);
    else if (c == 0xc2 || c == 0xc3)
        lua_pushboolean(u->L, c == 0xc3);
    else if (c >= 0xc4 && c <= 0xc6)
        unpack_string(u, take_big(u, 1 << (c - 0xc4)));
    else if (c == 0xca || c == 0xcb)
        unpack_float(u, c == 0xcb);
    else if (c >= 0xcc && c <= 0xcf)
        lua_pushnumber(u->L, (lua_Number)take_big(u, 1 << (c - 0xcc)));
    else if (c >= 0xd0 && c <= 0xd3)
        unpack_signed(u, 1 << (c - 0xd0));
    else if (c >= 0xd9 && c <= 0xdb)
        unpack_string(u, take_big(u, 1 << (c - 0xd9)));
    else if (c == 0xdc || c == 0xdd)
        unpack_array(u, take_big(u, c == 0xdc ? 2 : 4), depth + 1);
    else if (c == 0xde || c == 0xdf)
        unpack_map(u, take_big(u, c == 0xde ? 2 : 4), depth + 1);
    else
        (void)bad_format(u);
}

/* limit 0: all. With a limit, or of one: the offset of what follows (-1: the end) comes first. */
static int unpack(lua_State *L, int limit, int64_t offset, bool says_offset)
{
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    if (offset < 0 || limit < 0)
        return luaL_error(L, "Invalid request to unpack with offset of %d and limit of %d.",
                          (int)offset, limit);
    if ((uint64_t)offset > size)
        return luaL_error(L, "Start offset %d greater than input length %d.", (int)offset,
                          (int)size);
    struct unpacker u = {engine_of(L), L,
                         reader_of(bytes_of(text + offset, size - (size_t)offset))};
    int count = 0, before = lua_gettop(L);
    if (says_offset) lua_pushnil(L);
    for (; reader_left(&u.in) && (limit == 0 || count < limit); count++) unpack_value(&u, 0);
    if (says_offset) {
        int64_t next = reader_left(&u.in) ? (int64_t)(size - reader_left(&u.in)) : -1;
        lua_pushnumber(L, (lua_Number)next);
        lua_replace(L, before + 1);
    }
    return count + says_offset;
}

static int msgpack_unpack(lua_State *L)
{
    return unpack(L, 0, 0, false);
}

static int msgpack_unpack_one(lua_State *L)
{
    return unpack(L, 1, (int64_t)luaL_optnumber(L, 2, 0), true);
}

static int msgpack_unpack_limit(lua_State *L)
{
    int limit = (int)luaL_checkinteger(L, 2);
    return unpack(L, limit, (int64_t)luaL_optnumber(L, 3, 0), true);
}

void msgpack_push(lua_State *L)
{
    static const luaL_Reg fns[] = {{"pack", msgpack_pack},
                                   {"unpack", msgpack_unpack},
                                   {"unpack_one", msgpack_unpack_one},
                                   {"unpack_limit", msgpack_unpack_limit},
                                   {NULL, NULL}};
    lua_createtable(L, 0, 8);
    luaL_setfuncs(L, fns, 0);
    lua_pushliteral(L, "cmsgpack"), lua_setfield(L, -2, "_NAME");
    lua_pushliteral(L, "lua-cmsgpack 0.4.0"), lua_setfield(L, -2, "_VERSION");
}
