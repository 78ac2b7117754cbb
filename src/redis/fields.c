#include "redis/fields.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "shard/keys.h"

/* ---- packed ---- */

/* Where a name stands in a pack, or would: [at, end) are its bytes. */
struct place {
    size_t at, end;
    struct bytes value;
    bool found;
};

static struct place pack_find(struct bytes pack, struct bytes name)
{
    struct reader r = reader_of(pack);
    while (reader_left(&r)) {
        size_t at = (size_t)(r.at - pack.data);
        struct bytes here = reader_blob(&r), value = reader_blob(&r);
        int order = bytes_compare(here, name);
        if (order > 0) return (struct place){at, at, {0}, false};
        if (order == 0) return (struct place){at, (size_t)(r.at - pack.data), value, true};
    }
    ASSERT(!r.bad);
    return (struct place){pack.size, pack.size, {0}, false};
}

static size_t blob_size(struct bytes s)
{
    return varint_size(s.size) + s.size;
}

/* The pack with other bytes at `p`: the one that is not in use is written. NULL name: none. False:
 * it would be too large. */
static bool pack_change(struct fields_edit *e, const struct place *p, const struct bytes *name,
                        struct bytes value)
{
    struct bytes old = e->o->string;
    size_t size = old.size - (p->end - p->at);
    if (name) size += blob_size(*name) + blob_size(value);
    if (size > FIELDS_PACKED_MAX) return false;

    e->turn ^= 1;
    struct buf pack = {e->pack[e->turn], 0, sizeof e->pack[0]}; /* more than a varint more */
    buf_append(&pack, old.data, p->at);
    if (name) buf_blob(&pack, *name), buf_blob(&pack, value);
    buf_append(&pack, old.data + p->end, old.size - p->end);
    ASSERT(pack.size == size && pack.data == e->pack[e->turn]);
    e->o->string = buf_bytes(&pack);
    return true;
}

/* ---- records ---- */

static enum view_result row_get(struct view *v, const struct object *o, struct bytes name,
                                struct bytes *value)
{
    struct buf key = {0};
    keys_sub(&key, o->slot, o->objid, name);
    enum view_result r = view_get(v, buf_bytes(&key), value);
    buf_deinit(&key);
    return r;
}

static void row_put(struct view *v, const struct object *o, struct bytes name, struct bytes value)
{
    struct buf key = {0};
    ASSERT(o->type == OBJECT_HASH && o->objid);
    keys_sub(&key, o->slot, o->objid, name);
    view_put(v, buf_bytes(&key), value);
    buf_deinit(&key);
}

static void row_delete(struct view *v, const struct object *o, struct bytes name)
{
    struct buf key = {0};
    keys_sub(&key, o->slot, o->objid, name);
    view_del(v, buf_bytes(&key));
    buf_deinit(&key);
}

struct rows_walk {
    fields_visit *each;
    void *ctx;
};

static bool rows_one(void *ctx, struct bytes key, struct bytes value)
{
    struct rows_walk *w = ctx;
    ASSERT(key.size >= KEYS_SUB_HEAD);
    return w->each(w->ctx, keys_user(key, KEYS_SUB_HEAD), value);
}

/* ---- reading ---- */

enum view_result fields_get(struct view *v, const struct object *o, struct bytes name,
                            struct bytes *value)
{
    *value = (struct bytes){0};
    if (o->type == OBJECT_NONE) return VIEW_ABSENT;
    if (!fields_packed(o)) return row_get(v, o, name, value);
    struct place p = pack_find(o->string, name);
    *value = p.value;
    return p.found ? VIEW_FOUND : VIEW_ABSENT;
}

bool fields_each(struct view *v, const struct object *o, struct bytes from, fields_visit *each,
                 void *ctx)
{
    if (o->type == OBJECT_NONE) return true;
    if (fields_packed(o)) {
        struct reader r = reader_of(o->string);
        while (reader_left(&r)) {
            struct bytes name = reader_blob(&r), value = reader_blob(&r);
            if (bytes_compare(name, from) >= 0 && !each(ctx, name, value)) return true;
        }
        ASSERT(!r.bad);
        return true;
    }
    struct buf lo = {0}, hi = {0};
    struct rows_walk w = {each, ctx};
    ASSERT(o->objid != UINT64_MAX);
    keys_sub(&lo, o->slot, o->objid, from);
    keys_sub(&hi, o->slot, o->objid + 1, (struct bytes){0});
    (void)view_range(v, buf_bytes(&lo), buf_bytes(&hi), false, rows_one, &w);
    buf_deinit(&lo);
    buf_deinit(&hi);
    return !v->missed;
}

/* ---- writing ---- */

void fields_begin(struct fields_edit *e, struct view *v, struct object *o)
{
    e->v = v;
    e->o = o;
    e->was = *o;
    e->changed = false;
    e->turn = 0;
}

/* The number of different names among n pairs. */
static uint64_t distinct_names(struct view *v, const struct bytes *pairs, uint32_t n)
{
    if (n == 1) return 1;
    uint64_t distinct = 0, seed = prng_u64(&v->random); /* names chosen to collide cannot know it */
    uint32_t capacity = 4;
    while (capacity < 2 * n) capacity *= 2;
    uint32_t *table = mem_zalloc(capacity * sizeof *table); /* index + 1 */

    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (uint32_t)hash64(pairs[2 * i], seed) & (capacity - 1);
        while (table[at] && !bytes_equal(pairs[2 * (table[at] - 1)], pairs[2 * i]))
            at = (at + 1) & (capacity - 1);
        if (table[at]) continue;
        table[at] = i + 1;
        distinct++;
    }
    mem_free(table);
    return distinct;
}

/* The pack and n more pairs become records. No record of the object is there yet, so none is looked
 * up. */
static void unpack(struct fields_edit *e, const struct bytes *pairs, uint32_t n)
{
    struct object *o = e->o;
    struct buf pack = buf_copy(o->string); /* it may be the view's */
    struct bytes *all = mem_alloc((2 * (size_t)o->count + 2 * (size_t)n) * sizeof *all);
    struct reader r = reader_of(buf_bytes(&pack));
    uint32_t count = 0;

    for (; reader_left(&r); count++) {
        all[2 * count] = reader_blob(&r);
        all[2 * count + 1] = reader_blob(&r);
    }
    ASSERT(!r.bad && count == o->count);
    for (uint32_t i = 0; i < n; i++, count++) {
        all[2 * count] = pairs[2 * i];
        all[2 * count + 1] = pairs[2 * i + 1];
    }
    o->string = (struct bytes){0};
    o->objid = view_new_objid(e->v);
    o->count = distinct_names(e->v, all, count);
    for (uint32_t i = 0; i < count; i++) row_put(e->v, o, all[2 * i], all[2 * i + 1]);
    mem_free(all);
    buf_deinit(&pack);
}

static bool rows_put_all(struct fields_edit *e, const struct bytes *pairs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct bytes old;
        e->o->count += row_get(e->v, e->o, pairs[2 * i], &old) == VIEW_ABSENT;
        if (e->v->missed) return false;
        row_put(e->v, e->o, pairs[2 * i], pairs[2 * i + 1]);
    }
    return true;
}

bool fields_put_all(struct fields_edit *e, const struct bytes *pairs, uint32_t n, uint64_t *added)
{
    struct object *o = e->o;
    uint64_t had = o->count;
    bool whole = true;

    e->changed = true;
    o->type = OBJECT_HASH;
    if (fields_packed(o)) {
        uint32_t i = 0;
        for (; i < n; i++) {
            struct place p = pack_find(o->string, pairs[2 * i]);
            if (!pack_change(e, &p, &pairs[2 * i], pairs[2 * i + 1])) break;
            o->count += !p.found;
        }
        if (i < n) unpack(e, pairs + 2 * (size_t)i, n - i);
    } else {
        whole = rows_put_all(e, pairs, n);
    }
    *added = o->count - had;
    return whole;
}

void fields_put(struct fields_edit *e, struct bytes name, struct bytes value, bool existed)
{
    struct bytes pair[2] = {name, value};
    uint64_t added;
    if (e->o->type == OBJECT_NONE || fields_packed(e->o)) {
        (void)fields_put_all(e, pair, 1, &added);
        return;
    }
    e->changed = true;
    e->o->count += !existed;
    row_put(e->v, e->o, name, value);
}

void fields_delete(struct fields_edit *e, struct bytes name)
{
    ASSERT(e->o->count > 0);
    e->changed = true;
    e->o->count--;
    if (!fields_packed(e->o)) {
        row_delete(e->v, e->o, name);
        return;
    }
    struct place p = pack_find(e->o->string, name);
    bool fits = pack_change(e, &p, NULL, (struct bytes){0});
    ASSERT(p.found && fits);
}

void fields_end(struct fields_edit *e)
{
    if (e->changed) object_put_collection(e->v, &e->was, e->o);
}

void fields_write(struct view *v, struct bytes blobs, const struct object *from,
                  const struct object *to)
{
    struct object o = {.type = OBJECT_HASH,
                       .slot = to->slot,
                       .key = to->key,
                       .expire_ms = from->expire_ms,
                       .count = from->count};
    struct reader r = reader_of(blobs);
    if (blobs.size <= FIELDS_PACKED_MAX) {
        o.string = blobs;
    } else {
        o.objid = view_new_objid(v);
    }
    object_put_collection(v, to, &o);
    while (o.objid && reader_left(&r)) {
        struct bytes name = reader_blob(&r);
        row_put(v, &o, name, reader_blob(&r));
    }
    ASSERT(!r.bad);
}
