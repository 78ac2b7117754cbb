/* What JOB SUBMIT and JOB RUN understand, and the stream of records. */
#include "test.h"
#include "base/prng.h"
#include "job/records.h"
#include "job/spec.h"

enum { WORDS_MAX = 40 };

/* Words between blanks; '_' in one stands for a blank. */
static size_t split(char *line, struct bytes *arg)
{
    size_t n = 0;
    for (char *w = strtok(line, " "); w; w = strtok(NULL, " ")) {
        for (char *c = w; *c; c++)
            if (*c == '_') *c = ' ';
        arg[n++] = bytes_str(w);
    }
    return n;
}

static bool parse(const char *line, struct job_spec *s, struct job_spec_error *e)
{
    static char copy[512];
    struct bytes arg[WORDS_MAX];
    (void)snprintf(copy, sizeof copy, "%s", line);
    size_t n = split(copy, arg);
    bool run = bytes_equal(arg[0], BYTES("RUN"));
    return run ? job_spec_run(arg + 1, n - 1, s, e) : job_spec_submit(arg + 1, n - 1, s, e);
}

TEST(a_submitted_job_with_every_clause_is_understood)
{
    struct job_spec s;
    struct job_spec_error e;
    assert_true(parse("SUBMIT wc map lua m combine SUM REDUCE LUA r MATCH doc:* TYPE hash SNAPSHOT "
                      "0000000000000007 INTO out: "
                      "PARTITIONS 8 LIMITS TIME 60000 MEMORY 64m CPU 5000 SPILL 1g OUTPUT 2k",
                      &s, &e));
    EXPECT_BYTES(s.name, "wc");
    EXPECT_BYTES(s.map, "m");
    EXPECT_BYTES(s.reduce, "r");
    EXPECT_BYTES(s.match, "doc:*");
    EXPECT_BYTES(s.prefix, "out:");
    assert_int_equal(s.kind, JOB_KIND_LUA);
    assert_int_equal(s.combine_op, JOB_OP_SUM);
    assert_int_equal(s.reduce_op, JOB_OP_NONE);
    assert_int_equal(s.type, RECORD_HASH + 1);
    assert_int_equal(s.snapshot, 7);
    assert_true(s.into);
    assert_int_equal(s.partitions, 8);
    assert_int_equal(s.limits.time_ms, 60000);
    assert_int_equal(s.limits.memory, 64 << 20);
    assert_int_equal(s.limits.cpu_ms, 5000);
    assert_int_equal(s.limits.spill, 1 << 30);
    assert_int_equal(s.limits.output, 2048);
}

TEST(queries_are_understood)
{
    static const struct {
        const char *line;
        int op, group_op, by;
        uint32_t n;
        const char *field, *by_field, *argument;
    } row[] = {
        {"RUN COUNT", JOB_OP_COUNT, 0, 0, 0, "", "", ""},
        {"RUN sum field price MATCH p:*", JOB_OP_SUM, 0, 0, 0, "price", "", ""},
        {"RUN SUM FIELD price BY country", JOB_OP_GROUP, JOB_OP_SUM, JOB_BY_FIELD, 0, "price",
         "country", ""},
        {"RUN GROUP BY PART 2", JOB_OP_GROUP, JOB_OP_COUNT, JOB_BY_PART, 2, "", "", ""},
        {"RUN GROUP AVG FIELD x BY part", JOB_OP_GROUP, JOB_OP_AVG, JOB_BY_FIELD, 0, "x", "part",
         ""},
        {"RUN GROUP BY part BY PART 3", JOB_OP_GROUP, JOB_OP_COUNT, JOB_BY_PART, 3, "", "part", ""},
        {"RUN TOP 10 FIELD size TYPE hash", JOB_OP_TOP, 0, 0, 10, "size", "", ""},
        {"RUN JOIN user:* FIELD id MATCH order:*", JOB_OP_JOIN, 0, 0, 0, "id", "", "user:*"},
        {"RUN GREP needle", JOB_OP_GREP, 0, 0, 0, "", "", "needle"},
        {"RUN QUANTILES FIELD ms", JOB_OP_QUANTILES, 0, 0, 0, "ms", "", ""},
        {"RUN HISTOGRAM FIELD ms STEP 0.5", JOB_OP_HISTOGRAM, 0, 0, 0, "ms", "", ""},
        {"SUBMIT d MAP DISTINCT FIELD u INTO r", JOB_OP_DISTINCT, 0, 0, 0, "u", "", ""},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct job_spec s;
        struct job_spec_error e = {{0}};
        if (!parse(row[i].line, &s, &e)) fail_msg("%s: %s", row[i].line, e.text);
        assert_int_equal(s.kind, JOB_KIND_QUERY);
        assert_int_equal(s.query.op, row[i].op);
        assert_int_equal(s.query.group_op, row[i].group_op);
        assert_int_equal(s.query.by, row[i].by);
        assert_int_equal(s.query.n, row[i].n);
        EXPECT_BYTES(s.query.field, row[i].field);
        EXPECT_BYTES(s.query.by_field, row[i].by_field);
        EXPECT_BYTES(s.query.argument, row[i].argument);
    }
}

TEST(what_is_wrong_is_said_with_what_is_expected)
{
    static const struct {
        const char *line, *said;
    } row[] = {
        {"RUN", "a query is missing; expected COUNT"},
        {"RUN MEDIAN", "unknown query 'MEDIAN'; expected COUNT"},
        {"RUN TOP", "a number is missing; TOP takes a number from 1 to 100000"},
        {"RUN TOP 0", "out of range: '0'; TOP takes"},
        {"RUN TOP 100001", "out of range: '100001'; TOP takes"},
        {"RUN TOP ten", "not a whole number: 'ten'; TOP takes"},
        {"RUN COUNT MATCH", "nothing follows 'MATCH'"},
        {"RUN COUNT TYPE stream", "unknown type 'stream'; expected string"},
        {"RUN COUNT INTO x", "unknown word 'INTO'; expected MATCH"},
        {"RUN GROUP", "GROUP does not say by what; add BY"},
        {"RUN TOP 3 BY f", "BY is not for 'TOP'"},
        {"RUN GREP x BY PART 65", "out of range: '65'; BY PART"},
        {"RUN JOIN b:*", "JOIN does not say on what"},
        {"RUN HISTOGRAM STEP 0", "not a width: '0'"},
        {"RUN HISTOGRAM STEP nan", "not a width: 'nan'"},
        {"SUBMIT", "nothing follows 'JOB SUBMIT'"},
        {"SUBMIT j", "what to do is missing; expected MAP"},
        {"SUBMIT j MAP LUA", "nothing follows 'LUA'"},
        {"SUBMIT j MAP LUA \033LJ", "LUA was given bytecode"},
        {"SUBMIT j MAP LUA m REDUCE AVG", "what follows is no way to 'REDUCE'"},
        {"SUBMIT j MAP LUA m COMBINE COUNT",
         "what follows is no way to 'COMBINE'; expected LUA source, SUM, MIN"},
        {"SUBMIT j MAP COUNT REDUCE SUM", "COMBINE and REDUCE are not for queries"},
        {"SUBMIT j TASKS 10 LUA t MATCH x*", "MATCH, TYPE and SNAPSHOT are not for TASKS"},
        {"SUBMIT j TASKS 99999 LUA t", "out of range: '99999'; TASKS"},
        {"SUBMIT j TASKS 5", "TASKS does not say what to do"},
        {"SUBMIT j MAP LUA m LIMITS", "LIMITS lacks its arguments"},
        {"SUBMIT j MAP LUA m LIMITS MEMORY 1m", "out of range: '1m'; MEMORY takes"},
        {"SUBMIT j MAP LUA m LIMITS TIME 9223372036854775807g", "out of range"},
        {"SUBMIT j MAP LUA m PARTITIONS 1025", "out of range: '1025'; PARTITIONS"},
        {"SUBMIT j MAP LUA m FIELD f", "unknown word 'FIELD'; expected COMBINE"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct job_spec s;
        struct job_spec_error e = {{0}};
        if (parse(row[i].line, &s, &e)) fail_msg("'%s' was accepted", row[i].line);
        if (strncmp(e.text, row[i].said, strlen(row[i].said)) != 0)
            fail_msg("'%s' says: %s\nexpected: %s", row[i].line, e.text, row[i].said);
    }
}

TEST(keys_are_wanted_by_pattern_and_type)
{
    struct job_spec s;
    struct job_spec_error e;
    assert_true(parse("RUN GREP user:* MATCH order:* TYPE hash", &s, &e));
    assert_true(job_spec_wants(&s, BYTES("order:1"), RECORD_HASH));
    assert_false(job_spec_wants(&s, BYTES("order:1"), RECORD_STRING));
    assert_false(job_spec_wants(&s, BYTES("user:1"), RECORD_HASH)); /* its text, not a pattern */
    assert_true(parse("RUN JOIN user:* FIELD id MATCH order:*", &s, &e));
    assert_true(job_spec_wants(&s, BYTES("user:1"), RECORD_HASH));
    assert_false(job_spec_wants(&s, BYTES("item:1"), RECORD_HASH));
}

TEST(a_spec_comes_back_from_its_bytes_and_not_from_fewer)
{
    struct job_spec s, back;
    struct job_spec_error e;
    struct buf b = {0}, again = {0};
    assert_true(parse("SUBMIT j MAP SUM FIELD price BY PART 3 MATCH a* TYPE zset SNAPSHOT "
                      "fedcba9876543210 INTO p PARTITIONS 9 "
                      "LIMITS TIME 2000 CPU 3000 MEMORY 17m SPILL 0 OUTPUT 4k",
                      &s, &e));
    job_spec_encode(&s, &b);
    assert_true(job_spec_decode(buf_bytes(&b), &back));
    job_spec_encode(&back, &again);
    assert_true(bytes_equal(buf_bytes(&b), buf_bytes(&again)));
    EXPECT_BYTES(back.query.field, "price");
    EXPECT_BYTES(back.prefix, "p");
    assert_int_equal(back.query.n, 3);
    assert_int_equal(back.snapshot, 0xfedcba9876543210);
    assert_int_equal(back.type, RECORD_ZSET + 1);
    assert_true(back.into && back.partitions == 9);
    assert_int_equal(back.limits.memory, 17 << 20);
    for (size_t i = 0; i < b.size; i++) assert_false(job_spec_decode(bytes_of(b.data, i), &back));
    struct job_spec bad = s;
    bad.query.op = JOB_OP_HISTOGRAM;
    bad.query.step = 0;
    buf_clear(&again);
    job_spec_encode(&bad, &again);
    assert_false(job_spec_decode(buf_bytes(&again), &back));
    struct prng r;
    prng_init(&r, 3);
    for (int i = 0; i < 20000; i++) { /* any bytes are a spec within bounds, or none */
        size_t at = prng_below(&r, b.size);
        uint8_t was = b.data[at];
        b.data[at] = (uint8_t)prng_u64(&r);
        if (job_spec_decode(buf_bytes(&b), &back)) {
            assert_true(back.partitions <= JOB_PARTITIONS_MAX && back.query.op < JOB_OPS);
            assert_true(back.type <= RECORD_TYPES && back.match.size <= JOB_PATTERN_MAX);
        }
        b.data[at] = was;
    }
    buf_deinit(&b);
    buf_deinit(&again);
}

static struct bytes random_bytes(struct prng *r, uint8_t *room, size_t max)
{
    size_t n = prng_below(r, max + 1);
    for (size_t i = 0; i < n; i++) room[i] = (uint8_t)prng_u64(r);
    return bytes_of(room, n);
}

enum { RECORDS = 500, ITEMS = 6, PIECE = 40 };

struct twin {
    uint8_t type, further;
    uint8_t bytes[1 + 2 * ITEMS][PIECE];
    struct bytes key;
    uint32_t count;
    struct record_item item[ITEMS];
};

static void write_twin(struct prng *r, struct twin *t, struct buf *out)
{
    t->type = (uint8_t)prng_below(r, RECORD_TYPES);
    t->further = t->type != RECORD_STRING && prng_below(r, 2);
    t->key = random_bytes(r, t->bytes[0], PIECE);
    t->count = t->type == RECORD_STRING ? 1 : (uint32_t)prng_below(r, ITEMS);
    struct record_writer w = {0};
    if (t->type != RECORD_STRING) w = record_begin(out, t->type, t->key, t->further);
    for (uint32_t i = 0; i < t->count; i++) {
        struct record_item *it = &t->item[i];
        *it = (struct record_item){0};
        if (t->type == RECORD_HASH || t->type == RECORD_ZSET)
            it->name = random_bytes(r, t->bytes[1 + 2 * i], PIECE);
        if (t->type == RECORD_ZSET)
            it->score = (double)prng_u64(r) / 3;
        else
            it->value = random_bytes(r, t->bytes[2 + 2 * i], PIECE);
        if (t->type == RECORD_STRING)
            assert_true(record_put_string(out, t->key, it->value));
        else
            assert_true(record_put_item(&w, it));
    }
    if (t->type != RECORD_STRING) record_end(&w);
}

static void read_twin(const struct twin *t, const struct record *r)
{
    struct record_item it;
    struct reader at = record_items(r);
    uint32_t n = 0;
    assert_int_equal(r->type, t->type);
    assert_int_equal(r->further, t->further);
    assert_int_equal(r->count, t->count);
    assert_true(bytes_equal(r->key, t->key));
    for (; record_item(r, &at, &it); n++) {
        assert_true(n < t->count);
        assert_true(bytes_equal(it.name, t->item[n].name));
        assert_true(bytes_equal(it.value, t->item[n].value));
        assert_true(it.score == t->item[n].score);
    }
    assert_false(at.bad);
    assert_int_equal(n, t->count);
}

TEST(records_come_back_as_they_were_written_wherever_the_stream_is_cut)
{
    static struct twin t[RECORDS];
    struct prng r;
    struct buf out = {0};
    prng_init(&r, 5);
    for (int i = 0; i < RECORDS; i++) write_twin(&r, &t[i], &out);
    size_t there = 0;
    int n = 0;
    for (struct bytes s = {out.data, 0}; n < RECORDS;) {
        struct record rec;
        enum record_result got = record_next(&s, &rec);
        assert_int_not_equal(got, RECORD_BAD);
        if (got == RECORD_OK) {
            read_twin(&t[n++], &rec);
            continue;
        }
        assert_true(there < out.size);
        size_t more = 1 + prng_below(&r, 60);
        if (there + more > out.size) more = out.size - there;
        there += more, s.size += more;
    }
    buf_deinit(&out);
}

TEST(whatever_the_bytes_no_record_reaches_beyond_them)
{
    struct prng r;
    static struct twin t;
    prng_init(&r, 6);
    for (int round = 0; round < 20000; round++) {
        struct buf out = {0};
        write_twin(&r, &t, &out);
        for (int i = 0; i < 2; i++)
            out.data[prng_below(&r, out.size)] ^= (uint8_t)(1 << prng_below(&r, 8));
        struct bytes exact = {malloc(out.size), out.size}, s = exact; /* for the sanitizer */
        memcpy((void *)exact.data, out.data, out.size);
        struct record rec;
        struct record_item it;
        while (record_next(&s, &rec) == RECORD_OK) {
            struct reader at = record_items(&rec);
            while (record_item(&rec, &at, &it)) {
                const uint8_t *end = exact.data + exact.size;
                assert_true(it.name.data == NULL || it.name.data + it.name.size <= end);
                assert_true(it.value.data == NULL || it.value.data + it.value.size <= end);
            }
        }
        free((void *)exact.data);
        buf_deinit(&out);
    }
}

TEST(a_frame_too_large_is_neither_written_nor_believed)
{
    struct buf out = {0};
    struct record rec;
    static uint8_t large[RECORD_BYTES_MAX];
    assert_false(record_put_string(&out, BYTES("k"), bytes_of(large, sizeof large)));
    assert_int_equal(out.size, 0);
    buf_u32(&out, RECORD_BYTES_MAX + 1);
    struct bytes s = buf_bytes(&out);
    assert_int_equal(record_next(&s, &rec), RECORD_BAD);
    buf_deinit(&out);
}

TEST_MAIN
