/* A group takes its right neighbour over (shard/shard.h, "Merging"). Both are on the same nodes.
 * The right one's leader seals it, waits until all of its members have that on disk, and tells the
 * keeper where; up to then it may call the merge off, which it does if a member is away. From then
 * on the left one's leader merges, with one entry of its log. Wherever that is applied the data is
 * there already: only records change.
 *
 * The seal opens again only by the keeper's word to the era that asked: an answer that was under
 * way for long could be older than a merge that somebody else has begun since. */
#include "node/internal.h"
#include "base/assert.h"

#define SEALED_MAX (2000 * MS) /* not all members have it on disk after that long: called off */

/* ---- the right one ---- */

static void run_seal(void *ctx, struct view *v)
{
    const struct group *g = ctx;
    view_seal(v, !g->reopen);
}

/* To SEALED and OPEN the keeper answers 1 where the group may open again. */
static void seal_told(void *ctx, struct bytes reply)
{
    struct group *g = ctx;
    g->asking = false;
    g->reopen |= bytes_equal(reply, BYTES(":1\r\n")) && g->leading && g->era == g->asked_era;
}

static bool all_live(const struct group *g)
{
    for (int i = 0; i < g->config.count; i++)
        if (g->config.member[i].role == PAXOS_LEARNER ||
            !reconcile_lives(g, g->config.member[i].node))
            return false;
    return true;
}

static uint64_t flushed_by(struct group *g, const struct paxos_member *m)
{
    const struct group_peer *gp = group_peer(g, m->node);
    if (m->replica == g->replica) return g->shard->flushed;
    return gp && gp->replica == m->replica ? gp->flushed : 0;
}

/* By every member, or every one that is there. */
static bool flushed_by_all(struct group *g, uint64_t position, bool also_who_is_away)
{
    for (int i = 0; i < g->config.count; i++) {
        const struct paxos_member *m = &g->config.member[i];
        bool counts = also_who_is_away || reconcile_lives(g, m->node);
        if (counts && flushed_by(g, m) < position) return false;
    }
    return true;
}

static void stay_sealed(struct group *g)
{
    struct node *n = g->node;
    uint64_t at = g->shard->sealed;
    if (!g->sealed_since) g->sealed_since = n->now;
    if (g->reopen) {
        reconcile_alone(g, run_seal);
    } else if (g->asking || g->row.sealed == at) {
        return;
    } else if (g->row.merging && flushed_by_all(g, at, true)) {
        reconcile_ask(g, "SEALED", (uint64_t[]){g->id, at}, 2, seal_told);
    } else if (!g->row.merging || n->now > g->sealed_since + SEALED_MAX) {
        reconcile_ask(g, "OPEN", (uint64_t[]){g->id}, 1, seal_told);
    }
}

static void toward_seal(struct group *g)
{
    const struct group *left = NULL;
    for (uint32_t i = 0; i < g->node->group_count && !left; i++)
        if (g->node->group[i]->row.merge_id == g->id) left = g->node->group[i];
    bool may = left && all_live(g) && group_leader_node(left) &&
               ring_same_nodes(&left->row.config, &g->config);
    if (may && (g->alone_at || txn_quiet(g)))
        reconcile_alone(g, run_seal);
    else if (!may && !g->asking && left)
        reconcile_ask(g, "OPEN", (uint64_t[]){g->id}, 1, reconcile_told);
}

/* ---- the left one ---- */

static void run_merge(void *ctx, struct view *v)
{
    const struct group *g = ctx;
    view_merge(v, g->row.merge_id, g->node->group[g->row.merge_id]->row.sealed);
}

/* Has this node's replica of the right one all that is to be taken over? One that is being dropped
 * has it no more, though the engine may still say so (seed 6000806). */
static bool is_whole_here(struct group *g, uint32_t right, uint64_t sealed)
{
    const struct group *r = group_named(g->node, right);
    return r && r->px && shard_merge_ready(g->shard, right, sealed);
}

/* True: it is one group already. What is applied is chosen, so any replica may say it that has seen
 * it; and must, for the leader may be unable to serve before a member has let go of the other
 * group's replica. Of others than the leader more slots than the map says prove nothing: they may
 * have yet to apply a split (seed 8000583). */
bool merge_report(struct group *g)
{
    bool done = g->leading ? g->slot_hi > g->row.slot_hi : g->took == g->row.merge_id;
    if (!g->row.merge_id || !done) return false;
    if (!g->asking)
        reconcile_ask(g, "MERGED", (uint64_t[]){g->id, g->row.merge_id}, 2, reconcile_told);
    return true;
}

static void toward_merge(struct group *g)
{
    const struct group *right = group_named(g->node, g->row.merge_id);
    if (merge_report(g)) return;
    if (!right || !right->row.sealed || g->alone_at ||
        !ring_same_nodes(&g->config, &right->row.config))
        return;
    if (flushed_by_all(g, g->shard->wiped, false) && is_whole_here(g, right->id, right->row.sealed))
        reconcile_alone(g, run_merge);
}

void merge_reconcile(struct group *g)
{
    if (g->shard->sealed) {
        stay_sealed(g);
        return;
    }
    g->reopen = false;
    g->sealed_since = 0;
    if (g->row.merging)
        toward_seal(g);
    else if (g->row.merge_id)
        toward_merge(g);
}

/* ---- everybody ---- */

bool merge_heirs(const struct group *g)
{
    for (uint32_t i = 0; i < g->node->group_count; i++)
        if (g->node->group[i]->heir == g) return true;
    return false;
}

bool merge_follow(struct group *g, const struct paxos_entry *e)
{
    uint32_t id;
    uint64_t sealed;
    if (!shard_value_merges(value_bytes(e->value), &id, &sealed)) return true;
    if (!is_whole_here(g, id, sealed)) {
        node_log(g->node,
                 "group %u: it took over group %u, which is not whole here; a snapshot is needed",
                 g->id, id);
        g->overtaken = true;
        group_busy(g);
        return false;
    }
    replica_yield(group_at(g->node, id), g, e->position);
    g->took = id;
    trace_line("group %u: takes over group %u at position %llu", g->id, id,
               (unsigned long long)e->position);
    return true;
}

/* What was chosen since is of no use to the data here. */
void merge_slow(struct group *g)
{
    if (!g->overtaken || paxos_installing(g->px)) return;
    if (paxos_role(g->px) == PAXOS_LEADER)
        group_step(g, &(struct paxos_event){.type = PAXOS_EV_RESIGN});
    group_install_begin(g);
}
