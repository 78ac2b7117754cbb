#include "job/task_run.h"
#include "job/aggregate.h"
#include "job/lua_task.h"
#include "job/task_value.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

struct task_run {
    struct task_run_options o;
    struct buf stream; /* what is left of the input */
    struct buf out;
    uint32_t out_partition;
    struct lua_task *lua;
    struct aggregate *query;
    struct task_counts counts;
    bool failed;
    char error[TASK_ERROR_MAX];
};

static bool fail(struct task_run *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fail(struct task_run *t, const char *format, ...)
{
    va_list args;
    if (t->failed) return false;
    t->failed = true;
    va_start(args, format);
    (void)vsnprintf(t->error, sizeof t->error, format, args);
    va_end(args);
    return false;
}

/* ---- output ---- */

static bool flush_out(struct task_run *t, char *why)
{
    bool good = !t->out.size || t->o.out(t->o.ctx, t->out_partition, buf_bytes(&t->out), why);
    buf_clear(&t->out);
    return good;
}

static bool put_pair(void *ctx, uint32_t partition, struct bytes key, struct bytes value, char *why)
{
    struct task_run *t = ctx;
    if (t->out.size &&
        (partition != t->out_partition || t->out.size + key.size + value.size > TASK_OUT_BYTES) &&
        !flush_out(t, why))
        return false;
    t->out_partition = partition;
    size_t was = t->out.size;
    buf_blob(&t->out, key);
    buf_blob(&t->out, value);
    t->counts.pairs_out++;
    t->counts.bytes_out += t->out.size - was;
    if (t->counts.bytes_out <= t->o.spec->limits.output || !t->o.task.reduces) return true;
    (void)snprintf(why, LUA_TASK_ERROR_MAX,
                   "the output is more than %llu bytes; raise LIMITS OUTPUT, or emit less",
                   (unsigned long long)t->o.spec->limits.output);
    return false;
}

/* ---- queries ---- */

static bool query_result(struct task_run *t, enum aggregate_result result, const char *what)
{
    if (result == AGGREGATE_OK) return true;
    if (result == AGGREGATE_E_CORRUPT)
        return fail(t, "%s came damaged (task %u)", what, t->o.task.task);
    return fail(t,
                "the query needs more memory than %llu bytes (task %u, attempt %u); raise LIMITS "
                "MEMORY, or narrow MATCH",
                (unsigned long long)t->o.spec->limits.memory, t->o.task.task, t->o.task.attempt);
}

static bool query_partials(struct task_run *t)
{
    struct buf value = {0};
    char why[TASK_ERROR_MAX];
    bool good = true;
    for (uint32_t p = 0; good && p < t->o.task.partitions; p++) {
        buf_clear(&value);
        buf_u8(&value, TASK_PARTIAL);
        aggregate_encode(t->query, p, t->o.task.partitions, &value);
        if (value.size > SORTER_VALUE_MAX)
            good = fail(
                t, "a partial result is over 64 MiB; ask for more PARTITIONS, or narrow MATCH");
        else if (value.size > 1 && !put_pair(t, p, (struct bytes){0}, buf_bytes(&value), why))
            good = fail(t, "%s", why);
    }
    buf_deinit(&value);
    return good;
}

static void query_row(void *ctx, const struct aggregate_row *row)
{
    struct task_run *t = ctx;
    struct buf value = {0};
    char why[TASK_ERROR_MAX];
    if (t->failed) return;
    buf_u8(&value, TASK_ROW);
    buf_u8(&value, row->note);
    for (int i = 1; i < row->count; i++) buf_blob(&value, row->cell[i]);
    if (!put_pair(t, 0, row->cell[0], buf_bytes(&value), why)) (void)fail(t, "%s", why);
    buf_deinit(&value);
}

/* ---- input ---- */

bool task_run_record(struct task_run *t, const struct record *r)
{
    if (t->failed) return false;
    t->counts.records += !r->further;
    if (t->query) return query_result(t, aggregate_feed(t->query, r), "a record");
    return lua_task_record(t->lua, r) || fail(t, "%s", lua_task_error(t->lua));
}

static bool one_pair(struct task_run *t, struct bytes key, struct bytes value)
{
    struct task_value v;
    t->counts.records++;
    if (!t->query)
        return lua_task_pair(t->lua, key, value) || fail(t, "%s", lua_task_error(t->lua));
    if (!task_value_get(value, &v) || v.kind != TASK_PARTIAL)
        return query_result(t, AGGREGATE_E_CORRUPT, "a partial");
    return query_result(t, aggregate_merge(t->query, v.bytes), "a partial");
}

/* All whole pairs off the front. A length above its bound is no length. */
static bool eat_pairs(struct task_run *t, struct bytes *s)
{
    for (;;) {
        struct reader r = reader_of(*s);
        struct bytes key = reader_blob(&r), value = reader_blob(&r);
        if (r.bad) return s->size <= TASK_INPUT_MAX || fail(t, "the input came damaged");
        if (!one_pair(t, key, value)) return false;
        *s = bytes_of(r.at, reader_left(&r));
    }
}

static bool eat_records(struct task_run *t, struct bytes *s)
{
    struct record r;
    enum record_result result;
    while ((result = record_next(s, &r)) == RECORD_OK)
        if (!task_run_record(t, &r)) return false;
    return result == RECORD_PARTIAL || fail(t, "the input came damaged");
}

/* What is left over waits for the next piece. */
bool task_run_feed(struct task_run *t, struct bytes piece)
{
    struct bytes s = piece;
    if (t->failed) return false;
    t->counts.bytes += piece.size;
    if (t->stream.size) {
        buf_append_bytes(&t->stream, piece);
        s = buf_bytes(&t->stream);
    }
    bool good = t->o.task.reduces ? eat_pairs(t, &s) : eat_records(t, &s);
    if (t->stream.size)
        buf_drop_front(&t->stream, t->stream.size - s.size);
    else
        buf_append_bytes(&t->stream, s);
    return good;
}

bool task_run_end(struct task_run *t)
{
    char why[TASK_ERROR_MAX];
    if (t->failed) return false;
    if (t->stream.size) return fail(t, "the input broke off in the midst of a record");
    if (t->o.spec->kind == JOB_KIND_TASKS && !t->o.task.reduces &&
        !lua_task_number(t->lua, t->o.task.tasks))
        return fail(t, "%s", lua_task_error(t->lua));
    if (t->lua && !lua_task_end(t->lua)) return fail(t, "%s", lua_task_error(t->lua));
    if (t->query && !t->o.task.reduces && !query_partials(t)) return false;
    if (t->query && t->o.task.reduces) aggregate_finish(t->query, query_row, t);
    if (t->failed) return false;
    return flush_out(t, why) || fail(t, "%s", why);
}

/* ---- life ---- */

struct task_run *task_run_new(const struct task_run_options *o)
{
    struct task_run *t = mem_zalloc(sizeof *t);
    const struct job_limits *l = &o->spec->limits;
    t->o = *o;
    if (o->spec->kind == JOB_KIND_QUERY) {
        t->query = aggregate_new(o->spec, l->memory / 2); /* buffers double */
        return t;
    }
    t->lua = lua_task_new(&(struct lua_task_options){.spec = o->spec,
                                                     .reduces = o->task.reduces,
                                                     .task = o->task.task,
                                                     .attempt = o->task.attempt,
                                                     .partitions = o->task.partitions,
                                                     .memory_max = l->memory,
                                                     .spill_fd = o->spill_fd,
                                                     .spill_max = l->spill,
                                                     .out = put_pair,
                                                     .ctx = t});
    if (lua_task_error(t->lua)) (void)fail(t, "%s", lua_task_error(t->lua));
    return t;
}

void task_run_free(struct task_run *t)
{
    if (!t) return;
    lua_task_free(t->lua);
    aggregate_free(t->query);
    buf_deinit(&t->stream);
    buf_deinit(&t->out);
    mem_free(t);
}

const char *task_run_error(const struct task_run *t)
{
    return t->failed ? t->error : NULL;
}

const struct task_counts *task_run_counts(const struct task_run *t)
{
    return &t->counts;
}

uint64_t task_run_spilled(const struct task_run *t)
{
    return t->lua ? lua_task_spilled(t->lua) : 0;
}
