/* What a table, a space and the engine cost a key. Figures for people; nothing is asserted.
 *
 *   bench_store [DIR]     DIR: where RocksDB's files go for the run (default: a new directory under
 * /tmp) */
#include "base/prng.h"
#include "shard/keys.h"
#include "shard/snapshot.h"
#include "store/space.h"
#include "store/table.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { KEYS = 200000, KEY_SIZE = 20, VALUE_SIZE = 100 };

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t cpu_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void report(const char *what, uint64_t since, uint64_t count)
{
    printf("%-52s %8.0f ns\n", what, (double)(now_ns() - since) / (double)count);
}

/* Keys as the shard makes them: slot, kind, 48 bits of hash, the key's text. */
static uint8_t (*make_keys(uint64_t seed))[KEY_SIZE]
{
    uint8_t(*key)[KEY_SIZE] = malloc((size_t)KEYS * KEY_SIZE);
    struct prng r;
    prng_init(&r, seed);
    for (int i = 0; i < KEYS; i++) {
        char text[16];
        uint64_t hash = prng_u64(&r);
        be16_put(key[i], (uint16_t)(hash % 1024));
        key[i][2] = 'm';
        memcpy(key[i] + 3, &hash, 6);
        (void)snprintf(text, sizeof text, "k%010d", i);
        memcpy(key[i] + 9, text, 11);
    }
    return key;
}

static void bench_table(uint8_t (*key)[KEY_SIZE], const unsigned *order)
{
    uint8_t value[VALUE_SIZE] = {0};
    struct bytes v = bytes_of(value, VALUE_SIZE);
    struct table *t = table_new(0);
    uint64_t start = now_ns(), sum = 0, position = 0;
    for (int i = 0; i < KEYS; i++) {
        table_put(t, ++position, bytes_of(key[i], KEY_SIZE), v);
        table_set_applied(t, position);
    }
    report("table: put of a new key", start, KEYS);
    printf("%-52s %8.1f bytes\n", "table: memory beyond key and value",
           (double)table_bytes(t) / KEYS - KEY_SIZE - VALUE_SIZE);
    start = now_ns();
    for (int i = 0; i < KEYS; i++) {
        table_put(t, ++position, bytes_of(key[order[i]], KEY_SIZE), v);
        table_set_applied(t, position);
    }
    report("table: put over an applied key, random order", start, KEYS);
    start = now_ns();
    for (int i = 0; i < KEYS; i++) {
        struct bytes found;
        if (table_get(t, bytes_of(key[order[i]], KEY_SIZE), &found, NULL) == TABLE_VALUE)
            sum += found.data[0];
    }
    report("table: get, random order", start, KEYS);
    struct table_cursor c;
    struct bytes k, found;
    start = now_ns();
    table_seek(t, (struct bytes){0}, UINT64_MAX, &c);
    while (table_next(&c, &k, &found) != TABLE_NONE) sum += k.data[0];
    report("table: next", start, KEYS);
    start = now_ns();
    table_free(t);
    report("table: free, a key", start, KEYS);
    if (sum == 1) printf("\n"); /* keeps the reads alive */
}

struct bench_io {
    struct io io;
    struct io_work *work;
};

static void bench_work(struct io *io, struct io_work *w)
{
    ((struct bench_io *)io)->work = w;
}

static void bench_flushed(void *ctx, uint64_t position, int error)
{
    (void)ctx, (void)position;
    if (error) printf("flush failed: %d\n", error);
}

static void flush(struct bench_io *io, struct space *s, uint64_t position, const char *what)
{
    struct timespec a, b;
    uint64_t start = now_ns();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    if (!space_flush(s, position, BYTES("record"))) return;
    io->work->run(io->work->ctx);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    io->work->done(io->work->ctx);
    report(what, start, KEYS);
    printf("%-52s %8.0f ns\n", "  of which CPU",
           ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / KEYS);
}

static void bench_gets(struct space *s, uint8_t (*key)[KEY_SIZE], const unsigned *order,
                       struct space_cache *cache, int count, const char *what)
{
    uint64_t start = now_ns(), misses = 0;
    for (int i = 0; i < count; i++) {
        struct bytes value;
        misses += space_get(s, bytes_of(key[order[i]], KEY_SIZE), false, &value) != ENGINE_FOUND;
        if (i % 64 == 0) space_cache_turn(cache);
    }
    report(what, start, (uint64_t)count);
    if (misses) printf("  (%llu were not at hand)\n", (unsigned long long)misses);
}

static long resident_kb(void)
{
    long pages = 0, all = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%ld %ld", &all, &pages) != 2) pages = 0;
    if (f) fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void bench_space(const char *dir, uint8_t (*key)[KEY_SIZE], const unsigned *order)
{
    char error[256];
    long before = resident_kb();
    struct engine *e = engine_rocks_open(dir, 256u << 20, error, sizeof error);
    if (!e) {
        printf("%s\n", error);
        return;
    }
    printf("%-52s %8ld KiB\n", "rocks: memory of an empty open store", resident_kb() - before);
    static const struct io_ops ops = {.work = bench_work};
    struct bench_io io = {.io = {.ops = &ops}};
    struct space_cache *cache = space_cache_new(64u << 20), *none = space_cache_new(0);
    struct space_options o = {.io = &io.io,
                              .engine = e,
                              .cache = cache,
                              .lo = BYTES("\0"),
                              .hi = BYTES("\x40"),
                              .applied_key = BYTES("\xff\xff\1"),
                              .flushed = bench_flushed};
    struct space *s = space_new(&o);
    uint8_t value[VALUE_SIZE];
    struct bytes v = bytes_of(value, VALUE_SIZE);
    struct prng r;
    prng_init(&r, 3);
    uint64_t position = 0, start, digest, keys;
    for (int round = 0; round < 3; round++) {
        start = now_ns();
        for (int i = 0; i < KEYS; i++) {
            for (int j = 0; j < VALUE_SIZE; j += 4)
                memcpy(value + j, &(uint32_t){(uint32_t)prng_u64(&r)}, 4);
            space_put(s, ++position, bytes_of(key[i], KEY_SIZE), v);
            space_set_applied(s, position);
        }
        if (round == 0) report("space: put (and making the value)", start, KEYS);
        flush(&io, s, position,
              round ? "space: flush over existing keys, a key" : "space: flush of new keys, a key");
    }
    start = now_ns();
    (void)space_digest(s, &digest, &keys); /* warms the block cache, too */
    report("space: digest, a key (reads the engine in order)", start, keys);
    o.cache = none;
    struct space *bare = space_new(&o);
    bench_gets(bare, key, order, none, KEYS, "rocks: warm get, random order");
    bench_gets(s, key, order, cache, KEYS, "space: get, filling the value cache");
    bench_gets(s, key, order, cache, KEYS, "space: get from the value cache");
    start = now_ns();
    space_wipe(s, ++position);
    flush(&io, s, position, "space: flush of a wipe, a key wiped");
    start = now_ns();
    (void)space_digest(s, &digest, &keys);
    report("space: walk over what was wiped, a key wiped", start, KEYS);
    space_free(bare);
    space_free(s);
    space_cache_free(cache);
    space_cache_free(none);
    e->ops->close(e);
}

/* ---- a snapshot from one store to another ---- */

struct transfer {
    struct bench_io io;
    struct engine *from, *to;
    struct bytes chunk;
    int error;
    uint64_t out_ns, in_ns, out_cpu_ns, in_cpu_ns;
};

static void transfer_answer(void *ctx, int error)
{
    ((struct transfer *)ctx)->error = error;
}

static void transfer_chunk(void *ctx, struct bytes chunk, int error)
{
    struct transfer *t = ctx;
    t->chunk = chunk;
    t->error = error;
}

static void transfer_flushed(void *ctx, struct shard *s, int error)
{
    (void)ctx, (void)s;
    if (error) printf("flush failed: %d\n", error);
}

/* Does the work that was just asked for. */
static void transfer_work(struct transfer *t, uint64_t *ns, uint64_t *cpu_ns)
{
    uint64_t start = now_ns(), cpu = cpu_now_ns();
    struct io_work *w = t->io.work;
    w->run(w->ctx);
    w->done(w->ctx);
    *ns += now_ns() - start;
    *cpu_ns += cpu_now_ns() - cpu;
}

static struct shard *transfer_shard(struct transfer *t, struct engine *e)
{
    char error[256];
    struct shard_birth birth = {
        .record = {.state = SHARD_LIVE, .replica = 1, .slot_hi = SLOT_COUNT}};
    (void)shard_write_records_now(e, &birth, 1);
    struct shard *s = shard_new(
        &(struct shard_options){.io = &t->io.io, .engine = e, .flushed = transfer_flushed}, error,
        sizeof error);
    if (!s) printf("%s\n", error);
    return s;
}

/* About `total` bytes in values of `size`, half of each compressible. */
static void transfer_fill(struct transfer *t, struct shard *s, uint64_t total, size_t size)
{
    struct prng r;
    struct buf key = {0};
    uint8_t *value = calloc(1, size);
    uint64_t position = 0, ns = 0;
    prng_init(&r, 5);
    for (uint64_t done = 0; done < total; done += size + KEY_SIZE) {
        char name[16];
        for (size_t i = 0; i + 8 <= size / 2; i += 8)
            memcpy(value + i, &(uint64_t){prng_u64(&r)}, 8);
        (void)snprintf(name, sizeof name, "k%010u", (unsigned)position);
        keys_meta(&key, (uint16_t)prng_below(&r, SLOT_COUNT), bytes_str(name));
        space_put(s->space, ++position, buf_bytes(&key), bytes_of(value, size));
        space_set_applied(s->space, position);
        s->applied = position;
        if (space_recent_bytes(s->space) > 64u << 20 && shard_flush(s)) transfer_work(t, &ns, &ns);
    }
    if (shard_flush(s)) transfer_work(t, &ns, &ns);
    buf_deinit(&key);
    free(value);
}

static uint64_t transfer_run(struct transfer *t, struct snapshot_out *o)
{
    uint64_t bytes = 0;
    struct snapshot_in *in =
        snapshot_in_new(&(struct snapshot_in_options){.io = &t->io.io,
                                                      .engine = t->to,
                                                      .replica = 1,
                                                      .header = snapshot_out_header(o),
                                                      .begun = transfer_answer,
                                                      .ctx = t});
    transfer_work(t, &t->in_ns, &t->in_cpu_ns);
    while (!t->error && !snapshot_out_ended(o)) {
        snapshot_out_next(o, transfer_chunk, t);
        transfer_work(t, &t->out_ns, &t->out_cpu_ns);
        bytes += t->chunk.size;
        snapshot_in_chunk(in, buf_copy(t->chunk), transfer_answer, t);
        transfer_work(t, &t->in_ns, &t->in_cpu_ns);
    }
    snapshot_in_finish(in, transfer_answer, t);
    transfer_work(t, &t->in_ns, &t->in_cpu_ns);
    if (t->error) printf("the install failed: %d\n", t->error);
    snapshot_in_free(in);
    return bytes;
}

static void bench_install(const char *dir, uint64_t total, size_t size)
{
    static const struct io_ops ops = {.work = bench_work};
    struct transfer t = {.io = {.io = {.ops = &ops}}};
    char path[300], error[256];
    (void)snprintf(path, sizeof path, "%s/from-%zu", dir, size);
    t.from = engine_rocks_open(path, 256u << 20, error, sizeof error);
    (void)snprintf(path, sizeof path, "%s/to-%zu", dir, size);
    t.to = engine_rocks_open(path, 256u << 20, error, sizeof error);
    if (!t.from || !t.to) {
        printf("%s\n", error);
        return;
    }
    struct shard *s = transfer_shard(&t, t.from), *old = transfer_shard(&t, t.to);
    transfer_fill(&t, s, total, size);
    shard_free(old);
    struct snapshot_out *o = snapshot_out_new(s);
    uint64_t bytes = transfer_run(&t, o);
    printf("snapshot of %llu MB, values of %zu bytes: read %.0f MB/s (%.0f a CPU second), install "
           "%.0f MB/s (%.0f a CPU second)\n",
           (unsigned long long)(bytes / 1000000), size, (double)bytes * 1e3 / (double)t.out_ns,
           (double)bytes * 1e3 / (double)t.out_cpu_ns, (double)bytes * 1e3 / (double)t.in_ns,
           (double)bytes * 1e3 / (double)t.in_cpu_ns);
    snapshot_out_free(o);
    shard_free(s);
    engine_close(t.from);
    engine_close(t.to);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

int main(int argc, char **argv)
{
    char made[] = "/tmp/synod-bench-XXXXXX";
    const char *dir = argc > 1 ? argv[1] : mkdtemp(made);
    uint8_t(*key)[KEY_SIZE] = make_keys(1);
    unsigned *order = malloc(KEYS * sizeof *order);
    struct prng r;
    prng_init(&r, 2);
    for (unsigned i = 0; i < KEYS; i++) order[i] = (unsigned)prng_below(&r, KEYS);
    bench_table(key, order);
    bench_space(dir, key, order);
    bench_install(dir, 1000000000, 100);
    bench_install(dir, 1000000000, 1000);
    if (argc == 1) (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(key);
    free(order);
    return 0;
}
