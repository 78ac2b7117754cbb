/* What world.c, net.c and disk.c share. */
#ifndef SYNOD_SIM_INTERNAL_H
#define SYNOD_SIM_INTERNAL_H

#include "base/assert.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/trace.h"
#include "sim/world.h"

#include <errno.h>
#include <stdio.h>

/* In the queue. Whoever holds a pointer to it may cancel it until it runs. */
struct event {
    uint64_t at, order;
    void (*run)(void *ctx); /* NULL: cancelled */
    void *ctx;
};

struct host {
    struct io io; /* first: a struct io * is a struct host * */
    struct world *w;
    uint32_t id;
    bool on;        /* a program runs here */
    bool dead;      /* it ended, and was not reaped yet */
    bool powered;   /* false after WORLD_POWER until the next boot */
    uint32_t depth; /* > 0: the program's code is on the stack */
    bool midway;    /* a turn was interrupted between two handlers */
    bool woken;

    uint64_t paused_until; /* true time */
    uint64_t busy_until;
    uint64_t skew; /* how much later than the world's time this turn is */
    struct event *next_turn;

    uint64_t clock_base, clock_since; /* reading at true time clock_since */
    uint64_t clock_last;              /* never goes back */
    int32_t clock_ppm;
    int64_t wall_offset_ms;
    struct prng random;

    struct list conns; /* struct conn.in_host */
    struct list ready; /* struct conn.in_ready */
    struct list dirty; /* struct conn.in_dirty */
    struct list grave; /* conns to free when nothing of the program is on the stack */
    struct list listeners;
    uint64_t port_next;

    struct list files;    /* struct disk_file */
    struct list handles;  /* struct io_file */
    struct list queued;   /* struct job: writes and reads asked for in this turn */
    struct list inflight; /* struct job: under way */
    struct list finished; /* struct job: to be told */
    uint64_t disk_order;  /* counts requests and completions told */
    bool write_failed;
    uint64_t covered_to; /* the latest request among writes that completed */

    struct world_disk disk;
    struct world_cpu cpu;
    struct trace trace;
};

struct world {
    struct world_options options;
    uint64_t now, hash, order;
    struct event **heap;
    size_t heap_count, heap_capacity;
    struct prng random;
    struct world_counts counts;
    struct list streams;
    uint64_t stream_next;
    struct host *host[WORLD_HOSTS_MAX];
    struct world_link link[WORLD_HOSTS_MAX][WORLD_HOSTS_MAX];
};

struct event *world_event(struct world *w, uint64_t delay, void (*run)(void *ctx), void *ctx);
static inline void event_cancel(struct event **e)
{
    if (*e) (*e)->run = NULL;
    *e = NULL;
}
static inline struct host *host_of(struct io *io)
{
    return (struct host *)(void *)io;
}
/* Something is ready there: a turn comes soon. */
void host_ready(struct host *h);
uint64_t host_clock(struct host *h);
/* In the midst of a turn, perhaps: the processor was taken away for a while. */
uint64_t host_stall(struct host *h);
/* Between min and min + spread - 1. */
static inline uint64_t world_draw(struct world *w, uint64_t min, uint64_t spread)
{
    return min + prng_below(&w->random, spread);
}

/* net.c */
struct conn;
extern const struct io_ops world_ops;
int net_listen(struct io *io, const char *address, const struct io_handler *h, void *ctx,
               struct io_listener **out);
void net_unlisten(struct io *io, struct io_listener *l);
struct io_conn *net_connect(struct io *io, const char *address, const struct io_handler *h,
                            void *ctx);
void net_close(struct io *io, struct io_conn *c, bool flush);
void net_pause(struct io *io, struct io_conn *c, bool paused);
void net_dirty(struct io *io, struct io_conn *c);
void net_handle(struct host *h, struct conn *c); /* one ready connection's handlers */
struct conn *net_ready(struct host *h);          /* takes the first ready connection; NULL: none */
void net_flush(struct host *h);                  /* end of a turn */
void net_bury(struct host *h);                   /* frees what was closed */
void net_reap(struct host *h, enum world_death how);
void net_unblocked(struct world *w, uint32_t from, uint32_t to);
void net_free(struct world *w);

/* disk.c */
struct job;
int disk_open(struct io *io, const char *name, uint64_t create_size, struct io_file **out);
void disk_close(struct io *io, struct io_file *f);
uint64_t disk_size(struct io *io, struct io_file *f);
void disk_write(struct io *io, struct io_file *f, struct io_write *w);
void disk_read(struct io *io, struct io_file *f, struct io_read *r);
int64_t disk_read_now(struct io *io, struct io_file *f, void *data, size_t size, uint64_t offset);
int disk_write_now(struct io *io, struct io_file *f, const void *data, size_t size,
                   uint64_t offset);
int disk_rename(struct io *io, const char *from, const char *to);
int disk_remove(struct io *io, const char *name);
int disk_list(struct io *io, const char *prefix, void (*each)(void *ctx, const char *name),
              void *ctx);
int64_t disk_room(struct io *io);
void disk_work(struct io *io, struct io_work *w);
void disk_start(struct host *h);  /* end of a turn: begins what was asked for */
bool disk_handle(struct host *h); /* tells one completion; false: none */
void disk_crash(struct host *h);  /* tears what is under way */
void disk_reap(struct host *h);
void disk_free(struct host *h);

#endif
