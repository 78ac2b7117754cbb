#include "job/engine.h"
#include "job/worker.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

enum { EVENTS_MAX = 64 }; /* of a worker, in one pump */

struct task_engine {
    struct task_engine_options o;
    struct worker *worker; /* one of the two, unless it failed at once */
    struct task_run *run;
    int spill_fd;
    bool direct; /* records need no framing */
    bool ended;  /* no more input */
    bool done, failed;
    struct task_counts counts; /* a worker's */
    struct buf frames;         /* of the record that is being fed */
    char error[TASK_ERROR_MAX];
};

static void fail(struct task_engine *e, const char *text)
{
    if (e->failed) return;
    e->failed = true;
    (void)snprintf(e->error, sizeof e->error, "%s", text);
}

/* Looks whether the run has failed. */
static void check_run(struct task_engine *e)
{
    const char *error = task_run_error(e->run);
    if (error) fail(e, error);
}

static void begin_worker(struct task_engine *e)
{
    struct worker_options wo = {.nursery = e->o.nursery, .spill_fd = e->spill_fd};
    char error[WORKER_ERROR_MAX];
    e->worker = worker_spawn(&wo, e->o.spec, &e->o.task, error);
    if (!e->worker) fail(e, error);
}

struct task_engine *task_engine_new(const struct task_engine_options *o)
{
    struct task_engine *e = mem_zalloc(sizeof *e);
    bool query = o->spec->kind == JOB_KIND_QUERY;
    *e = (struct task_engine){.o = *o, .spill_fd = -1, .direct = query};
    if (!query && o->dir) {
        char text[TASK_ERROR_MAX];
        e->spill_fd = worker_spill_open(o->dir);
        (void)snprintf(text, sizeof text, "no spill file can be made in %s (%s)", o->dir,
                       strerror(errno));
        if (e->spill_fd < 0) fail(e, text);
    }
    if (e->failed) return e;
    if (o->nursery && !query) {
        begin_worker(e);
        return e;
    }
    e->run = task_run_new(&(struct task_run_options){
        .spec = o->spec, .task = o->task, .spill_fd = e->spill_fd, .out = o->out, .ctx = o->ctx});
    check_run(e);
    return e;
}

void task_engine_free(struct task_engine *e)
{
    if (!e) return;
    worker_free(e->worker);
    task_run_free(e->run);
    if (e->spill_fd >= 0) (void)close(e->spill_fd);
    buf_deinit(&e->frames);
    mem_free(e);
}

/* ---- input ---- */

bool task_engine_has_room(const struct task_engine *e)
{
    if (e->ended || e->failed) return false;
    return !e->worker || worker_room(e->worker) >= TASK_ENGINE_PIECE;
}

void task_engine_feed(struct task_engine *e, struct bytes piece)
{
    if (e->failed) return;
    if (e->worker) {
        worker_input(e->worker, piece);
    } else {
        (void)task_run_feed(e->run, piece);
        check_run(e);
    }
}

/* False: an item is too large for any record. */
static bool put_items(struct buf *out, const struct record *r)
{
    struct record_item item;
    struct record_writer w = record_begin(out, r->type, r->key, r->further);
    struct reader at = record_items(r);
    while (record_item(r, &at, &item)) {
        if (record_part_full(&w)) {
            record_end(&w);
            w = record_begin(out, r->type, r->key, true);
        }
        if (!record_put_item(&w, &item)) return false;
    }
    record_end(&w);
    return true;
}

void task_engine_record(struct task_engine *e, const struct record *r)
{
    if (e->failed) return;
    if (e->direct) {
        (void)task_run_record(e->run, r);
        check_run(e);
        return;
    }
    buf_clear(&e->frames);
    bool fits = r->type == RECORD_STRING ? record_put_string(&e->frames, r->key, r->rest)
                                         : put_items(&e->frames, r);
    if (fits) {
        task_engine_feed(e, buf_bytes(&e->frames));
    } else {
        char text[TASK_ERROR_MAX];
        (void)snprintf(text, sizeof text,
                       "the value of key '%.*s' is larger than 64 MiB, which no job can read",
                       (int)(r->key.size < 100 ? r->key.size : 100), (const char *)r->key.data);
        fail(e, text);
    }
    if (e->frames.capacity > 4 * RECORD_PART_BYTES) buf_deinit(&e->frames);
}

void task_engine_end(struct task_engine *e)
{
    if (e->ended || e->failed) return;
    e->ended = true;
    if (e->worker) worker_end(e->worker);
}

/* ---- going on ---- */

static void on_event(struct task_engine *e, const struct worker_event *ev)
{
    char why[TASK_ERROR_MAX];
    switch (ev->type) {
    case WORKER_EV_OUT:
        if (!e->o.out(e->o.ctx, ev->partition, ev->pairs, why)) fail(e, why);
        return;
    case WORKER_EV_DONE:
        e->done = true;
        e->counts.pairs_out = ev->pairs_out;
        e->counts.bytes_out = ev->bytes_out;
        /* fall through */
    case WORKER_EV_PROGRESS:
        e->counts.records = ev->records;
        e->counts.bytes = ev->bytes;
        return;
    default: fail(e, ev->error);
    }
}

static void pump_worker(struct task_engine *e, int wait_ms)
{
    struct worker_event ev;
    struct worker *w = e->worker;
    (void)worker_write(w);
    struct pollfd p = {.fd = worker_fd(w),
                       .events = (short)(POLLIN | (worker_wants_write(w) ? POLLOUT : 0))};
    if (poll(&p, 1, wait_ms) <= 0) return;
    if (p.revents & POLLOUT) (void)worker_write(w);
    for (int i = 0; i < EVENTS_MAX && !e->done && !e->failed; i++) {
        if ((ev = worker_next(w)).type == WORKER_EV_NOTHING) return;
        on_event(e, &ev);
    }
}

enum task_engine_state task_engine_pump(struct task_engine *e, int wait_ms)
{
    if (!e->failed && !e->done && e->worker) {
        pump_worker(e, wait_ms);
    } else if (!e->failed && !e->done && e->ended) {
        e->done = task_run_end(e->run);
        check_run(e);
    }
    return e->failed ? TASK_ENGINE_FAILED : e->done ? TASK_ENGINE_DONE : TASK_ENGINE_RUNS;
}

const char *task_engine_error(const struct task_engine *e)
{
    return e->error;
}

struct task_counts task_engine_counts(const struct task_engine *e)
{
    return e->run ? *task_run_counts(e->run) : e->counts;
}
