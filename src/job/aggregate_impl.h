/* What the files of the built-in queries share. */
#ifndef SYNOD_JOB_AGGREGATE_IMPL_H
#define SYNOD_JOB_AGGREGATE_IMPL_H

#include "job/aggregate.h"
#include "base/mem.h"

/* Numbers seen, and what COUNT .. AVG make of them. */
struct numbers {
    uint64_t count;
    __int128 whole;        /* the sum of those that are whole */
    double fraction, lost; /* of the others; what rounding took from it (Neumaier 1974) */
    double min, max;
};

struct number {
    bool whole;
    int64_t i;
    double d; /* always set */
};

void numbers_add(struct numbers *n, const struct number *v);
void numbers_merge(struct numbers *n, const struct numbers *other);
void numbers_put(const struct numbers *n, struct buf *out);
void numbers_get(struct numbers *n, struct reader *r);

/* A table from bytes to small numbers 0, 1, ... in the order of their first coming. */
struct keytab {
    uint32_t *slot; /* index + 1 of an entry; 0: free */
    uint32_t mask;  /* slots - 1, or 0 when there is no table */
    struct keytab_entry {
        uint32_t hash, size;
        uint64_t at; /* in `text` */
    } * entry;
    uint32_t count, room;
    struct buf text;
};
void keytab_deinit(struct keytab *t);
uint32_t keytab_add(struct keytab *t, struct bytes key); /* the one it has, or a new one */
struct bytes keytab_key(const struct keytab *t, uint32_t index);
size_t keytab_memory(const struct keytab *t);
/* The indices in the order of their keys; the caller's to free. */
uint32_t *keytab_sorted(const struct keytab *t);

struct agg_kind {
    bool partitioned;
    size_t state_size;
    void (*deinit)(struct aggregate *a);
    /* One of the two: of each record, or of each of its values that is a number, or any. */
    bool (*record)(struct aggregate *a, const struct record *r); /* false: broken */
    void (*number)(struct aggregate *a, const struct record *r, const struct record_item *item,
                   const struct number *v);
    void (*value)(struct aggregate *a, const struct record *r, const struct record_item *item);
    void (*encode)(const struct aggregate *a, uint32_t partition, uint32_t partitions,
                   struct buf *out);
    void (*merge)(struct aggregate *a, struct reader *r); /* r->bad: broken */
    void (*finish)(struct aggregate *a);
    size_t (*memory)(const struct aggregate *a); /* NULL: it is bounded by itself */
};

extern const struct agg_kind agg_numbers, agg_top, agg_distinct, agg_quantiles, agg_histogram,
    agg_group, agg_join, agg_grep;

struct aggregate {
    const struct agg_kind *kind;
    struct job_query query; /* its bytes are in `own` */
    struct bytes match;
    struct buf own;
    size_t memory_max;
    uint64_t records, skipped;
    void *state;
    aggregate_sink *sink; /* while finishing */
    void *sink_ctx;
};

/* Calls kind->number or kind->value for each value that FIELD lets through; `fn` in place of the
 * kind's own if given. False: broken. */
typedef void agg_number_fn(void *ctx, const struct number *v);
bool agg_numbers_of(struct aggregate *a, const struct record *r, agg_number_fn *fn, void *ctx);
bool agg_wants(const struct aggregate *a, const struct record *r, const struct record_item *item);
/* A hash's field, or a zset's score as text: false if there is none. `text` holds 40 bytes. */
bool agg_field(const struct record *r, struct bytes field, char *text, struct bytes *out);

void agg_row(struct aggregate *a, struct bytes c0, struct bytes c1);
void agg_row3(struct aggregate *a, struct bytes c0, struct bytes c1, struct bytes c2);
void agg_note(struct aggregate *a, const char *name, struct bytes value);
void agg_note_number(struct aggregate *a, const char *name, uint64_t value);

/* The shortest text that reads back as `v`; `text` holds 40 bytes. */
struct bytes agg_double(double v, char *text);
struct bytes agg_int128(__int128 v, char *text);
/* What `op` makes of numbers; false: there were none. */
bool agg_numbers_result(const struct numbers *n, uint8_t op, char *text, struct bytes *out);

uint32_t agg_partition(struct bytes key, uint32_t partitions);

double agg_get_double(struct reader *r);
void agg_put_double(struct buf *out, double v);

#endif
