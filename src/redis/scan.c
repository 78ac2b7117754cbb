#include "redis/scan.h"

#include "base/assert.h"
#include "ring/slot.h"
#include "shard/keys.h"

#define HASH_BITS  48
#define HASH_MASK  (((uint64_t)1 << HASH_BITS) - 1)
#define PLACES_END ((uint64_t)SLOT_COUNT << HASH_BITS)

static uint64_t slot_place(uint16_t slot)
{
    return (uint64_t)slot << HASH_BITS;
}

/* ---- options and replies ---- */

bool scan_cursor_parse(struct bytes text, uint64_t *cursor, struct reply *out)
{
    uint64_t v = 0;
    bool fits = text.size > 0 && text.size <= 20;
    for (size_t i = 0; fits && i < text.size; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        fits = digit <= 9 && v <= (UINT64_MAX - digit) / 10;
        v = v * 10 + digit;
    }
    if (!fits) return reply_error(out, "ERR invalid cursor"), false;
    *cursor = v;
    return true;
}

/* TYPE of SCAN: a name that no type of ours has matches no key, as in Redis. */
static uint8_t parse_type(struct bytes name)
{
    static const uint8_t types[] = {OBJECT_STRING, OBJECT_HASH};
    for (size_t i = 0; i < sizeof types; i++)
        if (bytes_equal_nocase(name, object_type_name(types[i]))) return types[i];
    return OBJECT_NONE;
}

bool scan_options_parse(struct scan_options *s, const struct cmd_args *a, uint32_t at, bool fields,
                        struct reply *out)
{
    *s = (struct scan_options){.count = 10};
    for (uint32_t i = at; i < a->count; i++) {
        bool more = i + 1 < a->count;
        int64_t count;
        if (more && bytes_equal_nocase(a->v[i], "count")) {
            if (!bytes_to_i64(a->v[++i], &count)) return reply_error(out, ERR_NOT_INTEGER), false;
            if (count < 1) return reply_error(out, ERR_SYNTAX), false;
            s->count = count < SCAN_COUNT_MAX ? (uint64_t)count : SCAN_COUNT_MAX;
        } else if (more && bytes_equal_nocase(a->v[i], "match")) {
            s->pattern = a->v[++i];
            s->has_pattern = true;
        } else if (more && !fields && bytes_equal_nocase(a->v[i], "type")) {
            s->type = parse_type(a->v[++i]);
            s->has_type = true;
        } else if (fields && bytes_equal_nocase(a->v[i], "novalues")) {
            s->no_values = true;
        } else {
            return reply_error(out, ERR_SYNTAX), false;
        }
    }
    return true;
}

void scan_reply(struct reply *out, uint64_t cursor, size_t count, struct buf *items)
{
    ASSERT(cursor <= INT64_MAX);
    reply_array(out, 2);
    reply_bulk_i64(out, (int64_t)cursor);
    reply_array(out, count);
    buf_append_bytes(out->out, buf_bytes(items));
}

/* ---- the walk ---- */

struct walk {
    const struct view *view;
    scan_each *each;
    void *ctx;
    uint64_t jump; /* where the range met something else than a key: the start of the next slot */
    bool stopped;
};

/* In a slot, meta records come first; the first other record means that no key of this slot
 * follows, so the walk jumps. */
static bool walk_record(void *ctx, struct bytes key, struct bytes value)
{
    struct walk *w = ctx;
    struct object o;
    ASSERT(key.size >= 3);
    uint16_t slot = be16_get(key.data);

    if (key.data[2] != KEYS_META) {
        w->jump = slot_place(slot) + ((uint64_t)1 << HASH_BITS);
        return false;
    }
    ASSERT(key.size >= KEYS_META_HEAD);
    if (!object_decode(key, value, &o)) return true;
    if (o.expire_ms >= 0 && o.expire_ms < w->view->now_ms) o.type = OBJECT_NONE;
    uint64_t place = slot_place(slot) | (be64_get(key.data + 1) & HASH_MASK);
    w->stopped = !w->each(w->ctx, place, &o);
    return !w->stopped;
}

bool scan_slots(struct view *v, uint64_t from, uint16_t slot_end, scan_each *each, void *ctx)
{
    struct walk w = {.view = v, .each = each, .ctx = ctx};
    struct buf lo = {0}, hi = {0};
    ASSERT(slot_end <= SLOT_COUNT);

    keys_slot(&hi, slot_end);
    while (from < slot_place(slot_end)) {
        keys_meta_from(&lo, (uint16_t)(from >> HASH_BITS), from & HASH_MASK);
        enum view_result r = view_range(v, buf_bytes(&lo), buf_bytes(&hi), false, walk_record, &w);
        if (r != VIEW_FOUND || w.stopped) break;
        ASSERT(w.jump > from);
        from = w.jump;
    }
    buf_deinit(&lo);
    buf_deinit(&hi);
    return !v->missed;
}

/* The node sends these commands by slot; where the slot is not this group's (it moved meanwhile),
 * asking again is right: an empty answer would pass for the truth. */
static bool slot_is_here(const struct view *v, uint64_t slot, struct reply *out)
{
    if (slot >= v->slot_lo && slot < v->slot_hi) return true;
    reply_errorf(out, "TRYAGAIN slot %llu is not served here at the moment",
                 (unsigned long long)slot);
    return false;
}

/* ---- SCAN ---- */

struct scan {
    const struct scan_options *options;
    struct reply items;
    size_t count;
    uint64_t visited, place; /* place: of the last key visited */
    uint64_t next;           /* place of the first key not visited */
};

/* Keys of one place (one hash) are never divided between two calls: a cursor cannot point between
 * them. */
static bool scan_one(void *ctx, uint64_t place, const struct object *o)
{
    struct scan *s = ctx;
    if (s->visited >= s->options->count && place != s->place) {
        s->next = place;
        return false;
    }
    s->visited++;
    s->place = place;
    bool wanted = o->type != OBJECT_NONE && (!s->options->has_type || o->type == s->options->type);
    if (wanted && scan_matches(s->options, o->key)) {
        reply_bulk(&s->items, o->key);
        s->count++;
    }
    return true;
}

/* SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]: walks this group's part of the cursor's way;
 * at its end the cursor goes on in the next group. Looks at COUNT keys (more only where hashes are
 * equal), whether they match or not. */
void scan_cmd_scan(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct scan_options options;
    struct buf items = {0};
    uint64_t cursor;

    if (!scan_cursor_parse(a->v[1], &cursor, out) ||
        !scan_options_parse(&options, a, 2, false, out))
        return;
    if (cursor >= PLACES_END) return scan_reply(out, 0, 0, &items);
    if (!slot_is_here(v, cursor >> HASH_BITS, out)) return;

    struct scan s = {&options, {&items, out->version}, .next = slot_place(v->slot_hi)};
    if (scan_slots(v, cursor, v->slot_hi, scan_one, &s)) {
        ASSERT(s.next > cursor);
        scan_reply(out, s.next == PLACES_END ? 0 : s.next, s.count, &items);
    }
    buf_deinit(&items);
}

/* ---- KEYS and the slot commands ---- */

struct listing {
    struct scan_options options; /* only the pattern */
    struct reply items;
    size_t count, limit;
    bool all; /* expired keys too */
};

static bool list_one(void *ctx, uint64_t place, const struct object *o)
{
    struct listing *l = ctx;
    (void)place;
    if (l->count == l->limit) return false;
    if ((o->type != OBJECT_NONE || l->all) && scan_matches(&l->options, o->key)) {
        reply_bulk(&l->items, o->key);
        l->count++;
    }
    return true;
}

static void list_reply(struct view *v, struct listing *l, uint16_t slot, uint16_t slot_end,
                       struct reply *out)
{
    struct buf items = {0};
    l->items = (struct reply){&items, out->version};
    if (scan_slots(v, slot_place(slot), slot_end, list_one, l)) {
        reply_array(out, l->count);
        buf_append_bytes(out->out, buf_bytes(&items));
    }
    buf_deinit(&items);
}

/* KEYS pattern: the part of the answer that this group has. */
void scan_cmd_keys(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct listing l = {.options = {.pattern = a->v[1], .has_pattern = true}, .limit = SIZE_MAX};
    list_reply(v, &l, v->slot_lo, v->slot_hi, out);
}

static bool parse_slot(struct bytes text, uint16_t *slot, struct reply *out)
{
    int64_t n;
    if (!bytes_to_i64(text, &n) || n < 0 || n >= SLOT_COUNT)
        return reply_error(out, "ERR Invalid or out of range slot"), false;
    *slot = (uint16_t)n;
    return true;
}

static bool count_one(void *ctx, uint64_t place, const struct object *o)
{
    (void)place, (void)o;
    ++*(int64_t *)ctx;
    return true;
}

/* CLUSTER COUNTKEYSINSLOT slot. As in DBSIZE, keys that are expired but not deleted yet count. */
void scan_cmd_countkeysinslot(struct view *v, const struct cmd_args *a, struct reply *out)
{
    uint16_t slot;
    int64_t count = 0;
    if (!parse_slot(a->v[2], &slot, out) || !slot_is_here(v, slot, out)) return;
    if (scan_slots(v, slot_place(slot), (uint16_t)(slot + 1), count_one, &count))
        reply_i64(out, count);
}

/* CLUSTER GETKEYSINSLOT slot count. The same keys as COUNTKEYSINSLOT counts. */
void scan_cmd_getkeysinslot(struct view *v, const struct cmd_args *a, struct reply *out)
{
    uint16_t slot;
    int64_t limit;
    if (!parse_slot(a->v[2], &slot, out)) return;
    if (!bytes_to_i64(a->v[3], &limit)) return reply_error(out, ERR_NOT_INTEGER);
    if (limit < 0) return reply_error(out, "ERR Invalid number of keys");
    if (!slot_is_here(v, slot, out)) return;

    struct listing l = {.limit = (size_t)limit, .all = true};
    list_reply(v, &l, slot, (uint16_t)(slot + 1), out);
}

/* ---- RANDOMKEY ---- */

#define SAMPLE 16 /* keys to choose among: evens out the gaps between hashes */

struct sample {
    struct view *view;
    struct buf chosen;
    uint64_t end; /* stop at this place */
    uint32_t seen;
};

/* Reservoir of one: the n-th key replaces the choice with probability 1/n. */
static bool sample_one(void *ctx, uint64_t place, const struct object *o)
{
    struct sample *s = ctx;
    if (place >= s->end || s->seen == SAMPLE) return false;
    if (o->type == OBJECT_NONE) return true;
    s->seen++;
    if (prng_below(&s->view->random, s->seen) == 0) {
        buf_clear(&s->chosen);
        buf_append_bytes(&s->chosen, o->key);
    }
    return s->seen < SAMPLE;
}

/* RANDOMKEY: one of the SAMPLE keys that follow a random place, round the group's end if need be.
 * Nil: no key in this group. */
void scan_cmd_randomkey(struct view *v, const struct cmd_args *a, struct reply *out)
{
    (void)a;
    uint64_t lo = slot_place(v->slot_lo), hi = slot_place(v->slot_hi);
    uint64_t from = lo + prng_below(&v->random, hi - lo);
    struct sample s = {.view = v, .end = hi};

    bool ok = scan_slots(v, from, v->slot_hi, sample_one, &s);
    s.end = from;
    ok = ok && scan_slots(v, lo, v->slot_hi, sample_one, &s);
    if (!ok) {
        /* missed: run again */
    } else if (s.seen) {
        reply_bulk(out, buf_bytes(&s.chosen));
    } else {
        reply_nil(out);
    }
    buf_deinit(&s.chosen);
}
