/* A hash map from 64-bit numbers to pointers: open addressing, linear probing, backward-shift
 * deletion. {0} is empty. Iteration order depends only on the history of calls, never on addresses,
 * so simulated runs repeat. */
#ifndef SYNOD_BASE_MAP_H
#define SYNOD_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_slot {
    uint64_t key;
    void *value; /* NULL: free */
};

struct map {
    struct map_slot *slots;
    size_t mask; /* capacity - 1, or 0 when there is no table */
    size_t count;
};

void map_deinit(struct map *m);
void *map_get(const struct map *m, uint64_t key);       /* NULL: not there */
void map_put(struct map *m, uint64_t key, void *value); /* value not NULL; replaces */
void *map_remove(struct map *m, uint64_t key);          /* what was there, or NULL */
/* Walk: start with *at = 0; false at the end. Do not change the map meanwhile. */
bool map_next(const struct map *m, size_t *at, uint64_t *key, void **value);

#endif
