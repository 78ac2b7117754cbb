/* The loop, the clocks, and the table that makes it all a struct io. */
#include "host/internal.h"
#include "base/assert.h"
#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

uint64_t host_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t host_io_now(struct io *io)
{
    (void)io;
    return host_now();
}

static int64_t host_io_wall_ms(struct io *io)
{
    (void)io;
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint64_t host_io_random(struct io *io)
{
    return prng_u64(&host_of(io)->prng);
}

/* The flag spares a system call while an earlier wake is still to be seen. The reactor clears it
 * before it looks at what there is to do, so work announced after that look finds it clear and
 * writes again. */
void host_wake(struct host *h)
{
    if (atomic_exchange(&h->wake_sent, true)) return;
    uint64_t one = 1;
    int saved = errno;
    ssize_t n = write(h->wake_fd, &one, sizeof one);
    (void)n; /* it fails only when the counter is full, and then the reactor is awake already */
    errno = saved;
}

static void host_io_wake(struct io *io)
{
    host_wake(host_of(io));
}

static void host_pool_wake(void *ctx)
{
    host_wake(ctx);
}

struct host_work {
    struct pool_job job; /* first */
    struct io_work *work;
};

static void host_work_run(struct pool_job *job)
{
    struct io_work *w = ((struct host_work *)job)->work;
    w->run(w->ctx);
}

static void host_work_finish(struct pool_job *job)
{
    struct io_work *w = ((struct host_work *)job)->work;
    mem_free(job);
    w->done(w->ctx);
}

static void host_work_drop(struct pool_job *job)
{
    mem_free(job);
}

static void host_io_work(struct io *io, struct io_work *w)
{
    struct host *h = host_of(io);
    struct host_work *job = mem_zalloc(sizeof *job);
    *job = (struct host_work){
        {.run = host_work_run, .finish = host_work_finish, .drop = host_work_drop}, w};
    if (w->batch) h->computed_at = host_now();
    pool_push(w->batch ? h->batch_pool : h->pool, &job->job);
}

static const struct io_ops host_io_ops = {
    .now = host_io_now,
    .wall_ms = host_io_wall_ms,
    .random = host_io_random,
    .wake = host_io_wake,
    .listen = conn_listen,
    .unlisten = conn_unlisten,
    .connect = conn_connect,
    .conn_close = conn_close,
    .conn_pause = conn_pause,
    .conn_dirty = conn_dirty,
    .file_open = files_open,
    .file_close = files_close,
    .file_size = files_size,
    .file_write = files_write,
    .file_read = files_read,
    .file_read_now = files_read_now,
    .file_write_now = files_write_now,
    .file_rename = files_rename,
    .file_remove = files_remove,
    .file_list = files_list,
    .room = files_room,
    .work = host_io_work,
};

void host_log(struct host *h, const char *format, ...)
{
    if (!h->log) return;
    char line[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    h->log(h->log_ctx, line);
}

/* ---- birth and death ---- */

static void host_raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int host_start_poller(struct host *h, enum host_backend backend, char *error,
                             size_t error_size)
{
    char why[128] = "";
    if (backend != HOST_EPOLL) {
        h->ops = &uring_ops;
        int refused = h->ops->start(h, why, sizeof why);
        if (refused == 0) return 0;
        if (backend == HOST_URING) {
            (void)snprintf(error, error_size, "io_uring cannot be used: %s: %s; use epoll", why,
                           strerror(-refused));
            return refused;
        }
        host_log(h,
                 "io_uring cannot be used: %s: %s (often a container's seccomp profile or "
                 "kernel.io_uring_disabled); "
                 "using epoll",
                 why, strerror(-refused));
    }
    h->ops = &epoll_ops;
    int failed = h->ops->start(h, why, sizeof why);
    if (failed)
        (void)snprintf(error, error_size, "epoll cannot be used: %s: %s", why, strerror(-failed));
    return failed;
}

static void host_init_lists(struct host *h)
{
    struct list *all[] = {&h->conns,     &h->closing,        &h->dead, &h->dirty, &h->ready,
                          &h->listeners, &h->dead_listeners, &h->held, &h->files};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) list_init(all[i]);
}

struct host *host_new(const struct host_options *options, char *error, size_t error_size)
{
    uint64_t seed = 0;
    struct host *h = mem_zalloc(sizeof *h);
    h->io.ops = &host_io_ops;
    h->log = options->log;
    h->log_ctx = options->log_ctx;
    h->dir_fd = h->lock_fd = -1;
    host_init_lists(h);
    pthread_mutex_init(&h->files_mutex, NULL);
    h->pool = pool_new(options->pool_threads ? options->pool_threads : 2, false, host_pool_wake, h);
    h->file_pool = pool_new(2, false, host_pool_wake, h);
    h->batch_pool =
        pool_new(options->batch_threads ? options->batch_threads : 2, true, host_pool_wake, h);
    h->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    if (h->wake_fd < 0 || getrandom(&seed, sizeof seed, 0) != sizeof seed) {
        (void)snprintf(error, error_size, "the system gives no eventfd or no random numbers: %s",
                       strerror(errno));
        goto fail;
    }
    prng_init(&h->prng, seed);
    host_raise_descriptors();
    if (!fault_parse(&h->fault, options->fault, error, error_size)) goto fail;
    if (options->data_dir && files_start(h, options->data_dir, error, error_size) != 0) goto fail;
    h->writes = options->writes;
    if (h->writes == HOST_WRITES_AUTO && !file_pool_flushes(h->dir_fd))
        h->writes = HOST_WRITES_BY_RING;
    if (host_start_poller(h, options->backend, error, error_size) != 0) goto fail;
    return h;

fail:
    host_free(h);
    return NULL;
}

void host_free(struct host *h)
{
    if (!h) return;
    ASSERT(!h->entered || pthread_equal(h->thread, pthread_self()));
    if (h->poller) {
        conn_drop_all(h);
        h->ops->stop(h);
        conn_reap(h);
        ASSERT(list_empty(&h->dead) && list_empty(&h->dead_listeners));
    }
    pool_free(h->pool);
    pool_free(h->batch_pool);
    pool_free(h->file_pool);
    files_stop(h);
    pthread_mutex_destroy(&h->files_mutex);
    for (unsigned i = 0; i < h->spares; i++) buf_deinit(&h->spare[i]);
    if (h->wake_fd >= 0) close(h->wake_fd);
    mem_free(h);
}

struct io *host_io(struct host *h)
{
    return &h->io;
}

const char *host_backend_name(const struct host *h)
{
    return h->ops->name;
}

void host_stats(const struct host *h, struct host_stats *out)
{
    *out = h->stats;
}

/* ---- the loop ---- */

static uint64_t host_earliest(struct host *h, uint64_t deadline)
{
    if (host_pressing(h)) return 0;
    uint64_t conns = conn_deadline(h), files = files_deadline(h);
    if (conns < deadline) deadline = conns;
    return files < deadline ? files : deadline;
}

static void host_collect(struct host *h)
{
    h->woken = false;
    atomic_store(&h->wake_sent, false); /* before looking: see host_wake */
    pool_collect(h->pool);
    pool_collect(h->batch_pool);
    pool_collect(h->file_pool);
}

void host_run(struct host *h)
{
    uint64_t deadline = 0;
    ASSERT(!h->entered || pthread_equal(h->thread, pthread_self()));
    h->thread = pthread_self();
    h->entered = true;
    h->ops->enter(h);

    while (!atomic_load(&h->stopping)) {
        h->stats.waits++;
        h->ops->wait(h, host_earliest(h, deadline));
        if (h->woken) host_collect(h);
        uint64_t now = host_now();
        conn_step_all(h, now);
        files_step(h, now);

        deadline = h->io.client.turn ? h->io.client.turn(h->io.client.ctx, host_now()) : UINT64_MAX;
        h->stats.turns++;
        conn_flush_all(h);
        conn_reap(h);
    }
    h->ops->submit(h);
    atomic_store(&h->stopping, false);
}

void host_stop(struct host *h)
{
    atomic_store(&h->stopping, true);
    host_wake(h);
}
