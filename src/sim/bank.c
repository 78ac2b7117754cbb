#include "sim/bank.h"

#include "sim/bank_judge.h"
#include "sim/caller.h"
#include "sim/reply.h"

#include <inttypes.h>

#define VALUES_MAX (BANK_ACCOUNTS_MAX + 2 * BANK_TELLERS_MAX) /* that an audit reads */

_Static_assert(BANK_TELLERS_MAX <= CALLERS_MAX, "each teller is a caller");
_Static_assert(VALUES_MAX + 2 <= CALLER_COMMANDS_MAX, "an audit in MULTI");

enum ask {
    ASK_TRANSFER,
    ASK_AUDIT,       /* MGET */
    ASK_AUDIT_MULTI, /* MULTI, a GET of each, EXEC */
    ASK_PAIR_WRITE,
    ASK_PAIR_READ,
};
static const char *const ask_names[] = {"a transfer", "an audit", "an audit in MULTI",
                                        "a write of the pair", "a read of the pair"};

/* What a teller asks, and of what the judge told when it was sent. */
struct teller {
    enum ask what;
    uint32_t order[VALUES_MAX]; /* which value item i of the answer is */
    uint32_t values;
    uint32_t number; /* of a transfer; the value for the pair */
    uint64_t since;  /* a read of the pair */
    struct bank_audit audit;
    bool wants_transfer, wants_audit; /* it must be answered in the end */
};

struct bank {
    struct callers tellers; /* the id of one is that of its teller */
    struct bank_judge judge;
    struct teller teller[BANK_TELLERS_MAX];
    uint32_t accounts;
    char account[BANK_ACCOUNTS_MAX][CALLER_KEY_MAX], counter[BANK_TELLERS_MAX][CALLER_KEY_MAX],
        last[BANK_TELLERS_MAX][CALLER_KEY_MAX], pair[2][CALLER_KEY_MAX];
    bool quiet;
};

static uint64_t draw(struct bank *b, uint64_t min, uint64_t max)
{
    return callers_draw(&b->tellers, min, max);
}

/* ---- requests ---- */

static void order_draw(struct bank *b, struct teller *t, uint32_t values)
{
    t->values = values;
    for (uint32_t i = 0; i < values; i++) {
        uint32_t j = (uint32_t)draw(b, 0, i);
        t->order[i] = t->order[j];
        t->order[j] = i;
    }
}

/* Its commands in any order: DECRBY, INCRBY, INCR of the counter, GETSET of `last`. */
static void put_transfer(struct bank *b, struct caller *c)
{
    struct teller *t = &b->teller[c->id];
    uint32_t low = (uint32_t)draw(b, 0, b->accounts - 2),
             high = (uint32_t)draw(b, low + 1, b->accounts - 1);
    uint32_t from = c->id % 2 ? high : low, to = c->id % 2 ? low : high;
    char amount[24], serial[24];
    t->number = bank_transfer_sent(&b->judge, c->id);
    snprintf(amount, sizeof amount, "%" PRId64, bank_amount(from, to));
    snprintf(serial, sizeof serial, "%u", t->number);
    order_draw(b, t, 4);
    caller_put(c, "MULTI", NULL, NULL);
    for (uint32_t i = 0; i < t->values; i++) {
        switch (t->order[i]) {
        case 0: caller_put(c, "INCR", b->counter[c->id], NULL); break;
        case 1: caller_put(c, "GETSET", b->last[c->id], serial); break;
        case 2: caller_put(c, "DECRBY", b->account[from], amount); break;
        default: caller_put(c, "INCRBY", b->account[to], amount); break;
        }
    }
    caller_put(c, "EXEC", NULL, NULL);
}

/* What an audit reads: the accounts, the counters, the last serial numbers. */
static const char *audit_key(const struct bank *b, uint32_t i)
{
    if (i < b->accounts) return b->account[i];
    i -= b->accounts;
    return i < b->tellers.count ? b->counter[i] : b->last[i - b->tellers.count];
}

static int64_t *audit_value(const struct bank *b, struct bank_view *v, uint32_t i)
{
    if (i < b->accounts) return &v->account[i];
    i -= b->accounts;
    return i < b->tellers.count ? &v->counter[i] : &v->last[i - b->tellers.count];
}

static void put_audit(struct bank *b, struct caller *c, bool multi)
{
    struct teller *t = &b->teller[c->id];
    t->audit = bank_audit_sent(&b->judge);
    order_draw(b, t, b->accounts + 2 * b->tellers.count);
    if (!multi) caller_put_head(c, 1 + t->values), caller_put_word(c, "MGET");
    if (multi) caller_put(c, "MULTI", NULL, NULL);
    for (uint32_t i = 0; i < t->values; i++) {
        if (multi)
            caller_put(c, "GET", audit_key(b, t->order[i]), NULL);
        else
            caller_put_word(c, audit_key(b, t->order[i]));
    }
    if (multi)
        caller_put(c, "EXEC", NULL, NULL);
    else
        caller_put_end(c);
}

static void put_pair(struct bank *b, struct caller *c, bool write)
{
    struct teller *t = &b->teller[c->id];
    char value[24];
    uint32_t first = (uint32_t)draw(b, 0, 1);
    t->values = 2;
    if (write)
        t->number = bank_pair_sent(&b->judge);
    else
        t->since = bank_pair_read_sent(&b->judge);
    snprintf(value, sizeof value, "%u", t->number);
    caller_put_head(c, write ? 5 : 3);
    caller_put_word(c, write ? "MSET" : "MGET");
    for (uint32_t i = 0; i < 2; i++) {
        t->order[i] = first ^ i;
        caller_put_word(c, b->pair[t->order[i]]);
        if (write) caller_put_word(c, value);
    }
    caller_put_end(c);
}

static enum ask draw_ask(struct bank *b, const struct teller *t)
{
    if (t->wants_transfer) return ASK_TRANSFER;
    if (t->wants_audit) return ASK_AUDIT;
    uint64_t dice = draw(b, 0, 99);
    if (dice < 60) return ASK_TRANSFER;
    if (dice < 85) return ASK_AUDIT;
    if (dice < 95) return ASK_AUDIT_MULTI;
    return dice < 98 ? ASK_PAIR_WRITE : ASK_PAIR_READ;
}

static bool teller_ask(void *ctx, struct caller *c)
{
    struct bank *b = ctx;
    struct teller *t = &b->teller[c->id];
    if (b->quiet) return false;
    t->what = draw_ask(b, t);
    caller_begin(c, ask_names[t->what]);
    switch (t->what) {
    case ASK_TRANSFER: put_transfer(b, c); break;
    case ASK_AUDIT: put_audit(b, c, false); break;
    case ASK_AUDIT_MULTI: put_audit(b, c, true); break;
    default: put_pair(b, c, t->what == ASK_PAIR_WRITE); break;
    }
    return true;
}

/* ---- answers ---- */

static void teller_judged(struct bank *b, struct caller *c, bool right)
{
    if (!right)
        sim_fail(b->tellers.s, SIM_ATOMICITY, "teller %u asked node %u for %s: %s", c->id,
                 c->node + 1, c->asks, b->judge.why);
}

static void teller_refused(struct bank *b, struct caller *c)
{
    const struct teller *t = &b->teller[c->id];
    SIM_COUNT(b->tellers.s, bank_refused);
    if (t->what == ASK_TRANSFER)
        teller_judged(b, c, bank_transfer_refused(&b->judge, c->id, t->number));
    else if (t->what == ASK_PAIR_WRITE)
        teller_judged(b, c, bank_pair_refused(&b->judge, t->number));
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
static bool teller_values(const struct teller *t, struct bytes whole, int64_t value[VALUES_MAX])
{
    struct bytes item[VALUES_MAX];
    if (!reply_items(whole, item, t->values)) return false;
    for (uint32_t i = 0; i < t->values; i++)
        if (!item_number(item[i], &value[t->order[i]])) return false;
    return true;
}

static bool judge_audit(struct bank *b, const struct teller *t, const int64_t value[VALUES_MAX])
{
    struct bank_view view = {0};
    for (uint32_t i = 0; i < t->values; i++) *audit_value(b, &view, i) = value[i];
    return bank_audit_done(&b->judge, &t->audit, &view);
}

static void teller_done(struct bank *b, struct caller *c, struct bytes whole)
{
    struct teller *t = &b->teller[c->id];
    int64_t value[VALUES_MAX] = {0};
    struct reply_view v = reply_read(whole);
    bool ok = v.kind == REPLY_TEXT && bytes_equal(v.text, BYTES("OK"));
    if (t->what == ASK_PAIR_WRITE ? !ok : !teller_values(t, whole, value)) {
        caller_strange(c, whole);
        return;
    }
    switch (t->what) {
    case ASK_TRANSFER:
        SIM_COUNT(b->tellers.s, transfers);
        teller_judged(b, c, bank_transfer_done(&b->judge, c->id, t->number, value[0], value[1]));
        break;
    case ASK_PAIR_WRITE:
        SIM_COUNT(b->tellers.s, pairs);
        bank_pair_done(&b->judge, t->number);
        break;
    case ASK_PAIR_READ:
        SIM_COUNT(b->tellers.s, pairs);
        teller_judged(b, c, bank_pair_read(&b->judge, t->since, value[0], value[1]));
        break;
    default:
        SIM_COUNT(b->tellers.s, audits);
        teller_judged(b, c, judge_audit(b, t, value));
        break;
    }
    if (t->what == ASK_TRANSFER) t->wants_transfer = false;
    if (t->what == ASK_AUDIT) t->wants_audit = false;
}

static void teller_unknown(struct bank *b, const struct caller *c)
{
    const struct sim *s = b->tellers.s;
    const struct teller *t = &b->teller[c->id];
    SIM_COUNT(s, bank_unknown);
    if (t->what == ASK_TRANSFER || t->what == ASK_PAIR_WRITE)
        world_say(s->w, s->clients_host, "teller %u, node %u: nobody knows of %s, %u", c->id,
                  c->node + 1, c->asks, t->number);
}

static void teller_ended(void *ctx, struct caller *c, enum caller_outcome how, struct bytes whole)
{
    struct bank *b = ctx;
    if (how == CALLER_DONE)
        teller_done(b, c, whole);
    else if (how == CALLER_REFUSED)
        teller_refused(b, c);
    else
        teller_unknown(b, c);
}

/* ---- life ---- */

static const struct caller_owner teller_owner = {"teller", 'B', teller_ask, teller_ended};

static void keys_choose(struct bank *b)
{
    uint32_t tellers = b->tellers.count;
    for (uint32_t i = 0; i < b->accounts; i++) caller_key(b->account[i], "acct", i, b->accounts);
    for (uint32_t i = 0; i < tellers; i++) {
        caller_key(b->counter[i], "teller", i, tellers);
        caller_key(b->last[i], "last", tellers - 1 - i, tellers);
    }
    for (uint32_t i = 0; i < 2; i++) caller_key(b->pair[i], "pair", i, 2);
}

struct bank *bank_new(struct sim *s)
{
    struct prng random;
    prng_init(&random, hash_mix(s->options.seed ^ 0x62616e6b));
    if (prng_below(&random, 2)) return NULL;
    struct bank *b = mem_zalloc(sizeof *b);
    b->tellers = (struct callers){.owner = &teller_owner, .ctx = b, .random = random};
    b->tellers.count = (uint32_t)draw(b, 3, BANK_TELLERS_MAX);
    b->accounts = (uint32_t)draw(b, 6, BANK_ACCOUNTS_MAX);
    callers_start(&b->tellers, s);
    keys_choose(b);
    bank_judge_init(&b->judge, b->tellers.count, b->accounts);
    SIM_COUNT(s, bank);
    return b;
}

void bank_free(struct bank *b)
{
    if (!b) return;
    callers_deinit(&b->tellers);
    bank_judge_deinit(&b->judge);
    mem_free(b);
}

void bank_demand(struct bank *b)
{
    if (!b) return;
    for (uint32_t i = 0; i < b->tellers.count; i++)
        b->teller[i].wants_transfer = b->teller[i].wants_audit = true;
    callers_wait_long(&b->tellers);
}

bool bank_satisfied(const struct bank *b, char *missing, size_t size)
{
    for (uint32_t i = 0; b && i < b->tellers.count; i++) {
        const struct teller *t = &b->teller[i];
        if (!t->wants_transfer && !t->wants_audit) continue;
        snprintf(missing, size, "teller %u got no answer to %s %s", i,
                 ask_names[t->wants_transfer ? ASK_TRANSFER : ASK_AUDIT],
                 b->tellers.caller[i].said);
        return false;
    }
    return true;
}

void bank_quiet(struct bank *b)
{
    if (b) b->quiet = true;
}

/* ---- in snapshots ---- */

struct bank_cut {
    struct bank_audit audit;
    uint64_t pair_since;
    uint32_t sent[BANK_TELLERS_MAX]; /* of each teller, when it was answered */
    struct bank_view view;
    int64_t pair[2];
    bool found[VALUES_MAX], pair_found[2];
};

struct bank_cut *bank_cut_new(void)
{
    return mem_zalloc(sizeof(struct bank_cut));
}

void bank_cut_free(struct bank_cut *c)
{
    mem_free(c);
}

void bank_cut_sent(struct bank *b, struct bank_cut *c)
{
    *c = (struct bank_cut){0};
    if (!b) return;
    c->audit = bank_audit_sent(&b->judge);
    c->pair_since = bank_pair_read_sent(&b->judge);
}

void bank_cut_answered(const struct bank *b, struct bank_cut *c)
{
    for (uint32_t t = 0; b && t < b->tellers.count; t++) c->sent[t] = b->judge.teller[t].sent;
}

static bool take_once(bool *found, int64_t *to, struct bytes value)
{
    bool before = *found;
    *found = true;
    (void)bytes_to_i64(value, to);
    return !before;
}

bool bank_cut_take(const struct bank *b, struct bank_cut *c, struct bytes key, struct bytes value)
{
    uint32_t values = b ? b->accounts + 2 * b->tellers.count : 0;
    for (uint32_t i = 0; i < values; i++)
        if (bytes_equal(key, bytes_str(audit_key(b, i))))
            return take_once(&c->found[i], audit_value(b, &c->view, i), value);
    for (uint32_t i = 0; b && i < 2; i++)
        if (bytes_equal(key, bytes_str(b->pair[i])))
            return take_once(&c->pair_found[i], &c->pair[i], value);
    return true;
}

bool bank_cut_judge(struct bank *b, struct bank_cut *c, char *why, size_t size)
{
    if (!b) return true;
    for (uint32_t t = 0; t < b->tellers.count; t++) {
        if (c->view.counter[t] <= c->sent[t]) continue;
        snprintf(why, size,
                 "%" PRId64 " transfers of teller %u, which had sent %u when it was "
                 "answered",
                 c->view.counter[t], t, c->sent[t]);
        return false;
    }
    if (bank_audit_done(&b->judge, &c->audit, &c->view) &&
        bank_pair_read(&b->judge, c->pair_since, c->pair[0], c->pair[1]))
        return true;
    snprintf(why, size, "%s", b->judge.why);
    return false;
}
