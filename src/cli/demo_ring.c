/* synod demo: the cluster changes while clients write. A node joins, one leaves in good order, one
 * dies for good and is replaced by what there is, a group is cut in two. Each step ends when the
 * cluster says that it is in balance again. */
#include "cli/ask.h"
#include "cli/client.h"
#include "cli/clock.h"
#include "cli/demo.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define STEP_MAX_S   120
#define LOOK_MS      100
#define WRITES_PER_S 1000
#define GRACE_MS     2000

struct story {
    struct demo *d;
    char at[OPTION_ADDRESS_MAX]; /* whom to ask */
    struct client *client;
    uint64_t began_ns; /* the step */
    int64_t grace_ms;  /* as it was */
    int64_t node;      /* the step's, as the cluster counts */
    int64_t group, child;
    size_t first; /* replicas that the node held, or is to hold */
    char state[16];
};

/* How far a step is; false: it is over. */
typedef bool story_look(struct story *s, const struct overview *o, size_t *done, size_t *total);

static double seconds_of(const struct story *s)
{
    return (double)(clock_ns() - s->began_ns) / 1e9;
}

/* ---- watching ---- */

static bool in_balance(struct story *s)
{
    const struct client_reply *r = client_call(s->client, "SYNOD PLAN");
    static const char quiet[] = "0 groups change";
    return r && r->type == CLIENT_BULK && r->text.size >= sizeof quiet - 1 &&
           memcmp(r->text.data, quiet, sizeof quiet - 1) == 0;
}

static bool watch(struct story *s, const char *verb, story_look *look)
{
    struct demo *d = s->d;
    bar_begin(&d->bar, stdout, verb);
    for (;;) {
        struct overview o;
        struct writer_report w;
        size_t done = 0, total = 1;
        if (!ask_overview(&s->client, s->at, &o)) return false;
        bool goes_on = look(s, &o, &done, &total);
        size_t moves = overview_moves(&o);
        overview_free(&o);
        writer_look(d->writer, &w);
        if (w.failed) {
            bar_end(&d->bar, true);
            cli_fail("a write was refused: %s", w.error);
            return false;
        }
        bar_show(&d->bar, done, total, "%zu of %zu, %zu move%s under way; %zu writes acknowledged",
                 done, total, moves, moves == 1 ? "" : "s", w.acked);
        if (!goes_on) break;
        if (seconds_of(s) > STEP_MAX_S) {
            bar_end(&d->bar, true);
            cli_fail("this took more than %d s; `synod status --at %s` shows where it stands",
                     STEP_MAX_S, s->at);
            return false;
        }
        sleep_ms(LOOK_MS);
    }
    bar_end(&d->bar, true);
    return true;
}

/* What clients saw of the step. */
static void say_writes(struct story *s)
{
    struct writer_report w;
    writer_report(s->d->writer, &w);
    if (seconds_of(s) < 1) /* too short for a rate */
        demo_say(s->d, "  the slowest write of a client meanwhile took %u ms", w.slowest_ms);
    else
        demo_say(s->d, "  meanwhile clients wrote %.0f records/s; the slowest write took %u ms",
                 w.rate, w.slowest_ms);
}

static void step_begin(struct story *s)
{
    struct writer_report ignored;
    writer_report(s->d->writer, &ignored);
    s->began_ns = clock_ns();
}

/* The cluster's own number of local node n, and what it holds; 0 after a line on stderr. */
static int64_t node_id(struct story *s, unsigned n, size_t *holds)
{
    char address[OPTION_ADDRESS_MAX];
    struct overview o;
    if (!ask_overview(&s->client, s->at, &o)) return 0;
    cluster_address(&s->d->cluster, n, address);
    const struct overview_node *row = overview_node_at(&o, address);
    int64_t id = row ? row->id : 0;
    *holds = overview_holds(&o, id);
    s->grace_ms = o.grace_ms;
    overview_free(&o);
    if (!id) cli_fail("the cluster knows no node at %s", address);
    return id;
}

/* Ask a node that stays: the lowest that runs, other than `but`. */
static void ask_there(struct story *s, unsigned but)
{
    client_free(s->client);
    s->client = NULL;
    cluster_address(&s->d->cluster, cluster_running(&s->d->cluster, but), s->at);
}

static bool change(struct story *s, const char *format, long long a, long long b)
{
    struct overview o;
    if (!ask_overview(&s->client, s->at, &o)) return false; /* connects, if need be */
    overview_free(&o);
    char line[100];
    snprintf(line, sizeof line, format, a, b);
    return ask_done(s->client, "%s", line) == EXIT_DONE;
}

/* ---- a node joins ---- */

static bool look_join(struct story *s, const struct overview *o, size_t *done, size_t *total)
{
    size_t replicas = 0, nodes = 0;
    for (size_t i = 0; i < o->group_count; i++) replicas += o->group[i].replica_count;
    for (size_t i = 0; i < o->node_count; i++) nodes += o->node[i].up;
    size_t share = nodes ? replicas / nodes : 1;
    s->first = overview_holds(o, s->node);
    *total = share ? share : 1;
    *done = s->first < *total ? s->first : *total;
    if (overview_moves(o) || !s->first || !in_balance(s)) return true;
    *done = *total;
    return false;
}

static bool step_join(struct story *s)
{
    struct demo *d = s->d;
    unsigned n;
    step_begin(s);
    if (cluster_add(&d->cluster, &n) != EXIT_DONE) return false;
    s->node = node_id(s, n, &s->first);
    demo_say(d, "node %u joins, and data moves to it", n);
    if (!s->node || !watch(s, "joining", look_join)) return false;
    demo_say(d, "  node %u holds %zu replicas after %.1f s", n, s->first, seconds_of(s));
    demo_addresses(d);
    say_writes(s);
    return true;
}

/* ---- a node leaves ---- */

static bool look_leave(struct story *s, const struct overview *o, size_t *done, size_t *total)
{
    size_t holds = overview_holds(o, s->node);
    *total = s->first ? s->first : 1;
    *done = holds < s->first ? s->first - holds : s->first ? 0 : 1;
    return holds != 0;
}

static bool step_leave(struct story *s)
{
    struct demo *d = s->d;
    unsigned n = cluster_running(&d->cluster, cluster_running(&d->cluster, 0));
    step_begin(s);
    ask_there(s, n);
    s->node = node_id(s, n, &s->first);
    demo_say(d, "node %u is drained: its %zu replicas move to the others", n, s->first);
    if (!s->node || !change(s, "SYNOD NODE DRAIN %lld", s->node, 0) ||
        !watch(s, "draining", look_leave) || !change(s, "SYNOD NODE REMOVE %lld", s->node, 0))
        return false;
    demo_say(d, "  node %u is empty after %.1f s, is removed from the cluster, and ends", n,
             seconds_of(s));
    if (cluster_forget(&d->cluster, n) != EXIT_DONE) return false;
    demo_addresses(d);
    say_writes(s);
    return true;
}

/* ---- a node dies for good ---- */

static bool look_death(struct story *s, const struct overview *o, size_t *done, size_t *total)
{
    const struct overview_node *n = overview_node(o, s->node);
    const char *state = n ? n->state : "gone";
    if (strcmp(state, s->state) != 0 && strcmp(state, "up") != 0) {
        bool gone = strcmp(state, "gone") == 0;
        demo_say(s->d,
                 gone ? "  after %.1f s it is given up: its replicas are rebuilt elsewhere"
                      : "  after %.1f s the others hear nothing of it; groups go on",
                 seconds_of(s));
    }
    snprintf(s->state, sizeof s->state, "%s", state);
    return look_leave(s, o, done, total) || overview_moves(o);
}

static bool step_death(struct story *s)
{
    struct demo *d = s->d;
    unsigned n = cluster_running(&d->cluster, cluster_running(&d->cluster, 0));
    step_begin(s);
    ask_there(s, n);
    s->node = node_id(s, n, &s->first);
    s->state[0] = 0;
    if (!s->node || !change(s, "SYNOD SET grace-ms %lld", GRACE_MS, 0)) return false;
    demo_say(d, "kill -9 of node %u, which never comes back (grace time: %d s)", n,
             GRACE_MS / 1000);
    step_begin(s);
    if (cluster_signal(&d->cluster, n, SIGKILL) != EXIT_DONE ||
        !watch(s, "rebuilding", look_death) || !change(s, "SYNOD NODE REMOVE %lld", s->node, 0) ||
        !change(s, "SYNOD SET grace-ms %lld", s->grace_ms, 0))
        return false;
    demo_say(d, "  its %zu replicas are rebuilt after %.1f s; nobody did anything", s->first,
             seconds_of(s));
    if (cluster_forget(&d->cluster, n) != EXIT_DONE) return false;
    demo_addresses(d);
    say_writes(s);
    return true;
}

/* ---- a group splits ---- */

static bool look_split(struct story *s, const struct overview *o, size_t *done, size_t *total)
{
    const struct overview_group *g = overview_group(o, s->group),
                                *child = overview_group(o, s->child);
    *total = 1;
    *done = g && child && !g->splits_at && child->leader;
    return !*done;
}

/* But for group 0, which would not take its half over again. */
static const struct overview_group *largest(const struct overview *o)
{
    const struct overview_group *best = NULL;
    for (size_t i = 0; i < o->group_count; i++)
        if (o->group[i].id && (!best || o->group[i].keys > best->keys)) best = &o->group[i];
    return best;
}

static bool step_split(struct story *s)
{
    struct demo *d = s->d;
    struct overview o;
    step_begin(s);
    if (!ask_overview(&s->client, s->at, &o)) return false;
    const struct overview_group *g = largest(&o);
    s->group = g ? g->id : 0;
    demo_say(d, "group %lld, with %lld keys, is cut in two", (long long)s->group,
             g ? (long long)g->keys : 0);
    overview_free(&o);
    const struct client_reply *r = ask(s->client, "SYNOD GROUP SPLIT %lld", (long long)s->group);
    if (!r) return false;
    if (r->type != CLIENT_INTEGER) return ask_failed(r) == EXIT_DONE;
    s->child = r->integer;
    if (!watch(s, "splitting", look_split)) return false;
    demo_say(d, "  group %lld is born of it after %.1f s; no byte went from node to node",
             (long long)s->child, seconds_of(s));
    say_writes(s);
    return true;
}

static bool look_merge(struct story *s, const struct overview *o, size_t *done, size_t *total)
{
    const struct overview_group *g = overview_group(o, s->group);
    *total = 1;
    *done = g && !g->takes_over && !overview_group(o, s->child);
    return !*done;
}

static bool step_merge(struct story *s)
{
    struct demo *d = s->d;
    step_begin(s);
    demo_say(d, "group %lld takes group %lld over again", (long long)s->group, (long long)s->child);
    const struct client_reply *r = ask(s->client, "SYNOD GROUP MERGE %lld", (long long)s->group);
    if (!r) return false;
    if (r->type != CLIENT_INTEGER) return ask_failed(r) == EXIT_DONE;
    if (!watch(s, "merging", look_merge)) return false;
    demo_say(d, "  they are one after %.1f s", seconds_of(s));
    say_writes(s);
    return true;
}

/* ---- the whole ---- */

static bool read_back(struct demo *d)
{
    struct writer_report w;
    size_t missing, different;
    char error[256];
    writer_stop(d->writer);
    writer_report(d->writer, &w);
    uint64_t began = clock_ns();
    if (!writer_verify(d->writer, d->loader.address[0], &missing, &different, error,
                       sizeof error)) {
        cli_fail("%s", error);
        return false;
    }
    demo_say(d,
             "read back %zu records that clients wrote meanwhile in %.1f s (%zu had to be sent "
             "again): %zu missing, %zu different",
             w.acked, (double)(clock_ns() - began) / 1e9, w.again, missing, different);
    if (missing || different)
        cli_fail("acknowledged records are missing; keep the data directories, this is a bug");
    return !missing && !different;
}

bool demo_ring(struct demo *d)
{
    struct story s = {.d = d};
    d->writer = writer_new(WRITES_PER_S);
    demo_addresses(d);
    ask_there(&s, 0);
    demo_say(d, "\nNow the cluster changes, while clients go on writing %d records/s.",
             WRITES_PER_S);
    bool good = step_join(&s) && demo_bank(d) && step_join(&s) && step_leave(&s) &&
                step_death(&s) && step_split(&s) && step_merge(&s);
    client_free(s.client);
    return good && read_back(d);
}
