#include "cluster.h"
#include "base/mem.h"
#include "paxos/msg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT (200 * MS)
#define LEASE   (250 * MS)
#define EPSILON 5000

struct value {
    struct cluster *world;
    uint64_t id;
};

static void violate(struct cluster *c, const char *what)
{
    if (!c->violation) c->violation = what;
}

static void *handle_new(struct cluster *c, uint64_t id)
{
    struct value *v = mem_alloc(sizeof *v);
    *v = (struct value){c, id};
    c->handles += 1;
    return v;
}
static uint64_t handle_id(void *handle)
{
    return handle ? ((struct value *)handle)->id : 0;
}
static void handle_free(void *handle)
{
    if (!handle) return;
    ((struct value *)handle)->world->handles -= 1;
    free(handle);
}

#define CONFIG_VALUE (1ull << 32) /* and above: the values that are configurations */

static struct bytes value_of(void *handle)
{
    struct value *v = handle;
    struct cluster *c = v->world;
    if (v->id < CONFIG_VALUE) return BYTES("data");
    struct buf b = {0};
    paxos_config_encode(&c->configs[v->id - CONFIG_VALUE], &b);
    size_t size = b.size;
    memcpy(c->encoded, b.data, size);
    buf_deinit(&b);
    return bytes_of(c->encoded, size);
}

uint64_t cluster_local(const struct cluster *c, const struct replica *r)
{
    return (uint64_t)((double)c->now * r->rate) + (uint64_t)r->skew;
}

/* ---- network ---- */

static void net_put(struct cluster *c, const struct packet *p)
{
    if (c->net_count == c->net_capacity) {
        c->net_capacity = c->net_capacity ? 2 * c->net_capacity : 64;
        c->net = mem_realloc(c->net, c->net_capacity * sizeof *c->net);
    }
    c->net[c->net_count++] = *p;
}

static struct packet packet_copy(const struct packet *p)
{
    struct packet copy = *p;
    if (p->message.entry_count)
        copy.message.entries =
            mem_dup(p->message.entries, p->message.entry_count * sizeof *p->message.entries);
    return copy;
}

/* Takes the packet's entries. */
static void net_send(struct cluster *c, struct packet p)
{
    struct replica *from = &c->r[p.from], *to = &c->r[p.to];
    bool lost = prng_chance(&c->prng, c->opt.drop_ppm) || from->cut_out || to->cut_in ||
                !c->linked[p.from][p.to];
    bool twice = prng_chance(&c->prng, c->opt.dup_ppm);
    for (int i = 0; !lost && i <= twice; i++) {
        struct packet q = packet_copy(&p);
        q.at = c->now + c->opt.delay_min +
               prng_below(&c->prng, c->opt.delay_max - c->opt.delay_min + 1);
        if (prng_chance(&c->prng, 2000) && c->opt.drop_ppm) q.at += 400 * MS; /* very late */
        net_put(c, &q);
    }
    if (p.message.entry_count) free(p.message.entries);
}

/* ---- effects ---- */

static void disk_append(struct replica *r, struct record rec)
{
    r->disk = mem_realloc(r->disk, (r->records + 1) * sizeof *r->disk);
    rec.entry.value = (void *)(uintptr_t)handle_id(rec.entry.value);
    r->disk[r->records++] = rec;
}

/* A configuration was chosen: those it names come into being, knowing it and nothing else. */
static void note_config(struct replica *r, const struct paxos_entry *e)
{
    struct cluster *c = r->world;

    if (e->position <= c->newest_id.position) return;
    if (e->base.position != c->newest_id.position || e->base.born != c->newest_id.born)
        violate(c, "a configuration followed another than the one in force");
    c->newest = c->configs[handle_id(e->value) - CONFIG_VALUE];
    c->newest_id = (struct paxos_id){e->position, e->born};
    for (int i = 0; i < c->newest.count; i++) {
        struct replica *m = &c->r[c->newest.member[i].replica];
        if (m->exists) continue;
        m->exists = m->birth = true;
        m->flushed.config = c->newest;
        m->flushed.config_id = c->newest_id;
    }
}

/* Whether a CONFIG entry is valid is the same everywhere, but below a replica's own configuration,
 * where it cannot know. */
static void check_config(struct replica *r, const struct paxos_effect *fx, bool valid)
{
    bool below = fx->position < paxos_config_id(r->px).position;
    if (valid != fx->valid && !(below && !fx->valid))
        violate(r->world, "a configuration is valid here and not there");
}

static void apply(struct replica *r, const struct paxos_effect *fx)
{
    struct cluster *c = r->world;
    const struct paxos_entry *e = fx->entry;
    if (e->position != r->applied + 1) violate(c, "chosen out of order");
    bool valid = e->kind == PAXOS_DATA && e->base.position == r->last_valid.position &&
                 e->base.born == r->last_valid.born;
    r->applied = e->position;
    if (valid) {
        r->state = hash_mix(r->state ^ e->hash ^ e->position);
        r->last_valid = (struct paxos_id){e->position, e->born};
    }
    if (e->kind == PAXOS_CONFIG && fx->valid) note_config(r, e);
    if (e->kind != PAXOS_CONFIG && valid != fx->valid)
        violate(c, "validity differs from the fold of valid entries");
    if (handle_id(e->value) != e->hash) violate(c, "a value is not what its hash says");
    if (e->position >= POSITIONS_MAX) return;
    typeof(c->truth[0]) *truth = &c->truth[e->position];
    if (!truth->set) {
        truth->set = true, truth->hash = e->hash, truth->born = e->born, truth->kind = e->kind,
        truth->state = r->state;
        truth->valid = e->kind == PAXOS_CONFIG ? fx->valid : valid;
        c->valid += valid;
    } else if (truth->hash != e->hash || truth->born != e->born || truth->kind != e->kind) {
        violate(c, "two values chosen for one position");
    } else if (e->kind == PAXOS_CONFIG) {
        check_config(r, fx, truth->valid);
    } else if (truth->state != r->state) {
        violate(c, "states differ at one position");
    }
}

/* When a leader sees something chosen, no other that lacks it may hold a lease: it would miss it.
 * (A leader that has it may: one that an older configuration elected can find again, and choose
 * again, what the holder has long since left behind.) */
static void check_leases(struct replica *r)
{
    struct cluster *c = r->world;
    for (int i = 1; i <= c->opt.count; i++) {
        struct replica *o = &c->r[i];
        if (o == r || !o->up || paxos_role(o->px) != PAXOS_LEADER) continue;
        if (paxos_promised(o->px) < paxos_promised(r->px) &&
            paxos_chosen(o->px) < paxos_chosen(r->px) &&
            paxos_lease_end(o->px) > cluster_local(c, o))
            violate(c, "an entry was chosen while another leader held a lease");
    }
}

static struct packet packet_of(const struct replica *r, const struct paxos_message *m)
{
    struct packet p = {.to = m->to, .from = r->id, .type = PACKET_PAXOS, .message = *m};
    if (m->entry_count) {
        p.message.entries = mem_dup(m->entries, m->entry_count * sizeof *m->entries);
        for (uint32_t i = 0; i < m->entry_count; i++)
            p.message.entries[i].value = (void *)(uintptr_t)handle_id(m->entries[i].value);
    }
    return p;
}

static void send(struct replica *r, const struct paxos_effect *fx)
{
    if (fx->message->to != fx->to || fx->message->from != r->id)
        violate(r->world, "a message with a wrong address");
    struct packet p = packet_of(r, fx->message);
    r->world->sent += 1;
    uint64_t on_disk = 0;
    for (size_t i = r->durable; i-- > 0 && !on_disk;) on_disk = r->disk[i].lsn;
    if (fx->after_lsn <= on_disk) {
        net_send(r->world, p);
        return;
    }
    r->wait = mem_realloc(r->wait, (r->waits + 1) * sizeof *r->wait);
    r->wait[r->waits++] = (struct waiting){fx->after_lsn, p};
}

static void send_snapshot(struct replica *r, uint16_t to)
{
    struct packet p = {.to = to,
                       .from = r->id,
                       .type = PACKET_SNAPSHOT,
                       .snapshot = {r->applied, r->state, r->last_valid, *paxos_config(r->px),
                                    paxos_config_id(r->px)}};
    net_send(r->world, p);
}

/* The log is the truth: reads chosen entries back, as a node does. */
static void serve_fetch(struct replica *r, const struct paxos_effect *fx)
{
    struct cluster *c = r->world;
    struct paxos_entry entries[16];
    uint32_t count = 0;
    if (fx->position <= r->snapped || (c->opt.snapshots && prng_chance(&c->prng, 300000))) {
        if (!r->installing) send_snapshot(r, fx->to);
        return;
    }
    for (uint64_t p = fx->position; p <= fx->chosen && count < 16; p++) {
        struct paxos_entry *found = NULL;
        for (size_t i = r->records; i-- > 0 && !found;)
            if (r->disk[i].type == RECORD_ENTRY && r->disk[i].entry.position == p)
                found = &r->disk[i].entry;
        if (!found) violate(c, "a chosen entry is not in the log");
        if (!found) return;
        if (c->truth[p].set && c->truth[p].hash != found->hash)
            violate(c, "the log holds another value than was chosen");
        entries[count++] = *found;
    }
    struct paxos_message m = {.type = PAXOS_LEARN,
                              .from = r->id,
                              .to = fx->to,
                              .position = fx->position - 1,
                              .chosen = fx->chosen,
                              .entry_count = count,
                              .entries = entries};
    struct packet p = {.to = fx->to, .from = r->id, .type = PACKET_PAXOS, .message = m};
    p.message.entries = mem_dup(entries, count * sizeof *entries);
    net_send(c, p);
}

static void on_effect(void *ctx, const struct paxos_effect *fx)
{
    struct replica *r = ctx;
    struct cluster *c = r->world;
    if (c->on_effect) c->on_effect(c->on_effect_ctx, r, fx);
    switch (fx->type) {
    case PAXOS_FX_APPEND_PROMISE:
        disk_append(
            r, (struct record){.type = RECORD_PROMISE, .lsn = fx->lsn, .promised = fx->promised});
        break;
    case PAXOS_FX_APPEND_ENTRY:
        disk_append(r, (struct record){.type = RECORD_ENTRY,
                                       .lsn = fx->lsn,
                                       .entry = *fx->entry,
                                       .chosen = fx->chosen});
        break;
    case PAXOS_FX_APPEND_CHOSEN:
        disk_append(r, (struct record){.type = RECORD_CHOSEN, .chosen = fx->chosen});
        break;
    case PAXOS_FX_SEND: send(r, fx); break;
    case PAXOS_FX_CHOSEN:
        apply(r, fx);
        if (r->px->started && paxos_role(r->px) == PAXOS_LEADER) {
            if (fx->entry->position > c->chosen_max) c->chosen_max = fx->entry->position;
            check_leases(r);
        }
        if (fx->take_value) handle_free(fx->entry->value);
        break;
    case PAXOS_FX_RELEASE: handle_free(fx->value); break;
    case PAXOS_FX_SERVING: c->leaders += 1; break;
    case PAXOS_FX_READ_READY:
        for (uint64_t s = r->reads_done + 1; s <= fx->seq; s++)
            if (r->read_floor[s % 64] > fx->position)
                violate(c, "a confirmed read misses a write that was answered before it");
        r->reads_done = fx->seq;
        break;
    case PAXOS_FX_SERVE_FETCH: serve_fetch(r, fx); break;
    default: break;
    }
}

static struct paxos_sink sink_of(struct replica *r)
{
    return (struct paxos_sink){on_effect, r};
}

void cluster_step(struct cluster *c, uint16_t id, struct paxos_event ev)
{
    struct replica *r = &c->r[id];
    struct paxos_sink sink = sink_of(r);
    ev.now = cluster_local(c, r);
    ev.random = prng_u64(&c->prng);
    uint32_t wanted = paxos_ring_wanted(r->px, &ev);
    if (wanted > r->capacity) {
        free(paxos_ring_replace(r->px, r->ring = mem_alloc(wanted * paxos_slot_size()), wanted));
        r->capacity = wanted;
    }
    paxos_step(r->px, &ev, &sink);
    paxos_check(r->px);
    if (r->sync_at == 0 && r->durable < r->records) {
        r->sync_at =
            c->now + c->opt.sync_min + prng_below(&c->prng, c->opt.sync_max - c->opt.sync_min + 1);
        r->sync_to = r->records;
    }
}

/* ---- life ---- */

static void synced(struct cluster *c, struct replica *r)
{
    uint64_t lsn = 0;
    r->sync_at = 0;
    for (size_t i = r->durable; i < r->sync_to; i++) {
        if (r->disk[i].lsn) lsn = r->disk[i].lsn;
        if (r->disk[i].promised > r->promise_seen) r->promise_seen = r->disk[i].promised;
    }
    r->durable = r->sync_to;
    size_t kept = 0;
    struct waiting *wait = r->wait;
    size_t waits = r->waits;
    r->wait = NULL, r->waits = 0;
    for (size_t i = 0; i < waits; i++) {
        if (wait[i].after_lsn <= lsn)
            net_send(c, wait[i].packet);
        else
            wait[kept++] = wait[i];
    }
    r->wait = wait, r->waits = kept;
    if (lsn)
        cluster_step(c, r->id, (struct paxos_event){.type = PAXOS_EV_SYNCED, .lsn = lsn});
    else if (r->durable < r->records)
        r->sync_at = c->now + c->opt.sync_min, r->sync_to = r->records;
}

static void restore(struct cluster *c, struct replica *r, const struct paxos_sink *sink)
{
    r->applied = r->flushed.applied, r->state = r->flushed.state;
    r->last_valid = r->flushed.last_valid;
    if (r->installing) r->applied = r->install_base, r->last_valid = r->install_valid;
    paxos_restore_applied(r->px, r->applied, r->last_valid);
    if (r->installing) paxos_restore_installing(r->px);
    for (size_t i = 0; i < r->records; i++) {
        struct record *rec = &r->disk[i];
        if (rec->type == RECORD_PROMISE) paxos_restore_promise(r->px, rec->promised);
        if (rec->type == RECORD_ENTRY) {
            struct paxos_entry e = rec->entry;
            if (e.value) e.value = handle_new(c, (uint64_t)(uintptr_t)e.value);
            uint32_t wanted = paxos_restore_ring_wanted(r->px, e.position);
            if (wanted > r->capacity) {
                free(paxos_ring_replace(r->px, r->ring = mem_alloc(wanted * paxos_slot_size()),
                                        wanted));
                r->capacity = wanted;
            }
            paxos_restore_entry(r->px, &e, sink);
        }
        if (rec->type != RECORD_PROMISE) paxos_restore_chosen(r->px, rec->chosen);
        if (prng_chance(&c->prng, 10000)) paxos_restore_emit(r->px, sink);
    }
}

void cluster_start(struct cluster *c, uint16_t id)
{
    struct replica *r = &c->r[id];
    struct paxos_sink sink = sink_of(r);
    if (r->up || !r->exists) return;

    struct paxos_options o = {.replica = id,
                              .leases = &r->leases,
                              .election_timeout_ns = TIMEOUT,
                              .preferred = 1,
                              .window_entries = c->opt.window,
                              .window_bytes = 1 << 20,
                              .retain_bytes = c->opt.retain_bytes,
                              .config = r->flushed.config,
                              .config_id = r->flushed.config_id,
                              .value_of = value_of};
    uint64_t now = cluster_local(c, r);
    r->incarnation += 1;
    lease_init(&r->leases, id, r->incarnation, LEASE, EPSILON, now, !r->ever);
    r->ever = true;
    r->px = mem_alloc(paxos_size());
    r->capacity = 8;
    r->ring = mem_alloc(r->capacity * paxos_slot_size());
    paxos_init(r->px, &o, r->ring, r->capacity);
    restore(c, r, &sink);
    r->up = true;
    r->lsn = 0;
    for (size_t i = 0; i < r->records; i++) r->disk[i].lsn = r->disk[i].lsn ? ++r->lsn : 0;
    paxos_start(r->px, now, prng_u64(&c->prng), r->lsn, &sink);
    if (paxos_promised(r->px) < r->promise_seen)
        violate(c, "a promise was forgotten over a restart");
    if (r->durable < r->records) r->sync_at = c->now + c->opt.sync_min, r->sync_to = r->records;
    cluster_step(c, id, (struct paxos_event){.type = PAXOS_EV_TICK});
}

void cluster_crash(struct cluster *c, uint16_t id, bool lose)
{
    struct replica *r = &c->r[id];
    struct paxos_sink sink = sink_of(r);
    if (!r->up) return;
    r->up = false;
    paxos_deinit(r->px, &sink);
    free(r->px), free(r->ring);
    for (size_t i = 0; i < r->waits; i++)
        if (r->wait[i].packet.message.entry_count) free(r->wait[i].packet.message.entries);
    r->waits = 0;
    r->sync_at = 0;
    if (lose) r->records = r->durable + prng_below(&c->prng, r->records - r->durable + 1);
    r->durable = r->records;
    r->read_seq = r->reads_done = 0;
}

struct cluster *cluster_new(const struct cluster_options *opt)
{
    struct cluster *c = mem_zalloc(sizeof *c);
    c->opt = *opt;
    c->next_value = 1;
    prng_init(&c->prng, opt->seed);
    for (int i = 0; i <= CLUSTER_MAX; i++)
        for (int k = 0; k <= CLUSTER_MAX; k++) c->linked[i][k] = true;
    c->now = 1000 * MS;
    c->founding.count = (uint8_t)(opt->members ? opt->members : opt->count);
    c->founding.next_replica = CLUSTER_MAX + 1;
    for (uint16_t i = 1; i <= c->founding.count; i++)
        c->founding.member[i - 1] = (struct paxos_member){.replica = i, .node = i};
    c->newest = c->founding;
    for (int i = 1; i <= opt->count; i++) {
        struct replica *r = &c->r[i];
        r->world = c;
        r->id = (uint16_t)i;
        r->exists = i <= c->founding.count;
        r->flushed.config = c->founding;
        r->rate =
            1.0 + ((double)prng_below(&c->prng, 2 * opt->drift_ppm + 1) - opt->drift_ppm) * 1e-6;
        r->skew = (int64_t)(prng_below(&c->prng, 1000) * MS);
        cluster_start(c, (uint16_t)i);
    }
    return c;
}

void cluster_free(struct cluster *c)
{
    for (int i = 1; i <= c->opt.count; i++) {
        cluster_crash(c, (uint16_t)i, false);
        free(c->r[i].disk), free(c->r[i].wait);
    }
    for (size_t i = 0; i < c->net_count; i++)
        if (c->net[i].message.entry_count) free(c->net[i].message.entries);
    if (c->handles)
        fprintf(stderr, "cluster: %llu handles were never given back\n",
                (unsigned long long)c->handles),
            abort();
    free(c->net), free(c->configs);
    free(c);
}

/* A snapshot takes the place of the state: the marker, then the work, then the jump. */
static void install_begin(struct replica *r, const struct snapshot *s)
{
    struct cluster *c = r->world;
    struct paxos_sink sink = sink_of(r);
    if (r->installing || s->applied <= r->applied || r->durable < r->records) return;
    paxos_install_begin(r->px, &sink);
    if (!paxos_installing(r->px)) return; /* it leads */
    r->installing = true;
    r->install = *s;
    r->install_base = r->applied, r->install_valid = r->last_valid;
    r->install_at = c->now + prng_below(&c->prng, 200) * MS;
}

static void install_end(struct replica *r)
{
    struct cluster *c = r->world;
    struct paxos_sink sink = sink_of(r);
    if (!r->installing || c->now < r->install_at || r->durable < r->records) return;
    const struct snapshot *s = &r->install;
    r->installing = false;
    r->applied = s->applied, r->state = s->state, r->last_valid = s->last_valid;
    r->flushed = *s;
    r->snapped = s->applied;

    r->flushed.config = *paxos_config(r->px), r->flushed.config_id = paxos_config_id(r->px);
    if (s->config_id.position > r->flushed.config_id.position)
        r->flushed.config = s->config, r->flushed.config_id = s->config_id;
    paxos_installed(r->px, s->applied, s->last_valid, &s->config, s->config_id, &sink);
    c->installs += 1;
}

static void deliver(struct cluster *c, struct packet p)
{
    struct replica *r = &c->r[p.to];
    uint64_t now = cluster_local(c, r);
    if (r->up && !r->cut_in && p.type == PACKET_HEARTBEAT) {
        struct packet a = {.to = p.from,
                           .from = p.to,
                           .type = PACKET_ANSWER,
                           .answer = lease_on_heartbeat(&r->leases, p.from, &p.heartbeat, now)};
        net_send(c, a);
    } else if (r->up && !r->cut_in && p.type == PACKET_ANSWER) {
        lease_on_answer(&r->leases, p.from, &p.answer, now);
    } else if (r->up && !r->cut_in && p.type == PACKET_SNAPSHOT) {
        install_begin(r, &p.snapshot);
    } else if (r->up && !r->cut_in) {
        for (uint32_t i = 0; i < p.message.entry_count; i++) {
            uint64_t value = (uint64_t)(uintptr_t)p.message.entries[i].value;
            p.message.entries[i].value = value ? handle_new(c, value) : NULL;
        }
        cluster_step(c, p.to,
                     (struct paxos_event){.type = PAXOS_EV_MESSAGE, .message = &p.message});
    }
    if (p.message.entry_count) free(p.message.entries);
}

bool cluster_propose(struct cluster *c, uint16_t id)
{
    struct replica *r = &c->r[id];
    if (!r->up || !paxos_can_propose(r->px, 100)) return false;
    uint64_t v = c->next_value++;
    c->proposed += 1;
    cluster_step(c, id,
                 (struct paxos_event){
                     .type = PAXOS_EV_PROPOSE, .value = handle_new(c, v), .size = 100, .hash = v});
    return true;
}

bool cluster_reconfigure(struct cluster *c, uint16_t id, const struct paxos_config *next)
{
    struct replica *r = &c->r[id];
    if (!r->up || !paxos_can_reconfigure(r->px)) return false;
    c->configs = mem_realloc(c->configs, (c->config_count + 1) * sizeof *c->configs);
    c->configs[c->config_count] = *next;
    uint64_t v = CONFIG_VALUE + c->config_count++;
    cluster_step(
        c, id,
        (struct paxos_event){
            .type = PAXOS_EV_RECONFIGURE, .value = handle_new(c, v), .size = 30, .hash = v});
    return true;
}

bool cluster_member(const struct cluster *c, uint16_t id)
{
    for (int i = 0; i < c->newest.count; i++)
        if (c->newest.member[i].replica == id) return true;
    return false;
}

void cluster_read(struct cluster *c, uint16_t id)
{
    struct replica *r = &c->r[id];
    if (!r->up || !paxos_serving(r->px) || r->read_seq - r->reads_done >= 60) return;
    if (paxos_lease_end(r->px) > cluster_local(c, r)) {
        r->lease_reads += 1;
        if (r->applied < c->chosen_max)
            violate(c, "a read under a lease misses a write that was answered before it");
    }
    r->read_seq += 1;
    r->read_floor[r->read_seq % 64] = c->chosen_max;
    cluster_step(c, id, (struct paxos_event){.type = PAXOS_EV_READ, .seq = r->read_seq});
}

static void tick(struct cluster *c)
{
    for (int i = 1; i <= c->opt.count; i++) {
        struct replica *r = &c->r[i];
        if (r->birth) r->birth = false, cluster_start(c, r->id);
        if (!r->up) continue;
        install_end(r);
        uint64_t now = cluster_local(c, r);
        cluster_step(c, (uint16_t)i, (struct paxos_event){.type = PAXOS_EV_TICK});
        if (c->now / MS % 50 < 10)
            for (int k = 1; k <= c->opt.count; k++) {
                if (k == i) continue;
                struct packet p = {.to = (uint16_t)k,
                                   .from = (uint16_t)i,
                                   .type = PACKET_HEARTBEAT,
                                   .heartbeat = lease_send(&r->leases, (uint16_t)k, now)};
                net_send(c, p);
            }
        /* As in a node: what the engine persists never runs ahead of the log. */
        if (r->durable == r->records && !r->installing && prng_chance(&c->prng, 20000))
            r->flushed = (struct snapshot){r->applied, r->state, r->last_valid,
                                           *paxos_config(r->px), paxos_config_id(r->px)};
    }
}

void cluster_run(struct cluster *c, uint64_t ns, uint64_t propose_every)
{
    uint64_t end = c->now + ns, propose_at = c->now + propose_every;
    uint64_t tick_at = c->now / (10 * MS) * (10 * MS) + 10 * MS;
    while (c->now < end && !c->violation) {
        uint64_t at = tick_at;
        if (propose_every && propose_at < at) at = propose_at;
        size_t packet = SIZE_MAX;
        uint16_t disk = 0;
        for (size_t i = 0; i < c->net_count; i++)
            if (c->net[i].at < at) at = c->net[i].at, packet = i;
        for (int i = 1; i <= c->opt.count; i++)
            if (c->r[i].up && c->r[i].sync_at && c->r[i].sync_at < at)
                at = c->r[i].sync_at, disk = (uint16_t)i;
        if (at > c->now) c->now = at;
        if (disk) {
            synced(c, &c->r[disk]);
        } else if (packet != SIZE_MAX) {
            struct packet p = c->net[packet];
            c->net[packet] = c->net[--c->net_count];
            deliver(c, p);
        } else if (at == tick_at) {
            tick_at += 10 * MS;
            tick(c);
        } else {
            propose_at += propose_every;
            for (uint16_t i = 1; i <= c->opt.count; i++) {
                cluster_propose(c, i);
                if (prng_chance(&c->prng, 300000)) cluster_read(c, i);
            }
        }
    }
}

uint16_t cluster_leader(const struct cluster *c)
{
    uint16_t best = 0;
    for (uint16_t i = 1; i <= c->opt.count; i++)
        if (c->r[i].up && paxos_serving(c->r[i].px) &&
            (!best || paxos_promised(c->r[i].px) > paxos_promised(c->r[best].px)))
            best = i;
    return best;
}

bool cluster_converged(const struct cluster *c)
{
    for (int i = 1; i <= c->opt.count; i++)
        if (c->r[i].up && cluster_member(c, (uint16_t)i) && c->r[i].applied != c->chosen_max)
            return false;
    return true;
}

void cluster_link(struct cluster *c, uint16_t a, uint16_t b, bool up)
{
    c->linked[a][b] = c->linked[b][a] = up;
}

void cluster_heal(struct cluster *c)
{
    for (uint16_t i = 1; i <= c->opt.count; i++) {
        c->r[i].cut_in = c->r[i].cut_out = false;
        for (uint16_t k = 1; k <= c->opt.count; k++) c->linked[i][k] = true;
        cluster_start(c, i);
    }
    c->opt.drop_ppm = c->opt.dup_ppm = 0;
}
