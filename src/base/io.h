/* The completion interface: everything a node wants from the world outside it, and the only way it
 * gets it.
 *
 * Three backends implement it: io_uring and epoll (src/host) and the simulator (src/sim). A node is
 * one object on one `struct io`, driven by one thread; nothing here may be called from another
 * thread (the functions given to io_work excepted, which may call nothing of this header but
 * io_file_* marked "any thread"). Many nodes, each with its own io, may live in one process.
 *
 * The shape of a turn. A backend waits until something is ready, then (1) calls the handlers of all
 * that is ready, (2) calls the node's `turn` once, (3) hands all that was appended to out-buffers
 * and all file writes to the system: one write per connection and turn at most, one read per
 * connection and turn at most. So what one turn produces leaves together.
 *
 * Ownership. Buffers given to writes stay the caller's and must not change until `done` is called.
 * Every operation gets exactly one `done`, except that none is called after the io itself is freed.
 * Nothing calls back from inside the call that started it.
 *
 * Errors are negative errno values. */
#ifndef SYNOD_BASE_IO_H
#define SYNOD_BASE_IO_H

#include "base/buf.h"

struct io;
struct io_conn;
struct io_listener;
struct io_file;

/* ---- the node's side ---- */

struct io_client {
    /* Called once per turn after all handlers; `now` is io_now at this moment. Returns the time
     * (io_now scale) at which to be called again even if nothing happens; UINT64_MAX for never. */
    uint64_t (*turn)(void *ctx, uint64_t now);
    void *ctx;
};

/* What happens on a stream connection. `user` is what the handler stored with io_conn_set_user
 * (NULL at first). */
struct io_handler {
    /* A listener accepted, or a connect succeeded. */
    void (*opened)(void *ctx, struct io_conn *c);
    /* Bytes arrived; `in` holds all that is unconsumed. Returns how many bytes are done with; the
     * rest is given again, with more behind it, when more arrives. in.size never exceeds the limit
     * given by io_conn_set_limit: at the limit, with nothing consumed, the connection is closed
     * with -EMSGSIZE. The handler may pause or close the connection. */
    size_t (*data)(void *ctx, struct io_conn *c, struct bytes in);
    /* The out-buffer, having been above IO_OUT_HIGH, fell below IO_OUT_LOW. May be NULL. */
    void (*drained)(void *ctx, struct io_conn *c);
    /* The connection is gone (error < 0, or 0 for end of stream), or a connect failed (opened was
     * never called). Not called after io_conn_close. The io_conn is freed when this returns. */
    void (*closed)(void *ctx, struct io_conn *c, int error);
};

#define IO_OUT_HIGH                                                                                \
    (1u << 20) /* a polite writer stops producing when this much waits to be sent                  \
                */
#define IO_OUT_LOW (1u << 18)

struct io_write {
    const void *data; /* aligned to IO_BLOCK, as is size and offset, so that O_DIRECT works */
    size_t size;
    uint64_t offset;
    void (*done)(void *ctx, int error); /* 0: every byte is on stable storage; else a negative
                                           errno, and nothing is known */
    void *ctx;
    void *backend[4]; /* the backend's own */
};

struct io_read {
    void *data; /* aligned to IO_BLOCK, as are size and offset */
    size_t size;
    uint64_t offset;
    void (*done)(
        void *ctx,
        int64_t result); /* bytes read (short only at the end of the file) or a negative errno */
    void *ctx;
    void *backend[4];
};

#define IO_BLOCK 4096u

/* A function to run off the reactor: on a pool thread in the real world, later on the same thread
 * in the simulator. It must not touch anything the node touches meanwhile. `done` runs on the
 * reactor. */
struct io_work {
    void (*run)(void *ctx);
    void (*done)(void *ctx);
    void *ctx;
    bool batch; /* a long computation: on threads of their own, which nothing else waits for, at low
                   priority. They live as long as the backend does */
    void *backend[4];
};

/* ---- the backend's side ---- */

struct io_ops {
    uint64_t (*now)(struct io *); /* ns, CLOCK_BOOTTIME: goes on while the machine is suspended; a
                                     fresh reading each time */
    int64_t (*wall_ms)(struct io *); /* ms since 1970; may jump */
    uint64_t (*random)(struct io *);
    void (*wake)(struct io *); /* any thread: make a turn happen soon */

    int (*listen)(struct io *, const char *address, const struct io_handler *, void *ctx,
                  struct io_listener **out);
    void (*unlisten)(struct io *, struct io_listener *);
    struct io_conn *(*connect)(struct io *, const char *address, const struct io_handler *,
                               void *ctx);
    void (*conn_close)(struct io *, struct io_conn *, bool flush);
    void (*conn_pause)(struct io *, struct io_conn *, bool paused);
    void (*conn_dirty)(struct io *,
                       struct io_conn *); /* its out-buffer has got something to send this turn */

    int (*file_open)(struct io *, const char *name, uint64_t create_size, struct io_file **out);
    void (*file_close)(struct io *, struct io_file *);
    uint64_t (*file_size)(struct io *, struct io_file *);
    void (*file_write)(struct io *, struct io_file *, struct io_write *);
    void (*file_read)(struct io *, struct io_file *, struct io_read *);
    int64_t (*file_read_now)(struct io *, struct io_file *, void *data, size_t size,
                             uint64_t offset);
    int (*file_write_now)(struct io *, struct io_file *, const void *data, size_t size,
                          uint64_t offset);
    int (*file_rename)(struct io *, const char *from, const char *to);
    int (*file_remove)(struct io *, const char *name);
    int (*file_list)(struct io *, const char *prefix, void (*each)(void *ctx, const char *name),
                     void *ctx);
    int64_t (*room)(struct io *); /* bytes free where the files live */

    void (*work)(struct io *, struct io_work *);
};

struct io {
    const struct io_ops *ops;
    struct io_client client;
};

/* What a backend embeds at the front of its own connection. */
struct io_conn {
    struct io *io;
    const struct io_handler *handler;
    void *ctx;
    void *user;
    struct buf out;    /* bytes to send; the backend takes them away */
    size_t in_limit;   /* see io_handler.data; default 64 KiB */
    char peer[64];     /* "address:port" of the other side */
    bool dirty, above; /* the backend's own: queued for sending; out was above IO_OUT_HIGH */
};

/* ---- calls (thin, so that a backend is one table) ---- */

static inline uint64_t io_now(struct io *io)
{
    return io->ops->now(io);
}
static inline int64_t io_wall_ms(struct io *io)
{
    return io->ops->wall_ms(io);
}
static inline uint64_t io_random(struct io *io)
{
    return io->ops->random(io);
}
static inline void io_wake(struct io *io)
{
    io->ops->wake(io);
}

/* Listens on "host:port" (numeric host). Accepted connections get handler and ctx. */
static inline int io_listen(struct io *io, const char *address, const struct io_handler *h,
                            void *ctx, struct io_listener **out)
{
    return io->ops->listen(io, address, h, ctx, out);
}
static inline void io_unlisten(struct io *io, struct io_listener *l)
{
    io->ops->unlisten(io, l);
}

/* Starts connecting; never fails at once: `opened` or `closed` follows in a later turn. Bytes
 * appended before `opened` are sent after it. */
static inline struct io_conn *io_connect(struct io *io, const char *address,
                                         const struct io_handler *h, void *ctx)
{
    return io->ops->connect(io, address, h, ctx);
}
/* Where to append bytes for the other side; they leave at the end of this turn. Valid until the
 * next call on this connection. */
static inline struct buf *io_conn_out(struct io_conn *c)
{
    if (!c->dirty) c->io->ops->conn_dirty(c->io, c);
    return &c->out;
}
static inline size_t io_conn_backlog(const struct io_conn *c)
{
    return c->out.size;
}
/* No callback follows, and c may not be used again. flush: try to send what is in the out-buffer
 * first (for a last error message; bounded in time by the backend). May be called from inside c's
 * own handlers. */
static inline void io_conn_close(struct io_conn *c, bool flush)
{
    c->io->ops->conn_close(c->io, c, flush);
}
/* Stops and starts reading. On resuming, unconsumed bytes are given to `data` again in a later step
 * of the loop. */
static inline void io_conn_pause(struct io_conn *c, bool paused)
{
    c->io->ops->conn_pause(c->io, c, paused);
}
static inline void io_conn_set_user(struct io_conn *c, void *user)
{
    c->user = user;
}
static inline void io_conn_set_limit(struct io_conn *c, size_t bytes_max)
{
    c->in_limit = bytes_max;
}

/* Files live in the node's data directory; names are plain (no '/'). create_size > 0: if the file
 * is missing, create it of that size, zero-filled on disk (not sparse), itself and its directory
 * entry durable; slow, so call it from io_work except at start. create_size == 0: -ENOENT when
 * missing. Any thread. */
static inline int io_file_open(struct io *io, const char *name, uint64_t create_size,
                               struct io_file **out)
{
    return io->ops->file_open(io, name, create_size, out);
}
static inline void io_file_close(struct io *io, struct io_file *f)
{
    io->ops->file_close(io, f);
}
static inline uint64_t io_file_size(struct io *io, struct io_file *f)
{
    return io->ops->file_size(io, f);
}
/* Starts a write that is complete only when durable (O_DIRECT|O_DSYNC, or write and fdatasync).
 * Begins at the end of the turn. */
static inline void io_file_write(struct io *io, struct io_file *f, struct io_write *w)
{
    io->ops->file_write(io, f, w);
}
static inline void io_file_read(struct io *io, struct io_file *f, struct io_read *r)
{
    io->ops->file_read(io, f, r);
}
/* Blocking forms for start-up and for io_work functions: bytes read or -errno; 0 or -errno once
 * durable. Any thread, any alignment. The first read of a file after opening sees only durable
 * bytes (the backend fsyncs on open: PROTOCOLS 1.6). */
static inline int64_t io_file_read_now(struct io *io, struct io_file *f, void *data, size_t size,
                                       uint64_t offset)
{
    return io->ops->file_read_now(io, f, data, size, offset);
}
static inline int io_file_write_now(struct io *io, struct io_file *f, const void *data, size_t size,
                                    uint64_t offset)
{
    return io->ops->file_write_now(io, f, data, size, offset);
}
/* Durable when they return (the directory is synced). Any thread. */
static inline int io_file_rename(struct io *io, const char *from, const char *to)
{
    return io->ops->file_rename(io, from, to);
}
static inline int io_file_remove(struct io *io, const char *name)
{
    return io->ops->file_remove(io, name);
}
/* Calls `each` for every file whose name starts with prefix, in name order. */
static inline int io_file_list(struct io *io, const char *prefix,
                               void (*each)(void *ctx, const char *name), void *ctx)
{
    return io->ops->file_list(io, prefix, each, ctx);
}
static inline int64_t io_room(struct io *io)
{
    return io->ops->room(io);
}
static inline void io_work(struct io *io, struct io_work *w)
{
    io->ops->work(io, w);
}

#endif
