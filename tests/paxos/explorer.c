/* The explorer: breadth-first search over the real paxos_step.
 *
 * A world is three replicas (machine, ring, lease rows, disk), a network and a few budgets. Its
 * successors are all that may happen next: any message in the network is delivered (or, from a
 * budget, delivered and kept: a duplicate), a log write completes, a replica crashes, keeping any
 * prefix of what was not on disk, and restarts; a replica campaigns; a leader proposes. A message
 * that is never delivered is lost. So all orders, losses and delays are covered within the bounds.
 * With --leases there is also time: it passes by one unit, heartbeats are sent and answered (as
 * messages, so they too arrive late or never), and leaders hand over or resign.
 *
 * Checked in every world: P-numbers are those of docs/PAXOS.md.
 *   one value per ballot and position (P3); what anybody takes as chosen was accepted by a
 * majority, on disk, at one ballot, and no position has two such values (agreement); valid or not
 * is what the fold of chosen entries says, equal on all replicas (P7); promises survive restarts
 * (P2); no promise, accepted or prepare leaves before all appends ahead of it are on disk (P2); a
 * leader that serves holds everything chosen (P5); nothing is chosen at one leader while another's
 * lease runs (P8).
 *
 * Bounds that keep it small, none of which hides an order of events: campaigns begin with PREPARE
 * (the pre-vote changes nothing that is checked here); refusals that carry no information but a
 * ballot are lost; messages that their receiver can only ignore are taken out; the first campaign
 * is replica 2's (replicas differ only in the order of their ids, and the others come after or
 * before it). States are told apart by a 128-bit hash of what matters in them.
 *
 * With four replicas (EXPLORER_REPLICAS) leaders also change the members, {1,2,3} -> {2,3,4} ->
 * {4}. Who decides at a position is then found from the history alone: the chosen CONFIG entries
 * below it, each on its base; and a vote counts only if its proposer counts that configuration's
 * votes. */
#include "explorer.h"

#include "base/buf.h"
#include "paxos/msg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bounds bound = {2, 1, 1, 1, 0, 0, 0, 1, N == 3 ? 0 : 1, 1, false};

struct world *w;                    /* the world at work */
static struct lease_table table[N]; /* its lease tables, rows loaded */
const char *violation;
bool out_of_bounds, narrate;

void violate(const char *what)
{
    if (!violation) violation = what;
}

/* ---- identity ---- */

static uint64_t entry_identity(const struct paxos_entry *e)
{
    return hash_mix(hash_mix(e->born * 31 + e->base.position) ^
                    hash_mix(e->base.born + e->hash * 7) ^ e->kind) |
           1;
}

static int ballot_index(paxos_ballot b)
{
    uint64_t round = paxos_ballot_round(b), id = paxos_ballot_replica(b);
    if (round < 1 || round > ROUNDS || id < 1 || id > N) return -1;
    return (int)((round - 1) * N + id - 1);
}

/* ---- who decides where: from the history alone, not by what a machine believes ---- */

#define CONFIG_VALUE 1000 /* and above: the values that are configurations */
enum { CONFIGS = 3 };
/* {1,2,3}, with learner 4 if there are four and --learners is not 0; {2,3,4}; {4}. */
static const uint8_t config_voters[CONFIGS] = {0x7, 0xe, 0x8};

static struct paxos_config config_of(uint32_t number)
{
    struct paxos_config c = {.next_replica = N + 1};
    for (uint16_t i = 1; i <= N; i++)
        if (config_voters[number] >> (i - 1) & 1)
            c.member[c.count++] = (struct paxos_member){i, i, PAXOS_VOTER};
        else if (number == 0 && bound.learners)
            c.member[c.count++] = (struct paxos_member){i, i, PAXOS_LEARNER};
    return c;
}

static uint8_t number_of(const struct paxos_config *c)
{
    uint8_t voters = 0;
    for (int i = 0; i < c->count; i++)
        voters |= (uint8_t)((c->member[i].role == PAXOS_VOTER) << (c->member[i].replica - 1));
    return voters == config_voters[0] ? 0 : voters == config_voters[1] ? 1 : 2;
}

static struct bytes value_of(void *handle)
{
    static uint8_t bytes[64];
    uint64_t id = (uint64_t)(uintptr_t)handle;
    if (id < CONFIG_VALUE || id >= CONFIG_VALUE + CONFIGS) return BYTES("");
    struct paxos_config c = config_of((uint32_t)(id - CONFIG_VALUE));
    struct buf b = {0};
    paxos_config_encode(&c, &b);
    size_t size = b.size;
    memcpy(bytes, b.data, size);
    buf_deinit(&b);
    return bytes_of(bytes, size);
}

static bool majority(uint8_t members, uint32_t config)
{
    uint8_t voters = config_voters[config];
    return __builtin_popcount(members & voters) * 2 > __builtin_popcount(voters);
}

struct force {
    uint32_t config;
    uint8_t position, born; /* of the entry that set it; born: index + 1 */
};

/* Is what was accepted there chosen? Only a proposer that counts the votes of the configuration in
 * force can come to know; what others accepted is no vote for it (docs/PAXOS.md, P15). */
static bool is_choice(int b, uint64_t p, uint32_t config)
{
    return w->under[b][p] == config && majority(w->accepted[b][p], config);
}

/* The configuration in force at position p: those chosen below it, one after the other. */
static struct force in_force(uint64_t p)
{
    struct force f = {0, 0, 0};
    for (uint64_t q = 1; q < p && w->configs; q++)
        for (int b = 0; b < BALLOTS; b++) {
            const struct xconfig *c = &w->config[b][q];
            if (!c->next || c->base_position != f.position || c->base_born != f.born) continue;
            if (!is_choice(b, q, f.config)) continue;
            f = (struct force){c->next, (uint8_t)q, c->born};
            break;
        }
    return f;
}

/* ---- effects ---- */

static bool is_chosen_on_disk(const struct paxos_entry *e)
{
    struct force f = in_force(e->position);
    for (int b = 0; b < BALLOTS; b++)
        if (is_choice(b, e->position, f.config) && w->value[b][e->position] == entry_identity(e))
            return true;
    return false;
}

static void check_agreement(uint64_t from)
{
    for (uint64_t p = from; p < POSITIONS && (p == from || w->configs); p++) {
        struct force f = in_force(p);
        uint64_t chosen = 0;
        for (int b = 0; b < BALLOTS; b++) {
            if (!is_choice(b, p, f.config)) continue;
            if (chosen && chosen != w->value[b][p])
                violate("agreement: two values were accepted by majorities at one position");
            chosen = w->value[b][p];
        }
    }
}

/* A machine is where the entries it took as chosen have brought it. */
static void check_config(const struct xreplica *r, const struct paxos_effect *fx)
{
    struct force before = in_force(fx->position), after = in_force(fx->position + 1);
    if (fx->valid != (before.position != after.position))
        violate("a CONFIG entry is valid where it does not follow the configuration in force");
    if (r->px.opt.config_id.position != after.position)
        violate("a machine is in another configuration than the one in force");
}

static uint64_t local_now(void)
{
    return EPOCH + w->now * UNIT;
}

static void on_append(struct xreplica *r, struct xrecord rec)
{
    if (r->tail_count == TAIL || (!rec.promised && rec.entry.position >= POSITIONS)) {
        out_of_bounds = true;
        return;
    }
    int b = ballot_index(rec.promised ? rec.promised : rec.entry.ballot);
    if (b < 0) {
        out_of_bounds = true;
        return;
    }
    if (!rec.promised) {
        rec.learned = rec.chosen >= rec.entry.position;
        uint64_t *value = &w->value[b][rec.entry.position], identity = entry_identity(&rec.entry);
        if (*value && *value != identity) violate("two values at one ballot and position");
        *value = identity;
        const struct paxos_entry *e = &rec.entry;
        if (r->px.role == PAXOS_LEADER) w->under[b][e->position] = number_of(&r->px.opt.config);
        if (e->kind == PAXOS_CONFIG)
            w->config[b][e->position] = (struct xconfig){
                (uint8_t)(e->hash - CONFIG_VALUE), (uint8_t)e->base.position,
                (uint8_t)(ballot_index(e->base.born) + 1), (uint8_t)(ballot_index(e->born) + 1)};
    }
    r->tail[r->tail_count++] = rec;
}

static bool wanted(const struct paxos_message *m)
{
    switch (m->type) {
    case PAXOS_FETCH: /* this, or a gap, begins a catch-up; from a budget, beyond which they are
                         lost */
        if (w->fetches == bound.fetches) return false;
        w->fetches += 1;
        return true;
    case PAXOS_PREVOTE:
    case PAXOS_PREVOTE_OK: return false;
    case PAXOS_NACK:
        if (m->flags & PAXOS_F_BEHIND) return true;
        if (!(m->flags & PAXOS_F_GAP) || w->fetches == bound.fetches) return false;
        w->fetches += 1;
        return true;
    case PAXOS_RESIGNED: return bound.leases;
    default: return true;
    }
}

static void describe(const struct xmessage *x)
{
    const struct paxos_message *m = &x->m;
    if (m->type >= X_HEARTBEAT) {
        printf("%s %u->%u sent at %llu", m->type == X_HEARTBEAT ? "heartbeat" : "answer", m->from,
               m->to, (unsigned long long)((m->position - EPOCH) / UNIT));
        return;
    }
    printf("%s %u->%u b=%llu.%u position=%llu chosen=%llu", paxos_message_name(m->type), m->from,
           m->to, (unsigned long long)paxos_ballot_round(m->ballot),
           paxos_ballot_replica(m->ballot), (unsigned long long)m->position,
           (unsigned long long)m->chosen);
    for (uint32_t i = 0; i < m->entry_count; i++)
        printf(" [%llu: %s v=%llu b=%llu.%u born=%llu.%u base=%llu]",
               (unsigned long long)x->entry[i].position,
               x->entry[i].kind == PAXOS_NOOP   ? "noop"
               : x->entry[i].kind == PAXOS_DATA ? "data"
                                                : "config",
               (unsigned long long)x->entry[i].hash,
               (unsigned long long)paxos_ballot_round(x->entry[i].ballot),
               paxos_ballot_replica(x->entry[i].ballot),
               (unsigned long long)paxos_ballot_round(x->entry[i].born),
               paxos_ballot_replica(x->entry[i].born),
               (unsigned long long)x->entry[i].base.position);
}

static void net_put(const struct xmessage *x)
{
    if (w->net_count == NET)
        out_of_bounds = true;
    else
        w->net[w->net_count++] = *x;
}

static void on_send(struct xreplica *r, const struct paxos_effect *fx)
{
    const struct paxos_message *m = fx->message;
    if (!wanted(m)) return;
    if (m->entry_count > ENTRIES) {
        out_of_bounds = true;
        return;
    }
    bool depends = m->type == PAXOS_PREPARE || m->type == PAXOS_PROMISE ||
                   m->type == PAXOS_ACCEPTED || m->type == PAXOS_CONFIRMED;
    if (depends && r->tail_count && fx->after_lsn < r->tail[r->tail_count - 1].lsn)
        violate("a message leaves before what it speaks of is on disk");
    struct xmessage x;
    memset(&x, 0, sizeof x);
    x.m = *m;
    x.m.entries = NULL;
    for (uint32_t i = 0; i < m->entry_count; i++) x.entry[i] = m->entries[i];
    if (narrate)
        printf("      sends "), describe(&x), printf("%s\n", fx->after_lsn ? " (after sync)" : "");
    if (r->tail_count == 0 || fx->after_lsn < r->tail[0].lsn) {
        net_put(&x);
    } else if (r->wait_count == WAITS) {
        out_of_bounds = true;
    } else {
        memset(&r->wait[r->wait_count], 0, sizeof r->wait[0]);
        r->wait[r->wait_count].after = fx->after_lsn;
        r->wait[r->wait_count++].x = x;
    }
}

static void on_chosen(struct xreplica *r, const struct paxos_effect *fx)
{
    const struct paxos_entry *e = fx->entry;
    if (narrate)
        printf("      chosen at %u: %llu v=%llu%s\n", r->px.opt.replica,
               (unsigned long long)e->position, (unsigned long long)e->hash,
               fx->valid ? " valid" : "");
    if (e->position >= POSITIONS) return;
    bool valid = e->kind == PAXOS_DATA && e->base.position == r->last_valid.position &&
                 e->base.born == r->last_valid.born;
    if (valid) {
        r->last_valid = (struct paxos_id){e->position, e->born};
        r->fold = hash_mix(r->fold ^ entry_identity(e));
    }
    if (e->position != r->applied + 1) violate("chosen out of order");
    r->applied = e->position;
    if (e->kind != PAXOS_CONFIG && valid != fx->valid)
        violate("effect chain: an entry was applied on another state than it was evaluated on");
    if (!is_chosen_on_disk(e)) violate("an entry was taken as chosen that no majority has on disk");
    uint64_t *truth = &w->truth[e->position], *fold = &w->fold[e->position];
    if (*truth && *truth != entry_identity(e))
        violate("agreement: two replicas took different values as chosen");
    if (*truth && *fold != r->fold) violate("states differ at one position");
    *truth = entry_identity(e);
    *fold = r->fold;
    if (e->kind == PAXOS_CONFIG) check_config(r, fx);
    if (r->px.role != PAXOS_LEADER || !r->px.started) return;
    for (int i = 0; i < N; i++) {
        const struct paxos *o = &w->r[i].px;
        if (o != &r->px && o->role == PAXOS_LEADER && o->ballot < r->px.ballot &&
            o->chosen < e->position && paxos_lease_end(o) > local_now())
            violate("lease: an entry is chosen while another leader's lease runs");
    }
}

/* The log of a follower that is asked for chosen entries: the newest record of each position. */
static void on_serve_fetch(struct xreplica *r, const struct paxos_effect *fx)
{
    struct xmessage x;
    memset(&x, 0, sizeof x);
    x.m = (struct paxos_message){.type = PAXOS_LEARN,
                                 .from = r->px.opt.replica,
                                 .to = fx->to,
                                 .position = fx->position - 1,
                                 .chosen = fx->chosen};
    for (uint64_t p = fx->position; p <= fx->chosen && x.m.entry_count < ENTRIES; p++) {
        const struct paxos_entry *e = &r->disk_entry[p];
        for (uint32_t i = 0; i < r->tail_count; i++)
            if (!r->tail[i].promised && r->tail[i].entry.position == p) e = &r->tail[i].entry;
        if (e->position != p) violate("a chosen entry is not in the log");
        x.entry[x.m.entry_count++] = *e;
    }
    net_put(&x);
}

/* A leader that begins to serve holds all that was or may yet be chosen below its ballot. (Above
 * it, others may lead already: that is what leases and confirmations are for.) */
static void check_complete(const struct xreplica *r)
{
    for (uint64_t p = r->px.chosen + 1; p < POSITIONS; p++)
        for (int b = 0; b < ballot_index(r->px.ballot); b++)
            if (is_choice(b, p, in_force(p).config))
                violate("a leader serves that lacks something chosen before it");
}

static void on_effect(void *ctx, const struct paxos_effect *fx)
{
    struct xreplica *r = ctx;
    struct xrecord rec;
    memset(&rec, 0, sizeof rec);
    rec.lsn = fx->lsn;
    switch (fx->type) {
    case PAXOS_FX_APPEND_PROMISE:
        rec.promised = fx->promised;
        on_append(r, rec);
        break;
    case PAXOS_FX_APPEND_ENTRY:
        rec.entry = *fx->entry;
        rec.chosen = fx->chosen;
        on_append(r, rec);
        break;
    case PAXOS_FX_SEND: on_send(r, fx); break;
    case PAXOS_FX_CHOSEN: on_chosen(r, fx); break;
    case PAXOS_FX_SERVE_FETCH: on_serve_fetch(r, fx); break;
    case PAXOS_FX_SERVING: check_complete(r); break;
    default: break;
    }
}

static struct paxos_sink sink_of(struct xreplica *r)
{
    return (struct paxos_sink){on_effect, r};
}

static void step(struct xreplica *r, struct paxos_event ev)
{
    struct paxos_sink sink = sink_of(r);
    ev.now = local_now();
    if (paxos_ring_wanted(&r->px, &ev) > RING) {
        out_of_bounds = true;
        return;
    }
    paxos_step(&r->px, &ev, &sink);
    if (!out_of_bounds) paxos_check(&r->px);
}

/* ---- disk ---- */

static void record_sync(struct xreplica *r, const struct xrecord *rec)
{
    uint64_t b = rec->promised ? rec->promised : rec->entry.ballot;
    if (b > r->disk_promised) r->disk_promised = b;
    if (rec->promised) {
        if (paxos_ballot_replica(b) == r->px.opt.replica && b > r->disk_own) r->disk_own = b;
        return;
    }
    r->disk_entry[rec->entry.position] = rec->entry;
    if (rec->chosen > r->disk_hint) r->disk_hint = rec->chosen;
    if (rec->learned) return; /* known chosen, but no vote */
    w->accepted[ballot_index(rec->entry.ballot)][rec->entry.position] |= (uint8_t)(1 << (r - w->r));
    check_agreement(rec->entry.position);
}

static void do_sync(struct xreplica *r)
{
    uint64_t lsn = r->tail_count ? r->tail[r->tail_count - 1].lsn : 0;
    if (!lsn) return;
    for (uint32_t i = 0; i < r->tail_count; i++) record_sync(r, &r->tail[i]);
    memset(r->tail, 0, sizeof r->tail);
    r->tail_count = 0;
    for (uint32_t i = 0; i < r->wait_count; i++) net_put(&r->wait[i].x);
    memset(r->wait, 0, sizeof r->wait);
    r->wait_count = 0;
    step(r, (struct paxos_event){.type = PAXOS_EV_SYNCED, .lsn = lsn});
}

static void boot(struct xreplica *r, uint16_t id, bool fresh)
{
    struct paxos_options o = {.replica = id,
                              .leases = &table[id - 1],
                              .election_timeout_ns = 1000000 * UNIT,
                              .window_entries = 3,
                              .window_bytes = 1 << 24,
                              .retain_bytes = 1 << 24,
                              .value_of = value_of,
                              .config = config_of(0)};
    struct paxos_sink sink = sink_of(r);
    r->incarnation += 1;
    lease_init(&table[id - 1], id, r->incarnation, bound.leases ? 2 * UNIT : UNIT, 0, local_now(),
               fresh || !bound.leases);
    paxos_init(&r->px, &o, r->ring, RING);
    r->applied = r->fold = 0;
    r->last_valid = (struct paxos_id){0, 0};
    if (r->disk_own) paxos_restore_promise(&r->px, r->disk_own);
    if (r->disk_promised) paxos_restore_promise(&r->px, r->disk_promised);
    for (int p = 1; p < POSITIONS; p++)
        if (r->disk_entry[p].position) {
            struct paxos_entry e = r->disk_entry[p];
            paxos_restore_entry(&r->px, &e, &sink);
        }
    paxos_restore_chosen(&r->px, r->disk_hint);
    paxos_start(&r->px, local_now(), 0, 0, &sink);
    r->px.campaign_at = UINT64_MAX;
    if (r->px.promised < r->disk_promised) violate("a promise was forgotten over a restart");
}

static void do_crash(struct xreplica *r, uint32_t keep)
{
    for (uint32_t i = 0; i < keep; i++) record_sync(r, &r->tail[i]);
    memset(r->tail, 0, sizeof r->tail);
    memset(r->wait, 0, sizeof r->wait);
    r->tail_count = r->wait_count = 0;
    boot(r, (uint16_t)(r - w->r + 1), false);
}

/* ---- canonical form ---- */

static void mix(struct hash128 *h, uint64_t x)
{
    h->a = (h->a ^ x) * 0x9e3779b97f4a7c15u;
    h->a ^= h->a >> 29;
    h->b = (h->b + x) * 0xd6e8feb86659fd93u;
    h->b ^= h->b >> 32;
}

static void mix_entry(struct hash128 *h, const struct paxos_entry *e)
{
    mix(h, e->position);
    if (e->position) mix(h, e->ballot), mix(h, entry_identity(e));
}

static struct hash128 message_hash(const struct xmessage *x)
{
    struct hash128 h = {x->m.type, x->m.flags};
    const struct paxos_message *m = &x->m;
    mix(&h, (uint64_t)m->from << 8 | m->to), mix(&h, m->ballot), mix(&h, m->position),
        mix(&h, m->chosen), mix(&h, m->seq);
    if (bound.configs) mix(&h, m->config);
    if (bound.leases) mix(&h, m->released), mix(&h, m->mark), mix(&h, m->promised);
    for (uint32_t i = 0; i < m->entry_count; i++) mix_entry(&h, &x->entry[i]);
    return h;
}

static void mix_machine(struct hash128 *h, const struct paxos *px)
{
    const uint64_t field[] = {px->role,
                              px->promised,
                              px->chosen,
                              px->streamed,
                              px->last,
                              px->follow,
                              px->last_valid.position,
                              px->last_valid.born,
                              px->lsn - px->synced,
                              px->heard,
                              px->noticed > px->chosen ? px->noticed : 0,
                              px->fetch_at != 0,
                              px->ballot,
                              w->campaigns < bound.ballots || bound.configs ? px->seen : 0,
                              px->role == PAXOS_CANDIDATE && px->promise_lsn > px->synced,
                              px->votes,
                              px->serving,
                              px->serving ? 0 : px->barrier,
                              px->chain.position,
                              px->chain.born,
                              bound.leases ? px->released : 0,
                              px->transfer_to,
                              px->lease_given};
    for (size_t i = 0; i < sizeof field / sizeof *field; i++) mix(h, field[i]);
    if (bound.configs)
        mix(h, px->opt.config_id.position), mix(h, px->opt.config_id.born), mix(h, px->config_at);
    for (int i = 0; i < px->opt.config.count && px->role >= PAXOS_CANDIDATE; i++) {
        const struct paxos_peer *p = &px->peer[i];
        /* What was chosen needs no more votes: whether a third came tells only how far back the
         * ring reaches. */
        mix(h, p->match > px->chosen ? p->match : px->chosen),
            mix(h, p->next > px->chosen ? p->next : px->chosen + 1);
        mix(h, p->paused);
        if (bound.leases) mix(h, p->mark);
    }
    for (uint64_t p = px->chosen + 1; p <= px->chosen + (N == 3 ? 4 : 6); p++) {
        const struct paxos_slot *s = &px->ring[p & (px->capacity - 1)];
        mix_entry(h, &s->entry), mix_entry(h, &s->pending),
            mix(h, s->lsn > px->synced ? s->lsn - px->synced : 0);
    }
}

static void mix_replica(struct hash128 *h, const struct xreplica *r)
{
    mix_machine(h, &r->px);
    mix(h, r->disk_promised), mix(h, r->disk_hint), mix(h, r->fold);
    for (uint64_t p = 1; p < POSITIONS; p++) mix_entry(h, &r->disk_entry[p > r->disk_hint ? p : 0]);
    for (uint32_t i = 0; i < r->tail_count; i++)
        mix(h, r->tail[i].promised), mix_entry(h, &r->tail[i].entry), mix(h, r->tail[i].chosen);
    struct hash128 waits = {0, 0};
    for (uint32_t i = 0; i < r->wait_count; i++) {
        struct hash128 x = message_hash(&r->wait[i].x);
        waits.a += x.a, waits.b += x.b;
    }
    mix(h, waits.a), mix(h, waits.b);
    for (int i = 1; i <= N && bound.leases; i++) {
        const struct lease_peer *p = &r->lease[i];
        mix(h, p->granted_until), mix(h, p->lost), mix(h, p->supported_until),
            mix(h, p->supported_mark);
    }
    if (bound.leases) mix(h, r->silent_until), mix(h, r->incarnation);
}

struct hash128 world_hash(void)
{
    struct hash128 h = {1, 2}, net = {0, 0};
    for (int i = 0; i < N; i++) mix_replica(&h, &w->r[i]);
    for (uint32_t i = 0; i < w->net_count; i++) { /* a multiset: order does not matter */
        struct hash128 x = message_hash(&w->net[i]);
        net.a += hash_mix(x.a), net.b += hash_mix(x.b);
    }
    mix(&h, net.a), mix(&h, net.b);
    mix(&h, w->now << 32 | w->campaigns << 24 | w->data << 16 | w->crashes << 8 | w->dups);
    mix(&h, w->configs << 24 | w->fetches << 16 | w->beats << 8 | w->handovers);
    uint64_t chosen[POSITIONS] = {0}; /* more votes for what is chosen change nothing */
    for (int b = 0; b < BALLOTS; b++)
        for (int p = 1; p < POSITIONS; p++)
            if (is_choice(b, (uint64_t)p, bound.configs ? in_force((uint64_t)p).config : 0))
                chosen[p] = w->value[b][p];
    for (int b = 0; b < BALLOTS; b++)
        for (int p = 1; p < POSITIONS; p++)
            if (w->accepted[b][p] && w->value[b][p] != chosen[p])
                mix(&h, (uint64_t)(b * 100 + p) << 8 | w->accepted[b][p]), mix(&h, w->under[b][p]);
    return h;
}

/* Whether delivery can only be ignored, now and after any crash. */
static bool pointless(const struct xmessage *x)
{
    const struct paxos_message *m = &x->m;
    const struct xreplica *r = &w->r[m->to - 1];
    bool may_crash = w->crashes < bound.crashes;
    int i = paxos_member_of(&r->px, m->from);
    if (mutant_active || (i < 0 && m->type < PAXOS_MESSAGE_TYPES)) return false;
    switch (m->type) {
    case PAXOS_PROMISE: return r->px.role != PAXOS_CANDIDATE || r->px.ballot != m->ballot;
    case PAXOS_ACCEPTED:
        return r->px.role != PAXOS_LEADER || r->px.ballot != m->ballot ||
               (!bound.leases &&
                (r->px.peer[i].match >= m->position || r->px.chosen >= m->position));
    case PAXOS_NACK:
        return r->px.ballot != m->ballot || r->px.role < PAXOS_CANDIDATE ||
               (r->px.role == PAXOS_LEADER && !(m->flags & PAXOS_F_GAP) &&
                m->config <= r->px.opt.config_id.position);
    case PAXOS_PREPARE:
    case PAXOS_ACCEPT: return m->ballot < r->disk_promised;
    case PAXOS_COMMIT:
    case PAXOS_LEARN: return m->chosen <= (may_crash ? r->disk_hint : r->px.chosen);
    case PAXOS_CONFIRM:
    case PAXOS_CONFIRMED: return !bound.leases;
    default: return false;
    }
}

/* Of two cumulative messages (accepted, commit) of one ballot between the same two, the older says
 * nothing the newer does not. */
static bool overtaken(uint32_t i)
{
    const struct paxos_message *m = &w->net[i].m;
    if (m->type != PAXOS_ACCEPTED && m->type != PAXOS_COMMIT) return false;
    for (uint32_t k = i + 1; k < w->net_count; k++) {
        const struct paxos_message *o = &w->net[k].m;
        if (o->type == m->type && o->from == m->from && o->to == m->to && o->ballot == m->ballot &&
            o->position >= m->position && o->chosen >= m->chosen && o->mark == m->mark)
            return true;
    }
    return false;
}

static void settle(void)
{
    if (w->crashes >= bound.crashes)
        for (int i = 0; i < N; i++)
            do_sync(&w->r[i]); /* with no crash to come, only messages can tell when it happened */
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->net_count; i++)
        if (!pointless(&w->net[i]) && !overtaken(i)) w->net[kept++] = w->net[i];
    memset(&w->net[kept], 0, (w->net_count - kept) * sizeof w->net[0]);
    w->net_count = kept;
}

/* ---- actions ---- */

static void deliver_lease(struct xmessage *x)
{
    struct paxos_message *m = &x->m;
    struct lease_table *t = &table[m->to - 1];
    if (m->type == X_HEARTBEAT) {
        struct lease_heartbeat hb = {
            .incarnation = m->seq >> 32, .seq = m->seq, .t_send = m->position};
        struct lease_answer a = lease_on_heartbeat(t, m->from, &hb, local_now());
        struct xmessage y;
        memset(&y, 0, sizeof y);
        y.m = (struct paxos_message){.type = X_ANSWER,
                                     .from = m->to,
                                     .to = m->from,
                                     .position = a.t_send,
                                     .seq = a.seq,
                                     .mark = a.mark};
        if (a.seq) net_put(&y);
    } else {
        struct lease_answer a = {.seq = m->seq, .t_send = m->position, .mark = m->mark};
        lease_on_answer(t, m->from, &a, local_now());
    }
}

static void do_deliver(uint32_t k, bool keep)
{
    struct xmessage x = w->net[k];
    if (!keep) {
        w->net_count -= 1;
        memmove(&w->net[k], &w->net[k + 1], (w->net_count - k) * sizeof w->net[0]);
        memset(&w->net[w->net_count], 0, sizeof w->net[0]);
    }
    if (narrate) printf("  %s ", keep ? "deliver and keep" : "deliver"), describe(&x), printf("\n");
    if (x.m.type >= X_HEARTBEAT) {
        deliver_lease(&x);
        return;
    }
    x.m.entries = x.entry;
    step(&w->r[x.m.to - 1], (struct paxos_event){.type = PAXOS_EV_MESSAGE, .message = &x.m});
}

static void do_campaign(struct xreplica *r)
{
    struct paxos_sink sink = sink_of(r);
    struct turn t = {&r->px, &sink, local_now(), 0};
    w->campaigns += 1;
    if (r->px.role != PAXOS_FOLLOWER) election_step_down(&t, false);
    election_prepare(&t);
    paxos_check(&r->px);
}

static void do_beat(struct xreplica *r, uint16_t to)
{
    struct lease_heartbeat hb = lease_send(r->px.opt.leases, to, local_now());
    struct xmessage x;
    memset(&x, 0, sizeof x);
    x.m = (struct paxos_message){.type = X_HEARTBEAT,
                                 .from = r->px.opt.replica,
                                 .to = to,
                                 .seq = hb.seq,
                                 .position = hb.t_send};
    w->beats += 1;
    net_put(&x);
}

static void leases_load(void)
{
    for (int i = 0; i < N; i++) {
        struct xreplica *r = &w->r[i];
        r->px.ring = r->ring;
        memcpy(table[i].peer, r->lease, sizeof r->lease);
        table[i].silent_until = r->silent_until;
        table[i].incarnation = r->incarnation;
    }
}

static void leases_store(void)
{
    for (int i = 0; i < N; i++) {
        memcpy(w->r[i].lease, table[i].peer, sizeof w->r[i].lease);
        w->r[i].silent_until = table[i].silent_until;
    }
}

void act(struct action a)
{
    struct xreplica *r = &w->r[a.replica];
    static const char *const name[] = {"",         "",        "sync",        "crash",
                                       "campaign", "propose", "time passes", "heartbeat",
                                       "transfer", "resign",  "reconfigure"};
    if (narrate && a.type >= A_SYNC)
        printf("  %s replica %u (%u)\n", name[a.type], a.replica + 1, a.arg);
    leases_load();
    switch (a.type) {
    case A_DELIVER: do_deliver(a.arg, false); break;
    case A_DUPLICATE: w->dups += 1, do_deliver(a.arg, true); break;
    case A_SYNC: do_sync(r); break;
    case A_CRASH: w->crashes += 1, do_crash(r, a.arg); break;
    case A_CAMPAIGN: do_campaign(r); break;
    case A_PROPOSE:
        w->data += 1;
        /* Said to be so large that a message carries one only: re-proposals then go one by one. */
        step(r, (struct paxos_event){.type = PAXOS_EV_PROPOSE,
                                     .value = (void *)(uintptr_t)w->data,
                                     .size = 1 << 20,
                                     .hash = w->data});
        break;
    case A_RECONFIGURE: {
        uint64_t value = CONFIG_VALUE + in_force(POSITIONS).config + 1;
        w->configs += 1;
        step(r, (struct paxos_event){.type = PAXOS_EV_RECONFIGURE,
                                     .value = (void *)(uintptr_t)value,
                                     .size = 1 << 20,
                                     .hash = value});
        break;
    }
    case A_TIME: w->now += 1; break;
    case A_BEAT: do_beat(r, a.arg); break;
    case A_TRANSFER:
        w->handovers += 1, step(r, (struct paxos_event){.type = PAXOS_EV_TRANSFER, .to = a.arg});
        break;
    case A_RESIGN: w->handovers += 1, step(r, (struct paxos_event){.type = PAXOS_EV_RESIGN}); break;
    default: abort();
    }
    settle();
    leases_store();
}

static bool may_campaign(const struct xreplica *r)
{
    if (w->campaigns >= bound.ballots || r->px.role == PAXOS_CANDIDATE) return false;
    if (w->campaigns == 0 && r != &w->r[1]) return false;
    if (!paxos_may_lead(&r->px)) return false;
    return !bound.leases || election_permits(&r->px, r->px.opt.replica, 0, local_now());
}

uint32_t actions(struct action *out)
{
    uint32_t n = 0;
    leases_load();
    /* What a replica that does not lead has not yet on disk, nobody else can know of: so it is
     * written, or lost, at once. */
    for (uint8_t i = 0; i < N; i++) {
        const struct xreplica *r = &w->r[i];
        if (!r->tail_count || r->px.role == PAXOS_LEADER) continue;
        out[n++] = (struct action){A_SYNC, i, 0};
        for (uint8_t keep = 0; keep < r->tail_count && w->crashes < bound.crashes; keep++)
            out[n++] = (struct action){A_CRASH, i, keep};
        return n;
    }
    for (uint32_t k = 0; k < w->net_count; k++) {
        out[n++] = (struct action){A_DELIVER, 0, (uint8_t)k};
        if (w->dups < bound.dups && w->net[k].m.type < X_HEARTBEAT)
            out[n++] = (struct action){A_DUPLICATE, 0, (uint8_t)k};
    }
    for (uint8_t i = 0; i < N; i++) {
        const struct xreplica *r = &w->r[i];
        if (r->tail_count) out[n++] = (struct action){A_SYNC, i, 0};
        if (w->crashes < bound.crashes && w->campaigns)
            for (uint8_t keep = 0; keep <= r->tail_count; keep++)
                if (keep < r->tail_count || keep == 0) out[n++] = (struct action){A_CRASH, i, keep};
        if (may_campaign(r)) out[n++] = (struct action){A_CAMPAIGN, i, 0};
        if (w->data < bound.data && paxos_can_propose(&r->px, 1))
            out[n++] = (struct action){A_PROPOSE, i, 0};
        if (w->configs < bound.configs && paxos_can_reconfigure(&r->px) &&
            in_force(POSITIONS).config + 1 < CONFIGS)
            out[n++] = (struct action){A_RECONFIGURE, i, 0};
        if (!bound.leases) continue;
        bool leads = r->px.role == PAXOS_LEADER;
        for (uint8_t to = 1; to <= N && w->beats < bound.beats && leads; to++)
            if (to != i + 1) out[n++] = (struct action){A_BEAT, i, to};
        if (w->handovers < bound.handovers && paxos_serving(&r->px)) {
            out[n++] = (struct action){A_RESIGN, i, 0};
            out[n++] = (struct action){A_TRANSFER, i, (uint8_t)((i + 1) % N + 1)};
        }
    }
    if (w->now < bound.times) out[n++] = (struct action){A_TIME, 0, 0};
    return n;
}

void genesis(void)
{
    memset(w, 0, sizeof *w);
    memset(table, 0, sizeof table);
    for (uint16_t i = 0; i < N; i++) boot(&w->r[i], (uint16_t)(i + 1), true);
    leases_store();
}
