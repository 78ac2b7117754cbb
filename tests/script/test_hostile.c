/* Scripts that mean harm: they end, they leave nothing, and the next one finds everything as it was
 * (INV-SCRIPT-1, 2, 3). */
#include "fixture.h"

static void hostile_init(struct fixture *f)
{
    fixture_init(f);
    f->w.once = true; /* each of them is long enough once */
    *script_engine_limits(f->e) = (struct script_limits){
        .steps = 2000000, .memory = 8 << 20, .cache_bytes = 1 << 20, .cache_count = 100};
}

/* ---- those that do not end ---- */

static const char *const endless[] = {
    "while true do end",
    "repeat local x = {} until false",
    "for i = 1, 1e18 do end",
    "while true do pcall(error) end",
    "while true do pcall(function() while true do end end) end",
    "while true do pcall(pcall, pcall, error) end",
    "while true do xpcall(function() while true do end end, function() while true do end end) end",
    "local function f() pcall(f) f() end while true do pcall(f) end",
    "while true do local c = coroutine.create(function() while true do end end) "
    "coroutine.resume(c) end",
    "local c = coroutine.wrap(function() while true do coroutine.yield() end end) while true do "
    "c() end",
    "while true do pcall(coroutine.wrap(function() while true do end end)) end",
    "local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end}) while true do "
    "pcall(function() return t[1] end) end",
    "local t = setmetatable({}, {__eq = function() while true do end end}) return t == "
    "setmetatable({}, getmetatable(t))",
    "local t = setmetatable({}, {__concat = function() while true do end end}) return t .. 'x'",
    "local t = setmetatable({}, {__tostring = function() while true do end end}) return "
    "tostring(t)",
    "table.sort({1, 2, 3, 4}, function() while true do end end)",
    "while true do pcall(table.sort, {3, 1, 2}, function() error('x') end) end",
    "string.gsub('x', 'x', function() while true do end end)",
    "while true do string.gsub(('x'):rep(1000), 'x', 'y') end",
    "return string.find(('a'):rep(5000), ('a*'):rep(20) .. 'b')",
    "return string.match(('a'):rep(5000), ('a-'):rep(20) .. 'b')",
    "return string.find(('('):rep(100000), '%b()')" /* ends, or does not in time: both will do */,
    "while true do pcall(string.find, ('a'):rep(5000), ('a?'):rep(50) .. ('a'):rep(50)) end",
    "while true do loadstring(('x = 1 '):rep(1000)) end",
    "local t = {} for i = 1, 1e5 do t[i] = i end while true do cjson.encode(t) end",
    "local s = cjson.encode({1, 2, 3, {}, 'x'}) while true do cjson.decode(s) end",
    "while true do pcall(cjson.decode, ('['):rep(100)) end",
    "while true do cmsgpack.unpack(cmsgpack.pack({1, 2, {3}})) end",
    "while true do struct.pack('i4', 1) end",
    "while true do redis.sha1hex(('x'):rep(10000)) end",
    "while true do redis.log(redis.LOG_DEBUG, 'x') end",
    "while true do redis.pcall('get', 'a') end",
    "while true do redis.pcall('nosuch') end",
    "while true do pcall(redis.call) end",
    "while true do collectgarbage() end",
    "local function f() return f() end f()",
    "load(function() return 'x = 1 ' end)",
};

TEST(what_does_not_end_is_ended)
{
    struct fixture f;
    hostile_init(&f);
    for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
        struct buf code = {0};
        buf_printf(&code, "redis.call('set', 'a', 1) %s", endless[i]);
        buf_u8(&code, 0);
        const char *reply = fixture_eval(&f, (const char *)code.data);
        bool ended = strncmp(reply, "ERR ", 4) == 0;
        if (!ended && !strstr(endless[i], "%b()"))
            fail_msg("%s\n  answers %.200s", endless[i], reply);
        if (ended) EXPECT_RUN(&f.w, "EXISTS a", "0");
        EXPECT_RUN(&f.w, "DEL a", ended ? "0" : "1");
        buf_deinit(&code);
    }
    expect_error(&f, "while true do pcall(error) end", "ran for more than 2 million instructions");
    EXPECT_EVAL(&f, "return 'well'", "'well'");
    fixture_deinit(&f);
}

/* A clock ends it, too; it stands still while there is nothing to look at. */
static uint64_t passing(void *ctx)
{
    return *(uint64_t *)ctx += 1000000;
}

TEST(a_clock_ends_what_takes_too_long)
{
    struct fixture f;
    uint64_t now = 7;
    fixture_init(&f);
    struct script_engine *e = script_engine_new(&(struct script_host){.now = passing, .ctx = &now});
    script_engine_limits(e)->time_ns = 50 * 1000000ull;
    f.w.scripts = script_engine_runner(e);
    expect_error(&f, "redis.call('set', 'a', 1) while true do end",
                 "ran for more than 50 ms and was stopped; nothing was changed");
    assert_true(now < 300 * 1000000ull);
    EXPECT_RUN(&f.w, "EXISTS a", "0");
    script_engine_free(e);
    fixture_deinit(&f);
}

/* ---- those that want all memory ---- */

static const char *const greedy[] = {
    "local s = 'x' while true do s = s .. s end",
    "return string.rep('x', 1e9)",
    "local t = {} while true do t[#t + 1] = {} end",
    "local t = {} for i = 1, 1e9 do t[i] = i end",
    "local t = {} while true do t[#t + 1] = ('x'):rep(100000) .. #t end",
    "local t = {} for i = 1, 100 do t[i] = ('x'):rep(1000000) end return table.concat(t)",
    "return string.gsub(('x'):rep(1e6), 'x', ('y'):rep(1000))",
    "return string.format(('%s'):rep(100), ('x'):rep(1e6))",
    "local t = {} for i = 1, 40 do t = {t, t} end return cjson.encode(t)",
    "local t = {} for i = 1, 15 do t = {t, t, t, t} end return cmsgpack.pack(t, t)",
    "return struct.pack(('c0'):rep(100), unpack((function() local t = {} for i = 1, 100 do t[i] = "
    "('x'):rep(1e6) end return t end)()))",
    "return #struct.pack('c99999999', 'x')",
    "return cmsgpack.unpack('\\221\\255\\255\\255\\255')",
    "return {unpack({}, 1, 1e7)}",
    "return {unpack({}, -2147483648, 2147483647)}",
    "return select('#', unpack({}, 1, 1e6))",
    "return string.char(unpack({}, 1, 1e5))",
    "local function f(...) return f(1, ...) end return f()",
    "local function f() return 1 + f() end return f()",
    "return coroutine.wrap(function() local function f() return 1 + f() end return f() end)()",
    "local function f() return coroutine.wrap(f)() end return f()",
    "local t = {} for i = 1, 1e6 do t[i] = coroutine.create(function() end) end",
    "return loadstring(('('):rep(1e5))()",
    "return loadstring(('{'):rep(1e5))()",
    "return loadstring('return ' .. ('-'):rep(1e5) .. '1')()()",
    "return cjson.decode(('['):rep(1e6))",
    "return string.find('x', ('('):rep(1e5))",
    "return string.find(('x'):rep(1e5), '(.-)' .. ('(x)'):rep(40))",
    "local t = {} t[1] = t error(t)",
    "error(setmetatable({}, {__tostring = function() error('x') end}))",
};

TEST(what_wants_all_memory_gets_an_error)
{
    struct fixture f;
    hostile_init(&f);
    EXPECT_EVAL(&f, "return 1", "1");
    size_t before = script_engine_memory(f.e);
    for (size_t i = 0; i < sizeof greedy / sizeof *greedy; i++) {
        const char *reply = fixture_eval(&f, greedy[i]);
        if (strncmp(reply, "ERR ", 4) != 0) fail_msg("%s\n  answers %.200s", greedy[i], reply);
        assert_true(script_engine_memory(f.e) < before + (20u << 20));
    }
    expect_error(&f, greedy[0], "not enough memory");
    EXPECT_EVAL(&f, "return #('x'):rep(1e6)", "1000000");
    fixture_deinit(&f);
}

/* With all the memory that they may have they would use up the C stack. */
TEST(coroutines_in_each_other_are_counted)
{
    struct fixture f;
    hostile_init(&f);
    script_engine_limits(f.e)->memory = 512 << 20;
    script_engine_limits(f.e)->steps = SCRIPT_STEPS;
    expect_error(&f, "local function f() return coroutine.wrap(f)() end return f()",
                 "C stack overflow");
    expect_error(&f,
                 "local function f() return select(2, "
                 "assert(coroutine.resume(coroutine.create(f)))) end return f()",
                 "C stack overflow");
    EXPECT_EVAL(&f,
                "local n = 0 local function f() n = n + 1 if n < 100 then coroutine.wrap(f)() end "
                "end f() return n",
                "100");
    fixture_deinit(&f);
}

/* ---- those whose answer has no end ---- */

static enum view_result nothing_there(void *ctx, struct bytes key, struct bytes *value)
{
    (void)ctx, (void)key, (void)value;
    return VIEW_ABSENT;
}

static enum view_result no_rows(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                                view_each *each, void *each_ctx)
{
    (void)ctx, (void)lo, (void)hi, (void)reverse, (void)each, (void)each_ctx;
    return VIEW_ABSENT;
}

static enum view_result missing(void *ctx, struct bytes key, struct bytes *value)
{
    int *asked = ctx;
    (void)key, (void)value;
    ++*asked;
    return VIEW_MISS;
}

/* Runs it on a view as a node does, and leaves that as it is then. */
static void run_on(struct fixture *f, struct view *v, const struct view_source *source,
                   const char *code, struct buf *out)
{
    struct script_call call = {.code = bytes_str(code)};
    view_begin(v, source, 0, 1, 1, 0, 16384);
    v->reply = out;
    v->reply_max = 1 << 20;
    buf_clear(out);
    script_engine_runner(f->e)->run(script_engine_runner(f->e), v, &call, &(struct reply){out, 2});
}

TEST(an_answer_without_end_is_refused)
{
    struct fixture f;
    struct view v;
    struct buf out = {0};
    struct view_source source = {nothing_there, no_rows, NULL};
    hostile_init(&f);
    view_init(&v);
    static const char *const code[] = {
        "local t = {} for i = 1, 15 do t = {t, t, 'some text that is repeated'} end "
        "redis.call('set', 'a', 1) return t",
        "local s = ('x'):rep(1000000) return {s, s}",
        "return ('x'):rep(2000000)",
    };
    for (size_t i = 0; i < 3; i++) {
        run_on(&f, &v, &source, code[i], &out);
        bool refused = v.refused == VIEW_REPLY_TOO_LARGE ||
                       out.size > v.reply_max; /* which whoever runs sees */
        if (!refused) fail_msg("%s: %.100s", code[i], (const char *)out.data);
    }
    run_on(&f, &v, &source, "local t = {} t[1] = t return t", &out);
    buf_u8(&out, 0);
    assert_non_null(strstr((const char *)out.data, "-ERR reached lua stack limit"));
    view_deinit(&v);
    buf_deinit(&out);
    fixture_deinit(&f);
}

/* ---- a run that missed ---- */

TEST(nothing_catches_a_miss)
{
    static const char *const code[] = {
        "redis.call('get', 'a')",
        "redis.pcall('get', 'a') redis.pcall('get', 'b') return 1",
        "pcall(redis.call, 'get', 'a') pcall(redis.call, 'get', 'b') return 1",
        "xpcall(function() redis.call('get', 'a') end, function() redis.call('get', 'b') end) "
        "redis.call('get', 'c')",
        "coroutine.resume(coroutine.create(function() redis.call('get', 'a') end)) "
        "redis.call('get', 'b')",
        "pcall(coroutine.wrap(function() redis.call('get', 'a') end)) redis.call('get', 'b')",
        "pcall(pcall, pcall, redis.call, 'get', 'a') redis.call('get', 'b')",
        "string.gsub('xx', 'x', function() redis.call('get', 'a') end) redis.call('get', 'b')",
        "pcall(table.sort, {2, 1}, function() redis.call('get', 'a') end) redis.call('get', 'b')",
        "local t = setmetatable({}, {__index = function(_, k) return redis.call('get', k) end}) "
        "pcall(function() return t.a end) return t.b",
        "while true do pcall(redis.call, 'get', 'a') end",
    };
    struct fixture f;
    struct view v;
    struct buf out = {0};
    int asked;
    struct view_source source = {missing, no_rows, &asked};
    hostile_init(&f);
    view_init(&v);
    for (size_t i = 0; i < sizeof code / sizeof *code; i++) {
        asked = 0;
        run_on(&f, &v, &source, code[i], &out);
        if (!v.missed || asked != 1 || v.refused) fail_msg("%s: asked %d times", code[i], asked);
    }
    view_deinit(&v);
    buf_deinit(&out);
    fixture_deinit(&f);
}

/* ---- those that change what is there ---- */

/* All that can be reached from _G, by name and kind; what functions do is asked of some. */
#define PORTRAIT                                                                                   \
    "local seen, lines = {}, {} "                                                                  \
    "local function walk(t, name) "                                                                \
    "  if seen[t] then return end "                                                                \
    "  seen[t] = true "                                                                            \
    "  for k, v in pairs(t) do "                                                                   \
    "    local at = name .. '.' .. tostring(k) "                                                   \
    "    local kind = type(v) "                                                                    \
    "    lines[#lines + 1] = at .. '=' .. kind .. ((kind == 'number' or kind == 'string') and "    \
    "tostring(v) or '') "                                                                          \
    "    if kind == 'table' then walk(v, at) end "                                                 \
    "  end "                                                                                       \
    "end "                                                                                         \
    "walk(_G, '_G') walk(getmetatable(''), 'string') table.sort(lines) "                           \
    "lines[#lines + 1] = ('x'):upper() .. cjson.encode({1 / 3}) .. tostring(math.random()) .. "    \
    "tostring(#redis.sha1hex('')) "                                                                \
    "lines[#lines + 1] = tostring(pcall(cjson.encode, {[100] = 1})) .. "                           \
    "tostring(redis.call('get', 'nobody')) "                                                       \
    "return table.concat(lines, '\\n')"

static const char *const meddling[] = {
    "x = 1",
    "_G.x = 1",
    "_G._G = nil",
    "pcall = nil",
    "string.upper = string.lower",
    "string.extra = 1",
    "redis.call = redis.pcall",
    "cjson.null = 1",
    "math.pi = 3",
    "table.insert(_G, 1)",
    "table.insert(string, 1)",
    "table.insert(redis, 1, 'x')",
    "rawset(_G, 'x', 1)",
    "rawset(string, 'upper', nil)",
    "rawset(getmetatable(''), '__index', nil)",
    "getmetatable('').__index = function() return 'meddled' end",
    "getmetatable('').__add = function() return 7 end",
    "getmetatable(_G).__index = nil",
    "setmetatable(_G, {})",
    "setmetatable(_G, nil)",
    "setmetatable(string, {__index = {}})",
    "setmetatable('', {})",
    "for k, v in pairs(_G) do if type(v) == 'table' then for a in pairs(v) do pcall(function() "
    "v[a] = nil end) end end end",
    "for k, v in pairs(string) do string[k] = nil end",
    "local t = select(2, pairs(string)) t.upper = nil t.extra = 1",
    "table.sort(string) table.remove(_G) table.remove(redis)",
    "table.foreach(_G, function(k) rawset(_G, k, nil) end)",
    "cjson.encode_number_precision(3) cjson.encode_sparse_array(true) cjson.encode_max_depth(1)",
    "math.randomseed(5) math.random()",
    "redis.setresp(3)",
    "collectgarbage('stop')",
    "collectgarbage('setpause', 1)",
    "loadstring('y = 1')()",
    "loadstring('getfenv().y = 1')()",
    "load(function() return nil end)",
    "local f = loadstring('return setfenv') f()(0, {})",
    "KEYS.extra = 1 ARGV[1] = 'other' KEYS = nil",
    "coroutine.wrap(function() rawset(_G, 'x', 1) end)()",
    "coroutine.create(function() end) return coroutine.running()",
    "string.gsub('x', 'x', function() string.upper = nil end)",
    "newproxy(true)",
    "redis.register_function('f', function() end)",
    "local m = {} m.__gc = function() x = 1 end setmetatable({}, m)",
    "jit.on()",
    "require('os')",
    "package.loaded.string.upper = nil",
    "debug.sethook()",
    "debug.getregistry()",
    "module('x')",
    "io.open('/etc/passwd')",
    "os.execute('true')",
    "os.exit()",
    "dofile('/etc/passwd')",
    "loadfile('/etc/passwd')",
    "ffi.C.exit(1)",
};

TEST(nothing_a_script_does_is_there_in_the_next_run)
{
    struct fixture f;
    hostile_init(&f);
    char *before = strdup(fixture_eval(&f, PORTRAIT));
    assert_non_null(strstr(before, "_G.string.upper=function"));
    assert_null(strstr(before, "_G.os"));
    for (size_t i = 0; i < sizeof meddling / sizeof *meddling; i++) {
        (void)fixture_eval(&f, meddling[i]);
        const char *after = fixture_eval(&f, PORTRAIT);
        if (strcmp(before, after) != 0) fail_msg("%s changes what the next one sees", meddling[i]);
    }
    free(before);
    fixture_deinit(&f);
}

/* Bytecode is not checked by anybody: a crafted one could do anything. */
TEST(no_bytecode_is_loaded)
{
    struct fixture f;
    hostile_init(&f);
    EXPECT_EVAL(&f, "return {type(loadstring(string.dump(function() return 1 end))), 1}",
                "['nil', 1]");
    EXPECT_EVAL(&f,
                "local d = string.dump(function() return 1 end) local done return "
                "{type(load(function() if done then "
                "return nil end done = true return d end)), 1}",
                "['nil', 1]");
    EXPECT_EVAL(&f, "return {type(loadstring(string.dump(function() return 1 end), 'b', 'b')), 1}",
                "['nil', 1]");
    struct bytes ask[] = {BYTES("EVAL"), BYTES("return string.dump(function() return 7 end)"),
                          BYTES("0")};
    struct bytes reply = world_run_raw(&f.w, ask, 3);
    const uint8_t *line = memchr(reply.data, '\n', reply.size);
    struct buf code = {0};
    buf_append(&code, line + 1, reply.size - (size_t)(line + 1 - reply.data) - 2);
    ask[1] = buf_bytes(&code);
    assert_non_null(strstr(world_run_args(&f.w, ask, 3), "Error compiling script"));
    buf_deinit(&code);
    expect_error(&f, "\x1bLJ\x02", "Error compiling script");
    expect_error(&f, "\x1bLua", "Error compiling script");
    fixture_deinit(&f);
}

TEST(code_that_was_met_is_bounded)
{
    struct fixture f;
    struct bytes body;
    char code[100], sha[SHA1_HEX];
    hostile_init(&f);
    script_engine_limits(f.e)->cache_count = 10;
    for (int i = 0; i < 100; i++) {
        snprintf(code, sizeof code, "return %d", i);
        (void)fixture_eval(&f, code);
        assert_true(script_engine_count(f.e) <= 10);
    }
    sha1_hex(bytes_str(code), sha);
    assert_true(script_engine_body(f.e, bytes_of(sha, sizeof sha), &body));
    assert_true(bytes_equal(body, bytes_str(code)));
    sha1_hex(BYTES("return 1"), sha);
    assert_false(script_engine_body(f.e, bytes_of(sha, sizeof sha), &body));
    size_t before = script_engine_memory(f.e);
    for (int i = 0; i < 2000; i++) {
        snprintf(code, sizeof code, "local function f%d() end return {%d}", i, i);
        (void)fixture_eval(&f, code);
    }
    assert_true(script_engine_memory(f.e) < before + (16u << 20));
    script_engine_forget(f.e);
    assert_int_equal(script_engine_count(f.e), 0);
    EXPECT_EVAL(&f, "return 1", "1");
    fixture_deinit(&f);
}

/* Tokens of Lua, each ended by a bar. */
static const char tokens[] =
    "local |t|s|f|=|(|)|{|}|[|]|function |end |return |if |then |while |do |for |in |"
    "pairs|pcall|string|.|:|rep|gsub|find|format|,|1|-1|1e9|'x'|'%s*'|'(.-)'|..|+|#|==|"
    "nil |redis.call|redis.pcall|'get'|'set'|'k'|cjson.encode|cjson.decode|cmsgpack.pack|"
    "cmsgpack.unpack|struct.pack|setmetatable|_G|coroutine.wrap|coroutine.yield|unpack|"
    "table.concat|error|tostring|\n|--[[|]]|goto |::|...|not |and |bit.lshift|"
    "math.random|select|";

static struct bytes any_token(struct prng *random)
{
    const char *at = tokens, *bar;
    uint64_t bars = 0;
    for (const char *c = tokens; *c; c++) bars += *c == '|';
    for (uint64_t n = prng_below(random, bars); n; n--) at = strchr(at, '|') + 1;
    bar = strchr(at, '|');
    return bytes_of(at, (size_t)(bar - at));
}

/* Random tokens of Lua, one after another: whatever comes of it is an answer. */
TEST(random_programs_are_answered)
{
    struct fixture f;
    struct prng random;
    hostile_init(&f);
    script_engine_limits(f.e)->steps = 20000;
    prng_init(&random, 7);
    for (int round = 0; round < 20000; round++) {
        struct buf code = {0};
        for (uint64_t n = prng_below(&random, 30) + 1; n; n--)
            buf_append_bytes(&code, any_token(&random));
        buf_u8(&code, 0);
        assert_non_null(fixture_eval(&f, (const char *)code.data));
        buf_deinit(&code);
    }
    EXPECT_EVAL(&f, "return 'well'", "'well'");
    fixture_deinit(&f);
}

TEST_MAIN
