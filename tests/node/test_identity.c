/* The identity file: four copies, of which two must be sound. */
#include "test.h"

#include "node/identity.h"
#include "sim/world.h"

struct rig {
    struct world *w;
    struct io *io;
};

static void rig_init(struct rig *r)
{
    r->w = world_new(&(struct world_options){.seed = 1, .hosts = 1});
    world_boot(r->w, 0);
    world_enter(r->w, 0);
    r->io = world_io(r->w, 0);
}

static void rig_deinit(struct rig *r)
{
    world_leave(r->w, 0);
    world_die(r->w, 0);
    world_reap(r->w, 0, WORLD_EXIT);
    world_free(r->w);
}

static struct identity sample(void)
{
    struct identity id = {.cluster = 0x1122334455667788,
                          .node = 2,
                          .disk = 77,
                          .incarnation = 5,
                          .groups = 16,
                          .replicas = 3,
                          .founded = true,
                          .node_count = 3};
    for (int i = 1; i <= 3; i++) {
        snprintf(id.address[i], sizeof id.address[i], "10.0.0.%d:17000", i);
        id.disks[i] = (uint64_t)i * 1000;
    }
    return id;
}

static void same(const struct identity *a, const struct identity *b)
{
    assert_int_equal(a->sequence, b->sequence);
    assert_int_equal(a->cluster, b->cluster);
    assert_int_equal(a->node, b->node);
    assert_int_equal(a->disk, b->disk);
    assert_int_equal(a->incarnation, b->incarnation);
    assert_int_equal(a->groups, b->groups);
    assert_int_equal(a->replicas, b->replicas);
    assert_int_equal(a->founded, b->founded);
    assert_int_equal(a->node_count, b->node_count);
    for (int i = 1; i <= a->node_count; i++) {
        assert_string_equal(a->address[i], b->address[i]);
        assert_int_equal(a->disks[i], b->disks[i]);
    }
}

/* Overwrites part of a copy, or fills the whole of it with zeros (size 0). */
static void spoil(struct rig *r, uint64_t copy, size_t at, size_t size)
{
    struct io_file *f;
    uint8_t block[IO_BLOCK];
    assert_int_equal(io_file_open(r->io, "identity", 4 * IO_BLOCK, &f), 0);
    assert_int_equal(io_file_read_now(r->io, f, block, IO_BLOCK, copy * IO_BLOCK), IO_BLOCK);
    for (size_t i = 0; i < size; i++) block[at + i] ^= 0x5a;
    if (!size) memset(block, 0, sizeof block);
    assert_int_equal(io_file_write_now(r->io, f, block, IO_BLOCK, copy * IO_BLOCK), 0);
    io_file_close(r->io, f);
}

TEST(without_a_file_there_is_no_identity)
{
    struct rig r;
    struct identity id;
    rig_init(&r);
    assert_int_equal(identity_load(r.io, &id), IDENTITY_NONE);
    rig_deinit(&r);
}

TEST(what_is_saved_is_loaded)
{
    struct rig r;
    struct identity id = sample(), back;
    rig_init(&r);
    assert_int_equal(identity_save(r.io, &id), 0);
    assert_int_equal(id.sequence, 1);
    assert_int_equal(identity_load(r.io, &back), IDENTITY_FOUND);
    same(&id, &back);
    id.founded = false;
    id.incarnation++;
    assert_int_equal(identity_save(r.io, &id), 0);
    assert_int_equal(identity_load(r.io, &back), IDENTITY_FOUND);
    assert_int_equal(back.sequence, 2);
    same(&id, &back);
    rig_deinit(&r);
}

TEST(a_node_that_is_to_join_as_a_witness_stays_one)
{
    struct rig r;
    struct identity id = {.disk = 5, .witness = true}, back;
    rig_init(&r);
    assert_int_equal(identity_save(r.io, &id), 0);
    assert_int_equal(identity_load(r.io, &back), IDENTITY_FOUND);
    assert_true(back.witness && !back.founded);
    id.node = 3, id.cluster = 7, id.founded = true;
    assert_int_equal(identity_save(r.io, &id), 0);
    assert_int_equal(identity_load(r.io, &back), IDENTITY_FOUND);
    assert_true(back.witness && back.founded);
    rig_deinit(&r);
}

TEST(the_largest_identity_fits)
{
    struct rig r;
    struct identity id = sample(), back;
    rig_init(&r);
    id.node_count = NODE_FOUND_MAX;
    id.replicas = 7;
    for (int i = 1; i <= NODE_FOUND_MAX; i++) memset(id.address[i], 'h', sizeof id.address[i] - 1);
    assert_int_equal(identity_save(r.io, &id), 0);
    assert_int_equal(identity_load(r.io, &back), IDENTITY_FOUND);
    same(&id, &back);
    rig_deinit(&r);
}

TEST(one_or_two_damaged_copies_are_survived_and_three_are_not)
{
    static const size_t places[] = {0, 8, 12, 16, 30, 60};
    for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
        struct rig r;
        struct identity id = sample(), back;
        rig_init(&r);
        assert_int_equal(identity_save(r.io, &id), 0);
        for (uint64_t copy = 0; copy < 4; copy++) {
            spoil(&r, (copy + p) % 4, places[p], 1);
            enum identity_result result = identity_load(r.io, &back);
            if (copy < 2) {
                assert_int_equal(result, IDENTITY_FOUND);
                same(&id, &back);
            } else {
                assert_int_equal(result, IDENTITY_E_DAMAGED);
            }
        }
        rig_deinit(&r);
    }
}

TEST(the_newest_sound_copy_counts)
{
    struct rig r;
    struct identity id = sample(), old, back;
    rig_init(&r);
    assert_int_equal(identity_save(r.io, &id), 0);
    old = id;
    struct io_file *f;
    uint8_t block[IO_BLOCK];
    assert_int_equal(io_file_open(r.io, "identity", 4 * IO_BLOCK, &f), 0);
    assert_int_equal(io_file_read_now(r.io, f, block, IO_BLOCK, 0), IO_BLOCK);
    id.incarnation++;
    assert_int_equal(identity_save(r.io, &id), 0);
    /* As a crash leaves it that came after the first two copies: the others are of the save before.
     */
    for (uint64_t copy = 2; copy < 4; copy++)
        assert_int_equal(io_file_write_now(r.io, f, block, IO_BLOCK, copy * IO_BLOCK), 0);
    assert_int_equal(identity_load(r.io, &back), IDENTITY_FOUND);
    same(&id, &back);
    spoil(&r, 0, 40, 1);
    spoil(&r, 1, 40, 1);
    assert_int_equal(identity_load(r.io, &back), IDENTITY_FOUND);
    same(&old, &back);
    io_file_close(r.io, f);
    rig_deinit(&r);
}

TEST(a_first_save_that_was_cut_in_its_first_copy_left_nothing)
{
    for (int torn = 0; torn < 2; torn++) {
        struct rig r;
        struct identity id = sample(), back;
        rig_init(&r);
        assert_int_equal(identity_save(r.io, &id), 0);
        for (uint64_t copy = 1; copy < 4; copy++) spoil(&r, copy, 0, 0);
        if (torn) spoil(&r, 0, 30, 50);
        assert_int_equal(identity_load(r.io, &back), IDENTITY_NONE);
        rig_deinit(&r);
    }
}

/* The node asks for the log then: without one, this was the first save after all. */
TEST(one_sound_copy_beside_a_torn_one_is_damage)
{
    struct rig r;
    struct identity id = sample(), back;
    rig_init(&r);
    assert_int_equal(identity_save(r.io, &id), 0);
    spoil(&r, 1, 30, 50);
    for (uint64_t copy = 2; copy < 4; copy++) spoil(&r, copy, 0, 0);
    assert_int_equal(identity_load(r.io, &back), IDENTITY_E_DAMAGED);
    rig_deinit(&r);
}

TEST_MAIN
