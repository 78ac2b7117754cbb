/* Engine rows that were fetched from elsewhere, as the source of a view: what a transaction over
 * several groups is evaluated on, at its coordinator. What is not known makes the view miss; the
 * coordinator asks the row's group for it and evaluates again.
 *
 * Known are rows, and ranges in which there are no other rows than those known. */
#ifndef SYNOD_SHARD_ROWS_H
#define SYNOD_SHARD_ROWS_H

#include "shard/view.h"

struct rows; /* opaque */

struct rows *rows_new(void);
void rows_free(struct rows *r);
void rows_clear(struct rows *r);
size_t rows_bytes(const struct rows *r); /* that it holds, roughly */

/* What follows is how an answer travels: one range that is known, and its rows. A single key is the
 * range [key, key 0x00). Numbers little-endian:
 *   lo blob, hi blob, count:4, count times: key blob, value blob    (keys rising, inside the range)
 * rows_add: false: malformed, and nothing was taken. */
bool rows_add(struct rows *r, struct reader *in);

/* The other side: encodes, from a view, what is in [lo, hi), or (hi empty) at the key lo; no more
 * than about bytes_max bytes: the range that is encoded as known ends behind (reverse: begins with)
 * the last row that was taken. False: the view missed, and `out` is as it was. */
bool rows_encode(struct view *v, struct bytes lo, struct bytes hi, bool reverse, size_t bytes_max,
                 struct buf *out);

/* As view_source says. A range that is known only in part is visited as far as it is known from its
 * beginning (reverse: from its end); if each() wants more, it is VIEW_MISS. ctx: struct rows. */
struct view_source rows_source(struct rows *r);
/* Of what a view missed ([lo, hi), or a key), the first part that is really not known, in the
 * direction of reading: what to ask for next. lo and hi are rewritten. */
void rows_missing(const struct rows *r, struct buf *lo, struct buf *hi, bool reverse);

#endif
