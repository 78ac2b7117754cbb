/* A replica from its opening to its end: its machine, its shard, what the log gives back at a
 * start, and the jump to a snapshot. */
#include "node/internal.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "paxos/msg.h"

#include <stdio.h>

struct group *group_at(struct node *n, uint32_t id)
{
    ASSERT(id < NODE_GROUPS_MAX);
    if (id >= n->group_capacity) {
        uint32_t capacity = n->group_capacity ? n->group_capacity : 16;
        while (capacity <= id) capacity *= 2;
        n->group = mem_realloc(n->group, capacity * sizeof *n->group);
        n->group_capacity = capacity;
    }
    while (n->group_count <= id) {
        struct group *g = mem_zalloc(sizeof *g);
        g->node = n;
        g->id = n->group_count;
        list_init(&g->waiting);
        list_init(&g->pins);
        n->group[n->group_count++] = g;
    }
    return n->group[id];
}

bool group_open_shard(struct group *g, char *error, size_t error_size)
{
    struct node *n = g->node;
    g->shard = shard_new(&(struct shard_options){.io = n->io,
                                                 .engine = n->config.engine,
                                                 .cache = n->cache,
                                                 .group = g->id,
                                                 .witness = n->identity.witness,
                                                 .batch_max = n->batch_max,
                                                 .effects_max = n->effects_max,
                                                 .flushed = group_flush_done,
                                                 .system = ring_system,
                                                 .born = replica_born,
                                                 .snap = pin_snap,
                                                 .ctx = g},
                         error, error_size);
    if (!g->shard) return false;
    g->slot_lo = g->shard->slot_lo;
    g->slot_hi = g->shard->slot_hi;
    if (g->slot_lo == 0) return shard_system_each(g->shard, ring_row_stored, g);
    return true;
}

/* A replica that the engine knows of. It takes part from group_start on. */
bool group_open(struct group *g, const struct shard_record *r, char *error, size_t error_size)
{
    struct node *n = g->node;
    struct paxos_config config;
    ASSERT(!g->px && !g->shard);
    if (!paxos_config_decode(r->config, &config)) {
        snprintf(error, error_size,
                 "group %u: the replica's record has no readable configuration; move this data "
                 "directory away and let this node join anew",
                 g->id);
        return false;
    }
    g->replica = r->replica;
    g->slot_lo = r->slot_lo;
    g->slot_hi = r->slot_hi;
    g->installed = r->installed;
    if (r->state == SHARD_LIVE && !group_open_shard(g, error, error_size)) return false;

    struct paxos_options options = {.replica = g->replica,
                                    .config = config,
                                    .config_id = r->config_id,
                                    .value_of = value_bytes,
                                    .preferred = config.member[g->id % config.count].replica,
                                    .leases = &n->leases,
                                    .election_timeout_ns = n->config.election_ms * MS,
                                    .window_entries = 256,
                                    .window_bytes = 8u << 20,
                                    .retain_bytes = 4u << 20};
    g->px = mem_zalloc(paxos_size());
    g->ring_capacity = 1;
    g->ring = mem_zalloc(g->ring_capacity * paxos_slot_size());
    paxos_init(g->px, &options, g->ring, g->ring_capacity);
    paxos_restore_applied(g->px, r->applied, r->last_valid);
    if (r->state == SHARD_INSTALLING) paxos_restore_installing(g->px);
    g->lsn_synced = 0;
    g->chosen_durable = g->hint_next = g->hint_last = 0;
    group_configured(g);
    return true;
}

/* Where a snapshot jumped over them, the log may have entries that were accepted and never chosen:
 * a peer that fetches may not be given them (docs/PAXOS.md, what the node owes). */
void group_trust_log(struct group *g)
{
    if (!MUTANT(MUTANT_LOG_TRUSTED)) log_set_floor(g->node->log, g->id, g->installed + 1);
}

void group_install_begin(struct group *g)
{
    paxos_install_begin(g->px, &(struct paxos_sink){group_emit, g});
}

void group_installed(struct group *g, const struct paxos_config *config)
{
    const struct shard *s = g->shard;
    group_tell(g, NODE_REPLICA_INSTALLED);
    g->installed = s->installed;
    g->overtaken = false;
    group_trust_log(g);
    /* The configuration may be ahead of the state: whoever sent it was born with a younger one than
     * the last that it had applied. What lies between cannot be followed without it. */
    paxos_installed(g->px, s->applied, s->last_valid, config, s->config_id,
                    &(struct paxos_sink){group_emit, g});
    group_configured(g);
    group_set_floor(g);
    g->tick_at = 0;
    g->node->state_at = 0;
    ring_route(g->node);
}

void group_restore(struct group *g, const struct log_record *r)
{
    struct paxos_sink sink = {group_emit, g};
    if (!g->px || r->replica != g->replica) return;

    group_ring_fit(g, NULL);
    if (r->type == LOG_PROMISE) paxos_restore_promise(g->px, r->promised);
    if (r->type == LOG_ENTRY) {
        struct paxos_entry e = r->entry;
        e.value = r->value.size ? value_new(r->value) : NULL;
        group_ring_grow(g, paxos_restore_ring_wanted(g->px, e.position));
        paxos_restore_entry(g->px, &e, &sink);
    }
    if (r->chosen) paxos_restore_chosen(g->px, r->chosen);
    paxos_restore_emit(g->px, &sink);
}

void group_start(struct group *g)
{
    if (!g->px) return;
    struct node *n = g->node;
    group_ring_fit(g, NULL);
    g->tick_at = 0;
    group_busy(g);
    paxos_start(g->px, io_now(n->io), io_random(n->io), 0, &(struct paxos_sink){group_emit, g});
    g->chosen_durable = paxos_chosen(g->px);
    group_configured(g);
}

static void drop_effect(void *ctx, const struct paxos_effect *fx)
{
    (void)ctx;
    if (fx->type == PAXOS_FX_RELEASE) value_release(fx->value);
    if (fx->type == PAXOS_FX_CHOSEN && fx->take_value) value_release(fx->entry->value);
}

/* The replica's machine is gone, and all that waited for its log. The shard stays. */
void group_stop(struct group *g)
{
    struct node *n = g->node;
    if (g->leading) group_era_end(g);
    group_campaigns(g, false);
    if (g->px) paxos_deinit(g->px, &(struct paxos_sink){drop_effect, NULL});
    mem_free(g->px);
    mem_free(g->ring);
    g->px = NULL;
    g->ring = NULL;
    for (uint32_t i = 0; i < g->later_count; i++)
        buf_deinit(&g->later[(g->later_head + i) % g->later_capacity].frame);
    g->later_head = g->later_count = 0;
    for (uint32_t i = 0; i < n->mark_count; i++) {
        struct append_mark *m = &n->marks[(n->mark_head + i) % n->mark_capacity];
        if (m->group == g) m->group = NULL;
    }
    g->overtaken = false;
    g->took = 0;
    memset(g->stranger, 0, sizeof g->stranger);
    memset(g->peer, 0, sizeof g->peer);
}

void group_free(struct group *g)
{
    if (g->px) paxos_deinit(g->px, &(struct paxos_sink){drop_effect, NULL});
    transfer_end(g);
    pins_free(g);
    buf_deinit(&g->hold_rows);
    shard_write_abandon(g->writing);
    replica_forget_birth(g);
    mem_free(g->px);
    mem_free(g->ring);
    for (uint32_t i = 0; i < g->later_count; i++)
        buf_deinit(&g->later[(g->later_head + i) % g->later_capacity].frame);
    mem_free(g->later);
    for (int i = 0; i < GROUP_PAST_ERAS; i++) mem_free(g->past[i]);
    buf_deinit(&g->expire_fetch.lo);
    buf_deinit(&g->expire_fetch.hi);
    buf_deinit(&g->config_wanted);
    shard_free(g->shard);
    watch_stop(&g->watch);
    locks_clear(&g->locks);
    mem_free(g);
}
