/* Tasks in real worker processes: what they compute, and how they end when the user's code, the
 * disk or somebody with a kill does what nobody wants. */
#include "test.h"
#include "worker_rig.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/prng.h"
#include "job/aggregate.h"
#include "job/nursery.h"
#include "job/task_value.h"
#include "job/worker_sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void put_string(struct buf *out, const char *key, const char *value)
{
    assert_true(record_put_string(out, bytes_str(key), bytes_str(value)));
}

static void put_hash(struct buf *out, const char *key, const char *f1, const char *v1,
                     const char *f2, const char *v2)
{
    struct record_writer w = record_begin(out, RECORD_HASH, bytes_str(key), false);
    assert_true(
        record_put_item(&w, &(struct record_item){.name = bytes_str(f1), .value = bytes_str(v1)}));
    assert_true(
        record_put_item(&w, &(struct record_item){.name = bytes_str(f2), .value = bytes_str(v2)}));
    record_end(&w);
}

/* One record, one map task that is to fail: its error. */
static struct rig_result fails(const char *source, const struct rig_options *o)
{
    struct buf in = {0};
    put_string(&in, "the key", "the value");
    struct job_spec s = RIG_SPEC("j", "MAP", "LUA", source, "REDUCE", "COUNT", "LIMITS", "CPU",
                                 "1000", "MEMORY", "32m");
    struct rig_result r = rig_run(&s, o, buf_bytes(&in));
    buf_deinit(&in);
    assert_false(r.done);
    return r;
}

static void fails_with(const char *source, const char *said)
{
    struct rig_result r = fails(source, &(struct rig_options){.task = 4, .attempt = 2});
    if (!strstr(r.error, said)) fail_msg("it says: %s\nexpected: %s", r.error, said);
    assert_true(r.user);
    rig_free(&r);
}

/* ---- the examples ---- */

enum { WORDS = 40, MAPS = 3, TEXTS = 60 };

static void random_text(struct prng *r, char *text, size_t size, uint32_t *count)
{
    static const char syllable[8][4] = {"ba", "do", "ki", "lu", "me", "ra", "so", "tu"};
    size_t at = 0;
    while (at + 8 < size) {
        uint32_t w = (uint32_t)prng_below(r, WORDS);
        if (count) count[w]++;
        at += (size_t)snprintf(text + at, size - at, "%s%s, ", syllable[w % 8], syllable[w / 8]);
    }
}

static const char *word(uint32_t w)
{
    static char text[8];
    static const char syllable[8][4] = {"ba", "do", "ki", "lu", "me", "ra", "so", "tu"};
    (void)snprintf(text, sizeof text, "%s%s", syllable[w % 8], syllable[w / 8]);
    return text;
}

/* `line` is among the lines of `all`. */
static bool has_line(const struct buf *all, const char *line)
{
    size_t n = strlen(line);
    for (const char *at = (const char *)all->data; *at; at = strchr(at, '\n') + 1)
        if (!strncmp(at, line, n) && at[n] == '\n') return true;
    return false;
}

static size_t lines(const struct buf *all)
{
    size_t n = 0;
    for (const char *at = (const char *)all->data; *at; at++) n += *at == '\n';
    return n;
}

TEST(words_are_counted_as_a_loop_would_in_lua_and_with_sums_in_c)
{
    char *source = rig_file("examples/jobs/word_count.lua");
    struct job_spec spec[2] = {
        RIG_SPEC("w", "MAP", "LUA", source),
        RIG_SPEC("w", "MAP", "LUA", source, "COMBINE", "SUM", "REDUCE", "SUM")};
    struct prng r;
    uint32_t count[WORDS] = {0};
    struct buf in[MAPS] = {{0}};
    prng_init(&r, 1);
    for (int i = 0; i < TEXTS; i++) {
        char key[20], text[300];
        random_text(&r, text, sizeof text, count);
        (void)snprintf(key, sizeof key, "doc:%d", i);
        put_string(&in[i % MAPS], key, text);
    }
    struct bytes input[MAPS];
    for (int m = 0; m < MAPS; m++) input[m] = buf_bytes(&in[m]);
    for (int way = 0; way < 2; way++) {
        struct buf out = rig_job(&spec[way], input, MAPS, 4);
        for (uint32_t w = 0; w < WORDS; w++) {
            char line[60];
            (void)snprintf(line, sizeof line, "%s=%u", word(w), count[w]);
            if (!has_line(&out, line)) fail_msg("no %s in\n%s", line, (const char *)out.data);
        }
        assert_int_equal(lines(&out), WORDS);
        buf_deinit(&out);
    }
    for (int m = 0; m < MAPS; m++) buf_deinit(&in[m]);
    mem_free(source);
}

static void same_lines(struct buf out, const char *expected)
{
    assert_string_equal((const char *)out.data, expected);
    buf_deinit(&out);
}

TEST(the_other_examples_give_what_they_promise)
{
    struct buf in[2] = {{0}};
    struct bytes input[2];
    char *source = rig_file("examples/jobs/inverted_index.lua");
    struct job_spec s = RIG_SPEC("i", "MAP", "LUA", source);
    put_string(&in[0], "doc:1", "the cat, the dog");
    put_string(&in[1], "doc:2", "The bird");
    for (int i = 0; i < 2; i++) input[i] = buf_bytes(&in[i]);
    same_lines(rig_job(&s, input, 2, 3), "bird=doc:2\ncat=doc:1\ndog=doc:1\nthe=doc:1 doc:2\n");
    mem_free(source);

    source = rig_file("examples/jobs/join.lua");
    s = RIG_SPEC("j", "MAP", "LUA", source);
    for (int i = 0; i < 2; i++) buf_clear(&in[i]);
    put_hash(&in[0], "order:7", "user", "1", "sum", "30");
    put_hash(&in[0], "order:8", "user", "2", "sum", "5");
    put_hash(&in[1], "user:x", "id", "1", "name", "Ann");
    put_hash(&in[1], "user:y", "id", "3", "name", "Bob");
    put_hash(&in[1], "order:9", "user", "1", "sum", "1=2");
    for (int i = 0; i < 2; i++) input[i] = buf_bytes(&in[i]);
    same_lines(rig_job(&s, input, 2, 3), "7=Ann owes 30\n9=Ann owes 1=2\n");
    mem_free(source);

    source = rig_file("examples/jobs/top_dependencies.lua");
    s = RIG_SPEC("d", "MAP", "LUA", source);
    for (int i = 0; i < 2; i++) buf_clear(&in[i]);
    put_hash(&in[0], "pkg:a", "Depends", "libc6 (>= 2.3), libz1 | libz2", "name", "a");
    put_hash(&in[0], "pkg:b", "Depends", "libc6, libc6 (<< 9)", "name", "b");
    put_hash(&in[1], "pkg:c", "name", "c", "size", "1");
    for (int i = 0; i < 2; i++) input[i] = buf_bytes(&in[i]);
    same_lines(rig_job(&s, input, 2, 1), " 1 libc6=2\n 2 libz1=1\n 3 libz2=1\n");
    mem_free(source);
    for (int i = 0; i < 2; i++) buf_deinit(&in[i]);

    source = rig_file("examples/jobs/monte_carlo_pi.lua");
    s = RIG_SPEC("p", "TASKS", "4", "LUA", source);
    struct buf out = rig_job(&s, NULL, 4, 1);
    double pi = strtod((const char *)out.data + 3, NULL);
    assert_true(fabs(pi - M_PI) < 0.005);
    buf_deinit(&out);
    mem_free(source);
}

TEST(a_query_through_workers_is_the_query)
{
    struct job_spec s = RIG_SPEC("q", "MAP", "SUM", "FIELD", "n", "BY", "g");
    struct buf in[2] = {{0}};
    for (int i = 0; i < 1000; i++) {
        char key[20], n[20];
        (void)snprintf(key, sizeof key, "k%d", i);
        (void)snprintf(n, sizeof n, "%d", i);
        put_hash(&in[i % 2], key, "n", n, "g", i % 3 ? "other" : "third");
    }
    struct bytes input[2] = {buf_bytes(&in[0]), buf_bytes(&in[1])};
    same_lines(rig_job(&s, input, 2, 4), "other=332667\nthird=166833\n");
    for (int i = 0; i < 2; i++) buf_deinit(&in[i]);
}

TEST(a_map_sends_each_key_to_the_partition_of_its_hash)
{
    struct job_spec s =
        RIG_SPEC("p", "MAP", "LUA", "function map(k, v, emit) for i = 1, 50 do emit(i, v) end end",
                 "REDUCE", "COUNT");
    struct buf in = {0};
    uint32_t pairs = 0;
    put_string(&in, "k", "v");
    struct rig_result r = rig_run(&s, &(struct rig_options){.partitions = 4}, buf_bytes(&in));
    if (!r.done) fail_msg("%s", r.error);
    for (uint32_t p = 0; p < 4; p++) {
        struct reader at = reader_of(buf_bytes(&r.pairs[p]));
        for (; reader_left(&at); pairs++) {
            assert_int_equal(hash64(reader_blob(&at), 0) % 4, p);
            (void)reader_blob(&at);
        }
    }
    assert_int_equal(pairs, 50);
    rig_free(&r);
    buf_deinit(&in);
}

TEST(clocks_work_behind_the_sandbox)
{
    struct job_spec s = RIG_SPEC("p", "TASKS", "1", "LUA",
                                 "function task(i, n, emit) emit(os.time{year = 2020, month = 1, "
                                 "day = 1, hour = 0}, os.time() > 1.7e9 and os.clock() >= 0) end",
                                 "REDUCE", "COUNT");
    struct rig_result r = rig_run(&s, &(struct rig_options){0}, (struct bytes){0});
    if (!r.done) fail_msg("%s", r.error);
    struct buf out = rig_lines(&r.pairs[0]);
    assert_string_equal((char *)out.data, "1577836800=true\n");
    buf_deinit(&out);
    rig_free(&r);
}

TEST(all_types_reach_map_as_lua_has_them)
{
    static const char source[] =
        "function map(k, v, emit, type)\n"
        "  if type == 'string' then emit(k, v)\n"
        "  elseif type == 'hash' then emit(k, v.f .. v.g)\n"
        "  elseif type == 'zset' then emit(k, v.m + 0.5)\n"
        "  else emit(k, type .. #v .. v[1] .. v[2]) end\n"
        "end\n"
        "function reduce(k, values, emit) for v in values do emit(k, v) end emit(k, true) end";
    struct job_spec s = RIG_SPEC("t", "MAP", "LUA", source);
    struct buf in = {0};
    put_string(&in, "a", "str");
    put_hash(&in, "b", "f", "x", "g", "y");
    struct record_writer w = record_begin(&in, RECORD_ZSET, BYTES("c"), false);
    assert_true(record_put_item(&w, &(struct record_item){.name = BYTES("m"), .score = 2}));
    record_end(&w);
    w = record_begin(&in, RECORD_LIST, BYTES("d"), false);
    assert_true(record_put_item(&w, &(struct record_item){.value = BYTES("1")}));
    assert_true(record_put_item(&w, &(struct record_item){.value = BYTES("2")}));
    record_end(&w);
    struct bytes input = buf_bytes(&in);
    same_lines(rig_job(&s, &input, 1, 1),
               "a=str\na=true\nb=true\nb=xy\nc=2.5\nc=true\nd=list212\nd=true\n");
    buf_deinit(&in);
}

/* ---- what goes wrong ---- */

TEST(an_endless_loop_ends_by_the_limit_of_cpu_time)
{
    fails_with("function map() while true do end end", "used more than 1000 ms of CPU time");
}

TEST(memory_bombs_end_with_an_error_that_says_so)
{
    fails_with("function map() local t = {} for i = 1, 1e9 do t[i] = i .. 'x' end end",
               "not enough memory; raise LIMITS MEMORY");
    fails_with("function map() local s = string.rep('x', 1e9) end", "not enough memory");
    fails_with("function map() local s = 'x' while true do s = s .. s end end",
               "not enough memory");
    fails_with("local t = {} while true do t[#t + 1] = {} end", "not enough memory");
    fails_with("function map() local function f() return 1 + f() end f() end", "stack overflow");
}

TEST(an_error_names_function_key_line_task_and_attempt)
{
    static const char source[] = "function map(key, value, emit)\n"
                                 "  if key == 'k500' then\n"
                                 "    error('I do not like it')\n"
                                 "  end\n"
                                 "  emit(key, 1)\n"
                                 "end";
    struct job_spec s = RIG_SPEC("j", "MAP", "LUA", source, "REDUCE", "SUM");
    struct buf in = {0};
    for (int i = 0; i < 1000; i++) {
        char key[20];
        (void)snprintf(key, sizeof key, "k%d", i);
        put_string(&in, key, "v");
    }
    struct rig_result r =
        rig_run(&s, &(struct rig_options){.task = 4, .attempt = 2}, buf_bytes(&in));
    assert_false(r.done);
    assert_string_equal(r.error,
                        "map failed at key 'k500': map:3: I do not like it (task 4, attempt 2)");
    rig_free(&r);
    buf_deinit(&in);
    fails_with("function map(k, v, emit) emit(k, {}) end",
               "map:1: emit was given a table for a value");
    fails_with("function map(k, v, emit) emit(nil, 1) end", "emit was given a nil for a key");
    fails_with("function map(k, v, emit) emit(('x'):rep(70000), 1) end",
               "a key of 70000 bytes; at most 65536");
    fails_with("function map(k, v) error({}) end", "an error that is not a string");
    fails_with("function mop() end", "the source defines no function map");
    fails_with("function map( end", "the source failed: map:1:");
    fails_with("function map(k, v, emit) e = emit end function combine(k, vs) e('other', 1) end "
               "local m = map map = function(k, v, emit) m(k, v, emit) emit(k, 1) end",
               "combine may emit under the key it was called with only");
    fails_with("function map(k, v, emit) pcall(emit, k, {}) emit(k, nil) end",
               "emit was given a nil for a value");
}

TEST(user_code_finds_no_way_out)
{
    struct job_spec bytecode = RIG_SPEC("j", "MAP", "LUA", "-", "REDUCE", "COUNT");
    bytecode.map =
        BYTES("\033LJ\002\002"); /* as a peer could send it: the parser refuses it, too */
    struct rig_result r = rig_run(&bytecode, &(struct rig_options){0}, (struct bytes){0});
    assert_non_null(strstr(r.error, "attempt to load chunk with wrong mode"));
    rig_free(&r);
    static const char *const nothing[] = {
        "io",        "debug",          "package",   "require",    "loadstring",  "load",
        "loadfile",  "dofile",         "jit",       "ffi",        "getfenv",     "setfenv",
        "newproxy",  "collectgarbage", "print",     "module",     "os.exit",     "os.execute",
        "os.getenv", "os.remove",      "os.rename", "os.tmpname", "string.dump", "coroutine"};
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        char source[300];
        (void)snprintf(source, sizeof source, "function map() error('%s is ' .. type(%s)) end",
                       nothing[i], nothing[i]);
        char said[60];
        (void)snprintf(said, sizeof said, "%s is nil", nothing[i]);
        fails_with(source, said);
    }
    fails_with("function map() io.open('/etc/passwd') end",
               "attempt to index global 'io' (a nil value)");
    fails_with("function map() for k, v in pairs(_G) do if k == 'io' then error('found') end end "
               "error('none') end",
               "none");
    fails_with("function map() error(type(getmetatable('').__index.dump)) end", "nil");
}

/* Every call in a child of its own, locked in as a worker is; the kernel's verdict. */
static int after_sandbox(int what)
{
    pid_t pid = fork();
    if (pid == 0) {
        const char *step;
        struct worker_limits limits = {.memory = 64 << 20, .cpu_ms = 5000, .file = 1 << 20};
        int fd = memfd_create("x", 0);
        char c = 0;
        if (!worker_sandbox(&limits, &step)) _exit(77);
        switch (what) {
        case 0: _exit(write(fd, "x", 1) == 1 && pread(fd, &c, 1, 0) == 1 && c == 'x' ? 0 : 1);
        case 1: (void)!open("/dev/null", O_RDONLY); break;
        case 2: (void)!socket(AF_INET, SOCK_STREAM, 0); break;
        case 3: (void)!fork(); break;
        case 4: (void)!execl("/bin/true", "true", (char *)NULL); break;
        case 5: (void)!kill(getppid(), 0); break;
        case 6: (void)!unlink("/nowhere"); break;
        case 7: (void)!memfd_create("y", 0); break;
        case 8: abort();
        case 9:
            _exit(mmap(NULL, 1 << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
                      ? 0
                      : 1);
        case 10: _exit(pwrite(fd, "x", 1, 1 << 20) < 0 && errno == EFBIG ? 0 : 1);
        }
        _exit(99);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(the_kernel_kills_whoever_calls_what_is_forbidden)
{
    assert_int_equal(after_sandbox(0), 0);
    for (int what = 1; what <= 7; what++) assert_int_equal(after_sandbox(what), -SIGSYS);
    assert_int_equal(after_sandbox(8), -SIGABRT);
#if !defined(__SANITIZE_ADDRESS__)
    assert_int_equal(after_sandbox(9), 0);
#endif
    assert_int_equal(after_sandbox(10), 0);
}

enum { VALUES = 2000000, VALUE_BYTES = 100 };

/* 200 MB under one key, with 32 MiB of memory. */
TEST(a_reduce_with_a_giant_key_needs_no_more_memory_than_its_limit)
{
    static const char source[] = "function map() end\n"
                                 "function reduce(key, values, emit)\n"
                                 "  local n, size = 0, 0\n"
                                 "  for v in values do n, size = n + 1, size + #v end\n"
                                 "  emit(key .. n, size)\n"
                                 "end";
    struct job_spec s = RIG_SPEC("j", "MAP", "LUA", source, "LIMITS", "MEMORY", "32m");
    struct buf in = {0}, value = {0};
    char text[VALUE_BYTES + 1];
    memset(text, 'x', VALUE_BYTES);
    task_value_put_string(&value, TASK_STRING, bytes_of(text, VALUE_BYTES));
    for (int i = 0; i < VALUES; i++) {
        buf_blob(&in, BYTES("giant"));
        buf_blob(&in, buf_bytes(&value));
    }
    struct rig_result r = rig_run(&s, &(struct rig_options){.reduces = true}, buf_bytes(&in));
    if (!r.done) fail_msg("%s", r.error);
    struct buf out = rig_lines(&r.pairs[0]);
    assert_string_equal((const char *)out.data, "giant2000000=200000000\n");
    print_message("%.0f MB in, %llu KiB of memory at most\n", (double)in.size / 1e6,
                  (unsigned long long)r.rss_kib_max);
    assert_true(r.rss_kib_max > 0 && r.rss_kib_max < 64 << 10);
    buf_deinit(&out);
    buf_deinit(&in);
    buf_deinit(&value);
    rig_free(&r);
}

TEST(a_killed_worker_is_noticed_whoever_killed_it)
{
    struct job_spec s =
        RIG_SPEC("j", "MAP", "LUA", "function map(k, v, emit) emit(k, v) end", "REDUCE", "COUNT");
    struct buf in = {0};
    for (int i = 0; i < 200000; i++) put_string(&in, "key", "value");
    struct rig_result r = rig_run(&s, &(struct rig_options){.kill_after = 1 << 20}, buf_bytes(&in));
    assert_false(r.done);
    assert_string_equal(r.error, "the worker was killed");
    rig_free(&r);
    buf_deinit(&in);
}

/* Pairs enough for several runs; combined they would be one. */
static const char spiller[] =
    "function map(k, v, emit) for i = 1, 40000 do emit(k .. i, v) end end";

static struct rig_result spills_to(int fd, const char *spill_max)
{
    struct job_spec s = RIG_SPEC("j", "MAP", "LUA", spiller, "REDUCE", "COUNT", "LIMITS", "MEMORY",
                                 "16m", "SPILL", spill_max);
    struct buf in = {0};
    for (int i = 0; i < 10; i++)
        put_string(&in, i % 2 ? "odd" : "even", "a value that is not quite short");
    struct rig_result r =
        rig_run(&s, &(struct rig_options){.spill_fd = fd, .attempt = 1}, buf_bytes(&in));
    buf_deinit(&in);
    return r;
}

/* Combine runs in the midst of an emit of map's, whose own pair must come through it unharmed. And
 * `values` of an earlier group are over. */
TEST(combine_in_lua_may_run_at_any_emit_and_changes_no_result)
{
    static const char source[] =
        "function map(k, v, emit) for i = 1, 40000 do emit('k' .. i % 7, 'one ' .. i) end end\n"
        "function combine(k, values, emit)\n"
        "  if old then assert(old() == nil) end\n"
        "  old = values\n"
        "  local n = 0\n"
        "  for v in values do n = n + (tonumber(v:match('^many (%d+)$')) or (v:match('^one %d+$') "
        "and 1) or error(v)) end\n"
        "  emit(k, 'many ' .. n)\n"
        "  assert(values() == nil)\n"
        "end\n"
        "function reduce(k, values, emit) combine(k, values, function(_, v) emit(k, v) end) end";
    struct job_spec s = RIG_SPEC("j", "MAP", "LUA", source, "LIMITS", "MEMORY", "16m");
    struct buf in = {0};
    for (int i = 0; i < 21; i++) put_string(&in, "x", "y");
    struct rig_result map = rig_run(&s, &(struct rig_options){.partitions = 1}, buf_bytes(&in));
    if (!map.done) fail_msg("%s", map.error);
    assert_int_equal(map.last.pairs_out, 7);
    char late[1200];
    (void)snprintf(late, sizeof late,
                   "%s\nlocal m = map map = function(k, v, emit) m(k, v, emit) n = (n or 0) + 1 if "
                   "n == 20 then error('late') end end",
                   source);
    struct job_spec throws = RIG_SPEC("j", "MAP", "LUA", late, "LIMITS", "MEMORY", "16m");
    struct rig_result thrown =
        rig_run(&throws, &(struct rig_options){.partitions = 1}, buf_bytes(&in));
    assert_non_null(
        strstr(thrown.error, "map failed at key 'x'")); /* not at one that was combined */
    rig_free(&thrown);
    struct rig_result end =
        rig_run(&s, &(struct rig_options){.reduces = true}, buf_bytes(&map.pairs[0]));
    if (!end.done) fail_msg("%s", end.error);
    struct buf out = rig_lines(&end.pairs[0]);
    char expected[200] = "";
    for (int k = 0; k < 7; k++) {
        int n = 0;
        for (int i = 1; i <= 40000; i++) n += i % 7 == k;
        (void)snprintf(expected + strlen(expected), 30, "k%d=many %d\n", k, n * 21);
    }
    assert_string_equal((char *)out.data, expected);
    buf_deinit(&out);
    rig_free(&map);
    rig_free(&end);
    buf_deinit(&in);
}

TEST(a_full_spill_file_fails_the_task_and_says_why)
{
    struct rig_result r = spills_to(0, "1g");
    if (!r.done) fail_msg("%s", r.error);
    assert_int_equal(r.last.pairs_out, 400000);
    rig_free(&r);

    r = spills_to(0, "1m");
    assert_non_null(strstr(r.error, "more than 1048576 bytes would be spilled"));
    rig_free(&r);
    r = spills_to(-1, "1g");
    assert_non_null(strstr(r.error, "there is no spill file"));
    rig_free(&r);

    int fd = memfd_create("spill", MFD_ALLOW_SEALING);
    assert_true(fd >= 0 && ftruncate(fd, 2 << 20) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) == 0);
    r = spills_to(fd, "1g");
    assert_non_null(strstr(r.error, "the spill file cannot be written after"));
    assert_true(r.user);
    rig_free(&r);
    (void)close(fd);
}

/* A file system of its own; needs to be root. */
TEST(a_full_disk_fails_the_task_and_says_why)
{
    char dir[] = "/tmp/synod-job-XXXXXX";
    assert_non_null(mkdtemp(dir));
    if (mount("tmpfs", dir, "tmpfs", 0, "size=2m")) {
        print_message("not root: no small file system\n");
        (void)rmdir(dir);
        skip();
    }
    int fd = worker_spill_open(dir);
    assert_true(fd >= 0);
    struct rig_result r = spills_to(fd, "1g");
    (void)close(fd);
    assert_int_equal(umount(dir), 0);
    (void)rmdir(dir);
    assert_non_null(strstr(r.error, "No space left on device); free disk space"));
    rig_free(&r);
}

TEST(a_query_with_too_many_groups_says_so_before_its_memory_is_out)
{
    struct job_spec s = RIG_SPEC("q", "MAP", "COUNT", "BY", "PART", "1", "LIMITS", "MEMORY", "16m");
    struct buf in = {0};
    for (int i = 0; i < 400000; i++) {
        char key[60];
        (void)snprintf(key, sizeof key, "a group of its own, number %d", i);
        put_string(&in, key, "");
    }
    struct rig_result r = rig_run(&s, &(struct rig_options){0}, buf_bytes(&in));
    assert_false(r.done);
    assert_non_null(strstr(r.error, "the query needs more memory"));
    rig_free(&r);
    buf_deinit(&in);
}

TEST(too_much_output_fails_the_reduce)
{
    struct job_spec s = RIG_SPEC(
        "j", "MAP", "LUA",
        "function map() end function reduce(k, vs, emit) for i = 1, 1000 do emit(i, k) end end",
        "LIMITS", "OUTPUT", "1k");
    struct buf in = {0}, value = {0};
    task_value_put_number(&value, 1);
    buf_blob(&in, BYTES("k"));
    buf_blob(&in, buf_bytes(&value));
    struct rig_result r = rig_run(&s, &(struct rig_options){.reduces = true}, buf_bytes(&in));
    assert_non_null(strstr(r.error, "the output is more than 1024 bytes; raise LIMITS OUTPUT"));
    rig_free(&r);
    buf_deinit(&in);
    buf_deinit(&value);
}

TEST(damaged_input_is_refused_with_a_word)
{
    struct job_spec s = RIG_SPEC("j", "MAP", "LUA", "function map() end", "REDUCE", "COUNT");
    struct rig_result r = rig_run(&s, &(struct rig_options){0}, BYTES("\x05\x00\x00\x00\x70zzzz"));
    assert_string_equal(r.error, "the input came damaged");
    rig_free(&r);
    r = rig_run(&s, &(struct rig_options){0}, BYTES("\x05\x00\x00\x00\x00"));
    assert_string_equal(r.error, "the input broke off in the midst of a record");
    rig_free(&r);
    r = rig_run(&s, &(struct rig_options){.reduces = true}, BYTES("\x01k\x01?"));
    assert_non_null(strstr(r.error, "a pair came damaged"));
    rig_free(&r);
}

TEST(a_task_repeats_itself_and_no_other)
{
    struct job_spec s = RIG_SPEC("j", "TASKS", "3", "LUA",
                                 "function task(i, n, emit) emit(i .. '/' .. n, math.random()) end",
                                 "REDUCE", "MAX");
    struct buf out[3];
    for (int i = 0; i < 3; i++) {
        struct rig_result r =
            rig_run(&s, &(struct rig_options){.task = i == 2, .attempt = (uint32_t)i + 1},
                    (struct bytes){0});
        assert_true(r.done);
        out[i] = rig_lines(&r.pairs[0]);
        rig_free(&r);
    }
    assert_true(!strncmp((char *)out[0].data, "0/3=0.", 6));
    assert_true(!strncmp((char *)out[2].data, "1/3=0.", 6));
    assert_string_equal((char *)out[0].data, (char *)out[1].data);
    assert_string_not_equal((char *)out[0].data + 3, (char *)out[2].data + 3);
    for (int i = 0; i < 3; i++) buf_deinit(&out[i]);
}

TEST(progress_comes_once_a_second_whatever_the_code_is_at)
{
    static const char source[] = "function map(k, v, emit) if k == 'slow' then local t = "
                                 "os.clock() while os.clock() < t + 2.5 do end end end";
    struct job_spec s = RIG_SPEC("j", "MAP", "LUA", source, "REDUCE", "COUNT");
    struct buf in = {0};
    for (int i = 0; i < 250; i++) put_string(&in, i == 100 ? "slow" : "key", "value");
    struct rig_result r = rig_run(&s, &(struct rig_options){0}, buf_bytes(&in));
    if (!r.done) fail_msg("%s", r.error);
    assert_true(r.progress >= 2);
    assert_int_equal(r.last.records, 250);
    assert_int_equal(r.last.bytes, in.size);
    rig_free(&r);
    buf_deinit(&in);
}

static void take_row(void *ctx, const struct aggregate_row *row)
{
    if (!row->note)
        buf_printf(ctx, "%.*s=%.*s\n", (int)row->cell[0].size, (const char *)row->cell[0].data,
                   (int)row->cell[1].size, (const char *)row->cell[1].data);
}

/* Enough rows that whatever the C library does to sort them is done behind the sandbox. */
/* The heartbeat comes while a frame is half written, for the node reads nothing. */
TEST(a_heartbeat_never_comes_between_the_parts_of_a_frame)
{
    struct job_spec s = RIG_SPEC("j", "MAP", "LUA",
                                 "function map(k, v, emit) for i = 1, 100000 do emit(i, v) end end",
                                 "REDUCE", "COUNT");
    struct buf in = {0};
    put_string(&in, "k", "a value of some thirty bytes, so");
    struct rig_result r = rig_run(&s, &(struct rig_options){.deaf_ms = 2500}, buf_bytes(&in));
    if (!r.done) fail_msg("%s", r.error);
    assert_int_equal(r.last.pairs_out, 100000);
    assert_int_equal(r.last.bytes_out, r.pairs[0].size);
    rig_free(&r);
    buf_deinit(&in);
}

TEST(every_query_works_behind_the_sandbox)
{
    static const char *const query[][6] = {{"COUNT"},
                                           {"AVG", "FIELD", "n"},
                                           {"TOP", "4000", "FIELD", "n"},
                                           {"DISTINCT"},
                                           {"QUANTILES", "FIELD", "n"},
                                           {"HISTOGRAM", "FIELD", "n"},
                                           {"GROUP", "BY", "n"},
                                           {"JOIN", "k1*", "FIELD", "n"},
                                           {"GREP", "7"}};
    struct buf in = {0};
    for (int i = 0; i < 20000; i++) {
        char key[20], n[20];
        (void)snprintf(key, sizeof key, "k%d", i);
        (void)snprintf(n, sizeof n, "%d", i * 7919 % 5000);
        put_hash(&in, key, "n", n, "g", "x");
    }
    for (size_t q = 0; q < sizeof query / sizeof *query; q++) {
        const char *word[10] = {"q", "MAP"};
        size_t n = 2;
        for (int i = 0; i < 6 && query[q][i]; i++) word[n++] = query[q][i];
        struct job_spec s = rig_spec(word, n);
        struct aggregate *a = aggregate_new(&s, 64 << 20);
        struct bytes stream = buf_bytes(&in), input = stream;
        struct record r;
        struct buf expected = {0};
        while (record_next(&stream, &r) == RECORD_OK)
            assert_int_equal(aggregate_feed(a, &r), AGGREGATE_OK);
        aggregate_finish(a, take_row, &expected);
        buf_u8(&expected, 0);
        struct rig_result map = rig_run(&s, &(struct rig_options){.partitions = 1}, input);
        if (!map.done) fail_msg("%s: %s", query[q][0], map.error);
        struct rig_result end =
            rig_run(&s, &(struct rig_options){.reduces = true}, buf_bytes(&map.pairs[0]));
        if (!end.done) fail_msg("%s: %s", query[q][0], end.error);
        struct buf got = rig_lines(&end.pairs[0]);
        assert_true(got.size > 5);
        assert_int_equal(got.size, expected.size);
        assert_memory_equal(got.data, expected.data, got.size);
        buf_deinit(&got);
        buf_deinit(&expected);
        rig_free(&map);
        rig_free(&end);
        aggregate_free(a);
    }
    buf_deinit(&in);
}

/* ---- where they come from ---- */

static pid_t child_named(const char *name)
{
    char path[64], line[4096] = "", comm[32];
    FILE *f = fopen("/proc/thread-self/children", "r");
    assert_non_null(f);
    (void)!fgets(line, sizeof line, f);
    (void)fclose(f);
    for (char *at = line, *end; *at; at = end + 1) {
        long pid = strtol(at, &end, 10);
        (void)snprintf(path, sizeof path, "/proc/%ld/comm", pid);
        f = fopen(path, "r");
        if (!f) continue;
        bool is = fgets(comm, sizeof comm, f) && strncmp(comm, name, strlen(name)) == 0;
        (void)fclose(f);
        if (is) return (pid_t)pid;
    }
    return 0;
}

static void works(void)
{
    struct rig_result r = fails("function map() error('here') end", &(struct rig_options){0});
    if (!strstr(r.error, "here")) fail_msg("%s", r.error);
    rig_free(&r);
    assert_int_equal(child_named("job-worker"), 0);
}

TEST(a_worker_computes_when_nothing_else_does)
{
    char error[WORKER_ERROR_MAX];
    struct job_spec s = RIG_SPEC("j", "MAP", "LUA", "function map() end", "REDUCE", "COUNT");
    struct worker_options wo = {.nursery = rig_nursery(), .spill_fd = -1};
    struct worker *w = worker_spawn(&wo, &s, &(struct worker_task){0}, error);
    if (!w) fail_msg("%s", error);
    for (int i = 0; i < 1000 && sched_getscheduler(worker_pid(w)) != SCHED_IDLE; i++) usleep(10000);
    assert_int_equal(sched_getscheduler(worker_pid(w)), SCHED_IDLE);
    assert_int_equal(sched_getscheduler(child_named("job-nursery")), SCHED_OTHER);
    worker_free(w);
}

TEST(a_nursery_that_dies_or_stands_still_is_replaced)
{
    works();
    pid_t first = child_named("job-nursery");
    assert_true(first > 0);
    works();
    assert_int_equal(child_named("job-nursery"), first);
    assert_int_equal(kill(first, SIGKILL), 0);
    works();
    pid_t second = child_named("job-nursery");
    assert_true(second > 0 && second != first);
    assert_int_equal(kill(second, SIGSTOP), 0);
    works(); /* after ten seconds */
    assert_true(child_named("job-nursery") != second);
}

TEST(a_program_that_is_none_is_told)
{
    static const char *const programs[] = {"/bin/true", "/no/such/program"};
    static const char *const said[] = {"it ends at once", "No such file or directory"};
    struct job_spec s = RIG_SPEC("j", "MAP", "LUA", "function map() end", "REDUCE", "COUNT");
    for (int i = 0; i < 2; i++) {
        char error[WORKER_ERROR_MAX] = "";
        struct nursery *n = nursery_new(programs[i]);
        struct worker_options wo = {.nursery = n, .spill_fd = -1};
        assert_null(worker_spawn(&wo, &s, &(struct worker_task){0}, error));
        if (!strstr(error, programs[i]) || !strstr(error, said[i])) fail_msg("%s", error);
        nursery_free(n);
    }
}

/* Several threads may want one at once. */
static void *spawns(void *nursery)
{
    struct job_spec s = RIG_SPEC("j", "MAP", "LUA", "function map() end", "REDUCE", "COUNT");
    struct worker_options wo = {.nursery = nursery, .spill_fd = -1};
    char error[WORKER_ERROR_MAX];
    for (int i = 0; i < 20; i++) {
        struct worker *w = worker_spawn(&wo, &s, &(struct worker_task){0}, error);
        if (!w) return "a worker was not born";
        worker_free(w);
    }
    return NULL;
}

TEST(threads_share_a_nursery)
{
    pthread_t thread[4];
    struct nursery *n = nursery_new(getenv("JOB_WORKER"));
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&thread[i], NULL, spawns, n), 0);
    for (int i = 0; i < 4; i++) {
        void *wrong;
        assert_int_equal(pthread_join(thread[i], &wrong), 0);
        if (wrong) fail_msg("%s", (char *)wrong);
    }
    nursery_free(n);
}

TEST_MAIN
