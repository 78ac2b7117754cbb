/* Strings: SET and its family, counters, pieces of strings. LCS is in lcs.c. */
#include "redis/lcs.h"
#include "base/assert.h"
#include "redis/object.h"
#include "redis/types.h"

#include <math.h>

/* ---- the options of SET and GETEX ---- */

enum set_option {
    SET_NX = 1 << 0,
    SET_XX = 1 << 1,
    SET_IFEQ = 1 << 2,
    SET_IFNE = 1 << 3,
    SET_GET = 1 << 4,
    SET_KEEPTTL = 1 << 5,
    SET_PERSIST = 1 << 6,
    SET_EX = 1 << 7,
    SET_PX = 1 << 8,
    SET_EXAT = 1 << 9,
    SET_PXAT = 1 << 10,
};
#define SET_TIMES      (SET_EX | SET_PX | SET_EXAT | SET_PXAT)
#define SET_CONDITIONS (SET_NX | SET_XX | SET_IFEQ | SET_IFNE)

struct set_word {
    const char *name;
    uint16_t option;
    uint16_t excludes; /* other options that may not stand beside it */
    bool has_value;
};

static const struct set_word set_words[] = {
    {"ex", SET_EX, (SET_TIMES & ~SET_EX) | SET_KEEPTTL | SET_PERSIST, true},
    {"px", SET_PX, (SET_TIMES & ~SET_PX) | SET_KEEPTTL | SET_PERSIST, true},
    {"exat", SET_EXAT, (SET_TIMES & ~SET_EXAT) | SET_KEEPTTL | SET_PERSIST, true},
    {"pxat", SET_PXAT, (SET_TIMES & ~SET_PXAT) | SET_KEEPTTL | SET_PERSIST, true},
    {"keepttl", SET_KEEPTTL, SET_TIMES | SET_PERSIST, false},
    {"persist", SET_PERSIST, SET_TIMES | SET_KEEPTTL, false},
    {"nx", SET_NX, SET_CONDITIONS & ~SET_NX, false},
    {"xx", SET_XX, SET_CONDITIONS & ~SET_XX, false},
    {"ifeq", SET_IFEQ, SET_CONDITIONS, true},
    {"ifne", SET_IFNE, SET_CONDITIONS, true},
    {"get", SET_GET, 0, false},
};

struct set_options {
    uint16_t given;       /* enum set_option */
    struct bytes time;    /* of EX, PX, EXAT or PXAT */
    struct bytes compare; /* of IFEQ or IFNE */
};

static bool parse_options(const struct cmd_args *a, uint32_t from, unsigned allowed,
                          struct set_options *o)
{
    *o = (struct set_options){0};
    for (uint32_t i = from; i < a->count; i++) {
        const struct set_word *w = set_words,
                              *end = set_words + sizeof set_words / sizeof *set_words;
        while (w < end && !bytes_equal_nocase(a->v[i], w->name)) w++;
        if (w == end || !(w->option & allowed) || (w->excludes & o->given)) return false;
        if (w->has_value && ++i == a->count) return false;
        if (w->option & SET_TIMES) o->time = a->v[i];
        if (w->option & (SET_IFEQ | SET_IFNE)) o->compare = a->v[i];
        o->given |= w->option;
    }
    return true;
}

/* The time of an option as milliseconds since 1970; false: the error is written. */
static bool parse_time(const struct view *v, struct bytes text, unsigned option,
                       const char *command, struct reply *out, int64_t *ms)
{
    int64_t t;
    if (!bytes_to_i64(text, &t)) {
        reply_error(out, ERR_NOT_INTEGER);
        return false;
    }
    bool seconds = option & (SET_EX | SET_EXAT), relative = option & (SET_EX | SET_PX);
    if (t <= 0 || (seconds && __builtin_mul_overflow(t, (int64_t)1000, &t)) ||
        (relative && __builtin_add_overflow(t, v->now_ms, &t))) {
        reply_errorf(out, ERR_EXPIRE, command);
        return false;
    }
    *ms = t;
    return true;
}

/* ---- SET and its family ---- */

static bool condition_holds(const struct object *o, const struct set_options *opt)
{
    bool exists = o->type != OBJECT_NONE;
    if (opt->given & SET_NX) return !exists;
    if (opt->given & SET_XX) return exists;
    if (opt->given & SET_IFEQ) return exists && bytes_equal(o->string, opt->compare);
    if (opt->given & SET_IFNE) return !exists || !bytes_equal(o->string, opt->compare);
    return true;
}

static void reply_string(struct reply *out, const struct object *o)
{
    if (o->type == OBJECT_NONE)
        reply_nil(out);
    else
        reply_bulk(out, o->string);
}

static void strings_set(struct view *v, const struct cmd_args *a, struct reply *out)
{
    const unsigned allowed = SET_TIMES | SET_CONDITIONS | SET_GET | SET_KEEPTTL;
    struct set_options opt;
    struct object o;
    int64_t expire_ms = -1;

    if (!parse_options(a, 3, allowed, &opt)) {
        reply_error(out, ERR_SYNTAX);
        return;
    }
    if ((opt.given & SET_TIMES) && !parse_time(v, opt.time, opt.given, "set", out, &expire_ms))
        return;
    if (object_get(v, a->v[1], &o) == OBJECT_MISSED) return;
    bool compares = opt.given & (SET_GET | SET_IFEQ | SET_IFNE);
    if (compares && o.type != OBJECT_NONE && o.type != OBJECT_STRING) {
        reply_error(out, ERR_WRONGTYPE);
        return;
    }
    bool set = condition_holds(&o, &opt);
    if (opt.given & SET_GET)
        reply_string(out, &o);
    else if (set)
        reply_ok(out);
    else
        reply_nil(out);
    if (opt.given & SET_KEEPTTL) expire_ms = o.expire_ms;
    if (set) object_put_string(v, &o, a->v[2], expire_ms);
}

static void strings_setnx(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (object_get(v, a->v[1], &o) == OBJECT_MISSED) return;
    if (o.type == OBJECT_NONE) object_put_string(v, &o, a->v[2], -1);
    reply_i64(out, o.type == OBJECT_NONE);
}

static void set_with_expiry(struct view *v, const struct cmd_args *a, struct reply *out,
                            unsigned option, const char *command)
{
    struct object o;
    int64_t expire_ms;
    if (!parse_time(v, a->v[2], option, command, out, &expire_ms)) return;
    if (object_get(v, a->v[1], &o) == OBJECT_MISSED) return;
    object_put_string(v, &o, a->v[3], expire_ms);
    reply_ok(out);
}

static void strings_setex(struct view *v, const struct cmd_args *a, struct reply *out)
{
    set_with_expiry(v, a, out, SET_EX, "setex");
}

static void strings_psetex(struct view *v, const struct cmd_args *a, struct reply *out)
{
    set_with_expiry(v, a, out, SET_PX, "psetex");
}

static void strings_get(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (object_get_typed(v, a->v[1], OBJECT_STRING, &o, out) == OBJECT_MISSED) return;
    reply_string(out, &o);
}

static void strings_getex(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct set_options opt;
    struct object o;
    int64_t expire_ms = -1;

    if (!parse_options(a, 2, SET_TIMES | SET_PERSIST, &opt)) {
        reply_error(out, ERR_SYNTAX);
        return;
    }
    if (object_get_typed(v, a->v[1], OBJECT_STRING, &o, out) == OBJECT_MISSED) return;
    if (o.type == OBJECT_NONE) {
        reply_nil(out);
        return;
    }
    if ((opt.given & SET_TIMES) && !parse_time(v, opt.time, opt.given, "getex", out, &expire_ms))
        return;
    reply_bulk(out, o.string);
    if (opt.given == 0) return;
    if (expire_ms >= 0 && expire_ms <= v->now_ms)
        object_delete(v, &o);
    else if (expire_ms >= 0 || o.expire_ms >= 0)
        object_set_expiry(v, &o, expire_ms);
}

static void strings_getdel(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (object_get_typed(v, a->v[1], OBJECT_STRING, &o, out) == OBJECT_MISSED) return;
    reply_string(out, &o);
    object_delete(v, &o);
}

static void strings_getset(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (object_get_typed(v, a->v[1], OBJECT_STRING, &o, out) == OBJECT_MISSED) return;
    reply_string(out, &o);
    object_put_string(v, &o, a->v[2], -1);
}

/* DELEX key [IFEQ value | IFNE value]: deletes if the condition holds (an absent key: never). */
static void strings_delex(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct set_options opt;
    struct object o;

    if (!parse_options(a, 2, SET_IFEQ | SET_IFNE, &opt)) {
        reply_error(out, ERR_SYNTAX);
        return;
    }
    if (object_get(v, a->v[1], &o) == OBJECT_MISSED) return;
    if (opt.given && o.type != OBJECT_NONE && o.type != OBJECT_STRING) {
        reply_error(out, "ERR Key should be of string type if conditions are specified");
        return;
    }
    bool deletes = o.type != OBJECT_NONE && condition_holds(&o, &opt);
    if (deletes) object_delete(v, &o);
    reply_i64(out, deletes);
}

/* ---- several keys ---- */

static void strings_mget(struct view *v, const struct cmd_args *a, struct reply *out)
{
    reply_array(out, a->count - 1);
    for (uint32_t i = 1; i < a->count; i++) {
        struct object o;
        if (object_get(v, a->v[i], &o) == OBJECT_MISSED) return;
        if (o.type == OBJECT_STRING)
            reply_bulk(out, o.string);
        else
            reply_nil(out);
    }
}

/* Sets every pair, in order: a key that is named twice has its last value. */
static bool set_pairs(struct view *v, const struct cmd_args *a)
{
    for (uint32_t i = 1; i + 1 < a->count; i += 2) {
        struct object o;
        if (object_get(v, a->v[i], &o) == OBJECT_MISSED) return false;
        object_put_string(v, &o, a->v[i + 1], -1);
    }
    return true;
}

static void strings_mset(struct view *v, const struct cmd_args *a, struct reply *out)
{
    if (a->count % 2 == 0)
        reply_error(out, "ERR wrong number of arguments for 'mset' command");
    else if (set_pairs(v, a))
        reply_ok(out);
}

static void strings_msetnx(struct view *v, const struct cmd_args *a, struct reply *out)
{
    if (a->count % 2 == 0) {
        reply_error(out, "ERR wrong number of arguments for 'msetnx' command");
        return;
    }
    for (uint32_t i = 1; i < a->count; i += 2) {
        struct object o;
        if (object_get(v, a->v[i], &o) == OBJECT_MISSED) return;
        if (o.type != OBJECT_NONE) {
            reply_i64(out, 0);
            return;
        }
    }
    if (set_pairs(v, a)) reply_i64(out, 1);
}

/* ---- pieces of strings ---- */

static void strings_strlen(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (object_get_typed(v, a->v[1], OBJECT_STRING, &o, out) == OBJECT_MISSED) return;
    reply_i64(out, (int64_t)o.string.size);
}

/* Writes old[0..offset), zeros if it is shorter, then `piece`, then what of old lies behind it; the
 * expiry stays. */
static void write_piece(struct view *v, const struct object *o, size_t offset, struct bytes piece,
                        struct reply *out)
{
    struct bytes old = o->string;
    size_t size = offset + piece.size > old.size ? offset + piece.size : old.size;
    if (size > COMMAND_VALUE_MAX) {
        reply_error(out, ERR_TOO_LARGE);
        return;
    }
    struct buf value = {0};
    uint8_t *p = buf_reserve(&value, size);
    if (old.size) memcpy(p, old.data, old.size);
    if (offset > old.size) memset(p + old.size, 0, offset - old.size);
    if (piece.size) memcpy(p + offset, piece.data, piece.size);
    object_put_string(v, o, bytes_of(p, size), o->expire_ms);
    buf_deinit(&value);
    reply_i64(out, (int64_t)size);
}

static void strings_append(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (object_get_typed(v, a->v[1], OBJECT_STRING, &o, out) == OBJECT_MISSED) return;
    write_piece(v, &o, o.string.size, a->v[2], out);
}

static void strings_setrange(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    int64_t offset;

    if (!bytes_to_i64(a->v[2], &offset)) {
        reply_error(out, ERR_NOT_INTEGER);
        return;
    }
    if (offset < 0) {
        reply_error(out, "ERR offset is out of range");
        return;
    }
    if (object_get_typed(v, a->v[1], OBJECT_STRING, &o, out) == OBJECT_MISSED) return;
    if (a->v[3].size == 0)
        reply_i64(out, (int64_t)o.string.size);
    else if (offset > COMMAND_VALUE_MAX)
        reply_error(out, ERR_TOO_LARGE);
    else
        write_piece(v, &o, (size_t)offset, a->v[3], out);
}

/* Also SUBSTR. Negative places count from the end; what lies outside is cut off. */
static void strings_getrange(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    int64_t start, end;

    if (!bytes_to_i64(a->v[2], &start) || !bytes_to_i64(a->v[3], &end)) {
        reply_error(out, ERR_NOT_INTEGER);
        return;
    }
    if (object_get_typed(v, a->v[1], OBJECT_STRING, &o, out) == OBJECT_MISSED) return;
    int64_t size = (int64_t)o.string.size;
    bool crossed = start < 0 && end < 0 && start > end;
    if (start < 0) start = start + size < 0 ? 0 : start + size;
    if (end < 0) end = end + size < 0 ? 0 : end + size;
    if (end >= size) end = size - 1;
    if (crossed || start > end)
        reply_bulk(out, (struct bytes){0});
    else
        reply_bulk(out, bytes_of(o.string.data + start, (size_t)(end - start + 1)));
}

/* ---- counters ---- */

/* A pure function of view and arguments, as every command: it may be run again after a miss, and
 * every check comes before the first write, so an error leaves no trace. */
static void add(struct view *v, struct bytes key, int64_t delta, struct reply *out)
{
    char text[REPLY_I64_MAX];
    struct object o;
    int64_t sum, old = 0;

    if (object_get_typed(v, key, OBJECT_STRING, &o, out) == OBJECT_MISSED) return;
    if (o.type != OBJECT_NONE && !bytes_to_i64(o.string, &old)) {
        reply_error(out, ERR_NOT_INTEGER);
        return;
    }
    if (__builtin_add_overflow(old, delta, &sum)) {
        reply_error(out, ERR_OVERFLOW);
        return;
    }
    object_put_string(v, &o, bytes_of(text, reply_format_i64(text, sum)), o.expire_ms);
    reply_i64(out, sum);
}

static void strings_incr(struct view *v, const struct cmd_args *a, struct reply *out)
{
    add(v, a->v[1], 1, out);
}

static void strings_decr(struct view *v, const struct cmd_args *a, struct reply *out)
{
    add(v, a->v[1], -1, out);
}

static void strings_incrby(struct view *v, const struct cmd_args *a, struct reply *out)
{
    int64_t delta;
    if (!bytes_to_i64(a->v[2], &delta))
        reply_error(out, ERR_NOT_INTEGER);
    else
        add(v, a->v[1], delta, out);
}

static void strings_decrby(struct view *v, const struct cmd_args *a, struct reply *out)
{
    int64_t delta;
    if (!bytes_to_i64(a->v[2], &delta))
        reply_error(out, ERR_NOT_INTEGER);
    else if (delta == INT64_MIN)
        reply_error(out, "ERR decrement would overflow");
    else
        add(v, a->v[1], -delta, out);
}

static void strings_incrbyfloat(struct view *v, const struct cmd_args *a, struct reply *out)
{
    char text[REPLY_HUMAN_MAX];
    struct object o;
    long double old = 0, delta;

    if (object_get_typed(v, a->v[1], OBJECT_STRING, &o, out) == OBJECT_MISSED) return;
    if ((o.type != OBJECT_NONE && !bytes_to_double(o.string, &old)) ||
        !bytes_to_double(a->v[2], &delta)) {
        reply_error(out, ERR_NOT_FLOAT);
        return;
    }
    if (isnan(old + delta) || isinf(old + delta)) {
        reply_error(out, "ERR increment would produce NaN or Infinity");
        return;
    }
    struct bytes sum = bytes_of(text, reply_format_human(text, old + delta));
    object_put_string(v, &o, sum, o.expire_ms);
    reply_bulk(out, sum);
}

/* ---- rows ---- */

#define STRINGS(name, arity, flags, first, last, step, fn, since, complexity, summary, syntax)     \
    {                                                                                              \
        name, NULL, arity, flags, first, last, step, CMD_SPREAD_NONE, fn, "string", since,         \
            complexity, summary, syntax                                                            \
    }
#define WRITES_FAST (CMD_WRITE | CMD_DENYOOM | CMD_FAST)

const struct command strings_commands[] = {
    STRINGS("append", 3, WRITES_FAST, 1, 1, 1, strings_append, "2.0.0",
            "O(N) where N is the length of the new value", "Append a value to a key", "key value"),
    STRINGS("decr", 2, WRITES_FAST, 1, 1, 1, strings_decr, "1.0.0", "O(1)",
            "Decrement the integer value of a key by one", "key"),
    STRINGS("decrby", 3, WRITES_FAST, 1, 1, 1, strings_decrby, "1.0.0", "O(1)",
            "Decrement the integer value of a key by the given number", "key decrement"),
    STRINGS("delex", -2, CMD_WRITE | CMD_FAST, 1, 1, 1, strings_delex, "8.4.0", "O(1)",
            "Delete a key if its string value is, or is not, equal to the given one",
            "key [IFEQ value | IFNE value]"),
    STRINGS("get", 2, CMD_READONLY | CMD_FAST, 1, 1, 1, strings_get, "1.0.0", "O(1)",
            "Get the value of a key", "key"),
    STRINGS("getdel", 2, CMD_WRITE | CMD_FAST, 1, 1, 1, strings_getdel, "6.2.0", "O(1)",
            "Get the value of a key and delete the key", "key"),
    STRINGS("getex", -2, CMD_WRITE | CMD_FAST, 1, 1, 1, strings_getex, "6.2.0", "O(1)",
            "Get the value of a key and optionally set its expiration",
            "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT "
            "unix-time-milliseconds | PERSIST]"),
    STRINGS("getrange", 4, CMD_READONLY, 1, 1, 1, strings_getrange, "2.4.0",
            "O(N) where N is the length of the value",
            "Get a substring of the string stored at a key", "key start end"),
    STRINGS("getset", 3, WRITES_FAST, 1, 1, 1, strings_getset, "1.0.0", "O(1)",
            "Set the string value of a key and return its old value", "key value"),
    STRINGS("incr", 2, WRITES_FAST, 1, 1, 1, strings_incr, "1.0.0", "O(1)",
            "Increment the integer value of a key by one", "key"),
    STRINGS("incrby", 3, WRITES_FAST, 1, 1, 1, strings_incrby, "1.0.0", "O(1)",
            "Increment the integer value of a key by the given amount", "key increment"),
    STRINGS("incrbyfloat", 3, WRITES_FAST, 1, 1, 1, strings_incrbyfloat, "2.6.0", "O(1)",
            "Increment the float value of a key by the given amount", "key increment"),
    STRINGS(
        "lcs", -3, CMD_READONLY, 1, 2, 1, lcs_command, "7.0.0",
        "O(N*M) where N and M are the lengths of the two values, and N*M is at most 2^25 in synod",
        "Find the longest common substring",
        "key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]"),
    STRINGS("mget", -2, CMD_READONLY | CMD_FAST, 1, -1, 1, strings_mget, "1.0.0",
            "O(N) where N is the number of keys", "Get the values of all the given keys",
            "key [key ...]"),
    STRINGS("mset", -3, CMD_WRITE | CMD_DENYOOM, 1, -1, 2, strings_mset, "1.0.1",
            "O(N) where N is the number of keys", "Set multiple keys to multiple values",
            "key value [key value ...]"),
    STRINGS("msetnx", -3, CMD_WRITE | CMD_DENYOOM, 1, -1, 2, strings_msetnx, "1.0.1",
            "O(N) where N is the number of keys",
            "Set multiple keys to multiple values, only if none of the keys exist",
            "key value [key value ...]"),
    STRINGS("psetex", 4, CMD_WRITE | CMD_DENYOOM, 1, 1, 1, strings_psetex, "2.6.0", "O(1)",
            "Set the value and expiration in milliseconds of a key", "key milliseconds value"),
    STRINGS("set", -3, CMD_WRITE | CMD_DENYOOM, 1, 1, 1, strings_set, "1.0.0", "O(1)",
            "Set the string value of a key",
            "key value [NX | XX | IFEQ compare-value | IFNE compare-value] [GET] "
            "[EX seconds | PX milliseconds | "
            "EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]"),
    STRINGS("setex", 4, CMD_WRITE | CMD_DENYOOM, 1, 1, 1, strings_setex, "2.0.0", "O(1)",
            "Set the value and expiration of a key", "key seconds value"),
    STRINGS("setnx", 3, WRITES_FAST, 1, 1, 1, strings_setnx, "1.0.0", "O(1)",
            "Set the value of a key, only if the key does not exist", "key value"),
    STRINGS("setrange", 4, CMD_WRITE | CMD_DENYOOM, 1, 1, 1, strings_setrange, "2.2.0",
            "O(N) where N is the length of the value",
            "Overwrite part of a string at key starting at the specified offset",
            "key offset value"),
    STRINGS("strlen", 2, CMD_READONLY | CMD_FAST, 1, 1, 1, strings_strlen, "2.2.0", "O(1)",
            "Get the length of the value stored in a key", "key"),
    STRINGS("substr", 4, CMD_READONLY, 1, 1, 1, strings_getrange, "1.0.0",
            "O(N) where N is the length of the value",
            "Get a substring of the string stored at a key", "key start end"),
};
const size_t strings_command_count = sizeof strings_commands / sizeof *strings_commands;
