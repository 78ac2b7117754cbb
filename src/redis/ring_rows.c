#include "redis/ring_rows.h"
#include "shard/keys.h"

#define ERR_NO_MAP "TRYAGAIN the cluster map is not written yet; the cluster is being founded"

enum row_found row_get(struct view *v, uint8_t type, uint32_t id, struct ring_row *row)
{
    struct buf suffix = {0}, key = {0};
    struct bytes value;
    ring_row_key(&suffix, type, id);
    keys_system(&key, buf_bytes(&suffix));
    enum view_result found = view_get(v, buf_bytes(&key), &value);
    buf_deinit(&suffix), buf_deinit(&key);
    if (found == VIEW_MISS) return ROW_MISS;
    return found == VIEW_FOUND && ring_row_decode(value, row) && row->type == type ? ROW_THERE
                                                                                   : ROW_ABSENT;
}

void row_put(struct change *c, struct ring_row *row)
{
    struct buf suffix = {0}, key = {0}, value = {0};
    uint32_t id = row->type == RING_ROW_NODE    ? row->node.id
                  : row->type == RING_ROW_GROUP ? row->group.id
                                                : 0;
    if (!c->changed) c->settings.epoch++; /* one for all rows of a command */
    c->changed = true;
    if (row->type == RING_ROW_NODE) row->node.epoch = c->settings.epoch;
    if (row->type == RING_ROW_GROUP) row->group.epoch = c->settings.epoch;
    ring_row_key(&suffix, row->type, id);
    keys_system(&key, buf_bytes(&suffix));
    ring_row_encode(row, &value);
    view_put(c->v, buf_bytes(&key), buf_bytes(&value));
    buf_deinit(&suffix), buf_deinit(&key), buf_deinit(&value);
}

void node_put(struct change *c, const struct ring_node *n)
{
    struct ring_row row = {.type = RING_ROW_NODE, .node = *n};
    row_put(c, &row);
}

void group_put(struct change *c, const struct ring_group *g)
{
    struct ring_row row = {.type = RING_ROW_GROUP, .group = *g};
    row_put(c, &row);
}

bool change_begin(struct change *c, struct view *v, struct reply *out)
{
    struct ring_row row;
    *c = (struct change){.v = v, .out = out};
    switch (row_get(v, RING_ROW_SETTINGS, 0, &row)) {
    case ROW_THERE: c->settings = row.settings; return true;
    case ROW_ABSENT: reply_error(out, ERR_NO_MAP); return false;
    case ROW_MISS: break;
    }
    return false;
}

void change_end(struct change *c)
{
    if (!c->changed) return;
    struct ring_row row = {.type = RING_ROW_SETTINGS, .settings = c->settings};
    row_put(c, &row);
}

bool node_of(struct change *c, int64_t id, struct ring_node *n)
{
    struct ring_row row;
    enum row_found found = id > 0 && id <= RING_NODES_MAX
                               ? row_get(c->v, RING_ROW_NODE, (uint32_t)id, &row)
                               : ROW_ABSENT;
    if (found == ROW_MISS) return false;
    if (found == ROW_ABSENT) {
        reply_errorf(c->out, "ERR there is no node %lld; `synod node list` shows those there are",
                     (long long)id);
        return false;
    }
    *n = row.node;
    return true;
}

bool group_of(struct change *c, int64_t id, struct ring_group *g)
{
    struct ring_row row;
    enum row_found found = id >= 0 && id < RING_GROUPS_MAX
                               ? row_get(c->v, RING_ROW_GROUP, (uint32_t)id, &row)
                               : ROW_ABSENT;
    if (found == ROW_MISS) return false;
    if (found == ROW_ABSENT || row.group.state == RING_GROUP_FREE) {
        reply_errorf(c->out, "ERR there is no group %lld; `synod group list` shows those there are",
                     (long long)id);
        return false;
    }
    *g = row.group;
    return true;
}

static bool walk_row(void *ctx, struct bytes key, struct bytes value)
{
    struct walk *w = ctx;
    struct ring_row row;
    (void)key;
    if (!ring_row_decode(value, &row)) return true;
    if (row.type == RING_ROW_NODE && w->node) w->node(w->ctx, &row.node);
    if (row.type == RING_ROW_GROUP && w->group) w->group(w->ctx, &row.group);
    return true;
}

bool rows_walk(struct view *v, struct walk *w)
{
    struct buf lo = {0}, hi = {0};
    keys_kind(&lo, 0, KEYS_SYSTEM);
    keys_kind(&hi, 0, KEYS_SYSTEM + 1);
    enum view_result r = view_range(v, buf_bytes(&lo), buf_bytes(&hi), false, walk_row, w);
    buf_deinit(&lo), buf_deinit(&hi);
    return r != VIEW_MISS;
}

bool arg_is(const struct cmd_args *a, uint32_t i, const char *word)
{
    return i < a->count && bytes_equal_nocase(a->v[i], word);
}

bool arg_i64(struct change *c, const struct cmd_args *a, uint32_t i, int64_t *v)
{
    if (i < a->count && bytes_to_i64(a->v[i], v)) return true;
    reply_error(c->out, i < a->count ? ERR_NOT_INTEGER : ERR_SYNTAX);
    return false;
}

bool group_is_free(struct change *c, const struct ring_group *g)
{
    if (!ring_group_changes(g)) return true;
    reply_errorf(c->out, "TRYAGAIN group %u is being moved, split or merged already", g->id);
    return false;
}
