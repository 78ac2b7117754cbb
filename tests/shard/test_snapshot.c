/* Snapshots: what arrives is what was sent, whatever the connection does; what is damaged, out of
 * place or not for this replica is refused; a crash anywhere leaves one of three states. */
#include "site.h"

/* Two disks, a group of slots [0, 8) on each. */
struct rig {
    struct site from, to;
    struct buf chunk;
};

static void rig_init(struct rig *r, bool rocks)
{
    *r = (struct rig){0};
    site_init(&r->from, rocks);
    site_init(&r->to, rocks);
    struct shard_record record = site_record(1, 1, 0, 8);
    record.config = BYTES("members");
    record.objid_base = 77;
    site_birth(&r->from, record);
    record.replica = 4;
    record.objid_base = 0;
    site_birth(&r->to, record);
}

static void rig_deinit(struct rig *r)
{
    site_deinit(&r->from);
    site_deinit(&r->to);
    buf_deinit(&r->chunk);
}

/* Keys of about `size` bytes each, flushed. */
static void fill(struct site *s, uint32_t group, uint32_t count, size_t size)
{
    struct shard *shard = s->shard[group];
    char *text = mem_alloc(size + 1);
    for (uint32_t i = 0; i < count; i++) {
        memset(text, 'a' + (int)(i % 26), size);
        text[size] = 0;
        uint16_t slots = (uint16_t)(shard->slot_hi - shard->slot_lo);
        site_put(shard, (uint16_t)(shard->slot_lo + i % slots), i, text);
    }
    mem_free(text);
    assert_int_equal(site_flush(s, group), 0);
}

/* ---- the plain way ---- */

static void whole_transfer(bool rocks)
{
    struct rig r;
    rig_init(&r, rocks);
    fill(&r.from, 1, 3000, 2000);
    fill(&r.to, 1, 10, 5); /* what was there goes */
    struct snapshot_out *o = snapshot_out_new(r.from.shard[1]);
    site_close_shard(&r.to, 1);
    assert_int_equal(site_transfer(&r.from, o, &r.to, 1, 4), 0);
    snapshot_out_free(o);
    same_state(r.from.shard[1], r.to.shard[1]);
    assert_int_equal(r.to.shard[1]->replica, 4);
    assert_int_equal(r.to.shard[1]->objid_base, 77);
    site_stop(&r.to);
    site_start(&r.to);
    same_state(r.from.shard[1], r.to.shard[1]);
    rig_deinit(&r);
}

TEST(an_installed_replica_is_the_one_that_was_sent)
{
    whole_transfer(false);
}

TEST(an_installed_replica_is_the_one_that_was_sent_on_rocks)
{
    whole_transfer(true);
}

TEST(an_empty_group_installs_too)
{
    struct rig r;
    rig_init(&r, false);
    fill(&r.to, 1, 10, 5);
    for (int i = 0; i < 20; i++) site_wipe(r.from.shard[1]);
    assert_int_equal(site_flush(&r.from, 1), 0);
    struct snapshot_out *o = snapshot_out_new(r.from.shard[1]);
    site_close_shard(&r.to, 1);
    assert_int_equal(site_transfer(&r.from, o, &r.to, 1, 4), 0);
    snapshot_out_free(o);
    same_state(r.from.shard[1], r.to.shard[1]);
    rig_deinit(&r);
}

static bool engine_is_empty(struct site *s)
{
    struct buf lo = {0}, hi = {0};
    struct engine_iter *it = NULL;
    struct bytes key, value;
    keys_slot(&lo, 0);
    keys_slot(&hi, SLOT_COUNT);
    assert_int_equal(engine_scan_new(s->engine, NULL, buf_bytes(&lo), buf_bytes(&hi), &it),
                     ENGINE_FOUND);
    bool empty = engine_iter_next(s->engine, it, &key, &value) == ENGINE_ABSENT;
    engine_iter_free(s->engine, it);
    buf_deinit(&lo), buf_deinit(&hi);
    return empty;
}

/* The header is all that a witness takes. It goes on from there with what entries say of itself: a
 * split, the chain, the time; and nothing but its records is ever in the engine. */
TEST(a_witness_begins_at_a_snapshots_position_and_has_no_data)
{
    struct rig r;
    rig_init(&r, false);
    r.to.witness = true;
    fill(&r.from, 1, 300, 2000);
    struct shard *from = r.from.shard[1];
    struct snapshot_out *o = snapshot_out_new(from);
    site_close_shard(&r.to, 1);
    struct snapshot_in *in = site_install(&r.to, 1, 4, snapshot_out_header(o));
    assert_true(snapshot_in_whole(in));
    assert_int_equal(site_finish(&r.to, in), 0);
    snapshot_in_free(in);
    snapshot_out_free(o);
    assert_non_null(site_open_shard(&r.to, 1));
    assert_int_equal(r.to.shard[1]->applied, from->flushed);
    assert_int_equal(r.to.shard[1]->last_valid.position, from->last_valid.position);
    assert_int_equal(r.to.shard[1]->keys, 0);

    uint16_t lo = from->slot_lo, at = (uint16_t)((from->slot_lo + from->slot_hi) / 2);
    struct shard *both[] = {from, r.to.shard[1]};
    for (int i = 0; i < 2; i++) {
        site_put(both[i], lo, 9, "more");
        site_split(both[i], 2, at);
        site_put(both[i], lo, 10, "below");
        shard_check(both[i]);
    }
    assert_int_equal(site_flush(&r.to, 1), 0);
    assert_int_equal(r.to.born, 1u << 2);
    site_stop(&r.to);
    site_start(&r.to);
    assert_int_equal(r.to.shard[1]->applied, from->applied);
    assert_int_equal(r.to.shard[1]->last_valid.position, from->last_valid.position);
    assert_int_equal(r.to.shard[1]->slot_hi, at);
    assert_int_equal(r.to.shard[2]->slot_lo, at);
    assert_true(engine_is_empty(&r.to));
    rig_deinit(&r);
}

TEST(a_snapshot_stays_what_it_was_while_its_shard_goes_on)
{
    for (int rocks = 0; rocks < 2; rocks++) {
        struct rig r;
        rig_init(&r, rocks);
        fill(&r.from, 1, 2000, 2000);
        uint64_t keys, installed, before = site_digest(r.from.shard[1], &keys);
        uint64_t position = r.from.shard[1]->applied;
        site_put(r.from.shard[1], 0, 1, "applied, not flushed: not in it");
        struct snapshot_out *o = snapshot_out_new(r.from.shard[1]);
        assert_int_equal(snapshot_out_position(o), position);
        site_wipe(r.from.shard[1]);
        fill(&r.from, 1, 10, 10);
        site_close_shard(&r.from, 1);
        site_close_shard(&r.to, 1);
        assert_int_equal(site_transfer(&r.from, o, &r.to, 1, 4), 0);
        snapshot_out_free(o);
        assert_int_equal(site_digest(r.to.shard[1], &keys), before);
        assert_int_equal(keys, 2000);
        assert_int_equal(r.to.shard[1]->applied, position);
        (void)installed;
        rig_deinit(&r);
    }
}

TEST(no_snapshot_is_taken_while_the_engine_is_about_to_change)
{
    struct rig r;
    rig_init(&r, false);
    site_put(r.from.shard[1], 0, 1, "v");
    assert_true(shard_flush(r.from.shard[1]));
    assert_null(snapshot_out_new(r.from.shard[1]));
    pool_finish(&r.from.pool);
    site_split(r.from.shard[1], 2, 4);
    assert_null(snapshot_out_new(r.from.shard[1]));
    assert_int_equal(site_flush(&r.from, 1), 0);
    for (uint32_t g = 1; g <= 2; g++) {
        struct snapshot_out *o = snapshot_out_new(r.from.shard[g]);
        assert_non_null(o);
        snapshot_out_free(o);
    }
    rig_deinit(&r);
}

TEST(what_was_cached_of_the_old_state_is_not_read_after_an_install)
{
    struct rig r;
    rig_init(&r, false);
    struct buf key = {0};
    struct bytes value;
    site_put(r.from.shard[1], 3, 1, "new");
    site_put(r.to.shard[1], 3, 1, "old");
    for (int i = 0; i < 3; i++) site_wipe(r.from.shard[1]), site_put(r.from.shard[1], 3, 1, "new");
    assert_int_equal(site_flush(&r.from, 1) + site_flush(&r.to, 1), 0);
    key_of(&key, 3, 1);
    assert_int_equal(space_get(r.to.shard[1]->space, buf_bytes(&key), true, &value), ENGINE_FOUND);
    EXPECT_BYTES(value, "old");
    struct snapshot_out *o = snapshot_out_new(r.from.shard[1]);
    site_close_shard(&r.to, 1);
    assert_int_equal(site_transfer(&r.from, o, &r.to, 1, 4), 0);
    assert_int_equal(space_get(r.to.shard[1]->space, buf_bytes(&key), true, &value), ENGINE_FOUND);
    EXPECT_BYTES(value, "new");
    snapshot_out_free(o);
    buf_deinit(&key);
    rig_deinit(&r);
}

/* ---- connections that break ---- */

TEST(a_transfer_goes_on_where_it_was_lost)
{
    struct rig r;
    rig_init(&r, false);
    fill(&r.from, 1, 4000, 2000);
    struct prng random;
    prng_init(&random, 1);
    struct snapshot_out *o = snapshot_out_new(r.from.shard[1]);
    site_close_shard(&r.to, 1);
    struct snapshot_in *in = site_install(&r.to, 1, 4, snapshot_out_header(o));
    uint32_t lost = 0;
    while (!snapshot_in_whole(in)) {
        site_next_chunk(&r.from, o, &r.chunk);
        if (prng_below(&random, 3) == 0 || (snapshot_out_ended(o) && lost++ < 2)) {
            assert_true(snapshot_out_seek(o, snapshot_in_after(in)));
            continue;
        }
        assert_int_equal(site_take(&r.to, in, buf_bytes(&r.chunk)), 0);
    }
    assert_int_equal(site_finish(&r.to, in), 0);
    snapshot_in_free(in);
    snapshot_out_free(o);
    assert_non_null(site_open_shard(&r.to, 1));
    same_state(r.from.shard[1], r.to.shard[1]);
    rig_deinit(&r);
}

TEST(chunks_that_are_lost_repeated_or_swapped_are_refused_and_do_no_harm)
{
    struct rig r;
    rig_init(&r, false);
    fill(&r.from, 1, 3000, 1000);
    struct buf chunk[8] = {0};
    uint32_t count = 0;
    struct snapshot_out *o = snapshot_out_new(r.from.shard[1]);
    for (; !snapshot_out_ended(o); count++) {
        assert_true(count < 8);
        site_next_chunk(&r.from, o, &chunk[count]);
    }
    assert_true(count >= 3);
    site_close_shard(&r.to, 1);
    struct snapshot_in *in = site_install(&r.to, 1, 4, snapshot_out_header(o));
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < count; j++)
            if (j != i) assert_int_equal(site_take(&r.to, in, buf_bytes(&chunk[j])), -EPROTO);
        assert_int_equal(site_finish(&r.to, in), -EPROTO);
        assert_int_equal(site_take(&r.to, in, buf_bytes(&chunk[i])), 0);
    }
    assert_int_equal(site_take(&r.to, in, buf_bytes(&chunk[0])), -EPROTO);
    assert_int_equal(site_finish(&r.to, in), 0);
    snapshot_in_free(in);
    snapshot_out_free(o);
    assert_non_null(site_open_shard(&r.to, 1));
    same_state(r.from.shard[1], r.to.shard[1]);
    for (uint32_t i = 0; i < count; i++) buf_deinit(&chunk[i]);
    rig_deinit(&r);
}

/* ---- damage ---- */

TEST(every_flipped_bit_and_every_cut_of_a_chunk_or_header_is_refused)
{
    struct rig r;
    rig_init(&r, false);
    fill(&r.from, 1, 5, 10);
    struct snapshot_out *o = snapshot_out_new(r.from.shard[1]);
    struct buf header = {0};
    struct shard_record record;
    buf_append_bytes(&header, snapshot_out_header(o));
    assert_true(snapshot_header_read(1, buf_bytes(&header), &record));
    assert_int_equal(record.applied, 5);
    assert_false(snapshot_header_read(2, buf_bytes(&header), &record));
    for (size_t i = 0; i < header.size * 8; i++) {
        header.data[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_false(snapshot_header_read(1, buf_bytes(&header), &record));
        header.data[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_false(snapshot_header_read(1, bytes_of(header.data, i / 8), &record));
    }
    site_close_shard(&r.to, 1);
    struct snapshot_in *in = site_install(&r.to, 1, 4, buf_bytes(&header));
    site_next_chunk(&r.from, o, &r.chunk);
    for (size_t i = 0; i < r.chunk.size * 8; i++) {
        r.chunk.data[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_int_equal(site_take(&r.to, in, buf_bytes(&r.chunk)), -EBADMSG);
        r.chunk.data[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_true(site_take(&r.to, in, bytes_of(r.chunk.data, i / 8)) < 0);
    }
    assert_int_equal(site_take(&r.to, in, buf_bytes(&r.chunk)), 0);
    snapshot_in_free(in);
    snapshot_out_free(o);
    buf_deinit(&header);
    rig_deinit(&r);
}

/* A chunk made by somebody who knows the checksum. */
static int hostile(struct rig *r, struct snapshot_in *in, struct bytes header, struct bytes pairs)
{
    struct reader seed = reader_of(bytes_of(header.data + header.size - 8, 8));
    buf_clear(&r->chunk);
    buf_u8(&r->chunk, 1);
    buf_u8(&r->chunk, 0);
    buf_blob(&r->chunk, snapshot_in_after(in));
    buf_append_bytes(&r->chunk, pairs);
    buf_u64(&r->chunk, hash64(buf_bytes(&r->chunk), reader_u64(&seed)));
    return site_take(&r->to, in, buf_bytes(&r->chunk));
}

TEST(keys_out_of_order_or_range_and_impossible_sizes_are_refused)
{
    struct rig r;
    rig_init(&r, false);
    fill(&r.from, 1, 5, 10);
    struct snapshot_out *o = snapshot_out_new(r.from.shard[1]);
    struct bytes header = snapshot_out_header(o);
    site_close_shard(&r.to, 1);
    struct snapshot_in *in = site_install(&r.to, 1, 4, header);
    static const struct bytes bad[] = {
        BYTES("\4\0\10mk\1v"),                               /* slot 8 */
        BYTES("\2\0\1\1v"),                                  /* no kind */
        BYTES("\0\1v"),                                      /* no key */
        BYTES("\4\0\1mb\1v\4\0\1ma\1v"),                     /* falling */
        BYTES("\4\0\1mb\1v\4\0\1mb\1v"),                     /* twice */
        BYTES("\4\0\1mb\2v"),                                /* a value too short */
        BYTES("\4\0\1mb\xff\xff\xff\xff\xff\xff\xff\x7fxx"), /* a value of exabytes */
        BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\1m"),    /* a key of all bytes there are */
        BYTES("\4\0\1mb"),                                   /* no value */
        BYTES("\7\xff\xff"
              "a\0\0\0\1\1v"), /* a record */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(hostile(&r, in, header, bad[i]), -EPROTO);
    assert_int_equal(hostile(&r, in, header, BYTES("\4\0\1mb\1v")), 0);
    assert_int_equal(hostile(&r, in, header, BYTES("\4\0\1ma\1v")), -EPROTO);
    size_t size = SNAPSHOT_CHUNK_MAX + 1;
    uint8_t *huge = mem_zalloc(size);
    assert_int_equal(site_take(&r.to, in, bytes_of(huge, size)), -EPROTO);
    mem_free(huge);
    snapshot_in_free(in);
    snapshot_out_free(o);
    rig_deinit(&r);
}

TEST(a_chunk_of_another_snapshot_is_refused)
{
    struct rig r;
    rig_init(&r, false);
    fill(&r.from, 1, 5, 10);
    struct snapshot_out *first = snapshot_out_new(r.from.shard[1]);
    fill(&r.from, 1, 5, 11);
    struct snapshot_out *second = snapshot_out_new(r.from.shard[1]);
    site_close_shard(&r.to, 1);
    struct snapshot_in *in = site_install(&r.to, 1, 4, snapshot_out_header(first));
    site_next_chunk(&r.from, second, &r.chunk);
    assert_int_equal(site_take(&r.to, in, buf_bytes(&r.chunk)), -EBADMSG);
    snapshot_in_free(in);
    snapshot_out_free(first);
    snapshot_out_free(second);
    rig_deinit(&r);
}

/* ---- who may be installed ---- */

TEST(an_install_is_refused_where_it_would_harm)
{
    struct rig r;
    rig_init(&r, false);
    fill(&r.from, 1, 5, 10);
    struct snapshot_out *o = snapshot_out_new(r.from.shard[1]);
    struct bytes header = snapshot_out_header(o);
    fill(&r.to, 1, 6, 10);
    uint64_t keys, before = site_digest(r.to.shard[1], &keys);
    site_close_shard(&r.to, 1);

    snapshot_in_free(site_install(&r.to, 1, 4, header));
    assert_int_equal(r.to.error, -ESTALE); /* it has applied more */
    snapshot_in_free(site_install(&r.to, 1, 5, header));
    assert_int_equal(r.to.error, -ESTALE); /* another replica */
    assert_null(site_install(&r.to, 2, 4, header));
    assert_non_null(site_open_shard(&r.to, 1));
    assert_int_equal(site_digest(r.to.shard[1], &keys), before);

    struct site third;
    site_init(&third, false);
    snapshot_in_free(site_install(&third, 1, 4, header));
    assert_int_equal(third.error, -ENOENT);
    site_birth(&third, site_record(1, 4, 0, 4));
    site_birth(&third, site_record(2, 4, 4, 8));
    site_put(third.shard[2], 5, 1, "mine");
    assert_int_equal(site_flush(&third, 2), 0);
    site_close_shard(&third, 1);
    snapshot_in_free(site_install(&third, 1, 4, header));
    assert_int_equal(third.error, -EEXIST); /* half of it is another group's here */
    (void)site_digest(third.shard[2], &keys);
    assert_int_equal(keys, 1);
    site_deinit(&third);
    snapshot_out_free(o);
    rig_deinit(&r);
}

TEST(the_later_configuration_stays_and_the_id_does_too)
{
    for (int later = 0; later < 2; later++) {
        struct rig r;
        rig_init(&r, false);
        fill(&r.from, 1, 5, 10);
        struct paxos_entry e = {.position = 6, .ballot = 9, .born = 9, .kind = PAXOS_CONFIG};
        assert_true(shard_apply(r.from.shard[1], &e, true, BYTES("theirs"), false));
        assert_int_equal(site_flush(&r.from, 1), 0);
        site_close_shard(&r.to, 1);
        struct shard_record own = site_record(1, 4, 0, 8);
        own.config = BYTES("mine");
        own.config_id = (struct paxos_id){later ? 9 : 3, 9};
        assert_int_equal(site_write(&r.to, own, false), 0);
        struct snapshot_out *o = snapshot_out_new(r.from.shard[1]);
        assert_int_equal(site_transfer(&r.from, o, &r.to, 1, 4), 0);
        snapshot_out_free(o);
        EXPECT_BYTES(buf_bytes(&r.to.shard[1]->config), later ? "mine" : "theirs");
        assert_int_equal(r.to.shard[1]->config_id.position, later ? 9 : 6);
        assert_int_equal(r.to.shard[1]->replica, 4);
        rig_deinit(&r);
    }
}

TEST(an_install_never_takes_a_replica_back_not_even_from_a_marker)
{
    struct rig r;
    rig_init(&r, false);
    fill(&r.from, 1, 5, 10);
    struct snapshot_out *early = snapshot_out_new(r.from.shard[1]);
    fill(&r.from, 1, 5, 10);
    struct snapshot_out *late = snapshot_out_new(r.from.shard[1]);
    site_close_shard(&r.to, 1);
    struct snapshot_in_options o = {.io = &r.to.pool.io,
                                    .engine = r.to.engine,
                                    .group = 1,
                                    .replica = 4,
                                    .header = snapshot_out_header(early),
                                    .watermark = 6, /* it knows more chosen than applied */
                                    .begun = site_answer,
                                    .ctx = &r.to};
    for (int marked = 0; marked < 2; marked++) {
        struct snapshot_in *in = snapshot_in_new(&o);
        pool_finish(&r.to.pool);
        assert_int_equal(r.to.error, -ESTALE);
        snapshot_in_free(in);
        o.watermark = 0; /* but the marker knows it then */
        struct shard_record mark = site_record(1, 4, 0, 8);
        mark.state = SHARD_INSTALLING;
        mark.applied = 6;
        assert_int_equal(site_write(&r.to, mark, false), 0);
    }
    assert_int_equal(site_transfer(&r.from, late, &r.to, 1, 4), 0);
    same_state(r.from.shard[1], r.to.shard[1]);
    snapshot_out_free(early);
    snapshot_out_free(late);
    rig_deinit(&r);
}

/* The slots of the snapshot need not be those that the replica had: it may have missed splits and
 * merges. */
TEST(an_install_wipes_the_slots_it_had_and_the_slots_it_gets)
{
    struct rig r;
    uint64_t keys;
    rig_init(&r, false);
    fill(&r.to, 1, 16, 10);
    fill(&r.from, 1, 16, 10);
    site_split(r.from.shard[1], 2, 4);
    assert_int_equal(site_flush(&r.from, 1), 0);
    struct snapshot_out *low = snapshot_out_new(r.from.shard[1]);
    site_close_shard(&r.to, 1);
    assert_int_equal(site_transfer(&r.from, low, &r.to, 1, 4), 0);
    same_state(r.from.shard[1], r.to.shard[1]);
    site_birth(&r.to, site_record(2, 4, 4, 8)); /* finds nothing there */
    (void)site_digest(r.to.shard[2], &keys);
    assert_int_equal(keys, 0);
    snapshot_out_free(low);

    struct site third; /* something of nobody lies in slots that come */
    site_init(&third, false);
    site_birth(&third, site_record(3, 1, 2, 4));
    fill(&third, 3, 40, 10);
    site_close_shard(&third, 3);
    struct shard_record dead = site_record(3, 1, 2, 4);
    dead.state = SHARD_DEAD;
    assert_int_equal(site_write(&third, dead, false), 0);
    site_birth(&third, site_record(1, 4, 0, 2));
    site_close_shard(&third, 1);
    struct snapshot_out *o = snapshot_out_new(r.from.shard[1]);
    assert_int_equal(site_transfer(&r.from, o, &third, 1, 4), 0);
    same_state(r.from.shard[1], third.shard[1]);
    snapshot_out_free(o);
    site_deinit(&third);
    rig_deinit(&r);
}

/* ---- disks that are full, objects that go ---- */

TEST(a_full_disk_delays_an_install_and_breaks_nothing)
{
    struct rig r;
    rig_init(&r, false);
    fill(&r.from, 1, 40, 256u << 10); /* more than is gathered */
    struct snapshot_out *o = snapshot_out_new(r.from.shard[1]);
    site_close_shard(&r.to, 1);
    engine_mem_set_full(r.to.disk, true);
    struct snapshot_in *in = site_install(&r.to, 1, 4, snapshot_out_header(o));
    assert_int_equal(r.to.error, -ENOSPC);
    snapshot_in_free(in);
    assert_non_null(site_open_shard(&r.to, 1)); /* the old state */
    site_close_shard(&r.to, 1);
    engine_mem_set_full(r.to.disk, false);
    in = site_install(&r.to, 1, 4, snapshot_out_header(o));
    uint32_t refused = 0;
    while (!snapshot_in_whole(in)) {
        site_next_chunk(&r.from, o, &r.chunk);
        engine_mem_set_full(r.to.disk, true);
        int error = site_take(&r.to, in, buf_bytes(&r.chunk));
        engine_mem_set_full(r.to.disk, false);
        if (!error) continue;
        assert_int_equal(error, -ENOSPC);
        refused++;
        assert_int_equal(site_take(&r.to, in, buf_bytes(&r.chunk)), 0);
    }
    assert_true(refused > 0);
    engine_mem_set_full(r.to.disk, true);
    assert_int_equal(site_finish(&r.to, in), -ENOSPC);
    engine_mem_set_full(r.to.disk, false);
    assert_int_equal(site_finish(&r.to, in), 0);
    snapshot_in_free(in);
    snapshot_out_free(o);
    assert_non_null(site_open_shard(&r.to, 1));
    same_state(r.from.shard[1], r.to.shard[1]);
    rig_deinit(&r);
}

TEST(freeing_while_the_pool_works_waits_for_it_and_calls_nobody)
{
    struct rig r;
    rig_init(&r, false);
    fill(&r.from, 1, 100, 100);
    struct snapshot_out *o = snapshot_out_new(r.from.shard[1]);
    site_close_shard(&r.to, 1);
    struct snapshot_in *in = site_install(&r.to, 1, 4, snapshot_out_header(o));
    site_next_chunk(&r.from, o, &r.chunk);
    assert_true(snapshot_out_seek(o, (struct bytes){0}));
    for (int ran = 0; ran < 2; ran++) {
        uint32_t answers = r.to.answers;
        snapshot_in_chunk(in, buf_copy(buf_bytes(&r.chunk)), site_answer, &r.to);
        if (ran) pool_run(&r.to.pool);
        snapshot_in_free(in);
        pool_finish(&r.to.pool);
        assert_int_equal(r.to.answers, answers);
        if (!ran) in = site_install(&r.to, 1, 4, snapshot_out_header(o));
    }
    size_t size = r.chunk.size;
    snapshot_out_next(o, site_chunk, &r.chunk);
    buf_clear(&r.chunk);
    snapshot_out_free(o);
    pool_finish(&r.from.pool);
    assert_int_equal(r.chunk.size, 0);
    (void)size;
    rig_deinit(&r);
}

/* ---- a crash at every step ---- */

struct found {
    uint32_t count;
    struct shard_record record;
};

static void found_each(void *ctx, const struct shard_record *r)
{
    struct found *f = ctx;
    f->count++;
    f->record = *r;
}

/* Lets an install do `steps` jobs, then crashes: the last of them has run (or not) and was not
 * answered. True: the install was over before that. */
static bool crash_after(struct rig *r, struct snapshot_out *o, uint32_t steps, bool ran)
{
    struct snapshot_in *in = NULL;
    bool over = false;
    assert_true(snapshot_out_seek(o, (struct bytes){0}));
    r->to.error = 0;
    for (uint32_t step = 0; step <= steps && !over; step++) {
        bool last = step == steps;
        if (step == 0)
            in = snapshot_in_new(&(struct snapshot_in_options){.io = &r->to.pool.io,
                                                               .engine = r->to.engine,
                                                               .cache = r->to.cache,
                                                               .group = 1,
                                                               .replica = 4,
                                                               .header = snapshot_out_header(o),
                                                               .watermark = 3,
                                                               .gather_bytes = SITE_GATHER,
                                                               .begun = site_answer,
                                                               .ctx = &r->to});
        else if (snapshot_in_whole(in)) {
            snapshot_in_finish(in, site_answer, &r->to);
            over = true;
        } else {
            site_next_chunk(&r->from, o, &r->chunk);
            snapshot_in_chunk(in, buf_copy(buf_bytes(&r->chunk)), site_answer, &r->to);
        }
        if (last && ran) pool_run(&r->to.pool);
        if (!last) pool_finish(&r->to.pool);
        assert_int_equal(r->to.error, 0);
    }
    pool_crash(&r->to.pool);
    snapshot_in_abandon(in);
    return over;
}

static void crashes(bool rocks)
{
    struct rig r;
    rig_init(&r, rocks);
    fill(&r.from, 1, 40, 256u << 10); /* several ingests */
    fill(&r.to, 1, 20, 100);
    uint64_t keys, old = site_digest(r.to.shard[1], &keys),
                   new = site_digest(r.from.shard[1], &keys);
    struct snapshot_out *o = snapshot_out_new(r.from.shard[1]);
    uint32_t installing = 0, live = 0;
    for (uint32_t step = 0, over = 0; !over; step++) {
        for (int ran = 0; ran < 2; ran++) {
            /* the old state again */
            site_close_shard(&r.to, 1);
            struct shard_record record = site_record(1, 4, 0, 8);
            assert_int_equal(site_write(&r.to, record, true), 0);
            assert_non_null(site_open_shard(&r.to, 1));
            fill(&r.to, 1, 20, 100);
            site_close_shard(&r.to, 1);

            over = crash_after(&r, o, step, ran);
            site_stop(&r.to);
            site_start(&r.to);
            struct found f = {0};
            assert_true(shard_list(r.to.engine, found_each, &f, r.to.text, sizeof r.to.text));
            assert_int_equal(f.count, 1);
            assert_int_equal(f.record.replica, 4);
            if (f.record.state == SHARD_INSTALLING) {
                installing++;
                assert_null(r.to.shard[1]);
                assert_int_equal(f.record.applied, 20); /* what it had, which is more than 3 */
                assert_true(step > 0 || ran);
                /* begun again, it ends well */
                assert_true(snapshot_out_seek(o, (struct bytes){0}));
                assert_int_equal(site_transfer(&r.from, o, &r.to, 1, 4), 0);
                same_state(r.from.shard[1], r.to.shard[1]);
            } else {
                assert_int_equal(f.record.state, SHARD_LIVE);
                uint64_t digest = site_digest(r.to.shard[1], &keys);
                bool is_new = r.to.shard[1]->applied == r.from.shard[1]->applied;
                assert_int_equal(digest, is_new ? new : old);
                assert_int_equal(is_new, over && ran);
                assert_true(is_new || step == 0);
                live += is_new;
            }
        }
    }
    assert_true(installing > 8 && live == 1);
    snapshot_out_free(o);
    rig_deinit(&r);
}

TEST(a_crash_at_any_step_leaves_the_old_state_the_marker_or_the_new_state)
{
    crashes(false);
}

TEST(a_crash_at_any_step_leaves_the_old_state_the_marker_or_the_new_state_on_rocks)
{
    crashes(true);
}

TEST_MAIN
