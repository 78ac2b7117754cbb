#include "node/read_ahead.h"
#include "base/mem.h"
#include "ring/slot.h"
#include "shard/keys.h"

void read_ahead_free(struct read_ahead *a)
{
    buf_deinit(&a->lo), buf_deinit(&a->hi), buf_deinit(&a->rows);
    mem_free(a->row);
}

static struct bytes row_key(const struct read_ahead *a, uint32_t i)
{
    return bytes_of(a->rows.data + a->row[i].at, a->row[i].key_size);
}

static struct bytes row_value(const struct read_ahead *a, uint32_t i)
{
    return bytes_of(a->rows.data + a->row[i].at + a->row[i].key_size, a->row[i].value_size);
}

/* The first row whose key is not below it. */
static uint32_t row_find(const struct read_ahead *a, struct bytes key)
{
    uint32_t lo = 0, hi = a->count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (bytes_compare(row_key(a, mid), key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* ---- reading ---- */

static bool take_row(void *ctx, struct bytes key, struct bytes value)
{
    struct read_ahead *a = ctx;
    bool enough = a->rows.size >= READ_AHEAD_BYTES;
    if (enough && be16_get(key.data) != be16_get(row_key(a, a->count - 1).data)) {
        buf_clear(&a->hi);
        keys_slot(&a->hi, be16_get(key.data));
        return false;
    }
    if (a->count && a->rows.size + key.size + value.size > READ_AHEAD_BYTES_MAX) {
        buf_clear(&a->hi);
        buf_append_bytes(&a->hi, key);
        return false;
    }
    if (a->count == a->capacity) {
        a->capacity = 2 * a->capacity + 64;
        a->row = mem_realloc(a->row, a->capacity * sizeof *a->row);
    }
    a->row[a->count++] =
        (struct read_ahead_row){(uint32_t)a->rows.size, (uint32_t)key.size, (uint32_t)value.size};
    buf_append_bytes(&a->rows, key);
    buf_append_bytes(&a->rows, value);
    return true;
}

/* From `from` on, as far as a walk to `hi` may have to read: at least one row, if there is one. */
static enum engine_result read_from(struct read_ahead *a, struct bytes from, struct bytes hi)
{
    struct buf lo = buf_copy(from); /* it may be our own */
    buf_clear(&a->rows);
    a->count = a->next = 0;
    buf_clear(&a->hi);
    keys_slot(&a->hi, (uint16_t)(be16_get(lo.data) + 1));
    if (bytes_compare(buf_bytes(&a->hi), hi) < 0) {
        buf_clear(&a->hi);
        buf_append_bytes(&a->hi, hi);
    }
    struct buf to = buf_copy(buf_bytes(&a->hi)); /* take_row moves a->hi */
    enum engine_result r = space_pin_range(a->state, buf_bytes(&lo), buf_bytes(&to), take_row, a);
    buf_deinit(&a->lo), buf_deinit(&to);
    a->lo = lo;
    if (r == ENGINE_E_IO) buf_clear(&a->hi), a->count = a->next = 0;
    return r;
}

static bool is_here(const struct read_ahead *a, struct bytes lo)
{
    return a->hi.size && bytes_compare(buf_bytes(&a->lo), lo) <= 0 &&
           bytes_compare(lo, buf_bytes(&a->hi)) < 0;
}

/* ---- walking ---- */

/* The same. Who reads the rows below one key after the other begins where the last visit ended. */
static uint32_t row_near(const struct read_ahead *a, struct bytes key)
{
    uint32_t i = a->next;
    bool right = i <= a->count && (i == 0 || bytes_compare(row_key(a, i - 1), key) < 0) &&
                 (i == a->count || bytes_compare(row_key(a, i), key) >= 0);
    return right ? i : row_find(a, key);
}

/* What is here of [lo, hi). False: each() wants no more. */
static bool visit(struct read_ahead *a, struct bytes lo, struct bytes hi,
                  bool (*each)(void *ctx, struct bytes key, struct bytes value), void *ctx)
{
    uint32_t i = row_near(a, lo);
    for (; i < a->count; i++) {
        struct bytes key = row_key(a, i);
        if (bytes_compare(key, hi) >= 0) break;
        if (!each(ctx, key, row_value(a, i))) return false;
    }
    a->next = i;
    return true;
}

static enum engine_result walk(struct read_ahead *a, struct bytes lo, struct bytes hi,
                               bool (*each)(void *ctx, struct bytes key, struct bytes value),
                               void *ctx)
{
    for (;;) {
        if (!is_here(a, lo)) {
            if (read_from(a, lo, hi) == ENGINE_E_IO) return ENGINE_E_IO;
            lo = buf_bytes(&a->lo); /* it may have been a->hi */
        }
        if (!visit(a, lo, hi, each, ctx)) return ENGINE_FOUND;
        if (bytes_compare(buf_bytes(&a->hi), hi) >= 0) return ENGINE_ABSENT;
        lo = buf_bytes(&a->hi);
    }
}

enum engine_result read_ahead_range(struct read_ahead *a, struct bytes lo, struct bytes hi,
                                    bool (*each)(void *ctx, struct bytes key, struct bytes value),
                                    void *ctx)
{
    if (a->walks) {
        bool here = is_here(a, lo) && bytes_compare(hi, buf_bytes(&a->hi)) <= 0;
        if (!here) return space_pin_range(a->state, lo, hi, each, ctx);
        return visit(a, lo, hi, each, ctx) ? ENGINE_ABSENT : ENGINE_FOUND;
    }
    a->walks = true;
    enum engine_result r = walk(a, lo, hi, each, ctx);
    a->walks = false;
    return r;
}
