/* The bytes of records, blocks and segment headers: what is written is read, and nothing else is
 * taken for it. */
#include "test.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/prng.h"
#include "store/record.h"

enum { ID = 0x77 };

static struct log_record random_record(struct prng *p, const uint8_t *value)
{
    uint64_t shift = prng_below(p, 64);
    struct log_record r = {.type = (uint8_t)(1 + prng_below(p, 5)),
                           .group = (uint32_t)(prng_u64(p) >> (32 + shift / 2)),
                           .replica = (uint16_t)prng_u64(p)};
    if (r.type == LOG_PROMISE) r.promised = prng_u64(p) >> shift;
    if (r.type != LOG_BEAT && r.type != LOG_DROP) r.chosen = prng_u64(p) >> shift;
    if (r.type != LOG_ENTRY) return r;
    r.value = bytes_of(value, prng_below(p, 300));
    r.entry = (struct paxos_entry){.position = (prng_u64(p) >> shift) | 1,
                                   .ballot = prng_u64(p) >> shift,
                                   .born = prng_u64(p) >> shift,
                                   .base = {prng_u64(p) >> shift, prng_u64(p) >> shift},
                                   .hash = prng_u64(p),
                                   .size = (uint32_t)r.value.size,
                                   .kind = (uint8_t)prng_below(p, 3)};
    return r;
}

static bool same(const struct log_record *a, const struct log_record *b)
{
    const struct paxos_entry *x = &a->entry, *y = &b->entry;
    return a->type == b->type && a->group == b->group && a->replica == b->replica &&
           a->promised == b->promised && a->chosen == b->chosen &&
           bytes_equal(a->value, b->value) && x->position == y->position &&
           x->ballot == y->ballot && x->born == y->born && x->base.position == y->base.position &&
           x->base.born == y->base.born && x->hash == y->hash && x->size == y->size &&
           x->kind == y->kind;
}

TEST(a_record_is_read_as_it_was_written_and_no_prefix_or_flip_of_it_is)
{
    struct prng p;
    uint8_t value[300], out[512];
    prng_init(&p, 5);
    for (size_t i = 0; i < sizeof value; i++) value[i] = (uint8_t)i;
    for (int round = 0; round < 2000; round++) {
        struct log_record r = random_record(&p, value), back;
        uint32_t check, check_back;
        size_t size = record_put(&r, ID, out, &check);
        assert_true(size <= record_size_max(&r));
        uint8_t *exact = mem_dup(out, size); /* so that a sanitizer sees an overrun */
        struct bytes in = bytes_of(exact, size);
        assert_true(record_get(&in, ID, &back, &check_back));
        assert_true(in.size == 0 && check == check_back && same(&r, &back));

        in = bytes_of(exact, prng_below(&p, size));
        assert_false(record_get(&in, ID, &back, &check));
        in = bytes_of(exact, size);
        assert_false(record_get(&in, ID + 1, &back, &check));
        exact[prng_below(&p, size)] ^= (uint8_t)(1u << prng_below(&p, 8));
        assert_false(record_get(&in, ID, &back, &check));
        assert_true(in.size == size);
        mem_free(exact);
    }
}

/* A body with a right checksum that no writer of ours made. */
static bool takes(const void *body, uint32_t size)
{
    uint8_t out[128];
    struct log_record r;
    uint32_t check;
    memcpy(out + 8, &size, sizeof size);
    memcpy(out + 12, body, size);
    uint64_t sum = hash64(bytes_of(out + 8, 4 + size), ID);
    memcpy(out, &sum, sizeof sum);
    struct bytes in = bytes_of(out, 12 + size);
    return record_get(&in, ID, &r, &check);
}

TEST(a_malformed_body_is_refused_even_with_a_right_checksum)
{
    assert_true(takes("\x04\x01\x01", 3)); /* a beat */
    assert_false(takes("", 0));
    assert_false(takes("\x00\x01\x01", 3)); /* no such type */
    assert_false(takes("\x06\x01\x01", 3));
    assert_false(takes("\x04\x01\x01\x00", 4)); /* something behind it */
    assert_false(takes("\x04\x01", 2));
    assert_false(takes("\x04\x01\x80\x80\x04", 5));         /* a replica beyond 16 bits */
    assert_false(takes("\x04\x80\x80\x80\x80\x10\x01", 7)); /* a group beyond 32 */
    assert_true(takes("\x03\x01\x01\x05", 4));
    assert_false(
        takes("\x03\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 13)); /* a varint beyond 64 */
    assert_true(takes("\x02\x01\x01\x01\x00\x01\x01\x01\x00\x00hhhhhhhh", 18));
    assert_false(takes("\x02\x01\x01\x01\x00\x00\x01\x01\x00\x00hhhhhhhh", 18)); /* position 0 */
    assert_false(takes("\x02\x01\x01\x03\x00\x01\x01\x01\x00\x00hhhhhhhh", 18)); /* no such kind */
    assert_false(takes("\x02\x01\x01\x01\x00\x01\x01\x01\x00\x00hhhhhhh", 17));
}

TEST(a_block_is_taken_only_whole_in_its_place_and_of_its_log)
{
    static uint8_t page[2 * IO_BLOCK];
    struct record_block h = {.log_id = ID,
                             .sequence = 3,
                             .epoch = 1,
                             .lsn = 9,
                             .synced = 8,
                             .oldest = 1,
                             .place = 5,
                             .count = 1,
                             .payload = 5000},
                        back;
    memset(page, 'v', sizeof page);
    record_block_put(&h, page);
    assert_true(page[sizeof h + 4999] == 'v' && page[sizeof h + 5000] == 0 &&
                page[sizeof page - 1] == 0);
    assert_int_equal(record_block_size(&h), sizeof page);
    struct bytes in = bytes_of(page, sizeof page);
    assert_true(record_block_get(in, ID, 5 * IO_BLOCK, &back) && back.lsn == 9 &&
                back.payload == 5000);
    assert_false(record_block_get(in, ID, 4 * IO_BLOCK, &back));
    assert_false(record_block_get(in, ID + 1, 5 * IO_BLOCK, &back));
    assert_false(record_block_get(bytes_of(page, IO_BLOCK), ID, 5 * IO_BLOCK, &back));
    for (size_t at = 0; at < sizeof h + h.payload; at += at < sizeof h ? 1 : 97) {
        if (at >= offsetof(struct record_block, reserved) + 4 && at < sizeof h) continue;
        page[at] ^= 1;
        if (record_block_get(in, ID, 5 * IO_BLOCK, &back))
            fail_msg("a flip at %zu went unnoticed", at);
        page[at] ^= 1;
    }
    assert_true(record_block_get(in, ID, 5 * IO_BLOCK, &back));
}

TEST(a_segment_header_covers_its_whole_block)
{
    uint8_t page[IO_BLOCK];
    struct record_segment h = {.log_id = ID,
                               .sequence = 3,
                               .epoch = 2,
                               .lsn = 10,
                               .synced = 4,
                               .oldest = 1},
                          back;
    record_segment_put(&h, page);
    assert_int_equal(record_segment_get(bytes_of(page, sizeof page), &back), RECORD_OK);
    assert_true(back.sequence == 3 && back.epoch == 2 && back.lsn == 10 && back.synced == 4 &&
                back.oldest == 1);
    for (size_t at = 0; at < sizeof page; at++) {
        page[at] ^= 8;
        assert_int_equal(record_segment_get(bytes_of(page, sizeof page), &back), RECORD_BAD);
        page[at] ^= 8;
    }
    memset(page, 0, sizeof page);
    assert_int_equal(record_segment_get(bytes_of(page, sizeof page), &back), RECORD_EMPTY);
    assert_int_equal(record_segment_get(bytes_of(page, 100), &back), RECORD_BAD);
}

TEST_MAIN
