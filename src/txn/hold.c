#include "txn/hold.h"
#include "base/assert.h"
#include "base/mutant.h"

static void let_go(struct cut_hold *h, uint64_t now)
{
    uint64_t rest;
    h->last_ns = now - h->since;
    rest = HOLD_REST_TIMES * h->last_ns;
    h->rests_until = now + (rest > HOLD_REST_MIN ? rest : HOLD_REST_MIN);
    h->over = h->cut;
    h->cut = h->position = 0;
    h->snapped = false;
    h->rows = (struct bytes){0};
}

bool hold_holds(struct cut_hold *h, uint64_t now)
{
    if (h->cut && now >= h->until) let_go(h, h->until);
    return h->cut != 0;
}

bool hold_keeps(struct cut_hold *h, uint64_t now, bool read)
{
    if (!hold_holds(h, now)) return false;
    bool early = MUTANT(MUTANT_CUT_ONE_PHASE) && h->snapped;
    return !early && !(MUTANT(MUTANT_CUT_READS) && read);
}

enum hold_answer hold_begin(struct cut_hold *h, uint64_t cut)
{
    ASSERT(cut != 0);
    if (hold_holds(h, h->now)) return h->cut == cut ? HOLD_IS_HELD : HOLD_BUSY;
    if (h->over == cut) return HOLD_OVER;
    if (h->now < h->rests_until) return HOLD_RESTS;
    if (h->changes) return HOLD_CHANGES;
    h->cut = cut;
    h->since = h->now;
    h->until = h->now + HOLD_MAX;
    return HOLD_IS_HELD;
}

void hold_snapped(struct cut_hold *h, uint64_t cut, uint64_t position, struct bytes rows)
{
    if (h->cut != cut || h->snapped) return;
    h->snapped = true;
    h->position = position;
    h->rows = rows;
}

bool hold_lasted(struct cut_hold *h, uint64_t cut)
{
    bool holds = hold_holds(h, h->now) && h->cut == cut && h->snapped;
    return holds || MUTANT(MUTANT_CUT_UNHELD);
}

void hold_end(struct cut_hold *h, uint64_t cut, uint64_t now)
{
    if (hold_holds(h, now) && h->cut == cut) let_go(h, now);
    h->over = cut;
}

void hold_lost(struct cut_hold *h, uint64_t now)
{
    if (hold_holds(h, now)) let_go(h, now);
}
