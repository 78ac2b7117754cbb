/* synod demo: real data into three nodes, one of which is killed in the middle, and a count at the
 * end.
 *
 * What `make run` runs. With --at it loads into servers that run already, kills nobody, and
 * compares what it can. */
#include "cli/client.h"
#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/loader.h"
#include "cli/packages.h"

#include "base/mem.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CALL_MS          5000
#define PROBE_RETRY_NS   2000000ull
#define PROBE_MAX_NS     30000000000ull
#define DIGEST_WAIT_MS   20000
#define DIGEST_BYTES_MAX 64
#define REPLICAS_MAX     5 /* a group has a replica on every founding node, up to so many */

static const char usage[] =
    "usage: synod demo [options]\n"
    "  Starts a cluster of three nodes, loads the package index of this machine into it, kills "
    "the\n"
    "  node that leads most groups in the middle of that, and shows that nothing acknowledged is\n"
    "  missing. The cluster stays, unless --exit.\n\n";

/* One key of a group that the victim led, written again and again until it is accepted elsewhere.
 */
struct probe {
    char address[OPTION_ADDRESS_MAX];
    char key[48];
    struct client *client;
    bool waiting;
    uint64_t killed_ns, accepted_ns, sent_ns, next_ns;
};

enum stage { STAGE_BEFORE, STAGE_KILLED, STAGE_BACK, STAGE_CALM };

struct demo {
    struct cluster cluster;
    bool own; /* the cluster is ours to kill; else --at */
    bool tty;
    enum stage stage;
    unsigned victim; /* node number */
    unsigned led;    /* groups (ranges of slots) it led */
    struct probe probe;
    struct packages packages;
    struct loader loader;
    const char *verb; /* for the progress line */
    unsigned shown;   /* per cent, or on a terminal tenths of a second */
    bool failed;
};

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static struct client *demo_connect(const char *address)
{
    char error[256];
    struct client *c = client_connect(address, CALL_MS, error, sizeof error);
    if (!c) cli_fail("%s", error);
    return c;
}

/* ---- progress ---- */

static void progress_show(struct demo *d, const struct loader_result *r)
{
    size_t total = d->packages.count;
    unsigned percent = (unsigned)(r->done * 100 / (total ? total : 1));
    double rate = r->seconds > 0 ? (double)r->done / r->seconds : 0;
    if (d->tty) {
        unsigned tick = (unsigned)(r->seconds * 10);
        if (tick == d->shown && r->done < total) return;
        d->shown = tick;
        static const char bar[] = "########################################";
        int filled = (int)(percent * 40 / 100);
        printf("\r%-8s [%.*s%*s] %3u %%  %zu of %zu  %.0f/s ", d->verb, filled, bar, 40 - filled,
               "", percent, r->done, total, rate);
        if (r->done == total) putchar('\n');
    } else {
        if (percent / 10 <= d->shown) return;
        d->shown = percent / 10;
        printf("%-8s %3u %%  %zu of %zu  %.0f/s\n", d->verb, percent, r->done, total, rate);
    }
    fflush(stdout);
}

static void progress_note(struct demo *d, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void progress_note(struct demo *d, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (d->tty) fputs("\r\033[K", stdout);
    vprintf(format, args);
    putchar('\n');
    fflush(stdout);
    va_end(args);
}

/* ---- the kill ---- */

/* Counts the ranges each node leads, from CLUSTER SLOTS: [first, last, [host, port, ...leader],
 * ...replicas]. */
static unsigned slots_victim(const struct demo *d, const struct client_reply *slots, unsigned *led)
{
    unsigned count[CLUSTER_NODES_MAX + 1] = {0}, best = 0;
    for (size_t i = 0; i < slots->count; i++) {
        const struct client_reply *range = &slots->items[i];
        if (range->count < 3 || range->items[2].count < 2) continue;
        int64_t node = range->items[2].items[1].integer - (int64_t)d->cluster.port + 1;
        if (node < 1 || node > d->cluster.nodes) continue;
        count[node]++;
        if (count[node] > count[best] || best == 0) best = (unsigned)node;
    }
    *led = count[best];
    return best;
}

static bool slot_led_by(const struct demo *d, const struct client_reply *slots, int64_t slot,
                        unsigned node)
{
    for (size_t i = 0; i < slots->count; i++) {
        const struct client_reply *range = &slots->items[i];
        if (range->count < 3 || range->items[2].count < 2) continue;
        if (slot < range->items[0].integer || slot > range->items[1].integer) continue;
        return range->items[2].items[1].integer == (int64_t)(d->cluster.port + node - 1);
    }
    return false;
}

/* Chooses the victim and a key of a group that it leads. */
static bool victim_choose(struct demo *d)
{
    char address[OPTION_ADDRESS_MAX];
    cluster_address(&d->cluster, 1, address);
    struct client *map = demo_connect(address), *ask = demo_connect(address);
    const struct client_reply *slots = map ? client_call(map, "CLUSTER SLOTS") : NULL;
    bool found = false;

    if (slots && slots->type == CLIENT_ARRAY && ask) {
        d->victim = slots_victim(d, slots, &d->led);
        for (unsigned i = 0; d->victim && !found && i < 10000; i++) {
            snprintf(d->probe.key, sizeof d->probe.key, "demo:probe:%u", i);
            const struct client_reply *slot = client_call(ask, "CLUSTER KEYSLOT %s", d->probe.key);
            if (!slot || slot->type != CLIENT_INTEGER) break;
            found = slot_led_by(d, slots, slot->integer, d->victim);
        }
    }
    if (!found) cli_fail("CLUSTER SLOTS of %s does not say who leads", address);
    client_free(map);
    client_free(ask);
    return found;
}

static bool victim_kill(struct demo *d)
{
    if (!victim_choose(d)) return false;
    unsigned other = d->victim % d->cluster.nodes + 1;
    cluster_address(&d->cluster, other, d->probe.address);
    d->probe.client = demo_connect(d->probe.address);

    progress_note(d, "kill -9 of node %u, which leads %u of %u groups", d->victim, d->led,
                  d->cluster.groups);
    d->probe.killed_ns = clock_ns();
    d->stage = STAGE_KILLED;
    return cluster_signal(&d->cluster, d->victim, SIGKILL) == EXIT_DONE;
}

static void probe_lost(struct probe *p)
{
    char error[128];
    client_free(p->client);
    p->client = client_connect(p->address, 200, error, sizeof error);
    p->waiting = false;
}

/* One step of the probe; never waits. */
static void probe_step(struct probe *p)
{
    const struct client_reply *r;
    uint64_t now = clock_ns();
    if (p->accepted_ns || now < p->next_ns) return;
    if (!p->client) probe_lost(p);
    if (!p->client) return;
    if (!p->waiting) {
        client_appendf(p->client, "SET %s %llu", p->key, (unsigned long long)now);
        p->sent_ns = now;
        p->waiting = client_flush(p->client);
    }

    int got = p->waiting ? client_receive(p->client, 0) : -1;
    if (got > 0) got = client_next(p->client, &r);
    if (got < 0 || now - p->sent_ns > 2000000000ull) probe_lost(p);
    if (got <= 0) return;
    p->waiting = false;
    p->next_ns = now + PROBE_RETRY_NS;
    if (r->type == CLIENT_STATUS) p->accepted_ns = clock_ns();
}

/* After the kill: the probe; the victim comes back when the probe went through and a quarter is
 * left to load. */
static bool stage_step(struct demo *d, bool restart)
{
    if (d->stage == STAGE_KILLED) {
        probe_step(&d->probe);
        if (d->probe.accepted_ns) {
            progress_note(d, "its groups accept writes again after %.0f ms",
                          (double)(d->probe.accepted_ns - d->probe.killed_ns) / 1e6);
            d->stage = STAGE_BACK;
        } else if (clock_ns() - d->probe.killed_ns > PROBE_MAX_NS) {
            cli_fail("no write was accepted for %llu s after the kill",
                     PROBE_MAX_NS / 1000000000ull);
            return false;
        }
    }
    if (d->stage == STAGE_BACK && restart) {
        progress_note(d, "node %u is started again", d->victim);
        d->stage = STAGE_CALM;
        return cluster_start(&d->cluster, d->victim) == EXIT_DONE;
    }
    return true;
}

static bool load_turn(void *ctx, const struct loader_result *r)
{
    struct demo *d = ctx;
    size_t total = d->packages.count;
    progress_show(d, r);
    if (!d->own) return true;
    if (d->stage == STAGE_BEFORE && r->done >= total / 2) d->failed = !victim_kill(d);
    if (!d->failed) d->failed = !stage_step(d, r->done >= total * 3 / 4);
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
    d->verb = verb;
    d->shown = 0;
    d->loader.turn = kind == LOADER_LOAD ? load_turn : plain_turn;
    d->loader.ctx = d;
    if (loader_run(&d->loader, kind, result, error, sizeof error)) return true;
    if (d->tty) putchar('\n');
    if (!d->failed) cli_fail("%s", error);
    return false;
}

/* ---- digests ---- */

struct sample {
    unsigned node;
    uint64_t group, position;
    char digest[DIGEST_BYTES_MAX];
};

struct samples {
    struct sample *list;
    size_t count, capacity;
};

/* Adds node's lines "group position digest". False if the answer is none. */
static bool samples_add(struct samples *s, unsigned node, struct bytes text)
{
    char line[256];
    for (size_t at = 0; at < text.size;) {
        const uint8_t *end = memchr(text.data + at, '\n', text.size - at);
        size_t size = end ? (size_t)(end - text.data) - at : text.size - at;
        struct sample one = {.node = node};
        unsigned long long group, position;
        if (size >= sizeof line) return false;
        memcpy(line, text.data + at, size);
        line[size] = 0;
        at += size + 1;
        if (size == 0) continue;
        if (sscanf(line, "%llu %llu %63s", &group, &position, one.digest) != 3) return false;
        one.group = group, one.position = position;
        if (s->count == s->capacity) {
            s->capacity = s->capacity ? s->capacity * 2 : 256;
            s->list = mem_realloc(s->list, s->capacity * sizeof *s->list);
        }
        s->list[s->count++] = one;
    }
    return true;
}

static int sample_order(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    if (x->position != y->position) return x->position < y->position ? -1 : 1;
    return (x->node > y->node) - (x->node < y->node);
}

/* Groups for which some position was seen on every replica; *bad is the first sample that differs
 * from another at its position. */
static unsigned samples_compare(struct samples *s, int replicas, const struct sample **bad)
{
    unsigned groups = 0;
    uint64_t last_group = UINT64_MAX;
    qsort(s->list, s->count, sizeof *s->list, sample_order);
    for (size_t i = 0, end; i < s->count; i = end) {
        uint64_t seen = 0;
        for (end = i; end < s->count && s->list[end].group == s->list[i].group &&
                      s->list[end].position == s->list[i].position;
             end++) {
            if (strcmp(s->list[end].digest, s->list[i].digest) != 0) *bad = &s->list[end];
            seen |= 1ull << s->list[end].node;
        }
        if (__builtin_popcountll(seen) < replicas || s->list[i].group == last_group) continue;
        last_group = s->list[i].group;
        groups++;
    }
    return groups;
}

static bool samples_take(struct samples *s, const struct demo *d)
{
    for (unsigned n = 1; n <= d->loader.addresses; n++) {
        struct client *c = demo_connect(d->loader.address[n - 1]);
        const struct client_reply *r = c ? client_call(c, "SYNOD DIGEST") : NULL;
        bool good = r && r->type == CLIENT_BULK && samples_add(s, n, r->text);
        if (!good && c)
            cli_fail("%s does not answer SYNOD DIGEST: %.*s", d->loader.address[n - 1],
                     r ? (int)r->text.size : 0,
                     r && r->text.size ? (const char *)r->text.data : "");
        client_free(c);
        if (!good) return false;
    }
    return true;
}

/* Waits until every group was seen at one position on all nodes, and compares there. */
static bool digests_compare(const struct demo *d)
{
    struct samples s = {0};
    const struct sample *bad = NULL;
    unsigned equal = 0, nodes = d->loader.addresses, groups = d->cluster.groups;
    uint64_t deadline = clock_ns() + DIGEST_WAIT_MS * 1000000ull;
    bool asked;
    do {
        if (s.count) sleep_ms(100);
        asked = samples_take(&s, d);
        if (asked)
            equal = samples_compare(&s, nodes < REPLICAS_MAX ? (int)nodes : REPLICAS_MAX, &bad);
    } while (asked && !bad && equal < groups && clock_ns() < deadline);

    if (bad)
        cli_fail("group %llu differs between replicas at position %llu (node %u); keep the data "
                 "directories, this is a bug",
                 (unsigned long long)bad->group, (unsigned long long)bad->position, bad->node);
    else if (asked && equal < groups)
        cli_fail("%u of %u groups did not reach one position on all replicas within %d s",
                 groups - equal, groups, DIGEST_WAIT_MS / 1000);
    else if (asked)
        printf("equal on all replicas: %u of %u groups, by digest\n", equal, groups);
    mem_free(s.list);
    return asked && !bad && equal >= groups;
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
        c->nodes = (unsigned)q->nodes, c->port = (unsigned)q->port, c->groups = (unsigned)q->groups;
        if (q->io) buf_printf(&c->extra, "io %s\n", q->io);
        if (q->read_mode) buf_printf(&c->extra, "read-mode %s\n", q->read_mode);
        status = cluster_create(c);
    }
    printf("starting %u nodes with %u groups in %s\n", d->cluster.nodes, d->cluster.groups,
           d->cluster.dir);
    fflush(stdout);
    for (unsigned n = 1; n <= d->cluster.nodes && status == EXIT_DONE; n++)
        status = cluster_start(&d->cluster, n);
    if (status == EXIT_DONE) status = cluster_wait(&d->cluster, 0, false, CLUSTER_WAIT_MS);
    if (status != EXIT_DONE) return status;

    d->loader.addresses = d->cluster.nodes;
    for (unsigned n = 1; n <= d->cluster.nodes; n++) {
        cluster_address(&d->cluster, n, d->loader.address[n - 1]);
        printf("  node %u at %s\n", n, d->loader.address[n - 1]);
    }
    fflush(stdout);
    return EXIT_DONE;
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

static void how_to_go_on(const struct demo *d)
{
    unsigned port = d->cluster.port;
    printf("\nThe cluster runs on. Try:\n"
           "  redis-cli -p %u hgetall pkg:bash\n"
           "  redis-cli -p %u set a 1 && redis-cli -p %u get a\n"
           "  build/synod status --at 127.0.0.1:%u\n"
           "  build/synod cluster kill 2 --dir %s    (pause, resume, start; down ends it)\n",
           port, port, port + d->cluster.nodes - 1, port, d->cluster.dir);
}

/* Load, kill, restart, count, compare: EXIT_DONE only if all of it is as promised. */
static int demo_body(struct demo *d, bool fresh)
{
    struct loader_result clear, load, verify;
    if (!fresh && !demo_pass(d, LOADER_CLEAR, "clearing", &clear)) return EXIT_FAILED;
    if (!demo_pass(d, LOADER_LOAD, "loading", &load)) return EXIT_FAILED;
    while (d->own && d->stage != STAGE_CALM) {
        if (!stage_step(d, true)) return EXIT_FAILED;
        sleep_ms(1);
    }
    printf("loaded %zu records, %.1f MB in %.1f s: %.0f records/s, %.1f MB/s; %zu sent a second "
           "time\n",
           load.done, (double)load.bytes / 1e6, load.seconds, (double)load.done / load.seconds,
           (double)load.bytes / 1e6 / load.seconds, load.retried);
    if (d->own && cluster_wait(&d->cluster, 0, false, CLUSTER_WAIT_MS) != EXIT_DONE)
        return EXIT_FAILED;

    if (!demo_pass(d, LOADER_VERIFY, "checking", &verify)) return EXIT_FAILED;
    printf("read back %zu acknowledged records in %.1f s (%.0f/s): %zu missing, %zu different\n",
           verify.done, verify.seconds, (double)verify.done / verify.seconds, verify.missing,
           verify.different);
    if (verify.missing || verify.different)
        return cli_fail("data was lost or changed, for example %s", verify.example);
    if (d->own && !digests_compare(d)) return EXIT_FAILED;
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
        d->tty = isatty(STDOUT_FILENO);
        d->loader.packages = &d->packages;
        d->loader.connections = 2;
        status = demo_run(d, argv[0], &q);
        client_free(d->probe.client);
        packages_deinit(&d->packages);
        cluster_close(&d->cluster);
        mem_free(d);
    }
    options_text_free(&text);
    return status;
}
