/* Snapshots of the whole database, on a cluster of the real node code: what is in them, whatever
 * happens since and meanwhile; and what is left of a cut whose coordinator or leaders die. */
#include "cluster.h"

#include "base/prng.h"
#include "ring/ring.h"
#include "ring/slot.h"

/* ---- replies ---- */

/* One item after another of a reply: bulks, numbers, errors; the heads of arrays are passed over.
 */
struct items {
    struct bytes rest;
};

static bool item_next(struct items *i, struct bytes *out)
{
    for (;;) {
        const uint8_t *end = i->rest.size ? memchr(i->rest.data, '\n', i->rest.size) : NULL;
        if (!end) return false;
        size_t line = (size_t)(end - i->rest.data) + 1;
        uint8_t type = i->rest.data[0];
        int64_t size = 0;
        *out = bytes_of(i->rest.data + 1, line - 3);
        if (type == '$' || type == '*') assert_true(bytes_to_i64(*out, &size));
        i->rest = bytes_of(i->rest.data + line, i->rest.size - line);
        if (type == '*') continue;
        if (type != '$') return true;
        *out = bytes_of(i->rest.data, (size_t)size);
        i->rest = bytes_of(i->rest.data + size + 2, i->rest.size - (size_t)size - 2);
        return true;
    }
}

/* ---- snapshots ---- */

struct snapshot {
    char id[17];
};

/* False: the error is in `why`. */
static bool create_as(struct client *k, const char *line, struct snapshot *s, char why[200])
{
    struct buf reply = {0};
    struct bytes r, id;
    client_say(k, "%s", line);
    r = client_reply(k, &reply);
    bool good = r.data[0] == '$';
    (void)snprintf(why, 200, "%.*s", (int)r.size, (const char *)r.data);
    if (good) {
        assert_true(item_next(&(struct items){r}, &id));
        assert_int_equal(id.size, 16);
        (void)snprintf(s->id, sizeof s->id, "%.*s", (int)id.size, (const char *)id.data);
    }
    buf_deinit(&reply);
    return good;
}

static struct snapshot create(struct client *k)
{
    struct snapshot s;
    char why[200];
    if (!create_as(k, "SNAPSHOT CREATE", &s, why)) fail_msg("no snapshot: %s", why);
    return s;
}

static int64_t field(struct client *k, const char *line, const char *name)
{
    struct buf reply = {0};
    struct items i;
    struct bytes item;
    int64_t value = -1;
    client_say(k, "%s", line);
    i = (struct items){client_reply(k, &reply)};
    while (value < 0 && item_next(&i, &item))
        if (bytes_equal(item, bytes_str(name)) && item_next(&i, &item))
            assert_true(bytes_to_i64(item, &value));
    buf_deinit(&reply);
    return value;
}

/* A number in INFO. */
static int64_t info(struct client *k, const char *name)
{
    struct buf reply = {0};
    client_say(k, "INFO snapshots");
    (void)client_reply(k, &reply);
    buf_u8(&reply, 0);
    const char *at = strstr((const char *)reply.data, name);
    assert_non_null(at);
    int64_t value = strtoll(at + strlen(name) + 1, NULL, 10);
    buf_deinit(&reply);
    return value;
}

typedef void on_record(void *ctx, struct bytes key, struct bytes type, struct bytes value);

/* One split, through a client; false: that node has it not. Of collections the value is the number
 * of items. */
static bool scan_split(struct client *k, const struct snapshot *s, const char *split, int count,
                       on_record *each, void *ctx)
{
    struct buf reply = {0};
    char cursor[24] = "0";
    do {
        client_say(k, "SNAPSHOT SCAN %s %s %s COUNT %d WITHVALUES", s->id, split, cursor, count);
        struct bytes r = client_reply(k, &reply), item, key, type, value;
        if (r.data[0] == '-') {
            assert_true(memcmp(r.data, "-NOSNAPSHOT", 11) == 0);
            buf_deinit(&reply);
            return false;
        }
        struct items i = {r};
        assert_true(item_next(&i, &item));
        (void)snprintf(cursor, sizeof cursor, "%.*s", (int)item.size, (const char *)item.data);
        while (item_next(&i, &key)) {
            assert_true(item_next(&i, &type));
            int64_t items = 0;
            bool string = bytes_equal(type, BYTES("string"));
            if (!string) {
                const uint8_t *end = memchr(i.rest.data, '\r', i.rest.size);
                assert_true(bytes_to_i64(bytes_of(i.rest.data + 1, (size_t)(end - i.rest.data) - 1),
                                         &items));
                value = bytes_of(i.rest.data + 1, (size_t)(end - i.rest.data) - 1);
                for (int64_t n = 0; n < items; n++) assert_true(item_next(&i, &item));
            } else {
                assert_true(item_next(&i, &value));
            }
            each(ctx, key, type, value);
        }
    } while (strcmp(cursor, "0") != 0);
    buf_deinit(&reply);
    return true;
}

/* All of it: each split from the first node that has it, beginning with `first`. */
static void scan_all(struct cluster *c, const struct snapshot *s, uint32_t first, int splits,
                     on_record *each, void *ctx)
{
    struct client *k[CLUSTER_MAX] = {0};
    struct buf reply = {0};
    uint32_t slots = 0;
    for (uint32_t n = 0; n < c->nodes; n++)
        if (c->member[n].node) k[n] = client_open(c, n);
    struct client *ask = k[first] ? k[first] : k[(first + 1) % c->nodes];
    client_say(ask, "SNAPSHOT SPLITS %s %d", s->id, splits);
    struct items i = {client_reply(ask, &reply)};
    struct bytes item;
    while (item_next(&i, &item)) {
        char split[24];
        int lo, hi;
        (void)snprintf(split, sizeof split, "%.*s", (int)item.size, (const char *)item.data);
        if (strchr(split, ':')) continue; /* an address */
        assert_int_equal(sscanf(split, "%d-%d", &lo, &hi), 2);
        assert_int_equal(lo, slots);
        slots = (uint32_t)hi + 1;
        bool found = false;
        for (uint32_t n = 0; n < c->nodes && !found; n++) {
            struct client *at = k[(first + n) % c->nodes];
            found = at && scan_split(at, s, split, 1 + (int)n * 3, each, ctx);
        }
        if (!found) fail_msg("nobody has slots %s of snapshot %s", split, s->id);
    }
    assert_int_equal(slots, SLOT_COUNT);
    for (uint32_t n = 0; n < c->nodes; n++)
        if (k[n]) client_close(k[n]);
    buf_deinit(&reply);
}

static void print_record(void *ctx, struct bytes key, struct bytes type, struct bytes value)
{
    buf_printf(ctx, "%.*s:%.*s:%.*s ", (int)key.size, (const char *)key.data, (int)type.size,
               (const char *)type.data, (int)value.size, (const char *)value.data);
}

static void expect_all(struct cluster *c, const struct snapshot *s, uint32_t first, int splits,
                       const char *text)
{
    struct buf got = {0};
    scan_all(c, s, first, splits, print_record, &got);
    EXPECT_BYTES(buf_bytes(&got), text);
    buf_deinit(&got);
}

/* ---- what is in a snapshot ---- */

/* Slots: b 3300, c 7365, d 11298, a 15495; h 11694. */
TEST(a_snapshot_stays_as_it_was_on_every_replica)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 1);
    client_says(k, "MSET a 1 b 2 c 3 d 4", "+OK\r\n");
    client_says(k, "HSET h f v g w", ":2\r\n");
    client_unpack(k, "h");
    client_says(k, "PSETEX gone 10 x", "+OK\r\n");
    cluster_run(&c, 100);
    struct snapshot s = create(k);
    const char *then = "b:string:2 c:string:3 d:string:4 h:hash:4 a:string:1 ";
    for (uint32_t n = 0; n < 3; n++) expect_all(&c, &s, n, 1 + 7 * (int)n, then);
    client_says(k, "MSET a 9 e 5", "+OK\r\n");
    client_says(k, "DEL b h", ":2\r\n");
    client_says(k, "HSET h other 1", ":1\r\n");
    for (uint32_t n = 0; n < 3; n++) expect_all(&c, &s, n, 4, then);
    struct snapshot second = create(k);
    client_says(k, "FLUSHALL", "+OK\r\n");
    for (uint32_t n = 0; n < 3; n++) {
        expect_all(&c, &s, n, 40, then);
        expect_all(&c, &second, n, 4, "c:string:3 d:string:4 h:hash:2 e:string:5 a:string:9 ");
    }
    cluster_deinit(&c);
}

/* Found by the simulator (seed 20340): a leader took the time of its next batch, which is later
 * than that of the cut, for what had expired in it. */
TEST(what_has_expired_in_a_snapshot_is_the_same_on_every_replica)
{
    struct cluster c;
    cluster_init(&c, 3, 1, 3);
    struct client *k = client_open(&c, cluster_leader(&c, 0)), *busy = client_open(&c, 0);
    for (uint32_t a = 0; a < 3; a++)
        for (uint32_t b = 0; b < 3; b++) world_link(c.w, a, b)->latency_ns = 15 * MILLISECOND;
    for (int i = 0; i < 100; i++) client_say(k, "SET e%d %d PX %d", i, i, 20 + 10 * i);
    for (int i = 0; i < 100; i++) client_expect(k, "+OK\r\n");
    client_say(k, "SNAPSHOT CREATE");
    for (int i = 0; i < 100; i++) {
        client_say(busy, "INCR n");
        cluster_run(&c, 1);
    }
    struct snapshot s = {0};
    struct buf reply = {0}, all[3] = {0};
    (void)snprintf(s.id, sizeof s.id, "%.16s", (const char *)client_reply(k, &reply).data + 5);
    for (uint32_t n = 0; n < 3; n++) scan_all(&c, &s, n, 1, print_record, &all[n]);
    assert_true(all[0].size > 100);
    for (uint32_t n = 1; n < 3; n++)
        assert_true(bytes_equal(buf_bytes(&all[0]), buf_bytes(&all[n])));
    for (uint32_t n = 0; n < 3; n++) buf_deinit(&all[n]);
    buf_deinit(&reply);
    cluster_deinit(&c);
}

TEST(a_scan_takes_what_it_is_asked_for)
{
    struct cluster c;
    cluster_init(&c, 3, 1, 3);
    struct client *k = client_open(&c, 0);
    client_says(k, "MSET a 1 b 2", "+OK\r\n");
    client_says(k, "HSET bh f v", ":1\r\n");
    struct snapshot s = create(k);
    char line[100];
    struct {
        const char *words, *reply;
    } asks[] = {
        {"0-16383 0 MATCH b*", "*2\r\n$1\r\n0\r\n*2\r\n$2\r\nbh\r\n$1\r\nb\r\n"},
        {"0-16383 0 TYPE hash", "*2\r\n$1\r\n0\r\n*1\r\n$2\r\nbh\r\n"},
        {"0-16383 0 TYPE hash MATCH a WITHVALUES", "*2\r\n$1\r\n0\r\n*0\r\n"},
        {"0-16383 0 WITHVALUES MATCH bh",
         "*2\r\n$1\r\n0\r\n*3\r\n$2\r\nbh\r\n$4\r\nhash\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"},
        {"3300-3300 0", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nb\r\n"},
        {"0-16383 4611686018427387904", "*2\r\n$1\r\n0\r\n*0\r\n"},
        {"0-16384 0", "-ERR a split is as SNAPSHOT SPLITS gives it: first-last, of slots\r\n"},
        {"5 0", "-ERR a split is as SNAPSHOT SPLITS gives it: first-last, of slots\r\n"},
        {"0-16383 x", "-ERR invalid cursor\r\n"},
        {"0-16383 0 COUNT 0", "-ERR syntax error\r\n"},
        {"0-16383 0 WITH", "-ERR syntax error\r\n"},
    };
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        (void)snprintf(line, sizeof line, "SNAPSHOT SCAN %s %s", s.id, asks[i].words);
        client_says(k, line, asks[i].reply);
    }
    client_says(k, "SNAPSHOT SPLITS 0123456789abcdef 4",
                "-NOSNAPSHOT there is no such snapshot: its time is over, or it was dropped\r\n");
    client_says(k, "SNAPSHOT INFO x",
                "-ERR a snapshot's id is as SNAPSHOT CREATE and LIST give it: 16 hexadecimal "
                "digits\r\n");
    client_says(k, "SNAPSHOT CREATE TTL 0", "-ERR a snapshot is kept for 1 to 86400 seconds\r\n");
    client_says(k, "SNAPSHOT CREATE TTL", "-ERR syntax error\r\n");
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "SNAPSHOT LIST", "-ERR Command not allowed inside a transaction\r\n");
    client_says(k, "DISCARD", "+OK\r\n");
    cluster_deinit(&c);
}

/* ---- transactions ---- */

static const char *const account[] = {"a", "b", "c", "d"};

struct bank {
    int64_t sum;
    int found;
};

static void add_account(void *ctx, struct bytes key, struct bytes type, struct bytes value)
{
    struct bank *b = ctx;
    int64_t v;
    (void)key, (void)type;
    assert_true(bytes_to_i64(value, &v));
    b->sum += v;
    b->found++;
}

/* What was under way is in it whole, or not at all. */
static void expect_sum(struct cluster *c, const struct snapshot *s, int64_t sum)
{
    struct bank b = {0};
    scan_all(c, s, 0, 8, add_account, &b);
    assert_int_equal(b.sum, sum);
    assert_int_equal(b.found, 4);
}

static void say_transfer(struct client *k, int from, int to)
{
    client_say(k, "MULTI");
    client_say(k, "DECRBY %s 3", account[from]);
    client_say(k, "INCRBY %s 3", account[to]);
    client_say(k, "EXEC");
}

TEST(transfers_under_way_are_in_a_cut_whole_or_not_at_all)
{
    struct cluster c;
    struct buf reply = {0};
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0), *t[6];
    client_says(k, "MSET a 100 b 100 c 100 d 100", "+OK\r\n");
    for (int i = 0; i < 6; i++) t[i] = client_open(&c, (uint32_t)i % 3);
    for (uint32_t n = 0; n < 3; n++) world_disk(c.w, n)->write_ns = 4000000;
    int64_t pending = 0;
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 6; i++)
            say_transfer(t[i], (i + round) % 4, (i + round + 1 + i % 3) % 4);
        cluster_run(&c, (uint64_t)round / 2);
        struct snapshot s = create(k);
        char line[64];
        (void)snprintf(line, sizeof line, "SNAPSHOT INFO %s", s.id);
        pending += field(k, line, "transactions");
        expect_sum(&c, &s, 400);
        (void)snprintf(line, sizeof line, "SNAPSHOT DROP %s", s.id);
        client_says(k, line, ":1\r\n");
        for (int i = 0; i < 6; i++)
            for (int n = 0; n < 4; n++) (void)client_reply(t[i], &reply);
    }
    assert_true(pending > 20); /* else this showed nothing */
    buf_deinit(&reply);
    cluster_deinit(&c);
}

/* ---- those who die ---- */

/* Writes of two clients to keys of all groups, one of them over groups, go on: answered within the
 * time that a hold may take, and a little. */
static void expect_goes_on(struct cluster *c, uint32_t node)
{
    struct client *k = client_open(c, node);
    uint64_t since = world_now(c->w);
    for (int i = 0; i < 4; i++) {
        client_say(k, "INCRBY %s 0", account[i]);
        client_expect(k, ":100\r\n");
    }
    if (world_now(c->w) - since > 600 * MILLISECOND)
        fail_msg("held for %llu ms", (unsigned long long)((world_now(c->w) - since) / 1000000));
    client_close(k);
}

TEST(a_coordinator_that_dies_leaves_nothing_held)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    client_says(k, "MSET a 100 b 100 c 100 d 100", "+OK\r\n");
    client_close(k);
    for (int steps = 0; steps < 40; steps += 2) {
        k = client_open(&c, 0);
        cluster_run(&c, 5);
        client_say(k, "SNAPSHOT CREATE TTL 5");
        for (int i = 0; i < steps; i++) world_run(c.w, world_now(c.w) + 100000, NULL);
        cluster_kill(&c, 0);
        client_close(k);
        cluster_settle(&c);
        expect_goes_on(&c, 1);
        k = client_open(&c, 2);
        struct snapshot s = create(k);
        expect_sum(&c, &s, 400);
        cluster_start(&c, 0);
        cluster_settle(&c);
        cluster_run(&c, 500);
    }
    k = client_open(&c, 1);
    cluster_run(&c, 12000); /* what those who died had asked to be kept has had its time */
    int64_t kept = info(k, "snapshot_states_kept");
    struct buf reply = {0};
    client_say(k, "SNAPSHOT LIST");
    struct items i = {client_reply(k, &reply)};
    struct bytes item;
    int64_t there = 0;
    while (item_next(&i, &item)) there += bytes_equal(item, BYTES("id"));
    assert_true(there >= 20 && kept == there * 4);
    buf_deinit(&reply);
    cluster_deinit(&c);
}

/* Nobody is told of a cut that a group did not hold for. */
TEST(a_leader_that_dies_makes_an_attempt_void_and_another_one_is_made)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    int64_t voided = 0;
    char why[200];
    client_says(k, "MSET a 100 b 100 c 100 d 100", "+OK\r\n");
    for (int steps = 0; steps < 40; steps += 2) {
        struct client *t = client_open(&c, 0);
        struct snapshot s;
        cluster_run(&c, 400); /* groups that were held have rested */
        say_transfer(t, 0, 1);
        client_say(k, "SNAPSHOT CREATE");
        for (int i = 0; i < steps; i++) world_run(c.w, world_now(c.w) + 100000, NULL);
        cluster_kill(&c, 1 + (uint32_t)steps / 2 % 2);
        if (create_as(k, "PING", &s, why)) expect_sum(&c, &s, 400);
        if (strncmp(why, "-TRYAGAIN", 9) != 0 && why[0] != '$') fail_msg("%s", why);
        client_close(t);
        cluster_start(&c, 1 + (uint32_t)steps / 2 % 2);
        cluster_settle(&c);
        client_expect(k, "+PONG\r\n");
    }
    voided = info(k, "snapshot_cuts_void");
    assert_true(voided > 5);
    assert_true(info(k, "snapshot_cuts_made") > 10);
    cluster_deinit(&c);
}

TEST(a_cut_does_without_a_node_that_is_dead)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    client_says(k, "MSET a 100 b 100 c 100 d 100", "+OK\r\n");
    cluster_kill(&c, 2);
    cluster_settle(&c);
    struct snapshot s = create(k);
    expect_sum(&c, &s, 400);
    cluster_deinit(&c);
}

/* The coordinator sleeps in the midst of it: what is held elsewhere runs out by itself, and it does
 * not take for a cut what was not held. */
TEST(a_hold_runs_out)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0), *w = client_open(&c, 1);
    uint64_t longest = 0;
    client_says(k, "MSET a 100 b 100 c 100 d 100", "+OK\r\n");
    for (int steps = 0; steps < 30; steps += 3) {
        struct snapshot s;
        char why[200];
        cluster_run(&c, 2000);
        client_say(k, "SNAPSHOT CREATE");
        for (int i = 0; i < steps; i++) world_run(c.w, world_now(c.w) + 100000, NULL);
        world_pause(c.w, 0, 700 * MILLISECOND);
        for (int i = 0; i < 4; i++) {
            uint32_t group = (uint32_t)slot_of(bytes_str(account[i])) * 4 / SLOT_COUNT;
            if (cluster_leader(&c, group) == 0) continue;
            uint64_t since = world_now(c.w);
            client_say(w, "INCRBY %s 0", account[i]);
            client_expect(w, ":100\r\n");
            if (longest < world_now(c.w) - since) longest = world_now(c.w) - since;
        }
        if (create_as(k, "PING", &s, why)) expect_sum(&c, &s, 400);
        client_expect(k, "+PONG\r\n");
    }
    assert_true(longest > 200 * MILLISECOND && longest < 300 * MILLISECOND);
    cluster_deinit(&c);
}

TEST(two_cuts_at_once_are_made_one_after_the_other)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k[3];
    struct snapshot s;
    char why[200];
    for (uint32_t n = 0; n < 3; n++) k[n] = client_open(&c, n);
    client_says(k[0], "MSET a 100 b 100 c 100 d 100", "+OK\r\n");
    for (int round = 0; round < 5; round++) {
        for (int n = 0; n < 3; n++) client_say(k[n], "SNAPSHOT CREATE TTL 3");
        for (int n = 0; n < 3; n++) {
            if (!create_as(k[n], "PING", &s, why)) fail_msg("%s", why);
            expect_sum(&c, &s, 400);
            client_expect(k[n], "+PONG\r\n");
        }
    }
    int64_t voided = 0;
    for (int n = 0; n < 3; n++) voided += info(k[n], "snapshot_cuts_void");
    assert_true(voided > 5);
    cluster_deinit(&c);
}

/* ---- what followed something is not in a cut without it ---- */

struct pair {
    int64_t x, y;
};

static void find_pair(void *ctx, struct bytes key, struct bytes type, struct bytes value)
{
    struct pair *p = ctx;
    (void)type;
    if (bytes_equal(key, BYTES("x"))) (void)bytes_to_i64(value, &p->x);
    if (bytes_equal(key, BYTES("y"))) (void)bytes_to_i64(value, &p->y);
}

/* A number, if it comes within so many ms. */
static bool comes(struct client *k, uint64_t ms, int64_t *number)
{
    for (uint64_t i = 0; i < ms && !k->got.size; i++)
        world_run(k->cluster->w, world_now(k->cluster->w) + MILLISECOND, NULL);
    if (!k->got.size) return false;
    struct buf reply = {0};
    struct items i = {client_reply(k, &reply)};
    struct bytes item;
    bool good = item_next(&i, &item) && bytes_to_i64(item, number);
    buf_deinit(&reply);
    return good;
}

/* x is of slot 16287, of the last group, y of slot 12222: of the one before it. The coordinator is
 * node 1; some time after it began, its word reaches the leader of y no more, for `late` ms.
 * Meanwhile x is written, and read as `read` says: whoever learns of that writes it to y at once.
 */
static void write_and_follow(struct cluster *c, int steps, uint64_t late, const char *read,
                             uint32_t reader)
{
    struct client *k = client_open(c, 0), *wx, *rx, *wy;
    uint32_t leads_x = cluster_leader(c, 5), leads_y = cluster_leader(c, 4);
    struct snapshot s;
    char why[200];
    int64_t number = 0, was = 0;
    assert_true(leads_x != 0 && leads_y != 0 && leads_x != leads_y);
    wx = client_open(c, leads_x), wy = client_open(c, leads_y);
    rx = client_open(c, reader == UINT32_MAX ? leads_x : reader);
    cluster_run(c, 1200); /* all are connected, and have rested */
    client_says(rx, "READONLY MAXLAG 5000", "+OK\r\n");
    client_say(rx, "GET x");
    (void)comes(rx, 1000, &was);
    client_say(k, "SNAPSHOT CREATE TTL 5");
    for (int i = 0; i < steps; i++) world_run(c->w, world_now(c->w) + 50000, NULL);
    world_block(c->w, 0, leads_y, true);
    uint64_t until = world_now(c->w) + late * MILLISECOND;
    client_say(wx, "INCR x");
    bool told = false;
    while (!told && world_now(c->w) + 2 * MILLISECOND < until) {
        world_run(c->w, world_now(c->w) + MILLISECOND, NULL);
        if (read) client_say(rx, "%s", read);
        told = read ? comes(rx, 2, &number) && number > was : comes(wx, 2, &number);
    }
    if (told) client_say(wy, "SET y %d", (int)number);
    if (world_now(c->w) + 5 * MILLISECOND < until) cluster_run(c, 3);
    world_block(c->w, 0, leads_y, false);
    if (create_as(k, "PING", &s, why)) {
        struct pair p = {0};
        scan_all(c, &s, 0, 4, find_pair, &p);
        if (p.y > p.x) fail_msg("steps %d: y is %d, and x %d", steps, (int)p.y, (int)p.x);
    } else if (strncmp(why, "-TRYAGAIN", 9) != 0) {
        fail_msg("%s", why);
    }
    cluster_run(c, 300);
    client_close(k), client_close(wx), client_close(rx), client_close(wy);
}

static void follow(uint64_t late, const char *read, uint32_t reader, int from, int to)
{
    struct cluster c;
    cluster_init(&c, 3, 6, 3);
    cluster_run(&c, 3000);
    for (int steps = from; steps < to; steps += 2) write_and_follow(&c, steps, late, read, reader);
    cluster_deinit(&c);
}

TEST(a_cut_has_y_only_with_x_that_was_acknowledged_before_it)
{
    follow(60, NULL, UINT32_MAX, 2, 26);
}

TEST(a_cut_has_y_only_with_x_that_was_read_before_it)
{
    follow(60, "GET x", UINT32_MAX, 2, 26);
}

TEST(a_cut_has_y_only_with_x_that_a_readonly_client_saw_before_it)
{
    follow(60, "GET x", 0, 2, 26);
}

TEST(who_held_for_too_long_says_so)
{
    follow(270, NULL, UINT32_MAX, 4, 20);
}

/* ---- groups that change ---- */

static void count_key(void *ctx, struct bytes key, struct bytes type, struct bytes value)
{
    (void)key, (void)type, (void)value;
    ++*(int *)ctx;
}

static void cuts_while(struct cluster *c, const char *change, int groups)
{
    struct client *k = client_open(c, 0), *oper = client_open(c, 1);
    struct buf reply = {0};
    char why[200], line[64];
    struct snapshot s;
    int made = 0;
    client_say(oper, "%s", change);
    for (int i = 0; i < 12; i++) {
        cluster_run(c, 60);
        if (!create_as(k, "SNAPSHOT CREATE", &s, why)) {
            assert_true(strncmp(why, "-TRYAGAIN", 9) == 0);
            continue;
        }
        int keys = 0;
        scan_all(c, &s, (uint32_t)i % 3, 16, count_key, &keys); /* all slots, once each */
        assert_int_equal(keys, 300);
        (void)snprintf(line, sizeof line, "SNAPSHOT DROP %s", s.id);
        made++;
        if (i < 11) client_says(k, line, ":1\r\n");
    }
    assert_true(made > 6);
    struct bytes r = client_reply(oper, &reply);
    if (r.data[0] != ':') fail_msg("%s: %.*s", change, (int)r.size, (const char *)r.data);
    (void)snprintf(line, sizeof line, "SNAPSHOT INFO %s", s.id);
    assert_int_equal(field(k, line, "groups"), groups);
    client_close(k), client_close(oper);
    buf_deinit(&reply);
}

TEST(splits_and_merges_leave_no_slot_out_of_a_cut_and_none_twice)
{
    struct cluster c;
    cluster_init(&c, 3, 2, 3);
    cluster_run(&c, 2000);
    struct client *k = client_open(&c, 0);
    for (int i = 0; i < 300; i++) {
        client_say(k, "SET key%d %0100d", i, i);
        client_expect(k, "+OK\r\n");
    }
    struct snapshot old = create(k);
    cuts_while(&c, "SYNOD GROUP SPLIT 0", 3);
    cuts_while(&c, "SYNOD GROUP SPLIT 1", 4);
    cuts_while(&c, "SYNOD GROUP MERGE 1", 3);
    int keys = 0;
    scan_all(&c, &old, 1, 4, count_key, &keys);
    assert_int_equal(keys, 300);
    cluster_deinit(&c);
}

/* ---- how long it is there ---- */

TEST(a_snapshot_goes_with_its_time_and_when_it_is_dropped)
{
    struct cluster c;
    struct snapshot s, t;
    char why[200], line[64];
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0), *other = client_open(&c, 2);
    client_says(k, "MSET a 100 b 100 c 100 d 100", "+OK\r\n");
    assert_true(create_as(k, "SNAPSHOT CREATE TTL 2", &s, why));
    cluster_run(&c, 300);
    t = create(k);
    assert_int_equal(info(other, "snapshot_states_kept"), 8);
    cluster_run(&c, 8000);
    assert_int_equal(info(other, "snapshot_states_kept"), 4);
    (void)snprintf(line, sizeof line, "SNAPSHOT INFO %s", s.id);
    client_says(k, line,
                "-NOSNAPSHOT there is no such snapshot: its time is over, or it was dropped\r\n");
    expect_sum(&c, &t, 400);
    (void)snprintf(line, sizeof line, "SNAPSHOT DROP %s", t.id);
    client_says(other, line, ":1\r\n");
    client_says(other, line, ":0\r\n");
    cluster_run(&c, 100);
    for (uint32_t n = 0; n < 3; n++) {
        struct client *at = client_open(&c, n);
        assert_int_equal(info(at, "snapshot_states_kept"), 0);
    }
    cluster_deinit(&c);
}

/* A node that starts again has lost what it kept, if its store has all of it, and says so. */
TEST(a_node_that_starts_again_says_that_it_has_a_snapshot_no_more)
{
    struct cluster c;
    struct buf reply = {0};
    char line[100];
    cluster_init_small(&c, 3, 1, 3);
    struct client *k = client_open(&c, 0);
    for (int i = 0; i < 4; i++) {
        client_say(k, "SET %s 100", account[i]);
        client_expect(k, "+OK\r\n");
    }
    struct snapshot s = create(k);
    for (int i = 0; i < 400; i++) { /* more than memory and log hold */
        client_say(k, "SET more %0900d", i);
        client_expect(k, "+OK\r\n");
    }
    client_says(k, "DEL more", ":1\r\n");
    cluster_run(&c, 2000);
    cluster_kill(&c, 2);
    cluster_start(&c, 2);
    cluster_settle(&c);
    k = client_open(&c, 2);
    (void)snprintf(line, sizeof line, "SNAPSHOT SCAN %s 0-16383 0", s.id);
    client_say(k, "%s", line);
    assert_memory_equal(client_reply(k, &reply).data, "-NOSNAPSHOT this node", 21);
    expect_sum(&c, &s, 400);
    buf_deinit(&reply);
    cluster_deinit(&c);
}

TEST_MAIN
