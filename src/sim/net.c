/* The network: what TCP gives a program and what it does not.
 *
 * A stream is a connection with two ends and a pipe each way. In a pipe bytes keep their order;
 * they come late, in pieces, or never again once it broke. While a link is blocked its pipes hold;
 * held for longer than the stream's patience, the sender's end breaks, and the other end knows
 * nothing of it until it sends. A machine without power answers nothing; once it is back it resets
 * what it does not know.
 *
 * On links that carry frames, whole frames may also be lost, doubled or late (and so out of order),
 * as messages are on a network that is not a stream. */
#include "sim/internal.h"

#define READ_MAX (64u << 10)

enum chunk_kind { CHUNK_DATA, CHUNK_FIN, CHUNK_RESET };

struct chunk {
    struct chunk *next;
    uint64_t due;
    uint8_t kind;
    size_t size;
    uint8_t data[];
};

struct stream;

struct pipe {
    struct stream *stream;
    uint8_t side; /* which end sends */
    struct chunk *head, *tail;
    size_t flying;      /* bytes on the way */
    struct buf arrived; /* at the receiver's kernel */
    uint64_t last_due;
    struct event *event;
    bool held, ended; /* ended: FIN arrived */
};

struct stream {
    struct list in_world;
    struct world *w;
    uint64_t id;
    uint32_t host[2];
    struct conn *end[2];
    struct pipe pipe[2];
    uint64_t patience;
    size_t window;
    bool framed, open;
    uint32_t refs;     /* events that will look at it */
    struct list lates; /* struct late: frames on a detour */
    /* while connecting */
    char address[64];
    uint64_t give_up;
};

struct conn {
    struct io_conn base;   /* first */
    struct stream *stream; /* NULL: opened by a dying program */
    uint8_t side;
    bool opened, resumed, drain, over, paused, gone, in_ready_list;
    int error;
    struct buf in;
    struct list in_host, in_ready, in_dirty;
};

struct io_listener {
    struct list in_host;
    const struct io_handler *handler;
    void *ctx;
    char address[64];
};

static struct host *conn_host(const struct conn *c)
{
    return host_of(c->base.io);
}

/* ---- streams ---- */

static void pipe_clear(struct pipe *p)
{
    while (p->head) {
        struct chunk *c = p->head;
        p->head = c->next;
        mem_free(c);
    }
    p->tail = NULL;
    p->flying = 0;
}

/* A frame that will be sent later. */
struct late {
    struct list in_stream;
    struct pipe *pipe;
    size_t size;
    uint8_t data[];
};

static void stream_release(struct stream *s)
{
    struct list *at;
    if (s->end[0] || s->end[1] || s->refs) return;
    list_remove(&s->in_world);
    while ((at = list_pop(&s->lates))) mem_free(LIST_OF(at, struct late, in_stream));
    for (int i = 0; i < 2; i++) {
        event_cancel(&s->pipe[i].event);
        pipe_clear(&s->pipe[i]);
        buf_deinit(&s->pipe[i].arrived);
    }
    mem_free(s);
}

static struct stream *stream_new(struct world *w, uint32_t from, uint32_t to)
{
    struct stream *s = mem_zalloc(sizeof *s);
    s->w = w;
    s->id = ++w->stream_next;
    s->host[0] = from;
    s->host[1] = to;
    s->patience = world_draw(w, 2 * SECOND, 20 * SECOND);
    list_init(&s->lates);
    s->window = (size_t)world_draw(w, 64u << 10, 512u << 10);
    s->framed = from < w->options.framed_hosts && to < w->options.framed_hosts && w->options.frame;
    for (uint8_t i = 0; i < 2; i++) {
        s->pipe[i].stream = s;
        s->pipe[i].side = i;
    }
    list_push(&w->streams, &s->in_world);
    return s;
}

static struct world_link *pipe_link(const struct pipe *p)
{
    const struct stream *s = p->stream;
    return &s->w->link[s->host[p->side]][s->host[!p->side]];
}

static void conn_ready(struct conn *c)
{
    struct host *h = conn_host(c);
    if (c->gone) return;
    if (!c->in_ready_list) list_push(&h->ready, &c->in_ready);
    c->in_ready_list = true;
    host_ready(h);
}

static void conn_break(struct conn *c, int error)
{
    if (!c || c->over || c->gone) return;
    c->over = true;
    c->error = error;
    conn_ready(c);
}

/* ---- pipes ---- */

static void pipe_step(void *ctx);

static void pipe_wake(struct pipe *p)
{
    struct world *w = p->stream->w;
    if (!p->head || p->held) return;
    if (p->event && p->event->at <= p->head->due) return;
    event_cancel(&p->event);
    p->event = world_event(w, p->head->due > w->now ? p->head->due - w->now : 0, pipe_step, p);
}

static void pipe_append(struct pipe *p, uint8_t kind, struct bytes data)
{
    struct world *w = p->stream->w;
    struct world_link *l = pipe_link(p);
    struct host *sender = w->host[p->stream->host[p->side]];
    uint64_t due = w->now + sender->skew + l->latency_ns + prng_below(&w->random, l->jitter_ns) +
                   l->ns_per_kib * (data.size / 1024);
    struct chunk *c = mem_alloc(sizeof *c + data.size);

    if (due < p->last_due) due = p->last_due;
    p->last_due = due;
    *c = (struct chunk){.due = due, .kind = kind, .size = data.size};
    if (data.size) memcpy(c->data, data.data, data.size);
    if (p->tail)
        p->tail->next = c;
    else
        p->head = c;
    p->tail = c;
    p->flying += data.size;
    pipe_wake(p);
}

/* As one piece, mostly. */
static void pipe_send(struct pipe *p, struct bytes data)
{
    struct world *w = p->stream->w;
    w->counts.bytes += data.size;
    while (data.size > 1 && prng_chance(&w->random, pipe_link(p)->split_ppm)) {
        size_t n = 1 + (size_t)prng_below(&w->random, data.size - 1);
        pipe_append(p, CHUNK_DATA, (struct bytes){data.data, n});
        data = (struct bytes){data.data + n, data.size - n};
    }
    if (data.size) pipe_append(p, CHUNK_DATA, data);
}

/* Everything on the way is forgotten; the other end hears of a reset. */
static void pipe_reset(struct pipe *p)
{
    pipe_clear(p);
    p->last_due = 0;
    pipe_append(p, CHUNK_RESET, (struct bytes){0});
}

static void pipe_gives_up(void *ctx)
{
    struct pipe *p = ctx;
    struct stream *s = p->stream;
    p->event = NULL;
    ASSERT(p->held);
    pipe_clear(p);
    s->w->counts.timeouts++;
    conn_break(s->end[p->side], -ETIMEDOUT); /* the receiver learns nothing */
}

static void pipe_hold(struct pipe *p)
{
    struct world *w = p->stream->w;
    p->held = true;
    w->counts.held++;
    event_cancel(&p->event);
    p->event = world_event(w, p->stream->patience, pipe_gives_up, p);
}

static void chunk_arrives(struct pipe *p, const struct chunk *c)
{
    struct stream *s = p->stream;
    struct conn *to = s->end[!p->side];

    world_note(s->w, 'B', s->id << 1 | p->side,
               c->size ? hash64((struct bytes){c->data, c->size}, 0) : c->kind);
    switch (c->kind) {
    case CHUNK_DATA:
        if (to) {
            buf_append(&p->arrived, c->data, c->size);
            conn_ready(to);
        } else { /* nobody there any more */
            s->w->counts.half_open++;
            if (s->end[p->side]) pipe_reset(&s->pipe[!p->side]);
        }
        break;
    case CHUNK_FIN:
        p->ended = true;
        if (to) conn_ready(to);
        break;
    default: conn_break(to, -ECONNRESET);
    }
}

static void pipe_step(void *ctx)
{
    struct pipe *p = ctx;
    struct stream *s = p->stream;
    struct world *w = s->w;

    p->event = NULL;
    s->refs++;
    while (p->head && p->head->due <= w->now) {
        if (pipe_link(p)->blocked || !w->host[s->host[!p->side]]->powered) {
            pipe_hold(p);
            break;
        }
        struct chunk *c = p->head;
        p->head = c->next;
        if (!p->head) p->tail = NULL;
        p->flying -= c->size;
        chunk_arrives(p, c);
        mem_free(c);
    }
    pipe_wake(p);
    s->refs--;
    stream_release(s);
}

void net_unblocked(struct world *w, uint32_t from, uint32_t to)
{
    for (struct list *at = w->streams.next; at != &w->streams; at = at->next) {
        struct stream *s = LIST_OF(at, struct stream, in_world);
        for (int i = 0; i < 2; i++) {
            struct pipe *p = &s->pipe[i];
            if (!p->held || s->host[i] != from || s->host[!i] != to) continue;
            p->held = false;
            event_cancel(&p->event); /* the next retransmission is not at once */
            if (p->head)
                p->event = world_event(w, prng_below(&w->random, 300 * MILLISECOND), pipe_step, p);
        }
    }
}

/* ---- connections ---- */

static struct conn *conn_new(struct host *h, const struct io_handler *handler, void *ctx)
{
    struct conn *c = mem_zalloc(sizeof *c);
    c->base = (struct io_conn){.io = &h->io, .handler = handler, .ctx = ctx, .in_limit = 64u << 10};
    list_push(&h->conns, &c->in_host);
    list_init(&c->in_ready);
    list_init(&c->in_dirty);
    return c;
}

static void conn_free(struct conn *c)
{
    list_remove(&c->in_host);
    list_remove(&c->in_ready);
    list_remove(&c->in_dirty);
    buf_deinit(&c->in);
    buf_deinit(&c->base.out);
    mem_free(c);
}

/* Out of all lists; its memory stays until nothing of the program is on the stack. */
static void conn_bury(struct conn *c)
{
    struct host *h = conn_host(c);
    c->gone = true;
    list_remove(&c->in_ready);
    list_remove(&c->in_dirty);
    list_remove(&c->in_host);
    list_push(&h->grave, &c->in_host);
}

void net_bury(struct host *h)
{
    struct list *at;
    while (h->depth == 0 && (at = list_pop(&h->grave)))
        conn_free(LIST_OF(at, struct conn, in_host));
}

static void conn_detach(struct conn *c)
{
    struct stream *s = c->stream;
    c->stream = NULL;
    if (!s) return;
    s->end[c->side] = NULL;
    stream_release(s);
}

static void frame_late(void *ctx);

static void frame_delay(struct pipe *p, struct bytes frame)
{
    struct late *late = mem_alloc(sizeof *late + frame.size);
    late->pipe = p;
    late->size = frame.size;
    memcpy(late->data, frame.data, frame.size);
    list_push(&p->stream->lates, &late->in_stream);
    p->stream->refs++;
    p->stream->w->counts.frames_delayed++;
    world_after(p->stream->w, 1 + prng_below(&p->stream->w->random, pipe_link(p)->delay_ns),
                frame_late, late);
}

static void frame_late(void *ctx)
{
    struct late *late = ctx;
    struct stream *s = late->pipe->stream;
    if (s->end[late->pipe->side] && !s->end[late->pipe->side]->over)
        pipe_send(late->pipe, (struct bytes){late->data, late->size});
    list_remove(&late->in_stream);
    mem_free(late);
    s->refs--;
    stream_release(s);
}

static void frame_send(struct pipe *p, struct bytes frame)
{
    struct world *w = p->stream->w;
    struct world_link *l = pipe_link(p);

    w->counts.frames++;
    if (!w->options.may_disturb || !w->options.may_disturb(frame)) {
        pipe_send(p, frame);
        return;
    }
    if (prng_chance(&w->random, l->drop_ppm)) {
        w->counts.frames_lost++;
        return;
    }
    if (prng_chance(&w->random, l->double_ppm)) {
        w->counts.frames_doubled++;
        if (l->delay_ns && prng_chance(&w->random, 500000))
            frame_delay(p, frame);
        else
            pipe_send(p, frame);
    }
    if (prng_chance(&w->random, l->delay_ppm))
        frame_delay(p, frame);
    else
        pipe_send(p, frame);
}

/* Sends whole frames, as many as the window takes (one is always taken); returns the bytes taken.
 */
static size_t frames_send(struct pipe *p, struct bytes out, size_t room)
{
    struct world *w = p->stream->w;
    size_t taken = 0;
    while (taken < out.size) {
        struct bytes left = {out.data + taken, out.size - taken};
        size_t n = w->options.frame(left);
        if (n == 0 && room != SIZE_MAX) break;      /* the rest of it comes in a later turn */
        if (n == 0 || n > left.size) n = left.size; /* none of ours: let it pass as it is */
        if (n > room && p->flying + p->arrived.size > 0) break;
        frame_send(p, (struct bytes){left.data, n});
        taken += n;
        room -= n < room ? n : room;
    }
    return taken;
}

static void conn_flush(struct conn *c, bool all)
{
    struct stream *s = c->stream;
    struct world *w = s->w;
    struct pipe *p = &s->pipe[c->side];
    struct buf *out = &c->base.out;

    if (!s->open || c->over || out->size == 0) return;
    size_t used = p->flying + p->arrived.size, room = all                ? SIZE_MAX
                                                      : used < s->window ? s->window - used
                                                                         : 0;
    size_t n =
        s->framed ? frames_send(p, buf_bytes(out), room) : (out->size < room ? out->size : room);
    if (!s->framed && n) pipe_send(p, (struct bytes){out->data, n});
    buf_drop_front(out, n);
    if (!prng_chance(&w->random, pipe_link(p)->reset_ppm)) return;
    w->counts.resets++;
    if (prng_chance(&w->random, 500000))
        pipe_append(p, CHUNK_RESET, (struct bytes){0}); /* what was sent arrives first */
    else
        pipe_reset(p);
    conn_break(c, -ECONNRESET);
}

void net_flush(struct host *h)
{
    struct list *at;
    while ((at = list_pop(&h->dirty))) {
        struct conn *c = LIST_OF(at, struct conn, in_dirty);
        c->base.dirty = false;
        if (c->base.out.size > IO_OUT_HIGH) c->base.above = true;
        if (c->stream) conn_flush(c, false);
        if (c->base.above && c->base.out.size < IO_OUT_LOW) {
            c->base.above = false;
            c->drain = true;
            conn_ready(c);
        }
    }
}

void net_dirty(struct io *io, struct io_conn *base)
{
    struct host *h = host_of(io);
    struct conn *c = (struct conn *)(void *)base;
    base->dirty = true;
    if (h->dead || c->gone) return;
    list_push(&h->dirty, &c->in_dirty);
}

static void conn_say_goodbye(struct conn *c, bool reset)
{
    struct stream *s = c->stream;
    if (!s || !s->open || c->over) return;
    if (reset)
        pipe_reset(&s->pipe[c->side]);
    else
        pipe_append(&s->pipe[c->side], CHUNK_FIN, (struct bytes){0});
}

void net_close(struct io *io, struct io_conn *base, bool flush)
{
    struct host *h = host_of(io);
    struct conn *c = (struct conn *)(void *)base;
    if (h->dead) return;
    ASSERT(!c->gone);
    if (c->stream) {
        if (flush) conn_flush(c, true);
        conn_say_goodbye(c, c->stream->pipe[!c->side].arrived.size > 0 && !flush);
    }
    conn_bury(c);
    conn_detach(c);
}

void net_pause(struct io *io, struct io_conn *base, bool paused)
{
    struct conn *c = (struct conn *)(void *)base;
    if (host_of(io)->dead || c->gone) return;
    if (c->paused && !paused) {
        c->resumed = true;
        conn_ready(c);
    }
    c->paused = paused;
}

/* ---- handlers ---- */

struct conn *net_ready(struct host *h)
{
    struct list *at = list_pop(&h->ready);
    if (!at) return NULL;
    struct conn *c = LIST_OF(at, struct conn, in_ready);
    c->in_ready_list = false;
    return c;
}

static void conn_finish(struct conn *c, int error)
{
    conn_say_goodbye(c, error != 0);
    conn_bury(c);
    conn_detach(c);
    world_note(conn_host(c)->w, 'C', conn_host(c)->id, (uint64_t)-error);
    if (c->base.handler->closed) c->base.handler->closed(c->base.ctx, &c->base, error);
}

/* The sender may go on when its window opens. */
static void window_opens(struct conn *sender)
{
    if (!sender || sender->over || sender->base.out.size == 0 || sender->base.dirty) return;
    net_dirty(sender->base.io, &sender->base);
    host_ready(conn_host(sender));
}

static void conn_read(struct host *h, struct conn *c)
{
    struct pipe *p = &c->stream->pipe[!c->side];
    size_t n = p->arrived.size,
           room = c->base.in_limit > c->in.size ? c->base.in_limit - c->in.size : 0;
    bool resumed = c->resumed;

    c->resumed = false;
    if (n > room) n = room;
    if (n > READ_MAX) n = READ_MAX;
    if (n == 0 && !(resumed && c->in.size)) return;
    buf_append(&c->in, p->arrived.data, n);
    buf_drop_front(&p->arrived, n);
    window_opens(c->stream->end[!c->side]);

    size_t used = c->base.handler->data(c->base.ctx, &c->base, buf_bytes(&c->in));
    if (c->gone || h->dead) return;
    ASSERT(used <= c->in.size);
    buf_drop_front(&c->in, used);
    if (c->in.size >= c->base.in_limit && used == 0 && !c->paused) {
        conn_finish(c, -EMSGSIZE);
        return;
    }
    if (p->arrived.size && !c->paused) conn_ready(c);
}

void net_handle(struct host *h, struct conn *c)
{
    if (c->opened) {
        c->opened = false;
        if (c->base.handler->opened) c->base.handler->opened(c->base.ctx, &c->base);
        if (c->gone || h->dead) return;
    }
    if (c->over) {
        conn_finish(c, c->error);
        return;
    }
    if (!c->paused) {
        conn_read(h, c);
        if (c->gone || h->dead) return;
    }
    if (c->drain) {
        c->drain = false;
        if (c->base.handler->drained) c->base.handler->drained(c->base.ctx, &c->base);
        if (c->gone || h->dead) return;
    }
    struct pipe *p = &c->stream->pipe[!c->side];
    if (p->ended && p->arrived.size == 0 && !c->paused) conn_finish(c, 0);
}

/* ---- connecting ---- */

int net_listen(struct io *io, const char *address, const struct io_handler *handler, void *ctx,
               struct io_listener **out)
{
    struct host *h = host_of(io);
    *out = NULL;
    if (h->dead) return -EIO;
    if (strlen(address) >= sizeof(*out)->address) return -EINVAL;
    for (struct list *at = h->listeners.next; at != &h->listeners; at = at->next)
        if (strcmp(LIST_OF(at, struct io_listener, in_host)->address, address) == 0)
            return -EADDRINUSE;
    struct io_listener *l = mem_zalloc(sizeof *l);
    l->handler = handler;
    l->ctx = ctx;
    strcpy(l->address, address);
    list_push(&h->listeners, &l->in_host);
    *out = l;
    return 0;
}

void net_unlisten(struct io *io, struct io_listener *l)
{
    if (host_of(io)->dead || !l) return;
    list_remove(&l->in_host);
    mem_free(l);
}

static struct io_listener *listener_find(const struct host *h, const char *address)
{
    for (struct list *at = h->listeners.next; at != &h->listeners; at = at->next) {
        struct io_listener *l = LIST_OF(at, struct io_listener, in_host);
        if (strcmp(l->address, address) == 0) return l;
    }
    return NULL;
}

static void connect_back(void *ctx)
{
    struct stream *s = ctx;
    s->refs--;
    if (s->end[0] && s->open) {
        s->end[0]->opened = true;
        conn_ready(s->end[0]);
        if (!s->end[0]->base.dirty) net_dirty(s->end[0]->base.io, &s->end[0]->base);
    } else if (s->end[0]) {
        s->w->counts.refused++;
        conn_break(s->end[0], -ECONNREFUSED);
    } else if (s->end[1]) {
        pipe_reset(&s->pipe[0]);
    }
    stream_release(s);
}

static void connect_arrives(void *ctx)
{
    struct stream *s = ctx;
    struct world *w = s->w;
    struct world_link *there = &w->link[s->host[0]][s->host[1]],
                      *back = &w->link[s->host[1]][s->host[0]];
    struct host *to = w->host[s->host[1]];

    if (!s->end[0]) {
        s->refs--;
        stream_release(s);
        return;
    }
    if (there->blocked || back->blocked || !to->powered) {
        if (w->now < s->give_up) {
            world_after(w, 100 * MILLISECOND + prng_below(&w->random, SECOND), connect_arrives, s);
            return;
        }
        s->refs--;
        w->counts.timeouts++;
        conn_break(s->end[0], -ETIMEDOUT);
        return;
    }
    struct io_listener *l = to->on && !to->dead ? listener_find(to, s->address) : NULL;
    if (l && !prng_chance(&w->random, there->refuse_ppm)) {
        struct conn *c = conn_new(to, l->handler, l->ctx);
        c->stream = s;
        c->side = 1;
        c->opened = true;
        s->end[1] = c;
        s->open = true;
        snprintf(c->base.peer, sizeof c->base.peer, "10.0.0.%u:%u", s->host[0] + 1,
                 (unsigned)(20000 + s->id % 40000));
        w->counts.connects++;
        conn_ready(c);
    }
    world_after(w, back->latency_ns + prng_below(&w->random, back->jitter_ns), connect_back, s);
}

struct io_conn *net_connect(struct io *io, const char *address, const struct io_handler *handler,
                            void *ctx)
{
    struct host *h = host_of(io);
    struct world *w = h->w;
    struct conn *c = conn_new(h, handler, ctx);
    unsigned number = 0;

    snprintf(c->base.peer, sizeof c->base.peer, "%s", address);
    if (h->dead) return &c->base;
    bool known =
        sscanf(address, "10.0.0.%u:", &number) == 1 && number > 0 && number <= w->options.hosts;
    struct stream *s = stream_new(w, h->id, known ? number - 1 : h->id);
    c->stream = s;
    s->end[0] = c;
    snprintf(s->address, sizeof s->address, "%s", address);
    s->give_up = w->now + world_draw(w, SECOND, 5 * SECOND);
    s->refs++;
    struct world_link *l = &w->link[h->id][s->host[1]];
    world_after(w, h->skew + l->latency_ns + prng_below(&w->random, l->jitter_ns), connect_arrives,
                s);
    return &c->base;
}

/* ---- ends ---- */

void net_reap(struct host *h, enum world_death how)
{
    struct list *at;
    while ((at = list_pop(&h->conns))) {
        struct conn *c = LIST_OF(at, struct conn, in_host);
        if (how == WORLD_EXIT) conn_say_goodbye(c, prng_chance(&h->w->random, 500000));
        conn_detach(c);
        conn_free(c);
    }
    while ((at = list_pop(&h->listeners))) mem_free(LIST_OF(at, struct io_listener, in_host));
    while ((at = list_pop(&h->grave))) conn_free(LIST_OF(at, struct conn, in_host));
}

void world_reset_one(struct world *w)
{
    uint32_t count = 0;
    struct stream *chosen = NULL;
    for (struct list *at = w->streams.next; at != &w->streams; at = at->next) {
        struct stream *s = LIST_OF(at, struct stream, in_world);
        if (s->end[0] && s->end[1] && s->open && prng_below(&w->random, ++count) == 0) chosen = s;
    }
    if (!chosen) return;
    w->counts.resets++;
    for (int i = 0; i < 2; i++) {
        pipe_clear(&chosen->pipe[i]);
        conn_break(chosen->end[i], -ECONNRESET);
    }
}

void net_free(struct world *w)
{
    struct list *at;
    while ((at = w->streams.next) != &w->streams) {
        struct stream *s = LIST_OF(at, struct stream, in_world);
        ASSERT(!s->end[0] && !s->end[1]);
        s->refs = 0;
        stream_release(s);
    }
}
