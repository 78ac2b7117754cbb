#include "redis/resp.h"
#include "base/assert.h"
#include "base/mem.h"

#include <ctype.h>

#define NUMBER_LINE_MAX 32 /* a type byte, a number, CR LF: more is no number */
#define REPLY_DEPTH_MAX 32
#define REPLY_BULK_MAX  (1u << 30)

void resp_args_deinit(struct resp_args *a)
{
    mem_free(a->v);
    mem_free(a->spans);
    buf_deinit(&a->scratch);
    *a = (struct resp_args){0};
}

void resp_reset(struct resp_args *a)
{
    a->count = 0;
    a->error = NULL;
    a->want = 0;
    a->at = 0;
    a->expected = a->have = 0;
}

/* ---- numbers in a line ---- */

enum line { LINE_WHOLE, LINE_PART, LINE_BAD, LINE_LONG };

/* The decimal number at p, ended by CR LF; *next is behind them. */
static inline enum line take_number(const uint8_t *p, const uint8_t *end, int64_t *v,
                                    const uint8_t **next)
{
    if (end - p >= 3 && p[1] == '\r' && p[2] == '\n') { /* one digit: nearly all of them */
        *v = p[0] - '0';
        *next = p + 3;
        return *v >= 0 && *v <= 9 ? LINE_WHOLE : LINE_BAD;
    }
    size_t left = (size_t)(end - p), most = left < NUMBER_LINE_MAX ? left : NUMBER_LINE_MAX;
    const uint8_t *cr = most ? memchr(p, '\r', most) : NULL;
    if (!cr) return left < NUMBER_LINE_MAX ? LINE_PART : LINE_LONG;
    if (cr + 1 == end) return LINE_PART;
    *next = cr + 2;
    return cr[1] == '\n' && bytes_to_i64(bytes_of(p, (size_t)(cr - p)), v) ? LINE_WHOLE : LINE_BAD;
}

/* ---- arrays of bulk strings ---- */

static int64_t bad(struct resp_args *a, const char *error)
{
    resp_reset(a);
    a->error = error;
    return -1;
}

static int64_t bad_type(struct resp_args *a, uint8_t got)
{
    buf_clear(&a->scratch);
    buf_printf(&a->scratch, "Protocol error: expected '$', got '%c'", isprint(got) ? got : '?');
    buf_u8(&a->scratch, 0);
    return bad(a, (const char *)a->scratch.data);
}

static void args_grow(struct resp_args *a)
{
    a->capacity = a->capacity ? 2 * a->capacity : 16;
    a->v = mem_realloc(a->v, a->capacity * sizeof *a->v);
}

/* Keeps the arguments from `first` on as offsets, for the input may move before the rest of the
 * request is here. */
static int64_t suspend(struct resp_args *a, struct bytes in, uint32_t first, uint32_t have,
                       size_t at, size_t want)
{
    if (a->span_capacity < have) {
        uint32_t capacity = a->span_capacity ? a->span_capacity : 16;
        while (capacity < have) capacity *= 2;
        a->spans = mem_realloc(a->spans, capacity * sizeof *a->spans);
        a->span_capacity = capacity;
    }
    for (uint32_t i = first; i < have; i++)
        a->spans[i] = (struct resp_span){(size_t)(a->v[i].data - in.data), a->v[i].size};
    a->have = have;
    a->at = at;
    a->want = want;
    return 0;
}

/* The whole request is here: v is complete but for the arguments of earlier calls. */
static int64_t finish(struct resp_args *a, struct bytes in, uint32_t resumed, size_t at)
{
    for (uint32_t i = 0; i < resumed; i++)
        a->v[i] = bytes_of(in.data + a->spans[i].at, a->spans[i].size);
    a->count = a->expected;
    a->at = 0;
    a->expected = a->have = 0;
    return (int64_t)at;
}

/* "*<count>\r\n": 1 when known, else what resp_parse shall return. */
static int64_t parse_header(struct resp_args *a, struct bytes in)
{
    const uint8_t *next;
    int64_t count;

    switch (take_number(in.data + 1, in.data + in.size, &count, &next)) {
    case LINE_PART: a->want = in.size + 1; return 0;
    case LINE_LONG: return bad(a, "Protocol error: too big mbulk count string");
    case LINE_BAD: return bad(a, "Protocol error: invalid multibulk length");
    case LINE_WHOLE: break;
    }
    if (count > RESP_ARGS_MAX) return bad(a, "Protocol error: invalid multibulk length");
    a->at = (size_t)(next - in.data);
    a->expected = count > 0 ? (uint32_t)count : 0;
    return 1;
}

static int64_t parse_bulks(struct resp_args *a, struct bytes in)
{
    const uint8_t *p = in.data + a->at, *end = in.data + in.size, *body;
    const uint32_t resumed = a->have;
    uint32_t have = resumed;
    int64_t size;

    for (; have < a->expected; have++) {
        if (p == end) return suspend(a, in, resumed, have, in.size, in.size + 6);
        if (*p != '$') return bad_type(a, *p);
        switch (take_number(p + 1, end, &size, &body)) {
        case LINE_PART: return suspend(a, in, resumed, have, (size_t)(p - in.data), in.size + 1);
        case LINE_LONG: return bad(a, "Protocol error: too big bulk count string");
        case LINE_BAD: return bad(a, "Protocol error: invalid bulk length");
        case LINE_WHOLE: break;
        }
        if (size < 0) return bad(a, "Protocol error: invalid bulk length");
        if (size > RESP_BULK_MAX)
            return bad(a, "Protocol error: invalid bulk length (the limit is 32 MiB)");
        size_t whole = (size_t)(body - in.data) + (size_t)size + 2;
        if (whole > RESP_REQUEST_MAX)
            return bad(a, "Protocol error: too big request (the limit is 64 MiB)");
        if (whole > in.size) return suspend(a, in, resumed, have, (size_t)(p - in.data), whole);
        if (have == a->capacity) args_grow(a);
        a->v[have] = bytes_of(body, (size_t)size);
        p = body + size + 2;
        if (p[-2] != '\r' || p[-1] != '\n') return bad(a, "Protocol error: invalid bulk length");
    }
    return finish(a, in, resumed, (size_t)(p - in.data));
}

/* ---- inline commands ---- */

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One escape of a "..." word, from behind the backslash; returns how many bytes of p it took. */
static size_t unescape(const uint8_t *p, const uint8_t *end, struct buf *out)
{
    static const char from[] = "nrtba", to[] = "\n\r\t\b\a";

    if (end - p >= 3 && *p == 'x' && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0) {
        buf_u8(out, (uint8_t)(hex_digit(p[1]) << 4 | hex_digit(p[2])));
        return 3;
    }
    const char *known = strchr(from, *p);
    buf_u8(out, known && *p ? (uint8_t)to[known - from] : *p);
    return 1;
}

/* The inside of a word in quotes, p behind the opening one; returns the place behind the closing
 * one, NULL if it has none or is not followed by a space. */
static const uint8_t *take_quoted(const uint8_t *p, const uint8_t *end, uint8_t quote,
                                  struct buf *out)
{
    while (p < end && *p != quote) {
        if (*p == '\\' && p + 1 < end && quote == '"') {
            p++;
            p += unescape(p, end, out);
        } else if (*p == '\\' && p + 1 < end && p[1] == '\'') {
            buf_u8(out, '\'');
            p += 2;
        } else {
            buf_u8(out, *p++);
        }
    }
    if (p == end) return NULL;
    p++;
    return p == end || isspace(*p) ? p : NULL;
}

/* One word, as Redis's sdssplitargs: quotes may begin anywhere in it, and end it. */
static const uint8_t *take_word(const uint8_t *p, const uint8_t *end, struct buf *out)
{
    while (p < end && !isspace(*p)) {
        if (*p == '"' || *p == '\'') return take_quoted(p + 1, end, *p, out);
        buf_u8(out, *p++);
    }
    return p;
}

static int64_t parse_inline(struct resp_args *a, struct bytes in)
{
    const uint8_t *newline = memchr(in.data + a->at, '\n', in.size - a->at);
    size_t size = newline ? (size_t)(newline - in.data) : in.size;

    if (size > RESP_INLINE_MAX) return bad(a, "Protocol error: too big inline request");
    if (!newline) {
        a->at = in.size;
        a->want = in.size + 1;
        return 0;
    }
    const uint8_t *p = in.data, *end = newline;
    if (end > p && end[-1] == '\r') end--;
    const uint8_t *nul = p < end ? memchr(p, 0, (size_t)(end - p)) : NULL;
    if (nul) end = nul; /* as for Redis, whose lines are C strings */

    buf_clear(&a->scratch);
    (void)buf_reserve(&a->scratch,
                      size); /* words are no longer than the line: it does not move below */
    a->count = 0;
    for (;;) {
        while (p < end && isspace(*p)) p++;
        if (p == end) break;
        size_t start = a->scratch.size;
        p = take_word(p, end, &a->scratch);
        if (!p) return bad(a, "Protocol error: unbalanced quotes in request");
        if (a->count == a->capacity) args_grow(a);
        a->v[a->count++] = bytes_of(a->scratch.data + start, a->scratch.size - start);
    }
    ASSERT(a->scratch.size <= size);
    a->at = 0;
    return (int64_t)size + 1;
}

int64_t resp_parse(struct resp_args *a, struct bytes in)
{
    ASSERT(a->at <= in.size);
    if (in.size == 0) {
        a->want = 1;
        return 0;
    }
    if (in.data[0] != '*') return parse_inline(a, in);
    if (a->expected == 0) {
        int64_t known = parse_header(a, in);
        if (known != 1) return known;
    }
    return parse_bulks(a, in);
}

/* ---- replies ---- */

enum reply_size { REPLY_PART = 0, REPLY_BAD = -1 };

/* Behind a bulk body of `size` bytes and its CR LF. */
static int64_t bulk_end(struct bytes in, size_t at, int64_t size)
{
    if (size == -1) return (int64_t)at;
    if (size < 0 || size > REPLY_BULK_MAX) return REPLY_BAD;
    size_t end = at + (size_t)size + 2;
    if (end > in.size) return REPLY_PART;
    return in.data[end - 2] == '\r' && in.data[end - 1] == '\n' ? (int64_t)end : REPLY_BAD;
}

/* Behind a line of text. */
static int64_t line_end(struct bytes in, size_t at)
{
    const uint8_t *cr = at < in.size ? memchr(in.data + at, '\r', in.size - at) : NULL;
    if (!cr || cr + 1 == in.data + in.size) return REPLY_PART;
    return cr[1] == '\n' ? cr + 2 - in.data : REPLY_BAD;
}

/* How many replies stand below an aggregate of `count`; an attribute is followed by the reply that
 * it describes. */
static int64_t children(uint8_t type, int64_t count)
{
    if (count == -1 && type == '*') return 0;
    if (count < 0 || count > INT32_MAX) return -1;
    if (type == '%') return 2 * count;
    return type == '|' ? 2 * count + 1 : count;
}

int64_t resp_reply_size(struct bytes in)
{
    int64_t left[REPLY_DEPTH_MAX + 1] = {1}, count,
                                   end = 0; /* replies still to come at each depth */
    unsigned depth = 0;
    size_t at = 0;

    for (;;) {
        while (left[depth] == 0)
            if (depth-- == 0) return (int64_t)at;
        left[depth]--;
        if (at >= in.size) return REPLY_PART;
        const uint8_t type = in.data[at], *next;
        if (strchr("+-:,#_(", type) && type) {
            end = line_end(in, at + 1);
        } else if (strchr("$=!*~>%|", type) && type) {
            enum line l = take_number(in.data + at + 1, in.data + in.size, &count, &next);
            if (l != LINE_WHOLE) return l == LINE_PART ? REPLY_PART : REPLY_BAD;
            end = next - in.data;
            if (strchr("$=!", type)) {
                end = bulk_end(in, (size_t)end, count);
            } else {
                if (depth == REPLY_DEPTH_MAX) return REPLY_BAD;
                left[++depth] = children(type, count);
                if (left[depth] < 0) return REPLY_BAD;
            }
        } else {
            return REPLY_BAD;
        }
        if (end <= 0) return end;
        at = (size_t)end;
    }
}
