/* The worker's side: one attempt, from START to DONE or ERROR. */
#include "job/task_run.h"
#include "job/worker.h"
#include "job/worker_sandbox.h"
#include "base/mem.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <signal.h>
#include <linux/close_range.h>

enum { READ_BYTES = 64 << 10 };

struct work {
    struct worker_task task;
    struct job_spec spec;
    struct buf start, in, frame; /* START's payload; frames that came; the one that goes */
    size_t used;                 /* of `in` */
    struct task_run *volatile run;
    int spill_fd;
    volatile sig_atomic_t writing; /* a frame: no other may come between */
    bool failed, ended;
};

static void write_all(const void *data, size_t size)
{
    const uint8_t *at = data;
    while (size) {
        ssize_t n = write(WORKER_FD, at, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) _exit(1); /* the parent is gone */
        at += n;
        size -= (size_t)n;
    }
}

static void frame_send(struct work *w, enum worker_frame type, struct bytes payload)
{
    w->writing = 1;
    buf_clear(&w->frame);
    buf_u32(&w->frame, (uint32_t)payload.size + 1);
    buf_u8(&w->frame, (uint8_t)type);
    buf_append_bytes(&w->frame, payload);
    write_all(w->frame.data, w->frame.size);
    w->writing = 0;
}

static void frame_send_pairs(struct work *w, uint32_t partition, struct bytes pairs)
{
    w->writing = 1;
    buf_clear(&w->frame);
    buf_u32(&w->frame, 0);
    buf_u8(&w->frame, WORKER_OUT);
    buf_varint(&w->frame, partition);
    buf_append_bytes(&w->frame, pairs);
    for (int i = 0; i < 4; i++) w->frame.data[i] = (uint8_t)((w->frame.size - 4) >> 8 * i);
    write_all(w->frame.data, w->frame.size);
    w->writing = 0;
}

static bool fail(struct work *w, const char *format, ...)
{
    char text[WORKER_ERROR_MAX];
    va_list args;
    if (w->failed) return false;
    w->failed = true;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    frame_send(w, WORKER_ERROR, bytes_str(text));
    return false;
}

static void counts_put(uint8_t *to, uint64_t v)
{
    for (int i = 0; i < 8; i++) to[i] = (uint8_t)(v >> 8 * i);
}

/* PROGRESS or DONE, without any memory: the heartbeat is a signal's. */
static void send_counts(enum worker_frame type, const uint64_t *v, int count)
{
    uint8_t frame[5 + 4 * 8] = {(uint8_t)(1 + 8 * count), 0, 0, 0, (uint8_t)type};
    for (int i = 0; i < count; i++) counts_put(frame + 5 + 8 * i, v[i]);
    write_all(frame, 5 + 8 * (size_t)count);
}

/* The only global: a signal has no other way to what it is about. */
static struct work *beating;

/* Once a second, whatever the user's code is at: the worker lives, and is so far. Not in the midst
 * of another frame. */
static void beat(int signal_number)
{
    const struct work *w = beating;
    int saved = errno;
    (void)signal_number;
    if (!w->writing && !w->failed && !w->ended) {
        static const struct task_counts none;
        const struct task_counts *c = w->run ? task_run_counts(w->run) : &none;
        send_counts(WORKER_PROGRESS,
                    (uint64_t[]){c->records, c->bytes, w->run ? task_run_spilled(w->run) : 0}, 3);
    }
    errno = saved;
}

static bool start_beating(struct work *w)
{
    struct sigaction action = {.sa_handler = beat, .sa_flags = SA_RESTART};
    struct itimerval second = {{1, 0}, {1, 0}};
    beating = w;
    return sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &second, NULL) == 0;
}

/* ---- output ---- */

static bool send_pairs(void *ctx, uint32_t partition, struct bytes pairs, char *why)
{
    (void)why;
    frame_send_pairs(ctx, partition, pairs);
    return true;
}

static bool failed(struct work *w)
{
    return fail(w, "%s", task_run_error(w->run));
}

static bool finish(struct work *w)
{
    if (!task_run_end(w->run)) return failed(w);
    const struct task_counts *c = task_run_counts(w->run);
    w->ended = true; /* no heartbeat after the last word */
    send_counts(WORKER_DONE, (uint64_t[]){c->records, c->bytes, c->pairs_out, c->bytes_out}, 4);
    return true;
}

/* ---- beginning ---- */

static bool decode_start(struct work *w)
{
    struct reader r = reader_of(buf_bytes(&w->start));
    w->task.task = (uint32_t)reader_varint(&r);
    w->task.attempt = (uint32_t)reader_varint(&r);
    w->task.tasks = (uint32_t)reader_varint(&r);
    uint64_t partitions = reader_varint(&r);
    w->task.reduces = reader_u8(&r);
    w->task.partitions = (uint32_t)partitions;
    return !r.bad && partitions >= 1 && partitions <= JOB_PARTITIONS_MAX &&
           job_spec_decode(bytes_of(r.at, reader_left(&r)), &w->spec);
}

static bool begin(struct work *w, struct bytes payload)
{
    const char *step;
    /* By now it is the child of who wrote this, and not of the nursery's (nursery.h). */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    buf_append_bytes(&w->start, payload);
    if (!decode_start(w)) return fail(w, "the task came damaged, or from another version");
    const struct job_limits *l = &w->spec.limits;
    uint64_t file = w->spill_fd < 0 ? 0 : l->spill;
    struct worker_limits limits = {
        .memory = l->memory + (64u << 20), .cpu_ms = l->cpu_ms, .file = file};
    if (!worker_sandbox(&limits, &step))
        return fail(w, "a worker cannot lock itself in (%s: %s); it does not run without that",
                    step, strerror(errno));
    w->run = task_run_new(&(struct task_run_options){
        .spec = &w->spec, .task = w->task, .spill_fd = w->spill_fd, .out = send_pairs, .ctx = w});
    return !task_run_error(w->run) || failed(w);
}

static bool on_frame(struct work *w, uint8_t type, struct bytes payload)
{
    bool begun = w->run != NULL;
    if (type == WORKER_START && !begun) return begin(w, payload);
    if (type == WORKER_INPUT && begun) return task_run_feed(w->run, payload) || failed(w);
    if (type == WORKER_END && begun) return finish(w);
    return fail(w, "an unknown message came from the node");
}

/* Handles all whole frames that are there. False: it is over. */
static bool frames(struct work *w)
{
    for (;;) {
        struct reader r = reader_of(bytes_of(w->in.data + w->used, w->in.size - w->used));
        uint32_t size = reader_u32(&r);
        if (!r.bad && (size == 0 || size > WORKER_FRAME_MAX))
            return fail(w, "a frame came damaged");
        if (r.bad || reader_left(&r) < size) break;
        w->used += 4 + size;
        if (!on_frame(w, r.at[0], bytes_of(r.at + 1, size - 1)) || w->ended || w->failed)
            return false;
    }
    buf_drop_front(&w->in, w->used);
    w->used = 0;
    return true;
}

/* False: the parent is gone. */
static bool receive(struct work *w)
{
    ssize_t n = read(WORKER_FD, buf_reserve(&w->in, READ_BYTES), READ_BYTES);
    if (n <= 0) return n < 0 && errno == EINTR;
    w->in.size += (size_t)n;
    return true;
}

static void close_others(int spill_fd)
{
    (void)close_range((unsigned)(spill_fd < 0 ? WORKER_FD : WORKER_SPILL_FD) + 1, ~0u, 0);
}

int worker_main(void)
{
    struct work w = {.spill_fd = lseek(WORKER_SPILL_FD, 0, SEEK_CUR) < 0 ? -1 : WORKER_SPILL_FD};
    close_others(w.spill_fd);
    (void)setenv("TZ", "UTC0", 1); /* else the C library would look for a file */
    (void)sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){0}); /* see host/pool.h */
    tzset();
    if (!start_beating(&w)) _exit(1);
    while (frames(&w) && receive(&w)) continue;
    _exit(w.ended || w.failed ? 0 : 1);
}
