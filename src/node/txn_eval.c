/* Evaluating a transaction over several groups: the command, or EXEC with all of its own, on a view
 * over rows that the groups' leaders have handed out. What it misses is asked for, and all is
 * evaluated again; what it writes is cut up by group. */
#include "base/mem.h"
#include "node/txn.h"
#include "redis/multi.h"
#include "redis/once.h"
#include "redis/script.h"
#include "shard/effects.h"
#include "shard/keys.h"

#define ROWS_MAX          (128u << 20) /* bytes that a transaction may read */
#define WRITES_MAX        (256u << 20) /* ... or write */
#define RECORD_SPARE      8192         /* of a Prepared record, besides effects and locks */
#define FETCHES_MAX       100000u
#define SCRIPT_TRIES_TIME 4 /* times lua-time-limit: of all evaluations of one transaction */

static void run(struct transaction *t, struct view *v, struct reply *out)
{
    const struct request *r = t->r;
    struct cmd_args a = r->args, request;
    struct bytes *copy = NULL;
    if (once_request(r->command, &a, &request)->fn == multi_exec) {
        copy = mem_alloc(a.count * sizeof *copy);
        memcpy(copy, a.v, a.count * sizeof *copy);
        copy[request.v - a.v + 2] = (struct bytes){0}; /* watches: looked at by those who know */
        a.v = copy;
    }
    if (t->nil)
        once_nil(v, &a, out);
    else
        r->command->fn(v, &a, out);
    mem_free(copy);
}

/* A key that was only to be read is written to: it has expired, and whoever meets it deletes it.
 * Looks at the effects from `from` on. UINT32_MAX: none. */
static uint32_t upgrade(struct transaction *t, const struct view *v, size_t from)
{
    struct reader r = reader_of(bytes_of(v->effects.data + from, v->effects.size - from));
    struct effect e;
    uint32_t part = UINT32_MAX;
    while (effects_next(&r, &e) == 1) {
        bool meta = (e.op == EFFECT_PUT || e.op == EFFECT_DEL) && e.key.size > KEYS_META_HEAD &&
                    e.key.data[2] == KEYS_META;
        struct item *item = meta ? transaction_item_of(t, keys_user(e.key, KEYS_META_HEAD)) : NULL;
        if (!item || item->mode == LOCK_EXCLUSIVE || (part != UINT32_MAX && part != item->part))
            continue;
        item->mode = LOCK_EXCLUSIVE;
        item->round = t->round;
        part = item->part;
    }
    return part;
}

static void effect_copy(struct buf *out, const struct effect *e)
{
    switch (e->op) {
    case EFFECT_PUT: effects_put(out, e->key, e->value); break;
    case EFFECT_DEL: effects_del(out, e->key); break;
    case EFFECT_TRASH: effects_trash(out, e->key); break;
    default: effects_count(out, e->slot, e->delta);
    }
}

static void split_effects(struct transaction *t, const struct view *v)
{
    const struct node *n = t->node;
    struct reader r = reader_of(buf_bytes(&v->effects));
    struct effect e;
    uint32_t at = UINT32_MAX, i = 0;
    while (effects_next(&r, &e) == 1) {
        uint16_t slot = e.op == EFFECT_COUNT ? e.slot : be16_get(e.key.data);
        if (at != slot) i = transaction_part_of(t, n->slot_group[slot]);
        at = slot;
        if (i == t->parts) continue; /* the map has changed: the leader will say so */
        effect_copy(&t->part[i].effects, &e);
        t->state[i].writes = true;
    }
}

static void refuse(struct transaction *t, const char *text)
{
    buf_clear(&t->reply);
    reply_error(&(struct reply){&t->reply, t->r->version}, text);
    transaction_refuse(t);
}

/* The rest of what the evaluation missed, from the group that has its beginning. */
static void fetch_more(struct transaction *t, const struct view *v)
{
    struct buf lo = {0}, hi = {0};
    uint32_t i = t->parts;
    buf_append_bytes(&lo, buf_bytes(&v->miss_lo));
    buf_append_bytes(&hi, buf_bytes(&v->miss_hi));
    rows_missing(t->rows, &lo, &hi, v->miss_reverse);
    if (lo.size >= 2 && be16_get(lo.data) < SLOT_COUNT)
        i = transaction_part_of(t, t->node->slot_group[be16_get(lo.data)]);
    if (rows_bytes(t->rows) > ROWS_MAX) {
        refuse(t, "ERR the transaction reads more than 128 MiB; do it in parts");
    } else if (i == t->parts) {
        transaction_retry(t); /* the map has changed meanwhile */
    } else {
        struct part *p = &t->part[i];
        buf_deinit(&p->lo), buf_deinit(&p->hi);
        p->lo = lo, p->hi = hi;
        p->reverse = v->miss_reverse;
        lo = hi = (struct buf){0};
        transaction_event(t, TXN_EV_MORE, i);
    }
    buf_deinit(&lo), buf_deinit(&hi);
}

static bool fits(const struct transaction *t, const struct view *v)
{
    if (v->objid_next - TXN_OBJIDS > TXN_OBJECTS_MAX) return false;
    for (uint32_t i = 0; i < t->parts; i++)
        if (t->part[i].effects.size + t->part[i].items.size + RECORD_SPARE > t->node->effects_max)
            return false;
    return true;
}

/* A script came to a key: it must be locked. If it is not, the evaluation ends here, and comes back
 * once it is. */
static bool touch(void *ctx, struct view *v, struct bytes key, bool writes)
{
    struct transaction *t = ctx;
    enum lock_mode mode = writes ? LOCK_EXCLUSIVE : LOCK_SHARED;
    const struct item *item = transaction_item_of(t, key);
    (void)v;
    if (item && item->mode >= mode) return true;
    t->wanted = transaction_plan_key(t, key, mode);
    return false;
}

static void lock_more(struct transaction *t, uint32_t part)
{
    buf_clear(&t->part[part].lo);
    transaction_event(t, TXN_EV_MORE, part);
}

/* What an evaluation lacks that missed: a key's lock, or rows. */
static void go_on(struct transaction *t, const struct view *v)
{
    uint64_t most = SCRIPT_TRIES_TIME * script_engine_limits(t->node->scripts.engine)->time_ns;
    if (t->spent > most || ++t->fetches > FETCHES_MAX)
        refuse(t, "ERR the script came to too many keys, one after another, that it had not "
                  "declared; nothing was changed: declare them, or do it in parts");
    else if (t->wanted != UINT32_MAX)
        lock_more(t, t->wanted);
    else
        fetch_more(t, v);
}

static void vote(struct transaction *t, const struct view *v)
{
    for (uint32_t i = 0; (t->view || t->roams) && i < t->parts; i++)
        transaction_put_items(t, i, true);
    split_effects(t, v);
    if (fits(t, v))
        transaction_event(t, TXN_EV_EVALUATED, 0);
    else
        refuse(t, "ERR the transaction would write too much in one group; nothing was changed, do "
                  "it in parts");
}

static void reply_refused(struct transaction *t, const struct view *v)
{
    buf_clear(&t->reply);
    request_reply_refused(&(struct reply){&t->reply, t->r->version}, v, WRITES_MAX);
}

static void view_run(struct transaction *t, struct view *v)
{
    struct reply out = {&t->reply, t->r->version};
    buf_clear(&t->reply);
    v->now_ms = t->now_ms;
    v->effects_max = WRITES_MAX;
    v->reply = &t->reply;
    v->reply_max = REPLY_MAX;
    v->scripts = script_engine_runner(t->node->scripts.engine);
    v->touch = touch;
    v->touch_ctx = t;
    t->wanted = UINT32_MAX;
    uint64_t before = io_now(t->node->io);
    run(t, v, &out);
    t->spent += io_now(t->node->io) - before;
    if (t->trace) txn_trace_evaluated(t, v->missed ? "rows are missing" : "all commands are done");
    if (t->reply.size > REPLY_MAX && !v->refused) v->refused = VIEW_REPLY_TOO_LARGE;
}

static void view_open(struct transaction *t, struct view *v)
{
    struct view_source source = rows_source(t->rows);
    view_begin(v, &source, t->now_ms, t->seed, TXN_OBJIDS, 0, SLOT_COUNT);
}

static void evaluate_all(struct transaction *t)
{
    struct view *v = &t->node->view;
    view_open(t, v);
    view_run(t, v);
    uint32_t more = v->missed ? UINT32_MAX : upgrade(t, v, 0);
    if (v->refused) {
        reply_refused(t, v);
        transaction_refuse(t);
    } else if (v->missed) {
        go_on(t, v);
    } else if (more != UINT32_MAX) {
        lock_more(t, more);
    } else {
        if (t->parts == 1) script_note_abroad(t->node, t->r->command, &t->r->args, false);
        vote(t, v);
    }
}

/* ---- an open one ---- */

void transaction_open_view(struct transaction *t)
{
    t->view = mem_alloc(sizeof *t->view);
    view_init(t->view);
    view_open(t, t->view);
}

/* One command, over what those before it have written. What is refused is as if it had not been
 * said. */
static void evaluate_one(struct transaction *t)
{
    struct view *v = t->view;
    size_t before = v->effects.size;
    view_run(t, v);
    bool missed = v->missed && !v->refused;
    uint32_t more = v->missed ? UINT32_MAX : upgrade(t, v, before);
    if (v->refused) reply_refused(t, v);
    if (v->missed || more != UINT32_MAX) view_rewind(v, before);
    if (missed)
        go_on(t, v);
    else if (more != UINT32_MAX)
        lock_more(t, more);
    else
        transaction_answer(t);
}

static void commit(struct transaction *t)
{
    struct view *v = t->view;
    struct reply out = {&t->reply, t->r->version};
    size_t before = v->effects.size;
    enum view_result done = VIEW_ABSENT;
    buf_clear(&t->reply);
    v->reply = NULL;
    if (t->token.size)
        done = once_commit(v, buf_bytes(&t->token), &out);
    else
        reply_ok(&out);
    if (v->refused || done == VIEW_FOUND) { /* done before: what was said again is not done */
        if (v->refused) reply_refused(t, v);
        transaction_answer(t);
        transaction_event(t, TXN_EV_REFUSED, 0);
    } else if (done == VIEW_MISS) {
        view_rewind(v, before);
        go_on(t, v);
    } else {
        vote(t, v);
    }
}

void transaction_evaluate(struct transaction *t)
{
    if (t->node->wall_ms > t->now_ms) t->now_ms = t->node->wall_ms;
    if (t->view && t->r->command->fn)
        evaluate_one(t);
    else if (t->view)
        commit(t);
    else
        evaluate_all(t);
}
