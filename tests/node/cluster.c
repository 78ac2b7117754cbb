#include "cluster.h"

#include "base/mem.h"
#include "node/wire.h"
#include "redis/fields.h"
#include "redis/resp.h"
#include "ring/ring.h"

static void on_fatal(void *ctx, const char *why)
{
    struct member *m = ctx;
    snprintf(m->last_words, sizeof m->last_words, "%s", why);
    if (!world_dead(m->cluster->w, m->host)) world_die(m->cluster->w, m->host);
}

static void on_died(void *ctx, uint32_t host)
{
    struct cluster *c = ctx;
    fail_msg("node %u ended: %s", host + 1, c->member[host].last_words);
}

void cluster_start(struct cluster *c, uint32_t node)
{
    struct member *m = &c->member[node];
    char error[200] = "";
    m->engine = engine_mem_open(m->disk);
    m->config.engine = m->engine;
    world_boot(c->w, m->host);
    world_enter(c->w, m->host);
    m->node = node_new(world_io(c->w, m->host), &m->config, error, sizeof error);
    world_leave(c->w, m->host);
    if (!m->node) fail_msg("node %u does not start: %s", node + 1, error);
}

void cluster_kill(struct cluster *c, uint32_t node)
{
    struct member *m = &c->member[node];
    world_die(c->w, m->host);
    node_free(m->node);
    m->node = NULL;
    engine_close(m->engine);
    world_reap(c->w, m->host, WORLD_EXIT);
}

static uint64_t client_turn(void *ctx, uint64_t now)
{
    (void)ctx, (void)now;
    return UINT64_MAX;
}

static void on_replica(void *ctx, enum node_replica_event what, uint32_t group, uint16_t replica,
                       uint64_t position, struct paxos_id last_valid)
{
    struct member *m = ctx;
    (void)group, (void)replica, (void)position, (void)last_valid;
    m->installs += what == NODE_REPLICA_INSTALLED;
}

static void member_init(struct cluster *c, uint32_t i)
{
    struct member *m = &c->member[i];
    m->cluster = c;
    m->host = i;
    m->disk = engine_mem_disk_new();
    snprintf(m->listen, sizeof m->listen, "10.0.0.%u:7000", i + 1);
    snprintf(m->peer, sizeof m->peer, "10.0.0.%u:17000", i + 1);
    m->config = (struct node_config){.listen = m->listen,
                                     .peer = m->peer,
                                     .backend_name = "sim",
                                     .job_slots = 2,
                                     .fatal = on_fatal,
                                     .replica = on_replica,
                                     .ctx = m};
}

static void join(struct cluster *c, uint32_t node, uint32_t through, bool witness)
{
    assert_int_equal(node, c->nodes);
    c->nodes++;
    member_init(c, node);
    c->member[node].config.join = c->member[through].peer;
    c->member[node].config.witness = witness;
    c->member[node].config.log_segment_bytes = c->member[through].config.log_segment_bytes;
    c->member[node].config.log_quota_bytes = c->member[through].config.log_quota_bytes;
    cluster_start(c, node);
}

void cluster_join(struct cluster *c, uint32_t node, uint32_t through)
{
    join(c, node, through, false);
}

void cluster_join_witness(struct cluster *c, uint32_t node, uint32_t through)
{
    join(c, node, through, true);
}

static void found(struct cluster *c, uint32_t nodes, uint32_t groups, uint32_t replicas,
                  bool small_log)
{
    size_t at = 0;
    *c = (struct cluster){.nodes = nodes};
    c->w = world_new(&(struct world_options){.seed = 7,
                                             .hosts = CLUSTER_MAX + 1,
                                             .framed_hosts = CLUSTER_MAX,
                                             .frame = wire_frame_size,
                                             .may_disturb = wire_frame_may_disturb,
                                             .died = on_died,
                                             .ctx = c});
    for (uint32_t i = 0; i < nodes; i++)
        at += (size_t)snprintf(c->found + at, sizeof c->found - at, "%s10.0.0.%u:17000",
                               i ? "," : "", i + 1);
    for (uint32_t i = 0; i < nodes; i++) {
        member_init(c, i);
        c->member[i].config.found = nodes > 1 ? c->found : NULL;
        c->member[i].config.groups = groups;
        c->member[i].config.log_segment_bytes = small_log ? 64u << 10 : 0;
        c->member[i].config.log_quota_bytes = small_log ? 256u << 10 : 0;
        c->member[i].config.memory_bytes = small_log ? 32u << 10 : 0;
        c->member[i].config.replicas = replicas;
        cluster_start(c, i);
    }
    world_boot(c->w, CLIENT_HOST);
    world_io(c->w, CLIENT_HOST)->client = (struct io_client){client_turn, c};
    cluster_settle(c);
}

void cluster_init(struct cluster *c, uint32_t nodes, uint32_t groups, uint32_t replicas)
{
    found(c, nodes, groups, replicas, false);
}

void cluster_init_small(struct cluster *c, uint32_t nodes, uint32_t groups, uint32_t replicas)
{
    found(c, nodes, groups, replicas, true);
}

void cluster_deinit(struct cluster *c)
{
    for (uint32_t i = 0; i < c->nodes; i++) {
        if (c->member[i].node) cluster_kill(c, i);
        engine_mem_disk_free(c->member[i].disk);
    }
    for (uint32_t i = 0; i < c->clients; i++) buf_deinit(&c->client[i].got);
    world_die(c->w, CLIENT_HOST);
    world_reap(c->w, CLIENT_HOST, WORLD_EXIT);
    world_free(c->w);
}

void cluster_run(struct cluster *c, uint64_t ms)
{
    world_run(c->w, world_now(c->w) + ms * MILLISECOND, NULL);
    for (uint32_t i = 0; i < c->nodes; i++) {
        if (!c->member[i].node) continue;
        world_enter(c->w, i);
        node_check(c->member[i].node);
        world_leave(c->w, i);
    }
}

uint32_t cluster_leader(struct cluster *c, uint32_t group)
{
    struct node_group_view v;
    for (uint32_t i = 0; i < c->nodes; i++)
        if (c->member[i].node && node_group(c->member[i].node, group, &v) && v.serving) return i;
    return UINT32_MAX;
}

static uint32_t groups_of(struct cluster *c)
{
    for (uint32_t i = 0; i < c->nodes; i++)
        if (c->member[i].node) return node_group_count(c->member[i].node);
    return 0;
}

static bool is_merged_away(struct cluster *c, uint32_t group)
{
    struct ring_row row;
    for (uint32_t i = 0; i < c->nodes; i++)
        if (c->member[i].node && node_ring_row(c->member[i].node, RING_ROW_GROUP, group, &row))
            return ring_is_merged_away(&row.group);
    return false;
}

static bool settled(struct cluster *c)
{
    for (uint32_t g = 0; g < groups_of(c); g++)
        if (cluster_leader(c, g) == UINT32_MAX && !is_merged_away(c, g)) return false;
    return true;
}

void cluster_settle(struct cluster *c)
{
    for (int i = 0; i < 600 && !settled(c); i++) cluster_run(c, 100);
    assert_true(settled(c));
    cluster_run(c, 700); /* all have heard who leads */
}

void cluster_resign(struct cluster *c, uint32_t node)
{
    world_enter(c->w, node);
    (void)node_stop(c->member[node].node);
    world_leave(c->w, node);
}

uint32_t cluster_other(struct cluster *c, uint32_t group)
{
    uint32_t leader = cluster_leader(c, group);
    for (uint32_t i = 0; i < c->nodes; i++)
        if (c->member[i].node && i != leader) return i;
    return leader;
}

/* ---- clients ---- */

static size_t on_data(void *ctx, struct io_conn *conn, struct bytes in)
{
    struct client *c = conn->user;
    (void)ctx;
    buf_append_bytes(&c->got, in);
    return in.size;
}

static void on_opened(void *ctx, struct io_conn *conn)
{
    (void)ctx, (void)conn;
}

static void on_closed(void *ctx, struct io_conn *conn, int error)
{
    struct client *c = conn->user;
    (void)ctx, (void)error;
    c->conn = NULL;
}

static const struct io_handler handler = {
    .opened = on_opened, .data = on_data, .closed = on_closed};

static struct client *open_at(struct cluster *c, const char *address)
{
    assert_true(c->clients < CLIENTS_MAX);
    struct client *client = &c->client[c->clients++];
    client->cluster = c;
    world_enter(c->w, CLIENT_HOST);
    client->conn = io_connect(world_io(c->w, CLIENT_HOST), address, &handler, c);
    io_conn_set_user(client->conn, client);
    io_conn_set_limit(client->conn, 256u << 20);
    world_leave(c->w, CLIENT_HOST);
    return client;
}

struct client *client_open(struct cluster *c, uint32_t node)
{
    return open_at(c, c->member[node].listen);
}

struct client *client_open_peer(struct cluster *c, uint32_t node)
{
    return open_at(c, c->member[node].peer);
}

void client_send(struct client *c, struct bytes bytes)
{
    if (!c->conn) return;
    world_enter(c->cluster->w, CLIENT_HOST);
    buf_append_bytes(io_conn_out(c->conn), bytes);
    world_leave(c->cluster->w, CLIENT_HOST);
}

void client_say(struct client *c, const char *format, ...)
{
    char line[2000];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line, sizeof line - 2, format, args);
    va_end(args);
    memcpy(line + size, "\r\n", 2);
    client_send(c, bytes_of(line, (size_t)size + 2));
}

void client_await(struct client *c, size_t bytes)
{
    for (int i = 0; i < 10000 && c->got.size < bytes && (c->conn || !c->got.size); i++)
        world_run(c->cluster->w, world_now(c->cluster->w) + MILLISECOND, NULL);
}

void client_expect(struct client *c, const char *text)
{
    size_t size = strlen(text);
    client_await(c, size);
    struct bytes got = bytes_of(c->got.data, c->got.size < size ? c->got.size : size);
    if (!bytes_equal(got, bytes_str(text)))
        fail_msg("got '%.*s', expected '%s'", (int)c->got.size, (const char *)c->got.data, text);
    buf_drop_front(&c->got, size);
}

void client_says(struct client *c, const char *line, const char *reply)
{
    client_say(c, "%s", line);
    client_expect(c, reply);
}

void client_unpack(struct client *c, const char *key)
{
    client_say(c, "HSET %s ~ %0*d", key, FIELDS_PACKED_MAX, 0);
    client_expect(c, ":1\r\n");
    client_say(c, "HDEL %s ~", key);
    client_expect(c, ":1\r\n");
}

struct bytes client_reply(struct client *c, struct buf *storage)
{
    int64_t size = 0;
    for (int i = 0; i < 30000; i++) {
        size = resp_reply_size(buf_bytes(&c->got));
        if (size || !c->conn) break;
        world_run(c->cluster->w, world_now(c->cluster->w) + MILLISECOND, NULL);
    }
    if (size <= 0) fail_msg("no reply, but '%.*s'", (int)c->got.size, (const char *)c->got.data);
    buf_clear(storage);
    buf_append(storage, c->got.data, (size_t)size);
    buf_drop_front(&c->got, (size_t)size);
    return buf_bytes(storage);
}

void client_close(struct client *c)
{
    if (!c->conn) return;
    world_enter(c->cluster->w, CLIENT_HOST);
    io_conn_close(c->conn, false);
    world_leave(c->cluster->w, CLIENT_HOST);
    c->conn = NULL;
}
