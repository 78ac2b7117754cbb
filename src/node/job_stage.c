/* A reduce's output goes to group 0, piece by piece: rows that its job's publication takes, if this
 * attempt wins. Each piece is asked to be there until it is; the attempt ends when group 0 says
 * that its epoch is over. */
#include "node/task.h"
#include "node/request.h"
#include "base/mem.h"

struct staging { /* one that is asked for; the attempt may be gone when the answer comes */
    struct node *node;
    uint64_t job, epoch;
    uint32_t task, number, piece;
};

static void answered(struct task_attempt *a, struct bytes reply)
{
    int64_t good;
    size_t line;
    a->asking = false;
    if (!request_reply_number(reply, ':', &good, &line)) {
        a->retry_at = a->node->now + TASK_AGAIN;
    } else if (!good) {
        attempt_forget(a);
    } else {
        a->piece++;
        a->staged += a->pairs.size;
        a->bytes = a->staged;
        buf_clear(&a->pairs);
        attempt_step(a, attempt_read_staged);
    }
}

static void staged(void *ctx, struct bytes reply)
{
    struct staging s = *(struct staging *)ctx;
    mem_free(ctx);
    if (s.node->dead) return;
    struct task_attempt *a = attempt_find(s.node, s.job, s.epoch, s.task, s.number);
    if (a && a->state == TASK_STAGES && a->asking && a->piece == s.piece) answered(a, reply);
}

static struct bytes number(struct buf *out, uint64_t v)
{
    buf_u64(out, v);
    return bytes_of(out->data + out->size - 8, 8);
}

void stage_next(struct task_attempt *a)
{
    uint8_t room[5 * 8];
    struct buf numbers = {.data = room, .capacity = sizeof room};
    if (!a->pairs.size) {
        attempt_end(a, JOB_REPORT_DONE);
        return;
    }
    struct staging *s = mem_alloc(sizeof *s);
    *s = (struct staging){a->node, a->id, a->epoch, a->task, a->number, a->piece};
    struct bytes word[] = {BYTES("STAGE"),
                           number(&numbers, a->id),
                           number(&numbers, a->task),
                           number(&numbers, a->epoch),
                           number(&numbers, a->number),
                           number(&numbers, a->piece),
                           buf_bytes(&a->pairs)};
    a->asking = true;
    a->retry_at = UINT64_MAX;
    txn_ask_for(a->node, 0,
                &(struct txn_question){.name = "synod|job",
                                       .arg = word,
                                       .count = sizeof word / sizeof *word,
                                       .done = staged,
                                       .ctx = s});
}
