/* DISTINCT: a set of hashes while it is small, HyperLogLog from then on. */
#include "job/aggregate_impl.h"
#include "base/hash.h"

#include <math.h>

enum { BITS = 14, REGISTERS = 1 << BITS, RANK_MAX = 64 - BITS + 1, SLOTS = AGGREGATE_EXACT * 2 };

struct distinct {
    uint64_t values;
    uint64_t *set; /* SLOTS of them; 0: free. NULL: none yet, or past it */
    uint32_t count;
    uint8_t *rank; /* REGISTERS; NULL: still exact */
};

static void deinit(struct aggregate *a)
{
    struct distinct *d = a->state;
    mem_free(d->set);
    mem_free(d->rank);
}

static void rank_add(struct distinct *d, uint64_t hash)
{
    uint64_t rest = hash << BITS;
    uint8_t rank = rest ? (uint8_t)(__builtin_clzll(rest) + 1) : RANK_MAX;
    uint8_t *at = &d->rank[hash >> (64 - BITS)];
    if (rank > *at) *at = rank;
}

static void go_past_exact(struct distinct *d)
{
    if (d->rank) return;
    d->rank = mem_zalloc(REGISTERS);
    for (uint32_t i = 0; d->set && i < SLOTS; i++)
        if (d->set[i]) rank_add(d, d->set[i]);
    mem_free(d->set);
    d->set = NULL;
    d->count = 0;
}

static void add(struct distinct *d, uint64_t hash)
{
    if (!hash) hash = 1;
    if (!d->rank) {
        if (!d->set) d->set = mem_zalloc(SLOTS * sizeof *d->set);
        uint64_t i = hash % SLOTS;
        while (d->set[i] && d->set[i] != hash) i = (i + 1) % SLOTS;
        if (d->set[i]) return;
        d->set[i] = hash;
        if (++d->count <= AGGREGATE_EXACT) return;
        go_past_exact(d);
        return;
    }
    rank_add(d, hash);
}

static void value(struct aggregate *a, const struct record *r, const struct record_item *item)
{
    struct distinct *d = a->state;
    char text[40];
    d->values++;
    bool member = r->type == RECORD_ZSET && !a->query.field.size; /* of a whole zset: its members */
    struct bytes v = member                   ? item->name
                     : r->type == RECORD_ZSET ? agg_double(item->score, text)
                                              : item->value;
    add(d, hash64(v, 0));
}

/* values, exact:1, then count and hashes, or the registers. */
static void encode(const struct aggregate *a, uint32_t partition, uint32_t partitions,
                   struct buf *out)
{
    const struct distinct *d = a->state;
    (void)partition, (void)partitions;
    buf_varint(out, d->values);
    buf_u8(out, d->rank == NULL);
    if (d->rank) {
        buf_append(out, d->rank, REGISTERS);
        return;
    }
    buf_varint(out, d->count);
    for (uint32_t i = 0; d->set && i < SLOTS; i++)
        if (d->set[i]) buf_u64(out, d->set[i]);
}

static void merge_ranks(struct distinct *d, struct reader *r)
{
    struct bytes rank = reader_take(r, REGISTERS);
    if (r->bad) return;
    go_past_exact(d);
    for (uint32_t i = 0; i < REGISTERS; i++) {
        if (rank.data[i] > RANK_MAX) r->bad = true;
        if (rank.data[i] > d->rank[i]) d->rank[i] = rank.data[i];
    }
}

static void merge(struct aggregate *a, struct reader *r)
{
    struct distinct *d = a->state;
    d->values += reader_varint(r);
    if (!reader_u8(r)) {
        merge_ranks(d, r);
        return;
    }
    uint64_t count = reader_varint(r);
    if (count > AGGREGATE_EXACT || count * 8 > reader_left(r)) r->bad = true;
    for (uint64_t i = 0; !r->bad && i < count; i++) add(d, reader_u64(r));
}

static double sigma(double x)
{
    double y = 1, z = x, before;
    if (x == 1) return INFINITY;
    do {
        x *= x;
        before = z;
        z += x * y;
        y += y;
    } while (before != z);
    return z;
}

static double tau(double x)
{
    double y = 1, z = 1 - x, before;
    if (x == 0 || x == 1) return 0;
    do {
        x = sqrt(x);
        before = z;
        y *= 0.5;
        z -= (1 - x) * (1 - x) * y;
    } while (before != z);
    return z / 3;
}

/* Ertl's "improved raw estimator": right over the whole range, without tables. */
static uint64_t estimate(const struct distinct *d)
{
    uint32_t with[RANK_MAX + 1] = {0};
    double m = REGISTERS;
    for (uint32_t i = 0; i < REGISTERS; i++) with[d->rank[i]]++;
    double z = m * tau(1 - with[RANK_MAX] / m);
    for (int k = RANK_MAX - 1; k >= 1; k--) z = 0.5 * (z + with[k]);
    z += m * sigma(with[0] / m);
    return (uint64_t)(m * m / (2 * M_LN2 * z) + 0.5);
}

static void finish(struct aggregate *a)
{
    const struct distinct *d = a->state;
    char text[40];
    uint64_t n = d->rank ? estimate(d) : d->count;
    agg_row(a, BYTES("distinct"), agg_int128((__int128)n, text));
    agg_note(a, "method", d->rank ? BYTES("estimate (HyperLogLog, within 2 %)") : BYTES("exact"));
    agg_note_number(a, "values", d->values);
}

const struct agg_kind agg_distinct = {.state_size = sizeof(struct distinct),
                                      .deinit = deinit,
                                      .value = value,
                                      .encode = encode,
                                      .merge = merge,
                                      .finish = finish};
