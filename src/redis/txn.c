#include "redis/txn.h"
#include "base/assert.h"
#include "base/mutant.h"
#include "redis/job.h"
#include "redis/multi.h"
#include "redis/object.h"
#include "redis/once.h"
#include "redis/types.h"
#include "ring/slot.h"
#include "shard/effects.h"
#include "shard/keys.h"
#include "shard/rows.h"

#define ERR_BAD      "ERR not what nodes send each other of a transaction"
#define ANSWER_MAX   (8u << 20) /* bytes of rows in an answer, before the last one */
#define RECORD_SPARE 4096       /* effects of a decision, beyond those of what was prepared */

/* ---- as bytes ---- */

void txn_put_id(struct buf *out, struct txn_id id)
{
    buf_u64(out, id.who);
    buf_u64(out, id.seq);
}

bool txn_get_id(struct bytes in, struct txn_id *id)
{
    struct reader r = reader_of(in);
    id->who = reader_u64(&r);
    id->seq = reader_u64(&r);
    return !r.bad && reader_left(&r) == 0;
}

bool txn_row_id(struct bytes key, struct txn_id *id)
{
    if (key.size != KEYS_TXN_HEAD + 16 || key.data[2] != KEYS_TXN) return false;
    id->who = be64_get(key.data + KEYS_TXN_HEAD);
    id->seq = be64_get(key.data + KEYS_TXN_HEAD + 8);
    return true;
}

void txn_record_put(struct buf *out, const struct txn_record *r)
{
    buf_u8(out, r->state);
    buf_u64(out, r->start);
    buf_u32(out, r->anchor);
    buf_varint(out, r->count);
    buf_append_bytes(out, r->groups);
    if (r->state != TXN_PREPARED) return;
    buf_blob(out, r->items);
    buf_blob(out, r->effects);
}

bool txn_record_get(struct bytes in, struct txn_record *r)
{
    struct reader at = reader_of(in);
    *r = (struct txn_record){.state = reader_u8(&at)};
    r->start = reader_u64(&at);
    r->anchor = reader_u32(&at);
    uint64_t count = reader_varint(&at);
    if (at.bad || count == 0 || count > SLOT_COUNT) return false;
    r->count = (uint32_t)count;
    r->groups = reader_take(&at, r->count * 4);
    if (r->state == TXN_PREPARED) {
        r->items = reader_blob(&at);
        r->effects = reader_blob(&at);
    } else if (r->state != TXN_DECIDED) {
        return false;
    }
    return !at.bad && reader_left(&at) == 0 && locks_items_sound(r->items);
}

/* ---- the commands, as arguments ---- */

static struct txn_id id_of(const struct cmd_args *a)
{
    struct txn_id id = {0};
    (void)txn_get_id(a->v[2], &id);
    return id;
}

static uint64_t number_of(struct bytes in)
{
    struct reader r = reader_of(in);
    return reader_u64(&r);
}

static struct lock_owner *owner_of(struct view *v, const struct cmd_args *a)
{
    struct txn_id id;
    return v->locks && txn_get_id(a->v[2], &id) ? locks_find(v->locks, id) : NULL;
}

/* G1: the open owner that was given this token, by this leader: no two leaderships give the same.
 */
static struct lock_owner *session(const struct locks *l, struct txn_id id, uint64_t token)
{
    struct lock_owner *o = l ? locks_find(l, id) : NULL;
    if (MUTANT(MUTANT_TXN_TOKEN)) return o && o->state == LOCK_OPEN ? o : NULL;
    return o && o->state == LOCK_OPEN && o->token == token ? o : NULL;
}

static struct lock_owner *session_of(struct view *v, const struct cmd_args *a)
{
    return session(v->locks, id_of(a), number_of(a->v[3]));
}

static void row_key(const struct view *v, struct txn_id id, struct buf *out)
{
    keys_txn(out, v->slot_lo, id.who, id.seq);
}

static void row_put(struct view *v, struct txn_id id, struct bytes record)
{
    struct buf key = {0};
    row_key(v, id, &key);
    view_put(v, buf_bytes(&key), record);
    buf_deinit(&key);
}

static void row_del(struct view *v, struct txn_id id)
{
    struct buf key = {0};
    row_key(v, id, &key);
    view_del(v, buf_bytes(&key));
    buf_deinit(&key);
}

/* What is said of it waits until it is chosen: to read the row is to have seen it (G6). */
static void row_see(struct view *v, struct txn_id id)
{
    struct buf key = {0};
    struct bytes record;
    row_key(v, id, &key);
    (void)view_get(v, buf_bytes(&key), &record);
    buf_deinit(&key);
}

/* ---- effects that were made elsewhere ---- */

/* A coordinator cannot know which ids objects get that it makes: it counts them from TXN_OBJIDS on,
 * and here they become the group's own. */
struct binding {
    struct view *v;
    uint64_t id[64]; /* of the first ones; the others are looked up in `more` */
    struct buf more; /* pairs */
};

static uint64_t bind(struct binding *b, uint64_t made)
{
    uint64_t k = made - TXN_OBJIDS;
    if (made < TXN_OBJIDS) return made;
    if (k < 64) return b->id[k] ? b->id[k] : (b->id[k] = view_new_objid(b->v));
    uint64_t *pair = (uint64_t *)(void *)b->more.data;
    for (size_t i = 0; i < b->more.size / 16; i++)
        if (pair[2 * i] == made) return pair[2 * i + 1];
    uint64_t id = view_new_objid(b->v);
    buf_u64(&b->more, made);
    buf_u64(&b->more, id);
    return id;
}

/* The key of an element, or of all: with the id that it is to have. */
static struct bytes bind_key(struct binding *b, struct bytes key, struct buf *scratch)
{
    if (key.size < KEYS_SUB_HEAD || key.data[2] != KEYS_SUB) return key;
    uint64_t made = be64_get(key.data + 3);
    if (made < TXN_OBJIDS) return key;
    struct bytes member = keys_user(key, KEYS_SUB_HEAD);
    keys_sub(scratch, be16_get(key.data), bind(b, made), member);
    return buf_bytes(scratch);
}

static struct bytes bind_value(struct binding *b, struct bytes key, struct bytes value,
                               struct buf *scratch)
{
    struct object o;
    if (key.size < 3 || key.data[2] != KEYS_META || !object_decode(key, value, &o)) return value;
    if (o.objid < TXN_OBJIDS) return value;
    buf_clear(scratch);
    object_encode(scratch, &o, bind(b, o.objid));
    return buf_bytes(scratch);
}

static void take_effect(struct binding *b, const struct effect *e, struct buf *scratch)
{
    struct bytes key;
    switch (e->op) {
    case EFFECT_PUT:
        key = bind_key(b, e->key, &scratch[0]);
        view_put(b->v, key, bind_value(b, key, e->value, &scratch[1]));
        break;
    case EFFECT_DEL: view_del(b->v, bind_key(b, e->key, &scratch[0])); break;
    case EFFECT_TRASH: view_trash(b->v, bind_key(b, e->key, &scratch[0])); break;
    case EFFECT_COUNT:
        if (e->slot >= b->v->slot_lo && e->slot < b->v->slot_hi)
            view_count(b->v, e->slot, e->delta);
        break;
    default: break; /* nothing else is prepared (effects_sound) */
    }
}

bool txn_take_effects(struct view *v, struct bytes effects)
{
    struct binding b = {.v = v};
    struct buf scratch[2] = {{0}};
    struct reader r = reader_of(effects);
    struct effect e;
    while (!v->missed && effects_next(&r, &e) == 1) take_effect(&b, &e, scratch);
    buf_deinit(&scratch[0]), buf_deinit(&scratch[1]);
    buf_deinit(&b.more);
    return !v->missed;
}

static bool effects_sound(struct bytes effects)
{
    struct reader r = reader_of(effects);
    struct effect e;
    int more;
    while ((more = effects_next(&r, &e)) == 1)
        if (e.op != EFFECT_PUT && e.op != EFFECT_DEL && e.op != EFFECT_TRASH &&
            e.op != EFFECT_COUNT)
            return false;
    return more == 0;
}

/* ---- evaluated at the leader ---- */

struct reading {
    struct view *v;
    struct buf *out;
    bool failed;
};

static void read_item(void *ctx, enum lock_mode mode, struct bytes key)
{
    struct reading *r = ctx;
    struct buf meta = {0};
    if (r->out->size > ANSWER_MAX) return; /* what is not there is asked for */
    if (mode == LOCK_RECORD)
        buf_append_bytes(&meta, key);
    else
        keys_meta(&meta, slot_of(key), key);
    if (!r->failed)
        r->failed =
            !rows_encode(r->v, buf_bytes(&meta), (struct bytes){0}, false, TXN_ROWS, r->out);
    buf_deinit(&meta);
}

void txn_lock(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct lock_owner *o = owner_of(v, a);
    uint64_t token = number_of(a->v[4]);
    struct buf answer = {0};
    struct reading r = {v, &answer, false};
    if (!o || o->state != LOCK_OPEN || (token && o->token != token)) {
        reply_error(out, TXN_LOST);
        return;
    }
    if (!locks_items_sound(a->v[9])) {
        reply_error(out, ERR_BAD);
        return;
    }
    if (a->v[8].size && !multi_unchanged(v, a->v[8])) {
        if (!v->missed) reply_nil(out);
        return;
    }
    buf_u64(&answer, o->token);
    buf_u64(&answer, (uint64_t)v->now_ms);
    buf_u64(&answer, v->locks->newest);
    if (a->v[5].size)
        r.failed = !rows_encode(v, a->v[5], a->v[6], number_of(a->v[7]) != 0, TXN_ROWS, &answer);
    else
        locks_items(a->v[9], read_item, &r);
    if (!r.failed) reply_bulk(out, buf_bytes(&answer));
    buf_deinit(&answer);
}

void txn_holds(struct view *v, const struct cmd_args *a, struct reply *out)
{
    if (session_of(v, a))
        reply_ok(out);
    else
        reply_error(out, TXN_LOST);
}

void txn_apply(struct view *v, const struct cmd_args *a, struct reply *out)
{
    if (!session_of(v, a)) {
        reply_error(out, TXN_LOST);
        return;
    }
    if (!effects_sound(a->v[4])) {
        reply_error(out, ERR_BAD);
        return;
    }
    (void)txn_take_effects(v, a->v[4]);
    reply_ok(out);
}

void txn_prepare(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct txn_record r;
    if (!session_of(v, a)) {
        reply_error(out, TXN_LOST);
        return;
    }
    if (!txn_record_get(a->v[4], &r) || r.state != TXN_PREPARED || !effects_sound(r.effects)) {
        reply_error(out, ERR_BAD);
        return;
    }
    if (a->v[4].size + RECORD_SPARE > v->effects_max) {
        v->refused = VIEW_EFFECTS_TOO_LARGE;
        return;
    }
    row_put(v, id_of(a), a->v[4]);
    reply_ok(out);
}

/* Only what is prepared here can be committed here, and only once. */
void txn_decide(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct lock_owner *o = owner_of(v, a);
    struct txn_record r;
    struct buf record = {0};
    row_see(v, id_of(a));
    if (v->missed) return;
    if (o && o->state == LOCK_PREPARED) {
        bool sound = txn_record_get(o->record, &r);
        ASSERT(sound);
        struct txn_record decided = r;
        decided.state = TXN_DECIDED;
        txn_record_put(&record, &decided);
        (void)txn_take_effects(v, r.effects);
        row_put(v, o->id, buf_bytes(&record));
        buf_deinit(&record);
    }
    reply_i64(out, o && o->state != LOCK_OPEN);
}

void txn_finish(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct lock_owner *o = owner_of(v, a);
    struct txn_record r;
    bool commit = number_of(a->v[3]) != 0;
    row_see(v, id_of(a));
    if (v->missed) return;
    if (o && o->state == LOCK_DECIDED) {
        reply_error(out, ERR_BAD);
        return;
    }
    if (o && o->state == LOCK_PREPARED) {
        bool sound = txn_record_get(o->record, &r);
        ASSERT(sound);
        if (commit) (void)txn_take_effects(v, r.effects);
        row_del(v, o->id);
    }
    reply_ok(out);
}

/* G3: what is said of it stays true: an open owner could still prepare, so it goes. */
void txn_prepared(struct view *v, const struct cmd_args *a, struct reply *out)
{
    const struct lock_owner *o = owner_of(v, a);
    row_see(v, id_of(a));
    if (v->missed) return;
    reply_i64(out, !o || o->state == LOCK_OPEN ? 0 : o->state == LOCK_PREPARED ? 2 : 1);
}

/* Asked once somebody is known not to be prepared (G2): whoever asks before it is decided decides
 * that it is not. */
void txn_resolve(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct lock_owner *o = owner_of(v, a);
    row_see(v, id_of(a));
    if (v->missed) return;
    if (o && o->state == LOCK_PREPARED) row_del(v, o->id);
    reply_i64(out, !o ? -1 : o->state == LOCK_DECIDED);
}

/* The next one of several ids that is decided here; NULL: no more. */
static struct lock_owner *next_decided(const struct locks *l, struct reader *ids)
{
    while (l && reader_left(ids) >= 16) {
        struct txn_id id = {.who = reader_u64(ids)};
        id.seq = reader_u64(ids);
        struct lock_owner *o = locks_find(l, id);
        if (o && o->state == LOCK_DECIDED) return o;
    }
    return NULL;
}

void txn_forget(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct reader ids = reader_of(a->v[2]);
    for (struct lock_owner *o; (o = next_decided(v->locks, &ids));) row_del(v, o->id);
    reply_ok(out);
}

static void forgotten(struct locks *l, const struct cmd_args *a)
{
    struct reader ids = reader_of(a->v[2]);
    for (struct lock_owner *o; (o = next_decided(l, &ids));) locks_drop(l, o);
}

void txn_state(struct view *v, const struct cmd_args *a, struct reply *out)
{
    const struct lock_owner *o = owner_of(v, a);
    struct buf state = {0};
    struct txn_record r;
    row_see(v, id_of(a));
    if (v->missed) return;
    if (!o) {
        reply_nil(out);
        return;
    }
    buf_u8(&state, o->state);
    buf_u64(&state, o->start);
    if (o->state != LOCK_OPEN) {
        bool sound = txn_record_get(o->record, &r);
        ASSERT(sound);
        buf_u32(&state, r.anchor);
        buf_append_bytes(&state, r.groups);
    }
    reply_bulk(out, buf_bytes(&state));
    buf_deinit(&state);
}

bool txn_state_get(struct bytes in, struct txn_state *s)
{
    struct reader r = reader_of(in);
    *s = (struct txn_state){.state = reader_u8(&r)};
    s->start = reader_u64(&r);
    if (r.bad || s->state > LOCK_DECIDED) return false;
    if (s->state == LOCK_OPEN) return reader_left(&r) == 0;
    s->anchor = reader_u32(&r);
    s->groups = reader_take(&r, reader_left(&r));
    return !r.bad && s->groups.size % 4 == 0;
}

/* ---- around the evaluation ---- */

static bool lock_admits(struct locks *l, const struct cmd_args *a, uint64_t now)
{
    struct txn_id id = id_of(a);
    uint64_t token = number_of(a->v[4]);
    struct lock_owner *o = locks_find(l, id);
    if (number_of(a->v[3]) > l->newest) l->newest = number_of(a->v[3]);
    if (o && o->state != LOCK_OPEN) return true; /* too late: it is told so */
    if (token && (!o || o->token != token)) return true;
    if (!locks_items_sound(a->v[9])) return true;
    return locks_take(l, id, number_of(a->v[3]), a->v[9], now) == LOCKS_TAKEN;
}

struct bars {
    const struct locks *locks;
    enum lock_mode mode;
    bool barred;
};

static void bar_key(void *ctx, struct bytes key)
{
    struct bars *b = ctx;
    b->barred |= locks_bar(b->locks, key, b->mode);
}

bool txn_row(const struct command *c, const struct cmd_args *a, struct buf *out)
{
    return once_row(c, a, out) || job_row(c, a, out);
}

static bool bars_row(const struct locks *l, const struct command *c, const struct cmd_args *a)
{
    struct buf row = {0};
    bool barred = txn_row(c, a, &row) && locks_bar(l, buf_bytes(&row), LOCK_RECORD);
    buf_deinit(&row);
    return barred;
}

bool txn_admits(struct locks *l, const struct command *c, const struct cmd_args *a, uint64_t now)
{
    struct bars b = {l, txn_mode(c), false};
    struct cmd_args request;
    if (c->fn == txn_lock) return lock_admits(l, a, now);
    if (!l->owners || txn_is(c)) return true;
    if (!l->held && c->first) return true;
    if (bars_row(l, c, a)) return false;
    if (c->flags & CMD_SYSTEM) return true;
    c = once_request(c, a, &request);
    if (c->fn == multi_exec) {
        multi_keys(&request, bar_key, &b);
        (void)multi_watched_keys(request.v[2], bar_key, &b);
    } else if (c->first) {
        (void)command_keys(c, &request, bar_key, &b);
    } else if (c->flags & CMD_WRITE) {
        return false; /* it is about all keys, and about the rows that say who is prepared */
    }
    return !b.barred;
}

uint64_t txn_saw(struct locks *l, const struct command *c, const struct cmd_args *a, uint64_t saw)
{
    if (c->fn != txn_lock && c->fn != txn_holds) return saw;
    struct lock_owner *o = locks_find(l, id_of(a));
    if (!o) return saw;
    if (saw > o->sees) o->sees = saw;
    return c->fn == txn_lock || MUTANT(MUTANT_TXN_DIRTY) ? 0 : o->sees;
}

void txn_evaluated(struct locks *l, const struct command *c, const struct cmd_args *a, uint64_t now)
{
    if (c->fn == txn_forget) {
        forgotten(l, a);
        return;
    }
    struct lock_owner *o = locks_find(l, id_of(a));
    struct txn_record r;
    struct buf record = {0};
    if (!o || c->fn == txn_lock || c->fn == txn_holds || c->fn == txn_state) return;
    if (c->fn == txn_prepare) {
        if (o->state == LOCK_OPEN && o->token == number_of(a->v[3]))
            locks_advance(l, o, LOCK_PREPARED, a->v[4], now);
    } else if (c->fn == txn_decide) {
        if (o->state != LOCK_PREPARED || !txn_record_get(o->record, &r)) return;
        r.state = TXN_DECIDED;
        txn_record_put(&record, &r);
        locks_advance(l, o, LOCK_DECIDED, buf_bytes(&record), now);
        buf_deinit(&record);
    } else if (c->fn == txn_apply) {
        if (o->state == LOCK_OPEN && o->token == number_of(a->v[3])) locks_drop(l, o);
    } else if (c->fn == txn_prepared) {
        if (o->state == LOCK_OPEN && !MUTANT(MUTANT_TXN_PREPARED)) locks_drop(l, o);
    } else if (o->state != LOCK_DECIDED) {
        locks_drop(l, o); /* FINISH, RESOLVE */
    }
}

struct written {
    void (*each)(void *ctx, struct bytes key);
    void *ctx;
};

static void written_item(void *ctx, enum lock_mode mode, struct bytes key)
{
    const struct written *w = ctx;
    if (mode == LOCK_EXCLUSIVE) w->each(w->ctx, key);
}

void txn_written(const struct locks *l, const struct command *c, const struct cmd_args *a,
                 void (*each)(void *ctx, struct bytes key), void *ctx)
{
    struct written w = {each, ctx};
    struct txn_record r;
    struct lock_owner *o = locks_find(l, id_of(a));
    bool done = c->fn == txn_decide || (c->fn == txn_finish && number_of(a->v[3]));
    if (c->fn == txn_apply && locks_items_sound(a->v[5])) locks_items(a->v[5], written_item, &w);
    if (done && o && o->state == LOCK_PREPARED && txn_record_get(o->record, &r))
        locks_items(r.items, written_item, &w);
}

#define TXN(name, arity, flags, fn, summary)                                                       \
    {                                                                                              \
        name, "synod", arity, CMD_INTERNAL | CMD_NOSCRIPT | CMD_GROUP | (flags), 0, 0, 0,          \
            CMD_SPREAD_NONE, fn, "cluster", "synod 0.1", "O(N) for N keys", summary, ""            \
    }

const struct command txn_commands[] = {
    TXN("apply", 6, CMD_WRITE | CMD_DENYOOM, txn_apply, "The only part that writes"),
    TXN("apply-free", 6, CMD_WRITE, txn_apply, "The same, where it needs no room"),
    TXN("decide", 3, CMD_WRITE, txn_decide, "Commit, at the anchor"),
    TXN("finish", 4, CMD_WRITE, txn_finish, "What was decided"),
    TXN("forget", 3, CMD_WRITE, txn_forget, "Everybody knows what was decided"),
    TXN("holds", 4, CMD_READONLY, txn_holds, "Is all still locked?"),
    TXN("lock", 10, CMD_READONLY, txn_lock, "Lock keys and read them"),
    TXN("prepare", 5, CMD_WRITE | CMD_DENYOOM, txn_prepare, "One part of several that write"),
    TXN("prepare-free", 5, CMD_WRITE, txn_prepare, "The same, where it needs no room"),
    TXN("prepared", 3, CMD_READONLY, txn_prepared, "Is it prepared, or will it ever be?"),
    TXN("resolve", 3, CMD_WRITE, txn_resolve, "What was decided?"),
    TXN("state", 3, CMD_READONLY, txn_state, "What is known of it?"),
};
const size_t txn_command_count = sizeof txn_commands / sizeof *txn_commands;
