/* An ordered table in memory: key -> versions by log position, newest first. A group's recent layer
 * and its frozen tables.
 *
 * Versions above `applied` are pending. A key has any number of pending versions and at most one
 * applied one, the last of its chain (INV-TABLE-1); but where somebody keeps a position, also those
 * that were the newest there. Deletions are versions, for they hide what lies
 * in the layers below. A wipe writes a deletion over every key of the table and hides the layers
 * below altogether; a trash record only remembers a prefix for the flush.
 *
 * A B+tree. Nodes hold, for each key, 8 of its bytes as a number: those after the prefix that all
 * keys of the node share; so a search compares numbers within the node and touches about one key.
 * Keys and values lie together in one block of the slab.
 *
 * Threads: a table without pending writes that nobody writes any more (frozen) may be read by
 * several. */
#ifndef SYNOD_STORE_TABLE_H
#define SYNOD_STORE_TABLE_H

#include "base/bytes.h"
#include "store/engine.h"

struct table;

struct table *table_new(uint64_t applied);
/* The one that writes to it lets go of it; it stays until all that keep a position of it have, too.
 * NULL: nothing. */
void table_free(struct table *t);

/* Who reads it at `position`, which is what is applied now, keeps finding what is there, until it
 * lets go of the table with table_unkeep. */
void table_keep(struct table *t, uint64_t position);
void table_unkeep(struct table *t, uint64_t position);
/* Nobody writes to it any more. */
bool table_is_frozen(const struct table *t);

enum table_found {
    TABLE_NONE, /* nothing known of this key; if table_wiped, there is nothing below either */
    TABLE_VALUE,
    TABLE_DELETED,
};

/* The newest version. position may be NULL. The value is borrowed until the next write to the
 * table. */
enum table_found table_get(const struct table *t, struct bytes key, struct bytes *value,
                           uint64_t *position);

/* Positions never fall from call to call. Key and value are copied (they may lie in this table). */
void table_put(struct table *t, uint64_t position, struct bytes key, struct bytes value);
void table_del(struct table *t, uint64_t position, struct bytes key);
void table_wipe(struct table *t, uint64_t position);
void table_trash(struct table *t, uint64_t position, struct bytes prefix);
/* Wipes from now on concern keys below `hi` only: the others are another group's from here on, and
 * wait for their flush as they are. Copied. */
void table_narrow(struct table *t, struct bytes hi);
void table_set_applied(struct table *t, uint64_t position);
void table_drop_pending(struct table *t);
/* Takes the pending writes out of t, which is frozen, into a new table. */
struct table *table_split_pending(struct table *t);

/* Position of the newest wipe at or below `upto`; 0: none. */
uint64_t table_wiped(const struct table *t, uint64_t upto);
/* Appends the trashed prefixes at or below `upto` to list[0 ... count); borrowed from the table.
 * NULL list: only counts. */
size_t table_trashed(const struct table *t, uint64_t upto, struct bytes *list);

bool table_has_applied(const struct table *t); /* anything for a flush? */
bool table_has_pending(const struct table *t);
uint64_t table_keys(const struct table *t);
size_t table_bytes(const struct table *t);

/* A place between keys. No write to the table while it is used. */
struct table_cursor {
    const struct table *table;
    const void *leaf;
    unsigned at;
    uint64_t upto; /* versions above are not seen */
};

/* Before the first key >= `key`. Then next yields that one, prev the one before it. */
void table_seek(const struct table *t, struct bytes key, uint64_t upto, struct table_cursor *c);
enum table_found table_next(struct table_cursor *c, struct bytes *key,
                            struct bytes *value); /* NONE: the end */
enum table_found table_prev(struct table_cursor *c, struct bytes *key, struct bytes *value);

void table_check(const struct table *t);

#endif
