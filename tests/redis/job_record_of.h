/* A record that says this: of a job with one map task and one reduce. */
#ifndef SYNOD_TESTS_REDIS_JOB_RECORD_OF_H
#define SYNOD_TESTS_REDIS_JOB_RECORD_OF_H

#include "job/job_record.h"

struct at {
    uint64_t epoch, revision;
    uint8_t phase;
    bool dropped;
    uint64_t snapshot;
};

static inline struct buf record_of(struct at at)
{
    struct buf out = {0};
    struct job j;
    struct job_task task[2];
    struct job_node node[1];
    struct job_options options = {.epoch = at.epoch, .reduces = 1, .task_count = 1};
    job_init(&j, &options, task, 2, node, 1);
    j.revision = at.revision;
    j.phase = at.phase;
    j.dropped = at.dropped;
    j.snapshot = at.snapshot;
    j.spent_ms = 77;
    if (at.phase == JOB_FAILED) memcpy(j.error, "why", j.error_size = 3);
    for (int i = 0; i < 2 && at.phase >= JOB_COMMITTING; i++)
        task[i].state = JOB_TASK_DONE, task[i].winner = (struct job_attempt){1, 1};
    job_record_encode(&j, &out);
    return out;
}

#endif
