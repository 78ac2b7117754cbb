#include "shard/view.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "shard/effects.h"
#include "shard/keys.h"

#include <stdlib.h>

#define INDEX_FROM 8 /* fewer writes are searched one by one */

void view_init(struct view *v)
{
    *v = (struct view){0};
}

void view_deinit(struct view *v)
{
    buf_deinit(&v->effects);
    buf_deinit(&v->miss_lo);
    buf_deinit(&v->miss_hi);
    mem_free(v->writes);
    mem_free(v->index);
    mem_free(v->order);
    *v = (struct view){0};
}

void view_begin(struct view *v, const struct view_source *source, int64_t now_ms,
                uint64_t random_seed, uint64_t objid_next, uint16_t slot_lo, uint16_t slot_hi)
{
    v->source = *source;
    v->now_ms = now_ms;
    v->keys = 0;
    prng_init(&v->random, random_seed);
    v->objid_next = objid_next;
    v->slot_lo = slot_lo;
    v->slot_hi = slot_hi;
    buf_clear(&v->effects);
    v->write_count = v->order_count = 0; /* the index is made anew when it is needed */
    v->wiped = v->alone = v->missed = false;
    v->refused = VIEW_ALLOWED;
    v->effects_max = SIZE_MAX;
    v->reply = NULL;
    v->watch = NULL;
    v->locks = NULL;
    v->scripts = NULL;
    v->touch = NULL;
    v->hold = NULL;
    v->config = (struct bytes){0};
}

/* ---- refusing ---- */

static void refuse(struct view *v, enum view_refusal why)
{
    if (!v->refused) v->refused = (uint8_t)why;
    v->missed = true;
}

static bool is_foreign(const struct view *v, struct bytes key)
{
    uint16_t slot = key.size >= 2 ? be16_get(key.data) : UINT16_MAX;
    if (MUTANT(MUTANT_SLOTS_BEYOND)) return false;
    return slot < v->slot_lo || slot >= v->slot_hi;
}

static bool may_write(struct view *v, struct bytes key, size_t value_size)
{
    ASSERT(!v->alone);
    if (is_foreign(v, key))
        refuse(v, VIEW_FOREIGN);
    else if (v->effects.size + key.size + value_size > v->effects_max)
        refuse(v, VIEW_EFFECTS_TOO_LARGE);
    return !v->refused;
}

static bool may_read(struct view *v, struct bytes key)
{
    if (is_foreign(v, key)) refuse(v, VIEW_FOREIGN);
    return !v->refused;
}

/* [lo, hi): hi may be the end of the group. */
static bool may_read_range(struct view *v, struct bytes lo, struct bytes hi)
{
    uint16_t end = hi.size >= 2 ? be16_get(hi.data) : UINT16_MAX;
    if (is_foreign(v, lo) || end > v->slot_hi || (end == v->slot_hi && hi.size > 2))
        refuse(v, VIEW_FOREIGN);
    return !v->refused;
}

/* Asked before each value that is read, since what is read is what makes replies grow. */
static bool reply_full(struct view *v)
{
    if (v->reply && v->reply->size > v->reply_max) refuse(v, VIEW_REPLY_TOO_LARGE);
    return v->refused;
}

static struct bytes write_key(const struct view *v, const struct view_write *w)
{
    return bytes_of(v->effects.data + w->key_at, w->key_size);
}

static struct bytes write_value(const struct view *v, const struct view_write *w)
{
    return bytes_of(v->effects.data + w->value_at, w->value_size);
}

bool view_touch(struct view *v, struct bytes key, bool writes)
{
    if (v->missed) return false;
    if (!v->touch || v->touch(v->touch_ctx, v, key, writes)) return true;
    v->missed = true;
    return false;
}

/* ---- finding one's own writes ---- */

static uint32_t *index_slot(const struct view *v, struct bytes key)
{
    uint32_t i = (uint32_t)hash64(key, 1) & v->index_mask;
    while (v->index[i] && !bytes_equal(write_key(v, &v->writes[v->index[i] - 1]), key))
        i = (i + 1) & v->index_mask;
    return &v->index[i];
}

/* Indexes all writes anew, in a table at most half full. */
static void index_make(struct view *v)
{
    uint32_t capacity = v->index ? v->index_mask + 1 : 64;
    while (capacity < 4 * v->write_count) capacity *= 2;
    mem_free(v->index);
    v->index = mem_zalloc(capacity * sizeof *v->index);
    v->index_mask = capacity - 1;
    for (uint32_t i = 0; i < v->write_count; i++)
        *index_slot(v, write_key(v, &v->writes[i])) = i + 1;
}

static struct view_write *write_find(const struct view *v, struct bytes key)
{
    if (v->write_count > INDEX_FROM) {
        uint32_t i = *index_slot(v, key);
        return i ? &v->writes[i - 1] : NULL;
    }
    for (uint32_t i = 0; i < v->write_count; i++)
        if (bytes_equal(write_key(v, &v->writes[i]), key)) return &v->writes[i];
    return NULL;
}

static void write_add(struct view *v, const struct view_write *w)
{
    struct view_write *old = write_find(v, write_key(v, w));
    if (old) {
        *old = *w;
        return;
    }
    if (v->write_count == v->write_capacity) {
        v->write_capacity = v->write_capacity ? 2 * v->write_capacity : 16;
        v->writes = mem_realloc(v->writes, v->write_capacity * sizeof *v->writes);
    }
    v->writes[v->write_count++] = *w;
    if (v->write_count <= INDEX_FROM) return;
    if (v->write_count == INDEX_FROM + 1 || v->write_count * 2 > v->index_mask) {
        index_make(v);
    } else {
        *index_slot(v, write_key(v, w)) = v->write_count;
    }
}

/* ---- writing ---- */

/* Makes room for one more effect; slices of our own effects (a value read back, a key of another
 * write) are moved along. */
static void effects_room(struct view *v, struct bytes *key, struct bytes *value)
{
    const uint8_t *was = v->effects.data;
    size_t had = v->effects.size;
    buf_reserve(&v->effects, key->size + value->size + 32);
    if (!was) return;
    if (key->data >= was && key->data < was + had) key->data = v->effects.data + (key->data - was);
    if (value->data >= was && value->data < was + had)
        value->data = v->effects.data + (value->data - was);
}

void view_put(struct view *v, struct bytes key, struct bytes value)
{
    if (!may_write(v, key, value.size)) return;
    effects_room(v, &key, &value);
    effects_put(&v->effects, key, value);
    ASSERT(v->effects.size <= UINT32_MAX);

    struct view_write w = {.key_size = (uint32_t)key.size, .value_size = (uint32_t)value.size};
    w.value_at = (uint32_t)(v->effects.size - value.size);
    w.key_at = w.value_at - varint_size(value.size) - w.key_size;
    write_add(v, &w);
}

void view_del(struct view *v, struct bytes key)
{
    struct bytes none = {0};
    if (!may_write(v, key, 0)) return;
    effects_room(v, &key, &none);
    effects_del(&v->effects, key);
    ASSERT(v->effects.size <= UINT32_MAX);

    struct view_write w = {.key_size = (uint32_t)key.size, .deleted = true};
    w.key_at = (uint32_t)(v->effects.size - key.size);
    write_add(v, &w);
}

void view_trash(struct view *v, struct bytes prefix)
{
    if (may_write(v, prefix, 0)) effects_trash(&v->effects, prefix);
}

void view_split(struct view *v, uint32_t group, uint16_t at)
{
    if (v->missed) return;
    ASSERT(v->effects.size == 0);
    if (at <= v->slot_lo || at >= v->slot_hi) {
        refuse(v, VIEW_FOREIGN);
        return;
    }
    effects_split(&v->effects, group, at, v->config);
    v->alone = true;
}

void view_seal(struct view *v, bool on)
{
    if (v->missed) return;
    ASSERT(v->effects.size == 0);
    effects_seal(&v->effects, on);
    v->alone = true;
}

void view_merge(struct view *v, uint32_t group, uint64_t sealed)
{
    if (v->missed) return;
    ASSERT(v->effects.size == 0);
    effects_merge(&v->effects, group, sealed);
    v->alone = true;
}

void view_snap(struct view *v, uint64_t cut, uint64_t ttl_ms)
{
    if (v->missed) return;
    ASSERT(!v->alone);
    effects_snap(&v->effects, cut, ttl_ms);
}

void view_count(struct view *v, uint16_t slot, int64_t delta)
{
    ASSERT(!v->alone);
    effects_count(&v->effects, slot, delta);
}

uint64_t view_new_objid(struct view *v)
{
    return v->objid_next++;
}

/* ---- undoing ---- */

static void write_again(struct view *v, const struct effect *e)
{
    struct view_write w = {.key_at = (uint32_t)(e->key.data - v->effects.data),
                           .key_size = (uint32_t)e->key.size,
                           .deleted = e->op == EFFECT_DEL};
    if (e->op == EFFECT_PUT && e->value.size) {
        w.value_at = (uint32_t)(e->value.data - v->effects.data);
        w.value_size = (uint32_t)e->value.size;
    }
    if (e->op == EFFECT_PUT || e->op == EFFECT_DEL) write_add(v, &w);
}

void view_rewind(struct view *v, size_t effects)
{
    struct effect e;
    ASSERT(effects <= v->effects.size && !v->wiped && !v->alone);
    v->missed = false;
    v->refused = VIEW_ALLOWED;
    if (effects == v->effects.size) return;
    v->effects.size = effects;
    v->write_count = v->order_count = 0;
    struct reader r = reader_of(buf_bytes(&v->effects));
    while (effects_next(&r, &e) == 1) write_again(v, &e);
}

/* ---- reading ---- */

static enum view_result view_miss(struct view *v, struct bytes lo, struct bytes hi, bool reverse)
{
    if (v->missed) return VIEW_MISS;
    v->missed = true;
    v->miss_reverse = reverse;
    buf_clear(&v->miss_lo);
    buf_clear(&v->miss_hi);
    buf_append_bytes(&v->miss_lo, lo);
    buf_append_bytes(&v->miss_hi, hi);
    return VIEW_MISS;
}

enum view_result view_get(struct view *v, struct bytes key, struct bytes *value)
{
    const struct view_write *w = write_find(v, key);
    *value = (struct bytes){0};
    if (v->missed || reply_full(v) || !may_read(v, key)) return VIEW_MISS;
    if (w) {
        if (w->deleted) return VIEW_ABSENT;
        *value = write_value(v, w);
        return VIEW_FOUND;
    }
    if (v->wiped) return VIEW_ABSENT;
    enum view_result r = v->source.get(v->source.ctx, key, value);
    return r == VIEW_MISS ? view_miss(v, key, (struct bytes){0}, false) : r;
}

static int order_compare(const void *a, const void *b, void *ctx)
{
    const struct view *v = ctx;
    return bytes_compare(write_key(v, &v->writes[*(const uint32_t *)a]),
                         write_key(v, &v->writes[*(const uint32_t *)b]));
}

static void order_make(struct view *v)
{
    if (v->order_count == v->write_count) return;
    v->order = mem_realloc(v->order, v->write_count * sizeof *v->order);
    for (uint32_t i = 0; i < v->write_count; i++) v->order[i] = i;
    qsort_r(v->order, v->write_count, sizeof *v->order, order_compare, v);
    v->order_count = v->write_count;
}

/* Merges the view's own writes into what the source visits. `at` walks order[] in the direction of
 * the range. */
struct merge {
    struct view *v;
    struct bytes lo, hi;
    bool reverse, stopped;
    int64_t at;
    view_each *each;
    void *ctx;
};

static const struct view_write *merge_peek(const struct merge *m)
{
    if (m->at < 0 || m->at >= (int64_t)m->v->order_count) return NULL;
    const struct view_write *w = &m->v->writes[m->v->order[m->at]];
    struct bytes key = write_key(m->v, w);
    bool inside = bytes_compare(key, m->lo) >= 0 && bytes_compare(key, m->hi) < 0;
    return inside ? w : NULL;
}

static bool merge_own(struct merge *m, const struct view_write *w)
{
    m->at += m->reverse ? -1 : 1;
    if (w->deleted) return true;
    m->stopped = reply_full(m->v) || !m->each(m->ctx, write_key(m->v, w), write_value(m->v, w));
    return !m->stopped;
}

static bool merge_source(void *ctx, struct bytes key, struct bytes value)
{
    struct merge *m = ctx;
    const struct view_write *w;
    while ((w = merge_peek(m))) {
        int c = bytes_compare(write_key(m->v, w), key);
        if (c == 0) return merge_own(m, w);
        if (m->reverse ? c < 0 : c > 0) break;
        if (!merge_own(m, w)) return false;
    }
    m->stopped = reply_full(m->v) || !m->each(m->ctx, key, value);
    return !m->stopped;
}

static int64_t order_first(const struct view *v, struct bytes lo, struct bytes hi, bool reverse)
{
    struct bytes bound = reverse ? hi : lo;
    uint32_t a = 0, b = v->order_count; /* first index with key >= bound */
    while (a < b) {
        uint32_t mid = a + (b - a) / 2;
        if (bytes_compare(write_key(v, &v->writes[v->order[mid]]), bound) < 0)
            a = mid + 1;
        else
            b = mid;
    }
    return reverse ? (int64_t)a - 1 : (int64_t)a;
}

enum view_result view_range(struct view *v, struct bytes lo, struct bytes hi, bool reverse,
                            view_each *each, void *ctx)
{
    if (v->missed || !may_read_range(v, lo, hi)) return VIEW_MISS;
    if (v->write_count) order_make(v);
    struct merge m = {v, lo, hi, reverse, false, order_first(v, lo, hi, reverse), each, ctx};
    if (!v->wiped) {
        enum view_result r = v->source.range(v->source.ctx, lo, hi, reverse, merge_source, &m);
        if (r == VIEW_MISS) return view_miss(v, lo, hi, reverse);
    }
    const struct view_write *w;
    while (!m.stopped && (w = merge_peek(&m))) (void)merge_own(&m, w);
    if (v->refused) return VIEW_MISS;
    return m.stopped ? VIEW_FOUND : VIEW_ABSENT;
}

/* ---- wiping, which reads ---- */

static bool system_row_keep(void *ctx, struct bytes key, struct bytes value)
{
    struct buf *rows = ctx;
    buf_blob(rows, key);
    buf_blob(rows, value);
    return true;
}

static void rows_of_kind(struct view *v, uint8_t kind, struct buf *rows)
{
    struct buf lo = {0}, hi = {0};
    keys_kind(&lo, 0, kind);
    keys_kind(&hi, 0, kind + 1);
    (void)view_range(v, buf_bytes(&lo), buf_bytes(&hi), false, system_row_keep, rows);
    buf_deinit(&lo), buf_deinit(&hi);
}

void view_wipe(struct view *v)
{
    struct buf rows = {0};
    ASSERT(!v->alone);
    if (v->slot_lo == 0) {
        rows_of_kind(v, KEYS_SYSTEM, &rows);
        rows_of_kind(v, KEYS_SCRIPT, &rows);
    }
    if (!v->missed) {
        effects_wipe(&v->effects);
        v->write_count = v->order_count = 0;
        v->wiped = true;
    }
    struct reader r = reader_of(buf_bytes(&rows));
    while (!v->missed && reader_left(&r) > 0) {
        struct bytes key = reader_blob(&r), value = reader_blob(&r);
        view_put(v, key, value);
    }
    buf_deinit(&rows);
}
