#include "redis/script.h"
#include "base/sha1.h"
#include "redis/multi.h"
#include "redis/once.h"
#include "redis/types.h"
#include "shard/keys.h"

#define ERR_NOSCRIPT    "NOSCRIPT No matching script. Please use EVAL."
#define ERR_NO_FUNCTION "ERR Function not found"

/* ---- running ---- */

bool script_check_keys(const struct cmd_args *a, struct reply *out)
{
    int64_t keys;
    if (!bytes_to_i64(a->v[2], &keys))
        reply_error(out, a->v[0].data[0] == 'F' || a->v[0].data[0] == 'f'
                             ? "ERR Bad number of keys provided"
                             : ERR_NOT_INTEGER);
    else if (keys > (int64_t)a->count - 3)
        reply_error(out, "ERR Number of keys can't be greater than number of args");
    else if (keys < 0)
        reply_error(out, "ERR Number of keys can't be negative");
    else
        return true;
    return false;
}

static void in_item(void *ctx, const struct command *c, const struct cmd_args *a)
{
    bool *is = ctx;
    (void)a;
    *is |= script_is(c);
}

bool script_is_in(const struct command *c, const struct cmd_args *a)
{
    struct cmd_args request;
    bool is = false;
    c = once_request(c, a, &request);
    if (c->fn == multi_exec)
        multi_commands(&request, in_item, &is);
    else
        is = script_is(c);
    return is;
}

static void run(struct view *v, const struct cmd_args *a, struct script_call *call,
                struct reply *out)
{
    int64_t keys;
    if (!script_check_keys(a, out)) return;
    if (!v->scripts) {
        reply_error(out, "ERR scripts are not run here");
        return;
    }
    (void)bytes_to_i64(a->v[2], &keys);
    call->keys = (struct cmd_args){a->v + 3, (uint32_t)keys};
    call->args = (struct cmd_args){a->v + 3 + keys, a->count - 3 - (uint32_t)keys};
    v->scripts->run(v->scripts, v, call, out);
}

static void eval(struct view *v, const struct cmd_args *a, struct reply *out)
{
    run(v, a, &(struct script_call){.code = a->v[1]}, out);
}

static void eval_ro(struct view *v, const struct cmd_args *a, struct reply *out)
{
    run(v, a, &(struct script_call){.code = a->v[1], .read_only = true}, out);
}

/* It comes to a leader as EVAL: what comes as itself nobody has found. */
static void evalsha(struct view *v, const struct cmd_args *a, struct reply *out)
{
    (void)v, (void)a;
    reply_error(out, ERR_NOSCRIPT);
}

static void call_function(struct view *v, const struct cmd_args *a, bool read_only,
                          struct reply *out)
{
    struct bytes at = a->v[1];
    const uint8_t *end = at.size ? memchr(at.data, '\n', at.size) : NULL;
    if (!end) {
        reply_error(out, ERR_NO_FUNCTION);
        return;
    }
    size_t size = (size_t)(end - at.data);
    run(v, a,
        &(struct script_call){.function = bytes_of(at.data, size),
                              .code = bytes_of(end + 1, at.size - size - 1),
                              .read_only = read_only},
        out);
}

static void fcall(struct view *v, const struct cmd_args *a, struct reply *out)
{
    call_function(v, a, false, out);
}

static void fcall_ro(struct view *v, const struct cmd_args *a, struct reply *out)
{
    call_function(v, a, true, out);
}

void script_put_function(struct buf *out, struct bytes function, struct bytes code)
{
    buf_append_bytes(out, function);
    buf_u8(out, '\n');
    buf_append_bytes(out, code);
}

/* ---- rows of group 0 ---- */

void script_row_key(struct buf *out, uint8_t kind, struct bytes name)
{
    keys_kind(out, 0, KEYS_SCRIPT);
    buf_u8(out, kind);
    buf_append_bytes(out, name);
}

bool script_counts_get(struct view *v, struct script_counts *c)
{
    struct buf key = {0};
    struct bytes value;
    *c = (struct script_counts){0};
    script_row_key(&key, 'v', (struct bytes){0});
    enum view_result found = view_get(v, buf_bytes(&key), &value);
    buf_deinit(&key);
    if (found == VIEW_FOUND) {
        struct reader r = reader_of(value);
        c->version = reader_u64(&r);
        c->scripts = reader_u64(&r);
        c->libraries = reader_u64(&r);
    }
    return found != VIEW_MISS;
}

void script_counts_put(struct view *v, const struct script_counts *c)
{
    struct buf key = {0}, value = {0};
    script_row_key(&key, 'v', (struct bytes){0});
    buf_u64(&value, c->version);
    buf_u64(&value, c->scripts);
    buf_u64(&value, c->libraries);
    view_put(v, buf_bytes(&key), buf_bytes(&value));
    buf_deinit(&key), buf_deinit(&value);
}

bool script_rows(struct view *v, uint8_t kind, view_each *each, void *ctx)
{
    struct buf lo = {0}, hi = {0};
    script_row_key(&lo, kind, (struct bytes){0});
    script_row_key(&hi, (uint8_t)(kind + 1), (struct bytes){0});
    enum view_result r = view_range(v, buf_bytes(&lo), buf_bytes(&hi), false, each, ctx);
    buf_deinit(&lo), buf_deinit(&hi);
    return r != VIEW_MISS;
}

static bool note_key(void *ctx, struct bytes key, struct bytes value)
{
    (void)value;
    buf_blob(ctx, key);
    return true;
}

bool script_rows_delete(struct view *v, uint8_t kind)
{
    struct buf keys = {0};
    bool all = script_rows(v, kind, note_key, &keys);
    struct reader r = reader_of(buf_bytes(&keys));
    while (all && reader_left(&r)) view_del(v, reader_blob(&r));
    buf_deinit(&keys);
    return all;
}

/* ---- SCRIPT ---- */

static void load(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct buf key = {0}, error = {0};
    struct script_counts counts;
    struct bytes body = a->v[2], value;
    char sha[SHA1_HEX];
    sha1_hex(body, sha);
    script_row_key(&key, 's', bytes_of(sha, sizeof sha));
    enum view_result found = view_get(v, buf_bytes(&key), &value);
    if (found == VIEW_MISS || !script_counts_get(v, &counts)) {
        buf_deinit(&key);
        return;
    }
    if (body.size > SCRIPT_CODE_MAX) {
        reply_errorf(out, "ERR a script has at most %u KiB", SCRIPT_CODE_MAX >> 10);
    } else if (!v->scripts || !v->scripts->compiles(v->scripts, body, &error)) {
        buf_u8(&error, 0);
        reply_error(out, (const char *)error.data);
    } else if (found == VIEW_ABSENT && counts.scripts + body.size > SCRIPT_ROWS_MAX) {
        reply_errorf(out, "ERR loaded scripts have at most %u MiB together: SCRIPT FLUSH, or EVAL",
                     SCRIPT_ROWS_MAX >> 20);
    } else {
        if (found == VIEW_ABSENT) {
            counts.scripts += body.size;
            script_counts_put(v, &counts);
            view_put(v, buf_bytes(&key), body);
        }
        reply_bulk(out, bytes_of(sha, sizeof sha));
    }
    buf_deinit(&key), buf_deinit(&error);
}

/* SCRIPT EXISTS sha ...; "+": the asking node knows it. */
static void exists(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct buf key = {0};
    struct bytes value;
    reply_array(out, a->count - 2);
    for (uint32_t i = 2; i < a->count && !v->missed; i++) {
        script_row_key(&key, 's', a->v[i]);
        bool known = bytes_equal(a->v[i], BYTES("+"));
        reply_i64(out, known || view_get(v, buf_bytes(&key), &value) == VIEW_FOUND);
    }
    buf_deinit(&key);
}

bool script_flush_checks(const struct cmd_args *a, struct reply *out, const char *error)
{
    bool good = a->count == 2 || (a->count == 3 && (bytes_equal_nocase(a->v[2], "sync") ||
                                                    bytes_equal_nocase(a->v[2], "async")));
    if (!good) reply_error(out, error);
    return good;
}

static void flush(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct script_counts counts;
    if (!script_flush_checks(a, out, "ERR SCRIPT FLUSH only support SYNC|ASYNC option")) return;
    if (!script_counts_get(v, &counts) || !script_rows_delete(v, 's')) return;
    if (counts.scripts) {
        counts.scripts = 0;
        script_counts_put(v, &counts);
    }
    reply_ok(out);
}

/* SYNOD SCRIPT sha -> its body, or nil. */
static void body_of(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct buf key = {0};
    struct bytes value;
    script_row_key(&key, 's', a->v[2]);
    switch (view_get(v, buf_bytes(&key), &value)) {
    case VIEW_FOUND: reply_bulk(out, value); break;
    case VIEW_ABSENT: reply_nil(out); break;
    case VIEW_MISS: break;
    }
    buf_deinit(&key);
}

/* ---- the table ---- */

#define RUN(name, flags, since, fn, summary, what)                                                 \
    {                                                                                              \
        name, NULL, -3, CMD_SCRIPT | CMD_NUMKEYS | CMD_NOSCRIPT | (flags), 2, 0, 1,                \
            CMD_SPREAD_NONE, fn, "scripting", since, "Depends on the script that is executed",     \
            summary, what " numkeys [key [key ...]] [arg [arg ...]]"                               \
    }
#define WRITES (CMD_WRITE | CMD_DENYOOM)
#define SUB(parent, name, arity, flags, since, complexity, fn, summary, syntax)                    \
    {                                                                                              \
        name, parent, arity, CMD_NOSCRIPT | (flags), 0, 0, 0, CMD_SPREAD_NONE, fn, "scripting",    \
            since, complexity, summary, syntax                                                     \
    }

const struct command script_commands[] = {
    RUN("eval", WRITES, "2.6.0", eval, "Runs a Lua script over any keys, as one transaction",
        "script"),
    RUN("eval_ro", CMD_READONLY, "7.0.0", eval_ro, "The same, of a script that only reads",
        "script"),
    RUN("evalsha", WRITES, "2.6.0", evalsha, "Runs a script that is known by its SHA1", "sha1"),
    RUN("evalsha_ro", CMD_READONLY, "7.0.0", evalsha, "The same, of a script that only reads",
        "sha1"),
    RUN("fcall", WRITES, "7.0.0", fcall, "Calls a function of a library", "function"),
    RUN("fcall_ro", CMD_READONLY, "7.0.0", fcall_ro, "The same, of a function that only reads",
        "function"),
    {"script", NULL, -2, CMD_CONTAINER | CMD_NOSCRIPT, 0, 0, 0, CMD_SPREAD_NONE, NULL, "scripting",
     "2.6.0", "Depends on subcommand", "A container for commands about scripts", ""},
    SUB("script", "exists", -3, CMD_SYSTEM | CMD_READONLY, "2.6.0",
        "O(N) where N is the number of scripts", exists,
        "Which scripts are known: loaded, or met by EVAL at this node", "sha1 [sha1 ...]"),
    SUB("script", "flush", -2, CMD_SYSTEM | CMD_WRITE, "2.6.0",
        "O(N) where N is the number of scripts", flush, "Forgets all scripts that were loaded",
        "[ASYNC | SYNC]"),
    SUB("script", "help", 2, CMD_LOCAL, "5.0.0", "O(1)", NULL,
        "Show helpful text about the different subcommands", ""),
    SUB("script", "kill", 2, CMD_LOCAL, "2.6.0", "O(1)", NULL,
        "Ends the scripts that wait for keys of other groups; nothing of them is done", ""),
    SUB("script", "load", 3, CMD_SYSTEM | CMD_WRITE | CMD_DENYOOM, "2.6.0",
        "O(N) where N is the length of the script", load,
        "Keeps a script for EVALSHA, on all nodes and for good", "script"),
    {"script", "synod", 3, CMD_INTERNAL | CMD_NOSCRIPT | CMD_SYSTEM | CMD_READONLY, 0, 0, 0,
     CMD_SPREAD_NONE, body_of, "cluster", "synod 0.1", "O(1)", "The body of a script", ""},
};
const size_t script_command_count = sizeof script_commands / sizeof *script_commands;
