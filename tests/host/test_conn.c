/* host: connections keep the contract of base/io.h on both backends. */
#include "world.h"

#include <pthread.h>

/* The byte at each place of a stream, so that a lost, doubled or moved byte shows. */
static uint8_t stream_byte(uint64_t at)
{
    return (uint8_t)((at * 0x9e3779b97f4a7c15u) >> 56);
}

static void stream_append(struct buf *b, uint64_t at, size_t size)
{
    uint8_t *p = buf_reserve(b, size);
    for (size_t i = 0; i < size; i++) p[i] = stream_byte(at + i);
    b->size += size;
}

static bool stream_matches(const uint8_t *data, uint64_t at, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (data[i] != stream_byte(at + i)) return false;
    return true;
}

/* One end, and all that it is told. Which parts act is chosen by the test. */
struct end {
    struct io_conn *conn;
    int opened, closed, drained, calls;
    int error;
    bool inside;       /* a call of ours into io is going on: no handler may run */
    uint64_t received; /* bytes consumed */
    bool wrong;
    size_t take_multiple; /* consume only whole portions of this; 0: everything */
    bool echo, close_at_once, close_in_data, flush, hold;
    size_t raise_limit;
    size_t in_max; /* the most that was ever offered at once */
    struct prng prng;
    bool pause_often, paused;
    size_t say_at_data; /* append so much of the stream, then close with flush */
    size_t drop_in_drained;
};

static void end_opened(void *ctx, struct io_conn *c)
{
    struct end *e = ctx;
    if (e->inside) e->wrong = true;
    e->conn = c;
    e->opened++;
    if (e->close_at_once) io_conn_close(c, false);
}

static size_t end_data(void *ctx, struct io_conn *c, struct bytes in)
{
    struct end *e = ctx;
    e->calls++;
    if (e->inside || e->paused || in.size == 0 || e->closed) e->wrong = true;
    if (in.size > e->in_max) e->in_max = in.size;
    if (e->raise_limit) io_conn_set_limit(c, e->raise_limit);
    if (e->hold) return 0;
    size_t take = e->take_multiple ? in.size / e->take_multiple * e->take_multiple : in.size;
    if (e->pause_often && prng_chance(&e->prng, 100000)) {
        take = take / 2 / (e->take_multiple ? e->take_multiple : 1) *
               (e->take_multiple ? e->take_multiple : 1);
        e->paused = true;
        io_conn_pause(c, true);
    }
    if (!stream_matches(in.data, e->received, take)) e->wrong = true;
    e->received += take;
    if (e->echo) buf_append(io_conn_out(c), in.data, take);
    if (e->say_at_data) stream_append(io_conn_out(c), 0, e->say_at_data);
    if (e->close_in_data || e->say_at_data) io_conn_close(c, e->flush);
    return take;
}

static void end_drained(void *ctx, struct io_conn *c)
{
    struct end *e = ctx;
    if (e->inside) e->wrong = true;
    e->drained++;
    (void)c;
}

static void end_closed(void *ctx, struct io_conn *c, int error)
{
    struct end *e = ctx;
    if (e->inside || e->closed) e->wrong = true;
    e->closed++;
    e->error = error;
    e->conn = NULL;
    (void)c;
}

static const struct io_handler end_handler = {end_opened, end_data, end_drained, end_closed};

static struct io_conn *end_connect(struct world *w, struct end *e, const char *address)
{
    e->inside = true;
    struct io_conn *c = io_connect(w->io, address, &end_handler, e);
    e->inside = false;
    return c;
}

static bool no_connection_is_left(void *ctx)
{
    struct host_stats stats;
    host_stats(ctx, &stats);
    return stats.connections == 0;
}

static bool end_is_open(void *ctx)
{
    return ((struct end *)ctx)->opened > 0;
}
static bool end_is_closed(void *ctx)
{
    return ((struct end *)ctx)->closed > 0;
}
static bool end_has_data(void *ctx)
{
    return ((struct end *)ctx)->calls > 0;
}

/* ---- streams ---- */

struct echo_run {
    struct end server, client;
    uint64_t size, sent;
    struct prng prng;
};

static bool echo_run_step(void *ctx)
{
    struct echo_run *r = ctx;
    if (r->server.paused && prng_chance(&r->prng, 500000)) {
        r->server.paused = false;
        io_conn_pause(r->server.conn, false);
    }
    while (r->client.conn && r->sent < r->size && io_conn_backlog(r->client.conn) < IO_OUT_HIGH) {
        size_t chunk =
            (size_t)prng_below(&r->prng, prng_chance(&r->prng, 900000) ? 300 : 500000) + 1;
        if (chunk > r->size - r->sent) chunk = (size_t)(r->size - r->sent);
        stream_append(io_conn_out(r->client.conn), r->sent, chunk);
        r->sent += chunk;
        if (prng_chance(&r->prng, 100000)) break;
    }
    return r->client.received == r->size || r->client.closed || r->server.closed;
}

BOTH(a_big_stream_comes_back_byte_for_byte_through_an_echo_that_pauses_and_leaves_rests)
{
    struct world w = {0};
    struct echo_run r = {.size = 7 * 1500000};
    char address[32];
    world_start(&w, backend, NULL);
    prng_init(&r.prng, 1);
    prng_init(&r.server.prng, 2);
    r.server.echo = r.server.pause_often = true;
    r.server.take_multiple = 7;
    world_listen(&w, &end_handler, &r.server, address);
    end_connect(&w, &r.client, address);

    world_run(&w, echo_run_step, &r);

    assert_false(r.server.wrong || r.client.wrong);
    assert_true(r.client.received == r.size && r.server.received == r.size);
    assert_true(r.server.in_max <= 64u << 10);
    world_end(&w);
}

struct slow_reader {
    struct end server;
    int fd;
    uint64_t appended, read;
    bool reading, wrong;
    size_t backlog_max;
};

static bool slow_reader_step(void *ctx)
{
    struct slow_reader *s = ctx;
    struct io_conn *c = s->server.conn;
    if (!s->reading && c && io_conn_backlog(c) < 2 * IO_OUT_HIGH && s->appended < 64u << 20) {
        stream_append(io_conn_out(c), s->appended, 100000);
        s->appended += 100000;
        return false;
    }
    if (c && io_conn_backlog(c) > s->backlog_max) s->backlog_max = io_conn_backlog(c);
    if (!s->reading) s->reading = c != NULL;
    static uint8_t data[1 << 20];
    ssize_t n = s->reading ? recv(s->fd, data, sizeof data, 0) : 0;
    if (n > 0) {
        if (!stream_matches(data, s->read, (size_t)n)) s->wrong = true;
        s->read += (uint64_t)n;
    }
    return s->server.drained && s->read == s->appended;
}

BOTH(what_a_peer_does_not_read_waits_and_drained_is_called_once_it_has_read)
{
    struct world w = {0};
    struct slow_reader s = {0};
    char address[32];
    world_start(&w, backend, NULL);
    world_listen(&w, &end_handler, &s.server, address);
    s.fd = world_socket(address);

    world_run(&w, slow_reader_step, &s);

    assert_false(s.wrong || s.server.wrong);
    assert_true(s.backlog_max >= IO_OUT_HIGH && s.backlog_max <= s.appended);
    assert_int_equal(s.server.drained, 1);
    assert_int_equal(s.server.closed, 0);
    close(s.fd);
    world_run(&w, end_is_closed, &s.server);
    world_end(&w);
}

BOTH(bytes_appended_before_the_connection_is_made_are_sent_after)
{
    struct world w = {0};
    struct end server = {0}, client = {0};
    char address[32];
    world_start(&w, backend, NULL);
    world_listen(&w, &end_handler, &server, address);
    struct io_conn *c = end_connect(&w, &client, address);
    stream_append(io_conn_out(c), 0, 10);

    world_run(&w, end_has_data, &server);

    assert_int_equal(server.received, 10);
    assert_int_equal(client.opened, 1);
    assert_string_equal(client.conn->peer, address);
    assert_memory_equal(server.conn->peer, "127.0.0.1:", 10);
    world_end(&w);
}

/* ---- ends ---- */

BOTH(a_refused_connection_is_told_later_and_never_opened)
{
    struct world w = {0};
    struct end client = {0}, nonsense = {0};
    char address[32];
    world_start(&w, backend, NULL);
    struct io_listener *l = world_listen(&w, &end_handler, NULL, address);
    io_unlisten(w.io, l);
    world_idle(&w, 5);
    end_connect(&w, &client, address);
    end_connect(&w, &nonsense, "over the hills");
    assert_int_equal(client.closed + nonsense.closed, 0);

    world_run(&w, end_is_closed, &client);
    world_run(&w, end_is_closed, &nonsense);

    assert_int_equal(client.error, -ECONNREFUSED);
    assert_int_equal(nonsense.error, -EINVAL);
    assert_int_equal(client.opened + nonsense.opened, 0);
    assert_false(client.wrong || nonsense.wrong);
    world_end(&w);
}

BOTH(the_end_of_a_stream_is_told_after_its_last_byte_and_a_reset_as_an_error)
{
    struct world w = {0};
    struct end server = {.take_multiple = 7}, reset = {0};
    struct linger now = {1, 0};
    struct buf b = {0};
    char address[32], other[32];
    world_start(&w, backend, NULL);
    world_listen(&w, &end_handler, &server, address);
    world_listen(&w, &end_handler, &reset, other);
    int fd = world_socket(address), fd2 = world_socket(other);
    stream_append(&b, 0, 7 * 1000 + 3);
    assert_int_equal(send(fd, b.data, b.size, 0), b.size);
    close(fd);

    world_run(&w, end_is_closed, &server);
    assert_int_equal(server.error, 0);
    assert_int_equal(server.received, 7 * 1000);

    world_run(&w, end_is_open, &reset);
    assert_int_equal(setsockopt(fd2, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    close(fd2);
    world_run(&w, end_is_closed, &reset);
    assert_int_equal(reset.error, -ECONNRESET);
    assert_false(server.wrong || reset.wrong);
    buf_deinit(&b);
    world_end(&w);
}

struct half {
    int fd;
    size_t got;
    bool ended;
};

static bool half_reads_to_the_end(void *ctx)
{
    struct half *s = ctx;
    static uint8_t data[1 << 18];
    ssize_t n = recv(s->fd, data, sizeof data, 0);
    if (n > 0 && stream_matches(data, s->got, (size_t)n)) s->got += (size_t)n;
    if (n == 0) s->ended = true;
    return n == 0 || (n < 0 && errno != EAGAIN);
}

BOTH(a_peer_that_shuts_its_sending_half_still_gets_its_answer)
{
    struct world w = {0};
    struct end server = {.echo = true};
    struct buf b = {0};
    char address[32];
    world_start(&w, backend, NULL);
    world_listen(&w, &end_handler, &server, address);
    struct half s = {.fd = world_socket(address)};
    stream_append(&b, 0, 100);
    assert_int_equal(send(s.fd, b.data, b.size, 0), b.size);
    shutdown(s.fd, SHUT_WR);

    world_run(&w, half_reads_to_the_end, &s);

    assert_true(s.ended);
    assert_int_equal(s.got, 100);
    assert_int_equal(server.closed, 1);
    close(s.fd);
    buf_deinit(&b);
    world_end(&w);
}

BOTH(closing_with_flush_delivers_the_last_bytes_even_when_input_is_left_unread)
{
    struct world w = {0};
    struct end server = {.say_at_data = 3000000, .flush = true};
    struct buf b = {0};
    char address[32];
    world_start(&w, backend, NULL);
    world_listen(&w, &end_handler, &server, address);
    struct half s = {.fd = world_socket(address)};
    stream_append(&b, 0, 200000);
    ssize_t sent = send(s.fd, b.data, b.size, 0);
    assert_true(sent > 0);

    world_run(&w, end_has_data, &server);
    (void)!send(s.fd, b.data, 1000, MSG_NOSIGNAL); /* arrives after the close */
    world_run(&w, half_reads_to_the_end, &s);

    assert_true(s.ended);
    assert_int_equal(s.got, 3000000);
    assert_int_equal(server.closed, 0);
    assert_int_equal(server.calls, 1);
    close(s.fd);
    buf_deinit(&b);
    world_run(&w, no_connection_is_left, w.host);
    world_end(&w);
}

BOTH(a_connection_may_be_closed_from_inside_its_own_handlers)
{
    struct world w = {0};
    struct end at_open = {.close_at_once = true}, in_data = {.close_in_data = true}, client = {0},
               client2 = {0};
    char address[32], other[32];
    world_start(&w, backend, NULL);
    world_listen(&w, &end_handler, &at_open, address);
    world_listen(&w, &end_handler, &in_data, other);
    end_connect(&w, &client, address);
    stream_append(io_conn_out(end_connect(&w, &client2, other)), 0, 100000);

    world_run(&w, end_is_closed, &client);
    world_run(&w, end_is_closed, &client2);
    world_idle(&w, 5);

    assert_int_equal(at_open.calls + at_open.closed + in_data.closed, 0);
    assert_int_equal(in_data.calls, 1);
    assert_false(at_open.wrong || in_data.wrong);
    struct host_stats stats;
    host_stats(w.host, &stats);
    assert_int_equal(stats.connections, 0);
    world_end(&w);
}

BOTH(a_connection_may_be_closed_while_it_connects)
{
    struct world w = {0};
    struct end client = {0}, server = {0};
    char address[32];
    world_start(&w, backend, NULL);
    world_listen(&w, &end_handler, &server, address);
    io_conn_close(end_connect(&w, &client, address), true);
    struct io_conn *c = end_connect(
        &w, &client, "192.0.2.1:9"); /* an address that nobody has: it may connect for long */
    world_idle(&w, 3);
    if (!client.closed) io_conn_close(c, false);
    world_idle(&w, 5);

    assert_int_equal(client.opened, 0);
    struct host_stats stats;
    host_stats(w.host, &stats);
    assert_int_equal(stats.connections, 0);
    world_end(&w);
}

/* ---- limits and pausing ---- */

BOTH(a_paused_connection_hears_nothing_and_then_all_of_it)
{
    struct world w = {0};
    struct end server = {0};
    struct buf b = {0};
    char address[32];
    world_start(&w, backend, NULL);
    world_listen(&w, &end_handler, &server, address);
    int fd = world_socket(address);
    world_run(&w, end_is_open, &server);
    io_conn_pause(server.conn, true);
    stream_append(&b, 0, 150000);
    size_t sent = 0;
    for (int i = 0; i < 20; i++) {
        ssize_t n = send(fd, b.data + sent, b.size - sent, MSG_NOSIGNAL);
        if (n > 0) sent += (size_t)n;
        world_idle(&w, 2);
    }
    close(fd);
    world_idle(&w, 10);
    assert_true(sent > 0);
    assert_int_equal(server.calls + server.closed, 0);

    io_conn_pause(server.conn, false);
    assert_int_equal(server.calls, 0);
    world_run(&w, end_is_closed, &server);

    assert_int_equal(server.error, 0);
    assert_int_equal(server.received, sent);
    assert_false(server.wrong);
    buf_deinit(&b);
    world_end(&w);
}

BOTH(a_request_that_outgrows_its_limit_closes_the_connection)
{
    struct world w = {0};
    struct end server = {.hold = true}, roomy = {.hold = true, .raise_limit = 150000};
    struct buf b = {0};
    char address[32], other[32];
    world_start(&w, backend, NULL);
    world_listen(&w, &end_handler, &server, address);
    world_listen(&w, &end_handler, &roomy, other);
    struct end client = {0}, client2 = {0};
    stream_append(io_conn_out(end_connect(&w, &client, address)), 0, 200000);
    stream_append(io_conn_out(end_connect(&w, &client2, other)), 0, 200000);

    world_run(&w, end_is_closed, &server);
    world_run(&w, end_is_closed, &roomy);

    assert_int_equal(server.error, -EMSGSIZE);
    assert_int_equal(server.in_max, 64 << 10);
    assert_int_equal(roomy.error, -EMSGSIZE);
    assert_int_equal(roomy.in_max, 150000);
    assert_false(server.wrong || roomy.wrong);
    buf_deinit(&b);
    world_end(&w);
}

struct hesitant {
    struct end end;
    bool waiting;
};

static size_t hesitant_data(void *ctx, struct io_conn *c, struct bytes in)
{
    struct hesitant *s = ctx;
    if (!s->waiting && in.size < c->in_limit) return 0;
    if (!s->waiting) {
        s->waiting = true;
        io_conn_pause(c, true);
        return 0;
    }
    s->end.received += in.size;
    return in.size;
}

static const struct io_handler hesitant_handler = {end_opened, hesitant_data, NULL, end_closed};

static bool hesitant_waits(void *ctx)
{
    return ((struct hesitant *)ctx)->waiting;
}

static bool hesitant_has_all(void *ctx)
{
    return ((struct hesitant *)ctx)->end.received == 200000;
}

BOTH(pausing_at_the_limit_is_not_outgrowing_it)
{
    struct world w = {0};
    struct hesitant server = {0};
    struct end client = {0};
    char address[32];
    world_start(&w, backend, NULL);
    world_listen(&w, &hesitant_handler, &server, address);
    stream_append(io_conn_out(end_connect(&w, &client, address)), 0, 200000);
    world_run(&w, hesitant_waits, &server);
    world_idle(&w, 5);
    assert_int_equal(server.end.closed, 0);
    io_conn_pause(server.end.conn, false);
    world_run(&w, hesitant_has_all, &server);
    assert_int_equal(server.end.closed, 0);
    world_end(&w);
}

/* ---- many ---- */

enum { MANY = 2000 };

struct many {
    struct end server; /* all of them share it; only counts matter */
    struct end client[MANY];
    int phase;
};

static size_t many_data(void *ctx, struct io_conn *c, struct bytes in)
{
    (void)ctx;
    if (in.size < 100) return 0;
    buf_append(io_conn_out(c), in.data, 100);
    return 100;
}

static void many_closed(void *ctx, struct io_conn *c, int error)
{
    struct end *e = ctx;
    e->closed++;
    (void)c, (void)error;
}

static const struct io_handler many_handler = {end_opened, many_data, NULL, many_closed};

static bool many_are_open(void *ctx)
{
    struct many *m = ctx;
    for (int i = 0; i < MANY; i++)
        if (!m->client[i].opened) return false;
    return m->server.opened == MANY;
}

static bool many_are_answered(void *ctx)
{
    struct many *m = ctx;
    for (int i = 0; i < MANY; i++)
        if (m->client[i].received != 100) return false;
    return true;
}

static bool many_are_closed(void *ctx)
{
    return ((struct many *)ctx)->server.closed == MANY;
}

BOTH(two_thousand_connections_are_served_at_once)
{
    struct world w = {0};
    struct many *m = mem_zalloc(sizeof *m);
    char address[32];
    world_start(&w, backend, NULL);
    world_listen(&w, &many_handler, &m->server, address);
    for (int i = 0; i < MANY; i++) end_connect(&w, &m->client[i], address);
    world_run(&w, many_are_open, m);
    for (int i = 0; i < MANY; i++) stream_append(io_conn_out(m->client[i].conn), 0, 100);
    world_run(&w, many_are_answered, m);
    for (int i = 0; i < MANY; i++) {
        assert_false(m->client[i].wrong);
        io_conn_close(m->client[i].conn, i % 2);
    }
    world_run(&w, many_are_closed, m);
    world_run(&w, no_connection_is_left, w.host);

    struct host_stats stats;
    host_stats(w.host, &stats);
    assert_int_equal(stats.accepts, MANY);
    world_end(&w);
    mem_free(m);
}

BOTH(a_port_that_is_taken_is_refused_and_free_again_after_unlisten)
{
    struct world w = {0};
    struct io_listener *l, *second;
    char address[32];
    world_start(&w, backend, NULL);
    l = world_listen(&w, &end_handler, NULL, address);
    assert_int_equal(io_listen(w.io, address, &end_handler, NULL, &second), -EADDRINUSE);
    assert_null(second);
    assert_int_equal(io_listen(w.io, "localhost", &end_handler, NULL, &second), -EINVAL);
    assert_int_equal(io_listen(w.io, "127.0.0.1:65536", &end_handler, NULL, &second), -EINVAL);
    world_idle(&w, 3);
    io_unlisten(w.io, l);
    world_idle(&w, 3);
    assert_int_equal(io_listen(w.io, address, &end_handler, NULL, &second), 0);
    world_end(&w);
}

BOTH(a_host_is_freed_with_everything_under_way)
{
    struct world w = {0};
    struct end server = {.hold = true}, client[20] = {0};
    char address[32];
    world_start(&w, backend, NULL);
    world_listen(&w, &end_handler, &server, address);
    for (int i = 0; i < 20; i++)
        stream_append(io_conn_out(end_connect(&w, &client[i], address)), 0, 60000);
    world_run(&w, end_has_data, &server);
    for (int i = 0; i < 10; i++)
        if (client[i].conn) stream_append(io_conn_out(client[i].conn), 0, 5000000);
    world_idle(&w, 1);
    if (client[0].conn) io_conn_close(client[0].conn, true);
    int closed = server.closed;
    world_end(&w);
    assert_int_equal(server.closed, closed);
}

TEST_MAIN
