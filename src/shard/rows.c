#include "shard/rows.h"
#include "base/assert.h"
#include "base/mem.h"

struct row {
    uint8_t *data; /* the key, then the value */
    size_t key_size, value_size;
};

struct known { /* no row in [lo, hi) but those we have; lo < hi */
    struct buf lo, hi;
};

struct rows {
    struct row *row; /* by key, each inside a known range */
    size_t row_count, row_capacity;
    struct known *known; /* rising; between any two there is a gap */
    size_t known_count, known_capacity;
    size_t bytes;
};

/* Makes room for `added` items in place of the `removed` ones at `at`. Returns the array. */
static void *splice(void *array, size_t *count, size_t *capacity, size_t item, size_t at,
                    size_t removed, size_t added)
{
    size_t need = *count - removed + added, behind = *count - at - removed;
    ASSERT(at + removed <= *count);
    if (need > *capacity) {
        *capacity = need > 2 * *capacity ? need : 2 * *capacity;
        array = mem_realloc(array, *capacity * item);
    }
    uint8_t *to = array;
    if (behind) memmove(to + (at + added) * item, to + (at + removed) * item, behind * item);
    *count = need;
    return array;
}

/* ---- rows ---- */

static struct bytes row_key(const struct row *w)
{
    return bytes_of(w->data, w->key_size);
}

static struct bytes row_value(const struct row *w)
{
    return bytes_of(w->data + w->key_size, w->value_size);
}

/* The first whose key is not below `key`; row_count if there is none. */
static size_t row_find(const struct rows *r, struct bytes key)
{
    size_t a = 0, b = r->row_count;
    while (a < b) {
        size_t mid = a + (b - a) / 2;
        if (bytes_compare(row_key(&r->row[mid]), key) < 0)
            a = mid + 1;
        else
            b = mid;
    }
    return a;
}

static void row_set(struct rows *r, size_t at, struct bytes key, struct bytes value)
{
    struct row w = {mem_alloc(key.size + value.size + 1), key.size, value.size};
    memcpy(w.data, key.data, key.size);
    memcpy(w.data + key.size, value.data, value.size);
    r->row[at] = w;
    r->bytes += sizeof w + key.size + value.size;
}

static void row_drop(struct rows *r, struct row *w)
{
    r->bytes -= sizeof *w + w->key_size + w->value_size;
    mem_free(w->data);
}

/* Takes the rows in [lo, hi) out and makes room for `count` others: the first of these. */
static size_t rows_replace(struct rows *r, struct bytes lo, struct bytes hi, size_t count)
{
    size_t at = row_find(r, lo), end = row_find(r, hi);
    for (size_t i = at; i < end; i++) row_drop(r, &r->row[i]);
    r->row = splice(r->row, &r->row_count, &r->row_capacity, sizeof *r->row, at, end - at, count);
    return at;
}

/* ---- what is known ---- */

/* The first range that ends at `key` or behind it; known_count if there is none. */
static size_t known_find(const struct rows *r, struct bytes key)
{
    size_t a = 0, b = r->known_count;
    while (a < b) {
        size_t mid = a + (b - a) / 2;
        if (bytes_compare(buf_bytes(&r->known[mid].hi), key) < 0)
            a = mid + 1;
        else
            b = mid;
    }
    return a;
}

/* The first range that ends behind `key`. */
static size_t known_behind(const struct rows *r, struct bytes key)
{
    size_t i = known_find(r, key);
    return i < r->known_count && bytes_equal(buf_bytes(&r->known[i].hi), key) ? i + 1 : i;
}

static bool known_begins_below(const struct rows *r, size_t i, struct bytes key)
{
    return i < r->known_count && bytes_compare(buf_bytes(&r->known[i].lo), key) < 0;
}

/* The range that `key` itself lies in, or NULL. */
static const struct known *known_from(const struct rows *r, struct bytes key)
{
    size_t i = known_behind(r, key);
    if (i == r->known_count || bytes_compare(buf_bytes(&r->known[i].lo), key) > 0) return NULL;
    return &r->known[i];
}

/* The range that what is just below `key` lies in, or NULL. */
static const struct known *known_below(const struct rows *r, struct bytes key)
{
    size_t i = known_find(r, key);
    return known_begins_below(r, i, key) ? &r->known[i] : NULL;
}

static void known_drop(struct rows *r, struct known *k)
{
    r->bytes -= sizeof *k + k->lo.size + k->hi.size;
    buf_deinit(&k->lo);
    buf_deinit(&k->hi);
}

/* Puts [lo, hi) in place of all that it overlaps or touches, widened by them. */
static void known_add(struct rows *r, struct bytes lo, struct bytes hi)
{
    size_t at = known_find(r, lo), end = at;
    while (end < r->known_count && bytes_compare(buf_bytes(&r->known[end].lo), hi) <= 0) end++;
    if (at < end) {
        struct bytes first = buf_bytes(&r->known[at].lo), last = buf_bytes(&r->known[end - 1].hi);
        if (bytes_compare(first, lo) < 0) lo = first;
        if (bytes_compare(last, hi) > 0) hi = last;
    }
    struct known k = {buf_copy(lo), buf_copy(hi)};
    r->bytes += sizeof k + lo.size + hi.size;
    for (size_t i = at; i < end; i++) known_drop(r, &r->known[i]);
    r->known = splice(r->known, &r->known_count, &r->known_capacity, sizeof k, at, end - at, 1);
    r->known[at] = k;
}

/* ---- the whole ---- */

struct rows *rows_new(void)
{
    return mem_zalloc(sizeof(struct rows));
}

void rows_clear(struct rows *r)
{
    for (size_t i = 0; i < r->row_count; i++) row_drop(r, &r->row[i]);
    for (size_t i = 0; i < r->known_count; i++) known_drop(r, &r->known[i]);
    r->row_count = r->known_count = 0;
    ASSERT(r->bytes == 0);
}

void rows_free(struct rows *r)
{
    if (!r) return;
    rows_clear(r);
    mem_free(r->row);
    mem_free(r->known);
    mem_free(r);
}

size_t rows_bytes(const struct rows *r)
{
    return r->bytes;
}

/* ---- taking an answer ---- */

/* Reads over `count` rows: whether they are there, their keys rising and in [lo, hi). */
static bool rows_sound(struct reader *in, struct bytes lo, struct bytes hi, uint32_t count)
{
    struct bytes last = {0};
    bool sound = !in->bad && bytes_compare(lo, hi) < 0;
    for (uint32_t i = 0; sound && i < count; i++) {
        struct bytes key = reader_blob(in);
        (void)reader_blob(in);
        bool above = i ? bytes_compare(key, last) > 0 : bytes_compare(key, lo) >= 0;
        sound = !in->bad && above && bytes_compare(key, hi) < 0;
        last = key;
    }
    return sound;
}

bool rows_add(struct rows *r, struct reader *in)
{
    struct bytes lo = reader_blob(in), hi = reader_blob(in);
    uint32_t count = reader_u32(in);
    struct reader again = *in;
    if (!rows_sound(in, lo, hi, count)) return false; /* so `count` is bounded by what is there */

    size_t at = rows_replace(r, lo, hi, count);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes key = reader_blob(&again), value = reader_blob(&again);
        row_set(r, at + i, key, value);
    }
    known_add(r, lo, hi);
    return true;
}

/* ---- making one ---- */

struct taken {
    struct buf rows; /* as they travel, but in the order in which they were visited */
    struct buf last; /* key */
    size_t *end;     /* of each, in rows */
    size_t count, capacity, bytes_max;
};

static bool take(void *ctx, struct bytes key, struct bytes value)
{
    struct taken *t = ctx;
    if (t->count && t->rows.size + key.size + value.size > t->bytes_max) return false;
    if (t->count == t->capacity) {
        t->capacity = t->capacity ? 2 * t->capacity : 16;
        t->end = mem_realloc(t->end, t->capacity * sizeof *t->end);
    }
    buf_blob(&t->rows, key);
    buf_blob(&t->rows, value);
    t->end[t->count++] = t->rows.size;
    buf_clear(&t->last);
    buf_append_bytes(&t->last, key);
    return true;
}

static void taken_write(const struct taken *t, bool reverse, struct buf *out)
{
    ASSERT(t->count <= UINT32_MAX);
    buf_u32(out, (uint32_t)t->count);
    for (size_t i = 0; i < t->count; i++) {
        size_t at = reverse ? t->count - 1 - i : i, begin = at ? t->end[at - 1] : 0;
        buf_append(out, t->rows.data + begin, t->end[at] - begin);
    }
}

/* The least key above `key`; borrowed from `out`. */
static struct bytes key_above(struct buf *out, struct bytes key)
{
    buf_append_bytes(out, key);
    buf_u8(out, 0);
    return buf_bytes(out);
}

/* A range that is empty (lo >= hi) is answered as it was asked; rows_add refuses it. */
bool rows_encode(struct view *v, struct bytes lo, struct bytes hi, bool reverse, size_t bytes_max,
                 struct buf *out)
{
    struct taken t = {.bytes_max = bytes_max};
    struct buf end = {0};
    struct bytes value;
    enum view_result result;
    if (hi.size == 0) {
        result = view_get(v, lo, &value);
        if (result == VIEW_FOUND) (void)take(&t, lo, value);
        hi = key_above(&end, lo);
    } else {
        result = view_range(v, lo, hi, reverse, take, &t);
        bool cut = result == VIEW_FOUND; /* by take(), which had at least one */
        if (cut && reverse) lo = buf_bytes(&t.last);
        if (cut && !reverse) hi = key_above(&end, buf_bytes(&t.last));
    }
    if (result != VIEW_MISS) {
        buf_blob(out, lo);
        buf_blob(out, hi);
        taken_write(&t, reverse, out);
    }
    buf_deinit(&t.rows);
    buf_deinit(&t.last);
    buf_deinit(&end);
    mem_free(t.end);
    return result != VIEW_MISS;
}

/* ---- as a view's source ---- */

static enum view_result source_get(void *ctx, struct bytes key, struct bytes *value)
{
    const struct rows *r = ctx;
    *value = (struct bytes){0};
    if (!known_from(r, key)) return VIEW_MISS;
    size_t at = row_find(r, key);
    if (at == r->row_count || !bytes_equal(row_key(&r->row[at]), key)) return VIEW_ABSENT;
    *value = row_value(&r->row[at]);
    return VIEW_FOUND;
}

static enum view_result range_rising(const struct rows *r, struct bytes lo, struct bytes hi,
                                     view_each *each, void *ctx)
{
    const struct known *k = known_from(r, lo);
    if (!k) return VIEW_MISS;
    bool whole = bytes_compare(buf_bytes(&k->hi), hi) >= 0;
    size_t end = row_find(r, whole ? hi : buf_bytes(&k->hi));
    for (size_t i = row_find(r, lo); i < end; i++)
        if (!each(ctx, row_key(&r->row[i]), row_value(&r->row[i]))) return VIEW_FOUND;
    return whole ? VIEW_ABSENT : VIEW_MISS;
}

static enum view_result range_falling(const struct rows *r, struct bytes lo, struct bytes hi,
                                      view_each *each, void *ctx)
{
    const struct known *k = known_below(r, hi);
    if (!k) return VIEW_MISS;
    bool whole = bytes_compare(buf_bytes(&k->lo), lo) <= 0;
    size_t begin = row_find(r, whole ? lo : buf_bytes(&k->lo));
    for (size_t i = row_find(r, hi); i > begin; i--)
        if (!each(ctx, row_key(&r->row[i - 1]), row_value(&r->row[i - 1]))) return VIEW_FOUND;
    return whole ? VIEW_ABSENT : VIEW_MISS;
}

static enum view_result source_range(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                                     view_each *each, void *each_ctx)
{
    if (bytes_compare(lo, hi) >= 0) return VIEW_ABSENT;
    return (reverse ? range_falling : range_rising)(ctx, lo, hi, each, each_ctx);
}

struct view_source rows_source(struct rows *r)
{
    return (struct view_source){source_get, source_range, r};
}

static void rewrite(struct buf *b, struct bytes s)
{
    buf_clear(b);
    buf_append_bytes(b, s);
}

static void missing_rising(const struct rows *r, struct buf *lo, struct buf *hi)
{
    size_t i = known_behind(r, buf_bytes(lo));
    if (known_from(r, buf_bytes(lo))) rewrite(lo, buf_bytes(&r->known[i++].hi));
    if (known_begins_below(r, i, buf_bytes(hi))) rewrite(hi, buf_bytes(&r->known[i].lo));
}

static void missing_falling(const struct rows *r, struct buf *lo, struct buf *hi)
{
    size_t i = known_find(r, buf_bytes(hi)); /* the one before ends below hi */
    if (known_below(r, buf_bytes(hi))) rewrite(hi, buf_bytes(&r->known[i].lo));
    if (i > 0 && bytes_compare(buf_bytes(&r->known[i - 1].hi), buf_bytes(lo)) > 0)
        rewrite(lo, buf_bytes(&r->known[i - 1].hi));
}

/* Skips what is known where the reading begins, then ends where something is known again. If
 * nothing is missing, both are empty. */
void rows_missing(const struct rows *r, struct buf *lo, struct buf *hi, bool reverse)
{
    if (hi->size == 0) {
        if (known_from(r, buf_bytes(lo))) buf_clear(lo);
        return;
    }
    (reverse ? missing_falling : missing_rising)(r, lo, hi);
    if (bytes_compare(buf_bytes(lo), buf_bytes(hi)) < 0) return;
    buf_clear(lo);
    buf_clear(hi);
}
