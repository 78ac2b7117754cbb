/* base: numbers, globs, maps, buffers and generators do what their headers say. */
#include "test.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/prng.h"

TEST(integers_are_parsed_as_strictly_as_redis_does)
{
    static const char *bad[] = {
        "", "-", "+1", " 1", "1 ", "01", "-0", "1a", "9223372036854775808", "-9223372036854775809"};
    int64_t v = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(bytes_to_i64(bytes_str(bad[i]), &v));
    assert_int_equal(v, 7);

    assert_true(bytes_to_i64(BYTES("-9223372036854775808"), &v));
    assert_true(v == INT64_MIN);
    assert_true(bytes_to_i64(BYTES("9223372036854775807"), &v));
    assert_true(v == INT64_MAX);
    assert_true(bytes_to_i64(BYTES("0"), &v));
    assert_int_equal(v, 0);
}

TEST(ids_are_sixteen_hexadecimal_digits_and_nothing_else)
{
    static const char *const bad[] = {"",
                                      "123",
                                      "0123456789abcde",
                                      "0123456789abcdef0",
                                      "0123456789abcdeg",
                                      "0123456789abcd\x15"
                                      "f",
                                      "-123456789abcdef",
                                      "0123456789abcd f",
                                      "0x23456789abcdef"};
    uint64_t v = 7;
    assert_true(bytes_to_hex64(BYTES("0123456789abcdef"), &v) && v == 0x0123456789abcdef);
    assert_true(bytes_to_hex64(BYTES("FEDCBA9876543210"), &v) && v == 0xfedcba9876543210);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(bytes_to_hex64(bytes_str(bad[i]), &v));
    assert_true(v == 0xfedcba9876543210);
}

TEST(globs_match_as_in_redis)
{
    static const struct {
        const char *pattern, *text;
        bool match;
    } row[] = {
        {"*", "", true},
        {"h?llo", "hello", true},
        {"h[ae]llo", "hillo", false},
        {"h[^e]llo", "hello", false},
        {"h[a-b]llo", "hbllo", true},
        {"a\\*b", "a*b", true},
        {"a\\*b", "axb", false},
        {"*a*b*c", "xxaxxbxxc", true},
        {"*a*b*c", "xxaxxbxx", false},
        {"", "", true},
        {"", "a", false},
        {"[", "[", false},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        assert_int_equal(bytes_glob(bytes_str(row[i].pattern), bytes_str(row[i].text), false),
                         row[i].match);
    assert_true(bytes_glob(BYTES("HeL*"), BYTES("hELlo"), true));
}

TEST(a_map_agrees_with_an_array_under_random_use)
{
    enum { KEYS = 500 };
    static char value[KEYS];
    bool there[KEYS] = {0};
    struct map m = {0};
    struct prng r;
    prng_init(&r, 1);

    for (int step = 0; step < 20000; step++) {
        uint64_t k = prng_below(&r, KEYS);
        if (prng_chance(&r, 500000)) {
            map_put(&m, k, &value[k]);
            there[k] = true;
        } else {
            assert_int_equal(map_remove(&m, k) != NULL, there[k]);
            there[k] = false;
        }
        k = prng_below(&r, KEYS);
        assert_ptr_equal(map_get(&m, k), there[k] ? &value[k] : NULL);
    }
    size_t at = 0, seen = 0, expected = 0;
    uint64_t key;
    void *v;
    while (map_next(&m, &at, &key, &v)) {
        assert_true(there[key]);
        seen++;
    }
    for (size_t i = 0; i < KEYS; i++) expected += there[i];
    assert_int_equal(seen, expected);
    map_deinit(&m);
}

TEST(a_bounded_number_is_no_larger_than_its_bound)
{
    struct buf b = {0};
    for (uint64_t v = 0; v < 3; v++) buf_varint(&b, 999 + v);
    struct reader r = reader_of(buf_bytes(&b));
    assert_int_equal(reader_bounded(&r, 1000), 999);
    assert_int_equal(reader_bounded(&r, 1000), 1000);
    assert_false(r.bad);
    assert_int_equal(reader_bounded(&r, 1000), 0);
    assert_true(r.bad);
    buf_deinit(&b);
}

TEST(a_reader_takes_apart_what_a_buffer_wrote_and_never_reads_past_the_end)
{
    struct buf b = {0};
    buf_u8(&b, 1), buf_u16(&b, 2), buf_u32(&b, 3), buf_u64(&b, 4), buf_varint(&b, UINT64_MAX),
        buf_blob(&b, BYTES("abc"));

    for (size_t cut = 0; cut <= b.size; cut++) {
        uint8_t *copy =
            malloc(cut ? cut : 1); /* of exactly this size, so that a sanitizer sees an overrun */
        memcpy(copy, b.data, cut);
        struct reader r = reader_of(bytes_of(copy, cut));
        bool same = reader_u8(&r) == 1;
        same &= reader_u16(&r) == 2;
        same &= reader_u32(&r) == 3;
        same &= reader_u64(&r) == 4;
        same &= reader_varint(&r) == UINT64_MAX;
        same &= bytes_equal(reader_blob(&r), BYTES("abc"));
        assert_int_equal(!r.bad, cut == b.size);
        assert_int_equal(same, cut == b.size);
        free(copy);
    }
    buf_deinit(&b);
}

TEST(the_same_seed_gives_the_same_numbers)
{
    struct prng a, b, c;
    prng_init(&a, 42), prng_init(&b, 42), prng_init(&c, 43);
    bool differ = false;
    for (int i = 0; i < 100; i++) {
        uint64_t x = prng_u64(&a);
        assert_true(x == prng_u64(&b));
        differ |= x != prng_u64(&c);
        assert_true(prng_below(&a, 10) < 10);
        (void)prng_below(&b, 10);
    }
    assert_true(differ);
}

TEST_MAIN
