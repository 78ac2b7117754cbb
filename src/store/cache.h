/* The value cache in front of the engine: key -> the value the engine holds, or that it holds none.
 * Shared by a node's groups.
 *
 * INV-CACHE-1: a key that is in the cache is in no table in memory, nor hidden by a wipe there. So
 * every write of a key forgets it, and it is filled only after the tables were asked. A read on the
 * pool takes long enough for that to change: it reserves the key first (an entry without a value,
 * forgotten like any other), and fills only what it finds still reserved.
 *
 * Second chance: entries wait in one queue; at the front, one that was hit meanwhile goes to the
 * back, any other goes. Values stay where they are until the end of the turn even when evicted, for
 * they may be borrowed. */
#ifndef SYNOD_STORE_CACHE_H
#define SYNOD_STORE_CACHE_H

#include "store/space.h"

enum cache_found {
    CACHE_NONE,
    CACHE_VALUE,
    CACHE_ABSENT,
};

/* The value is borrowed until space_cache_turn. */
enum cache_found cache_get(struct space_cache *c, struct bytes key, struct bytes *value);
/* Keeps what the engine answered, if it is not too large; the copy, kept or not, is borrowed until
 * space_cache_turn. */
struct bytes cache_fill(struct space_cache *c, struct bytes key, struct bytes value, bool absent);
void cache_forget(struct space_cache *c, struct bytes key);
void cache_forget_range(struct space_cache *c, struct bytes lo, struct bytes hi); /* O(entries) */
/* A ticket for cache_fill_reserved, which fills only if nothing was written to the key since; 0: it
 * is cached already. */
uint64_t cache_reserve(struct space_cache *c, struct bytes key);
void cache_fill_reserved(struct space_cache *c, uint64_t ticket, struct bytes key,
                         struct bytes value, bool absent);

#endif
