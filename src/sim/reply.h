/* Reads replies of RESP2 and RESP3 as a client does. */
#ifndef SYNOD_SIM_REPLY_H
#define SYNOD_SIM_REPLY_H

#include "base/bytes.h"

/* Size of the first whole reply in `in`; 0: incomplete; -1: no client would understand it. */
int64_t reply_size(struct bytes in);

enum reply_kind { REPLY_NIL, REPLY_NUMBER, REPLY_TEXT, REPLY_ERROR, REPLY_MANY };
struct reply_view {
    enum reply_kind kind;
    int64_t number;    /* NUMBER; MANY: how many elements */
    struct bytes text; /* TEXT, ERROR: without the first sign; borrowed from the input */
};
/* What a whole reply says. */
struct reply_view reply_read(struct bytes whole);
/* The replies in a whole one, borrowed from it; false: it is not an array of just so many. */
bool reply_items(struct bytes whole, struct bytes *item, uint32_t count);

/* SNAPSHOT SPLITS' [[split, [address, ...]], ...]: their names. 0: it is no such answer. */
#define REPLY_SPLITS_MAX 64
typedef char reply_split[16];
uint32_t reply_splits(struct bytes whole, reply_split name[REPLY_SPLITS_MAX]);

#endif
