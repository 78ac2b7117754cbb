#include "store/ranges.h"

#include "base/assert.h"
#include "base/mem.h"

#include <stdlib.h>

/* The least key behind all that begin with the prefix: the last byte that can grow grows, what
 * follows it goes. */
static size_t prefix_end(struct bytes prefix, uint8_t *end)
{
    size_t size = prefix.size;
    while (size > 0 && prefix.data[size - 1] == 0xff) size--;
    ASSERT(size > 0); /* no group's range reaches the end of all keys */
    memcpy(end, prefix.data, size);
    end[size - 1]++;
    return size;
}

void ranges_add_trash(struct ranges *r, const struct table *t, uint64_t upto)
{
    size_t count = table_trashed(t, upto, NULL);
    if (count == 0) return;
    ASSERT(r->count + count < SIZE_MAX / sizeof *r->list);
    struct bytes *prefix = mem_alloc(count * sizeof *prefix);
    (void)table_trashed(t, upto, prefix);
    r->list = mem_realloc(r->list, (r->count + count) * sizeof *r->list);
    for (size_t i = 0; i < count; i++) r->list[r->count++].lo = prefix[i];
    mem_free(prefix);
}

static int range_compare(const void *a, const void *b)
{
    return bytes_compare(((const struct engine_range *)a)->lo,
                         ((const struct engine_range *)b)->lo);
}

void ranges_sort(struct ranges *r)
{
    if (r->count == 0) return;
    qsort(r->list, r->count, sizeof *r->list, range_compare);
    size_t bytes = 0;
    for (size_t i = 0; i < r->count; i++) bytes += r->list[i].lo.size;
    uint8_t *at = buf_reserve(&r->ends, bytes); /* once, for the ends point into it */
    for (size_t i = 0; i < r->count; i++) {
        size_t size = prefix_end(r->list[i].lo, at);
        r->list[i].hi = bytes_of(at, size);
        at += size;
    }
}

bool ranges_cover(const struct ranges *r, size_t *at, struct bytes key)
{
    while (*at < r->count && bytes_compare(key, r->list[*at].hi) >= 0) (*at)++;
    return *at < r->count && bytes_compare(key, r->list[*at].lo) >= 0;
}

void ranges_deinit(struct ranges *r)
{
    mem_free(r->list);
    buf_deinit(&r->ends);
    *r = (struct ranges){0};
}
