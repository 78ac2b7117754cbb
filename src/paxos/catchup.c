/* Followers that lack something: lost accepts, entries chosen while they were away.
 *
 * The leader keeps, for each peer, what it has (match) and what was sent (next), as in Raft's
 * progress (Ongaro, "Consensus: Bridging Theory and Practice", 2014, section 10.2). A peer says
 * where its gap begins; what is chosen of the rest goes as LEARN, what is not as ACCEPT, both from
 * the ring if it reaches back so far, and then the stream goes on: sent in one breath, so nothing
 * fits between. If the ring does not, the node reads from its log (SERVE_FETCH), until the gap's
 * end is in the ring. */
#include "paxos/internal.h"

/* ---- the side that has ---- */

static void learn_from_ring(struct turn *t, int i, uint64_t from)
{
    struct paxos *px = t->px;
    struct paxos_entry entries[PAXOS_ENTRIES_MAX];
    while (from <= px->chosen) {
        struct paxos_message m = {.type = PAXOS_LEARN,
                                  .flags = PAXOS_F_STREAM,
                                  .ballot = px->ballot,
                                  .chosen = px->chosen,
                                  .position = from - 1,
                                  .entries = entries};
        uint64_t bytes = 0;
        while (from <= px->chosen && m.entry_count < PAXOS_ENTRIES_MAX && bytes < (1u << 20)) {
            entries[m.entry_count] = *ring_entry(px, from++);
            bytes += entries[m.entry_count++].size;
        }
        turn_send(t, px->opt.config.member[i].replica, 0, m);
    }
}

static void serve_fetch(struct turn *t, uint16_t to, uint64_t from)
{
    struct paxos *px = t->px;
    ASSERT(from <= px->chosen);
    px->stats.fetches += 1;
    turn_emit(t,
              (struct paxos_effect){
                  .type = PAXOS_FX_SERVE_FETCH, .to = to, .position = from, .chosen = px->chosen});
}

/* Peer i misses all from `missing` on. */
void catchup_on_gap(struct turn *t, int i, uint64_t missing)
{
    struct paxos *px = t->px;
    struct paxos_peer *peer = &px->peer[i];
    ASSERT(px->role == PAXOS_LEADER && i != px->self);
    if (missing == 0 || missing > px->streamed + 1) {
        px->stats.hostile += 1;
        return;
    }
    peer->live = true;
    /* Many accepts behind one lost one all tell of the same gap. */
    if (missing == peer->repaired && t->now < peer->resend_at) return;
    peer->repaired = missing;
    peer->resend_at = t->now + peer->resend_wait;
    if (missing <= px->floor) {
        peer->paused = true;
        serve_fetch(t, px->opt.config.member[i].replica, missing);
        return;
    }
    px->stats.repairs += 1;
    peer->paused = false;
    if (missing <= px->chosen) learn_from_ring(t, i, missing);
    peer->next = missing > px->chosen ? missing : px->chosen + 1;
    if (peer->next <= px->streamed) {
        leader_stream(t, i);
    } else {
        turn_send(t, px->opt.config.member[i].replica, 0,
                  (struct paxos_message){.type = PAXOS_ACCEPT,
                                         .ballot = px->ballot,
                                         .position = px->streamed,
                                         .chosen = px->chosen});
    }
}

/* Anybody may be asked, by anybody. The leader treats a member's wish as a gap; nobody else has a
 * stream to resume. */
void catchup_on_fetch(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    if (m->position == 0)
        px->stats.hostile += 1;
    else if (px->role == PAXOS_LEADER && paxos_member_of(px, m->from) >= 0)
        catchup_on_gap(t, paxos_member_of(px, m->from), m->position);
    else if (m->position <= px->chosen)
        serve_fetch(t, m->from, m->position);
}

/* ---- the side that lacks ---- */

static void fetch(struct turn *t, uint16_t from, uint64_t position)
{
    struct paxos *px = t->px;
    px->fetch_from = from;
    px->fetch_at = t->now + px->opt.election_timeout_ns / 8;
    turn_send(
        t, from, 0,
        (struct paxos_message){.type = PAXOS_FETCH, .position = position, .chosen = px->chosen});
}

/* `from` has chosen entries up to `chosen`. Ask for what is missing: at once, or when it has not
 * come by itself for a while. */
void catchup_heard(struct turn *t, uint16_t from, uint64_t chosen, bool at_once)
{
    struct paxos *px = t->px;
    if (chosen > px->heard) px->heard = chosen;
    if (chosen <= px->chosen || px->role == PAXOS_LEADER) return;
    if (px->installing) { /* first the snapshot */
        px->fetch_from = from;
        return;
    }
    if (px->fetch_at && t->now < px->fetch_at && px->fetch_from == from) return; /* asked already */
    if (at_once) {
        fetch(t, from, px->chosen + 1);
    } else {
        px->fetch_from = from;
        px->fetch_at = t->now + px->opt.election_timeout_ns / 8;
    }
}

/* Asks for the next there is: "I have all that you have". */
static void has_all(struct turn *t, uint16_t from)
{
    struct paxos *px = t->px;
    turn_send(t, from, 0,
              (struct paxos_message){
                  .type = PAXOS_FETCH, .position = px->streamed + 1, .chosen = px->chosen});
}

/* Entries that the sender knows to be chosen: they replace whatever was accepted at their
 * positions, whoever led (P10). Each record says of itself that it is chosen, so that a restart
 * does not take an entry of a low ballot for a mere vote. */
void catchup_on_learn(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    if (m->entry_count == 0 && m->chosen <= px->chosen) {
        has_all(t, m->from); /* it reminds me of what I know: it may be silent (P18) */
        return;
    }
    if (px->role == PAXOS_LEADER) return; /* what it lacks it is about to choose itself */
    if (m->entry_count && m->entries[m->entry_count - 1].position > m->chosen) {
        px->stats.hostile += 1;
        return;
    }
    if (m->entry_count == 0) catchup_heard(t, m->from, m->chosen, true);
    uint64_t before = px->chosen;
    for (uint32_t k = 0; k < m->entry_count && !px->installing; k++) {
        struct paxos_entry *e = &m->entries[k];
        if (e->position != px->chosen + 1) continue;
        if (!ring_room(t, e->position)) break;
        ring_accept(t, e, e->position);
        ring_choose(t);
        px->stats.learned += 1;
    }
    if (m->chosen > px->heard) px->heard = m->chosen;
    follower_take_held(t);
    if (px->chosen >= px->heard) px->fetch_at = 0;

    bool stream = m->flags & PAXOS_F_STREAM;
    if (px->chosen < m->chosen && stream) {
        catchup_heard(t, m->from, m->chosen, false);
    } else if (px->chosen < m->chosen) {
        if (px->chosen > before) fetch(t, m->from, px->chosen + 1);
    } else if (m->from == px->leader && !stream) {
        has_all(t, m->from);
    }
    /* A candidate that had to learn first may ask again now. */
    if (px->role == PAXOS_FOLLOWER && px->leader == 0 && px->chosen >= px->heard &&
        px->chosen > before && px->attempts)
        px->campaign_at = t->now;
}

/* ---- time ---- */

static bool lags(const struct paxos *px, const struct paxos_peer *peer)
{
    return peer->match < px->streamed || peer->chosen < px->chosen;
}

/* Asks peers that lag whether they have all: the answer is what they have, or where their gap
 * begins. Nothing is sent twice on suspicion alone, and nothing at all to a node that is silent. */
static void probe_peers(struct turn *t)
{
    struct paxos *px = t->px;
    uint64_t timeout = px->opt.election_timeout_ns;
    for (int i = 0; i < px->opt.config.count; i++) {
        struct paxos_peer *peer = &px->peer[i];
        if (i == px->self) continue;
        bool was = peer->live;
        peer->live = !lease_suspects(px->opt.leases, px->opt.config.member[i].node, timeout,
                                     px->leader_since, t->now);
        if (!peer->live) {
            peer->paused = true;
            if (t->now >= peer->resend_at) peer->resend_at = t->now + timeout; /* to look again */
        }
        if (peer->live && !was) peer->resend_wait = timeout / 8, peer->resend_at = t->now;
        if (!peer->live || !lags(px, peer) || t->now < peer->resend_at) continue;

        peer->repaired = 0;
        if (peer->resend_wait < timeout) peer->resend_wait *= 2;
        peer->resend_at = t->now + peer->resend_wait;
        turn_send(t, px->opt.config.member[i].replica, 0,
                  (struct paxos_message){.type = PAXOS_ACCEPT,
                                         .ballot = px->ballot,
                                         .position = px->streamed,
                                         .chosen = px->chosen});
    }
}

static bool fetches(const struct paxos *px)
{
    return !px->installing && (px->leader || px->fetch_from);
}

void catchup_tick(struct turn *t)
{
    struct paxos *px = t->px;
    if (px->role == PAXOS_LEADER)
        probe_peers(t);
    else if (px->fetch_at && t->now >= px->fetch_at && px->heard > px->chosen && fetches(px))
        fetch(t, px->leader ? px->leader : px->fetch_from, px->chosen + 1);

    /* A hint for recovery, once the group is quiet: else each entry's record carries one. */
    if (px->hint < px->chosen && px->chosen == px->last &&
        t->now - px->busy_at >= px->opt.election_timeout_ns / 4) {
        px->hint = px->chosen;
        turn_emit(t, (struct paxos_effect){.type = PAXOS_FX_APPEND_CHOSEN, .chosen = px->chosen});
    }
}

uint64_t catchup_deadline(const struct paxos *px)
{
    uint64_t at = UINT64_MAX;
    if (px->hint < px->chosen && px->chosen == px->last)
        at = px->busy_at + px->opt.election_timeout_ns / 4;
    if (px->role != PAXOS_LEADER) {
        if (px->fetch_at && px->heard > px->chosen && fetches(px) && px->fetch_at < at)
            at = px->fetch_at;
        return at;
    }
    for (int i = 0; i < px->opt.config.count; i++) {
        const struct paxos_peer *peer = &px->peer[i];
        if (i != px->self && lags(px, peer) && peer->resend_at < at) at = peer->resend_at;
    }
    return at;
}
