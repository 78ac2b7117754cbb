/* The client that keeps writing: one thread, a lock around what the others ask it for. */
#include "cli/writer.h"

#include "base/mem.h"
#include "cli/client.h"
#include "cli/clock.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define CONNECTIONS 4
#define WINDOW      16
#define CONNECT_MS  300
#define SILENT_MS   3000
#define RETRY_MS    20
#define TURN_MS     2
#define VALUE_BYTES 100
#define BATCH       256

struct wconn {
    struct client *client; /* NULL: not connected */
    unsigned place;        /* in the list of addresses */
    uint32_t sent[WINDOW]; /* ring: records whose replies are owed, oldest at `first` */
    unsigned first, count;
    uint64_t heard_ms, connect_at_ms;
};

struct writer {
    pthread_t thread;
    pthread_mutex_t lock; /* of all below that others look at: up to `slowest_ms` */
    bool stop, stopped;
    char address[WRITER_ADDRESSES_MAX][OPTION_ADDRESS_MAX];
    unsigned addresses;
    struct writer_report report;
    uint64_t reported_ms;
    size_t reported_acked;

    uint32_t per_second;
    uint64_t began_ms; /* names the run, too */
    struct wconn conn[CONNECTIONS];
    bool *acked; /* of each record that was sent */
    size_t count, capacity;
    uint32_t *again; /* a stack */
    size_t again_count, again_capacity;
    uint64_t again_at_ms;
};

static void value_make(uint32_t record, char out[VALUE_BYTES + 1])
{
    int size = snprintf(out, VALUE_BYTES + 1, "record %u ", record);
    memset(out + size, 'a' + (int)(record % 26), (size_t)(VALUE_BYTES - size));
    out[VALUE_BYTES] = 0;
}

static int key_make(const struct writer *w, size_t record, char out[48])
{
    return snprintf(out, 48, "w:%llu:%zu", (unsigned long long)w->began_ms, record);
}

/* ---- the thread ---- */

static void give_back(struct writer *w, uint32_t record)
{
    if (w->again_count == w->again_capacity) {
        w->again_capacity = w->again_capacity ? 2 * w->again_capacity : 256;
        w->again = mem_realloc(w->again, w->again_capacity * sizeof *w->again);
    }
    w->again[w->again_count++] = record;
    w->report.again++;
}

/* The next record to send; false: the rate allows none now. */
static bool take(struct writer *w, uint64_t now, uint32_t *record)
{
    if (w->again_count && now >= w->again_at_ms) {
        *record = w->again[--w->again_count];
        return true;
    }
    if (w->count >= (now - w->began_ms) * w->per_second / 1000) return false; /* not due yet */
    if (w->count == w->capacity) {
        w->capacity = w->capacity ? 2 * w->capacity : 1024;
        w->acked = mem_realloc(w->acked, w->capacity * sizeof *w->acked);
    }
    w->acked[w->count] = false;
    *record = (uint32_t)w->count++;
    return true;
}

/* Its time counts from when it was due, not from when there was room to send it. */
static void acknowledged(struct writer *w, uint32_t record, uint64_t now)
{
    uint64_t due_ms = w->began_ms + (uint64_t)record * 1000 / w->per_second;
    w->acked[record] = true;
    w->report.acked++;
    if (now > due_ms + w->report.slowest_ms) w->report.slowest_ms = (uint32_t)(now - due_ms);
}

static void drop(struct writer *w, struct wconn *c, uint64_t now)
{
    client_free(c->client);
    c->client = NULL;
    for (; c->count; c->count--, c->first = (c->first + 1) % WINDOW)
        give_back(w, c->sent[c->first]);
    c->place++;
    c->connect_at_ms = now + RETRY_MS;
}

/* TRYAGAIN, UNKNOWN, CLUSTERDOWN and their like pass; a write that is wrong does not. */
static bool passes(const struct client_reply *r)
{
    static const char *const word[] = {"TRYAGAIN", "UNKNOWN", "CLUSTERDOWN", "LOADING", "BUSY"};
    for (size_t i = 0; i < sizeof word / sizeof *word; i++)
        if (client_reply_failed(r, word[i])) return true;
    return false;
}

static void reply_take(struct writer *w, struct wconn *c, const struct client_reply *r,
                       uint64_t now)
{
    uint32_t record = c->sent[c->first];
    c->first = (c->first + 1) % WINDOW;
    c->count--;
    if (r->type == CLIENT_STATUS) {
        acknowledged(w, record, now);
        return;
    }
    give_back(w, record);
    w->again_at_ms = now + RETRY_MS;
    if (passes(r)) return;
    w->report.failed = true;
    snprintf(w->report.error, sizeof w->report.error, "%.*s",
             (int)(r->text.size < 150 ? r->text.size : 150), (const char *)r->text.data);
}

static void conn_turn(struct writer *w, struct wconn *c, uint64_t now)
{
    const struct client_reply *r;
    char value[VALUE_BYTES + 1], key[48];
    uint32_t record;
    if (!c->client || w->report.failed) return;
    int got = client_receive(c->client, 0), parsed = 0;
    if (got > 0) c->heard_ms = now;
    while (c->count && (parsed = client_next(c->client, &r)) > 0) reply_take(w, c, r, now);
    if (c->count == 0) c->heard_ms = now;
    bool sends = false;
    while (c->count < WINDOW && take(w, now, &record)) {
        value_make(record, value);
        int size = key_make(w, record, key);
        client_append(c->client, 3,
                      (struct bytes[]){BYTES("SET"), bytes_of(key, (size_t)size),
                                       bytes_of(value, VALUE_BYTES)});
        c->sent[(c->first + c->count++) % WINDOW] = record;
        sends = true;
    }
    bool broken = got < 0 || parsed < 0 || now - c->heard_ms > SILENT_MS;
    if (broken || (sends && !client_flush(c->client))) drop(w, c, now);
}

/* Connecting waits, so it is done without the lock. */
static void connect_missing(struct writer *w, uint64_t now)
{
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        struct wconn *c = &w->conn[i];
        char address[OPTION_ADDRESS_MAX], error[128];
        if (c->client || now < c->connect_at_ms || !w->addresses) continue;
        strcpy(address, w->address[c->place % w->addresses]);
        pthread_mutex_unlock(&w->lock);
        struct client *client = client_connect(address, CONNECT_MS, error, sizeof error);
        pthread_mutex_lock(&w->lock);
        c->client = client;
        c->heard_ms = clock_ms();
        if (client) continue;
        c->place++;
        c->connect_at_ms = now + RETRY_MS;
    }
}

static void *writer_run(void *ctx)
{
    struct writer *w = ctx;
    struct pollfd fd[CONNECTIONS];
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        connect_missing(w, clock_ms());
        for (unsigned i = 0; i < CONNECTIONS; i++) {
            conn_turn(w, &w->conn[i], clock_ms());
            struct client *c = w->conn[i].client;
            fd[i] = (struct pollfd){.fd = c ? client_fd(c) : -1, .events = POLLIN};
        }
        pthread_mutex_unlock(&w->lock);
        (void)poll(fd, CONNECTIONS, TURN_MS);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* ---- for the others ---- */

struct writer *writer_new(uint32_t per_second)
{
    struct writer *w = mem_zalloc(sizeof *w);
    w->per_second = per_second;
    w->began_ms = w->reported_ms = clock_ms();
    for (unsigned i = 0; i < CONNECTIONS; i++) w->conn[i].place = i;
    pthread_mutex_init(&w->lock, NULL);
    w->stopped = pthread_create(&w->thread, NULL, writer_run, w) != 0;
    return w;
}

void writer_addresses(struct writer *w, const char (*address)[OPTION_ADDRESS_MAX], unsigned count)
{
    pthread_mutex_lock(&w->lock);
    w->addresses = count < WRITER_ADDRESSES_MAX ? count : WRITER_ADDRESSES_MAX;
    memcpy(w->address, address, w->addresses * sizeof *w->address);
    pthread_mutex_unlock(&w->lock);
}

static void look(struct writer *w, uint64_t now, struct writer_report *out)
{
    uint64_t ms = now > w->reported_ms ? now - w->reported_ms : 1;
    *out = w->report;
    out->rate = (double)(w->report.acked - w->reported_acked) * 1000 / (double)ms;
}

void writer_look(struct writer *w, struct writer_report *out)
{
    pthread_mutex_lock(&w->lock);
    look(w, clock_ms(), out);
    pthread_mutex_unlock(&w->lock);
}

void writer_report(struct writer *w, struct writer_report *out)
{
    pthread_mutex_lock(&w->lock);
    uint64_t now = clock_ms();
    look(w, now, out);
    w->reported_ms = now;
    w->reported_acked = w->report.acked;
    w->report.slowest_ms = 0;
    pthread_mutex_unlock(&w->lock);
}

void writer_stop(struct writer *w)
{
    if (w->stopped) return;
    pthread_mutex_lock(&w->lock);
    w->stop = w->stopped = true;
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
}

void writer_free(struct writer *w)
{
    if (!w) return;
    writer_stop(w);
    for (unsigned i = 0; i < CONNECTIONS; i++) client_free(w->conn[i].client);
    pthread_mutex_destroy(&w->lock);
    mem_free(w->acked);
    mem_free(w->again);
    mem_free(w);
}

/* ---- reading back ---- */

/* Waits for the replies to `batch` records, from `from` on, of which only those acknowledged were
 * asked for. */
static bool verify_batch(const struct writer *w, struct client *c, size_t from, size_t to,
                         size_t *missing, size_t *different)
{
    char value[VALUE_BYTES + 1];
    for (size_t i = from; i < to; i++) {
        const struct client_reply *r = NULL;
        int got = 0;
        if (!w->acked[i]) continue;
        while ((got = client_next(c, &r)) == 0)
            if (client_receive(c, SILENT_MS) <= 0) return false;
        if (got < 0 || (r->type != CLIENT_BULK && r->type != CLIENT_NIL)) return false;
        value_make((uint32_t)i, value);
        *missing += r->type == CLIENT_NIL;
        *different += r->type == CLIENT_BULK && !bytes_equal(r->text, bytes_str(value));
    }
    return true;
}

bool writer_verify(const struct writer *w, const char *address, size_t *missing, size_t *different,
                   char *error, size_t error_size)
{
    *missing = *different = 0;
    struct client *c = client_connect(address, SILENT_MS, error, error_size);
    if (!c) return false;
    bool good = true;
    char key[48];
    for (size_t from = 0, to; from < w->count && good; from = to) {
        to = from + BATCH < w->count ? from + BATCH : w->count;
        for (size_t i = from; i < to; i++)
            if (w->acked[i]) client_appendf(c, "GET %.*s", key_make(w, i, key), key);
        good = client_flush(c) && verify_batch(w, c, from, to, missing, different);
    }
    if (!good) snprintf(error, error_size, "reading back through %s failed", address);
    client_free(c);
    return good;
}
