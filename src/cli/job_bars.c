/* A job's steps as bars. */
#include "cli/job_bars.h"

#include "base/buf.h"
#include "cli/bar.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LINE_EVERY_MS   1000
#define SAMPLE_EVERY_MS 250
#define WIDTH_DEFAULT   100
#define NOTE_WIDTH      90 /* about: a narrower terminal gets a shorter bar */

static const char *const step_name[JOB_STEPS] = {"cut", "map", "reduce", "publish"};

void job_bars_begin(struct job_bars *b, FILE *out)
{
    struct winsize size;
    *b = (struct job_bars){.out = out, .width = WIDTH_DEFAULT, .step = JOB_STEPS + 1};
    b->tty = isatty(fileno(out));
    if (b->tty && ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        b->width = size.ws_col;
}

/* ---- figures ---- */

static void sample_take(struct job_bars *b, const struct job_view *v, uint64_t now_ms)
{
    unsigned last = (b->oldest + b->samples + JOB_BARS_SAMPLES - 1) % JOB_BARS_SAMPLES;
    if (b->samples && now_ms < b->sample[last].at_ms + SAMPLE_EVERY_MS) return;
    unsigned at = (b->oldest + b->samples) % JOB_BARS_SAMPLES;
    if (b->samples == JOB_BARS_SAMPLES)
        b->oldest = (b->oldest + 1) % JOB_BARS_SAMPLES;
    else
        b->samples++;
    b->sample[at].at_ms = now_ms;
    b->sample[at].records = v->records;
    b->sample[at].bytes = v->bytes;
}

/* A second, over the samples that are kept; 0 where a lost attempt has taken more away. */
static void rates(const struct job_bars *b, const struct job_view *v, uint64_t now_ms,
                  double *records, double *bytes)
{
    *records = *bytes = 0;
    if (b->samples == 0 || now_ms <= b->sample[b->oldest].at_ms) return;
    double s = (double)(now_ms - b->sample[b->oldest].at_ms) / 1000;
    int64_t more_records = v->records - b->sample[b->oldest].records;
    int64_t more_bytes = v->bytes - b->sample[b->oldest].bytes;
    if (more_records > 0) *records = (double)more_records / s;
    if (more_bytes > 0) *bytes = (double)more_bytes / s;
}

static void step_tasks(const struct job_view *v, unsigned step, int64_t *done, int64_t *total)
{
    *done = step == JOB_STEP_MAP ? v->maps_done : step == JOB_STEP_REDUCE ? v->reduces_done : 0;
    *total = step == JOB_STEP_MAP ? v->maps : step == JOB_STEP_REDUCE ? v->reduces : 1;
}

static void put_time_left(const struct job_bars *b, int64_t done, int64_t total, uint64_t now_ms,
                          struct buf *out)
{
    int64_t since = done - b->step_done;
    if (since <= 0 || done >= total) return;
    double s = (double)(now_ms - b->step_ms) / 1000 / (double)since * (double)(total - done);
    if (s < 90)
        buf_printf(out, "; about %.0f s to go", s < 1 ? 1 : s);
    else
        buf_printf(out, "; about %.0f min to go", s / 60);
}

static void put_note(const struct job_bars *b, const struct job_view *v, unsigned step,
                     uint64_t now_ms, struct buf *out)
{
    int64_t done, total;
    double records, bytes;
    step_tasks(v, step, &done, &total);
    if (step < b->step && b->took_ms[step]) {
        buf_printf(out, "%.1f s", (double)b->took_ms[step] / 1000);
    } else if (step == b->step && (step == JOB_STEP_MAP || step == JOB_STEP_REDUCE)) {
        rates(b, v, now_ms, &records, &bytes);
        buf_printf(out, "%lld of %lld tasks, %lld run", (long long)done, (long long)total,
                   (long long)v->running);
        put_time_left(b, done, total, now_ms, out);
        if (records > 0) buf_printf(out, "; %.0f records/s, %.1f MB/s", records, bytes / 1e6);
    }
}

static int percent_of(int64_t done, int64_t total)
{
    return total <= 0 ? 0 : done >= total ? 100 : (int)((double)done * 100 / (double)total);
}

/* How far the step is, in tasks: those before the job's are done, those after it have not begun. */
static void step_share(const struct job_bars *b, const struct job_view *v, unsigned step,
                       int64_t *done, int64_t *total)
{
    step_tasks(v, step, done, total);
    if (*total <= 0) *total = 1;
    if (step < b->step) *done = *total;
    if (step > b->step) *done = 0;
}

/* ---- drawing ---- */

static int bar_width(const struct job_bars *b)
{
    if (b->width >= NOTE_WIDTH + BAR_WIDTH) return BAR_WIDTH;
    return b->width >= NOTE_WIDTH + BAR_WIDTH / 2 ? BAR_WIDTH / 2 : BAR_WIDTH / 4;
}

static void put_line(const struct job_bars *b, const struct job_view *v, unsigned step,
                     uint64_t now_ms, struct buf *out)
{
    struct buf line = {0};
    char bar[BAR_WIDTH + 3];
    int64_t done, total;
    step_share(b, v, step, &done, &total);
    bar_text(bar, bar_width(b), (size_t)done, (size_t)total);
    buf_printf(&line, "%-10s %s %3d %%  ", step_name[step], bar, percent_of(done, total));
    put_note(b, v, step, now_ms, &line);
    buf_append(out, line.data, line.size < b->width ? line.size : b->width - 1);
    buf_append_bytes(out, BYTES("\033[K\n"));
    buf_deinit(&line);
}

static void draw(struct job_bars *b, const struct job_view *v, uint64_t now_ms)
{
    struct buf all = {0};
    if (b->lines) buf_printf(&all, "\r\033[%uA", b->lines);
    for (unsigned step = 0; step < JOB_STEPS; step++) put_line(b, v, step, now_ms, &all);
    fwrite(all.data, 1, all.size, b->out);
    b->lines = JOB_STEPS;
    buf_deinit(&all);
}

static void print(struct job_bars *b, const struct job_view *v, bool moved, uint64_t now_ms)
{
    struct buf note = {0};
    int64_t done, total;
    if (b->step >= JOB_STEPS || (!moved && now_ms < b->line_ms + LINE_EVERY_MS)) return;
    b->line_ms = now_ms;
    step_share(b, v, b->step, &done, &total);
    put_note(b, v, b->step, now_ms, &note);
    if (note.size)
        fprintf(b->out, "%-10s %3d %%  %.*s\n", step_name[b->step], percent_of(done, total),
                (int)note.size, (const char *)note.data);
    else
        fprintf(b->out, "%-10s %3d %%\n", step_name[b->step], percent_of(done, total));
    buf_deinit(&note);
}

static bool step_move(struct job_bars *b, const struct job_view *v, uint64_t now_ms)
{
    unsigned step = job_view_step(v);
    int64_t total;
    if (step == b->step) return false;
    bool first = b->step > JOB_STEPS;
    if (first) b->began_ms = now_ms;
    if (!first && b->step < JOB_STEPS) b->took_ms[b->step] = now_ms - b->step_ms;
    b->step = step;
    b->step_ms = now_ms;
    step_tasks(v, step, &b->step_done, &total);
    b->samples = b->oldest = 0;
    return true;
}

void job_bars_show(struct job_bars *b, const struct job_view *v, uint64_t now_ms)
{
    bool moved = step_move(b, v, now_ms);
    sample_take(b, v, now_ms);
    if (b->tty)
        draw(b, v, now_ms);
    else
        print(b, v, moved, now_ms);
    fflush(b->out);
}

void job_bars_say(struct job_bars *b, const char *line)
{
    if (b->lines)
        fprintf(b->out, "\r\033[%uA\033[J", b->lines); /* the next show draws them again */
    b->lines = 0;
    fprintf(b->out, "%s\n", line);
    fflush(b->out);
}

void job_bars_end(struct job_bars *b)
{
    b->lines = 0;
    fflush(b->out);
}
