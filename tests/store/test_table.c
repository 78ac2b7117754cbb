/* The ordered table: its tree, its versions and its memory. */
#include "test.h"
#include "base/buf.h"
#include "base/prng.h"
#include "store/slab.h"
#include "store/table.h"

static struct bytes key_of(uint64_t n, uint8_t *room)
{
    be64_put(room, n);
    return bytes_of(room, 8);
}

static struct bytes get(struct table *t, const char *key)
{
    struct bytes value;
    switch (table_get(t, bytes_str(key), &value, NULL)) {
    case TABLE_VALUE: return value;
    case TABLE_DELETED: return BYTES("(deleted)");
    default: return BYTES("(none)");
    }
}

static void put(struct table *t, uint64_t position, const char *key, const char *value)
{
    table_put(t, position, bytes_str(key), bytes_str(value));
    table_check(t);
}

TEST(a_slab_gives_every_size_its_room_and_reuses_what_was_freed)
{
    struct slab s;
    slab_init(&s);
    size_t before = 0;
    for (size_t size = 1; size <= SLAB_SMALL_MAX; size++) {
        assert_true(slab_room(size) >= size && slab_room(size) >= before &&
                    slab_room(slab_room(size)) == slab_room(size));
        assert_true(slab_room(size) <= size + 7 || slab_room(size) <= size + size / 4);
        before = slab_room(size);
        uint8_t *block = slab_alloc(&s, size);
        memset(block, 1, slab_room(size));
        slab_free(&s, block, size);
        assert_ptr_equal(slab_alloc(&s, size), block);
    }
    size_t held = s.bytes;
    void *big = slab_alloc(&s, 1u << 20);
    memset(big, 1, 1u << 20);
    assert_true(s.bytes >= held + (1u << 20));
    slab_free(&s, big, 1u << 20);
    assert_int_equal(s.bytes, held);
    (void)slab_alloc(&s, 1u << 20); /* freed with the slab */
    slab_deinit(&s);
}

TEST(pending_versions_hide_applied_ones_until_they_are_dropped)
{
    struct table *t = table_new(0);
    put(t, 1, "a", "old");
    table_set_applied(t, 1);
    put(t, 2, "a", "new");
    put(t, 2, "b", "born");
    table_del(t, 3, BYTES("a"));
    EXPECT_BYTES(get(t, "a"), "(deleted)");
    EXPECT_BYTES(get(t, "b"), "born");

    table_drop_pending(t);
    table_check(t);
    EXPECT_BYTES(get(t, "a"), "old");
    EXPECT_BYTES(get(t, "b"), "(none)");
    put(t, 2, "a", "another"); /* another leader's entry at the same position */
    table_set_applied(t, 2);
    EXPECT_BYTES(get(t, "a"), "another");
    table_free(t);
}

TEST(a_wipe_deletes_what_was_written_before_it_even_in_its_own_entry)
{
    struct table *t = table_new(0);
    put(t, 1, "a", "1");
    table_set_applied(t, 1);
    put(t, 2, "b", "2");
    table_wipe(t, 2);
    put(t, 2, "c", "3");
    EXPECT_BYTES(get(t, "a"), "(deleted)");
    EXPECT_BYTES(get(t, "b"), "(deleted)");
    EXPECT_BYTES(get(t, "c"), "3");
    assert_int_equal(table_wiped(t, UINT64_MAX), 2);
    assert_int_equal(table_wiped(t, 1), 0);

    table_drop_pending(t);
    table_check(t);
    EXPECT_BYTES(get(t, "a"), "1");
    EXPECT_BYTES(get(t, "b"), "(none)");
    assert_int_equal(table_wiped(t, UINT64_MAX), 0);
    table_free(t);
}

TEST(a_counter_written_a_million_times_holds_a_few_versions)
{
    struct table *t = table_new(0);
    char text[24];
    for (uint64_t i = 1; i <= 1000000; i++) {
        (void)snprintf(text, sizeof text, "%llu", (unsigned long long)i);
        table_put(t, i, BYTES("counter"), bytes_str(text));
        if (i >= 100)
            table_set_applied(t, i - 99); /* a window of pending entries, as a leader has */
    }
    EXPECT_BYTES(get(t, "counter"), "1000000");
    assert_true(table_bytes(t) < 20000);
    table_check(t);
    table_free(t);
}

TEST(writes_at_a_position_that_is_applied_already_leave_no_older_version)
{
    struct table *t = table_new(0);
    uint8_t room[8];
    for (uint64_t i = 1; i <= 100000; i++) {
        table_set_applied(t, i);
        table_put(t, i, BYTES("counter"), key_of(i, room));
        assert_false(table_has_pending(t));
    }
    table_check(t);
    assert_true(table_bytes(t) < 10000);
    table_free(t);
}

TEST(a_large_value_rewritten_for_ever_does_not_pile_up)
{
    struct table *t = table_new(0);
    uint8_t *large = calloc(1, 3u << 20);
    for (uint64_t i = 1; i <= 100; i++) {
        table_put(t, i, BYTES("large"), bytes_of(large, (3u << 20) - i));
        table_set_applied(t, i);
    }
    assert_true(table_bytes(t) < 4u << 20);
    free(large);
    table_free(t);
}

TEST(a_value_may_be_written_back_from_the_table_itself)
{
    struct table *t = table_new(0);
    struct bytes value;
    put(t, 1, "a", "abcdefgh");
    assert_int_equal(table_get(t, BYTES("a"), &value, NULL), TABLE_VALUE);
    table_put(t, 1, BYTES("a"), bytes_of(value.data + 1, 7)); /* same room: in place */
    EXPECT_BYTES(get(t, "a"), "bcdefgh");
    table_set_applied(t, 1);
    assert_int_equal(table_get(t, BYTES("a"), &value, NULL), TABLE_VALUE);
    table_put(t, 2, BYTES("b"), value);
    EXPECT_BYTES(get(t, "b"), "bcdefgh");
    table_free(t);
}

TEST(splitting_off_the_pending_writes_leaves_two_tables_that_stack_to_the_same)
{
    struct table *t = table_new(0);
    put(t, 1, "a", "1");
    put(t, 1, "b", "1");
    table_trash(t, 1, BYTES("x"));
    table_set_applied(t, 1);
    put(t, 2, "b", "2");
    table_trash(t, 2, BYTES("y"));
    table_wipe(t, 3);
    put(t, 4, "c", "4");

    struct table *young = table_split_pending(t);
    table_check(t), table_check(young);
    assert_false(table_has_pending(t));
    EXPECT_BYTES(get(t, "a"), "1");
    EXPECT_BYTES(get(t, "b"), "1");
    EXPECT_BYTES(get(t, "c"), "(none)");
    EXPECT_BYTES(get(young, "b"), "(deleted)");
    EXPECT_BYTES(get(young, "c"), "4");
    assert_int_equal(table_wiped(young, UINT64_MAX), 3);
    assert_int_equal(table_wiped(t, UINT64_MAX), 0);
    struct bytes trash[2];
    assert_int_equal(table_trashed(t, UINT64_MAX, trash), 1);
    EXPECT_BYTES(trash[0], "x");
    assert_int_equal(table_trashed(young, UINT64_MAX, trash), 1);
    EXPECT_BYTES(trash[0], "y");

    table_drop_pending(young);
    assert_int_equal(table_keys(young), 0);
    assert_false(table_has_applied(young));
    table_free(t);
    table_free(young);
}

/* Keys of shapes that make nodes share prefixes, lose them again, and compare equal in their
 * numbers. */
static struct bytes odd_key(struct prng *r, uint8_t *room)
{
    size_t size = 0;
    static const char *stem[] = {"", "m", "mmmmmmmmmmmm",
                                 "mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm",
                                 "s\0\0\0\0\0\0\0\0"};
    static const uint8_t stem_size[] = {0, 1, 12, 50, 9};
    size_t which = prng_below(r, 5);
    memcpy(room, stem[which], stem_size[which]);
    size = stem_size[which];
    for (size_t more = prng_below(r, 5); more > 0; more--)
        room[size++] = (uint8_t)(prng_below(r, 4) * 85);
    if (prng_below(r, 2)) {
        uint64_t n = prng_below(r, 3000);
        room[size++] = (uint8_t)(n >> 8);
        room[size++] = (uint8_t)n;
    }
    return bytes_of(room, size);
}

enum { MODEL = 40000 };

struct model {
    struct bytes key[MODEL];
    uint64_t value[MODEL];
    size_t count;
};

static size_t model_lower(const struct model *m, struct bytes key)
{
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (bytes_compare(m->key[middle], key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void model_put(struct model *m, struct bytes key, uint64_t value)
{
    size_t at = model_lower(m, key);
    if (at == m->count || !bytes_equal(m->key[at], key)) {
        memmove(m->key + at + 1, m->key + at, (m->count - at) * sizeof *m->key);
        memmove(m->value + at + 1, m->value + at, (m->count - at) * sizeof *m->value);
        uint8_t *copy = malloc(key.size + 1);
        memcpy(copy, key.data, key.size);
        m->key[at] = bytes_of(copy, key.size);
        m->count++;
    }
    m->value[at] = value;
}

static void check_number(struct bytes value, uint64_t n)
{
    assert_int_equal(value.size, 8);
    assert_true(be64_get(value.data) == n);
}

TEST(the_tree_agrees_with_a_sorted_array_on_keys_of_awkward_shapes)
{
    struct model *m = calloc(1, sizeof *m);
    struct table *t = table_new(0);
    struct prng r;
    prng_init(&r, 7);
    uint8_t room[80], text[8];
    struct bytes key, value;

    for (uint64_t i = 1; i <= 40000; i++) {
        key = odd_key(&r, room);
        be64_put(text, i);
        table_put(t, i, key, bytes_of(text, 8));
        table_set_applied(t, i);
        model_put(m, key, i);
        if (i % 5000 == 0) table_check(t);
        key = odd_key(&r, room);
        size_t at = model_lower(m, key);
        bool there = at < m->count && bytes_equal(m->key[at], key);
        assert_int_equal(table_get(t, key, &value, NULL), there ? TABLE_VALUE : TABLE_NONE);
        if (there) check_number(value, m->value[at]);
    }
    assert_int_equal(table_keys(t), m->count);
    assert_true(m->count > 5000);

    for (int i = 0; i < 2000; i++) { /* seeks, forward and backward */
        key = odd_key(&r, room);
        size_t at = model_lower(m, key);
        struct table_cursor c;
        struct bytes k;
        table_seek(t, key, UINT64_MAX, &c);
        for (size_t j = at; j < at + 70; j++) {
            assert_int_equal(table_next(&c, &k, &value), j < m->count ? TABLE_VALUE : TABLE_NONE);
            if (j >= m->count) break;
            assert_true(bytes_equal(k, m->key[j]));
            check_number(value, m->value[j]);
        }
        table_seek(t, key, UINT64_MAX, &c);
        for (size_t j = at; j + 70 > at; j--) {
            assert_int_equal(table_prev(&c, &k, &value), j > 0 ? TABLE_VALUE : TABLE_NONE);
            if (j == 0) break;
            assert_true(bytes_equal(k, m->key[j - 1]));
        }
    }
    for (size_t i = 0; i < m->count; i++) free((void *)(uintptr_t)m->key[i].data);
    free(m);
    table_free(t);
}

TEST(keys_that_rise_fill_their_leaves_and_dropping_them_all_leaves_nothing)
{
    struct table *t = table_new(0);
    uint8_t room[8];
    for (uint64_t i = 0; i < 100000; i++) table_put(t, 1, key_of(i, room), (struct bytes){0});
    table_check(t);
    /* 16 bytes of head, 8 of key, 17 of a full leaf, 11 of the list of pending writes; little else
     */
    assert_true(table_bytes(t) < 100000 * (16 + 8 + 17 + 11 + 4));
    table_drop_pending(t);
    table_check(t);
    assert_int_equal(table_keys(t), 0);
    struct table_cursor c;
    struct bytes k, v;
    table_seek(t, key_of(5, room), UINT64_MAX, &c);
    assert_int_equal(table_next(&c, &k, &v), TABLE_NONE);
    for (uint64_t i = 0; i < 1000; i++)
        table_put(t, 1, key_of(i * 77 % 1000, room), (struct bytes){0}); /* into emptied leaves */
    table_check(t);
    assert_int_equal(table_keys(t), 1000);
    table_free(t);
}

TEST(memory_beyond_keys_and_values_stays_below_48_bytes_a_key)
{
    struct table *t = table_new(0);
    struct prng r;
    prng_init(&r, 3);
    uint8_t room[24] = {0}, value[100] = {0};
    for (uint64_t i = 1; i <= 200000; i++) {
        be64_put(room, prng_u64(&r));
        be64_put(room + 8, i);
        table_put(t, i, bytes_of(room, 20), bytes_of(value, sizeof value));
        table_set_applied(t, i);
    }
    size_t overhead = table_bytes(t) / 200000 - 120;
    if (overhead > 48) fail_msg("%zu bytes a key", overhead);
    table_free(t);
}

TEST_MAIN
