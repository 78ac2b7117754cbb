/* Computing, off the reactor: a step is a bounded part of an attempt, so that all attempts of a
 * node have their turn, and one that is given up ends soon. In this process it is bounded by bytes,
 * for the simulated world knows no other time. */
#include "node/task.h"
#include "base/assert.h"
#include "redis/object.h"

#include <stdarg.h>
#include <stdio.h>

/* Of a snapshot: what is read in one step, in pieces that a processor's cache holds. */
#define STEP_BYTES  (4u << 20)
#define STEP_KEYS   (256u << 10)
#define PIECE_BYTES (256u << 10) /* of records, before the last one */
#define PIECE_KEYS  (16u << 10)
#define STEP_PIECES 16 /* of each map's output, for a reduce */
#define PUMP_MS     20

/* ---- a step ---- */

static void step_run(void *ctx)
{
    struct task_attempt *a = ctx;
    a->run(a);
}

static void step_done(void *ctx)
{
    struct task_attempt *a = ctx;
    node_begin(a->node);
    a->working = false;
    a->records = a->records_done;
    if (a->state == TASK_RUNS) a->bytes = a->bytes_done;
    attempt_next(a);
}

void attempt_step(struct task_attempt *a, void (*run)(struct task_attempt *a))
{
    ASSERT(!a->working);
    a->working = true;
    a->run = run;
    a->work = (struct io_work){.run = step_run, .done = step_done, .ctx = a, .batch = true};
    io_work(a->node->io, &a->work);
}

static void fails(struct task_attempt *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void fails(struct task_attempt *a, const char *format, ...)
{
    va_list args;
    if (a->failed) return;
    a->failed = true;
    va_start(args, format);
    (void)vsnprintf(a->why, sizeof a->why, format, args);
    va_end(args);
}

void attempt_close(struct task_attempt *a)
{
    task_engine_free(a->engine);
    a->engine = NULL;
}

static void begin(struct task_attempt *a)
{
    bool reduces = attempt_reduces(a);
    if (a->engine) return;
    a->engine = task_engine_new(
        &(struct task_engine_options){.spec = &a->spec,
                                      .task = {.task = reduces ? a->task - a->maps : a->task,
                                               .attempt = a->number,
                                               .tasks = a->spec.tasks,
                                               .partitions = a->reduces,
                                               .reduces = reduces},
                                      .nursery = a->node->tasks->nursery,
                                      .dir = a->node->config.job_dir,
                                      .out = job_output_put,
                                      .ctx = a->output});
}

static void pump(struct task_attempt *a, int wait_ms)
{
    char why[TASK_ERROR_MAX];
    a->engine_state = task_engine_pump(a->engine, wait_ms);
    struct task_counts counts = task_engine_counts(a->engine);
    a->records_done = counts.records;
    if (a->engine_state == TASK_ENGINE_RUNS) return;
    if (a->engine_state == TASK_ENGINE_FAILED)
        fails(a, "%s", task_engine_error(a->engine));
    else if (!job_output_end(a->output, why))
        fails(a, "%s", why);
    attempt_close(a);
}

/* All input is there. */
static void end_input(struct task_attempt *a)
{
    if (!a->end_fed) task_engine_end(a->engine);
    a->end_fed = true;
    pump(a, PUMP_MS);
}

/* ---- maps ---- */

static int record_type_of(uint8_t object)
{
    switch (object) {
    case OBJECT_STRING: return RECORD_STRING;
    case OBJECT_HASH: return RECORD_HASH;
    default: return -1;
    }
}

static bool wants(void *ctx, struct bytes key, uint8_t type)
{
    struct task_attempt *a = ctx;
    int record = record_type_of(type);
    buf_clear(&a->key);
    buf_append_bytes(&a->key, key);
    return record >= 0 && job_spec_wants(&a->spec, key, (uint8_t)record);
}

/* Keys are all that counting them takes. */
static bool wants_values(const struct job_spec *s)
{
    const struct job_query *q = &s->query;
    return s->kind != JOB_KIND_QUERY || q->op != JOB_OP_COUNT || q->field.size ||
           q->by != JOB_BY_NOTHING;
}

/* What is read from a snapshot, as what a map is fed: a collection's items have the same form. */
static void feed_records(struct task_attempt *a, bool values)
{
    struct reader r = reader_of(buf_bytes(&a->records_read));
    struct cut_record rec;
    while (!a->failed && cut_record_next(&r, !values, &rec)) {
        struct record to = {.type = (uint8_t)record_type_of(rec.type), .count = 1, .key = rec.key};
        if (rec.type == OBJECT_STRING) {
            to.rest = rec.value;
        } else if (values) {
            to.count = (uint32_t)(rec.items / 2);
            to.rest = bytes_of(rec.item.at, (size_t)(r.at - rec.item.at));
        }
        task_engine_record(a->engine, &to);
    }
    a->bytes_done += a->records_read.size;
    if (a->records_read.capacity > 4 * PIECE_BYTES)
        buf_deinit(&a->records_read);
    else
        buf_clear(&a->records_read);
}

static void read_piece(struct task_attempt *a)
{
    bool values = wants_values(&a->spec);
    struct cut_reading what = {.count = PIECE_KEYS,
                               .bytes_max = PIECE_BYTES,
                               .value_max = SNAPSHOT_VALUE_MAX,
                               .no_values = !values,
                               .wants = wants,
                               .ctx = a};
    switch (snapshot_piece(a->stream, &a->place, &what, &a->records_read)) {
    case SNAPSHOT_END: a->all_read = true; break;
    case SNAPSHOT_PIECE: break;
    case SNAPSHOT_E_TOO_LARGE:
        fails(a,
              "the value of key '%.*s' is larger than %u MiB, which no job can read; leave it out "
              "by MATCH",
              (int)(a->key.size < 100 ? a->key.size : 100), (const char *)a->key.data,
              SNAPSHOT_VALUE_MAX >> 20);
        return;
    default: fails(a, "the storage engine failed to read the snapshot"); return;
    }
    feed_records(a, values);
}

void attempt_run_map(struct task_attempt *a)
{
    begin(a);
    if (!a->stream) a->all_read = true;
    uint64_t bytes = a->bytes_done;
    for (uint32_t i = 0; i < STEP_KEYS / PIECE_KEYS && !a->all_read && !a->failed &&
                         a->bytes_done - bytes < STEP_BYTES && task_engine_has_room(a->engine);
         i++)
        read_piece(a);
    if (a->failed) return;
    if (a->all_read)
        end_input(a);
    else
        pump(a, task_engine_has_room(a->engine) ? 0 : PUMP_MS);
}

/* ---- reduces ---- */

size_t pairs_whole(struct bytes s, size_t max)
{
    struct reader r = reader_of(s);
    size_t whole = 0;
    while (reader_left(&r)) {
        (void)reader_blob(&r), (void)reader_blob(&r);
        size_t at = s.size - reader_left(&r);
        if (r.bad || (whole && at > max)) break;
        whole = at;
    }
    return whole;
}

/* What is here comes from the output itself. */
static void read_local(struct task_attempt *a, struct fetch *f)
{
    if (f->whole) return;
    if (!job_output_read(f->local, a->task - a->maps, f->offset, JOB_PIECE_BYTES, &f->taken,
                         &f->whole)) {
        fails(a, "the output of map %u, on this node, cannot be read", f->map);
        return;
    }
    f->offset += f->taken.size - f->left;
}

static bool feed_from(struct task_attempt *a, struct fetch *f)
{
    if (f->local) read_local(a, f);
    size_t whole = pairs_whole(buf_bytes(&f->taken), SIZE_MAX);
    task_engine_feed(a->engine, bytes_of(f->taken.data, whole));
    a->bytes_done += whole;
    buf_drop_front(&f->taken, whole);
    f->left = f->taken.size;
    if (f->whole && f->left) fails(a, "the output of map %u broke off", f->map);
    return f->local && !f->whole;
}

/* Something of each that there is something of. */
static void feed_fetches(struct task_attempt *a)
{
    bool more = false;
    for (int i = 0; i < TASK_FETCHES && !a->failed; i++) {
        struct fetch *f = &a->fetch[i];
        if (!f->open || f->fed || !(f->local || f->taken.size > f->left || f->whole)) continue;
        if (!task_engine_has_room(a->engine)) {
            more = true;
            break;
        }
        more |= feed_from(a, f);
        f->fed = f->whole;
    }
    a->more = more;
}

void attempt_run_reduce(struct task_attempt *a)
{
    begin(a);
    for (int i = 0; i < STEP_PIECES && !a->failed; i++) {
        feed_fetches(a);
        if (!a->more || !task_engine_has_room(a->engine)) break;
    }
    if (a->failed) return;
    if (a->no_more_maps && !a->more)
        end_input(a);
    else
        pump(a, task_engine_has_room(a->engine) ? 0 : PUMP_MS);
}

/* ---- staging ---- */

/* The next piece: whole pairs, as many as go into one, but at least one. */
void attempt_read_staged(struct task_attempt *a)
{
    bool end;
    buf_clear(&a->pairs);
    for (size_t max = JOB_STAGE_BYTES;; max = JOB_PAIR_MAX + 64) {
        buf_clear(&a->pairs);
        if (!job_output_read(a->output, 0, a->staged, max, &a->pairs, &end)) {
            fails(a, "the output of the reduce cannot be read again");
            return;
        }
        size_t whole = pairs_whole(buf_bytes(&a->pairs), JOB_STAGE_BYTES);
        if (whole || end) {
            a->pairs.size = whole;
            break;
        }
        if (max > JOB_STAGE_BYTES) break;
    }
    if (a->pairs.size > JOB_PAIR_MAX || (!a->pairs.size && !end))
        fails(a, "a pair of the result is larger than %u MiB; emit less under one key",
              JOB_PAIR_MAX >> 20);
}
