/* synod status: asks a node, prints tables. */
#include "cli/status.h"

#include "base/buf.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/options.h"

#include <jansson.h>

#define STATUS_TIMEOUT_MS 5000

/* "1.5 GB": three figures at most, decimal units as disks are sold. */
static const char *size_text(json_int_t bytes, char out[16])
{
    static const char unit[] = "BkMGTPE";
    double v = (double)bytes;
    size_t u = 0;
    for (; v >= 999.5 && u + 2 < sizeof unit; u++) v /= 1000;
    if (u == 0)
        snprintf(out, 16, "%d B", (int)bytes);
    else
        snprintf(out, 16, v < 9.95 ? "%.1f %cB" : "%.0f %cB", v, unit[u]);
    return out;
}

static bool print_cluster(FILE *out, json_t *cluster, json_error_t *error)
{
    const char *id, *version, *state;
    json_int_t epoch, self;
    if (json_unpack_ex(cluster, error, 0, "{s:s, s:s, s:I, s:s, s:I}", "id", &id, "version",
                       &version, "epoch", &epoch, "state", &state, "self", &self))
        return false;
    fprintf(out, "cluster %s  state %s  epoch %lld  (asked node %lld, version %s)\n\n", id, state,
            (long long)epoch, (long long)self, version);
    return true;
}

static bool print_node(FILE *out, json_t *node, json_error_t *error)
{
    const char *address, *zone, *state, *io;
    json_int_t id, age, leads, follows, disk, log, room, memory, uptime, keys = -1;
    if (json_unpack_ex(node, error, 0,
                       "{s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s?I}",
                       "id", &id, "address", &address, "zone", &zone, "state", &state, "age_ms",
                       &age, "leads", &leads, "follows", &follows, "disk_bytes", &disk, "log_bytes",
                       &log, "room_bytes", &room, "memory_bytes", &memory, "uptime_s", &uptime,
                       "io", &io, "keys", &keys))
        return false;

    char d[16], l[16], r[16], m[16], k[24] = "-", seen[40] = "";
    if (keys >= 0) snprintf(k, sizeof k, "%lld", (long long)keys);
    if (age >= 1000) snprintf(seen, sizeof seen, "  silent for %lld s", (long long)age / 1000);
    fprintf(out, "%4lld  %-21s  %-8s  %-7s  %5lld  %7lld  %9s  %7s  %7s  %7s  %7s  %6llds  %s%s\n",
            (long long)id, address, zone, state, (long long)leads, (long long)follows, k,
            size_text(disk, d), size_text(log, l), size_text(room, r), size_text(memory, m),
            (long long)uptime, io, seen);
    return true;
}

/* "0-1023,2048". */
static bool slots_text(json_t *ranges, struct buf *out, json_error_t *error)
{
    size_t i;
    json_t *range;
    if (json_unpack_ex(ranges, error, 0, "[*]")) return false; /* an array */
    json_array_foreach(ranges, i, range)
    {
        json_int_t first, last;
        if (json_unpack_ex(range, error, 0, "[I, I]", &first, &last)) return false;
        buf_printf(out, i ? ",%lld" : "%lld", (long long)first);
        if (last != first) buf_printf(out, "-%lld", (long long)last);
    }
    if (out->size == 0) buf_printf(out, "-");
    return true;
}

/* "1:leader 2:0 3:12" : each replica's node with its role or lag. */
static bool replicas_text(json_t *replicas, struct buf *out, json_int_t *lag_max,
                          json_error_t *error)
{
    size_t i;
    json_t *replica;
    if (json_unpack_ex(replicas, error, 0, "[*]")) return false;
    json_array_foreach(replicas, i, replica)
    {
        json_int_t node, applied, lag;
        const char *role;
        if (json_unpack_ex(replica, error, 0, "{s:I, s:s, s:I, s:I}", "node", &node, "role", &role,
                           "applied", &applied, "lag", &lag))
            return false;
        if (lag > *lag_max) *lag_max = lag;
        buf_printf(out, i ? "  %lld:" : "%lld:", (long long)node);
        if (strcmp(role, "follower") != 0) buf_printf(out, "%s", role);
        if (strcmp(role, "follower") == 0 || strcmp(role, "learner") == 0) {
            if (lag < 0)
                buf_printf(out, "?");
            else
                buf_printf(out, "%s%lld", *role == 'l' ? "+" : "", (long long)lag);
        }
    }
    return true;
}

static bool print_group(FILE *out, json_t *group, size_t *led, json_int_t *lag_max,
                        json_error_t *error)
{
    json_int_t id, leader, chosen;
    json_t *slots, *replicas;
    struct buf slots_line = {0}, replicas_line = {0};
    if (json_unpack_ex(group, error, 0, "{s:I, s:o, s:I, s:I, s:o}", "id", &id, "slots", &slots,
                       "leader", &leader, "chosen", &chosen, "replicas", &replicas))
        return false;

    bool good = slots_text(slots, &slots_line, error) &&
                replicas_text(replicas, &replicas_line, lag_max, error);
    char who[24] = "none";
    if (leader) snprintf(who, sizeof who, "%lld", (long long)leader);
    if (good)
        fprintf(out, "%5lld  %-15.*s  %6s  %12lld  %.*s\n", (long long)id, (int)slots_line.size,
                (const char *)slots_line.data, who, (long long)chosen, (int)replicas_line.size,
                (const char *)replicas_line.data);
    *led += leader != 0;
    buf_deinit(&slots_line);
    buf_deinit(&replicas_line);
    return good;
}

static bool print_all(FILE *out, json_t *root, json_error_t *error)
{
    json_t *cluster, *nodes, *groups, *item;
    size_t i, up = 0, led = 0;
    json_int_t lag_max = 0;
    if (json_unpack_ex(root, error, 0, "{s:o, s:o, s:o}", "cluster", &cluster, "nodes", &nodes,
                       "groups", &groups))
        return false;

    if (!print_cluster(out, cluster, error)) return false;
    fprintf(out, "node  address                zone      state    leads  follows       keys     "
                 "disk      log     room   memory"
                 "   uptime  io\n");
    json_array_foreach(nodes, i, item)
    {
        if (!print_node(out, item, error)) return false;
        const char *state = json_string_value(json_object_get(item, "state"));
        up += strcmp(state, "up") == 0;
    }
    fprintf(out, "\ngroup  slots            leader        chosen  replicas (node:lag)\n");
    json_array_foreach(groups, i, item)
    {
        if (!print_group(out, item, &led, &lag_max, error)) return false;
    }
    fprintf(out, "\n%zu of %zu nodes up, %zu of %zu groups have a leader, largest lag %lld\n", up,
            json_array_size(nodes), led, json_array_size(groups), (long long)lag_max);
    return true;
}

bool status_print(FILE *out, struct bytes json, char *error, size_t error_size)
{
    json_error_t why;
    json_t *root = json_loadb((const char *)json.data, json.size, 0, &why);
    bool good = root && print_all(out, root, &why);
    if (!good) snprintf(error, error_size, "the node's status cannot be read: %s", why.text);
    json_decref(root);
    return good;
}

int cmd_status(int argc, char **argv)
{
    char at[OPTION_ADDRESS_MAX] = "";
    bool as_json = false;
    const struct option table[] = {
        {"at", OPTION_ADDRESS, at, .value = "HOST:PORT",
         .help = "any node's client address (127.0.0.1:7001, or 6379)"},
        {"json", OPTION_FLAG, &as_json, .help = "as the node says it, for programs"},
        {0},
    };
    struct options_text text = {0};
    int status =
        options_parse(&(struct options){"usage: synod status [--at HOST:PORT] [--json]\n", table},
                      argc, argv, NULL, &text);
    options_text_free(&text);
    if (status != EXIT_DONE) return status;

    /* Unless told otherwise: the first node of `synod cluster up`, else a single server at its
     * default address. */
    char error[256];
    struct client *c =
        client_connect(*at ? at : "127.0.0.1:7001", STATUS_TIMEOUT_MS, error, sizeof error);
    if (!c && !*at) c = client_connect("127.0.0.1:6379", STATUS_TIMEOUT_MS, error, sizeof error);
    if (!c) return cli_fail("%s; is a node running there? (--at HOST:PORT asks another)", error);

    const struct client_reply *r = client_call(c, "SYNOD STATUS");
    if (!r) {
        status = cli_fail("%s", client_error(c));
    } else if (r->type != CLIENT_BULK) {
        status = cli_fail("the server does not answer SYNOD STATUS: %.*s; is it a synod?",
                          (int)r->text.size, (const char *)r->text.data);
    } else if (as_json) {
        fwrite(r->text.data, 1, r->text.size, stdout);
        putchar('\n');
    } else if (!status_print(stdout, r->text, error, sizeof error)) {
        status = cli_fail("%s", error);
    }
    client_free(c);
    return status;
}
