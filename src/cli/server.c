/* The options of synod server. */
#include "cli/server.h"

#include "base/bytes.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static const char *const io_words[] = {"auto", "uring", "epoll", NULL};
static const char *const read_mode_words[] = {"lease", "quorum", NULL};
static const char *const log_level_words[] = {"error", "warn", "info", "debug", NULL};
static const char *const redirect_words[] = {"forward", "moved", NULL};

static const char usage[] = "usage: synod server --data DIR [options]\n"
                            "  A node of a cluster. With an empty DIR and neither --found nor "
                            "--join it founds a cluster of one.\n\n";

/* Fills found[] from "HOST:PORT,HOST:PORT,...". */
static int found_parse(struct server_options *o, const char *command, const char *list)
{
    for (const char *at = list;;) {
        size_t size = strcspn(at, ",");
        if (o->found_count == SERVER_FOUND_MAX)
            return cli_usage(
                command, "--found names more than %d nodes; found with fewer and let others join",
                SERVER_FOUND_MAX);
        char *to = o->found[o->found_count];
        char host[256];
        uint16_t port;
        if (size >= OPTION_ADDRESS_MAX)
            return cli_usage(command, "--found has an address that is too long");
        memcpy(to, at, size);
        to[size] = 0;
        if (!address_split(to, host, sizeof host, &port))
            return cli_usage(command,
                             "--found takes HOST:PORT,HOST:PORT,..., and '%s' is no HOST:PORT", to);
        for (unsigned i = 0; i < o->found_count; i++)
            if (strcmp(o->found[i], to) == 0)
                return cli_usage(command, "--found names %s twice", to);
        o->found_count++;
        if (!at[size]) return EXIT_DONE;
        at += size + 1;
    }
}

/* The layers below take numbers only: a name ("localhost") becomes its first address. */
static int address_resolve(const char *command, char *address)
{
    char host[256], number[128];
    uint16_t port;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found;
    if (!address_split(address, host, sizeof host, &port)) return EXIT_DONE;
    int error = getaddrinfo(host, NULL, &hints, &found);
    if (error)
        return cli_usage(command, "'%s' is no address of a host: %s", host, gai_strerror(error));
    struct addrinfo *best = found;
    while (best && best->ai_family != AF_INET) best = best->ai_next;
    if (!best) best = found;
    error = getnameinfo(best->ai_addr, best->ai_addrlen, number, sizeof number, NULL, 0,
                        NI_NUMERICHOST);
    snprintf(address, OPTION_ADDRESS_MAX, best->ai_family == AF_INET6 ? "[%s]:%u" : "%s:%u", number,
             port);
    freeaddrinfo(found);
    return error ? cli_usage(command, "'%s' is no address of a host", host) : EXIT_DONE;
}

/* A port derived from the client port, where none was given. */
static int address_default(const char *command, const char *listen, const char *name,
                           unsigned offset, char *out)
{
    char host[256];
    uint16_t port = 0;
    if (*out) return EXIT_DONE;
    (void)address_split(listen, host, sizeof host, &port);
    if (!address_with_port(listen, port + offset, out))
        return cli_usage(command, "--listen's port + %u is no port; give --%s", offset, name);
    return EXIT_DONE;
}

/* What one option alone cannot tell: how they fit together. */
static int server_options_finish(struct server_options *o, const char *command, const char *found,
                                 uint64_t replicas)
{
    if (!o->data_dir)
        return cli_usage(command, "--data DIR is needed: where should the data live?");
    if (*o->join && (found || o->groups || replicas))
        return cli_usage(command,
                         "--join goes with neither --found nor --groups nor --replicas: the "
                         "cluster that is joined has them");
    if (o->witness && !*o->join)
        return cli_usage(command, "--witness goes with --join: founding nodes hold data");
    int status = address_default(command, o->listen, "peer", 10000, o->peer);
    if (status == EXIT_DONE) status = address_default(command, o->listen, "http", 1000, o->http);
    if (status == EXIT_DONE && found) status = found_parse(o, command, found);
    char *const addresses[] = {o->listen, o->peer, o->http, o->join};
    for (size_t i = 0; i < (*o->join ? 4 : 3) && status == EXIT_DONE; i++)
        status = address_resolve(command, addresses[i]);
    for (unsigned i = 0; i < o->found_count && status == EXIT_DONE; i++)
        status = address_resolve(command, o->found[i]);
    if (status != EXIT_DONE) return status;

    if (strcmp(o->join, o->peer) == 0)
        return cli_usage(command, "--join takes another node's peer address; %s is this one's",
                         o->join);
    if (strcmp(o->listen, o->peer) == 0 || strcmp(o->listen, o->http) == 0 ||
        strcmp(o->peer, o->http) == 0)
        return cli_usage(command, "--listen, --peer and --http need three different addresses");
    while (o->found_self < o->found_count && strcmp(o->found[o->found_self], o->peer) != 0)
        o->found_self++;
    if (found && o->found_self == o->found_count)
        return cli_usage(command, "this node's peer address %s is not among --found %s", o->peer,
                         found);

    unsigned nodes = o->found_count ? o->found_count : 1;
    if (replicas && found && replicas > nodes)
        return cli_usage(command, "--replicas %u needs that many founding nodes, and there are %u",
                         (unsigned)replicas, nodes);
    o->replicas = (unsigned)replicas;
    return EXIT_DONE;
}

int server_options_parse(struct server_options *o, struct options_text *text, int argc, char **argv)
{
    *o = (struct server_options){.listen = "127.0.0.1:6379", .zone = "default"};
    int io = SERVER_IO_AUTO, read_mode = SERVER_READ_LEASE, log_level = SERVER_LOG_INFO,
        redirect = 0;
    uint64_t groups = 0, replicas = 0, capacity = 100, grace = 300;
    const char *found = NULL;
    const struct option table[] = {
        {"data", OPTION_TEXT, &o->data_dir, .value = "DIR",
         .help = "where the data lives; one node a directory"},
        {"listen", OPTION_ADDRESS, o->listen, .value = "HOST:PORT",
         .help = "for clients (127.0.0.1:6379)"},
        {"peer", OPTION_ADDRESS, o->peer, .value = "HOST:PORT",
         .help = "for other nodes (listen + 10000)"},
        {"http", OPTION_ADDRESS, o->http, .value = "HOST:PORT",
         .help = "for metrics (listen + 1000)"},
        {"zone", OPTION_TEXT, &o->zone, .value = "Z",
         .help = "failure zone; replicas spread over zones"},
        {"found", OPTION_TEXT, &found, .value = "HOST:PORT,...",
         .help = "found a cluster of these peer addresses"},
        {"join", OPTION_ADDRESS, o->join, .value = "HOST:PORT",
         .help = "join the cluster of this peer address"},
        {"witness", OPTION_FLAG, &o->witness,
         .help = "with --join: hold votes and a log, and no data"},
        {"groups", OPTION_NUMBER, &groups, 1, 16384, .value = "N",
         .help = "groups at founding (16)"},
        {"replicas", OPTION_NUMBER, &replicas, 1, SERVER_FOUND_MAX, .value = "R",
         .help = "replicas a group (3; every founding node, up to 5)"},
        {"capacity", OPTION_NUMBER, &capacity, 1, 1000000, .value = "N",
         .help = "how much of the data it takes, when it joins; 100 is one share (100)"},
        {"grace", OPTION_NUMBER, &grace, 1, 86400, .value = "S",
         .help = "at founding: a node silent for S seconds is replaced (300)"},
        {"io", OPTION_CHOICE, &io, .words = io_words, .value = "auto|uring|epoll",
         .help = "how to do I/O (auto)"},
        {"read-mode", OPTION_CHOICE, &read_mode, .words = read_mode_words, .value = "lease|quorum",
         .help = "quorum trusts no clock (lease)"},
        {"redirect", OPTION_CHOICE, &redirect, .words = redirect_words, .value = "forward|moved",
         .help = "a key that is led elsewhere (forward)"},
        {"log-level", OPTION_CHOICE, &log_level, .words = log_level_words, .value = "L",
         .help = "error, warn, info or debug (info)"},
        {"fault", OPTION_TEXT, &o->fault, .value = "SPEC",
         .help = "for tests: plant a fault in this node's disk"},
        {"config", OPTION_CONFIG, .value = "FILE", .help = "lines 'name value', by these names"},
        {0},
    };
    int status = options_parse(&(struct options){usage, table}, argc, argv, NULL, text);
    if (status != EXIT_DONE) return status;

    o->groups = (unsigned)groups;
    o->capacity = (unsigned)capacity;
    o->grace_s = (unsigned)grace;
    o->io = (enum server_io)io;
    o->read_mode = (enum server_read_mode)read_mode;
    o->log_level = (enum server_log_level)log_level;
    o->redirect = redirect == 1;
    return server_options_finish(o, argv[0], found, replicas);
}
