/* hiredis against a cluster of three: hiredis-client PORT PORT PORT. One connection to each node,
 * replies read one by one and appended in a pipeline, then asynchronously, on a loop of poll; RESP3
 * where this hiredis has it. Prints "ok name" or "not ok name" a case. */
#include <errno.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NODES    3
#define PIPELINE 1000
#define LIMIT_S  20

static bool failed;

static void report(const char *name, bool good)
{
    printf("%s %s\n", good ? "ok" : "not ok", name);
    failed |= !good;
}

static redisContext *node_connect(const char *port)
{
    struct timeval limit = {LIMIT_S, 0};
    redisContext *c = redisConnectWithTimeout("127.0.0.1", atoi(port), limit);
    if (!c || c->err || redisSetTimeout(c, limit) != REDIS_OK) {
        fprintf(stderr, "hiredis-client: cannot connect to port %s: %s\n", port,
                c ? c->errstr : "no memory");
        exit(1);
    }
    return c;
}

/* Takes the reply. */
static bool reply_is(redisReply *r, int type, long long integer, const char *text)
{
    bool good = r && r->type == type && (type != REDIS_REPLY_INTEGER || r->integer == integer) &&
                (!text || strcmp(r->str, text) == 0);
    if (!good && r) fprintf(stderr, "reply of type %d: %s\n", r->type, r->str ? r->str : "");
    freeReplyObject(r);
    return good;
}

static void check_sync(redisContext *const c[NODES])
{
    static const char binary[] = "\0\r\n\xff$3";
    bool good = true;
    for (int i = 0; i < NODES && good; i++) {
        good = reply_is(redisCommand(c[i], "SET hi:k%d %b", i, binary, sizeof binary),
                        REDIS_REPLY_STATUS, 0, "OK");
        redisReply *r = redisCommand(c[(i + 1) % NODES], "GET hi:k%d", i);
        good = good && r && r->type == REDIS_REPLY_STRING && r->len == sizeof binary &&
               memcmp(r->str, binary, r->len) == 0;
        freeReplyObject(r);
    }
    report("hiredis writes through one node and reads through the next", good);
    report("hiredis is told of a wrong type",
           reply_is(redisCommand(c[0], "HGET hi:k0 f"), REDIS_REPLY_ERROR, 0,
                    "WRONGTYPE Operation against a key holding the wrong kind of value"));
}

static void check_pipeline(redisContext *c)
{
    bool good = reply_is(redisCommand(c, "SET hi:n 0"), REDIS_REPLY_STATUS, 0, "OK");
    void *r;
    for (int i = 0; i < PIPELINE; i++)
        good = good && redisAppendCommand(c, "INCR hi:n") == REDIS_OK;
    for (int i = 1; i <= PIPELINE && good; i++)
        good = redisGetReply(c, &r) == REDIS_OK && reply_is(r, REDIS_REPLY_INTEGER, i, NULL);
    report("hiredis gets the replies of a pipeline in order", good);
}

#ifdef REDIS_REPLY_MAP /* since hiredis 1.0 */
static void check_resp3(redisContext *c)
{
    redisReply *r = redisCommand(c, "HELLO 3");
    bool good = r && r->type == REDIS_REPLY_MAP;
    freeReplyObject(r);
    freeReplyObject(redisCommand(c, "DEL hi:h"));
    good = good && reply_is(redisCommand(c, "HSET hi:h a 1 b 2"), REDIS_REPLY_INTEGER, 2, NULL);
    r = redisCommand(c, "HGETALL hi:h");
    good = good && r && r->type == REDIS_REPLY_MAP && r->elements == 4;
    freeReplyObject(r);
    report("hiredis speaks RESP3",
           good && reply_is(redisCommand(c, "GET hi:none"), REDIS_REPLY_NIL, 0, NULL));
}
#endif

/* ---- asynchronous: the smallest loop that hiredis can be hung into ---- */

struct loop {
    int fd;
    short events;
    int next;
    bool good, over;
};

static void loop_add_read(void *data)
{
    ((struct loop *)data)->events |= POLLIN;
}
static void loop_del_read(void *data)
{
    ((struct loop *)data)->events &= (short)~POLLIN;
}
static void loop_add_write(void *data)
{
    ((struct loop *)data)->events |= POLLOUT;
}
static void loop_del_write(void *data)
{
    ((struct loop *)data)->events &= (short)~POLLOUT;
}
static void loop_cleanup(void *data)
{
    ((struct loop *)data)->over = true;
}

static void on_incr(redisAsyncContext *c, void *reply, void *data)
{
    struct loop *l = data;
    const redisReply *r = reply;
    (void)c;
    l->good = l->good && r && r->type == REDIS_REPLY_INTEGER && r->integer == ++l->next;
    if (l->next == PIPELINE || !l->good) redisAsyncDisconnect(c);
}

static void check_async(const char *port, redisContext *sync)
{
    redisAsyncContext *c = redisAsyncConnect("127.0.0.1", atoi(port));
    struct loop l = {.good = c && !c->err};
    time_t end = time(NULL) + LIMIT_S;
    freeReplyObject(redisCommand(sync, "DEL hi:async"));
    if (l.good) {
        l.fd = c->c.fd;
        c->ev.data = &l;
        c->ev.addRead = loop_add_read, c->ev.delRead = loop_del_read;
        c->ev.addWrite = loop_add_write, c->ev.delWrite = loop_del_write;
        c->ev.cleanup = loop_cleanup;
        l.events = POLLOUT; /* connecting */
        for (int i = 0; i < PIPELINE; i++)
            l.good = l.good && redisAsyncCommand(c, on_incr, &l, "INCR hi:async") == REDIS_OK;
    }
    while (l.good && !l.over && time(NULL) < end) {
        struct pollfd p = {.fd = l.fd, .events = l.events};
        if (poll(&p, 1, 1000) < 0 && errno != EINTR) break;
        if (p.revents & (POLLIN | POLLERR | POLLHUP)) redisAsyncHandleRead(c);
        if (!l.over && p.revents & POLLOUT) redisAsyncHandleWrite(c);
    }
    report("hiredis gets a thousand replies asynchronously",
           l.good && l.over && l.next == PIPELINE);
}

int main(int argc, char **argv)
{
    redisContext *c[NODES];
    if (argc != 1 + NODES) {
        fprintf(stderr, "usage: hiredis-client PORT PORT PORT\n");
        return 2;
    }
    for (int i = 0; i < NODES; i++) c[i] = node_connect(argv[1 + i]);
    check_sync(c);
    for (int i = 0; i < NODES; i++) check_pipeline(c[i]);
    check_async(argv[1], c[1]);
#ifdef REDIS_REPLY_MAP
    check_resp3(c[2]);
#endif
    for (int i = 0; i < NODES; i++) redisFree(c[i]);
    return failed ? 1 : 0;
}
