/* What a worker may do once it has what it needs: compute, and read and write the descriptors it
 * has. No file, socket, process or program can be opened or started; who tries is killed with
 * SIGSYS. Irreversible, for the whole process. */
#ifndef SYNOD_JOB_WORKER_SANDBOX_H
#define SYNOD_JOB_WORKER_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

struct worker_limits {
    uint64_t memory; /* bytes of address space on top of what is mapped now */
    uint64_t cpu_ms; /* rounded up to seconds; past it SIGXCPU */
    uint64_t file;   /* bytes: no write goes past it in any file */
};

/* False: errno, and `*step` names what was refused. */
bool worker_sandbox(const struct worker_limits *limits, const char **step);

#endif
