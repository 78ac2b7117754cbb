/* What a node asks of its own, for tests that are clients otherwise (both know a struct client). */
#ifndef SYNOD_TESTS_NODE_NODE_ASKS_H
#define SYNOD_TESTS_NODE_NODE_ASKS_H

#include "node/node.h"
#include "redis/command.h"
#include "shard/locks.h"

typedef void node_asked(void *ctx, struct bytes reply);
/* txn_ask of group 0, txn_run. */
void asks_ask(struct node *n, const char *name, const struct cmd_args *a, node_asked *done,
              void *ctx);
void asks_run(struct node *n, const char *name, const struct cmd_args *a, node_asked *done,
              void *ctx);
/* Of a transaction that this node might coordinate. */
struct txn_id asks_txn_id(const struct node *n, uint64_t seq);

#endif
