/* GROUP: numbers for each group, by a hash's field or a part of the key; JOIN: for each value of a
 * field the keys of both sides that have it. Both go where that value hashes. */
#include "job/aggregate_impl.h"

#include <stdlib.h>

/* ---- GROUP ---- */

struct groups {
    struct keytab tab;
    struct numbers *of; /* by index */
    uint32_t room;
};

static void group_deinit(struct aggregate *a)
{
    struct groups *g = a->state;
    keytab_deinit(&g->tab);
    mem_free(g->of);
}

static struct numbers *group_of(struct groups *g, struct bytes key)
{
    uint32_t i = keytab_add(&g->tab, key), was = g->room;
    if (i >= g->room) {
        g->room = g->room ? g->room * 2 : 32;
        g->of = mem_realloc(g->of, g->room * sizeof *g->of);
        memset(g->of + was, 0, (g->room - was) * sizeof *g->of);
    }
    return &g->of[i];
}

/* The n-th part between colons, from 1. */
static bool part(struct bytes key, uint32_t n, struct bytes *out)
{
    const uint8_t *at = key.data, *end = key.data + key.size;
    for (;; n--) {
        const uint8_t *colon = at < end ? memchr(at, ':', (size_t)(end - at)) : NULL;
        *out = bytes_of(at, (size_t)((colon ? colon : end) - at));
        if (n == 1) return true;
        if (!colon) return false;
        at = colon + 1;
    }
}

static void add(void *ctx, const struct number *v)
{
    numbers_add(ctx, v);
}

static bool group_record(struct aggregate *a, const struct record *r)
{
    struct bytes key;
    char text[40];
    bool found = a->query.by == JOB_BY_PART ? part(r->key, a->query.n, &key)
                                            : agg_field(r, a->query.by_field, text, &key);
    if (!found) {
        a->skipped++;
        return true;
    }
    struct numbers *n = group_of(a->state, key);
    if (a->query.group_op != JOB_OP_COUNT) return agg_numbers_of(a, r, add, n);
    struct bytes field;
    char number[40];
    if (a->query.field.size ? agg_field(r, a->query.field, number, &field) : !r->further)
        n->count++;
    return true;
}

/* key, numbers; to the end. */
static void group_encode(const struct aggregate *a, uint32_t partition, uint32_t partitions,
                         struct buf *out)
{
    const struct groups *g = a->state;
    for (uint32_t i = 0; i < g->tab.count; i++) {
        struct bytes key = keytab_key(&g->tab, i);
        if (agg_partition(key, partitions) != partition) continue;
        buf_blob(out, key);
        numbers_put(&g->of[i], out);
    }
}

static void group_merge(struct aggregate *a, struct reader *r)
{
    struct numbers other;
    while (!r->bad && reader_left(r)) {
        struct bytes key = reader_blob(r);
        numbers_get(&other, r);
        if (!r->bad) numbers_merge(group_of(a->state, key), &other);
    }
}

static void group_finish(struct aggregate *a)
{
    struct groups *g = a->state;
    uint32_t *order = keytab_sorted(&g->tab);
    char text[40];
    struct bytes value;
    for (uint32_t i = 0; i < g->tab.count; i++)
        if (agg_numbers_result(&g->of[order[i]], a->query.group_op, text, &value))
            agg_row(a, keytab_key(&g->tab, order[i]), value);
    mem_free(order);
    agg_note_number(a, "groups", g->tab.count);
}

static size_t group_memory(const struct aggregate *a)
{
    const struct groups *g = a->state;
    return keytab_memory(&g->tab) + g->room * sizeof *g->of;
}

const struct agg_kind agg_group = {.partitioned = true,
                                   .state_size = sizeof(struct groups),
                                   .deinit = group_deinit,
                                   .record = group_record,
                                   .encode = group_encode,
                                   .merge = group_merge,
                                   .finish = group_finish,
                                   .memory = group_memory};

/* ---- JOIN ---- */

enum { LEFT = 1, RIGHT = 2 };

struct mate {      /* a key that has the value */
    uint32_t next; /* + 1; 0: the last */
    uint32_t key;
    uint8_t side;
};

struct join {
    struct keytab value, key;
    uint32_t *first; /* of each value: mate + 1 */
    uint32_t first_room;
    struct mate *mate;
    uint32_t mates, mate_room;
};

static void join_deinit(struct aggregate *a)
{
    struct join *j = a->state;
    keytab_deinit(&j->value);
    keytab_deinit(&j->key);
    mem_free(j->first);
    mem_free(j->mate);
}

static void join_add(struct join *j, struct bytes value, struct bytes key, uint8_t side)
{
    uint32_t v = keytab_add(&j->value, value), was = j->first_room;
    if (v >= j->first_room) {
        j->first_room = j->first_room ? j->first_room * 2 : 32;
        j->first = mem_realloc(j->first, j->first_room * sizeof *j->first);
        memset(j->first + was, 0, (j->first_room - was) * sizeof *j->first);
    }
    if (j->mates == j->mate_room) {
        j->mate_room = j->mate_room ? j->mate_room * 2 : 32;
        j->mate = mem_realloc(j->mate, j->mate_room * sizeof *j->mate);
    }
    j->mate[j->mates] =
        (struct mate){.next = j->first[v], .key = keytab_add(&j->key, key), .side = side};
    j->first[v] = ++j->mates;
}

static bool join_record(struct aggregate *a, const struct record *r)
{
    struct bytes value;
    char text[40];
    uint8_t side = (uint8_t)((bytes_glob(a->match, r->key, false) ? LEFT : 0) |
                             (bytes_glob(a->query.argument, r->key, false) ? RIGHT : 0));
    if (!agg_field(r, a->query.field, text, &value))
        a->skipped += !r->further;
    else if (side)
        join_add(a->state, value, r->key, side);
    return true;
}

/* value, key, side:1; to the end. */
static void join_encode(const struct aggregate *a, uint32_t partition, uint32_t partitions,
                        struct buf *out)
{
    const struct join *j = a->state;
    for (uint32_t v = 0; v < j->value.count; v++) {
        struct bytes value = keytab_key(&j->value, v);
        if (agg_partition(value, partitions) != partition) continue;
        for (uint32_t m = j->first[v]; m; m = j->mate[m - 1].next) {
            buf_blob(out, value);
            buf_blob(out, keytab_key(&j->key, j->mate[m - 1].key));
            buf_u8(out, j->mate[m - 1].side);
        }
    }
}

static void join_merge(struct aggregate *a, struct reader *r)
{
    while (!r->bad && reader_left(r)) {
        struct bytes value = reader_blob(r), key = reader_blob(r);
        uint8_t side = reader_u8(r);
        if (!side || side > (LEFT | RIGHT)) r->bad = true;
        if (!r->bad) join_add(a->state, value, key, side);
    }
}

/* The mates of one value on one side, by key. */
static uint32_t side_of(const struct join *j, uint32_t first, uint8_t side, struct bytes *out)
{
    uint32_t n = 0;
    for (uint32_t m = first; m; m = j->mate[m - 1].next)
        if (j->mate[m - 1].side & side) out[n++] = keytab_key(&j->key, j->mate[m - 1].key);
    return n;
}

static int by_bytes(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static void join_finish(struct aggregate *a)
{
    struct join *j = a->state;
    uint32_t *order = keytab_sorted(&j->value);
    struct bytes *left = mem_alloc((j->mates + 1) * sizeof *left);
    struct bytes *right = mem_alloc((j->mates + 1) * sizeof *right);
    for (uint32_t i = 0; i < j->value.count; i++) {
        uint32_t l = side_of(j, j->first[order[i]], LEFT, left);
        uint32_t r = side_of(j, j->first[order[i]], RIGHT, right);
        qsort(left, l, sizeof *left, by_bytes);
        qsort(right, r, sizeof *right, by_bytes);
        for (uint32_t x = 0; x < l; x++)
            for (uint32_t y = 0; y < r; y++)
                agg_row3(a, keytab_key(&j->value, order[i]), left[x], right[y]);
    }
    mem_free(left);
    mem_free(right);
    mem_free(order);
    agg_note_number(a, "values", j->value.count);
}

static size_t join_memory(const struct aggregate *a)
{
    const struct join *j = a->state;
    return keytab_memory(&j->value) + keytab_memory(&j->key) + j->first_room * sizeof *j->first +
           j->mate_room * sizeof *j->mate;
}

const struct agg_kind agg_join = {.partitioned = true,
                                  .state_size = sizeof(struct join),
                                  .deinit = join_deinit,
                                  .record = join_record,
                                  .encode = join_encode,
                                  .merge = join_merge,
                                  .finish = join_finish,
                                  .memory = join_memory};
