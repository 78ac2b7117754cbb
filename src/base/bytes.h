/* A borrowed run of bytes, and the few things every layer does with one. Never NUL-terminated.
 * Pure. */
#ifndef SYNOD_BASE_BYTES_H
#define SYNOD_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data; /* may be NULL iff size is 0 */
    size_t size;
};

static inline struct bytes bytes_of(const void *data, size_t size)
{
    return (struct bytes){(const uint8_t *)data, size};
}

static inline struct bytes bytes_str(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

/* A string literal as bytes. */
#define BYTES(literal) ((struct bytes){(const uint8_t *)("" literal), sizeof(literal) - 1})

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* memcmp order, shorter first on a common prefix: < 0, 0, > 0. */
static inline int bytes_compare(struct bytes a, struct bytes b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common ? memcmp(a.data, b.data, common) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static inline bool bytes_begins(struct bytes a, const char *word)
{
    size_t size = strlen(word);
    return a.size >= size && memcmp(a.data, word, size) == 0;
}

/* ASCII letters compared without case, as Redis compares command and option names. */
bool bytes_equal_nocase(struct bytes a, const char *word);

/* Strict decimal, as Redis's string2ll: no spaces, no plus, no leading zeros, whole range of int64.
 * False leaves *out alone. */
bool bytes_to_i64(struct bytes text, int64_t *out);

/* Exactly 16 hexadecimal digits, in any case. False leaves *out alone. */
bool bytes_to_hex64(struct bytes text, uint64_t *out);

/* Strict floating point, as Redis's string2ld accepts it (no spaces, no NaN). False leaves *out
 * alone. */
bool bytes_to_double(struct bytes text, long double *out);

/* The shortest decimal that reads back as v, or inf, nan. Returns its size, below BYTES_DOUBLE_MAX;
 * a NUL follows. */
#define BYTES_DOUBLE_MAX 32
size_t bytes_put_double(char text[BYTES_DOUBLE_MAX], double v);

/* Glob match with *, ?, [a-z], [^x] and backslash, as Redis's KEYS; linear in practice and bounded
 * in nesting. */
bool bytes_glob(struct bytes pattern, struct bytes text, bool nocase);

/* Big-endian, so that memcmp order is number order. The caller provides the room. */
static inline void be16_put(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline uint16_t be16_get(const uint8_t *p)
{
    return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}
static inline void be64_put(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)(v >> (56 - 8 * i));
}
static inline uint64_t be64_get(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) v = v << 8 | p[i];
    return v;
}

#endif
