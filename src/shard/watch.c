#include "shard/watch.h"
#include "base/hash.h"
#include "base/mem.h"

#define BUCKETS (1u << 16)

void watch_start(struct watch *w)
{
    if (!w->bucket) w->bucket = mem_zalloc(BUCKETS * sizeof *w->bucket);
}

void watch_stop(struct watch *w)
{
    mem_free(w->bucket);
    *w = (struct watch){0};
}

static uint64_t *bucket_of(const struct watch *w, struct bytes key)
{
    return &w->bucket[hash64(key, 0) & (BUCKETS - 1)];
}

uint64_t watch_version(const struct watch *w, struct bytes key)
{
    uint64_t last = *bucket_of(w, key);
    return last > w->base ? last : w->base;
}

void watch_tick(struct watch *w)
{
    w->clock++;
}

void watch_note(struct watch *w, struct bytes key)
{
    *bucket_of(w, key) = w->clock;
}

void watch_note_all(struct watch *w)
{
    w->base = w->clock;
}
