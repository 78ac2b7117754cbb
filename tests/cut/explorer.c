/* The explorer of cuts: the real coordinator (txn/cut.h), the real hold and commands of a group's
 * leader (txn/hold.h, redis/cut.h) and the real coordinator of a transaction (txn/txn.h), with
 * everything around them modelled small.
 *
 * Two groups, each a log: entries are pending, then chosen, all at once; another leader keeps any
 * number of those that were pending, and no hold. What is asked arrives in any order, or is lost to
 * who asked and arrives all the same, or twice. A hold may run out at any time; the cut's
 * coordinator may give up, or vanish, and tries again. Replies leave once what they saw is chosen
 * and nothing holds them.
 *
 *   1  writes x in group 0, and, told so, y in group 1
 *   2  reads x; if it is there writes z in group 1
 *   T  a transaction that writes to both groups (docs/TXN.md; its coordinator may vanish)
 *   3  told that T is committed, writes u in group 1
 *   4  reads what T wrote in group 0; if it is there writes v in group 1
 *   5  the same the other way: w in group 0
 *
 * Of each cut that is made: y and z are in it only with x; u, v and w only with T; T is in it in
 * both groups or in none; and what was acknowledged before it was asked for is in it.
 *
 *   explorer [--actors 12T345] [--changes N] [--losses N] [--doubles N] [--runouts N] [--crashes N]
 *            [--attempts N] [--early 1] [--mutant N] [--max-states N]
 *
 * --early: each group's SNAP is asked for once it alone is frozen. That finds nothing: what counts
 * is that a group holds from its SNAP until all SNAPs are chosen (docs/SNAPSHOTS.md). Exit status:
 * 0 nothing found, 1 found (the path is printed), 2 usage or memory. */
#include "../explore.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/mutant.h"
#include "redis/cut.h"
#include "ring/slot.h"
#include "shard/effects.h"
#include "txn/txn.h"

#include <time.h>

int mutant_active;
sigjmp_buf on_assert;

enum { GROUPS = 2, ASKS = 14, PENDING = 8, ATTEMPTS = 2, LIST = 200 };
enum { X = 1, W = 2, Y = 1, Z = 2, U = 4, V = 8 }; /* in group 0; in group 1 */

enum kind { WRITE, READ_X, READ_T, PREPARE, DECIDE, FINISH, FORGET, FREEZE, SNAP, RESUME, LETGO };
static const char *const kind_name[] = {"WRITE",  "READ x", "READ T", "PREPARE", "DECIDE", "FINISH",
                                        "FORGET", "FREEZE", "SNAP",   "RESUME",  "LETGO"};
enum actor { ONE, TWO, TXN, THREE, FOUR, FIVE, CUT };
static const char actor_name[] = "12T345C";
enum stage { NOWHERE, SENT, HELD };
enum t_state { T_NONE, T_PREPARED, T_DECIDED, T_DONE, T_GONE };

struct ask {
    uint8_t stage, kind, actor, group;
    uint8_t bit;             /* WRITE */
    uint8_t commit;          /* FINISH */
    uint8_t cut;             /* of the cut's; its number */
    uint8_t deaf;            /* nobody hears the answer */
    uint8_t place, era;      /* HELD: so many pending entries it saw; in which leadership */
    uint8_t yes, saw;        /* the answer */
    uint8_t rows, unused[3]; /* RESUME: the t_state of its rows */
};

struct entry {
    uint8_t kind, bit, cut, commit;
};

struct kept {
    uint8_t taken, bits, t, unused;
};

struct group {
    uint8_t bits, t, era, pending;
    struct entry log[PENDING];
    struct kept kept[ATTEMPTS + 1];
    struct cut_hold hold;
};

struct world {
    struct group group[GROUPS];
    struct ask ask[ASKS];
    uint8_t asks;
    uint8_t at[CUT];       /* how far the clients are: 0 nothing asked, 1 first asked, ... */
    uint8_t acked[GROUPS]; /* bits */
    uint8_t told;          /* of T: outcome + 1 */
    uint8_t t_dead, t_begun;
    struct txn txn; /* its pointer is set by whoever steps it */
    struct txn_part part[GROUPS];
    uint8_t cut, cut_runs, made; /* the number of the attempt */
    uint8_t acked_before[GROUPS], told_before;
    uint8_t early[GROUPS]; /* its SNAP is chosen before the machine asks for it */
    uint8_t rows[GROUPS];
    uint64_t leadership[GROUPS];
    struct cut machine;
    struct cut_part cut_part[GROUPS];
    uint8_t changes, losses, doubles, runouts, crashes, unused[3];
};
_Static_assert(sizeof(struct world) % 8 == 0, "worlds are kept as words");

static struct world world, *w = &world;
static uint32_t changes_max = 1, losses_max = 1, doubles_max = 1, runouts_max = 1, crashes_max = 1,
                attempts_max = 2;
static bool early, on[CUT + 1], narrate;
static const char *violation;

static void violate(const char *what)
{
    if (!violation) violation = what;
    if (narrate) printf("      VIOLATED: %s\n", what);
}

static struct ask *ask_add(struct ask a)
{
    ASSERT(w->asks < ASKS);
    a.stage = SENT;
    if (narrate)
        printf("      %c asks G%u: %s%s\n", actor_name[a.actor], a.group, kind_name[a.kind],
               a.kind == FINISH && a.commit ? " commit" : "");
    w->ask[w->asks] = a;
    return &w->ask[w->asks++];
}

static void ask_remove(uint32_t i)
{
    w->ask[i] = w->ask[--w->asks];
    w->ask[w->asks] = (struct ask){0};
}

/* ---- the transaction ---- */

static void txn_sink_fx(void *ctx, const struct txn_effect *fx);

static void t_step(uint8_t event, uint32_t part)
{
    w->txn.part = w->part;
    txn_step(&w->txn, &(struct txn_event){event, part}, txn_sink_fx, NULL);
    w->txn.part = NULL;
}

static void t_ask(uint8_t kind, uint32_t g, bool commit)
{
    for (uint32_t i = 0; i < w->asks; i++) /* answers to earlier ones are for nobody */
        if (w->ask[i].actor == TXN && w->ask[i].group == g) w->ask[i].deaf = true;
    (void)ask_add((struct ask){
        .kind = kind, .actor = TXN, .group = (uint8_t)g, .commit = kind == FINISH && commit});
}

/* Locks are there at once. */
static void txn_sink_fx(void *ctx, const struct txn_effect *fx)
{
    (void)ctx;
    switch (fx->type) {
    case TXN_FX_LOCK: break;
    case TXN_FX_EVALUATE: break;
    case TXN_FX_PREPARE: t_ask(PREPARE, fx->part, false); break;
    case TXN_FX_DECIDE: t_ask(DECIDE, fx->part, false); break;
    case TXN_FX_FINISH: t_ask(FINISH, fx->part, fx->commit); break;
    case TXN_FX_FORGET: /* nobody waits for the answer */
        (void)ask_add(
            (struct ask){.kind = FORGET, .actor = TXN, .group = (uint8_t)fx->part, .deaf = true});
        break;
    case TXN_FX_ANSWER:
        w->told = (uint8_t)(fx->outcome + 1);
        if (narrate) printf("      T is %s\n", fx->outcome ? "not committed" : "committed");
        break;
    case TXN_FX_OVER: break;
    default: ASSERT(!"not lost, so not asked for");
    }
}

static void t_begin(void)
{
    w->t_begun = true;
    txn_init(&w->txn, w->part, GROUPS);
    t_step(TXN_EV_BEGIN, 0);
    for (uint32_t g = 0; g < GROUPS; g++) t_step(TXN_EV_YES, g);
    for (uint32_t g = 0; g < GROUPS; g++) w->part[g].writes = true;
    t_step(TXN_EV_EVALUATED, 0);
}

/* ---- a group ---- */

static void entry_apply(const struct entry *e, uint8_t *bits, uint8_t *t, uint32_t g)
{
    switch (e->kind) {
    case WRITE: *bits |= e->bit; break;
    case PREPARE: *t = T_PREPARED; break;
    case DECIDE: *t = T_DECIDED; break;
    case FINISH: *t = e->commit ? T_DONE : T_GONE; break;
    case FORGET: *t = T_DONE; break;
    default: break;
    }
    (void)g;
}

/* As the leader sees it: what is pending counts. */
static void group_now(uint32_t g, uint8_t *bits, uint8_t *t)
{
    const struct group *x = &w->group[g];
    *bits = x->bits, *t = x->t;
    for (uint32_t i = 0; i < x->pending; i++) entry_apply(&x->log[i], bits, t, g);
}

static void log_add(struct group *x, struct ask *a)
{
    ASSERT(x->pending < PENDING);
    x->log[x->pending++] = (struct entry){a->kind, a->bit, a->cut, a->commit};
    a->place = x->pending;
}

/* One row, of T, as a leader would put it. */
static struct bytes rows_of(uint8_t t)
{
    static struct buf rows[T_GONE + 1];
    if (t != T_PREPARED && t != T_DECIDED) return (struct bytes){0};
    if (!rows[t].size) {
        buf_u64(&rows[t], 1), buf_u64(&rows[t], 1);
        buf_u8(&rows[t], t == T_DECIDED);
        buf_varint(&rows[t], GROUPS);
        for (uint32_t g = 0; g < GROUPS; g++) buf_u32(&rows[t], g);
    }
    return buf_bytes(&rows[t]);
}

static uint8_t rows_t(struct bytes rows)
{
    if (!rows.size) return T_NONE;
    return rows.data[16] ? T_DECIDED : T_PREPARED;
}

static void hold_settle(struct cut_hold *h)
{
    h->now = 1;
    if (!h->cut) h->since = h->until = 0;
    h->rests_until = h->last_ns = 0;
}

/* One of the cut's commands, as the leader evaluates it. */
static void evaluate_cut(struct ask *a)
{
    static struct view view;
    static struct buf reply;
    static bool begun;
    struct group *x = &w->group[a->group];
    struct view_source none = {0};
    struct effect e;
    uint8_t arg[3][8] = {{a->cut}, {0}, {1}};
    cmd_fn *const fn[] = {
        [FREEZE] = cut_freeze, [SNAP] = cut_snap, [RESUME] = cut_resume, [LETGO] = cut_let_go};
    if (!begun) view_init(&view), begun = true;
    for (int i = 0; i < 8; i++) arg[1][i] = (uint8_t)(w->leadership[a->group] >> 8 * i);
    if (a->kind == LETGO) arg[1][0] = 1;
    struct bytes v[5] = {BYTES("SYNOD"), BYTES("x"), {arg[0], 8}, {arg[1], 8}, {arg[2], 8}};
    buf_clear(&reply);
    view_begin(&view, &none, 0, 0, 0, (uint16_t)(a->group * 100), (uint16_t)(a->group * 100 + 100));
    view.hold = &x->hold;
    view.leadership = x->era + 1u;
    x->hold.now = 1;
    fn[a->kind](&view, &(struct cmd_args){v, 5}, &(struct reply){&reply, 2});
    a->yes = reply.data[0] != '-';
    if (a->kind == FREEZE && a->yes) a->saw = (uint8_t)(x->era + 1); /* the leadership */
    if (a->kind == RESUME && a->yes) {
        struct bytes rows = bytes_of(reply.data, reply.size - 2);
        size_t head = 1;
        while (rows.data[head - 1] != '\n') head++;
        a->rows = rows_t(bytes_of(rows.data + head + 16, rows.size - head - 16));
    }
    struct reader r = reader_of(buf_bytes(&view.effects));
    while (effects_next(&r, &e) == 1)
        if (e.op == EFFECT_SNAP && e.ttl_ms) log_add(x, a);
    hold_settle(&x->hold);
}

/* False: it waits for what T has locked. */
static bool deliverable(const struct ask *a)
{
    uint8_t bits, t;
    group_now(a->group, &bits, &t);
    bool full = w->group[a->group].pending == PENDING;
    return a->stage == SENT && !full && !(a->kind == READ_T && t == T_PREPARED);
}

static void deliver(struct ask *a)
{
    struct group *x = &w->group[a->group];
    uint8_t bits, t;
    group_now(a->group, &bits, &t);
    a->stage = HELD;
    a->era = x->era;
    a->place = x->pending;
    a->yes = true;
    switch (a->kind) {
    case WRITE: log_add(x, a); break;
    case READ_X: a->saw = bits & X; break;
    case READ_T: a->saw = t == T_DECIDED || t == T_DONE; break;
    case PREPARE: /* the locks are of the first leadership (G1) */
        a->yes = t == T_NONE && x->era == 0;
        if (a->yes) log_add(x, a);
        break;
    case DECIDE:
        a->yes = t == T_PREPARED || t == T_DECIDED;
        if (t == T_PREPARED) log_add(x, a);
        break;
    case FINISH:
        if (t == T_PREPARED || (t == T_NONE && !a->commit)) log_add(x, a);
        break;
    case FORGET:
        if (t == T_DECIDED) log_add(x, a);
        break;
    default: evaluate_cut(a);
    }
}

static void choose(uint32_t g)
{
    struct group *x = &w->group[g];
    for (uint32_t i = 0; i < x->pending; i++) {
        entry_apply(&x->log[i], &x->bits, &x->t, g);
        if (x->log[i].kind != SNAP) continue;
        struct kept *k = &x->kept[x->log[i].cut];
        if (!k->taken) *k = (struct kept){true, x->bits, x->t, 0};
        hold_snapped(&x->hold, x->log[i].cut, 1, rows_of(x->t));
    }
    memset(x->log, 0, sizeof x->log);
    x->pending = 0;
    for (uint32_t i = 0; i < w->asks; i++)
        if (w->ask[i].group == g) w->ask[i].place = 0;
}

static void answered(struct ask a);

/* It was certainly not done: clients' nodes send it again, the cut's coordinator gives up. */
static void undo(uint32_t i)
{
    struct ask a = w->ask[i];
    bool again = a.kind <= READ_T || (a.kind >= DECIDE && a.kind <= FORGET);
    ask_remove(i);
    if (again) {
        (void)ask_add((struct ask){.kind = a.kind,
                                   .actor = a.actor,
                                   .group = a.group,
                                   .bit = a.bit,
                                   .commit = a.commit,
                                   .deaf = a.deaf});
    } else {
        a.yes = false;
        answered(a);
    }
}

static void change(uint32_t g, uint32_t keep)
{
    struct group *x = &w->group[g];
    for (uint32_t i = keep; i < x->pending; i++) x->log[i] = (struct entry){0};
    x->pending = (uint8_t)keep;
    hold_lost(&x->hold, 1);
    hold_settle(&x->hold);
    for (uint32_t i = w->asks; i-- > 0;) {
        struct ask *a = &w->ask[i];
        bool read =
            a->kind == READ_X || a->kind == READ_T || a->kind == FREEZE || a->kind == RESUME;
        if (a->group == g && a->stage == HELD && a->era == x->era && (read || a->place > keep))
            undo(i);
    }
    x->era++;
}

/* ---- the cut ---- */

static void cut_sink_fx(void *ctx, const struct cut_effect *fx);

static void c_step(uint8_t event, uint32_t part)
{
    w->machine.part = w->cut_part;
    cut_step(&w->machine, event, part, cut_sink_fx, NULL);
    w->machine.part = NULL;
}

static bool has_t(const struct kept *k, bool in)
{
    bool done = k->t == T_DECIDED || k->t == T_DONE;
    return done || (k->t == T_PREPARED && in && !MUTANT(MUTANT_CUT_OVERLAY));
}

static void check_cut(void)
{
    struct cut_row row[GROUPS];
    uint32_t rows = 0;
    for (uint32_t g = 0; g < GROUPS; g++) {
        struct reader r = reader_of(rows_of(w->rows[g]));
        if (cut_rows_next(&r, &row[rows])) row[rows++].group = g;
    }
    cut_resolve(row, rows);
    const struct kept *k[GROUPS] = {&w->group[0].kept[w->cut], &w->group[1].kept[w->cut]};
    if (!k[0]->taken || !k[1]->taken) violate("a cut is made of which a group has nothing");
    bool in = rows && row[0].in, t = has_t(k[0], in), x = k[0]->bits & X;
    if (t != has_t(k[1], in)) violate("a transaction is in the cut in half");
    if (k[1]->bits & Y && !x) violate("y without x");
    if (k[1]->bits & Z && !x) violate("z without x");
    if (k[1]->bits & (U | V) && !t) violate("what followed T is in the cut, and T is not");
    if (k[0]->bits & W && !t) violate("what followed T is in the cut, and T is not");
    for (uint32_t g = 0; g < GROUPS; g++)
        if (w->acked_before[g] & ~k[g]->bits) violate("an acknowledged write is not in the cut");
    if (w->told_before == TXN_COMMITTED + 1 && !t) violate("a committed transaction is not in it");
}

static void cut_ask(uint8_t kind, uint32_t g)
{
    (void)ask_add((struct ask){.kind = kind, .actor = CUT, .group = (uint8_t)g, .cut = w->cut});
}

static void cut_sink_fx(void *ctx, const struct cut_effect *fx)
{
    (void)ctx;
    switch (fx->type) {
    case CUT_FX_FREEZE: cut_ask(FREEZE, fx->part); break;
    case CUT_FX_SNAP:
        if (!early) cut_ask(SNAP, fx->part);
        break;
    case CUT_FX_RESUME: cut_ask(RESUME, fx->part); break;
    case CUT_FX_LET_GO:
        ask_add(
            (struct ask){.kind = LETGO, .actor = CUT, .cut = w->cut, .group = (uint8_t)fx->part})
            ->deaf = true;
        break;
    case CUT_FX_MADE:
        w->made = true;
        w->cut_runs = false;
        check_cut();
        break;
    default:
        w->cut_runs = false;
        if (narrate) printf("      the attempt is void\n");
    }
}

static void cut_begin(void)
{
    w->cut++;
    w->cut_runs = true;
    memcpy(w->acked_before, w->acked, sizeof w->acked);
    w->told_before = w->told;
    memset(w->early, 0, sizeof w->early);
    cut_init(&w->machine, w->cut_part, GROUPS);
    c_step(CUT_EV_BEGIN, 0);
}

static void cut_answered(const struct ask *a)
{
    bool current = w->cut_runs && a->cut == w->cut;
    uint32_t g = a->group;
    if (!current || a->kind == LETGO) return;
    if (a->kind == FREEZE && a->yes) {
        w->cut_part[g].slot_lo = (uint16_t)(g ? 8192 : 0);
        w->cut_part[g].slot_hi = (uint16_t)(g ? SLOT_COUNT : 8192);
        w->leadership[g] = a->saw;
        if (early) {
            cut_ask(SNAP, g);
            return;
        }
    }
    if (a->kind == RESUME) w->rows[g] = a->rows;
    c_step(a->yes ? CUT_EV_YES : CUT_EV_NO, g);
    if (!early || w->machine.phase != CUT_SNAPPING || !w->cut_runs) return;
    for (uint32_t i = 0; i < GROUPS; i++) c_step(CUT_EV_YES, i); /* they were asked before */
}

/* ---- clients ---- */

static void follow(uint8_t actor, uint8_t group, uint8_t bit)
{
    (void)ask_add((struct ask){.kind = WRITE, .actor = actor, .group = group, .bit = bit});
    w->at[actor] = 2;
}

static void answered(struct ask a)
{
    if (a.deaf) return;
    if (narrate)
        printf("      %c is answered by G%u: %s %s\n", actor_name[a.actor], a.group,
               kind_name[a.kind], a.yes ? "yes" : "no");
    if (a.kind == WRITE) w->acked[a.group] |= a.bit;
    if (a.actor == CUT) {
        cut_answered(&a);
    } else if (a.actor == TXN) {
        if (!w->t_dead) t_step(a.yes ? TXN_EV_YES : TXN_EV_NO, a.group);
    } else if (w->at[a.actor] == 1) {
        bool goes_on = a.actor == ONE || a.saw;
        static const uint8_t bit[] = {[ONE] = Y, [TWO] = Z, [FOUR] = V, [FIVE] = W};
        w->at[a.actor] = 3;
        if (goes_on) follow(a.actor, a.actor != FIVE, bit[a.actor]);
    } else {
        w->at[a.actor] = 3;
    }
}

static void client_begin(uint32_t actor)
{
    w->at[actor] = 1;
    switch (actor) {
    case ONE: ask_add((struct ask){.kind = WRITE, .actor = ONE, .bit = X}); break;
    case TWO: ask_add((struct ask){.kind = READ_X, .actor = TWO}); break;
    case TXN: t_begin(); break;
    case THREE: follow(THREE, 1, U); break;
    default: ask_add((struct ask){.kind = READ_T, .actor = (uint8_t)actor, .group = actor == FIVE});
    }
}

/* ---- what may happen ---- */

enum act {
    BEGIN,
    CUT_BEGIN,
    DELIVER,
    RELEASE,
    CHOOSE,
    CHANGE,
    LOSE,
    DOUBLE,
    RUN_OUT,
    CRASH,
    GIVE_UP
};
struct action {
    uint8_t type, a, b;
};

static bool may_leave(const struct ask *a)
{
    struct group *x = &w->group[a->group];
    bool passes = a->kind >= FREEZE;
    bool read = a->kind == READ_X || a->kind == READ_T;
    struct cut_hold h = x->hold;
    if (a->stage != HELD || a->place) return false;
    return passes || a->era != x->era || !hold_keeps(&h, 1, read);
}

static uint32_t actions(struct action *out)
{
    uint32_t n = 0;
    for (uint8_t i = 0; i < CUT; i++)
        if (on[i] && !w->at[i] && (i != THREE || w->told == TXN_COMMITTED + 1))
            out[n++] = (struct action){BEGIN, i, 0};
    if (!w->cut_runs && !w->made && w->cut < attempts_max && w->crashes < crashes_max + 1)
        out[n++] = (struct action){CUT_BEGIN, 0, 0};
    for (uint8_t i = 0; i < w->asks; i++) {
        const struct ask *a = &w->ask[i];
        if (i && !memcmp(a, a - 1, sizeof *a)) continue;
        if (deliverable(a)) out[n++] = (struct action){DELIVER, i, 0};
        if (may_leave(a)) out[n++] = (struct action){RELEASE, i, 0};
        bool ours = a->actor == CUT && !a->deaf;
        if (ours && w->losses < losses_max) out[n++] = (struct action){LOSE, i, 0};
        if (ours && a->stage == SENT && w->doubles < doubles_max && w->asks < ASKS - 4)
            out[n++] = (struct action){DOUBLE, i, 0};
    }
    for (uint8_t g = 0; g < GROUPS; g++) {
        struct group *x = &w->group[g];
        if (x->pending) out[n++] = (struct action){CHOOSE, g, 0};
        for (uint8_t k = 0; k <= x->pending && w->changes < changes_max; k++)
            out[n++] = (struct action){CHANGE, g, k};
        if (x->hold.cut && w->runouts < runouts_max) out[n++] = (struct action){RUN_OUT, g, 0};
    }
    if (w->cut_runs && w->crashes < crashes_max) {
        out[n++] = (struct action){CRASH, 0, 0};
        out[n++] = (struct action){GIVE_UP, 0, 0};
    }
    if (w->t_begun && !w->t_dead && w->crashes < crashes_max)
        out[n++] = (struct action){CRASH, 1, 0};
    ASSERT(n < LIST);
    return n;
}

static int ask_compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct ask));
}

static void crash(bool txn)
{
    w->crashes++;
    for (uint32_t i = 0; i < w->asks; i++)
        if (w->ask[i].actor == (txn ? TXN : CUT)) w->ask[i].deaf = true;
    if (txn) w->t_dead = true;
    if (!txn) w->cut_runs = false;
}

static void act(struct action a)
{
    static const char *const name[] = {
        "begin", "a cut begins", "arrives",           "answer", "chosen",  "another leader",
        "lost",  "doubled",      "the hold runs out", "gone",   "given up"};
    struct ask ask = a.type >= DELIVER && a.type != CHOOSE ? w->ask[a.a] : (struct ask){0};
    if (narrate) {
        bool of_ask = a.type == DELIVER || a.type == RELEASE || a.type == LOSE || a.type == DOUBLE;
        if (of_ask)
            printf("%s: %c's %s at G%u\n", name[a.type], actor_name[ask.actor], kind_name[ask.kind],
                   ask.group);
        else
            printf("%s: %u %u\n", name[a.type], a.a, a.b);
    }
    switch (a.type) {
    case BEGIN: client_begin(a.a); break;
    case CUT_BEGIN: cut_begin(); break;
    case DELIVER: deliver(&w->ask[a.a]); break;
    case RELEASE:
        ask_remove(a.a);
        answered(ask);
        break;
    case CHOOSE: choose(a.a); break;
    case CHANGE:
        w->changes++;
        change(a.a, a.b);
        break;
    case LOSE:
        w->losses++;
        w->ask[a.a].deaf = true;
        ask.yes = false;
        answered(ask);
        break;
    case DOUBLE:
        w->doubles++;
        ask_add(ask)->deaf = true;
        break;
    case RUN_OUT:
        w->runouts++;
        (void)hold_holds(&w->group[a.a].hold, w->group[a.a].hold.until);
        hold_settle(&w->group[a.a].hold);
        break;
    case CRASH: crash(a.a); break;
    default: w->crashes++; c_step(CUT_EV_LATE, 0);
    }
    /* What is pending delays replies, which may be late anyway: where no leader changes any more it
     * is chosen at once. */
    for (uint32_t g = 0; g < GROUPS && w->changes >= changes_max; g++) choose(g);
    if (!w->cut_runs) { /* what nobody looks at any more */
        w->machine = (struct cut){0};
        memset(w->cut_part, 0, sizeof w->cut_part);
        memset(w->leadership, 0, sizeof w->leadership);
        memset(w->rows, 0, sizeof w->rows);
        memset(w->acked_before, 0, sizeof w->acked_before);
        w->told_before = 0;
    }
    for (uint32_t i = 0; i < w->asks; i++) /* of whom nobody hears, and that change nothing */
        while (i < w->asks && w->ask[i].deaf && w->ask[i].stage == HELD) ask_remove(i);
    qsort(w->ask, w->asks, sizeof *w->ask, ask_compare);
}

/* ---- the search ---- */

struct node {
    uint32_t parent;
    struct action action;
};
static struct node *nodes;
static uint64_t **blobs, scratch[sizeof(struct world) / 4];
static struct seen seen;
static uint64_t states, states_max = 3000000, transitions, cuts;

static struct hash128 world_hash(void)
{
    struct bytes b = bytes_of(scratch, squeeze(w, sizeof *w, scratch) * 8);
    return (struct hash128){hash64(b, 1), hash64(b, 2)};
}

static void try_act(struct action a)
{
    bool made = w->made;
    if (sigsetjmp(on_assert, 0)) {
        violate("an assertion failed (its text is above)");
        return;
    }
    act(a);
    transitions++;
    cuts += w->made && !made;
}

static void genesis(void)
{
    memset(w, 0, sizeof *w);
    for (uint32_t g = 0; g < GROUPS; g++) hold_settle(&w->group[g].hold);
}

static void remember(uint32_t parent, struct action a)
{
    size_t n = squeeze(w, sizeof *w, scratch);
    blobs[states] = must(malloc(n * 8));
    memcpy(blobs[states], scratch, n * 8);
    nodes[states++] = (struct node){parent, a};
}

static int found(uint32_t at, struct action last)
{
    static struct action path[1000];
    size_t n = 1000;
    printf("VIOLATED: %s (mutant %d, after %llu states)\n", violation, mutant_active,
           (unsigned long long)states);
    path[--n] = last;
    for (; at; at = nodes[at].parent) path[--n] = nodes[at].action;
    genesis();
    narrate = true;
    violation = NULL;
    for (; n < 1000; n++) try_act(path[n]);
    return 1;
}

static int search(void)
{
    static struct action list[LIST];
    clock_t start = clock();
    seen_init(&seen, states_max);
    nodes = must(malloc(states_max * sizeof *nodes));
    blobs = must(malloc(states_max * sizeof *blobs));
    genesis();
    (void)seen_add(&seen, world_hash());
    remember(0, (struct action){0});
    for (uint64_t at = 0; at < states; at++) {
        expand(blobs[at], w, sizeof *w);
        uint32_t n = actions(list);
        for (uint32_t i = 0; i < n; i++) {
            if (i) expand(blobs[at], w, sizeof *w);
            try_act(list[i]);
            if (violation) return found((uint32_t)at, list[i]);
            if (!seen_add(&seen, world_hash())) continue;
            if (states == states_max) {
                printf("cut explorer: more than %llu states: not exhaustive\n",
                       (unsigned long long)states);
                return 2;
            }
            remember((uint32_t)at, list[i]);
        }
        free(blobs[at]);
    }
    printf("cut explorer: exhaustive: %llu states, %llu transitions, %llu cuts made, %.1f s\n",
           (unsigned long long)states, (unsigned long long)transitions, (unsigned long long)cuts,
           (double)(clock() - start) / CLOCKS_PER_SEC);
    return cuts ? 0 : 1;
}

static void take_actors(const char *text)
{
    memset(on, 0, sizeof on);
    for (; *text; text++) {
        const char *at = strchr(actor_name, *text);
        if (at) on[at - actor_name] = true;
    }
}

int main(int argc, char **argv)
{
    const struct {
        const char *name;
        uint32_t *value;
    } bounds[] = {{"--changes", &changes_max}, {"--losses", &losses_max},
                  {"--doubles", &doubles_max}, {"--runouts", &runouts_max},
                  {"--crashes", &crashes_max}, {"--attempts", &attempts_max}};
    take_actors("12");
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *a = argv[i], *v = argv[i + 1];
        bool known = true;
        if (!strcmp(a, "--actors"))
            take_actors(v);
        else if (!strcmp(a, "--mutant"))
            mutant_active = atoi(v);
        else if (!strcmp(a, "--early"))
            early = atoi(v);
        else if (!strcmp(a, "--max-states"))
            states_max = (uint64_t)atoll(v);
        else
            known = false;
        for (size_t k = 0; k < sizeof bounds / sizeof *bounds; k++)
            if (!strcmp(a, bounds[k].name)) *bounds[k].value = (uint32_t)atoi(v), known = true;
        if (!known || attempts_max > ATTEMPTS)
            return fprintf(stderr, "cut explorer: what is %s %s?\n", a, v), 2;
    }
    signal(SIGABRT, on_abort);
    setvbuf(stdout, NULL, _IOLBF, 0);
    return search();
}
