#include "worker_rig.h"
#include "test.h"
#include "base/mem.h"
#include "job/nursery.h"
#include "job/task_value.h"

#include <poll.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct job_spec rig_spec(const char *const *word, size_t count)
{
    struct bytes arg[40];
    struct job_spec s;
    struct job_spec_error e = {{0}};
    for (size_t i = 0; i < count; i++) arg[i] = bytes_str(word[i]);
    if (!job_spec_submit(arg, count, &s, &e)) fail_msg("%s", e.text);
    return s;
}

static void note_memory(struct worker *w, struct rig_result *r)
{
    char path[64], line[200];
    unsigned long kib = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/status", worker_pid(w));
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lu", &kib) == 1 && kib > r->rss_kib_max) r->rss_kib_max = kib;
    if (f) (void)fclose(f);
}

/* False: it has ended. */
static bool on_event(struct worker *w, const struct worker_event *ev, struct rig_result *r)
{
    switch (ev->type) {
    case WORKER_EV_OUT:
        assert_true(ev->partition < RIG_PARTITIONS_MAX);
        buf_append_bytes(&r->pairs[ev->partition], ev->pairs);
        return true;
    case WORKER_EV_PROGRESS:
        r->progress++;
        r->spilled = ev->spilled;
        note_memory(w, r);
        return true;
    case WORKER_EV_DONE:
        r->done = true;
        r->last = *ev;
        note_memory(w, r);
        return false;
    default:
        r->user = ev->user;
        (void)snprintf(r->error, sizeof r->error, "%s", ev->error);
        return false;
    }
}

static void feed(struct worker *w, struct bytes *input, bool *ended, uint64_t *fed,
                 uint64_t kill_after)
{
    size_t n = worker_room(w) < input->size ? worker_room(w) : input->size;
    worker_input(w, bytes_of(input->data, n));
    *input = bytes_of(input->data + n, input->size - n);
    *fed += n;
    if (kill_after && *fed >= kill_after) worker_kill(w);
    if (!input->size && !*ended) {
        worker_end(w);
        *ended = true;
    }
    (void)worker_write(w);
}

struct nursery *rig_nursery(void)
{
    static struct nursery *nursery;
    assert_non_null(getenv("JOB_WORKER"));
    if (!nursery) nursery = nursery_new(getenv("JOB_WORKER"));
    return nursery;
}

struct rig_result rig_run(const struct job_spec *spec, const struct rig_options *o,
                          struct bytes input)
{
    struct rig_result r = {0};
    int spill = o->spill_fd ? o->spill_fd : worker_spill_open("/tmp");
    struct worker_options wo = {.nursery = rig_nursery(), .spill_fd = spill};
    struct worker_task task = {.task = o->task,
                               .attempt = o->attempt,
                               .tasks = spec->tasks,
                               .partitions = o->partitions ? o->partitions : 1,
                               .reduces = o->reduces};
    int timeout_ms = o->timeout_ms ? o->timeout_ms : 60000;
    int64_t end = now_ms() + timeout_ms;
    bool ended = false;
    uint64_t fed = 0;
    struct worker *w = worker_spawn(&wo, spec, &task, r.error);
    if (!w) fail_msg("%s", r.error);
    for (bool on = true; on;) {
        struct worker_event ev;
        if (now_ms() > end) fail_msg("the worker has not ended");
        feed(w, &input, &ended, &fed, o->kill_after);
        if (ended && o->deaf_ms && now_ms() < end - timeout_ms + o->deaf_ms) {
            (void)poll(NULL, 0, 10);
            continue;
        }
        struct pollfd p = {.fd = worker_fd(w),
                           .events = (short)(POLLIN | (worker_wants_write(w) ? POLLOUT : 0))};
        (void)poll(&p, 1, 100);
        if (ended) note_memory(w, &r); /* a fast one may never come to a heartbeat */
        while (on && (ev = worker_next(w)).type != WORKER_EV_NOTHING) on = on_event(w, &ev, &r);
    }
    worker_free(w);
    if (!o->spill_fd) (void)close(spill);
    return r;
}

void rig_free(struct rig_result *r)
{
    for (int i = 0; i < RIG_PARTITIONS_MAX; i++) buf_deinit(&r->pairs[i]);
}

static int by_line(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct buf rig_lines(const struct buf *pairs)
{
    struct buf out = {0};
    struct reader r = reader_of(buf_bytes(pairs));
    while (reader_left(&r)) {
        char text[40];
        struct task_value v;
        struct bytes key = reader_blob(&r), value = reader_blob(&r);
        assert_false(r.bad);
        assert_true(task_value_get(value, &v));
        if (v.kind == TASK_ROW && v.bytes.data[0]) continue; /* a note */
        struct bytes shown = task_value_text(&v, text);
        buf_printf(&out, "%.*s=%.*s\n", (int)key.size, (const char *)key.data, (int)shown.size,
                   (const char *)shown.data);
    }
    buf_u8(&out, 0);
    return out;
}

static struct buf sorted(struct buf lines)
{
    struct buf out = {0};
    char **line = mem_alloc((lines.size + 1) * sizeof *line);
    size_t n = 0;
    for (char *l = strtok((char *)lines.data, "\n"); l; l = strtok(NULL, "\n")) line[n++] = l;
    qsort(line, n, sizeof *line, by_line);
    for (size_t i = 0; i < n; i++) buf_printf(&out, "%s\n", line[i]);
    buf_u8(&out, 0);
    mem_free(line);
    buf_deinit(&lines);
    return out;
}

struct buf rig_job(const struct job_spec *spec, const struct bytes *input, uint32_t maps,
                   uint32_t partitions)
{
    struct buf in[RIG_PARTITIONS_MAX] = {{0}}, all = {0};
    for (uint32_t m = 0; m < maps; m++) {
        struct rig_result r =
            rig_run(spec, &(struct rig_options){.task = m, .attempt = 1, .partitions = partitions},
                    input ? input[m] : (struct bytes){0});
        if (!r.done) fail_msg("%s", r.error);
        for (uint32_t p = 0; p < partitions; p++) buf_append_bytes(&in[p], buf_bytes(&r.pairs[p]));
        rig_free(&r);
    }
    for (uint32_t p = 0; p < partitions; p++) {
        struct rig_result r =
            rig_run(spec, &(struct rig_options){.reduces = true, .task = p, .attempt = 1},
                    buf_bytes(&in[p]));
        if (!r.done) fail_msg("%s", r.error);
        buf_append_bytes(&all, buf_bytes(&r.pairs[0]));
        rig_free(&r);
        buf_deinit(&in[p]);
    }
    struct buf lines = rig_lines(&all);
    buf_deinit(&all);
    return sorted(lines);
}

char *rig_file(const char *path)
{
    char full[500];
    (void)snprintf(full, sizeof full, "%s/%s", getenv("SOURCE_ROOT"), path);
    FILE *f = fopen(full, "r");
    if (!f) fail_msg("no %s", full);
    char *text = mem_zalloc(1 << 20);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    assert_true(n > 0);
    (void)fclose(f);
    return text;
}
