/* A cut of the whole database at the leader of one of its groups: what is held, until when, and
 * what is said of that (txn/hold.h, redis/cut.h, docs/SNAPSHOTS.md). */
#include "node/internal.h"
#include "base/mutant.h"

static void note_end(struct group *g)
{
    struct node_stats *s = &g->node->stats;
    s->hold_last_ns = g->hold.last_ns;
    if (s->hold_max_ns < s->hold_last_ns) s->hold_max_ns = s->hold_last_ns;
    g->node->advanced = true; /* what was held may leave */
}

/* Moves of members do not touch slots, but nothing may follow their entry before it is chosen, so a
 * SNAP would wait for it. */
void cut_before(struct group *g)
{
    struct cut_hold *h = &g->hold;
    (void)cut_holds(g);
    h->now = g->node->now;
    h->changes = g->alone_at || g->draining || g->config_wanted.size || g->shard->boundary ||
                 g->shard->sealed || paxos_transferring(g->px);
}

void cut_after(struct group *g)
{
    if (g->hold.cut)
        group_busy(g);
    else if (g->hold.rests_until)
        note_end(g);
}

bool cut_holds(struct group *g)
{
    struct cut_hold *h = &g->hold;
    if (!h->cut) return false;
    if (hold_holds(h, g->node->now)) return true;
    note_end(g);
    return false;
}

bool cut_keeps(struct group *g, const struct hold *h)
{
    return !h->passes && cut_holds(g) && hold_keeps(&g->hold, g->node->now, h->read_seq != 0);
}

/* One whose time is over ends, whoever asked for it. */
void cut_slow(struct group *g)
{
    (void)cut_holds(g);
}

void cut_era_end(struct group *g)
{
    if (g->hold.cut) {
        hold_lost(&g->hold, g->node->now);
        note_end(g);
    }
}
