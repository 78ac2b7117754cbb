/* The engine's twin in memory: an immutable sorted array, replaced as a whole by every ingest. So a
 * batch is atomic and an iterator keeps the array it began with. A "disk" outlives the engines
 * opened on it, as files outlive processes. */
#include "store/engine.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/prng.h"

#include <errno.h>
#include <pthread.h>

struct item {
    uint32_t refs; /* arrays that hold it */
    uint32_t key_size, value_size;
    uint8_t bytes[];
};

struct array {
    uint32_t refs; /* the disk, and iterators */
    size_t count;
    uint64_t bytes;
    struct item *item[];
};

struct engine_snap {
    struct array *array;
};

struct engine_mem_disk {
    /* Over `array` and all reference counts: real pools ingest while the reactor reads. */
    pthread_mutex_t lock;
    struct array *array;
    bool full;
};

struct engine_mem {
    struct engine engine;
    struct engine_mem_disk *disk;
    uint32_t miss_ppm;
    struct prng prng;
    struct map warm; /* hash of a key that was read with blocking -> itself */
    uint64_t gets, misses, ingests;
};

struct engine_iter {
    struct engine_mem *engine;
    struct array *array;
    size_t at, end; /* rising: next is at; falling: next is end - 1 */
    bool reverse, block;
};

static struct bytes item_key(const struct item *i)
{
    return (struct bytes){i->bytes, i->key_size};
}

static struct bytes item_value(const struct item *i)
{
    return (struct bytes){i->bytes + i->key_size, i->value_size};
}

static struct item *item_new(struct bytes key, struct bytes value)
{
    struct item *i = mem_alloc(sizeof *i + key.size + value.size);
    i->refs = 0;
    i->key_size = (uint32_t)key.size;
    i->value_size = (uint32_t)value.size;
    if (key.size) memcpy(i->bytes, key.data, key.size);
    if (value.size) memcpy(i->bytes + key.size, value.data, value.size);
    return i;
}

static struct array *array_new(size_t capacity)
{
    struct array *a = mem_alloc(sizeof *a + capacity * sizeof *a->item);
    a->refs = 1;
    a->count = 0;
    a->bytes = 0;
    return a;
}

static void array_push(struct array *a, struct item *i)
{
    ASSERT(a->count == 0 || bytes_compare(item_key(a->item[a->count - 1]), item_key(i)) < 0);
    i->refs++;
    a->bytes += i->key_size + i->value_size;
    a->item[a->count++] = i;
}

static void array_release(struct array *a)
{
    ASSERT(a->refs > 0);
    if (--a->refs) return;
    for (size_t i = 0; i < a->count; i++)
        if (--a->item[i]->refs == 0) mem_free(a->item[i]);
    mem_free(a);
}

static size_t array_lower(const struct array *a, struct bytes key)
{
    size_t low = 0, high = a->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bytes_compare(item_key(a->item[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct engine_mem_disk *engine_mem_disk_new(void)
{
    struct engine_mem_disk *d = mem_zalloc(sizeof *d);
    pthread_mutex_init(&d->lock, NULL);
    d->array = array_new(0);
    return d;
}

void engine_mem_disk_free(struct engine_mem_disk *d)
{
    if (!d) return;
    array_release(d->array);
    pthread_mutex_destroy(&d->lock);
    mem_free(d);
}

void engine_mem_set_full(struct engine_mem_disk *d, bool full)
{
    d->full = full;
}

static struct engine_mem *mem_of(struct engine *e)
{
    return (struct engine_mem *)e;
}

/* Whether a read of this key is refused for want of the disk. What was read with blocking is at
 * hand from then on. */
static bool mem_misses(struct engine_mem *m, struct bytes key, bool block)
{
    if (m->miss_ppm == 0) return false;
    pthread_mutex_lock(&m->disk->lock);
    uint64_t hash = hash64(key, 0);
    bool miss = false;
    if (block)
        map_put(&m->warm, hash, m);
    else
        miss = !map_get(&m->warm, hash) && prng_chance(&m->prng, m->miss_ppm);
    m->misses += miss;
    pthread_mutex_unlock(&m->disk->lock);
    return miss;
}

static enum engine_result mem_get(struct engine *e, struct bytes key, bool block, struct buf *value)
{
    struct engine_mem *m = mem_of(e);
    buf_clear(value);
    m->gets += !block;
    if (mem_misses(m, key, block)) return ENGINE_MISS;
    pthread_mutex_lock(&m->disk->lock);
    const struct array *a = m->disk->array;
    size_t at = array_lower(a, key);
    bool found = at < a->count && bytes_equal(item_key(a->item[at]), key);
    if (found) buf_append_bytes(value, item_value(a->item[at]));
    pthread_mutex_unlock(&m->disk->lock);
    return found ? ENGINE_FOUND : ENGINE_ABSENT;
}

/* at: as engine.h has it. */
static struct engine_iter *iter_make(struct engine_mem *m, const struct engine_snap *at,
                                     struct bytes lo, struct bytes hi, bool reverse, bool block)
{
    struct engine_iter *it = mem_alloc(sizeof *it);
    pthread_mutex_lock(&m->disk->lock);
    struct array *a = at ? at->array : m->disk->array;
    a->refs++;
    *it = (struct engine_iter){.engine = m,
                               .array = a,
                               .at = array_lower(a, lo),
                               .end = array_lower(a, hi),
                               .reverse = reverse,
                               .block = block};
    pthread_mutex_unlock(&m->disk->lock);
    return it;
}

static enum engine_result mem_iter_new(struct engine *e, struct bytes lo, struct bytes hi,
                                       bool reverse, bool block, struct engine_iter **out)
{
    struct engine_mem *m = mem_of(e);
    *out = NULL;
    if (mem_misses(m, lo, block) || mem_misses(m, hi, block)) return ENGINE_MISS;
    *out = iter_make(m, NULL, lo, hi, reverse, block);
    return ENGINE_FOUND;
}

static enum engine_result mem_scan_new(struct engine *e, const struct engine_snap *at,
                                       struct bytes lo, struct bytes hi, struct engine_iter **out)
{
    *out = iter_make(mem_of(e), at, lo, hi, false, true);
    return ENGINE_FOUND;
}

static struct engine_snap *mem_snap_new(struct engine *e)
{
    struct engine_mem_disk *d = mem_of(e)->disk;
    struct engine_snap *s = mem_alloc(sizeof *s);
    pthread_mutex_lock(&d->lock);
    s->array = d->array;
    s->array->refs++;
    pthread_mutex_unlock(&d->lock);
    return s;
}

static void mem_snap_free(struct engine *e, struct engine_snap *s)
{
    struct engine_mem_disk *d = mem_of(e)->disk;
    pthread_mutex_lock(&d->lock);
    array_release(s->array);
    pthread_mutex_unlock(&d->lock);
    mem_free(s);
}

static enum engine_result mem_iter_next(struct engine_iter *it, struct bytes *key,
                                        struct bytes *value)
{
    if (it->at >= it->end) return ENGINE_ABSENT;
    const struct item *i = it->array->item[it->reverse ? it->end - 1 : it->at];
    if (mem_misses(it->engine, item_key(i), it->block)) return ENGINE_MISS;
    *key = item_key(i);
    *value = item_value(i);
    if (it->reverse)
        it->end--;
    else
        it->at++;
    return ENGINE_FOUND;
}

static void mem_iter_seek(struct engine_iter *it, struct bytes key)
{
    ASSERT(!it->reverse);
    it->at = array_lower(it->array, key); /* arrays never change */
}

static void mem_iter_free(struct engine_iter *it)
{
    pthread_mutex_t *lock = &it->engine->disk->lock;
    pthread_mutex_lock(lock);
    array_release(it->array);
    pthread_mutex_unlock(lock);
    mem_free(it);
}

static bool range_hides(const struct engine_source *s, struct bytes key)
{
    for (size_t i = 0; i < s->wipe_count; i++)
        if (bytes_compare(s->wipe[i].lo, key) <= 0 && bytes_compare(key, s->wipe[i].hi) < 0)
            return true;
    return false;
}

/* The batch as items of its own; value_size UINT32_MAX marks a deletion. */
static struct item **batch_read(struct engine_source *source, size_t *count)
{
    struct item **list = NULL;
    size_t capacity = 0;
    struct bytes key, value;
    bool deleted;
    *count = 0;
    while (source->next(source->ctx, &key, &value, &deleted)) {
        ASSERT(*count == 0 || bytes_compare(item_key(list[*count - 1]), key) < 0);
        if (*count == capacity) {
            capacity = capacity ? capacity * 2 : 64;
            list = mem_realloc(list, capacity * sizeof *list);
        }
        struct item *i = item_new(key, deleted ? (struct bytes){0} : value);
        if (deleted) i->value_size = UINT32_MAX;
        list[(*count)++] = i;
    }
    return list;
}

static void array_push_old(struct array *to, struct item *i, const struct engine_source *source)
{
    if (!range_hides(source, item_key(i))) array_push(to, i);
}

static int mem_ingest(struct engine *e, struct engine_source *source)
{
    struct engine_mem *m = mem_of(e);
    if (m->disk->full) return -ENOSPC;
    size_t count, at = 0;
    struct item **batch = batch_read(source, &count);

    pthread_mutex_lock(&m->disk->lock);
    struct array *old = m->disk->array, *new = array_new(old->count + count);
    for (size_t i = 0; i < count; i++) {
        int order = -1;
        while (at < old->count &&
               (order = bytes_compare(item_key(old->item[at]), item_key(batch[i]))) < 0)
            array_push_old(new, old->item[at++], source);
        if (at < old->count && order == 0) at++; /* superseded */
        if (batch[i]->value_size == UINT32_MAX)
            mem_free(batch[i]);
        else
            array_push(new, batch[i]);
    }
    while (at < old->count) array_push_old(new, old->item[at++], source);
    m->disk->array = new;
    array_release(old);
    m->ingests++;
    pthread_mutex_unlock(&m->disk->lock);
    mem_free(batch);
    return 0;
}

static void mem_stats(struct engine *e, struct buf *text)
{
    const struct engine_mem *m = mem_of(e);
    buf_printf(
        text, "engine:mem\r\nengine_gets:%llu\r\nengine_misses:%llu\r\nengine_ingests:%llu\r\n",
        (unsigned long long)m->gets, (unsigned long long)m->misses, (unsigned long long)m->ingests);
}

static uint64_t mem_disk_bytes(struct engine *e)
{
    struct engine_mem_disk *d = mem_of(e)->disk;
    pthread_mutex_lock(&d->lock);
    uint64_t bytes = d->array->bytes;
    pthread_mutex_unlock(&d->lock);
    return bytes;
}

static void mem_close(struct engine *e)
{
    struct engine_mem *m = mem_of(e);
    map_deinit(&m->warm);
    mem_free(m);
}

struct engine *engine_mem_open(struct engine_mem_disk *d)
{
    static const struct engine_ops ops = {
        .get = mem_get,
        .iter_new = mem_iter_new,
        .scan_new = mem_scan_new,
        .snap_new = mem_snap_new,
        .snap_free = mem_snap_free,
        .iter_next = mem_iter_next,
        .iter_seek = mem_iter_seek,
        .iter_free = mem_iter_free,
        .ingest = mem_ingest,
        .stats = mem_stats,
        .disk_bytes = mem_disk_bytes,
        .close = mem_close,
    };
    struct engine_mem *m = mem_zalloc(sizeof *m);
    m->engine.ops = &ops;
    m->disk = d;
    return &m->engine;
}

void engine_mem_set_miss(struct engine *e, uint32_t ppm, uint64_t seed)
{
    struct engine_mem *m = mem_of(e);
    m->miss_ppm = ppm;
    prng_init(&m->prng, seed);
}
