/* A cluster on this machine: its directory, its processes. */
#include "cli/cluster.h"

#include "base/assert.h"
#include "base/mem.h"
#include "cli/client.h"
#include "cli/clock.h"
#include "cli/overview.h"
#include "cli/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATH_BYTES (CLUSTER_DIR_MAX + 64)
#define ARGS_MAX   64
#define DOWN_MS    10000

struct args {
    char *v[ARGS_MAX + 1];
    int count;
};

/* DIR/node2.pid for (2, ".pid"), DIR/node2 for (2, ""). */
static const char *node_path(const struct cluster *c, unsigned n, const char *ending,
                             char out[PATH_BYTES])
{
    snprintf(out, PATH_BYTES, "%s/node%u%s", c->dir, n, ending);
    return out;
}

void cluster_address(const struct cluster *c, unsigned n, char out[OPTION_ADDRESS_MAX])
{
    snprintf(out, OPTION_ADDRESS_MAX, "127.0.0.1:%u", c->port + n - 1);
}

/* ---- the directory ---- */

void cluster_close(struct cluster *c)
{
    buf_deinit(&c->extra);
}

static int conf_line(struct cluster *c, const char *path, int number, char *line)
{
    static const char *const names[] = {"nodes", "added", "removed", "port", "groups", "founded"};
    char *value = strchr(line, ' ');
    int64_t n = 0;
    size_t i = 0;
    if (*line == '#' || *line == 0) return EXIT_DONE;
    if (!value) return cli_fail("%s:%d: a name without a value", path, number);

    struct bytes name = bytes_of(line, (size_t)(value - line));
    while (i < sizeof names / sizeof *names && !bytes_equal(name, bytes_str(names[i]))) i++;
    if (i == sizeof names / sizeof *names) {
        buf_printf(&c->extra, "%s\n", line);
        return EXIT_DONE;
    }
    bool node = i == 0 || i == 1 || i == 2;
    if (!bytes_to_i64(bytes_str(value + 1), &n) || n < 1 || n > (node ? CLUSTER_NODES_MAX : 65535))
        return cli_fail("%s:%d: '%s' is no sensible number", path, number, value + 1);
    switch (i) {
    case 0: c->founders = (unsigned)n, c->nodes += (unsigned)n; break;
    case 1: c->nodes += (unsigned)n; break;
    case 2: c->removed[n] = true; break;
    case 3: c->port = (unsigned)n; break;
    case 4: c->groups = (unsigned)n; break;
    default: c->founded = true;
    }
    return EXIT_DONE;
}

int cluster_open(struct cluster *c, const char *dir, bool *found)
{
    char path[PATH_BYTES], whole[4096 + 1], line[512];
    *c = (struct cluster){0};
    if (found) *found = false;
    if (!realpath(dir, whole) || strlen(whole) >= CLUSTER_DIR_MAX) {
        if (found && errno == ENOENT) return EXIT_DONE;
        return cli_fail("no cluster in %s: %s; `synod cluster up` starts one", dir,
                        strerror(errno));
    }
    strcpy(c->dir, whole);
    snprintf(path, sizeof path, "%s/cluster.conf", c->dir);
    FILE *in = fopen(path, "re");
    if (!in) {
        if (found && errno == ENOENT) return EXIT_DONE;
        return cli_fail("no cluster in %s: %s; `synod cluster up` starts one", dir,
                        strerror(errno));
    }

    int status = EXIT_DONE;
    for (int number = 1; status == EXIT_DONE && fgets(line, sizeof line, in); number++) {
        line[strcspn(line, "\n")] = 0;
        status = conf_line(c, path, number, line);
    }
    fclose(in);
    if (status == EXIT_DONE &&
        (c->founders == 0 || c->nodes > CLUSTER_NODES_MAX || c->port == 0 || c->groups == 0))
        status = cli_fail("%s does not say nodes, port and groups", path);
    if (status == EXIT_DONE && found) *found = true;
    return status;
}

int cluster_create(struct cluster *c)
{
    char whole[4096 + 1];
    if (mkdir(c->dir, 0755) < 0 && errno != EEXIST)
        return cli_fail("cannot make %s: %s", c->dir, strerror(errno));
    if (!realpath(c->dir, whole)) return cli_fail("cannot enter %s: %s", c->dir, strerror(errno));
    if (strlen(whole) >= CLUSTER_DIR_MAX) return cli_fail("the path %s is too long", whole);
    strcpy(c->dir, whole);
    return cluster_save(c);
}

int cluster_save(const struct cluster *c)
{
    char path[PATH_BYTES], draft[PATH_BYTES + 8];
    snprintf(path, sizeof path, "%s/cluster.conf", c->dir);
    snprintf(draft, sizeof draft, "%s.new", path);
    FILE *out = fopen(draft, "we");
    if (!out) return cli_fail("cannot write %s: %s", draft, strerror(errno));
    fprintf(out, "# Written by `synod cluster`.\nnodes %u\nport %u\ngroups %u\n", c->founders,
            c->port, c->groups);
    if (c->nodes > c->founders) fprintf(out, "added %u\n", c->nodes - c->founders);
    for (unsigned n = 1; n <= c->nodes; n++)
        if (c->removed[n]) fprintf(out, "removed %u\n", n);
    if (c->founded) fprintf(out, "founded 1\n");
    if (c->extra.size) fwrite(c->extra.data, 1, c->extra.size, out);
    bool bad = ferror(out);
    if (fclose(out) != 0 || bad || rename(draft, path) < 0)
        return cli_fail("cannot write %s: %s", path, strerror(errno));
    return EXIT_DONE;
}

/* ---- starting ---- */

static void args_add(struct args *a, const char *text)
{
    ASSERT(a->count < ARGS_MAX);
    a->v[a->count++] = mem_strdup(text);
    a->v[a->count] = NULL;
}

static void args_free(struct args *a)
{
    for (int i = 0; i < a->count; i++) mem_free(a->v[i]);
}

/* The options that were passed through; who joins takes the cluster's replicas. */
static void args_extra(struct args *a, const struct buf *extra, bool joins)
{
    char option[600];
    for (size_t at = 0; at < extra->size && a->count + 2 <= ARGS_MAX;) {
        const uint8_t *line = extra->data + at, *end = memchr(line, '\n', extra->size - at);
        size_t size = end ? (size_t)(end - line) : extra->size - at;
        const uint8_t *space = memchr(line, ' ', size);
        bool replicas = size > 9 && memcmp(line, "replicas ", 9) == 0;
        if (space && !(joins && replicas)) {
            snprintf(option, sizeof option, "--%.*s", (int)(space - line), (const char *)line);
            args_add(a, option);
            snprintf(option, sizeof option, "%.*s", (int)(line + size - space - 1),
                     (const char *)space + 1);
            args_add(a, option);
        }
        at += size + 1;
    }
}

static void args_found(const struct cluster *c, struct args *a)
{
    char text[16];
    struct buf found = {0};
    for (unsigned i = 1; i <= c->founders; i++)
        buf_printf(&found, "%s127.0.0.1:%u", i > 1 ? "," : "", c->port + i - 1 + 10000);
    buf_u8(&found, 0);
    args_add(a, "--found"), args_add(a, (const char *)found.data);
    snprintf(text, sizeof text, "%u", c->groups);
    args_add(a, "--groups"), args_add(a, text);
    buf_deinit(&found);
}

bool cluster_joins(const struct cluster *c, unsigned n)
{
    char path[PATH_BYTES];
    if (n <= c->founders && !c->founded) return false;
    return access(node_path(c, n, "/identity", path), F_OK) < 0;
}

/* The server's arguments: what node n of this cluster is. It joins through node `via`, if that is
 * not 0. */
static void args_of_node(const struct cluster *c, unsigned n, unsigned via, struct args *a)
{
    char path[PATH_BYTES], text[OPTION_ADDRESS_MAX];
    *a = (struct args){0};
    args_add(a, "synod server");
    args_add(a, "--data"), args_add(a, node_path(c, n, "", path));
    cluster_address(c, n, text);
    args_add(a, "--listen"), args_add(a, text);
    snprintf(text, sizeof text, "127.0.0.1:%u", c->port + n - 1 + 10000);
    args_add(a, "--peer"), args_add(a, text);
    snprintf(text, sizeof text, "127.0.0.1:%u", c->port + n - 1 + 1000);
    args_add(a, "--http"), args_add(a, text);
    if (via) {
        snprintf(text, sizeof text, "127.0.0.1:%u", c->port + via - 1 + 10000);
        args_add(a, "--join"), args_add(a, text);
    } else {
        args_found(c, a);
    }
    args_extra(a, &c->extra, via != 0);
}

/* In the child: everything of the parent's is left behind. Does not return. */
static _Noreturn void node_become(struct args *a, int log)
{
    setsid();
    int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    (void)syscall(SYS_close_range, 3u, ~0u,
                  CLOSE_RANGE_CLOEXEC); /* at execv, the parent's pipe among them */
    signal(SIGPIPE, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);

    char *argv[ARGS_MAX + 2] = {"synod", "server"};
    memcpy(argv + 2, a->v + 1, (size_t)a->count * sizeof *argv); /* with the ending NULL */
    execv("/proc/self/exe", argv);
    dprintf(STDERR_FILENO, "synod: cannot run /proc/self/exe: %s\n", strerror(errno));
    _exit(EXIT_FAILED);
}

pid_t cluster_pid(const struct cluster *c, unsigned n)
{
    char path[PATH_BYTES];
    struct process p;
    if (!process_file_read(node_path(c, n, ".pid", path), &p)) return 0;
    return process_alive(&p, node_path(c, n, "", path)) ? p.pid : 0;
}

/* Forks and becomes the server in the child. Returns when the child is the server or is gone, so
 * that whoever looks at its arguments from then on sees the server's: the pid, or -1. */
static pid_t node_spawn(struct args *a, int log)
{
    int gate[2];
    char nothing;
    if (pipe2(gate, O_CLOEXEC) < 0) return -1;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) node_become(a, log);
    close(gate[1]);
    while (pid > 0 && read(gate[0], &nothing, 1) < 0 && errno == EINTR) continue;
    close(gate[0]);
    return pid;
}

/* Whom node n is to ask, if it has to join: 0 before the cluster is founded. A node that has been a
 * member knows the others, and asks nobody. */
static unsigned join_via(const struct cluster *c, unsigned n)
{
    unsigned via = cluster_running(c, n);
    if (n <= c->founders && !c->founded) return 0;
    for (unsigned i = 1; i <= c->nodes && !via; i++)
        if (i != n && !c->removed[i]) via = i;
    return via;
}

int cluster_start(const struct cluster *c, unsigned n)
{
    char path[PATH_BYTES];
    struct process p = {0};
    if (cluster_pid(c, n)) return EXIT_DONE;
    unsigned via = join_via(c, n);

    node_path(c, n, ".log", path);
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log < 0) return cli_fail("cannot write %s: %s", path, strerror(errno));
    struct args a;
    args_of_node(c, n, via, &a);
    pid_t pid = node_spawn(&a, log);
    args_free(&a);
    close(log);
    if (pid < 0) return cli_fail("cannot start a process: %s", strerror(errno));

    /* The start time is the fork's, so it may be read at once. A child that is gone already will be
     * missed by cluster_wait. */
    if (!process_identify(pid, &p)) p = (struct process){.pid = pid};
    int error = process_file_write(node_path(c, n, ".pid", path), &p);
    if (error == 0) return EXIT_DONE;
    kill(pid, SIGKILL);
    return cli_fail("cannot write %s: %s", path, strerror(-error));
}

/* ---- waiting ---- */

/* The last lines of node n's log, for the operator. */
static void log_tail_print(const struct cluster *c, unsigned n)
{
    char path[PATH_BYTES], text[2048];
    FILE *in = fopen(node_path(c, n, ".log", path), "re");
    if (!in) return;
    if (fseek(in, -(long)(sizeof text - 1), SEEK_END) < 0) rewind(in);
    size_t size = fread(text, 1, sizeof text - 1, in);
    fclose(in);
    text[size] = 0;

    char *at = text + size;
    for (int lines = 0; at > text && lines < 6; at--) lines += at[-1] == '\n';
    if (at > text) at++;
    fprintf(stderr, "%s%s", at, size && text[size - 1] == '\n' ? "" : "\n");
}

enum ready { READY_NO, READY_ANSWERS, READY_SERVES };

static enum ready node_ready(const struct cluster *c, unsigned n)
{
    char address[OPTION_ADDRESS_MAX], error[256];
    cluster_address(c, n, address);
    struct client *client = client_connect(address, 1000, error, sizeof error);
    if (!client) return READY_NO;

    enum ready ready = READY_NO;
    const struct client_reply *r = client_call(client, "CLUSTER INFO");
    if (r && r->type == CLIENT_BULK) {
        static const char ok[] = "cluster_state:ok";
        ready =
            memmem(r->text.data, r->text.size, ok, sizeof ok - 1) ? READY_SERVES : READY_ANSWERS;
    }
    client_free(client);
    return ready;
}

/* Whether all of them run; says which does not, and how its log ends. */
static int nodes_alive(const struct cluster *c, unsigned first, unsigned last)
{
    for (unsigned n = first; n <= last; n++) {
        if (c->removed[n] || cluster_pid(c, n)) continue;
        int status =
            cli_fail("node %u has ended; its log, %s/node%u.log, ends with:", n, c->dir, n);
        log_tail_print(c, n);
        return status;
    }
    return EXIT_DONE;
}

int cluster_wait(const struct cluster *c, unsigned n, bool any_state, uint32_t timeout_ms)
{
    uint64_t deadline = clock_ms() + timeout_ms;
    unsigned first = n ? n : 1, last = n ? n : c->nodes;
    enum ready enough = any_state ? READY_ANSWERS : READY_SERVES;

    for (unsigned i = first; i <= last;) {
        if (c->removed[i] || node_ready(c, i) >= enough) {
            i++;
            continue;
        }
        if (nodes_alive(c, first, last) != EXIT_DONE) return EXIT_FAILED;
        if (clock_ms() >= deadline)
            return cli_fail("node %u %s within %u s; see %s/node%u.log", i,
                            any_state ? "does not answer" : "does not see a leader for every group",
                            timeout_ms / 1000, c->dir, i);
        sleep_ms(20);
    }
    return nodes_alive(
        c, first, last); /* it may have been somebody else's server that answered at this port */
}

unsigned cluster_running(const struct cluster *c, unsigned but)
{
    for (unsigned n = 1; n <= c->nodes; n++)
        if (n != but && !c->removed[n] && cluster_pid(c, n)) return n;
    return 0;
}

/* Does node `asked` hear of node n, and serve with it? */
static bool node_is_member(const struct cluster *c, unsigned asked, unsigned n)
{
    char address[OPTION_ADDRESS_MAX], error[256];
    struct overview o;
    cluster_address(c, asked, address);
    struct client *client = client_connect(address, 1000, error, sizeof error);
    bool member = false;
    if (client && overview_ask(&o, client, error, sizeof error)) {
        cluster_address(c, n, address);
        const struct overview_node *row = overview_node_at(&o, address);
        member = row && strcmp(row->state, "up") == 0;
        overview_free(&o);
    }
    client_free(client);
    return member;
}

int cluster_wait_member(const struct cluster *c, unsigned n)
{
    uint64_t deadline = clock_ms() + CLUSTER_WAIT_MS;
    unsigned via = cluster_running(c, n);
    int status = cluster_wait(c, n, true, CLUSTER_WAIT_MS);
    while (status == EXIT_DONE && !(via && node_is_member(c, via, n))) {
        status = nodes_alive(c, n, n);
        if (status == EXIT_DONE && clock_ms() > deadline)
            status = cli_fail("node %u is not taken up within %d s; see %s/node%u.log", n,
                              CLUSTER_WAIT_MS / 1000, c->dir, n);
        sleep_ms(50);
    }
    return status;
}

int cluster_add(struct cluster *c, unsigned *n)
{
    if (!cluster_running(c, 0))
        return cli_fail("no node of %s is running; `synod cluster up` starts it first", c->dir);
    if (c->nodes == CLUSTER_NODES_MAX)
        return cli_fail("%s has had %d nodes, which is the most; take another --dir for a new "
                        "cluster",
                        c->dir, CLUSTER_NODES_MAX);
    *n = ++c->nodes;
    int status = cluster_save(c);
    if (status == EXIT_DONE) status = cluster_start(c, *n);
    if (status == EXIT_DONE) status = cluster_wait_member(c, *n);
    if (status != EXIT_DONE) (void)cluster_forget(c, *n);
    return status;
}

/* ---- signals ---- */

/* A pidfd of node n, or -1; *pid is set where there is one. */
static int node_open(const struct cluster *c, unsigned n, pid_t *pid)
{
    char path[PATH_BYTES];
    struct process p;
    if (!process_file_read(node_path(c, n, ".pid", path), &p)) return -1;
    *pid = p.pid;
    return process_open(&p, node_path(c, n, "", path));
}

int cluster_signal(const struct cluster *c, unsigned n, int signal)
{
    pid_t pid;
    int fd = node_open(c, n, &pid);
    if (fd < 0) return cli_fail("node %u is not running; `synod cluster start %u` starts it", n, n);

    int error = process_signal(fd, signal);
    bool gone = signal != SIGKILL || error || process_wait(fd, pid, DOWN_MS);
    close(fd);
    if (error)
        return cli_fail("cannot signal node %u (process %d): %s", n, (int)pid, strerror(-error));
    if (!gone)
        return cli_fail("node %u (process %d) does not die; is its disk stuck?", n, (int)pid);
    return EXIT_DONE;
}

int cluster_down(const struct cluster *c)
{
    int fd[CLUSTER_NODES_MAX + 1], status = EXIT_DONE;
    pid_t pid[CLUSTER_NODES_MAX + 1];
    char path[PATH_BYTES];
    for (unsigned n = 1; n <= c->nodes; n++) {
        fd[n] = c->removed[n] ? -1 : node_open(c, n, &pid[n]);
        if (fd[n] < 0) continue;
        (void)process_signal(fd[n], SIGTERM);
        (void)process_signal(fd[n], SIGCONT); /* a paused one hears nothing else */
    }
    uint64_t deadline = clock_ms() + DOWN_MS;
    for (unsigned n = 1; n <= c->nodes; n++) {
        if (fd[n] < 0) continue;
        uint64_t now = clock_ms();
        if (!process_wait(fd[n], pid[n], now < deadline ? (uint32_t)(deadline - now) : 0)) {
            fprintf(stderr, "synod: node %u did not end within %d s; killing it\n", n,
                    DOWN_MS / 1000);
            (void)process_signal(fd[n], SIGKILL);
            if (!process_wait(fd[n], pid[n], DOWN_MS))
                status = cli_fail("node %u (process %d) does not die", n, (int)pid[n]);
        }
        close(fd[n]);
        if (status == EXIT_DONE) (void)unlink(node_path(c, n, ".pid", path));
    }
    return status;
}

int cluster_forget(struct cluster *c, unsigned n)
{
    pid_t pid;
    char path[PATH_BYTES];
    int fd = node_open(c, n, &pid);
    if (fd >= 0) {
        (void)process_signal(fd, SIGTERM);
        (void)process_signal(fd, SIGCONT);
        if (!process_wait(fd, pid, DOWN_MS)) (void)process_signal(fd, SIGKILL);
        (void)process_wait(fd, pid, DOWN_MS);
        close(fd);
    }
    (void)unlink(node_path(c, n, ".pid", path));
    c->removed[n] = true;
    return cluster_save(c);
}
