/* What the winners of a job's reduces staged in group 0, read piece by piece; and questions about
 * jobs to group 0, as all files about jobs ask them. */
#include "base/mem.h"
#include "node/job_internal.h"
#include "node/request.h"

/* ---- questions ---- */

struct errand {
    struct list link; /* jobs->errands */
    struct node *node;
    jobs_answer *done; /* NULL: nobody waits any more */
    void *ctx;
};

static void answered(void *ctx, struct bytes reply)
{
    struct errand *e = ctx;
    jobs_answer *done = e->done;
    void *to = e->ctx;
    bool dead = e->node->dead;
    list_remove(&e->link);
    mem_free(e);
    if (done && !dead) done(to, reply);
}

static struct errand *errand(struct node *n, jobs_answer *done, void *ctx)
{
    struct errand *e = mem_zalloc(sizeof *e);
    e->node = n;
    e->done = done;
    e->ctx = ctx;
    list_push(&n->jobs->errands, &e->link);
    return e;
}

void jobs_ask(struct node *n, const char *name, const struct bytes *arg, uint32_t count,
              jobs_answer *done, void *ctx)
{
    txn_ask(n, 0, name, arg, count, answered, errand(n, done, ctx));
}

#define NUMBERS_MAX 6

void jobs_ask_numbers(struct node *n, const char *name, const char *word, const uint64_t *number,
                      uint32_t numbers, struct bytes last, jobs_answer *done, void *ctx)
{
    struct bytes arg[NUMBERS_MAX + 2] = {bytes_str(word)};
    struct buf text = {0};
    uint32_t count = 1;
    for (uint32_t i = 0; i < numbers; i++) buf_u64(&text, number[i]);
    for (uint32_t i = 0; i < numbers; i++) arg[count++] = bytes_of(text.data + (size_t)8 * i, 8);
    if (last.data) arg[count++] = last;
    jobs_ask(n, name, arg, count, done, ctx);
    buf_deinit(&text);
}

struct request *jobs_request(struct node *n, const char *name, jobs_answer *done, void *ctx)
{
    struct request *r = request_new(n);
    request_take(r, command_named(name), &(struct cmd_args){0}, 2);
    r->group = UINT32_MAX;
    r->state = REQUEST_RUNNING;
    r->children = 1; /* it has its own end */
    r->done = answered;
    r->done_ctx = errand(n, done, ctx);
    return r;
}

void jobs_publish(struct node *n, const struct cmd_args *a, jobs_answer *done, void *ctx)
{
    txn_run(n, "synod|job-publish", a, answered, errand(n, done, ctx));
}

void jobs_forget(struct node *n, const void *ctx)
{
    for (struct list *l = n->jobs->errands.next; l != &n->jobs->errands; l = l->next) {
        struct errand *e = LIST_OF(l, struct errand, link);
        if (e->ctx == ctx) e->done = NULL;
    }
}

void jobs_nobody(void *ctx, struct bytes reply)
{
    (void)ctx, (void)reply;
}

void jobs_errands_free(struct node *n)
{
    struct list *l;
    while ((l = list_pop(&n->jobs->errands))) mem_free(LIST_OF(l, struct errand, link));
}

bool jobs_said(struct bytes reply, int64_t what)
{
    int64_t number;
    size_t line;
    return request_reply_number(reply, ':', &number, &line) && number == what;
}

bool jobs_bulk(struct bytes reply, struct bytes *bulk, bool *nil)
{
    int64_t size;
    size_t line;
    *nil = false;
    if (!request_reply_number(reply, '$', &size, &line)) return false;
    *nil = size < 0;
    *bulk = bytes_of(reply.data + line, *nil ? 0 : (size_t)size);
    return !*nil;
}

/* ---- gathering ---- */

struct gather {
    struct node *node;
    uint64_t job;
    struct gather_winner *winner;
    uint32_t count, at;
    uint64_t piece;
    size_t bytes_max;
    struct buf pairs;
    gather_done *done;
    void *ctx;
};

void gather_cancel(struct gather *g)
{
    jobs_forget(g->node, g);
    buf_deinit(&g->pairs);
    mem_free(g->winner);
    mem_free(g);
}

static void gather_end(struct gather *g, const char *error)
{
    gather_done *done = g->done;
    void *ctx = g->ctx;
    struct buf pairs = g->pairs;
    g->pairs = (struct buf){0};
    gather_cancel(g);
    done(ctx, buf_bytes(&pairs), error);
    buf_deinit(&pairs);
}

static void piece_came(void *ctx, struct bytes reply);

static void gather_ask(struct gather *g)
{
    const struct gather_winner *w = &g->winner[g->at];
    jobs_ask_numbers(g->node, "synod|job-read", "STAGED",
                     (uint64_t[]){g->job, w->task, w->attempt.epoch, w->attempt.number, g->piece},
                     5, (struct bytes){0}, piece_came, g);
}

static void piece_came(void *ctx, struct bytes reply)
{
    struct gather *g = ctx;
    struct bytes piece;
    bool nil;
    if (jobs_bulk(reply, &piece, &nil)) {
        buf_append_bytes(&g->pairs, piece);
        g->piece++;
    } else if (nil) {
        g->at++;
        g->piece = 0;
    } else {
        gather_end(g, "TRYAGAIN the result could not be read from group 0 now; send it again");
        return;
    }
    if (g->pairs.size > g->bytes_max)
        gather_end(g, "ERR the result is larger than may be read or published at once (64 MiB); "
                      "reduce to less");
    else if (g->at == g->count)
        gather_end(g, NULL);
    else
        gather_ask(g);
}

struct gather *gather_begin(struct node *n, uint64_t job, const struct gather_winner *winner,
                            uint32_t count, size_t bytes_max, gather_done *done, void *ctx)
{
    struct gather *g = mem_zalloc(sizeof *g);
    *g = (struct gather){.node = n,
                         .job = job,
                         .winner = mem_dup(winner, count * sizeof *winner),
                         .count = count,
                         .bytes_max = bytes_max,
                         .done = done,
                         .ctx = ctx};
    gather_ask(g);
    return g;
}

bool gather_next(struct reader *pairs, struct gather_pair *out)
{
    *out = (struct gather_pair){.key = reader_blob(pairs)};
    struct bytes value = reader_blob(pairs);
    if (pairs->bad || !task_value_get(value, &out->value)) return false;
    if (out->value.kind == TASK_ROW) out->note = out->value.bytes.size && out->value.bytes.data[0];
    return true;
}
