/* MULTI, EXEC, DISCARD, WATCH, UNWATCH. Commands are queued here, at the client's node; EXEC sends
 * them to the leader of their group as one command (redis/multi.h), where they are evaluated
 * together and become one entry of its log; those of several groups are evaluated here (txn.c).
 * What the node answers by itself (PING) is answered when EXEC comes, and travels as a reply. */
#include "node/request.h"
#include "base/mem.h"
#include "redis/multi.h"
#include "redis/once.h"
#include "redis/txn.h"
#include "redis/types.h"

#include <string.h>

#define ITEMS_MAX    (32u << 20) /* bytes of all commands together */
#define COUNT_MAX    (RESP_ARGS_MAX - 3)
#define WATCH_MAX    (4u << 20) /* bytes of what a connection watches: they travel with its EXEC */
#define WATCH_OF_KEY 32         /* at most, without the key itself (redis/multi.h) */

struct multi {
    bool on, broken; /* broken: a command was refused, so EXEC will be */
    uint16_t flags;  /* of all commands, or'ed */
    uint32_t count;
    struct buf items;   /* blobs, as in redis/multi.h */
    struct buf watches; /* what EXEC sends of them */
};

static struct multi *multi_of(struct client *c)
{
    if (!c->multi) c->multi = mem_zalloc(sizeof *c->multi);
    return c->multi;
}

void multi_free(struct client *c)
{
    if (!c->multi) return;
    buf_deinit(&c->multi->items);
    buf_deinit(&c->multi->watches);
    mem_free(c->multi);
    c->multi = NULL;
}

int64_t multi_count(const struct client *c)
{
    return c->multi && c->multi->on ? (int64_t)c->multi->count : -1;
}

/* ---- queueing ---- */

static bool is_one_of(const struct command *cmd, const char *const *names, size_t count)
{
    char name[COMMAND_NAME_MAX];
    command_full_name(cmd, name);
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

/* Those that are done at once, in a transaction too. */
bool multi_queues(const struct client *c, const struct command *cmd)
{
    static const char *const now[] = {"exec", "discard", "multi",     "watch",
                                      "quit", "reset",   "idempotent"};
    return c->multi && c->multi->on && !is_one_of(cmd, now, sizeof now / sizeof *now);
}

void multi_break(struct client *c)
{
    if (c->multi && c->multi->on) c->multi->broken = true;
}

bool multi_may_queue(const struct command *cmd, struct reply *out)
{
    static const char *const slow[] = {"wait",     "trace",     "debug|sleep", "client|reply",
                                       "hello",    "shutdown",  "begin",       "commit",
                                       "rollback", "savepoint", "txn|status"};
    bool local = cmd->flags & CMD_LOCAL;
    bool snapshot = cmd->parent && strcmp(cmd->parent, "snapshot") == 0;
    if (local ? !snapshot && !is_one_of(cmd, slow, sizeof slow / sizeof *slow) : multi_takes(cmd))
        return true;
    if (local || cmd->flags & CMD_SYSTEM)
        reply_error(out, "ERR Command not allowed inside a transaction");
    else
        reply_errorf(out,
                     "ERR '%s' concerns all groups: it is not allowed inside a transaction in this "
                     "version",
                     cmd->name);
    return false;
}

void multi_queue(struct client *c, const struct command *cmd, const struct cmd_args *a,
                 struct reply *out)
{
    struct multi *m = c->multi;
    struct buf item = {0};
    if (!multi_may_queue(cmd, out)) {
        m->broken = true;
        return;
    }
    multi_put_command(&item, a);
    bool fits = m->count < COUNT_MAX && m->items.size + item.size <= ITEMS_MAX;
    if (fits) {
        buf_blob(&m->items, buf_bytes(&item));
        m->count++;
        m->flags |= cmd->flags;
        reply_simple(out, "QUEUED");
    } else {
        m->broken = true;
        reply_errorf(out, "ERR a transaction is at most %u commands of %u MiB together", COUNT_MAX,
                     ITEMS_MAX >> 20);
    }
    buf_deinit(&item);
}

/* ---- the commands ---- */

static void multi_end(struct multi *m)
{
    m->on = m->broken = false;
    m->flags = 0;
    m->count = 0;
    buf_deinit(&m->items);
    buf_deinit(&m->watches);
}

bool multi_ends_badly(struct client *c, const struct command *cmd, const struct cmd_args *a,
                      struct reply *out)
{
    if (a->count == 1 || cmd->arity != 1 || strcmp(cmd->name, "exec") != 0) return false;
    if (c->multi) multi_end(c->multi);
    reply_error(out, "EXECABORT Transaction discarded because of: wrong number of arguments for "
                     "'exec' command");
    return true;
}

void multi_begin(struct client *c, struct reply *out)
{
    struct multi *m = multi_of(c);
    if (m->on) {
        reply_error(out, "ERR MULTI calls can not be nested");
        return;
    }
    m->on = true;
    reply_ok(out);
}

void multi_discard(struct client *c, struct reply *out)
{
    if (!c->multi || !c->multi->on) {
        reply_error(out, "ERR DISCARD without MULTI");
        return;
    }
    multi_end(c->multi);
    reply_ok(out);
}

void multi_unwatch(struct client *c, struct reply *out)
{
    if (c->multi) buf_deinit(&c->multi->watches);
    reply_ok(out);
}

/* What the node itself answers becomes a reply, in `own`; the others stay. */
static void item_answer(struct client *c, struct bytes *item, struct buf *own)
{
    struct buf storage = {0};
    struct cmd_args a;
    bool good = multi_get_command(*item, &a, &storage);
    const struct command *cmd = good ? command_find(&a, NULL) : NULL;
    if (cmd && cmd->flags & CMD_LOCAL) {
        buf_u8(own, MULTI_REPLY);
        struct reply out = {own, c->version};
        local_command(c, cmd, &a, &out);
        *item = buf_bytes(own);
    }
    buf_deinit(&storage);
}

/* Nothing of it is of any group. */
static bool is_answered(const struct cmd_args *a)
{
    for (uint32_t i = 3; i < a->count; i++)
        if (a->v[i].data[0] != MULTI_REPLY) return false;
    return a->v[2].size == 0;
}

static const struct command *exec_named(uint16_t flags)
{
    if (!(flags & CMD_WRITE)) return command_named("synod|exec-read");
    return command_named(flags & CMD_DENYOOM ? "synod|exec" : "synod|exec-free");
}

/* `whole` are the arguments with a token in front, `a` those of the transaction itself. */
static void exec_send(struct client *c, uint16_t flags, const struct cmd_args *whole,
                      const struct cmd_args *a, bool traced, struct reply *out)
{
    if (is_answered(a)) {
        if (traced)
            trace_put_lines(out, BYTES("it is of no group: this node answers it\n"),
                            (struct bytes){0});
        reply_array(out, a->count - 3);
        for (uint32_t i = 3; i < a->count; i++)
            buf_append(out->out, a->v[i].data + 1, a->v[i].size - 1);
        return;
    }
    if (whole->count > a->count)
        dispatch_keyed(c, command_named("synod|once"), whole, traced, out);
    else
        dispatch_keyed(c, exec_named(flags), a, traced, out);
}

void multi_end_exec(struct client *c, bool traced, struct bytes token, struct reply *out)
{
    struct multi *m = c->multi;
    if (!m || !m->on) {
        reply_error(out, "ERR EXEC without MULTI");
        return;
    }
    if (m->broken) {
        multi_end(m);
        reply_error(out, "EXECABORT Transaction discarded because of previous errors.");
        return;
    }
    struct multi whole = *m; /* commands of it that are answered here may end it */
    *m = (struct multi){0};
    uint32_t head = token.size && whole.flags & CMD_WRITE ? 3 : 0; /* of the token */
    struct cmd_args all = {mem_alloc((head + 3 + whole.count) * sizeof(struct bytes)),
                           head + 3 + whole.count};
    struct cmd_args a = {all.v + head, 3 + whole.count};
    struct buf *own = mem_zalloc((whole.count + 1) * sizeof *own);
    struct reader r = reader_of(buf_bytes(&whole.items));
    if (head) all.v[0] = BYTES("SYNOD"), all.v[1] = BYTES("ONCE"), all.v[2] = token;
    a.v[0] = BYTES("SYNOD"), a.v[1] = BYTES("EXEC"), a.v[2] = buf_bytes(&whole.watches);
    for (uint32_t i = 0; i < whole.count; i++) {
        a.v[3 + i] = reader_blob(&r);
        item_answer(c, &a.v[3 + i], &own[i]);
    }
    /* A replica that does not lead cannot know what is watched: not for READONLY connections. */
    exec_send(c, whole.watches.size ? whole.flags | CMD_WRITE : whole.flags, &all, &a, traced, out);
    for (uint32_t i = 0; i < whole.count; i++) buf_deinit(&own[i]);
    mem_free(own);
    mem_free(all.v);
    multi_end(&whole);
}

/* ---- WATCH ---- */

static bool watches_fit(const struct client *c, const struct cmd_args *a)
{
    size_t size = c->multi ? c->multi->watches.size : 0;
    for (uint32_t i = 1; i < a->count; i++) size += WATCH_OF_KEY + a->v[i].size;
    return size <= WATCH_MAX;
}

/* The command that watches these keys, at one group's leader: a child of the client's. */
static void watch_part(struct request *parent, const struct cmd_args *a, uint32_t group)
{
    struct node *n = parent->node;
    struct cmd_args part = {mem_alloc(a->count * sizeof(struct bytes)), 2};
    part.v[0] = a->v[0], part.v[1] = a->v[1];
    for (uint32_t i = 2; i < a->count; i++)
        if (n->slot_group[slot_of(a->v[i])] == group) part.v[part.count++] = a->v[i];
    struct request *r = request_new(n);
    request_take(r, command_named("synod|watch"), &part, parent->version);
    r->group = group;
    r->parent = parent;
    r->keyed = true;
    r->slot = slot_of(part.v[2]);
    parent->children++;
    request_wait(r, n->group[group]);
    group_retry(n->group[group]);
    mem_free(part.v);
}

/* Keys of several groups: each group is asked for its own, and the answers are joined. */
static void watch_groups(struct client *c, const struct cmd_args *a)
{
    struct node *n = c->node;
    struct request *r = request_parent(c, command_named("synod|watch-all"), a);
    bool *asked = mem_zalloc(n->group_count * sizeof *asked);
    r->watching = true;
    for (uint32_t i = 2; i < a->count; i++) {
        uint32_t group = n->slot_group[slot_of(a->v[i])];
        if (!asked[group]) watch_part(r, a, group);
        asked[group] = true;
    }
    mem_free(asked);
}

void multi_watch_keys(struct client *c, const struct cmd_args *a, struct reply *out)
{
    struct node *n = c->node;
    int32_t slot;
    if (c->multi && c->multi->on) {
        reply_error(out, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    if (!n->group_count) {
        reply_error(out, TEXT_NOT_JOINED);
        return;
    }
    if (!watches_fit(c, a)) {
        reply_errorf(out,
                     "ERR a connection watches at most %u MiB of keys: UNWATCH, EXEC or DISCARD "
                     "ends what is watched",
                     WATCH_MAX >> 20);
        return;
    }
    const struct command *cmd = command_named("synod|watch");
    struct cmd_args inner = {mem_alloc((a->count + 1) * sizeof(struct bytes)), a->count + 1};
    inner.v[0] = BYTES("SYNOD"), inner.v[1] = BYTES("WATCH");
    memcpy(inner.v + 2, a->v + 1, (a->count - 1) * sizeof(struct bytes));
    struct group *g = dispatch_group_of(c, cmd, &inner, &slot, out);
    if (g) {
        struct request *r = client_request(c);
        if (c->async == 1) c->async_epoch = n->leader_epoch;
        request_take(r, cmd, &inner, c->version);
        r->group = g->id;
        r->watching = true;
        r->keyed = true;
        r->slot = (uint16_t)slot;
        request_wait(r, g);
        c->barrier = r;
        group_retry(g);
    } else if (slot == SLOT_SEVERAL) {
        watch_groups(c, &inner);
    }
    mem_free(inner.v);
}

void multi_watched(struct request *r)
{
    int64_t count, size;
    size_t line;
    struct bytes rest = buf_bytes(&r->reply);
    struct multi *m = multi_of(r->client);
    if (!request_reply_number(rest, '*', &count, &line)) return; /* an error */
    rest = bytes_of(rest.data + line, rest.size - line);
    for (int64_t i = 0; i < count; i++) {
        if (!request_reply_number(rest, '$', &size, &line) || size < 0 ||
            line + (size_t)size + 2 > rest.size)
            break;
        buf_append(&m->watches, rest.data + line, (size_t)size);
        line += (size_t)size + 2;
        rest = bytes_of(rest.data + line, rest.size - line);
    }
    buf_clear(&r->reply);
    reply_ok(&(struct reply){&r->reply, r->version});
}

/* ---- at the leader ---- */

static void note_key(void *ctx, struct bytes key)
{
    watch_note(ctx, key);
}

void multi_note(struct group *g, const struct command *cmd, const struct cmd_args *a)
{
    struct cmd_args request;
    bool kept_only = cmd->fn == once_run && !once_did(&g->node->view);
    if (!g->watch.bucket || kept_only) return;
    watch_tick(&g->watch);
    cmd = once_request(cmd, a, &request);
    if (cmd->fn == multi_exec && MUTANT(MUTANT_WATCH_UNNOTED)) return;
    if (txn_is(cmd))
        txn_written(&g->locks, cmd, &request, note_key, &g->watch);
    else if (cmd->fn == multi_exec)
        multi_keys(&request, note_key, &g->watch);
    else if (cmd->first)
        (void)command_keys(cmd, &request, note_key, &g->watch);
    else
        watch_note_all(&g->watch);
}
