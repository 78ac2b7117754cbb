/* TRACE of transactions over groups: which phases, in which order, over which groups; and that it
 * answers whatever becomes of them. TXN STATUS of one. */
#include "cluster.h"

/* Slots: a 15495, b 3300, c 7365, d 11298: with four groups, of 3, 0, 1 and 2. */

struct path {
    struct buf reply;
    char phases[2048]; /* "TRY LOCK(3) LOCK(0) EVALUATE ...", in the order in which it was asked */
    uint32_t steps, open;
    double answered, over; /* us */
};

static void take_line(struct path *p, const char *line)
{
    double asked;
    char answered[24], phase[12];
    unsigned group;
    int used = 0;
    size_t at = strlen(p->phases);
    if (sscanf(line, "total at node %*u: %lf us to the answer, %lf us until", &p->answered,
               &p->over) == 2)
        return;
    if (sscanf(line, " %lf %23s %11s %n", &asked, answered, phase, &used) != 3) return;
    bool here = sscanf(line + used, "group %u at", &group) != 1;
    p->steps++;
    p->open += !here && answered[0] == '-';
    if (at > sizeof p->phases - 40) return;
    at += (size_t)snprintf(p->phases + at, 40, "%s%s", at ? " " : "", phase);
    if (!here) snprintf(p->phases + at, 20, "(%u)", group);
}

static struct path read_path(struct client *k)
{
    struct path p = {0};
    struct bytes r = client_reply(k, &p.reply);
    char line[512];
    size_t size = 0;
    for (size_t i = 0; i < r.size; i++) {
        if (size < sizeof line - 1 && r.data[i] != '\r') line[size++] = (char)r.data[i];
        if (r.data[i] != '\n') continue;
        line[size - 1] = 0;
        take_line(&p, line);
        size = 0;
    }
    return p;
}

static struct path trace(struct client *k, const char *command)
{
    client_say(k, "TRACE %s", command);
    return read_path(k);
}

static bool contains(const struct path *p, const char *text)
{
    return memmem(p->reply.data, p->reply.size, text, strlen(text)) != NULL;
}

static bool ends(const struct path *p, const char *text)
{
    size_t size = strlen(text);
    return p->reply.size >= size && memcmp(p->reply.data + p->reply.size - size, text, size) == 0;
}

/* How a commit over the groups of `writers` (a digit each) ends: one of them is the anchor, the one
 * whose locks were given last. */
static void expect_end(const struct path *p, const char *end, const char *writers)
{
    char expected[256];
    char anchor = strncmp(end, "DECIDE(", 7) ? 0 : end[7];
    size_t at = (size_t)snprintf(expected, sizeof expected, "DECIDE(%c)", anchor);
    if (!strchr(writers, anchor)) fail_msg("it does not end well: %s", p->phases);
    for (const char *g = writers; *g; g++)
        if (*g != anchor)
            at += (size_t)snprintf(expected + at, sizeof expected - at, " FINISH(%c)", *g);
    assert_string_equal(end, expected);
}

/* phases: all of them; or, with writers, those up to ANSWER. */
static void expect_path(struct client *k, const char *command, const char *phases,
                        const char *writers, const char *reply)
{
    struct path p = trace(k, command);
    char *end = strstr(p.phases, " ANSWER ");
    if (writers && end) {
        end[7] = 0;
        expect_end(&p, end + 8, writers);
    }
    assert_string_equal(p.phases, phases);
    assert_int_equal(p.open, 0);
    assert_true(p.answered > 0 && p.answered <= p.over);
    assert_true(ends(&p, reply));
    buf_deinit(&p.reply);
}

TEST(a_transaction_is_followed_through_its_groups)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    for (uint32_t n = 0; n < 3; n++) {
        struct client *k = client_open(&c, n);
        expect_path(k, "MSET a 1 b 2", "TRY LOCK(3) LOCK(0) EVALUATE PREPARE(3) PREPARE(0) ANSWER",
                    "30", "+OK\r\n");
        expect_path(k, "MSET a 1 b 2 c 3",
                    "TRY LOCK(3) LOCK(0) LOCK(1) EVALUATE PREPARE(3) PREPARE(0) PREPARE(1) "
                    "ANSWER",
                    "301", "+OK\r\n");
        client_says(k, "DEL b", ":1\r\n");
        expect_path(k, "DEL a b", "TRY LOCK(3) LOCK(0) EVALUATE HOLDS(0) APPLY(3) ANSWER FINISH(0)",
                    NULL, ":1\r\n");
        expect_path(k, "MGET a c",
                    "TRY LOCK(3) LOCK(1) EVALUATE HOLDS(3) HOLDS(1) ANSWER "
                    "FINISH(3) FINISH(1)",
                    NULL, "$1\r\n3\r\n");
        client_says(k, "HSET a f v", ":1\r\n");
        expect_path(k, "RENAME a b", "TRY LOCK(3) LOCK(0) EVALUATE PREPARE(3) PREPARE(0) ANSWER",
                    "30", "+OK\r\n");
        client_says(k, "HSET a f v", ":1\r\n");
        client_unpack(k, "a");
        /* The elements are asked for once it is known that there are any. */
        expect_path(k, "RENAME a b",
                    "TRY LOCK(3) LOCK(0) EVALUATE LOCK(3) EVALUATE PREPARE(3) PREPARE(0) ANSWER",
                    "30", "+OK\r\n");
    }
    cluster_deinit(&c);
}

TEST(what_came_of_each_step_is_told)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    struct path p = trace(k, "MSET a 1 b 2");
    static const char *const told[] = {"transaction over 2 groups, coordinated by node 1, tries: 1",
                                       "group 3: slots 12288-16383, leader node ",
                                       ": locked",
                                       ": prepared",
                                       "entry ",
                                       "on disk at node ",
                                       "chosen +",
                                       ": committed: this group is the anchor",
                                       ": applied"};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        if (!contains(&p, told[i])) fail_msg("nothing says '%s'", told[i]);
    buf_deinit(&p.reply);
    cluster_deinit(&c);
}

TEST(an_exec_is_followed_too)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 1);
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "INCR a", QUEUED);
    client_says(k, "INCR b", QUEUED);
    expect_path(k, "EXEC", "TRY LOCK(3) LOCK(0) EVALUATE PREPARE(3) PREPARE(0) ANSWER", "30",
                "*2\r\n:1\r\n:1\r\n");
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "INCR a", QUEUED);
    client_say(k, "TRACE EXEC");
    struct path p = read_path(k);
    assert_true(contains(&p, "hash: slot 15495") && ends(&p, "*1\r\n:2\r\n"));
    buf_deinit(&p.reply);
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "PING", QUEUED);
    client_says(k, "TRACE EXEC",
                "*2\r\n$39\r\nit is of no group: this node answers it\r\n*1\r\n+PONG\r\n");
    client_says(k, "GET a", "$1\r\n2\r\n");
    cluster_deinit(&c);
}

TEST(what_cannot_be_followed_is_refused)
{
    struct cluster c;
    cluster_init(&c, 1, 4, 1);
    struct client *k = client_open(&c, 0);
    static const char *const bad[] = {"TRACE",         "TRACE MULTI",         "TRACE MSET a",
                                      "TRACE NOSUCH",  "TRACE EXEC",          "TRACE DBSIZE",
                                      "TRACE TRACE a", "TRACE SYNOD LOCK a b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf reply = {0};
        client_say(k, "%s", bad[i]);
        if (client_reply(k, &reply).data[0] != '-') fail_msg("'%s' is no error", bad[i]);
        buf_deinit(&reply);
    }
    client_says(k, "MULTI", "+OK\r\n");
    client_says(k, "TRACE SET a 1", "-ERR Command not allowed inside a transaction\r\n");
    client_says(k, "TRACE EXEC",
                "-EXECABORT Transaction discarded because of previous errors.\r\n");
    cluster_deinit(&c);
}

/* Three clients take the same keys in different orders, again and again: some are wounded. */
TEST(a_wounded_one_shows_both_tries)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k[3];
    static const char *const command[] = {"MSET a 1 b 2 c 3 d 4", "MSET d 1 c 2 b 3 a 4",
                                          "MSET c 1 a 2 d 3 b 4"};
    uint32_t wounded = 0;
    for (uint32_t n = 0; n < 3; n++) k[n] = client_open(&c, n);
    for (int round = 0; round < 50; round++) {
        for (int n = 0; n < 3; n++) client_say(k[n], "TRACE %s", command[n]);
        for (int n = 0; n < 3; n++) {
            struct path p = read_path(k[n]);
            assert_true(ends(&p, "+OK\r\n"));
            if (contains(&p, "tries: 2")) {
                wounded++;
                assert_true(contains(&p, "TXNLOST") && contains(&p, ": let go"));
                assert_non_null(strstr(p.phases, " TRY "));
                assert_int_equal(p.open, 0);
            }
            buf_deinit(&p.reply);
        }
    }
    assert_true(wounded > 0);
    cluster_deinit(&c);
}

/* Of three nodes one is left: nothing can be prepared, nor let go of, and nobody can say whether
 * what was sent will be. */
TEST(it_answers_in_bounded_time_without_a_leader)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    cluster_kill(&c, 1);
    cluster_kill(&c, 2);
    uint64_t since = world_now(c.w);
    client_say(k, "TRACE MSET a 1 b 2");
    cluster_run(&c, 5000);
    struct path p = read_path(k);
    assert_true(world_now(c.w) - since < 13000000000ull);
    assert_true(contains(&p, "-UNKNOWN"));
    assert_true(p.open > 0 && contains(&p, "was not waited for any longer"));
    buf_deinit(&p.reply);
    cluster_deinit(&c);
}

/* The commit is known, and one who took part is gone before it is told: who asked has his answer
 * two seconds later. */
TEST(it_does_not_wait_for_a_participant_that_is_gone)
{
    uint32_t seen = 0;
    for (int steps = 0; steps < 60 && !seen; steps += 2) {
        struct cluster c;
        cluster_init(&c, 3, 4, 3);
        uint32_t dies = cluster_leader(&c, 0), asks = cluster_other(&c, 0);
        struct client *k = client_open(&c, asks);
        client_say(k, "TRACE MSET a 1 b 2");
        for (int i = 0; i < steps; i++) world_run(c.w, world_now(c.w) + 100000, NULL);
        cluster_kill(&c, dies);
        struct path p = read_path(k);
        seen += ends(&p, "+OK\r\n") && (p.open || p.over > p.answered + 300000);
        assert_true(p.over < p.answered + 2500000);
        buf_deinit(&p.reply);
        cluster_deinit(&c);
    }
    assert_true(seen > 0);
}

/* Who hangs up, and a node that ends, leave nothing behind (the sanitizer looks). */
TEST(nobody_is_left_to_answer)
{
    for (int steps = 0; steps < 20; steps += 3) {
        struct cluster c;
        cluster_init(&c, 3, 4, 3);
        struct client *k = client_open(&c, 0), *other = client_open(&c, 0);
        client_say(k, "TRACE MSET a 1 b 2");
        client_say(other, "TRACE MSET c 1 d 2");
        for (int i = 0; i < steps; i++) world_run(c.w, world_now(c.w) + 100000, NULL);
        client_close(other);
        cluster_run(&c, 1);
        cluster_kill(&c, 0);
        cluster_deinit(&c);
    }
}

/* 300 large hashes are fetched one after the other: more steps than are kept. */
TEST(a_long_path_is_cut)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    char line[64];
    for (int i = 0; i < 300; i++) {
        snprintf(line, sizeof line, "HSET {%s}%d f v", i % 2 ? "a" : "b", i);
        client_says(k, line, ":1\r\n");
        snprintf(line, sizeof line, "{%s}%d", i % 2 ? "a" : "b", i);
        client_unpack(k, line);
    }
    client_says(k, "MULTI", "+OK\r\n");
    for (int i = 0; i < 300; i++) {
        snprintf(line, sizeof line, "COPY {%s}%d {%s}to%d", i % 2 ? "a" : "b", i, i % 2 ? "b" : "a",
                 i);
        client_says(k, line, QUEUED);
    }
    struct path p = trace(k, "EXEC");
    assert_int_equal(p.steps, 256);
    assert_true(contains(&p, " more steps"));
    assert_true(p.reply.size < 100000);
    assert_true(p.answered > 0 && ends(&p, ":1\r\n:1\r\n"));
    buf_deinit(&p.reply);
    cluster_deinit(&c);
}

/* ---- TXN STATUS ---- */

/* The id of the transaction that this node coordinates. */
static void id_of(struct client *k, char id[40])
{
    struct buf reply = {0};
    client_say(k, "TXN LIST");
    struct bytes r = client_reply(k, &reply);
    const char *at = memmem(r.data, r.size, "$2\r\nid\r\n$", 9);
    assert_non_null(at);
    assert_int_equal(sscanf(at, "$2\r\nid\r\n$%*u\r\n%39[0-9.]", id), 1);
    buf_deinit(&reply);
}

static void expect_status(struct client *k, const char *id, const char *state, const char *groups)
{
    struct buf reply = {0};
    char text[80];
    client_say(k, "TXN STATUS %s", id);
    struct bytes r = client_reply(k, &reply);
    int size = snprintf(text, sizeof text, "$5\r\nstate\r\n$%zu\r\n%s\r\n", strlen(state), state);
    if (!memmem(r.data, r.size, text, (size_t)size) ||
        !memmem(r.data, r.size, groups, strlen(groups)))
        fail_msg("not '%s', or not '%s': %.*s", state, groups, (int)r.size, (const char *)r.data);
    buf_deinit(&reply);
}

static void slow_disks(struct cluster *c, uint64_t ms)
{
    for (uint32_t n = 0; n < 3; n++)
        if (!world_dead(c->w, n)) world_disk(c->w, n)->write_ns = ms * 1000000;
}

TEST(the_state_of_a_transaction_is_told_by_any_node)
{
    for (uint32_t asked = 0; asked < 3; asked++) {
        struct cluster c;
        char id[40];
        cluster_init(&c, 3, 4, 3);
        struct client *k = client_open(&c, 0), *list = client_open(&c, 0),
                      *look = client_open(&c, asked);
        slow_disks(&c, 200);
        client_say(k, "MSET a 1 b 2");
        cluster_run(&c, 20);
        id_of(list, id);
        expect_status(look, id, "prepared", "$6\r\nanchor\r\n:3\r\n");
        cluster_run(&c, 200);
        expect_status(look, id, "committed", "*2\r\n:3\r\n$7\r\ndecided\r\n");
        client_expect(k, "+OK\r\n");
        cluster_run(&c, 2000);
        expect_status(look, id, "not known", "$6\r\ngroups\r\n*0\r\n");
        cluster_deinit(&c);
    }
}

/* One that waits for the locks of another. */
TEST(one_that_waits_is_open)
{
    struct cluster c;
    char id[40];
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0), *other = client_open(&c, 1), *look = client_open(&c, 2),
                  *list = client_open(&c, 1);
    slow_disks(&c, 500);
    client_say(k, "MSET a 1 b 2");
    cluster_run(&c, 50);
    client_say(other, "MGET c a");
    cluster_run(&c, 50);
    id_of(list, id);
    expect_status(look, id, "open", "*2\r\n:1\r\n$4\r\nopen\r\n");
    client_expect(other, "*2\r\n$-1\r\n$1\r\n1\r\n");
    client_expect(k, "+OK\r\n");
    cluster_deinit(&c);
}

static bool says(struct client *k, const char *command, const char *text)
{
    struct buf reply = {0};
    client_say(k, "%s", command);
    struct bytes r = client_reply(k, &reply);
    bool said = memmem(r.data, r.size, text, strlen(text)) != NULL;
    buf_deinit(&reply);
    return said;
}

/* Its coordinator dies when all is prepared: until somebody has asked the anchor, it is in doubt.
 */
TEST(who_is_in_doubt_is_told)
{
    struct cluster c;
    char id[40], status[60];
    cluster_init(&c, 3, 4, 3);
    uint32_t other = cluster_leader(&c, 0), anchor = cluster_leader(&c, 3), asks = 0;
    while (asks == other || asks == anchor) asks++;
    struct client *k = client_open(&c, asks), *list = client_open(&c, asks),
                  *look = client_open(&c, other);
    slow_disks(&c, 400);
    client_say(k, "MSET a 1 b 2");
    cluster_run(&c, 100);
    id_of(list, id);
    snprintf(status, sizeof status, "TXN STATUS %s", id);
    assert_true(says(look, "SYNOD STATUS", "\"state\":\"prepared\",\"age_ms\":"));
    cluster_kill(&c, asks);
    cluster_run(&c, 10);
    assert_true(says(look, "SYNOD STATUS", "\"state\":\"in doubt\",\"age_ms\":"));
    assert_true(says(look, status, "in doubt: its coordinator is gone"));
    slow_disks(&c, 1);
    cluster_settle(&c);
    cluster_run(&c, 5000);
    expect_status(look, id, "not known", "$6\r\ngroups\r\n*0\r\n");
    assert_false(says(look, "SYNOD STATUS", "transactions"));
    cluster_deinit(&c);
}

TEST(groups_without_a_leader_are_named)
{
    struct cluster c;
    cluster_init(&c, 3, 4, 3);
    struct client *k = client_open(&c, 0);
    cluster_kill(&c, 1);
    cluster_kill(&c, 2);
    cluster_run(&c, 3000);
    uint64_t since = world_now(c.w);
    expect_status(k, "1.2.3", "not known", "*2\r\n:3\r\n$6\r\nsilent\r\n");
    assert_true(world_now(c.w) - since < 3000000000ull);
    client_says(k, "TXN STATUS 1.2.x",
                "-ERR an id is as TXN LIST and TRACE show it: node.life.number\r\n");
    client_say(k, "TXN STATUS 1.2.3");
    cluster_run(&c, 100);
    client_close(k);
    cluster_kill(&c, 0); /* in the middle of it */
    cluster_deinit(&c);
}

TEST_MAIN
