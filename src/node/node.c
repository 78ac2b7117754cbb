/* The life of a node and its turn: recover, found, serve; then in every turn propose what was
 * evaluated, write the log, release replies. */
#include "node/job.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "node/job.h"
#include "ring/slot.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define SLOW_EVERY        (10 * MS) /* ticks, deadlines, flushing */
#define FLUSH_LOOK_EVERY  (50 * MS)
#define SLOW_SLICE        256         /* idle groups looked at in a slow turn */
#define REST_MAX          (4000 * MS) /* those at rest are looked at all the same */
#define ENGINE_LOOK_EVERY (1000 * MS)
#define MERGE_SHARE       4            /* of the engine's bytes is kept free for merging them, */
#define MERGE_MAX         (1ull << 30) /* but no more than nearly every merge takes */
#define RECLAIM_EVERY     (200 * MS)   /* on a full disk */
#define SCRATCH_KEEP      (4u << 20)
#define MEMORY_FULL       8          /* times memory_bytes: then writes wait for flushing */
#define SPREAD_EVERY      (250 * MS) /* at most so many leaderships are given back in that time */
#define SPREAD_AT_ONCE    8
#define SPREAD_PATIENCE   (1000 * MS) /* after a node came up, or a leadership began */
#define WITNESS_SEGMENTS  4 /* of a witness's log, before it wants to be rid of the oldest */
#define BEAT_EVERY        (1000 * MS) /* a write to an idle log, to know that the device lives */

/* ---- words for the operator ---- */

void node_log(struct node *n, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    trace_line("log: %s", line);
    if (n->config.log_line) n->config.log_line(n->config.ctx, line);
}

void node_fatal(struct node *n, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n->dead) return;
    n->dead = true;
    n->config.fatal(n->config.ctx, line);
}

void node_begin(struct node *n)
{
    n->now = io_now(n->io);
    n->wall_ms = io_wall_ms(n->io);
    trace_use(n->config.trace ? n->config.trace : &n->trace);
}

/* ---- configuration and identity ---- */

static void default_u64(uint64_t *v, uint64_t value)
{
    if (!*v) *v = value;
}

static void default_u32(uint32_t *v, uint32_t value)
{
    if (!*v) *v = value;
}

static void config_defaults(struct node_config *c)
{
    default_u64(&c->log_segment_bytes, 64u << 20);
    default_u64(&c->log_quota_bytes, 1u << 30);
    if (!c->memory_bytes) c->memory_bytes = 64u << 20;
    if (!c->cache_bytes) c->cache_bytes = 32u << 20;
    default_u32(&c->lease_ms, 400);
    default_u32(&c->drift_ppm, 5000);
    default_u32(&c->heartbeat_ms, 50);
    default_u32(&c->election_ms, 300);
    default_u32(&c->campaigns_max, 128);
    default_u32(&c->clients_max, 10000);
    default_u32(&c->capacity, 100);
    default_u32(&c->grace_ms, 300000);
}

/* An entry is a batch and the last command's effects: both together fit a log segment. */
static void entry_bounds(struct node *n)
{
    size_t segment = (size_t)n->config.log_segment_bytes;
    n->batch_max = segment / 8 < SHARD_BATCH_MAX ? segment / 8 : SHARD_BATCH_MAX;
    n->effects_max = segment / 4 * 3 < SHARD_EFFECTS_MAX ? segment / 4 * 3 : SHARD_EFFECTS_MAX;
}

static int address_compare(const void *a, const void *b)
{
    size_t x = strlen(a), y = strlen(b);
    return x != y ? (x > y) - (x < y) : strcmp(a, b);
}

/* The founding list, sorted, so that each node numbers all alike. */
static bool found_parse(const char *list, struct identity *id, char *error, size_t error_size)
{
    const char *at = list;
    while (*at) {
        size_t size = strcspn(at, ",");
        if (size == 0 || size >= sizeof id->address[0] || id->node_count == NODE_FOUND_MAX) {
            snprintf(error, error_size,
                     "--found must be 1 to %d addresses HOST:PORT separated by commas, got '%s'",
                     NODE_FOUND_MAX, list);
            return false;
        }
        memcpy(id->address[++id->node_count], at, size);
        at += size;
        if (*at == ',') at++;
    }
    qsort(id->address[1], id->node_count, sizeof id->address[0], address_compare);
    for (int i = 2; i <= id->node_count; i++) {
        if (strcmp(id->address[i - 1], id->address[i]) != 0) continue;
        snprintf(error, error_size, "--found names %s twice", id->address[i]);
        return false;
    }
    return id->node_count > 0;
}

static uint64_t cluster_id(const struct identity *id)
{
    uint64_t h = 0x73796e6f64u;
    for (int i = 1; i <= id->node_count; i++) h = hash64(bytes_str(id->address[i]), h);
    return h;
}

static bool identity_found(struct node *n, char *error, size_t error_size)
{
    struct identity *id = &n->identity;
    const struct node_config *c = &n->config;
    *id = (struct identity){0};
    if (c->witness) {
        snprintf(error, error_size, "--witness goes with --join: founding nodes hold data");
        return false;
    }
    if (!found_parse(c->found ? c->found : c->peer, id, error, error_size)) return false;
    for (int i = 1; i <= id->node_count; i++)
        if (strcmp(id->address[i], c->peer) == 0) id->node = (uint16_t)i;
    if (!id->node) {
        snprintf(error, error_size, "--found does not contain this node's own peer address %s",
                 c->peer);
        return false;
    }
    id->groups = c->groups ? c->groups : 16;
    id->replicas = c->replicas ? c->replicas : (id->node_count < 5 ? id->node_count : 5);
    if (id->groups > NODE_GROUPS_MAX || id->replicas > id->node_count ||
        id->replicas > PAXOS_MEMBERS_MAX) {
        snprintf(error, error_size,
                 "--groups is at most %d and --replicas at most the number of nodes (%u) and %d",
                 NODE_GROUPS_MAX, id->node_count, PAXOS_MEMBERS_MAX);
        return false;
    }
    id->cluster = cluster_id(id);
    id->disk = io_random(n->io) | 1;
    id->disks[id->node] = id->disk;
    id->founded = id->node_count == 1;
    return true;
}

/* A node that is to join has a disk, and gets the rest from the cluster (join.c). */
static bool identity_join(struct node *n, char *error, size_t error_size)
{
    if (n->config.found || n->config.groups || n->config.replicas) {
        snprintf(
            error, error_size,
            "--join goes with neither --found nor --groups nor --replicas: the cluster has them");
        return false;
    }
    n->identity = (struct identity){.disk = io_random(n->io) | 1, .witness = n->config.witness};
    return true;
}

static bool identity_agrees(struct node *n, char *error, size_t error_size)
{
    struct identity given = {0}, *id = &n->identity;
    const struct node_config *c = &n->config;
    if (c->witness && !id->witness) {
        snprintf(error, error_size,
                 "this data directory is of a node that holds data; a witness needs a directory of "
                 "its own");
        return false;
    }
    if (!id->node_count) { /* it joined; where it listens is in the map, and may change */
        if (!c->found) return true;
        snprintf(
            error, error_size,
            "this data directory joined a cluster; leave --found out or use another directory");
        return false;
    }
    if (c->found && !found_parse(c->found, &given, error, error_size)) return false;
    if (c->found && cluster_id(&given) != id->cluster) {
        snprintf(error, error_size,
                 "--found differs from the list this data directory was founded with; leave it out "
                 "or use another directory");
        return false;
    }
    if ((c->groups && c->groups != id->groups) || (c->replicas && c->replicas != id->replicas)) {
        snprintf(error, error_size,
                 "this data directory was founded with %u groups and %u replicas; leave --groups "
                 "and --replicas out",
                 id->groups, id->replicas);
        return false;
    }
    if (id->node_count > 1 && strcmp(id->address[id->node], c->peer) != 0) {
        snprintf(error, error_size,
                 "this data directory belongs to node %u with peer address %s, not %s; start it "
                 "with --peer %s",
                 id->node, id->address[id->node], c->peer, id->address[id->node]);
        return false;
    }
    return true;
}

/* Nothing that another node, or a client, was ever told depends on an identity under which no log
 * was begun; everything does on one under which a log was. */
static bool identity_has_its_log(struct node *n, enum identity_result *result, int logs,
                                 char *error, size_t error_size)
{
    if (*result == IDENTITY_E_DAMAGED && !logs)
        *result = IDENTITY_NONE; /* the very first save was cut short */
    if (*result == IDENTITY_NONE && logs) {
        snprintf(error, error_size,
                 "the data directory has a log but no identity file; bring the file back, or use "
                 "another directory");
        return false;
    }
    if (*result == IDENTITY_FOUND && !logs && n->identity.founded && n->identity.node_count != 1) {
        snprintf(error, error_size,
                 "the log is missing in a data directory that took part in a cluster; bring it "
                 "back, or rebuild the node from its peers");
        return false;
    }
    return true;
}

static void count_file(void *ctx, const char *name)
{
    (void)name;
    ++*(int *)ctx;
}

static bool identity_open(struct node *n, bool *fresh, char *error, size_t error_size)
{
    int logs = 0;
    enum identity_result result = identity_load(n->io, &n->identity);
    (void)io_file_list(n->io, "log-", count_file, &logs);
    if (result != IDENTITY_E_IO && !identity_has_its_log(n, &result, logs, error, error_size))
        return false;
    *fresh = result == IDENTITY_NONE;
    switch (result) {
    case IDENTITY_E_IO:
        snprintf(error, error_size,
                 "cannot read the identity file; check the data directory's permissions and disk");
        return false;
    case IDENTITY_E_DAMAGED:
        snprintf(error, error_size,
                 "the identity file is damaged (fewer than two of its four copies are sound); the "
                 "node must be rebuilt from its peers "
                 "with an empty data directory under a new id");
        return false;
    case IDENTITY_NONE:
        if (n->config.join ? !identity_join(n, error, error_size)
                           : !identity_found(n, error, error_size))
            return false;
        break;
    case IDENTITY_FOUND:
        if (!identity_agrees(n, error, error_size)) return false;
        break;
    }
    n->identity.incarnation++;
    int saved = identity_save(n->io, &n->identity);
    if (saved) snprintf(error, error_size, "cannot write the identity file: %s", strerror(-saved));
    return saved == 0;
}

/* ---- groups ---- */

/* The map that every founding node knows without asking: epoch 0. */
static void ring_found(struct node *n)
{
    const struct identity *id = &n->identity;
    uint32_t replicas = id->replicas < id->node_count || id->node_count > 2 ? id->replicas : 3;
    n->ring = (struct ring_settings){.cluster = id->cluster,
                                     .replicas = replicas,
                                     .next_group = id->groups,
                                     .next_node = (uint16_t)(id->node_count + 1),
                                     .grace_ms = n->config.grace_ms,
                                     .moves_max = 4};
    n->ring_there = true;
    for (uint16_t i = 1; i <= id->node_count; i++) {
        struct ring_node *row = &n->ring_node[i];
        *row = (struct ring_node){.id = i, .state = RING_NODE_SERVING, .capacity = 100};
        memcpy(row->peer, id->address[i], sizeof row->peer);
    }
    for (uint32_t i = 0; i < id->groups; i++) {
        struct group *g = group_at(n, i);
        struct ring_group *row = &g->row;
        *row =
            (struct ring_group){.id = i,
                                .state = RING_GROUP_SERVING,
                                .slot_lo = (uint16_t)((uint64_t)SLOT_COUNT * i / id->groups),
                                .slot_hi = (uint16_t)((uint64_t)SLOT_COUNT * (i + 1) / id->groups)};
        row->config.count = (uint8_t)id->replicas;
        row->config.next_replica = (uint16_t)(id->node_count + 1);
        for (uint32_t r = 0; r < id->replicas; r++) {
            uint16_t node = (uint16_t)((i + r) % id->node_count + 1);
            row->config.member[r] = (struct paxos_member){.replica = node, .node = node};
        }
        g->slot_lo = row->slot_lo;
        g->slot_hi = row->slot_hi;
        g->config = row->config;
    }
}

static void restore_record(void *ctx, const struct log_record *r)
{
    struct node *n = ctx;
    if (r->group < n->group_count && r->type != LOG_BEAT) group_restore(n->group[r->group], r);
}

static void log_is_synced(void *ctx, uint64_t log_lsn)
{
    struct node *n = ctx;
    node_begin(n);
    /* The marks of one group are in order, so the last one counts: gather it, then step each group
     * once. */
    struct group *touched = NULL;
    while (n->mark_count && n->marks[n->mark_head].log_lsn <= log_lsn) {
        struct append_mark *m = &n->marks[n->mark_head];
        if (m->group && !m->group->synced_next) {
            m->group->synced_next =
                touched ? touched : m->group; /* the last of the chain points at itself */
            touched = m->group;
        }
        if (m->group) m->group->synced_to = m->lsn; /* else its replica is gone */
        n->mark_head = (n->mark_head + 1) % n->mark_capacity;
        n->mark_count--;
    }
    while (touched) {
        struct group *g = touched;
        touched = g->synced_next == g ? NULL : g->synced_next;
        g->synced_next = NULL;
        group_synced(g, g->synced_to);
    }
}

static void log_is_broken(void *ctx, const char *why)
{
    node_fatal(ctx, "%s", why);
}

/* A witness has nothing to write elsewhere before it can let go of its log, so a short one will do.
 */
static uint64_t log_quota(const struct node *n)
{
    uint64_t quota = n->config.log_quota_bytes,
             few = WITNESS_SEGMENTS * n->config.log_segment_bytes;
    return n->identity.witness && quota > few ? few : quota;
}

static bool open_state(struct node *n, char *error, size_t error_size)
{
    struct log_options options = {.segment_bytes = n->config.log_segment_bytes,
                                  .quota_bytes = log_quota(n),
                                  .spare_segments = 1,
                                  .synced = log_is_synced,
                                  .fatal = log_is_broken,
                                  .ctx = n};
    n->slot_group = mem_zalloc(SLOT_COUNT * sizeof *n->slot_group);
    if (n->identity.node_count) ring_found(n);
    if (!ring_load(n, error, error_size) || !replicas_open(n, error, error_size)) return false;
    ring_route(n);
    if (log_open(n->io, &options, restore_record, n, &n->log, error, error_size) != LOG_OPENED)
        return false;
    if (error_size && error[0]) node_log(n, "%s", error);
    for (uint32_t i = 0; i < n->group_count; i++)
        if (n->group[i]->px) group_trust_log(n->group[i]);
    for (uint32_t i = 0; i < NODE_GROUPS_MAX;
         i++) /* of replicas that left, whose death was cut short */
        if (log_has_group(n->log, i) && (i >= n->group_count || !n->group[i]->px))
            log_drop_group(n->log, i);
    return true;
}

static void run_id_make(struct node *n);

void node_take_part(struct node *n)
{
    ASSERT(!n->taking_part && n->identity.founded);
    /* A node that never promised anything to anybody need not wait for promises it may have
     * forgotten. */
    bool fresh = n->identity.incarnation == 1 || MUTANT(MUTANT_NO_RESTART_WAIT);
    lease_init(&n->leases, n->identity.node, (uint32_t)n->identity.incarnation,
               n->config.lease_ms * MS, n->config.drift_ppm, io_now(n->io), fresh);
    n->taking_part = true;
    for (uint32_t i = 0; i < n->group_count && !n->dead; i++) group_start(n->group[i]);
}

void node_identified(struct node *n)
{
    run_id_make(n);
    peers_start(n);
}

/* ---- life ---- */

static uint64_t node_turn(void *ctx, uint64_t now);

static void run_id_make(struct node *n)
{
    for (int i = 0; i < 40; i++)
        n->run_id[i] =
            "0123456789abcdef"[hash_mix(n->identity.disk + (uint64_t)(n->identity.node * 64 + i)) &
                               15];
}

static bool listen_on(struct node *n, const char *address, const struct io_handler *h,
                      struct io_listener **out, char *error, size_t error_size)
{
    int result = io_listen(n->io, address, h, n, out);
    if (result == 0) return true;
    snprintf(error, error_size, "cannot listen on %s: %s; is another process using it?", address,
             strerror(-result));
    return false;
}

static struct node *node_alloc(struct io *io, const struct node_config *config)
{
    struct node *n = mem_zalloc(sizeof *n);
    n->io = io;
    n->config = *config;
    config_defaults(&n->config);
    entry_bounds(n);
    snprintf(n->listen, sizeof n->listen, "%s", config->listen);
    snprintf(n->peer_address, sizeof n->peer_address, "%s", config->peer);
    snprintf(n->http, sizeof n->http, "%s", config->http ? config->http : "");
    snprintf(n->zone, sizeof n->zone, "%s", config->zone ? config->zone : "");
    list_init(&n->clients);
    list_init(&n->waiting);
    list_init(&n->requests);
    list_init(&n->spare_requests);
    list_init(&n->remote);
    list_init(&n->learns);
    list_init(&n->askers);
    list_init(&n->traces);
    list_init(&n->txns);
    list_init(&n->cuts);
    jobs_init(n);
    list_init(&n->opens);
    list_init(&n->scans);
    n->txn_at = UINT64_MAX;
    view_init(&n->view);
    script_init(n);
    tasks_init(n);
    prng_init(&n->random, io_random(io));
    n->slow_micros = 10000;
    node_begin(n);
    n->started_at = n->now;
    n->started_ms = n->wall_ms;
    return n;
}

struct node *node_new(struct io *io, const struct node_config *config, char *error,
                      size_t error_size)
{
    struct node *n = node_alloc(io, config);
    bool fresh;

    n->cache = space_cache_new(n->config.cache_bytes);
    if (!identity_open(n, &fresh, error, error_size) || !open_state(n, error, error_size))
        goto fail;
    bool knows = n->identity.node && n->ring_there; /* else any node that it is told of does */
    if (!knows && !join_start(n, error, error_size)) goto fail;
    if (!listen_on(n, n->peer_address, &peer_in_handler, &n->peer_listener, error, error_size))
        goto fail;
    if (!listen_on(n, n->listen, &client_handler, &n->client_listener, error, error_size))
        goto fail;
    if (knows) node_identified(n);
    if (knows && n->identity.founded) node_take_part(n);
    io->client = (struct io_client){node_turn, n};
    n->started = true;
    return n;
fail:
    node_free(n);
    return NULL;
}

void node_free(struct node *n)
{
    if (!n) return;
    trace_use(n->config.trace ? n->config.trace : &n->trace);
    n->dead = true;
    n->io->client = (struct io_client){0};
    if (n->client_listener) io_unlisten(n->io, n->client_listener);
    if (n->peer_listener) io_unlisten(n->io, n->peer_listener);
    while (!list_empty(&n->clients)) {
        struct client *c = LIST_OF(n->clients.next, struct client, link);
        struct io_conn *conn = c->conn;
        client_end(c);
        io_conn_close(conn, false);
    }
    txn_free_all(n);
    cuts_free_all(n);
    opens_free(n);
    tasks_free(n);
    snapshots_free(n);
    request_free_all(n);
    jobs_free(n);
    join_free(n);
    join_free_askers(n);
    peers_free(n);
    if (n->log && n->started)
        log_abandon(n->log);
    else if (n->log)
        log_free(n->log);
    group_free_learns(n);
    for (uint32_t i = 0; i < n->group_count; i++) group_free(n->group[i]);
    mem_free(n->group);
    driver_free(n);
    txn_forget_free(n);
    ring_free(n);
    mem_free(n->slot_group);
    mem_free(n->marks);
    space_cache_free(n->cache);
    view_deinit(&n->view);
    script_deinit(n);
    buf_deinit(&n->scratch);
    buf_deinit(&n->scratch2);
    trace_use(NULL);
    mem_free(n);
}

bool node_wants_stop(const struct node *n)
{
    return n->shutdown_asked;
}

void group_give_away(struct group *g)
{
    uint16_t best = 0;
    for (int i = 0; i < g->config.count; i++) {
        uint16_t replica = g->config.member[i].replica;
        const struct peer *p = g->node->peers[g->config.member[i].node];
        if (!health_takes_leaders(g->node, g->config.member[i].node)) continue;
        if (replica == g->replica || g->config.member[i].role != PAXOS_VOTER || !p ||
            !p->out_ready || !p->in)
            continue;
        if (!best || paxos_match(g->px, replica) > paxos_match(g->px, best)) best = replica;
    }
    if (best) group_hand_over(g, best);
}

bool node_stop(struct node *n)
{
    bool leading = false;
    node_begin(n);
    for (uint32_t i = 0; i < n->group_count; i++) {
        struct group *g = n->group[i];
        if (!n->stopping && g->leading) group_give_away(g);
        leading |= g->leading && g->config.count > 1;
    }
    if (!n->stopping) n->stop_at = n->now + 2000 * MS;
    n->stopping = true;
    return !leading || n->now > n->stop_at;
}

/* ---- the turn ---- */

/* What the engine must be able to write whatever clients do: all that is in memory only, and a
 * merge, whose output is there before its input goes, for without it nothing that is deleted
 * leaves. */
static void reserve_room(struct node *n, size_t memory)
{
    struct engine *e = n->config.engine;
    if (e && n->now >= n->engine_bytes_at) {
        n->engine_bytes_at = n->now + ENGINE_LOOK_EVERY;
        n->engine_bytes = e->ops->disk_bytes(e);
    }
    uint64_t merge = (n->engine_bytes + memory) / MERGE_SHARE;
    log_set_reserve(n->log, memory, merge < MERGE_MAX ? merge : MERGE_MAX);
}

static void reclaim_run(void *ctx) /* off the reactor */
{
    struct node *n = ctx;
    n->config.engine->ops->reclaim(n->config.engine);
}

static void reclaim_done(void *ctx)
{
    struct node *n = ctx;
    n->reclaiming = false;
}

/* On a full disk deletes go on. What they free appears once they are in the engine, and merged
 * there with what they delete; neither comes by itself, for the tables grow no more. */
static void reclaim_some(struct node *n, struct group *largest)
{
    struct engine *e = n->config.engine;
    n->reclaim_at = n->now + RECLAIM_EVERY;
    if (largest) (void)group_flush(largest);
    if (!e || !e->ops->reclaim || n->reclaiming) return;
    n->reclaiming = true;
    n->reclaim = (struct io_work){.run = reclaim_run, .done = reclaim_done, .ctx = n};
    io_work(n->io, &n->reclaim);
}

/* The largest memory is flushed when there is too much of it; a group that holds the oldest segment
 * when the log is too long. */
static void flush_some(struct node *n)
{
    size_t total = 0;
    struct group *largest = NULL;
    uint32_t oldest;
    bool flushing = false;
    if (n->applied_bytes == n->flush_bytes && !n->memory_over && !n->log_full &&
        !log_pressure(n->log, &oldest))
        return; /* nothing came, and nothing is left to do */
    n->flush_bytes = n->applied_bytes;
    for (uint32_t i = 0; i < n->group_count; i++) {
        struct group *g = n->group[i];
        if (!g->shard || g->dying) continue;
        flushing |= space_flushing(g->shard->space);
        total += space_memory(g->shard->space);
        if (n->now < g->flush_retry_at) continue;
        if (!largest || space_memory(g->shard->space) > space_memory(largest->shard->space))
            largest = g;
    }
    n->memory_over = total > n->config.memory_bytes;
    n->memory_full = total > MEMORY_FULL * n->config.memory_bytes;
    reserve_room(n, total);
    if (flushing) return; /* one at a time */
    bool begun = false;
    if (n->memory_over && largest) {
        begun = group_flush(largest);
    } else if (log_pressure(n->log, &oldest) && oldest < n->group_count &&
               n->group[oldest]->shard && !n->group[oldest]->dying &&
               n->now >= n->group[oldest]->flush_retry_at) {
        struct group *g = n->group[oldest];
        begun = group_flush(g);
        if (!begun) group_set_floor(g);
    }
    if (!begun && n->log_full && n->now >= n->reclaim_at) reclaim_some(n, largest);
}

/* Leaderships go to where they belong (group_home), a few at a time, once that member is up and has
 * everything: else whoever survived a failure would lead all groups for ever. */
static void spread_leaders(struct node *n)
{
    if (n->now < n->spread_at || n->stopping) return;
    n->spread_at = n->now + SPREAD_EVERY + io_random(n->io) % SPREAD_EVERY;
    uint32_t given = 0;
    for (uint32_t i = 0; i < n->group_count && given < SPREAD_AT_ONCE; i++) {
        struct group *g = n->group[i];
        if (!g->leading || cut_holds(g)) continue;
        uint16_t home = group_home(g), to = group_replica_on(g, home);
        struct peer *p = home == n->identity.node ? NULL : n->peers[home];
        if (!p || !p->out_ready || !health_takes_leaders(n, home) ||
            n->now - p->up_since < SPREAD_PATIENCE || n->now - g->era_began < SPREAD_PATIENCE)
            continue;
        if (paxos_match(g->px, to) + 64 < paxos_chosen(g->px)) continue;
        group_hand_over(g, to);
        given++;
    }
}

static void rates(struct node *n)
{
    if (n->now - n->ops_at < 1000 * MS) return;
    uint64_t passed = n->now - n->ops_at;
    n->ops_per_s = (n->stats.commands - n->ops_before) * 1000 * MS / passed;
    n->ops_before = n->stats.commands;
    n->ops_at = n->now;
    for (uint32_t i = 0; i < n->group_count; i++) {
        struct group *g = n->group[i];
        uint64_t rate = (g->load - g->load_before) * 1000 * MS / passed;
        if (rate == g->load_rate && !rate) continue;
        g->load_rate = rate;
        g->load_before = g->load;
        g->news = true;
    }
}

static void group_look(struct group *g)
{
    bool rested = g->resting;
    if (rested) g->tick_at = 0; /* nobody brought it nearer meanwhile */
    g->resting = false;
    group_slow(g);
    if (!group_idle(g))
        group_busy(g);
    else
        g->resting = group_rests(g);
    if (g->resting && !rested) group_settle(g);
}

/* Groups that are busy are looked at each time, the others a slice at a time, and those at rest
 * only once in a while, or when something happened to a node: ten thousand idle groups cost no more
 * than some hundred. */
static void groups_slow(struct node *n)
{
    struct group *g = n->busy, *next;
    n->busy = NULL;
    n->campaigns_begun = 0;
    for (; g && !n->dead; g = next) {
        next = g->busy_next;
        g->busy = false;
        group_look(g);
    }
    if (peers_changed(n) || n->now - n->rested_at >= REST_MAX) {
        n->rested_at = n->now;
        n->slow_all = n->group_count;
    }
    for (uint32_t i = 0; i < SLOW_SLICE && i < n->group_count && !n->dead; i++) {
        g = n->group[n->slow_next++ % n->group_count];
        if (!g->busy && (!g->resting || n->slow_all)) group_look(g);
        if (n->slow_all) n->slow_all--;
    }
}

static void slow_part(struct node *n)
{
    enum log_room room = log_room(n->log);
    bool full = room != LOG_ROOM_OK;
    if (full != n->log_full)
        node_log(n, full ? "the disk is nearly full: writes are refused until there is room"
                         : "there is room on the disk again: writes are accepted");
    n->log_full = full;
    n->log_stuck = room == LOG_ROOM_NONE;
    groups_slow(n);
    request_deadlines(n);
    cuts_slow(n);
    jobs_slow(n);
    opens_slow(n);
    tasks_slow(n);
    if (n->now >= n->flush_at) {
        n->flush_at = n->now + FLUSH_LOOK_EVERY;
        flush_some(n);
    }
    spread_leaders(n);
    rates(n);
    ring_turn(n);
    driver_turn(n);
    join_turn(n);
    health_turn(n);
    if (n->now >= n->beat_at && n->taking_part) {
        n->beat_at = n->now + BEAT_EVERY;
        if (n->now - log_last_completion(n->log) > BEAT_EVERY)
            (void)log_append(n->log, &(struct log_record){.type = LOG_BEAT});
    }
}

static void release(struct node *n)
{
    struct list *next;
    n->advanced = false;
    request_release_remote(n);
    for (struct list *l = n->waiting.next; l != &n->waiting; l = next) {
        next = l->next;
        client_release(LIST_OF(l, struct client, waiting));
    }
}

/* What a group's turn wakes again waits for the next one. */
static void groups_turn(struct node *n)
{
    struct group *g = n->awake, *next;
    n->awake = NULL;
    for (; g && !n->dead; g = next) {
        next = g->awake_next;
        g->awake = false;
        group_turn(g);
    }
}

/* One huge value should not keep its memory here for ever. */
static void scratch_trim(struct node *n)
{
    struct buf *scratch[] = {&n->scratch, &n->scratch2, &n->view.effects};
    for (size_t i = 0; i < sizeof scratch / sizeof *scratch; i++)
        if (scratch[i]->capacity > SCRATCH_KEEP) buf_deinit(scratch[i]);
}

static uint64_t node_turn(void *ctx, uint64_t now)
{
    struct node *n = ctx;
    if (n->dead) return UINT64_MAX;
    node_begin(n);
    n->now = now;

    peers_turn(n);
    if (now >= n->slow_at) {
        n->slow_at = now + SLOW_EVERY;
        slow_part(n);
    }
    txn_turn(n);
    bool more = jobs_turn(n);
    groups_turn(n);
    if (n->dead) return UINT64_MAX;
    log_turn(n->log);
    release(n);
    peers_flush(n);
    space_cache_turn(n->cache);
    scratch_trim(n);
    trace_use(NULL);

    n->turned_at = now;
    uint64_t deadline = n->slow_at < n->heartbeat_at ? n->slow_at : n->heartbeat_at,
             log_at = log_deadline(n->log);
    if (log_at < deadline) deadline = log_at;
    if (n->txn_at < deadline) deadline = n->txn_at;
    return n->advanced || n->awake || more ? now : deadline;
}

/* ---- for checkers ---- */

bool node_group(struct node *n, uint32_t group, struct node_group_view *out)
{
    struct group *g = group_named(n, group);
    if (!g || !g->px) return false;
    *out = (struct node_group_view){.leader_node = group_leader_node(g),
                                    .leads = n->taking_part && paxos_role(g->px) == PAXOS_LEADER,
                                    .serving = group_serves(g),
                                    .promised = paxos_promised(g->px),
                                    .chosen = paxos_chosen(g->px),
                                    .accepted = paxos_next_position(g->px) - 1,
                                    .log_first = log_first(n->log, group),
                                    .installing = g->shard == NULL,
                                    .replica = g->replica,
                                    .slot_lo = g->slot_lo,
                                    .slot_hi = g->slot_hi,
                                    .config_position = g->config_id.position,
                                    .config = g->config};
    if (!g->shard) return true;
    out->applied = g->shard->applied;
    out->flushed = g->shard->flushed;
    out->last_valid = g->shard->last_valid;
    return true;
}

uint32_t node_group_count(const struct node *n)
{
    return n->group_count;
}

bool node_digest(struct node *n, uint32_t group, uint64_t *position, uint64_t *digest,
                 uint64_t *keys)
{
    struct group *g = group_named(n, group);
    if (!g || !g->px || !g->shard || n->identity.witness) return false;
    *position = g->shard->applied;
    return space_digest(g->shard->space, digest, keys) != ENGINE_E_IO;
}

uint16_t node_id(const struct node *n)
{
    return n->identity.node;
}

bool node_takes_part(const struct node *n)
{
    return n->taking_part;
}

bool node_ring_row(const struct node *n, uint8_t type, uint32_t id, struct ring_row *out)
{
    *out = (struct ring_row){.type = type};
    switch (type) {
    case RING_ROW_SETTINGS: out->settings = n->ring; return n->ring_there;
    case RING_ROW_NODE:
        if (id > RING_NODES_MAX) return false;
        out->node = n->ring_node[id];
        return out->node.id != 0;
    default:
        if (id >= n->group_count) return false;
        out->group = n->group[id]->row;
        return out->group.state != RING_GROUP_FREE || ring_is_merged_away(&out->group);
    }
}

void node_check(struct node *n)
{
    for (uint32_t i = 0; i < n->group_count; i++) {
        struct group *g = n->group[i];
        if (!g->px) continue;
        if (n->taking_part) {
            paxos_check(g->px);
            ASSERT(!g->shard || paxos_chosen(g->px) == g->shard->applied || g->broken ||
                   g->overtaken);
            ASSERT(!g->leading || paxos_role(g->px) == PAXOS_LEADER);
        }
        if (g->shard) shard_check(g->shard);
    }
}
