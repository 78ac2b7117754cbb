/* Groups with a replica on each of a few disks, under random entries, flushes, crashes, full disks,
 * splits, merges, drops and snapshots, against a naive twin: per group an array of what it holds at
 * its newest position, with the digest at each position kept. Whatever a disk has been through,
 * each replica on it must be exactly its group at the position it says. */
#include "site.h"

enum {
    SITES = 3,
    SLOTS = 24,
    PLAIN = 6,
    OBJECTS = 2,
    MEMBERS = 3,
    KEYS = PLAIN + OBJECTS * MEMBERS,
    ENTRIES_MAX = 4000,
    SEEDS_MAX = 40
};

/* ---- the twin ---- */

struct entry {
    struct buf value, config; /* config: of the group once this is applied */
    uint8_t kind;
    uint16_t slot_hi; /* then */
    uint64_t digest, keys, objid_base;
    int64_t live;
    bool merge;
    uint32_t merged; /* then: the group that is taken over */
};

struct group {
    bool sealed; /* for good */
    uint64_t objid_base;
    uint16_t slot_lo, slot_hi;
    uint64_t base; /* position at which it began; entry[p - base] is that of position p */
    uint64_t last;
    struct entry *entry;
};

struct model {
    struct group group[SITE_GROUPS];
    uint32_t groups;
    uint32_t value[SLOTS][KEYS]; /* 0: absent; else the seed of its bytes */
    uint64_t objid[SLOTS][OBJECTS];
    uint64_t objids;
    uint32_t values;
    struct site site[SITES];
    uint16_t replica[SITES][SITE_GROUPS]; /* last id used there */
    struct prng r;
    struct buf key, bytes, chunk;
    struct {
        uint32_t splits, merges, flushes, failed, crashes, installs, cut, drops, births, refused;
    } seen;
};

static struct bytes key_bytes(struct model *m, uint16_t slot, unsigned k)
{
    if (k < PLAIN) {
        key_of(&m->key, slot, k);
    } else {
        char member[8];
        snprintf(member, sizeof member, "m%u", (k - PLAIN) % MEMBERS);
        keys_sub(&m->key, slot, m->objid[slot][(k - PLAIN) / MEMBERS], bytes_str(member));
    }
    return buf_bytes(&m->key);
}

static struct bytes value_bytes(struct model *m, uint32_t value)
{
    struct prng r;
    prng_init(&r, value);
    size_t size = value % 40 == 0 ? 3000 : prng_below(&r, 40);
    buf_clear(&m->bytes);
    for (size_t i = 0; i < size; i++) buf_u8(&m->bytes, (uint8_t)prng_u64(&r));
    return buf_bytes(&m->bytes);
}

/* Notes what the group is at its newest position. */
static void group_note(struct model *m, struct group *g)
{
    struct entry *e = &g->entry[g->last - g->base];
    e->digest = e->keys = 0;
    e->live = 0;
    e->slot_hi = g->slot_hi;
    e->objid_base = g->objid_base;
    for (uint16_t s = g->slot_lo; s < g->slot_hi; s++)
        for (unsigned k = 0; k < KEYS; k++) {
            if (!m->value[s][k]) continue;
            uint64_t seed = hash64(key_bytes(m, s, k), 0);
            e->digest += hash64(value_bytes(m, m->value[s][k]), seed);
            e->keys++;
            e->live += k < PLAIN;
        }
}

static struct entry *group_append(struct group *g, uint8_t kind)
{
    assert_true(g->last - g->base + 1 < ENTRIES_MAX);
    const struct entry *before = &g->entry[g->last++ - g->base];
    struct entry *e = &g->entry[g->last - g->base];
    e->kind = kind;
    buf_append_bytes(&e->config, buf_bytes(&before->config));
    if (kind == PAXOS_DATA) value_begin(&e->value);
    return e;
}

static struct group *group_new(struct model *m, uint16_t lo, uint16_t hi, uint64_t base,
                               struct bytes config)
{
    struct group *g = &m->group[m->groups++];
    *g = (struct group){.slot_lo = lo, .slot_hi = hi, .base = base, .last = base};
    g->entry = mem_zalloc(ENTRIES_MAX * sizeof *g->entry);
    buf_append_bytes(&g->entry[0].config, config);
    group_note(m, g);
    return g;
}

/* ---- entries ---- */

static void write_key(struct model *m, struct buf *v, uint16_t slot, unsigned k, uint32_t value)
{
    uint32_t *at = &m->value[slot][k];
    if (value)
        effects_put(v, key_bytes(m, slot, k), value_bytes(m, value));
    else
        effects_del(v, key_bytes(m, slot, k));
    if (k < PLAIN && !*at != !value) effects_count(v, slot, value ? 1 : -1);
    *at = value;
}

static void trash_object(struct model *m, struct buf *v, uint16_t slot, unsigned o)
{
    struct buf prefix = {0};
    keys_sub(&prefix, slot, m->objid[slot][o], (struct bytes){0});
    effects_trash(v, buf_bytes(&prefix));
    buf_deinit(&prefix);
    memset(&m->value[slot][PLAIN + o * MEMBERS], 0, MEMBERS * sizeof m->value[0][0]);
    m->objid[slot][o] = ++m->objids; /* never the same again */
}

static void write_some(struct model *m, struct group *g, struct buf *v)
{
    for (uint64_t i = prng_below(&m->r, 6); i < 6; i++) {
        uint16_t slot =
            (uint16_t)(g->slot_lo + prng_below(&m->r, (uint64_t)(g->slot_hi - g->slot_lo)));
        uint64_t dice = prng_below(&m->r, 40);
        if (dice == 0) {
            effects_wipe(v);
            for (uint16_t s = g->slot_lo; s < g->slot_hi; s++)
                memset(m->value[s], 0, sizeof m->value[s]);
        } else if (dice < 4) {
            trash_object(m, v, slot, (unsigned)prng_below(&m->r, OBJECTS));
        } else {
            write_key(m, v, slot, (unsigned)prng_below(&m->r, KEYS), dice < 12 ? 0 : ++m->values);
        }
    }
}

/* The right neighbour is sealed and taken over. */
static void step_merge(struct model *m)
{
    struct group *g = &m->group[prng_below(&m->r, m->groups)], *right = NULL;
    for (uint32_t i = 0; i < m->groups && !g->sealed; i++)
        if (!m->group[i].sealed && m->group[i].slot_lo == g->slot_hi) right = &m->group[i];
    if (!right || g->last - g->base + 2 >= ENTRIES_MAX ||
        right->last - right->base + 2 >= ENTRIES_MAX)
        return;
    effects_seal(&group_append(right, PAXOS_DATA)->value, true);
    right->sealed = true;
    group_note(m, right);
    struct entry *e = group_append(g, PAXOS_DATA);
    e->merge = true;
    e->merged = (uint32_t)(right - m->group);
    effects_merge(&e->value, e->merged, right->last);
    g->slot_hi = right->slot_hi;
    if (g->objid_base < right->objid_base + right->last)
        g->objid_base = right->objid_base + right->last;
    group_note(m, g);
}

static void step_entry(struct model *m)
{
    struct group *g = &m->group[prng_below(&m->r, m->groups)];
    if (g->sealed) return;
    if (g->last - g->base + 2 >= ENTRIES_MAX) return;
    uint64_t dice = prng_below(&m->r, 60);
    if (dice == 0 && g->slot_hi - g->slot_lo > 1 && m->groups < SITE_GROUPS) {
        uint16_t at =
            (uint16_t)(g->slot_lo + 1 + prng_below(&m->r, (uint64_t)(g->slot_hi - g->slot_lo - 1)));
        struct entry *e = group_append(g, PAXOS_DATA);
        effects_split(&e->value, m->groups, at, buf_bytes(&e->config));
        uint16_t hi = g->slot_hi;
        g->slot_hi = at;
        group_new(m, at, hi, g->last, buf_bytes(&e->config))->objid_base = g->objid_base;
        m->group[m->groups - 1].entry[0].objid_base = g->objid_base;
        m->seen.splits++;
    } else if (dice == 1) {
        struct entry *e = group_append(g, PAXOS_CONFIG);
        buf_printf(&e->value, "config %u", ++m->values);
        buf_clear(&e->config);
        buf_append_bytes(&e->config, buf_bytes(&e->value));
    } else if (dice == 2) {
        (void)group_append(g, PAXOS_NOOP);
    } else {
        write_some(m, g, &group_append(g, PAXOS_DATA)->value);
    }
    group_note(m, g);
}

/* ---- checking ---- */

static void check_shard(struct model *m, struct shard *s)
{
    const struct group *g = &m->group[s->group];
    uint64_t keys;
    shard_check(s);
    assert_true(s->applied >= g->base && s->applied <= g->last);
    const struct entry *e = &g->entry[s->applied - g->base];
    assert_int_equal(s->slot_lo, g->slot_lo);
    assert_int_equal(s->slot_hi, e->slot_hi);
    assert_int_equal(site_digest(s, &keys), e->digest);
    assert_int_equal(keys, e->keys);
    assert_int_equal(s->keys, e->live);
    assert_int_equal(s->objid_base, e->objid_base);
    assert_true(bytes_equal(buf_bytes(&s->config), buf_bytes(&e->config)));
}

static void check_site(struct model *m, struct site *s)
{
    for (uint32_t g = 0; g < m->groups; g++)
        if (s->shard[g]) check_shard(m, s->shard[g]);
}

/* ---- what happens to a disk ---- */

static void settle(struct model *m, struct site *s)
{
    s->flush_error = 0;
    pool_finish(&s->pool);
    m->seen.failed += s->flush_error != 0;
}

/* As a node must: a merge waits for the other replica, which goes. */
static bool may_apply(struct model *m, struct site *s, struct shard *shard, const struct entry *e)
{
    if (!e->merge) return true;
    settle(m, s);
    if (!shard_merge_ready(shard, e->merged, m->group[e->merged].last)) {
        (void)shard_flush(shard);
        if (s->shard[e->merged]) (void)shard_flush(s->shard[e->merged]);
        return false;
    }
    site_close_shard(s, e->merged);
    m->seen.merges++;
    return true;
}

static void step_apply(struct model *m, struct site *s)
{
    struct shard *shard = s->shard[prng_below(&m->r, m->groups)];
    if (!shard) return;
    const struct group *g = &m->group[shard->group];
    for (uint64_t n = prng_below(&m->r, 20); n > 0 && shard->applied < g->last; n--) {
        const struct entry *e = &g->entry[shard->applied + 1 - g->base];
        if (!may_apply(m, s, shard, e)) break;
        struct paxos_entry p = {
            .position = shard->applied + 1, .ballot = 9, .born = 9, .kind = e->kind};
        assert_true(shard_apply(shard, &p, e->kind != PAXOS_NOOP, buf_bytes(&e->value), false));
    }
    check_shard(m, shard);
}

static void step_flush(struct model *m, struct site *s)
{
    struct shard *shard = s->shard[prng_below(&m->r, m->groups)];
    if (shard && shard_flush(shard)) m->seen.flushes++;
}

static void crash(struct model *m, struct site *s)
{
    if (prng_below(&m->r, 2)) pool_run(&s->pool);
    site_stop(s);
    site_start(s);
    check_site(m, s);
    m->seen.crashes++;
}

static void set_full(struct model *m, struct site *s)
{
    if (!s->rocks) engine_mem_set_full(s->disk, prng_below(&m->r, 4) == 0);
}

static void step_drop(struct model *m, struct site *s)
{
    uint32_t g = (uint32_t)prng_below(&m->r, m->groups), others = 0;
    for (int i = 0; i < SITES; i++) others += m->site[i].shard[g] && &m->site[i] != s;
    if (!s->shard[g] || !others) return;
    settle(m, s);
    struct shard_record r =
        site_record(g, s->shard[g]->replica, s->shard[g]->slot_lo, s->shard[g]->slot_hi);
    struct shard_birth b = {r, true};
    b.record.state = SHARD_DEAD;
    if (shard_unborn(s->shard[g])) return; /* what waits to be born would go with it */
    site_close_shard(s, g);
    s->error = 0;
    (void)shard_write_records(&s->pool.io, s->engine, &b, 1, site_answer, s);
    pool_finish(&s->pool);
    if (s->error) { /* the disk is full: it is there still */
        assert_int_equal(s->error, -ENOSPC);
        assert_non_null(site_open_shard(s, g));
    } else {
        m->seen.drops++;
    }
    check_site(m, s);
}

/* ---- snapshots ---- */

static void records_each(void *ctx, const struct shard_record *r)
{
    struct shard_record *list = ctx;
    if (r->group < SITE_GROUPS) list[r->group] = *r;
}

static void records_of(struct site *s, struct shard_record *list)
{
    memset(list, 0, SITE_GROUPS * sizeof *list);
    if (!shard_list(s->engine, records_each, list, s->text, sizeof s->text))
        fail_msg("%s", s->text);
}

/* A group comes to a disk that has no replica of it: with a new id, empty. */
static bool join(struct model *m, struct site *to, uint32_t g, const struct shard_record *records)
{
    const struct shard_record *old = &records[g];
    struct shard_record r =
        site_record(g, (uint16_t)(old->replica + 10), m->group[g].slot_lo, m->group[g].slot_hi);
    bool overlaps = false;
    r.state = SHARD_INSTALLING; /* only a snapshot can bring it */
    for (uint32_t i = 0; i < SITE_GROUPS; i++)
        overlaps |= i != g && records[i].replica && records[i].state != SHARD_DEAD &&
                    records[i].slot_lo < r.slot_hi && r.slot_lo < records[i].slot_hi;
    int error = site_write(to, r, true);
    if (overlaps) {
        assert_true(error == -EEXIST);
        m->seen.refused++;
    } else if (error) {
        assert_int_equal(error, -ENOSPC);
    } else {
        m->seen.births++;
    }
    if (old->state == SHARD_DEAD && !overlaps) {
        r.replica = old->replica;
        assert_int_equal(site_write(to, r, false), -ESTALE);
    }
    return error == 0;
}

/* One job of an install: done, or cut by a crash with or without its effect. */
static bool job(struct model *m, struct site *s, uint32_t cut_ppm)
{
    if (!prng_chance(&m->r, cut_ppm)) {
        pool_finish(&s->pool);
        return true;
    }
    if (prng_below(&m->r, 2)) pool_run(&s->pool);
    pool_crash(&s->pool);
    return false;
}

static void transfer(struct model *m, struct site *from, struct snapshot_out *o, struct site *to,
                     uint32_t g, uint16_t replica, uint64_t watermark)
{
    uint32_t cut_ppm = prng_below(&m->r, 2) ? 0 : 300000;
    uint64_t position = snapshot_out_position(o);
    to->error = 0;
    struct snapshot_in *in =
        snapshot_in_new(&(struct snapshot_in_options){.io = &to->pool.io,
                                                      .engine = to->engine,
                                                      .cache = to->cache,
                                                      .group = g,
                                                      .replica = replica,
                                                      .header = snapshot_out_header(o),
                                                      .watermark = watermark,
                                                      .gather_bytes = 1 + prng_below(&m->r, 20000),
                                                      .begun = site_answer,
                                                      .ctx = to});
    assert_non_null(in);
    bool going = job(m, to, cut_ppm);
    while (going && !to->error && !snapshot_in_whole(in)) {
        site_next_chunk(from, o, &m->chunk);
        snapshot_in_chunk(in, buf_copy(buf_bytes(&m->chunk)), site_answer, to);
        going = job(m, to, cut_ppm);
    }
    if (going && !to->error) {
        snapshot_in_finish(in, site_answer, to);
        going = job(m, to, cut_ppm);
    }
    if (going && to->error)
        assert_true(to->error == -ENOSPC || to->error == -EEXIST || to->error == -ESTALE);
    m->seen.refused += going && to->error == -EEXIST;
    if (!going) {
        snapshot_in_abandon(in);
        m->seen.cut++;
        crash(m, to);
        return;
    }
    snapshot_in_free(in);
    struct shard_record list[SITE_GROUPS];
    records_of(to, list);
    if (to->error == 0) {
        assert_int_equal(list[g].state, SHARD_LIVE);
        assert_int_equal(list[g].applied, position);
        m->seen.installs++;
    }
    if (list[g].state == SHARD_LIVE) assert_non_null(site_open_shard(to, g));
    check_site(m, to);
}

static void step_snapshot(struct model *m, struct site *from, struct site *to)
{
    uint32_t g = (uint32_t)prng_below(&m->r, m->groups);
    struct shard_record list[SITE_GROUPS];
    if (from == to || !from->shard[g]) return;
    settle(m, from);
    settle(m, to);
    records_of(to, list);
    if (list[g].state == SHARD_LIVE && !to->shard[g]) return; /* it was taken over just now */
    if (list[g].replica == 0 || list[g].state == SHARD_DEAD) {
        if (!join(m, to, g, list)) return;
        records_of(to, list);
    }
    uint64_t watermark = to->shard[g] ? to->shard[g]->applied : 0;
    if (watermark > from->shard[g]->flushed && prng_below(&m->r, 4)) return;
    struct snapshot_out *o = snapshot_out_new(from->shard[g]);
    if (!o) return;
    site_close_shard(to, g);
    transfer(m, from, o, to, g, list[g].replica, watermark);
    snapshot_out_free(o);
}

/* ---- a run ---- */

static struct model *model_new(uint64_t seed, bool rocks)
{
    struct model *m = mem_zalloc(sizeof *m);
    prng_init(&m->r, seed);
    for (uint16_t s = 0; s < SLOTS; s++)
        for (unsigned o = 0; o < OBJECTS; o++) m->objid[s][o] = ++m->objids;
    for (uint16_t g = 0; g < 2; g++)
        (void)group_new(m, (uint16_t)(g * SLOTS / 2), (uint16_t)((g + 1) * SLOTS / 2), 0,
                        BYTES("founding"));
    for (uint16_t i = 0; i < SITES; i++) {
        struct shard_birth b[2] = {{site_record(0, i + 1, 0, SLOTS / 2), false},
                                   {site_record(1, i + 1, SLOTS / 2, SLOTS), false}};
        b[0].record.config = b[1].record.config = BYTES("founding");
        site_init(&m->site[i], rocks);
        assert_int_equal(shard_write_records_now(m->site[i].engine, b, 2), 0);
        site_stop(&m->site[i]);
        site_start(&m->site[i]);
    }
    return m;
}

static void model_free(struct model *m)
{
    for (uint16_t i = 0; i < SITES; i++) site_deinit(&m->site[i]);
    for (uint32_t g = 0; g < m->groups; g++) {
        for (uint64_t p = 0; p <= m->group[g].last - m->group[g].base; p++) {
            buf_deinit(&m->group[g].entry[p].value);
            buf_deinit(&m->group[g].entry[p].config);
        }
        mem_free(m->group[g].entry);
    }
    buf_deinit(&m->key), buf_deinit(&m->bytes), buf_deinit(&m->chunk);
    mem_free(m);
}

static void step(struct model *m)
{
    struct site *s = &m->site[prng_below(&m->r, SITES)];
    switch (prng_below(&m->r, 32)) {
    default: step_entry(m); break;
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
    case 6: step_apply(m, s); break;
    case 7:
    case 8:
    case 9: step_flush(m, s); break;
    case 10:
    case 11: settle(m, s); break;
    case 12: pool_run(&s->pool); break;
    case 13: step_snapshot(m, &m->site[prng_below(&m->r, SITES)], s); break;
    case 14: set_full(m, s); break;
    case 15:
        if (prng_below(&m->r, 4) == 0) crash(m, s);
        break;
    case 16:
        if (prng_below(&m->r, 6) == 0) step_drop(m, s);
        break;
    case 17: space_cache_turn(s->cache); break;
    case 18:
        if (prng_below(&m->r, 4) == 0) step_merge(m);
        break;
    }
}

static struct model *random_run(uint64_t seed, bool rocks, int steps)
{
    struct model *m = model_new(seed, rocks);
    for (int i = 0; i < steps; i++) step(m);
    for (int i = 0; i < SITES; i++) {
        if (!rocks) engine_mem_set_full(m->site[i].disk, false);
        settle(m, &m->site[i]);
        check_site(m, &m->site[i]);
        crash(m, &m->site[i]);
    }
    return m;
}

TEST(every_replica_is_its_group_at_the_position_it_says)
{
    uint64_t splits = 0, merges = 0, installs = 0, cut = 0, failed = 0, refused = 0, drops = 0,
             births = 0;
    for (uint64_t seed = 1; seed <= SEEDS_MAX; seed++) {
        struct model *m = random_run(seed, false, 3000);
        splits += m->seen.splits;
        merges += m->seen.merges;
        installs += m->seen.installs;
        cut += m->seen.cut;
        failed += m->seen.failed;
        refused += m->seen.refused;
        drops += m->seen.drops;
        births += m->seen.births;
        model_free(m);
    }
    /* what the runs are for did happen */
    assert_true(splits > 200 && merges > 150 && installs > 100 && cut > 50 && failed > 100);
    assert_true(refused > 20 && drops > 60 && births > 40);
}

TEST(every_replica_is_its_group_at_the_position_it_says_on_rocks)
{
    for (uint64_t seed = 101; seed <= 103; seed++) model_free(random_run(seed, true, 1200));
}

TEST_MAIN
