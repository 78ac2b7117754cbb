/* QUANTILES: a KLL sketch. Level h holds values that stand for 2^h each; a level over its capacity
 * is sorted, and every other value, from the first or the second on by the toss of a coin, goes one
 * level up. */
#include "job/aggregate_impl.h"
#include "base/assert.h"
#include "base/prng.h"

#include <math.h>
#include <stdlib.h>

enum { K = 1000, LEVELS = 48, CAPACITY_MIN = 8, CAPACITY_MAX = 2 * K };

struct level {
    double *v;
    uint32_t count, room;
};

struct kll {
    struct prng coin;
    bool tossed; /* `coin` is seeded */
    uint64_t count;
    double min, max;
    uint32_t levels;
    struct level level[LEVELS];
};

static void deinit(struct aggregate *a)
{
    struct kll *s = a->state;
    for (uint32_t h = 0; h < LEVELS; h++) mem_free(s->level[h].v);
}

/* The highest level has K, each below it two thirds of the one above. */
static uint32_t capacity(const struct kll *s, uint32_t h)
{
    double c = K * pow(2.0 / 3, s->levels - 1 - h);
    return c < CAPACITY_MIN ? CAPACITY_MIN : (uint32_t)c;
}

static void push(struct level *l, double v)
{
    if (l->count == l->room) {
        l->room = l->room ? l->room * 2 : 64;
        l->v = mem_realloc(l->v, l->room * sizeof *l->v);
    }
    l->v[l->count++] = v;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* An odd one out stays. */
static void compact(struct kll *s, uint32_t h)
{
    struct level *l = &s->level[h];
    ASSERT(h + 1 < LEVELS);
    qsort(l->v, l->count, sizeof *l->v, compare);
    uint32_t stays = l->count & 1, from = stays + (uint32_t)(prng_u64(&s->coin) & 1);
    for (uint32_t i = from; i < l->count; i += 2) push(&s->level[h + 1], l->v[i]);
    l->count = stays;
}

static void compress(struct kll *s)
{
    for (uint32_t h = 0; h < s->levels; h++) {
        if (s->level[h].count <= capacity(s, h)) continue;
        if (h + 1 == s->levels) s->levels++;
        compact(s, h);
    }
}

static void seed(struct kll *s)
{
    if (s->tossed) return;
    s->tossed = true;
    s->levels = 1;
    prng_init(&s->coin, 1);
}

static void number(struct aggregate *a, const struct record *r, const struct record_item *item,
                   const struct number *v)
{
    struct kll *s = a->state;
    (void)r, (void)item;
    seed(s);
    if (!s->count || v->d < s->min) s->min = v->d;
    if (!s->count || v->d > s->max) s->max = v->d;
    s->count++;
    push(&s->level[0], v->d);
    if (s->level[0].count > capacity(s, 0)) compress(s);
}

/* count min max levels, then of each level its count and values. */
static void encode(const struct aggregate *a, uint32_t partition, uint32_t partitions,
                   struct buf *out)
{
    const struct kll *s = a->state;
    (void)partition, (void)partitions;
    buf_varint(out, s->count);
    agg_put_double(out, s->min);
    agg_put_double(out, s->max);
    buf_varint(out, s->levels);
    for (uint32_t h = 0; h < s->levels; h++) {
        buf_varint(out, s->level[h].count);
        for (uint32_t i = 0; i < s->level[h].count; i++) agg_put_double(out, s->level[h].v[i]);
    }
}

static void merge_level(struct kll *s, uint32_t h, struct reader *r)
{
    uint64_t count = reader_varint(r);
    if (count > CAPACITY_MAX || count * 8 > reader_left(r)) r->bad = true;
    for (uint64_t i = 0; !r->bad && i < count; i++) {
        double v = agg_get_double(r);
        if (isnan(v)) r->bad = true;
        push(&s->level[h], v);
    }
}

static void merge(struct aggregate *a, struct reader *r)
{
    struct kll *s = a->state;
    uint64_t count = reader_varint(r);
    double min = agg_get_double(r), max = agg_get_double(r);
    uint64_t levels = reader_varint(r);
    seed(s);
    if (levels >= LEVELS - 2) r->bad = true;
    if (r->bad || !count) return;
    if (!s->count || min < s->min) s->min = min;
    if (!s->count || max > s->max) s->max = max;
    s->count += count;
    if (levels > s->levels) s->levels = (uint32_t)levels;
    for (uint32_t h = 0; !r->bad && h < levels; h++) merge_level(s, h, r);
    if (!r->bad) compress(s);
}

struct weighed {
    double v;
    uint64_t weight;
};

static int compare_weighed(const void *a, const void *b)
{
    return compare(&((const struct weighed *)a)->v, &((const struct weighed *)b)->v);
}

/* All values with what they stand for, sorted. */
static struct weighed *flatten(const struct kll *s, size_t *count, uint64_t *total)
{
    size_t n = 0;
    for (uint32_t h = 0; h < s->levels; h++) n += s->level[h].count;
    struct weighed *all = mem_alloc((n + 1) * sizeof *all);
    n = 0;
    *total = 0;
    for (uint32_t h = 0; h < s->levels; h++)
        for (uint32_t i = 0; i < s->level[h].count; i++) {
            all[n++] = (struct weighed){s->level[h].v[i], 1ull << h};
            *total += 1ull << h;
        }
    qsort(all, n, sizeof *all, compare_weighed);
    *count = n;
    return all;
}

static double quantile(const struct kll *s, const struct weighed *all, size_t n, uint64_t total,
                       double q)
{
    uint64_t seen = 0;
    if (q <= 0) return s->min;
    if (q >= 1) return s->max;
    for (size_t i = 0; i < n; i++)
        if ((double)(seen += all[i].weight) >= q * (double)total) return all[i].v;
    return s->max;
}

static void finish(struct aggregate *a)
{
    static const double at[] = {0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1};
    const struct kll *s = a->state;
    char name[40], text[40];
    size_t n;
    uint64_t total;
    if (s->count) {
        struct weighed *all = flatten(s, &n, &total);
        for (size_t i = 0; i < sizeof at / sizeof *at; i++)
            agg_row(a, agg_double(at[i], name),
                    agg_double(quantile(s, all, n, total, at[i]), text));
        mem_free(all);
    }
    agg_note(a, "method",
             s->levels > 1 ? BYTES("estimate (KLL, rank within 0.005)") : BYTES("exact"));
    agg_note_number(a, "values", s->count);
}

const struct agg_kind agg_quantiles = {.state_size = sizeof(struct kll),
                                       .deinit = deinit,
                                       .number = number,
                                       .encode = encode,
                                       .merge = merge,
                                       .finish = finish};
