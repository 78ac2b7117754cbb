/* Where the replicas and the leaders of groups should live.
 *
 * placement_plan compares the cluster as it is (nodes, and groups with the nodes of their voters)
 * with the rules below and says, for each group, on which nodes it should be and which of them
 * should lead. placement_first_moves picks, from a plan, the few changes to make now; the caller
 * makes them (learner, snapshot, promote, remove), and plans again when one has ended or a node has
 * changed. A plan is never stored: it is a pure function of the cluster map, so every node that
 * computes it from the same map gets the same plan, bit for bit.
 *
 * The rules of a plan, the stronger first:
 *
 *  R1  No node has two replicas of a group.
 *  R2  Nothing new goes to a node that is not PLACEMENT_HOLDS. A voter that is PLACEMENT_DEAD, or
 *      whose node is not among the nodes, is dropped; one that is PLACEMENT_KEEPS is kept, unless
 *      live ones suffice without it; one that LEAVES is replaced where a holding node can take its
 *      place, else kept (groups_stay). Of too many, dead voters go first, then leaving, then down.
 *  R3  A group gets min(options.replicas, holding nodes + its voters that are KEEPS) replicas.
 *  R4  No zone has two replicas of a group while there are as many zones as replicas. With fewer
 *      zones the most in one zone is as small as zones and their nodes allow. (Voters that are
 *      KEEPS stay even if two of them share a zone.)
 *  R5  A group keeps every voter that R2 to R4 do not take from it, but for R6.
 *  R6  A node's weight should be its fair share. Only a node off by more than the tolerance is
 *      mended, and it ends within half of it if that can be had: so a small drift moves nothing and
 *      a mended node stays quiet. Two voters change places only if that shifts an eighth of what it
 *      copies. A voter is not moved for R6 out of a group with a voter that is down.
 *  R7  Leaders are on holding nodes where the group has a voter on one. A leader is moved for
 *      balance only off (or onto) a node whose leaders' load is beyond the tolerance, and all
 *      changes of known leaders are at most a quarter of the groups, but for those whose present
 *      leader may lead no more.
 *  R8  A group that has fewer replicas than wanted, for want of holding nodes, and an even number
 *      of them, two or more, gets a witness: its present one as long as that node is up or down
 *      within grace, else one on a holding witness node, by the group's number. So three replicas
 *      are two and a witness where only two nodes take data; and one that leaves need not stay if
 *      with a witness nothing is wanting. (To an odd number a witness would add nothing but one
 * vote more that a majority needs.) Nothing else goes to a witness node; a witness weighs nothing.
 *
 * Weight. A group's weight is a mix, by the options, of its part of all size, its part of all load
 * and an equal part for being a group; all together weigh PLACEMENT_WEIGHT_ALL. A group heavier
 * than the largest node's share counts as just that: whatever is done, its node is full
 * (groups_heavy; such a group should split).
 *
 * Fair share. Proportional to capacity, except that no node can have more than one replica of each
 * group and no zone more than R4 allows: what the capped cannot take, the others share. With three
 * zones and three replicas each zone's share is one replica of all, whatever its capacity.
 *
 * A plan is final: planning for the cluster as the plan would make it changes nothing, except where
 * `leaders_held` or `cut_short` says that there was more to do.
 *
 * Nothing is allocated. Everything is borrowed for the call; nothing is kept, so a call needs no
 * other to have happened. Threading: none, nothing here is global. */
#ifndef SYNOD_RING_PLACEMENT_H
#define SYNOD_RING_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLACEMENT_REPLICAS_MAX 7
#define PLACEMENT_NODES_MAX    65534
#define PLACEMENT_GROUPS_MAX   (1u << 20)
#define PLACEMENT_WEIGHT_ALL   ((uint64_t)1 << 38)

enum placement_role {
    PLACEMENT_HOLDS,  /* may have and get replicas */
    PLACEMENT_LEAVES, /* draining: loses all it has */
    PLACEMENT_DEAD,   /* gone past its grace time: its replicas are rebuilt elsewhere */
    PLACEMENT_KEEPS,  /* down, within grace: keeps what it has, gets nothing, leads nothing */
};

struct placement_node {
    uint16_t id;       /* not 0 */
    uint8_t role;      /* enum placement_role */
    uint16_t zone;     /* equal numbers: same zone */
    uint32_t capacity; /* relative weight, 100 = one share; 0 is taken as 1 */
    bool witness;      /* takes witnesses (R8), and no data */
};

struct placement_group {
    uint32_t id;
    uint64_t size;                         /* bytes or keys, any one unit */
    uint64_t load;                         /* ops/s */
    uint8_t count;                         /* 0: the group is being founded */
    uint16_t node[PLACEMENT_REPLICAS_MAX]; /* ids of nodes with a voter now, each once */
    uint16_t leader;                       /* node; 0 unknown */
};

struct placement_options {
    uint8_t replicas; /* wanted of each group, 1 to PLACEMENT_REPLICAS_MAX */
    uint16_t
        tolerance_permille; /* how far from its share a node may be before anything moves (50) */
    /* How much size, load and being a group count in a group's weight, as ratios (3, 1, 1).
     * All 0 is as 0, 0, 1. What no group has (no size yet, no load yet) counts nothing. */
    uint16_t size_part, load_part, count_part;
};

/* The cluster as it is; a group with a move under way as that will leave it, else two plans can
 * undo each other for ever. Borrowed for the call. */
struct placement_input {
    const struct placement_node *nodes;   /* by ascending id, each once */
    size_t node_count;                    /* at most PLACEMENT_NODES_MAX */
    const struct placement_group *groups; /* by ascending id, each once */
    size_t group_count;                   /* at most PLACEMENT_GROUPS_MAX */
    struct placement_options options;
};

struct placement_target {
    uint8_t count;
    uint16_t node[PLACEMENT_REPLICAS_MAX]; /* voters that stay in the order given, then new ones */
    uint16_t leader;                       /* one of node, or 0 if none of them may lead */
    bool changed;                          /* node is not the set of the voters now */
};

struct placement_summary {
    size_t groups_changed;
    size_t leaders_changed; /* of known leaders */
    /* New replicas of groups that exist (founding ones copy nothing). */
    size_t replicas_moved;
    uint64_t size_moved;
    uint64_t weight_moved; /* of PLACEMENT_WEIGHT_ALL */
    /* A lower bound of weight_moved for any plan that keeps the rules, the largest of: what R2 to
     * R4 demand (of a leaving node: all it has); what nodes below tolerance lack to their shares
     * (of a joining node: its share); what nodes above tolerance have beyond theirs. A plan may
     * stay below it by the tolerance. */
    uint64_t weight_minimum;
    /* The largest |weight / share - 1| of a holding node, in per mille, before and after. */
    uint32_t imbalance_before, imbalance_after;
    uint32_t leader_imbalance_before, leader_imbalance_after;
    /* Why nothing better is possible where it is. */
    size_t groups_short;   /* fewer replicas than wanted: too few holding nodes (R3) */
    size_t groups_crowded; /* two replicas in one zone: fewer zones than replicas, or KEEPS (R4) */
    size_t groups_stay;    /* a leaving voter stays: no holding node can take its place (R2) */
    size_t groups_lost;    /* every voter is DEAD: left as it is, for there is nothing to copy */
    size_t groups_heavy;   /* weigh more than a node's share: should split */
    size_t nodes_stuck;    /* beyond tolerance, and no move nor exchange with another node helps */
    bool leaders_held;     /* more leaders would have changed, but for the quarter (R7) */
    bool cut_short;        /* the bound on work was met: plan again */
};

/* Bytes of scratch memory that a call for so many nodes and groups needs. */
size_t placement_scratch_size(size_t nodes, size_t groups);

/* Plans. `scratch`: placement_scratch_size bytes aligned as by malloc, in any state. `targets`: one
 * for each group, in their order. Input that breaks the comments above (unsorted, a voter twice) is
 * a bug of the caller and ASSERTed. Time is about O(replicas log nodes), plus, for each replica
 * moved for balance, O(replicas of two nodes). */
void placement_plan(const struct placement_input *in, void *scratch,
                    struct placement_target *targets, struct placement_summary *summary);

/* One step of changing a group: a replica is added, or one is removed, or one takes the place of
 * another. The group's other differences from its target are for later steps. */
struct placement_move {
    uint32_t group;  /* id */
    uint16_t source; /* node that has the data to copy: its leader, if that is up; 0: no add */
    uint16_t add;    /* node to get a replica; 0: none */
    uint16_t drop;   /* node to lose its replica, once the new one votes; 0: none */
};

struct placement_limits {
    uint16_t total;    /* moves under way at once, in the cluster */
    uint16_t per_node; /* and those that one node sends or receives */
};

/* Which moves to start now, the most urgent first: groups with a dead voter or too few (those
 * nearest to losing their majority first), then those with a voter that leaves, then the rest.
 * `running` are the moves under way, which count against the limits; their groups are left alone.
 * So are groups that exist nowhere yet, and those without a majority of voters on nodes that are
 * up, which cannot agree on a change. Moves that only remove send nothing: `total` alone limits
 * them.
 *
 * Returns how many were written to `moves`, which has room for limits.total. `scratch` as for
 * placement_plan. */
size_t placement_first_moves(const struct placement_input *in,
                             const struct placement_target *targets,
                             const struct placement_move *running, size_t running_count,
                             struct placement_limits limits, void *scratch,
                             struct placement_move *moves);

#endif
