/* LCS: the longest common subsequence of two strings, by the textbook table, walked backwards for
 * the text or the ranges. */
#include "redis/lcs.h"
#include "base/assert.h"
#include "base/mem.h"
#include "redis/object.h"

/* A cell takes four bytes and about a nanosecond: the table stays within 128 MiB and some tens of
 * milliseconds. */
#define LCS_CELLS_MAX (1u << 25)

struct lcs_options {
    bool len, idx, with_match_len;
    int64_t min_match_len;
};

static bool parse(const struct cmd_args *a, struct lcs_options *opt, struct reply *out)
{
    *opt = (struct lcs_options){0};
    for (uint32_t i = 3; i < a->count; i++) {
        if (bytes_equal_nocase(a->v[i], "idx")) {
            opt->idx = true;
        } else if (bytes_equal_nocase(a->v[i], "len")) {
            opt->len = true;
        } else if (bytes_equal_nocase(a->v[i], "withmatchlen")) {
            opt->with_match_len = true;
        } else if (bytes_equal_nocase(a->v[i], "minmatchlen") && i + 1 < a->count) {
            if (!bytes_to_i64(a->v[++i], &opt->min_match_len)) {
                reply_error(out, ERR_NOT_INTEGER);
                return false;
            }
        } else {
            reply_error(out, ERR_SYNTAX);
            return false;
        }
    }
    if (!opt->idx || !opt->len) return true;
    reply_error(out, "ERR If you want both the length and indexes, please just use IDX.");
    return false;
}

struct lcs {
    struct bytes a, b;
    uint32_t *cell; /* (a.size + 1) rows of (b.size + 1) */
};

static uint32_t *cell(const struct lcs *l, size_t i, size_t j)
{
    return &l->cell[i * (l->b.size + 1) + j];
}

static void fill(struct lcs *l)
{
    size_t width = l->b.size + 1;
    l->cell = mem_alloc((l->a.size + 1) * width * sizeof *l->cell);
    memset(l->cell, 0, width * sizeof *l->cell);
    for (size_t i = 1; i <= l->a.size; i++) {
        const uint32_t *above = l->cell + (i - 1) * width;
        uint32_t *row = l->cell + i * width;
        row[0] = 0;
        for (size_t j = 1; j <= l->b.size; j++) {
            uint32_t most = above[j] > row[j - 1] ? above[j] : row[j - 1];
            row[j] = l->a.data[i - 1] == l->b.data[j - 1] ? above[j - 1] + 1 : most;
        }
    }
}

/* One step back from (i, j), as Redis breaks ties; true: the step matched a byte. */
static bool step_back(const struct lcs *l, size_t *i, size_t *j)
{
    if (l->a.data[*i - 1] == l->b.data[*j - 1]) {
        --*i, --*j;
        return true;
    }
    if (*cell(l, *i - 1, *j) > *cell(l, *i, *j - 1))
        --*i;
    else
        --*j;
    return false;
}

static void reply_text(const struct lcs *l, struct reply *out)
{
    size_t i = l->a.size, j = l->b.size, left = *cell(l, i, j);
    struct buf text = {0};

    (void)buf_reserve(&text, left);
    text.size = left;
    while (i > 0 && j > 0)
        if (step_back(l, &i, &j)) text.data[--left] = l->a.data[i];
    ASSERT(left == 0);
    reply_bulk(out, buf_bytes(&text));
    buf_deinit(&text);
}

static void reply_range(size_t first, size_t size, struct reply *out)
{
    reply_array(out, 2);
    reply_i64(out, (int64_t)first);
    reply_i64(out, (int64_t)(first + size - 1));
}

/* The matching runs, last first. A run that began at (a, b) ends where a step does not match, or a
 * string has come to its start. */
static void reply_runs(const struct lcs *l, const struct lcs_options *opt, struct reply *out)
{
    size_t i = l->a.size, j = l->b.size, a = 0, b = 0, size = 0, count = 0;
    struct buf runs = {0};
    struct reply each = {&runs, out->version};

    while (i > 0 && j > 0) {
        bool matched = step_back(l, &i, &j);
        if (matched) a = i, b = j, size++;
        if (size == 0 || (matched && i > 0 && j > 0)) continue;
        if ((int64_t)size >= opt->min_match_len) {
            reply_array(&each, opt->with_match_len ? 3 : 2);
            reply_range(a, size, &each);
            reply_range(b, size, &each);
            if (opt->with_match_len) reply_i64(&each, (int64_t)size);
            count++;
        }
        size = 0;
    }
    reply_map(out, 2);
    reply_bulk_str(out, "matches");
    reply_array(out, count);
    buf_append_bytes(out->out, buf_bytes(&runs));
    reply_bulk_str(out, "len");
    reply_i64(out, *cell(l, l->a.size, l->b.size));
    buf_deinit(&runs);
}

/* Both strings (empty if absent). The second look-up may write (an expired key), which ends what
 * the first one lent: so each is looked up twice, and the second time nothing is left to write. */
static bool both_strings(struct view *v, const struct cmd_args *args, struct lcs *l,
                         struct reply *out)
{
    struct object a, b;
    for (int round = 0; round < 2; round++)
        if (object_get(v, args->v[1], &a) == OBJECT_MISSED ||
            object_get(v, args->v[2], &b) == OBJECT_MISSED)
            return false;
    if (a.type > OBJECT_STRING || b.type > OBJECT_STRING) {
        reply_error(out, "ERR The specified keys must contain string values");
        return false;
    }
    l->a = a.string;
    l->b = b.string;
    return true;
}

void lcs_command(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct lcs_options opt;
    struct lcs l = {0};

    if (!both_strings(v, a, &l, out) || !parse(a, &opt, out)) return;
    if ((l.a.size + 1) * (l.b.size + 1) > LCS_CELLS_MAX) {
        reply_error(out, "ERR Insufficient memory, transient memory for LCS exceeds 128 MiB");
        return;
    }
    fill(&l);
    if (opt.idx)
        reply_runs(&l, &opt, out);
    else if (opt.len)
        reply_i64(out, *cell(&l, l.a.size, l.b.size));
    else
        reply_text(&l, out);
    mem_free(l.cell);
}
