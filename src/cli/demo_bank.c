/* synod demo: money moves between accounts in all groups while nodes die and leaders change; nobody
 * ever sees a sum that is not right. */
#include "cli/client.h"
#include "cli/clock.h"
#include "cli/demo.h"
#include "cli/trace_picture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define ACCOUNTS 100
#define EACH     1000
#define TELLERS  8
#define SECONDS  6
#define COMMANDS 4 /* MULTI, two, EXEC */

struct teller {
    unsigned node;
    struct client *client;
    bool asked; /* a transfer's replies are awaited */
    unsigned got;
    uint64_t asked_ns;
};

struct bank {
    struct demo *d;
    struct teller teller[TELLERS];
    uint64_t began_ns, done, refused, unknown, audits, longest_ns;
    bool killed, back, wrong;
};

static double seconds(const struct bank *b)
{
    return (double)(clock_ns() - b->began_ns) / 1e9;
}

static void teller_lost(struct bank *b, struct teller *t)
{
    char address[OPTION_ADDRESS_MAX], error[128];
    b->unknown += t->asked;
    client_free(t->client);
    t->asked = false;
    t->node = t->node % b->d->cluster.nodes + 1;
    while (!cluster_pid(&b->d->cluster, t->node)) t->node = t->node % b->d->cluster.nodes + 1;
    cluster_address(&b->d->cluster, t->node, address);
    t->client = client_connect(address, 200, error, sizeof error);
}

static void teller_ask(struct teller *t)
{
    int from = rand() % ACCOUNTS, to = (from + 1 + rand() % (ACCOUNTS - 1)) % ACCOUNTS;
    int amount = 1 + rand() % 10;
    client_appendf(t->client, "MULTI");
    client_appendf(t->client, "DECRBY account:%d %d", from, amount);
    client_appendf(t->client, "INCRBY account:%d %d", to, amount);
    client_appendf(t->client, "EXEC");
    t->got = 0;
    t->asked = client_flush(t->client);
    t->asked_ns = clock_ns();
}

static void transfer_answered(struct bank *b, struct teller *t, const struct client_reply *r)
{
    uint64_t took = clock_ns() - t->asked_ns;
    t->asked = false;
    if (r->type == CLIENT_ARRAY)
        b->done++;
    else if (client_reply_failed(r, "UNKNOWN"))
        b->unknown++;
    else
        b->refused++;
    if (took > b->longest_ns) b->longest_ns = took;
}

static void teller_turn(struct bank *b, struct teller *t)
{
    const struct client_reply *r;
    if (!t->client || (t->asked && clock_ns() - t->asked_ns > 15000000000ull)) teller_lost(b, t);
    if (!t->client) return;
    if (!t->asked) teller_ask(t);
    int got = client_receive(t->client, 0);
    while (got >= 0 && t->asked && (got = client_next(t->client, &r)) > 0)
        if (++t->got == COMMANDS) transfer_answered(b, t, r);
    if (got < 0) teller_lost(b, t);
}

static int64_t number(const struct client_reply *r)
{
    int64_t v = 0;
    return r->type == CLIENT_BULK && bytes_to_i64(r->text, &v) ? v : 0;
}

/* MGET of all accounts, or MSET of them to what each begins with: one command over all groups. */
static const struct client_reply *call_all(struct client *c, bool set)
{
    char name[ACCOUNTS][24], each[12];
    struct bytes v[1 + 2 * ACCOUNTS] = {set ? BYTES("MSET") : BYTES("MGET")};
    size_t count = 1;
    snprintf(each, sizeof each, "%d", EACH);
    for (int i = 0; i < ACCOUNTS; i++) {
        snprintf(name[i], sizeof name[i], "account:%d", i);
        v[count++] = bytes_str(name[i]);
        if (set) v[count++] = bytes_str(each);
    }
    client_append(c, count, v);
    return client_wait(c);
}

/* All accounts at one instant, through a node that is there. False: no answer. */
static bool audit(struct bank *b, int64_t *sum)
{
    char address[OPTION_ADDRESS_MAX], error[128];
    cluster_address(&b->d->cluster, cluster_running(&b->d->cluster, 0), address);
    struct client *c = client_connect(address, DEMO_CALL_MS, error, sizeof error);
    const struct client_reply *r = c ? call_all(c, false) : NULL;
    bool answered = r && r->type == CLIENT_ARRAY;
    *sum = 0;
    for (size_t i = 0; answered && i < r->count; i++) *sum += number(&r->items[i]);
    client_free(c);
    return answered;
}

static bool bank_open(struct bank *b)
{
    char address[OPTION_ADDRESS_MAX];
    cluster_address(&b->d->cluster, cluster_running(&b->d->cluster, 0), address);
    struct client *c = demo_connect(address);
    bool good = c && client_reply_is(call_all(c, true), CLIENT_STATUS, "OK");
    if (!good) cli_fail("the accounts cannot be opened");
    client_free(c);
    return good;
}

/* ---- one of them, step by step ---- */

/* A transfer of 1 from account 0 to this one, by TRACE EXEC. NULL: no answer. */
static const struct client_reply *traced_transfer(struct client *c, int to)
{
    const struct client_reply *r = client_call(c, "MULTI");
    if (r) r = client_call(c, "DECRBY account:0 1");
    if (r) r = client_call(c, "INCRBY account:%d 1", to);
    return r ? client_call(c, "TRACE EXEC") : NULL;
}

static bool is_over_groups(const struct client_reply *r)
{
    const struct bytes head = BYTES("transaction over");
    return r->type == CLIENT_ARRAY && r->count > 1 && r->items[0].text.size > head.size &&
           memcmp(r->items[0].text.data, head.data, head.size) == 0;
}

static void draw_transfer(struct bank *b, const struct client_reply *r, int to)
{
    struct buf picture = {0};
    if (trace_picture(r, "EXEC", &picture))
        demo_say(b->d,
                 "\none of those transfers: MULTI, DECRBY account:0 1, INCRBY account:%d 1, EXEC "
                 "(`synod explain` draws one of yours)\n\n%.*s\n"
                 "Both groups lock the key and hand out its row. Both write down what they are to "
                 "do: prepared. Then it is\n"
                 "done, whoever dies, and the client is told; that it was decided is written down "
                 "for those who ask.\n",
                 to, (int)picture.size, (const char *)picture.data);
    buf_deinit(&picture);
}

/* To the first account of another group than account 0; if there is one. */
static bool show_one(struct bank *b)
{
    char address[OPTION_ADDRESS_MAX];
    const struct client_reply *r = NULL;
    int to = 0;
    cluster_address(&b->d->cluster, cluster_running(&b->d->cluster, 0), address);
    struct client *c = demo_connect(address);
    if (!c) return false;
    do {
        r = traced_transfer(c, ++to);
    } while (r && !is_over_groups(r) && to < ACCOUNTS - 1);
    if (!r)
        cli_fail("a transfer cannot be traced: %s", client_error(c));
    else
        draw_transfer(b, r, to);
    client_free(c);
    return r != NULL;
}

/* ---- all of them ---- */

/* A node dies after a third of the time, and comes back after two. */
static bool disturb(struct bank *b)
{
    struct demo *d = b->d;
    if (!b->killed && seconds(b) > SECONDS / 3.0) {
        d->victim = cluster_running(&d->cluster, cluster_running(&d->cluster, 0));
        demo_say(d, "kill -9 of node %u, which coordinates some of them", d->victim);
        b->killed = true;
        return cluster_signal(&d->cluster, d->victim, SIGKILL) == EXIT_DONE;
    }
    if (!b->back && seconds(b) > 2 * SECONDS / 3.0) {
        b->back = true;
        return cluster_start(&d->cluster, d->victim) == EXIT_DONE;
    }
    return true;
}

static bool look_at_sum(struct bank *b)
{
    int64_t sum;
    if (!audit(b, &sum)) return true;
    b->audits++;
    if (sum == (int64_t)ACCOUNTS * EACH) return true;
    cli_fail("the accounts add up to %lld, not %d", (long long)sum, ACCOUNTS * EACH);
    b->wrong = true;
    return false;
}

static bool trade(struct bank *b)
{
    uint64_t next = 0;
    bar_begin(&b->d->bar, stdout, "transfers");
    for (bool good = true; good && seconds(b) < SECONDS;) {
        for (int i = 0; i < TELLERS; i++) teller_turn(b, &b->teller[i]);
        good = disturb(b);
        if (good && clock_ns() >= next) {
            good = look_at_sum(b);
            next = clock_ns() + 50000000;
            bar_show(&b->d->bar, (size_t)(seconds(b) * 1000), SECONDS * 1000,
                     "%llu done, the sum is right", (unsigned long long)b->done);
        }
        if (!good) return false;
        sleep_ms(1);
    }
    bar_end(&b->d->bar, true);
    return true;
}

bool demo_bank(struct demo *d)
{
    struct bank b = {.d = d, .began_ns = clock_ns()};
    demo_say(d, "%d accounts over all groups, %d clients that move money between any two of them",
             ACCOUNTS, TELLERS);
    if (!bank_open(&b) || !show_one(&b)) return false;
    for (unsigned i = 0; i < TELLERS; i++) {
        b.teller[i].node = i % d->cluster.nodes + 1;
        teller_lost(&b, &b.teller[i]);
    }
    b.began_ns = clock_ns();
    bool good = trade(&b);
    for (int i = 0; i < TELLERS; i++) client_free(b.teller[i].client);
    if (good && !b.back) good = cluster_start(&d->cluster, d->victim) == EXIT_DONE;
    if (!good || cluster_wait(&d->cluster, 0, false, CLUSTER_WAIT_MS) != EXIT_DONE) return false;
    if (!look_at_sum(&b)) return false;
    demo_say(
        d,
        "%llu transfers over groups, each all or nothing (%llu refused, %llu of unknown outcome, "
        "longest %.0f ms); added up %llu times, always %d",
        (unsigned long long)b.done, (unsigned long long)b.refused, (unsigned long long)b.unknown,
        (double)b.longest_ns / 1e6, (unsigned long long)b.audits, ACCOUNTS * EACH);
    return true;
}
