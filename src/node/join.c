/* Becoming a node of a cluster. The newcomer dials any member and says who it is; the member asks
 * the keeper of the map (group 0) for an id, and answers with id, cluster and map. The newcomer is
 * known by its data directory, so asking twice gives the same id. */
#include "node/internal.h"
#include "base/mem.h"
#include "node/request.h"

#include <stdio.h>

#define JOIN_RETRY  (500 * MS)
#define JOIN_WAIT   (15000 * MS)
#define JOIN_ANSWER (64u << 20)
#define JOIN_INUSE                                                                                 \
    (20000 * MS) /* the others need some seconds to see that the node at its address died */

/* ---- the newcomer ---- */

struct joining {
    struct node *node;
    struct io_conn *conn;
    uint64_t dial_at, give_up_at, said_at, began_at;
};

static void again(struct joining *j, const char *why)
{
    struct node *n = j->node;
    j->conn = NULL;
    j->dial_at = n->now + JOIN_RETRY;
    if (j->said_at && n->now < j->said_at + 5000 * MS) return;
    j->said_at = n->now;
    node_log(n, "joining through %s: %s; it is tried again", n->config.join, why);
}

static bool is_final(const struct joining *j, struct bytes text)
{
    static const char *const words[] = {"REMOVED", "FULL", "ERR", "INUSE"};
    bool early = j->node->now < j->began_at + JOIN_INUSE;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t size = strlen(words[i]);
        if (text.size > size && memcmp(text.data, words[i], size) == 0) return i < 3 || !early;
    }
    return false;
}

/* NULL, or why not. */
static const char *joined(struct node *n, struct bytes payload)
{
    struct wire_joined w;
    struct ring_row row;
    if (!wire_get_joined(payload, &w) || !w.node || w.node > NODE_NODES_MAX || !w.cluster)
        return "its answer cannot be read";
    if (n->identity.node && (n->identity.node != w.node || n->identity.cluster != w.cluster)) {
        node_fatal(n, "this data directory is of node %u in cluster %016llx, not %016llx",
                   n->identity.node, (unsigned long long)n->identity.cluster,
                   (unsigned long long)w.cluster);
        return "another cluster";
    }
    n->identity.cluster = w.cluster;
    struct reader r = reader_of(w.rows);
    while (reader_left(&r)) {
        struct bytes one = reader_blob(&r);
        if (!r.bad && ring_row_decode(one, &row)) ring_take(n, &row);
    }
    /* The map first: who is a node, and knows no other, could dial nobody. */
    struct identity id = n->identity;
    id.node = w.node;
    id.founded = true;
    int error = ring_save_now(n);
    if (!error) error = identity_save(n->io, &id);
    if (error) return strerror(-error);
    n->identity = id;
    node_log(n, "joined cluster %016llx as node %u", (unsigned long long)w.cluster, w.node);
    node_identified(n);
    node_take_part(n);
    return NULL;
}

static size_t joining_data(void *ctx, struct io_conn *c, struct bytes in)
{
    struct joining *j = ctx;
    struct node *n = j->node;
    struct bytes payload;
    char why[300];
    const char *failed = NULL;
    uint8_t type;
    node_begin(n);
    size_t size = wire_frame_size(in);
    if (size == 0) return 0;
    bool good = size != SIZE_MAX && wire_open(bytes_of(in.data, size), &type, &payload);
    if (good && type == WIRE_JOINED) failed = joined(n, payload);
    io_conn_close(c, false);
    j->conn = NULL;
    if (n->taking_part) return in.size; /* join_turn frees j */
    struct bytes text = good ? payload : BYTES("it does not speak synod's way");
    if (failed) text = bytes_str(failed);
    snprintf(why, sizeof why, "%.*s", (int)(text.size < 280 ? text.size : 280),
             (const char *)text.data);
    if (good && type == WIRE_REFUSE && is_final(j, payload))
        node_fatal(n, "the cluster does not let this node join: %s", why);
    else
        again(j, why);
    return in.size;
}

static void joining_opened(void *ctx, struct io_conn *c)
{
    (void)ctx;
    io_conn_set_limit(c, JOIN_ANSWER);
}

static void joining_closed(void *ctx, struct io_conn *c, int error)
{
    struct joining *j = ctx;
    (void)c;
    node_begin(j->node);
    again(j, error ? strerror(-error) : "it hung up");
}

static const struct io_handler joining_handler = {
    .opened = joining_opened, .data = joining_data, .closed = joining_closed};

bool join_start(struct node *n, char *error, size_t error_size)
{
    if (!n->config.join) {
        snprintf(
            error, error_size,
            n->identity.node
                ? "the copy of the cluster map is lost: start this node with --join HOST:PORT, "
                  "the peer address of any other"
                : "this data directory was to join a cluster and has not yet: start it with "
                  "--join HOST:PORT, the peer address of any of its nodes");
        return false;
    }
    n->joining = mem_zalloc(sizeof *n->joining);
    n->joining->node = n;
    n->joining->began_at = n->now;
    return true;
}

void join_free(struct node *n)
{
    if (n->joining && n->joining->conn) io_conn_close(n->joining->conn, false);
    mem_free(n->joining);
    n->joining = NULL;
}

void join_turn(struct node *n)
{
    struct joining *j = n->joining;
    if (!j) return;
    if (n->taking_part) {
        join_free(n);
        return;
    }
    if (j->conn && n->now > j->give_up_at) {
        io_conn_close(j->conn, false);
        again(j, "no answer (is that a peer address, not one for clients?)");
    }
    if (j->conn || n->now < j->dial_at) return;
    j->conn = io_connect(n->io, n->config.join, &joining_handler, j);
    if (!j->conn) {
        again(j, "the address cannot be dialled");
        return;
    }
    j->give_up_at = n->now + JOIN_WAIT;
    wire_put_join(io_conn_out(j->conn), &(struct wire_join){.disk = n->identity.disk,
                                                            .capacity = n->config.capacity,
                                                            .witness = n->identity.witness,
                                                            .peer = bytes_str(n->peer_address),
                                                            .client = bytes_str(n->listen),
                                                            .http = bytes_str(n->http),
                                                            .zone = bytes_str(n->zone)});
}

/* ---- the member that is asked ---- */

struct asker {
    struct list link; /* node->askers */
    struct node *node;
    struct io_conn *conn; /* NULL: it hung up */
};

static void asker_answered(void *ctx, struct bytes reply)
{
    struct asker *a = ctx;
    struct node *n = a->node;
    int64_t id = 0;
    size_t line;
    char text[300];
    if (a->conn && request_reply_number(reply, ':', &id, &line) && id > 0) {
        struct buf rows = {0};
        ring_put_rows(n, 0, &rows);
        wire_put_joined(io_conn_out(a->conn), &(struct wire_joined){.node = (uint16_t)id,
                                                                    .cluster = n->identity.cluster,
                                                                    .rows = buf_bytes(&rows)});
        buf_deinit(&rows);
    } else if (a->conn) {
        int size = reply.size > 3 && reply.data[0] == '-' ? (int)reply.size - 3 : 0;
        snprintf(text, sizeof text, "%.*s", size, size ? (const char *)reply.data + 1 : "");
        wire_put_text(io_conn_out(a->conn), WIRE_REFUSE,
                      size ? text : "TRYAGAIN no answer from group 0");
    }
    list_remove(&a->link);
    mem_free(a);
}

void join_on_request(struct node *n, struct io_conn *c, struct bytes payload)
{
    struct wire_join w;
    char disk[24], capacity[24];
    if (!wire_get_join(payload, &w) || !n->taking_part || !n->ring_there) {
        wire_put_text(io_conn_out(c), WIRE_REFUSE,
                      "TRYAGAIN this node is not part of a cluster itself yet");
        return;
    }
    struct bytes word[] = {
        BYTES("JOIN"),
        bytes_of(disk, (size_t)snprintf(disk, sizeof disk, "%lld", (long long)w.disk)),
        bytes_of(capacity, (size_t)snprintf(capacity, sizeof capacity, "%u", w.capacity)),
        w.peer,
        w.client,
        w.http,
        w.zone,
        BYTES("witness")};
    struct asker *a = mem_zalloc(sizeof *a);
    a->node = n;
    a->conn = c;
    list_push(&n->askers, &a->link);
    ring_ask(n, word, sizeof word / sizeof *word - !w.witness, asker_answered, a);
}

void join_conn_lost(struct node *n, struct io_conn *c)
{
    for (struct list *l = n->askers.next; l != &n->askers; l = l->next) {
        struct asker *a = LIST_OF(l, struct asker, link);
        if (a->conn == c) a->conn = NULL;
    }
}

void join_free_askers(struct node *n)
{
    struct list *l;
    while ((l = list_pop(&n->askers))) mem_free(LIST_OF(l, struct asker, link));
}
