/* The command line's RESP2 client: a socket, an out-buffer, an in-buffer, a parser. */
#include "cli/client.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "cli/clock.h"
#include "cli/options.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVE_BYTES (256u << 10)

struct client_arrays {
    struct client_arrays *next;
    struct client_reply items[];
};

struct client {
    int fd;
    uint32_t timeout_ms;
    struct buf out, in;
    size_t taken; /* bytes of `in` that the last reply took; dropped at the next call */
    struct client_reply reply;
    struct client_arrays *arrays;
    bool failed;
    char error[256];
};

/* ---- parsing ---- */

void client_arrays_free(struct client_arrays **arrays)
{
    while (*arrays) {
        struct client_arrays *a = *arrays;
        *arrays = a->next;
        mem_free(a);
    }
}

/* The line at `at`, without its CRLF; false if it is not complete. */
static bool line_take(struct bytes in, size_t *at, struct bytes *line)
{
    const uint8_t *start = in.data + *at;
    const uint8_t *end = memchr(start, '\n', in.size - *at);
    if (!end || end == start || end[-1] != '\r') return false;
    *line = bytes_of(start, (size_t)(end - 1 - start));
    *at = (size_t)(end + 1 - in.data);
    return true;
}

enum parse { PARSE_DONE, PARSE_MORE, PARSE_BAD };

static enum parse reply_parse(struct bytes in, size_t *at, unsigned depth, struct client_reply *out,
                              struct client_arrays **arrays);

static enum parse bulk_parse(struct bytes in, size_t *at, int64_t size, struct client_reply *out)
{
    if (size == -1) {
        out->type = CLIENT_NIL;
        return PARSE_DONE;
    }
    if (size < 0 || size > CLIENT_REPLY_MAX) return PARSE_BAD;
    if (in.size - *at < (size_t)size + 2) return PARSE_MORE;
    if (in.data[*at + (size_t)size] != '\r' || in.data[*at + (size_t)size + 1] != '\n')
        return PARSE_BAD;
    out->type = CLIENT_BULK;
    out->text = bytes_of(in.data + *at, (size_t)size);
    *at += (size_t)size + 2;
    return PARSE_DONE;
}

static enum parse array_parse(struct bytes in, size_t *at, int64_t count, unsigned depth,
                              struct client_reply *out, struct client_arrays **arrays)
{
    if (count == -1) {
        out->type = CLIENT_NIL;
        return PARSE_DONE;
    }
    if (count < 0 || count > CLIENT_REPLY_MAX / 4 || depth == CLIENT_DEPTH_MAX) return PARSE_BAD;
    /* No element is shorter than four bytes, so memory is only taken for what can be here already.
     */
    if ((size_t)count > (in.size - *at) / 4) return PARSE_MORE;

    struct client_arrays *a = mem_alloc(sizeof *a + (size_t)count * sizeof *a->items);
    a->next = *arrays;
    *arrays = a;
    *out = (struct client_reply){.type = CLIENT_ARRAY, .count = (size_t)count, .items = a->items};
    for (size_t i = 0; i < (size_t)count; i++) {
        enum parse p = reply_parse(in, at, depth + 1, &a->items[i], arrays);
        if (p != PARSE_DONE) return p;
    }
    return PARSE_DONE;
}

static enum parse reply_parse(struct bytes in, size_t *at, unsigned depth, struct client_reply *out,
                              struct client_arrays **arrays)
{
    struct bytes line;
    *out = (struct client_reply){.type = CLIENT_NIL};
    if (!line_take(in, at, &line)) return PARSE_MORE;
    if (line.size == 0) return PARSE_BAD;

    struct bytes rest = bytes_of(line.data + 1, line.size - 1);
    int64_t number;
    switch (line.data[0]) {
    case '+': *out = (struct client_reply){.type = CLIENT_STATUS, .text = rest}; return PARSE_DONE;
    case '-': *out = (struct client_reply){.type = CLIENT_ERROR, .text = rest}; return PARSE_DONE;
    case ':':
        if (!bytes_to_i64(rest, &number)) return PARSE_BAD;
        *out = (struct client_reply){.type = CLIENT_INTEGER, .integer = number};
        return PARSE_DONE;
    case '$': return bytes_to_i64(rest, &number) ? bulk_parse(in, at, number, out) : PARSE_BAD;
    case '*':
        return bytes_to_i64(rest, &number) ? array_parse(in, at, number, depth, out, arrays)
                                           : PARSE_BAD;
    default: return PARSE_BAD;
    }
}

int64_t client_parse(struct bytes in, struct client_reply *out, struct client_arrays **arrays)
{
    size_t at = 0;
    if (in.size == 0) return 0;
    enum parse p = reply_parse(in, &at, 0, out, arrays);
    ASSERT(at <= in.size);
    if (p == PARSE_DONE) return (int64_t)at;
    client_arrays_free(arrays);
    *out = (struct client_reply){.type = CLIENT_NIL};
    return p == PARSE_MORE ? 0 : -1;
}

/* ---- the connection ---- */

/* Waits for `events` on fd until the deadline: 1 ready, 0 too late, -1 error. */
static int wait_for(int fd, short events, uint64_t deadline_ms)
{
    for (;;) {
        uint64_t now = clock_ms();
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, now >= deadline_ms ? 0 : (int)(deadline_ms - now));
        if (n > 0) return 1;
        if (n == 0) return 0;
        if (errno != EINTR) return -1;
    }
}

/* A connected socket, or a negative errno. */
static int socket_connect(const struct addrinfo *to, uint64_t deadline_ms)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;

    int error = connect(fd, to->ai_addr, to->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
        socklen_t size = sizeof error;
        int ready = wait_for(fd, POLLOUT, deadline_ms);
        if (ready == 0)
            error = ETIMEDOUT;
        else if (ready < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
            error = errno;
    }
    if (error) {
        close(fd);
        return -error;
    }
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

struct client *client_connect(const char *address, uint32_t timeout_ms, char *error,
                              size_t error_size)
{
    char host[256], service[8];
    uint16_t port;
    if (!address_split(address, host, sizeof host, &port)) {
        snprintf(error, error_size, "'%s' is no HOST:PORT", address);
        return NULL;
    }
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int lookup = getaddrinfo(host, service, &hints, &found);
    if (lookup) {
        snprintf(error, error_size, "cannot find %s: %s", host, gai_strerror(lookup));
        return NULL;
    }

    uint64_t deadline = clock_ms() + timeout_ms;
    int fd = -ENOENT;
    for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next)
        fd = socket_connect(a, deadline);
    freeaddrinfo(found);
    if (fd < 0) {
        snprintf(error, error_size, "cannot reach %s: %s", address, strerror(-fd));
        return NULL;
    }
    struct client *c = mem_zalloc(sizeof *c);
    c->fd = fd;
    c->timeout_ms = timeout_ms;
    return c;
}

void client_free(struct client *c)
{
    if (!c) return;
    close(c->fd);
    buf_deinit(&c->out);
    buf_deinit(&c->in);
    client_arrays_free(&c->arrays);
    mem_free(c);
}

static bool client_failed(struct client *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static bool client_failed(struct client *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!c->failed) vsnprintf(c->error, sizeof c->error, format, args);
    va_end(args);
    c->failed = true;
    return false;
}

int client_fd(const struct client *c)
{
    return c->fd;
}

const char *client_error(const struct client *c)
{
    return c->error;
}

bool client_reply_failed(const struct client_reply *r, const char *word)
{
    size_t size = strlen(word);
    return r && r->type == CLIENT_ERROR && r->text.size >= size &&
           memcmp(r->text.data, word, size) == 0;
}

void client_append(struct client *c, size_t argc, const struct bytes *argv)
{
    buf_printf(&c->out, "*%zu\r\n", argc);
    for (size_t i = 0; i < argc; i++) {
        buf_printf(&c->out, "$%zu\r\n", argv[i].size);
        buf_append_bytes(&c->out, argv[i]);
        buf_append(&c->out, "\r\n", 2);
    }
}

static void append_words(struct client *c, const char *format, va_list args)
{
    char line[4096];
    struct bytes word[64];
    size_t words = 0;
    int size = vsnprintf(line, sizeof line, format, args);
    ASSERT(size > 0 && (size_t)size < sizeof line);

    for (const char *at = line;;) {
        const char *end = strchrnul(at, ' ');
        ASSERT(words < sizeof word / sizeof *word);
        word[words++] = bytes_of(at, (size_t)(end - at));
        if (!*end) break;
        at = end + 1;
    }
    client_append(c, words, word);
}

void client_appendf(struct client *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    append_words(c, format, args);
    va_end(args);
}

bool client_flush(struct client *c)
{
    uint64_t deadline = clock_ms() + c->timeout_ms;
    size_t sent = 0;
    while (!c->failed && sent < c->out.size) {
        ssize_t n = send(c->fd, c->out.data + sent, c->out.size - sent, MSG_NOSIGNAL);
        if (n > 0) {
            sent += (size_t)n;
        } else if (errno == EAGAIN) {
            if (wait_for(c->fd, POLLOUT, deadline) != 1)
                client_failed(c, "the server takes nothing for %u ms", c->timeout_ms);
        } else if (errno != EINTR) {
            client_failed(c, "sending: %s", strerror(errno));
        }
    }
    buf_clear(&c->out);
    return !c->failed;
}

int client_receive(struct client *c, uint32_t wait_ms)
{
    if (c->failed) return -1;
    if (wait_ms && wait_for(c->fd, POLLIN, clock_ms() + wait_ms) == 0) return 0;
    buf_drop_front(&c->in, c->taken);
    c->taken = 0;

    ssize_t n = recv(c->fd, buf_reserve(&c->in, RECEIVE_BYTES), RECEIVE_BYTES, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (n == 0) client_failed(c, "the server closed the connection");
    if (n < 0) client_failed(c, "receiving: %s", strerror(errno));
    if (n <= 0) return -1;

    c->in.size += (size_t)n;
    if (c->in.size > CLIENT_REPLY_MAX)
        client_failed(c, "a reply of more than %u bytes", CLIENT_REPLY_MAX);
    return c->failed ? -1 : 1;
}

int client_next(struct client *c, const struct client_reply **out)
{
    *out = NULL;
    client_arrays_free(&c->arrays);
    if (c->failed) return -1;
    int64_t used =
        client_parse(bytes_of(c->in.data + c->taken, c->in.size - c->taken), &c->reply, &c->arrays);
    if (used < 0) client_failed(c, "the server does not speak RESP");
    if (used <= 0) return (int)used;
    c->taken += (size_t)used;
    *out = &c->reply;
    return 1;
}

const struct client_reply *client_wait(struct client *c)
{
    const struct client_reply *reply;
    uint64_t deadline = clock_ms() + c->timeout_ms;
    if (!client_flush(c)) return NULL;
    for (;;) {
        int got = client_next(c, &reply);
        if (got) return got > 0 ? reply : NULL;
        uint64_t now = clock_ms();
        if (now >= deadline) {
            client_failed(c, "no answer within %u ms", c->timeout_ms);
            return NULL;
        }
        if (client_receive(c, (uint32_t)(deadline - now)) < 0) return NULL;
    }
}

const struct client_reply *client_call(struct client *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    append_words(c, format, args);
    va_end(args);
    return client_wait(c);
}
