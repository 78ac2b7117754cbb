/* A run from its seed to its verdict. */
#include "sim/members.h"

#include "node/wire.h"
#include "sim/append.h"
#include "sim/bank.h"
#include "sim/cuts.h"
#include "sim/jobs.h"
#include "sim/once.h"

#include <stdarg.h>

#define LIVENESS_BOUND (10 * SECOND)
/* Transactions whose clients are gone, and whose node does not know, try for up to 10 s. */
#define CALLERS_BOUND (2 * LIVENESS_BOUND)
#define JOBS_BOUND    (6 * LIVENESS_BOUND) /* a job waits for who is silent, for up to 30 s */
#define SWEEP_BOUND                                                                                \
    (9 * LIVENESS_BOUND) /* a node that missed an end keeps outputs for a minute                   \
                          */
#define LOOK_EVERY    (5 * MILLISECOND)
#define SETTLE_BOUND  (60 * SECOND)
#define TICKS_DEFAULT 20000

const char *const sim_mode_names[] = {"swarm", "calm",   "crashes", "network",
                                      "disks", "clocks", "elastic", NULL};

const char *sim_class_name(enum sim_class class)
{
    static const char *const names[SIM_CLASSES] = {
        [SIM_PASSED] = "passed",          [SIM_AGREEMENT] = "agreement",
        [SIM_LINEAR] = "linearizability", [SIM_ATOMICITY] = "atomicity",
        [SIM_ISOLATION] = "isolation",    [SIM_DIVERGED] = "diverged",
        [SIM_STUCK] = "liveness",         [SIM_ENDED] = "ended",
        [SIM_PROTOCOL] = "protocol",      [SIM_RANDOM] = "determinism",
        [SIM_ASSERTED] = "assertion",
    };
    return names[class];
}

void sim_fail(struct sim *s, enum sim_class class, const char *format, ...)
{
    va_list args;
    if (s->stop) return;
    s->stop = true;
    s->result->class = class;
    va_start(args, format);
    (void)vsnprintf(s->result->why, sizeof s->result->why, format, args);
    va_end(args);
    if (class == SIM_STUCK && s->options.verbose) members_print(s);
    world_say(s->w, s->clients_host, "FAILURE %s: %s", sim_class_name(class), s->result->why);
}

/* ---- knobs ---- */

static uint64_t draw(struct sim *s, uint64_t min, uint64_t max)
{
    return min + prng_below(&s->random, max - min + 1);
}

#define PICK(s, ...)                                                                               \
    ((const uint64_t[]){__VA_ARGS__}[draw(s, 0, sizeof((const uint64_t[]){__VA_ARGS__}) / 8 - 1)])

/* In a third of the runs that have a spare node the first of them is a witness; mostly beside no
 * more than two others. */
static void draw_witness(struct sim *s, uint64_t spares)
{
    bool two = draw(s, 0, 3) && s->founders == 3 && !s->options.nodes;
    s->witness = spares && draw(s, 0, 2) == 0;
    if (!s->witness) return;
    if (two) s->founders--, s->nodes--;
    SIM_COUNT(s, witnesses);
}

/* In such runs nodes come and go, and groups move and split. */
static void draw_elastic(struct sim *s)
{
    struct node_config *c = &s->knobs;
    bool wanted = s->options.mode == SIM_ELASTIC || (s->options.mode == SIM_SWARM && draw(s, 0, 1));
    uint64_t spares = draw(s, 0, 3);
    if (!wanted) return;
    s->elastic = true;
    s->nodes += (uint32_t)spares;
    if (s->nodes > SIM_NODES_MAX) s->nodes = SIM_NODES_MAX;
    draw_witness(s, spares);
    c->grace_ms = (uint32_t)PICK(s, 1000, 4000, 7000, SIM_GRACE_SHORT);
    if (s->founders == 5) c->replicas = (uint32_t)PICK(s, 3, 3, 5);
    SIM_COUNT(s, elastic);
}

static void draw_knobs(struct sim *s)
{
    uint64_t dice = draw(s, 0, 99);
    s->founders = s->options.nodes ? s->options.nodes : dice < 80 ? 3 : dice < 90 ? 5 : 1;
    s->founded_groups = s->groups = (uint32_t)PICK(s, 1, 1, 2, 3, 4, 8);
    s->nodes = s->founders;
    draw_elastic(s);
    s->clients_host = s->nodes;
    struct node_config *c = &s->knobs;
    c->snapshot_chunk = (size_t)PICK(s, 0, 300, 2000, 30000);
    c->snapshot_rate = PICK(s, 0, 0, 50000, 200000); /* slow enough for things to come between */
    c->read_mode = draw(s, 0, 9) < 6 ? NODE_READ_LEASE : NODE_READ_QUORUM;
    c->log_segment_bytes =
        PICK(s, SIM_SEGMENT_SHORT, SIM_SEGMENT_SHORT, 256u << 10, 1u << 20, 4u << 20);
    c->log_quota_bytes = c->log_segment_bytes * PICK(s, 4, 4, 6, 16);
    c->memory_bytes = (size_t)PICK(s, 16u << 10, 64u << 10, 256u << 10, 4u << 20);
    c->cache_bytes = (size_t)PICK(s, 4u << 10, 64u << 10, 4u << 20);
    /* Leases that outlast elections by far are what makes grants matter; badly wrong clocks (and
     * nodes told so), what makes drift matter. */
    c->lease_ms = (uint32_t)PICK(s, 100, 200, 400, 400, 1000, 2000);
    c->election_ms = (uint32_t)(c->lease_ms * PICK(s, 1, 2, 3, 4, 6) / 4);
    if (c->election_ms < 75) c->election_ms = 75;
    uint32_t beat = c->lease_ms < c->election_ms ? c->lease_ms : c->election_ms;
    c->heartbeat_ms = (uint32_t)(beat / PICK(s, 4, 8, 10));
    c->drift_ppm = (uint32_t)PICK(s, 5000, 5000, 20000, 100000);
    c->campaigns_max = (uint32_t)PICK(s, 0, 1, 2);
    c->job_slots = 2;
    s->drift_ppm = s->options.drift_ppm ? s->options.drift_ppm : (int32_t)c->drift_ppm;
    s->latency_ns = draw(s, 0, 2)
                        ? 50 * MICROSECOND
                        : draw(s, 1, c->election_ms < 640 ? c->election_ms / 16 : 40) * MILLISECOND;
    s->write_ns = PICK(s, 80 * MICROSECOND, 80 * MICROSECOND, MILLISECOND, 8 * MILLISECOND);
    s->result->cover.quorum_reads += c->read_mode == NODE_READ_QUORUM;
    s->result->cover.one_node += s->founders == 1;
    s->result->cover.five_nodes += s->founders == 5;
}

/* ---- a run ---- */

static void on_line(void *ctx, uint32_t host, const char *text)
{
    struct sim *s = ctx;
    uint64_t now = world_now(s->w);
    printf("%4u.%06u %s%u %s\n", (unsigned)(now / SECOND), (unsigned)(now % SECOND / 1000),
           host == s->clients_host ? "clients " : "node ", host == s->clients_host ? 0 : host + 1,
           text);
}

static void look(void *ctx)
{
    struct sim *s = ctx;
    members_look(s);
    if (!s->stop) world_after(s->w, LOOK_EVERY, look, s);
}

static void start_one(void *ctx)
{
    struct member *m = ctx;
    if (m->state != MEMBER_DOWN || m->lives) return;
    if (!member_start(m))
        sim_fail(m->s, SIM_ENDED, "node %u does not start for the first time: %s", m->host + 1,
                 m->last_words);
}

/* The witness comes early, so that it is there when things go wrong. */
static void join_first(void *ctx)
{
    struct member *m = ctx;
    if (m->state != MEMBER_IDLE) return;
    SIM_COUNT(m->s, joins);
    member_wipe(m);
    start_one(m);
}

static struct world *world_make(struct sim *s)
{
    struct world_options o = {
        .seed = s->options.seed,
        .hosts = s->nodes + 1,
        .framed_hosts = s->nodes,
        .frame = wire_frame_size,
        .may_disturb = wire_frame_may_disturb,
        .died = member_died,
        .line = s->options.verbose ? on_line : NULL,
        .ctx = s,
    };
    return world_new(&o);
}

static void run_for(struct sim *s, uint64_t time)
{
    world_run(s->w, world_now(s->w) + time, &s->stop);
}

/* A replica in the midst of an install votes, and has no state to go on with: its group can spare
 * nobody until it is done (docs/GUARANTEES.md). */
static bool somebody_installs(struct sim *s)
{
    struct node_group_view v;
    for (uint32_t i = 0; i < s->nodes; i++)
        for (uint32_t g = 0; g < s->groups; g++)
            if (s->member[i].state == MEMBER_UP && node_group(s->member[i].node, g, &v) &&
                v.installing)
                return true;
    return false;
}

/* A host to do without in the end: none, or one that might be lost as well. */
static uint32_t draw_core(struct sim *s)
{
    uint32_t host = (uint32_t)draw(s, 0, s->nodes - 1);
    const struct member *m = &s->member[host];
    if (s->options.mode == SIM_CALM || draw(s, 0, 1)) return UINT32_MAX;
    if (m->damaged || m->state == MEMBER_IDLE || !members_may_lose(s, m) || somebody_installs(s))
        return UINT32_MAX;
    SIM_COUNT(s, core_only);
    return host;
}

static bool writes_answered(struct sim *s, char *missing, size_t size)
{
    return workload_satisfied(s->workload, missing, size);
}

static bool callers_answered(struct sim *s, char *missing, size_t size)
{
    return bank_satisfied(s->bank, missing, size) && append_satisfied(s->append, missing, size) &&
           askers_satisfied(s->askers, missing, size) && cuts_satisfied(s->cuts, missing, size);
}

static bool jobs_answered(struct sim *s, char *missing, size_t size)
{
    return clerks_satisfied(s->clerks, missing, size);
}

static bool nothing_left(struct sim *s, char *missing, size_t size)
{
    return clerks_swept(s->clerks, missing, size);
}

static void await(struct sim *s, uint64_t began, uint64_t bound,
                  bool (*answered)(struct sim *s, char *missing, size_t size))
{
    char missing[200];
    while (!s->stop && !answered(s, missing, sizeof missing)) {
        if (world_now(s->w) >= began + bound)
            sim_fail(s, SIM_STUCK, "after %u s without faults: %s", (unsigned)(bound / SECOND),
                     missing);
        run_for(s, 20 * MILLISECOND);
    }
}

static void settle(struct sim *s)
{
    char missing[200];
    uint64_t end = world_now(s->w) + SETTLE_BOUND;
    while (!s->stop && !members_settled(s, missing, sizeof missing)) {
        if (world_now(s->w) >= end)
            sim_fail(s, SIM_STUCK, "after %u s the ring has not settled: %s",
                     (unsigned)(SETTLE_BOUND / SECOND), missing);
        run_for(s, 20 * MILLISECOND);
    }
}

/* Nothing fails any more: a majority must go on, and soon. */
static void phase_liveness(struct sim *s)
{
    uint32_t away = draw_core(s);
    nemesis_heal(s->nemesis, away);
    if (away != UINT32_MAX) workload_avoid(s->workload, away);
    workload_demand_writes(s->workload);
    bank_demand(s->bank);
    append_demand(s->append);
    askers_demand(s->askers);
    cuts_demand(s->cuts);
    clerks_demand(s->clerks);
    uint64_t began = world_now(s->w);
    await(s, began, LIVENESS_BOUND, writes_answered);
    await(s, began, CALLERS_BOUND, callers_answered);
    await(s, began, JOBS_BOUND, jobs_answered);
    run_for(s, SECOND);
    workload_quiet(s->workload);
    bank_quiet(s->bank);
    append_quiet(s->append);
    askers_quiet(s->askers);
    cuts_quiet(s->cuts);
    workload_demand_reads(s->workload);
    await(s, world_now(s->w), LIVENESS_BOUND, writes_answered);
    for (uint32_t i = 0; i < s->nodes; i++) /* the one kept away may come back now */
        for (uint32_t j = 0; j <= s->clients_host; j++) {
            world_block(s->w, i, j, false);
            world_block(s->w, j, i, false);
        }
    settle(s);
    append_demand_reads(s->append);
    await(s, world_now(s->w), CALLERS_BOUND, callers_answered);
    clerks_sweep(s->clerks);
    await(s, world_now(s->w), SWEEP_BOUND, nothing_left);
    settle(s);
}

static void judge_history(struct sim *s)
{
    struct buf why = {0};
    bool hard = false;
    if (!history_check(&s->history, &why, &hard))
        sim_fail(s, SIM_LINEAR, "%.*s", (int)why.size, (const char *)why.data);
    s->result->cover.undecided += hard;
    buf_deinit(&why);
}

static void cover_world(struct sim *s)
{
    const struct world_counts *c = world_counts(s->w);
    struct sim_cover *v = &s->result->cover;
    v->frames_lost = c->frames_lost;
    v->frames_doubled = c->frames_doubled;
    v->frames_delayed = c->frames_delayed;
    v->resets = c->resets;
    v->timeouts = c->timeouts;
    v->half_open = c->half_open;
    v->refused = c->refused;
    v->writes_torn = c->writes_torn;
    v->writes_failed = c->write_errors;
    v->stalls = c->stalls;
    s->result->events = c->events;
    s->result->turns = c->turns;
    s->result->virtual_ms = world_now(s->w) / MILLISECOND;
}

void sim_run(const struct sim_options *options, struct sim_result *result)
{
    struct sim *s = mem_zalloc(sizeof *s);
    memset(result, 0, sizeof *result);
    s->options = *options;
    s->result = result;
    prng_init(&s->random, hash_mix(options->seed ^ 0x73796e6f64));
    draw_knobs(s);
    s->w = world_make(s);
    members_init(s);
    agree_init(&s->agreement, s->groups);
    s->nemesis = nemesis_new(s);
    s->operator= operator_new(s);
    s->workload = workload_new(s);
    s->bank = bank_new(s);
    s->append = append_new(s);
    s->askers = askers_new(s);
    s->cuts = cuts_new(s);
    s->clerks = clerks_new(s);
    for (uint32_t i = 0; i < s->founders; i++)
        world_after(s->w, draw(s, 0, 100 * MILLISECOND), start_one, &s->member[i]);
    if (s->witness) world_after(s->w, draw(s, 0, 2 * SECOND), join_first, &s->member[s->founders]);
    world_after(s->w, LOOK_EVERY, look, s);
    world_say(
        s->w, s->clients_host,
        "%u nodes, %u spare%s, %u groups, %s reads, lease %u ms, election %u ms, heartbeat %u "
        "ms, drift %u ppm",
        s->founders, s->nodes - s->founders, s->witness ? " (one a witness)" : "", s->groups,
        s->knobs.read_mode == NODE_READ_LEASE ? "lease" : "quorum", s->knobs.lease_ms,
        s->knobs.election_ms, s->knobs.heartbeat_ms, s->knobs.drift_ppm);
    nemesis_start(s->nemesis);
    run_for(s, (options->ticks ? options->ticks : TICKS_DEFAULT) * MILLISECOND);

    if (!s->stop) phase_liveness(s);
    if (!s->stop) members_digests(s);
    if (!s->stop) judge_history(s);
    if (!s->stop) append_judge(s->append);
    cover_world(s);
    members_deinit(s);
    workload_free(s->workload);
    cuts_free(s->cuts);
    clerks_free(s->clerks);
    bank_free(s->bank);
    append_free(s->append);
    askers_free(s->askers);
    operator_free(s->operator);
    result->hash = world_hash(s->w);
    world_free(s->w);
    nemesis_free(s->nemesis);
    history_deinit(&s->history);
    agree_deinit(&s->agreement);
    mem_free(s);
}
