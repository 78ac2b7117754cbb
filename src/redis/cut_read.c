/* Reading a cut: keys and values as whoever computes on them, or saves them, wants them. */
#include "base/mutant.h"
#include "redis/cut.h"
#include "redis/fields.h"
#include "redis/scan.h"
#include "redis/txn.h"
#include "ring/slot.h"
#include "shard/keys.h"

/* ---- what is prepared ---- */

struct prepared {
    struct bytes in;
    struct buf effects; /* blobs */
};

static bool is_among(struct bytes in, struct txn_id id)
{
    struct reader r = reader_of(in);
    bool found = false;
    while (reader_left(&r) && !found) {
        uint64_t who = reader_u64(&r), seq = reader_u64(&r);
        found = who == id.who && seq == id.seq;
    }
    return found;
}

static bool prepared_row(void *ctx, struct bytes key, struct bytes value)
{
    struct prepared *p = ctx;
    struct txn_id id;
    struct txn_record r;
    if (txn_row_id(key, &id) && txn_record_get(value, &r) && r.state == TXN_PREPARED &&
        is_among(p->in, id))
        buf_blob(&p->effects, r.effects);
    return true;
}

/* They hold locks, so their order is all one. */
bool cut_overlay(struct view *v, struct bytes in)
{
    struct prepared p = {.in = in};
    struct buf lo = {0}, hi = {0};
    if (!in.size || MUTANT(MUTANT_CUT_OVERLAY)) return true;
    keys_kind(&lo, v->slot_lo, KEYS_TXN);
    keys_kind(&hi, v->slot_lo, KEYS_TXN + 1);
    (void)view_range(v, buf_bytes(&lo), buf_bytes(&hi), false, prepared_row, &p);
    struct reader r = reader_of(buf_bytes(&p.effects));
    while (!v->missed && reader_left(&r)) (void)txn_take_effects(v, reader_blob(&r));
    buf_deinit(&lo), buf_deinit(&hi), buf_deinit(&p.effects);
    return !v->missed;
}

/* ---- records ---- */

struct reading {
    struct view *view;
    const struct cut_reading *what;
    struct buf *records;
    uint64_t visited, place, next;
    bool too_large;
    size_t value_from; /* where the value under way begins */
    uint64_t items;
};

static bool put_item(void *ctx, struct bytes name, struct bytes value)
{
    struct reading *r = ctx;
    buf_blob(r->records, name);
    buf_blob(r->records, value);
    r->items += 2;
    r->too_large |= r->records->size - r->value_from > r->what->value_max;
    return !r->too_large;
}

static void put_items(struct reading *r, const struct object *o)
{
    struct buf whole = {0}, *records = r->records;
    if (fields_packed(o)) { /* as they are */
        buf_varint(records, 2 * o->count);
        buf_append_bytes(records, o->string);
        r->too_large |= o->string.size > r->what->value_max;
        return;
    }
    r->records = &whole;
    r->value_from = r->items = 0;
    (void)fields_each(r->view, o, (struct bytes){0}, put_item, r);
    r->records = records;
    buf_varint(records, r->items);
    buf_append_bytes(records, buf_bytes(&whole));
    buf_deinit(&whole);
}

static void put_record(struct reading *r, const struct object *o)
{
    buf_u8(r->records, o->type);
    buf_blob(r->records, o->key);
    if (r->what->no_values) return;
    if (o->type == OBJECT_STRING)
        buf_blob(r->records, o->string);
    else
        put_items(r, o);
}

static bool read_key(void *ctx, uint64_t place, const struct object *o)
{
    struct reading *r = ctx;
    const struct cut_reading *what = r->what;
    bool full = r->visited >= what->count || r->records->size >= what->bytes_max;
    if (full && place != r->place) {
        r->next = place;
        return false;
    }
    r->visited++;
    r->place = place;
    if (o->type != OBJECT_NONE && (!what->wants || what->wants(what->ctx, o->key, o->type)))
        put_record(r, o);
    return !r->too_large && !r->view->missed;
}

enum cut_read cut_read(struct view *v, uint64_t *place, uint16_t slot_end,
                       const struct cut_reading *what, struct buf *records)
{
    struct reading r = {.view = v, .what = what, .records = records, .next = CUT_PLACE_END};
    bool whole = scan_slots(v, *place, slot_end, read_key, &r);
    if (!whole) return CUT_READ_MISSED;
    if (r.too_large) return CUT_READ_TOO_LARGE;
    *place = r.next;
    return CUT_READ;
}

bool cut_record_next(struct reader *r, bool no_values, struct cut_record *out)
{
    if (!reader_left(r)) return false;
    *out = (struct cut_record){.type = reader_u8(r)};
    out->key = reader_blob(r);
    if (no_values) return !r->bad;
    if (out->type == OBJECT_STRING) {
        out->value = reader_blob(r);
        return !r->bad;
    }
    out->items = reader_varint(r);
    out->item = *r;
    for (uint64_t i = 0; i < out->items && !r->bad; i++) (void)reader_blob(r);
    return !r->bad;
}
