/* The machine's outside: birth, recovery, the one entrance, views, invariants. The protocol's parts
 * are in
 *
 *   election.c  pre-vote, phase 1, stepping down, transfer          accept.c  phase 2, both sides
 *   catchup.c   followers that lack something                       read.c    confirmation rounds,
 * what a lease is worth ring.c      the log in memory, and the moment of choice         lease.c
 * grants between nodes    config.c  whose votes count, and how that changes */
#include "paxos/internal.h"

#include <string.h>

/* ---- what every part uses ---- */

void turn_emit(struct turn *t, struct paxos_effect fx)
{
    t->sink->emit(t->sink->ctx, &fx);
}

void turn_send(struct turn *t, uint16_t to, uint64_t after_lsn, struct paxos_message m)
{
    ASSERT(to != t->px->opt.replica && to != 0);
    m.from = t->px->opt.replica;
    m.to = to;
    m.config = t->px->opt.config_id.position;
    if (MUTANT(MUTANT_SKIP_SYNC_WAIT)) after_lsn = 0;
    turn_emit(t, (struct paxos_effect){
                     .type = PAXOS_FX_SEND, .to = to, .after_lsn = after_lsn, .message = &m});
}

/* In [0, bound]. Each use draws on from the event's bits, so that two uses in one step differ. */
uint64_t turn_random(struct turn *t, uint64_t bound)
{
    t->random = hash_mix(t->random + 0x9e3779b97f4a7c15u);
    return t->random % (bound + 1);
}

void turn_append_promise(struct turn *t, paxos_ballot ballot)
{
    struct paxos *px = t->px;
    ASSERT(ballot > px->promised);
    px->promised = ballot;
    if (px->seen < ballot) px->seen = ballot;
    turn_emit(t, (struct paxos_effect){
                     .type = PAXOS_FX_APPEND_PROMISE, .lsn = ++px->lsn, .promised = ballot});
}

uint64_t paxos_after(const struct paxos *px)
{
    return px->lsn > px->synced ? px->lsn : 0;
}

/* ---- birth ---- */

size_t paxos_size(void)
{
    return sizeof(struct paxos);
}

size_t paxos_slot_size(void)
{
    return sizeof(struct paxos_slot);
}

void paxos_init(struct paxos *px, const struct paxos_options *options, struct paxos_slot *ring,
                uint32_t capacity)
{
    ASSERT(options->config.count >= 1 && options->config.count <= PAXOS_MEMBERS_MAX);
    ASSERT(options->window_entries >= 1 && options->window_entries <= PAXOS_WINDOW_MAX);
    ASSERT(options->leases && options->election_timeout_ns >= 16);
    ASSERT(capacity >= 1 && (capacity & (capacity - 1)) == 0);

    memset(px, 0, sizeof *px);
    memset(ring, 0, capacity * sizeof *ring);
    px->opt = *options;
    px->ring = ring;
    px->capacity = capacity;
    px->campaign_at = UINT64_MAX;
    px->self = (int8_t)paxos_member_of(px, options->replica);
    px->heard = options->config_id.position; /* it was chosen, and all below it */
}

uint32_t paxos_ring_max(const struct paxos_options *options)
{
    uint32_t need = 2 * options->window_entries + 8, capacity = 8;
    while (capacity < need) capacity *= 2;
    return capacity;
}

static uint32_t capacity_for(const struct paxos *px, uint64_t top, uint32_t max)
{
    uint32_t capacity = px->capacity;
    while (capacity < max && top - px->floor > capacity) capacity *= 2;
    return capacity;
}

uint32_t paxos_ring_wanted(const struct paxos *px, const struct paxos_event *ev)
{
    uint64_t top = px->last + 1; /* a proposal, or the barrier of a leadership that begins */
    if (ev && ev->type == PAXOS_EV_MESSAGE) {
        const struct paxos_message *m = ev->message;
        uint64_t base = m->type == PAXOS_ACCEPT && m->chosen > px->chosen ? m->chosen : px->chosen;
        for (uint32_t i = 0; i < m->entry_count && m->type != PAXOS_LEARN; i++) {
            uint64_t p = m->entries[i].position + 1;
            if (p > top && p <= base + px->opt.window_entries + 4) top = p;
        }
    }
    return capacity_for(px, top, paxos_ring_max(&px->opt));
}

uint32_t paxos_ring_least(const struct paxos *px)
{
    uint32_t capacity = 1;
    for (uint32_t i = 1; i <= px->capacity; i++) {
        const struct paxos_slot *s = ring_at(px, px->floor + i);
        while ((s->entry.position || s->pending.position) && capacity < i) capacity *= 2;
    }
    return capacity;
}

struct paxos_slot *paxos_ring_replace(struct paxos *px, struct paxos_slot *ring, uint32_t capacity)
{
    ASSERT(capacity >= paxos_ring_least(px) && (capacity & (capacity - 1)) == 0);
    struct paxos_slot *old = px->ring;
    uint32_t both = capacity < px->capacity ? capacity : px->capacity;

    memset(ring, 0, capacity * sizeof *ring);
    for (uint32_t i = 1; i <= both; i++) {
        uint64_t p = px->floor + i;
        ring[p & (capacity - 1)] = old[p & (px->capacity - 1)];
    }
    px->ring = ring;
    px->capacity = capacity;
    return old;
}

/* ---- recovery ---- */

void paxos_restore_applied(struct paxos *px, uint64_t position, struct paxos_id last_valid)
{
    ASSERT(!px->started && px->last == 0);
    ASSERT(last_valid.position <= position);
    px->floor = px->chosen = px->streamed = px->last = px->hint = position;
    if (px->heard < position) px->heard = position;
    px->last_valid = last_valid;
}

void paxos_restore_promise(struct paxos *px, paxos_ballot promised)
{
    ASSERT(!px->started);
    if (MUTANT(MUTANT_FORGET_PROMISE)) return;
    if (promised > px->promised) px->promised = promised;
    /* A ballot of my own that was ever written down may have been used: never again (P3). */
    if (paxos_ballot_replica(promised) == px->opt.replica && promised > px->ballot)
        px->ballot = promised;
}

static void restore_emit(struct turn *t)
{
    struct paxos *px = t->px;
    while (!px->installing && px->chosen < px->hint && px->chosen < px->last &&
           ring_entry(px, px->chosen + 1))
        ring_choose(t);
}

uint32_t paxos_restore_ring_wanted(const struct paxos *px, uint64_t position)
{
    uint64_t floor = px->chosen; /* what may be emitted makes room */
    while (!px->installing && floor < px->hint && floor < px->last && ring_entry(px, floor + 1))
        floor++;
    /* Where the log brings young entries before old ones, more than paxos_ring_max may have to wait
     * for the old. */
    return position <= floor ? px->capacity
                             : capacity_for(px, px->floor + (position - floor), 1u << 30);
}

void paxos_restore_entry(struct paxos *px, const struct paxos_entry *entry,
                         const struct paxos_sink *sink)
{
    struct paxos_config c;
    ASSERT(!px->started && entry_plausible(entry));
    ASSERT(entry->kind != PAXOS_CONFIG || config_read(px, entry, &c));
    struct turn t = {px, sink, 0, 0};
    /* To have accepted at a ballot was to promise it (P2). */
    paxos_restore_promise(px, entry->ballot);
    if (entry->position - px->floor > px->capacity && entry->position > px->floor) restore_emit(&t);
    if (entry->position <= px->chosen) {
        ring_release(&t, entry->value);
        return;
    }
    /* A log may move old entries behind younger ones, so a hole may be filled later; by the start
     * it is (paxos_start). */
    ASSERT(entry->position - px->floor <= px->capacity);

    struct paxos_slot *s = ring_at(px, entry->position);
    if (s->entry.position) {
        px->inflight_bytes -= s->entry.size;
        ring_release(&t, s->entry.value);
    }
    s->entry = *entry;
    s->lsn = 0;
    px->inflight_bytes += entry->size;
    if (entry->position > px->last) px->last = entry->position;
}

void paxos_restore_chosen(struct paxos *px, uint64_t chosen)
{
    ASSERT(!px->started);
    if (chosen > px->hint) px->hint = chosen;
}

void paxos_restore_emit(struct paxos *px, const struct paxos_sink *sink)
{
    ASSERT(!px->started);
    struct turn t = {px, sink, 0, 0};
    restore_emit(&t);
}

void paxos_restore_installing(struct paxos *px)
{
    ASSERT(!px->started);
    px->installing = true;
}

/* When to campaign, of one that was just started and may. */
static uint64_t first_campaign(struct turn *t)
{
    struct paxos *px = t->px;
    uint64_t timeout = px->opt.election_timeout_ns, rank = px->self < 0 ? 0 : (uint64_t)px->self;
    if (px->promised == 0 && px->last == 0) {
        /* Founding: the preferred replica first, the others spread behind it, all well before an
         * election timeout. */
        bool first = px->opt.preferred ? px->opt.preferred == px->opt.replica : rank == 0;
        return t->now + (first ? 0 : timeout / 4 + rank * timeout / 8) +
               turn_random(t, timeout / 32);
    }
    /* My own last promise was to myself: nobody I know of leads, and no lease but mine is in the
     * way. */
    if (paxos_ballot_replica(px->promised) == px->opt.replica)
        return t->now + turn_random(t, timeout / 8);
    return t->now + timeout + turn_random(t, timeout);
}

void paxos_start(struct paxos *px, uint64_t now, uint64_t random, uint64_t lsn_base,
                 const struct paxos_sink *sink)
{
    ASSERT(!px->started);
    struct turn t = {px, sink, now, random};
    restore_emit(&t);
    /* Entries were accepted without holes, so a hole here is a log that lost records: not ours to
     * paper over. */
    for (uint64_t p = px->chosen + 1; p <= px->last; p++) ASSERT(ring_entry(px, p));
    px->started = true;
    px->lsn = px->synced = lsn_base;
    px->hint = px->chosen;
    px->seen = px->promised;
    px->leader_since = px->busy_at = now;

    px->switched = false;
    if (!paxos_is_voter(px)) config_remind(&t, px->opt.election_timeout_ns);
    if (paxos_alone(px) && paxos_may_lead(px))
        election_prepare(&t); /* nobody else to ask */
    else
        px->campaign_at = first_campaign(&t);
    paxos_check(px);
}

void paxos_install_begin(struct paxos *px, const struct paxos_sink *sink)
{
    struct turn t = {px, sink, 0, 0};
    ASSERT(px->started);
    if (px->role == PAXOS_LEADER) return;
    px->installing = true;
    px->fetch_at = 0;
    if (px->role != PAXOS_FOLLOWER) election_step_down(&t, px->role == PAXOS_CANDIDATE);
    paxos_check(px);
}

/* All up to `position` is in the state now. */
static void jump(struct turn *t, uint64_t position, struct paxos_id last_valid)
{
    struct paxos *px = t->px;
    for (uint32_t i = 0; i < px->capacity; i++) {
        struct paxos_slot *s = &px->ring[i];
        uint64_t p = s->entry.position ? s->entry.position : s->pending.position;
        if (p == 0 || p > position) continue;
        px->inflight_bytes -= s->entry.size;
        ring_release(t, s->entry.value);
        ring_release(t, s->pending.value);
        memset(s, 0, sizeof *s);
    }
    px->floor = px->chosen = position;
    px->last_valid = last_valid;
    if (px->last < position) px->last = position;
    if (px->streamed < position) px->streamed = position;
    if (px->heard < position) px->heard = position;
}

void paxos_installed(struct paxos *px, uint64_t position, struct paxos_id last_valid,
                     const struct paxos_config *config, struct paxos_id config_id,
                     const struct paxos_sink *sink)
{
    struct turn t = {px, sink, 0, 0};
    ASSERT(px->started && last_valid.position <= position);
    if (px->role == PAXOS_LEADER) return;
    px->installing = false;
    /* Not behind: one that a crash cut short left the position here, not what it stands on. */
    if (position >= px->chosen) jump(&t, position, last_valid);
    if (config_id.position > px->opt.config_id.position) config_switch(&t, config, config_id);
    px->fetch_at = 1; /* on the next tick, if anything is missing */
    paxos_check(px);
}

void paxos_deinit(struct paxos *px, const struct paxos_sink *sink)
{
    struct turn t = {px, sink, 0, 0};
    ring_clear_pending(&t);
    for (uint32_t i = 0; i < px->capacity; i++) {
        ring_release(&t, px->ring[i].entry.value);
        memset(&px->ring[i], 0, sizeof px->ring[i]);
    }
    px->started = false;
}

/* ---- the one entrance ---- */

/* Nothing an honest member sends fails here; what does is counted and dropped (never asserted: it
 * came over a wire). */
static bool message_plausible(const struct paxos *px, const struct paxos_message *m)
{
    if (m->from == 0 || m->from == px->opt.replica || m->to != px->opt.replica) return false;
    if (m->type >= PAXOS_MESSAGE_TYPES || m->entry_count > PAXOS_ENTRIES_MAX) return false;
    if (m->position >= UINT64_MAX / 2 || m->chosen >= UINT64_MAX / 2) return false;
    if (m->config >= UINT64_MAX / 2) return false;
    /* Rounds near the end of their 48 bits would leave no ballot to the next candidate. */
    if (paxos_ballot_round(m->ballot) >> 47 || paxos_ballot_round(m->promised) >> 47) return false;
    bool carries = m->type == PAXOS_PROMISE || m->type == PAXOS_ACCEPT || m->type == PAXOS_LEARN;
    if (m->entry_count && !carries) return false;
    for (uint32_t i = 0; i < m->entry_count; i++) {
        if (!entry_plausible(&m->entries[i]) || paxos_ballot_round(m->entries[i].ballot) >> 47)
            return false;
        if (i && m->entries[i].position != m->entries[i - 1].position + 1) return false;
        struct paxos_config c;
        if (m->entries[i].kind == PAXOS_CONFIG && !config_read(px, &m->entries[i], &c))
            return false;
    }
    return true;
}

/* Is a message of a replica that is not in my configuration to be taken? One of us two lags (P16).
 * If I may, its word is as good as a member's, but for votes, which are counted by member. If it
 * does, and asks for votes, it is told that it is behind: it fetches, and learns that it left. What
 * is chosen, and what ballot is dead, anybody may say. */
static bool stranger_admitted(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    bool ahead = m->config >= px->opt.config_id.position, asks = false;
    switch (m->type) {
    case PAXOS_FETCH:
    case PAXOS_LEARN:
    case PAXOS_RESIGNED: return true;
    case PAXOS_PREVOTE_OK:
    case PAXOS_PROMISE:
    case PAXOS_ACCEPTED:
    case PAXOS_CONFIRMED: ahead = false; break;
    case PAXOS_PREVOTE:
    case PAXOS_PREPARE:
    case PAXOS_ACCEPT:
    case PAXOS_CONFIRM: asks = true; break;
    default: break;
    }
    if (ahead) return true;
    px->stats.stale += 1;
    if (asks) election_refuse(t, m, PAXOS_F_BEHIND);
    return false;
}

static void step_message(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;

    if (paxos_member_of(px, m->from) < 0 && !stranger_admitted(t, m)) return;
    if (m->promised > px->seen) px->seen = m->promised;
    /* Word that the ballot which binds me, or a later one of the same replica, is led no more: then
     * neither is this one. About my own ballots I know better. */
    uint16_t holder = paxos_ballot_replica(px->promised);
    if (m->released >= px->promised && paxos_ballot_replica(m->released) == holder &&
        holder != px->opt.replica)
        px->released = px->promised;
    switch (m->type) {
    case PAXOS_PREVOTE: election_on_prevote(t, m); break;
    case PAXOS_PREVOTE_OK: election_on_prevote_ok(t, m); break;
    case PAXOS_PREPARE: election_on_prepare(t, m); break;
    case PAXOS_PROMISE: election_on_promise(t, m); break;
    case PAXOS_ACCEPT: follower_on_accept(t, m); break;
    case PAXOS_ACCEPTED: leader_on_accepted(t, m); break;
    case PAXOS_NACK: election_on_nack(t, m); break;
    case PAXOS_COMMIT: follower_on_commit(t, m); break;
    case PAXOS_FETCH: catchup_on_fetch(t, m); break;
    case PAXOS_LEARN: catchup_on_learn(t, m); break;
    case PAXOS_CONFIRM: read_on_confirm(t, m); break;
    case PAXOS_CONFIRMED: read_on_confirmed(t, m); break;
    case PAXOS_TIMEOUT_NOW: election_on_timeout_now(t, m); break;
    case PAXOS_RESIGNED: election_on_resigned(t, m); break;
    default: ASSERT(!"message_plausible lets no other type pass");
    }
    if (px->remind_wait) config_heard(t, m);
    /* What set the sender's configuration is chosen, wherever it knows that from. */
    if (m->config > px->opt.config_id.position) catchup_heard(t, m->from, m->config, false);
}

static void step_event_message(struct turn *t, const struct paxos_message *m)
{
    if (message_plausible(t->px, m))
        step_message(t, m);
    else
        t->px->stats.hostile += 1;
    /* What no rule took is given back. */
    for (uint32_t i = 0; i < m->entry_count; i++) {
        ring_release(t, m->entries[i].value);
        m->entries[i].value = NULL;
    }
}

static void step_tick(struct turn *t)
{
    election_tick(t);
    catchup_tick(t);
    config_tick(t);
    read_tick(t);
    ring_trim(t);
}

static void step_synced(struct turn *t, uint64_t lsn)
{
    struct paxos *px = t->px;
    ASSERT(lsn <= px->lsn);
    if (lsn <= px->synced) return;
    px->synced = lsn;
    election_on_synced(t);
    leader_advance(t);
}

void paxos_step(struct paxos *px, const struct paxos_event *ev, const struct paxos_sink *sink)
{
    ASSERT(px->started);
    struct turn t = {px, sink, ev->now, ev->random};
    switch (ev->type) {
    case PAXOS_EV_TICK: step_tick(&t); break;
    case PAXOS_EV_MESSAGE: step_event_message(&t, ev->message); break;
    case PAXOS_EV_SYNCED: step_synced(&t, ev->lsn); break;
    case PAXOS_EV_PROPOSE:
    case PAXOS_EV_RECONFIGURE: leader_propose(&t, ev); break;
    case PAXOS_EV_READ: read_ask(&t, ev->seq); break;
    case PAXOS_EV_CAMPAIGN:
        if (px->role == PAXOS_FOLLOWER && paxos_may_campaign(px)) election_prevote(&t);
        break;
    case PAXOS_EV_TRANSFER: election_on_transfer(&t, ev->to); break;
    case PAXOS_EV_RESIGN:
        if (px->role == PAXOS_LEADER) election_step_down(&t, true);
        break;
    default: ASSERT(!"an event has one of the types above");
    }
    config_settle(&t);
}

/* ---- views ---- */

enum paxos_role paxos_role(const struct paxos *px)
{
    return (enum paxos_role)px->role;
}

bool paxos_serving(const struct paxos *px)
{
    return px->role == PAXOS_LEADER && px->serving;
}

bool paxos_transferring(const struct paxos *px)
{
    return px->role == PAXOS_LEADER && px->transfer_to;
}

bool paxos_can_propose(const struct paxos *px, uint32_t size)
{
    if (!paxos_serving(px) || px->transfer_to) return false;
    if (px->config_at && !MUTANT(MUTANT_NO_CONFIG_BARRIER)) return false; /* P14 */
    if (px->last == px->chosen) return true; /* one entry is always allowed */
    return px->last - px->chosen < px->opt.window_entries &&
           px->inflight_bytes + size <= px->opt.window_bytes;
}

bool paxos_can_reconfigure(const struct paxos *px)
{
    return paxos_serving(px) && !px->transfer_to && !px->config_at;
}

const struct paxos_config *paxos_config(const struct paxos *px)
{
    return &px->opt.config;
}

struct paxos_id paxos_config_id(const struct paxos *px)
{
    return px->opt.config_id;
}

bool paxos_installing(const struct paxos *px)
{
    return px->installing;
}

uint64_t paxos_next_position(const struct paxos *px)
{
    return px->last + 1;
}

uint16_t paxos_leader(const struct paxos *px)
{
    return px->leader;
}

paxos_ballot paxos_promised(const struct paxos *px)
{
    return px->promised;
}

uint64_t paxos_chosen(const struct paxos *px)
{
    return px->chosen;
}

struct paxos_id paxos_last_valid(const struct paxos *px)
{
    return px->last_valid;
}

uint64_t paxos_lease_end(const struct paxos *px)
{
    if (!paxos_serving(px)) return 0;
    if (px->lease_given && !MUTANT(MUTANT_LEASE_KEPT_ON_TRANSFER)) return 0;
    if (px->config_at && !MUTANT(MUTANT_LEASE_OVER_CONFIG)) return 0; /* P17 */
    return read_support_end(px);
}

uint64_t paxos_match(const struct paxos *px, uint16_t replica)
{
    int i = paxos_member_of(px, replica);
    if (i < 0 || px->role != PAXOS_LEADER) return 0;
    return px->peer[i].match;
}

uint64_t paxos_deadline(const struct paxos *px)
{
    uint64_t at = election_deadline(px), other = catchup_deadline(px);
    if (other < at) at = other;
    other = read_deadline(px);
    if (other < at) at = other;
    return px->remind_at && px->remind_at < at ? px->remind_at : at;
}

bool paxos_rests(const struct paxos *px, uint64_t now)
{
    if (px->last > px->floor || px->remind_at || catchup_deadline(px) != UINT64_MAX) return false;
    if (px->role == PAXOS_LEADER)
        return px->serving && !px->transfer_to && !px->round_open && read_support_end(px) > now;
    /* Silence is told only of a node that was heard of before. */
    uint16_t node = px->leader ? paxos_node_of(px, px->leader) : 0;
    return px->role == PAXOS_FOLLOWER && node && px->opt.leases->peer[node].heard_at &&
           election_deadline(px) > now;
}

const struct paxos_stats *paxos_stats(const struct paxos *px)
{
    return &px->stats;
}

/* ---- invariants (numbers: docs/PAXOS.md) ---- */

static void check_ring(const struct paxos *px)
{
    uint64_t retained = 0, inflight = 0;
    for (uint64_t p = px->floor + 1; p <= px->floor + px->capacity; p++) {
        const struct paxos_slot *s = &px->ring[p & (px->capacity - 1)];
        ASSERT(s->entry.position == (p <= px->last ? p : 0)); /* I1: no hole, nothing beyond */
        ASSERT(s->pending.position == 0 || (s->pending.position == p && p > px->chosen));
        ASSERT(s->lsn <= px->lsn);
        if (p > px->last) continue;
        ASSERT(s->entry.ballot <= px->promised || p <= px->chosen || !px->started ||
               MUTANT(MUTANT_FORGET_PROMISE)); /* I2 */
        if (p > px->chosen && p <= px->streamed)
            ASSERT(s->entry.ballot == px->follow || MUTANT(MUTANT_GAP_ACCEPT)); /* I3 */
        if (p <= px->chosen)
            retained += s->entry.size;
        else
            inflight += s->entry.size;
    }
    ASSERT(retained == px->retained_bytes && inflight == px->inflight_bytes); /* I4 */
}

static void check_config(const struct paxos *px)
{
    ASSERT(px->self == paxos_member_of(px, px->opt.replica));     /* I9 */
    ASSERT(px->role == PAXOS_FOLLOWER || paxos_may_campaign(px)); /* I10 */
    ASSERT(px->role < PAXOS_CANDIDATE || paxos_may_lead(px));
    ASSERT(!px->installing || px->floor == px->chosen);
    if (!px->config_at) return;
    ASSERT(px->role == PAXOS_LEADER && px->chosen < px->config_at); /* I11 */
    ASSERT(px->config_at == px->streamed || MUTANT(MUTANT_NO_CONFIG_BARRIER));
    ASSERT(ring_entry(px, px->config_at)->kind == PAXOS_CONFIG);
}

void paxos_check(const struct paxos *px)
{
    ASSERT(px->floor <= px->chosen && px->chosen <= px->streamed &&
           px->streamed <= px->last); /* I5 */
    ASSERT(px->synced <= px->lsn && px->last_valid.position <= px->chosen);
    ASSERT(px->last - px->floor <= px->capacity);
    ASSERT(px->role == PAXOS_LEADER || px->floor == px->chosen); /* I6: only a leader retains */
    ASSERT(!px->serving || px->role == PAXOS_LEADER);
    if (px->role == PAXOS_LEADER) {
        ASSERT(px->promised == px->ballot && px->leader == px->opt.replica); /* I7 */
        ASSERT(px->follow == px->ballot && (px->streamed == px->last || px->config_at));
        ASSERT(px->serving == (px->chosen >= px->barrier) ||
               MUTANT(MUTANT_SERVE_BEFORE_BARRIER)); /* I8 */
        for (int i = 0; i < px->opt.config.count; i++)
            ASSERT(i == px->self ||
                   (px->peer[i].match <= px->streamed && px->peer[i].next <= px->streamed + 1));
    }
    if (px->role == PAXOS_CANDIDATE)
        ASSERT(px->promised == px->ballot || MUTANT(MUTANT_REUSE_BALLOT));
    check_config(px);
    check_ring(px);
}
