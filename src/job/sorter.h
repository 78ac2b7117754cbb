/* Pairs (partition, key, value) in, in any order and any amount; groups of equal keys out, sorted,
 * in bounded memory: an external merge sort. Values of a key come in the order in which they were
 * added.
 *
 * What does not fit into memory is sorted, combined (if there is a function for it), and written as
 * a run to the spill file; at the end all runs are merged, FAN_IN at a time. Knuth, TAOCP 3, 5.4.
 *
 * A run: pairs, each  partition, key size, value size (varints), key, value. One thread. */
#ifndef SYNOD_JOB_SORTER_H
#define SYNOD_JOB_SORTER_H

#include "base/buf.h"

#define SORTER_KEY_MAX   (64u << 10)
#define SORTER_VALUE_MAX (64u << 20)
#define SORTER_ERROR_MAX 200

struct sorter;
struct groups; /* a walk over sorted pairs */
struct sorter_run;

/* Called for each group of a run before it is written: reads the values and says what is to stand
 * in their place, by sorter_write. False: the sort fails, with the caller's own reason. */
typedef bool sorter_combine(void *ctx, struct groups *g, uint32_t partition, struct bytes key,
                            struct sorter_run *out);

struct sorter_options {
    size_t memory_max;       /* of the pairs held, about; at least 1 MiB is used */
    int spill_fd;            /* a file of our own, for reading and writing; -1: there is none */
    uint64_t spill_max;      /* bytes */
    sorter_combine *combine; /* may be NULL */
    void *ctx;
};

struct sorter *sorter_new(const struct sorter_options *o);
void sorter_free(struct sorter *s);

/* Copies key and value (within the bounds above). False: sorter_error says why, nothing goes on. */
bool sorter_add(struct sorter *s, uint32_t partition, struct bytes key, struct bytes value);
void sorter_write(struct sorter_run *out, uint32_t partition, struct bytes key, struct bytes value);
/* No more will be added: the walk over all, the sorter's own. NULL: sorter_error. */
struct groups *sorter_groups(struct sorter *s);

/* 1: the next group (what is left of the one before is passed over); its key is good until the next
 * call. 0: that was all. -1: the spill file could not be read (sorter_error). */
int groups_next(struct groups *g, uint32_t *partition, struct bytes *key);
/* 1: the next value of this group, good until the next call. 0: no more. -1: as above. */
int groups_value(struct groups *g, struct bytes *value);

const char *sorter_error(const struct sorter *s);
uint64_t sorter_spilled(const struct sorter *s); /* bytes written to the spill file */

#endif
