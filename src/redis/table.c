/* The command table: the rows of all types, looked up by name, and what is checked before a command
 * runs. */
#include "redis/types.h"
#include "base/assert.h"

#include <ctype.h>
#include <stdio.h>

#define NAME_MAX_BYTES 32 /* no name is longer, "parent|name" included (a test checks) */

const struct command_rows command_table[COMMAND_ROWS] = {
    {strings_commands, &strings_command_count}, {hashes_commands, &hashes_command_count},
    {keys_commands, &keys_command_count},       {local_commands, &local_command_count},
    {ring_commands, &ring_command_count},       {txn_commands, &txn_command_count},
    {script_commands, &script_command_count},   {function_commands, &function_command_count},
    {cut_commands, &cut_command_count},         {job_commands, &job_command_count},
};

/* ---- looking up ---- */

/* Compares a NUL-terminated name with a row's full name. */
static inline int compare_full(const char *name, const struct command *c)
{
    const char *full = c->parent ? c->parent : c->name;
    while (*name && *name == *full) name++, full++;
    if (!c->parent || *full) return (uint8_t)*name - (uint8_t)*full;
    if (*name != '|') return (uint8_t)*name - '|';
    for (name++, full = c->name; *name && *name == *full;) name++, full++;
    return (uint8_t)*name - (uint8_t)*full;
}

const struct command *command_named(const char *full_name)
{
    for (size_t t = 0; t < COMMAND_ROWS; t++) {
        const struct command *row = command_table[t].row;
        size_t lo = 0, hi = *command_table[t].count;
        while (lo < hi) {
            size_t mid = lo + (hi - lo) / 2;
            int order = compare_full(full_name, &row[mid]);
            if (order == 0) return &row[mid];
            if (order > 0)
                lo = mid + 1;
            else
                hi = mid;
        }
    }
    return NULL;
}

/* Appends `word` in lower case to name[0 .. at); false: it is too long, or no word. */
static bool put_lower(char name[NAME_MAX_BYTES], size_t at, struct bytes word)
{
    if (word.size >= NAME_MAX_BYTES - at) return false;
    for (size_t i = 0; i < word.size; i++) {
        uint8_t c = word.data[i];
        if (c == 0 || c == '|') return false;
        name[at + i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    name[at + word.size] = 0;
    return true;
}

const struct command *command_find(const struct cmd_args *a, bool *container)
{
    char name[NAME_MAX_BYTES];
    const struct command *c = NULL;

    ASSERT(a->count > 0);
    if (container) *container = false;
    if (put_lower(name, 0, a->v[0])) c = command_named(name);
    if (!c || !(c->flags & CMD_CONTAINER) || a->count == 1) return c;
    if (container) *container = true;
    name[a->v[0].size] = '|';
    return put_lower(name, a->v[0].size + 1, a->v[1]) ? command_named(name) : NULL;
}

void command_full_name(const struct command *c, char out[COMMAND_NAME_MAX])
{
    int size = snprintf(out, COMMAND_NAME_MAX, "%s%s%s", c->parent ? c->parent : "",
                        c->parent ? "|" : "", c->name);
    ASSERT(size > 0 && size < COMMAND_NAME_MAX);
}

/* ---- checks ---- */

bool command_check_arity(const struct command *c, const struct cmd_args *a, struct reply *out)
{
    char name[COMMAND_NAME_MAX];
    if (c->arity >= 0 ? a->count == (uint32_t)c->arity : a->count >= (uint32_t)-c->arity)
        return true;
    command_full_name(c, name);
    reply_errorf(out, "ERR wrong number of arguments for '%s' command", name);
    return false;
}

static void key_fits(void *ctx, struct bytes key)
{
    bool *fits = ctx;
    if (key.size > COMMAND_KEY_MAX) *fits = false;
}

bool command_check_keys(const struct command *c, const struct cmd_args *a, struct reply *out)
{
    bool fits = true;
    (void)command_keys(c, a, key_fits, &fits);
    if (!fits) reply_error(out, "ERR key is too long (the limit is 64 KiB in synod)");
    return fits;
}

/* What of a word fits in Redis's message: at most `most` bytes, up to a NUL (its words are C
 * strings there). */
static int shown(struct bytes word, size_t most)
{
    size_t size = word.size < most ? word.size : most;
    const uint8_t *nul = size ? memchr(word.data, 0, size) : NULL;
    return (int)(nul ? (size_t)(nul - word.data) : size);
}

void command_unknown(const struct cmd_args *a, struct reply *out)
{
    struct buf text = {0};
    bool container;
    const struct bytes *v = a->v;
    const struct command *hidden = command_find(a, &container);

    ASSERT(!hidden || (hidden->flags & CMD_INTERNAL));
    if (container) {
        buf_printf(&text, "ERR unknown subcommand '%.*s'. Try ", shown(v[1], 128),
                   (const char *)v[1].data);
        for (size_t i = 0; i < v[0].size; i++) buf_u8(&text, (uint8_t)toupper(v[0].data[i]));
        buf_printf(&text, " HELP.");
    } else {
        buf_printf(&text,
                   "ERR unknown command '%.*s', with args beginning with: ", shown(v[0], 128),
                   (const char *)v[0].data);
        size_t start = text.size;
        for (uint32_t i = 1; i < a->count && text.size - start < 128; i++)
            buf_printf(&text, "'%.*s' ", shown(v[i], 128 - (text.size - start)),
                       (const char *)v[i].data);
    }
    buf_u8(&text, 0);
    reply_error(out, (const char *)text.data);
    buf_deinit(&text);
}

/* ---- keys ---- */

bool command_keys(const struct command *c, const struct cmd_args *a,
                  void (*each)(void *ctx, struct bytes key), void *ctx)
{
    int64_t first = c->first, last = c->last < 0 ? (int64_t)a->count + c->last : c->last,
            step = c->step;

    if (first == 0) return true;
    if (c->flags & CMD_NUMKEYS) {
        int64_t keys;
        if (first >= a->count || !bytes_to_i64(a->v[first], &keys)) return false;
        if (keys == 0 && c->flags & CMD_SCRIPT) return true;
        if (keys < 1 || keys > (int64_t)a->count - first - 1) return false;
        first++;
        last = first + keys - 1;
        step = 1;
    }
    ASSERT(step > 0);
    if (last >= a->count || first > last) return false;
    for (int64_t i = first; i <= last; i += step) each(ctx, a->v[i]);
    return true;
}
