/* A replica of one group: the glue between paxos (what must be agreed), the log (what must be
 * kept), peers (who must hear) and the shard (what is applied). Paxos' effects are carried out here
 * in the order in which they come. */
#include "node/internal.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "redis/object.h"

#include <errno.h>

#define RING_START  16
#define LEARN_BYTES (1u << 20)
#define ENTRIES_MAX 1024

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

static uint16_t node_of_replica(const struct group *g, uint16_t replica)
{
    for (int i = 0; i < g->config.count; i++)
        if (g->config.member[i].replica == replica) return g->config.member[i].node;
    return 0;
}

uint16_t group_leader_node(const struct group *g)
{
    if (!g->px) return g->leader_hint;
    uint16_t node = node_of_replica(g, paxos_leader(g->px));
    return node ? node : g->leader_hint;
}

bool group_serves(const struct group *g)
{
    return g->leading && !g->broken;
}

/* ---- leaderships ---- */

/* Replies of the era that ends wait for the fate of its open positions (see group_hold_state). */
static void era_end(struct group *g)
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
    g->era++;
    shard_lost(g->shard);
    g->node->advanced = true;
    trace_line("group %u: leadership of era %u ended", g->id, g->era - 1);
}

static void era_begin(struct group *g)
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

static void fates_note(struct group *g, const struct paxos_entry *e, bool valid)
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
    struct group *g = &n->groups[h->group];
    if (MUTANT(MUTANT_REPLY_BEFORE_CHOSEN)) return HOLD_READY;
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

bool group_can_write(struct group *g)
{
    if (g->shard->batch.size >= g->shard->batch_max || g->node->memory_full) return false;
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

static void hint_note(struct group *g, uint64_t chosen, uint64_t log_lsn);

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
    hint_note(g, r.chosen, log_lsn);
}

/* ---- applying ---- */

static void fx_chosen(struct group *g, const struct paxos_effect *fx)
{
    struct node *n = g->node;
    const struct paxos_entry *e = fx->entry;
    bool own = g->leading && e->born == g->era_ballot;

    if (tracing(g)) trace_chosen(g, e->position);
    if (!g->broken) {
        if (!shard_apply(g->shard, e, fx->valid, value_bytes(e->value), own)) {
            g->broken = true;
            node_fatal(n,
                       "group %u: the chosen entry at position %llu cannot be applied; this is a "
                       "bug or damage in memory, the node stops",
                       g->id, (unsigned long long)e->position);
        }
        if (n->config.applied) n->config.applied(n->config.ctx, g->id, e, fx->valid, e->hash);
        fates_note(g, e, fx->valid);
        n->advanced = true;
        n->stats.entries++;
        if (g->shard->batch.size) group_wake(g); /* there is room in the window again */
        if (!list_empty(&g->waiting)) group_retry(g);
    }
    if (fx->take_value) value_release(e->value);
}

/* ---- catching peers up from the log ---- */

struct learn {
    struct list link; /* node->learns */
    struct log_read read;
    struct group *group;
    uint16_t to; /* replica */
    uint16_t node;
};

static void learn_done(void *ctx, struct log_read *r, const struct log_record *records,
                       uint32_t count)
{
    struct learn *l = ctx;
    struct group *g = l->group;
    (void)r;
    node_begin(g->node);
    g->fetch_busy &= ~(1ull << l->node);
    struct buf *out = count ? peer_out(g->node, l->node) : NULL;
    if (out && g->px) {
        struct paxos_entry *entries = mem_alloc(count * sizeof *entries);
        for (uint32_t i = 0; i < count; i++) {
            entries[i] = records[i].entry;
            entries[i].value = records[i].value.size ? value_new(records[i].value) : NULL;
        }
        struct paxos_message m = {.type = PAXOS_LEARN,
                                  .from = g->replica,
                                  .to = l->to,
                                  .chosen = paxos_chosen(g->px),
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

    if (!node || node == n->identity.node || (g->fetch_busy >> node & 1)) return;
    if (!first || fx->position < first) {
        if (g->behind_warned_at && n->now - g->behind_warned_at < 10000 * MS) return;
        node_log(n,
                 "group %u: node %u wants position %llu but the log begins at %llu; it needs a "
                 "snapshot, which this version cannot send",
                 g->id, node, (unsigned long long)fx->position, (unsigned long long)first);
        g->behind_warned_at = n->now;
        return;
    }
    uint64_t last = fx->position + PAXOS_ENTRIES_MAX - 1; /* more in one message is refused */
    struct learn *l = mem_zalloc(sizeof *l);
    l->group = g;
    l->to = fx->to;
    l->node = node;
    l->read = (struct log_read){.group = g->id,
                                .position = fx->position,
                                .last = fx->chosen < last ? fx->chosen : last,
                                .bytes_max = LEARN_BYTES,
                                .done = learn_done,
                                .ctx = l};
    g->fetch_busy |= 1ull << node;
    n->stats.learned++;
    list_push(&n->learns, &l->link);
    log_read(n->log, &l->read);
}

/* ---- paxos' effects ---- */

static void fx_role(struct group *g)
{
    g->node->leader_epoch++;
    if (g->leading && paxos_role(g->px) != PAXOS_LEADER) era_end(g);
    uint16_t leader = node_of_replica(g, paxos_leader(g->px));
    if (leader) g->leader_hint = leader;
    group_retry(g);
}

static void group_emit(void *ctx, const struct paxos_effect *fx)
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
    case PAXOS_FX_DROPPED: era_end(g); break;
    case PAXOS_FX_SERVING: era_begin(g); break;
    case PAXOS_FX_READ_READY:
        if (g->leading && fx->seq > g->read_confirmed) g->read_confirmed = fx->seq;
        g->node->advanced = true;
        break;
    case PAXOS_FX_SERVE_FETCH: fx_serve_fetch(g, fx); break;
    default: ASSERT(!"an effect that paxos.h does not name");
    }
}

static void ring_grow(struct group *g, uint32_t wanted)
{
    if (wanted <= g->ring_capacity) return;
    uint32_t capacity = g->ring_capacity;
    while (capacity < wanted) capacity *= 2;
    struct paxos_slot *bigger = mem_zalloc(capacity * paxos_slot_size());
    mem_free(paxos_ring_replace(g->px, bigger, capacity));
    g->ring = bigger;
    g->ring_capacity = capacity;
}

static void ring_fit(struct group *g, const struct paxos_event *ev)
{
    ring_grow(g, paxos_ring_wanted(g->px, ev));
}

void group_step(struct group *g, struct paxos_event *ev)
{
    struct node *n = g->node;
    if (!g->px || g->broken || n->dead) return;
    ev->now = io_now(n->io);
    ev->random = io_random(n->io);
    ring_fit(g, ev);
    g->tick_at = 0;
    paxos_step(g->px, ev, &(struct paxos_sink){group_emit, g});
}

void group_message(struct group *g, struct bytes payload, uint16_t from)
{
    struct paxos_entry entries[ENTRIES_MAX];
    struct bytes values[ENTRIES_MAX];
    struct paxos_message m;
    struct node *n = g->node;

    if (!g->px || !paxos_message_decode(payload, &m, entries, values, ENTRIES_MAX) ||
        node_of_replica(g, m.from) != from || m.to != g->replica) {
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
}

/* To look at an expired key is to delete it (redis/object.h). */
static void touch(struct view *v, struct bytes key)
{
    struct object o;
    (void)object_get(v, key, &o);
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
    int64_t wait = shard_expire(g->shard, &n->view, touch, now_ms, io_random(n->io));
    if (wait == -1) expire_fetch(g);
    if (wait < 0) wait = 1000;
    g->expire_at_ms = now_ms + wait;
    if (g->shard->batch.size == before) return;
    g->dirty = true;
    group_wake(g);
}

/* A heartbeat may move the deadline on, and only an event brings it nearer (group_step looks
 * again). */
static void tick(struct group *g)
{
    if (g->node->now < g->tick_at) return;
    g->tick_at = paxos_deadline(g->px);
    if (g->node->now >= g->tick_at) group_step(g, &(struct paxos_event){.type = PAXOS_EV_TICK});
}

void group_slow(struct group *g)
{
    struct node *n = g->node;
    if (!g->px || g->broken) return;
    tick(g);
    expire(g);
    if (!list_empty(&g->waiting)) group_retry(g);
    if (g->shard->batch.size) group_wake(g); /* a full window, or a transfer, held it back */
    if (g->past[0]) n->advanced = true;      /* a fate may have become unknown by time */
    for (int i = 0; i < GROUP_PAST_ERAS; i++) {
        if (!g->past[i] || n->now - g->past[i]->lost_at < 4 * GROUP_FATE_WAIT) continue;
        mem_free(g->past[i]);
        g->past[i] = NULL;
    }
}

/* ---- keeping the log short ---- */

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
    return g->chosen_durable > g->shard->flushed ? g->chosen_durable : g->shard->flushed;
}

/* A record that says `chosen` was appended. */
static void hint_note(struct group *g, uint64_t chosen, uint64_t log_lsn)
{
    if (chosen <= g->hint_last) return;
    g->hint_last = chosen;
    g->hint_last_lsn = log_lsn;
    if (g->hint_next) return;
    g->hint_next = chosen;
    g->hint_next_lsn = log_lsn;
}

void group_peer_state(struct group *g, uint16_t node, const struct wire_state *s)
{
    if (s->chosen > g->peer_chosen[node]) g->peer_chosen[node] = s->chosen;
    if (s->flushed > g->peer_flushed[node]) g->peer_flushed[node] = s->flushed;
    g->peer_heard[node] = g->node->now;
    group_set_floor(g);
}

/* Entries may go once the engine has them here and every member has them chosen: this version has
 * no other way to bring a member up. */
void group_set_floor(struct group *g)
{
    uint64_t floor = g->shard->flushed + 1;
    for (int i = 0; i < g->config.count; i++) {
        uint16_t node = g->config.member[i].node;
        if (node == g->node->identity.node) continue;
        if (g->peer_chosen[node] + 1 < floor) floor = g->peer_chosen[node] + 1;
    }
    log_set_floor(g->node->log, g->id, floor);
}

/* The engine may not know more than this node's own log: what was applied because others have it on
 * disk, while our write of it is still under way, waits. Else a crash could leave, at a position
 * that the engine covers, only an entry of an older ballot in the log, and it would be served to
 * peers as chosen (docs/PAXOS.md, what the node owes). */
static bool log_covers_applied(const struct group *g)
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
    return log_covers_applied(g) && shard_flush(g->shard);
}

static void shard_flush_done(void *ctx, struct shard *s, int error)
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
    (void)s;
    n->engine_bytes_at = 0; /* it has grown */
    group_set_floor(g);
}

/* ---- life ---- */

bool group_open(struct group *g, char *error, size_t error_size)
{
    struct node *n = g->node;
    list_init(&g->waiting);
    if (!g->replica) return true;
    g->shard = shard_new(&(struct shard_options){.io = n->io,
                                                 .engine = n->config.engine,
                                                 .cache = n->cache,
                                                 .group = g->id,
                                                 .batch_max = n->batch_max,
                                                 .effects_max = n->effects_max,
                                                 .flushed = shard_flush_done,
                                                 .ctx = g},
                         error, error_size);
    if (!g->shard) return false;
    ASSERT(g->shard->replica == g->replica && g->shard->slot_lo == g->slot_lo &&
           g->shard->slot_hi == g->slot_hi);

    struct paxos_options options = {.replica = g->replica,
                                    .config = g->config,
                                    .preferred = g->config.member[g->id % g->config.count].replica,
                                    .leases = &n->leases,
                                    .election_timeout_ns = n->config.election_ms * MS,
                                    .window_entries = 256,
                                    .window_bytes = 8u << 20,
                                    .retain_bytes = 4u << 20};
    g->px = mem_zalloc(paxos_size());
    g->ring_capacity = RING_START;
    g->ring = mem_zalloc(g->ring_capacity * paxos_slot_size());
    paxos_init(g->px, &options, g->ring, g->ring_capacity);
    paxos_restore_applied(g->px, g->shard->applied, g->shard->last_valid);
    return true;
}

void group_restore(struct group *g, const struct log_record *r)
{
    struct paxos_sink sink = {group_emit, g};
    if (!g->px || r->replica != g->replica) return;

    ring_fit(g, NULL);
    if (r->type == LOG_PROMISE) paxos_restore_promise(g->px, r->promised);
    if (r->type == LOG_ENTRY) {
        struct paxos_entry e = r->entry;
        e.value = r->value.size ? value_new(r->value) : NULL;
        ring_grow(g, paxos_restore_ring_wanted(g->px, e.position));
        paxos_restore_entry(g->px, &e, &sink);
    }
    if (r->chosen) paxos_restore_chosen(g->px, r->chosen);
    paxos_restore_emit(g->px, &sink);
}

void group_start(struct group *g)
{
    if (!g->px) return;
    struct node *n = g->node;
    ring_fit(g, NULL);
    g->tick_at = 0;
    paxos_start(g->px, io_now(n->io), io_random(n->io), 0, &(struct paxos_sink){group_emit, g});
    g->chosen_durable = paxos_chosen(g->px);
}

static void drop_effect(void *ctx, const struct paxos_effect *fx)
{
    (void)ctx;
    if (fx->type == PAXOS_FX_RELEASE) value_release(fx->value);
    if (fx->type == PAXOS_FX_CHOSEN && fx->take_value) value_release(fx->entry->value);
}

void group_free(struct group *g)
{
    if (g->px) paxos_deinit(g->px, &(struct paxos_sink){drop_effect, NULL});
    mem_free(g->px);
    mem_free(g->ring);
    for (uint32_t i = 0; i < g->later_count; i++)
        buf_deinit(&g->later[(g->later_head + i) % g->later_capacity].frame);
    mem_free(g->later);
    for (int i = 0; i < GROUP_PAST_ERAS; i++) mem_free(g->past[i]);
    buf_deinit(&g->expire_fetch.lo);
    buf_deinit(&g->expire_fetch.hi);
    shard_free(g->shard);
}
