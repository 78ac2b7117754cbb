/* The command line: options, the RESP client's parser, the package index, processes by identity. */
#include "test.h"
#include "base/buf.h"
#include "base/prng.h"
#include "cli/bench_keys.h"
#include "cli/bench_wire.h"
#include "cli/client.h"
#include "cli/histogram.h"
#include "cli/options.h"
#include "cli/packages.h"
#include "cli/process.h"
#include "cli/server.h"
#include "cli/overview.h"
#include "cli/status.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Parses `words` as a server's arguments. Usage errors go to stderr, which nobody needs to see
 * here. */
static int server_parse(struct server_options *o, struct options_text *text, int count,
                        const char *const *words)
{
    char *argv[32] = {"synod server"};
    for (int i = 0; i < count; i++) argv[i + 1] = (char *)words[i];
    FILE *saved = stderr;
    stderr = fopen("/dev/null", "w");
    int status = server_options_parse(o, text, count + 1, argv);
    fclose(stderr);
    stderr = saved;
    return status;
}

#define SERVER_PARSE(o, ...)                                                                       \
    server_parse(o, &text, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),          \
                 (const char *[]){__VA_ARGS__})

TEST(a_server_gets_its_defaults_from_the_listening_address)
{
    struct server_options o;
    struct options_text text = {0};
    assert_int_equal(SERVER_PARSE(&o, "--data", "d"), EXIT_DONE);
    assert_string_equal(o.listen, "127.0.0.1:6379");
    assert_string_equal(o.peer, "127.0.0.1:16379");
    assert_string_equal(o.http, "127.0.0.1:7379");
    assert_int_equal(o.groups, 0); /* not said: the node decides, or knows since its founding */
    assert_int_equal(o.replicas, 0);

    assert_int_equal(SERVER_PARSE(&o, "--data=d", "--listen=[::1]:7001", "--http", "[::1]:9000"),
                     EXIT_DONE);
    assert_string_equal(o.peer, "[::1]:17001");
    assert_string_equal(o.http, "[::1]:9000");
}

TEST(a_founding_node_finds_itself_in_the_list)
{
    struct server_options o;
    struct options_text text = {0};
    assert_int_equal(SERVER_PARSE(&o, "--data", "d", "--listen", "localhost:7002", "--found",
                                  "127.0.0.1:17001,localhost:17002,127.0.0.1:17003"),
                     EXIT_DONE);
    assert_int_equal(o.found_count, 3);
    assert_int_equal(o.found_self, 1);
    assert_string_equal(o.found[1], "127.0.0.1:17002"); /* names become numbers */
    assert_string_equal(o.found[2], "127.0.0.1:17003");
}

TEST(wrong_use_is_told_apart_from_failure)
{
    struct server_options o;
    struct options_text text = {0};
    assert_int_equal(SERVER_PARSE(&o, "--groups", "3"), EXIT_USAGE); /* no --data */
    assert_int_equal(SERVER_PARSE(&o, "--data", "d", "--groups", "0"), EXIT_USAGE);
    assert_int_equal(SERVER_PARSE(&o, "--data", "d", "--groups", "99999"), EXIT_USAGE);
    assert_int_equal(SERVER_PARSE(&o, "--data", "d", "--groups", "1x"), EXIT_USAGE);
    assert_int_equal(SERVER_PARSE(&o, "--data", "d", "--groups"), EXIT_USAGE);
    assert_int_equal(SERVER_PARSE(&o, "--data", "d", "--grouse", "1"), EXIT_USAGE);
    assert_int_equal(SERVER_PARSE(&o, "--data", "d", "--io", "kqueue"), EXIT_USAGE);
    assert_int_equal(SERVER_PARSE(&o, "--data", "d", "--listen", "nowhere"), EXIT_USAGE);
    assert_int_equal(SERVER_PARSE(&o, "--data", "d", "--listen", "h:60000"),
                     EXIT_USAGE); /* peer port > 65535 */
    assert_int_equal(SERVER_PARSE(&o, "--data", "d", "--found", "h:1,h:2"),
                     EXIT_USAGE); /* not among them */
    assert_int_equal(SERVER_PARSE(&o, "--data", "d", "--found", "h:1,,h:2"), EXIT_USAGE);
    assert_int_equal(SERVER_PARSE(&o, "--data", "d", "--peer", "h:1", "--found", "h:1,h:1"),
                     EXIT_USAGE);
    assert_int_equal(
        SERVER_PARSE(&o, "--data", "d", "--peer", "h:1", "--found", "h:1", "--join", "h:2"),
        EXIT_USAGE);
    assert_int_equal(SERVER_PARSE(&o, "--data", "d", "stray"), EXIT_USAGE);
    assert_int_equal(SERVER_PARSE(&o, "--data", "d", "--config", "/nonexistent"), EXIT_FAILED);
}

TEST(the_command_line_has_the_last_word_over_the_file)
{
    char path[] = "/tmp/synod-test-XXXXXX";
    int fd = mkstemp(path);
    dprintf(fd, "# a comment\n\ndata \"/some dir\"\n  groups   5\r\nread-mode quorum\nio epoll");
    close(fd);

    struct server_options o;
    struct options_text text = {0};
    assert_int_equal(SERVER_PARSE(&o, "--groups", "7", "--config", path), EXIT_DONE);
    assert_string_equal(o.data_dir, "/some dir");
    assert_int_equal(o.groups, 7);
    assert_int_equal(o.read_mode, SERVER_READ_QUORUM);
    assert_int_equal(o.io, SERVER_IO_EPOLL);
    options_text_free(&text);
    unlink(path);
}

/* ---- the client's parser ---- */

/* Writes a random reply in RESP2, and what it is as a line of text, the naive twin. */
static void reply_random(struct prng *r, unsigned depth, struct buf *wire, struct buf *said)
{
    static const char letters[] = "ab\r\n$*:\0-";
    uint64_t kind = prng_below(r, depth < 4 ? 6 : 5), size = prng_below(r, 9);
    switch (kind) {
    case 0: buf_printf(wire, "+OK%u\r\n", depth), buf_printf(said, "+OK%u ", depth); break;
    case 1: buf_printf(wire, "-ERR %u\r\n", depth), buf_printf(said, "-ERR %u ", depth); break;
    case 2:
        buf_printf(wire, ":-%d\r\n", (int)size + 1), buf_printf(said, ":-%d ", (int)size + 1);
        break;
    case 3: buf_printf(wire, size & 1 ? "$-1\r\n" : "*-1\r\n"), buf_printf(said, "nil "); break;
    case 4:
        buf_printf(wire, "$%d\r\n", (int)size);
        buf_printf(said, "$%d ", (int)size);
        for (uint64_t i = 0; i < size; i++) {
            uint8_t c = (uint8_t)letters[prng_below(r, sizeof letters)];
            buf_u8(wire, c), buf_u8(said, c);
        }
        buf_printf(wire, "\r\n");
        break;
    default:
        buf_printf(wire, "*%d\r\n", (int)size), buf_printf(said, "*%d ", (int)size);
        for (uint64_t i = 0; i < size; i++) reply_random(r, depth + 1, wire, said);
    }
}

static void reply_say(const struct client_reply *r, struct buf *said)
{
    switch (r->type) {
    case CLIENT_STATUS:
        buf_printf(said, "+%.*s ", (int)r->text.size, (const char *)r->text.data);
        break;
    case CLIENT_ERROR:
        buf_printf(said, "-%.*s ", (int)r->text.size, (const char *)r->text.data);
        break;
    case CLIENT_INTEGER: buf_printf(said, ":%d ", (int)r->integer); break;
    case CLIENT_NIL: buf_printf(said, "nil "); break;
    case CLIENT_BULK:
        buf_printf(said, "$%zu ", r->text.size);
        buf_append_bytes(said, r->text);
        break;
    case CLIENT_ARRAY:
        buf_printf(said, "*%zu ", r->count);
        for (size_t i = 0; i < r->count; i++) reply_say(&r->items[i], said);
    }
}

TEST(replies_are_parsed_whole_or_not_at_all_at_every_cut)
{
    struct prng r;
    prng_init(&r, 3);
    for (int round = 0; round < 300; round++) {
        struct buf wire = {0}, said = {0}, heard = {0};
        struct client_arrays *arrays = NULL;
        struct client_reply reply;
        reply_random(&r, 0, &wire, &said);

        size_t step = wire.size > 2000 ? 37 : 1;
        for (size_t cut = 0; cut < wire.size; cut += step) {
            uint8_t *copy = malloc(
                cut ? cut : 1); /* of exactly this size, so that a sanitizer sees an overrun */
            memcpy(copy, wire.data, cut);
            assert_int_equal(client_parse(bytes_of(copy, cut), &reply, &arrays), 0);
            assert_null(arrays);
            free(copy);
        }
        assert_int_equal(client_parse(buf_bytes(&wire), &reply, &arrays), wire.size);
        reply_say(&reply, &heard);
        assert_true(bytes_equal(buf_bytes(&said), buf_bytes(&heard)));
        client_arrays_free(&arrays);
        buf_deinit(&wire), buf_deinit(&said), buf_deinit(&heard);
    }
}

TEST(garbage_and_hostile_lengths_are_refused)
{
    static const char *const bad[] = {
        "\r\n",
        "hello\r\n",
        "$x\r\n",
        "$-2\r\n",
        "$99999999999\r\n",
        "*-2\r\n",
        "*99999999999\r\n",
        ":\r\n",
        ":1x\r\n",
        "$1\r\nabc\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        "%1\r\n",
    };
    struct client_arrays *arrays = NULL;
    struct client_reply reply;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(client_parse(bytes_str(bad[i]), &reply, &arrays), -1);
        assert_null(arrays);
    }
    /* A length that might be true takes no memory before its elements are here. (A sanitizer's own
     * map is larger than that.) */
#ifndef __SANITIZE_ADDRESS__
    struct rlimit old, tight;
    assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
    tight = old;
    tight.rlim_cur = 1u << 30;
    assert_int_equal(setrlimit(RLIMIT_AS, &tight), 0);
#endif
    assert_int_equal(client_parse(BYTES("*60000000\r\n:1\r\n"), &reply, &arrays), 0);
#ifndef __SANITIZE_ADDRESS__
    assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);
#endif

    struct prng r;
    prng_init(&r, 4);
    for (int round = 0; round < 20000; round++) {
        static const char alphabet[] = "$*:+-\r\n0123456789a";
        uint8_t text[24];
        size_t size = prng_below(&r, sizeof text);
        for (size_t i = 0; i < size; i++)
            text[i] = (uint8_t)alphabet[prng_below(&r, sizeof alphabet - 1)];
        int64_t used = client_parse(bytes_of(text, size), &reply, &arrays);
        assert_in_range(used + 1, 0, size + 1);
        client_arrays_free(&arrays);
    }
}

/* ---- the package index ---- */

TEST(the_last_version_of_a_package_wins_and_long_values_stay_whole)
{
    struct packages p = {0};
    buf_append_bytes(
        &p.text,
        BYTES("\nPackage: a\nVersion: 1\nOld: x\n\n\n"
              "Package: b\nDescription: short\n long line\n .\n\tend\nTag:\n one,\n two\n\n"
              "Nameless: y\n\n"
              "Package: a\nVersion: 2\nVersion: 3\nstray\n Colon: in a stray line"));
    packages_index(&p);
    assert_int_equal(p.count, 2);

    struct package_field f[PACKAGE_FIELDS_MAX];
    assert_int_equal(package_fields(p.list[0].record, f), 2);
    EXPECT_BYTES(f[0].value, "a");
    EXPECT_BYTES(f[1].name, "Version");
    EXPECT_BYTES(f[1].value, "3");

    assert_int_equal(package_fields(p.list[1].record, f), 3);
    EXPECT_BYTES(f[1].value, "short\n long line\n .\n\tend");
    EXPECT_BYTES(f[2].value, "\n one,\n two");
    packages_deinit(&p);
}

TEST(a_digest_of_fields_tells_a_name_from_a_value)
{
    assert_true(package_field_digest(BYTES("a"), BYTES("b")) !=
                package_field_digest(BYTES("b"), BYTES("a")));
    assert_true(package_field_digest(BYTES("ab"), BYTES("")) !=
                package_field_digest(BYTES("a"), BYTES("b")));
}

/* ---- processes ---- */

TEST(a_recycled_process_number_is_never_taken_for_the_old_process)
{
    pid_t pid = fork();
    if (pid == 0) {
        execlp("sleep", "sleep", "60", NULL);
        _exit(1);
    }
    struct process p, other;
    assert_true(process_identify(pid, &p));
    /* Until the exec is over: in the middle of it a process has no arguments, and is alive whatever
     * is asked for. */
    for (int i = 0; i < 1000 && (!process_alive(&p, "60") || process_alive(&p, "61")); i++)
        usleep(1000);
    assert_true(process_alive(&p, "60"));
    assert_false(process_alive(&p, "61"));

    other = p;
    other.start++;
    assert_false(process_alive(&other, "60"));
    assert_int_equal(process_open(&other, "60"), -1);
    assert_int_equal(process_open(&p, "61"), -1);

    int fd = process_open(&p, "60");
    assert_true(fd >= 0);
    assert_false(process_wait(fd, pid, 0));
    assert_int_equal(process_signal(fd, SIGKILL), 0);
    assert_true(process_wait(fd, pid, 10000));
    assert_false(process_alive(&p, "60"));
    close(fd);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), -1); /* reaped */
}

TEST(a_process_file_survives_the_way_through_the_disk)
{
    char path[] = "/tmp/synod-test-XXXXXX";
    close(mkstemp(path));
    struct process p = {1234, 567890123456789}, q = {0};
    assert_false(process_file_read(path, &q)); /* empty */
    assert_int_equal(process_file_write(path, &p), 0);
    assert_true(process_file_read(path, &q));
    assert_int_equal(q.pid, p.pid);
    assert_true(q.start == p.start);
    unlink(path);
    assert_false(process_file_read(path, &q));
}

/* ---- status ---- */

/* JSON may be written with ' for ", for the reader's sake. Free the result. */
static char *json_of(const char *text)
{
    char *json = strdup(text);
    for (char *c = json; *c; c++)
        if (*c == '\'') *c = '"';
    return json;
}

#define CLUSTER "{'cluster':{'id':'x','version':'1','epoch':1,'state':'degraded','self':1},"

TEST(a_status_that_is_not_as_agreed_is_an_error_and_no_crash)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{'cluster':1,'nodes':2,'groups':3}",
        CLUSTER "'nodes':[{'id':1}],'groups':[]}",
        CLUSTER "'nodes':[],'groups':[{'id':0,'slots':[[1]],'leader':1,'chosen':1,'replicas':[]}]}",
        CLUSTER "'nodes':[],'groups':[{'id':0,'slots':7,'leader':1,'chosen':1,'replicas':[]}]}",
    };
    struct overview o;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char error[256] = "", *json = json_of(bad[i]);
        assert_false(overview_read(&o, bytes_str(json), error, sizeof error));
        assert_true(strlen(error) > strlen("the node's status cannot be read: "));
        assert_null(o.group);
        free(json);
    }
}

TEST(a_status_larger_than_foreseen_is_cut_and_no_crash)
{
    struct buf json = {0};
    struct overview o;
    char error[256];
    buf_append_bytes(&json, BYTES("{\"cluster\":{\"id\":\"0123456789abcdef0123456789abcdef\","
                                  "\"version\":\"1\",\"epoch\":1,\"state\":\"ok\",\"self\":1},"
                                  "\"nodes\":[],\"groups\":[{\"id\":0,\"leader\":1,\"chosen\":1,"
                                  "\"slots\":["));
    for (int i = 0; i < 100; i++) buf_printf(&json, i ? ",[%d,%d]" : "[%d,%d]", i, i);
    buf_printf(&json, "],\"target\":[");
    for (int i = 0; i < 100; i++) buf_printf(&json, i ? ",%d" : "%d", i);
    buf_printf(&json, "],\"replicas\":[");
    for (int i = 0; i < 100; i++)
        buf_printf(&json,
                   "%s{\"node\":%d,\"role\":\"a role of many letters\",\"applied\":1,"
                   "\"lag\":0}",
                   i ? "," : "", i);
    buf_printf(&json, "]}]}");
    assert_true(overview_read(&o, buf_bytes(&json), error, sizeof error));
    assert_int_equal(o.group[0].range_count, OVERVIEW_RANGES_MAX);
    assert_int_equal(o.group[0].replica_count, OVERVIEW_REPLICAS_MAX);
    assert_int_equal(o.group[0].target_count, OVERVIEW_REPLICAS_MAX);
    overview_free(&o);
    buf_deinit(&json);
}

/* What status_print makes of a text; free it. */
static char *status_text(const char *readable)
{
    char *json = json_of(readable), *text = NULL, error[256];
    struct overview o;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_true(overview_read(&o, bytes_str(json), error, sizeof error));
    status_print(out, &o);
    fclose(out);
    overview_free(&o);
    free(json);
    return text;
}

TEST(a_status_is_printed_with_a_summary)
{
    char *text = status_text(
        CLUSTER
        "'nodes':[{'id':1,'address':'127.0.0.1:7001','peer':'p','zone':'z','state':'up',"
        "'age_ms':0,'leads':1,'follows':0,'disk_bytes':1500000000,'log_bytes':1,"
        "'room_bytes':2,'memory_bytes':3,'uptime_s':4,'io':'epoll'}],"
        "'groups':[{'id':0,'slots':[[0,8191],[9000,9000]],'leader':1,'chosen':57,'replicas':["
        "{'node':1,'role':'leader','applied':57,'lag':0},"
        "{'node':2,'role':'follower','applied':50,'lag':7}]},"
        "{'id':1,'slots':[],'leader':0,'chosen':0,'replicas':[]}]}");
    assert_non_null(strstr(text, "1.5 GB"));
    assert_non_null(strstr(text, "0-8191,9000"));
    assert_non_null(strstr(text, "1:leader  2:7"));
    assert_non_null(strstr(text, "1 of 1 nodes up, 1 of 2 groups have a leader, largest lag 7"));
    free(text);
}

/* One that two groups tell of is one, as the group has it that knows most. */
TEST(transactions_are_counted_once)
{
    char *text = status_text(
        CLUSTER
        "'nodes':[],'groups':["
        "{'id':0,'slots':[],'leader':1,'chosen':0,'replicas':[],'transactions':["
        "{'id':'1.2.3','state':'prepared','age_ms':20},{'id':'1.2.4','state':'open','age_ms':3}]},"
        "{'id':1,'slots':[],'leader':1,'chosen':0,'replicas':[],'transactions':["
        "{'id':'2.2.4','state':'in doubt','age_ms':7100},"
        "{'id':'1.2.3','state':'decided','age_ms':19}]}]}");
    assert_non_null(strstr(text, "transactions over groups: 1 open, 0 prepared, 1 in doubt, 1 "
                                 "committed and ending; the oldest is 2.2.4, since 7.1 s\n"));
    free(text);
}

#define FIGURES                                                                                    \
    "'zone':'z','age_ms':0,'leads':1,'follows':0,'disk_bytes':1,'log_bytes':1,'room_bytes':2,"     \
    "'memory_bytes':3,'uptime_s':4,'io':'epoll'}"

TEST(moves_under_way_say_who_goes_who_comes_and_how_far_it_is)
{
    char *text = status_text(
        CLUSTER
        "'nodes':[{'id':1,'address':'a:1','state':'draining','up':true," FIGURES ","
        "{'id':2,'address':'a:2','state':'up','up':true," FIGURES ","
        "{'id':3,'address':'a:3','state':'down','up':false," FIGURES ","
        "{'id':4,'address':'a:4','state':'gone','up':false," FIGURES "],"
        "'groups':[{'id':3,'slots':[[0,8191]],'leader':1,'chosen':57,'target':[2,5],'replicas':["
        "{'node':1,'role':'leader','applied':57,'lag':0},"
        "{'node':2,'role':'follower','applied':57,'lag':0},"
        "{'node':5,'role':'learner','applied':0,'lag':57,'snapshot_percent':40,"
        "'snapshot_bytes':2000000,'snapshot_ms':4000}]},"
        "{'id':4,'slots':[[8192,16383]],'leader':2,'chosen':1,'splits_at':9000,'replicas':[]}]}");
    assert_non_null(strstr(text, "group 3: 1 -> 5  snapshot [########------------] 40 %, 2.0 MB "
                                 "sent, about 6 s\n"));
    assert_non_null(strstr(text, "group 4: splits at slot 9000\n"));
    assert_non_null(strstr(text, "node 1 drains: 1 replicas to go\n"));
    assert_non_null(
        strstr(text, "node 4 is gone and replaced; `synod node remove 4` forgets it\n"));
    assert_non_null(strstr(text, "2 of 3 nodes up (without those that are gone), 2 of 2 groups "
                                 "have a leader, largest lag 57, 2 moves under way\n"));
    free(text);
}

TEST(a_group_that_only_loses_or_only_gains_a_replica_is_told_so)
{
    char *text = status_text(
        CLUSTER
        "'nodes':[],'groups':[{'id':2,'slots':[],'leader':1,'chosen':1,'target':[2,3],'replicas':["
        "{'node':1,'role':'leader','applied':1,'lag':0},"
        "{'node':2,'role':'down','votes':true,'applied':1,'lag':0},"
        "{'node':3,'role':'down','votes':false,'applied':0,'lag':-1}]},"
        "{'id':0,'slots':[],'leader':1,'chosen':1,'target':[1],'replicas':["
        "{'node':1,'role':'leader','applied':1,'lag':0},"
        "{'node':2,'role':'follower','applied':1,'lag':0}]},"
        "{'id':1,'slots':[],'leader':1,'chosen':1,'target':[1,2],'replicas':["
        "{'node':1,'role':'leader','applied':1,'lag':0}]}]}");
    assert_non_null(strstr(text, "group 2: 1 -> 3  waits: that node is down\n"));
    assert_non_null(strstr(text, "group 0: 2 leaves\n"));
    assert_non_null(strstr(text, "group 1: + 2  is to begin\n"));
    free(text);
}

/* ---- the load generator ---- */

static int order_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

TEST(quantiles_agree_with_a_sorted_array_within_the_step)
{
    enum { VALUES = 5000 };
    static uint64_t value[VALUES];
    struct histogram *h = calloc(1, sizeof *h);
    struct prng r;
    prng_init(&r, 5);
    for (size_t i = 0; i < VALUES; i++) {
        value[i] = prng_u64(&r) >> prng_below(&r, 64);
        histogram_add(h, value[i]);
    }
    qsort(value, VALUES, sizeof *value, order_u64);

    static const double share[] = {0.001, 0.5, 0.9, 0.99, 0.999, 1};
    for (size_t i = 0; i < sizeof share / sizeof *share; i++) {
        uint64_t exact = value[(size_t)(share[i] * VALUES + 0.999999) - 1],
                 found = histogram_quantile(h, share[i]);
        assert_true(found >= exact && found - exact <= exact / 64);
    }
    assert_true(histogram_quantile(h, 1) == value[VALUES - 1]);
    free(h);
}

TEST(an_empty_histogram_has_only_zeros)
{
    struct histogram *h = calloc(1, sizeof *h);
    assert_int_equal(histogram_quantile(h, 0.5), 0);
    free(h);
}

/* Feeds `text` whole and byte by byte; both ways the same operations must end, in this order: o ok,
 * e error, x not the protocol. */
static void expect_heard(const struct bench_wire *start, struct bytes text, const char *expected)
{
    for (size_t step = 1; step <= text.size; step += text.size - 1) {
        struct bench_wire w = *start;
        struct buf out = {0};
        struct bytes error;
        char heard[32] = "";
        size_t at = 0, end = 0, used;
        while (end < text.size) {
            end = end + step < text.size ? end + step : text.size;
            enum bench_heard h;
            do {
                h = bench_wire_hear(&w, bytes_of(text.data + at, end - at), &used, &out, &error);
                at += used;
                if (h == BENCH_OK || h == BENCH_ERROR || h == BENCH_BAD)
                    strcat(heard, h == BENCH_OK ? "o" : h == BENCH_ERROR ? "e" : "x");
            } while (h != BENCH_MORE && h != BENCH_BAD);
            if (h == BENCH_BAD) break;
        }
        assert_string_equal(heard, expected);
        buf_deinit(&out);
    }
}

TEST(the_load_generator_counts_an_operation_when_it_is_answered)
{
    struct bench_wire w = {0};
    struct buf out = {0};
    for (int i = 0; i < 6; i++) bench_wire_say(&w, &out, BENCH_GET, BYTES("k"), BYTES(""));
    expect_heard(&w, BYTES("$3\r\na\r\n\r\n$-1\r\n:7\r\n-ERR no\r\n+OK\r\n$0\r\n\r\n"), "oooeoo");
    expect_heard(&w, BYTES("+OK\r\n*1\r\n"), "ox");
    buf_deinit(&out);
}

TEST(a_write_with_wait_is_done_when_enough_replicas_have_it)
{
    struct bench_wire w = {.wait_replicas = 2};
    struct buf out = {0};
    for (int i = 0; i < 4; i++) bench_wire_say(&w, &out, BENCH_SET, BYTES("k"), BYTES("v"));
    expect_heard(&w, BYTES("+OK\r\n:2\r\n+OK\r\n:1\r\n-ERR no\r\n:2\r\n+OK\r\n-ERR no\r\n"),
                 "oeee");
    buf_deinit(&out);
}

TEST(a_transfer_is_done_when_exec_is_answered_with_no_error_in_it)
{
    struct bench_wire w = {0};
    struct buf out = {0};
    for (int i = 0; i < 5; i++) bench_wire_transfer(&w, &out, BYTES("a"), BYTES("b"), 7);
    struct bytes one = BYTES("*1\r\n$5\r\nMULTI\r\n*3\r\n$6\r\nDECRBY\r\n$1\r\na\r\n$1\r\n7\r\n"
                             "*3\r\n$6\r\nINCRBY\r\n$1\r\nb\r\n$1\r\n7\r\n*1\r\n$4\r\nEXEC\r\n");
    assert_int_equal(out.size, 5 * one.size);
    assert_memory_equal(out.data, one.data, one.size);
#define QUEUED "+OK\r\n+QUEUED\r\n+QUEUED\r\n"
    expect_heard(&w,
                 BYTES(QUEUED "*2\r\n:-7\r\n:7\r\n" QUEUED "-TXNABORT no\r\n"
                              "-ERR no\r\n-ERR no\r\n+QUEUED\r\n-EXECABORT no\r\n" QUEUED
                              "*2\r\n-ERR no\r\n:7\r\n" QUEUED "*-1\r\n"),
                 "oeeee");
    expect_heard(&w, BYTES(QUEUED "*2\r\n*1\r\n"), "x");
    expect_heard(&w, BYTES("*2\r\n"), "x");
    buf_deinit(&out);
}

TEST(keys_are_drawn_as_often_as_they_should_be)
{
    static const double zipf[] = {0, 0.5, 0.99};
    enum { KEYS = 1000, DRAWS = 200000 };
    uint32_t *seen = calloc(KEYS, sizeof *seen);
    for (size_t z = 0; z < sizeof zipf / sizeof *zipf; z++) {
        struct prng random;
        struct bench_keys k;
        double share[2], sum[2] = {0};
        prng_init(&random, 1);
        bench_keys_init(&k, KEYS, zipf[z]);
        memset(seen, 0, KEYS * sizeof *seen);
        for (int i = 0; i < DRAWS; i++) seen[bench_keys_draw(&k, &random)]++;
        for (int i = 0; i < KEYS; i++) sum[i < 100] += pow(i + 1, -zipf[z]);
        share[0] = sum[1] / (sum[0] + sum[1]), share[1] = 0;
        for (int i = 0; i < 100; i++) share[1] += seen[i] / (double)DRAWS;
        assert_true(fabs(share[0] - share[1]) < 0.02);
    }
    free(seen);
}

TEST(the_other_account_is_another_one_under_the_same_tag)
{
    static const uint64_t count[] = {2, 3, 9, 10, 25, 10000};
    for (size_t c = 0; c < sizeof count / sizeof *count; c++) {
        struct prng random;
        struct bench_keys k;
        prng_init(&random, 1);
        bench_keys_init(&k, count[c], 0.99);
        for (int i = 0; i < 1000; i++) {
            uint64_t from = bench_keys_draw(&k, &random);
            uint64_t to = bench_keys_tagged(&k, from, &random);
            uint64_t any = bench_keys_other(&k, from, &random);
            assert_true(from < count[c] && to < count[c] && any < count[c]);
            assert_true(to != from && any != from);
            assert_int_equal(bench_keys_tag(&k, to), bench_keys_tag(&k, from));
        }
    }
}

TEST(an_etcd_stream_counts_when_it_ends_and_only_with_data)
{
    struct bench_wire w = {.etcd = true};
    struct buf out = {0};
    bench_wire_open(&w, &out);
    for (int i = 0; i < 3; i++) bench_wire_say(&w, &out, BENCH_SET, BYTES("k"), BYTES("v"));
    /* SETTINGS; HEADERS 1, 3; DATA 3, 1; trailers 1, 3; stream 5 has trailers alone. */
    expect_heard(&w,
                 BYTES("\0\0\0\4\0\0\0\0\0"
                       "\0\0\1\1\4\0\0\0\1z\0\0\1\1\4\0\0\0\3z"
                       "\0\0\5\0\0\0\0\0\3\0\0\0\0\0\0\0\5\0\0\0\0\0\1\0\0\0\0\0"
                       "\0\0\1\1\5\0\0\0\1z\0\0\1\1\5\0\0\0\3z\0\0\1\1\5\0\0\0\5z"),
                 "ooe");
    buf_deinit(&out);
}

TEST_MAIN
