/* Processes by identity, over /proc and pidfds. */
#include "cli/process.h"

#include "base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Reads at most size - 1 bytes of a small file and ends them with NUL: their number, or -1. */
static ssize_t file_read(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t n = read(fd, out, size - 1);
    close(fd);
    if (n >= 0) out[n] = 0;
    return n;
}

/* Field `number` (from 3, the state) of /proc/PID/stat. The name before it may hold blanks and
 * brackets. */
static const char *stat_field(const char *stat, int number)
{
    ASSERT(number >= 3);
    const char *at = strrchr(stat, ')');
    for (int i = 2; at && i < number; i++) at = strchr(at + 1, ' ');
    return at ? at + 1 : NULL;
}

static bool stat_read(pid_t pid, char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    return file_read(path, out, size) > 0;
}

bool process_identify(pid_t pid, struct process *out)
{
    char stat[1024];
    if (pid <= 0 || !stat_read(pid, stat, sizeof stat)) return false;
    const char *state = stat_field(stat, 3), *start = stat_field(stat, 22);
    if (!state || !start) return false;
    if (*state == 'Z' || *state == 'X') {
        (void)waitpid(pid, NULL, WNOHANG);
        return false;
    }
    *out = (struct process){pid, strtoull(start, NULL, 10)};
    return true;
}

bool process_alive(const struct process *p, const char *word)
{
    char path[64], line[8192];
    struct process now;
    if (!process_identify(p->pid, &now) || now.start != p->start) return false;
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)p->pid);
    ssize_t size = file_read(path, line, sizeof line);
    if (size == 0) return true; /* in the middle of execve, between the old arguments and the new */
    for (const char *at = line; at < line + size; at += strlen(at) + 1)
        if (strcmp(at, word) == 0) return true;
    return false;
}

int process_open(const struct process *p, const char *word)
{
    int fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    if (fd < 0) return -1;
    /* Looked at after opening: if it is the right one now, the descriptor is the right one's. */
    if (process_alive(p, word)) return fd;
    close(fd);
    return -1;
}

int process_signal(int pidfd, int signal)
{
    return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) == 0 ? 0 : -errno;
}

bool process_wait(int pidfd, pid_t pid, uint32_t timeout_ms)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int n;
    do n = poll(&p, 1, (int)timeout_ms);
    while (n < 0 && errno == EINTR);
    if (n > 0) (void)waitpid(pid, NULL, WNOHANG);
    return n > 0;
}

bool process_file_read(const char *path, struct process *out)
{
    char text[64], *end;
    if (file_read(path, text, sizeof text) <= 0) return false;
    long pid = strtol(text, &end, 10);
    if (pid <= 0 || *end != ' ') return false;
    *out = (struct process){(pid_t)pid, strtoull(end + 1, NULL, 10)};
    return true;
}

int process_file_write(const char *path, const struct process *p)
{
    char draft[4096], text[64];
    if ((size_t)snprintf(draft, sizeof draft, "%s.new", path) >= sizeof draft) return -ENAMETOOLONG;
    int size = snprintf(text, sizeof text, "%d %llu\n", (int)p->pid, (unsigned long long)p->start);
    int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return -errno;
    int error = write(fd, text, (size_t)size) == size ? 0 : -EIO;
    close(fd);
    if (!error && rename(draft, path) < 0) error = -errno;
    return error;
}

uint64_t process_cpu_us(pid_t pid)
{
    char stat[1024];
    if (!stat_read(pid, stat, sizeof stat)) return 0;
    const char *user = stat_field(stat, 14), *system = stat_field(stat, 15);
    if (!user || !system) return 0;
    uint64_t ticks = strtoull(user, NULL, 10) + strtoull(system, NULL, 10);
    return ticks * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

uint64_t process_memory(pid_t pid)
{
    char stat[1024];
    if (!stat_read(pid, stat, sizeof stat)) return 0;
    const char *pages = stat_field(stat, 24);
    return pages ? strtoull(pages, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}
