/* Reads that need no log entry: a round of confirmations (ReadIndex; Ongaro 2014, section 6.4), or
 * a lease.
 *
 * One round serves all reads that arrived before it began; those that come later wait for the next
 * (PROTOCOLS 1.4). A lease's end is only computed here: whoever uses it compares it with a clock
 * read after the read. */
#include "paxos/internal.h"

/* The time up to which a quorum supports me: each member's support ends sometime, mine never (P8,
 * L3). */
uint64_t read_support_end(const struct paxos *px)
{
    uint64_t end[PAXOS_MEMBERS_MAX];
    ASSERT(px->role == PAXOS_LEADER);
    for (int i = 0; i < px->opt.config.count; i++) {
        const struct paxos_peer *peer = &px->peer[i];
        if (i == px->self)
            end[i] = UINT64_MAX;
        else
            end[i] = peer->marked ? lease_supported_until(px->opt.leases,
                                                          px->opt.config.member[i].node, peer->mark)
                                  : 0;
        uint16_t node = px->opt.config.member[i].node;
        if (MUTANT(MUTANT_UNMARKED_SUPPORT) && i != px->self && !peer->marked)
            end[i] = px->opt.leases->peer[node].supported_until;
    }
    uint32_t quorum = paxos_quorum_accept(&px->opt.config);
    if (MUTANT(MUTANT_LEASE_MINORITY)) quorum -= 1;
    return paxos_reached(&px->opt.config, end, quorum);
}

static void confirm_ask(struct turn *t)
{
    struct paxos *px = t->px;
    for (int i = 0; i < px->opt.config.count; i++)
        if (i != px->self && paxos_votes(px, i) && !(px->confirms >> i & 1))
            turn_send(t, px->opt.config.member[i].replica, 0,
                      (struct paxos_message){.type = PAXOS_CONFIRM,
                                             .ballot = px->ballot,
                                             .seq = px->round,
                                             .chosen = px->chosen});
    px->round_ask_at = t->now + px->opt.election_timeout_ns / 8;
}

static void round_close_if_confirmed(struct turn *t)
{
    struct paxos *px = t->px;
    if (!px->round_open || paxos_count(px, px->confirms) < paxos_quorum_prepare(&px->opt.config))
        return;

    px->round_open = false;
    if (px->quorum_at < px->round_started) px->quorum_at = px->round_started;
    if (px->round_seq > px->read_done) {
        px->read_done = px->round_seq;
        turn_emit(t, (struct paxos_effect){.type = PAXOS_FX_READ_READY,
                                           .seq = px->round_seq,
                                           .position = px->round_position});
    }
    if (px->read_wanted > px->read_done) read_start(t);
}

/* Opens a round for all reads that wait. The position is taken now: all that was answered before
 * these reads came is below it. */
void read_start(struct turn *t)
{
    struct paxos *px = t->px;
    ASSERT(px->role == PAXOS_LEADER && !px->round_open);
    px->round_open = true;
    px->round += 1;
    px->round_seq = px->serving ? px->read_wanted : 0;
    px->round_position = px->chosen;
    px->round_started = t->now;
    px->confirms = (uint8_t)(1u << px->self);
    confirm_ask(t);
    round_close_if_confirmed(t); /* alone, I am the quorum */
}

void read_ask(struct turn *t, uint64_t seq)
{
    struct paxos *px = t->px;
    if (!paxos_serving(px)) return;
    if (seq > px->read_wanted) px->read_wanted = seq;
    if (!px->round_open && px->read_wanted > px->read_done) read_start(t);
}

/* Is this ballot still what binds me? Then nobody else can have led up to now. */
void read_on_confirm(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    if (paxos_ballot_replica(m->ballot) != m->from) {
        px->stats.hostile += 1;
        return;
    }
    if (m->ballot != px->promised) {
        if (m->ballot < px->promised)
            turn_send(t, m->from, paxos_after(px),
                      (struct paxos_message){.type = PAXOS_NACK,
                                             .ballot = m->ballot,
                                             .promised = px->promised,
                                             .position = px->chosen,
                                             .chosen = px->chosen});
        return;
    }
    election_follow(t, m, m->ballot);
    turn_send(t, m->from, paxos_after(px),
              (struct paxos_message){.type = PAXOS_CONFIRMED,
                                     .ballot = m->ballot,
                                     .seq = m->seq,
                                     .chosen = px->chosen,
                                     .mark = paxos_mark_for(px, m->from)});
    catchup_heard(t, m->from, m->chosen, false);
}

void read_on_confirmed(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    if (px->role != PAXOS_LEADER || m->ballot != px->ballot) {
        px->stats.stale += 1;
        return;
    }
    int i = paxos_member_of(px, m->from);
    px->peer[i].mark = m->mark;
    px->peer[i].marked = px->peer[i].live = true;
    if (m->seq != px->round && !MUTANT(MUTANT_STALE_CONFIRM)) return;
    px->confirms |= (uint8_t)(1u << i);
    round_close_if_confirmed(t);
}

/* Quorum check: a leader that has had no quorum's support for a lease and an election timeout gives
 * up, for it cannot know how long others have been waiting. Support lost because a peer promised
 * other groups away comes back by asking. */
void read_tick(struct turn *t)
{
    struct paxos *px = t->px;
    if (px->role != PAXOS_LEADER) return;

    uint64_t timeout = px->opt.election_timeout_ns;
    bool supported = read_support_end(px) > t->now;
    /* Time in which nobody looked (rare ticks, a paused process) proves nothing: it starts anew. */
    if (supported || t->now - px->checked_at > timeout) px->quorum_at = t->now;
    px->checked_at = t->now;
    if (t->now - px->quorum_at > px->opt.leases->duration + timeout) {
        election_step_down(t, true);
        return;
    }
    if (px->round_open) {
        if (t->now >= px->round_ask_at) confirm_ask(t);
    } else if (!supported && t->now >= px->round_ask_at) {
        read_start(t);
    }
}

uint64_t read_deadline(const struct paxos *px)
{
    if (px->role != PAXOS_LEADER || paxos_alone(px)) return UINT64_MAX;
    if (px->round_open) return px->round_ask_at;
    uint64_t end = read_support_end(px), check = px->quorum_at + px->opt.leases->duration;
    uint64_t at = end < check ? end : check;
    return at > px->round_ask_at ? at : px->round_ask_at;
}
