/* BEGIN, COMMIT, ROLLBACK, SAVEPOINT: a transaction whose commands are answered one by one, each
 * seeing what those before it wrote. It is a transaction over groups like any other (txn.c) whose
 * locks come by and by: each command locks its keys before it is evaluated, here, and all that was
 * written is committed at once by COMMIT.
 *
 * One that ended by itself (somebody older wanted its keys, a leader changed, its time was over)
 * leaves its connection refusing commands until COMMIT or ROLLBACK, so that what a client sends
 * without looking is not done outside of it. */
#include "base/mem.h"
#include "node/txn.h"
#include "redis/multi.h"
#include "redis/types.h"
#include "shard/keys.h"

#include <strings.h>

#define TIMEOUT_MS     10000 /* of BEGIN without TIMEOUT */
#define TIMEOUT_MS_MAX 3600000
#define ASK_EVERY      (3000 * MS) /* whether all is still locked; its leaders wait for longer */
#define SAVEPOINTS_MAX 1000u
#define NAME_MAX_SIZE  64u

struct savepoint {
    struct bytes name;
    size_t effects;
};

struct session {
    struct client *client;
    struct transaction *t; /* NULL: it has ended by itself */
    bool read_only;
    bool keyed; /* a command had keys: the first of them is in slot `slot` */
    uint16_t slot;
    char *why; /* it has */
    struct savepoint *savepoint;
    uint32_t savepoints;
};

/* ---- making and ending ---- */

static void savepoints_cut(struct session *s, uint32_t count)
{
    while (s->savepoints > count) mem_free((void *)s->savepoint[--s->savepoints].name.data);
}

/* Its connection is as before BEGIN; what becomes of the transaction is up to the caller. */
static void session_leave(struct client *c)
{
    struct session *s = c->session;
    if (s->t) s->t->session = NULL;
    savepoints_cut(s, 0);
    mem_free(s->savepoint);
    mem_free(s->why);
    mem_free(s);
    c->session = NULL;
}

void session_free(struct client *c)
{
    struct transaction *t = c->session ? c->session->t : NULL;
    if (!c->session) return;
    session_leave(c);
    if (t && !c->node->dead) transaction_event(t, t->r ? TXN_EV_GIVE_UP : TXN_EV_REFUSED, 0);
}

void session_ended(struct session *s, const char *why)
{
    s->t->session = NULL;
    s->t = NULL;
    mem_free(s->why);
    s->why = mem_strdup(why);
}

struct options {
    bool read_only;
    int64_t timeout_ms;
    uint64_t start; /* 0: a new one */
};

static bool is_word(struct bytes b, const char *word)
{
    return b.size == strlen(word) && strncasecmp((const char *)b.data, word, b.size) == 0;
}

/* An age that was given for a BEGIN RETRY: of the time in which a transaction can have begun. */
static bool age_sound(struct node *n, int64_t age)
{
    uint64_t now = txn_age(n), most = (uint64_t)2 * TIMEOUT_MS_MAX << 20;
    return age > 0 && (uint64_t)age <= now && now - (uint64_t)age <= most;
}

static bool parse_begin(struct node *n, const struct cmd_args *a, struct options *o,
                        struct reply *out)
{
    *o = (struct options){.timeout_ms = TIMEOUT_MS};
    for (uint32_t i = 1; i < a->count; i += 2) {
        int64_t v = 0;
        bool more = i + 1 < a->count;
        if (more && is_word(a->v[i], "read") && is_word(a->v[i + 1], "only")) {
            o->read_only = true;
        } else if (more && is_word(a->v[i], "timeout")) {
            if (!bytes_to_i64(a->v[i + 1], &v) || v < 1 || v > TIMEOUT_MS_MAX) {
                reply_errorf(out, "ERR TIMEOUT is 1 to %d ms", TIMEOUT_MS_MAX);
                return false;
            }
            o->timeout_ms = v;
        } else if (more && is_word(a->v[i], "retry")) {
            if (!bytes_to_i64(a->v[i + 1], &v) || !age_sound(n, v)) {
                reply_error(out, "ERR RETRY takes the number that a -TXNABORT of the last two "
                                 "hours named");
                return false;
            }
            o->start = (uint64_t)v;
        } else {
            reply_error(out, "ERR syntax: BEGIN [READ ONLY] [TIMEOUT ms] [RETRY number]");
            return false;
        }
    }
    return true;
}

void session_begin(struct client *c, const struct cmd_args *a, struct reply *out)
{
    struct node *n = c->node;
    struct options o;
    if (c->session && c->session->t) {
        reply_error(out, "ERR BEGIN calls can not be nested: COMMIT or ROLLBACK first");
        return;
    }
    if (!n->group_count) {
        reply_error(out, TEXT_NOT_JOINED);
        return;
    }
    if (!parse_begin(n, a, &o, out)) return;
    if (c->session) session_leave(c);
    struct session *s = c->session = mem_zalloc(sizeof *s);
    struct transaction *t = s->t = transaction_new(n, NULL);
    s->client = c;
    s->read_only = o.read_only;
    t->session = s;
    t->start = o.start ? o.start : txn_age(n);
    t->deadline = n->now + (uint64_t)o.timeout_ms * MS;
    t->begun = t->free_of_room = true;
    t->ask_at = n->now + ASK_EVERY;
    t->now_ms = n->wall_ms;
    txn_init_open(&t->machine);
    transaction_open_view(t);
    reply_ok(out);
}

/* ---- its commands ---- */

static bool is_ended(struct client *c, struct reply *out)
{
    if (c->session->t) return false;
    reply_error(out, c->session->why);
    return true;
}

/* Locks what it needs, then it is evaluated (txn_eval.c). COMMIT needs the row of its token. */
static void command_start(struct transaction *t)
{
    uint32_t asked = 0;
    t->round++;
    t->fetches = 0;
    if (t->r->command->fn)
        transaction_plan_more(t);
    else if (t->token.size)
        transaction_plan_token(t);
    bool *fresh = mem_zalloc((t->parts + 1) * sizeof *fresh);
    for (uint32_t i = 0; i < t->items; i++)
        if (t->item[i].round == t->round) fresh[t->item[i].part] = true;
    for (uint32_t i = 0; i < t->parts && t->machine.phase <= TXN_EVALUATING; i++) {
        if (!fresh[i]) continue;
        buf_clear(&t->part[i].lo);
        asked++;
        transaction_event(t, TXN_EV_MORE, i);
    }
    mem_free(fresh);
    if (!asked) transaction_evaluate(t);
}

/* It begins when all that was sent before it is done (session_look). */
static struct request *session_request(struct client *c, const struct command *cmd,
                                       const struct cmd_args *a)
{
    struct transaction *t = c->session->t;
    struct request *r = request_parent(c, cmd, a);
    r->children = 1; /* it has its own end */
    t->r = r;
    t->waits = true;
    t->wait_until = c->node->now + REQUEST_DEADLINE;
    return r;
}

static void ask_again(struct transaction *t);

void session_look(struct transaction *t)
{
    struct node *n = t->node;
    if (t->waits && t->r && !(t->r->client && request_follows(t->r->client, t->r))) {
        t->waits = false;
        t->r->begun = true;
        command_start(t);
    } else if (transaction_idle(t) && n->now >= t->ask_at) {
        t->ask_at = n->now + ASK_EVERY;
        ask_again(t);
    }
    if (!t->over && t->ask_at < n->txn_at) n->txn_at = t->ask_at;
}

/* What is about connections and transactions has no place between BEGIN and COMMIT; of what has a
 * token, only COMMIT. */
static bool is_out_of_place(const struct command *cmd, const struct cmd_args *a)
{
    static const char *const names[] = {"multi", "watch", "trace", "wait"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!cmd->parent && strcmp(cmd->name, names[i]) == 0) return true;
    return !cmd->parent && strcmp(cmd->name, "idempotent") == 0 && !is_word(a->v[2], "commit");
}

bool session_command(struct client *c, const struct command *cmd, const struct cmd_args *a,
                     struct reply *out)
{
    struct session *s = c->session;
    if (cmd->flags & CMD_LOCAL) {
        if (!is_out_of_place(cmd, a)) return false;
        reply_errorf(out, "ERR %s is not allowed between BEGIN and COMMIT", cmd->name);
        return true;
    }
    if (is_ended(c, out)) return true;
    if (!multi_may_queue(cmd, out)) return true;
    if (s->read_only && cmd->flags & CMD_WRITE) {
        reply_errorf(out, "ERR '%s' writes, and the transaction was begun READ ONLY", cmd->name);
        return true;
    }
    int32_t slot = -1;
    if (!dispatch_group_of(c, cmd, a, &slot, out) && slot != SLOT_SEVERAL) return true;
    if (request_refused_full(c->node, cmd, a)) {
        c->node->stats.refused_full++;
        reply_error(out, TEXT_FULL);
        return true;
    }
    if (!s->keyed && cmd->first) {
        slot = dispatch_slot_of(c->node, cmd, a);
        s->keyed = slot >= 0;
        s->slot = (uint16_t)slot;
    }
    (void)session_request(c, cmd, a);
    return true;
}

/* ---- what its leaders say meanwhile ---- */

static void still_locked(void *ctx, struct bytes reply)
{
    static const char lost[] = "-TXNLOST";
    struct transaction *t = ctx;
    bool is_lost = reply.size >= sizeof lost && memcmp(reply.data, lost, sizeof lost - 1) == 0;
    if (is_lost && transaction_idle(t)) transaction_event(t, TXN_EV_GIVE_UP, 0);
    t->open--;
    transaction_end_if_over(t);
}

/* A leader lets go of what nobody asks about; and who has lost a lock need not wait for COMMIT to
 * hear of it. */
static void ask_again(struct transaction *t)
{
    for (uint32_t i = 0; i < t->parts && transaction_idle(t); i++) {
        struct buf id = {0}, token = {0};
        txn_put_id(&id, t->id);
        buf_u64(&token, t->part[i].token);
        t->open++;
        txn_ask(t->node, t->part[i].group, "synod|holds",
                (struct bytes[]){buf_bytes(&id), buf_bytes(&token)}, 2, still_locked, t);
        buf_deinit(&id), buf_deinit(&token);
    }
}

/* ---- its end ---- */

static bool has_none(struct client *c, const char *what, struct reply *out)
{
    if (c->session) return false;
    reply_errorf(out, "ERR %s without BEGIN", what);
    return true;
}

void session_commit(struct client *c, const struct command *cmd, const struct cmd_args *a,
                    struct bytes token, struct reply *out)
{
    struct session *s = c->session;
    if (has_none(c, "COMMIT", out)) return;
    if (!is_ended(c, out)) {
        struct transaction *t = s->t;
        struct request *r = session_request(c, cmd, a);
        r->writes = view_wrote(t->view);
        if (token.size && s->keyed && r->writes) keys_once(&t->token, s->slot, token);
        t->deadline = c->node->now + REQUEST_DEADLINE;
    }
    session_leave(c);
}

static uint32_t savepoint_of(const struct session *s, struct bytes name)
{
    uint32_t i = s->savepoints;
    while (i && !bytes_equal(s->savepoint[i - 1].name, name)) i--;
    return i;
}

void session_savepoint(struct client *c, const struct cmd_args *a, struct reply *out)
{
    struct session *s = c->session;
    struct bytes name = a->v[1];
    if (has_none(c, "SAVEPOINT", out) || is_ended(c, out)) return;
    if (name.size > NAME_MAX_SIZE || s->savepoints == SAVEPOINTS_MAX) {
        reply_errorf(out, "ERR a transaction has at most %u savepoints, with names of %u bytes",
                     SAVEPOINTS_MAX, NAME_MAX_SIZE);
        return;
    }
    s->savepoint = mem_realloc(s->savepoint, (s->savepoints + 1) * sizeof *s->savepoint);
    s->savepoint[s->savepoints++] = (struct savepoint){
        bytes_of(mem_dup(name.data, name.size), name.size), s->t->view->effects.size};
    reply_ok(out);
}

/* ROLLBACK TO: the savepoint stays, those after it go. */
static void rollback_to(struct session *s, struct bytes name, struct reply *out)
{
    uint32_t i = savepoint_of(s, name);
    if (!i) {
        reply_error(out, "ERR no such savepoint in this transaction");
        return;
    }
    view_rewind(s->t->view, s->savepoint[i - 1].effects);
    savepoints_cut(s, i);
    reply_ok(out);
}

void session_rollback(struct client *c, const struct cmd_args *a, struct reply *out)
{
    bool to = a->count == 3 && is_word(a->v[1], "to");
    if (has_none(c, "ROLLBACK", out)) return;
    if (a->count > 1 && !to) {
        reply_error(out, "ERR syntax: ROLLBACK [TO savepoint]");
    } else if (to) {
        if (!is_ended(c, out)) rollback_to(c->session, a->v[2], out);
    } else {
        session_free(c);
        reply_ok(out);
    }
}
