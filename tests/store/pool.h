/* A pool without threads for tests: work waits until the test says run, and its end until the test
 * says done. */
#ifndef SYNOD_TESTS_POOL_H
#define SYNOD_TESTS_POOL_H

#include "base/io.h"

#include <stdlib.h>

struct pool {
    struct io io;
    struct io_work *queue[64];
    size_t count, ran; /* queue[0 ... ran) have run and wait for done */
};

static inline void pool_work(struct io *io, struct io_work *w)
{
    struct pool *p = (struct pool *)io;
    if (p->count == sizeof p->queue / sizeof *p->queue) abort();
    p->queue[p->count++] = w;
}

static inline void pool_init(struct pool *p)
{
    static const struct io_ops ops = {.work = pool_work};
    *p = (struct pool){.io = {.ops = &ops}};
}

static inline void pool_run(struct pool *p)
{
    while (p->ran < p->count) {
        struct io_work *w = p->queue[p->ran++];
        w->run(w->ctx);
    }
}

static inline void pool_finish(struct pool *p)
{
    pool_run(p);
    while (p->count) {
        struct io_work *w = p->queue[0];
        p->count--;
        p->ran--;
        memmove(p->queue, p->queue + 1, p->count * sizeof *p->queue);
        w->done(w->ctx);
        pool_run(p);
    }
}

/* A crash: what had not run never happened, what had run did. */
static inline void pool_crash(struct pool *p)
{
    p->count = p->ran = 0;
}

#endif
