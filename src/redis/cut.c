#include "redis/cut.h"
#include "base/assert.h"
#include "base/mutant.h"
#include "redis/job_rows.h"
#include "redis/ring_rows.h"
#include "redis/txn.h"
#include "redis/types.h"
#include "shard/keys.h"

#define ROW_VERSION 2
#define ROW_HEAD    35 /* bytes before the count of parts */
#define ERR_BAD     "ERR not what nodes send each other of a cut"

/* ---- as bytes ---- */

static uint64_t number_of(struct bytes in)
{
    struct reader r = reader_of(in);
    return reader_u64(&r);
}

void cut_rows_each(void *ctx, struct bytes key, struct bytes value)
{
    struct buf *rows = ctx;
    struct txn_id id;
    struct txn_record r;
    bool sound = txn_row_id(key, &id) && txn_record_get(value, &r);
    ASSERT(sound);
    buf_u64(rows, id.who);
    buf_u64(rows, id.seq);
    buf_u8(rows, r.state == TXN_DECIDED);
    buf_varint(rows, r.count);
    buf_append_bytes(rows, r.groups);
}

bool cut_rows_next(struct reader *r, struct cut_row *row)
{
    if (!reader_left(r)) return false;
    *row = (struct cut_row){.who = reader_u64(r)};
    row->seq = reader_u64(r);
    row->decided = reader_u8(r) != 0;
    uint64_t writers = reader_varint(r);
    r->bad |= writers > SLOT_COUNT;
    row->writers = r->bad ? 0 : (uint32_t)writers;
    row->groups = reader_take(r, (size_t)4 * row->writers).data;
    return !r->bad;
}

void cut_part_put(struct buf *out, const struct cut_snapshot_part *p)
{
    buf_u32(out, p->group);
    buf_u16(out, p->slot_lo);
    buf_u16(out, p->slot_hi);
    buf_u64(out, p->position);
}

struct cut_snapshot_part cut_part_get(const struct cut_snapshot *s, uint32_t i)
{
    ASSERT(i < s->parts);
    struct reader r = reader_of(bytes_of(s->part.data + (size_t)i * CUT_PART, CUT_PART));
    struct cut_snapshot_part p = {.group = reader_u32(&r)};
    p.slot_lo = reader_u16(&r);
    p.slot_hi = reader_u16(&r);
    p.position = reader_u64(&r);
    return p;
}

void cut_snapshot_put(struct buf *out, const struct cut_snapshot *s)
{
    buf_u8(out, ROW_VERSION);
    buf_u64(out, s->cut);
    buf_u64(out, s->made_ms);
    buf_u64(out, s->expires_ms);
    buf_u64(out, s->hold_ns);
    buf_u16(out, s->node);
    buf_u64(out, s->job);
    buf_varint(out, s->parts);
    buf_append_bytes(out, s->part);
    buf_append_bytes(out, s->in);
}

bool cut_snapshot_get(struct bytes in, struct cut_snapshot *s)
{
    struct reader r = reader_of(in);
    uint8_t version = reader_u8(&r);
    *s = (struct cut_snapshot){.cut = reader_u64(&r)};
    s->made_ms = reader_u64(&r);
    s->expires_ms = reader_u64(&r);
    s->hold_ns = reader_u64(&r);
    s->node = reader_u16(&r);
    s->job = reader_u64(&r);
    uint64_t parts = reader_varint(&r);
    if (r.bad || version != ROW_VERSION || !parts || parts > SLOT_COUNT) return false;
    s->parts = (uint32_t)parts;
    s->part = reader_take(&r, (size_t)parts * CUT_PART);
    s->in = reader_take(&r, reader_left(&r));
    return !r.bad && s->in.size % CUT_IN == 0;
}

void cut_name_put(char name[CUT_NAME + 1], uint64_t cut)
{
    for (int i = 0; i < CUT_NAME; i++) name[i] = "0123456789abcdef"[cut >> (60 - 4 * i) & 15];
    name[CUT_NAME] = 0;
}

bool cut_name_get(struct bytes name, uint64_t *cut)
{
    return bytes_to_hex64(name, cut) && *cut != 0;
}

/* ---- at a group's leader. They read nothing, so they are never run twice: the hold is theirs to
 * change ---- */

static const char *const refusal[] = {
    [HOLD_BUSY] = "TRYAGAIN another cut is being made",
    [HOLD_RESTS] = "TRYAGAIN a group was held for a cut just now, and rests",
    [HOLD_CHANGES] = "TRYAGAIN a group is about to be split, merged, or to change its members",
    [HOLD_OVER] = "CUTLOST the cut was given up",
};

static bool is_asked(struct view *v, const struct cmd_args *a, uint64_t *cut, struct reply *out)
{
    *cut = number_of(a->v[2]);
    if (v->hold && *cut) return true;
    reply_error(out, ERR_BAD);
    return false;
}

void cut_freeze(struct view *v, const struct cmd_args *a, struct reply *out)
{
    uint64_t cut;
    if (!is_asked(v, a, &cut, out)) return;
    enum hold_answer answer = hold_begin(v->hold, cut);
    if (answer != HOLD_IS_HELD) {
        reply_error(out, refusal[answer]);
        return;
    }
    struct buf b = {0};
    buf_u64(&b, v->leadership);
    buf_u16(&b, v->slot_lo);
    buf_u16(&b, v->slot_hi);
    reply_bulk(out, buf_bytes(&b));
    buf_deinit(&b);
}

#define TEXT_LOST "CUTLOST the group is not held for this cut (any more)"

void cut_snap(struct view *v, const struct cmd_args *a, struct reply *out)
{
    uint64_t cut, ttl_ms = number_of(a->v[4]);
    if (!is_asked(v, a, &cut, out)) return;
    bool held = hold_holds(v->hold, v->hold->now) && v->hold->cut == cut;
    bool same = v->leadership == number_of(a->v[3]);
    if (!(held && same) && !MUTANT(MUTANT_CUT_UNHELD)) {
        reply_error(out, TEXT_LOST);
        return;
    }
    view_snap(v, cut, ttl_ms);
    reply_ok(out);
}

void cut_resume(struct view *v, const struct cmd_args *a, struct reply *out)
{
    uint64_t cut;
    if (!is_asked(v, a, &cut, out)) return;
    struct cut_hold *h = v->hold;
    bool same = v->leadership == number_of(a->v[3]) || MUTANT(MUTANT_CUT_UNHELD);
    if (hold_lasted(h, cut) && same) {
        struct buf b = {0};
        buf_u64(&b, h->position);
        buf_u64(&b, h->now - h->since);
        buf_append_bytes(&b, h->rows);
        reply_bulk(out, buf_bytes(&b));
        buf_deinit(&b);
    } else {
        reply_error(out, TEXT_LOST);
    }
    hold_end(h, cut, h->now);
}

void cut_let_go(struct view *v, const struct cmd_args *a, struct reply *out)
{
    uint64_t cut;
    if (!is_asked(v, a, &cut, out)) return;
    if (number_of(a->v[3]) && !v->hold->changes) view_snap(v, cut, 0);
    hold_end(v->hold, cut, v->hold->now);
    reply_ok(out);
}

/* ---- the rows of snapshots, in group 0 ---- */

static void row_key(struct buf *out, uint64_t cut)
{
    uint8_t suffix[9] = {'c'};
    be64_put(suffix + 1, cut);
    keys_system(out, bytes_of(suffix, sizeof suffix));
}

struct listing {
    struct buf rows; /* blobs: those that are not expired */
    struct buf gone; /* cut:8 of the others */
    uint64_t count;
    uint64_t now_ms;
};

static bool list_row(void *ctx, struct bytes key, struct bytes value)
{
    struct listing *l = ctx;
    struct cut_snapshot s;
    (void)key;
    if (!cut_snapshot_get(value, &s)) return true;
    if (s.expires_ms < l->now_ms) {
        buf_u64(&l->gone, s.cut);
        return true;
    }
    buf_blob(&l->rows, value);
    l->count++;
    return true;
}

/* False: missed. */
static bool list_rows(struct view *v, struct listing *l)
{
    struct buf lo = {0}, hi = {0};
    *l = (struct listing){.now_ms = (uint64_t)v->now_ms};
    keys_system(&lo, BYTES("c"));
    keys_system(&hi, BYTES("d"));
    (void)view_range(v, buf_bytes(&lo), buf_bytes(&hi), false, list_row, l);
    buf_deinit(&lo), buf_deinit(&hi);
    return !v->missed;
}

static void row_delete(struct view *v, uint64_t cut)
{
    struct buf key = {0};
    row_key(&key, cut);
    view_del(v, buf_bytes(&key));
    buf_deinit(&key);
}

static void snapshot_put(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct cut_snapshot s;
    struct listing l;
    if (a->count != 4 || !cut_snapshot_get(a->v[3], &s) || s.expires_ms > CUT_TTL_MAX_MS) {
        reply_error(out, ERR_BAD);
        return;
    }
    if (list_rows(v, &l) && l.count >= CUT_SNAPSHOTS_MAX) {
        reply_errorf(out, "ERR there are %d snapshots, the most there may be: SNAPSHOT DROP one",
                     CUT_SNAPSHOTS_MAX);
    } else if (!v->missed) {
        struct buf key = {0}, row = {0};
        struct reader gone = reader_of(buf_bytes(&l.gone));
        while (reader_left(&gone)) row_delete(v, reader_u64(&gone));
        row_key(&key, s.cut);
        s.made_ms = l.now_ms;
        s.expires_ms += l.now_ms;
        cut_snapshot_put(&row, &s);
        view_put(v, buf_bytes(&key), buf_bytes(&row));
        buf_deinit(&key), buf_deinit(&row);
        reply_ok(out);
    }
    buf_deinit(&l.rows), buf_deinit(&l.gone);
}

static void snapshot_list(struct view *v, struct reply *out)
{
    struct listing l;
    if (list_rows(v, &l)) {
        struct reader r = reader_of(buf_bytes(&l.rows));
        reply_array(out, l.count);
        while (reader_left(&r)) reply_bulk(out, reader_blob(&r));
    }
    buf_deinit(&l.rows), buf_deinit(&l.gone);
}

static void snapshot_orphans(struct view *v, struct reply *out)
{
    struct listing l;
    struct buf cuts = {0};
    if (list_rows(v, &l)) {
        struct reader r = reader_of(buf_bytes(&l.rows));
        struct cut_snapshot s;
        while (reader_left(&r) && !MUTANT(MUTANT_JOB_ORPHANS))
            if (cut_snapshot_get(reader_blob(&r), &s) && s.job && !job_uses(v, s.job, s.cut))
                buf_u64(&cuts, s.cut);
        if (!v->missed) reply_bulk(out, buf_bytes(&cuts));
    }
    buf_deinit(&l.rows), buf_deinit(&l.gone), buf_deinit(&cuts);
}

/* The row, or nil. DROP deletes it. */
static void snapshot_one(struct view *v, const struct cmd_args *a, bool drop, struct reply *out)
{
    struct buf key = {0};
    struct bytes value;
    struct cut_snapshot s;
    uint64_t cut = a->count == 4 ? number_of(a->v[3]) : 0;
    row_key(&key, cut);
    enum view_result found = view_get(v, buf_bytes(&key), &value);
    bool there = found == VIEW_FOUND && cut_snapshot_get(value, &s) &&
                 (drop || s.expires_ms >= (uint64_t)v->now_ms);
    if (there)
        reply_bulk(out, value);
    else if (found != VIEW_MISS)
        reply_nil(out);
    if (there && drop) view_del(v, buf_bytes(&key));
    buf_deinit(&key);
}

static void cut_snapshot(struct view *v, const struct cmd_args *a, struct reply *out)
{
    if (arg_is(a, 2, "put"))
        snapshot_put(v, a, out);
    else if (arg_is(a, 2, "list"))
        snapshot_list(v, out);
    else if (arg_is(a, 2, "orphans"))
        snapshot_orphans(v, out);
    else if (arg_is(a, 2, "get") || arg_is(a, 2, "drop"))
        snapshot_one(v, a, arg_is(a, 2, "drop"), out);
    else
        reply_error(out, ERR_BAD);
}

#define CUT(name, arity, flags, fn, summary)                                                       \
    {                                                                                              \
        name, "synod", arity, CMD_INTERNAL | CMD_NOSCRIPT | CMD_GROUP | (flags), 0, 0, 0,          \
            CMD_SPREAD_NONE, fn, "cluster", "synod 0.1", "O(1)", summary, ""                       \
    }

const struct command cut_commands[] = {
    CUT("freeze", 3, CMD_READONLY, cut_freeze, "Hold replies for a cut"),
    CUT("letgo", 4, CMD_WRITE, cut_let_go, "A cut is given up, or its snapshot dropped"),
    CUT("resume", 4, CMD_READONLY, cut_resume, "Let go of what is held, and say that it was"),
    CUT("snap", 5, CMD_WRITE, cut_snap, "Keep the state of now"),
    CUT("snapshot", -3, CMD_WRITE, cut_snapshot, "The rows of snapshots: PUT, DROP"),
    CUT("snapshot-read", -3, CMD_READONLY, cut_snapshot,
        "The rows of snapshots: GET, LIST, ORPHANS"),
};
const size_t cut_command_count = sizeof cut_commands / sizeof *cut_commands;
