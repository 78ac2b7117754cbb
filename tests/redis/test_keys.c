/* Keys of any type: existence, expiry, renaming and copying, and the walks over the key space. */
#include "redis/world.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/prng.h"
#include "redis/scan.h"
#include "ring/slot.h"
#include "shard/keys.h"

#define WORLD(w)                                                                                   \
    struct world w;                                                                                \
    world_init(&w)

TEST(del_unlink_exists_and_touch_count_what_they_met)
{
    WORLD(w);
    world_run(&w, "set a 1");
    world_run(&w, "set b 1");
    world_run(&w, "hset h f v g v");
    EXPECT_RUN(&w, "exists a b x a h", "4");
    EXPECT_RUN(&w, "touch a x h", "2");
    EXPECT_RUN(&w, "del a x a", "1");
    EXPECT_RUN(&w, "unlink b h b", "2");
    EXPECT_RUN(&w, "del a", "0");
    assert_false(w.wrote);
    assert_int_equal(w.count, 0);
    world_deinit(&w);
}

TEST(type_names_the_type)
{
    WORLD(w);
    world_run(&w, "set s 1");
    world_run(&w, "hset h f v");
    EXPECT_RUN(&w, "type s", "string");
    EXPECT_RUN(&w, "type h", "hash");
    EXPECT_RUN(&w, "type n", "none");
    world_deinit(&w);
}

/* ---- expiry ---- */

TEST(a_time_to_live_is_set_told_and_removed)
{
    WORLD(w);
    w.now_ms = 1000000;
    world_run(&w, "set a 1");
    EXPECT_RUN(&w, "ttl a", "-1");
    EXPECT_RUN(&w, "pttl a", "-1");
    EXPECT_RUN(&w, "expiretime a", "-1");
    EXPECT_RUN(&w, "ttl n", "-2");
    EXPECT_RUN(&w, "pexpiretime n", "-2");
    EXPECT_RUN(&w, "persist a", "0");
    EXPECT_RUN(&w, "expire a 10", "1");
    EXPECT_RUN(&w, "ttl a", "10");
    EXPECT_RUN(&w, "pttl a", "10000");
    EXPECT_RUN(&w, "expiretime a", "1010");
    EXPECT_RUN(&w, "pexpiretime a", "1010000");
    EXPECT_RUN(&w, "expireat a 1020", "1");
    EXPECT_RUN(&w, "pttl a", "20000");
    EXPECT_RUN(&w, "pexpire a 1499", "1");
    EXPECT_RUN(&w, "ttl a", "1");
    EXPECT_RUN(&w, "pexpire a 1500", "1");
    EXPECT_RUN(&w, "ttl a", "2");
    EXPECT_RUN(&w, "pexpireat a 1000499", "1");
    EXPECT_RUN(&w, "pttl a", "499");
    EXPECT_RUN(&w, "ttl a", "0");
    EXPECT_RUN(&w, "persist a", "1");
    EXPECT_RUN(&w, "ttl a", "-1");
    EXPECT_RUN(&w, "persist n", "0");
    EXPECT_RUN(&w, "expire n 10", "0");
    world_deinit(&w);
}

TEST(a_key_lives_to_the_end_of_its_last_millisecond)
{
    WORLD(w);
    world_run(&w, "set a 1");
    world_run(&w, "pexpire a 100");
    w.now_ms += 100;
    EXPECT_RUN(&w, "exists a", "1");
    EXPECT_RUN(&w, "pttl a", "0");
    EXPECT_RUN(&w, "scan 0", "['0', ['a']]");
    w.now_ms += 1;
    EXPECT_RUN(&w, "scan 0", "['0', []]");
    assert_false(w.wrote); /* a walk passes over it */
    EXPECT_RUN(&w, "keys *", "[]");
    EXPECT_RUN(&w, "randomkey", "nil");
    EXPECT_RUN(&w, "dbsize", "1");
    EXPECT_RUN(&w, "pttl a", "-2"); /* a reader deletes it */
    assert_true(w.wrote);
    EXPECT_RUN(&w, "dbsize", "0");
    assert_int_equal(w.count, 0);
    world_deinit(&w);
}

TEST(a_time_that_has_passed_deletes_the_key)
{
    static const char *lines[] = {"expire k 0",   "expire k -1",    "pexpire k 0",
                                  "expireat k 1", "pexpireat k -5", "expireat k 0"};
    WORLD(w);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        world_run(&w, "hset k f v");
        EXPECT_RUN(&w, lines[i], "1");
        assert_int_equal(w.count, 0);
        EXPECT_RUN(&w, lines[i], "0");
    }
    world_deinit(&w);
}

TEST(expire_obeys_nx_xx_gt_lt)
{
    WORLD(w);
    world_run(&w, "set a 1");
    EXPECT_RUN(&w, "expire a 10 xx", "0");
    EXPECT_RUN(&w, "expire a 10 gt", "0"); /* no expiry is the latest of all */
    EXPECT_RUN(&w, "expire a 10 nx", "1");
    EXPECT_RUN(&w, "expire a 20 NX", "0");
    EXPECT_RUN(&w, "expire a 10 gt", "0");
    EXPECT_RUN(&w, "expire a 11 gt", "1");
    EXPECT_RUN(&w, "expire a 11 lt", "0");
    EXPECT_RUN(&w, "expire a 5 lt", "1");
    EXPECT_RUN(&w, "expire a 6 xx gt", "1");
    EXPECT_RUN(&w, "ttl a", "6");
    world_run(&w, "persist a");
    EXPECT_RUN(&w, "expire a 7 lt", "1");
    world_run(&w, "persist a");
    EXPECT_RUN(&w, "expire a 7 xx lt", "0");
    EXPECT_RUN(&w, "expire a 7 nx xx",
               "ERR NX and XX, GT or LT options at the same time are not compatible");
    EXPECT_RUN(&w, "expire a 7 nx gt",
               "ERR NX and XX, GT or LT options at the same time are not compatible");
    EXPECT_RUN(&w, "expire a 7 gt lt", "ERR GT and LT options at the same time are not compatible");
    EXPECT_RUN(&w, "expire a 7 zz", "ERR Unsupported option zz");
    world_deinit(&w);
}

TEST(an_expire_time_that_does_not_fit_is_refused)
{
    WORLD(w);
    world_run(&w, "set a 1");
    EXPECT_RUN(&w, "expire a x", "ERR value is not an integer or out of range");
    EXPECT_RUN(&w, "expire a 9223372036854775807", "ERR invalid expire time in 'expire' command");
    EXPECT_RUN(&w, "expire a -9223372036854775808", "ERR invalid expire time in 'expire' command");
    EXPECT_RUN(&w, "expireat a 9223372036854776", "ERR invalid expire time in 'expireat' command");
    EXPECT_RUN(&w, "pexpire a 9223372036854775807", "ERR invalid expire time in 'pexpire' command");
    EXPECT_RUN(&w, "pexpireat a 9223372036854775807", "1");
    EXPECT_RUN(&w, "pexpiretime a", "9223372036854775807");
    EXPECT_RUN(&w, "expiretime a", "9223372036854776");
    world_deinit(&w);
}

/* ---- RENAME, COPY ---- */

TEST(rename_moves_value_and_expiry_within_a_slot_and_between_slots)
{
    static const char *to[] = {"{a}b", "other"};
    WORLD(w);
    char line[96];
    assert_true(slot_of(BYTES("a")) != slot_of(BYTES("other")));
    for (int i = 0; i < 2; i++) {
        world_run(&w, "flushall");
        world_run(&w, "hset a f 1 g 2");
        world_run(&w, "expire a 100");
        snprintf(line, sizeof line, "rename a %s", to[i]);
        EXPECT_RUN(&w, line, "OK");
        EXPECT_RUN(&w, "exists a", "0");
        snprintf(line, sizeof line, "hgetall %s", to[i]);
        EXPECT_RUN(&w, line, "['f', '1', 'g', '2']");
        snprintf(line, sizeof line, "ttl %s", to[i]);
        EXPECT_RUN(&w, line, "100");

        world_run(&w, "set a text");
        snprintf(line, sizeof line, "rename a %s", to[i]); /* a string over a hash */
        EXPECT_RUN(&w, line, "OK");
        snprintf(line, sizeof line, "get %s", to[i]);
        EXPECT_RUN(&w, line, "'text'");
        snprintf(line, sizeof line, "ttl %s", to[i]);
        EXPECT_RUN(&w, line, "-1");

        world_run(&w, "hset a x 1");
        snprintf(line, sizeof line, "rename a %s", to[i]); /* and a hash over a string */
        EXPECT_RUN(&w, line, "OK");
        world_run(&w, "hset a y 1");
        EXPECT_RUN(&w, line, "OK"); /* and a hash over a hash */
        snprintf(line, sizeof line, "hgetall %s", to[i]);
        EXPECT_RUN(&w, line, "['y', '1']");
        EXPECT_RUN(&w, "dbsize", "1");
    }
    world_deinit(&w);
}

TEST(a_hash_renamed_within_its_slot_costs_no_field)
{
    WORLD(w);
    w.once = true;
    char line[64];
    for (int i = 0; i < 1000; i++) {
        snprintf(line, sizeof line, "hset {a}h field%d value", i);
        world_run(&w, line);
    }
    EXPECT_RUN(&w, "rename {a}h {a}g", "OK");
    assert_true(w.effects.size < 200);
    EXPECT_RUN(&w, "hset {a}h new 1", "1"); /* and another hash of the old name is another hash */
    world_check(&w);
    EXPECT_RUN(&w, "hlen {a}g", "1000");
    world_deinit(&w);
}

TEST(rename_tells_when_there_is_nothing_to_do_it_with)
{
    WORLD(w);
    EXPECT_RUN(&w, "rename a b", "ERR no such key");
    EXPECT_RUN(&w, "renamenx a a", "ERR no such key");
    world_run(&w, "set a 1");
    EXPECT_RUN(&w, "rename a a", "OK");
    EXPECT_RUN(&w, "renamenx a a", "0");
    EXPECT_RUN(&w, "renamenx a b", "1");
    world_run(&w, "set a 2");
    EXPECT_RUN(&w, "renamenx a b", "0");
    EXPECT_RUN(&w, "get b", "'1'");
    EXPECT_RUN(&w, "pexpire b 10", "1");
    w.now_ms += 11;
    EXPECT_RUN(&w, "renamenx a b", "1"); /* an expired key is in nobody's way */
    EXPECT_RUN(&w, "get b", "'2'");
    EXPECT_RUN(&w, "ttl b", "-1");
    world_deinit(&w);
}

TEST(copy_leaves_the_source_and_shares_nothing_with_it)
{
    static const char *to[] = {"{a}b", "other"};
    WORLD(w);
    char line[96];
    for (int i = 0; i < 2; i++) {
        world_run(&w, "flushall");
        world_run(&w, "hset a f 1 g 2");
        world_run(&w, "expire a 100");
        snprintf(line, sizeof line, "copy a %s", to[i]);
        EXPECT_RUN(&w, line, "1");
        EXPECT_RUN(&w, line, "0");
        world_run(&w, "hset a f 9");
        world_run(&w, "hdel a g");
        snprintf(line, sizeof line, "hgetall %s", to[i]);
        EXPECT_RUN(&w, line, "['f', '1', 'g', '2']");
        snprintf(line, sizeof line, "ttl %s", to[i]);
        EXPECT_RUN(&w, line, "100");
        snprintf(line, sizeof line, "copy a %s db 0 replace", to[i]);
        EXPECT_RUN(&w, line, "1");
        snprintf(line, sizeof line, "hgetall %s", to[i]);
        EXPECT_RUN(&w, line, "['f', '9']");
        world_run(&w, "set a text");
        snprintf(line, sizeof line, "copy a %s REPLACE", to[i]);
        EXPECT_RUN(&w, line, "1");
        snprintf(line, sizeof line, "get %s", to[i]);
        EXPECT_RUN(&w, line, "'text'");
    }
    EXPECT_RUN(&w, "copy none x", "0");
    EXPECT_RUN(&w, "copy a a", "ERR source and destination objects are the same");
    EXPECT_RUN(&w, "copy a b db 1", "ERR DB index is out of range");
    EXPECT_RUN(&w, "copy a b db x", "ERR value is not an integer or out of range");
    EXPECT_RUN(&w, "copy a b db", "ERR syntax error");
    EXPECT_RUN(&w, "copy a b over", "ERR syntax error");
    world_deinit(&w);
}

TEST(a_hash_too_large_for_one_log_entry_is_not_copied_and_nothing_changes)
{
    WORLD(w);
    w.once = true;
    size_t size = 12u << 20;
    uint8_t *value = mem_zalloc(size);
    for (int i = 0; i < 3; i++) {
        char name[2] = {(char)('a' + i), 0};
        struct bytes v[4] = {BYTES("hset"), BYTES("h"), bytes_str(name), bytes_of(value, size)};
        assert_string_equal(world_run_args(&w, v, 4), "1");
    }
    EXPECT_RUN(&w, "copy h {h}2",
               "ERR the key is larger than 32 MiB, the limit of what can be copied");
    assert_false(w.wrote);
    EXPECT_RUN(&w, "rename h other",
               "ERR the key is larger than 32 MiB, the limit of what can be copied");
    assert_false(w.wrote);
    EXPECT_RUN(&w, "rename h {h}2", "OK");
    mem_free(value);
    world_deinit(&w);
}

/* ---- OBJECT, MEMORY, FLUSHALL ---- */

TEST(object_tells_what_redis_would_call_it)
{
    WORLD(w);
    world_run(&w, "set n 12345");
    world_run(&w, "set e 012345678901234567890123456789012345678901234");
    world_run(&w, "set r 0123456789012345678901234567890123456789012345");
    world_run(&w, "hset h f v");
    world_run(&w, "hset big f 01234567890123456789012345678901234567890123456789012345678901234");
    EXPECT_RUN(&w, "object encoding n", "'int'");
    EXPECT_RUN(&w, "object encoding r", "'raw'");
    EXPECT_RUN(&w, "object encoding h", "'listpack'");
    EXPECT_RUN(&w, "object encoding big", "'hashtable'");
    EXPECT_RUN(&w, "object encoding none", "nil");
    EXPECT_RUN(&w, "object refcount h", "1");
    EXPECT_RUN(&w, "object refcount none", "nil");
    EXPECT_RUN(&w, "object freq h",
               "ERR access frequency is not tracked: synod does not evict keys");
    EXPECT_RUN(&w, "object idletime h", "ERR idle time is not tracked: synod does not evict keys");
    EXPECT_RUN(&w, "object idletime none", "nil");
    world_run(&w, "set e 01234567890123456789012345678901234567890123");
    EXPECT_RUN(&w, "object encoding e", "'embstr'");
    world_deinit(&w);
}

TEST(memory_usage_grows_with_what_is_stored_and_samples_agree_where_fields_do)
{
    WORLD(w);
    char line[64], first[32];
    world_run(&w, "set s 0123456789");
    int64_t small = strtoll(world_run(&w, "memory usage s"), NULL, 10);
    world_run(&w, "append s 0123456789");
    assert_int_equal(strtoll(world_run(&w, "memory usage s"), NULL, 10), small + 10);
    EXPECT_RUN(&w, "memory usage none", "nil");
    w.once = true;
    for (int i = 100; i < 300; i++) {
        snprintf(line, sizeof line, "hset h field%d value%d", i, i);
        world_run(&w, line);
    }
    snprintf(first, sizeof first, "%s", world_run(&w, "memory usage h"));
    assert_true(strtoll(first, NULL, 10) > 200 * 16);
    EXPECT_RUN(&w, "memory usage h samples 0", first);
    EXPECT_RUN(&w, "memory usage h samples 7", first);
    EXPECT_RUN(&w, "memory usage h samples -1", "ERR syntax error");
    EXPECT_RUN(&w, "memory usage h samples", "ERR syntax error");
    EXPECT_RUN(&w, "memory usage h samples x", "ERR value is not an integer or out of range");
    world_deinit(&w);
}

TEST(flushall_and_flushdb_leave_nothing)
{
    static const char *lines[] = {"flushall", "flushdb", "flushall async", "flushdb SYNC"};
    WORLD(w);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        world_run(&w, "hset h f v");
        world_run(&w, "set s 1 ex 100");
        EXPECT_RUN(&w, "flushall now", "ERR syntax error");
        EXPECT_RUN(&w, lines[i], "OK");
        assert_int_equal(w.count, 0);
        EXPECT_RUN(&w, "dbsize", "0");
    }
    world_deinit(&w);
}

/* ---- walks ---- */

/* One group's part of a world: what a leader sees that serves the slots [lo, hi). */
static enum view_result part_get(void *ctx, struct bytes key, struct bytes *value)
{
    (void)ctx, (void)key, (void)value;
    fail_msg("a walk reads no single key");
    return VIEW_MISS;
}

static enum view_result part_range(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                                   view_each *each, void *each_ctx)
{
    const struct world *w = ctx;
    size_t a = 0, b = w->count;
    assert_false(reverse);
    while (a < b) {
        size_t mid = a + (b - a) / 2;
        if (bytes_compare(buf_bytes(&w->rows[mid].key), lo) < 0)
            a = mid + 1;
        else
            b = mid;
    }
    for (; a < w->count && bytes_compare(buf_bytes(&w->rows[a].key), hi) < 0; a++)
        if (!each(each_ctx, buf_bytes(&w->rows[a].key), buf_bytes(&w->rows[a].value)))
            return VIEW_FOUND;
    return VIEW_ABSENT;
}

/* Runs a walking command in the group [lo, hi); the reply as text, to be freed. */
static char *run_in_group(struct world *w, cmd_fn *fn, struct bytes *v, uint32_t count, uint16_t lo,
                          uint16_t hi)
{
    struct view_source source = {part_get, part_range, w};
    struct view view;
    struct buf out = {0}, text = {0};
    struct reply reply = {&out, 2};
    view_init(&view);
    view_begin(&view, &source, w->now_ms, w->seed++, 1, lo, hi);
    fn(&view, &(struct cmd_args){v, count}, &reply);
    assert_false(view_wrote(&view));
    world_text(buf_bytes(&out), &text);
    buf_u8(&text, 0);
    view_deinit(&view);
    buf_deinit(&out);
    return (char *)text.data;
}

static uint16_t group_of(uint64_t cursor, uint16_t slots_each)
{
    return (uint16_t)((cursor >> 48) / slots_each * slots_each);
}

/* The number n of each key 'kn' in a reply. */
static void mark_keys(const char *text, uint32_t *seen)
{
    while ((text = strstr(text, "'k"))) {
        seen[strtoul(text + 2, NULL, 10)]++;
        text += 2;
    }
}

static void churn(struct world *w, struct prng *r, uint32_t keys)
{
    static const char *forms[] = {"set k%u v", "del k%u", "hset k%u f v g v", "pexpire k%u 5",
                                  "hset k%u f v"};
    char line[64];
    for (int i = 0; i < 10; i++) {
        snprintf(line, sizeof line, forms[prng_below(r, 5)],
                 (unsigned)prng_below(r, keys / 2) * 2 + 1);
        world_run(w, line);
    }
    w->now_ms += 1;
}

/* Keys with even numbers stay, odd ones come and go; the cluster is cut into groups in several
 * ways. */
TEST(scan_returns_every_key_that_is_there_all_the_time_whatever_the_groups)
{
    enum { KEYS = 1500 };
    static const uint16_t slots_each[] = {16384, 1024, 5461, 128};
    static const char *counts[] = {"1", "10", "300", "1000000"};
    WORLD(w);
    struct prng r;
    char line[64];
    prng_init(&r, 11);
    w.once = true;
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(line, sizeof line, i % 4 < 2 ? "set k%u v" : "hset k%u f v g v", i);
        world_run(&w, line);
    }
    for (int round = 0; round < 4; round++) {
        static uint32_t seen[KEYS];
        uint64_t cursor = 0, before;
        memset(seen, 0, sizeof seen);
        do {
            uint16_t lo = group_of(cursor, slots_each[round]);
            uint32_t hi = (uint32_t)lo + slots_each[round];
            snprintf(line, sizeof line, "%llu", (unsigned long long)cursor);
            struct bytes v[4] = {BYTES("scan"), bytes_str(line), BYTES("count"),
                                 bytes_str(counts[round])};
            char *text = run_in_group(&w, scan_cmd_scan, v, 4, lo,
                                      (uint16_t)(hi < SLOT_COUNT ? hi : SLOT_COUNT));
            mark_keys(text, seen);
            before = cursor;
            cursor = strtoull(text + 2, NULL, 10);
            assert_true(cursor == 0 || (cursor > before && cursor <= INT64_MAX));
            mem_free(text);
            churn(&w, &r, KEYS);
        } while (cursor);
        for (uint32_t i = 0; i < KEYS; i += 2) assert_int_equal(seen[i], 1);
        world_check(&w);
    }
    world_deinit(&w);
}

TEST(scan_takes_count_keys_and_filters_by_pattern_and_type)
{
    WORLD(w);
    w.once = true;
    char line[64];
    for (int i = 0; i < 50; i++) {
        snprintf(line, sizeof line, i % 2 ? "set {t}s%d v" : "hset {t}h%d f v", i);
        world_run(&w, line);
    }
    w.once = false;
    const char *text = world_run(&w, "scan 0 count 7");
    uint32_t quotes = 0;
    for (const char *p = text; *p; p++) quotes += *p == '\'';
    assert_int_equal(quotes / 2, 1 + 7);

    text = world_run(&w, "scan 0 count 1000 match {t}?4* type HASH");
    assert_true(w.misses > 0);
    assert_non_null(strstr(text, "{t}h4'"));
    assert_null(strstr(text, "{t}s4"));
    assert_memory_equal(text, "['0'", 4);
    EXPECT_RUN(&w, "scan 0 count 1000 type list", "['0', []]");
    EXPECT_RUN(&w, "scan 0 type", "ERR syntax error");
    EXPECT_RUN(&w, "scan 0 novalues", "ERR syntax error");
    EXPECT_RUN(&w, "scan x", "ERR invalid cursor");
    EXPECT_RUN(&w, "scan 0 count -3", "ERR syntax error");
    EXPECT_RUN(&w, "scan 4611686018427387904", "['0', []]"); /* behind the last slot */
    world_deinit(&w);
}

static int row_compare(const void *a, const void *b)
{
    const struct world_row *x = a, *y = b;
    return bytes_compare(buf_bytes(&x->key), buf_bytes(&y->key));
}

TEST(keys_with_equal_hashes_come_in_one_call)
{
    WORLD(w);
    char line[64];
    w.once = true;
    for (int i = 10; i < 30; i++) {
        snprintf(line, sizeof line, "set {t}k%d v", i);
        world_run(&w, line);
    }
    for (size_t i = 0; i < w.count; i++)
        memset(w.rows[i].key.data + 3, i < 8 ? 1 : 2, 6); /* the hash: chance would take years */
    qsort(w.rows, w.count, sizeof *w.rows, row_compare);

    uint16_t slot = slot_of(BYTES("t"));
    uint64_t cursor = (uint64_t)slot << 48;
    uint32_t seen[30] = {0};
    for (int call = 0; call < 2; call++) {
        snprintf(line, sizeof line, "%llu", (unsigned long long)cursor);
        struct bytes v[4] = {BYTES("scan"), bytes_str(line), BYTES("count"), BYTES("3")};
        char *text = run_in_group(&w, scan_cmd_scan, v, 4, slot, (uint16_t)(slot + 1));
        for (const char *p = text; (p = strstr(p, "}k")); p += 2) seen[strtoul(p + 2, NULL, 10)]++;
        cursor = strtoull(text + 2, NULL, 10);
        uint32_t sum = 0;
        for (int i = 10; i < 30; i++) sum += seen[i];
        assert_int_equal(sum, call ? 20 : 8);
        mem_free(text);
    }
    for (int i = 10; i < 30; i++) assert_int_equal(seen[i], 1);
    assert_true(cursor == (uint64_t)(slot + 1) << 48);
    world_deinit(&w);
}

TEST(a_scan_in_a_group_that_does_not_hold_the_cursor_is_sent_back)
{
    WORLD(w);
    struct bytes v[2] = {BYTES("scan"), BYTES("0")};
    char *text = run_in_group(&w, scan_cmd_scan, v, 2, 8192, 16384);
    assert_string_equal(text, "TRYAGAIN slot 0 is not served here at the moment");
    mem_free(text);
    text = run_in_group(&w, scan_cmd_scan, v, 2, 0, 8192);
    assert_string_equal(text, "['2305843009213693952', []]"); /* 8192 << 48 */
    mem_free(text);
    world_deinit(&w);
}

TEST(keys_gives_what_matches_in_the_groups_own_slots)
{
    WORLD(w);
    world_run(&w, "set foo 1");
    world_run(&w, "hset bar f v g v");
    world_run(&w, "set foobar 1 ex 100");
    EXPECT_RUN(&w, "keys fo?", "['foo']");
    EXPECT_RUN(&w, "keys x*", "[]");
    assert_int_equal(strlen(world_run(&w, "keys *")), strlen("['foo', 'bar', 'foobar']"));

    uint16_t slot = slot_of(BYTES("foo"));
    struct bytes v[2] = {BYTES("keys"), BYTES("*")};
    char *text = run_in_group(&w, scan_cmd_keys, v, 2, slot, (uint16_t)(slot + 1));
    assert_string_equal(text, "['foo']");
    mem_free(text);
    world_deinit(&w);
}

TEST(the_slot_commands_count_and_list_one_slot)
{
    WORLD(w);
    char line[64];
    world_run(&w, "set {s}1 1");
    world_run(&w, "hset {s}2 f v g v");
    world_run(&w, "set {s}3 1 px 5");
    world_run(&w, "set other 1");
    snprintf(line, sizeof line, "cluster countkeysinslot %u", slot_of(BYTES("s")));
    EXPECT_RUN(&w, line, "3");
    w.now_ms += 6;
    EXPECT_RUN(&w, line, "3"); /* expired, not deleted */
    snprintf(line, sizeof line, "cluster getkeysinslot %u 2", slot_of(BYTES("s")));
    assert_int_equal(strlen(world_run(&w, line)), strlen("['{s}1', '{s}2']"));
    snprintf(line, sizeof line, "cluster getkeysinslot %u 100", slot_of(BYTES("s")));
    assert_int_equal(strlen(world_run(&w, line)), strlen("['{s}1', '{s}2', '{s}3']"));
    snprintf(line, sizeof line, "cluster getkeysinslot %u 0", slot_of(BYTES("s")));
    EXPECT_RUN(&w, line, "[]");
    EXPECT_RUN(&w, "cluster countkeysinslot 16384", "ERR Invalid or out of range slot");
    EXPECT_RUN(&w, "cluster countkeysinslot x", "ERR Invalid or out of range slot");
    EXPECT_RUN(&w, "cluster getkeysinslot 0 -1", "ERR Invalid number of keys");
    EXPECT_RUN(&w, "cluster getkeysinslot 0 x", "ERR value is not an integer or out of range");
    world_deinit(&w);
}

TEST(randomkey_returns_each_of_a_few_keys_about_as_often)
{
    WORLD(w);
    uint32_t seen[10] = {0};
    char line[64];
    EXPECT_RUN(&w, "randomkey", "nil");
    for (int i = 0; i < 10; i++) {
        snprintf(line, sizeof line, i % 2 ? "set k%d v" : "hset k%d f v", i);
        world_run(&w, line);
    }
    world_run(&w, "randomkey");
    w.once = true;
    for (int i = 0; i < 5000; i++) mark_keys(world_run(&w, "randomkey"), seen);
    for (int i = 0; i < 10; i++) assert_in_range(seen[i], 400, 600);
    world_deinit(&w);
}

/* world_check compares keys, counts, elements and expiries with a full walk of the records after
 * each command. */
TEST(counts_and_records_agree_at_all_times_under_random_commands)
{
    static const char *forms[] = {"set k%u v",
                                  "set k%u v px 20",
                                  "hset k%u f%u v",
                                  "hset k%u f%u v g 1 h 2",
                                  "del k%u k%u",
                                  "unlink k%u",
                                  "rename k%u k%u",
                                  "renamenx k%u k%u",
                                  "copy k%u k%u replace",
                                  "copy k%u k%u",
                                  "rename k%u {k%u}b",
                                  "rename {k%u}b k%u",
                                  "pexpire k%u 15",
                                  "pexpire k%u 30 nx",
                                  "persist k%u",
                                  "hdel k%u f%u g",
                                  "expire k%u -1",
                                  "exists k%u k%u {k%u}b",
                                  "ttl k%u",
                                  "hincrby k%u g 1",
                                  "hgetdel k%u fields 1 g",
                                  "append k%u x",
                                  "pexpire k%u 10 gt",
                                  "copy {k%u}b {k%u}c replace",
                                  "scan 0 count 3",
                                  "keys *",
                                  "randomkey",
                                  "dbsize"};
    WORLD(w);
    struct prng r;
    char line[96];
    prng_init(&r, 5);
    for (int step = 0; step < 4000; step++) {
        unsigned a = (unsigned)prng_below(&r, 6), b = (unsigned)prng_below(&r, 6),
                 c = (unsigned)prng_below(&r, 6);
        size_t form = prng_below(&r, sizeof forms / sizeof *forms);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-extra-args"
        snprintf(line, sizeof line, forms[form], a, b, c);
#pragma GCC diagnostic pop
        world_run(&w, line);
        if (prng_chance(&r, 2000)) world_run(&w, "flushall");
        w.now_ms += (int64_t)prng_below(&r, 5);
    }
    world_deinit(&w);
}

TEST_MAIN
