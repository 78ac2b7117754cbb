/* Rows of the cluster map as bytes: version:1, type:1, then the fields as LEB128 numbers and blobs
 * in the order in which they are written here (docs/FORMAT.md). */
#include "ring/ring.h"

#include <string.h>

#define ROW_VERSION 2 /* 1 has nothing of merges, and is read */

/* Flags of a node's row. */
enum { NODE_DRAINED = 1, NODE_WITNESS = 2 };

static void put_be(struct buf *out, uint64_t v, int size)
{
    for (int i = size; i-- > 0;) buf_u8(out, (uint8_t)(v >> 8 * i));
}

void ring_row_key(struct buf *out, uint8_t type, uint32_t id)
{
    buf_clear(out);
    buf_u8(out, type);
    if (type != RING_ROW_SETTINGS) put_be(out, id, 4);
}

uint64_t ring_row_epoch(const struct ring_row *row)
{
    return row->type == RING_ROW_SETTINGS ? row->settings.epoch
           : row->type == RING_ROW_NODE   ? row->node.epoch
                                          : row->group.epoch;
}

static void settings_put(const struct ring_settings *s, struct buf *out)
{
    buf_u64(out, s->cluster);
    buf_varint(out, s->epoch);
    buf_varint(out, s->replicas);
    buf_varint(out, s->next_group);
    buf_varint(out, s->next_node);
    buf_varint(out, s->grace_ms);
    buf_varint(out, s->moves_max);
    buf_varint(out, s->split_keys);
    buf_varint(out, s->split_ops);
    buf_varint(out, s->merge_keys);
}

static void node_put(const struct ring_node *n, struct buf *out)
{
    buf_varint(out, n->id);
    buf_u8(out, n->state);
    buf_u8(out, (uint8_t)((n->drained ? NODE_DRAINED : 0) | (n->witness ? NODE_WITNESS : 0)));
    buf_varint(out, n->capacity);
    buf_u64(out, n->disk);
    buf_varint(out, n->epoch);
    buf_varint(out, (uint64_t)n->since_ms);
    buf_blob(out, bytes_str(n->peer));
    buf_blob(out, bytes_str(n->client));
    buf_blob(out, bytes_str(n->http));
    buf_blob(out, bytes_str(n->zone));
}

static void group_put(const struct ring_group *g, struct buf *out)
{
    buf_varint(out, g->id);
    buf_u8(out, g->state);
    buf_varint(out, g->epoch);
    buf_varint(out, g->slot_lo);
    buf_varint(out, g->slot_hi);
    buf_varint(out, g->config_position);
    buf_varint(out, g->config.next_replica);
    buf_u8(out, g->config.count);
    for (int i = 0; i < g->config.count; i++) {
        buf_varint(out, g->config.member[i].replica);
        buf_varint(out, g->config.member[i].node);
        buf_u8(out, g->config.member[i].role);
    }
    buf_u8(out, g->target_count);
    for (int i = 0; i < g->target_count; i++) buf_varint(out, g->target[i]);
    buf_varint(out, g->leader);
    buf_varint(out, g->split_id);
    buf_varint(out, g->split_at);
    buf_varint(out, g->merge_id);
    buf_u8(out, g->merging);
    buf_varint(out, g->sealed);
}

void ring_row_encode(const struct ring_row *row, struct buf *out)
{
    buf_u8(out, ROW_VERSION);
    buf_u8(out, row->type);
    if (row->type == RING_ROW_SETTINGS) settings_put(&row->settings, out);
    if (row->type == RING_ROW_NODE) node_put(&row->node, out);
    if (row->type == RING_ROW_GROUP) group_put(&row->group, out);
}

static void text(struct reader *r, char *to, size_t size)
{
    struct bytes b = reader_blob(r);
    if (b.size >= size || (b.size && memchr(b.data, 0, b.size))) r->bad = true;
    if (!r->bad && b.size) memcpy(to, b.data, b.size);
}

static void settings_get(struct reader *r, uint8_t version, struct ring_settings *s)
{
    s->cluster = reader_u64(r);
    s->epoch = reader_varint(r);
    s->replicas = (uint32_t)reader_bounded(r, PAXOS_MEMBERS_MAX);
    s->next_group = (uint32_t)reader_bounded(r, RING_GROUPS_MAX);
    s->next_node = (uint16_t)reader_bounded(r, RING_NODES_MAX + 1);
    s->grace_ms = (uint32_t)reader_bounded(r, UINT32_MAX);
    s->moves_max = (uint32_t)reader_bounded(r, RING_GROUPS_MAX);
    s->split_keys = reader_varint(r);
    s->split_ops = reader_varint(r);
    s->merge_keys = version > 1 ? reader_varint(r) : 0;
}

static void node_get(struct reader *r, struct ring_node *n)
{
    n->id = (uint16_t)reader_bounded(r, RING_NODES_MAX);
    n->state = reader_u8(r);
    uint8_t flags = reader_u8(r);
    n->drained = flags & NODE_DRAINED;
    n->witness = flags & NODE_WITNESS;
    n->capacity = (uint32_t)reader_bounded(r, 1000000);
    n->disk = reader_u64(r);
    n->epoch = reader_varint(r);
    n->since_ms = (int64_t)reader_varint(r);
    text(r, n->peer, sizeof n->peer);
    text(r, n->client, sizeof n->client);
    text(r, n->http, sizeof n->http);
    text(r, n->zone, sizeof n->zone);
    if (n->id == 0 || n->state > RING_NODE_REMOVED || flags > (NODE_DRAINED | NODE_WITNESS))
        r->bad = true;
}

static void group_get(struct reader *r, uint8_t version, struct ring_group *g)
{
    g->id = (uint32_t)reader_bounded(r, RING_GROUPS_MAX - 1);
    g->state = reader_u8(r);
    g->epoch = reader_varint(r);
    g->slot_lo = (uint16_t)reader_bounded(r, SLOT_COUNT);
    g->slot_hi = (uint16_t)reader_bounded(r, SLOT_COUNT);
    g->config_position = reader_varint(r);
    g->config.next_replica = (uint16_t)reader_bounded(r, UINT16_MAX);
    g->config.count = reader_u8(r);
    if (g->config.count > PAXOS_MEMBERS_MAX) r->bad = true;
    for (int i = 0; i < g->config.count && !r->bad; i++) {
        g->config.member[i].replica = (uint16_t)reader_bounded(r, UINT16_MAX);
        g->config.member[i].node = (uint16_t)reader_bounded(r, RING_NODES_MAX);
        g->config.member[i].role = reader_u8(r);
    }
    g->target_count = reader_u8(r);
    if (g->target_count > PAXOS_MEMBERS_MAX) r->bad = true;
    for (int i = 0; i < g->target_count && !r->bad; i++)
        g->target[i] = (uint16_t)reader_bounded(r, RING_NODES_MAX);
    g->leader = (uint16_t)reader_bounded(r, RING_NODES_MAX);
    g->split_id = (uint32_t)reader_bounded(r, RING_GROUPS_MAX - 1);
    g->split_at = (uint16_t)reader_bounded(r, SLOT_COUNT);
    if (version > 1) {
        g->merge_id = (uint32_t)reader_bounded(r, RING_GROUPS_MAX - 1);
        g->merging = reader_u8(r) != 0;
        g->sealed = reader_varint(r);
    }
    if (g->state > RING_GROUP_SERVING || g->slot_lo > g->slot_hi) r->bad = true;
}

bool ring_row_decode(struct bytes in, struct ring_row *row)
{
    struct reader r = reader_of(in);
    memset(row, 0, sizeof *row);
    uint8_t version = reader_u8(&r);
    row->type = reader_u8(&r);
    if (r.bad || version < 1 || version > ROW_VERSION) return false;
    switch (row->type) {
    case RING_ROW_SETTINGS: settings_get(&r, version, &row->settings); break;
    case RING_ROW_NODE: node_get(&r, &row->node); break;
    case RING_ROW_GROUP: group_get(&r, version, &row->group); break;
    default: return false;
    }
    return !r.bad && reader_left(&r) == 0;
}
