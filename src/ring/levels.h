/* The fair shares of nodes, how full each is, and which of a range is the emptiest or the fullest.
 *
 * Nodes are numbered 0 to count - 1 ("places"), those of a zone side by side. A node's level is its
 * load in units of its target: LEVEL_ONE is exactly its share. A tree over the places answers for
 * the lowest and the highest level of any range in O(log count); changing a load costs as much.
 *
 * Among nodes whose levels differ by less than a thousandth, a hash of place and load decides. It
 * changes with every load, so that groups of equal weight, dealt out in turn, do not always meet on
 * the same nodes: when a node dies, many others then share the work of rebuilding it.
 *
 * Pure. Memory is the caller's. No floating point, for all nodes must compute the same. */
#ifndef SYNOD_RING_LEVELS_H
#define SYNOD_RING_LEVELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEVEL_ONE   ((uint64_t)1 << 20)
#define LEVELS_NONE UINT16_MAX

/* Loads, and their sums over all nodes, stay below this. */
#define LEVELS_LOAD_MAX ((uint64_t)1 << 43)

struct levels {
    uint16_t count;
    uint32_t width;                         /* leaves of the tree: a power of two */
    uint64_t *load, *target, *level, *rank; /* by place; rank: level, with ties broken */
    uint64_t *limit;                        /* the most a place can ever hold */
    uint32_t *capacity;                     /* 0: not a holding node; in no answer */
    uint16_t *low, *high;                   /* the tree; LEVELS_NONE where a range is empty */
};

/* A zone: places first to end - 1, and the most they may hold together. */
struct levels_zone {
    uint16_t first, end;
    uint64_t limit;
};

size_t levels_size(size_t count);
/* Lays the arrays out in `memory` (levels_size bytes, aligned to 8); capacity, load, limit: 0. */
void levels_init(struct levels *l, size_t count, void *memory);

/* Sets the targets: `total` shared out by capacity, but no place above its limit and no zone above
 * its own; what those cannot take, the others share ("water filling"). */
void levels_share_out(struct levels *l, const struct levels_zone *zones, size_t zone_count,
                      uint64_t total);
/* Computes level and tree anew from load and target of all. */
void levels_rebuild(struct levels *l);
/* Changes one load. */
void levels_set(struct levels *l, uint16_t place, uint64_t load);
/* Takes a place out of all answers, and puts it back. */
void levels_hide(struct levels *l, uint16_t place);
void levels_show(struct levels *l, uint16_t place);

/* The place with the lowest (highest) level of first to end - 1; LEVELS_NONE if there is none. */
uint16_t levels_lowest(const struct levels *l, uint32_t first, uint32_t end);
uint16_t levels_highest(const struct levels *l, uint32_t first, uint32_t end);
/* The lower (higher) of two answers. */
uint16_t levels_lower(const struct levels *l, uint16_t a, uint16_t b);
uint16_t levels_higher(const struct levels *l, uint16_t a, uint16_t b);

static inline uint64_t levels_level(uint64_t load, uint64_t target)
{
    if (!target) return load ? LEVELS_LOAD_MAX * LEVEL_ONE : LEVEL_ONE;
    return load * LEVEL_ONE / target;
}

/* How far from its share, either way, a place would be with this load. */
static inline uint64_t levels_deviation(const struct levels *l, uint16_t place, uint64_t load)
{
    uint64_t level = levels_level(load, l->target[place]);
    return level > LEVEL_ONE ? level - LEVEL_ONE : LEVEL_ONE - level;
}

#endif
