/* The fields of a hash, however they are stored.
 *
 * A small hash is *packed*: its fields lie in its meta record (redis/object.h), o->string, as blobs
 * name, value, ..., in the order of their names. Once they would take more than FIELDS_PACKED_MAX
 * bytes each becomes a record of its own, 's' objid name -> value (shard/keys.h), and it stays so
 * until the key goes. So a field's cost does not depend on the size of its hash; a walk over all
 * fields is one record or one range, in the order of the names either way.
 *
 * A field's name is part of an engine key, or may become it, and so has the limit of keys. */
#ifndef SYNOD_REDIS_FIELDS_H
#define SYNOD_REDIS_FIELDS_H

#include "redis/object.h"

#define FIELDS_PACKED_MAX 1024

static inline bool fields_packed(const struct object *o)
{
    return o->type == OBJECT_HASH && o->objid == 0;
}

/* o: a hash, or OBJECT_NONE, which has no fields. The value is borrowed as view_get's. */
enum view_result fields_get(struct view *v, const struct object *o, struct bytes name,
                            struct bytes *value);
/* Visits those whose name is >= `from`, in order, until `each` returns false. `each` may not write
 * to the view. False: the view missed. */
typedef bool fields_visit(void *ctx, struct bytes name, struct bytes value);
bool fields_each(struct view *v, const struct object *o, struct bytes from, fields_visit *each,
                 void *ctx);

/* ---- writing ---- */

/* One command's changes to one hash: begin, changes, end. The object `o`, which is what object_get
 * gave, follows them: fields_get sees them. `names` and `values` given are not the view's. */
struct fields_edit {
    struct view *v;
    struct object *o;
    struct object was;
    bool changed;
    uint8_t turn;
    uint8_t pack[2][FIELDS_PACKED_MAX + 16]; /* o->string lies in one of them once it changed */
};
void fields_begin(struct fields_edit *e, struct view *v, struct object *o);
/* n pairs name, value; one whose name comes twice gets its last value. *added: how many are new.
 * False: the view missed. Creates the hash if there is none. */
bool fields_put_all(struct fields_edit *e, const struct bytes *pairs, uint32_t n, uint64_t *added);
/* One, of which fields_get has said whether it is there. */
void fields_put(struct fields_edit *e, struct bytes name, struct bytes value, bool existed);
void fields_delete(struct fields_edit *e, struct bytes name); /* it is there */
void fields_end(struct fields_edit *e); /* a hash without fields goes with the last one */

/* A hash of these fields (blobs as if packed, `from->count` of them) and of from's expiry under the
 * key of `to`, which it replaces. */
void fields_write(struct view *v, struct bytes blobs, const struct object *from,
                  const struct object *to);

#endif
