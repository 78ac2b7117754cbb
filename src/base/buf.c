#include "base/buf.h"
#include "base/assert.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

void buf_deinit(struct buf *b)
{
    mem_free(b->data);
    *b = (struct buf){0};
}

void buf_clear(struct buf *b)
{
    b->size = 0;
}

struct buf buf_copy(struct bytes s)
{
    if (s.size == 0) return (struct buf){0};
    return (struct buf){mem_dup(s.data, s.size), s.size, s.size};
}

uint8_t *buf_grow(struct buf *b, size_t size)
{
    size_t need = b->size + size, capacity = b->capacity ? b->capacity : 64;
    ASSERT(need >= size && need <= SIZE_MAX / 2);
    while (capacity < need) capacity *= 2;
    b->data = mem_realloc(b->data, capacity);
    b->capacity = capacity;
    return b->data + b->size;
}

void buf_append(struct buf *b, const void *data, size_t size)
{
    if (size == 0) return;
    memcpy(buf_reserve(b, size), data, size);
    b->size += size;
}

void buf_drop_front(struct buf *b, size_t size)
{
    ASSERT(size <= b->size);
    if (size == 0) return;
    b->size -= size;
    memmove(b->data, b->data + size, b->size);
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ASSERT(size >= 0);
    (void)vsnprintf((char *)buf_reserve(b, (size_t)size + 1), (size_t)size + 1, format, again);
    va_end(again);
    b->size += (size_t)size;
}

void buf_u16(struct buf *b, uint16_t v)
{
    uint8_t *p = buf_reserve(b, 2);
    for (int i = 0; i < 2; i++) p[i] = (uint8_t)(v >> 8 * i);
    b->size += 2;
}

void buf_u32(struct buf *b, uint32_t v)
{
    uint8_t *p = buf_reserve(b, 4);
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> 8 * i);
    b->size += 4;
}

void buf_u64(struct buf *b, uint64_t v)
{
    uint8_t *p = buf_reserve(b, 8);
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)(v >> 8 * i);
    b->size += 8;
}

void buf_varint(struct buf *b, uint64_t v)
{
    uint8_t *p = buf_reserve(b, 10);
    size_t n = 0;
    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    b->size += n;
}

void buf_blob(struct buf *b, struct bytes s)
{
    buf_varint(b, s.size);
    buf_append_bytes(b, s);
}

struct bytes reader_take(struct reader *r, size_t size)
{
    if (r->bad || reader_left(r) < size) {
        r->bad = true;
        return (struct bytes){0};
    }
    struct bytes s = {r->at, size};
    r->at += size;
    return s;
}

static uint64_t reader_fixed(struct reader *r, size_t size)
{
    struct bytes s = reader_take(r, size);
    uint64_t v = 0;
    for (size_t i = 0; i < s.size; i++) v |= (uint64_t)s.data[i] << 8 * i;
    return v;
}

uint8_t reader_u8(struct reader *r)
{
    return (uint8_t)reader_fixed(r, 1);
}

uint16_t reader_u16(struct reader *r)
{
    return (uint16_t)reader_fixed(r, 2);
}

uint32_t reader_u32(struct reader *r)
{
    return (uint32_t)reader_fixed(r, 4);
}

uint64_t reader_u64(struct reader *r)
{
    return reader_fixed(r, 8);
}

uint64_t reader_long_varint(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        struct bytes s = reader_take(r, 1);
        if (r->bad) return 0;
        if (shift == 63 && s.data[0] > 1) break;
        v |= (uint64_t)(s.data[0] & 0x7f) << shift;
        if (!(s.data[0] & 0x80)) return v;
    }
    r->bad = true;
    return 0;
}

uint64_t reader_bounded(struct reader *r, uint64_t max)
{
    uint64_t v = reader_varint(r);
    if (v > max) r->bad = true;
    return r->bad ? 0 : v;
}
