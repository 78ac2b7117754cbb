/* Transactions over groups, at the leader of one of their groups: what of it is in memory alone,
 * and what becomes of those whose coordinator is gone. What is asked of a group, and what is kept
 * in it: redis/txn.h. */
#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "node/request.h"
#include "redis/txn.h"

#define QUIET_TIME  (500 * MS)
#define GONE_AFTER  (300 * MS)   /* what a coordinator left that is not there any more */
#define SLOW_AFTER  (15000 * MS) /* ... that is: longer than it tries itself (txn.c) */
#define DOUBT_AFTER (3000 * MS)  /* what a coordinator that is there does not go on with */

/* ---- around an evaluation ---- */

struct place {
    const struct group *group;
    bool here;
};

static void look_place(void *ctx, enum lock_mode mode, struct bytes key)
{
    struct place *p = ctx;
    p->here &= group_has_slot(p->group, txn_slot(mode, key));
}

/* What is locked here must be the group's, whatever the coordinator's map said. */
static bool items_are_here(const struct group *g, struct bytes items)
{
    struct place p = {g, locks_items_sound(items)};
    if (p.here) locks_items(items, look_place, &p);
    return p.here;
}

bool txn_may_run(struct group *g, const struct command *cmd, const struct cmd_args *a)
{
    struct txn_id id;
    if (cmd->fn == txn_lock) {
        if (!txn_get_id(a->v[2], &id) || !items_are_here(g, a->v[9])) return true;
        bool quiet = g->alone_at || g->node->now < g->quiet_until;
        if (quiet && !locks_find(&g->locks, id)) return false; /* (seed 35000739) */
    } else if (!g->locks.owners || MUTANT(MUTANT_TXN_BARLESS)) {
        return true;
    }
    group_busy(g);
    if (g->locks.newest > g->node->txn_clock) g->node->txn_clock = g->locks.newest;
    bool may = txn_admits(&g->locks, cmd, a, g->node->now);
    if (!may && cmd->spread != CMD_SPREAD_NONE) (void)txn_quiet(g); /* FLUSHALL: all keys */
    return may;
}

/* A LOCK that still waits must not begin what has ended. */
static void call_off(struct group *g, struct txn_id id)
{
    struct txn_id other;
    for (struct list *l = g->waiting.next; l != &g->waiting; l = l->next) {
        struct request *r = LIST_OF(l, struct request, link);
        if (r->command->fn == txn_lock && txn_get_id(r->args.v[2], &other) && txn_equal(id, other))
            r->called_off = true;
    }
}

void txn_ran(struct group *g, const struct command *cmd, const struct cmd_args *a)
{
    struct txn_id id;
    bool one = txn_get_id(a->v[2], &id);
    if (cmd->fn == txn_forget) txn_evaluated(&g->locks, cmd, a, g->node->now);
    if (!one || cmd->fn == txn_lock || cmd->fn == txn_state || cmd->fn == txn_forget) return;
    if (cmd->fn == txn_holds) {
        struct lock_owner *o = locks_find(&g->locks, id);
        if (o) o->at = g->node->now;
        return;
    }
    txn_evaluated(&g->locks, cmd, a, g->node->now);
    if (cmd->fn == txn_finish || cmd->fn == txn_resolve) call_off(g, id);
    group_retry(g);
}

/* Who is not prepared yet must try again: it may itself wait for one that this keeps out. */
bool txn_quiet(struct group *g)
{
    struct lock_owner *next;
    g->quiet_until = g->node->now + QUIET_TIME;
    for (struct lock_owner *o = g->locks.first; o; o = next) {
        next = o->next;
        if (o->state == LOCK_OPEN) locks_drop(&g->locks, o);
    }
    return !g->locks.owners || MUTANT(MUTANT_TXN_SPLIT);
}

/* A group that is sealed had nobody prepared or decided, nor ever will: that it can say. */
bool txn_answers_sealed(const struct group *g, const struct command *cmd)
{
    bool asks = txn_is(cmd) && cmd->fn != txn_lock && !g->locks.owners;
    return asks && group_serves(g) && !paxos_transferring(g->px);
}

/* ---- leaderships ---- */

static void restore(void *ctx, struct bytes key, struct bytes value)
{
    struct group *g = ctx;
    struct txn_record r;
    struct txn_id id;
    bool sound = txn_row_id(key, &id) && txn_record_get(value, &r);
    ASSERT(sound);
    enum lock_state state = r.state == TXN_PREPARED ? LOCK_PREPARED : LOCK_DECIDED;
    (void)locks_restore(&g->locks, id, r.start, state, r.items, value, g->node->now);
}

/* No two leaderships give the same tokens: an owner's is of the one that began it (G1). */
void txn_era_begin(struct group *g)
{
    locks_clear(&g->locks);
    if (!MUTANT(MUTANT_TXN_TOKEN)) g->locks.tokens = hash_mix(g->era_ballot);
    g->quiet_until = 0;
    if (MUTANT(MUTANT_TXN_UNLOCKED)) return;
    if (!shard_txns_each(g->shard, restore, g))
        node_fatal(g->node, "group %u: the engine cannot be read; the node stops", g->id);
}

void txn_era_end(struct group *g)
{
    locks_clear(&g->locks);
}

/* ---- those whose coordinator is gone ---- */

bool txn_coordinator_gone(struct node *n, struct txn_id id)
{
    uint16_t node = txn_node(id);
    uint64_t life = id.who & ((1ull << 48) - 1);
    if (node == n->identity.node) return life != n->identity.incarnation;
    const struct peer *p = node <= NODE_NODES_MAX ? n->peers[node] : NULL;
    return !p || p->incarnation > life || !ring_node_heard(n, node);
}

struct errand { /* of a group about one transaction */
    struct node *node;
    uint32_t group, anchor;
    struct txn_id id;
    uint32_t open;
    bool failed, forgets;
    bool knows; /* of those that were asked whether they are prepared, one said enough */
};

static struct errand *errand_new(struct group *g, struct txn_id id)
{
    struct errand *e = mem_zalloc(sizeof *e);
    *e = (struct errand){.node = g->node, .group = g->id, .id = id};
    return e;
}

static void ask(struct node *n, uint32_t group, const char *name, struct txn_id id, int commit,
                void (*done)(void *ctx, struct bytes reply), void *ctx)
{
    struct buf text = {0}, number = {0};
    txn_put_id(&text, id);
    buf_u64(&number, commit > 0);
    txn_ask(n, group, name, (struct bytes[]){buf_bytes(&text), buf_bytes(&number)},
            commit < 0 ? 1 : 2, done, ctx);
    buf_deinit(&text), buf_deinit(&number);
}

static void told(void *ctx, struct bytes reply)
{
    (void)reply;
    mem_free(ctx);
}

static void finish_here(struct errand *e, bool commit)
{
    ask(e->node, e->group, "synod|finish", e->id, commit, told, e);
}

static void resolved(void *ctx, struct bytes reply)
{
    struct errand *e = ctx;
    int64_t commit;
    size_t line;
    if (request_reply_number(reply, ':', &commit, &line))
        finish_here(e, commit > 0);
    else
        mem_free(e); /* it is asked again */
}

/* The anchor itself then tells the others (sweep). */
static void decided_now(void *ctx, struct bytes reply)
{
    struct errand *e = ctx;
    int64_t commit;
    size_t line;
    if (request_reply_number(reply, ':', &commit, &line) && commit && e->anchor != e->group)
        finish_here(e, true);
    else
        mem_free(e);
}

/* Before that it was sealed, and before that nobody was prepared or decided there any more. */
static bool is_merged_away(const struct node *n, uint32_t group)
{
    const struct group *g = group_named(n, group);
    return g && ring_is_merged_away(&g->row);
}

/* One is not prepared, nor will be: nobody was told "committed", and the anchor's word is the
 * last. */
static void was_refused(struct errand *e)
{
    if (is_merged_away(e->node, e->anchor))
        finish_here(e, false);
    else
        ask(e->node, e->anchor, "synod|resolve", e->id, -1, resolved, e);
}

/* All have answered. If all are prepared, it is committed, and its client may have been told. */
static void gathered(struct errand *e)
{
    if (e->failed || e->knows)
        mem_free(e);
    else
        ask(e->node, e->anchor, "synod|decide", e->id, -1, decided_now, e);
}

static void is_prepared(void *ctx, struct bytes reply)
{
    struct errand *e = ctx;
    int64_t state;
    size_t line;
    bool said = request_reply_number(reply, ':', &state, &line);
    bool enough = said && state != 2 && !e->knows;
    e->failed |= !said;
    e->knows |= enough;
    if (enough && state == 1) /* at the anchor: committed */
        finish_here(mem_dup(e, sizeof *e), true);
    else if (enough)
        was_refused(mem_dup(e, sizeof *e));
    if (--e->open == 0) gathered(e);
}

static void gather(struct errand *e, struct reader *groups)
{
    while (reader_left(groups)) {
        uint32_t group = reader_u32(groups);
        e->open++;
        if (is_merged_away(e->node, group))
            is_prepared(e, BYTES(":0\r\n"));
        else
            ask(e->node, group, "synod|prepared", e->id, -1, is_prepared, e);
    }
    if (--e->open == 0) gathered(e);
}

static void in_doubt(struct group *g, struct lock_owner *o)
{
    struct node *n = g->node;
    struct txn_record r;
    bool sound = txn_record_get(o->record, &r);
    ASSERT(sound);
    /* The record may go with the first answer, if this is the anchor. */
    void *copy = mem_dup(r.groups.data, r.groups.size);
    struct reader groups = reader_of(bytes_of(copy, r.groups.size));
    struct errand *e = errand_new(g, o->id);
    o->at = n->now;
    e->anchor = r.anchor;
    e->open = 1;
    if (MUTANT(MUTANT_TXN_UNASKED))
        is_prepared(e, BYTES(":1\r\n"));
    else if (MUTANT(MUTANT_TXN_ALONE))
        is_prepared(e, BYTES(":0\r\n"));
    else
        gather(e, &groups);
    mem_free(copy);
}

static void finished(void *ctx, struct bytes reply)
{
    struct errand *e = ctx;
    e->failed |= !reply.size || reply.data[0] != '+';
    if (--e->open) return;
    if (e->failed || !e->forgets)
        mem_free(e);
    else
        ask(e->node, e->group, "synod|forget", e->id, -1, told, e);
}

/* The anchor tells everybody, and forgets once all know. */
static void tell_all(struct errand *e)
{
    struct node *n = e->node;
    struct lock_owner *o = locks_find(&n->group[e->group]->locks, e->id);
    struct txn_record r;
    if (!o || o->state != LOCK_DECIDED || !txn_record_get(o->record, &r)) {
        mem_free(e);
        return;
    }
    struct reader groups = reader_of(r.groups);
    e->forgets = true;
    e->open = r.count + 1;
    for (uint32_t i = 0; i < r.count; i++) {
        uint32_t group = reader_u32(&groups);
        if (group == e->group || is_merged_away(n, group))
            finished(e, BYTES("+OK\r\n"));
        else
            ask(n, group, "synod|finish", e->id, 1, finished, e);
    }
    finished(e, BYTES("+OK\r\n"));
}

static void decided(void *ctx, struct bytes reply)
{
    struct errand *e = ctx;
    int64_t commit;
    size_t line;
    if (request_reply_number(reply, ':', &commit, &line) && commit == 1)
        tell_all(e);
    else
        mem_free(e);
}

/* What is in memory here may not be chosen, nor ever be (G6): it asks itself as others would
 * (seed 31000111). */
static void sweep(struct group *g, struct lock_owner *o)
{
    struct errand *e = errand_new(g, o->id);
    o->at = g->node->now;
    if (MUTANT(MUTANT_TXN_UNSEEN))
        tell_all(e);
    else
        ask(g->node, g->id, "synod|prepared", o->id, -1, decided, e);
}

static void owner_slow(struct group *g, struct lock_owner *o)
{
    struct node *n = g->node;
    uint64_t age = n->now - o->at;
    if (age < GONE_AFTER) return;
    bool gone = txn_coordinator_gone(n, o->id);
    switch (o->state) {
    case LOCK_OPEN:
        if (!gone && age < SLOW_AFTER) break;
        locks_drop(&g->locks, o);
        group_retry(g);
        break;
    case LOCK_PREPARED:
        if (gone || age > DOUBT_AFTER) in_doubt(g, o);
        break;
    default:
        if (gone || age > DOUBT_AFTER || n->now < g->quiet_until) sweep(g, o);
    }
}

bool txn_is_in_doubt(struct group *g, const struct lock_owner *o)
{
    struct node *n = g->node;
    return o->state == LOCK_PREPARED && (txn_coordinator_gone(n, o->id) ||
                                         txn_age_ms(n, o->start) > (int64_t)(DOUBT_AFTER / MS));
}

void txn_slow(struct group *g)
{
    struct lock_owner *next;
    if (!g->leading) return;
    for (struct lock_owner *o = g->locks.first; o; o = next) {
        next = o->next;
        owner_slow(g, o);
    }
}
