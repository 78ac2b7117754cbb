/* Runs a node in the real world: host, engine, node, signals. */
#include "cli/server.h"
#include "host/host.h"
#include "node/node.h"
#include "store/engine.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define JOB_SLOTS_MAX 8

/* Set by the signal handler alone; one process runs one server. */
static volatile sig_atomic_t stop_asked;

static void on_signal(int number)
{
    (void)number;
    stop_asked = 1;
}

struct server {
    struct host *host;
    struct engine *engine;
    struct node *node;
    struct io_client inner; /* the node's turn, which ours wraps */
};

static void log_line(void *ctx, const char *line)
{
    char stamp[32];
    time_t now = time(NULL);
    struct tm tm;
    (void)ctx;
    strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", localtime_r(&now, &tm));
    printf("%s %s\n", stamp, line);
    fflush(stdout);
}

/* What was acknowledged is on disk; nothing that could be done now would make it safer. */
static void fatal(void *ctx, const char *why)
{
    log_line(ctx, why);
    fprintf(stderr, "synod: %s\n", why);
    fflush(NULL);
    _exit(EXIT_FAILED);
}

static uint64_t resident(void *ctx)
{
    unsigned long size, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    (void)ctx;
    if (!f) return 0;
    if (fscanf(f, "%lu %lu", &size, &pages) != 2) pages = 0;
    fclose(f);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t server_turn(void *ctx, uint64_t now)
{
    struct server *s = ctx;
    if ((stop_asked || node_wants_stop(s->node)) && node_stop(s->node)) host_stop(s->host);
    return s->inner.turn(s->inner.ctx, now);
}

/* Attempts of jobs' tasks at once: one processor is left to those who ask, and each attempt may
 * have LIMITS MEMORY. */
static uint32_t job_slots(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return cpus <= 2 ? 1 : cpus > JOB_SLOTS_MAX ? JOB_SLOTS_MAX : (uint32_t)cpus - 1;
}

static void found_list(const struct server_options *o, char *out, size_t size)
{
    size_t at = 0;
    out[0] = 0;
    for (unsigned i = 0; i < o->found_count && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i ? "," : "", o->found[i]);
}

static bool server_open(struct server *s, const struct server_options *o, char *error,
                        size_t error_size)
{
    static const enum host_backend backends[] = {[SERVER_IO_AUTO] = HOST_AUTO,
                                                 [SERVER_IO_URING] = HOST_URING,
                                                 [SERVER_IO_EPOLL] = HOST_EPOLL};
    char found[SERVER_FOUND_MAX * OPTION_ADDRESS_MAX], path[4096];

    s->host = host_new(
        &(struct host_options){.data_dir = o->data_dir,
                               .backend = backends[o->io],
                               .batch_threads = job_slots() + 1, /* and one for reading outputs */
                               .log = log_line,
                               .fault = o->fault},
        error, error_size);
    if (!s->host) return false;
    snprintf(path, sizeof path, "%s/engine", o->data_dir);
    s->engine = engine_rocks_open(path, 32u << 20, error, error_size);
    if (!s->engine) return false;
    found_list(o, found, sizeof found);
    struct node_config config = {.listen = o->listen,
                                 .peer = o->peer,
                                 .http = o->http,
                                 .zone = o->zone,
                                 .join = *o->join ? o->join : NULL,
                                 .witness = o->witness,
                                 .capacity = o->capacity,
                                 .grace_ms = o->grace_s * 1000,
                                 .found = o->found_count ? found : NULL,
                                 .groups = o->groups,
                                 .replicas = o->replicas,
                                 .read_mode = o->read_mode == SERVER_READ_QUORUM ? NODE_READ_QUORUM
                                                                                 : NODE_READ_LEASE,
                                 .redirect = o->redirect,
                                 .engine = s->engine,
                                 .job_slots = job_slots(),
                                 .job_dir = o->data_dir,
                                 .job_program = "/proc/self/exe",
                                 .backend_name = host_backend_name(s->host),
                                 .log_line = log_line,
                                 .fatal = fatal,
                                 .resident = resident};
    s->node = node_new(host_io(s->host), &config, error, error_size);
    return s->node != NULL;
}

int server_run(const struct server_options *options)
{
    struct server s = {0};
    char error[512];
    struct sigaction act = {.sa_handler = on_signal};

    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (!server_open(&s, options, error, sizeof error)) return cli_fail("%s", error);

    s.inner = host_io(s.host)->client;
    host_io(s.host)->client = (struct io_client){server_turn, &s};
    char line[1024];
    char who[32] = "joining";
    if (node_id(s.node)) snprintf(who, sizeof who, "node %u", node_id(s.node));
    snprintf(line, sizeof line, "synod %s: %s, serves clients on %s, peers on %s (%s)",
             SYNOD_VERSION, who, options->listen, options->peer, host_backend_name(s.host));
    log_line(NULL, line);
    host_run(s.host);
    log_line(NULL, "stopped");
    /* Everything acknowledged is in the log; memory and files are the system's to take back. */
    fflush(NULL);
    _exit(EXIT_DONE);
}
