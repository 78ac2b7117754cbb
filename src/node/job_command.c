/* JOB ...: what clients ask about jobs, at the node that they are connected to. All that there is
 * to know is in group 0, which is asked; who waits for an end asks again and again. */
#include "base/mem.h"
#include "node/job_internal.h"
#include "node/request.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define POLL_FIRST (20 * MS) /* then after a sixteenth of the time that was waited, up to: */
#define POLL_LAST  (500 * MS)

enum call_what {
    CALL_SUBMIT,
    CALL_RUN,
    CALL_STATUS,
    CALL_LIST,
    CALL_HISTORY,
    CALL_CANCEL,
    CALL_RESULT,
    CALL_LOG,
    CALL_WAIT,
    CALL_FORGET,
    CALLS
};
static const char *const call_name[CALLS] = {"submit", "run",    "status", "list", "history",
                                             "cancel", "result", "log",    "wait", "forget"};

struct call {
    struct list link; /* jobs->calls */
    struct node *node;
    struct request *r;
    uint8_t what;
    uint64_t id;
    struct buf name;
    bool query; /* its result has cells */
    bool polls; /* asks again at poll_at */
    uint64_t poll_at, began;
    uint64_t until; /* WAIT's timeout */
    struct gather *gather;
};

static const char *const phase_name[] = {
    [JOB_SUBMITTED] = "submitted",
    [JOB_CUT] = "cut",
    [JOB_MAP] = "map",
    [JOB_REDUCE] = "reduce",
    [JOB_DONE] = "done",
    [JOB_FAILED] = "failed",
    [JOB_COMMITTING] = "committing",
    [JOB_CANCELLED] = "cancelled",
};

/* ---- life ---- */

static void call_free(struct call *c)
{
    jobs_forget(c->node, c);
    if (c->gather) gather_cancel(c->gather);
    list_remove(&c->link);
    buf_deinit(&c->name);
    mem_free(c);
}

void job_calls_free(struct node *n)
{
    while (!list_empty(&n->jobs->calls)) call_free(LIST_OF(n->jobs->calls.next, struct call, link));
}

/* Its request has its reply. What RUN made goes. */
static void finish(struct call *c)
{
    struct request *r = c->r;
    if (c->what == CALL_RUN && c->id)
        jobs_ask_numbers(c->node, "synod|job", "FORGET", &c->id, 1, (struct bytes){0}, jobs_nobody,
                         NULL);
    call_free(c);
    r->children = 0;
    request_done(r);
}

static struct reply reply_of(struct call *c)
{
    return (struct reply){&c->r->reply, c->r->version};
}

static void refuse(struct call *c, const char *text)
{
    struct reply out = reply_of(c);
    reply_error(&out, text);
    finish(c);
}

static void pass_on(struct call *c, struct bytes reply)
{
    if (reply.size && reply.data[0] == '-')
        buf_append_bytes(&c->r->reply, reply);
    else
        reply_error(&(struct reply){&c->r->reply, c->r->version}, TEXT_UNKNOWN);
    finish(c);
}

/* ---- results ---- */

struct row {
    struct bytes key, value;
};

static int by_key(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int c = bytes_compare(x->key, y->key);
    return c ? c : (x->value.data > y->value.data) - (x->value.data < y->value.data);
}

/* A query's rows, in their order. */
static size_t put_cells(struct bytes pairs, bool notes, struct reply *out)
{
    struct reader r = reader_of(pairs);
    struct gather_pair pair;
    size_t count = 0;
    while (reader_left(&r) && gather_next(&r, &pair)) {
        if (pair.note != notes) continue;
        struct reader cells = reader_of(pair.value.bytes), ahead;
        size_t more = 0;
        (void)reader_u8(&cells);
        for (ahead = cells; reader_left(&ahead); more++) (void)reader_blob(&ahead);
        if (!notes) reply_array(out, 1 + more);
        reply_bulk(out, pair.key);
        while (reader_left(&cells)) reply_bulk(out, reader_blob(&cells));
        count++;
    }
    return count;
}

/* A Lua job's pairs, in the order of their keys: each reduce gave its own in that order. */
static size_t put_pairs(struct bytes pairs, struct reply *out)
{
    struct reader r = reader_of(pairs);
    struct gather_pair pair;
    struct row *row = NULL;
    size_t count = 0;
    char number[40];
    while (reader_left(&r)) {
        if ((count & (count - 1)) == 0) row = mem_realloc(row, (2 * count + 1) * sizeof *row);
        row[count].key = reader_blob(&r);
        row[count++].value = reader_blob(&r);
    }
    if (count) qsort(row, count, sizeof *row, by_key);
    for (size_t i = 0; i < count; i++) {
        (void)task_value_get(row[i].value, &pair.value);
        reply_array(out, 2);
        reply_bulk(out, row[i].key);
        reply_bulk(out, task_value_text(&pair.value, number));
    }
    mem_free(row);
    return count;
}

static void gathered(void *ctx, struct bytes pairs, const char *error)
{
    struct call *c = ctx;
    struct reply out = reply_of(c);
    struct buf rows = {0}, notes = {0};
    struct reply to = {&rows, out.version}, aside = {&notes, out.version};
    c->gather = NULL;
    if (error) {
        refuse(c, error);
        return;
    }
    size_t count = c->query ? put_cells(pairs, false, &to) : put_pairs(pairs, &to);
    size_t asides = c->query ? put_cells(pairs, true, &aside) : 0;
    reply_map(&out, 2);
    reply_bulk_str(&out, "rows"), reply_array(&out, count);
    buf_append_bytes(out.out, buf_bytes(&rows));
    reply_bulk_str(&out, "notes"), reply_map(&out, asides);
    buf_append_bytes(out.out, buf_bytes(&notes));
    buf_deinit(&rows), buf_deinit(&notes);
    finish(c);
}

static void gather(struct call *c, struct bytes record, const struct job_record_head *h)
{
    struct job_task *task = mem_zalloc(JOB_TASKS_MAX * sizeof *task);
    struct gather_winner *w = mem_zalloc(h->reduces * sizeof *w);
    struct job j;
    job_init(&j, &(struct job_options){.epoch = UINT64_MAX, .reduces = h->reduces}, task,
             JOB_TASKS_MAX, NULL, 0);
    bool sound = job_record_decode(&j, record);
    for (uint32_t i = 0; sound && i < h->reduces; i++)
        w[i] = (struct gather_winner){h->maps + i, task[h->maps + i].winner};
    if (sound)
        c->gather = gather_begin(c->node, c->id, w, h->reduces, JOB_PUBLISH_BYTES, gathered, c);
    else
        refuse(c, "ERR the job's record is of another version");
    mem_free(task), mem_free(w);
}

static void take_result(struct call *c, const struct job_rows *rows, const struct job_spec *spec,
                        const struct job_record_head *h)
{
    struct reply out = reply_of(c);
    c->query = spec->kind == JOB_KIND_QUERY;
    if (h->phase == JOB_FAILED) {
        reply_errorf(&out, "JOBFAILED %.*s", (int)h->error.size, (const char *)h->error.data);
        finish(c);
    } else if (h->phase == JOB_CANCELLED) {
        refuse(c, "JOBFAILED the job was cancelled");
    } else if (h->phase != JOB_DONE) {
        refuse(c, "JOBRUNS the job has not ended; JOB WAIT waits for that, JOB STATUS shows how "
                  "far it is");
    } else if (spec->into) {
        reply_errorf(&out, "ERR the result is in the keys that begin with '%.*s'",
                     (int)spec->prefix.size, (const char *)spec->prefix.data);
        finish(c);
    } else {
        gather(c, rows->record, h);
    }
}

/* ---- how it is ---- */

static void put_id(struct reply *out, const char *name, uint64_t id)
{
    char text[17];
    (void)snprintf(text, sizeof text, "%016" PRIx64, id);
    reply_bulk_str(out, name), reply_bulk_str(out, id ? text : "");
}

static void put_number(struct reply *out, const char *name, uint64_t v)
{
    reply_bulk_str(out, name), reply_i64(out, (int64_t)v);
}

static void put_status(struct reply *out, const struct job_rows *rows,
                       const struct job_record_head *h)
{
    struct job_news news;
    if (!job_news_get(rows->news, &news)) news = (struct job_news){0};
    reply_map(out, 16);
    reply_bulk_str(out, "name"), reply_bulk(out, rows->name);
    put_id(out, "id", rows->job);
    reply_bulk_str(out, "state"), reply_bulk_str(out, phase_name[h->phase]);
    put_number(out, "owner", news.node);
    put_number(out, "maps", h->maps);
    put_number(out, "maps-done", h->maps_done);
    put_number(out, "reduces", h->reduces);
    put_number(out, "reduces-done", h->reduces_done);
    put_number(out, "running", h->phase >= JOB_DONE ? 0 : news.running);
    put_number(out, "failures", news.failures);
    put_number(out, "records", news.records);
    put_number(out, "bytes", news.bytes);
    put_number(out, "submitted-ms", rows->submitted_ms);
    put_number(out, "spent-ms", h->phase >= JOB_DONE ? (uint64_t)h->spent_ms : news.spent_ms);
    put_id(out, "snapshot", h->snapshot);
    reply_bulk_str(out, "error"), reply_bulk(out, h->error);
}

static void put_log(struct reply *out, struct bytes log)
{
    size_t lines = 0;
    const uint8_t *at = log.data, *end = log.data + log.size, *next;
    for (size_t i = 0; i < log.size; i++) lines += log.data[i] == '\n';
    reply_array(out, lines);
    for (; lines; lines--, at = next + 1) {
        next = memchr(at, '\n', (size_t)(end - at));
        reply_bulk(out, bytes_of(at, (size_t)(next - at)));
    }
}

/* ---- what became of a question ---- */

static void said_ok(void *ctx, struct bytes reply)
{
    struct call *c = ctx;
    struct reply out = reply_of(c);
    if (jobs_said(reply, 0)) {
        refuse(c, c->what == CALL_FORGET ? "JOBRUNS the job has not ended: JOB CANCEL it first"
                                         : "ERR the job has ended");
    } else if (jobs_said(reply, 1)) {
        reply_ok(&out);
        finish(c);
    } else {
        pass_on(c, reply);
    }
}

static void again_later(struct call *c)
{
    c->polls = true;
    uint64_t after = (c->node->now - c->began) / 16;
    if (after < POLL_FIRST) after = POLL_FIRST;
    if (after > POLL_LAST) after = POLL_LAST;
    c->poll_at = c->node->now + after;
}

static void take_wait(struct call *c, const struct job_rows *rows, const struct job_spec *spec,
                      const struct job_record_head *h)
{
    struct reply out = reply_of(c);
    if (h->phase < JOB_DONE && c->node->now < c->until) {
        again_later(c);
    } else if (c->what == CALL_RUN) {
        take_result(c, rows, spec, h);
    } else {
        if (h->phase < JOB_DONE)
            reply_nil(&out);
        else
            reply_bulk_str(&out, phase_name[h->phase]);
        finish(c);
    }
}

static void take_rows(struct call *c, const struct job_rows *rows)
{
    struct reply out = reply_of(c);
    struct job_record_head h;
    struct job_spec spec;
    if (!job_record_peek(rows->record, &h)) h = (struct job_record_head){0};
    if (!job_spec_decode(rows->spec, &spec)) {
        refuse(c, "ERR the job's spec is of another version");
        return;
    }
    c->id = rows->job;
    switch ((enum call_what)c->what) {
    case CALL_CANCEL:
    case CALL_FORGET:
        jobs_ask_numbers(c->node, "synod|job", c->what == CALL_CANCEL ? "CANCEL" : "FORGET", &c->id,
                         1, (struct bytes){0}, said_ok, c);
        return;
    case CALL_RESULT: take_result(c, rows, &spec, &h); return;
    case CALL_RUN:
    case CALL_WAIT: take_wait(c, rows, &spec, &h); return;
    case CALL_LOG: put_log(&out, rows->log); break;
    default: put_status(&out, rows, &h);
    }
    finish(c);
}

static void rows_came(void *ctx, struct bytes reply)
{
    struct call *c = ctx;
    struct job_rows rows;
    struct bytes bulk;
    bool nil, there = jobs_bulk(reply, &bulk, &nil);
    bool waits = c->what == CALL_RUN || c->what == CALL_WAIT;
    if (there && job_rows_get(bulk, &rows))
        take_rows(c, &rows);
    else if (nil)
        refuse(c, "NOJOB there is no job of that name; JOB LIST and JOB HISTORY show which there "
                  "are");
    else if (waits && c->node->now < c->until)
        again_later(c); /* a leader is missing for a while */
    else
        pass_on(c, reply);
}

static void ask_rows(struct call *c)
{
    c->polls = false;
    jobs_ask(c->node, "synod|job-read", (struct bytes[]){BYTES("GET"), buf_bytes(&c->name)}, 2,
             rows_came, c);
}

static void submitted(void *ctx, struct bytes reply)
{
    struct call *c = ctx;
    struct reply out = reply_of(c);
    struct bytes bulk;
    bool nil;
    char text[17];
    if (!jobs_bulk(reply, &bulk, &nil) || bulk.size != 8) {
        pass_on(c, reply);
    } else if (c->what == CALL_SUBMIT) {
        struct reader r = reader_of(bulk);
        (void)snprintf(text, sizeof text, "%016" PRIx64, reader_u64(&r));
        reply_bulk_str(&out, text);
        finish(c);
    } else {
        again_later(c);
    }
}

static void list_came(void *ctx, struct bytes reply)
{
    struct call *c = ctx;
    struct reply out = reply_of(c);
    struct buf items = {0};
    struct reply to = {&items, out.version};
    struct job_summary s;
    int64_t count, size;
    size_t line, shown = 0;
    if (!request_reply_number(reply, '*', &count, &line)) {
        pass_on(c, reply);
        return;
    }
    struct bytes rest = bytes_of(reply.data + line, reply.size - line);
    while (request_reply_number(rest, '$', &size, &line) && size >= 0) {
        bool sound = job_summary_get(bytes_of(rest.data + line, (size_t)size), &s);
        rest = bytes_of(rest.data + line + size + 2, rest.size - line - (size_t)size - 2);
        if (!sound || (s.phase >= JOB_DONE) != (c->what == CALL_HISTORY)) continue;
        shown++;
        reply_map(&to, 10);
        reply_bulk_str(&to, "name"), reply_bulk(&to, s.name);
        put_id(&to, "id", s.job);
        reply_bulk_str(&to, "state"), reply_bulk_str(&to, phase_name[s.phase]);
        put_number(&to, "submitted-ms", s.submitted_ms);
        put_number(&to, "spent-ms", s.spent_ms);
        put_number(&to, "maps", s.maps), put_number(&to, "maps-done", s.maps_done);
        put_number(&to, "reduces", s.reduces), put_number(&to, "reduces-done", s.reduces_done);
        reply_bulk_str(&to, "error"), reply_bulk(&to, s.error);
    }
    reply_array(&out, shown);
    buf_append_bytes(out.out, buf_bytes(&items));
    buf_deinit(&items);
    finish(c);
}

/* ---- asking ---- */

void job_calls_slow(struct node *n)
{
    struct list *next;
    for (struct list *l = n->jobs->calls.next; l != &n->jobs->calls; l = next) {
        struct call *c = LIST_OF(l, struct call, link);
        next = l->next;
        if (c->polls && n->now >= c->poll_at) ask_rows(c);
    }
}

static struct call *call_new(struct client *client, const struct command *cmd,
                             const struct cmd_args *a, enum call_what what)
{
    struct call *c = mem_zalloc(sizeof *c);
    *c = (struct call){.node = client->node,
                       .r = request_parent(client, cmd, a),
                       .what = (uint8_t)what,
                       .began = client->node->now,
                       .until = UINT64_MAX};
    c->r->children = 1; /* it has its own end */
    list_push(&c->node->jobs->calls, &c->link);
    return c;
}

static void submit(struct client *client, const struct command *cmd, const struct cmd_args *a,
                   enum call_what what, struct reply *out)
{
    struct job_spec spec;
    struct job_spec_error error;
    struct buf encoded = {0};
    char drawn[32];
    bool run = what == CALL_RUN;
    bool sound = run ? job_spec_run(a->v + 2, a->count - 2, &spec, &error)
                     : job_spec_submit(a->v + 2, a->count - 2, &spec, &error);
    if (!sound) {
        reply_errorf(out, "ERR %s", error.text);
        return;
    }
    if (run) {
        (void)snprintf(drawn, sizeof drawn, "run:%016" PRIx64, prng_u64(&client->node->random));
        spec.name = bytes_str(drawn);
    }
    job_spec_encode(&spec, &encoded);
    struct call *c = call_new(client, cmd, a, what);
    buf_append_bytes(&c->name, spec.name);
    jobs_ask(c->node, "synod|job", (struct bytes[]){BYTES("NEW"), spec.name, buf_bytes(&encoded)},
             3, submitted, c);
    buf_deinit(&encoded);
}

static bool get_timeout(const struct cmd_args *a, int64_t *ms, struct reply *out)
{
    *ms = 0;
    if (a->count == 3) return true;
    if (a->count == 4 && bytes_to_i64(a->v[3], ms) && *ms >= 0 && *ms <= INT32_MAX) return true;
    reply_error(out, "ERR JOB WAIT name [milliseconds]; 0, or nothing: as long as it takes");
    return false;
}

void job_command(struct client *client, const struct command *cmd, const struct cmd_args *a,
                 struct reply *out)
{
    int what = 0;
    int64_t ms = 0;
    if (!client->node->group_count || !client->node->taking_part) {
        reply_error(out, TEXT_NOT_JOINED);
        return;
    }
    while (what < CALLS && strcmp(cmd->name, call_name[what]) != 0) what++;
    if (what <= CALL_RUN) {
        submit(client, cmd, a, (enum call_what)what, out);
        return;
    }
    if (what == CALL_WAIT && !get_timeout(a, &ms, out)) return;
    struct call *c = call_new(client, cmd, a, (enum call_what)what);
    if (what == CALL_LIST || what == CALL_HISTORY) {
        jobs_ask(c->node, "synod|job-read", &BYTES("LIST"), 1, list_came, c);
        return;
    }
    if (ms) c->until = c->node->now + (uint64_t)ms * MS;
    buf_append_bytes(&c->name, a->v[2]);
    ask_rows(c);
}
