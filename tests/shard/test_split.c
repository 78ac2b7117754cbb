/* Splits: from the entry on there are two groups, and from the flush on two replicas, whatever was
 * wiped, trashed, flushed or lost around it. */
#include "site.h"

/* One disk, group 1 of slots [0, 8). */
static void rig_init(struct site *s, bool rocks)
{
    struct shard_record r = site_record(1, 3, 0, 8);
    site_init(s, rocks);
    r.config = BYTES("members");
    r.objid_base = 500;
    site_birth(s, r);
}

static bool has(struct shard *s, uint16_t slot, uint32_t n)
{
    struct buf key = {0};
    struct bytes value;
    key_of(&key, slot, n);
    enum engine_result r = space_get(s->space, buf_bytes(&key), true, &value);
    buf_deinit(&key);
    assert_true(r == ENGINE_FOUND || r == ENGINE_ABSENT);
    return r == ENGINE_FOUND;
}

static uint64_t keys_of(struct shard *s)
{
    uint64_t keys;
    shard_check(s);
    (void)site_digest(s, &keys);
    return keys;
}

static void restart(struct site *s)
{
    site_stop(s);
    site_start(s);
}

/* ---- two replicas from the flush on, one before ---- */

static void flush_bears(bool rocks)
{
    struct site s;
    rig_init(&s, rocks);
    for (uint16_t slot = 0; slot < 8; slot++) site_put(s.shard[1], slot, slot, "flushed");
    assert_int_equal(site_flush(&s, 1), 0);
    for (uint16_t slot = 0; slot < 8; slot++) site_put(s.shard[1], slot, 10u + slot, "in memory");
    site_split(s.shard[1], 2, 5);

    assert_int_equal(s.shard[1]->slot_hi, 5);
    assert_int_equal(s.shard[1]->keys, 10);
    assert_int_equal(keys_of(s.shard[1]), 10);
    assert_true(shard_unborn(s.shard[1]));
    assert_int_equal(s.born, 0);

    restart(&s); /* too early: as if it had not been */
    assert_null(s.shard[2]);
    assert_int_equal(s.shard[1]->slot_hi, 8);
    assert_int_equal(keys_of(s.shard[1]), 8);
    for (uint16_t slot = 0; slot < 8; slot++) site_put(s.shard[1], slot, 10u + slot, "in memory");
    site_split(s.shard[1], 2, 5);
    site_put(s.shard[1], 0, 99, "after the split");

    assert_true(shard_flush(s.shard[1]));
    assert_int_equal(s.born, 0);
    pool_run(&s.pool);
    assert_int_equal(s.born, 0);
    pool_finish(&s.pool);
    assert_int_equal(s.born, 1u << 2);
    assert_false(shard_unborn(s.shard[1]));
    for (int again = 0; again < 2; again++, restart(&s)) {
        struct shard *one = s.shard[1], *two = s.shard[2];
        assert_int_equal(one->slot_hi, 5);
        assert_int_equal(two->slot_lo, 5);
        assert_int_equal(two->slot_hi, 8);
        assert_int_equal(keys_of(one), 11);
        assert_int_equal(keys_of(two), 6);
        assert_int_equal(one->keys, 11);
        assert_int_equal(two->keys, 6);
        assert_int_equal(two->replica, 3);
        assert_int_equal(two->applied, 17);
        assert_int_equal(two->last_valid.position, 17);
        assert_int_equal(two->last_valid.born, 9);
        assert_int_equal(two->config_id.position, 17);
        assert_int_equal(two->objid_base, 500);
        assert_int_equal(two->now_ms, one->now_ms);
        EXPECT_BYTES(buf_bytes(&two->config), "members");
        assert_int_equal(one->applied, 18);
    }
    site_deinit(&s);
}

TEST(a_flush_brings_both_replicas_and_a_crash_before_it_none_of_it)
{
    flush_bears(false);
}

TEST(a_flush_brings_both_replicas_and_a_crash_before_it_none_of_it_on_rocks)
{
    flush_bears(true);
}

TEST(a_flush_that_ran_and_was_not_told_has_borne)
{
    struct site s;
    rig_init(&s, false);
    site_put(s.shard[1], 6, 1, "v");
    site_split(s.shard[1], 2, 5);
    assert_true(shard_flush(s.shard[1]));
    pool_run(&s.pool);
    restart(&s);
    assert_int_equal(keys_of(s.shard[2]), 1);
    assert_int_equal(s.shard[1]->slot_hi, 5);
    site_deinit(&s);
}

TEST(a_failed_flush_bears_nothing_and_the_next_one_does)
{
    struct site s;
    rig_init(&s, false);
    site_put(s.shard[1], 6, 1, "v");
    site_split(s.shard[1], 2, 5);
    engine_mem_set_full(s.disk, true);
    assert_int_equal(site_flush(&s, 1), -ENOSPC);
    assert_int_equal(s.born, 0);
    assert_true(shard_unborn(s.shard[1]));
    site_put(s.shard[1], 0, 1, "meanwhile");
    site_split(s.shard[1], 3, 2); /* another, that waits for the flush after */
    engine_mem_set_full(s.disk, false);
    assert_int_equal(site_flush(&s, 1), 0);
    assert_int_equal(s.born, 1u << 2);
    assert_int_equal(site_flush(&s, 1), 0);
    assert_int_equal(s.born, 1u << 2 | 1u << 3);
    restart(&s);
    assert_int_equal(keys_of(s.shard[1]), 1);
    assert_int_equal(keys_of(s.shard[2]), 1);
    assert_int_equal(s.shard[3]->slot_lo, 2);
    assert_int_equal(s.shard[3]->slot_hi, 5);
    site_deinit(&s);
}

TEST(splits_that_wait_for_one_flush_are_all_in_it)
{
    struct site s;
    rig_init(&s, false);
    for (uint16_t slot = 0; slot < 8; slot++) site_put(s.shard[1], slot, slot, "v");
    assert_true(shard_flush(s.shard[1])); /* under way while they come */
    pool_run(&s.pool);
    site_split(s.shard[1], 9, 6);
    site_wipe(s.shard[1]);
    site_put(s.shard[1], 4, 40, "v");
    site_put(s.shard[1], 1, 41, "v");
    site_split(s.shard[1], 0, 3); /* its record sorts before its parent's */
    site_put(s.shard[1], 1, 42, "v");
    pool_finish(&s.pool);
    assert_int_equal(s.born, 0);
    assert_int_equal(site_flush(&s, 1), 0);
    assert_int_equal(s.born, 1u << 9 | 1u << 0);
    restart(&s);
    assert_int_equal(keys_of(s.shard[1]), 2);
    assert_int_equal(keys_of(s.shard[9]), 2);
    assert_true(has(s.shard[9], 6, 6) && has(s.shard[9], 7, 7));
    assert_int_equal(keys_of(s.shard[0]), 1);
    assert_true(has(s.shard[0], 4, 40));
    site_deinit(&s);
}

/* ---- wipes and trash ---- */

TEST(a_wipe_before_the_split_empties_both_halves_and_one_after_it_only_its_own)
{
    for (int rocks = 0; rocks < 2; rocks++) {
        for (int before = 0; before < 2; before++) {
            struct site s;
            rig_init(&s, rocks);
            site_put(s.shard[1], 1, 1, "low, flushed");
            site_put(s.shard[1], 6, 1, "high, flushed");
            assert_int_equal(site_flush(&s, 1), 0);
            if (before) site_wipe(s.shard[1]);
            site_put(s.shard[1], 1, 2, "low");
            site_put(s.shard[1], 6, 2, "high");
            site_split(s.shard[1], 2, 5);
            site_wipe(s.shard[1]);
            assert_int_equal(keys_of(s.shard[1]), 0);
            assert_int_equal(s.shard[1]->keys, 0);
            assert_int_equal(site_flush(&s, 1), 0);
            assert_true(has(s.shard[2], 6, 2));
            assert_int_equal(has(s.shard[2], 6, 1), !before);
            assert_int_equal(keys_of(s.shard[2]), before ? 1 : 2);
            assert_int_equal(s.shard[2]->keys, before ? 1 : 2);
            restart(&s);
            assert_int_equal(keys_of(s.shard[1]), 0);
            assert_int_equal(keys_of(s.shard[2]), before ? 1 : 2);
            site_deinit(&s);
        }
    }
}

static void put_element(struct buf *v, uint16_t slot, uint64_t objid, const char *member)
{
    struct buf key = {0};
    keys_sub(&key, slot, objid, bytes_str(member));
    effects_put(v, buf_bytes(&key), BYTES("v"));
    buf_deinit(&key);
}

TEST(trash_of_the_upper_half_is_removed_although_the_lower_half_was_wiped_later)
{
    struct site s;
    rig_init(&s, false);
    struct buf v = {0}, prefix = {0};
    value_begin(&v);
    put_element(&v, 6, 1, "a");
    put_element(&v, 6, 1, "b");
    put_element(&v, 6, 2, "c");
    site_apply(s.shard[1], buf_bytes(&v));
    assert_int_equal(site_flush(&s, 1), 0);
    value_begin(&v);
    keys_sub(&prefix, 6, 1, (struct bytes){0});
    effects_trash(&v, buf_bytes(&prefix));
    site_apply(s.shard[1], buf_bytes(&v));
    site_split(s.shard[1], 2, 5);
    site_wipe(s.shard[1]);
    assert_int_equal(site_flush(&s, 1), 0);
    restart(&s);
    assert_int_equal(keys_of(s.shard[2]), 1);
    buf_deinit(&v), buf_deinit(&prefix);
    site_deinit(&s);
}

/* ---- at the leader ---- */

struct act {
    uint16_t slot, at; /* at > 0: a split there */
    uint32_t group;
    bool write, wipe, seal, open;
    uint64_t objid;
    enum view_result found;
};

static void act_run(void *ctx, struct view *v)
{
    struct act *a = ctx;
    struct buf key = {0};
    struct bytes value;
    key_of(&key, a->slot, 1);
    if (a->seal || a->open)
        view_seal(v, a->seal);
    else if (a->at)
        view_split(v, a->group, a->at);
    else if (a->wipe)
        view_wipe(v);
    else if (a->write)
        a->objid = view_new_objid(v), view_put(v, buf_bytes(&key), BYTES("v"));
    else
        a->found = view_get(v, buf_bytes(&key), &value);
    buf_deinit(&key);
}

/* The refusal, or VIEW_ALLOWED if it was done. */
static int act(struct shard *s, struct view *v, struct act *a)
{
    uint64_t saw;
    struct shard_task task = {.run = act_run, .ctx = a, .block = true, .on_sealed = a->open};
    enum shard_result r = shard_evaluate(s, v, &task, 2000, 1, &saw);
    assert_int_equal(r, v->refused ? SHARD_REFUSED : SHARD_DONE);
    return v->refused;
}

static void choose_batch(struct shard *s)
{
    struct buf v = {0};
    struct paxos_entry e = {.position = s->next, .ballot = 9, .born = 9, .kind = PAXOS_DATA};
    buf_append_bytes(&v, buf_bytes(&s->batch));
    shard_proposed(s);
    assert_true(shard_apply(s, &e, true, buf_bytes(&v), true));
    buf_deinit(&v);
}

TEST(a_split_is_alone_in_its_entry_and_nothing_is_written_behind_it_until_it_is_applied)
{
    struct site s;
    struct view v;
    rig_init(&s, false);
    view_init(&v);
    struct shard *one = s.shard[1];
    struct act low = {.slot = 1, .write = true}, high = {.slot = 6, .write = true},
               split = {.group = 2, .at = 5}, read = {.slot = 6}, wipe = {.wipe = true};
    shard_lead(one, one->applied + 1);
    assert_int_equal(act(one, &v, &high), VIEW_ALLOWED);
    uint64_t objid = high.objid;
    assert_int_equal(objid, 501ull << 16);              /* objid_base and position */
    assert_int_equal(act(one, &v, &split), VIEW_LATER); /* the batch has something */
    choose_batch(one);
    assert_int_equal(act(one, &v, &split), VIEW_ALLOWED);
    assert_int_equal(act(one, &v, &low), VIEW_LATER);
    assert_int_equal(act(one, &v, &wipe), VIEW_LATER);
    assert_int_equal(act(one, &v, &read), VIEW_ALLOWED); /* reads go on */
    assert_int_equal(read.found, VIEW_FOUND);
    assert_int_equal(shard_expire(one, &v, NULL, NULL, 5000, 1), 1);
    shard_check(one);
    choose_batch(one);
    assert_int_equal(act(one, &v, &low), VIEW_ALLOWED);
    assert_int_equal(act(one, &v, &high), VIEW_FOREIGN);
    assert_int_equal(act(one, &v, &read), VIEW_FOREIGN);
    choose_batch(one);
    shard_check(one);
    shard_lost(one);
    assert_int_equal(site_flush(&s, 1), 0);

    struct shard *two = s.shard[2];
    shard_lead(two, two->applied + 1);
    assert_int_equal(act(two, &v, &read), VIEW_ALLOWED);
    assert_int_equal(read.found, VIEW_FOUND);
    assert_int_equal(act(two, &v, &high), VIEW_ALLOWED);
    assert_int_equal(high.objid, 503ull << 16); /* its first position is 3 */
    assert_int_equal(act(two, &v, &low), VIEW_FOREIGN);
    view_deinit(&v);
    site_deinit(&s);
}

TEST(a_split_that_is_lost_leaves_the_group_whole)
{
    struct site s;
    struct view v;
    rig_init(&s, false);
    view_init(&v);
    struct shard *one = s.shard[1];
    struct act high = {.slot = 6, .write = true}, split = {.group = 2, .at = 5};
    for (int proposed = 0; proposed < 2; proposed++) {
        shard_lead(one, one->applied + 1);
        assert_int_equal(act(one, &v, &split), VIEW_ALLOWED);
        if (proposed) shard_proposed(one);
        shard_lost(one);
        shard_lead(one, one->applied + 1);
        assert_int_equal(act(one, &v, &high), VIEW_ALLOWED);
        choose_batch(one);
        shard_lost(one);
        shard_check(one);
        assert_int_equal(one->slot_hi, 8);
    }
    view_deinit(&v);
    site_deinit(&s);
}

TEST(a_split_waits_for_a_configuration_that_was_proposed_before_it)
{
    struct site s;
    struct view v;
    rig_init(&s, false);
    view_init(&v);
    struct shard *one = s.shard[1];
    struct act high = {.slot = 6, .write = true}, split = {.group = 2, .at = 5};
    shard_lead(one, 1);
    shard_passed(one);
    assert_int_equal(act(one, &v, &split), VIEW_LATER);
    assert_int_equal(act(one, &v, &high), VIEW_ALLOWED); /* at position 2 */
    struct paxos_entry e = {.position = 1, .ballot = 9, .born = 9, .kind = PAXOS_CONFIG};
    assert_true(shard_apply(one, &e, true, BYTES("others"), true));
    choose_batch(one);
    assert_int_equal(act(one, &v, &split), VIEW_ALLOWED);
    choose_batch(one);
    shard_lost(one);
    assert_int_equal(site_flush(&s, 1), 0);
    EXPECT_BYTES(buf_bytes(&s.shard[2]->config), "others");
    assert_int_equal(s.shard[2]->applied, 3);
    view_deinit(&v);
    site_deinit(&s);
}

TEST(what_a_replayed_split_bears_has_the_configuration_of_then)
{
    struct site s;
    struct buf v = {0};
    site_init(&s, false);
    struct shard_record r = site_record(1, 7, 0, 8);
    r.config = BYTES("with me");
    r.config_id = (struct paxos_id){99, 9};
    site_birth(&s, r);
    value_begin(&v);
    effects_split(&v, 2, 5, BYTES("before me"));
    site_apply(s.shard[1], buf_bytes(&v));
    assert_int_equal(site_flush(&s, 1), 0);
    EXPECT_BYTES(buf_bytes(&s.shard[1]->config), "with me");
    EXPECT_BYTES(buf_bytes(&s.shard[2]->config), "before me");
    assert_int_equal(s.shard[2]->config_id.position, 1);
    buf_deinit(&v);
    site_deinit(&s);
}

/* ---- splits that are none ---- */

TEST(a_split_outside_the_group_of_itself_or_with_company_is_refused)
{
    struct site s;
    struct view v;
    rig_init(&s, false);
    view_init(&v);
    struct act split = {.group = 2};
    shard_lead(s.shard[1], 1);
    for (uint16_t at = 8; at < 10; at++) {
        split.at = at;
        assert_int_equal(act(s.shard[1], &v, &split), VIEW_FOREIGN);
    }
    shard_lost(s.shard[1]);
    struct buf bad = {0}, key = {0};
    for (int i = 0; i < 6; i++) {
        struct paxos_entry e = {.position = 1, .ballot = 9, .born = 9, .kind = PAXOS_DATA};
        value_begin(&bad);
        key_of(&key, 1, 1);
        if (i == 1) effects_put(&bad, buf_bytes(&key), BYTES("v"));
        effects_split(&bad, i == 2 ? 1 : 2, i == 3 ? 0 : i == 4 ? 8 : 5, BYTES("c"));
        if (i == 0) effects_count(&bad, 1, 1);
        if (i == 5) bad.size--;
        assert_false(shard_apply(s.shard[1], &e, true, buf_bytes(&bad), false));
    }
    assert_int_equal(s.shard[1]->slot_hi, 8);
    assert_int_equal(s.shard[1]->applied, 0);
    buf_deinit(&bad), buf_deinit(&key);
    view_deinit(&v);
    site_deinit(&s);
}

/* ---- merges ---- */

static void seal_value(struct buf *v, bool on)
{
    value_begin(v);
    effects_seal(v, on);
}

/* Groups 1 of [0, 5) and 2 of [5, 8), some of it flushed; 2 is sealed at its position 2. */
static void pair_init(struct site *s, bool rocks)
{
    struct buf v = {0};
    struct shard_record a = site_record(1, 3, 0, 5), b = site_record(2, 6, 5, 8);
    site_init(s, rocks);
    b.objid_base = 900;
    a.objid_base = 10;
    site_birth(s, a);
    site_birth(s, b);
    site_put(s->shard[1], 1, 1, "left, flushed");
    site_put(s->shard[2], 6, 1, "right");
    assert_int_equal(site_flush(s, 1), 0);
    site_wipe(s->shard[1]);
    site_put(s->shard[1], 2, 2, "left");
    seal_value(&v, true);
    site_apply(s->shard[2], buf_bytes(&v));
    buf_deinit(&v);
}

static void merge_takes_over(bool rocks)
{
    struct site s;
    struct buf merge = {0};
    pair_init(&s, rocks);
    value_begin(&merge);
    effects_merge(&merge, 2, 2);
    assert_int_equal(site_flush(&s, 2), 0);
    assert_false(shard_merge_ready(s.shard[1], 2, 2)); /* a wipe is in memory */
    assert_int_equal(site_flush(&s, 1), 0);
    assert_true(shard_merge_ready(s.shard[1], 2, 2));
    site_put(s.shard[1], 1, 4, "left, in memory");
    for (int flushed = 0; flushed < 2; flushed++) {
        site_close_shard(&s, 2);
        site_apply(s.shard[1], buf_bytes(&merge));
        assert_int_equal(s.shard[1]->slot_hi, 8);
        assert_int_equal(keys_of(s.shard[1]), flushed ? 2 : 3);
        assert_true(has(s.shard[1], 6, 1) && has(s.shard[1], 2, 2));
        assert_int_equal(s.shard[1]->objid_base, 902);
        assert_null(snapshot_out_new(s.shard[1]));
        if (flushed) assert_int_equal(site_flush(&s, 1), 0);
        restart(&s);
        assert_int_equal(s.shard[1]->slot_hi, flushed ? 8 : 5);
        assert_int_equal(s.shard[2] != NULL, !flushed);
        if (!flushed) assert_int_equal(s.shard[2]->sealed, 2);
    }
    assert_int_equal(keys_of(s.shard[1]), 2);
    assert_int_equal(s.shard[1]->keys, 2);
    assert_int_equal(s.shard[1]->objid_base, 902);
    assert_int_equal(site_write(&s, site_record(2, 6, 5, 8), false), -ESTALE); /* its tombstone */
    site_wipe(s.shard[1]);
    site_put(s.shard[1], 7, 3, "new");
    assert_int_equal(site_flush(&s, 1), 0);
    restart(&s);
    assert_int_equal(keys_of(s.shard[1]), 1);
    buf_deinit(&merge);
    site_deinit(&s);
}

TEST(a_merge_takes_the_right_neighbour_over_in_one_flush)
{
    merge_takes_over(false);
}

TEST(a_merge_takes_the_right_neighbour_over_in_one_flush_on_rocks)
{
    merge_takes_over(true);
}

TEST(a_merge_with_another_than_the_sealed_neighbour_is_not_applied)
{
    struct site s;
    struct buf v = {0};
    uint32_t group = 0;
    uint64_t sealed;
    pair_init(&s, false);
    assert_int_equal(site_flush(&s, 1) + site_flush(&s, 2), 0);
    for (int i = 0; i < 3; i++) {
        struct paxos_entry e = {.position = s.shard[1]->applied + 1, .kind = PAXOS_DATA};
        value_begin(&v);
        effects_merge(&v, i == 0 ? 3 : i == 1 ? 1 : 2, i == 2 ? 1 : 2);
        assert_true(shard_value_merges(buf_bytes(&v), &group, &sealed));
        assert_false(shard_merge_ready(s.shard[1], group, sealed));
        if (i == 1) assert_false(shard_apply(s.shard[1], &e, true, buf_bytes(&v), false));
    }
    value_begin(&v);
    effects_count(&v, 1, 0);
    assert_false(shard_value_merges(buf_bytes(&v), &group, &sealed)); /* any other entry */
    buf_deinit(&v);
    site_deinit(&s);
}

TEST(a_sealed_group_is_neither_read_nor_written_until_it_is_opened)
{
    struct site s;
    struct view v;
    rig_init(&s, false);
    view_init(&v);
    struct shard *one = s.shard[1];
    struct act write = {.slot = 6, .write = true}, read = {.slot = 6}, seal = {.seal = true},
               open = {.open = true}, split = {.group = 2, .at = 5};
    shard_lead(one, 1);
    assert_int_equal(act(one, &v, &seal), VIEW_ALLOWED);
    assert_int_equal(act(one, &v, &write), VIEW_LATER);
    choose_batch(one);
    assert_int_equal(one->sealed, 1);
    assert_int_equal(act(one, &v, &write), VIEW_SEALED);
    assert_int_equal(act(one, &v, &read), VIEW_SEALED);
    assert_int_equal(act(one, &v, &split), VIEW_SEALED);
    assert_int_equal(shard_expire(one, &v, NULL, NULL, 5000, 1), 1);
    shard_lost(one);
    struct buf value = {0}, key = {0};
    struct paxos_entry e = {.position = 2, .ballot = 9, .born = 9, .kind = PAXOS_DATA};
    value_begin(&value);
    key_of(&key, 1, 1);
    effects_put(&value, buf_bytes(&key), BYTES("v"));
    assert_false(shard_apply(one, &e, true, buf_bytes(&value), false));
    shard_lead(one, 2);
    assert_int_equal(act(one, &v, &open), VIEW_ALLOWED);
    choose_batch(one);
    assert_int_equal(one->sealed, 0);
    assert_int_equal(act(one, &v, &write), VIEW_ALLOWED);
    buf_deinit(&value), buf_deinit(&key);
    view_deinit(&v);
    site_deinit(&s);
}

TEST_MAIN
