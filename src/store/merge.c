#include "store/merge.h"

#include "base/assert.h"

void merge_init(struct merge *m, struct bytes lo, struct bytes hi, bool reverse)
{
    *m = (struct merge){.lo = lo, .hi = hi, .reverse = reverse, .failed = ENGINE_FOUND};
}

void merge_add_table(struct merge *m, const struct table *t, uint64_t upto)
{
    ASSERT(m->count < MERGE_LAYERS_MAX && !m->engine);
    struct merge_source *s = &m->source[m->count++];
    table_seek(t, m->reverse ? m->hi : m->lo, upto, &s->cursor);
    s->used = true;
}

static void add_iter(struct merge *m, struct engine *e, enum engine_result result,
                     struct engine_iter *iter)
{
    ASSERT(m->count < MERGE_LAYERS_MAX && !m->engine);
    if (result != ENGINE_FOUND) {
        m->failed = result;
        return;
    }
    m->engine = e;
    m->source[m->count++] = (struct merge_source){.iter = iter, .used = true};
}

void merge_add_engine(struct merge *m, struct engine *e, bool block)
{
    struct engine_iter *iter = NULL;
    enum engine_result result = engine_iter_new(e, m->lo, m->hi, m->reverse, block, &iter);
    add_iter(m, e, result, iter);
}

void merge_add_snap(struct merge *m, struct engine *e, const struct engine_snap *at)
{
    struct engine_iter *iter = NULL;
    ASSERT(!m->reverse);
    enum engine_result result = engine_scan_new(e, at, m->lo, m->hi, &iter);
    add_iter(m, e, result, iter);
}

void merge_deinit(struct merge *m)
{
    for (unsigned i = 0; i < m->count; i++)
        if (m->source[i].iter) engine_iter_free(m->engine, m->source[i].iter);
    m->count = 0;
}

static void source_step_engine(struct merge *m, struct merge_source *s)
{
    enum engine_result result = engine_iter_next(m->engine, s->iter, &s->key, &s->value);
    s->found = result == ENGINE_FOUND ? TABLE_VALUE : TABLE_NONE;
    if (result == ENGINE_MISS || result == ENGINE_E_IO) m->failed = result;
}

static void source_step(struct merge *m, struct merge_source *s)
{
    s->used = false;
    if (s->iter) {
        source_step_engine(m, s);
    } else if (m->reverse) {
        s->found = table_prev(&s->cursor, &s->key, &s->value);
        if (s->found != TABLE_NONE && bytes_compare(s->key, m->lo) < 0) s->found = TABLE_NONE;
    } else {
        s->found = table_next(&s->cursor, &s->key, &s->value);
        if (s->found != TABLE_NONE && bytes_compare(s->key, m->hi) >= 0) s->found = TABLE_NONE;
    }
}

/* The source whose key is next, the newest of those that have it; all of those are behind us then.
 * NULL: all at their end. */
static struct merge_source *merge_pick(struct merge *m)
{
    struct merge_source *best = NULL;
    for (unsigned i = 0; i < m->count; i++) {
        struct merge_source *s = &m->source[i];
        if (s->found == TABLE_NONE) continue;
        int order = best ? bytes_compare(s->key, best->key) : -1;
        if (m->reverse ? !best || order > 0 : order < 0) best = s;
    }
    for (unsigned i = 0; best && i < m->count; i++) {
        struct merge_source *s = &m->source[i];
        s->used = s->found != TABLE_NONE && (s == best || bytes_equal(s->key, best->key));
    }
    return best;
}

enum engine_result merge_next(struct merge *m, struct bytes *key, struct bytes *value)
{
    for (;;) {
        for (unsigned i = 0; i < m->count; i++)
            if (m->source[i].used) source_step(m, &m->source[i]);
        if (m->failed != ENGINE_FOUND) return m->failed;

        struct merge_source *s = merge_pick(m);
        if (!s) return ENGINE_ABSENT;
        if (s->found == TABLE_DELETED) continue;
        *key = s->key;
        *value = s->value;
        return ENGINE_FOUND;
    }
}
