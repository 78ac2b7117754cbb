/* A small cluster in the simulated world, and clients that speak RESP by hand. */
#ifndef SYNOD_TESTS_NODE_CLUSTER_H
#define SYNOD_TESTS_NODE_CLUSTER_H

#include "test.h"

#include "base/buf.h"
#include "node/node.h"
#include "sim/world.h"

#define CLUSTER_MAX 5
#define CLIENT_HOST CLUSTER_MAX
#define CLIENTS_MAX 160

struct cluster;

struct member {
    struct cluster *cluster;
    uint32_t host;
    struct node *node; /* NULL: down */
    struct engine_mem_disk *disk;
    struct engine *engine;
    struct node_config config;
    char listen[32], peer[32], last_words[200];
    uint32_t installs; /* snapshots that were installed here */
};

struct client {
    struct cluster *cluster;
    struct io_conn *conn; /* NULL: closed */
    struct buf got;       /* what came and was not expected yet */
    bool deaf;            /* reads nothing */
};

struct cluster {
    struct world *w;
    uint32_t nodes;
    struct member member[CLUSTER_MAX];
    char found[CLUSTER_MAX * 32];
    struct client client[CLIENTS_MAX];
    uint32_t clients;
};

/* groups, replicas: 0 for the defaults. Returns once every group is served. */
void cluster_init(struct cluster *c, uint32_t nodes, uint32_t groups, uint32_t replicas);
/* The same with a log of 256 KiB: who is away soon lacks what it has no more. */
void cluster_init_small(struct cluster *c, uint32_t nodes, uint32_t groups, uint32_t replicas);
void cluster_deinit(struct cluster *c);
void cluster_start(struct cluster *c, uint32_t node); /* nodes are counted from 0 here */
/* One more, with an empty disk; it joins through another. */
void cluster_join(struct cluster *c, uint32_t node, uint32_t through);
void cluster_join_witness(struct cluster *c, uint32_t node, uint32_t through);
void cluster_kill(struct cluster *c, uint32_t node);
void cluster_run(struct cluster *c, uint64_t ms);
/* Until every group is served somewhere; fails after a minute. */
void cluster_settle(struct cluster *c);
/* The node that serves a group; UINT32_MAX: none. */
uint32_t cluster_leader(struct cluster *c, uint32_t group);
/* Hands all its leaderships over. */
void cluster_resign(struct cluster *c, uint32_t node);
/* A node that does not serve the group. */
uint32_t cluster_other(struct cluster *c, uint32_t group);

struct client *client_open(struct cluster *c, uint32_t node);
/* To a node's peer port. */
struct client *client_open_peer(struct cluster *c, uint32_t node);
void client_send(struct client *c, struct bytes bytes);
/* A line of words, sent as an inline command. */
void client_say(struct client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Waits (10 s of the world's time at most) until so much has come. */
void client_await(struct client *c, size_t bytes);
/* Exactly these bytes come next. */
void client_expect(struct client *c, const char *text);
/* Says it, and that is what comes next: all before it was answered. */
void client_says(struct client *c, const char *line, const char *reply);
/* The fields of this hash lie in records of their own from now on, as those of a large one do
 * (redis/fields.h). */
void client_unpack(struct client *c, const char *key);
#define QUEUED "+QUEUED\r\n"
/* The next whole reply; valid until the next call. */
struct bytes client_reply(struct client *c, struct buf *storage);
void client_close(struct client *c);

#endif
