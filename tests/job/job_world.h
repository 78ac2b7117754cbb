/* A world for the machine of a job: a home group that keeps its record, nodes with workers that are
 * pure functions, owners that come and go, and messages that are late, lost or doubled. The job is
 * a word count, so what is published can be compared with a count by hand.
 *
 * One seed, one run. Faults stop after `faults` steps, so every run must end. */
#ifndef TESTS_JOB_WORLD_H
#define TESTS_JOB_WORLD_H

#include "job/job_record.h"
#include "base/prng.h"

enum {
    WORLD_NODES = 4,
    WORLD_MAPS = 12,
    WORLD_REDUCES = 4,
    WORLD_TASKS = WORLD_MAPS + WORLD_REDUCES,
    WORLD_WORDS = 20,
    WORLD_ATTEMPTS = 4096,
    WORLD_OPS = 4096,
    WORLD_OWNERS = 2
};

struct world_attempt {
    uint32_t task, node;
    struct job_attempt id;
    bool alive, ended;
    struct job_attempt input[WORLD_MAPS]; /* of a reduce: the winners it was told */
    uint32_t input_node[WORLD_MAPS];
    bool has_output;
    uint32_t output[WORLD_WORDS];
};

struct world_op { /* something on its way to the home group, or to all nodes */
    bool live;
    uint8_t type; /* a job_effect_type */
    uint64_t epoch, revision, base_epoch, base_revision;
    struct buf record;
    uint32_t answers;               /* which owner gets the answer */
    uint32_t winner[WORLD_REDUCES]; /* index of attempts, PUBLISH */
};

struct world_owner {
    bool alive;
    struct job job;
    struct job_task task[WORLD_TASKS];
    struct job_node node[WORLD_NODES];
};

struct world {
    struct prng random;
    uint32_t maps, reduces, words[WORLD_MAPS][WORLD_WORDS];
    bool cut, calm;
    int64_t now_ms;
    uint64_t home_epoch, home_revision;
    struct buf home;
    struct world_owner owner[WORLD_OWNERS];
    struct world_attempt *attempt;
    uint32_t attempts;
    struct world_op *op;
    bool up[WORLD_NODES], snapshot[WORLD_NODES];
    uint32_t published, result[WORLD_WORDS];
    bool dropped;
    uint64_t steps;
};

enum { WORLD_FAULTS = 1, WORLD_CANCELS = 2 };

/* Runs one job from `seed` to its end; returns the phase that its record ended in. Fails the test
 * where an invariant does not hold. */
enum job_phase world_run(uint64_t seed, unsigned flags);

#endif
