/* What a replica keeps and for whom: how far it durably is, how far the others are, from where on
 * the log is needed, and when the engine has everything. */
#include "node/internal.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"

#include <errno.h>

/* How far this replica knows what is chosen even after a crash: by the hints in records that are on
 * disk. Peers let go of what we told them we have, so what was chosen by others while our own write
 * was under way does not count yet. */
uint64_t group_durable_chosen(struct group *g)
{
    if (g->hint_next && log_synced(g->node->log) >= g->hint_next_lsn) {
        g->chosen_durable = g->hint_next;
        g->hint_next = g->hint_last > g->chosen_durable ? g->hint_last : 0;
        g->hint_next_lsn = g->hint_last_lsn;
    }
    return g->chosen_durable > group_flushed(g) ? g->chosen_durable : group_flushed(g);
}

/* A record that says `chosen` was appended. */
void group_hint_note(struct group *g, uint64_t chosen, uint64_t log_lsn)
{
    if (chosen <= g->hint_last) return;
    g->hint_last = chosen;
    g->hint_last_lsn = log_lsn;
    if (g->hint_next) return;
    g->hint_next = chosen;
    g->hint_next_lsn = log_lsn;
}

/* What a member would know to be chosen, and have, after a crash. */
static uint64_t group_knows(struct group *g, const struct paxos_member *m)
{
    if (m->replica == g->replica) return group_durable_chosen(g);
    const struct group_peer *gp = group_peer(g, m->node);
    return gp && gp->replica == m->replica ? gp->chosen : 0;
}

/* Up to here a majority of the voters knows, and would after a crash, what is chosen. */
uint64_t group_majority_knows(struct group *g)
{
    uint64_t knows[PAXOS_MEMBERS_MAX];
    for (int i = 0; i < g->config.count; i++) knows[i] = group_knows(g, &g->config.member[i]);
    return paxos_reached(&g->config, knows, paxos_quorum_prepare(&g->config));
}

static bool has_witness(const struct group *g)
{
    bool has = g->node->identity.witness;
    for (int i = 0; i < g->config.count; i++) has |= g->config.member[i].role == PAXOS_WITNESS;
    return has;
}

/* A node that is back before the map says so will be wanted in a moment (seed 50000014). */
static bool is_given_up(struct node *n, uint16_t node)
{
    uint8_t state = n->ring_node[node].state;
    return state == RING_NODE_REMOVED || (state == RING_NODE_GONE && !ring_node_heard(n, node));
}

/* Up to here every member that is to have data has everything on its disk, and with `all` the
 * witness as well; but for those on nodes that were given up. (If all with data were, nobody can
 * say it: 0.) */
uint64_t group_held(struct group *g, bool all)
{
    uint64_t held = UINT64_MAX;
    bool counted = false;
    for (int i = 0; i < g->config.count; i++) {
        const struct paxos_member *m = &g->config.member[i];
        bool data = m->role != PAXOS_WITNESS && !g->node->ring_node[m->node].witness;
        if (is_given_up(g->node, m->node) || !(data || all)) continue;
        uint64_t knows = group_knows(g, m);
        if (knows < held) held = knows;
        counted |= data;
    }
    return counted ? held : 0;
}

void group_peer_state(struct group *g, uint16_t node, const struct wire_state *s)
{
    struct group_peer *gp = group_peer(g, node);
    if (!gp) return;
    if (s->replica != gp->replica) { /* another life: what the last one had does not count */
        gp->replica = s->replica;
        gp->chosen = gp->flushed = 0;
        group_busy(g);
    }
    bool more = s->chosen > gp->chosen || !gp->heard;
    if (s->chosen > gp->chosen) gp->chosen = s->chosen;
    if (s->flushed > gp->flushed) gp->flushed = s->flushed;
    gp->applied = s->applied;
    gp->leads = s->leads;
    gp->heard = g->node->now;
    if (more || !g->resting) group_set_floor(g);
}

/* The leader's word on how far it is was made no earlier than it saw the heartbeat of mine that it
 * echoes with it; whoever has applied that much is no further behind than that. */
uint64_t group_staleness(struct group *g)
{
    struct node *n = g->node;
    uint16_t leader = g->px ? group_leader_node(g) : 0;
    const struct group_peer *gp = leader ? group_peer(g, leader) : NULL;
    if (g->leading) return 0;
    if (!gp || !gp->leads || !g->shard || g->shard->witness || g->shard->applied < gp->applied)
        return UINT64_MAX;
    uint64_t said = n->peers[leader]->said_at;
    return said && said <= n->now ? n->now - said : UINT64_MAX;
}

/* Entries may go once the engine has them here and every member has them chosen, or a snapshot of
 * it is on its way. Members that lag keep them as long as the log's quota allows; after that they
 * get a snapshot (PROTOCOLS 2.1), of a leader: so never what no majority has yet, for a
 * configuration may lie there, and whoever could lead under it learns of it from this log alone
 * (seed 15000521). In a group with a witness they keep them whatever the quota
 * (PROTOCOLS 1.7): a majority may be one member with data and the witness, whose log is then all
 * that the other can learn from if the first loses its disk; and a witness that lacks what no log
 * has may not go on if the other is away (transfer.c). */
void group_set_floor(struct group *g)
{
    struct node *n = g->node;
    uint32_t pressed;
    if (!g->shard) return;
    bool spare = !log_pressure(n->log, &pressed) || pressed != g->id;
    uint64_t floor = g->shard->flushed + 1, needed = transfer_floor(g);
    uint64_t known = group_majority_knows(g);
    uint64_t held = has_witness(g) ? group_held(g, true) : UINT64_MAX;
    if (needed < floor) floor = needed;
    if (known < floor) floor = known + 1;
    if (held < floor && !MUTANT(MUTANT_WITNESS_FORGETS)) floor = held + 1;
    for (int i = 0; i < g->config.count && spare; i++) {
        const struct group_peer *gp = group_peer(g, g->config.member[i].node);
        if (gp && !gp->sending && gp->chosen + 1 < floor) floor = gp->chosen + 1;
    }
    log_set_floor(n->log, g->id, floor);
    g->news = true;
}

/* The engine may not know more than this node's own log: what was applied because others have it on
 * disk, while our write of it is still under way, waits. Else a crash could leave, at a position
 * that the engine covers, only an entry of an older ballot in the log, and it would be served to
 * peers as chosen (docs/PAXOS.md, what the node owes). */
bool group_log_covers(const struct group *g)
{
    const struct node *n = g->node;
    for (uint32_t i = 0; i < n->mark_count; i++) {
        const struct append_mark *m = &n->marks[(n->mark_head + i) % n->mark_capacity];
        if (m->group == g && m->position && m->position <= g->shard->applied) return false;
    }
    return true;
}

bool group_flush(struct group *g)
{
    return g->shard && group_log_covers(g) && shard_flush(g->shard);
}

void group_flush_done(void *ctx, struct shard *s, int error)
{
    struct group *g = ctx;
    struct node *n = g->node;
    node_begin(n);
    if (error) {
        node_log(n,
                 "group %u: flushing to the engine failed (%s); it is tried again, the log keeps "
                 "everything meanwhile",
                 g->id, strerror(-error));
        g->flush_retry_at = n->now + 1000 * MS;
        if (error == -ENOSPC) log_yield(n->log);
        return;
    }
    if (s->sealed) n->state_at = 0; /* its leader waits for that word */
    n->engine_bytes_at = 0;         /* it has grown */
    group_set_floor(g);
}
