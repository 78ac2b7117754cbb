/* A transaction over several groups at its coordinator: what txn.c (its life, what it asks and
 * answers), txn_plan.c (which keys, in which groups) and txn_eval.c (evaluating it) share. */
#ifndef SYNOD_NODE_TXN_H
#define SYNOD_NODE_TXN_H

#include "node/request.h"
#include "redis/txn.h"
#include "shard/rows.h"
#include "txn/txn.h"

struct item {
    struct bytes key; /* in the request's arguments, or `token` */
    uint8_t mode;     /* enum lock_mode */
    uint32_t part;
};

/* What the coordinator has of one group. */
struct part {
    uint32_t group;
    uint64_t token;
    uint64_t asks; /* answers to earlier ones are for nobody */
    uint8_t asked; /* the last effect of the machine; AGAIN repeats it */
    bool commit, again;
    struct buf items, watches, effects;
    struct buf lo, hi; /* LOCK: a range to read, too; empty: none */
    bool reverse;
};

struct transaction {
    struct list link; /* node->txns */
    struct node *node;
    struct request *r; /* NULL: it was answered, or another try has it */
    struct txn_id id;
    uint64_t start, deadline, begin_at, again_at;
    uint32_t tries, open, fetches; /* open: asks that were not answered */
    bool begun, over, retries, unwatched, free_of_room;
    bool nil; /* a request with a token, whose EXEC is nil unless it was done */
    struct txn machine;
    struct txn_part *state;
    struct part *part;
    uint32_t parts;
    struct item *item;
    uint32_t items;
    struct buf token; /* the key of the token's row, if there is one: an item too */
    struct rows *rows;
    int64_t now_ms;
    struct buf reply, error;
};

/* txn_plan.c: from the request's arguments, by the map as it is now. */
void transaction_plan(struct transaction *t);
/* Writes a part's locks, as they stand in the plan, into its `items`. */
void transaction_put_items(struct transaction *t, uint32_t part);
uint32_t transaction_part_of(const struct transaction *t, uint32_t group); /* t->parts: none */
/* Of a user's key; NULL: none. */
struct item *transaction_item_of(const struct transaction *t, struct bytes key);

/* txn_eval.c: evaluates it, and steps the machine by what came of that. */
void transaction_evaluate(struct transaction *t);

/* txn.c */
void transaction_event(struct transaction *t, uint8_t event, uint32_t part);
/* It cannot be done: answers the error that is in `reply`, or tries again; and lets go of all. */
void transaction_refuse(struct transaction *t);
void transaction_retry(struct transaction *t);

#endif
