/* string.find, match, gmatch and gsub: Lua's patterns (Lua 5.1 Reference Manual, 5.4.1), matched by
 * backtracking like everywhere, but counted: a pattern such as ("a-"):rep(30) takes for ever,
 * inside one instruction, where the interpreter looks at no limit. */
#include "script/internal.h"

#include <ctype.h>
#include <string.h>

#define CAPTURES_MAX 32
#define NESTING_MAX  200
#define OPEN         (-1) /* sizes of captures that are not over; that are positions */
#define POSITION     (-2)

struct matcher {
    lua_State *L;
    struct script_engine *e;
    const uint8_t *from, *end; /* the subject */
    const uint8_t *pattern_end;
    int level, depth;
    struct {
        const uint8_t *at;
        ptrdiff_t size;
    } capture[CAPTURES_MAX];
};

static const uint8_t *match_here(struct matcher *m, const uint8_t *s, const uint8_t *p);

/* ---- classes of characters ---- */

/* Behind the class that begins at p. */
static const uint8_t *class_end(struct matcher *m, const uint8_t *p)
{
    const uint8_t *end = m->pattern_end;
    uint8_t first = *p++;
    if (first == '%') {
        if (p == end) (void)luaL_error(m->L, "malformed pattern (ends with '%%')");
        return p + 1;
    }
    if (first != '[') return p;
    if (p < end && *p == '^') p++;
    do {
        if (p == end) (void)luaL_error(m->L, "malformed pattern (missing ']')");
        if (*p++ == '%' && p < end) p++;
    } while (p == end || *p != ']');
    return p + 1;
}

static bool in_class(uint8_t c, uint8_t class)
{
    bool is;
    switch (tolower(class)) {
    case 'a': is = isalpha(c); break;
    case 'c': is = iscntrl(c); break;
    case 'd': is = isdigit(c); break;
    case 'l': is = islower(c); break;
    case 'p': is = ispunct(c); break;
    case 's': is = isspace(c); break;
    case 'u': is = isupper(c); break;
    case 'w': is = isalnum(c); break;
    case 'x': is = isxdigit(c); break;
    case 'z': is = c == 0; break;
    default: return class == c;
    }
    return isupper(class) ? !is : is;
}

/* p at '[', last at ']'. */
static bool in_set(uint8_t c, const uint8_t *p, const uint8_t *last)
{
    bool found = true;
    if (p[1] == '^') found = false, p++;
    while (++p < last) {
        if (*p == '%') {
            if (in_class(c, *++p)) return found;
        } else if (p[1] == '-' && p + 2 < last) {
            p += 2;
            if (p[-2] <= c && c <= *p) return found;
        } else if (*p == c) {
            return found;
        }
    }
    return !found;
}

/* Is there a character at s, of the class [p, end)? */
static bool single(struct matcher *m, const uint8_t *s, const uint8_t *p, const uint8_t *end)
{
    engine_charge(m->e, m->L, 1);
    if (s >= m->end) return false;
    switch (*p) {
    case '.': return true;
    case '%': return in_class(*s, p[1]);
    case '[': return in_set(*s, p, end - 1);
    default: return *p == *s;
    }
}

/* ---- items ---- */

static const uint8_t *most_of(struct matcher *m, const uint8_t *s, const uint8_t *p,
                              const uint8_t *end)
{
    ptrdiff_t count = 0;
    while (single(m, s + count, p, end)) count++;
    for (; count >= 0; count--) {
        const uint8_t *to = match_here(m, s + count, end + 1);
        if (to) return to;
    }
    return NULL;
}

static const uint8_t *least_of(struct matcher *m, const uint8_t *s, const uint8_t *p,
                               const uint8_t *end)
{
    for (;; s++) {
        const uint8_t *to = match_here(m, s, end + 1);
        if (to) return to;
        if (!single(m, s, p, end)) return NULL;
    }
}

/* %bxy */
static const uint8_t *balanced(struct matcher *m, const uint8_t *s, const uint8_t *p)
{
    if (m->pattern_end - p < 2) (void)luaL_error(m->L, "unbalanced pattern");
    if (s >= m->end || *s != *p) return NULL;
    int open = 1;
    while (++s < m->end) {
        engine_charge(m->e, m->L, 1);
        if (*s == p[1]) {
            if (--open == 0) return s + 1;
        } else if (*s == *p) {
            open++;
        }
    }
    return NULL;
}

/* %f[set] */
static const uint8_t *frontier(struct matcher *m, const uint8_t *s, const uint8_t *p)
{
    if (p == m->pattern_end || *p != '[')
        (void)luaL_error(m->L, "missing '[' after '%%f' in pattern");
    const uint8_t *end = class_end(m, p);
    uint8_t before = s == m->from ? 0 : s[-1], here = s == m->end ? 0 : *s;
    if (in_set(before, p, end - 1) || !in_set(here, p, end - 1)) return NULL;
    return match_here(m, s, end);
}

static const uint8_t *capture_begin(struct matcher *m, const uint8_t *s, const uint8_t *p,
                                    ptrdiff_t size)
{
    if (m->level == CAPTURES_MAX) (void)luaL_error(m->L, "too many captures");
    m->capture[m->level].at = s;
    m->capture[m->level].size = size;
    m->level++;
    const uint8_t *to = match_here(m, s, p);
    if (!to) m->level--;
    return to;
}

static const uint8_t *capture_end(struct matcher *m, const uint8_t *s, const uint8_t *p)
{
    int i = m->level;
    while (i > 0 && m->capture[i - 1].size != OPEN) i--;
    if (i == 0) (void)luaL_error(m->L, "invalid pattern capture");
    m->capture[i - 1].size = s - m->capture[i - 1].at;
    const uint8_t *to = match_here(m, s, p);
    if (!to) m->capture[i - 1].size = OPEN;
    return to;
}

/* %1: what was captured, again. */
static const uint8_t *captured_again(struct matcher *m, const uint8_t *s, uint8_t digit)
{
    int i = digit - '1';
    if (i < 0 || i >= m->level || m->capture[i].size == OPEN)
        (void)luaL_error(m->L, "invalid capture index");
    size_t size = m->capture[i].size < 0 ? 0 : (size_t)m->capture[i].size;
    engine_charge(m->e, m->L, size / 16 + 1);
    if ((size_t)(m->end - s) < size || memcmp(m->capture[i].at, s, size) != 0) return NULL;
    return s + size;
}

/* An item that is a class, and how often it may come. *more: where to go on from, else what is
 * returned is the end. */
static const uint8_t *class_item(struct matcher *m, const uint8_t **s, const uint8_t **p,
                                 bool *more)
{
    const uint8_t *end = class_end(m, *p), *to;
    uint8_t often = end < m->pattern_end ? *end : 0;
    *more = false;
    switch (often) {
    case '?':
        if (single(m, *s, *p, end) && (to = match_here(m, *s + 1, end + 1))) return to;
        *p = end + 1;
        *more = true;
        return NULL;
    case '*': return most_of(m, *s, *p, end);
    case '+': return single(m, *s, *p, end) ? most_of(m, *s + 1, *p, end) : NULL;
    case '-': return least_of(m, *s, *p, end);
    default:
        if (!single(m, *s, *p, end)) return NULL;
        (*s)++;
        *p = end;
        *more = true;
        return NULL;
    }
}

/* The end of a match of the pattern from p on, at s; NULL: none. */
static const uint8_t *match_items(struct matcher *m, const uint8_t *s, const uint8_t *p)
{
    for (bool more = true; more;) {
        if (p == m->pattern_end) return s;
        uint8_t second = p + 1 < m->pattern_end ? p[1] : 0;
        if (*p == '(')
            return second == ')' ? capture_begin(m, s, p + 2, POSITION)
                                 : capture_begin(m, s, p + 1, OPEN);
        if (*p == ')') return capture_end(m, s, p + 1);
        if (*p == '$' && p + 1 == m->pattern_end) return s == m->end ? s : NULL;
        if (*p == '%' && second == 'b') {
            if (!(s = balanced(m, s, p + 2))) return NULL;
            p += 4;
        } else if (*p == '%' && second == 'f') {
            return frontier(m, s, p + 2);
        } else if (*p == '%' && isdigit(second)) {
            if (!(s = captured_again(m, s, second))) return NULL;
            p += 2;
        } else {
            const uint8_t *to = class_item(m, &s, &p, &more);
            if (!more) return to;
        }
    }
    return NULL;
}

static const uint8_t *match_here(struct matcher *m, const uint8_t *s, const uint8_t *p)
{
    engine_charge(m->e, m->L, 1);
    if (++m->depth > NESTING_MAX) (void)luaL_error(m->L, "pattern too complex");
    const uint8_t *to = match_items(m, s, p);
    m->depth--;
    return to;
}

/* ---- captures ---- */

static void push_capture(struct matcher *m, int i, const uint8_t *s, const uint8_t *to)
{
    if (i >= m->level) {
        if (i != 0) (void)luaL_error(m->L, "invalid capture index");
        lua_pushlstring(m->L, (const char *)s, (size_t)(to - s));
    } else if (m->capture[i].size == OPEN) {
        (void)luaL_error(m->L, "unfinished capture");
    } else if (m->capture[i].size == POSITION) {
        lua_pushinteger(m->L, m->capture[i].at - m->from + 1);
    } else {
        lua_pushlstring(m->L, (const char *)m->capture[i].at, (size_t)m->capture[i].size);
    }
}

/* All of them; without any the whole match, if that is wanted. */
static int push_captures(struct matcher *m, const uint8_t *s, const uint8_t *to, bool whole)
{
    int count = m->level == 0 && whole ? 1 : m->level;
    luaL_checkstack(m->L, count, "too many captures");
    for (int i = 0; i < count; i++) push_capture(m, i, s, to);
    return count;
}

/* ---- the functions ---- */

static const uint8_t *string_arg(lua_State *L, int at, size_t *size)
{
    return (const uint8_t *)luaL_checklstring(L, at, size);
}

static struct matcher matcher_of(lua_State *L, const uint8_t *s, size_t size,
                                 const uint8_t *pattern_end)
{
    return (struct matcher){
        .L = L, .e = engine_of(L), .from = s, .end = s + size, .pattern_end = pattern_end};
}

static bool is_plain(const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (p[i] == 0 || strchr("^$*+?.([%-", p[i])) return false;
    return true;
}

static int find_plain(lua_State *L, const uint8_t *s, size_t size, size_t init, const uint8_t *p,
                      size_t p_size)
{
    engine_charge(engine_of(L), L, (size - init) / 32 + 1);
    const uint8_t *at = p_size ? memmem(s + init, size - init, p, p_size) : s + init;
    if (!at) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, at - s + 1);
    lua_pushinteger(L, at - s + (ptrdiff_t)p_size);
    return 2;
}

static int find(lua_State *L, bool finds)
{
    size_t size, p_size;
    const uint8_t *s = string_arg(L, 1, &size), *p = string_arg(L, 2, &p_size);
    ptrdiff_t init = luaL_optinteger(L, 3, 1);
    if (init < 0) init += (ptrdiff_t)size + 1;
    init = init < 1 ? 0 : init - 1;
    if ((size_t)init > size) init = (ptrdiff_t)size;
    if (finds && (lua_toboolean(L, 4) || is_plain(p, p_size)))
        return find_plain(L, s, size, (size_t)init, p, p_size);
    struct matcher m = matcher_of(L, s, size, p + p_size);
    bool anchored = p_size && *p == '^';
    for (const uint8_t *at = s + init; at <= m.end; at++) {
        m.level = m.depth = 0;
        const uint8_t *to = match_here(&m, at, p + anchored);
        if (to && finds) {
            lua_pushinteger(L, at - s + 1);
            lua_pushinteger(L, to - s);
            return 2 + push_captures(&m, at, to, false);
        }
        if (to) return push_captures(&m, at, to, true);
        if (anchored) break;
    }
    lua_pushnil(L);
    return 1;
}

static int string_find(lua_State *L)
{
    return find(L, true);
}

static int string_match(lua_State *L)
{
    return find(L, false);
}

static int gmatch_next(lua_State *L)
{
    size_t size, p_size;
    const uint8_t *s = string_arg(L, lua_upvalueindex(1), &size);
    const uint8_t *p = string_arg(L, lua_upvalueindex(2), &p_size);
    struct matcher m = matcher_of(L, s, size, p + p_size);
    for (const uint8_t *at = s + lua_tointeger(L, lua_upvalueindex(3)); at <= m.end; at++) {
        m.level = m.depth = 0;
        const uint8_t *to = match_here(&m, at, p);
        if (!to) continue;
        lua_pushinteger(L, to - s + (to == at));
        lua_replace(L, lua_upvalueindex(3));
        return push_captures(&m, at, to, true);
    }
    return 0;
}

static int string_gmatch(lua_State *L)
{
    luaL_checkstring(L, 1);
    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, gmatch_next, 3);
    return 1;
}

/* What stands for a match, at index 3: a string with %0 .. %9, a table, a function. Pushes its
 * value. */
static void push_substitute(struct matcher *m, const uint8_t *s, const uint8_t *to)
{
    lua_State *L = m->L;
    if (lua_type(L, 3) == LUA_TFUNCTION) {
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(m, s, to, true), 1);
    } else {
        push_capture(m, 0, s, to);
        lua_gettable(L, 3);
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        lua_pushlstring(L, (const char *)s, (size_t)(to - s));
    } else if (!lua_isstring(L, -1)) {
        (void)luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
}

static void add_template(struct matcher *m, luaL_Buffer *b, const uint8_t *s, const uint8_t *to)
{
    size_t size;
    const uint8_t *text = (const uint8_t *)lua_tolstring(m->L, 3, &size);
    engine_charge(m->e, m->L, size / 16 + 1);
    for (size_t i = 0; i < size; i++) {
        if (text[i] != '%' || ++i == size || !isdigit(text[i])) {
            luaL_addchar(b, (char)(i < size ? text[i] : 0));
            continue;
        }
        if (text[i] == '0')
            luaL_addlstring(b, (const char *)s, (size_t)(to - s));
        else {
            push_capture(m, text[i] - '1', s, to);
            luaL_addvalue(b);
        }
    }
}

static int string_gsub(lua_State *L)
{
    size_t size, p_size;
    const uint8_t *s = string_arg(L, 1, &size), *p = string_arg(L, 2, &p_size);
    int type = lua_type(L, 3);
    lua_Number most = luaL_optnumber(L, 4, (lua_Number)size + 1);
    bool anchored = p_size && *p == '^';
    bool template = type == LUA_TSTRING || type == LUA_TNUMBER;
    luaL_argcheck(L, template || type == LUA_TTABLE || type == LUA_TFUNCTION, 3,
                  "string/function/table expected");
    struct matcher m = matcher_of(L, s, size, p + p_size);
    luaL_Buffer b;
    lua_Integer count = 0;
    lua_settop(L, 3);
    luaL_buffinit(L, &b);
    while ((lua_Number)count < most) {
        m.level = m.depth = 0;
        const uint8_t *to = match_here(&m, s, p + anchored);
        if (to) {
            count++;
            if (template) {
                add_template(&m, &b, s, to);
            } else {
                push_substitute(&m, s, to);
                luaL_addvalue(&b);
            }
        }
        if (to && to > s)
            s = to;
        else if (s < m.end)
            luaL_addchar(&b, (char)*s++);
        else
            break;
        if (anchored) break;
    }
    luaL_addlstring(&b, (const char *)s, (size_t)(m.end - s));
    luaL_pushresult(&b);
    lua_pushinteger(L, count);
    return 2;
}

void match_register(lua_State *L)
{
    static const luaL_Reg fns[] = {{"find", string_find},     {"match", string_match},
                                   {"gmatch", string_gmatch}, {"gfind", string_gmatch},
                                   {"gsub", string_gsub},     {NULL, NULL}};
    luaL_setfuncs(L, fns, 0);
}
