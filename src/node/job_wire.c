/* Messages about jobs between nodes (job.h): how they look, and their way. Integers are LEB128 but
 * where said otherwise.
 *
 *   type:1  job:8  epoch  task  number
 *   START    maps  reduces  snapshot  slot_lo  slot_hi  spec (blob)  inputs (the rest)
 *   REPORT   status:1  records  bytes  input  winner's epoch, number  text (the rest)
 *   FETCH    partition  offset
 *   PIECE    status:1  partition  offset  piece (the rest) */
#include "node/job_internal.h"

void job_input_put(struct buf *out, const struct job_input *in)
{
    buf_u16(out, in->node);
    buf_u64(out, in->attempt.epoch);
    buf_u32(out, in->attempt.number);
}

struct job_input job_input_get(struct bytes inputs, uint32_t map)
{
    struct reader r = reader_of(bytes_of(inputs.data + (size_t)map * JOB_INPUT, JOB_INPUT));
    struct job_input in = {.node = reader_u16(&r)};
    in.attempt.epoch = reader_u64(&r);
    in.attempt.number = reader_u32(&r);
    return in;
}

/* ---- writing ---- */

static void put_start(struct buf *out, const struct job_msg *m)
{
    buf_varint(out, m->maps);
    buf_varint(out, m->reduces);
    buf_varint(out, m->snapshot);
    buf_varint(out, m->slot_lo);
    buf_varint(out, m->slot_hi);
    buf_blob(out, m->spec);
    buf_append_bytes(out, m->inputs);
}

static void put_report(struct buf *out, const struct job_msg *m)
{
    buf_u8(out, m->status);
    buf_varint(out, m->records);
    buf_varint(out, m->bytes);
    buf_varint(out, m->input);
    buf_varint(out, m->winner.epoch);
    buf_varint(out, m->winner.number);
    buf_append_bytes(
        out, bytes_of(m->text.data, m->text.size < JOB_TEXT_MAX ? m->text.size : JOB_TEXT_MAX));
}

void job_msg_put(struct buf *out, const struct job_msg *m)
{
    buf_u8(out, m->type);
    buf_u64(out, m->job);
    buf_varint(out, m->epoch);
    buf_varint(out, m->task);
    buf_varint(out, m->number);
    switch (m->type) {
    case JOB_MSG_START: put_start(out, m); break;
    case JOB_MSG_REPORT: put_report(out, m); break;
    case JOB_MSG_PIECE: buf_u8(out, m->status); /* fall through */
    case JOB_MSG_FETCH:
        buf_varint(out, m->partition);
        buf_varint(out, m->offset);
        if (m->type == JOB_MSG_PIECE) buf_append_bytes(out, m->piece);
        break;
    default: break;
    }
}

/* ---- reading ---- */

static struct bytes rest(struct reader *r, size_t max)
{
    if (reader_left(r) > max) r->bad = true;
    return r->bad ? (struct bytes){0} : reader_take(r, reader_left(r));
}

static void get_start(struct reader *r, struct job_msg *m)
{
    m->maps = (uint32_t)reader_bounded(r, JOB_TASKS_MAX);
    m->reduces = (uint32_t)reader_bounded(r, JOB_TASKS_MAX);
    m->snapshot = reader_varint(r);
    m->slot_lo = (uint16_t)reader_bounded(r, SLOT_COUNT);
    m->slot_hi = (uint16_t)reader_bounded(r, SLOT_COUNT);
    m->spec = reader_blob(r);
    m->inputs = rest(r, (size_t)JOB_TASKS_MAX * JOB_INPUT);
    bool reduces = m->task >= m->maps;
    if (m->task >= m->maps + m->reduces || m->spec.size > JOB_SPEC_MAX ||
        m->inputs.size != (reduces ? (size_t)m->maps * JOB_INPUT : 0) ||
        (m->slot_hi && m->slot_lo >= m->slot_hi))
        r->bad = true;
}

static void get_report(struct reader *r, struct job_msg *m)
{
    m->status = reader_u8(r);
    m->records = reader_varint(r);
    m->bytes = reader_varint(r);
    m->input = (uint32_t)reader_bounded(r, JOB_TASKS_MAX - 1);
    m->winner.epoch = reader_varint(r);
    m->winner.number = (uint32_t)reader_bounded(r, UINT32_MAX);
    m->text = rest(r, JOB_TEXT_MAX);
    if (m->status > JOB_REPORT_LOST) r->bad = true;
}

static void get_fetch(struct reader *r, struct job_msg *m)
{
    if (m->type == JOB_MSG_PIECE) m->status = reader_u8(r);
    m->partition = (uint32_t)reader_bounded(r, JOB_PARTITIONS_MAX - 1);
    m->offset = reader_varint(r);
    if (m->type == JOB_MSG_PIECE) m->piece = rest(r, JOB_PIECE_BYTES);
    if (m->status > JOB_PIECE_LOST) r->bad = true;
}

bool job_msg_get(struct bytes payload, struct job_msg *m)
{
    struct reader r = reader_of(payload);
    *m = (struct job_msg){.type = reader_u8(&r)};
    m->job = reader_u64(&r);
    m->epoch = reader_varint(&r);
    m->task = (uint32_t)reader_bounded(&r, JOB_TASKS_MAX - 1);
    m->number = (uint32_t)reader_bounded(&r, UINT32_MAX);
    switch (m->type) {
    case JOB_MSG_START: get_start(&r, m); break;
    case JOB_MSG_REPORT: get_report(&r, m); break;
    case JOB_MSG_FETCH:
    case JOB_MSG_PIECE: get_fetch(&r, m); break;
    case JOB_MSG_KILL:
    case JOB_MSG_FENCE:
    case JOB_MSG_DROP:
    case JOB_MSG_KNOWN: break;
    default: return false;
    }
    return !r.bad && reader_left(&r) == 0;
}

/* ---- their way ---- */

bool job_send(struct node *n, uint16_t to, const struct job_msg *m)
{
    if (to == n->identity.node) {
        buf_clear(&n->jobs->scratch);
        job_msg_put(&n->jobs->scratch, m);
        buf_blob(&n->jobs->self, buf_bytes(&n->jobs->scratch));
        return true;
    }
    struct buf *out = peer_out(n, to);
    if (!out) return false;
    size_t begun = wire_begin(out, WIRE_JOB);
    job_msg_put(out, m);
    wire_end(out, begun);
    return true;
}

static void receive(struct node *n, uint16_t from, struct bytes payload)
{
    struct job_msg m;
    if (!job_msg_get(payload, &m))
        n->stats.bad_frames++;
    else if (m.type == JOB_MSG_REPORT)
        jobs_on_report(n, from, &m);
    else
        tasks_on_message(n, from, &m);
}

void job_on_frame(struct peer *p, struct bytes payload)
{
    receive(p->node, p->id, payload);
}

/* What is said to oneself meanwhile is for the next turn. */
bool jobs_turn(struct node *n)
{
    struct buf said = n->jobs->self;
    if (n->jobs->look) jobs_look_now(n);
    if (!said.size) return false;
    struct reader r = reader_of(buf_bytes(&said));
    n->jobs->self = (struct buf){0};
    while (reader_left(&r) && !n->dead) receive(n, n->identity.node, reader_blob(&r));
    buf_deinit(&said);
    return n->jobs->self.size > 0;
}
