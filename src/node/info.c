/* INFO: the sections and fields that Redis's tools read, with true values or none. */
#include "node/job.h"
#include "base/mem.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

typedef void info_section(struct client *c, struct buf *out);

static const char *port_of(const char *address)
{
    const char *colon = strrchr(address, ':');
    return colon ? colon + 1 : "0";
}

static void info_server(struct client *c, struct buf *out)
{
    struct node *n = c->node;
    uint64_t up = (n->now - n->started_at) / (1000 * MS);
    buf_printf(out,
               "redis_version:7.2.0\r\nsynod_version:0.1.0\r\nredis_mode:%s\r\nos:Linux\r\narch_"
               "bits:64\r\n",
               ring_is_cluster(n) ? "cluster" : "standalone");
    buf_printf(out,
               "multiplexing_api:%s\r\nprocess_id:%ld\r\nrun_id:%s\r\ntcp_port:%s\r\nserver_time_"
               "usec:%lld\r\n",
               n->config.backend_name ? n->config.backend_name : "?", (long)getpid(), n->run_id,
               port_of(n->listen), (long long)n->wall_ms * 1000);
    buf_printf(out,
               "uptime_in_seconds:%llu\r\nuptime_in_days:%llu\r\nhz:100\r\nnode_id:%u\r\ncluster_"
               "id:%016llx\r\n",
               (unsigned long long)up, (unsigned long long)up / 86400, n->identity.node,
               (unsigned long long)n->identity.cluster);
}

static void info_clients(struct client *c, struct buf *out)
{
    buf_printf(out, "connected_clients:%u\r\nmaxclients:%u\r\nblocked_clients:0\r\n",
               c->node->client_count, c->node->config.clients_max);
}

uint64_t info_memory_bytes(struct node *n)
{
    return n->config.resident ? n->config.resident(n->config.ctx) : 0;
}

static void info_memory(struct client *c, struct buf *out)
{
    struct node *n = c->node;
    size_t recent = 0;
    uint64_t memory = info_memory_bytes(n);
    for (uint32_t i = 0; i < n->group_count; i++)
        if (n->group[i]->shard) recent += space_memory(n->group[i]->shard->space);
    buf_printf(out,
               "used_memory:%llu\r\nused_memory_human:%.2fM\r\nused_memory_rss:%llu\r\nrecent_"
               "bytes:%zu\r\nrecent_limit:%zu\r\n",
               (unsigned long long)memory, (double)memory / 1048576.0, (unsigned long long)memory,
               recent, n->config.memory_bytes);
    buf_printf(
        out, "used_memory_vm_eval:%zu\r\nnumber_of_cached_scripts:%u\r\nnumber_of_functions:%u\r\n",
        script_engine_memory(n->scripts.engine), script_engine_count(n->scripts.engine),
        n->scripts.names);
    buf_printf(out, "maxmemory:0\r\nmaxmemory_human:0B\r\nmaxmemory_policy:noeviction\r\nmem_"
                    "allocator:jemalloc\r\n");
}

static void info_persistence(struct client *c, struct buf *out)
{
    struct node *n = c->node;
    struct log_stats s;
    log_stats(n->log, &s);
    buf_printf(out, "loading:0\r\naof_enabled:1\r\nrdb_changes_since_last_save:0\r\nrdb_bgsave_in_"
                    "progress:0\r\naof_last_write_status:ok\r\n");
    buf_printf(out,
               "log_records:%llu\r\nlog_bytes:%llu\r\nlog_writes:%llu\r\nlog_segments:%llu\r\nlog_"
               "segment_bytes:%llu\r\nlog_recycled:%llu\r\n",
               (unsigned long long)s.records, (unsigned long long)s.bytes,
               (unsigned long long)s.writes, (unsigned long long)s.segments,
               (unsigned long long)s.segment_bytes, (unsigned long long)s.recycled);
    buf_printf(out,
               "log_write_us_avg:%llu\r\nlog_write_us_max:%llu\r\nlog_full:%d\r\n"
               "log_reserve_bytes:%llu\r\n",
               (unsigned long long)(s.writes ? s.write_ns_total / s.writes / 1000 : 0),
               (unsigned long long)s.write_ns_max / 1000, n->log_full,
               (unsigned long long)s.reserve_bytes);
    if (n->config.engine) n->config.engine->ops->stats(n->config.engine, out);
}

static void info_stats(struct client *c, struct buf *out)
{
    struct node *n = c->node;
    const struct node_stats *s = &n->stats;
    buf_printf(out,
               "total_connections_received:%llu\r\ntotal_commands_processed:%llu\r\ninstantaneous_"
               "ops_per_sec:%llu\r\ntotal_net_input_bytes:%llu\r\n",
               (unsigned long long)s->connections, (unsigned long long)s->commands,
               (unsigned long long)n->ops_per_s, (unsigned long long)s->net_in);
    buf_printf(out,
               "rejected_connections:%llu\r\ncommands_evaluated:%llu\r\ncommands_forwarded:%"
               "llu\r\ncommands_for_peers:%llu\r\nread_misses:%llu\r\n",
               (unsigned long long)s->rejected, (unsigned long long)s->evaluated,
               (unsigned long long)s->forwarded, (unsigned long long)s->forwarded_in,
               (unsigned long long)s->misses);
    buf_printf(out,
               "entries_chosen:%llu\r\neffects_bytes:%llu\r\nread_rounds_lease:%llu\r\nread_rounds_"
               "quorum:%llu\r\nleaderships_begun:%llu\r\n",
               (unsigned long long)s->entries, (unsigned long long)s->effects_bytes,
               (unsigned long long)s->reads_lease, (unsigned long long)s->reads_quorum,
               (unsigned long long)s->elections);
    buf_printf(out,
               "replies_not_done:%llu\r\nreplies_unknown:%llu\r\nrefused_full:%llu\r\nbad_frames:%"
               "llu\r\nfetches_served:%llu\r\nsnapshots_sent:%llu\r\nsnapshots_taken:%llu\r\nreads_"
               "stale:%llu\r\n",
               (unsigned long long)s->not_done, (unsigned long long)s->unknown,
               (unsigned long long)s->refused_full, (unsigned long long)s->bad_frames,
               (unsigned long long)s->learned, (unsigned long long)s->snapshots_sent,
               (unsigned long long)s->snapshots_taken, (unsigned long long)s->reads_stale);
    buf_printf(out,
               "transactions_over_groups:%llu\r\ntransactions_retried:%llu\r\ntransactions_aborted:"
               "%llu\r\n",
               (unsigned long long)s->txn_committed, (unsigned long long)s->txn_retried,
               (unsigned long long)s->txn_aborted);
}

static long long staleness_ms(struct group *g)
{
    uint64_t ns = group_staleness(g);
    return ns == UINT64_MAX ? -1 : (long long)(ns / MS);
}

static void info_replication(struct client *c, struct buf *out)
{
    struct node *n = c->node;
    uint32_t leads = 0, here = 0, followers = 0;
    uint64_t follower_bits = 0, offset = 0;
    for (uint32_t i = 0; i < n->group_count; i++) {
        const struct group *g = n->group[i];
        here += g->px != NULL;
        leads += g->leading;
        offset += g->leading ? paxos_chosen(g->px) : 0;
        for (int m = 0; m < g->config.count && g->leading; m++)
            if (ring_node_heard(n, g->config.member[m].node))
                follower_bits |= 1ull << g->config.member[m].node;
    }
    follower_bits &= ~(1ull << n->identity.node);
    followers = (uint32_t)__builtin_popcountll(follower_bits);
    buf_printf(out,
               "role:master\r\nconnected_slaves:%u\r\nmaster_replid:%s\r\nmaster_repl_offset:%"
               "llu\r\ngroups_here:%u\r\n"
               "groups_led:%u\r\nreplicas_wanted:%u\r\n",
               followers, n->run_id, (unsigned long long)offset, here, leads, n->ring.replicas);
    for (uint32_t i = 0; i < n->group_count; i++) {
        struct group *g = n->group[i];
        if (g->px && g->shard)
            buf_printf(out,
                       "group%u:slots=%u-%u,leader=%u,chosen=%llu,flushed=%llu,lag_ms=%lld\r\n",
                       g->id, g->slot_lo, g->slot_hi - 1, group_leader_node(g),
                       (unsigned long long)paxos_chosen(g->px),
                       (unsigned long long)g->shard->flushed, staleness_ms(g));
    }
}

static void info_cpu(struct client *c, struct buf *out)
{
    struct rusage u;
    (void)c;
    if (getrusage(RUSAGE_SELF, &u)) return;
    buf_printf(out, "used_cpu_sys:%ld.%06ld\r\nused_cpu_user:%ld.%06ld\r\n",
               (long)u.ru_stime.tv_sec, (long)u.ru_stime.tv_usec, (long)u.ru_utime.tv_sec,
               (long)u.ru_utime.tv_usec);
}

static void info_cluster(struct client *c, struct buf *out)
{
    struct node *n = c->node;
    uint32_t nodes = 0, groups = 0;
    for (uint16_t i = 1; i <= n->node_max; i++) nodes += ring_shows(n, i);
    for (uint32_t i = 0; i < n->group_count; i++)
        groups += n->group[i]->row.state == RING_GROUP_SERVING;
    buf_printf(out,
               "cluster_enabled:%d\r\ncluster_nodes:%u\r\ncluster_groups:%u\r\n"
               "cluster_map_epoch:%llu\r\n",
               ring_is_cluster(n), nodes, groups, (unsigned long long)n->ring.epoch);
}

static void info_keyspace(struct client *c, struct buf *out)
{
    int64_t keys = 0;
    for (uint32_t i = 0; i < c->node->group_count; i++)
        if (c->node->group[i]->shard) keys += c->node->group[i]->shard->keys;
    if (keys) buf_printf(out, "db0:keys=%lld,expires=0,avg_ttl=0\r\n", (long long)keys);
}

/* For snapshots: attempts at cuts that this node coordinated; how long groups that it leads were
 * held for one; states of replicas that it keeps. */
static void info_snapshots(struct client *c, struct buf *out)
{
    const struct node *n = c->node;
    const struct node_stats *s = &n->stats;
    buf_printf(
        out,
        "snapshot_cuts_made:%llu\r\nsnapshot_cuts_void:%llu\r\nsnapshot_hold_last_us:%llu\r\n"
        "snapshot_hold_max_us:%llu\r\nsnapshot_states_kept:%u\r\n",
        (unsigned long long)s->cuts_made, (unsigned long long)s->cuts_void,
        (unsigned long long)(s->hold_last_ns / 1000), (unsigned long long)(s->hold_max_ns / 1000),
        n->pins);
}

/* Attempts of jobs' tasks, and what maps have given, on this node. */
static void info_jobs(struct client *c, struct buf *out)
{
    struct tasks_load load = tasks_load(c->node);
    buf_printf(out,
               "job_tasks_at_once:%u\r\njob_tasks_running:%u\r\njob_tasks_waiting:%u\r\n"
               "job_output_bytes:%llu\r\n",
               tasks_slots(c->node), load.running, load.waiting,
               (unsigned long long)load.output_bytes);
}

static const struct {
    const char *name, *title;
    info_section *fn;
} sections[] = {
    {"server", "Server", info_server},
    {"clients", "Clients", info_clients},
    {"memory", "Memory", info_memory},
    {"persistence", "Persistence", info_persistence},
    {"stats", "Stats", info_stats},
    {"replication", "Replication", info_replication},
    {"cpu", "CPU", info_cpu},
    {"cluster", "Cluster", info_cluster},
    {"snapshots", "Snapshots", info_snapshots},
    {"jobs", "Jobs", info_jobs},
    {"keyspace", "Keyspace", info_keyspace},
};

static bool section_wanted(const struct cmd_args *a, const char *name)
{
    if (a->count == 1) return true;
    for (uint32_t i = 1; i < a->count; i++)
        if (bytes_equal_nocase(a->v[i], name) || bytes_equal_nocase(a->v[i], "all") ||
            bytes_equal_nocase(a->v[i], "everything") || bytes_equal_nocase(a->v[i], "default"))
            return true;
    return false;
}

void info_command(struct client *c, const struct cmd_args *a, struct reply *out)
{
    struct buf text = {0};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        if (!section_wanted(a, sections[i].name)) continue;
        if (text.size) buf_append_bytes(&text, BYTES("\r\n"));
        buf_printf(&text, "# %s\r\n", sections[i].title);
        sections[i].fn(c, &text);
    }
    reply_verbatim(out, buf_bytes(&text));
    buf_deinit(&text);
}
