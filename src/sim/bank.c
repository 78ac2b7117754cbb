#include "sim/bank.h"

#include "ring/slot.h"
#include "sim/bank_judge.h"
#include "sim/members.h"
#include "sim/reply.h"

#include <inttypes.h>

#define VALUES_MAX   (BANK_ACCOUNTS_MAX + 2 * BANK_TELLERS_MAX) /* that an audit reads */
#define COMMANDS_MAX (VALUES_MAX + 2)                           /* MULTI, ..., EXEC */
#define KEY_MAX      24

enum ask {
    ASK_NOTHING,
    ASK_TRANSFER,
    ASK_AUDIT,       /* MGET */
    ASK_AUDIT_MULTI, /* MULTI, a GET of each, EXEC */
    ASK_PAIR_WRITE,
    ASK_PAIR_READ,
};
static const char *const ask_names[] = {
    "nothing",           "a transfer",          "an audit",
    "an audit in MULTI", "a write of the pair", "a read of the pair"};

/* One command, or a transaction; and of what the judge told when it was sent. */
struct request {
    enum ask what;
    struct buf text;
    size_t end[COMMANDS_MAX]; /* of each command, in `text` */
    uint32_t commands, sent, answered;
    bool step_by_step;          /* each command is sent when the one before is answered */
    uint32_t order[VALUES_MAX]; /* which value item i of the answer is */
    uint32_t values;
    uint32_t number; /* of a transfer; the value for the pair */
    uint64_t since;  /* a read of the pair */
    struct bank_audit audit;
    char said[80]; /* the first refusal */
};

struct teller {
    struct bank *b;
    uint32_t id, node;
    struct io_conn *conn;
    bool open;
    bool leaves;                      /* this node is of no use: another one is asked */
    bool wants_transfer, wants_audit; /* it must be answered in the end */
    uint64_t next_at;                 /* when to ask again, or to connect */
    uint64_t asked_at;                /* something that is not answered yet */
    struct request request;
    char said[80]; /* the last refusal */
};

struct bank {
    struct sim *s;
    struct io *io;
    struct io_client clients; /* whose turns go on beside the tellers' */
    struct prng random;
    struct bank_judge judge;
    struct teller teller[BANK_TELLERS_MAX];
    uint32_t tellers, accounts;
    char account[BANK_ACCOUNTS_MAX][KEY_MAX], counter[BANK_TELLERS_MAX][KEY_MAX],
        last[BANK_TELLERS_MAX][KEY_MAX], pair[2][KEY_MAX];
    uint64_t think_ns, timeout_ns;
    uint32_t step_ppm;
    bool quiet;
};

static uint64_t draw(struct bank *b, uint64_t min, uint64_t max)
{
    return min + prng_below(&b->random, max - min + 1);
}

/* ---- requests ---- */

static void put_arg(struct buf *out, const char *arg)
{
    buf_printf(out, "$%zu\r\n%s\r\n", strlen(arg), arg);
}

/* A command of up to three words, NULL where there are fewer. */
static void put_command(struct request *r, const char *name, const char *key, const char *value)
{
    ASSERT(r->commands < COMMANDS_MAX);
    buf_printf(&r->text, "*%u\r\n", 1 + (key != NULL) + (value != NULL));
    put_arg(&r->text, name);
    if (key) put_arg(&r->text, key);
    if (value) put_arg(&r->text, value);
    r->end[r->commands++] = r->text.size;
}

static void order_draw(struct bank *b, struct request *r, uint32_t values)
{
    r->values = values;
    for (uint32_t i = 0; i < values; i++) {
        uint32_t j = (uint32_t)draw(b, 0, i);
        r->order[i] = r->order[j];
        r->order[j] = i;
    }
}

/* Its commands in any order: DECRBY, INCRBY, INCR of the counter, GETSET of `last`. */
static void put_transfer(struct teller *t)
{
    struct bank *b = t->b;
    struct request *r = &t->request;
    uint32_t low = (uint32_t)draw(b, 0, b->accounts - 2),
             high = (uint32_t)draw(b, low + 1, b->accounts - 1);
    uint32_t from = t->id % 2 ? high : low, to = t->id % 2 ? low : high;
    char amount[24], serial[24];
    r->number = bank_transfer_sent(&b->judge, t->id);
    snprintf(amount, sizeof amount, "%" PRId64, bank_amount(from, to));
    snprintf(serial, sizeof serial, "%u", r->number);
    order_draw(b, r, 4);
    put_command(r, "MULTI", NULL, NULL);
    for (uint32_t i = 0; i < r->values; i++) {
        switch (r->order[i]) {
        case 0: put_command(r, "INCR", b->counter[t->id], NULL); break;
        case 1: put_command(r, "GETSET", b->last[t->id], serial); break;
        case 2: put_command(r, "DECRBY", b->account[from], amount); break;
        default: put_command(r, "INCRBY", b->account[to], amount); break;
        }
    }
    put_command(r, "EXEC", NULL, NULL);
}

/* What an audit reads: the accounts, the counters, the last serial numbers. */
static const char *audit_key(const struct bank *b, uint32_t i)
{
    if (i < b->accounts) return b->account[i];
    i -= b->accounts;
    return i < b->tellers ? b->counter[i] : b->last[i - b->tellers];
}

static int64_t *audit_value(const struct bank *b, struct bank_view *v, uint32_t i)
{
    if (i < b->accounts) return &v->account[i];
    i -= b->accounts;
    return i < b->tellers ? &v->counter[i] : &v->last[i - b->tellers];
}

static void put_audit(struct teller *t, bool multi)
{
    struct bank *b = t->b;
    struct request *r = &t->request;
    r->audit = bank_audit_sent(&b->judge);
    order_draw(b, r, b->accounts + 2 * b->tellers);
    if (!multi) buf_printf(&r->text, "*%u\r\n$4\r\nMGET\r\n", 1 + r->values);
    if (multi) put_command(r, "MULTI", NULL, NULL);
    for (uint32_t i = 0; i < r->values; i++) {
        if (multi)
            put_command(r, "GET", audit_key(b, r->order[i]), NULL);
        else
            put_arg(&r->text, audit_key(b, r->order[i]));
    }
    if (multi)
        put_command(r, "EXEC", NULL, NULL);
    else
        r->end[r->commands++] = r->text.size;
}

static void put_pair(struct teller *t, bool write)
{
    struct bank *b = t->b;
    struct request *r = &t->request;
    char value[24];
    uint32_t first = (uint32_t)draw(b, 0, 1);
    r->values = 2;
    if (write)
        r->number = bank_pair_sent(&b->judge);
    else
        r->since = bank_pair_read_sent(&b->judge);
    snprintf(value, sizeof value, "%u", r->number);
    buf_printf(&r->text, write ? "*5\r\n$4\r\nMSET\r\n" : "*3\r\n$4\r\nMGET\r\n");
    for (uint32_t i = 0; i < 2; i++) {
        r->order[i] = first ^ i;
        put_arg(&r->text, b->pair[r->order[i]]);
        if (write) put_arg(&r->text, value);
    }
    r->end[r->commands++] = r->text.size;
}

/* Sends the next commands of the request. */
static void teller_send(struct teller *t)
{
    struct request *r = &t->request;
    uint32_t until = r->step_by_step ? r->sent + 1 : r->commands;
    size_t start = r->sent ? r->end[r->sent - 1] : 0;
    ASSERT(r->sent < until && until <= r->commands);
    buf_append(io_conn_out(t->conn), r->text.data + start, r->end[until - 1] - start);
    r->sent = until;
    t->asked_at = io_now(t->b->io);
}

static enum ask draw_ask(struct teller *t)
{
    if (t->wants_transfer) return ASK_TRANSFER;
    if (t->wants_audit) return ASK_AUDIT;
    uint64_t dice = draw(t->b, 0, 99);
    if (dice < 60) return ASK_TRANSFER;
    if (dice < 85) return ASK_AUDIT;
    if (dice < 95) return ASK_AUDIT_MULTI;
    return dice < 98 ? ASK_PAIR_WRITE : ASK_PAIR_READ;
}

static void teller_ask(struct teller *t)
{
    struct bank *b = t->b;
    struct buf text = t->request.text;
    buf_clear(&text);
    t->request = (struct request){.what = draw_ask(t), .text = text};
    t->request.step_by_step = prng_chance(&b->random, b->step_ppm);
    switch (t->request.what) {
    case ASK_TRANSFER: put_transfer(t); break;
    case ASK_AUDIT: put_audit(t, false); break;
    case ASK_AUDIT_MULTI: put_audit(t, true); break;
    default: put_pair(t, t->request.what == ASK_PAIR_WRITE); break;
    }
    teller_send(t);
}

/* ---- answers ---- */

static bool begins(struct bytes text, const char *word)
{
    return text.size >= strlen(word) && memcmp(text.data, word, strlen(word)) == 0;
}

/* Errors that say: nothing was done. */
static bool is_refusal(struct bytes text)
{
    static const char *const words[] = {"TRYAGAIN", "CLUSTERDOWN", "OOM",      "LOADING",
                                        "BUSY",     "MASTERDOWN",  "READONLY", "INUSE",
                                        "TXNABORT", "EXECABORT"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (begins(text, words[i])) return true;
    return false;
}

static void teller_strange(struct teller *t, struct bytes whole)
{
    sim_fail(t->b->s, SIM_PROTOCOL, "teller %u got a strange reply to %s from node %u: %.*s", t->id,
             ask_names[t->request.what], t->node + 1, (int)(whole.size < 100 ? whole.size : 100),
             (const char *)whole.data);
}

static void teller_judged(struct teller *t, bool right)
{
    struct bank *b = t->b;
    if (!right)
        sim_fail(b->s, SIM_ATOMICITY, "teller %u asked node %u for %s: %s", t->id, t->node + 1,
                 ask_names[t->request.what], b->judge.why);
}

/* Nothing of it was done, or ever will be. */
static void request_refused(struct teller *t)
{
    struct bank_judge *j = &t->b->judge;
    const struct request *r = &t->request;
    if (r->what == ASK_TRANSFER)
        teller_judged(t, bank_transfer_refused(j, t->id, r->number));
    else if (r->what == ASK_PAIR_WRITE)
        teller_judged(t, bank_pair_refused(j, r->number));
    t->request.what = ASK_NOTHING;
}

/* No answer. What was not sent whole is not done. */
static void request_unknown(struct teller *t)
{
    struct request *r = &t->request;
    if (r->what == ASK_NOTHING) return;
    if (r->sent < r->commands) {
        request_refused(t);
        return;
    }
    SIM_COUNT(t->b->s, bank_unknown);
    if (r->what == ASK_TRANSFER || r->what == ASK_PAIR_WRITE)
        world_say(t->b->s->w, t->b->s->clients_host, "teller %u, node %u: nobody knows of %s, %u",
                  t->id, t->node + 1, ask_names[r->what], r->number);
    r->what = ASK_NOTHING;
}

static void teller_satisfied(struct teller *t, enum ask what)
{
    if (what == ASK_TRANSFER) t->wants_transfer = false;
    if (what == ASK_AUDIT) t->wants_audit = false;
}

/* The last reply is an error. */
static void request_failed(struct teller *t, struct bytes text)
{
    struct bank *b = t->b;
    struct request *r = &t->request;
    const char *first = r->said;
    if (!r->said[0])
        snprintf(r->said, sizeof r->said, "%.*s", (int)text.size, (const char *)text.data);
    memcpy(t->said, r->said, sizeof t->said);
    world_say(b->s->w, b->s->clients_host, "teller %u, node %u: %s: %s", t->id, t->node + 1,
              ask_names[r->what], first);
    t->next_at = io_now(b->io) + draw(b, 5, 80) * MILLISECOND;
    t->leaves |= b->s->calm && begins(bytes_str(first), "CLUSTERDOWN this");
    if (begins(text, "UNKNOWN")) {
        request_unknown(t);
        return;
    }
    SIM_COUNT(b->s, bank_refused);
    request_refused(t);
}

/* A value, absent counts as 0. */
static bool item_number(struct bytes item, int64_t *number)
{
    struct reply_view v = reply_read(item);
    *number = v.kind == REPLY_NUMBER ? v.number : 0;
    return v.kind == REPLY_NIL || v.kind == REPLY_NUMBER ||
           (v.kind == REPLY_TEXT && bytes_to_i64(v.text, number));
}

/* The items of an array, put into the order in which they are counted; false: that is none. */
static bool request_values(const struct request *r, struct bytes whole, int64_t value[VALUES_MAX])
{
    struct reply_view v = reply_read(whole);
    if (v.kind != REPLY_MANY || v.number != r->values) return false;
    const uint8_t *line = memchr(whole.data, '\n', whole.size);
    struct bytes rest = bytes_of(line + 1, (size_t)(whole.data + whole.size - line - 1));
    for (uint32_t i = 0; i < r->values; i++) {
        int64_t size = reply_size(rest);
        ASSERT(size > 0 && (size_t)size <= rest.size);
        if (!item_number(bytes_of(rest.data, (size_t)size), &value[r->order[i]])) return false;
        rest = bytes_of(rest.data + size, rest.size - (size_t)size);
    }
    return true;
}

static bool judge_audit(struct teller *t, const int64_t value[VALUES_MAX])
{
    struct bank *b = t->b;
    struct bank_view view = {0};
    for (uint32_t i = 0; i < t->request.values; i++) *audit_value(b, &view, i) = value[i];
    return bank_audit_done(&b->judge, &t->request.audit, &view);
}

/* The last reply is what was asked for. */
static void request_done(struct teller *t, struct bytes whole)
{
    struct bank *b = t->b;
    struct request *r = &t->request;
    int64_t value[VALUES_MAX] = {0};
    struct reply_view v = reply_read(whole);
    bool ok = v.kind == REPLY_TEXT && bytes_equal(v.text, BYTES("OK"));
    if (r->what == ASK_PAIR_WRITE ? !ok : !request_values(r, whole, value)) {
        teller_strange(t, whole);
        return;
    }
    switch (r->what) {
    case ASK_TRANSFER:
        SIM_COUNT(b->s, transfers);
        teller_judged(t, bank_transfer_done(&b->judge, t->id, r->number, value[0], value[1]));
        break;
    case ASK_PAIR_WRITE:
        SIM_COUNT(b->s, pairs);
        bank_pair_done(&b->judge, r->number);
        break;
    case ASK_PAIR_READ:
        SIM_COUNT(b->s, pairs);
        teller_judged(t, bank_pair_read(&b->judge, r->since, value[0], value[1]));
        break;
    default:
        SIM_COUNT(b->s, audits);
        teller_judged(t, judge_audit(t, value));
        break;
    }
    teller_satisfied(t, r->what);
    r->what = ASK_NOTHING;
}

/* A reply to MULTI, or to a command of the transaction, which then may be refused. */
static void request_goes_on(struct teller *t, struct bytes whole)
{
    struct request *r = &t->request;
    struct reply_view v = reply_read(whole);
    struct bytes expected = r->answered == 1 ? BYTES("OK") : BYTES("QUEUED");
    if (v.kind == REPLY_ERROR && r->answered > 1 && is_refusal(v.text)) {
        if (!r->said[0])
            snprintf(r->said, sizeof r->said, "%.*s", (int)v.text.size, (const char *)v.text.data);
    } else if (v.kind != REPLY_TEXT || !bytes_equal(v.text, expected)) {
        teller_strange(t, whole);
        return;
    }
    if (r->sent == r->answered) teller_send(t);
}

static void teller_answered(struct teller *t, struct bytes whole)
{
    struct request *r = &t->request;
    struct reply_view v = reply_read(whole);
    world_note(t->b->s->w, 'B', t->id, hash64(whole, 0));
    t->asked_at = io_now(t->b->io);
    r->answered++;
    if (r->answered < r->commands)
        request_goes_on(t, whole);
    else if (v.kind != REPLY_ERROR)
        request_done(t, whole);
    else if (is_refusal(v.text) || begins(v.text, "UNKNOWN"))
        request_failed(t, v.text);
    else
        teller_strange(t, whole);
}

/* ---- connections ---- */

static void teller_lost(struct teller *t, uint64_t wait)
{
    request_unknown(t);
    t->conn = NULL;
    t->open = t->leaves = false;
    t->next_at = io_now(t->b->io) + wait;
}

static void on_opened(void *ctx, struct io_conn *conn)
{
    struct teller *t = ctx;
    (void)conn;
    t->open = true;
    t->next_at = 0;
}

static size_t on_data(void *ctx, struct io_conn *conn, struct bytes in)
{
    struct teller *t = ctx;
    size_t used = 0;
    (void)conn;
    while (used < in.size) {
        struct bytes left = {in.data + used, in.size - used};
        int64_t n = reply_size(left);
        if (n == 0) break;
        if (n < 0 || t->request.what == ASK_NOTHING || t->request.answered == t->request.sent) {
            teller_strange(t, left);
            return in.size;
        }
        teller_answered(t, (struct bytes){left.data, (size_t)n});
        used += (size_t)n;
    }
    return used;
}

static void on_closed(void *ctx, struct io_conn *conn, int error)
{
    struct teller *t = ctx;
    (void)conn, (void)error;
    teller_lost(t, draw(t->b, 1, 60) * MILLISECOND);
}

static const struct io_handler teller_handler = {on_opened, on_data, NULL, on_closed};

static bool may_ask(const struct sim *s, uint32_t host)
{
    const struct member *m = &s->member[host];
    return m->state != MEMBER_IDLE && !(s->calm && (m->damaged || m->away));
}

static void teller_connect(struct teller *t)
{
    struct bank *b = t->b;
    char address[32];
    uint32_t nodes = b->s->nodes, to = (uint32_t)draw(b, 0, nodes - 1);
    for (uint32_t i = 0; i < nodes && !may_ask(b->s, to); i++) to = (to + 1) % nodes;
    t->node = to;
    snprintf(address, sizeof address, "10.0.0.%u:7000", to + 1);
    t->conn = io_connect(b->io, address, &teller_handler, t);
    t->asked_at = io_now(b->io);
}

/* ---- turns ---- */

static void teller_hang_up(struct teller *t, uint64_t wait)
{
    io_conn_close(t->conn, false);
    teller_lost(t, wait);
}

/* Returns when to look again. */
static uint64_t teller_turn(struct teller *t, uint64_t now)
{
    struct bank *b = t->b;
    if (!t->conn) {
        if (now < t->next_at) return t->next_at;
        teller_connect(t);
    }
    bool idle = t->open && t->request.what == ASK_NOTHING;
    if (idle && t->leaves) {
        teller_hang_up(t, draw(b, 1, 60) * MILLISECOND);
        return t->next_at;
    }
    if (idle && now >= t->next_at) {
        t->next_at = now + draw(b, 1, 2 * b->think_ns);
        if (!b->quiet) teller_ask(t);
    }
    if (t->open && t->request.what == ASK_NOTHING) return t->next_at;
    if (now < t->asked_at + b->timeout_ns) return t->asked_at + b->timeout_ns;
    world_say(b->s->w, b->s->clients_host, "teller %u hears nothing from node %u: %s", t->id,
              t->node + 1, t->open ? ask_names[t->request.what] : "connect");
    teller_hang_up(t, draw(b, 0, 30) * MILLISECOND);
    return t->next_at;
}

static uint64_t bank_turn(void *ctx, uint64_t now)
{
    struct bank *b = ctx;
    uint64_t next = b->clients.turn(b->clients.ctx, now);
    for (uint32_t i = 0; i < b->tellers; i++) {
        uint64_t at = teller_turn(&b->teller[i], now);
        if (at < next) next = at;
    }
    return next;
}

/* ---- life ---- */

/* The first key "prefix:number" in the part-th of `parts` ranges of slots, so that keys of one kind
 * are of as many groups as may be. */
static void key_choose(char key[KEY_MAX], const char *prefix, uint32_t part, uint32_t parts)
{
    for (uint32_t i = 0;; i++) {
        snprintf(key, KEY_MAX, "%s:%u", prefix, i);
        if ((uint32_t)slot_of(bytes_str(key)) * parts / SLOT_COUNT == part) return;
    }
}

static void keys_choose(struct bank *b)
{
    for (uint32_t i = 0; i < b->accounts; i++) key_choose(b->account[i], "acct", i, b->accounts);
    for (uint32_t i = 0; i < b->tellers; i++) {
        key_choose(b->counter[i], "teller", i, b->tellers);
        key_choose(b->last[i], "last", b->tellers - 1 - i, b->tellers);
    }
    for (uint32_t i = 0; i < 2; i++) key_choose(b->pair[i], "pair", i, 2);
}

struct bank *bank_new(struct sim *s)
{
    static const uint64_t patience_ms[] = {200, 500, 1000, 3000};
    struct prng random;
    prng_init(&random, hash_mix(s->options.seed ^ 0x62616e6b));
    if (prng_below(&random, 2)) return NULL;
    struct bank *b = mem_zalloc(sizeof *b);
    b->s = s;
    b->io = world_io(s->w, s->clients_host);
    b->random = random;
    b->tellers = (uint32_t)draw(b, 3, BANK_TELLERS_MAX);
    b->accounts = (uint32_t)draw(b, 6, BANK_ACCOUNTS_MAX);
    b->think_ns = draw(b, 2, 60) * MILLISECOND;
    b->timeout_ns = patience_ms[draw(b, 0, 3)] * MILLISECOND + 10 * s->latency_ns + 5 * s->write_ns;
    b->step_ppm = draw(b, 0, 1) ? (uint32_t)draw(b, 0, 1000000) : 0;
    keys_choose(b);
    bank_judge_init(&b->judge, b->tellers, b->accounts);
    for (uint32_t i = 0; i < b->tellers; i++) b->teller[i] = (struct teller){.b = b, .id = i};
    b->clients = b->io->client;
    ASSERT(b->clients.turn);
    b->io->client = (struct io_client){bank_turn, b};
    SIM_COUNT(s, bank);
    return b;
}

void bank_free(struct bank *b)
{
    if (!b) return;
    for (uint32_t i = 0; i < b->tellers; i++) buf_deinit(&b->teller[i].request.text);
    bank_judge_deinit(&b->judge);
    mem_free(b);
}

void bank_demand(struct bank *b)
{
    if (!b) return;
    b->timeout_ns = 10 * SECOND; /* in the end they wait for what they are told */
    for (uint32_t i = 0; i < b->tellers; i++)
        b->teller[i].wants_transfer = b->teller[i].wants_audit = true;
    io_wake(b->io);
}

bool bank_satisfied(const struct bank *b, char *missing, size_t size)
{
    for (uint32_t i = 0; b && i < b->tellers; i++) {
        const struct teller *t = &b->teller[i];
        if (!t->wants_transfer && !t->wants_audit) continue;
        snprintf(missing, size, "teller %u got no answer to %s %s", i,
                 ask_names[t->wants_transfer ? ASK_TRANSFER : ASK_AUDIT], t->said);
        return false;
    }
    return true;
}

void bank_quiet(struct bank *b)
{
    if (b) b->quiet = true;
}
