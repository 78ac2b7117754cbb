/* COMMAND DOCS. The arguments are parsed out of the row's syntax, whose notation is that of Redis's
 * documentation:
 *
 *   sequence:   item item ...
 *   item:       value | TOKEN value ... | [choice] | <choice> | [value ... ...]
 *   choice:     sequence | sequence ...
 *
 * Values are lower case, tokens are not; a token takes the values that follow it. "x [x ...]" says
 * that x may be repeated. */
#include "redis/docs.h"
#include "redis/types.h"
#include "base/assert.h"

#include <ctype.h>

#define ARGS_MAX  96
#define DEPTH_MAX 6

enum arg_kind { ARG_VALUE, ARG_TOKEN, ARG_ONEOF, ARG_BLOCK };

struct arg {
    uint8_t kind;
    bool optional, multiple;
    struct bytes name, token;
    int16_t child, next; /* indexes into args; -1: none */
};

struct syntax {
    struct reader in;
    struct arg args[ARGS_MAX];
    int16_t count;
    bool bad;
};

/* ---- parsing ---- */

static struct bytes peek_word(struct syntax *s)
{
    while (s->in.at < s->in.end && *s->in.at == ' ') s->in.at++;
    const uint8_t *p = s->in.at;
    if (p < s->in.end && strchr("[]<>|", *p)) return bytes_of(p, 1);
    while (p < s->in.end && !strchr(" []<>|", *p)) p++;
    return bytes_of(s->in.at, (size_t)(p - s->in.at));
}

static bool take(struct syntax *s, const char *word)
{
    struct bytes w = peek_word(s);
    if (!bytes_equal(w, bytes_str(word))) return false;
    s->in.at += w.size;
    return true;
}

static bool is_token(struct bytes word)
{
    return word.size > 0 && (isupper(word.data[0]) || word.data[0] == '*');
}

static bool is_value(struct bytes word)
{
    return word.size > 0 && !is_token(word) && !strchr("[]<>|", word.data[0]) &&
           !bytes_equal(word, BYTES("..."));
}

static int16_t add(struct syntax *s, enum arg_kind kind, struct bytes name, int16_t child)
{
    if (s->count == ARGS_MAX) {
        s->bad = true;
        s->count = 0; /* what is parsed so far is worthless */
    }
    s->args[s->count] =
        (struct arg){.kind = (uint8_t)kind, .name = name, .child = child, .next = -1};
    return s->count++;
}

/* Children of a new block are the last `n` of the list from `first`; it takes their place. Returns
 * the list's new first. */
static int16_t wrap_last(struct syntax *s, int16_t first, int n, struct bytes name)
{
    int total = 0;
    int16_t before = -1, from = first;
    for (int16_t i = first; i >= 0; i = s->args[i].next) total++;
    if (total < n || n < 1) {
        s->bad = true;
        return first;
    }
    for (int i = 0; i < total - n; i++) before = from, from = s->args[from].next;
    if (n > 1) from = add(s, ARG_BLOCK, name, from);
    s->args[from].multiple = true;
    if (before < 0) return from;
    s->args[before].next = from;
    return first;
}

static int16_t parse_choice(struct syntax *s, unsigned depth);
static int16_t parse_values(struct syntax *s);

/* "[x y ...]" right behind "x y": how many items it repeats; 0 if this bracket is none of that kind
 * (nothing is consumed). */
static int take_repeat(struct syntax *s)
{
    const uint8_t *start = s->in.at;
    int n = 0;
    if (take(s, "[")) {
        while (is_value(peek_word(s))) s->in.at += peek_word(s).size, n++;
        if (n > 0 && take(s, "...") && take(s, "]")) return n;
    }
    s->in.at = start;
    return 0;
}

/* Values up to the next token or bracket, repeats included. */
static int16_t parse_values(struct syntax *s)
{
    int16_t first = -1, last = -1;
    int n;
    for (;;) {
        struct bytes word = peek_word(s);
        if (is_value(word)) {
            s->in.at += word.size;
            int16_t arg = add(s, ARG_VALUE, word, -1);
            if (last < 0)
                first = arg;
            else
                s->args[last].next = arg;
            last = arg;
        } else if (first >= 0 && (n = take_repeat(s)) > 0) {
            first = wrap_last(s, first, n, BYTES("data"));
            for (last = first; s->args[last].next >= 0;) last = s->args[last].next;
        } else {
            return first;
        }
    }
}

static int16_t parse_token(struct syntax *s)
{
    struct bytes token = peek_word(s);
    s->in.at += token.size;
    int16_t values = parse_values(s), arg;
    if (values < 0)
        arg = add(s, ARG_TOKEN, token, -1);
    else if (s->args[values].next < 0)
        arg = values;
    else
        arg = add(s, ARG_BLOCK, token, values);
    s->args[arg].token = token;
    return arg;
}

static int16_t parse_bracket(struct syntax *s, unsigned depth)
{
    bool optional = take(s, "[");
    if (!optional) take(s, "<");
    int16_t arg = depth < DEPTH_MAX ? parse_choice(s, depth + 1) : -1;
    if (arg < 0 || !take(s, optional ? "]" : ">")) {
        s->bad = true;
        return -1;
    }
    s->args[arg].optional |= optional;
    return arg;
}

static int16_t parse_sequence(struct syntax *s, unsigned depth)
{
    int16_t first = -1, last = -1;
    while (!s->bad) {
        struct bytes word = peek_word(s);
        int16_t arg;
        if (is_value(word))
            arg = parse_values(s);
        else if (is_token(word))
            arg = parse_token(s);
        else if (bytes_equal(word, BYTES("[")) || bytes_equal(word, BYTES("<")))
            arg = parse_bracket(s, depth);
        else
            break;
        if (arg < 0) break;
        if (last < 0)
            first = arg;
        else
            s->args[last].next = arg;
        for (last = arg; s->args[last].next >= 0;) last = s->args[last].next;
    }
    return first;
}

/* One argument, whatever it takes: a block for a sequence of several, a oneof for several
 * sequences. -1: nothing there. */
static int16_t parse_choice(struct syntax *s, unsigned depth)
{
    int16_t first = -1, last = -1;
    do {
        int16_t arg = parse_sequence(s, depth);
        if (arg < 0) {
            s->bad = true;
            return -1;
        }
        if (s->args[arg].next >= 0) arg = add(s, ARG_BLOCK, BYTES("block"), arg);
        if (last < 0)
            first = arg;
        else
            s->args[last].next = arg;
        last = arg;
    } while (take(s, "|"));
    return s->args[first].next < 0 ? first : add(s, ARG_ONEOF, BYTES("choice"), first);
}

/* The first of the arguments, -1 if there are none. */
static int16_t parse_syntax(struct syntax *s, const char *text)
{
    *s = (struct syntax){.in = reader_of(bytes_str(text))};
    int16_t first = parse_sequence(s, 0);
    if (peek_word(s).size > 0) s->bad = true;
    return s->bad ? -1 : first;
}

bool docs_syntax_ok(const struct command *c)
{
    struct syntax s;
    (void)parse_syntax(&s, c->syntax);
    return !s.bad;
}

/* ---- replying ---- */

static bool in_list(struct bytes name, const char *const *list)
{
    for (; *list; list++)
        if (bytes_equal_nocase(name, *list)) return true;
    return false;
}

static const char *value_type(struct bytes name)
{
    static const char *const keys[] = {"key",    "key1",        "key2", "newkey",
                                       "source", "destination", NULL};
    static const char *const integers[] = {
        "seconds", "milliseconds", "decrement", "count",       "offset",  "cursor",
        "start",   "end",          "len",       "numfields",   "index",   "destination-db",
        "slot",    "protover",     "client-id", "numreplicas", "timeout", NULL};
    static const char *const times[] = {"unix-time-seconds", "unix-time-milliseconds", NULL};
    if (in_list(name, keys)) return "key";
    if (in_list(name, integers)) return "integer";
    if (in_list(name, times)) return "unix-time";
    return bytes_equal(name, BYTES("pattern")) ? "pattern" : "string";
}

static void reply_args(const struct syntax *s, int16_t first, struct reply *out);

static void reply_lower(struct reply *out, struct bytes name)
{
    char text[64];
    size_t size = name.size < sizeof text ? name.size : sizeof text;
    for (size_t i = 0; i < size; i++) text[i] = (char)tolower(name.data[i]);
    reply_bulk(out, bytes_of(text, size));
}

static void reply_arg(const struct syntax *s, const struct arg *a, struct reply *out)
{
    static const char *const types[] = {NULL, "pure-token", "oneof", "block"};
    const char *type = a->kind == ARG_VALUE ? value_type(a->name) : types[a->kind];
    bool flags = a->optional || a->multiple,
         is_key = a->kind == ARG_VALUE && strcmp(type, "key") == 0;

    reply_map(out,
              2 + (a->kind == ARG_VALUE) + is_key + (a->token.size > 0) + flags + (a->child >= 0));
    reply_bulk_str(out, "name");
    reply_lower(out, a->name);
    reply_bulk_str(out, "type");
    reply_bulk_str(out, type);
    if (a->kind == ARG_VALUE) {
        reply_bulk_str(out, "display_text");
        reply_bulk(out, a->name);
    }
    if (is_key) {
        reply_bulk_str(out, "key_spec_index");
        reply_i64(out, 0);
    }
    if (a->token.size > 0) {
        reply_bulk_str(out, "token");
        reply_bulk(out, a->token);
    }
    if (flags) {
        reply_bulk_str(out, "flags");
        reply_array(out, (size_t)a->optional + a->multiple);
        if (a->optional) reply_simple(out, "optional");
        if (a->multiple) reply_simple(out, "multiple");
    }
    if (a->child >= 0) {
        reply_bulk_str(out, "arguments");
        reply_args(s, a->child, out);
    }
}

static void reply_args(const struct syntax *s, int16_t first, struct reply *out)
{
    size_t count = 0;
    for (int16_t i = first; i >= 0; i = s->args[i].next) count++;
    reply_array(out, count);
    for (int16_t i = first; i >= 0; i = s->args[i].next) reply_arg(s, &s->args[i], out);
}

static void reply_text(struct reply *out, const char *name, const char *text)
{
    reply_bulk_str(out, name);
    reply_bulk_str(out, text);
}

static void docs_each(void *ctx, const struct command *c)
{
    docs_command(c, ctx);
}

static void reply_subcommands(const struct command *c, struct reply *out)
{
    reply_bulk_str(out, "subcommands");
    reply_map(out, command_children(c, NULL, NULL));
    (void)command_children(c, docs_each, out);
}

void docs_command(const struct command *c, struct reply *out)
{
    char name[COMMAND_NAME_MAX];
    struct syntax s;
    int16_t args = parse_syntax(&s, c->syntax);
    bool container = c->flags & CMD_CONTAINER;

    command_full_name(c, name);
    reply_bulk_str(out, name);
    reply_map(out, 3 + (c->complexity[0] != 0) + (args >= 0) + container);
    reply_text(out, "summary", c->summary);
    reply_text(out, "since", c->since);
    reply_text(out, "group", c->group);
    if (c->complexity[0]) reply_text(out, "complexity", c->complexity);
    if (args >= 0) {
        reply_bulk_str(out, "arguments");
        reply_args(&s, args, out);
    }
    if (container) reply_subcommands(c, out);
}
