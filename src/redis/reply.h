/* Writing RESP replies, in version 2 or 3 as the connection speaks. A reply is appended to `out`;
 * nothing is ever taken back but by reply_error on an empty reply, so commands check first and
 * answer after. */
#ifndef SYNOD_REDIS_REPLY_H
#define SYNOD_REDIS_REPLY_H

#include "base/buf.h"

struct reply {
    struct buf *out;
    uint8_t version; /* 2 or 3 */
};

#define REPLY_I64_MAX 20 /* digits and sign of an int64 */
/* Writes v in decimal, without a NUL; returns its size. */
size_t reply_format_i64(char text[REPLY_I64_MAX], int64_t v);

#define REPLY_HUMAN_MAX 5120
/* Writes v as INCRBYFLOAT and HINCRBYFLOAT store it: 17 decimals, trailing zeros cut, never an
 * exponent. v is finite. */
size_t reply_format_human(char text[REPLY_HUMAN_MAX], long double v);

void reply_ok(struct reply *r);
void reply_simple(struct reply *r, const char *text);
void reply_error(struct reply *r,
                 const char *text); /* "ERR ..." or another prefix; one line, no CR LF */
void reply_errorf(struct reply *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
void reply_i64(struct reply *r, int64_t v);
void reply_bulk(struct reply *r, struct bytes s);
void reply_bulk_str(struct reply *r, const char *text);
void reply_bulk_i64(struct reply *r, int64_t v); /* a bulk string with a number in it */
void reply_nil(struct reply *r);                 /* $-1 or _ */
void reply_nil_array(struct reply *r);           /* *-1 or _ */
void reply_array(struct reply *r, size_t count); /* then count replies */
void reply_map(struct reply *r,
               size_t pairs); /* then 2 * pairs replies; version 2: an array of that many */
void reply_set(struct reply *r, size_t count);
void reply_double(struct reply *r,
                  long double v); /* version 2: bulk; shortest form that reads back, as Redis */
void reply_bool(struct reply *r, bool v);                /* version 2: integer */
void reply_verbatim(struct reply *r, struct bytes text); /* version 2: bulk; 3: =txt: */

#endif
