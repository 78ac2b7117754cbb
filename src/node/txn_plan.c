/* Which keys a transaction over several groups has, in which mode it needs them, and in which
 * groups they are. */
#include "base/mem.h"
#include "node/txn.h"
#include "redis/multi.h"
#include "redis/once.h"

#include <stdlib.h>

struct planning {
    struct transaction *t;
    enum lock_mode mode;
};

static void item_room(struct transaction *t)
{
    if (t->items < t->item_capacity) return;
    t->item_capacity = t->item_capacity ? 2 * t->item_capacity : 16;
    t->item = mem_realloc(t->item, t->item_capacity * sizeof *t->item);
}

static void plan_key(void *ctx, struct bytes key)
{
    struct planning *p = ctx;
    struct transaction *t = p->t;
    item_room(t);
    t->item[t->items++] = (struct item){.key = key, .mode = (uint8_t)p->mode};
}

static void plan_command(void *ctx, const struct command *c, const struct cmd_args *a)
{
    struct planning *p = ctx;
    p->mode = txn_mode(c);
    (void)command_keys(c, a, plan_key, p);
}

static int item_order(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    int c = (x->mode == LOCK_RECORD) - (y->mode == LOCK_RECORD);
    if (!c) c = bytes_compare(x->key, y->key);
    return c ? c : (int)y->mode - (int)x->mode;
}

/* Each key once, in the stronger mode; behind them the row of the engine. */
static void plan_sort(struct transaction *t)
{
    uint32_t kept = 0;
    if (t->items) qsort(t->item, t->items, sizeof *t->item, item_order);
    for (uint32_t i = 0; i < t->items; i++)
        if (i == 0 || t->item[i].mode == LOCK_RECORD ||
            !bytes_equal(t->item[i].key, t->item[kept - 1].key))
            t->item[kept++] = t->item[i];
    t->items = kept;
}

uint32_t transaction_part_of(const struct transaction *t, uint32_t group)
{
    uint32_t i = 0;
    while (i < t->parts && t->part[i].group != group) i++;
    return i;
}

static void plan_parts(struct transaction *t)
{
    struct node *n = t->node;
    uint32_t *index = mem_zalloc(n->group_count * sizeof *index); /* part + 1 */
    t->part = mem_zalloc(n->group_count * sizeof *t->part);
    for (uint32_t i = 0; i < t->items; i++) {
        uint32_t group = n->slot_group[txn_slot(t->item[i].mode, t->item[i].key)];
        if (!index[group]) {
            t->part[t->parts].group = group;
            index[group] = ++t->parts;
        }
        t->item[i].part = index[group] - 1;
    }
    mem_free(index);
    t->part = mem_realloc(t->part, (t->parts + 1) * sizeof *t->part);
    t->state = mem_zalloc((t->parts + 1) * sizeof *t->state);
}

/* Where the key is, or would be. */
static uint32_t item_place(const struct transaction *t, struct bytes key)
{
    uint32_t lo = 0, hi = t->items;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        const struct item *item = &t->item[mid];
        if (item->mode != LOCK_RECORD && bytes_compare(item->key, key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct item *transaction_item_of(const struct transaction *t, struct bytes key)
{
    uint32_t i = item_place(t, key);
    bool is = i < t->items && t->item[i].mode != LOCK_RECORD && bytes_equal(t->item[i].key, key);
    return is ? &t->item[i] : NULL;
}

static void plan_watch(void *ctx, struct bytes key, struct bytes watch)
{
    struct transaction *t = ctx;
    const struct item *item = transaction_item_of(t, key);
    if (item) buf_append_bytes(&t->part[item->part].watches, watch);
}

static void plan_keys(struct planning *p, const struct command *c, const struct cmd_args *a)
{
    if (c->fn == multi_exec) {
        multi_commands(a, plan_command, p);
        p->mode = LOCK_SHARED;
        (void)multi_watched_keys(a->v[2], plan_key, p);
    } else {
        plan_command(p, c, a);
    }
}

void transaction_plan(struct transaction *t)
{
    const struct request *r = t->r;
    struct planning p = {.t = t};
    struct cmd_args a;
    const struct command *c = once_request(r->command, &r->args, &a);
    if (!t->nil) plan_keys(&p, c, &a);
    p.mode = LOCK_RECORD;
    if (txn_row(r->command, &r->args, &t->token)) plan_key(&p, buf_bytes(&t->token));
    plan_sort(t);
    plan_parts(t);
    if (c->fn == multi_exec && !t->nil) multi_watched_each(a.v[2], plan_watch, t);
    t->free_of_room = !(r->command->flags & CMD_DENYOOM);
}

/* ---- of an open one ---- */

static void join_key(void *ctx, struct bytes key)
{
    struct planning *p = ctx;
    struct transaction *t = p->t;
    uint32_t i = item_place(t, key);
    if (i == t->items || !bytes_equal(t->item[i].key, key)) {
        item_room(t);
        memmove(&t->item[i + 1], &t->item[i], (t->items++ - i) * sizeof *t->item);
        t->item[i] = (struct item){.key = bytes_of(mem_dup(key.data, key.size), key.size),
                                   .mode = (uint8_t)p->mode,
                                   .part = UINT32_MAX,
                                   .round = t->round,
                                   .owned = true};
    } else if (t->item[i].mode < p->mode) {
        t->item[i].mode = (uint8_t)p->mode;
        t->item[i].round = t->round;
    }
}

static uint32_t join_part(struct transaction *t, uint32_t group)
{
    uint32_t i = transaction_part_of(t, group);
    if (i < t->parts) return i;
    t->parts++;
    t->part = mem_realloc(t->part, t->parts * sizeof *t->part);
    t->part[i] = (struct part){.group = group};
    t->state = mem_realloc(t->state, t->parts * sizeof *t->state);
    txn_grow(&t->machine, t->state, t->parts);
    return i;
}

void transaction_plan_more(struct transaction *t)
{
    const struct request *r = t->r;
    struct planning p = {t, txn_mode(r->command)};
    (void)command_keys(r->command, &r->args, join_key, &p);
    for (uint32_t i = 0; i < t->items; i++)
        if (t->item[i].part == UINT32_MAX)
            t->item[i].part = join_part(t, t->node->slot_group[slot_of(t->item[i].key)]);
    if (r->command->flags & CMD_DENYOOM) t->free_of_room = false;
}

uint32_t transaction_plan_key(struct transaction *t, struct bytes key, enum lock_mode mode)
{
    struct planning p = {t, mode};
    t->round++;
    t->roams = true;
    join_key(&p, key);
    struct item *item = transaction_item_of(t, key);
    if (item->part == UINT32_MAX) item->part = join_part(t, t->node->slot_group[slot_of(key)]);
    return item->part;
}

/* Behind all keys. */
void transaction_plan_token(struct transaction *t)
{
    struct bytes row = buf_bytes(&t->token);
    item_room(t);
    t->item[t->items++] =
        (struct item){.key = bytes_of(mem_dup(row.data, row.size), row.size),
                      .mode = LOCK_RECORD,
                      .part = join_part(t, t->node->slot_group[be16_get(row.data)]),
                      .round = t->round,
                      .owned = true};
}

void transaction_put_items(struct transaction *t, uint32_t i, bool all)
{
    struct buf *out = &t->part[i].items;
    buf_clear(out);
    for (uint32_t k = 0; k < t->items; k++)
        if (t->item[k].part == i && (all || t->item[k].round == t->round))
            locks_put_item(out, (enum lock_mode)t->item[k].mode, t->item[k].key);
}
