/* Time, the queue of events, hosts and their turns. */
#include "sim/internal.h"

#include <stdarg.h>

#define TURN_DELAY_NS (20 * MICROSECOND) /* from "something is ready" to the turn, at most */
#define TURN_COST_MIN MICROSECOND

/* ---- the queue: a binary heap by (time, order of making) ---- */

static bool event_before(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void heap_push(struct world *w, struct event *e)
{
    if (w->heap_count == w->heap_capacity) {
        w->heap_capacity = w->heap_capacity ? 2 * w->heap_capacity : 256;
        w->heap = mem_realloc(w->heap, w->heap_capacity * sizeof *w->heap);
    }
    size_t i = w->heap_count++;
    for (; i > 0 && event_before(e, w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = e;
}

static struct event *heap_pop(struct world *w)
{
    if (w->heap_count == 0) return NULL;
    struct event *first = w->heap[0], *e = w->heap[--w->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= w->heap_count) break;
        if (child + 1 < w->heap_count && event_before(w->heap[child + 1], w->heap[child])) child++;
        if (event_before(e, w->heap[child])) break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    if (w->heap_count) w->heap[i] = e;
    return first;
}

struct event *world_event(struct world *w, uint64_t delay, void (*run)(void *ctx), void *ctx)
{
    struct event *e = mem_alloc(sizeof *e);
    ASSERT(delay < UINT64_MAX - w->now);
    *e = (struct event){.at = w->now + delay, .order = w->order++, .run = run, .ctx = ctx};
    heap_push(w, e);
    return e;
}

void world_after(struct world *w, uint64_t delay, void (*fn)(void *ctx), void *ctx)
{
    (void)world_event(w, delay, fn, ctx);
}

bool world_step(struct world *w)
{
    struct event *e = heap_pop(w);
    if (!e) return false;
    ASSERT(e->at >= w->now);
    if (e->run) {
        w->now = e->at;
        w->counts.events++;
        w->hash = hash_mix(w->hash ^ e->at ^ e->order << 40);
        e->run(e->ctx);
    }
    mem_free(e);
    return true;
}

void world_run(struct world *w, uint64_t until, const bool *stop)
{
    while (!(stop && *stop) && w->heap_count && w->heap[0]->at <= until)
        if (!world_step(w)) break;
    if (!(stop && *stop) && w->now < until) w->now = until;
}

void world_note(struct world *w, uint64_t kind, uint64_t a, uint64_t b)
{
    w->hash =
        hash_mix(w->hash + kind) ^ hash_mix(a + 0x51ed2701) * 3 ^ hash_mix(b + 0x9e3779b9) * 7;
}

/* ---- clocks ---- */

static uint64_t clock_at(const struct host *h, uint64_t now)
{
    int64_t passed = (int64_t)(now - h->clock_since);
    return h->clock_base + (uint64_t)(passed + passed / 1000 * h->clock_ppm / 1000);
}

uint64_t host_clock(struct host *h)
{
    uint64_t reading = clock_at(h, h->w->now + h->skew);
    if (reading > h->clock_last) h->clock_last = reading;
    return h->clock_last;
}

/* How long, in true time, until the host's clock shows `reading`. */
static uint64_t host_until(struct host *h, uint64_t reading)
{
    uint64_t clock = host_clock(h);
    if (reading <= clock) return h->skew;
    if (reading - clock > 3600 * SECOND)
        return 3600 * SECOND; /* far enough: it will be asked again */
    return h->skew + (uint64_t)((double)(reading - clock) * 1e6 / (1e6 + h->clock_ppm)) + 1000;
}

void world_set_rate(struct world *w, uint32_t host, int32_t ppm)
{
    struct host *h = w->host[host];
    ASSERT(h->depth == 0);
    h->clock_base = clock_at(h, w->now);
    h->clock_since = w->now;
    h->clock_ppm = ppm;
    host_ready(h); /* its timer was reckoned at the old rate */
}

void world_wall_jump(struct world *w, uint32_t host, int64_t ms)
{
    w->host[host]->wall_offset_ms += ms;
}

uint64_t host_stall(struct host *h)
{
    struct world *w = h->w;
    bool late = h->skew >= 2 * h->cpu.stall_ns; /* a turn that reads the clock often */
    if (late || !h->cpu.stall_ppm || !prng_chance(&w->random, h->cpu.stall_ppm)) return 0;
    w->counts.stalls++;
    return prng_below(&w->random, h->cpu.stall_ns);
}

static uint64_t io_now_sim(struct io *io)
{
    struct host *h = host_of(io);
    if (h->depth && !h->dead) h->skew += host_stall(h);
    return host_clock(h);
}

static int64_t io_wall_sim(struct io *io)
{
    struct host *h = host_of(io);
    return 1700000000000 + (int64_t)((h->w->now + h->skew) / MILLISECOND) + h->wall_offset_ms;
}

static uint64_t io_random_sim(struct io *io)
{
    return prng_u64(&host_of(io)->random);
}

static void io_wake_sim(struct io *io)
{
    struct host *h = host_of(io);
    h->woken = true;
    host_ready(h);
}

const struct io_ops world_ops = {
    .now = io_now_sim,
    .wall_ms = io_wall_sim,
    .random = io_random_sim,
    .wake = io_wake_sim,
    .listen = net_listen,
    .unlisten = net_unlisten,
    .connect = net_connect,
    .conn_close = net_close,
    .conn_pause = net_pause,
    .conn_dirty = net_dirty,
    .file_open = disk_open,
    .file_close = disk_close,
    .file_size = disk_size,
    .file_write = disk_write,
    .file_read = disk_read,
    .file_read_now = disk_read_now,
    .file_write_now = disk_write_now,
    .file_rename = disk_rename,
    .file_remove = disk_remove,
    .file_list = disk_list,
    .room = disk_room,
    .work = disk_work,
};

/* ---- turns ---- */

static void host_turn(void *ctx);

static void host_turn_at(struct host *h, uint64_t at)
{
    struct world *w = h->w;
    if (at < h->paused_until) at = h->paused_until;
    if (at < h->busy_until) at = h->busy_until;
    if (at < w->now) at = w->now;
    if (h->next_turn && h->next_turn->at <= at) return;
    event_cancel(&h->next_turn);
    h->next_turn = world_event(w, at - w->now, host_turn, h);
}

void host_ready(struct host *h)
{
    if (!h->on || h->dead || h->midway || h->depth)
        return; /* in a turn: it looks again at its end */
    host_turn_at(h, h->w->now + 1 + prng_below(&h->w->random, TURN_DELAY_NS));
}

/* Runs handlers of what is ready, as many as were ready at the start. False: the turn was
 * interrupted, to go on later. */
static bool host_handlers(struct host *h)
{
    struct world *w = h->w;
    for (uint32_t count = 0; !h->dead && count < 256; count++) {
        uint64_t stall = host_stall(h);
        if (stall) {
            h->midway = true;
            h->busy_until = w->now + h->skew + stall;
            return false;
        }
        if (disk_handle(h)) continue;
        struct conn *c = net_ready(h);
        if (!c) break;
        net_handle(h, c);
    }
    return true;
}

/* What remains when the program ended itself. */
static void host_died(struct host *h)
{
    struct world *w = h->w;
    event_cancel(&h->next_turn);
    if (w->options.died) w->options.died(w->options.ctx, h->id);
}

static bool host_has_more(const struct host *h)
{
    return h->woken || !list_empty(&h->ready) || !list_empty(&h->finished);
}

static void host_turn(void *ctx)
{
    struct host *h = ctx;
    struct world *w = h->w;
    uint64_t deadline = UINT64_MAX;

    h->next_turn = NULL;
    if (!h->on || h->dead) return;
    if (w->now < h->paused_until || w->now < h->busy_until) {
        host_turn_at(h, w->now);
        return;
    }
    world_enter(w, h->id);
    h->midway = false;
    bool whole = host_handlers(h);
    if (!h->dead && whole) {
        h->woken = false;
        if (h->io.client.turn) deadline = h->io.client.turn(h->io.client.ctx, io_now_sim(&h->io));
        w->counts.turns++;
    }
    uint64_t wait = deadline == UINT64_MAX ? UINT64_MAX : host_until(h, deadline);
    if (!h->dead && whole) {
        net_flush(h);
        disk_start(h);
        h->busy_until = w->now + h->skew + TURN_COST_MIN + prng_below(&w->random, h->cpu.turn_ns);
    }
    uint64_t end = w->now + h->skew;
    h->depth--;
    h->skew = 0;
    trace_use(NULL);
    net_bury(h);
    if (h->dead) {
        host_died(h);
        return;
    }
    if (!whole) {
        host_turn_at(h, h->busy_until);
        return;
    }
    if (host_has_more(h))
        host_turn_at(h, end);
    else if (wait != UINT64_MAX)
        host_turn_at(h, w->now + wait);
    if (w->options.turned) w->options.turned(w->options.ctx, h->id);
}

/* ---- programs ---- */

void world_boot(struct world *w, uint32_t host)
{
    struct host *h = w->host[host];
    ASSERT(!h->on && !h->dead && h->depth == 0);
    h->on = h->powered = true;
    h->io.client = (struct io_client){0};
    h->paused_until = 0;
    h->busy_until = w->now;
    h->trace.count = 0;
    for (uint32_t from = 0; from < w->options.hosts; from++) net_unblocked(w, from, host);
}

void world_enter(struct world *w, uint32_t host)
{
    struct host *h = w->host[host];
    if (h->depth++ == 0) {
        h->skew = 0;
        trace_use(&h->trace);
    }
}

void world_leave(struct world *w, uint32_t host)
{
    struct host *h = w->host[host];
    ASSERT(h->depth > 0);
    if (--h->depth) return;
    trace_use(NULL);
    if (!h->dead) {
        net_flush(h);
        disk_start(h);
        if (h->busy_until < w->now + h->skew) h->busy_until = w->now + h->skew;
    }
    h->skew = 0;
    net_bury(h);
    if (!h->dead) host_ready(h);
}

void world_die(struct world *w, uint32_t host)
{
    struct host *h = w->host[host];
    if (!h->on || h->dead) return;
    h->dead = true;
    disk_crash(h);
    world_note(w, 'D', host, h->depth);
    world_say(w, host, "dies");
}

void world_reap(struct world *w, uint32_t host, enum world_death how)
{
    struct host *h = w->host[host];
    ASSERT(h->dead && h->depth == 0);
    net_reap(h, how);
    disk_reap(h);
    event_cancel(&h->next_turn);
    h->on = h->dead = h->midway = h->woken = false;
    h->powered = how != WORLD_POWER;
    h->io.client = (struct io_client){0};
    if (how == WORLD_POWER) { /* the clock counts from the start of the machine */
        h->clock_last = 0;
        h->clock_base = world_draw(w, SECOND, 1000 * SECOND);
        h->clock_since = w->now;
    }
}

bool world_on(const struct world *w, uint32_t host)
{
    return w->host[host]->on;
}

bool world_dead(const struct world *w, uint32_t host)
{
    return w->host[host]->dead;
}

void world_pause(struct world *w, uint32_t host, uint64_t duration)
{
    struct host *h = w->host[host];
    h->paused_until = w->now + duration;
    host_ready(h);
}

void world_resume(struct world *w, uint32_t host)
{
    struct host *h = w->host[host];
    if (h->paused_until <= w->now) return;
    h->paused_until = w->now;
    event_cancel(&h->next_turn);
    if (h->on && !h->dead) host_turn_at(h, w->now);
}

bool world_paused(const struct world *w, uint32_t host)
{
    return w->host[host]->paused_until > w->now;
}

/* ---- life ---- */

static void host_line(void *ctx, const char *line)
{
    struct host *h = ctx;
    if (h->w->options.line) h->w->options.line(h->w->options.ctx, h->id, line);
}

static struct host *host_new(struct world *w, uint32_t id)
{
    struct host *h = mem_zalloc(sizeof *h);
    h->io.ops = &world_ops;
    h->w = w;
    h->id = id;
    h->clock_base = world_draw(w, SECOND, 100000 * SECOND);
    prng_init(&h->random, prng_u64(&w->random));
    struct list *const heads[] = {&h->conns, &h->ready,   &h->dirty,  &h->grave,    &h->listeners,
                                  &h->files, &h->handles, &h->queued, &h->inflight, &h->finished};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) list_init(heads[i]);
    h->disk = (struct world_disk){
        .write_ns = 80 * MICROSECOND, .write_jitter_ns = 200 * MICROSECOND, .capacity = 1ull << 32};
    h->cpu = (struct world_cpu){.turn_ns = 20 * MICROSECOND};
    if (w->options.line) h->trace.sink = host_line;
    h->trace.sink_ctx = h;
    return h;
}

struct world *world_new(const struct world_options *options)
{
    ASSERT(options->hosts > 0 && options->hosts <= WORLD_HOSTS_MAX);
    struct world *w = mem_zalloc(sizeof *w);
    w->options = *options;
    prng_init(&w->random, hash_mix(options->seed ^ 0x776f726c64));
    list_init(&w->streams);
    for (uint32_t i = 0; i < options->hosts; i++) w->host[i] = host_new(w, i);
    for (uint32_t i = 0; i < WORLD_HOSTS_MAX; i++)
        for (uint32_t j = 0; j < WORLD_HOSTS_MAX; j++)
            w->link[i][j] = (struct world_link){
                .latency_ns = 50 * MICROSECOND, .jitter_ns = 100 * MICROSECOND, .ns_per_kib = 1000};
    return w;
}

void world_free(struct world *w)
{
    if (!w) return;
    for (uint32_t i = 0; i < w->options.hosts; i++) ASSERT(!w->host[i]->on);
    net_free(w);
    for (uint32_t i = 0; i < w->options.hosts; i++) {
        disk_free(w->host[i]);
        mem_free(w->host[i]);
    }
    for (size_t i = 0; i < w->heap_count; i++) mem_free(w->heap[i]);
    mem_free(w->heap);
    mem_free(w);
}

uint64_t world_now(const struct world *w)
{
    return w->now;
}

uint64_t world_hash(const struct world *w)
{
    return w->hash;
}

const struct world_counts *world_counts(const struct world *w)
{
    return &w->counts;
}

void world_say(struct world *w, uint32_t host, const char *format, ...)
{
    char text[TRACE_LINE_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (w->host[host]->depth)
        trace_line("%s", text); /* for the moment an assertion fails; `line` sees it too */
    else if (w->options.line)
        w->options.line(w->options.ctx, host, text);
}

struct io *world_io(struct world *w, uint32_t host)
{
    ASSERT(host < w->options.hosts);
    return &w->host[host]->io;
}

struct trace *world_trace(struct world *w, uint32_t host)
{
    return &w->host[host]->trace;
}

struct world_link *world_link(struct world *w, uint32_t from, uint32_t to)
{
    ASSERT(from < w->options.hosts && to < w->options.hosts);
    return &w->link[from][to];
}

void world_block(struct world *w, uint32_t from, uint32_t to, bool blocked)
{
    struct world_link *l = world_link(w, from, to);
    bool was = l->blocked;
    l->blocked = blocked;
    if (was && !blocked) net_unblocked(w, from, to);
}

struct world_disk *world_disk(struct world *w, uint32_t host)
{
    return &w->host[host]->disk;
}

struct world_cpu *world_cpu(struct world *w, uint32_t host)
{
    return &w->host[host]->cpu;
}
