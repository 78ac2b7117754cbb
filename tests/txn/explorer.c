/* The explorer of transactions over groups: the real coordinator (txn/txn.h) and the real commands
 * that it asks of groups (redis/txn.h), with everything around them modelled small.
 *
 * A world is some groups of one key each (a log, a leader's lock table: explorer_group.c), some
 * transactions, each with its coordinator (or commands of one group), what these ask of groups,
 * and budgets. Its successors
 * are all that may happen next: a command that was sent arrives, in any order; what waits for locks
 * gets them; entries are chosen; an answer arrives; a leader is followed by another that has any
 * prefix of what was not chosen; a coordinator is gone; a connection is lost with what was asked,
 * so that nobody knows whether it is done (a write; it may still arrive) or it is asked twice (a
 * read); a command was certainly not done; a coordinator gives up; a group with a record of a
 * transaction asks its anchor, or the anchor tells everybody and forgets, as node/txn_leader.c has
 * it; an open owner is dropped.
 *
 * A transaction appends its own letter to the keys that it writes to, so that a key's value tells
 * who wrote it and in which order.
 *
 * Checked in every world:
 *   1. no group has a transaction's effects while another has let go of it; none has them twice;
 *   2. who was told "aborted" is applied nowhere, who was told "committed" is let go of nowhere,
 * and was chosen at the anchor before that was said;
 *   3. the lock table is sound (locks_check), and says what the rows say.
 * And where nothing is under way, after recovery:
 *   4. nothing is left: no record, no owner, nobody waits;
 *   5. a transaction is applied by all that it writes to, or by none; by all if it was told so;
 *   6. values are those of the committed ones in some order, in which each read what it read, and
 *      who was told "committed" before another began is before it (strict serializability).
 *
 * What keeps it small, without hiding an order of events: all that is pending is chosen at once (a
 * part of it: the rest was evaluated after that; view and answers are the same), at once if no
 * leader changes any more; an answer of which nothing follows is nobody's; one recovery at a time
 * for a group and transaction. States are told apart by 128 bits of hash. */
#include "explorer.h"

#include "base/assert.h"
#include "base/mutant.h"
#include "shard/effects.h"

#include <stdio.h>
#include <stdlib.h>

struct bounds bound = {.groups = 2,
                       .txns = 1,
                       .crashes = 1,
                       .changes = 1,
                       .losses = 1,
                       .recoveries = 1,
                       .access = {"ww.", "ww.", "ww."}};
struct world *w;
const char *violation;
bool narrate;

static const char *const ask_name[] = {"LOCK",    "HOLDS",  "APPLY",  "PREPARE",
                                       "DECIDE",  "FINISH", "FORGET", "PREPARED",
                                       "RESOLVE", "APPEND", "GET"};

void violate(const char *what)
{
    if (!violation) violation = what;
    if (narrate) printf("      VIOLATED: %s\n", what);
}

struct txn_id id_of_txn(uint32_t t)
{
    return (struct txn_id){1ull << 48 | 1, t + 1};
}

static uint32_t original(uint32_t t)
{
    return bound.retries && t + 1 == bound.txns ? 0 : t;
}

uint64_t start_of_txn(uint32_t t)
{
    return 100 + original(t);
}

/* ---- bytes, once each ---- */

enum { POOL = 4096 };
static struct buf pool[POOL];
static uint32_t pool_used = 1;

uint16_t pool_id(struct bytes s)
{
    uint32_t i = 1;
    if (!s.size) return 0;
    while (i < pool_used && !bytes_equal(buf_bytes(&pool[i]), s)) i++;
    ASSERT(i < POOL);
    if (i == pool_used) buf_append_bytes(&pool[pool_used++], s);
    return (uint16_t)i;
}

struct bytes pool_bytes(uint16_t id)
{
    return buf_bytes(&pool[id]);
}

/* ---- history ---- */

uint32_t groups_with(uint32_t t, uint8_t fate)
{
    uint32_t n = 0;
    for (uint32_t g = 0; g < bound.groups; g++) n += w->fate[g][t] == fate;
    return n;
}

static void check_fate(uint32_t t)
{
    bool applied = groups_with(t, FATE_APPLIED), let_go = groups_with(t, FATE_LET_GO);
    uint8_t told = w->txn[t].told;
    if (applied && let_go) violate("one group has applied what another has let go of");
    if (applied && told == TXN_ABORTED + 1) violate("who was told \"aborted\" is applied");
    if (let_go && told == TXN_COMMITTED + 1) violate("who was told \"committed\" is let go of");
}

void group_chosen(uint32_t g, const struct xentry *e)
{
    uint8_t *fate = &w->fate[g][e->txn];
    if (e->what == E_OTHER) return;
    if (*fate == FATE_APPLIED && e->what == E_APPLIES) violate("a transaction is applied twice");
    if (*fate == FATE_LET_GO) violate("a group goes on with what it has let go of");
    if (*fate != FATE_APPLIED)
        *fate = e->what == E_APPLIES ? FATE_APPLIED : FATE_LET_GO;
    else if (e->what == E_LETS_GO)
        violate("a group lets go of what it has applied");
    check_fate(e->txn);
}

uint32_t writers(uint32_t t)
{
    uint32_t n = 0;
    for (uint32_t g = 0; g < bound.groups; g++)
        n += access_of(t, g) == 'w' || access_of(t, g) == 'u' || access_of(t, g) == 'a';
    return n;
}

static void tell(uint32_t t, uint8_t outcome)
{
    static const char *const text[] = {"committed", "aborted", "unknown"};
    if (narrate) printf("      client of T%u is told: %s\n", t, text[outcome]);
    ASSERT(!w->txn[t].told);
    w->txn[t].told = (uint8_t)(outcome + 1);
    for (uint32_t g = 0; g < bound.groups && outcome == TXN_COMMITTED; g++) {
        bool chosen = w->fate[g][t] == FATE_APPLIED || (writers(t) > 1 && w->group[g].cell[1 + t]);
        if (exclusive(t, g) && !chosen) violate("\"committed\" is told before it is chosen");
    }
    check_fate(t);
}

/* ---- asks ---- */

static void ask_add(struct xask a)
{
    ASSERT(w->asks < ASKS);
    if (narrate)
        printf("      %s %u asks G%u: %s T%u%s\n", a.from ? "group" : "coordinator",
               a.from ? a.from - 1u : a.txn, a.group, ask_name[a.kind], a.txn,
               a.kind == FINISH && a.commit ? " commit" : "");
    w->ask[w->asks++] = a;
}

void group_session_lost(uint32_t g, uint32_t t)
{
    for (uint32_t i = 0; i < w->asks; i++) {
        struct xask *a = &w->ask[i];
        if (a->group != g || a->txn != t) continue;
        if (a->session) a->session = SESSION_STALE;
        if (a->got) a->got = SESSION_STALE;
    }
    if (w->txn[t].part[g].session) w->txn[t].part[g].session = SESSION_STALE;
}

static bool is_read(const struct xask *a)
{
    return a->kind == LOCK || a->kind == HOLDS || a->kind == PREPARED || a->kind == GET;
}

/* ---- coordinators: parts are the groups that a transaction has to do with ---- */

struct driver {
    struct txn machine;
    struct txn_part part[GROUPS];
    uint32_t t, count, group[GROUPS];
};

static void driver_load(struct driver *d, uint32_t t)
{
    const struct xcoordinator *c = &w->txn[t];
    *d = (struct driver){.t = t};
    for (uint32_t i = 0; i < bound.groups; i++) {
        uint32_t g = bound.open && t % 2 ? bound.groups - 1 - i : i; /* so that they meet */
        if (access_of(t, g) != '.') d->group[d->count++] = g;
    }
    for (uint32_t i = 0; i < d->count; i++) {
        uint32_t g = d->group[i];
        d->part[i] = (struct txn_part){c->part[g].writes, c->part[g].open, c->part[g].prepared,
                                       c->part[g].lost};
    }
    d->machine = (struct txn){.part = d->part,
                              .count = c->parts,
                              .phase = c->phase,
                              .answered = c->answered,
                              .in_doubt = c->in_doubt,
                              .commits = c->commits,
                              .anchor = c->anchor,
                              .open = c->open};
}

static void driver_store(const struct driver *d)
{
    struct xcoordinator *c = &w->txn[d->t];
    const struct txn *m = &d->machine;
    for (uint32_t i = 0; i < d->count; i++) {
        c->part[d->group[i]].writes = d->part[i].writes;
        c->part[d->group[i]].open = d->part[i].open;
        c->part[d->group[i]].prepared = d->part[i].prepared;
        c->part[d->group[i]].lost = d->part[i].lost;
    }
    c->phase = m->phase;
    c->parts = (uint8_t)m->count;
    c->answered = m->answered, c->in_doubt = m->in_doubt, c->commits = m->commits;
    c->anchor = (uint8_t)m->anchor;
    c->open = (uint8_t)m->open;
}

static void on_effect(void *ctx, const struct txn_effect *fx);

static void step(struct driver *d, uint8_t event, uint32_t part)
{
    txn_step(&d->machine, &(struct txn_event){event, part}, on_effect, d);
}

static void machine_step(uint32_t t, uint8_t event, uint32_t group)
{
    struct driver d;
    uint32_t part = 0;
    driver_load(&d, t);
    while (part + 1 < d.count && d.group[part] != group) part++;
    step(&d, event, part);
    driver_store(&d);
}

/* The key's row with this transaction's letter behind what was read. */
static void put_effects(uint32_t t, uint32_t g, struct buf *out)
{
    struct bytes old = pool_bytes(w->txn[t].part[g].read);
    struct buf value = {0};
    if (old.size)
        buf_append_bytes(&value, old);
    else
        buf_append(&value, "\1\0", 2); /* a string that does not expire (redis/object.h) */
    buf_u8(&value, letter_of(t));
    effects_put(out, group_meta(g), buf_bytes(&value));
    buf_deinit(&value);
}

static uint16_t record_of(const struct driver *d, uint32_t g)
{
    struct buf groups = {0}, items = {0}, effects = {0}, record = {0};
    struct txn_record r = {
        .state = TXN_PREPARED, .start = start_of_txn(d->t), .anchor = d->group[d->machine.anchor]};
    for (uint32_t i = 0; i < d->count; i++)
        if (d->part[i].writes) buf_u32(&groups, d->group[i]), r.count++;
    group_items(g, true, &items);
    put_effects(d->t, g, &effects);
    r.groups = buf_bytes(&groups), r.items = buf_bytes(&items), r.effects = buf_bytes(&effects);
    txn_record_put(&record, &r);
    uint16_t id = pool_id(buf_bytes(&record));
    buf_deinit(&groups), buf_deinit(&items), buf_deinit(&effects), buf_deinit(&record);
    return id;
}

static uint16_t effects_of(const struct driver *d, uint32_t g)
{
    struct buf effects = {0};
    put_effects(d->t, g, &effects);
    uint16_t id = pool_id(buf_bytes(&effects));
    buf_deinit(&effects);
    return id;
}

bool exclusive(uint32_t t, uint32_t g)
{
    return access_of(t, g) == 'w' || access_of(t, g) == 'a' || w->txn[t].upgraded >> g & 1;
}

static const uint8_t kind_of[] = {
    [TXN_FX_LOCK] = LOCK,         [TXN_FX_HOLDS] = HOLDS,     [TXN_FX_PREPARE] = PREPARE,
    [TXN_FX_APPLY] = APPLY,       [TXN_FX_DECIDE] = DECIDE,   [TXN_FX_FINISH] = FINISH,
    [TXN_FX_PREPARED] = PREPARED, [TXN_FX_RESOLVE] = RESOLVE,
};

static void send_part(const struct driver *d, uint32_t g)
{
    const struct xcoordinator *c = &w->txn[d->t];
    struct xask a = {.stage = SENT,
                     .kind = kind_of[c->part[g].asked],
                     .txn = (uint8_t)d->t,
                     .group = (uint8_t)g,
                     .heard = BY_ASKER};
    for (uint32_t i = 0; i < w->asks; i++) { /* answers to earlier ones are for nobody */
        struct xask *o = &w->ask[i];
        if (!o->from && o->txn == d->t && o->group == g && o->heard == BY_ASKER)
            o->heard = BY_REQUEST;
    }
    if (a.kind <= PREPARE) a.session = c->part[g].session;
    if (a.kind == LOCK || a.kind == APPLY) a.exclusive = exclusive(d->t, g);
    if (a.kind == FINISH) a.commit = c->part[g].commit;
    if (a.kind == PREPARE) a.data = record_of(d, g);
    if (a.kind == APPLY) a.data = effects_of(d, g);
    ask_add(a);
}

static void evaluate(struct driver *d)
{
    struct xcoordinator *c = &w->txn[d->t];
    uint32_t has = d->machine.count;
    if (has < d->count) {
        txn_grow(&d->machine, d->part, has + 1);
        step(d, TXN_EV_MORE, has);
        return;
    }
    for (uint32_t i = 0; i < d->count; i++) {
        uint32_t g = d->group[i];
        if (access_of(d->t, g) == 'u' && !exclusive(d->t, g)) {
            c->upgraded |= (uint8_t)(1 << g);
            step(d, TXN_EV_MORE, i);
            return;
        }
    }
    for (uint32_t i = 0; i < d->count; i++) d->part[i].writes = exclusive(d->t, d->group[i]);
    step(d, TXN_EV_EVALUATED, 0);
}

static void on_effect(void *ctx, const struct txn_effect *fx)
{
    struct driver *d = ctx;
    struct xcoordinator *c = &w->txn[d->t];
    uint32_t g = d->group[fx->part];
    switch (fx->type) {
    case TXN_FX_EVALUATE: evaluate(d); break;
    case TXN_FX_ANSWER: tell(d->t, fx->outcome); break;
    case TXN_FX_OVER: break;
    case TXN_FX_FORGET:
        ask_add((struct xask){.stage = SENT,
                              .kind = FORGET,
                              .txn = (uint8_t)d->t,
                              .group = (uint8_t)g,
                              .heard = BY_NOBODY});
        break;
    case TXN_FX_AGAIN: c->part[g].again = true; break;
    default:
        c->part[g].asked = fx->type;
        c->part[g].again = false;
        c->part[g].commit = fx->commit;
        send_part(d, g);
    }
}

static bool any_again(uint32_t t)
{
    bool any = false;
    for (uint32_t g = 0; g < bound.groups; g++) any |= w->txn[t].part[g].again;
    return any;
}

static void do_again(uint32_t t)
{
    struct driver d;
    driver_load(&d, t);
    for (uint32_t g = 0; g < bound.groups; g++) {
        if (!w->txn[t].part[g].again) continue;
        w->txn[t].part[g].again = false;
        send_part(&d, g);
    }
}

/* Is it a command of one group? Then there is no coordinator but who sends it. UINT32_MAX: no. */
static uint32_t plain(uint32_t t)
{
    for (uint32_t g = 0; g < bound.groups; g++)
        if (access_of(t, g) == 'a' || access_of(t, g) == 'g') return g;
    return UINT32_MAX;
}

static void do_begin_plain(uint32_t t)
{
    uint32_t g = plain(t);
    ask_add((struct xask){.stage = SENT,
                          .kind = access_of(t, g) == 'a' ? APPEND : GET,
                          .txn = (uint8_t)t,
                          .group = (uint8_t)g,
                          .heard = BY_ASKER});
}

static void plain_hears(const struct xask *a)
{
    struct xcoordinator *c = &w->txn[a->txn];
    if (a->heard != BY_ASKER) return;
    c->part[a->group].read = a->data;
    c->phase = TXN_OVER;
    tell(a->txn, a->reply == R_OK        ? TXN_COMMITTED
                 : a->reply == R_UNKNOWN ? TXN_UNKNOWN
                                         : TXN_ABORTED);
}

static void do_begin(uint32_t t)
{
    struct driver d;
    struct xcoordinator *c = &w->txn[t];
    c->begun = true;
    for (uint32_t o = 0; o < bound.txns; o++)
        if (w->txn[o].told == TXN_COMMITTED + 1) c->before |= (uint8_t)(1 << o);
    if (plain(t) < GROUPS) {
        do_begin_plain(t);
        return;
    }
    driver_load(&d, t);
    if (bound.open) {
        txn_init_open(&d.machine);
        evaluate(&d);
    } else {
        txn_init(&d.machine, d.part, d.count);
        step(&d, TXN_EV_BEGIN, 0);
    }
    driver_store(&d);
}

/* What it asked may still arrive; nobody hears what became of it. */
static void do_crash(uint32_t t)
{
    w->txn[t].dead = true;
    for (uint32_t i = 0; i < w->asks; i++)
        if (!w->ask[i].from && w->ask[i].txn == t) w->ask[i].heard = BY_NOBODY;
}

static void finish_late(uint32_t t, uint32_t g)
{
    ask_add((struct xask){.stage = SENT,
                          .kind = FINISH,
                          .txn = (uint8_t)t,
                          .group = (uint8_t)g,
                          .heard = BY_REQUEST});
}

static void coordinator_hears(const struct xask *a)
{
    struct xcoordinator *c = &w->txn[a->txn];
    uint8_t event = TXN_EV_YES;
    if (a->heard != BY_ASKER || c->phase == TXN_OVER) {
        if (a->kind == LOCK && a->reply == R_OK) finish_late(a->txn, a->group);
        return;
    }
    ASSERT(kind_of[c->part[a->group].asked] == a->kind);
    if (a->reply == R_UNKNOWN) event = TXN_EV_LOST;
    if (a->reply == R_FAILED) event = TXN_EV_FAILED;
    if (a->reply == R_TXNLOST || a->reply == R_ERROR || a->reply == R_FALSE) event = TXN_EV_NO;
    if (a->reply == R_NONE_KNOWN) event = TXN_EV_NONE;
    if (a->kind == LOCK && a->reply == R_OK) {
        c->part[a->group].session = a->got;
        c->part[a->group].read = a->data;
    }
    machine_step(a->txn, event, a->group);
}

/* ---- recovery: node/txn_leader.c ---- */

static void errand_ask(uint32_t g, uint32_t t, uint32_t to, uint8_t kind, bool commit)
{
    ask_add((struct xask){.stage = SENT,
                          .kind = kind,
                          .txn = (uint8_t)t,
                          .group = (uint8_t)to,
                          .from = (uint8_t)(g + 1),
                          .heard = BY_ASKER,
                          .commit = commit});
}

static void errand_finished(uint32_t g, uint32_t t, bool ok)
{
    struct xerrand *e = &w->errand[g][t];
    e->failed |= !ok;
    if (--e->open) return;
    bool failed = e->failed;
    *e = (struct xerrand){.phase = failed ? ERRAND_NONE : ERRAND_FORGET};
    if (!failed) errand_ask(g, t, g, FORGET, false);
}

static void tell_all(uint32_t g, uint32_t t)
{
    struct xerrand *e = &w->errand[g][t];
    const struct xowner *o = &w->group[g].owner[t];
    struct txn_record r;
    *e = (struct xerrand){0};
    if (o->state != LOCK_DECIDED + 1 || !txn_record_get(pool_bytes(o->record), &r)) return;
    struct reader groups = reader_of(r.groups);
    e->phase = ERRAND_TELL;
    e->open = (uint8_t)r.count;
    for (uint32_t i = 0; i < r.count; i++) {
        uint32_t to = reader_u32(&groups);
        if (to == g)
            errand_finished(g, t, true);
        else
            errand_ask(g, t, to, FINISH, true);
    }
}

static void was_decided(uint32_t g, uint32_t t)
{
    w->errand[g][t] = (struct xerrand){.phase = ERRAND_FINISH};
    errand_ask(g, t, g, FINISH, true);
}

static void was_refused(uint32_t g, uint32_t t, uint32_t anchor)
{
    w->errand[g][t] = (struct xerrand){.phase = ERRAND_RESOLVE};
    errand_ask(g, t, anchor, RESOLVE, false);
}

static void gather(uint32_t g, uint32_t t, const struct txn_record *r)
{
    struct reader groups = reader_of(r->groups);
    if (MUTANT(MUTANT_TXN_ALONE)) {
        was_refused(g, t, r->anchor);
    } else if (MUTANT(MUTANT_TXN_UNASKED)) {
        was_decided(g, t);
    } else {
        w->errand[g][t] = (struct xerrand){
            .phase = ERRAND_GATHER, .open = (uint8_t)r->count, .anchor = (uint8_t)r->anchor};
        for (uint32_t i = 0; i < r->count; i++)
            errand_ask(g, t, reader_u32(&groups), PREPARED, false);
    }
}

/* The others may still be asked; what they say is for nobody. */
static void gathers_no_more(uint32_t g, uint32_t t)
{
    for (uint32_t i = 0; i < w->asks; i++)
        if (w->ask[i].from == g + 1 && w->ask[i].txn == t && w->ask[i].kind == PREPARED)
            w->ask[i].heard = BY_NOBODY;
}

static void gather_hears(uint32_t g, uint32_t t, uint8_t reply)
{
    struct xerrand *e = &w->errand[g][t];
    uint8_t anchor = e->anchor;
    if (reply == R_TRUE || reply == R_FALSE) {
        gathers_no_more(g, t);
        reply == R_TRUE ? was_decided(g, t) : was_refused(g, t, anchor);
        return;
    }
    e->failed |= reply != R_TWO;
    if (--e->open) return;
    *e = (struct xerrand){.phase = e->failed ? ERRAND_NONE : ERRAND_DECIDE, .anchor = anchor};
    if (e->phase == ERRAND_DECIDE) errand_ask(g, t, anchor, DECIDE, true);
}

static bool is_left(uint32_t t)
{
    return w->txn[t].dead || w->txn[t].phase == TXN_OVER;
}

static void do_recover(uint32_t g, uint32_t t)
{
    struct xerrand *e = &w->errand[g][t];
    const struct xowner *o = &w->group[g].owner[t];
    struct txn_record r;
    bool sound = txn_record_get(pool_bytes(o->record), &r);
    ASSERT(sound);
    if (o->state == LOCK_DECIDED + 1 && MUTANT(MUTANT_TXN_UNSEEN)) {
        tell_all(g, t);
    } else if (o->state == LOCK_DECIDED + 1) {
        e->phase = ERRAND_SWEEP;
        errand_ask(g, t, g, PREPARED, false);
    } else {
        gather(g, t, &r);
    }
}

static void errand_hears(const struct xask *a)
{
    uint32_t g = a->from - 1u, t = a->txn;
    struct xerrand *e = &w->errand[g][t];
    bool number = a->reply == R_TRUE || a->reply == R_FALSE || a->reply == R_NONE_KNOWN;
    bool goes_on = a->reply == R_TRUE && e->anchor != g;
    if (a->heard != BY_ASKER) return;
    switch (e->phase) {
    case ERRAND_GATHER: gather_hears(g, t, a->reply); break;
    case ERRAND_DECIDE:
        *e = (struct xerrand){.phase = goes_on ? ERRAND_FINISH : ERRAND_NONE};
        if (goes_on) errand_ask(g, t, g, FINISH, true);
        break;
    case ERRAND_RESOLVE:
        e->phase = number ? ERRAND_FINISH : ERRAND_NONE;
        if (number) errand_ask(g, t, g, FINISH, a->reply == R_TRUE);
        break;
    case ERRAND_SWEEP:
        if (a->reply == R_TRUE)
            tell_all(g, t);
        else
            e->phase = ERRAND_NONE;
        break;
    case ERRAND_TELL: errand_finished(g, t, a->reply == R_OK); break;
    default: e->phase = ERRAND_NONE;
    }
}

static void hear(const struct xask *a)
{
    if (a->from)
        errand_hears(a);
    else if (a->kind >= APPEND)
        plain_hears(a);
    else
        coordinator_hears(a);
}

/* ---- what goes wrong ---- */

/* The connection to the leader is lost, with what was asked over it. */
static void do_lose(uint32_t k)
{
    struct xask a = w->ask[k];
    bool travels = a.stage == SENT || a.stage == WAITING;
    w->losses += 1;
    w->ask[k].heard = BY_NOBODY; /* it may still arrive */
    if (!travels) w->ask[k].stage = NOWHERE;
    if (!is_read(&a)) {
        a.reply = R_UNKNOWN;
        if (a.heard == BY_ASKER) hear(&a);
        return;
    }
    a.stage = SENT;
    a.place = a.reply = a.got = 0;
    if (a.kind == LOCK || a.kind == GET) a.data = 0;
    ask_add(a);
}

static void do_fail(uint32_t k)
{
    struct xask a = w->ask[k];
    w->failures += 1;
    w->ask[k].stage = NOWHERE;
    a.reply = R_FAILED;
    hear(&a);
}

/* ---- canonical form ---- */

static bool for_nobody(const struct xask *a)
{
    if (a->stage == NOWHERE) return true;
    if (a->stage == SENT || a->stage == WAITING || a->heard == BY_ASKER) return false;
    if (a->heard == BY_NOBODY) return true;
    return a->stage == ANSWERED && !(a->kind == LOCK && a->reply == R_OK);
}

static int ask_order(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct xask));
}

static void settle_asks(void)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->asks; i++) {
        struct xask a = w->ask[i];
        if (for_nobody(&a)) continue;
        if (a.heard != BY_ASKER && a.kind == LOCK) a.data = 0, a.got = 0;
        w->ask[kept++] = a;
    }
    memset(&w->ask[kept], 0, (w->asks - kept) * sizeof w->ask[0]);
    w->asks = (uint8_t)kept;
    qsort(w->ask, kept, sizeof w->ask[0], ask_order);
}

static void settle_coordinator(uint32_t t)
{
    struct xcoordinator *c = &w->txn[t];
    bool ended = c->dead || c->phase == TXN_OVER;
    bool lost = groups_with(t, FATE_LET_GO) || c->told == TXN_ABORTED + 1;
    if (!ended) return;
    struct xcoordinator kept = {.begun = true,
                                .dead = c->dead,
                                .phase = TXN_OVER,
                                .told = c->told,
                                .before = lost ? 0 : c->before,
                                .upgraded = c->upgraded};
    for (uint32_t g = 0; g < bound.groups && !lost; g++) kept.part[g].read = c->part[g].read;
    *c = kept;
}

static void settle(void)
{
    for (uint32_t g = 0; g < bound.groups && w->changes >= bound.changes; g++)
        group_choose(g, w->group[g].pending);
    settle_asks();
    for (uint32_t t = 0; t < bound.txns; t++) settle_coordinator(t);
}

/* ---- actions ---- */

static void describe(struct action x)
{
    static const char *const text[] = {"begin",         "deliver", "answer",  "choose",
                                       "change leader", "crash",   "lose",    "fail",
                                       "again",         "give up", "recover", "drop open owner"};
    if (x.type == A_DELIVER || x.type == A_ANSWER || x.type == A_LOSE || x.type == A_FAIL) {
        const struct xask *a = &w->ask[x.a];
        printf("  %s %s T%u%s at G%u (of %s %u%s)\n", text[x.type], ask_name[a->kind], a->txn,
               a->kind == FINISH && a->commit ? " commit" : "", a->group,
               a->from ? "group" : "coordinator", a->from ? a->from - 1u : a->txn,
               a->heard == BY_ASKER ? "" : ", for nobody");
    } else {
        printf("  %s %u (%u)\n", text[x.type], x.a, x.b);
    }
}

static void do_answer(uint32_t k)
{
    struct xask a = w->ask[k];
    w->ask[k].stage = NOWHERE;
    hear(&a);
}

void act(struct action x)
{
    if (narrate) describe(x);
    switch (x.type) {
    case A_BEGIN: do_begin(x.a); break;
    case A_DELIVER: group_deliver(&w->ask[x.a]); break;
    case A_ANSWER: do_answer(x.a); break;
    case A_CHOOSE: group_choose(x.a, w->group[x.a].pending); break;
    case A_CHANGE: w->changes += 1, group_change(x.a, x.b); break;
    case A_CRASH: w->crashes += 1, do_crash(x.a); break;
    case A_LOSE: do_lose(x.a); break;
    case A_FAIL: do_fail(x.a); break;
    case A_AGAIN: do_again(x.a); break;
    case A_GIVE_UP:
        w->impatience += 1;
        for (uint32_t g = 0; g < bound.groups; g++) w->txn[x.a].part[g].again = false;
        machine_step(x.a, TXN_EV_GIVE_UP, 0);
        break;
    case A_RECOVER:
        w->recoveries = (uint8_t)(w->recoveries + !is_left(x.b));
        do_recover(x.a, x.b);
        break;
    case A_SLOW:
        if (w->txn[x.b].phase != TXN_OVER) w->impatience += 1;
        group_drop_open(x.a, x.b);
        break;
    default: abort();
    }
    settle();
}

static uint32_t actions_of_ask(uint8_t k, struct action *out)
{
    const struct xask *a = &w->ask[k];
    uint32_t n = 0;
    bool travels = a->stage == SENT || a->stage == WAITING;
    if (travels) out[n++] = (struct action){A_DELIVER, k, 0};
    if (a->stage == ANSWERED) out[n++] = (struct action){A_ANSWER, k, 0};
    bool lost = a->heard == BY_ASKER || (a->heard == BY_REQUEST && is_read(a));
    if (w->losses < bound.losses && lost) out[n++] = (struct action){A_LOSE, k, 0};
    if (w->failures < bound.failures && travels && a->heard == BY_ASKER)
        out[n++] = (struct action){A_FAIL, k, 0};
    return n;
}

static uint32_t actions_of_txn(uint8_t t, struct action *out)
{
    const struct xcoordinator *c = &w->txn[t];
    uint32_t n = 0;
    bool first = original(t) == t || w->txn[0].told == TXN_ABORTED + 1;
    if (!c->begun && first) out[n++] = (struct action){A_BEGIN, t, 0};
    if (!c->begun || c->phase == TXN_OVER) return n;
    if (w->crashes < bound.crashes) out[n++] = (struct action){A_CRASH, t, 0};
    bool again = any_again(t);
    if (plain(t) < GROUPS) return n;
    if (again) out[n++] = (struct action){A_AGAIN, t, 0};
    bool gives_up = c->phase <= TXN_VOTING || (again && c->phase != TXN_APPLYING);
    if (w->impatience < bound.impatience && gives_up) out[n++] = (struct action){A_GIVE_UP, t, 0};
    return n;
}

static uint32_t actions_of_group(uint8_t g, struct action *out)
{
    const struct xgroup *x = &w->group[g];
    uint32_t n = 0;
    if (x->pending) out[n++] = (struct action){A_CHOOSE, g, 0};
    for (uint8_t keep = 0; keep <= x->pending && w->changes < bound.changes; keep++)
        out[n++] = (struct action){A_CHANGE, g, keep};
    for (uint8_t t = 0; t < bound.txns; t++) {
        uint8_t state = x->owner[t].state;
        bool over = w->txn[t].phase == TXN_OVER || w->impatience < bound.impatience;
        if (state == LOCK_OPEN + 1 && over) out[n++] = (struct action){A_SLOW, g, t};
        bool may = is_left(t) || w->recoveries < bound.recoveries;
        if (state > LOCK_OPEN + 1 && may && !w->errand[g][t].phase)
            out[n++] = (struct action){A_RECOVER, g, t};
    }
    return n;
}

uint32_t actions(struct action *out)
{
    uint32_t n = 0;
    for (uint8_t k = 0; k < w->asks; k++)
        if (k == 0 || ask_order(&w->ask[k], &w->ask[k - 1])) n += actions_of_ask(k, out + n);
    for (uint8_t t = 0; t < bound.txns; t++) n += actions_of_txn(t, out + n);
    for (uint8_t g = 0; g < bound.groups; g++) n += actions_of_group(g, out + n);
    return n;
}

void genesis(void)
{
    memset(w, 0, sizeof *w);
}
