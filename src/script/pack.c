/* struct, as Redis has it: values as bytes of a C structure, and back. A format is a row of
 *   < > little, big-endian   ! [n] alignment   b B h H l L T integers of 1, 1, 2, 2, 8, 8, 8 bytes
 *   i I [n] of n   f d   s (ends with NUL)   c [n] n bytes (c0: as many as the value before says)
 *   x a byte of padding; blanks are skipped */
#include "script/internal.h"

#include <ctype.h>
#include <string.h>

#define INTEGER_MAX 8
#define ALIGN_MAX   16

struct format {
    lua_State *L;
    const char *at;
    bool little;
    uint32_t align;
};

struct field {
    char type;
    uint32_t size, padding; /* padding before it, at the offset that was said */
};

static uint32_t take_number(struct format *f, uint32_t otherwise)
{
    uint32_t v = 0;
    if (!isdigit((uint8_t)*f->at)) return otherwise;
    while (isdigit((uint8_t)*f->at)) {
        if (v > 100000000) (void)luaL_error(f->L, "integral size overflow");
        v = v * 10 + (uint32_t)(*f->at++ - '0');
    }
    return v;
}

static uint32_t integer_size(struct format *f)
{
    uint32_t size = take_number(f, 4);
    if (size == 0 || size > INTEGER_MAX)
        (void)luaL_error(f->L, "integral size %d is larger than limit of %d", (int)size,
                         INTEGER_MAX);
    return size;
}

/* Settings change the format; what remains is a field. False: the end. */
static bool next_field(struct format *f, size_t offset, struct field *field)
{
    for (;;) {
        *field = (struct field){.type = *f->at};
        if (!*f->at) return false;
        switch (*f->at++) {
        case ' ': continue;
        case '<': f->little = true; continue;
        case '>': f->little = false; continue;
        case '!':
            f->align = take_number(f, 8);
            if (f->align == 0 || f->align > ALIGN_MAX || (f->align & (f->align - 1)))
                (void)luaL_error(f->L, "alignment is not a power of 2");
            continue;
        case 'b':
        case 'B':
        case 'x': field->size = 1; break;
        case 'h':
        case 'H': field->size = 2; break;
        case 'l':
        case 'L':
        case 'T':
        case 'd': field->size = 8; break;
        case 'f': field->size = 4; break;
        case 'i':
        case 'I': field->size = integer_size(f); break;
        case 'c': field->size = take_number(f, 1); break;
        case 's': break;
        default:
            (void)luaL_argerror(f->L, 1,
                                lua_pushfstring(f->L, "invalid format option '%c'", field->type));
        }
        break;
    }
    uint32_t align = field->size < f->align ? field->size : f->align;
    if (align > 1 && field->type != 'c' && !(align & (align - 1)))
        field->padding = (uint32_t)(align - (offset & (align - 1))) & (align - 1);
    return true;
}

static struct format format_of(lua_State *L)
{
    return (struct format){L, luaL_checkstring(L, 1), true, 1};
}

static void put_integer(struct format *f, struct buf *out, uint64_t v, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        uint32_t byte = f->little ? i : size - 1 - i;
        buf_u8(out, (uint8_t)(v >> 8 * byte));
    }
}

static uint64_t number_bits(lua_Number n)
{
    if (n < 0) return n >= -0x1p63 ? (uint64_t)(int64_t)n : 1ull << 63;
    return n < 0x1p64 ? (uint64_t)n : UINT64_MAX;
}

static void put_float(struct format *f, struct buf *out, lua_Number n, uint32_t size)
{
    uint64_t bits;
    float narrow = (float)n;
    uint32_t bits32;
    memcpy(&bits, &n, 8);
    memcpy(&bits32, &narrow, 4);
    put_integer(f, out, size == 4 ? bits32 : bits, size);
}

static void put_string(struct format *f, struct buf *out, const struct field *field, int arg)
{
    size_t size;
    const char *text = luaL_checklstring(f->L, arg, &size);
    uint32_t wanted = field->type == 's' || field->size == 0 ? (uint32_t)size : field->size;
    luaL_argcheck(f->L, size >= wanted, arg, "string too short");
    buf_append(out, text, wanted);
    if (field->type == 's') buf_u8(out, 0);
}

static int struct_pack(lua_State *L)
{
    struct script_engine *e = engine_of(L);
    struct format f = format_of(L);
    struct field field;
    int arg = 2;
    buf_clear(&e->text);
    while (next_field(&f, e->text.size, &field)) {
        engine_charge(e, L, 3 + field.size / 16);
        if (e->text.size + field.size > e->limits.memory) return luaL_error(L, "not enough memory");
        for (uint32_t i = 0; i < field.padding; i++) buf_u8(&e->text, 0);
        switch (field.type) {
        case 'x': buf_u8(&e->text, 0); break;
        case 's':
        case 'c': put_string(&f, &e->text, &field, arg++); break;
        case 'f':
        case 'd': put_float(&f, &e->text, luaL_checknumber(L, arg++), field.size); break;
        default: put_integer(&f, &e->text, number_bits(luaL_checknumber(L, arg++)), field.size);
        }
    }
    lua_pushlstring(L, e->text.size ? (const char *)e->text.data : "", e->text.size);
    return 1;
}

static uint64_t get_integer(const struct format *f, const uint8_t *from, uint32_t size)
{
    uint64_t v = 0;
    for (uint32_t i = 0; i < size; i++) v = v << 8 | from[f->little ? size - 1 - i : i];
    return v;
}

static void push_float(const struct format *f, const uint8_t *from, uint32_t size)
{
    uint64_t bits = get_integer(f, from, size);
    uint32_t bits32 = (uint32_t)bits;
    double wide;
    float narrow;
    memcpy(&wide, &bits, 8);
    memcpy(&narrow, &bits32, 4);
    lua_pushnumber(f->L, size == 4 ? (double)narrow : wide);
}

static void push_integer(const struct format *f, const uint8_t *from, const struct field *field)
{
    uint64_t v = get_integer(f, from, field->size);
    uint32_t shift = 64 - 8 * field->size;
    if (islower((uint8_t)field->type))
        lua_pushnumber(f->L, (lua_Number)((int64_t)(v << shift) >> shift));
    else
        lua_pushnumber(f->L, (lua_Number)v);
}

static int struct_unpack(lua_State *L)
{
    struct format f = format_of(L);
    struct field field;
    size_t size, at;
    const uint8_t *text = (const uint8_t *)luaL_checklstring(L, 2, &size);
    lua_Number from = luaL_optnumber(L, 3, 1);
    luaL_argcheck(L, from >= 1 && from <= 0x1p31, 3, "offset must be 1 or greater");
    at = (size_t)from - 1;
    lua_settop(L, 2);
    while (next_field(&f, at, &field)) {
        engine_charge(engine_of(L), L, 3);
        luaL_checkstack(L, 2, "too many results");
        luaL_argcheck(L, at <= size && (uint64_t)field.size + field.padding <= size - at, 2,
                      "data string too short");
        at += field.padding;
        if (field.type == 'c' && field.size == 0) {
            if (lua_gettop(L) < 3 || !lua_isnumber(L, -1))
                return luaL_error(L, "format 'c0' needs a previous size");
            lua_Number n = lua_tonumber(L, -1);
            luaL_argcheck(L, n >= 0 && n <= (lua_Number)(size - at), 2, "data string too short");
            field.size = (uint32_t)n;
            lua_pop(L, 1);
        }
        if (field.type == 's') {
            const uint8_t *nul = at < size ? memchr(text + at, 0, size - at) : NULL;
            if (!nul) return luaL_error(L, "unfinished string in data");
            lua_pushlstring(L, (const char *)text + at, (size_t)(nul - text) - at);
            field.size = (uint32_t)((size_t)(nul - text) - at + 1);
        } else if (field.type == 'c') {
            lua_pushlstring(L, (const char *)text + at, field.size);
        } else if (field.type == 'f' || field.type == 'd') {
            push_float(&f, text + at, field.size);
        } else if (field.type != 'x') {
            push_integer(&f, text + at, &field);
        }
        at += field.size;
    }
    lua_pushnumber(L, (lua_Number)at + 1);
    return lua_gettop(L) - 2;
}

static int struct_size(lua_State *L)
{
    struct format f = format_of(L);
    struct field field;
    uint64_t total = 0;
    while (next_field(&f, (size_t)total, &field)) {
        engine_charge(engine_of(L), L, 3);
        luaL_argcheck(L, field.type != 's', 1, "option 's' has no fixed size");
        luaL_argcheck(L, field.type != 'c' || field.size, 1, "option 'c0' has no fixed size");
        total += field.padding + field.size;
    }
    lua_pushnumber(L, (lua_Number)total);
    return 1;
}

void pack_push(lua_State *L)
{
    static const luaL_Reg fns[] = {
        {"pack", struct_pack}, {"unpack", struct_unpack}, {"size", struct_size}, {NULL, NULL}};
    lua_createtable(L, 0, 3);
    luaL_setfuncs(L, fns, 0);
}
