/* synod sim: runs clusters in a simulated, failing world, a seed each, and says what it found and
 * what happened on the way.
 *
 * Seeds run in child processes, so that a failed assertion is a failed seed and not the end. */
#include "base/mutant.h"
#include "cli/clock.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "sim/sim.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS_MAX     64
#define SEED_SECONDS 600 /* a seed that takes longer has hung */

#ifdef SYNOD_MUTANTS
int mutant_active;
#endif

struct settings {
    struct sim_options run;
    uint64_t seed, seeds, ticks, nodes, jobs, soak_hours, drift;
    int mode;
    bool verbose, twice, first, quiet;
    const char *mutant;
};

/* ---- one seed ---- */

static void seed_run(const struct settings *s, uint64_t seed, struct sim_result *r)
{
    struct sim_options o = s->run;
    o.seed = seed;
    sim_run(&o, r);
    if (!s->twice || r->class != SIM_PASSED) return;
    struct sim_result again;
    sim_run(&o, &again);
    if (again.hash == r->hash && again.class == r->class && again.events == r->events) return;
    r->class = SIM_RANDOM;
    snprintf(r->why, sizeof r->why,
             "the same seed made two runs: %016llx of %llu events, %016llx of %llu events",
             (unsigned long long)r->hash, (unsigned long long)r->events,
             (unsigned long long)again.hash, (unsigned long long)again.events);
}

static void failure_print(const struct settings *s, uint64_t seed, const struct sim_result *r)
{
    printf("FAILED seed %llu: %s: %s\n", (unsigned long long)seed, sim_class_name(r->class),
           r->why);
    printf("  repeat: synod sim --seed %llu", (unsigned long long)seed);
    if (s->ticks) printf(" --ticks %llu", (unsigned long long)s->ticks);
    if (s->nodes) printf(" --nodes %llu", (unsigned long long)s->nodes);
    if (s->mode) printf(" --mode %s", sim_mode_names[s->mode]);
    if (s->drift) printf(" --drift %llu", (unsigned long long)s->drift);
    if (s->mutant) printf(" --mutant %s", s->mutant);
    if (r->class == SIM_RANDOM) printf(" --twice");
    printf("\n");
    (void)fflush(stdout);
}

/* ---- coverage ---- */

struct total {
    uint64_t passed, failed, events, virtual_ms;
    uint64_t by_class[SIM_CLASSES];
    struct sim_cover sum;
    struct sim_cover seeds; /* in how many seeds it happened at all */
};

static void total_add(struct total *t, const struct sim_result *r)
{
    if (r->class == SIM_PASSED)
        t->passed++;
    else
        t->failed++;
    t->by_class[r->class]++;
    t->events += r->events;
    t->virtual_ms += r->virtual_ms;
#define ADD(name)                                                                                  \
    t->sum.name += r->cover.name;                                                                  \
    t->seeds.name += r->cover.name > 0;
    SIM_COVER(ADD)
#undef ADD
}

static void total_print(const struct total *t, double seconds)
{
    int column = 0;
    printf("What happened (times, and in how many seeds; 0 is a blind spot):\n");
#define PRINT(name)                                                                                \
    printf("  %-18s%10llu %6llu%s", #name, (unsigned long long)t->sum.name,                        \
           (unsigned long long)t->seeds.name, ++column % 3 ? " " : "\n");
    SIM_COVER(PRINT)
#undef PRINT
    printf("%s%llu events, %.0f s of virtual time in %.1f s: %.1f seeds a second\n",
           column % 3 ? "\n" : "", (unsigned long long)t->events, (double)t->virtual_ms / 1000,
           seconds, (double)(t->passed + t->failed) / seconds);
    for (int c = 1; c < SIM_CLASSES; c++)
        if (t->by_class[c])
            printf("  %s: %llu\n", sim_class_name((enum sim_class)c),
                   (unsigned long long)t->by_class[c]);
    printf("%llu seeds passed, %llu failed\n", (unsigned long long)t->passed,
           (unsigned long long)t->failed);
}

/* ---- many seeds ---- */

struct job {
    pid_t pid; /* 0: none */
    int fd;
    uint64_t next; /* the seed that it is at */
};

static void job_body(const struct settings *s, uint64_t seed, uint64_t end, uint64_t stride, int fd)
{
    for (; seed < end; seed += stride) {
        struct sim_result r;
        alarm(SEED_SECONDS);
        seed_run(s, seed, &r);
        if (write(fd, &r, sizeof r) != (ssize_t)sizeof r) break;
    }
}

static bool job_start(const struct settings *s, struct job *j, uint64_t end, uint64_t stride)
{
    int fds[2];
    (void)fflush(stdout);
    if (pipe(fds) != 0) return false;
    j->pid = fork();
    if (j->pid < 0) return false;
    if (j->pid == 0) {
        close(fds[0]);
        job_body(s, j->next, end, stride, fds[1]);
        (void)fflush(stdout);
        _exit(0);
    }
    close(fds[1]);
    j->fd = fds[0];
    return true;
}

/* Reads one whole result; false: the job ended. */
static bool job_read(struct job *j, struct sim_result *r)
{
    size_t have = 0;
    while (have < sizeof *r) {
        ssize_t n = read(j->fd, (char *)r + have, sizeof *r - have);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        have += (size_t)n;
    }
    return true;
}

/* The job ended at seed j->next: killed by an assertion, or done. */
static bool job_ended(struct job *j, uint64_t end, struct sim_result *r)
{
    int status = 0;
    close(j->fd);
    while (waitpid(j->pid, &status, 0) < 0 && errno == EINTR) continue;
    j->pid = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && j->next >= end) return false;
    memset(r, 0, sizeof *r);
    r->class = SIM_ASSERTED;
    if (WIFSIGNALED(status))
        snprintf(r->why, sizeof r->why, "%s (signal %d; its last words are above)",
                 WTERMSIG(status) == SIGALRM ? "hung" : "crashed", WTERMSIG(status));
    else
        snprintf(r->why, sizeof r->why, "exited with %d", WEXITSTATUS(status));
    return true;
}

static double seconds_now(void)
{
    return (double)clock_ns() / 1e9;
}

static void progress(const struct settings *s, const struct total *t, double *last)
{
    double now = seconds_now();
    if (s->quiet || now - *last < 10) return;
    *last = now;
    printf("  ... %llu passed, %llu failed\n", (unsigned long long)t->passed,
           (unsigned long long)t->failed);
    (void)fflush(stdout);
}

/* Runs seeds [s->seed, end). */
static void seeds_run(const struct settings *s, uint64_t end, double deadline, struct total *t)
{
    struct job jobs[JOBS_MAX];
    uint64_t stride = s->jobs;
    double last = seconds_now();
    bool stop = false;
    for (uint64_t i = 0; i < stride; i++) {
        jobs[i] = (struct job){.next = s->seed + i};
        if (jobs[i].next < end && !job_start(s, &jobs[i], end, stride)) return;
    }
    for (;;) {
        struct pollfd fds[JOBS_MAX];
        nfds_t count = 0;
        for (uint64_t i = 0; i < stride; i++)
            if (jobs[i].pid) fds[count++] = (struct pollfd){.fd = jobs[i].fd, .events = POLLIN};
        if (count == 0) break;
        if (poll(fds, count, 1000) < 0 && errno != EINTR) break;
        nfds_t at = 0;
        for (uint64_t i = 0; i < stride; i++) {
            struct job *j = &jobs[i];
            struct sim_result r;
            if (!j->pid || !fds[at++].revents) continue;
            bool again = false;
            if (!job_read(j, &r)) {
                if (!job_ended(j, end, &r)) continue;
                again = j->next + stride < end && !stop;
            }
            total_add(t, &r);
            if (r.class != SIM_PASSED) {
                failure_print(s, j->next, &r);
                stop = stop || s->first;
            }
            j->next += stride;
            if (again && !job_start(s, j, end, stride)) stop = true;
        }
        progress(s, t, &last);
        if (stop || (deadline > 0 && seconds_now() > deadline)) break;
    }
    for (uint64_t i = 0; i < stride; i++) {
        if (!jobs[i].pid) continue;
        kill(jobs[i].pid, SIGKILL);
        close(jobs[i].fd);
        while (waitpid(jobs[i].pid, NULL, 0) < 0 && errno == EINTR) continue;
    }
}

/* ---- the command ---- */

static bool mutant_set(const char *name)
{
#ifdef SYNOD_MUTANTS
    char *end;
    unsigned long number = strtoul(name, &end, 10);
    if (*end == 0 && number > 0 && number < 1000) {
        mutant_active = (int)number;
        return true;
    }
#endif
    (void)name;
    return false;
}

static int run_one(const struct settings *s)
{
    struct sim_result r;
    struct total t = {0};
    double start = seconds_now();
    seed_run(s, s->seed, &r);
    total_add(&t, &r);
    if (r.class != SIM_PASSED) failure_print(s, s->seed, &r);
    if (!s->quiet) total_print(&t, seconds_now() - start);
    printf("seed %llu: %s, hash %016llx\n", (unsigned long long)s->seed, sim_class_name(r.class),
           (unsigned long long)r.hash);
    return r.class == SIM_PASSED ? EXIT_DONE : EXIT_FAILED;
}

static int run_many(const struct settings *s)
{
    struct total t = {0};
    double start = seconds_now();
    uint64_t end = s->soak_hours ? UINT64_MAX - JOBS_MAX : s->seed + s->seeds;
    seeds_run(s, end, s->soak_hours ? start + 3600.0 * (double)s->soak_hours : 0, &t);
    if (!s->quiet)
        total_print(&t, seconds_now() - start);
    else
        printf("%llu seeds passed, %llu failed\n", (unsigned long long)t.passed,
               (unsigned long long)t.failed);
    return t.failed ? EXIT_FAILED : EXIT_DONE;
}

int cmd_sim(int argc, char **argv)
{
    struct settings s = {.seed = 1, .jobs = 2};
    const struct option table[] = {
        {"seed", OPTION_NUMBER, &s.seed, 0, UINT64_MAX / 2, NULL, "S",
         "the seed, or the first of --seeds (1)", NULL},
        {"seeds", OPTION_NUMBER, &s.seeds, 1, 1000000000, NULL, "N", "run N seeds", NULL},
        {"ticks", OPTION_NUMBER, &s.ticks, 100, 10000000, NULL, "MS",
         "how long faults last, in virtual ms (20000)", NULL},
        {"nodes", OPTION_NUMBER, &s.nodes, 1, 5, NULL, "N", "nodes (drawn from the seed)", NULL},
        {"mode", OPTION_CHOICE, &s.mode, 0, 0, sim_mode_names, "MODE",
         "swarm, calm, crashes, network, disks, clocks or elastic", NULL},
        {"drift", OPTION_NUMBER, &s.drift, 1, 500000, NULL, "PPM",
         "how wrong clocks run (what nodes are told to expect)", NULL},
        {"twice", OPTION_FLAG, &s.twice, 0, 0, NULL, NULL, "run each seed twice and compare", NULL},
        {"first", OPTION_FLAG, &s.first, 0, 0, NULL, NULL, "stop at the first failure", NULL},
        {"mutant", OPTION_TEXT, &s.mutant, 0, 0, NULL, "NUMBER",
         "plant this bug (builds with SYNOD_MUTANTS; base/mutant.h)", NULL},
        {"jobs", OPTION_NUMBER, &s.jobs, 1, JOBS_MAX, NULL, "N", "processes (2)", NULL},
        {"soak-hours", OPTION_NUMBER, &s.soak_hours, 1, 10000, NULL, "H", "go on for so long",
         NULL},
        {"verbose", OPTION_FLAG, &s.verbose, 0, 0, NULL, NULL,
         "print everything that happens (with --seed)", NULL},
        {"quiet", OPTION_FLAG, &s.quiet, 0, 0, NULL, NULL, "failures and the count only", NULL},
        {0},
    };
    const struct options options = {"usage: synod sim --seed S | --seeds N [options]\n", table};
    int status = options_parse(&options, argc, argv, NULL, NULL);
    if (status != EXIT_DONE) return status;
    if (s.mutant && !mutant_set(s.mutant))
        return cli_usage(argv[0], "--mutant takes a number, in a build with -DSYNOD_MUTANTS");
    s.run = (struct sim_options){.ticks = (uint32_t)s.ticks,
                                 .nodes = (uint32_t)s.nodes,
                                 .mode = (enum sim_mode)s.mode,
                                 .drift_ppm = (int32_t)s.drift,
                                 .verbose = s.verbose};
    if (s.verbose) (void)setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* an assertion does not flush */
    return s.seeds || s.soak_hours ? run_many(&s) : run_one(&s);
}
