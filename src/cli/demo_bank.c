/* synod demo: money moves between accounts in all groups while a node dies, comes back, and a group
 * moves to another node; nobody ever sees a sum that is not right. */
#include "cli/ask.h"
#include "cli/client.h"
#include "cli/clock.h"
#include "cli/demo.h"
#include "cli/trace_picture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACCOUNTS   100
#define EACH       1000
#define TELLERS    8
#define SECONDS    6  /* or more, until the group has moved */
#define MOVE_MAX_S 60 /* from when the node is started again */
#define LOOK_NS    200000000ull
#define COMMANDS   4 /* MULTI, two, EXEC */

struct teller {
    unsigned node;
    struct client *client;
    bool asked; /* a transfer's replies are awaited */
    unsigned got;
    uint64_t asked_ns;
};

/* What happens while they trade, in this order. */
enum trade_stage { TRADE_CALM, TRADE_KILLED, TRADE_BACK, TRADE_MOVES, TRADE_OVER };

/* One replica of account:0's group goes from the node that leads it to one that has none. */
struct move {
    struct client *map; /* asks at `at` */
    char at[OPTION_ADDRESS_MAX];
    int64_t group, from, to; /* the cluster's numbers */
    uint64_t began_ns, look_ns, done_before;
    char refusal[160]; /* the last */
};

struct bank {
    struct demo *d;
    struct teller teller[TELLERS];
    uint64_t began_ns, done, refused, unknown, audits, longest_ns;
    enum trade_stage stage;
    struct move move;
};

static double seconds_since(uint64_t ns)
{
    return (double)(clock_ns() - ns) / 1e9;
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

static const struct overview_group *group_of_slot(const struct overview *o, int64_t slot)
{
    for (size_t i = 0; i < o->group_count; i++)
        for (size_t r = 0; r < o->group[i].range_count; r++)
            if (o->group[i].slots[r][0] <= slot && slot <= o->group[i].slots[r][1])
                return &o->group[i];
    return NULL;
}

static bool has_place(const struct overview_node *n, const struct overview_group *g)
{
    return n->up && strcmp(n->state, "up") == 0 && !n->witness && !overview_has(g, n->id);
}

/* Asks for the move; if that is refused, it is asked again. */
static bool move_ask(struct bank *b, const struct overview *o, const struct overview_group *g)
{
    struct move *m = &b->move;
    size_t i = 0;
    while (i < o->node_count && !has_place(&o->node[i], g)) i++;
    if (i == o->node_count) {
        demo_say(b->d, "every node has a replica of group %lld, so it cannot move",
                 (long long)g->id);
        b->stage = TRADE_OVER;
        return true;
    }
    m->group = g->id, m->from = g->leader, m->to = o->node[i].id;
    m->began_ns = clock_ns(), m->done_before = b->done;
    const struct client_reply *r = ask(m->map, "SYNOD GROUP MOVE %lld %lld %lld",
                                       (long long)m->group, (long long)m->from, (long long)m->to);
    if (!r) return false;
    if (r->type == CLIENT_ERROR) { /* the map may have the node down for a moment yet */
        snprintf(m->refusal, sizeof m->refusal, "%.*s", (int)r->text.size,
                 (const char *)r->text.data);
        return true;
    }
    demo_say(b->d, "group %lld, where account:0 is, moves from node %u, which leads it, to node %u",
             (long long)m->group, demo_number(b->d, o, m->from), demo_number(b->d, o, m->to));
    b->stage = TRADE_MOVES;
    return true;
}

/* Once the node that died is one of them again. */
static bool move_begin(struct bank *b, const struct overview *o)
{
    bool calm = strcmp(o->state, "ok") == 0 && overview_moves(o) == 0;
    if (!calm) return true;
    const struct client_reply *r = ask(b->move.map, "CLUSTER KEYSLOT account:0");
    if (!r) return false;
    if (r->type != CLIENT_INTEGER) return ask_failed(r) == EXIT_DONE;
    const struct overview_group *g = group_of_slot(o, r->integer);
    return !g || !g->leader || move_ask(b, o, g);
}

static bool move_is_done(const struct move *m, const struct overview_group *g)
{
    bool votes = false;
    for (size_t i = 0; i < g->replica_count; i++)
        votes |= g->replica[i].node == m->to && g->replica[i].votes;
    return votes && !overview_has(g, m->from) && g->leader;
}

static bool move_look(struct bank *b, const struct overview *o)
{
    const struct move *m = &b->move;
    const struct overview_group *g = overview_group(o, m->group);
    char nodes[100] = "";
    if (!g || !move_is_done(m, g)) return true;
    for (size_t i = 0, size = 0; i < g->replica_count && size < sizeof nodes; i++)
        size += (size_t)snprintf(nodes + size, sizeof nodes - size, "%s%u", i ? ", " : "",
                                 demo_number(b->d, o, g->replica[i].node));
    demo_say(
        b->d,
        "  done after %.1f s: in the map group %lld is on nodes %s, and node %u leads it; %llu "
        "transfers were done meanwhile",
        seconds_since(m->began_ns), (long long)m->group, nodes, demo_number(b->d, o, g->leader),
        (unsigned long long)(b->done - m->done_before));
    b->stage = TRADE_OVER;
    return true;
}

static bool move_turn(struct bank *b)
{
    struct move *m = &b->move;
    struct overview o;
    if (clock_ns() < m->look_ns) return true;
    cluster_address(&b->d->cluster, cluster_running(&b->d->cluster, b->d->victim), m->at);
    if (seconds_since(b->began_ns) > MOVE_MAX_S + SECONDS) {
        cli_fail("no group has moved in %d s; `synod group list --at %s` shows where it stands%s%s",
                 MOVE_MAX_S, m->at, m->refusal[0] ? "; at last: " : "", m->refusal);
        return false;
    }
    if (!ask_overview(&m->map, m->at, &o)) return false;
    bool good = b->stage == TRADE_BACK ? move_begin(b, &o) : move_look(b, &o);
    overview_free(&o);
    m->look_ns = clock_ns() + LOOK_NS;
    return good;
}

/* A node dies after a third of the time, and comes back after two; then the group moves. */
static bool disturb(struct bank *b)
{
    struct demo *d = b->d;
    double now = seconds_since(b->began_ns);
    if (b->stage == TRADE_CALM && now > SECONDS / 3.0) {
        d->victim = cluster_running(&d->cluster, cluster_running(&d->cluster, 0));
        demo_say(d, "kill -9 of node %u, which coordinates some of them", d->victim);
        b->stage = TRADE_KILLED;
        return cluster_signal(&d->cluster, d->victim, SIGKILL) == EXIT_DONE;
    }
    if (b->stage == TRADE_KILLED && now > 2 * SECONDS / 3.0) {
        demo_say(d, "node %u is started again", d->victim);
        b->stage = TRADE_BACK;
        return cluster_start(&d->cluster, d->victim) == EXIT_DONE;
    }
    return b->stage == TRADE_BACK || b->stage == TRADE_MOVES ? move_turn(b) : true;
}

static bool look_at_sum(struct bank *b)
{
    int64_t sum;
    if (!audit(b, &sum)) return true;
    b->audits++;
    if (sum == (int64_t)ACCOUNTS * EACH) return true;
    cli_fail("the accounts add up to %lld, not %d", (long long)sum, ACCOUNTS * EACH);
    return false;
}

static void trade_show(struct bank *b)
{
    size_t ms = (size_t)(seconds_since(b->began_ns) * 1000);
    bar_show(&b->d->bar, ms < SECONDS * 1000 ? ms : SECONDS * 1000, SECONDS * 1000,
             "%llu done, the sum is right", (unsigned long long)b->done);
}

static bool trade(struct bank *b)
{
    uint64_t next = 0;
    bool good = true;
    bar_begin(&b->d->bar, stdout, "transfers");
    while (good && (seconds_since(b->began_ns) < SECONDS || b->stage != TRADE_OVER)) {
        for (int i = 0; i < TELLERS; i++) teller_turn(b, &b->teller[i]);
        good = disturb(b);
        if (good && clock_ns() >= next) {
            good = look_at_sum(b);
            next = clock_ns() + 50000000;
            trade_show(b);
        }
        sleep_ms(1);
    }
    bar_end(&b->d->bar, true);
    return good;
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
    client_free(b.move.map);
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
