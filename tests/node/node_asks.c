#include "node_asks.h"
#include "node/internal.h"

void asks_ask(struct node *n, const char *name, const struct cmd_args *a, node_asked *done,
              void *ctx)
{
    txn_ask(n, 0, name, a->v, a->count, done, ctx);
}

void asks_run(struct node *n, const char *name, const struct cmd_args *a, node_asked *done,
              void *ctx)
{
    txn_run(n, name, a, done, ctx);
}

struct txn_id asks_txn_id(const struct node *n, uint64_t seq)
{
    uint64_t life = n->identity.incarnation & ((1ull << 48) - 1);
    return (struct txn_id){(uint64_t)n->identity.node << 48 | life, seq};
}
