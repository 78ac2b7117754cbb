#include "sim/reply.h"

#include "base/assert.h"

#include <stdio.h>

#define REPLY_DEPTH_MAX 8
#define REPLY_LINE_MAX  (64u << 10)
#define REPLY_BULK_MAX  (64 << 20)

/* The first line without its end; its size with it, 0 if incomplete. */
static size_t line_take(struct bytes in, struct bytes *line)
{
    const uint8_t *end = memchr(in.data, '\n', in.size);
    if (!end || end == in.data || end[-1] != '\r') return 0;
    *line = (struct bytes){in.data + 1, (size_t)(end - in.data) - 2};
    return (size_t)(end - in.data) + 1;
}

static int64_t reply_size_at(struct bytes in, int depth);

static int64_t many_size(struct bytes in, size_t head, int64_t count, int depth)
{
    size_t size = head;
    for (; count > 0; count--) {
        int64_t n = reply_size_at((struct bytes){in.data + size, in.size - size}, depth + 1);
        if (n <= 0) return n;
        size += (size_t)n;
    }
    return (int64_t)size;
}

static int64_t reply_size_at(struct bytes in, int depth)
{
    struct bytes line;
    int64_t count;
    if (depth > REPLY_DEPTH_MAX) return -1;
    if (in.size == 0) return 0;
    if (!strchr("+-:$*_#,(=%~>!", in.data[0]) || in.data[0] == 0) return -1;
    size_t head = line_take(in, &line);
    if (head == 0) return in.size > REPLY_LINE_MAX ? -1 : 0;

    switch (in.data[0]) {
    case '$':
    case '=':
    case '!':
        if (!bytes_to_i64(line, &count) || count < -1 || count > REPLY_BULK_MAX) return -1;
        if (count < 0) return (int64_t)head;
        if (in.size < head + (size_t)count + 2) return 0;
        return memcmp(in.data + head + count, "\r\n", 2) == 0 ? (int64_t)head + count + 2 : -1;
    case '*':
    case '~':
    case '>':
        if (!bytes_to_i64(line, &count) || count < -1) return -1;
        return many_size(in, head, count, depth);
    case '%':
        if (!bytes_to_i64(line, &count) || count < 0) return -1;
        return many_size(in, head, 2 * count, depth);
    case ':': return bytes_to_i64(line, &count) ? (int64_t)head : -1;
    default: return (int64_t)head;
    }
}

int64_t reply_size(struct bytes in)
{
    return reply_size_at(in, 0);
}

struct reply_view reply_read(struct bytes whole)
{
    struct reply_view v = {0};
    size_t head = line_take(whole, &v.text);
    switch (whole.data[0]) {
    case '-': v.kind = REPLY_ERROR; return v;
    case ':':
        v.kind = REPLY_NUMBER;
        (void)bytes_to_i64(v.text, &v.number);
        return v;
    case '_': v.kind = REPLY_NIL; return v;
    case '$':
    case '=':
    case '!':
        (void)bytes_to_i64(v.text, &v.number);
        v.kind = v.number < 0 ? REPLY_NIL : whole.data[0] == '!' ? REPLY_ERROR : REPLY_TEXT;
        v.text = (struct bytes){whole.data + head, v.number < 0 ? 0 : (size_t)v.number};
        return v;
    case '*':
    case '~':
    case '>':
    case '%':
        (void)bytes_to_i64(v.text, &v.number);
        v.kind = v.number < 0 ? REPLY_NIL : REPLY_MANY;
        return v;
    default: v.kind = REPLY_TEXT; return v;
    }
}

bool reply_items(struct bytes whole, struct bytes *item, uint32_t count)
{
    struct reply_view v = reply_read(whole);
    struct bytes line;
    if (v.kind != REPLY_MANY || v.number != count) return false;
    size_t at = line_take(whole, &line);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes rest = bytes_of(whole.data + at, whole.size - at);
        int64_t size = reply_size(rest);
        ASSERT(size > 0 && (size_t)size <= rest.size);
        item[i] = bytes_of(rest.data, (size_t)size);
        at += (size_t)size;
    }
    return true;
}

uint32_t reply_splits(struct bytes whole, reply_split name[REPLY_SPLITS_MAX])
{
    struct bytes item[REPLY_SPLITS_MAX], part[2];
    struct reply_view v = reply_read(whole);
    if (v.kind != REPLY_MANY || v.number < 1 || v.number > REPLY_SPLITS_MAX ||
        !reply_items(whole, item, (uint32_t)v.number))
        return 0;
    for (uint32_t i = 0; i < (uint32_t)v.number; i++) {
        if (!reply_items(item[i], part, 2)) return 0;
        struct bytes text = reply_read(part[0]).text;
        (void)snprintf(name[i], sizeof name[i], "%.*s", (int)text.size, (const char *)text.data);
    }
    return (uint32_t)v.number;
}
