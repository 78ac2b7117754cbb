/* The checker of dependency cycles: a history for each anomaly, right ones, and a twin that tries
 * every order. A line is a transaction:
 *
 *     CALL RETURN OUTCOME OPERATION...      OUTCOME: ok, no (aborted), ? (unknown)
 *
 * a+5 appends 5 to the list a; b=1,2 reads the list b, and finds 1 and 2; b= finds it empty. */
#include "test.h"
#include "base/mem.h"
#include "base/prng.h"
#include "sim/check_cycles.h"

#define OPS_MAX     8
#define KEYS_MAX    12
#define READ_MAX    200
#define TXNS_MAX    400
#define CLIENTS_MAX 8

struct op {
    bool append;
    uint32_t key, value, count, values[READ_MAX];
};

struct txn {
    uint64_t call, ret;
    enum cycles_outcome outcome;
    uint32_t ops;
    struct op op[OPS_MAX];
};

static void history_add(struct cycles_history *h, const struct txn *t, uint32_t client)
{
    struct cycles_op op[OPS_MAX];
    for (uint32_t o = 0; o < t->ops; o++) {
        const struct op *from = &t->op[o];
        op[o] = (struct cycles_op){from->key, from->append, from->value, from->values, from->count};
    }
    (void)cycles_add(h, &(struct cycles_txn){client, t->outcome, t->call, t->ret, op, t->ops});
}

static struct op op_of(const char *word)
{
    struct op op = {.append = word[1] == '+', .key = (uint32_t)(word[0] - 'a')};
    char *at = (char *)&word[2];
    if (word[1] != '+' && word[1] != '=') fail_msg("'%s' is no operation", word);
    if (op.append) op.value = (uint32_t)strtoul(at, &at, 10);
    while (!op.append && *at) {
        op.values[op.count++] = (uint32_t)strtoul(at, &at, 10);
        if (*at == ',') at++;
    }
    return op;
}

static struct txn txn_of(char *line)
{
    struct txn t = {0};
    char *rest, *word = strtok_r(line, " ", &rest);
    t.call = strtoull(word, NULL, 10);
    t.ret = strtoull(strtok_r(NULL, " ", &rest), NULL, 10);
    word = strtok_r(NULL, " ", &rest);
    t.outcome = *word == 'o' ? CYCLES_COMMITTED : *word == 'n' ? CYCLES_ABORTED : CYCLES_UNKNOWN;
    while ((word = strtok_r(NULL, " ", &rest))) t.op[t.ops++] = op_of(word);
    return t;
}

static enum cycles_anomaly judge(const char *text, struct buf *why)
{
    struct cycles_history *h = cycles_new();
    char *copy = mem_strdup(text), *rest, *line = strtok_r(copy, "\n", &rest);
    for (uint32_t i = 0; line; i++, line = strtok_r(NULL, "\n", &rest)) {
        struct txn t = txn_of(line);
        history_add(h, &t, i);
    }
    enum cycles_anomaly found = cycles_check(h, why);
    cycles_free(h);
    mem_free(copy);
    return found;
}

static void expect(const char *text, enum cycles_anomaly expected, const char *words)
{
    struct buf why = {0};
    char said[2000];
    enum cycles_anomaly found = judge(text, &why);
    snprintf(said, sizeof said, "%.*s", (int)why.size, (const char *)why.data);
    if (found != expected)
        fail_msg("%s, not %s: %s\nin\n%s", cycles_anomaly_name(found),
                 cycles_anomaly_name(expected), said, text);
    if (!strstr(said, words)) fail_msg("'%s' does not say '%s'", said, words);
    buf_deinit(&why);
}

#define GOOD(text)             expect(text, CYCLES_NONE, "")
#define BAD(name, words, text) expect(text, CYCLES_##name, words)

/* ---- what is right ---- */

TEST(nothing_and_one_transaction_are_right)
{
    GOOD("");
    GOOD("1 2 ok a= a+1 a=1 b+2 b=2 a=1\n");
}

TEST(what_one_after_another_does_is_right)
{
    GOOD("1 2 ok a+1 b+2\n"
         "3 4 ok a=1 b=2 a+3\n"
         "5 6 ok a=1,3 b=2\n");
}

TEST(transactions_that_overlap_may_be_in_either_order)
{
    GOOD("1 9 ok a+1 b+2\n"
         "2 3 ok a=1 b=2\n"
         "2 9 ok a= b=\n"
         "9 10 ok a=1\n"); /* equal times overlap */
}

TEST(a_transaction_without_an_answer_is_done_at_once_or_late_or_never)
{
    GOOD("1 - ? a+1\n"
         "2 3 ok a=1\n");
    GOOD("1 - ? a+1\n"
         "2 3 ok a=\n"
         "4 5 ok a+2\n"
         "6 7 ok a=2,1\n");
    GOOD("1 - ? a+1 b+1\n"
         "2 3 ok a= b=\n");
}

TEST(an_aborted_transaction_that_nobody_saw_is_nothing)
{
    GOOD("1 2 no a+1 b+1\n"
         "3 4 ok a= b=\n");
}

TEST(an_append_that_nobody_read_comes_last)
{
    GOOD("1 2 ok a+1\n"
         "3 4 ok a=1\n"
         "5 6 ok a+2\n"
         "5 6 ok a+3\n");
}

/* ---- what one read shows ---- */

TEST(a_read_of_what_nobody_appended_is_garbage)
{
    BAD(GARBAGE, "T1 read 2 of k0, which nobody appended",
        "1 2 ok a+1\n"
        "3 4 ok a=1,2\n");
}

TEST(an_append_that_is_done_twice_is_a_duplicate)
{
    BAD(DUPLICATE, "T1 read 1 of k0, and again",
        "1 2 ok a+1\n"
        "3 4 ok a=1,1\n");
}

TEST(a_read_that_contradicts_its_own_transaction_is_internal)
{
    BAD(INTERNAL, "T0 read k0", "1 2 ok a+1 a=\n");
    BAD(INTERNAL, "T0 read k0", "1 2 ok a=1 a+1\n");
    BAD(INTERNAL, "T1 read k0",
        "1 2 ok a+1\n"
        "3 4 ok a= a=1\n");
    BAD(INTERNAL, "T1 read k0",
        "1 2 ok a+1\n"
        "3 4 ok a+2 a=2,1\n");
    BAD(INTERNAL, "T1 read k0",
        "1 2 ok a+1\n"
        "3 4 ok a=1 a+2 a+3 a=1,3,2\n");
}

TEST(a_read_of_what_was_aborted_is_g1a)
{
    BAD(G1A, "T1 read 1 of k0, which T0 appended, and T0 was aborted",
        "1 2 no a+1\n"
        "3 4 ok a=1\n");
}

TEST(a_read_between_two_appends_of_another_transaction_is_g1b)
{
    BAD(G1B, "after T0 had appended 1 to it, and before all",
        "1 9 ok a+1 a+2\n"
        "2 9 ok a=1\n"
        "9 9 ok a=1,2\n");
    BAD(G1B, "after T0 had appended 1", /* whatever its outcome */
        "1 - ? a+1 a+2\n"
        "2 9 ok a=1\n");
}

TEST(two_reads_of_a_key_in_different_orders_are_incompatible)
{
    BAD(ORDER, "neither read a prefix",
        "1 9 ok a+1\n"
        "1 9 ok a+2\n"
        "1 9 ok a=1,2\n"
        "1 9 ok a=2,1\n");
    BAD(ORDER, "neither read a prefix", /* one of the two is lost */
        "1 9 ok a+1\n"
        "1 9 ok a+2\n"
        "1 9 ok a=1\n"
        "1 9 ok a=2\n");
}

/* ---- cycles ---- */

TEST(writes_of_two_transactions_in_two_orders_are_g0)
{
    BAD(G0, "T1 appended 2 to k1 before T0 appended 1 [ww]",
        "1 9 ok a+1 b+1\n"
        "1 9 ok a+2 b+2\n"
        "1 9 ok a=1,2 b=2,1\n");
    BAD(G0, "cycle of 2", /* one comes between the two of the other */
        "1 9 ok a+1 a+3\n"
        "1 9 ok a+2\n"
        "1 9 ok a=1,2,3\n");
    BAD(G0, "cycle of 2", /* as no read shows 3, it comes after 2 */
        "1 9 ok a+1 a+3\n"
        "1 9 ok a+2\n"
        "1 9 ok a=1,2\n");
}

TEST(two_that_see_each_other_are_g1c)
{
    BAD(G1C, "T1 appended 2 to k1, which T0 read [wr]",
        "1 9 ok a+1 b=2\n"
        "1 9 ok a=1 b+2\n");
    BAD(G1C, "[ww]",
        "1 9 ok a+1 b=3\n"
        "1 9 ok a+2 b+3\n"
        "1 9 ok a=1,2\n");
}

TEST(who_sees_one_half_of_another_transaction_is_g_single)
{
    BAD(G_SINGLE, "T1 read k1 before T0 appended 2 to it [rw]",
        "1 9 ok a+1 b+2\n"
        "1 9 ok a=1 b=\n");
    BAD(G_SINGLE, "T1 read k0 before T0", /* a lost update */
        "1 9 ok a= a+1\n"
        "1 9 ok a= a+2\n"
        "1 9 ok a=1,2\n");
}

TEST(two_that_each_miss_what_the_other_wrote_are_g2)
{
    BAD(G2, "cycle of 2", /* write skew */
        "1 9 ok a= b+1\n"
        "1 9 ok b= a+2\n");
    BAD(G2, "cycle of 4", /* two readers of two writes, in two orders */
        "1 9 ok a+1\n"
        "1 9 ok b+2\n"
        "1 9 ok a=1 b=\n"
        "1 9 ok b=2 a=\n");
}

TEST(the_strongest_guarantee_that_is_broken_names_it)
{
    BAD(G0, "[ww]",
        "1 9 ok a+1 b+1\n"
        "1 9 ok a+2 b+2 c+1\n"
        "1 9 ok a=1,2 b=2,1\n"
        "1 9 ok c=1 a=\n"); /* G-single */
}

/* ---- cycles that take real time ---- */

TEST(a_write_that_is_put_before_one_that_had_ended_is_g0_realtime)
{
    BAD(G0_REALTIME, "T0 had ended before T1 began [rt]",
        "1 2 ok a+1\n"
        "3 4 ok a+2\n"
        "1 9 ok a=2,1\n");
}

TEST(a_read_of_what_was_written_only_later_is_g1c_realtime)
{
    BAD(G1C_REALTIME, "[wr]",
        "1 2 ok a=1\n"
        "3 4 ok a+1\n");
    BAD(G1C_REALTIME, "[wr]", /* without an answer it has no end, but a beginning */
        "1 2 ok a=1\n"
        "3 - ? a+1\n");
}

TEST(a_read_that_lacks_what_was_acknowledged_before_is_g_single_realtime)
{
    BAD(G_SINGLE_REALTIME, "T1 read k0 before T0 appended 1 to it [rw]",
        "1 2 ok a+1\n"
        "3 4 ok a=\n");
    BAD(G_SINGLE_REALTIME, "[rw]", /* what another client was told, too, and stays lost */
        "1 2 ok a+1\n"
        "1 2 ok b+1\n"
        "3 4 ok b=1\n"
        "5 6 ok a= b=1\n");
    BAD(G_SINGLE_REALTIME, "T2 read k0", /* it saw a later version, and then the one before */
        "1 - ? a+1\n"
        "2 3 ok a=1\n"
        "4 5 ok a=\n");
}

TEST(two_that_miss_what_came_before_only_because_of_time_are_g2_realtime)
{
    BAD(G2_REALTIME, "cycle of 4",
        "1 20 ok b+1\n"
        "1 20 ok b=1 a=\n"
        "5 6 ok a+1\n"
        "7 8 ok b=\n");
}

/* ---- random histories ---- */

/* Lists that do everything right, at one moment between the call and the return. */
struct twin {
    struct prng random;
    struct op list[KEYS_MAX]; /* as if it were read */
    uint32_t keys, value;
    uint64_t time;
};

static uint32_t draw(struct twin *k, uint32_t bound)
{
    return (uint32_t)prng_below(&k->random, bound);
}

static struct txn txn_draw(struct twin *k, uint32_t ops_max)
{
    struct txn t = {.call = ++k->time, .ops = 1 + draw(k, ops_max)};
    for (uint32_t o = 0; o < t.ops; o++) {
        t.op[o] = (struct op){.append = draw(k, 2), .key = draw(k, k->keys)};
        if (t.op[o].append) t.op[o].value = ++k->value;
    }
    return t;
}

/* Does what it appends; reads are right (`fill`: are made right), or it is false. */
static bool txn_apply(struct op list[KEYS_MAX], struct txn *t, bool fill)
{
    bool right = true;
    for (uint32_t o = 0; o < t->ops; o++) {
        struct op *op = &t->op[o], *now = &list[op->key];
        if (op->append) {
            now->values[now->count++] = op->value;
        } else if (fill) {
            op->count = now->count;
            memcpy(op->values, now->values, sizeof op->values);
        } else {
            right &= op->count == now->count &&
                     memcmp(op->values, now->values, now->count * sizeof(uint32_t)) == 0;
        }
    }
    return right;
}

enum { IDLE, CALLED, APPLIED };
struct client {
    int state;
    struct txn txn;
};

/* One step of a client. True: *t has ended. */
static bool client_step(struct twin *k, struct client *c, struct txn *t, uint32_t ops_max)
{
    uint32_t dice = draw(k, 12);
    if (c->state == IDLE) {
        c->txn = txn_draw(k, ops_max);
        c->state = CALLED;
        return false;
    }
    if (c->state == CALLED && dice > 1) {
        (void)txn_apply(k->list, &c->txn, true);
        c->state = APPLIED;
        return false;
    }
    c->txn.outcome = dice == 0             ? CYCLES_UNKNOWN
                     : c->state == APPLIED ? CYCLES_COMMITTED
                                           : CYCLES_ABORTED;
    c->txn.ret = ++k->time;
    *t = c->txn;
    c->state = IDLE;
    return true;
}

/* `count` transactions, or fewer, and those that are still under way. */
static uint32_t history_draw(struct twin *k, uint32_t clients, uint32_t count, uint32_t ops_max,
                             struct txn *t)
{
    struct client client[CLIENTS_MAX] = {0};
    uint32_t ended = 0;
    bool full = false;
    while (ended < count && !full) {
        ended += client_step(k, &client[draw(k, clients)], &t[ended], ops_max);
        for (uint32_t key = 0; key < k->keys; key++)
            full |= k->list[key].count + OPS_MAX * clients > READ_MAX;
    }
    for (uint32_t i = 0; i < clients; i++) {
        if (client[i].state == IDLE) continue;
        client[i].txn.outcome = CYCLES_UNKNOWN;
        t[ended++] = client[i].txn;
    }
    return ended;
}

static enum cycles_anomaly judge_txns(const struct txn *t, uint32_t count, struct buf *why)
{
    struct cycles_history *h = cycles_new();
    for (uint32_t i = 0; i < count; i++) history_add(h, &t[i], i);
    enum cycles_anomaly found = cycles_check(h, why);
    cycles_free(h);
    return found;
}

TEST(random_histories_that_are_right_pass)
{
    static struct txn t[TXNS_MAX + CLIENTS_MAX];
    struct buf why = {0};
    uint64_t judged = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct twin k = {.keys = 12};
        prng_init(&k.random, seed);
        uint32_t count = history_draw(&k, 2 + (uint32_t)seed % 6, TXNS_MAX, 4, t);
        enum cycles_anomaly found = judge_txns(t, count, &why);
        if (found)
            fail_msg("seed %u: %s: %.*s", (uint32_t)seed, cycles_anomaly_name(found), (int)why.size,
                     (char *)why.data);
        judged += count;
    }
    assert_true(judged > 300 * 100);
    buf_deinit(&why);
}

/* Is there an order of what is left, as time allows, in which every read is right? What has no
 * answer may be left out. */
static bool is_serializable(struct txn *t, uint32_t count, uint32_t placed,
                            const struct op list[KEYS_MAX])
{
    bool all = true;
    for (uint32_t i = 0; i < count; i++) all &= t[i].outcome != CYCLES_COMMITTED || placed >> i & 1;
    for (uint32_t i = 0; !all && i < count; i++) {
        bool next = t[i].outcome != CYCLES_ABORTED && !(placed >> i & 1);
        for (uint32_t j = 0; j < count; j++)
            next &= t[j].outcome != CYCLES_COMMITTED || placed >> j & 1 || t[j].ret >= t[i].call;
        if (!next) continue;
        struct op now[KEYS_MAX];
        struct txn copy = t[i];
        memcpy(now, list, sizeof now);
        if (!txn_apply(now, &copy, false) && t[i].outcome == CYCLES_COMMITTED) continue;
        all = is_serializable(t, count, placed | 1u << i, now);
    }
    return all;
}

/* Something that a wrong database might have done. */
static void history_spoil(struct twin *k, struct txn *t, uint32_t count)
{
    struct txn *x = &t[draw(k, count)], *y = &t[draw(k, count)];
    struct op *a = &x->op[draw(k, x->ops)], *b = &y->op[draw(k, y->ops)];
    switch (draw(k, 5)) {
    case 0: /* a stale read */
        if (!a->append && a->count) a->count--;
        break;
    case 1: /* two reads of each other's time */
        if (!a->append && !b->append && a->key == b->key) {
            struct op was = *a;
            *a = *b, *b = was;
        }
        break;
    case 2: /* a write that is lost, or refused and done */
        if (x->outcome == CYCLES_COMMITTED) x->outcome = CYCLES_ABORTED;
        break;
    case 3: /* another order of two elements */
        if (!a->append && a->count > 1) {
            uint32_t last = a->values[a->count - 1];
            a->values[a->count - 1] = a->values[a->count - 2];
            a->values[a->count - 2] = last;
        }
        break;
    default: /* another time */
        x->call = 1 + draw(k, (uint32_t)k->time);
        x->ret = x->call + draw(k, 6);
        break;
    }
}

/* What the checker calls wrong has no order. Of what has none it may miss some, for it does not
 * try; not many. */
TEST(small_histories_are_judged_as_if_every_order_were_tried)
{
    uint32_t wrong = 0, found = 0;
    struct buf why = {0};
    for (uint64_t seed = 0; seed < 60000; seed++) {
        struct twin k = {.keys = 2};
        struct txn t[4 + CLIENTS_MAX];
        const struct op empty[KEYS_MAX] = {0};
        prng_init(&k.random, seed);
        uint32_t count = history_draw(&k, 2 + (uint32_t)seed % 3, 4, 3, t);
        for (uint32_t i = draw(&k, 8); i > 0; i--) history_spoil(&k, t, count);
        bool right = is_serializable(t, count, 0, empty);
        bool caught = judge_txns(t, count, &why) != CYCLES_NONE;
        if (right && caught) fail_msg("seed %u: %.*s", (uint32_t)seed, (int)why.size, why.data);
        wrong += !right;
        found += caught;
    }
    print_message("of %u wrong histories %u were found\n", wrong, found);
    assert_true(wrong > 10000 && (uint64_t)found * 1000 >= (uint64_t)wrong * 990);
    buf_deinit(&why);
}

TEST_MAIN
