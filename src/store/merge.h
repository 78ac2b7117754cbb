/* One ordered walk over several layers: for each key the newest layer that knows it decides,
 * deletions hide what lies below. */
#ifndef SYNOD_STORE_MERGE_H
#define SYNOD_STORE_MERGE_H

#include "store/table.h"

#define MERGE_LAYERS_MAX 3 /* recent, frozen, engine */

struct merge_source {
    struct table_cursor cursor;
    struct engine_iter *iter; /* NULL: a table */
    enum table_found found;   /* NONE: at its end */
    struct bytes key, value;
    bool used; /* key was given out or hidden: step before comparing again */
};

struct merge {
    struct merge_source source[MERGE_LAYERS_MAX]; /* newest first */
    unsigned count;
    struct engine *engine;
    struct bytes lo, hi; /* borrowed */
    bool reverse;
    enum engine_result failed; /* MISS or E_IO, for good; else ENGINE_FOUND */
};

/* Walks keys of [lo, hi). tables: newest first. engine: NULL if it is hidden. Versions above `upto`
 * are not seen. */
void merge_init(struct merge *m, struct bytes lo, struct bytes hi, bool reverse);
void merge_add_table(struct merge *m, const struct table *t, uint64_t upto);
void merge_add_engine(struct merge *m, struct engine *e, bool block);
/* A state of it that is kept, with blocking. */
void merge_add_snap(struct merge *m, struct engine *e, const struct engine_snap *at);
/* FOUND: key and value are borrowed until the next call. ABSENT: the end. MISS, E_IO. */
enum engine_result merge_next(struct merge *m, struct bytes *key, struct bytes *value);
void merge_deinit(struct merge *m);

#endif
