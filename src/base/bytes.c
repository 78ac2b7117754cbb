#include "base/bytes.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

bool bytes_equal_nocase(struct bytes a, const char *word)
{
    size_t i = 0;
    for (; i < a.size && word[i]; i++)
        if (lower(a.data[i]) != lower((uint8_t)word[i])) return false;
    return i == a.size && !word[i];
}

bool bytes_to_i64(struct bytes text, int64_t *out)
{
    bool negative = text.size && text.data[0] == '-';
    size_t i = negative;
    uint64_t v = 0, limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;

    if (i == text.size || text.size > 20) return false;
    if (text.data[i] == '0' && (negative || text.size > 1)) return false;
    for (; i < text.size; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        if (digit > 9 || v > (limit - digit) / 10) return false;
        v = v * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool bytes_to_hex64(struct bytes text, uint64_t *out)
{
    uint64_t v = 0;
    if (text.size != 16) return false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i], letter = (uint8_t)((c | 0x20) - 'a');
        bool digit = c >= '0' && c <= '9';
        if (!digit && letter > 5) return false;
        v = v << 4 | (uint64_t)(digit ? c - '0' : letter + 10);
    }
    *out = v;
    return true;
}

bool bytes_to_double(struct bytes text, long double *out)
{
    char copy[5 * 1024], *end; /* Redis writes long doubles out in full: up to 4951 characters */
    if (text.size == 0 || text.size >= sizeof copy || isspace(text.data[0])) return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    errno = 0;
    long double v = strtold(copy, &end);
    if (end != copy + text.size || isnan(v)) return false;
    if (errno == ERANGE && (isinf(v) || (double)v == 0))
        return false; /* "inf" is a number, 1e5000 is not */
    *out = v;
    return true;
}

/* One [class] at *p (which stands on the '['); moves *p to its last byte. Redis: ']' ends it, '\'
 * quotes, a-z in any order. */
size_t bytes_put_double(char text[BYTES_DOUBLE_MAX], double v)
{
    int size = 0;
    for (int digits = 15; digits <= 17; digits++) {
        size = snprintf(text, BYTES_DOUBLE_MAX, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    return (size_t)size;
}

static bool glob_class(struct bytes pat, size_t *p, uint8_t c, bool nocase)
{
    size_t i = *p + 1;
    bool negate = i < pat.size && pat.data[i] == '^', hit = false;
    if (negate) i++;
    for (; i < pat.size && pat.data[i] != ']'; i++) {
        uint8_t lo = pat.data[i], hi;
        if (lo == '\\' && i + 1 < pat.size) lo = pat.data[++i];
        hi = lo;
        if (i + 2 < pat.size && pat.data[i + 1] == '-') {
            hi = pat.data[i + 2];
            i += 2;
        }
        if (nocase) lo = lower(lo), hi = lower(hi);
        if (lo > hi) {
            uint8_t swap = lo;
            lo = hi, hi = swap;
        }
        if (c >= lo && c <= hi) hit = true;
    }
    *p = i < pat.size ? i : pat.size - 1;
    return hit != negate;
}

/* Greedy with one point of return per '*': the last star is the only one worth going back to. */
bool bytes_glob(struct bytes pat, struct bytes text, bool nocase)
{
    size_t p = 0, t = 0, star = SIZE_MAX, mark = 0;

    while (t < text.size) {
        uint8_t c = nocase ? lower(text.data[t]) : text.data[t];
        size_t at = p;
        bool ok = false;
        if (p < pat.size && pat.data[p] == '*') {
            star = p++;
            mark = t;
            continue;
        }
        if (p < pat.size && pat.data[p] == '?') {
            ok = true;
        } else if (p < pat.size && pat.data[p] == '[') {
            ok = glob_class(pat, &at, c, nocase);
        } else if (p < pat.size) {
            if (pat.data[p] == '\\' && p + 1 < pat.size) at = p + 1;
            ok = (nocase ? lower(pat.data[at]) : pat.data[at]) == c;
        }
        if (ok) {
            p = at + 1;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++mark;
        } else {
            return false;
        }
    }
    while (p < pat.size && pat.data[p] == '*') p++;
    return p == pat.size;
}
