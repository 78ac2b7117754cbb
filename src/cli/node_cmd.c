/* synod node list|drain|undrain|remove|capacity. */
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/status.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: synod node list                 the nodes and what they hold\n"
    "       synod node drain ID             its replicas move to other nodes, until it is empty\n"
    "       synod node undrain ID           it stays, and gets replicas again\n"
    "       synod node remove ID            an empty node leaves for good; one that is down is "
    "given up\n"
    "       synod node capacity ID N        how much of the data it takes; 100 is one share\n\n";

struct node_request {
    const char *verb;
    char at[OPTION_ADDRESS_MAX];
    int64_t id, number;
    bool wait;
};

static int node_list(struct client **c, const struct node_request *q)
{
    struct overview o;
    if (!ask_overview(c, q->at, &o)) return EXIT_FAILED;
    status_print_nodes(stdout, &o);
    overview_free(&o);
    return EXIT_DONE;
}

static int node_drain(struct client **c, const struct node_request *q)
{
    struct overview o;
    int status = ask_done(*c, "SYNOD NODE DRAIN %lld", (long long)q->id);
    if (status != EXIT_DONE) return status;
    if (q->wait) {
        status = ask_until_empty(c, q->at, q->id);
        if (status == EXIT_DONE)
            printf("node %lld is empty; `synod node remove %lld` lets it go\n", (long long)q->id,
                   (long long)q->id);
        return status;
    }
    if (!ask_overview(c, q->at, &o)) return EXIT_FAILED;
    printf("node %lld is draining, %zu replicas to go; `synod node drain %lld --wait` waits\n",
           (long long)q->id, overview_holds(&o, q->id), (long long)q->id);
    overview_free(&o);
    return EXIT_DONE;
}

static int node_undrain(struct client **c, const struct node_request *q)
{
    int status = ask_done(*c, "SYNOD NODE UNDRAIN %lld", (long long)q->id);
    if (status == EXIT_DONE) printf("node %lld stays\n", (long long)q->id);
    return status;
}

/* A node that is asked to remove itself ends before it can answer: another one is asked. */
static bool ask_another(struct client **c, struct node_request *q)
{
    struct overview o;
    char error[256];
    if (!ask_overview(c, q->at, &o)) return false;
    for (size_t i = 0; i < o.node_count && o.self == q->id; i++) {
        if (o.node[i].id == q->id || !o.node[i].up) continue;
        struct client *other = client_connect(o.node[i].address, 5000, error, sizeof error);
        if (!other) continue;
        client_free(*c);
        *c = other;
        snprintf(q->at, sizeof q->at, "%s", o.node[i].address);
        break;
    }
    overview_free(&o);
    return true;
}

static int node_remove(struct client **c, const struct node_request *request)
{
    struct node_request other = *request, *q = &other;
    if (!ask_another(c, q)) return EXIT_FAILED;
    int status = q->wait ? ask_remove_and_wait(c, q->at, q->id)
                         : ask_done(*c, "SYNOD NODE REMOVE %lld", (long long)q->id);
    if (status == EXIT_DONE)
        printf("node %lld is removed; its process ends by itself, its data directory may go\n",
               (long long)q->id);
    return status;
}

static int node_capacity(struct client **c, const struct node_request *q)
{
    int status =
        ask_done(*c, "SYNOD NODE CAPACITY %lld %lld", (long long)q->id, (long long)q->number);
    if (status == EXIT_DONE)
        printf("node %lld has capacity %lld now; data moves by itself (`synod rebalance`)\n",
               (long long)q->id, (long long)q->number);
    return status;
}

static const struct {
    const char *verb, *takes;
    int words; /* behind the verb */
    bool waits;
    int (*run)(struct client **c, const struct node_request *q);
} verbs[] = {
    {"list", "nothing", 0, false, node_list},
    {"drain", "a node's number", 1, true, node_drain},
    {"undrain", "a node's number", 1, false, node_undrain},
    {"remove", "a node's number", 1, true, node_remove},
    {"capacity", "a node's number and a capacity", 2, false, node_capacity},
};

static int words_parse(const char *command, struct node_request *q, int words, char **word,
                       const char *takes)
{
    if (words > 0 && (!bytes_to_i64(bytes_str(word[0]), &q->id) || q->id < 1))
        return cli_usage(command, "%s takes %s, and '%s' is none", q->verb, takes, word[0]);
    if (words > 1 &&
        (!bytes_to_i64(bytes_str(word[1]), &q->number) || q->number < 1 || q->number > 1000000))
        return cli_usage(command, "a capacity is 1 to 1000000, not '%s'", word[1]);
    return EXIT_DONE;
}

int cmd_node(int argc, char **argv)
{
    struct node_request q = {0};
    const struct option table[] = {
        {"at", OPTION_ADDRESS, q.at, .value = "HOST:PORT",
         .help = "any node's client address (one of ./synod-data, 127.0.0.1:7001, or 6379)"},
        {"wait", OPTION_FLAG, &q.wait, .help = "drain, remove: until it is done, with a bar"},
        {0},
    };
    int words;
    int status = options_parse(&(struct options){usage, table}, argc, argv, &words, NULL);
    if (status != EXIT_DONE) return status;
    if (words == 0) return cli_usage(argv[0], "list, drain, undrain, remove or capacity?");

    q.verb = argv[1];
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(verbs[i].verb, q.verb) != 0) continue;
        if (words - 1 != verbs[i].words)
            return cli_usage(argv[0], "%s takes %s", q.verb, verbs[i].takes);
        if (q.wait && !verbs[i].waits) return cli_usage(argv[0], "%s takes no --wait", q.verb);
        status = words_parse(argv[0], &q, verbs[i].words, argv + 2, verbs[i].takes);
        struct client *c = status == EXIT_DONE ? ask_connect(q.at) : NULL;
        if (c)
            status = verbs[i].run(&c, &q);
        else if (status == EXIT_DONE)
            status = EXIT_FAILED;
        client_free(c);
        return status;
    }
    return cli_usage(argv[0], "there is no '%s'", q.verb);
}
