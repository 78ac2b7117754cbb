/* Which task runs where: data first, then the freest node; and a second attempt for a task that
 * lags (PROTOCOLS.md 5). */
#include "base/assert.h"
#include "base/mutant.h"
#include "job/job_internal.h"

struct job_node *job_node_find(struct job *j, uint32_t id)
{
    for (uint32_t i = 0; i < j->nodes; i++)
        if (j->node[i].id == id) return &j->node[i];
    return NULL;
}

void job_run_end(struct job *j, struct job_task *task, int r)
{
    struct job_node *n = job_node_find(j, task->run[r].node);
    ASSERT(task->run[r].live && n);
    if (n->busy) n->busy--;
    task->run[r].live = false;
}

void job_run_kill(struct job_turn *t, uint32_t task, int r)
{
    struct job_run *run = &t->j->task[task].run[r];
    job_emit(t, (struct job_effect){.type = JOB_FX_KILL,
                                    .task = task,
                                    .node = run->node,
                                    .attempt = {t->j->epoch, run->number}});
    job_run_end(t->j, &t->j->task[task], r);
}

/* Eight buckets to an octave of milliseconds: within an eighth of the truth. */
static uint32_t took_bucket(int64_t ms)
{
    uint64_t v = ms < 8 ? 8 : (uint64_t)ms;
    uint32_t octave = 63 - (uint32_t)__builtin_clzll(v);
    uint32_t b = (octave - 3) * 8 + (uint32_t)(v >> (octave - 3) & 7);
    return b > 255 ? 255 : b;
}

void job_took(struct job *j, int64_t ms)
{
    j->took[took_bucket(ms)]++;
    j->took_count++;
}

/* The upper edge of the bucket of the median; at least 8 ms. */
static int64_t median_ms(const struct job *j)
{
    uint32_t seen = 0, b = 0;
    for (; b < 255; b++)
        if ((seen += j->took[b]) * 2 >= j->took_count) break;
    return (int64_t)(9 + b % 8) << (b / 8);
}

static bool has_room(const struct job_node *n)
{
    return n && n->up && n->busy < n->slots;
}

static bool runs_on(const struct job_task *task, uint32_t node)
{
    for (int r = 0; r < JOB_RUNS_MAX; r++)
        if (task->run[r].live && task->run[r].node == node) return true;
    return false;
}

static bool fits(const struct job_task *task, const struct job_node *n, uint32_t avoid)
{
    return has_room(n) && n->id != avoid && !runs_on(task, n->id);
}

static struct job_node *freer(struct job_node *a, struct job_node *b)
{
    if (!a) return b;
    return b->slots - b->busy > a->slots - a->busy ? b : a;
}

/* The freest follower; the leader of the range only if no follower has room. */
static struct job_node *pick_holder(struct job *j, const struct job_task *task, uint32_t avoid)
{
    struct job_node *best = NULL;
    for (int i = 0; i < task->holder_count; i++) {
        struct job_node *n = job_node_find(j, task->holder[i]);
        bool last = i == task->holder_count - 1;
        if (task->unfit >> i & 1 || !fits(task, n, avoid)) continue;
        if (!last || !best) best = freer(best, n);
    }
    return best;
}

static struct job_node *pick_but(struct job *j, uint32_t task, uint32_t avoid)
{
    const struct job_task *t = &j->task[task];
    struct job_node *best = pick_holder(j, t, avoid);
    if (best || (job_is_map(j, task) && t->holder_count)) return best;
    for (uint32_t i = 0; i < j->nodes; i++)
        if (fits(t, &j->node[i], avoid)) best = freer(best, &j->node[i]);
    return best;
}

static bool holds(const struct job_task *task, uint32_t node)
{
    for (int i = 0; i < task->holder_count; i++)
        if (task->holder[i] == node) return !(task->unfit >> i & 1);
    return false;
}

/* Somebody else can run it, now or when it has room. */
static bool has_place(const struct job *j, uint32_t task, uint32_t avoid)
{
    const struct job_task *t = &j->task[task];
    bool anywhere = !job_is_map(j, task) || !t->holder_count;
    for (uint32_t i = 0; i < j->nodes; i++) {
        const struct job_node *n = &j->node[i];
        if (n->up && n->slots && n->id != avoid && (anywhere || holds(t, n->id))) return true;
    }
    return false;
}

/* Not where it failed last, if there is another place, even one that has no room yet: a sick node,
 * on which all fails at once, is a free one. */
static struct job_node *pick(struct job *j, uint32_t task)
{
    uint32_t avoid = j->task[task].avoid;
    struct job_node *n = pick_but(j, task, avoid);
    return n || !avoid || has_place(j, task, avoid) ? n : pick_but(j, task, 0);
}

static bool start(struct job_turn *t, uint32_t index)
{
    struct job_task *task = &t->j->task[index];
    struct job_node *n = pick(t->j, index);
    int r = task->run[0].live ? 1 : 0;
    if (!n || task->run[r].live) return false;
    task->run[r] = (struct job_run){.live = true,
                                    .number = ++task->started,
                                    .node = n->id,
                                    .started_ms = t->j->now_ms,
                                    .heard_ms = t->j->now_ms};
    task->state = JOB_TASK_RUNNING;
    n->busy++;
    job_emit(t, (struct job_effect){.type = JOB_FX_START,
                                    .task = index,
                                    .node = n->id,
                                    .attempt = {t->j->epoch, task->started}});
    return true;
}

static bool lags(const struct job *j, const struct job_task *task, int64_t bound_ms)
{
    if (task->state != JOB_TASK_RUNNING || task->run[0].live == task->run[1].live) return false;
    const struct job_run *run = &task->run[task->run[0].live ? 0 : 1];
    return j->now_ms - run->started_ms > bound_ms;
}

static void speculate(struct job_turn *t, uint32_t first, uint32_t count, uint32_t done)
{
    struct job *j = t->j;
    if ((uint64_t)done * 100 <= (uint64_t)count * JOB_SPECULATE_PCT || !j->took_count) return;
    int64_t bound = median_ms(j) * JOB_SPECULATE_MULT;
    if (bound < JOB_SPECULATE_MS) bound = JOB_SPECULATE_MS;
    for (uint32_t i = first; i < first + count; i++)
        if (lags(j, &j->task[i], bound)) start(t, i);
}

static uint32_t room(const struct job *j)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < j->nodes; i++)
        if (has_room(&j->node[i])) n += (uint32_t)(j->node[i].slots - j->node[i].busy);
    return n;
}

static void schedule_range(struct job_turn *t, uint32_t first, uint32_t count, uint32_t done)
{
    uint32_t left = room(t->j);
    for (uint32_t i = first; i < first + count && left; i++)
        if (t->j->task[i].state == JOB_TASK_WAITING && start(t, i)) left--;
    if (left) speculate(t, first, count, done);
}

/* Map tasks run in REDUCE too: those whose output was lost. A reduce starts once all are there, in
 * a written record (J3). */
void job_schedule(struct job_turn *t)
{
    struct job *j = t->j;
    if (j->over || (j->phase != JOB_MAP && j->phase != JOB_REDUCE)) return;
    if (j->written_phase < JOB_MAP) return;
    if (j->maps_done < j->maps) schedule_range(t, 0, j->maps, j->maps_done);
    bool known = j->written_phase == JOB_REDUCE && j->maps_done == j->maps;
    if (j->phase == JOB_REDUCE && (known || MUTANT(MUTANT_JOB_REDUCE_EARLY)))
        schedule_range(t, j->maps, j->reduces, j->reduces_done);
}
