/* Commands that concern keys of any type: existence, expiry, renaming, and what OBJECT and MEMORY
 * tell. */
#include "base/assert.h"
#include "redis/fields.h"
#include "redis/scan.h"
#include "redis/types.h"
#include "shard/keys.h"

/* ---- existence ---- */

/* DEL, UNLINK key [key ...] -> how many were there. The elements of collections are dropped later
 * either way, so both are the same. */
static void cmd_del(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    int64_t deleted = 0;
    for (uint32_t i = 1; i < a->count; i++) {
        if (object_get(v, a->v[i], &o) == OBJECT_MISSED) return;
        deleted += o.type != OBJECT_NONE;
        object_delete(v, &o);
    }
    reply_i64(out, deleted);
}

/* EXISTS, TOUCH key [key ...] -> how many exist, each counted as often as it is named */
static void cmd_exists(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    int64_t there = 0;
    for (uint32_t i = 1; i < a->count; i++) {
        if (object_get(v, a->v[i], &o) == OBJECT_MISSED) return;
        there += o.type != OBJECT_NONE;
    }
    reply_i64(out, there);
}

static void cmd_type(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (object_get(v, a->v[1], &o) == OBJECT_OK) reply_simple(out, object_type_name(o.type));
}

/* ---- expiry ---- */

enum { EXPIRE_NX = 1, EXPIRE_XX = 2, EXPIRE_GT = 4, EXPIRE_LT = 8 };

static bool parse_expire_options(const struct cmd_args *a, int *options, struct reply *out)
{
    *options = 0;
    for (uint32_t i = 3; i < a->count; i++) {
        if (bytes_equal_nocase(a->v[i], "nx")) {
            *options |= EXPIRE_NX;
        } else if (bytes_equal_nocase(a->v[i], "xx")) {
            *options |= EXPIRE_XX;
        } else if (bytes_equal_nocase(a->v[i], "gt")) {
            *options |= EXPIRE_GT;
        } else if (bytes_equal_nocase(a->v[i], "lt")) {
            *options |= EXPIRE_LT;
        } else {
            size_t shown = a->v[i].size < 512 ? a->v[i].size : 512;
            return reply_errorf(out, "ERR Unsupported option %.*s", (int)shown,
                                (const char *)a->v[i].data),
                   false;
        }
    }
    if ((*options & EXPIRE_NX) && *options != EXPIRE_NX)
        return reply_error(out,
                           "ERR NX and XX, GT or LT options at the same time are not compatible"),
               false;
    if ((*options & EXPIRE_GT) && (*options & EXPIRE_LT))
        return reply_error(out, "ERR GT and LT options at the same time are not compatible"), false;
    return true;
}

/* A key without expiry lives for ever: later than any time for GT and LT. */
static bool expire_allowed(int options, int64_t old_ms, int64_t when_ms)
{
    if ((options & EXPIRE_NX) && old_ms >= 0) return false;
    if ((options & EXPIRE_XX) && old_ms < 0) return false;
    if ((options & EXPIRE_GT) && (old_ms < 0 || when_ms <= old_ms)) return false;
    if ((options & EXPIRE_LT) && old_ms >= 0 && when_ms >= old_ms) return false;
    return true;
}

/* The EXPIRE family: unit_ms 1000 or 1, base_ms what the time counts from. A time that has passed
 * deletes the key. */
static void expire(struct view *v, const struct cmd_args *a, struct reply *out, const char *name,
                   int64_t unit_ms, int64_t base_ms)
{
    struct object o;
    int options;
    int64_t when;

    if (!parse_expire_options(a, &options, out)) return;
    if (!bytes_to_i64(a->v[2], &when)) return reply_error(out, ERR_NOT_INTEGER);
    if (__builtin_mul_overflow(when, unit_ms, &when) ||
        __builtin_add_overflow(when, base_ms, &when))
        return reply_errorf(out, ERR_EXPIRE, name);
    if (object_get(v, a->v[1], &o) == OBJECT_MISSED) return;
    if (o.type == OBJECT_NONE || !expire_allowed(options, o.expire_ms, when))
        return reply_i64(out, 0);

    if (when <= v->now_ms)
        object_delete(v, &o);
    else
        object_set_expiry(v, &o, when);
    reply_i64(out, 1);
}

static void cmd_expire(struct view *v, const struct cmd_args *a, struct reply *out)
{
    expire(v, a, out, "expire", 1000, v->now_ms);
}

static void cmd_pexpire(struct view *v, const struct cmd_args *a, struct reply *out)
{
    expire(v, a, out, "pexpire", 1, v->now_ms);
}

static void cmd_expireat(struct view *v, const struct cmd_args *a, struct reply *out)
{
    expire(v, a, out, "expireat", 1000, 0);
}

static void cmd_pexpireat(struct view *v, const struct cmd_args *a, struct reply *out)
{
    expire(v, a, out, "pexpireat", 1, 0);
}

/* The TTL family: -2 no key, -1 no expiry, else the time, counted from base_ms; in seconds it is
 * rounded to the nearest, as Redis does. */
static void ttl(struct view *v, const struct cmd_args *a, struct reply *out, int64_t unit_ms,
                int64_t base_ms)
{
    struct object o;
    if (object_get(v, a->v[1], &o) == OBJECT_MISSED) return;
    if (o.type == OBJECT_NONE) return reply_i64(out, -2);
    if (o.expire_ms < 0) return reply_i64(out, -1);
    int64_t left = o.expire_ms - base_ms;
    reply_i64(out, left / unit_ms + (left % unit_ms >= 500));
}

static void cmd_ttl(struct view *v, const struct cmd_args *a, struct reply *out)
{
    ttl(v, a, out, 1000, v->now_ms);
}

static void cmd_pttl(struct view *v, const struct cmd_args *a, struct reply *out)
{
    ttl(v, a, out, 1, v->now_ms);
}

static void cmd_expiretime(struct view *v, const struct cmd_args *a, struct reply *out)
{
    ttl(v, a, out, 1000, 0);
}

static void cmd_pexpiretime(struct view *v, const struct cmd_args *a, struct reply *out)
{
    ttl(v, a, out, 1, 0);
}

static void cmd_persist(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (object_get(v, a->v[1], &o) == OBJECT_MISSED) return;
    bool had = o.type != OBJECT_NONE && o.expire_ms >= 0;
    if (had) object_set_expiry(v, &o, -1);
    reply_i64(out, had);
}

/* ---- COPY and RENAME ---- */

/* What a copy to another key writes: read first, for the view may not be written while it is
 * walked, and what is borrowed from it ends with the first write. */
struct contents {
    struct buf bytes; /* a string's bytes; a hash's fields as blobs: name, value, ... */
    bool too_large;
};

static bool contents_field(void *ctx, struct bytes name, struct bytes value)
{
    struct contents *c = ctx;
    buf_blob(&c->bytes, name);
    buf_blob(&c->bytes, value);
    c->too_large = c->bytes.size > COMMAND_VALUE_MAX;
    return !c->too_large;
}

/* False: missed, or too large (answered): a log entry has a limit, and these are written by one. */
static bool contents_read(struct view *v, const struct object *from, struct contents *c,
                          struct reply *out)
{
    if (from->type == OBJECT_STRING) {
        buf_append_bytes(&c->bytes, from->string);
        return true;
    }
    if (!fields_each(v, from, (struct bytes){0}, contents_field, c)) return false;
    if (c->too_large)
        reply_error(out, "ERR the key is larger than 32 MiB, the limit of what can be copied");
    return !c->too_large;
}

/* Writes the contents under `to`'s key, which replaces what is there; type, count and expiry are
 * `from`'s. */
static void contents_write(struct view *v, const struct contents *c, const struct object *from,
                           const struct object *to)
{
    if (from->type == OBJECT_STRING) {
        object_put_string(v, to, buf_bytes(&c->bytes), from->expire_ms);
        return;
    }
    fields_write(v, buf_bytes(&c->bytes), from, to);
}

static bool copy_contents(struct view *v, const struct object *from, const struct object *to,
                          struct reply *out)
{
    struct contents c = {0};
    bool ok = contents_read(v, from, &c, out);
    if (ok) contents_write(v, &c, from, to);
    buf_deinit(&c.bytes);
    return ok;
}

/* COPY source destination [DB 0] [REPLACE] -> 1 if copied */
static void cmd_copy(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object from, to;
    bool replace = false;

    for (uint32_t i = 3; i < a->count; i++) {
        int64_t db;
        if (bytes_equal_nocase(a->v[i], "replace")) {
            replace = true;
        } else if (bytes_equal_nocase(a->v[i], "db") && i + 1 < a->count) {
            if (!bytes_to_i64(a->v[++i], &db)) return reply_error(out, ERR_NOT_INTEGER);
            if (db != 0) return reply_error(out, "ERR DB index is out of range");
        } else {
            return reply_error(out, ERR_SYNTAX);
        }
    }
    if (bytes_equal(a->v[1], a->v[2]))
        return reply_error(out, "ERR source and destination objects are the same");
    if (object_get(v, a->v[2], &to) == OBJECT_MISSED ||
        object_get(v, a->v[1], &from) == OBJECT_MISSED)
        return;
    if (from.type == OBJECT_NONE || (to.type != OBJECT_NONE && !replace)) return reply_i64(out, 0);
    if (copy_contents(v, &from, &to, out)) reply_i64(out, 1);
}

/* Gives `from`'s contents to `to`'s key. A hash that stays in its slot keeps its fields where they
 * are, unless they are in the meta record: only that moves. */
static bool rename_object(struct view *v, const struct object *from, const struct object *to,
                          struct reply *out)
{
    if (from->objid == 0 || from->slot != to->slot) {
        if (!copy_contents(v, from, to, out)) return false;
        object_delete(v, from);
    } else {
        struct object bare = *from, moved = *from;
        bare.objid = 0; /* nothing below it is thrown away */
        moved.key = to->key;
        object_delete(v, &bare);
        object_put_collection(v, to, &moved);
    }
    return true;
}

/* RENAME and RENAMENX key newkey. 1: renamed (or, without nx, the same name), 0: newkey exists, -1:
 * answered or missed. */
static int rename_key(struct view *v, const struct cmd_args *a, bool nx, struct reply *out)
{
    struct object from, to;
    if (object_get(v, a->v[2], &to) == OBJECT_MISSED ||
        object_get(v, a->v[1], &from) == OBJECT_MISSED)
        return -1;
    if (from.type == OBJECT_NONE) return reply_error(out, ERR_NO_KEY), -1;
    if (nx && to.type != OBJECT_NONE) return 0;
    if (bytes_equal(from.key, to.key)) return 1;
    return rename_object(v, &from, &to, out) ? 1 : -1;
}

static void cmd_rename(struct view *v, const struct cmd_args *a, struct reply *out)
{
    if (rename_key(v, a, false, out) == 1) reply_ok(out);
}

static void cmd_renamenx(struct view *v, const struct cmd_args *a, struct reply *out)
{
    int renamed = rename_key(v, a, true, out);
    if (renamed >= 0) reply_i64(out, renamed);
}

/* ---- OBJECT and MEMORY ---- */

/* Limits from which Redis keeps a hash in a table, not in a listpack; the names are for tools that
 * ask, the storage is the same. */
#define LISTPACK_FIELDS 512
#define LISTPACK_VALUE  64
#define EMBSTR_BYTES    44

static bool fits_listpack(void *ctx, struct bytes name, struct bytes value)
{
    bool *fits = ctx;
    *fits = name.size <= LISTPACK_VALUE && value.size <= LISTPACK_VALUE;
    return *fits;
}

static const char *hash_encoding(struct view *v, const struct object *o)
{
    bool fits = o->count <= LISTPACK_FIELDS;
    if (!fits) return "hashtable";
    (void)fields_each(v, o, (struct bytes){0}, fits_listpack, &fits);
    return fits ? "listpack" : "hashtable";
}

/* OBJECT ENCODING key: what Redis would call it. */
static void cmd_object_encoding(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    const char *name;
    int64_t n;
    if (object_get(v, a->v[2], &o) == OBJECT_MISSED) return;
    if (o.type == OBJECT_NONE) return reply_nil(out);
    if (o.type == OBJECT_HASH)
        name = hash_encoding(v, &o);
    else if (bytes_to_i64(o.string, &n))
        name = "int";
    else
        name = o.string.size <= EMBSTR_BYTES ? "embstr" : "raw";
    if (!v->missed) reply_bulk_str(out, name);
}

static void cmd_object_refcount(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (object_get(v, a->v[2], &o) == OBJECT_MISSED) return;
    if (o.type == OBJECT_NONE) return reply_nil(out);
    reply_i64(out, 1);
}

/* OBJECT IDLETIME and FREQ: nothing is evicted, so the last use of a key and how often it is used
 * are not kept. */
static void cmd_object_idletime(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (object_get(v, a->v[2], &o) == OBJECT_MISSED) return;
    if (o.type == OBJECT_NONE) return reply_nil(out);
    reply_error(out, "ERR idle time is not tracked: synod does not evict keys");
}

static void cmd_object_freq(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (object_get(v, a->v[2], &o) == OBJECT_MISSED) return;
    if (o.type == OBJECT_NONE) return reply_nil(out);
    reply_error(out, "ERR access frequency is not tracked: synod does not evict keys");
}

#define RECORD_BYTES                                                                               \
    16 /* of a stored record beside its key and value: sequence number, lengths, its part of index \
          and filter */

struct usage {
    uint64_t bytes, fields, limit;
};

static bool usage_field(void *ctx, struct bytes name, struct bytes value)
{
    struct usage *u = ctx;
    u->bytes += KEYS_SUB_HEAD + name.size + value.size + RECORD_BYTES;
    return ++u->fields < u->limit;
}

/* MEMORY USAGE key [SAMPLES n] -> bytes that one replica stores for the key, before compression. A
 * hash is judged by its first n fields (5 if not given, 0: all). */
static void cmd_memory_usage(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    int64_t samples = 5;
    if (a->count != 3 && (a->count != 5 || !bytes_equal_nocase(a->v[3], "samples")))
        return reply_error(out, ERR_SYNTAX);
    if (a->count == 5 && !bytes_to_i64(a->v[4], &samples)) return reply_error(out, ERR_NOT_INTEGER);
    if (samples < 0) return reply_error(out, ERR_SYNTAX);
    if (object_get(v, a->v[2], &o) == OBJECT_MISSED) return;
    if (o.type == OBJECT_NONE) return reply_nil(out);

    uint64_t bytes = KEYS_META_HEAD + o.key.size + 2 + RECORD_BYTES;
    if (o.expire_ms >= 0) bytes += 8 + KEYS_EXPIRY_HEAD + o.key.size + RECORD_BYTES;
    if (o.objid == 0) return reply_i64(out, (int64_t)(bytes + o.string.size));

    struct usage u = {.limit = samples ? (uint64_t)samples : UINT64_MAX};
    if (!fields_each(v, &o, (struct bytes){0}, usage_field, &u)) return;
    ASSERT(u.fields > 0);
    reply_i64(out, (int64_t)(bytes + 16 + u.bytes / u.fields * o.count +
                             u.bytes % u.fields * o.count / u.fields));
}

/* ---- the whole key space ---- */

/* DBSIZE: the group's part of the sum. Keys that are expired but not deleted yet count, as in
 * Redis. */
static void cmd_dbsize(struct view *v, const struct cmd_args *a, struct reply *out)
{
    (void)a;
    reply_i64(out, view_keys(v));
}

/* FLUSHALL, FLUSHDB [ASYNC|SYNC]: one effect for the whole group; the space is given back later
 * either way. */
static void cmd_flush(struct view *v, const struct cmd_args *a, struct reply *out)
{
    if (a->count > 2 || (a->count == 2 && !bytes_equal_nocase(a->v[1], "async") &&
                         !bytes_equal_nocase(a->v[1], "sync")))
        return reply_error(out, ERR_SYNTAX);
    view_wipe(v);
    reply_ok(out);
}

/* ---- rows ---- */

#define KEY           .first = 1, .last = 1, .step = 1, .group = "generic"
#define KEYS_ALL      .first = 1, .last = -1, .step = 1, .group = "generic"
#define KEYS_TWO      .first = 1, .last = 2, .step = 1, .group = "generic"
#define KEY_OF        .first = 2, .last = 2, .step = 1 /* of a subcommand */
#define EXPIRE_SYNTAX "[NX | XX | GT | LT]"

const struct command keys_commands[] = {
    {"countkeysinslot", "cluster", 3, CMD_READONLY, .fn = scan_cmd_countkeysinslot,
     .group = "cluster", .since = "3.0.0",
     .complexity = "O(N) where N is the number of keys in the slot",
     .summary = "Returns the number of keys in a hash slot", .syntax = "slot"},
    {"getkeysinslot", "cluster", 4, CMD_READONLY, .fn = scan_cmd_getkeysinslot, .group = "cluster",
     .since = "3.0.0", .complexity = "O(N) where N is the number of keys asked for",
     .summary = "Returns keys of a hash slot", .syntax = "slot count"},
    {"copy", NULL, -3, CMD_WRITE | CMD_DENYOOM, KEYS_TWO, .fn = cmd_copy, .since = "6.2.0",
     .complexity = "O(N) where N is the size of the value",
     .summary = "Copies a key's value and expiry to another key",
     .syntax = "source destination [DB destination-db] [REPLACE]"},
    {"dbsize", NULL, 1, CMD_READONLY | CMD_FAST, .spread = CMD_SPREAD_SUM, .fn = cmd_dbsize,
     .group = "server", .since = "1.0.0", .complexity = "O(1) in each group",
     .summary = "Returns the number of keys", .syntax = ""},
    {"del", NULL, -2, CMD_WRITE, KEYS_ALL, .fn = cmd_del, .since = "1.0.0",
     .complexity = "O(N) where N is the number of keys", .summary = "Deletes keys",
     .syntax = "key [key ...]"},
    {"exists", NULL, -2, CMD_READONLY | CMD_FAST, KEYS_ALL, .fn = cmd_exists, .since = "1.0.0",
     .complexity = "O(N) where N is the number of keys",
     .summary = "Tells how many of the keys exist", .syntax = "key [key ...]"},
    {"expire", NULL, -3, CMD_WRITE | CMD_FAST, KEY, .fn = cmd_expire, .since = "1.0.0",
     .complexity = "O(1)", .summary = "Sets a key's time to live in seconds",
     .syntax = "key seconds " EXPIRE_SYNTAX},
    {"expireat", NULL, -3, CMD_WRITE | CMD_FAST, KEY, .fn = cmd_expireat, .since = "1.2.0",
     .complexity = "O(1)", .summary = "Sets the Unix time in seconds at which a key expires",
     .syntax = "key unix-time-seconds " EXPIRE_SYNTAX},
    {"expiretime", NULL, 2, CMD_READONLY | CMD_FAST, KEY, .fn = cmd_expiretime, .since = "7.0.0",
     .complexity = "O(1)", .summary = "Returns the Unix time in seconds at which a key expires",
     .syntax = "key"},
    {"flushall", NULL, -1, CMD_WRITE, .spread = CMD_SPREAD_OK, .fn = cmd_flush, .group = "server",
     .since = "1.0.0", .complexity = "O(1) in each group",
     .summary = "Deletes all keys, group by group", .syntax = "[ASYNC | SYNC]"},
    {"flushdb", NULL, -1, CMD_WRITE, .spread = CMD_SPREAD_OK, .fn = cmd_flush, .group = "server",
     .since = "1.0.0", .complexity = "O(1) in each group",
     .summary = "Deletes all keys, group by group", .syntax = "[ASYNC | SYNC]"},
    {"keys", NULL, 2, CMD_READONLY, .spread = CMD_SPREAD_CONCAT, .fn = scan_cmd_keys,
     .group = "generic", .since = "1.0.0", .complexity = "O(N) where N is the number of keys",
     .summary = "Returns the keys that match a pattern", .syntax = "pattern"},
    {"usage", "memory", -3, CMD_READONLY, KEY_OF, .fn = cmd_memory_usage, .group = "server",
     .since = "4.0.0", .complexity = "O(N) where N is the number of samples",
     .summary = "Estimates the bytes that one replica stores for a key",
     .syntax = "key [SAMPLES count]"},
    {"object", NULL, -2, CMD_READONLY | CMD_CONTAINER, .group = "generic", .since = "2.2.3",
     .complexity = "Depends on subcommand", .summary = "Tells how a key is stored", .syntax = ""},
    {"encoding", "object", 3, CMD_READONLY, KEY_OF, .fn = cmd_object_encoding, .group = "generic",
     .since = "2.2.3", .complexity = "O(1); O(N) for a small hash",
     .summary = "Returns what Redis would call the encoding of a key's value", .syntax = "key"},
    {"freq", "object", 3, CMD_READONLY, KEY_OF, .fn = cmd_object_freq, .group = "generic",
     .since = "4.0.0", .complexity = "O(1)",
     .summary = "Always an error: the frequency of access is not tracked", .syntax = "key"},
    {"help", "object", 2, CMD_LOCAL | CMD_LOADING, .group = "generic", .since = "6.2.0",
     .complexity = "O(1)", .summary = "Returns helpful text about the subcommands", .syntax = ""},
    {"idletime", "object", 3, CMD_READONLY, KEY_OF, .fn = cmd_object_idletime, .group = "generic",
     .since = "2.2.3", .complexity = "O(1)",
     .summary = "Always an error: the time of the last access is not tracked", .syntax = "key"},
    {"refcount", "object", 3, CMD_READONLY, KEY_OF, .fn = cmd_object_refcount, .group = "generic",
     .since = "2.2.3", .complexity = "O(1)",
     .summary = "Returns 1 for a key that exists: values are not shared", .syntax = "key"},
    {"persist", NULL, 2, CMD_WRITE | CMD_FAST, KEY, .fn = cmd_persist, .since = "2.2.0",
     .complexity = "O(1)", .summary = "Removes a key's expiry", .syntax = "key"},
    {"pexpire", NULL, -3, CMD_WRITE | CMD_FAST, KEY, .fn = cmd_pexpire, .since = "2.6.0",
     .complexity = "O(1)", .summary = "Sets a key's time to live in milliseconds",
     .syntax = "key milliseconds " EXPIRE_SYNTAX},
    {"pexpireat", NULL, -3, CMD_WRITE | CMD_FAST, KEY, .fn = cmd_pexpireat, .since = "2.6.0",
     .complexity = "O(1)", .summary = "Sets the Unix time in milliseconds at which a key expires",
     .syntax = "key unix-time-milliseconds " EXPIRE_SYNTAX},
    {"pexpiretime", NULL, 2, CMD_READONLY | CMD_FAST, KEY, .fn = cmd_pexpiretime, .since = "7.0.0",
     .complexity = "O(1)",
     .summary = "Returns the Unix time in milliseconds at which a key expires", .syntax = "key"},
    {"pttl", NULL, 2, CMD_READONLY | CMD_FAST, KEY, .fn = cmd_pttl, .since = "2.6.0",
     .complexity = "O(1)", .summary = "Returns a key's time to live in milliseconds",
     .syntax = "key"},
    {"randomkey", NULL, 1, CMD_READONLY, .spread = CMD_SPREAD_ANY, .fn = scan_cmd_randomkey,
     .group = "generic", .since = "1.0.0", .complexity = "O(1)", .summary = "Returns a random key",
     .syntax = ""},
    {"rename", NULL, 3, CMD_WRITE, KEYS_TWO, .fn = cmd_rename, .since = "1.0.0",
     .complexity = "O(1) within a slot, else O(N) where N is the size of the value",
     .summary = "Renames a key, replacing the destination", .syntax = "key newkey"},
    {"renamenx", NULL, 3, CMD_WRITE | CMD_FAST, KEYS_TWO, .fn = cmd_renamenx, .since = "1.0.0",
     .complexity = "O(1) within a slot, else O(N) where N is the size of the value",
     .summary = "Renames a key if no key has the new name", .syntax = "key newkey"},
    {"scan", NULL, -2, CMD_READONLY, .spread = CMD_SPREAD_CURSOR, .fn = scan_cmd_scan,
     .group = "generic", .since = "2.8.0", .complexity = "O(COUNT) a call",
     .summary = "Walks over the keys",
     .syntax = "cursor [MATCH pattern] [COUNT count] [TYPE type]"},
    {"touch", NULL, -2, CMD_READONLY | CMD_FAST, KEYS_ALL, .fn = cmd_exists, .since = "3.2.1",
     .complexity = "O(N) where N is the number of keys",
     .summary = "Tells how many of the keys exist (as EXISTS: no access time is kept)",
     .syntax = "key [key ...]"},
    {"ttl", NULL, 2, CMD_READONLY | CMD_FAST, KEY, .fn = cmd_ttl, .since = "1.0.0",
     .complexity = "O(1)", .summary = "Returns a key's time to live in seconds", .syntax = "key"},
    {"type", NULL, 2, CMD_READONLY | CMD_FAST, KEY, .fn = cmd_type, .since = "1.0.0",
     .complexity = "O(1)", .summary = "Returns the type of a key's value", .syntax = "key"},
    {"unlink", NULL, -2, CMD_WRITE | CMD_FAST, KEYS_ALL, .fn = cmd_del, .since = "4.0.0",
     .complexity = "O(N) where N is the number of keys", .summary = "Deletes keys",
     .syntax = "key [key ...]"},
};
const size_t keys_command_count = sizeof keys_commands / sizeof *keys_commands;
