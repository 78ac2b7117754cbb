#include "test.h"

#include "base/mem.h"
#include "rig.h"

static void rig_synced(void *ctx, uint64_t lsn)
{
    struct rig *g = ctx;
    assert_true(lsn > g->synced);
    g->synced = lsn;
}

static _Noreturn void rig_fatal(void *ctx, const char *why)
{
    struct rig *g = ctx;
    snprintf(g->fatal, sizeof g->fatal, "%s", why);
    if (g->expects_fatal) longjmp(g->on_fatal, 1);
    fprintf(stderr, "unexpected: %s\n", why);
    abort();
}

void rig_init(struct rig *g, uint64_t seed, uint64_t segment_bytes)
{
    memset(g, 0, sizeof *g);
    fake_init(&g->f, seed);
    g->options = (struct log_options){.segment_bytes = segment_bytes,
                                      .quota_bytes = 64 * segment_bytes,
                                      .spare_segments = 1,
                                      .synced = rig_synced,
                                      .fatal = rig_fatal,
                                      .ctx = g};
}

static void forget_replay(struct rig *g)
{
    for (uint32_t i = 0; i < g->replayed_count; i++)
        mem_free((void *)(uintptr_t)g->replayed[i].r.value.data);
    mem_free(g->replayed);
    g->replayed = NULL;
    g->replayed_count = 0;
}

void rig_deinit(struct rig *g)
{
    log_abandon(g->l);
    fake_deinit(&g->f);
    forget_replay(g);
}

static void rig_each(void *ctx, const struct log_record *r)
{
    struct rig *g = ctx;
    if (!(g->replayed_count & (g->replayed_count - 1)))
        g->replayed = mem_realloc(g->replayed, (g->replayed_count ? 2 * g->replayed_count : 1) *
                                                   sizeof *g->replayed);
    struct rig_record *copy = &g->replayed[g->replayed_count++];
    copy->r = *r;
    copy->r.value =
        bytes_of(r->value.size ? mem_dup(r->value.data, r->value.size) : NULL, r->value.size);
}

enum log_open_result rig_open(struct rig *g)
{
    forget_replay(g);
    enum log_open_result e =
        log_open(&g->f.io, &g->options, rig_each, g, &g->l, g->error, sizeof g->error);
    g->synced = g->l ? log_synced(g->l) : 0;
    if (e) assert_null(g->l);
    return e;
}

void rig_start(struct rig *g)
{
    enum log_open_result e = rig_open(g);
    if (e) fail_msg("open: %d %s", e, g->error);
    log_check(g->l);
}

void rig_crash(struct rig *g, uint64_t landing)
{
    fake_crash_landing(&g->f, landing);
    log_abandon(g->l);
    g->l = NULL;
}

void rig_settle(struct rig *g)
{
    do {
        log_turn(g->l);
        log_check(g->l);
    } while (fake_run(&g->f, UINT32_MAX, false));
}

struct log_record rig_entry(uint32_t group, uint64_t position, uint64_t round, struct bytes value)
{
    return (struct log_record){
        .type = LOG_ENTRY,
        .group = group,
        .replica = 7,
        .chosen = position - 1,
        .entry = {.position = position,
                  .ballot = paxos_ballot_make(round, 3),
                  .born = paxos_ballot_make(round, 2),
                  .base = {position - 1, paxos_ballot_make(round, 1)},
                  .hash = position * 31 + round,
                  .size = (uint32_t)value.size,
                  .kind = value.size ? PAXOS_DATA : PAXOS_NOOP},
        .value = value,
    };
}

uint64_t rig_append_entry(struct rig *g, uint32_t group, uint64_t position, uint64_t round,
                          const char *value)
{
    struct log_record r = rig_entry(group, position, round, bytes_str(value));
    return log_append(g->l, &r);
}

uint64_t rig_append_promise(struct rig *g, uint32_t group, uint64_t round)
{
    return log_append(g->l, &(struct log_record){.type = LOG_PROMISE,
                                                 .group = group,
                                                 .replica = 7,
                                                 .promised = paxos_ballot_make(round, 3)});
}

struct one_read {
    struct log_read read;
    bool done;
    char text[256];
};

static void one_read_done(void *ctx, struct log_read *r, const struct log_record *records,
                          uint32_t count)
{
    struct one_read *one = ctx;
    (void)r;
    one->done = true;
    if (count)
        snprintf(one->text, sizeof one->text, "%.*s", (int)records[0].value.size,
                 (const char *)records[0].value.data);
}

const char *rig_read(struct rig *g, uint32_t group, uint64_t position)
{
    static struct one_read one;
    one = (struct one_read){.read = {.group = group,
                                     .position = position,
                                     .last = position,
                                     .bytes_max = 1 << 20,
                                     .done = one_read_done,
                                     .ctx = &one},
                            .text = "-"};
    log_read(g->l, &one.read);
    assert_false(one.done);
    log_start_reads(g->l); /* without starting writes, so that what is in memory stays there */
    for (uint32_t i = 0; !one.done && g->f.op_count; i++) fake_run_one(&g->f, g->f.op_count - 1);
    assert_true(one.done);
    return one.text;
}

uint64_t rig_replayed_promise(const struct rig *g, uint32_t group)
{
    uint64_t round = 0;
    for (uint32_t i = 0; i < g->replayed_count; i++) {
        const struct log_record *r = &g->replayed[i].r;
        if (r->type == LOG_DROP && r->group == group) round = 0;
        if (r->type != LOG_PROMISE || r->group != group) continue;
        if (paxos_ballot_round(r->promised) > round) round = paxos_ballot_round(r->promised);
    }
    return round;
}

const struct log_record *rig_replayed_entry(const struct rig *g, uint32_t group, uint64_t position)
{
    const struct log_record *found = NULL;
    for (uint32_t i = 0; i < g->replayed_count; i++) {
        const struct log_record *r = &g->replayed[i].r;
        if (r->type == LOG_DROP && r->group == group) found = NULL;
        if (r->type == LOG_ENTRY && r->group == group && r->entry.position == position) found = r;
    }
    return found;
}
