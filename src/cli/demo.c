/* synod demo: real data into a few nodes, one of which is killed in the middle; then the cluster
 * grows, shrinks, heals, splits and merges under load; and a count at the end.
 *
 * What `make run` runs. With --at it loads into servers that run already, kills nobody, and
 * compares what it can. */
#include "cli/demo.h"
#include "cli/client.h"
#include "cli/clock.h"
#include "cli/commands.h"
#include "cli/packages.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char usage[] =
    "usage: synod demo [options]\n"
    "  Starts a cluster of three nodes, loads the package index of this machine into it, kills "
    "the\n"
    "  node that leads most groups in the middle of that, and shows that nothing acknowledged is\n"
    "  missing. Then it computes: a script over many groups, queries, a map and reduce in the "
    "midst of\n"
    "  which a node dies, beside awk. Then, while clients go on writing: a node joins; money moves "
    "between accounts in\n"
    "  all groups while a node dies, comes back, and a group moves; another joins, one leaves, "
    "one\n"
    "  dies for good and is replaced, a group is split and merged again; and again nothing may be\n"
    "  missing. The cluster stays, unless --exit.\n\n";

struct client *demo_connect(const char *address)
{
    char error[256];
    struct client *c = client_connect(address, DEMO_CALL_MS, error, sizeof error);
    if (!c) cli_fail("%s", error);
    return c;
}

void demo_say(struct demo *d, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bar_end(&d->bar, false);
    vprintf(format, args);
    putchar('\n');
    fflush(stdout);
    va_end(args);
}

void demo_addresses(struct demo *d)
{
    d->loader.addresses = 0;
    for (unsigned n = 1; n <= d->cluster.nodes; n++)
        if (cluster_pid(&d->cluster, n))
            cluster_address(&d->cluster, n, d->loader.address[d->loader.addresses++]);
    if (d->writer) writer_addresses(d->writer, d->loader.address, d->loader.addresses);
}

unsigned demo_number(const struct demo *d, const struct overview *o, int64_t id)
{
    const struct overview_node *row = overview_node(o, id);
    char address[OPTION_ADDRESS_MAX];
    for (unsigned n = 1; row && n <= d->cluster.nodes; n++) {
        cluster_address(&d->cluster, n, address);
        if (strcmp(address, row->address) == 0) return n;
    }
    return 0;
}

/* ---- loading ---- */

static void progress_show(struct demo *d, const struct loader_result *r)
{
    double rate = r->seconds > 0 ? (double)r->done / r->seconds : 0;
    bar_show(&d->bar, r->done, d->packages.count, "%zu of %zu  %.0f/s", r->done, d->packages.count,
             rate);
}

static bool load_turn(void *ctx, const struct loader_result *r)
{
    struct demo *d = ctx;
    size_t total = d->packages.count;
    progress_show(d, r);
    if (d->own) d->failed = !demo_kill_turn(d, r->done >= total / 2, r->done >= total * 3 / 4);
    return !d->failed;
}

static bool plain_turn(void *ctx, const struct loader_result *r)
{
    progress_show(ctx, r);
    return true;
}

static bool demo_pass(struct demo *d, enum loader_pass kind, const char *verb,
                      struct loader_result *result)
{
    char error[256];
    bar_begin(&d->bar, stdout, verb);
    d->loader.turn = kind == LOADER_LOAD ? load_turn : plain_turn;
    d->loader.ctx = d;
    bool good = loader_run(&d->loader, kind, result, error, sizeof error);
    bar_end(&d->bar, true);
    if (good) return true;
    if (!d->failed) cli_fail("%s", error);
    return false;
}

/* ---- the whole ---- */

struct demo_request {
    const char *dir, *file, *at, *io, *read_mode;
    uint64_t port, groups, nodes;
    bool leave;
};

/* Starts the cluster in dir, or what is missing of it. *fresh: there was none. */
static int cluster_begin(struct demo *d, const struct demo_request *q, bool *fresh)
{
    bool found;
    int status = cluster_open(&d->cluster, q->dir, &found);
    if (status != EXIT_DONE) return status;
    *fresh = !found;
    d->own = true;
    if (!found) {
        struct cluster *c = &d->cluster;
        if (strlen(q->dir) >= CLUSTER_DIR_MAX) return cli_fail("the path %s is too long", q->dir);
        strcpy(c->dir, q->dir);
        c->nodes = c->founders = (unsigned)q->nodes;
        c->port = (unsigned)q->port, c->groups = (unsigned)q->groups;
        if (q->io) buf_printf(&c->extra, "io %s\n", q->io);
        if (q->read_mode) buf_printf(&c->extra, "read-mode %s\n", q->read_mode);
        status = cluster_create(c);
    }
    if (status != EXIT_DONE) return status;
    demo_say(d, "starting the nodes of %s", d->cluster.dir);
    for (unsigned n = 1; n <= d->cluster.nodes && status == EXIT_DONE; n++)
        if (!d->cluster.removed[n]) status = cluster_start(&d->cluster, n);
    if (status == EXIT_DONE) status = cluster_wait(&d->cluster, 0, false, CLUSTER_WAIT_MS);
    if (status != EXIT_DONE) return status;

    if (!d->cluster.founded) {
        d->cluster.founded = true;
        status = cluster_save(&d->cluster);
    }
    demo_addresses(d);
    for (unsigned i = 0; i < d->loader.addresses; i++)
        printf("  node at %s\n", d->loader.address[i]);
    fflush(stdout);
    return status;
}

static int addresses_parse(struct demo *d, const char *command, const char *list)
{
    for (const char *at = list;;) {
        char host[256];
        uint16_t port;
        size_t size = strcspn(at, ",");
        if (d->loader.addresses == LOADER_ADDRESSES_MAX || size >= OPTION_ADDRESS_MAX)
            return cli_usage(command, "--at names too many or too long addresses");
        char *to = d->loader.address[d->loader.addresses++];
        memcpy(to, at, size);
        to[size] = 0;
        if (!address_split(to, host, sizeof host, &port))
            return cli_usage(command, "'%s' is no HOST:PORT", to);
        if (!at[size]) return EXIT_DONE;
        at += size + 1;
    }
}

static void how_to_go_on(struct demo *d)
{
    const char *at = d->loader.address[0], *port = strrchr(at, ':') + 1;
    const char *last = strrchr(d->loader.address[d->loader.addresses - 1], ':') + 1;
    unsigned n = cluster_running(&d->cluster, cluster_running(&d->cluster, 0));
    const char *dir = d->cluster.dir;
    printf("\nThe cluster runs on. Try:\n"
           "  redis-cli -p %s hgetall pkg:bash\n"
           "  redis-cli -p %s set a 1 && redis-cli -p %s get a\n"
           "  build/synod status --at %s\n",
           port, port, last, at);
    printf("  build/synod cluster kill %u --dir %s    (pause, resume, start; down ends it)\n"
           "  build/synod cluster add --dir %s        (and `cluster remove N`)\n",
           n, dir, dir);
}

/* Load, kill, restart: false after a line on stderr. */
static bool load_all(struct demo *d, bool fresh)
{
    struct loader_result clear, load;
    if (!fresh && !demo_pass(d, LOADER_CLEAR, "clearing", &clear)) return false;
    if (!demo_pass(d, LOADER_LOAD, "loading", &load)) return false;
    if (d->own && !demo_kill_end(d)) return false;
    demo_say(d,
             "loaded %zu records, %.1f MB in %.1f s: %.0f records/s, %.1f MB/s; %zu sent a second "
             "time",
             load.done, (double)load.bytes / 1e6, load.seconds, (double)load.done / load.seconds,
             (double)load.bytes / 1e6 / load.seconds, load.retried);
    return !d->own || cluster_wait(&d->cluster, 0, false, CLUSTER_WAIT_MS) == EXIT_DONE;
}

static bool verify_all(struct demo *d)
{
    struct loader_result verify;
    if (!demo_pass(d, LOADER_VERIFY, "checking", &verify)) return false;
    demo_say(d, "read back %zu acknowledged records in %.1f s (%.0f/s): %zu missing, %zu different",
             verify.done, verify.seconds, (double)verify.done / verify.seconds, verify.missing,
             verify.different);
    if (verify.missing || verify.different)
        cli_fail("data was lost or changed, for example %s", verify.example);
    return !verify.missing && !verify.different;
}

/* EXIT_DONE only if all of it is as promised. */
static int demo_body(struct demo *d, bool fresh)
{
    uint64_t began = clock_ns();
    if (!load_all(d, fresh) || !verify_all(d)) return EXIT_FAILED;
    if (!d->own) return EXIT_DONE;
    if (!demo_digests(d) || !demo_script(d) || !demo_jobs(d) || !demo_dask(d) || !demo_ring(d) ||
        !verify_all(d) || !demo_digests(d) || !demo_redis_check(d))
        return EXIT_FAILED;
    demo_say(d, "all of this took %.0f s", (double)(clock_ns() - began) / 1e9);
    return EXIT_DONE;
}

static int demo_run(struct demo *d, const char *command, const struct demo_request *q)
{
    const char *source;
    char error[256];
    bool fresh = false;
    if (!packages_read(&d->packages, q->file, &source, error, sizeof error))
        return cli_fail("%s", error);
    printf("%zu package records (%.1f MB) from %s\n", d->packages.count,
           (double)d->packages.text.size / 1e6, source);
    fflush(stdout);

    int status = q->at ? addresses_parse(d, command, q->at) : cluster_begin(d, q, &fresh);
    if (status == EXIT_DONE) status = demo_body(d, fresh);
    if (d->own && q->leave) {
        int down = cluster_down(&d->cluster);
        if (status == EXIT_DONE) status = down;
    } else if (d->own && status == EXIT_DONE) {
        how_to_go_on(d);
    } else if (d->own) {
        fprintf(stderr,
                "The cluster is left running for a look: synod cluster down --dir %s ends it.\n",
                d->cluster.dir);
    }
    return status;
}

int cmd_demo(int argc, char **argv)
{
    struct demo_request q = {.dir = "./synod-data", .port = 7001, .groups = 16, .nodes = 3};
    const struct option table[] = {
        {"exit", OPTION_FLAG, &q.leave, .help = "end the cluster at the end"},
        {"dir", OPTION_TEXT, &q.dir, .value = "DIR",
         .help = "the cluster's directory (./synod-data)"},
        {"port", OPTION_NUMBER, &q.port, 1, 55500, .value = "PORT",
         .help = "of the first node (7001)"},
        {"nodes", OPTION_NUMBER, &q.nodes, 3, CLUSTER_NODES_MAX, .value = "N",
         .help = "how many (3)"},
        {"groups", OPTION_NUMBER, &q.groups, 1, 16384, .value = "N", .help = "groups (16)"},
        {"file", OPTION_TEXT, &q.file, .value = "FILE",
         .help = "records from here instead of from apt-cache"},
        {"at", OPTION_TEXT, &q.at, .value = "HOST:PORT,...",
         .help = "load into these servers, start and kill none"},
        {"io", OPTION_TEXT, &q.io, .value = "V", .help = "handed to the servers of a new cluster"},
        {"read-mode", OPTION_TEXT, &q.read_mode, .value = "V", .help = "the same"},
        {0},
    };
    struct options_text text = {0};
    int status = options_parse(&(struct options){usage, table}, argc, argv, NULL, &text);
    if (status == EXIT_DONE) {
        struct demo *d = mem_zalloc(sizeof *d);
        d->loader.packages = &d->packages;
        d->loader.connections = 2;
        status = demo_run(d, argv[0], &q);
        writer_free(d->writer);
        client_free(d->probe.client);
        packages_deinit(&d->packages);
        cluster_close(&d->cluster);
        mem_free(d);
    }
    options_text_free(&text);
    return status;
}
