/* Birth and death of replicas. A replica is there exactly if the engine has a record of it
 * (shard/shard.h), and takes part only once that record is durable: then a restart finds it, and
 * what its log holds counts. It dies by a tombstone, which keeps its id from ever coming back here:
 * an id that lost its log may have promised what it does not remember (PROTOCOLS 0.4). */
#include "node/internal.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "paxos/msg.h"

#include <stdio.h>

#define TELL_EVERY (250 * MS)

/* ---- at start ---- */

struct opening {
    struct node *n;
    char *error;
    size_t error_size;
    uint32_t records;
    bool failed;
};

static void open_record(void *ctx, const struct shard_record *r)
{
    struct opening *o = ctx;
    o->records++;
    if (o->failed) return;
    if (r->group >= NODE_GROUPS_MAX) {
        snprintf(o->error, o->error_size, "the store has a record of group %u, which cannot be",
                 r->group);
        o->failed = true;
        return;
    }
    struct group *g = group_at(o->n, r->group);
    if (r->state == SHARD_DEAD)
        g->tombstone = r->replica;
    else
        o->failed = !group_open(g, r, o->error, o->error_size);
    if (g->px && !o->failed) group_tell(g, NODE_REPLICA_OPENED);
}

static bool open_all(struct node *n, uint32_t *records, char *error, size_t error_size)
{
    struct opening o = {.n = n, .error = error, .error_size = error_size};
    if (!shard_list(n->config.engine, open_record, &o, error, error_size)) return false;
    *records = o.records;
    return !o.failed;
}

/* The first replicas of a founding node: all groups that founding puts here, in one batch. */
static bool found_all(struct node *n, char *error, size_t error_size)
{
    struct shard_birth *b = mem_zalloc((n->group_count + 1) * sizeof *b);
    struct buf *config = mem_zalloc((n->group_count + 1) * sizeof *config);
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->group_count; i++) {
        const struct ring_group *row = &n->group[i]->row;
        int at = paxos_config_member(&row->config, n->identity.node);
        if (row->state != RING_GROUP_SERVING || at < 0) continue;
        paxos_config_encode(&row->config, &config[count]);
        b[count] = (struct shard_birth){.record = {.group = i,
                                                   .state = SHARD_LIVE,
                                                   .replica = row->config.member[at].replica,
                                                   .slot_lo = row->slot_lo,
                                                   .slot_hi = row->slot_hi,
                                                   .config = buf_bytes(&config[count])}};
        count++;
    }
    int failed = count ? shard_write_records_now(n->config.engine, b, count) : 0;
    for (uint32_t i = 0; i < count; i++) buf_deinit(&config[i]);
    mem_free(config);
    mem_free(b);
    if (failed)
        snprintf(error, error_size, "cannot write the first records of the store: %s",
                 strerror(-failed));
    return failed == 0;
}

/* Does founding put anything here? With more nodes than a group has replicas, not everywhere. */
static bool found_any(const struct node *n)
{
    for (uint32_t i = 0; i < n->identity.groups; i++)
        for (uint32_t r = 0; r < n->identity.replicas; r++)
            if ((i + r) % n->identity.node_count + 1 == n->identity.node) return true;
    return false;
}

static void count_file(void *ctx, const char *name)
{
    (void)name;
    ++*(int *)ctx;
}

bool replicas_open(struct node *n, char *error, size_t error_size)
{
    uint32_t records;
    int logs = 0;
    if (!open_all(n, &records, error, error_size)) return false;
    if (records || !n->identity.node_count || !found_any(n)) return true;
    (void)io_file_list(n->io, "log-", count_file, &logs);
    if (logs) {
        snprintf(
            error, error_size,
            "the data directory has a log but its store is empty or missing; bring it back, or "
            "let this node join anew with an empty directory");
        return false;
    }
    return found_all(n, error, error_size) && open_all(n, &records, error, error_size);
}

/* ---- birth ---- */

struct birth {
    struct group *group;
    struct shard_record record;
    struct buf config;
};

void replica_forget_birth(struct group *g)
{
    if (!g->birth) return;
    buf_deinit(&g->birth->config);
    mem_free(g->birth);
    g->birth = NULL;
}

static void born_done(void *ctx, int error)
{
    struct birth *b = ctx;
    struct group *g = b->group;
    struct node *n = g->node;
    g->writing = NULL;
    char why[200] = "";
    node_begin(n);
    g->bearing = false;
    if (error) {
        node_log(n, "group %u: a replica cannot be made here: %s; its leader will ask again", g->id,
                 strerror(-error));
    } else {
        b->record.config = buf_bytes(&b->config);
        if (!group_open(g, &b->record, why, sizeof why)) {
            node_fatal(n, "%s", why);
        } else {
            group_tell(g, NODE_REPLICA_BORN);
            group_start(g);
        }
        n->state_at = 0;
        trace_line("group %u: replica %u is born", g->id, g->replica);
    }
    replica_forget_birth(g);
}

static bool range_is_taken(struct node *n, const struct wire_create *w)
{
    for (uint32_t i = 0; i < n->group_count; i++) {
        const struct group *g = n->group[i];
        bool here = g->px || g->dying || g->bearing;
        if (g->shard && shard_unborn(g->shard)) return true; /* in the store the slots are one's */
        if (here && i != w->group && g->slot_lo < w->slot_hi && w->slot_lo < g->slot_hi)
            return true;
    }
    return false;
}

/* A leader says that its configuration has a replica on this node. One that is there already, or
 * died here, is not made again; and none whose slots another replica here still has (a split that
 * it has not applied yet will make it). It begins with a snapshot, however short the log is: older
 * entries may be of slots that a split has taken from the group since. */
void replica_on_create(struct peer *p, struct bytes payload)
{
    struct node *n = p->node;
    struct wire_create w;
    struct paxos_config config;
    if (!wire_get_create(payload, &w) || w.group >= NODE_GROUPS_MAX ||
        !paxos_config_decode(w.config, &config)) {
        n->stats.bad_frames++;
        return;
    }
    struct group *g = group_at(n, w.group);
    bool died = w.replica <= g->tombstone && !MUTANT(MUTANT_TOMBSTONE_IGNORED);
    if (!n->taking_part || g->bearing || g->dying || died || w.replica <= g->replica) return;
    if (g->px) { /* an earlier replica, which the new one replaces */
        replica_drop(g);
        return;
    }
    if (range_is_taken(n, &w)) return;
    struct birth *b = mem_zalloc(sizeof *b);
    b->group = g;
    buf_append_bytes(&b->config, w.config);
    b->record =
        (struct shard_record){.group = w.group,
                              .state = MUTANT(MUTANT_BORN_LIVE) ? SHARD_LIVE : SHARD_INSTALLING,
                              .replica = w.replica,
                              .slot_lo = w.slot_lo,
                              .slot_hi = w.slot_hi,
                              .config_id = w.config_id,
                              .config = buf_bytes(&b->config)};
    g->bearing = true;
    g->slot_lo = w.slot_lo;
    g->slot_hi = w.slot_hi;
    g->birth = b;
    g->writing = shard_write_records(n->io, n->config.engine,
                                     &(struct shard_birth){.record = b->record, .wipe_data = true},
                                     1, born_done, b);
}

void replica_tell(struct group *g, struct group_peer *gp)
{
    struct node *n = g->node;
    struct buf *out, config = {0};
    if (n->now < gp->told_at + TELL_EVERY || !(out = peer_out(n, gp->node))) return;
    gp->told_at = n->now;
    uint16_t replica = group_replica_on(g, gp->node);
    paxos_config_encode(&g->config, &config);
    wire_put_create(out, &(struct wire_create){.group = g->id,
                                               .replica = replica,
                                               .slot_lo = g->slot_lo,
                                               .slot_hi = g->slot_hi,
                                               .config_id = g->config_id,
                                               .config = buf_bytes(&config)});
    buf_deinit(&config);
}

static bool has_replica(struct bytes config, uint16_t replica)
{
    struct paxos_config c;
    if (!paxos_config_decode(config, &c)) return true; /* group_open says what is wrong with it */
    for (int i = 0; i < c.count; i++)
        if (c.member[i].replica == replica) return true;
    return false;
}

/* The upper half of a split, whose record is durable now. Whoever leads the lower half knows that
 * both are there, and tries first. */
void replica_born(void *ctx, struct shard *s, const struct shard_record *newborn)
{
    struct group *parent = ctx;
    struct node *n = parent->node;
    char why[200] = "";
    (void)s;
    node_begin(n);
    struct group *g = group_at(n, newborn->group);
    if (g->px || g->bearing || newborn->replica <= g->tombstone) return;
    if (!has_replica(newborn->config,
                     newborn->replica)) { /* its parent's is older than the split */
        g->replica = newborn->replica;
        g->slot_lo = newborn->slot_lo;
        g->slot_hi = newborn->slot_hi;
        g->dying = true;
        group_busy(g);
        return;
    }
    if (!group_open(g, newborn, why, sizeof why)) {
        node_fatal(n, "%s", why);
        return;
    }
    group_tell(g, NODE_REPLICA_SPLIT);
    group_start(g);
    if (parent->leading) group_step(g, &(struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    n->state_at = 0;
    ring_route(n);
    trace_line("group %u: born of group %u", g->id, parent->id);
}

/* ---- death ---- */

void replica_drop(struct group *g)
{
    if (g->dying) return;
    node_log(g->node, "group %u: replica %u leaves this node", g->id, g->replica);
    transfer_end(g);
    group_stop(g);
    pins_drop(g);
    g->dying = true;
    group_busy(g);
    g->leader_hint = 0;
    ring_route(g->node);
}

void replica_yield(struct group *g, struct group *heir, uint64_t at)
{
    group_tell(g, NODE_REPLICA_YIELDS);
    transfer_end(g);
    group_stop(g);
    g->dying = true;
    g->heir = heir;
    g->heir_at = at;
    g->leader_hint = 0;
    group_busy(g);
}

static void dead(struct group *g)
{
    struct node *n = g->node;
    group_tell(g, NODE_REPLICA_DROPPED);
    g->tombstone = g->replica;
    g->replica = 0;
    g->dying = false;
    g->heir = NULL;
    g->config = g->row.config;
    g->config_id = (struct paxos_id){0};
    g->slot_lo = g->row.slot_lo;
    g->slot_hi = g->row.slot_hi;
    log_drop_group(n->log, g->id);
    n->state_at = 0;
    trace_line("group %u: replica %u is gone", g->id, g->tombstone);
}

static void died(void *ctx, int error)
{
    struct group *g = ctx;
    node_begin(g->node);
    g->writing = NULL;
    g->bearing = false;
    if (!error) dead(g); /* else it is tried again */
}

/* Its data is the heir's, and its tombstone is written with the heir's record. Until then its log
 * is kept: a restart finds it as it was. */
static void bury_with_heir(struct group *g)
{
    shard_free(g->shard);
    g->shard = NULL;
    if (g->heir->shard->flushed >= g->heir_at || MUTANT(MUTANT_HEIR_UNFLUSHED)) dead(g);
}

static bool is_flushing(const struct group *g)
{
    return g->shard && space_flushing(g->shard->space);
}

static void bury(struct group *g)
{
    struct node *n = g->node;
    const struct group *heir = g->heir;
    bool used = is_flushing(g) || g->expire_fetching || g->learns || g->installing ||
                (heir && is_flushing(heir));
    if (used || g->bearing || n->now < g->flush_retry_at || merge_heirs(g)) return;
    if (heir && !heir->dying) {
        bury_with_heir(g);
        return;
    }
    g->heir = NULL; /* which goes itself, before it has written down what it took over */
    shard_free(g->shard);
    g->shard = NULL;
    g->bearing = true;
    g->flush_retry_at = n->now + 1000 * MS;
    struct shard_record r = {.group = g->id,
                             .state = SHARD_DEAD,
                             .replica = g->replica,
                             .slot_lo = g->slot_lo,
                             .slot_hi = g->slot_hi};
    g->writing = shard_write_records(
        n->io, n->config.engine, &(struct shard_birth){.record = r, .wipe_data = true}, 1, died, g);
}

/* Its left neighbour here has yet to take it over. */
static bool is_awaited(const struct group *g)
{
    for (uint32_t i = 0; i < g->node->group_count; i++) {
        const struct group *left = g->node->group[i];
        if (left->px && left->shard && left->slot_hi == g->slot_lo && !paxos_installing(left->px))
            return true;
    }
    return false;
}

/* The map follows the group's own log, so it may lag; where it is ahead of this replica and does
 * not name it, the group has gone on without it. */
static bool is_removed(const struct group *g)
{
    if (MUTANT(MUTANT_DROP_BEFORE_MAP)) {
        for (int i = 0; i < g->config.count; i++)
            if (g->config.member[i].replica == g->replica) return false;
        return true;
    }
    if (ring_is_merged_away(&g->row)) return !is_awaited(g);
    if (g->row.state != RING_GROUP_SERVING || g->row.config_position < g->config_id.position)
        return false;
    for (int i = 0; i < g->row.config.count; i++)
        if (g->row.config.member[i].replica == g->replica) return false;
    return true;
}

void replica_slow(struct group *g)
{
    if (g->dying)
        bury(g);
    else if (g->px && is_removed(g))
        replica_drop(g);
}
