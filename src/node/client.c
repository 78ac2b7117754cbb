/* Client connections. Requests are taken off the input one after another; each gets an answer in a
 * ring, in order, and answers leave in order as soon as what they saw is chosen. Replies of
 * commands that were evaluated here wait in one buffer; others in their request. */
#include "node/request.h"
#include "base/assert.h"
#include "base/mem.h"

#include <stdio.h>

#define CLIENT_ANSWERS_MAX 4096 /* in flight on one connection, before its input waits */
#define ANSWER_DEADLINE    (10000 * MS)
#define CLIENT_HELD_MAX    (4u << 20)
#define CLIENT_ASYNC_MAX   (8u << 20)  /* bytes that its requests hold, or soon may */
#define REPLY_EXPECTED     (64u << 10) /* a first guess, so that a pipeline begins with some 100 */

/* ---- answers ---- */

static struct answer *answer_add(struct client *c)
{
    if (c->answer_count == c->answer_capacity) {
        uint32_t capacity = c->answer_capacity ? 2 * c->answer_capacity : 8;
        struct answer *bigger = mem_alloc(capacity * sizeof *bigger);
        for (uint32_t i = 0; i < c->answer_count; i++)
            bigger[i] = c->answers[(c->answer_head + i) & (c->answer_capacity - 1)];
        mem_free(c->answers);
        c->answers = bigger;
        c->answer_head = 0;
        c->answer_capacity = capacity;
    }
    if (c->answer_count == 0) list_push(&c->node->waiting, &c->waiting);
    return &c->answers[(c->answer_head + c->answer_count++) & (c->answer_capacity - 1)];
}

/* Is the command now answered to be silent? Its effects happen, its reply does not leave. */
static bool reply_silent(struct client *c)
{
    enum client_reply_mode mode = c->reply_mode;
    if (mode == CLIENT_REPLY_SKIP_NEXT) c->reply_mode = CLIENT_REPLY_SKIP;
    if (mode == CLIENT_REPLY_SKIP) c->reply_mode = CLIENT_REPLY_ON;
    return mode != CLIENT_REPLY_ON;
}

void client_answer(struct client *c, struct hold hold, size_t held_before)
{
    bool silent = reply_silent(c);
    if (silent) c->held.size = held_before;
    ASSERT(c->held.size - held_before <= UINT32_MAX);
    *answer_add(c) = (struct answer){.hold = hold,
                                     .size = (uint32_t)(c->held.size - held_before),
                                     .silent = silent,
                                     .began = c->node->now,
                                     .name = c->last_command};
}

struct request *client_request(struct client *c)
{
    struct node *n = c->node;
    struct request *r = request_new(n);
    r->client = c;
    r->seq = c->answer_seq + c->answer_count;
    r->version = c->version;
    c->async++;
    *answer_add(c) = (struct answer){.hold = HOLD_NONE,
                                     .silent = reply_silent(c),
                                     .began = n->now,
                                     .name = c->last_command,
                                     .request = r};
    return r;
}

static void held_drop(struct client *c)
{
    if (c->held_at == c->held.size) {
        c->held_at = c->held.size = 0;
        if (c->held.capacity > 64 * 1024) buf_deinit(&c->held);
    } else if (c->held_at > 256 * 1024) {
        buf_drop_front(&c->held, c->held_at);
        c->held_at = 0;
    }
}

void client_hold_bytes(struct client *c, struct request *r, size_t bytes)
{
    c->async_bytes += bytes;
    r->counted += bytes;
}

void client_wrote(struct client *c, uint32_t group)
{
    uint32_t words = group / 64 + 1;
    if (words > c->written_words) {
        c->written = mem_realloc(c->written, words * sizeof *c->written);
        memset(c->written + c->written_words, 0, (words - c->written_words) * sizeof *c->written);
        c->written_words = words;
    }
    c->written[group / 64] |= 1ull << group % 64;
}

static void request_finish(struct client *c, struct request *r, struct buf *out, bool silent)
{
    size_t size = r->reply.size, less = c->reply_expected - c->reply_expected / 8;
    if (!silent) buf_append_bytes(out, buf_bytes(&r->reply));
    c->reply_expected = size > less ? size : less;
    ASSERT(c->async > 0 && c->async_bytes >= r->counted);
    c->async--;
    c->async_bytes -= r->counted;
    request_free(r);
}

/* SLOWLOG. Here it is the time to the answer that counts, disks and other nodes included: the
 * command itself is never what takes long. */
static void slow_note(struct client *c, const struct answer *a)
{
    struct node *n = c->node;
    int64_t micros = n->now > a->began ? (int64_t)((n->now - a->began) / 1000) : 0;
    if (n->slow_micros < 0 || micros < n->slow_micros) return;
    struct slow_entry *e = &n->slow[n->slow_count++ % (sizeof n->slow / sizeof *n->slow)];
    *e = (struct slow_entry){
        .id = n->slow_id++, .at_ms = n->wall_ms, .micros = micros, .name = a->name};
    snprintf(e->client, sizeof e->client, "%s", c->conn->peer);
}

/* Moves the first answer to the connection, if it may leave. */
static bool answer_send(struct client *c)
{
    struct answer *a = &c->answers[c->answer_head];
    struct buf *out = io_conn_out(c->conn);
    struct reply err = {out, c->version};
    enum hold_state state;

    if (a->request) {
        if (a->request->state != REQUEST_DONE) return false;
        request_finish(c, a->request, out, a->silent);
    } else {
        state = group_hold_state(c->node, &a->hold);
        if (state == HOLD_WAIT && c->node->now < a->began + ANSWER_DEADLINE) return false;
        /* Nobody waits for ever, not even where the log cannot be written and nobody else can. */
        if (state == HOLD_WAIT) state = a->hold.read_seq ? HOLD_NOT_DONE : HOLD_UNKNOWN;
        if (state == HOLD_READY)
            buf_append(out, c->held.data + c->held_at, a->size);
        else if (!a->silent)
            reply_error(&err, state == HOLD_UNKNOWN ? TEXT_UNKNOWN : TEXT_NOT_DONE);
        if (state == HOLD_NOT_DONE) c->node->stats.not_done++;
        if (state == HOLD_UNKNOWN) c->node->stats.unknown++;
        c->held_at += a->size;
    }
    slow_note(c, a);
    c->answer_head = (c->answer_head + 1) & (c->answer_capacity - 1);
    c->answer_count--;
    c->answer_seq++;
    return true;
}

static bool must_pause(const struct client *c)
{
    return c->barrier || c->stalled || c->closing || c->answer_count >= CLIENT_ANSWERS_MAX ||
           c->held.size - c->held_at > CLIENT_HELD_MAX ||
           c->async_bytes + c->async * c->reply_expected > CLIENT_ASYNC_MAX ||
           io_conn_backlog(c->conn) > IO_OUT_HIGH;
}

void client_pause(struct client *c)
{
    bool pause = must_pause(c);
    if (pause == c->paused) return;
    c->paused = pause;
    io_conn_pause(c->conn, pause);
}

void client_release(struct client *c)
{
    while (c->answer_count && io_conn_backlog(c->conn) <= 2 * IO_OUT_HIGH && answer_send(c))
        continue;
    held_drop(c);
    if (c->answer_count == 0) list_remove(&c->waiting);
    if (c->closing && c->answer_count == 0) {
        struct io_conn *conn = c->conn;
        client_end(c);
        io_conn_close(conn, true);
        return;
    }
    client_pause(c);
}

void client_unblock(struct client *c)
{
    c->barrier = NULL;
    client_pause(c);
}

struct client *client_by_id(struct node *n, uint64_t id)
{
    for (struct list *l = n->clients.next; l != &n->clients; l = l->next) {
        struct client *c = LIST_OF(l, struct client, link);
        if (c->id == id) return c;
    }
    return NULL;
}

/* ---- the connection ---- */

static void client_opened(void *ctx, struct io_conn *conn)
{
    struct node *n = ctx;
    node_begin(n);
    if (n->client_count >= n->config.clients_max) {
        n->stats.rejected++;
        buf_append_bytes(io_conn_out(conn), BYTES("-ERR max number of clients reached\r\n"));
        io_conn_close(conn, true);
        return;
    }
    struct client *c = mem_zalloc(sizeof *c);
    c->node = n;
    c->conn = conn;
    c->id = ++n->client_id;
    c->version = 2;
    c->created_at = c->active_at = n->now;
    c->created_ms = io_wall_ms(n->io);
    c->last_command = "NULL";
    c->reply_expected = REPLY_EXPECTED;
    list_push(&n->clients, &c->link);
    list_init(&c->waiting);
    n->client_count++;
    n->stats.connections++;
    io_conn_set_user(conn, c);
    io_conn_set_limit(conn, RESP_REQUEST_MAX + 1024);
}

void client_end(struct client *c)
{
    struct node *n = c->node;
    request_client_gone(n, c);
    session_free(c);
    script_client_gone(c);
    list_remove(&c->link);
    list_remove(&c->waiting);
    n->client_count--;
    io_conn_set_user(c->conn, NULL);
    resp_args_deinit(&c->args);
    buf_deinit(&c->held);
    multi_free(c);
    mem_free(c->answers);
    mem_free(c->written);
    mem_free(c);
}

static void protocol_error(struct client *c)
{
    size_t before = c->held.size;
    reply_errorf(&(struct reply){&c->held, c->version}, "ERR %s", c->args.error);
    c->reply_mode = CLIENT_REPLY_ON;
    client_answer(c, HOLD_NONE, before);
    c->closing = true;
}

static size_t client_data(void *ctx, struct io_conn *conn, struct bytes in)
{
    struct node *n = ctx;
    struct client *c = conn->user;
    size_t done = 0;

    node_begin(n);
    if (!c) return in.size; /* rejected, on its way out */
    c->active_at = n->now;
    while (done < in.size && !must_pause(c) && !n->dead) {
        int64_t size = resp_parse(&c->args, bytes_of(in.data + done, in.size - done));
        if (size == 0) break;
        if (size < 0) {
            protocol_error(c);
            done = in.size;
            break;
        }
        enum script_resolved resolved = c->args.count ? script_resolve(c) : SCRIPT_GO;
        if (resolved != SCRIPT_STALL) done += (size_t)size;
        if (resolved == SCRIPT_GO && c->args.count) request_dispatch(c);
        resp_reset(&c->args);
    }
    c->in_bytes += done;
    n->stats.net_in += done;
    if (c->closing &&
        c->answer_count == 0) { /* QUIT with nothing in flight: the out-buffer has the OK */
        client_end(c);
        io_conn_close(conn, true);
        return in.size;
    }
    client_pause(c);
    return done;
}

static void client_drained(void *ctx, struct io_conn *conn)
{
    struct client *c = conn->user;
    node_begin(ctx);
    if (c) client_release(c);
}

static void client_closed(void *ctx, struct io_conn *conn, int error)
{
    (void)error;
    node_begin(ctx);
    if (conn->user) client_end(conn->user);
}

const struct io_handler client_handler = {.opened = client_opened,
                                          .data = client_data,
                                          .drained = client_drained,
                                          .closed = client_closed};
