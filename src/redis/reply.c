#include "redis/reply.h"
#include "base/assert.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define HEAD_MAX 24 /* a type byte, an int64 in decimal, CR LF */

/* Two digits at a time. */
static const char digit_pairs[] = "00010203040506070809101112131415161718192021222324"
                                  "25262728293031323334353637383940414243444546474849"
                                  "50515253545556575859606162636465666768697071727374"
                                  "75767778798081828384858687888990919293949596979899";

/* Decimal digits of v, ending before `end`; returns where they start. */
static char *digits_before(char *end, uint64_t v)
{
    while (v >= 100) {
        end -= 2;
        memcpy(end, &digit_pairs[v % 100 * 2], 2);
        v /= 100;
    }
    if (v < 10) {
        *--end = (char)('0' + v);
        return end;
    }
    end -= 2;
    memcpy(end, &digit_pairs[v * 2], 2);
    return end;
}

size_t reply_format_i64(char text[REPLY_I64_MAX], int64_t v)
{
    char digits[REPLY_I64_MAX], *end = digits + sizeof digits;
    char *p = digits_before(end, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
    if (v < 0) *--p = '-';
    memcpy(text, p, (size_t)(end - p));
    return (size_t)(end - p);
}

size_t reply_format_human(char text[REPLY_HUMAN_MAX], long double v)
{
    ASSERT(isfinite(v));
    int size = snprintf(text, REPLY_HUMAN_MAX, "%.17Lf", v);
    ASSERT(size > 0 && size < REPLY_HUMAN_MAX);
    while (text[size - 1] == '0') size--;
    if (text[size - 1] == '.') size--;
    if (size == 2 && memcmp(text, "-0", 2) == 0) text[0] = '0', size = 1;
    return (size_t)size;
}

/* "<type><v>\r\n" */
static void put_head(struct buf *out, char type, int64_t v)
{
    uint8_t *p = buf_reserve(out, HEAD_MAX);
    size_t n;

    *p++ = (uint8_t)type;
    if (v >= 0 && v < 10) {
        *p = (uint8_t)('0' + v);
        n = 1;
    } else {
        n = reply_format_i64((char *)p, v);
    }
    memcpy(p + n, "\r\n", 2);
    out->size += n + 3;
}

void reply_ok(struct reply *r)
{
    buf_append(r->out, "+OK\r\n", 5);
}

/* A line that a stray CR or LF cannot end early: they become spaces, as in Redis. */
static void put_line(struct buf *out, char type, struct bytes text)
{
    uint8_t *p = buf_reserve(out, text.size + 3);
    *p++ = (uint8_t)type;
    for (size_t i = 0; i < text.size; i++)
        *p++ = text.data[i] == '\r' || text.data[i] == '\n' ? ' ' : text.data[i];
    memcpy(p, "\r\n", 2);
    out->size += text.size + 3;
}

void reply_simple(struct reply *r, const char *text)
{
    put_line(r->out, '+', bytes_str(text));
}

void reply_error(struct reply *r, const char *text)
{
    put_line(r->out, '-', bytes_str(text));
}

void reply_errorf(struct reply *r, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ASSERT(size >= 0);
    put_line(r->out, '-',
             bytes_of(text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1));
}

void reply_i64(struct reply *r, int64_t v)
{
    put_head(r->out, ':', v);
}

void reply_bulk(struct reply *r, struct bytes s)
{
    ASSERT(s.size <= INT64_MAX);
    uint8_t *p = buf_reserve(r->out, HEAD_MAX + s.size + 2);
    put_head(r->out, '$', (int64_t)s.size);
    p = r->out->data + r->out->size;
    if (s.size) memcpy(p, s.data, s.size);
    memcpy(p + s.size, "\r\n", 2);
    r->out->size += s.size + 2;
}

void reply_bulk_str(struct reply *r, const char *text)
{
    reply_bulk(r, bytes_str(text));
}

void reply_bulk_i64(struct reply *r, int64_t v)
{
    char text[REPLY_I64_MAX];
    reply_bulk(r, bytes_of(text, reply_format_i64(text, v)));
}

void reply_nil(struct reply *r)
{
    if (r->version >= 3)
        buf_append(r->out, "_\r\n", 3);
    else
        buf_append(r->out, "$-1\r\n", 5);
}

void reply_nil_array(struct reply *r)
{
    if (r->version >= 3)
        buf_append(r->out, "_\r\n", 3);
    else
        buf_append(r->out, "*-1\r\n", 5);
}

void reply_array(struct reply *r, size_t count)
{
    put_head(r->out, '*', (int64_t)count);
}

void reply_map(struct reply *r, size_t pairs)
{
    if (r->version >= 3)
        put_head(r->out, '%', (int64_t)pairs);
    else
        put_head(r->out, '*', (int64_t)pairs * 2);
}

void reply_set(struct reply *r, size_t count)
{
    put_head(r->out, r->version >= 3 ? '~' : '*', (int64_t)count);
}

/* Redis prints doubles with %.17g, which reads back but is not the shortest
 * ("0.10000000000000001"); since 7.2 it prints the shortest that reads back, and so do we. */
void reply_double(struct reply *r, long double v)
{
    char text[BYTES_DOUBLE_MAX] = "nan"; /* of either sign */
    size_t size = isnan(v) ? 3 : bytes_put_double(text, (double)v);
    if (r->version >= 3)
        put_line(r->out, ',', bytes_of(text, size));
    else
        reply_bulk(r, bytes_of(text, size));
}

void reply_bool(struct reply *r, bool v)
{
    if (r->version >= 3)
        buf_append(r->out, v ? "#t\r\n" : "#f\r\n", 4);
    else
        put_head(r->out, ':', v);
}

void reply_verbatim(struct reply *r, struct bytes text)
{
    if (r->version < 3) {
        reply_bulk(r, text);
        return;
    }
    put_head(r->out, '=', (int64_t)text.size + 4);
    buf_append(r->out, "txt:", 4);
    buf_append_bytes(r->out, text);
    buf_append(r->out, "\r\n", 2);
}
