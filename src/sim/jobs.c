#include "sim/jobs_internal.h"

#include <inttypes.h>

#define READS_MAX 40

static const char *const ask_names[] = {
    [ASK_CREATE] = "a snapshot for jobs",
    [ASK_SPLITS] = "its splits",
    [ASK_SCAN] = "a part of it",
    [ASK_SUBMIT] = "a job",
    [ASK_WAIT] = "a job to end",
    [ASK_CANCEL] = "a job to be cancelled",
    [ASK_RESULT] = "a job's result",
    [ASK_AGAIN] = "a job's result again",
    [ASK_KEYS] = "what a job published",
    [ASK_FORGET] = "a job to be forgotten",
    [ASK_DROP] = "the snapshot to go",
    [ASK_TWIN] = "the other's job",
    [ASK_LIST] = "which jobs there are",
    [ASK_END_CANCEL] = "a job to be cancelled in the end",
    [ASK_HISTORY] = "which jobs have ended",
    [ASK_END_FORGET] = "a job to be forgotten in the end",
    [ASK_TIME] = "the time",
    [ASK_SNAPSHOTS] = "which snapshots there are",
    [ASK_PUBLISHED] = "which keys jobs have made",
};

void clerks_wrong(struct clerks *k, const char *name, const char *what)
{
    sim_fail(k->callers.s, SIM_ATOMICITY, "job %s: %s", name, what);
}

/* ---- the books ---- */

void clerks_enter(struct clerks *k, struct errand *e)
{
    struct book *b = NULL;
    if (!e->into) return;
    for (uint32_t i = 0; i < k->books && !b; i++)
        if (strcmp(k->book[i].prefix, e->prefix) == 0) b = &k->book[i];
    if (!b) {
        if (k->books == k->books_capacity) {
            k->books_capacity = 2 * k->books_capacity + 8;
            k->book = mem_realloc(k->book, k->books_capacity * sizeof *k->book);
        }
        b = &k->book[k->books++];
        *b = (struct book){0};
        memcpy(b->prefix, e->prefix, sizeof b->prefix);
    }
    b->must = e->end == ERRAND_DONE;
    b->may = b->must || e->end == ERRAND_RUNS || e->ghost;
    if (!e->known || b->known) return;
    b->known = true;
    for (uint32_t i = 0; i < e->expected.count; i++)
        (void)jobs_rows_add(&b->rows, bytes_str(e->expected.row[i].key),
                            bytes_str(e->expected.row[i].value));
}

/* ---- rounds ---- */

static void errand_reset(struct errand *e)
{
    struct bank_cut *bank = e->bank;
    jobs_rows_deinit(&e->expected);
    buf_deinit(&e->result);
    *e = (struct errand){.bank = bank};
}

static void draw_plan(struct clerks *k, struct errand *e)
{
    static const enum jobs_kind own[] = {JOBS_BANK, JOBS_BANK, JOBS_SUM, JOBS_TASKS, JOBS_WORDS};
    struct jobs_plan *p = &e->plan;
    p->kind = e->given ? (enum jobs_kind)clerks_draw(k, 0, JOBS_KINDS - 2)
                       : own[clerks_draw(k, 0, sizeof own / sizeof *own - 1)];
    p->tasks = (uint32_t)clerks_draw(k, 1, 7);
    p->chokes = "acrhlx"[clerks_draw(k, 0, 5)];
    bool lua = e->given ? p->kind >= JOBS_WORDS : p->kind == JOBS_TASKS;
    e->into = lua && clerks_draw(k, 0, 2) == 0;
    e->cancel_after = clerks_draw(k, 0, 4) ? 0 : (uint32_t)clerks_draw(k, 1, 8);
}

/* In the end: what must be done, for nothing is in its way. */
static void draw_last(struct clerks *k, struct errand *e)
{
    const struct sim *s = k->callers.s;
    e->calm = true;
    e->plan.kind = s->latency_ns > LATENCY_MAX ? JOBS_TASKS : JOBS_BANK;
    e->plan.tasks = 5;
}

static void round_begin(struct clerks *k, struct clerk *w)
{
    bool given = !k->quiet && clerks_draw(k, 0, 1);
    w->jobs = k->quiet ? 1 : (uint32_t)clerks_draw(k, 1, ROUND_JOBS_MAX);
    w->at = w->splits = w->split_at = w->tries = 0;
    w->drops_early = given && clerks_draw(k, 0, 7) == 0;
    w->dropped = w->read = false;
    buf_clear(&w->records.blobs);
    for (uint32_t i = 0; i < w->jobs; i++) {
        struct errand *e = &w->job[i];
        errand_reset(e);
        e->given = given;
        if (k->quiet)
            draw_last(k, e);
        else
            draw_plan(k, e);
        snprintf(e->name, sizeof e->name, "job%u", ++k->serial);
        snprintf(e->prefix, sizeof e->prefix, "into:%u:", k->serial);
    }
    w->next = given ? ASK_CREATE : ASK_SUBMIT;
}

/* ---- requests ---- */

static void put_submit(struct clerks *k, struct caller *c, const struct clerk *of, struct errand *e)
{
    const char *word[JOBS_WORDS_MAX];
    uint32_t count = jobs_plan_words(&e->plan, word);
    bool given = e->given && e->plan.kind != JOBS_TASKS;
    if (!e->sent) bank_cut_sent(k->callers.s->bank, e->bank);
    e->sent = true;
    caller_put_head(c, 3 + count + 2 * e->into + 2 * given);
    caller_put_word(c, "JOB"), caller_put_word(c, "SUBMIT"), caller_put_word(c, e->name);
    for (uint32_t i = 0; i < count; i++) caller_put_word(c, word[i]);
    if (e->into) caller_put_word(c, "INTO"), caller_put_word(c, e->prefix);
    if (given) caller_put_word(c, "SNAPSHOT"), caller_put_word(c, of->id);
    caller_put_end(c);
}

static void put_snapshot(struct clerk *w, struct caller *c)
{
    static const char *const word[] = {
        [ASK_CREATE] = "CREATE", [ASK_SPLITS] = "SPLITS", [ASK_SCAN] = "SCAN", [ASK_DROP] = "DROP"};
    caller_put_head(c, w->next == ASK_SCAN ? 8 : w->next == ASK_DROP ? 3 : 4);
    caller_put_word(c, "SNAPSHOT"), caller_put_word(c, word[w->next]);
    caller_put_word(c, w->next == ASK_CREATE ? "TTL" : w->id);
    if (w->next == ASK_CREATE) caller_put_word(c, "90");
    if (w->next == ASK_SPLITS) caller_put_word(c, "9");
    if (w->next == ASK_SCAN) {
        caller_put_word(c, w->split[w->split_at]), caller_put_word(c, w->cursor);
        caller_put_word(c, "COUNT"), caller_put_word(c, "50"), caller_put_word(c, "WITHVALUES");
    }
    caller_put_end(c);
}

static void put_keys(struct caller *c, const struct errand *e)
{
    char key[sizeof e->prefix + JOBS_TEXT_MAX];
    caller_put_head(c, 1 + e->expected.count);
    caller_put_word(c, "MGET");
    for (uint32_t i = 0; i < e->expected.count; i++) {
        snprintf(key, sizeof key, "%s%s", e->prefix, e->expected.row[i].key);
        caller_put_word(c, key);
    }
    caller_put_end(c);
}

static void put_job(struct clerks *k, struct caller *c, enum clerk_ask what, const char *name)
{
    static const char *const word[] = {[ASK_WAIT] = "WAIT",
                                       [ASK_CANCEL] = "CANCEL",
                                       [ASK_RESULT] = "RESULT",
                                       [ASK_AGAIN] = "RESULT",
                                       [ASK_FORGET] = "FORGET"};
    char ms[12];
    snprintf(ms, sizeof ms, "%u", (unsigned)clerks_draw(k, 20, 150));
    caller_put_head(c, what == ASK_WAIT ? 4 : 3);
    caller_put_word(c, "JOB"), caller_put_word(c, word[what]), caller_put_word(c, name);
    if (what == ASK_WAIT) caller_put_word(c, ms);
    caller_put_end(c);
}

static void round_ask(struct clerks *k, struct clerk *w, struct caller *c)
{
    struct errand *e = &w->job[w->at];
    caller_begin(c, ask_names[w->next]);
    switch (w->next) {
    case ASK_CREATE:
    case ASK_SPLITS:
    case ASK_SCAN:
    case ASK_DROP: put_snapshot(w, c); break;
    case ASK_SUBMIT: put_submit(k, c, w, e); break;
    case ASK_TWIN: put_submit(k, c, &k->clerk[!c->id], w->twin); break;
    case ASK_KEYS: put_keys(c, e); break;
    default:
        if (w->next == ASK_CANCEL) e->cancelled = true;
        put_job(k, c, w->next, e->name);
    }
}

/* A job of the other one that is submitted, or being so, and not forgotten before this is
 * answered. */
static struct errand *find_twin(struct clerks *k, const struct clerk *other)
{
    bool has = other->next == ASK_SUBMIT || other->next == ASK_WAIT || other->next == ASK_CANCEL;
    struct errand *e = has ? (struct errand *)&other->job[other->at] : NULL;
    return e && e->sent && e->end == ERRAND_RUNS && clerks_draw(k, 0, 3) == 0 ? e : NULL;
}

static bool clerk_ask(void *ctx, struct caller *c)
{
    struct clerks *k = ctx;
    struct clerk *w = &k->clerk[c->id];
    if (k->sweeps) {
        if (c->id == 0 && !k->swept) sweep_ask(k, c);
        return c->asks != NULL;
    }
    if (w->next == ASK_NOTHING) {
        w->twin = k->quiet ? NULL : find_twin(k, &k->clerk[!c->id]);
        if (w->twin) {
            w->next = ASK_TWIN;
            w->twin->twins++;
        } else if (!k->quiet || w->wants) {
            round_begin(k, w);
        } else {
            return false;
        }
    }
    if (w->next == ASK_FORGET && w->job[w->at].twins) return false;
    round_ask(k, w, c);
    return true;
}

/* ---- answers ---- */

/* Refused, or nobody knows: the same again, mostly of another node. What cannot be read is left. */
static void clerk_refused(struct clerks *k, struct clerk *w, struct caller *c,
                          enum caller_outcome how)
{
    struct errand *e = &w->job[w->at];
    c->leaves = true;
    switch (w->next) {
    case ASK_CREATE: w->next = k->quiet ? ASK_NOTHING : ASK_CREATE; break;
    case ASK_SPLITS:
    case ASK_SCAN:
        if (++w->tries < READS_MAX) break;
        SIM_COUNT(k->callers.s, jobs_unread);
        clerk_read(w, false);
        break;
    case ASK_SUBMIT:
        e->ghost |= how == CALLER_UNKNOWN;
        k->ghosts |= how == CALLER_UNKNOWN;
        break;
    case ASK_TWIN:
        clerk_twin_ended(w, how);
        k->ghosts |= how == CALLER_UNKNOWN;
        break;
    case ASK_DROP: clerk_dropped(w); break;
    default: break;
    }
}

static void clerk_ended(void *ctx, struct caller *c, enum caller_outcome how, struct bytes whole)
{
    struct clerks *k = ctx;
    if (k->sweeps && how == CALLER_DONE)
        sweep_done(k, c, whole);
    else if (k->sweeps)
        c->leaves = true;
    else if (how == CALLER_DONE)
        clerk_done(k, &k->clerk[c->id], c, whole);
    else
        clerk_refused(k, &k->clerk[c->id], c, how);
}

/* Errors that are answers. */
static bool clerk_takes(void *ctx, const struct caller *c, struct bytes text)
{
    struct clerks *k = ctx;
    const struct clerk *w = &k->clerk[c->id];
    enum clerk_ask what = w->next;
    struct {
        enum clerk_ask of;
        const char *text;
    } may[] = {
        {ASK_CANCEL, "ERR the job has ended"},
        {ASK_RESULT, "JOBFAILED"},
        {ASK_FORGET, "NOJOB"},
        {ASK_END_CANCEL, "ERR the job has ended"},
        {ASK_END_CANCEL, "NOJOB"},
        {ASK_END_FORGET, "NOJOB"},
        {ASK_END_FORGET, "JOBRUNS"},
    };
    if (what == ASK_FORGET && w->job[w->at].ghost && bytes_begins(text, "JOBRUNS"))
        return true; /* it was forgotten, and made anew by a SUBMIT that came late */
    for (size_t i = 0; i < sizeof may / sizeof *may; i++)
        if (may[i].of == what && bytes_begins(text, may[i].text)) return true;
    return false;
}

/* ---- life ---- */

static const struct caller_owner clerk_owner = {"clerk", 'J', clerk_ask, clerk_ended, clerk_takes};

struct clerks *clerks_new(struct sim *s)
{
    struct prng random;
    prng_init(&random, hash_mix(s->options.seed ^ 0x6a6f6273));
    if (prng_below(&random, 3)) return NULL;
    struct clerks *k = mem_zalloc(sizeof *k);
    k->callers = (struct callers){.owner = &clerk_owner, .ctx = k, .random = random};
    k->callers.count = CLERKS;
    for (uint32_t i = 0; i < CLERKS; i++)
        for (uint32_t j = 0; j < ROUND_JOBS_MAX; j++) k->clerk[i].job[j].bank = bank_cut_new();
    callers_start(&k->callers, s);
    SIM_COUNT(s, clerks);
    return k;
}

void clerks_free(struct clerks *k)
{
    if (!k) return;
    callers_deinit(&k->callers);
    for (uint32_t i = 0; i < CLERKS; i++) {
        for (uint32_t j = 0; j < ROUND_JOBS_MAX; j++) {
            errand_reset(&k->clerk[i].job[j]);
            bank_cut_free(k->clerk[i].job[j].bank);
        }
        buf_deinit(&k->clerk[i].records.blobs);
    }
    for (uint32_t i = 0; i < k->books; i++) jobs_rows_deinit(&k->book[i].rows);
    mem_free(k->book);
    mem_free(k);
}

void clerks_demand(struct clerks *k)
{
    if (!k) return;
    k->quiet = true;
    for (uint32_t i = 0; i < CLERKS; i++) k->clerk[i].wants = true;
    callers_wait_long(&k->callers);
}

bool clerks_satisfied(const struct clerks *k, char *missing, size_t size)
{
    for (uint32_t i = 0; k && i < CLERKS; i++) {
        const struct clerk *w = &k->clerk[i];
        if (w->next == ASK_NOTHING && !w->wants) continue;
        snprintf(missing, size, "clerk %u is at %s, of %s: %s", i,
                 ask_names[w->next] ? ask_names[w->next] : "nothing", w->job[w->at].name,
                 k->callers.caller[i].said);
        return false;
    }
    return true;
}
