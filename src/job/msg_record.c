#include "job/job_record.h"
#include "base/hash.h"

enum { DROPPED = 1 };

/* While a publication is under way: the record as its transaction writes it. */
static void head_put(const struct job *j, struct buf *out)
{
    buf_u8(out, JOB_RECORD_VERSION);
    buf_u8(out, j->publishing ? JOB_DONE : j->phase);
    buf_u8(out, j->dropped ? DROPPED : 0);
    buf_varint(out, j->epoch);
    buf_varint(out, j->revision + j->publishing);
    buf_varint(out, j->snapshot);
    buf_varint(out, (uint64_t)j->submitted_ms);
    buf_varint(out, (uint64_t)(j->spent_ms + j->now_ms - j->began_ms));
    buf_blob(out, bytes_of(j->error, j->error_size));
    buf_varint(out, j->maps);
    buf_varint(out, j->reduces);
}

static void task_put(const struct job_task *t, struct buf *out)
{
    bool done = t->state >= JOB_TASK_REPORTED;
    buf_u8(out, done ? JOB_TASK_DONE : JOB_TASK_WAITING);
    buf_u8(out, t->failures);
    if (done) {
        buf_varint(out, t->winner.epoch);
        buf_varint(out, t->winner.number);
        buf_varint(out, t->winner_node);
        buf_varint(out, t->records);
        buf_varint(out, t->bytes);
    }
    buf_u8(out, t->holder_count);
    buf_u8(out, t->unfit);
    for (int i = 0; i < t->holder_count; i++) buf_varint(out, t->holder[i]);
}

void job_record_encode(const struct job *j, struct buf *out)
{
    size_t start = out->size;
    head_put(j, out);
    for (uint32_t i = 0; i < j->maps + j->reduces; i++) task_put(&j->task[i], out);
    buf_u64(out, hash64(bytes_of(out->data + start, out->size - start), 0));
}

static bool head_get(struct reader *r, struct job_record_head *h)
{
    if (reader_u8(r) != JOB_RECORD_VERSION) r->bad = true;
    h->phase = reader_u8(r);
    uint8_t flags = reader_u8(r);
    h->dropped = flags & DROPPED;
    h->epoch = reader_varint(r);
    h->revision = reader_varint(r);
    h->snapshot = reader_varint(r);
    h->submitted_ms = (int64_t)reader_bounded(r, INT64_MAX);
    h->spent_ms = (int64_t)reader_bounded(r, INT64_MAX / 4);
    h->error = reader_blob(r);
    h->maps = (uint32_t)reader_bounded(r, JOB_TASKS_MAX);
    h->reduces = (uint32_t)reader_bounded(r, JOB_TASKS_MAX);
    return !r->bad && h->phase <= JOB_CANCELLED && flags <= DROPPED &&
           h->error.size <= JOB_ERROR_MAX && h->epoch && h->reduces &&
           h->maps + h->reduces <= JOB_TASKS_MAX;
}

static bool task_get(struct reader *r, struct job_task *t)
{
    *t = (struct job_task){.state = reader_u8(r)};
    t->failures = reader_u8(r);
    if (t->state == JOB_TASK_DONE) {
        t->winner.epoch = reader_varint(r);
        t->winner.number = (uint32_t)reader_bounded(r, UINT32_MAX);
        t->winner_node = (uint32_t)reader_bounded(r, UINT32_MAX);
        t->records = reader_varint(r);
        t->bytes = reader_varint(r);
    }
    t->holder_count = reader_u8(r);
    t->unfit = reader_u8(r);
    if (t->holder_count > JOB_HOLDERS_MAX) r->bad = true;
    for (int i = 0; !r->bad && i < t->holder_count; i++)
        t->holder[i] = (uint32_t)reader_bounded(r, UINT32_MAX);
    return !r->bad && (t->state == JOB_TASK_DONE || t->state == JOB_TASK_WAITING);
}

/* The reader of what the checksum covers; bad if it is not the right one. */
static struct reader checked(struct bytes record)
{
    struct reader r = {.bad = true}, sum;
    if (record.size < 8) return r;
    struct bytes body = {record.data, record.size - 8};
    sum = reader_of(bytes_of(record.data + body.size, 8));
    if (reader_u64(&sum) == hash64(body, 0)) r = reader_of(body);
    return r;
}

bool job_record_peek(struct bytes record, struct job_record_head *head)
{
    struct reader r = checked(record);
    struct job_task t;
    *head = (struct job_record_head){0};
    if (!head_get(&r, head)) return false;
    for (uint32_t i = 0; i < head->maps + head->reduces; i++) {
        if (!task_get(&r, &t)) return false;
        if (t.state == JOB_TASK_DONE)
            (*(i < head->maps ? &head->maps_done : &head->reduces_done))++;
    }
    return reader_left(&r) == 0 &&
           (head->phase != JOB_COMMITTING || head->reduces_done == head->reduces);
}

bool job_record_decode(struct job *j, struct bytes record)
{
    struct job_record_head h;
    struct reader r = checked(record);
    if (!job_record_peek(record, &h) || h.epoch >= j->epoch) return false;
    if (h.reduces != j->reduces || !job_set_maps(j, h.maps)) return false;
    (void)head_get(&r, &h);
    for (uint32_t i = 0; i < h.maps + h.reduces; i++) (void)task_get(&r, &j->task[i]);
    j->phase = h.phase;
    j->dropped = h.dropped;
    j->snapshot = h.snapshot;
    j->submitted_ms = h.submitted_ms;
    j->spent_ms = h.spent_ms;
    j->error_size = (uint16_t)h.error.size;
    if (h.error.size) memcpy(j->error, h.error.data, h.error.size);
    j->base_epoch = h.epoch;
    j->base_revision = h.revision;
    j->revision = h.revision; /* written under another epoch: not by us */
    j->maps_done = h.maps_done;
    j->reduces_done = h.reduces_done;
    return true;
}
