/* What a script or library says of itself in its first line. */
#include "redis/script.h"

#include <string.h>

const char *const script_flag_name[SCRIPT_FLAGS] = {"no-writes", "allow-oom", "allow-stale",
                                                    "no-cluster", "allow-cross-slot-keys"};

uint8_t script_flag_named(struct bytes name)
{
    for (int i = 0; i < SCRIPT_FLAGS; i++)
        if (bytes_equal(name, bytes_str(script_flag_name[i]))) return (uint8_t)(1 << i);
    return 0;
}

bool script_name_sound(struct bytes name)
{
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '_') return false;
    }
    return name.size > 0 && name.size <= SCRIPT_NAME_MAX;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Takes the next word off. */
static bool next_word(struct bytes *line, struct bytes *word)
{
    while (line->size && is_blank(line->data[0])) line->data++, line->size--;
    *word = bytes_of(line->data, 0);
    while (line->size && !is_blank(line->data[0])) line->data++, line->size--, word->size++;
    return word->size > 0;
}

/* "key=value": the value. */
static bool option(struct bytes word, const char *key, struct bytes *value)
{
    size_t size = strlen(key);
    if (word.size <= size || memcmp(word.data, key, size) != 0 || word.data[size] != '=')
        return false;
    *value = bytes_of(word.data + size + 1, word.size - size - 1);
    return true;
}

static void put_error(struct buf *error, const char *text, struct bytes word)
{
    int shown = (int)(word.size < 128 ? word.size : 128);
    buf_printf(error, text, shown, (const char *)word.data);
}

/* Splits the first line off. False: there is none. */
static bool split(struct bytes code, struct bytes *line, struct script_head *h)
{
    *h = (struct script_head){.body = code};
    if (code.size < 2 || code.data[0] != '#' || code.data[1] != '!') return false;
    const uint8_t *end = memchr(code.data, '\n', code.size);
    if (!end) return false;
    size_t size = (size_t)(end - code.data);
    *line = bytes_of(code.data + 2, size - 2);
    h->there = true;
    h->body = bytes_of(end, code.size - size);
    (void)next_word(line, &h->engine);
    return true;
}

static bool take_flags(struct bytes list, struct script_head *h, struct buf *error)
{
    while (list.size) {
        const uint8_t *comma = memchr(list.data, ',', list.size);
        size_t size = comma ? (size_t)(comma - list.data) : list.size;
        uint8_t flag = script_flag_named(bytes_of(list.data, size));
        if (!flag) {
            put_error(error, "ERR Unexpected flag in script shebang: %.*s",
                      bytes_of(list.data, size));
            return false;
        }
        h->flags |= flag;
        size += comma != NULL;
        list = bytes_of(list.data + size, list.size - size);
    }
    return true;
}

bool script_head_of_script(struct bytes code, struct script_head *h, struct buf *error)
{
    struct bytes line, word, value;
    if (!split(code, &line, h)) {
        if (code.size < 2 || code.data[0] != '#' || code.data[1] != '!') return true;
        buf_append_bytes(error, BYTES("ERR Invalid script shebang"));
        return false;
    }
    if (!bytes_equal(h->engine, BYTES("lua"))) {
        put_error(error, "ERR Unexpected engine in script shebang: #!%.*s", h->engine);
        return false;
    }
    while (next_word(&line, &word)) {
        if (!option(word, "flags", &value)) {
            put_error(error, "ERR Unknown lua shebang option: %.*s", word);
            return false;
        }
        if (!take_flags(value, h, error)) return false;
    }
    return true;
}

bool script_head_of_library(struct bytes code, struct script_head *h, struct buf *error)
{
    struct bytes line, word;
    const char *wrong = NULL;
    if (!split(code, &line, h)) {
        wrong = "ERR Missing library metadata";
    } else {
        while (!wrong && next_word(&line, &word)) {
            if (h->name.data || !option(word, "name", &h->name)) {
                put_error(error,
                          h->name.data ? "ERR Invalid metadata value, name argument was given "
                                         "multiple times"
                                       : "ERR Invalid metadata value given: %.*s",
                          word);
                return false;
            }
        }
        if (!wrong && !h->name.data) wrong = "ERR Library name was not given";
        if (!wrong && !script_name_sound(h->name)) wrong = FUNCTION_NO_NAME;
    }
    if (wrong) {
        buf_append_bytes(error, bytes_str(wrong));
        return false;
    }
    if (bytes_equal_nocase(h->engine, "lua")) return true;
    put_error(error, "ERR Engine '%.*s' not found", h->engine);
    return false;
}
