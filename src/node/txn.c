/* A transaction over several groups, at its coordinator: the node that the client is connected to.
 * txn/txn.h says what comes after what; here that is carried out: what is asked of whom, and what
 * the client is told.
 *
 * A try that ends because somebody else has its keys, or because a leader changed, is followed by
 * another with a new id and the same age, so that it wins in the end. */
#include "node/txn.h"
#include "base/assert.h"
#include "base/mem.h"
#include "redis/once.h"
#include "redis/script.h"

#include <inttypes.h>

#define AGAIN_AFTER (20 * MS)

/* ---- asking ---- */

void txn_ask_for(struct node *n, uint32_t group, const struct txn_question *q)
{
    struct bytes v[10] = {BYTES("SYNOD"), bytes_str(strchr(q->name, '|') + 1)};
    struct group *g = group_named(n, group);
    if (!g) {
        q->done(q->ctx, BYTES("-TRYAGAIN this node does not know the group yet\r\n"));
        return;
    }
    struct request *r = request_new(n);
    ASSERT(q->count + 2 <= sizeof v / sizeof *v);
    for (uint32_t i = 0; i < q->count; i++) v[2 + i] = q->arg[i];
    request_take(r, command_named(q->name), &(struct cmd_args){v, q->count + 2}, 2);
    r->done = q->done;
    r->done_ctx = q->ctx;
    r->group = g->id;
    r->traced = q->report != NULL;
    r->report = q->report;
    if (q->within) r->deadline = n->now + q->within;
    request_wait(r, g);
    group_retry(g);
}

void txn_ask(struct node *n, uint32_t group, const char *name, const struct bytes *arg,
             uint32_t count, void (*done)(void *ctx, struct bytes reply), void *ctx)
{
    txn_ask_for(n, group, &(struct txn_question){name, arg, count, done, ctx, NULL, 0});
}

static struct txn_id new_id(struct node *n)
{
    uint64_t life = n->identity.incarnation & ((1ull << 48) - 1);
    return (struct txn_id){(uint64_t)n->identity.node << 48 | life, ++n->txn_seq};
}

/* ---- making and ending ---- */

static void transaction_free(struct transaction *t)
{
    for (uint32_t i = 0; i < t->parts; i++) {
        struct part *p = &t->part[i];
        buf_deinit(&p->items), buf_deinit(&p->watches), buf_deinit(&p->effects);
        buf_deinit(&p->lo), buf_deinit(&p->hi);
    }
    list_remove(&t->link);
    if (t->trace) txn_trace_end(t);
    rows_free(t->rows);
    buf_deinit(&t->reply), buf_deinit(&t->error), buf_deinit(&t->token);
    for (uint32_t i = 0; i < t->items; i++)
        if (t->item[i].owned) mem_free((void *)t->item[i].key.data);
    if (t->view) view_deinit(t->view);
    mem_free(t->view);
    mem_free(t->part);
    mem_free(t->state);
    mem_free(t->item);
    mem_free(t);
}

void txn_look_at(struct node *n, uint64_t at)
{
    if (at < n->txn_at) n->txn_at = at;
}

void transaction_end_if_over(struct transaction *t)
{
    if (t->over && !t->open) transaction_free(t);
}

struct transaction *transaction_new(struct node *n, struct request *r)
{
    struct transaction *t = mem_zalloc(sizeof *t);
    t->node = n;
    t->r = r;
    t->id = new_id(n);
    t->began_at = n->now;
    t->rows = rows_new();
    t->seed = prng_u64(&n->random);
    t->wanted = UINT32_MAX;
    list_push(&n->txns, &t->link);
    return t;
}

/* ---- the machine's effects ---- */

struct answer_for {
    struct transaction *t;
    uint32_t part;
    uint64_t ask;
    bool locks;
    uint32_t step; /* of the trace; 0: none */
    struct buf report;
};

static void keep_error(struct transaction *t, struct bytes reply)
{
    if (t->error.size) return;
    buf_append(&t->error, reply.data + 1, reply.size - 3); /* "-text\r\n" */
}

/* What an answer that is an error means for the machine. */
static uint8_t refusal(struct transaction *t, struct bytes reply)
{
    bool lost = !reply.size || bytes_begins(reply, "-UNKNOWN");
    t->retries = lost || bytes_begins(reply, "-TXNLOST") || bytes_begins(reply, "-TRYAGAIN");
    if (lost) return TXN_EV_LOST;
    if (!t->retries) keep_error(t, reply);
    if (bytes_begins(reply, "-TRYAGAIN") || bytes_begins(reply, "-CLUSTERDOWN"))
        return TXN_EV_FAILED;
    return TXN_EV_NO;
}

/* LOCK: token, times, rows. False: it cannot be read. */
static bool take_locked(struct transaction *t, struct part *p, struct bytes reply)
{
    int64_t size;
    size_t line;
    if (!request_reply_number(reply, '$', &size, &line) || size < 24) return false;
    struct reader r = reader_of(bytes_of(reply.data + line, (size_t)size));
    p->token = reader_u64(&r);
    int64_t now_ms = (int64_t)reader_u64(&r);
    uint64_t newest = reader_u64(&r);
    if (now_ms > t->now_ms) t->now_ms = now_ms;
    if (newest > t->node->txn_clock) t->node->txn_clock = newest;
    while (reader_left(&r))
        if (!rows_add(t->rows, &r)) return false;
    return true;
}

static void on_answer(struct transaction *t, uint32_t i, struct bytes reply)
{
    struct part *p = &t->part[i];
    int64_t number;
    size_t line;
    if (!reply.size || reply.data[0] == '-') {
        transaction_event(t, refusal(t, reply), i);
    } else if (p->asked == TXN_FX_LOCK &&
               (bytes_begins(reply, "$-1") || bytes_begins(reply, "_"))) {
        t->unwatched = true;
        transaction_event(t, TXN_EV_NO, i);
    } else if (p->asked == TXN_FX_LOCK) {
        if (take_locked(t, p, reply)) {
            transaction_event(t, TXN_EV_YES, i);
        } else {
            keep_error(t, BYTES("-ERR a group's leader answers what this node cannot read\r\n"));
            transaction_event(t, TXN_EV_NO, i);
        }
    } else if (request_reply_number(reply, ':', &number, &line)) { /* PREPARED, RESOLVE, DECIDE */
        t->retries = true;
        transaction_event(t, number > 0 ? TXN_EV_YES : number == 0 ? TXN_EV_NO : TXN_EV_NONE, i);
    } else {
        transaction_event(t, TXN_EV_YES, i);
    }
}

static void answered(void *ctx, struct bytes reply);

static void send_as(struct transaction *t, uint32_t i, uint64_t ask, const char *name,
                    const struct bytes *arg, uint32_t count)
{
    struct answer_for *a = mem_zalloc(sizeof *a);
    *a = (struct answer_for){t, i, ask, strcmp(name, "synod|lock") == 0, 0, {0}};
    if (t->trace) a->step = txn_trace_asked(t, i, name);
    t->open++;
    txn_ask_for(
        t->node, t->part[i].group,
        &(struct txn_question){name, arg, count, answered, a, a->step ? &a->report : NULL, 0});
}

static void send(struct transaction *t, uint32_t i, const char *name, const struct bytes *arg,
                 uint32_t count)
{
    send_as(t, i, ++t->part[i].asks, name, arg, count);
}

static void send_finish(struct transaction *t, uint32_t i, uint64_t ask, bool commit)
{
    struct buf id = {0}, number = {0};
    txn_put_id(&id, t->id);
    buf_u64(&number, commit);
    send_as(t, i, ask, "synod|finish", (struct bytes[]){buf_bytes(&id), buf_bytes(&number)}, 2);
    buf_deinit(&id), buf_deinit(&number);
}

/* A LOCK that was granted although its transaction had been told to end first. */
static bool locked_late(const struct answer_for *a, struct bytes reply)
{
    return a->locks && !a->t->node->dead && reply.size && reply.data[0] != '-';
}

static void answered(void *ctx, struct bytes reply)
{
    struct answer_for *a = ctx;
    struct transaction *t = a->t;
    uint32_t i = a->part;
    bool mine = a->ask == t->part[i].asks && !t->over;
    if (a->step) txn_trace_answered(t, a->step, i, reply, buf_bytes(&a->report));
    if (mine)
        on_answer(t, i, reply);
    else if (locked_late(a, reply))
        send_finish(t, i, 0, false); /* whose answer is for nobody */
    buf_deinit(&a->report);
    mem_free(a);
    t->open--;
    transaction_end_if_over(t);
}

static void send_lock(struct transaction *t, uint32_t i, struct bytes id)
{
    struct part *p = &t->part[i];
    struct buf number = {0};
    buf_u64(&number, t->start);
    buf_u64(&number, p->token);
    buf_u64(&number, p->reverse);
    struct bytes n = buf_bytes(&number);
    if (!p->lo.size)
        transaction_put_items(t, i, !t->view && !t->roams);
    else if (t->view || t->roams) /* which has them */
        buf_clear(&p->items);
    send(t, i, "synod|lock",
         (struct bytes[]){id, bytes_of(n.data, 8), bytes_of(n.data + 8, 8), buf_bytes(&p->lo),
                          buf_bytes(&p->hi), bytes_of(n.data + 16, 8), buf_bytes(&p->watches),
                          buf_bytes(&p->items)},
         8);
    buf_deinit(&number);
}

static void put_record(struct transaction *t, uint32_t i, struct buf *out)
{
    struct buf groups = {0};
    struct txn_record r = {.state = TXN_PREPARED,
                           .start = t->start,
                           .anchor = t->part[t->machine.anchor].group,
                           .items = buf_bytes(&t->part[i].items),
                           .effects = buf_bytes(&t->part[i].effects)};
    for (uint32_t k = 0; k < t->parts; k++)
        if (t->state[k].writes) buf_u32(&groups, t->part[k].group), r.count++;
    r.groups = buf_bytes(&groups);
    txn_record_put(out, &r);
    buf_deinit(&groups);
}

static void send_part(struct transaction *t, uint32_t i)
{
    struct part *p = &t->part[i];
    struct buf id = {0}, number = {0}, record = {0};
    txn_put_id(&id, t->id);
    struct bytes d = buf_bytes(&id);
    buf_u64(&number, p->token);
    switch (p->asked) {
    case TXN_FX_LOCK: send_lock(t, i, d); break;
    case TXN_FX_HOLDS: send(t, i, "synod|holds", (struct bytes[]){d, buf_bytes(&number)}, 2); break;
    case TXN_FX_PREPARE:
        put_record(t, i, &record);
        send(t, i, t->free_of_room ? "synod|prepare-free" : "synod|prepare",
             (struct bytes[]){d, buf_bytes(&number), buf_bytes(&record)}, 3);
        break;
    case TXN_FX_APPLY:
        send(t, i, t->free_of_room ? "synod|apply-free" : "synod|apply",
             (struct bytes[]){d, buf_bytes(&number), buf_bytes(&p->effects), buf_bytes(&p->items)},
             4);
        break;
    case TXN_FX_PREPARED: send(t, i, "synod|prepared", &d, 1); break;
    case TXN_FX_RESOLVE: send(t, i, "synod|resolve", &d, 1); break;
    case TXN_FX_DECIDE: send(t, i, "synod|decide", &d, 1); break;
    case TXN_FX_FINISH: send_finish(t, i, ++p->asks, p->commit); break;
    default: ASSERT(!"not a part's effect");
    }
    buf_deinit(&id), buf_deinit(&number), buf_deinit(&record);
}

/* ---- the answer ---- */

void transaction_answer(struct transaction *t)
{
    struct request *r = t->r;
    t->r = NULL;
    t->wait_until = 0;
    buf_clear(&r->reply);
    buf_append_bytes(&r->reply, buf_bytes(&t->reply));
    if (t->trace) {
        txn_trace_answer(t, r);
        return;
    }
    r->children = 0;
    request_done(r);
}

static void answer_error(struct transaction *t, const char *text)
{
    if (t->session) session_ended(t->session, text);
    if (!t->r) return;
    buf_clear(&t->reply);
    reply_error(&(struct reply){&t->reply, t->r->version}, text);
    t->r->refused = true;
    transaction_answer(t);
}

/* Another try, as old as the first. */
static struct transaction *try_again(struct transaction *t)
{
    struct node *n = t->node;
    struct transaction *next = transaction_new(n, t->r);
    n->stats.txn_retried++;
    uint64_t wait = 1ull << (t->tries < 6 ? t->tries : 6);
    t->r = NULL;
    if (t->trace) txn_trace_again(t, next);
    next->start = t->start;
    next->began_at = t->began_at;
    next->deadline = t->deadline;
    next->tries = t->tries + 1;
    next->nil = t->nil;
    next->begin_at = n->now + prng_below(&n->random, wait * MS) + 1;
    txn_look_at(n, next->begin_at);
    return next;
}

static void aborted(struct transaction *t)
{
    struct node *n = t->node;
    struct buf text = {0};
    if (t->unwatched && t->r->command->fn == once_run) { /* perhaps it was itself who wrote */
        try_again(t)->nil = true;
    } else if (t->unwatched) { /* somebody wrote to what it watched */
        buf_clear(&t->reply);
        reply_nil_array(&(struct reply){&t->reply, t->r->version});
        transaction_answer(t);
        return;
    }
    if (!t->view && t->retries && n->now < t->deadline && !t->r->gone) {
        try_again(t);
        return;
    }
    if (t->error.size)
        buf_append_bytes(&text, buf_bytes(&t->error));
    else if (t->view)
        buf_printf(&text,
                   "TXNABORT keys of this transaction were locked by others, their leaders "
                   "changed, or its time was over; nothing was changed: BEGIN RETRY %" PRIu64
                   " begins again, as old as this one",
                   t->start);
    else
        buf_printf(&text, "TXNABORT keys of this transaction were locked by others, or their "
                          "leaders changed, for 10 s; nothing was changed, send it again");
    buf_u8(&text, 0);
    n->stats.txn_aborted++;
    answer_error(t, (const char *)text.data);
    buf_deinit(&text);
}

static void on_effect(void *ctx, const struct txn_effect *fx);

void transaction_event(struct transaction *t, uint8_t event, uint32_t part)
{
    txn_step(&t->machine, &(struct txn_event){event, part}, on_effect, t);
}

/* ---- carrying it out ---- */

void transaction_refuse(struct transaction *t)
{
    struct bytes text = buf_bytes(&t->reply); /* "-text\r\n" */
    if (t->session) {
        buf_append(&t->error, text.data + 1, text.size - 3);
        buf_u8(&t->error, 0);
        session_ended(t->session, (const char *)t->error.data);
    }
    t->r->refused = true;
    transaction_answer(t);
    transaction_event(t, TXN_EV_REFUSED, 0);
}

void transaction_retry(struct transaction *t)
{
    if (t->view) { /* what its client was answered cannot be said again */
        transaction_event(t, TXN_EV_GIVE_UP, 0);
        return;
    }
    (void)try_again(t);
    transaction_event(t, TXN_EV_REFUSED, 0);
}

static void on_answered(struct transaction *t, uint8_t outcome)
{
    switch (outcome) {
    case TXN_COMMITTED:
        for (uint32_t i = 0; i < t->parts && t->r->client; i++)
            if (t->state[i].writes) client_wrote(t->r->client, t->part[i].group);
        t->node->stats.txn_committed++;
        transaction_answer(t);
        break;
    case TXN_ABORTED: aborted(t); break;
    default:
        if (request_asks_again(t->r))
            (void)try_again(t);
        else
            answer_error(t, TEXT_UNKNOWN);
    }
}

static void on_effect(void *ctx, const struct txn_effect *fx)
{
    struct transaction *t = ctx;
    switch (fx->type) {
    case TXN_FX_EVALUATE:
        if (t->trace) txn_trace_evaluates(t);
        transaction_evaluate(t);
        break;
    case TXN_FX_ANSWER: on_answered(t, fx->outcome); break;
    case TXN_FX_OVER: t->over = true; break;
    case TXN_FX_FORGET: txn_forget_later(t->node, t->part[fx->part].group, t->id); break;
    case TXN_FX_AGAIN:
        t->part[fx->part].again = true;
        t->again_at = t->node->now + AGAIN_AFTER;
        txn_look_at(t->node, t->again_at);
        break;
    default:
        t->part[fx->part].asked = fx->type;
        t->part[fx->part].again = false;
        t->part[fx->part].commit = fx->commit;
        send_part(t, fx->part);
    }
}

static void again(struct transaction *t)
{
    t->again_at = 0;
    for (uint32_t i = 0; i < t->parts; i++) {
        if (!t->part[i].again) continue;
        t->part[i].again = false;
        send_part(t, i);
    }
}

static void begin(struct transaction *t)
{
    t->begun = true;
    t->r->begun = true;
    if (t->r->gone) {
        t->over = true;
        transaction_answer(t);
        return;
    }
    transaction_plan(t);
    if (t->parts) {
        txn_init(&t->machine, t->state, t->parts);
        transaction_event(t, TXN_EV_BEGIN, 0);
    } else { /* a script, of which nobody knows yet where it goes */
        txn_init_open(&t->machine);
        if (t->trace) txn_trace_evaluates(t);
        transaction_evaluate(t);
    }
}

static void look(struct transaction *t)
{
    struct node *n = t->node;
    /* Who hung up before anything was prepared will not hear of it: others may have the keys. */
    bool early = t->machine.phase <= TXN_HOLDING;
    bool late = n->now > t->deadline || (t->wait_until && n->now > t->wait_until) ||
                (early && t->r && t->r->gone);
    if (!t->begun) {
        bool follows = t->r->client && request_follows(t->r->client, t->r);
        if (n->now >= t->begin_at && !follows) begin(t);
    } else if (late && !t->over && (early || t->again_at || t->machine.phase == TXN_VOTING)) {
        transaction_event(t, TXN_EV_GIVE_UP, 0);
    } else if (t->again_at && n->now >= t->again_at) {
        again(t);
    } else if (t->view) {
        session_look(t);
    }
    transaction_end_if_over(t);
}

void txn_turn(struct node *n)
{
    struct list *next;
    n->txn_at = UINT64_MAX;
    txn_forget_turn(n);
    for (struct list *l = n->txns.next; l != &n->txns; l = next) {
        struct transaction *t = LIST_OF(l, struct transaction, link);
        next = l->next;
        if (!t->begun && t->begin_at > n->now) txn_look_at(n, t->begin_at);
        if (t->again_at > n->now) txn_look_at(n, t->again_at);
        if (t->trace) txn_trace_look(t);
        look(t);
    }
}

/* Later than whatever this node has heard of: clocks may differ by hours, and a node whose clock is
 * behind would else be the older one for ever (Lamport, "Time, Clocks, and the Ordering of Events
 * in a Distributed System", 1978). */
uint64_t txn_age(struct node *n)
{
    uint64_t wall = (uint64_t)n->wall_ms << 20;
    n->txn_clock = wall > n->txn_clock ? wall : n->txn_clock + 1;
    return n->txn_clock;
}

int64_t txn_age_ms(const struct node *n, uint64_t start)
{
    int64_t age = n->wall_ms - (int64_t)(start >> 20);
    return age > 0 ? age : 0;
}

/* The request has its own end. */
static void begin_with(struct request *r, bool traced)
{
    struct node *n = r->node;
    r->children = 1;
    struct transaction *t = transaction_new(n, r);
    t->start = txn_age(n);
    t->deadline = n->now + REQUEST_DEADLINE;
    if (traced) txn_trace_begin(t);
}

void txn_begin(struct client *c, const struct command *cmd, const struct cmd_args *a, bool traced)
{
    begin_with(request_parent(c, cmd, a), traced);
}

void txn_run(struct node *n, const char *name, const struct cmd_args *a,
             void (*done)(void *ctx, struct bytes reply), void *ctx)
{
    struct request *r = request_new(n);
    request_take(r, command_named(name), a, 2);
    r->done = done;
    r->done_ctx = ctx;
    r->group = UINT32_MAX;
    r->state = REQUEST_RUNNING;
    begin_with(r, false);
    txn_look_at(n, n->now);
}

void txn_take_over(struct request *r)
{
    bool traced = r->traced;
    list_remove(&r->link);
    trace_end(r->timeline);
    r->timeline = NULL;
    r->traced = r->keyed = false;
    r->group = UINT32_MAX;
    r->hold = HOLD_NONE;
    r->state = REQUEST_RUNNING;
    r->sent = false;
    if (r->client && !r->client->barrier) r->client->barrier = r;
    begin_with(r, traced);
}

uint32_t txn_kill_scripts(struct node *n)
{
    uint32_t killed = 0;
    struct list *next;
    for (struct list *l = n->txns.next; l != &n->txns; l = next) {
        struct transaction *t = LIST_OF(l, struct transaction, link);
        next = l->next;
        bool early = t->begun && t->machine.phase <= TXN_HOLDING && !t->over;
        if (!early || !t->r || t->view || !script_is_in(t->r->command, &t->r->args)) continue;
        killed++;
        buf_clear(&t->error);
        buf_append_bytes(&t->error, BYTES("ERR Error running script: it was killed by SCRIPT KILL; "
                                          "nothing was changed"));
        t->retries = false;
        transaction_event(t, TXN_EV_GIVE_UP, 0);
    }
    return killed;
}

/* The requests that it asked with end it (request_free_all). */
void txn_free_all(struct node *n)
{
    struct list *next;
    for (struct list *l = n->txns.next; l != &n->txns; l = next) {
        next = l->next;
        struct transaction *t = LIST_OF(l, struct transaction, link);
        t->over = true;
        if (t->session) session_ended(t->session, "CLUSTERDOWN the node stops");
        if (t->trace) txn_trace_drop(t);
        transaction_end_if_over(t);
    }
}
