/* The judge of the bank: correct histories pass, and each kind of wrong one is caught. */
#include "test.h"
#include "base/prng.h"
#include "sim/bank_judge.h"

#define TELLERS  3
#define ACCOUNTS 6

/* A bank that does everything right, one thing after another, unless a test tampers with it. */
struct bank_twin {
    struct bank_judge j;
    struct bank_view now;
    int64_t pair[2];
};

static void setup(struct bank_twin *k)
{
    *k = (struct bank_twin){0};
    bank_judge_init(&k->j, TELLERS, ACCOUNTS);
}

static void apply(struct bank_twin *k, uint32_t teller, uint32_t serial, uint32_t low,
                  uint32_t high)
{
    uint32_t from = teller % 2 ? high : low, to = teller % 2 ? low : high;
    k->now.account[from] -= bank_amount(from, to);
    k->now.account[to] += bank_amount(from, to);
    k->now.counter[teller]++;
    k->now.last[teller] = serial;
}

static bool audit(struct bank_twin *k)
{
    struct bank_audit a = bank_audit_sent(&k->j);
    return bank_audit_done(&k->j, &a, &k->now);
}

/* Sent, done, answered. */
static bool transfer(struct bank_twin *k, uint32_t teller)
{
    uint32_t serial = bank_transfer_sent(&k->j, teller);
    int64_t before = k->now.last[teller];
    apply(k, teller, serial, serial % 3, 3 + serial % 3);
    return bank_transfer_done(&k->j, teller, serial, k->now.counter[teller], before);
}

#define GOOD(k, call)                                                                              \
    do {                                                                                           \
        if (!(call)) fail_msg("%s: %s", #call, (k)->j.why);                                        \
    } while (0)

/* It is wrong, and says so in these words. Ends the history. */
#define BAD(k, words, call)                                                                        \
    do {                                                                                           \
        if (call) fail_msg("%s is not caught", #call);                                             \
        if (!strstr((k)->j.why, words)) fail_msg("'%s' does not say '%s'", (k)->j.why, words);     \
        bank_judge_deinit(&(k)->j);                                                                \
    } while (0)

/* ---- what is right ---- */

TEST(a_sequence_of_transfers_and_audits_is_right)
{
    struct bank_twin k;
    setup(&k);
    GOOD(&k, audit(&k));
    for (uint32_t i = 0; i < 300; i++) {
        GOOD(&k, transfer(&k, i % TELLERS));
        GOOD(&k, audit(&k));
    }
    bank_judge_deinit(&k.j);
}

TEST(a_transfer_without_an_answer_is_done_at_once_or_late_or_never)
{
    struct bank_twin k;
    setup(&k);
    GOOD(&k, transfer(&k, 0));
    uint32_t at_once = bank_transfer_sent(&k.j, 0);
    apply(&k, 0, at_once, 1, 4);
    uint32_t late = bank_transfer_sent(&k.j, 0);
    (void)bank_transfer_sent(&k.j, 0); /* never */
    GOOD(&k, transfer(&k, 0));
    GOOD(&k, audit(&k));
    apply(&k, 0, late, 2, 3);
    GOOD(&k, audit(&k));
    GOOD(&k, transfer(&k, 0));
    assert_int_equal(k.now.counter[0], 5);
    bank_judge_deinit(&k.j);
}

TEST(an_audit_may_see_a_transfer_or_not_while_it_goes_on)
{
    struct bank_twin k;
    setup(&k);
    GOOD(&k, transfer(&k, 1));
    struct bank_audit early = bank_audit_sent(&k.j), late = bank_audit_sent(&k.j);
    struct bank_view was = k.now;
    GOOD(&k, transfer(&k, 1));
    GOOD(&k, bank_audit_done(&k.j, &late, &k.now));
    GOOD(&k, bank_audit_done(&k.j, &early, &was));
    bank_judge_deinit(&k.j);
}

/* What a teller of the random bank is about. */
struct pending {
    uint32_t serial, low, high;
    int64_t counter, before;
    bool applied;
};

/* Every teller has one transfer under way, which is done at any time before its answer; some are
 * refused; of some no answer comes, and these are done later, or never. */
TEST(random_histories_that_are_right_pass)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct prng random;
        struct bank_twin k;
        struct pending p[TELLERS] = {0}, lost[TELLERS] = {0};
        prng_init(&random, seed);
        setup(&k);
        for (int i = 0; i < 400; i++) {
            uint32_t t = (uint32_t)prng_below(&random, TELLERS);
            struct pending *q = prng_below(&random, 8) ? &p[t] : &lost[t];
            uint64_t dice = prng_below(&random, 10);
            if (!q->serial && q == &p[t]) {
                uint32_t low = (uint32_t)prng_below(&random, ACCOUNTS - 1);
                uint32_t high = low + 1 + (uint32_t)prng_below(&random, ACCOUNTS - 1 - low);
                *q = (struct pending){bank_transfer_sent(&k.j, t), low, high, 0, 0, false};
            } else if (q->serial && !q->applied && dice < 6) {
                q->before = k.now.last[t];
                apply(&k, t, q->serial, q->low, q->high);
                q->counter = k.now.counter[t];
                q->applied = true;
            } else if (q->serial && q == &p[t] && dice < 8) {
                GOOD(&k, q->applied ? bank_transfer_done(&k.j, t, q->serial, q->counter, q->before)
                                    : bank_transfer_refused(&k.j, t, q->serial));
                q->serial = 0;
            } else if (q == &p[t] && dice == 8) {
                lost[t] = *q;
                q->serial = 0;
            } else {
                GOOD(&k, audit(&k));
            }
        }
        bank_judge_deinit(&k.j);
    }
}

/* ---- what is wrong with an audit ---- */

TEST(a_transfer_of_which_an_audit_sees_one_account_is_torn)
{
    struct bank_twin k;
    setup(&k);
    GOOD(&k, transfer(&k, 0));
    k.now.account[1] += bank_amount(1, 4);
    BAD(&k, "in all accounts together", audit(&k));
}

TEST(a_transfer_of_which_an_audit_sees_the_accounts_but_no_count_is_torn)
{
    struct bank_twin k;
    setup(&k);
    GOOD(&k, transfer(&k, 0));
    (void)bank_transfer_sent(&k.j, 0);
    k.now.account[1] -= bank_amount(1, 4);
    k.now.account[4] += bank_amount(1, 4);
    BAD(&k, "in the counters", audit(&k));
}

TEST(a_transfer_of_which_an_audit_sees_the_count_but_no_serial_is_torn)
{
    struct bank_twin k;
    setup(&k);
    GOOD(&k, transfer(&k, 0));
    uint32_t serial = bank_transfer_sent(&k.j, 0);
    apply(&k, 0, serial, 1, 4);
    k.now.last[0] = 1;
    BAD(&k, "done twice", audit(&k));
}

TEST(an_audit_that_misses_what_another_client_was_told_is_stale)
{
    struct bank_twin k;
    setup(&k);
    GOOD(&k, transfer(&k, 1));
    struct bank_view was = k.now;
    GOOD(&k, transfer(&k, 1));
    struct bank_audit a = bank_audit_sent(&k.j);
    BAD(&k, "had been 2 before", bank_audit_done(&k.j, &a, &was));
}

TEST(an_audit_that_misses_what_an_audit_saw_is_stale)
{
    struct bank_twin k;
    setup(&k);
    struct bank_view was = k.now;
    uint32_t serial = bank_transfer_sent(&k.j, 2); /* never answered */
    apply(&k, 2, serial, 0, 5);
    GOOD(&k, audit(&k));
    struct bank_audit a = bank_audit_sent(&k.j);
    BAD(&k, "had been 1 before", bank_audit_done(&k.j, &a, &was));
}

TEST(two_audits_that_see_two_transfers_in_different_orders_are_caught)
{
    struct bank_twin k;
    setup(&k);
    struct bank_audit a = bank_audit_sent(&k.j), b = bank_audit_sent(&k.j);
    struct bank_twin other = k;
    uint32_t first = bank_transfer_sent(&k.j, 0), second = bank_transfer_sent(&k.j, 1);
    apply(&k, 0, first, 0, 1);
    apply(&other, 1, second, 0, 1);
    GOOD(&k, bank_audit_done(&k.j, &a, &k.now));
    BAD(&k, "different orders", bank_audit_done(&k.j, &b, &other.now));
}

TEST(two_audits_after_the_same_transfers_see_the_same_accounts)
{
    struct bank_twin k;
    setup(&k);
    struct bank_twin other = k;
    uint32_t serial = bank_transfer_sent(&k.j, 0);
    apply(&k, 0, serial, 0, 1);
    apply(&other, 0, serial, 1, 2);
    GOOD(&k, audit(&k));
    struct bank_audit a = bank_audit_sent(&k.j);
    BAD(&k, "different accounts", bank_audit_done(&k.j, &a, &other.now));
}

TEST(a_counter_above_what_was_sent_is_caught)
{
    struct bank_twin k;
    setup(&k);
    GOOD(&k, transfer(&k, 0));
    apply(&k, 0, 1, 1, 4);
    BAD(&k, "of 1 transfers 0 were refused", audit(&k));
}

/* ---- what is wrong with a transfer ---- */

TEST(an_acknowledged_transfer_that_is_lost_is_caught_by_its_teller)
{
    struct bank_twin k;
    setup(&k);
    GOOD(&k, transfer(&k, 0));
    struct bank_view was = k.now;
    GOOD(&k, transfer(&k, 0));
    k.now = was;
    BAD(&k, "had been", transfer(&k, 0));
}

/* The count is right, for one without an answer was done instead. */
TEST(an_acknowledged_transfer_that_is_lost_is_caught_among_unknown_ones)
{
    struct bank_twin k;
    setup(&k);
    GOOD(&k, transfer(&k, 0));
    struct bank_view was = k.now;
    GOOD(&k, transfer(&k, 0));
    uint32_t unknown = bank_transfer_sent(&k.j, 0);
    k.now = was;
    apply(&k, 0, unknown, 1, 4);
    BAD(&k, "one of them is lost", audit(&k));
}

TEST(a_transfer_that_is_done_twice_is_caught_by_its_teller)
{
    struct bank_twin k;
    setup(&k);
    GOOD(&k, transfer(&k, 0));
    apply(&k, 0, 1, 1, 4);
    BAD(&k, "of 2 transfers 0 were refused", transfer(&k, 0));
}

/* The count is within what is possible, for another one was never done. */
TEST(a_transfer_that_is_done_twice_is_caught_among_unknown_ones)
{
    struct bank_twin k;
    setup(&k);
    (void)bank_transfer_sent(&k.j, 0);
    GOOD(&k, transfer(&k, 0));
    apply(&k, 0, 2, 1, 4);
    BAD(&k, "done twice", transfer(&k, 0));
}

TEST(a_transfer_that_is_done_twice_is_caught_by_an_audit)
{
    struct bank_twin k;
    setup(&k);
    (void)bank_transfer_sent(&k.j, 0);
    GOOD(&k, transfer(&k, 0));
    apply(&k, 0, 2, 1, 4);
    BAD(&k, "done twice", audit(&k));
}

TEST(a_refused_transfer_that_is_done_is_caught)
{
    struct bank_twin k;
    setup(&k);
    GOOD(&k, transfer(&k, 0));
    (void)bank_transfer_sent(&k.j, 0); /* never answered: so the count is possible */
    uint32_t serial = bank_transfer_sent(&k.j, 0);
    GOOD(&k, bank_transfer_refused(&k.j, 0, serial));
    apply(&k, 0, serial, 1, 4);
    BAD(&k, "was refused, and is done", audit(&k));
}

TEST(a_transfer_that_was_seen_before_it_is_refused_is_caught)
{
    struct bank_twin k;
    setup(&k);
    uint32_t serial = bank_transfer_sent(&k.j, 0);
    apply(&k, 0, serial, 1, 4);
    GOOD(&k, audit(&k));
    BAD(&k, "had been done", bank_transfer_refused(&k.j, 0, serial));
}

TEST(refusals_leave_the_bounds_exact)
{
    struct bank_twin k;
    setup(&k);
    GOOD(&k, transfer(&k, 0));
    for (int i = 0; i < 3; i++)
        GOOD(&k, bank_transfer_refused(&k.j, 0, bank_transfer_sent(&k.j, 0)));
    GOOD(&k, transfer(&k, 0));
    uint32_t serial = bank_transfer_sent(&k.j, 0);
    BAD(&k, "of 6 transfers 3 were refused", bank_transfer_done(&k.j, 0, serial, 4, 5));
}

/* ---- the pair ---- */

TEST(a_pair_is_absent_then_of_one_value_then_of_another)
{
    struct bank_twin k;
    setup(&k);
    uint64_t early = bank_pair_read_sent(&k.j);
    GOOD(&k, bank_pair_read(&k.j, early, 0, 0));
    uint32_t first = bank_pair_sent(&k.j), lost = bank_pair_sent(&k.j);
    bank_pair_done(&k.j, first);
    uint64_t before = bank_pair_read_sent(&k.j);
    uint32_t second = bank_pair_sent(&k.j);
    GOOD(&k, bank_pair_read(&k.j, before, first, first));
    bank_pair_done(&k.j, second);
    GOOD(&k, bank_pair_read(&k.j, before, first, first)); /* it took long */
    GOOD(&k, bank_pair_read(&k.j, bank_pair_read_sent(&k.j), second, second));
    GOOD(&k, bank_pair_read(&k.j, bank_pair_read_sent(&k.j), lost, lost));
    GOOD(&k, bank_pair_read(&k.j, early, 0, 0));
    bank_judge_deinit(&k.j);
}

TEST(a_torn_pair_is_caught)
{
    struct bank_twin k;
    setup(&k);
    bank_pair_done(&k.j, bank_pair_sent(&k.j));
    (void)bank_pair_sent(&k.j);
    BAD(&k, "of the pair one is 1, the other 2",
        bank_pair_read(&k.j, bank_pair_read_sent(&k.j), 1, 2));
}

TEST(a_pair_half_absent_is_caught)
{
    struct bank_twin k;
    setup(&k);
    (void)bank_pair_sent(&k.j);
    BAD(&k, "of the pair", bank_pair_read(&k.j, bank_pair_read_sent(&k.j), 1, 0));
}

TEST(a_stale_pair_is_caught)
{
    struct bank_twin k;
    setup(&k);
    bank_pair_done(&k.j, bank_pair_sent(&k.j));
    BAD(&k, "is absent", bank_pair_read(&k.j, bank_pair_read_sent(&k.j), 0, 0));
    setup(&k);
    bank_pair_done(&k.j, bank_pair_sent(&k.j));
    bank_pair_done(&k.j, bank_pair_sent(&k.j));
    BAD(&k, "overwritten", bank_pair_read(&k.j, bank_pair_read_sent(&k.j), 1, 1));
}

TEST(a_pair_that_was_refused_and_is_there_is_caught)
{
    struct bank_twin k;
    setup(&k);
    uint32_t value = bank_pair_sent(&k.j);
    GOOD(&k, bank_pair_refused(&k.j, value));
    BAD(&k, "was refused", bank_pair_read(&k.j, 0, value, value));
    setup(&k);
    value = bank_pair_sent(&k.j);
    GOOD(&k, bank_pair_read(&k.j, 0, value, value));
    BAD(&k, "had been read", bank_pair_refused(&k.j, value));
}

TEST_MAIN
