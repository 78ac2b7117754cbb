/* One attempt of a task of a Lua job: the user's functions in a LuaJIT state, compiled, behind a
 * sandbox of globals; their pairs through a sorter (sorter.h). For worker processes: what runs too
 * long is stopped from outside.
 *
 *   map(key, value, emit, type)     once a record. value: a string; a hash's table by field; a
 * list's or set's array; a zset's table from member to score. A collection of more than
 * RECORD_PART_BYTES comes in several calls combine(key, values, emit)      for the values of one
 * key within a task, whenever memory is full and at the end; may emit under that key only, any
 * number of times reduce(key, values, emit)       once for all values of a key task(i, n, emit)
 * task i of n, from 0
 *
 * `values` is a function that returns the next value, then nil: for v in values do ... end. So a
 * giant key takes no more memory than one value. emit(key, value): a key is a string or a number, a
 * value a string, a number or a boolean. The output of a map goes to partition
 * hash64(key) % partitions, sorted by key; that of a reduce leaves in the order it was emitted.
 *
 * math.random is seeded by the task's number: an attempt repeats what the one before it did. */
#ifndef SYNOD_JOB_LUA_TASK_H
#define SYNOD_JOB_LUA_TASK_H

#include "job/records.h"
#include "job/sorter.h"
#include "job/spec.h"

#define LUA_TASK_ERROR_MAX 600

struct lua_task;

/* Takes a pair of the output; borrowed until it returns. False: the task is to fail with what `why`
 * then says (at most LUA_TASK_ERROR_MAX, NUL-terminated). */
typedef bool lua_task_out(void *ctx, uint32_t partition, struct bytes key, struct bytes value,
                          char *why);

struct lua_task_options {
    const struct job_spec *spec; /* borrowed until lua_task_free */
    bool reduces;
    uint32_t task, attempt; /* the task's number within its phase: for errors and math.random */
    uint32_t partitions;    /* of a map's output */
    size_t memory_max;      /* half for Lua, half for the sorter */
    int spill_fd;           /* -1: none */
    uint64_t spill_max;
    lua_task_out *out;
    void *ctx;
};

/* All but _new return false on an error, which lua_task_error tells; only lua_task_free then. It
 * names the function, the line, the key where there is one, the task and the attempt. */
struct lua_task *
lua_task_new(const struct lua_task_options *o); /* sources are read: look at _error */
void lua_task_free(struct lua_task *t);
bool lua_task_record(struct lua_task *t, const struct record *r);             /* map */
bool lua_task_pair(struct lua_task *t, struct bytes key, struct bytes value); /* reduce's input */
bool lua_task_number(struct lua_task *t, uint32_t count);                     /* task */
bool lua_task_end(struct lua_task *t);                /* no more input: out gets all */
const char *lua_task_error(const struct lua_task *t); /* NULL: none */
uint64_t lua_task_spilled(const struct lua_task *t);

#endif
