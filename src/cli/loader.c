/* One pass over all records: windows of requests on many connections, one poll loop. */
#include "cli/loader.h"

#include "base/assert.h"
#include "base/mem.h"
#include "cli/client.h"
#include "cli/clock.h"

#include <poll.h>
#include <stdio.h>

#define WINDOW     64 /* requests under way on a connection */
#define CONNECT_MS 500
#define SILENT_MS                                                                                  \
    5000 /* a connection that owes answers and says nothing for so long is given up                \
          */
#define STUCK_MS        60000 /* no record done for so long: the pass fails */
#define RETRY_MS        20
#define CONNECTIONS_MAX (LOADER_ADDRESSES_MAX * 4)

struct conn {
    struct client *client; /* NULL: not connected */
    unsigned address;
    uint32_t sent[WINDOW]; /* ring: records whose replies are owed, oldest at `first` */
    unsigned first, count;
    uint64_t heard_ms, connect_at_ms;
};

struct pass {
    const struct loader *l;
    enum loader_pass kind;
    struct loader_result *result;
    struct conn conn[CONNECTIONS_MAX];
    unsigned conns;
    size_t next;     /* first record never sent */
    uint32_t *again; /* records to send again; a stack */
    size_t again_count;
    uint64_t again_at_ms, progress_ms;
    bool failed;
};

/* ---- requests ---- */

static void request_append(struct pass *p, struct client *c, const struct package *package)
{
    char key[600];
    struct package_field field[PACKAGE_FIELDS_MAX];
    struct bytes word[2 + 2 * PACKAGE_FIELDS_MAX];
    size_t words = 2;
    int size = snprintf(key, sizeof key, "pkg:%.*s", (int)package->name.size,
                        (const char *)package->name.data);
    word[0] = p->kind == LOADER_LOAD    ? BYTES("HSET")
              : p->kind == LOADER_CLEAR ? BYTES("UNLINK")
                                        : BYTES("HGETALL");
    word[1] = bytes_of(key, (size_t)size);

    if (p->kind == LOADER_LOAD) {
        size_t fields = package_fields(package->record, field);
        for (size_t i = 0; i < fields; i++)
            word[words++] = field[i].name, word[words++] = field[i].value;
        p->result->bytes += package->record.size;
    }
    client_append(c, words, word);
}

/* Takes the next record to send; false if there is none for now. */
static bool work_take(struct pass *p, uint64_t now, uint32_t *record)
{
    if (p->again_count && now >= p->again_at_ms) {
        *record = p->again[--p->again_count];
        return true;
    }
    if (p->next >= p->l->packages->count) return false;
    *record = (uint32_t)p->next++;
    return true;
}

static void work_return(struct pass *p, uint32_t record)
{
    ASSERT(p->again_count < p->l->packages->count);
    p->again[p->again_count++] = record;
    p->result->retried++;
}

/* ---- replies ---- */

/* Errors that say: not now, or nobody knows. Anything else is a mistake that sending again would
 * not mend. */
static bool error_may_pass(const struct client_reply *r)
{
    static const char *const word[] = {"UNKNOWN", "TRYAGAIN",   "CLUSTERDOWN", "LOADING",
                                       "BUSY",    "MASTERDOWN", "TIMEOUT"};
    for (size_t i = 0; i < sizeof word / sizeof *word; i++)
        if (client_reply_failed(r, word[i])) return true;
    return false;
}

static void verify_one(struct pass *p, const struct package *package, const struct client_reply *r)
{
    struct package_field field[PACKAGE_FIELDS_MAX];
    size_t fields = package_fields(package->record, field);
    uint64_t expected = 0, found = 0;
    for (size_t i = 0; i < fields; i++)
        expected += package_field_digest(field[i].name, field[i].value);
    for (size_t i = 0; i + 1 < r->count; i += 2) {
        found += package_field_digest(r->items[i].text, r->items[i + 1].text);
        p->result->bytes += r->items[i].text.size + r->items[i + 1].text.size;
    }
    if (r->count == 2 * fields && found == expected) return;

    if (r->count == 0)
        p->result->missing++;
    else
        p->result->different++;
    snprintf(p->result->example, sizeof p->result->example, "pkg:%.*s", (int)package->name.size,
             (const char *)package->name.data);
}

static void reply_take(struct pass *p, struct conn *c, const struct client_reply *r)
{
    uint32_t record = c->sent[c->first];
    c->first = (c->first + 1) % WINDOW;
    c->count--;

    if (r->type == CLIENT_ERROR) {
        snprintf(p->result->example, sizeof p->result->example, "%.*s", (int)r->text.size,
                 (const char *)r->text.data);
        if (error_may_pass(r)) {
            p->again_at_ms = clock_ms() + RETRY_MS;
            work_return(p, record);
        } else {
            p->failed = true;
        }
        return;
    }
    enum client_type wanted = p->kind == LOADER_VERIFY ? CLIENT_ARRAY : CLIENT_INTEGER;
    if (r->type != wanted) {
        snprintf(p->result->example, sizeof p->result->example,
                 "a reply of another type than expected");
        p->failed = true;
        return;
    }
    if (p->kind == LOADER_VERIFY) verify_one(p, &p->l->packages->list[record], r);
    p->result->done++;
    p->progress_ms = clock_ms();
}

/* ---- connections ---- */

static void conn_drop(struct pass *p, struct conn *c, uint64_t now)
{
    client_free(c->client);
    c->client = NULL;
    for (; c->count; c->count--, c->first = (c->first + 1) % WINDOW)
        work_return(p, c->sent[c->first]);
    c->address = (c->address + 1) % p->l->addresses; /* another node may do better */
    c->connect_at_ms = now + RETRY_MS;
}

static void conn_connect(struct pass *p, struct conn *c, uint64_t now)
{
    char error[128];
    if (now < c->connect_at_ms) return;
    c->client = client_connect(p->l->address[c->address], CONNECT_MS, error, sizeof error);
    if (!c->client) {
        snprintf(p->result->example, sizeof p->result->example, "%s", error);
        c->address = (c->address + 1) % p->l->addresses;
        c->connect_at_ms = now + RETRY_MS;
    }
    c->heard_ms = now;
}

/* Refills the window once half of it is free, so that requests travel in batches. */
static void conn_send(struct pass *p, struct conn *c, uint64_t now)
{
    uint32_t record;
    if (c->count > WINDOW / 2) return;
    if (c->count == 0) c->heard_ms = now;
    while (c->count < WINDOW && work_take(p, now, &record)) {
        request_append(p, c->client, &p->l->packages->list[record]);
        c->sent[(c->first + c->count++) % WINDOW] = record;
    }
    if (!client_flush(c->client)) conn_drop(p, c, now);
}

static void conn_receive(struct pass *p, struct conn *c, uint64_t now)
{
    const struct client_reply *r;
    int got = client_receive(c->client, 0);
    if (got > 0) c->heard_ms = now;
    int parsed = 0;
    while (!p->failed && c->count && (parsed = client_next(c->client, &r)) > 0) reply_take(p, c, r);
    bool silent = c->count && now - c->heard_ms > SILENT_MS;
    if (got < 0 || parsed < 0 || silent) conn_drop(p, c, now);
}

static void pass_turn(struct pass *p)
{
    struct pollfd fd[CONNECTIONS_MAX];
    uint64_t now = clock_ms();
    for (unsigned i = 0; i < p->conns; i++) {
        struct conn *c = &p->conn[i];
        if (!c->client) conn_connect(p, c, now);
        if (c->client) conn_send(p, c, now);
        fd[i] = (struct pollfd){.fd = c->client ? client_fd(c->client) : -1, .events = POLLIN};
    }
    (void)poll(fd, p->conns, 5);
    now = clock_ms();
    for (unsigned i = 0; i < p->conns; i++)
        if (p->conn[i].client) conn_receive(p, &p->conn[i], now);
}

bool loader_run(const struct loader *l, enum loader_pass kind, struct loader_result *out,
                char *error, size_t error_size)
{
    ASSERT(l->addresses > 0 && l->addresses <= LOADER_ADDRESSES_MAX && l->connections > 0 &&
           l->connections <= 4);
    struct pass *p = mem_zalloc(sizeof *p);
    uint64_t start = clock_ns();
    *out = (struct loader_result){0};
    *p = (struct pass){.l = l, .kind = kind, .result = out, .conns = l->addresses * l->connections};
    p->again = mem_alloc((l->packages->count + 1) * sizeof *p->again);
    p->progress_ms = clock_ms();
    for (unsigned i = 0; i < p->conns; i++) p->conn[i].address = i % l->addresses;

    bool stopped = false, stuck = false;
    while (out->done < l->packages->count && !p->failed && !stopped && !stuck) {
        pass_turn(p);
        out->seconds = (double)(clock_ns() - start) / 1e9;
        stopped = l->turn && !l->turn(l->ctx, out);
        stuck = clock_ms() - p->progress_ms > STUCK_MS;
    }
    if (p->failed)
        snprintf(error, error_size, "a request was refused: %s", out->example);
    else if (stopped)
        snprintf(error, error_size, "stopped");
    else if (stuck)
        snprintf(error, error_size, "nothing was answered for %d s; last seen: %s", STUCK_MS / 1000,
                 out->example);

    for (unsigned i = 0; i < p->conns; i++) client_free(p->conn[i].client);
    mem_free(p->again);
    mem_free(p);
    return out->done == l->packages->count && !stopped;
}
