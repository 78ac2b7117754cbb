/* What scripts and functions mean: on a world of one group, where every run is made a second time
 * with misses in it. How replies are converted, and what errors say, is held against redis-server
 * in redis/differential.py. */
#include "fixture.h"

TEST(a_script_reads_and_writes_keys_that_it_declared_and_others)
{
    struct fixture f;
    fixture_init(&f);
    EXPECT_EVAL(&f, "return redis.call('set', KEYS[1], ARGV[1])", "OK");
    EXPECT_EVAL(&f, "return redis.call('get', 'k')", "'v'");
    EXPECT_EVAL(&f,
                "redis.call('set', 'a', 1) redis.call('set', 'b', 2) return redis.call('mget', "
                "'a', 'b', 'c')",
                "['1', '2', nil]");
    EXPECT_RUN(&f.w, "GET b", "'2'");
    fixture_deinit(&f);
}

/* Redis keeps what was written before an error; here a script is a transaction (INV-SCRIPT-3). */
TEST(a_script_that_fails_leaves_nothing)
{
    struct fixture f;
    fixture_init(&f);
    expect_error(&f, "redis.call('set', 'a', 1) redis.call('hset', 'h', 'f', 'v') error('no')",
                 "no");
    EXPECT_RUN(&f.w, "EXISTS a h", "0");
    EXPECT_EVAL(&f, "redis.call('set', 'a', 1) return redis.call('hset', 'a', 'f', 'v')",
                "WRONGTYPE Operation against a key holding the wrong kind of value script: "
                "4fd3831d6c4000e0aa2f51fccb017b215c0f7c5b.");
    EXPECT_RUN(&f.w, "EXISTS a", "0");
    EXPECT_EVAL(&f, "redis.call('set', 'a', 1) redis.pcall('hset', 'a', 'f', 'v') return 'on'",
                "'on'");
    EXPECT_RUN(&f.w, "GET a", "'1'");
    EXPECT_EVAL(&f, "redis.call('set', 'a', 2) return redis.error_reply('my error')", "my error");
    EXPECT_RUN(&f.w, "GET a", "'2'"); /* an error that is returned is an answer */
    fixture_deinit(&f);
}

TEST(a_script_sees_what_it_wrote)
{
    struct fixture f;
    fixture_init(&f);
    EXPECT_EVAL(&f, "for i = 1, 100 do redis.call('incr', 'n') end return redis.call('get', 'n')",
                "'100'");
    EXPECT_EVAL(&f,
                "for i = 1, 100 do redis.call('hset', 'h', i, i) end redis.call('del', 'h') "
                "redis.call('hset', 'h', 'x', 'y') return redis.call('hgetall', 'h')",
                "['x', 'y']");
    fixture_deinit(&f);
}

TEST(any_bytes_pass_through)
{
    struct fixture f;
    fixture_init(&f);
    struct bytes v[] = {
        BYTES("EVAL"),
        BYTES("redis.call('set', KEYS[1], ARGV[1]) return {KEYS[1], redis.call('get', "
              "KEYS[1]), #ARGV[1]}"),
        BYTES("1"), BYTES("\0\xff\r\n"), BYTES("\xc3\x28\0\x80")};
    assert_string_equal(world_run_args(&f.w, v, 5), "['\\x00\\xff\\r\\n', '\\xc3(\\x00\\x80', 4]");
    fixture_deinit(&f);
}

TEST(time_and_chance_are_the_evaluations)
{
    struct fixture f;
    fixture_init(&f);
    f.w.now_ms = 1234567;
    EXPECT_EVAL(&f, "return redis.call('time')", "['1234', '567000']");
    EXPECT_EVAL(&f, "return {math.random(100), math.random(100)}", "[40, 85]");
    EXPECT_EVAL(&f, "return {math.random(100), math.random(100)}", "[40, 85]");
    fixture_deinit(&f);
}

TEST(read_only_scripts_do_not_write)
{
    struct fixture f;
    fixture_init(&f);
    const char *refused = "Write commands are not allowed from read-only scripts.";
    struct bytes v[] = {BYTES("EVAL_RO"),
                        BYTES("local r = redis.pcall('set', 'a', 1) return r.err"), BYTES("0")};
    assert_non_null(strstr(world_run_args(&f.w, v, 3), refused));
    expect_error(&f, "#!lua flags=no-writes\nredis.call('set', 'a', 1)", refused);
    EXPECT_RUN(&f.w, "EXISTS a", "0");
    fixture_deinit(&f);
}

TEST(scripts_run_inside_a_transaction_and_behind_a_token)
{
    struct fixture f;
    fixture_init(&f);
    struct bytes once[] = {BYTES("SYNOD"),
                           BYTES("ONCE"),
                           BYTES("t"),
                           BYTES("EVAL"),
                           BYTES("return redis.call('incr', KEYS[1])"),
                           BYTES("1"),
                           BYTES("n")};
    assert_string_equal(world_run_args(&f.w, once, 7), "1");
    assert_string_equal(world_run_args(&f.w, once, 7), "1");
    EXPECT_RUN(&f.w, "GET n", "'1'");
    fixture_deinit(&f);
}

/* ---- what is loaded ---- */

TEST(loaded_scripts_are_rows_and_bounded)
{
    struct fixture f;
    fixture_init(&f);
    const char *sha = "'e0e1f9fabfc9d4800c877a703b823ac0578ff8db'";
    struct bytes load[] = {BYTES("SCRIPT"), BYTES("LOAD"), BYTES("return 1")};
    assert_string_equal(world_run_args(&f.w, load, 3), sha);
    assert_true(f.w.wrote);
    assert_string_equal(world_run_args(&f.w, load, 3), sha);
    assert_false(f.w.wrote); /* it is there */
    EXPECT_RUN(&f.w, "SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db e0 +", "[1, 0, 1]");
    EXPECT_RUN(&f.w, "SYNOD SCRIPT e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "'return 1'");
    EXPECT_RUN(&f.w, "FLUSHALL", "OK");
    EXPECT_RUN(&f.w, "SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "[1]");
    EXPECT_RUN(&f.w, "SCRIPT FLUSH", "OK");
    EXPECT_RUN(&f.w, "SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "[0]");

    struct buf body = {0};
    f.w.once = true;
    for (int i = 0; i < 9; i++) {
        buf_clear(&body);
        buf_printf(&body, "return %d --", i);
        while (body.size < SCRIPT_CODE_MAX) buf_u8(&body, 'x');
        load[2] = buf_bytes(&body);
        const char *reply = world_run_args(&f.w, load, 3);
        if (i < 8)
            assert_int_equal(reply[0], '\'');
        else
            assert_non_null(strstr(reply, "at most 8 MiB together"));
    }
    buf_u8(&body, 'x');
    load[2] = buf_bytes(&body);
    assert_non_null(strstr(world_run_args(&f.w, load, 3), "at most 1024 KiB"));
    buf_deinit(&body);
    fixture_deinit(&f);
}

static const char *load_library(struct fixture *f, const char *code, bool replace)
{
    struct bytes v[] = {BYTES("FUNCTION"), BYTES("LOAD"), BYTES("REPLACE"), bytes_str(code)};
    if (!replace) v[2] = v[3];
    return world_run_args(&f->w, v, replace ? 4 : 3);
}

static const char *call(struct fixture *f, const char *function, const char *code)
{
    struct buf text = {0};
    script_put_function(&text, bytes_str(function), bytes_str(code));
    struct bytes v[] = {BYTES("FCALL"), buf_bytes(&text), BYTES("1"), BYTES("k"), BYTES("v")};
    const char *reply = world_run_args(&f->w, v, 5);
    buf_deinit(&text);
    return reply;
}

#define COUNTER                                                                                    \
    "#!lua name=counter\nlocal n = 0\nredis.register_function('count', function(keys, args) n = "  \
    "n + 1 return {n, keys[1], args[1], redis.call('incr', keys[1])} end)"

TEST(functions_begin_anew_with_each_call)
{
    struct fixture f;
    fixture_init(&f);
    assert_string_equal(load_library(&f, COUNTER, false), "'counter'");
    assert_string_equal(load_library(&f, COUNTER, false), "ERR Library 'counter' already exists");
    assert_string_equal(load_library(&f, COUNTER, true), "'counter'");
    assert_string_equal(call(&f, "count", COUNTER), "[1, 'k', 'v', 1]");
    assert_string_equal(call(&f, "count", COUNTER), "[1, 'k', 'v', 2]");
    assert_string_equal(call(&f, "nosuch", COUNTER), "ERR Function not found");
    EXPECT_RUN(&f.w, "FCALL count 0", "ERR Function not found"); /* nobody put its code there */
    fixture_deinit(&f);
}

TEST(a_payload_restores_what_was_dumped)
{
    struct fixture f;
    struct buf dump = {0};
    fixture_init(&f);
    assert_string_equal(load_library(&f, COUNTER, false), "'counter'");
    struct bytes ask[] = {BYTES("FUNCTION"), BYTES("DUMP")};
    struct bytes reply = world_run_raw(&f.w, ask, 2);
    const uint8_t *line = memchr(reply.data, '\n', reply.size);
    buf_append(&dump, line + 1, reply.size - (size_t)(line + 1 - reply.data) - 2);

    struct bytes put[] = {BYTES("FUNCTION"), BYTES("RESTORE"), buf_bytes(&dump), BYTES("APPEND")};
    assert_string_equal(world_run_args(&f.w, put, 4), "ERR Library 'counter' already exists");
    put[3] = BYTES("REPLACE");
    assert_string_equal(world_run_args(&f.w, put, 4), "OK");
    EXPECT_RUN(&f.w, "FUNCTION FLUSH", "OK");
    put[3] = BYTES("FLUSH");
    assert_string_equal(world_run_args(&f.w, put, 4), "OK");
    EXPECT_RUN(&f.w, "FUNCTION STATS",
               "['running_script', nil, 'engines', ['LUA', ['libraries_count', 1, "
               "'functions_count', 1]]]");
    for (size_t i = 0; i < dump.size; i++) { /* a payload of which any byte is wrong is refused */
        dump.data[i] ^= 1;
        assert_string_equal(world_run_args(&f.w, put, 4),
                            "ERR DUMP payload version or checksum are wrong");
        dump.data[i] ^= 1;
    }
    for (size_t size = 0; size < dump.size; size++) {
        put[2] = bytes_of(dump.data, size);
        assert_string_equal(world_run_args(&f.w, put, 4),
                            "ERR DUMP payload version or checksum are wrong");
    }
    buf_deinit(&dump);
    fixture_deinit(&f);
}

/* What a redis-server 7.0.15 dumped: its string is compressed. */
TEST(a_payload_of_redis_is_understood)
{
    struct fixture f;
    fixture_init(&f);
    static const char payload[] =
        "\xf5\xc3\x40\x47\x40\x7b\x1f\x23\x21\x6c\x75\x61\x20\x6e\x61\x6d\x65\x3d\x7a\x7a\x0a"
        "\x72\x65\x64\x69\x73\x2e\x72\x65\x67\x69\x73\x74\x65\x72\x5f\x66\x75\x6e\x0b\x63\x74"
        "\x69\x6f\x6e\x28\x27\x7a\x7a\x27\x2c\x20\xe0\x00\x0e\x0a\x29\x20\x72\x65\x74\x75\x72"
        "\x6e\x20\x27\x61\xe0\x2c\x00\x05\x27\x20\x65\x6e\x64\x29\x0a\x00\x05\x10\xcc\xfc\xfa"
        "\xb1\xfb\x56";
    struct bytes put[] = {BYTES("FUNCTION"), BYTES("RESTORE"),
                          bytes_of(payload, sizeof payload - 1)};
    assert_string_equal(world_run_args(&f.w, put, 3), "OK");
    EXPECT_RUN(
        &f.w, "FUNCTION LIST",
        "[['library_name', 'zz', 'engine', 'LUA', 'functions', [['name', 'zz', 'description', nil, "
        "'flags', []]]]]");
    fixture_deinit(&f);
}

TEST_MAIN
