/* The machine of a job: small stories step by step, and whole jobs in a world of accidents, whose
 * output must be what a count by hand gives. */
#include "test.h"
#include "job_world.h"
#include "base/mem.h"

enum { ROOM = 64 };

struct rig {
    struct job job;
    struct job_task task[ROOM];
    struct job_node node[8];
    struct job_effect fx[256];
    int count;
    int64_t now_ms;
};

static void keep(void *ctx, const struct job_effect *fx)
{
    struct rig *r = ctx;
    assert_true(r->count < 256);
    r->fx[r->count++] = *fx;
}

static void tell(struct rig *r, struct job_event ev)
{
    r->count = 0;
    ev.now_ms = r->now_ms;
    job_step(&r->job, &ev, keep, r);
}
#define TELL(r, ...) tell(r, (struct job_event){__VA_ARGS__})

static const struct job_effect *find(struct rig *r, uint8_t type)
{
    for (int i = 0; i < r->count; i++)
        if (r->fx[i].type == type) return &r->fx[i];
    return NULL;
}

static int count(struct rig *r, uint8_t type)
{
    int n = 0;
    for (int i = 0; i < r->count; i++) n += r->fx[i].type == type;
    return n;
}

static void write_through(struct rig *r)
{
    TELL(r, .type = JOB_EV_WRITTEN, .revision = r->job.revision);
}

/* A job of `maps` tasks without a cut, on `nodes` nodes, whose tasks may start. */
static void begun(struct rig *r, uint32_t maps, uint32_t nodes, uint16_t slots)
{
    struct job_options o = {.epoch = 1, .reduces = 1, .task_count = maps, .limit_ms = 600000};
    *r = (struct rig){.now_ms = 1000};
    job_init(&r->job, &o, r->task, ROOM, r->node, 8);
    for (uint32_t n = 1; n <= nodes; n++)
        TELL(r, .type = JOB_EV_NODE_UP, .node = n, .slots = slots);
    TELL(r, .type = JOB_EV_BEGIN);
    assert_non_null(find(r, JOB_FX_FENCE));
    assert_int_equal(count(r, JOB_FX_WRITE), 1);
    assert_int_equal(count(r, JOB_FX_START), 0);
    write_through(r);
}

static void copy(struct rig *to, const struct rig *from)
{
    *to = *from;
    to->job.task = to->task;
    to->job.node = to->node;
}

static struct job_event of(uint8_t type, const struct job_effect *start)
{
    return (struct job_event){.type = type, .task = start->task, .attempt = start->attempt};
}

TEST(tasks_spread_over_the_slots_of_all_nodes)
{
    struct rig r;
    int on[5] = {0};
    begun(&r, 8, 4, 2);
    assert_int_equal(count(&r, JOB_FX_START), 8);
    for (int i = 0; i < r.count; i++) on[r.fx[i].node]++;
    for (int n = 1; n <= 4; n++) assert_int_equal(on[n], 2);
}

TEST(a_map_task_runs_where_its_range_is_and_at_its_leader_last)
{
    struct rig r = {.now_ms = 5};
    uint32_t holder[2][2] = {{3, 1}, {3, 1}};
    struct job_options o = {.epoch = 1, .reduces = 1};
    job_init(&r.job, &o, r.task, ROOM, r.node, 8);
    for (uint32_t n = 1; n <= 3; n++)
        TELL(&r, .type = JOB_EV_NODE_UP, .node = n, .slots = n == 3 ? 1 : 4);
    TELL(&r, .type = JOB_EV_BEGIN);
    write_through(&r);
    assert_int_equal(count(&r, JOB_FX_CUT), 1);
    assert_true(job_set_maps(&r.job, 2));
    for (uint32_t m = 0; m < 2; m++) job_hold(&r.job, m, holder[m], 2);
    TELL(&r, .type = JOB_EV_CUT_MADE, .snapshot = 9);
    write_through(&r);
    assert_int_equal(count(&r, JOB_FX_START), 2);
    assert_int_equal(r.fx[0].node, 3); /* though node 1 is freer */
    assert_int_equal(r.fx[1].node, 1);
}

TEST(a_task_that_fails_runs_elsewhere_and_five_failures_end_the_job)
{
    struct rig r;
    begun(&r, 1, 2, 1);
    for (int i = 0; i < 5; i++) {
        const struct job_effect start = *find(&r, JOB_FX_START);
        struct job_event ev = of(JOB_EV_TASK_FAILED, &start);
        ev.text = BYTES("line 3: no");
        tell(&r, ev);
        if (i < 4) assert_int_not_equal(find(&r, JOB_FX_START)->node, start.node);
    }
    assert_null(find(&r, JOB_FX_START));
    assert_int_equal(r.job.phase, JOB_FAILED);
    EXPECT_BYTES(bytes_of(r.job.error, r.job.error_size), "line 3: no");
}

TEST(a_task_that_failed_waits_for_another_node_unless_there_is_none)
{
    struct rig r;
    begun(&r, 2, 2, 1);
    const struct job_effect first = r.fx[0], second = r.fx[1];
    tell(&r, of(JOB_EV_TASK_FAILED, &first));
    assert_null(find(&r, JOB_FX_START)); /* its node has room again, the other one has none */
    tell(&r, of(JOB_EV_TASK_DONE, &second));
    assert_int_equal(find(&r, JOB_FX_START)->node, second.node);
    const struct job_effect again = *find(&r, JOB_FX_START);
    TELL(&r, .type = JOB_EV_NODE_LOST, .node = first.node);
    tell(&r, of(JOB_EV_TASK_FAILED, &again));
    assert_int_equal(find(&r, JOB_FX_START)->node, second.node); /* better than nowhere */
}

TEST(the_last_of_many_is_tried_a_second_time_once_it_lags_and_the_loser_is_killed)
{
    struct rig r;
    struct job_effect slow = {0};
    begun(&r, 8, 4, 2);
    struct rig all;
    copy(&all, &r);
    r.now_ms += 1000;
    for (int i = 0; i < 7; i++) tell(&r, of(JOB_EV_TASK_DONE, &all.fx[i]));
    slow = all.fx[7];
    write_through(&r);
    write_through(&r); /* the first had the first task only */
    r.now_ms += 1500;  /* 2.5 s: less than three times a second and a bit */
    TELL(&r, .type = JOB_EV_TICK);
    assert_null(find(&r, JOB_FX_START));
    r.now_ms += 1500;
    TELL(&r, .type = JOB_EV_TICK);
    const struct job_effect *second = find(&r, JOB_FX_START);
    assert_non_null(second);
    assert_int_equal(second->task, slow.task);
    assert_int_not_equal(second->node, slow.node);
    struct job_effect won = *second;
    r.now_ms += 9000;
    TELL(&r, .type = JOB_EV_TICK);
    assert_null(find(&r, JOB_FX_START)); /* two at once at most */
    tell(&r, of(JOB_EV_TASK_DONE, &won));
    assert_int_equal(find(&r, JOB_FX_KILL)->attempt.number, slow.attempt.number);
    assert_int_equal(r.task[slow.task].winner.number, won.attempt.number);
    tell(&r, of(JOB_EV_TASK_DONE, &slow)); /* late */
    assert_int_equal(r.task[slow.task].winner.number, won.attempt.number);
}

TEST(who_says_nothing_for_half_a_minute_is_given_up)
{
    struct rig r;
    begun(&r, 1, 2, 1);
    struct job_effect first = *find(&r, JOB_FX_START);
    r.now_ms += JOB_SILENT_MS;
    tell(&r, of(JOB_EV_PROGRESS, &first));
    r.now_ms += JOB_SILENT_MS;
    TELL(&r, .type = JOB_EV_TICK);
    assert_null(find(&r, JOB_FX_KILL));
    r.now_ms += 1;
    TELL(&r, .type = JOB_EV_TICK);
    assert_non_null(find(&r, JOB_FX_KILL));
    assert_int_not_equal(find(&r, JOB_FX_START)->node, first.node);
}

TEST(a_job_that_takes_too_long_fails_and_says_so)
{
    struct rig r;
    begun(&r, 1, 1, 1);
    r.now_ms += 600001;
    TELL(&r, .type = JOB_EV_TICK);
    assert_int_equal(r.job.phase, JOB_FAILED);
    assert_non_null(find(&r, JOB_FX_KILL));
    assert_non_null(find(&r, JOB_FX_WRITE));
    assert_null(find(&r, JOB_FX_DROP)); /* J5 */
    write_through(&r);
    assert_non_null(find(&r, JOB_FX_DROP));
}

/* A job of one map task, held by nodes 1 and 2 of three with a slot each. */
static void held_by_two(struct rig *r)
{
    uint32_t holder[2] = {1, 2};
    struct job_options o = {.epoch = 1, .reduces = 1};
    *r = (struct rig){.now_ms = 5};
    job_init(&r->job, &o, r->task, ROOM, r->node, 8);
    for (uint32_t n = 1; n <= 3; n++) TELL(r, .type = JOB_EV_NODE_UP, .node = n, .slots = 1);
    TELL(r, .type = JOB_EV_BEGIN);
    write_through(r);
    assert_true(job_set_maps(&r->job, 1));
    job_hold(&r->job, 0, holder, 2);
    TELL(r, .type = JOB_EV_CUT_MADE, .snapshot = 9);
    write_through(r);
}

TEST(when_the_last_holder_has_lost_the_snapshot_the_job_fails_and_says_so)
{
    struct rig r;
    held_by_two(&r);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(r.job.phase, JOB_MAP);
        struct job_effect s = *find(&r, JOB_FX_START);
        tell(&r, of(JOB_EV_TASK_UNFIT, &s));
    }
    assert_int_equal(r.job.phase, JOB_FAILED);
    assert_non_null(strstr(r.job.error, "snapshot"));
}

/* Found by the simulator (seed 122): a job whose only holder left was a node that never came back
 * waited for it until its time was over, an hour later. */
TEST(who_waits_for_holders_that_are_gone_fails_after_half_a_minute)
{
    struct rig r;
    held_by_two(&r);
    struct job_effect s = *find(&r, JOB_FX_START);
    tell(&r, of(JOB_EV_TASK_UNFIT, &s));
    TELL(&r, .type = JOB_EV_NODE_LOST, .node = s.node == 1 ? 2 : 1);
    TELL(&r, .type = JOB_EV_TICK);
    r.now_ms += JOB_STRANDED_MS;
    TELL(&r, .type = JOB_EV_TICK);
    assert_int_equal(r.job.phase, JOB_MAP);
    r.now_ms += 1;
    TELL(&r, .type = JOB_EV_TICK);
    assert_int_equal(r.job.phase, JOB_FAILED);
    assert_non_null(strstr(r.job.error, "snapshot"));
}

TEST(a_holder_that_comes_back_in_time_is_waited_for)
{
    struct rig r;
    held_by_two(&r);
    TELL(&r, .type = JOB_EV_NODE_LOST, .node = 1);
    TELL(&r, .type = JOB_EV_NODE_LOST, .node = 2);
    TELL(&r, .type = JOB_EV_TICK);
    r.now_ms += JOB_STRANDED_MS;
    TELL(&r, .type = JOB_EV_NODE_UP, .node = 1, .slots = 1);
    assert_non_null(find(&r, JOB_FX_START));
    r.now_ms += 1;
    TELL(&r, .type = JOB_EV_TICK);
    TELL(&r, .type = JOB_EV_NODE_LOST, .node = 1); /* the time begins anew */
    TELL(&r, .type = JOB_EV_TICK);
    r.now_ms += JOB_STRANDED_MS;
    TELL(&r, .type = JOB_EV_TICK);
    assert_int_equal(r.job.phase, JOB_MAP);
}

TEST(cancel_while_publishing_waits_to_hear_what_became_of_it)
{
    for (int published = 0; published < 2; published++) {
        struct rig r;
        begun(&r, 1, 1, 1);
        tell(&r, of(JOB_EV_TASK_DONE, find(&r, JOB_FX_START)));
        write_through(&r);
        tell(&r, of(JOB_EV_TASK_DONE, find(&r, JOB_FX_START)));
        write_through(&r);
        assert_non_null(find(&r, JOB_FX_PUBLISH));
        TELL(&r, .type = JOB_EV_CANCEL);
        assert_int_equal(r.count, 0);
        TELL(&r, .type = published ? JOB_EV_PUBLISHED : JOB_EV_PUBLISH_FAILED, .retry = true);
        assert_int_equal(r.job.phase, published ? JOB_DONE : JOB_CANCELLED);
    }
}

/* What another owner makes of the record of `r`. */
static void taken_over(struct rig *next, const struct rig *r, uint64_t epoch)
{
    struct buf record = {0};
    struct job_options o = {.epoch = epoch, .reduces = 1, .limit_ms = 600000};
    *next = (struct rig){.now_ms = 5000000};
    job_record_encode(&r->job, &record);
    job_init(&next->job, &o, next->task, ROOM, next->node, 8);
    assert_true(job_record_decode(&next->job, buf_bytes(&record)));
    buf_deinit(&record);
}

TEST(an_attempt_of_an_older_owner_is_nobodys)
{
    struct rig r, next;
    begun(&r, 1, 1, 1);
    struct job_effect old = *find(&r, JOB_FX_START);
    taken_over(&next, &r, 2);
    TELL(&next, .type = JOB_EV_NODE_UP, .node = 1, .slots = 1);
    TELL(&next, .type = JOB_EV_BEGIN);
    write_through(&next);
    struct job_effect young = *find(&next, JOB_FX_START);
    assert_int_equal(young.attempt.number, old.attempt.number);
    tell(&next, of(JOB_EV_TASK_DONE, &old));
    assert_int_equal(next.task[0].state, JOB_TASK_RUNNING);
    tell(&next, of(JOB_EV_TASK_DONE, &young));
    assert_int_equal(next.task[0].state, JOB_TASK_REPORTED);
}

TEST(a_new_owner_knows_all_that_the_old_one_knew)
{
    struct rig r = {.now_ms = 5}, next;
    uint32_t holder[2] = {1, 2};
    struct job_options o = {.epoch = 1, .reduces = 1, .limit_ms = 600000, .submitted_ms = 1234};
    job_init(&r.job, &o, r.task, ROOM, r.node, 8);
    for (uint32_t n = 1; n <= 2; n++) TELL(&r, .type = JOB_EV_NODE_UP, .node = n, .slots = 1);
    TELL(&r, .type = JOB_EV_BEGIN);
    write_through(&r);
    assert_true(job_set_maps(&r.job, 2));
    for (uint32_t m = 0; m < 2; m++) job_hold(&r.job, m, holder, 2);
    TELL(&r, .type = JOB_EV_CUT_MADE, .snapshot = 9);
    write_through(&r);
    struct job_effect a = r.fx[0], b = r.fx[1];
    r.now_ms += 1000;
    tell(&r, of(JOB_EV_TASK_UNFIT, &a));
    struct job_event done = of(JOB_EV_TASK_DONE, &b);
    done.records = 7, done.bytes = 70;
    tell(&r, done);
    taken_over(&next, &r, 2);
    assert_int_equal(next.job.snapshot, 9);
    assert_int_equal(next.job.submitted_ms, 1234);
    assert_int_equal(next.job.spent_ms, 1000);
    assert_int_equal(next.task[a.task].unfit, 1);
    assert_int_equal(next.task[a.task].holder[1], 2);
    assert_int_equal(next.task[b.task].winner_node, 2);
    assert_int_equal(next.task[b.task].records, 7);
    assert_int_equal(next.task[b.task].bytes, 70);
    TELL(&next, .type = JOB_EV_BEGIN);
    next.now_ms += 599001; /* with the second of the one before it: too long */
    TELL(&next, .type = JOB_EV_TICK);
    assert_int_equal(next.job.phase, JOB_FAILED);
}

TEST(time_runs_out_while_publishing_and_the_publication_counts)
{
    struct rig r;
    begun(&r, 1, 1, 1);
    for (int i = 0; i < 2; i++) {
        tell(&r, of(JOB_EV_TASK_DONE, find(&r, JOB_FX_START)));
        write_through(&r);
    }
    assert_non_null(find(&r, JOB_FX_PUBLISH));
    r.now_ms += 700000;
    TELL(&r, .type = JOB_EV_TICK);
    TELL(&r, .type = JOB_EV_PUBLISHED);
    assert_int_equal(r.job.phase, JOB_DONE);
    assert_int_equal(count(&r, JOB_FX_DROP), 1);
    TELL(&r, .type = JOB_EV_TICK);
    assert_int_equal(count(&r, JOB_FX_DROP), 0); /* once is enough */
}

/* A reduce that was told of the first winner says that its output is gone; meanwhile there is
 * another one. And what runs for a reduce that no longer needs it is killed. */
TEST(only_the_winner_that_was_lost_is_made_again)
{
    struct rig r;
    begun(&r, 1, 3, 1);
    tell(&r, of(JOB_EV_TASK_DONE, find(&r, JOB_FX_START)));
    struct job_attempt first = r.task[0].winner;
    TELL(&r, .type = JOB_EV_NODE_UP, .node = 2, .slots = 2);
    write_through(&r);
    struct job_effect reduce = *find(&r, JOB_FX_START);
    assert_int_equal(reduce.node, 2);
    TELL(&r, .type = JOB_EV_NODE_LOST, .node = r.task[0].winner_node);
    struct job_effect again = *find(&r, JOB_FX_START);
    write_through(&r);
    assert_int_equal(again.task, 0);
    struct rig other;
    copy(&other, &r); /* in which the reduce is done before the map is */
    tell(&other, of(JOB_EV_TASK_DONE, &reduce));
    assert_int_equal(find(&other, JOB_FX_KILL)->attempt.number, again.attempt.number);
    assert_int_equal(other.job.phase, JOB_COMMITTING);

    tell(&r, of(JOB_EV_TASK_DONE, &again));
    write_through(&r);
    struct job_event lost = of(JOB_EV_INPUT_LOST, &reduce);
    lost.winner = first;
    tell(&r, lost);
    assert_int_equal(r.task[0].state, JOB_TASK_DONE);
    struct job_effect fresh = *find(&r, JOB_FX_START);
    assert_int_equal(fresh.task, 1);
    assert_int_equal(r.task[1].failures, 0); /* it is not to blame */
    lost = of(JOB_EV_INPUT_LOST, &fresh);
    lost.winner = again.attempt;
    tell(&r, lost);
    assert_int_not_equal(r.task[0].state, JOB_TASK_DONE);
}

TEST(a_damaged_record_is_refused_whatever_is_damaged)
{
    struct rig r;
    struct buf b = {0};
    begun(&r, 3, 2, 2);
    tell(&r, of(JOB_EV_TASK_DONE, find(&r, JOB_FX_START)));
    job_record_encode(&r.job, &b);
    struct job_options o = {.epoch = 2, .reduces = 1};
    struct rig next = {0};
    for (size_t i = 0; i < b.size; i++) {
        b.data[i] ^= 0x10;
        job_init(&next.job, &o, next.task, ROOM, next.node, 8);
        assert_false(job_record_decode(&next.job, buf_bytes(&b)));
        b.data[i] ^= 0x10;
        assert_false(job_record_decode(&next.job, bytes_of(b.data, i)));
    }
    job_init(&next.job, &o, next.task, 3, next.node, 8);
    assert_false(job_record_decode(&next.job, buf_bytes(&b))); /* no room */
    job_init(&next.job, &o, next.task, ROOM, next.node, 8);
    assert_true(job_record_decode(&next.job, buf_bytes(&b)));
    assert_int_equal(next.task[0].state + next.task[1].state + next.task[2].state, JOB_TASK_DONE);
    buf_deinit(&b);
}

TEST(without_faults_every_job_is_done)
{
    for (uint64_t seed = 1; seed <= 300; seed++) assert_int_equal(world_run(seed, 0), JOB_DONE);
}

TEST(cancelled_at_any_moment_a_job_is_done_whole_or_leaves_nothing)
{
    int end[JOB_CANCELLED + 1] = {0};
    for (uint64_t seed = 1; seed <= 500; seed++) end[world_run(seed, WORLD_CANCELS)]++;
    assert_int_equal(end[JOB_FAILED], 0);
    assert_true(end[JOB_DONE] > 20 && end[JOB_CANCELLED] > 20);
}

TEST(whatever_happens_each_job_ends_and_publishes_once_what_a_count_by_hand_gives)
{
    int end[JOB_CANCELLED + 1] = {0};
    for (uint64_t seed = 1; seed <= 3000; seed++)
        end[world_run(seed, WORLD_FAULTS | (seed % 4 ? 0 : WORLD_CANCELS))]++;
    print_message("done %d, failed %d, cancelled %d\n", end[JOB_DONE], end[JOB_FAILED],
                  end[JOB_CANCELLED]);
    assert_true(end[JOB_DONE] > 1000 && end[JOB_FAILED] > 20 && end[JOB_CANCELLED] > 20);
}

TEST_MAIN
