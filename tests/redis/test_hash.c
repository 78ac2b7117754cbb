/* Hashes: each command's answers, with and without misses; the invariants of the records below are
 * checked after each by the world. */
#include "redis/world.h"
#include "base/mem.h"
#include "base/prng.h"
#include "redis/fields.h"
#include "shard/effects.h"
#include "shard/keys.h"

#define WORLD(w)                                                                                   \
    struct world w;                                                                                \
    world_init(&w)

TEST(hset_counts_new_fields_and_the_last_value_of_a_name_wins)
{
    WORLD(w);
    EXPECT_RUN(&w, "hset h a 1 b 2 a 3", "2");
    EXPECT_RUN(&w, "hgetall h", "['a', '3', 'b', '2']");
    EXPECT_RUN(&w, "hset h b 4 c 5 c 6", "1");
    EXPECT_RUN(&w, "hmset h d 7 \"\" 8", "OK");
    EXPECT_RUN(&w, "hlen h", "5");
    EXPECT_RUN(&w, "hget h \"\"", "'8'");
    EXPECT_RUN(&w, "hset h a", "ERR wrong number of arguments for 'hset' command");
    EXPECT_RUN(&w, "hset h a 1 b", "ERR wrong number of arguments for 'hset' command");
    EXPECT_RUN(&w, "hmset h a 1 b", "ERR wrong number of arguments for 'hmset' command");
    EXPECT_RUN(&w, "dbsize", "1");
    world_deinit(&w);
}

static void put_sized(struct world *w, const char *key, const char *name, size_t size)
{
    struct buf value = {0};
    memset(buf_reserve(&value, size), 'v', size);
    value.size = size;
    struct bytes v[4] = {BYTES("hset"), bytes_str(key), bytes_str(name), buf_bytes(&value)};
    world_run_args(w, v, 4);
    buf_deinit(&value);
}

static uint32_t effect_count(const struct world *w)
{
    struct reader r = reader_of(buf_bytes(&w->effects));
    struct effect e;
    uint32_t count = 0;
    while (effects_next(&r, &e) == 1) count++;
    return count;
}

TEST(setting_a_field_that_exists_writes_one_record)
{
    WORLD(w);
    EXPECT_RUN(&w, "hset h a 1", "1");
    assert_int_equal(effect_count(&w), 2); /* and one key more */
    EXPECT_RUN(&w, "hset h a 2", "0");
    assert_int_equal(effect_count(&w), 1);
    put_sized(&w, "h", "big", FIELDS_PACKED_MAX);
    size_t first = w.effects.size;
    EXPECT_RUN(&w, "hset h a 3", "0");
    assert_int_equal(effect_count(&w), 1);
    assert_true(w.effects.size < first / 2);
    world_deinit(&w);
}

TEST(fields_are_read_one_by_one_and_all_together)
{
    WORLD(w);
    EXPECT_RUN(&w, "hset h a 1 bb 22 ccc 333", "3");
    EXPECT_RUN(&w, "hget h bb", "'22'");
    EXPECT_RUN(&w, "hget h x", "nil");
    EXPECT_RUN(&w, "hmget h ccc x a a", "['333', nil, '1', '1']");
    EXPECT_RUN(&w, "hexists h a", "1");
    EXPECT_RUN(&w, "hexists h x", "0");
    EXPECT_RUN(&w, "hstrlen h ccc", "3");
    EXPECT_RUN(&w, "hstrlen h x", "0");
    EXPECT_RUN(&w, "hkeys h", "['a', 'bb', 'ccc']");
    EXPECT_RUN(&w, "hvals h", "['1', '22', '333']");
    w.version = 3;
    EXPECT_RUN(&w, "hgetall h", "{'a': '1', 'bb': '22', 'ccc': '333'}");
    EXPECT_RUN(&w, "hgetall none", "{}");
    world_deinit(&w);
}

TEST(a_hash_that_does_not_exist_reads_as_empty)
{
    WORLD(w);
    EXPECT_RUN(&w, "hget n a", "nil");
    EXPECT_RUN(&w, "hmget n a b", "[nil, nil]");
    EXPECT_RUN(&w, "hgetall n", "[]");
    EXPECT_RUN(&w, "hkeys n", "[]");
    EXPECT_RUN(&w, "hvals n", "[]");
    EXPECT_RUN(&w, "hlen n", "0");
    EXPECT_RUN(&w, "hstrlen n a", "0");
    EXPECT_RUN(&w, "hexists n a", "0");
    EXPECT_RUN(&w, "hdel n a", "0");
    EXPECT_RUN(&w, "hrandfield n", "nil");
    EXPECT_RUN(&w, "hrandfield n 3", "[]");
    EXPECT_RUN(&w, "hscan n 0", "['0', []]");
    EXPECT_RUN(&w, "hgetdel n fields 2 a b", "[nil, nil]");
    assert_int_equal(w.count, 0);
    world_deinit(&w);
}

TEST(every_hash_command_refuses_a_string)
{
    static const char *lines[] = {
        "hset s a 1",    "hmset s a 1",         "hsetnx s a 1", "hget s a",
        "hmget s a",     "hgetall s",           "hdel s a",     "hexists s a",
        "hlen s",        "hstrlen s a",         "hkeys s",      "hvals s",
        "hincrby s a 1", "hincrbyfloat s a 1",  "hrandfield s", "hrandfield s 2",
        "hscan s 0",     "hgetdel s fields 1 a"};
    WORLD(w);
    world_run(&w, "set s text");
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        EXPECT_RUN(&w, lines[i],
                   "WRONGTYPE Operation against a key holding the wrong kind of value");
        assert_false(w.wrote);
    }
    world_deinit(&w);
}

TEST(the_key_goes_with_its_last_field)
{
    WORLD(w);
    world_run(&w, "hset h a 1 b 2 c 3");
    EXPECT_RUN(&w, "hdel h a x a", "1");
    EXPECT_RUN(&w, "hdel h b c", "2");
    EXPECT_RUN(&w, "exists h", "0");
    EXPECT_RUN(&w, "dbsize", "0");
    assert_int_equal(w.count, 0);

    world_run(&w, "hset h a 1 b 2");
    EXPECT_RUN(&w, "hgetdel h fields 3 a x a", "['1', nil, nil]");
    EXPECT_RUN(&w, "hlen h", "1");
    EXPECT_RUN(&w, "hgetdel h FIELDS 1 b", "['2']");
    assert_int_equal(w.count, 0);
    world_deinit(&w);
}

TEST(hgetdel_checks_its_arguments)
{
    WORLD(w);
    world_run(&w, "hset h a 1");
    EXPECT_RUN(&w, "hgetdel h field 1 a",
               "ERR Mandatory argument FIELDS is missing or not at the right position");
    EXPECT_RUN(&w, "hgetdel h fields 0 a", "ERR Number of fields must be a positive integer");
    EXPECT_RUN(&w, "hgetdel h fields 2 a",
               "ERR The `numfields` parameter must match the number of arguments");
    EXPECT_RUN(&w, "hlen h", "1");
    world_deinit(&w);
}

TEST(hsetnx_leaves_a_field_that_exists_alone)
{
    WORLD(w);
    EXPECT_RUN(&w, "hsetnx h a 1", "1");
    EXPECT_RUN(&w, "hsetnx h a 2", "0");
    assert_false(w.wrote);
    EXPECT_RUN(&w, "hsetnx h b 2", "1");
    EXPECT_RUN(&w, "hgetall h", "['a', '1', 'b', '2']");
    world_deinit(&w);
}

TEST(hincrby_counts_and_says_why_when_it_cannot)
{
    WORLD(w);
    EXPECT_RUN(&w, "hincrby h n 5", "5");
    EXPECT_RUN(&w, "hincrby h n -7", "-2");
    EXPECT_RUN(&w, "hget h n", "'-2'");
    EXPECT_RUN(&w, "hincrby h n 1.5", "ERR value is not an integer or out of range");
    world_run(&w, "hset h t text m 9223372036854775807");
    EXPECT_RUN(&w, "hincrby h t 1", "ERR hash value is not an integer");
    EXPECT_RUN(&w, "hincrby h m 1", "ERR increment or decrement would overflow");
    EXPECT_RUN(&w, "hincrby h m -1", "9223372036854775806");
    world_deinit(&w);
}

TEST(hincrbyfloat_prints_as_redis_does)
{
    WORLD(w);
    EXPECT_RUN(&w, "hincrbyfloat h f 10.50", "'10.5'");
    EXPECT_RUN(&w, "hincrbyfloat h f 0.1", "'10.6'");
    EXPECT_RUN(&w, "hincrbyfloat h f -10.6", "'0'");
    EXPECT_RUN(&w, "hincrbyfloat h f 5.0e3", "'5000'");
    EXPECT_RUN(&w, "hincrbyfloat h f 1e17", "'100000000000005000'");
    EXPECT_RUN(&w, "hincrbyfloat h f x", "ERR value is not a valid float");
    EXPECT_RUN(&w, "hincrbyfloat h f inf", "ERR value is NaN or Infinity");
    world_run(&w, "hset h t text m 1e4931 z -0.0");
    EXPECT_RUN(&w, "hincrbyfloat h t 1", "ERR hash value is not a float");
    EXPECT_RUN(&w, "hincrbyfloat h z -0.0", "'0'");
    world_deinit(&w);
}

TEST(a_field_name_has_the_limit_of_keys)
{
    WORLD(w);
    char *name = malloc(COMMAND_KEY_MAX + 1);
    memset(name, 'x', COMMAND_KEY_MAX + 1);
    struct bytes v[4] = {BYTES("hset"), BYTES("h"), bytes_of(name, COMMAND_KEY_MAX), BYTES("1")};
    assert_string_equal(world_run_args(&w, v, 4), "1");
    v[2].size++;
    assert_string_equal(world_run_args(&w, v, 4), "ERR field is longer than the limit of 64 KiB");
    v[0] = BYTES("hget");
    assert_string_equal(world_run_args(&w, v, 3), "nil");
    free(name);
    world_deinit(&w);
}

TEST(an_expired_hash_is_gone_and_a_new_one_has_none_of_its_fields)
{
    WORLD(w);
    world_run(&w, "hset h a 1 b 2");
    EXPECT_RUN(&w, "pexpire h 100", "1");
    EXPECT_RUN(&w, "hset h c 3", "1");
    EXPECT_RUN(&w, "pttl h", "100"); /* setting a field keeps the expiry */
    w.now_ms += 101;
    EXPECT_RUN(&w, "hget h a", "nil");
    assert_true(w.wrote); /* and the deletion is proposed */
    assert_int_equal(w.count, 0);

    world_run(&w, "hset h a 1 b 2");
    world_run(&w, "pexpire h 100");
    w.now_ms += 101;
    EXPECT_RUN(&w, "hset h x 1", "1");
    EXPECT_RUN(&w, "hgetall h", "['x', '1']");
    EXPECT_RUN(&w, "ttl h", "-1");
    world_deinit(&w);
}

/* ---- HRANDFIELD ---- */

static uint32_t text_items(const char *text)
{
    uint32_t quotes = 0;
    for (; *text; text++) quotes += *text == '\'';
    return quotes / 2;
}

TEST(hrandfield_gives_different_fields_or_with_a_negative_count_any)
{
    WORLD(w);
    world_run(&w, "hset h a 1 b 2 c 3 d 4");
    for (int i = 0; i < 50; i++) {
        const char *one = world_run(&w, "hrandfield h");
        assert_true(one[0] == '\'' && one[1] >= 'a' && one[1] <= 'd' && one[2] == '\'');
        const char *two = world_run(&w, "hrandfield h 2");
        assert_int_equal(text_items(two), 2);
        assert_true(two[2] != two[7]);
        assert_int_equal(text_items(world_run(&w, "hrandfield h -9")), 9);
        assert_int_equal(text_items(world_run(&w, "hrandfield h -9 withvalues")), 18);
    }
    EXPECT_RUN(&w, "hrandfield h 4", "['a', 'b', 'c', 'd']");
    EXPECT_RUN(&w, "hrandfield h 100 WITHVALUES", "['a', '1', 'b', '2', 'c', '3', 'd', '4']");
    EXPECT_RUN(&w, "hrandfield h 0", "[]");
    w.version = 3;
    EXPECT_RUN(&w, "hrandfield h 9 withvalues", "[['a', '1'], ['b', '2'], ['c', '3'], ['d', '4']]");
    EXPECT_RUN(&w, "hrandfield h x", "ERR value is not an integer or out of range");
    EXPECT_RUN(&w, "hrandfield h 1 values", "ERR syntax error");
    EXPECT_RUN(&w, "hrandfield h 1 withvalues 1", "ERR syntax error");
    EXPECT_RUN(&w, "hrandfield h -9223372036854775808",
               "ERR value is out of range, value must between -1048576 and 9223372036854775807");
    world_deinit(&w);
}

/* 8 fields, 8000 draws of each kind: 1000 expected each, with a deviation of about 30. */
TEST(hrandfield_is_fair)
{
    static const char *lines[] = {"hrandfield h", "hrandfield h 1", "hrandfield h -1"};
    WORLD(w);
    w.once = true;
    world_run(&w, "hset h a 1 aa 2 aaa 3 aaaa 4 z 5 zz 6 zzz 7 zzzz 8");
    for (size_t l = 0; l < sizeof lines / sizeof *lines; l++) {
        uint32_t hits[8] = {0};
        for (int i = 0; i < 8000; i++) {
            const char *text = strchr(world_run(&w, lines[l]), '\'') + 1;
            hits[(*text == 'z' ? 3 : -1) + strspn(text, "az")]++;
        }
        for (int i = 0; i < 8; i++) assert_in_range(hits[i], 850, 1150);
    }
    world_deinit(&w);
}

TEST(hrandfield_refuses_a_reply_that_the_client_asked_to_be_endless)
{
    WORLD(w);
    w.once = true;
    char *value = malloc(1000);
    memset(value, 'v', 1000);
    struct bytes v[4] = {BYTES("hset"), BYTES("h"), BYTES("f"), bytes_of(value, 1000)};
    world_run_args(&w, v, 4);
    EXPECT_RUN(&w, "hrandfield h -1048577",
               "ERR value is out of range, value must between -1048576 and 9223372036854775807");
    EXPECT_RUN(&w, "hrandfield h -1048576",
               "ERR the reply would be longer than the limit of 64 MiB");
    free(value);
    world_deinit(&w);
}

/* ---- HSCAN ---- */

TEST(hscan_returns_a_small_hash_whole)
{
    WORLD(w);
    world_run(&w, "hset h a 1 ab 2 b 3");
    EXPECT_RUN(&w, "hscan h 0 count 1", "['0', ['a', '1', 'ab', '2', 'b', '3']]");
    EXPECT_RUN(&w, "hscan h 0 match a*", "['0', ['a', '1', 'ab', '2']]");
    EXPECT_RUN(&w, "hscan h 0 MATCH a* NOVALUES", "['0', ['a', 'ab']]");
    EXPECT_RUN(&w, "hscan h x", "ERR invalid cursor");
    EXPECT_RUN(&w, "hscan h -1", "ERR invalid cursor");
    EXPECT_RUN(&w, "hscan h 0 count 0", "ERR syntax error");
    EXPECT_RUN(&w, "hscan h 0 count x", "ERR value is not an integer or out of range");
    EXPECT_RUN(&w, "hscan h 0 type hash", "ERR syntax error");
    EXPECT_RUN(&w, "hscan h 18446744073709551615", "['0', ['a', '1', 'ab', '2', 'b', '3']]");
    EXPECT_RUN(&w, "hscan h 18446744073709551616", "ERR invalid cursor");
    world_deinit(&w);
}

/* A name of 1 to 10 bytes of few kinds, zeros among them: names that differ only in padding or
 * behind 7 bytes are common. */
static struct bytes scan_name(uint8_t name[16], uint32_t number)
{
    static const uint8_t letters[] = {0, 0, 1, 'a', 0xff};
    struct prng r;
    prng_init(&r, number);
    size_t size = prng_below(&r, 11);
    for (size_t i = 0; i < size; i++) name[i] = letters[prng_below(&r, sizeof letters)];
    return bytes_of(name, size);
}

static void scan_set(struct world *w, uint32_t number, bool there)
{
    uint8_t name[16];
    struct bytes v[4] = {there ? BYTES("hset") : BYTES("hdel"), BYTES("h"), scan_name(name, number),
                         BYTES("v")};
    world_run_args(w, v, there ? 4 : 3);
}

/* Walks h to the end, changing the fields with odd numbers between the calls; marks what was seen.
 * Returns the number of calls. */
static uint32_t scan_under_churn(struct world *w, struct prng *r, uint32_t fields, bool *seen,
                                 const char *count)
{
    struct bytes v[6] = {BYTES("hscan"), BYTES("h"),       BYTES("0"),
                         BYTES("count"), bytes_str(count), BYTES("novalues")};
    uint64_t cursor = 0, before = 0;
    char text[24];
    uint32_t calls = 0;
    do {
        snprintf(text, sizeof text, "%llu", (unsigned long long)cursor);
        v[2] = bytes_str(text);
        struct bytes reply = world_run_raw(w, v, 6);
        const char *at = strchr((const char *)reply.data, '\n') + 1; /* behind *2 */
        at = strchr(at, '\n') + 1; /* behind $size of the cursor */
        before = cursor;
        cursor = strtoull(at, NULL, 10);
        assert_true(cursor == 0 || cursor > before);
        for (uint32_t i = 0; i < fields; i++) {
            uint8_t name[16], item[32];
            struct bytes s = scan_name(name, i);
            int head = snprintf((char *)item, sizeof item, "\n$%zu\r\n", s.size);
            memcpy(item + head, s.data, s.size);
            memcpy(item + head + s.size, "\r\n", 2);
            if (memmem(reply.data, reply.size, item, (size_t)head + s.size + 2)) seen[i] = true;
        }
        for (int i = 0; i < 20; i++)
            scan_set(w, (uint32_t)prng_below(r, fields / 2) * 2 + 1, prng_chance(r, 500000));
        calls++;
    } while (cursor);
    return calls;
}

TEST(hscan_returns_every_field_that_is_there_all_the_time)
{
    enum { FIELDS = 2400 };
    WORLD(w);
    struct prng r;
    prng_init(&r, 7);
    w.once = true;
    for (uint32_t i = 0; i < FIELDS; i++) scan_set(&w, i, true);
    for (int round = 0; round < 3; round++) {
        static bool seen[FIELDS];
        memset(seen, 0, sizeof seen);
        for (uint32_t i = 0; i < FIELDS; i += 2)
            scan_set(&w, i, true); /* an odd number may have the same name */
        /* Odd fields that share the name of an even one must stay. */
        uint32_t calls = scan_under_churn(&w, &r, FIELDS, seen, round ? "100" : "10");
        assert_true(calls > 5);
        for (uint32_t i = 0; i < FIELDS; i += 2) {
            uint8_t name[16], other[16];
            bool shared = false;
            for (uint32_t k = 1; k < FIELDS; k += 2)
                shared |= bytes_equal(scan_name(name, i), scan_name(other, k));
            if (!shared) assert_true(seen[i]);
        }
    }
    world_deinit(&w);
}

TEST(hscan_of_a_large_hash_takes_count_fields_a_call_and_never_divides_a_prefix)
{
    WORLD(w);
    w.once = true;
    char line[64];
    for (int i = 0; i < 600; i++) {
        snprintf(line, sizeof line, "hset h %03dxxxx%s v", i, i % 2 ? "" : "y");
        world_run(&w, line);
    }
    for (int i = 0; i < 30; i++) {
        snprintf(line, sizeof line, "hset h same-prefix-%d v", i);
        world_run(&w, line);
    }
    w.once = false;
    assert_int_equal(text_items(world_run(&w, "hscan h 0 count 10 novalues")), 11);
    assert_true(w.misses > 0);
    uint64_t place = 0;
    for (const char *p = "same-pr"; *p; p++) place = place << 8 | (uint8_t)*p;
    snprintf(line, sizeof line, "hscan h %llu count 5 novalues", (unsigned long long)place);
    const char *text = world_run(&w, line);
    assert_int_equal(text_items(text), 31);
    assert_memory_equal(text, "['0',", 5);
    EXPECT_RUN(&w, "hscan h 72057594037927936", "['0', []]"); /* 2^56: behind every name */
    world_deinit(&w);
}

/* ---- against a naive twin ---- */

enum { TWIN_FIELDS = 12 };

struct twin {
    bool there[TWIN_FIELDS];
    int64_t value[TWIN_FIELDS];
};

static uint32_t twin_count(const struct twin *t)
{
    uint32_t n = 0;
    for (int i = 0; i < TWIN_FIELDS; i++) n += t->there[i];
    return n;
}

static void twin_expect(struct world *w, const char *line, int64_t expected)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)expected);
    assert_string_equal(world_run(w, line), text);
}

/* `prefix` of all names: how long they are decides how the hash is stored. */
static void twin_run(const char *prefix)
{
    WORLD(w);
    struct twin t = {0};
    struct prng r;
    char line[320];
    prng_init(&r, 3);
    for (int step = 0; step < 3000; step++) {
        int f = (int)prng_below(&r, TWIN_FIELDS), g = (int)prng_below(&r, TWIN_FIELDS);
        int64_t n = (int64_t)prng_below(&r, 1000) - 500, expected;
        switch (prng_below(&r, 6)) {
        case 0:
            expected = !t.there[f] + (f != g && !t.there[g]);
            snprintf(line, sizeof line, "hset h %s%d %lld %s%d %lld", prefix, f, (long long)n,
                     prefix, g, (long long)n + 1);
            t.there[f] = t.there[g] = true;
            t.value[f] = n, t.value[g] = n + 1;
            break;
        case 1:
            expected = t.there[f] + (f != g && t.there[g]);
            snprintf(line, sizeof line, "hdel h %s%d %s%d", prefix, f, prefix, g);
            t.there[f] = t.there[g] = false;
            break;
        case 2:
            t.value[f] = expected = (t.there[f] ? t.value[f] : 0) + n;
            t.there[f] = true;
            snprintf(line, sizeof line, "hincrby h %s%d %lld", prefix, f, (long long)n);
            break;
        case 3:
            expected = !t.there[f];
            if (!t.there[f]) t.value[f] = n;
            t.there[f] = true;
            snprintf(line, sizeof line, "hsetnx h %s%d %lld", prefix, f, (long long)n);
            break;
        case 4:
            expected = twin_count(&t);
            snprintf(line, sizeof line, "hlen h");
            break;
        default:
            expected = twin_count(&t) > 0;
            if (prng_chance(&r, 900000)) {
                snprintf(line, sizeof line, "exists h");
            } else {
                snprintf(line, sizeof line, "del h");
                t = (struct twin){0};
            }
        }
        twin_expect(&w, line, expected);
        snprintf(line, sizeof line, "hincrby h %s%d 0", prefix, g);
        if (t.there[g]) twin_expect(&w, line, t.value[g]);
    }
    world_deinit(&w);
}

TEST(random_commands_agree_with_an_array)
{
    char prefix[128];
    for (size_t size = 0; size < sizeof prefix;
         size += 9) { /* from 80 on it does not stay packed */
        memset(prefix, 'f', size);
        prefix[size] = 0;
        twin_run(prefix);
    }
}

/* ---- packed, and not ---- */

#define FITS (FIELDS_PACKED_MAX - 1 - 1 - 2) /* beside a name of one byte and the two lengths */

TEST(a_hash_is_one_record_up_to_a_size_and_records_past_it)
{
    WORLD(w);
    put_sized(&w, "h", "a", FITS);
    assert_int_equal(w.count, 1);
    put_sized(&w, "h", "a", FITS + 1);
    assert_int_equal(world_rows(&w, KEYS_SUB), 1);
    put_sized(&w, "h", "a", 1); /* it stays as it is */
    put_sized(&w, "h", "b", 1);
    EXPECT_RUN(&w, "hgetall h", "['a', 'v', 'b', 'v']");
    assert_int_equal(w.count, 3);
    EXPECT_RUN(&w, "del h", "1");
    put_sized(&w, "h", "a", 1);
    assert_int_equal(world_rows(&w, KEYS_META), 1);
    assert_int_equal(world_rows(&w, KEYS_SUB), 0);
    world_deinit(&w);
}

TEST(a_hash_that_grows_past_the_size_keeps_every_field_once)
{
    WORLD(w);
    char text[1200];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    struct bytes v[] = {BYTES("hset"), BYTES("h"),      BYTES("b"), BYTES("new"),
                        BYTES("big"),  bytes_str(text), BYTES("d"), BYTES("4"),
                        BYTES("d"),    BYTES("5"),      BYTES("a"), BYTES("one")};
    world_run(&w, "hset h a 1 b 2 c 3");
    assert_string_equal(world_run_args(&w, v, 12), "2");
    EXPECT_RUN(&w, "hlen h", "5");
    EXPECT_RUN(&w, "hmget h a b c d", "['one', 'new', '3', '5']");
    EXPECT_RUN(&w, "hstrlen h big", "1199");
    EXPECT_RUN(&w, "hkeys h", "['a', 'b', 'big', 'c', 'd']");
    world_deinit(&w);
}

TEST(what_is_packed_is_copied_renamed_and_expires_as_the_rest)
{
    WORLD(w);
    world_run(&w, "hset {k}h a 1 b 2");
    world_run(&w, "pexpire {k}h 100");
    EXPECT_RUN(&w, "copy {k}h {k}c", "1");
    EXPECT_RUN(&w, "rename {k}h {k}r", "OK");
    EXPECT_RUN(&w, "copy {k}r other", "1");
    EXPECT_RUN(&w, "hincrby {k}r a 1", "2");
    EXPECT_RUN(&w, "hgetall {k}c", "['a', '1', 'b', '2']");
    EXPECT_RUN(&w, "hgetall {k}r", "['a', '2', 'b', '2']");
    EXPECT_RUN(&w, "hgetall other", "['a', '1', 'b', '2']");
    EXPECT_RUN(&w, "persist {k}c", "1");
    EXPECT_RUN(&w, "hget {k}c b", "'2'");
    w.now_ms += 101;
    EXPECT_RUN(&w, "exists {k}h {k}r other", "0");
    EXPECT_RUN(&w, "hlen {k}c", "2");
    world_deinit(&w);
}

TEST_MAIN
