/* What the tests of spaces share: a directory of their own, a space on either engine, and small
 * helpers. */
#ifndef SYNOD_TESTS_WORLD_H
#define SYNOD_TESTS_WORLD_H

#include "test.h"
#include "pool.h"
#include "store/space.h"

#include <ftw.h>
#include <unistd.h>

#define APPLIED_KEY                                                                                \
    BYTES("\xff\xff"                                                                               \
          "applied1")

struct world {
    struct pool pool;
    bool rocks;
    char dir[64];                 /* of rocks */
    struct engine_mem_disk *disk; /* of mem */
    struct engine *engine;
    struct space_cache *cache;
    struct space *space;
    uint32_t miss_ppm;
    uint64_t seed;
    /* the last report of a flush */
    uint64_t flushed, reports;
    int error;
};

static inline void world_flushed(void *ctx, uint64_t position, int error)
{
    struct world *w = ctx;
    w->reports++;
    w->error = error;
    if (!error) w->flushed = position;
}

static inline int world_remove_one(const char *path, const struct stat *st, int type,
                                   struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static inline void world_remove_dir(const char *path)
{
    (void)nftw(path, world_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void world_open(struct world *w)
{
    char error[256];
    if (w->rocks) {
        w->engine = engine_rocks_open(w->dir, 8u << 20, error, sizeof error);
        if (!w->engine) fail_msg("%s", error);
    } else {
        w->engine = engine_mem_open(w->disk);
        engine_mem_set_miss(w->engine, w->miss_ppm, ++w->seed);
    }
    w->cache = space_cache_new(64u << 10);
    struct space_options o = {.io = &w->pool.io,
                              .engine = w->engine,
                              .cache = w->cache,
                              .lo = BYTES("a"),
                              .hi = BYTES("z"),
                              .applied_key = APPLIED_KEY,
                              .flushed = world_flushed,
                              .ctx = w};
    w->space = space_new(&o);
}

static inline void world_close(struct world *w)
{
    space_free(w->space);
    space_cache_free(w->cache);
    engine_close(w->engine);
}

static inline void world_crash(struct world *w)
{
    pool_crash(&w->pool);
    world_close(w);
    world_open(w);
}

static inline void world_init(struct world *w, bool rocks, uint32_t miss_ppm, uint64_t seed)
{
    *w = (struct world){.rocks = rocks, .miss_ppm = miss_ppm, .seed = seed * 1000};
    pool_init(&w->pool);
    if (rocks) {
        strcpy(w->dir, "/tmp/synod-test-XXXXXX");
        if (!mkdtemp(w->dir)) fail_msg("no temporary directory");
    } else {
        w->disk = engine_mem_disk_new();
    }
    world_open(w);
}

static inline void world_deinit(struct world *w)
{
    world_close(w);
    if (w->rocks) world_remove_dir(w->dir);
    engine_mem_disk_free(w->disk);
}

static inline void world_put(struct world *w, uint64_t position, const char *key, const char *value)
{
    space_put(w->space, position, bytes_str(key), bytes_str(value));
}

static inline struct bytes world_get(struct world *w, const char *key, bool block)
{
    struct bytes value;
    switch (space_get(w->space, bytes_str(key), block, &value)) {
    case ENGINE_FOUND: return value;
    case ENGINE_ABSENT: return BYTES("(absent)");
    case ENGINE_MISS: return BYTES("(miss)");
    default: return BYTES("(error)");
    }
}

static inline void world_flush(struct world *w, uint64_t applied, const char *record)
{
    assert_true(space_flush(w->space, applied, bytes_str(record)));
    pool_finish(&w->pool);
    assert_int_equal(w->error, 0);
    assert_int_equal(w->flushed, applied);
}

#endif
