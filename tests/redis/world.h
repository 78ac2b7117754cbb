/* A small world to run commands in: a sorted array as the group's state, a clock the test moves,
 * one view, no network and no log.
 *
 * Every command runs twice from the same state: once with all reads at hand, and once where each
 * key and each range misses the first time it is read (the runner then fetches it and starts the
 * command again, as a node does). Reply and effects must be equal, which is checked; then the
 * effects are applied, once, and the state's invariants are checked (world_check). */
#ifndef SYNOD_TESTS_REDIS_WORLD_H
#define SYNOD_TESTS_REDIS_WORLD_H

#include "test.h"
#include "base/buf.h"
#include "redis/command.h"
#include "redis/resp.h"
#include "shard/view.h"

struct world_row {
    struct buf key, value;
};

struct world_fetch {
    struct buf lo, hi; /* hi empty: one key */
};

struct world {
    struct world_row *rows; /* rising by key */
    size_t count, capacity;
    int64_t *keys_of_slot;         /* live keys by slot, as the commands counted them */
    int64_t keys;                  /* their sum */
    int64_t now_ms;                /* the test moves it */
    uint64_t seed;                 /* of the next evaluation */
    uint64_t position;             /* of the next log entry */
    uint8_t version;               /* of RESP: 2 (at first) or 3 */
    struct script_runner *scripts; /* what runs scripts; NULL at first: nothing does */
    bool once;                     /* leave the second run and the checks out (for speed) */
    bool wrote;                    /* the last command had effects */
    uint32_t misses;               /* the last command's, in its second run */

    struct view view;
    struct resp_args args;
    struct buf first, second, effects, text;
    bool missing; /* the second run is on: only what was fetched is at hand */
    struct world_fetch *fetched;
    uint32_t fetched_count, fetched_capacity;
};

void world_init(struct world *w);
void world_deinit(struct world *w);

/* Runs a line (words and quotes as in an inline command). Returns the reply as text, valid until
 * the next call:
 *
 *   OK   ERR no such key   7   'bulk\r\n'   nil   nil-array   [1, 'two', nil]
 *   and in version 3 also   {'a': 1}   set[1, 2]   ,1.5   true   txt:'...'
 *
 * Unknown commands, wrong counts of arguments and too long keys are answered as a node does. */
const char *world_run(struct world *w, const char *line);
/* The same with arguments of any bytes. */
const char *world_run_args(struct world *w, struct bytes *v, uint32_t count);
/* The same; returns the raw reply. */
struct bytes world_run_raw(struct world *w, struct bytes *v, uint32_t count);
/* One raw reply as text in the notation above, appended to `out`. */
void world_text(struct bytes reply, struct buf *out);

/* Each meta record with an expiry has its index record and the other way round; keys are counted
 * right; each collection has as many elements as its head says, and no element is without a
 * collection. */
void world_check(struct world *w);
/* Number of rows with this kind of key (shard/keys.h). */
size_t world_rows(const struct world *w, uint8_t kind);

#define EXPECT_RUN(w, line, expected) assert_string_equal(world_run((w), (line)), (expected))

#endif
