/* ring: slots are those of Redis Cluster. The expected numbers were printed by redis-server's
 * CLUSTER KEYSLOT. */
#include "test.h"
#include "ring/slot.h"

TEST(slots_are_those_that_redis_computes)
{
    assert_int_equal(slot_crc16(BYTES("123456789")), 0x31c3);
    assert_int_equal(slot_of(BYTES("foo")), 12182);
    assert_int_equal(slot_of(BYTES("")), 0);
    assert_int_equal(slot_of(BYTES("somekey")), 11058);
}

TEST(only_the_first_nonempty_tag_counts)
{
    assert_int_equal(slot_of(BYTES("{foo}bar")), slot_of(BYTES("foo")));
    assert_int_equal(slot_of(BYTES("x{foo}{bar}")), slot_of(BYTES("foo")));
    assert_int_equal(slot_of(BYTES("foo{}{bar}")), slot_crc16(BYTES("foo{}{bar}")) % SLOT_COUNT);
    assert_int_equal(slot_of(BYTES("foo{{bar}}zap")), slot_of(BYTES("{bar")));
    assert_int_equal(slot_of(BYTES("foo{bar")), slot_crc16(BYTES("foo{bar")) % SLOT_COUNT);
}

TEST_MAIN
