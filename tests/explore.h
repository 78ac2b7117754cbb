/* What the explorers share: worlds kept as words, the set of those that were seen, and a way back
 * from an assertion. For one translation unit each, which defines the world. */
#ifndef SYNOD_TESTS_EXPLORE_H
#define SYNOD_TESTS_EXPLORE_H

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- storage of worlds: words, runs of zeros squeezed out ---- */

/* Returns how many words it wrote: less than twice as many as there were. */
static inline size_t squeeze(const void *from, size_t size, uint64_t *to)
{
    const uint64_t *in = from;
    size_t words = size / 8, n = 0;
    for (size_t i = 0; i < words;) {
        size_t zeros = 0, at, full;
        while (i + zeros < words && in[i + zeros] == 0) zeros++;
        at = i + zeros;
        for (full = 0; at + full < words && in[at + full] != 0; full++) {
        }
        to[n++] = (uint64_t)zeros << 32 | full;
        memcpy(&to[n], &in[at], full * 8);
        n += full;
        i = at + full;
    }
    return n;
}

static inline void expand(const uint64_t *from, void *to, size_t size)
{
    uint64_t *out = to;
    size_t words = size / 8;
    for (size_t i = 0; i < words;) {
        uint64_t zeros = *from >> 32, full = *from & UINT32_MAX;
        from++;
        memset(&out[i], 0, zeros * 8);
        memcpy(&out[i + zeros], from, full * 8);
        from += full;
        i += zeros + full;
    }
}

static inline void *must(void *p)
{
    if (!p) fprintf(stderr, "explorer: out of memory\n"), exit(2);
    return p;
}

/* ---- the set of those that were seen, by their hashes ---- */

struct hash128 {
    uint64_t a, b;
};

struct seen {
    struct hash128 *slot;
    uint64_t mask;
};

static inline void seen_init(struct seen *s, uint64_t count_max)
{
    uint64_t capacity = 1;
    while (capacity < count_max * 2) capacity *= 2;
    s->mask = capacity - 1;
    s->slot = must(calloc(capacity, sizeof *s->slot));
}

/* False: it was there. */
static inline bool seen_add(struct seen *s, struct hash128 h)
{
    h.a |= 1;
    for (uint64_t i = h.b & s->mask;; i = (i + 1) & s->mask) {
        if (s->slot[i].a == h.a && s->slot[i].b == h.b) return false;
        if (s->slot[i].a) continue;
        s->slot[i] = h;
        return true;
    }
}

/* ---- assertions ---- */

/* An assertion that fails comes back to where sigsetjmp(on_assert, 0) was called. */
extern sigjmp_buf on_assert;

static inline void on_abort(int sig)
{
    sigset_t set;
    (void)sig;
    sigemptyset(&set);
    sigaddset(&set, SIGABRT);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    siglongjmp(on_assert, 1);
}

#endif
