/* Phase 2: the leader proposes, acceptors accept in position order, a majority on disk makes an
 * entry chosen.
 *
 * Accepts are pipelined up to a window and sent while the leader's own log write is still under
 * way, which counts as one acceptor among the others once it is on disk (PROTOCOLS 1.2). Since a
 * follower accepts the entries of one ballot without gaps, one number says all it has, and "chosen"
 * is the quorum-th highest of these numbers. */
#include "paxos/internal.h"

/* ---- the leader ---- */

static uint64_t wait_min(const struct paxos *px)
{
    return px->opt.election_timeout_ns / 8;
}

/* Sends peer i all from its `next` to `streamed`, in as few messages as fit. */
void leader_stream(struct turn *t, int i)
{
    struct paxos *px = t->px;
    struct paxos_peer *peer = &px->peer[i];
    ASSERT(px->role == PAXOS_LEADER && i != px->self);
    ASSERT(peer->next > px->chosen || peer->next > px->floor);

    if (peer->match >= px->chosen &&
        peer->next == peer->match + 1) { /* it was up to date: its clock starts now */
        peer->resend_wait = wait_min(px);
        peer->resend_at = t->now + peer->resend_wait;
    }
    struct paxos_entry entries[PAXOS_ENTRIES_MAX];
    while (peer->next <= px->streamed) {
        struct paxos_message m = {.type = PAXOS_ACCEPT,
                                  .ballot = px->ballot,
                                  .position = peer->next - 1,
                                  .chosen = px->chosen,
                                  .entries = entries};
        uint64_t bytes = 0;
        while (peer->next <= px->streamed && m.entry_count < PAXOS_ENTRIES_MAX &&
               bytes < (1u << 20)) {
            entries[m.entry_count] = *ring_entry(px, peer->next++);
            ASSERT(entries[m.entry_count].ballot == px->ballot);
            bytes += entries[m.entry_count++].size;
        }
        turn_send(t, px->opt.config.member[i].replica, 0, m);
    }
}

static void stream_all(struct turn *t)
{
    struct paxos *px = t->px;
    for (int i = 0; i < px->opt.config.count; i++) {
        struct paxos_peer *peer = &px->peer[i];
        if (i == px->self || peer->paused) continue;
        leader_stream(t, i);
        /* One that does not keep up gets no more until it answers; what it misses by then is
         * repaired. */
        if (peer->next - peer->match > 2ull * px->opt.window_entries + 8) peer->paused = true;
    }
}

/* The entry for a position of the new leadership: of what this replica and its promisers accepted
 * there, that of the highest ballot (P4); if nobody accepted anything, nothing can have been
 * chosen, and a no-op fills the gap. */
static void adopt(struct turn *t, uint64_t position)
{
    struct paxos *px = t->px;
    struct paxos_slot *s = ring_at(px, position);
    struct paxos_entry e = {.position = position, .born = px->ballot, .kind = PAXOS_NOOP};
    bool own = s->entry.position != 0;
    if (MUTANT(MUTANT_NOOP_OVER_ACCEPTED)) own = false;

    bool theirs = s->pending.position && (!own || s->pending.ballot > s->entry.ballot);
    if (MUTANT(MUTANT_LOWEST_BALLOT_WINS))
        theirs = s->pending.position && (!own || s->pending.ballot < s->entry.ballot);
    if (theirs) {
        e = s->pending;
        s->pending = (struct paxos_entry){0};
    } else if (own) {
        e = s->entry;
        s->entry.value = NULL; /* moves to the new acceptance */
    }
    ASSERT(e.ballot < px->ballot && e.position == position);
    e.ballot = px->ballot;
    ring_accept(t, &e, px->chosen);
    if (s->pending.position) {
        ring_release(t, s->pending.value);
        s->pending = (struct paxos_entry){0};
    }
}

static void barrier_place(struct turn *t)
{
    struct paxos *px = t->px;
    const struct paxos_entry *top = px->last > px->chosen ? ring_entry(px, px->last) : NULL;
    /* A no-op that an earlier leadership left on top does as well: it is of my ballot now, and all
     * else is below it. */
    if (!top || top->kind != PAXOS_NOOP) {
        bool room = ring_room(t, px->last + 1);
        ASSERT(room); /* paxos_ring_wanted keeps one slot for it */
        adopt(t, px->last + 1);
    }
    px->barrier = px->last;
    ASSERT(px->barrier > px->chosen);
}

/* Everything above the chosen watermark is proposed again at this ballot, position by position and
 * with its birth kept, then a barrier; once that is chosen the state is known, and evaluation may
 * begin on it (P5, P7). But what is above a CONFIG entry that counts is not for the members who
 * promised to choose: the leader stops there, leaves what else it holds as it is, and asks the next
 * members once that entry is chosen (P15). */
static void adopt_all(struct turn *t)
{
    struct paxos *px = t->px;
    uint64_t top = px->last, p = px->chosen;
    for (uint64_t q = p + 1; q <= px->floor + px->capacity; q++)
        if (q > top && ring_at(px, q)->pending.position) top = q;
    while (p < top && !px->config_at) {
        adopt(t, ++p);
        if (config_follows(px, ring_entry(px, p)) && !MUTANT(MUTANT_NO_CONFIG_BARRIER))
            px->config_at = p;
    }
    if (px->config_at) {
        px->barrier = px->config_at + 1; /* out of this ballot's reach */
        px->streamed = px->config_at;
        ring_clear_pending(t);
    } else {
        barrier_place(t);
        px->streamed = px->last;
    }
    px->follow = px->ballot;
}

/* Phase 1 is complete. */
void leader_begin(struct turn *t)
{
    struct paxos *px = t->px;
    ASSERT(px->role == PAXOS_CANDIDATE && px->promised == px->ballot);
    ASSERT(px->synced >= px->promise_lsn || MUTANT(MUTANT_SKIP_SYNC_WAIT));

    px->role = PAXOS_LEADER;
    px->leader = px->opt.replica;
    px->leader_since = px->quorum_at = px->checked_at = px->busy_at = t->now;
    px->campaign_at = UINT64_MAX;
    px->attempts = 0;
    px->stats.elected += 1;
    px->serving = px->lease_given = px->round_open = false;
    px->transfer_to = 0;
    px->config_at = 0;
    adopt_all(t);

    for (int i = 0; i < px->opt.config.count; i++) {
        struct paxos_peer *peer = &px->peer[i];
        bool promised = px->votes >> i & 1;
        uint16_t node = px->opt.config.member[i].node;
        *peer = (struct paxos_peer){.next = px->chosen + 1,
                                    .chosen = promised ? peer->chosen : 0,
                                    .mark = peer->mark,
                                    .marked = promised,
                                    .resend_at = t->now + wait_min(px),
                                    .resend_wait = wait_min(px)};
        peer->live = promised || !lease_suspects(px->opt.leases, node, px->opt.election_timeout_ns,
                                                 t->now, t->now);
    }
    turn_emit(t, (struct paxos_effect){.type = PAXOS_FX_ROLE});
    stream_all(t);
    if (MUTANT(MUTANT_SERVE_BEFORE_BARRIER)) {
        px->serving = true;
        px->chain = px->last_valid;
        turn_emit(t, (struct paxos_effect){.type = PAXOS_FX_SERVING});
    }
    leader_advance(t);
}

/* A replica that stays a member stays on its node: leases are of nodes (P17). */
static bool config_proposable(const struct paxos *px, const struct paxos_entry *e)
{
    struct paxos_config next;
    if (!config_read(px, e, &next)) return false;
    for (int i = 0; i < next.count; i++) {
        uint16_t node = paxos_node_of(px, next.member[i].replica);
        if (node && node != next.member[i].node) return false;
    }
    return true;
}

/* A proposal stands on the last valid entry below it; as the leader's own proposals are all valid
 * if they are chosen at all in this order, that is the one it proposed last (P7). A configuration
 * stands on the one in force, and nothing stands above it until it is chosen (P13, P14). */
void leader_propose(struct turn *t, const struct paxos_event *ev)
{
    struct paxos *px = t->px;
    bool config = ev->type == PAXOS_EV_RECONFIGURE;
    ASSERT(config ? paxos_can_reconfigure(px) : paxos_can_propose(px, ev->size));
    ASSERT((ev->size == 0) == (ev->value == NULL));
    bool room = ring_room(t, px->last + 1);
    ASSERT(room); /* the caller asked paxos_ring_wanted */

    struct paxos_entry e = {.position = px->last + 1,
                            .ballot = px->ballot,
                            .born = px->ballot,
                            .base = config ? px->opt.config_id : px->chain,
                            .hash = ev->hash,
                            .size = ev->size,
                            .kind = config ? PAXOS_CONFIG : PAXOS_DATA,
                            .value = ev->value};
    if (config) {
        ASSERT(config_proposable(px, &e));
        px->config_at = e.position;
    } else {
        px->chain = (struct paxos_id){e.position, e.born};
    }
    ring_accept(t, &e, px->chosen);
    px->streamed = px->last;
    stream_all(t);
    if (MUTANT(MUTANT_OWN_VOTE_EARLY)) leader_advance(t);
}

/* How far my own log is on disk, at this ballot. */
static uint64_t own_match(const struct paxos *px)
{
    uint64_t p = px->streamed;
    if (MUTANT(MUTANT_OWN_VOTE_EARLY)) return p;
    while (p > px->chosen && ring_at(px, p)->lsn > px->synced) p--;
    return p;
}

static void serve(struct turn *t)
{
    struct paxos *px = t->px;
    px->serving = true;
    px->chain = px->last_valid;
    turn_emit(t, (struct paxos_effect){.type = PAXOS_FX_SERVING});
}

/* With nothing more to carry the watermark, it goes by itself, at once: followers' reads and memory
 * wait for it. */
static void tell_chosen(struct turn *t)
{
    struct paxos *px = t->px;
    for (int i = 0; i < px->opt.config.count; i++)
        if (i != px->self && !px->peer[i].paused)
            turn_send(t, px->opt.config.member[i].replica, 0,
                      (struct paxos_message){
                          .type = PAXOS_COMMIT, .ballot = px->ballot, .chosen = px->chosen});
}

/* A configuration that I proposed is chosen, and in force (those who left were told). */
static void leader_reconfigured(struct turn *t, bool adopted)
{
    struct paxos *px = t->px;
    ASSERT(px->switched && px->chosen == px->streamed);
    px->switched = false;
    tell_chosen(t);
    if (!paxos_is_voter(px)) {
        election_step_down(t, true);
        config_remind(t, px->remind_wait);
        return;
    }
    if (adopted && !MUTANT(MUTANT_SKIP_PHASE1)) {
        /* Others may lead, or have led, above it under a ballot below mine: ask its members. */
        election_step_down(t, false);
        election_prepare(t);
        return;
    }
    if (adopted) adopt_all(t), stream_all(t);
    /* It is mine, so nobody can have led above it below my ballot (P15): the leadership goes on.
     * What was known of the old members' support is not of the new ones'. */
    px->leader_since = px->quorum_at = px->checked_at = t->now;
    if (px->round_open) px->round_open = false, read_start(t);
    ring_trim(t);
    election_transfer_ready(t);
}

/* Moves the chosen watermark to where a quorum's disks are. */
void leader_advance(struct turn *t)
{
    struct paxos *px = t->px;
    if (px->role != PAXOS_LEADER) return;

    uint64_t match[PAXOS_MEMBERS_MAX];
    for (int i = 0; i < px->opt.config.count; i++)
        match[i] = i == px->self ? own_match(px) : px->peer[i].match;
    uint64_t chosen = paxos_reached(&px->opt.config, match, paxos_quorum_accept(&px->opt.config));
    if (chosen <= px->chosen) return;

    ASSERT(chosen <= px->streamed);
    px->busy_at = px->quorum_at = t->now;
    bool adopted = px->config_at && ring_entry(px, px->config_at)->born != px->ballot;
    while (px->chosen < chosen) ring_choose(t);
    if (px->switched) {
        leader_reconfigured(t, adopted);
        return;
    }
    if (!px->serving && px->chosen >= px->barrier) serve(t);
    ring_trim(t);
    if (px->chosen == px->streamed) tell_chosen(t);
    election_transfer_ready(t);
}

void leader_on_accepted(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    /* Above an adopted CONFIG entry a member may have more than this leader proposes. */
    uint64_t position = m->position;
    if (px->config_at && position > px->config_at && m->chosen >= px->config_at)
        position = px->config_at;
    if (px->role != PAXOS_LEADER || m->ballot != px->ballot || position > px->streamed) {
        px->stats.stale += 1;
        return;
    }
    int i = paxos_member_of(px, m->from);
    struct paxos_peer *peer = &px->peer[i];
    if (position > peer->match) {
        peer->match = position;
        peer->resend_wait = wait_min(px);
        peer->resend_at = t->now + peer->resend_wait;
    }
    if (m->chosen > peer->chosen) peer->chosen = m->chosen;
    if (peer->next <= peer->match) peer->next = peer->match + 1;
    peer->mark = m->mark;
    peer->marked = peer->live = true;
    /* A peer that was paused and now has all it was sent goes on from there. */
    if (peer->match == px->streamed)
        peer->paused = false;
    else if (peer->paused && peer->match + 1 >= peer->next)
        catchup_on_gap(t, i, peer->match + 1);
    leader_advance(t);
    if (px->role != PAXOS_LEADER) return;
    election_transfer_ready(t);
    ring_trim(t);
}

/* ---- the follower ---- */

/* Emits what `chosen`, said by the leader of `follow`, covers of what was accepted at that very
 * ballot (P6; PROTOCOLS 0.3: a value of another ballot at the same position may be another value).
 */
void follower_commit(struct turn *t, uint64_t chosen)
{
    struct paxos *px = t->px;
    ASSERT(px->streamed <= px->last);
    if (px->heard < chosen) px->heard = chosen;
    if (px->noticed < chosen) px->noticed = chosen;
    if (px->role == PAXOS_LEADER || px->installing) return;
    uint64_t limit = MUTANT(MUTANT_COMMIT_OWN_VALUE) ? px->last : px->streamed;
    if (px->chosen < chosen && px->chosen < limit) px->busy_at = t->now;
    while (px->chosen < chosen && px->chosen < limit) ring_choose(t);
}

static void truncate_suffix(struct turn *t, uint64_t above)
{
    struct paxos *px = t->px;
    for (uint64_t p = above + 1; p <= px->last; p++) {
        struct paxos_slot *s = ring_at(px, p);
        px->inflight_bytes -= s->entry.size;
        ring_release(t, s->entry.value);
        s->entry = (struct paxos_entry){0};
    }
    px->last = above;
}

static void accept_next(struct turn *t, struct paxos_entry *e, uint64_t chosen)
{
    struct paxos *px = t->px;
    uint64_t position = e->position;
    ASSERT(e->ballot == px->follow);
    ASSERT(position == px->streamed + 1);

    ring_accept(t, e, px->chosen);
    px->streamed = position;
    if (MUTANT(MUTANT_TRUNCATE_SUFFIX)) truncate_suffix(t, position);
    follower_commit(t, chosen);
}

/* Accepts what was held until its turn came. */
void follower_take_held(struct turn *t)
{
    struct paxos *px = t->px;
    while (px->streamed < px->floor + px->capacity) {
        struct paxos_slot *s = ring_at(px, px->streamed + 1);
        if (s->pending.position == 0 || s->pending.ballot != px->follow ||
            px->promised != px->follow)
            return;
        struct paxos_entry e = s->pending;
        s->pending = (struct paxos_entry){0};
        accept_next(t, &e, px->noticed);
    }
}

static void accept_entry(struct turn *t, struct paxos_entry *e, uint64_t chosen)
{
    struct paxos *px = t->px;
    if (e->position <= px->streamed || e->position > ring_limit(px) || !ring_room(t, e->position))
        return;
    if (MUTANT(MUTANT_GAP_ACCEPT) && e->position <= px->last + 1) px->streamed = e->position - 1;
    if (e->position == px->streamed + 1)
        accept_next(t, e, chosen);
    else
        ring_hold(t, e);
}

/* ballot is that of a leader: a quorum has promised it. So no older leader has a lease any more,
 * whatever this replica granted: a lease needs a quorum's support too, the two quorums share a
 * member, and that member promised only when its grant was over or released (P8). Hence no lease is
 * asked here. */
static bool join(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    if (paxos_ballot_replica(m->ballot) != m->from) {
        px->stats.hostile += 1;
        return false;
    }
    if (m->ballot < px->promised && !MUTANT(MUTANT_ACCEPT_BELOW_PROMISE)) {
        turn_send(t, m->from, paxos_after(px),
                  (struct paxos_message){.type = PAXOS_NACK,
                                         .ballot = m->ballot,
                                         .promised = px->promised,
                                         .position = px->chosen,
                                         .chosen = px->chosen});
        return false;
    }
    if (m->ballot > px->promised) {
        if (px->role != PAXOS_FOLLOWER) election_step_down(t, false);
        election_promise(t, m->ballot);
    }
    if (m->ballot >= px->promised) election_follow(t, m, m->ballot);
    if (px->follow != m->ballot) {
        ring_clear_pending(t);
        px->follow = m->ballot;
        px->noticed = 0;
        px->streamed = px->chosen;
        /* After a restart, some of this ballot is there already. */
        while (px->streamed < px->last && ring_entry(px, px->streamed + 1)->ballot == m->ballot)
            px->streamed += 1;
    }
    return true;
}

/* Phase 2a arrives. All or nothing of its entries must be of its ballot; they are accepted strictly
 * in order, which keeps "all up to here" a single number (P5). */
void follower_on_accept(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    bool sound = m->entry_count == 0 || m->entries[0].position == m->position + 1;
    for (uint32_t k = 0; k < m->entry_count; k++) sound &= m->entries[k].ballot == m->ballot;
    if (!sound) {
        px->stats.hostile += 1;
        return;
    }
    if (!join(t, m)) return;

    follower_commit(t, m->chosen);
    for (uint32_t k = 0; k < m->entry_count; k++) accept_entry(t, &m->entries[k], m->chosen);
    follower_take_held(t);

    uint64_t end = m->position + m->entry_count;
    struct paxos_message reply = {.type = PAXOS_ACCEPTED,
                                  .ballot = m->ballot,
                                  .position = px->streamed,
                                  .chosen = px->chosen,
                                  .mark = paxos_mark_for(px, m->from)};
    /* A gap that a snapshot is about to fill is not named. */
    if (px->streamed < end && !px->installing) {
        reply.type = PAXOS_NACK;
        reply.flags = PAXOS_F_GAP;
        reply.position = px->streamed + 1;
        reply.promised = px->promised;
    }
    turn_send(t, m->from, paxos_after(px), reply);
}

void follower_on_commit(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    if (paxos_ballot_replica(m->ballot) != m->from) {
        px->stats.hostile += 1;
        return;
    }
    if (m->ballot >= px->promised) election_follow(t, m, m->ballot);
    if (px->follow == m->ballot || MUTANT(MUTANT_COMMIT_OWN_VALUE)) follower_commit(t, m->chosen);
    catchup_heard(t, m->from, m->chosen, px->follow != m->ballot);
}
