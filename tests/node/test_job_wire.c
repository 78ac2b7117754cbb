/* Messages about jobs: they come out as they went in, and nothing that was cut or made up is taken
 * for one. */
#include "test.h"
#include "base/prng.h"
#include "node/job.h"

static struct job_msg start(struct buf *inputs, bool reduces)
{
    for (uint32_t i = 0; reduces && i < 3; i++)
        job_input_put(inputs, &(struct job_input){(uint16_t)(i + 1), {7 + i, 100 + i}});
    return (struct job_msg){.type = JOB_MSG_START,
                            .job = 0x1234567890abcdef,
                            .epoch = 9,
                            .task = reduces ? 4 : 2,
                            .number = 5,
                            .maps = 3,
                            .reduces = 2,
                            .snapshot = 77,
                            .slot_lo = 100,
                            .slot_hi = 16384,
                            .spec = BYTES("spec"),
                            .inputs = buf_bytes(inputs)};
}

static void expect_same(const struct job_msg *a, const struct job_msg *b)
{
    assert_int_equal(a->type, b->type);
    assert_true(a->job == b->job && a->epoch == b->epoch && a->task == b->task);
    assert_true(a->number == b->number && a->maps == b->maps && a->reduces == b->reduces);
    assert_true(a->snapshot == b->snapshot && a->slot_lo == b->slot_lo && a->slot_hi == b->slot_hi);
    assert_true(bytes_equal(a->spec, b->spec) && bytes_equal(a->inputs, b->inputs));
    assert_true(a->status == b->status && a->records == b->records && a->bytes == b->bytes);
    assert_true(a->input == b->input && a->winner.epoch == b->winner.epoch);
    assert_true(a->winner.number == b->winner.number && bytes_equal(a->text, b->text));
    assert_true(a->partition == b->partition && a->offset == b->offset);
    assert_true(bytes_equal(a->piece, b->piece));
}

static void round_trip(const struct job_msg *m)
{
    struct buf b = {0};
    struct job_msg got;
    job_msg_put(&b, m);
    assert_true(job_msg_get(buf_bytes(&b), &got));
    expect_same(m, &got);
    buf_deinit(&b);
}

TEST(messages_arrive_as_they_were_sent)
{
    struct buf none = {0}, inputs = {0};
    struct job_msg map = start(&none, false), reduce = start(&inputs, true);
    round_trip(&map);
    round_trip(&reduce);
    for (uint8_t type = JOB_MSG_KILL; type <= JOB_MSG_KNOWN; type++)
        round_trip(
            &(struct job_msg){.type = type, .job = 3, .epoch = 1 << 20, .number = UINT32_MAX});
    round_trip(&(struct job_msg){.type = JOB_MSG_REPORT,
                                 .status = JOB_REPORT_LOST,
                                 .records = UINT64_MAX,
                                 .bytes = 1,
                                 .input = 16000,
                                 .winner = {8, 9},
                                 .text = BYTES("why")});
    round_trip(&(struct job_msg){.type = JOB_MSG_FETCH, .partition = 1023, .offset = 1ull << 40});
    round_trip(&(struct job_msg){
        .type = JOB_MSG_PIECE, .status = JOB_PIECE_END, .offset = 5, .piece = BYTES("pairs")});
    assert_int_equal(job_input_get(buf_bytes(&inputs), 1).node, 2);
    assert_int_equal(job_input_get(buf_bytes(&inputs), 2).attempt.number, 102);
    buf_deinit(&inputs);
}

TEST(a_long_text_is_cut)
{
    static char text[2 * JOB_TEXT_MAX];
    struct buf b = {0};
    struct job_msg got;
    memset(text, 'x', sizeof text);
    job_msg_put(&b, &(struct job_msg){.type = JOB_MSG_REPORT, .text = bytes_of(text, sizeof text)});
    assert_true(job_msg_get(buf_bytes(&b), &got));
    assert_int_equal(got.text.size, JOB_TEXT_MAX);
    buf_deinit(&b);
}

static void refused(struct job_msg m)
{
    struct buf b = {0};
    struct job_msg got;
    job_msg_put(&b, &m);
    assert_false(job_msg_get(buf_bytes(&b), &got));
    buf_deinit(&b);
}

TEST(what_is_out_of_bounds_is_refused)
{
    struct buf none = {0}, inputs = {0};
    struct job_msg m = start(&none, false), r = start(&inputs, true);
    m.maps = JOB_TASKS_MAX + 1, refused(m);
    m = start(&none, false), m.task = 5, refused(m);
    m = start(&none, false), m.slot_lo = 16384, refused(m);
    m = start(&none, false), m.inputs = BYTES("fourteen bytes"), refused(m);
    r.inputs.size -= JOB_INPUT, refused(r);
    refused((struct job_msg){.type = JOB_MSG_REPORT, .status = JOB_REPORT_LOST + 1});
    refused((struct job_msg){.type = JOB_MSG_PIECE, .status = JOB_PIECE_LOST + 1});
    refused((struct job_msg){.type = JOB_MSG_FETCH, .partition = JOB_PARTITIONS_MAX});
    refused((struct job_msg){.type = JOB_MSG_PIECE + 1});
    refused((struct job_msg){.type = 0});
    buf_deinit(&inputs);
}

TEST(whatever_is_cut_or_flipped_is_read_within_its_bytes)
{
    struct buf inputs = {0}, b = {0};
    struct job_msg m = start(&inputs, true), got;
    struct prng random;
    prng_init(&random, 1);
    job_msg_put(&b, &m);
    for (size_t size = 0; size < b.size; size++) {
        uint8_t *copy = malloc(size ? size : 1); /* of its own, for the sanitizer */
        memcpy(copy, b.data, size);
        assert_false(job_msg_get(bytes_of(copy, size), &got));
        free(copy);
    }
    for (int i = 0; i < 20000; i++) {
        uint8_t *copy = malloc(b.size);
        memcpy(copy, b.data, b.size);
        copy[prng_below(&random, b.size)] ^= (uint8_t)(1 + prng_below(&random, 255));
        (void)job_msg_get(bytes_of(copy, b.size), &got);
        free(copy);
    }
    buf_deinit(&inputs), buf_deinit(&b);
}

TEST_MAIN
