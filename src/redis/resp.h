/* Parsing RESP requests: arrays of bulk strings, or inline commands (a line of words, with quotes
 * as in Redis).
 *
 * resp_parse looks at the start of `in` and returns
 *
 *   n > 0  The bytes of one whole request. args->v[0 .. count-1] are slices of `in` (of
 *          args->scratch for an inline command), valid until either changes. count may be 0 (an
 *          empty line, "*0"): skip it.
 *   0      More bytes are needed. args->want is a lower bound of the request's whole size, so that
 *          the caller can grow once; no more than RESP_REQUEST_MAX, but only what the client
 * claims. -1     Malformed: send "-ERR " and args->error ("Protocol error: ...", worded as Redis
 * words it), and close.
 *
 * After 0, call it again with the same bytes and more behind them (they may have moved): what was
 * parsed is not parsed again, that is what the offsets in args are for. Start an unrelated input
 * with resp_reset.
 *
 * Allocates only args->v, spans and scratch, which grow as bytes arrive: at most RESP_ARGS_MAX
 * arguments, RESP_BULK_MAX bytes each, RESP_INLINE_MAX bytes in a line; a size is never believed
 * before its bytes are there. Stricter than Redis in one thing: a bulk must end in CR LF. */
#ifndef SYNOD_REDIS_RESP_H
#define SYNOD_REDIS_RESP_H

#include "base/buf.h"

#define RESP_ARGS_MAX    (1024 * 1024)
#define RESP_BULK_MAX    (32u << 20) /* the limit of a value; larger is an error that says so */
#define RESP_REQUEST_MAX (64u << 20) /* of a whole request */
#define RESP_INLINE_MAX  (64u << 10)

struct resp_span {
    size_t at, size;
};

struct resp_args {
    struct bytes *v;
    uint32_t count;
    uint32_t capacity;
    const char *error;
    size_t want;
    struct buf scratch;
    /* Where to resume: offsets, as the input may move between calls. */
    size_t at;               /* parsed up to here */
    uint32_t expected, have; /* arguments announced (0: the header is not here yet), and parsed */
    uint32_t span_capacity;
    struct resp_span *spans; /* the parsed arguments of an unfinished request */
};

void resp_args_deinit(struct resp_args *a);
void resp_reset(struct resp_args *a);
int64_t resp_parse(struct resp_args *a, struct bytes in);

/* Size in bytes of the one whole reply at the start of `in` (any RESP2/3 type, nested to depth 32),
 * 0: incomplete, -1: malformed. For forwarding replies, and for clients. Begins at the start each
 * time. */
int64_t resp_reply_size(struct bytes in);

#endif
