/* Key ranges made from trashed prefixes, in order, for flushes and digests. */
#ifndef SYNOD_STORE_RANGES_H
#define SYNOD_STORE_RANGES_H

#include "store/table.h"

struct ranges {
    struct engine_range *list; /* by rising lo; prefixes nest or are apart, so do these */
    size_t count;
    struct buf ends; /* the bytes of every hi */
};

/* Adds the trash of `t` at or below `upto`; borrows the prefixes from the table. Call ranges_sort
 * when all are in. */
void ranges_add_trash(struct ranges *r, const struct table *t, uint64_t upto);
void ranges_sort(struct ranges *r);
/* Whether the key lies in a range. Keys must come in rising order; *at starts at 0. */
bool ranges_cover(const struct ranges *r, size_t *at, struct bytes key);
void ranges_deinit(struct ranges *r);

#endif
