#include "txn/txn.h"
#include "base/assert.h"
#include "base/mutant.h"

struct step {
    struct txn *t;
    txn_sink *sink;
    void *ctx;
};

static void emit(struct step *s, struct txn_effect fx)
{
    s->sink(s->ctx, &fx);
}

/* What is open already is given up for this: its answer, should it come, is for nobody. */
static void ask(struct step *s, uint8_t type, uint32_t i, bool commit)
{
    s->t->open += !s->t->part[i].open;
    s->t->part[i].open = true;
    emit(s, (struct txn_effect){.type = type, .part = i, .commit = commit});
}

static void answer(struct step *s, enum txn_outcome outcome)
{
    if (s->t->answered) return;
    s->t->answered = true;
    emit(s, (struct txn_effect){.type = TXN_FX_ANSWER, .outcome = (uint8_t)outcome});
}

static void over(struct step *s)
{
    s->t->phase = TXN_OVER;
    emit(s, (struct txn_effect){.type = TXN_FX_OVER});
}

static uint32_t writers(const struct txn *t)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->count; i++) n += t->part[i].writes;
    return n;
}

/* Nobody waits for it: a decision that is kept for too long is finished by its anchor. */
static void forget(struct step *s)
{
    emit(s, (struct txn_effect){.type = TXN_FX_FORGET, .part = s->t->anchor});
}

/* Everybody who may hold something is told how it ended. The anchor of a commit keeps it until all
 * have said that they know. */
static void finish(struct step *s, bool commit)
{
    struct txn *t = s->t;
    t->phase = TXN_FINISHING;
    t->commits = commit;
    for (uint32_t i = 0; i < t->count; i++) {
        if (commit && i == t->anchor) continue;
        ask(s, TXN_FX_FINISH, i, commit && t->part[i].writes);
    }
    if (commit && MUTANT(MUTANT_TXN_EARLY)) forget(s);
    if (!t->open) over(s);
}

/* Somebody is not prepared, nor ever will be: no PREPARE was sent, it refused, or the anchor has
 * let go of it. A LOCK that waits is called off by its FINISH, and a PREPARE that comes after it
 * finds no owner (G1). */
static void abort_all(struct step *s)
{
    answer(s, TXN_ABORTED);
    finish(s, false);
}

/* Those who are prepared will ask each other. */
static void leave(struct step *s)
{
    answer(s, TXN_UNKNOWN);
    over(s);
}

static void decide(struct step *s)
{
    s->t->phase = TXN_DECIDING;
    ask(s, TXN_FX_DECIDE, s->t->anchor, true);
}

static void prepare_all(struct step *s)
{
    s->t->phase = TXN_VOTING;
    for (uint32_t i = 0; i < s->t->count; i++)
        if (s->t->part[i].writes) ask(s, TXN_FX_PREPARE, i, true);
}

/* All that was read is still locked: it is as it was read. */
static void held(struct step *s)
{
    struct txn *t = s->t;
    if (writers(t) > 1) {
        prepare_all(s);
    } else if (writers(t) == 1) {
        t->phase = TXN_APPLYING;
        ask(s, TXN_FX_APPLY, t->anchor, true);
    } else {
        answer(s, TXN_COMMITTED);
        finish(s, false);
    }
}

static void voted(struct step *s)
{
    if (s->t->in_doubt) {
        s->t->phase = TXN_RESOLVING;
        ask(s, TXN_FX_RESOLVE, s->t->anchor, false);
    } else {
        answer(s, TXN_COMMITTED);
        decide(s);
    }
}

/* All that was asked is answered. */
static void go_on(struct step *s)
{
    struct txn *t = s->t;
    switch (t->phase) {
    case TXN_LOCKING:
        t->phase = TXN_EVALUATING;
        emit(s, (struct txn_effect){.type = TXN_FX_EVALUATE});
        break;
    case TXN_HOLDING: held(s); break;
    case TXN_VOTING: voted(s); break;
    case TXN_FINISHING:
        if (t->commits) forget(s);
        over(s);
        break;
    default: ASSERT(!"not a phase in which all are asked");
    }
}

static void evaluated(struct step *s)
{
    struct txn *t = s->t;
    ASSERT(t->phase == TXN_EVALUATING);
    t->phase = TXN_HOLDING;
    for (uint32_t i = t->count; i-- > 0 && !t->part[t->anchor].writes;)
        if (t->part[i].writes) t->anchor = i;
    bool asks = !MUTANT(MUTANT_TXN_UNREAD) && !(MUTANT(MUTANT_TXN_SKEW) && writers(t));
    for (uint32_t i = 0; i < t->count; i++)
        if (!t->part[i].writes && asks) ask(s, TXN_FX_HOLDS, i, false);
    if (!t->open) go_on(s);
}

/* Applied by the only writer. Who was only read lets go. */
static void applied(struct step *s, enum txn_outcome outcome)
{
    struct txn *t = s->t;
    answer(s, outcome);
    t->phase = TXN_FINISHING;
    for (uint32_t i = 0; i < t->count; i++)
        if (i != t->anchor) ask(s, TXN_FX_FINISH, i, false);
    if (!t->open) over(s);
}

static void close_part(struct txn *t, uint32_t i)
{
    ASSERT(i < t->count && t->part[i].open);
    t->part[i].open = false;
    t->open--;
}

static void again(struct step *s, const struct txn_event *ev)
{
    ask(s, TXN_FX_AGAIN, ev->part, s->t->commits);
}

static void voting(struct step *s, const struct txn_event *ev)
{
    struct txn *t = s->t;
    struct txn_part *p = &t->part[ev->part];
    if (ev->type == TXN_EV_YES) {
        p->prepared = true;
    } else if (ev->type == TXN_EV_LOST && !p->lost) {
        p->lost = true;
        ask(s, TXN_FX_PREPARED, ev->part, false);
    } else if (!p->lost) {
        abort_all(s);
        return;
    } else if (ev->type == TXN_EV_NO) {
        t->in_doubt = true;
    } else {
        again(s, ev);
    }
    if (!t->open) go_on(s);
}

static void resolving(struct step *s, const struct txn_event *ev)
{
    struct txn *t = s->t;
    uint32_t i = 0;
    switch (ev->type) {
    case TXN_EV_YES:
        answer(s, TXN_COMMITTED);
        finish(s, true);
        break;
    case TXN_EV_NO: abort_all(s); break;
    case TXN_EV_NONE:
        while (i < t->count && (i == t->anchor || !t->part[i].prepared)) i++;
        t->phase = TXN_WITNESSING;
        if (MUTANT(MUTANT_TXN_FORGOTTEN))
            abort_all(s);
        else if (i < t->count)
            ask(s, TXN_FX_PREPARED, i, false);
        else
            leave(s);
        break;
    default: again(s, ev);
    }
}

static void witnessing(struct step *s, const struct txn_event *ev)
{
    if (ev->type == TXN_EV_YES)
        abort_all(s);
    else if (ev->type == TXN_EV_NO)
        leave(s);
    else
        again(s, ev);
}

static void deciding(struct step *s, const struct txn_event *ev)
{
    if (ev->type == TXN_EV_YES)
        finish(s, true);
    else if (ev->type == TXN_EV_NO) /* long decided, and forgotten, by those who asked each other */
        over(s);
    else
        again(s, ev);
}

static void ending(struct step *s, const struct txn_event *ev)
{
    struct txn *t = s->t;
    bool knows = ev->type == TXN_EV_YES || (ev->type == TXN_EV_NO && !t->commits);
    if (!knows) again(s, ev);
    if (!t->open) go_on(s);
}

/* Only we commit or end it before a PREPARE was sent; then nobody does alone. */
static void give_up(struct step *s)
{
    if (s->t->phase <= TXN_HOLDING)
        abort_all(s);
    else if (s->t->phase != TXN_OVER)
        leave(s);
}

static void settled(struct step *s, const struct txn_event *ev)
{
    struct txn *t = s->t;
    bool yes = ev->type == TXN_EV_YES;
    close_part(t, ev->part);
    switch (t->phase) {
    case TXN_VOTING: voting(s, ev); break;
    case TXN_RESOLVING: resolving(s, ev); break;
    case TXN_WITNESSING: witnessing(s, ev); break;
    case TXN_DECIDING: deciding(s, ev); break;
    case TXN_FINISHING: ending(s, ev); break;
    case TXN_APPLYING:
        if (yes || ev->type == TXN_EV_LOST)
            applied(s, yes ? TXN_COMMITTED : TXN_UNKNOWN);
        else
            abort_all(s);
        break;
    default:
        if (!yes) {
            abort_all(s);
            break;
        }
        if (t->phase == TXN_LOCKING) t->anchor = ev->part;
        if (!t->open) go_on(s);
    }
}

void txn_init(struct txn *t, struct txn_part *part, uint32_t count)
{
    ASSERT(count > 0);
    *t = (struct txn){.part = part, .count = count};
    for (uint32_t i = 0; i < count; i++) part[i] = (struct txn_part){0};
}

void txn_init_open(struct txn *t)
{
    *t = (struct txn){.phase = TXN_EVALUATING};
}

void txn_grow(struct txn *t, struct txn_part *part, uint32_t count)
{
    ASSERT(t->phase == TXN_EVALUATING && count >= t->count);
    t->part = part;
    for (; t->count < count; t->count++) part[t->count] = (struct txn_part){0};
}

void txn_step(struct txn *t, const struct txn_event *ev, txn_sink *sink, void *ctx)
{
    struct step s = {t, sink, ctx};
    switch (ev->type) {
    case TXN_EV_BEGIN:
        for (uint32_t i = 0; i < t->count; i++) ask(&s, TXN_FX_LOCK, i, false);
        break;
    case TXN_EV_MORE:
        ASSERT(t->phase <= TXN_EVALUATING && !t->part[ev->part].open);
        t->phase = TXN_LOCKING;
        ask(&s, TXN_FX_LOCK, ev->part, false);
        break;
    case TXN_EV_EVALUATED: evaluated(&s); break;
    case TXN_EV_REFUSED:
        t->answered = true;
        finish(&s, false);
        break;
    case TXN_EV_GIVE_UP: give_up(&s); break;
    default: settled(&s, ev);
    }
}
