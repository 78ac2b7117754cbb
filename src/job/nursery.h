/* A process that workers are born of. To start the program for each attempt takes 7 ms of a
 * processor, nearly all of it to link it, and a small job has more attempts than work. So one
 * process does that once, does nothing more, and forks.
 *
 * A worker that is born is a child of this process all the same (which becomes a subreaper:
 * PR_SET_CHILD_SUBREAPER), to be killed and waited for by it. The nursery starts with the first
 * birth, is started again if it is gone, and ends with its parent. */
#ifndef SYNOD_JOB_NURSERY_H
#define SYNOD_JOB_NURSERY_H

#include <stddef.h>
#include <sys/types.h>

struct nursery;

/* program: calls nursery_main when started with this as its only argument. Borrowed. */
#define NURSERY_ARGUMENT "job-nursery"
struct nursery *nursery_new(const char *program);
void nursery_free(struct nursery *n); /* NULL is fine. Workers live on */
/* A worker with these descriptors as WORKER_FD and WORKER_SPILL_FD (-1: none); both stay the
 * caller's. Any thread. Waits for it, a millisecond on the whole. Its pid, or -1: `error` says why.
 */
pid_t nursery_birth(struct nursery *n, int socket_fd, int spill_fd, char *error, size_t error_size);

/* The process, and then in each child the worker's. */
int nursery_main(void);

#endif
