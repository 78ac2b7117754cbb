#include "host/pool.h"
#include "base/assert.h"
#include "base/mem.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#define POOL_THREADS_MAX 64

struct pool {
    pthread_mutex_t mutex;
    pthread_cond_t arrived;
    struct list waiting, done; /* under the mutex, as is `ending` */
    bool ending;
    unsigned threads, started;
    bool idle;
    void (*wake)(void *ctx);
    void *ctx;
    pthread_t thread[POOL_THREADS_MAX];
};

struct pool *pool_new(unsigned threads, bool idle, void (*wake)(void *ctx), void *ctx)
{
    struct pool *p = mem_zalloc(sizeof *p);
    p->threads = threads < 1 ? 1 : threads > POOL_THREADS_MAX ? POOL_THREADS_MAX : threads;
    p->idle = idle;
    p->wake = wake;
    p->ctx = ctx;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->arrived, NULL);
    list_init(&p->waiting);
    list_init(&p->done);
    return p;
}

static void *pool_thread(void *arg)
{
    struct pool *p = arg;
    /* Of this thread alone: Linux has it so. Without it things go on all the same. */
    if (p->idle) (void)sched_setscheduler(gettid(), SCHED_IDLE, &(struct sched_param){0});
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        while (!p->ending && list_empty(&p->waiting)) pthread_cond_wait(&p->arrived, &p->mutex);
        if (p->ending) break;

        struct pool_job *job = LIST_OF(list_pop(&p->waiting), struct pool_job, link);
        pthread_mutex_unlock(&p->mutex);
        job->run(job);
        pthread_mutex_lock(&p->mutex);

        /* One wake serves all that is done until the reactor collects. */
        bool first = list_empty(&p->done);
        list_push(&p->done, &job->link);
        if (first) p->wake(p->ctx);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

/* Signals are for the thread that runs the host: pool threads block them all. */
static void pool_start(struct pool *p)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (p->started < p->threads &&
           pthread_create(&p->thread[p->started], NULL, pool_thread, p) == 0)
        p->started++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    ASSERT(p->started > 0); /* without a thread nothing could ever finish */
}

void pool_push(struct pool *p, struct pool_job *job)
{
    if (p->started == 0) pool_start(p);
    pthread_mutex_lock(&p->mutex);
    list_push(&p->waiting, &job->link);
    pthread_cond_signal(&p->arrived);
    pthread_mutex_unlock(&p->mutex);
}

static void pool_take(struct list *from, struct list *to)
{
    list_init(to);
    for (struct list *link; (link = list_pop(from));) list_push(to, link);
}

void pool_collect(struct pool *p)
{
    if (p->started == 0) return;
    struct list done;
    pthread_mutex_lock(&p->mutex);
    pool_take(&p->done, &done);
    pthread_mutex_unlock(&p->mutex);

    for (struct list *link; (link = list_pop(&done));) {
        struct pool_job *job = LIST_OF(link, struct pool_job, link);
        job->finish(job);
    }
}

void pool_free(struct pool *p)
{
    if (!p) return;
    pthread_mutex_lock(&p->mutex);
    p->ending = true;
    pthread_cond_broadcast(&p->arrived);
    pthread_mutex_unlock(&p->mutex);
    for (unsigned i = 0; i < p->started; i++) pthread_join(p->thread[i], NULL);

    struct list *link;
    while ((link = list_pop(&p->waiting)) || (link = list_pop(&p->done))) {
        struct pool_job *job = LIST_OF(link, struct pool_job, link);
        job->drop(job);
    }
    pthread_cond_destroy(&p->arrived);
    pthread_mutex_destroy(&p->mutex);
    mem_free(p);
}
