#include "sim/append.h"

#include "sim/caller.h"
#include "sim/check_cycles.h"
#include "sim/reply.h"

#define LISTS_MAX   12 /* at a time */
#define OPS_MAX     4  /* of a transaction */
#define READS_MAX   12 /* of the last reads, in one command */
#define APPENDS_MIN 6  /* to a list, until another key takes its place */
#define APPENDS_MAX 40
#define DIGITS_MAX  9

_Static_assert(OPS_MAX + 2 <= CALLER_COMMANDS_MAX && OPS_MAX <= READS_MAX, "all fit");

enum ask { ASK_TRANSACTION, ASK_READS, ASK_APPEND, ASK_READ, ASK_LAST_READS };
static const char *const ask_names[] = {"a transaction on lists", "lists by MGET", "an append",
                                        "a list", "the last state of lists"};

struct scribe {
    enum ask what;
    struct cycles_op op[READS_MAX];
    uint32_t ops;
    uint64_t call;
    bool wants;                /* it must get a transaction done */
    uint32_t last_from, lasts; /* keys whose last state it is to read */
};

struct append_list {
    uint32_t key; /* in the history */
    uint32_t appends;
};

struct append_work {
    struct callers scribes; /* the id of one is that of its scribe */
    struct scribe scribe[CALLERS_MAX];
    struct append_list list[LISTS_MAX];
    uint32_t lists, appends_max;
    char (*name)[CALLER_KEY_MAX]; /* [key] */
    uint32_t keys, capacity;
    uint32_t value; /* the last one that was appended */
    uint64_t time;  /* counts what is sent and answered */
    struct cycles_history *history;
    struct buf values; /* of the reads in one answer */
    uint32_t lasts;    /* so many keys' last state somebody is to read */
    bool quiet, ends;
};

static uint64_t draw(struct append_work *a, uint64_t min, uint64_t max)
{
    return callers_draw(&a->scribes, min, max);
}

/* ---- lists ---- */

static void list_begin(struct append_work *a, uint32_t i)
{
    char prefix[CALLER_KEY_MAX / 2];
    if (a->keys == a->capacity) {
        a->capacity = a->capacity ? 2 * a->capacity : 64;
        a->name = mem_realloc(a->name, a->capacity * sizeof *a->name);
    }
    snprintf(prefix, sizeof prefix, "list%u", a->keys);
    caller_key(a->name[a->keys], prefix, i, a->lists);
    a->list[i] = (struct append_list){.key = a->keys++};
    SIM_COUNT(a->scribes.s, lists);
}

static struct cycles_op op_draw(struct append_work *a, bool append)
{
    uint32_t i = (uint32_t)draw(a, 0, a->lists - 1);
    if (a->list[i].appends >= a->appends_max) list_begin(a, i);
    struct cycles_op op = {.key = a->list[i].key, .append = append};
    if (append) {
        op.value = ++a->value;
        a->list[i].appends++;
    }
    return op;
}

/* ---- requests ---- */

static void put_op(struct append_work *a, struct caller *c, const struct cycles_op *op)
{
    char value[12];
    snprintf(value, sizeof value, "%u,", op->value);
    if (op->append)
        caller_put(c, "APPEND", a->name[op->key], value);
    else
        caller_put(c, "GET", a->name[op->key], NULL);
}

static void put_transaction(struct append_work *a, struct caller *c, struct scribe *t)
{
    t->ops = (uint32_t)draw(a, 1, OPS_MAX);
    caller_put(c, c->opened ? "BEGIN" : "MULTI", NULL, NULL);
    for (uint32_t i = 0; i < t->ops; i++) {
        t->op[i] = op_draw(a, draw(a, 0, 1));
        put_op(a, c, &t->op[i]);
    }
    caller_put(c, c->opened ? "COMMIT" : "EXEC", NULL, NULL);
}

static void put_reads(struct append_work *a, struct caller *c, struct scribe *t)
{
    bool last = t->what == ASK_LAST_READS;
    t->ops = last ? t->lasts : (uint32_t)draw(a, 2, OPS_MAX);
    caller_put_head(c, 1 + t->ops);
    caller_put_word(c, "MGET");
    for (uint32_t i = 0; i < t->ops; i++) {
        t->op[i] = last ? (struct cycles_op){.key = t->last_from + i} : op_draw(a, false);
        caller_put_word(c, a->name[t->op[i].key]);
    }
    caller_put_end(c);
}

/* A scribe that has no keys to read for the last time takes the next ones. False: there are none.
 */
static bool take_lasts(struct append_work *a, struct scribe *t)
{
    if (t->lasts) return true;
    t->last_from = a->lasts;
    t->lasts = a->keys - a->lasts < READS_MAX ? a->keys - a->lasts : READS_MAX;
    a->lasts += t->lasts;
    return t->lasts;
}

static enum ask draw_ask(struct append_work *a, const struct scribe *t)
{
    if (a->ends) return ASK_LAST_READS;
    if (t->wants) return ASK_TRANSACTION;
    uint64_t dice = draw(a, 0, 99);
    if (dice < 70) return ASK_TRANSACTION;
    if (dice < 82) return ASK_READS;
    return dice < 91 ? ASK_APPEND : ASK_READ;
}

static bool scribe_ask(void *ctx, struct caller *c)
{
    struct append_work *a = ctx;
    struct scribe *t = &a->scribe[c->id];
    if (a->ends ? !take_lasts(a, t) : a->quiet) return false;
    t->what = draw_ask(a, t);
    t->call = ++a->time;
    bool opens = t->what == ASK_TRANSACTION && draw(a, 0, 99) < 40;
    (opens ? caller_begin_open : caller_begin)(c, ask_names[t->what]);
    if (opens) SIM_COUNT(a->scribes.s, lists_opened);
    if (t->what == ASK_TRANSACTION) {
        put_transaction(a, c, t);
    } else if (t->what == ASK_APPEND || t->what == ASK_READ) {
        t->ops = 1;
        t->op[0] = op_draw(a, t->what == ASK_APPEND);
        put_op(a, c, &t->op[0]);
    } else {
        put_reads(a, c, t);
    }
    return true;
}

/* ---- answers ---- */

/* "17,4," as numbers behind `out`; false: it is none. */
static bool read_list(struct bytes text, struct buf *out, uint32_t *count)
{
    uint32_t value = 0, digits = 0;
    *count = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] >= '0' && text.data[i] <= '9' && digits < DIGITS_MAX) {
            value = 10 * value + (uint32_t)(text.data[i] - '0');
            digits++;
        } else if (text.data[i] == ',' && digits) {
            buf_append(out, &value, sizeof value);
            value = digits = 0;
            ++*count;
        } else {
            return false;
        }
    }
    return digits == 0;
}

static bool read_answer(struct append_work *a, struct cycles_op *op, struct bytes whole)
{
    struct reply_view v = reply_read(whole);
    if (op->append) return v.kind == REPLY_NUMBER;
    if (v.kind != REPLY_NIL && v.kind != REPLY_TEXT) return false;
    return read_list(v.kind == REPLY_NIL ? (struct bytes){0} : v.text, &a->values, &op->count);
}

static bool read_answers(struct append_work *a, struct scribe *t, struct bytes whole)
{
    struct bytes item[READS_MAX] = {whole};
    bool one = t->what == ASK_APPEND || t->what == ASK_READ;
    uint32_t at = 0;
    buf_clear(&a->values);
    if (!one && !reply_items(whole, item, t->ops)) return false;
    for (uint32_t i = 0; i < t->ops; i++)
        if (!read_answer(a, &t->op[i], item[i])) return false;
    for (uint32_t i = 0; i < t->ops; at += t->op[i++].count)
        t->op[i].values =
            a->values.size ? (const uint32_t *)(const void *)a->values.data + at : NULL;
    return true;
}

static void scribe_note(struct append_work *a, uint32_t id, enum cycles_outcome outcome)
{
    static const char *const outcomes[] = {"committed", "aborted", "of unknown outcome"};
    const struct sim *s = a->scribes.s;
    const struct scribe *t = &a->scribe[id];
    struct cycles_txn txn = {.client = id, .outcome = outcome, .call = t->call, .ret = ++a->time};
    txn.op = t->op, txn.ops = t->ops;
    uint32_t number = cycles_add(a->history, &txn);
    world_say(s->w, s->clients_host, "scribe %u, node %u: T%u, %s, is %s", id,
              a->scribes.caller[id].node + 1, number, ask_names[t->what], outcomes[outcome]);
}

static void scribe_ended(void *ctx, struct caller *c, enum caller_outcome how, struct bytes whole)
{
    struct append_work *a = ctx;
    struct scribe *t = &a->scribe[c->id];
    if (how == CALLER_REFUSED) {
        SIM_COUNT(a->scribes.s, lists_refused);
        scribe_note(a, c->id, CYCLES_ABORTED);
    } else if (how == CALLER_UNKNOWN) {
        SIM_COUNT(a->scribes.s, lists_unknown);
        scribe_note(a, c->id, CYCLES_UNKNOWN);
    } else if (!read_answers(a, t, whole)) {
        caller_strange(c, whole);
    } else {
        SIM_COUNT(a->scribes.s, lists_done);
        scribe_note(a, c->id, CYCLES_COMMITTED);
        if (t->what == ASK_TRANSACTION) t->wants = false;
        if (t->what == ASK_LAST_READS) t->lasts = 0;
    }
}

void append_judge(struct append_work *a)
{
    struct buf why = {0};
    if (!a) return;
    enum cycles_anomaly found = cycles_check(a->history, &why);
    if (found)
        sim_fail(a->scribes.s, SIM_ISOLATION, "%s: %.*s", cycles_anomaly_name(found), (int)why.size,
                 (const char *)why.data);
    buf_deinit(&why);
}

/* ---- life ---- */

static const struct caller_owner scribe_owner = {"scribe", 'L', scribe_ask, scribe_ended};

struct append_work *append_new(struct sim *s)
{
    struct prng random;
    prng_init(&random, hash_mix(s->options.seed ^ 0x6c69737473));
    if (prng_below(&random, 4)) return NULL;
    struct append_work *a = mem_zalloc(sizeof *a);
    a->scribes = (struct callers){.owner = &scribe_owner, .ctx = a, .random = random};
    a->scribes.count = (uint32_t)draw(a, 2, CALLERS_MAX);
    a->lists = (uint32_t)draw(a, 2, LISTS_MAX);
    a->appends_max = (uint32_t)draw(a, APPENDS_MIN, APPENDS_MAX);
    a->history = cycles_new();
    callers_start(&a->scribes, s);
    for (uint32_t i = 0; i < a->lists; i++) list_begin(a, i);
    SIM_COUNT(s, scribes);
    return a;
}

void append_free(struct append_work *a)
{
    if (!a) return;
    callers_deinit(&a->scribes);
    cycles_free(a->history);
    buf_deinit(&a->values);
    mem_free(a->name);
    mem_free(a);
}

void append_demand(struct append_work *a)
{
    if (!a) return;
    for (uint32_t i = 0; i < a->scribes.count; i++) a->scribe[i].wants = true;
    callers_wait_long(&a->scribes);
}

void append_quiet(struct append_work *a)
{
    if (a) a->quiet = true;
}

void append_demand_reads(struct append_work *a)
{
    if (!a) return;
    a->ends = true;
    io_wake(a->scribes.io);
}

bool append_satisfied(const struct append_work *a, char *missing, size_t size)
{
    for (uint32_t i = 0; a && i < a->scribes.count; i++) {
        const struct scribe *t = &a->scribe[i];
        bool asks = a->scribes.caller[i].asks; /* others may have read what it appends */
        if (!t->wants && !(a->ends && (asks || t->lasts || a->lasts < a->keys))) continue;
        snprintf(missing, size, "scribe %u got no answer to %s %s", i,
                 ask_names[t->wants ? ASK_TRANSACTION : ASK_LAST_READS], a->scribes.caller[i].said);
        return false;
    }
    return true;
}
