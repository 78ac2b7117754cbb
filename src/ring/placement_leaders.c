/* Phase 5: who leads (R7).
 *
 * Leading weighs a group's load, and something for being a group; size is nothing to it. A node's
 * share of leading is by capacity, but no more than if it led all that it has. Groups whose leader
 * may lead no more (or is unknown) get theirs first, the heaviest first, each on the voter with the
 * lowest level; then nodes beyond the tolerance give leaders to, or take them from, other voters of
 * the same groups, step by step as replicas are balanced. */
#include "ring/placement_impl.h"

static uint16_t place_of_leader(const struct plan *pl, uint32_t g)
{
    const struct plan_group *group = &pl->group[g];
    return group->leader < group->count ? pl->seat[seat_of(g, group->leader)] : LEVELS_NONE;
}

static uint16_t node_id(const struct plan *pl, uint16_t place)
{
    return place == LEVELS_NONE ? 0 : pl->in->nodes[pl->node_of[place]].id;
}

/* Would `place` as the leader be a change of a known one? */
static bool is_change(const struct plan *pl, uint32_t g, uint16_t place)
{
    uint16_t now = pl->in->groups[g].leader;
    return now && now != node_id(pl, place);
}

static void set_leader(struct plan *pl, uint32_t g, uint32_t index)
{
    struct plan_group *group = &pl->group[g];
    struct levels *l = &pl->levels;
    uint16_t before = place_of_leader(pl, g), after = pl->seat[seat_of(g, index)];
    ASSERT(index >= group->keeps && index < group->count && plan_node_holds(pl, after));
    if (before != LEVELS_NONE) {
        levels_set(l, before, l->load[before] - group->lead);
        pl->leaders_changed -= is_change(pl, g, before);
    }
    group->leader = (uint8_t)index;
    levels_set(l, after, l->load[after] + group->lead);
    pl->leaders_changed += is_change(pl, g, after);
}

/* ---- shares ---- */

static void share_out(struct plan *pl)
{
    struct levels *l = &pl->levels;
    uint64_t total = 0;
    for (uint32_t p = 0; p < pl->place_count; p++) l->limit[p] = 0;
    for (uint32_t g = 0; g < pl->group_count; g++) {
        const struct plan_group *group = &pl->group[g];
        if (group->count > group->keeps) total += group->lead;
        for (uint32_t i = group->keeps; i < group->count; i++)
            l->limit[pl->seat[seat_of(g, i)]] += group->lead;
    }
    for (size_t z = 0; z < pl->zone_count; z++) pl->zone[z].limit = LEVELS_LOAD_MAX;
    levels_share_out(l, pl->zone, pl->zone_count, total);
}

static bool clip(struct plan_group *group, uint64_t largest)
{
    return plan_clip(&group->lead, largest);
}

/* ---- balance ---- */

#define NO_GROUP UINT32_MAX

/* A way to mend a place: the leader of `group` goes to its seat `index`; in a chain, that of
 * `second` goes to its seat `second_index` as well. */
struct change {
    struct plan_outcome outcome;
    uint32_t group, index, second, second_index;
};

static uint64_t worst_of(const struct plan *pl, const struct plan_outcome *o)
{
    uint64_t worst = o->troubled;
    if (o->verdict == PLAN_BETTER && o->partner > worst) worst = o->partner;
    return worst > pl->goal ? worst : pl->goal;
}

/* By how many it raises the number of changed leaders. */
static int cost_of(const struct plan *pl, uint32_t g, uint32_t index)
{
    return (int)is_change(pl, g, pl->seat[seat_of(g, index)]) -
           (int)is_change(pl, g, place_of_leader(pl, g));
}

/* Takes a change as the best so far, if it is, and if the quarter (R7) has room for it. */
static void offer(struct plan *pl, const struct change *c, struct change *best)
{
    enum plan_verdict verdict = c->outcome.verdict;
    if (verdict == PLAN_WORSE || verdict < best->outcome.verdict) return;
    if (verdict == best->outcome.verdict &&
        worst_of(pl, &c->outcome) >= worst_of(pl, &best->outcome))
        return;
    int cost = cost_of(pl, c->group, c->index);
    if (c->second != NO_GROUP) cost += cost_of(pl, c->second, c->second_index);
    if (cost > (int)pl->leaders_most) return; /* of few groups a quarter never has room for two */
    if (cost > 0 && pl->leaders_changed + (size_t)cost > pl->leaders_most)
        pl->sum->leaders_held = true;
    else
        *best = *c;
}

/* All ways in which a place can give one leader away (gives), or get one. */
struct walk {
    uint16_t place;
    bool gives;
    uint32_t seat, index; /* of the way that next_way found: where the leader would sit */
    uint16_t other;       /* the place at the other end */
};

static struct walk walk_of(const struct plan *pl, uint16_t place, bool gives)
{
    return (struct walk){.place = place, .gives = gives, .seat = pl->head[place]};
}

static bool next_way(const struct plan *pl, struct walk *w, uint32_t *i)
{
    for (; w->seat != SEAT_NONE; w->seat = pl->next[w->seat], *i = 0) {
        const struct plan_group *group = &pl->group[seat_group(w->seat)];
        uint32_t index = w->seat % PLACEMENT_REPLICAS_MAX;
        if (w->gives != (group->leader == index)) continue;
        while (*i < group->count) {
            w->index = w->gives ? (*i)++ : index;
            if (!w->gives) *i = group->count;
            if (w->index < group->keeps || w->index == group->leader) continue;
            w->other = w->gives ? pl->seat[seat_of(seat_group(w->seat), w->index)]
                                : place_of_leader(pl, seat_group(w->seat));
            return true;
        }
    }
    return false;
}

/* Ways looked at in one step, once one that is good was found: to look at all of ten thousand
 * groups in each step takes seconds where thousands of leaders are to move. */
#define SINGLES_LOOK 512
/* Chains looked at in one step, good or not. */
#define CHAINS_LOOK (1u << 17)

static void find_single(struct plan *pl, uint16_t place, struct change *best)
{
    struct walk w = walk_of(pl, place, plan_is_over(pl, place));
    uint32_t looked = 0;
    for (uint32_t i = 0; next_way(pl, &w, &i);) {
        if (looked++ >= SINGLES_LOOK && best->outcome.verdict == PLAN_GOOD) return;
        struct change c = {.group = seat_group(w.seat), .index = w.index, .second = NO_GROUP};
        c.outcome = plan_judge(pl, place, w.other, pl->group[c.group].lead);
        offer(pl, &c, best);
    }
}

/* What a chain does to its three places: `place` gives (or gets) `first`, the middle hands on
 * `second` in the same direction, and the end gets (or gives) that. */
static struct plan_outcome judge_chain(const struct plan *pl, uint16_t place, uint16_t middle,
                                       uint16_t end, uint64_t first, uint64_t second)
{
    const struct levels *l = &pl->levels;
    bool gives = plan_is_over(pl, place);
    uint64_t at_place = l->load[place] + (gives ? -first : first);
    uint64_t at_middle = l->load[middle] + (gives ? first - second : second - first);
    uint64_t at_end = l->load[end] + (gives ? second : -second);
    uint64_t d_middle = levels_deviation(l, middle, at_middle);
    uint64_t d_end = levels_deviation(l, end, at_end);
    struct plan_outcome o = {.troubled = levels_deviation(l, place, at_place),
                             .partner = d_middle > d_end ? d_middle : d_end};
    bool unharmed = plan_is_unharmed(pl, middle, d_middle) && plan_is_unharmed(pl, end, d_end);
    o.verdict = plan_verdict(pl, place, &o, unharmed);
    return o;
}

/* Where nobody has room for (or spares) just what is needed, a neighbour may hand something on. The
 * first good chain will do; and with the quarter used up there is no need to look. */
static void find_chain(struct plan *pl, uint16_t place, struct change *best)
{
    bool gives = plan_is_over(pl, place);
    struct walk w = walk_of(pl, place, gives);
    uint32_t looked = 0;
    if (pl->leaders_changed >= pl->leaders_most) {
        pl->sum->leaders_held = true;
        return;
    }
    for (uint32_t i = 0; best->outcome.verdict != PLAN_GOOD && next_way(pl, &w, &i);) {
        struct change c = {.group = seat_group(w.seat), .index = w.index};
        struct walk v = walk_of(pl, w.other, gives);
        for (uint32_t j = 0; next_way(pl, &v, &j);) {
            if (looked++ >= CHAINS_LOOK) return;
            c.second = seat_group(v.seat);
            c.second_index = v.index;
            if (c.second == c.group || v.other == place) continue;
            c.outcome = judge_chain(pl, place, w.other, v.other, pl->group[c.group].lead,
                                    pl->group[c.second].lead);
            offer(pl, &c, best);
        }
    }
}

static bool mend_leaders(struct plan *pl, uint16_t place)
{
    struct change best = {.outcome = {PLAN_WORSE, 0, 0}};
    find_single(pl, place, &best);
    uint64_t off = levels_deviation(&pl->levels, place, pl->levels.load[place]);
    if (best.outcome.verdict == PLAN_WORSE && off > pl->tolerance) find_chain(pl, place, &best);
    if (best.outcome.verdict == PLAN_WORSE) return false;
    set_leader(pl, best.group, best.index);
    if (best.second != NO_GROUP) set_leader(pl, best.second, best.second_index);
    return true;
}

/* ---- the phase ---- */

/* Leaders that may stay. */
static void keep_leaders(struct plan *pl)
{
    struct levels *l = &pl->levels;
    for (uint32_t p = 0; p < pl->place_count; p++) l->load[p] = 0;
    for (uint32_t g = 0; g < pl->group_count; g++) {
        struct plan_group *group = &pl->group[g];
        group->leader = group->count;
        /* No holding voter: nobody to choose here, but the change counts. */
        if (!group->lost && group->count == group->keeps && !plan_leaving_leader_stays(pl, g))
            pl->leaders_changed += pl->in->groups[g].leader != 0;
        for (uint32_t i = group->keeps; i < group->count; i++) {
            uint16_t p = pl->seat[seat_of(g, i)];
            if (node_id(pl, p) != pl->in->groups[g].leader) continue;
            group->leader = (uint8_t)i;
            l->load[p] += group->lead;
        }
    }
    levels_rebuild(l);
}

static void lead_group(struct plan *pl, uint32_t g)
{
    const struct plan_group *group = &pl->group[g];
    uint32_t best = group->keeps;
    for (uint32_t i = best + 1; i < group->count; i++) {
        uint16_t a = pl->seat[seat_of(g, i)], b = pl->seat[seat_of(g, best)];
        if (levels_lower(&pl->levels, a, b) == a) best = i;
    }
    set_leader(pl, g, best);
}

static void lead_the_leaderless(struct plan *pl)
{
    size_t count = 0;
    for (uint32_t g = 0; g < pl->group_count; g++) {
        const struct plan_group *group = &pl->group[g];
        if (group->leader == group->count && group->count > group->keeps)
            pl->sorted[count++] = (PLACEMENT_WEIGHT_ALL - group->lead) << 20 | g;
    }
    plan_sort(pl->sorted, count);
    for (size_t i = 0; i < count; i++) lead_group(pl, (uint32_t)(pl->sorted[i] & 0xfffff));
}

void plan_leaders(struct plan *pl)
{
    size_t stuck;
    plan_share_out_and_clip(pl, share_out, clip);
    keep_leaders(pl);
    pl->sum->leader_imbalance_before = plan_imbalance(pl);
    lead_the_leaderless(pl);
    pl->leaders_most = (pl->group_count + 3) / 4;
    plan_mend_all(pl, mend_leaders, &stuck);
    pl->sum->leader_imbalance_after = plan_imbalance(pl);
}
