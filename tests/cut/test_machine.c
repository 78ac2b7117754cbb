/* The machines of a cut, one step at a time: what a coordinator asks and when it gives up, and what
 * a leader's hold says of itself. The explorer has them all at once. */
#include "test.h"

#include "txn/cut.h"
#include "txn/hold.h"

#include "base/buf.h"
#include "ring/slot.h"

static void note(void *ctx, const struct cut_effect *fx)
{
    static const char *const name[] = {"freeze", "snap", "resume", "let-go", "made", "void"};
    buf_printf(ctx, "%s", name[fx->type]);
    if (fx->type <= CUT_FX_LET_GO) buf_printf(ctx, " %u%s", fx->part, fx->kept ? " kept" : "");
    buf_printf(ctx, "; ");
}

struct rig {
    struct cut c;
    struct cut_part part[3];
    struct buf said;
};

static void start(struct rig *r)
{
    static const uint16_t end[] = {100, 9000, SLOT_COUNT};
    *r = (struct rig){0};
    cut_init(&r->c, r->part, 3);
    cut_step(&r->c, CUT_EV_BEGIN, 0, note, &r->said);
    for (int i = 0; i < 3; i++) {
        r->part[i].slot_lo = i ? end[i - 1] : 0;
        r->part[i].slot_hi = end[i];
    }
}

#define EXPECT(r, text)                                                                            \
    do {                                                                                           \
        EXPECT_BYTES(buf_bytes(&(r)->said), text);                                                 \
        buf_clear(&(r)->said);                                                                     \
    } while (0)

static void all_say(struct rig *r, uint8_t event)
{
    for (uint32_t i = 3; i-- > 0;) cut_step(&r->c, event, i, note, &r->said);
}

TEST(a_cut_is_made_when_all_have_said_yes_three_times)
{
    struct rig r;
    start(&r);
    EXPECT(&r, "freeze 0; freeze 1; freeze 2; ");
    cut_step(&r.c, CUT_EV_YES, 1, note, &r.said);
    cut_step(&r.c, CUT_EV_YES, 0, note, &r.said);
    EXPECT(&r, "");
    cut_step(&r.c, CUT_EV_YES, 2, note, &r.said);
    EXPECT(&r, "snap 0; snap 1; snap 2; ");
    all_say(&r, CUT_EV_YES);
    EXPECT(&r, "resume 0; resume 1; resume 2; ");
    all_say(&r, CUT_EV_YES);
    EXPECT(&r, "made; ");
    buf_deinit(&r.said);
}

TEST(one_no_makes_it_void_and_all_let_go)
{
    struct rig r;
    start(&r);
    buf_clear(&r.said);
    cut_step(&r.c, CUT_EV_NO, 1, note, &r.said);
    EXPECT(&r, "let-go 0; let-go 1; let-go 2; void; ");
    cut_step(&r.c, CUT_EV_YES, 0, note, &r.said);
    EXPECT(&r, "");

    start(&r);
    all_say(&r, CUT_EV_YES);
    buf_clear(&r.said);
    cut_step(&r.c, CUT_EV_LATE, 0, note, &r.said);
    EXPECT(&r, "let-go 0 kept; let-go 1 kept; let-go 2 kept; void; ");

    start(&r);
    all_say(&r, CUT_EV_YES);
    all_say(&r, CUT_EV_YES);
    buf_clear(&r.said);
    cut_step(&r.c, CUT_EV_NO, 2, note, &r.said);
    cut_step(&r.c, CUT_EV_YES, 0, note, &r.said);
    EXPECT(&r, "");
    cut_step(&r.c, CUT_EV_YES, 1, note, &r.said);
    EXPECT(&r, "let-go 0 kept; let-go 1 kept; let-go 2 kept; void; ");
    buf_deinit(&r.said);
}

/* A group was split, or merged, and the coordinator's map does not know it yet. */
TEST(groups_that_have_not_every_slot_once_make_no_cut)
{
    static const struct {
        uint16_t lo, hi;
    } wrong[] = {{101, 9000}, {99, 9000}, {100, 8999}, {100, 9001}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct rig r;
        start(&r);
        r.part[1].slot_lo = wrong[i].lo;
        r.part[1].slot_hi = wrong[i].hi;
        buf_clear(&r.said);
        all_say(&r, CUT_EV_YES);
        EXPECT(&r, "let-go 0; let-go 1; let-go 2; void; ");
        buf_deinit(&r.said);
    }
}

TEST(a_hold_is_one_cut_s_and_its_group_rests_after_it)
{
    struct cut_hold h = {.now = 1000};
    assert_int_equal(hold_begin(&h, 7), HOLD_IS_HELD);
    assert_int_equal(hold_begin(&h, 7), HOLD_IS_HELD); /* asked twice */
    assert_int_equal(hold_begin(&h, 8), HOLD_BUSY);
    assert_true(hold_keeps(&h, 1000, true) && hold_keeps(&h, 1000, false));
    assert_false(hold_lasted(&h, 7)); /* no SNAP yet */
    hold_snapped(&h, 8, 4, BYTES("x"));
    assert_false(hold_lasted(&h, 7));
    hold_snapped(&h, 7, 5, BYTES("y"));
    assert_true(hold_lasted(&h, 7));
    assert_false(hold_lasted(&h, 8));
    assert_int_equal(h.position, 5);
    h.now = 1000 + 50000000;
    hold_end(&h, 7, h.now);
    assert_false(hold_keeps(&h, h.now, true));
    assert_false(hold_lasted(&h, 7));
    assert_int_equal(hold_begin(&h, 7), HOLD_OVER); /* a late one */
    assert_int_equal(hold_begin(&h, 8), HOLD_RESTS);
    h.now += HOLD_REST_TIMES * 50000000;
    assert_int_equal(hold_begin(&h, 8), HOLD_IS_HELD);
}

TEST(a_hold_runs_out_and_is_not_said_to_have_lasted)
{
    struct cut_hold h = {.now = 1000};
    assert_int_equal(hold_begin(&h, 7), HOLD_IS_HELD);
    hold_snapped(&h, 7, 5, BYTES("y"));
    h.now = 1000 + HOLD_MAX - 1;
    assert_true(hold_lasted(&h, 7));
    h.now++;
    assert_false(hold_lasted(&h, 7));
    h.now--; /* clocks of this kind never fall; if one did, it would still be over */
    assert_false(hold_keeps(&h, h.now, false));

    h = (struct cut_hold){.now = 1000};
    hold_end(&h, 9, 1000); /* called off before it came */
    assert_int_equal(hold_begin(&h, 9), HOLD_OVER);
    h.changes = true;
    assert_int_equal(hold_begin(&h, 10), HOLD_CHANGES);
    h.changes = false;
    assert_int_equal(hold_begin(&h, 10), HOLD_IS_HELD);
    hold_lost(&h, 1000);
    assert_false(hold_lasted(&h, 10));
}

static struct cut_row row(uint64_t seq, uint32_t group, bool decided, const uint8_t *groups)
{
    return (struct cut_row){
        .who = 1, .seq = seq, .group = group, .decided = decided, .writers = 2, .groups = groups};
}

TEST(who_is_prepared_everywhere_or_decided_is_in)
{
    static const uint8_t groups[] = {3, 0, 0, 0, 1, 1, 0, 0}; /* 3 and 257 */
    struct cut_row rows[] = {row(1, 3, false, groups),  row(1, 257, false, groups),
                             row(2, 3, false, groups),  row(3, 257, false, groups),
                             row(4, 3, true, groups),   row(5, 3, true, groups),
                             row(5, 257, false, groups)};
    static const bool in[] = {true, true, false, false, true, true, true};
    cut_resolve(rows, 7);
    for (int i = 0; i < 7; i++) assert_int_equal(rows[i].in, in[i]);
    cut_resolve(rows, 0);
}

TEST_MAIN
