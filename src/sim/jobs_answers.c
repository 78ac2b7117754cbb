/* What a clerk makes of an answer, and what it asks for next. */
#include "sim/jobs_internal.h"

static bool text_is(struct bytes t, const char *word)
{
    return bytes_equal(t, bytes_str(word));
}

static void text_take(char *to, size_t room, struct bytes text)
{
    snprintf(to, room, "%.*s", (int)text.size, (const char *)text.data);
}

/* ---- what comes after what ---- */

/* The next job that was not seen to the end; then all are forgotten. */
static void after_job(struct clerk *w)
{
    w->at++;
    w->next = ASK_WAIT;
    if (w->at < w->jobs) return;
    w->at = 0;
    w->next = ASK_FORGET;
}

static void after_round(struct clerk *w)
{
    w->at = 0;
    w->next = w->job[0].given && !w->dropped ? ASK_DROP : ASK_NOTHING;
}

static void after_submits(struct clerk *w)
{
    w->at = 0;
    w->next = w->drops_early ? ASK_DROP : ASK_WAIT;
    w->dropped = w->drops_early;
}

/* Nothing is known of what the snapshot has: the jobs come to an end all the same. */
void clerk_read(struct clerk *w, bool read)
{
    w->read = read;
    w->at = 0;
    w->next = ASK_SUBMIT;
}

/* ---- the snapshot is read ---- */

static bool take_created(struct clerk *w, struct bytes whole)
{
    struct reply_view v = reply_read(whole);
    if (v.kind != REPLY_TEXT || v.text.size != 16) return false;
    text_take(w->id, sizeof w->id, v.text);
    snprintf(w->cursor, sizeof w->cursor, "0");
    w->next = ASK_SPLITS;
    return true;
}

static bool take_splits(struct clerk *w, struct bytes whole)
{
    w->splits = reply_splits(whole, w->split);
    if (!w->splits) return false;
    w->next = ASK_SCAN;
    return true;
}

/* [cursor, [key, type, value, ...]] */
static bool take_scan(struct clerks *k, struct clerk *w, struct bytes whole)
{
    struct bytes part[2];
    if (!reply_items(whole, part, 2)) return false;
    struct reply_view cursor = reply_read(part[0]), many = reply_read(part[1]);
    if (cursor.kind != REPLY_TEXT || many.kind != REPLY_MANY || many.number % 3) return false;
    struct bytes *item = mem_alloc((size_t)(many.number + 1) * sizeof *item);
    (void)reply_items(part[1], item, (uint32_t)many.number);
    for (int64_t i = 0; i < many.number; i += 3) {
        struct reply_view value = reply_read(item[i + 2]);
        struct bytes text = value.kind == REPLY_TEXT ? value.text : (struct bytes){0};
        if (!jobs_records_add(&w->records, reply_read(item[i]).text, reply_read(item[i + 1]).text,
                              text))
            clerks_wrong(k, "none", "a key is in its snapshot twice");
    }
    mem_free(item);
    text_take(w->cursor, sizeof w->cursor, cursor.text);
    if (text_is(cursor.text, "0")) w->split_at++, w->tries = 0;
    if (w->split_at == w->splits) clerk_read(w, true);
    return true;
}

/* ---- jobs ---- */

static void take_id(struct clerks *k, struct errand *e, struct bytes id)
{
    if (e->id[0] && !text_is(id, e->id)) clerks_wrong(k, e->name, "two jobs have one name");
    text_take(e->id, sizeof e->id, id);
}

static bool take_submitted(struct clerks *k, struct clerk *w, struct bytes whole)
{
    struct errand *e = &w->job[w->at];
    struct reply_view v = reply_read(whole);
    if (v.kind != REPLY_TEXT || v.text.size != 16) return false;
    SIM_COUNT(k->callers.s, jobs);
    take_id(k, e, v.text);
    e->known = e->plan.kind == JOBS_TASKS || (e->given && w->read);
    e->fails = e->known && !jobs_expected(&e->plan, &w->records, &e->expected);
    clerks_enter(k, e);
    if (++w->at == w->jobs) after_submits(w);
    return true;
}

static bool take_waited(struct clerks *k, struct clerk *w, struct bytes whole)
{
    static const char *const ends[] = {
        [ERRAND_DONE] = "done", [ERRAND_FAILED] = "failed", [ERRAND_CANCELLED] = "cancelled"};
    struct errand *e = &w->job[w->at];
    struct reply_view v = reply_read(whole);
    if (v.kind == REPLY_NIL) {
        if (++e->waits == e->cancel_after) w->next = ASK_CANCEL;
        return true;
    }
    for (uint8_t end = ERRAND_DONE; end <= ERRAND_CANCELLED && v.kind == REPLY_TEXT; end++)
        if (text_is(v.text, ends[end])) e->end = end;
    if (e->end == ERRAND_RUNS) return false;
    if (e->end == ERRAND_CANCELLED && !e->cancelled)
        clerks_wrong(k, e->name, "it is cancelled, and nobody asked for that");
    if (e->end == ERRAND_DONE && e->fails)
        clerks_wrong(k, e->name, "it is done, and must choke on a key");
    bool keys = e->into && e->known && e->expected.count;
    w->next = !(e->end == ERRAND_DONE && e->into) ? ASK_RESULT : ASK_KEYS;
    if (w->next == ASK_KEYS && !keys) after_job(w);
    clerks_enter(k, e);
    SIM_COUNT(k->callers.s, jobs_ended);
    return true;
}

/* Its rows, or false: that is no result. */
static bool read_rows(struct bytes whole, struct jobs_rows *rows)
{
    struct bytes part[4], cell[2];
    if (!reply_items(whole, part, 4)) return false;
    struct reply_view many = reply_read(part[1]);
    if (many.kind != REPLY_MANY) return false;
    struct bytes *item = mem_alloc((size_t)(many.number + 1) * sizeof *item);
    bool good = reply_items(part[1], item, (uint32_t)many.number);
    for (int64_t i = 0; good && i < many.number; i++)
        good = reply_items(item[i], cell, 2) &&
               jobs_rows_add(rows, reply_read(cell[0]).text, reply_read(cell[1]).text);
    mem_free(item);
    return good;
}

/* What it must give, whatever snapshot it made. */
static bool judge_bank(struct clerks *k, struct errand *e, const struct jobs_rows *rows, char *why,
                       size_t size)
{
    struct bank *bank = k->callers.s->bank;
    if (e->plan.kind == JOBS_SUM) {
        bool zero = rows->count == 1 && strcmp(rows->row[0].value, "0") == 0;
        if (!zero) snprintf(why, size, "the bank's accounts do not sum up to 0");
        return zero;
    }
    if (e->plan.kind != JOBS_BANK) return true;
    bank_cut_answered(bank, e->bank);
    for (uint32_t i = 0; i < rows->count; i++) {
        if (bank_cut_take(bank, e->bank, bytes_str(rows->row[i].key),
                          bytes_str(rows->row[i].value)))
            continue;
        snprintf(why, size, "it gives %s twice", rows->row[i].key);
        return false;
    }
    return bank_cut_judge(bank, e->bank, why, size);
}

static bool take_rows(struct clerks *k, struct clerk *w, struct errand *e, struct bytes whole)
{
    struct jobs_rows rows = {0};
    char why[400];
    bool good = read_rows(whole, &rows);
    if (good && e->known && !jobs_rows_equal(&rows, &e->expected, why, sizeof why))
        clerks_wrong(k, e->name, why);
    if (good && !e->given && !judge_bank(k, e, &rows, why, sizeof why))
        clerks_wrong(k, e->name, why);
    jobs_rows_deinit(&rows);
    buf_clear(&e->result);
    buf_append_bytes(&e->result, whole);
    if (e->known || !e->given) SIM_COUNT(k->callers.s, jobs_judged);
    if (e->calm) w->wants = false;
    return good;
}

static void judge_failure(struct clerks *k, const struct clerk *w, struct errand *e,
                          struct bytes reason)
{
    const struct sim *s = k->callers.s;
    char why[300];
    uint32_t world = 0;
    if (s->options.mode != SIM_CALM || s->latency_ns > LATENCY_MAX) world |= JOBS_FAULTS;
    if (e->given && w->dropped) world |= JOBS_DROPPED;
    if (e->plan.kind == JOBS_CHOKES && (!e->known || e->fails)) world |= JOBS_CHOKED;
    SIM_COUNT(k->callers.s, jobs_failed);
    world_say(s->w, s->clients_host, "%s failed: %.*s", e->name, (int)reason.size,
              (const char *)reason.data);
    if (jobs_may_fail(world, reason)) return;
    snprintf(why, sizeof why, "nothing explains why it failed: %.*s", (int)reason.size,
             (const char *)reason.data);
    clerks_wrong(k, e->name, why);
}

static bool take_result(struct clerks *k, struct clerk *w, struct caller *c, struct bytes whole)
{
    struct errand *e = &w->job[w->at];
    struct reply_view v = reply_read(whole);
    bool keys = e->into && e->known && !e->fails && !e->ghost && e->expected.count;
    w->next = ASK_AGAIN;
    c->leaves = true;
    if (e->end == ERRAND_DONE && v.kind != REPLY_ERROR) return take_rows(k, w, e, whole);
    if (e->end == ERRAND_DONE || v.kind != REPLY_ERROR) return false;
    if (e->end == ERRAND_FAILED) judge_failure(k, w, e, v.text);
    if (e->end == ERRAND_CANCELLED) SIM_COUNT(k->callers.s, jobs_cancelled);
    if (keys)
        w->next = ASK_KEYS;
    else
        after_job(w);
    return true;
}

static bool take_again(struct clerks *k, struct clerk *w, struct bytes whole)
{
    struct errand *e = &w->job[w->at];
    if (!bytes_equal(whole, buf_bytes(&e->result)))
        clerks_wrong(k, e->name, "its result is another one where it is asked for again");
    after_job(w);
    return true;
}

static bool take_keys(struct clerks *k, struct clerk *w, struct bytes whole)
{
    struct errand *e = &w->job[w->at];
    struct bytes *item = mem_alloc((e->expected.count + 1) * sizeof *item);
    bool good = reply_items(whole, item, e->expected.count), done = e->end == ERRAND_DONE;
    char why[200];
    for (uint32_t i = 0; good && i < e->expected.count; i++) {
        const struct jobs_row *row = &e->expected.row[i];
        struct reply_view v = reply_read(item[i]);
        bool right = v.kind == REPLY_TEXT && text_is(v.text, row->value);
        if (done ? right : v.kind == REPLY_NIL) continue;
        snprintf(why, sizeof why, "%s%s is '%.*s', and it is %s, and gives '%s'", e->prefix,
                 row->key, (int)v.text.size, (const char *)v.text.data, done ? "done" : "not done",
                 row->value);
        clerks_wrong(k, e->name, why);
    }
    mem_free(item);
    SIM_COUNT(k->callers.s, jobs_into);
    after_job(w);
    return good;
}

/* ---- answers ---- */

static void forgotten(struct clerk *w)
{
    if (++w->at == w->jobs) after_round(w);
}

void clerk_dropped(struct clerk *w)
{
    bool early = w->drops_early && w->job[0].end == ERRAND_RUNS;
    w->dropped = true;
    w->next = early ? ASK_WAIT : ASK_NOTHING;
}

void clerk_twin_ended(struct clerk *w, enum caller_outcome how)
{
    w->twin->ghost |= how == CALLER_UNKNOWN;
    w->twin->twins--;
    w->twin = NULL;
    w->next = ASK_NOTHING;
}

static bool take_twin(struct clerks *k, struct clerk *w, struct bytes whole)
{
    struct reply_view v = reply_read(whole);
    bool good = v.kind == REPLY_TEXT && v.text.size == 16;
    if (good) take_id(k, w->twin, v.text);
    SIM_COUNT(k->callers.s, jobs_twins);
    clerk_twin_ended(w, CALLER_DONE);
    return good;
}

void clerk_done(struct clerks *k, struct clerk *w, struct caller *c, struct bytes whole)
{
    bool good = true;
    switch (w->next) {
    case ASK_CREATE: good = take_created(w, whole); break;
    case ASK_SPLITS: good = take_splits(w, whole); break;
    case ASK_SCAN: good = take_scan(k, w, whole); break;
    case ASK_SUBMIT: good = take_submitted(k, w, whole); break;
    case ASK_WAIT: good = take_waited(k, w, whole); break;
    case ASK_CANCEL: w->next = ASK_WAIT; break;
    case ASK_RESULT: good = take_result(k, w, c, whole); break;
    case ASK_AGAIN: good = take_again(k, w, whole); break;
    case ASK_KEYS: good = take_keys(k, w, whole); break;
    case ASK_FORGET: forgotten(w); break;
    case ASK_TWIN: good = take_twin(k, w, whole); break;
    default: clerk_dropped(w);
    }
    if (!good) caller_strange(c, whole);
}
