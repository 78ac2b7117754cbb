#include "ring/levels.h"

#include "base/assert.h"
#include "base/hash.h"

/* Capacities are scaled to at most this, and the water mark has as many bits of fraction. */
#define CAPACITY_BITS 16
#define MARK_MAX      ((uint64_t)1 << 60)

static size_t width_for(size_t count)
{
    size_t width = 1;
    while (width < count) width *= 2;
    return width;
}

size_t levels_size(size_t count)
{
    size_t size = count * (5 * sizeof(uint64_t) + sizeof(uint32_t)) +
                  2 * 2 * width_for(count) * sizeof(uint16_t);
    return (size + 7) & ~(size_t)7;
}

void levels_init(struct levels *l, size_t count, void *memory)
{
    ASSERT(count < LEVELS_NONE);
    uint64_t *at = memory;
    memset(memory, 0, levels_size(count));
    *l = (struct levels){.count = (uint16_t)count, .width = (uint32_t)width_for(count)};
    l->load = at;
    l->target = at + count;
    l->level = at + 2 * count;
    l->rank = at + 3 * count;
    l->limit = at + 4 * count;
    l->capacity = (uint32_t *)(at + 5 * count);
    l->low = (uint16_t *)(l->capacity + count);
    l->high = l->low + (size_t)2 * l->width;
}

/* ---- shares ---- */

/* What a place holds when the water stands at `mark` (weight per capacity, CAPACITY_BITS of
 * fraction). */
static uint64_t share_at(const struct levels *l, uint32_t place, uint64_t mark, uint32_t scale)
{
    uint64_t capacity = ((uint64_t)l->capacity[place] << CAPACITY_BITS) / scale;
    if (l->capacity[place] && !capacity) capacity = 1;
    unsigned __int128 share = (unsigned __int128)mark * capacity >> CAPACITY_BITS;
    return share < l->limit[place] ? (uint64_t)share : l->limit[place];
}

static uint64_t zone_share_at(const struct levels *l, const struct levels_zone *z, uint64_t mark,
                              uint32_t scale)
{
    uint64_t sum = 0;
    for (uint32_t p = z->first; p < z->end; p++) sum += share_at(l, p, mark, scale);
    return sum;
}

static uint64_t all_share_at(const struct levels *l, const struct levels_zone *zones, size_t count,
                             uint64_t mark, uint32_t scale)
{
    uint64_t sum = 0;
    for (size_t z = 0; z < count; z++) {
        uint64_t share = zone_share_at(l, &zones[z], mark, scale);
        sum += share < zones[z].limit ? share : zones[z].limit;
    }
    return sum;
}

/* The highest mark at which one zone (or, with count > 1, all with their limits) holds no more than
 * `amount`. */
static uint64_t mark_for(const struct levels *l, const struct levels_zone *zones, size_t count,
                         uint64_t amount, uint32_t scale)
{
    uint64_t low = 0, high = MARK_MAX;
    while (low < high) {
        uint64_t mark = low + (high - low + 1) / 2;
        uint64_t sum = count > 1 ? all_share_at(l, zones, count, mark, scale)
                                 : zone_share_at(l, zones, mark, scale);
        if (sum <= amount)
            low = mark;
        else
            high = mark - 1;
    }
    return low;
}

void levels_share_out(struct levels *l, const struct levels_zone *zones, size_t zone_count,
                      uint64_t total)
{
    ASSERT(total < LEVELS_LOAD_MAX);
    uint32_t scale = 1;
    for (uint32_t p = 0; p < l->count; p++)
        if (l->capacity[p] > scale) scale = l->capacity[p];
    uint64_t common = zone_count > 1 ? mark_for(l, zones, zone_count, total, scale) : MARK_MAX;
    for (size_t z = 0; z < zone_count; z++) {
        uint64_t limit = zone_count > 1 || zones[z].limit < total ? zones[z].limit : total;
        uint64_t mark = common;
        if (zone_share_at(l, &zones[z], mark, scale) > limit)
            mark = mark_for(l, &zones[z], 1, limit, scale);
        for (uint32_t p = zones[z].first; p < zones[z].end; p++)
            l->target[p] = share_at(l, p, mark, scale);
    }
}

/* ---- the tree ---- */

uint16_t levels_lower(const struct levels *l, uint16_t a, uint16_t b)
{
    if (a == LEVELS_NONE || b == LEVELS_NONE) return a == LEVELS_NONE ? b : a;
    if (l->rank[a] != l->rank[b]) return l->rank[a] < l->rank[b] ? a : b;
    return a < b ? a : b;
}

uint16_t levels_higher(const struct levels *l, uint16_t a, uint16_t b)
{
    if (a == LEVELS_NONE || b == LEVELS_NONE) return a == LEVELS_NONE ? b : a;
    if (l->rank[a] != l->rank[b]) return l->rank[a] > l->rank[b] ? a : b;
    return a < b ? a : b;
}

static void take_level(struct levels *l, uint16_t place)
{
    uint64_t tie = LEVEL_ONE / 1024 - 1;
    l->level[place] = levels_level(l->load[place], l->target[place]);
    l->rank[place] =
        (l->level[place] & ~tie) | (hash_mix(l->load[place] ^ (uint64_t)(place + 1) << 48) & tie);
}

static void join(struct levels *l, uint32_t i)
{
    l->low[i] = levels_lower(l, l->low[2 * i], l->low[2 * i + 1]);
    l->high[i] = levels_higher(l, l->high[2 * i], l->high[2 * i + 1]);
}

void levels_rebuild(struct levels *l)
{
    for (uint32_t p = 0; p < l->width; p++) {
        bool in = p < l->count && l->capacity[p];
        if (in) take_level(l, (uint16_t)p);
        l->low[l->width + p] = l->high[l->width + p] = in ? (uint16_t)p : LEVELS_NONE;
    }
    for (uint32_t i = l->width - 1; i > 0; i--) join(l, i);
}

static void put_leaf(struct levels *l, uint16_t place, uint16_t value)
{
    uint32_t i = l->width + place;
    l->low[i] = l->high[i] = value;
    while (i /= 2) join(l, i);
}

void levels_set(struct levels *l, uint16_t place, uint64_t load)
{
    ASSERT(place < l->count && load < LEVELS_LOAD_MAX);
    l->load[place] = load;
    if (!l->capacity[place]) return;
    take_level(l, place);
    put_leaf(l, place, place);
}

void levels_hide(struct levels *l, uint16_t place)
{
    put_leaf(l, place, LEVELS_NONE);
}

void levels_show(struct levels *l, uint16_t place)
{
    if (l->capacity[place]) put_leaf(l, place, place);
}

uint16_t levels_lowest(const struct levels *l, uint32_t first, uint32_t end)
{
    uint16_t best = LEVELS_NONE;
    for (first += l->width, end += l->width; first < end; first /= 2, end /= 2) {
        if (first & 1) best = levels_lower(l, best, l->low[first++]);
        if (end & 1) best = levels_lower(l, best, l->low[--end]);
    }
    return best;
}

uint16_t levels_highest(const struct levels *l, uint32_t first, uint32_t end)
{
    uint16_t best = LEVELS_NONE;
    for (first += l->width, end += l->width; first < end; first /= 2, end /= 2) {
        if (first & 1) best = levels_higher(l, best, l->high[first++]);
        if (end & 1) best = levels_higher(l, best, l->high[--end]);
    }
    return best;
}
