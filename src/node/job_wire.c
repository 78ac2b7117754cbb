/* The messages of jobs as bytes (job.h), and their way between nodes.
 *
 *   type:1 job:8 epoch:8 task:4 number:4, then by type:
 *     START   maps:4 reduces:4 snapshot:8 slot_lo:2 slot_hi:2 spec (blob), inputs (the rest)
 *     REPORT  status:1 records:8 bytes:8 input:4 winner epoch:8 number:4, text (the rest)
 *     FETCH   partition:4 offset:8
 *     PIECE   partition:4 offset:8 status:1, piece (the rest) */
#include "node/job.h"
#include "base/assert.h"
#include "base/list.h"
#include "base/mem.h"

void job_input_put(struct buf *out, const struct job_input *in)
{
    buf_u16(out, in->node);
    buf_u64(out, in->attempt.epoch);
    buf_u32(out, in->attempt.number);
}

struct job_input job_input_get(struct bytes inputs, uint32_t map)
{
    ASSERT(inputs.size / JOB_INPUT > map);
    struct reader r = reader_of(bytes_of(inputs.data + (size_t)map * JOB_INPUT, JOB_INPUT));
    struct job_input in = {.node = reader_u16(&r)};
    in.attempt.epoch = reader_u64(&r);
    in.attempt.number = reader_u32(&r);
    return in;
}

void job_msg_put(struct buf *out, const struct job_msg *m)
{
    buf_u8(out, m->type);
    buf_u64(out, m->job);
    buf_u64(out, m->epoch);
    buf_u32(out, m->task);
    buf_u32(out, m->number);
    switch (m->type) {
    case JOB_MSG_START:
        buf_u32(out, m->maps);
        buf_u32(out, m->reduces);
        buf_u64(out, m->snapshot);
        buf_u16(out, m->slot_lo);
        buf_u16(out, m->slot_hi);
        buf_blob(out, m->spec);
        buf_append_bytes(out, m->inputs);
        break;
    case JOB_MSG_REPORT:
        buf_u8(out, m->status);
        buf_u64(out, m->records);
        buf_u64(out, m->bytes);
        buf_u32(out, m->input);
        buf_u64(out, m->winner.epoch);
        buf_u32(out, m->winner.number);
        buf_append_bytes(out, m->text);
        break;
    case JOB_MSG_FETCH:
    case JOB_MSG_PIECE:
        buf_u32(out, m->partition);
        buf_u64(out, m->offset);
        if (m->type == JOB_MSG_FETCH) break;
        buf_u8(out, m->status);
        buf_append_bytes(out, m->piece);
        break;
    }
}

static struct bytes rest(struct reader *r)
{
    return reader_take(r, reader_left(r));
}

static bool get_start(struct reader *r, struct job_msg *m)
{
    m->maps = reader_u32(r);
    m->reduces = reader_u32(r);
    m->snapshot = reader_u64(r);
    m->slot_lo = reader_u16(r);
    m->slot_hi = reader_u16(r);
    m->spec = reader_blob(r);
    m->inputs = rest(r);
    uint64_t tasks = (uint64_t)m->maps + m->reduces;
    if (!m->maps || !m->reduces || tasks > JOB_TASKS_MAX || m->task >= tasks ||
        m->reduces > JOB_PARTITIONS_MAX || m->spec.size > JOB_SPEC_MAX)
        return false;
    return m->inputs.size == (m->task < m->maps ? 0 : (size_t)m->maps * JOB_INPUT);
}

static bool get_report(struct reader *r, struct job_msg *m)
{
    m->status = reader_u8(r);
    m->records = reader_u64(r);
    m->bytes = reader_u64(r);
    m->input = reader_u32(r);
    m->winner.epoch = reader_u64(r);
    m->winner.number = reader_u32(r);
    m->text = rest(r);
    return m->status <= JOB_REPORT_LOST && m->text.size <= JOB_TEXT_MAX && m->input < JOB_TASKS_MAX;
}

static bool get_piece(struct reader *r, struct job_msg *m)
{
    m->partition = reader_u32(r);
    m->offset = reader_u64(r);
    if (m->type == JOB_MSG_PIECE) {
        m->status = reader_u8(r);
        m->piece = rest(r);
    }
    return m->partition < JOB_PARTITIONS_MAX && m->status <= JOB_PIECE_LOST &&
           m->piece.size <= JOB_PIECE_BYTES;
}

bool job_msg_get(struct bytes payload, struct job_msg *m)
{
    struct reader r = reader_of(payload);
    bool good = true;
    *m = (struct job_msg){.type = reader_u8(&r)};
    m->job = reader_u64(&r);
    m->epoch = reader_u64(&r);
    m->task = reader_u32(&r);
    m->number = reader_u32(&r);
    if (m->type < JOB_MSG_START || m->type > JOB_MSG_PIECE) return false;
    if (m->type == JOB_MSG_START) good = get_start(&r, m);
    if (m->type == JOB_MSG_REPORT) good = get_report(&r, m);
    if (m->type == JOB_MSG_FETCH || m->type == JOB_MSG_PIECE) good = get_piece(&r, m);
    return good && !r.bad && !reader_left(&r) && m->task < JOB_TASKS_MAX;
}

/* ---- sending ---- */

void job_on_frame(struct peer *p, struct bytes payload)
{
    struct job_msg m;
    struct node *n = p->node;
    if (!job_msg_get(payload, &m)) {
        n->stats.bad_frames++;
        return;
    }
    if (m.type != JOB_MSG_REPORT) tasks_on_message(n, p->id, &m);
}

bool job_send(struct node *n, uint16_t to, const struct job_msg *m)
{
    struct buf *out = peer_out(n, to);
    if (!out) return false;
    size_t begun = wire_begin(out, WIRE_JOB);
    job_msg_put(out, m);
    wire_end(out, begun);
    return true;
}
