/* Planning goes through five phases on the state in placement_impl.h:
 *
 *  1. keep:    each group keeps its voters on holding nodes and those that are down (R2), and how
 *              many it shall have and how far it can spread is settled (R3, R4). From that follow
 *              the weights and each node's fair share (levels.h).
 *  2. trim:    voters too many, or too many in one zone, are given up, those on the fullest nodes
 *              first.
 *  3. fill:    groups that lack replicas get them, the heaviest group first, each on the emptiest
 *              node where it may be (Graham's longest-processing-time rule, 1969: small groups at
 *              the end level out what large ones left uneven). The tree of levels.h finds that node
 *              by asking for the lowest of all but the ranges that R1 and R4 forbid: O(log nodes).
 *  4. balance: nodes still off by more than the tolerance give or take single replicas, or exchange
 *              two, until they are within half of it (placement_balance.c). So movement is what
 *              phases 2 and 3 could not avoid plus what nodes off balance lack or have too much.
 *  5. leaders: placement_leaders.c.
 *
 * Why a plan is final. Phases 1 to 3 do nothing to a group that obeys R1 to R4. Phase 4 acts only
 * on nodes beyond the tolerance, ends when none of them can be helped, and whether one can be
 * helped depends on where replicas are and on nothing else, such as the order in which they got
 * there: so a second run finds the same nodes, and can help none. Phase 5 likewise.
 *
 * Why balancing ends. A step never makes the pair of nodes it touches worse: in the list of all
 * deviations from fair share, largest first and those within the goal counted as the goal, the
 * larger of the two falls. Such a list cannot fall for ever; a bound on steps (cut_short) guards
 * the time. */
#include "ring/placement_impl.h"

#include <string.h>

#define WORK_PER_SEAT 4
#define CLIP_ROUNDS   16

/* ---- memory ---- */

static size_t room(size_t count, size_t size)
{
    return (count * size + 7) & ~(size_t)7;
}

static void *carve(uint8_t **at, size_t count, size_t size)
{
    void *here = *at;
    *at += room(count, size);
    return here;
}

size_t placement_scratch_size(size_t nodes, size_t groups)
{
    size_t seats = groups * PLACEMENT_REPLICAS_MAX, most = nodes > groups ? nodes : groups;
    return levels_size(nodes) + room(nodes + 1, sizeof(struct levels_zone)) +
           4 * room(nodes, sizeof(uint16_t)) + room(groups, sizeof(struct plan_group)) +
           room(seats, sizeof(uint16_t)) + room(nodes, sizeof(uint32_t)) +
           2 * room(seats, sizeof(uint32_t)) + room(most, sizeof(uint64_t)) +
           room(nodes, sizeof(bool));
}

static void lay_out(struct plan *pl, void *scratch)
{
    size_t nodes = pl->in->node_count, groups = pl->in->group_count;
    size_t seats = groups * PLACEMENT_REPLICAS_MAX;
    uint8_t *at = scratch;
    levels_init(&pl->levels, nodes, carve(&at, levels_size(nodes), 1));
    pl->zone = carve(&at, nodes + 1, sizeof *pl->zone);
    pl->zone_of = carve(&at, nodes, sizeof *pl->zone_of);
    pl->zone_holding = carve(&at, nodes, sizeof *pl->zone_holding);
    pl->node_of = carve(&at, nodes, sizeof *pl->node_of);
    pl->place_of = carve(&at, nodes, sizeof *pl->place_of);
    pl->group = carve(&at, groups, sizeof *pl->group);
    pl->seat = carve(&at, seats, sizeof *pl->seat);
    pl->head = carve(&at, nodes, sizeof *pl->head);
    pl->next = carve(&at, seats, sizeof *pl->next);
    pl->prev = carve(&at, seats, sizeof *pl->prev);
    pl->sorted = carve(&at, nodes > groups ? nodes : groups, sizeof *pl->sorted);
    pl->mended = carve(&at, nodes, sizeof *pl->mended);
    ASSERT((size_t)(at - (uint8_t *)scratch) == placement_scratch_size(nodes, groups));
}

/* ---- small things ---- */

static void sift_down(uint64_t *key, size_t i, size_t count)
{
    for (size_t child; (child = 2 * i + 1) < count; i = child) {
        if (child + 1 < count && key[child + 1] > key[child]) child++;
        if (key[i] >= key[child]) return;
        uint64_t larger = key[child];
        key[child] = key[i];
        key[i] = larger;
    }
}

void plan_sort(uint64_t *key, size_t count)
{
    for (size_t i = count / 2; i-- > 0;) sift_down(key, i, count);
    for (size_t end = count; end-- > 1;) {
        uint64_t largest = key[0];
        key[0] = key[end];
        key[end] = largest;
        sift_down(key, 0, end);
    }
}

static uint16_t place_of_node(const struct plan *pl, uint16_t id)
{
    size_t low = 0, high = pl->in->node_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (pl->in->nodes[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < pl->in->node_count && pl->in->nodes[low].id == id;
    return found ? pl->place_of[low] : LEVELS_NONE;
}

static const struct placement_node *node_at(const struct plan *pl, uint16_t place)
{
    return &pl->in->nodes[pl->node_of[place]];
}

bool plan_node_holds(const struct plan *pl, uint16_t place)
{
    return pl->levels.capacity[place] != 0;
}

/* As a place for data; a witness node is none. */
static enum placement_role role_of(const struct plan *pl, uint16_t place)
{
    if (place == LEVELS_NONE || node_at(pl, place)->witness) return PLACEMENT_DEAD;
    return (enum placement_role)node_at(pl, place)->role;
}

static bool is_voter(const struct placement_group *g, uint16_t node)
{
    for (size_t i = 0; i < g->count; i++)
        if (g->node[i] == node) return true;
    return false;
}

bool plan_seat_is_new(const struct plan *pl, uint32_t seat)
{
    return !is_voter(&pl->in->groups[seat_group(seat)], node_at(pl, pl->seat[seat])->id);
}

static unsigned seats_in_zone(const struct plan *pl, uint32_t g, uint16_t zone)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < pl->group[g].count; i++)
        count += pl->zone_of[pl->seat[seat_of(g, i)]] == zone;
    return count;
}

bool plan_may_sit(const struct plan *pl, uint32_t g, uint16_t place, uint32_t leaving)
{
    unsigned in_zone = 0;
    for (uint32_t i = 0; i < pl->group[g].count; i++) {
        uint16_t at = pl->seat[seat_of(g, i)];
        if (at == place) return false;
        in_zone += i != leaving && pl->zone_of[at] == pl->zone_of[place];
    }
    return in_zone < pl->group[g].spread;
}

void plan_link(struct plan *pl, uint32_t seat, uint16_t place)
{
    uint32_t first = pl->head[place];
    pl->seat[seat] = place;
    pl->prev[seat] = SEAT_NONE;
    pl->next[seat] = first;
    if (first != SEAT_NONE) pl->prev[first] = seat;
    pl->head[place] = seat;
}

void plan_unlink(struct plan *pl, uint32_t seat)
{
    uint32_t before = pl->prev[seat], after = pl->next[seat];
    if (before != SEAT_NONE)
        pl->next[before] = after;
    else
        pl->head[pl->seat[seat]] = after;
    if (after != SEAT_NONE) pl->prev[after] = before;
}

/* ---- nodes, zones ---- */

/* Places are nodes by zone, then id. */
static void index_nodes(struct plan *pl)
{
    const struct placement_node *nodes = pl->in->nodes;
    size_t count = pl->in->node_count;
    for (size_t i = 0; i < count; i++) {
        ASSERT(nodes[i].id && (i == 0 || nodes[i - 1].id < nodes[i].id));
        pl->sorted[i] = (uint64_t)nodes[i].zone << 16 | i;
    }
    plan_sort(pl->sorted, count);
    for (size_t p = 0; p < count; p++) {
        uint16_t i = (uint16_t)pl->sorted[p];
        bool first = p == 0 || pl->sorted[p - 1] >> 16 != pl->sorted[p] >> 16;
        if (first) {
            pl->zone_holding[pl->zone_count] = 0;
            pl->zone[pl->zone_count++] = (struct levels_zone){.first = (uint16_t)p};
        }
        pl->zone[pl->zone_count - 1].end = (uint16_t)(p + 1);
        pl->zone_of[p] = (uint16_t)(pl->zone_count - 1);
        pl->node_of[p] = i;
        pl->place_of[i] = (uint16_t)p;
        pl->head[p] = SEAT_NONE;
        pl->mended[p] = false;
        if (nodes[i].role != PLACEMENT_HOLDS) continue;
        pl->witnesses += nodes[i].witness;
        if (nodes[i].witness) continue;
        pl->levels.capacity[p] = nodes[i].capacity ? nodes[i].capacity : 1;
        pl->holding++;
        pl->holding_zones += pl->zone_holding[pl->zone_count - 1]++ == 0;
    }
}

/* How many replicas of a group fit on holding nodes, by the most that one zone may have. */
struct spread {
    size_t fits[PLACEMENT_REPLICAS_MAX + 1];
};

static struct spread spread_of_holding(const struct plan *pl)
{
    struct spread s = {0};
    for (size_t z = 0; z < pl->zone_count; z++) {
        size_t holding = pl->zone_holding[z];
        for (size_t most = 1; most <= PLACEMENT_REPLICAS_MAX; most++)
            s.fits[most] += holding < most ? holding : most;
    }
    return s;
}

/* The smallest such bound for a group: its voters that are down have room of their own. */
static uint8_t spread_for(const struct plan *pl, const struct spread *s, uint32_t g)
{
    const struct plan_group *group = &pl->group[g];
    for (uint8_t most = 1; most < PLACEMENT_REPLICAS_MAX; most++) {
        size_t fits = s->fits[most];
        for (uint32_t i = 0; i < group->keeps; i++) {
            uint16_t zone = pl->zone_of[pl->seat[seat_of(g, i)]];
            unsigned before = 0;
            for (uint32_t j = 0; j < i; j++) before += pl->zone_of[pl->seat[seat_of(g, j)]] == zone;
            fits += pl->zone_holding[zone] + before < most;
        }
        if (fits >= group->want) return most;
    }
    return PLACEMENT_REPLICAS_MAX;
}

/* ---- 1. keep ---- */

static void give_up(struct plan *pl, uint32_t g, uint32_t index)
{
    struct plan_group *group = &pl->group[g];
    ASSERT(index < group->count);
    if (index < group->keeps) group->keeps--;
    for (uint32_t i = index + 1; i < group->count; i++)
        pl->seat[seat_of(g, i - 1)] = pl->seat[seat_of(g, i)];
    group->count--;
}

/* Seats the group's voters of one role. */
static void seat_voters(struct plan *pl, uint32_t g, enum placement_role role)
{
    const struct placement_group *now = &pl->in->groups[g];
    struct plan_group *group = &pl->group[g];
    for (size_t i = 0; i < now->count; i++) {
        uint16_t place = place_of_node(pl, now->node[i]);
        if (role_of(pl, place) == role) pl->seat[seat_of(g, group->count++)] = place;
    }
}

static void keep_group(struct plan *pl, const struct spread *s, uint32_t g)
{
    const struct placement_group *now = &pl->in->groups[g];
    struct plan_group *group = &pl->group[g];
    ASSERT(now->count <= PLACEMENT_REPLICAS_MAX);
    ASSERT(g == 0 || pl->in->groups[g - 1].id < now->id);
    *group = (struct plan_group){0};
    seat_voters(pl, g, PLACEMENT_LEAVES);
    group->leaving = group->count;
    group->count = 0;
    seat_voters(pl, g, PLACEMENT_KEEPS);
    group->keeps = group->count;
    seat_voters(pl, g, PLACEMENT_HOLDS);
    for (uint32_t i = 0; i < group->count; i++)
        for (uint32_t j = 0; j < i; j++) ASSERT(pl->seat[seat_of(g, i)] != pl->seat[seat_of(g, j)]);
    group->lost = now->count && !group->count && !group->leaving;
    if (group->lost) return;
    size_t most = pl->holding + group->keeps, wanted = pl->in->options.replicas;
    group->want = (uint8_t)(wanted < most ? wanted : most);
    while (group->keeps && group->count > group->want) give_up(pl, g, 0);
    group->spread = spread_for(pl, s, g);
}

/* `part` of what one has of all. */
static uint64_t fraction(uint64_t own, unsigned __int128 all, uint64_t part)
{
    return (uint64_t)((unsigned __int128)own * part / all);
}

struct totals {
    unsigned __int128 size, load;
};

static uint64_t mix(const struct totals *t, const struct placement_group *g, size_t groups,
                    uint64_t size_part, uint64_t load_part, uint64_t count_part)
{
    if (!t->size) size_part = 0;
    if (!t->load) load_part = 0;
    uint64_t parts = size_part + load_part + count_part;
    if (!parts) parts = count_part = 1;
    uint64_t weight = PLACEMENT_WEIGHT_ALL / parts * count_part / groups;
    if (size_part) weight += fraction(g->size, t->size, PLACEMENT_WEIGHT_ALL / parts * size_part);
    if (load_part) weight += fraction(g->load, t->load, PLACEMENT_WEIGHT_ALL / parts * load_part);
    return weight ? weight : 1;
}

static void weigh(struct plan *pl)
{
    const struct placement_options *o = &pl->in->options;
    struct totals t = {0};
    for (uint32_t g = 0; g < pl->group_count; g++) {
        t.size += pl->in->groups[g].size;
        t.load += pl->in->groups[g].load;
    }
    for (uint32_t g = 0; g < pl->group_count; g++) {
        const struct placement_group *now = &pl->in->groups[g];
        size_t n = pl->group_count;
        pl->group[g].weight = mix(&t, now, n, o->size_part, o->load_part, o->count_part);
        pl->group[g].lead = mix(&t, now, n, 0, o->load_part, o->count_part);
    }
}

/* Each node's share, for the weights as they are. */
static void share_out(struct plan *pl)
{
    uint64_t total = 0, all = 0, spread = 0;
    for (uint32_t g = 0; g < pl->group_count; g++) {
        const struct plan_group *group = &pl->group[g];
        if (group->lost) continue;
        all += group->weight;
        total += group->weight * (uint64_t)(group->want - group->keeps);
        spread += group->weight * group->spread;
    }
    for (size_t z = 0; z < pl->zone_count; z++) pl->zone[z].limit = spread;
    for (uint32_t g = 0; g < pl->group_count; g++)
        for (uint32_t i = 0; i < pl->group[g].keeps; i++) {
            struct levels_zone *z = &pl->zone[pl->zone_of[pl->seat[seat_of(g, i)]]];
            z->limit -= z->limit < pl->group[g].weight ? z->limit : pl->group[g].weight;
        }
    for (uint32_t p = 0; p < pl->place_count; p++)
        pl->levels.limit[p] = plan_node_holds(pl, (uint16_t)p) ? all : 0;
    levels_share_out(&pl->levels, pl->zone, pl->zone_count, total);
}

/* A hair more is not too much: where every node has every group, one is a whole share. */
bool plan_clip(uint64_t *weight, uint64_t largest)
{
    if (*weight <= largest + largest / 1024 + 1) return false;
    *weight = largest;
    return true;
}

void plan_share_out_and_clip(struct plan *pl, void (*shares)(struct plan *),
                             bool (*clips)(struct plan_group *, uint64_t))
{
    bool clipped = true;
    for (int round = 0; clipped && round < CLIP_ROUNDS; round++) {
        shares(pl);
        uint64_t largest = 1;
        for (uint32_t p = 0; p < pl->place_count; p++)
            if (plan_node_holds(pl, (uint16_t)p) && pl->levels.target[p] > largest)
                largest = pl->levels.target[p];
        clipped = false;
        for (uint32_t g = 0; g < pl->group_count; g++) clipped |= clips(&pl->group[g], largest);
    }
}

static bool clip(struct plan_group *group, uint64_t largest)
{
    bool clipped = plan_clip(&group->weight, largest);
    group->heavy |= clipped;
    return clipped;
}

static void keep(struct plan *pl)
{
    struct spread s = spread_of_holding(pl);
    for (uint32_t g = 0; g < pl->group_count; g++) keep_group(pl, &s, g);
    weigh(pl);
    if (pl->holding) plan_share_out_and_clip(pl, share_out, clip);
    for (uint32_t g = 0; g < pl->group_count; g++)
        for (uint32_t i = 0; i < pl->group[g].count; i++)
            pl->levels.load[pl->seat[seat_of(g, i)]] += pl->group[g].weight;
    levels_rebuild(&pl->levels);
    pl->sum->imbalance_before = plan_imbalance(pl);
}

/* ---- 2. trim ---- */

/* Which holding seat to give up, in `zone` or (LEVELS_NONE) anywhere: one in a crowded zone before
 * others, not the leader if another will do, on the fullest node. The group's count: none. */
static uint32_t seat_to_give_up(const struct plan *pl, uint32_t g, uint16_t zone)
{
    const struct plan_group *group = &pl->group[g];
    uint32_t best = group->count;
    unsigned best_crowd = 0;
    bool best_leads = false;
    for (uint32_t i = group->keeps; i < group->count; i++) {
        uint16_t p = pl->seat[seat_of(g, i)];
        if (zone != LEVELS_NONE && pl->zone_of[p] != zone) continue;
        unsigned crowd = seats_in_zone(pl, g, pl->zone_of[p]);
        if (crowd <= group->spread) crowd = 0;
        bool leads = node_at(pl, p)->id == pl->in->groups[g].leader;
        bool better = best == group->count || crowd > best_crowd;
        if (!better && crowd == best_crowd)
            better = leads != best_leads
                         ? best_leads
                         : pl->levels.rank[p] > pl->levels.rank[pl->seat[seat_of(g, best)]];
        if (!better) continue;
        best = i;
        best_crowd = crowd;
        best_leads = leads;
    }
    return best;
}

static void trim_seat(struct plan *pl, uint32_t g, uint32_t index)
{
    uint16_t place = pl->seat[seat_of(g, index)];
    levels_set(&pl->levels, place, pl->levels.load[place] - pl->group[g].weight);
    give_up(pl, g, index);
}

static void trim(struct plan *pl)
{
    for (uint32_t g = 0; g < pl->group_count; g++) {
        struct plan_group *group = &pl->group[g];
        while (group->count > group->want) trim_seat(pl, g, seat_to_give_up(pl, g, LEVELS_NONE));
        for (uint32_t i = 0; i < group->count; i++) {
            uint16_t zone = pl->zone_of[pl->seat[seat_of(g, i)]];
            if (seats_in_zone(pl, g, zone) <= group->spread) continue;
            uint32_t index = seat_to_give_up(pl, g, zone);
            if (index == group->count) continue; /* all of them are down, and stay */
            trim_seat(pl, g, index);
            i = UINT32_MAX; /* from the start */
        }
    }
}

/* ---- 3. fill ---- */

/* Ranges of places where a group may not get another seat, ascending, apart. */
struct ranges {
    unsigned count;
    uint32_t first[2 * PLACEMENT_REPLICAS_MAX], end[2 * PLACEMENT_REPLICAS_MAX];
};

static void add_range(struct ranges *r, uint32_t first, uint32_t end)
{
    unsigned i = r->count;
    for (unsigned j = 0; j < r->count; j++)
        if (r->first[j] <= first && end <= r->end[j]) return;
    for (; i > 0 && r->first[i - 1] > first; i--) {
        r->first[i] = r->first[i - 1];
        r->end[i] = r->end[i - 1];
    }
    r->first[i] = first;
    r->end[i] = end;
    r->count++;
}

static struct ranges forbidden(const struct plan *pl, uint32_t g)
{
    struct ranges r = {0};
    for (uint32_t i = 0; i < pl->group[g].count; i++) {
        uint16_t zone = pl->zone_of[pl->seat[seat_of(g, i)]];
        if (seats_in_zone(pl, g, zone) >= pl->group[g].spread)
            add_range(&r, pl->zone[zone].first, pl->zone[zone].end);
    }
    for (uint32_t i = 0; i < pl->group[g].count; i++) {
        uint16_t p = pl->seat[seat_of(g, i)];
        add_range(&r, p, p + 1u);
    }
    return r;
}

static uint16_t emptiest_for(const struct plan *pl, uint32_t g)
{
    struct ranges r = forbidden(pl, g);
    uint16_t best = LEVELS_NONE;
    uint32_t from = 0;
    for (unsigned i = 0; i < r.count; i++) {
        best = levels_lower(&pl->levels, best, levels_lowest(&pl->levels, from, r.first[i]));
        from = r.end[i];
    }
    return levels_lower(&pl->levels, best, levels_lowest(&pl->levels, from, pl->place_count));
}

static void fill_group(struct plan *pl, uint32_t g)
{
    struct plan_group *group = &pl->group[g];
    while (group->count < group->want) {
        uint16_t place = emptiest_for(pl, g);
        ASSERT(place != LEVELS_NONE); /* by the choice of want and spread */
        ASSERT(plan_may_sit(pl, g, place, group->count));
        pl->seat[seat_of(g, group->count++)] = place;
        levels_set(&pl->levels, place, pl->levels.load[place] + group->weight);
    }
}

static void fill(struct plan *pl)
{
    size_t count = 0;
    for (uint32_t g = 0; g < pl->group_count; g++)
        if (pl->group[g].count < pl->group[g].want)
            pl->sorted[count++] = (PLACEMENT_WEIGHT_ALL - pl->group[g].weight) << 20 | g;
    plan_sort(pl->sorted, count);
    for (size_t i = 0; i < count; i++) fill_group(pl, (uint32_t)(pl->sorted[i] & 0xfffff));
    for (uint32_t g = 0; g < pl->group_count; g++)
        for (uint32_t i = 0; i < pl->group[g].count; i++)
            plan_link(pl, seat_of(g, i), pl->seat[seat_of(g, i)]);
}

/* ---- witnesses (R8) ---- */

/* The node of the group's witness, if it gets one; 0: there is none. */
static uint16_t witness_for(const struct plan *pl, uint32_t g)
{
    const struct placement_group *now = &pl->in->groups[g];
    uint16_t leaving = 0;
    for (size_t i = 0; i < now->count; i++) {
        uint16_t place = place_of_node(pl, now->node[i]);
        if (place == LEVELS_NONE || !node_at(pl, place)->witness) continue;
        uint8_t role = node_at(pl, place)->role;
        if (role == PLACEMENT_HOLDS || role == PLACEMENT_KEEPS) return now->node[i];
        if (role == PLACEMENT_LEAVES) leaving = now->node[i];
    }
    size_t skip = pl->witnesses ? now->id % pl->witnesses : 0;
    for (size_t i = 0; pl->witnesses && i < pl->in->node_count; i++) {
        const struct placement_node *node = &pl->in->nodes[i];
        if (node->witness && node->role == PLACEMENT_HOLDS && skip-- == 0) return node->id;
    }
    return leaving;
}

static uint16_t witness_beside(const struct plan *pl, uint32_t g, unsigned count)
{
    bool tie = count >= 2 && count % 2 == 0 && count < pl->in->options.replicas;
    return tie ? witness_for(pl, g) : 0;
}

/* How many replicas with data the group shall have: one that a witness stands for is not missed. */
static unsigned data_wanted(const struct plan *pl, uint32_t g)
{
    unsigned replicas = pl->in->options.replicas, count = pl->group[g].count;
    return replicas - (count + 1 == replicas && witness_beside(pl, g, count));
}

/* ---- what had to move; how well it went ---- */

/* Between trim and fill: see weight_minimum in placement.h. */
static void note_minimum(struct plan *pl)
{
    uint64_t holes = 0, founding = 0, lack = 0, excess = 0;
    for (uint32_t g = 0; g < pl->group_count; g++) {
        const struct plan_group *group = &pl->group[g];
        uint64_t missing = group->weight * (uint64_t)(group->want - group->count);
        *(pl->in->groups[g].count ? &holes : &founding) += missing;
    }
    for (uint32_t p = 0; p < pl->place_count; p++) {
        const struct levels *l = &pl->levels;
        if (!plan_node_holds(pl, (uint16_t)p)) continue;
        if (levels_deviation(l, (uint16_t)p, l->load[p]) <= pl->tolerance) continue;
        if (l->load[p] < l->target[p])
            lack += l->target[p] - l->load[p];
        else
            excess += l->load[p] - l->target[p];
    }
    lack -= lack < founding ? lack : founding;
    uint64_t least = holes > lack ? holes : lack;
    pl->sum->weight_minimum = least > excess ? least : excess;
}

uint32_t plan_imbalance(const struct plan *pl)
{
    uint64_t worst = 0;
    for (uint32_t p = 0; p < pl->place_count; p++) {
        if (!plan_node_holds(pl, (uint16_t)p)) continue;
        uint64_t d = levels_deviation(&pl->levels, (uint16_t)p, pl->levels.load[p]);
        if (d > worst) worst = d;
    }
    if (worst >= UINT32_MAX / 1000 * LEVEL_ONE) return UINT32_MAX;
    return (uint32_t)((worst * 1000 + LEVEL_ONE / 2) / LEVEL_ONE);
}

static void note_group(struct plan *pl, uint32_t g)
{
    const struct plan_group *group = &pl->group[g];
    struct placement_summary *sum = pl->sum;
    bool crowded = false;
    for (uint32_t i = 0; i < group->count; i++) {
        crowded |= seats_in_zone(pl, g, pl->zone_of[pl->seat[seat_of(g, i)]]) > 1;
        if (!pl->in->groups[g].count || !plan_seat_is_new(pl, seat_of(g, i))) continue;
        sum->replicas_moved++;
        sum->size_moved += pl->in->groups[g].size;
        sum->weight_moved += group->weight;
    }
    sum->groups_short += group->want < data_wanted(pl, g) && !group->lost;
    sum->groups_crowded += crowded;
    sum->groups_heavy += group->heavy;
    sum->groups_lost += group->lost;
}

/* ---- the plan, written out ---- */

static void add_target(const struct placement_group *now, struct placement_target *t, uint16_t node)
{
    t->changed |= !is_voter(now, node);
    t->node[t->count++] = node;
}

bool plan_leaving_leader_stays(const struct plan *pl, uint32_t g)
{
    const struct placement_group *now = &pl->in->groups[g];
    return pl->group[g].count < data_wanted(pl, g) && is_voter(now, now->leader) &&
           role_of(pl, place_of_node(pl, now->leader)) == PLACEMENT_LEAVES;
}

/* Voters that stay in the order given; leaving ones, a leader before others, as long as replicas
 * are wanting (R2). */
static void write_kept(struct plan *pl, uint32_t g, struct placement_target *t)
{
    const struct placement_group *now = &pl->in->groups[g];
    const struct plan_group *group = &pl->group[g];
    unsigned wanting = data_wanted(pl, g) - group->count;
    bool leader_stays = plan_leaving_leader_stays(pl, g);
    pl->sum->groups_stay += group->leaving && wanting;
    wanting -= leader_stays;
    for (size_t i = 0; i < now->count; i++) {
        uint16_t place = place_of_node(pl, now->node[i]);
        bool kept = leader_stays && now->node[i] == now->leader;
        for (uint32_t j = 0; j < group->count; j++) kept |= pl->seat[seat_of(g, j)] == place;
        if (!kept && wanting && role_of(pl, place) == PLACEMENT_LEAVES) {
            kept = true;
            wanting--;
        }
        if (kept) add_target(now, t, now->node[i]);
    }
}

static uint16_t leader_of(const struct plan *pl, uint32_t g, const struct placement_target *t)
{
    const struct plan_group *group = &pl->group[g];
    if (group->leader < group->count) return node_at(pl, pl->seat[seat_of(g, group->leader)])->id;
    uint16_t found = 0; /* only leaving voters can lead: the present one, else the first */
    for (unsigned i = t->count; i-- > 0;)
        if (role_of(pl, place_of_node(pl, t->node[i])) == PLACEMENT_LEAVES) found = t->node[i];
    for (unsigned i = 0; i < t->count; i++)
        if (t->node[i] == pl->in->groups[g].leader &&
            role_of(pl, place_of_node(pl, t->node[i])) == PLACEMENT_LEAVES)
            found = t->node[i];
    return found;
}

static void write_target(struct plan *pl, uint32_t g, struct placement_target *t)
{
    const struct placement_group *now = &pl->in->groups[g];
    const struct plan_group *group = &pl->group[g];
    *t = (struct placement_target){0};
    if (group->lost) {
        t->count = now->count;
        memcpy(t->node, now->node, now->count * sizeof *now->node);
        t->leader = is_voter(now, now->leader) ? now->leader : 0;
        return;
    }
    write_kept(pl, g, t);
    for (uint32_t i = 0; i < group->count; i++)
        if (plan_seat_is_new(pl, seat_of(g, i)))
            add_target(now, t, node_at(pl, pl->seat[seat_of(g, i)])->id);
    uint16_t witness = witness_beside(pl, g, t->count);
    if (witness) add_target(now, t, witness);
    t->changed |= t->count != now->count;
    t->leader = leader_of(pl, g, t);
    pl->sum->groups_changed += t->changed;
    pl->sum->leaders_changed += now->leader && t->leader != now->leader;
}

void placement_plan(const struct placement_input *in, void *scratch,
                    struct placement_target *targets, struct placement_summary *summary)
{
    ASSERT(in->node_count <= PLACEMENT_NODES_MAX && in->group_count <= PLACEMENT_GROUPS_MAX);
    ASSERT(in->options.replicas && in->options.replicas <= PLACEMENT_REPLICAS_MAX);
    *summary = (struct placement_summary){0};
    struct plan pl = {.in = in,
                      .sum = summary,
                      .group_count = (uint32_t)in->group_count,
                      .place_count = (uint16_t)in->node_count,
                      .tolerance = in->options.tolerance_permille * LEVEL_ONE / 1000,
                      .work = WORK_PER_SEAT * (in->group_count * in->options.replicas + 64)};
    pl.goal = pl.tolerance / 2;
    lay_out(&pl, scratch);
    index_nodes(&pl);
    keep(&pl);
    trim(&pl);
    note_minimum(&pl);
    fill(&pl);
    plan_balance(&pl);
    summary->imbalance_after = plan_imbalance(&pl);
    for (uint32_t g = 0; g < pl.group_count; g++) note_group(&pl, g);
    plan_leaders(&pl);
    for (uint32_t g = 0; g < pl.group_count; g++) write_target(&pl, g, &targets[g]);
}
