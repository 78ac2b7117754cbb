/* A host under test: one backend, a condition to run until, a watchdog. BOTH(name) makes a test of
 * each backend from one body; where the machine forbids io_uring, its tests are skipped by name. */
#ifndef SYNOD_TESTS_HOST_WORLD_H
#define SYNOD_TESTS_HOST_WORLD_H

#include "test.h"
#include "base/mem.h"
#include "base/prng.h"
#include "host/host.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORLD_TEST(name, on, backend)                                                              \
    TEST(name##_##on)                                                                              \
    {                                                                                              \
        if ((backend) != HOST_EPOLL && !world_has_uring()) skip();                                 \
        name##_body(backend);                                                                      \
    }
#define BOTH(name)                                                                                 \
    static void name##_body(enum host_backend backend);                                            \
    WORLD_TEST(name, on_io_uring, HOST_URING)                                                      \
    WORLD_TEST(name, on_epoll, HOST_EPOLL)                                                         \
    static void name##_body(enum host_backend backend)

/* A third world for what is about files: io_uring whose writes go to threads. */
#define WORLD_WRITES_BY_THREADS ((enum host_backend)100)
#define ALL(name)                                                                                  \
    static void name##_body(enum host_backend backend);                                            \
    WORLD_TEST(name, with_writes_by_threads, WORLD_WRITES_BY_THREADS)                              \
    BOTH(name)

#define WORLD_PATIENCE_NS (60 * 1000000000ull) /* only for hangs: no test is about time */

struct world {
    struct host *host;
    struct io *io;
    bool (*until)(void *ctx);
    void *ctx;
    uint64_t give_up;
    bool gave_up;
    char dir[128]; /* empty: no files */
};

static inline bool world_has_uring(void)
{
    char error[256];
    struct host_options options = {.backend = HOST_URING};
    struct host *h = host_new(&options, error, sizeof error);
    host_free(h);
    return h != NULL;
}

static inline uint64_t world_turn(void *ctx, uint64_t now)
{
    struct world *w = ctx;
    if (w->until(w->ctx)) {
        host_stop(w->host);
    } else if (now > w->give_up) {
        w->gave_up = true;
        host_stop(w->host);
    }
    return now + 2000000;
}

static inline void world_start(struct world *w, enum host_backend backend, const char *fault)
{
    char error[256] = "";
    bool by_threads = backend == WORLD_WRITES_BY_THREADS;
    struct host_options options = {.backend = by_threads ? HOST_URING : backend,
                                   .writes =
                                       by_threads ? HOST_WRITES_BY_THREADS : HOST_WRITES_BY_RING,
                                   .data_dir = *w->dir ? w->dir : NULL,
                                   .fault = fault};
    w->host = host_new(&options, error, sizeof error);
    if (!w->host) fail_msg("%s", error);
    w->io = host_io(w->host);
    w->io->client.turn = world_turn;
    w->io->client.ctx = w;
}

static inline void world_make_dir(struct world *w)
{
    const char *base = getenv("TMPDIR");
    snprintf(w->dir, sizeof w->dir, "%s/synod-test-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(w->dir));
}

static inline void world_run(struct world *w, bool (*until)(void *ctx), void *ctx)
{
    w->until = until;
    w->ctx = ctx;
    w->give_up = io_now(w->io) + WORLD_PATIENCE_NS;
    host_run(w->host);
    assert_false(w->gave_up);
}

static inline bool world_is_set(void *flag)
{
    return *(bool *)flag;
}

/* Some more turns, to see that nothing further happens. */
static inline bool world_count_down(void *turns)
{
    return --*(int *)turns <= 0;
}
static inline void world_idle(struct world *w, int turns)
{
    world_run(w, world_count_down, &turns);
}

static inline void world_remove_dir(const char *path)
{
    DIR *d = opendir(path);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    rmdir(path);
}

static inline void world_end(struct world *w)
{
    host_free(w->host);
    if (*w->dir) world_remove_dir(w->dir);
}

static inline struct io_listener *world_listen(struct world *w, const struct io_handler *handler,
                                               void *ctx, char address[32])
{
    struct io_listener *l;
    assert_int_equal(io_listen(w->io, "127.0.0.1:0", handler, ctx, &l), 0);
    snprintf(address, 32, "127.0.0.1:%u", host_listener_port(l));
    return l;
}

/* A peer that is a bare socket, for what our own side never does. */
static inline int world_socket(const char *address)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    a.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

#endif
