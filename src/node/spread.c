/* Commands without keys that concern all groups (DBSIZE, KEYS, FLUSHALL, RANDOMKEY): a parent
 * request with a child for each group, or for one after another; the children's replies are
 * combined as the command table says. */
#include "node/request.h"
#include "base/assert.h"

static void spread_next(struct request *parent);

/* Groups that have slots: those of the map, and one that was just born here; but for one that was
 * just taken over here. */
static bool group_counts(const struct group *g)
{
    if (g->heir || ring_is_merged_away(&g->row)) return false;
    return g->row.state == RING_GROUP_SERVING || (g->shard && g->slot_lo < g->slot_hi);
}

struct request *spread_child(struct request *parent, uint32_t group)
{
    struct node *n = parent->node;
    struct group *g = n->group[group];
    struct request *r = request_new(n);
    request_take(r, parent->command, &parent->args, parent->version);
    r->group = group;
    r->parent = parent;
    parent->children++;
    request_wait(r, g);
    group_retry(g);
    return r;
}

struct request *request_spread(struct client *c, const struct command *cmd,
                               const struct cmd_args *a)
{
    struct node *n = c->node;
    struct request *r = client_request(c);
    if (c->async == 1) c->async_epoch = n->leader_epoch;
    request_take(r, cmd, a, c->version);
    r->group = UINT32_MAX;
    r->state = REQUEST_RUNNING;
    c->barrier = r;
    if (cmd->spread == CMD_SPREAD_ANY) {
        r->next_group = (uint32_t)prng_below(&n->random, n->group_count);
        spread_next(r);
    } else {
        for (uint32_t g = 0; g < n->group_count; g++) {
            if (!group_counts(n->group[g])) continue;
            if (r->writes) client_wrote(c, g);
            (void)spread_child(r, g);
        }
    }
    return r;
}

static void spread_next(struct request *parent)
{
    uint32_t group = parent->next_group, count = parent->node->group_count;
    do {
        group = (group + 1) % count;
        parent->items++;
    } while (!group_counts(parent->node->group[group]) && parent->items < count);
    parent->next_group = group;
    (void)spread_child(parent, group);
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
