/* Attempts computed in this process and in one of their own give the same, byte for byte; and what
 * they gave, kept by partition in memory or in a file. */
#include "test.h"
#include "worker_rig.h"
#include "base/mem.h"
#include "base/prng.h"
#include "job/engine.h"
#include "job/output.h"

#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

/* ---- an attempt, through the engine ---- */

struct result {
    bool done;
    struct buf pairs[RIG_PARTITIONS_MAX];
    struct task_counts counts;
    char error[TASK_ERROR_MAX];
};

static bool put(void *ctx, uint32_t partition, struct bytes pairs, char *why)
{
    struct result *r = ctx;
    (void)why;
    assert_true(partition < RIG_PARTITIONS_MAX);
    buf_append_bytes(&r->pairs[partition], pairs);
    return true;
}

static void feed(struct task_engine *e, bool reduces, struct bytes *in)
{
    struct record r;
    if (reduces) {
        size_t n = in->size < 70001 ? in->size : 70001; /* cut anywhere */
        task_engine_feed(e, bytes_of(in->data, n));
        *in = bytes_of(in->data + n, in->size - n);
    } else {
        assert_int_equal(record_next(in, &r), RECORD_OK);
        task_engine_record(e, &r);
    }
}

static struct result run(const struct job_spec *s, const struct rig_options *o, bool process,
                         struct bytes in)
{
    struct result r = {0};
    enum task_engine_state state;
    struct task_engine *e = task_engine_new(
        &(struct task_engine_options){.spec = s,
                                      .task = {.task = o->task,
                                               .attempt = o->attempt,
                                               .tasks = s->tasks,
                                               .partitions = o->partitions ? o->partitions : 1,
                                               .reduces = o->reduces},
                                      .nursery = process ? rig_nursery() : NULL,
                                      .dir = "/tmp",
                                      .out = put,
                                      .ctx = &r});
    do {
        while (in.size && task_engine_has_room(e)) feed(e, o->reduces, &in);
        if (!in.size) task_engine_end(e);
        state = task_engine_pump(e, 20);
    } while (state == TASK_ENGINE_RUNS);
    r.done = state == TASK_ENGINE_DONE;
    r.counts = task_engine_counts(e);
    if (!r.done) (void)snprintf(r.error, sizeof r.error, "%s", task_engine_error(e));
    task_engine_free(e);
    return r;
}

static void result_free(struct result *r)
{
    for (int i = 0; i < RIG_PARTITIONS_MAX; i++) buf_deinit(&r->pairs[i]);
}

/* Both ways, and by a worker that the test feeds by itself: what the three agree on. */
static struct result run_alike(const struct job_spec *s, const struct rig_options *o,
                               struct bytes in)
{
    struct result here = run(s, o, false, in), there = run(s, o, true, in);
    struct rig_result worker = rig_run(s, o, in);
    assert_string_equal(here.error, worker.error);
    assert_string_equal(there.error, worker.error);
    assert_true(here.done == worker.done && there.done == worker.done);
    assert_true(!here.done || here.counts.records == worker.last.records);
    assert_true(!there.done || there.counts.records == worker.last.records);
    for (int p = 0; here.done && p < RIG_PARTITIONS_MAX; p++) {
        assert_true(bytes_equal(buf_bytes(&here.pairs[p]), buf_bytes(&worker.pairs[p])));
        assert_true(bytes_equal(buf_bytes(&there.pairs[p]), buf_bytes(&worker.pairs[p])));
    }
    result_free(&there);
    rig_free(&worker);
    return here;
}

/* A map into three partitions, then their reduces: the rows of the first that has any. */
static size_t job_alike(const struct job_spec *s, struct bytes in)
{
    size_t rows = 0;
    struct rig_options o = {.task = 2, .attempt = 1, .partitions = 3};
    struct result map = run_alike(s, &o, in);
    if (!map.done) fail_msg("%s", map.error);
    for (uint32_t p = 0; p < 3; p++) {
        struct result reduce = run_alike(s, &(struct rig_options){.task = p, .reduces = true},
                                         buf_bytes(&map.pairs[p]));
        if (!reduce.done) fail_msg("%s", reduce.error);
        rows += reduce.counts.pairs_out;
        result_free(&reduce);
    }
    result_free(&map);
    return rows;
}

static struct buf some_records(int count)
{
    struct buf out = {0};
    struct prng r;
    prng_init(&r, 5);
    for (int i = 0; i < count; i++) {
        char key[40], n[30];
        bool string = prng_below(&r, 3) == 0;
        (void)snprintf(key, sizeof key, "user:%d:%d", i % 17, i);
        (void)snprintf(n, sizeof n, "%d", (int)prng_below(&r, 5000));
        if (string) {
            assert_true(record_put_string(&out, bytes_str(key), bytes_str(n)));
            continue;
        }
        struct record_writer w = record_begin(&out, RECORD_HASH, bytes_str(key), false);
        assert_true(
            record_put_item(&w, &(struct record_item){.name = BYTES("n"), .value = bytes_str(n)}));
        assert_true(record_put_item(
            &w, &(struct record_item){.name = BYTES("city"), .value = BYTES("Ulm")}));
        record_end(&w);
    }
    return out;
}

/* ---- engines ---- */

/* Strings of words, or hashes that have what some example wants of them. */
static struct buf examples_input(bool strings)
{
    struct buf out = {0};
    struct prng r;
    prng_init(&r, 6);
    for (int i = 0; i < 1500; i++) {
        static const char *const field[] = {"user", "sum", "id", "name", "Depends"};
        char key[40], text[40];
        (void)snprintf(key, sizeof key, "%s:%d", i % 3 ? "order" : "user", i);
        (void)snprintf(text, sizeof text, "w%c, w%c%c", 'a' + (int)prng_below(&r, 26),
                       'a' + (int)prng_below(&r, 26), 'a' + (int)prng_below(&r, 3));
        if (strings) {
            assert_true(record_put_string(&out, bytes_str(key), bytes_str(text)));
            continue;
        }
        struct record_writer w = record_begin(&out, RECORD_HASH, bytes_str(key), false);
        for (size_t f = 0; f < sizeof field / sizeof *field; f++)
            assert_true(record_put_item(
                &w, &(struct record_item){.name = bytes_str(field[f]), .value = bytes_str(text)}));
        record_end(&w);
    }
    return out;
}

TEST(the_examples_give_the_same_in_this_process_and_in_one_of_their_own)
{
    static const struct {
        const char *name;
        bool strings;
        size_t rows;
    } example[] = {{"word_count", true, 26 + 26 * 3},
                   {"inverted_index", true, 26 + 26 * 3},
                   {"join", false, 1},
                   {"top_dependencies", false, 10}};
    for (size_t i = 0; i < sizeof example / sizeof *example; i++) {
        char path[100];
        (void)snprintf(path, sizeof path, "examples/jobs/%s.lua", example[i].name);
        char *source = rig_file(path);
        struct buf in = examples_input(example[i].strings);
        struct job_spec s = RIG_SPEC("j", "MAP", "LUA", source);
        size_t rows = job_alike(&s, buf_bytes(&in));
        assert_true(rows >= example[i].rows && (i > 1 || rows == example[i].rows));
        buf_deinit(&in);
        mem_free(source);
    }
    char *source = rig_file("examples/jobs/monte_carlo_pi.lua");
    struct job_spec s = RIG_SPEC("j", "TASKS", "4", "LUA", source);
    assert_true(job_alike(&s, (struct bytes){0}) > 0);
    mem_free(source);
}

TEST(queries_give_the_same_in_this_process_and_in_one_of_their_own)
{
    static const char *const query[][6] = {{"COUNT"},
                                           {"SUM", "FIELD", "n"},
                                           {"AVG", "FIELD", "n"},
                                           {"TOP", "40", "FIELD", "n"},
                                           {"DISTINCT"},
                                           {"QUANTILES", "FIELD", "n"},
                                           {"HISTOGRAM", "FIELD", "n"},
                                           {"GROUP", "SUM", "FIELD", "n", "BY", "city"},
                                           {"COUNT", "BY", "PART", "2"},
                                           {"JOIN", "user:1:*", "FIELD", "n"},
                                           {"GREP", "77"}};
    struct buf in = some_records(3000);
    for (size_t q = 0; q < sizeof query / sizeof *query; q++) {
        const char *word[10] = {"q", "MAP"};
        size_t n = 2;
        for (int i = 0; i < 6 && query[q][i]; i++) word[n++] = query[q][i];
        struct job_spec s = rig_spec(word, n);
        assert_true(job_alike(&s, buf_bytes(&in)) > 0);
    }
    buf_deinit(&in);
}

TEST(errors_are_the_same_in_this_process_and_in_one_of_their_own)
{
    static const char *const source[] = {
        "function map(k, v, emit) error('I do not like it') end",
        "function map(k, v, emit) emit({}, 1) end",
        "function mop() end",
        "this is no Lua",
        "function map(k, v) local t = {} for i = 1, 1e9 do t[i] = {i} end end",
    };
    struct buf in = some_records(3);
    for (size_t i = 0; i < sizeof source / sizeof *source; i++) {
        struct job_spec s =
            RIG_SPEC("j", "MAP", "LUA", source[i], "REDUCE", "COUNT", "LIMITS", "MEMORY", "32m");
        struct result r =
            run_alike(&s, &(struct rig_options){.task = 4, .attempt = 2}, buf_bytes(&in));
        assert_false(r.done);
        assert_true(r.error[0]);
        result_free(&r);
    }
    buf_deinit(&in);
}

/* A hash of 3 MiB is divided on its way to users' code, and comes as a whole to a query. */
TEST(large_collections_come_whole_to_queries_and_in_parts_to_lua)
{
    enum { ITEMS = 30000 };
    struct buf in = {0}, value = {0};
    for (int i = 0; i < 100; i++) buf_u8(&value, 'x');
    struct record_writer w = record_begin(&in, RECORD_HASH, BYTES("h"), false);
    for (int i = 0; i < ITEMS; i++) {
        char name[20];
        (void)snprintf(name, sizeof name, "f%d", i);
        assert_true(record_put_item(
            &w, &(struct record_item){.name = bytes_str(name), .value = buf_bytes(&value)}));
    }
    record_end(&w);
    struct job_spec lua = RIG_SPEC("j", "MAP", "LUA",
                                   "function map(k, v, emit) local n = 0 for _ in pairs(v) do "
                                   "n = n + 1 end emit(k, n) emit('calls', 1) end",
                                   "REDUCE", "SUM");
    struct job_spec query = RIG_SPEC("q", "MAP", "COUNT");
    struct rig_options o = {.partitions = 1};
    for (int process = 0; process < 2; process++) {
        struct result map = run(&lua, &o, process, buf_bytes(&in));
        if (!map.done) fail_msg("%s", map.error);
        assert_int_equal(map.counts.records, 1);
        struct result sum =
            run(&lua, &(struct rig_options){.reduces = true}, process, buf_bytes(&map.pairs[0]));
        struct buf lines = rig_lines(&sum.pairs[0]);
        assert_string_equal((const char *)lines.data, "calls=4\nh=30000\n");
        buf_deinit(&lines);
        result_free(&map);
        result_free(&sum);
    }
    struct result map = run(&query, &o, false, buf_bytes(&in));
    assert_true(map.done && map.counts.records == 1);
    result_free(&map);
    buf_deinit(&in);
    buf_deinit(&value);
}

/* ---- outputs ---- */

enum { PARTITIONS = 7, PUTS = 60 };

/* Every byte of every partition, read from every offset in pieces of `step`. */
static void reads_back(const struct job_output *o, const struct buf *expected, size_t step)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        for (size_t from = 0; from <= expected[p].size; from += step / 2 + 1) {
            struct buf got = {0};
            bool end = false;
            assert_true(job_output_read(o, p, from, step, &got, &end));
            size_t left = expected[p].size - from, n = left < step ? left : step;
            assert_int_equal(got.size, n);
            assert_true(n == 0 || memcmp(got.data, expected[p].data + from, n) == 0);
            assert_true(end == (n == left));
            buf_deinit(&got);
        }
    }
}

TEST(an_output_reads_back_from_memory_and_from_files_at_every_offset)
{
    static const size_t memory[] = {1 << 20, 0, 500, 5000};
    for (size_t m = 0; m < sizeof memory / sizeof *memory; m++) {
        struct prng r;
        struct buf expected[PARTITIONS] = {{0}};
        char why[TASK_ERROR_MAX];
        struct job_output *o = job_output_new(&(struct job_output_options){.dir = "/tmp",
                                                                           .partitions = PARTITIONS,
                                                                           .memory_max = memory[m],
                                                                           .bytes_max = 1 << 20});
        prng_init(&r, m);
        for (uint32_t i = 0; i < PUTS; i++) {
            uint8_t data[700];
            uint32_t p = i * PARTITIONS / PUTS;
            size_t size = 1 + prng_below(&r, sizeof data - 1);
            if (p == 2 || p == 6) continue; /* nothing for these */
            for (size_t k = 0; k < size; k++) data[k] = (uint8_t)prng_u64(&r);
            assert_true(job_output_put(o, p, bytes_of(data, size), why));
            buf_append(&expected[p], data, size);
        }
        assert_true(job_output_end(o, why));
        assert_true(job_output_in_memory(o) == (m == 0));
        assert_true(m == 0 || job_output_memory(o) == 0);
        reads_back(o, expected, 1);
        reads_back(o, expected, 333);
        reads_back(o, expected, 1 << 20);
        uint64_t all = 0;
        for (uint32_t p = 0; p < PARTITIONS; p++) all += expected[p].size;
        assert_int_equal(job_output_bytes(o), all);
        job_output_release(o);
        for (uint32_t p = 0; p < PARTITIONS; p++) buf_deinit(&expected[p]);
    }
}

TEST(an_output_takes_no_partitions_out_of_order_and_no_more_than_its_bound)
{
    char why[TASK_ERROR_MAX];
    struct job_output *o = job_output_new(
        &(struct job_output_options){.partitions = 4, .memory_max = 10, .bytes_max = 20});
    assert_true(job_output_put(o, 2, BYTES("0123456789"), why));
    assert_false(job_output_put(o, 1, BYTES("x"), why));
    assert_non_null(strstr(why, "out of order"));
    assert_false(job_output_put(o, 4, BYTES("x"), why));
    assert_false(job_output_put(o, 3, BYTES("0123456789x"), why));
    assert_non_null(strstr(why, "more than 20 bytes of output"));
    assert_true(job_output_put(o, 3, BYTES("0123456789"), why));
    job_output_release(o);
}

/* A file system of its own; needs to be root. */
TEST(a_full_disk_fails_an_output_and_nothing_of_it_stays)
{
    char dir[] = "/tmp/synod-job-XXXXXX", why[TASK_ERROR_MAX] = "";
    static uint8_t piece[256 << 10];
    struct statfs before, after;
    assert_non_null(mkdtemp(dir));
    if (mount("tmpfs", dir, "tmpfs", 0, "size=2m")) {
        (void)rmdir(dir);
        skip();
    }
    assert_int_equal(statfs(dir, &before), 0);
    struct job_output *o = job_output_new(&(struct job_output_options){
        .dir = dir, .partitions = 1, .memory_max = 1 << 20, .bytes_max = 1 << 30});
    int puts = 0;
    while (puts < 100 && job_output_put(o, 0, bytes_of(piece, sizeof piece), why)) puts++;
    assert_true(puts >= 8 && puts < 100);
    assert_non_null(strstr(why, "the output cannot be written (No space left on device)"));
    job_output_release(o);
    assert_int_equal(statfs(dir, &after), 0);
    assert_int_equal(after.f_bfree, before.f_bfree);
    assert_int_equal(umount(dir), 0);
    (void)rmdir(dir);
}

TEST_MAIN
