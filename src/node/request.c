/* Commands on their way. A command for a group that is led here is evaluated at once; otherwise it
 * becomes a request: it waits (for a leader, for room, for a block from the disk), or is forwarded
 * to the leader's node, or is spread over all groups.
 *
 * Order. Commands of one client to one group are done in the order in which they came: those
 * forwarded travel one connection and are evaluated as they arrive; one that cannot be evaluated
 * yet stops what comes behind it from the same client (`barrier` here, the group's waiting list at
 * the leader); after a change of leader nothing of a client is sent again before all that is under
 * way came back. */
#include "node/request.h"
#include "base/assert.h"
#include "base/mem.h"
#include "node/job.h"
#include "redis/cut.h"
#include "redis/job.h"
#include "redis/multi.h"
#include "redis/once.h"
#include "redis/script.h"
#include "redis/txn.h"
#include "redis/types.h"

#include <stdio.h>

#define MISSES_MAX                                                                                 \
    12 /* then the reactor itself reads: a value larger than every cache would miss for ever */
#define FETCH_KEYS   1024u
#define BARRED_SPARE (1000 * MS)
#define WAIT_GRACE   (1000 * MS) /* for the leader's own answer to a WAIT whose time is over */
#define SPARES_MAX   1024u /* requests that ended serve again: forwarding allocates nothing, */
#define SPARE_BYTES  1024u /* as long as arguments and reply are no larger than this */

/* ---- making and ending ---- */

struct request *request_new(struct node *n)
{
    struct list *spare = list_pop(&n->spare_requests);
    struct request *r = spare ? LIST_OF(spare, struct request, all) : mem_zalloc(sizeof *r);
    if (spare) {
        n->spare_count--;
        memset(r, 0, offsetof(struct request, bytes));
        buf_clear(&r->bytes);
        buf_clear(&r->reply);
    }
    r->node = n;
    r->id = ++n->request_id;
    r->hold = HOLD_NONE;
    list_init(&r->link);
    list_push(&n->requests, &r->all);
    return r;
}

/* The request's own copy of the arguments: an array of slices, and behind it their bytes. */
void request_take(struct request *r, const struct command *cmd, const struct cmd_args *a,
                  uint8_t version)
{
    size_t size = a->count * sizeof *a->v;
    for (uint32_t i = 0; i < a->count; i++) size += a->v[i].size;
    struct bytes *v = (struct bytes *)(void *)buf_reserve(&r->bytes, size);
    uint8_t *at = r->bytes.data + a->count * sizeof *v;
    for (uint32_t i = 0; i < a->count; i++) {
        v[i] = bytes_of(at, a->v[i].size);
        if (a->v[i].size) memcpy(at, a->v[i].data, a->v[i].size);
        at += a->v[i].size;
    }
    r->args = (struct cmd_args){v, a->count};
    r->command = cmd;
    r->version = version;
    r->writes = (cmd->flags & CMD_WRITE) != 0;
    r->deadline = r->node->now + REQUEST_DEADLINE;
    if (r->client) client_hold_bytes(r->client, r, size);
}

struct request *request_parent(struct client *c, const struct command *cmd,
                               const struct cmd_args *a)
{
    struct request *r = client_request(c);
    if (c->async == 1) c->async_epoch = c->node->leader_epoch;
    request_take(r, cmd, a, c->version);
    r->group = UINT32_MAX;
    r->state = REQUEST_RUNNING;
    c->barrier = r;
    return r;
}

/* Its answer, should one come, is for nobody. */
static void unmap(struct request *r)
{
    if (r->mapped) map_remove(&r->node->requests_by_id, r->id);
    r->mapped = false;
}

static void request_end(struct request *r)
{
    buf_deinit(&r->bytes);
    buf_deinit(&r->reply);
    mem_free(r);
}

void request_free(struct request *r)
{
    trace_end(r->timeline);
    list_remove(&r->all);
    list_remove(&r->link);
    unmap(r);
    buf_deinit(&r->fetch.lo);
    buf_deinit(&r->fetch.hi);
    struct node *n = r->node;
    bool large = r->bytes.capacity > SPARE_BYTES || r->reply.capacity > SPARE_BYTES;
    if (large || n->spare_count >= SPARES_MAX) {
        request_end(r);
    } else {
        list_push_front(&n->spare_requests, &r->all);
        n->spare_count++;
    }
}

/* A group's waiting list may hold requests of the same asker behind this one; a parent's children
 * are in many. */
static void nudge(struct request *r)
{
    struct node *n = r->node;
    if (r->group < n->group_count && !list_empty(&n->group[r->group]->waiting))
        group_retry(n->group[r->group]);
    for (uint32_t g = 0; r->children && g < n->group_count; g++)
        if (!list_empty(&n->group[g]->waiting)) group_retry(n->group[g]);
}

/* The client's barrier is gone: the next of its requests that waits becomes it, so that nothing new
 * overtakes them. */
static void barrier_next(struct client *c)
{
    struct request *next = NULL;
    for (uint32_t i = 0; c->async > 1 && i < c->answer_count && !next; i++) {
        struct request *o = c->answers[(c->answer_head + i) & (c->answer_capacity - 1)].request;
        if (o && o->state == REQUEST_WAITING) next = o;
    }
    if (next) {
        c->barrier = next;
        nudge(next);
    } else {
        client_unblock(c);
    }
}

/* A traced reply carries the leader's report in front (trace.c). */
static void wrap_traced(struct request *r)
{
    struct buf report = {0}, whole = {0};
    if (r->report) {
        if (r->timeline) trace_report(r->node, r->timeline, r->report);
        return;
    }
    if (r->timeline) trace_report(r->node, r->timeline, &report);
    buf_u32(&whole, (uint32_t)report.size);
    buf_append_bytes(&whole, buf_bytes(&report));
    buf_append_bytes(&whole, buf_bytes(&r->reply));
    buf_deinit(&report);
    if (r->origin) {
        buf_deinit(&r->reply);
        r->reply = whole;
    } else {
        trace_reply(r, buf_bytes(&whole));
        buf_deinit(&whole);
    }
}

/* That this try was refused says nothing of the one before. */
static void keep_doubt(struct request *r)
{
    if (!r->reply.size || r->reply.data[0] != '-') return;
    buf_clear(&r->reply);
    reply_error(&(struct reply){&r->reply, r->version}, TEXT_UNKNOWN);
    r->refused = false;
}

void request_done(struct request *r)
{
    struct node *n = r->node;
    ASSERT(r->state != REQUEST_FETCHING && r->state != REQUEST_DONE);
    if (r->doubt) keep_doubt(r);
    script_done(n, r->command);
    if (r->traced && r->state != REQUEST_FORWARDED) wrap_traced(r);
    r->state = REQUEST_DONE;
    list_remove(&r->link);
    unmap(r);
    nudge(r);
    if (r->parent) {
        spread_child_done(r->parent, r);
        request_free(r);
    } else if (r->origin) {
        if (r->origin_conn)
            peer_put_reply(n->peers[r->origin], r->origin_id, WIRE_DONE, buf_bytes(&r->reply));
        request_free(r);
    } else if (r->done) {
        r->done(r->done_ctx, buf_bytes(&r->reply));
        request_free(r);
    } else if (r->client) {
        if (r->watching) multi_watched(r);
        n->advanced = true;
        client_hold_bytes(r->client, r, r->reply.size);
        if (r->client->barrier == r)
            barrier_next(r->client);
        else if (r->client->barrier)
            nudge(r->client->barrier);
    } else {
        request_free(r);
    }
}

/* Only for what was certainly not done (request_status has the other case). */
static void request_error(struct request *r, const char *text)
{
    r->refused = true;
    buf_clear(&r->reply);
    reply_error(&(struct reply){&r->reply, r->version}, text);
    request_done(r);
}

/* Nothing new of its client is done before this is settled. */
static void wait_again(struct request *r)
{
    ASSERT(r->group < r->node->group_count);
    request_wait(r, r->node->group[r->group]);
    if (r->client && !r->client->barrier) r->client->barrier = r;
}

bool request_asks_again(struct request *r)
{
    if (r->command->fn != once_run || r->gone || r->node->now >= r->deadline) return false;
    r->doubt = true;
    return true;
}

static void request_status(struct request *r, enum wire_status status)
{
    if (r->origin) {
        if (r->origin_conn)
            peer_put_reply(r->node->peers[r->origin], r->origin_id, status, (struct bytes){0});
        nudge(r);
        request_free(r);
        return;
    }
    if (status == WIRE_UNKNOWN && request_asks_again(r)) {
        wait_again(r);
        return;
    }
    if (status == WIRE_UNKNOWN)
        r->node->stats.unknown++;
    else
        r->node->stats.not_done++;
    buf_clear(&r->reply);
    reply_error(&(struct reply){&r->reply, r->version},
                status == WIRE_UNKNOWN ? TEXT_UNKNOWN : TEXT_NOT_DONE);
    r->refused = status != WIRE_UNKNOWN;
    request_done(r);
}

/* ---- evaluating ---- */

struct run {
    const struct command *command;
    const struct cmd_args *args;
    struct reply reply;
    struct group *group;
    bool leads;         /* it is evaluated by the leader */
    struct buf written; /* keys (blobs) that scripts came to, to write to them */
};

/* Commands that need locks have them; scripts ask for each key that they come to. */
static bool touch(void *ctx, struct view *v, struct bytes key, bool writes)
{
    struct run *r = ctx;
    struct group *g = r->group;
    if (!group_has_slot(g, slot_of(key)))
        v->refused = VIEW_FOREIGN;
    else if (r->leads && locks_bar(&g->locks, key, writes ? LOCK_EXCLUSIVE : LOCK_SHARED))
        v->refused = VIEW_LOCKED;
    if (writes && r->leads && g->watch.bucket) buf_blob(&r->written, key);
    return !v->refused;
}

static void run_command(void *ctx, struct view *v)
{
    struct run *r = ctx;
    v->reply = r->reply.out;
    v->reply_max = r->reply.out->size + REPLY_MAX;
    v->scripts = script_engine_runner(r->group->node->scripts.engine);
    v->touch = touch;
    v->touch_ctx = r;
    if (r->leads) {
        v->watch = &r->group->watch;
        v->locks = &r->group->locks;
        v->hold = &r->group->hold;
        v->group = r->group->id;
        v->leadership = r->group->era_ballot;
    }
    r->command->fn(v, r->args, &r->reply);
    if (r->reply.out->size > v->reply_max && !v->refused) v->refused = VIEW_REPLY_TOO_LARGE;
}

void request_reply_refused(struct reply *out, const struct view *v, size_t effects_max)
{
    if (v->refused == VIEW_ANSWER_TOO_LARGE)
        reply_errorf(out,
                     "ERR the answer is larger than the %u KiB that are kept for a token; nothing "
                     "was changed",
                     ONCE_REPLY_MAX >> 10);
    else if (v->refused == VIEW_REPLY_TOO_LARGE)
        reply_errorf(
            out, "ERR the reply is larger than %u MiB; read it in parts (HSCAN, HMGET, GETRANGE)",
            REPLY_MAX >> 20);
    else if (v->refused == VIEW_EFFECTS_TOO_LARGE)
        reply_errorf(out,
                     "ERR the command would write more than %zu KiB at once; nothing was changed, "
                     "do it in parts",
                     effects_max >> 10);
    else if (v->refused == VIEW_LATER)
        reply_error(out, "TRYAGAIN the group is being split");
    else if (v->refused == VIEW_SEALED)
        reply_error(out, "TRYAGAIN the group is being merged with another");
    else
        reply_error(out, "TRYAGAIN the keys of this command are being split into two groups; "
                         "nothing was changed");
}

static void reply_failed(struct reply *out)
{
    reply_error(out, "IOERR the storage engine of the leader failed to read; see its log");
}

/* Is it a script's own doing that it was refused? */
static enum ran refusal(const struct view *v, const struct command *cmd, const struct cmd_args *a)
{
    if (v->refused == VIEW_LOCKED) return RAN_LOCKED;
    return v->refused == VIEW_FOREIGN && script_is_in(cmd, a) ? RAN_FOREIGN : RAN_DONE;
}

static void note_written(struct group *g, struct bytes keys)
{
    struct reader r = reader_of(keys);
    while (reader_left(&r)) watch_note(&g->watch, reader_blob(&r));
}

enum ran request_run(struct group *g, const struct command *cmd, const struct cmd_args *a,
                     uint8_t version, bool block, struct buf *out, struct hold *hold)
{
    struct node *n = g->node;
    struct run run = {cmd, a, {out, version}, g, true, {0}};
    struct shard_task task = {run_command, &run, cmd->spread != CMD_SPREAD_NONE, block,
                              .on_sealed = txn_is(cmd)};
    size_t before = out->size;
    uint64_t saw;

    if (cmd->fn == multi_watch) watch_start(&g->watch);
    if (cut_is(cmd)) cut_before(g);
    enum shard_result result =
        shard_evaluate(g->shard, &n->view, &task, group_time_ms(g), prng_u64(&n->random), &saw);
    if (result == SHARD_DONE && view_wrote(&n->view)) {
        multi_note(g, cmd, a);
        note_written(g, buf_bytes(&run.written));
    }
    buf_deinit(&run.written);
    if (result == SHARD_DONE && txn_is(cmd)) txn_ran(g, cmd, a);
    if (result == SHARD_DONE && job_begins(cmd, a)) jobs_look(n);
    if (result != SHARD_DONE) out->size = before; /* nothing happened */
    if (result == SHARD_MISS) {
        n->stats.misses++;
        return RAN_MISSED;
    }
    enum ran why = result == SHARD_REFUSED ? refusal(&n->view, cmd, a) : RAN_DONE;
    if (why != RAN_DONE) return why;
    if (result == SHARD_FAILED) reply_failed(&(struct reply){out, version});
    if (result == SHARD_REFUSED)
        request_reply_refused(&(struct reply){out, version}, &n->view, g->shard->effects_max);
    if (result == SHARD_DONE && txn_is(cmd)) saw = txn_saw(&g->locks, cmd, a, saw);
    *hold = group_hold(g, saw, result == SHARD_DONE && view_wrote(&n->view));
    hold->passes = cut_is(cmd);
    if (hold->passes) cut_after(g);
    n->stats.evaluated++;
    g->load++;
    return RAN_DONE;
}

bool request_run_stale(struct group *g, const struct command *cmd, const struct cmd_args *a,
                       uint8_t version, struct buf *out)
{
    struct node *n = g->node;
    struct run run = {cmd, a, {out, version}, g, false, {0}};
    struct shard_task task = {.run = run_command, .ctx = &run};
    size_t before = out->size;
    enum shard_result result = shard_read(g->shard, &n->view, &task, prng_u64(&n->random));
    if (result == SHARD_DONE) return true;
    out->size = before;
    return false;
}

bool request_refused_full(const struct node *n, const struct command *cmd, const struct cmd_args *a)
{
    return n->log_full && (cmd->flags & CMD_DENYOOM || job_takes_room(cmd, a));
}

static void request_fetched(void *ctx, struct space_fetch *f);

void request_fetch(struct request *r, struct group *g)
{
    struct view *v = &r->node->view;
    r->state = REQUEST_FETCHING;
    buf_clear(&r->fetch.lo);
    buf_clear(&r->fetch.hi);
    buf_append_bytes(&r->fetch.lo, buf_bytes(&v->miss_lo));
    buf_append_bytes(&r->fetch.hi, buf_bytes(&v->miss_hi));
    r->fetch.limit =
        FETCH_KEYS << 2 * (r->misses < 8 ? r->misses
                                         : 8); /* a long range is fetched in few, growing steps */
    r->fetch.reverse = v->miss_reverse;
    r->fetch.done = request_fetched;
    r->fetch.ctx = r;
    space_fetch(g->shard->space, &r->fetch);
}

static bool locks_sooner(const struct request *r, const struct request *other)
{
    return r->command && r->command->fn == txn_lock && other->command &&
           other->command->fn == txn_lock && txn_start(&r->args) < txn_start(&other->args);
}

/* Where a request that must wait stands: in its group's list, in order; a LOCK before those of
 * younger transactions, which it would have to end else, once they have what both want. */
void request_wait(struct request *r, struct group *g)
{
    struct list *before = &g->waiting;
    list_remove(&r->link);
    r->state = REQUEST_WAITING;
    while (before->prev != &g->waiting &&
           locks_sooner(r, LIST_OF(before->prev, struct request, link)))
        before = before->prev;
    list_push(before, &r->link);
}

/* The number at the start of a reply of that type, and the size of its first line. */
bool request_reply_number(struct bytes reply, uint8_t type, int64_t *v, size_t *line)
{
    const uint8_t *cr = reply.size ? memchr(reply.data, '\r', reply.size) : NULL;
    if (!cr || reply.data[0] != type) return false;
    *line = (size_t)(cr - reply.data) + 2;
    return bytes_to_i64(bytes_of(reply.data + 1, (size_t)(cr - reply.data) - 1), v);
}

void request_wait_answer(struct request *r, uint32_t have)
{
    buf_clear(&r->reply);
    reply_i64(&(struct reply){&r->reply, r->version}, have);
    request_done(r);
}

/* WAIT: counts the other replicas with data that have on disk all that was evaluated when it was
 * first looked at, which is what is proposed and the open batch. Tried again with every slow tick.
 */
static enum attempt wait_evaluate(struct request *r, struct group *g, bool last)
{
    uint32_t have = 0;
    const struct shard *s = g->shard;
    if (!r->wait_position || r->hold.era != g->era) {
        r->wait_position = s->batch.size ? s->next : s->next - 1;
        r->hold.era = g->era;
    }
    for (int i = 0; i < g->config.count; i++)
        if (g->config.member[i].replica != g->replica &&
            g->config.member[i].role != PAXOS_WITNESS &&
            paxos_match(g->px, g->config.member[i].replica) >= r->wait_position)
            have++;
    if (have < r->wait_replicas - 1 && !last) return ATTEMPT_WAITS;
    request_wait_answer(r, have);
    return ATTEMPT_OVER;
}

/* Something of its client that came later was done, or may be, in the group that it was for. */
static bool later_began(const struct request *r)
{
    const struct client *c = r->client;
    for (uint32_t i = 0; c && i < c->answer_count; i++) {
        const struct request *o =
            c->answers[(c->answer_head + i) & (c->answer_capacity - 1)].request;
        if (o && o->seq > r->seq && o->group == r->group && o->state != REQUEST_WAITING &&
            !o->refused)
            return true;
    }
    return false;
}

/* A script came to keys of other groups, so it becomes a transaction over groups: where its client
 * is. That script begins as one from then on. */
static void went_abroad(struct request *r)
{
    if (r->origin) {
        request_status(r, WIRE_FOREIGN);
        return;
    }
    script_note_abroad(r->node, r->command, &r->args, true);
    if (r->gone)
        request_free(r);
    else if (later_began(r))
        request_error(r, "TRYAGAIN the script came to keys of other groups that it did not "
                         "declare, and what was sent behind it was done first; nothing of it was "
                         "done, send it again");
    else
        txn_take_over(r);
}

enum attempt request_evaluate(struct request *r, struct group *g)
{
    struct node *n = r->node;
    r->barred = false;
    if (!group_begins(g) && !txn_answers_sealed(g, r->command)) return ATTEMPT_WAITS;
    if (request_refused_full(n, r->command, &r->args)) {
        n->stats.refused_full++;
        request_error(r, TEXT_FULL);
        return ATTEMPT_OVER;
    }
    if (!group_has_slots_of(g, r)) {
        if (!r->origin) return ATTEMPT_WAITS; /* for the map to say where it is now */
        request_status(r, WIRE_NOT_DONE);
        return ATTEMPT_OVER;
    }
    if (r->writes && !group_can_write(g)) return ATTEMPT_WAITS;
    if (!txn_may_run(g, r->command, &r->args)) {
        r->barred = !txn_is(r->command);
        return ATTEMPT_WAITS;
    }
    if (r->wait_replicas) return wait_evaluate(r, g, n->now >= r->deadline);
    if (r->traced && !r->timeline) r->timeline = trace_begin(r);
    buf_clear(&r->reply);
    switch (request_run(g, r->command, &r->args, r->version, r->misses >= MISSES_MAX, &r->reply,
                        &r->hold)) {
    case RAN_MISSED:
        r->misses++;
        request_fetch(r, g);
        return ATTEMPT_WAITS;
    case RAN_LOCKED: r->barred = true; return ATTEMPT_WAITS;
    case RAN_FOREIGN: went_abroad(r); return ATTEMPT_OVER;
    case RAN_DONE: break;
    }
    if (r->timeline) trace_evaluated(n, r->timeline, r->hold.read_seq ? 0 : r->hold.position);
    list_remove(&r->link);
    list_push(&n->remote, &r->link);
    r->state = REQUEST_RUNNING;
    return ATTEMPT_OVER;
}

static void request_fetched(void *ctx, struct space_fetch *f)
{
    struct request *r = ctx;
    struct node *n = r->node;
    node_begin(n);
    r->state = REQUEST_WAITING;
    if (f->result == ENGINE_E_IO) {
        buf_clear(&r->reply);
        reply_failed(&(struct reply){&r->reply, r->version});
        r->refused = true;
        request_done(r);
        return;
    }
    if (r->gone) {
        request_free(r);
        return;
    }
    group_retry(n->group[r->group]);
}

/* ---- forwarding ---- */

/* A WAIT asks its leader for so long at most, then asks again: the leader keeps nothing for askers
 * that are gone. */
static void wait_arguments(const struct request *r, struct bytes v[3], char text[24])
{
    uint64_t left = r->deadline > r->node->now ? r->deadline - r->node->now : 1;
    uint64_t ms = (left < REQUEST_DEADLINE ? left : REQUEST_DEADLINE) / MS;
    for (uint32_t i = 0; i < 3; i++) v[i] = r->args.v[i];
    v[2] = bytes_of(text, (size_t)snprintf(text, 24, "%llu", (unsigned long long)(ms ? ms : 1)));
}

static bool wait_asks_again(const struct request *r, struct bytes reply)
{
    int64_t have;
    size_t line;
    return r->wait_replicas && r->node->now < r->deadline && !r->gone &&
           !(r->parent && r->parent->gone) && request_reply_number(reply, ':', &have, &line) &&
           have < r->wait_replicas - 1;
}

/* A transaction's parts are in nobody's order: one may wait for locks that another lets go of. Nor
 * are jobs: one must not wait for what another publishes. */
static uint64_t asker_of(const struct request *r)
{
    return txn_is(r->command) || job_is(r->command) ? 1ull << 63 | r->id : 0;
}

bool request_forward(struct request *r, struct group *g)
{
    struct node *n = r->node;
    struct bytes v[3];
    char text[24];
    uint16_t leader = group_leader_node(g);
    if (!leader || leader == n->identity.node || !peer_out(n, leader)) return false;

    struct wire_command w = {.id = r->id,
                             .client = r->client ? r->client->id : asker_of(r),
                             .group = g->id,
                             .slot_lo = r->slot_hi ? r->slot : 0,
                             .slot_hi = r->slot_hi,
                             .version = r->version,
                             .traced = r->traced,
                             .args = r->args};
    if (r->wait_replicas) {
        wait_arguments(r, v, text);
        w.args = (struct cmd_args){v, 3};
    }
    peer_put_command(n->peers[leader], &w);
    list_remove(&r->link);
    list_push(&n->peers[leader]->forwarded, &r->link);
    map_put(&n->requests_by_id, r->id, r);
    r->mapped = true;
    r->state = REQUEST_FORWARDED;
    n->stats.forwarded++;
    return true;
}

bool request_follows(const struct client *c, const struct request *r)
{
    for (uint32_t i = 0; i < c->answer_count; i++) {
        const struct request *o =
            c->answers[(c->answer_head + i) & (c->answer_capacity - 1)].request;
        if (!o || o == r || o->state == REQUEST_DONE) continue;
        bool waits = o->state == REQUEST_WAITING || (o->children && !o->begun);
        if (!waits || o->seq < r->seq) return true;
    }
    return false;
}

static bool client_did_later(const struct client *c, const struct request *r)
{
    for (uint64_t seq = r->seq + 1; seq < c->answer_seq + c->answer_count; seq++) {
        const struct request *o = c->answers[(c->answer_head + (uint32_t)(seq - c->answer_seq)) &
                                             (c->answer_capacity - 1)]
                                      .request;
        if (o && o->state == REQUEST_DONE && o->group == r->group && !o->refused) return true;
    }
    return false;
}

static bool earlier_of_asker(const struct group *g, const struct request *r)
{
    for (const struct list *l = g->waiting.next; l != &g->waiting && l != &r->link; l = l->next) {
        const struct request *o = LIST_OF(l, const struct request, link);
        if (o->origin == r->origin && o->origin_client == r->origin_client) return true;
    }
    return false;
}

/* It was merged into another, which its members did only once all of them had everything on disk.
 * What concerns all groups has perhaps met its heir before it had its data. */
static void group_is_gone(struct request *r)
{
    if (r->wait_replicas)
        request_wait_answer(r, r->wait_replicas - 1);
    else
        request_status(r, WIRE_NOT_DONE);
}

/* One try at a waiting request. */
static void request_try(struct request *r, struct group *g)
{
    if (r->state != REQUEST_WAITING) return;
    if (r->gone) {
        request_free(r);
        return;
    }
    if (r->called_off) {
        request_error(r, TXN_LOST);
        return;
    }
    if (r->slot_hi && !r->origin) spread_narrow(r);
    if (r->keyed && !r->origin && g->node->slot_group[r->slot] != g->id) { /* it was split off */
        struct group *now = g->node->group[g->node->slot_group[r->slot]];
        r->group = now->id;
        request_wait(r, now);
        group_retry(now);
        return;
    }
    if (r->wait_replicas && r->parent && r->parent->gone) {
        request_wait_answer(r, 0);
        return;
    }
    if (!r->keyed && (g->heir || ring_is_merged_away(&g->row))) {
        group_is_gone(r);
        return;
    }
    const struct request *asked = r->parent ? r->parent : r;
    if (asked->client && request_follows(asked->client, asked)) return;
    if (r->parent) r->parent->begun = true;
    if (r->client && r->sent && client_did_later(r->client, r)) {
        request_status(r, WIRE_NOT_DONE);
        return;
    }
    if (group_serves(g)) {
        bool begins = group_begins(g) || txn_answers_sealed(g, r->command);
        if (!begins || (r->writes && !group_can_write(g)))
            return; /* cheaper than the next question */
        if (r->origin && earlier_of_asker(g, r)) return;
        (void)request_evaluate(r, g);
        return;
    }
    if (r->origin) {
        request_status(r, WIRE_NOT_DONE);
        return;
    }
    if (request_forward(r, g)) r->sent = true;
}

void request_retry_group(struct group *g)
{
    struct list *next;
    for (struct list *l = g->waiting.next; l != &g->waiting; l = next) {
        next = l->next;
        request_try(LIST_OF(l, struct request, link), g);
        if (g->node->dead) return;
    }
}

/* ---- WAIT, asked by a client ---- */

/* One more than asked, so that 0 means "not a WAIT"; never more than there are. */
static uint32_t wait_count(const struct group *g, int64_t asked)
{
    if (asked < 0) asked = 0;
    if (asked > g->config.count - 1) asked = g->config.count - 1;
    return (uint32_t)asked + 1;
}

static uint64_t wait_deadline(const struct node *n, int64_t timeout_ms)
{
    int64_t most = 1ll << 40; /* some decades, which cannot overflow */
    return timeout_ms ? n->now + (uint64_t)(timeout_ms < most ? timeout_ms : most) * MS
                      : UINT64_MAX;
}

/* Its time is over. Where the leader cannot be asked nobody is known to have it: 0. */
static void wait_expired(struct request *r)
{
    struct group *g = group_named(r->node, r->group);
    if (r->children) return; /* they have the same deadline */
    if (r->state == REQUEST_FORWARDED && r->node->now <= r->deadline + WAIT_GRACE) return;
    if (r->state == REQUEST_WAITING && g && group_serves(g))
        (void)wait_evaluate(r, g, true);
    else if (r->origin)
        request_status(r, WIRE_NOT_DONE);
    else
        request_wait_answer(r, 0);
}

/* WAIT means what it says: how many replicas besides the leader have all that this connection wrote
 * since its last WAIT on disk. A majority had it before the writes were answered; WAIT asks for
 * more. Each group written to is asked. */
void request_wait_replicas(struct client *c, const struct command *cmd, const struct cmd_args *a,
                           uint64_t timeout_ms)
{
    struct node *n = c->node;
    int64_t asked = 0;
    (void)bytes_to_i64(a->v[1], &asked);
    struct request *r = request_parent(c, cmd, a);
    r->wait_replicas = wait_count(n->group[0], asked);
    r->deadline = wait_deadline(n, (int64_t)timeout_ms);
    r->sum = n->group[0]->config.count ? n->group[0]->config.count - 1 : 0;
    for (uint32_t g = 0; g < n->group_count; g++) {
        bool written = g / 64 < c->written_words && c->written[g / 64] >> g % 64 & 1;
        if (n->group[g]->row.state != RING_GROUP_SERVING) continue;
        if (!written && (g > 0 || c->written)) continue; /* nothing written: any group will do */
        struct request *child = spread_child(r, g, 0, 0);
        child->wait_replicas = r->wait_replicas;
        child->deadline = r->deadline;
    }
    mem_free(c->written);
    c->written = NULL;
    c->written_words = 0;
}

/* ---- from peers ---- */

void request_remote(struct peer *p, struct io_conn *conn, const struct wire_command *w)
{
    struct node *n = p->node;
    struct group *g = group_named(n, w->group);
    const struct command *cmd = command_find(&w->args, NULL);
    struct reply none = {&n->scratch2, w->version};

    n->stats.forwarded_in++;
    buf_clear(&n->scratch2);
    int64_t wait = 0, timeout = 0;
    bool waits = cmd && !cmd->parent && strcmp(cmd->name, "wait") == 0 && w->args.count == 3 &&
                 bytes_to_i64(w->args.v[1], &wait) && bytes_to_i64(w->args.v[2], &timeout) &&
                 timeout >= 0;
    if (!g || !cmd || (!cmd->fn && !waits) || !command_check_arity(cmd, &w->args, &none) ||
        !group_serves(g)) {
        peer_put_reply(p, w->id, WIRE_NOT_DONE, (struct bytes){0});
        return;
    }
    struct request *r = request_new(n);
    r->origin = p->id;
    r->origin_conn = conn;
    r->origin_id = w->id;
    r->origin_client = w->client;
    r->group = g->id;
    r->command = cmd;
    r->args = w->args;
    r->version = w->version;
    r->writes = (cmd->flags & CMD_WRITE) != 0;
    r->deadline = n->now + REQUEST_DEADLINE;
    r->traced = w->traced;
    int32_t slot = dispatch_slot_of(n, cmd, &w->args);
    r->keyed = slot >= 0 || w->slot_hi;
    r->slot = slot >= 0 ? (uint16_t)slot : w->slot_lo;
    r->slot_hi = slot >= 0 ? 0 : w->slot_hi;
    if (waits) r->wait_replicas = wait_count(g, wait);
    if (waits) r->deadline = wait_deadline(n, timeout);
    request_wait(r, g);
    bool in_turn = cmd->fn != txn_lock || !g->retry_waiting;
    if (in_turn && !earlier_of_asker(g, r) && request_evaluate(r, g) == ATTEMPT_OVER) return;
    struct cmd_args borrowed = r->args; /* it waits: the frame's bytes do not */
    uint64_t deadline = r->deadline;
    request_take(r, cmd, &borrowed, w->version);
    r->deadline = deadline;
}

static void remote_ready(struct request *r, enum hold_state state)
{
    if (state == HOLD_READY)
        request_done(r);
    else if (r->origin)
        request_status(r, state == HOLD_UNKNOWN ? WIRE_UNKNOWN : WIRE_NOT_DONE);
    else if (state == HOLD_UNKNOWN)
        request_status(r, WIRE_UNKNOWN);
    else
        wait_again(r); /* mine, with its arguments: it is simply tried again */
}

/* Requests that were evaluated here, and may be answered by now. */
void request_release_remote(struct node *n)
{
    struct list *next;
    for (struct list *l = n->remote.next; l != &n->remote; l = next) {
        next = l->next;
        struct request *r = LIST_OF(l, struct request, link);
        enum hold_state state = group_hold_state(n, &r->hold);
        if (state == HOLD_WAIT) continue;
        remote_ready(r, state);
    }
}

void request_replied(struct peer *p, const struct wire_reply *w)
{
    struct node *n = p->node;
    struct request *r = map_get(&n->requests_by_id, w->id);
    if (!r || r->state != REQUEST_FORWARDED) return; /* given up meanwhile */
    unmap(r);
    if (w->status == WIRE_DONE && !wait_asks_again(r, w->reply)) {
        buf_clear(&r->reply);
        if (r->traced)
            trace_reply(r, w->reply);
        else
            buf_append_bytes(&r->reply, w->reply);
        request_done(r);
    } else if (w->status == WIRE_UNKNOWN && r->writes) {
        request_status(r, WIRE_UNKNOWN);
    } else if (w->status == WIRE_FOREIGN) {
        went_abroad(r);
    } else {
        wait_again(r);
    }
}

void request_peer_lost(struct peer *p)
{
    struct list *l;
    while ((l = list_pop(&p->forwarded))) {
        struct request *r = LIST_OF(l, struct request, link);
        unmap(r);
        r->state = REQUEST_WAITING;
        if (r->writes) {
            request_status(r, WIRE_UNKNOWN);
        } else {
            wait_again(r);
        }
    }
}

void request_conn_lost(struct node *n, struct io_conn *conn)
{
    for (struct list *l = n->requests.next; l != &n->requests; l = l->next) {
        struct request *r = LIST_OF(l, struct request, all);
        if (r->origin_conn == conn) r->origin_conn = NULL;
    }
}

/* ---- time, and the end ---- */

/* It may be gone afterwards, and its parent, which stands before it in node->requests. */
static void request_expired(struct request *r)
{
    if (r->wait_replicas && r->state != REQUEST_DONE) {
        wait_expired(r);
        return;
    }
    switch (r->state) {
    case REQUEST_WAITING:
        if (r->origin)
            request_status(r, WIRE_NOT_DONE);
        else
            request_error(r, "CLUSTERDOWN no leader could be reached for the keys of this command "
                             "within 10 s; nothing was changed");
        break;
    case REQUEST_RUNNING:
        if (r->children) break; /* they have deadlines of their own */
        if (r->sleeping) {
            reply_ok(&(struct reply){&r->reply, r->version});
            request_done(r);
            break;
        }
        request_status(r, r->writes ? WIRE_UNKNOWN : WIRE_NOT_DONE);
        break;
    case REQUEST_FORWARDED: request_status(r, r->writes ? WIRE_UNKNOWN : WIRE_NOT_DONE); break;
    default: break;
    }
}

/* Its keys are locked: said before the asker's node gives up, which would not know why. */
static bool is_barred(const struct request *r)
{
    return r->barred && r->state == REQUEST_WAITING && r->node->now + BARRED_SPARE > r->deadline;
}

void request_deadlines(struct node *n)
{
    struct list *next;
    for (struct list *l = n->requests.next; l != &n->requests; l = next) {
        next = l->next;
        struct request *r = LIST_OF(l, struct request, all);
        if (is_barred(r))
            request_error(r, TEXT_LOCKED);
        else if (n->now > r->deadline)
            request_expired(r);
    }
}

void request_client_gone(struct node *n, struct client *c)
{
    (void)n;
    for (uint32_t i = 0; i < c->answer_count; i++) {
        struct request *r = c->answers[(c->answer_head + i) & (c->answer_capacity - 1)].request;
        if (!r) continue;
        r->client = NULL;
        r->gone = true;
        if (r->state == REQUEST_DONE || r->state == REQUEST_WAITING) request_free(r);
    }
}

void request_free_all(struct node *n)
{
    while (!list_empty(&n->requests)) {
        struct request *r = LIST_OF(n->requests.next, struct request, all);
        if (r->done && (txn_is(r->command) || job_is(r->command)))
            r->done(r->done_ctx, (struct bytes){0});
        request_free(r);
    }
    map_deinit(&n->requests_by_id);
    struct list *spare;
    while ((spare = list_pop(&n->spare_requests))) request_end(LIST_OF(spare, struct request, all));
}
