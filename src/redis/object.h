/* Redis objects over a view: one meta record a key, elements of collections as sub records.
 *
 * Meta value: type:1, flags:1 (bit 0: has expiry, bit 1: packed), [expire_ms:8 little-endian if it
 * has], then for a string its bytes, for a hash objid:8, count:8 (little-endian), or if it is
 * packed the count (LEB128) and its fields (redis/fields.h). A key whose expiry has come is treated
 * as absent by everybody, and the first to meet it deletes it in the same effects (so that no later
 * leader with a slower clock shows it again); readers too: a read that meets an expired key has
 * effects. As in Redis, a key lives through the millisecond that its expiry names.
 *
 * An expiry has an index record beside the meta record (shard/keys.h, 'x'), written and deleted
 * with it here and nowhere else. So is the count of live keys (view_count). */
#ifndef SYNOD_REDIS_OBJECT_H
#define SYNOD_REDIS_OBJECT_H

#include "redis/command.h"

enum object_type { OBJECT_NONE = 0, OBJECT_STRING = 1, OBJECT_HASH = 2 };

struct object {
    uint8_t type; /* OBJECT_NONE: no such key (or expired, its deletion being among the writes) */
    uint16_t slot;
    struct bytes key;
    int64_t expire_ms;     /* -1: never */
    struct bytes string;   /* STRING, and packed collections: borrowed as view_get's values */
    uint64_t objid, count; /* collections; objid is 0 of packed ones */
};

enum object_result { OBJECT_OK, OBJECT_MISSED };

/* Looks the key up. OBJECT_MISSED: return at once. */
enum object_result object_get(struct view *v, struct bytes key, struct object *o);
/* The same, with the type checked: if the key exists with another type, writes WRONGTYPE to `out`
 * and returns OBJECT_MISSED (just return). OBJECT_NONE passes. */
enum object_result object_get_typed(struct view *v, struct bytes key, uint8_t type,
                                    struct object *o, struct reply *out);

/* Makes the key a string with these bytes, whatever it was; expire_ms as in struct object. `o` is
 * what object_get gave. */
void object_put_string(struct view *v, const struct object *o, struct bytes value,
                       int64_t expire_ms);
/* Writes a collection's meta (type, objid, count, what is packed, expiry) as they now stand in o;
 * deletes the key if count is 0: then the caller has deleted the elements, and only the key goes.
 * `was` is what object_get gave. */
void object_put_collection(struct view *v, const struct object *was, struct object *o);
/* Changes only the expiry; counts as a write for WATCH even if it is the same, as with Redis.
 * o->string is no longer valid afterwards. */
void object_set_expiry(struct view *v, struct object *o, int64_t expire_ms);
/* Deletes the key and all below it. No effect on OBJECT_NONE. */
void object_delete(struct view *v, const struct object *o);
const char *object_type_name(uint8_t type);

/* For scans: decodes a meta record. False: corrupt. */
bool object_decode(struct bytes meta_key, struct bytes meta_value, struct object *o);
/* A meta record's value, of a collection with another id. */
void object_encode(struct buf *out, const struct object *o, uint64_t objid);

#endif
