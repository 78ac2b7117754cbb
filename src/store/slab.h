/* Memory of one table: many small blocks of few sizes that all die together.
 *
 * Blocks come from chunks by bumping a pointer; a freed block waits in its size's list for the next
 * one of that size, so a key that is overwritten for ever reuses two blocks. Blocks above
 * SLAB_SMALL_MAX have an allocation each. Nothing moves. */
#ifndef SYNOD_STORE_SLAB_H
#define SYNOD_STORE_SLAB_H

#include "base/list.h"

#include <stdint.h>

#define SLAB_SMALL_MAX 4096u
#define SLAB_CLASSES   76u /* steps of 8 bytes up to 512, then four to each doubling */

struct slab_chunk;

struct slab {
    struct slab_chunk *chunks;
    uint8_t *at, *end;  /* what is free of the newest chunk */
    size_t chunk_bytes; /* size of the newest chunk */
    size_t bytes;       /* held from the system */
    void **free;        /* by class; in the oldest chunk: a table that is never written has none */
    struct list big;
};

void slab_init(struct slab *s);
void slab_deinit(struct slab *s); /* frees every block */
void *slab_alloc(struct slab *s, size_t size);
void slab_free(struct slab *s, void *block,
               size_t size); /* size: as given to slab_alloc, or of the same room */
/* Bytes that a block of this size really has: blocks of equal room may be used for each other. */
size_t slab_room(size_t size);

#endif
