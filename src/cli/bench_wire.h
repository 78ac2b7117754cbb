/* What the load generator says and hears: RESP2 to a synod or Redis server, gRPC (HTTP/2) to etcd.
 *
 * Both sides are bytes in caller's buffers; no I/O here. An operation is one request of the mix; a
 * wire may need more than one message for it (a write followed by WAIT) and tells when the whole is
 * answered. */
#ifndef SYNOD_CLI_BENCH_WIRE_H
#define SYNOD_CLI_BENCH_WIRE_H

#include "base/buf.h"

enum bench_op {
    BENCH_SET,
    BENCH_GET,
    BENCH_HSET,
    BENCH_HGET,
    BENCH_INCR,
    BENCH_PING,
    BENCH_TRANSFER, /* bench_wire_transfer */
    BENCH_OPS
};

#define BENCH_PIPELINE_MAX 1024

struct bench_wire {
    bool etcd;
    unsigned wait_replicas; /* > 0: WAIT n 0 behind each write, whose reply must be at least n */
    /* One connection's state. */
    uint8_t owed[4 * BENCH_PIPELINE_MAX]; /* RESP: what the replies to come are for, a ring; etcd:
                                             which streams have DATA */
    unsigned first, count;
    bool write_failed;   /* RESP: the reply before WAIT's was an error, or one of EXEC's replies */
    uint32_t left;       /* RESP: of EXEC's replies */
    uint32_t stream;     /* etcd: the next stream number */
    uint32_t data_bytes; /* etcd: taken since the window was last opened */
};

enum bench_heard {
    BENCH_MORE,  /* nothing whole is here */
    BENCH_OTHER, /* something that ends no operation; go on */
    BENCH_OK,    /* an operation succeeded */
    BENCH_ERROR, /* an operation failed: *error is its text */
    BENCH_BAD,   /* not the protocol */
};

/* At the start of a connection. */
void bench_wire_open(struct bench_wire *w, struct buf *out);
/* Appends one operation. */
void bench_wire_say(struct bench_wire *w, struct buf *out, enum bench_op op, struct bytes key,
                    struct bytes value);
/* The same: `amount` from one counter to another, as one transaction: MULTI, DECRBY, INCRBY, EXEC.
 * etcd, which cannot count, is asked for a Txn that puts two values: less than a transfer, which
 * would have to read them first. */
void bench_wire_transfer(struct bench_wire *w, struct buf *out, struct bytes from, struct bytes to,
                         uint32_t amount);
/* Takes one message from the front of `in`; *used bytes are done with. May append to `out`
 * (HTTP/2's own acknowledgements). */
enum bench_heard bench_wire_hear(struct bench_wire *w, struct bytes in, size_t *used,
                                 struct buf *out, struct bytes *error);

#endif
