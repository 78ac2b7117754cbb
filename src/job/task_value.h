/* Pairs and their values, as tasks emit them and as they travel: key and value are blobs (varint
 * length, bytes); a value begins with its kind:
 *
 *   's' bytes    a string
 *   'n' double   a number, 8 bytes
 *   't', 'f'     true, false
 *   'p' bytes    the partial of a built-in query (aggregate.h); its key is empty
 *   'r' note:1, then blobs   a row of a built-in query; its key is the row's first cell
 *
 * Pure but for the buffer. */
#ifndef SYNOD_JOB_TASK_VALUE_H
#define SYNOD_JOB_TASK_VALUE_H

#include "base/buf.h"

enum task_value_kind {
    TASK_STRING = 's',
    TASK_NUMBER = 'n',
    TASK_TRUE = 't',
    TASK_FALSE = 'f',
    TASK_PARTIAL = 'p',
    TASK_ROW = 'r'
};

struct task_value {
    uint8_t kind;
    double number;
    struct bytes bytes; /* of the others: all after the kind; borrowed */
};

/* False: no value. */
bool task_value_get(struct bytes data, struct task_value *out);
void task_value_put_number(struct buf *out, double v);
void task_value_put_string(struct buf *out, uint8_t kind, struct bytes s);
/* As a Redis client would write it: numbers without exponent where they are whole. `text` holds 40
 * bytes. Of a row: its second cell. */
struct bytes task_value_text(const struct task_value *v, char *text);

#endif
