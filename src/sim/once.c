#include "sim/once.h"

#include "ring/slot.h"
#include "sim/members.h"
#include "sim/reply.h"

#include <inttypes.h>

#define ASKERS_MAX 4
#define KEY_MAX    24

/* One request: what is sent, as often as it takes, and what it must be answered. */
struct request {
    struct buf text, expected;
    uint32_t replies; /* of which the last one counts */
    uint32_t adds[2]; /* to the counters, once it is answered */
    bool open;        /* it was not answered yet */
    bool watches;     /* so nil is an answer, too: not done, for good */
    bool reads;       /* it has no token */
};

struct asker {
    struct askers *of;
    uint32_t id, node;
    struct io_conn *conn;
    bool opened;
    bool asking;   /* the request was sent over this connection */
    uint32_t left; /* replies that it has yet to get */
    bool wants;    /* one more answer, in the end */
    uint64_t next_at, deadline;
    uint64_t count[2]; /* what its counters are */
    uint32_t token;    /* the last one */
    struct request request;
    char key[2][KEY_MAX], said[80];
};

struct askers {
    struct sim *s;
    struct io *io;
    struct io_client clients; /* whose turns go on beside the askers' */
    struct prng random;
    struct asker asker[ASKERS_MAX];
    uint32_t count;
    uint64_t think_ns, timeout_ns;
    bool quiet;
};

static uint64_t draw(struct askers *a, uint64_t min, uint64_t max)
{
    return min + prng_below(&a->random, max - min + 1);
}

/* ---- requests ---- */

static void put_incr(struct asker *k, const char *before)
{
    struct request *r = &k->request;
    uint32_t i = (uint32_t)draw(k->of, 0, 1);
    buf_printf(&r->text, "%sINCR %s\r\n", before, k->key[i]);
    buf_printf(&r->expected, ":%" PRIu64 "\r\n", k->count[i] + 1);
    r->adds[i] = 1;
}

static void put_exec(struct asker *k)
{
    struct request *r = &k->request;
    uint32_t first = (uint32_t)draw(k->of, 0, 1);
    r->watches = draw(k->of, 0, 2) == 0;
    r->replies = r->watches ? 5 : 4;
    if (r->watches) buf_printf(&r->text, "WATCH %s %s\r\n", k->key[0], k->key[1]);
    buf_printf(&r->text, "MULTI\r\n");
    buf_printf(&r->expected, "*2\r\n");
    for (uint32_t n = 0; n < 2; n++) {
        uint32_t i = first ^ n;
        buf_printf(&r->text, "INCR %s\r\n", k->key[i]);
        buf_printf(&r->expected, ":%" PRIu64 "\r\n", k->count[i] + 1);
        r->adds[i] = 1;
    }
    buf_printf(&r->text, "IDEMPOTENT %u.%u EXEC\r\n", k->id, k->token);
}

/* Without a token: it reads. */
static void put_read(struct asker *k)
{
    struct request *r = &k->request;
    r->reads = true;
    buf_printf(&r->text, "MGET %s %s\r\n", k->key[0], k->key[1]);
    buf_printf(&r->expected, "*2\r\n");
    for (uint32_t i = 0; i < 2; i++) {
        char text[24];
        int size = snprintf(text, sizeof text, "%" PRIu64, k->count[i]);
        if (k->count[i])
            buf_printf(&r->expected, "$%d\r\n%s\r\n", size, text);
        else
            buf_printf(&r->expected, "$-1\r\n");
    }
}

static void request_draw(struct asker *k)
{
    struct request *r = &k->request;
    struct buf text = r->text, expected = r->expected;
    char before[40];
    buf_clear(&text), buf_clear(&expected);
    *r = (struct request){.text = text, .expected = expected, .replies = 1, .open = true};
    snprintf(before, sizeof before, "IDEMPOTENT %u.%u ", k->id, ++k->token);
    switch (draw(k->of, 0, 4)) {
    case 0: put_read(k); break;
    case 1:
    case 2: put_incr(k, before); break;
    default: put_exec(k);
    }
}

/* Sometimes they wait for hardly as long as it may take. */
static void ask(struct asker *k)
{
    struct askers *a = k->of;
    struct request *r = &k->request;
    uint64_t now = io_now(a->io);
    bool hurry = !a->s->calm && draw(a, 0, 5) == 0;
    buf_append_bytes(io_conn_out(k->conn), buf_bytes(&r->text));
    k->asking = true;
    k->left = r->replies;
    k->deadline = now + (hurry ? draw(a, 0, 20 * MILLISECOND) : a->timeout_ns);
    SIM_COUNT(a->s, once_asked);
}

/* ---- answers ---- */

static void strange(struct asker *k, struct bytes whole)
{
    const struct request *r = &k->request;
    sim_fail(k->of->s, SIM_ATOMICITY,
             "asker %u asked node %u '%.*s' and was told '%.*s', not '%.*s'", k->id, k->node + 1,
             (int)r->text.size, (const char *)r->text.data,
             (int)(whole.size < 100 ? whole.size : 100), (const char *)whole.data,
             (int)r->expected.size, (const char *)r->expected.data);
}

/* "Not done", or "perhaps done": it is asked again. */
static bool is_open(struct bytes text)
{
    static const char *const words[] = {"UNKNOWN", "TRYAGAIN", "CLUSTERDOWN",
                                        "OOM",     "TXNABORT", "EXECABORT"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (text.size >= strlen(words[i]) && memcmp(text.data, words[i], strlen(words[i])) == 0)
            return true;
    return false;
}

/* Now and then an answered request is asked again all the same. */
static void answered(struct asker *k)
{
    struct askers *a = k->of;
    struct request *r = &k->request;
    SIM_COUNT(a->s, once_done);
    for (uint32_t i = 0; i < 2; i++) k->count[i] += r->adds[i], r->adds[i] = 0;
    k->wants = r->watches = false;
    r->open = !r->reads && draw(a, 0, 7) == 0;
}

static void last_reply(struct asker *k, struct bytes whole)
{
    struct askers *a = k->of;
    struct request *r = &k->request;
    struct reply_view v = reply_read(whole);
    k->asking = false;
    if (v.kind == REPLY_ERROR && is_open(v.text)) {
        SIM_COUNT(a->s, once_again);
        snprintf(k->said, sizeof k->said, "%.*s", (int)v.text.size, (const char *)v.text.data);
        k->next_at = io_now(a->io) + draw(a, 1, 60) * MILLISECOND;
        if (draw(a, 0, 1)) k->deadline = 0; /* of another node */
    } else if (v.kind == REPLY_NIL && r->watches) {
        buf_clear(&r->expected);
        buf_append_bytes(&r->expected, whole);
        r->adds[0] = r->adds[1] = 0; /* it was not done, nor will it be */
        answered(k);
    } else if (!bytes_equal(whole, buf_bytes(&r->expected))) {
        strange(k, whole);
    } else {
        answered(k);
    }
}

static size_t on_data(void *ctx, struct io_conn *conn, struct bytes in)
{
    struct asker *k = ctx;
    size_t used = 0;
    (void)conn;
    while (used < in.size) {
        struct bytes rest = {in.data + used, in.size - used};
        int64_t n = reply_size(rest);
        if (n == 0) break;
        if (n < 0 || !k->asking) {
            strange(k, rest);
            return in.size;
        }
        struct bytes whole = {rest.data, (size_t)n};
        world_note(k->of->s->w, 'O', k->id, hash64(whole, 0));
        if (--k->left == 0) last_reply(k, whole);
        used += (size_t)n;
    }
    return used;
}

/* ---- connections ---- */

static void on_opened(void *ctx, struct io_conn *conn)
{
    struct asker *k = ctx;
    (void)conn;
    k->opened = true;
}

static void lost(struct asker *k, uint64_t wait)
{
    k->conn = NULL;
    k->opened = k->asking = false;
    k->next_at = io_now(k->of->io) + wait;
}

static void on_closed(void *ctx, struct io_conn *conn, int error)
{
    struct asker *k = ctx;
    (void)conn, (void)error;
    lost(k, draw(k->of, 1, 60) * MILLISECOND);
}

static const struct io_handler asker_handler = {on_opened, on_data, NULL, on_closed};

static bool may_ask(const struct sim *s, uint32_t host)
{
    const struct member *m = &s->member[host];
    return m->state != MEMBER_IDLE && !(s->calm && (m->damaged || m->away));
}

static void connect_somewhere(struct asker *k)
{
    struct askers *a = k->of;
    char address[32];
    uint32_t nodes = a->s->nodes, to = (uint32_t)draw(a, 0, nodes - 1);
    for (uint32_t i = 0; i < nodes && !may_ask(a->s, to); i++) to = (to + 1) % nodes;
    k->node = to;
    snprintf(address, sizeof address, "10.0.0.%u:7000", to + 1);
    k->conn = io_connect(a->io, address, &asker_handler, k);
    k->deadline = io_now(a->io) + a->timeout_ns;
}

/* ---- turns ---- */

/* Returns when to look again. */
static uint64_t asker_turn(struct asker *k, uint64_t now)
{
    struct askers *a = k->of;
    if (!k->conn) {
        if (now < k->next_at) return k->next_at;
        connect_somewhere(k);
    }
    if (k->opened && !k->asking && k->deadline) {
        if (now < k->next_at) return k->next_at;
        k->next_at = now + draw(a, 1, 2 * a->think_ns);
        if (!k->request.open && !a->quiet) request_draw(k);
        if (!k->request.open) return k->next_at;
        ask(k);
    }
    if (now < k->deadline) return k->deadline;
    io_conn_close(k->conn, false);
    lost(k, draw(a, 0, 30) * MILLISECOND);
    return k->next_at;
}

static uint64_t askers_turn(void *ctx, uint64_t now)
{
    struct askers *a = ctx;
    uint64_t next = a->clients.turn(a->clients.ctx, now);
    for (uint32_t i = 0; i < a->count; i++) {
        uint64_t at = asker_turn(&a->asker[i], now);
        if (at < next) next = at;
    }
    return next;
}

/* ---- life ---- */

/* The first key "once<id>:number" in the part-th half of the slots. */
static void key_choose(char key[KEY_MAX], uint32_t id, uint32_t part)
{
    for (uint32_t i = 0;; i++) {
        snprintf(key, KEY_MAX, "once%u:%u", id, i);
        if ((uint32_t)slot_of(bytes_str(key)) * 2 / SLOT_COUNT == part) return;
    }
}

struct askers *askers_new(struct sim *s)
{
    static const uint64_t patience_ms[] = {100, 500, 1000, 3000};
    struct prng random;
    prng_init(&random, hash_mix(s->options.seed ^ 0x6f6e6365));
    if (prng_below(&random, 2)) return NULL;
    struct askers *a = mem_zalloc(sizeof *a);
    a->s = s;
    a->io = world_io(s->w, s->clients_host);
    a->random = random;
    a->count = (uint32_t)draw(a, 1, ASKERS_MAX);
    a->think_ns = draw(a, 1, 50) * MILLISECOND;
    a->timeout_ns = patience_ms[draw(a, 0, 3)] * MILLISECOND + 10 * s->latency_ns + 5 * s->write_ns;
    for (uint32_t i = 0; i < a->count; i++) {
        struct asker *k = &a->asker[i];
        *k = (struct asker){.of = a, .id = i};
        for (uint32_t part = 0; part < 2; part++) key_choose(k->key[part], i, part);
    }
    a->clients = a->io->client;
    ASSERT(a->clients.turn);
    a->io->client = (struct io_client){askers_turn, a};
    return a;
}

void askers_free(struct askers *a)
{
    if (!a) return;
    for (uint32_t i = 0; i < a->count; i++) {
        buf_deinit(&a->asker[i].request.text);
        buf_deinit(&a->asker[i].request.expected);
    }
    mem_free(a);
}

void askers_demand(struct askers *a)
{
    if (!a) return;
    a->timeout_ns = 10 * SECOND; /* in the end they wait for what they are told */
    for (uint32_t i = 0; i < a->count; i++) a->asker[i].wants = true;
    io_wake(a->io);
}

bool askers_satisfied(const struct askers *a, char *missing, size_t size)
{
    for (uint32_t i = 0; a && i < a->count; i++) {
        if (!a->asker[i].wants) continue;
        snprintf(missing, size, "asker %u got no answer: %s", i, a->asker[i].said);
        return false;
    }
    return true;
}

void askers_quiet(struct askers *a)
{
    if (a) a->quiet = true;
}
