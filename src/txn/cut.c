#include "txn/cut.h"
#include "base/assert.h"
#include "base/mutant.h"
#include "ring/slot.h"

struct step {
    struct cut *c;
    cut_sink *sink;
    void *ctx;
};

static void emit(struct step *s, struct cut_effect fx)
{
    s->sink(s->ctx, &fx);
}

static void ask(struct step *s, uint8_t type, uint32_t i)
{
    struct cut *c = s->c;
    ASSERT(!c->part[i].open);
    c->part[i].open = true;
    c->open++;
    emit(s, (struct cut_effect){.type = type, .part = i});
}

static void ask_all(struct step *s, enum cut_phase phase, uint8_t type)
{
    s->c->phase = (uint8_t)phase;
    for (uint32_t i = 0; i < s->c->count; i++) ask(s, type, i);
}

static void end(struct step *s, bool made)
{
    struct cut *c = s->c;
    bool kept = c->phase > CUT_FREEZING;
    c->phase = CUT_OVER;
    for (uint32_t i = 0; i < c->count && !made; i++)
        emit(s, (struct cut_effect){.type = CUT_FX_LET_GO, .part = i, .kept = kept});
    emit(s, (struct cut_effect){.type = made ? CUT_FX_MADE : CUT_FX_VOID});
}

/* Is every slot one part's, and only one's? */
static bool covers(const struct cut *c)
{
    uint32_t at = 0, i = 0;
    for (; i < c->count && c->part[i].slot_lo == at; i++) at = c->part[i].slot_hi;
    return (i == c->count && at == SLOT_COUNT) || MUTANT(MUTANT_CUT_SLOTS);
}

static void go_on(struct step *s)
{
    struct cut *c = s->c;
    switch (c->phase) {
    case CUT_FREEZING:
        if (covers(c))
            ask_all(s, CUT_SNAPPING, CUT_FX_SNAP);
        else
            end(s, false);
        break;
    case CUT_SNAPPING: ask_all(s, CUT_RESUMING, CUT_FX_RESUME); break;
    default: end(s, !c->failed);
    }
}

/* Once RESUME is asked for, all are about to let go: nothing is gained by haste. */
static void answered(struct step *s, uint8_t event, uint32_t part)
{
    struct cut *c = s->c;
    ASSERT(part < c->count && c->part[part].open);
    c->part[part].open = false;
    c->open--;
    c->failed |= event != CUT_EV_YES;
    if (c->failed && c->phase < CUT_RESUMING)
        end(s, false);
    else if (!c->open)
        go_on(s);
}

void cut_init(struct cut *c, struct cut_part *part, uint32_t count)
{
    ASSERT(count > 0);
    *c = (struct cut){.part = part, .count = count};
    for (uint32_t i = 0; i < count; i++) part[i] = (struct cut_part){0};
}

void cut_step(struct cut *c, uint8_t event, uint32_t part, cut_sink *sink, void *ctx)
{
    struct step s = {c, sink, ctx};
    if (c->phase == CUT_OVER) return;
    switch (event) {
    case CUT_EV_BEGIN: ask_all(&s, CUT_FREEZING, CUT_FX_FREEZE); break;
    case CUT_EV_LATE: end(&s, false); break;
    default: answered(&s, event, part);
    }
}

/* ---- who is in ---- */

static bool same(const struct cut_row *a, const struct cut_row *b)
{
    return a->who == b->who && a->seq == b->seq;
}

static uint32_t group_at(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool has_row_of(const struct cut_row *row, uint32_t count, uint32_t group)
{
    uint32_t i = 0;
    while (i < count && row[i].group != group) i++;
    return i < count;
}

/* All rows are of one transaction. */
static bool is_in(const struct cut_row *row, uint32_t count)
{
    bool all = true;
    for (uint32_t i = 0; i < count; i++)
        if (row[i].decided) return true;
    if (MUTANT(MUTANT_CUT_UNDECIDED)) return false;
    for (uint32_t i = 0; i < row->writers; i++)
        all &= has_row_of(row, count, group_at(row->groups + (size_t)4 * i));
    return all;
}

void cut_resolve(struct cut_row *row, uint32_t count)
{
    for (uint32_t at = 0, end; at < count; at = end) {
        for (end = at + 1; end < count && same(&row[at], &row[end]);) end++;
        bool in = is_in(row + at, end - at);
        for (uint32_t i = at; i < end; i++) row[i].in = in;
    }
}
