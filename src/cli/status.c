/* synod status: asks a node, and the leaders, prints tables. */
#include "cli/status.h"

#include "base/buf.h"
#include "cli/ask.h"
#include "cli/bar.h"
#include "cli/commands.h"
#include "cli/options.h"

#define MOVE_BAR 20

/* "1.5 GB": three figures at most, decimal units as disks are sold. */
static const char *size_text(int64_t bytes, char out[16])
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

/* "-" for what was not said. */
static const char *count_text(int64_t count, char out[24])
{
    snprintf(out, 24, count < 0 ? "-" : "%lld", (long long)count);
    return out;
}

static const char *time_text(int64_t seconds, char out[24])
{
    long long s = (long long)seconds;
    if (s < 600)
        snprintf(out, 24, "%llds", s);
    else if (s < 36000)
        snprintf(out, 24, "%lldm", s / 60);
    else
        snprintf(out, 24, s < 864000 ? "%lldh" : "%lldd", s < 864000 ? s / 3600 : s / 86400);
    return out;
}

/* ---- nodes ---- */

static void print_node(FILE *out, const struct overview_node *n, int address, int zone)
{
    char d[16], l[16], r[16], m[16], k[24], o[24], t[24];
    fprintf(out, "%4lld  %-*s  %-*s  %-8s  %5lld  %7lld  %9s  %7s  %7s  %7s  %7s  %6s  %6s  %-8s",
            (long long)n->id, address, n->address, zone, n->zone, n->state, (long long)n->leads,
            (long long)n->follows, count_text(n->keys, k), count_text(n->ops_per_s, o),
            size_text(n->disk_bytes, d), size_text(n->log_bytes, l), size_text(n->memory_bytes, m),
            size_text(n->room_bytes, r), time_text(n->uptime_s, t), n->io);
    if (n->witness) fputs("  witness", out);
    if (n->capacity != 100) fprintf(out, "  capacity %lld", (long long)n->capacity);
    if (n->tasks) fprintf(out, "  tasks of jobs: %lld", (long long)n->tasks);
    if (n->pins) fprintf(out, "  keeps %lld states for snapshots", (long long)n->pins);
    if (!n->up && n->age_ms >= 1000)
        fprintf(out, "  silent for %s", time_text(n->age_ms / 1000, t));
    fputc('\n', out);
}

void status_print_nodes(FILE *out, const struct overview *o)
{
    int address = 7, zone = 4;
    for (size_t i = 0; i < o->node_count; i++) {
        int size = (int)strlen(o->node[i].address), z = (int)strlen(o->node[i].zone);
        if (size > address) address = size;
        if (z > zone) zone = z;
    }
    fprintf(out, "%4s  %-*s  %-*s  %-8s  %5s  %7s  %9s  %7s  %7s  %7s  %7s  %6s  %6s  %s\n", "node",
            address, "address", zone, "zone", "state", "leads", "follows", "keys", "ops/s", "disk",
            "log", "memory", "room", "uptime", "io");
    for (size_t i = 0; i < o->node_count; i++) print_node(out, &o->node[i], address, zone);
}

/* ---- groups ---- */

/* "0-1023,2048". */
static void slots_text(const struct overview_group *g, struct buf *out)
{
    buf_clear(out);
    for (size_t i = 0; i < g->range_count; i++) {
        buf_printf(out, i ? ",%lld" : "%lld", (long long)g->slots[i][0]);
        if (g->slots[i][1] != g->slots[i][0]) buf_printf(out, "-%lld", (long long)g->slots[i][1]);
    }
    if (out->size == 0) buf_printf(out, "-");
}

/* "1:leader  2:0  3:learner+12": each replica's node with its role or lag. */
static void replicas_text(const struct overview_group *g, struct buf *out)
{
    buf_clear(out);
    for (size_t i = 0; i < g->replica_count; i++) {
        const struct overview_replica *r = &g->replica[i];
        bool learner = strcmp(r->role, "learner") == 0, follower = strcmp(r->role, "follower") == 0;
        buf_printf(out, i ? "  %lld:" : "%lld:", (long long)r->node);
        if (!follower) buf_printf(out, "%s", r->role);
        if (!follower && !learner) continue;
        if (learner) buf_printf(out, "+");
        if (r->lag < 0)
            buf_printf(out, "?");
        else
            buf_printf(out, "%lld", (long long)r->lag);
    }
}

void status_print_groups(FILE *out, const struct overview *o)
{
    struct buf slots = {0}, replicas = {0};
    fprintf(out, "%5s  %-15s  %6s  %9s  %7s  %12s  %s\n", "group", "slots", "leader", "keys",
            "ops/s", "chosen", "replicas (node:lag)");
    for (size_t i = 0; i < o->group_count; i++) {
        const struct overview_group *g = &o->group[i];
        char leader[24] = "none", k[24], ops[24];
        if (g->leader) snprintf(leader, sizeof leader, "%lld", (long long)g->leader);
        slots_text(g, &slots);
        replicas_text(g, &replicas);
        fprintf(out, "%5lld  %-15.*s  %6s  %9s  %7s  %12lld  %.*s\n", (long long)g->id,
                (int)slots.size, (const char *)slots.data, leader, count_text(g->keys, k),
                count_text(g->ops_per_s, ops), (long long)g->chosen, (int)replicas.size,
                (const char *)replicas.data);
    }
    buf_deinit(&slots);
    buf_deinit(&replicas);
}

/* ---- moves ---- */

/* What a replica that is to come is doing. */
static void print_arrival(FILE *out, const struct overview_replica *r)
{
    char bar[MOVE_BAR + 3], size[16];
    if (r->snapshot_percent >= 0) {
        bar_text(bar, MOVE_BAR, (size_t)r->snapshot_percent, 100);
        fprintf(out, "  snapshot %s %lld %%, %s sent", bar, (long long)r->snapshot_percent,
                size_text(r->snapshot_bytes, size));
        int64_t left = 100 - r->snapshot_percent;
        if (r->snapshot_percent > 0 && left > 0)
            fprintf(out, ", about %.0f s",
                    (double)r->snapshot_ms / 1000 * (double)left / (double)r->snapshot_percent +
                        0.5);
    } else if (strcmp(r->role, "down") == 0) {
        fprintf(out, "  waits: that node is down");
    } else if (strcmp(r->role, "learner") == 0) {
        if (r->lag > 0)
            fprintf(out, "  catching up, %lld positions behind", (long long)r->lag);
        else
            fprintf(out, "  caught up, is to vote");
    }
}

static bool votes(const struct overview_group *g, int64_t node)
{
    for (size_t i = 0; i < g->replica_count; i++)
        if (g->replica[i].node == node) return g->replica[i].votes;
    return false;
}

/* "group 3: 1 -> 4": who goes, who comes. */
static void print_move(FILE *out, const struct overview_group *g)
{
    bool first = true, arrives = false, comes = false;
    for (size_t i = 0; i < g->target_count; i++) comes |= !votes(g, g->target[i]);
    fprintf(out, "group %lld:", (long long)g->id);
    for (size_t i = 0; i < g->replica_count; i++) {
        if (overview_targets(g, g->replica[i].node)) continue;
        fprintf(out, first ? " %lld" : ", %lld", (long long)g->replica[i].node);
        first = false;
    }
    if (!comes) {
        fprintf(out, first ? " is done\n" : " leaves\n");
        return;
    }
    fprintf(out, first ? " +" : " ->");
    first = true;
    for (size_t i = 0; i < g->target_count; i++) {
        const struct overview_replica *r = NULL;
        for (size_t k = 0; k < g->replica_count; k++)
            if (g->replica[k].node == g->target[i]) r = &g->replica[k];
        if (votes(g, g->target[i])) continue;
        fprintf(out, first ? " %lld" : ", %lld", (long long)g->target[i]);
        first = false;
        arrives |= r != NULL;
        if (r) print_arrival(out, r);
    }
    fprintf(out, arrives ? "\n" : "  is to begin\n");
}

void status_print_moves(FILE *out, const struct overview *o)
{
    for (size_t i = 0; i < o->group_count; i++) {
        const struct overview_group *g = &o->group[i];
        if (g->target_count) print_move(out, g);
        if (g->splits_at)
            fprintf(out, "group %lld: splits at slot %lld\n", (long long)g->id,
                    (long long)g->splits_at);
        if (g->takes_over)
            fprintf(out, "group %lld: takes over group %lld\n", (long long)g->id,
                    (long long)g->takes_over);
    }
    for (size_t i = 0; i < o->node_count; i++) {
        const struct overview_node *n = &o->node[i];
        size_t holds = overview_holds(o, n->id);
        bool draining = strcmp(n->state, "draining") == 0, gone = strcmp(n->state, "gone") == 0;
        if (draining && holds)
            fprintf(out, "node %lld drains: %zu replicas to go\n", (long long)n->id, holds);
        else if (draining)
            fprintf(out, "node %lld is empty; `synod node remove %lld` lets it go\n",
                    (long long)n->id, (long long)n->id);
        else if (gone && holds)
            fprintf(out, "node %lld is gone: %zu replicas are to be rebuilt elsewhere\n",
                    (long long)n->id, holds);
        else if (gone)
            fprintf(out, "node %lld is gone and replaced; `synod node remove %lld` forgets it\n",
                    (long long)n->id, (long long)n->id);
    }
}

void status_print_transactions(FILE *out, const struct overview *o)
{
    size_t count[OVERVIEW_DECIDED + 1] = {0};
    const struct overview_txn *oldest = NULL;
    for (size_t i = 0; i < o->txn_count; i++) {
        const struct overview_txn *t = &o->txn[i];
        count[t->state]++;
        if (!oldest || t->age_ms > oldest->age_ms) oldest = t;
    }
    if (!oldest) return;
    fprintf(out,
            "transactions over groups: %zu open, %zu prepared, %zu in doubt, %zu committed and "
            "ending%s; the oldest is %s, since %.1f s\n",
            count[OVERVIEW_OPEN], count[OVERVIEW_PREPARED], count[OVERVIEW_IN_DOUBT],
            count[OVERVIEW_DECIDED], o->txn_count == OVERVIEW_TXNS_MAX ? " (and more)" : "",
            oldest->id, (double)oldest->age_ms / 1000);
}

/* ---- the whole ---- */

static void print_summary(FILE *out, const struct overview *o)
{
    size_t up = 0, gone = 0, led = 0, moves = overview_moves(o);
    int64_t lag = 0;
    for (size_t i = 0; i < o->node_count; i++) {
        bool is_gone = strcmp(o->node[i].state, "gone") == 0;
        up += o->node[i].up && !is_gone;
        gone += is_gone;
    }
    for (size_t i = 0; i < o->group_count; i++) {
        const struct overview_node *leader = overview_node(o, o->group[i].leader);
        led += leader && leader->up;
        for (size_t k = 0; k < o->group[i].replica_count; k++)
            if (o->group[i].replica[k].lag > lag) lag = o->group[i].replica[k].lag;
    }
    fprintf(out, "%zu of %zu nodes up%s, %zu of %zu groups have a leader, largest lag %lld", up,
            o->node_count - gone, gone ? " (without those that are gone)" : "", led, o->group_count,
            (long long)lag);
    if (moves) fprintf(out, ", %zu move%s under way", moves, moves == 1 ? "" : "s");
    if (o->moves_max == 0) fprintf(out, ", all moves stopped (moves-max 0)");
    fputc('\n', out);
}

void status_print(FILE *out, const struct overview *o)
{
    fprintf(out, "cluster %s  state %s  epoch %lld  (asked node %lld, version %s)\n\n", o->cluster,
            o->state, (long long)o->epoch, (long long)o->self, o->version);
    status_print_nodes(out, o);
    fputc('\n', out);
    status_print_groups(out, o);
    fputc('\n', out);
    status_print_moves(out, o);
    status_print_transactions(out, o);
    print_summary(out, o);
}

static int status_json(struct client *c)
{
    const struct client_reply *r = client_call(c, "SYNOD STATUS");
    if (!r) return cli_fail("%s", client_error(c));
    if (r->type != CLIENT_BULK)
        return cli_fail("the server does not answer SYNOD STATUS: %.*s; is it a synod?",
                        (int)r->text.size, (const char *)r->text.data);
    fwrite(r->text.data, 1, r->text.size, stdout);
    putchar('\n');
    return EXIT_DONE;
}

int cmd_status(int argc, char **argv)
{
    char at[OPTION_ADDRESS_MAX] = "", error[256];
    bool as_json = false;
    const struct option table[] = {
        {"at", OPTION_ADDRESS, at, .value = "HOST:PORT",
         .help = "any node's client address (one of ./synod-data, 127.0.0.1:7001, or 6379)"},
        {"json", OPTION_FLAG, &as_json, .help = "as the node says it, for programs"},
        {0},
    };
    int status =
        options_parse(&(struct options){"usage: synod status [--at HOST:PORT] [--json]\n", table},
                      argc, argv, NULL, NULL);
    if (status != EXIT_DONE) return status;
    struct client *c = ask_connect(at);
    if (!c) return EXIT_FAILED;
    struct overview o;
    if (as_json) {
        status = status_json(c);
    } else if (overview_ask(&o, c, error, sizeof error)) {
        status_print(stdout, &o);
        overview_free(&o);
    } else {
        status = cli_fail("%s", error);
    }
    client_free(c);
    return status;
}
