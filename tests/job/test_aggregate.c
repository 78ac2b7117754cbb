/* Each built-in query beside a naive twin that has all values in an array: random records, dealt
 * out to a few tasks, their partials cut for a few reducers and merged in any order. */
#include "test.h"
#include "base/mem.h"
#include "base/prng.h"
#include "job/aggregate.h"

#include <math.h>

enum { KEYS = 300, ITEMS = 4, TASKS = 5, ROWS = 200000, TEXT = 48 };

struct value { /* one of the twin's */
    char key[TEXT], name[TEXT], text[TEXT];
    uint8_t type;
    bool first; /* of its key */
};

struct world {
    struct prng r;
    struct buf stream[TASKS];
    struct value *v;
    size_t n, keys;
};

struct rows {
    char **text; /* cells joined by '|' */
    size_t n;
};

static void row_add(struct rows *r, const char *format, ...)
{
    char line[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    assert_true(r->n < ROWS);
    r->text[r->n++] = mem_strdup(line);
}

static void take_row(void *ctx, const struct aggregate_row *row)
{
    struct rows *r = ctx;
    char line[400];
    size_t at = 0;
    if (row->note) at += (size_t)snprintf(line, sizeof line, "#");
    for (int c = 0; c < row->count; c++)
        at += (size_t)snprintf(line + at, sizeof line - at, "%s%.*s", c ? "|" : "",
                               (int)row->cell[c].size, (const char *)row->cell[c].data);
    row_add(r, "%s", line);
}

static struct rows rows_new(void)
{
    return (struct rows){.text = mem_zalloc(ROWS * sizeof(char *))};
}

static void rows_free(struct rows *r)
{
    for (size_t i = 0; i < r->n; i++) mem_free(r->text[i]);
    mem_free(r->text);
}

static bool has(const struct rows *r, const char *line)
{
    for (size_t i = 0; i < r->n; i++)
        if (!strcmp(r->text[i], line)) return true;
    return false;
}

/* ---- data ---- */

static void random_text(struct prng *r, char *out)
{
    static const char *const word[] = {"red", "green", "blue", "", "needle in hay", "12x"};
    switch (prng_below(r, 4)) {
    case 0: (void)snprintf(out, TEXT, "%s", word[prng_below(r, 6)]); break;
    case 1: (void)snprintf(out, TEXT, "%d", (int)prng_below(r, 2000) - 1000); break;
    case 2: (void)snprintf(out, TEXT, "%lld", (long long)(prng_u64(r) >> 1)); break;
    default: (void)snprintf(out, TEXT, "%.3f", (double)prng_below(r, 100000) / 1000 - 30);
    }
}

static struct value *value_new(struct world *w, const char *key, uint8_t type)
{
    struct value *v = &w->v[w->n++];
    *v = (struct value){.type = type};
    (void)snprintf(v->key, TEXT, "%s", key);
    return v;
}

static void one_key(struct world *w, int k)
{
    static const char *const field[ITEMS] = {"price", "color", "id", "note"};
    char key[TEXT];
    struct buf *out = &w->stream[prng_below(&w->r, TASKS)];
    uint8_t type = (uint8_t)prng_below(&w->r, RECORD_TYPES);
    (void)snprintf(key, TEXT, "%s:%d:k%d", prng_below(&w->r, 2) ? "user" : "order",
                   (int)prng_below(&w->r, 5), k);
    w->keys++;
    if (type == RECORD_STRING) {
        struct value *v = value_new(w, key, type);
        v->first = true;
        random_text(&w->r, v->text);
        assert_true(record_put_string(out, bytes_str(key), bytes_str(v->text)));
        return;
    }
    struct record_writer rw = record_begin(out, type, bytes_str(key), false);
    for (int i = 0; i < ITEMS; i++) {
        struct value *v = value_new(w, key, type);
        struct record_item item = {0};
        v->first = i == 0;
        random_text(&w->r, v->text);
        if (type == RECORD_HASH || type == RECORD_ZSET) {
            (void)snprintf(v->name, TEXT, "%s", field[i]);
            item.name = bytes_str(v->name);
        }
        if (type == RECORD_HASH && i == 2)
            (void)snprintf(v->text, TEXT, "%d", (int)prng_below(&w->r, 8));
        if (type == RECORD_ZSET) {
            item.score = (double)prng_below(&w->r, 1000) / 4;
            (void)snprintf(v->text, TEXT, "%.17g", item.score);
        }
        item.value = bytes_str(v->text);
        assert_true(record_put_item(&rw, &item));
    }
    record_end(&rw);
}

static void world_init(struct world *w, uint64_t seed, int keys)
{
    *w = (struct world){.v = mem_zalloc((size_t)keys * ITEMS * sizeof *w->v)};
    prng_init(&w->r, seed);
    for (int k = 0; k < keys; k++) one_key(w, k);
}

static void world_free(struct world *w)
{
    for (int t = 0; t < TASKS; t++) buf_deinit(&w->stream[t]);
    mem_free(w->v);
}

static struct job_spec query(const char *line)
{
    static char copy[200];
    struct bytes arg[20];
    struct job_spec s;
    struct job_spec_error e = {{0}};
    size_t n = 0;
    (void)snprintf(copy, sizeof copy, "%s", line);
    for (char *w = strtok(copy, " "); w; w = strtok(NULL, " ")) arg[n++] = bytes_str(w);
    if (!job_spec_run(arg, n, &s, &e)) fail_msg("%s", e.text);
    return s;
}

/* Dealt out, fed, encoded for `partitions`, merged in a random order, in two steps. */
static struct rows distributed(struct world *w, const struct job_spec *s, uint32_t partitions)
{
    struct aggregate *task[TASKS];
    struct rows rows = rows_new();
    struct buf partial = {0};
    for (int t = 0; t < TASKS; t++) {
        struct bytes in = buf_bytes(&w->stream[t]);
        struct record r;
        task[t] = aggregate_new(s, 64 << 20);
        while (record_next(&in, &r) == RECORD_OK)
            if (job_spec_wants(s, r.key, r.type))
                assert_int_equal(aggregate_feed(task[t], &r), AGGREGATE_OK);
        assert_int_equal(in.size, 0);
    }
    for (uint32_t p = 0; p < partitions; p++) {
        struct aggregate *half[2] = {aggregate_new(s, 64 << 20), aggregate_new(s, 64 << 20)};
        int from = (int)prng_below(&w->r, TASKS);
        for (int i = 0; i <= TASKS; i++) {
            struct aggregate *of = i < TASKS ? task[(from + i) % TASKS] : half[1];
            buf_clear(&partial);
            aggregate_encode(of, i < TASKS ? p : 0, i < TASKS ? partitions : 1, &partial);
            struct aggregate *into = i < TASKS ? half[prng_below(&w->r, 2)] : half[0];
            if (partial.size)
                assert_int_equal(aggregate_merge(into, buf_bytes(&partial)), AGGREGATE_OK);
        }
        if (p == 0 || s->query.op == JOB_OP_GROUP || s->query.op == JOB_OP_JOIN)
            aggregate_finish(half[0], take_row, &rows);
        aggregate_free(half[0]);
        aggregate_free(half[1]);
    }
    for (int t = 0; t < TASKS; t++) aggregate_free(task[t]);
    buf_deinit(&partial);
    return rows;
}

/* ---- the twin ---- */

static bool wanted(const struct value *v, const char *field)
{
    return !*field || !strcmp(v->name, field);
}
static bool numeric(const struct value *v, double *d)
{
    char *end;
    *d = strtod(v->text, &end);
    return *v->text && !*end;
}

static int text_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Notes apart, both have the same rows; in the same order if `ordered`. */
static void same(struct rows *got, struct rows *expected, bool ordered)
{
    size_t n = 0;
    for (size_t i = 0; i < got->n; i++) {
        if (got->text[i][0] != '#')
            got->text[n++] = got->text[i];
        else
            mem_free(got->text[i]);
    }
    got->n = n;
    if (!ordered) {
        qsort(got->text, got->n, sizeof(char *), text_order);
        qsort(expected->text, expected->n, sizeof(char *), text_order);
    }
    for (size_t i = 0; i < n && i < expected->n; i++)
        if (strcmp(got->text[i], expected->text[i]))
            fail_msg("row %zu is '%s', expected '%s'", i, got->text[i], expected->text[i]);
    assert_int_equal(got->n, expected->n);
    rows_free(got);
    rows_free(expected);
}

static const char *whole_text(__int128 v, char *to)
{
    char back[48];
    int n = 0, at = 0;
    bool minus = v < 0;
    if (minus) v = -v;
    do back[n++] = (char)('0' + (int)(v % 10));
    while ((v /= 10) > 0);
    if (minus) to[at++] = '-';
    while (n) to[at++] = back[--n];
    to[at] = 0;
    return to;
}

/* Of the values that are whole only, so that the expected sum is exact. */
static void only_whole(struct world *w, uint64_t seed)
{
    world_init(w, seed, KEYS);
    for (int t = 0; t < TASKS; t++) buf_clear(&w->stream[t]);
    for (size_t i = 0; i < w->n; i++) {
        struct value *v = &w->v[i];
        (void)snprintf(v->text, TEXT, "%lld", (long long)prng_u64(&w->r));
        (void)snprintf(v->key, TEXT, "k%zu", i);
        v->type = RECORD_STRING;
        assert_true(
            record_put_string(&w->stream[i % TASKS], bytes_str(v->key), bytes_str(v->text)));
    }
}

TEST(count_is_the_number_of_keys_or_of_fields)
{
    struct world w;
    world_init(&w, 1, KEYS);
    static const char *const line[] = {"COUNT", "COUNT FIELD color", "COUNT MATCH user:*"};
    for (int q = 0; q < 3; q++) {
        struct job_spec s = query(line[q]);
        struct rows got = distributed(&w, &s, 3), expected = rows_new();
        size_t n = 0;
        for (size_t i = 0; i < w.n; i++)
            n += q == 0   ? w.v[i].first
                 : q == 1 ? !strcmp(w.v[i].name, "color")
                          : w.v[i].first && !strncmp(w.v[i].key, "user:", 5);
        row_add(&expected, "count|%zu", n);
        char records[40];
        (void)snprintf(records, sizeof records, "#records|%zu", q == 2 ? n : w.keys);
        assert_true(has(&got, records));
        same(&got, &expected, true);
    }
    world_free(&w);
}

TEST(the_sum_of_whole_numbers_is_exact_beyond_64_bits)
{
    struct world w;
    char text[48];
    only_whole(&w, 2);
    struct job_spec s = query("SUM");
    struct rows got = distributed(&w, &s, 1), expected = rows_new();
    __int128 sum = 0;
    for (size_t i = 0; i < w.n; i++) sum += strtoll(w.v[i].text, NULL, 10);
    row_add(&expected, "sum|%s", whole_text(sum, text));
    same(&got, &expected, true);
    world_free(&w);
}

TEST(sum_min_max_and_avg_are_those_of_the_numbers_and_the_rest_is_counted)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        static const char *const field[] = {"", "price", "note"};
        struct world w;
        world_init(&w, seed, KEYS);
        for (int f = 0; f < 3; f++)
            for (int op = JOB_OP_SUM; op <= JOB_OP_AVG; op++) {
                char line[60], note[60];
                (void)snprintf(line, sizeof line, "%s%s%s", job_op_name((unsigned)op),
                               *field[f] ? " FIELD " : "", field[f]);
                struct job_spec s = query(line);
                struct rows got = distributed(&w, &s, 2);
                long double sum = 0, size = 0;
                double d, min = INFINITY, max = -INFINITY;
                size_t n = 0, skipped = 0;
                for (size_t i = 0; i < w.n; i++) {
                    if (!wanted(&w.v[i], field[f])) continue;
                    if (!numeric(&w.v[i], &d)) {
                        skipped++;
                        continue;
                    }
                    sum += strtold(w.v[i].text, NULL), size += fabsl(d), n++;
                    if (d < min) min = d;
                    if (d > max) max = d;
                }
                long double expected = op == JOB_OP_SUM   ? sum
                                       : op == JOB_OP_MIN ? min
                                       : op == JOB_OP_MAX ? max
                                                          : sum / n;
                long double allowed = op == JOB_OP_SUM   ? size * 1e-15L
                                      : op == JOB_OP_AVG ? size / n * 1e-15L
                                                         : 0;
                long double is = strtold(strchr(got.text[0], '|') + 1, NULL);
                if (op == JOB_OP_MIN || op == JOB_OP_MAX) is = (double)is;
                if (fabsl(is - expected) > allowed)
                    fail_msg("%s: %s, expected %.19Lg", line, got.text[0], expected);
                (void)snprintf(note, sizeof note, "#values|%zu", n);
                assert_true(has(&got, note));
                (void)snprintf(note, sizeof note, "#skipped|%zu", skipped);
                assert_true(!skipped || has(&got, note));
                rows_free(&got);
            }
        world_free(&w);
    }
}

static int by_rank(const void *a, const void *b)
{
    const struct value *x = a, *y = b;
    double dx = strtod(x->text, NULL), dy = strtod(y->text, NULL);
    if (dx != dy) return dx > dy ? -1 : 1;
    int order = strcmp(x->key, y->key);
    return order ? order : strcmp(x->name, y->name);
}

TEST(top_has_the_largest_in_order_and_of_equal_ones_the_smaller_keys)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world w;
        world_init(&w, seed, KEYS);
        uint32_t n = 1 + (uint32_t)prng_below(&w.r, 60);
        char line[60];
        bool hashes = seed % 2; /* few numbers, so many are equal */
        (void)snprintf(line, sizeof line, "TOP %u FIELD id%s", n, hashes ? " TYPE hash" : "");
        struct job_spec s = query(line);
        struct rows got = distributed(&w, &s, 2), expected = rows_new();
        struct value *v = mem_zalloc(w.n * sizeof *v);
        size_t count = 0;
        double d;
        for (size_t i = 0; i < w.n; i++)
            if (wanted(&w.v[i], "id") && numeric(&w.v[i], &d) &&
                (!hashes || w.v[i].type == RECORD_HASH))
                v[count++] = w.v[i];
        qsort(v, count, sizeof *v, by_rank);
        for (size_t i = 0; i < n && i < count; i++)
            row_add(&expected, "%s|%s|%.15g", v[i].key, v[i].name, strtod(v[i].text, NULL));
        mem_free(v);
        same(&got, &expected, true);
        world_free(&w);
    }
}

TEST(distinct_is_exact_while_few_and_says_so)
{
    struct world w;
    world_init(&w, 4, KEYS);
    struct job_spec s = query("DISTINCT FIELD color TYPE hash");
    struct rows got = distributed(&w, &s, 1), expected = rows_new();
    size_t n = 0;
    for (size_t i = 0; i < w.n; i++) {
        bool seen = false;
        if (w.v[i].type != RECORD_HASH || !wanted(&w.v[i], "color")) continue;
        for (size_t j = 0; j < i && !seen; j++)
            seen = w.v[j].type == RECORD_HASH && wanted(&w.v[j], "color") &&
                   !strcmp(w.v[i].text, w.v[j].text);
        n += !seen;
    }
    row_add(&expected, "distinct|%zu", n);
    assert_true(has(&got, "#method|exact"));
    same(&got, &expected, true);
    world_free(&w);
}

static void feed_number(struct aggregate *a, uint64_t key, double v)
{
    struct buf b = {0};
    struct record r;
    char text[40], name[40];
    (void)snprintf(text, sizeof text, "%.17g", v);
    (void)snprintf(name, sizeof name, "k%llu", (unsigned long long)key);
    assert_true(record_put_string(&b, bytes_str(name), bytes_str(text)));
    struct bytes s = buf_bytes(&b);
    assert_int_equal(record_next(&s, &r), RECORD_OK);
    assert_int_equal(aggregate_feed(a, &r), AGGREGATE_OK);
    buf_deinit(&b);
}

/* Each of the parts that are merged has half of its values in common with the next. */
TEST(distinct_of_many_is_within_two_per_cent_and_says_that_it_is_an_estimate)
{
    struct job_spec s = query("DISTINCT");
    static const size_t size[] = {AGGREGATE_EXACT / 3, AGGREGATE_EXACT, 150000, 600000};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        struct aggregate *a = aggregate_new(&s, 1 << 20), *b = aggregate_new(&s, 1 << 20);
        struct buf partial = {0};
        size_t n = size[i], distinct = n + n / 2;
        for (size_t k = 0; k < n; k++) {
            feed_number(a, k, (double)k);
            feed_number(b, k, (double)(k + n / 2));
        }
        aggregate_encode(b, 0, 1, &partial);
        assert_int_equal(aggregate_merge(a, buf_bytes(&partial)), AGGREGATE_OK);
        struct rows got = rows_new();
        aggregate_finish(a, take_row, &got);
        double is = strtod(strchr(got.text[0], '|') + 1, NULL);
        bool exact = distinct <= AGGREGATE_EXACT;
        assert_int_equal(exact, has(&got, "#method|exact"));
        if (fabs(is - (double)distinct) > (exact ? 0 : 0.02 * (double)distinct))
            fail_msg("%g of %zu", is, distinct);
        rows_free(&got);
        buf_deinit(&partial);
        aggregate_free(a);
        aggregate_free(b);
    }
}

static int by_number(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double shape(struct prng *r, int kind, size_t i, size_t n)
{
    switch (kind) {
    case 0: return (double)i;
    case 1: return (double)(n - i);
    case 2: return (double)prng_below(r, 1000000) / 7;
    case 3: return 1e6 / (double)(1 + prng_below(r, 1000)); /* few large ones, many small */
    default: return (double)prng_below(r, 3);
    }
}

/* The rank of an answer is an interval where values are equal. */
TEST(quantiles_are_within_half_a_hundredth_of_the_rank_asked_for)
{
    struct job_spec s = query("QUANTILES");
    struct prng r;
    double worst = 0;
    prng_init(&r, 9);
    for (int kind = 0; kind < 5; kind++)
        for (size_t n = 10; n <= 400000; n *= 200) {
            struct aggregate *task[TASKS], *all = aggregate_new(&s, 1 << 20);
            struct buf partial = {0};
            double *v = mem_alloc(n * sizeof *v);
            for (int t = 0; t < TASKS; t++) task[t] = aggregate_new(&s, 1 << 20);
            for (size_t i = 0; i < n; i++) {
                v[i] = shape(&r, kind, i, n);
                feed_number(task[i * TASKS / n], i, v[i]);
            }
            for (int t = 0; t < TASKS; t++) {
                buf_clear(&partial);
                aggregate_encode(task[t], 0, 1, &partial);
                assert_true(partial.size < 64 * 1024);
                assert_int_equal(aggregate_merge(all, buf_bytes(&partial)), AGGREGATE_OK);
                aggregate_free(task[t]);
            }
            struct rows got = rows_new();
            aggregate_finish(all, take_row, &got);
            qsort(v, n, sizeof *v, by_number);
            for (int q = 0; q < 12; q++) {
                double at = strtod(got.text[q], NULL),
                       is = strtod(strchr(got.text[q], '|') + 1, NULL);
                size_t below = 0, upto;
                while (below < n && v[below] < is) below++;
                for (upto = below; upto < n && v[upto] <= is;) upto++;
                assert_true(upto > below); /* one of the values */
                double lo = (double)below / (double)n, hi = (double)upto / (double)n;
                double off = at < lo ? lo - at : at > hi ? at - hi : 0;
                if (off > worst) worst = off;
                if (off > 0.005 && n > 100)
                    fail_msg("shape %d, n %zu: %s has rank %g .. %g", kind, n, got.text[q], lo, hi);
            }
            assert_true(strtod(strchr(got.text[0], '|') + 1, NULL) == v[0]);
            assert_true(strtod(strchr(got.text[11], '|') + 1, NULL) == v[n - 1]);
            rows_free(&got);
            mem_free(v);
            buf_deinit(&partial);
            aggregate_free(all);
        }
    print_message("the worst rank was off by %.5f\n", worst);
}

TEST(a_histogram_counts_each_number_in_its_bucket_and_widens_them_only_as_far_as_it_must)
{
    static const char *const line[] = {"HISTOGRAM FIELD id", "HISTOGRAM STEP 0.25",
                                       "HISTOGRAM FIELD price STEP 100"};
    for (uint64_t seed = 1; seed <= 10; seed++)
        for (int q = 0; q < 3; q++) {
            struct world w;
            world_init(&w, seed, 4000);
            struct job_spec s = query(line[q]);
            struct rows got = distributed(&w, &s, 1), expected = rows_new();
            const char *field = q == 0 ? "id" : q == 1 ? "" : "price";
            double width = s.query.step, d, *low = mem_alloc(w.n * sizeof *low);
            size_t buckets, n;
            for (;; width *= 2) { /* what the least width is, by trying */
                n = buckets = 0;
                for (size_t i = 0; i < w.n; i++) {
                    if (!wanted(&w.v[i], field) || !numeric(&w.v[i], &d)) continue;
                    low[n++] = floor(fmax(fmin(floor(d / s.query.step), 4e18), -4e18) /
                                     (width / s.query.step));
                }
                qsort(low, n, sizeof *low, by_number);
                for (size_t i = 0; i < n; i++) buckets += i == 0 || low[i] != low[i - 1];
                if (buckets <= 1024) break;
            }
            for (size_t i = 0, from = 0; i < n; i++)
                if (i + 1 == n || low[i + 1] != low[i]) {
                    row_add(&expected, "%.15g|%zu", low[i] * width, i + 1 - from);
                    from = i + 1;
                }
            /* Shown with as many digits as it takes: compare as numbers. */
            size_t at = 0;
            for (size_t i = 0; i < got.n; i++) {
                if (got.text[i][0] == '#') continue;
                char shortest[100];
                (void)snprintf(shortest, sizeof shortest, "%.15g%s", strtod(got.text[i], NULL),
                               strchr(got.text[i], '|'));
                assert_string_equal(shortest, expected.text[at++]);
            }
            assert_int_equal(at, expected.n);
            mem_free(low);
            rows_free(&got);
            rows_free(&expected);
            world_free(&w);
        }
}

/* Of what group is the key of v? NULL: of none. */
static const char *group_of(struct world *w, const struct value *v, int part)
{
    static char text[TEXT];
    if (part) {
        char copy[TEXT];
        (void)snprintf(copy, TEXT, "%s", v->key);
        char *word = strtok(copy, ":");
        for (int i = 1; i < part && word; i++) word = strtok(NULL, ":");
        if (!word) return NULL;
        (void)snprintf(text, TEXT, "%s", word);
        return text;
    }
    for (size_t i = 0; i < w->n; i++)
        if (!strcmp(w->v[i].key, v->key) && !strcmp(w->v[i].name, "color")) return w->v[i].text;
    return NULL;
}

TEST(groups_are_what_a_table_by_hand_says)
{
    static const struct {
        const char *line, *field;
        int part;
    } row[] = {{"GROUP BY PART 2", "", 2},
               {"MAX FIELD id BY PART 1", "id", 1},
               {"SUM FIELD id BY color TYPE hash", "id", 0},
               {"COUNT FIELD id BY PART 1", "id", 1},
               {"GROUP BY PART 4", "", 4}};
    for (uint64_t seed = 1; seed <= 5; seed++)
        for (int q = 0; q < 5; q++) {
            struct world w;
            world_init(&w, seed, KEYS);
            struct job_spec s = query(row[q].line);
            struct rows got = distributed(&w, &s, 4), expected = rows_new();
            char name[KEYS][TEXT];
            double value[KEYS] = {0}, d;
            size_t groups = 0;
            for (size_t i = 0; i < w.n; i++) {
                const struct value *v = &w.v[i];
                if (s.type && v->type + 1 != s.type) continue;
                bool counts = *row[q].field ? wanted(v, row[q].field) && (q == 3 || numeric(v, &d))
                                            : v->first;
                const char *g = counts ? group_of(&w, v, row[q].part) : NULL;
                if (!g) continue;
                size_t at = 0;
                while (at < groups && strcmp(name[at], g)) at++;
                if (at == groups) {
                    assert_true(groups < KEYS);
                    (void)snprintf(name[groups++], TEXT, "%s", g);
                }
                (void)numeric(v, &d);
                value[at] = q == 1 ? fmax(value[at], d) : value[at] + (q == 2 ? d : 1);
            }
            for (size_t i = 0; i < groups; i++) row_add(&expected, "%s|%.15g", name[i], value[i]);
            same(&got, &expected, false);
            world_free(&w);
        }
}

TEST(a_join_has_every_pair_with_equal_fields_once)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct world w;
        world_init(&w, seed, KEYS);
        struct job_spec s = query("JOIN order:* FIELD id MATCH user:*");
        struct rows got = distributed(&w, &s, 3), expected = rows_new();
        for (size_t i = 0; i < w.n; i++)
            for (size_t j = 0; j < w.n; j++)
                if (wanted(&w.v[i], "id") && wanted(&w.v[j], "id") && w.v[i].key[0] == 'u' &&
                    w.v[j].key[0] == 'o' && strtod(w.v[i].text, NULL) == strtod(w.v[j].text, NULL))
                    row_add(&expected, "%.15g|%s|%s", strtod(w.v[i].text, NULL), w.v[i].key,
                            w.v[j].key);
        assert_true(expected.n > 10);
        same(&got, &expected, false);
        world_free(&w);
    }
}

TEST(grep_finds_every_value_that_has_the_text)
{
    struct world w;
    world_init(&w, 8, KEYS);
    struct job_spec s = query("GREP needle");
    struct rows got = distributed(&w, &s, 2), expected = rows_new();
    for (size_t i = 0; i < w.n; i++)
        if (w.v[i].type != RECORD_ZSET && strstr(w.v[i].text, "needle"))
            row_add(&expected, "%s|%s|%s", w.v[i].key, w.v[i].name, w.v[i].text);
    assert_true(expected.n > 10);
    same(&got, &expected, false);
    world_free(&w);
}

/* All of `words` (blanks between) as strings, fed to two aggregates that are merged into a third;
 * its first row.
 */
static void first_row(const char *line, const char *words, const char *expected)
{
    struct job_spec s = query(line);
    struct aggregate *a = aggregate_new(&s, 1 << 20), *b = aggregate_new(&s, 1 << 20),
                     *c = aggregate_new(&s, 1 << 20);
    struct buf out = {0}, partial = {0};
    char copy[200];
    int n = 0;
    (void)snprintf(copy, sizeof copy, "%s", words);
    for (char *w = strtok(copy, " "); w; w = strtok(NULL, " ")) {
        char key[2] = {(char)('a' + n++), 0};
        struct record r;
        buf_clear(&out);
        assert_true(record_put_string(&out, bytes_str(key), bytes_str(w)));
        struct bytes in = buf_bytes(&out);
        assert_int_equal(record_next(&in, &r), RECORD_OK);
        assert_int_equal(aggregate_feed(n % 2 ? a : b, &r), AGGREGATE_OK);
    }
    for (int i = 0; i < 2; i++) {
        buf_clear(&partial);
        aggregate_encode(i ? b : a, 0, 1, &partial);
        assert_int_equal(aggregate_merge(c, buf_bytes(&partial)), AGGREGATE_OK);
    }
    struct rows rows = rows_new();
    aggregate_finish(c, take_row, &rows);
    assert_string_equal(rows.text[0], expected);
    rows_free(&rows);
    aggregate_free(a);
    aggregate_free(b);
    aggregate_free(c);
    buf_deinit(&out);
    buf_deinit(&partial);
}

TEST(numbers_at_the_edges_are_what_they_are)
{
    first_row("MIN", "7 5 9", "min|5");
    first_row("MAX", "-7 -5 -9", "max|-5");
    first_row("MIN", "7", "min|7");
    first_row("SUM", "9223372036854775807 9223372036854775807", "sum|18446744073709551614");
    first_row("SUM", "9999999999999999999 1", "sum|1e+19"); /* not a whole number of 64 bits */
    first_row("SUM", "1e16 1e16 1.5 1.5 -1e16 -1e16", "sum|3");
    first_row("SUM", "0.5 0.25 -0.75 x", "sum|0");
    first_row("TOP 1", "5 5 5", "a||5");
    first_row("TOP 1", "4 inf", "b||inf");
    first_row("HISTOGRAM STEP 10", "9 -1 9", "-10|1");
}

TEST(the_parts_of_a_large_collection_are_one_key)
{
    struct job_spec s = query("COUNT");
    struct aggregate *a = aggregate_new(&s, 1 << 20), *b = aggregate_new(&s, 1 << 20);
    struct buf out = {0}, partial = {0};
    struct record r;
    for (int part = 0; part < 3; part++) {
        struct record_writer w = record_begin(&out, RECORD_LIST, BYTES("k"), part > 0);
        assert_true(record_put_item(&w, &(struct record_item){.value = BYTES("1")}));
        record_end(&w);
    }
    for (struct bytes in = buf_bytes(&out); record_next(&in, &r) == RECORD_OK;)
        assert_int_equal(aggregate_feed(a, &r), AGGREGATE_OK);
    for (uint32_t p = 0; p < 2; p++) {
        buf_clear(&partial);
        aggregate_encode(a, p, 2, &partial);
        if (partial.size) assert_int_equal(aggregate_merge(b, buf_bytes(&partial)), AGGREGATE_OK);
    }
    struct rows rows = rows_new();
    aggregate_finish(b, take_row, &rows);
    assert_string_equal(rows.text[0], "count|1");
    assert_true(has(&rows, "#records|1"));
    rows_free(&rows);
    aggregate_free(a);
    aggregate_free(b);
    buf_deinit(&out);
    buf_deinit(&partial);
}

/* Over all partitions a record is one record, wherever its group went. */
TEST(records_are_counted_once_whatever_the_number_of_partitions)
{
    struct world w;
    world_init(&w, 21, 50);
    struct job_spec s = query("GROUP BY PART 2 MATCH user:*");
    struct rows got = distributed(&w, &s, 4);
    unsigned long sum = 0, keys = 0;
    for (size_t i = 0; i < got.n; i++)
        if (!strncmp(got.text[i], "#records|", 9)) sum += strtoul(got.text[i] + 9, NULL, 10);
    for (size_t i = 0; i < w.n; i++) keys += w.v[i].first && w.v[i].key[0] == 'u';
    assert_int_equal(sum, keys);
    rows_free(&got);
    world_free(&w);
}

TEST(what_takes_too_much_memory_says_so_and_what_is_bounded_never_does)
{
    static const struct {
        const char *line;
        int result;
    } row[] = {{"GROUP BY PART 1", AGGREGATE_E_FULL},
               {"GREP 1", AGGREGATE_E_FULL},
               {"TOP 100000", AGGREGATE_E_FULL},
               {"TOP 10", AGGREGATE_OK},
               {"SUM", AGGREGATE_OK},
               {"DISTINCT", AGGREGATE_OK},
               {"QUANTILES", AGGREGATE_OK},
               {"HISTOGRAM", AGGREGATE_OK}};
    for (size_t q = 0; q < sizeof row / sizeof *row; q++) {
        struct job_spec s = query(row[q].line);
        struct aggregate *a = aggregate_new(&s, 1 << 20);
        enum aggregate_result result = AGGREGATE_OK;
        for (int i = 0; i < 100000 && result == AGGREGATE_OK; i++) {
            struct buf b = {0};
            struct record r;
            char key[40];
            (void)snprintf(key, sizeof key, "a%d:b", i);
            assert_true(record_put_string(&b, bytes_str(key), BYTES("11")));
            struct bytes in = buf_bytes(&b);
            assert_int_equal(record_next(&in, &r), RECORD_OK);
            result = aggregate_feed(a, &r);
            buf_deinit(&b);
        }
        assert_int_equal(result, row[q].result);
        aggregate_free(a);
    }
}

TEST(a_register_that_no_hash_could_have_is_refused)
{
    struct job_spec s = query("DISTINCT");
    struct aggregate *a = aggregate_new(&s, 1 << 20);
    struct buf partial = {0};
    buf_append(&partial, "\1\7\0\0\0\0", 6); /* version, DISTINCT, three counts, not exact */
    memset(buf_reserve(&partial, 16384), 51, 16384);
    partial.size += 16384;
    assert_int_equal(aggregate_merge(a, buf_bytes(&partial)), AGGREGATE_OK);
    partial.data[100] = 52;
    assert_int_equal(aggregate_merge(a, buf_bytes(&partial)), AGGREGATE_E_CORRUPT);
    aggregate_free(a);
    buf_deinit(&partial);
}

TEST(a_damaged_partial_is_refused_or_harmless)
{
    static const char *const line[] = {"COUNT",           "TOP 5",           "DISTINCT",
                                       "QUANTILES",       "GREP e",          "HISTOGRAM",
                                       "GROUP BY PART 2", "JOIN o* FIELD id"};
    struct prng r;
    prng_init(&r, 11);
    struct world w;
    world_init(&w, 12, 60);
    for (size_t q = 0; q < sizeof line / sizeof *line; q++) {
        struct job_spec s = query(line[q]);
        struct aggregate *a = aggregate_new(&s, 8 << 20);
        struct buf partial = {0};
        struct bytes in = buf_bytes(&w.stream[0]);
        struct record rec;
        while (record_next(&in, &rec) == RECORD_OK) (void)aggregate_feed(a, &rec);
        aggregate_encode(a, 0, 1, &partial);
        aggregate_free(a);
        for (int i = 0; i < 3000; i++) {
            size_t size = partial.size, at = prng_below(&r, size);
            uint8_t was = partial.data[at];
            bool cut = prng_below(&r, 3) == 0;
            if (cut) size = at;
            partial.data[at] = (uint8_t)prng_u64(&r);
            a = aggregate_new(&s, 8 << 20);
            struct rows rows = rows_new();
            if (aggregate_merge(a, bytes_of(partial.data, size)) == AGGREGATE_OK && i < 200)
                aggregate_finish(a, take_row, &rows);
            rows_free(&rows);
            aggregate_free(a);
            partial.data[at] = was;
        }
        buf_deinit(&partial);
    }
    world_free(&w);
}

TEST_MAIN
