/* Who leads group 0 owns all jobs: their rows are there, so it is told of new ones at once, and
 * what it writes about them needs no other group. A leadership is a lease already; who lost it and
 * does not know yet writes nothing, and a record says which owner (epoch) wrote it. */
#include "base/mem.h"
#include "base/mutant.h"
#include "node/job_internal.h"
#include "node/request.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define LOOK_EVERY   (5000 * MS)
#define FENCE_EVERY  (5000 * MS)
#define TICK_EVERY   (250 * MS) /* each walks over all tasks */
#define TELL_EVERY   (1000 * MS)
#define LOOK_AGAIN   (500 * MS)
#define RESEND_AFTER 2000        /* ms */
#define SILENT_MAX   (2000 * MS) /* of a node, until what it has is made again */
#define LUA_REDUCES  4           /* of a job that does not say how many */

/* ---- life ---- */

void jobs_init(struct node *n)
{
    n->jobs = mem_zalloc(sizeof *n->jobs);
    list_init(&n->jobs->owned);
    list_init(&n->jobs->errands);
    list_init(&n->jobs->calls);
    n->jobs->look = true;
}

static void owned_free(struct owned *o)
{
    jobs_forget(o->node, o);
    if (o->gather) gather_cancel(o->gather);
    list_remove(&o->link);
    buf_deinit(&o->spec_bytes), buf_deinit(&o->record), buf_deinit(&o->log);
    mem_free(o->task);
    mem_free(o->range);
    mem_free(o->fx);
    mem_free(o);
}

static void disown_all(struct node *n)
{
    while (!list_empty(&n->jobs->owned))
        owned_free(LIST_OF(n->jobs->owned.next, struct owned, link));
}

void jobs_free(struct node *n)
{
    disown_all(n);
    job_calls_free(n);
    jobs_errands_free(n);
    buf_deinit(&n->jobs->self), buf_deinit(&n->jobs->scratch);
    mem_free(n->jobs);
}

static bool owns(const struct node *n)
{
    return n->taking_part && n->group_count && group_serves(n->group[0]);
}

static struct owned *owned_find(const struct node *n, uint64_t id)
{
    for (struct list *l = n->jobs->owned.next; l != &n->jobs->owned; l = l->next) {
        struct owned *o = LIST_OF(l, struct owned, link);
        if (o->id == id) return o;
    }
    return NULL;
}

/* ---- its log, and what it says of its progress ---- */

void owned_log(struct owned *o, const char *format, ...)
{
    va_list args;
    char text[JOB_TEXT_MAX];
    int64_t ms = o->node->wall_ms - o->machine.submitted_ms;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *c = text; *c; c++)
        if (*c == '\n' || *c == '\r') *c = ' ';
    if (o->log.size < JOB_LOG_MAX) buf_printf(&o->log, "%10.3f s  %s\n", (double)ms / 1e3, text);
    trace_line("job %016" PRIx64 ": %s", o->id, text);
}

static void log_phase(struct owned *o)
{
    const struct job *j = &o->machine;
    static const char *const said[] = {
        [JOB_CUT] = "a snapshot is made",
        [JOB_MAP] = "the maps begin",
        [JOB_REDUCE] = "the reduces begin",
        [JOB_COMMITTING] = "the result is published",
        [JOB_DONE] = "done",
        [JOB_CANCELLED] = "cancelled",
    };
    if (o->told_phase == j->phase) return;
    o->told_phase = j->phase;
    o->tell_at = 0;
    if (j->phase == JOB_FAILED)
        owned_log(o, "failed: %.*s", (int)j->error_size, j->error);
    else if (said[j->phase])
        owned_log(o, "%s", said[j->phase]);
}

static void told(void *ctx, struct bytes reply)
{
    struct owned *o = ctx;
    o->telling = false;
    if (!o->over) (void)owned_forgotten(o, reply);
}

static void news_of(const struct owned *o, struct job_news *news)
{
    const struct job *j = &o->machine;
    *news = (struct job_news){.epoch = j->epoch,
                              .node = o->node->identity.node,
                              .at_ms = (uint64_t)o->node->wall_ms,
                              .phase = j->phase,
                              .maps = j->maps,
                              .maps_done = j->maps_done,
                              .reduces = j->reduces,
                              .reduces_done = j->reduces_done,
                              .spent_ms = (uint64_t)(j->spent_ms + j->now_ms - j->began_ms)};
    for (uint32_t i = 0; i < j->maps + j->reduces; i++) {
        const struct job_task *t = &j->task[i];
        uint64_t records = 0, bytes = 0;
        news->failures += t->failures;
        for (int r = 0; r < JOB_RUNS_MAX; r++) {
            if (!t->run[r].live) continue;
            news->running++;
            if (t->run[r].records > records) records = t->run[r].records, bytes = t->run[r].bytes;
        }
        if (t->state >= JOB_TASK_REPORTED) records = t->records, bytes = t->bytes;
        if (job_is_map(j, i)) news->records += records, news->bytes += bytes;
    }
}

static void send_news(struct owned *o, struct bytes what, struct bytes text, jobs_answer *done,
                      void *ctx)
{
    struct buf numbers = {0};
    buf_u64(&numbers, o->id);
    buf_u64(&numbers, o->machine.epoch);
    jobs_ask(o->node, "synod|job",
             (struct bytes[]){BYTES("NEWS"), bytes_of(numbers.data, 8),
                              bytes_of(numbers.data + 8, 8), what, text},
             5, done, ctx);
    buf_deinit(&numbers);
}

/* At most once a second, but for what is new in kind. */
static void tell(struct owned *o)
{
    struct buf text = {0};
    struct job_news news;
    if (o->telling || o->node->now < o->tell_at) return;
    o->telling = true;
    o->tell_at = o->node->now + TELL_EVERY;
    news_of(o, &news);
    job_news_put(&text, &news);
    send_news(o, BYTES("p"), buf_bytes(&text), told, o);
    if (o->log.size) send_news(o, BYTES("l"), buf_bytes(&o->log), jobs_nobody, NULL);
    buf_deinit(&text);
    buf_clear(&o->log);
}

/* ---- steps ---- */

/* A record is encoded as it is at this very moment, whenever it is sent. */
static void collect(void *ctx, const struct job_effect *fx)
{
    struct owned *o = ctx;
    if (fx->type == JOB_FX_WRITE || fx->type == JOB_FX_PUBLISH) {
        buf_clear(&o->record);
        job_record_encode(&o->machine, &o->record);
    }
    if (o->fx_count == o->fx_capacity) {
        o->fx_capacity = 2 * o->fx_capacity + 16;
        o->fx = mem_realloc(o->fx, o->fx_capacity * sizeof *o->fx);
    }
    o->fx[o->fx_count++] = *fx;
}

void owned_step(struct owned *o, struct job_event ev)
{
    ev.now_ms = (int64_t)(o->node->now / MS);
    job_step(&o->machine, &ev, collect, o);
    log_phase(o);
    if (o->carrying) return;
    o->carrying = true;
    for (o->fx_at = 0; o->fx_at < o->fx_count; o->fx_at++) {
        struct job_effect fx = o->fx[o->fx_at];
        owned_carry(o, &fx);
    }
    o->fx_count = 0;
    o->carrying = false;
    if (o->over) tell(o);
}

/* ---- nodes ---- */

static void look_at_node(struct node *n, uint16_t id, struct job_seen *s)
{
    bool self = id == n->identity.node;
    const struct peer *p = n->peers[id];
    bool there = ring_shows(n, id) && ring_node_heard(n, id);
    uint64_t incarnation = self ? n->identity.incarnation : p ? p->incarnation : 0;
    s->slots = (uint16_t)(self ? tasks_slots(n) : p ? p->report.workers : 0);
    if (there && s->up && s->incarnation != incarnation) {
        s->up = false; /* for a turn: what it had is gone */
    } else if (there) {
        s->up = s->slots > 0;
        s->incarnation = incarnation;
        s->silent_since = 0;
    } else if (s->up) {
        if (!s->silent_since) s->silent_since = n->now;
        if (n->now - s->silent_since > SILENT_MAX) s->up = false;
    }
}

static void owned_look_at_nodes(struct owned *o)
{
    for (uint16_t id = 1; id <= NODE_NODES_MAX; id++) {
        const struct job_seen *s = &o->node->jobs->seen[id];
        struct job_event ev = {.node = id, .slots = s->slots};
        const struct job_node *known = NULL;
        for (uint32_t i = 0; i < o->machine.nodes; i++)
            if (o->nodes[i].id == id) known = &o->nodes[i];
        bool up = known && known->up;
        bool unknown = !o->begun && !s->up; /* what an earlier owner's tasks gave may be there */
        if (!unknown && s->up == up && (!up || known->slots == s->slots)) continue;
        if (!s->up && up) owned_log(o, "node %u is gone", id);
        ev.type = s->up ? JOB_EV_NODE_UP : JOB_EV_NODE_LOST;
        owned_step(o, ev);
    }
}

/* ---- beginning ---- */

static uint32_t reduces_of(const struct job_spec *s)
{
    if (s->partitions) return s->partitions;
    return s->kind == JOB_KIND_QUERY ? 1 : LUA_REDUCES;
}

static void owned_begin(struct owned *o)
{
    owned_look_at_nodes(o);
    o->begun = true;
    owned_log(o, "node %u owns the job (epoch %" PRIu64 ")", o->node->identity.node,
              o->machine.epoch);
    owned_step(o, (struct job_event){.type = JOB_EV_BEGIN});
}

/* A snapshot that is gone: those who should have it will say so. */
static void ranges_came(struct owned *o, int32_t count)
{
    if (count == RANGES_UNKNOWN) {
        o->ranges_at = o->node->now + LOOK_AGAIN;
        return;
    }
    o->ranges_at = 0;
    if (count == RANGES_GONE || (uint32_t)count != o->machine.maps) {
        o->ranges = 0;
        owned_log(o, "the snapshot is gone");
    }
    owned_begin(o);
}

static bool owned_take(struct owned *o, const struct job_owned *row)
{
    buf_append_bytes(&o->spec_bytes, row->spec);
    if (!job_spec_decode(buf_bytes(&o->spec_bytes), &o->spec)) return false;
    o->task = mem_zalloc(JOB_TASKS_MAX * sizeof *o->task);
    job_init(&o->machine,
             &(struct job_options){
                 .epoch = row->epoch,
                 .submitted_ms = (int64_t)row->submitted_ms,
                 .limit_ms = (int64_t)o->spec.limits.time_ms,
                 .reduces = reduces_of(&o->spec),
                 .task_count = o->spec.kind == JOB_KIND_TASKS ? o->spec.tasks : 0,
             },
             o->task, JOB_TASKS_MAX, o->nodes, NODE_NODES_MAX + 1);
    return !row->record.size || job_record_decode(&o->machine, row->record);
}

static void own_answered(void *ctx, struct bytes reply)
{
    struct owned *o = ctx;
    struct job_owned row;
    struct bytes bulk;
    bool nil;
    if (!jobs_bulk(reply, &bulk, &nil) || !job_owned_get(bulk, &row)) {
        o->node->jobs->look = true; /* asked again */
        owned_free(o);
    } else if (!owned_take(o, &row)) {
        node_log(o->node,
                 "job %016" PRIx64 " is left alone: its rows are damaged, or of another version",
                 o->id);
    } else if (o->machine.snapshot) {
        ranges_ask(o, o->machine.snapshot, ranges_came);
    } else {
        owned_begin(o);
    }
}

static void own(struct node *n, uint64_t id)
{
    struct owned *o = mem_zalloc(sizeof *o);
    o->node = n;
    o->id = id;
    list_push(&n->jobs->owned, &o->link);
    jobs_ask_numbers(n, "synod|job", "OWN", &id, 1, (struct bytes){0}, own_answered, o);
}

static void live_job(struct node *n, struct bytes row)
{
    struct reader r = reader_of(row);
    uint64_t id = reader_u64(&r);
    bool cancelled = reader_u8(&r);
    struct owned *o = owned_find(n, id);
    if (r.bad) return;
    if (!o) own(n, id);
    if (!o || !cancelled || o->cancelled) return;
    if (!o->begun) {
        n->jobs->look = true; /* again, once it has */
        return;
    }
    o->cancelled = true;
    owned_log(o, "somebody asked to cancel it");
    owned_step(o, (struct job_event){.type = JOB_EV_CANCEL});
}

static void live_came(void *ctx, struct bytes reply)
{
    struct node *n = ctx;
    int64_t count, size;
    size_t line;
    n->jobs->looking = false;
    if (!owns(n) || !request_reply_number(reply, '*', &count, &line)) return;
    struct bytes rest = bytes_of(reply.data + line, reply.size - line);
    n->jobs->listed = true;
    while (request_reply_number(rest, '$', &size, &line) && size >= 0) {
        live_job(n, bytes_of(rest.data + line, (size_t)size));
        rest = bytes_of(rest.data + line + size + 2, rest.size - line - (size_t)size - 2);
    }
}

/* Snapshots that owners made who did not live to write it down, or whose job was forgotten. */
static void orphans_came(void *ctx, struct bytes reply)
{
    struct node *n = ctx;
    struct bytes cuts;
    bool nil;
    if (!jobs_bulk(reply, &cuts, &nil)) return;
    for (struct reader r = reader_of(cuts); reader_left(&r) >= 8;) jobs_drop_cut(n, reader_u64(&r));
}

static void look_for_orphans(struct node *n)
{
    if (n->now < n->jobs->orphans_at) return;
    n->jobs->orphans_at = n->now + LOOK_EVERY;
    jobs_ask(n, "synod|snapshot-read", &BYTES("ORPHANS"), 1, orphans_came, n);
}

void jobs_look(struct node *n)
{
    n->jobs->look = true;
}

void jobs_look_now(struct node *n)
{
    struct jobs *j = n->jobs;
    if (!owns(n) || j->era != n->group[0]->era) return; /* the slow turn begins an ownership */
    if (j->looking || (!j->look && n->now < j->look_at)) return;
    j->look = false;
    j->looking = true;
    j->look_at = n->now + LOOK_EVERY;
    jobs_ask(n, "synod|job-read", &BYTES("LIVE"), 1, live_came, n);
}

/* ---- what nodes report ---- */

static void report_event(struct owned *o, uint16_t from, const struct job_msg *m)
{
    struct job_event ev = {.task = m->task,
                           .attempt = {m->epoch, m->number},
                           .records = m->records,
                           .bytes = m->bytes,
                           .text = m->text,
                           .input = m->input,
                           .winner = m->winner};
    static const uint8_t type[] = {
        [JOB_REPORT_RUNS] = JOB_EV_PROGRESS,      [JOB_REPORT_DONE] = JOB_EV_TASK_DONE,
        [JOB_REPORT_FAILED] = JOB_EV_TASK_FAILED, [JOB_REPORT_UNFIT] = JOB_EV_TASK_UNFIT,
        [JOB_REPORT_LOST] = JOB_EV_INPUT_LOST,
    };
    ev.type = type[m->status];
    if (m->status == JOB_REPORT_FAILED || m->status == JOB_REPORT_UNFIT)
        owned_log(o, "%s %u, attempt %u on node %u: %.*s",
                  m->task < o->machine.maps ? "map" : "reduce",
                  m->task < o->machine.maps ? m->task : m->task - o->machine.maps, m->number, from,
                  (int)m->text.size, (const char *)m->text.data);
    owned_step(o, ev);
}

void jobs_on_report(struct node *n, uint16_t from, const struct job_msg *m)
{
    struct owned *o = owns(n) ? owned_find(n, m->job) : NULL;
    if (!o && owns(n) && n->jobs->listed) { /* it is over; that DROP did not arrive */
        (void)job_send(n, from,
                       &(struct job_msg){.type = JOB_MSG_DROP, .job = m->job, .epoch = m->epoch});
        return;
    }
    if (!o || !o->begun) return; /* it comes again */
    if (m->status != JOB_REPORT_RUNS)
        (void)job_send(n, from,
                       &(struct job_msg){.type = JOB_MSG_KNOWN,
                                         .job = m->job,
                                         .epoch = m->epoch,
                                         .task = m->task,
                                         .number = m->number});
    if (m->epoch == o->machine.epoch || MUTANT(MUTANT_JOB_ANY_ATTEMPT)) report_event(o, from, m);
}

/* ---- the turn ---- */

/* Nothing was heard of an attempt: its START may be lost, or its node does not answer. */
static void resend(struct owned *o)
{
    const struct job *j = &o->machine;
    int64_t now_ms = (int64_t)(o->node->now / MS);
    if (o->node->now < o->resend_at) return;
    o->resend_at = o->node->now + RESEND_AFTER * MS;
    for (uint32_t i = 0; i < j->maps + j->reduces; i++)
        for (int r = 0; r < JOB_RUNS_MAX; r++) {
            const struct job_run *run = &j->task[i].run[r];
            if (run->live && now_ms - run->heard_ms >= RESEND_AFTER)
                owned_start(o, i, run->number, run->node);
        }
}

static void owned_slow(struct owned *o, bool fence)
{
    if (o->ranges_at && o->node->now >= o->ranges_at) {
        o->ranges_at = 0;
        ranges_ask(o, o->machine.snapshot, ranges_came);
    }
    if (!o->begun) return;
    if (fence) owned_fence(o);
    resend(o);
    tell(o);
    owned_look_at_nodes(o);
    if (o->node->now < o->tick_at) return;
    o->tick_at = o->node->now + TICK_EVERY;
    owned_step(o, (struct job_event){.type = JOB_EV_TICK});
}

void jobs_slow(struct node *n)
{
    struct jobs *j = n->jobs;
    struct list *next;
    job_calls_slow(n);
    if (!owns(n) || j->era != n->group[0]->era) {
        disown_all(n);
        j->look = true;
        j->listed = false;
        j->era = n->group_count ? n->group[0]->era : 0;
        if (!owns(n)) return;
    }
    for (uint16_t id = 1; id <= NODE_NODES_MAX; id++) look_at_node(n, id, &j->seen[id]);
    jobs_look_now(n);
    look_for_orphans(n);
    bool fence = n->now >= j->fence_at;
    if (fence) j->fence_at = n->now + FENCE_EVERY;
    for (struct list *l = j->owned.next; l != &j->owned; l = next) {
        struct owned *o = LIST_OF(l, struct owned, link);
        next = l->next;
        if (o->over) {
            j->look = true; /* another owner may have ended it, or lost it again */
            owned_free(o);
        } else {
            owned_slow(o, fence);
        }
    }
}
