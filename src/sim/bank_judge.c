#include "sim/bank_judge.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>

enum bank_outcome { BANK_UNKNOWN, BANK_DONE, BANK_REFUSED };

/* [i]: the transfer of serial number i; and `serial`, which is of what is done as the i-th. */
struct bank_transfer {
    uint32_t number; /* as which it was done; 0: not known */
    uint32_t serial; /* of the i-th done; 0: not known */
    uint32_t floor;  /* so many were known to be done when it was sent */
    enum bank_outcome outcome;
};

struct bank_snapshot {
    uint32_t counter[BANK_TELLERS_MAX];
    uint64_t total; /* of the counters: says which of two comes first */
    uint64_t accounts_hash;
};

struct bank_pair {
    uint64_t sent;
    uint64_t by; /* when it was known to be written; UINT64_MAX: it is not known */
    bool refused;
};

#define WRONG(j, ...) (snprintf((j)->why, sizeof(j)->why, __VA_ARGS__), false)

/* Room for element [count] of *array, zeroed. */
static void array_fit(void **array, uint32_t *capacity, uint32_t count, size_t size)
{
    if (count < *capacity) return;
    uint32_t more = *capacity ? 2 * *capacity : 64;
    *array = mem_realloc(*array, more * size);
    memset((uint8_t *)*array + *capacity * size, 0, (more - *capacity) * size);
    *capacity = more;
}

void bank_judge_init(struct bank_judge *j, uint32_t tellers, uint32_t accounts)
{
    ASSERT(tellers <= BANK_TELLERS_MAX && accounts >= 2 && accounts <= BANK_ACCOUNTS_MAX);
    *j = (struct bank_judge){.tellers = tellers, .accounts = accounts};
}

void bank_judge_deinit(struct bank_judge *j)
{
    for (uint32_t t = 0; t < j->tellers; t++) mem_free(j->teller[t].transfer);
    mem_free(j->audit);
    mem_free(j->pair);
    *j = (struct bank_judge){0};
}

int64_t bank_amount(uint32_t from, uint32_t to)
{
    uint32_t distance = from < to ? to - from : from - to;
    ASSERT(distance > 0 && BANK_STEP % distance == 0);
    return BANK_STEP / distance;
}

/* ---- transfers ---- */

uint32_t bank_transfer_sent(struct bank_judge *j, uint32_t teller)
{
    struct bank_teller *t = &j->teller[teller];
    void *array = t->transfer;
    ASSERT(teller < j->tellers);
    t->sent++;
    array_fit(&array, &t->capacity, t->sent, sizeof *t->transfer);
    t->transfer = array;
    t->transfer[t->sent].floor = t->seen;
    return t->sent;
}

/* B4. */
static bool counter_fits(struct bank_judge *j, uint32_t teller, int64_t counter, uint32_t floor)
{
    const struct bank_teller *t = &j->teller[teller];
    if (counter < floor)
        return WRONG(j,
                     "the counter of teller %u is %" PRId64 ", it had been %u before this was sent",
                     teller, counter, floor);
    if (counter > t->sent - t->refused)
        return WRONG(j, "the counter of teller %u is %" PRId64 ", of %u transfers %u were refused",
                     teller, counter, t->sent, t->refused);
    return true;
}

/* B3: its transfer `serial` is done as the number-th. */
static bool learn(struct bank_judge *j, uint32_t teller, int64_t serial, uint32_t number)
{
    struct bank_teller *t = &j->teller[teller];
    ASSERT(number >= 1 && number <= t->sent);
    if (serial < 1 || serial > t->sent)
        return WRONG(j, "transfer %" PRId64 " of teller %u was never sent", serial, teller);
    struct bank_transfer *at = &t->transfer[serial];
    if (at->outcome == BANK_REFUSED)
        return WRONG(j, "transfer %" PRId64 " of teller %u was refused, and is done", serial,
                     teller);
    if (at->number && at->number != number)
        return WRONG(j, "transfer %" PRId64 " of teller %u was done twice: as its %u. and %u.",
                     serial, teller, at->number, number);
    uint32_t other = t->transfer[number].serial;
    if (other && other != serial)
        return WRONG(
            j, "the %u. transfer of teller %u is %" PRId64 ", and was %u: one of them is lost",
            number, teller, serial, other);
    if (number <= at->floor)
        return WRONG(j, "transfer %" PRId64 " of teller %u is its %u., and was sent after its %u.",
                     serial, teller, number, at->floor);
    at->number = number;
    t->transfer[number].serial = (uint32_t)serial;
    if (number > t->seen) t->seen = number;
    return true;
}

bool bank_transfer_done(struct bank_judge *j, uint32_t teller, uint32_t serial, int64_t counter,
                        int64_t before)
{
    struct bank_teller *t = &j->teller[teller];
    ASSERT(serial >= 1 && serial <= t->sent && t->transfer[serial].outcome == BANK_UNKNOWN);
    if (!counter_fits(j, teller, counter, t->transfer[serial].floor + 1)) return false;
    uint32_t number = (uint32_t)counter;
    if ((number == 1) != (before == 0))
        return WRONG(j, "transfer %u of teller %u is its %u., and found %" PRId64 " before it",
                     serial, teller, number, before);
    t->transfer[serial].outcome = BANK_DONE;
    return learn(j, teller, serial, number) &&
           (number == 1 || learn(j, teller, before, number - 1));
}

bool bank_transfer_refused(struct bank_judge *j, uint32_t teller, uint32_t serial)
{
    struct bank_teller *t = &j->teller[teller];
    ASSERT(serial >= 1 && serial <= t->sent && t->transfer[serial].outcome == BANK_UNKNOWN);
    t->transfer[serial].outcome = BANK_REFUSED;
    t->refused++;
    if (t->transfer[serial].number)
        return WRONG(j, "transfer %u of teller %u was refused, and had been done", serial, teller);
    return counter_fits(j, teller, t->seen, 0);
}

/* ---- audits ---- */

struct bank_audit bank_audit_sent(const struct bank_judge *j)
{
    struct bank_audit audit;
    for (uint32_t t = 0; t < BANK_TELLERS_MAX; t++) audit.floor[t] = j->teller[t].seen;
    return audit;
}

/* B1 and B2, with the arithmetic of the machine, for a wrong one may be anything. */
static bool accounts_balance(struct bank_judge *j, const struct bank_view *v)
{
    uint64_t sum = 0, moved = 0, counted = 0;
    for (uint32_t i = 0; i < j->accounts; i++) {
        sum += (uint64_t)v->account[i];
        moved += i * (uint64_t)v->account[i];
    }
    for (uint32_t t = 0; t < j->tellers; t++)
        counted += (t % 2 ? -(uint64_t)v->counter[t] : (uint64_t)v->counter[t]) * BANK_STEP;
    if (sum)
        return WRONG(j, "an audit finds %" PRId64 " in all accounts together, not 0", (int64_t)sum);
    if (moved != counted)
        return WRONG(j,
                     "an audit finds moves of %" PRId64 " in the accounts, of %" PRId64
                     " in the counters",
                     (int64_t)moved, (int64_t)counted);
    return true;
}

static bool is_before(const struct bank_snapshot *a, const struct bank_snapshot *b)
{
    for (uint32_t t = 0; t < BANK_TELLERS_MAX; t++)
        if (a->counter[t] > b->counter[t]) return false;
    return true;
}

/* B5. It suffices to compare neighbours, for those before are in order. */
static bool audit_insert(struct bank_judge *j, const struct bank_snapshot *s)
{
    void *array = j->audit;
    uint32_t at = j->audits;
    while (at > 0 && j->audit[at - 1].total >= s->total) at--;
    const struct bank_snapshot *next = at < j->audits ? &j->audit[at] : NULL;
    if ((at > 0 && !is_before(&j->audit[at - 1], s)) || (next && !is_before(s, next)))
        return WRONG(j, "two audits saw the tellers' transfers in different orders");
    if (next && next->total == s->total)
        return next->accounts_hash == s->accounts_hash
                   ? true
                   : WRONG(j, "two audits after the same transfers saw different accounts");
    array_fit(&array, &j->audits_capacity, j->audits, sizeof *s);
    j->audit = array;
    memmove(&j->audit[at + 1], &j->audit[at], (j->audits - at) * sizeof *s);
    j->audit[at] = *s;
    j->audits++;
    return true;
}

bool bank_audit_done(struct bank_judge *j, const struct bank_audit *audit,
                     const struct bank_view *v)
{
    struct bank_snapshot s = {.accounts_hash =
                                  hash64(bytes_of(v->account, j->accounts * sizeof(int64_t)), 0)};
    if (!accounts_balance(j, v)) return false;
    for (uint32_t t = 0; t < j->tellers; t++) {
        if (!counter_fits(j, t, v->counter[t], audit->floor[t])) return false;
        s.counter[t] = (uint32_t)v->counter[t];
        s.total += s.counter[t];
        if (!s.counter[t] && v->last[t])
            return WRONG(j, "an audit finds transfer %" PRId64 " of teller %u, and no count of it",
                         v->last[t], t);
        if (s.counter[t] && !learn(j, t, v->last[t], s.counter[t])) return false;
    }
    return audit_insert(j, &s);
}

/* ---- the pair of keys ---- */

uint32_t bank_pair_sent(struct bank_judge *j)
{
    void *array = j->pair;
    j->pairs++;
    array_fit(&array, &j->pairs_capacity, j->pairs, sizeof *j->pair);
    j->pair = array;
    j->pair[j->pairs] = (struct bank_pair){.sent = ++j->time, .by = UINT64_MAX};
    return j->pairs;
}

static void pair_known(struct bank_judge *j, struct bank_pair *p)
{
    uint64_t now = ++j->time;
    if (p->by > now) p->by = now;
    if (p->sent > j->pair_newest) j->pair_newest = p->sent;
}

void bank_pair_done(struct bank_judge *j, uint32_t value)
{
    ASSERT(value >= 1 && value <= j->pairs);
    pair_known(j, &j->pair[value]);
}

bool bank_pair_refused(struct bank_judge *j, uint32_t value)
{
    ASSERT(value >= 1 && value <= j->pairs && !j->pair[value].refused);
    j->pair[value].refused = true;
    if (j->pair[value].by != UINT64_MAX)
        return WRONG(j, "the pair's value %u was refused, and had been read", value);
    return true;
}

uint64_t bank_pair_read_sent(const struct bank_judge *j)
{
    return j->pair_newest;
}

/* A write that was sent at `since` was done before this read was asked. So what was known to be
 * there before `since` is gone (B6). */
bool bank_pair_read(struct bank_judge *j, uint64_t since, int64_t a, int64_t b)
{
    if (a != b) return WRONG(j, "of the pair one is %" PRId64 ", the other %" PRId64, a, b);
    if (a < 0 || a > j->pairs) return WRONG(j, "the pair's value %" PRId64 " was never sent", a);
    if (a == 0) return since ? WRONG(j, "the pair is absent, and had been written") : true;
    struct bank_pair *p = &j->pair[a];
    if (p->refused) return WRONG(j, "the pair's value %" PRId64 " was refused", a);
    if (p->by < since)
        return WRONG(j, "the pair's value %" PRId64 " had been overwritten before it was read", a);
    pair_known(j, p);
    return true;
}
