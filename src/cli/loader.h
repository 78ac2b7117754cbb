/* Loads package records into a cluster and reads them back, through pipelined connections to many
 * nodes, some of which may die meanwhile.
 *
 * What counts: a record is done only when its reply has come. A record whose reply was lost with
 * its connection, or was an error that may pass (no leader just now, outcome unknown), is sent
 * again elsewhere; that is right because HSET of the same fields, UNLINK and HGETALL may all be
 * repeated. */
#ifndef SYNOD_CLI_LOADER_H
#define SYNOD_CLI_LOADER_H

#include "cli/options.h"
#include "cli/packages.h"

#define LOADER_ADDRESSES_MAX 32

enum loader_pass {
    LOADER_CLEAR,  /* UNLINK pkg:NAME: what an earlier run left */
    LOADER_LOAD,   /* HSET pkg:NAME field value ... */
    LOADER_VERIFY, /* HGETALL pkg:NAME, compared with the record */
};

struct loader_result {
    size_t done;
    size_t retried;   /* sent again: connection lost or an error that may pass */
    size_t missing;   /* LOADER_VERIFY: not there */
    size_t different; /* LOADER_VERIFY: there, but not equal */
    size_t bytes;     /* of requests (CLEAR, LOAD) or replies (VERIFY) */
    double seconds;
    char example[128]; /* a missing or different key, or the last error seen */
};

struct loader {
    const struct packages *packages;
    char address[LOADER_ADDRESSES_MAX][OPTION_ADDRESS_MAX];
    unsigned addresses;
    unsigned connections; /* for each address */
    /* Called in each turn, at least every 5 ms, with the records done so far; false ends the pass.
     * May be NULL. */
    bool (*turn)(void *ctx, const struct loader_result *so_far);
    void *ctx;
};

/* Runs one pass over all records. False if it could not be finished: `error` says why in one line.
 */
bool loader_run(const struct loader *l, enum loader_pass pass, struct loader_result *out,
                char *error, size_t error_size);

#endif
