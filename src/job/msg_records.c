#include "job/records.h"

enum { FURTHER = 0x80 };

const char *record_kind_name(unsigned type)
{
    static const char *const name[RECORD_TYPES] = {"string", "hash", "list", "set", "zset"};
    return type < RECORD_TYPES ? name[type] : "unknown";
}

static bool parse(struct reader r, struct record *out)
{
    uint8_t type = reader_u8(&r);
    *out = (struct record){.type = type & (FURTHER - 1), .further = type & FURTHER, .count = 1};
    out->key = reader_blob(&r);
    if (out->type != RECORD_STRING) out->count = reader_u32(&r);
    out->rest = bytes_of(r.at, reader_left(&r));
    /* An item has a byte at least. */
    return !r.bad && out->type < RECORD_TYPES &&
           (out->type == RECORD_STRING || out->count <= out->rest.size);
}

enum record_result record_next(struct bytes *stream, struct record *out)
{
    struct reader r = reader_of(*stream);
    uint32_t size = reader_u32(&r);
    if (r.bad) return RECORD_PARTIAL;
    if (size > RECORD_BYTES_MAX) return RECORD_BAD;
    if (reader_left(&r) < size) return RECORD_PARTIAL;
    if (!parse(reader_of(bytes_of(r.at, size)), out)) return RECORD_BAD;
    stream->data += 4 + size;
    stream->size -= 4 + size;
    return RECORD_OK;
}

struct reader record_items(const struct record *r)
{
    return reader_of(r->rest);
}

static double get_double(struct reader *r)
{
    uint64_t bits = reader_u64(r);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

bool record_item(const struct record *r, struct reader *at, struct record_item *item)
{
    if (at->bad || at->at == at->end) {
        /* An empty string is one item, as any other. */
        if (r->type != RECORD_STRING || r->rest.size || at->at == NULL) return false;
    }
    *item = (struct record_item){0};
    switch (r->type) {
    case RECORD_STRING:
        item->value = r->rest;
        *at = (struct reader){0};
        return true;
    case RECORD_HASH:
        item->name = reader_blob(at);
        item->value = reader_blob(at);
        break;
    case RECORD_ZSET:
        item->name = reader_blob(at);
        item->score = get_double(at);
        break;
    default: item->value = reader_blob(at);
    }
    return !at->bad;
}

static void patch_u32(struct buf *out, size_t at, uint32_t v)
{
    for (int i = 0; i < 4; i++) out->data[at + i] = (uint8_t)(v >> 8 * i);
}

bool record_put_string(struct buf *out, struct bytes key, struct bytes value)
{
    size_t start = out->size;
    if (key.size + value.size + 16 > RECORD_BYTES_MAX) return false;
    buf_u32(out, 0);
    buf_u8(out, RECORD_STRING);
    buf_blob(out, key);
    buf_append_bytes(out, value);
    patch_u32(out, start, (uint32_t)(out->size - start - 4));
    return true;
}

struct record_writer record_begin(struct buf *out, enum record_type type, struct bytes key,
                                  bool further)
{
    struct record_writer w = {.out = out, .start = out->size, .type = (uint8_t)type};
    buf_u32(out, 0);
    buf_u8(out, (uint8_t)(type | (further ? FURTHER : 0)));
    buf_blob(out, key);
    w.count_at = out->size;
    buf_u32(out, 0);
    return w;
}

bool record_put_item(struct record_writer *w, const struct record_item *item)
{
    uint64_t bits;
    size_t size = item->name.size + item->value.size + 28;
    if (w->out->size - w->start + size > RECORD_BYTES_MAX) return false;
    if (w->type == RECORD_HASH || w->type == RECORD_ZSET) buf_blob(w->out, item->name);
    if (w->type == RECORD_ZSET) {
        memcpy(&bits, &item->score, sizeof bits);
        buf_u64(w->out, bits);
    } else {
        buf_blob(w->out, item->value);
    }
    w->count++;
    return true;
}

void record_end(struct record_writer *w)
{
    patch_u32(w->out, w->count_at, w->count);
    patch_u32(w->out, w->start, (uint32_t)(w->out->size - w->start - 4));
}
