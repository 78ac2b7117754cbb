/* COMMAND and HELP: what the table says, for clients; and the reference page, for people. */
#include "redis/docs.h"
#include "redis/types.h"
#include "base/assert.h"

#include <ctype.h>

/* ---- walking over the table ---- */

static bool visible(const struct command *c, const char *parent)
{
    if (c->flags & CMD_INTERNAL) return false;
    return parent ? c->parent && strcmp(c->parent, parent) == 0 : !c->parent;
}

/* Visits the rows below `parent`, or the top ones if it is NULL; returns how many there are. */
static size_t each_below(const char *parent, command_each *each, void *ctx)
{
    size_t count = 0;
    for (size_t t = 0; t < COMMAND_ROWS; t++) {
        const struct command *row = command_table[t].row, *end = row + *command_table[t].count;
        for (; row < end; row++) {
            if (!visible(row, parent)) continue;
            count++;
            if (each) each(ctx, row);
        }
    }
    return count;
}

size_t command_children(const struct command *c, command_each *each, void *ctx)
{
    if (c && !(c->flags & CMD_CONTAINER)) return 0;
    return each_below(c ? c->name : NULL, each, ctx);
}

static const struct command *named(struct bytes name)
{
    char text[COMMAND_NAME_MAX];
    if (name.size >= sizeof text) return NULL;
    for (size_t i = 0; i < name.size; i++) text[i] = (char)tolower(name.data[i]);
    text[name.size] = 0;
    const struct command *c = command_named(text);
    return c && !(c->flags & CMD_INTERNAL) ? c : NULL;
}

/* ---- COMMAND INFO ---- */

#define FLAG_NAMES_MAX 12
struct names {
    const char *name[FLAG_NAMES_MAX];
    size_t count;
};

static void name_if(struct names *n, bool condition, const char *name)
{
    ASSERT(n->count < FLAG_NAMES_MAX);
    if (condition) n->name[n->count++] = name;
}

static void reply_names(const struct names *n, struct reply *out)
{
    reply_set(out, n->count);
    for (size_t i = 0; i < n->count; i++) reply_simple(out, n->name[i]);
}

static struct names flag_names(const struct command *c)
{
    struct names n = {0};
    name_if(&n, c->flags & CMD_WRITE, "write");
    name_if(&n, c->flags & CMD_READONLY, "readonly");
    name_if(&n, c->flags & CMD_DENYOOM, "denyoom");
    name_if(&n, c->flags & CMD_ADMIN, "admin");
    name_if(&n, c->flags & CMD_NOSCRIPT, "noscript");
    name_if(&n, c->flags & CMD_LOADING, "loading");
    name_if(&n, c->flags & CMD_FAST, "fast");
    name_if(&n, c->flags & CMD_NUMKEYS, "movablekeys");
    return n;
}

static struct names category_names(const struct command *c)
{
    struct names n = {0};
    name_if(&n, strcmp(c->group, "generic") == 0, "@keyspace");
    name_if(&n, c->flags & CMD_READONLY, "@read");
    name_if(&n, c->flags & CMD_WRITE, "@write");
    name_if(&n, strcmp(c->group, "string") == 0, "@string");
    name_if(&n, strcmp(c->group, "hash") == 0, "@hash");
    name_if(&n, strcmp(c->group, "transactions") == 0, "@transaction");
    name_if(&n, strcmp(c->group, "scripting") == 0, "@scripting");
    name_if(&n, strcmp(c->group, "connection") == 0, "@connection");
    name_if(&n, c->flags & CMD_ADMIN, "@admin");
    name_if(&n, c->flags & CMD_ADMIN, "@dangerous");
    name_if(&n, true, c->flags & CMD_FAST ? "@fast" : "@slow");
    return n;
}

/* Where the keys stand, as Redis 7's key specifications: from an index, a range of them or as many
 * as a number says. */
static void reply_key_spec(const struct command *c, struct reply *out)
{
    bool counted = c->flags & CMD_NUMKEYS;

    reply_map(out, 3);
    reply_bulk_str(out, "flags");
    reply_set(out, 2);
    reply_simple(out, c->flags & CMD_WRITE ? "RW" : "RO");
    reply_simple(out, c->flags & CMD_WRITE ? "update" : "access");
    reply_bulk_str(out, "begin_search");
    reply_map(out, 2);
    reply_bulk_str(out, "type");
    reply_bulk_str(out, "index");
    reply_bulk_str(out, "spec");
    reply_map(out, 1);
    reply_bulk_str(out, "index");
    reply_i64(out, c->first);
    reply_bulk_str(out, "find_keys");
    reply_map(out, 2);
    reply_bulk_str(out, "type");
    reply_bulk_str(out, counted ? "keynum" : "range");
    reply_bulk_str(out, "spec");
    reply_map(out, 3);
    reply_bulk_str(out, counted ? "keynumidx" : "lastkey");
    reply_i64(out, counted ? 0 : c->last < 0 ? c->last : c->last - c->first);
    reply_bulk_str(out, counted ? "firstkey" : "keystep");
    reply_i64(out, counted ? 1 : c->step);
    reply_bulk_str(out, counted ? "keystep" : "limit");
    reply_i64(out, counted);
}

static void reply_info(void *ctx, const struct command *c)
{
    struct reply *out = ctx;
    char name[COMMAND_NAME_MAX];
    struct names flags = flag_names(c), categories = category_names(c);

    command_full_name(c, name);
    reply_array(out, 10);
    reply_bulk_str(out, name);
    reply_i64(out, c->arity);
    reply_names(&flags, out);
    reply_i64(out, c->flags & CMD_NUMKEYS ? 0 : c->first);
    reply_i64(out, c->flags & CMD_NUMKEYS ? 0 : c->last);
    reply_i64(out, c->flags & CMD_NUMKEYS ? 0 : c->step);
    reply_names(&categories, out);
    reply_array(out, 0); /* tips */
    reply_array(out, c->first > 0);
    if (c->first > 0) reply_key_spec(c, out);
    reply_array(out, command_children(c, NULL, NULL));
    (void)command_children(c, reply_info, out);
}

static void command_info(const struct cmd_args *a, struct reply *out)
{
    if (a->count == 2) {
        reply_array(out, each_below(NULL, NULL, NULL));
        (void)each_below(NULL, reply_info, out);
        return;
    }
    reply_array(out, a->count - 2);
    for (uint32_t i = 2; i < a->count; i++) {
        const struct command *c = named(a->v[i]);
        if (c)
            reply_info(out, c);
        else
            reply_nil_array(out);
    }
}

/* ---- COMMAND DOCS and LIST ---- */

static void reply_docs(void *ctx, const struct command *c)
{
    docs_command(c, ctx);
}

static void command_docs(const struct cmd_args *a, struct reply *out)
{
    size_t known = 0;
    if (a->count == 2) {
        reply_map(out, each_below(NULL, NULL, NULL));
        (void)each_below(NULL, reply_docs, out);
        return;
    }
    for (uint32_t i = 2; i < a->count; i++) known += named(a->v[i]) != NULL;
    reply_map(out, known);
    for (uint32_t i = 2; i < a->count; i++)
        if (named(a->v[i])) docs_command(named(a->v[i]), out);
}

struct list {
    struct reply *out;
    struct bytes pattern, category;
    size_t count;
    bool by_pattern, by_category, by_module, counting;
};

static bool list_has(const struct list *l, const struct command *c)
{
    struct names n = category_names(c);
    if (l->by_module) return false; /* no command comes from a module */
    if (l->by_pattern) return bytes_glob(l->pattern, bytes_str(c->name), true);
    if (!l->by_category) return true;
    for (size_t i = 0; i < n.count; i++)
        if (bytes_equal_nocase(l->category, n.name[i] + 1)) return true;
    return false;
}

static void list_each(void *ctx, const struct command *c)
{
    struct list *l = ctx;
    if (!list_has(l, c)) return;
    l->count++;
    if (!l->counting) reply_bulk_str(l->out, c->name);
}

static void command_list(const struct cmd_args *a, struct reply *out)
{
    struct list l = {.out = out, .counting = true};

    if (a->count != 2) {
        bool filter = a->count == 5 && bytes_equal_nocase(a->v[2], "filterby");
        l.by_pattern = filter && bytes_equal_nocase(a->v[3], "pattern");
        l.by_category = filter && bytes_equal_nocase(a->v[3], "aclcat");
        l.by_module = filter && bytes_equal_nocase(a->v[3], "module");
        if (!l.by_pattern && !l.by_category && !l.by_module) {
            reply_error(out, ERR_SYNTAX);
            return;
        }
        l.pattern = l.category = a->v[4];
    }
    (void)each_below(NULL, list_each, &l);
    reply_array(out, l.count);
    l.counting = false;
    (void)each_below(NULL, list_each, &l);
}

/* ---- COMMAND GETKEYS ---- */

struct keys {
    struct reply *out; /* NULL: count only */
    const struct command *command;
    bool flags;
    size_t count;
};

static void keys_each(void *ctx, struct bytes key)
{
    struct keys *k = ctx;
    k->count++;
    if (!k->out) return;
    if (k->flags) reply_array(k->out, 2);
    reply_bulk(k->out, key);
    if (!k->flags) return;
    bool writes = k->command->flags & CMD_WRITE;
    reply_set(k->out, 2);
    reply_simple(k->out, writes ? "RW" : "RO");
    reply_simple(k->out, writes ? "update" : "access");
}

static void command_getkeys(const struct cmd_args *a, struct reply *out, bool flags)
{
    struct cmd_args asked = {a->v + 2, a->count - 2};
    const struct command *c = command_find(&asked, NULL);
    struct keys k = {NULL, c, flags, 0};

    if (!c) {
        reply_error(out, "ERR Invalid command specified");
    } else if (c->first == 0) {
        reply_error(out, "ERR The command has no key arguments");
    } else if (c->arity > 0 ? asked.count != (uint32_t)c->arity
                            : asked.count < (uint32_t)-c->arity) {
        reply_error(out, "ERR Invalid number of arguments specified for command");
    } else if (!command_keys(c, &asked, keys_each, &k)) {
        reply_error(out, "ERR Invalid arguments specified for command");
    } else {
        reply_array(out, k.count);
        k.out = out;
        (void)command_keys(c, &asked, keys_each, &k);
    }
}

void command_command(const struct cmd_args *a, struct reply *out)
{
    struct bytes sub = a->count > 1 ? a->v[1] : BYTES("info");

    if (a->count == 1)
        command_info(&(struct cmd_args){a->v, 2}, out);
    else if (bytes_equal_nocase(sub, "info"))
        command_info(a, out);
    else if (bytes_equal_nocase(sub, "docs"))
        command_docs(a, out);
    else if (bytes_equal_nocase(sub, "list"))
        command_list(a, out);
    else if (bytes_equal_nocase(sub, "count"))
        reply_i64(out, (int64_t)each_below(NULL, NULL, NULL));
    else if (bytes_equal_nocase(sub, "getkeys"))
        command_getkeys(a, out, false);
    else if (bytes_equal_nocase(sub, "getkeysandflags"))
        command_getkeys(a, out, true);
    else if (bytes_equal_nocase(sub, "help"))
        command_help("command", out);
    else
        command_unknown(a, out);
}

/* ---- HELP ---- */

static void put_upper(struct buf *out, const char *text)
{
    for (; *text; text++) buf_u8(out, (uint8_t)toupper(*text));
}

static void reply_line(struct reply *out, struct buf *line)
{
    buf_u8(line, 0);
    reply_simple(out, (const char *)line->data);
    buf_clear(line);
}

static void help_each(void *ctx, const struct command *c)
{
    struct reply *out = ctx;
    struct buf line = {0};

    if (strcmp(c->name, "help") == 0) return; /* comes last */
    put_upper(&line, c->name);
    if (c->syntax[0]) buf_printf(&line, " %s", c->syntax);
    reply_line(out, &line);
    buf_printf(&line, "    %s.", c->summary);
    reply_line(out, &line);
    buf_deinit(&line);
}

void command_help(const char *container, struct reply *out)
{
    const struct command *help = NULL;
    char name[COMMAND_NAME_MAX];
    struct buf line = {0};
    size_t count = each_below(container, NULL, NULL);

    buf_printf(&line, "%s|help", container);
    ASSERT(line.size < sizeof name);
    memcpy(name, line.data, line.size);
    name[line.size] = 0;
    help = command_named(name);
    count -= help != NULL;
    buf_clear(&line);

    reply_array(out, 1 + 2 * count + 2);
    put_upper(&line, container);
    buf_printf(&line, " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    reply_line(out, &line);
    (void)each_below(container, help_each, out);
    reply_simple(out, "HELP");
    reply_simple(out, "    Print this help.");
    buf_deinit(&line);
}

/* ---- the reference page ---- */

static const struct {
    const char *group, *title;
} sections[] = {
    {"string", "Strings"},    {"hash", "Hashes"},
    {"generic", "Keys"},      {"transactions", "Transactions"},
    {"scripting", "Scripts"}, {"snapshots", "Snapshots"},
    {"jobs", "Jobs"},         {"connection", "Connection"},
    {"server", "Server"},     {"cluster", "Cluster"},
};

/* Bars would end the cell. */
static void put_cell(struct buf *out, const char *text)
{
    for (; *text; text++) buf_printf(out, *text == '|' ? "\\|" : "%c", *text);
}

struct page {
    struct buf *out;
    const char *group;
};

static void page_row(void *ctx, const struct command *c)
{
    const struct page *p = ctx;
    struct names flags = flag_names(c);

    if (!(c->flags & CMD_CONTAINER) || c->arity == -1) {
        if (strcmp(c->group, p->group) == 0) {
            buf_printf(p->out, "| **");
            if (c->parent) put_upper(p->out, c->parent), buf_printf(p->out, " ");
            put_upper(p->out, c->name);
            buf_printf(p->out, "**%s", c->syntax[0] ? " " : "");
            put_cell(p->out, c->syntax);
            buf_printf(p->out, " | ");
            put_cell(p->out, c->summary);
            buf_printf(p->out, " | ");
            put_cell(p->out, c->complexity);
            buf_printf(p->out, " | %s |", c->since);
            for (size_t i = 0; i < flags.count; i++) buf_printf(p->out, " %s", flags.name[i]);
            buf_printf(p->out, " |\n");
        }
    }
    (void)command_children(c, page_row, ctx);
}

void command_reference(struct buf *out)
{
    buf_printf(
        out, "# Commands\n\n"
             "Made from the command table; do not edit it by hand (`redis_reference >"
             " docs/COMMANDS.md`).\n*Since* is the version of Redis that brought the command, or of"
             " synod where Redis has none like it.\n\n"
             "Limits: keys up to 64 KiB, values up to 32 MiB, requests up to 64 MiB and 1048576"
             " arguments.\n");
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        struct page p = {out, sections[i].group};
        buf_printf(out,
                   "\n## %s\n\n| command | what it does | complexity | since | flags |\n"
                   "|---|---|---|---|---|\n",
                   sections[i].title);
        (void)each_below(NULL, page_row, &p);
    }
}
