#include "cli/trace_picture.h"

#include "cli/picture.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX  512
#define NODES_MAX 64

struct reading {
    struct picture picture;
    const char *name;
    int client, asked;

    /* one group */
    int leader, lane_of_node[NODES_MAX];
    double way, last, total; /* us: to the leader, as a guess; at the leader; of all */

    /* several */
    unsigned group[PICTURE_LANES], groups, hidden;
    bool entries; /* of their logs are drawn */
};

/* A step of a transaction. */
struct row {
    double asked, answered;
    bool here, is_answered; /* here: at the coordinator, asked of no group */
    unsigned group;
    int lane;
    char phase[12], outcome[96];
};

static const char *after(const char *line, const char *head)
{
    size_t size = strlen(head);
    return strncmp(line, head, size) == 0 ? line + size : NULL;
}

/* The text of a line, cut at LINE_MAX. */
static const char *line_of(const struct client_reply *r, size_t i, char line[LINE_MAX])
{
    struct bytes t = r->items[i].text;
    size_t size = r->items[i].type == CLIENT_BULK ? t.size : 0;
    if (size >= LINE_MAX) size = LINE_MAX - 1;
    if (size) memcpy(line, t.data, size);
    line[size] = 0;
    return line;
}

static int node_lane(struct picture *p, unsigned node, const char *under)
{
    char head[20];
    snprintf(head, sizeof head, "node %u", node);
    return picture_lane(p, head, under);
}

/* What came of the whole, at the arrow to the client. */
static const char *reply_label(const struct client_reply *r)
{
    const struct client_reply *own = &r->items[r->count - 1];
    if (own->type == CLIENT_ERROR) return "error";
    return client_reply_is(own, CLIENT_STATUS, "OK") ? "OK" : "reply";
}

/* ---- a command of one group ---- */

static int replica_lane(struct reading *g, unsigned node)
{
    if (node >= NODES_MAX) return -1;
    if (!g->lane_of_node[node]) g->lane_of_node[node] = node_lane(&g->picture, node, "replica") + 1;
    return g->lane_of_node[node] - 1;
}

static bool read_route(struct reading *g, const char *line, unsigned group)
{
    unsigned asked, leader;
    char under[24];
    if (sscanf(line, "route: asked node %u, leader node %u", &asked, &leader) != 2) return false;
    if (asked >= NODES_MAX || leader >= NODES_MAX || leader == 0) return false;
    snprintf(under, sizeof under, "leads group %u", group);
    g->client = picture_lane(&g->picture, "client", "");
    g->asked = g->leader = node_lane(&g->picture, asked, asked == leader ? under : "was asked");
    if (asked != leader) g->leader = node_lane(&g->picture, leader, under);
    g->lane_of_node[leader] = g->leader + 1;
    if (!g->lane_of_node[asked]) g->lane_of_node[asked] = g->asked + 1;
    picture_event(&g->picture, 0, g->client, g->asked, g->name);
    return true;
}

/* The leader counts from when it began; the way there is half of what is missing in the total. */
static void guess_way(struct reading *g, const struct client_reply *r)
{
    char line[LINE_MAX];
    double at;
    for (size_t i = 2; i + 1 < r->count; i++) {
        line_of(r, i, line);
        if (sscanf(line, " %lf us", &at) == 1) g->last = at;
        const char *t = strstr(line, ": ");
        if (after(line, "total at node") && t) g->total = atof(t + 2);
    }
    if (g->asked != g->leader && g->total > g->last) g->way = (g->total - g->last) / 2;
    if (g->asked != g->leader) picture_event(&g->picture, 0, g->asked, g->leader, "forwarded");
}

static void read_step(struct reading *g, const char *line)
{
    struct picture *p = &g->picture;
    char text[40];
    unsigned node;
    unsigned long long position;
    double at;
    int used = 0;
    if (sscanf(line, " %lf us %n", &at, &used) != 1 || !used) return;
    const char *what = line + used;
    at += g->way;
    if (after(what, "leader: node")) {
        picture_event(p, at, g->leader, g->leader, "evaluates");
    } else if (after(what, "leader: nothing written")) {
        picture_event(p, at, g->leader, g->leader, "checks its lease");
    } else if (sscanf(what, "leader: proposes the effects as the entry at position %llu",
                      &position) == 1) {
        snprintf(text, sizeof text, "proposes %llu", position);
        picture_event(p, at, g->leader, g->leader, text);
    } else if (sscanf(what, "Accept sent to node %u", &node) == 1) {
        picture_event(p, at, g->leader, replica_lane(g, node), "Accept");
    } else if (after(what, "on disk at node")) {
        picture_event(p, at, g->leader, g->leader, "* on disk");
    } else if (sscanf(what, "Accepted by node %u", &node) == 1) {
        picture_event(p, at, replica_lane(g, node), g->leader, "on disk");
    } else if (after(what, "chosen")) {
        picture_event(p, at, g->leader, g->leader, "* chosen, applied");
    }
}

static void read_one(struct reading *g, const struct client_reply *r)
{
    char line[LINE_MAX];
    const char *reply = reply_label(r);
    guess_way(g, r);
    for (size_t i = 2; i + 1 < r->count; i++) read_step(g, line_of(r, i, line));
    if (g->asked != g->leader)
        picture_event(&g->picture, g->way + g->last, g->leader, g->asked, reply);
    picture_event(&g->picture, g->total, g->asked, g->client, reply);
}

/* ---- one of several ---- */

static int group_lane(struct reading *g, unsigned group)
{
    unsigned i = 0;
    while (i < g->groups && g->group[i] != group) i++;
    return i < g->groups ? g->asked + 1 + (int)i : -1;
}

static void read_group(struct reading *g, unsigned group, unsigned leader)
{
    char head[20], under[24];
    snprintf(head, sizeof head, "group %u", group);
    snprintf(under, sizeof under, leader ? "node %u leads" : "no leader", leader);
    if (picture_lane(&g->picture, head, under) >= 0)
        g->group[g->groups++] = group;
    else
        g->hidden++;
}

/* The first words of what came of it, short enough for an arrow. */
static void outcome_label(const char *outcome, char label[24])
{
    size_t size = strcspn(outcome, ":(");
    bool error = isupper((unsigned char)outcome[0]); /* "TXNLOST the transaction ..." */
    if (error) size = strcspn(outcome, " ");
    if (strcmp(outcome, "all is still locked") == 0) outcome = "held", size = 4;
    if (strcmp(outcome, "committed and applied") == 0) size = 9;
    if (size > 23) size = 23;
    memcpy(label, outcome, size);
    label[size] = 0;
}

/* "ASKED ANSWERED PHASE [group G at ]node N: OUTCOME". False: another line. */
static bool read_row(const char *line, struct row *row)
{
    char answered[24];
    unsigned node;
    int used = 0;
    *row = (struct row){.lane = -1};
    if (sscanf(line, " %lf %23s %11s %n", &row->asked, answered, row->phase, &used) != 3 || !used)
        return false;
    const char *colon = strstr(line + used, ": ");
    if (!colon) return false;
    row->here = sscanf(line + used, "group %u at node %u", &row->group, &node) != 2;
    row->is_answered = answered[0] != '-';
    if (row->is_answered) row->answered = atof(answered);
    snprintf(row->outcome, sizeof row->outcome, "%s", colon + 2);
    return true;
}

/* At the coordinator itself. */
static void draw_here(struct reading *g, const struct row *row, const char *reply)
{
    struct picture *p = &g->picture;
    char text[PICTURE_WIDTH];
    if (strcmp(row->phase, "EVALUATE") == 0) {
        bool misses = after(row->outcome, "rows") != NULL;
        picture_event(p, row->asked, g->asked, g->asked, misses ? "needs more rows" : "evaluates");
    } else if (strcmp(row->phase, "ANSWER") == 0) {
        picture_event(p, row->asked, g->asked, g->client, reply);
    } else if (atoi(row->outcome) > 1) {
        snprintf(text, sizeof text, "try %s", row->outcome);
        picture_event(p, row->asked, PICTURE_EVERYWHERE, 0, text);
    }
}

/* "entry E: on disk at node 1 +5.0 us, ... chosen +7.0 us": of this step. The way there and back
 * is what is missing, and half of it the way there. */
static void draw_entry(struct reading *g, const struct row *row, const char *line)
{
    char text[40] = "* on disk: ";
    const char *chosen = strstr(line, "chosen +"), *at = line;
    unsigned node;
    for (bool first = true; (at = strstr(at, "at node ")) != NULL; at++, first = false) {
        size_t size = strlen(text);
        if (sscanf(at, "at node %u", &node) != 1) break;
        snprintf(text + size, sizeof text - size, first ? "%u" : ",%u", node);
    }
    if (!chosen || !row->is_answered) return;
    g->entries = true;
    double took = atof(chosen + strlen("chosen +")), rest = row->answered - row->asked - took;
    picture_event(&g->picture, row->asked + took + (rest > 0 ? rest / 2 : 0), row->lane, row->lane,
                  text);
}

static void draw_answer(struct reading *g, const struct row *row)
{
    char label[24];
    if (row->here || !row->is_answered) return;
    outcome_label(row->outcome, label);
    picture_event(&g->picture, row->answered, row->lane, g->asked, label);
}

static void read_several(struct reading *g, const struct client_reply *r, unsigned coordinator)
{
    char line[LINE_MAX];
    struct row row = {.here = true}, next;
    unsigned group, lo, hi, node;
    g->client = picture_lane(&g->picture, "client", "");
    g->asked = node_lane(&g->picture, coordinator, "coordinator");
    picture_event(&g->picture, 0, g->client, g->asked, g->name);
    for (size_t i = 1; i + 1 < r->count; i++) {
        line_of(r, i, line);
        if (sscanf(line, "group %u: slots %u-%u, leader node %u", &group, &lo, &hi, &node) == 4) {
            read_group(g, group, node);
        } else if (read_row(line, &next)) {
            draw_answer(g, &row);
            row = next;
            if (row.here)
                draw_here(g, &row, reply_label(r));
            else
                picture_event(&g->picture, row.asked, g->asked, row.lane = group_lane(g, row.group),
                              row.phase);
        } else if (strstr(line, "entry ")) {
            draw_entry(g, &row, line);
        }
    }
    draw_answer(g, &row);
}

/* ---- both ---- */

static bool read_trace(struct reading *g, const struct client_reply *r)
{
    char line[LINE_MAX];
    unsigned groups, slot, group, coordinator;
    if (r->type != CLIENT_ARRAY || r->count < 3) return false;
    line_of(r, 0, line);
    if (sscanf(line, "transaction over %u group%*[s,] coordinated by node %u", &groups,
               &coordinator) == 2) {
        read_several(g, r, coordinator);
        return true;
    }
    if (sscanf(line, "hash: slot %u, group %u", &slot, &group) != 2 ||
        !read_route(g, line_of(r, 1, line), group))
        return false;
    read_one(g, r);
    return true;
}

/* "total at node 1: 12.0 us", or "... us to the answer, 15.0 us until all was over". */
static void put_total(const char *line, struct buf *out)
{
    double answer, end;
    int used = 0;
    int got = sscanf(line, "total at node %*u: %lf us to the answer, %lf us until %n", &answer,
                     &end, &used);
    if (got >= 1) buf_printf(out, "answered after %.2f ms", answer / 1000);
    if (got == 2 && used) buf_printf(out, "; %s after %.2f ms", line + used, end / 1000);
    if (got >= 1) buf_printf(out, "\n");
}

static void put_foot(const struct reading *g, const struct client_reply *r, struct buf *out)
{
    char line[LINE_MAX];
    for (size_t i = 1; i + 1 < r->count; i++) {
        line_of(r, i, line);
        if (after(line, "total at node"))
            put_total(line, out);
        else if (after(line, "..."))
            buf_printf(out, "%s\n", line);
    }
    if (g->entries)
        buf_printf(out, "(* on disk: nodes whose disks have this entry of the group's log)\n");
    if (g->hidden)
        buf_printf(out, "%u more group%s not drawn\n", g->hidden, g->hidden == 1 ? " is" : "s are");
}

bool trace_picture(const struct client_reply *r, const char *name, struct buf *out)
{
    struct reading g = {.name = name};
    bool good = read_trace(&g, r);
    if (good) picture_draw(&g.picture, out);
    if (good) put_foot(&g, r, out);
    picture_deinit(&g.picture);
    return good;
}
