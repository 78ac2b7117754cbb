/* The byte form: what was written is read back, and nothing else is accepted. */
#include "test.h"
#include "base/prng.h"
#include "paxos/msg.h"

static struct bytes value_of(void *handle)
{
    return bytes_str(handle);
}

static struct paxos_message sample(struct paxos_entry *e)
{
    e[0] = (struct paxos_entry){.position = 300,
                                .ballot = paxos_ballot_make(1u << 30, 7),
                                .born = paxos_ballot_make(5, 2),
                                .base = {299, paxos_ballot_make(5, 2)},
                                .hash = 0x1234567890abcdef,
                                .size = 5,
                                .kind = PAXOS_DATA,
                                .value = "hello"};
    e[1] = (struct paxos_entry){.position = 301, .ballot = 9, .born = 9, .kind = PAXOS_NOOP};
    return (struct paxos_message){.type = PAXOS_PROMISE,
                                  .flags = PAXOS_F_LEASE,
                                  .from = 3,
                                  .to = 65535,
                                  .ballot = UINT64_MAX,
                                  .promised = 1,
                                  .released = 2,
                                  .position = 128,
                                  .chosen = 127,
                                  .seq = UINT64_MAX - 1,
                                  .mark = 1ull << 40,
                                  .config = 299,
                                  .entry_count = 2,
                                  .entries = e};
}

TEST(a_message_is_read_back_as_it_was_written)
{
    struct paxos_entry e[2], r[2];
    struct bytes v[2];
    struct paxos_message m = sample(e), read;
    struct buf b = {0};
    paxos_message_encode(&m, value_of, &b);

    assert_true(paxos_message_decode(buf_bytes(&b), &read, r, v, 2));
    assert_memory_equal(&read, &m, offsetof(struct paxos_message, entry_count));
    assert_int_equal(read.entry_count, 2);
    for (int i = 0; i < 2; i++) {
        assert_true(r[i].position == e[i].position && r[i].ballot == e[i].ballot &&
                    r[i].born == e[i].born);
        assert_true(r[i].base.position == e[i].base.position && r[i].base.born == e[i].base.born);
        assert_true(r[i].hash == e[i].hash && r[i].size == e[i].size && r[i].kind == e[i].kind &&
                    !r[i].value);
    }
    EXPECT_BYTES(v[0], "hello");
    EXPECT_BYTES(v[1], "");
    buf_deinit(&b);
}

TEST(every_truncation_and_every_excess_is_refused)
{
    struct paxos_entry e[2], r[2];
    struct bytes v[2];
    struct paxos_message m = sample(e), read;
    struct buf b = {0};
    paxos_message_encode(&m, value_of, &b);
    for (size_t cut = 0; cut < b.size; cut++) {
        uint8_t *copy = malloc(cut ? cut : 1);
        memcpy(copy, b.data, cut);
        assert_false(paxos_message_decode(bytes_of(copy, cut), &read, r, v, 2));
        free(copy);
    }
    assert_false(paxos_message_decode(buf_bytes(&b), &read, r, v,
                                      1)); /* more entries than there is room for */
    buf_u8(&b, 0);
    assert_false(paxos_message_decode(buf_bytes(&b), &read, r, v, 2));
    buf_deinit(&b);
}

TEST(flipped_bytes_never_read_outside_the_message)
{
    struct paxos_entry e[2], r[2];
    struct bytes v[2];
    struct paxos_message m = sample(e), read;
    struct buf b = {0};
    struct prng prng;
    prng_init(&prng, 1);
    paxos_message_encode(&m, value_of, &b);
    for (int i = 0; i < 20000; i++) {
        uint8_t *copy = malloc(b.size);
        memcpy(copy, b.data, b.size);
        for (uint64_t k = prng_below(&prng, 4) + 1; k > 0; k--)
            copy[prng_below(&prng, b.size)] = (uint8_t)prng_u64(&prng);
        if (paxos_message_decode(bytes_of(copy, b.size), &read, r, v, 2))
            for (uint32_t k = 0; k < read.entry_count; k++)
                assert_true(v[k].size == 0 ||
                            (v[k].data >= copy && v[k].data + v[k].size <= copy + b.size));
        free(copy);
    }
    buf_deinit(&b);
}

TEST(every_type_has_a_name)
{
    for (uint8_t i = 0; i < PAXOS_MESSAGE_TYPES; i++)
        assert_string_not_equal(paxos_message_name(i), "unknown");
    assert_string_equal(paxos_message_name(200), "unknown");
}

TEST_MAIN
