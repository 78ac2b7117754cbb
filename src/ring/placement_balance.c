/* Phase 4: nodes that are off by more than the tolerance are brought within half of it (R6).
 *
 * One step mends one node a little, with one partner. Partners are tried in order of what they have
 * to give or room for. First single replicas are tried. A step is GOOD if the partner stays at its
 * goal (or no worse than it was): the first partner with a good step is taken, and there the step
 * that helps most, but before all others one that only puts a replica elsewhere which this very
 * plan has placed, for that copies nothing. Only a node beyond the tolerance may do more: make a
 * partner worse, if less so than the node itself is now; or, failing that, exchange two replicas of
 * unequal weight, which moves the weight of both to shift their difference. */
#include "ring/placement_impl.h"

/* Partners looked at in one step, at most, anywhere and again in the node's own zone. */
#define PARTNERS 16
/* Steps that help less than this are not worth a replica's copying. */
#define GAIN_LEAST (LEVEL_ONE / 1024)
/* An exchange shifts at least this part of what it copies: or two groups of nearly one size would
 * change places with every key that makes the other one the larger (seed 70413). */
#define EXCHANGE_WORTH 8

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

bool plan_is_over(const struct plan *pl, uint16_t place)
{
    return pl->levels.level[place] > LEVEL_ONE;
}

static uint64_t deviation(const struct plan *pl, uint16_t place)
{
    uint64_t level = pl->levels.level[place];
    return level > LEVEL_ONE ? level - LEVEL_ONE : LEVEL_ONE - level;
}

bool plan_is_unharmed(const struct plan *pl, uint16_t partner, uint64_t then)
{
    return then <= larger(pl->goal, deviation(pl, partner));
}

enum plan_verdict plan_verdict(const struct plan *pl, uint16_t troubled,
                               const struct plan_outcome *o, bool unharmed)
{
    uint64_t was = deviation(pl, troubled);
    if (o->troubled + GAIN_LEAST > was) return PLAN_WORSE;
    if (unharmed) return PLAN_GOOD;
    bool better = was > pl->tolerance && o->partner + GAIN_LEAST <= was;
    return better ? PLAN_BETTER : PLAN_WORSE;
}

struct plan_outcome plan_judge(const struct plan *pl, uint16_t troubled, uint16_t partner,
                               uint64_t weight)
{
    const struct levels *l = &pl->levels;
    bool gives = plan_is_over(pl, troubled);
    uint16_t from = gives ? troubled : partner, to = gives ? partner : troubled;
    ASSERT(weight <= l->load[from]);
    uint64_t given = levels_deviation(l, from, l->load[from] - weight);
    uint64_t taken = levels_deviation(l, to, l->load[to] + weight);
    struct plan_outcome o = {.troubled = gives ? given : taken, .partner = gives ? taken : given};
    o.verdict = plan_verdict(pl, troubled, &o, plan_is_unharmed(pl, partner, o.partner));
    return o;
}

/* ---- steps to choose from ---- */

struct step {
    struct plan_outcome outcome;
    uint64_t copied;     /* weight of voters that it moves */
    bool leads;          /* the seat that moves is the leader's now */
    uint32_t seat, back; /* the seat that moves; the one it is exchanged for, or SEAT_NONE */
    uint16_t to;         /* where seat goes; back goes where seat was */
};

static bool step_is_better(const struct plan *pl, const struct step *a, const struct step *b)
{
    if (a->outcome.verdict != b->outcome.verdict) return a->outcome.verdict > b->outcome.verdict;
    if (!a->copied != !b->copied) return !a->copied;
    uint64_t left_a = larger(a->outcome.troubled, pl->goal);
    uint64_t left_b = larger(b->outcome.troubled, pl->goal);
    if (a->outcome.verdict == PLAN_BETTER) {
        left_a = larger(left_a, a->outcome.partner);
        left_b = larger(left_b, b->outcome.partner);
    }
    if (left_a != left_b) return left_a < left_b;
    return a->leads != b->leads ? b->leads : a->copied < b->copied;
}

/* R6: a voter stays in a group with a voter that is down. */
static bool may_move(const struct plan *pl, uint32_t seat)
{
    return pl->group[seat_group(seat)].keeps == 0 || plan_seat_is_new(pl, seat);
}

static bool may_go(const struct plan *pl, uint32_t seat, uint16_t to)
{
    uint32_t g = seat_group(seat);
    return plan_may_sit(pl, g, to, seat % PLACEMENT_REPLICAS_MAX);
}

static uint64_t weight_of(const struct plan *pl, uint32_t seat)
{
    return pl->group[seat_group(seat)].weight;
}

static uint64_t copied_of(const struct plan *pl, uint32_t seat)
{
    return plan_seat_is_new(pl, seat) ? 0 : weight_of(pl, seat);
}

static bool leads_now(const struct plan *pl, uint32_t seat)
{
    const struct placement_node *node = &pl->in->nodes[pl->node_of[pl->seat[seat]]];
    return pl->in->groups[seat_group(seat)].leader == node->id;
}

static void consider_single(const struct plan *pl, uint16_t troubled, uint16_t partner,
                            struct step *best)
{
    uint16_t from = plan_is_over(pl, troubled) ? troubled : partner;
    uint16_t to = from == troubled ? partner : troubled;
    for (uint32_t s = pl->head[from]; s != SEAT_NONE; s = pl->next[s]) {
        struct step step = {.seat = s, .back = SEAT_NONE, .to = to};
        step.outcome = plan_judge(pl, troubled, partner, weight_of(pl, s));
        if (step.outcome.verdict == PLAN_WORSE) continue;
        step.copied = copied_of(pl, s);
        step.leads = leads_now(pl, s);
        if (step_is_better(pl, &step, best) && may_move(pl, s) && may_go(pl, s, to)) *best = step;
    }
}

static void consider_exchange(const struct plan *pl, uint16_t troubled, uint16_t partner,
                              struct step *best)
{
    uint16_t from = plan_is_over(pl, troubled) ? troubled : partner;
    uint16_t to = from == troubled ? partner : troubled;
    for (uint32_t s = pl->head[from]; s != SEAT_NONE; s = pl->next[s]) {
        if (!may_move(pl, s) || !may_go(pl, s, to)) continue;
        for (uint32_t b = pl->head[to]; b != SEAT_NONE; b = pl->next[b]) {
            if (weight_of(pl, b) >= weight_of(pl, s)) continue;
            struct step step = {.seat = s, .back = b, .to = to};
            step.outcome = plan_judge(pl, troubled, partner, weight_of(pl, s) - weight_of(pl, b));
            if (step.outcome.verdict == PLAN_WORSE) continue;
            step.copied = copied_of(pl, s) + copied_of(pl, b);
            if ((weight_of(pl, s) - weight_of(pl, b)) * EXCHANGE_WORTH < step.copied) continue;
            step.leads = leads_now(pl, s) || leads_now(pl, b);
            if (step_is_better(pl, &step, best) && may_move(pl, b) && may_go(pl, b, from))
                *best = step;
        }
    }
}

/* ---- partners ---- */

typedef void consider_fn(const struct plan *pl, uint16_t troubled, uint16_t partner,
                         struct step *best);

static void try_partners(struct plan *pl, uint16_t troubled, uint32_t first, uint32_t end,
                         consider_fn *consider, struct step *best)
{
    struct levels *l = &pl->levels;
    bool over = plan_is_over(pl, troubled);
    uint16_t hidden[PARTNERS];
    unsigned count = 0;
    levels_hide(l, troubled);
    while (count < PARTNERS && best->outcome.verdict != PLAN_GOOD) {
        uint16_t partner = over ? levels_lowest(l, first, end) : levels_highest(l, first, end);
        if (partner == LEVELS_NONE) break;
        if (over ? l->level[partner] >= l->level[troubled]
                 : l->level[partner] <= l->level[troubled])
            break;
        consider(pl, troubled, partner, best);
        levels_hide(l, partner);
        hidden[count++] = partner;
    }
    while (count > 0) levels_show(l, hidden[--count]);
    levels_show(l, troubled);
}

/* With as many zones as replicas a replica can move within its zone only. */
static struct step best_step(struct plan *pl, uint16_t troubled, consider_fn *consider)
{
    const struct levels_zone *z = &pl->zone[pl->zone_of[troubled]];
    struct step best = {.outcome = {PLAN_WORSE, 0, 0}};
    if (pl->holding_zones != pl->in->options.replicas)
        try_partners(pl, troubled, 0, pl->place_count, consider, &best);
    if (best.outcome.verdict != PLAN_GOOD && pl->zone_count > 1)
        try_partners(pl, troubled, z->first, z->end, consider, &best);
    return best;
}

static void move_seat(struct plan *pl, uint32_t seat, uint16_t to)
{
    uint16_t from = pl->seat[seat];
    uint64_t weight = weight_of(pl, seat);
    ASSERT(may_go(pl, seat, to));
    plan_unlink(pl, seat);
    plan_link(pl, seat, to);
    levels_set(&pl->levels, from, pl->levels.load[from] - weight);
    levels_set(&pl->levels, to, pl->levels.load[to] + weight);
}

static bool mend_replicas(struct plan *pl, uint16_t place)
{
    struct step step = best_step(pl, place, consider_single);
    if (step.outcome.verdict == PLAN_WORSE && deviation(pl, place) > pl->tolerance)
        step = best_step(pl, place, consider_exchange);
    if (step.outcome.verdict == PLAN_WORSE) return false;
    uint16_t from = pl->seat[step.seat];
    move_seat(pl, step.seat, step.to);
    if (step.back != SEAT_NONE) move_seat(pl, step.back, from);
    return true;
}

/* ---- for replicas and leaders alike ---- */

static void mend_place(struct plan *pl, uint16_t place, bool (*mend)(struct plan *, uint16_t),
                       bool *progress)
{
    if (!plan_node_holds(pl, place)) return;
    if (deviation(pl, place) > pl->tolerance) pl->mended[place] = true;
    if (!pl->mended[place]) return;
    while (deviation(pl, place) > pl->goal && pl->work && mend(pl, place)) {
        pl->work--;
        *progress = true;
    }
}

void plan_mend_all(struct plan *pl, bool (*mend)(struct plan *, uint16_t), size_t *stuck)
{
    for (uint32_t p = 0; p < pl->place_count; p++) pl->mended[p] = false;
    bool progress = true;
    while (progress && pl->work) {
        progress = false;
        for (uint32_t p = 0; p < pl->place_count; p++) mend_place(pl, (uint16_t)p, mend, &progress);
    }
    pl->sum->cut_short |= pl->work == 0;
    *stuck = 0;
    for (uint32_t p = 0; p < pl->place_count; p++)
        *stuck += plan_node_holds(pl, (uint16_t)p) && deviation(pl, (uint16_t)p) > pl->tolerance;
}

void plan_balance(struct plan *pl)
{
    plan_mend_all(pl, mend_replicas, &pl->sum->nodes_stuck);
}
