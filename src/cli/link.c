/* One conversation, with whichever node is there. */
#include "cli/link.h"

#include "cli/ask.h"
#include "cli/clock.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define CONNECT_MS 1000
#define SLICE_MS   100 /* how soon a stop is noticed */
#define AGAIN_MS   200

/* ---- the nodes ---- */

static void address_add(struct link *l, struct bytes host, int64_t port)
{
    char text[OPTION_ADDRESS_MAX];
    bool v6 = memchr(host.data, ':', host.size) != NULL;
    int size = snprintf(text, sizeof text, v6 ? "[%.*s]:%lld" : "%.*s:%lld", (int)host.size,
                        (const char *)host.data, (long long)port);
    if (size <= 0 || (size_t)size >= sizeof text || l->addresses == LINK_NODES_MAX) return;
    for (unsigned i = 0; i < l->addresses; i++)
        if (strcmp(l->address[i], text) == 0) return;
    strcpy(l->address[l->addresses++], text);
}

/* CLUSTER SLOTS: [first, last, [host, port, ...], ...replicas] a range. What an earlier node knew
 * is kept: this one may be younger. */
static void nodes_ask(struct link *l)
{
    const struct client_reply *r = client_call(l->client, "CLUSTER SLOTS");
    if (!r || r->type != CLIENT_ARRAY) return;
    for (size_t i = 0; i < r->count; i++) {
        const struct client_reply *range = &r->items[i];
        for (size_t n = 2; range->type == CLIENT_ARRAY && n < range->count; n++) {
            const struct client_reply *node = &range->items[n];
            if (node->type == CLIENT_ARRAY && node->count >= 2 &&
                node->items[0].type == CLIENT_BULK && node->items[0].text.size &&
                node->items[1].type == CLIENT_INTEGER)
                address_add(l, node->items[0].text, node->items[1].integer);
        }
    }
}

bool link_open(struct link *l, const char *at)
{
    *l = (struct link){.stop_fd = -1};
    if (at && *at) snprintf(l->address[l->addresses++], OPTION_ADDRESS_MAX, "%s", at);
    l->client = ask_connect(at);
    if (l->client) nodes_ask(l);
    return l->client != NULL;
}

void link_close(struct link *l)
{
    client_free(l->client);
    l->client = NULL;
}

/* ---- asking ---- */

static bool is_stopped(struct link *l)
{
    struct pollfd p = {.fd = l->stop_fd, .events = POLLIN};
    if (l->stop_fd >= 0 && poll(&p, 1, 0) > 0) l->stopped = true;
    return l->stopped;
}

/* One step towards a connection: the next address, and a pause after all of them. */
static void connect_step(struct link *l, char *error, size_t error_size)
{
    char why[256], line[OPTION_ADDRESS_MAX + 40];
    if (l->addresses == 0) return sleep_ms(AGAIN_MS);
    const char *address = l->address[l->next];
    l->next = (l->next + 1) % l->addresses;
    l->client = client_connect(address, CONNECT_MS, why, sizeof why);
    if (!l->client) {
        snprintf(error, error_size, "%s", why);
        return sleep_ms(l->next ? SLICE_MS : AGAIN_MS);
    }
    snprintf(line, sizeof line, "going on with the node at %s", address);
    if (l->say) l->say(l->ctx, line);
    nodes_ask(l);
}

static void lost(struct link *l, const char *why, char *error, size_t error_size)
{
    char line[300];
    snprintf(error, error_size, "%s", why);
    snprintf(line, sizeof line, "the node that was asked is gone (%s)", why);
    if (l->say) l->say(l->ctx, line);
    client_free(l->client);
    l->client = NULL;
}

/* NULL: stopped, or lost. */
static const struct client_reply *answer_wait(struct link *l, uint32_t silent_ms, char *error,
                                              size_t error_size)
{
    const struct client_reply *r;
    uint64_t heard = clock_ms();
    int got = client_flush(l->client) ? 0 : -1;
    while (got >= 0 && !is_stopped(l)) {
        got = client_next(l->client, &r);
        if (got > 0) return r;
        if (got == 0) got = client_receive(l->client, SLICE_MS);
        if (got > 0) heard = clock_ms();
        if (got >= 0 && silent_ms && clock_ms() - heard > silent_ms) break;
    }
    if (l->stopped) return NULL;
    lost(l, got < 0 ? client_error(l->client) : "it says nothing", error, error_size);
    return NULL;
}

static bool may_pass(const struct client_reply *r)
{
    static const char *const word[] = {"TRYAGAIN", "CLUSTERDOWN", "UNKNOWN", "LOADING", "TIMEOUT"};
    for (size_t i = 0; i < sizeof word / sizeof *word; i++)
        if (client_reply_failed(r, word[i])) return true;
    return false;
}

const struct client_reply *link_ask(struct link *l, uint32_t silent_ms, size_t argc,
                                    const struct bytes *argv)
{
    char error[300] = "it has no other node to ask";
    uint64_t asked = clock_ms();
    l->stopped = false;
    while (!is_stopped(l)) {
        bool late = clock_ms() - asked > LINK_GIVE_UP_MS;
        if (late && !l->client) {
            cli_fail("no node of the cluster answers: %s", error);
            return NULL;
        }
        if (!l->client) connect_step(l, error, sizeof error);
        if (!l->client) continue;
        client_append(l->client, argc, argv);
        const struct client_reply *r = answer_wait(l, silent_ms, error, sizeof error);
        if (r && (late || !may_pass(r))) return r;
        if (r) sleep_ms(AGAIN_MS);
        if (!r && !silent_ms) asked = clock_ms(); /* what was waited for took as long as it liked */
    }
    return NULL;
}

const struct client_reply *link_askf(struct link *l, const char *verb, const char *name)
{
    struct bytes word[3] = {BYTES("JOB"), bytes_str(verb)};
    size_t words = 2;
    if (name) word[words++] = bytes_str(name);
    return link_ask(l, LINK_SILENT_MS, words, word);
}
