/* Rows as a table and as JSON. */
#include "cli/job_result.h"

#include <jansson.h>

#define COLUMNS_MAX 16 /* more are not shown in the table */
#define GAP         2

bool job_result_read(const struct client_reply *r, struct job_result *out)
{
    *out = (struct job_result){0};
    if (r->type != CLIENT_ARRAY) return false;
    for (size_t i = 0; i + 1 < r->count; i += 2) {
        const struct client_reply *value = &r->items[i + 1];
        if (value->type != CLIENT_ARRAY) continue;
        if (bytes_equal(r->items[i].text, BYTES("rows"))) out->rows = value;
        if (bytes_equal(r->items[i].text, BYTES("notes"))) out->notes = value;
    }
    return out->rows && out->notes;
}

static struct bytes cell_of(const struct client_reply *row, size_t column)
{
    if (row->type != CLIENT_ARRAY || column >= row->count) return (struct bytes){0};
    return row->items[column].text;
}

/* ---- UTF-8 ---- */

/* Bytes of the sequence at the front of `in`; 0: it is none that may be shown (RFC 3629). */
static size_t utf8_next(struct bytes in, uint32_t *code)
{
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t first = in.data[0];
    size_t size = first < 0x80       ? 1
                  : first >> 5 == 6  ? 2
                  : first >> 4 == 14 ? 3
                  : first >> 3 == 30 ? 4
                                     : 0;
    if (size == 0 || size > in.size) return 0;
    *code = size == 1 ? first : first & (0x7f >> size);
    for (size_t i = 1; i < size; i++) {
        if (in.data[i] >> 6 != 2) return 0;
        *code = *code << 6 | (in.data[i] & 0x3f);
    }
    if (*code < lowest[size] || *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000)) return 0;
    return size;
}

static bool is_utf8(struct bytes in)
{
    uint32_t code;
    while (in.size) {
        size_t size = utf8_next(in, &code);
        if (!size) return false;
        in = bytes_of(in.data + size, in.size - size);
    }
    return true;
}

static bool is_shown(uint32_t code)
{
    return code >= 0x20 && !(code >= 0x7f && code < 0xa0);
}

/* Appends at most `most` columns of the text; *cut: there is more. Returns the columns. */
static size_t put_text(struct bytes in, size_t most, struct buf *out, bool *cut)
{
    size_t columns = 0;
    *cut = false;
    while (in.size) {
        uint32_t code = 0;
        size_t size = utf8_next(in, &code);
        bool plain = size && is_shown(code);
        size_t wide = plain ? 1 : 4, taken = plain ? size : 1;
        if (columns + wide > most) {
            *cut = true;
            return columns;
        }
        if (plain)
            buf_append(out, in.data, size);
        else
            buf_printf(out, "\\x%02x", in.data[0]);
        columns += wide;
        in = bytes_of(in.data + taken, in.size - taken);
    }
    return columns;
}

/* Appends the cell; returns its columns. */
static size_t put_cell(struct bytes text, struct buf *out)
{
    size_t before = out->size;
    bool cut;
    size_t columns = put_text(text, JOB_RESULT_CELL_MAX, out, &cut);
    if (!cut) return columns;
    out->size = before;
    columns = put_text(text, JOB_RESULT_CELL_MAX - 3, out, &cut);
    buf_append_bytes(out, BYTES("..."));
    return columns + 3;
}

void job_result_cell(struct bytes text, struct buf *out)
{
    (void)put_cell(text, out);
}

void job_result_text(struct bytes text, struct buf *out)
{
    bool cut;
    (void)put_text(text, SIZE_MAX, out, &cut);
}

/* ---- the table ---- */

struct columns {
    size_t count;
    size_t wide[COLUMNS_MAX];
    bool text[COLUMNS_MAX]; /* some cell is no number */
};

static void columns_look(struct columns *c, const struct client_reply *row)
{
    struct buf ignored = {0};
    long double number;
    for (size_t i = 0; i < COLUMNS_MAX && i < row->count; i++) {
        struct bytes text = cell_of(row, i);
        buf_clear(&ignored);
        size_t wide = put_cell(text, &ignored);
        if (wide > c->wide[i]) c->wide[i] = wide;
        if (!bytes_to_double(text, &number)) c->text[i] = true;
        if (i + 1 > c->count) c->count = i + 1;
    }
    buf_deinit(&ignored);
}

static void put_blanks(struct buf *out, size_t count)
{
    while (count--) buf_u8(out, ' ');
}

static void put_row(const struct columns *c, const struct client_reply *row, struct buf *out)
{
    for (size_t i = 0; i < c->count; i++) {
        struct buf cell = {0};
        size_t wide = put_cell(cell_of(row, i), &cell);
        if (!c->text[i]) put_blanks(out, c->wide[i] - wide);
        buf_append_bytes(out, buf_bytes(&cell));
        if (i + 1 < c->count) put_blanks(out, (c->text[i] ? c->wide[i] - wide : 0) + GAP);
        buf_deinit(&cell);
    }
    while (out->size && out->data[out->size - 1] == ' ') out->size--;
    buf_u8(out, '\n');
}

static void put_notes(const struct client_reply *notes, struct buf *out)
{
    for (size_t i = 0; i + 1 < notes->count; i += 2) {
        buf_append_bytes(out, i ? BYTES(", ") : BYTES("("));
        job_result_cell(notes->items[i].text, out);
        buf_append_bytes(out, BYTES(": "));
        job_result_cell(notes->items[i + 1].text, out);
    }
    if (notes->count >= 2) buf_append_bytes(out, BYTES(")\n"));
}

void job_result_table(const struct job_result *r, size_t rows_max, struct buf *out)
{
    struct columns c = {0};
    size_t shown = r->rows->count < rows_max ? r->rows->count : rows_max;
    for (size_t i = 0; i < shown; i++) columns_look(&c, &r->rows->items[i]);
    for (size_t i = 0; i < shown; i++) put_row(&c, &r->rows->items[i], out);
    size_t more = r->rows->count - shown;
    if (r->rows->count == 0) buf_append_bytes(out, BYTES("(no rows)\n"));
    if (more) buf_printf(out, "... and %zu more row%s\n", more, more == 1 ? "" : "s");
    put_notes(r->notes, out);
}

/* ---- JSON ---- */

json_t *job_result_json_text(struct bytes text)
{
    static const char digits[] = "0123456789abcdef";
    if (is_utf8(text)) return json_stringn(text.size ? (const char *)text.data : "", text.size);
    struct buf hex = {0};
    for (size_t i = 0; i < text.size; i++) {
        buf_u8(&hex, (uint8_t)digits[text.data[i] >> 4]);
        buf_u8(&hex, (uint8_t)digits[text.data[i] & 15]);
    }
    json_t *j = json_pack("{s:s#}", "hex", (const char *)hex.data, (int)hex.size);
    buf_deinit(&hex);
    return j;
}

static json_t *json_rows(const struct client_reply *rows)
{
    json_t *all = json_array();
    for (size_t i = 0; i < rows->count; i++) {
        const struct client_reply *row = &rows->items[i];
        json_t *cells = json_array();
        for (size_t c = 0; c < row->count; c++)
            json_array_append_new(cells, job_result_json_text(cell_of(row, c)));
        json_array_append_new(all, cells);
    }
    return all;
}

static json_t *json_notes(const struct client_reply *notes)
{
    json_t *all = json_object();
    for (size_t i = 0; i + 1 < notes->count; i += 2) {
        struct buf name = {0};
        job_result_cell(notes->items[i].text, &name);
        buf_u8(&name, 0);
        json_object_set_new(all, (const char *)name.data,
                            job_result_json_text(notes->items[i + 1].text));
        buf_deinit(&name);
    }
    return all;
}

void job_result_json(const struct job_result *r, FILE *out)
{
    json_t *j = json_pack("{s:o, s:o}", "rows", json_rows(r->rows), "notes", json_notes(r->notes));
    json_dumpf(j, out, 0);
    fputc('\n', out);
    json_decref(j);
}
