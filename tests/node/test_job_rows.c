/* The rows of jobs on a cluster of the real node code: a publication is one transaction over the
 * groups of its keys and the record's, whoever dies meanwhile. Slots of a, b, c and d: 15495, 3300,
 * 7365, 11298, of four groups. */
#include "cluster.h"
#include "node_asks.h"

#include "redis/job.h"
#include "redis/job_record_of.h"
#include "redis/txn.h"

/* Nobody owns these jobs: the tests say what an owner would. Prototypes, for the linker gives them
 * these names. */
void __wrap_jobs_slow(struct node *n);
void __wrap_jobs_look_now(struct node *n);
void __wrap_jobs_slow(struct node *n)
{
    (void)n;
}
void __wrap_jobs_look_now(struct node *n)
{
    (void)n;
}

/* ---- asking as a node does ---- */

struct heard {
    struct buf text;
    uint32_t times;
};

static void answered(void *ctx, struct bytes reply)
{
    struct heard *a = ctx;
    buf_append_bytes(&a->text, reply);
    a->times++;
}

#define ARGS 24
struct call {
    struct bytes v[ARGS];
    uint8_t number[ARGS][8];
    uint32_t count;
};

static void put(struct call *c, struct bytes v)
{
    c->v[c->count++] = v;
}

static void put_number(struct call *c, uint64_t n)
{
    for (int i = 0; i < 8; i++) c->number[c->count][i] = (uint8_t)(n >> 8 * i);
    put(c, bytes_of(c->number[c->count], 8));
}

static void ask(struct cluster *c, uint32_t node, const char *name, struct call *call,
                struct heard *a)
{
    world_enter(c->w, node);
    asks_ask(c->member[node].node, name, &(struct cmd_args){call->v, call->count}, answered, a);
    world_leave(c->w, node);
}

static void expect(struct cluster *c, struct heard *a, const char *text)
{
    for (int i = 0; i < 1000 && !a->times; i++) cluster_run(c, 10);
    assert_int_equal(a->times, 1);
    assert_int_equal(a->text.size, strlen(text));
    assert_memory_equal(a->text.data, text, a->text.size);
    buf_deinit(&a->text);
    *a = (struct heard){0};
}

static uint64_t new_job(struct cluster *c, uint32_t node)
{
    struct bytes words[] = {BYTES("a"), BYTES("MAP"), BYTES("COUNT")};
    struct call call = {0};
    struct heard a = {0};
    struct job_spec spec;
    struct job_spec_error error;
    struct buf text = {0};
    assert_true(job_spec_submit(words, 3, &spec, &error));
    job_spec_encode(&spec, &text);
    put(&call, BYTES("NEW")), put(&call, BYTES("a")), put(&call, buf_bytes(&text));
    ask(c, node, "synod|job", &call, &a);
    for (int i = 0; i < 1000 && !a.times; i++) cluster_run(c, 10);
    assert_int_equal(a.text.size, 4 + 8 + 2);
    struct reader r = reader_of(bytes_of(a.text.data + 4, 8));
    uint64_t job = reader_u64(&r);
    buf_deinit(&text), buf_deinit(&a.text);
    return job;
}

static void ask_record(struct cluster *c, uint32_t node, uint64_t job, struct at at,
                       struct heard *a)
{
    struct call call = {0};
    struct buf record = record_of(at);
    put(&call, BYTES("RECORD"));
    put_number(&call, job);
    put_number(&call, at.epoch), put_number(&call, at.revision);
    put_number(&call, 0), put_number(&call, 0);
    put(&call, buf_bytes(&record));
    ask(c, node, "synod|job", &call, a);
    buf_deinit(&record);
}

static void expect_record(struct cluster *c, uint32_t node, uint64_t job, struct at at,
                          const char *text)
{
    struct heard a = {0};
    ask_record(c, node, job, at, &a);
    expect(c, &a, text);
}

/* The record (1, 1) is COMMITTING: it becomes (1, 2), DONE. */
static void ask_publish(struct cluster *c, uint32_t node, uint64_t job, bool keys, struct heard *a)
{
    struct call call = {0};
    struct buf record = record_of((struct at){1, 2, JOB_DONE, false});
    static const char *const key[] = {"a", "b", "c", "d"};
    put(&call, BYTES("SYNOD")), put(&call, BYTES("JOB-PUBLISH"));
    put_number(&call, job), put_number(&call, 1), put_number(&call, 1);
    put(&call, buf_bytes(&record));
    for (int i = 0; keys && i < 4; i++) put(&call, bytes_str(key[i])), put(&call, BYTES("1"));
    world_enter(c->w, node);
    asks_run(c->member[node].node, "synod|job-publish", &(struct cmd_args){call.v, call.count},
             answered, a);
    world_leave(c->w, node);
    buf_deinit(&record);
}

#define NOTHING "*4\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n"
#define ALL     "*4\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n"

TEST(a_publication_is_one_transaction_over_groups)
{
    for (uint32_t node = 0; node < 3; node++) {
        struct cluster c;
        struct heard a = {0};
        cluster_init(&c, 3, 4, 3);
        struct client *k = client_open(&c, node);
        uint64_t job = new_job(&c, node);
        client_says(k, "HSET b f v", ":1\r\n");
        ask_publish(&c, node, job, true, &a);
        expect(&c, &a, ":0\r\n");
        expect_record(&c, node, job, (struct at){1, 1, JOB_COMMITTING, false}, ":1\r\n");
        client_says(k, "EXISTS a b c d", ":1\r\n");
        ask_publish(&c, node, job, true, &a);
        expect(&c, &a, ":1\r\n");
        client_says(k, "MGET a b c d", ALL);
        client_says(k, "DEL a b c d", ":4\r\n");
        ask_publish(&c, (node + 1) % 3, job, true, &a); /* done already */
        expect(&c, &a, ":1\r\n");
        client_says(k, "MGET a b c d", NOTHING);
        expect_record(&c, node, job, (struct at){1, 3, JOB_FAILED, false}, ":0\r\n");
        expect_record(&c, node, job, (struct at){1, 3, JOB_DONE, true}, ":1\r\n");
        cluster_deinit(&c);
    }
}

TEST(a_publication_without_keys_is_of_the_record_alone)
{
    struct cluster c;
    struct heard a = {0};
    cluster_init(&c, 3, 4, 3);
    uint32_t node = cluster_other(&c, 0);
    uint64_t job = new_job(&c, node);
    expect_record(&c, node, job, (struct at){1, 1, JOB_COMMITTING, false}, ":1\r\n");
    ask_publish(&c, node, job, false, &a);
    expect(&c, &a, ":1\r\n");
    expect_record(&c, node, job, (struct at){1, 2, JOB_FAILED, false}, ":0\r\n");
    cluster_deinit(&c);
}

/* As the coordinator of a publication does. */
static void ask_lock(struct cluster *c, uint32_t node, uint64_t job, struct txn_id id)
{
    struct heard a = {0};
    struct call lock = {0}, publish = {0};
    struct buf text = {0}, items = {0}, row = {0};
    put(&publish, BYTES("SYNOD")), put(&publish, BYTES("JOB-PUBLISH"));
    put_number(&publish, job);
    for (int i = 0; i < 3; i++) put(&publish, BYTES(""));
    struct cmd_args args = {publish.v, publish.count};
    assert_true(txn_row(command_named("synod|job-publish"), &args, &row));
    locks_put_item(&items, LOCK_RECORD, buf_bytes(&row));
    txn_put_id(&text, id);
    put(&lock, buf_bytes(&text));
    put_number(&lock, 1), put_number(&lock, 0);
    put(&lock, BYTES("")), put(&lock, BYTES(""));
    put_number(&lock, 0);
    put(&lock, BYTES(""));
    put(&lock, buf_bytes(&items));
    ask(c, node, "synod|lock", &lock, &a);
    for (int i = 0; i < 1000 && !a.times; i++) cluster_run(c, 1);
    assert_int_equal(a.text.data[0], '$');
    buf_deinit(&text), buf_deinit(&items), buf_deinit(&row), buf_deinit(&a.text);
}

TEST(a_record_waits_for_a_publication_and_other_jobs_do_not)
{
    struct cluster c;
    struct heard a = {0}, done = {0};
    struct call finish = {0};
    struct buf text = {0};
    cluster_init(&c, 3, 4, 3);
    uint32_t node = cluster_other(&c, 0);
    uint64_t job = new_job(&c, node);
    struct txn_id id = asks_txn_id(c.member[node].node, 1u << 30);
    ask_lock(&c, node, job, id);
    ask_record(&c, node, job, (struct at){1, 1, JOB_MAP, false}, &a);
    expect_record(&c, node, job + 1, (struct at){1, 1, JOB_MAP, false}, "$-1\r\n");
    struct client *k = client_open(&c, node);
    client_says(k, "SCRIPT EXISTS x", "*1\r\n:0\r\n");
    cluster_run(&c, 1000);
    assert_int_equal(a.times, 0);
    txn_put_id(&text, id);
    put(&finish, buf_bytes(&text)), put_number(&finish, 0);
    ask(&c, node, "synod|finish", &finish, &done);
    expect(&c, &a, ":1\r\n");
    expect(&c, &done, "+OK\r\n");
    buf_deinit(&text);
    cluster_deinit(&c);
}

/* The publisher dies so many steps of 100 us after it began. What others find is whole, and the
 * record says which. */
TEST(a_publication_is_done_or_not_whoever_dies)
{
    uint32_t outcomes[2] = {0};
    for (int steps = 0; steps < 60; steps += 5) {
        struct cluster c;
        struct heard a = {0};
        struct buf reply = {0};
        cluster_init(&c, 3, 4, 3);
        uint32_t node = cluster_other(&c, 0), look = cluster_leader(&c, 0);
        uint64_t job = new_job(&c, node);
        expect_record(&c, node, job, (struct at){1, 1, JOB_COMMITTING, false}, ":1\r\n");
        ask_publish(&c, node, job, true, &a);
        for (int i = 0; i < steps; i++) world_run(c.w, world_now(c.w) + 100000, NULL);
        cluster_kill(&c, node);
        cluster_settle(&c);
        assert_int_equal(a.times, 1); /* known, or that the node stopped */
        buf_deinit(&a.text);
        a = (struct heard){0};
        ask_record(&c, look, job, (struct at){1, 2, JOB_FAILED, false}, &a);
        for (int i = 0; i < 1000 && !a.times; i++) cluster_run(&c, 10);
        assert_true(a.text.size == 4 && a.text.data[0] == ':');
        bool done = a.text.data[1] == '0';
        outcomes[done]++;
        client_says(client_open(&c, look), "MGET a b c d", done ? ALL : NOTHING);
        buf_deinit(&a.text), buf_deinit(&reply);
        cluster_deinit(&c);
    }
    assert_true(outcomes[0] > 0 && outcomes[1] > 0);
}

static void stage_call(struct call *call, const char *word, uint64_t job)
{
    *call = (struct call){0};
    put(call, bytes_str(word));
    put_number(call, job);
    for (int i = 0; i < 4; i++) put_number(call, i == 1); /* task, epoch, number, piece */
}

static void expect_staged(struct cluster *c, uint64_t job, const char *text)
{
    for (uint32_t node = 0; node < 3; node++) {
        struct call call;
        struct heard a = {0};
        stage_call(&call, "STAGED", job);
        ask(c, node, "synod|job-read", &call, &a);
        expect(c, &a, text);
    }
}

static void restart_all(struct cluster *c)
{
    for (uint32_t n = 0; n < 3; n++) cluster_kill(c, n);
    for (uint32_t n = 0; n < 3; n++) cluster_start(c, n);
    cluster_settle(c);
}

/* Also by replicas that find it on their disks. */
TEST(what_was_staged_is_kept_over_restarts_and_gone_once_cleaned)
{
    struct cluster c;
    struct call call;
    struct heard a = {0};
    cluster_init(&c, 3, 4, 3);
    uint64_t job = new_job(&c, 0);
    call = (struct call){0};
    put(&call, BYTES("STAGE"));
    put_number(&call, job);
    for (int i = 0; i < 4; i++) put_number(&call, i == 1);
    put(&call, BYTES("pairs"));
    expect_record(&c, 0, job, (struct at){1, 1, JOB_REDUCE, false}, ":1\r\n");
    ask(&c, 1, "synod|job", &call, &a);
    expect(&c, &a, ":1\r\n");
    expect_staged(&c, job, "$5\r\npairs\r\n");
    restart_all(&c);
    expect_staged(&c, job, "$5\r\npairs\r\n");
    expect_record(&c, 0, job, (struct at){1, 2, JOB_FAILED, false}, ":1\r\n");
    call = (struct call){0};
    put(&call, BYTES("FORGET"));
    put_number(&call, job);
    ask(&c, 2, "synod|job", &call, &a);
    expect(&c, &a, ":1\r\n");
    expect_staged(&c, job, "$-1\r\n");
    restart_all(&c);
    expect_staged(&c, job, "$-1\r\n");
    cluster_deinit(&c);
}

/* As many keys as one may set; FLUSHALL forgets them and the job. */
TEST(a_publication_sets_ten_thousand_keys)
{
    struct cluster c;
    struct heard a = {0};
    struct call head = {0};
    static struct bytes v[6 + 2 * JOB_PUBLISH_KEYS];
    static char name[JOB_PUBLISH_KEYS][16], value[100];
    cluster_init(&c, 3, 4, 3);
    uint64_t job = new_job(&c, 1);
    expect_record(&c, 1, job, (struct at){1, 1, JOB_COMMITTING, false}, ":1\r\n");
    struct buf record = record_of((struct at){1, 2, JOB_DONE, false});
    put(&head, BYTES("SYNOD")), put(&head, BYTES("JOB-PUBLISH"));
    put_number(&head, job), put_number(&head, 1), put_number(&head, 1);
    put(&head, buf_bytes(&record));
    memcpy(v, head.v, 6 * sizeof *v);
    for (int i = 0; i < JOB_PUBLISH_KEYS; i++) {
        snprintf(name[i], sizeof name[i], "key%d", i);
        v[6 + 2 * i] = bytes_str(name[i]);
        v[7 + 2 * i] = bytes_of(value, sizeof value);
    }
    world_enter(c.w, 1);
    asks_run(c.member[1].node, "synod|job-publish", &(struct cmd_args){v, 6 + 2 * JOB_PUBLISH_KEYS},
             answered, &a);
    world_leave(c.w, 1);
    expect(&c, &a, ":1\r\n");
    struct client *k = client_open(&c, 0);
    client_says(k, "DBSIZE", ":10000\r\n");
    client_says(k, "STRLEN key9999", ":100\r\n");
    client_says(k, "FLUSHALL", "+OK\r\n");
    client_says(k, "DBSIZE", ":0\r\n");
    expect_record(&c, 0, job, (struct at){1, 3, JOB_DONE, true}, "$-1\r\n");
    buf_deinit(&record);
    cluster_deinit(&c);
}

TEST_MAIN
