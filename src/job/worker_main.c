/* The worker's side: one attempt, from START to DONE or ERROR. */
#include "job/aggregate.h"
#include "job/lua_task.h"
#include "job/task_value.h"
#include "job/worker.h"
#include "job/worker_sandbox.h"
#include "base/mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <signal.h>
#include <linux/close_range.h>

enum { OUT_BYTES = 64 << 10, NICE = 10, READ_BYTES = 64 << 10 };

struct work {
    struct worker_task task;
    struct job_spec spec;
    struct buf start, in, stream, out, frame; /* START's payload; frames; the input's rest; ... */
    size_t used;                              /* of `in` */
    uint32_t out_partition;
    struct lua_task *lua;
    struct aggregate *query;
    int spill_fd;
    uint64_t records, bytes, pairs_out, bytes_out;
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
    if (!w->writing && !w->failed && !w->ended)
        send_counts(WORKER_PROGRESS,
                    (uint64_t[]){w->records, w->bytes, w->lua ? lua_task_spilled(w->lua) : 0}, 3);
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

static void flush_out(struct work *w)
{
    if (w->out.size) frame_send(w, WORKER_OUT, buf_bytes(&w->out));
    buf_clear(&w->out);
}

static bool put_pair(void *ctx, uint32_t partition, struct bytes key, struct bytes value, char *why)
{
    struct work *w = ctx;
    if (w->out.size &&
        (partition != w->out_partition || w->out.size + key.size + value.size > OUT_BYTES))
        flush_out(w);
    if (!w->out.size) {
        buf_varint(&w->out, partition);
        w->out_partition = partition;
    }
    size_t was = w->out.size;
    buf_blob(&w->out, key);
    buf_blob(&w->out, value);
    w->pairs_out++;
    w->bytes_out += w->out.size - was;
    if (w->bytes_out <= w->spec.limits.output || !w->task.reduces) return true;
    (void)snprintf(why, LUA_TASK_ERROR_MAX,
                   "the output is more than %llu bytes; raise LIMITS OUTPUT, or emit less",
                   (unsigned long long)w->spec.limits.output);
    return false;
}

/* ---- queries ---- */

static bool query_result(struct work *w, enum aggregate_result result, const char *what)
{
    if (result == AGGREGATE_OK) return true;
    if (result == AGGREGATE_E_CORRUPT)
        return fail(w, "%s came damaged (task %u)", what, w->task.task);
    return fail(w,
                "the query needs more memory than %llu bytes (task %u, attempt %u); raise LIMITS "
                "MEMORY, or narrow MATCH",
                (unsigned long long)w->spec.limits.memory, w->task.task, w->task.attempt);
}

static bool query_partials(struct work *w)
{
    struct buf value = {0};
    char why[LUA_TASK_ERROR_MAX];
    bool good = true;
    for (uint32_t p = 0; good && p < w->task.partitions; p++) {
        buf_clear(&value);
        buf_u8(&value, TASK_PARTIAL);
        aggregate_encode(w->query, p, w->task.partitions, &value);
        if (value.size > SORTER_VALUE_MAX)
            good = fail(
                w, "a partial result is over 64 MiB; ask for more PARTITIONS, or narrow MATCH");
        else if (value.size > 1)
            good = put_pair(w, p, (struct bytes){0}, buf_bytes(&value), why);
    }
    buf_deinit(&value);
    return good;
}

static void query_row(void *ctx, const struct aggregate_row *row)
{
    struct work *w = ctx;
    struct buf value = {0};
    char why[LUA_TASK_ERROR_MAX];
    if (w->failed) return;
    buf_u8(&value, TASK_ROW);
    buf_u8(&value, row->note);
    for (int i = 1; i < row->count; i++) buf_blob(&value, row->cell[i]);
    if (!put_pair(w, 0, row->cell[0], buf_bytes(&value), why)) (void)fail(w, "%s", why);
    buf_deinit(&value);
}

/* ---- input ---- */

static bool one_record(struct work *w, const struct record *r)
{
    w->records += !r->further;
    if (w->query) return query_result(w, aggregate_feed(w->query, r), "a record");
    return lua_task_record(w->lua, r) || fail(w, "%s", lua_task_error(w->lua));
}

static bool one_pair(struct work *w, struct bytes key, struct bytes value)
{
    struct task_value v;
    w->records++;
    if (!w->query)
        return lua_task_pair(w->lua, key, value) || fail(w, "%s", lua_task_error(w->lua));
    if (!task_value_get(value, &v) || v.kind != TASK_PARTIAL)
        return query_result(w, AGGREGATE_E_CORRUPT, "a partial");
    return query_result(w, aggregate_merge(w->query, v.bytes), "a partial");
}

/* All whole pairs off the front. A length above its bound is no length. */
static bool eat_pairs(struct work *w, struct bytes *s)
{
    for (;;) {
        struct reader r = reader_of(*s);
        struct bytes key = reader_blob(&r), value = reader_blob(&r);
        if (r.bad) return s->size <= WORKER_FRAME_MAX || fail(w, "the input came damaged");
        if (!one_pair(w, key, value)) return false;
        *s = bytes_of(r.at, reader_left(&r));
    }
}

static bool eat_records(struct work *w, struct bytes *s)
{
    struct record r;
    enum record_result result;
    while ((result = record_next(s, &r)) == RECORD_OK)
        if (!one_record(w, &r)) return false;
    return result == RECORD_PARTIAL || fail(w, "the input came damaged");
}

/* What is left over waits for the next piece. */
static bool eat(struct work *w, struct bytes piece)
{
    struct bytes s = piece;
    w->bytes += piece.size;
    if (w->stream.size) {
        buf_append_bytes(&w->stream, piece);
        s = buf_bytes(&w->stream);
    }
    bool good = w->task.reduces ? eat_pairs(w, &s) : eat_records(w, &s);
    if (w->stream.size)
        buf_drop_front(&w->stream, w->stream.size - s.size);
    else
        buf_append_bytes(&w->stream, s);
    return good;
}

static bool finish(struct work *w)
{
    if (w->stream.size) return fail(w, "the input broke off in the midst of a record");
    if (w->spec.kind == JOB_KIND_TASKS && !w->task.reduces &&
        !lua_task_number(w->lua, w->task.tasks))
        return fail(w, "%s", lua_task_error(w->lua));
    if (w->lua && !lua_task_end(w->lua)) return fail(w, "%s", lua_task_error(w->lua));
    if (w->query && !w->task.reduces && !query_partials(w)) return false;
    if (w->query && w->task.reduces) aggregate_finish(w->query, query_row, w);
    if (w->failed) return false;
    flush_out(w);
    w->ended = true; /* no heartbeat after the last word */
    send_counts(WORKER_DONE, (uint64_t[]){w->records, w->bytes, w->pairs_out, w->bytes_out}, 4);
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
    buf_append_bytes(&w->start, payload);
    if (!decode_start(w)) return fail(w, "the task came damaged, or from another version");
    const struct job_limits *l = &w->spec.limits;
    uint64_t file = w->spill_fd < 0 ? 0 : l->spill;
    struct worker_limits limits = {
        .memory = l->memory + (64u << 20), .cpu_ms = l->cpu_ms, .file = file};
    if (!worker_sandbox(&limits, &step))
        return fail(w, "a worker cannot lock itself in (%s: %s); it does not run without that",
                    step, strerror(errno));
    if (w->spec.kind == JOB_KIND_QUERY) {
        w->query = aggregate_new(&w->spec, l->memory / 2); /* buffers double */
        return true;
    }
    w->lua = lua_task_new(&(struct lua_task_options){.spec = &w->spec,
                                                     .reduces = w->task.reduces,
                                                     .task = w->task.task,
                                                     .attempt = w->task.attempt,
                                                     .partitions = w->task.partitions,
                                                     .memory_max = l->memory,
                                                     .spill_fd = w->spill_fd,
                                                     .spill_max = l->spill,
                                                     .out = put_pair,
                                                     .ctx = w});
    return !lua_task_error(w->lua) || fail(w, "%s", lua_task_error(w->lua));
}

static bool on_frame(struct work *w, uint8_t type, struct bytes payload)
{
    bool begun = w->query || w->lua;
    if (type == WORKER_START && !begun) return begin(w, payload);
    if (type == WORKER_INPUT && begun) return eat(w, payload);
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
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setenv("TZ", "UTC0", 1); /* else the C library would look for a file */
    (void)setpriority(PRIO_PROCESS, 0, NICE);
    tzset();
    if (!start_beating(&w)) _exit(1);
    while (frames(&w) && receive(&w)) continue;
    _exit(w.ended || w.failed ? 0 : 1);
}
