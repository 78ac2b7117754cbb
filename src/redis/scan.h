/* Walking the key space: SCAN, KEYS, RANDOMKEY, CLUSTER COUNTKEYSINSLOT and GETKEYSINSLOT, and the
 * options that SCAN shares with HSCAN.
 *
 * Meta records stand in the order (slot, upper 48 bits of the key's hash, key), the same on every
 * replica and for ever. A *place* in it is slot << 48 | hash: it is what SCAN hands out as its
 * cursor, says where to go on, and needs no memory of the walk. Places are below 2^62, so every
 * client can parse them. Cursor 0 is the start; place 0 is never handed out as "go on here", since
 * it is the first. */
#ifndef SYNOD_REDIS_SCAN_H
#define SYNOD_REDIS_SCAN_H

#include "redis/object.h"

#define SCAN_COUNT_MAX                                                                             \
    10000 /* a larger COUNT (it is a hint) is cut to this, so that one call cannot hold the        \
             reactor */

/* Any unsigned 64-bit number; what was never handed out is not an error, it only finds nothing.
 * False: answered. */
bool scan_cursor_parse(struct bytes text, uint64_t *cursor, struct reply *out);

struct scan_options {
    uint64_t count; /* keys or fields to look at, at least 1 */
    struct bytes pattern;
    bool has_pattern;
    bool has_type;
    uint8_t type;   /* OBJECT_NONE with has_type: a type that no key has */
    bool no_values; /* HSCAN */
};

/* Parses the options from argument `at` on; TYPE is for SCAN, NOVALUES for HSCAN (`fields`). False:
 * answered. */
bool scan_options_parse(struct scan_options *s, const struct cmd_args *a, uint32_t at, bool fields,
                        struct reply *out);
static inline bool scan_matches(const struct scan_options *s, struct bytes name)
{
    return !s->has_pattern || bytes_glob(s->pattern, name, false);
}
/* [cursor, [count items, written already into `items`]] */
void scan_reply(struct reply *out, uint64_t cursor, size_t count, struct buf *items);

/* One key of a walk; o->type is OBJECT_NONE if it is expired (a walk passes over such a key, it
 * does not delete it). */
typedef bool scan_each(void *ctx, uint64_t place, const struct object *o);

/* Visits the keys from place `from` up to the end of slot `slot_end` - 1, in order, until `each`
 * returns false. False: the view missed. `each` may not write to the view. Work: the keys visited,
 * and one seek for each slot that holds collections or expiries. */
bool scan_slots(struct view *v, uint64_t from, uint16_t slot_end, scan_each *each, void *ctx);

void scan_cmd_scan(struct view *v, const struct cmd_args *a, struct reply *out);
void scan_cmd_keys(struct view *v, const struct cmd_args *a, struct reply *out);
void scan_cmd_randomkey(struct view *v, const struct cmd_args *a, struct reply *out);
void scan_cmd_countkeysinslot(struct view *v, const struct cmd_args *a, struct reply *out);
void scan_cmd_getkeysinslot(struct view *v, const struct cmd_args *a, struct reply *out);

#endif
