/* The external sort beside qsort, with and without combining, in memory and over many runs. */
#include "test.h"
#include "base/mem.h"
#include "base/prng.h"
#include "job/sorter.h"

#include <sys/mman.h>
#include <unistd.h>

struct pair {
    uint32_t partition, order;
    char key[24];
    char value[64];
};

static int by_all(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    if (x->partition != y->partition) return x->partition < y->partition ? -1 : 1;
    int order = strcmp(x->key, y->key);
    return order ? order : (x->order > y->order) - (x->order < y->order);
}

static struct pair *pairs_new(uint64_t seed, uint32_t n, uint32_t keys)
{
    struct prng r;
    struct pair *p = mem_zalloc(n * sizeof *p);
    prng_init(&r, seed);
    for (uint32_t i = 0; i < n; i++) {
        p[i].partition = (uint32_t)prng_below(&r, 3);
        p[i].order = i;
        (void)snprintf(p[i].key, sizeof p[i].key, "%s%u",
                       prng_below(&r, 2) ? "a" : "longer-prefix-", (uint32_t)prng_below(&r, keys));
        (void)snprintf(p[i].value, sizeof p[i].value, "%u %*s", i, (int)prng_below(&r, 40), "");
    }
    return p;
}

static void add_all(struct sorter *s, const struct pair *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        assert_true(sorter_add(s, p[i].partition, bytes_str(p[i].key), bytes_str(p[i].value)));
}

static void compare(struct sorter *s, const struct pair *p, uint32_t n)
{
    struct groups *g = sorter_groups(s);
    uint32_t partition, i = 0;
    struct bytes key, value;
    assert_non_null(g);
    while (groups_next(g, &partition, &key) > 0) {
        assert_true(i == 0 || p[i].partition != p[i - 1].partition ||
                    strcmp(p[i].key, p[i - 1].key));
        while (groups_value(g, &value) > 0) {
            assert_true(i < n);
            assert_int_equal(partition, p[i].partition);
            EXPECT_BYTES(key, p[i].key);
            EXPECT_BYTES(value, p[i].value);
            i++;
        }
    }
    assert_int_equal(i, n);
    assert_int_equal(groups_next(g, &partition, &key), 0);
}

TEST(pairs_come_out_in_order_and_equal_keys_in_the_order_they_came)
{
    static const struct {
        uint32_t n, keys;
    } row[] = {{0, 1}, {1, 1}, {13, 2}, {5000, 50}, {5000, 100000}, {60000, 10}, {60000, 1000000}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        int fd = memfd_create("spill", 0);
        struct pair *p = pairs_new(i + 1, row[i].n, row[i].keys);
        struct sorter *s = sorter_new(
            &(struct sorter_options){.memory_max = 1 << 20, .spill_fd = fd, .spill_max = 1 << 30});
        add_all(s, p, row[i].n);
        if (row[i].n) qsort(p, row[i].n, sizeof *p, by_all);
        compare(s, p, row[i].n);
        assert_int_equal(sorter_spilled(s) > 0, row[i].n > 10000);
        sorter_free(s);
        mem_free(p);
        (void)close(fd);
    }
}

/* More runs than are merged at once. */
TEST(hundreds_of_runs_are_merged_in_passes)
{
    enum { N = 1200000 };
    int fd = memfd_create("spill", 0);
    struct pair *p = pairs_new(9, N, 300000);
    struct sorter *s = sorter_new(
        &(struct sorter_options){.memory_max = 1 << 20, .spill_fd = fd, .spill_max = 1u << 31});
    add_all(s, p, N);
    uint64_t once = sorter_spilled(s);
    qsort(p, N, sizeof *p, by_all);
    compare(s, p, N);
    assert_true(sorter_spilled(s) > once + once / 2); /* there was a second pass */
    sorter_free(s);
    mem_free(p);
    (void)close(fd);
}

static bool count(void *ctx, struct groups *g, uint32_t partition, struct bytes key,
                  struct sorter_run *out)
{
    struct bytes value;
    uint64_t sum = 0;
    (*(int *)ctx)++;
    while (groups_value(g, &value) > 0) sum += strtoull((const char *)value.data, NULL, 10);
    char text[30];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)sum);
    sorter_write(out, partition, key,
                 bytes_of(text, strlen(text) + 1)); /* with its NUL, for strtoull */
    return true;
}

TEST(combining_keeps_the_sums_and_spills_less)
{
    enum { N = 300000, KEYS = 50 };
    int fd = memfd_create("spill", 0), calls = 0;
    struct sorter *s = sorter_new(&(struct sorter_options){.memory_max = 1 << 20,
                                                           .spill_fd = fd,
                                                           .spill_max = 1 << 30,
                                                           .combine = count,
                                                           .ctx = &calls});
    uint64_t sum[KEYS] = {0};
    struct prng r;
    prng_init(&r, 4);
    for (int i = 0; i < N; i++) {
        char key[8], value[16];
        uint32_t k = (uint32_t)prng_below(&r, KEYS), v = (uint32_t)prng_below(&r, 1000);
        sum[k] += v;
        (void)snprintf(key, sizeof key, "k%02u", k);
        (void)snprintf(value, sizeof value, "%u", v);
        assert_true(sorter_add(s, 0, bytes_str(key), bytes_of(value, strlen(value) + 1)));
    }
    struct groups *g = sorter_groups(s);
    uint32_t partition, k = 0;
    struct bytes key, value;
    for (; groups_next(g, &partition, &key) > 0; k++) {
        uint64_t is = 0;
        while (groups_value(g, &value) > 0) is += strtoull((const char *)value.data, NULL, 10);
        assert_int_equal(is, sum[k]);
    }
    assert_int_equal(k, KEYS);
    assert_true(calls >= 2 * KEYS && sorter_spilled(s) < 100000);
    sorter_free(s);
    (void)close(fd);
}

TEST(one_key_in_three_partitions_is_three_groups)
{
    struct sorter *s = sorter_new(&(struct sorter_options){.spill_fd = -1});
    uint32_t partition;
    struct bytes key, value;
    for (uint32_t p = 0; p < 3; p++) assert_true(sorter_add(s, p, BYTES("k"), BYTES("v")));
    struct groups *g = sorter_groups(s);
    for (uint32_t p = 0; p < 3; p++) {
        assert_int_equal(groups_next(g, &partition, &key), 1);
        assert_int_equal(partition, p);
        assert_int_equal(groups_value(g, &value), 1);
        assert_int_equal(groups_value(g, &value), 0);
        assert_int_equal(groups_value(g, &value), 0);
    }
    assert_int_equal(groups_next(g, &partition, &key), 0);
    sorter_free(s);
}

TEST(a_group_may_be_left_before_its_end)
{
    struct sorter *s = sorter_new(&(struct sorter_options){.spill_fd = -1});
    struct pair *p = pairs_new(3, 1000, 10);
    uint32_t partition, groups = 0, expected = 0;
    struct bytes key, value;
    add_all(s, p, 1000);
    qsort(p, 1000, sizeof *p, by_all);
    for (int i = 0; i < 1000; i++)
        expected +=
            i == 0 || p[i].partition != p[i - 1].partition || strcmp(p[i].key, p[i - 1].key);
    struct groups *g = sorter_groups(s);
    while (groups_next(g, &partition, &key) > 0) {
        if (groups++ % 2) assert_int_equal(groups_value(g, &value), 1);
    }
    assert_int_equal(groups, expected);
    sorter_free(s);
    mem_free(p);
}

TEST(a_spill_file_that_was_cut_or_changed_is_noticed)
{
    int fd = memfd_create("spill", 0);
    struct pair *p = pairs_new(3, 60000, 1000);
    struct sorter *s = sorter_new(
        &(struct sorter_options){.memory_max = 1 << 20, .spill_fd = fd, .spill_max = 1 << 30});
    uint32_t partition;
    struct bytes key;
    int r = 1;
    add_all(s, p, 60000);
    struct groups *g = sorter_groups(s);
    assert_int_equal(ftruncate(fd, 100000), 0);
    while (g && r > 0) r = groups_next(g, &partition, &key);
    assert_true(!g || r < 0);
    assert_non_null(strstr(sorter_error(s), "the spill file"));
    sorter_free(s);
    mem_free(p);
    (void)close(fd);
}

TEST_MAIN
