/* Asking a cluster for changes, and waiting for them. */
#include "cli/ask.h"

#include "cli/bar.h"
#include "cli/clock.h"
#include "cli/cluster.h"
#include "cli/options.h"

#include <stdarg.h>
#include <stdio.h>

#define ASK_MS       15000 /* a node without a majority says so after ten seconds */
#define AGAIN_MS     3000
#define RECONNECT_MS 10000
#define LOOK_MS      200
#define STALLED_MS   30000
#define DEATH_MS     10000
#define GOSSIP_MS    5000 /* the node that is asked may hear of the change a little later */

/* ---- whom ---- */

/* A node of the cluster that `synod cluster` keeps in ./synod-data, if there is one that runs. */
static struct client *connect_local(void)
{
    struct cluster c;
    bool found;
    char address[OPTION_ADDRESS_MAX], error[256];
    struct client *client = NULL;
    if (cluster_open(&c, "./synod-data", &found) == EXIT_DONE && found)
        for (unsigned n = 1; n <= c.nodes && !client; n++) {
            cluster_address(&c, n, address);
            if (cluster_pid(&c, n)) client = client_connect(address, ASK_MS, error, sizeof error);
        }
    cluster_close(&c);
    return client;
}

static struct client *connect_quietly(const char *at, char *error, size_t error_size)
{
    char ignored[256];
    struct client *c = at && *at ? NULL : connect_local();
    if (!c) c = client_connect(at && *at ? at : "127.0.0.1:7001", ASK_MS, error, error_size);
    if (!c && !(at && *at)) c = client_connect("127.0.0.1:6379", ASK_MS, ignored, sizeof ignored);
    return c;
}

struct client *ask_connect(const char *at)
{
    char error[256];
    struct client *c = connect_quietly(at, error, sizeof error);
    if (!c) cli_fail("%s; is a node running there? (--at HOST:PORT asks another)", error);
    return c;
}

/* ---- asking ---- */

static const struct client_reply *ask_line(struct client *c, const char *line)
{
    const struct client_reply *r;
    uint64_t until = clock_ms() + AGAIN_MS;
    for (;;) {
        r = client_call(c, "%s", line);
        if (!r) cli_fail("%s", client_error(c));
        if (!client_reply_failed(r, "TRYAGAIN") || clock_ms() > until) return r;
        sleep_ms(LOOK_MS);
    }
}

const struct client_reply *ask(struct client *c, const char *format, ...)
{
    char line[600];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    return ask_line(c, line);
}

int ask_failed(const struct client_reply *r)
{
    const char *text = (const char *)r->text.data;
    size_t size = r->text.size, word = 0;
    if (client_reply_failed(r, "CLUSTERDOWN"))
        return cli_fail("group 0, which keeps the cluster map, has no leader: a majority of its "
                        "nodes is down; `synod status` shows which, bring them back first");
    while (word < size && text[word] >= 'A' && text[word] <= 'Z') word++;
    if (word == size || text[word] != ' ' || word == 0)
        word = 0;
    else
        word++;
    return cli_fail("%.*s", (int)(size - word), text + word);
}

int ask_done(struct client *c, const char *format, ...)
{
    char line[600];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    const struct client_reply *r = ask_line(c, line);
    if (!r) return EXIT_FAILED;
    return r->type == CLIENT_ERROR ? ask_failed(r) : EXIT_DONE;
}

bool ask_overview(struct client **c, const char *at, struct overview *o)
{
    char error[256] = "";
    uint64_t until = clock_ms() + RECONNECT_MS;
    for (;;) {
        if (!*c) *c = connect_quietly(at, error, sizeof error);
        if (*c && overview_ask(o, *c, error, sizeof error)) return true;
        client_free(*c);
        *c = NULL;
        if (clock_ms() > until) break;
        sleep_ms(LOOK_MS);
    }
    cli_fail("%s", error);
    return false;
}

/* ---- waiting ---- */

struct emptying {
    struct bar bar;
    size_t first, last;
    uint64_t began_ms, moved_ms;
    bool warned;
};

static void emptying_show(struct emptying *e, size_t holds)
{
    uint64_t now = clock_ms();
    if (holds > e->first) e->first = holds;
    if (holds != e->last) e->moved_ms = now;
    e->last = holds;
    size_t done = e->first - holds;
    double seconds = (double)(now - e->began_ms) / 1000;
    if (done && holds)
        bar_show(&e->bar, done, e->first, "%zu replicas to go, about %.0f s", holds,
                 seconds / (double)done * (double)holds + 0.5);
    else
        bar_show(&e->bar, done, e->first, "%zu replicas to go", holds);
    if (now - e->moved_ms < STALLED_MS || e->warned) return;
    e->warned = true;
    bar_end(&e->bar, true);
    fprintf(stderr,
            "synod: nothing has moved for %d s; `synod rebalance --dry-run` says what is "
            "wanted, `synod status` who is down; with moves-max 0 nothing moves\n",
            STALLED_MS / 1000);
}

static void emptying_begin(struct emptying *e, const char *verb)
{
    *e = (struct emptying){.began_ms = clock_ms(), .moved_ms = clock_ms()};
    bar_begin(&e->bar, stdout, verb);
}

int ask_until_empty(struct client **c, const char *at, int64_t node)
{
    struct emptying e;
    emptying_begin(&e, "draining");
    for (;;) {
        struct overview o;
        if (!ask_overview(c, at, &o)) return EXIT_FAILED;
        const struct overview_node *n = overview_node(&o, node);
        size_t holds = overview_holds(&o, node);
        bool draining = n && strcmp(n->state, "draining") == 0;
        bool early = clock_ms() < e.began_ms + GOSSIP_MS;
        char state[16] = "removed";
        if (n) snprintf(state, sizeof state, "%s", n->state);
        overview_free(&o);
        emptying_show(&e, holds);
        if (holds == 0 || !(draining || early)) bar_end(&e.bar, true);
        if (holds == 0) return EXIT_DONE;
        if (!draining && !early)
            return cli_fail("node %lld is %s, not draining any more; `synod node drain %lld` asks "
                            "it again",
                            (long long)node, state, (long long)node);
        sleep_ms(LOOK_MS);
    }
}

/* Is it down, though the map may still have it alive? That takes some seconds after its death. */
static bool is_silent(const struct overview *o, int64_t node, uint64_t since_ms)
{
    const struct overview_node *n = overview_node(o, node);
    return n && !n->up && clock_ms() < since_ms + DEATH_MS;
}

int ask_remove_and_wait(struct client **c, const char *at, int64_t node)
{
    struct emptying e;
    emptying_begin(&e, "rebuilding");
    for (;;) {
        struct overview o;
        if (!ask_overview(c, at, &o)) return EXIT_FAILED;
        size_t holds = overview_holds(&o, node);
        bool silent = is_silent(&o, node, e.began_ms);
        overview_free(&o);
        const struct client_reply *r = client_call(*c, "SYNOD NODE REMOVE %lld", (long long)node);
        if (!r) return cli_fail("%s", client_error(*c));
        bool again = client_reply_failed(r, "TRYAGAIN");
        if (!again && !(silent && client_reply_failed(r, "REFUSED"))) {
            if (r->type != CLIENT_ERROR && e.first) emptying_show(&e, 0);
            bar_end(&e.bar, true);
            return r->type == CLIENT_ERROR ? ask_failed(r) : EXIT_DONE;
        }
        if (again) emptying_show(&e, holds);
        sleep_ms(LOOK_MS);
    }
}
