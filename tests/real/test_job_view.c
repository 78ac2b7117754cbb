/* What `synod job` draws and prints, from replies; and what it takes for a size and a time. */
#include "test.h"

#include "cli/job_bars.h"
#include "cli/job_result.h"
#include "cli/job_words.h"

#include <stdlib.h>

/* A reply in RESP2; `arrays` are the caller's to free. */
static struct client_reply reply_of(const char *wire, struct client_arrays **arrays)
{
    struct client_reply r;
    assert_int_equal(client_parse(bytes_str(wire), &r, arrays), strlen(wire));
    return r;
}

/* What the calls between have written on a terminal of this width, or, width 0, in a file. */
struct canvas {
    struct job_bars bars;
    char *text;
    size_t size;
};

static void canvas_open(struct canvas *c, unsigned width)
{
    *c = (struct canvas){0};
    FILE *out = open_memstream(&c->text, &c->size);
    c->bars =
        (struct job_bars){.out = out, .tty = width > 0, .width = width, .step = JOB_STEPS + 1};
}

static void canvas_expect(struct canvas *c, const char *expected)
{
    fclose(c->bars.out);
    assert_string_equal(c->text, expected);
    free(c->text);
}

static struct job_view view_of(const char *state, int64_t maps_done, int64_t reduces_done,
                               int64_t records)
{
    struct job_view v = {.maps = 10,
                         .maps_done = maps_done,
                         .reduces = 4,
                         .reduces_done = reduces_done,
                         .running = 2,
                         .records = records,
                         .bytes = records * 100};
    snprintf(v.name, sizeof v.name, "j");
    snprintf(v.state, sizeof v.state, "%s", state);
    return v;
}

static void show(struct canvas *c, const char *state, int64_t maps, int64_t reduces,
                 int64_t records, uint64_t ms)
{
    struct job_view v = view_of(state, maps, reduces, records);
    job_bars_show(&c->bars, &v, ms);
}

TEST(a_line_a_second_and_one_for_each_step)
{
    struct canvas c;
    canvas_open(&c, 0);
    show(&c, "submitted", 0, 0, 0, 1000);
    show(&c, "cut", 0, 0, 0, 1100);
    show(&c, "map", 0, 0, 0, 1500);
    show(&c, "map", 1, 0, 100, 2000);      /* too early for a line */
    show(&c, "map", 2, 0, 2000, 2500);     /* 2 of 10 in a second */
    show(&c, "map", 6, 0, 1000, 3500);     /* an attempt was lost: what it had read goes */
    show(&c, "reduce", 10, 0, 2000, 4600); /* time left: none of its own is done yet */
    show(&c, "map", 9, 0, 2000, 4700);     /* a map's output was lost with its node */
    show(&c, "reduce", 10, 3, 2000, 5000); /* those that were done before say nothing of the rate */
    show(&c, "committing", 10, 4, 2000, 5100);
    show(&c, "done", 10, 4, 2000, 5200);
    canvas_expect(&c, "cut          0 %\n"
                      "map          0 %  0 of 10 tasks, 2 run\n"
                      "map         20 %  2 of 10 tasks, 2 run; about 4 s to go; 2000 records/s, "
                      "0.2 MB/s\n"
                      "map         60 %  6 of 10 tasks, 2 run; about 1 s to go; 500 records/s, "
                      "0.1 MB/s\n"
                      "reduce       0 %  0 of 4 tasks, 2 run\n"
                      "map         90 %  9 of 10 tasks, 2 run\n"
                      "reduce      75 %  3 of 4 tasks, 2 run\n"
                      "publish      0 %\n");
}

TEST(bars_are_redrawn_in_place_and_what_is_said_stands_above_them)
{
    struct canvas c;
    canvas_open(&c, 44);
    show(&c, "map", 5, 0, 0, 1000);
    job_bars_say(&c.bars, "hello");
    show(&c, "failed", 5, 0, 0, 1500);
    canvas_expect(&c, "cut        [##########] 100 %  \033[K\n"
                      "map        [#####-----]  50 %  5 of 10 task\033[K\n"
                      "reduce     [----------]   0 %  \033[K\n"
                      "publish    [----------]   0 %  \033[K\n"
                      "\r\033[4A\033[Jhello\n"
                      "cut        [##########] 100 %  \033[K\n"
                      "map        [#####-----]  50 %  5 of 10 task\033[K\n"
                      "reduce     [----------]   0 %  \033[K\n"
                      "publish    [----------]   0 %  \033[K\n");
}

TEST(a_view_is_read_by_names_in_any_order)
{
    struct client_arrays *arrays = NULL;
    struct job_view v;
    struct client_reply r = reply_of("*10\r\n$4\r\nmaps\r\n:12\r\n$5\r\nstate\r\n$6\r\nreduce\r\n"
                                     "$7\r\nrecords\r\n$2\r\n77\r\n$8\r\nsurprise\r\n*1\r\n:1\r\n"
                                     "$4\r\nname\r\n$3\r\nabc\r\n",
                                     &arrays);
    assert_true(job_view_read(&r, &v));
    assert_string_equal(v.name, "abc");
    assert_int_equal(v.maps, 12);
    assert_int_equal(v.records, 77);
    assert_int_equal(job_view_step(&v), JOB_STEP_REDUCE);
    assert_false(job_view_over(&v));
    client_arrays_free(&arrays);

    static const char *const none[] = {"*0\r\n",
                                       "*-1\r\n",
                                       ":1\r\n",
                                       "*2\r\n$4\r\nname\r\n$1\r\na\r\n",
                                       "*4\r\n$4\r\nname\r\n$1\r\na\r\n$5\r\nstate\r\n$1\r\nx\r\n",
                                       "*3\r\n$5\r\nstate\r\n$3\r\nmap\r\n$4\r\nname\r\n"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        r = reply_of(none[i], &arrays);
        assert_false(job_view_read(&r, &v));
        client_arrays_free(&arrays);
    }
}

TEST(a_text_longer_than_its_room_is_cut)
{
    struct client_reply item[4] = {{.type = CLIENT_BULK, .text = BYTES("state")},
                                   {.type = CLIENT_BULK, .text = BYTES("map")},
                                   {.type = CLIENT_BULK, .text = BYTES("name")},
                                   {.type = CLIENT_BULK}};
    char name[1000];
    struct job_view v;
    memset(name, 'x', sizeof name);
    item[3].text = bytes_of(name, sizeof name);
    assert_true(
        job_view_read(&(struct client_reply){.type = CLIENT_ARRAY, .count = 4, .items = item}, &v));
    assert_int_equal(strlen(v.name), JOB_VIEW_NAME_MAX - 1);
    assert_string_equal(v.state, "map");
}

/* ---- results ---- */

static void expect_table(const char *wire, size_t rows, const char *expected)
{
    struct client_arrays *arrays = NULL;
    struct client_reply r = reply_of(wire, &arrays);
    struct job_result result;
    struct buf out = {0};
    assert_true(job_result_read(&r, &result));
    job_result_table(&result, rows, &out);
    buf_u8(&out, 0);
    assert_string_equal((const char *)out.data, expected);
    buf_deinit(&out);
    client_arrays_free(&arrays);
}

TEST(columns_of_numbers_stand_to_the_right)
{
    expect_table("*4\r\n$4\r\nrows\r\n*3\r\n*2\r\n$1\r\na\r\n$2\r\n10\r\n*2\r\n$3\r\nbcd\r\n$5\r\n"
                 "-2.25\r\n*1\r\n$2\r\n\303\251\r\n$5\r\nnotes\r\n*0\r\n",
                 9, "a       10\nbcd  -2.25\n\303\251\n");
    expect_table("*4\r\n$4\r\nrows\r\n*3\r\n*2\r\n$1\r\n1\r\n$2\r\n10\r\n*2\r\n$2\r\n22\r\n$1\r\n"
                 "x\r\n*2\r\n$1\r\n1\r\n$1\r\n1\r\n$5\r\nnotes\r\n*0\r\n",
                 2, " 1  10\n22  x\n... and 1 more row\n");
    expect_table("*4\r\n$4\r\nrows\r\n*0\r\n$5\r\nnotes\r\n*2\r\n$1\r\nn\r\n$1\r\n1\r\n", 2,
                 "(no rows)\n(n: 1)\n");
}

TEST(what_is_no_text_to_show_is_written_as_bytes)
{
    static const struct {
        struct bytes in;
        const char *shown;
    } cells[] = {{BYTES("gr\303\274n \342\202\254 \360\237\230\200"),
                  "gr\303\274n \342\202\254 \360\237\230\200"},
                 {BYTES("\n\033[2J\177"), "\\x0a\\x1b[2J\\x7f"},
                 {BYTES("\302\233"), "\\xc2\\x9b"},          /* a C1 control: CSI */
                 {BYTES("\300\257"), "\\xc0\\xaf"},          /* overlong */
                 {BYTES("\355\240\200"), "\\xed\\xa0\\x80"}, /* a surrogate */
                 {BYTES("\364\220\200\200"), "\\xf4\\x90\\x80\\x80"},
                 {BYTES("\303"), "\\xc3"},
                 {BYTES("\200a"), "\\x80a"},
                 {BYTES("a\0b"), "a\\x00b"}};
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        struct buf out = {0};
        job_result_cell(cells[i].in, &out);
        EXPECT_BYTES(buf_bytes(&out), cells[i].shown);
        buf_deinit(&out);
    }
}

/* ---- sizes and times ---- */

TEST(sizes_and_times_have_units)
{
    uint64_t v = 0;
    assert_true(job_words_size("0", &v) && v == 0);
    assert_true(job_words_size("256MB", &v) && v == 256u << 20);
    assert_true(job_words_size("7k", &v) && v == 7168);
    assert_true(job_words_size("9223372036854775807", &v) && v == INT64_MAX);
    assert_true(job_words_time("1h", &v) && v == 3600000);
    assert_true(job_words_time("250ms", &v) && v == 250);
    assert_true(job_words_time("250", &v) && v == 250);
    v = 42;
    static const char *const none[] = {"",
                                       "mb",
                                       "-1",
                                       "1.5mb",
                                       "1 mb",
                                       "1tb",
                                       "1s",
                                       "9223372036854775808",
                                       "18446744073709551616",
                                       "9007199254740993g"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_false(job_words_size(none[i], &v));
    assert_false(job_words_time("1mb", &v));
    assert_int_equal(v, 42);
}

TEST_MAIN
