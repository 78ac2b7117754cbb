#include "job/worker_sandbox.h"

#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* Under the address sanitizer a process maps terabytes that it never uses. */
#if defined(__SANITIZE_ADDRESS__)
#define BOUND_MEMORY 0
#else
#define BOUND_MEMORY 1
#endif

/* Memory, clocks, the descriptors that are there, threads' locks, signals and the end. mprotect and
 * mmap with PROT_EXEC are what the compiler of Lua needs. */
static const int allowed[] = {SCMP_SYS(read),           SCMP_SYS(write),
                              SCMP_SYS(readv),          SCMP_SYS(writev),
                              SCMP_SYS(pread64),        SCMP_SYS(pwrite64),
                              SCMP_SYS(lseek),          SCMP_SYS(close),
                              SCMP_SYS(mmap),           SCMP_SYS(munmap),
                              SCMP_SYS(mremap),         SCMP_SYS(mprotect),
                              SCMP_SYS(madvise),        SCMP_SYS(brk),
                              SCMP_SYS(futex),          SCMP_SYS(sched_yield),
                              SCMP_SYS(getrandom),      SCMP_SYS(clock_gettime),
                              SCMP_SYS(gettimeofday),   SCMP_SYS(time),
                              SCMP_SYS(sysinfo),        SCMP_SYS(sigaltstack),
                              SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction),
                              SCMP_SYS(rt_sigreturn),   SCMP_SYS(restart_syscall),
                              SCMP_SYS(getpid),         SCMP_SYS(gettid),
                              SCMP_SYS(exit),           SCMP_SYS(exit_group)};

static uint64_t mapped_now(void)
{
    char line[100] = "";
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return 0;
    if (!fgets(line, sizeof line, f)) line[0] = 0;
    (void)fclose(f);
    return (uint64_t)strtoul(line, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool limit(int what, uint64_t value)
{
    struct rlimit l = {value, value};
    return setrlimit(what, &l) == 0;
}

static bool set_limits(const struct worker_limits *l)
{
    uint64_t now = mapped_now();
    if (BOUND_MEMORY && now && !limit(RLIMIT_AS, now + l->memory)) return false;
    struct rlimit cpu = {(l->cpu_ms + 999) / 1000,
                         (l->cpu_ms + 999) / 1000 + 1}; /* SIGXCPU, SIGKILL */
    return setrlimit(RLIMIT_CPU, &cpu) == 0 && limit(RLIMIT_FSIZE, l->file) &&
           limit(RLIMIT_CORE, 0) && limit(RLIMIT_NOFILE, 16);
}

/* abort() sends a signal to its own thread, and to no other. */
static int add_rules(scmp_filter_ctx filter)
{
    int bad = 0;
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed && !bad; i++)
        bad = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    if (!bad)
        bad = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                               SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
    return bad;
}

static bool lock_in(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter) {
        errno = ENOMEM;
        return false;
    }
    int bad = add_rules(filter);
    if (!bad) bad = seccomp_load(filter);
    seccomp_release(filter);
    errno = bad < 0 ? -bad : 0;
    return !bad;
}

bool worker_sandbox(const struct worker_limits *limits, const char **step)
{
    *step = "signals";
    if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR || signal(SIGPIPE, SIG_IGN) == SIG_ERR) return false;
    *step = "resource limits";
    if (!set_limits(limits)) return false;
    *step = "no new privileges";
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)) return false;
    *step = "seccomp";
    return lock_in();
}
