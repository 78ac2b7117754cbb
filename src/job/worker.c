/* The parent's side of a worker. */
#include "job/worker.h"
#include "base/mem.h"
#include "job/nursery.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READ_BYTES = 128 << 10 };

struct worker {
    pid_t pid;
    int fd;
    bool reaped, over, killed;
    struct buf out; /* to the worker */
    size_t sent;
    struct buf in;
    size_t used;
    struct job_limits limits;
    char error[WORKER_ERROR_MAX];
};

int worker_spill_open(const char *dir)
{
    return open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

static void frame_put(struct worker *w, enum worker_frame type, struct bytes payload)
{
    buf_u32(&w->out, (uint32_t)payload.size + 1);
    buf_u8(&w->out, (uint8_t)type);
    buf_append_bytes(&w->out, payload);
}

static void put_start(struct worker *w, const struct job_spec *spec, const struct worker_task *t)
{
    struct buf b = {0};
    buf_varint(&b, t->task);
    buf_varint(&b, t->attempt);
    buf_varint(&b, t->tasks);
    buf_varint(&b, t->partitions ? t->partitions : 1);
    buf_u8(&b, t->reduces);
    job_spec_encode(spec, &b);
    frame_put(w, WORKER_START, buf_bytes(&b));
    buf_deinit(&b);
}

struct worker *worker_spawn(const struct worker_options *o, const struct job_spec *spec,
                            const struct worker_task *task, char *error)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        (void)snprintf(error, WORKER_ERROR_MAX, "no socket for a worker (%s)", strerror(errno));
        return NULL;
    }
    struct worker *w = mem_zalloc(sizeof *w);
    (void)fcntl(pair[0], F_SETFL, O_NONBLOCK);
    w->pid = nursery_birth(o->nursery, pair[1], o->spill_fd, error, WORKER_ERROR_MAX);
    (void)close(pair[1]);
    if (w->pid < 0) {
        (void)close(pair[0]);
        mem_free(w);
        return NULL;
    }
    w->fd = pair[0];
    w->limits = spec->limits;
    put_start(w, spec, task);
    return w;
}

void worker_kill(struct worker *w)
{
    w->killed = true;
    if (!w->reaped) (void)kill(w->pid, SIGKILL);
}

static int reap(struct worker *w)
{
    int status = 0;
    while (!w->reaped && waitpid(w->pid, &status, 0) < 0 && errno == EINTR) continue;
    w->reaped = true;
    return status;
}

void worker_free(struct worker *w)
{
    if (!w) return;
    worker_kill(w);
    (void)reap(w);
    (void)close(w->fd);
    buf_deinit(&w->out);
    buf_deinit(&w->in);
    mem_free(w);
}

int worker_fd(const struct worker *w)
{
    return w->fd;
}

int worker_pid(const struct worker *w)
{
    return (int)w->pid;
}

bool worker_wants_write(const struct worker *w)
{
    return !w->over && w->sent < w->out.size;
}

size_t worker_room(const struct worker *w)
{
    size_t queued = w->out.size - w->sent;
    return queued < WORKER_QUEUE_MAX ? WORKER_QUEUE_MAX - queued : 0;
}

void worker_input(struct worker *w, struct bytes piece)
{
    while (piece.size) {
        size_t n = piece.size < WORKER_INPUT_MAX ? piece.size : WORKER_INPUT_MAX;
        frame_put(w, WORKER_INPUT, bytes_of(piece.data, n));
        piece = bytes_of(piece.data + n, piece.size - n);
    }
}

void worker_end(struct worker *w)
{
    frame_put(w, WORKER_END, (struct bytes){0});
}

bool worker_write(struct worker *w)
{
    while (w->sent < w->out.size) {
        ssize_t n = send(w->fd, w->out.data + w->sent, w->out.size - w->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN;
        w->sent += (size_t)n;
    }
    buf_clear(&w->out);
    w->sent = 0;
    return true;
}

/* ---- events ---- */

static struct worker_event failed(struct worker *w, bool user, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static struct worker_event failed(struct worker *w, bool user, const char *format, ...)
{
    va_list args;
    w->over = true;
    va_start(args, format);
    (void)vsnprintf(w->error, sizeof w->error, format, args);
    va_end(args);
    return (struct worker_event){.type = WORKER_EV_FAILED, .user = user, .error = w->error};
}

/* It is gone without a last word. */
static struct worker_event gone(struct worker *w)
{
    int status = reap(w), sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (w->killed) return failed(w, false, "the worker was killed");
    if (sig == SIGSYS)
        return failed(w, true,
                      "the task made a system call that is forbidden to it, and was killed");
    if (sig == SIGXCPU)
        return failed(w, true, "the task used more than %llu ms of CPU time; raise LIMITS CPU",
                      (unsigned long long)w->limits.cpu_ms);
    if (sig == SIGABRT)
        return failed(w, true, "the task ran out of memory (LIMITS MEMORY is %llu bytes)",
                      (unsigned long long)w->limits.memory);
    if (sig)
        return failed(w, false, "the worker was killed by signal %d (%s)", sig, strsignal(sig));
    return failed(w, false, "the worker ended without a word (exit status %d)",
                  WEXITSTATUS(status));
}

static struct worker_event of_counts(struct worker *w, enum worker_frame type, struct bytes payload)
{
    struct reader r = reader_of(payload);
    struct worker_event ev = {.records = reader_u64(&r), .bytes = reader_u64(&r)};
    uint64_t a = reader_u64(&r), b = type == WORKER_DONE ? reader_u64(&r) : 0;
    if (r.bad) return failed(w, false, "a frame of the worker is damaged");
    if (type == WORKER_DONE) {
        w->over = true;
        ev.type = WORKER_EV_DONE;
        ev.pairs_out = a;
        ev.bytes_out = b;
    } else {
        ev.type = WORKER_EV_PROGRESS;
        ev.spilled = a;
    }
    return ev;
}

static struct worker_event of_frame(struct worker *w, uint8_t type, struct bytes payload)
{
    struct reader r = reader_of(payload);
    switch (type) {
    case WORKER_OUT: {
        uint64_t partition = reader_varint(&r);
        if (r.bad || partition >= JOB_PARTITIONS_MAX) break;
        return (struct worker_event){.type = WORKER_EV_OUT,
                                     .partition = (uint32_t)partition,
                                     .pairs = bytes_of(r.at, reader_left(&r))};
    }
    case WORKER_PROGRESS:
    case WORKER_DONE: return of_counts(w, type, payload);
    case WORKER_ERROR:
        return failed(w, true, "%.*s",
                      (int)(payload.size < WORKER_ERROR_MAX ? payload.size : WORKER_ERROR_MAX),
                      (const char *)payload.data);
    }
    return failed(w, false, "a frame of the worker is damaged");
}

/* A worker is as little to be trusted as what runs in it: its frames are bounded before room is
 * made for them. */
static bool next_frame(struct worker *w, struct worker_event *ev)
{
    struct reader r = reader_of(bytes_of(w->in.data + w->used, w->in.size - w->used));
    uint32_t size = reader_u32(&r);
    if (r.bad) return false;
    if (size == 0 || size > WORKER_FRAME_MAX) {
        *ev = failed(w, false, "a frame of the worker is damaged");
        return true;
    }
    if (reader_left(&r) < size) return false;
    w->used += 4 + size;
    *ev = of_frame(w, r.at[0], bytes_of(r.at + 1, size - 1));
    return true;
}

struct worker_event worker_next(struct worker *w)
{
    struct worker_event ev = {.type = WORKER_EV_NOTHING};
    if (w->over || next_frame(w, &ev)) return ev;
    buf_drop_front(&w->in, w->used);
    w->used = 0;
    ssize_t n = read(w->fd, buf_reserve(&w->in, READ_BYTES), READ_BYTES);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return ev;
    if (n <= 0) return gone(w);
    w->in.size += (size_t)n;
    (void)next_frame(w, &ev);
    return ev;
}
