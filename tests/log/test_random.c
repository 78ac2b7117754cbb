/* The log against a naive model under random appends, floors, drops, reads, full disks, crashes and
 * flipped bits: what was reported synced is replayed, nothing is invented, order is kept, promises
 * and live entries survive collection, reads return what was appended.
 *
 * Every record but a drop carries a serial (as its ballot's round, or its watermark), so a replayed
 * record says which appended one it is. */
#include "test.h"

#include "base/mem.h"
#include "rig.h"

enum { SEGMENT = 16 * IO_BLOCK, GROUPS = 6, POSITIONS = 4000, SERIALS = 20000 };

struct said { /* what was appended */
    uint8_t type;
    uint32_t group;
    uint64_t position;
    uint64_t serial; /* 0: a drop */
    uint64_t lsn;
    uint32_t size;
};

struct model {
    struct rig g;
    struct prng random;
    struct said *said;
    uint32_t count;
    uint64_t serial;
    uint64_t next[GROUPS], floor[GROUPS];
    uint64_t reads, hits, crashes, cuts;
};

/* What a list of records means. */
struct state {
    bool there[GROUPS];
    uint64_t promise[GROUPS];
    uint64_t latest[GROUPS][POSITIONS];
};

static void value_of(uint64_t serial, uint32_t size, uint8_t *out)
{
    for (uint32_t i = 0; i < size; i++) out[i] = (uint8_t)(serial * 7 + i * 13 + (i >> 8));
}

/* ---- appending ---- */

static void say(struct model *m, struct said said, const struct log_record *r)
{
    said.lsn = log_append(m->g.l, r);
    m->said = mem_realloc(m->said, (m->count + 1) * sizeof *m->said);
    m->said[m->count++] = said;
}

static struct log_record record_of(const struct said *said, uint8_t *value)
{
    struct log_record r = {
        .type = said->type, .group = said->group, .replica = (uint16_t)(said->group + 1)};
    if (said->type == LOG_PROMISE) r.promised = paxos_ballot_make(said->serial, 1);
    if (said->type == LOG_CHOSEN) r.chosen = said->serial;
    if (said->type != LOG_ENTRY) return r;
    value_of(said->serial, said->size, value);
    r.chosen = said->serial;
    r.value = bytes_of(value, said->size);
    r.entry = (struct paxos_entry){.position = said->position,
                                   .ballot = paxos_ballot_make(said->serial, 1),
                                   .born = said->serial,
                                   .base = {said->position - 1, said->serial + 1},
                                   .hash = said->serial * 3,
                                   .size = said->size,
                                   .kind = said->size ? PAXOS_DATA : PAXOS_NOOP};
    return r;
}

static void append(struct model *m, uint8_t type, uint32_t group, uint64_t position)
{
    static uint8_t value[SEGMENT];
    uint32_t limit = prng_chance(&m->random, 20000)    ? 40000
                     : prng_chance(&m->random, 200000) ? 3000
                                                       : 200;
    struct said said = {.type = type,
                        .group = group,
                        .position = position,
                        .serial = type == LOG_DROP ? 0 : ++m->serial,
                        .size = (uint32_t)prng_below(&m->random, limit)};
    if (m->count >= SERIALS) return;
    struct log_record r = record_of(&said, value);
    say(m, said, &r);
}

static void append_something(struct model *m)
{
    uint32_t group = (uint32_t)prng_below(
        &m->random, prng_chance(&m->random, 700000) ? 2 : GROUPS); /* some are colder */
    uint64_t next = m->next[group], dice = prng_below(&m->random, 1000);
    if (log_room(m->g.l) == LOG_ROOM_NONE || next + 1 >= POSITIONS) return;
    if (dice < 800)
        append(m, LOG_ENTRY, group, m->next[group]++);
    else if (dice < 880 && next > m->floor[group] + 3)
        append(m, LOG_ENTRY, group, next - 1 - prng_below(&m->random, 3));
    else if (dice < 940)
        append(m, LOG_PROMISE, group, 0);
    else if (dice < 997)
        append(m, LOG_CHOSEN, group, 0);
    else
        append(m, LOG_DROP, group, 0), append(m, LOG_PROMISE, group, 0);
}

static void raise_floor(struct model *m, uint32_t group, uint64_t floor)
{
    if (floor <= m->floor[group]) return;
    m->floor[group] = floor;
    log_set_floor(m->g.l, group, floor);
}

/* ---- reading ---- */

struct model_read {
    struct log_read read;
    struct model *m;
};

static uint64_t latest(const struct model *m, uint32_t group, uint64_t position)
{
    for (uint32_t i = m->count; i-- > 0;) {
        const struct said *s = &m->said[i];
        if (s->group != group) continue;
        if (s->type == LOG_DROP) return 0;
        if (s->type == LOG_ENTRY && s->position == position) return s->serial;
    }
    return 0;
}

static const struct said *said_by_serial(const struct model *m, uint64_t serial)
{
    for (uint32_t i = m->count; i-- > 0;)
        if (m->said[i].serial == serial) return &m->said[i];
    return NULL;
}

static void expect_same(const struct model *m, const struct log_record *r, uint64_t serial)
{
    static uint8_t value[SEGMENT];
    const struct said *said = said_by_serial(m, serial);
    if (!said) fail_msg("record with serial %d was never appended", (int)serial);
    struct log_record expected = record_of(said, value);
    assert_int_equal(r->group, expected.group);
    assert_int_equal(r->replica, expected.replica);
    if (r->type != LOG_ENTRY)
        return; /* a moved promise carries a later watermark, and may stem from an entry */
    assert_int_equal(r->type, expected.type);
    /* A moved entry carries the latest watermark of its group, for its first record may die. */
    if (r->chosen != expected.chosen) {
        const struct said *later = said_by_serial(m, r->chosen);
        assert_true(r->chosen > expected.chosen && later && later->group == r->group);
    }
    assert_true(r->entry.position == expected.entry.position);
    assert_true(r->entry.ballot == expected.entry.ballot && r->entry.born == expected.entry.born);
    assert_true(r->entry.base.position == expected.entry.base.position &&
                r->entry.base.born == expected.entry.base.born);
    assert_true(r->entry.hash == expected.entry.hash && r->entry.size == expected.entry.size);
    assert_int_equal(r->entry.kind, expected.entry.kind);
    assert_true(bytes_equal(r->value, expected.value));
}

static void read_done(void *ctx, struct log_read *r, const struct log_record *records,
                      uint32_t count)
{
    struct model_read *read = ctx;
    struct model *m = read->m;
    m->hits += count > 0;
    for (uint32_t i = 0; i < count; i++) {
        assert_true(records[i].entry.position == r->position + i && r->position + i <= r->last);
        expect_same(m, &records[i], latest(m, r->group, r->position + i));
    }
    mem_free(read);
}

static void start_read(struct model *m)
{
    struct model_read *read = mem_zalloc(sizeof *read);
    uint32_t group = (uint32_t)prng_below(&m->random, GROUPS);
    uint64_t back = prng_below(&m->random, prng_chance(&m->random, 200000) ? m->next[group] : 60);
    uint64_t position = m->next[group] > back ? m->next[group] - back : 1;
    read->m = m;
    read->read = (struct log_read){.group = group,
                                   .position = position,
                                   .last = position + prng_below(&m->random, 30),
                                   .bytes_max = (uint32_t)prng_below(&m->random, 20000),
                                   .done = read_done,
                                   .ctx = read};
    m->reads++;
    log_read(m->g.l, &read->read);
}

/* ---- comparing ---- */

static uint64_t serial_of(const struct log_record *r)
{
    if (r->type == LOG_ENTRY) return paxos_ballot_round(r->entry.ballot);
    return r->type == LOG_PROMISE  ? paxos_ballot_round(r->promised)
           : r->type == LOG_CHOSEN ? r->chosen
                                   : 0;
}

static void fold(struct state *s, uint8_t type, uint32_t group, uint64_t position, uint64_t serial)
{
    if (type == LOG_DROP) {
        s->there[group] = false;
        s->promise[group] = 0;
        memset(s->latest[group], 0, sizeof s->latest[group]);
        return;
    }
    s->there[group] = true;
    if (type == LOG_ENTRY) s->latest[group][position] = serial;
    if (type != LOG_CHOSEN && serial > s->promise[group]) s->promise[group] = serial;
}

/* Checks each replayed record and their order, folds them, and cuts the model to what survived. */
static void take_replay(struct model *m, uint64_t reported, struct state *replayed)
{
    uint64_t last = 0, drops = 0;
    for (uint32_t i = 0; i < m->g.replayed_count; i++) {
        const struct log_record *r = &m->g.replayed[i].r;
        uint64_t serial = serial_of(r);
        fold(replayed, r->type, r->group, r->entry.position, serial);
        drops = r->type == LOG_DROP ? drops + 1 : serial > last ? 0 : drops;
        if (serial > last) last = serial;
        if (serial) expect_same(m, r, serial);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < m->count; i++)
        if (m->said[i].serial && m->said[i].serial <= last) kept = i + 1;
    while (drops && kept < m->count && m->said[kept].type == LOG_DROP) kept++, drops--;
    for (uint32_t i = kept; i < m->count; i++) {
        if (m->said[i].lsn <= reported)
            fail_msg("record %u (type %d, lsn %d) was reported synced (up to %d) and is gone", i,
                     m->said[i].type, (int)m->said[i].lsn, (int)reported);
    }
    m->cuts += kept < m->count;
    m->count = kept;
}

static void compare(struct model *m, uint64_t reported)
{
    struct state *expected = mem_zalloc(sizeof *expected), *replayed = mem_zalloc(sizeof *replayed);
    take_replay(m, reported, replayed);
    for (uint32_t i = 0; i < m->count; i++)
        fold(expected, m->said[i].type, m->said[i].group, m->said[i].position, m->said[i].serial);
    for (uint32_t group = 0; group < GROUPS; group++) {
        assert_int_equal(replayed->there[group], expected->there[group]);
        assert_int_equal(log_has_group(m->g.l, group), expected->there[group]);
        assert_true(replayed->promise[group] == expected->promise[group]);
        for (uint64_t p = m->floor[group]; p < POSITIONS; p++)
            assert_true(replayed->latest[group][p] == expected->latest[group][p]);
    }
    mem_free(expected);
    mem_free(replayed);
}

static void restart(struct model *m)
{
    uint64_t reported = m->g.synced;
    rig_start(&m->g);
    compare(m, reported);
    for (uint32_t group = 0; group < GROUPS; group++) {
        log_set_floor(m->g.l, group, m->floor[group]);
        if (m->next[group] < m->floor[group]) m->next[group] = m->floor[group];
    }
    /* lsns begin anew behind what was replayed: what the model keeps is synced. */
    for (uint32_t i = 0; i < m->count; i++) m->said[i].lsn = 0;
}

static void crash(struct model *m)
{
    static const uint32_t land[] = {0, 300000, 900000, 1000000};
    m->crashes++;
    fake_crash(&m->g.f, land[prng_below(&m->random, 4)]);
    log_abandon(m->g.l);
    m->g.l = NULL;
    restart(m);
}

/* ---- the runs ---- */

static void relieve(struct model *m)
{
    uint32_t group;
    if (log_pressure(m->g.l, &group)) {
        uint64_t next = m->next[group];
        raise_floor(m, group, next - prng_below(&m->random, next < 4 ? next : 4));
    }
    group = (uint32_t)prng_below(&m->random, GROUPS);
    if (prng_chance(&m->random, 5000))
        raise_floor(m, group, m->next[group] - prng_below(&m->random, m->next[group]));
}

static void step(struct model *m)
{
    uint64_t dice = prng_below(&m->random, 1000);
    if (dice < 500)
        append_something(m);
    else if (dice < 700)
        log_turn(m->g.l);
    else if (dice < 950)
        fake_run(&m->g.f, (uint32_t)prng_below(&m->random, 4), true);
    else if (dice < 970)
        m->g.f.now += LOG_IDLE_NS;
    else if (dice < 990)
        relieve(m);
    else if (dice < 994)
        m->g.f.room = prng_chance(&m->random, 500000) ? 0 : INT64_MAX, m->g.f.now += LOG_RETRY_NS;
    else if (dice < 996)
        log_check(m->g.l);
}

static void model_init(struct model *m, uint64_t seed)
{
    memset(m, 0, sizeof *m);
    rig_init(&m->g, seed, SEGMENT);
    m->g.options.quota_bytes = 5 * SEGMENT;
    prng_init(&m->random, seed * 77 + 1);
    for (uint32_t i = 0; i < GROUPS; i++) m->next[i] = 1;
    rig_start(&m->g);
}

static void model_deinit(struct model *m)
{
    rig_deinit(&m->g);
    mem_free(m->said);
}

/* Reads are begun and finished between crashes, for one that a crash swallows would never be freed.
 */
static void read_some(struct model *m)
{
    for (int i = 0; i < 5; i++) start_read(m);
    for (int i = 0; i < 3; i++) append_something(m);
    rig_settle(&m->g);
    rig_settle(&m->g);
}

TEST(a_log_that_crashes_at_random_agrees_with_a_naive_model)
{
    uint64_t reads = 0, hits = 0, cuts = 0, recycled = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct model m;
        model_init(&m, seed);
        for (int i = 0; i < 4000; i++) {
            step(&m);
            if (prng_chance(&m.random, 5000)) read_some(&m);
            if (!prng_chance(&m.random, 3000)) continue;
            recycled += m.g.l->stats.recycled;
            crash(&m);
        }
        m.g.f.room = INT64_MAX;
        m.g.f.now += LOG_RETRY_NS;
        for (int i = 0; i < 4; i++) rig_settle(&m.g);
        assert_true(log_synced(m.g.l) == log_appended(m.g.l));
        recycled += m.g.l->stats.recycled;
        crash(&m);
        reads += m.reads, hits += m.hits, cuts += m.cuts;
        model_deinit(&m);
    }
    print_message("%d reads, %d found, %d cuts, %d recycled\n", (int)reads, (int)hits, (int)cuts,
                  (int)recycled);
    /* The runs did meet what they are for. */
    assert_true(reads > 1000 && hits > reads / 4 && cuts > 50 && recycled > 300);
}

/* Damage anywhere in what was proven durable is either noticed or harmless (padding, old lives);
 * never a silent loss. */
TEST(a_flipped_bit_or_a_lost_page_is_noticed_or_harmless)
{
    uint32_t noticed = 0, harmless = 0;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct model m;
        model_init(&m, seed);
        for (int i = 0; i < 600; i++) step(&m);
        m.g.f.room = INT64_MAX;
        for (int i = 0; i < 4; i++) {
            m.g.f.now += LOG_RETRY_NS; /* idle: the beat is written */
            rig_settle(&m.g);
        }
        const struct log_segment *s = m.g.l->segment[prng_below(&m.random, m.g.l->segment_count)];
        uint64_t at = prng_below(&m.random,
                                 s == m.g.l->segment[m.g.l->segment_count - 1] ? s->end : s->bytes);
        uint64_t page = at & ~(uint64_t)(IO_BLOCK - 1);
        if (prng_chance(&m.random, 500000))
            fake_flip(&m.g.f, s->name, at);
        else
            memset(fake_find(&m.g.f, s->name)->data + page, 0, IO_BLOCK); /* never arrived */
        uint64_t reported = m.g.synced - 1; /* the beat itself is not proven, and nobody's */
        rig_crash(&m.g, 0);
        enum log_open_result e = rig_open(&m.g);
        if (e) {
            assert_int_equal(e, LOG_E_CORRUPT);
            noticed++;
        } else {
            compare(&m, reported);
            harmless++;
        }
        model_deinit(&m);
    }
    assert_true(noticed > 60 && harmless > 20);
}

TEST_MAIN
