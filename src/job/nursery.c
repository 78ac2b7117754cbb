#include "job/nursery.h"
#include "base/mem.h"
#include "job/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/close_range.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CONTROL_FD = 3, PATIENCE_S = 10 };

struct nursery {
    const char *program;
    pthread_mutex_t mutex;
    pid_t pid; /* 0: none */
    int fd;
};

/* Of a birth: one byte, with the descriptors; the answer is the pid, or a negative errno. */
union control {
    char space[CMSG_SPACE(2 * sizeof(int))];
    struct cmsghdr align;
};

/* ---- the parent's side ---- */

struct nursery *nursery_new(const char *program)
{
    struct nursery *n = mem_zalloc(sizeof *n);
    *n = (struct nursery){.program = program, .fd = -1};
    pthread_mutex_init(&n->mutex, NULL);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    return n;
}

static void end(struct nursery *n)
{
    if (!n->pid) return;
    (void)close(n->fd);
    (void)kill(n->pid, SIGKILL);
    while (waitpid(n->pid, NULL, 0) < 0 && errno == EINTR) continue;
    n->pid = 0;
}

void nursery_free(struct nursery *n)
{
    if (!n) return;
    end(n);
    pthread_mutex_destroy(&n->mutex);
    mem_free(n);
}

static int spawn(struct nursery *n, int fd)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    char *argv[] = {(char *)n->program, NURSERY_ARGUMENT, NULL}, *environment[] = {NULL};
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int bad = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
    if (!bad) bad = posix_spawn_file_actions_adddup2(&actions, 0, 1);
    if (!bad) bad = posix_spawn_file_actions_adddup2(&actions, fd, CONTROL_FD);
    if (!bad) bad = posix_spawn(&n->pid, n->program, &actions, &attributes, argv, environment);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attributes);
    return bad;
}

static int begin(struct nursery *n)
{
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    int pair[2];
    if (n->pid) return 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) return errno;
    /* Above what the child will use, so that no dup2 covers it. */
    int child = fcntl(pair[1], F_DUPFD_CLOEXEC, 16), bad = child < 0 ? errno : 0;
    if (!bad && setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience))
        bad = errno;
    if (!bad) bad = spawn(n, child);
    (void)close(pair[1]);
    if (child >= 0) (void)close(child);
    if (bad) {
        n->pid = 0;
        (void)close(pair[0]);
    } else {
        n->fd = pair[0];
    }
    return bad;
}

/* The pid, a negative errno, or 0: the nursery is gone, or as good as gone. */
static pid_t ask(struct nursery *n, int socket_fd, int spill_fd)
{
    union control control = {{0}};
    struct iovec one = {.iov_base = "b", .iov_len = 1};
    size_t size = (spill_fd >= 0 ? 2 : 1) * sizeof(int);
    struct msghdr message = {.msg_iov = &one,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = CMSG_SPACE(size)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    int32_t pid;
    *head = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(size)};
    memcpy(CMSG_DATA(head), (int[]){socket_fd, spill_fd}, size);
    if (sendmsg(n->fd, &message, MSG_NOSIGNAL) != 1) return 0;
    ssize_t got;
    while ((got = recv(n->fd, &pid, sizeof pid, MSG_WAITALL)) < 0 && errno == EINTR) continue;
    return got == sizeof pid ? pid : 0;
}

pid_t nursery_birth(struct nursery *n, int socket_fd, int spill_fd, char *error, size_t error_size)
{
    pid_t pid = 0;
    int bad = 0;
    pthread_mutex_lock(&n->mutex);
    for (int turn = 0; turn < 2 && pid == 0 && !bad; turn++) {
        bad = begin(n);
        if (!bad) pid = ask(n, socket_fd, spill_fd);
        if (!bad && pid == 0) end(n);
    }
    pthread_mutex_unlock(&n->mutex);
    if (pid > 0) return pid;
    (void)snprintf(error, error_size, "the worker %s cannot be started (%s)", n->program,
                   bad       ? strerror(bad)
                   : pid < 0 ? strerror(-pid)
                             : "it ends at once, or does not answer");
    return -1;
}

/* ---- the process ---- */

struct birth {
    int fd[2]; /* -1: none */
};

/* False: the parent is gone. */
static bool receive(struct birth *b)
{
    union control control;
    char byte;
    struct iovec one = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &one,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof control.space};
    ssize_t got;
    while ((got = recvmsg(CONTROL_FD, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) continue;
    struct cmsghdr *head = got == 1 ? CMSG_FIRSTHDR(&message) : NULL;
    if (!head || head->cmsg_type != SCM_RIGHTS) return false;
    b->fd[0] = b->fd[1] = -1;
    memcpy(b->fd, CMSG_DATA(head), head->cmsg_len - CMSG_LEN(0));
    return true;
}

/* Moves them where a worker looks for them. */
static int be_worker(const struct birth *b)
{
    int socket_fd = fcntl(b->fd[0], F_DUPFD_CLOEXEC, 16);
    int spill_fd = b->fd[1] < 0 ? -1 : fcntl(b->fd[1], F_DUPFD_CLOEXEC, 16);
    if (socket_fd < 0 || dup2(socket_fd, WORKER_FD) < 0) return 1;
    if (spill_fd < 0)
        (void)close(WORKER_SPILL_FD);
    else if (dup2(spill_fd, WORKER_SPILL_FD) < 0)
        return 1;
    (void)prctl(PR_SET_NAME, "job-worker");
    return worker_main();
}

/* Born of a child that ends at once, so that it is the parent's. `pid`: shared with that child. */
static int32_t bear(const struct birth *b, volatile int32_t *pid)
{
    *pid = -ECHILD;
    pid_t between = fork();
    if (between < 0) return -errno;
    if (between == 0) {
        pid_t worker = fork();
        if (worker == 0) _exit(be_worker(b));
        *pid = worker < 0 ? -errno : worker;
        _exit(0);
    }
    while (waitpid(between, NULL, 0) < 0 && errno == EINTR) continue;
    return *pid;
}

int nursery_main(void)
{
    struct birth b;
    (void)prctl(PR_SET_NAME, NURSERY_ARGUMENT);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)close_range(CONTROL_FD + 1, ~0u, 0);
    volatile int32_t *pid =
        mmap(NULL, sizeof *pid, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (pid == MAP_FAILED) return 1;
    while (receive(&b)) {
        int32_t said = bear(&b, pid);
        for (int i = 0; i < 2; i++)
            if (b.fd[i] >= 0) (void)close(b.fd[i]);
        if (send(CONTROL_FD, &said, sizeof said, MSG_NOSIGNAL) != sizeof said) break;
    }
    return 0;
}
