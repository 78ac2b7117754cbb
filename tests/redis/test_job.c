/* The rows of jobs where they are evaluated: what each command changes, and what it refuses. */
#include "redis/world.h"
#include "base/prng.h"
#include "redis/cut.h"
#include "redis/job.h"
#include "redis/job_record_of.h"
#include "redis/txn.h"
#include "shard/keys.h"

#include <stdlib.h>

#define WORLD(w)                                                                                   \
    struct world w;                                                                                \
    world_init(&w)
#define BAD "ERR not what nodes send each other of a job"

/* ---- saying it ---- */

struct said { /* arguments; those that are numbers are kept here */
    struct bytes v[64];
    uint8_t number[64][8];
    bool is_number[64];
    uint32_t count;
};

static void word(struct said *s, struct bytes w)
{
    s->v[s->count++] = w;
}

static void number(struct said *s, uint64_t n)
{
    for (int i = 0; i < 8; i++) s->number[s->count][i] = (uint8_t)(n >> 8 * i);
    s->is_number[s->count++] = true;
}

static struct said said(const char *command, const char *what)
{
    struct said s = {0};
    word(&s, BYTES("SYNOD"));
    word(&s, bytes_str(command));
    if (what) word(&s, bytes_str(what));
    return s;
}

#define NUMBERS(s, ...)                                                                            \
    do {                                                                                           \
        const uint64_t list[] = {__VA_ARGS__};                                                     \
        for (size_t i_ = 0; i_ < sizeof list / sizeof *list; i_++) number(&(s), list[i_]);         \
    } while (0)

/* Borrows from where s is now. */
static struct cmd_args args_of(struct said *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (s->is_number[i]) s->v[i] = bytes_of(s->number[i], 8);
    return (struct cmd_args){s->v, s->count};
}

static const char *run_said(struct world *w, struct said *s)
{
    struct cmd_args a = args_of(s);
    return world_run_args(w, a.v, a.count);
}

static struct bytes run_raw(struct world *w, struct said *s)
{
    struct cmd_args a = args_of(s);
    return world_run_raw(w, a.v, a.count);
}

#define EXPECT_SAID(w, s, expected) assert_string_equal(run_said(w, &(s)), expected)

static struct bytes bulk(struct bytes reply)
{
    struct reader r = reader_of(reply);
    assert_int_equal(reader_u8(&r), '$');
    uint64_t size = 0;
    for (uint8_t c; (c = reader_u8(&r)) != '\r';) size = size * 10 + c - '0';
    (void)reader_u8(&r);
    return reader_take(&r, size);
}

static uint64_t job_of(struct bytes reply)
{
    struct reader r = reader_of(bulk(reply));
    return reader_u64(&r);
}

/* A spec that has a name of its own, so that two differ. */
static struct buf spec_of(const char *name, bool into)
{
    struct buf out = {0};
    struct bytes args[] = {bytes_str(name), BYTES("MAP"), BYTES("COUNT"), BYTES("INTO"),
                           BYTES("p:")};
    struct job_spec spec;
    struct job_spec_error error;
    if (!job_spec_submit(args, into ? 5 : 3, &spec, &error)) fail_msg("%s", error.text);
    job_spec_encode(&spec, &out);
    return out;
}

static uint64_t new_job(struct world *w, const char *name, bool into)
{
    struct buf spec = spec_of(name, into);
    struct bytes v[] = {BYTES("SYNOD"), BYTES("JOB"), BYTES("NEW"), bytes_str(name),
                        buf_bytes(&spec)};
    uint64_t job = job_of(world_run_raw(w, v, 5));
    buf_deinit(&spec);
    assert_true(job != 0);
    return job;
}

static const char *record(struct world *w, uint64_t job, struct at at, uint64_t base_epoch,
                          uint64_t base_revision)
{
    struct buf bytes = record_of(at);
    struct said s = said("JOB", "RECORD");
    NUMBERS(s, job, at.epoch, at.revision, base_epoch, base_revision);
    word(&s, buf_bytes(&bytes));
    const char *reply = run_said(w, &s);
    buf_deinit(&bytes);
    return reply;
}

#define EXPECT_RECORD(w, job, base_epoch, base_revision, expected, ...)                            \
    assert_string_equal(record(w, job, (struct at){__VA_ARGS__}, base_epoch, base_revision),       \
                        expected)

static const char *publish(struct world *w, uint64_t job, uint64_t epoch, uint64_t revision,
                           const char *const *pairs)
{
    struct buf bytes = record_of((struct at){epoch, revision + 1, JOB_DONE, false});
    struct said s = said("JOB-PUBLISH", NULL);
    NUMBERS(s, job, epoch, revision);
    word(&s, buf_bytes(&bytes));
    for (; pairs && *pairs; pairs++) word(&s, bytes_str(*pairs));
    const char *reply = run_said(w, &s);
    buf_deinit(&bytes);
    return reply;
}

static struct said about(const char *what, uint64_t job)
{
    struct said s = said("JOB", what);
    number(&s, job);
    return s;
}

static const char *ask(struct world *w, const char *what, uint64_t job)
{
    struct said s = about(what, job);
    return run_said(w, &s);
}

static struct job_owned own(struct world *w, uint64_t job)
{
    struct said s = about("OWN", job);
    struct job_owned o;
    assert_true(job_owned_get(bulk(run_raw(w, &s)), &o));
    return o;
}

static struct job_rows get(struct world *w, const char *name)
{
    struct bytes v[] = {BYTES("SYNOD"), BYTES("JOB-READ"), BYTES("GET"), bytes_str(name)};
    struct job_rows rows;
    assert_true(job_rows_get(bulk(world_run_raw(w, v, 4)), &rows));
    return rows;
}

static const char *stage(struct world *w, uint64_t job, uint64_t epoch, uint32_t n, uint32_t piece,
                         const char *pairs)
{
    struct said s = said("JOB", "STAGE");
    NUMBERS(s, job, 1, epoch, n, piece);
    word(&s, bytes_str(pairs));
    return run_said(w, &s);
}

static const char *staged(struct world *w, uint64_t job, uint64_t epoch, uint32_t n, uint32_t piece)
{
    struct said s = said("JOB-READ", "STAGED");
    NUMBERS(s, job, 1, epoch, n, piece);
    return run_said(w, &s);
}

static const char *clean(struct world *w, uint64_t job, uint64_t epoch)
{
    struct said s = said("JOB", "CLEAN");
    NUMBERS(s, job, epoch);
    return run_said(w, &s);
}

/* Rows of this kind that the job has. */
static uint32_t rows_of(const struct world *w, uint8_t kind)
{
    uint32_t n = 0;
    for (size_t i = 0; i < w->count; i++) {
        struct bytes key = buf_bytes(&w->rows[i].key);
        n += key.size > 3 && key.data[2] == KEYS_JOB && key.data[3] == kind;
    }
    return n;
}

/* ---- NEW ---- */

TEST(a_job_that_is_asked_for_twice_is_one)
{
    WORLD(w);
    uint64_t a = new_job(&w, "a", false), b = new_job(&w, "b", false);
    assert_true(a != b);
    assert_true(new_job(&w, "a", false) == a);
    assert_false(w.wrote);
    struct buf spec = spec_of("other", false);
    struct bytes v[] = {BYTES("SYNOD"), BYTES("JOB"), BYTES("NEW"), BYTES("a"), buf_bytes(&spec)};
    assert_string_equal(world_run_args(&w, v, 5),
                        "JOBEXISTS there is a job 'a' that does something else: choose another "
                        "name, or JOB FORGET it once it has ended");
    struct job_rows rows = get(&w, "a");
    struct buf was = spec_of("a", false);
    assert_true(bytes_equal(rows.spec, buf_bytes(&was)));
    assert_true(rows.job == a && rows.submitted_ms == (uint64_t)w.now_ms && !rows.cancelled);
    assert_true(bytes_equal(rows.name, BYTES("a")));
    assert_int_equal(rows.record.size + rows.news.size + rows.log.size, 0);
    EXPECT_RUN(&w, "synod job-read get nosuch", "nil");
    buf_deinit(&spec), buf_deinit(&was);
    world_deinit(&w);
}

/* The next id that is drawn is taken: another one is. */
TEST(ids_do_not_collide)
{
    WORLD(w);
    uint64_t seed = w.seed;
    uint64_t a = new_job(&w, "a", false);
    w.seed = seed;
    assert_true(new_job(&w, "b", false) != a);
    assert_int_equal(rows_of(&w, 'j'), 2);
    world_deinit(&w);
}

TEST(what_is_malformed_is_an_error)
{
    WORLD(w);
    EXPECT_RUN(&w, "synod job new a nospec", BAD);
    EXPECT_RUN(&w, "synod job new a", BAD);
    EXPECT_RUN(&w, "synod job own 1", BAD);
    EXPECT_RUN(&w, "synod job nosuch 12345678", BAD);
    EXPECT_RUN(&w, "synod job get a", BAD); /* of JOB-READ */
    EXPECT_RUN(&w, "synod job-read cancel 12345678", BAD);
    struct buf spec = spec_of("a", false);
    char name[JOB_NAME_MAX + 2] = {0};
    memset(name, 'n', JOB_NAME_MAX + 1);
    struct bytes v[] = {BYTES("SYNOD"), BYTES("JOB"), BYTES("NEW"), bytes_str(name),
                        buf_bytes(&spec)};
    assert_string_equal(world_run_args(&w, v, 5), BAD);
    v[3].size--;
    assert_true(job_of(world_run_raw(&w, v, 5)) != 0);
    v[3].size = 0;
    assert_string_equal(world_run_args(&w, v, 5), BAD);

    uint64_t job = new_job(&w, "a", false);
    struct said s = about("RECORD", job);
    NUMBERS(s, 1, 1, 0, 0);
    word(&s, BYTES("norecord"));
    EXPECT_SAID(&w, s, BAD);
    struct buf record = record_of((struct at){1, 2, JOB_MAP, false});
    s.v[s.count - 1] = buf_bytes(&record); /* of another revision than said */
    EXPECT_SAID(&w, s, BAD);
    assert_int_equal(rows_of(&w, 'r'), 0);
    buf_deinit(&spec), buf_deinit(&record);
    world_deinit(&w);
}

static void end_job(struct world *w, uint64_t job, bool dropped)
{
    EXPECT_RECORD(w, job, 0, 0, "1", 1, 1, JOB_FAILED, false);
    if (dropped) EXPECT_RECORD(w, job, 0, 0, "1", 1, 2, JOB_FAILED, true);
}

TEST(so_many_jobs_live_and_so_many_are_remembered)
{
    WORLD(w);
    char name[16];
    uint64_t job[JOB_LIVE_MAX], first = 0;
    w.once = true;
    for (int i = 0; i < JOB_LIVE_MAX; i++) {
        snprintf(name, sizeof name, "live%d", i);
        job[i] = new_job(&w, name, false);
    }
    struct buf spec = spec_of("x", false);
    struct bytes v[] = {BYTES("SYNOD"), BYTES("JOB"), BYTES("NEW"), BYTES("x"), buf_bytes(&spec)};
    assert_string_equal(world_run_args(&w, v, 5),
                        "ERR there are 16 jobs that have not ended, the most there may be: wait "
                        "for one of them, or JOB CANCEL it");
    end_job(&w, job[0], false); /* the oldest of all, but not cleaned */
    for (int i = 0; i < JOB_HISTORY_MAX + 1; i++) {
        w.now_ms++;
        snprintf(name, sizeof name, "old%d", i);
        uint64_t old = new_job(&w, name, false);
        if (i == 0) first = old;
        end_job(&w, old, true);
    }
    assert_int_equal(rows_of(&w, 'j'), JOB_LIVE_MAX + JOB_HISTORY_MAX);
    w.once = false;
    new_job(&w, "x", false);
    assert_int_equal(rows_of(&w, 'j'), JOB_LIVE_MAX + JOB_HISTORY_MAX);
    EXPECT_RUN(&w, "synod job-read get old0", "nil");
    EXPECT_RUN(&w, "synod job-read get old1", "nil");
    (void)get(&w, "live0"), (void)get(&w, "old2");
    assert_string_equal(ask(&w, "CANCEL", first), "nil");
    assert_int_equal(rows_of(&w, 'n'), rows_of(&w, 'j'));
    assert_int_equal(rows_of(&w, 'h'), rows_of(&w, 'r'));
    buf_deinit(&spec);
    world_deinit(&w);
}

/* ---- owning and recording ---- */

TEST(each_owner_has_a_higher_epoch)
{
    WORLD(w);
    uint64_t job = new_job(&w, "a", true);
    w.now_ms += 5;
    struct job_owned o = own(&w, job);
    assert_true(o.epoch == 1 && o.submitted_ms + 5 == (uint64_t)w.now_ms);
    assert_true(!o.cancelled && bytes_equal(o.name, BYTES("a")) && o.record.size == 0);
    EXPECT_RECORD(&w, job, 0, 0, "1", 1, 1, JOB_MAP, false);
    assert_string_equal(ask(&w, "CANCEL", job), "1");
    o = own(&w, job);
    struct buf was = record_of((struct at){1, 1, JOB_MAP, false});
    assert_true(o.epoch == 2 && o.cancelled && bytes_equal(o.record, buf_bytes(&was)));
    assert_string_equal(ask(&w, "OWN", job + 1), "nil");
    assert_false(w.wrote);
    buf_deinit(&was);
    world_deinit(&w);
}

struct twin { /* what the world should have of one job's record */
    bool is;
    struct at at;
};

/* The rule as it stands at the head of job/job_state.h, word by word. */
static const char *twin_record(struct twin *t, struct at r, uint64_t base_epoch,
                               uint64_t base_revision)
{
    const struct at *c = &t->at;
    if (t->is && c->epoch == r.epoch && c->revision == r.revision)
        return c->phase == r.phase ? "1" : "0"; /* DONE by a publication, FAILED by its owner */
    bool first = !t->is && base_epoch == 0 && base_revision == 0;
    bool same_epoch = t->is && c->epoch == r.epoch && c->revision < r.revision;
    bool on_base = t->is && c->epoch == base_epoch && c->revision == base_revision;
    bool back = t->is && (r.epoch < c->epoch || (r.epoch == c->epoch && r.revision < c->revision));
    if (!(first || same_epoch || on_base) || back) return "0";
    if (t->is && c->phase >= JOB_DONE && (r.phase != c->phase || (c->dropped && !r.dropped)))
        return "0";
    if (r.phase == JOB_DONE && !(t->is && c->phase == JOB_DONE))
        return "ERR only JOB-PUBLISH makes a job DONE";
    *t = (struct twin){true, r};
    return "1";
}

static const char *twin_publish(struct twin *t, uint64_t epoch, uint64_t revision)
{
    if (t->is && t->at.epoch == epoch && t->at.revision == revision + 1 && t->at.phase == JOB_DONE)
        return "1";
    if (!t->is || t->at.epoch != epoch || t->at.revision != revision ||
        t->at.phase != JOB_COMMITTING)
        return "0";
    t->at = (struct at){epoch, revision + 1, JOB_DONE, false};
    return "1";
}

static void expect_twin(struct world *w, const struct twin *t)
{
    struct job_rows rows = get(w, "a");
    struct buf want = {0};
    if (t->is) want = record_of(t->at);
    assert_true(bytes_equal(rows.record, buf_bytes(&want)));
    buf_deinit(&want);
}

TEST(records_follow_each_other_as_in_a_naive_twin)
{
    struct prng r;
    uint32_t ended = 0, done = 0, refused = 0;
    prng_init(&r, 4711);
    for (int round = 0; round < 60; round++) {
        WORLD(w);
        w.once = round > 10;
        struct twin t = {0};
        uint64_t job = new_job(&w, "a", false);
        for (int i = 0; i < 40; i++) {
            uint64_t epoch = 1 + prng_below(&r, 3), revision = 1 + prng_below(&r, 5);
            bool knows = prng_below(&r, 2); /* the base that is there */
            uint64_t be = knows ? t.at.epoch : prng_below(&r, 3);
            uint64_t br = knows ? t.at.revision : prng_below(&r, 4);
            uint8_t phase = (uint8_t)(i < 8 ? JOB_COMMITTING : prng_below(&r, JOB_CANCELLED + 1));
            if (prng_below(&r, 3) == 0) {
                if (knows) epoch = t.at.epoch + !t.at.epoch, revision = t.at.revision;
                assert_string_equal(publish(&w, job, epoch, revision, NULL),
                                    twin_publish(&t, epoch, revision));
            } else {
                struct at at = {epoch, revision, phase, phase >= JOB_DONE && prng_below(&r, 2)};
                const char *want = twin_record(&t, at, be, br);
                refused += want[0] == '0';
                assert_string_equal(record(&w, job, at, be, br), want);
            }
            expect_twin(&w, &t);
        }
        ended += t.at.phase > JOB_DONE;
        done += t.at.phase == JOB_DONE;
        world_deinit(&w);
    }
    assert_true(ended > 5 && done > 5 && refused > 100);
}

/* J6: whoever read the record before the end was written has no base to write on. */
TEST(an_end_on_record_stays)
{
    WORLD(w);
    uint64_t job = new_job(&w, "a", false);
    EXPECT_RECORD(&w, job, 0, 0, "1", 1, 1, JOB_MAP, false);
    EXPECT_RECORD(&w, job, 0, 0, "1", 1, 2, JOB_FAILED, false);
    EXPECT_RECORD(&w, job, 1, 1, "0", 2, 2, JOB_MAP, false);
    EXPECT_RECORD(&w, job, 1, 2, "0", 2, 3, JOB_MAP, false);
    EXPECT_RECORD(&w, job, 1, 2, "0", 2, 3, JOB_CANCELLED, false);
    EXPECT_RECORD(&w, job, 1, 2, "1", 2, 3, JOB_FAILED, false); /* its next owner begins */
    EXPECT_RECORD(&w, job, 1, 2, "1", 2, 4, JOB_FAILED, true);
    EXPECT_RECORD(&w, job, 1, 2, "1", 2, 5, JOB_FAILED, true); /* nobody knew of the one before */
    EXPECT_RECORD(&w, job, 1, 2, "0", 2, 6, JOB_FAILED, false);
    EXPECT_RECORD(&w, job + 1, 0, 0, "nil", 1, 1, JOB_MAP, false); /* no such job */
    assert_int_equal(rows_of(&w, 'r'), 1);
    world_deinit(&w);
}

TEST(news_are_of_the_last_owner)
{
    WORLD(w);
    struct job_news news = {.epoch = 1, .node = 3, .maps = 7, .bytes = 1ull << 40}, back;
    struct buf text = {0};
    uint64_t job = new_job(&w, "a", false);
    job_news_put(&text, &news);
    struct said s = about("NEWS", job);
    number(&s, 1);
    word(&s, BYTES("p"));
    word(&s, buf_bytes(&text));
    EXPECT_SAID(&w, s, "0");
    (void)own(&w, job);
    EXPECT_SAID(&w, s, "1");
    assert_true(job_news_get(get(&w, "a").news, &back));
    assert_true(back.node == 3 && back.maps == 7 && back.bytes == news.bytes);
    s.v[6].size--;
    EXPECT_SAID(&w, s, BAD);
    s.v[5] = BYTES("l"), s.v[6] = BYTES("a line");
    EXPECT_SAID(&w, s, "1");
    assert_true(bytes_equal(get(&w, "a").log, BYTES("a line")));
    (void)own(&w, job);
    EXPECT_SAID(&w, s, "0");
    EXPECT_RECORD(&w, job, 0, 0, "1", 2, 1, JOB_FAILED, false);
    assert_string_equal(ask(&w, "FORGET", job), "1");
    EXPECT_SAID(&w, s, "nil");
    s.v[5] = BYTES("j");
    EXPECT_SAID(&w, s, BAD);
    world_deinit(&w);
    buf_deinit(&text);
}

/* ---- staging ---- */

TEST(pairs_are_staged_while_the_job_reduces)
{
    WORLD(w);
    uint64_t job = new_job(&w, "a", false);
    assert_string_equal(stage(&w, job, 1, 1, 0, "x"), "0");
    EXPECT_RECORD(&w, job, 0, 0, "1", 1, 1, JOB_MAP, false);
    assert_string_equal(stage(&w, job, 1, 1, 0, "x"), "0");
    EXPECT_RECORD(&w, job, 0, 0, "1", 1, 2, JOB_REDUCE, false);
    assert_string_equal(stage(&w, job, 2, 1, 0, "x"), "0");
    assert_string_equal(stage(&w, job, 1, 1, 0, "one"), "1");
    assert_string_equal(stage(&w, job, 1, 1, 0, "one"), "1"); /* it came twice */
    assert_string_equal(stage(&w, job, 1, 1, 1, "two"), "1");
    assert_string_equal(stage(&w, job, 1, 2, 0, "loser"), "1");
    assert_string_equal(staged(&w, job, 1, 1, 0), "'one'");
    assert_string_equal(staged(&w, job, 1, 1, 1), "'two'");
    assert_string_equal(staged(&w, job, 1, 1, 2), "nil");
    struct said s = said("JOB", "UNSTAGE");
    NUMBERS(s, job, 1, 1, 2);
    EXPECT_SAID(&w, s, "1");
    assert_string_equal(staged(&w, job, 1, 2, 0), "nil");
    assert_string_equal(staged(&w, job, 1, 1, 1), "'two'");
    assert_int_equal(rows_of(&w, 's'), 2);
    assert_string_equal(stage(&w, job, 1, 2, 0, "late"), "1"); /* it was under way */
    assert_string_equal(staged(&w, job, 1, 2, 0), "'late'");
    world_deinit(&w);
}

static uint64_t done_job(struct world *w, const char *name, bool into)
{
    uint64_t job = new_job(w, name, into);
    (void)own(w, job);
    EXPECT_RECORD(w, job, 0, 0, "1", 1, 1, JOB_REDUCE, false);
    assert_string_equal(stage(w, job, 1, 1, 0, "one"), "1");
    EXPECT_RECORD(w, job, 0, 0, "1", 1, 2, JOB_COMMITTING, false);
    assert_string_equal(clean(w, job, 1), "0");
    assert_string_equal(publish(w, job, 1, 2, NULL), "1");
    return job;
}

TEST(what_is_staged_goes_but_for_a_result)
{
    WORLD(w);
    uint64_t into = done_job(&w, "into", true), rows = done_job(&w, "rows", false);
    uint64_t failed = new_job(&w, "failed", false);
    (void)own(&w, failed);
    EXPECT_RECORD(&w, failed, 0, 0, "1", 1, 1, JOB_REDUCE, false);
    assert_string_equal(stage(&w, failed, 1, 1, 0, "one"), "1");
    EXPECT_RECORD(&w, failed, 0, 0, "1", 1, 2, JOB_FAILED, false);

    assert_string_equal(clean(&w, into, 2), "0"); /* an epoch that nobody was given */
    assert_int_equal(rows_of(&w, 's'), 3);
    assert_string_equal(clean(&w, into, 1), "1");
    assert_string_equal(clean(&w, into, 1), "1");
    assert_string_equal(clean(&w, rows, 1), "1");
    assert_string_equal(clean(&w, failed, 1), "1");
    assert_string_equal(staged(&w, into, 1, 1, 0), "nil");
    assert_string_equal(staged(&w, failed, 1, 1, 0), "nil");
    assert_string_equal(staged(&w, rows, 1, 1, 0), "'one'");
    assert_string_equal(stage(&w, into, 1, 1, 0, "late"), "0");
    assert_int_equal(rows_of(&w, 's'), 1);
    assert_string_equal(ask(&w, "FORGET", rows), "1");
    assert_int_equal(rows_of(&w, 's') + rows_of(&w, 't'), 0);
    assert_string_equal(clean(&w, rows, 1), "nil");
    world_deinit(&w);
}

/* ---- the users' ---- */

TEST(an_ended_job_is_not_cancelled_and_a_living_one_not_forgotten)
{
    WORLD(w);
    uint64_t a = new_job(&w, "a", false);
    assert_string_equal(ask(&w, "FORGET", a), "0");
    assert_string_equal(ask(&w, "CANCEL", a), "1");
    assert_true(get(&w, "a").cancelled);
    EXPECT_RECORD(&w, a, 0, 0, "1", 1, 1, JOB_CANCELLED, false);
    assert_string_equal(ask(&w, "CANCEL", a), "0");
    assert_string_equal(ask(&w, "FORGET", a), "1");
    assert_int_equal(w.count, 0);
    assert_string_equal(ask(&w, "FORGET", a), "nil");
    assert_string_equal(ask(&w, "CANCEL", a), "nil");
    new_job(&w, "a", true);
    EXPECT_RUN(&w, "flushall", "OK");
    assert_int_equal(w.count, 0);
    world_deinit(&w);
}

static struct bytes element(struct reader *r)
{
    struct bytes at = bytes_of(r->at, reader_left(r)), b = bulk(at);
    (void)reader_take(r, (size_t)(b.data + b.size + 2 - at.data));
    return b;
}

static struct reader array(struct bytes reply, char count)
{
    struct reader r = reader_of(reply);
    assert_int_equal(reader_u8(&r), '*');
    assert_int_equal(reader_u8(&r), count);
    (void)reader_take(&r, 2);
    return r;
}

/* ---- their snapshots ---- */

static void put_snapshot(struct world *w, uint64_t cut, uint64_t job)
{
    struct buf part = {0}, row = {0};
    cut_part_put(&part, &(struct cut_snapshot_part){0, 0, 16384, 1});
    cut_snapshot_put(&row, &(struct cut_snapshot){.cut = cut,
                                                  .expires_ms = 60000,
                                                  .node = 1,
                                                  .job = job,
                                                  .parts = 1,
                                                  .part = buf_bytes(&part)});
    struct said s = said("SNAPSHOT", "PUT");
    word(&s, buf_bytes(&row));
    EXPECT_SAID(w, s, "OK");
    buf_deinit(&part), buf_deinit(&row);
}

static void expect_orphans(struct world *w, const uint64_t *cut, uint32_t count)
{
    struct said s = said("SNAPSHOT-READ", "ORPHANS");
    struct bytes cuts = bulk(run_raw(w, &s));
    struct reader r = reader_of(cuts);
    assert_int_equal(cuts.size, 8 * count);
    for (uint32_t i = 0; i < count; i++) assert_int_equal(reader_u64(&r), cut[i]);
}
#define EXPECT_ORPHANS(w, ...)                                                                     \
    expect_orphans(w, (const uint64_t[]){__VA_ARGS__},                                             \
                   sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

/* Found by the simulator (seeds 10 and 53). */
TEST(a_snapshot_that_its_job_has_no_use_for_is_an_orphan)
{
    WORLD(w);
    uint64_t job = new_job(&w, "one", true), other = new_job(&w, "other", true);
    assert_string_not_equal(ask(&w, "OWN", job), "(nil)");
    put_snapshot(&w, 11, 0); /* a user's */
    put_snapshot(&w, 12, job);
    put_snapshot(&w, 13, job); /* of an owner that died before it wrote it down? */
    put_snapshot(&w, 14, other);
    expect_orphans(&w, NULL, 0); /* nobody knows yet */
    EXPECT_RECORD(&w, job, 0, 0, "1", 1, 1, JOB_MAP, false, 12);
    EXPECT_ORPHANS(&w, 13);
    EXPECT_RECORD(&w, job, 1, 1, "1", 1, 2, JOB_FAILED, false, 12);
    EXPECT_ORPHANS(&w, 13); /* its owner is about to drop it */
    EXPECT_RECORD(&w, job, 1, 2, "1", 1, 3, JOB_FAILED, true, 12);
    EXPECT_ORPHANS(&w, 12, 13);
    EXPECT_RECORD(&w, other, 0, 0, "1", 1, 1, JOB_FAILED, false, 14);
    EXPECT_ORPHANS(&w, 12, 13);
    assert_string_equal(ask(&w, "FORGET", other), "1");
    EXPECT_ORPHANS(&w, 12, 13, 14);
    world_deinit(&w);
}

TEST(lists_say_how_far_jobs_are)
{
    WORLD(w);
    uint64_t job[3];
    struct job_summary s;
    static const char *const name[] = {"first", "second", "third"};
    for (int i = 0; i < 3; i++) job[i] = new_job(&w, name[i], false), w.now_ms++;
    end_job(&w, job[0], false), end_job(&w, job[2], true);
    (void)ask(&w, "CANCEL", job[1]);
    struct bytes v[] = {BYTES("SYNOD"), BYTES("JOB-READ"), BYTES("LIST")};
    struct reader r = array(world_run_raw(&w, v, 3), '3');
    for (int i = 0; i < 3; i++) {
        assert_true(job_summary_get(element(&r), &s));
        assert_true(s.job == job[i] && bytes_equal(s.name, bytes_str(name[i])));
        assert_int_equal(s.phase, i == 1 ? JOB_SUBMITTED : JOB_FAILED);
        assert_int_equal(s.dropped, i == 2);
        assert_true(bytes_equal(s.error, bytes_str(i == 1 ? "" : "why")));
        assert_int_equal(s.spent_ms, i == 1 ? 0 : 77);
        assert_int_equal(s.maps + s.reduces, i == 1 ? 0 : 2);
    }
    v[2] = BYTES("LIVE");
    r = array(world_run_raw(&w, v, 3), '2');
    for (int i = 0; i < 2; i++) {
        struct reader row = reader_of(element(&r));
        uint64_t id = reader_u64(&row);
        assert_true(id == job[0] || id == job[1]);
        assert_int_equal(reader_u8(&row), id == job[1]);
        assert_int_equal(reader_left(&row), 0);
    }
    world_deinit(&w);
}

/* ---- publishing ---- */

TEST(a_publication_sets_keys_as_set_does_and_once)
{
    WORLD(w);
    static const char *const pairs[] = {"h", "1", "s", "2", "new", "3", "s", "4", NULL};
    uint64_t job = new_job(&w, "a", true);
    EXPECT_RUN(&w, "hset h f v", "1");
    EXPECT_RUN(&w, "set s old px 100000", "OK");
    EXPECT_RECORD(&w, job, 0, 0, "1", 1, 1, JOB_REDUCE, false);
    assert_string_equal(publish(&w, job, 1, 1, pairs), "0");
    EXPECT_RECORD(&w, job, 0, 0, "1", 1, 2, JOB_COMMITTING, false);
    assert_string_equal(publish(&w, job, 2, 2, pairs), "0");
    assert_string_equal(publish(&w, job, 1, 1, pairs), "0");
    assert_string_equal(publish(&w, job + 1, 1, 2, pairs), "0");
    assert_false(w.wrote);
    assert_string_equal(publish(&w, job, 1, 2, pairs), "1");
    EXPECT_RUN(&w, "mget h s new", "['1', '4', '3']");
    EXPECT_RUN(&w, "ttl s", "-1");
    EXPECT_RUN(&w, "dbsize", "3");
    EXPECT_RUN(&w, "set s mine", "OK");
    assert_string_equal(publish(&w, job, 1, 2, pairs), "1");
    assert_false(w.wrote);
    EXPECT_RUN(&w, "get s", "'mine'");
    struct job_summary s;
    struct bytes v[] = {BYTES("SYNOD"), BYTES("JOB-READ"), BYTES("LIST")};
    struct reader r = array(world_run_raw(&w, v, 3), '1');
    assert_true(job_summary_get(element(&r), &s) && s.phase == JOB_DONE);
    world_deinit(&w);
}

TEST(a_publication_that_is_malformed_or_too_large_is_an_error)
{
    WORLD(w);
    uint64_t job = new_job(&w, "a", true);
    EXPECT_RECORD(&w, job, 0, 0, "1", 1, 1, JOB_COMMITTING, false);
    static const char *const odd[] = {"k", NULL};
    assert_string_equal(publish(&w, job, 1, 1, odd), BAD);
    struct buf record = record_of((struct at){1, 2, JOB_FAILED, false}), key = {0};
    struct said s = said("JOB-PUBLISH", NULL);
    NUMBERS(s, job, 1, 1);
    word(&s, buf_bytes(&record));
    EXPECT_SAID(&w, s, BAD);
    buf_deinit(&record);
    record = record_of((struct at){1, 2, JOB_DONE, false});
    s.v[s.count - 1] = buf_bytes(&record);
    memset(buf_reserve(&key, COMMAND_KEY_MAX + 1), 'k', COMMAND_KEY_MAX + 1);
    word(&s, bytes_of(key.data, COMMAND_KEY_MAX + 1));
    word(&s, BYTES("v"));
    EXPECT_SAID(&w, s, "ERR key is too long (the limit is 64 KiB in synod)");
    assert_false(w.wrote);
    s.count -= 2;
    EXPECT_SAID(&w, s, "1");
    buf_deinit(&record), buf_deinit(&key);
    world_deinit(&w);
}

static bool admits(struct locks *l, struct said *s)
{
    struct cmd_args a = args_of(s);
    return txn_admits(l, command_find(&a, NULL), &a, 0);
}

/* While a transaction that publishes has the row, nothing else changes the record; all that is
 * about other rows of the group goes on. */
TEST(records_and_publications_exclude_each_other)
{
    struct locks l = {0};
    struct buf items = {0}, row = {0};
    struct said p = said("JOB-PUBLISH", NULL), r = about("RECORD", 7), f = about("FORGET", 7);
    NUMBERS(p, 7, 1, 1);
    word(&p, BYTES("record"));
    NUMBERS(r, 1, 1, 0, 0);
    word(&r, BYTES("record"));
    struct said other = about("RECORD", 8), o = about("OWN", 7), n = about("NEWS", 7);
    struct said load = {.v = {BYTES("SCRIPT"), BYTES("LOAD"), BYTES("x")}, .count = 3};
    struct cmd_args pa = args_of(&p), oa = args_of(&o);
    assert_true(txn_row(command_find(&pa, NULL), &pa, &row));
    locks_put_item(&items, LOCK_RECORD, buf_bytes(&row));
    assert_int_equal(locks_take(&l, (struct txn_id){1, 1}, 5, buf_bytes(&items), 0), LOCKS_TAKEN);

    assert_false(admits(&l, &r));
    assert_false(admits(&l, &f));
    assert_false(admits(&l, &p));
    assert_true(admits(&l, &other) && admits(&l, &o) && admits(&l, &n) && admits(&l, &load));
    assert_false(txn_row(command_find(&oa, NULL), &oa, &row));
    locks_drop(&l, l.first);
    assert_true(admits(&l, &r) && admits(&l, &f) && admits(&l, &p));
    locks_clear(&l);
    buf_deinit(&items), buf_deinit(&row);
}

/* ---- as bytes ---- */

typedef bool decodes(struct bytes in);

static bool news(struct bytes in)
{
    struct job_news n;
    return job_news_get(in, &n);
}

static bool summary(struct bytes in)
{
    struct job_summary s;
    return job_summary_get(in, &s);
}

static bool rows(struct bytes in)
{
    struct job_rows r;
    return job_rows_get(in, &r);
}

static bool owned(struct bytes in)
{
    struct job_owned o;
    return job_owned_get(in, &o);
}

static void expect_whole(decodes *decode, struct buf *b)
{
    assert_true(decode(buf_bytes(b)));
    for (size_t i = 0; i < b->size; i++) assert_false(decode(bytes_of(b->data, i)));
    buf_u8(b, 0);
    assert_false(decode(buf_bytes(b)));
    buf_clear(b);
}

TEST(encodings_are_whole_or_refused)
{
    WORLD(w);
    struct buf b = {0};
    job_news_put(&b, &(struct job_news){.phase = JOB_MAP, .maps = 5});
    expect_whole(news, &b);
    job_news_put(&b, &(struct job_news){.phase = JOB_CANCELLED + 1});
    assert_false(news(buf_bytes(&b)));
    buf_clear(&b);

    struct job_summary s = {1, 2, 3, JOB_FAILED, true, 4, 5, 6, 7, BYTES("name"), BYTES("why")};
    struct job_summary t;
    job_summary_put(&b, &s);
    assert_true(job_summary_get(buf_bytes(&b), &t));
    assert_true(t.job == 1 && t.submitted_ms == 2 && t.spent_ms == 3 && t.phase == JOB_FAILED &&
                t.dropped && t.maps == 4 && t.maps_done == 5 && t.reduces == 6 &&
                t.reduces_done == 7 && bytes_equal(t.name, s.name) &&
                bytes_equal(t.error, s.error));
    expect_whole(summary, &b);

    uint64_t job = new_job(&w, "a", false);
    struct said own = about("OWN", job);
    buf_append_bytes(&b, bulk(run_raw(&w, &own)));
    expect_whole(owned, &b);
    struct bytes v[] = {BYTES("SYNOD"), BYTES("JOB-READ"), BYTES("GET"), BYTES("a")};
    buf_append_bytes(&b, bulk(world_run_raw(&w, v, 4)));
    expect_whole(rows, &b);
    buf_deinit(&b);
    world_deinit(&w);
}

TEST_MAIN
