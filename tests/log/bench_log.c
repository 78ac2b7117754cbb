/* What an appended record costs in CPU, without a disk: ns a record for several sizes and batches.
 * Not a test: it has no limit. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "fake_io.h"
#include "store/log.h"

enum { GROUPS = 16, RECORDS = 2000000 };

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void on_synced(void *ctx, uint64_t lsn)
{
    *(uint64_t *)ctx = lsn;
}

static _Noreturn void on_fatal(void *ctx, const char *why)
{
    (void)ctx;
    fprintf(stderr, "%s\n", why);
    abort();
}

static void ignore(void *ctx, const struct log_record *r)
{
    (void)ctx;
    (void)r;
}

static void measure(uint32_t size, uint32_t batch)
{
    struct fake_io f;
    struct log *l;
    char error[512];
    uint64_t synced = 0, position = 0;
    uint8_t *value = mem_zalloc(size);
    fake_init(&f, 1);
    struct log_options options = {.segment_bytes = 64u << 20,
                                  .quota_bytes = 1u << 30,
                                  .spare_segments = 1,
                                  .synced = on_synced,
                                  .fatal = on_fatal,
                                  .ctx = &synced};
    if (log_open(&f.io, &options, ignore, NULL, &l, error, sizeof error)) abort();
    f.discard_writes = true;

    uint64_t records = size > 1000 ? RECORDS / 10 : RECORDS, start = cpu_ns();
    for (uint64_t i = 0; i < records; i++) {
        uint32_t group = (uint32_t)(i % GROUPS);
        if (group == 0) position++;
        struct log_record r = {.type = LOG_ENTRY,
                               .group = group,
                               .replica = 1,
                               .chosen = position - 1,
                               .entry = {.position = position,
                                         .ballot = 1 << 16 | 1,
                                         .born = 1 << 16 | 1,
                                         .base = {position - 1, 1 << 16 | 1},
                                         .hash = i,
                                         .size = size,
                                         .kind = PAXOS_DATA},
                               .value = bytes_of(value, size)};
        log_append(l, &r);
        if (i % batch == batch - 1) {
            log_turn(l);
            fake_run(&f, UINT32_MAX, false);
        }
        if (i % 65536 == 65535)
            for (uint32_t g = 0; g < GROUPS; g++) log_set_floor(l, g, position);
    }
    uint64_t took = cpu_ns() - start;
    printf("%5u bytes, %4u a write: %6.1f ns a record\n", size, batch,
           (double)took / (double)records);
    log_abandon(l);
    fake_deinit(&f);
    mem_free(value);
}

static void count(void *ctx, const struct log_record *r)
{
    (void)r;
    ++*(uint64_t *)ctx;
}

/* Restart: a log of about 200 MB, CPU time from opening to the last record replayed. */
static void measure_replay(uint32_t size)
{
    struct fake_io f;
    struct log *l;
    char error[512];
    uint64_t synced = 0, replayed = 0, records = 200000000 / (size + 60);
    uint8_t *value = mem_zalloc(size);
    fake_init(&f, 1);
    struct log_options options = {.segment_bytes = 64u << 20,
                                  .quota_bytes = 1u << 30,
                                  .spare_segments = 1,
                                  .synced = on_synced,
                                  .fatal = on_fatal,
                                  .ctx = &synced};
    if (log_open(&f.io, &options, ignore, NULL, &l, error, sizeof error)) abort();
    for (uint64_t i = 1; i <= records; i++) {
        struct log_record r = {
            .type = LOG_ENTRY,
            .group = i % GROUPS,
            .replica = 1,
            .entry = {.position = i / GROUPS + 1, .ballot = 1, .size = size, .kind = PAXOS_DATA},
            .value = bytes_of(value, size)};
        log_append(l, &r);
        if (i % 50) continue;
        log_turn(l);
        fake_run(&f, UINT32_MAX, false);
    }
    log_turn(l);
    fake_run(&f, UINT32_MAX, false);
    log_abandon(l);
    fake_crash(&f, 0);
    uint64_t start = cpu_ns();
    if (log_open(&f.io, &options, count, &replayed, &l, error, sizeof error)) abort();
    uint64_t took = cpu_ns() - start;
    printf("%5u bytes: %llu records replayed in %.0f ms, %.0f ns a record\n", size,
           (unsigned long long)replayed, (double)took / 1e6, (double)took / (double)replayed);
    log_abandon(l);
    fake_deinit(&f);
    mem_free(value);
}

int main(void)
{
    static const uint32_t size[] = {20, 150, 1000, 10000}, batch[] = {1, 10, 50, 500};
    for (size_t s = 0; s < 4; s++)
        for (size_t b = 0; b < 4; b++) measure(size[s], batch[b]);
    measure_replay(150);
    measure_replay(10000);
    return 0;
}
