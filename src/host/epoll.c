/* The poller for where io_uring is not allowed: epoll, edge-triggered, so that a descriptor is
 * registered once and never again.
 *
 * An edge is remembered in the connection (readable, send_busy) until a short read or write shows
 * that the next one will come. Files go to a pool of their own: a log write must not wait behind
 * slow io_work. */
#include "base/assert.h"
#include "base/mem.h"
#include "host/internal.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EPOLL_EVENTS  256
#define EPOLL_ACCEPTS 64 /* of one listener in a turn */

struct poller {
    int fd;
    int timer_fd; /* -1 while epoll_pwait2 serves */
    struct epoll_event events[EPOLL_EVENTS];
    uint8_t data[HOST_READ_BYTES]; /* what all connections read into */
};

/* data.ptr of an event is a connection, or one of these with a low bit set. */
#define EPOLL_LISTENER 1u
static char epoll_wake_mark, epoll_timer_mark;

static void host_epoll_add(struct poller *p, int fd, uint32_t events, void *ptr)
{
    struct epoll_event e = {.events = events, .data.ptr = ptr};
    int failed = epoll_ctl(p->fd, EPOLL_CTL_ADD, fd, &e);
    ASSERT(!failed || errno == ENOMEM || errno == ENOSPC);
}

static int host_epoll_start(struct host *h, char *why, size_t why_size)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        int error = -errno;
        (void)snprintf(why, why_size, "epoll_create");
        return error;
    }
    h->poller = mem_alloc(sizeof *h->poller);
    h->poller->fd = fd;
    h->poller->timer_fd = -1;
    host_epoll_add(h->poller, h->wake_fd, EPOLLIN | EPOLLET, &epoll_wake_mark);
    return 0;
}

static void host_epoll_stop(struct host *h)
{
    close(h->poller->fd);
    if (h->poller->timer_fd >= 0) close(h->poller->timer_fd);
    mem_free(h->poller);
    h->poller = NULL;
}

static void host_epoll_nothing(struct host *h)
{
    (void)h;
}

/* ---- waiting ---- */

/* Kernels before 5.11 have no epoll_pwait2, and epoll_wait knows only milliseconds: a timer
 * descriptor is exact. */
static int host_epoll_wait_by_timer(struct poller *p, uint64_t left)
{
    if (p->timer_fd < 0) {
        p->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
        ASSERT(p->timer_fd >= 0);
        host_epoll_add(p, p->timer_fd, EPOLLIN | EPOLLET, &epoll_timer_mark);
    }
    struct itimerspec when = {
        .it_value = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)}};
    (void)timerfd_settime(p->timer_fd, 0, &when, NULL);
    return epoll_wait(p->fd, p->events, EPOLL_EVENTS, -1);
}

static int host_epoll_sleep(struct poller *p, uint64_t deadline)
{
    if (deadline == UINT64_MAX) return epoll_wait(p->fd, p->events, EPOLL_EVENTS, -1);
    uint64_t now = deadline ? host_now() : 0;
    if (deadline <= now) return epoll_wait(p->fd, p->events, EPOLL_EVENTS, 0);
    uint64_t left = deadline - now;
    if (p->timer_fd < 0) {
        struct timespec timeout = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
        int n = epoll_pwait2(p->fd, p->events, EPOLL_EVENTS, &timeout, NULL);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return n;
    }
    return host_epoll_wait_by_timer(p, left);
}

static void host_epoll_accept(struct io_listener *l)
{
    for (int i = 0; i < EPOLL_ACCEPTS; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && errno == EAGAIN) return;
        conn_accepted(l, fd < 0 ? -errno : fd);
        if (l->stopped) return;
        if (!l->paused_until) continue;
        /* Level-triggered, it would report the waiting client without end: silence it until the
         * pause is over. */
        struct epoll_event none = {0};
        (void)epoll_ctl(l->host->poller->fd, EPOLL_CTL_DEL, l->fd, &none);
        l->armed = false;
        return;
    }
}

static int host_epoll_socket_error(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return -errno;
    return -error;
}

static void host_epoll_event(struct host *h, struct conn *c, uint32_t events)
{
    if (c->state == CONN_DEAD) return; /* by a handler earlier in this turn */
    if (c->state == CONN_CONNECTING) {
        if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) return;
        c->send_busy = false;
        conn_connected(c, host_epoll_socket_error(c->fd));
        if (c->state != CONN_OPEN) return;
    }
    if (events & EPOLLERR) { /* told at once, also to those who have paused reading */
        int error = host_epoll_socket_error(c->fd);
        conn_broken(c, error ? error : -EIO);
        return;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP)) c->hung_up = true;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) {
        c->readable = true;
        conn_make_ready(h, c);
    }
    if (events & (EPOLLOUT | EPOLLHUP) && c->send_busy) {
        c->send_busy = false;
        conn_dirty(&h->io, &c->io); /* sent at the end of the turn, with what this turn adds */
    }
}

static void host_epoll_wait(struct host *h, uint64_t deadline)
{
    struct poller *p = h->poller;
    int n = host_epoll_sleep(p, deadline);
    ASSERT(n >= 0 || errno == EINTR);
    for (int i = 0; i < n; i++) {
        void *ptr = p->events[i].data.ptr;
        if (ptr == &epoll_wake_mark) {
            h->woken = true;
        } else if ((uintptr_t)ptr & EPOLL_LISTENER) {
            struct io_listener *l = (void *)((uintptr_t)ptr & ~(uintptr_t)EPOLL_LISTENER);
            if (l->armed) host_epoll_accept(l);
        } else if (ptr != &epoll_timer_mark) {
            host_epoll_event(h, ptr, p->events[i].events);
        }
    }
}

/* ---- sockets ---- */

static void host_epoll_listen(struct host *h, struct io_listener *l)
{
    l->armed = true;
    host_epoll_add(h->poller, l->fd, EPOLLIN, (void *)((uintptr_t)l | EPOLL_LISTENER));
}

static void host_epoll_unlisten(struct host *h, struct io_listener *l)
{
    struct epoll_event none = {0};
    (void)epoll_ctl(h->poller->fd, EPOLL_CTL_DEL, l->fd, &none);
    l->armed = false;
}

#define EPOLL_CONN (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

static void host_epoll_connect(struct host *h, struct conn *c)
{
    socklen_t size =
        c->address.any.sa_family == AF_INET6 ? sizeof c->address.v6 : sizeof c->address.v4;
    if (connect(c->fd, &c->address.any, size) != 0 && errno != EINPROGRESS) {
        conn_broken(c, -errno);
        return;
    }
    c->send_busy = true;
    host_epoll_add(h->poller, c->fd, EPOLL_CONN,
                   c); /* reports at once where it is connected already */
}

static void host_epoll_attach(struct host *h, struct conn *c)
{
    /* A connection of ours was registered to learn when it is made. */
    struct epoll_event e = {.events = EPOLL_CONN, .data.ptr = c};
    if (epoll_ctl(h->poller->fd, EPOLL_CTL_ADD, c->fd, &e) != 0 && errno != EEXIST)
        conn_broken(c, -errno);
}

static void host_epoll_read(struct host *h, struct conn *c)
{
    if (!c->readable) return;
    uint8_t *data = h->poller->data;
    ssize_t n = recv(c->fd, data, sizeof h->poller->data, 0);
    if (n < 0) {
        c->readable = false;
        if (errno != EAGAIN) conn_broken(c, -errno);
        return;
    }
    if (n == 0) {
        c->readable = false;
        conn_eof(c);
        return;
    }
    /* A short read emptied the socket, and the next byte will be an edge; but the end of stream
     * that came with these bytes was reported with them, so after a hang-up it is to be looked for.
     */
    c->readable = (size_t)n == sizeof h->poller->data || c->hung_up;
    if (c->readable) conn_make_ready(h, c);
    conn_received(c, data, (size_t)n);
}

static void host_epoll_send(struct host *h, struct conn *c)
{
    (void)h;
    size_t left = c->sending.size - c->sent;
    ssize_t n = send(c->fd, c->sending.data + c->sent, left, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        conn_broken(c, -errno);
        return;
    }
    c->send_busy = n < (ssize_t)left; /* until there is room, which will be an edge */
    if (n > 0) conn_sent(c, (size_t)n);
}

static void host_epoll_cancel(struct host *h, struct conn *c)
{
    (void)h;
    ASSERT(c->ops == 0); /* here nothing is ever under way: closing the descriptor is all */
}

const struct poller_ops epoll_ops = {
    .name = "epoll",
    .start = host_epoll_start,
    .stop = host_epoll_stop,
    .enter = host_epoll_nothing,
    .wait = host_epoll_wait,
    .submit = host_epoll_nothing,
    .listen = host_epoll_listen,
    .unlisten = host_epoll_unlisten,
    .connect = host_epoll_connect,
    .attach = host_epoll_attach,
    .read = host_epoll_read,
    .send = host_epoll_send,
    .cancel = host_epoll_cancel,
    .file_write = file_pool_write,
    .file_read = file_pool_read,
    .socket_flags = SOCK_NONBLOCK,
};
