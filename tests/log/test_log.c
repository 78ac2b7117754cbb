/* The log on a fake disk: group commit, segments, garbage, reading back, full and failing disks. */
#include "test.h"

#include "base/mem.h"
#include "rig.h"

enum { SEGMENT = 16 * IO_BLOCK };

#define RIG(name)                                                                                  \
    struct rig name;                                                                               \
    rig_init(&name, __LINE__, SEGMENT);                                                            \
    rig_start(&name)

/* A value that takes about `size` bytes on disk. */
static const char *filler(size_t size)
{
    static char text[SEGMENT];
    memset(text, 'f', size);
    text[size] = 0;
    return text;
}

/* Appends entries of a group until the log has gone on to a new segment; returns the next position.
 */
static uint64_t fill_segment(struct rig *g, uint32_t group, uint64_t position)
{
    uint64_t sequence = g->l->segment[g->l->segment_count - 1]->sequence;
    while (g->l->segment[g->l->segment_count - 1]->sequence == sequence ||
           !g->l->segment[g->l->segment_count - 1]->written) {
        rig_append_entry(g, group, position++, 1, filler(3000));
        rig_settle(g);
    }
    return position;
}

TEST(what_was_synced_comes_back_in_order_with_all_its_fields)
{
    RIG(g);
    struct log_record e = rig_entry(3, 41, 6, BYTES("hello"));
    log_append(g.l, &e);
    rig_append_promise(&g, 4, 9);
    log_append(g.l,
               &(struct log_record){.type = LOG_CHOSEN, .group = 3, .replica = 7, .chosen = 41});
    struct log_record noop = rig_entry(3, 42, 6, (struct bytes){0});
    uint64_t lsn = log_append(g.l, &noop);
    rig_settle(&g);
    assert_true(log_synced(g.l) == log_appended(g.l) && g.synced >= lsn);
    rig_crash(&g, 0);
    rig_start(&g);

    assert_int_equal(g.replayed_count, 4);
    const struct log_record *r = &g.replayed[0].r;
    assert_int_equal(r->type, LOG_ENTRY);
    assert_int_equal(r->group, 3);
    assert_int_equal(r->replica, 7);
    assert_true(r->chosen == e.chosen && r->entry.position == 41 &&
                r->entry.ballot == e.entry.ballot);
    assert_true(r->entry.born == e.entry.born && r->entry.base.position == 40 &&
                r->entry.base.born == e.entry.base.born);
    assert_true(r->entry.hash == e.entry.hash && r->entry.size == 5 && r->entry.kind == PAXOS_DATA);
    EXPECT_BYTES(r->value, "hello");
    assert_true(g.replayed[1].r.type == LOG_PROMISE &&
                g.replayed[1].r.promised == paxos_ballot_make(9, 3));
    assert_true(g.replayed[2].r.type == LOG_CHOSEN && g.replayed[2].r.chosen == 41);
    assert_true(g.replayed[3].r.entry.kind == PAXOS_NOOP && g.replayed[3].r.value.size == 0);
    rig_deinit(&g);
}

TEST(what_a_turn_appends_leaves_as_one_write_and_at_most_two_are_in_flight)
{
    RIG(g);
    rig_settle(&g);
    uint64_t before = g.f.writes;
    for (uint64_t i = 1; i <= 50; i++) rig_append_entry(&g, 1, i, 1, "value");
    assert_true(g.f.writes == before); /* nothing leaves before the end of the turn */
    log_turn(g.l);
    assert_true(g.f.writes == before + 1);
    for (uint64_t i = 51; i <= 54; i++) {
        rig_append_entry(&g, 1, i, 1, "value");
        log_turn(g.l);
    }
    assert_true(g.f.writes == before + 2);
    fake_run_one(&g.f, 0);
    log_turn(g.l);
    assert_true(g.f.writes == before + 3); /* the three that queued meanwhile, together */
    rig_settle(&g);
    assert_true(log_synced(g.l) == log_appended(g.l));
    rig_deinit(&g);
}

TEST(writes_that_complete_out_of_order_are_reported_in_order)
{
    RIG(g);
    rig_settle(&g);
    uint64_t synced = log_synced(g.l), first = rig_append_entry(&g, 1, 1, 1, "a");
    log_turn(g.l);
    uint64_t second = rig_append_entry(&g, 1, 2, 1, "b");
    log_turn(g.l);
    fake_run_one(&g.f, 1);
    assert_true(log_synced(g.l) == synced && log_write_age(g.l, g.f.now) > 0);
    fake_run_one(&g.f, 0);
    assert_true(log_synced(g.l) == second && second == first + 1 && g.synced == second);
    assert_true(log_write_age(g.l, g.f.now) == 0);
    rig_deinit(&g);
}

TEST(a_write_that_never_completed_is_never_reported_even_if_a_later_one_landed)
{
    RIG(g);
    rig_append_entry(&g, 1, 1, 1, "kept");
    rig_settle(&g);
    rig_append_entry(&g, 1, 2, 1, "lost");
    log_turn(g.l);
    rig_append_entry(&g, 1, 3, 1, "landed");
    log_turn(g.l);
    rig_crash(&g, 2); /* the second write landed, the first did not */
    rig_start(&g);
    assert_non_null(rig_replayed_entry(&g, 1, 1));
    assert_null(rig_replayed_entry(&g, 1, 2));
    assert_null(rig_replayed_entry(&g, 1, 3));

    /* A write of the first one's size, so that the second one's leftover lies right behind it, with
     * just the lsn that follows. */
    rig_append_entry(&g, 1, 2, 2, "new");
    log_turn(g.l);
    rig_crash(&g, 1);
    rig_start(&g);
    assert_non_null(rig_replayed_entry(&g, 1, 2));
    assert_null(rig_replayed_entry(&g, 1, 3));
    rig_deinit(&g);
}

TEST(a_log_goes_on_over_segments_whose_files_were_made_before_they_were_needed)
{
    RIG(g);
    uint64_t next = 1;
    for (int i = 0; i < 5; i++) next = fill_segment(&g, 1, next);
    assert_true(g.l->segment_count == 6);
    rig_crash(&g, 0);
    rig_start(&g);
    assert_true(g.replayed_count == next - 1);
    for (uint64_t i = 1; i < next; i++) assert_true(g.replayed[i - 1].r.entry.position == i);
    assert_true(log_first(g.l, 1) == 1);
    rig_deinit(&g);
}

TEST(an_entry_that_does_not_fit_into_the_rest_of_a_segment_starts_the_next)
{
    RIG(g);
    rig_append_entry(&g, 1, 1, 1, filler(SEGMENT / 2));
    rig_append_entry(&g, 1, 2, 1, filler(SEGMENT - 4 * IO_BLOCK));
    rig_append_entry(&g, 1, 3, 1, "small");
    rig_settle(&g);
    assert_true(g.l->segment_count == 2 && g.l->segment[1]->live == 2);
    rig_crash(&g, 0);
    rig_start(&g);
    assert_int_equal(g.replayed_count, 3);
    assert_int_equal(strlen(rig_read(&g, 1, 2)), 255); /* as much as the rig keeps */
    assert_string_equal(rig_read(&g, 1, 3), "small");
    rig_deinit(&g);
}

TEST(entries_are_read_from_the_queue_from_writes_in_flight_and_from_disk)
{
    RIG(g);
    rig_append_entry(&g, 1, 1, 1, "one");
    assert_string_equal(rig_read(&g, 1, 1), "one");
    log_turn(g.l);
    rig_append_entry(&g, 1, 2, 1, "two");
    assert_true(g.l->flying_count == 1);
    assert_string_equal(rig_read(&g, 1, 1), "one");
    assert_string_equal(rig_read(&g, 1, 2), "two");
    rig_settle(&g);
    assert_string_equal(rig_read(&g, 1, 1), "one");
    assert_string_equal(rig_read(&g, 1, 2), "two");
    assert_string_equal(rig_read(&g, 1, 3), "-");
    assert_string_equal(rig_read(&g, 2, 1), "-");
    rig_append_entry(&g, 1, 2, 5, "newer");
    assert_string_equal(rig_read(&g, 1, 2), "newer");
    rig_settle(&g);
    rig_crash(&g, 0);
    rig_start(&g);
    assert_string_equal(rig_read(&g, 1, 1), "one");
    assert_string_equal(rig_read(&g, 1, 2), "newer");
    rig_deinit(&g);
}

struct range {
    struct log_read read;
    uint64_t next;
    uint32_t calls, most;
    bool end;
};

static void range_done(void *ctx, struct log_read *r, const struct log_record *records,
                       uint32_t count)
{
    struct range *range = ctx;
    range->calls++;
    range->end = count == 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        assert_true(records[i].entry.position == range->next++);
        bytes += records[i].value.size;
    }
    assert_true(count <= 1 || bytes <= r->bytes_max);
    if (count > range->most) range->most = count;
}

TEST(a_range_is_read_in_order_within_its_budget)
{
    RIG(g);
    for (uint64_t i = 1; i <= 400; i++) {
        rig_append_entry(&g, 1, i, 1, filler(100 + i % 50));
        rig_append_entry(&g, 2, i, 1, "between");
        if (i % 7 == 0) rig_settle(&g);
    }
    struct range range = {.next = 1};
    while (range.next <= 400 && !range.end) {
        range.read = (struct log_read){.group = 1,
                                       .position = range.next,
                                       .last = 400,
                                       .bytes_max = 4000,
                                       .done = range_done,
                                       .ctx = &range};
        log_read(g.l, &range.read);
        rig_settle(&g);
    }
    assert_true(range.next == 401 && range.most > 10 && range.most < 40);
    rig_deinit(&g);
}

TEST(what_is_below_the_floor_is_not_read_any_more)
{
    RIG(g);
    for (uint64_t i = 1; i <= 300; i++) rig_append_entry(&g, 1, i, 1, "v");
    rig_settle(&g);
    log_set_floor(g.l, 1, 130);
    log_check(g.l);
    assert_true(log_first(g.l, 1) == 130);
    assert_string_equal(rig_read(&g, 1, 129), "-");
    assert_string_equal(rig_read(&g, 1, 130), "v");
    log_set_floor(g.l, 1, 100); /* never goes back */
    assert_true(log_first(g.l, 1) == 130);
    log_set_floor(g.l, 1, 301);
    log_check(g.l);
    assert_true(log_first(g.l, 1) == 0 && log_has_group(g.l, 1));
    rig_append_entry(&g, 1, 300, 2, "late");
    assert_true(log_first(g.l, 1) == 0 && g.l->segment[0]->live == 0);
    assert_string_equal(rig_read(&g, 1, 300), "-");
    rig_append_entry(&g, 1, 90000000000, 1, "far"); /* after a snapshot */
    assert_true(log_first(g.l, 1) == 90000000000);
    assert_string_equal(rig_read(&g, 1, 90000000000), "far");
    rig_deinit(&g);
}

TEST(a_damaged_record_is_not_handed_out)
{
    RIG(g);
    rig_append_entry(&g, 1, 1, 1, "sound");
    rig_append_entry(&g, 1, 2, 1, "damaged");
    rig_settle(&g);
    const struct log_place *p = index_find(index_group(g.l, 1), 2);
    fake_flip(&g.f, "log-000001", p->offset + p->size - 2);
    assert_string_equal(rig_read(&g, 1, 1), "sound");
    assert_string_equal(rig_read(&g, 1, 2), "-");
    struct log_stats stats;
    log_stats(g.l, &stats);
    assert_true(stats.read_errors == 1);
    rig_deinit(&g);
}

/* The disk lost the latest write of that place, say, and gives an older record, as sound, of the
 * same position. */
TEST(a_sound_record_that_is_not_the_one_appended_is_not_handed_out)
{
    RIG(g);
    rig_append_entry(&g, 1, 1, 1, "old");
    rig_settle(&g);
    struct log_place old = *index_find(index_group(g.l, 1), 1);
    rig_append_entry(&g, 1, 1, 2, "new");
    rig_settle(&g);
    const struct log_place *now = index_find(index_group(g.l, 1), 1);
    uint8_t *data = fake_find(&g.f, "log-000001")->data;
    assert_true(old.size == now->size && old.offset != now->offset);
    memcpy(data + now->offset, data + old.offset, old.size);
    assert_string_equal(rig_read(&g, 1, 1), "-");
    rig_deinit(&g);
}

TEST(an_entry_replaced_during_a_read_is_not_handed_out)
{
    RIG(g);
    rig_append_entry(&g, 1, 1, 1, "v");
    rig_append_entry(&g, 1, 2, 1, "v");
    rig_settle(&g);
    struct range range = {.next = 1};
    range.read = (struct log_read){
        .group = 1, .position = 1, .last = 2, .bytes_max = 100, .done = range_done, .ctx = &range};
    log_read(g.l, &range.read);
    log_turn(g.l);
    rig_append_entry(&g, 1, 2, 2, "w");
    fake_run(&g.f, UINT32_MAX, false);
    assert_true(range.calls == 1 && range.next == 2 && g.l->stats.read_errors == 0);
    rig_deinit(&g);
}

TEST(a_group_dropped_during_a_read_is_not_handed_out)
{
    RIG(g);
    rig_append_entry(&g, 1, 1, 1, "v");
    rig_settle(&g);
    struct range range = {.next = 1};
    range.read = (struct log_read){
        .group = 1, .position = 1, .last = 1, .bytes_max = 100, .done = range_done, .ctx = &range};
    log_read(g.l, &range.read);
    log_turn(g.l);
    assert_int_equal(range.calls, 0);
    log_drop_group(g.l, 1);
    fake_run(&g.f, UINT32_MAX, false);
    assert_true(range.calls == 1 && range.end);
    rig_deinit(&g);
}

TEST(a_segment_in_which_nothing_counts_is_used_again)
{
    RIG(g);
    uint64_t next = 1;
    for (int i = 0; i < 20; i++) {
        next = fill_segment(&g, 1, next);
        log_set_floor(g.l, 1, next - 1);
    }
    rig_settle(&g);
    struct log_stats stats;
    log_stats(g.l, &stats);
    assert_true(stats.recycled >= 18 && stats.segments <= 2);
    uint32_t files = 0;
    for (uint32_t i = 0; i < g.f.file_count; i++) files += g.f.file[i].data != NULL;
    assert_true(files <= 4);
    rig_crash(&g, 0);
    rig_start(&g);
    assert_non_null(rig_replayed_entry(&g, 1, next - 1));
    assert_true(log_first(g.l, 1) > next - 40);
    rig_deinit(&g);
}

TEST(a_promise_that_lives_only_in_a_dying_segment_is_moved_first)
{
    RIG(g);
    rig_append_promise(&g, 5, 77);
    rig_append_entry(&g, 6, 1, 88, "accepting binds as a promise does");
    log_append(g.l,
               &(struct log_record){.type = LOG_CHOSEN, .group = 8, .replica = 7, .chosen = 3});
    uint64_t next = 1;
    log_set_floor(g.l, 6, 2);
    for (int i = 0; i < 6; i++) {
        next = fill_segment(&g, 1, next);
        log_set_floor(g.l, 1, next - 1);
    }
    rig_settle(&g);
    assert_true(g.l->segment[0]->sequence > 4);
    rig_crash(&g, 0);
    rig_start(&g);
    assert_true(rig_replayed_promise(&g, 5) == 77);
    assert_true(rig_replayed_promise(&g, 6) == 88);
    assert_true(log_has_group(g.l, 8) && !log_has_group(g.l, 9));
    rig_deinit(&g);
}

TEST(a_segment_dies_only_when_what_replaced_its_records_is_on_disk)
{
    RIG(g);
    rig_append_promise(&g, 5, 77);
    uint64_t next = fill_segment(&g, 1, 1);
    rig_settle(&g);
    log_set_floor(g.l, 1, next - 1);
    uint64_t oldest = g.l->segment[0]->sequence;
    log_turn(g.l); /* the promise is appended again, and being written */
    log_turn(g.l);
    assert_true(g.l->segment[0]->sequence == oldest);
    rig_crash(&g, 0);
    rig_start(&g);
    assert_true(rig_replayed_promise(&g, 5) == 77);
    rig_deinit(&g);
}

TEST(a_dropped_group_holds_its_segments_until_the_drop_is_on_disk)
{
    RIG(g);
    rig_append_entry(&g, 3, 1, 1, "v");
    uint64_t next = fill_segment(&g, 1, 1);
    rig_append_promise(&g, 3, 5);
    rig_settle(&g);
    log_set_floor(g.l, 1, next - 1);
    log_turn(g.l);
    uint64_t oldest = g.l->segment[0]->sequence;
    log_drop_group(g.l, 3);
    for (int i = 0; i < 3; i++) log_turn(g.l);
    assert_true(g.l->segment[0]->sequence == oldest);
    rig_settle(&g);
    assert_true(g.l->segment[0]->sequence > oldest);
    rig_deinit(&g);
}

TEST(a_replaced_entry_holds_its_segment_until_its_successor_is_on_disk)
{
    RIG(g);
    rig_append_entry(&g, 3, 1, 1, "accepted");
    uint64_t next = fill_segment(&g, 1, 1);
    rig_append_promise(&g, 3, 5);
    rig_settle(&g);
    log_set_floor(g.l, 1, next - 1);
    log_turn(g.l);
    uint64_t oldest = g.l->segment[0]->sequence;
    rig_append_entry(&g, 3, 1, 6, "accepted again");
    for (int i = 0; i < 3; i++) log_turn(g.l);
    assert_true(g.l->segment[0]->sequence == oldest);
    rig_settle(&g);
    assert_true(g.l->segment[0]->sequence > oldest);
    rig_deinit(&g);
}

TEST(a_death_is_on_disk_only_with_a_block_that_says_so)
{
    RIG(g);
    uint64_t next = fill_segment(&g, 1, 1);
    rig_settle(&g);
    uint64_t oldest = g.l->segment[0]->sequence;
    rig_append_entry(&g, 1, next++, 1, "a write begun before the death");
    log_turn(g.l);
    log_set_floor(g.l, 1, next - 2);
    log_turn(g.l);
    assert_true(g.l->segment[0]->sequence == oldest + 1);
    fake_run(&g.f, UINT32_MAX, false);
    log_turn(g.l);
    assert_true(g.l->oldest_durable == oldest && !list_empty(&g.l->dying));
    rig_append_entry(&g, 1, next++, 1, "one begun after it");
    rig_settle(&g);
    assert_true(g.l->oldest_durable == oldest + 1 && list_empty(&g.l->dying));
    rig_deinit(&g);
}

TEST(the_few_entries_of_a_cold_group_are_moved_and_a_large_group_is_named)
{
    RIG(g);
    g.l->options.quota_bytes = 3 * SEGMENT;
    struct log_record cold = rig_entry(2, 10, 4, BYTES("cold"));
    log_append(g.l, &cold);
    uint64_t next = 1;
    uint32_t named = 0;
    for (int i = 0; i < 5; i++) next = fill_segment(&g, 1, next);
    rig_settle(&g);
    rig_settle(&g);
    assert_true(log_pressure(g.l, &named) && named == 1);
    log_set_floor(g.l, 1, next - 10);
    rig_settle(&g);
    assert_false(log_pressure(g.l, &named));
    assert_true(g.l->segment[0]->sequence > 2);
    assert_string_equal(rig_read(&g, 2, 10), "cold");
    rig_settle(&g);
    rig_crash(&g, 0);
    rig_start(&g);
    const struct log_record *r = rig_replayed_entry(&g, 2, 10);
    assert_non_null(r);
    assert_true(r->entry.ballot == cold.entry.ballot && r->entry.born == cold.entry.born &&
                r->chosen == cold.chosen);
    assert_true(r->entry.base.position == 9 && r->entry.base.born == cold.entry.base.born &&
                r->entry.hash == cold.entry.hash);
    assert_true(r->replica == 7);
    rig_deinit(&g);
}

/* A node tells its peers how far it durably knows what is chosen, and they let go of their entries
 * up there. So the word for it must outlive the segment it was written in. */
TEST(the_watermark_of_a_cold_group_outlives_the_segment_that_said_it)
{
    RIG(g);
    g.l->options.quota_bytes = 3 * SEGMENT;
    rig_append_entry(&g, 2, 10, 4, "cold");
    log_append(g.l,
               &(struct log_record){.type = LOG_CHOSEN, .group = 2, .replica = 7, .chosen = 10});
    uint64_t next = 1, known = 0;
    for (int i = 0; i < 5; i++) next = fill_segment(&g, 1, next);
    log_set_floor(g.l, 1, next - 10);
    for (int i = 0; i < 4; i++) rig_settle(&g);
    assert_true(g.l->segment[0]->sequence > 2);
    fill_segment(&g, 1, next); /* a durable block says that the first segments are dead */
    rig_settle(&g);

    rig_crash(&g, 0);
    rig_start(&g);
    for (uint32_t k = 0; k < g.replayed_count; k++) {
        const struct log_record *r = &g.replayed[k].r;
        assert_false(r->group == 2 && r->type == LOG_CHOSEN); /* what was said first is gone */
        if (r->group == 2 && r->chosen > known) known = r->chosen;
    }
    assert_true(known == 10);
    rig_deinit(&g);
}

TEST(entries_with_gaps_between_them_are_moved_too)
{
    RIG(g);
    g.l->options.quota_bytes = 3 * SEGMENT;
    rig_append_entry(&g, 2, 1, 1, "one");
    rig_append_entry(&g, 2, 3, 1, "three");
    rig_append_entry(&g, 2, 500, 1, "far");
    uint64_t next = 1;
    for (int i = 0; i < 5; i++) next = fill_segment(&g, 1, next);
    log_set_floor(g.l, 1, next - 1);
    for (int i = 0; i < 6; i++) rig_settle(&g);
    assert_true(g.l->segment[0]->sequence > 2 && !g.l->rewrite_failed);
    assert_string_equal(rig_read(&g, 2, 1), "one");
    assert_string_equal(rig_read(&g, 2, 3), "three");
    assert_string_equal(rig_read(&g, 2, 500), "far");
    rig_deinit(&g);
}

TEST(a_segment_is_not_used_again_while_it_is_being_read)
{
    RIG(g);
    uint64_t next = fill_segment(&g, 1, 1);
    rig_append_entry(&g, 2, 1, 1, "x");
    rig_settle(&g);
    struct range range = {.next = 1};
    range.read = (struct log_read){
        .group = 1, .position = 1, .last = 2, .bytes_max = 9000, .done = range_done, .ctx = &range};
    log_read(g.l, &range.read);
    log_turn(g.l);
    struct log_segment *read = g.l->segment[0];
    assert_int_equal(read->pins, 1);
    log_set_floor(g.l, 1, next);
    for (int i = 0; i < 4;
         i++) { /* everything completes but the read, which is the oldest operation */
        rig_append_entry(&g, 2, 2, 1, "y");
        log_turn(g.l);
        while (g.f.op_count > 1) fake_run_one(&g.f, 1);
    }
    assert_false(list_empty(&g.l->dying));
    assert_ptr_equal(LIST_OF(g.l->dying.next, struct log_segment, link), read);
    rig_settle(&g);
    assert_int_equal(range.calls, 1);
    assert_true(list_empty(&g.l->dying));
    rig_deinit(&g);
}

TEST(a_dropped_and_recreated_group_does_not_get_its_old_records_back)
{
    RIG(g);
    rig_append_promise(&g, 3, 50);
    rig_append_entry(&g, 3, 1, 50, "old");
    rig_settle(&g);
    log_drop_group(g.l, 3);
    assert_false(log_has_group(g.l, 3));
    rig_append_promise(&g, 3, 2);
    rig_settle(&g);
    rig_crash(&g, 0);
    rig_start(&g);
    assert_true(rig_replayed_promise(&g, 3) == 2);
    assert_null(rig_replayed_entry(&g, 3, 1));
    assert_true(log_has_group(g.l, 3) && log_first(g.l, 3) == 0);
    rig_deinit(&g);
}

TEST(a_full_disk_holds_appends_back_and_they_leave_when_there_is_room)
{
    RIG(g);
    rig_settle(&g); /* there is one spare */
    g.f.room = 0;
    assert_int_equal(log_room(g.l), LOG_ROOM_OK);
    uint64_t next = fill_segment(&g, 1, 1);
    rig_settle(&g);
    rig_settle(&g);
    assert_int_equal(log_room(g.l), LOG_ROOM_LOW);
    while (log_room(g.l) == LOG_ROOM_LOW) {
        rig_append_entry(&g, 1, next++, 1, filler(3000));
        rig_settle(&g);
    }
    assert_int_equal(log_room(g.l), LOG_ROOM_NONE);
    uint64_t synced = log_synced(g.l);
    for (int i = 0; i < 30; i++) rig_append_entry(&g, 1, next++, 1, filler(3000));
    rig_settle(&g);
    assert_true(log_synced(g.l) == synced);

    g.f.room = 20 * SEGMENT;
    rig_settle(&g);
    assert_true(log_synced(g.l) == synced); /* tried once a second */
    assert_true(log_deadline(g.l) <= g.f.now + LOG_RETRY_NS);
    g.f.now += LOG_RETRY_NS;
    for (int i = 0; i < 5; i++) rig_settle(&g);
    assert_true(log_synced(g.l) == log_appended(g.l));
    assert_int_equal(log_room(g.l), LOG_ROOM_OK);
    rig_crash(&g, 0);
    rig_start(&g);
    assert_true(g.replayed_count == next - 1);
    rig_deinit(&g);
}

/* The last segment is full, no file can be made, and the only way on is the oldest segment, whose
 * death no block has told yet. */
TEST(on_a_full_disk_a_segment_that_dies_makes_room_by_itself)
{
    RIG(g);
    rig_settle(&g);
    g.f.room = 0;
    uint64_t next = fill_segment(&g, 1, 1), last_of_first = next - 2;
    while (log_room(g.l) != LOG_ROOM_NONE) {
        rig_append_entry(&g, 1, next++, 1, filler(3000));
        rig_settle(&g);
    }
    uint64_t waiting = log_appended(g.l);
    assert_true(log_synced(g.l) < waiting);
    log_set_floor(g.l, 1, last_of_first + 1);
    for (int i = 0; i < 4; i++) rig_settle(&g);
    assert_true(log_synced(g.l) >= waiting);
    rig_crash(&g, 0);
    rig_start(&g);
    for (uint64_t i = last_of_first + 1; i < next; i++)
        assert_non_null(rig_replayed_entry(&g, 1, i));
    rig_deinit(&g);
}

TEST(a_failed_write_ends_the_process_and_reports_nothing)
{
    RIG(g);
    rig_settle(&g);
    uint64_t synced = log_synced(g.l);
    rig_append_entry(&g, 1, 1, 1, "v");
    log_turn(g.l);
    g.f.fail_writes = 5;
    g.expects_fatal = true;
    if (!setjmp(g.on_fatal)) {
        fake_run_one(&g.f, 0);
        fail_msg("a failed write went unnoticed");
    }
    assert_true(log_synced(g.l) == synced);
    assert_non_null(strstr(g.fatal, "log-000001"));
    g.l->pending = 0; /* the completion never came back */
    rig_deinit(&g);
}

TEST(an_idle_log_proves_its_last_write_once)
{
    RIG(g);
    rig_settle(&g);
    rig_append_entry(&g, 1, 1, 1, "v");
    rig_settle(&g);
    uint64_t writes = g.f.writes;
    assert_true(log_deadline(g.l) <= g.f.now + LOG_IDLE_NS && log_deadline(g.l) > g.f.now);
    g.f.now += LOG_IDLE_NS;
    for (int i = 0; i < 5; i++) {
        rig_settle(&g);
        g.f.now += LOG_IDLE_NS;
    }
    assert_true(g.f.writes == writes + 1);
    assert_true(log_deadline(g.l) == UINT64_MAX);

    const struct log_place *p = index_find(index_group(g.l, 1), 1);
    fake_flip(&g.f, "log-000001", p->offset);
    rig_crash(&g, 0);
    assert_int_equal(rig_open(&g),
                     LOG_E_CORRUPT); /* without the beat it would have been a torn write */
    assert_non_null(strstr(g.error, "log-000001"));
    rig_deinit(&g);
}

TEST(an_opening_proves_what_it_replayed)
{
    RIG(g);
    rig_append_entry(&g, 1, 1, 1, "v");
    rig_settle(&g);
    struct log_place place = *index_find(index_group(g.l, 1), 1);
    rig_crash(&g, 0);
    rig_start(&g);
    log_turn(g.l);
    fake_run(&g.f, UINT32_MAX, false);
    rig_crash(&g, 0);
    fake_flip(&g.f, "log-000001", place.offset);
    assert_int_equal(rig_open(&g), LOG_E_CORRUPT);
    rig_deinit(&g);
}

TEST(a_log_is_ended_with_writes_reads_and_files_under_way)
{
    RIG(g);
    rig_append_entry(&g, 1, 1, 1, "v");
    struct range range = {.next = 1};
    rig_settle(&g);
    range.read = (struct log_read){
        .group = 1, .position = 1, .last = 1, .bytes_max = 100, .done = range_done, .ctx = &range};
    log_read(g.l, &range.read);
    rig_append_entry(&g, 1, 2, 1, "w");
    g.l->spare_count = 0; /* forgets its spare, so that it makes another */
    uint32_t opened = g.f.opened;
    log_turn(g.l);
    assert_int_equal(g.f.op_count, 3);
    log_read(g.l, &range.read);
    log_free(g.l);
    g.l = NULL;
    fake_run(&g.f, UINT32_MAX, false);
    assert_int_equal(range.calls, 0);
    assert_true(opened == 2 && g.f.opened == 1); /* the forgotten spare's */
    rig_start(&g);
    assert_non_null(rig_replayed_entry(&g, 1, 2));
    rig_deinit(&g);
}

struct lines {
    uint32_t count, entries;
    char last[256];
};

static void take_line(void *ctx, const char *text)
{
    struct lines *lines = ctx;
    lines->count++;
    lines->entries += strstr(text, " entry group=1 ") != NULL;
    snprintf(lines->last, sizeof lines->last, "%s", text);
}

TEST(a_log_is_printed_without_being_changed)
{
    RIG(g);
    for (uint64_t i = 1; i <= 30; i++) rig_append_entry(&g, 1, i, 1, "v");
    rig_settle(&g);
    rig_crash(&g, 0);
    uint8_t *before = mem_dup(fake_find(&g.f, "log-000001")->data, SEGMENT);
    struct lines dump = {0}, check = {0};
    assert_int_equal(log_print(&g.f.io, true, take_line, &dump), 0);
    assert_int_equal(log_print(&g.f.io, false, take_line, &check), 0);
    assert_int_equal(dump.entries, 30);
    assert_int_equal(check.entries, 0);
    assert_string_equal(check.last, "sound");
    assert_memory_equal(before, fake_find(&g.f, "log-000001")->data, SEGMENT);
    mem_free(before);
    rig_deinit(&g);
}

TEST_MAIN
