/* cjson, as Redis has it (lua-cjson 2.1.0): what it accepts, what it writes, its errors. Written
 * anew because that library's memory has no bound: a table that holds another one twice, thirty
 * levels deep, would take all there is. */
#include "script/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

struct encoder {
    struct script_engine *e;
    lua_State *L;
    struct buf *out;
};

static void encode_value(struct encoder *j, int depth);

static int encode_error(struct encoder *j, int at, const char *why)
{
    return luaL_error(j->L, "Cannot serialise %s: %s", luaL_typename(j->L, at), why);
}

/* Before each value: what grows here is not Lua's. */
static void encode_bound(struct encoder *j)
{
    engine_charge(j->e, j->L, 3);
    if (j->out->size > j->e->limits.memory) (void)luaL_error(j->L, "not enough memory");
}

static void put_escaped(struct buf *out, uint8_t c)
{
    static const char short_form[] = "\b\t\n\f\r\"/\\", letter[] = "btnfr\"/\\";
    const char *at = c ? strchr(short_form, c) : NULL;
    if (at)
        buf_u8(out, '\\'), buf_u8(out, (uint8_t)letter[at - short_form]);
    else if (c < 32 || c == 127)
        buf_printf(out, "\\u%04x", c);
    else
        buf_u8(out, c);
}

static void encode_string(struct encoder *j, int at)
{
    size_t size;
    const char *text = lua_tolstring(j->L, at, &size);
    engine_charge(j->e, j->L, size / 8);
    buf_u8(j->out, '"');
    for (size_t i = 0; i < size; i++) put_escaped(j->out, (uint8_t)text[i]);
    buf_u8(j->out, '"');
}

static void encode_number(struct encoder *j, int at)
{
    lua_Number n = lua_tonumber(j->L, at);
    const struct json_options *o = &j->e->json;
    if ((isnan(n) || isinf(n)) && o->invalid != JSON_INVALID_ON) {
        if (o->invalid == JSON_INVALID_ERROR) (void)encode_error(j, at, "must not be NaN or Inf");
        buf_append(j->out, "null", 4);
    } else if (isnan(n)) {
        buf_append(j->out, "nan", 3);
    } else {
        buf_printf(j->out, "%.*g", o->precision, n);
    }
}

/* How many elements it has as an array; -1: it is an object. */
static lua_Number array_size(struct encoder *j)
{
    lua_State *L = j->L;
    lua_Number max = 0, items = 0;
    const struct json_options *o = &j->e->json;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1), items++) {
        lua_Number k = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : 0;
        if (k < 1 || floor(k) != k) {
            lua_pop(L, 2);
            return -1;
        }
        if (k > max) max = k;
    }
    engine_charge(j->e, L, (uint64_t)items);
    if (o->sparse_ratio > 0 && max > items * o->sparse_ratio && max > o->sparse_safe) {
        if (!o->sparse_convert) (void)encode_error(j, -1, "excessively sparse array");
        return -1;
    }
    return max;
}

static void encode_array(struct encoder *j, lua_Number size, int depth)
{
    buf_u8(j->out, '[');
    for (lua_Number i = 1; i <= size; i++) {
        if (i > 1) buf_u8(j->out, ',');
        lua_rawgeti(j->L, -1, (int)i);
        encode_value(j, depth);
        lua_pop(j->L, 1);
    }
    buf_u8(j->out, ']');
}

static void encode_key(struct encoder *j)
{
    int type = lua_type(j->L, -2);
    if (type == LUA_TSTRING) {
        encode_string(j, -2);
    } else if (type == LUA_TNUMBER) {
        buf_u8(j->out, '"');
        encode_number(j, -2);
        buf_u8(j->out, '"');
    } else {
        (void)encode_error(j, -2, "table key must be a number or string");
    }
    buf_u8(j->out, ':');
}

static void encode_object(struct encoder *j, int depth)
{
    bool first = true;
    buf_u8(j->out, '{');
    for (lua_pushnil(j->L); lua_next(j->L, -2); lua_pop(j->L, 1)) {
        if (!first) buf_u8(j->out, ',');
        first = false;
        encode_key(j);
        encode_value(j, depth);
    }
    buf_u8(j->out, '}');
}

static void encode_table(struct encoder *j, int depth)
{
    if (++depth > j->e->json.encode_depth || !lua_checkstack(j->L, 5))
        (void)luaL_error(j->L, "Cannot serialise, excessive nesting (%d)", depth);
    lua_Number size = array_size(j);
    if (size > 0)
        encode_array(j, size, depth);
    else
        encode_object(j, depth);
}

static void encode_value(struct encoder *j, int depth)
{
    encode_bound(j);
    switch (lua_type(j->L, -1)) {
    case LUA_TSTRING: encode_string(j, -1); break;
    case LUA_TNUMBER: encode_number(j, -1); break;
    case LUA_TBOOLEAN: buf_printf(j->out, lua_toboolean(j->L, -1) ? "true" : "false"); break;
    case LUA_TTABLE: encode_table(j, depth); break;
    case LUA_TNIL: buf_append(j->out, "null", 4); break;
    case LUA_TLIGHTUSERDATA:
        if (!lua_touserdata(j->L, -1)) {
            buf_append(j->out, "null", 4);
            break;
        } /* fall through */
    default: (void)encode_error(j, -1, "type not supported");
    }
}

static int json_encode(lua_State *L)
{
    struct script_engine *e = engine_of(L);
    struct encoder j = {e, L, &e->text};
    luaL_argcheck(L, lua_gettop(L) == 1, 1, "expected 1 argument");
    buf_clear(&e->text);
    encode_value(&j, 0);
    lua_pushlstring(L, (const char *)e->text.data, e->text.size);
    return 1;
}

/* ---- reading ---- */

enum token_type {
    T_OBJ_BEGIN,
    T_OBJ_END,
    T_ARR_BEGIN,
    T_ARR_END,
    T_STRING,
    T_NUMBER,
    T_BOOLEAN,
    T_NULL,
    T_COLON,
    T_COMMA,
    T_END,
    T_ERROR,
};
static const char *const token_name[] = {"T_OBJ_BEGIN", "T_OBJ_END", "T_ARR_BEGIN", "T_ARR_END",
                                         "T_STRING",    "T_NUMBER",  "T_BOOLEAN",   "T_NULL",
                                         "T_COLON",     "T_COMMA",   "T_END"};

struct decoder {
    struct script_engine *e;
    lua_State *L;
    const char *text, *at, *end; /* a NUL stands at the end */
    enum token_type type;        /* the token before `at`, which began at `token` */
    const char *token, *error;
    double number;
    bool truth;
};

static void token_error(struct decoder *d, const char *error)
{
    d->type = T_ERROR;
    d->error = error;
}

static int hex4(const char *s)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = s[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        v = v * 16 + digit;
    }
    return v;
}

static void put_utf8(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_u8(out, (uint8_t)c);
    } else if (c < 0x800) {
        buf_u8(out, (uint8_t)(0xc0 | c >> 6));
        buf_u8(out, (uint8_t)(0x80 | (c & 63)));
    } else {
        if (c >= 0x10000) {
            buf_u8(out, (uint8_t)(0xf0 | c >> 18));
            buf_u8(out, (uint8_t)(0x80 | (c >> 12 & 63)));
        } else {
            buf_u8(out, (uint8_t)(0xe0 | c >> 12));
        }
        buf_u8(out, (uint8_t)(0x80 | (c >> 6 & 63)));
        buf_u8(out, (uint8_t)(0x80 | (c & 63)));
    }
}

/* "uXXXX", and its other half where there are two. False: wrong. */
static bool take_unicode(struct decoder *d)
{
    int high = hex4(d->at + 1), low;
    d->at += 5;
    if (high < 0 || (high & 0xfc00) == 0xdc00) return false;
    uint32_t c = (uint32_t)high;
    if ((high & 0xfc00) == 0xd800) {
        if (d->at[0] != '\\' || d->at[1] != 'u' || (low = hex4(d->at + 2)) < 0 ||
            (low & 0xfc00) != 0xdc00)
            return false;
        c = 0x10000 + (((uint32_t)high & 0x3ff) << 10 | ((uint32_t)low & 0x3ff));
        d->at += 6;
    }
    put_utf8(&d->e->text, c);
    return true;
}

static bool take_escape(struct decoder *d)
{
    static const char letter[] = "btnfr\"/\\", byte[] = "\b\t\n\f\r\"/\\";
    char c = *d->at;
    const char *at = c ? strchr(letter, c) : NULL;
    if (c == 'u') {
        if (hex4(d->at + 1) >= 0 && take_unicode(d)) return true;
        token_error(d, "invalid unicode escape code");
        return false;
    }
    if (!at) {
        token_error(d, "invalid escape code");
        return false;
    }
    buf_u8(&d->e->text, (uint8_t)byte[at - letter]);
    d->at++;
    return true;
}

/* Its bytes are in engine->text then. */
static void take_string(struct decoder *d)
{
    struct buf *text = &d->e->text;
    buf_clear(text);
    const char *from = d->at;
    while (*d->at != '"') {
        if (*d->at == 0) {
            d->token = d->at;
            token_error(d, "unexpected end of string");
            return;
        }
        if (*d->at++ != '\\') {
            buf_u8(text, (uint8_t)d->at[-1]);
        } else if (!take_escape(d)) {
            d->token = from;
            return;
        }
    }
    engine_charge(d->e, d->L, (uint64_t)(d->at - from) / 8);
    d->at++;
    d->type = T_STRING;
}

static void take_number(struct decoder *d)
{
    char *end;
    const char *digits = d->token + (*d->token == '-');
    bool plain = *digits >= '0' && *digits <= '9';
    bool odd = !plain || (digits[0] == '0' && ((digits[1] >= '0' && digits[1] <= '9') ||
                                               digits[1] == 'x' || digits[1] == 'X'));
    d->number = strtod(d->token, &end);
    d->at = end;
    d->type = T_NUMBER;
    if (end == d->token || (odd && !d->e->json.decode_invalid)) token_error(d, "invalid number");
}

static bool take_word(struct decoder *d, const char *word, enum token_type type)
{
    size_t size = strlen(word);
    if (strncmp(d->token, word, size) != 0) return false;
    d->at = d->token + size;
    d->type = type;
    return true;
}

static bool looks_like_number(const char *s)
{
    if (*s == '-' || (*s >= '0' && *s <= '9')) return true;
    return strncasecmp(s, "inf", 3) == 0 || strncasecmp(s, "nan", 3) == 0;
}

static void next_token(struct decoder *d)
{
    static const char marks[] = "{}[]", rest[] = ":,";
    while (*d->at == ' ' || *d->at == '\t' || *d->at == '\n' || *d->at == '\r') d->at++;
    d->token = d->at;
    char c = *d->at;
    const char *mark = c ? strchr(marks, c) : NULL, *other = c ? strchr(rest, c) : NULL;
    engine_charge(d->e, d->L, 3);
    if (mark) {
        d->at++, d->type = (enum token_type)(T_OBJ_BEGIN + (mark - marks));
    } else if (other) {
        d->at++, d->type = (enum token_type)(T_COLON + (other - rest));
    } else if (c == '"') {
        d->at++;
        take_string(d);
    } else if (c == 0 && d->at == d->end) {
        d->type = T_END;
    } else if (looks_like_number(d->at)) {
        take_number(d);
    } else if (take_word(d, "true", T_BOOLEAN) || take_word(d, "false", T_BOOLEAN)) {
        d->truth = c == 't';
    } else if (!take_word(d, "null", T_NULL)) {
        token_error(d, "invalid token");
    }
}

static int decode_error(struct decoder *d, const char *expected)
{
    const char *found = d->type == T_ERROR ? d->error : token_name[d->type];
    return luaL_error(d->L, "Expected %s but found %s at character %d", expected, found,
                      (int)(d->token - d->text) + 1);
}

static void decode_value(struct decoder *d, int depth);

static void push_string(struct decoder *d)
{
    lua_pushlstring(d->L, d->e->text.size ? (const char *)d->e->text.data : "", d->e->text.size);
}

static void decode_object(struct decoder *d, int depth)
{
    lua_newtable(d->L);
    next_token(d);
    if (d->type == T_OBJ_END) return;
    for (;; next_token(d)) {
        if (d->type != T_STRING) (void)decode_error(d, "object key string");
        push_string(d);
        next_token(d);
        if (d->type != T_COLON) (void)decode_error(d, "colon");
        next_token(d);
        decode_value(d, depth);
        lua_rawset(d->L, -3);
        next_token(d);
        if (d->type == T_OBJ_END) return;
        if (d->type != T_COMMA) (void)decode_error(d, "comma or object end");
    }
}

static void decode_array(struct decoder *d, int depth)
{
    lua_newtable(d->L);
    next_token(d);
    if (d->type == T_ARR_END) return;
    for (int i = 1;; i++) {
        decode_value(d, depth);
        lua_rawseti(d->L, -2, i);
        next_token(d);
        if (d->type == T_ARR_END) return;
        if (d->type != T_COMMA) (void)decode_error(d, "comma or array end");
        next_token(d);
    }
}

static void decode_value(struct decoder *d, int depth)
{
    bool deeper = d->type == T_OBJ_BEGIN || d->type == T_ARR_BEGIN;
    if (deeper && (++depth > d->e->json.decode_depth || !lua_checkstack(d->L, 5)))
        (void)luaL_error(d->L, "Found too many nested data structures (%d) at character %d", depth,
                         (int)(d->token - d->text) + 1);
    switch (d->type) {
    case T_STRING: push_string(d); break;
    case T_NUMBER: lua_pushnumber(d->L, d->number); break;
    case T_BOOLEAN: lua_pushboolean(d->L, d->truth); break;
    case T_NULL: lua_pushlightuserdata(d->L, NULL); break;
    case T_OBJ_BEGIN: decode_object(d, depth); break;
    case T_ARR_BEGIN: decode_array(d, depth); break;
    default: (void)decode_error(d, "value");
    }
}

static int json_decode(lua_State *L)
{
    size_t size;
    luaL_argcheck(L, lua_gettop(L) == 1, 1, "expected 1 argument");
    const char *text = luaL_checklstring(L, 1, &size);
    struct decoder d = {.e = engine_of(L), .L = L, .text = text, .at = text, .end = text + size};
    if (size >= 2 && (!text[0] || !text[1]))
        return luaL_error(L, "JSON parser does not support UTF-16 or UTF-32");
    next_token(&d);
    decode_value(&d, 0);
    next_token(&d);
    if (d.type != T_END) return decode_error(&d, "the end");
    return 1;
}

/* ---- options, which last for the run ---- */

void json_begin(struct json_options *o)
{
    *o = (struct json_options){.sparse_ratio = 2,
                               .sparse_safe = 10,
                               .encode_depth = DEPTH_MAX,
                               .decode_depth = DEPTH_MAX,
                               .precision = 14,
                               .decode_invalid = true};
}

static int whole_option(lua_State *L, int at, int *value, int low, int high)
{
    char text[80];
    if (!lua_isnoneornil(L, at)) {
        lua_Number n = luaL_checknumber(L, at);
        snprintf(text, sizeof text, "expected integer between %d and %d", low, high);
        luaL_argcheck(L, n >= low && n <= high, at, text);
        *value = (int)n;
    }
    lua_pushinteger(L, *value);
    return 1;
}

static int json_encode_depth(lua_State *L)
{
    return whole_option(L, 1, &engine_of(L)->json.encode_depth, 1, DEPTH_MAX);
}

static int json_decode_depth(lua_State *L)
{
    return whole_option(L, 1, &engine_of(L)->json.decode_depth, 1, DEPTH_MAX);
}

static int json_precision(lua_State *L)
{
    return whole_option(L, 1, &engine_of(L)->json.precision, 1, 14);
}

static int json_sparse(lua_State *L)
{
    struct json_options *o = &engine_of(L)->json;
    lua_settop(L, 3);
    if (!lua_isnil(L, 1)) o->sparse_convert = lua_toboolean(L, 1);
    lua_pushboolean(L, o->sparse_convert);
    (void)whole_option(L, 2, &o->sparse_ratio, 0, INT32_MAX);
    (void)whole_option(L, 3, &o->sparse_safe, 0, INT32_MAX);
    return 3;
}

static int json_keep_buffer(lua_State *L)
{
    lua_pushboolean(L, true);
    return 1;
}

static int json_encode_invalid(lua_State *L)
{
    struct json_options *o = &engine_of(L)->json;
    if (lua_isboolean(L, 1))
        o->invalid = lua_toboolean(L, 1) ? JSON_INVALID_ON : JSON_INVALID_ERROR;
    else if (!lua_isnoneornil(L, 1) && strcmp(luaL_checkstring(L, 1), "null") == 0)
        o->invalid = JSON_INVALID_NULL;
    if (o->invalid == JSON_INVALID_NULL)
        lua_pushliteral(L, "null");
    else
        lua_pushboolean(L, o->invalid == JSON_INVALID_ON);
    return 1;
}

static int json_decode_invalid(lua_State *L)
{
    struct json_options *o = &engine_of(L)->json;
    if (!lua_isnoneornil(L, 1)) o->decode_invalid = lua_toboolean(L, 1);
    lua_pushboolean(L, o->decode_invalid);
    return 1;
}

static int json_new(lua_State *L)
{
    json_push(L);
    return 1;
}

void json_push(lua_State *L)
{
    static const luaL_Reg fns[] = {{"encode", json_encode},
                                   {"decode", json_decode},
                                   {"encode_max_depth", json_encode_depth},
                                   {"decode_max_depth", json_decode_depth},
                                   {"encode_number_precision", json_precision},
                                   {"encode_sparse_array", json_sparse},
                                   {"encode_keep_buffer", json_keep_buffer},
                                   {"encode_invalid_numbers", json_encode_invalid},
                                   {"decode_invalid_numbers", json_decode_invalid},
                                   {"new", json_new},
                                   {NULL, NULL}};
    lua_createtable(L, 0, 14);
    luaL_setfuncs(L, fns, 0);
    lua_pushlightuserdata(L, NULL), lua_setfield(L, -2, "null");
    lua_pushliteral(L, "cjson"), lua_setfield(L, -2, "_NAME");
    lua_pushliteral(L, "2.1.0"), lua_setfield(L, -2, "_VERSION");
}
