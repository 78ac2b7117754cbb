/* What WATCH needs: has a key been written since? A leader counts the evaluations that wrote, and
 * keeps for each of 64 Ki buckets of keys the last that wrote to one of them. Never wrong in saying
 * "not written", for all that is written in a leadership is evaluated by its leader; two keys of
 * one bucket, or another leader, abort a transaction that need not be. Made at the first WATCH. */
#ifndef SYNOD_SHARD_WATCH_H
#define SYNOD_SHARD_WATCH_H

#include "base/buf.h"

struct watch {
    uint64_t clock;   /* evaluations noted */
    uint64_t base;    /* no key was written after it, as far as its bucket says: all were, then */
    uint64_t *bucket; /* NULL: nobody watches in this leadership */
};

void watch_start(struct watch *w);
void watch_stop(struct watch *w); /* the leadership is over */
uint64_t watch_version(const struct watch *w, struct bytes key);
/* An evaluation has written. */
void watch_tick(struct watch *w);
void watch_note(struct watch *w, struct bytes key);
void watch_note_all(struct watch *w);

#endif
