#include "job/task_value.h"

#include <math.h>
#include <stdio.h>

bool task_value_get(struct bytes data, struct task_value *out)
{
    struct reader r = reader_of(data);
    *out = (struct task_value){.kind = reader_u8(&r)};
    switch (out->kind) {
    case TASK_NUMBER: {
        uint64_t bits = reader_u64(&r);
        memcpy(&out->number, &bits, sizeof bits);
        return !r.bad && reader_left(&r) == 0;
    }
    case TASK_TRUE:
    case TASK_FALSE: return reader_left(&r) == 0;
    case TASK_STRING:
    case TASK_PARTIAL:
    case TASK_ROW: out->bytes = bytes_of(r.at, reader_left(&r)); return true;
    }
    return false;
}

void task_value_put_number(struct buf *out, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    buf_u8(out, TASK_NUMBER);
    buf_u64(out, bits);
}

void task_value_put_string(struct buf *out, uint8_t kind, struct bytes s)
{
    buf_u8(out, kind);
    buf_append_bytes(out, s);
}

struct bytes task_value_text(const struct task_value *v, char *text)
{
    struct reader r = reader_of(v->bytes);
    switch (v->kind) {
    case TASK_NUMBER:
        (void)snprintf(text, 40,
                       v->number == floor(v->number) && fabs(v->number) < 9e15 ? "%.0f" : "%.17g",
                       v->number);
        return bytes_str(text);
    case TASK_TRUE: return BYTES("true");
    case TASK_FALSE: return BYTES("false");
    case TASK_ROW: (void)reader_u8(&r); return reader_blob(&r);
    default: return v->bytes;
    }
}
