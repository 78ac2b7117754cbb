/* TOP and GREP: rows kept as they are. */
#include "job/aggregate_impl.h"

#include <stdlib.h>

struct kept { /* owns its bytes: key, then name, then shown */
    double v;
    uint8_t *bytes;
    uint32_t key, name, shown;
};

struct rows {
    struct kept *row;
    uint32_t count, room;
    size_t held; /* bytes of all rows */
};

static struct bytes key_of(const struct kept *k)
{
    return bytes_of(k->bytes, k->key);
}
static struct bytes name_of(const struct kept *k)
{
    return bytes_of(k->bytes + k->key, k->name);
}
static struct bytes shown_of(const struct kept *k)
{
    return bytes_of(k->bytes + k->key + k->name, k->shown);
}

static struct kept keep(double v, struct bytes key, struct bytes name, struct bytes shown)
{
    struct kept k = {.v = v, .key = (uint32_t)key.size, .name = (uint32_t)name.size};
    if (shown.size > AGGREGATE_SHOWN_MAX) shown.size = AGGREGATE_SHOWN_MAX;
    k.shown = (uint32_t)shown.size;
    struct buf b = {0};
    (void)buf_reserve(&b, key.size + name.size + shown.size + 1);
    buf_append_bytes(&b, key);
    buf_append_bytes(&b, name);
    buf_append_bytes(&b, shown);
    k.bytes = b.data;
    return k;
}

static size_t held(const struct kept *k)
{
    return (size_t)k->key + k->name + k->shown + 64;
}

static void deinit(struct aggregate *a)
{
    struct rows *t = a->state;
    for (uint32_t i = 0; i < t->count; i++) mem_free(t->row[i].bytes);
    mem_free(t->row);
}

static struct kept *append(struct rows *t, struct kept k)
{
    if (t->count == t->room) {
        t->room = t->room ? t->room * 2 : 32;
        t->row = mem_realloc(t->row, t->room * sizeof *t->row);
    }
    t->held += held(&k);
    t->row[t->count] = k;
    return &t->row[t->count++];
}

static size_t memory(const struct aggregate *a)
{
    const struct rows *t = a->state;
    return t->held + t->room * sizeof *t->row;
}

static int by_name(const struct kept *a, const struct kept *b)
{
    int order = bytes_compare(key_of(a), key_of(b));
    if (!order) order = bytes_compare(name_of(a), name_of(b));
    return order ? order : bytes_compare(shown_of(a), shown_of(b));
}

/* ---- TOP: a heap whose root is the one to go first ---- */

/* < 0: a stands before b in the result. */
static int rank(const struct kept *a, const struct kept *b)
{
    if (a->v != b->v) return a->v > b->v ? -1 : 1;
    return by_name(a, b);
}

static void swap(struct kept *a, struct kept *b)
{
    struct kept t = *a;
    *a = *b;
    *b = t;
}

static void sift_down(struct rows *t, uint32_t i)
{
    for (;;) {
        uint32_t worst = i;
        for (uint32_t c = 2 * i + 1; c <= 2 * i + 2 && c < t->count; c++)
            if (rank(&t->row[c], &t->row[worst]) > 0) worst = c;
        if (worst == i) return;
        swap(&t->row[i], &t->row[worst]);
        i = worst;
    }
}

static void sift_up(struct rows *t, uint32_t i)
{
    for (; i && rank(&t->row[i], &t->row[(i - 1) / 2]) > 0; i = (i - 1) / 2)
        swap(&t->row[i], &t->row[(i - 1) / 2]);
}

static void top_add(struct aggregate *a, double v, struct bytes key, struct bytes name)
{
    struct rows *t = a->state;
    if (t->count == a->query.n && v < t->row[0].v) return;
    struct kept k = keep(v, key, name, (struct bytes){0});
    if (t->count < a->query.n) {
        append(t, k);
        sift_up(t, t->count - 1);
        return;
    }
    if (rank(&k, &t->row[0]) < 0) {
        t->held += held(&k) - held(&t->row[0]);
        swap(&k, &t->row[0]);
        sift_down(t, 0);
    }
    mem_free(k.bytes);
}

static void top_number(struct aggregate *a, const struct record *r, const struct record_item *item,
                       const struct number *v)
{
    top_add(a, v->d, r->key, item->name);
}

/* value:8, key, name; to the end. */
static void top_encode(const struct aggregate *a, uint32_t partition, uint32_t partitions,
                       struct buf *out)
{
    const struct rows *t = a->state;
    (void)partition, (void)partitions;
    for (uint32_t i = 0; i < t->count; i++) {
        agg_put_double(out, t->row[i].v);
        buf_blob(out, key_of(&t->row[i]));
        buf_blob(out, name_of(&t->row[i]));
    }
}

static void top_merge(struct aggregate *a, struct reader *r)
{
    while (!r->bad && reader_left(r)) {
        double v = agg_get_double(r);
        struct bytes key = reader_blob(r), name = reader_blob(r);
        if (v != v) r->bad = true;
        if (!r->bad) top_add(a, v, key, name);
    }
}

static int compare_rank(const void *a, const void *b)
{
    return rank(a, b);
}

static void top_finish(struct aggregate *a)
{
    struct rows *t = a->state;
    char text[40];
    if (t->count) qsort(t->row, t->count, sizeof *t->row, compare_rank);
    for (uint32_t i = 0; i < t->count; i++)
        agg_row3(a, key_of(&t->row[i]), name_of(&t->row[i]), agg_double(t->row[i].v, text));
}

const struct agg_kind agg_top = {.state_size = sizeof(struct rows),
                                 .deinit = deinit,
                                 .number = top_number,
                                 .encode = top_encode,
                                 .merge = top_merge,
                                 .finish = top_finish,
                                 .memory = memory};

/* ---- GREP ---- */

static void grep_value(struct aggregate *a, const struct record *r, const struct record_item *item)
{
    bool member = r->type == RECORD_ZSET;
    struct bytes text = member ? item->name : item->value, find = a->query.argument;
    const uint8_t *at = text.size ? memmem(text.data, text.size, find.data, find.size) : NULL;
    if (!at) return;
    /* What is shown begins at what was found if all does not fit. */
    if (text.size > AGGREGATE_SHOWN_MAX) text = bytes_of(at, (size_t)(text.data + text.size - at));
    append(a->state, keep(0, r->key, member ? (struct bytes){0} : item->name, text));
}

/* key, name, shown; to the end. */
static void grep_encode(const struct aggregate *a, uint32_t partition, uint32_t partitions,
                        struct buf *out)
{
    const struct rows *t = a->state;
    (void)partition, (void)partitions;
    for (uint32_t i = 0; i < t->count; i++) {
        buf_blob(out, key_of(&t->row[i]));
        buf_blob(out, name_of(&t->row[i]));
        buf_blob(out, shown_of(&t->row[i]));
    }
}

static void grep_merge(struct aggregate *a, struct reader *r)
{
    while (!r->bad && reader_left(r)) {
        struct bytes key = reader_blob(r), name = reader_blob(r), shown = reader_blob(r);
        if (!r->bad) append(a->state, keep(0, key, name, shown));
    }
}

static int compare_name(const void *a, const void *b)
{
    return by_name(a, b);
}

static void grep_finish(struct aggregate *a)
{
    struct rows *t = a->state;
    if (t->count) qsort(t->row, t->count, sizeof *t->row, compare_name);
    for (uint32_t i = 0; i < t->count; i++)
        agg_row3(a, key_of(&t->row[i]), name_of(&t->row[i]), shown_of(&t->row[i]));
}

const struct agg_kind agg_grep = {.state_size = sizeof(struct rows),
                                  .deinit = deinit,
                                  .value = grep_value,
                                  .encode = grep_encode,
                                  .merge = grep_merge,
                                  .finish = grep_finish,
                                  .memory = memory};
