#include "redis/multi.h"
#include "redis/object.h"
#include "redis/resp.h"
#include "shard/watch.h"

#define ERR_BAD_ITEM "ERR not a transaction as nodes send them to each other"

/* ---- as bytes ---- */

void multi_put_command(struct buf *out, const struct cmd_args *a)
{
    buf_u8(out, MULTI_COMMAND);
    buf_varint(out, a->count);
    for (uint32_t i = 0; i < a->count; i++) buf_blob(out, a->v[i]);
}

bool multi_get_command(struct bytes item, struct cmd_args *a, struct buf *storage)
{
    struct reader r = reader_of(item);
    bool is = reader_u8(&r) == MULTI_COMMAND;
    uint64_t count = reader_varint(&r);
    if (!is || r.bad || count == 0 || count > RESP_ARGS_MAX || count > reader_left(&r))
        return false;
    buf_clear(storage);
    struct bytes *v = (struct bytes *)(void *)buf_reserve(storage, (size_t)count * sizeof *v);
    for (uint64_t i = 0; i < count; i++) v[i] = reader_blob(&r);
    *a = (struct cmd_args){v, (uint32_t)count};
    return !r.bad && reader_left(&r) == 0;
}

struct watched {
    uint32_t group;
    uint64_t leadership, version;
    bool existed;
    struct bytes key;
};

static void watched_put(struct buf *out, const struct watched *w)
{
    buf_u32(out, w->group);
    buf_u64(out, w->leadership);
    buf_u64(out, w->version);
    buf_u8(out, w->existed);
    buf_blob(out, w->key);
}

/* 1: the next; 0: the end; -1: malformed. */
static int watched_next(struct reader *r, struct watched *w)
{
    if (!reader_left(r)) return 0;
    w->group = reader_u32(r);
    w->leadership = reader_u64(r);
    w->version = reader_u64(r);
    w->existed = reader_u8(r) != 0;
    w->key = reader_blob(r);
    return r->bad ? -1 : 1;
}

bool multi_watched_keys(struct bytes watches, void (*each)(void *ctx, struct bytes key), void *ctx)
{
    struct reader r = reader_of(watches);
    struct watched w;
    int more;
    while ((more = watched_next(&r, &w)) == 1) each(ctx, w.key);
    return more == 0;
}

void multi_watched_each(struct bytes watches,
                        void (*each)(void *ctx, struct bytes key, struct bytes watch), void *ctx)
{
    struct reader r = reader_of(watches);
    struct watched w;
    const uint8_t *at = r.at;
    for (; watched_next(&r, &w) == 1; at = r.at)
        each(ctx, w.key, bytes_of(at, (size_t)(r.at - at)));
}

void multi_commands(const struct cmd_args *a, multi_each *each, void *ctx)
{
    struct buf storage = {0};
    struct cmd_args inner;
    for (uint32_t i = 3; i < a->count; i++) {
        const struct command *c =
            multi_get_command(a->v[i], &inner, &storage) ? command_find(&inner, NULL) : NULL;
        if (c) each(ctx, c, &inner);
    }
    buf_deinit(&storage);
}

struct keys_of {
    void (*each)(void *ctx, struct bytes key);
    void *ctx;
};

static void keys_of_command(void *ctx, const struct command *c, const struct cmd_args *a)
{
    const struct keys_of *keys = ctx;
    (void)command_keys(c, a, keys->each, keys->ctx);
}

void multi_keys(const struct cmd_args *a, void (*each)(void *ctx, struct bytes key), void *ctx)
{
    struct keys_of keys = {each, ctx};
    multi_commands(a, keys_of_command, &keys);
}

bool multi_takes(const struct command *c)
{
    return c->fn && c->spread == CMD_SPREAD_NONE && !(c->flags & (CMD_SYSTEM | CMD_INTERNAL));
}

/* ---- at the leader ---- */

/* A key that has expired since was written to. */
bool multi_unchanged(struct view *v, struct bytes watches)
{
    struct reader r = reader_of(watches);
    struct watched w;
    struct object o;
    int more;
    while ((more = watched_next(&r, &w)) == 1) {
        bool same = v->watch && v->watch->bucket && w.group == v->group &&
                    w.leadership == v->leadership && watch_version(v->watch, w.key) == w.version;
        if (!same || object_get(v, w.key, &o) == OBJECT_MISSED ||
            (o.type != OBJECT_NONE) != w.existed)
            return false;
    }
    return more == 0;
}

static void run_items(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct buf storage = {0};
    struct cmd_args inner;
    reply_array(out, a->count - 3);
    for (uint32_t i = 3; i < a->count && !v->missed; i++) {
        if (a->v[i].size && a->v[i].data[0] == MULTI_REPLY) {
            buf_append(out->out, a->v[i].data + 1, a->v[i].size - 1);
            continue;
        }
        const struct command *c =
            multi_get_command(a->v[i], &inner, &storage) ? command_find(&inner, NULL) : NULL;
        if (!c || !multi_takes(c))
            reply_error(out, ERR_BAD_ITEM);
        else if (command_check_arity(c, &inner, out))
            c->fn(v, &inner, out);
    }
    buf_deinit(&storage);
}

void multi_exec(struct view *v, const struct cmd_args *a, struct reply *out)
{
    if (a->v[2].size && !multi_unchanged(v, a->v[2])) {
        if (!v->missed) reply_nil_array(out);
        return;
    }
    run_items(v, a, out);
}

void multi_watch(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct buf one = {0};
    struct object o;
    reply_array(out, a->count - 2);
    for (uint32_t i = 2; i < a->count; i++) {
        if (object_get(v, a->v[i], &o) == OBJECT_MISSED) break;
        buf_clear(&one);
        watched_put(&one,
                    &(struct watched){.group = v->group,
                                      .leadership = v->leadership,
                                      .version = v->watch ? watch_version(v->watch, a->v[i]) : 0,
                                      .existed = o.type != OBJECT_NONE,
                                      .key = a->v[i]});
        reply_bulk(out, buf_bytes(&one));
    }
    buf_deinit(&one);
}
