/* A client that keeps writing in the background, and remembers what was acknowledged.
 *
 * Each record is a key of its own, "w:RUN:N", written once; one whose fate is not known (its
 * connection broke, or the reply says so) is sent again until it is acknowledged, which is right
 * because the value is the same. So at the end every acknowledged record must be there.
 *
 * It is one thread with a few connections, each to another node; it writes at a steady rate, so
 * that it shows what clients see and not how fast the machine is. */
#ifndef SYNOD_CLI_WRITER_H
#define SYNOD_CLI_WRITER_H

#include "cli/options.h"

#define WRITER_ADDRESSES_MAX 64

struct writer;

struct writer_report {
    size_t acked;
    size_t again;        /* sent a second time, or more often */
    uint32_t slowest_ms; /* write since the last report, from when it was due */
    double rate;         /* acknowledged a second, since the last report */
    bool failed;         /* a write was refused for good: `error` says why */
    char error[160];
};

struct writer *writer_new(uint32_t per_second);
/* Where it may write from now on. Addresses are copied. */
void writer_addresses(struct writer *w, const char (*address)[OPTION_ADDRESS_MAX], unsigned count);
void writer_look(struct writer *w, struct writer_report *out);
void writer_report(struct writer *w, struct writer_report *out); /* and a new one begins */
/* What is under way is given up; nothing is written after this. */
void writer_stop(struct writer *w);
void writer_free(struct writer *w); /* stops it; NULL is fine */

/* After writer_stop: reads every acknowledged record back, through `address`. False if that could
 * not be done: a line is in error. */
bool writer_verify(const struct writer *w, const char *address, size_t *missing, size_t *different,
                   char *error, size_t error_size);

#endif
