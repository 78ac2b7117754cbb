/* TXN LIST: the transactions over groups that this node knows of: those that it coordinates, and
 * those that have something locked, are prepared or are decided in a group that is led here. */
#include "node/txn.h"

#define LIFE ((1ull << 48) - 1) /* of id.who: the incarnation */

static const char *const phases[] = {
    [TXN_LOCKING] = "locking",   [TXN_EVALUATING] = "evaluating", [TXN_HOLDING] = "holding",
    [TXN_VOTING] = "voting",     [TXN_RESOLVING] = "resolving",   [TXN_WITNESSING] = "witnessing",
    [TXN_APPLYING] = "applying", [TXN_DECIDING] = "deciding",     [TXN_FINISHING] = "finishing",
    [TXN_OVER] = "over"};
static const char *const states[] = {
    [LOCK_OPEN] = "open", [LOCK_PREPARED] = "prepared", [LOCK_DECIDED] = "decided"};

void txn_put_name(struct buf *out, struct txn_id id)
{
    buf_printf(out, "%u.%llu.%llu", txn_node(id), (unsigned long long)(id.who & LIFE),
               (unsigned long long)id.seq);
}

bool txn_get_name(struct bytes name, struct txn_id *id)
{
    uint64_t v[3] = {0};
    size_t at = 0, digits = 0;
    for (size_t i = 0; i < name.size; i++) {
        bool digit = name.data[i] >= '0' && name.data[i] <= '9';
        if (!digit && (name.data[i] != '.' || !digits || ++at == 3)) return false;
        digits = digit ? digits + 1 : 0;
        if (digit && v[at] > (UINT64_MAX - 9) / 10) return false;
        if (digit) v[at] = v[at] * 10 + (uint64_t)(name.data[i] - '0');
    }
    if (at != 2 || !digits || v[0] > UINT16_MAX || v[1] > LIFE) return false;
    *id = (struct txn_id){v[0] << 48 | v[1], v[2]};
    return true;
}

const char *txn_phase_name(const struct transaction *t)
{
    if (transaction_idle(t)) return "open";
    return t->begun ? phases[t->machine.phase] : "waiting";
}

static void put_head(struct reply *out, struct txn_id id, const char *role, const char *state,
                     uint64_t age_ms, size_t groups)
{
    struct buf name = {0};
    txn_put_name(&name, id);
    reply_map(out, 6);
    reply_bulk_str(out, "id"), reply_bulk(out, buf_bytes(&name));
    reply_bulk_str(out, "coordinator"), reply_i64(out, txn_node(id));
    reply_bulk_str(out, "role"), reply_bulk_str(out, role);
    reply_bulk_str(out, "state"), reply_bulk_str(out, state);
    reply_bulk_str(out, "age-ms"), reply_i64(out, (int64_t)age_ms);
    reply_bulk_str(out, "groups"), reply_array(out, groups);
    buf_deinit(&name);
}

static void put_coordinated(const struct transaction *t, struct reply *out)
{
    const struct node *n = t->node;
    put_head(out, t->id, "coordinator", txn_phase_name(t), (n->now - t->began_at) / MS, t->parts);
    for (uint32_t i = 0; i < t->parts; i++) reply_i64(out, t->part[i].group);
}

static size_t count_all(const struct node *n)
{
    size_t count = 0;
    for (const struct list *l = n->txns.next; l != &n->txns; l = l->next) count++;
    for (uint32_t g = 0; g < n->group_count; g++) count += n->group[g]->locks.owners;
    return count;
}

void txn_list(struct node *n, struct reply *out)
{
    reply_array(out, count_all(n));
    for (const struct list *l = n->txns.next; l != &n->txns; l = l->next)
        put_coordinated(LIST_OF(l, const struct transaction, link), out);
    for (uint32_t g = 0; g < n->group_count; g++) {
        for (const struct lock_owner *o = n->group[g]->locks.first; o; o = o->next) {
            put_head(out, o->id, "participant", states[o->state], (n->now - o->at) / MS, 1);
            reply_i64(out, g);
        }
    }
}
