/* A small RESP2 client for the command line: one connection, pipelines, no threads.
 *
 * Requests are appended, then sent by client_flush; replies come back in order. Each reply is a
 * tree that lives until the next client_next, client_receive, client_wait or client_free on the
 * same client. A client that met an error says so in client_error and answers every later call with
 * failure; free it and connect again.
 *
 * Everything a server could make us hold is bounded: a reply of at most CLIENT_REPLY_MAX bytes,
 * arrays nested at most CLIENT_DEPTH_MAX deep. */
#ifndef SYNOD_CLI_CLIENT_H
#define SYNOD_CLI_CLIENT_H

#include "base/bytes.h"

#define CLIENT_REPLY_MAX (256u << 20)
#define CLIENT_DEPTH_MAX 8

enum client_type {
    CLIENT_STATUS,
    CLIENT_ERROR,
    CLIENT_INTEGER,
    CLIENT_BULK,
    CLIENT_ARRAY,
    CLIENT_NIL
};

struct client_reply {
    enum client_type type;
    int64_t integer;   /* CLIENT_INTEGER */
    struct bytes text; /* CLIENT_STATUS, CLIENT_ERROR (without the leading byte), CLIENT_BULK */
    size_t count;      /* CLIENT_ARRAY */
    const struct client_reply *items; /* CLIENT_ARRAY */
};

struct client;

/* Connects to "host:port" within timeout_ms, which later bounds each wait of client_flush and
 * client_call too. NULL on failure, with one line in error[error_size]. */
struct client *client_connect(const char *address, uint32_t timeout_ms, char *error,
                              size_t error_size);
void client_free(struct client *c); /* NULL is fine */

/* Appends one request: argc words of any bytes. Nothing is sent yet. */
void client_append(struct client *c, size_t argc, const struct bytes *argv);
/* The same from words of a plain text, separated by single spaces: client_appendf(c, "HLEN pkg:%s",
 * name). At most 4096 bytes. */
void client_appendf(struct client *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Sends all that was appended, waiting for room at most the timeout. False: client_error says why.
 */
bool client_flush(struct client *c);

/* The next reply if it is here in full: 1 with *out set, 0 not yet, -1 failed. Does not wait. */
int client_next(struct client *c, const struct client_reply **out);
/* Reads once what has arrived, waiting at most wait_ms for it (0: not at all). 1 something came, 0
 * nothing, -1 failed. */
int client_receive(struct client *c, uint32_t wait_ms);

/* Flushes and waits for one reply. NULL: client_error says why. Only where no other reply is
 * outstanding. */
const struct client_reply *client_wait(struct client *c);
/* client_appendf and client_wait in one. */
const struct client_reply *client_call(struct client *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

int client_fd(const struct client *c); /* for poll */
const char *client_error(const struct client *c);
static inline bool client_reply_is(const struct client_reply *r, enum client_type type,
                                   const char *text)
{
    return r && r->type == type && bytes_equal(r->text, bytes_str(text));
}
/* True for an error reply that begins with this word ("LOADING", "-" left out). */
bool client_reply_failed(const struct client_reply *r, const char *word);

/* Parses one reply from the front of `in`: bytes used, 0 if more are needed, -1 if it is none.
 * Arrays come from the list *arrays, to be freed with client_arrays_free. Exposed for tests and the
 * fuzzer. */
struct client_arrays;
int64_t client_parse(struct bytes in, struct client_reply *out, struct client_arrays **arrays);
void client_arrays_free(struct client_arrays **arrays);

#endif
