/* synod cluster up|down|add|remove|kill|pause|resume|start. */
#include "cli/ask.h"
#include "cli/cluster.h"
#include "cli/commands.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "usage: synod cluster up [options]      start a cluster in the background, or what is missing "
    "of it\n"
    "       synod cluster down              end it; the data stays\n"
    "       synod cluster add               start one more node, which joins\n"
    "       synod cluster remove N          node N gives its data to the others, leaves and ends\n"
    "       synod cluster kill N            node N dies as by power loss (SIGKILL)\n"
    "       synod cluster pause N           node N stops in its tracks (SIGSTOP)\n"
    "       synod cluster resume N          and goes on (SIGCONT)\n"
    "       synod cluster start N           start node N again\n\n";

/* Options of the server's that `up` hands on. */
static const char *const passed_names[] = {"replicas", "io",        "read-mode",
                                           "redirect", "log-level", "zone"};
enum { PASSED = sizeof passed_names / sizeof *passed_names };

struct cluster_request {
    const char *dir;
    uint64_t nodes, port, groups;
    bool nodes_given, port_given, groups_given, passed_given;
    const char *passed[PASSED];
};

static void extra_put(struct cluster *c, const struct cluster_request *q)
{
    if (!q->passed_given) return;
    buf_clear(&c->extra);
    for (size_t i = 0; i < PASSED; i++)
        if (q->passed[i]) buf_printf(&c->extra, "%s %s\n", passed_names[i], q->passed[i]);
}

/* An existing cluster keeps its shape: silently starting another one over its data would be no
 * kindness. */
static int shape_check(const struct cluster *c, const struct cluster_request *q)
{
    if ((q->nodes_given && q->nodes != c->founders) || (q->port_given && q->port != c->port) ||
        (q->groups_given && q->groups != c->groups))
        return cli_fail("%s holds a cluster founded by %u nodes with %u groups at port %u; leave "
                        "these options out, or take another --dir",
                        c->dir, c->founders, c->groups, c->port);
    return EXIT_DONE;
}

/* Wrong values for the server are found before anything is made. */
static int passed_check(const char *command, const struct cluster_request *q)
{
    struct server_options options;
    struct options_text text = {0};
    char *argv[3 + 2 * PASSED + 2] = {(char *)command, "--data", "-"};
    char name[PASSED][32];
    int argc = 3;
    for (size_t i = 0; i < PASSED; i++) {
        if (!q->passed[i]) continue;
        snprintf(name[i], sizeof name[i], "--%s", passed_names[i]);
        argv[argc++] = name[i];
        argv[argc++] = (char *)q->passed[i];
    }
    int status = server_options_parse(&options, &text, argc, argv);
    options_text_free(&text);
    return status;
}

static void address_print(const struct cluster *c, unsigned n)
{
    char address[OPTION_ADDRESS_MAX];
    cluster_address(c, n, address);
    printf("node %u  %s  pid %d\n", n, address, (int)cluster_pid(c, n));
}

/* Once it is founded: a node whose data is gone may not found it again, it joins. */
static int founded_save(struct cluster *c)
{
    if (c->founded) return EXIT_DONE;
    c->founded = true;
    return cluster_save(c);
}

static int cluster_up(const char *command, const struct cluster_request *q)
{
    struct cluster c;
    bool found, started[CLUSTER_NODES_MAX + 1] = {0};
    if (q->port + q->nodes - 1 + 10000 > 65535)
        return cli_usage(command, "--port %llu leaves no room for the peer ports at + 10000",
                         (unsigned long long)q->port);
    int status = passed_check(command, q);
    if (status == EXIT_DONE) status = cluster_open(&c, q->dir, &found);
    if (status != EXIT_DONE) return status;

    if (found) {
        status = shape_check(&c, q);
    } else {
        if (strlen(q->dir) >= CLUSTER_DIR_MAX) return cli_fail("the path %s is too long", q->dir);
        strcpy(c.dir, q->dir);
        c.nodes = c.founders = (unsigned)q->nodes;
        c.port = (unsigned)q->port, c.groups = (unsigned)q->groups;
    }
    extra_put(&c, q);
    if (status == EXIT_DONE && (!found || q->passed_given)) status = cluster_create(&c);

    for (unsigned n = 1; n <= c.nodes && status == EXIT_DONE; n++) {
        if (c.removed[n]) continue;
        started[n] = cluster_pid(&c, n) == 0;
        status = cluster_start(&c, n);
    }
    if (status == EXIT_DONE) status = cluster_wait(&c, 0, false, CLUSTER_WAIT_MS);
    if (status == EXIT_DONE) status = founded_save(&c);
    if (status == EXIT_DONE) {
        for (unsigned n = 1; n <= c.nodes; n++)
            if (!c.removed[n]) address_print(&c, n);
    } else {
        for (unsigned n = 1; n <= c.nodes; n++)
            if (started[n] && cluster_pid(&c, n)) (void)cluster_signal(&c, n, SIGTERM);
    }
    cluster_close(&c);
    return status;
}

static int cluster_down_all(const char *dir)
{
    struct cluster c;
    int status = cluster_open(&c, dir, NULL);
    if (status == EXIT_DONE) status = cluster_down(&c);
    cluster_close(&c);
    return status;
}

static int cluster_add_one(const char *dir)
{
    struct cluster c;
    unsigned n;
    int status = cluster_open(&c, dir, NULL);
    if (status == EXIT_DONE) status = cluster_add(&c, &n);
    if (status == EXIT_DONE) {
        address_print(&c, n);
        printf("It has joined, and data moves to it; `synod status` shows that.\n");
    }
    cluster_close(&c);
    return status;
}

/* ---- one node ---- */

static int node_kill(struct cluster *c, unsigned n)
{
    return cluster_signal(c, n, SIGKILL);
}

static int node_pause(struct cluster *c, unsigned n)
{
    return cluster_signal(c, n, SIGSTOP);
}

static int node_resume(struct cluster *c, unsigned n)
{
    return cluster_signal(c, n, SIGCONT);
}

static int node_start(struct cluster *c, unsigned n)
{
    if (cluster_pid(c, n))
        return cli_fail("node %u is running already (process %d)", n, (int)cluster_pid(c, n));
    bool joins = cluster_joins(c, n);
    int status = cluster_start(c, n);
    if (status != EXIT_DONE) return status;
    return joins ? cluster_wait_member(c, n) : cluster_wait(c, n, true, CLUSTER_WAIT_MS);
}

/* Drained first, if it is alive; else given up, and its replicas are rebuilt elsewhere. */
static int node_leave(struct client **client, const char *at, const struct overview_node *row)
{
    int status = EXIT_DONE;
    if (row->up) {
        status = ask_done(*client, "SYNOD NODE DRAIN %lld", (long long)row->id);
        if (status == EXIT_DONE) status = ask_until_empty(client, at, row->id);
    }
    return status == EXIT_DONE ? ask_remove_and_wait(client, at, row->id) : status;
}

static int node_remove(struct cluster *c, unsigned n)
{
    char at[OPTION_ADDRESS_MAX], address[OPTION_ADDRESS_MAX];
    struct overview o;
    unsigned via = cluster_running(c, n) ? cluster_running(c, n) : cluster_running(c, 0);
    if (!via) return cli_fail("no node of %s is running to hand its data to", c->dir);
    cluster_address(c, via, at);
    cluster_address(c, n, address);
    struct client *client = ask_connect(at);
    if (!client || !ask_overview(&client, at, &o)) {
        client_free(client);
        return EXIT_FAILED;
    }
    const struct overview_node *row = overview_node_at(&o, address);
    int status = row ? node_leave(&client, at, row)
                     : cli_fail("the cluster knows no node at %s; `synod node list` shows those "
                                "it knows",
                                address);
    overview_free(&o);
    client_free(client);
    if (status == EXIT_DONE) status = cluster_forget(c, n);
    if (status == EXIT_DONE)
        printf("node %u has left; its directory %s/node%u is no longer needed\n", n, c->dir, n);
    return status;
}

static const struct {
    const char *verb;
    int (*run)(struct cluster *c, unsigned n);
} one[] = {
    {"kill", node_kill},   {"pause", node_pause},   {"resume", node_resume},
    {"start", node_start}, {"remove", node_remove},
};

static int cluster_one(const char *command, const char *dir, size_t verb, const char *number)
{
    struct cluster c;
    int64_t n;
    int status = cluster_open(&c, dir, NULL);
    if (status == EXIT_DONE && (!bytes_to_i64(bytes_str(number), &n) || n < 1 || n > c.nodes))
        status = cli_usage(command, "%s takes a node from 1 to %u, not '%s'", one[verb].verb,
                           c.nodes, number);
    else if (status == EXIT_DONE && c.removed[n])
        status = cli_fail("node %lld has left this cluster; `synod cluster add` starts a new one",
                          (long long)n);
    if (status == EXIT_DONE) status = one[verb].run(&c, (unsigned)n);
    cluster_close(&c);
    return status;
}

int cmd_cluster(int argc, char **argv)
{
    struct cluster_request q = {.dir = "./synod-data", .nodes = 3, .port = 7001, .groups = 16};
    struct option table[4 + PASSED + 1] = {
        {"dir", OPTION_TEXT, &q.dir, .value = "DIR",
         .help = "data, logs and process numbers (./synod-data)"},
        {"nodes", OPTION_NUMBER, &q.nodes, 1, CLUSTER_NODES_MAX, .value = "N",
         .help = "up: how many (3)", .given = &q.nodes_given},
        {"port", OPTION_NUMBER, &q.port, 1, 55535, .value = "PORT",
         .help = "up: node N is at PORT + N - 1 (7001)", .given = &q.port_given},
        {"groups", OPTION_NUMBER, &q.groups, 1, 16384, .value = "N", .help = "up: groups (16)",
         .given = &q.groups_given},
    };
    for (size_t i = 0; i < PASSED; i++)
        table[4 + i] = (struct option){passed_names[i],
                                       OPTION_TEXT,
                                       &q.passed[i],
                                       .value = "V",
                                       .given = &q.passed_given,
                                       .help = "up: handed to each server"};

    int words;
    struct options_text text = {0};
    int status = options_parse(&(struct options){usage, table}, argc, argv, &words, &text);
    options_text_free(&text);
    if (status != EXIT_DONE) return status;

    const char *verb = words > 0 ? argv[1] : NULL;
    if (!verb) return cli_usage(argv[0], "up, down, add, remove, kill, pause, resume or start?");
    bool up = strcmp(verb, "up") == 0;
    if (!up && (q.nodes_given || q.port_given || q.groups_given || q.passed_given))
        return cli_usage(argv[0], "%s takes only --dir", verb);
    bool add = strcmp(verb, "add") == 0;
    if (up || add || strcmp(verb, "down") == 0) {
        if (words > 1) return cli_usage(argv[0], "what is '%s'?", argv[2]);
        return up    ? cluster_up(argv[0], &q)
               : add ? cluster_add_one(q.dir)
                     : cluster_down_all(q.dir);
    }
    for (size_t i = 0; i < sizeof one / sizeof *one; i++) {
        if (strcmp(one[i].verb, verb) != 0) continue;
        if (words != 2) return cli_usage(argv[0], "%s which node? One number", verb);
        return cluster_one(argv[0], q.dir, i, argv[2]);
    }
    return cli_usage(argv[0], "there is no '%s'", verb);
}
