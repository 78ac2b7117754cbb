/* Recording, and the way to the checker. */
#include "sim/history.h"

#include "base/assert.h"
#include "base/mem.h"
#include "sim/check_linear.h"

#include <inttypes.h>
#include <stdio.h>

void history_deinit(struct history *h)
{
    mem_free(h->op);
    *h = (struct history){0};
}

size_t history_call(struct history *h, struct history_op op)
{
    if (h->count == h->capacity) {
        h->capacity = h->capacity ? 2 * h->capacity : 1024;
        h->op = mem_realloc(h->op, h->capacity * sizeof *h->op);
    }
    op.outcome = HISTORY_UNKNOWN;
    op.call = ++h->time;
    op.ret = HISTORY_PENDING;
    h->op[h->count] = op;
    return h->count++;
}

void history_return(struct history *h, size_t index, enum history_outcome outcome, bool nil,
                    int64_t answer)
{
    struct history_op *op = &h->op[index];
    ASSERT(index < h->count && op->outcome == HISTORY_UNKNOWN && op->ret == HISTORY_PENDING);
    op->outcome = (uint8_t)outcome;
    op->nil = nil;
    op->answer = answer;
    if (outcome != HISTORY_UNKNOWN) op->ret = ++h->time;
}

static const uint8_t check_kinds[] = {
    [HISTORY_READ] = CHECK_READ,     [HISTORY_WRITE] = CHECK_WRITE, [HISTORY_PUT] = CHECK_PUT,
    [HISTORY_CREATE] = CHECK_CREATE, [HISTORY_SWAP] = CHECK_SWAP,   [HISTORY_COMPARE] = CHECK_CAS,
    [HISTORY_DELETE] = CHECK_DELETE, [HISTORY_TAKE] = CHECK_TAKE,   [HISTORY_ADD] = CHECK_ADD,
};

static struct check_value number_text(char text[24], int64_t number)
{
    int n = snprintf(text, 24, "%" PRId64, number);
    return check_value(bytes_of(text, (size_t)n));
}

bool history_check(const struct history *h, struct buf *why, bool *hard)
{
    struct check_history *check = check_new();
    for (size_t i = 0; i < h->count; i++) {
        const struct history_op *op = &h->op[i];
        char argument[24], expected[24], result[24];
        if (op->outcome == HISTORY_REFUSED) continue;
        struct check_op to = {.key = bytes_str(h->name[op->object]),
                              .client = op->client,
                              .kind = check_kinds[op->kind],
                              .outcome = op->outcome == HISTORY_DONE ? CHECK_OK : CHECK_UNKNOWN,
                              .call = op->call,
                              .ret = op->ret};
        to.argument = number_text(argument, op->arg);
        to.expected = number_text(expected, op->expect);
        to.result = op->nil ? CHECK_NIL : number_text(result, op->answer);
        bool added = check_add(check, &to);
        ASSERT(added);
    }
    enum check_verdict verdict = check_linearizable(check, CHECK_BUDGET, why);
    check_free(check);
    *hard = verdict == CHECK_TOO_HARD;
    return verdict != CHECK_VIOLATION;
}
