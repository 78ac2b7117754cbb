/* A reduce gets its input: its partition of every map's output, of a few of them at once, piece by
 * piece. Pieces may be lost, and come twice: each is asked for by its offset, and again after a
 * while. */
#include "node/task.h"
#include "base/assert.h"
#include "base/mutant.h"

static uint32_t partition_of(const struct task_attempt *a)
{
    return a->task - a->maps;
}

static void ask(struct task_attempt *a, struct fetch *f)
{
    struct job_msg m = {.type = JOB_MSG_FETCH,
                        .job = a->id,
                        .epoch = f->input.attempt.epoch,
                        .task = f->map,
                        .number = f->input.attempt.number,
                        .partition = partition_of(a),
                        .offset = f->offset};
    f->asked = true;
    f->asked_at = a->node->now;
    (void)job_send(a->node, f->input.node, &m);
}

static void lost(struct task_attempt *a, const struct fetch *f)
{
    a->lost = f->map;
    a->winner = f->input.attempt;
    attempt_end(a, JOB_REPORT_LOST);
}

/* Reduces begin at different maps, so that not all ask the same node at once. */
static void open_next(struct task_attempt *a, struct fetch *f)
{
    struct node *n = a->node;
    uint32_t map = (a->next_map++ + partition_of(a)) % a->maps;
    *f = (struct fetch){.open = true, .map = map, .heard_at = n->now};
    f->input = job_input_get(buf_bytes(&a->inputs), map);
    if (f->input.node != n->identity.node) {
        ask(a, f);
        return;
    }
    struct task_attempt *from =
        attempt_find(n, a->id, f->input.attempt.epoch, map, f->input.attempt.number);
    if (from && from->output && from->state == TASK_ENDED)
        f->local = job_output_use(from->output);
    else
        lost(a, f);
}

static void close_one(struct fetch *f)
{
    job_output_release(f->local);
    buf_deinit(&f->arrived);
    buf_deinit(&f->taken);
    *f = (struct fetch){0};
}

void fetch_free(struct task_attempt *a)
{
    for (int i = 0; i < TASK_FETCHES; i++) close_one(&a->fetch[i]);
}

/* Gives the next step what came, and asks for what follows it. */
static void take(struct task_attempt *a, struct fetch *f)
{
    if (!f->came) return;
    buf_append_bytes(&f->taken, buf_bytes(&f->arrived));
    f->offset += f->arrived.size;
    f->whole = f->last;
    buf_clear(&f->arrived);
    f->came = false;
    if (!f->last) ask(a, f);
}

void fetch_go_on(struct task_attempt *a)
{
    ASSERT(!a->working);
    bool open = false;
    for (int i = 0; i < TASK_FETCHES && !a->ending && a->state == TASK_RUNS; i++) {
        struct fetch *f = &a->fetch[i];
        if (f->fed) close_one(f);
        if (!f->open && a->next_map < a->maps) open_next(a, f);
        if (f->open) take(a, f);
        a->more |= f->open && (f->local || f->whole || f->taken.size > f->left);
        open |= f->open;
    }
    a->no_more_maps = !open && a->next_map == a->maps;
}

void fetch_on_piece(struct task_attempt *a, uint16_t from, const struct job_msg *m)
{
    for (int i = 0; i < TASK_FETCHES; i++) {
        struct fetch *f = &a->fetch[i];
        const struct job_attempt *winner = &f->input.attempt;
        bool same = f->open && f->asked && f->input.node == from && f->map == m->task &&
                    winner->epoch == m->epoch && winner->number == m->number &&
                    partition_of(a) == m->partition &&
                    (f->offset == m->offset || MUTANT(MUTANT_JOB_PIECE_TWICE));
        if (!same) continue;
        bool gone = m->status == JOB_PIECE_LOST;
        if (gone && !MUTANT(MUTANT_JOB_LOST_IS_END)) {
            lost(a, f);
            return;
        }
        f->asked = false;
        f->heard_at = a->node->now;
        f->came = true;
        f->last = m->status == JOB_PIECE_END || gone;
        buf_append_bytes(&f->arrived, m->piece);
        attempt_next(a);
        return;
    }
}

void fetch_slow(struct task_attempt *a)
{
    uint64_t now = a->node->now;
    for (int i = 0; i < TASK_FETCHES && !a->ending && a->state == TASK_RUNS; i++) {
        struct fetch *f = &a->fetch[i];
        if (!f->open || !f->asked || now - f->asked_at < TASK_FETCH_AGAIN) continue;
        if (!ring_node_heard(a->node, f->input.node))
            lost(a, f); /* its node is gone: the map runs again elsewhere */
        else if (now - f->heard_at < TASK_FETCH_MAX)
            ask(a, f);
        else
            attempt_fail(a, JOB_REPORT_FAILED,
                         "cannot reach node %u, which has the output of map %u", f->input.node,
                         f->map);
    }
}
