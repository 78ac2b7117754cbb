/* Commands without keys that concern all groups (DBSIZE, KEYS, FLUSHALL): a parent request with a
 * child for each range of slots that is one group's, or (RANDOMKEY) for one group after another;
 * the children's replies are combined as the command table says. */
#include "node/request.h"
#include "base/assert.h"

static void spread_next(struct request *parent);

/* Groups that have slots: those of the map, and one that was just born here; but for one that was
 * just taken over here. */
bool spread_counts(const struct group *g)
{
    if (g->heir || ring_is_merged_away(&g->row)) return false;
    return g->row.state == RING_GROUP_SERVING || (g->shard && g->slot_lo < g->slot_hi);
}

struct request *spread_child(struct request *parent, uint32_t group, uint16_t slot_lo,
                             uint16_t slot_hi)
{
    struct node *n = parent->node;
    struct group *g = n->group[group];
    struct request *r = request_new(n);
    request_take(r, parent->command, &parent->args, parent->version);
    r->group = group;
    r->parent = parent;
    r->keyed = slot_hi > 0;
    r->slot = slot_lo;
    r->slot_hi = slot_hi;
    parent->children++;
    request_wait(r, g);
    group_retry(g);
    return r;
}

/* The end of the slots from `slot` on that are of one group, as the map has it. */
static uint16_t range_end(const struct node *n, uint16_t slot, uint16_t most)
{
    uint32_t group = n->slot_group[slot];
    while (slot < most && n->slot_group[slot] == group) slot++;
    return slot;
}

/* Every slot is some child's: groups may split and merge meanwhile. */
static void spread_over(struct request *parent, uint16_t slot_lo, uint16_t slot_hi)
{
    struct node *n = parent->node;
    while (slot_lo < slot_hi) {
        uint16_t end = range_end(n, slot_lo, slot_hi);
        uint32_t group = n->slot_group[slot_lo];
        if (parent->writes && parent->client) client_wrote(parent->client, group);
        (void)spread_child(parent, group, slot_lo, end);
        slot_lo = end;
    }
}

void spread_narrow(struct request *child)
{
    uint16_t end = range_end(child->node, child->slot, child->slot_hi), rest = child->slot_hi;
    child->slot_hi = end;
    spread_over(child->parent, end, rest);
}

struct request *request_spread(struct client *c, const struct command *cmd,
                               const struct cmd_args *a)
{
    struct node *n = c->node;
    struct request *r = request_parent(c, cmd, a);
    if (cmd->spread == CMD_SPREAD_ANY) {
        r->next_group = (uint32_t)prng_below(&n->random, n->group_count);
        spread_next(r);
    } else {
        spread_over(r, 0, SLOT_COUNT);
    }
    return r;
}

static void spread_next(struct request *parent)
{
    uint32_t group = parent->next_group, count = parent->node->group_count;
    do {
        group = (group + 1) % count;
        parent->items++;
    } while (!spread_counts(parent->node->group[group]) && parent->items < count);
    parent->next_group = group;
    (void)spread_child(parent, group, 0, 0);
}

static void parent_finish(struct request *p)
{
    struct buf whole = {0};
    struct reply out = {&whole, p->version};
    if (p->failed) {
        request_done(p);
        return;
    }
    if (p->wait_replicas) {
        request_wait_answer(p, (uint32_t)p->sum);
        return;
    }
    switch (p->command->spread) {
    case CMD_SPREAD_SUM: reply_i64(&out, p->sum); break;
    case CMD_SPREAD_OK: reply_ok(&out); break;
    case CMD_SPREAD_CONCAT:
        reply_array(&out, (size_t)p->sum);
        buf_append_bytes(&whole, buf_bytes(&p->reply));
        break;
    default: reply_nil(&out); break;
    }
    buf_deinit(&p->reply);
    p->reply = whole;
    request_done(p);
}

/* Adds one group's reply to what the parent has. */
static void parent_add(struct request *p, struct bytes reply)
{
    int64_t v;
    size_t line;
    bool error = reply.size && reply.data[0] == '-';
    if (p->failed) return;
    if (!error && p->wait_replicas) { /* what the least replicated group has */
        if (request_reply_number(reply, ':', &v, &line) && v < p->sum) p->sum = v;
    } else if (!error && p->command->spread == CMD_SPREAD_SUM &&
               request_reply_number(reply, ':', &v, &line)) {
        p->sum += v;
    } else if (!error && p->command->spread == CMD_SPREAD_CONCAT &&
               request_reply_number(reply, '*', &v, &line)) {
        p->sum += v;
        buf_append(&p->reply, reply.data + line, reply.size - line);
    } else if (!error && p->command->spread == CMD_SPREAD_ANY &&
               (reply.data[0] == '_' || bytes_equal(reply, BYTES("$-1\r\n")))) {
        return;
    } else if (error || p->command->spread == CMD_SPREAD_ANY) { /* the first error, or the first
                                                                   that is not nil, is the answer */
        buf_clear(&p->reply);
        buf_append_bytes(&p->reply, reply);
        p->failed = true;
    }
}

void spread_child_done(struct request *parent, struct request *child)
{
    parent_add(parent, buf_bytes(&child->reply));
    if (--parent->children) return;
    if (parent->gone)
        request_free(parent);
    else if (parent->command->spread == CMD_SPREAD_ANY && !parent->failed &&
             parent->items < parent->node->group_count)
        spread_next(parent);
    else
        parent_finish(parent);
}
