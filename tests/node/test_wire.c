/* wire: frames come out as they went in, and nothing that was cut, flipped or made up is taken for
 * one. */
#include "test.h"
#include "base/prng.h"
#include "node/wire.h"
#include "ring/slot.h"

static struct bytes open_one(const struct buf *b, uint8_t type)
{
    uint8_t got;
    struct bytes payload;
    assert_int_equal(wire_frame_size(buf_bytes(b)), b->size);
    assert_true(wire_open(buf_bytes(b), &got, &payload));
    assert_int_equal(got, type);
    return payload;
}

TEST(a_hello_arrives_as_it_was_said)
{
    struct buf b = {0};
    struct wire_hello h = {.cluster = 1,
                           .node = 2,
                           .disk = 3,
                           .incarnation = 4,
                           .knows = 5,
                           .client = BYTES("c:1"),
                           .http = BYTES("h:2"),
                           .zone = BYTES("z")};
    struct wire_hello got;

    wire_put_hello(&b, &h);
    assert_true(wire_get_hello(open_one(&b, WIRE_HELLO), &got));
    assert_true(got.cluster == 1 && got.node == 2 && got.disk == 3 && got.incarnation == 4 &&
                got.knows == 5);
    EXPECT_BYTES(got.client, "c:1");
    EXPECT_BYTES(got.http, "h:2");
    EXPECT_BYTES(got.zone, "z");
    buf_deinit(&b);
}

TEST(a_report_arrives_as_it_was_said)
{
    struct buf b = {0};
    struct wire_report r = {.leads = 1, .uptime_s = 2, .hears = 3, .workers = 4}, got;
    wire_put_report(&b, &r);
    struct reader in = reader_of(buf_bytes(&b));
    wire_get_report(&in, &got);
    assert_false(in.bad);
    assert_int_equal(reader_left(&in), 0);
    assert_int_equal(got.leads, 1);
    assert_int_equal(got.uptime_s, 2);
    assert_int_equal(got.hears, 3);
    assert_int_equal(got.workers, 4);
    buf_deinit(&b);
}

TEST(commands_and_their_replies_arrive_as_they_were_sent_many_in_a_frame)
{
    struct buf b = {0}, storage = {0};
    struct bytes argv[] = {BYTES("SET"), BYTES("k"), BYTES("")};
    struct wire_command got;
    struct wire_reply reply;

    size_t begun = wire_begin(&b, WIRE_COMMAND);
    for (uint64_t id = 7; id < 300; id++)
        wire_put_command(&b, &(struct wire_command){.id = id,
                                                    .client = 8,
                                                    .group = 9,
                                                    .version = 3,
                                                    .traced = true,
                                                    .args = {argv, 3}});
    wire_end(&b, begun);
    struct reader r = reader_of(open_one(&b, WIRE_COMMAND));
    for (uint64_t id = 7; id < 300; id++) {
        assert_true(wire_get_command(&r, &got, &storage));
        assert_true(got.id == id && got.client == 8 && got.group == 9 && got.version == 3 &&
                    got.traced && got.args.count == 3);
        EXPECT_BYTES(got.args.v[0], "SET");
        EXPECT_BYTES(got.args.v[2], "");
        assert_true(got.slot_lo == 0 && got.slot_hi == 0);
    }
    assert_int_equal(reader_left(&r), 0);

    buf_clear(&b);
    begun = wire_begin(&b, WIRE_COMMAND);
    wire_put_command(
        &b, &(struct wire_command){
                .id = 7, .version = 2, .slot_lo = 300, .slot_hi = SLOT_COUNT, .args = {argv, 1}});
    wire_end(&b, begun);
    r = reader_of(open_one(&b, WIRE_COMMAND));
    assert_true(wire_get_command(&r, &got, &storage));
    assert_true(got.slot_lo == 300 && got.slot_hi == SLOT_COUNT && got.version == 2);

    buf_clear(&b);
    begun = wire_begin(&b, WIRE_REPLY);
    wire_put_reply(&b, &(struct wire_reply){7, WIRE_UNKNOWN, {0}});
    wire_put_reply(&b, &(struct wire_reply){1000, WIRE_DONE, BYTES("+OK\r\n")});
    wire_end(&b, begun);
    r = reader_of(open_one(&b, WIRE_REPLY));
    assert_true(wire_get_reply(&r, &reply));
    assert_true(reply.id == 7 && reply.status == WIRE_UNKNOWN && reply.reply.size == 0);
    assert_true(wire_get_reply(&r, &reply));
    assert_true(reply.id == 1000 && reply.status == WIRE_DONE);
    EXPECT_BYTES(reply.reply, "+OK\r\n");
    assert_int_equal(reader_left(&r), 0);
    buf_deinit(&b);
    buf_deinit(&storage);
}

TEST(a_frame_cut_anywhere_is_incomplete_and_a_flipped_bit_is_seen)
{
    struct buf b = {0};
    struct bytes argv[] = {BYTES("GET"), BYTES("key")};
    size_t begun = wire_begin(&b, WIRE_COMMAND);
    wire_put_command(&b, &(struct wire_command){.id = 1, .version = 2, .args = {argv, 2}});
    wire_end(&b, begun);

    for (size_t cut = 0; cut < b.size; cut++)
        assert_int_equal(wire_frame_size(bytes_of(b.data, cut)), 0);
    for (size_t bit = 0; bit < b.size * 8; bit++) {
        uint8_t type;
        struct bytes payload;
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        size_t size = wire_frame_size(buf_bytes(&b));
        bool whole = size != 0 && size != SIZE_MAX && size == b.size;
        if (whole) assert_false(wire_open(buf_bytes(&b), &type, &payload));
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buf_deinit(&b);
}

TEST(random_payloads_never_decode_into_anything_out_of_bounds)
{
    struct prng r;
    struct buf storage = {0};
    prng_init(&r, 7);
    for (int i = 0; i < 20000; i++) {
        size_t size = prng_below(&r, 64);
        uint8_t *data = malloc(size ? size : 1); /* of exactly this size, for the sanitizer */
        for (size_t k = 0; k < size; k++)
            data[k] = (uint8_t)(prng_chance(&r, 500000) ? prng_below(&r, 4) : prng_u64(&r));
        struct bytes payload = bytes_of(data, size);
        struct wire_hello hello;
        struct wire_command command;
        struct wire_reply reply;
        struct lease_heartbeat hb;
        struct lease_answer answer;
        (void)wire_get_hello(payload, &hello);
        struct reader replies = reader_of(payload), commands = replies;
        while (reader_left(&replies) && wire_get_reply(&replies, &reply)) continue;
        (void)wire_get_heartbeat(payload, &hb);
        (void)wire_get_answer(payload, &answer);
        while (reader_left(&commands) && wire_get_command(&commands, &command, &storage)) {
            assert_true(command.args.count > 0 && command.args.count <= size);
            for (uint32_t a = 0; a < command.args.count; a++)
                assert_true(command.args.v[a].size == 0 ||
                            (command.args.v[a].data >= data &&
                             command.args.v[a].data + command.args.v[a].size <= data + size));
        }
        free(data);
    }
    buf_deinit(&storage);
}

TEST(only_frames_that_stand_alone_may_be_lost_or_repeated)
{
    struct buf b = {0};
    wire_put_heartbeat(&b, &(struct lease_heartbeat){1, 2, 3});
    assert_true(wire_frame_may_disturb(buf_bytes(&b)));
    buf_clear(&b);
    size_t begun = wire_begin(&b, WIRE_REPLY);
    wire_put_reply(&b, &(struct wire_reply){1, WIRE_DONE, {0}});
    wire_end(&b, begun);
    assert_false(wire_frame_may_disturb(buf_bytes(&b)));
    buf_deinit(&b);
}

TEST_MAIN
