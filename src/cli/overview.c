/* SYNOD STATUS as structs. */
#include "cli/overview.h"

#include "base/mem.h"

#include <jansson.h>
#include <stdio.h>

#define ASK_MS 1000

/* ---- reading ---- */

static void text_copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
}

static bool read_cluster(struct overview *o, json_t *j, json_error_t *error)
{
    const char *id, *version, *state;
    json_int_t epoch, self, replicas = -1, grace = -1, moves = -1;
    if (json_unpack_ex(j, error, 0, "{s:s, s:s, s:I, s:s, s:I, s?I, s?I, s?I}", "id", &id,
                       "version", &version, "epoch", &epoch, "state", &state, "self", &self,
                       "replicas", &replicas, "grace_ms", &grace, "moves_max", &moves))
        return false;
    text_copy(o->cluster, sizeof o->cluster, id);
    text_copy(o->version, sizeof o->version, version);
    text_copy(o->state, sizeof o->state, state);
    o->epoch = epoch, o->self = self, o->replicas = replicas;
    o->grace_ms = grace, o->moves_max = moves;
    return true;
}

static bool read_node(struct overview_node *n, json_t *j, json_error_t *error)
{
    const char *address, *peer = NULL, *zone, *state, *io;
    json_int_t id, age, leads, follows, disk, log, room, memory, uptime,
        keys = -1, ops = -1, capacity = 100, tasks = 0, pins = 0;
    int up = -1, witness = 0;
    if (json_unpack_ex(
            j, error, 0,
            "{s:I, s:s, s?s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s?I, s?I, "
            "s?I, s?b, s?b, s?I, s?I}",
            "id", &id, "address", &address, "peer", &peer, "zone", &zone, "state", &state, "age_ms",
            &age, "leads", &leads, "follows", &follows, "disk_bytes", &disk, "log_bytes", &log,
            "room_bytes", &room, "memory_bytes", &memory, "uptime_s", &uptime, "io", &io, "keys",
            &keys, "ops_per_s", &ops, "capacity", &capacity, "up", &up, "witness", &witness,
            "tasks", &tasks, "pins", &pins))
        return false;
    *n = (struct overview_node){.id = id,
                                .age_ms = age,
                                .witness = witness != 0,
                                .capacity = capacity,
                                .leads = leads,
                                .follows = follows,
                                .keys = keys,
                                .disk_bytes = disk,
                                .log_bytes = log,
                                .room_bytes = room,
                                .memory_bytes = memory,
                                .ops_per_s = ops,
                                .uptime_s = uptime,
                                .tasks = tasks,
                                .pins = pins};
    text_copy(n->address, sizeof n->address, address);
    text_copy(n->peer, sizeof n->peer, peer);
    text_copy(n->zone, sizeof n->zone, zone);
    text_copy(n->state, sizeof n->state, state);
    text_copy(n->io, sizeof n->io, io);
    n->up = up >= 0 ? up : strcmp(state, "up") == 0 || strcmp(state, "draining") == 0;
    return true;
}

static bool read_replica(struct overview_replica *r, json_t *j, json_error_t *error)
{
    json_int_t node, applied, lag, percent = -1, bytes = 0, ms = 0;
    const char *role;
    int votes = -1;
    if (json_unpack_ex(j, error, 0, "{s:I, s:s, s:I, s:I, s?b, s?I, s?I, s?I}", "node", &node,
                       "role", &role, "applied", &applied, "lag", &lag, "votes", &votes,
                       "snapshot_percent", &percent, "snapshot_bytes", &bytes, "snapshot_ms", &ms))
        return false;
    *r = (struct overview_replica){.node = node,
                                   .applied = applied,
                                   .lag = lag,
                                   .snapshot_percent = percent,
                                   .snapshot_bytes = bytes,
                                   .snapshot_ms = ms};
    text_copy(r->role, sizeof r->role, role);
    r->votes = votes >= 0 ? votes : strcmp(role, "learner") != 0;
    return true;
}

static bool read_arrays(struct overview_group *g, json_t *slots, json_t *replicas, json_t *target,
                        json_error_t *error)
{
    size_t i;
    json_t *item;
    if (json_unpack_ex(slots, error, 0, "[*]") || json_unpack_ex(replicas, error, 0, "[*]"))
        return false; /* each is an array */
    json_array_foreach(slots, i, item)
    {
        json_int_t lo, hi;
        if (json_unpack_ex(item, error, 0, "[I, I]", &lo, &hi)) return false;
        if (i == OVERVIEW_RANGES_MAX) break;
        g->slots[g->range_count][0] = lo;
        g->slots[g->range_count++][1] = hi;
    }
    json_array_foreach(replicas, i, item)
    {
        if (i == OVERVIEW_REPLICAS_MAX) break;
        if (!read_replica(&g->replica[g->replica_count++], item, error)) return false;
    }
    json_array_foreach(target, i, item)
    {
        if (i < OVERVIEW_REPLICAS_MAX) g->target[g->target_count++] = json_integer_value(item);
    }
    return true;
}

/* What another group says of the same one is joined. */
static void add_txn(struct overview *o, const struct overview_txn *txn)
{
    size_t i = 0;
    while (i < o->txn_count && strcmp(o->txn[i].id, txn->id) != 0) i++;
    if (i == OVERVIEW_TXNS_MAX) return;
    if (!o->txn) o->txn = mem_zalloc(OVERVIEW_TXNS_MAX * sizeof *o->txn);
    if (i == o->txn_count) o->txn[o->txn_count++] = *txn;
    if (txn->state > o->txn[i].state) o->txn[i].state = txn->state;
    if (txn->age_ms > o->txn[i].age_ms) o->txn[i].age_ms = txn->age_ms;
}

static bool read_transactions(struct overview *o, json_t *j, json_error_t *error)
{
    static const char *const states[] = {[OVERVIEW_OPEN] = "open",
                                         [OVERVIEW_PREPARED] = "prepared",
                                         [OVERVIEW_IN_DOUBT] = "in doubt",
                                         [OVERVIEW_DECIDED] = "decided"};
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(j, "transactions"), i, item)
    {
        struct overview_txn txn = {.state = OVERVIEW_OPEN};
        const char *id, *state;
        json_int_t age;
        if (json_unpack_ex(item, error, 0, "{s:s, s:s, s:I}", "id", &id, "state", &state, "age_ms",
                           &age))
            return false;
        text_copy(txn.id, sizeof txn.id, id);
        txn.age_ms = age;
        for (uint8_t s = 0; s <= OVERVIEW_DECIDED; s++)
            if (strcmp(state, states[s]) == 0) txn.state = s;
        add_txn(o, &txn);
    }
    return true;
}

static bool read_group(struct overview_group *g, json_t *j, json_error_t *error)
{
    json_int_t id, leader, chosen, keys = -1, ops = -1, splits_at = 0, takes_over = 0;
    json_t *slots, *replicas, *target = NULL;
    *g = (struct overview_group){0};
    if (json_unpack_ex(j, error, 0, "{s:I, s:o, s:I, s:I, s:o, s?I, s?I, s?I, s?I, s?o}", "id", &id,
                       "slots", &slots, "leader", &leader, "chosen", &chosen, "replicas", &replicas,
                       "keys", &keys, "ops_per_s", &ops, "splits_at", &splits_at, "takes_over",
                       &takes_over, "target", &target))
        return false;
    g->id = id, g->leader = leader, g->chosen = chosen;
    g->keys = keys, g->ops_per_s = ops, g->splits_at = splits_at, g->takes_over = takes_over;
    return read_arrays(g, slots, replicas, target, error);
}

static bool read_all(struct overview *o, json_t *root, json_error_t *error)
{
    json_t *cluster, *nodes, *groups, *item;
    size_t i;
    if (json_unpack_ex(root, error, 0, "{s:o, s:o, s:o}", "cluster", &cluster, "nodes", &nodes,
                       "groups", &groups) ||
        json_unpack_ex(nodes, error, 0, "[*]") || json_unpack_ex(groups, error, 0, "[*]") ||
        !read_cluster(o, cluster, error))
        return false;
    o->group = mem_zalloc((json_array_size(groups) + 1) * sizeof *o->group);
    json_array_foreach(nodes, i, item)
    {
        if (i == OVERVIEW_NODES_MAX) break;
        if (!read_node(&o->node[o->node_count++], item, error)) return false;
    }
    json_array_foreach(groups, i, item)
    {
        if (!read_group(&o->group[o->group_count++], item, error)) return false;
        if (!read_transactions(o, item, error)) return false;
    }
    return true;
}

bool overview_read(struct overview *o, struct bytes json, char *error, size_t error_size)
{
    json_error_t why;
    *o = (struct overview){0};
    json_t *root = json_loadb((const char *)json.data, json.size, 0, &why);
    bool good = root && read_all(o, root, &why);
    if (!good) {
        snprintf(error, error_size, "the node's status cannot be read: %s", why.text);
        overview_free(o);
    }
    json_decref(root);
    return good;
}

void overview_free(struct overview *o)
{
    mem_free(o->group);
    mem_free(o->txn);
    *o = (struct overview){0};
}

/* ---- asking ---- */

static bool ask_one(struct overview *o, struct client *c, char *error, size_t error_size)
{
    const struct client_reply *r = client_call(c, "SYNOD STATUS");
    *o = (struct overview){0};
    if (!r)
        snprintf(error, error_size, "%s", client_error(c));
    else if (r->type != CLIENT_BULK)
        snprintf(error, error_size, "the server does not answer SYNOD STATUS: %.*s; is it a synod?",
                 (int)(r->text.size < 120 ? r->text.size : 120), (const char *)r->text.data);
    else
        return overview_read(o, r->text, error, error_size);
    return false;
}

/* What a group's leader says of it goes before what others say. */
static void take_led(struct overview *o, const struct overview *by)
{
    for (size_t i = 0; i < o->group_count; i++) {
        const struct overview_group *said = overview_group(by, o->group[i].id);
        if (said && said->leader == by->self) o->group[i] = *said;
    }
    for (size_t i = 0; i < by->txn_count; i++) add_txn(o, &by->txn[i]);
}

bool overview_ask(struct overview *o, struct client *c, char *error, size_t error_size)
{
    char ignored[256];
    if (!ask_one(o, c, error, error_size)) return false;
    for (size_t i = 0; i < o->node_count; i++) {
        const struct overview_node *n = &o->node[i];
        struct overview more;
        if (n->id == o->self || !n->up || !n->leads) continue;
        struct client *to = client_connect(n->address, ASK_MS, ignored, sizeof ignored);
        if (to && ask_one(&more, to, ignored, sizeof ignored)) {
            if (strcmp(more.cluster, o->cluster) == 0) take_led(o, &more);
            overview_free(&more);
        }
        client_free(to);
    }
    return true;
}

/* ---- facts ---- */

const struct overview_node *overview_node(const struct overview *o, int64_t id)
{
    for (size_t i = 0; i < o->node_count; i++)
        if (o->node[i].id == id) return &o->node[i];
    return NULL;
}

const struct overview_node *overview_node_at(const struct overview *o, const char *address)
{
    const struct overview_node *found = NULL;
    for (size_t i = 0; i < o->node_count; i++) /* the newest at it: an older one is its lost disk */
        if (strcmp(o->node[i].address, address) == 0) found = &o->node[i];
    return found;
}

const struct overview_group *overview_group(const struct overview *o, int64_t id)
{
    for (size_t i = 0; i < o->group_count; i++)
        if (o->group[i].id == id) return &o->group[i];
    return NULL;
}

bool overview_has(const struct overview_group *g, int64_t node)
{
    for (size_t i = 0; i < g->replica_count; i++)
        if (g->replica[i].node == node) return true;
    return false;
}

bool overview_targets(const struct overview_group *g, int64_t node)
{
    for (size_t i = 0; i < g->target_count; i++)
        if (g->target[i] == node) return true;
    return false;
}

size_t overview_holds(const struct overview *o, int64_t node)
{
    size_t count = 0;
    for (size_t i = 0; i < o->group_count; i++) count += overview_has(&o->group[i], node);
    return count;
}

size_t overview_moves(const struct overview *o)
{
    size_t count = 0;
    for (size_t i = 0; i < o->group_count; i++)
        count += o->group[i].target_count || o->group[i].splits_at || o->group[i].takes_over;
    return count;
}
