#include "base/map.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"

void map_deinit(struct map *m)
{
    mem_free(m->slots);
    *m = (struct map){0};
}

/* The slot that holds key, or the free one where it would go. The table is never full. */
static size_t map_find(const struct map *m, uint64_t key)
{
    size_t i = (size_t)hash_mix(key) & m->mask;
    while (m->slots[i].value && m->slots[i].key != key) i = (i + 1) & m->mask;
    return i;
}

void *map_get(const struct map *m, uint64_t key)
{
    return m->slots ? m->slots[map_find(m, key)].value : NULL;
}

static void map_grow(struct map *m)
{
    struct map old = *m;
    size_t capacity = old.slots ? 2 * (old.mask + 1) : 16;

    m->slots = mem_zalloc(capacity * sizeof *m->slots);
    m->mask = capacity - 1;
    for (size_t i = 0; old.slots && i <= old.mask; i++)
        if (old.slots[i].value) m->slots[map_find(m, old.slots[i].key)] = old.slots[i];
    mem_free(old.slots);
}

void map_put(struct map *m, uint64_t key, void *value)
{
    ASSERT(value);
    if (!m->slots || m->count * 4 >= (m->mask + 1) * 3) map_grow(m);
    size_t i = map_find(m, key);
    if (!m->slots[i].value) m->count++;
    m->slots[i] = (struct map_slot){key, value};
}

void *map_remove(struct map *m, uint64_t key)
{
    if (!m->slots) return NULL;
    size_t hole = map_find(m, key);
    void *value = m->slots[hole].value;
    if (!value) return NULL;

    for (size_t i = (hole + 1) & m->mask; m->slots[i].value; i = (i + 1) & m->mask) {
        size_t home = (size_t)hash_mix(m->slots[i].key) & m->mask;
        if (((i - home) & m->mask) < ((i - hole) & m->mask)) continue;
        m->slots[hole] = m->slots[i];
        hole = i;
    }
    m->slots[hole].value = NULL;
    m->count--;
    return value;
}

bool map_next(const struct map *m, size_t *at, uint64_t *key, void **value)
{
    for (; m->slots && *at <= m->mask; ++*at) {
        const struct map_slot *s = &m->slots[*at];
        if (!s->value) continue;
        *key = s->key;
        *value = s->value;
        ++*at;
        return true;
    }
    return false;
}
