/* The real world under a node: one event loop (reactor) on io_uring or epoll, a small pool for blocking work, files in a data
 * directory, sockets. The only place with syscalls, threads and atomics. See base/io.h for the contract it implements. */
#ifndef SYNOD_HOST_H
#define SYNOD_HOST_H

#include "base/io.h"

enum host_backend { HOST_AUTO, HOST_URING, HOST_EPOLL };

struct host_options {
    const char *data_dir; /* made if missing; locked (flock on "LOCK") while the host lives; NULL: no files (clients, tests) */
    enum host_backend backend;
    unsigned pool_threads; /* 0: two */
    /* One line for the operator, without newline (for example: why io_uring is not used). */
    void (*log)(void *ctx, const char *line);
    void *log_ctx;
};

struct host;

/* NULL on failure, with one line in `error` that says what failed and what to do: directory not writable, locked by another
 * process, io_uring asked for but forbidden, and so on. HOST_AUTO falls back to epoll with one log line. */
struct host *host_new(const struct host_options *options, char *error, size_t error_size);
void host_free(struct host *h);

struct io *host_io(struct host *h);
const char *host_backend_name(const struct host *h); /* "io_uring" or "epoll" */

/* Runs turns until host_stop, calling io->client.turn in each. */
void host_run(struct host *h);
/* Any thread or signal handler: host_run returns after the present turn. */
void host_stop(struct host *h);

/* Counters for INFO and bench. */
struct host_stats {
    uint64_t turns, reads, writes, accepts, file_writes, file_write_ns_total, file_write_ns_max, connections;
};
void host_stats(const struct host *h, struct host_stats *out);

#endif
