/* Clients: plain Redis clients on a host of their own, one connection each, to any node.
 *
 * Each asks something of a few objects (history.h), which are then checked, and a little of
 * everything else for breadth. What is no answer (a broken connection, no reply in time, -UNKNOWN)
 * is recorded as unknown. A value names its number and is filled by a rule, so that a mangled one
 * is noticed. */
#include "ring/ring.h"
#include "sim/members.h"
#include "sim/reply.h"

#include <inttypes.h>

#define CLIENTS_MAX  12
#define PIPELINE_MAX 8
#define REPLIES_MAX  5 /* of one thing asked: MULTI, three commands, EXEC */
#define OBJECTS_MAX  HISTORY_OBJECTS_MAX
#define RANGES       16 /* of slots: in each of them something must be written in the end */
#define DEMANDS_MAX  (2 * OBJECTS_MAX + SIM_GROUPS_MAX + RANGES)
#define NO_OP        SIZE_MAX

struct object {
    char key[16], field[8]; /* field: of a hash; empty: the key is a string */
    bool counter;
};

/* Something that must be answered in the end. */
struct demand {
    enum { DEMAND_OPEN, DEMAND_ASKED, DEMAND_DONE } state;
    bool read; /* of an object; else a write in slots [lo, hi) */
    uint32_t number, lo, hi;
    char said[80]; /* the last refusal */
};

struct pending {
    size_t op; /* in the history, or NO_OP */
    struct demand *demand;
    const char *name;
    uint32_t items; /* EXEC: so many replies are in this one; the op's is in the middle */
    bool watches; /* the read after a WATCH; or an EXEC that may not be done, for somebody wrote */
};

struct client {
    struct workload *l;
    uint32_t id, node;
    struct io_conn *conn;
    bool open, resp3;
    bool leaves; /* this node is of no use: another one is asked */
    bool reader; /* only reads: a write to a leader that was cut off would wait, and keep it from
                    asking what that leader still says */
    uint64_t next_at;  /* when to ask again, or to connect; the clients' clock */
    uint64_t asked_at; /* the oldest pending request */
    struct pending pending[PIPELINE_MAX * REPLIES_MAX + 1];
    uint32_t count;
    int64_t seen[OBJECTS_MAX]; /* values, for compares */
    uint32_t watched;          /* an object + 1: it was read since WATCH; 0: none */
    bool unwatch;              /* the node may watch something that is not wanted any more */
};

struct workload {
    struct sim *s;
    struct io *io;
    struct prng random;
    struct client client[CLIENTS_MAX];
    uint32_t clients, objects, breadth_ppm, pipeline_ppm, multi_ppm;
    struct object object[OBJECTS_MAX];
    uint64_t think_ns, timeout_ns;
    int64_t next_value;
    bool quiet, avoid[SIM_NODES_MAX];
    struct demand demand[DEMANDS_MAX];
    uint32_t demands;
    struct buf value; /* scratch */
};

static uint64_t draw(struct workload *l, uint64_t min, uint64_t max)
{
    return min + prng_below(&l->random, max - min + 1);
}

/* ---- values ---- */

/* "number:filling"; the size follows from the number. */
static struct bytes value_text(struct workload *l, const struct object *o, int64_t number)
{
    buf_clear(&l->value);
    buf_printf(&l->value, "%" PRId64, number);
    if (o->counter) return buf_bytes(&l->value);
    uint64_t dice = hash_mix((uint64_t)number);
    size_t fill = dice % 100 < 70   ? dice / 100 % 20
                  : dice % 100 < 98 ? dice / 100 % 1500
                                    : dice / 100 % 20000;
    uint8_t *to = buf_reserve(&l->value, fill + 1);
    to[0] = ':';
    for (size_t i = 0; i < fill; i++) to[i + 1] = (uint8_t)('a' + (dice + i) % 26);
    l->value.size += fill + 1;
    return buf_bytes(&l->value);
}

static bool value_number(struct workload *l, const struct object *o, struct bytes text,
                         int64_t *number)
{
    const uint8_t *colon = o->counter ? NULL : memchr(text.data, ':', text.size);
    if (!o->counter && !colon) return false;
    if (!bytes_to_i64((struct bytes){text.data, colon ? (size_t)(colon - text.data) : text.size},
                      number))
        return false;
    return bytes_equal(text, value_text(l, o, *number));
}

/* ---- requests ---- */

static void put_head(struct buf *out, uint32_t args)
{
    buf_printf(out, "*%u\r\n", args);
}

static void put_arg(struct buf *out, struct bytes arg)
{
    buf_printf(out, "$%zu\r\n", arg.size);
    buf_append_bytes(out, arg);
    buf_append(out, "\r\n", 2);
}

static void put_word(struct buf *out, const char *word)
{
    put_arg(out, bytes_str(word));
}

static void client_expect(struct client *c, struct pending p)
{
    ASSERT(c->count < sizeof c->pending / sizeof *c->pending);
    if (c->count == 0) c->asked_at = io_now(c->l->io);
    c->pending[c->count++] = p;
}

/* Command, key, field if there is one. */
static void put_object(struct buf *out, const struct object *o, const char *command, uint32_t more)
{
    put_head(out, 2 + (o->field[0] != 0) + more);
    put_word(out, command);
    put_word(out, o->key);
    if (o->field[0]) put_word(out, o->field);
}

static const char *put_add(struct workload *l, struct buf *out, const struct object *o,
                           struct history_op *op)
{
    char amount[24];
    op->arg = (int64_t)draw(l, 1, 5);
    if (!o->field[0] && draw(l, 0, 2) == 0) {
        op->arg = 1;
        put_object(out, o, "INCR", 0);
        return "INCR";
    }
    bool down = !o->field[0] && draw(l, 0, 1);
    snprintf(amount, sizeof amount, "%" PRId64, op->arg);
    const char *name = o->field[0] ? "HINCRBY" : down ? "DECRBY" : "INCRBY";
    put_object(out, o, name, 1);
    put_word(out, amount);
    if (down) op->arg = -op->arg;
    return name;
}

static const char *put_op(struct client *c, struct buf *out, const struct object *o,
                          struct history_op *op)
{
    struct workload *l = c->l;
    bool hash = o->field[0] != 0;
    const char *name;

    switch (op->kind) {
    case HISTORY_READ: name = hash ? "HGET" : "GET"; break;
    case HISTORY_DELETE: name = hash ? "HDEL" : "DEL"; break;
    case HISTORY_TAKE: name = "GETDEL"; break;
    case HISTORY_ADD: return put_add(l, out, o, op);
    case HISTORY_WRITE:
    case HISTORY_COMPARE: name = "SET"; break;
    case HISTORY_PUT: name = "HSET"; break;
    case HISTORY_CREATE: name = hash ? "HSETNX" : "SETNX"; break;
    default: name = "GETSET"; break;
    }
    bool gives = op->kind != HISTORY_READ && op->kind != HISTORY_DELETE && op->kind != HISTORY_TAKE;
    put_object(out, o, name, op->kind == HISTORY_COMPARE ? 3 : gives);
    if (!gives) return name;
    op->arg = ++l->next_value;
    put_arg(out, value_text(l, o, op->arg));
    if (op->kind == HISTORY_COMPARE) {
        op->expect = c->seen[op->object];
        put_word(out, "IFEQ");
        put_arg(out, value_text(l, o, op->expect));
    }
    return name;
}

static uint8_t draw_kind(struct client *c, uint32_t object)
{
    struct workload *l = c->l;
    const struct object *o = &l->object[object];
    uint64_t dice = draw(l, 0, 99);
    if (dice < 38 || c->reader) return HISTORY_READ;
    if (o->counter) return dice < 94 ? HISTORY_ADD : HISTORY_DELETE;
    if (o->field[0]) return dice < 80 ? HISTORY_PUT : dice < 88 ? HISTORY_CREATE : HISTORY_DELETE;
    if (dice < 66) return HISTORY_WRITE;
    if (dice < 76) return HISTORY_SWAP;
    if (dice < 86) return c->seen[object] ? HISTORY_COMPARE : HISTORY_WRITE;
    return dice < 91 ? HISTORY_CREATE : dice < 96 ? HISTORY_DELETE : HISTORY_TAKE;
}

/* A command that is queued, or MULTI. */
static void ask_queued(struct client *c, const struct object *o, const char *name)
{
    struct buf *out = io_conn_out(c->conn);
    if (o) {
        put_object(out, o, name, 0);
    } else {
        put_head(out, 1);
        put_word(out, name);
    }
    client_expect(c, (struct pending){NO_OP, NULL, name});
}

/* The op as a transaction, of a counter between two reads, which must show it and nothing else. */
static struct pending put_transaction(struct client *c, const struct object *o,
                                      struct history_op *op)
{
    struct buf *out = io_conn_out(c->conn);
    bool between = o->counter && op->kind == HISTORY_ADD;
    ask_queued(c, NULL, "MULTI");
    if (between) ask_queued(c, o, o->field[0] ? "HGET" : "GET");
    client_expect(c, (struct pending){NO_OP, NULL, put_op(c, out, o, op)});
    if (between) ask_queued(c, o, o->field[0] ? "HGET" : "GET");
    put_head(out, 1);
    put_word(out, "EXEC");
    SIM_COUNT(c->l->s, transactions);
    return (struct pending){NO_OP, NULL, "EXEC", between ? 3 : 1};
}

static void client_ask_object(struct client *c, uint32_t object, uint8_t kind,
                              struct demand *demand)
{
    struct sim *s = c->l->s;
    const struct object *o = &c->l->object[object];
    struct history_op op = {.object = object, .client = c->id, .kind = kind};
    struct pending p = {NO_OP};
    if (!demand && prng_chance(&c->l->random, c->l->multi_ppm))
        p = put_transaction(c, o, &op);
    else
        p.name = put_op(c, io_conn_out(c->conn), o, &op);
    p.op = history_call(&s->history, op);
    p.demand = demand;
    s->result->cover.reads += kind == HISTORY_READ;
    s->result->cover.writes +=
        kind == HISTORY_WRITE || kind == HISTORY_PUT || kind == HISTORY_DELETE;
    s->result->cover.swaps +=
        kind >= HISTORY_CREATE && kind <= HISTORY_TAKE && kind != HISTORY_DELETE;
    s->result->cover.adds += kind == HISTORY_ADD;
    client_expect(c, p);
}

/* WATCH and a read: if that finds a value, the next thing asked is to replace it (ask_watched). */
static void ask_watch(struct client *c, uint32_t object)
{
    struct buf *out = io_conn_out(c->conn);
    const struct object *o = &c->l->object[object];
    put_head(out, 2);
    put_word(out, "WATCH");
    put_word(out, o->key);
    client_expect(c, (struct pending){NO_OP, NULL, "WATCH"});
    struct history_op op = {.object = object, .client = c->id, .kind = HISTORY_READ};
    const char *name = put_op(c, out, o, &op);
    c->watched = object + 1;
    client_expect(c, (struct pending){
                         .op = history_call(&c->l->s->history, op), .name = name, .watches = true});
}

/* Done only if nobody wrote to it since: as a compare with what was read. */
static void ask_watched(struct client *c)
{
    struct workload *l = c->l;
    struct buf *out = io_conn_out(c->conn);
    uint32_t object = c->watched - 1;
    const struct object *o = &l->object[object];
    struct history_op op = {.object = object,
                            .client = c->id,
                            .kind = HISTORY_COMPARE,
                            .expect = c->seen[object],
                            .arg = ++l->next_value};
    c->watched = 0;
    c->unwatch = true; /* if MULTI or EXEC is refused */
    ask_queued(c, NULL, "MULTI");
    put_object(out, o, "SET", 1);
    put_arg(out, value_text(l, o, op.arg));
    client_expect(c, (struct pending){NO_OP, NULL, "SET"});
    put_head(out, 1);
    put_word(out, "EXEC");
    SIM_COUNT(l->s, watched);
    client_expect(c, (struct pending){.op = history_call(&l->s->history, op),
                                      .name = "EXEC",
                                      .items = 1,
                                      .watches = true});
}

/* A little of everything: '#' becomes a digit, '@' a filling. */
static const char *const breadth[][8] = {
    {"SET", "x#", "@"},
    {"SET", "x##", "@", "PX", "1#00"},
    {"SETEX", "x#", "1", "@"},
    {"GET", "x##"},
    {"APPEND", "x#", "@"},
    {"STRLEN", "x#"},
    {"SETRANGE", "x#", "#", "abc"},
    {"GETRANGE", "x#", "0", "5"},
    {"PEXPIRE", "x#", "1##0"},
    {"PTTL", "x#"},
    {"PERSIST", "x#"},
    {"GETEX", "x#", "PX", "1##"},
    {"TYPE", "x#"},
    {"EXISTS", "x#"},
    {"DEL", "x#"},
    {"HSET", "y#", "f#", "@", "f##", "#"},
    {"HGETALL", "y#"},
    {"HMGET", "y#", "f#", "f#"},
    {"HDEL", "y#", "f##", "f#"},
    {"HLEN", "y#"},
    {"HSCAN", "y#", "0"},
    {"DEL", "y#"},
    {"UNLINK", "y#"},
    {"PEXPIRE", "y#", "1##0"},
    {"MSET", "{m#}a", "@", "{m#}b", "#"},
    {"MGET", "x#"},
    {"SCAN", "0", "COUNT", "1#"},
    {"RANDOMKEY"},
    {"DBSIZE"},
    {"PING"},
    {"TIME"},
    {"ECHO", "@"},
};

static void put_breadth_arg(struct workload *l, struct buf *out, const char *pattern, char tag)
{
    uint8_t text[4096];
    size_t size = 0;
    for (const char *p = pattern; *p; p++) {
        if (*p == '#') {
            text[size++] =
                (uint8_t)(p > pattern && p[-1] == 'm' ? tag : (char)('0' + draw(l, 0, 9)));
        } else if (*p == '@') {
            size_t fill = draw(l, 0, 3) ? draw(l, 0, 30) : draw(l, 0, 3000);
            for (size_t i = 0; i < fill; i++) text[size++] = (uint8_t)('A' + i % 26);
        } else {
            text[size++] = (uint8_t)*p;
        }
    }
    put_arg(out, (struct bytes){text, size});
}

static void client_ask_breadth(struct client *c)
{
    struct workload *l = c->l;
    const char *const *command = breadth[draw(l, 0, sizeof breadth / sizeof *breadth - 1)];
    struct buf *out = io_conn_out(c->conn);
    uint32_t args = 0;
    char tag = (char)('0' + draw(l, 0, 9));
    while (args < 8 && command[args]) args++;
    put_head(out, args);
    for (uint32_t i = 0; i < args; i++) put_breadth_arg(l, out, command[i], tag);
    SIM_COUNT(l->s, breadth);
    client_expect(c, (struct pending){NO_OP, NULL, command[0]});
}

/* A key in one of the slots. */
static void key_within(uint32_t lo, uint32_t hi, char key[24])
{
    for (uint32_t i = 0;; i++) {
        snprintf(key, 24, "live%u", i);
        uint32_t slot = slot_of(bytes_str(key));
        if (slot >= lo && slot < hi) return;
    }
}

static void client_ask_demand(struct client *c, struct demand *d)
{
    d->state = DEMAND_ASKED;
    if (d->read) {
        client_ask_object(c, d->number, HISTORY_READ, d);
        return;
    }
    char key[24];
    struct buf *out = io_conn_out(c->conn);
    key_within(d->lo, d->hi, key);
    put_head(out, 3);
    put_word(out, "SET");
    put_word(out, key);
    put_word(out, "alive");
    client_expect(c, (struct pending){NO_OP, d, "SET"});
}

static struct demand *demand_open(struct workload *l)
{
    for (uint32_t i = 0; i < l->demands; i++)
        if (l->demand[i].state == DEMAND_OPEN) return &l->demand[i];
    return NULL;
}

/* ---- answers ---- */

/* Errors that say: nothing was done. */
static bool is_refusal(struct bytes text)
{
    static const char *const words[] = {"TRYAGAIN", "CLUSTERDOWN", "OOM",      "LOADING",
                                        "BUSY",     "MASTERDOWN",  "READONLY", "EXECABORT"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (text.size >= strlen(words[i]) && memcmp(text.data, words[i], strlen(words[i])) == 0)
            return true;
    return false;
}

static void client_wrong(struct client *c, const struct pending *p, struct bytes whole)
{
    int shown = whole.size < 100 ? (int)whole.size : 100;
    sim_fail(c->l->s, SIM_PROTOCOL, "client %u got a strange reply to %s from node %u: %.*s", c->id,
             p->name, c->node + 1, shown, (const char *)whole.data);
}

static void demand_answered(struct demand *d, struct reply_view v)
{
    if (!d) return;
    d->state = v.kind == REPLY_ERROR ? DEMAND_OPEN : DEMAND_DONE;
    if (v.kind != REPLY_ERROR) return;
    size_t n = v.text.size < sizeof d->said - 1 ? v.text.size : sizeof d->said - 1;
    memcpy(d->said, v.text.data, n);
    d->said[n] = 0;
}

static void op_unknown(struct client *c, const struct pending *p)
{
    if (p->op != NO_OP) {
        history_return(&c->l->s->history, p->op, HISTORY_UNKNOWN, false, 0);
        SIM_COUNT(c->l->s, ops_unknown);
    }
    if (p->demand && p->demand->state == DEMAND_ASKED) p->demand->state = DEMAND_OPEN;
}

/* The answer to an op on an object; false: not one it may have. */
static bool op_answer(struct client *c, const struct history_op *op, struct reply_view v, bool *nil,
                      int64_t *answer)
{
    const struct object *o = &c->l->object[op->object];
    *nil = v.kind == REPLY_NIL;
    *answer = 0;
    switch (op->kind) {
    case HISTORY_READ:
    case HISTORY_SWAP:
    case HISTORY_TAKE:
        if (*nil) return true;
        if (v.kind != REPLY_TEXT || !value_number(c->l, o, v.text, answer)) return false;
        if (op->kind == HISTORY_READ) c->seen[op->object] = *answer;
        return true;
    case HISTORY_WRITE: return v.kind == REPLY_TEXT && bytes_equal(v.text, BYTES("OK"));
    case HISTORY_COMPARE:
        *nil = false;
        *answer = v.kind == REPLY_TEXT;
        return v.kind == REPLY_NIL || v.kind == REPLY_TEXT;
    case HISTORY_ADD: *answer = v.number; return v.kind == REPLY_NUMBER;
    default: *answer = v.number; return v.kind == REPLY_NUMBER && (v.number == 0 || v.number == 1);
    }
}

/* The op's reply within that to EXEC; an empty one if it is not as it must be. */
static struct bytes transaction_answer(const struct pending *p, int64_t added, struct bytes whole)
{
    struct bytes item[3];
    if (!reply_items(whole, item, p->items)) return (struct bytes){0};
    if (p->items == 1) return item[0];
    struct reply_view before = reply_read(item[0]), op = reply_read(item[1]),
                      after = reply_read(item[2]);
    int64_t had = 0, has;
    bool known = before.kind == REPLY_NIL || bytes_to_i64(before.text, &had);
    if (!known || op.kind != REPLY_NUMBER || !bytes_to_i64(after.text, &has) || has != op.number ||
        has != had + added)
        return (struct bytes){0};
    return item[1];
}

static void client_answered(struct client *c, const struct pending *p, struct bytes whole)
{
    if (p->items && p->watches && reply_read(whole).kind == REPLY_NIL) {
        history_return(&c->l->s->history, p->op, HISTORY_REFUSED, false, 0);
        SIM_COUNT(c->l->s, watch_aborts);
        return;
    }
    if (p->items && reply_read(whole).kind != REPLY_ERROR) {
        int64_t added = c->l->s->history.op[p->op].arg;
        struct bytes answer = transaction_answer(p, added, whole);
        if (!answer.size) {
            client_wrong(c, p, whole);
            return;
        }
        whole = answer;
    }

    struct workload *l = c->l;
    struct sim *s = l->s;
    struct reply_view v = reply_read(whole);
    bool unknown =
        v.kind == REPLY_ERROR && v.text.size >= 7 && memcmp(v.text.data, "UNKNOWN", 7) == 0;
    bool refused = v.kind == REPLY_ERROR && is_refusal(v.text);
    bool nil;
    int64_t answer;

    world_note(s->w, 'R', c->id, hash64(whole, 0));
    demand_answered(p->demand, v);
    if (refused || unknown)
        world_say(s->w, s->clients_host, "client %u, node %u: %s: %.*s", c->id, c->node + 1,
                  p->name, (int)v.text.size, (const char *)v.text.data);
    c->leaves |=
        refused && s->calm && v.text.size > 16 && memcmp(v.text.data, "CLUSTERDOWN this", 16) == 0;
    if (c->watched && (v.kind == REPLY_ERROR || (p->watches && v.kind == REPLY_NIL))) {
        c->watched = 0;
        c->unwatch = true;
    }
    if (refused || unknown) c->next_at = io_now(l->io) + draw(l, 5, 80) * MILLISECOND;
    if (v.kind == REPLY_ERROR && !refused && !unknown) {
        client_wrong(c, p, whole);
    } else if (p->op == NO_OP) {
        return;
    } else if (unknown) {
        op_unknown(c, p);
    } else if (refused) {
        history_return(&s->history, p->op, HISTORY_REFUSED, false, 0);
        SIM_COUNT(s, ops_refused);
        s->result->cover.ops_no_room += v.text.size > 3 && memcmp(v.text.data, "OOM", 3) == 0;
    } else if (op_answer(c, &s->history.op[p->op], v, &nil, &answer)) {
        history_return(&s->history, p->op, HISTORY_DONE, nil, answer);
        SIM_COUNT(s, ops_done);
    } else {
        client_wrong(c, p, whole);
    }
}

/* ---- connections ---- */

static void client_lost(struct client *c, uint64_t wait)
{
    for (uint32_t i = 0; i < c->count; i++) op_unknown(c, &c->pending[i]);
    c->count = 0;
    c->conn = NULL;
    c->open = c->leaves = c->unwatch = false;
    c->watched = 0;
    c->next_at = io_now(c->l->io) + wait;
}

static void on_opened(void *ctx, struct io_conn *conn)
{
    struct client *c = conn->user;
    (void)ctx;
    c->open = true;
    c->next_at = 0;
    io_conn_set_limit(conn, 4u << 20);
    if (!c->resp3) return;
    struct buf *out = io_conn_out(conn);
    put_head(out, 2);
    put_word(out, "HELLO");
    put_word(out, "3");
    client_expect(c, (struct pending){NO_OP, NULL, "HELLO"});
}

static size_t on_data(void *ctx, struct io_conn *conn, struct bytes in)
{
    struct client *c = conn->user;
    size_t used = 0;
    (void)ctx;
    while (used < in.size) {
        struct bytes left = {in.data + used, in.size - used};
        int64_t n = reply_size(left);
        if (n == 0) break;
        struct pending first = c->count ? c->pending[0] : (struct pending){NO_OP, NULL, "nothing"};
        if (n < 0 || c->count == 0) {
            client_wrong(c, &first, left);
            return in.size;
        }
        c->count--;
        memmove(c->pending, c->pending + 1, c->count * sizeof *c->pending);
        c->asked_at = io_now(c->l->io);
        client_answered(c, &first, (struct bytes){left.data, (size_t)n});
        used += (size_t)n;
    }
    return used;
}

static void on_closed(void *ctx, struct io_conn *conn, int error)
{
    struct client *c = conn->user;
    (void)ctx, (void)error;
    client_lost(c, draw(c->l, 1, 60) * MILLISECOND);
}

static const struct io_handler client_handler = {on_opened, on_data, NULL, on_closed};

static bool may_ask(const struct workload *l, uint32_t host)
{
    const struct member *m = &l->s->member[host];
    return !l->avoid[host] && m->state != MEMBER_IDLE && !(l->s->calm && m->damaged);
}

static void client_connect(struct client *c)
{
    struct workload *l = c->l;
    char address[32];
    uint32_t nodes = l->s->nodes, from = (uint32_t)draw(l, 0, nodes - 1);
    for (uint32_t i = 0; i < nodes && !may_ask(l, from); i++) from = (from + 1) % nodes;
    c->node = from;
    snprintf(address, sizeof address, "10.0.0.%u:7000", from + 1);
    c->conn = io_connect(l->io, address, &client_handler, l);
    c->conn->user = c;
    c->asked_at = io_now(l->io);
    SIM_COUNT(l->s, reconnects);
}

/* ---- turns ---- */

static void client_ask(struct client *c)
{
    struct workload *l = c->l;
    struct demand *d = demand_open(l);
    if (d) {
        client_ask_demand(c, d);
        return;
    }
    if (l->quiet) return;
    if (c->unwatch && !c->watched) {
        ask_queued(c, NULL, "UNWATCH");
        c->unwatch = false;
    }
    if (c->watched) {
        ask_watched(c);
        return;
    }
    if (!c->reader && prng_chance(&l->random, l->multi_ppm / 2)) {
        uint32_t object = (uint32_t)draw(l, 0, l->objects - 1);
        if (!l->object[object].counter && !l->object[object].field[0]) {
            ask_watch(c, object);
            return;
        }
    }
    uint32_t burst =
        prng_chance(&l->random, l->pipeline_ppm) ? (uint32_t)draw(l, 2, PIPELINE_MAX) : 1;
    if (burst > 1) SIM_COUNT(l->s, pipelined);
    for (uint32_t i = 0; i < burst; i++) {
        if (!c->reader && prng_chance(&l->random, l->breadth_ppm)) {
            client_ask_breadth(c);
            continue;
        }
        uint32_t object = (uint32_t)draw(l, 0, l->objects - 1);
        client_ask_object(c, object, draw_kind(c, object), NULL);
    }
}

/* Returns when to look again. */
static uint64_t client_turn(struct client *c, uint64_t now)
{
    struct workload *l = c->l;
    if (!c->conn) {
        if (now < c->next_at) return c->next_at;
        client_connect(c);
    }
    if (c->leaves && c->count == 0) {
        io_conn_close(c->conn, false);
        client_lost(c, draw(l, 1, 60) * MILLISECOND);
        return c->next_at;
    }
    if (c->open && c->count == 0 && now >= c->next_at) {
        client_ask(c);
        c->next_at = now + draw(l, 1, 2 * l->think_ns);
    }
    bool waits = !c->open || c->count;
    if (waits && now >= c->asked_at + l->timeout_ns) {
        world_say(l->s->w, l->s->clients_host,
                  "client %u hears nothing from node %u: %s (%u pending)", c->id, c->node + 1,
                  c->count ? c->pending[0].name : "connect", c->count);
        io_conn_close(c->conn, false);
        client_lost(c, draw(l, 0, 30) * MILLISECOND);
        return c->next_at;
    }
    return waits ? c->asked_at + l->timeout_ns : c->next_at;
}

static uint64_t workload_turn(void *ctx, uint64_t now)
{
    struct workload *l = ctx;
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < l->clients; i++) {
        uint64_t at = client_turn(&l->client[i], now);
        if (at < next) next = at;
    }
    uint64_t at = operator_turn(l->s->operator, now);
    return at < next ? at : next;
}

/* ---- life ---- */

static void object_add(struct workload *l, bool counter, const char *field, const char *format,
                       uint32_t i)
{
    struct object *o = &l->object[l->objects++];
    ASSERT(l->objects <= OBJECTS_MAX);
    o->counter = counter;
    snprintf(o->field, sizeof o->field, "%s", field);
    snprintf(o->key, sizeof o->key, format, i);
}

static void objects_draw(struct workload *l)
{
    uint32_t registers = (uint32_t)draw(l, 1, 6), counters = (uint32_t)draw(l, 1, 3),
             hashes = (uint32_t)draw(l, 1, 2);
    for (uint32_t i = 0; i < registers; i++) object_add(l, false, "", "r%u", i);
    for (uint32_t i = 0; i < counters; i++) object_add(l, true, "", "c%u", i);
    for (uint32_t i = 0; i < hashes; i++) {
        object_add(l, false, "f0", "h%u", i);
        object_add(l, false, "f1", "h%u", i);
        object_add(l, true, "n0", "h%u", i);
    }
    for (uint32_t i = 0; i < l->objects; i++) {
        const struct object *o = &l->object[i];
        snprintf(l->s->history.name[i], sizeof l->s->history.name[i], "%s%s%s", o->key,
                 o->field[0] ? "." : "", o->field);
    }
}

struct workload *workload_new(struct sim *s)
{
    struct workload *l = mem_zalloc(sizeof *l);
    l->s = s;
    l->io = world_io(s->w, s->clients_host);
    prng_init(&l->random, hash_mix(s->options.seed ^ 0x776f726b));
    objects_draw(l);
    l->clients = (uint32_t)draw(l, 2, 9);
    l->think_ns = draw(l, 2, 40) * MILLISECOND;
    /* The impatient are free to ask the next leader while the last one still thinks that it leads.
     */
    static const uint64_t patience_ms[] = {50, 100, 200, 500, 3000};
    l->timeout_ns = patience_ms[draw(l, 0, 4)] * MILLISECOND + 10 * s->latency_ns + 5 * s->write_ns;
    l->breadth_ppm = (uint32_t)draw(l, 0, 400000);
    l->multi_ppm = draw(l, 0, 1) ? (uint32_t)draw(l, 0, 300000) : 0;
    l->pipeline_ppm = draw(l, 0, 1) ? (uint32_t)draw(l, 0, 400000) : 0;
    for (uint32_t i = 0; i < l->clients; i++)
        l->client[i] =
            (struct client){.l = l, .id = i, .resp3 = draw(l, 0, 1), .reader = i % 3 == 2};
    world_boot(s->w, s->clients_host);
    world_enter(s->w, s->clients_host);
    l->io->client = (struct io_client){workload_turn, l};
    world_leave(s->w, s->clients_host);
    return l;
}

void workload_free(struct workload *l)
{
    if (!l) return;
    world_die(l->s->w, l->s->clients_host);
    world_reap(l->s->w, l->s->clients_host, WORLD_EXIT);
    buf_deinit(&l->value);
    mem_free(l);
}

void workload_quiet(struct workload *l)
{
    l->quiet = true;
}

void workload_avoid(struct workload *l, uint32_t host)
{
    l->avoid[host] = true;
}

static struct demand *demand_add(struct workload *l)
{
    ASSERT(l->demands < DEMANDS_MAX);
    return &l->demand[l->demands++];
}

static void demand_write(struct workload *l, uint32_t lo, uint32_t hi)
{
    struct demand *d = demand_add(l);
    d->lo = lo;
    d->hi = hi;
}

void workload_demand_writes(struct workload *l)
{
    struct node *map = members_map(l->s);
    struct ring_row row;
    l->timeout_ns = 3 * SECOND; /* in the end they wait for what they are told */
    for (uint32_t i = 0; i < RANGES; i++)
        demand_write(l, i * SLOT_COUNT / RANGES, (i + 1) * SLOT_COUNT / RANGES);
    for (uint32_t g = 0; map && g < l->s->groups; g++)
        if (node_ring_row(map, RING_ROW_GROUP, g, &row) && row.group.slot_lo < row.group.slot_hi)
            demand_write(l, row.group.slot_lo, row.group.slot_hi);
    io_wake(l->io);
}

void workload_demand_reads(struct workload *l)
{
    for (uint32_t o = 0; o < l->objects; o++)
        for (uint32_t twice = 0; twice < 2; twice++)
            *demand_add(l) = (struct demand){.read = true, .number = o};
    io_wake(l->io);
}

bool workload_satisfied(const struct workload *l, char *missing, size_t size)
{
    for (uint32_t i = 0; i < l->demands; i++) {
        const struct demand *d = &l->demand[i];
        if (d->state == DEMAND_DONE) continue;
        if (d->read)
            snprintf(missing, size, "no answer to a read of %s %s %s", l->object[d->number].key,
                     l->object[d->number].field, d->said);
        else
            snprintf(missing, size, "no answer to a write in slots [%u, %u) %s", d->lo, d->hi,
                     d->said);
        return false;
    }
    return true;
}
