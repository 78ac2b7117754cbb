/* host: turns, timers, threads, signals, descriptors that run out, and the choice of a backend. */
#include "world.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

struct clockwork {
    struct host *host;
    uint64_t deadline;
    int early, turns;
};

static uint64_t clockwork_turn(void *ctx, uint64_t now)
{
    struct clockwork *c = ctx;
    c->turns++;
    if (now >= c->deadline)
        host_stop(c->host);
    else
        c->early++;
    return c->deadline;
}

BOTH(a_turn_comes_at_the_deadline_and_not_again_and_again_before)
{
    struct world w = {0};
    world_start(&w, backend, NULL);
    struct clockwork c = {.host = w.host};
    w.io->client = (struct io_client){clockwork_turn, &c};
    static const uint64_t wait_us[] = {0, 50, 900, 30000};
    for (size_t i = 0; i < sizeof wait_us / sizeof *wait_us; i++) {
        c.turns = c.early = 0;
        c.deadline = io_now(w.io) + wait_us[i] * 1000;
        host_run(w.host);
        assert_true(io_now(w.io) >= c.deadline);
        assert_true(c.early <= 5); /* it slept; a spinning loop has thousands */
    }
    world_end(&w);
}

static uint64_t past_turn(void *ctx, uint64_t now)
{
    struct clockwork *c = ctx;
    if (++c->turns == 1000) host_stop(c->host);
    return now - 1;
}

BOTH(a_deadline_in_the_past_means_do_not_sleep)
{
    struct world w = {0};
    world_start(&w, backend, NULL);
    struct clockwork c = {.host = w.host};
    w.io->client = (struct io_client){past_turn, &c};
    host_run(w.host);
    assert_int_equal(c.turns, 1000);
    world_end(&w);
}

/* ---- threads ---- */

struct task {
    struct io_work work;
    struct tasks *all;
    pthread_t ran_on;
    int ran, done;
};

struct tasks {
    struct task task[100];
    pthread_t reactor;
    int done;
    bool wrong, inside;
};

static void task_run(void *ctx)
{
    struct task *t = ctx;
    t->ran++;
    t->ran_on = pthread_self();
}

static void task_done(void *ctx)
{
    struct task *t = ctx;
    t->done++;
    t->all->done++;
    if (t->ran != 1 || t->done != 1 || t->all->inside ||
        !pthread_equal(pthread_self(), t->all->reactor) ||
        pthread_equal(t->ran_on, t->all->reactor))
        t->all->wrong = true;
}

static bool tasks_are_done(void *ctx)
{
    return ((struct tasks *)ctx)->done == 100;
}

BOTH(work_runs_on_a_pool_thread_and_is_done_on_the_reactor_once)
{
    struct world w = {0};
    struct tasks all = {.reactor = pthread_self(), .inside = true};
    world_start(&w, backend, NULL);
    for (int i = 0; i < 100; i++) {
        all.task[i] = (struct task){.work = {task_run, task_done, &all.task[i]}, .all = &all};
        io_work(w.io, &all.task[i].work);
    }
    all.inside = false;
    world_run(&w, tasks_are_done, &all);
    assert_false(all.wrong);
    world_end(&w);
}

struct batch {
    struct io_work work[5], quick;
    atomic_bool quick_ran, wrong;
    int done;
};

/* Until other work has run: were that to wait for these, nothing would ever end. */
static void batch_run(void *ctx)
{
    struct batch *b = ctx;
    if (sched_getscheduler(gettid()) != SCHED_IDLE) atomic_store(&b->wrong, true);
    while (!atomic_load(&b->quick_ran)) usleep(1000);
}

static void quick_run(void *ctx)
{
    struct batch *b = ctx;
    if (sched_getscheduler(gettid()) != SCHED_OTHER) atomic_store(&b->wrong, true);
    atomic_store(&b->quick_ran, true);
}

static void batch_done(void *ctx)
{
    struct batch *b = ctx;
    b->done += atomic_load(&b->quick_ran);
}

static bool batch_is_done(void *ctx)
{
    return ((struct batch *)ctx)->done == 6;
}

BOTH(batch_work_keeps_no_other_work_waiting_and_has_a_low_priority)
{
    struct world w = {0};
    struct batch b = {0};
    world_start(&w, backend, NULL);
    for (int i = 0; i < 5; i++) {
        b.work[i] = (struct io_work){batch_run, batch_done, &b, .batch = true};
        io_work(w.io, &b.work[i]);
    }
    usleep(50000); /* they have all threads that they can get */
    b.quick = (struct io_work){quick_run, batch_done, &b};
    io_work(w.io, &b.quick);
    world_run(&w, batch_is_done, &b);
    assert_false(b.wrong);
    assert_int_equal(sched_getscheduler(gettid()), SCHED_OTHER);
    world_end(&w);
}

static void task_sleeps(void *ctx)
{
    (void)ctx;
    usleep(20000);
}

static void task_never_done(void *ctx)
{
    *(bool *)ctx = true;
}

BOTH(work_that_is_under_way_when_the_host_is_freed_is_never_done)
{
    struct world w = {0};
    bool done = false;
    struct io_work work[5];
    world_start(&w, backend, NULL);
    for (int i = 0; i < 5; i++) {
        work[i] = (struct io_work){task_sleeps, task_never_done, &done};
        io_work(w.io, &work[i]);
    }
    world_end(&w);
    assert_false(done);
}

struct waker {
    struct host *host;
    atomic_bool asked;
    atomic_int heard;
    int target;
};

static uint64_t waker_turn(void *ctx, uint64_t now)
{
    struct waker *k = ctx;
    (void)now;
    if (!atomic_exchange(&k->asked, false)) return UINT64_MAX;
    if (atomic_fetch_add(&k->heard, 1) + 1 == k->target) host_stop(k->host);
    return UINT64_MAX;
}

static void *waker_thread(void *ctx)
{
    struct waker *k = ctx;
    for (int i = 0; i < k->target; i++) {
        atomic_store(&k->asked, true);
        io_wake(host_io(k->host));
        while (atomic_load(&k->heard) <= i) sched_yield(); /* hangs here if a wake is ever lost */
    }
    return NULL;
}

BOTH(no_wake_from_another_thread_is_lost)
{
    struct world w = {0};
    pthread_t thread;
    world_start(&w, backend, NULL);
    struct waker k = {.host = w.host, .target = 3000};
    w.io->client = (struct io_client){waker_turn, &k};
    alarm(60);
    assert_int_equal(pthread_create(&thread, NULL, waker_thread, &k), 0);
    host_run(w.host);
    pthread_join(thread, NULL);
    alarm(0);
    assert_int_equal(k.heard, 3000);
    world_end(&w);
}

static struct host *signalled;

static void on_signal(int number)
{
    (void)number;
    host_stop(signalled);
}

static uint64_t signal_turn(void *ctx, uint64_t now)
{
    bool *sent = ctx;
    (void)now;
    if (!*sent) {
        struct itimerval soon = {.it_value = {0, 20000}};
        *sent = true;
        setitimer(ITIMER_REAL, &soon, NULL);
    }
    return UINT64_MAX;
}

BOTH(a_signal_handler_may_stop_a_sleeping_host_and_it_may_run_again)
{
    struct world w = {0};
    bool sent = false;
    world_start(&w, backend, NULL);
    signalled = w.host;
    signal(SIGALRM, on_signal);
    w.io->client = (struct io_client){signal_turn, &sent};
    host_run(w.host);
    assert_true(sent);
    sent = false;
    host_run(w.host);
    assert_true(sent);
    signal(SIGALRM, SIG_DFL);
    host_stop(w.host); /* before it runs: not forgotten */
    sent = true;
    host_run(w.host);
    world_end(&w);
}

/* ---- descriptors ---- */

struct crowd {
    int opened;
};

static void crowd_opened(void *ctx, struct io_conn *c)
{
    ((struct crowd *)ctx)->opened++;
    (void)c;
}
static size_t crowd_data(void *ctx, struct io_conn *c, struct bytes in)
{
    (void)ctx, (void)c;
    return in.size;
}
static void crowd_closed(void *ctx, struct io_conn *c, int error)
{
    (void)ctx, (void)c, (void)error;
}
static const struct io_handler crowd_handler = {crowd_opened, crowd_data, NULL, crowd_closed};

static bool crowd_is_in(void *ctx)
{
    return ((struct crowd *)ctx)->opened == 20;
}

struct later {
    struct io *io;
    uint64_t end;
};

static bool later_is_now(void *ctx)
{
    struct later *l = ctx;
    return io_now(l->io) >= l->end;
}

BOTH(when_descriptors_run_out_accepting_pauses_and_goes_on)
{
    struct world w = {0};
    struct crowd crowd = {0};
    struct rlimit old, tight;
    char address[32];
    world_start(&w, backend, NULL);
    world_listen(&w, &crowd_handler, &crowd, address);
    pid_t pid = fork(); /* the clients have descriptors of their own */
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int i = 0; i < 20; i++) (void)world_socket(address);
        pause();
    }
    int next = dup(0); /* io_uring takes the limit that holds when accepting is armed, so it is set
                          before the first turn */
    close(next);
    getrlimit(RLIMIT_NOFILE, &old);
    tight = (struct rlimit){(rlim_t)next + 5, old.rlim_max};
    setrlimit(RLIMIT_NOFILE, &tight);
    struct later l = {w.io, io_now(w.io) + 350 * 1000000ull};
    world_run(&w, later_is_now, &l);
    struct host_stats stats;
    host_stats(w.host, &stats);
    assert_in_range(crowd.opened, 1, 5);
    assert_true(stats.accept_pauses >= 2 && stats.accept_pauses <= 10);

    setrlimit(RLIMIT_NOFILE, &old);
    world_run(&w, crowd_is_in, &crowd);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    world_end(&w);
}

/* ---- the choice of a backend ---- */

static void keep_line(void *ctx, const char *line)
{
    char *kept = ctx;
    strcat(kept, line);
    strcat(kept, "\n");
}

static int forbid_io_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int forbidden_child(void)
{
    char kept[1024] = "", error[256] = "";
    struct host_options options = {.log = keep_line, .log_ctx = kept};
    if (forbid_io_uring() != 0) return 77;
    struct host *h = host_new(&options, error, sizeof error);
    if (!h || strcmp(host_backend_name(h), "epoll") != 0) return 1;
    char *end = strchr(kept, '\n');
    if (!end || end[1] != 0 || !strstr(kept, "Operation not permitted") ||
        !strstr(kept, "using epoll"))
        return 2;
    struct clockwork c = {.host = h, .deadline = io_now(host_io(h)) + 1000000};
    host_io(h)->client = (struct io_client){clockwork_turn, &c};
    host_run(h);
    host_free(h);

    options.backend = HOST_URING;
    h = host_new(&options, error, sizeof error);
    return h || !strstr(error, "io_uring cannot be used") ? 3 : 0;
}

TEST(where_io_uring_is_forbidden_epoll_serves_and_one_line_says_so)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) _exit(forbidden_child());
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

TEST(auto_takes_io_uring_where_it_may)
{
    char error[256];
    struct host_options options = {0};
    if (!world_has_uring()) skip();
    struct host *h = host_new(&options, error, sizeof error);
    assert_string_equal(host_backend_name(h), "io_uring");
    host_free(h);
}

TEST(random_numbers_differ_and_the_wall_clock_is_of_our_time)
{
    struct world w = {0};
    world_start(&w, HOST_EPOLL, NULL);
    assert_true(io_random(w.io) != io_random(w.io));
    assert_true(io_wall_ms(w.io) > 1600000000000);
    world_end(&w);
}

TEST_MAIN
