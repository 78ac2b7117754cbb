/* What clients ask: finds the command, its keys' group, and either evaluates at once (the group is
 * led here) or makes a request of it (request.c, whose top says how order is kept). */
#include "node/request.h"
#include "base/assert.h"
#include "redis/multi.h"
#include "redis/once.h"
#include "redis/script.h"
#include "redis/types.h"

static struct request *make_request(struct client *c, const struct command *cmd,
                                    const struct cmd_args *a, const struct group *g, int32_t slot)
{
    struct request *r = client_request(c);
    if (c->async == 1) c->async_epoch = c->node->leader_epoch;
    request_take(r, cmd, a, c->version);
    r->group = g->id;
    r->keyed = slot >= 0;
    r->slot = (uint16_t)slot;
    if (r->writes) client_wrote(c, g->id);
    return r;
}

/* Not done here and now: the client's answer waits for a request. Later commands wait too unless it
 * is already on its way. */
static void dispatch_later(struct client *c, const struct command *cmd, const struct cmd_args *a,
                           struct group *g, int32_t slot, bool missed)
{
    bool ordered = c->async == 0 || c->async_epoch == c->node->leader_epoch;
    struct request *r = make_request(c, cmd, a, g, slot);
    if (missed) {
        r->misses = 1;
        request_wait(r, g);
        request_fetch(r, g);
        c->barrier = r;
        return;
    }
    if (!group_serves(g) && ordered && request_forward(r, g)) {
        r->sent = true;
        return;
    }
    request_wait(r, g);
    c->barrier = r;
    group_retry(g);
}

/* What has a token is kept until it is answered: it may have to be asked again. */
static void dispatch_kept(struct client *c, const struct command *cmd, const struct cmd_args *a,
                          struct group *g, int32_t slot)
{
    struct request *r = make_request(c, cmd, a, g, slot);
    r->sent = true;
    request_wait(r, g);
    if (request_evaluate(r, g) == ATTEMPT_WAITS) c->barrier = r;
}

/* --redirect moved: names the leader's client address, where one is known. */
static bool answer_moved(struct client *c, struct group *g, uint16_t slot)
{
    struct node *n = c->node;
    uint16_t leader = group_leader_node(g);
    struct peer *p = n->peers[leader];
    size_t before = c->held.size;
    if (!n->config.redirect || !p || !p->client[0]) return false;
    reply_errorf(&(struct reply){&c->held, c->version}, "MOVED %u %s", slot, p->client);
    client_answer(c, HOLD_NONE, before);
    return true;
}

/* READONLY: a replica here answers, if it is known to be no staler than the client allows. */
static bool answer_stale(struct client *c, const struct command *cmd, const struct cmd_args *a,
                         struct group *g, int32_t slot)
{
    size_t before = c->held.size;
    bool may =
        c->readonly && cmd->flags & CMD_READONLY && !group_serves(g) && group_has_slot(g, slot);
    if (!may || group_staleness(g) > c->lag_max_ms * MS) return false;
    /* Its leader may hold for a cut what is here already. */
    if (c->node->now < g->stale_after && !MUTANT(MUTANT_CUT_STALE)) return false;
    if (!request_run_stale(g, cmd, a, c->version, &c->held)) return false;
    c->node->stats.reads_stale++;
    client_answer(c, HOLD_NONE, before);
    return true;
}

void dispatch_group(struct client *c, const struct command *cmd, const struct cmd_args *a,
                    struct group *g, int32_t slot)
{
    struct node *n = c->node;
    struct reply out = {&c->held, c->version};
    size_t before = c->held.size;
    struct hold hold;

    bool served = group_begins(g) && group_has_slot(g, slot) &&
                  (!(cmd->flags & CMD_WRITE) || group_can_write(g)) && txn_may_run(g, cmd, a);
    bool overtakes = c->async && c->async_epoch != n->leader_epoch;
    if (!served || overtakes) {
        if (answer_stale(c, cmd, a, g, slot)) return;
        /* Only of keys: clients take SCAN's answer from whomever they ask. */
        bool may_move = cmd->first > 0 && slot >= 0 && !group_serves(g);
        if (may_move && answer_moved(c, g, (uint16_t)slot)) return;
        dispatch_later(c, cmd, a, g, slot, false);
        return;
    }
    if (cmd->fn == once_run) {
        dispatch_kept(c, cmd, a, g, slot);
        return;
    }
    if (request_refused_full(n, cmd, a)) {
        n->stats.refused_full++;
        reply_error(&out, TEXT_FULL);
        client_answer(c, HOLD_NONE, before);
        return;
    }
    if (cmd->flags & CMD_WRITE) client_wrote(c, g->id);
    switch (request_run(g, cmd, a, c->version, false, &c->held, &hold)) {
    case RAN_DONE: client_answer(c, hold, before); break;
    case RAN_MISSED: dispatch_later(c, cmd, a, g, slot, true); break;
    case RAN_LOCKED: dispatch_later(c, cmd, a, g, slot, false); break;
    case RAN_FOREIGN: script_note_abroad(n, cmd, a, true); txn_begin(c, cmd, a, false);
    }
}

struct keys_at {
    struct node *n;
    int32_t group; /* -1: none yet; -2: of different groups */
    int32_t slot;  /* of the first key */
    bool too_long;
};

static void keys_each(void *ctx, struct bytes key)
{
    struct keys_at *k = ctx;
    uint16_t slot = slot_of(key);
    int32_t group = (int32_t)k->n->slot_group[slot];
    if (key.size > COMMAND_KEY_MAX) k->too_long = true;
    if (k->group == -1)
        k->group = group, k->slot = slot;
    else if (k->group != group)
        k->group = -2;
}

enum slot_found { SLOT_FOUND, SLOT_NONE, SLOT_BAD };

/* The slot that a command without keys names: a cursor's, or an argument. */
static enum slot_found slot_named(const struct command *cmd, const struct cmd_args *a,
                                  int32_t *slot)
{
    int64_t v;
    bool cursor = cmd->spread == CMD_SPREAD_CURSOR, transaction = cmd->fn == multi_exec;
    if (!cursor && (transaction || !(cmd->parent && cmd->first == 0))) return SLOT_NONE;
    if (!bytes_to_i64(a->v[cursor ? 1 : 2], &v) || v < 0) return SLOT_BAD;
    if (cursor) v >>= 48;
    if (v >= SLOT_COUNT) return SLOT_BAD;
    *slot = (int32_t)v;
    return SLOT_FOUND;
}

/* Its keys; of a transaction those of all its commands, and those that are watched. */
static bool keys_of(const struct command *cmd, const struct cmd_args *a, struct keys_at *k)
{
    if (cmd->fn != multi_exec) return cmd->first && command_keys(cmd, a, keys_each, k);
    multi_keys(a, keys_each, k);
    return multi_watched_keys(a->v[2], keys_each, k);
}

int32_t dispatch_slot_of(struct node *n, const struct command *cmd, const struct cmd_args *a)
{
    struct keys_at k = {n, -1, -1, false};
    struct cmd_args request;
    if (cmd->flags & (CMD_SYSTEM | CMD_GROUP)) return -1;
    cmd = once_request(cmd, a, &request);
    if (slot_named(cmd, &request, &k.slot) != SLOT_NONE) return k.slot;
    return keys_of(cmd, &request, &k) ? k.slot : -1;
}

/* The group of a command's keys, and the slot of the first (-1: it has none); or answers the error
 * and returns NULL. */
struct group *dispatch_group_of(struct client *c, const struct command *cmd,
                                const struct cmd_args *a, int32_t *slot, struct reply *out)
{
    struct node *n = c->node;
    struct keys_at k = {n, -1, -1, false};
    struct cmd_args request;

    *slot = -1;
    if (cmd->flags & CMD_SYSTEM) return n->group[0]; /* which keeps the cluster map */
    cmd = once_request(cmd, a, &request);
    switch (slot_named(cmd, &request, slot)) {
    case SLOT_FOUND: return n->group[n->slot_group[*slot]];
    case SLOT_BAD:
        reply_error(out,
                    cmd->spread == CMD_SPREAD_CURSOR ? "ERR invalid cursor" : "ERR Invalid slot");
        return NULL;
    case SLOT_NONE: break;
    }
    if (script_is(cmd) && !script_check_keys(&request, out)) return NULL;
    bool sound = keys_of(cmd, &request, &k);
    bool keyless = k.group == -1 && script_is_in(cmd, &request);
    if (!sound || (k.group == -1 && !keyless)) {
        reply_error(out, ERR_SYNTAX);
        return NULL;
    }
    *slot = k.slot;
    if (k.too_long)
        reply_error(out, "ERR key is longer than 64 KiB, the limit in synod");
    else if (k.group == -2 || keyless || script_goes_abroad(n, cmd, &request))
        *slot = SLOT_SEVERAL;
    else
        return n->group[k.group];
    return NULL;
}

void dispatch_keyed(struct client *c, const struct command *cmd, const struct cmd_args *a,
                    bool traced, struct reply *out)
{
    int32_t slot;
    struct group *g = dispatch_group_of(c, cmd, a, &slot, out);
    if (slot == SLOT_SEVERAL)
        txn_begin(c, cmd, a, traced);
    else if (g)
        (traced ? dispatch_traced : dispatch_group)(c, cmd, a, g, slot);
}

/* A transaction's command whose keys are led elsewhere, where clients are to be told so. */
static bool queue_moved(struct client *c, const struct command *cmd, const struct cmd_args *a)
{
    struct node *n = c->node;
    struct keys_at k = {n, -1, -1, false};
    if (!n->config.redirect || !cmd->first || !keys_of(cmd, a, &k) || k.group < 0) return false;
    struct group *g = n->group[k.group];
    if (group_serves(g) || !answer_moved(c, g, (uint16_t)k.slot)) return false;
    multi_break(c);
    return true;
}

/* Answered, and a transaction ends or will not be done: true. */
static bool is_miscounted(struct client *c, const struct command *cmd, const struct cmd_args *a,
                          struct reply *out)
{
    if (multi_ends_badly(c, cmd, a, out)) return true;
    if (command_check_arity(cmd, a, out)) return false;
    multi_break(c);
    return true;
}

void request_dispatch(struct client *c)
{
    struct node *n = c->node;
    struct cmd_args a = {c->args.v, c->args.count};
    struct reply out = {&c->held, c->version};
    size_t before = c->held.size;
    const struct command *cmd = command_find(&a, NULL);
    uint32_t answers = c->answer_count;

    n->stats.commands++;
    c->commands++;
    c->last_command = "NULL";
    if (!cmd || (cmd->flags & CMD_INTERNAL)) {
        command_unknown(&a, &out);
        multi_break(c);
    } else if (!n->group_count && !(cmd->flags & CMD_LOCAL)) {
        reply_error(&out, TEXT_NOT_JOINED);
        multi_break(c);
    } else if (!is_miscounted(c, cmd, &a, &out)) {
        c->last_command = cmd->name;
        if (c->session && session_command(c, cmd, &a, &out)) {
            if (c->answer_count != answers) return; /* it became a request */
        } else if (c->multi && multi_queues(c, cmd) && !request_traces_exec(&a)) {
            if (queue_moved(c, cmd, &a)) return;
            multi_queue(c, cmd, &a, &out);
        } else if (cmd->flags & CMD_LOCAL) {
            local_command(c, cmd, &a, &out);
            if (c->answer_count != answers) return; /* it became a request */
        } else if (cmd->spread != CMD_SPREAD_NONE && cmd->spread != CMD_SPREAD_CURSOR) {
            (void)request_spread(c, cmd, &a);
            return;
        } else {
            dispatch_keyed(c, cmd, &a, false, &out);
            if (c->answer_count != answers) return;
        }
    }
    client_answer(c, HOLD_NONE, before);
}

/* ---- commands with a life of their own ---- */

void request_sleep(struct client *c, const struct command *cmd, const struct cmd_args *a,
                   uint64_t ns)
{
    struct request *r = client_request(c);
    request_take(r, cmd, a, c->version);
    r->group = UINT32_MAX;
    r->state = REQUEST_RUNNING;
    r->sleeping = true;
    r->deadline = c->node->now + ns;
    c->barrier = r;
}

bool request_traces_exec(const struct cmd_args *a)
{
    return a->count >= 2 && bytes_equal_nocase(a->v[0], "trace") &&
           bytes_equal_nocase(a->v[1], "exec");
}

void request_trace(struct client *c, const struct cmd_args *a, struct reply *out)
{
    struct cmd_args inner = {a->v + 1, a->count - 1};
    const struct command *cmd = command_find(&inner, NULL);
    if (!cmd || cmd->flags & CMD_INTERNAL) {
        command_unknown(&inner, out);
        return;
    }
    if (request_traces_exec(a)) {
        if (!multi_ends_badly(c, cmd, &inner, out)) multi_end_exec(c, true, (struct bytes){0}, out);
        return;
    }
    if (!command_check_arity(cmd, &inner, out)) return;
    if (!cmd->fn || cmd->spread != CMD_SPREAD_NONE || cmd->first == 0) {
        reply_error(
            out,
            "ERR TRACE follows one command on keys; this one has none, or concerns all groups");
        return;
    }
    dispatch_keyed(c, cmd, &inner, true, out);
}

void dispatch_traced(struct client *c, const struct command *cmd, const struct cmd_args *a,
                     struct group *g, int32_t slot)
{
    struct request *r = make_request(c, cmd, a, g, slot);
    r->traced = true;
    r->began = io_now(c->node->io);
    request_wait(r, g);
    c->barrier = r;
    group_retry(g);
}
