/* The real world under a node: one event loop (reactor) on io_uring or epoll, a small pool for
 * blocking work, files in a data directory, sockets. The only place with syscalls, threads and
 * atomics. See base/io.h for the contract it implements. */
#ifndef SYNOD_HOST_H
#define SYNOD_HOST_H

#include "base/io.h"

enum host_backend { HOST_AUTO, HOST_URING, HOST_EPOLL };
/* Who writes files under io_uring: whichever suits the disk and the moment (file_pool.c), or always
 * the one. */
enum host_writes { HOST_WRITES_AUTO, HOST_WRITES_BY_RING, HOST_WRITES_BY_THREADS };

struct host_options {
    const char *data_dir; /* made if missing; locked (flock on "LOCK") while the host lives; NULL:
                             no files (clients, tests) */
    enum host_backend backend;
    enum host_writes writes;
    unsigned pool_threads;  /* 0: two */
    unsigned batch_threads; /* of io_work.batch; 0: two */
    /* One line for the operator, without newline (for example: why io_uring is not used). */
    void (*log)(void *ctx, const char *line);
    void *log_ctx;
    /* Faults to plant, for tests of real processes; NULL: none. Comma-separated, unknown ones are
     * an error of host_new: write-eio-after=N     every file write after the first N fails with
     * -EIO, writing nothing enospc-room=BYTES     io_room never says more than this
     *   dsync-delay-ms=N      a finished io_file_write is reported N ms later */
    const char *fault;
};

struct host;

/* NULL on failure, with one line in `error` that says what failed and what to do: directory not
 * writable, locked by another process, io_uring asked for but forbidden, and so on. HOST_AUTO falls
 * back to epoll with one log line. */
struct host *host_new(const struct host_options *options, char *error, size_t error_size);
/* Ends the host: waits for file operations under way, drops connections without a word, calls
 * nothing back. Called by the thread that ran it (or by any, if none did). Files still open need no
 * io_file_close, and must not be used after it. */
void host_free(struct host *h);

struct io *host_io(struct host *h);
const char *host_backend_name(const struct host *h); /* "io_uring" or "epoll" */

/* Runs turns until host_stop, calling io->client.turn (if there is one) in each. May be called
 * again, by the same thread. What the last turn appended to out-buffers is still handed to the
 * system. */
void host_run(struct host *h);
/* Any thread or signal handler: host_run returns after the present turn. */
void host_stop(struct host *h);

/* The port a listener got, for one that asked for port 0. */
uint16_t host_listener_port(const struct io_listener *l);

/* Counters for INFO and bench; read by the thread that runs the host. */
struct host_stats {
    uint64_t turns;  /* calls of client.turn */
    uint64_t waits;  /* visits to the kernel to wait; each at least one system call */
    uint64_t reads;  /* arrivals of bytes */
    uint64_t writes; /* sends started */
    uint64_t accepts;
    uint64_t
        accept_pauses; /* times accepting was put off for 100 ms: no descriptors or memory left */
    uint64_t file_writes; /* io_file_write that are done, with their times from call to done */
    uint64_t file_write_ns_total, file_write_ns_max;
    uint64_t connections; /* now, those being closed or connected included */
};
void host_stats(const struct host *h, struct host_stats *out);

#endif
