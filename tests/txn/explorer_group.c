/* A group in the explorer's world: rows, a log whose last entries are not chosen yet, and a leader
 * with its lock table. Commands are the real ones, evaluated over a view as the node does it
 * (node/request.c, node/txn_leader.c); the table is made anew for each from what the world says of
 * it, and the world from what it is afterwards. */
#include "explorer.h"

#include "base/assert.h"
#include "base/mutant.h"
#include "redis/command.h"
#include "ring/slot.h"
#include "shard/effects.h"
#include "shard/keys.h"

#include <stdio.h>

enum { NAME = 48 };
static struct name {
    uint8_t data[NAME];
    size_t size;
} cell_name[GROUPS][CELLS], key_name[GROUPS];
static const struct command *command[ASK_KINDS];
static const char *const command_text[ASK_KINDS] = {"lock",    "holds",  "apply",  "prepare",
                                                    "decide",  "finish", "forget", "prepared",
                                                    "resolve", "append", "get"};

static struct view view;
static struct locks table; /* of the group at work */
static struct buf reply_text;

/* ---- names ---- */

static struct bytes name_bytes(const struct name *n)
{
    return bytes_of(n->data, n->size);
}

static void name_set(struct name *n, struct bytes s)
{
    ASSERT(s.size <= NAME);
    memcpy(n->data, s.data, s.size);
    n->size = s.size;
}

static uint16_t slot_lo(uint32_t g)
{
    return (uint16_t)(g * SLOT_COUNT / bound.groups);
}

static void name_key(uint32_t g)
{
    char text[16];
    struct buf row = {0};
    uint16_t slot;
    int i = 0;
    do {
        snprintf(text, sizeof text, "key%d", i++);
        slot = slot_of(bytes_str(text));
    } while (slot < slot_lo(g) || slot >= slot_lo(g + 1));
    name_set(&key_name[g], bytes_str(text));
    keys_meta(&row, slot, bytes_str(text));
    name_set(&cell_name[g][0], buf_bytes(&row));
    buf_deinit(&row);
}

void groups_init(void)
{
    struct buf row = {0};
    char full[32];
    view_init(&view);
    for (int k = 0; k < ASK_KINDS; k++) {
        snprintf(full, sizeof full, "%s%s", k < APPEND ? "synod|" : "", command_text[k]);
        command[k] = command_named(full);
        ASSERT(command[k]);
    }
    for (uint32_t g = 0; g < bound.groups; g++) {
        name_key(g);
        for (uint32_t t = 0; t < TXNS; t++) {
            keys_txn(&row, slot_lo(g), id_of_txn(t).who, id_of_txn(t).seq);
            name_set(&cell_name[g][1 + t], buf_bytes(&row));
        }
    }
    buf_deinit(&row);
}

struct bytes group_key(uint32_t g)
{
    return name_bytes(&key_name[g]);
}

struct bytes group_meta(uint32_t g)
{
    return name_bytes(&cell_name[g][0]);
}

void group_items(uint32_t g, bool exclusive, struct buf *out)
{
    locks_put_item(out, exclusive ? LOCK_EXCLUSIVE : LOCK_SHARED, group_key(g));
}

static uint32_t cell_of(uint32_t g, struct bytes key)
{
    uint32_t c = 0;
    while (c < CELLS && !bytes_equal(key, name_bytes(&cell_name[g][c]))) c++;
    ASSERT(c < CELLS);
    return c;
}

/* ---- rows, as the leader sees them ---- */

struct source {
    const struct xgroup *group;
    uint32_t g, saw; /* the last pending entry that something was read of, from 1 */
};

static uint16_t cell_now(const struct xgroup *x, uint32_t cell, uint32_t *saw)
{
    for (uint32_t i = x->pending; i-- > 0;)
        for (uint32_t k = 0; k < x->log[i].count; k++) {
            if (x->log[i].cell[k] != cell) continue;
            if (*saw < i + 1) *saw = i + 1;
            return x->log[i].value[k];
        }
    return x->cell[cell];
}

static enum view_result source_get(void *ctx, struct bytes key, struct bytes *value)
{
    struct source *s = ctx;
    uint16_t id = cell_now(s->group, cell_of(s->g, key), &s->saw);
    *value = pool_bytes(id);
    return id ? VIEW_FOUND : VIEW_ABSENT;
}

static enum view_result source_range(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                                     view_each *each, void *each_ctx)
{
    (void)ctx, (void)lo, (void)hi, (void)reverse, (void)each, (void)each_ctx;
    ASSERT(!"no transaction here reads a range");
    return VIEW_MISS;
}

/* ---- the lock table, out of the world and back ---- */

static void table_load_owner(uint32_t g, uint32_t t)
{
    const struct xowner *o = &w->group[g].owner[t];
    struct bytes record = pool_bytes(o->record);
    struct txn_record r = {0};
    struct buf items = {0};
    table.tokens = t; /* an owner's token is the number of its transaction, from 1 */
    if (o->state == LOCK_OPEN + 1) {
        group_items(g, o->exclusive, &items);
        bool taken =
            locks_take(&table, id_of_txn(t), start_of_txn(t), buf_bytes(&items), 0) == LOCKS_TAKEN;
        ASSERT(taken);
        locks_find(&table, id_of_txn(t))->sees = o->sees;
        buf_deinit(&items);
    } else {
        bool sound = txn_record_get(record, &r);
        ASSERT(sound);
        (void)locks_restore(&table, id_of_txn(t), r.start, (enum lock_state)(o->state - 1), r.items,
                            record, 0);
    }
}

static void table_load(uint32_t g)
{
    uint32_t owners = 0;
    locks_clear(&table);
    for (uint32_t t = 0; t < bound.txns; t++)
        if (w->group[g].owner[t].state) table_load_owner(g, t), owners++;
    ASSERT(table.owners == owners); /* nobody was in another's way */
    table.tokens = TXNS;
}

/* What the table says of who is prepared or has decided, the rows say too. */
static void check_rows(uint32_t g, uint32_t t)
{
    uint32_t saw = 0;
    const struct xowner *o = &w->group[g].owner[t];
    uint16_t row = cell_now(&w->group[g], 1 + t, &saw);
    struct bytes record = pool_bytes(row);
    if (MUTANT(MUTANT_TXN_UNLOCKED)) return; /* that it leads to harm is to be shown */
    if (row != o->record) violate("the lock table does not say what the rows say");
    if (row && o->state != (record.data[0] == TXN_PREPARED ? LOCK_PREPARED : LOCK_DECIDED) + 1)
        violate("an owner's state is not what its row says");
}

static void table_store(uint32_t g)
{
    locks_check(&table);
    for (uint32_t t = 0; t < bound.txns; t++) {
        struct xowner *x = &w->group[g].owner[t];
        const struct lock_owner *o = locks_find(&table, id_of_txn(t));
        bool same = o && o->state == LOCK_OPEN && x->state == LOCK_OPEN + 1 && o->token == t + 1;
        if (x->state == LOCK_OPEN + 1 && !same) group_session_lost(g, t);
        *x = (struct xowner){0};
        if (!o) continue;
        x->state = (uint8_t)(o->state + 1);
        x->record = pool_id(o->record);
        x->sees = o->state == LOCK_OPEN ? (uint8_t)o->sees : 0;
        if (o->state == LOCK_OPEN) /* who has the key to itself */
            x->exclusive = locks_bar(&table, group_key(g), LOCK_SHARED);
    }
    locks_clear(&table);
    for (uint32_t t = 0; t < bound.txns; t++) check_rows(g, t);
}

/* ---- what is asked, as a command ---- */

struct call {
    struct bytes v[10];
    struct cmd_args args;
    struct buf id, number, items;
    uint8_t letter;
};

static uint64_t token_of(const struct xask *a)
{
    /* With the bug, each leadership gives 1, 2 and so on: an owner's token is that of the last. */
    if (a->session == SESSION_STALE && !MUTANT(MUTANT_TXN_TOKEN)) return 1000;
    return a->session == SESSION_NONE ? 0 : a->txn + 1u;
}

/* A command of one group. */
static void call_make_plain(struct call *c, const struct xask *a)
{
    c->letter = letter_of(a->txn);
    c->args = (struct cmd_args){c->v, a->kind == APPEND ? 3 : 2};
    c->v[0] = bytes_str(command_text[a->kind]), c->v[1] = group_key(a->group);
    c->v[2] = bytes_of(&c->letter, 1);
}

static void call_make(struct call *c, const struct xask *a)
{
    struct bytes n, data = pool_bytes(a->data);
    *c = (struct call){.args = {c->v, 3}};
    txn_put_id(&c->id, id_of_txn(a->txn));
    buf_u64(&c->number, start_of_txn(a->txn));
    buf_u64(&c->number, token_of(a));
    buf_u64(&c->number, 0);
    buf_u64(&c->number, a->commit);
    group_items(a->group, a->exclusive, &c->items);
    n = buf_bytes(&c->number);
    c->v[0] = BYTES("SYNOD"), c->v[1] = bytes_str(command_text[a->kind]),
    c->v[2] = buf_bytes(&c->id);
    if (a->kind == LOCK) {
        c->args.count = 10;
        c->v[3] = bytes_of(n.data, 8), c->v[4] = bytes_of(n.data + 8, 8);
        c->v[7] = bytes_of(n.data + 16, 8), c->v[9] = buf_bytes(&c->items);
    } else if (a->kind == FINISH) {
        c->args.count = 4;
        c->v[3] = bytes_of(n.data + 24, 8);
    } else if (a->kind <= PREPARE) {
        c->args.count = a->kind == APPLY ? 6 : a->kind == PREPARE ? 5 : 4;
        c->v[3] = bytes_of(n.data + 8, 8), c->v[4] = data, c->v[5] = buf_bytes(&c->items);
    }
}

static void call_free(struct call *c)
{
    buf_deinit(&c->id), buf_deinit(&c->number), buf_deinit(&c->items);
}

/* ---- what it answered ---- */

/* token, now, newest; then one range with the key's row in it, or without (shard/rows.h). */
static void take_locked(struct xask *a, struct bytes reply)
{
    struct reader r = reader_of(reply);
    while (reader_left(&r) && reader_u8(&r) != '\n') {
    }
    uint64_t token = reader_u64(&r);
    (void)reader_u64(&r), (void)reader_u64(&r);
    (void)reader_blob(&r), (void)reader_blob(&r);
    a->data = 0;
    if (reader_u32(&r)) {
        (void)reader_blob(&r);
        a->data = pool_id(reader_blob(&r));
    }
    const struct lock_owner *o = locks_find(&table, id_of_txn(a->txn));
    ASSERT(!r.bad && o && o->token == token);
    a->got = SESSION_LIVE;
}

/* GET: as the row that it was read from (redis/object.h). */
static void take_value(struct xask *a, struct bytes reply)
{
    struct buf row = {0};
    struct reader r = reader_of(reply);
    while (reader_u8(&r) != '\n') {
    }
    if (reader_left(&r) > 2) {
        buf_append(&row, "\1\0", 2);
        buf_append_bytes(&row, reader_take(&r, reader_left(&r) - 2));
    }
    a->data = pool_id(buf_bytes(&row));
    buf_deinit(&row);
}

static void take_reply(struct xask *a, struct bytes reply)
{
    ASSERT(reply.size > 2);
    if (a->kind >= APPEND) {
        ASSERT(reply.data[0] != '-');
        a->reply = R_OK;
        if (a->kind == GET) take_value(a, reply);
        return;
    }
    switch (reply.data[0]) {
    case '+': a->reply = R_OK; break;
    case ':':
        a->reply = reply.data[1] == '1'   ? R_TRUE
                   : reply.data[1] == '2' ? R_TWO
                   : reply.data[1] == '-' ? R_NONE_KNOWN
                                          : R_FALSE;
        break;
    case '$':
        a->reply = R_OK;
        take_locked(a, reply);
        break;
    default: a->reply = memcmp(reply.data, "-TXNLOST", 8) == 0 ? R_TXNLOST : R_ERROR;
    }
}

/* ---- evaluating ---- */

static void log_add(uint32_t g, uint32_t t)
{
    struct xgroup *x = &w->group[g];
    struct xentry e = {.txn = (uint8_t)t};
    struct reader r = reader_of(buf_bytes(&view.effects));
    struct effect f;
    uint32_t saw = 0;
    struct bytes was = pool_bytes(cell_now(x, 1 + t, &saw));
    bool put = false, del = false;
    while (effects_next(&r, &f) == 1) {
        if (f.op == EFFECT_COUNT) continue;
        ASSERT(f.op == EFFECT_PUT || f.op == EFFECT_DEL);
        ASSERT(e.count < 2);
        e.cell[e.count] = (uint8_t)cell_of(g, f.key);
        e.value[e.count] = f.op == EFFECT_PUT ? pool_id(f.value) : 0;
        put |= e.cell[e.count] == 0;
        del |= f.op == EFFECT_DEL && was.size && was.data[0] == TXN_PREPARED;
        e.count++;
    }
    e.what = put ? E_APPLIES : del ? E_LETS_GO : E_OTHER;
    ASSERT(x->pending < PENDING);
    x->log[x->pending++] = e;
}

/* A LOCK that still waits must not begin what has ended. */
static void call_off(uint32_t g, uint32_t t)
{
    for (uint32_t i = 0; i < w->asks; i++) {
        struct xask *a = &w->ask[i];
        if (a->stage != WAITING || a->kind != LOCK || a->group != g || a->txn != t) continue;
        a->stage = ANSWERED;
        a->reply = R_TXNLOST;
    }
}

static void evaluate(struct xask *a, const struct cmd_args *args)
{
    struct source from = {&w->group[a->group], a->group, 0};
    struct view_source source = {source_get, source_range, &from};
    struct reply out = {&reply_text, 2};
    buf_clear(&reply_text);
    view_begin(&view, &source, 0, 0, 0, slot_lo(a->group), slot_lo(a->group + 1));
    view.locks = &table;
    command[a->kind]->fn(&view, args, &out);
    ASSERT(!view.missed && !view.refused);
    take_reply(a, buf_bytes(&reply_text));
    if (view_wrote(&view)) {
        log_add(a->group, a->txn);
        from.saw = w->group[a->group].pending;
    }
    if (a->kind != LOCK && a->kind != HOLDS && a->kind < APPEND)
        txn_evaluated(&table, command[a->kind], args, 0);
    if (a->kind < APPEND) from.saw = (uint32_t)txn_saw(&table, command[a->kind], args, from.saw);
    a->place = (uint8_t)from.saw;
    a->stage = from.saw && !MUTANT(MUTANT_REPLY_BEFORE_CHOSEN) ? HELD : ANSWERED;
}

void group_deliver(struct xask *a)
{
    struct call c;
    uint8_t group = a->group, txn = a->txn, kind = a->kind;
    table_load(group);
    call_make(&c, a);
    if (kind >= APPEND) call_make_plain(&c, a);
    bool barless = kind != LOCK && MUTANT(MUTANT_TXN_BARLESS);
    if (barless || txn_admits(&table, command[kind], &c.args, 0)) {
        evaluate(a, &c.args);
        if (narrate)
            printf("      -> %.*s\n", (int)(reply_text.size > 30 ? 3 : reply_text.size - 2),
                   reply_text.data);
    } else {
        a->stage = WAITING;
    }
    call_free(&c);
    bool done = a->stage != WAITING;
    table_store(group);
    if (done && (kind == FINISH || kind == RESOLVE)) call_off(group, txn);
}

/* ---- the log ---- */

static void entry_apply(struct xgroup *x, const struct xentry *e)
{
    for (uint32_t k = 0; k < e->count; k++) x->cell[e->cell[k]] = e->value[k];
}

void group_choose(uint32_t g, uint32_t count)
{
    struct xgroup *x = &w->group[g];
    struct xentry chosen[PENDING];
    memcpy(chosen, x->log, sizeof chosen);
    for (uint32_t i = 0; i < count; i++) entry_apply(x, &chosen[i]);
    x->pending = (uint8_t)(x->pending - count);
    memmove(x->log, x->log + count, x->pending * sizeof x->log[0]);
    memset(x->log + x->pending, 0, (PENDING - x->pending) * sizeof x->log[0]);
    for (uint32_t t = 0; t < bound.txns; t++)
        x->owner[t].sees = (uint8_t)(x->owner[t].sees > count ? x->owner[t].sees - count : 0);
    for (uint32_t i = 0; i < w->asks; i++) {
        struct xask *a = &w->ask[i];
        if (a->group != g || a->stage != HELD) continue;
        a->place = (uint8_t)(a->place > count ? a->place - count : 0);
        if (!a->place) a->stage = ANSWERED;
    }
    for (uint32_t i = 0; i < count; i++) group_chosen(g, &chosen[i]);
}

/* As node/txn_leader.c: from the rows, and nothing else. */
static void restore(uint32_t g, uint32_t t)
{
    struct bytes record = pool_bytes(w->group[g].cell[1 + t]);
    struct txn_record r;
    struct txn_id id;
    if (!record.size) return;
    bool sound = txn_row_id(name_bytes(&cell_name[g][1 + t]), &id) && txn_record_get(record, &r);
    ASSERT(sound && txn_equal(id, id_of_txn(t)));
    enum lock_state state = r.state == TXN_PREPARED ? LOCK_PREPARED : LOCK_DECIDED;
    (void)locks_restore(&table, id, r.start, state, r.items, record, 0);
}

/* What was evaluated and not chosen is gone; so are owners that are not prepared. Asks of which
 * nothing was done are sent to the next leader, by whoever is there to send them. */
void group_change(uint32_t g, uint32_t keep)
{
    struct xgroup *x = &w->group[g];
    group_choose(g, keep);
    x->pending = 0;
    memset(x->log, 0, sizeof x->log);
    for (uint32_t t = 0; t < bound.txns; t++) group_session_lost(g, t);
    for (uint32_t i = 0; i < w->asks; i++) {
        struct xask *a = &w->ask[i];
        if (a->group != g || (a->stage != WAITING && a->stage != HELD)) continue;
        a->stage = a->heard == BY_NOBODY ? NOWHERE : SENT;
        a->place = a->reply = a->got = 0;
        if (a->kind == LOCK || a->kind == GET) a->data = 0;
    }
    memset(x->owner, 0, sizeof x->owner);
    locks_clear(&table);
    table.tokens = TXNS;
    for (uint32_t t = 0; t < bound.txns && !MUTANT(MUTANT_TXN_UNLOCKED); t++) restore(g, t);
    table_store(g);
}

void group_drop_open(uint32_t g, uint32_t t)
{
    table_load(g);
    locks_drop(&table, locks_find(&table, id_of_txn(t)));
    table_store(g);
}
