/* The nemesis: what goes wrong, when, and for how long.
 *
 * Each seed draws which kinds of faults there are and how often each comes (a swarm: few kinds at a
 * time find what all at once hide). A fault that lasts is a task with an end. The budget: at most a
 * minority of the members loses its data for good (one in a run), all else ends, so a majority is
 * well in the end and every failure is a bug. */
#include "sim/nemesis.h"

enum fault_family {
    FAMILY_CRASH = 1,
    FAMILY_NET = 2,
    FAMILY_DISK = 4,
    FAMILY_CLOCK = 8,
    FAMILY_RING = 16
};

struct fault_kind {
    const char *name;
    uint8_t family;
    uint32_t chance_ppm;  /* that a seed has it */
    uint32_t interval_ms; /* mean; a seed draws a third to three times as much */
    uint32_t nodes_min;
    void (*strike)(struct nemesis *n);
};

/* ---- tasks ---- */

static void task_due(void *ctx)
{
    struct task *t = ctx;
    if (!t->done) t->run(t); /* else healing came first */
    list_remove(&t->in_nemesis);
    mem_free(t);
}

void nemesis_after(struct nemesis *n, uint64_t delay, void (*run)(struct task *t), uint32_t a,
                   uint32_t b, uint32_t c)
{
    struct task *t = mem_alloc(sizeof *t);
    *t = (struct task){.n = n, .run = run, .a = a, .b = b, .c = c};
    list_push(&n->tasks, &t->in_nemesis);
    world_after(n->s->w, delay, task_due, t);
}

/* Small ends first: most faults are short, some outlast every timeout. */
static uint64_t duration(struct nemesis *n)
{
    static const uint64_t upto_ms[] = {50, 200, 700, 700, 2000, 5000};
    return draw_ms(n, 1, upto_ms[draw(n, 0, 5)]);
}

static struct member *any_up(struct nemesis *n)
{
    struct sim *s = n->s;
    uint32_t from = (uint32_t)draw(n, 0, s->nodes - 1);
    for (uint32_t i = 0; i < s->nodes; i++) {
        struct member *m = &s->member[(from + i) % s->nodes];
        if (m->state == MEMBER_UP) return m;
    }
    return NULL;
}

struct member *nemesis_leader(struct nemesis *n)
{
    struct sim *s = n->s;
    uint32_t group = (uint32_t)draw(n, 0, s->groups - 1);
    for (uint32_t i = 0; i < s->nodes; i++) {
        struct node_group_view v;
        struct member *m = &s->member[i];
        if (m->state == MEMBER_UP && node_group(m->node, group, &v) && v.leads) return m;
    }
    return any_up(n);
}

/* ---- crashes ---- */

static bool room_is_low(const struct member *m)
{
    return world_disk(m->s->w, m->host)->taken > 0;
}

/* From now on blocking writes are whole again. */
static void cut_ends_soon(struct task *t)
{
    world_disk(t->n->s->w, t->a)->cut_ppm = 0;
}

static void restart(struct task *t)
{
    struct nemesis *n = t->n;
    struct sim *s = n->s;
    struct member *m = &s->member[t->a];
    struct world_disk *disk = world_disk(s->w, m->host);

    n->restart[t->a] = false;
    if (m->state != MEMBER_DOWN) return;
    m->excused = false;
    disk->error_ppm = 0;
    disk->cut_ppm = 0;
    if (!s->calm && n->habit[FAULT_RECOVERY].mean_ns && draw(n, 0, 3) == 0) {
        disk->cut_ppm = (uint32_t)draw(n, 1, 500000);
        nemesis_after(n, draw_ms(n, 0, 400), cut_ends_soon, m->host, 0, 0);
    }
    if (member_start(m)) return;
    if (m->cut) {
        SIM_COUNT(s, crash_in_recovery);
    } else if (m->damaged) {
        SIM_COUNT(s, refused_starts);
        m->state = MEMBER_LOST;
        return;
    } else if (!room_is_low(m)) {
        sim_fail(s, SIM_ENDED, "node %u does not start: %s", m->host + 1, m->last_words);
        return;
    }
    nemesis_restart(n, m, draw_ms(n, 1, 300));
}

void nemesis_restart(struct nemesis *n, struct member *m, uint64_t delay)
{
    if (n->restart[m->host]) return;
    n->restart[m->host] = true;
    if (n->s->calm && delay > 10 * MILLISECOND) delay = 10 * MILLISECOND;
    nemesis_after(n, delay, restart, m->host, 0, 0);
}

/* A node ended by itself. With damage on its disk that nothing else explains it noticed later than
 * at its start; a disk that also fails to write is no reason to give it up. */
void nemesis_node_down(struct nemesis *n, struct member *m)
{
    if (m->damaged && !m->cut && !world_disk(n->s->w, m->host)->error_ppm)
        m->state = MEMBER_LOST;
    else
        nemesis_restart(n, m, duration(n));
}

static void kill(struct nemesis *n, struct member *m, enum world_death how)
{
    if (!m || m->state != MEMBER_UP) return;
    member_kill(m, how);
    nemesis_restart(n, m, duration(n));
}

static void strike_crash(struct nemesis *n)
{
    SIM_COUNT(n->s, crash);
    kill(n, draw(n, 0, 2) ? nemesis_leader(n) : any_up(n), WORLD_EXIT);
}

static void strike_crash_all(struct nemesis *n)
{
    SIM_COUNT(n->s, crash_all);
    enum world_death how = draw(n, 0, 1) ? WORLD_POWER : WORLD_EXIT;
    for (uint32_t i = 0; i < n->s->nodes; i++) kill(n, &n->s->member[i], how);
}

static void strike_power(struct nemesis *n)
{
    SIM_COUNT(n->s, power_loss);
    kill(n, any_up(n), WORLD_POWER);
}

/* The crash comes within some hundred microseconds to milliseconds of a start. */
static void crash_now(struct task *t)
{
    struct member *m = &t->n->s->member[t->a];
    if (t->n->s->calm || m->state != MEMBER_UP || m->lives != t->b) return;
    SIM_COUNT(t->n->s, crash_in_recovery);
    kill(t->n, m, t->c ? WORLD_POWER : WORLD_EXIT);
}

static void strike_recovery(struct nemesis *n)
{
    struct member *m = any_up(n);
    if (!m) return;
    kill(n, m, WORLD_EXIT);
    /* its next life, and the one after it, are short */
    uint64_t at = draw_ms(n, 1, 400);
    for (uint32_t life = 1; life <= 3; life++) {
        nemesis_after(n, at, crash_now, m->host, m->lives + life, (uint32_t)draw(n, 0, 1));
        at += draw_ms(n, 0, 300);
    }
}

static void stopped(struct task *t)
{
    struct nemesis *n = t->n;
    struct member *m = &n->s->member[t->a];
    if (m->state != MEMBER_UP || m->lives != t->b) return;
    world_enter(n->s->w, m->host);
    bool done = node_stop(m->node);
    bool dead = world_dead(n->s->w, m->host);
    world_leave(n->s->w, m->host);
    if (dead) {
        member_died(n->s, m->host);
    } else if (done || t->c == 0 || n->s->calm) {
        kill(n, m, WORLD_EXIT);
    } else {
        nemesis_after(n, 5 * MILLISECOND, stopped, t->a, t->b, t->c - 1);
    }
}

static void strike_stop(struct nemesis *n)
{
    struct member *m = any_up(n);
    if (!m || m->stopping) return;
    SIM_COUNT(n->s, stop);
    m->stopping = true;
    nemesis_after(n, 0, stopped, m->host, m->lives, 600);
}

/* ---- time ---- */

static void strike_pause(struct nemesis *n)
{
    struct member *m = draw(n, 0, 1) ? nemesis_leader(n) : any_up(n);
    if (!m) return;
    SIM_COUNT(n->s, pause);
    world_pause(n->s->w, m->host, draw_ms(n, 1, 300));
}

static void strike_wall(struct nemesis *n)
{
    SIM_COUNT(n->s, wall_jump);
    int64_t ms = (int64_t)draw(n, 0, 20000000) - 10000000;
    world_wall_jump(n->s->w, (uint32_t)draw(n, 0, n->s->nodes - 1),
                    draw(n, 0, 1) ? ms : ms / 10000);
}

static void clock_rate(struct nemesis *n, uint32_t host, int32_t ppm)
{
    world_say(n->s->w, host, "clock at %+d ppm", ppm);
    world_set_rate(n->s->w, host, ppm);
}

/* One clock drifts anywhere within the bound; or a leader's is as slow as may be and all others as
 * fast. */
static void strike_rate(struct nemesis *n)
{
    struct sim *s = n->s;
    int32_t most = s->drift_ppm;
    SIM_COUNT(s, rate_change);
    struct member *leader = nemesis_leader(n);
    if (leader && draw(n, 0, 1)) {
        for (uint32_t i = 0; i < s->nodes; i++) clock_rate(n, i, i == leader->host ? -most : most);
        return;
    }
    int32_t ppm = (int32_t)draw(n, 0, 2 * (uint64_t)most) - most;
    clock_rate(n, (uint32_t)draw(n, 0, s->nodes - 1), draw(n, 0, 1) ? ppm : ppm < 0 ? -most : most);
}

static void stall_ends(struct task *t)
{
    world_cpu(t->n->s->w, t->a)->stall_ppm = 0;
}

static void strike_stall(struct nemesis *n)
{
    struct member *m = draw(n, 0, 1) ? nemesis_leader(n) : any_up(n);
    if (!m) return;
    SIM_COUNT(n->s, stall);
    struct world_cpu *cpu = world_cpu(n->s->w, m->host);
    cpu->stall_ppm = (uint32_t)draw(n, 100, 20000);
    cpu->stall_ns = draw_ms(n, 1, 1500);
    nemesis_after(n, duration(n), stall_ends, m->host, 0, 0);
}

/* ---- network ---- */

void nemesis_cut(struct nemesis *n, uint32_t from, uint32_t to)
{
    if (from == to) return;
    if (n->cuts[from][to]++ == 0) world_block(n->s->w, from, to, true);
}

void nemesis_uncut(struct nemesis *n, uint32_t from, uint32_t to)
{
    if (from == to) return;
    ASSERT(n->cuts[from][to] > 0);
    if (--n->cuts[from][to] == 0) world_block(n->s->w, from, to, false);
}

static void cut_ends(struct task *t)
{
    nemesis_uncut(t->n, t->a, t->b);
}

void nemesis_cut_for(struct nemesis *n, uint32_t from, uint32_t to, uint64_t time)
{
    nemesis_cut(n, from, to);
    nemesis_after(n, time, cut_ends, from, to, 0);
}

/* Long enough, mostly, for the others to elect somebody, and often short enough for the old
 * leader's lease to be of interest. */
uint64_t nemesis_election_time(struct nemesis *n)
{
    uint64_t both = n->s->knobs.lease_ms + n->s->knobs.election_ms;
    return draw_ms(n, both / 2, 3 * both);
}

/* Between two sets of nodes; one_way: 0 both ways, 1 from the first set, 2 to it. */
static void partition_for(struct nemesis *n, uint32_t first, uint32_t one_way, uint64_t time)
{
    world_say(n->s->w, n->s->clients_host, "partition of %x, %s, for %u ms", first,
              one_way == 0   ? "both ways"
              : one_way == 1 ? "not heard"
                             : "deaf",
              (unsigned)(time / MILLISECOND));
    for (uint32_t i = 0; i < n->s->nodes; i++)
        for (uint32_t j = 0; j < n->s->nodes; j++) {
            if (!(first >> i & 1) || (first >> j & 1)) continue;
            if (one_way != 2) nemesis_cut_for(n, i, j, time);
            if (one_way != 1) nemesis_cut_for(n, j, i, time);
        }
}

static void partition(struct nemesis *n, uint32_t first, uint32_t one_way)
{
    partition_for(n, first, one_way, draw(n, 0, 1) ? duration(n) : nemesis_election_time(n));
}

static void strike_partition(struct nemesis *n)
{
    SIM_COUNT(n->s, partition);
    if (draw(n, 0, 3) == 0 &&
        n->s->nodes >= 3) { /* one link cut: a bridge of three, or a hole in a ring */
        uint32_t i = (uint32_t)draw(n, 0, n->s->nodes - 1), j = (i + 1) % n->s->nodes;
        uint64_t time = duration(n);
        nemesis_cut_for(n, i, j, time);
        nemesis_cut_for(n, j, i, time);
        return;
    }
    partition(n, (uint32_t)draw(n, 1, (1u << n->s->nodes) - 2), 0);
}

static void strike_one_way(struct nemesis *n)
{
    SIM_COUNT(n->s, one_way);
    partition(n, (uint32_t)draw(n, 1, (1u << n->s->nodes) - 2), (uint32_t)draw(n, 1, 2));
}

/* Is there a partition already? Then one more makes no new situation, only a longer outage. */
bool nemesis_is_cut(const struct nemesis *n)
{
    for (uint32_t i = 0; i < n->s->nodes; i++)
        for (uint32_t j = 0; j < n->s->nodes; j++)
            if (n->cuts[i][j]) return true;
    return false;
}

static void strike_isolate_leader(struct nemesis *n)
{
    struct member *m = nemesis_leader(n);
    if (!m || nemesis_is_cut(n)) return;
    SIM_COUNT(n->s, isolate_leader);
    partition_for(n, 1u << m->host, (uint32_t)draw(n, 0, 2), nemesis_election_time(n));
}

/* Links go one by one and come back in another order. */
static void strike_swizzle(struct nemesis *n)
{
    SIM_COUNT(n->s, swizzle);
    uint64_t span = duration(n);
    for (uint32_t i = 0; i < n->s->nodes; i++)
        for (uint32_t j = 0; j < n->s->nodes; j++)
            if (i != j && draw(n, 0, 1)) nemesis_cut_for(n, i, j, draw(n, 1, span));
}

/* Longer than any lease. Half of the time what the others would say on waking is held back too. */
static void strike_pause_long(struct nemesis *n)
{
    struct member *m = draw(n, 0, 3) ? nemesis_leader(n) : any_up(n);
    if (!m) return;
    SIM_COUNT(n->s, pause_long);
    uint64_t time = nemesis_election_time(n);
    world_pause(n->s->w, m->host, time);
    if (n->s->nodes > 1 && !nemesis_is_cut(n) && draw(n, 0, 1))
        partition_for(n, 1u << m->host, 0, time + draw_ms(n, 1, 500));
}

static void strike_client_cut(struct nemesis *n)
{
    uint32_t node = (uint32_t)draw(n, 0, n->s->nodes - 1), clients = n->s->clients_host;
    uint64_t time = duration(n);
    SIM_COUNT(n->s, client_cut);
    if (draw(n, 0, 2)) nemesis_cut_for(n, node, clients, time);
    if (draw(n, 0, 2)) nemesis_cut_for(n, clients, node, time);
}

/* As it is where no fault is; clients are near. */
static void link_calm(struct sim *s, uint32_t from, uint32_t to)
{
    struct world_link *l = world_link(s->w, from, to);
    bool far = from < s->nodes && to < s->nodes;
    l->latency_ns = far ? s->latency_ns : 50 * MICROSECOND;
    l->jitter_ns = l->latency_ns;
    l->ns_per_kib = 1000;
}

static void link_ends(struct task *t)
{
    link_calm(t->n->s, t->a, t->b);
}

static void strike_slow_link(struct nemesis *n)
{
    uint32_t i = (uint32_t)draw(n, 0, n->s->nodes - 1),
             j = (uint32_t)draw(n, 0, n->s->clients_host);
    if (i == j) return;
    SIM_COUNT(n->s, slow_link);
    struct world_link *l = world_link(n->s->w, i, j);
    l->latency_ns = draw_ms(n, 1, 100);
    l->jitter_ns = draw_ms(n, 1, 100);
    l->ns_per_kib = draw(n, 1000, 2 * MILLISECOND);
    nemesis_after(n, duration(n), link_ends, i, j, 0);
}

static void frames_end(struct task *t)
{
    struct world_link *l = world_link(t->n->s->w, t->a, t->b);
    l->drop_ppm = l->double_ppm = l->delay_ppm = 0;
}

static void strike_frames(struct nemesis *n)
{
    SIM_COUNT(n->s, frame_storm);
    uint64_t time = duration(n);
    uint32_t drop = draw(n, 0, 1) ? (uint32_t)draw(n, 0, 300000) : 0,
             twice = draw(n, 0, 1) ? (uint32_t)draw(n, 0, 500000) : 0;
    uint32_t late = draw(n, 0, 1) ? (uint32_t)draw(n, 0, 300000) : 0;
    for (uint32_t i = 0; i < n->s->nodes; i++)
        for (uint32_t j = 0; j < n->s->nodes; j++) {
            struct world_link *l = world_link(n->s->w, i, j);
            if (i == j || draw(n, 0, 2) == 0) continue;
            l->drop_ppm = drop;
            l->double_ppm = twice;
            l->delay_ppm = late;
            l->delay_ns = draw_ms(n, 1, draw(n, 0, 3) ? 20 : 1000);
            nemesis_after(n, time, frames_end, i, j, 0);
        }
}

static void strike_reset(struct nemesis *n)
{
    SIM_COUNT(n->s, reset);
    for (uint64_t i = draw(n, 1, 4); i > 0; i--) world_reset_one(n->s->w);
}

/* ---- disks ---- */

static void disk_resumes(struct task *t)
{
    world_disk_resume(t->n->s->w, t->a);
}

static void strike_disk_stall(struct nemesis *n)
{
    struct member *m = draw(n, 0, 1) ? nemesis_leader(n) : any_up(n);
    if (!m) return;
    SIM_COUNT(n->s, disk_stall);
    world_disk(n->s->w, m->host)->stalled = true;
    nemesis_after(n, duration(n), disk_resumes, m->host, 0, 0);
}

static void disk_calm(struct sim *s, uint32_t host)
{
    world_disk(s->w, host)->write_ns = s->write_ns;
    world_disk(s->w, host)->write_jitter_ns = 2 * s->write_ns;
}

static void disk_fast(struct task *t)
{
    disk_calm(t->n->s, t->a);
}

static void strike_disk_slow(struct nemesis *n)
{
    uint32_t host = (uint32_t)draw(n, 0, n->s->nodes - 1);
    SIM_COUNT(n->s, disk_slow);
    struct world_disk *d = world_disk(n->s->w, host);
    d->write_ns = draw_ms(n, 1, 20);
    d->write_jitter_ns = draw_ms(n, 1, 60);
    nemesis_after(n, duration(n), disk_fast, host, 0, 0);
}

static void strike_disk_error(struct nemesis *n)
{
    struct member *m = any_up(n);
    if (!m) return;
    SIM_COUNT(n->s, disk_error);
    m->excused = true;
    world_disk(n->s->w, m->host)->error_ppm = 1000000; /* until it is started anew */
}

static void disk_has_room(struct task *t)
{
    world_disk(t->n->s->w, t->a)->taken = 0;
}

static void strike_disk_full(struct nemesis *n)
{
    struct member *m = any_up(n);
    if (!m) return;
    SIM_COUNT(n->s, disk_full);
    struct world_disk *d = world_disk(n->s->w, m->host);
    int64_t room = io_room(world_io(n->s->w, m->host));
    uint64_t leave = draw(n, 0, 1) ? 0 : draw(n, 0, 2u << 20);
    if (d->taken || room < (int64_t)leave) return;
    d->taken = (uint64_t)room - leave + 1;
    nemesis_after(n, duration(n), disk_has_room, m->host, 0, 0);
}

static void ingest_ends(struct task *t)
{
    t->n->s->member[t->a].shim.full_ppm = 0;
}

static void strike_ingest_full(struct nemesis *n)
{
    struct member *m = any_up(n);
    if (!m) return;
    m->shim.full_ppm = (uint32_t)draw(n, 100000, 1000000);
    nemesis_after(n, duration(n), ingest_ends, m->host, 0, 0);
}

static void misses_end(struct task *t)
{
    struct member *m = &t->n->s->member[t->a];
    if (m->state == MEMBER_UP) engine_mem_set_miss(m->shim.inner, 0, 1);
}

static void strike_misses(struct nemesis *n)
{
    struct member *m = draw(n, 0, 2) ? nemesis_leader(n) : any_up(n);
    if (!m) return;
    SIM_COUNT(n->s, miss_storm);
    engine_mem_set_miss(m->shim.inner, (uint32_t)draw(n, 10000, 1000000), draw(n, 1, UINT32_MAX));
    nemesis_after(n, duration(n), misses_end, m->host, 0, 0);
}

/* Somebody whose data may be lost for good. */
struct member *nemesis_victim(struct nemesis *n)
{
    struct member *m = any_up(n);
    return m && !m->damaged && members_may_lose(n->s, m) ? m : NULL;
}

static void strike_damage(struct nemesis *n)
{
    char what[100];
    struct member *m = nemesis_victim(n);
    if (!m) return;
    member_kill(m, WORLD_POWER);
    if (world_damage(n->s->w, m->host, (enum world_damage)draw(n, 0, WORLD_DAMAGES - 1), what,
                     sizeof what)) {
        SIM_COUNT(n->s, damage);
        n->s->lost_ids |= 1ull << m->id;
        m->damaged = true;
        world_say(n->s->w, m->host, "damage: %s", what);
    }
    nemesis_restart(n, m, duration(n));
}

/* ---- nodes that come and go ---- */

static struct member *any_of(struct nemesis *n, enum member_state state)
{
    struct sim *s = n->s;
    uint32_t from = (uint32_t)draw(n, 0, s->nodes - 1);
    for (uint32_t i = 0; i < s->nodes; i++)
        if (s->member[(from + i) % s->nodes].state == state)
            return &s->member[(from + i) % s->nodes];
    return NULL;
}

/* A spare one, or one that was removed before, which comes back with an empty disk. */
static void strike_join(struct nemesis *n)
{
    struct member *m = any_of(n, MEMBER_IDLE);
    if (!m) return;
    SIM_COUNT(n->s, joins);
    member_wipe(m);
    m->config.capacity = (uint32_t)draw(n, 0, 2) ? 100 : (uint32_t)draw(n, 30, 300);
    nemesis_restart(n, m, draw_ms(n, 0, 100));
}

/* Its disk is replaced, and whoever did that knows what to do: the node joins anew, while the
 * others may think it alive. */
static void strike_wipe(struct nemesis *n)
{
    struct member *m = nemesis_victim(n);
    if (!m || n->s->founders + n->s->nodes == 2) return;
    SIM_COUNT(n->s, wipes);
    member_kill(m, draw(n, 0, 1) ? WORLD_POWER : WORLD_EXIT);
    member_wipe(m);
    nemesis_restart(n, m, duration(n));
}

static void strike_repair(struct nemesis *n)
{
    struct member *m = any_of(n, MEMBER_LOST);
    if (!m) return;
    SIM_COUNT(n->s, repairs);
    member_wipe(m);
    nemesis_restart(n, m, draw_ms(n, 0, 1000));
}

/* Away for about as long as the others wait for it. */
static void strike_missed(struct nemesis *n)
{
    struct member *m = any_up(n);
    if (!m) return;
    SIM_COUNT(n->s, missed);
    member_kill(m, draw(n, 0, 1) ? WORLD_POWER : WORLD_EXIT);
    nemesis_restart(n, m, draw_ms(n, 2000, 3500 + n->s->knobs.grace_ms + 3000));
}

/* ---- the swarm ---- */

static const struct fault_kind kinds[FAULTS] = {
    [FAULT_CRASH] = {"crash", FAMILY_CRASH, 600000, 3000, 1, strike_crash},
    [FAULT_CRASH_ALL] = {"crash-all", FAMILY_CRASH, 250000, 7000, 1, strike_crash_all},
    [FAULT_POWER] = {"power", FAMILY_CRASH, 300000, 5000, 1, strike_power},
    [FAULT_RECOVERY] = {"recovery", FAMILY_CRASH, 300000, 5000, 1, strike_recovery},
    [FAULT_STOP] = {"stop", FAMILY_CRASH, 200000, 6000, 1, strike_stop},
    [FAULT_PAUSE] = {"pause", FAMILY_CLOCK, 400000, 1500, 1, strike_pause},
    [FAULT_PAUSE_LONG] = {"pause-long", FAMILY_CLOCK, 400000, 2500, 1, strike_pause_long},
    [FAULT_PARTITION] = {"partition", FAMILY_NET, 400000, 3000, 2, strike_partition},
    [FAULT_ONE_WAY] = {"one-way", FAMILY_NET, 350000, 3000, 2, strike_one_way},
    [FAULT_ISOLATE_LEADER] = {"isolate-leader", FAMILY_NET, 500000, 2000, 2, strike_isolate_leader},
    [FAULT_BETRAYAL] = {"betrayal", FAMILY_NET, 300000, 2500, 3, strike_betrayal},
    [FAULT_STALE_LOG] = {"stale-log", FAMILY_NET, 800000, 1000, 3, strike_stale_log},
    [FAULT_SWIZZLE] = {"swizzle", FAMILY_NET, 200000, 5000, 2, strike_swizzle},
    [FAULT_CLIENT_CUT] = {"client-cut", FAMILY_NET, 250000, 4000, 1, strike_client_cut},
    [FAULT_SLOW_LINK] = {"slow-link", FAMILY_NET, 300000, 2500, 1, strike_slow_link},
    [FAULT_FRAMES] = {"frames", FAMILY_NET, 500000, 2000, 2, strike_frames},
    [FAULT_RESET] = {"reset", FAMILY_NET, 400000, 1500, 1, strike_reset},
    [FAULT_WALL] = {"wall", FAMILY_CLOCK, 300000, 3000, 1, strike_wall},
    [FAULT_RATE] = {"rate", FAMILY_CLOCK, 500000, 2500, 1, strike_rate},
    [FAULT_STALL] = {"stall", FAMILY_CLOCK, 250000, 4000, 1, strike_stall},
    [FAULT_DISK_STALL] = {"disk-stall", FAMILY_DISK, 300000, 4000, 1, strike_disk_stall},
    [FAULT_DISK_SLOW] = {"disk-slow", FAMILY_DISK, 300000, 3000, 1, strike_disk_slow},
    [FAULT_DISK_ERROR] = {"disk-error", FAMILY_DISK, 250000, 5000, 1, strike_disk_error},
    [FAULT_DISK_FULL] = {"disk-full", FAMILY_DISK, 200000, 5000, 1, strike_disk_full},
    [FAULT_INGEST_FULL] = {"ingest-full", FAMILY_DISK, 200000, 4000, 1, strike_ingest_full},
    [FAULT_MISSES] = {"misses", FAMILY_DISK, 400000, 1500, 1, strike_misses},
    [FAULT_DAMAGE] = {"damage", FAMILY_DISK, 150000, 4000, 3, strike_damage},
    [FAULT_FORMAT] = {"format", FAMILY_DISK, 250000, 4000, 3, strike_format},
    [FAULT_JOIN] = {"join", FAMILY_RING, 800000, 3000, 1, strike_join},
    [FAULT_WIPE] = {"wipe", FAMILY_RING, 400000, 6000, 1, strike_wipe},
    [FAULT_REPAIR] = {"repair", FAMILY_RING, 700000, 2000, 1, strike_repair},
    [FAULT_MISSED] = {"missed", FAMILY_RING, 400000, 6000, 1, strike_missed},
    [FAULT_LAST_COPY] = {"last-copy", FAMILY_RING, 500000, 5000, 3, strike_last_copy},
};

static void habit_strikes(void *ctx)
{
    struct habit *c = ctx;
    struct nemesis *n = c->n;
    if (n->s->calm || n->s->stop) return;
    world_note(n->s->w, 'N', c->fault, 0);
    world_say(n->s->w, n->s->clients_host, "fault: %s", kinds[c->fault].name);
    kinds[c->fault].strike(n);
    world_after(n->s->w, draw(n, 1, 2 * c->mean_ns), habit_strikes, c);
}

static bool mode_allows(enum sim_mode mode, uint8_t family)
{
    switch (mode) {
    case SIM_CALM: return false;
    case SIM_CRASHES: return family == FAMILY_CRASH;
    case SIM_NETWORK: return family == FAMILY_NET;
    case SIM_DISKS: return family == FAMILY_DISK || family == FAMILY_CRASH;
    case SIM_CLOCKS: return family == FAMILY_CLOCK || family == FAMILY_NET;
    default: return true;
    }
}

struct nemesis *nemesis_new(struct sim *s)
{
    struct nemesis *n = mem_zalloc(sizeof *n);
    n->s = s;
    prng_init(&n->random, hash_mix(s->options.seed ^ 0x6e656d65));
    list_init(&n->tasks);
    for (uint32_t f = 0; f < FAULTS; f++) {
        bool has = prng_chance(&n->random, kinds[f].chance_ppm);
        uint64_t mean = draw_ms(n, kinds[f].interval_ms / 3, 3 * kinds[f].interval_ms);
        if (!mode_allows(s->options.mode, kinds[f].family) || s->nodes < kinds[f].nodes_min)
            has = false;
        if (kinds[f].family == FAMILY_RING && !s->elastic) has = false;
        n->habit[f] = (struct habit){n, f, has ? mean : 0};
    }
    return n;
}

/* What is there all the time, a little. */
static void background(struct nemesis *n)
{
    struct sim *s = n->s;
    for (uint32_t i = 0; i < s->nodes; i++) disk_calm(s, i);
    for (uint32_t i = 0; i <= s->clients_host; i++)
        for (uint32_t j = 0; j <= s->clients_host; j++) link_calm(s, i, j);
    if (!mode_allows(s->options.mode, FAMILY_NET)) return;
    uint32_t split = draw(n, 0, 1) ? (uint32_t)draw(n, 0, 300000) : 0,
             refuse = draw(n, 0, 3) ? 0 : 200000;
    uint32_t reset = draw(n, 0, 3) ? 0 : (uint32_t)draw(n, 1, 500);
    for (uint32_t i = 0; i <= s->clients_host; i++)
        for (uint32_t j = 0; j <= s->clients_host; j++) {
            struct world_link *l = world_link(s->w, i, j);
            l->split_ppm = split;
            l->refuse_ppm = refuse;
            l->reset_ppm = reset;
        }
}

void nemesis_start(struct nemesis *n)
{
    background(n);
    for (uint32_t f = 0; f < FAULTS; f++)
        if (n->habit[f].mean_ns)
            world_after(n->s->w, draw(n, 1, 2 * n->habit[f].mean_ns), habit_strikes, &n->habit[f]);
    if (mode_allows(n->s->options.mode, FAMILY_CLOCK))
        for (uint32_t i = 0; i < n->s->nodes; i++) strike_rate(n);
}

static void links_heal(struct sim *s, uint32_t keep_down)
{
    for (uint32_t i = 0; i <= s->clients_host; i++)
        for (uint32_t j = 0; j <= s->clients_host; j++) {
            struct world_link *l = world_link(s->w, i, j);
            *l = (struct world_link){.blocked = l->blocked};
            link_calm(s, i, j);
            if (i != j && (i == keep_down || j == keep_down)) world_block(s->w, i, j, true);
        }
}

static bool asks_in_vain(const struct member *m)
{
    const struct sim *s = m->s;
    for (uint32_t i = 0; i < s->nodes; i++)
        if (strcmp(s->member[i].peer, m->join) == 0)
            return s->member[i].state != MEMBER_UP || !s->member[i].id || s->member[i].away;
    return true;
}

/* Who asks somebody that cannot let it in asks another, as long as there is somebody. */
static void joins_heal(struct task *t)
{
    struct nemesis *n = t->n;
    for (uint32_t i = 0; i < n->s->nodes; i++) {
        struct member *m = &n->s->member[i];
        if (m->state != MEMBER_UP || !m->config.join || node_id(m->node) || !asks_in_vain(m))
            continue;
        member_kill(m, WORLD_EXIT);
        nemesis_restart(n, m, 0);
    }
    nemesis_after(n, 2 * SECOND, joins_heal, 0, 0, 0);
}

void nemesis_heal(struct nemesis *n, uint32_t keep_down)
{
    struct sim *s = n->s;
    struct list *last = n->tasks.prev;
    s->calm = true;
    if (keep_down != UINT32_MAX) s->member[keep_down].away = true;
    s->knobs.snapshot_rate = 0;
    for (uint32_t i = 0; i < s->nodes; i++) {
        s->member[i].config.snapshot_rate = 0;
        if (s->member[i].node) node_limit_snapshots(s->member[i].node, 0);
        world_disk(s->w, i)->error_ppm = world_disk(s->w, i)->cut_ppm = 0;
        world_resume(s->w, i);
    }
    /* The ends of all faults, and starts of what is down, now; tasks made meanwhile come in their
     * time. */
    for (struct list *at = n->tasks.next; last != &n->tasks; at = at->next) {
        struct task *t = LIST_OF(at, struct task, in_nemesis);
        if (!t->done) t->run(t);
        t->done = true;
        if (at == last) break;
    }
    links_heal(s, keep_down);
    nemesis_after(n, 10 * MILLISECOND, joins_heal, 0, 0, 0);
}

void nemesis_free(struct nemesis *n)
{
    struct list *at;
    if (!n) return;
    while ((at = list_pop(&n->tasks))) mem_free(LIST_OF(at, struct task, in_nemesis));
    mem_free(n);
}
