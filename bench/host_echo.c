/* What a request costs the reactor alone: an echo server on each backend, loaded over loopback by
 * another process.
 *
 *   host_echo [seconds]
 *
 * A row gives requests per second, CPU time of the server per request, and how often it went to the
 * kernel to wait. The load is the same for both, in turns; on a machine whose cores are busy
 * compare rows of one run only. */
#include "base/assert.h"
#include "base/mem.h"
#include "host/host.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_BYTES = 64, CONNECTIONS_MAX = 256 };

static void echo_opened(void *ctx, struct io_conn *c)
{
    (void)ctx, (void)c;
}

static size_t echo_data(void *ctx, struct io_conn *c, struct bytes in)
{
    (void)ctx;
    buf_append_bytes(io_conn_out(c), in);
    return in.size;
}

static void echo_closed(void *ctx, struct io_conn *c, int error)
{
    (void)ctx, (void)c, (void)error;
}

static const struct io_handler echo_handler = {
    .opened = echo_opened, .data = echo_data, .closed = echo_closed};

struct measure {
    double cpu_s;
    uint64_t waits, turns;
};

static struct host *server_host;

static void server_end(int signal_number)
{
    (void)signal_number;
    host_stop(server_host);
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static _Noreturn void server_main(enum host_backend backend, int pipe_fd)
{
    char error[256];
    struct host_options options = {.backend = backend};
    server_host = host_new(&options, error, sizeof error);
    if (!server_host) fprintf(stderr, "%s\n", error), exit(1);
    struct io_listener *l;
    ASSERT(io_listen(host_io(server_host), "127.0.0.1:0", &echo_handler, NULL, &l) == 0);
    uint16_t port = host_listener_port(l);
    signal(SIGTERM, server_end);
    ASSERT(write(pipe_fd, &port, sizeof port) == sizeof port);

    double before = cpu_seconds();
    host_run(server_host);
    struct measure m = {.cpu_s = cpu_seconds() - before};
    struct host_stats s;
    host_stats(server_host, &s);
    m.waits = s.waits, m.turns = s.turns;
    ASSERT(write(pipe_fd, &m, sizeof m) == sizeof m);
    host_free(server_host);
    exit(0);
}

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Every connection keeps `pipeline` requests under way, sent and received together. Returns how
 * many were answered. */
static uint64_t load(uint16_t port, int connections, int pipeline, double seconds)
{
    static char data[1 << 16];
    int fd[CONNECTIONS_MAX], got[CONNECTIONS_MAX] = {0}, size = pipeline * REQUEST_BYTES, one = 1;
    int epoll = epoll_create1(0);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    for (int i = 0; i < connections; i++) {
        fd[i] = socket(AF_INET, SOCK_STREAM, 0);
        ASSERT(connect(fd[i], (struct sockaddr *)&a, sizeof a) == 0);
        setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd[i], &e);
        ASSERT(send(fd[i], data, (size_t)size, 0) == size);
    }
    uint64_t answered = 0;
    for (double end = now_seconds() + seconds; now_seconds() < end;) {
        struct epoll_event e[CONNECTIONS_MAX];
        int n = epoll_wait(epoll, e, CONNECTIONS_MAX, 100);
        for (int k = 0; k < n; k++) {
            uint32_t i = e[k].data.u32;
            ssize_t r = recv(fd[i], data, sizeof data, MSG_DONTWAIT);
            if (r <= 0) continue;
            got[i] += (int)r;
            if (got[i] < size) continue;
            ASSERT(got[i] == size);
            got[i] = 0;
            answered += (uint64_t)pipeline;
            ASSERT(send(fd[i], data, (size_t)size, 0) == size);
        }
    }
    for (int i = 0; i < connections; i++) close(fd[i]);
    close(epoll);
    return answered;
}

static void row(enum host_backend backend, const char *name, int connections, int pipeline,
                double seconds)
{
    int pipe_fd[2];
    uint16_t port;
    struct measure m;
    ASSERT(pipe(pipe_fd) == 0);
    pid_t pid = fork();
    if (pid == 0) server_main(backend, pipe_fd[1]);
    ASSERT(read(pipe_fd[0], &port, sizeof port) == sizeof port);
    uint64_t n = load(port, connections, pipeline, seconds);
    kill(pid, SIGTERM);
    ASSERT(read(pipe_fd[0], &m, sizeof m) == sizeof m);
    waitpid(pid, NULL, 0);
    close(pipe_fd[0]);
    close(pipe_fd[1]);
    printf("%-9s %4d connections, pipeline %2d: %8.0f requests/s, %6.3f us CPU each, %.4f waits "
           "each\n",
           name, connections, pipeline, (double)n / seconds, m.cpu_s * 1e6 / (double)n,
           (double)m.waits / (double)n);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 2;
    static const struct {
        int connections, pipeline;
    } rows[] = {{1, 1}, {50, 1}, {50, 16}, {256, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        row(HOST_URING, "io_uring", rows[i].connections, rows[i].pipeline, seconds);
        row(HOST_EPOLL, "epoll", rows[i].connections, rows[i].pipeline, seconds);
    }
    return 0;
}
