/* The B+tree under a table: records ordered by key. It knows nothing of versions: a record is a key
 * with something behind it.
 *
 * A node keeps apart the prefix that all its keys share (at most TREE_PREFIX_MAX bytes of it), and
 * for each key the next 8 bytes as a big-endian number, zero-padded. Numbers that differ order
 * their keys; equal ones leave it to the whole keys. Records and nodes live in the slab. Removing
 * never merges nodes: tables are short-lived and removals (dropped speculation) rare. */
#ifndef SYNOD_STORE_TREE_H
#define SYNOD_STORE_TREE_H

#include "base/bytes.h"
#include "store/slab.h"

#define TREE_FAN        61u /* a leaf is 1 KiB */
#define TREE_PREFIX_MAX 28u

/* A version of a key, one block: this head, the older version's address if has_older, the key, the
 * value. */
struct record {
    uint64_t position;
    uint32_t value_size;
    uint32_t key_size : 30, has_older : 1, deleted : 1;
};
_Static_assert(sizeof(struct record) == 16, "the overhead of every key");

static inline uint8_t *record_key_at(const struct record *r)
{
    return (uint8_t *)(uintptr_t)(r + 1) + (r->has_older ? sizeof(void *) : 0);
}
static inline struct bytes record_key(const struct record *r)
{
    return (struct bytes){record_key_at(r), r->key_size};
}
static inline struct bytes record_value(const struct record *r)
{
    return (struct bytes){record_key_at(r) + r->key_size, r->value_size};
}

struct tree_node {
    uint16_t count;
    uint8_t leaf, shared; /* bytes of prefix */
    uint8_t prefix[TREE_PREFIX_MAX];
    uint64_t head[TREE_FAN];
    /* In an inner node: the least key that may be under child i + 1. */
    struct record *record[TREE_FAN];
};

struct tree_leaf {
    struct tree_node node;
    struct tree_leaf *next, *prev;
};

struct tree {
    struct slab *slab;
    struct tree_node *root; /* NULL: empty from the start */
    struct tree_leaf *first;
    uint64_t keys;
};

/* The record with this key, as the slot that holds it; NULL: none. The slot lives until the next
 * insert or remove. */
struct record **tree_find(const struct tree *t, struct bytes key);
/* As tree_find, but a missing key gets a slot that holds NULL: the caller fills it at once. */
struct record **tree_insert(struct tree *t, struct bytes key);
void tree_remove(struct tree *t, struct bytes key);
/* The leaf where `key` belongs, and the place in it of the first key >= key (may be one past the
 * leaf's last). NULL: empty. */
const struct tree_leaf *tree_seek(const struct tree *t, struct bytes key, unsigned *at);
void tree_check(const struct tree *t);

#endif
