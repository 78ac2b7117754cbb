#include "sim/caller.h"

#include "ring/slot.h"
#include "sim/reply.h"

uint64_t callers_draw(struct callers *all, uint64_t min, uint64_t max)
{
    return min + prng_below(&all->random, max - min + 1);
}

/* ---- requests ---- */

void caller_put_head(struct caller *c, uint32_t words)
{
    ASSERT(c->commands < CALLER_COMMANDS_MAX);
    buf_printf(&c->text, "*%u\r\n", words);
}

void caller_put_word(struct caller *c, const char *word)
{
    buf_printf(&c->text, "$%zu\r\n%s\r\n", strlen(word), word);
}

void caller_put_end(struct caller *c)
{
    c->end[c->commands++] = c->text.size;
}

void caller_put(struct caller *c, const char *name, const char *key, const char *value)
{
    caller_put_head(c, 1 + (key != NULL) + (value != NULL));
    caller_put_word(c, name);
    if (key) caller_put_word(c, key);
    if (value) caller_put_word(c, value);
    caller_put_end(c);
}

void caller_begin(struct caller *c, const char *asks)
{
    ASSERT(!c->asks);
    buf_clear(&c->text);
    c->asks = asks;
    c->commands = c->sent = c->answered = 0;
    c->refusal[0] = 0;
    c->step_by_step = prng_chance(&c->all->random, c->all->step_ppm);
    c->opened = false;
}

void caller_begin_open(struct caller *c, const char *asks)
{
    caller_begin(c, asks);
    buf_clear(&c->replies);
    c->step_by_step = c->opened = true;
}

/* Sends the next commands of the request. */
static void caller_send(struct caller *c)
{
    uint32_t until = c->step_by_step ? c->sent + 1 : c->commands;
    size_t start = c->sent ? c->end[c->sent - 1] : 0;
    ASSERT(c->sent < until && until <= c->commands);
    buf_append(io_conn_out(c->conn), c->text.data + start, c->end[until - 1] - start);
    c->sent = until;
    c->asked_at = io_now(c->all->io);
}

/* ---- answers ---- */

/* Errors that say: nothing was done. */
static bool is_refusal(struct bytes text)
{
    static const char *const words[] = {"TRYAGAIN",         "CLUSTERDOWN", "OOM",
                                        "LOADING",          "BUSY",        "MASTERDOWN",
                                        "READONLY",         "INUSE",       "TXNABORT",
                                        "EXECABORT",        "NOSNAPSHOT",  "ERR there are 32",
                                        "ERR there are 16", "IOERR"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (bytes_begins(text, words[i])) return true;
    return false;
}

void caller_strange(struct caller *c, struct bytes whole)
{
    sim_fail(c->all->s, SIM_PROTOCOL, "%s %u got a strange reply to %s from node %u: %.*s",
             c->all->owner->name, c->id, c->asks ? c->asks : "nothing", c->node + 1,
             (int)(whole.size < 100 ? whole.size : 100), (const char *)whole.data);
}

static void caller_ended(struct caller *c, enum caller_outcome how, struct bytes whole)
{
    c->all->owner->ended(c->all->ctx, c, how, whole);
    c->asks = NULL;
}

/* No answer. What was not sent whole is not done. */
static void caller_unanswered(struct caller *c)
{
    if (!c->asks) return;
    caller_ended(c, c->sent < c->commands ? CALLER_REFUSED : CALLER_UNKNOWN, (struct bytes){0});
}

static void caller_refusal(struct caller *c, struct bytes text)
{
    if (!c->refusal[0])
        snprintf(c->refusal, sizeof c->refusal, "%.*s", (int)text.size, (const char *)text.data);
}

/* The last reply is an error. */
static void caller_failed(struct caller *c, struct bytes text)
{
    struct callers *all = c->all;
    caller_refusal(c, text);
    memcpy(c->said, c->refusal, sizeof c->said);
    world_say(all->s->w, all->s->clients_host, "%s %u, node %u: %s: %s", all->owner->name, c->id,
              c->node + 1, c->asks, c->refusal);
    c->next_at = io_now(all->io) + callers_draw(all, 5, 80) * MILLISECOND;
    c->leaves |= all->s->calm && bytes_begins(bytes_str(c->refusal), "CLUSTERDOWN this");
    if (bytes_begins(text, "UNKNOWN"))
        caller_unanswered(c);
    else
        caller_ended(c, CALLER_REFUSED, text);
}

/* A reply to MULTI, or to a command of the transaction, which then may be refused. */
static void caller_goes_on(struct caller *c, struct bytes whole)
{
    struct reply_view v = reply_read(whole);
    struct bytes expected = c->answered == 1 ? BYTES("OK") : BYTES("QUEUED");
    if (v.kind == REPLY_ERROR && c->answered > 1 && is_refusal(v.text)) {
        caller_refusal(c, v.text);
    } else if (v.kind != REPLY_TEXT || !bytes_equal(v.text, expected)) {
        caller_strange(c, whole);
        return;
    }
    if (c->sent == c->answered) caller_send(c);
}

/* The same between BEGIN and COMMIT: who is refused has to end it. */
static void caller_goes_on_open(struct caller *c, struct bytes whole)
{
    struct reply_view v = reply_read(whole);
    if (v.kind == REPLY_ERROR && is_refusal(v.text)) {
        c->leaves = true;
        caller_failed(c, v.text);
    } else if (v.kind == REPLY_ERROR) {
        caller_strange(c, whole);
    } else {
        if (c->answered > 1) buf_append_bytes(&c->replies, whole);
        caller_send(c);
    }
}

/* Of what BEGIN and COMMIT enclosed, one array as EXEC's. */
static void caller_committed(struct caller *c)
{
    struct buf whole = {0};
    buf_printf(&whole, "*%u\r\n", c->commands - 2);
    buf_append_bytes(&whole, buf_bytes(&c->replies));
    caller_ended(c, CALLER_DONE, buf_bytes(&whole));
    buf_deinit(&whole);
}

static void caller_answered(struct caller *c, struct bytes whole)
{
    struct reply_view v = reply_read(whole);
    world_note(c->all->s->w, c->all->owner->note, c->id, hash64(whole, 0));
    c->asked_at = io_now(c->all->io);
    c->answered++;
    if (c->answered < c->commands)
        (c->opened ? caller_goes_on_open : caller_goes_on)(c, whole);
    else if (v.kind != REPLY_ERROR && c->opened)
        caller_committed(c);
    else if (v.kind != REPLY_ERROR)
        caller_ended(c, CALLER_DONE, whole);
    else if (is_refusal(v.text) || bytes_begins(v.text, "UNKNOWN"))
        caller_failed(c, v.text);
    else if (c->all->owner->takes && c->all->owner->takes(c->all->ctx, c, v.text))
        caller_ended(c, CALLER_DONE, whole);
    else
        caller_strange(c, whole);
}

/* ---- connections ---- */

static void caller_lost(struct caller *c, uint64_t wait)
{
    caller_unanswered(c);
    c->conn = NULL;
    c->open = c->leaves = false;
    c->next_at = io_now(c->all->io) + wait;
}

static void on_opened(void *ctx, struct io_conn *conn)
{
    struct caller *c = ctx;
    (void)conn;
    c->open = true;
    c->next_at = 0;
}

static size_t on_data(void *ctx, struct io_conn *conn, struct bytes in)
{
    struct caller *c = ctx;
    size_t used = 0;
    (void)conn;
    while (used < in.size) {
        struct bytes left = {in.data + used, in.size - used};
        int64_t n = reply_size(left);
        if (n == 0) break;
        if (n < 0 || !c->asks || c->answered == c->sent) {
            caller_strange(c, left);
            return in.size;
        }
        caller_answered(c, (struct bytes){left.data, (size_t)n});
        used += (size_t)n;
    }
    return used;
}

static void on_closed(void *ctx, struct io_conn *conn, int error)
{
    struct caller *c = ctx;
    (void)conn, (void)error;
    caller_lost(c, callers_draw(c->all, 1, 60) * MILLISECOND);
}

static const struct io_handler caller_handler = {on_opened, on_data, NULL, on_closed};

static bool may_ask(const struct sim *s, uint32_t host)
{
    const struct member *m = &s->member[host];
    return m->state != MEMBER_IDLE && !(s->calm && (m->damaged || m->away));
}

static void caller_connect(struct caller *c)
{
    struct callers *all = c->all;
    char address[32];
    uint32_t nodes = all->s->nodes, to = (uint32_t)callers_draw(all, 0, nodes - 1);
    for (uint32_t i = 0; i < nodes && !may_ask(all->s, to); i++) to = (to + 1) % nodes;
    c->node = to;
    snprintf(address, sizeof address, "10.0.0.%u:7000", to + 1);
    c->conn = io_connect(all->io, address, &caller_handler, c);
    io_conn_set_limit(c->conn, 16u << 20); /* a job's result */
    c->asked_at = io_now(all->io);
}

/* ---- turns ---- */

static void caller_hang_up(struct caller *c, uint64_t wait)
{
    io_conn_close(c->conn, false);
    caller_lost(c, wait);
}

/* Returns when to look again. */
static uint64_t caller_turn(struct caller *c, uint64_t now)
{
    struct callers *all = c->all;
    if (!c->conn) {
        if (now < c->next_at) return c->next_at;
        caller_connect(c);
    }
    bool idle = c->open && !c->asks;
    if (idle && c->leaves) {
        caller_hang_up(c, callers_draw(all, 1, 60) * MILLISECOND);
        return c->next_at;
    }
    if (idle && now >= c->next_at) {
        c->next_at = now + callers_draw(all, 1, 2 * all->think_ns);
        if (all->owner->ask(all->ctx, c)) caller_send(c);
    }
    if (c->open && !c->asks) return c->next_at;
    if (now < c->asked_at + all->timeout_ns) return c->asked_at + all->timeout_ns;
    world_say(all->s->w, all->s->clients_host, "%s %u hears nothing from node %u: %s",
              all->owner->name, c->id, c->node + 1, c->open ? c->asks : "connect");
    caller_hang_up(c, callers_draw(all, 0, 30) * MILLISECOND);
    return c->next_at;
}

static uint64_t callers_turn(void *ctx, uint64_t now)
{
    struct callers *all = ctx;
    uint64_t next = all->others.turn(all->others.ctx, now);
    for (uint32_t i = 0; i < all->count; i++) {
        uint64_t at = caller_turn(&all->caller[i], now);
        if (at < next) next = at;
    }
    return next;
}

/* ---- life ---- */

void caller_key(char key[CALLER_KEY_MAX], const char *prefix, uint32_t part, uint32_t parts)
{
    for (uint32_t i = 0;; i++) {
        snprintf(key, CALLER_KEY_MAX, "%s:%u", prefix, i);
        if ((uint32_t)slot_of(bytes_str(key)) * parts / SLOT_COUNT == part) return;
    }
}

void callers_start(struct callers *all, struct sim *s)
{
    static const uint64_t patience_ms[] = {200, 500, 1000, 3000};
    ASSERT(all->count <= CALLERS_MAX);
    all->s = s;
    all->io = world_io(s->w, s->clients_host);
    all->think_ns = callers_draw(all, 2, 60) * MILLISECOND;
    all->timeout_ns =
        patience_ms[callers_draw(all, 0, 3)] * MILLISECOND + 10 * s->latency_ns + 5 * s->write_ns;
    all->step_ppm = callers_draw(all, 0, 1) ? (uint32_t)callers_draw(all, 0, 1000000) : 0;
    for (uint32_t i = 0; i < all->count; i++) {
        all->caller[i].all = all;
        all->caller[i].id = i;
    }
    all->others = all->io->client;
    ASSERT(all->others.turn);
    all->io->client = (struct io_client){callers_turn, all};
}

void callers_deinit(struct callers *all)
{
    for (uint32_t i = 0; i < all->count; i++) {
        buf_deinit(&all->caller[i].text);
        buf_deinit(&all->caller[i].replies);
    }
}

void callers_wait_long(struct callers *all)
{
    all->timeout_ns = 10 * SECOND;
    io_wake(all->io);
}
