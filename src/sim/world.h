/* The simulated world: hosts with clocks, disks and a network between them, in virtual time, from
 * one seed.
 *
 * Each host offers a `struct io` (base/io.h) to one program, which sees no difference to the real
 * world. The world is one queue of events ordered by time, then by the order in which they were
 * made; one thread takes them one by one. Nothing in it depends on real time, addresses or
 * uninitialised memory, so the same seed makes the same run; world_hash() is the witness.
 *
 * Faults are plain fields (struct world_link, struct world_disk, struct world_cpu) which whoever
 * plays the nemesis sets, and a few calls.
 *
 * A program's life on a host: world_boot, then world_enter; start the program on world_io;
 * world_leave; turns come by themselves. To end it: world_die (its io calls are ignored from now
 * on), free the program's memory, world_reap. A program that must end from within
 * (node_config.fatal) calls world_die itself, returns, and `died` is called once its stack is
 * unwound. */
#ifndef SYNOD_SIM_WORLD_H
#define SYNOD_SIM_WORLD_H

#include "base/io.h"
#include "base/prng.h"

#define WORLD_HOSTS_MAX 8
#define WORLD_NEVER     UINT64_MAX

#define MICROSECOND 1000ull
#define MILLISECOND 1000000ull
#define SECOND      1000000000ull

struct world;

struct world_options {
    uint64_t seed;
    uint32_t hosts;
    uint32_t framed_hosts; /* links between the hosts below this number carry frames that may be
                              disturbed one by one */
    size_t (*frame)(
        struct bytes in); /* size of the first whole frame; 0: incomplete; SIZE_MAX: no frame */
    bool (*may_disturb)(struct bytes frame); /* may it be lost, doubled, late or out of order? */
    void (*died)(
        void *ctx,
        uint32_t host); /* the program called world_die from within; free it, then world_reap */
    void (*turned)(void *ctx, uint32_t host); /* after each turn; may be NULL */
    void (*line)(void *ctx, uint32_t host,
                 const char *text); /* trace lines, for people; may be NULL */
    void *ctx;
};

/* One direction of the path between two hosts. */
struct world_link {
    bool blocked; /* set by world_block only: bytes wait; connections on it break after some time */
    uint64_t latency_ns, jitter_ns;
    uint64_t ns_per_kib;
    uint32_t split_ppm;                       /* a write arrives in pieces */
    uint32_t reset_ppm;                       /* a write breaks the connection, somewhere within */
    uint32_t refuse_ppm;                      /* a connect is refused */
    uint32_t drop_ppm, double_ppm, delay_ppm; /* frames */
    uint64_t delay_ns;                        /* at most, of a delayed frame */
};

struct world_disk {
    uint64_t write_ns, write_jitter_ns; /* of one write */
    bool stalled;                       /* writes under way complete only after it ends */
    uint32_t error_ppm;                 /* a write fails with -EIO, part of it done */
    uint32_t cut_ppm; /* a blocking write (start-up, pool) is the last thing the program does */
    uint64_t capacity, taken; /* bytes; taken by somebody else */
};

struct world_cpu {
    uint32_t stall_ppm; /* a reading of the clock, or a handler's start, comes late by up to
                           stall_ns; and a whole turn by three times that */
    uint64_t stall_ns;
    uint64_t turn_ns; /* what a turn costs at most */
};

/* What happened, for coverage. */
struct world_counts {
    uint64_t events, turns, bytes, connects, refused, resets, timeouts, half_open, held;
    uint64_t frames, frames_lost, frames_doubled, frames_delayed;
    uint64_t writes, writes_torn, writes_lost, write_errors, write_cuts, no_space, stalls, works;
};

struct world *world_new(const struct world_options *options);
/* All programs must be dead and reaped. */
void world_free(struct world *w);

uint64_t world_now(const struct world *w); /* ns since the start of the world, true time */
uint64_t world_hash(const struct world *w);
const struct world_counts *world_counts(const struct world *w);
/* Mixes something that happened into the hash. */
void world_note(struct world *w, uint64_t kind, uint64_t a, uint64_t b);
/* A line into the trace of a host (and to `line`). */
void world_say(struct world *w, uint32_t host, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Calls fn(ctx) after `delay`. */
void world_after(struct world *w, uint64_t delay, void (*fn)(void *ctx), void *ctx);
/* Takes the next event; false: there is none. */
bool world_step(struct world *w);
/* Steps until true time `until`, or until *stop. */
void world_run(struct world *w, uint64_t until, const bool *stop);

struct io *world_io(struct world *w, uint32_t host);
struct trace *world_trace(struct world *w, uint32_t host); /* for its program */
bool world_on(const struct world *w, uint32_t host);       /* a program runs there */
bool world_dead(const struct world *w,
                uint32_t host); /* world_die was called, world_reap not yet */

enum world_death {
    WORLD_EXIT,  /* the kernel says goodbye on its connections: end of stream or reset */
    WORLD_POWER, /* nobody says anything; the clock starts at another value */
};
void world_boot(struct world *w, uint32_t host);
void world_enter(struct world *w, uint32_t host);
void world_leave(struct world *w, uint32_t host);
void world_die(struct world *w, uint32_t host);
void world_reap(struct world *w, uint32_t host, enum world_death how);

/* Faults. */
struct world_link *world_link(struct world *w, uint32_t from, uint32_t to);
void world_block(struct world *w, uint32_t from, uint32_t to, bool blocked);
void world_reset_one(struct world *w); /* some connection, anywhere */
struct world_disk *world_disk(struct world *w, uint32_t host);
void world_disk_resume(struct world *w, uint32_t host); /* ends a stall */
bool world_write_failed(struct world *w,
                        uint32_t host); /* the program there was told so, and lives on */
struct world_cpu *world_cpu(struct world *w, uint32_t host);
void world_pause(struct world *w, uint32_t host,
                 uint64_t duration); /* no turns; the kernel goes on */
void world_resume(struct world *w, uint32_t host);
bool world_paused(const struct world *w, uint32_t host);
void world_wall_jump(struct world *w, uint32_t host, int64_t ms);
void world_set_rate(struct world *w, uint32_t host, int32_t ppm);

enum world_damage { WORLD_FLIP, WORLD_ZERO, WORLD_MISDIRECT, WORLD_DAMAGES };
/* Damages one block of a host that is down: one that was acknowledged, and acknowledged before a
 * later write was begun, so that what the log says about `synced` covers it. False: there is none.
 */
bool world_damage(struct world *w, uint32_t host, enum world_damage kind, char *what,
                  size_t what_size);

/* Takes all files away from a host that is down. */
void world_format(struct world *w, uint32_t host);

#endif
