/* The RESP parser: what Redis takes, it takes; what Redis refuses, it refuses with the same words;
 * no cut of the input, at any byte, makes it read past the end or answer otherwise. */
#include "test.h"
#include "base/mem.h"
#include "base/prng.h"
#include "redis/reply.h"
#include "redis/resp.h"

/* Parses a copy of exactly this size, so that a sanitizer sees an overrun. The arguments are put
 * into `out`, each behind a '|'. */
static int64_t parse_copy(struct resp_args *a, struct bytes in, struct buf *out)
{
    uint8_t *copy = mem_dup(in.data, in.size);
    int64_t size = resp_parse(a, bytes_of(copy, in.size));
    buf_clear(out);
    for (uint32_t i = 0; size > 0 && i < a->count; i++) {
        buf_u8(out, '|');
        buf_append_bytes(out, a->v[i]);
    }
    mem_free(copy);
    return size;
}

static void expect_args(struct bytes in, struct bytes expected)
{
    struct resp_args a = {0};
    struct buf out = {0};
    assert_int_equal(parse_copy(&a, in, &out), in.size);
    if (!bytes_equal(buf_bytes(&out), expected))
        fail_msg("'%.*s' is parsed as '%.*s'", (int)in.size, (const char *)in.data, (int)out.size,
                 (const char *)out.data);
    resp_args_deinit(&a);
    buf_deinit(&out);
}

static void expect_error(struct bytes in, const char *expected)
{
    struct resp_args a = {0};
    struct buf out = {0};
    if (parse_copy(&a, in, &out) != -1)
        fail_msg("'%.*s' is not refused", (int)in.size, (const char *)in.data);
    assert_string_equal(a.error, expected);
    resp_args_deinit(&a);
    buf_deinit(&out);
}

TEST(arrays_of_bulk_strings_are_requests)
{
    expect_args(BYTES("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\n"), BYTES("|SET|a|\r\n"));
    expect_args(BYTES("*2\r\n$3\r\nGET\r\n$0\r\n\r\n"), BYTES("|GET|"));
    expect_args(BYTES("*1\r\n$12\r\nabcdefghijkl\r\n"), BYTES("|abcdefghijkl"));
    expect_args(BYTES("*0\r\n"), BYTES(""));
    expect_args(BYTES("*-1\r\n"), BYTES(""));
}

TEST(a_line_of_words_is_a_request_with_redis_quoting)
{
    expect_args(BYTES("PING\r\n"), BYTES("|PING"));
    expect_args(BYTES("PING\n"), BYTES("|PING"));
    expect_args(BYTES("  set   a\tb  \r\n"), BYTES("|set|a|b"));
    expect_args(BYTES("\r\n"), BYTES(""));
    expect_args(BYTES("set a \"b c\"\r\n"), BYTES("|set|a|b c"));
    expect_args(BYTES("set a \"\\x41\\n\\\"\\\\\\q\\x4\"\r\n"), BYTES("|set|a|A\n\"\\qx4"));
    expect_args(BYTES("set a 'b \\' \\n'\r\n"), BYTES("|set|a|b ' \\n"));
    expect_args(BYTES("set pre\"fix\" ''\r\n"), BYTES("|set|prefix|"));
}

TEST(malformed_requests_are_refused_in_the_words_of_redis)
{
    expect_error(BYTES("*x\r\n"), "Protocol error: invalid multibulk length");
    expect_error(BYTES("*10000000\r\n"), "Protocol error: invalid multibulk length");
    expect_error(BYTES("*1\rX"), "Protocol error: invalid multibulk length");
    expect_error(BYTES("*99999999999999999999999999999999999999"),
                 "Protocol error: too big mbulk count string");
    expect_error(BYTES("*1\r\nfoo\r\n"), "Protocol error: expected '$', got 'f'");
    expect_error(BYTES("*1\r\n\x01"), "Protocol error: expected '$', got '?'");
    expect_error(BYTES("*1\r\n$-1\r\n"), "Protocol error: invalid bulk length");
    expect_error(BYTES("*1\r\n$x\r\n"), "Protocol error: invalid bulk length");
    expect_error(BYTES("*1\r\n$ 1\r\n"), "Protocol error: invalid bulk length");
    expect_error(BYTES("*1\r\n$33554433\r\n"),
                 "Protocol error: invalid bulk length (the limit is 32 MiB)");
    expect_error(BYTES("*1\r\n$99999999999999999999999999999999999999"),
                 "Protocol error: too big bulk count string");
    expect_error(BYTES("*1\r\n$1\r\nabc"), "Protocol error: invalid bulk length");
    expect_error(BYTES("set \"a\r\n"), "Protocol error: unbalanced quotes in request");
    expect_error(BYTES("set 'a\r\n"), "Protocol error: unbalanced quotes in request");
    expect_error(BYTES("set \"a\"b\r\n"), "Protocol error: unbalanced quotes in request");
}

TEST(a_line_without_an_end_is_refused_when_it_is_too_long)
{
    struct buf line = {0};
    struct resp_args a = {0};
    memset(buf_reserve(&line, RESP_INLINE_MAX + 1), 'x', RESP_INLINE_MAX + 1);
    line.size = RESP_INLINE_MAX;
    assert_int_equal(resp_parse(&a, buf_bytes(&line)), 0);
    line.size++;
    assert_int_equal(resp_parse(&a, buf_bytes(&line)), -1);
    assert_string_equal(a.error, "Protocol error: too big inline request");
    buf_deinit(&line);
    resp_args_deinit(&a);
}

TEST(a_size_is_not_believed_before_its_bytes_arrive)
{
    struct resp_args a = {0};
    struct bytes in = BYTES("*1048576\r\n$33554432\r\nx");
    assert_int_equal(resp_parse(&a, in), 0);
    assert_true(a.want > (32u << 20) && a.want < (32u << 20) + 100);
    assert_int_equal(a.capacity, 0); /* nothing was made ready for a million arguments */
    resp_args_deinit(&a);
}

TEST(a_request_beyond_64_mib_is_refused)
{
    struct resp_args a = {0};
    struct buf in = {0};
    size_t bulk = 32u << 20;
    buf_printf(&in, "*3\r\n$1\r\nx\r\n$%zu\r\n", bulk);
    memset(buf_reserve(&in, bulk + 2), 'y', bulk);
    in.size += bulk;
    buf_printf(&in, "\r\n$%zu\r\n", bulk);
    assert_int_equal(resp_parse(&a, buf_bytes(&in)), -1);
    assert_string_equal(a.error, "Protocol error: too big request (the limit is 64 MiB)");
    buf_deinit(&in);
    resp_args_deinit(&a);
}

/* ---- against itself: whole, and in pieces that move ---- */

static void random_request(struct prng *r, struct buf *in, struct buf *expected)
{
    uint64_t count = prng_below(r, 6);
    buf_clear(in);
    buf_clear(expected);
    buf_printf(in, "*%u\r\n", (unsigned)count);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t size = prng_below(r, 30);
        buf_printf(in, "$%u\r\n", (unsigned)size);
        buf_u8(expected, '|');
        for (uint64_t j = 0; j < size; j++) {
            uint8_t c = "\r\n$*ab\0 "[prng_below(r, 8)];
            buf_u8(in, c);
            buf_u8(expected, c);
        }
        buf_printf(in, "\r\n");
    }
}

TEST(a_request_cut_at_any_byte_waits_and_goes_on_where_it_was)
{
    struct resp_args a = {0};
    struct buf in = {0}, expected = {0}, out = {0};
    struct prng r;
    prng_init(&r, 3);
    for (int round = 0; round < 300; round++) {
        random_request(&r, &in, &expected);
        for (size_t cut = 0; cut < in.size; cut++) {
            resp_reset(&a);
            assert_int_equal(parse_copy(&a, bytes_of(in.data, cut), &out), 0);
            assert_true(a.want > cut && a.want <= in.size);
            assert_int_equal(parse_copy(&a, buf_bytes(&in), &out), in.size);
            assert_true(bytes_equal(buf_bytes(&out), buf_bytes(&expected)));
        }
        for (size_t size = 0, step; size < in.size; size += step) { /* in many pieces */
            step = 1 + (size_t)prng_below(&r, 8);
            if (size + step >= in.size) break;
            assert_int_equal(parse_copy(&a, bytes_of(in.data, size + step), &out), 0);
        }
        assert_int_equal(parse_copy(&a, buf_bytes(&in), &out), in.size);
        assert_true(bytes_equal(buf_bytes(&out), buf_bytes(&expected)));
    }
    resp_args_deinit(&a);
    buf_deinit(&in), buf_deinit(&expected), buf_deinit(&out);
}

TEST(a_request_of_a_hundred_thousand_arguments_in_small_pieces_takes_linear_work)
{
    enum { COUNT = 100000 };
    struct resp_args a = {0};
    struct buf in = {0};
    buf_printf(&in, "*%d\r\n", COUNT);
    for (int i = 0; i < COUNT; i++) buf_printf(&in, "$3\r\nabc\r\n");
    int64_t size = 0;
    for (size_t have = 1; have < in.size; have += 50) {
        size_t before = a.have;
        assert_int_equal(resp_parse(&a, bytes_of(in.data, have)), 0);
        assert_true(a.have - before <= 6); /* only what is new was parsed */
    }
    size = resp_parse(&a, buf_bytes(&in));
    assert_int_equal(size, in.size);
    assert_int_equal(a.count, COUNT);
    for (int i = 0; i < COUNT; i++) EXPECT_BYTES(a.v[i], "abc");
    resp_args_deinit(&a);
    buf_deinit(&in);
}

TEST(pipelined_requests_are_taken_one_after_another)
{
    struct resp_args a = {0};
    struct buf in = {0};
    for (int i = 0; i < 10; i++) buf_printf(&in, "*2\r\n$3\r\nGET\r\n$1\r\n%d\r\nPING\r\n", i);
    size_t at = 0, requests = 0;
    while (at < in.size) {
        int64_t size = resp_parse(&a, bytes_of(in.data + at, in.size - at));
        assert_true(size > 0);
        assert_int_equal(a.count, requests % 2 ? 1 : 2);
        at += (size_t)size;
        requests++;
    }
    assert_int_equal(requests, 20);
    resp_args_deinit(&a);
    buf_deinit(&in);
}

TEST(random_bytes_never_make_the_parser_read_past_the_end)
{
    static const char alphabet[] = "*$+-:_#,(%~|>=!0123456789\r\n\r\n\"'\\x ab\0";
    struct prng r;
    struct buf in = {0}, out = {0};
    prng_init(&r, 5);
    for (int round = 0; round < 100000; round++) {
        struct resp_args a = {0};
        buf_clear(&in);
        for (uint64_t n = prng_below(&r, 40); n > 0; n--)
            buf_u8(&in, (uint8_t)alphabet[prng_below(&r, sizeof alphabet)]);
        int64_t size = parse_copy(&a, buf_bytes(&in), &out);
        assert_true(size >= -1 && size <= (int64_t)in.size);
        assert_true((size == -1) == (a.error != NULL));
        uint8_t *copy = mem_dup(in.data, in.size);
        size = resp_reply_size(bytes_of(copy, in.size));
        assert_true(size >= -1 && size <= (int64_t)in.size);
        mem_free(copy);
        resp_args_deinit(&a);
    }
    buf_deinit(&in), buf_deinit(&out);
}

/* ---- replies ---- */

static void random_reply(struct prng *r, struct reply *out, int depth)
{
    switch (prng_below(r, depth ? 13 : 9)) {
    case 0: reply_ok(out); break;
    case 1: reply_error(out, "ERR x"); break;
    case 2: reply_i64(out, (int64_t)prng_u64(r)); break;
    case 3: reply_bulk(out, BYTES("a\r\nb")); break;
    case 4: reply_nil(out); break;
    case 5: reply_nil_array(out); break;
    case 6: reply_double(out, 1.5L); break;
    case 7: reply_bool(out, true); break;
    case 8: reply_verbatim(out, BYTES("text")); break;
    case 9:
        reply_map(out, 2);
        for (int i = 0; i < 4; i++) random_reply(r, out, depth - 1);
        break;
    case 10: reply_array(out, 0); break;
    default:
        reply_array(out, 3);
        for (int i = 0; i < 3; i++) random_reply(r, out, depth - 1);
    }
}

TEST(the_size_of_a_reply_is_known_only_when_all_of_it_is_there)
{
    struct buf b = {0};
    struct prng r;
    prng_init(&r, 11);
    for (int round = 0; round < 2000; round++) {
        struct reply out = {&b, (uint8_t)(2 + prng_below(&r, 2))};
        buf_clear(&b);
        random_reply(&r, &out, 4);
        size_t whole = b.size;
        for (size_t cut = 0; cut < whole; cut++)
            assert_int_equal(resp_reply_size(bytes_of(b.data, cut)), 0);
        assert_int_equal(resp_reply_size(buf_bytes(&b)), whole);
        random_reply(&r, &out, 1); /* what follows does not matter */
        assert_int_equal(resp_reply_size(buf_bytes(&b)), whole);
    }
    buf_deinit(&b);
}

TEST(replies_that_are_none_are_malformed)
{
    static const char *bad[] = {"x\r\n",   "$x\r\n", "$-2\r\n",          "$1\r\nabc",
                                "*-2\r\n", "+a\rb",  "$99999999999\r\n", "*99999999999\r\n",
                                "%-1\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (resp_reply_size(bytes_str(bad[i])) != -1) fail_msg("'%s' is taken", bad[i]);
    }
    struct buf deep = {0};
    for (int i = 0; i < 32; i++) buf_printf(&deep, "*1\r\n");
    buf_printf(&deep, ":1\r\n");
    assert_int_equal(resp_reply_size(buf_bytes(&deep)), deep.size);
    buf_clear(&deep);
    for (int i = 0; i < 33; i++) buf_printf(&deep, "*1\r\n");
    assert_int_equal(resp_reply_size(buf_bytes(&deep)), -1);
    buf_deinit(&deep);
    assert_int_equal(resp_reply_size(BYTES("|1\r\n+k\r\n+v\r\n:1\r\n")),
                     16); /* an attribute belongs to what it describes */
}

TEST_MAIN
