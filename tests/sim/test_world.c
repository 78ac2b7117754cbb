/* The simulated world itself: what a toy program sees of time, network and disk. */
#include "test.h"

#include "base/hash.h"
#include "base/mem.h"
#include "sim/world.h"

#include <errno.h>

/* A program that echoes, connects, or writes a log of numbered blocks. */
struct toy {
    struct world *w;
    uint32_t host;
    struct io *io;
    struct io_conn *conn; /* as a client */
    struct buf got;
    int opened, accepted, closed, error;
    uint64_t turns, wake_at;
    bool echo;

    struct io_file *file;
    struct io_write write[4];
    uint8_t *block[4];
    bool busy[4];
    uint64_t next, told; /* blocks begun; blocks told complete, in order */
    int failures;
    int works_run, works_done;
    struct io_work work;
};

static void toy_opened(void *ctx, struct io_conn *c)
{
    struct toy *t = ctx;
    if (c == t->conn)
        t->opened++;
    else
        t->accepted++;
}

static size_t toy_data(void *ctx, struct io_conn *c, struct bytes in)
{
    struct toy *t = ctx;
    if (t->echo)
        buf_append_bytes(io_conn_out(c), in);
    else
        buf_append_bytes(&t->got, in);
    return in.size;
}

static void toy_closed(void *ctx, struct io_conn *c, int error)
{
    struct toy *t = ctx;
    t->closed++;
    t->error = error;
    if (c == t->conn) t->conn = NULL;
}

static const struct io_handler toy_handler = {toy_opened, toy_data, NULL, toy_closed};

static uint64_t toy_turn(void *ctx, uint64_t now)
{
    struct toy *t = ctx;
    t->turns++;
    if (t->wake_at > now) return t->wake_at;
    return UINT64_MAX;
}

static void toy_start(struct toy *t, struct world *w, uint32_t host, bool echo)
{
    buf_deinit(&t->got);
    *t = (struct toy){.w = w, .host = host, .io = world_io(w, host), .echo = echo};
    world_boot(w, host);
    world_enter(w, host);
    t->io->client = (struct io_client){toy_turn, t};
    if (echo) {
        char address[32];
        struct io_listener *l;
        snprintf(address, sizeof address, "10.0.0.%u:7", host + 1);
        assert_int_equal(io_listen(t->io, address, &toy_handler, t, &l), 0);
    }
    world_leave(w, host);
}

static void toy_kill(struct toy *t, enum world_death how)
{
    world_die(t->w, t->host);
    world_reap(t->w, t->host, how);
    for (int i = 0; i < 4; i++) mem_free(t->block[i]);
    memset(t->block, 0, sizeof t->block);
    buf_deinit(&t->got);
}

static void toy_connect(struct toy *t, const char *address)
{
    world_enter(t->w, t->host);
    t->conn = io_connect(t->io, address, &toy_handler, t);
    world_leave(t->w, t->host);
}

static void toy_send(struct toy *t, const void *data, size_t size)
{
    world_enter(t->w, t->host);
    buf_append(io_conn_out(t->conn), data, size);
    world_leave(t->w, t->host);
}

static size_t toy_frame(struct bytes in) /* one byte of size, that included */
{
    return in.size && in.size >= in.data[0] ? in.data[0] : 0;
}

static bool toy_may_disturb(struct bytes frame)
{
    return frame.data[1] == 'm';
}

static struct world *toy_world(uint64_t seed)
{
    struct world_options options = {.seed = seed,
                                    .hosts = 3,
                                    .framed_hosts = 2,
                                    .frame = toy_frame,
                                    .may_disturb = toy_may_disturb};
    return world_new(&options);
}

/* ---- network ---- */

/* Many bytes through splitting, slow links: every byte comes back once and in order. Returns the
 * hash of the run. */
static uint64_t echo_run(uint64_t seed)
{
    struct toy server = {0}, client = {0};
    struct world *w = toy_world(seed);
    world_link(w, 0, 2)->split_ppm = world_link(w, 2, 0)->split_ppm = 700000;
    toy_start(&server, w, 0, true);
    toy_start(&client, w, 2, false);
    toy_connect(&client, "10.0.0.1:7");
    struct buf sent = {0};
    for (int i = 0; i < 300; i++) {
        char text[600];
        int n =
            snprintf(text, sizeof text, "%d %*d;", i, (int)(hash_mix(seed + (uint64_t)i) % 500), i);
        buf_append(&sent, text, (size_t)n);
        toy_send(&client, text, (size_t)n);
        world_run(w, world_now(w) + 30 * MICROSECOND, NULL);
    }
    world_run(w, world_now(w) + 5 * SECOND, NULL);
    assert_int_equal(client.opened, 1);
    assert_int_equal(server.accepted, 1);
    assert_true(bytes_equal(buf_bytes(&client.got), buf_bytes(&sent)));
    buf_deinit(&sent);
    toy_kill(&client, WORLD_EXIT);
    toy_kill(&server, WORLD_EXIT);
    uint64_t hash = world_hash(w);
    world_free(w);
    return hash;
}

TEST(bytes_of_a_connection_arrive_once_and_in_order)
{
    for (uint64_t seed = 1; seed <= 20; seed++) echo_run(seed);
}

TEST(the_same_seed_makes_the_same_run_and_another_another)
{
    uint64_t a = echo_run(77), b = echo_run(77), c = echo_run(78);
    assert_true(a == b);
    assert_true(a != c);
}

TEST(a_big_write_passes_the_window_with_back_pressure)
{
    struct toy server = {0}, client = {0};
    struct world *w = toy_world(5);
    toy_start(&server, w, 0, true);
    toy_start(&client, w, 2, false);
    toy_connect(&client, "10.0.0.1:7");
    size_t size = 5u << 20;
    uint8_t *data = mem_alloc(size);
    for (size_t i = 0; i < size; i++) data[i] = (uint8_t)hash_mix(i);
    toy_send(&client, data, size);
    world_run(w, MILLISECOND, NULL);
    assert_true(io_conn_backlog(client.conn) > 3u << 20);
    world_run(w, 20 * SECOND, NULL);
    assert_int_equal(io_conn_backlog(client.conn), 0);
    assert_true(bytes_equal(buf_bytes(&client.got), bytes_of(data, size)));
    mem_free(data);
    toy_kill(&client, WORLD_EXIT);
    toy_kill(&server, WORLD_EXIT);
    world_free(w);
}

TEST(a_connect_to_nobody_is_refused_and_one_to_a_dark_machine_times_out)
{
    struct toy a = {0}, b = {0};
    struct world *w = toy_world(1);
    toy_start(&a, w, 2, false);
    toy_start(&b, w, 1, false);
    toy_connect(&a, "10.0.0.2:7");
    world_run(w, SECOND, NULL);
    assert_int_equal(a.closed, 1);
    assert_int_equal(a.error, -ECONNREFUSED);
    toy_kill(&b, WORLD_POWER);
    toy_connect(&a, "10.0.0.2:7");
    world_run(w, world_now(w) + 500 * MILLISECOND, NULL);
    assert_int_equal(a.closed, 1);
    world_run(w, world_now(w) + 30 * SECOND, NULL);
    assert_int_equal(a.closed, 2);
    assert_int_equal(a.error, -ETIMEDOUT);
    toy_kill(&a, WORLD_EXIT);
    world_free(w);
}

/* Client to server blocked: the server's bytes still come, the client's wait, then the client's end
 * breaks and the server's does not. */
TEST(a_one_way_partition_holds_one_direction_and_leaves_a_half_open_end)
{
    struct toy server = {0}, client = {0};
    struct world *w = toy_world(9);
    toy_start(&server, w, 0, false);
    toy_start(&client, w, 2, false);
    world_enter(w, 0);
    struct io_listener *l;
    assert_int_equal(io_listen(server.io, "10.0.0.1:7", &toy_handler, &server, &l), 0);
    world_leave(w, 0);
    toy_connect(&client, "10.0.0.1:7");
    world_run(w, SECOND, NULL);
    world_block(w, 2, 0, true);
    toy_send(&client, "hello", 5);
    world_run(w, world_now(w) + SECOND, NULL);
    assert_int_equal(server.got.size, 0);
    world_block(w, 2, 0, false);
    world_run(w, world_now(w) + SECOND, NULL);
    EXPECT_BYTES(buf_bytes(&server.got), "hello");
    world_block(w, 2, 0, true);
    toy_send(&client, "again", 5);
    world_run(w, world_now(w) + 60 * SECOND, NULL);
    assert_int_equal(client.closed, 1);
    assert_int_equal(client.error, -ETIMEDOUT);
    assert_int_equal(server.closed, 0);
    EXPECT_BYTES(buf_bytes(&server.got), "hello");
    toy_kill(&client, WORLD_EXIT);
    toy_kill(&server, WORLD_EXIT);
    world_free(w);
}

TEST(a_killed_program_is_noticed_by_its_peer_and_a_dark_machine_only_once_it_is_back)
{
    struct toy server = {0}, client = {0};
    struct world *w = toy_world(3);
    toy_start(&client, w, 2, false);
    toy_start(&server, w, 0, true);
    toy_connect(&client, "10.0.0.1:7");
    world_run(w, SECOND, NULL);
    toy_kill(&server, WORLD_EXIT);
    world_run(w, world_now(w) + SECOND, NULL);
    assert_int_equal(client.closed, 1);

    toy_start(&server, w, 0, true);
    toy_connect(&client, "10.0.0.1:7");
    world_run(w, world_now(w) + SECOND, NULL);
    assert_int_equal(client.opened, 2);
    toy_kill(&server, WORLD_POWER);
    toy_send(&client, "x", 1);
    world_run(w, world_now(w) + SECOND, NULL);
    assert_int_equal(client.closed, 1);
    toy_start(&server, w, 0, true);
    world_run(w, world_now(w) + 3 * SECOND, NULL);
    assert_int_equal(client.closed, 2);
    assert_int_equal(client.error, -ECONNRESET);
    toy_kill(&client, WORLD_EXIT);
    toy_kill(&server, WORLD_EXIT);
    world_free(w);
}

/* Frames {5, kind, number:3}; 'm' may be disturbed, 's' may not. */
TEST(frames_are_lost_doubled_and_reordered_whole_and_only_those_that_may_be)
{
    struct toy a = {0}, b = {0};
    struct world *w = toy_world(21);
    struct world_link *l = world_link(w, 0, 1);
    *l = (struct world_link){.latency_ns = 1000,
                             .jitter_ns = 1000,
                             .split_ppm = 300000,
                             .drop_ppm = 200000,
                             .double_ppm = 200000,
                             .delay_ppm = 200000,
                             .delay_ns = 5 * MILLISECOND};
    toy_start(&a, w, 0, false);
    toy_start(&b, w, 1, false);
    world_enter(w, 1);
    struct io_listener *listener;
    assert_int_equal(io_listen(b.io, "10.0.0.2:7", &toy_handler, &b, &listener), 0);
    world_leave(w, 1);
    toy_connect(&a, "10.0.0.2:7");
    for (int i = 0; i < 1000; i++) {
        uint8_t frame[5] = {5, i % 2 ? 'm' : 's', (uint8_t)(i >> 8), (uint8_t)i, 0xee};
        toy_send(&a, frame, 2);
        toy_send(&a, frame + 2, 3);
        world_run(w, world_now(w) + 100 * MICROSECOND, NULL);
    }
    world_run(w, world_now(w) + SECOND, NULL);
    int seen[1000] = {0}, reordered = 0, lost = 0, doubled = 0, last = -1;
    assert_int_equal(b.got.size % 5, 0);
    int last_steady = -2;
    for (size_t i = 0; i < b.got.size; i += 5) {
        const uint8_t *f = b.got.data + i;
        int n = f[2] << 8 | f[3];
        assert_true(f[0] == 5 && f[4] == 0xee && n < 1000 && f[1] == (n % 2 ? 'm' : 's'));
        seen[n]++;
        reordered += n < last;
        last = n;
        if (n % 2) continue;
        assert_int_equal(n, last_steady + 2);
        last_steady = n;
    }
    for (int i = 1; i < 1000; i += 2) lost += seen[i] == 0, doubled += seen[i] == 2;
    assert_true(lost > 50 && lost < 150);
    assert_true(doubled > 40 && doubled < 150);
    assert_true(reordered > 20);
    toy_kill(&a, WORLD_EXIT);
    toy_kill(&b, WORLD_EXIT);
    world_free(w);
}

/* ---- time ---- */

TEST(clocks_run_at_their_rates_and_timers_follow_them)
{
    struct toy t[2] = {0};
    struct world *w = toy_world(4);
    uint64_t start[2];
    for (uint32_t i = 0; i < 2; i++) {
        toy_start(&t[i], w, i, false);
        world_set_rate(w, i, i ? 5000 : -5000);
        start[i] = io_now(t[i].io);
    }
    t[1].wake_at = start[1] + 10 * SECOND;
    int64_t wall = io_wall_ms(t[0].io);
    world_run(w, 9 * SECOND, NULL);
    uint64_t before = t[1].turns;
    world_run(w, 9949 * MILLISECOND, NULL);
    assert_int_equal(t[1].turns, before);
    world_run(w, 9952 * MILLISECOND, NULL); /* 10 s of a clock that is 0.5 % fast */
    assert_int_equal(t[1].turns, before + 1);
    world_run(w, 10 * SECOND, NULL);
    assert_true(io_now(t[0].io) - start[0] > 9949 * MILLISECOND &&
                io_now(t[0].io) - start[0] < 9951 * MILLISECOND);
    assert_true(io_now(t[1].io) - start[1] > 10049 * MILLISECOND &&
                io_now(t[1].io) - start[1] < 10051 * MILLISECOND);
    assert_int_equal(io_wall_ms(t[0].io) - wall, 10000);
    world_wall_jump(w, 0, -3600000);
    assert_int_equal(io_wall_ms(t[0].io) - wall, 10000 - 3600000);
    toy_kill(&t[0], WORLD_EXIT);
    toy_kill(&t[1], WORLD_EXIT);
    world_free(w);
}

TEST(a_paused_program_gets_no_turns_and_then_finds_the_clock_moved_on)
{
    struct toy server = {0}, client = {0};
    struct world *w = toy_world(6);
    toy_start(&server, w, 0, true);
    toy_start(&client, w, 2, false);
    toy_connect(&client, "10.0.0.1:7");
    world_run(w, SECOND, NULL);
    world_pause(w, 0, 2 * SECOND);
    uint64_t turns = server.turns;
    toy_send(&client, "x", 1);
    world_run(w, 2900 * MILLISECOND, NULL);
    assert_int_equal(server.turns, turns);
    assert_int_equal(client.got.size, 0);
    world_run(w, 3100 * MILLISECOND, NULL);
    assert_true(server.turns > turns);
    assert_int_equal(client.got.size, 1);
    toy_kill(&client, WORLD_EXIT);
    toy_kill(&server, WORLD_EXIT);
    world_free(w);
}

TEST(time_may_pass_between_two_readings_of_the_clock_in_one_turn)
{
    struct toy t = {0};
    struct world *w = toy_world(8);
    toy_start(&t, w, 0, false);
    *world_cpu(w, 0) = (struct world_cpu){.stall_ppm = 500000, .stall_ns = SECOND, .turn_ns = 1};
    uint64_t jumps = 0, last = 0;
    for (int turn = 0; turn < 50; turn++) {
        world_enter(w, 0);
        uint64_t began = io_now(t.io);
        for (int i = 0; i < 10; i++) {
            uint64_t now = io_now(t.io);
            assert_true(now >= last);
            jumps += last && now > last + MILLISECOND;
            last = now;
        }
        assert_true(last - began <= 3 * SECOND); /* no turn is late without end */
        world_leave(w, 0);
        world_run(w, world_now(w) + 4 * SECOND, NULL);
    }
    assert_true(jumps > 100);
    *world_cpu(w, 0) = (struct world_cpu){.turn_ns = 1};
    world_run(w, world_now(w) + 100 * SECOND, NULL);
    assert_true(t.turns > 0);
    assert_true(io_now(t.io) > last);
    toy_kill(&t, WORLD_EXIT);
    world_free(w);
}

/* ---- disk ---- */

#define LOG_BLOCKS 4000u

static void log_done(void *ctx, int error)
{
    struct toy *t = ctx;
    if (error) t->failures++;
}

/* One write under way in each of four lanes; lane i writes blocks i, i+4, ... */
struct lane {
    struct toy *t;
    int i;
    uint64_t number, told;
};

static void lane_write(struct lane *l);

static void lane_done(void *ctx, int error)
{
    struct lane *l = ctx;
    log_done(l->t, error);
    if (error) return;
    l->told = l->number;
    lane_write(l);
}

static void lane_write(struct lane *l)
{
    struct toy *t = l->t;
    uint64_t at = l->number ? l->number + 4 : (uint64_t)l->i + 1;
    if (at > LOG_BLOCKS) return;
    l->number = at;
    for (size_t k = 0; k < IO_BLOCK; k += 8) memcpy(t->block[l->i] + k, &at, 8);
    t->write[l->i] = (struct io_write){.data = t->block[l->i],
                                       .size = IO_BLOCK,
                                       .offset = (at - 1) * IO_BLOCK,
                                       .done = lane_done,
                                       .ctx = l};
    io_file_write(t->io, t->file, &t->write[l->i]);
}

static void log_start(struct toy *t, struct lane lane[4])
{
    world_enter(t->w, t->host);
    assert_int_equal(io_file_open(t->io, "log", LOG_BLOCKS * IO_BLOCK, &t->file), 0);
    for (int i = 0; i < 4; i++) {
        t->block[i] = aligned_alloc(IO_BLOCK, IO_BLOCK);
        lane[i] = (struct lane){t, i, 0, 0};
        lane_write(&lane[i]);
    }
    world_leave(t->w, t->host);
}

TEST(a_crash_keeps_what_was_completed_and_tears_only_what_was_under_way)
{
    int torn = 0, kept = 0, gone = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct toy t = {0};
        struct lane lane[4];
        struct world *w = toy_world(seed);
        toy_start(&t, w, 0, false);
        log_start(&t, lane);
        world_run(w, 20 * MILLISECOND + seed * 37 * MICROSECOND, NULL);
        struct lane was[4];
        memcpy(was, lane, sizeof was);
        toy_kill(&t, seed % 2 ? WORLD_EXIT : WORLD_POWER);
        toy_start(&t, w, 0, false);
        world_enter(w, 0);
        assert_int_equal(io_file_open(t.io, "log", 0, &t.file), 0);
        for (uint64_t b = 1; b <= LOG_BLOCKS; b++) {
            uint64_t word[IO_BLOCK / 8];
            const struct lane *l = &was[(b - 1) % 4];
            size_t right = 0;
            assert_int_equal(io_file_read_now(t.io, t.file, word, IO_BLOCK, (b - 1) * IO_BLOCK),
                             IO_BLOCK);
            for (size_t k = 0; k < IO_BLOCK / 8; k++) {
                assert_true(word[k] == b || word[k] == 0);
                right += word[k] == b;
            }
            if (b <= l->told)
                assert_int_equal(right, IO_BLOCK / 8);
            else if (b > l->number)
                assert_int_equal(right, 0);
            else if (right == 0)
                gone++;
            else if (right == IO_BLOCK / 8)
                kept++;
            else
                torn++;
        }
        world_leave(w, 0);
        toy_kill(&t, WORLD_EXIT);
        world_free(w);
    }
    assert_true(torn > 5 && kept > 30 && gone > 30);
}

TEST(a_stalled_disk_completes_nothing_until_it_resumes)
{
    struct toy t = {0};
    struct lane lane[4];
    struct world *w = toy_world(2);
    toy_start(&t, w, 0, false);
    log_start(&t, lane);
    world_disk(w, 0)->stalled = true;
    world_run(w, 10 * SECOND, NULL);
    for (int i = 0; i < 4; i++) assert_int_equal(lane[i].told, 0);
    world_disk_resume(w, 0);
    world_run(w, 11 * SECOND, NULL);
    for (int i = 0; i < 4; i++) assert_true(lane[i].told > 100);
    toy_kill(&t, WORLD_EXIT);
    world_free(w);
}

TEST(a_failing_write_says_so_and_a_full_disk_creates_nothing)
{
    struct toy t = {0};
    struct lane lane[4];
    struct world *w = toy_world(2);
    toy_start(&t, w, 0, false);
    world_disk(w, 0)->error_ppm = 1000000;
    log_start(&t, lane);
    world_run(w, SECOND, NULL);
    assert_int_equal(t.failures, 4);
    struct io_file *f;
    world_disk(w, 0)->taken = world_disk(w, 0)->capacity - LOG_BLOCKS * IO_BLOCK - 100;
    assert_int_equal(io_room(t.io), 100);
    assert_int_equal(io_file_open(t.io, "other", IO_BLOCK, &f), -ENOSPC);
    assert_int_equal(io_file_open(t.io, "other", 0, &f), -ENOENT);
    toy_kill(&t, WORLD_EXIT);
    world_free(w);
}

static void name_each(void *ctx, const char *name)
{
    buf_printf(ctx, "%s ", name);
}

TEST(names_are_listed_in_order_renamed_over_and_removed)
{
    struct toy t = {0};
    struct world *w = toy_world(2);
    struct buf names = {0};
    toy_start(&t, w, 0, false);
    static const char all[][8] = {"log-2", "log-1", "id", "log-3"};
    struct io_file *f;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(io_file_open(t.io, all[i], IO_BLOCK, &f), 0);
        assert_int_equal(io_file_write_now(t.io, f, all[i], 5, 0), 0);
        io_file_close(t.io, f);
    }
    assert_int_equal(io_file_rename(t.io, "log-3", "log-1"), 0);
    assert_int_equal(io_file_rename(t.io, "log-3", "log-1"), -ENOENT);
    assert_int_equal(io_file_remove(t.io, "id"), 0);
    toy_kill(&t, WORLD_POWER);
    toy_start(&t, w, 0, false);
    char text[6] = "";
    assert_int_equal(io_file_open(t.io, "log-1", 0, &f), 0);
    assert_int_equal(io_file_read_now(t.io, f, text, 5, 0), 5);
    assert_string_equal(text, "log-3");
    io_file_list(t.io, "", name_each, &names);
    EXPECT_BYTES(buf_bytes(&names), "log-1 log-2 ");
    buf_deinit(&names);
    toy_kill(&t, WORLD_EXIT);
    world_free(w);
}

TEST(damage_never_touches_the_last_write)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct toy t = {0};
        struct lane lane[4];
        struct world *w = toy_world(seed);
        char what[100];
        toy_start(&t, w, 0, false);
        log_start(&t, lane);
        world_run(w, 20 * MILLISECOND, NULL);
        uint64_t last = 0;
        for (int i = 0; i < 4; i++)
            if (lane[i].told > last) last = lane[i].told;
        toy_kill(&t, WORLD_EXIT);
        assert_true(
            world_damage(w, 0, (enum world_damage)(seed % WORLD_DAMAGES), what, sizeof what));
        unsigned long long block = 0;
        assert_int_equal(sscanf(what, "log block %llu", &block), 1);
        assert_true(block + 1 < last);
        world_free(w);
    }
}

static void toy_work_run(void *ctx)
{
    ((struct toy *)ctx)->works_run++;
}

static void toy_work_done(void *ctx)
{
    struct toy *t = ctx;
    assert_int_equal(t->works_run, 1);
    t->works_done++;
}

TEST(work_runs_later_and_is_told_in_a_turn)
{
    struct toy t = {0};
    struct world *w = toy_world(2);
    toy_start(&t, w, 0, false);
    t.work = (struct io_work){.run = toy_work_run, .done = toy_work_done, .ctx = &t};
    io_work(t.io, &t.work);
    assert_int_equal(t.works_run, 0);
    world_run(w, SECOND, NULL);
    assert_int_equal(t.works_done, 1);
    toy_kill(&t, WORLD_EXIT);
    world_free(w);
}

TEST_MAIN
