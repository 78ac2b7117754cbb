#include "job/aggregate_impl.h"
#include "base/hash.h"

#include <stdlib.h>

void keytab_deinit(struct keytab *t)
{
    mem_free(t->slot);
    mem_free(t->entry);
    buf_deinit(&t->text);
}

struct bytes keytab_key(const struct keytab *t, uint32_t i)
{
    return bytes_of(t->text.data + t->entry[i].at, t->entry[i].size);
}

static void place(struct keytab *t, uint32_t index)
{
    uint32_t i = t->entry[index].hash & t->mask;
    while (t->slot[i]) i = (i + 1) & t->mask;
    t->slot[i] = index + 1;
}

static void grow(struct keytab *t)
{
    uint32_t slots = t->mask ? (t->mask + 1) * 2 : 64;
    mem_free(t->slot);
    t->slot = mem_zalloc(slots * sizeof *t->slot);
    t->mask = slots - 1;
    t->room = slots / 2;
    t->entry = mem_realloc(t->entry, t->room * sizeof *t->entry);
    for (uint32_t i = 0; i < t->count; i++) place(t, i);
}

uint32_t keytab_add(struct keytab *t, struct bytes key)
{
    uint32_t hash = (uint32_t)hash64(key, 1);
    if (t->mask)
        for (uint32_t i = hash & t->mask; t->slot[i]; i = (i + 1) & t->mask) {
            uint32_t index = t->slot[i] - 1;
            if (t->entry[index].hash == hash && bytes_equal(keytab_key(t, index), key))
                return index;
        }
    if (t->count == t->room) grow(t);
    t->entry[t->count] =
        (struct keytab_entry){.hash = hash, .size = (uint32_t)key.size, .at = t->text.size};
    buf_append_bytes(&t->text, key);
    place(t, t->count);
    return t->count++;
}

size_t keytab_memory(const struct keytab *t)
{
    return t->text.capacity + (t->mask + 1) * sizeof *t->slot + t->room * sizeof *t->entry;
}

static int by_key(const void *a, const void *b, void *table)
{
    const struct keytab *t = table;
    return bytes_compare(keytab_key(t, *(const uint32_t *)a), keytab_key(t, *(const uint32_t *)b));
}

uint32_t *keytab_sorted(const struct keytab *t)
{
    uint32_t *index = mem_alloc((t->count + 1) * sizeof *index);
    for (uint32_t i = 0; i < t->count; i++) index[i] = i;
    qsort_r(index, t->count, sizeof *index, by_key, (void *)t);
    return index;
}
