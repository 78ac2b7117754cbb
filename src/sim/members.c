/* Nodes on hosts: their lives, their engines, and what may be seen of them. */
#include "ring/ring.h"
#include "sim/members.h"

#include <errno.h>
#include <inttypes.h>

/* ---- the engine's shim: counts, and a disk that is full ---- */

static struct shim *shim_of(struct engine *e)
{
    return (struct shim *)(void *)e;
}

static enum engine_result shim_get(struct engine *e, struct bytes key, bool block,
                                   struct buf *value)
{
    struct shim *h = shim_of(e);
    enum engine_result r = h->inner->ops->get(h->inner, key, block, value);
    h->s->result->cover.misses += r == ENGINE_MISS;
    return r;
}

/* The inner iterator does not know its engine: this one does. */
struct shim_iter {
    struct engine_iter *inner;
    const struct engine_ops *ops;
};

static struct shim_iter *iter_of(struct engine_iter *it)
{
    return (struct shim_iter *)(void *)it;
}

static struct engine_iter *iter_wrap(struct shim *h, struct engine_iter *inner)
{
    if (!inner) return NULL;
    struct shim_iter *it = mem_alloc(sizeof *it);
    *it = (struct shim_iter){inner, h->inner->ops};
    return (struct engine_iter *)(void *)it;
}

static enum engine_result shim_iter_new(struct engine *e, struct bytes lo, struct bytes hi,
                                        bool reverse, bool block, struct engine_iter **out)
{
    struct shim *h = shim_of(e);
    struct engine_iter *inner = NULL;
    enum engine_result r = h->inner->ops->iter_new(h->inner, lo, hi, reverse, block, &inner);
    h->s->result->cover.misses += r == ENGINE_MISS;
    *out = iter_wrap(h, inner);
    return r;
}

static enum engine_result shim_scan_new(struct engine *e, const struct engine_snap *at,
                                        struct bytes lo, struct bytes hi, struct engine_iter **out)
{
    struct shim *h = shim_of(e);
    struct engine_iter *inner = NULL;
    enum engine_result r = h->inner->ops->scan_new(h->inner, at, lo, hi, &inner);
    *out = iter_wrap(h, inner);
    return r;
}

static struct engine_snap *shim_snap_new(struct engine *e)
{
    return engine_snap_new(shim_of(e)->inner);
}

static void shim_snap_free(struct engine *e, struct engine_snap *s)
{
    engine_snap_free(shim_of(e)->inner, s);
}

static enum engine_result shim_iter_next(struct engine_iter *it, struct bytes *key,
                                         struct bytes *value)
{
    return iter_of(it)->ops->iter_next(iter_of(it)->inner, key, value);
}

static void shim_iter_seek(struct engine_iter *it, struct bytes key)
{
    iter_of(it)->ops->iter_seek(iter_of(it)->inner, key);
}

static void shim_iter_free(struct engine_iter *it)
{
    if (!it) return;
    iter_of(it)->ops->iter_free(iter_of(it)->inner);
    mem_free(it);
}

static int shim_ingest(struct engine *e, struct engine_source *source)
{
    struct shim *h = shim_of(e);
    if (prng_chance(&h->s->random, h->full_ppm)) {
        SIM_COUNT(h->s, ingest_full);
        return -ENOSPC;
    }
    SIM_COUNT(h->s, ingests);
    return h->inner->ops->ingest(h->inner, source);
}

static void shim_stats(struct engine *e, struct buf *text)
{
    shim_of(e)->inner->ops->stats(shim_of(e)->inner, text);
}

static uint64_t shim_disk_bytes(struct engine *e)
{
    return shim_of(e)->inner->ops->disk_bytes(shim_of(e)->inner);
}

static void shim_close(struct engine *e)
{
    struct shim *h = shim_of(e);
    if (h->inner) h->inner->ops->close(h->inner);
    h->inner = NULL;
}

static const struct engine_ops shim_ops = {
    .get = shim_get,
    .iter_new = shim_iter_new,
    .scan_new = shim_scan_new,
    .snap_new = shim_snap_new,
    .snap_free = shim_snap_free,
    .iter_next = shim_iter_next,
    .iter_seek = shim_iter_seek,
    .iter_free = shim_iter_free,
    .ingest = shim_ingest,
    .stats = shim_stats,
    .disk_bytes = shim_disk_bytes,
    .close = shim_close,
};

/* ---- what a node tells ---- */

static void on_fatal(void *ctx, const char *why)
{
    struct member *m = ctx;
    if (world_dead(m->s->w, m->host)) return;
    snprintf(m->last_words, sizeof m->last_words, "%s", why);
    world_say(m->s->w, m->host, "fatal: %s", why);
    world_die(m->s->w, m->host);
}

static void on_applied(void *ctx, uint32_t group, const struct paxos_entry *entry, bool valid,
                       uint64_t effects_hash)
{
    struct member *m = ctx;
    if (world_dead(m->s->w, m->host)) return;
    agree_applied(m, group, entry, valid, effects_hash);
}

static void on_replica(void *ctx, enum node_replica_event what, uint32_t group, uint16_t replica,
                       uint64_t position, struct paxos_id last_valid)
{
    struct member *m = ctx;
    if (world_dead(m->s->w, m->host)) return;
    agree_replica(m, what, group, replica, position, last_valid);
}

/* ---- lives ---- */

static void member_bury(struct member *m, enum world_death how)
{
    struct sim *s = m->s;
    member_configs(m);
    if (m->node) node_free(m->node);
    m->node = NULL;
    shim_close(&m->shim.base);
    world_reap(s->w, m->host, how);
    m->state = MEMBER_DOWN;
}

void member_kill(struct member *m, enum world_death how)
{
    ASSERT(m->state == MEMBER_UP);
    world_die(m->s->w, m->host);
    member_bury(m, how);
}

/* Who is of no cluster yet asks any other; in the end, one that can help. */
static void join_through(struct member *m)
{
    struct sim *s = m->s;
    uint32_t from = (uint32_t)prng_below(&s->random, s->nodes);
    for (uint32_t i = 0; i < s->nodes; i++) {
        const struct member *to = &s->member[(from + i) % s->nodes];
        bool helps = to->state == MEMBER_UP && to->id && !to->away && !to->damaged;
        bool may = to != m && (s->calm ? helps : to->state != MEMBER_IDLE);
        if (!may) continue;
        snprintf(m->join, sizeof m->join, "%s", to->peer);
        return;
    }
}

bool member_start(struct member *m)
{
    struct sim *s = m->s;
    char error[200] = "";
    ASSERT(m->state == MEMBER_DOWN);
    m->lives++;
    m->stopping = m->cut = false;
    for (uint32_t g = 0; g < SIM_GROUPS_MAX; g++)
        m->seat[g].replica = m->seat[g].seen = 0, m->seat[g].row_epoch = 0;
    m->last_words[0] = 0;
    m->shim = (struct shim){.base.ops = &shim_ops, .inner = engine_mem_open(m->disk), .s = s};
    m->config.engine = &m->shim.base;
    m->config.trace = world_trace(s->w, m->host);
    if (m->config.join && !m->id) join_through(m);
    world_boot(s->w, m->host);
    world_enter(s->w, m->host);
    world_say(s->w, m->host, "starts, life %u", m->lives);
    SIM_COUNT(s, starts);
    m->node = node_new(world_io(s->w, m->host), &m->config, error, sizeof error);
    bool dead = world_dead(s->w, m->host);
    world_leave(s->w, m->host);
    world_note(s->w, 'S', m->host, m->node != NULL);
    if (m->node && !dead) {
        m->state = MEMBER_UP;
        return true;
    }
    m->cut = dead && m->last_words[0] == 0;
    if (error[0]) snprintf(m->last_words, sizeof m->last_words, "%s", error);
    world_say(s->w, m->host, "does not start: %s", m->last_words);
    world_die(s->w, m->host);
    member_bury(m, WORLD_EXIT);
    return false;
}

static bool says(const struct member *m, const char *text)
{
    return strstr(m->last_words, text) != NULL;
}

/* It was removed, or not let in, and said so. */
static bool ends_rightly(struct member *m)
{
    struct sim *s = m->s;
    if (says(m, "was removed from the cluster") && m->id && (s->removed_ids >> m->id & 1)) {
        SIM_COUNT(s, removed);
        m->state = MEMBER_IDLE;
        return true;
    }
    if (!m->id && m->config.join && says(m, "does not let this node join")) {
        SIM_COUNT(s, join_refused);
        return true;
    }
    return false;
}

void member_died(void *ctx, uint32_t host)
{
    struct sim *s = ctx;
    struct member *m = &s->member[host];
    m->cut = m->last_words[0] == 0; /* nobody called fatal: the world ended it */
    member_bury(m, WORLD_EXIT);
    if (!m->excused && !m->damaged && !m->cut && !ends_rightly(m))
        sim_fail(s, SIM_ENDED, "node %u ended itself without cause: %s", host + 1, m->last_words);
    if (m->state == MEMBER_DOWN) nemesis_node_down(s->nemesis, m);
}

void member_format(struct member *m)
{
    struct sim *s = m->s;
    ASSERT(m->state != MEMBER_UP);
    if (m->id) s->lost_ids |= 1ull << m->id;
    world_format(s->w, m->host);
    engine_mem_disk_free(m->disk);
    m->disk = engine_mem_disk_new();
    for (uint32_t g = 0; g < SIM_GROUPS_MAX; g++) m->seat[g].buried = 0;
}

void member_wipe(struct member *m)
{
    member_format(m);
    m->id = 0;
    m->damaged = m->behind = false;
    m->config.found = NULL;
    m->config.groups = m->config.replicas = 0;
    m->config.join = m->join;
    m->state = MEMBER_DOWN;
    world_say(m->s->w, m->host, "has an empty disk, and is to join");
}

void members_init(struct sim *s)
{
    size_t at = 0;
    for (uint32_t i = 0; i < s->founders; i++)
        at += (size_t)snprintf(s->found + at, sizeof s->found - at, "%s10.0.0.%u:17000",
                               i ? "," : "", i + 1);
    for (uint32_t i = 0; i < s->nodes; i++) {
        struct member *m = &s->member[i];
        *m = (struct member){.s = s, .host = i, .config = s->knobs};
        m->disk = engine_mem_disk_new();
        snprintf(m->listen, sizeof m->listen, "10.0.0.%u:7000", i + 1);
        snprintf(m->peer, sizeof m->peer, "10.0.0.%u:17000", i + 1);
        m->config.listen = m->listen;
        m->config.peer = m->peer;
        m->config.found = s->founders > 1 ? s->found : NULL;
        m->config.groups = s->founded_groups;
        m->config.backend_name = "sim";
        m->config.fatal = on_fatal;
        m->config.applied = on_applied;
        m->config.replica = on_replica;
        m->config.ctx = m;
        if (i >= s->founders) m->state = MEMBER_IDLE;
        m->config.witness = s->witness && i == s->founders;
    }
}

void members_deinit(struct sim *s)
{
    for (uint32_t i = 0; i < s->nodes; i++) {
        if (s->member[i].state == MEMBER_UP) member_kill(&s->member[i], WORLD_EXIT);
        engine_mem_disk_free(s->member[i].disk);
    }
}

uint32_t members_up(const struct sim *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->nodes; i++) n += s->member[i].state == MEMBER_UP;
    return n;
}

/* ---- what may be seen from outside ---- */

static void look_serving(struct sim *s, const struct member *m, uint32_t g, paxos_ballot ballot)
{
    if (ballot == s->serving[g] && s->serving_host[g] != m->host)
        sim_fail(s, SIM_AGREEMENT, "group %u is served by nodes %u and %u at one ballot %" PRIx64,
                 g, s->serving_host[g] + 1, m->host + 1, ballot);
    if (ballot <= s->serving[g]) return;
    s->serving[g] = ballot;
    s->serving_host[g] = m->host;
    SIM_COUNT(s, elections);
    world_say(s->w, m->host, "serves group %u at ballot %" PRIx64, g, ballot);
}

static void look_config(struct sim *s, struct member *m, uint32_t g,
                        const struct node_group_view *v)
{
    struct seat *seat = &m->seat[g];
    bool first = !seat->config.count, kept = !v->installing && v->flushed >= v->config_position;
    if (first || (kept && seat->durable_position != v->config_position)) {
        seat->durable = v->config;
        seat->durable_position = v->config_position;
    }
    if (seat->config_position == v->config_position && !first) return;
    if (!agree_configured(&s->agreement, g, v->config_position))
        sim_fail(s, SIM_AGREEMENT,
                 "node %u group %u: a configuration of position %" PRIu64 " came never into force",
                 m->host + 1, g, v->config_position);
    seat->config = v->config;
    seat->config_position = v->config_position;
    for (int i = 0; i < v->config.count; i++) {
        if (v->config.member[i].role == PAXOS_LEARNER) SIM_COUNT(s, learners);
        if (v->config.member[i].role == PAXOS_WITNESS) SIM_COUNT(s, witness_votes);
        if (v->config.member[i].replica == v->replica) return;
    }
    SIM_COUNT(s, leavers);
}

/* What the member knows of its groups' members, for the fault budget: as new as can be. */
void member_configs(struct member *m)
{
    struct node_group_view v;
    uint32_t groups = m->node ? node_group_count(m->node) : 0;
    if (m->node && node_id(m->node)) m->id = node_id(m->node);
    for (uint32_t g = 0; g < groups && g < SIM_GROUPS_MAX; g++)
        if (m->s->agreement.chain[g].known && node_group(m->node, g, &v))
            look_config(m->s, m, g, &v);
}

static void look_back(struct sim *s, struct member *m, uint32_t g, const struct node_group_view *v)
{
    struct seat *seat = &m->seat[g];
    if (seat->seen != v->replica) seat->chosen = seat->promised = seat->flushed = 0;
    seat->seen = v->replica;
    if (v->chosen < seat->chosen || v->promised < seat->promised ||
        (!v->installing && v->flushed < seat->flushed))
        sim_fail(s, SIM_AGREEMENT,
                 "node %u group %u went back: chosen %" PRIu64 " -> %" PRIu64 ", promised %" PRIx64
                 " -> %" PRIx64 ", flushed %" PRIu64 " -> %" PRIu64,
                 m->host + 1, g, seat->chosen, v->chosen, seat->promised, v->promised,
                 seat->flushed, v->flushed);
    s->result->cover.flushes += seat->chosen && v->flushed > seat->flushed;
    seat->chosen = v->chosen;
    seat->promised = v->promised;
    seat->installing = v->installing;
    if (!v->installing) seat->flushed = v->flushed;
}

/* What a node knows of the map never gives way to what it was before. */
static void look_row(struct sim *s, struct member *m, uint32_t g)
{
    struct ring_row row;
    uint64_t was = m->seat[g].row_epoch;
    if (!node_ring_row(m->node, RING_ROW_GROUP, g, &row)) return;
    m->seat[g].row_epoch = row.group.epoch;
    if (row.group.epoch < was)
        sim_fail(s, SIM_AGREEMENT,
                 "node %u: its row of group %u went back from epoch %" PRIu64 " to %" PRIu64,
                 m->host + 1, g, was, row.group.epoch);
}

static void look_group(struct sim *s, struct member *m, uint32_t g)
{
    struct node_group_view v;
    look_row(s, m, g);
    if (!node_group(m->node, g, &v)) return;
    if (v.replica != m->seat[g].replica)
        sim_fail(s, SIM_AGREEMENT, "node %u group %u has replica %u, and said it were %u",
                 m->host + 1, g, v.replica, m->seat[g].replica);
    look_back(s, m, g, &v);
    look_config(s, m, g, &v);
    if (!v.installing && (v.flushed > v.applied || v.applied > v.chosen))
        sim_fail(s, SIM_AGREEMENT,
                 "node %u group %u: flushed %" PRIu64 ", applied %" PRIu64 ", chosen %" PRIu64,
                 m->host + 1, g, v.flushed, v.applied, v.chosen);
    if (v.serving) look_serving(s, m, g, v.promised);
}

static void print_config(struct buf *out, const struct paxos_config *c)
{
    static const char *const role[] = {
        [PAXOS_VOTER] = "", [PAXOS_LEARNER] = " learns", [PAXOS_WITNESS] = " witness"};
    buf_clear(out);
    for (int i = 0; i < c->count; i++)
        buf_printf(out, "%s%u@%u%s", i ? ", " : "", c->member[i].replica, c->member[i].node,
                   role[c->member[i].role]);
}

/* For people, when a run is stuck. */
void members_print(struct sim *s)
{
    struct node_group_view v;
    struct buf config = {0};
    for (uint32_t i = 0; i < s->nodes; i++) {
        const struct member *m = &s->member[i];
        world_say(s->w, i, "state %u, id %u, damaged %u, away %u", m->state, m->id, m->damaged,
                  m->away);
        for (uint32_t g = 0; m->state == MEMBER_UP && g < s->groups; g++) {
            if (!node_group(m->node, g, &v)) continue;
            print_config(&config, &v.config);
            world_say(s->w, i,
                      "group %u: replica %u, slots [%u, %u), promised %" PRIx64 ", chosen %" PRIu64
                      ", applied %" PRIu64 ", config %" PRIu64 " (%.*s), leader %u%s%s%s",
                      g, v.replica, v.slot_lo, v.slot_hi, v.promised, v.chosen, v.applied,
                      v.config_position, (int)config.size, (const char *)config.data, v.leader_node,
                      v.leads ? ", leads" : "", v.serving ? ", serves" : "",
                      v.installing ? ", installing" : "");
        }
    }
    buf_deinit(&config);
}

/* No slot is of two replicas of a node. */
static void look_ranges(struct sim *s, const struct member *m)
{
    uint16_t lo[SIM_GROUPS_MAX], hi[SIM_GROUPS_MAX];
    struct node_group_view v;
    for (uint32_t g = 0; g < s->groups; g++) {
        lo[g] = hi[g] = 0;
        if (!node_group(m->node, g, &v)) continue;
        lo[g] = v.slot_lo;
        hi[g] = v.slot_hi;
        for (uint32_t k = 0; k < g; k++)
            if (lo[k] < hi[g] && lo[g] < hi[k])
                sim_fail(s, SIM_AGREEMENT,
                         "node %u has slots [%u, %u) in group %u and [%u, %u) in group %u",
                         m->host + 1, lo[k], hi[k], k, lo[g], hi[g], g);
    }
}

/* An old leader that does not know yet of the new one: where stale reads would come from. */
static void look_rivals(struct sim *s)
{
    for (uint32_t g = 0; g < s->groups; g++) {
        uint32_t serving = 0;
        for (uint32_t i = 0; i < s->nodes; i++) {
            struct node_group_view v;
            serving += s->member[i].state == MEMBER_UP && node_group(s->member[i].node, g, &v) &&
                       v.serving;
        }
        if (serving > 1) SIM_COUNT(s, rivals);
    }
}

/* How many groups there are, as far as any node knows. */
static void look_groups(struct sim *s)
{
    for (uint32_t i = 0; i < s->nodes; i++) {
        const struct member *m = &s->member[i];
        uint32_t groups = m->state == MEMBER_UP ? node_group_count(m->node) : 0;
        if (groups > SIM_GROUPS_MAX)
            sim_fail(s, SIM_AGREEMENT, "node %u knows of %u groups: more than a run can have",
                     i + 1, groups);
        else if (groups > s->groups)
            s->groups = groups;
    }
}

/* Does it have everything, and does the witness know that it is not given up any more? */
static bool has_caught_up(struct sim *s, const struct member *m)
{
    struct node_group_view v;
    struct ring_row row;
    for (uint32_t i = 0; i < s->nodes; i++) {
        const struct member *w = &s->member[i];
        if (!w->config.witness) continue;
        if (w->state != MEMBER_UP || !node_ring_row(w->node, RING_ROW_NODE, m->id, &row) ||
            row.node.state == RING_NODE_GONE)
            return false;
    }
    for (uint32_t g = 0; g < s->groups; g++)
        if (node_group(m->node, g, &v) && v.applied != s->agreement.chain[g].last) return false;
    return true;
}

/* Whom the map has given up is behind until it has caught up. */
static void look_behind(struct sim *s)
{
    for (uint32_t i = 0; i < s->nodes && s->witness; i++) {
        struct member *m = &s->member[i];
        if (m->id && s->node_state[m->id] == RING_NODE_GONE)
            m->behind = true;
        else if (m->behind && m->state == MEMBER_UP && has_caught_up(s, m))
            m->behind = false;
    }
}

/* The states of nodes as the map has them. */
static void look_states(struct sim *s)
{
    struct node *map = members_map(s);
    struct ring_row row;
    for (uint16_t i = 1; map && i <= RING_NODES_MAX; i++) {
        if (!node_ring_row(map, RING_ROW_NODE, i, &row)) continue;
        uint8_t was = s->node_state[i], is = row.node.state;
        s->node_state[i] = is;
        if (was == is) continue;
        s->result->cover.gone += is == RING_NODE_GONE;
        s->result->cover.came_back += was == RING_NODE_GONE && is != RING_NODE_REMOVED;
    }
}

void members_look(struct sim *s)
{
    look_states(s);
    look_behind(s);
    look_groups(s);
    look_rivals(s);
    for (uint32_t i = 0; i < s->nodes && !s->stop; i++) {
        struct member *m = &s->member[i];
        if (m->state != MEMBER_UP) continue;
        if (!m->id && m->config.join && node_id(m->node)) SIM_COUNT(s, joined);
        m->id = node_id(m->node);
        m->took_part |= node_takes_part(m->node);
        for (uint32_t g = 0; g < s->groups; g++) look_group(s, m, g);
        look_ranges(s, m);
        if (world_write_failed(s->w, i))
            sim_fail(s, SIM_ENDED, "node %u goes on after a failed write of its log", i + 1);
        world_enter(s->w, i);
        node_check(m->node);
        world_leave(s->w, i);
    }
}

void members_digests(struct sim *s)
{
    for (uint32_t g = 0; g < s->groups; g++) {
        uint64_t position[2], digest[2], keys[2];
        uint32_t first = UINT32_MAX;
        for (uint32_t i = 0; i < s->nodes; i++) {
            struct member *m = &s->member[i];
            struct node_group_view v;
            if (m->state != MEMBER_UP || m->damaged || m->config.witness ||
                !node_group(m->node, g, &v))
                continue;
            int at = first != UINT32_MAX;
            world_enter(s->w, i);
            bool known = node_digest(m->node, g, &position[at], &digest[at], &keys[at]);
            world_leave(s->w, i);
            if (!known) sim_fail(s, SIM_DIVERGED, "node %u has no digest of group %u", i + 1, g);
            if (!at)
                first = i;
            else if (position[0] == position[1] && (digest[0] != digest[1] || keys[0] != keys[1]))
                sim_fail(s, SIM_DIVERGED,
                         "group %u at position %" PRIu64 ": node %u has digest %" PRIx64
                         " of %" PRIu64 " keys, node %u %" PRIx64 " of %" PRIu64,
                         g, position[0], first + 1, digest[0], keys[0], i + 1, digest[1], keys[1]);
        }
    }
}
