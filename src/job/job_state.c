#include "job/job_internal.h"
#include "base/assert.h"
#include "base/mutant.h"

void job_emit(struct job_turn *t, struct job_effect fx)
{
    t->sink(t->ctx, &fx);
}

void job_init(struct job *j, const struct job_options *o, struct job_task *task, uint32_t task_room,
              struct job_node *node, uint32_t node_room)
{
    *j = (struct job){.task = task,
                      .task_room = task_room,
                      .node = node,
                      .node_room = node_room,
                      .epoch = o->epoch,
                      .submitted_ms = o->submitted_ms,
                      .limit_ms = o->limit_ms,
                      .reduces = o->reduces,
                      .needs_cut = o->task_count == 0};
    ASSERT(o->reduces && o->epoch && job_set_maps(j, o->task_count));
}

bool job_set_maps(struct job *j, uint32_t count)
{
    uint64_t all = (uint64_t)count + j->reduces;
    if (all > j->task_room || all > JOB_TASKS_MAX) return false;
    j->maps = count;
    memset(j->task, 0, all * sizeof *j->task);
    return true;
}

void job_hold(struct job *j, uint32_t task, const uint32_t *node, uint32_t count)
{
    ASSERT(task < j->maps + j->reduces);
    struct job_task *t = &j->task[task];
    t->holder_count = (uint8_t)(count < JOB_HOLDERS_MAX ? count : JOB_HOLDERS_MAX);
    memcpy(t->holder, node, t->holder_count * sizeof *node);
}

static uint32_t tasks(const struct job *j)
{
    return j->maps + j->reduces;
}

static void recount(struct job *j)
{
    j->maps_done = j->reduces_done = 0;
    for (uint32_t i = 0; i < tasks(j); i++)
        if (j->task[i].state == JOB_TASK_DONE)
            (*(job_is_map(j, i) ? &j->maps_done : &j->reduces_done))++;
}

/* All of a range are done, or will be by the next record. */
static bool all_in(const struct job *j, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++)
        if (j->task[i].state < JOB_TASK_REPORTED) return false;
    return true;
}

static void kill_runs(struct job_turn *t, uint32_t i)
{
    for (int r = 0; r < JOB_RUNS_MAX; r++)
        if (t->j->task[i].run[r].live) job_run_kill(t, i, r);
}

static void kill_all(struct job_turn *t)
{
    for (uint32_t i = 0; i < tasks(t->j); i++) kill_runs(t, i);
}

static void end(struct job_turn *t, enum job_phase phase)
{
    kill_all(t);
    t->j->phase = (uint8_t)phase;
    t->j->dirty = true;
}

static void fail(struct job_turn *t, struct bytes why)
{
    struct job *j = t->j;
    if (job_ended(j) || j->publishing) return;
    j->error_size = (uint16_t)(why.size < JOB_ERROR_MAX ? why.size : JOB_ERROR_MAX);
    if (j->error_size) memcpy(j->error, why.data, j->error_size);
    end(t, JOB_FAILED);
}

static void pause(struct job *j)
{
    j->pause_ms = j->now_ms + JOB_PAUSE_MS;
}

/* While a publication is under way nobody knows yet whether there is anything left to cancel. */
static void cancel(struct job_turn *t)
{
    if (job_ended(t->j)) return;
    t->j->cancelling = true;
    if (!t->j->publishing) end(t, JOB_CANCELLED);
}

static void over(struct job_turn *t)
{
    t->j->over = true;
    job_emit(t, (struct job_effect){.type = JOB_FX_OVER});
}

/* Another owner has begun, and fences what runs here; to end it at once saves work, no more. */
static void deposed(struct job_turn *t)
{
    kill_all(t);
    over(t);
}

static void write_record(struct job_turn *t)
{
    struct job *j = t->j;
    j->dirty = false;
    j->writing = true;
    j->revision++;
    j->asked_phase = j->phase;
    job_emit(t, (struct job_effect){.type = JOB_FX_WRITE,
                                    .revision = j->revision,
                                    .base_epoch = j->base_epoch,
                                    .base_revision = j->base_revision});
}

static void publish(struct job_turn *t)
{
    t->j->publishing = true;
    t->j->republish = false;
    job_emit(t, (struct job_effect){.type = JOB_FX_PUBLISH, .revision = t->j->revision});
}

static void wait_again(struct job_task *task)
{
    if (task->state == JOB_TASK_RUNNING && !task->run[0].live && !task->run[1].live)
        task->state = JOB_TASK_WAITING;
}

/* A phase ends once its last task is reported: one record says both. */
static void advance(struct job_turn *t)
{
    struct job *j = t->j;
    if (j->phase == JOB_MAP && all_in(j, 0, j->maps)) {
        j->phase = JOB_REDUCE;
        j->took_count = 0;
        memset(j->took, 0, sizeof j->took);
        j->dirty = true;
    }
    if (j->phase == JOB_REDUCE && all_in(j, j->maps, j->reduces)) {
        kill_all(t); /* maps that ran again for a reduce that had what it needed */
        for (uint32_t i = 0; i < j->maps; i++) wait_again(&j->task[i]);
        j->phase = JOB_COMMITTING;
        j->dirty = true;
    }
}

/* What follows from a state that is on record. */
static void follow(struct job_turn *t)
{
    struct job *j = t->j;
    bool early = MUTANT(MUTANT_JOB_DROP_EARLY) && job_ended(j);
    bool behind = j->writing || j->dirty || j->written != j->revision;
    if ((behind && !early) || j->cutting) return;
    if (j->phase == JOB_CUT) {
        j->cutting = true;
        job_emit(t, (struct job_effect){.type = JOB_FX_CUT});
    } else if (j->phase == JOB_COMMITTING && (!j->publishing || j->republish)) {
        publish(t);
    } else if (job_ended(j) && !j->dropped && !j->dropping) {
        j->dropping = true;
        job_emit(t, (struct job_effect){.type = JOB_FX_DROP});
    } else if (job_ended(j) && j->dropped) {
        over(t);
    }
}

static void settle(struct job_turn *t)
{
    struct job *j = t->j;
    if (j->over) return;
    advance(t);
    if (j->now_ms >= j->pause_ms) {
        if (j->dirty && !j->writing && !j->publishing) write_record(t);
        follow(t);
    }
    job_schedule(t);
}

static void begin(struct job_turn *t)
{
    struct job *j = t->j;
    j->begun = true;
    j->began_ms = j->now_ms;
    if (job_ended(j) && j->dropped) {
        over(t);
        return;
    }
    if (MUTANT(MUTANT_JOB_NEW_CUT) && j->phase == JOB_MAP && j->snapshot) j->phase = JOB_CUT;
    if (j->phase == JOB_SUBMITTED) j->phase = j->needs_cut ? JOB_CUT : JOB_MAP;
    j->dirty = true;
    job_emit(t, (struct job_effect){.type = JOB_FX_FENCE});
}

static void cut_made(struct job_turn *t, uint64_t snapshot)
{
    struct job *j = t->j;
    j->cutting = false;
    if (j->phase != JOB_CUT) { /* ended meanwhile: the record names what DROP is to drop */
        j->snapshot = snapshot;
        j->dirty = true;
        return;
    }
    j->snapshot = snapshot;
    j->phase = JOB_MAP;
    j->dirty = true;
}

static void cut_failed(struct job_turn *t, struct bytes why)
{
    t->j->cutting = false;
    pause(t->j);
    if (t->j->phase == JOB_CUT && ++t->j->cut_failures > JOB_RETRIES) fail(t, why);
}

static void written(struct job *j, uint64_t revision, uint8_t phase)
{
    j->written = revision;
    j->written_phase = phase;
    for (uint32_t i = 0; i < tasks(j); i++)
        if (j->task[i].state == JOB_TASK_REPORTED && j->task[i].in_revision <= revision)
            j->task[i].state = JOB_TASK_DONE;
    recount(j);
}

/* The live run of the attempt that an event is of; -1: nobody's (J1). */
static int run_of(const struct job *j, const struct job_event *ev)
{
    bool other = ev->attempt.epoch != j->epoch && !MUTANT(MUTANT_JOB_ANY_ATTEMPT);
    if (ev->task >= tasks(j) || other) return -1;
    for (int r = 0; r < JOB_RUNS_MAX; r++)
        if (j->task[ev->task].run[r].live && j->task[ev->task].run[r].number == ev->attempt.number)
            return r;
    return -1;
}

static void task_failed(struct job_turn *t, uint32_t i, struct bytes why)
{
    struct job_task *task = &t->j->task[i];
    wait_again(task);
    t->j->dirty = true;
    if (++task->failures > JOB_RETRIES) fail(t, why);
}

static void attempt_failed(struct job_turn *t, uint32_t i, int r, struct bytes why)
{
    struct job_task *task = &t->j->task[i];
    task->avoid = task->run[r].node;
    job_run_end(t->j, task, r);
    task_failed(t, i, why);
}

static void task_done(struct job_turn *t, const struct job_event *ev, int r)
{
    struct job *j = t->j;
    struct job_task *task = &j->task[ev->task];
    task->winner = ev->attempt;
    task->winner_node = task->run[r].node;
    task->records = ev->records;
    task->bytes = ev->bytes;
    task->state = JOB_TASK_REPORTED;
    task->in_revision = j->revision + 1;
    job_took(j, j->now_ms - task->run[r].started_ms);
    job_run_end(j, task, r);
    if (!MUTANT(MUTANT_JOB_LOSER_LIVES)) kill_runs(t, ev->task);
    j->dirty = true;
}

#define TEXT_NO_SNAPSHOT                                                                           \
    "no node has the job's snapshot any more (nodes restarted, or it took too long); submit the "  \
    "job again"

static void task_unfit(struct job_turn *t, uint32_t i, int r)
{
    struct job_task *task = &t->j->task[i];
    uint32_t node = task->run[r].node;
    bool held = false;
    unsigned all = (1u << task->holder_count) - 1;
    for (int h = 0; h < task->holder_count; h++)
        if (task->holder[h] == node) task->unfit |= (uint8_t)(1u << h), held = true;
    if (!held || !job_is_map(t->j, i)) {
        attempt_failed(t, i, r, BYTES("a node cannot run a task that any node should"));
        return;
    }
    job_run_end(t->j, task, r);
    wait_again(task);
    t->j->dirty = true;
    if ((task->unfit & all) == all) fail(t, BYTES(TEXT_NO_SNAPSHOT));
}

/* A map task's output is gone. */
static void map_again(struct job *j, uint32_t i)
{
    j->task[i].state = JOB_TASK_WAITING;
    j->dirty = true;
}

static void input_lost(struct job_turn *t, const struct job_event *ev, int r)
{
    struct job *j = t->j;
    struct job_task *map = &j->task[ev->input];
    if (job_is_map(j, ev->task) || !job_is_map(j, ev->input)) return;
    job_run_end(j, &j->task[ev->task], r);
    wait_again(&j->task[ev->task]);
    if (map->state < JOB_TASK_REPORTED || map->winner.epoch != ev->winner.epoch ||
        map->winner.number != ev->winner.number)
        return;
    map_again(j, ev->input);
    task_failed(t, ev->input, BYTES("the output of a map task was lost again and again"));
    recount(j);
}

static void node_up(struct job *j, uint32_t id, uint16_t slots)
{
    struct job_node *n = job_node_find(j, id);
    if (!n && j->nodes < j->node_room) {
        n = &j->node[j->nodes++];
        *n = (struct job_node){.id = id};
    }
    if (n) n->slots = slots, n->up = true;
}

static void node_lost(struct job *j, uint32_t id)
{
    struct job_node *n = job_node_find(j, id);
    bool outputs = j->phase == JOB_MAP || j->phase == JOB_REDUCE;
    for (uint32_t i = 0; i < tasks(j); i++) {
        struct job_task *task = &j->task[i];
        for (int r = 0; r < JOB_RUNS_MAX; r++)
            if (task->run[r].live && task->run[r].node == id) job_run_end(j, task, r);
        wait_again(task);
        if (outputs && job_is_map(j, i) && task->state >= JOB_TASK_REPORTED &&
            task->winner_node == id)
            map_again(j, i);
    }
    recount(j);
    if (n) n->up = false;
}

/* Does it wait for nodes that are not there? */
static bool is_stranded(struct job *j, uint32_t i)
{
    const struct job_task *task = &j->task[i];
    bool waits = job_is_map(j, i) && task->holder_count && task->state == JOB_TASK_WAITING;
    for (int h = 0; waits && h < task->holder_count; h++) {
        const struct job_node *n = job_node_find(j, task->holder[h]);
        waits = (task->unfit >> h & 1) || !n || !n->up;
    }
    return waits;
}

/* A node that comes back has lost its snapshots, unless it was only cut off. */
static void look_for_stranded(struct job_turn *t)
{
    struct job *j = t->j;
    bool before = j->stranded;
    j->stranded = false;
    if (j->phase != JOB_MAP && j->phase != JOB_REDUCE) return;
    for (uint32_t i = 0; i < j->maps && !j->stranded; i++) j->stranded = is_stranded(j, i);
    if (!before) j->stranded_ms = j->now_ms;
    if (MUTANT(MUTANT_JOB_STRANDED)) return;
    if (j->stranded && j->now_ms - j->stranded_ms > JOB_STRANDED_MS)
        fail(t, BYTES(TEXT_NO_SNAPSHOT));
}

static void tick(struct job_turn *t)
{
    struct job *j = t->j;
    look_for_stranded(t);
    for (uint32_t i = 0; i < tasks(j); i++)
        for (int r = 0; r < JOB_RUNS_MAX && !job_ended(j); r++) {
            struct job_run *run = &j->task[i].run[r];
            if (!run->live || j->now_ms - run->heard_ms <= JOB_SILENT_MS) continue;
            j->task[i].avoid = run->node;
            job_run_kill(t, i, r);
            task_failed(t, i, BYTES("an attempt said nothing for 30 s: its node or worker hangs"));
        }
}

static void publish_failed(struct job_turn *t, const struct job_event *ev)
{
    struct job *j = t->j;
    j->publishing = false;
    pause(j);
    if (j->cancelling) {
        end(t, JOB_CANCELLED);
    } else if (!ev->retry || ++j->publish_failures > JOB_PUBLISH_TRIES) {
        fail(t, ev->text);
    }
}

static void published(struct job *j)
{
    if (!j->publishing) return;
    j->publishing = false;
    j->phase = JOB_DONE;
    written(j, ++j->revision, JOB_DONE);
}

static void of_attempt(struct job_turn *t, const struct job_event *ev)
{
    int r = run_of(t->j, ev);
    if (r < 0 || job_ended(t->j)) return;
    struct job_run *run = &t->j->task[ev->task].run[r];
    run->heard_ms = t->j->now_ms;
    switch (ev->type) {
    case JOB_EV_PROGRESS: run->records = ev->records, run->bytes = ev->bytes; break;
    case JOB_EV_TASK_DONE: task_done(t, ev, r); break;
    case JOB_EV_TASK_FAILED: attempt_failed(t, ev->task, r, ev->text); break;
    case JOB_EV_TASK_UNFIT: task_unfit(t, ev->task, r); break;
    case JOB_EV_INPUT_LOST: input_lost(t, ev, r); break;
    }
}

static void of_record(struct job_turn *t, const struct job_event *ev)
{
    struct job *j = t->j;
    if (!j->writing) return;
    if (ev->type == JOB_EV_WRITE_LOST) {
        j->writing = false;
        j->dirty = true;
        pause(j);
    } else if (ev->revision == j->revision) {
        j->writing = false;
        written(j, j->revision, j->asked_phase);
    }
}

static void handle(struct job_turn *t, const struct job_event *ev)
{
    struct job *j = t->j;
    switch ((enum job_event_type)ev->type) {
    case JOB_EV_BEGIN: begin(t); break;
    case JOB_EV_CUT_MADE: cut_made(t, ev->snapshot); break;
    case JOB_EV_CUT_FAILED: cut_failed(t, ev->text); break;
    case JOB_EV_WRITTEN:
    case JOB_EV_WRITE_LOST: of_record(t, ev); break;
    case JOB_EV_DEPOSED: deposed(t); break;
    case JOB_EV_PROGRESS:
    case JOB_EV_TASK_DONE:
    case JOB_EV_TASK_FAILED:
    case JOB_EV_TASK_UNFIT:
    case JOB_EV_INPUT_LOST: of_attempt(t, ev); break;
    case JOB_EV_NODE_UP: node_up(j, ev->node, ev->slots); break;
    case JOB_EV_NODE_LOST: node_lost(j, ev->node); break;
    case JOB_EV_PUBLISHED: published(j); break;
    case JOB_EV_PUBLISH_LOST:
        j->republish = j->publishing;
        pause(j);
        break;
    case JOB_EV_PUBLISH_FAILED:
        if (j->publishing) publish_failed(t, ev);
        break;
    case JOB_EV_DROPPED:
        if (j->dropping) j->dropping = false, j->dropped = true, j->dirty = true;
        break;
    case JOB_EV_DROP_FAILED:
        j->dropping = false;
        pause(j);
        break;
    case JOB_EV_CANCEL: cancel(t); break;
    case JOB_EV_TICK: tick(t); break;
    }
}

void job_step(struct job *j, const struct job_event *ev, job_sink *sink, void *ctx)
{
    struct job_turn t = {j, sink, ctx};
    if (j->over) return;
    j->now_ms = ev->now_ms;
    handle(&t, ev);
    if (!j->begun) return;
    if (j->limit_ms && j->spent_ms + j->now_ms - j->began_ms > j->limit_ms)
        fail(&t, BYTES("it took longer than its limit (LIMITS TIME)"));
    settle(&t);
    job_check(j);
}

static void check_task(const struct job *j, uint32_t i, uint32_t *live)
{
    const struct job_task *task = &j->task[i];
    bool runs = task->run[0].live || task->run[1].live;
    ASSERT(!runs || task->state == JOB_TASK_RUNNING);
    ASSERT(!runs || j->phase == JOB_MAP || j->phase == JOB_REDUCE);
    ASSERT(j->phase != JOB_COMMITTING || job_is_map(j, i) ||
           task->state >= JOB_TASK_REPORTED); /* J4 */
    ASSERT(task->state != JOB_TASK_RUNNING || runs || job_ended(j) || j->over);
    for (int r = 0; r < JOB_RUNS_MAX; r++) {
        ASSERT(!task->run[r].live || task->run[r].number <= task->started); /* J1 */
        *live += task->run[r].live;
    }
    ASSERT(!task->run[0].live || !task->run[1].live || task->run[0].node != task->run[1].node);
}

void job_check(const struct job *j)
{
    uint32_t live = 0, busy = 0;
    ASSERT(tasks(j) <= j->task_room && j->nodes <= j->node_room);
    for (uint32_t i = 0; i < tasks(j); i++) check_task(j, i, &live);
    for (uint32_t i = 0; i < j->nodes; i++) busy += j->node[i].busy;
    ASSERT(live == busy);
    ASSERT(!j->publishing ||
           (j->phase == JOB_COMMITTING && j->written_phase == JOB_COMMITTING)); /* J4 */
    ASSERT(!j->dropping || job_ended(j));                                       /* J5 */
    ASSERT(!(j->writing && j->publishing));
}
