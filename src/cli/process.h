/* Processes that are remembered in files: identity that survives the reuse of process numbers. */
#ifndef SYNOD_CLI_PROCESS_H
#define SYNOD_CLI_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process {
    pid_t pid;
    uint64_t start; /* clock ticks after boot, field 22 of /proc/PID/stat */
};

/* Identity of a live process. False if there is none or it is a zombie. A zombie child of ours is
 * reaped. */
bool process_identify(pid_t pid, struct process *out);
/* Whether this very process lives and `word` is one of its arguments (after a reboot pid and start
 * could both repeat). */
bool process_alive(const struct process *p, const char *word);
/* A pidfd of this very process, or -1 if it is gone: a signal sent through it can reach no other,
 * and it turns readable when the process has ended. */
int process_open(const struct process *p, const char *word);
int process_signal(int pidfd, int signal); /* 0 or a negative errno */
/* Waits until the process ends; false after timeout_ms. Reaps it if it is our child. */
bool process_wait(int pidfd, pid_t pid, uint32_t timeout_ms);

/* A file of "PID START". Write is atomic (a new file renamed over the old). */
bool process_file_read(const char *path, struct process *out);
int process_file_write(const char *path, const struct process *p); /* 0 or a negative errno */

/* User and system time used so far, in microseconds; 0 if it is gone. Of all its threads. */
uint64_t process_cpu_us(pid_t pid);
/* Resident bytes; 0 if it is gone. */
uint64_t process_memory(pid_t pid);

#endif
