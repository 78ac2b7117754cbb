#include "redis/object.h"
#include "base/assert.h"
#include "ring/slot.h"
#include "shard/keys.h"

#define FLAG_EXPIRES 1
#define FLAG_PACKED  2

/* A buffer that lives on the stack as long as what it will hold fits: most keys and values do.
 * `size_max` is what will be written. */
struct scratch {
    struct buf buf;
    uint8_t room[512];
};

static struct buf *scratch_init(struct scratch *s, size_t size_max)
{
    s->buf = (struct buf){0};
    if (size_max <= sizeof s->room)
        s->buf = (struct buf){s->room, 0, sizeof s->room};
    else
        (void)buf_reserve(&s->buf, size_max);
    return &s->buf;
}

static void scratch_deinit(struct scratch *s, size_t size_max)
{
    ASSERT(s->buf.size <= size_max);
    if (s->buf.data != s->room) buf_deinit(&s->buf);
}

/* ---- meta values ---- */

static uint64_t le64_get(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static bool decode_value(struct bytes value, struct object *o)
{
    if (value.size < 2 || value.data[1] > (FLAG_EXPIRES | FLAG_PACKED)) return false;
    const uint8_t *p = value.data + 2, *end = value.data + value.size;

    o->type = value.data[0];
    o->expire_ms = -1;
    o->string = (struct bytes){0};
    o->objid = o->count = 0;
    if (value.data[1] & FLAG_EXPIRES) {
        if (end - p < 8) return false;
        o->expire_ms = (int64_t)le64_get(p);
        if (o->expire_ms < 0) return false;
        p += 8;
    }
    if (value.data[1] & FLAG_PACKED) {
        struct reader r = {p, end, false};
        o->count = reader_varint(&r);
        o->string = bytes_of(r.at, reader_left(&r));
        return o->type == OBJECT_HASH && !r.bad && o->count != 0;
    }
    if (o->type == OBJECT_STRING) {
        o->string = bytes_of(p, (size_t)(end - p));
        return true;
    }
    if (o->type != OBJECT_HASH || end - p != 16) return false;
    o->objid = le64_get(p);
    o->count = le64_get(p + 8);
    return o->objid != 0 && o->count != 0;
}

bool object_decode(struct bytes meta_key, struct bytes meta_value, struct object *o)
{
    if (meta_key.size < KEYS_META_HEAD || meta_key.data[2] != KEYS_META) return false;
    o->slot = be16_get(meta_key.data);
    o->key = keys_user(meta_key, KEYS_META_HEAD);
    return o->slot < SLOT_COUNT && decode_value(meta_value, o);
}

static void encode_value(struct buf *out, const struct object *o)
{
    bool packed = o->type != OBJECT_STRING && o->objid == 0;
    buf_u8(out, o->type);
    buf_u8(out, (o->expire_ms >= 0 ? FLAG_EXPIRES : 0) | (packed ? FLAG_PACKED : 0));
    if (o->expire_ms >= 0) buf_u64(out, (uint64_t)o->expire_ms);
    if (o->type == OBJECT_STRING) {
        buf_append_bytes(out, o->string);
    } else if (packed) {
        buf_varint(out, o->count);
        buf_append_bytes(out, o->string);
    } else {
        buf_u64(out, o->objid);
        buf_u64(out, o->count);
    }
}

void object_encode(struct buf *out, const struct object *o, uint64_t objid)
{
    struct object other = *o;
    other.objid = objid;
    encode_value(out, &other);
}

/* ---- reading ---- */

enum object_result object_get(struct view *v, struct bytes key, struct object *o)
{
    struct scratch s;
    struct bytes value;
    size_t size = KEYS_META_HEAD + key.size;

    *o = (struct object){.slot = slot_of(key), .key = key, .expire_ms = -1};
    struct buf *meta = scratch_init(&s, size);
    keys_meta(meta, o->slot, key);
    enum view_result r = view_get(v, buf_bytes(meta), &value);
    scratch_deinit(&s, size);

    if (r == VIEW_MISS) return OBJECT_MISSED;
    if (r == VIEW_ABSENT) return OBJECT_OK;
    bool sound = decode_value(value, o);
    ASSERT(sound); /* the engine checks its checksums: what it returns is what we wrote */
    if (o->expire_ms < 0 || v->now_ms <= o->expire_ms) return OBJECT_OK;
    object_delete(v, o);
    *o = (struct object){.slot = o->slot, .key = key, .expire_ms = -1};
    return OBJECT_OK;
}

enum object_result object_get_typed(struct view *v, struct bytes key, uint8_t type,
                                    struct object *o, struct reply *out)
{
    if (object_get(v, key, o) == OBJECT_MISSED) return OBJECT_MISSED;
    if (o->type == OBJECT_NONE || o->type == type) return OBJECT_OK;
    reply_error(out, ERR_WRONGTYPE);
    return OBJECT_MISSED;
}

const char *object_type_name(uint8_t type)
{
    switch (type) {
    case OBJECT_STRING: return "string";
    case OBJECT_HASH: return "hash";
    default: return "none";
    }
}

/* ---- writing ---- */

/* Moves the key's index record from one expiry to another (-1: none). */
static void index_expiry(struct view *v, const struct object *o, int64_t from_ms, int64_t to_ms)
{
    struct scratch s;
    size_t size = KEYS_EXPIRY_HEAD + o->key.size;

    if (from_ms == to_ms) return;
    struct buf *record = scratch_init(&s, size);
    if (from_ms >= 0) {
        keys_expiry(record, o->slot, (uint64_t)from_ms, o->key);
        view_del(v, buf_bytes(record));
    }
    if (to_ms >= 0) {
        keys_expiry(record, o->slot, (uint64_t)to_ms, o->key);
        view_put(v, buf_bytes(record), (struct bytes){0});
    }
    scratch_deinit(&s, size);
}

static void trash_elements(struct view *v, const struct object *o)
{
    struct scratch s;
    if (o->objid == 0) return;
    struct buf *prefix = scratch_init(&s, KEYS_SUB_HEAD);
    keys_sub(prefix, o->slot, o->objid, (struct bytes){0});
    view_trash(v, buf_bytes(prefix));
    scratch_deinit(&s, KEYS_SUB_HEAD);
}

/* Writes the meta record of `o`. Its value is put together first: o->string may be borrowed from
 * the view. */
static void put_meta(struct view *v, const struct object *o)
{
    struct scratch s, t;
    size_t key_size = KEYS_META_HEAD + o->key.size, value_size = 2 + 8 + 16 + o->string.size;
    struct buf *key = scratch_init(&s, key_size), *value = scratch_init(&t, value_size);

    ASSERT(o->type == OBJECT_STRING || (o->count > 0 && (o->objid == 0) == (o->string.size > 0)));
    ASSERT(o->expire_ms >= -1);
    keys_meta(key, o->slot, o->key);
    encode_value(value, o);
    view_put(v, buf_bytes(key), buf_bytes(value));
    scratch_deinit(&t, value_size);
    scratch_deinit(&s, key_size);
}

void object_put_string(struct view *v, const struct object *o, struct bytes value,
                       int64_t expire_ms)
{
    struct object n = *o;
    n.type = OBJECT_STRING;
    n.string = value;
    n.expire_ms = expire_ms;
    n.objid = n.count = 0;

    put_meta(v, &n); /* first: `value` may be borrowed until the next write */
    index_expiry(v, o, o->expire_ms, expire_ms);
    trash_elements(v, o);
    if (o->type == OBJECT_NONE) view_count(v, o->slot, 1);
}

void object_put_collection(struct view *v, const struct object *was, struct object *o)
{
    ASSERT(o->type != OBJECT_NONE && o->type != OBJECT_STRING && o->slot == was->slot);
    if (o->count == 0) {
        struct object bare = *was;
        bare.objid =
            0; /* the caller has deleted the elements one by one: there is nothing to throw away */
        object_delete(v, &bare);
        return;
    }
    bool same = was->type == o->type && was->objid == o->objid && was->count == o->count &&
                was->expire_ms == o->expire_ms;
    if (same && o->objid) return; /* only elements changed */
    put_meta(v, o);               /* first: what is packed may be borrowed until the next write */
    if (was->objid != o->objid) trash_elements(v, was);
    index_expiry(v, was, was->expire_ms, o->expire_ms);
    if (was->type == OBJECT_NONE) view_count(v, o->slot, 1);
}

void object_set_expiry(struct view *v, struct object *o, int64_t expire_ms)
{
    int64_t was_ms = o->expire_ms;
    ASSERT(o->type != OBJECT_NONE);
    o->expire_ms = expire_ms;
    put_meta(v, o);
    index_expiry(v, o, was_ms, expire_ms);
}

void object_delete(struct view *v, const struct object *o)
{
    struct scratch s;
    size_t size = KEYS_META_HEAD + o->key.size;

    if (o->type == OBJECT_NONE) return;
    struct buf *meta = scratch_init(&s, size);
    keys_meta(meta, o->slot, o->key);
    view_del(v, buf_bytes(meta));
    scratch_deinit(&s, size);
    index_expiry(v, o, o->expire_ms, -1);
    trash_elements(v, o);
    view_count(v, o->slot, -1);
}
