/* A job's map tasks as ranges of its snapshot. They follow from the snapshot's row alone, so that
 * whoever takes the job over divides it as the owner before it did. */
#include "base/mem.h"
#include "base/mutant.h"
#include "node/job_internal.h"
#include "node/snapshot.h"

#define RANGES_WANTED 64 /* about so many tasks; one a group at least */

static void range_add(struct owned *o, uint32_t group, uint16_t lo, uint16_t hi)
{
    if ((o->ranges & (o->ranges - 1)) == 0)
        o->range = mem_realloc(o->range, (2 * (size_t)o->ranges + 1) * sizeof *o->range);
    o->range[o->ranges++] = (struct job_range){group, lo, hi};
}

static void divide(struct owned *o, const struct cut_snapshot *s)
{
    o->ranges = 0;
    for (uint32_t i = 0; i < s->parts; i++) {
        struct cut_snapshot_part p = cut_part_get(s, i);
        uint32_t pieces = snapshot_pieces(&p, RANGES_WANTED);
        for (uint32_t k = 0; k < pieces; k++) {
            uint16_t lo, hi;
            snapshot_range(&p, pieces, k, &lo, &hi);
            if (MUTANT(MUTANT_JOB_RANGES_OVERLAP) && o->machine.maps && k)
                lo = (uint16_t)(lo - (hi - lo) / 2);
            range_add(o, p.group, lo, hi);
        }
    }
}

static void row_came(void *ctx, struct bytes reply)
{
    struct owned *o = ctx;
    struct cut_snapshot s;
    struct bytes row;
    bool nil;
    if (jobs_bulk(reply, &row, &nil) && cut_snapshot_get(row, &s)) {
        divide(o, &s);
        o->ranged(o, (int32_t)o->ranges);
    } else {
        o->ranged(o, nil ? RANGES_GONE : RANGES_UNKNOWN);
    }
}

void ranges_ask(struct owned *o, uint64_t snapshot, void (*done)(struct owned *o, int32_t count))
{
    o->ranged = done;
    jobs_ask_numbers(o->node, "synod|snapshot-read", "GET", &snapshot, 1, (struct bytes){0},
                     row_came, o);
}

/* Of a group whose members are not known here: anybody might be one. */
static uint32_t all_nodes(const struct node *n, uint16_t *node)
{
    uint32_t count = 0;
    for (uint16_t id = 1; id <= n->node_max && count < JOB_HOLDERS_MAX; id++)
        if (ring_shows(n, id)) node[count++] = id;
    return count;
}

void ranges_hold(struct owned *o)
{
    for (uint32_t i = 0; i < o->ranges && i < o->machine.maps; i++) {
        uint16_t node[PAXOS_MEMBERS_MAX];
        uint32_t holder[PAXOS_MEMBERS_MAX];
        uint32_t count = snapshot_holders(o->node, o->range[i].group, node);
        if (!count) count = all_nodes(o->node, node);
        for (uint32_t k = 0; k < count; k++) holder[k] = node[k];
        job_hold(&o->machine, i, holder, count);
    }
}
