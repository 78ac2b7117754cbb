/* A group's state at its leader and at a follower: what is evaluated at one and applied at both is
 * the same, whatever is flushed, lost or evaluated in between. */
#include "test.h"

#include "../store/pool.h"
#include "base/mem.h"
#include "base/prng.h"
#include "redis/command.h"
#include "redis/object.h"
#include "redis/once.h"
#include "shard/effects.h"
#include "shard/keys.h"
#include "shard/shard.h"

#include <errno.h>

#define SLOTS 64

/* ---- a replica ---- */

struct replica {
    struct pool pool;
    struct engine_mem_disk *disk;
    struct engine *engine;
    struct space_cache *cache;
    struct shard *shard;
    uint64_t flushes;
    int error;
    struct buf system; /* what the system callback said, as text */
};

static void replica_system(void *ctx, struct shard *s, struct bytes suffix, struct bytes value,
                           bool deleted)
{
    struct replica *r = ctx;
    (void)s;
    buf_printf(&r->system, "%c%.*s=%.*s ", deleted ? '-' : '+', (int)suffix.size, suffix.data,
               (int)value.size, (const char *)value.data);
}

static void replica_flushed(void *ctx, struct shard *s, int error)
{
    struct replica *r = ctx;
    (void)s;
    r->flushes++;
    r->error = error;
}

static void replica_open(struct replica *r, uint32_t miss_ppm, uint64_t seed)
{
    char error[200];
    if (!r->disk) {
        pool_init(&r->pool);
        r->disk = engine_mem_disk_new();
    }
    r->engine = engine_mem_open(r->disk);
    engine_mem_set_miss(r->engine, miss_ppm, seed);
    r->cache = space_cache_new(16u << 10);
    if (!r->shard) { /* the first time */
        struct shard_birth b = {.record = {.state = SHARD_LIVE, .replica = 1, .slot_hi = SLOTS}};
        assert_int_equal(shard_write_records_now(r->engine, &b, 1), 0);
    }
    r->shard = shard_new(&(struct shard_options){.io = &r->pool.io,
                                                 .engine = r->engine,
                                                 .cache = r->cache,
                                                 .group = 0,
                                                 .flushed = replica_flushed,
                                                 .system = replica_system,
                                                 .ctx = r},
                         error, sizeof error);
    if (!r->shard) fail_msg("%s", error);
}

static void replica_close(struct replica *r)
{
    pool_crash(&r->pool);
    shard_free(r->shard);
    space_cache_free(r->cache);
    engine_close(r->engine);
}

static void replica_deinit(struct replica *r)
{
    replica_close(r);
    buf_deinit(&r->system);
    engine_mem_disk_free(r->disk);
}

static uint64_t digest(struct replica *r, uint64_t *keys)
{
    uint64_t d;
    assert_int_equal(space_digest(r->shard->space, &d, keys), ENGINE_FOUND);
    return d;
}

static void same_state(struct replica *a, struct replica *b)
{
    uint64_t keys_a, keys_b;
    shard_check(a->shard);
    shard_check(b->shard);
    assert_int_equal(a->shard->applied, b->shard->applied);
    assert_int_equal(digest(a, &keys_a), digest(b, &keys_b));
    assert_int_equal(keys_a, keys_b);
    assert_int_equal(a->shard->keys, b->shard->keys);
    for (uint16_t s = 0; s < SLOTS; s++)
        assert_int_equal(shard_slot_keys(a->shard, s), shard_slot_keys(b->shard, s));
}

/* ---- a leader and the entries it proposed ---- */

struct proposed {
    struct paxos_entry entry;
    struct buf value;
};

struct rig {
    struct replica leader, follower;
    struct view view;
    struct prng random;
    struct proposed log[20000];
    uint64_t count, chosen; /* log[0 ... count) are proposed, the first `chosen` of them chosen */
    paxos_ballot ballot;
    int64_t now_ms;
    struct buf line, reply;
    struct bytes word[16];
    bool blocks;
    uint32_t misses;
};

static struct rig *rig_new(uint64_t seed, uint32_t miss_ppm)
{
    struct rig *r = mem_zalloc(sizeof *r);
    prng_init(&r->random, seed);
    view_init(&r->view);
    replica_open(&r->leader, miss_ppm, seed);
    replica_open(&r->follower, miss_ppm, seed + 1);
    r->ballot = paxos_ballot_make(1, 1);
    r->now_ms = 1000000;
    shard_lead(r->leader.shard, 1);
    return r;
}

static void rig_free(struct rig *r)
{
    replica_deinit(&r->leader);
    replica_deinit(&r->follower);
    view_deinit(&r->view);
    for (uint64_t i = 0; i < r->count; i++) buf_deinit(&r->log[i].value);
    buf_deinit(&r->line);
    buf_deinit(&r->reply);
    mem_free(r);
}

struct run {
    const struct command *command;
    struct cmd_args args;
    struct reply reply;
};

static void run_command(void *ctx, struct view *v)
{
    struct run *r = ctx;
    r->command->fn(v, &r->args, &r->reply);
}

static void done(void *ctx, struct space_fetch *fetch)
{
    (void)ctx;
    assert_true(fetch->result != ENGINE_E_IO);
}

/* Evaluates a line of plain words at the leader, fetching as a node does. */
static enum shard_result evaluate(struct rig *r, const char *line, uint64_t *saw)
{
    uint32_t count = 0;
    buf_clear(&r->line);
    buf_append_bytes(&r->line, bytes_str(line));
    buf_u8(&r->line, 0);
    for (char *at = strtok((char *)r->line.data, " "); at; at = strtok(NULL, " "))
        r->word[count++] = bytes_str(at);
    struct run run = {.args = {r->word, count}};
    run.command = command_find(&run.args, NULL);
    if (!run.command || !run.command->fn) fail_msg("no such command: %s", line);
    struct shard_task task = {run_command, &run, run.command->spread != CMD_SPREAD_NONE, r->blocks};
    for (;;) {
        buf_clear(&r->reply);
        run.reply = (struct reply){&r->reply, 2};
        enum shard_result result =
            shard_evaluate(r->leader.shard, &r->view, &task, r->now_ms, prng_u64(&r->random), saw);
        if (result != SHARD_MISS) return result;
        task.block = ++r->misses % 12 == 0; /* a range longer than a fetch */
        struct space_fetch f = {.done = done};
        buf_append_bytes(&f.lo, buf_bytes(&r->view.miss_lo));
        buf_append_bytes(&f.hi, buf_bytes(&r->view.miss_hi));
        f.reverse = r->view.miss_reverse;
        space_fetch(r->leader.shard->space, &f);
        pool_finish(&r->leader.pool);
        buf_deinit(&f.lo);
        buf_deinit(&f.hi);
    }
}

static void propose(struct rig *r)
{
    struct shard *s = r->leader.shard;
    if (!s->batch.size) return;
    assert_true(r->count < sizeof r->log / sizeof *r->log);
    struct proposed *p = &r->log[r->count++];
    p->entry = (struct paxos_entry){.position = s->next,
                                    .ballot = r->ballot,
                                    .born = r->ballot,
                                    .kind = PAXOS_DATA,
                                    .size = (uint32_t)s->batch.size};
    buf_append_bytes(&p->value, buf_bytes(&s->batch));
    shard_proposed(s);
}

/* The next proposed entry is chosen. */
static void choose(struct rig *r)
{
    if (r->chosen == r->count) return;
    struct proposed *p = &r->log[r->chosen++];
    bool own = p->entry.born == r->ballot;
    assert_true(shard_apply(r->leader.shard, &p->entry, true, buf_bytes(&p->value), own));
    assert_true(shard_apply(r->follower.shard, &p->entry, true, buf_bytes(&p->value), false));
}

static void settle(struct rig *r)
{
    propose(r);
    while (r->chosen < r->count) choose(r);
    assert_int_equal(r->leader.shard->keys_pending, 0);
    same_state(&r->leader, &r->follower);
}

/* The leadership ends: what is proposed and not chosen is never chosen. Then it begins again. */
static void lose(struct rig *r)
{
    shard_lost(r->leader.shard);
    while (r->count > r->chosen) buf_deinit(&r->log[--r->count].value);
    r->ballot = paxos_ballot_make(paxos_ballot_round(r->ballot) + 1, 1);
    same_state(&r->leader, &r->follower);
    shard_lead(r->leader.shard, r->leader.shard->applied + 1);
}

static bool touch(void *ctx, struct view *v, struct bytes row)
{
    (void)ctx;
    struct object o;
    if (row.data[2] == KEYS_ONCE_EXPIRY)
        once_expire(v, row);
    else
        (void)object_get(v, keys_user(row, KEYS_EXPIRY_HEAD), &o);
    return true;
}

/* ---- random commands ---- */

/* Tags whose slots are below SLOTS, found once. */
static const char *random_key(struct rig *r, char out[40])
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    uint64_t n = prng_below(&r->random, 40);
    for (;; n += 1000) {
        snprintf(out, 40, "%s%u", names[n % 8], (unsigned)n);
        if (slot_of(bytes_str(out)) < SLOTS) return out;
    }
}

static void random_command(struct rig *r)
{
    static const char *const forms[] = {
        "SET %s one",      "SET %s two PX 50", "SET %s 7",
        "APPEND %s xyz",   "INCRBY %s 3",      "DEL %s",
        "HSET %s f 1 g 2", "HSET %s h 3",      "HDEL %s f",
        "HDEL %s f g h",   "PEXPIRE %s 30",    "PERSIST %s",
        "GET %s",          "HGETALL %s",       "SETRANGE %s 300 z",
        "HINCRBY %s f 4",  "GETDEL %s",        "PEXPIREAT %s 5",
        "EXISTS %s",       "DBSIZE",           "HSET %s i 1 j 2 k 3",
        "GETEX %s PX 20",  "SETNX %s new",     "HGET %s f",
    };
    char key[40], line[120];
    uint64_t saw, dice = prng_below(&r->random, 400);
    const char *form = dice == 0 ? "FLUSHALL" : forms[dice % (sizeof forms / sizeof *forms)];
    snprintf(line, sizeof line, form, random_key(r, key));
    assert_int_equal(evaluate(r, line, &saw), SHARD_DONE);
    assert_true(saw <= r->leader.shard->next);
    if (view_wrote(&r->view)) assert_int_equal(saw, r->leader.shard->next);
}

static void maybe_flush(struct rig *r, struct replica *p)
{
    if (shard_flush(p->shard) && prng_below(&r->random, 2)) pool_finish(&p->pool);
    assert_int_equal(p->error, 0);
}

/* A replica forgets all but what it flushed, and gets the entries behind that again. */
static void restart_follower(struct rig *r)
{
    struct replica *f = &r->follower;
    replica_close(f);
    replica_open(f, 100000, prng_u64(&r->random));
    assert_int_equal(f->shard->applied, f->shard->flushed);
    for (uint64_t i = f->shard->applied; i < r->chosen; i++)
        assert_true(
            shard_apply(f->shard, &r->log[i].entry, true, buf_bytes(&r->log[i].value), false));
    same_state(&r->leader, f);
}

static void random_run(uint64_t seed, uint32_t miss_ppm)
{
    struct rig *r = rig_new(seed, miss_ppm);
    for (int step = 0; step < 3000; step++) {
        switch (prng_below(&r->random, 40)) {
        default: random_command(r); break;
        case 0:
        case 1:
        case 2:
        case 3:
        case 4: propose(r); break;
        case 5:
        case 6:
        case 7:
        case 8: choose(r); break;
        case 9: maybe_flush(r, &r->leader); break;
        case 10: maybe_flush(r, &r->follower); break;
        case 11: pool_finish(&r->leader.pool); break;
        case 12: pool_finish(&r->follower.pool); break;
        case 13: r->now_ms += (int64_t)prng_below(&r->random, 60); break;
        case 14:
            if (prng_below(&r->random, 4) == 0) r->now_ms -= (int64_t)prng_below(&r->random, 5000);
            break;
        case 15:
            if (prng_below(&r->random, 5) == 0) lose(r);
            break;
        case 16:
            if (prng_below(&r->random, 5) == 0) restart_follower(r);
            break;
        case 17:
            (void)shard_expire(r->leader.shard, &r->view, touch, NULL, r->now_ms,
                               prng_u64(&r->random));
            break;
        case 18: settle(r); break;
        }
        space_cache_turn(r->leader.cache);
        space_cache_turn(r->follower.cache);
    }
    settle(r);
    rig_free(r);
}

TEST(a_follower_that_applies_has_what_the_leader_evaluated)
{
    for (uint64_t seed = 1; seed <= 15; seed++) random_run(seed, 0);
}

TEST(misses_and_fetches_change_nothing)
{
    for (uint64_t seed = 101; seed <= 110; seed++) random_run(seed, 200000);
}

/* ---- pending writes ---- */

TEST(pending_writes_are_seen_counted_and_forgotten_with_the_leadership)
{
    struct rig *r = rig_new(1, 0);
    uint64_t saw;
    char key[40], line[80];
    snprintf(line, sizeof line, "SET %s v", random_key(r, key));
    assert_int_equal(evaluate(r, line, &saw), SHARD_DONE);
    assert_int_equal(saw, 1);
    snprintf(line, sizeof line, "GET %s", key);
    (void)evaluate(r, line, &saw);
    EXPECT_BYTES(buf_bytes(&r->reply), "$1\r\nv\r\n");
    assert_int_equal(saw, 1); /* the answer waits for position 1 */
    (void)evaluate(r, "DBSIZE", &saw);
    EXPECT_BYTES(buf_bytes(&r->reply), ":1\r\n");
    assert_int_equal(saw, 1);

    propose(r);
    lose(r);
    (void)evaluate(r, line, &saw);
    EXPECT_BYTES(buf_bytes(&r->reply), "$-1\r\n");
    assert_int_equal(saw, 0);
    (void)evaluate(r, "DBSIZE", &saw);
    EXPECT_BYTES(buf_bytes(&r->reply), ":0\r\n");
    rig_free(r);
}

TEST(what_is_applied_needs_no_waiting)
{
    struct rig *r = rig_new(1, 0);
    uint64_t saw;
    char key[40], line[80];
    snprintf(line, sizeof line, "SET %s v", random_key(r, key));
    (void)evaluate(r, line, &saw);
    settle(r);
    snprintf(line, sizeof line, "GET %s", key);
    (void)evaluate(r, line, &saw);
    EXPECT_BYTES(buf_bytes(&r->reply), "$1\r\nv\r\n");
    assert_int_equal(saw, 0);
    rig_free(r);
}

/* ---- refusals ---- */

TEST(a_command_that_would_write_too_much_changes_nothing)
{
    struct rig *r = rig_new(1, 0);
    uint64_t saw;
    char key[40], line[200];
    r->leader.shard->effects_max = 100;
    snprintf(line, sizeof line, "SET %s %0150d", random_key(r, key), 7);
    assert_int_equal(evaluate(r, line, &saw), SHARD_REFUSED);
    assert_int_equal(r->view.refused, VIEW_EFFECTS_TOO_LARGE);
    assert_int_equal(r->leader.shard->batch.size, 0);
    snprintf(line, sizeof line, "GET %s", key);
    assert_int_equal(evaluate(r, line, &saw), SHARD_DONE);
    EXPECT_BYTES(buf_bytes(&r->reply), "$-1\r\n");
    rig_free(r);
}

TEST(a_key_of_another_group_is_refused)
{
    struct rig *r = rig_new(1, 0);
    uint64_t saw;
    assert_true(slot_of(BYTES("foo")) >= SLOTS);
    assert_int_equal(evaluate(r, "SET foo v", &saw), SHARD_REFUSED);
    assert_int_equal(r->view.refused, VIEW_FOREIGN);
    assert_int_equal(r->leader.shard->batch.size, 0);
    rig_free(r);
}

static bool apply_value(struct rig *r, struct bytes value)
{
    struct shard *s = r->follower.shard;
    struct paxos_entry e = {.position = s->applied + 1, .ballot = 9, .born = 9, .kind = PAXOS_DATA};
    return shard_apply(s, &e, true, value, false);
}

TEST(malformed_effects_are_refused_whole)
{
    struct rig *r = rig_new(1, 0);
    struct buf good = {0}, bad = {0};
    uint64_t keys, before = digest(&r->follower, &keys);
    buf_u8(&good, 1);
    buf_u64(&good, 5);
    effects_put(&good, bytes_of("\0\1mhhhhhhk", 10), BYTES("v"));

    for (size_t cut = 0; cut < good.size; cut++)
        if (cut != 9) assert_false(apply_value(r, bytes_of(good.data, cut)));

    const struct bytes foreign = bytes_of("\7\7mhhhhhhk", 10);
    for (int i = 0; i < 4; i++) {
        buf_clear(&bad);
        buf_append_bytes(&bad, buf_bytes(&good));
        if (i == 0) effects_put(&bad, foreign, BYTES("v"));
        if (i == 1) effects_del(&bad, foreign);
        if (i == 2) effects_trash(&bad, BYTES("\0"));
        if (i == 3) buf_u8(&bad, 77);
        assert_false(apply_value(r, buf_bytes(&bad)));
    }
    buf_clear(&bad);
    buf_append_bytes(&bad, buf_bytes(&good));
    bad.data[0] = 2; /* another version */
    assert_false(apply_value(r, buf_bytes(&bad)));
    assert_int_equal(digest(&r->follower, &keys), before);
    assert_int_equal(r->follower.shard->applied, 0);
    assert_true(apply_value(r, buf_bytes(&good)));
    assert_true(digest(&r->follower, &keys) != before);
    buf_deinit(&good);
    buf_deinit(&bad);
    rig_free(r);
}

/* ---- system rows ---- */

struct row {
    const char *suffix, *value; /* value NULL: deleted */
};

static void run_row(void *ctx, struct view *v)
{
    const struct row *row = ctx;
    struct buf key = {0};
    keys_system(&key, bytes_str(row->suffix));
    if (row->value)
        view_put(v, buf_bytes(&key), bytes_str(row->value));
    else
        view_del(v, buf_bytes(&key));
    buf_deinit(&key);
}

static void write_row(struct rig *r, const char *suffix, const char *value)
{
    struct row row = {suffix, value};
    struct shard_task task = {.run = run_row, .ctx = &row};
    uint64_t saw;
    assert_int_equal(shard_evaluate(r->leader.shard, &r->view, &task, r->now_ms, 1, &saw),
                     SHARD_DONE);
}

static void each_row(void *ctx, struct bytes suffix, struct bytes value)
{
    buf_printf(ctx, "%.*s=%.*s ", (int)suffix.size, suffix.data, (int)value.size, value.data);
}

static void expect_rows(struct replica *p, const char *text)
{
    struct buf out = {0};
    assert_true(shard_system_each(p->shard, each_row, &out));
    EXPECT_BYTES(buf_bytes(&out), text);
    buf_deinit(&out);
}

static void expect_told(struct replica *p, const char *text)
{
    EXPECT_BYTES(buf_bytes(&p->system), text);
    buf_clear(&p->system);
}

TEST(system_rows_are_told_to_leader_and_follower_as_they_are_applied)
{
    struct rig *r = rig_new(1, 0);
    write_row(r, "a", "1");
    write_row(r, "b", "2");
    propose(r);
    expect_told(&r->leader, "");
    expect_rows(&r->leader, "");
    settle(r);
    expect_told(&r->leader, "+a=1 +b=2 ");
    expect_told(&r->follower, "+a=1 +b=2 ");
    expect_rows(&r->follower, "a=1 b=2 ");
    write_row(r, "a", NULL);
    expect_rows(&r->leader, "a=1 b=2 "); /* pending */
    settle(r);
    expect_told(&r->follower, "-a= ");
    expect_rows(&r->leader, "b=2 ");
    write_row(r, "never", "chosen");
    propose(r);
    lose(r);
    expect_rows(&r->leader, "b=2 ");
    rig_free(r);
}

TEST(a_flushall_keeps_the_system_rows_also_when_it_has_to_fetch_them)
{
    for (uint32_t miss_ppm = 0; miss_ppm <= 1000000; miss_ppm += 500000) {
        struct rig *r = rig_new(1, miss_ppm);
        uint64_t saw;
        char key[40], line[80];
        write_row(r, "flushed", "1");
        snprintf(line, sizeof line, "SET %s v", random_key(r, key));
        (void)evaluate(r, line, &saw);
        settle(r);
        maybe_flush(r, &r->leader);
        pool_finish(&r->leader.pool);
        write_row(r, "pending", "2");
        (void)evaluate(r, line, &saw);
        assert_int_equal(evaluate(r, "FLUSHALL", &saw), SHARD_DONE);
        write_row(r, "after", "3");
        settle(r);
        expect_rows(&r->leader, "after=3 flushed=1 pending=2 ");
        expect_rows(&r->follower, "after=3 flushed=1 pending=2 ");
        assert_int_equal(r->leader.shard->keys, 0);
        if (miss_ppm == 1000000) assert_true(r->misses > 0);
        restart_follower(r);
        expect_rows(&r->follower, "after=3 flushed=1 pending=2 ");
        rig_free(r);
    }
}

TEST(no_command_shows_a_system_row)
{
    struct rig *r = rig_new(1, 0);
    uint64_t saw;
    write_row(r, "row", "1");
    write_row(r, "other row", "2");
    settle(r);
    static const char *const empty[][2] = {{"SCAN 0 COUNT 1000", NULL},
                                           {"KEYS *", "*0\r\n"},
                                           {"DBSIZE", ":0\r\n"},
                                           {"RANDOMKEY", "$-1\r\n"},
                                           {"CLUSTER COUNTKEYSINSLOT 0", ":0\r\n"},
                                           {"CLUSTER GETKEYSINSLOT 0 10", "*0\r\n"}};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        r->blocks = true;
        assert_int_equal(evaluate(r, empty[i][0], &saw), SHARD_DONE);
        if (empty[i][1]) EXPECT_BYTES(buf_bytes(&r->reply), empty[i][1]);
        if (!empty[i][1]) assert_non_null(strstr((char *)r->reply.data, "*0\r\n"));
    }
    char key[40], line[80];
    snprintf(line, sizeof line, "SET %s v", random_key(r, key));
    (void)evaluate(r, line, &saw);
    for (int i = 0; i < 50; i++) { /* wherever it starts from */
        (void)evaluate(r, "RANDOMKEY", &saw);
        assert_non_null(strstr((char *)r->reply.data, key));
    }
    rig_free(r);
}

/* ---- expiry ---- */

static void expire_all(struct rig *r)
{
    for (int i = 0; i < 100; i++) {
        if (shard_expire(r->leader.shard, &r->view, touch, NULL, r->now_ms, 1) >= 100) break;
        propose(r);
    }
    settle(r);
}

TEST(keys_go_when_their_time_has_come_and_not_before)
{
    struct rig *r = rig_new(1, 0);
    uint64_t saw;
    char key[40], line[80];
    for (int i = 0; i < 300; i++) {
        snprintf(line, sizeof line, "SET {%s}%d v PX %d", random_key(r, key), i, 100 + i);
        (void)evaluate(r, line, &saw);
    }
    settle(r);
    assert_int_equal(r->leader.shard->keys, 300);
    expire_all(r);
    assert_int_equal(r->leader.shard->keys, 300);
    for (int i = 1; i <= 6; i++) {
        r->now_ms += 50;
        expire_all(r);
        /* a key lives through the millisecond that its expiry names */
        int64_t alive = 300 - (50 * i - 100);
        assert_int_equal(r->leader.shard->keys, alive > 300 ? 300 : alive);
    }
    r->now_ms += 100;
    expire_all(r);
    assert_int_equal(r->leader.shard->keys, 0);
    rig_free(r);
}

/* The sweep goes on from one to the other, whichever comes first. */
TEST(kept_answers_go_as_keys_do)
{
    struct rig *r = rig_new(1, 0);
    uint64_t saw, nothing, keys;
    char key[40], line[100];
    nothing = digest(&r->leader, &keys);
    for (int i = 0; i < 200; i++) {
        snprintf(line, sizeof line, "SYNOD ONCE t%d SET {%s}%d v PX %d", i, random_key(r, key), i,
                 ONCE_KEEP_MS - 100 + i);
        (void)evaluate(r, line, &saw);
    }
    settle(r);
    r->now_ms += ONCE_KEEP_MS;
    expire_all(r); /* the answers live through this millisecond */
    assert_int_equal(r->leader.shard->keys, 100);
    r->now_ms++;
    expire_all(r);
    assert_int_equal(r->leader.shard->keys, 99);
    r->now_ms += 99;
    expire_all(r);
    assert_int_equal(r->leader.shard->keys, 0);
    assert_int_equal(digest(&r->leader, &keys), nothing); /* no row is left */
    assert_int_equal(digest(&r->follower, &keys), nothing);
    rig_free(r);
}

TEST(an_expiry_that_was_lost_with_the_leadership_is_done_by_the_next)
{
    struct rig *r = rig_new(1, 0);
    uint64_t saw;
    char key[40], line[80];
    snprintf(line, sizeof line, "SET %s v PX 10", random_key(r, key));
    (void)evaluate(r, line, &saw);
    settle(r);
    r->now_ms += 20;
    for (int i = 0; i < 10 && !r->leader.shard->batch.size; i++)
        (void)shard_expire(r->leader.shard, &r->view, touch, NULL, r->now_ms, 1);
    assert_true(r->leader.shard->batch.size > 0);
    lose(r);
    assert_int_equal(r->leader.shard->keys, 1);
    expire_all(r);
    assert_int_equal(r->leader.shard->keys, 0);
    rig_free(r);
}

TEST(the_time_of_a_group_never_goes_back)
{
    struct rig *r = rig_new(1, 0);
    uint64_t saw;
    char key[40], line[80];
    snprintf(line, sizeof line, "SET %s v PX 1000", random_key(r, key));
    (void)evaluate(r, line, &saw);
    int64_t then = r->leader.shard->now_ms;
    r->now_ms -= 500000;
    snprintf(line, sizeof line, "APPEND %s w", key);
    (void)evaluate(r, line, &saw);
    assert_int_equal(r->leader.shard->now_ms, then);
    snprintf(line, sizeof line, "PTTL %s", key);
    (void)evaluate(r, line, &saw);
    EXPECT_BYTES(buf_bytes(&r->reply), ":1000\r\n");
    rig_free(r);
}

TEST(active_expiry_after_a_restart_asks_for_what_is_not_in_memory)
{
    struct rig *r = rig_new(1, 0);
    uint64_t saw;
    char key[40], line[80];
    snprintf(line, sizeof line, "SET %s v PX 10", random_key(r, key));
    (void)evaluate(r, line, &saw);
    settle(r);
    assert_true(shard_flush(r->leader.shard));
    pool_finish(&r->leader.pool);
    replica_close(&r->leader);
    replica_open(&r->leader, 1000000, 1);
    assert_int_equal(r->leader.shard->keys, 1);
    shard_lead(r->leader.shard, r->leader.shard->applied + 1);
    r->now_ms += 20;
    int64_t wait;
    int fetches = 0;
    while ((wait = shard_expire(r->leader.shard, &r->view, touch, NULL, r->now_ms, 1)) != 100) {
        if (wait >= 0) continue;
        assert_int_equal(wait, -1);
        assert_true(++fetches < 1000);
        struct space_fetch f = {.done = done, .limit = 1024};
        buf_append_bytes(&f.lo, buf_bytes(&r->view.miss_lo));
        buf_append_bytes(&f.hi, buf_bytes(&r->view.miss_hi));
        space_fetch(r->leader.shard->space, &f);
        pool_finish(&r->leader.pool);
        buf_deinit(&f.lo);
        buf_deinit(&f.hi);
    }
    assert_true(fetches > 0);
    settle(r);
    assert_int_equal(r->leader.shard->keys, 0);
    rig_free(r);
}

/* ---- the flush record ---- */

TEST(a_restart_knows_position_counts_time_and_chain_from_the_flush)
{
    struct rig *r = rig_new(3, 0);
    for (int i = 0; i < 200; i++) random_command(r), propose(r);
    settle(r);
    assert_true(shard_flush(r->leader.shard));
    pool_finish(&r->leader.pool);
    struct shard before = *r->leader.shard;
    int64_t slot_keys[SLOTS];
    for (uint16_t s = 0; s < SLOTS; s++) slot_keys[s] = shard_slot_keys(r->leader.shard, s);
    assert_int_equal(before.flushed, before.applied);

    replica_close(&r->leader);
    replica_open(&r->leader, 0, 1);
    const struct shard *after = r->leader.shard;
    assert_int_equal(after->applied, before.applied);
    assert_int_equal(after->flushed, before.applied);
    assert_int_equal(after->last_valid.position, before.last_valid.position);
    assert_int_equal(after->last_valid.born, before.last_valid.born);
    assert_int_equal(after->now_ms, before.now_ms);
    assert_int_equal(after->keys, before.keys);
    for (uint16_t s = 0; s < SLOTS; s++) assert_int_equal(shard_slot_keys(after, s), slot_keys[s]);
    same_state(&r->leader, &r->follower);
    rig_free(r);
}

TEST(a_flush_that_found_the_disk_full_loses_nothing)
{
    struct rig *r = rig_new(4, 0);
    for (int i = 0; i < 100; i++) random_command(r), propose(r);
    settle(r);
    engine_mem_set_full(r->leader.disk, true);
    assert_true(shard_flush(r->leader.shard));
    pool_finish(&r->leader.pool);
    assert_int_equal(r->leader.error, -ENOSPC);
    assert_int_equal(r->leader.shard->flushed, 0);
    for (int i = 0; i < 100; i++) random_command(r), propose(r);
    settle(r);
    engine_mem_set_full(r->leader.disk, false);
    assert_true(shard_flush(r->leader.shard));
    pool_finish(&r->leader.pool);
    assert_int_equal(r->leader.error, 0);
    assert_true(r->leader.shard->flushed > 0);
    same_state(&r->leader, &r->follower);
    rig_free(r);
}

TEST_MAIN
