#include "sim/cuts.h"

#include "sim/bank.h"
#include "sim/caller.h"
#include "sim/reply.h"

#include <inttypes.h>
#include <stdlib.h>

#define CHAINS 2
/* A hold lasts for some ten ways from node to node, and may take no more than 250 ms. */
#define LATENCY_MAX (10 * MILLISECOND)

#define READS_MAX 40 /* tries at one split */

enum ask { ASK_CREATE, ASK_SPLITS, ASK_SCAN, ASK_DROP, ASK_ADD, ASK_FOLLOW, ASK_READ, ASK_COPY };
static const char *const ask_names[] = {"a snapshot", "its splits", "a part of it", "it to go",
                                        "x, and one", "y, after x", "what x is",    "z, as x is"};

/* Of a chain, as far as is known. */
struct causes {
    char x[CALLER_KEY_MAX], y[CALLER_KEY_MAX], z[CALLER_KEY_MAX];
    int64_t x_acked, x_sent; /* the least and the most that x can be */
    int64_t follows, copies; /* y is to become so, z; 0: nothing */
    uint8_t what;
};

struct found { /* in the cut; -1: not there */
    int64_t x, y, z;
};

struct cuts {
    struct callers callers; /* 0 makes cuts, the others write a chain each */
    struct causes chain[CHAINS];
    bool quiet, wants;
    /* the cut under way */
    enum ask next;
    char id[20], cursor[24];
    reply_split split[REPLY_SPLITS_MAX];
    uint32_t splits, at, tries;
    struct bank_cut *bank;
    int64_t floor[CHAINS], most[CHAINS];
    struct found found[CHAINS];
};

static uint64_t draw(struct cuts *k, uint64_t min, uint64_t max)
{
    return callers_draw(&k->callers, min, max);
}

/* ---- requests ---- */

static void ask_create(struct cuts *k, struct caller *c)
{
    k->at = k->splits = k->tries = 0;
    snprintf(k->cursor, sizeof k->cursor, "0");
    bank_cut_sent(k->callers.s->bank, k->bank);
    for (uint32_t i = 0; i < CHAINS; i++) {
        k->floor[i] = k->chain[i].x_acked;
        k->found[i] = (struct found){-1, -1, -1};
    }
    caller_put_head(c, 4);
    caller_put_word(c, "SNAPSHOT"), caller_put_word(c, "CREATE");
    caller_put_word(c, "TTL"), caller_put_word(c, "20");
    caller_put_end(c);
}

static void ask_about(struct cuts *k, struct caller *c, const char *what)
{
    caller_put_head(c, k->next == ASK_DROP ? 3 : k->next == ASK_SPLITS ? 4 : 8);
    caller_put_word(c, "SNAPSHOT"), caller_put_word(c, what), caller_put_word(c, k->id);
    if (k->next == ASK_SPLITS) caller_put_word(c, "9");
    if (k->next == ASK_SCAN) {
        caller_put_word(c, k->split[k->at]), caller_put_word(c, k->cursor);
        caller_put_word(c, "COUNT"), caller_put_word(c, "50"), caller_put_word(c, "WITHVALUES");
    }
    caller_put_end(c);
}

static void ask_cut(struct cuts *k, struct caller *c)
{
    static const char *const word[] = {"", "SPLITS", "SCAN", "DROP"};
    caller_begin(c, ask_names[k->next]);
    if (k->next == ASK_CREATE)
        ask_create(k, c);
    else
        ask_about(k, c, word[k->next]);
}

static void ask_chain(struct cuts *k, struct caller *c)
{
    struct causes *h = &k->chain[c->id - 1];
    char value[24];
    h->what = h->follows ? ASK_FOLLOW : h->copies ? ASK_COPY : draw(k, 0, 2) ? ASK_ADD : ASK_READ;
    snprintf(value, sizeof value, "%" PRId64, h->follows ? h->follows : h->copies);
    caller_begin(c, ask_names[h->what]);
    switch (h->what) {
    case ASK_ADD:
        h->x_sent++;
        caller_put(c, "INCR", h->x, NULL);
        break;
    case ASK_READ: caller_put(c, "GET", h->x, NULL); break;
    case ASK_FOLLOW: caller_put(c, "SET", h->y, value); break;
    default: caller_put(c, "SET", h->z, value);
    }
}

static bool cuts_ask(void *ctx, struct caller *c)
{
    struct cuts *k = ctx;
    if (k->quiet) return false;
    if (c->id == 0)
        ask_cut(k, c);
    else
        ask_chain(k, c);
    return true;
}

/* ---- the cut is read ---- */

static bool text_is(struct bytes t, const char *word)
{
    return bytes_equal(t, bytes_str(word));
}

static void wrong(struct cuts *k, const char *what)
{
    sim_fail(k->callers.s, SIM_ATOMICITY, "snapshot %s: %s", k->id, what);
}

static void judge(struct cuts *k)
{
    char why[400];
    SIM_COUNT(k->callers.s, cuts_read);
    for (uint32_t i = 0; i < CHAINS; i++) {
        struct found *f = &k->found[i];
        int64_t x = f->x < 0 ? 0 : f->x;
        if (f->y > x || f->z > x) {
            snprintf(why, sizeof why,
                     "chain %u: x is %" PRId64 ", and what came after it y %" PRId64 ", z %" PRId64,
                     i, x, f->y, f->z);
            wrong(k, why);
        }
        if (x < k->floor[i] || x > k->most[i]) {
            snprintf(why, sizeof why,
                     "chain %u: x is %" PRId64 ", and was %" PRId64
                     " before it was asked for; %" PRId64 " were sent until it was answered",
                     i, x, k->floor[i], k->most[i]);
            wrong(k, why);
        }
    }
    if (!bank_cut_judge(k->callers.s->bank, k->bank, why, sizeof why)) wrong(k, why);
    k->wants = false;
    k->next = ASK_DROP;
}

static bool take_number(struct cuts *k, int64_t *to, struct bytes value)
{
    if (*to >= 0) {
        wrong(k, "a key is in it twice");
        return false;
    }
    return bytes_to_i64(value, to);
}

static void take_record(struct cuts *k, struct bytes key, struct bytes value)
{
    for (uint32_t i = 0; i < CHAINS; i++) {
        const struct causes *h = &k->chain[i];
        if (text_is(key, h->x)) (void)take_number(k, &k->found[i].x, value);
        if (text_is(key, h->y)) (void)take_number(k, &k->found[i].y, value);
        if (text_is(key, h->z)) (void)take_number(k, &k->found[i].z, value);
    }
    if (!bank_cut_take(k->callers.s->bank, k->bank, key, value)) wrong(k, "a key is in it twice");
}

/* [cursor, [key, type, value, ...]]. False: it is not that. */
static bool take_scan(struct cuts *k, struct bytes whole)
{
    struct bytes part[2];
    if (!reply_items(whole, part, 2)) return false;
    struct reply_view cursor = reply_read(part[0]), many = reply_read(part[1]);
    if (cursor.kind != REPLY_TEXT || many.kind != REPLY_MANY || many.number % 3) return false;
    struct bytes *item = mem_alloc((size_t)(many.number + 1) * sizeof *item);
    (void)reply_items(part[1], item, (uint32_t)many.number);
    for (int64_t i = 0; i < many.number; i += 3) {
        struct reply_view value = reply_read(item[i + 2]);
        if (value.kind == REPLY_TEXT) take_record(k, reply_read(item[i]).text, value.text);
    }
    mem_free(item);
    snprintf(k->cursor, sizeof k->cursor, "%.*s", (int)cursor.text.size,
             (const char *)cursor.text.data);
    if (text_is(cursor.text, "0")) k->at++, k->tries = 0;
    if (k->at == k->splits) judge(k);
    return true;
}

static bool take_splits(struct cuts *k, struct bytes whole)
{
    k->splits = reply_splits(whole, k->split);
    if (!k->splits) return false;
    k->next = ASK_SCAN;
    return true;
}

static bool take_created(struct cuts *k, struct bytes whole)
{
    struct reply_view v = reply_read(whole);
    if (v.kind != REPLY_TEXT || v.text.size != 16) return false;
    SIM_COUNT(k->callers.s, cuts);
    snprintf(k->id, sizeof k->id, "%.*s", (int)v.text.size, (const char *)v.text.data);
    bank_cut_answered(k->callers.s->bank, k->bank);
    for (uint32_t i = 0; i < CHAINS; i++) k->most[i] = k->chain[i].x_sent;
    k->next = ASK_SPLITS;
    return true;
}

static void cut_done(struct cuts *k, struct caller *c, struct bytes whole)
{
    bool good = true;
    switch (k->next) {
    case ASK_CREATE: good = take_created(k, whole); break;
    case ASK_SPLITS: good = take_splits(k, whole); break;
    case ASK_SCAN: good = take_scan(k, whole); break;
    default: k->next = ASK_CREATE;
    }
    if (!good) caller_strange(c, whole);
}

/* Another node may have it. */
static void cut_refused(struct cuts *k, struct caller *c)
{
    c->leaves = true;
    if (k->next != ASK_CREATE && k->next != ASK_DROP && ++k->tries < READS_MAX) return;
    if (k->next == ASK_CREATE)
        SIM_COUNT(k->callers.s, cuts_refused);
    else
        SIM_COUNT(k->callers.s, cuts_unread);
    k->next = ASK_CREATE;
}

/* ---- chains ---- */

static void chain_done(struct cuts *k, struct caller *c, struct bytes whole)
{
    struct causes *h = &k->chain[c->id - 1];
    struct reply_view v = reply_read(whole);
    int64_t number = v.kind == REPLY_NUMBER ? v.number : 0;
    if (v.kind == REPLY_TEXT && h->what == ASK_READ && !bytes_to_i64(v.text, &number)) {
        caller_strange(c, whole);
        return;
    }
    SIM_COUNT(k->callers.s, chains);
    switch (h->what) {
    case ASK_ADD: h->x_acked = h->follows = number; break;
    case ASK_READ: h->copies = number; break;
    case ASK_FOLLOW: h->follows = 0; break;
    default: h->copies = 0;
    }
}

static void cuts_ended(void *ctx, struct caller *c, enum caller_outcome how, struct bytes whole)
{
    struct cuts *k = ctx;
    if (c->id == 0 && how == CALLER_DONE)
        cut_done(k, c, whole);
    else if (c->id == 0)
        cut_refused(k, c);
    else if (how == CALLER_DONE)
        chain_done(k, c, whole);
    else
        k->chain[c->id - 1].follows = k->chain[c->id - 1].copies = 0;
}

/* ---- life ---- */

static const struct caller_owner cuts_owner = {"cutter", 'C', cuts_ask, cuts_ended};

struct cuts *cuts_new(struct sim *s)
{
    struct prng random;
    prng_init(&random, hash_mix(s->options.seed ^ 0x63757473));
    if (prng_below(&random, 2)) return NULL;
    struct cuts *k = mem_zalloc(sizeof *k);
    k->callers = (struct callers){.owner = &cuts_owner, .ctx = k, .random = random};
    k->callers.count = 1 + CHAINS;
    k->bank = bank_cut_new();
    callers_start(&k->callers, s);
    for (uint32_t i = 0; i < CHAINS;
         i++) { /* what follows is in another group, where there is one */
        struct causes *h = &k->chain[i];
        char name[8];
        snprintf(name, sizeof name, "x%u", i);
        caller_key(h->x, name, i ? 3 : 0, 4);
        name[0] = 'y';
        caller_key(h->y, name, i ? 0 : 2, 4);
        name[0] = 'z';
        caller_key(h->z, name, 1, 4);
    }
    SIM_COUNT(s, cutters);
    return k;
}

void cuts_free(struct cuts *k)
{
    if (!k) return;
    callers_deinit(&k->callers);
    bank_cut_free(k->bank);
    mem_free(k);
}

void cuts_demand(struct cuts *k)
{
    if (!k) return;
    k->wants = k->callers.s->latency_ns <= LATENCY_MAX;
    callers_wait_long(&k->callers);
}

bool cuts_satisfied(const struct cuts *k, char *missing, size_t size)
{
    if (!k || !k->wants) return true;
    snprintf(missing, size, "no snapshot was made and read; the last try was at %s: %s",
             ask_names[k->next], k->callers.caller[0].said);
    return false;
}

void cuts_quiet(struct cuts *k)
{
    if (k) k->quiet = true;
}
