/* Who leads: pre-vote, phase 1, stepping down, transfer.
 *
 * Phase 1 runs once per leadership, over all positions above the candidate's chosen watermark
 * (Lamport, "Paxos Made Simple", section 3: one Prepare for infinitely many instances). A campaign
 * begins only if the leader's node is silent, and first asks without changing anything
 * (PROTOCOLS 1.3: pre-vote and quorum check are both needed under partial connectivity). */
#include "paxos/internal.h"

#include <string.h>

#define ATTEMPTS_ALONE 3 /* pre-votes among those that vote, before others are asked as well */

/* ---- helpers ---- */

static void role_set(struct turn *t, enum paxos_role role, uint16_t leader)
{
    struct paxos *px = t->px;
    bool same = px->role == role && px->leader == leader;
    px->role = (uint8_t)role;
    px->leader = leader;
    if (!same) turn_emit(t, (struct paxos_effect){.type = PAXOS_FX_ROLE});
}

/* A ballot of mine at which I neither lead nor may come to lead: whoever is bound to it is free
 * (P9). */
static paxos_ballot dead_ballot(const struct paxos *px)
{
    return px->role == PAXOS_LEADER || px->role == PAXOS_CANDIDATE ? 0 : px->ballot;
}

/* What is known to be led no more, and binds this replica; else my own dead ballot, which may bind
 * others. */
static paxos_ballot released_word(const struct paxos *px)
{
    return px->released && px->released == px->promised ? px->released : dead_ballot(px);
}

/* May this replica promise the group to `candidate`? Only a promise to somebody else binds, and
 * only while that somebody may lead under a lease that counts on it (P8). Of a holder that is no
 * voter only a grant from before a restart can matter: this replica may have known a configuration
 * that it has forgotten (P17). */
bool election_permits(const struct paxos *px, uint16_t candidate, paxos_ballot released,
                      uint64_t now)
{
    uint16_t holder = paxos_ballot_replica(px->promised);
    uint16_t node = paxos_holder(px, holder);
    if (px->promised == 0) return true;
    if (holder == candidate || holder == px->opt.replica) return true;
    if (px->promised == released || px->promised == px->released) return true;
    return lease_allows(px->opt.leases, node, now);
}

static bool leader_alive(const struct paxos *px, uint64_t now)
{
    if (px->leader == 0) return false;
    return !lease_suspects(px->opt.leases, paxos_node_of(px, px->leader),
                           px->opt.election_timeout_ns, px->leader_since, now);
}

/* Does the sender lead at `ballot` still, or is the message from before it gave up, or left? */
static bool may_lead_me(const struct paxos *px, const struct paxos_message *m, paxos_ballot ballot)
{
    if (ballot == px->released) return false;
    return paxos_holder(px, m->from) || m->config > px->opt.config_id.position;
}

/* The sender leads at `ballot`: stop thinking of campaigns. */
void election_follow(struct turn *t, const struct paxos_message *m, paxos_ballot ballot)
{
    struct paxos *px = t->px;
    uint16_t leader = m->from;
    ASSERT(leader != px->opt.replica && ballot >= px->promised);
    if (!may_lead_me(px, m, ballot)) return;

    if (px->role != PAXOS_FOLLOWER) election_step_down(t, false);
    /* The node of a leader that is not in my configuration is not watched: its word counts. */
    if (px->leader != leader || paxos_member_of(px, leader) < 0) px->leader_since = t->now;
    px->campaign_at = UINT64_MAX;
    px->attempts = 0;
    role_set(t, PAXOS_FOLLOWER, leader);
}

/* Nobody leads as far as known: campaign after `delay` unless somebody else does first; or, who is
 * no voter, see to it that one of those knows that it is. */
void election_leaderless(struct turn *t, uint64_t delay)
{
    struct paxos *px = t->px;
    ASSERT(px->role == PAXOS_FOLLOWER);
    role_set(t, PAXOS_FOLLOWER, 0);
    px->campaign_at = t->now + delay;
    if (!paxos_is_voter(px) && !px->remind_wait) config_remind(t, px->opt.election_timeout_ns);
}

/* The first attempt is spread by replica id, so that usually one candidate is alone; later ones
 * back off at random. */
static uint64_t first_delay(struct turn *t)
{
    uint64_t unit = t->px->opt.election_timeout_ns / 8;
    uint64_t rank = t->px->self < 0 ? 0 : (uint64_t)t->px->self;
    return rank * unit + turn_random(t, unit / 2);
}

void election_restart(struct turn *t)
{
    election_leaderless(t, first_delay(t));
}

static uint64_t retry_delay(struct turn *t)
{
    uint64_t timeout = t->px->opt.election_timeout_ns;
    uint64_t spread = timeout / 4 * (t->px->attempts < 4 ? t->px->attempts + 1 : 4);
    return timeout / 8 + turn_random(t, spread);
}

/* Leaves CANDIDATE or LEADER (or PRECANDIDATE) for FOLLOWER. tell: the others should know that
 * nobody leads this ballot. */
void election_step_down(struct turn *t, bool tell)
{
    struct paxos *px = t->px;
    enum paxos_role was = paxos_role(px);
    ASSERT(was != PAXOS_FOLLOWER);

    if (was == PAXOS_LEADER)
        turn_emit(t, (struct paxos_effect){.type = PAXOS_FX_DROPPED, .position = px->chosen + 1});
    px->serving = false;
    px->round_open = false;
    px->read_done = px->read_wanted;
    px->transfer_to = 0;
    px->config_at = 0;
    px->votes = px->confirms = 0;
    role_set(t, PAXOS_FOLLOWER, 0);
    ring_clear_pending(t);
    ring_trim(t); /* followers retain nothing */
    if (was != PAXOS_PRECANDIDATE && tell)
        for (int i = 0; i < px->opt.config.count; i++)
            if (i != px->self)
                turn_send(t, px->opt.config.member[i].replica, 0,
                          (struct paxos_message){
                              .type = PAXOS_RESIGNED, .ballot = px->ballot, .chosen = px->chosen});
    /* A leader that gave up lets the others go first. */
    uint64_t timeout = px->opt.election_timeout_ns;
    px->campaign_at =
        t->now + (was == PAXOS_LEADER ? 2 * timeout + turn_random(t, timeout) : retry_delay(t));
    ASSERT(px->role == PAXOS_FOLLOWER && px->floor == px->chosen);
}

/* Binds this replica to `ballot`. Durable before anybody hears of it: replies wait for paxos_after
 * (P2). A holder that released the group counts on it no more, so nothing was taken from it: else
 * each hand-over would cost it the marks of all its other groups (L3). */
void election_promise(struct turn *t, paxos_ballot ballot)
{
    struct paxos *px = t->px;
    ASSERT(ballot > px->promised);
    uint16_t holder = paxos_holder(px, paxos_ballot_replica(px->promised));
    uint16_t winner = paxos_node_of(px, paxos_ballot_replica(ballot));
    bool taken = px->promised && holder != winner && px->promised != px->released;
    if (taken) lease_lost(px->opt.leases, holder);
    turn_append_promise(t, ballot);
}

/* ---- the candidate ---- */

static void ask_all(struct turn *t)
{
    struct paxos *px = t->px;
    bool pre = px->role == PAXOS_PRECANDIDATE;
    struct paxos_message m = {.type = pre ? PAXOS_PREVOTE : PAXOS_PREPARE,
                              .ballot = pre ? px->trial : px->ballot,
                              .promised = px->promised,
                              .released = pre ? released_word(px) : px->released,
                              .position = px->chosen,
                              .chosen = px->chosen};
    /* In vain: somebody may be a voter by now, and one that never campaigns (seed 9000809). */
    bool everybody = !paxos_may_lead(px) || (pre && px->attempts > ATTEMPTS_ALONE);
    for (int i = 0; i < px->opt.config.count; i++)
        if (i != px->self && !(px->votes >> i & 1) && (paxos_votes(px, i) || everybody))
            turn_send(t, px->opt.config.member[i].replica, pre ? 0 : paxos_after(px), m);
    px->ask_at = t->now + px->opt.election_timeout_ns / 8;
}

/* Above all that I know of, and above the ballot that chose my configuration: its leader went on
 * under it without asking anybody (P15). */
static paxos_ballot next_ballot(const struct paxos *px)
{
    paxos_ballot top = px->promised > px->seen ? px->promised : px->seen;
    if (px->ballot > top) top = px->ballot;
    if (px->opt.config_id.born > top && !MUTANT(MUTANT_LOW_BALLOT)) top = px->opt.config_id.born;
    return paxos_ballot_make(paxos_ballot_round(top) + 1, px->opt.replica);
}

static bool votes_suffice(const struct paxos *px)
{
    return paxos_count(px, px->votes) >= paxos_quorum_prepare(&px->opt.config);
}

/* One that is behind its own configuration asks for the sake of the refusals, which say who has
 * what it lacks. */
static bool permits_myself(struct turn *t)
{
    return paxos_may_lead(t->px) && election_permits(t->px, t->px->opt.replica, 0, t->now);
}

/* "Would you promise?" Asks everybody, itself first, and changes nothing that lasts. */
void election_prevote(struct turn *t)
{
    struct paxos *px = t->px;
    ASSERT(px->role == PAXOS_FOLLOWER || px->role == PAXOS_PRECANDIDATE);
    ASSERT(paxos_may_campaign(px));

    if (paxos_alone(px) && paxos_may_lead(px)) {
        election_prepare(t);
        return;
    }
    px->trial = next_ballot(px);
    px->attempts += 1;
    /* Where a lease binds this replica itself, it asks all the same: the answers may say that the
     * lease's holder gave up. */
    px->votes = (uint8_t)(permits_myself(t) << px->self);
    role_set(t, PAXOS_PRECANDIDATE, 0);
    px->candidate_until =
        t->now + px->opt.election_timeout_ns / 2 + turn_random(t, px->opt.election_timeout_ns / 2);
    ask_all(t);
}

/* Phase 1a. PREPARE leaves only once the own promise is on disk, so a restart never uses this
 * ballot again (P3). */
void election_prepare(struct turn *t)
{
    struct paxos *px = t->px;
    ASSERT(px->role != PAXOS_LEADER && paxos_may_lead(px));

    px->ballot = next_ballot(px);
    px->votes = 0;
    px->stats.campaigns += 1;
    ring_clear_pending(t);
    if (MUTANT(MUTANT_REUSE_BALLOT))
        px->promised = px->seen = px->ballot;
    else
        election_promise(t, px->ballot);
    px->promise_lsn = px->lsn;
    role_set(t, PAXOS_CANDIDATE, 0);
    px->candidate_until =
        t->now + px->opt.election_timeout_ns / 2 + turn_random(t, px->opt.election_timeout_ns / 2);
    ask_all(t);
    election_on_synced(t);
}

/* My promise to myself counts once it is on disk. */
void election_on_synced(struct turn *t)
{
    struct paxos *px = t->px;
    if (px->role != PAXOS_CANDIDATE || px->synced < px->promise_lsn) return;
    px->votes |= (uint8_t)(1u << px->self);
    if (votes_suffice(px)) leader_begin(t);
}

void election_on_prevote_ok(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    if (px->role != PAXOS_PRECANDIDATE || m->ballot != px->trial) return;

    px->votes |= (uint8_t)(1u << paxos_member_of(px, m->from));
    /* My own yes is asked again each time: a lease may have ended, been released, or been renewed
     * meanwhile. */
    uint8_t mine = (uint8_t)(1u << px->self);
    if (permits_myself(t))
        px->votes = (uint8_t)(px->votes | mine);
    else
        px->votes = (uint8_t)(px->votes & ~mine);
    if (votes_suffice(px) && px->votes & mine) election_prepare(t);
}

/* Phase 1b arrives. Of the entries that a position was accepted with anywhere in the quorum, the
 * one of the highest ballot is adopted (P4); they wait as `pending`, for this replica has not
 * accepted them. */
void election_on_promise(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    if (px->role != PAXOS_CANDIDATE || m->ballot != px->ballot) {
        px->stats.stale += 1;
        return;
    }
    int i = paxos_member_of(px, m->from);
    for (uint32_t k = 0; k < m->entry_count; k++) {
        const struct paxos_entry *e = &m->entries[k];
        if (e->ballot >= px->ballot || (e->position > px->chosen && e->position > ring_limit(px))) {
            px->stats.hostile += 1;
            return;
        }
        if (e->position > px->chosen && !ring_room(t, e->position))
            return; /* a vote counts with all it says, or not at all */
    }
    for (uint32_t k = 0; k < m->entry_count && !MUTANT(MUTANT_NOOP_OVER_ACCEPTED); k++)
        if (m->entries[k].position > px->chosen) ring_hold(t, &m->entries[k]);

    px->votes |= (uint8_t)(1u << i);
    px->peer[i].mark = m->mark;
    px->peer[i].marked = true;
    px->peer[i].chosen = m->chosen;
    if (votes_suffice(px)) leader_begin(t);
}

/* Told no: by a higher ballot, a lease, or because I am behind. */
static void candidate_refused(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    bool pre = px->role == PAXOS_PRECANDIDATE;
    if (m->ballot != (pre ? px->trial : px->ballot)) return;

    if (m->flags & PAXOS_F_BEHIND) {
        /* In a chain of members the one that can win may lack what its neighbour has: it learns
         * that first, then asks again. */
        catchup_heard(t, m->from, m->position, true);
        if (px->heard > px->chosen) election_step_down(t, false);
    } else if (m->flags & PAXOS_F_LEADER && pre && m->promised >= px->promised &&
               paxos_ballot_replica(m->promised) == m->from) {
        catchup_heard(t, m->from, m->position, true);
        election_follow(t, m, m->promised);
    } else if (m->promised > m->ballot) {
        election_step_down(t, !pre);
    }
    /* A lease: others may still make the quorum; candidate_until ends it otherwise. */
}

/* A member is bound above my ballot, perhaps by a campaign that failed: it can accept nothing of
 * mine any more. Lead it from above, at once, for nobody else is known to want to. */
static void lead_from_above(struct turn *t)
{
    election_step_down(t, false);
    election_prepare(t);
}

void election_on_nack(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    if (px->role == PAXOS_PRECANDIDATE || px->role == PAXOS_CANDIDATE) {
        candidate_refused(t, m);
        return;
    }
    int i = paxos_member_of(px, m->from);
    if (px->role != PAXOS_LEADER || m->ballot != px->ballot) return;
    if (m->flags & PAXOS_F_BEHIND && m->config > px->opt.config_id.position) {
        /* The group has moved on, perhaps without me. */
        election_step_down(t, true);
        catchup_heard(t, m->from, m->position, true);
    } else if (i < 0) {
        px->stats.stale += 1;
    } else if (m->flags & PAXOS_F_GAP) {
        catchup_on_gap(t, i, m->position);
    } else if (m->promised > px->ballot) {
        lead_from_above(t);
    }
}

/* ---- the others ---- */

void election_refuse(struct turn *t, const struct paxos_message *m, uint8_t flags)
{
    const struct paxos *px = t->px;
    if (px->role == PAXOS_LEADER) flags |= PAXOS_F_LEADER;
    turn_send(t, m->from, paxos_after(px),
              (struct paxos_message){.type = PAXOS_NACK,
                                     .flags = flags,
                                     .ballot = m->ballot,
                                     .promised = px->promised,
                                     .position = px->chosen,
                                     .chosen = px->chosen,
                                     .released = released_word(px)});
}

void election_on_prevote(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    if (px->leader == m->from && px->role == PAXOS_FOLLOWER)
        election_leaderless(t, px->opt.election_timeout_ns);

    if (px->role == PAXOS_LEADER && m->promised > px->ballot)
        lead_from_above(t);
    else if (px->role == PAXOS_LEADER)
        election_refuse(t, m, PAXOS_F_LEASE);
    else if (m->position < px->chosen)
        election_refuse(t, m, PAXOS_F_BEHIND);
    else if (leader_alive(px, t->now) || !election_permits(px, m->from, 0, t->now))
        election_refuse(t, m, PAXOS_F_LEASE);
    else if (m->ballot <= px->promised)
        election_refuse(t, m, 0);
    else
        turn_send(t, m->from, 0,
                  (struct paxos_message){.type = PAXOS_PREVOTE_OK,
                                         .ballot = m->ballot,
                                         .promised = px->promised,
                                         .chosen = px->chosen,
                                         .released = released_word(px)});
}

static void promise_send(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    struct paxos_entry entries[PAXOS_ENTRIES_MAX];
    uint32_t count = 0;
    for (uint64_t p = px->chosen + 1; p <= px->last; p++) {
        if (p <= m->position) continue;
        ASSERT(count < PAXOS_ENTRIES_MAX);
        entries[count++] = *ring_entry(px, p);
    }
    turn_send(t, m->from, paxos_after(px),
              (struct paxos_message){.type = PAXOS_PROMISE,
                                     .ballot = m->ballot,
                                     .chosen = px->chosen,
                                     .mark = paxos_mark_for(px, m->from),
                                     .entry_count = count,
                                     .entries = entries});
}

/* Phase 1a arrives: an acceptor promises to accept nothing below `ballot` any more (P1), unless a
 * lease that counts on it may still be in use (P8), or the candidate lacks what is chosen: it would
 * ask for positions whose values are gone from here. */
void election_on_prepare(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    if (paxos_ballot_replica(m->ballot) != m->from) {
        px->stats.hostile += 1;
        return;
    }
    if (m->ballot > px->seen) px->seen = m->ballot;
    if (m->ballot < px->promised)
        election_refuse(t, m, 0);
    else if (m->position < px->chosen)
        election_refuse(t, m, PAXOS_F_BEHIND);
    else if (m->ballot == px->promised)
        promise_send(t, m);
    else if (!election_permits(px, m->from, m->released, t->now))
        election_refuse(t, m, PAXOS_F_LEASE);
    else {
        if (px->role != PAXOS_FOLLOWER) election_step_down(t, false);
        election_promise(t, m->ballot);
        election_leaderless(t, px->opt.election_timeout_ns +
                                   turn_random(t, px->opt.election_timeout_ns));
        promise_send(t, m);
    }
}

/* ---- leaving ---- */

/* Transfer (PROTOCOLS 1.3): drain, then hand over the lease and the word to campaign, in this
 * order. */
void election_on_transfer(struct turn *t, uint16_t to)
{
    struct paxos *px = t->px;
    int i = paxos_member_of(px, to);
    if (!paxos_serving(px) || px->transfer_to || px->config_at || i < 0 || i == px->self ||
        px->opt.config.member[i].role != PAXOS_VOTER)
        return;
    px->transfer_to = to;
    px->transfer_until = t->now + px->opt.election_timeout_ns;
    election_transfer_ready(t);
}

void election_transfer_ready(struct turn *t)
{
    struct paxos *px = t->px;
    if (px->role != PAXOS_LEADER || !px->transfer_to || px->lease_given) return;
    int i = paxos_member_of(px, px->transfer_to);
    if (px->chosen < px->streamed || px->peer[i].match < px->streamed) return;

    px->lease_given = true;
    px->transfer_until = t->now + px->opt.election_timeout_ns;
    turn_send(t, px->transfer_to, 0,
              (struct paxos_message){.type = PAXOS_TIMEOUT_NOW,
                                     .ballot = px->ballot,
                                     .released = px->ballot,
                                     .chosen = px->chosen});
}

void election_on_timeout_now(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    if (paxos_ballot_replica(m->ballot) != m->from || m->ballot != px->promised ||
        px->role != PAXOS_FOLLOWER || !paxos_may_campaign(px)) {
        px->stats.stale += 1;
        return;
    }
    px->released = m->ballot;
    election_leaderless(t, 0);
    /* What the old leader had chosen is accepted here at its ballot: no need to fetch it first. */
    if (px->follow == m->ballot) follower_commit(t, m->chosen);
    if (paxos_may_lead(px) && !px->switched) election_prepare(t);
}

void election_on_resigned(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    if (paxos_ballot_replica(m->ballot) != m->from) {
        px->stats.hostile += 1;
        return;
    }
    if (m->ballot == px->promised) px->released = m->ballot;
    if (px->follow == m->ballot) follower_commit(t, m->chosen);
    if (px->role == PAXOS_FOLLOWER && (px->leader == m->from || px->leader == 0) &&
        m->ballot >= px->promised)
        election_restart(t);
    catchup_heard(t, m->from, m->chosen, px->follow != m->ballot);
}

/* A leader that gave its lease away and was not replaced wants it back. Nothing less than a new
 * ballot does: the word that the old one is released is out. */
static void transfer_tick(struct turn *t)
{
    struct paxos *px = t->px;
    if (!px->transfer_to || t->now < px->transfer_until) return;
    px->transfer_to = 0;
    if (!px->lease_given) return; /* the target never caught up: go on as before */
    election_step_down(t, false);
    election_prepare(t);
}

void election_tick(struct turn *t)
{
    struct paxos *px = t->px;
    switch (px->role) {
    case PAXOS_LEADER: transfer_tick(t); break;
    case PAXOS_FOLLOWER:
        if (px->leader && !leader_alive(px, t->now)) election_restart(t);
        if (px->leader == 0 && t->now >= px->campaign_at && paxos_may_campaign(px))
            election_prevote(t);
        break;
    default:
        if (t->now >= px->candidate_until)
            election_step_down(t, true);
        else if (t->now >= px->ask_at)
            ask_all(t);
    }
}

uint64_t election_deadline(const struct paxos *px)
{
    if (px->role == PAXOS_LEADER) return px->transfer_to ? px->transfer_until : UINT64_MAX;
    if (px->role != PAXOS_FOLLOWER)
        return px->ask_at < px->candidate_until ? px->ask_at : px->candidate_until;
    if (px->leader == 0) return paxos_may_campaign(px) ? px->campaign_at : UINT64_MAX;
    uint64_t heard = px->opt.leases->peer[paxos_node_of(px, px->leader)].heard_at;
    if (heard == 0) heard = px->leader_since;
    return heard + px->opt.election_timeout_ns + 1;
}
