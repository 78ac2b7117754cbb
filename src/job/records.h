/* What a map task reads: a stream of records (key, type, value), in a framing that a pipe carries
 * and that is read where it lies.
 *
 *   size:4  of all that follows, little-endian as all integers here
 *   type:1  enum record_type; + 0x80: a further part of the key before (a large collection)
 *   key:    varint length, bytes
 *   string: the rest is its value
 *   others: count:4, then so many items:
 *             hash       name: varint length, bytes;  value: varint length, bytes
 *             list, set  value
 *             zset       member (as a name), score:8 (IEEE double)
 *
 * Valid: size at most RECORD_BYTES_MAX, a known type, items that fill the frame exactly. A frame is
 * checked as a whole by record_next, item by item by record_item. Pure. */
#ifndef SYNOD_JOB_RECORDS_H
#define SYNOD_JOB_RECORDS_H

#include "base/buf.h"

#define RECORD_BYTES_MAX  (64u << 20) /* of one frame: strings above cannot be in a job */
#define RECORD_PART_BYTES (1u << 20)  /* a collection goes on in a further part past this */

enum record_type { RECORD_STRING, RECORD_HASH, RECORD_LIST, RECORD_SET, RECORD_ZSET, RECORD_TYPES };

struct record {
    uint8_t type;
    bool further;      /* the same key as the one before */
    uint32_t count;    /* of items; 1 for a string */
    struct bytes key;  /* borrowed from the stream, as all below */
    struct bytes rest; /* a string's value; else the items */
};

struct record_item {
    struct bytes name;  /* of a hash's field, a zset's member; else empty */
    struct bytes value; /* else a zset's */
    double score;
};

enum record_result { RECORD_OK, RECORD_PARTIAL, RECORD_BAD };

/* Takes one record off the front of `stream`. PARTIAL: more bytes are needed, nothing is taken.
 * BAD: the stream is not one of records. */
enum record_result record_next(struct bytes *stream, struct record *out);

/* Walks the items: struct reader at = record_items(&r); while (record_item(&r, &at, &item)) ...;
 * then at.bad says whether they were broken off. */
struct reader record_items(const struct record *r);
bool record_item(const struct record *r, struct reader *at, struct record_item *item);

/* Appends a string's record. False, nothing appended: it is too large. */
bool record_put_string(struct buf *out, struct bytes key, struct bytes value);

struct record_writer {
    struct buf *out;
    size_t start, count_at;
    uint32_t count;
    uint8_t type;
};
/* A collection: begin, items, end. `out` belongs to the writer meanwhile. */
struct record_writer record_begin(struct buf *out, enum record_type type, struct bytes key,
                                  bool further);
/* False, nothing appended: with this item the frame would be too large. */
bool record_put_item(struct record_writer *w, const struct record_item *item);
/* Enough for one part: end it and begin a further one. */
static inline bool record_part_full(const struct record_writer *w)
{
    return w->out->size - w->start >= RECORD_PART_BYTES;
}
void record_end(struct record_writer *w);

const char *record_kind_name(unsigned type);

#endif
