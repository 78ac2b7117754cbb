/* What a core does in a second: built-in queries over encoded records, a Lua map with emit, and the
 * sort behind it. In this process, without the pipe: build/bench/job_bench [ROUNDS]
 *
 * Records: hashes of six fields, as a shop's orders would be; words: texts of 20 words out of 5000.
 */
#include "base/buf.h"
#include "base/mem.h"
#include "base/prng.h"
#include "job/aggregate.h"
#include "job/lua_task.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { RECORDS = 1000000, TEXTS = 50000, WORDS_OF_A_TEXT = 20, WORDS = 5000 };

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void put_field(struct record_writer *w, const char *name, const char *format, unsigned v)
{
    char text[80];
    (void)snprintf(text, sizeof text, format, v);
    (void)record_put_item(w,
                          &(struct record_item){.name = bytes_str(name), .value = bytes_str(text)});
}

static struct buf orders(void)
{
    struct buf out = {0};
    struct prng r;
    prng_init(&r, 1);
    for (unsigned i = 0; i < RECORDS; i++) {
        char key[40];
        (void)snprintf(key, sizeof key, "order:%u:%u", (unsigned)prng_below(&r, 100), i);
        struct record_writer w = record_begin(&out, RECORD_HASH, bytes_str(key), false);
        put_field(&w, "id", "%u", i);
        put_field(&w, "user", "user:%u", (unsigned)prng_below(&r, 100000));
        put_field(&w, "country", "c%u", (unsigned)prng_below(&r, 200));
        put_field(&w, "price", "%u", (unsigned)prng_below(&r, 10000));
        put_field(&w, "weight", "%u.25", (unsigned)prng_below(&r, 50));
        put_field(&w, "note", "a note of no great length, number %u", i);
        record_end(&w);
    }
    return out;
}

static struct buf texts(void)
{
    struct buf out = {0}, text = {0};
    struct prng r;
    prng_init(&r, 2);
    for (unsigned i = 0; i < TEXTS; i++) {
        char key[40];
        buf_clear(&text);
        for (int w = 0; w < WORDS_OF_A_TEXT; w++) {
            unsigned v = (unsigned)prng_below(&r, WORDS);
            buf_printf(&text, "w%c%c%c ", 'a' + v % 26, 'a' + v / 26 % 26, 'a' + v / 676);
        }
        (void)snprintf(key, sizeof key, "doc:%u", i);
        (void)record_put_string(&out, bytes_str(key), buf_bytes(&text));
    }
    buf_deinit(&text);
    return out;
}

static void no_row(void *ctx, const struct aggregate_row *row)
{
    *(size_t *)ctx += row->cell[0].size;
}

static struct job_spec spec_of(const char *line)
{
    static char copy[200];
    struct bytes arg[20];
    size_t n = 0;
    struct job_spec s;
    struct job_spec_error e;
    (void)snprintf(copy, sizeof copy, "%s", line);
    for (char *w = strtok(copy, " "); w; w = strtok(NULL, " ")) arg[n++] = bytes_str(w);
    if (job_spec_run(arg, n, &s, &e)) return s;
    fprintf(stderr, "%s\n", e.text);
    exit(1);
}

static void query(const char *line, const struct buf *stream, int rounds)
{
    struct job_spec s = spec_of(line);
    double best = 0;
    size_t sum = 0;
    for (int i = 0; i < rounds; i++) {
        struct aggregate *a = aggregate_new(&s, 1u << 30);
        struct bytes in = buf_bytes(stream);
        struct record r;
        double from = seconds();
        while (record_next(&in, &r) == RECORD_OK)
            if (job_spec_wants(&s, r.key, r.type) && aggregate_feed(a, &r) != AGGREGATE_OK) exit(1);
        aggregate_finish(a, no_row, &sum);
        double rate = RECORDS / (seconds() - from) / 1e6;
        if (rate > best) best = rate;
        aggregate_free(a);
    }
    printf("%-34s %6.2f M records/s\n", line, best);
}

static bool no_pair(void *ctx, uint32_t partition, struct bytes key, struct bytes value, char *why)
{
    (void)partition, (void)key, (void)why;
    *(uint64_t *)ctx += value.size;
    return true;
}

static void lua(const char *what, const char *source, uint8_t combine_op, const struct buf *stream,
                int rounds, double records, double emits)
{
    struct job_spec s = {.kind = JOB_KIND_LUA,
                         .map = bytes_str(source),
                         .match = BYTES("*"),
                         .reduce_op = JOB_OP_SUM};
    double best = 0, best_map = 0;
    uint64_t out = 0;
    s.combine_op = combine_op;
    for (int i = 0; i < rounds; i++) {
        int fd = memfd_create("spill", MFD_CLOEXEC);
        struct lua_task *t = lua_task_new(&(struct lua_task_options){.spec = &s,
                                                                     .partitions = 16,
                                                                     .memory_max = 256u << 20,
                                                                     .spill_fd = fd,
                                                                     .spill_max = 1ull << 32,
                                                                     .out = no_pair,
                                                                     .ctx = &out});
        struct bytes in = buf_bytes(stream);
        struct record r;
        double from = seconds();
        while (record_next(&in, &r) == RECORD_OK)
            if (!lua_task_record(t, &r)) break;
        double mapped = seconds();
        if (lua_task_error(t) || !lua_task_end(t)) {
            fprintf(stderr, "%s\n", lua_task_error(t));
            exit(1);
        }
        double end = seconds();
        if (1 / (end - from) > best) best = 1 / (end - from);
        if (1 / (mapped - from) > best_map) best_map = 1 / (mapped - from);
        lua_task_free(t);
    }
    printf("%-34s %6.0f k records/s, %6.0f k emits/s; before the sort %.0f k records/s\n", what,
           records * best / 1e3, emits * best / 1e3, records * best_map / 1e3);
}

int main(int argc, char **argv)
{
    static const char words[] =
        "function map(key, text, emit) for w in text:gmatch('%a+') do emit(w, 1) end end";
    static const char one[] = "function map(key, row, emit) emit(row.country, 1) end";
    static const char string[] = "function map(key, text, emit) emit(key, 1) end";
    int rounds = argc > 1 ? atoi(argv[1]) : 3;
    struct buf o = orders(), t = texts();
    printf("%d records of 6 fields, %.0f bytes each\n", RECORDS, (double)o.size / RECORDS);
    static const char *const line[] = {"COUNT",
                                       "COUNT MATCH order:1*",
                                       "SUM FIELD price",
                                       "SUM FIELD weight",
                                       "TOP 100 FIELD price",
                                       "DISTINCT FIELD user",
                                       "QUANTILES FIELD price",
                                       "HISTOGRAM FIELD price",
                                       "SUM FIELD price BY country",
                                       "GROUP BY PART 2",
                                       "GREP 77777"};
    for (size_t i = 0; i < sizeof line / sizeof *line; i++) query(line[i], &o, rounds);
    lua("lua: one emit a hash", one, JOB_OP_SUM, &o, rounds, RECORDS, RECORDS);
    lua("lua: one emit a string", string, JOB_OP_NONE, &t, rounds, TEXTS, TEXTS);
    lua("lua: word count, combined", words, JOB_OP_SUM, &t, rounds, TEXTS,
        (double)TEXTS * WORDS_OF_A_TEXT);
    lua("lua: word count, not combined", words, JOB_OP_NONE, &t, rounds, TEXTS,
        (double)TEXTS * WORDS_OF_A_TEXT);
    buf_deinit(&o);
    buf_deinit(&t);
    return 0;
}
