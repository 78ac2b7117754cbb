/* What maps gave, for reduces on other nodes: a FETCH is answered by a piece. What is in a file is
 * read off the reactor. */
#include "node/task.h"
#include "base/mem.h"

struct sending_output {
    struct list link; /* tasks->sends */
    struct node *node;
    struct job_output *output;
    struct io_work work;
    uint16_t to;
    struct job_msg m; /* the PIECE; but for its bytes */
    struct buf piece;
    bool good;
};

static struct job_msg piece_of(const struct job_msg *fetch)
{
    return (struct job_msg){.type = JOB_MSG_PIECE,
                            .job = fetch->job,
                            .epoch = fetch->epoch,
                            .task = fetch->task,
                            .number = fetch->number,
                            .partition = fetch->partition,
                            .offset = fetch->offset};
}

static void read_piece(void *ctx)
{
    struct sending_output *s = ctx;
    bool end = false;
    s->good =
        job_output_read(s->output, s->m.partition, s->m.offset, JOB_PIECE_BYTES, &s->piece, &end);
    s->m.status = !s->good ? JOB_PIECE_LOST : end ? JOB_PIECE_END : JOB_PIECE_MORE;
}

static void sending_free(struct sending_output *s)
{
    list_remove(&s->link);
    s->node->tasks->send_count--;
    job_output_release(s->output);
    buf_deinit(&s->piece);
    mem_free(s);
}

static void piece_read(void *ctx)
{
    struct sending_output *s = ctx;
    node_begin(s->node);
    if (s->good) s->m.piece = buf_bytes(&s->piece);
    (void)job_send(s->node, s->to, &s->m);
    sending_free(s);
}

static void send_piece(struct node *n, uint16_t to, struct job_output *o, const struct job_msg *m)
{
    struct tasks *t = n->tasks;
    if (t->send_count >= TASK_SENDS_MAX) return; /* it will ask again */
    struct sending_output *s = mem_zalloc(sizeof *s);
    *s =
        (struct sending_output){.node = n, .output = job_output_use(o), .to = to, .m = piece_of(m)};
    list_push(&t->sends, &s->link);
    t->send_count++;
    if (job_output_in_memory(o)) {
        read_piece(s);
        piece_read(s);
    } else {
        s->work = (struct io_work){.run = read_piece, .done = piece_read, .ctx = s, .batch = true};
        io_work(n->io, &s->work);
    }
}

void output_on_fetch(struct node *n, uint16_t from, const struct job_msg *m)
{
    struct task_attempt *a = attempt_find(n, m->job, m->epoch, m->task, m->number);
    if (a && a->state < TASK_ENDED) return; /* nobody can have named it yet */
    if (a && a->output && !attempt_reduces(a) && m->partition < a->reduces) {
        send_piece(n, from, a->output, m);
        return;
    }
    struct job_msg gone = piece_of(m);
    gone.status = JOB_PIECE_LOST;
    (void)job_send(n, from, &gone);
}

void outputs_free(struct node *n)
{
    struct tasks *t = n->tasks;
    while (!list_empty(&t->sends))
        sending_free(LIST_OF(t->sends.next, struct sending_output, link));
}
