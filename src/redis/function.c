/* FUNCTION: libraries, which are rows of group 0 (redis/script.h). Every check comes before the
 * first write. */
#include "base/assert.h"
#include "redis/script.h"
#include "redis/types.h"

/* ---- a row ---- */

bool script_library_get(struct bytes row, struct script_library *l)
{
    struct reader r = reader_of(row);
    l->code = reader_blob(&r);
    l->functions = reader_take(&r, reader_left(&r));
    return !r.bad;
}

void script_function_put(struct buf *out, const struct script_function *f)
{
    buf_blob(out, f->name);
    buf_u8(out, f->flags);
    buf_blob(out, f->description);
}

bool script_function_get(struct reader *functions, struct script_function *f)
{
    f->name = reader_blob(functions);
    f->flags = reader_u8(functions);
    f->description = reader_blob(functions);
    return !functions->bad;
}

static struct bytes row_name(struct bytes key)
{
    struct buf head = {0};
    script_row_key(&head, 'f', (struct bytes){0});
    size_t size = head.size;
    buf_deinit(&head);
    return bytes_of(key.data + size, key.size - size);
}

/* ---- adding libraries ---- */

enum policy { APPEND, REPLACE, FLUSH };

/* What a command is about to do: libraries that come, and of which each is checked against those
 * that stay. */
struct adding {
    struct view *v;
    enum policy policy;
    struct buf error;
    bool missed;
    struct script_counts counts;
    struct buf rows; /* blobs: name, row; of those that come */
};

struct clash {
    struct bytes name, functions; /* of the one that comes; functions behind their count */
    struct bytes old;             /* the row with its name */
    struct buf *error;
};

static bool has_function(struct bytes functions, struct bytes name)
{
    struct script_function f;
    struct reader r = reader_of(functions);
    for (uint64_t n = reader_varint(&r); n && script_function_get(&r, &f); n--)
        if (bytes_equal(f.name, name)) return true;
    return false;
}

/* Does another library have one of its functions? */
static bool clash_row(void *ctx, struct bytes key, struct bytes value)
{
    struct clash *c = ctx;
    struct script_library other;
    struct script_function f;
    bool sound = script_library_get(value, &other);
    ASSERT(sound);
    if (bytes_equal(row_name(key), c->name)) {
        c->old = value;
        return true;
    }
    struct reader r = reader_of(c->functions);
    for (uint64_t n = reader_varint(&r); n && script_function_get(&r, &f); n--) {
        if (!has_function(other.functions, f.name)) continue;
        buf_printf(c->error, "ERR Function %.*s already exists", (int)f.name.size,
                   (const char *)f.name.data);
        return false;
    }
    return true;
}

static void put_exists(struct adding *a, struct bytes name)
{
    buf_printf(&a->error, "ERR Library '%.*s' already exists", (int)name.size,
               (const char *)name.data);
}

/* Those that come may clash with each other, too. */
static void clash_new(struct adding *a, struct clash *c)
{
    struct reader r = reader_of(buf_bytes(&a->rows));
    while (reader_left(&r) && !c->error->size) {
        struct buf key = {0};
        script_row_key(&key, 'f', reader_blob(&r));
        struct bytes before = c->old;
        (void)clash_row(c, buf_bytes(&key), reader_blob(&r));
        if (c->old.data != before.data) put_exists(a, c->name);
        buf_deinit(&key);
    }
}

static void check_new(struct adding *a, struct bytes code, struct bytes name,
                      struct bytes functions)
{
    struct clash c = {name, functions, {0}, &a->error};
    clash_new(a, &c);
    if (a->error.size) return;
    if (a->policy != FLUSH) a->missed = !script_rows(a->v, 'f', clash_row, &c);
    if (a->missed || a->error.size) return;
    uint64_t old = c.old.size;
    a->counts.libraries += code.size + functions.size - (old < a->counts.libraries ? old : 0);
    if (a->counts.libraries > SCRIPT_ROWS_MAX)
        buf_printf(&a->error, "ERR libraries have at most %u MiB together: FUNCTION DELETE some",
                   SCRIPT_ROWS_MAX >> 20);
}

/* Said before its code is looked at. */
static bool is_free(struct adding *a, struct bytes name)
{
    struct buf key = {0};
    struct bytes row;
    script_row_key(&key, 'f', name);
    enum view_result found =
        a->policy == APPEND ? view_get(a->v, buf_bytes(&key), &row) : VIEW_ABSENT;
    buf_deinit(&key);
    a->missed = found == VIEW_MISS;
    if (found == VIEW_FOUND) put_exists(a, name);
    return found == VIEW_ABSENT;
}

static bool add(void *ctx, struct bytes code)
{
    struct adding *a = ctx;
    struct script_head head;
    struct buf functions = {0}, row = {0};
    if (code.size > SCRIPT_CODE_MAX)
        buf_printf(&a->error, "ERR a library has at most %u KiB", SCRIPT_CODE_MAX >> 10);
    else if (!a->v->scripts)
        buf_append_bytes(&a->error, BYTES("ERR scripts are not run here"));
    else if (script_head_of_library(code, &head, &a->error) && is_free(a, head.name) &&
             a->v->scripts->describes(a->v->scripts, code, &functions, &a->error))
        check_new(a, code, head.name, buf_bytes(&functions));
    bool fine = !a->missed && !a->error.size;
    if (fine) {
        buf_blob(&row, code);
        buf_append_bytes(&row, buf_bytes(&functions));
        buf_blob(&a->rows, head.name);
        buf_blob(&a->rows, buf_bytes(&row));
    }
    buf_deinit(&functions), buf_deinit(&row);
    return fine;
}

static void put_rows(struct adding *a)
{
    struct buf key = {0};
    struct reader r = reader_of(buf_bytes(&a->rows));
    if (a->policy == FLUSH && !script_rows_delete(a->v, 'f')) return;
    while (reader_left(&r)) {
        script_row_key(&key, 'f', reader_blob(&r));
        view_put(a->v, buf_bytes(&key), reader_blob(&r));
    }
    a->counts.version++;
    script_counts_put(a->v, &a->counts);
    buf_deinit(&key);
}

static bool adding_begin(struct adding *a, struct view *v, enum policy policy)
{
    *a = (struct adding){.v = v, .policy = policy};
    bool there = script_counts_get(v, &a->counts);
    if (policy == FLUSH) a->counts.libraries = 0;
    return there;
}

/* Writes what is to come, or the error. True: it is written. */
static bool adding_end(struct adding *a, struct reply *out)
{
    bool fine = !a->missed && !a->error.size;
    if (fine) {
        put_rows(a);
    } else if (!a->missed) {
        buf_u8(&a->error, 0);
        reply_error(out, (const char *)a->error.data);
    }
    buf_deinit(&a->rows), buf_deinit(&a->error);
    return fine;
}

static void load(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct adding adding;
    struct script_head head;
    uint32_t at = 2;
    bool replace = a->count > 3 && bytes_equal_nocase(a->v[2], "replace");
    at += replace;
    if (at + 1 != a->count) {
        int size = (int)(a->v[at].size < 128 ? a->v[at].size : 128);
        reply_errorf(out, "ERR Unknown option given: %.*s", size, (const char *)a->v[at].data);
        return;
    }
    if (!adding_begin(&adding, v, replace ? REPLACE : APPEND)) return;
    (void)add(&adding, a->v[at]);
    if (!adding_end(&adding, out)) return;
    struct buf none = {0};
    (void)script_head_of_library(a->v[at], &head, &none);
    reply_bulk(out, head.name);
}

static void restore(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct adding adding;
    enum policy policy = APPEND;
    if (a->count > 4) {
        reply_error(out, "ERR wrong number of arguments for 'function|restore' command");
        return;
    }
    if (a->count == 4 && bytes_equal_nocase(a->v[3], "replace"))
        policy = REPLACE;
    else if (a->count == 4 && bytes_equal_nocase(a->v[3], "flush"))
        policy = FLUSH;
    else if (a->count == 4 && !bytes_equal_nocase(a->v[3], "append")) {
        reply_error(out, "ERR Wrong restore policy given, value should be either FLUSH, APPEND or "
                         "REPLACE.");
        return;
    }
    if (!adding_begin(&adding, v, policy)) return;
    if (!function_dump_read(a->v[2], add, &adding) && !adding.missed && !adding.error.size)
        buf_append_bytes(&adding.error, BYTES("ERR DUMP payload version or checksum are wrong"));
    if (adding_end(&adding, out)) reply_ok(out);
}

/* ---- removing ---- */

static void delete (struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct buf key = {0};
    struct bytes row;
    struct script_counts counts;
    script_row_key(&key, 'f', a->v[2]);
    if (script_counts_get(v, &counts)) {
        switch (view_get(v, buf_bytes(&key), &row)) {
        case VIEW_ABSENT: reply_error(out, "ERR Library not found"); break;
        case VIEW_MISS: break;
        case VIEW_FOUND:
            counts.libraries -= row.size < counts.libraries ? row.size : counts.libraries;
            counts.version++;
            view_del(v, buf_bytes(&key));
            script_counts_put(v, &counts);
            reply_ok(out);
        }
    }
    buf_deinit(&key);
}

static void flush(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct script_counts counts;
    if (!script_flush_checks(a, out, "ERR FUNCTION FLUSH only supports SYNC|ASYNC option")) return;
    if (!script_counts_get(v, &counts) || !script_rows_delete(v, 'f')) return;
    counts.libraries = 0;
    counts.version++;
    script_counts_put(v, &counts);
    reply_ok(out);
}

/* ---- looking ---- */

struct listing {
    struct reply *out;
    struct bytes pattern; /* data NULL: all */
    bool with_code, counting;
    uint64_t libraries, functions;
};

static void list_function(struct reply *out, const struct script_function *f)
{
    reply_map(out, 3);
    reply_bulk_str(out, "name"), reply_bulk(out, f->name);
    reply_bulk_str(out, "description");
    if (f->description.size)
        reply_bulk(out, f->description);
    else
        reply_nil(out);
    reply_bulk_str(out, "flags");
    reply_set(out, (size_t)__builtin_popcount(f->flags));
    for (int i = 0; i < SCRIPT_FLAGS; i++)
        if (f->flags >> i & 1) reply_simple(out, script_flag_name[i]);
}

static bool list_row(void *ctx, struct bytes key, struct bytes value)
{
    struct listing *l = ctx;
    struct script_library lib;
    struct script_function f;
    bool sound = script_library_get(value, &lib);
    ASSERT(sound);
    struct reader r = reader_of(lib.functions);
    uint64_t count = reader_varint(&r);
    if (l->pattern.data && !bytes_glob(l->pattern, row_name(key), true)) return true;
    l->libraries++;
    l->functions += count;
    if (l->counting) return true;
    reply_map(l->out, l->with_code ? 4 : 3);
    reply_bulk_str(l->out, "library_name"), reply_bulk(l->out, row_name(key));
    reply_bulk_str(l->out, "engine"), reply_bulk_str(l->out, "LUA");
    reply_bulk_str(l->out, "functions");
    reply_array(l->out, count);
    for (; count && script_function_get(&r, &f); count--) list_function(l->out, &f);
    if (l->with_code) reply_bulk_str(l->out, "library_code"), reply_bulk(l->out, lib.code);
    return true;
}

static void list(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct listing l = {.out = out, .counting = true};
    for (uint32_t i = 2; i < a->count; i++) {
        if (!l.with_code && bytes_equal_nocase(a->v[i], "withcode")) {
            l.with_code = true;
        } else if (!l.pattern.data && bytes_equal_nocase(a->v[i], "libraryname")) {
            if (++i == a->count) {
                reply_error(out, "ERR library name argument was not given");
                return;
            }
            l.pattern = a->v[i];
        } else {
            int size = (int)(a->v[i].size < 128 ? a->v[i].size : 128);
            reply_errorf(out, "ERR Unknown argument %.*s", size, (const char *)a->v[i].data);
            return;
        }
    }
    if (!script_rows(v, 'f', list_row, &l)) return;
    reply_array(out, l.libraries);
    l.counting = false;
    (void)script_rows(v, 'f', list_row, &l);
}

static void stats(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct listing l = {.out = out, .counting = true};
    (void)a;
    if (!script_rows(v, 'f', list_row, &l)) return;
    reply_map(out, 2);
    reply_bulk_str(out, "running_script"), reply_nil(out);
    reply_bulk_str(out, "engines");
    reply_map(out, 1);
    reply_bulk_str(out, "LUA");
    reply_map(out, 2);
    reply_bulk_str(out, "libraries_count"), reply_i64(out, (int64_t)l.libraries);
    reply_bulk_str(out, "functions_count"), reply_i64(out, (int64_t)l.functions);
}

static bool dump_row(void *ctx, struct bytes key, struct bytes value)
{
    struct script_library lib;
    bool sound = script_library_get(value, &lib);
    (void)key;
    ASSERT(sound);
    function_dump_library(ctx, lib.code);
    return true;
}

static void dump(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct buf payload = {0};
    (void)a;
    function_dump_begin(&payload);
    if (script_rows(v, 'f', dump_row, &payload)) {
        function_dump_end(&payload);
        reply_bulk(out, buf_bytes(&payload));
    }
    buf_deinit(&payload);
}

static bool copy_row(void *ctx, struct bytes key, struct bytes value)
{
    (void)key;
    buf_blob(ctx, value);
    return true;
}

/* SYNOD FUNCTIONS version -> nil, if that is the version of all libraries; else version:8, and
 * their rows (blobs). */
static void functions(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct script_counts counts;
    struct buf all = {0};
    struct reader r = reader_of(a->v[2]);
    uint64_t known = reader_u64(&r);
    if (!script_counts_get(v, &counts)) return;
    if (!r.bad && known == counts.version) {
        reply_nil(out);
        return;
    }
    buf_u64(&all, counts.version);
    if (script_rows(v, 'f', copy_row, &all)) reply_bulk(out, buf_bytes(&all));
    buf_deinit(&all);
}

/* ---- the table ---- */

#define SUB(name, arity, flags, complexity, fn, summary, syntax)                                   \
    {                                                                                              \
        name, "function", arity, CMD_NOSCRIPT | (flags), 0, 0, 0, CMD_SPREAD_NONE, fn,             \
            "scripting", "7.0.0", complexity, summary, syntax                                      \
    }

const struct command function_commands[] = {
    {"function", NULL, -2, CMD_CONTAINER | CMD_NOSCRIPT, 0, 0, 0, CMD_SPREAD_NONE, NULL,
     "scripting", "7.0.0", "Depends on subcommand", "A container for commands about functions", ""},
    SUB("delete", 3, CMD_SYSTEM | CMD_WRITE, "O(1)", delete, "Deletes a library", "library-name"),
    SUB("dump", 2, CMD_SYSTEM | CMD_READONLY, "O(N) where N is the size of all libraries", dump,
        "All libraries as one payload, for FUNCTION RESTORE here or of Redis", ""),
    SUB("flush", -2, CMD_SYSTEM | CMD_WRITE, "O(N) where N is the number of libraries", flush,
        "Deletes all libraries", "[ASYNC | SYNC]"),
    SUB("help", 2, CMD_LOCAL, "O(1)", NULL, "Show helpful text about the different subcommands",
        ""),
    SUB("kill", 2, CMD_LOCAL, "O(1)", NULL,
        "Ends the functions that wait for keys of other groups; nothing of them is done", ""),
    SUB("list", -2, CMD_SYSTEM | CMD_READONLY, "O(N) where N is the number of functions", list,
        "Libraries and their functions", "[LIBRARYNAME library-name-pattern] [WITHCODE]"),
    SUB("load", -3, CMD_SYSTEM | CMD_WRITE | CMD_DENYOOM,
        "O(N) where N is the size of all libraries", load,
        "Keeps a library, on all nodes and for good", "[REPLACE] function-code"),
    SUB("restore", -3, CMD_SYSTEM | CMD_WRITE | CMD_DENYOOM,
        "O(N) where N is the number of functions in the payload", restore,
        "Loads all libraries of a payload", "serialized-value [FLUSH | APPEND | REPLACE]"),
    SUB("stats", 2, CMD_SYSTEM | CMD_READONLY, "O(N) where N is the size of all libraries", stats,
        "How many libraries and functions there are", ""),
    {"functions", "synod", 3, CMD_INTERNAL | CMD_NOSCRIPT | CMD_SYSTEM | CMD_READONLY, 0, 0, 0,
     CMD_SPREAD_NONE, functions, "cluster", "synod 0.1", "O(N)", "All libraries", ""},
};
const size_t function_command_count = sizeof function_commands / sizeof *function_commands;
