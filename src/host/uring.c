/* The poller on io_uring: one ring, one io_uring_enter per turn for all that is to be sent, written
 * and waited for.
 *
 * Receiving is multishot into a ring of buffers that all connections share: an idle connection owns
 * no memory, and a receive is armed once in its life. Where the kernel (before 6.0) has no
 * multishot, each receive is armed again; the code is the same, for a multishot receive may end at
 * any time too (no buffer left, CQ full).
 *
 * user_data is a pointer with the kind of operation in its low three bits. Every operation that
 * names a connection counts in conn.ops until its last completion (H1); `under_way` counts all of
 * them, for uring_stop. */
#include "base/assert.h"
#include "base/mem.h"
#include "host/internal.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define URING_SQ 1024u
#define URING_CQ                                                                                   \
    (8 * URING_SQ) /* more completions than this at once are kept by the kernel, at a cost */
#define URING_BUFFERS      512u
#define URING_BUFFER_BYTES 4096u
#define URING_GROUP        0
#define URING_SEND_MAX     (1u << 30) /* lengths on the ring have 32 bits */

enum uring_tag {
    TAG_NONE,
    TAG_WAKE,
    TAG_ACCEPT,
    TAG_CONNECT,
    TAG_RECV,
    TAG_SEND,
    TAG_WRITE,
    TAG_READ
};

struct poller {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    uint8_t *memory;
    bool multishot, enabled, wake_armed;
    bool stirred; /* this wait brought something the loop has to look at */
    size_t under_way;
    struct list writes,
        reads; /* io_write and io_read to be started, linked through their backend words */
};

/* How the backend words of an io_write or io_read are used: the link until it is started, then the
 * progress. */
struct uring_op {
    union {
        struct list link;
        size_t moved;
    };
    struct io_file *file;
    uint64_t since;
};
_Static_assert(sizeof(struct uring_op) <= sizeof((struct io_write *)0)->backend,
               "fits the words io.h sets aside");
_Static_assert(sizeof((struct io_read *)0)->backend == sizeof((struct io_write *)0)->backend,
               "for both");

static struct uring_op *uring_write_op(struct io_write *w)
{
    return (struct uring_op *)(void *)w->backend;
}

static struct uring_op *uring_read_op(struct io_read *r)
{
    return (struct uring_op *)(void *)r->backend;
}

/* ---- birth ---- */

/* From the best to what any kernel with buffer rings knows. R_DISABLED puts off the choice of the
 * ring's one thread to host_run. */
static int uring_setup(struct poller *p)
{
    static const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL,
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
        0,
    };
    int error = -EINVAL;
    for (size_t i = 0; i < sizeof flags / sizeof *flags && error == -EINVAL; i++) {
        struct io_uring_params params = {.flags = flags[i] | IORING_SETUP_CQSIZE |
                                                  IORING_SETUP_R_DISABLED,
                                         .cq_entries = URING_CQ};
        error = io_uring_queue_init_params(URING_SQ, &p->ring, &params);
        p->multishot = flags[i] & IORING_SETUP_SINGLE_ISSUER; /* both came with 6.0 */
    }
    if (error) return error;
    if ((p->ring.features & IORING_FEAT_NODROP) && (p->ring.features & IORING_FEAT_EXT_ARG))
        return 0;
    io_uring_queue_exit(&p->ring);
    return -ENOSYS;
}

static void uring_give_buffer(struct poller *p, unsigned id)
{
    io_uring_buf_ring_add(p->buffers, p->memory + (size_t)id * URING_BUFFER_BYTES,
                          URING_BUFFER_BYTES, (unsigned short)id,
                          io_uring_buf_ring_mask(URING_BUFFERS), 0);
    io_uring_buf_ring_advance(p->buffers, 1);
}

static int uring_setup_buffers(struct poller *p)
{
    void *ring, *memory;
    if (posix_memalign(&ring, IO_BLOCK, URING_BUFFERS * sizeof(struct io_uring_buf)) != 0)
        return -ENOMEM;
    p->buffers = ring;
    if (posix_memalign(&memory, IO_BLOCK, (size_t)URING_BUFFERS * URING_BUFFER_BYTES) != 0)
        return -ENOMEM;
    p->memory = memory;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)ring, .ring_entries = URING_BUFFERS, .bgid = URING_GROUP};
    int error = io_uring_register_buf_ring(&p->ring, &reg, 0);
    if (error) return error;
    io_uring_buf_ring_init(p->buffers);
    for (unsigned i = 0; i < URING_BUFFERS; i++) uring_give_buffer(p, i);
    return 0;
}

static void uring_free(struct host *h)
{
    struct poller *p = h->poller;
    io_uring_queue_exit(&p->ring);
    free(p->buffers);
    free(p->memory);
    mem_free(p);
    h->poller = NULL;
}

static int uring_start(struct host *h, char *why, size_t why_size)
{
    struct poller *p = mem_zalloc(sizeof *p);
    list_init(&p->writes);
    list_init(&p->reads);
    int error = uring_setup(p);
    if (error) {
        (void)snprintf(why, why_size, "io_uring_setup");
        mem_free(p);
        return error;
    }
    h->poller = p;
    error = uring_setup_buffers(p);
    if (error) {
        (void)snprintf(why, why_size, "no ring of shared buffers");
        uring_free(h);
    }
    return error;
}

/* ---- submitting ---- */

static struct io_uring_sqe *uring_sqe(struct poller *p, enum uring_tag tag, void *ptr)
{
    struct io_uring_sqe *sqe;
    while (!(sqe = io_uring_get_sqe(&p->ring))) {
        int n = io_uring_submit(&p->ring);
        ASSERT(n >= 0 || n == -EAGAIN || n == -EBUSY || n == -EINTR);
        if (n == -EAGAIN || n == -EBUSY)
            (void)io_uring_get_events(&p->ring); /* lets the kernel make room */
    }
    ASSERT(((uintptr_t)ptr & 7) == 0);
    p->under_way++;
    sqe->user_data = (uintptr_t)ptr | tag; /* the prep functions leave it alone */
    return sqe;
}

static void uring_arm_wake(struct host *h)
{
    struct poller *p = h->poller;
    io_uring_prep_poll_multishot(uring_sqe(p, TAG_WAKE, NULL), h->wake_fd, POLLIN);
    p->wake_armed = true;
}

static void uring_start_write(struct poller *p, struct io_write *w)
{
    struct uring_op *op = uring_write_op(w);
    io_uring_prep_write(uring_sqe(p, TAG_WRITE, w), op->file->fd,
                        (const uint8_t *)w->data + op->moved, (unsigned)(w->size - op->moved),
                        w->offset + op->moved);
}

static void uring_start_read(struct poller *p, struct io_read *r)
{
    struct uring_op *op = uring_read_op(r);
    io_uring_prep_read(uring_sqe(p, TAG_READ, r), op->file->fd, (uint8_t *)r->data + op->moved,
                       (unsigned)(r->size - op->moved), r->offset + op->moved);
}

/* What was asked for before host_run waits in a list, for the ring may be used by one thread only.
 */
static void uring_start_files(struct poller *p)
{
    for (struct list *link; (link = list_pop(&p->writes));) {
        struct io_write *w = LIST_OF(link, struct io_write, backend);
        uring_write_op(w)->moved = 0;
        uring_start_write(p, w);
    }
    for (struct list *link; (link = list_pop(&p->reads));) {
        struct io_read *r = LIST_OF(link, struct io_read, backend);
        uring_read_op(r)->moved = 0;
        uring_start_read(p, r);
    }
}

static void uring_file_write(struct host *h, struct io_file *f, struct io_write *w)
{
    struct uring_op *op = uring_write_op(w);
    uint64_t now = host_now();
    if (file_pool_writes(h, now)) {
        file_pool_write(h, f, w);
        return;
    }
    op->file = f;
    op->since = now;
    list_push(&h->poller->writes, &op->link);
    if (h->poller->enabled) uring_start_files(h->poller);
}

static void uring_file_read(struct host *h, struct io_file *f, struct io_read *r)
{
    struct uring_op *op = uring_read_op(r);
    op->file = f;
    list_push(&h->poller->reads, &op->link);
    if (h->poller->enabled) uring_start_files(h->poller);
}

static void uring_listen(struct host *h, struct io_listener *l)
{
    l->armed = true;
    io_uring_prep_multishot_accept(uring_sqe(h->poller, TAG_ACCEPT, l), l->fd, NULL, NULL,
                                   SOCK_CLOEXEC);
}

/* Operations that are being cancelled complete like any other, with an error or with what they had
 * done by then. */
static void uring_cancel_fd(struct poller *p, int fd)
{
    struct io_uring_sqe *sqe = uring_sqe(p, TAG_NONE, NULL);
    io_uring_prep_cancel_fd(sqe, fd, IORING_ASYNC_CANCEL_ALL);
}

static void uring_unlisten(struct host *h, struct io_listener *l)
{
    uring_cancel_fd(h->poller, l->fd);
}

static void uring_cancel(struct host *h, struct conn *c)
{
    uring_cancel_fd(h->poller, c->fd);
}

static void uring_connect(struct host *h, struct conn *c)
{
    socklen_t size =
        c->address.any.sa_family == AF_INET6 ? sizeof c->address.v6 : sizeof c->address.v4;
    c->ops++;
    io_uring_prep_connect(uring_sqe(h->poller, TAG_CONNECT, c), c->fd, &c->address.any, size);
}

static void uring_arm_recv(struct poller *p, struct conn *c)
{
    struct io_uring_sqe *sqe = uring_sqe(p, TAG_RECV, c);
    if (p->multishot)
        io_uring_prep_recv_multishot(sqe, c->fd, NULL, 0, 0);
    else
        io_uring_prep_recv(sqe, c->fd, NULL, URING_BUFFER_BYTES, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_GROUP;
    c->recv_armed = true;
    c->ops++;
}

static void uring_read(struct host *h, struct conn *c)
{
    if (!c->recv_armed && !c->eof) uring_arm_recv(h->poller, c);
}

/* Through the ring, measured equal to a send() of its own for one connection and a little cheaper
 * for many; and the file writes of the turn, queued before it, are on their way to the disk when
 * the kernel begins with the sends. */
static void uring_send(struct host *h, struct conn *c)
{
    size_t left = c->sending.size - c->sent;
    c->send_busy = true;
    c->ops++;
    io_uring_prep_send(uring_sqe(h->poller, TAG_SEND, c), c->fd, c->sending.data + c->sent,
                       left < URING_SEND_MAX ? left : URING_SEND_MAX, MSG_NOSIGNAL);
}

/* ---- completions ---- */

static void uring_on_accept(struct io_listener *l, const struct io_uring_cqe *cqe)
{
    if (!(cqe->flags & IORING_CQE_F_MORE))
        l->armed = false; /* the next step arms it again, or frees it */
    conn_accepted(l, cqe->res);
}

static void uring_on_recv(struct host *h, struct conn *c, const struct io_uring_cqe *cqe)
{
    struct poller *p = h->poller;
    int n = cqe->res;
    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        c->recv_armed = c->recv_stopping = false;
        c->ops--;
    }
    if (n == 0)
        conn_eof(c);
    else if (n < 0 && n != -ENOBUFS && n != -ECANCELED && n != -EINTR && n != -EAGAIN)
        conn_broken(c, n);

    if (cqe->flags & IORING_CQE_F_BUFFER) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        if (n > 0) conn_received(c, p->memory + (size_t)id * URING_BUFFER_BYTES, (size_t)n);
        uring_give_buffer(p, id);
    }
    if (c->state == CONN_DEAD || c->error) return;
    if (conn_reading(c)) {
        if (!c->recv_armed) conn_make_ready(h, c); /* to be armed in the coming step */
    } else if (c->recv_armed && !c->recv_stopping && !c->eof) {
        /* Paused: only now that bytes come is it worth telling the kernel. */
        c->recv_stopping = true;
        io_uring_prep_cancel64(uring_sqe(p, TAG_NONE, NULL), (uintptr_t)c | TAG_RECV, 0);
    }
}

static void uring_on_send(struct conn *c, int result)
{
    c->ops--;
    c->send_busy = false;
    if (result == -EINTR || result == -EAGAIN) result = 0;
    if (result < 0)
        conn_broken(c, result);
    else
        conn_sent(c, (size_t)result);
}

static void uring_on_write(struct poller *p, struct io_write *w, int result)
{
    struct uring_op *op = uring_write_op(w);
    if (result > 0) op->moved += (size_t)result;
    ASSERT(op->moved <= w->size);
    if (op->moved < w->size && (result > 0 || result == -EINTR || result == -EAGAIN)) {
        uring_start_write(p, w); /* the rest of a short write */
        return;
    }
    int error = result < 0 ? result : op->moved < w->size ? -EIO : 0;
    files_write_done(op->file, w, op->since, error);
}

static void uring_on_read(struct poller *p, struct io_read *r, int result)
{
    struct uring_op *op = uring_read_op(r);
    if (result > 0) op->moved += (size_t)result;
    ASSERT(op->moved <= r->size);
    /* A rest that is not aligned lies past the end of the file. */
    bool more = result > 0 && op->moved < r->size && op->moved % IO_BLOCK == 0;
    if (more || result == -EINTR || result == -EAGAIN) {
        uring_start_read(p, r);
        return;
    }
    files_read_done(op->file, r, result < 0 ? result : (int64_t)op->moved);
}

static void uring_complete(struct host *h, const struct io_uring_cqe *cqe)
{
    struct poller *p = h->poller;
    enum uring_tag tag = cqe->user_data & 7;
    void *ptr = (void *)(uintptr_t)(cqe->user_data & ~(uint64_t)7);
    if (!(cqe->flags & IORING_CQE_F_MORE)) p->under_way--;
    if (tag != TAG_NONE && tag != TAG_SEND) p->stirred = true;

    switch (tag) {
    case TAG_NONE: break;
    case TAG_WAKE:
        p->wake_armed = cqe->flags & IORING_CQE_F_MORE;
        h->woken = true;
        break;
    case TAG_ACCEPT: uring_on_accept(ptr, cqe); break;
    case TAG_CONNECT:
        ((struct conn *)ptr)->ops--;
        conn_connected(ptr, cqe->res);
        break;
    case TAG_RECV: uring_on_recv(h, ptr, cqe); break;
    case TAG_SEND: uring_on_send(ptr, cqe->res); break;
    case TAG_WRITE: uring_on_write(p, ptr, cqe->res); break;
    case TAG_READ: uring_on_read(p, ptr, cqe->res); break;
    }
}

static void uring_reap(struct host *h)
{
    struct poller *p = h->poller;
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;
    io_uring_for_each_cqe(&p->ring, head, cqe)
    {
        if (cqe->user_data != LIBURING_UDATA_TIMEOUT) uring_complete(h, cqe);
        count++;
    }
    io_uring_cq_advance(&p->ring, count);
}

/* ---- waiting ---- */

static void uring_sleep(struct poller *p, uint64_t deadline)
{
    struct io_uring_cqe *cqe;
    uint64_t now = deadline && deadline != UINT64_MAX ? host_now() : 0;
    int n;
    if (deadline == UINT64_MAX) {
        n = io_uring_submit_and_wait(&p->ring, 1);
    } else if (deadline <= now) {
        n = io_uring_submit_and_get_events(&p->ring);
    } else {
        uint64_t left = deadline - now;
        struct __kernel_timespec timeout = {(int64_t)(left / 1000000000u),
                                            (long long)(left % 1000000000u)};
        n = io_uring_submit_and_wait_timeout(&p->ring, &cqe, 1, &timeout, NULL);
    }
    ASSERT(n >= 0 || n == -EINTR || n == -ETIME || n == -EAGAIN || n == -EBUSY);
}

/* Completed sends alone are no reason for a turn: it waits on until something is there to look at.
 */
static void uring_wait(struct host *h, uint64_t deadline)
{
    struct poller *p = h->poller;
    p->stirred = false;
    for (;;) {
        if (!p->wake_armed) uring_arm_wake(h);
        uring_sleep(p, deadline);
        uring_reap(h);
        if (p->stirred || host_pressing(h) || atomic_load(&h->stopping)) return;
        if (deadline != UINT64_MAX && host_now() >= deadline) return;
    }
}

static void uring_submit(struct host *h)
{
    (void)io_uring_submit(&h->poller->ring);
}

static void uring_enter(struct host *h)
{
    struct poller *p = h->poller;
    if (p->enabled) return;
    /* liburing 2.3 declares io_uring_enable_rings without exporting it. */
    long failed =
        syscall(__NR_io_uring_register, p->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    ASSERT(!failed);
    (void)io_uring_register_ring_fd(&p->ring); /* spares a look-up per system call; fine without */
    p->enabled = true;
    uring_start_files(p);
}

/* The kernel may write into our memory until the last completion is seen, so all is cancelled and
 * waited for. */
static void uring_stop(struct host *h)
{
    struct poller *p = h->poller;
    if (p->enabled) {
        struct io_uring_sqe *sqe = uring_sqe(p, TAG_NONE, NULL);
        io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY);
        while (p->under_way) {
            struct io_uring_cqe *cqe;
            unsigned head, count = 0;
            int n = io_uring_submit_and_wait(&p->ring, 1);
            ASSERT(n >= 0 || n == -EINTR || n == -EAGAIN || n == -EBUSY);
            io_uring_for_each_cqe(&p->ring, head, cqe)
            {
                enum uring_tag tag = cqe->user_data & 7;
                void *ptr = (void *)(uintptr_t)(cqe->user_data & ~(uint64_t)7);
                count++;
                if (tag == TAG_ACCEPT && cqe->res >= 0) close(cqe->res);
                if (cqe->flags & IORING_CQE_F_MORE) continue;
                p->under_way--;
                if (tag == TAG_ACCEPT) ((struct io_listener *)ptr)->armed = false;
                if (tag == TAG_CONNECT || tag == TAG_RECV || tag == TAG_SEND)
                    ((struct conn *)ptr)->ops--;
            }
            io_uring_cq_advance(&p->ring, count);
        }
    }
    uring_free(h);
}

const struct poller_ops uring_ops = {
    .name = "io_uring",
    .start = uring_start,
    .stop = uring_stop,
    .enter = uring_enter,
    .wait = uring_wait,
    .submit = uring_submit,
    .listen = uring_listen,
    .unlisten = uring_unlisten,
    .connect = uring_connect,
    .attach = uring_read,
    .read = uring_read,
    .send = uring_send,
    .cancel = uring_cancel,
    .file_write = uring_file_write,
    .file_read = uring_file_read,
    .socket_flags = 0,
};
