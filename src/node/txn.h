/* A transaction over several groups at its coordinator: what txn.c (its life, what it asks and
 * answers), txn_plan.c (which keys, in which groups), txn_eval.c (evaluating it) and session.c
 * (BEGIN: its commands come one by one) share. */
#ifndef SYNOD_NODE_TXN_H
#define SYNOD_NODE_TXN_H

#include "node/request.h"
#include "redis/txn.h"
#include "shard/rows.h"
#include "txn/txn.h"

struct item {
    struct bytes key; /* in the request's arguments, or `token`, or its own */
    uint8_t mode;     /* enum lock_mode */
    uint32_t part;
    uint32_t round; /* the last one that asked for more of it */
    bool owned;     /* the key is the item's own copy */
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
    uint64_t start, began_at, deadline, begin_at, again_at;
    uint32_t tries, open, fetches; /* open: asks that were not answered */
    bool begun, over, retries, unwatched, free_of_room;
    bool nil; /* a request with a token, whose EXEC is nil unless it was done */
    struct txn machine;
    struct txn_part *state;
    struct part *part;
    uint32_t parts;
    struct item *item;
    uint32_t items, item_capacity;
    struct buf token; /* the key of its row (txn_row), if there is one: an item too */
    struct rows *rows;
    int64_t now_ms;
    uint64_t seed;   /* of all its evaluations */
    bool roams;      /* scripts came to keys that nobody had named */
    uint32_t wanted; /* the part of the one that ended this evaluation; UINT32_MAX: none */
    uint64_t spent;  /* ns, in evaluations */
    struct buf reply, error;
    struct txn_trace *trace; /* NULL: nobody wants to see its path */
    /* An open one: BEGIN was said, and its commands come one by one. */
    struct view *view;       /* what they have written; NULL: it is none */
    struct session *session; /* its client's; NULL: that has gone, or said COMMIT or ROLLBACK */
    uint32_t round;          /* of them */
    bool waits;              /* its command may not begin yet */
    uint64_t wait_until, ask_at;
};

static inline bool transaction_idle(const struct transaction *t)
{
    return t->view && !t->r && !t->over && t->machine.phase == TXN_EVALUATING;
}

/* txn_plan.c: from the request's arguments, by the map as it is now. */
void transaction_plan(struct transaction *t);
/* Of an open one: the keys of the command that it has now come to those that it had. */
void transaction_plan_more(struct transaction *t);
/* While it is evaluated: another key, for the next evaluation. Returns its part. */
uint32_t transaction_plan_key(struct transaction *t, struct bytes key, enum lock_mode mode);
/* The row of the token that its COMMIT has. */
void transaction_plan_token(struct transaction *t);
/* Writes a part's locks, as they stand in the plan, into its `items`: those that are asked for
 * now, or all of them. */
void transaction_put_items(struct transaction *t, uint32_t part, bool all);
uint32_t transaction_part_of(const struct transaction *t, uint32_t group); /* t->parts: none */
/* Of a user's key; NULL: none. */
struct item *transaction_item_of(const struct transaction *t, struct bytes key);

/* txn_eval.c: evaluates it, and steps the machine by what came of that. */
void transaction_evaluate(struct transaction *t);
void transaction_open_view(struct transaction *t);

/* txn.c */
struct transaction *transaction_new(struct node *n, struct request *r);
void transaction_end_if_over(struct transaction *t);
/* Of one that begins now. */
uint64_t txn_age(struct node *n);
void transaction_event(struct transaction *t, uint8_t event, uint32_t part);
/* It cannot be done: answers the error that is in `reply`, or tries again; and lets go of all. */
void transaction_refuse(struct transaction *t);
void transaction_retry(struct transaction *t);
/* `reply` is what the client is told of its command. */
void transaction_answer(struct transaction *t);

/* Transactions are looked at again then, at the latest. */
void txn_look_at(struct node *n, uint64_t at);

/* txn_forget.c */
void txn_forget_later(struct node *n, uint32_t group, struct txn_id id);
void txn_forget_turn(struct node *n);

/* session.c: the transaction has ended by itself; why: an error's text. */
void session_ended(struct session *s, const char *why);
/* Begins the command that waits, if it may; asks whether all is still locked. */
void session_look(struct transaction *t);

/* txn_list.c: an id as people read it, node.life.number; and back (false: it is none). */
void txn_put_name(struct buf *out, struct txn_id id);
bool txn_get_name(struct bytes name, struct txn_id *id);
const char *txn_phase_name(const struct transaction *t);

/* txn_trace.c. All but the first are for those that are traced: t->trace is there. */
void txn_trace_begin(struct transaction *t);
void txn_trace_again(const struct transaction *t, struct transaction *next); /* another try */
void txn_trace_end(struct transaction *t);                                   /* this try is over */
/* Sends the client's reply, if it was waited for long enough; else sees to being called again. */
void txn_trace_look(struct transaction *t);
void txn_trace_drop(struct transaction *t); /* the node ends: nobody gets a reply */
/* A command of this full name is asked of a part. What it returns is for _answered; 0: not noted.
 */
uint32_t txn_trace_asked(struct transaction *t, uint32_t part, const char *name);
void txn_trace_answered(struct transaction *t, uint32_t step, uint32_t part, struct bytes reply,
                        struct bytes report);
void txn_trace_evaluates(struct transaction *t);
void txn_trace_evaluated(struct transaction *t, const char *outcome);
/* The request has its reply, which leaves once all is over. */
void txn_trace_answer(struct transaction *t, struct request *r);

#endif
