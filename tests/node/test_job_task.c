/* Attempts of tasks on nodes of a simulated cluster. The test is their owner: it says START, hears
 * their REPORTs, and stands for group 0 where reduces stage what they give. Fetches between nodes
 * are real frames. */
#define client cluster_client /* the node's own header has one, too */
#include "cluster.h"
#undef client

#include "base/prng.h"
#include "job/nursery.h"
#include "job/task_value.h"
#include "node/task.h"
#include "redis/cut.h"

#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOB     77
#define OWNER   5 /* a node that is none of the cluster's */
#define REDUCES 3
#define STAGES  64

/* ---- what attempts say ---- */

struct heard {
    uint32_t reports;
    uint8_t status;
    uint64_t records, bytes;
    uint32_t input;
    struct job_attempt winner;
    char text[JOB_TEXT_MAX + 1];
};

struct staged {
    uint64_t task, epoch, number, piece;
    struct buf pairs;
};

static struct {
    struct heard heard[64]; /* [task * 4 + number] */
    struct staged stage[STAGES];
    uint32_t stages;
    const char *answer; /* to STAGE; NULL: none */
    bool loses_pieces, doubles_pieces;
    bool repeats_pieces; /* each comes again just before the one that follows it */
    struct job_msg last;
    struct buf last_piece;
    uint32_t fetches;
} rig;

bool __real_job_send(struct node *n, uint16_t to, const struct job_msg *m);
bool __wrap_job_send(struct node *n, uint16_t to, const struct job_msg *m);
void __real_txn_ask_for(struct node *n, uint32_t group, const struct txn_question *q);
void __wrap_txn_ask_for(struct node *n, uint32_t group, const struct txn_question *q);

static void repeat_piece(struct node *n, uint16_t to, const struct job_msg *m)
{
    struct job_msg again = rig.last;
    again.piece = buf_bytes(&rig.last_piece);
    if (again.task == m->task && again.partition == m->partition && again.offset < m->offset)
        (void)__real_job_send(n, to, &again);
    rig.last = *m;
    buf_clear(&rig.last_piece);
    buf_append_bytes(&rig.last_piece, m->piece);
}

bool __wrap_job_send(struct node *n, uint16_t to, const struct job_msg *m)
{
    if (m->type != JOB_MSG_REPORT) {
        rig.fetches += m->type == JOB_MSG_FETCH;
        if (m->type == JOB_MSG_PIECE && rig.loses_pieces) return true;
        if (m->type == JOB_MSG_PIECE && rig.repeats_pieces) repeat_piece(n, to, m);
        if (m->type == JOB_MSG_PIECE && rig.doubles_pieces) (void)__real_job_send(n, to, m);
        return __real_job_send(n, to, m);
    }
    assert_int_equal(to, OWNER);
    assert_int_equal(m->job, JOB);
    struct heard *h = &rig.heard[m->task * 4 + m->number];
    h->reports++;
    h->status = m->status;
    h->records = m->records;
    h->bytes = m->bytes;
    h->input = m->input;
    h->winner = m->winner;
    (void)snprintf(h->text, sizeof h->text, "%.*s", (int)m->text.size, (const char *)m->text.data);
    return true;
}

static uint64_t number_of(struct bytes b)
{
    struct reader r = reader_of(b);
    assert_int_equal(b.size, 8);
    return reader_u64(&r);
}

static void stage(const struct bytes *arg)
{
    struct staged s = {
        number_of(arg[2]), number_of(arg[3]), number_of(arg[4]), number_of(arg[5]), {0}};
    assert_int_equal(number_of(arg[1]), JOB);
    assert_true(arg[6].size > 0);
    for (uint32_t i = 0; i < rig.stages; i++) {
        struct staged *old = &rig.stage[i];
        if (old->task != s.task || old->epoch != s.epoch || old->number != s.number ||
            old->piece != s.piece)
            continue;
        assert_true(bytes_equal(buf_bytes(&old->pairs), arg[6]));
        return;
    }
    assert_true(rig.stages < STAGES);
    s.pairs = buf_copy(arg[6]);
    rig.stage[rig.stages++] = s;
}

void __wrap_txn_ask_for(struct node *n, uint32_t group, const struct txn_question *q)
{
    if (strcmp(q->name, "synod|job") != 0) {
        __real_txn_ask_for(n, group, q);
        return;
    }
    assert_int_equal(group, 0);
    assert_int_equal(q->count, 7);
    EXPECT_BYTES(q->arg[0], "STAGE");
    if (!rig.answer) {
        q->done(q->ctx, (struct bytes){0});
        return;
    }
    if (strcmp(rig.answer, ":1\r\n") == 0) stage(q->arg);
    q->done(q->ctx, bytes_str(rig.answer));
}

/* ---- the owner ---- */

struct owner {
    struct cluster c;
    struct buf spec;
    uint64_t snapshot, epoch;
    uint16_t node_of[2]; /* of map m, whose slots are of group m */
};

static void begin(struct owner *o, const char *const *word, size_t count)
{
    struct bytes arg[40];
    struct job_spec s;
    struct job_spec_error e = {{0}};
    for (uint32_t i = 0; i < rig.stages; i++) buf_deinit(&rig.stage[i].pairs);
    buf_deinit(&rig.last_piece);
    memset(&rig, 0, sizeof rig);
    rig.answer = ":1\r\n";
    for (size_t i = 0; i < count; i++) arg[i] = bytes_str(word[i]);
    if (!job_spec_submit(arg, count, &s, &e)) fail_msg("%s", e.text);
    buf_clear(&o->spec);
    job_spec_encode(&s, &o->spec);
}
#define BEGIN(o, ...)                                                                              \
    begin(o, (const char *const[]){"j", __VA_ARGS__},                                              \
          sizeof((const char *const[]){"j", __VA_ARGS__}) / sizeof(char *))

static void snapshot(struct owner *o, struct cluster_client *k)
{
    struct buf reply = {0};
    client_say(k, "SNAPSHOT CREATE");
    struct bytes r = client_reply(k, &reply);
    const char *id = strstr((const char *)r.data, "$16\r\n");
    assert_non_null(id);
    assert_true(cut_name_get(bytes_of(id + 5, 16), &o->snapshot));
    buf_deinit(&reply);
    cluster_run(&o->c, 500);
}

/* Keys n:0 .. with the numbers 0 .. as values, and a snapshot of them. */
static void owner_init(struct owner *o, int keys)
{
    *o = (struct owner){.epoch = 3, .node_of = {1, 2}};
    cluster_init(&o->c, 2, 2, 2);
    struct cluster_client *k = client_open(&o->c, 0);
    for (int i = 0; i < keys; i++) {
        char line[60];
        (void)snprintf(line, sizeof line, "SET n:%d %d", i, i);
        client_says(k, line, "+OK\r\n");
    }
    snapshot(o, k);
}

static void owner_deinit(struct owner *o)
{
    cluster_deinit(&o->c);
    buf_deinit(&o->spec);
    for (uint32_t i = 0; i < rig.stages; i++) buf_deinit(&rig.stage[i].pairs);
    buf_deinit(&rig.last_piece);
    rig.stages = 0;
}

static struct node *node_of(struct owner *o, uint16_t node)
{
    return o->c.member[node - 1].node;
}

static void say(struct owner *o, uint16_t node, struct job_msg m)
{
    m.job = JOB;
    if (!m.epoch) m.epoch = o->epoch;
    world_enter(o->c.w, node - 1u);
    node_begin(node_of(o, node));
    tasks_on_message(node_of(o, node), OWNER, &m);
    world_leave(o->c.w, node - 1u);
}

static struct job_msg start_of(struct owner *o, uint32_t task, uint32_t number)
{
    return (struct job_msg){.type = JOB_MSG_START,
                            .task = task,
                            .number = number,
                            .maps = 2,
                            .reduces = REDUCES,
                            .spec = buf_bytes(&o->spec)};
}

static void start_map(struct owner *o, uint32_t map, uint32_t number)
{
    struct job_msg m = start_of(o, map, number);
    const struct group *g = node_of(o, o->node_of[map])->group[map];
    m.snapshot = o->snapshot;
    m.slot_lo = g->slot_lo;
    m.slot_hi = g->slot_hi;
    say(o, o->node_of[map], m);
}

static void start_reduce(struct owner *o, uint16_t node, uint32_t reduce, uint32_t number)
{
    struct buf inputs = {0};
    struct job_msg m = start_of(o, 2 + reduce, number);
    for (uint32_t i = 0; i < 2; i++)
        job_input_put(&inputs, &(struct job_input){o->node_of[i], {o->epoch, 1}});
    m.inputs = buf_bytes(&inputs);
    say(o, node, m);
    buf_deinit(&inputs);
}

static struct heard *heard(uint32_t task, uint32_t number)
{
    return &rig.heard[task * 4 + number];
}

static void await(struct owner *o, uint32_t task, uint32_t number, uint8_t status)
{
    struct heard *h = heard(task, number);
    for (int i = 0; i < 400 && (!h->reports || h->status == JOB_REPORT_RUNS); i++)
        cluster_run(&o->c, 100);
    if (h->status != status || !h->reports)
        fail_msg("task %u: status %u (%u reports): %s", task, h->status, h->reports, h->text);
}

static void run_maps(struct owner *o)
{
    for (uint32_t m = 0; m < 2; m++) start_map(o, m, 1);
    for (uint32_t m = 0; m < 2; m++) await(o, m, 1, JOB_REPORT_DONE);
}

/* Adds up the numbers of all pairs that were staged; counts them. */
static double staged_sum(uint32_t *pairs)
{
    double sum = 0;
    *pairs = 0;
    for (uint32_t i = 0; i < rig.stages; i++) {
        struct reader r = reader_of(buf_bytes(&rig.stage[i].pairs));
        while (reader_left(&r)) {
            struct task_value v;
            (void)reader_blob(&r);
            assert_true(task_value_get(reader_blob(&r), &v));
            assert_int_equal(v.kind, TASK_NUMBER);
            sum += v.number;
            (*pairs)++;
        }
        assert_false(r.bad);
    }
    return sum;
}

#define KEYS     300
#define BY_THREE "function map(k, v, emit) emit(k:match('%d+$') % 30, tonumber(v)) end"

static struct tasks_load load_of(struct owner *o, uint16_t node)
{
    return tasks_load(node_of(o, node));
}

/* ---- tests ---- */

TEST(maps_and_reduces_over_two_nodes_give_exactly_what_a_loop_would)
{
    struct owner o;
    uint32_t pairs;
    owner_init(&o, KEYS);
    BEGIN(&o, "MAP", "LUA", BY_THREE, "REDUCE", "SUM");
    run_maps(&o);
    assert_int_equal(heard(0, 1)->records + heard(1, 1)->records, KEYS);
    assert_true(load_of(&o, 1).output_bytes > 0 && load_of(&o, 2).output_bytes > 0);
    for (uint32_t r = 0; r < REDUCES; r++) start_reduce(&o, (uint16_t)(1 + r % 2), r, 1);
    for (uint32_t r = 0; r < REDUCES; r++) await(&o, 2 + r, 1, JOB_REPORT_DONE);
    assert_true(rig.fetches >= REDUCES);
    assert_true(staged_sum(&pairs) == KEYS * (KEYS - 1) / 2);
    assert_int_equal(pairs, 30);
    owner_deinit(&o);
}

/* What two maps have given goes through three reduces; all that they staged is `sum`, in so many
 * pairs. */
static void reduces_give(struct owner *o, double sum, uint32_t count)
{
    uint32_t pairs;
    for (uint32_t r = 0; r < REDUCES; r++) start_reduce(o, (uint16_t)(1 + r % 2), r, 1);
    for (uint32_t r = 0; r < REDUCES; r++) await(o, 2 + r, 1, JOB_REPORT_DONE);
    double got = staged_sum(&pairs);
    if (got != sum || pairs != count) fail_msg("%.0f in %u pairs", got, pairs);
}

static void say_of(struct owner *o, uint16_t node, uint8_t type, uint32_t task, uint32_t number)
{
    say(o, node, (struct job_msg){.type = type, .task = task, .number = number});
}

static uint32_t attempts(struct owner *o, uint16_t node)
{
    return node_of(o, node)->tasks->known;
}

TEST(a_report_comes_again_until_it_is_known_and_start_makes_an_attempt_once)
{
    struct owner o;
    owner_init(&o, KEYS);
    BEGIN(&o, "MAP", "LUA", BY_THREE, "REDUCE", "SUM");
    run_maps(&o);
    uint32_t before = heard(0, 1)->reports;
    start_map(&o, 0, 1);
    assert_int_equal(heard(0, 1)->reports, before + 1);
    assert_int_equal(heard(0, 1)->status, JOB_REPORT_DONE);
    assert_int_equal(attempts(&o, 1), 1);
    cluster_run(&o.c, 3500);
    assert_true(heard(0, 1)->reports >= before + 4);
    say_of(&o, 1, JOB_MSG_KNOWN, 0, 1);
    before = heard(0, 1)->reports;
    cluster_run(&o.c, 3000);
    assert_int_equal(heard(0, 1)->reports, before);
    assert_int_equal(attempts(&o, 1), 1); /* its output is still to be fetched */

    start_reduce(&o, 1, 0, 1);
    await(&o, 2, 1, JOB_REPORT_DONE);
    uint32_t stages = rig.stages;
    say_of(&o, 1, JOB_MSG_KNOWN, 2, 1);
    assert_int_equal(attempts(&o, 1), 1);
    start_reduce(&o, 1, 0, 1); /* a late one */
    cluster_run(&o.c, 3000);
    assert_int_equal(attempts(&o, 1), 1);
    assert_int_equal(rig.stages, stages);
    owner_deinit(&o);
}

TEST(pieces_that_are_lost_are_fetched_again_until_a_node_is_given_up)
{
    struct owner o;
    owner_init(&o, KEYS);
    BEGIN(&o, "MAP", "LUA", BY_THREE, "REDUCE", "SUM");
    run_maps(&o);
    rig.loses_pieces = true;
    start_reduce(&o, 1, 0, 1);
    cluster_run(&o.c, 7000);
    assert_int_equal(heard(2, 1)->status, JOB_REPORT_RUNS);
    assert_true(rig.fetches >= 3);
    rig.loses_pieces = false;
    await(&o, 2, 1, JOB_REPORT_DONE);
    rig.loses_pieces = true;
    start_reduce(&o, 1, 1, 1);
    await(&o, 3, 1, JOB_REPORT_FAILED);
    assert_non_null(strstr(heard(3, 1)->text, "cannot reach node 2"));
    owner_deinit(&o);
}

TEST(the_output_of_a_node_that_nobody_hears_is_lost_after_a_few_seconds)
{
    struct owner o;
    owner_init(&o, KEYS);
    BEGIN(&o, "MAP", "LUA", BY_THREE, "REDUCE", "SUM");
    run_maps(&o);
    cluster_kill(&o.c, 1); /* node 2 */
    start_reduce(&o, 1, 0, 1);
    cluster_run(&o.c, 8000);
    assert_int_equal(heard(2, 1)->status, JOB_REPORT_LOST);
    assert_int_equal(heard(2, 1)->input, 1);
    owner_deinit(&o);
}

TEST(an_output_that_is_gone_is_reported_lost_with_its_map_and_winner)
{
    for (uint16_t of = 1; of <= 2; of++) { /* here, and on the other node */
        struct owner o;
        owner_init(&o, 50);
        BEGIN(&o, "MAP", "LUA", BY_THREE, "REDUCE", "SUM");
        run_maps(&o);
        say_of(&o, of, JOB_MSG_KILL, of - 1u, 1);
        assert_int_equal(load_of(&o, of).output_bytes, 0);
        start_reduce(&o, 1, 0, 1);
        await(&o, 2, 1, JOB_REPORT_LOST);
        assert_int_equal(heard(2, 1)->input, of - 1u);
        assert_int_equal(heard(2, 1)->winner.epoch, o.epoch);
        assert_int_equal(heard(2, 1)->winner.number, 1);
        assert_int_equal(rig.stages, 0);
        owner_deinit(&o);
    }
}

TEST(a_node_without_the_snapshot_or_the_range_is_unfit)
{
    struct owner o;
    owner_init(&o, 10);
    BEGIN(&o, "MAP", "COUNT");
    o.snapshot++;
    start_map(&o, 0, 1);
    await(&o, 0, 1, JOB_REPORT_UNFIT);
    assert_non_null(strstr(heard(0, 1)->text, "does not have that part of the snapshot"));
    owner_deinit(&o);
}

/* TASKS n: nothing is read. */
TEST(killed_attempts_end_whatever_they_are_at_and_do_not_come_back)
{
    struct owner o;
    owner_init(&o, 10);
    BEGIN(&o, "TASKS", "8", "LUA", "function task(i, n, emit) emit('k', i) end", "REDUCE", "SUM");
    for (uint32_t i = 0; i < 4; i++) { /* two run, two wait */
        struct job_msg m = start_of(&o, i, 1);
        m.maps = 8;
        say(&o, 1, m);
    }
    assert_int_equal(load_of(&o, 1).running, 2);
    assert_int_equal(load_of(&o, 1).waiting, 2);
    for (uint32_t i = 0; i < 4; i++) say_of(&o, 1, JOB_MSG_KILL, i, 1);
    say_of(&o, 1, JOB_MSG_KILL, 5, 1); /* before its START */
    for (uint32_t i = 0; i < 4; i++) rig.heard[4 * i + 1].reports = 0;
    for (uint32_t i = 0; i < 6; i++) {
        struct job_msg m = start_of(&o, i, 1);
        m.maps = 8;
        if (i != 4) say(&o, 1, m);
    }
    cluster_run(&o.c, 3000);
    for (uint32_t i = 0; i < 6; i++) assert_int_equal(heard(i, 1)->reports, 0);
    assert_int_equal(attempts(&o, 1), 0);
    assert_int_equal(load_of(&o, 1).running + load_of(&o, 1).waiting, 0);
    assert_true(list_empty(&node_of(&o, 1)->tasks->gone));
    struct job_msg m = start_of(&o, 0, 2);
    m.maps = 8;
    say(&o, 1, m); /* its slots are free */
    await(&o, 0, 2, JOB_REPORT_DONE);
    owner_deinit(&o);
}

TEST(a_higher_epoch_ends_attempts_of_lower_ones_but_not_outputs_that_are_done)
{
    struct owner o;
    owner_init(&o, KEYS);
    BEGIN(&o, "MAP", "LUA", BY_THREE, "REDUCE", "SUM");
    run_maps(&o);
    rig.answer = NULL; /* nobody answers: it stages for ever */
    start_reduce(&o, 1, 0, 1);
    cluster_run(&o.c, 3000);
    assert_int_equal(attempts(&o, 1), 2);
    say(&o, 1, (struct job_msg){.type = JOB_MSG_FENCE, .epoch = o.epoch + 1});
    assert_int_equal(attempts(&o, 1), 1);
    uint32_t before = heard(2, 1)->reports;
    start_reduce(&o, 1, 1, 1); /* of the old epoch */
    cluster_run(&o.c, 3000);
    assert_int_equal(heard(2, 1)->reports, before);
    assert_int_equal(heard(3, 1)->reports, 0);
    rig.answer = ":1\r\n";
    uint64_t old = o.epoch; /* the winners of the maps are of it */
    for (uint32_t r = 0; r < REDUCES; r++) {
        struct buf inputs = {0};
        struct job_msg m = start_of(&o, 2 + r, 2);
        for (uint32_t i = 0; i < 2; i++)
            job_input_put(&inputs, &(struct job_input){o.node_of[i], {old, 1}});
        m.inputs = buf_bytes(&inputs);
        m.epoch = old + 1;
        say(&o, 1, m);
        buf_deinit(&inputs);
        await(&o, 2 + r, 2, JOB_REPORT_DONE);
    }
    uint32_t pairs;
    assert_true(staged_sum(&pairs) == KEYS * (KEYS - 1) / 2);
    owner_deinit(&o);
}

TEST(staging_goes_on_until_group_0_answers_and_a_fenced_attempt_is_silent)
{
    struct owner o;
    owner_init(&o, KEYS);
    BEGIN(&o, "MAP", "LUA", BY_THREE, "REDUCE", "SUM");
    run_maps(&o);
    rig.answer = "-TRYAGAIN later\r\n";
    start_reduce(&o, 1, 0, 1);
    cluster_run(&o.c, 4000);
    assert_int_equal(heard(2, 1)->status, JOB_REPORT_RUNS);
    rig.answer = ":1\r\n";
    await(&o, 2, 1, JOB_REPORT_DONE);
    rig.answer = ":0\r\n";
    start_reduce(&o, 1, 1, 1);
    cluster_run(&o.c, 4000);
    assert_int_equal(attempts(&o, 1), 2); /* the map, and the first reduce */
    assert_true(heard(3, 1)->reports && heard(3, 1)->status == JOB_REPORT_RUNS);
    owner_deinit(&o);
}

TEST(a_job_that_is_dropped_leaves_nothing_and_begins_again_only_under_a_new_owner)
{
    struct owner o;
    owner_init(&o, 50);
    BEGIN(&o, "MAP", "LUA", BY_THREE, "REDUCE", "SUM");
    run_maps(&o);
    for (uint16_t node = 1; node <= 2; node++) say_of(&o, node, JOB_MSG_DROP, 0, 0);
    assert_int_equal(attempts(&o, 1) + attempts(&o, 2), 0);
    assert_int_equal(load_of(&o, 1).output_bytes + load_of(&o, 2).output_bytes, 0);
    start_map(&o, 0, 2);
    cluster_run(&o.c, 2000);
    assert_int_equal(heard(0, 2)->reports, 0);
    o.epoch++;
    start_map(&o, 0, 3);
    await(&o, 0, 3, JOB_REPORT_DONE);
    owner_deinit(&o);
}

TEST(a_job_that_nobody_speaks_of_is_forgotten_after_a_minute)
{
    struct owner o;
    owner_init(&o, 10);
    BEGIN(&o, "MAP", "COUNT");
    start_map(&o, 0, 1);
    await(&o, 0, 1, JOB_REPORT_DONE);
    cluster_run(&o.c, 54 * 1000);
    assert_int_equal(attempts(&o, 1), 1);
    cluster_run(&o.c, 12 * 1000);
    assert_int_equal(attempts(&o, 1), 0);
    assert_true(list_empty(&node_of(&o, 1)->tasks->jobs));
    owner_deinit(&o);
}

/* 64 KiB of output for each key: 20 MB, more than an output keeps in memory. */
TEST(large_outputs_go_through_files_and_many_pieces)
{
    struct owner o;
    owner_init(&o, KEYS);
    for (uint16_t i = 1; i <= 2; i++) node_of(&o, i)->config.job_dir = "/tmp";
    BEGIN(&o, "MAP", "LUA",
          "function map(k, v, emit) for i = 1, 8 do emit(k .. i, v .. (' '):rep(8192)) end end",
          "REDUCE", "LUA",
          "function reduce(k, vs, emit) for v in vs do "
          "emit(k .. (' '):rep(8192), tonumber((v:match('%d+')))) end end");
    rig.repeats_pieces = true;
    run_maps(&o);
    reduces_give(&o, 8.0 * KEYS * (KEYS - 1) / 2, 8 * KEYS);
    assert_true(rig.stages > 2 * REDUCES && rig.fetches > 4 * REDUCES);
    uint64_t pieces[REDUCES] = {0}, bytes[REDUCES] = {0};
    for (uint32_t i = 0; i < rig.stages; i++) { /* numbered from 0, without gaps */
        uint32_t r = (uint32_t)rig.stage[i].task - 2;
        assert_int_equal(rig.stage[i].piece, pieces[r]++);
        assert_true(rig.stage[i].pairs.size <= JOB_STAGE_BYTES);
        bytes[r] += rig.stage[i].pairs.size;
    }
    for (uint32_t r = 0; r < REDUCES; r++) assert_int_equal(heard(2 + r, 1)->bytes, bytes[r]);
    owner_deinit(&o);
}

TEST(a_pair_that_no_staging_takes_fails_its_reduce)
{
    struct owner o;
    owner_init(&o, 10);
    BEGIN(&o, "MAP", "LUA", "function map(k, v, emit) emit('k', 1) end", "REDUCE", "LUA",
          "function reduce(k, vs, emit) emit(k, ('x'):rep(9000000)) end");
    run_maps(&o);
    for (uint32_t r = 0; r < REDUCES; r++) start_reduce(&o, 1, r, 1);
    cluster_run(&o.c, 5000);
    uint32_t failed = 0;
    for (uint32_t r = 0; r < REDUCES; r++) {
        if (heard(2 + r, 1)->status != JOB_REPORT_FAILED) continue;
        failed++;
        assert_non_null(strstr(heard(2 + r, 1)->text, "larger than 8 MiB"));
    }
    assert_int_equal(failed, 1);
    assert_int_equal(rig.stages, 0);
    owner_deinit(&o);
}

TEST(queries_give_their_rows)
{
    struct owner o;
    owner_init(&o, KEYS);
    BEGIN(&o, "MAP", "SUM");
    run_maps(&o);
    assert_int_equal(heard(0, 1)->records + heard(1, 1)->records, KEYS);
    start_reduce(&o, 2, 0, 1);
    await(&o, 2, 1, JOB_REPORT_DONE);
    assert_int_equal(rig.stages, 1);
    struct reader r = reader_of(buf_bytes(&rig.stage[0].pairs));
    struct task_value v;
    char text[40];
    (void)reader_blob(&r);
    assert_true(task_value_get(reader_blob(&r), &v));
    EXPECT_BYTES(task_value_text(&v, text), "44850");
    owner_deinit(&o);
}

TEST(errors_of_the_users_code_are_told)
{
    struct owner o;
    owner_init(&o, 10);
    BEGIN(&o, "MAP", "LUA", "function map(k, v, emit) error('no') end", "REDUCE", "SUM");
    start_map(&o, 0, 1);
    await(&o, 0, 1, JOB_REPORT_FAILED);
    assert_non_null(strstr(heard(0, 1)->text, "map failed at key 'n:"));
    assert_int_equal(load_of(&o, 1).running, 0);
    assert_int_equal(load_of(&o, 1).output_bytes, 0);
    owner_deinit(&o);
}

/* With a process for each attempt, as in a server. */
/* Processes of this one, ended and not waited for among them. */
static unsigned child_count(void)
{
    char line[4096] = "";
    unsigned count = 0;
    FILE *f = fopen("/proc/thread-self/children", "r");
    assert_non_null(f);
    (void)!fgets(line, sizeof line, f);
    (void)fclose(f);
    for (const char *p = line; *p; p++) count += *p == ' ';
    return count;
}

TEST(attempts_in_processes_of_their_own_give_the_same_and_are_killed_in_endless_loops)
{
    struct owner o;
    assert_non_null(getenv("JOB_WORKER"));
    owner_init(&o, KEYS);
    for (uint16_t i = 1; i <= 2; i++) {
        node_of(&o, i)->tasks->nursery = nursery_new(getenv("JOB_WORKER"));
        node_of(&o, i)->config.job_dir = "/tmp";
    }
    BEGIN(&o, "MAP", "LUA", BY_THREE, "REDUCE", "SUM");
    run_maps(&o);
    reduces_give(&o, KEYS * (KEYS - 1) / 2, 30);
    for (uint32_t r = 0; r < REDUCES; r++)
        say_of(&o, (uint16_t)(1 + r % 2), JOB_MSG_KNOWN, 2 + r, 1);

    BEGIN(&o, "MAP", "LUA", "function map() while true do end end", "REDUCE", "SUM");
    start_map(&o, 0, 2);
    cluster_run(&o.c, 300);
    assert_int_equal(load_of(&o, 1).running, 1);
    assert_int_equal(heard(0, 2)->status, JOB_REPORT_RUNS);
    say_of(&o, 1, JOB_MSG_KILL, 0, 2);
    cluster_run(&o.c, 300);
    assert_int_equal(load_of(&o, 1).running, 0);
    assert_true(list_empty(&node_of(&o, 1)->tasks->gone));
    assert_int_equal(child_count(), 2); /* the nurseries: its process was reaped */
    start_map(&o, 0, 3);
    cluster_run(&o.c, 300);
    assert_int_equal(child_count(), 3);
    owner_deinit(&o);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* and this one when the node ended */
}

/* A file system of its own; needs to be root. */
TEST(a_full_disk_fails_attempts_that_spill_or_keep_their_output_and_nothing_stays)
{
    char dir[] = "/tmp/synod-job-XXXXXX";
    struct owner o;
    struct statfs before, after;
    assert_non_null(mkdtemp(dir));
    if (mount("tmpfs", dir, "tmpfs", 0, "size=2m")) {
        (void)rmdir(dir);
        skip();
    }
    owner_init(&o, KEYS);
    assert_int_equal(statfs(dir, &before), 0);
    node_of(&o, 1)->config.job_dir = dir;
    static const char source[] = /* 10 MB of output: less than memory, and more */
        "function map(k, v, emit) for i = 1, 8 do emit(k .. i, (' '):rep(8192)) end end";
    for (uint32_t way = 1; way <= 2; way++) {
        BEGIN(&o, "MAP", "LUA", source, "REDUCE", "COUNT", "LIMITS", "MEMORY",
              way == 1 ? "128m" : "16m");
        start_map(&o, 0, way);
        await(&o, 0, way, JOB_REPORT_FAILED);
        if (!strstr(heard(0, way)->text, way == 1 ? "the output cannot be written"
                                                  : "the spill file cannot be written") ||
            !strstr(heard(0, way)->text, "No space left on device"))
            fail_msg("%s", heard(0, way)->text);
        assert_int_equal(load_of(&o, 1).running, 0);
        cluster_run(&o.c, 100);
        assert_int_equal(statfs(dir, &after), 0);
        assert_int_equal(after.f_bfree, before.f_bfree);
    }
    owner_deinit(&o);
    assert_int_equal(umount(dir), 0);
    (void)rmdir(dir);
}

/* One frame in two of those between the nodes is lost, doubled or late. */
TEST(frames_that_are_lost_doubled_and_out_of_order_change_nothing)
{
    struct owner o;
    owner_init(&o, KEYS);
    BEGIN(&o, "MAP", "LUA",
          "function map(k, v, emit) for i = 1, 8 do emit(k .. i, v .. (' '):rep(4096)) end end",
          "REDUCE", "LUA",
          "function reduce(k, vs, emit) for v in vs do "
          "emit(k, tonumber((v:match('%d+')))) end end");
    run_maps(&o);
    for (uint32_t a = 0; a < 2; a++) {
        struct world_link *l = world_link(o.c.w, a, 1 - a);
        l->drop_ppm = l->double_ppm = l->delay_ppm = 200000;
    }
    rig.doubles_pieces = true;
    reduces_give(&o, 8.0 * KEYS * (KEYS - 1) / 2, 8 * KEYS);
    assert_true(rig.fetches > 5 * REDUCES);
    owner_deinit(&o);
}

/* 40 MB in two groups: several pieces of a snapshot, each read ahead. */
TEST(maps_miss_no_record_of_a_snapshot_of_many_pieces)
{
    struct owner o;
    struct buf set = {0}, pad = {0};
    owner_init(&o, 10);
    struct cluster_client *k = client_open(&o.c, 0);
    for (int i = 0; i < 100000; i++) buf_u8(&pad, ' ');
    for (int i = 0; i < 400; i++) {
        char key[20];
        (void)snprintf(key, sizeof key, "n:%d", i);
        buf_printf(&set, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%zu\r\n", strlen(key), key, pad.size);
        buf_append_bytes(&set, buf_bytes(&pad));
        buf_printf(&set, "\r\n");
        client_send(k, buf_bytes(&set));
        client_expect(k, "+OK\r\n");
        buf_clear(&set);
    }
    buf_deinit(&set), buf_deinit(&pad);
    snapshot(&o, k);
    BEGIN(&o, "MAP", "LUA", "function map(k, v, emit) emit(k, #v) end", "REDUCE", "SUM");
    run_maps(&o);
    assert_int_equal(heard(0, 1)->records + heard(1, 1)->records, 400);
    reduces_give(&o, 400.0 * 100000, 400);
    BEGIN(&o, "MAP", "DISTINCT");
    for (uint32_t m = 0; m < 2; m++) start_map(&o, m, 2);
    for (uint32_t m = 0; m < 2; m++) await(&o, m, 2, JOB_REPORT_DONE);
    assert_int_equal(heard(0, 2)->records + heard(1, 2)->records, 400);
    owner_deinit(&o);
}

TEST(a_node_refuses_what_it_cannot_keep_or_run)
{
    struct owner o;
    owner_init(&o, 10);
    BEGIN(&o, "TASKS", "8", "LUA", "function task() end", "REDUCE", "SUM");
    node_of(&o, 1)->tasks->known = TASK_ATTEMPTS_MAX;
    say(&o, 1, start_of(&o, 1, 1));
    assert_int_equal(heard(1, 1)->status, JOB_REPORT_FAILED);
    assert_non_null(strstr(heard(1, 1)->text, "as many attempts"));
    node_of(&o, 1)->tasks->known = 0;
    struct job_msg m = start_of(&o, 1, 2);
    m.slot_lo = 5, m.slot_hi = 3;
    say(&o, 1, m);
    assert_non_null(strstr(heard(1, 2)->text, "came damaged"));
    node_of(&o, 1)->config.job_slots = 0;
    say(&o, 1, start_of(&o, 1, 3));
    assert_non_null(strstr(heard(1, 3)->text, "runs no tasks"));
    assert_int_equal(attempts(&o, 1), 0);
    owner_deinit(&o);
}

TEST_MAIN
