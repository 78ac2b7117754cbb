/* Commands that a node answers by itself: the connection, the server, its settings. Found by full
 * name in a table of functions; the larger families have files of their own (info.c, cluster.c,
 * status.c). */
#include "node/job.h"
#include "base/assert.h"
#include "base/mem.h"
#include "redis/command.h"

#include <stdio.h>
#include <stdlib.h>

struct local {
    struct client *c;
    struct node *n;
    const struct command *cmd;
    const struct cmd_args *a;
    struct reply *out;
};

static bool arg_is(const struct local *l, uint32_t i, const char *word)
{
    return i < l->a->count && bytes_equal_nocase(l->a->v[i], word);
}

static void copy_word(char *to, size_t size, struct bytes from)
{
    ASSERT(from.size < size);
    if (from.size) memcpy(to, from.data, from.size);
    to[from.size] = 0;
}

/* A name that CLIENT LIST can print: no spaces, no control characters. */
static bool word_is_plain(struct bytes s)
{
    for (size_t i = 0; i < s.size; i++)
        if (s.data[i] < '!' || s.data[i] > '~') return false;
    return true;
}

/* ---- connection ---- */

static void local_ping(struct local *l)
{
    if (l->a->count > 2)
        reply_error(l->out, "ERR wrong number of arguments for 'ping' command");
    else if (l->a->count == 2)
        reply_bulk(l->out, l->a->v[1]);
    else
        reply_simple(l->out, "PONG");
}

static void local_echo(struct local *l)
{
    reply_bulk(l->out, l->a->v[1]);
}

static void local_quit(struct local *l)
{
    reply_ok(l->out);
    l->c->closing = true;
}

static void local_ok(struct local *l)
{
    reply_ok(l->out);
}

static void local_reset(struct local *l)
{
    struct client *c = l->c;
    c->version = l->out->version = 2;
    c->reply_mode = CLIENT_REPLY_ON;
    c->name[0] = 0;
    c->readonly = c->no_evict = c->no_touch = false;
    multi_free(c);
    session_free(c);
    reply_simple(l->out, "RESET");
}

static void local_begin(struct local *l)
{
    session_begin(l->c, l->a, l->out);
}

static void local_commit(struct local *l)
{
    session_commit(l->c, l->cmd, l->a, (struct bytes){0}, l->out);
}

static void local_rollback(struct local *l)
{
    session_rollback(l->c, l->a, l->out);
}

static void local_savepoint(struct local *l)
{
    session_savepoint(l->c, l->a, l->out);
}

static void local_multi(struct local *l)
{
    multi_begin(l->c, l->out);
}

static void local_exec(struct local *l)
{
    multi_end_exec(l->c, false, (struct bytes){0}, l->out);
}

static void local_idempotent(struct local *l)
{
    once_ask(l->c, l->a, l->out);
}

static void local_discard(struct local *l)
{
    multi_discard(l->c, l->out);
}

static void local_watch(struct local *l)
{
    multi_watch_keys(l->c, l->a, l->out);
}

static void local_unwatch(struct local *l)
{
    multi_unwatch(l->c, l->out);
}

static void local_select(struct local *l)
{
    int64_t db;
    if (!bytes_to_i64(l->a->v[1], &db))
        reply_error(l->out, "ERR invalid DB index");
    else if (db != 0)
        reply_error(l->out, "ERR DB index is out of range");
    else
        reply_ok(l->out);
}

static void local_auth(struct local *l)
{
    if (l->a->count > 3)
        reply_error(l->out, ERR_SYNTAX);
    else
        reply_error(l->out, "ERR AUTH <password> called without any password configured for the "
                            "default user. Are you sure your configuration is correct?");
}

static void local_hello(struct local *l)
{
    struct client *c = l->c;
    uint8_t version = c->version;
    struct bytes name = {0};
    uint32_t i = 1;
    int64_t v;

    if (l->a->count > 1) {
        if (!bytes_to_i64(l->a->v[1], &v)) {
            reply_error(l->out, "ERR Protocol version is not an integer or out of range");
            return;
        }
        if (v != 2 && v != 3) {
            reply_error(l->out, "NOPROTO unsupported protocol version");
            return;
        }
        version = (uint8_t)v;
        i = 2;
    }
    for (; i < l->a->count; i++) {
        if (arg_is(l, i, "setname") && i + 1 < l->a->count) {
            name = l->a->v[++i];
        } else if (arg_is(l, i, "auth") && i + 2 < l->a->count) {
            if (!bytes_equal(l->a->v[i + 1], BYTES("default"))) {
                reply_error(l->out,
                            "WRONGPASS invalid username-password pair or user is disabled.");
                return;
            }
            i += 2; /* the default user has no password: any is as good as none, as in Redis with
                       nopass */
        } else {
            reply_errorf(l->out, "ERR Syntax error in HELLO option '%.*s'",
                         (int)(l->a->v[i].size < 64 ? l->a->v[i].size : 64),
                         (const char *)l->a->v[i].data);
            return;
        }
    }
    if (name.size >= sizeof c->name || !word_is_plain(name)) {
        reply_error(l->out,
                    "ERR Client names cannot contain spaces, newlines or special characters.");
        return;
    }
    if (name.size) copy_word(c->name, sizeof c->name, name);
    c->version = l->out->version = version;
    reply_map(l->out, 7);
    reply_bulk_str(l->out, "server"), reply_bulk_str(l->out, "redis");
    reply_bulk_str(l->out, "version"), reply_bulk_str(l->out, "7.2.0");
    reply_bulk_str(l->out, "proto"), reply_i64(l->out, version);
    reply_bulk_str(l->out, "id"), reply_i64(l->out, (int64_t)c->id);
    reply_bulk_str(l->out, "mode"),
        reply_bulk_str(l->out, ring_is_cluster(l->n) ? "cluster" : "standalone");
    reply_bulk_str(l->out, "role"), reply_bulk_str(l->out, "master");
    reply_bulk_str(l->out, "modules"), reply_array(l->out, 0);
}

/* ---- CLIENT ---- */

static void client_line(struct client *c, struct buf *out)
{
    struct node *n = c->node;
    buf_printf(out,
               "id=%llu addr=%s laddr=%s fd=%llu name=%s age=%llu idle=%llu flags=%s db=0 sub=0 "
               "psub=0 ssub=0 multi=%lld qbuf=0 qbuf-free=0 ",
               (unsigned long long)c->id, c->conn->peer, n->listen, (unsigned long long)c->id,
               c->name, (unsigned long long)((n->now - c->created_at) / (1000 * MS)),
               (unsigned long long)((n->now - c->active_at) / (1000 * MS)),
               multi_count(c) >= 0 ? "x"
               : c->readonly       ? "r"
                                   : "N",
               (long long)multi_count(c));
    buf_printf(out,
               "argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=%zu oll=0 omem=%zu tot-mem=%zu events=r "
               "cmd=%s user=default redir=-1 resp=%u lib-name=%s lib-ver=%s\n",
               c->conn->out.size, c->held.capacity, sizeof *c + c->held.capacity, c->last_command,
               c->version, c->lib_name, c->lib_version);
}

static void local_client_id(struct local *l)
{
    reply_i64(l->out, (int64_t)l->c->id);
}

static void local_client_getname(struct local *l)
{
    if (l->c->name[0])
        reply_bulk_str(l->out, l->c->name);
    else
        reply_nil(l->out);
}

static void local_client_setname(struct local *l)
{
    struct bytes name = l->a->v[2];
    if (name.size >= sizeof l->c->name) {
        reply_errorf(l->out, "ERR client names are at most %zu bytes long", sizeof l->c->name - 1);
    } else if (!word_is_plain(name)) {
        reply_error(l->out,
                    "ERR Client names cannot contain spaces, newlines or special characters.");
    } else {
        copy_word(l->c->name, sizeof l->c->name, name);
        reply_ok(l->out);
    }
}

static void local_client_setinfo(struct local *l)
{
    struct bytes value = l->a->v[3];
    bool name = arg_is(l, 2, "lib-name"), version = arg_is(l, 2, "lib-ver");
    if (!name && !version) {
        reply_errorf(l->out, "ERR Unrecognized option '%.*s'",
                     (int)(l->a->v[2].size < 64 ? l->a->v[2].size : 64),
                     (const char *)l->a->v[2].data);
    } else if (!word_is_plain(value) ||
               value.size >= (name ? sizeof l->c->lib_name : sizeof l->c->lib_version)) {
        reply_errorf(l->out, "ERR %s cannot contain spaces, newlines or special characters.",
                     name ? "lib-name" : "lib-ver");
    } else {
        if (name)
            copy_word(l->c->lib_name, sizeof l->c->lib_name, value);
        else
            copy_word(l->c->lib_version, sizeof l->c->lib_version, value);
        reply_ok(l->out);
    }
}

static void local_client_info(struct local *l)
{
    struct buf text = {0};
    client_line(l->c, &text);
    reply_verbatim(l->out, buf_bytes(&text));
    buf_deinit(&text);
}

static void local_client_list(struct local *l)
{
    struct buf text = {0};
    int64_t id;
    if (l->a->count > 3 && arg_is(l, 2, "id")) {
        for (uint32_t i = 3; i < l->a->count; i++) {
            struct client *c =
                bytes_to_i64(l->a->v[i], &id) ? client_by_id(l->n, (uint64_t)id) : NULL;
            if (c) client_line(c, &text);
        }
    } else if (l->a->count == 2 || (l->a->count == 4 && arg_is(l, 2, "type"))) {
        bool normal = l->a->count == 2 || arg_is(l, 3, "normal");
        for (struct list *at = l->n->clients.next; normal && at != &l->n->clients; at = at->next)
            client_line(LIST_OF(at, struct client, link), &text);
    } else {
        reply_error(l->out, ERR_SYNTAX);
        return;
    }
    reply_verbatim(l->out, buf_bytes(&text));
    buf_deinit(&text);
}

struct kill {
    int64_t id;
    struct bytes addr;
    bool skip_me, by_id, by_addr;
};

static bool kill_parse(struct local *l, struct kill *k)
{
    *k = (struct kill){.skip_me = true};
    if (l->a->count == 3) {
        k->by_addr = true;
        k->addr = l->a->v[2];
        k->skip_me = false;
        return true;
    }
    for (uint32_t i = 2; i + 1 < l->a->count; i += 2) {
        if (arg_is(l, i, "id") && bytes_to_i64(l->a->v[i + 1], &k->id))
            k->by_id = true;
        else if (arg_is(l, i, "addr"))
            k->by_addr = true, k->addr = l->a->v[i + 1];
        else if (arg_is(l, i, "skipme"))
            k->skip_me = !arg_is(l, i + 1, "no");
        else if (arg_is(l, i, "laddr") || arg_is(l, i, "type") || arg_is(l, i, "user"))
            continue;
        else
            return false;
    }
    return l->a->count % 2 == 0;
}

static void local_client_kill(struct local *l)
{
    struct kill k;
    int64_t killed = 0;
    struct list *next;
    if (!kill_parse(l, &k)) {
        reply_error(l->out, ERR_SYNTAX);
        return;
    }
    for (struct list *at = l->n->clients.next; at != &l->n->clients; at = next) {
        next = at->next;
        struct client *c = LIST_OF(at, struct client, link);
        if ((k.by_id && c->id != (uint64_t)k.id) ||
            (k.by_addr && !bytes_equal(k.addr, bytes_str(c->conn->peer))))
            continue;
        if (c == l->c && k.skip_me) continue;
        killed++;
        if (c == l->c) {
            c->closing = true;
            continue;
        }
        struct io_conn *conn = c->conn;
        client_end(c);
        io_conn_close(conn, false);
    }
    if (l->a->count > 3)
        reply_i64(l->out, killed);
    else if (killed)
        reply_ok(l->out);
    else
        reply_error(l->out, "ERR No such client");
}

static void on_off(struct local *l, bool *flag)
{
    if (!arg_is(l, 2, "on") && !arg_is(l, 2, "off")) {
        reply_error(l->out, ERR_SYNTAX);
        return;
    }
    *flag = arg_is(l, 2, "on");
    reply_ok(l->out);
}

static void local_client_no_evict(struct local *l)
{
    on_off(l, &l->c->no_evict);
}

static void local_client_no_touch(struct local *l)
{
    on_off(l, &l->c->no_touch);
}

static void local_client_reply(struct local *l)
{
    struct client *c = l->c;
    if (arg_is(l, 2, "on")) {
        c->reply_mode = CLIENT_REPLY_ON;
        reply_ok(l->out);
    } else if (arg_is(l, 2, "off")) {
        c->reply_mode = CLIENT_REPLY_OFF;
    } else if (arg_is(l, 2, "skip")) {
        if (c->reply_mode == CLIENT_REPLY_ON) c->reply_mode = CLIENT_REPLY_SKIP_NEXT;
    } else {
        reply_error(l->out, ERR_SYNTAX);
    }
}

#define LAG_MAX_MS 1000

/* READONLY [MAXLAG ms]: reads may be answered by this node's replicas, that much staler than their
 * leaders at most. */
static void local_readonly(struct local *l)
{
    int64_t ms = LAG_MAX_MS;
    bool told = l->a->count == 3 && arg_is(l, 1, "maxlag") && bytes_to_i64(l->a->v[2], &ms);
    if (l->a->count != 1 && !told) {
        reply_error(l->out, ERR_SYNTAX);
    } else if (ms < 0 || ms > 3600000) {
        reply_error(l->out, "ERR MAXLAG is 0 to 3600000 milliseconds; a replica is told how far "
                            "its leader is twice a "
                            "second, so less than 600 mostly reads at the leader");
    } else {
        l->c->readonly = true;
        l->c->lag_max_ms = (uint32_t)ms;
        reply_ok(l->out);
    }
}

static void local_readwrite(struct local *l)
{
    l->c->readonly = false;
    reply_ok(l->out);
}

/* ---- server ---- */

static void local_command_family(struct local *l)
{
    command_command(l->a, l->out);
}

static void local_help(struct local *l)
{
    command_help(l->cmd->parent, l->out);
}

static void local_info(struct local *l)
{
    info_command(l->c, l->a, l->out);
}

static void local_cluster(struct local *l)
{
    cluster_command(l->c, l->cmd, l->a, l->out);
}

static void local_time(struct local *l)
{
    int64_t ms = io_wall_ms(l->n->io);
    reply_array(l->out, 2);
    reply_bulk_i64(l->out, ms / 1000);
    reply_bulk_i64(l->out, ms % 1000 * 1000);
}

static void local_lastsave(struct local *l)
{
    reply_i64(l->out, l->n->wall_ms / 1000); /* what is acknowledged is on disk already */
}

static void local_lolwut(struct local *l)
{
    reply_verbatim(
        l->out,
        BYTES("  o---o\n   \\ /   synod: three who met and agreed\n    o\n\nsynod ver. 0.1.0\n"));
}

static void local_role(struct local *l)
{
    reply_array(l->out, 3);
    reply_bulk_str(l->out, "master");
    reply_i64(l->out, 0);
    reply_array(l->out, 0);
}

static void local_shutdown(struct local *l)
{
    l->n->shutdown_asked = true;
    l->c->closing = true;
    reply_ok(l->out);
}

static void local_debug_digest(struct local *l)
{
    uint64_t sum = 0, position, digest, keys;
    for (uint32_t i = 0; i < l->n->group_count; i++)
        if (node_digest(l->n, i, &position, &digest, &keys)) sum += digest;
    char text[41];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)sum);
    reply_simple(l->out, text);
}

static void local_debug_sleep(struct local *l)
{
    long double seconds;
    if (!bytes_to_double(l->a->v[2], &seconds) || seconds < 0 || seconds > 3600) {
        reply_error(l->out, ERR_NOT_FLOAT);
        return;
    }
    request_sleep(l->c, l->cmd, l->a, (uint64_t)(seconds * 1e9L));
}

static void local_wait(struct local *l)
{
    int64_t replicas, timeout;
    if (!bytes_to_i64(l->a->v[1], &replicas) || !bytes_to_i64(l->a->v[2], &timeout)) {
        reply_error(l->out, ERR_NOT_INTEGER);
    } else if (timeout < 0) {
        reply_error(l->out, "ERR timeout is negative");
    } else {
        request_wait_replicas(l->c, l->cmd, l->a, (uint64_t)timeout);
    }
}

static void local_trace(struct local *l)
{
    request_trace(l->c, l->a, l->out);
}

static void local_synod_status(struct local *l)
{
    struct buf text = {0};
    status_json(l->n, &text);
    reply_bulk(l->out, buf_bytes(&text));
    buf_deinit(&text);
}

static void local_synod_digest(struct local *l)
{
    struct buf text = {0};
    int64_t group = UINT32_MAX;
    if (l->a->count > 3 || (l->a->count == 3 && (!bytes_to_i64(l->a->v[2], &group) || group < 0 ||
                                                 group >= l->n->group_count))) {
        reply_error(l->out,
                    "ERR syntax: SYNOD DIGEST [group]; `synod group list` shows the groups");
        return;
    }
    status_digest(l->n, (uint32_t)group, &text);
    reply_bulk(l->out, buf_bytes(&text));
    buf_deinit(&text);
}

static void local_synod_plan(struct local *l)
{
    struct buf text = {0};
    driver_plan(l->n, &text);
    reply_bulk(l->out, buf_bytes(&text));
    buf_deinit(&text);
}

/* ---- CONFIG ---- */

struct setting {
    const char *name;
    void (*get)(struct node *n, struct buf *out);
    bool (*set)(struct node *n, struct bytes value);
};

static void get_empty(struct node *n, struct buf *out)
{
    (void)n, (void)out;
}

static void get_no(struct node *n, struct buf *out)
{
    (void)n;
    buf_append_bytes(out, BYTES("no"));
}

static void get_yes(struct node *n, struct buf *out)
{
    (void)n;
    buf_append_bytes(out, BYTES("yes"));
}

static void get_always(struct node *n, struct buf *out)
{
    (void)n;
    buf_append_bytes(out, BYTES("always"));
}

static void get_databases(struct node *n, struct buf *out)
{
    (void)n;
    buf_append_bytes(out, BYTES("1"));
}

static void get_maxmemory(struct node *n, struct buf *out)
{
    (void)n;
    buf_append_bytes(out, BYTES("0"));
}

static void get_policy(struct node *n, struct buf *out)
{
    (void)n;
    buf_append_bytes(out, BYTES("noeviction"));
}

static void get_cluster(struct node *n, struct buf *out)
{
    buf_append_bytes(out, bytes_str(ring_is_cluster(n) ? "yes" : "no"));
}

static void get_port(struct node *n, struct buf *out)
{
    const char *colon = strrchr(n->listen, ':');
    buf_append_bytes(out, bytes_str(colon ? colon + 1 : "0"));
}

static void get_clients(struct node *n, struct buf *out)
{
    buf_printf(out, "%u", n->config.clients_max);
}

static bool set_clients(struct node *n, struct bytes value)
{
    int64_t v;
    if (!bytes_to_i64(value, &v) || v < 1 || v > 1000000) return false;
    n->config.clients_max = (uint32_t)v;
    return true;
}

static void get_slow(struct node *n, struct buf *out)
{
    buf_printf(out, "%lld", (long long)n->slow_micros);
}

static bool set_slow(struct node *n, struct bytes value)
{
    return bytes_to_i64(value, &n->slow_micros);
}

static void get_snapshot_rate(struct node *n, struct buf *out)
{
    buf_printf(out, "%llu", (unsigned long long)n->config.snapshot_rate);
}

static bool set_snapshot_rate(struct node *n, struct bytes value)
{
    int64_t rate;
    if (!bytes_to_i64(value, &rate) || rate < 0) return false;
    node_limit_snapshots(n, (uint64_t)rate);
    return true;
}

static void get_read_mode(struct node *n, struct buf *out)
{
    buf_append_bytes(out, bytes_str(n->config.read_mode == NODE_READ_QUORUM ? "quorum" : "lease"));
}

static bool set_read_mode(struct node *n, struct bytes value)
{
    bool quorum = bytes_equal_nocase(value, "quorum");
    if (!quorum && !bytes_equal_nocase(value, "lease")) return false;
    n->config.read_mode = quorum ? NODE_READ_QUORUM : NODE_READ_LEASE;
    return true;
}

static void get_script_time(struct node *n, struct buf *out)
{
    uint64_t ns = script_engine_limits(n->scripts.engine)->time_ns;
    buf_printf(out, "%llu", (unsigned long long)(ns / MS));
}

/* More than 250 or so may cost the node its leaderships (node.h, election_ms). */
static bool set_script_time(struct node *n, struct bytes value)
{
    int64_t ms;
    if (!bytes_to_i64(value, &ms) || ms < 1 || ms > 5000) return false;
    struct script_limits *l = script_engine_limits(n->scripts.engine);
    l->time_ns = (uint64_t)ms * MS;
    l->steps = SCRIPT_STEPS / (SCRIPT_TIME_NS / MS) * (uint64_t)ms;
    return true;
}

static void get_bulk(struct node *n, struct buf *out)
{
    (void)n;
    buf_printf(out, "%u", RESP_BULK_MAX);
}

static const struct setting settings[] = {
    {"appendfsync", get_always, NULL},
    {"appendonly", get_yes, NULL},
    {"busy-reply-threshold", get_script_time, set_script_time},
    {"cluster-enabled", get_cluster, NULL},
    {"databases", get_databases, NULL},
    {"lua-time-limit", get_script_time, set_script_time},
    {"maxclients", get_clients, set_clients},
    {"maxmemory", get_maxmemory, NULL},
    {"maxmemory-policy", get_policy, NULL},
    {"port", get_port, NULL},
    {"proto-max-bulk-len", get_bulk, NULL},
    {"read-mode", get_read_mode, set_read_mode},
    {"requirepass", get_empty, NULL},
    {"save", get_empty, NULL},
    {"slowlog-log-slower-than", get_slow, set_slow},
    {"snapshot-rate", get_snapshot_rate, set_snapshot_rate},
    {"tls-port", get_maxmemory, NULL},
    {"cluster-announce-ip", get_empty, NULL},
    {"replica-read-only", get_no, NULL},
};
#define SETTING_COUNT (sizeof settings / sizeof *settings)

static bool setting_wanted(const struct local *l, const char *name)
{
    for (uint32_t i = 2; i < l->a->count; i++)
        if (bytes_glob(l->a->v[i], bytes_str(name), true)) return true;
    return false;
}

static void local_config_get(struct local *l)
{
    size_t count = 0;
    for (size_t i = 0; i < SETTING_COUNT; i++) count += setting_wanted(l, settings[i].name);
    reply_map(l->out, count);
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (!setting_wanted(l, settings[i].name)) continue;
        struct buf value = {0};
        settings[i].get(l->n, &value);
        reply_bulk_str(l->out, settings[i].name);
        reply_bulk(l->out, buf_bytes(&value));
        buf_deinit(&value);
    }
}

static const struct setting *setting_find(struct bytes name)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (bytes_equal_nocase(name, settings[i].name)) return &settings[i];
    return NULL;
}

static void local_config_set(struct local *l)
{
    if (l->a->count % 2) {
        reply_error(l->out, "ERR wrong number of arguments for 'config|set' command");
        return;
    }
    for (uint32_t i = 2; i + 1 < l->a->count; i += 2) {
        struct bytes name = l->a->v[i];
        const struct setting *s = setting_find(name);
        int size = (int)(name.size < 64 ? name.size : 64);
        if (!s) {
            reply_errorf(l->out,
                         "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'", size,
                         (const char *)name.data);
            return;
        }
        if (!s->set) {
            reply_errorf(l->out,
                         "ERR CONFIG SET failed (possibly related to argument '%.*s') - can't set "
                         "immutable config",
                         size, (const char *)name.data);
            return;
        }
        if (!s->set(l->n, l->a->v[i + 1])) {
            reply_errorf(l->out,
                         "ERR CONFIG SET failed (possibly related to argument '%.*s') - argument "
                         "couldn't be parsed",
                         size, (const char *)name.data);
            return;
        }
    }
    reply_ok(l->out);
}

static void local_config_resetstat(struct local *l)
{
    l->n->stats = (struct node_stats){0};
    reply_ok(l->out);
}

/* ---- LATENCY, MEMORY, SLOWLOG ---- */

static void local_empty_array(struct local *l)
{
    reply_array(l->out, 0);
}

static void local_zero(struct local *l)
{
    reply_i64(l->out, 0);
}

static void local_latency_doctor(struct local *l)
{
    reply_verbatim(l->out, BYTES("See SLOWLOG GET, INFO (log_write_*) and `synod status`: synod "
                                 "keeps no latency events of its own.\n"));
}

static void local_memory_doctor(struct local *l)
{
    reply_verbatim(l->out,
                   BYTES("Memory is bounded by the node's settings; INFO memory has the parts.\n"));
}

static void local_memory_stats(struct local *l)
{
    size_t recent = 0;
    for (uint32_t i = 0; i < l->n->group_count; i++)
        if (l->n->group[i]->shard) recent += space_memory(l->n->group[i]->shard->space);
    reply_map(l->out, 2);
    reply_bulk_str(l->out, "recent.bytes"), reply_i64(l->out, (int64_t)recent);
    reply_bulk_str(l->out, "recent.limit"), reply_i64(l->out, (int64_t)l->n->config.memory_bytes);
}

#define SLOW_MAX (sizeof((struct node *)0)->slow / sizeof *((struct node *)0)->slow)

static void local_slowlog_get(struct local *l)
{
    struct node *n = l->n;
    int64_t want = 10;
    uint64_t have = n->slow_count < SLOW_MAX ? n->slow_count : SLOW_MAX;
    if (l->a->count > 2 && (!bytes_to_i64(l->a->v[2], &want) || want < -1)) {
        reply_error(l->out, "ERR count should be greater than or equal to -1");
        return;
    }
    if (want >= 0 && (uint64_t)want < have) have = (uint64_t)want;
    reply_array(l->out, have);
    for (uint64_t i = 0; i < have; i++) {
        const struct slow_entry *e = &n->slow[(n->slow_count - 1 - i) % SLOW_MAX];
        reply_array(l->out, 6);
        reply_i64(l->out, (int64_t)e->id);
        reply_i64(l->out, e->at_ms / 1000);
        reply_i64(l->out, e->micros);
        reply_array(l->out, 1);
        reply_bulk_str(l->out, e->name);
        reply_bulk_str(l->out, e->client);
        reply_bulk_str(l->out, "");
    }
}

static void local_txn_list(struct local *l)
{
    txn_list(l->n, l->out);
}

static void local_txn_status(struct local *l)
{
    txn_status(l->c, l->cmd, l->a, l->out);
}

static void local_script_kill(struct local *l)
{
    if (txn_kill_scripts(l->n))
        reply_ok(l->out);
    else
        reply_error(l->out, "NOTBUSY No scripts in execution right now.");
}

static void local_slowlog_len(struct local *l)
{
    reply_i64(l->out, (int64_t)(l->n->slow_count < SLOW_MAX ? l->n->slow_count : SLOW_MAX));
}

static void local_slowlog_reset(struct local *l)
{
    l->n->slow_count = 0;
    reply_ok(l->out);
}

/* ---- dispatch ---- */

static const struct {
    const char *parent, *name;
    void (*fn)(struct local *l);
} locals[] = {
    {NULL, "ping", local_ping},
    {NULL, "asking", local_ok},
    {NULL, "auth", local_auth},
    {NULL, "begin", local_begin},
    {NULL, "commit", local_commit},
    {NULL, "discard", local_discard},
    {NULL, "echo", local_echo},
    {NULL, "exec", local_exec},
    {NULL, "hello", local_hello},
    {NULL, "idempotent", local_idempotent},
    {NULL, "info", local_info},
    {NULL, "lastsave", local_lastsave},
    {NULL, "lolwut", local_lolwut},
    {NULL, "multi", local_multi},
    {NULL, "quit", local_quit},
    {NULL, "readonly", local_readonly},
    {NULL, "readwrite", local_readwrite},
    {NULL, "reset", local_reset},
    {NULL, "role", local_role},
    {NULL, "rollback", local_rollback},
    {NULL, "savepoint", local_savepoint},
    {NULL, "select", local_select},
    {NULL, "shutdown", local_shutdown},
    {NULL, "time", local_time},
    {NULL, "trace", local_trace},
    {NULL, "unwatch", local_unwatch},
    {NULL, "wait", local_wait},
    {NULL, "watch", local_watch},
    {NULL, "command", local_command_family},
    {"client", "getname", local_client_getname},
    {"client", "id", local_client_id},
    {"client", "info", local_client_info},
    {"client", "kill", local_client_kill},
    {"client", "list", local_client_list},
    {"client", "no-evict", local_client_no_evict},
    {"client", "no-touch", local_client_no_touch},
    {"client", "reply", local_client_reply},
    {"client", "setinfo", local_client_setinfo},
    {"client", "setname", local_client_setname},
    {"config", "get", local_config_get},
    {"config", "resetstat", local_config_resetstat},
    {"config", "set", local_config_set},
    {"debug", "digest", local_debug_digest},
    {"debug", "sleep", local_debug_sleep},
    {"latency", "doctor", local_latency_doctor},
    {"latency", "history", local_empty_array},
    {"latency", "latest", local_empty_array},
    {"latency", "reset", local_zero},
    {"memory", "doctor", local_memory_doctor},
    {"memory", "stats", local_memory_stats},
    {"function", "kill", local_script_kill},
    {"script", "kill", local_script_kill},
    {"slowlog", "get", local_slowlog_get},
    {"slowlog", "len", local_slowlog_len},
    {"slowlog", "reset", local_slowlog_reset},
    {"synod", "digest", local_synod_digest},
    {"synod", "plan", local_synod_plan},
    {"synod", "status", local_synod_status},
    {"txn", "list", local_txn_list},
    {"txn", "status", local_txn_status},
};

void local_command(struct client *c, const struct command *cmd, const struct cmd_args *a,
                   struct reply *out)
{
    struct local l = {c, c->node, cmd, a, out};
    if (cmd->parent && strcmp(cmd->name, "help") == 0) {
        local_help(&l);
        return;
    }
    if (cmd->parent && strcmp(cmd->parent, "command") == 0) {
        local_command_family(&l);
        return;
    }
    if (cmd->parent && strcmp(cmd->parent, "snapshot") == 0) {
        snapshot_command(c, cmd, a, out);
        return;
    }
    if (cmd->parent && strcmp(cmd->parent, "job") == 0) {
        job_command(c, cmd, a, out);
        return;
    }
    if (cmd->parent && strcmp(cmd->parent, "cluster") == 0) {
        local_cluster(&l);
        return;
    }
    for (size_t i = 0; i < sizeof locals / sizeof *locals; i++) {
        bool same_parent = cmd->parent && locals[i].parent
                               ? strcmp(cmd->parent, locals[i].parent) == 0
                               : cmd->parent == locals[i].parent;
        if (!same_parent || strcmp(cmd->name, locals[i].name) != 0) continue;
        locals[i].fn(&l);
        return;
    }
    reply_errorf(out, "ERR '%s' is not served by this version", cmd->name);
}
