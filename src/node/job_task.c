/* The lives of attempts on this node, and what the owner of their job says of them (task.h). */
#include "node/task.h"
#include "base/assert.h"
#include "base/mem.h"
#include "job/nursery.h"
#include "ring/slot.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- what is known ---- */

static struct task_job *job_find(struct tasks *t, uint64_t job)
{
    for (struct list *l = t->jobs.next; l != &t->jobs; l = l->next) {
        struct task_job *j = LIST_OF(l, struct task_job, link);
        if (j->job == job) return j;
    }
    return NULL;
}

static struct task_attempt *find_in(struct task_job *j, uint64_t epoch, uint32_t task,
                                    uint32_t number)
{
    for (struct list *l = j ? j->attempts.next : NULL; l && l != &j->attempts; l = l->next) {
        struct task_attempt *a = LIST_OF(l, struct task_attempt, link);
        if (a->epoch == epoch && a->task == task && a->number == number) return a;
    }
    return NULL;
}

struct task_attempt *attempt_find(struct node *n, uint64_t job, uint64_t epoch, uint32_t task,
                                  uint32_t number)
{
    return n->tasks ? find_in(job_find(n->tasks, job), epoch, task, number) : NULL;
}

/* ---- reports ---- */

static uint8_t report_status(const struct task_attempt *a)
{
    return a->state == TASK_ENDED ? a->status : JOB_REPORT_RUNS;
}

static void report(struct task_attempt *a)
{
    struct node *n = a->node;
    struct job_msg m = {.type = JOB_MSG_REPORT,
                        .job = a->id,
                        .epoch = a->epoch,
                        .task = a->task,
                        .number = a->number,
                        .status = report_status(a),
                        .records = a->records,
                        .bytes = a->bytes,
                        .input = a->lost,
                        .winner = a->winner};
    if (a->text) m.text = bytes_str(a->text);
    a->report_at = n->now + TASK_REPORT_EVERY;
    (void)job_send(n, a->owner, &m);
}

/* START cannot be followed, and nothing is kept of it. */
static void refuse(struct node *n, uint16_t to, const struct job_msg *start, const char *text)
{
    struct job_msg m = {.type = JOB_MSG_REPORT,
                        .job = start->job,
                        .epoch = start->epoch,
                        .task = start->task,
                        .number = start->number,
                        .status = JOB_REPORT_FAILED,
                        .text = bytes_str(text)};
    (void)job_send(n, to, &m);
}

/* ---- lives ---- */

static bool has_slot(const struct task_attempt *a)
{
    return a->state == TASK_OPENS || a->state == TASK_RUNS || a->state == TASK_STAGES;
}

static void enter(struct task_attempt *a, enum task_state state)
{
    struct tasks *t = a->node->tasks;
    ASSERT(state > a->state || a->state == TASK_OPENS);
    t->running -= has_slot(a);
    a->state = (uint8_t)state;
    t->running += has_slot(a);
    list_remove(&a->queue);
}

/* What only one that computes needs; nobody works. */
static void let_go_of_inputs(struct task_attempt *a)
{
    if (a->stream) snapshot_close(a->stream);
    a->stream = NULL;
    fetch_free(a);
    buf_deinit(&a->records_read);
    buf_deinit(&a->key);
    buf_deinit(&a->pairs);
    a->node->tasks->held_bytes -= a->inputs.size + a->spec_bytes.size;
    buf_deinit(&a->inputs);
    buf_deinit(&a->spec_bytes);
}

static void let_go_of_output(struct task_attempt *a)
{
    job_output_release(a->output);
    a->output = NULL;
}

static void attempt_free(struct task_attempt *a)
{
    ASSERT(!a->engine || a->node->dead);
    task_engine_free(a->engine);
    a->engine = NULL;
    let_go_of_inputs(a);
    let_go_of_output(a);
    list_remove(&a->link);
    list_remove(&a->queue);
    mem_free(a->text);
    mem_free(a);
}

/* Nothing of it may be freed on the reactor that could take long: a process is reaped elsewhere. */
static void free_when_idle(struct task_attempt *a)
{
    if (a->working || a->opening) return;
    if (a->engine)
        attempt_step(a, attempt_close);
    else
        attempt_free(a);
}

static void count_known(struct task_attempt *a, int by)
{
    a->node->tasks->known += (uint32_t)by;
}

/* Out of its job. */
static void give_up(struct task_attempt *a)
{
    struct tasks *t = a->node->tasks;
    if (a->state == TASK_OVER)
        t->over_count--;
    else
        count_known(a, -1);
    enter(a, TASK_GONE);
    a->job = NULL;
    list_remove(&a->link);
    list_push(&t->gone, &a->link);
    free_when_idle(a);
}

/* A name, so that it is not begun again. */
static void remember(struct task_job *j, struct node *n, uint64_t epoch, uint32_t task,
                     uint32_t number)
{
    struct tasks *t = n->tasks;
    struct task_attempt *a = mem_zalloc(sizeof *a);
    *a = (struct task_attempt){.node = n,
                               .job = j,
                               .id = j->job,
                               .epoch = epoch,
                               .task = task,
                               .number = number,
                               .state = TASK_OVER};
    list_push(&j->attempts, &a->link);
    list_push(&t->over, &a->queue);
    if (++t->over_count > TASK_ATTEMPTS_MAX)
        give_up(LIST_OF(t->over.next, struct task_attempt, queue));
}

void attempt_forget(struct task_attempt *a)
{
    struct task_job *j = a->job;
    uint64_t epoch = a->epoch;
    uint32_t task = a->task, number = a->number;
    struct node *n = a->node;
    if (a->state == TASK_OVER) return;
    give_up(a);
    remember(j, n, epoch, task, number);
}

/* Nobody works for it any more, and it has ended. */
static void settle(struct task_attempt *a)
{
    if (a->engine) { /* it is freed elsewhere, and it borrows */
        attempt_step(a, attempt_close);
        return;
    }
    let_go_of_inputs(a);
    if (a->status != JOB_REPORT_DONE || attempt_reduces(a)) let_go_of_output(a);
}

void attempt_end(struct task_attempt *a, uint8_t status)
{
    a->status = status;
    a->ending = a->working;
    if (a->working) return;
    enter(a, TASK_ENDED);
    report(a);
    settle(a);
}

void attempt_fail(struct task_attempt *a, uint8_t status, const char *format, ...)
{
    char text[JOB_TEXT_MAX + 1];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    mem_free(a->text);
    a->text = mem_strdup(text);
    attempt_end(a, status);
}

/* ---- slots ---- */

static void open_later(struct task_attempt *a);

static void opened(void *ctx, struct snapshot_stream *s, const char *error)
{
    struct task_attempt *a = ctx;
    struct node *n = a->node;
    a->opening = false;
    a->stream = s;
    if (n->dead) return;
    if (a->state == TASK_GONE) {
        free_when_idle(a);
    } else if (s) {
        enter(a, TASK_RUNS);
        attempt_next(a);
    } else if (strncmp(error, "NOSNAPSHOT ", 11) == 0) {
        attempt_fail(a, JOB_REPORT_UNFIT, "%s", error + 11);
    } else if (n->now - a->began_at > TASK_OPEN_MAX) {
        attempt_fail(a, JOB_REPORT_FAILED, "the snapshot cannot be read: %s", error);
    } else {
        open_later(a);
    }
}

static void open_later(struct task_attempt *a)
{
    a->retry_at = a->node->now + TASK_AGAIN;
}

static void open_now(struct task_attempt *a)
{
    a->opening = true;
    a->retry_at = UINT64_MAX;
    snapshot_open(a->node, a->snapshot, a->slot_lo, a->slot_hi, opened, a);
}

static size_t output_memory(const struct tasks *t)
{
    size_t bytes = 0;
    for (const struct list *j = t->jobs.next; j != &t->jobs; j = j->next) {
        const struct list *of = &LIST_OF(j, struct task_job, link)->attempts;
        for (const struct list *l = of->next; l != of; l = l->next) {
            const struct task_attempt *a = LIST_OF(l, struct task_attempt, link);
            if (a->output && a->state == TASK_ENDED) bytes += job_output_memory(a->output);
        }
    }
    return bytes;
}

/* It has a slot. */
static void begin(struct task_attempt *a)
{
    struct node *n = a->node;
    bool reduces = attempt_reduces(a), reads = !reduces && a->slot_hi;
    size_t kept = output_memory(n->tasks);
    a->output = job_output_new(
        &(struct job_output_options){.dir = n->config.job_dir,
                                     .partitions = reduces ? 1 : a->reduces,
                                     .memory_max = kept < TASK_MEMORY_MAX ? TASK_OUTPUT_MEMORY : 0,
                                     .bytes_max = a->spec.limits.spill});
    a->began_at = n->now;
    enter(a, reads ? TASK_OPENS : TASK_RUNS);
    if (reads)
        open_now(a);
    else
        attempt_next(a);
}

static void fill_slots(struct node *n)
{
    struct tasks *t = n->tasks;
    while (t->running < tasks_slots(n) && !list_empty(&t->waiting))
        begin(LIST_OF(t->waiting.next, struct task_attempt, queue));
}

/* ---- going on ---- */

static void step_failed(struct task_attempt *a)
{
    attempt_fail(a, JOB_REPORT_FAILED, "%s", a->why);
}

static void next_of_map(struct task_attempt *a)
{
    if (a->engine_state == TASK_ENGINE_DONE)
        attempt_end(a, JOB_REPORT_DONE);
    else
        attempt_step(a, attempt_run_map);
}

static void next_of_reduce(struct task_attempt *a)
{
    if (a->engine_state == TASK_ENGINE_DONE) {
        a->bytes = 0;
        enter(a, TASK_STAGES);
        attempt_step(a, attempt_read_staged);
        return;
    }
    fetch_go_on(a);
    if (a->state != TASK_RUNS) return; /* a map's output is lost */
    if (!a->engine || a->more || a->no_more_maps) attempt_step(a, attempt_run_reduce);
}

void attempt_next(struct task_attempt *a)
{
    if (a->working) return;
    if (a->ending && has_slot(a))
        attempt_end(a, a->status);
    else if (a->failed && has_slot(a))
        step_failed(a);
    else if (a->state == TASK_RUNS && attempt_reduces(a))
        next_of_reduce(a);
    else if (a->state == TASK_RUNS)
        next_of_map(a);
    else if (a->state == TASK_STAGES && !a->asking)
        stage_next(a);
    else if (a->state == TASK_ENDED)
        settle(a);
    else if (a->state == TASK_GONE)
        free_when_idle(a);
}

/* ---- messages ---- */

static struct task_job *job_of(struct node *n, const struct job_msg *m)
{
    struct tasks *t = n->tasks;
    struct task_job *j = job_find(t, m->job);
    if (j || t->job_count >= TASK_JOBS_MAX) return j;
    j = mem_zalloc(sizeof *j);
    *j = (struct task_job){.job = m->job, .epoch = m->epoch};
    list_init(&j->attempts);
    list_push(&t->jobs, &j->link);
    t->job_count++;
    return j;
}

static void end_attempts(struct task_job *j, bool all)
{
    struct list *next;
    for (struct list *l = j->attempts.next; l != &j->attempts; l = next) {
        struct task_attempt *a = LIST_OF(l, struct task_attempt, link);
        next = l->next;
        bool stays = !attempt_reduces(a) && a->state == TASK_ENDED && a->status == JOB_REPORT_DONE;
        if (all || (a->epoch < j->epoch && !stays)) give_up(a);
    }
}

/* The owner of this epoch speaks. False: it is not the last one that was heard of, or the job is
 * over. */
static bool heard(struct node *n, struct task_job *j, uint16_t from, uint64_t epoch)
{
    if (epoch < j->epoch || (j->dropped && epoch == j->epoch)) return false;
    if (epoch > j->epoch) {
        j->epoch = epoch;
        j->dropped = false;
        end_attempts(j, false);
    }
    j->owner = from;
    j->heard_at = n->now;
    return true;
}

static bool is_sound(const struct job_msg *m, const struct job_spec *s)
{
    bool map = m->task < m->maps;
    bool reads = map && m->slot_hi;
    if (m->reduces < 1 || m->reduces > JOB_PARTITIONS_MAX || !m->maps) return false;
    if (m->inputs.size != (map ? 0 : (size_t)m->maps * JOB_INPUT)) return false;
    if (map && (s->kind == JOB_KIND_TASKS) == reads) return false;
    return !reads || (m->slot_lo < m->slot_hi && m->slot_hi <= SLOT_COUNT);
}

static struct task_attempt *attempt_new(struct node *n, struct task_job *j, const struct job_msg *m)
{
    struct task_attempt *a = mem_zalloc(sizeof *a);
    *a = (struct task_attempt){.node = n,
                               .job = j,
                               .id = m->job,
                               .epoch = m->epoch,
                               .task = m->task,
                               .number = m->number,
                               .maps = m->maps,
                               .reduces = m->reduces,
                               .snapshot = m->snapshot,
                               .slot_lo = m->slot_lo,
                               .slot_hi = m->slot_hi,
                               .retry_at = UINT64_MAX,
                               .spec_bytes = buf_copy(m->spec),
                               .inputs = buf_copy(m->inputs)};
    list_init(&a->queue);
    list_push(&j->attempts, &a->link);
    count_known(a, 1);
    n->tasks->held_bytes += a->inputs.size + a->spec_bytes.size;
    return a;
}

static void start(struct node *n, uint16_t from, const struct job_msg *m)
{
    struct tasks *t = n->tasks;
    struct task_job *j = job_of(n, m);
    struct job_spec spec;
    if (j && !heard(n, j, from, m->epoch)) return;
    struct task_attempt *a = find_in(j, m->epoch, m->task, m->number);
    if (a) {
        a->owner = from;
        if (a->state != TASK_OVER) report(a);
    } else if (!tasks_slots(n)) {
        refuse(n, from, m, "this node runs no tasks of jobs");
    } else if (n->log_full) {
        refuse(n, from, m, "the disk of this node is nearly full");
    } else if (!j || t->known >= TASK_ATTEMPTS_MAX || t->held_bytes > TASK_HELD_MAX) {
        refuse(n, from, m, "this node has as many attempts of tasks as it can keep");
    } else if (!job_spec_decode(m->spec, &spec) || !is_sound(m, &spec)) {
        refuse(n, from, m, "the task came damaged, or from another version");
    } else {
        a = attempt_new(n, j, m);
        a->owner = from;
        (void)job_spec_decode(buf_bytes(&a->spec_bytes), &a->spec);
        list_push(&t->waiting, &a->queue);
        fill_slots(n);
        if (a->state < TASK_ENDED) report(a);
    }
}

/* A START of it that is still on its way comes too late. */
static void kill_one(struct node *n, const struct job_msg *m)
{
    struct task_job *j = job_find(n->tasks, m->job);
    struct task_attempt *a = find_in(j, m->epoch, m->task, m->number);
    if (a)
        attempt_forget(a);
    else if (j && !j->dropped)
        remember(j, n, m->epoch, m->task, m->number);
}

static void drop(struct node *n, const struct job_msg *m)
{
    struct task_job *j = job_of(n, m);
    if (!j || m->epoch < j->epoch) return;
    j->epoch = m->epoch;
    j->dropped = true;
    j->heard_at = n->now;
    end_attempts(j, true);
}

static void known(struct node *n, const struct job_msg *m)
{
    struct task_attempt *a = attempt_find(n, m->job, m->epoch, m->task, m->number);
    if (!a || a->state != TASK_ENDED) return;
    a->known = true;
    if (attempt_reduces(a) || a->status != JOB_REPORT_DONE) attempt_forget(a);
}

static void piece_came(struct node *n, uint16_t from, const struct job_msg *m)
{
    struct task_job *j = job_find(n->tasks, m->job);
    struct list *next;
    for (struct list *l = j ? j->attempts.next : NULL; l && l != &j->attempts; l = next) {
        struct task_attempt *a = LIST_OF(l, struct task_attempt, link);
        next = l->next;
        if (a->state == TASK_RUNS && attempt_reduces(a)) fetch_on_piece(a, from, m);
    }
}

void tasks_on_message(struct node *n, uint16_t from, const struct job_msg *m)
{
    struct task_job *j;
    if (!n->tasks || !n->taking_part) return;
    switch (m->type) {
    case JOB_MSG_START: start(n, from, m); break;
    case JOB_MSG_KILL: kill_one(n, m); break;
    case JOB_MSG_FENCE:
        j = job_find(n->tasks, m->job);
        if (j) (void)heard(n, j, from, m->epoch);
        break;
    case JOB_MSG_DROP: drop(n, m); break;
    case JOB_MSG_KNOWN: known(n, m); break;
    case JOB_MSG_FETCH: output_on_fetch(n, from, m); break;
    case JOB_MSG_PIECE: piece_came(n, from, m); break;
    }
    fill_slots(n);
}

/* ---- the node's ---- */

void tasks_init(struct node *n)
{
    struct tasks *t = n->tasks = mem_zalloc(sizeof *t);
    if (n->config.job_program) t->nursery = nursery_new(n->config.job_program);
    struct list *all[] = {&t->jobs, &t->waiting, &t->over, &t->gone, &t->sends};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) list_init(all[i]);
}

static void free_all(struct list *attempts)
{
    while (!list_empty(attempts)) attempt_free(LIST_OF(attempts->next, struct task_attempt, link));
}

void tasks_free(struct node *n)
{
    struct tasks *t = n->tasks;
    ASSERT(n->dead);
    if (!t) return;
    while (!list_empty(&t->jobs)) {
        struct task_job *j = LIST_OF(list_pop(&t->jobs), struct task_job, link);
        free_all(&j->attempts);
        mem_free(j);
    }
    free_all(&t->gone);
    outputs_free(n);
    nursery_free(t->nursery);
    mem_free(t);
    n->tasks = NULL;
}

static void attempt_slow(struct task_attempt *a)
{
    struct node *n = a->node;
    if (a->state == TASK_OPENS && !a->opening && n->now >= a->retry_at) open_now(a);
    if (a->state == TASK_RUNS && attempt_reduces(a)) {
        fetch_slow(a);
        if (!a->working && n->tasks->nursery) a->more = true; /* it may have said something */
    }
    if (a->state == TASK_RUNS || (a->state == TASK_STAGES && n->now >= a->retry_at))
        attempt_next(a);
    bool tells = a->state < TASK_ENDED || (a->state == TASK_ENDED && !a->known);
    if (tells && n->now >= a->report_at) report(a);
}

static void job_slow(struct tasks *t, struct task_job *j, uint64_t now)
{
    struct list *next;
    if (now - j->heard_at > TASK_FORGET) {
        end_attempts(j, true);
        list_remove(&j->link);
        t->job_count--;
        mem_free(j);
        return;
    }
    for (struct list *l = j->attempts.next; l != &j->attempts; l = next) {
        next = l->next;
        attempt_slow(LIST_OF(l, struct task_attempt, link));
    }
}

void tasks_slow(struct node *n)
{
    struct list *next;
    if (!n->taking_part) return;
    for (struct list *l = n->tasks->jobs.next; l != &n->tasks->jobs; l = next) {
        next = l->next;
        job_slow(n->tasks, LIST_OF(l, struct task_job, link), n->now);
    }
    fill_slots(n);
}

uint32_t tasks_slots(const struct node *n)
{
    return n->identity.witness ? 0 : n->config.job_slots;
}

struct tasks_load tasks_load(const struct node *n)
{
    struct tasks_load load = {.running = n->tasks->running};
    for (const struct list *l = n->tasks->waiting.next; l != &n->tasks->waiting; l = l->next)
        load.waiting++;
    for (const struct list *j = n->tasks->jobs.next; j != &n->tasks->jobs; j = j->next) {
        const struct list *of = &LIST_OF(j, struct task_job, link)->attempts;
        for (const struct list *l = of->next; l != of; l = l->next) {
            const struct task_attempt *a = LIST_OF(l, struct task_attempt, link);
            if (a->output && a->state == TASK_ENDED)
                load.output_bytes += job_output_bytes(a->output);
        }
    }
    return load;
}
