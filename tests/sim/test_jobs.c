/* The judge of jobs: what it counts by hand is right, and what is not so is told. */
#include "test.h"
#include "sim/jobs_judge.h"

#include <stdio.h>

static void add(struct jobs_records *r, const char *key, const char *type, const char *value)
{
    assert_true(jobs_records_add(r, bytes_str(key), bytes_str(type), bytes_str(value)));
}

static void setup(struct jobs_records *r)
{
    *r = (struct jobs_records){0};
    add(r, "acct:1", "string", "-7");
    add(r, "acct:22", "string", "7");
    add(r, "teller:0", "string", "3");
    add(r, "pair", "string", "9"); /* none of the bank's */
    add(r, "h1", "hash", "");
}

/* key=value, in the order of their making. */
static void expect(const struct jobs_rows *rows, const char *text)
{
    char got[400] = "";
    size_t at = 0;
    for (uint32_t i = 0; i < rows->count; i++)
        at += (size_t)snprintf(got + at, sizeof got - at, "%s=%s ", rows->row[i].key,
                               rows->row[i].value);
    assert_string_equal(got, text);
}

TEST(each_kind_is_counted_by_hand)
{
    static const struct {
        struct jobs_plan plan;
        const char *rows;
    } is[] = {
        {{.kind = JOBS_COUNT}, "count=5 "},
        {{.kind = JOBS_SUM}, "sum=0 "},
        {{.kind = JOBS_GROUP}, "acct=2 teller=1 pair=1 h1=1 "},
        {{.kind = JOBS_BANK}, "acct:1=-7 acct:22=7 teller:0=3 "},
        {{.kind = JOBS_WORDS}, "string=4 a=13 t=8 p=4 hash=1 h=2 "},
        {{.kind = JOBS_CHOKES, .chokes = 'x'}, "string=4 a=13 t=8 p=4 hash=1 h=2 "},
        {{.kind = JOBS_TASKS, .tasks = 5}, "rest0=3 n=5 rest1=5 rest2=2 "},
    };
    struct jobs_records r;
    struct jobs_rows rows = {0};
    setup(&r);
    for (size_t i = 0; i < sizeof is / sizeof *is; i++) {
        jobs_rows_clear(&rows);
        assert_true(jobs_expected(&is[i].plan, &r, &rows));
        expect(&rows, is[i].rows);
    }
    jobs_rows_clear(&rows);
    assert_false(jobs_expected(&(struct jobs_plan){.kind = JOBS_CHOKES, .chokes = 'h'}, &r, &rows));
    assert_false(jobs_records_add(&r, BYTES("h1"), BYTES("hash"), BYTES("")));
    jobs_rows_deinit(&rows);
    buf_deinit(&r.blobs);
}

static bool equal(const char *const *got, const char *const *is, char why[200])
{
    struct jobs_rows g = {0}, e = {0};
    for (; *got; got += 2) (void)jobs_rows_add(&g, bytes_str(got[0]), bytes_str(got[1]));
    for (; *is; is += 2) (void)jobs_rows_add(&e, bytes_str(is[0]), bytes_str(is[1]));
    bool same = jobs_rows_equal(&g, &e, why, 200);
    jobs_rows_deinit(&g), jobs_rows_deinit(&e);
    return same;
}
#define ROWS(...)                                                                                  \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

TEST(what_is_wrong_with_a_result_is_told)
{
    char why[200];
    assert_true(equal(ROWS("b", "2", "a", "1"), ROWS("a", "1", "b", "2"), why));
    assert_false(equal(ROWS("a", "2"), ROWS("a", "1"), why));
    assert_string_equal(why, "it gives a as 2, a count by hand 1");
    assert_false(equal(ROWS("a", "1", "a", "1"), ROWS("a", "1"), why));
    assert_string_equal(why, "it gives a as 1 (again), a count by hand 1");
    assert_false(equal(ROWS("a", "1", "b", "1"), ROWS("a", "1"), why));
    assert_string_equal(why, "it gives b as 1, a count by hand nothing");
    assert_false(equal(ROWS("a", "1"), ROWS("a", "1", "b", "2"), why));
    assert_string_equal(why, "it lacks b, which is 2");
}

TEST(a_job_fails_only_for_what_there_was)
{
    struct bytes lost = BYTES("JOBFAILED no node has the job's snapshot any more (nodes ...)"),
                 planted = BYTES("JOBFAILED map failed at key 'r1': map:1: planted (task 4)"),
                 strange = BYTES("JOBFAILED the task came damaged");
    assert_true(jobs_may_fail(JOBS_FAULTS, lost));
    assert_true(jobs_may_fail(JOBS_DROPPED, lost));
    assert_false(jobs_may_fail(0, lost));
    assert_false(jobs_may_fail(JOBS_CHOKED, lost));
    assert_true(jobs_may_fail(JOBS_CHOKED, planted));
    assert_false(jobs_may_fail(JOBS_FAULTS | JOBS_DROPPED, planted));
    assert_false(jobs_may_fail(JOBS_FAULTS | JOBS_DROPPED | JOBS_CHOKED, strange));
}

TEST_MAIN
