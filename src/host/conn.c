/* The life of a connection, the same for both pollers: accepting and connecting, offering what
 * arrived, sending what was appended, closing. What the client must be told is told from a step of
 * the loop, never from inside its own calls (H3). */
#include "base/assert.h"
#include "base/mem.h"
#include "host/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- addresses ---- */

bool host_address_parse(const char *text, union host_address *out, socklen_t *size)
{
    char name[64];
    const char *colon = strrchr(text, ':');
    int64_t port;
    if (!colon || !bytes_to_i64(bytes_str(colon + 1), &port) || port < 0 || port > 65535)
        return false;

    bool bracketed = text[0] == '[' && colon > text + 1 && colon[-1] == ']';
    size_t length = (size_t)(colon - text) - (bracketed ? 2 : 0);
    if (length >= sizeof name) return false;
    memcpy(name, text + bracketed, length);
    name[length] = 0;

    union host_address a = {0};
    if (bracketed) {
        a.v6.sin6_family = AF_INET6;
        a.v6.sin6_port = htons((uint16_t)port);
        if (inet_pton(AF_INET6, name, &a.v6.sin6_addr) != 1) return false;
        *size = sizeof a.v6;
    } else {
        a.v4.sin_family = AF_INET;
        a.v4.sin_port = htons((uint16_t)port);
        if (inet_pton(AF_INET, name, &a.v4.sin_addr) != 1) return false;
        *size = sizeof a.v4;
    }
    *out = a;
    return true;
}

void host_address_print(const union host_address *a, char *out, size_t size)
{
    char name[INET6_ADDRSTRLEN] = "?";
    bool v6 = a->any.sa_family == AF_INET6;
    (void)inet_ntop(a->any.sa_family, v6 ? (const void *)&a->v6.sin6_addr : &a->v4.sin_addr, name,
                    sizeof name);
    (void)snprintf(out, size, v6 ? "[%s]:%u" : "%s:%u", name,
                   ntohs(v6 ? a->v6.sin6_port : a->v4.sin_port));
}

uint16_t host_listener_port(const struct io_listener *l)
{
    union host_address a = {0};
    socklen_t size = sizeof a;
    if (getsockname(l->fd, &a.any, &size) != 0) return 0;
    return ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
}

/* ---- buffers: those that are small serve again, so that an idle connection owns none ---- */

static struct buf conn_buf_take(struct host *h)
{
    return h->spares ? h->spare[--h->spares] : (struct buf){0};
}

static void conn_buf_give(struct host *h, struct buf *b)
{
    if (b->capacity == 0) return;
    if (b->capacity <= HOST_SPARE_BYTES && h->spares < HOST_SPARES) {
        b->size = 0;
        h->spare[h->spares++] = *b;
        *b = (struct buf){0};
    } else {
        buf_deinit(b);
    }
}

/* ---- states ---- */

static void conn_move(struct conn *c, enum conn_state to)
{
    static const uint8_t allowed[CONN_STATES] = {
        [CONN_STARTING] = 1 << CONN_CONNECTING | 1 << CONN_DEAD,
        [CONN_CONNECTING] = 1 << CONN_OPEN | 1 << CONN_DEAD,
        [CONN_OPEN] = 1 << CONN_FLUSHING | 1 << CONN_DEAD,
        [CONN_FLUSHING] = 1 << CONN_LINGERING | 1 << CONN_DEAD,
        [CONN_LINGERING] = 1 << CONN_DEAD,
    };
    ASSERT(c->state < CONN_STATES && allowed[c->state] & 1 << to);
    c->state = (uint8_t)to;
}

static size_t conn_backlog(const struct conn *c)
{
    return c->sending.size - c->sent + c->io.out.size;
}

static struct conn *conn_new(struct host *h, enum conn_state state, int fd,
                             const struct io_handler *handler, void *ctx)
{
    struct conn *c = mem_zalloc(sizeof *c);
    c->io = (struct io_conn){.io = &h->io, .handler = handler, .ctx = ctx, .in_limit = 64u << 10};
    c->fd = fd;
    c->state = (uint8_t)state;
    list_init(&c->dirty);
    list_init(&c->ready);
    list_init(&c->life);
    list_push(&h->conns, &c->life);
    h->stats.connections++;
    return c;
}

/* Nothing more will happen on c. It is freed in conn_reap, when the kernel is done with its memory
 * too (H1, H4). */
static void conn_kill(struct host *h, struct conn *c)
{
    conn_move(c, CONN_DEAD);
    list_remove(&c->ready);
    list_remove(&c->dirty);
    list_remove(&c->life);
    list_push(&h->dead, &c->life);
    if (c->ops) h->ops->cancel(h, c);
}

/* Sends what is left within HOST_CLOSE_NS, reading and throwing away what comes in. */
static void conn_flush_and_kill(struct host *h, struct conn *c)
{
    conn_move(c, CONN_FLUSHING);
    c->deadline = host_now() + HOST_CLOSE_NS;
    list_remove(&c->life);
    list_push(&h->closing, &c->life);
    conn_dirty(&h->io, &c->io);
    conn_make_ready(h, c);
}

/* The connection ended by itself: the one call of `closed`. After an end of stream, what was
 * appended before still leaves: the other side may have shut only its sending half. */
static void conn_finish(struct host *h, struct conn *c, int error)
{
    if (error == 0 && conn_backlog(c) > 0)
        conn_flush_and_kill(h, c);
    else
        conn_kill(h, c);
    c->io.handler->closed(c->io.ctx, &c->io, error);
}

static void conn_free(struct host *h, struct conn *c)
{
    ASSERT(c->state == CONN_DEAD && c->ops == 0);
    if (c->fd >= 0) close(c->fd);
    conn_buf_give(h, &c->in);
    conn_buf_give(h, &c->sending);
    conn_buf_give(h, &c->io.out);
    list_remove(&c->life);
    list_remove(&c->dirty);
    list_remove(&c->ready);
    h->stats.connections--;
    mem_free(c);
}

void conn_reap(struct host *h)
{
    for (struct list *link = h->dead.next, *next; link != &h->dead; link = next) {
        next = link->next;
        struct conn *c = LIST_OF(link, struct conn, life);
        if (c->ops == 0) conn_free(h, c);
    }
    for (struct list *link = h->dead_listeners.next, *next; link != &h->dead_listeners;
         link = next) {
        next = link->next;
        struct io_listener *l = LIST_OF(link, struct io_listener, link);
        if (l->armed) continue;
        close(l->fd);
        list_remove(&l->link);
        mem_free(l);
    }
}

/* ---- receiving ---- */

/* Offers s in portions of at most the limit; returns how much the client is done with. Bytes it
 * left are offered again at once only if the limit had cut them off from what is behind. */
static size_t conn_offer(struct conn *c, struct bytes s)
{
    size_t used = 0;
    while (used < s.size && c->state == CONN_OPEN && !c->paused && !c->error) {
        size_t left = s.size - used, limit = c->io.in_limit;
        struct bytes view = {s.data + used, left < limit ? left : limit};
        size_t n = c->io.handler->data(c->io.ctx, &c->io, view);
        ASSERT(n <= view.size);
        used += n;
        if (n == 0 && !c->paused && view.size >= c->io.in_limit) conn_broken(c, -EMSGSIZE);
        if (view.size == left) break;
    }
    return used;
}

static void conn_offer_held(struct host *h, struct conn *c)
{
    size_t left = c->in.size - c->in_at;
    if (left) c->in_at += conn_offer(c, bytes_of(c->in.data + c->in_at, left));
    if (c->in_at == c->in.size) {
        c->in_at = 0;
        conn_buf_give(h, &c->in);
    } else if (c->in_at > c->in.size / 2) { /* so that each byte is moved at most once on average */
        buf_drop_front(&c->in, c->in_at);
        c->in_at = 0;
    }
}

static void conn_hold(struct host *h, struct conn *c, const uint8_t *data, size_t size)
{
    if (size == 0) return;
    if (c->in.capacity == 0) c->in = conn_buf_take(h);
    buf_append(&c->in, data, size);
}

void conn_received(struct conn *c, const void *data, size_t size)
{
    struct host *h = host_of(c->io.io);
    h->stats.reads++;
    if (c->state != CONN_OPEN || c->error) return;

    c->heard_turn = h->stats.turns;
    if (c->paused || c->in.size > c->in_at) {
        conn_hold(h, c, data, size);
        if (!c->paused) conn_offer_held(h, c);
        return;
    }
    size_t used = conn_offer(c, bytes_of(data, size));
    if (c->state == CONN_OPEN) conn_hold(h, c, (const uint8_t *)data + used, size - used);
}

void conn_eof(struct conn *c)
{
    if (c->state == CONN_DEAD) return;
    c->eof = true;
    conn_make_ready(host_of(c->io.io), c);
}

void conn_broken(struct conn *c, int error)
{
    ASSERT(error < 0);
    if (c->state == CONN_DEAD) return;
    if (!c->error) c->error = error;
    conn_make_ready(host_of(c->io.io), c);
}

void conn_pause(struct io *io, struct io_conn *ic, bool paused)
{
    struct conn *c = conn_of(ic);
    ASSERT(c->state <= CONN_OPEN);
    if (c->paused == paused) return;
    c->paused = paused;
    if (paused) return;
    c->resumed = true;
    conn_make_ready(host_of(io), c);
}

/* ---- sending ---- */

void conn_dirty(struct io *io, struct io_conn *ic)
{
    struct host *h = host_of(io);
    struct conn *c = conn_of(ic);
    if (c->io.dirty) return;
    c->io.dirty = true;
    list_push(&h->dirty, &c->dirty);
    if (c->io.out.capacity == 0) c->io.out = conn_buf_take(h);
}

/* All is sent of a connection the client has closed: shut our half and wait for the other side to
 * have seen it. */
static void conn_flushed(struct host *h, struct conn *c)
{
    conn_move(c, CONN_LINGERING);
    if (c->eof || shutdown(c->fd, SHUT_WR) != 0) conn_kill(h, c);
}

/* At the end of a turn: the one send of this connection in it. */
static void conn_flush(struct host *h, struct conn *c)
{
    if (c->state != CONN_OPEN && c->state != CONN_FLUSHING) return;
    if (c->error) return;
    size_t backlog = conn_backlog(c);
    if (backlog >= IO_OUT_HIGH) c->io.above = true;
    if (c->send_busy) return;

    if (backlog == 0) {
        conn_buf_give(h, &c->io.out);
        if (c->state == CONN_FLUSHING) conn_flushed(h, c);
        return;
    }
    if (c->sending.size == 0) { /* nothing is under way, so the two may change places (H2) */
        struct buf empty = c->sending;
        c->sending = c->io.out;
        c->io.out = empty;
        c->sent = 0;
    }
    h->stats.writes++;
    h->ops->send(h, c);
}

void conn_flush_all(struct host *h)
{
    for (struct list *link; (link = list_pop(&h->dirty));) {
        struct conn *c = LIST_OF(link, struct conn, dirty);
        c->io.dirty = false;
        conn_flush(h, c);
    }
}

void conn_sent(struct conn *c, size_t size)
{
    struct host *h = host_of(c->io.io);
    ASSERT(size <= c->sending.size - c->sent);
    c->sent += size;
    if (c->sent == c->sending.size) {
        c->sent = 0;
        c->sending.size = 0;
        conn_buf_give(h, &c->sending);
    }
    if (c->state != CONN_OPEN && c->state != CONN_FLUSHING) return;

    size_t backlog = conn_backlog(c);
    if (c->io.above && backlog < IO_OUT_LOW) {
        c->io.above = false;
        c->drained = true;
        conn_make_ready(h, c);
    }
    if ((backlog || c->state == CONN_FLUSHING) && !c->send_busy) conn_dirty(&h->io, &c->io);
}

/* ---- connecting and accepting ---- */

static void conn_opened(struct host *h, struct conn *c)
{
    if (c->io.out.size) conn_dirty(&h->io, &c->io);
    h->ops->attach(h, c);
    c->io.handler->opened(c->io.ctx, &c->io);
}

/* Keepalive finds dead peers of idle connections in about two minutes. Accepted sockets have it
 * from their listener. */
static void conn_tune(int fd)
{
    int on = 1, idle = 60, interval = 15, count = 4;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

struct io_conn *conn_connect(struct io *io, const char *address, const struct io_handler *handler,
                             void *ctx)
{
    struct host *h = host_of(io);
    struct conn *c = conn_new(h, CONN_STARTING, -1, handler, ctx);
    socklen_t size;
    if (host_address_parse(address, &c->address, &size))
        host_address_print(&c->address, c->io.peer, sizeof c->io.peer);
    else
        c->error = -EINVAL;
    conn_make_ready(h, c);
    return &c->io;
}

static void conn_start(struct host *h, struct conn *c)
{
    c->fd = socket(c->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | h->ops->socket_flags, 0);
    if (c->fd < 0) {
        conn_broken(c, -errno);
        return;
    }
    conn_tune(c->fd);
    conn_move(c, CONN_CONNECTING);
    h->ops->connect(h, c);
}

void conn_connected(struct conn *c, int error)
{
    if (c->state != CONN_CONNECTING) return;
    if (error) {
        conn_broken(c, error);
        return;
    }
    conn_move(c, CONN_OPEN);
    conn_opened(host_of(c->io.io), c);
}

void conn_accepted(struct io_listener *l, int fd)
{
    struct host *h = l->host;
    if (fd < 0) {
        /* A client that gave up while it waited is no trouble of ours; anything else (no
         * descriptors, no memory) will not pass by asking again at once. */
        if (l->stopped || fd == -ECONNABORTED || fd == -EINTR || fd == -EAGAIN || fd == -ECANCELED)
            return;
        if (!l->paused_until) h->stats.accept_pauses++;
        l->paused_until = host_now() + HOST_ACCEPT_PAUSE_NS;
        return;
    }
    if (l->stopped) {
        close(fd);
        return;
    }
    struct conn *c = conn_new(h, CONN_OPEN, fd, l->handler, l->ctx);
    socklen_t size = sizeof c->address;
    if (getpeername(fd, &c->address.any, &size) == 0)
        host_address_print(&c->address, c->io.peer, sizeof c->io.peer);
    h->stats.accepts++;
    conn_opened(h, c);
}

static int conn_listen_socket(const union host_address *a, socklen_t size, int flags, int *fd)
{
    int on = 1;
    *fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (*fd < 0) return -errno;
    conn_tune(*fd);
    (void)setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->any.sa_family == AF_INET6)
        (void)setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(*fd, &a->any, size) == 0 && listen(*fd, 1024) == 0) return 0;
    int error = -errno;
    close(*fd);
    return error;
}

int conn_listen(struct io *io, const char *address, const struct io_handler *handler, void *ctx,
                struct io_listener **out)
{
    struct host *h = host_of(io);
    union host_address a;
    socklen_t size;
    int fd;
    *out = NULL;
    if (!host_address_parse(address, &a, &size)) return -EINVAL;
    int error = conn_listen_socket(&a, size, h->ops->socket_flags, &fd);
    if (error) return error;

    struct io_listener *l = mem_zalloc(sizeof *l);
    *l = (struct io_listener){.host = h, .handler = handler, .ctx = ctx, .fd = fd};
    list_push(&h->listeners, &l->link);
    *out = l; /* accepting begins in the next step */
    return 0;
}

void conn_unlisten(struct io *io, struct io_listener *l)
{
    struct host *h = host_of(io);
    ASSERT(!l->stopped);
    l->stopped = true;
    list_remove(&l->link);
    list_push(&h->dead_listeners, &l->link);
    if (l->armed) h->ops->unlisten(h, l);
}

/* ---- closing, and the steps of the loop ---- */

void conn_close(struct io *io, struct io_conn *ic, bool flush)
{
    struct host *h = host_of(io);
    struct conn *c = conn_of(ic);
    ASSERT(c->state <= CONN_OPEN); /* else the client was told, or closed it before */
    if (flush && c->state == CONN_OPEN && !c->error)
        conn_flush_and_kill(h, c);
    else
        conn_kill(h, c);
}

static void conn_step_open(struct host *h, struct conn *c)
{
    if (c->drained) {
        c->drained = false;
        if (c->io.handler->drained) c->io.handler->drained(c->io.ctx, &c->io);
        if (c->state != CONN_OPEN) return;
    }
    if (c->resumed && !c->paused) {
        c->resumed = false;
        conn_offer_held(h, c);
        if (c->state != CONN_OPEN) return;
        if (c->eof) conn_make_ready(h, c); /* the end comes a turn after the last bytes */
        c->heard_turn = h->stats.turns;
    }
    if (c->error) {
        conn_make_ready(h, c);
    } else if (!c->eof) {
        if (conn_reading(c)) h->ops->read(h, c);
    } else if (c->heard_turn == h->stats.turns) {
        conn_make_ready(h, c);
    } else if (!c->paused) {
        conn_finish(h, c, 0);
    }
}

static void conn_step(struct host *h, struct conn *c)
{
    switch ((enum conn_state)c->state) {
    case CONN_STARTING:
        if (c->error)
            conn_finish(h, c, c->error);
        else
            conn_start(h, c);
        break;
    case CONN_CONNECTING:
        if (c->error) conn_finish(h, c, c->error);
        break;
    case CONN_OPEN:
        if (c->error)
            conn_finish(h, c, c->error);
        else
            conn_step_open(h, c);
        break;
    case CONN_FLUSHING:
        if (c->error)
            conn_kill(h, c);
        else if (conn_reading(c))
            h->ops->read(h, c);
        break;
    case CONN_LINGERING:
        if (c->error || c->eof)
            conn_kill(h, c);
        else
            h->ops->read(h, c);
        break;
    case CONN_DEAD:
    case CONN_STATES: break;
    }
}

void conn_step_all(struct host *h, uint64_t now)
{
    /* What becomes ready meanwhile waits for the next turn, so a turn ends. */
    struct list ready;
    list_init(&ready);
    for (struct list *link; (link = list_pop(&h->ready));) list_push(&ready, link);
    for (struct list *link; (link = list_pop(&ready));)
        conn_step(h, LIST_OF(link, struct conn, ready));

    while (!list_empty(
        &h->closing)) { /* in order of their deadlines: the time allowed is the same for all */
        struct conn *c = LIST_OF(h->closing.next, struct conn, life);
        if (c->deadline > now) break;
        conn_kill(h, c);
    }
    for (struct list *link = h->listeners.next; link != &h->listeners; link = link->next) {
        struct io_listener *l = LIST_OF(link, struct io_listener, link);
        if (l->paused_until > now) continue;
        l->paused_until = 0;
        if (!l->armed) h->ops->listen(h, l);
    }
}

uint64_t conn_deadline(struct host *h)
{
    uint64_t deadline = UINT64_MAX;
    if (!list_empty(&h->closing)) deadline = LIST_OF(h->closing.next, struct conn, life)->deadline;
    for (struct list *link = h->listeners.next; link != &h->listeners; link = link->next) {
        const struct io_listener *l = LIST_OF(link, struct io_listener, link);
        if (!l->armed && l->paused_until < deadline)
            deadline = l->paused_until; /* 0: begin at once */
    }
    return deadline;
}

void conn_drop_all(struct host *h)
{
    while (!list_empty(&h->listeners))
        conn_unlisten(&h->io, LIST_OF(h->listeners.next, struct io_listener, link));
    while (!list_empty(&h->closing)) conn_kill(h, LIST_OF(h->closing.next, struct conn, life));
    while (!list_empty(&h->conns)) conn_kill(h, LIST_OF(h->conns.next, struct conn, life));
}
