/* Replies, byte by byte, in both versions. */
#include "test.h"
#include "base/prng.h"
#include "redis/reply.h"

#include <inttypes.h>
#include <math.h>

#define EXPECT_REPLY(protocol, call, text)                                                         \
    do {                                                                                           \
        struct buf b = {0};                                                                        \
        struct reply r = {&b, protocol};                                                           \
        call;                                                                                      \
        EXPECT_BYTES(buf_bytes(&b), text);                                                         \
        buf_deinit(&b);                                                                            \
    } while (0)
#define EXPECT_BOTH(call, two, three)                                                              \
    do {                                                                                           \
        EXPECT_REPLY(2, call, two);                                                                \
        EXPECT_REPLY(3, call, three);                                                              \
    } while (0)

TEST(each_type_is_written_as_its_version_has_it)
{
    EXPECT_BOTH(reply_ok(&r), "+OK\r\n", "+OK\r\n");
    EXPECT_BOTH(reply_simple(&r, "PONG"), "+PONG\r\n", "+PONG\r\n");
    EXPECT_BOTH(reply_error(&r, "ERR no"), "-ERR no\r\n", "-ERR no\r\n");
    EXPECT_BOTH(reply_errorf(&r, "ERR %d\r\n+OK", 7), "-ERR 7  +OK\r\n",
                "-ERR 7  +OK\r\n"); /* one line, whatever is in it */
    EXPECT_BOTH(reply_bulk(&r, BYTES("a\r\n")), "$3\r\na\r\n\r\n", "$3\r\na\r\n\r\n");
    EXPECT_BOTH(reply_bulk(&r, (struct bytes){0}), "$0\r\n\r\n", "$0\r\n\r\n");
    EXPECT_BOTH(reply_bulk_i64(&r, -12), "$3\r\n-12\r\n", "$3\r\n-12\r\n");
    EXPECT_BOTH(reply_nil(&r), "$-1\r\n", "_\r\n");
    EXPECT_BOTH(reply_nil_array(&r), "*-1\r\n", "_\r\n");
    EXPECT_BOTH(reply_array(&r, 12), "*12\r\n", "*12\r\n");
    EXPECT_BOTH(reply_map(&r, 3), "*6\r\n", "%3\r\n");
    EXPECT_BOTH(reply_set(&r, 3), "*3\r\n", "~3\r\n");
    EXPECT_BOTH(reply_bool(&r, true), ":1\r\n", "#t\r\n");
    EXPECT_BOTH(reply_bool(&r, false), ":0\r\n", "#f\r\n");
    EXPECT_BOTH(reply_verbatim(&r, BYTES("hi")), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n");
}

TEST(doubles_are_as_short_as_reads_back)
{
    EXPECT_BOTH(reply_double(&r, 0.1), "$3\r\n0.1\r\n", ",0.1\r\n");
    EXPECT_BOTH(reply_double(&r, 3), "$1\r\n3\r\n", ",3\r\n");
    EXPECT_BOTH(reply_double(&r, 1e300), "$6\r\n1e+300\r\n", ",1e+300\r\n");
    EXPECT_BOTH(reply_double(&r, INFINITY), "$3\r\ninf\r\n", ",inf\r\n");
    EXPECT_BOTH(reply_double(&r, -INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n");
    EXPECT_BOTH(reply_double(&r, 0.30000000000000004), "$19\r\n0.30000000000000004\r\n",
                ",0.30000000000000004\r\n");
}

TEST(integers_are_written_as_printf_writes_them)
{
    struct prng g;
    prng_init(&g, 1);
    for (int i = 0; i < 100000; i++) {
        char expected[32], text[REPLY_I64_MAX];
        int64_t v = (int64_t)(prng_u64(&g) >> prng_below(&g, 64));
        if (prng_chance(&g, 500000)) v = -v;
        if (i == 0) v = INT64_MIN;
        if (i == 1) v = INT64_MAX;
        int size = snprintf(expected, sizeof expected, "%" PRId64, v);
        assert_int_equal(reply_format_i64(text, v), size);
        assert_memory_equal(text, expected, (size_t)size);
        (void)snprintf(expected, sizeof expected, ":%" PRId64 "\r\n", v);
        EXPECT_REPLY(2, reply_i64(&r, v), expected);
    }
}

TEST(numbers_for_people_have_no_exponent_and_no_idle_zeros)
{
    static const struct {
        long double v;
        const char *text;
    } row[] = {
        {0, "0"},
        {-0.0L, "0"},
        {3, "3"},
        {100, "100"},
        {0.1L, "0.1"},
        {-1.5L, "-1.5"},
        {1e20L, "100000000000000000000"},
        {1e-18L, "0"},
        {-1e-18L, "0"},
    };
    char text[REPLY_HUMAN_MAX];
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        EXPECT_BYTES(bytes_of(text, reply_format_human(text, row[i].v)), row[i].text);
    assert_true(reply_format_human(text, 1e4932L) > 4900); /* the longest there is fits */
}

TEST_MAIN
