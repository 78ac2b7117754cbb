/* A replica of one group: the glue between paxos (what must be agreed), the log (what must be
 * kept), peers (who must hear) and the shard (what is applied). Paxos' effects are carried out here
 * in the order in which they come. */
#include "node/internal.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "redis/object.h"
#include "redis/once.h"
#include "shard/keys.h"

#include <errno.h>
#include <stdio.h>

#define LEARN_BYTES    (1u << 20)
#define ENTRIES_MAX    1024
#define SOON           (30 * MS)
#define REST_EXPIRY_MS 10000 /* no key of a group at rest expires sooner */

/* ---- values ---- */

struct value *value_new(struct bytes s)
{
    ASSERT(s.size <= UINT32_MAX);
    struct value *v = mem_alloc(sizeof *v + s.size);
    v->refs = 1;
    v->size = (uint32_t)s.size;
    if (s.size) memcpy(v->data, s.data, s.size);
    return v;
}

void value_release(struct value *v)
{
    if (v && --v->refs == 0) mem_free(v);
}

/* ---- members ---- */

static uint16_t node_of_member(const struct group *g, uint16_t replica)
{
    for (int i = 0; i < g->config.count; i++)
        if (g->config.member[i].replica == replica) return g->config.member[i].node;
    return 0;
}

/* Replicas that this one's configuration does not know of spoke to it: it is behind, or they are.
 */
static uint16_t node_of_replica(const struct group *g, uint16_t replica)
{
    uint16_t node = node_of_member(g, replica);
    for (int i = 0; i < GROUP_STRANGERS && !node && replica; i++)
        if (g->stranger[i].replica == replica) node = g->stranger[i].node;
    return node;
}

static void stranger_note(struct group *g, uint16_t replica, uint16_t node)
{
    int free = 0;
    for (int i = 0; i < GROUP_STRANGERS; i++) {
        if (g->stranger[i].replica == replica) return;
        if (!g->stranger[i].replica) free = i;
    }
    g->stranger[free].replica = replica;
    g->stranger[free].node = node;
}

struct group_peer *group_peer(struct group *g, uint16_t node)
{
    struct group_peer *free = NULL;
    if (!node || node == g->node->identity.node || !group_replica_on(g, node)) return NULL;
    for (int i = 0; i < GROUP_PEERS; i++) {
        if (g->peer[i].node == node) return &g->peer[i];
        if (!g->peer[i].node) free = &g->peer[i];
    }
    if (free) *free = (struct group_peer){.node = node, .since = g->node->now};
    return free;
}

/* A replica may be bound to the ballot of one that is no more, while its node lives and its
 * heartbeats go on: nobody would ever say that the ballot is dead (docs/PAXOS.md, P9), and who
 * missed the hand-over follows a leader that is no more. Its node's own word says it: it has a
 * later replica, or a full report that came after the promise names none. One that comes back, for
 * its death was cut short, never leads at a ballot from before (P3). */
void group_free_dead_ballot(struct group *g)
{
    struct node *n = g->node;
    paxos_ballot ballot = paxos_promised(g->px);
    uint16_t replica = paxos_ballot_replica(ballot), node = node_of_replica(g, replica);
    struct group_peer *gp = replica == g->replica ? NULL : group_peer(g, node);
    const struct peer *p = gp ? n->peers[node] : NULL;
    if (ballot != g->bound_to) {
        g->bound_to = ballot;
        g->bound_at = n->now;
    }
    if (!ballot || !p || !p->out_ready) return;
    bool named = p->full_at <= g->bound_at || p->full_at <= gp->since || p->full_at <= gp->heard;
    if (gp->replica <= replica && named) return;
    struct paxos_message m = {
        .type = PAXOS_RESIGNED, .from = replica, .to = g->replica, .ballot = ballot};
    group_step(g, &(struct paxos_event){.type = PAXOS_EV_MESSAGE, .message = &m});
}

/* The member that should lead, so that leaderships are spread: the one the map names, or one by the
 * group's number. Who is to leave the group is neither: it would only give the leadership away
 * again. */
uint16_t group_home(const struct group *g)
{
    uint16_t voter[PAXOS_MEMBERS_MAX];
    uint32_t count = 0;
    for (int i = 0; i < g->config.count; i++) {
        if (g->config.member[i].role != PAXOS_VOTER) continue;
        if (g->row.target_count && !ring_group_is_target(&g->row, g->config.member[i].node))
            continue;
        voter[count++] = g->config.member[i].node;
        if (g->config.member[i].node == g->row.leader) return g->row.leader;
    }
    return count ? voter[g->id % count] : 0;
}

uint16_t group_leader_node(const struct group *g)
{
    if (!g->px) return g->leader_hint;
    uint16_t node = node_of_replica(g, paxos_leader(g->px));
    return node ? node : g->leader_hint;
}

bool group_serves(const struct group *g)
{
    return g->leading && !g->broken && !g->overtaken;
}

bool group_begins(const struct group *g)
{
    bool sealed = group_serves(g) && g->shard->sealed && !MUTANT(MUTANT_SEALED_SERVES);
    return group_serves(g) && !paxos_transferring(g->px) && !sealed;
}

void group_hand_over(struct group *g, uint16_t replica)
{
    g->successor = replica;
    group_wake(g);
}

bool group_can_write(struct group *g)
{
    if (g->shard->batch.size >= g->shard->batch_max || g->node->memory_full || g->draining)
        return false;
    return g->dirty || paxos_can_propose(g->px, 0) || g->shard->batch.size > 0;
}

/* ---- messages ---- */

static void later_push(struct group *g, uint64_t after_lsn, uint16_t node, struct bytes frame)
{
    if (g->later_count == g->later_capacity) {
        uint32_t capacity = g->later_capacity ? 2 * g->later_capacity : 16;
        struct sent_later *bigger = mem_zalloc(capacity * sizeof *bigger);
        for (uint32_t i = 0; i < g->later_count; i++)
            bigger[i] = g->later[(g->later_head + i) % g->later_capacity];
        mem_free(g->later);
        g->later = bigger;
        g->later_head = 0;
        g->later_capacity = capacity;
    }
    struct sent_later *s = &g->later[(g->later_head + g->later_count++) % g->later_capacity];
    *s = (struct sent_later){.after_lsn = after_lsn, .node = node};
    buf_append_bytes(&s->frame, frame);
}

/* What waited for the log and is covered now. In order: an earlier message may wait for more than a
 * later one, never sent out of turn. */
static void later_send(struct group *g)
{
    while (g->later_count && g->later[g->later_head].after_lsn <= g->lsn_synced) {
        struct sent_later *s = &g->later[g->later_head];
        peer_send(g->node, s->node, buf_bytes(&s->frame));
        buf_deinit(&s->frame);
        g->later_head = (g->later_head + 1) % g->later_capacity;
        g->later_count--;
    }
}

/* Entries are bounded far below a frame, and so is what a window may hold; only what several failed
 * leaderships left behind, each with a huge entry, could add up to more. Not sent, it is a lost
 * message. */
static bool fits_frame(struct group *g, const struct paxos_message *m)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < m->entry_count; i++) bytes += m->entries[i].size + 128;
    if (bytes + 1024 <= WIRE_FRAME_MAX) return true;
    node_log(g->node, "group %u: a message of %llu bytes is too large to be sent", g->id,
             (unsigned long long)bytes);
    return false;
}

static void encode_message(struct group *g, const struct paxos_message *m, struct buf *out)
{
    if (!fits_frame(g, m)) return;
    size_t begun = wire_begin(out, WIRE_PAXOS);
    buf_u32(out, g->id);
    paxos_message_encode(m, value_bytes, out);
    wire_end(out, begun);
}

static void fx_send(struct group *g, const struct paxos_effect *fx)
{
    uint16_t node = node_of_replica(g, fx->message->to);
    if (!node || node == g->node->identity.node) return;
    if (tracing(g) && fx->message->type == PAXOS_ACCEPT && fx->message->entry_count)
        trace_sent(g, fx->message->entries[fx->message->entry_count - 1].position, node);
    if (fx->after_lsn <= g->lsn_synced || MUTANT(MUTANT_SKIP_SYNC_WAIT)) {
        struct buf *out = peer_out(g->node, node);
        if (out) encode_message(g, fx->message, out);
        return;
    }
    struct buf *frame = &g->node->scratch2;
    buf_clear(frame);
    encode_message(g, fx->message, frame);
    if (frame->size) later_push(g, fx->after_lsn, node, buf_bytes(frame));
}

/* ---- the log ---- */

static void mark_push(struct node *n, uint64_t log_lsn, uint64_t lsn, uint64_t position,
                      struct group *g)
{
    if (n->mark_count == n->mark_capacity) {
        uint32_t capacity = n->mark_capacity ? 2 * n->mark_capacity : 256;
        struct append_mark *bigger = mem_alloc(capacity * sizeof *bigger);
        for (uint32_t i = 0; i < n->mark_count; i++)
            bigger[i] = n->marks[(n->mark_head + i) % n->mark_capacity];
        mem_free(n->marks);
        n->marks = bigger;
        n->mark_head = 0;
        n->mark_capacity = capacity;
    }
    n->marks[(n->mark_head + n->mark_count++) % n->mark_capacity] =
        (struct append_mark){log_lsn, lsn, position, g};
}

static void fx_append(struct group *g, const struct paxos_effect *fx)
{
    struct log_record r = {.group = g->id, .replica = g->replica};
    switch (fx->type) {
    case PAXOS_FX_APPEND_PROMISE:
        r.type = LOG_PROMISE;
        r.promised = fx->promised;
        if (MUTANT(MUTANT_FORGET_PROMISE)) r.promised = 0;
        break;
    case PAXOS_FX_APPEND_ENTRY:
        r.type = LOG_ENTRY;
        r.entry = *fx->entry;
        r.value = value_bytes(fx->entry->value);
        r.chosen = fx->chosen;
        if (tracing(g)) trace_append(g, r.entry.position, fx->lsn);
        break;
    default:
        r.type = LOG_CHOSEN;
        r.chosen = fx->chosen;
        break;
    }
    uint64_t log_lsn = log_append(g->node->log, &r);
    if (fx->lsn)
        mark_push(g->node, log_lsn, fx->lsn, r.type == LOG_ENTRY ? r.entry.position : 0, g);
    group_hint_note(g, r.chosen, log_lsn);
}

/* ---- applying ---- */

static void apply(struct group *g, const struct paxos_entry *e, bool valid)
{
    struct node *n = g->node;
    bool own = g->leading && e->born == g->era_ballot;
    uint16_t slot_hi = g->slot_hi;

    if (!shard_apply(g->shard, e, valid, value_bytes(e->value), own)) {
        g->broken = true;
        node_fatal(n,
                   "group %u: the chosen entry at position %llu cannot be applied; this is a bug "
                   "or damage in memory, the node stops",
                   g->id, (unsigned long long)e->position);
    }
    if (n->config.applied) n->config.applied(n->config.ctx, g->id, e, valid, e->hash);
    group_fates_note(g, e, valid);
    g->slot_hi = g->shard->slot_hi;
    if (g->slot_hi > slot_hi) ring_route(n); /* of a split the newborn is routed to */
    n->advanced = true;
    n->stats.entries++;
    n->applied_bytes += e->size;
    if (g->shard->batch.size) group_wake(g); /* there is room in the window again */
    if (!list_empty(&g->waiting)) group_retry(g);
}

static void fx_chosen(struct group *g, const struct paxos_effect *fx)
{
    const struct paxos_entry *e = fx->entry;
    bool data = fx->valid && e->kind == PAXOS_DATA;

    if (tracing(g)) trace_chosen(g, e->position);
    if (!g->broken && !g->overtaken && (!data || merge_follow(g, e))) apply(g, e, fx->valid);
    if (fx->take_value) value_release(e->value);
}

/* ---- catching peers up from the log ---- */

struct learn {
    struct list link; /* node->learns */
    struct log_read read;
    struct group *group;
    uint16_t to; /* replica */
    uint16_t node;
    uint16_t from; /* replica here: the group may have got another since */
};

static void learn_done(void *ctx, struct log_read *r, const struct log_record *records,
                       uint32_t count)
{
    struct learn *l = ctx;
    struct group *g = l->group;
    (void)r;
    node_begin(g->node);
    struct group_peer *gp = group_peer(g, l->node);
    if (gp) gp->reading = false;
    if (gp && !count && g->px)
        transfer_want(g, gp); /* there is a hole: older entries outlived it */
    g->learns--;
    struct buf *out = count ? peer_out(g->node, l->node) : NULL;
    if (out && g->px && g->replica == l->from) {
        struct paxos_entry *entries = mem_alloc(count * sizeof *entries);
        for (uint32_t i = 0; i < count; i++) {
            entries[i] = records[i].entry;
            entries[i].value = records[i].value.size ? value_new(records[i].value) : NULL;
        }
        struct paxos_message m = {.type = PAXOS_LEARN,
                                  .from = g->replica,
                                  .to = l->to,
                                  .chosen = paxos_chosen(g->px),
                                  .config = g->config_id.position,
                                  .ballot = paxos_promised(g->px),
                                  .position = entries[0].position,
                                  .entry_count = count,
                                  .entries = entries};
        encode_message(g, &m, out);
        for (uint32_t i = 0; i < count; i++) value_release(entries[i].value);
        mem_free(entries);
    }
    list_remove(&l->link);
    mem_free(l);
}

void group_free_learns(struct node *n)
{
    struct list *link;
    while ((link = list_pop(&n->learns))) mem_free(LIST_OF(link, struct learn, link));
}

static void fx_serve_fetch(struct group *g, const struct paxos_effect *fx)
{
    struct node *n = g->node;
    uint16_t node = node_of_replica(g, fx->to);
    uint64_t first = log_first(n->log, g->id);
    struct group_peer *gp = group_peer(g, node);

    if (!node || node == n->identity.node || (gp && gp->reading)) return;
    if (!first || fx->position < first) {
        if (gp) transfer_want(g, gp);
        return;
    }
    uint64_t last = fx->position + PAXOS_ENTRIES_MAX - 1; /* more in one message is refused */
    struct learn *l = mem_zalloc(sizeof *l);
    l->group = g;
    l->to = fx->to;
    l->node = node;
    l->from = g->replica;
    l->read = (struct log_read){.group = g->id,
                                .position = fx->position,
                                .last = fx->chosen < last ? fx->chosen : last,
                                .bytes_max = LEARN_BYTES,
                                .done = learn_done,
                                .ctx = l};
    if (gp) gp->reading = true;
    g->learns++;
    n->stats.learned++;
    list_push(&n->learns, &l->link);
    log_read(n->log, &l->read);
}

/* ---- paxos' effects ---- */

void group_campaigns(struct group *g, bool does)
{
    if (g->campaigning && !does) g->node->campaigning--;
    if (!g->campaigning && does) g->node->campaigning++;
    g->campaigning = does;
}

static void fx_role(struct group *g)
{
    enum paxos_role role = paxos_role(g->px);
    group_campaigns(g, role == PAXOS_PRECANDIDATE || role == PAXOS_CANDIDATE);
    g->node->leader_epoch++;
    if (g->leading && paxos_role(g->px) != PAXOS_LEADER) group_era_end(g);
    uint16_t leader = node_of_replica(g, paxos_leader(g->px));
    if (leader) g->leader_hint = leader;
    group_retry(g);
}

void group_emit(void *ctx, const struct paxos_effect *fx)
{
    struct group *g = ctx;
    switch (fx->type) {
    case PAXOS_FX_APPEND_PROMISE:
    case PAXOS_FX_APPEND_ENTRY:
    case PAXOS_FX_APPEND_CHOSEN: fx_append(g, fx); break;
    case PAXOS_FX_SEND: fx_send(g, fx); break;
    case PAXOS_FX_CHOSEN: fx_chosen(g, fx); break;
    case PAXOS_FX_RELEASE: value_release(fx->value); break;
    case PAXOS_FX_ROLE: fx_role(g); break;
    case PAXOS_FX_DROPPED: group_era_end(g); break;
    case PAXOS_FX_SERVING:
        if (!g->overtaken) group_era_begin(g); /* else it resigns shortly (seed 4002375) */
        break;
    case PAXOS_FX_READ_READY:
        if (g->leading && fx->seq > g->read_confirmed) g->read_confirmed = fx->seq;
        g->node->advanced = true;
        break;
    case PAXOS_FX_SERVE_FETCH: fx_serve_fetch(g, fx); break;
    default: ASSERT(!"an effect that paxos.h does not name");
    }
}

void group_ring_grow(struct group *g, uint32_t wanted)
{
    if (wanted <= g->ring_capacity) return;
    uint32_t capacity = g->ring_capacity;
    while (capacity < wanted) capacity *= 2;
    struct paxos_slot *bigger = mem_zalloc(capacity * paxos_slot_size());
    mem_free(paxos_ring_replace(g->px, bigger, capacity));
    g->ring = bigger;
    g->ring_capacity = capacity;
}

void group_settle(struct group *g)
{
    group_set_floor(g); /* a configuration, or the end of a transfer, may have raised it */
    if (!g->later_count) {
        mem_free(g->later);
        g->later = NULL;
        g->later_capacity = g->later_head = 0;
    }
    uint32_t least = g->px ? paxos_ring_least(g->px) : g->ring_capacity;
    if (least >= g->ring_capacity) return;
    g->ring_capacity = least;
    g->ring = mem_zalloc(least * paxos_slot_size());
    mem_free(paxos_ring_replace(g->px, g->ring, least));
}

void group_ring_fit(struct group *g, const struct paxos_event *ev)
{
    group_ring_grow(g, paxos_ring_wanted(g->px, ev));
}

void group_step(struct group *g, struct paxos_event *ev)
{
    struct node *n = g->node;
    if (!g->px || g->broken || n->dead) return;
    ev->now = io_now(n->io);
    ev->random = io_random(n->io);
    group_busy(g);
    group_ring_fit(g, ev);
    g->tick_at = 0;
    paxos_step(g->px, ev, &(struct paxos_sink){group_emit, g});
    if (paxos_config_id(g->px).position != g->config_id.position) group_configured(g);
}

/* Another configuration is in force. Who is no member any more is forgotten. */
void group_configured(struct group *g)
{
    g->config = *paxos_config(g->px);
    g->config_id = paxos_config_id(g->px);
    for (int i = 0; i < GROUP_PEERS; i++) {
        struct group_peer *gp = &g->peer[i];
        if (!gp->node || group_replica_on(g, gp->node)) continue;
        transfer_stop(g, gp);
        *gp = (struct group_peer){0};
    }
    g->reconcile_at = 0;
    g->node->state_at = 0;
    g->node->leader_epoch++;
    trace_line("group %u: configuration of position %llu, %u members", g->id,
               (unsigned long long)g->config_id.position, g->config.count);
}

void group_message(struct group *g, struct bytes payload, uint16_t from)
{
    struct paxos_entry entries[ENTRIES_MAX];
    struct bytes values[ENTRIES_MAX];
    struct paxos_message m;
    struct node *n = g->node;

    if (!g->px) return; /* of a group that this node is only to have, or had */
    if (!paxos_message_decode(payload, &m, entries, values, ENTRIES_MAX)) {
        n->stats.bad_frames++;
        return;
    }
    if (m.to != g->replica) return; /* to an earlier replica here */
    if (!node_of_replica(g, m.from)) stranger_note(g, m.from, from);
    if (node_of_replica(g, m.from) != from) {
        n->stats.bad_frames++;
        return;
    }
    if (n->log_stuck && m.entry_count) return; /* what cannot be written is not accepted */
    for (uint32_t i = 0; i < m.entry_count; i++) {
        if (entries[i].size == values[i].size &&
            (!values[i].size || hash64(values[i], 0) == entries[i].hash))
            continue;
        n->stats.bad_frames++;
        return;
    }
    for (uint32_t i = 0; i < m.entry_count; i++)
        entries[i].value = values[i].size ? value_new(values[i]) : NULL;
    if (tracing(g) && m.type == PAXOS_ACCEPTED) trace_accepted(g, m.position, from);
    group_step(g, &(struct paxos_event){.type = PAXOS_EV_MESSAGE, .message = &m});
}

void group_synced(struct group *g, uint64_t lsn)
{
    ASSERT(lsn > g->lsn_synced);
    g->lsn_synced = lsn;
    if (tracing(g)) trace_synced(g, lsn);
    later_send(g);
    group_step(g, &(struct paxos_event){.type = PAXOS_EV_SYNCED, .lsn = lsn});
}

/* ---- the turn ---- */

static void propose(struct group *g)
{
    struct buf *batch = &g->shard->batch;
    if (g->node->dead || !paxos_can_propose(g->px, (uint32_t)batch->size))
        return; /* the window is full: the batch goes on growing */

    struct value *v = value_new(buf_bytes(batch));
    ASSERT(paxos_next_position(g->px) == g->shard->next);
    g->node->stats.effects_bytes += v->size;
    g->dirty = false;
    shard_proposed(g->shard);
    group_step(g, &(struct paxos_event){.type = PAXOS_EV_PROPOSE,
                                        .value = v,
                                        .size = v->size,
                                        .hash = hash64(value_bytes(v), 0)});
}

/* The configuration that is wanted goes out once nothing of this leader's waits to be proposed:
 * what was evaluated stands at the next position already. */
static void reconfigure(struct group *g)
{
    if (!g->config_wanted.size || g->shard->batch.size || !paxos_can_reconfigure(g->px)) return;
    struct value *v = value_new(buf_bytes(&g->config_wanted));
    ASSERT(paxos_next_position(g->px) == g->shard->next);
    buf_clear(&g->config_wanted);
    g->draining = false; /* the machine takes no proposal before it is chosen */
    shard_passed(g->shard);
    group_step(g, &(struct paxos_event){.type = PAXOS_EV_RECONFIGURE,
                                        .value = v,
                                        .size = v->size,
                                        .hash = hash64(value_bytes(v), 0)});
}

/* Reads of this turn are good if the lease still runs now, after they were made (PROTOCOLS 1.4);
 * else a quorum is asked. */
static void confirm_reads(struct group *g)
{
    struct node *n = g->node;
    uint64_t now = MUTANT(MUTANT_LEASE_BEFORE_READ) ? n->turned_at : io_now(n->io);
    g->reads_this_turn = false;
    if (n->config.read_mode == NODE_READ_LEASE && now < paxos_lease_end(g->px)) {
        g->read_confirmed = g->read_open;
        n->advanced = true;
        n->stats.reads_lease++;
    } else {
        n->stats.reads_quorum++;
        group_step(g, &(struct paxos_event){.type = PAXOS_EV_READ, .seq = g->read_open});
    }
    g->read_open++;
}

void group_turn(struct group *g)
{
    if (g->retry_waiting) {
        g->retry_waiting = false;
        if (!list_empty(&g->waiting)) request_retry_group(g);
    }
    if (!g->leading || g->broken) return;
    if (g->reads_this_turn) confirm_reads(g);
    if (g->leading && g->shard->batch.size) propose(g);
    if (g->leading && g->config_wanted.size) reconfigure(g);
    if (g->leading && g->successor && !g->shard->batch.size) {
        uint16_t to = g->successor;
        g->successor = 0;
        group_step(g, &(struct paxos_event){.type = PAXOS_EV_TRANSFER, .to = to});
    }
}

/* To look at an expired key is to delete it (redis/object.h). What is locked is left to whoever has
 * it. */
static bool touch(void *ctx, struct view *v, struct bytes row)
{
    const struct group *g = ctx;
    struct bytes key = keys_user(row, KEYS_EXPIRY_HEAD);
    struct object o;
    if (row.data[2] == KEYS_ONCE_EXPIRY) {
        once_expire(v, row);
        return true;
    }
    if (locks_bar(&g->locks, key, LOCK_EXCLUSIVE)) return false;
    (void)object_get(v, key, &o);
    return true;
}

static void expire_fetched(void *ctx, struct space_fetch *f)
{
    struct group *g = ctx;
    g->expire_fetching = false;
    if (f->result != ENGINE_E_IO) g->expire_at_ms = 0;
}

static void expire_fetch(struct group *g)
{
    struct space_fetch *f = &g->expire_fetch;
    const struct view *v = &g->node->view;
    buf_clear(&f->lo);
    buf_clear(&f->hi);
    buf_append_bytes(&f->lo, buf_bytes(&v->miss_lo));
    buf_append_bytes(&f->hi, buf_bytes(&v->miss_hi));
    f->limit = 1024;
    f->reverse = v->miss_reverse;
    f->done = expire_fetched;
    f->ctx = g;
    g->expire_fetching = true;
    space_fetch(g->shard->space, f);
}

static void expire(struct group *g)
{
    struct node *n = g->node;
    if (!g->leading || g->expire_fetching || !group_can_write(g)) return;
    int64_t now_ms = group_time_ms(g);
    if (now_ms < g->expire_at_ms) return;
    uint64_t before = g->shard->batch.size;
    int64_t wait = shard_expire(g->shard, &n->view, touch, g, now_ms, io_random(n->io));
    if (wait == -1) expire_fetch(g);
    if (wait < 0) wait = 1000;
    g->expire_at_ms = now_ms + wait;
    if (g->shard->batch.size == before) return;
    g->dirty = true;
    group_wake(g);
}

/* Where thousands of groups lose their leader at once, all their campaigns together would take
 * longer than a candidate waits, again and again. So only some campaign at a time, and a few more
 * in each turn, for those may be of groups that nobody can lead. */
static bool may_campaign(struct group *g)
{
    struct node *n = g->node;
    if (paxos_role(g->px) != PAXOS_FOLLOWER || paxos_leader(g->px)) return true; /* it will not */
    if (n->campaigning >= n->config.campaigns_max &&
        n->campaigns_begun >= (n->config.campaigns_max + 7) / 8)
        return false;
    n->campaigns_begun++;
    return true;
}

/* A heartbeat may move the deadline on, and only an event brings it nearer (group_step looks
 * again). */
static void tick(struct group *g)
{
    if (g->node->now < g->tick_at) return;
    g->tick_at = paxos_deadline(g->px);
    if (g->node->now >= g->tick_at && may_campaign(g))
        group_step(g, &(struct paxos_event){.type = PAXOS_EV_TICK});
}

/* Others wait for it: for what a split bore, for the record of a seal or a merge; or a merge waits,
 * which a wipe in memory would hide. */
static bool wants_flush(const struct group *g)
{
    const struct shard *s = g->shard;
    return shard_unborn(s) || s->sealed > s->flushed || (g->row.merge_id && s->wiped > s->flushed);
}

void group_slow(struct group *g)
{
    struct node *n = g->node;
    replica_slow(g);
    if (!list_empty(&g->waiting)) group_retry(g);
    if (!list_empty(&g->pins)) pins_slow(g);
    if (!g->px || g->broken) return;
    tick(g);
    merge_slow(g);
    transfer_slow(g);
    if (!g->shard) return;
    if (wants_flush(g) && n->now >= g->flush_retry_at) (void)group_flush(g);
    expire(g);
    txn_slow(g);
    cut_slow(g);
    reconcile(g);
    if (g->shard->batch.size || g->config_wanted.size)
        group_wake(g);                  /* a full window, or a transfer, held it back */
    if (g->past[0]) n->advanced = true; /* a fate may have become unknown by time */
    for (int i = 0; i < GROUP_PAST_ERAS; i++) {
        if (!g->past[i] || n->now - g->past[i]->lost_at < 4 * GROUP_FATE_WAIT) continue;
        mem_free(g->past[i]);
        g->past[i] = NULL;
    }
}

/* Of an idle one: is all that could yet concern it told, by an event of its own (group_busy), or as
 * a change among the nodes (peers_changed)? Keys that expire are awaited. */
bool group_rests(struct group *g)
{
    const struct node *n = g->node;
    if (!g->px) return true;
    /* A merge waits for what becomes of other groups here. */
    if (g->shard->sealed || ring_group_changes(&g->row) || ring_is_merged_away(&g->row))
        return false;
    if (!paxos_rests(g->px, n->now)) return false;
    if (!g->leading) return true;
    return reconcile_rests(g) && !shard_expires(g->shard, group_time_ms(g) + REST_EXPIRY_MS);
}

/* May time yet decide the fate of a position of a lost era (era.c)? */
static bool fate_open(const struct group *g)
{
    for (int i = 0; i < GROUP_PAST_ERAS; i++) {
        const struct past_era *p = g->past[i];
        if (p && p->first < p->end && g->node->now - p->lost_at <= 2 * GROUP_FATE_WAIT) return true;
    }
    return false;
}

/* Will it have to be looked at soon, whatever happens? An idle one is looked at in turn. */
bool group_idle(const struct group *g)
{
    const struct node *n = g->node;
    if (!list_empty(&g->waiting) || g->dying || fate_open(g) || g->transferring || g->installing ||
        g->locks.owners || g->hold.cut)
        return false;
    if (!g->px || !g->shard) return !g->px; /* without a state it asks for a snapshot */
    bool due = g->tick_at < n->now + SOON || g->shard->batch.size || g->draining;
    bool wanted = g->config_wanted.size || ring_group_changes(&g->row) || g->shard->sealed ||
                  g->config_id.position > g->row.config_position;
    bool merged = g->row.merge_id && g->took == g->row.merge_id;
    return !due && !(g->leading && wanted) && !wants_flush(g) && !g->overtaken && !merged;
}
