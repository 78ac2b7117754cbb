/* TXN STATUS id: what the leaders of all groups, and this node if it coordinates it, know of one
 * transaction over groups. Each group is asked for itself (redis/txn.h, STATE); who does not answer
 * within ASK_TIME is named, for a group without a leader is just where a transaction hangs. */
#include "base/mem.h"
#include "node/txn.h"

#include <stdio.h>

#define ASK_TIME (2000 * MS)

struct found {
    uint32_t group;
    uint8_t state; /* enum lock_state; SILENT */
};
#define SILENT 0xff

struct inquiry {
    struct node *node;
    struct request *r;
    struct txn_id id;
    uint32_t open;
    uint64_t start;      /* 0: not known */
    struct buf groups;   /* that take part, by the record of one of them: u32 each */
    struct found *found; /* those that have it, and those that are silent */
    uint32_t count;
    uint32_t states[LOCK_DECIDED + 1], silent;
    uint32_t anchor;
    bool recorded; /* groups and anchor are known */
};

struct asked {
    struct inquiry *q;
    uint32_t group;
};

static void take_state(struct inquiry *q, uint32_t group, struct bytes state)
{
    struct txn_state s;
    if (!txn_state_get(state, &s)) return;
    q->found[q->count++] = (struct found){group, s.state};
    q->states[s.state]++;
    q->start = s.start;
    if (q->recorded || s.state == LOCK_OPEN) return;
    q->recorded = true;
    q->anchor = s.anchor;
    buf_append_bytes(&q->groups, s.groups);
}

/* ---- the answer ---- */

static const struct transaction *coordinated(const struct node *n, struct txn_id id)
{
    for (const struct list *l = n->txns.next; l != &n->txns; l = l->next) {
        const struct transaction *t = LIST_OF(l, const struct transaction, link);
        if (txn_equal(t->id, id)) return t;
    }
    return NULL;
}

static const char *state_of(const struct inquiry *q, const struct transaction *t)
{
    if (q->states[LOCK_DECIDED]) return "committed";
    if (q->states[LOCK_PREPARED]) return "prepared";
    return q->states[LOCK_OPEN] || t ? "open" : "not known";
}

static const char *note_of(const struct inquiry *q, const struct transaction *t)
{
    bool gone = txn_coordinator_gone(q->node, q->id);
    if (q->states[LOCK_DECIDED])
        return gone ? "it is decided; its coordinator is gone, and the anchor tells the others"
                    : "it is decided, and those that are prepared are being told";
    if (q->states[LOCK_PREPARED])
        return gone ? "in doubt: its coordinator is gone, and those that are prepared ask each "
                      "other"
                    : "what it writes is in the logs of those that are prepared; it is committed "
                      "once all are";
    if (q->states[LOCK_OPEN] || t)
        return gone ? "its coordinator is gone: the locks are let go of"
                    : "it has keys locked, or waits for them; nothing is decided";
    return q->silent ? "no group that answers knows of it; those that are silent may"
                     : "finished everywhere, committed or not, or there never was one; one that "
                       "still waits for its first lock is known to its coordinator alone";
}

static void put_groups(const struct inquiry *q, struct reply *out)
{
    static const char *const states[] = {
        [LOCK_OPEN] = "open", [LOCK_PREPARED] = "prepared", [LOCK_DECIDED] = "decided"};
    struct reader r = reader_of(buf_bytes(&q->groups));
    uint32_t finished = 0;
    struct buf rest = {0};
    struct reply more = {&rest, out->version};
    while (reader_left(&r) >= 4) {
        uint32_t group = reader_u32(&r), i = 0;
        while (i < q->count && q->found[i].group != group) i++;
        if (i < q->count) continue;
        finished++;
        reply_array(&more, 2), reply_i64(&more, group), reply_bulk_str(&more, "finished");
    }
    reply_array(out, q->count + finished);
    for (uint32_t i = 0; i < q->count; i++) {
        uint8_t state = q->found[i].state;
        reply_array(out, 2), reply_i64(out, q->found[i].group);
        reply_bulk_str(out, state == SILENT ? "silent" : states[state]);
    }
    buf_append_bytes(out->out, buf_bytes(&rest));
    buf_deinit(&rest);
}

static void put_answer(const struct inquiry *q, struct reply *out)
{
    const struct transaction *t = coordinated(q->node, q->id);
    uint64_t start = t ? t->start : q->start;
    struct buf name = {0};
    txn_put_name(&name, q->id);
    reply_map(out, 8);
    reply_bulk_str(out, "id"), reply_bulk(out, buf_bytes(&name));
    reply_bulk_str(out, "state"), reply_bulk_str(out, state_of(q, t));
    reply_bulk_str(out, "note"), reply_bulk_str(out, note_of(q, t));
    reply_bulk_str(out, "coordinator"), reply_i64(out, txn_node(q->id));
    reply_bulk_str(out, "phase");
    if (t)
        reply_bulk_str(out, txn_phase_name(t));
    else
        reply_nil(out);
    reply_bulk_str(out, "age-ms"), reply_i64(out, start ? txn_age_ms(q->node, start) : -1);
    reply_bulk_str(out, "anchor"), reply_i64(out, q->recorded ? (int64_t)q->anchor : -1);
    reply_bulk_str(out, "groups"), put_groups(q, out);
    buf_deinit(&name);
}

/* ---- asking ---- */

static void one_less(struct inquiry *q)
{
    if (--q->open) return;
    if (!q->node->dead) {
        put_answer(q, &(struct reply){&q->r->reply, q->r->version});
        q->r->children = 0;
        request_done(q->r);
    }
    buf_deinit(&q->groups);
    mem_free(q->found);
    mem_free(q);
}

static void answered(void *ctx, struct bytes reply)
{
    struct asked *a = ctx;
    struct inquiry *q = a->q;
    int64_t size;
    size_t line;
    if (request_reply_number(reply, '$', &size, &line) && size > 0) {
        take_state(q, a->group, bytes_of(reply.data + line, (size_t)size));
    } else if (!reply.size || reply.data[0] == '-') {
        q->found[q->count++] = (struct found){a->group, SILENT};
        q->silent++;
    }
    mem_free(a);
    one_less(q);
}

static void ask(struct inquiry *q, uint32_t group)
{
    struct asked *a = mem_zalloc(sizeof *a);
    struct buf id = {0};
    *a = (struct asked){q, group};
    q->open++;
    txn_put_id(&id, q->id);
    txn_ask_for(q->node, group,
                &(struct txn_question){.name = "synod|state",
                                       .arg = &(struct bytes){id.data, id.size},
                                       .count = 1,
                                       .done = answered,
                                       .ctx = a,
                                       .within = ASK_TIME});
    buf_deinit(&id);
}

void txn_status(struct client *c, const struct command *cmd, const struct cmd_args *a,
                struct reply *out)
{
    struct node *n = c->node;
    struct txn_id id;
    if (!txn_get_name(a->v[2], &id)) {
        reply_error(out, "ERR an id is as TXN LIST and TRACE show it: node.life.number");
        return;
    }
    if (!n->group_count) {
        reply_error(out, TEXT_NOT_JOINED);
        return;
    }
    struct inquiry *q = mem_zalloc(sizeof *q);
    *q = (struct inquiry){.node = n, .id = id, .open = 1, .r = request_parent(c, cmd, a)};
    q->r->children = 1; /* it has its own end */
    q->found = mem_zalloc(n->group_count * sizeof *q->found);
    for (uint32_t i = 0; i < n->group_count; i++)
        if (spread_counts(n->group[i])) ask(q, i);
    one_less(q);
}
