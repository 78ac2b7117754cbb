/* Nodes on hosts: their lives, their engines, and what may be seen of them. */
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

static enum engine_result shim_iter_new(struct engine *e, struct bytes lo, struct bytes hi,
                                        bool reverse, bool block, struct engine_iter **out)
{
    struct shim *h = shim_of(e);
    struct engine_iter *inner = NULL;
    enum engine_result r = h->inner->ops->iter_new(h->inner, lo, hi, reverse, block, &inner);
    h->s->result->cover.misses += r == ENGINE_MISS;
    *out = NULL;
    if (!inner) return r;
    struct shim_iter *it = mem_alloc(sizeof *it);
    *it = (struct shim_iter){inner, h->inner->ops};
    *out = (struct engine_iter *)(void *)it;
    return r;
}

static enum engine_result shim_iter_next(struct engine_iter *it, struct bytes *key,
                                         struct bytes *value)
{
    return iter_of(it)->ops->iter_next(iter_of(it)->inner, key, value);
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
    .iter_next = shim_iter_next,
    .iter_free = shim_iter_free,
    .ingest = shim_ingest,
    .stats = shim_stats,
    .disk_bytes = shim_disk_bytes,
    .close = shim_close,
};

/* ---- what a node tells ---- */

static void on_line(void *ctx, const char *line)
{
    struct member *m = ctx;
    world_say(m->s->w, m->host, "log: %s", line);
}

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

/* ---- lives ---- */

static void member_bury(struct member *m, enum world_death how)
{
    struct sim *s = m->s;
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

bool member_start(struct member *m)
{
    struct sim *s = m->s;
    char error[200] = "";
    ASSERT(m->state == MEMBER_DOWN);
    m->lives++;
    m->stopping = m->cut = false;
    memset(m->applied, 0, sizeof m->applied);
    memset(m->chosen, 0, sizeof m->chosen);
    memset(m->promised, 0, sizeof m->promised);
    memset(m->flushed, 0, sizeof m->flushed);
    m->last_words[0] = 0;
    m->shim = (struct shim){.base.ops = &shim_ops, .inner = engine_mem_open(m->disk), .s = s};
    m->config.engine = &m->shim.base;
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

void member_died(void *ctx, uint32_t host)
{
    struct sim *s = ctx;
    struct member *m = &s->member[host];
    m->cut = m->last_words[0] == 0; /* nobody called fatal: the world ended it */
    member_bury(m, WORLD_EXIT);
    if (!m->excused && !m->damaged && !m->cut)
        sim_fail(s, SIM_ENDED, "node %u ended itself without cause: %s", host + 1, m->last_words);
    nemesis_node_down(s->nemesis, m);
}

void members_init(struct sim *s)
{
    size_t at = 0;
    for (uint32_t i = 0; i < s->nodes; i++)
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
        m->config.found = s->nodes > 1 ? s->found : NULL;
        m->config.groups = s->groups;
        m->config.backend_name = "sim";
        m->config.log_line = on_line;
        m->config.fatal = on_fatal;
        m->config.applied = on_applied;
        m->config.ctx = m;
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

static void look_group(struct sim *s, struct member *m, uint32_t g)
{
    struct node_group_view v;
    if (!node_group(m->node, g, &v)) return;
    if (v.chosen < m->chosen[g] || v.promised < m->promised[g] || v.flushed < m->flushed[g])
        sim_fail(s, SIM_AGREEMENT,
                 "node %u group %u went back: chosen %" PRIu64 " -> %" PRIu64 ", promised %" PRIx64
                 " -> %" PRIx64 ", flushed %" PRIu64 " -> %" PRIu64,
                 m->host + 1, g, m->chosen[g], v.chosen, m->promised[g], v.promised, m->flushed[g],
                 v.flushed);
    if (v.flushed > v.applied || v.applied > v.chosen)
        sim_fail(s, SIM_AGREEMENT,
                 "node %u group %u: flushed %" PRIu64 ", applied %" PRIu64 ", chosen %" PRIu64,
                 m->host + 1, g, v.flushed, v.applied, v.chosen);
    s->result->cover.flushes += m->chosen[g] && v.flushed > m->flushed[g];
    m->chosen[g] = v.chosen;
    m->promised[g] = v.promised;
    m->flushed[g] = v.flushed;
    if (v.serving) look_serving(s, m, g, v.promised);
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

void members_look(struct sim *s)
{
    look_rivals(s);
    for (uint32_t i = 0; i < s->nodes; i++) {
        struct member *m = &s->member[i];
        if (m->state != MEMBER_UP) continue;
        for (uint32_t g = 0; g < s->groups; g++) look_group(s, m, g);
        if (world_write_failed(s->w, i))
            sim_fail(s, SIM_ENDED, "node %u goes on after a failed write of its log", i + 1);
        world_enter(s->w, i);
        node_check(m->node);
        world_leave(s->w, i);
    }
}

/* All live replicas of every group have applied the same, and all that was ever applied anywhere.
 */
bool members_converged(struct sim *s, char *why, size_t why_size)
{
    for (uint32_t g = 0; g < s->groups; g++)
        for (uint32_t i = 0; i < s->nodes; i++) {
            struct member *m = &s->member[i];
            struct node_group_view v;
            if (m->state != MEMBER_UP || m->damaged) continue;
            if (node_group(m->node, g, &v) && v.applied >= s->agreement.count[g]) continue;
            snprintf(why, why_size, "group %u: node %u has applied %" PRIu64 " of %" PRIu64, g,
                     i + 1, node_group(m->node, g, &v) ? v.applied : 0, s->agreement.count[g]);
            return false;
        }
    return true;
}

void members_digests(struct sim *s)
{
    for (uint32_t g = 0; g < s->groups; g++) {
        uint64_t position[2], digest[2], keys[2];
        uint32_t first = UINT32_MAX;
        for (uint32_t i = 0; i < s->nodes; i++) {
            struct member *m = &s->member[i];
            if (m->state != MEMBER_UP || m->damaged) continue;
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
