/* What the parts of src/host share: the reactor, its connections, and what a poller (uring.c,
 * epoll.c) must do for them.
 *
 * Who does what. host.c runs the loop and owns the table of io_ops. conn.c is the life of a
 * connection: what was received, what waits to be sent, when it may be freed; it never waits and
 * makes few system calls. A poller waits, moves bytes, and reports to conn.c. files.c knows the
 * data directory, pool.c the threads, fault.c the planted faults.
 *
 * Threads. Everything belongs to the thread in host_run but: host_wake and host_stop (any thread),
 * struct pool (its own mutex), struct io_file (immutable but for its count of users) and struct
 * fault's counter.
 *
 * Invariants of a connection, checked by conn.c:
 *   H1  Its memory, `sending` and descriptor live while `ops` > 0: the kernel may still use them.
 *   H2  `sending` does not change while a send is under way; what is appended meanwhile goes to
 * `out`. H3  A handler is called only in state OPEN (closed: on leaving it), and never from inside
 * a call of the client's. H4  A connection is freed only in conn_reap, so it stays valid for the
 * rest of the turn in which it died. */
#ifndef SYNOD_HOST_INTERNAL_H
#define SYNOD_HOST_INTERNAL_H

#include "base/list.h"
#include "base/prng.h"
#include "host/host.h"
#include "host/pool.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define HOST_READ_BYTES      (64u << 10) /* the most that one read of a connection takes in a turn */
#define HOST_SPARE_BYTES     (16u << 10) /* a buffer above this is freed rather than kept */
#define HOST_SPARES          256u
#define HOST_CLOSE_NS        (5 * 1000000000ull) /* how long a closed connection may take to flush */
#define HOST_ACCEPT_PAUSE_NS (100 * 1000000ull)

struct poller;

union host_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* "1.2.3.4:5" or "[::1]:5", numeric only; port 0 is allowed. False, and *out alone, on anything
 * else. */
bool host_address_parse(const char *text, union host_address *out, socklen_t *size);
void host_address_print(const union host_address *a, char *out, size_t size);

enum conn_state {
    CONN_STARTING,   /* io_connect was called; the poller has not begun */
    CONN_CONNECTING, /* the poller is connecting */
    CONN_OPEN,
    CONN_FLUSHING,  /* the client is done with it; its last bytes are being sent */
    CONN_LINGERING, /* all sent and our half shut; waiting for the other side's, lest a reset
                       destroys what we sent */
    CONN_DEAD,      /* nothing more happens; freed once `ops` is 0 */
    CONN_STATES,
};

struct conn {
    struct io_conn io; /* first: the client's pointer is ours */
    int fd;
    int error;     /* to be reported by the next step */
    uint8_t state; /* enum conn_state */
    uint8_t ops;   /* operations of the poller under way (H1) */
    bool eof : 1;  /* the other side will send no more */
    bool paused : 1;
    bool resumed : 1;           /* offer held bytes again in the next step */
    bool drained : 1;           /* tell the client in the next step */
    bool send_busy : 1;         /* the poller is sending, or waits for room to */
    bool recv_armed : 1;        /* uring: a receive is under way */
    bool recv_stopping : 1;     /* uring: and it is being cancelled */
    bool readable : 1;          /* epoll: there may be something to read */
    bool hung_up : 1;           /* epoll: read on until the end of stream */
    union host_address address; /* to connect to */
    struct list dirty;          /* in host.dirty: flush it at the end of the turn */
    struct list ready;          /* in host.ready: conn_step it in the next turn */
    struct list life;           /* in host.conns, .closing or .dead */
    struct buf in;              /* received, not consumed; in_at bytes of it are consumed */
    size_t in_at;
    struct buf sending; /* being sent; `sent` bytes of it are */
    size_t sent;
    uint64_t heard_turn; /* the turn in which bytes last arrived */
    uint64_t deadline;   /* in host.closing */
};

struct io_listener {
    struct host *host;
    const struct io_handler *handler;
    void *ctx;
    int fd;
    bool armed, stopped;
    uint64_t paused_until; /* 0: accepting */
    struct list link;      /* in host.listeners, or .dead_listeners */
};

struct io_file {
    struct host *host;
    int fd;
    bool direct;       /* opened with O_DIRECT */
    atomic_uint users; /* the opener, and each operation under way */
    struct list link;  /* in host.files */
};

struct fault {
    uint64_t write_eio_after; /* UINT64_MAX: never */
    uint64_t room_max;
    uint64_t dsync_delay_ns;
    atomic_uint_fast64_t writes;
};

/* What a poller does. All are called by the thread that runs the host, but start and stop. */
struct poller_ops {
    const char *name;
    /* 0, or -errno with `why` filled. On success h->poller is set. */
    int (*start)(struct host *h, char *why, size_t why_size);
    /* Cancels and waits until nothing is under way, reporting nothing. */
    void (*stop)(struct host *h);
    /* host_run begins on this thread. */
    void (*enter)(struct host *h);
    /* Submits what is queued, waits until `deadline` at most (0: not at all) and reports what
     * happened. */
    void (*wait)(struct host *h, uint64_t deadline);
    /* Submits what is queued; host_run is about to return. */
    void (*submit)(struct host *h);

    void (*listen)(struct host *h, struct io_listener *l); /* (again) accept on l->fd */
    void (*unlisten)(
        struct host *h,
        struct io_listener *l); /* clears l->armed, now or when the kernel is done with it */
    void (*connect)(struct host *h,
                    struct conn *c); /* conn_connected follows, perhaps from inside */
    void (*attach)(struct host *h, struct conn *c); /* c->fd is connected */
    void (*read)(struct host *h,
                 struct conn *c); /* reading is wanted: read what is there, or see to it */
    void (*send)(struct host *h,
                 struct conn *c); /* send c->sending from c->sent on; conn_sent follows */
    void (*cancel)(struct host *h, struct conn *c); /* c is dead: bring c->ops to 0, now or later */
    void (*file_write)(struct host *h, struct io_file *f,
                       struct io_write *w); /* files_write_done follows */
    void (*file_read)(struct host *h, struct io_file *f,
                      struct io_read *r); /* files_read_done follows */
    int socket_flags;                     /* for socket and accept: SOCK_NONBLOCK or 0 */
};

extern const struct poller_ops uring_ops, epoll_ops;

struct host {
    struct io io; /* first: the client's pointer is ours */
    const struct poller_ops *ops;
    struct poller *poller;
    struct prng prng;
    void (*log)(void *ctx, const char *line);
    void *log_ctx;
    atomic_bool stopping, wake_sent;
    int wake_fd; /* an eventfd, never read: each write is an edge */
    bool entered;
    bool woken;       /* a wake arrived and is to be looked after */
    pthread_t thread; /* of host_run, once entered */
    struct list conns, closing, dead, dirty, ready, listeners, dead_listeners;
    struct list held; /* file operations whose report is due later (struct files_held) */
    struct buf spare[HOST_SPARES];
    unsigned spares;
    struct pool *pool;       /* io_work */
    struct pool *batch_pool; /* ... that is `batch` */
    struct pool *file_pool;  /* file_pool.c: never behind slow work */
    enum host_writes writes; /* AUTO: by threads for a while after computed_at */
    uint64_t computed_at;    /* when work that is `batch` was last given out; 0: never */
    struct fault fault;
    int dir_fd, lock_fd;         /* -1: no files */
    pthread_mutex_t files_mutex; /* over `files`: any thread opens and closes */
    struct list files;
    struct host_stats stats;
};

static inline struct host *host_of(struct io *io)
{
    return (struct host *)(void *)io;
}
static inline struct conn *conn_of(struct io_conn *c)
{
    return (struct conn *)(void *)c;
}
uint64_t host_now(void);
void host_wake(struct host *h); /* any thread, or a signal handler */
void host_log(struct host *h, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The loop has something to do at once. */
static inline bool host_pressing(const struct host *h)
{
    return h->woken || !list_empty(&h->ready) || !list_empty(&h->dirty);
}

/* ---- conn.c ---- */

/* Reports of the poller. conn_received may call the client's handler, so it is for poller_ops.wait
 * and .read alone. */
void conn_accepted(struct io_listener *l, int fd); /* fd -errno: accepting failed */
void conn_connected(struct conn *c, int error);    /* 0 or -errno */
void conn_received(struct conn *c, const void *data, size_t size);
void conn_eof(struct conn *c);
void conn_broken(struct conn *c, int error); /* -errno; told to the client in a later step */
void conn_sent(struct conn *c, size_t size);
static inline bool conn_reading(const struct conn *c)
{
    return !c->eof &&
           (c->state == CONN_OPEN ? !c->paused
                                  : c->state == CONN_FLUSHING || c->state == CONN_LINGERING);
}
static inline void conn_make_ready(struct host *h, struct conn *c)
{
    if (list_empty(&c->ready)) list_push(&h->ready, &c->ready);
}

/* For host.c. */
void conn_step_all(struct host *h, uint64_t now);
void conn_flush_all(struct host *h);
void conn_reap(struct host *h);
void conn_drop_all(struct host *h);
uint64_t conn_deadline(struct host *h);
int conn_listen(struct io *io, const char *address, const struct io_handler *handler, void *ctx,
                struct io_listener **out);
void conn_unlisten(struct io *io, struct io_listener *l);
struct io_conn *conn_connect(struct io *io, const char *address, const struct io_handler *handler,
                             void *ctx);
void conn_close(struct io *io, struct io_conn *c, bool flush);
void conn_pause(struct io *io, struct io_conn *c, bool paused);
void conn_dirty(struct io *io, struct io_conn *c);

/* ---- files.c ---- */

int files_start(struct host *h, const char *dir, char *error, size_t error_size);
void files_stop(struct host *h);
void files_step(struct host *h, uint64_t now); /* reports what was held and is due */
uint64_t files_deadline(struct host *h);
/* Reports of the poller: every byte written or read (written: durable), or -errno. Gives back its
 * use of f. */
void files_write_done(struct io_file *f, struct io_write *w, uint64_t since, int error);
void files_read_done(struct io_file *f, struct io_read *r, int64_t result);
/* The whole of it, however many system calls it takes: 0 or bytes read, or -errno. Any thread. */
int files_write_whole(struct io_file *f, const void *data, size_t size, uint64_t offset);
int64_t files_read_whole(struct io_file *f, void *data, size_t size, uint64_t offset);

int files_open(struct io *io, const char *name, uint64_t create_size, struct io_file **out);
void files_close(struct io *io, struct io_file *f);
uint64_t files_size(struct io *io, struct io_file *f);
void files_write(struct io *io, struct io_file *f, struct io_write *w);
void files_read(struct io *io, struct io_file *f, struct io_read *r);
int64_t files_read_now(struct io *io, struct io_file *f, void *data, size_t size, uint64_t offset);
int files_write_now(struct io *io, struct io_file *f, const void *data, size_t size,
                    uint64_t offset);
int files_rename(struct io *io, const char *from, const char *to);
int files_remove(struct io *io, const char *name);
int files_list(struct io *io, const char *prefix, void (*each)(void *ctx, const char *name),
               void *ctx);
int64_t files_room(struct io *io);

/* ---- fault.c ---- */

/* False, with the unknown word in `error`. */
bool fault_parse(struct fault *f, const char *text, char *error, size_t error_size);
/* Counts a write; true if it is to fail. Any thread. */
bool fault_write_fails(struct fault *f);

/* ---- file_pool.c: files_write_done or files_read_done follows ---- */

void file_pool_write(struct host *h, struct io_file *f, struct io_write *w);
void file_pool_read(struct host *h, struct io_file *f, struct io_read *r);
/* Whether a write is theirs under io_uring too. */
bool file_pool_writes(const struct host *h, uint64_t now);
/* Whether the disk under this directory needs a flush behind each synchronous write; and the same
 * of what Linux says of a disk in this directory of sysfs (".../queue"). */
bool file_pool_flushes(int dir_fd);
bool file_pool_queue_flushes(const char *queue);

#endif
