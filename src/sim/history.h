/* What clients asked of single values, and what they were told.
 *
 * An object is one value that lives by itself: a string key, or a field of a hash. It is absent or
 * holds a number. Times are a count of calls and returns in the order in which they happened. */
#ifndef SYNOD_SIM_HISTORY_H
#define SYNOD_SIM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_OBJECTS_MAX 32
#define HISTORY_PENDING     UINT64_MAX

enum history_kind {
    HISTORY_READ,    /* -> value or nil */
    HISTORY_WRITE,   /* arg */
    HISTORY_PUT,     /* arg -> 1: it was absent; 0: it was there (HSET) */
    HISTORY_CREATE,  /* arg, if absent -> 1, else 0 (SETNX) */
    HISTORY_SWAP,    /* arg -> old value or nil */
    HISTORY_COMPARE, /* arg, if it holds `expect` -> 1, else 0 */
    HISTORY_DELETE,  /* -> 1: it was there; else 0 */
    HISTORY_TAKE,    /* delete -> old value or nil */
    HISTORY_ADD,     /* arg, absent counts as 0 -> new value */
};

enum history_outcome {
    HISTORY_UNKNOWN, /* no answer: it may have been done, at any time after the call, or never */
    HISTORY_DONE,
    HISTORY_REFUSED, /* said to be not done */
};

struct history_op {
    uint32_t object, client;
    uint8_t kind, outcome;
    bool nil; /* the answer was nil */
    int64_t arg, expect;
    int64_t answer;
    uint64_t call, ret;
};

struct history {
    struct history_op *op;
    size_t count, capacity;
    uint64_t time;
    char name[HISTORY_OBJECTS_MAX][28];
};

void history_deinit(struct history *h);
/* Returns the op's index. */
size_t history_call(struct history *h, struct history_op op);
void history_return(struct history *h, size_t index, enum history_outcome outcome, bool nil,
                    int64_t answer);

struct buf;
/* True: for each object there is an order of its ops, each between its call and its return, in
 * which every answer is right. Else `why` has the part that is wrong. *hard: could not be told for
 * one (which counts as true). */
bool history_check(const struct history *h, struct buf *why, bool *hard);

#endif
