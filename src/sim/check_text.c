/* The text format of histories (check_linear.h). */
#include "base/assert.h"
#include "sim/check_linear.h"

#include <ctype.h>

static const char *const kind_names[CHECK_KINDS] = {"read", "write",  "put",  "create", "swap",
                                                    "cas",  "delete", "take", "add"};

/* Arguments that stand in the line. */
static int kind_arguments(uint8_t kind)
{
    if (kind == CHECK_READ || kind == CHECK_DELETE || kind == CHECK_TAKE) return 0;
    return kind == CHECK_CAS ? 2 : 1;
}

/* ---- writing ---- */

static bool plain(uint8_t c)
{
    return isalnum(c) || (c && strchr("_.:{}+-", c));
}

static bool is_reserved(struct bytes s)
{
    static const char *const words[] = {"nil", "ok", "-", "->"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (bytes_equal(s, bytes_str(words[i]))) return true;
    return false;
}

static void write_word(struct bytes s, struct buf *out)
{
    bool bare = s.size > 0 && !is_reserved(s);
    for (size_t i = 0; i < s.size && bare; i++) bare = plain(s.data[i]);
    if (bare) {
        buf_append_bytes(out, s);
        return;
    }
    buf_u8(out, '"');
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '\n')
            buf_printf(out, "\\n");
        else if (c == '\r')
            buf_printf(out, "\\r");
        else if (c == '\t')
            buf_printf(out, "\\t");
        else if (c < 32 || c > 126)
            buf_printf(out, "\\x%02x", c);
        else
            buf_u8(out, c);
    }
    buf_u8(out, '"');
}

static void write_value(struct check_value v, struct buf *out)
{
    buf_u8(out, ' ');
    if (v.there)
        write_word(v.bytes, out);
    else
        buf_printf(out, "nil");
}

void check_write_op(const struct check_op *op, struct buf *out)
{
    ASSERT(op->kind < CHECK_KINDS);
    buf_printf(out, "%llu ", (unsigned long long)op->call);
    if (op->outcome == CHECK_UNKNOWN)
        buf_printf(out, "-");
    else
        buf_printf(out, "%llu", (unsigned long long)op->ret);
    buf_printf(out, " %u %s ", op->client, kind_names[op->kind]);
    write_word(op->key, out);
    if (kind_arguments(op->kind) > 0) write_value(op->argument, out);
    if (kind_arguments(op->kind) > 1) write_value(op->expected, out);
    buf_printf(out, " ->");
    if (op->outcome == CHECK_UNKNOWN)
        buf_printf(out, " ?");
    else if (op->kind == CHECK_WRITE)
        buf_printf(out, " ok");
    else
        write_value(op->result, out);
    buf_u8(out, '\n');
}

void check_write(const struct check_history *h, struct buf *out)
{
    for (size_t i = 0; i < check_count(h); i++) {
        struct check_op op = check_get(h, i);
        check_write_op(&op, out);
    }
}

/* ---- reading ---- */

#define WORDS_MAX 9 /* of a line: cas has as many */

struct word {
    size_t at, size; /* in `bytes` of the line */
    bool quoted;
};

struct line {
    struct buf bytes; /* the words without quotes */
    struct word words[WORDS_MAX];
    uint32_t count;
    const char *wrong; /* NULL: nothing */
};

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One escaped character behind the backslash at *i; moves *i to its last byte. */
static bool read_escape(struct bytes line, size_t *i, struct buf *out)
{
    if (*i + 1 >= line.size) return false;
    uint8_t c = line.data[++*i];
    switch (c) {
    case 'n': buf_u8(out, '\n'); return true;
    case 'r': buf_u8(out, '\r'); return true;
    case 't': buf_u8(out, '\t'); return true;
    case '"':
    case '\\': buf_u8(out, c); return true;
    case 'x': break;
    default: return false;
    }
    if (*i + 2 >= line.size) return false;
    int high = hex_digit(line.data[*i + 1]), low = hex_digit(line.data[*i + 2]);
    if (high < 0 || low < 0) return false;
    buf_u8(out, (uint8_t)(high << 4 | low));
    *i += 2;
    return true;
}

/* A quoted word whose opening quote is at `i`. Returns where it goes on behind it, 0: malformed. */
static size_t read_quoted(struct bytes line, size_t i, struct buf *out)
{
    for (i++; i < line.size && line.data[i] != '"'; i++) {
        if (line.data[i] != '\\')
            buf_u8(out, line.data[i]);
        else if (!read_escape(line, &i, out))
            return 0;
    }
    return i < line.size ? i + 1 : 0;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static void read_words(struct bytes line, struct line *l)
{
    size_t i = 0;
    buf_clear(&l->bytes);
    l->count = 0;
    l->wrong = NULL;
    while (true) {
        while (i < line.size && is_blank(line.data[i])) i++;
        if (i == line.size || (l->count == 0 && line.data[i] == '#')) return;
        if (l->count == WORDS_MAX) {
            l->wrong = "too many words";
            return;
        }
        struct word *w = &l->words[l->count++];
        *w = (struct word){.at = l->bytes.size, .quoted = line.data[i] == '"'};
        if (w->quoted) {
            i = read_quoted(line, i, &l->bytes);
            if (i == 0 || (i < line.size && !is_blank(line.data[i]))) {
                l->wrong = "a quoted word that does not end, or an escape that is none";
                return;
            }
        } else {
            for (; i < line.size && !is_blank(line.data[i]); i++) buf_u8(&l->bytes, line.data[i]);
        }
        w->size = l->bytes.size - w->at;
    }
}

static struct bytes word_bytes(const struct line *l, uint32_t i)
{
    return bytes_of(l->bytes.data + l->words[i].at, l->words[i].size);
}

static bool word_is(const struct line *l, uint32_t i, const char *text)
{
    return i < l->count && !l->words[i].quoted && bytes_equal(word_bytes(l, i), bytes_str(text));
}

static bool word_number(const struct line *l, uint32_t i, uint64_t max, uint64_t *out)
{
    struct bytes s = word_bytes(l, i);
    uint64_t v = 0;
    if (l->words[i].quoted || s.size == 0 || s.size > 20) return false;
    for (size_t k = 0; k < s.size; k++) {
        unsigned digit = (unsigned)s.data[k] - '0';
        if (digit > 9 || v > (max - digit) / 10) return false;
        v = v * 10 + digit;
    }
    *out = v;
    return true;
}

static struct check_value word_value(const struct line *l, uint32_t i)
{
    return word_is(l, i, "nil") ? CHECK_NIL : check_value(word_bytes(l, i));
}

static const char *read_op(const struct line *l, struct check_op *op)
{
    uint64_t client;
    *op = (struct check_op){.kind = CHECK_KINDS};
    if (l->count < 7) return "too few words";
    bool pending = word_is(l, 1, "-");
    if (!word_number(l, 0, UINT64_MAX, &op->call)) return "the time of the call is no number";
    if (!pending && !word_number(l, 1, UINT64_MAX, &op->ret))
        return "the time of the return is no number and not -";
    if (!word_number(l, 2, UINT32_MAX, &client)) return "the client is no number";
    op->client = (uint32_t)client;
    for (uint8_t k = 0; k < CHECK_KINDS; k++)
        if (word_is(l, 3, kind_names[k])) op->kind = k;
    if (op->kind == CHECK_KINDS) return "an operation of no known kind";

    int arguments = kind_arguments(op->kind);
    uint32_t arrow = 5 + (uint32_t)arguments;
    if (!word_is(l, arrow, "->") || l->count != arrow + 2)
        return "arguments or result missing, or too many";
    op->key = word_bytes(l, 4);
    if (arguments > 0) op->argument = word_value(l, 5);
    if (arguments > 1) op->expected = word_value(l, 6);
    if (word_is(l, arrow + 1, "?") != pending)
        return "a pending operation has - for its return and ? for its result";
    op->outcome = pending ? CHECK_UNKNOWN : CHECK_OK;
    if (op->kind == CHECK_WRITE && !pending && !word_is(l, arrow + 1, "ok"))
        return "the result of a write is ok";
    op->result = word_value(l, arrow + 1);
    return NULL;
}

bool check_read(struct check_history *h, struct bytes text, struct buf *error)
{
    struct line l = {0};
    const char *wrong = NULL;
    size_t number = 0, at = 0;

    while (at < text.size && !wrong) {
        const uint8_t *end = memchr(text.data + at, '\n', text.size - at);
        size_t size = end ? (size_t)(end - text.data) - at : text.size - at;
        struct check_op op;
        number++;
        read_words(bytes_of(text.data + at, size), &l);
        wrong = l.wrong;
        if (!wrong && l.count) {
            wrong = read_op(&l, &op);
            if (!wrong && !check_add(h, &op))
                wrong = "it returns before its call, or its argument is none";
        }
        at += size + 1;
    }
    if (wrong) buf_printf(error, "line %zu: %s", number, wrong);
    buf_deinit(&l.bytes);
    return !wrong;
}
