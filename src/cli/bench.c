/* synod bench: a closed-loop load generator. One thread, N connections; each sends P operations,
 * waits for all answers, and sends the next. So what is measured is a server under N * P operations
 * at a time, and the generator's own share of the machine is the same for every server. Latency is
 * from handing the batch to the socket to reading the answer. */
#include "base/assert.h"
#include "base/mem.h"
#include "base/prng.h"
#include "cli/bench_keys.h"
#include "cli/bench_wire.h"
#include "cli/clock.h"
#include "cli/commands.h"
#include "cli/histogram.h"
#include "cli/options.h"
#include "cli/process.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define ADDRESSES_MAX 32
#define PIDS_MAX      32
#define KINDS_MAX     16
#define KIND_BYTES    48
#define RECEIVE_BYTES (64u << 10)
#define RECONNECT_NS  20000000ull

static const char usage[] = "usage: synod bench [options]\n"
                            "  Loads servers that speak RESP (synod, Redis) or, with --etcd, etcd, "
                            "and says what they did.\n\n";

struct conn {
    int fd; /* -1: not connected */
    unsigned address;
    unsigned owed; /* operations of the batch without an answer yet */
    bool blocked;  /* waiting for room to send */
    uint64_t batch_ns, reopen_ns;
    struct buf in, out;
    size_t sent; /* bytes of `out` that left */
    struct bench_wire wire;
};

enum transfer { TRANSFER_ANY, TRANSFER_TAG };

struct error_kind {
    char word[KIND_BYTES];
    uint64_t count;
};

struct bench {
    struct sockaddr_storage address[ADDRESSES_MAX];
    socklen_t address_size[ADDRESSES_MAX];
    unsigned addresses;
    pid_t pid[PIDS_MAX];
    unsigned pids;
    unsigned weight[BENCH_OPS], weight_sum;
    uint64_t clients, pipeline, value_bytes, keys, requests, wait_replicas, seed;
    uint64_t seconds_ms, warmup_ms;
    const char *prefix;
    double zipf;
    int transfer; /* enum transfer */
    bool etcd, as_json, fill;

    struct conn *conn;
    int epoll;
    struct prng random;
    struct bench_keys draws;
    uint8_t *value;
    uint64_t issued, done; /* operations, warm-up included */
    bool measuring;
    struct histogram latency;  /* ns */
    uint64_t heard_ns, gap_ns; /* the last success; the longest time between two */
    struct error_kind kind[KINDS_MAX];
    unsigned kinds;
    uint64_t errors;
};

/* Counts an error under its first word, as Redis's errors have their kind there. */
static void error_count(struct bench *b, struct bytes text)
{
    size_t size = 0;
    while (size < text.size && text.data[size] > ' ' && size + 1 < KIND_BYTES) size++;
    b->errors++;
    for (unsigned i = 0; i < b->kinds; i++) {
        if (strlen(b->kind[i].word) != size || memcmp(b->kind[i].word, text.data, size) != 0)
            continue;
        b->kind[i].count++;
        return;
    }
    if (b->kinds == KINDS_MAX) return; /* in the sum all the same */
    struct error_kind *k = &b->kind[b->kinds++];
    memcpy(k->word, text.data, size);
    k->word[size] = 0;
    for (char *c = k->word; *c; c++)
        if (*c < '!' || *c > '~' || *c == '"' || *c == '\\') *c = '?'; /* it goes into JSON */
    k->count = 1;
}

/* ---- connections ---- */

static void conn_watch(struct bench *b, struct conn *c, int how)
{
    struct epoll_event e = {.events = EPOLLIN | (c->blocked ? EPOLLOUT : 0u), .data.ptr = c};
    (void)epoll_ctl(b->epoll, how, c->fd, &e);
}

static void conn_close(struct bench *b, struct conn *c, const char *why)
{
    error_count(b, bytes_str(why));
    close(c->fd);
    c->fd = -1;
    c->owed = 0;
    c->address = (c->address + 1) % b->addresses;
    c->reopen_ns = clock_ns() + RECONNECT_NS;
}

static void conn_flush(struct bench *b, struct conn *c)
{
    bool blocked = false;
    while (c->sent < c->out.size && !blocked) {
        ssize_t n = send(c->fd, c->out.data + c->sent, c->out.size - c->sent, MSG_NOSIGNAL);
        if (n >= 0)
            c->sent += (size_t)n;
        else if (errno == EAGAIN)
            blocked = true;
        else if (errno != EINTR) {
            conn_close(b, c, "CONNECTION");
            return;
        }
    }
    if (!blocked) {
        buf_clear(&c->out);
        c->sent = 0;
    }
    if (blocked != c->blocked) {
        c->blocked = blocked;
        conn_watch(b, c, EPOLL_CTL_MOD);
    }
}

static enum bench_op op_choose(struct bench *b)
{
    uint64_t n = prng_below(&b->random, b->weight_sum);
    unsigned op = 0;
    while (n >= b->weight[op]) n -= b->weight[op++];
    ASSERT(op < BENCH_OPS);
    return (enum bench_op)op;
}

static struct bytes account(const struct bench *b, uint64_t number, char *out, size_t room)
{
    unsigned long long tag = bench_keys_tag(&b->draws, number), n = number;
    int size = b->transfer == TRANSFER_TAG
                   ? snprintf(out, room, "{%.64st%llu}%012llu", b->prefix, tag, n)
                   : snprintf(out, room, "%.64st%012llu", b->prefix, n);
    return bytes_of(out, (size_t)size);
}

static void transfer_say(struct bench *b, struct conn *c, uint64_t from)
{
    char text[2][128];
    uint64_t to = b->transfer == TRANSFER_TAG ? bench_keys_tagged(&b->draws, from, &b->random)
                                              : bench_keys_other(&b->draws, from, &b->random);
    bench_wire_transfer(&c->wire, &c->out, account(b, from, text[0], sizeof text[0]),
                        account(b, to, text[1], sizeof text[1]),
                        1 + (uint32_t)prng_below(&b->random, 100));
}

static void op_say(struct bench *b, struct conn *c, enum bench_op op, uint64_t number)
{
    char key[128];
    if (op == BENCH_TRANSFER) {
        transfer_say(b, c, number);
        return;
    }
    int size = snprintf(key, sizeof key, "%.64s%c%012llu", b->prefix,
                        op == BENCH_HSET || op == BENCH_HGET ? 'h'
                        : op == BENCH_INCR                   ? 'n'
                                                             : 's',
                        (unsigned long long)number);
    bench_wire_say(&c->wire, &c->out, op, bytes_of(key, (size_t)size),
                   bytes_of(b->value, b->value_bytes));
}

/* Fills the connection's window with new operations, as far as any are left. */
static void batch_start(struct bench *b, struct conn *c)
{
    for (uint64_t i = 0; i < b->pipeline && (b->requests == 0 || b->issued < b->requests); i++) {
        enum bench_op op = op_choose(b);
        op_say(b, c, op, b->fill ? b->issued % b->keys : bench_keys_draw(&b->draws, &b->random));
        c->owed++;
        b->issued++;
    }
    c->batch_ns = clock_ns();
    if (c->owed || c->out.size) conn_flush(b, c);
}

static void conn_open(struct bench *b, struct conn *c)
{
    const struct sockaddr *to = (const struct sockaddr *)&b->address[c->address];
    int on = 1;
    c->fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, to, b->address_size[c->address]) < 0) {
        if (c->fd >= 0) conn_close(b, c, "CONNECT");
        return;
    }
    (void)fcntl(c->fd, F_SETFL, O_NONBLOCK);
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    buf_clear(&c->in), buf_clear(&c->out);
    c->sent = 0;
    c->blocked = false;
    c->wire.etcd = b->etcd;
    c->wire.wait_replicas = (unsigned)b->wait_replicas;
    conn_watch(b, c, EPOLL_CTL_ADD);
    bench_wire_open(&c->wire, &c->out);
    batch_start(b, c);
}

static void success(struct bench *b, uint64_t took, uint64_t now)
{
    histogram_add(&b->latency, took);
    if (now - b->heard_ns > b->gap_ns) b->gap_ns = now - b->heard_ns;
    b->heard_ns = now;
}

/* Takes all whole answers that are in the buffer. */
static bool answers_take(struct bench *b, struct conn *c, uint64_t now)
{
    size_t at = 0, used;
    enum bench_heard heard = BENCH_OTHER;
    while (heard != BENCH_MORE && heard != BENCH_BAD) {
        struct bytes error = {0};
        heard = bench_wire_hear(&c->wire, bytes_of(c->in.data + at, c->in.size - at), &used,
                                &c->out, &error);
        at += used;
        if (heard != BENCH_OK && heard != BENCH_ERROR) continue;
        if (c->owed == 0) return false;
        c->owed--;
        b->done++;
        if (heard == BENCH_ERROR)
            error_count(b, error);
        else if (b->measuring)
            success(b, now - c->batch_ns, now);
    }
    buf_drop_front(&c->in, at);
    return heard != BENCH_BAD;
}

static void conn_receive(struct bench *b, struct conn *c)
{
    ssize_t n = recv(c->fd, buf_reserve(&c->in, RECEIVE_BYTES), RECEIVE_BYTES, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        conn_close(b, c, "CONNECTION");
        return;
    }
    c->in.size += (size_t)n;
    if (!answers_take(b, c, clock_ns())) {
        conn_close(b, c, "PROTOCOL");
        return;
    }
    if (c->owed == 0)
        batch_start(b, c);
    else if (c->out.size && !c->blocked)
        conn_flush(b, c);
}

/* ---- the run ---- */

static void measure_start(struct bench *b, uint64_t now)
{
    b->heard_ns = now;
    b->gap_ns = 0;
    memset(&b->latency, 0, sizeof b->latency);
    memset(b->kind, 0, sizeof b->kind);
    b->kinds = 0;
    b->errors = 0;
    b->measuring = true;
}

static uint64_t cpu_sum(const struct bench *b)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < b->pids; i++) sum += process_cpu_us(b->pid[i]);
    return sum;
}

static void bench_turn(struct bench *b)
{
    struct epoll_event event[256];
    int n = epoll_wait(b->epoll, event, 256, 5);
    for (int i = 0; i < n; i++) {
        struct conn *c = event[i].data.ptr;
        if (c->fd >= 0 && event[i].events & EPOLLOUT) conn_flush(b, c);
        if (c->fd >= 0 && event[i].events & ~(uint32_t)EPOLLOUT) conn_receive(b, c);
    }
}

/* Lost connections are opened again, after a while and elsewhere. */
static void conns_reopen(struct bench *b, uint64_t now)
{
    for (uint64_t i = 0; i < b->clients; i++)
        if (b->conn[i].fd < 0 && now >= b->conn[i].reopen_ns) conn_open(b, &b->conn[i]);
}

struct measure {
    double seconds, cpu_us_per_op;
    uint64_t memory;
};

static void bench_run(struct bench *b, struct measure *m)
{
    uint64_t start = clock_ns(), begin = start + b->warmup_ms * 1000000, check = start;
    uint64_t end = b->requests ? UINT64_MAX : begin + b->seconds_ms * 1000000, now = start, cpu = 0;
    if (b->requests) begin = start;
    b->heard_ns = begin;
    for (uint64_t i = 0; i < b->clients; i++) conn_open(b, &b->conn[i]);

    while (now < end && (b->requests == 0 || b->done < b->requests)) {
        if (!b->measuring && now >= begin) {
            if (!b->requests) measure_start(b, now);
            b->measuring = true;
            begin = now;
            cpu = cpu_sum(b);
        }
        bench_turn(b);
        now = clock_ns();
        if (now < check) continue;
        check = now + RECONNECT_NS;
        conns_reopen(b, now);
        if (b->requests && b->issued == b->requests &&
            b->errors) { /* a lost connection took its operations along */
            uint64_t owed = 0;
            for (uint64_t i = 0; i < b->clients; i++) owed += b->conn[i].owed;
            if (owed == 0) break;
        }
    }
    if (now - b->heard_ns > b->gap_ns) b->gap_ns = now - b->heard_ns;
    m->seconds = (double)(now - begin) / 1e9;
    m->cpu_us_per_op = b->latency.count ? (double)(cpu_sum(b) - cpu) / (double)b->latency.count : 0;
    for (unsigned i = 0; i < b->pids; i++) m->memory += process_memory(b->pid[i]);
}

static void report(const struct bench *b, const struct measure *m)
{
    const struct histogram *h = &b->latency;
    double rate = (double)h->count / m->seconds;
    double p50 = (double)histogram_quantile(h, 0.5) / 1e3,
           p99 = (double)histogram_quantile(h, 0.99) / 1e3,
           p999 = (double)histogram_quantile(h, 0.999) / 1e3, max = (double)h->max / 1e3;
    if (b->as_json) {
        printf("{\"ops\":%llu,\"seconds\":%.3f,\"ops_per_s\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,"
               "\"p999_us\":%.1f,"
               "\"max_us\":%.1f,\"gap_us\":%.1f,\"cpu_us_per_op\":%.3f,\"memory_bytes\":%llu,"
               "\"errors\":{",
               (unsigned long long)h->count, m->seconds, rate, p50, p99, p999, max,
               (double)b->gap_ns / 1e3, m->cpu_us_per_op, (unsigned long long)m->memory);
        for (unsigned i = 0; i < b->kinds; i++)
            printf("%s\"%s\":%llu", i ? "," : "", b->kind[i].word,
                   (unsigned long long)b->kind[i].count);
        puts("}}");
        return;
    }
    printf("%llu operations in %.2f s: %.0f/s\n", (unsigned long long)h->count, m->seconds, rate);
    printf("latency ms: p50 %.3f  p99 %.3f  p99.9 %.3f  max %.3f\n", p50 / 1e3, p99 / 1e3,
           p999 / 1e3, max / 1e3);
    printf("longest time without a success: %.3f ms\n", (double)b->gap_ns / 1e6);
    if (b->pids)
        printf("servers: %.2f us of CPU an operation, %.1f MB\n", m->cpu_us_per_op,
               (double)m->memory / 1e6);
    if (b->errors) printf("errors: %llu\n", (unsigned long long)b->errors);
    for (unsigned i = 0; i < b->kinds; i++)
        printf("  %-20s %llu\n", b->kind[i].word, (unsigned long long)b->kind[i].count);
}

/* ---- options ---- */

static int addresses_parse(struct bench *b, const char *command, const char *list)
{
    char one[OPTION_ADDRESS_MAX], host[256], service[8];
    for (const char *at = list;;) {
        uint16_t port;
        size_t size = strcspn(at, ",");
        if (size >= sizeof one || b->addresses == ADDRESSES_MAX)
            return cli_usage(command, "--at has too much in it");
        memcpy(one, at, size);
        one[size] = 0;
        if (!address_split(one, host, sizeof host, &port))
            return cli_usage(command, "'%s' is no HOST:PORT", one);
        snprintf(service, sizeof service, "%u", port);

        struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
        int error = getaddrinfo(host, service, &hints, &found);
        if (error) return cli_fail("cannot find %s: %s", host, gai_strerror(error));
        memcpy(&b->address[b->addresses], found->ai_addr, found->ai_addrlen);
        b->address_size[b->addresses++] = found->ai_addrlen;
        freeaddrinfo(found);
        if (!at[size]) return EXIT_DONE;
        at += size + 1;
    }
}

static int pids_parse(struct bench *b, const char *command, const char *list)
{
    for (const char *at = list; at && *at;) {
        char *end;
        long pid = strtol(at, &end, 10);
        if (pid <= 0 || (*end && *end != ',') || b->pids == PIDS_MAX)
            return cli_usage(command, "--pids takes process numbers with commas between them");
        b->pid[b->pids++] = (pid_t)pid;
        at = *end ? end + 1 : end;
    }
    return EXIT_DONE;
}

/* "set=50,get=50", or "set" alone. */
static int mix_parse(struct bench *b, const char *command, const char *mix)
{
    static const char *const name[BENCH_OPS] = {"set",  "get",  "hset",    "hget",
                                                "incr", "ping", "transfer"};
    for (const char *at = mix;;) {
        size_t size = strcspn(at, "=,");
        unsigned op = 0;
        while (op < BENCH_OPS && (strlen(name[op]) != size || memcmp(name[op], at, size) != 0))
            op++;
        char *end = (char *)at + size;
        unsigned long weight = *end == '=' ? strtoul(end + 1, &end, 10) : 1;
        if (op == BENCH_OPS || weight == 0 || weight > 1000000 || (*end && *end != ','))
            return cli_usage(
                command,
                "--mix takes set, get, hset, hget, incr, ping, transfer with weights: set=1,get=9");
        b->weight[op] += (unsigned)weight;
        b->weight_sum += (unsigned)weight;
        if (!*end) return EXIT_DONE;
        at = end + 1;
    }
}

static int zipf_parse(struct bench *b, const char *command, const char *text)
{
    char *end;
    b->zipf = strtod(text, &end);
    if (end == text || *end || !(b->zipf >= 0 && b->zipf < 1))
        return cli_usage(command, "--zipf takes a number from 0 to below 1, not '%s'", text);
    if (b->zipf > 0 && b->keys > BENCH_ZIPF_KEYS_MAX)
        return cli_usage(command, "--zipf takes %u --keys at most", BENCH_ZIPF_KEYS_MAX);
    return EXIT_DONE;
}

static int bench_begin(struct bench *b, const char *command, const char *at, const char *pids,
                       const char *mix)
{
    int status = addresses_parse(b, command, at);
    if (status == EXIT_DONE) status = pids_parse(b, command, pids);
    if (status == EXIT_DONE)
        status = mix_parse(b, command, b->fill && !mix ? "set" : mix ? mix : "set=1,get=1");
    if (status != EXIT_DONE) return status;
    if (b->weight[BENCH_TRANSFER] && b->keys < 2)
        return cli_usage(command, "a transfer takes two --keys");
    bench_keys_init(&b->draws, b->keys, b->zipf);
    if (b->fill) b->requests = b->keys;

    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < b->clients + 64) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
        if (files.rlim_cur < b->clients + 64)
            return cli_fail("%llu clients need more open files than `ulimit -n` allows",
                            (unsigned long long)b->clients);
    }
    b->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (b->epoll < 0) return cli_fail("cannot make an epoll instance: %s", strerror(errno));
    prng_init(&b->random, b->seed);
    b->value = mem_alloc(b->value_bytes + 1);
    for (uint64_t i = 0; i < b->value_bytes; i++)
        b->value[i] = (uint8_t)('a' + prng_below(&b->random, 26));
    b->conn = mem_zalloc(b->clients * sizeof *b->conn);
    for (uint64_t i = 0; i < b->clients; i++)
        b->conn[i].fd = -1, b->conn[i].address = (unsigned)(i % b->addresses);
    return EXIT_DONE;
}

static void bench_end(struct bench *b)
{
    for (uint64_t i = 0; b->conn && i < b->clients; i++) {
        if (b->conn[i].fd >= 0) close(b->conn[i].fd);
        buf_deinit(&b->conn[i].in);
        buf_deinit(&b->conn[i].out);
    }
    if (b->epoll >= 0) close(b->epoll);
    mem_free(b->conn);
    mem_free(b->value);
    mem_free(b);
}

int cmd_bench(int argc, char **argv)
{
    struct bench *b = mem_zalloc(sizeof *b);
    const char *at = "127.0.0.1:7001", *pids = NULL, *mix = NULL, *zipf = "0";
    static const char *const transfers[] = {"any", "tag", NULL};
    *b = (struct bench){.clients = 50,
                        .pipeline = 1,
                        .value_bytes = 100,
                        .keys = 100000,
                        .seconds_ms = 5000,
                        .warmup_ms = 500,
                        .seed = 1,
                        .prefix = "bench:",
                        .epoll = -1};
    const struct option table[] = {
        {"at", OPTION_TEXT, &at, .value = "HOST:PORT,...",
         .help = "servers; connections take turns (127.0.0.1:7001)"},
        {"clients", OPTION_NUMBER, &b->clients, 1, 60000, .value = "N", .help = "connections (50)"},
        {"pipeline", OPTION_NUMBER, &b->pipeline, 1, BENCH_PIPELINE_MAX, .value = "P",
         .help = "operations at once on each (1)"},
        {"mix", OPTION_TEXT, &mix, .value = "OP=WEIGHT,...",
         .help = "of set, get, hset, hget, incr, ping, transfer (set=1,get=1)"},
        {"transfer", OPTION_CHOICE, &b->transfer, .words = transfers, .value = "any|tag",
         .help = "between any two keys, or two with the same hash tag (any)"},
        {"wait", OPTION_NUMBER, &b->wait_replicas, 0, 99, .value = "R",
         .help = "WAIT R 0 behind each write, not transfers (0: none)"},
        {"value-size", OPTION_NUMBER, &b->value_bytes, 0, 32u << 20, .value = "BYTES",
         .help = "(100)"},
        {"keys", OPTION_NUMBER, &b->keys, 1, UINT32_MAX, .value = "N",
         .help = "drawn from so many, evenly (100000)"},
        {"zipf", OPTION_TEXT, &zipf, .value = "S",
         .help = "not evenly: the i-th as often as 1 / i^S, 0 <= S < 1 (0)"},
        {"prefix", OPTION_TEXT, &b->prefix, .value = "TEXT", .help = "of every key (bench:)"},
        {"fill", OPTION_FLAG, &b->fill, .help = "each key once, in order, instead of for a time"},
        {"requests", OPTION_NUMBER, &b->requests, 0, INT64_MAX, .value = "N",
         .help = "so many instead of for a time"},
        {"ms", OPTION_NUMBER, &b->seconds_ms, 1, 86400000, .value = "MS",
         .help = "how long (5000)"},
        {"warmup-ms", OPTION_NUMBER, &b->warmup_ms, 0, 3600000, .value = "MS",
         .help = "before measuring (500)"},
        {"pids", OPTION_TEXT, &pids, .value = "PID,...",
         .help = "the servers' processes: CPU and memory"},
        {"seed", OPTION_NUMBER, &b->seed, 0, INT64_MAX, .value = "S",
         .help = "of keys and mix (1)"},
        {"etcd", OPTION_FLAG, &b->etcd,
         .help = "they are etcd servers: Put, Range and Txn by gRPC"},
        {"json", OPTION_FLAG, &b->as_json, .help = "one JSON object"},
        {0},
    };
    struct options_text text = {0};
    int status = options_parse(&(struct options){usage, table}, argc, argv, NULL, &text);
    if (status == EXIT_DONE) status = zipf_parse(b, argv[0], zipf);
    if (status == EXIT_DONE) status = bench_begin(b, argv[0], at, pids, mix);
    if (status == EXIT_DONE) {
        struct measure m = {0};
        bench_run(b, &m);
        report(b, &m);
        if (b->latency.count == 0) status = cli_fail("not one operation succeeded at %s", at);
    }
    bench_end(b);
    options_text_free(&text);
    return status;
}
