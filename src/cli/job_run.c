/* One job, from its words to its rows. */
#include "cli/job_run.h"

#include "cli/ask.h"
#include "cli/clock.h"
#include "cli/job_bars.h"
#include "cli/job_result.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define LOOK_MS         100
#define RESULT_AGAIN_MS 5000

int job_run_refused(const struct client_reply *r, const char *name)
{
    if (!r) return EXIT_FAILED; /* link_ask has said it */
    if (client_reply_failed(r, "NOJOB"))
        return cli_fail("there is no job '%s'; `synod job list` and `synod job history` show which "
                        "there are",
                        name);
    if (r->type == CLIENT_ERROR) return ask_failed(r);
    return cli_fail("the node answers something else than is expected of JOB; is it of the same "
                    "version?");
}

int job_run_submit(struct link *l, const struct job_words *w)
{
    const struct client_reply *r = link_ask(l, LINK_SILENT_MS, w->count, w->word);
    if (r && r->type == CLIENT_BULK) return EXIT_DONE;
    return job_run_refused(r, w->name);
}

/* ---- watching ---- */

/* While this is open, Ctrl-C ends the watching and not the program. */
static int interrupt_open(sigset_t *old)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, old);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void interrupt_close(int fd, const sigset_t *old)
{
    struct signalfd_siginfo taken;
    while (fd >= 0 && read(fd, &taken, sizeof taken) > 0) continue;
    if (fd >= 0) close(fd);
    sigprocmask(SIG_SETMASK, old, NULL);
}

static void say(void *bars, const char *line)
{
    job_bars_say(bars, line);
}

static int interrupted(const struct job_watch *w)
{
    fprintf(stderr,
            "\nThe job goes on. `synod job wait %s` watches it again, `synod job result %s` shows "
            "what it gave, `synod job cancel %s` ends it.\n",
            w->name, w->name, w->name);
    return JOB_INTERRUPTED;
}

static int watch_turn(struct link *l, struct job_watch *w, struct job_bars *b)
{
    const struct client_reply *r = link_askf(l, "STATUS", w->name);
    if (l->stopped) return interrupted(w);
    if (!r || !job_view_read(r, &w->view)) return job_run_refused(r, w->name);
    job_bars_show(b, &w->view, clock_ms());
    return w->turn && !w->turn(w->ctx, &w->view) ? EXIT_FAILED : EXIT_DONE;
}

static void say_how_it_went(const struct job_watch *w)
{
    const struct job_view *v = &w->view;
    fprintf(w->bars, "%s after %.1f s: %lld records, %.1f MB", v->state, (double)v->spent_ms / 1000,
            (long long)v->records, (double)v->bytes / 1e6);
    if (v->failures)
        fprintf(w->bars, "; %lld attempt%s failed and %s made again", (long long)v->failures,
                v->failures == 1 ? "" : "s", v->failures == 1 ? "was" : "were");
    fputc('\n', w->bars);
    fflush(w->bars);
}

static int how_it_ended(const struct job_watch *w)
{
    const struct job_view *v = &w->view;
    if (job_view_done(v)) {
        say_how_it_went(w);
        return EXIT_DONE;
    }
    if (strcmp(v->state, "cancelled") == 0) return cli_fail("job %s was cancelled", w->name);
    return cli_fail("job %s failed: %s (`synod job log %s` has more)", w->name,
                    v->error[0] ? v->error : "no reason is given", w->name);
}

int job_run_watch(struct link *l, struct job_watch *w)
{
    struct job_bars bars;
    sigset_t old;
    uint64_t began = clock_ms();
    bool late = false;
    int status = EXIT_DONE;
    job_bars_begin(&bars, w->bars);
    l->stop_fd = interrupt_open(&old);
    l->say = say, l->ctx = &bars;
    while (status == EXIT_DONE && !job_view_over(&w->view) && !late) {
        if (w->view.state[0]) sleep_ms(LOOK_MS);
        status = watch_turn(l, w, &bars);
        late = w->timeout_ms && clock_ms() - began > w->timeout_ms;
    }
    job_bars_end(&bars);
    interrupt_close(l->stop_fd, &old);
    l->stop_fd = -1;
    l->say = NULL;
    if (status != EXIT_DONE) return status;
    if (job_view_over(&w->view)) return how_it_ended(w);
    return cli_fail("job %s has not ended after %llu s; it goes on", w->name,
                    (unsigned long long)w->timeout_ms / 1000);
}

/* ---- the result ---- */

/* JOBRUNS: the node that is asked now may be behind the one that said DONE. */
const struct client_reply *job_run_result(struct link *l, const char *name)
{
    uint64_t until = clock_ms() + RESULT_AGAIN_MS;
    const struct client_reply *r = link_askf(l, "RESULT", name);
    while (client_reply_failed(r, "JOBRUNS") && clock_ms() < until) {
        sleep_ms(LOOK_MS);
        r = link_askf(l, "RESULT", name);
    }
    if (r && r->type == CLIENT_ARRAY) return r;
    (void)job_run_refused(r, name);
    return NULL;
}

int job_run_show(struct link *l, const char *name, size_t rows_max, bool json)
{
    struct job_result result;
    struct buf text = {0};
    const struct client_reply *r = job_run_result(l, name);
    if (!r) return EXIT_FAILED;
    if (!job_result_read(r, &result)) return job_run_refused(r, name);
    if (json)
        job_result_json(&result, stdout);
    else
        job_result_table(&result, rows_max, &text);
    fwrite(text.data, 1, text.size, stdout);
    buf_deinit(&text);
    return EXIT_DONE;
}

int job_run_forget(struct link *l, const char *name)
{
    const struct client_reply *r = link_askf(l, "FORGET", name);
    if (r && (r->type == CLIENT_STATUS || client_reply_failed(r, "NOJOB"))) return EXIT_DONE;
    return job_run_refused(r, name);
}
