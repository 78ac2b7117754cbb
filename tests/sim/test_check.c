/* The linearizability checker: histories known to be good and bad, a brute-force twin, and the text
 * format. */
#include "test.h"
#include "base/mem.h"
#include "base/prng.h"
#include "sim/check_linear.h"

static enum check_verdict judge_text(const char *text, struct buf *explanation)
{
    struct check_history *h = check_new();
    struct buf error = {0};
    if (!check_read(h, bytes_str(text), &error))
        fail_msg("%.*s in:\n%s", (int)error.size, (const char *)error.data, text);
    enum check_verdict verdict = check_linearizable(h, CHECK_BUDGET, explanation);
    check_free(h);
    return verdict;
}

#define GOOD(text) assert_int_equal(judge_text(text, NULL), CHECK_LINEARIZABLE)
#define BAD(text)  assert_int_equal(judge_text(text, NULL), CHECK_VIOLATION)

TEST(nothing_and_one_operation_are_linearizable)
{
    GOOD("");
    GOOD("1 2 1 read k -> nil\n");
    BAD("1 2 1 read k -> 5\n");
}

TEST(a_stale_read_is_found)
{
    BAD("1 2 1 write k 1 -> ok\n"
        "3 4 1 write k 2 -> ok\n"
        "5 6 2 read k -> 1\n");
    GOOD("1 2 1 write k 1 -> ok\n"
         "3 6 1 write k 2 -> ok\n" /* still going on */
         "4 5 2 read k -> 1\n");
}

TEST(equal_times_overlap)
{
    GOOD("1 2 1 write k 1 -> ok\n"
         "3 4 1 write k 2 -> ok\n"
         "4 5 2 read k -> 1\n");
}

TEST(a_lost_update_is_found)
{
    BAD("1 2 1 write k 0 -> ok\n"
        "3 6 1 add k 1 -> 1\n"
        "4 7 2 add k 1 -> 1\n"
        "8 9 3 read k -> 1\n");
    BAD("1 2 1 write k a -> ok\n"
        "3 6 1 cas k b a -> 1\n"
        "4 7 2 cas k c a -> 1\n");
}

TEST(a_double_increment_is_found)
{
    BAD("1 2 1 add k 1 -> 1\n"
        "3 4 1 read k -> 2\n");
    GOOD("1 2 1 add k 1 -> 1\n"
         "1 - 2 add k 1 -> ?\n"
         "3 4 1 read k -> 2\n");
    BAD("1 2 1 add k 1 -> 1\n" /* an unknown one may come once, not twice */
        "1 - 2 add k 1 -> ?\n"
        "3 4 1 read k -> 3\n");
}

TEST(a_dirty_read_of_what_is_lost_later_is_found)
{
    BAD("1 2 1 write k 1 -> ok\n"
        "3 - 2 write k 2 -> ?\n"
        "4 5 3 read k -> 2\n"
        "6 7 3 read k -> 1\n");
    GOOD("1 2 1 write k 1 -> ok\n"
         "3 - 2 write k 2 -> ?\n"
         "4 5 3 read k -> 1\n"
         "6 7 3 read k -> 2\n");
}

TEST(a_read_of_a_write_that_failed_is_found)
{
    BAD("1 2 1 write k 1 -> ok\n" /* "write 2" was refused, and so is not here */
        "5 6 2 read k -> 2\n");
}

TEST(reads_that_go_back_in_time_are_found)
{
    BAD("1 9 1 write k 1 -> ok\n"
        "2 3 2 read k -> 1\n"
        "4 5 3 read k -> nil\n");
    GOOD("1 9 1 write k 1 -> ok\n"
         "2 5 2 read k -> 1\n"
         "4 6 3 read k -> nil\n");
}

TEST(an_unknown_operation_may_come_late_or_never_but_not_early)
{
    GOOD("1 - 1 write k 1 -> ?\n"
         "2 3 2 write k 2 -> ok\n"
         "4 5 2 read k -> 2\n"
         "6 7 2 read k -> 1\n"
         "8 9 2 read k -> 1\n");
    GOOD("1 - 1 delete k -> ?\n"
         "2 3 2 write k 2 -> ok\n"
         "4 5 2 read k -> 2\n");
    BAD("1 2 2 read k -> 1\n"
        "3 - 1 write k 1 -> ?\n");
    BAD("1 - 1 write k 1 -> ?\n"
        "2 3 2 read k -> 1\n"
        "4 5 2 write k 2 -> ok\n"
        "6 7 2 read k -> 1\n");
}

TEST(an_unknown_count_of_what_is_no_number_changes_nothing)
{
    GOOD("1 2 1 write k text -> ok\n"
         "3 - 2 add k 1 -> ?\n"
         "4 5 1 read k -> text\n");
    GOOD("1 2 1 write k 9223372036854775807 -> ok\n"
         "3 - 2 add k 1 -> ?\n"
         "4 5 1 read k -> 9223372036854775807\n");
    BAD("1 2 1 write k text -> ok\n"
        "3 4 2 add k 1 -> 1\n");
}

TEST(each_kind_answers_as_its_command_does)
{
    GOOD("1 2 1 create k a -> 1\n"
         "3 4 1 create k b -> 0\n"
         "5 6 1 read k -> a\n"
         "7 8 1 put k b -> 0\n"
         "9 10 1 swap k c -> b\n"
         "11 12 1 cas k d x -> 0\n"
         "13 14 1 cas k d c -> 1\n"
         "15 16 1 take k -> d\n"
         "17 18 1 take k -> nil\n"
         "19 20 1 delete k -> 0\n"
         "21 22 1 put k 1 -> 1\n"
         "23 24 1 add k -4 -> -3\n"
         "25 26 1 delete k -> 1\n"
         "27 28 1 add k 7 -> 7\n"
         "29 30 1 delete k -> 1\n"
         "31 32 1 cas k a nil -> 1\n"
         "33 34 1 cas k b nil -> 0\n"
         "35 36 1 read k -> a\n");
    BAD("1 2 1 create k a -> 0\n");
    BAD("1 2 1 put k a -> 0\n");
    BAD("1 2 1 swap k a -> b\n");
    BAD("1 2 1 cas k a b -> 1\n");
    BAD("1 2 1 delete k -> 1\n");
    BAD("1 2 1 take k -> a\n");
    BAD("1 2 1 add k 2 -> 1\n");
}

TEST(keys_are_judged_by_themselves_and_values_as_bytes)
{
    GOOD("1 2 1 write a 1 -> ok\n"
         "3 4 1 read b -> nil\n");
    BAD("1 2 1 write k 1 -> ok\n"
        "3 4 1 read k -> 01\n"); /* another text, though the same number */
    BAD("1 2 1 write k \"\" -> ok\n"
        "3 4 1 read k -> nil\n");
    GOOD("1 2 1 write k \"\" -> ok\n"
         "3 4 1 read k -> \"\"\n");
    GOOD("1 2 1 write k \"nil\" -> ok\n"
         "3 4 1 read k -> \"nil\"\n");
    BAD("1 2 1 write a 1 -> ok\n"
        "1 2 1 write b 1 -> ok\n"
        "3 4 1 read a -> 1\n"
        "3 4 1 read b -> 2\n");
}

TEST(a_write_of_the_value_that_is_there_may_still_be_needed_later)
{
    GOOD("1 2 1 write k 1 -> ok\n"
         "3 9 2 write k 1 -> ok\n"
         "4 10 3 add k 5 -> 6\n"
         "5 11 4 add k 5 -> 6\n");
}

/* ---- the brute-force twin ---- */

enum { SMALL = 6 };

struct brute {
    const struct check_op *ops;
    uint32_t count, used; /* used: a bit an operation */
};

struct cell {
    bool there;
    char text[24];
};

static bool cell_is(const struct cell *c, struct check_value v)
{
    return c->there == v.there && (!c->there || bytes_equal(bytes_str(c->text), v.bytes));
}

static void cell_set(struct cell *c, struct check_value v)
{
    c->there = v.there;
    snprintf(c->text, sizeof c->text, "%.*s", (int)v.bytes.size,
             v.there ? (const char *)v.bytes.data : "");
}

static struct check_value flag(bool set)
{
    return check_value(set ? BYTES("1") : BYTES("0"));
}

/* Does the operation on the cell and returns what it answers, as a text (NULL bytes with there =
 * true: an error). Written apart from the checker's model, in another way. */
static struct check_value do_op(struct cell *c, const struct check_op *op, char old[24],
                                bool *error)
{
    struct cell before = *c;
    struct check_value was = CHECK_NIL;
    long long sum;

    *error = false;
    snprintf(old, 24, "%s", before.text);
    if (before.there) was = check_value(bytes_str(old));
    switch (op->kind) {
    case CHECK_READ: return was;
    case CHECK_WRITE: cell_set(c, op->argument); return CHECK_NIL;
    case CHECK_PUT: cell_set(c, op->argument); return flag(!before.there);
    case CHECK_CREATE:
        if (before.there) return flag(false);
        cell_set(c, op->argument);
        return flag(true);
    case CHECK_SWAP: cell_set(c, op->argument); return was;
    case CHECK_CAS:
        if (!cell_is(&before, op->expected)) return flag(false);
        cell_set(c, op->argument);
        return flag(true);
    case CHECK_DELETE: c->there = false, c->text[0] = 0; return flag(before.there);
    case CHECK_TAKE: c->there = false, c->text[0] = 0; return was;
    default: break;
    }
    char *end;
    sum = strtoll(before.there ? before.text : "0", &end, 10);
    if (*end || (before.there && !before.text[0])) {
        *error = true;
        return CHECK_NIL;
    }
    sum += strtoll((const char *)op->argument.bytes.data, NULL, 10);
    c->there = true;
    snprintf(c->text, sizeof c->text, "%lld", sum);
    snprintf(old, 24, "%lld", sum);
    return check_value(bytes_str(old));
}

static bool value_equal(struct check_value a, struct check_value b)
{
    return a.there == b.there && (!a.there || bytes_equal(a.bytes, b.bytes));
}

static bool brute_search(struct brute *b, struct cell at)
{
    bool all = true;
    for (uint32_t i = 0; i < b->count; i++)
        all &= b->used >> i & 1 || b->ops[i].outcome == CHECK_UNKNOWN;
    if (all) return true;

    for (uint32_t i = 0; i < b->count; i++) {
        const struct check_op *op = &b->ops[i];
        bool may = !(b->used >> i & 1), error;
        for (uint32_t j = 0; j < b->count; j++)
            if (j != i && !(b->used >> j & 1) && b->ops[j].outcome == CHECK_OK &&
                b->ops[j].ret < op->call)
                may = false;
        if (!may) continue;
        struct cell next = at;
        char text[24];
        struct check_value answer = do_op(&next, op, text, &error);
        if (op->outcome == CHECK_OK &&
            (error || (op->kind != CHECK_WRITE && !value_equal(answer, op->result))))
            continue;
        b->used |= 1u << i;
        bool found = brute_search(b, next);
        b->used &= ~(1u << i);
        if (found) return true;
    }
    return false;
}

/* ---- random histories that are linearizable, for they were made by doing each operation at one
 * moment between call and return ---- */

struct maker {
    struct prng r;
    struct check_op *ops;
    char (*texts)[24]; /* of results */
    uint32_t count, capacity;
    uint64_t time;
    struct cell cell;
};

static struct check_value some_value(struct prng *r)
{
    static const char *values[] = {"1", "2", "3", "x", "10"};
    return check_value(bytes_str(values[prng_below(r, sizeof values / sizeof *values)]));
}

static void make_call(struct maker *m, uint32_t client)
{
    static const char *numbers[] = {"1", "-1", "5"};
    struct check_op *op = &m->ops[m->count++];
    *op = (struct check_op){
        .key = BYTES("k"), .client = client, .call = ++m->time, .outcome = CHECK_UNKNOWN};
    op->kind = (uint8_t)(prng_chance(&m->r, 300000) ? CHECK_READ : prng_below(&m->r, CHECK_KINDS));
    op->argument = op->kind == CHECK_ADD ? check_value(bytes_str(numbers[prng_below(&m->r, 3)]))
                                         : some_value(&m->r);
    op->expected = prng_chance(&m->r, 300000) ? CHECK_NIL : some_value(&m->r);
}

/* Does it. An error would leave the history: such an operation becomes a read. */
static void make_done(struct maker *m, uint32_t i)
{
    bool error;
    struct check_value answer = do_op(&m->cell, &m->ops[i], m->texts[i], &error);
    if (error) {
        m->ops[i].kind = CHECK_READ;
        answer = do_op(&m->cell, &m->ops[i], m->texts[i], &error);
    }
    m->ops[i].result = answer;
}

/* Each client calls, some time later the operation is done, some time later it returns; or its
 * answer is lost. */
static void make_history(struct maker *m, uint64_t seed, uint32_t count, uint32_t clients,
                         uint32_t unknown_ppm)
{
    enum { CALLED = 1, DONE };
    uint32_t current[64], state[64] = {0};
    uint32_t *late = mem_alloc(count * sizeof *late),
             late_count = 0; /* answers lost before they were done */

    *m = (struct maker){.capacity = count};
    prng_init(&m->r, seed);
    m->ops = mem_zalloc(count * sizeof *m->ops);
    m->texts = mem_zalloc(count * sizeof *m->texts);
    assert_true(clients <= 64);
    while (true) {
        uint32_t c = (uint32_t)prng_below(&m->r, clients), busy = 0;
        for (uint32_t i = 0; i < clients; i++) busy += state[i] != 0;
        if (m->count == count && !busy) break;
        if (state[c] && prng_chance(&m->r, unknown_ppm)) {
            if (state[c] == CALLED) late[late_count++] = current[c];
            state[c] = 0;
        } else if (state[c] == 0 && m->count < count) {
            current[c] = m->count;
            make_call(m, c);
            state[c] = CALLED;
        } else if (state[c] == CALLED) {
            make_done(m, current[c]);
            state[c] = DONE;
        } else if (state[c] == DONE) {
            m->ops[current[c]].outcome = CHECK_OK;
            m->ops[current[c]].ret = ++m->time;
            state[c] = 0;
        }
        if (late_count && prng_chance(&m->r, 200000)) make_done(m, late[--late_count]);
    }
    mem_free(late);
}

static void maker_deinit(struct maker *m)
{
    mem_free(m->ops);
    mem_free(m->texts);
}

static struct check_history *history_of(const struct maker *m)
{
    struct check_history *h = check_new();
    for (uint32_t i = 0; i < m->count; i++) assert_true(check_add(h, &m->ops[i]));
    return h;
}

static enum check_verdict judge(const struct maker *m, struct buf *explanation)
{
    struct check_history *h = history_of(m);
    enum check_verdict verdict = check_linearizable(h, CHECK_BUDGET, explanation);
    check_free(h);
    return verdict;
}

/* Changes an answer or a time of one answered operation. */
static void mutate(struct maker *m)
{
    struct check_op *op = &m->ops[prng_below(&m->r, m->count)];
    if (op->outcome == CHECK_UNKNOWN) return;
    switch (prng_below(&m->r, 4)) {
    case 0: op->ret = op->call; break;
    case 1: op->call = op->call > 3 ? op->call - 3 : 0; break;
    case 2:
        if (op->kind == CHECK_READ || op->kind == CHECK_SWAP || op->kind == CHECK_TAKE)
            op->result = CHECK_NIL;
        break;
    default:
        if (op->kind == CHECK_PUT || op->kind == CHECK_CREATE || op->kind == CHECK_CAS ||
            op->kind == CHECK_DELETE)
            op->result = flag(bytes_equal(op->result.bytes, BYTES("0")));
        else
            op->result = some_value(&m->r);
    }
}

TEST(histories_that_were_made_linearizable_are_found_so)
{
    struct maker m;
    for (uint64_t seed = 0; seed < 300; seed++) {
        make_history(&m, seed, 20 + (uint32_t)(seed % 100), 1 + (uint32_t)(seed % 8),
                     seed % 3 ? 20000 : 0);
        assert_int_equal(judge(&m, NULL), CHECK_LINEARIZABLE);
        maker_deinit(&m);
    }
}

TEST(long_histories_of_many_clients_are_judged)
{
    struct maker m;
    make_history(&m, 1, 20000, 12, 0);
    assert_int_equal(judge(&m, NULL), CHECK_LINEARIZABLE);
    maker_deinit(&m);
    make_history(&m, 2, 3000, 8, 3000);
    assert_int_equal(judge(&m, NULL), CHECK_LINEARIZABLE);
    maker_deinit(&m);
}

TEST(small_histories_get_the_verdict_of_brute_force)
{
    uint32_t verdicts[2] = {0, 0};
    struct maker m;
    for (uint64_t seed = 0; seed < 20000; seed++) {
        make_history(&m, seed, 1 + (uint32_t)(seed % SMALL), 1 + (uint32_t)(seed % 4), 100000);
        for (uint64_t n = seed % 4; n > 0; n--) mutate(&m);
        struct brute b = {m.ops, m.count, 0};
        bool good = brute_search(&b, (struct cell){0});
        assert_int_equal(judge(&m, NULL), good ? CHECK_LINEARIZABLE : CHECK_VIOLATION);
        verdicts[good]++;
        maker_deinit(&m);
    }
    assert_true(verdicts[false] > 2000 && verdicts[true] > 2000);
}

TEST(the_explanation_is_itself_a_history_that_is_not_linearizable_and_no_shorter_one_is)
{
    uint32_t bad = 0;
    struct maker m;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct buf text = {0};
        make_history(&m, seed, 40, 4, 20000);
        mutate(&m);
        if (judge(&m, &text) == CHECK_VIOLATION) {
            struct check_history *h = check_new(), *less = check_new();
            struct buf error = {0};
            uint64_t last = 0;
            assert_true(check_read(h, buf_bytes(&text), &error));
            assert_int_equal(check_linearizable(h, CHECK_BUDGET, NULL), CHECK_VIOLATION);
            for (size_t i = 0; i < check_count(h); i++) {
                struct check_op op = check_get(h, i);
                if (op.outcome == CHECK_OK && op.ret > last) last = op.ret;
            }
            for (size_t i = 0; i < check_count(h); i++) { /* the last answer forgotten */
                struct check_op op = check_get(h, i);
                if (op.outcome == CHECK_OK && op.ret == last) op.outcome = CHECK_UNKNOWN;
                assert_true(check_add(less, &op));
            }
            assert_int_equal(check_linearizable(less, CHECK_BUDGET, NULL), CHECK_LINEARIZABLE);
            check_free(h);
            check_free(less);
            bad++;
        }
        buf_deinit(&text);
        maker_deinit(&m);
    }
    assert_true(bad > 50);
}

TEST(an_explanation_names_the_key_and_what_has_no_place)
{
    struct buf text = {0};
    assert_int_equal(judge_text("1 2 1 write good 1 -> ok\n"
                                "1 2 1 write bad 1 -> ok\n"
                                "3 4 1 write bad 2 -> ok\n"
                                "5 6 2 read bad -> 1\n"
                                "7 8 1 write bad 3 -> ok\n",
                                &text),
                     CHECK_VIOLATION);
    EXPECT_BYTES(buf_bytes(&text), "# Key 'bad' is not linearizable: 3 operations (of 4) show it:\n"
                                   "1 2 1 write bad 1 -> ok\n"
                                   "3 4 1 write bad 2 -> ok\n"
                                   "5 6 2 read bad -> 1\n"
                                   "# The longest order found has 2 of the 3 that were answered; "
                                   "then the value is 2. It ends with:\n"
                                   "#   1 2 1 write bad 1 -> ok\n"
                                   "#   3 4 1 write bad 2 -> ok\n"
                                   "# Answered, and with no place in it:\n"
                                   "#   5 6 2 read bad -> 1\n");
    buf_deinit(&text);
}

TEST(what_is_too_hard_is_said_to_be_so_and_a_violation_elsewhere_outweighs_it)
{
    struct check_history *h = check_new();
    struct buf text = {0};
    char value[24];
    for (int i = 0; i < 40;
         i++) { /* 40 writes at once, and a value that none of them wrote: 40 * 2^39 pairs */
        snprintf(value, sizeof value, "v%d", i);
        struct check_op op = {.key = BYTES("hard"),
                              .kind = CHECK_WRITE,
                              .argument = check_value(bytes_str(value)),
                              .call = 1,
                              .ret = 2};
        assert_true(check_add(h, &op));
    }
    struct check_op read = {.key = BYTES("hard"),
                            .kind = CHECK_READ,
                            .result = check_value(BYTES("x")),
                            .call = 1,
                            .ret = 2};
    assert_true(check_add(h, &read));
    assert_int_equal(check_linearizable(h, 20000, &text), CHECK_TOO_HARD);
    EXPECT_BYTES(buf_bytes(&text), "# Key 'hard': no verdict within 20000 steps\n");

    read.key = BYTES("other");
    assert_true(check_add(h, &read));
    assert_int_equal(check_linearizable(h, 20000, &text), CHECK_VIOLATION);
    assert_non_null(memmem(text.data, text.size, "'other'", 7));
    check_free(h);
    buf_deinit(&text);
}

/* ---- histories as text ---- */

TEST(a_history_written_and_read_is_the_same)
{
    static const char *values[] = {"plain", "two words", "nil",        "ok",       "->", "-",
                                   "?",     "",          "\"\\\n\r\t", "\x01\xff", "-5", "a#b"};
    struct check_history *h = check_new(), *again = check_new();
    struct buf first = {0}, second = {0}, error = {0};
    for (uint32_t i = 0; i < 200; i++) {
        struct check_value v = check_value(bytes_str(values[i % 12])),
                           w = i % 5 ? check_value(bytes_str(values[i % 11])) : CHECK_NIL;
        struct check_op op = {.key = bytes_str(values[i % 7]),
                              .client = i,
                              .kind = (uint8_t)(i % CHECK_KINDS),
                              .outcome = i % 4 == 0,
                              .argument = v,
                              .expected = w,
                              .result = w,
                              .call = i,
                              .ret = (uint64_t)i << 40};
        if (op.kind == CHECK_ADD) op.argument = check_value(BYTES("7"));
        assert_true(check_add(h, &op));
    }
    check_write(h, &first);
    assert_true(check_read(again, buf_bytes(&first), &error));
    check_write(again, &second);
    assert_true(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    for (size_t i = 0; i < check_count(h); i++) {
        struct check_op a = check_get(h, i), b = check_get(again, i);
        assert_true(bytes_equal(a.key, b.key) && value_equal(a.argument, b.argument) &&
                    value_equal(a.expected, b.expected));
        assert_true(value_equal(a.result, b.result) && a.kind == b.kind && a.outcome == b.outcome &&
                    a.call == b.call && a.ret == b.ret);
    }
    check_free(h);
    check_free(again);
    buf_deinit(&first);
    buf_deinit(&second);
}

TEST(malformed_lines_are_refused_by_number_and_reason)
{
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"1 2 1 read\n", "line 1: too few words"},
        {"# fine\n\n1 2 1 read k -> 1 2 3 4\n", "line 3: too many words"},
        {"1 2 1 read k -> 1 2\n", "line 1: arguments or result missing, or too many"},
        {"1 2 1 write k -> ok\n", "line 1: arguments or result missing, or too many"},
        {"1 2 1 write k -> ok ok\n", "line 1: arguments or result missing, or too many"},
        {"x 2 1 read k -> 1\n", "line 1: the time of the call is no number"},
        {"1 x 1 read k -> 1\n", "line 1: the time of the return is no number and not -"},
        {"1 18446744073709551616 1 read k -> 1\n",
         "line 1: the time of the return is no number and not -"},
        {"1 2 4294967296 read k -> 1\n", "line 1: the client is no number"},
        {"1 2 1 fetch k -> 1\n", "line 1: an operation of no known kind"},
        {"1 - 1 read k -> 1\n",
         "line 1: a pending operation has - for its return and ? for its result"},
        {"1 2 1 read k -> ?\n",
         "line 1: a pending operation has - for its return and ? for its result"},
        {"1 2 1 write k 1 -> 1\n", "line 1: the result of a write is ok"},
        {"2 1 1 read k -> 1\n", "line 1: it returns before its call, or its argument is none"},
        {"1 2 1 write k nil -> ok\n",
         "line 1: it returns before its call, or its argument is none"},
        {"1 2 1 add k x -> 1\n", "line 1: it returns before its call, or its argument is none"},
        {"1 2 1 read \"k -> 1\n",
         "line 1: a quoted word that does not end, or an escape that is none"},
        {"1 2 1 read \"\\q\" -> 1\n",
         "line 1: a quoted word that does not end, or an escape that is none"},
        {"1 2 1 read k -> \"\\x4\"\n",
         "line 1: a quoted word that does not end, or an escape that is none"},
        {"1 2 1 read k -> \"a\"b\n",
         "line 1: a quoted word that does not end, or an escape that is none"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct check_history *h = check_new();
        struct buf error = {0};
        assert_false(check_read(h, bytes_str(rows[i].text), &error));
        EXPECT_BYTES(buf_bytes(&error), rows[i].error);
        assert_int_equal(check_count(h), 0);
        check_free(h);
        buf_deinit(&error);
    }
}

TEST(any_text_at_all_is_read_or_refused)
{
    static const char pieces[] =
        "0123 9 - -> nil ok ? read write cas add k \"a\\x4\" \"\\\" \n \n # ";
    struct prng r;
    prng_init(&r, 9);
    for (int i = 0; i < 20000; i++) {
        struct check_history *h = check_new();
        struct buf error = {0};
        size_t size = prng_below(&r, 60);
        char *text =
            mem_alloc(size + 1); /* of exactly this size, so that a sanitizer sees an overrun */
        for (size_t k = 0; k < size; k++) text[k] = pieces[prng_below(&r, sizeof pieces - 1)];
        bool ok = check_read(h, bytes_of(text, size), &error);
        assert_int_equal(ok, error.size == 0);
        mem_free(text);
        check_free(h);
        buf_deinit(&error);
    }
}

TEST_MAIN
