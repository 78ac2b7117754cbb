/* What is left of jobs on a node (node.h), for those who check that nothing is. */
#include "node/job.h"
#include "shard/keys.h"
#include "shard/shard.h"
#include "store/space.h"

static bool count_row(void *ctx, struct bytes key, struct bytes value)
{
    uint32_t *rows = ctx;
    (void)value;
    *rows += key.data[KEYS_SYSTEM_HEAD] != 's'; /* pieces count by their 't': redis/job.h */
    return true;
}

void node_jobs(struct node *n, struct node_jobs *out)
{
    struct tasks_load load = tasks_load(n);
    struct buf lo = {0}, hi = {0};
    *out = (struct node_jobs){.attempts = load.running + load.waiting, .bytes = load.output_bytes};
    if (!n->group_count || !n->group[0]->shard || n->identity.witness) return;
    keys_kind(&lo, 0, KEYS_JOB);
    keys_kind(&hi, 0, KEYS_JOB + 1);
    (void)space_range_applied(n->group[0]->shard->space, buf_bytes(&lo), buf_bytes(&hi), true,
                              count_row, &out->rows);
    buf_deinit(&lo), buf_deinit(&hi);
}
