/* What a group's leader does to bring the group to where the cluster map wants it: replicas told to
 * be, learners taken up, members replaced, a split made, all of it reported to the keeper. It
 * compares what is with what is wanted and takes one step at a time; nothing is remembered, so any
 * leader goes on where the last one stopped. */
#include "node/internal.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "paxos/msg.h"

#include <stdio.h>

#define LOOK_EVERY (50 * MS)
#define CAUGHT_UP  64          /* positions that a learner may lack to become a voter */
#define DRAIN_MAX  (2000 * MS) /* writes never wait longer than that for a step of ours */
#define ALONE_RECENT                                                                               \
    (256u << 10) /* bytes in memory above which a split waits for a flush first                    \
                  */

/* ---- telling the keeper ---- */

void reconcile_told(void *ctx, struct bytes reply)
{
    struct group *g = ctx;
    (void)reply;
    g->asking = false;
}

void reconcile_ask(struct group *g, const char *what, const uint64_t *number, uint32_t count,
                   void (*done)(void *ctx, struct bytes reply))
{
    char text[2][24];
    struct bytes word[3] = {bytes_str(what)};
    ASSERT(count <= 2);
    for (uint32_t i = 0; i < count; i++)
        word[1 + i] =
            bytes_of(text[i], (size_t)snprintf(text[i], 24, "%llu", (unsigned long long)number[i]));
    g->asking = true;
    g->asked_era = g->era;
    ring_ask(g->node, word, 1 + count, done, g);
}

/* Who is not in a reported configuration lets go of its replica. So it is reported only when a
 * quorum of the new members has everything up to it, for it was chosen by the old ones; and knows
 * that it is chosen, for after a crash nobody else may be left to ask. */
static bool may_report(struct group *g)
{
    return group_majority_knows(g) >= g->config_id.position;
}

static void report(struct group *g)
{
    struct buf row = {0};
    struct ring_row r = {.type = RING_ROW_GROUP, .group = g->row};
    r.group.config = g->config;
    r.group.config_position = g->config_id.position;
    ring_row_encode(&r, &row);
    g->asking = true;
    ring_ask(g->node, (struct bytes[]){BYTES("REPORT"), buf_bytes(&row)}, 2, reconcile_told, g);
    buf_deinit(&row);
}

/* ---- members ---- */

static bool is_target(const struct group *g, uint16_t node)
{
    return ring_group_is_target(&g->row, node);
}

bool reconcile_lives(const struct group *g, uint16_t node)
{
    return node == g->node->identity.node || ring_node_heard(g->node, node);
}

/* It has what made it a member, and nearly all since: in a short log all are near the end. */
static bool caught_up(const struct group *g, const struct paxos_member *m)
{
    uint64_t match = paxos_match(g->px, m->replica);
    if (MUTANT(MUTANT_VOTE_UNCAUGHT)) return true;
    return reconcile_lives(g, m->node) && match >= g->config_id.position &&
           match + CAUGHT_UP >= paxos_chosen(g->px);
}

static int live_voters(const struct group *g, const struct paxos_config *c, int *voters)
{
    int live = 0;
    *voters = 0;
    for (int i = 0; i < c->count; i++) {
        if (c->member[i].role == PAXOS_LEARNER) continue;
        ++*voters;
        live += reconcile_lives(g, c->member[i].node);
    }
    return live;
}

static void want(struct group *g, const struct paxos_config *c)
{
    buf_clear(&g->config_wanted);
    paxos_config_encode(c, &g->config_wanted);
    g->draining = true;
    g->drain_since = g->node->now;
    group_wake(g);
}

/* Who is wanted and not there becomes a learner. False: nobody. */
static bool add_learners(struct group *g)
{
    struct paxos_config c = g->config;
    for (int i = 0; i < g->row.target_count; i++) {
        uint16_t node = g->row.target[i];
        if (paxos_config_member(&c, node) >= 0 || !reconcile_lives(g, node) ||
            c.count == PAXOS_MEMBERS_MAX)
            continue;
        c.member[c.count++] =
            (struct paxos_member){.replica = c.next_replica++, .node = node, .role = PAXOS_LEARNER};
    }
    if (c.count == g->config.count) return false;
    want(g, &c);
    return true;
}

/* The configuration that is wanted, as far as it may be had now: learners that have caught up vote,
 * who is not wanted goes, all in one entry. The leader itself stays until it has handed over. */
static struct paxos_config next_config(const struct group *g, bool *ready)
{
    struct paxos_config c = {.next_replica = g->config.next_replica};
    *ready = true;
    for (int i = 0; i < g->config.count; i++) {
        struct paxos_member m = g->config.member[i];
        bool self = m.node == g->node->identity.node;
        if (!is_target(g, m.node) && !self) continue;
        if (m.role == PAXOS_LEARNER && !caught_up(g, &m)) {
            *ready = false;
            continue;
        }
        m.role = g->node->ring_node[m.node].witness ? PAXOS_WITNESS : PAXOS_VOTER;
        c.member[c.count++] = m;
    }
    for (int i = 0; i < g->row.target_count; i++)
        *ready &= paxos_config_member(&c, g->row.target[i]) >= 0;
    return c;
}

static bool same_members(const struct paxos_config *a, const struct paxos_config *b)
{
    if (a->count != b->count) return false;
    for (int i = 0; i < a->count; i++) {
        int at = paxos_config_member(b, a->member[i].node);
        if (at < 0 || b->member[at].role != a->member[i].role) return false;
    }
    return true;
}

/* No change leaves the group with fewer live voters than it needs, nor, where it does not shrink on
 * purpose, than it had. */
static bool is_safe(const struct group *g, const struct paxos_config *c)
{
    int before, after, live_before = live_voters(g, &g->config, &before),
                       live_after = live_voters(g, c, &after);
    return live_after > after / 2 && live_after >= (live_before < after ? live_before : after);
}

/* The leader is to leave: a wanted voter that has everything takes over, and removes it. */
static void hand_over_to_target(struct group *g)
{
    for (int i = 0; i < g->config.count; i++) {
        const struct paxos_member *m = &g->config.member[i];
        if (m->replica == g->replica || m->role != PAXOS_VOTER || !is_target(g, m->node) ||
            !caught_up(g, m))
            continue;
        group_hand_over(g, m->replica);
        return;
    }
}

static bool may_change(const struct group *g)
{
    return paxos_can_reconfigure(g->px) && !g->config_wanted.size && !g->draining &&
           !g->shard->sealed;
}

/* Learners without a target are left over: from one that was called off before they were reported,
 * or that an earlier leader had not heard the end of. False: there are none. */
static bool drop_learners(struct group *g)
{
    struct paxos_config c = {.next_replica = g->config.next_replica};
    for (int i = 0; i < g->config.count; i++)
        if (g->config.member[i].role != PAXOS_LEARNER) c.member[c.count++] = g->config.member[i];
    if (c.count == g->config.count) return false;
    if (may_change(g)) want(g, &c);
    return true;
}

static void toward_target(struct group *g)
{
    bool ready;
    if (!may_change(g)) return;
    if (add_learners(g)) return;
    struct paxos_config next = next_config(g, &ready);
    if (!ready || !is_safe(g, &next)) return;
    if (!same_members(&next, &g->config))
        want(g, &next);
    else if (!is_target(g, g->node->identity.node))
        hand_over_to_target(g);
}

/* ---- entries that stand alone ---- */

/* Nothing may stand above such an entry until it is applied, so writes wait; a flush goes ahead of
 * it, so that the one behind it, for which others wait, is small. */
void reconcile_alone(struct group *g, void (*run)(void *ctx, struct view *v))
{
    struct node *n = g->node;
    struct shard *s = g->shard;
    if (g->config_wanted.size || g->alone_at) return;
    if (!g->draining) {
        if (space_flushing(s->space)) return;
        if (space_recent_bytes(s->space) > ALONE_RECENT && group_flush(g)) return;
        g->draining = true;
        g->drain_since = n->now;
    }
    if (s->batch.size || !paxos_can_propose(g->px, 64)) return;
    struct shard_task task = {.run = run, .ctx = g, .on_sealed = g->reopen};
    uint64_t saw;
    if (shard_evaluate(s, &n->view, &task, group_time_ms(g), prng_u64(&n->random), &saw) !=
        SHARD_DONE)
        return;
    g->alone_at = saw;
    g->dirty = true;
    group_wake(g);
}

static void run_split(void *ctx, struct view *v)
{
    const struct group *g = ctx;
    view_split(v, g->row.split_id, g->row.split_at);
}

/* Who is prepared, or decided, is so in one group of this name (docs/TXN.md). */
static void toward_split(struct group *g)
{
    if (g->alone_at || txn_quiet(g)) reconcile_alone(g, run_split);
}

static void drain_look(struct group *g)
{
    bool over = g->alone_at && g->shard->applied >= g->alone_at;
    if (over) g->alone_at = 0, g->draining = false;
    if (!g->draining || g->alone_at || g->node->now < g->drain_since + DRAIN_MAX) return;
    buf_clear(&g->config_wanted); /* it takes too long: writes first, then another try */
    g->draining = false;
    g->reconcile_at = g->node->now + DRAIN_MAX;
    group_retry(g);
}

void reconcile_dropped(struct group *g)
{
    buf_clear(&g->config_wanted);
    g->alone_at = 0;
    g->draining = g->reopen = false;
    g->sealed_since = 0;
    g->reconcile_at = 0;
}

/* ---- the whole ---- */

static void tell_members(struct group *g)
{
    for (int i = 0; i < g->config.count; i++) {
        struct group_peer *gp = group_peer(g, g->config.member[i].node);
        if (gp && gp->heard && gp->replica != g->config.member[i].replica) replica_tell(g, gp);
        if (gp && !gp->heard) replica_tell(g, gp);
    }
}

static bool child_is_born(const struct group *g)
{
    const struct group *child = group_named(g->node, g->row.split_id);
    return g->row.split_id && g->slot_hi == g->row.split_at && child && child->px;
}

/* A group that was born on too few of its members, for one jumped over the split by a snapshot and
 * another is away, has nobody to lead it: so whoever is there tells the others. */
static void look_unleading(struct group *g)
{
    if (g->broken || g->node->now < g->reconcile_at) return;
    g->reconcile_at = g->node->now + LOOK_EVERY;
    if (!paxos_leader(g->px) && paxos_is_voter(g->px)) tell_members(g);
    if (g->node->ring.epoch) (void)merge_report(g);
    group_free_dead_ballot(g);
}

bool reconcile_rests(struct group *g)
{
    for (int i = 0; i < g->config.count; i++) {
        const struct paxos_member *m = &g->config.member[i];
        const struct group_peer *gp = group_peer(g, m->node);
        bool told = m->replica == g->replica || (gp && gp->heard && gp->replica == m->replica);
        if (!told || m->role == PAXOS_LEARNER) return false;
    }
    return true;
}

void reconcile(struct group *g)
{
    struct node *n = g->node;
    if (!g->leading) look_unleading(g);
    if (!g->leading || g->broken) return;
    drain_look(g);
    if (n->now < g->reconcile_at || cut_holds(g)) return;
    g->reconcile_at = n->now + LOOK_EVERY;
    tell_members(g);
    if (!n->ring.epoch || g->row.state == RING_GROUP_FREE) return;
    bool reached = g->row.target_count && ring_group_reached(&g->row, &g->config);
    if (!g->asking && child_is_born(g))
        reconcile_ask(g, "BORN", (uint64_t[]){g->id, g->slot_hi}, 2, reconcile_told);
    else if (!g->asking && (g->row.config_position < g->config_id.position || reached) &&
             may_report(g))
        report(g);
    if (g->shard->sealed)
        merge_reconcile(g);
    else if (g->row.target_count)
        toward_target(g);
    else if (drop_learners(g))
        return;
    else if (g->row.split_id && g->slot_hi > g->row.split_at)
        toward_split(g);
    else
        merge_reconcile(g);
}
