/* Leaderships of a group here, one after another: each is an era. What was evaluated in one is
 * answered when the positions it saw are chosen; of an era that was lost, when their fate is known.
 */
#include "node/internal.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"

/* Replies of the era that ends wait for the fate of its open positions (see group_hold_state). */
void group_era_end(struct group *g)
{
    if (!g->leading) return;
    struct past_era *p = mem_zalloc(sizeof *p);
    p->era = g->era;
    p->ballot = g->era_ballot;
    p->first = g->shard->applied + 1;
    p->end = g->shard->next; /* the open batch, at `next`, was never proposed */
    p->read_confirmed = g->read_confirmed;
    p->lost_at = g->node->now;
    ASSERT(p->end - p->first <= GROUP_FATES); /* the window is smaller (PAXOS_WINDOW_MAX) */

    mem_free(g->past[GROUP_PAST_ERAS - 1]);
    memmove(&g->past[1], &g->past[0], (GROUP_PAST_ERAS - 1) * sizeof g->past[0]);
    g->past[0] = p;
    g->leading = false;
    g->dirty = false;
    g->reads_this_turn = false;
    g->successor = 0;
    g->era++;
    watch_stop(&g->watch);
    txn_era_end(g);
    cut_era_end(g);
    reconcile_dropped(g);
    shard_lost(g->shard);
    g->node->advanced = true;
    trace_line("group %u: leadership of era %u ended", g->id, g->era - 1);
}

void group_era_begin(struct group *g)
{
    ASSERT(!g->leading);
    g->era++;
    g->leading = true;
    g->era_ballot = paxos_promised(g->px);
    g->era_began = g->time_at = g->node->now;
    g->time_ms = 0;
    g->read_confirmed =
        g->read_open++; /* rounds rise for the machine's whole life, not from era to era */
    g->expire_at_ms = 0;
    g->node->stats.elections++;
    shard_lead(g->shard, paxos_next_position(g->px));
    txn_era_begin(g);
    g->node->state_at = 0; /* nodes without a replica learn from states who leads */
    trace_line("group %u: serving from position %llu", g->id, (unsigned long long)g->shard->next);
    group_retry(g);
}

/* The time by which the group's keys expire. It is never less than what its entries say. Where this
 * node's clock is behind that (it jumped back, or an earlier leader's was ahead), the group's time
 * goes on all the same, a little slower than time does, until the clock has caught up: else keys
 * would live longer by the whole jump. */
int64_t group_time_ms(struct group *g)
{
    const struct node *n = g->node;
    int64_t passed = (int64_t)((n->now - g->time_at) / MS);
    int64_t t = g->time_ms + passed - passed / 16;
    if (t >= n->wall_ms && t >= g->shard->now_ms) return t;
    t = n->wall_ms > g->shard->now_ms ? n->wall_ms : g->shard->now_ms;
    g->time_ms = t;
    g->time_at = n->now;
    return t;
}

void group_fates_note(struct group *g, const struct paxos_entry *e, bool valid)
{
    for (int i = 0; i < GROUP_PAST_ERAS; i++) {
        struct past_era *p = g->past[i];
        if (!p || e->position < p->first || e->position >= p->end) continue;
        p->fate[e->position - p->first] = valid && e->born == p->ballot ? FATE_DONE : FATE_NOT_DONE;
        g->node->advanced = true;
    }
}

static enum hold_state past_state(const struct node *n, const struct past_era *p,
                                  const struct hold *h)
{
    if (h->read_seq > p->read_confirmed)
        return HOLD_NOT_DONE; /* a read that was never confirmed: ask again */
    if (h->position < p->first) return HOLD_READY;
    if (h->position < p->end) {
        uint8_t fate = p->fate[h->position - p->first];
        if (fate == FATE_DONE) return HOLD_READY;
        if (fate == FATE_NOT_DONE) return HOLD_NOT_DONE;
        if (h->read_seq) return HOLD_NOT_DONE;
        return n->now - p->lost_at > GROUP_FATE_WAIT ? HOLD_UNKNOWN : HOLD_WAIT;
    }
    return HOLD_NOT_DONE; /* of the batch that was open: never proposed */
}

enum hold_state group_hold_state(struct node *n, const struct hold *h)
{
    if (h->group == UINT32_MAX) return HOLD_READY;
    struct group *g = n->group[h->group];
    if (MUTANT(MUTANT_REPLY_BEFORE_CHOSEN)) return HOLD_READY;
    if (h->era == g->era && cut_keeps(g, h)) return HOLD_WAIT;
    if (h->era == g->era)
        return h->position <= g->shard->applied && h->read_seq <= g->read_confirmed ? HOLD_READY
                                                                                    : HOLD_WAIT;
    for (int i = 0; i < GROUP_PAST_ERAS; i++)
        if (g->past[i] && g->past[i]->era == h->era) return past_state(n, g->past[i], h);
    return h->read_seq ? HOLD_NOT_DONE : HOLD_UNKNOWN;
}

struct hold group_hold(struct group *g, uint64_t saw, bool wrote)
{
    struct hold h = {.group = g->id, .era = g->era, .position = saw};
    if (wrote) {
        g->dirty = true;
        group_wake(g);
    } else {
        h.read_seq = g->read_open;
        g->reads_this_turn = true;
        group_wake(g);
    }
    return h;
}
