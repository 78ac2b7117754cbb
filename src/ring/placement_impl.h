/* The planner's state, shared by placement*.c and by nobody else. See placement.c. */
#ifndef SYNOD_RING_PLACEMENT_IMPL_H
#define SYNOD_RING_PLACEMENT_IMPL_H

#include "base/assert.h"
#include "ring/levels.h"
#include "ring/placement.h"

#define SEAT_NONE UINT32_MAX

/* A seat is one replica of a group as planned: group * PLACEMENT_REPLICAS_MAX + index. */
static inline uint32_t seat_of(uint32_t group, uint32_t index)
{
    return group * PLACEMENT_REPLICAS_MAX + index;
}
static inline uint32_t seat_group(uint32_t seat)
{
    return seat / PLACEMENT_REPLICAS_MAX;
}

/* A group as planned so far: on holding nodes and nodes that keep. */
struct plan_group {
    uint64_t weight;
    uint64_t lead;   /* what leading it weighs */
    uint8_t count;   /* of its seats */
    uint8_t want;    /* seats it shall have (R3) */
    uint8_t spread;  /* at most so many in one zone (R4) */
    uint8_t keeps;   /* seats on nodes that are down; they come first */
    uint8_t leaving; /* voters on leaving nodes now */
    uint8_t leader;  /* index of the leading seat; want: none */
    bool lost, heavy;
};

struct plan {
    const struct placement_input *in;
    struct placement_summary *sum;
    uint32_t group_count;
    uint16_t place_count;
    size_t zone_count, holding, holding_zones;
    size_t witnesses;                     /* holding witness nodes */
    uint64_t tolerance, goal;             /* deviations, in units of LEVEL_ONE */
    size_t work;                          /* steps that balancing may yet take */
    size_t leaders_changed, leaders_most; /* of known leaders; R7 */

    struct levels levels;
    struct levels_zone *zone;
    uint16_t *zone_of;      /* by place */
    uint16_t *zone_holding; /* by zone: how many of its nodes hold */
    uint16_t *node_of;      /* by place: index in in->nodes */
    uint16_t *place_of;     /* by index in in->nodes */
    struct plan_group *group;
    uint16_t *seat; /* by seat: its place */
    /* The seats of a place, as a list. */
    uint32_t *head, *next, *prev;
    uint64_t *sorted; /* keys being sorted; one a group or a node */
    bool *mended;     /* by place: off by more than the tolerance, to be brought to the goal */
};

/* Ascending; heap sort. */
void plan_sort(uint64_t *key, size_t count);

/* A change that shall mend one place, at the cost of a partner (in a chain, two): is it better? */
enum plan_verdict {
    PLAN_WORSE,
    PLAN_BETTER, /* the worst of them is better off, but a partner is no longer at its goal */
    PLAN_GOOD,   /* the place is better off, each partner at its goal or no worse than it was */
};

struct plan_outcome {
    enum plan_verdict verdict;
    uint64_t troubled, partner; /* deviations then: of the place, of its worst partner */
};

/* A partner that would be off by so much is at its goal or no worse than it is now. */
bool plan_is_unharmed(const struct plan *pl, uint16_t partner, uint64_t then);
/* From the deviations in `o`. */
enum plan_verdict plan_verdict(const struct plan *pl, uint16_t troubled,
                               const struct plan_outcome *o, bool unharmed);
/* `weight` goes between the place to be mended and one partner, away from the place if that is too
 * full. */
struct plan_outcome plan_judge(const struct plan *pl, uint16_t troubled, uint16_t partner,
                               uint64_t weight);
/* Too full, rather than too empty. */
bool plan_is_over(const struct plan *pl, uint16_t place);
bool plan_node_holds(const struct plan *pl, uint16_t place);
/* Shares out, then clips what each group counts to the largest share, which makes the shares
 * smaller in turn, by ever less. `clips` clips one group's weight (with plan_clip) and says if it
 * did. */
void plan_share_out_and_clip(struct plan *pl, void (*shares)(struct plan *),
                             bool (*clips)(struct plan_group *, uint64_t));
bool plan_clip(uint64_t *weight, uint64_t largest);
/* The seat is not one of the group's voters now. */
bool plan_seat_is_new(const struct plan *pl, uint32_t seat);
/* R1 and R4: may group g have a seat at `place`, its seat of index `leaving` (if any) being given
 * up? */
bool plan_may_sit(const struct plan *pl, uint32_t g, uint16_t place, uint32_t leaving);
/* The group's leader is leaving, and stays for want of replicas (R2). */
bool plan_leaving_leader_stays(const struct plan *pl, uint32_t g);
void plan_link(struct plan *pl, uint32_t seat, uint16_t place);
void plan_unlink(struct plan *pl, uint32_t seat);

/* Brings every place that is off by more than the tolerance to the goal, or as near as `mend`
 * can: mend makes one step for a place and says whether it could. Places for which it can not are
 * counted in *stuck. */
void plan_mend_all(struct plan *pl, bool (*mend)(struct plan *pl, uint16_t place), size_t *stuck);
/* The largest deviation of a holding node, in per mille. */
uint32_t plan_imbalance(const struct plan *pl);

void plan_balance(struct plan *pl); /* R6 */
void plan_leaders(struct plan *pl); /* R7 */

#endif
