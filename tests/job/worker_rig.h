/* Runs tasks in real worker processes, and whole jobs as a loop over them: maps, then reduces over
 * what the maps sent to each partition. */
#ifndef TESTS_JOB_WORKER_RIG_H
#define TESTS_JOB_WORKER_RIG_H

#include "base/buf.h"
#include "job/worker.h"

enum { RIG_PARTITIONS_MAX = 16 };

struct rig_result {
    bool done;
    struct buf pairs[RIG_PARTITIONS_MAX]; /* by partition */
    char error[WORKER_ERROR_MAX];
    bool user;
    struct worker_event last; /* DONE's numbers */
    uint64_t progress, spilled;
    uint64_t rss_kib_max; /* as seen at each piece of progress and output */
};

struct rig_options {
    bool reduces;
    uint32_t task, attempt, partitions;
    int spill_fd;        /* 0: a file in /tmp; -1: none */
    uint64_t kill_after; /* bytes of input; 0: never */
    int timeout_ms;      /* 0: a minute */
    int deaf_ms;         /* nothing is read for so long, once all is fed */
};

/* The spec of "JOB SUBMIT" with these words; the words stay the caller's. */
struct job_spec rig_spec(const char *const *word, size_t count);
#define RIG_SPEC(...)                                                                              \
    rig_spec((const char *const[]){__VA_ARGS__},                                                   \
             sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* Of JOB_WORKER; one for all tests of a program. */
struct nursery *rig_nursery(void);

/* Fails the test if nothing has ended after the timeout. */
struct rig_result rig_run(const struct job_spec *spec, const struct rig_options *o,
                          struct bytes input);
void rig_free(struct rig_result *r);

/* "key=value" lines of all pairs of a whole job, sorted. `input`: one stream for each map task. */
struct buf rig_job(const struct job_spec *spec, const struct bytes *input, uint32_t maps,
                   uint32_t partitions);
/* The same of one result's partition, in order. */
struct buf rig_lines(const struct buf *pairs);

/* The text of a file under the source tree; the caller's. */
char *rig_file(const char *path);

#endif
