/* A growing byte buffer and the reader that takes apart what it wrote: integers little-endian,
 * varints LEB128.
 *
 * struct buf owns its memory; {0} is a valid empty one. Pointers into it live until the next
 * append. struct reader never reads past its end: the first short read sets `bad`, and from then on
 * every get returns 0 or empty, so a decoder checks once at the end. */
#ifndef SYNOD_BASE_BUF_H
#define SYNOD_BASE_BUF_H

#include "base/bytes.h"

struct buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

void buf_deinit(struct buf *b);
void buf_clear(struct buf *b);       /* empties, keeps the memory */
struct buf buf_copy(struct bytes s); /* a new one of just this size */
/* Room for `size` more bytes; returns where they go. Does not move `size`. */
uint8_t *buf_grow(struct buf *b, size_t size);
static inline uint8_t *buf_reserve(struct buf *b, size_t size)
{
    if (__builtin_expect(b->capacity - b->size < size, 0)) return buf_grow(b, size);
    return b->data + b->size;
}
void buf_append(struct buf *b, const void *data, size_t size);
/* Removes the first `size` bytes (memmove). */
void buf_drop_front(struct buf *b, size_t size);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline struct bytes buf_bytes(const struct buf *b)
{
    return (struct bytes){b->data, b->size};
}
static inline void buf_append_bytes(struct buf *b, struct bytes s)
{
    buf_append(b, s.data, s.size);
}
static inline void buf_u8(struct buf *b, uint8_t v)
{
    *buf_reserve(b, 1) = v;
    b->size += 1;
}
void buf_u16(struct buf *b, uint16_t v);
void buf_u32(struct buf *b, uint32_t v);
void buf_u64(struct buf *b, uint64_t v);
void buf_varint(struct buf *b, uint64_t v);
static inline uint32_t varint_size(uint64_t v)
{
    uint32_t size = 1;
    while (v >>= 7) size++;
    return size;
}
/* varint length, then the bytes. */
void buf_blob(struct buf *b, struct bytes s);

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};

static inline struct reader reader_of(struct bytes s)
{
    return (struct reader){s.data, s.data + s.size, false};
}
static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
uint64_t reader_long_varint(struct reader *r);
static inline uint64_t reader_varint(struct reader *r)
{
    if (!r->bad && r->at < r->end && *r->at < 0x80) return *r->at++; /* most are small */
    return reader_long_varint(r);
}
uint64_t reader_bounded(struct reader *r, uint64_t max); /* a varint; above max: bad, and 0 */
struct bytes reader_take(struct reader *r, size_t size);
static inline struct bytes reader_blob(struct reader *r)
{
    uint64_t size = reader_varint(r);
    struct bytes s = {r->at, (size_t)size};
    if (r->bad || size > reader_left(r)) {
        r->bad = true;
        return (struct bytes){0};
    }
    r->at += size;
    return s;
}

#endif
