#include "job_world.h"
#include "test.h"
#include "base/mem.h"

static uint32_t below(struct world *w, uint32_t n)
{
    return (uint32_t)prng_below(&w->random, n);
}
static bool chance(struct world *w, uint32_t percent)
{
    return below(w, 100) < percent;
}

static void step(struct world *w, uint32_t o, struct job_event ev);

/* J3: what a reduce is told of its inputs is on record. */
static void note_inputs(struct world *w, struct world_owner *o, struct world_attempt *a)
{
    static struct job_task task[WORLD_TASKS];
    struct job on_record;
    struct job_options options = {.epoch = UINT64_MAX, .reduces = w->reduces};
    job_init(&on_record, &options, task, WORLD_TASKS, NULL, 0);
    assert_true(job_record_decode(&on_record, buf_bytes(&w->home)));
    for (uint32_t m = 0; m < w->maps; m++) {
        a->input[m] = o->job.task[m].winner;
        a->input_node[m] = o->job.task[m].winner_node;
        if (w->home_epoch != o->job.epoch) continue; /* a zombie's: it will publish nothing */
        assert_int_equal(task[m].state, JOB_TASK_DONE);
        assert_int_equal(task[m].winner.number, a->input[m].number);
        assert_int_equal(task[m].winner.epoch, a->input[m].epoch);
    }
}

static void start(struct world *w, struct world_owner *o, const struct job_effect *fx)
{
    assert_true(w->attempts < WORLD_ATTEMPTS);
    for (uint32_t i = 0; i < w->attempts; i++) /* J1 */
        assert_false(w->attempt[i].task == fx->task &&
                     w->attempt[i].id.epoch == fx->attempt.epoch &&
                     w->attempt[i].id.number == fx->attempt.number);
    struct world_attempt *a = &w->attempt[w->attempts++];
    *a = (struct world_attempt){.task = fx->task, .node = fx->node, .id = fx->attempt};
    a->alive = w->up[fx->node - 1];
    if (fx->task >= w->maps) note_inputs(w, o, a);
}

static uint32_t find_attempt(struct world *w, uint32_t task, struct job_attempt id)
{
    for (uint32_t i = 0; i < w->attempts; i++)
        if (w->attempt[i].task == task && w->attempt[i].id.epoch == id.epoch &&
            w->attempt[i].id.number == id.number)
            return i;
    fail_msg("no such attempt");
    return 0;
}

static struct world_op *new_op(struct world *w)
{
    for (int i = 0; i < WORLD_OPS; i++)
        if (!w->op[i].live) return &w->op[i];
    fail_msg("too much under way");
    return NULL;
}

static void later(struct world *w, struct world_owner *o, const struct job_effect *fx)
{
    struct world_op *op = new_op(w);
    *op = (struct world_op){.live = true,
                            .type = fx->type,
                            .epoch = o->job.epoch,
                            .revision = fx->revision,
                            .base_epoch = fx->base_epoch,
                            .base_revision = fx->base_revision,
                            .answers = (uint32_t)(o - w->owner)};
    if (fx->type == JOB_FX_WRITE || fx->type == JOB_FX_PUBLISH)
        job_record_encode(&o->job, &op->record);
    if (fx->type == JOB_FX_PUBLISH)
        for (uint32_t r = 0; r < w->reduces; r++)
            op->winner[r] = find_attempt(w, w->maps + r, o->job.task[w->maps + r].winner);
}

struct sink_ctx {
    struct world *w;
    struct world_owner *o;
};

static void sink(void *ctx, const struct job_effect *fx)
{
    struct sink_ctx *c = ctx;
    switch (fx->type) {
    case JOB_FX_START: start(c->w, c->o, fx); break;
    case JOB_FX_KILL: {
        struct world_attempt *a = &c->w->attempt[find_attempt(c->w, fx->task, fx->attempt)];
        if (chance(c->w, 50)) a->alive = false; /* else the word is late */
        break;
    }
    case JOB_FX_OVER: c->o->alive = false; break;
    default: later(c->w, c->o, fx); break;
    }
}

static void step(struct world *w, uint32_t o, struct job_event ev)
{
    if (!w->owner[o].alive) return;
    ev.now_ms = w->now_ms;
    struct sink_ctx ctx = {w, &w->owner[o]};
    job_step(&w->owner[o].job, &ev, sink, &ctx);
}

static void step_all(struct world *w, struct job_event ev)
{
    for (uint32_t o = 0; o < WORLD_OWNERS; o++) step(w, o, ev);
}

/* An owner begins: with the record, if there is one. */
static void own(struct world *w, uint32_t o)
{
    struct world_owner *own = &w->owner[o];
    struct job_options options = {.epoch = w->home_epoch + 1,
                                  .reduces = w->reduces,
                                  .limit_ms = 3600 * 1000,
                                  .task_count = w->cut ? 0 : w->maps};
    *own = (struct world_owner){.alive = true};
    for (uint32_t other = 0; other < WORLD_OWNERS; other++)
        if (other != o && w->owner[other].alive && w->owner[other].job.epoch >= options.epoch)
            options.epoch = w->owner[other].job.epoch + 1;
    job_init(&own->job, &options, own->task, WORLD_TASKS, own->node, WORLD_NODES);
    if (w->home_epoch) assert_true(job_record_decode(&own->job, buf_bytes(&w->home)));
    for (uint32_t n = 1; n <= WORLD_NODES; n++)
        if (w->up[n - 1])
            step(w, o, (struct job_event){.type = JOB_EV_NODE_UP, .node = n, .slots = 2});
    step(w, o, (struct job_event){.type = JOB_EV_BEGIN});
}

static void home_set(struct world *w, const struct world_op *op, uint64_t revision)
{
    struct job_record_head h;
    w->home_epoch = op->epoch;
    w->home_revision = revision;
    buf_clear(&w->home);
    buf_append_bytes(&w->home, buf_bytes(&op->record));
    assert_true(job_record_peek(buf_bytes(&w->home), &h));
    assert_int_equal(h.epoch, op->epoch);
    assert_int_equal(h.revision, revision);
}

static void at_home_write(struct world *w, const struct world_op *op, bool answered)
{
    struct job_event ev = {.type = JOB_EV_WRITTEN, .revision = op->revision};
    bool on_base = w->home_epoch == op->base_epoch && w->home_revision == op->base_revision;
    if (op->epoch == w->home_epoch && op->revision < w->home_revision) return; /* of long ago */
    if (op->epoch == w->home_epoch ? op->revision > w->home_revision : on_base)
        home_set(w, op, op->revision);
    else if (op->epoch != w->home_epoch)
        ev.type = JOB_EV_DEPOSED;
    if (!answered) ev.type = JOB_EV_WRITE_LOST;
    if (w->owner[op->answers].job.epoch == op->epoch) step(w, op->answers, ev);
}

static void count_published(struct world *w, const struct world_op *op)
{
    w->published++;
    for (uint32_t r = 0; r < w->reduces; r++) {
        assert_true(w->attempt[op->winner[r]].has_output);
        for (int i = 0; i < WORLD_WORDS; i++) w->result[i] += w->attempt[op->winner[r]].output[i];
    }
}

static void at_home_publish(struct world *w, const struct world_op *op, bool answered)
{
    struct job_event ev = {.type = JOB_EV_PUBLISHED};
    if (op->epoch != w->home_epoch) {
        ev.type = JOB_EV_DEPOSED;
    } else if (op->revision == w->home_revision) {
        home_set(w, op, op->revision + 1);
        count_published(w, op);
    }
    if (!answered) ev.type = JOB_EV_PUBLISH_LOST;
    if (w->owner[op->answers].job.epoch == op->epoch) step(w, op->answers, ev);
}

static void make_cut(struct world *w, const struct world_op *op)
{
    struct world_owner *o = &w->owner[op->answers];
    if (!o->alive || o->job.epoch != op->epoch) return;
    if (!w->calm && chance(w, 20)) {
        step(w, op->answers,
             (struct job_event){.type = JOB_EV_CUT_FAILED, .text = BYTES("no cut")});
        return;
    }
    for (int n = 0; n < WORLD_NODES; n++) w->snapshot[n] = w->up[n];
    assert_true(job_set_maps(&o->job, w->maps));
    for (uint32_t m = 0; m < w->maps; m++) {
        uint32_t holder[3];
        for (uint32_t i = 0; i < 3; i++) holder[i] = (m + i) % WORLD_NODES + 1;
        job_hold(&o->job, m, holder, 3);
    }
    step(w, op->answers, (struct job_event){.type = JOB_EV_CUT_MADE, .snapshot = 77});
}

static void fence(struct world *w, uint64_t epoch)
{
    for (uint32_t i = 0; i < w->attempts; i++)
        if (w->attempt[i].id.epoch < epoch) w->attempt[i].alive = false;
}

static void drop(struct world *w, const struct world_op *op)
{
    struct job_record_head h;
    bool fails = !w->calm && chance(w, 30);
    assert_true(job_record_peek(buf_bytes(&w->home), &h) && h.phase >= JOB_DONE); /* J5 */
    if (!fails) {
        w->dropped = true;
        for (uint32_t i = 0; i < w->attempts; i++) w->attempt[i].has_output = false;
    }
    if (w->owner[op->answers].job.epoch == op->epoch)
        step(w, op->answers,
             (struct job_event){.type = fails ? JOB_EV_DROP_FAILED : JOB_EV_DROPPED});
}

/* One thing on its way arrives; a copy may come again much later. */
static void deliver(struct world *w, struct world_op *op)
{
    bool answered = w->calm || chance(w, 80), again = !w->calm && chance(w, 20);
    struct world_op now = *op;
    *op = (struct world_op){0};
    switch (now.type) {
    case JOB_FX_WRITE: at_home_write(w, &now, answered); break;
    case JOB_FX_PUBLISH:
        if (!w->calm && chance(w, 15) && w->home_epoch == now.epoch &&
            w->home_revision == now.revision) {
            again = false; /* certainly not, and never */
            if (w->owner[now.answers].job.epoch == now.epoch)
                step(w, now.answers,
                     (struct job_event){.type = JOB_EV_PUBLISH_FAILED,
                                        .retry = chance(w, 90),
                                        .text = BYTES("full")});
        } else {
            at_home_publish(w, &now, answered);
        }
        break;
    case JOB_FX_CUT: make_cut(w, &now); break;
    case JOB_FX_FENCE: fence(w, now.epoch); break;
    case JOB_FX_DROP: drop(w, &now); break;
    }
    if (again && now.type != JOB_FX_CUT && now.type != JOB_FX_DROP)
        *new_op(w) = now;
    else
        buf_deinit(&now.record);
}

static struct world_op *any_op(struct world *w)
{
    uint32_t from = below(w, 64);
    for (uint32_t i = 0; i < WORLD_OPS; i++)
        if (w->op[(from + i) % WORLD_OPS].live) return &w->op[(from + i) % WORLD_OPS];
    return NULL;
}

/* The map task whose output is gone, or WORLD_MAPS. */
static uint32_t reduce(struct world *w, struct world_attempt *a)
{
    memset(a->output, 0, sizeof a->output);
    for (uint32_t m = 0; m < w->maps; m++) {
        const struct world_attempt *in = &w->attempt[find_attempt(w, m, a->input[m])];
        if (!in->has_output) return m;
        for (uint32_t i = a->task - w->maps; i < WORLD_WORDS; i += w->reduces)
            a->output[i] += in->output[i];
    }
    return WORLD_MAPS;
}

static void attempt_ends(struct world *w, struct world_attempt *a, struct job_event ev)
{
    bool twice = !w->calm && chance(w, 20);
    a->ended = true;
    step_all(w, ev);
    if (twice) step_all(w, ev);
}

static void work(struct world *w, struct world_attempt *a)
{
    struct job_event ev = {.type = JOB_EV_TASK_DONE, .task = a->task, .attempt = a->id};
    if (chance(w, 30)) {
        ev.type = JOB_EV_PROGRESS;
        step_all(w, ev);
        return;
    }
    if (!w->calm && chance(w, 5)) {
        ev.type = JOB_EV_TASK_FAILED;
        ev.text = BYTES("it threw");
    } else if (a->task < w->maps) {
        if (w->cut && !w->snapshot[a->node - 1])
            ev.type = JOB_EV_TASK_UNFIT;
        else
            memcpy(a->output, w->words[a->task], sizeof a->output), a->has_output = true;
    } else {
        uint32_t gone = reduce(w, a);
        if (gone < WORLD_MAPS) {
            ev.type = JOB_EV_INPUT_LOST;
            ev.input = gone;
            ev.winner = a->input[gone];
        }
        a->has_output = gone == WORLD_MAPS;
    }
    attempt_ends(w, a, ev);
}

static void any_work(struct world *w)
{
    uint32_t from = w->attempts ? below(w, w->attempts) : 0;
    for (uint32_t i = 0; i < w->attempts; i++) {
        struct world_attempt *a = &w->attempt[(from + i) % w->attempts];
        if (!a->alive || a->ended) continue;
        work(w, a);
        return;
    }
}

static void node_dies(struct world *w, uint32_t n)
{
    w->up[n - 1] = w->snapshot[n - 1] = false;
    for (uint32_t i = 0; i < w->attempts; i++) {
        struct world_attempt *a = &w->attempt[i];
        if (a->node != n) continue;
        a->alive = false;
        if (a->task < w->maps) a->has_output = false;
    }
    step_all(w, (struct job_event){.type = JOB_EV_NODE_LOST, .node = n});
}

static void node_comes(struct world *w, uint32_t n)
{
    w->up[n - 1] = true;
    step_all(w, (struct job_event){.type = JOB_EV_NODE_UP, .node = n, .slots = 2});
}

static void trouble(struct world *w, unsigned flags)
{
    uint32_t n = below(w, WORLD_NODES) + 1;
    switch (below(w, 40)) {
    case 0:
        if (w->up[n - 1]) node_dies(w, n);
        break;
    case 1:
    case 2:
        if (!w->up[n - 1]) node_comes(w, n);
        break;
    case 3: w->owner[below(w, WORLD_OWNERS)].alive = false; break; /* its operations go on */
    case 4: { /* another takes over, the old one not knowing */
        uint32_t o = w->owner[0].alive ? 1 : 0;
        if (!w->owner[o].alive && chance(w, 30)) own(w, o);
        break;
    }
    case 5:
        if (flags & WORLD_CANCELS && chance(w, 40))
            step_all(w, (struct job_event){.type = JOB_EV_CANCEL});
        break;
    }
}

static bool finished(struct world *w)
{
    struct job_record_head h;
    return w->home_epoch && job_record_peek(buf_bytes(&w->home), &h) && h.phase >= JOB_DONE &&
           h.dropped;
}

static void turn(struct world *w)
{
    w->now_ms += below(w, 200);
    struct world_op *op = any_op(w);
    if (op && chance(w, 60)) deliver(w, op);
    if (chance(w, 60)) any_work(w);
    if (chance(w, 20)) step_all(w, (struct job_event){.type = JOB_EV_TICK});
    if (!w->owner[0].alive && !w->owner[1].alive && !finished(w)) own(w, below(w, 2));
    if (!w->calm) return;
    for (uint32_t n = 1; n <= WORLD_NODES; n++)
        if (!w->up[n - 1]) node_comes(w, n);
}

static void check_result(struct world *w, enum job_phase phase)
{
    uint32_t expected[WORLD_WORDS] = {0};
    assert_int_equal(w->published, phase == JOB_DONE);
    assert_true(w->dropped);
    if (phase != JOB_DONE) return;
    for (uint32_t m = 0; m < w->maps; m++)
        for (int i = 0; i < WORLD_WORDS; i++) expected[i] += w->words[m][i];
    assert_memory_equal(expected, w->result, sizeof expected);
}

static void world_init(struct world *w, uint64_t seed)
{
    *w = (struct world){.attempt = mem_zalloc(WORLD_ATTEMPTS * sizeof *w->attempt),
                        .op = mem_zalloc(WORLD_OPS * sizeof *w->op)};
    prng_init(&w->random, seed);
    w->maps = below(w, WORLD_MAPS + 1);
    w->reduces = 1 + below(w, WORLD_REDUCES);
    w->cut = w->maps == 0 || chance(w, 70);
    for (uint32_t m = 0; m < w->maps; m++)
        for (int i = 0; i < 50; i++) w->words[m][below(w, WORLD_WORDS)]++;
    for (int n = 0; n < WORLD_NODES; n++) w->up[n] = w->snapshot[n] = true;
}

enum job_phase world_run(uint64_t seed, unsigned flags)
{
    static struct world w;
    struct job_record_head h = {0};
    world_init(&w, seed);
    w.calm = !(flags & WORLD_FAULTS);
    while (!finished(&w)) {
        if (++w.steps == 400) w.calm = true;
        if (w.steps > 200000) fail_msg("seed %llu does not end", (unsigned long long)seed);
        if (!w.calm) trouble(&w, flags);
        if (w.calm && flags & WORLD_CANCELS && !(flags & WORLD_FAULTS) && below(&w, 60) == 0)
            step_all(&w, (struct job_event){.type = JOB_EV_CANCEL});
        turn(&w);
    }
    /* What is still on its way comes to nothing. */
    w.calm = true;
    for (struct world_op *op = any_op(&w); op; op = any_op(&w)) deliver(&w, op);
    assert_true(job_record_peek(buf_bytes(&w.home), &h));
    check_result(&w, (enum job_phase)h.phase);
    for (int i = 0; i < WORLD_OPS; i++) buf_deinit(&w.op[i].record);
    buf_deinit(&w.home);
    mem_free(w.attempt);
    mem_free(w.op);
    return (enum job_phase)h.phase;
}
