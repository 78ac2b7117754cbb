/* Transactions that all have finished are forgotten at their anchors, many at a time: nobody waits
 * for it, and an entry for each would be a fifth of all that transactions write. What is lost on
 * the way, with a leader or this node, the anchor's leader finds by its age (txn_leader.c). */
#include "node/txn.h"
#include "base/mem.h"
#include "redis/txn.h"

#define FORGET_AFTER (20 * MS)
#define FORGET_BYTES 4096 /* of ids: no longer than that is waited */

struct forgets {
    struct buf *ids; /* by group */
    uint32_t groups;
    uint64_t at; /* 0: nothing is to be forgotten */
};

static void told(void *ctx, struct bytes reply)
{
    (void)ctx, (void)reply;
}

static void tell(struct node *n, uint32_t group)
{
    struct buf ids = n->forgets->ids[group];
    n->forgets->ids[group] = (struct buf){0};
    struct bytes arg = buf_bytes(&ids);
    txn_ask(n, group, "synod|forget", &arg, 1, told, NULL);
    buf_deinit(&ids);
}

void txn_forget_later(struct node *n, uint32_t group, struct txn_id id)
{
    if (!n->forgets) n->forgets = mem_zalloc(sizeof *n->forgets);
    struct forgets *f = n->forgets;
    if (group >= f->groups) {
        uint32_t groups = group + 64;
        f->ids = mem_realloc(f->ids, groups * sizeof *f->ids);
        memset(f->ids + f->groups, 0, (groups - f->groups) * sizeof *f->ids);
        f->groups = groups;
    }
    txn_put_id(&f->ids[group], id);
    if (!f->at) f->at = n->now + FORGET_AFTER;
    if (f->ids[group].size >= FORGET_BYTES) tell(n, group);
}

void txn_forget_turn(struct node *n)
{
    struct forgets *f = n->forgets;
    if (!f || !f->at) return;
    if (n->now >= f->at) {
        f->at = 0;
        for (uint32_t i = 0; i < f->groups; i++)
            if (f->ids[i].size) tell(n, i);
    }
    if (f->at) txn_look_at(n, f->at);
}

void txn_forget_free(struct node *n)
{
    struct forgets *f = n->forgets;
    for (uint32_t i = 0; f && i < f->groups; i++) buf_deinit(&f->ids[i]);
    if (f) mem_free(f->ids);
    mem_free(f);
    n->forgets = NULL;
}
