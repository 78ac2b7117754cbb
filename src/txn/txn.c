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

static void forget(struct step *s)
{
    s->t->phase = TXN_FORGETTING;
    ask(s, TXN_FX_FORGET, s->t->anchor, true);
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

/* Before anything could have been decided. A LOCK that waits is called off by its FINISH, and a
 * PREPARE that comes after it finds no owner (G1). */
static void abort_all(struct step *s)
{
    answer(s, TXN_ABORTED);
    finish(s, false);
}

static void decide(struct step *s)
{
    s->t->phase = TXN_DECIDING;
    ask(s, TXN_FX_DECIDE, s->t->anchor, true);
}

/* All that was asked is answered by yes. */
static void go_on(struct step *s)
{
    struct txn *t = s->t;
    switch (t->phase) {
    case TXN_LOCKING:
        t->phase = TXN_EVALUATING;
        emit(s, (struct txn_effect){.type = TXN_FX_EVALUATE});
        break;
    case TXN_VOTING:
        if (writers(t) > 1) {
            decide(s);
        } else if (writers(t) == 1) {
            t->phase = TXN_APPLYING;
            ask(s, TXN_FX_APPLY, t->anchor, true);
        } else {
            answer(s, TXN_COMMITTED);
            finish(s, false);
        }
        break;
    case TXN_FINISHING:
        if (t->commits)
            forget(s);
        else
            over(s);
        break;
    case TXN_FORGETTING: over(s); break;
    default: ASSERT(!"not a phase in which all can say yes");
    }
}

static void evaluated(struct step *s)
{
    struct txn *t = s->t;
    uint32_t n = writers(t);
    ASSERT(t->phase == TXN_EVALUATING);
    t->phase = TXN_VOTING;
    for (uint32_t i = t->count; i-- > 0;)
        if (t->part[i].writes) t->anchor = i;
    for (uint32_t i = 0; i < t->count; i++) {
        bool asked = !MUTANT(MUTANT_TXN_UNREAD) && !(MUTANT(MUTANT_TXN_SKEW) && n);
        if (!t->part[i].writes && asked) ask(s, TXN_FX_HOLDS, i, false);
        if (t->part[i].writes && n > 1) ask(s, TXN_FX_PREPARE, i, true);
    }
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

static void deciding(struct step *s, const struct txn_event *ev)
{
    struct txn *t = s->t;
    switch (ev->type) {
    case TXN_EV_YES:
        answer(s, TXN_COMMITTED);
        finish(s, true);
        break;
    case TXN_EV_NO: /* aborted by somebody who asked; or long forgotten, if we had to ask again (G4)
                     */
        answer(s, t->in_doubt && !MUTANT(MUTANT_TXN_FORGOTTEN) ? TXN_UNKNOWN : TXN_ABORTED);
        if (t->in_doubt)
            over(s);
        else
            finish(s, false);
        break;
    case TXN_EV_LOST: t->in_doubt = true; /* fallthrough */
    default: ask(s, TXN_FX_AGAIN, ev->part, true);
    }
}

/* Only we decide to commit. Who asks for this knows that no APPLY or DECIDE is on its way now. */
static void give_up(struct step *s)
{
    struct txn *t = s->t;
    if (t->phase <= TXN_VOTING || (t->phase == TXN_DECIDING && !t->in_doubt)) {
        abort_all(s);
        return;
    }
    answer(s, TXN_UNKNOWN);
    if (t->phase != TXN_OVER) over(s); /* those who are prepared will ask */
}

static void settled(struct step *s, const struct txn_event *ev)
{
    struct txn *t = s->t;
    bool yes = ev->type == TXN_EV_YES;
    close_part(t, ev->part);
    if (t->phase == TXN_DECIDING) {
        deciding(s, ev);
    } else if (t->phase == TXN_APPLYING && yes) {
        applied(s, TXN_COMMITTED);
    } else if (t->phase == TXN_APPLYING && ev->type == TXN_EV_LOST) {
        applied(s, TXN_UNKNOWN);
    } else if (t->phase == TXN_FORGETTING && !yes && ev->type != TXN_EV_NO) {
        ask(s, TXN_FX_AGAIN, ev->part, true);
    } else if (t->phase == TXN_FINISHING && !yes && (t->commits || ev->type != TXN_EV_NO)) {
        ask(s, TXN_FX_AGAIN, ev->part, t->commits);
    } else if (t->phase == TXN_FINISHING || t->phase == TXN_FORGETTING) {
        if (!t->open) go_on(s);
    } else if (!yes) {
        abort_all(s);
    } else if (!t->open) {
        go_on(s);
    }
}

void txn_init(struct txn *t, struct txn_part *part, uint32_t count)
{
    ASSERT(count > 0);
    *t = (struct txn){.part = part, .count = count};
    for (uint32_t i = 0; i < count; i++) part[i] = (struct txn_part){0};
}

void txn_step(struct txn *t, const struct txn_event *ev, txn_sink *sink, void *ctx)
{
    struct step s = {t, sink, ctx};
    switch (ev->type) {
    case TXN_EV_BEGIN:
        for (uint32_t i = 0; i < t->count; i++) ask(&s, TXN_FX_LOCK, i, false);
        break;
    case TXN_EV_MORE:
        ASSERT(t->phase == TXN_EVALUATING);
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
