/* Records of replicas: what is written is what is listed, all of it or nothing; what would break
 * the rules (INV-BIRTH-1, -2) is refused; what is damaged is told. */
#include "test.h"

#include "../store/pool.h"
#include "base/mem.h"
#include "shard/effects.h"
#include "shard/keys.h"
#include "shard/shard.h"

#include <errno.h>

/* ---- a disk with an engine ---- */

struct rig {
    struct pool pool;
    struct engine_mem_disk *disk;
    struct engine *engine;
    struct shard_record listed[16];
    struct buf config[16];
    uint32_t count;
    int error, answers;
    char text[300];
};

static void rig_init(struct rig *r)
{
    *r = (struct rig){0};
    pool_init(&r->pool);
    r->disk = engine_mem_disk_new();
    r->engine = engine_mem_open(r->disk);
}

static void rig_deinit(struct rig *r)
{
    for (int i = 0; i < 16; i++) buf_deinit(&r->config[i]);
    engine_close(r->engine);
    engine_mem_disk_free(r->disk);
}

static void listed(void *ctx, const struct shard_record *record)
{
    struct rig *r = ctx;
    assert_true(r->count < 16);
    r->listed[r->count] = *record;
    buf_clear(&r->config[r->count]);
    buf_append_bytes(&r->config[r->count++], record->config);
}

static bool list(struct rig *r)
{
    r->count = 0;
    return shard_list(r->engine, listed, r, r->text, sizeof r->text);
}

static void written(void *ctx, int error)
{
    struct rig *r = ctx;
    r->error = error;
    r->answers++;
}

static int write_records(struct rig *r, const struct shard_birth *b, uint32_t count)
{
    r->answers = 0;
    (void)shard_write_records(&r->pool.io, r->engine, b, count, written, r);
    assert_int_equal(r->answers, 0);
    pool_finish(&r->pool);
    assert_int_equal(r->answers, 1);
    return r->error;
}

static struct shard_birth birth(uint32_t group, uint16_t replica, uint16_t lo, uint16_t hi)
{
    return (struct shard_birth){
        .record = {
            .group = group, .state = SHARD_LIVE, .replica = replica, .slot_lo = lo, .slot_hi = hi}};
}

static void flushed(void *ctx, struct shard *s, int error)
{
    (void)ctx, (void)s;
    assert_int_equal(error, 0);
}

static struct shard *open_shard(struct rig *r, uint32_t group, struct space_cache *cache)
{
    return shard_new(&(struct shard_options){.io = &r->pool.io,
                                             .engine = r->engine,
                                             .cache = cache,
                                             .group = group,
                                             .flushed = flushed},
                     r->text, sizeof r->text);
}

/* ---- writing and listing ---- */

TEST(a_record_is_listed_as_it_was_written)
{
    struct rig r;
    rig_init(&r);
    struct shard_birth b[3] = {birth(7, 3, 100, 200), birth(2, 9, 200, 16384), birth(300, 1, 0, 1)};
    b[0].record.applied = 12345678901;
    b[0].record.last_valid = (struct paxos_id){5, 6};
    b[0].record.now_ms = -7;
    b[0].record.objid_base = 1ull << 40;
    b[0].record.config_id = (struct paxos_id){8, 9};
    b[0].record.config = BYTES("members");
    b[1].record.state = SHARD_INSTALLING;
    b[2].record.state = SHARD_DEAD;
    assert_int_equal(write_records(&r, b, 3), 0);

    assert_true(list(&r));
    assert_int_equal(r.count, 3);
    assert_int_equal(r.listed[0].group, 2);
    assert_int_equal(r.listed[0].state, SHARD_INSTALLING);
    assert_int_equal(r.listed[0].slot_hi, 16384);
    const struct shard_record *l = &r.listed[1];
    assert_int_equal(l->group, 7);
    assert_int_equal(l->state, SHARD_LIVE);
    assert_int_equal(l->replica, 3);
    assert_int_equal(l->slot_lo, 100);
    assert_int_equal(l->slot_hi, 200);
    assert_int_equal(l->applied, 12345678901);
    assert_int_equal(l->last_valid.position, 5);
    assert_int_equal(l->last_valid.born, 6);
    assert_int_equal(l->now_ms, -7);
    assert_int_equal(l->objid_base, 1ull << 40);
    assert_int_equal(l->config_id.position, 8);
    assert_int_equal(l->config_id.born, 9);
    EXPECT_BYTES(buf_bytes(&r.config[1]), "members");
    assert_int_equal(r.listed[2].group, 300);
    assert_int_equal(r.listed[2].state, SHARD_DEAD);
    assert_int_equal(r.listed[2].replica, 1);
    rig_deinit(&r);
}

TEST(a_full_disk_leaves_all_records_as_they_were)
{
    struct rig r;
    rig_init(&r);
    struct shard_birth b[2] = {birth(1, 1, 0, 8), birth(2, 1, 8, 16)};
    engine_mem_set_full(r.disk, true);
    assert_int_equal(write_records(&r, b, 2), -ENOSPC);
    assert_true(list(&r));
    assert_int_equal(r.count, 0);
    engine_mem_set_full(r.disk, false);
    assert_int_equal(write_records(&r, b, 2), 0);
    assert_true(list(&r));
    assert_int_equal(r.count, 2);
    rig_deinit(&r);
}

TEST(replicas_whose_slots_overlap_are_refused)
{
    struct rig r;
    rig_init(&r);
    struct shard_birth a = birth(1, 1, 0, 8), over = birth(2, 1, 7, 16), next = birth(3, 1, 8, 16);
    struct shard_birth both[2] = {birth(4, 1, 100, 201), birth(5, 1, 200, 300)};
    assert_int_equal(write_records(&r, &a, 1), 0);
    assert_int_equal(write_records(&r, &over, 1), -EEXIST);
    assert_int_equal(write_records(&r, &next, 1), 0);
    assert_int_equal(write_records(&r, both, 2), -EEXIST);
    assert_true(list(&r));
    assert_int_equal(r.count, 2);
    /* dropped, its slots are free */
    a.record.state = SHARD_DEAD;
    assert_int_equal(write_records(&r, &a, 1), 0);
    over.record.slot_hi = 8;
    assert_int_equal(write_records(&r, &over, 1), 0);
    rig_deinit(&r);
}

TEST(an_id_that_a_tombstone_names_is_never_used_again)
{
    struct rig r;
    rig_init(&r);
    struct shard_birth b = birth(1, 5, 0, 8);
    assert_int_equal(write_records(&r, &b, 1), 0);
    b.record.state = SHARD_DEAD;
    assert_int_equal(write_records(&r, &b, 1), 0);
    assert_int_equal(write_records(&r, &b, 1), 0); /* once more does no harm */
    b.record.state = SHARD_LIVE;
    assert_int_equal(write_records(&r, &b, 1), -ESTALE);
    b.record.replica = 4;
    assert_int_equal(write_records(&r, &b, 1), -ESTALE);
    assert_null(open_shard(&r, 1, NULL));
    b.record.replica = 6;
    assert_int_equal(write_records(&r, &b, 1), 0);
    b.record.replica = 5;
    assert_int_equal(write_records(&r, &b, 1), -ESTALE);
    rig_deinit(&r);
}

/* ---- damage ---- */

struct raw {
    struct buf key;
    struct bytes value;
    bool given;
};

static bool raw_next(void *ctx, struct bytes *key, struct bytes *value, bool *deleted)
{
    struct raw *w = ctx;
    *key = buf_bytes(&w->key);
    *value = w->value;
    *deleted = false;
    bool more = !w->given;
    w->given = true;
    return more;
}

static void write_raw(struct rig *r, uint32_t group, struct bytes value)
{
    struct raw raw = {.value = value};
    keys_applied(&raw.key, group);
    assert_int_equal(
        engine_ingest(r->engine, &(struct engine_source){.next = raw_next, .ctx = &raw}), 0);
    buf_deinit(&raw.key);
}

TEST(a_damaged_record_is_told_and_not_opened)
{
    struct rig r;
    rig_init(&r);
    struct buf good = {0};
    struct shard_record record = birth(1, 5, 3, 8).record;
    record.config = BYTES("config");
    birth_encode(&record, &good);
    for (size_t cut = 0; cut < good.size; cut++) {
        write_raw(&r, 1, bytes_of(good.data, cut));
        assert_false(list(&r));
        assert_non_null(strstr(r.text, "group 1"));
        assert_null(open_shard(&r, 1, NULL));
    }
    write_raw(&r, 1, buf_bytes(&good));
    assert_true(list(&r));
    birth_encode_count(&good, 3, 10);
    birth_encode_count(&good, 7, 1);
    write_raw(&r, 1, buf_bytes(&good));
    assert_true(list(&r));
    struct shard *s = open_shard(&r, 1, NULL);
    assert_int_equal(s->keys, 11);
    shard_check(s);
    shard_free(s);
    birth_encode_count(&good, 8, 1); /* a slot of somebody else */
    write_raw(&r, 1, buf_bytes(&good));
    assert_false(list(&r));
    assert_null(open_shard(&r, 1, NULL));
    good.data[0] = 1;
    write_raw(&r, 1, buf_bytes(&good));
    assert_false(list(&r));
    assert_non_null(strstr(r.text, "older version"));
    buf_deinit(&good);
    rig_deinit(&r);
}

TEST(a_shard_without_a_record_is_not_opened)
{
    struct rig r;
    rig_init(&r);
    assert_null(open_shard(&r, 1, NULL));
    assert_non_null(strstr(r.text, "no replica"));
    rig_deinit(&r);
}

/* ---- wiping ---- */

static bool apply_put(struct shard *s, struct bytes key, struct bytes value)
{
    struct buf v = {0};
    struct paxos_entry e = {.position = s->applied + 1, .ballot = 9, .born = 9, .kind = PAXOS_DATA};
    buf_u8(&v, 1);
    buf_u64(&v, 5);
    effects_put(&v, key, value);
    bool ok = shard_apply(s, &e, true, buf_bytes(&v), false);
    buf_deinit(&v);
    return ok;
}

TEST(a_dropped_replica_leaves_its_tombstone_and_nothing_else_not_even_in_the_cache)
{
    struct rig r;
    rig_init(&r);
    struct space_cache *cache = space_cache_new(1u << 20);
    struct shard_birth b[2] = {birth(1, 1, 0, 8), birth(2, 1, 8, 16)};
    struct bytes value, mine = BYTES("\0\3mkey"), other = BYTES("\0\11mkey");
    assert_int_equal(write_records(&r, b, 2), 0);
    struct shard *one = open_shard(&r, 1, cache), *two = open_shard(&r, 2, cache);
    assert_true(apply_put(one, mine, BYTES("v")) && apply_put(two, other, BYTES("w")));
    assert_true(shard_flush(one) && shard_flush(two));
    pool_finish(&r.pool);
    assert_int_equal(space_get(one->space, mine, true, &value), ENGINE_FOUND);
    assert_int_equal(space_get(two->space, other, true, &value), ENGINE_FOUND);

    shard_free(one);
    b[0].record.state = SHARD_DEAD;
    b[0].wipe_data = true;
    assert_int_equal(write_records(&r, b, 1), 0);
    b[0] = birth(1, 2, 0, 8);
    assert_int_equal(write_records(&r, b, 1), 0);
    one = open_shard(&r, 1, cache);
    assert_int_equal(space_get(one->space, mine, true, &value), ENGINE_ABSENT);
    assert_int_equal(space_get(two->space, other, true, &value), ENGINE_FOUND);
    shard_free(one);
    shard_free(two);
    space_cache_free(cache);
    rig_deinit(&r);
}

/* ---- configurations ---- */

TEST(a_configuration_entry_becomes_the_records_and_leaves_the_effect_chain_alone)
{
    struct rig r;
    rig_init(&r);
    struct shard_birth b = birth(1, 1, 0, 8);
    b.record.config = BYTES("founding");
    assert_int_equal(write_records(&r, &b, 1), 0);
    struct shard *s = open_shard(&r, 1, NULL);
    EXPECT_BYTES(buf_bytes(&s->config), "founding");
    assert_true(apply_put(s, BYTES("\0\3mk"), BYTES("v")));
    struct paxos_entry e = {.position = 2, .ballot = 9, .born = 9, .kind = PAXOS_CONFIG};
    assert_true(shard_apply(s, &e, false, BYTES("skipped"), false));
    EXPECT_BYTES(buf_bytes(&s->config), "founding");
    e.position = 3;
    assert_true(shard_apply(s, &e, true, BYTES("grown"), false));
    EXPECT_BYTES(buf_bytes(&s->config), "grown");
    assert_int_equal(s->last_valid.position, 1);
    assert_true(shard_flush(s));
    pool_finish(&r.pool);
    shard_free(s);
    s = open_shard(&r, 1, NULL);
    EXPECT_BYTES(buf_bytes(&s->config), "grown");
    assert_int_equal(s->config_id.position, 3);
    assert_int_equal(s->last_valid.position, 1);
    assert_int_equal(s->applied, 3);
    shard_free(s);
    rig_deinit(&r);
}

TEST(a_joiner_does_not_go_back_to_a_configuration_before_its_own)
{
    struct rig r;
    rig_init(&r);
    struct shard_birth b = birth(1, 4, 0, 8);
    b.record.config = BYTES("with me");
    b.record.config_id = (struct paxos_id){5, 9};
    assert_int_equal(write_records(&r, &b, 1), 0);
    struct shard *s = open_shard(&r, 1, NULL);
    for (uint64_t p = 1; p <= 6; p++) {
        struct paxos_entry e = {.position = p, .ballot = 9, .born = 9, .kind = PAXOS_CONFIG};
        assert_true(shard_apply(s, &e, true, p < 6 ? BYTES("without") : BYTES("later"), false));
        EXPECT_BYTES(buf_bytes(&s->config), p < 6 ? "with me" : "later");
    }
    shard_free(s);
    rig_deinit(&r);
}

TEST_MAIN
