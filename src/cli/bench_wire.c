/* RESP2 and just enough of gRPC.
 *
 * The gRPC side sends requests with literal header fields only (RFC 7541, 6.2.2) and understands of
 * the answers what a load generator needs: a stream that carried DATA and then ended was answered;
 * one that ended without DATA was refused (gRPC sends errors as trailers alone). It keeps the
 * flow-control windows open and answers SETTINGS and PING. */
#include "cli/bench_wire.h"

#include "base/assert.h"

#include <stdio.h>

/* ---- RESP ---- */

enum { OWED_OP, OWED_BEFORE_WAIT, OWED_WAIT, OWED_BEFORE_EXEC, OWED_EXEC };

static void resp_word(struct buf *out, struct bytes word)
{
    char head[24];
    int size = snprintf(head, sizeof head, "$%zu\r\n", word.size);
    buf_append(out, head, (size_t)size);
    buf_append_bytes(out, word);
    buf_append(out, "\r\n", 2);
}

static void resp_owe(struct bench_wire *w, uint8_t kind)
{
    ASSERT(w->count < sizeof w->owed);
    w->owed[(w->first + w->count++) % sizeof w->owed] = kind;
}

static void resp_say(struct bench_wire *w, struct buf *out, enum bench_op op, struct bytes key,
                     struct bytes value)
{
    static const struct {
        const char *head;
        bool keyed, field, valued, writes;
    } form[BENCH_OPS] = {
        [BENCH_SET] = {"*3\r\n$3\r\nSET\r\n", true, false, true, true},
        [BENCH_GET] = {"*2\r\n$3\r\nGET\r\n", true, false, false, false},
        [BENCH_HSET] = {"*4\r\n$4\r\nHSET\r\n", true, true, true, true},
        [BENCH_HGET] = {"*3\r\n$4\r\nHGET\r\n", true, true, false, false},
        [BENCH_INCR] = {"*2\r\n$4\r\nINCR\r\n", true, false, false, true},
        [BENCH_PING] = {"*1\r\n$4\r\nPING\r\n", false, false, false, false},
    };
    buf_append(out, form[op].head, strlen(form[op].head));
    if (form[op].keyed) resp_word(out, key);
    if (form[op].field) resp_word(out, BYTES("field"));
    if (form[op].valued) resp_word(out, value);

    bool wait = w->wait_replicas && form[op].writes;
    resp_owe(w, wait ? OWED_BEFORE_WAIT : OWED_OP);
    if (!wait) return;
    char request[64];
    int size = snprintf(request, sizeof request, "*3\r\n$4\r\nWAIT\r\n$%d\r\n%u\r\n$1\r\n0\r\n",
                        w->wait_replicas < 10 ? 1 : 2, w->wait_replicas);
    buf_append(out, request, (size_t)size);
    resp_owe(w, OWED_WAIT);
}

static void resp_transfer(struct bench_wire *w, struct buf *out, struct bytes from, struct bytes to,
                          struct bytes amount)
{
    buf_append_bytes(out, BYTES("*1\r\n$5\r\nMULTI\r\n*3\r\n$6\r\nDECRBY\r\n"));
    resp_word(out, from), resp_word(out, amount);
    buf_append_bytes(out, BYTES("*3\r\n$6\r\nINCRBY\r\n"));
    resp_word(out, to), resp_word(out, amount);
    buf_append_bytes(out, BYTES("*1\r\n$4\r\nEXEC\r\n"));
    for (int i = 0; i < 3; i++) resp_owe(w, OWED_BEFORE_EXEC);
    resp_owe(w, OWED_EXEC);
}

/* EXEC's answer: an array of as many replies as follow, or an error. True: this was the last of it.
 */
static bool exec_is_over(struct bench_wire *w, uint8_t type, int64_t number)
{
    if (type == '*') {
        w->write_failed = number <= 0;
        w->left = number <= 0 ? 0 : (uint32_t)number;
        return number <= 0;
    }
    if (w->left == 0) { /* an error instead */
        w->write_failed = true;
        return true;
    }
    w->write_failed |= type == '-';
    return --w->left == 0;
}

static enum bench_heard resp_hear(struct bench_wire *w, struct bytes in, size_t *used,
                                  struct bytes *error)
{
    const uint8_t *end = in.size ? memchr(in.data, '\n', in.size) : NULL;
    if (!end) return BENCH_MORE;
    if (end - in.data < 2 || w->count == 0) return BENCH_BAD;

    struct bytes line = bytes_of(in.data + 1, (size_t)(end - in.data) - 2);
    int64_t number = 0;
    *used = (size_t)(end + 1 - in.data);
    if (in.data[0] == '$') {
        if (!bytes_to_i64(line, &number) || number > (1 << 29)) return BENCH_BAD;
        if (number >= 0) *used += (size_t)number + 2;
        if (in.size < *used) return BENCH_MORE;
    } else if (in.data[0] == ':' || (in.data[0] == '*' && w->owed[w->first] == OWED_EXEC)) {
        if (!bytes_to_i64(line, &number)) return BENCH_BAD;
    } else if (in.data[0] != '+' && in.data[0] != '-') {
        return BENCH_BAD;
    }

    bool failed = in.data[0] == '-';
    uint8_t kind = w->owed[w->first];
    if (kind == OWED_EXEC && in.data[0] == '*' && w->left) return BENCH_BAD;
    bool replaced = kind == OWED_EXEC && failed && w->left == 0;
    if (kind == OWED_EXEC && !exec_is_over(w, in.data[0], number)) return BENCH_OTHER;
    w->first = (w->first + 1) % sizeof w->owed;
    w->count--;
    if (failed) *error = line;
    if (kind == OWED_BEFORE_EXEC) return BENCH_OTHER;
    if (kind == OWED_EXEC) {
        failed = w->write_failed;
        if (failed && !replaced) *error = BYTES("EXEC with an error in it");
    }
    if (kind == OWED_BEFORE_WAIT) {
        w->write_failed = failed;
        return BENCH_OTHER;
    }
    if (kind == OWED_WAIT && !failed && (w->write_failed || number < (int64_t)w->wait_replicas)) {
        *error = w->write_failed ? BYTES("WRITE refused before WAIT")
                                 : BYTES("WAIT reached too few replicas");
        failed = true;
    }
    return failed ? BENCH_ERROR : BENCH_OK;
}

/* ---- etcd: gRPC over HTTP/2 (RFC 9113) ---- */

enum {
    FRAME_DATA,
    FRAME_HEADERS,
    FRAME_PRIORITY,
    FRAME_RST,
    FRAME_SETTINGS,
    FRAME_PUSH,
    FRAME_PING,
    FRAME_GOAWAY,
    FRAME_WINDOW
};
enum { FRAME_HEAD = 9, FLAG_END_STREAM = 1, FLAG_ACK = 1, FLAG_END_HEADERS = 4 };

#define WINDOW_STEP (1u << 20)

static void frame_head(struct buf *out, size_t size, uint8_t type, uint8_t flags, uint32_t stream)
{
    const uint8_t head[FRAME_HEAD] = {
        (uint8_t)(size >> 16),
        (uint8_t)(size >> 8),
        (uint8_t)size,
        type,
        flags,
        (uint8_t)(stream >> 24),
        (uint8_t)(stream >> 16),
        (uint8_t)(stream >> 8),
        (uint8_t)stream,
    };
    buf_append(out, head, sizeof head);
}

static void u32be(struct buf *out, uint32_t v)
{
    const uint8_t b[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    buf_append(out, b, sizeof b);
}

static void window_open(struct buf *out, uint32_t bytes)
{
    frame_head(out, 4, FRAME_WINDOW, 0, 0);
    u32be(out, bytes);
}

static void etcd_open(struct bench_wire *w, struct buf *out)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    buf_append(out, preface, sizeof preface - 1);
    frame_head(out, 0, FRAME_SETTINGS, 0, 0);
    window_open(out, WINDOW_STEP);
    w->stream = 1;
}

/* One call of a method with one message. The path is a literal header field (RFC 7541), with what
 * stands before it: :method POST, :scheme http, both from the static table. */
static void etcd_request(struct bench_wire *w, struct buf *out, struct bytes path,
                         struct bytes message)
{
    /* More literals: :authority, content-type, te. */
    static const char rest[] = "\x01\x04"
                               "etcd"
                               "\x0f\x10\x10"
                               "application/grpc"
                               "\x00\x02"
                               "te"
                               "\x08"
                               "trailers";
    frame_head(out, path.size + sizeof rest - 1, FRAME_HEADERS, FLAG_END_HEADERS, w->stream);
    buf_append_bytes(out, path);
    buf_append(out, rest, sizeof rest - 1);
    frame_head(out, 5 + message.size, FRAME_DATA, FLAG_END_STREAM, w->stream);
    buf_u8(out, 0); /* not compressed */
    u32be(out, (uint32_t)message.size);
    buf_append_bytes(out, message);
    w->stream += 2;
}

static void etcd_say(struct bench_wire *w, struct buf *out, enum bench_op op, struct bytes key,
                     struct bytes value)
{
    bool writes = op == BENCH_SET || op == BENCH_HSET || op == BENCH_INCR;
    struct buf body = {0};
    buf_u8(&body, 0x0a), buf_blob(&body, key);
    if (writes) buf_u8(&body, 0x12), buf_blob(&body, value);
    etcd_request(w, out,
                 writes ? BYTES("\x83\x86\x04\x14/etcdserverpb.KV/Put")
                        : BYTES("\x83\x86\x04\x16/etcdserverpb.KV/Range"),
                 buf_bytes(&body));
    buf_deinit(&body);
}

static enum bench_heard etcd_hear(struct bench_wire *w, struct bytes in, size_t *used,
                                  struct buf *out, struct bytes *error)
{
    if (in.size < FRAME_HEAD) return BENCH_MORE;
    size_t size = (size_t)in.data[0] << 16 | (size_t)in.data[1] << 8 | in.data[2];
    uint8_t type = in.data[3], flags = in.data[4];
    uint32_t stream = (uint32_t)(be64_get(in.data + 1) & 0x7fffffff);
    if (size > 1u << 24) return BENCH_BAD;
    if (in.size < FRAME_HEAD + size) return BENCH_MORE;
    *used = FRAME_HEAD + size;

    switch (type) {
    case FRAME_SETTINGS:
        if (!(flags & FLAG_ACK)) frame_head(out, 0, FRAME_SETTINGS, FLAG_ACK, 0);
        return BENCH_OTHER;
    case FRAME_PING:
        if (flags & FLAG_ACK || size != 8) return BENCH_OTHER;
        frame_head(out, 8, FRAME_PING, FLAG_ACK, 0);
        buf_append(out, in.data + FRAME_HEAD, 8);
        return BENCH_OTHER;
    case FRAME_DATA:
        w->data_bytes += (uint32_t)size;
        if (w->data_bytes >= WINDOW_STEP / 2) {
            window_open(out, w->data_bytes);
            w->data_bytes = 0;
        }
        if (size >= 5) w->owed[(stream >> 1) % sizeof w->owed] = 1;
        return BENCH_OTHER;
    case FRAME_HEADERS:
        if (!(flags & FLAG_END_STREAM)) return BENCH_OTHER;
        if (w->owed[(stream >> 1) % sizeof w->owed]) {
            w->owed[(stream >> 1) % sizeof w->owed] = 0;
            return BENCH_OK;
        }
        *error = BYTES("GRPC refused");
        return BENCH_ERROR;
    case FRAME_RST: *error = BYTES("GRPC stream reset"); return BENCH_ERROR;
    case FRAME_GOAWAY: return BENCH_BAD;
    default: return BENCH_OTHER;
    }
}

/* A Txn whose success is two puts, compared to nothing. */
static void etcd_transfer(struct bench_wire *w, struct buf *out, struct bytes from, struct bytes to,
                          struct bytes amount)
{
    struct buf body = {0};
    const struct bytes key[2] = {from, to};
    for (int i = 0; i < 2; i++) {
        struct buf put = {0}, request = {0};
        buf_u8(&put, 0x0a), buf_blob(&put, key[i]);
        buf_u8(&put, 0x12), buf_blob(&put, amount);
        buf_u8(&request, 0x12), buf_blob(&request, buf_bytes(&put)); /* RequestOp: request_put */
        buf_u8(&body, 0x12), buf_blob(&body, buf_bytes(&request));   /* success */
        buf_deinit(&put), buf_deinit(&request);
    }
    etcd_request(w, out, BYTES("\x83\x86\x04\x14/etcdserverpb.KV/Txn"), buf_bytes(&body));
    buf_deinit(&body);
}

/* ---- either ---- */

void bench_wire_open(struct bench_wire *w, struct buf *out)
{
    w->first = w->count = 0;
    w->write_failed = false;
    w->data_bytes = 0;
    w->left = 0;
    memset(w->owed, 0, sizeof w->owed);
    if (w->etcd) etcd_open(w, out);
}

void bench_wire_say(struct bench_wire *w, struct buf *out, enum bench_op op, struct bytes key,
                    struct bytes value)
{
    if (w->etcd)
        etcd_say(w, out, op, key, value);
    else
        resp_say(w, out, op, key, value);
}

void bench_wire_transfer(struct bench_wire *w, struct buf *out, struct bytes from, struct bytes to,
                         uint32_t amount)
{
    char text[16];
    int size = snprintf(text, sizeof text, "%u", amount);
    struct bytes number = bytes_of(text, (size_t)size);
    if (w->etcd)
        etcd_transfer(w, out, from, to, number);
    else
        resp_transfer(w, out, from, to, number);
}

enum bench_heard bench_wire_hear(struct bench_wire *w, struct bytes in, size_t *used,
                                 struct buf *out, struct bytes *error)
{
    *used = 0;
    enum bench_heard heard =
        w->etcd ? etcd_hear(w, in, used, out, error) : resp_hear(w, in, used, error);
    if (heard == BENCH_MORE) *used = 0;
    ASSERT(*used <= in.size);
    return heard;
}
