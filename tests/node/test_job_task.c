/* Attempts of tasks on nodes of a simulated cluster. The test is their owner: it says START, hears
 * their REPORTs, and stands for group 0 where reduces stage what they give. Fetches between nodes
 * are real frames. */
#define client cluster_client /* the node's own header has one, too */
#include "cluster.h"
#undef client

#include "base/prng.h"
#include "job/task_value.h"
#include "node/task.h"
#include "redis/cut.h"

#include <fcntl.h>
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
    const char *answer;        /* to STAGE */
    bool loses_pieces, silent; /* all of them; no answer to STAGE comes at first */
    uint32_t fetches;
} rig;

bool __real_job_send(struct node *n, uint16_t to, const struct job_msg *m);
bool __wrap_job_send(struct node *n, uint16_t to, const struct job_msg *m);
void __real_txn_ask_for(struct node *n, uint32_t group, const struct txn_question *q);
void __wrap_txn_ask_for(struct node *n, uint32_t group, const struct txn_question *q);

bool __wrap_job_send(struct node *n, uint16_t to, const struct job_msg *m)
{
    if (m->type != JOB_MSG_REPORT) {
        rig.fetches += m->type == JOB_MSG_FETCH;
        if (m->type == JOB_MSG_PIECE && rig.loses_pieces) return true;
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

/* Keys n:0 .. with the numbers 0 .. as values, and a snapshot of them. */
static void owner_init(struct owner *o, int keys)
{
    struct buf reply = {0};
    *o = (struct owner){.epoch = 3, .node_of = {1, 2}};
    cluster_init(&o->c, 2, 2, 2);
    struct cluster_client *k = client_open(&o->c, 0);
    for (int i = 0; i < keys; i++) {
        char line[60];
        (void)snprintf(line, sizeof line, "SET n:%d %d", i, i);
        client_says(k, line, "+OK\r\n");
    }
    client_say(k, "SNAPSHOT CREATE");
    struct bytes r = client_reply(k, &reply);
    const char *id = strstr((const char *)r.data, "$16\r\n");
    assert_non_null(id);
    assert_true(cut_name_get(bytes_of(id + 5, 16), &o->snapshot));
    buf_deinit(&reply);
    cluster_run(&o->c, 500);
}

static void owner_deinit(struct owner *o)
{
    cluster_deinit(&o->c);
    buf_deinit(&o->spec);
    for (uint32_t i = 0; i < rig.stages; i++) buf_deinit(&rig.stage[i].pairs);
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

TEST_MAIN
