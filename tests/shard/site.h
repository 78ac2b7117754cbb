/* What the tests of replicas share: a disk with an engine on it and the shards that are open there,
 * entries made by hand, and small helpers. */
#ifndef SYNOD_TESTS_SITE_H
#define SYNOD_TESTS_SITE_H

#include "test.h"

#include "../store/pool.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/prng.h"
#include "shard/effects.h"
#include "shard/keys.h"
#include "shard/snapshot.h"

#include <errno.h>
#include <ftw.h>
#include <unistd.h>

#define SITE_GROUPS 32
#define SITE_GATHER (3u << 20)

struct site {
    struct pool pool;
    bool rocks, witness; /* witness: of its shards, none has data */
    char dir[64];
    struct engine_mem_disk *disk;
    struct engine *engine;
    struct space_cache *cache;
    struct shard *shard[SITE_GROUPS]; /* by group */
    uint32_t born;                    /* groups, as bits, that a flush brought since last looked */
    int flush_error, error;           /* of the last flush; of the last call that answers so */
    uint32_t answers;
    char text[300];
};

static inline void site_answer(void *ctx, int error)
{
    struct site *s = ctx;
    s->error = error;
    s->answers++;
}

static inline void site_flushed(void *ctx, struct shard *s, int error)
{
    (void)s;
    ((struct site *)ctx)->flush_error = error;
}

static inline struct shard *site_open_shard(struct site *s, uint32_t group);

static inline void site_born(void *ctx, struct shard *parent, const struct shard_record *r)
{
    struct site *s = ctx;
    assert_int_equal(r->state, SHARD_LIVE);
    assert_int_equal(r->slot_lo >= parent->slot_hi, true);
    assert_int_equal(r->replica, parent->replica);
    s->born |= 1u << r->group;
    if (!site_open_shard(s, r->group)) fail_msg("%s", s->text);
    assert_int_equal(s->shard[r->group]->applied, r->applied);
    assert_int_equal(s->shard[r->group]->slot_hi, r->slot_hi);
}

static inline struct shard *site_open_shard(struct site *s, uint32_t group)
{
    assert_null(s->shard[group]);
    return s->shard[group] = shard_new(&(struct shard_options){.io = &s->pool.io,
                                                               .engine = s->engine,
                                                               .cache = s->cache,
                                                               .group = group,
                                                               .witness = s->witness,
                                                               .flushed = site_flushed,
                                                               .born = site_born,
                                                               .ctx = s},
                                       s->text, sizeof s->text);
}

static inline void site_close_shard(struct site *s, uint32_t group)
{
    shard_free(s->shard[group]);
    s->shard[group] = NULL;
}

static inline void site_open_each(void *ctx, const struct shard_record *r)
{
    struct site *s = ctx;
    if (r->state == SHARD_LIVE && !site_open_shard(s, r->group)) fail_msg("%s", s->text);
}

/* Opens the engine, and a shard for each LIVE record. */
static inline void site_start(struct site *s)
{
    if (s->rocks) {
        s->engine = engine_rocks_open(s->dir, 8u << 20, s->text, sizeof s->text);
        if (!s->engine) fail_msg("%s", s->text);
    } else {
        s->engine = engine_mem_open(s->disk);
    }
    s->cache = space_cache_new(64u << 10);
    s->born = 0;
    if (!shard_list(s->engine, site_open_each, s, s->text, sizeof s->text)) fail_msg("%s", s->text);
}

static inline void site_stop(struct site *s)
{
    pool_crash(&s->pool);
    for (uint32_t g = 0; g < SITE_GROUPS; g++) site_close_shard(s, g);
    space_cache_free(s->cache);
    engine_close(s->engine);
}

static inline void site_init(struct site *s, bool rocks)
{
    *s = (struct site){.rocks = rocks};
    pool_init(&s->pool);
    if (rocks) {
        strcpy(s->dir, "/tmp/synod-test-XXXXXX");
        if (!mkdtemp(s->dir)) fail_msg("no temporary directory");
    } else {
        s->disk = engine_mem_disk_new();
    }
    site_start(s);
}

static inline int site_remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static inline void site_deinit(struct site *s)
{
    site_stop(s);
    if (s->rocks) (void)nftw(s->dir, site_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    engine_mem_disk_free(s->disk);
}

static inline struct shard_record site_record(uint32_t group, uint16_t replica, uint16_t lo,
                                              uint16_t hi)
{
    return (struct shard_record){
        .group = group, .state = SHARD_LIVE, .replica = replica, .slot_lo = lo, .slot_hi = hi};
}

static inline int site_write(struct site *s, struct shard_record r, bool wipe)
{
    struct shard_birth b = {r, wipe};
    return shard_write_records_now(s->engine, &b, 1);
}

static inline void site_birth(struct site *s, struct shard_record r)
{
    assert_int_equal(site_write(s, r, false), 0);
    if (!site_open_shard(s, r.group)) fail_msg("%s", s->text);
}

static inline int site_flush(struct site *s, uint32_t group)
{
    if (!shard_flush(s->shard[group])) return 1;
    pool_finish(&s->pool);
    return s->flush_error;
}

/* ---- entries ---- */

/* The value of an entry begins; effects_* follow. */
static inline void value_begin(struct buf *v)
{
    buf_clear(v);
    buf_u8(v, 1);
    buf_u64(v, 1000);
}

static inline void site_apply(struct shard *s, struct bytes value)
{
    struct paxos_entry e = {.position = s->applied + 1, .ballot = 9, .born = 9, .kind = PAXOS_DATA};
    assert_true(shard_apply(s, &e, true, value, false));
}

static inline void key_of(struct buf *out, uint16_t slot, uint32_t n)
{
    keys_kind(out, slot, KEYS_META);
    buf_printf(out, "%06ukey%u", n, n); /* as long as a hash, then the name */
}

static inline void site_put(struct shard *s, uint16_t slot, uint32_t n, const char *text)
{
    struct buf v = {0}, key = {0};
    value_begin(&v);
    key_of(&key, slot, n);
    effects_put(&v, buf_bytes(&key), bytes_str(text));
    effects_count(&v, slot, 1);
    site_apply(s, buf_bytes(&v));
    buf_deinit(&v), buf_deinit(&key);
}

static inline void site_split(struct shard *s, uint32_t group, uint16_t at)
{
    struct buf v = {0};
    value_begin(&v);
    effects_split(&v, group, at, buf_bytes(&s->config));
    site_apply(s, buf_bytes(&v));
    buf_deinit(&v);
}

static inline void site_wipe(struct shard *s)
{
    struct buf v = {0};
    value_begin(&v);
    effects_wipe(&v);
    site_apply(s, buf_bytes(&v));
    buf_deinit(&v);
}

static inline uint64_t site_digest(struct shard *s, uint64_t *keys)
{
    uint64_t digest;
    assert_int_equal(space_digest(s->space, &digest, keys), ENGINE_FOUND);
    return digest;
}

/* Two replicas hold the same. */
static inline void same_state(struct shard *a, struct shard *b)
{
    uint64_t keys_a, keys_b;
    shard_check(a);
    shard_check(b);
    assert_int_equal(a->slot_lo, b->slot_lo);
    assert_int_equal(a->slot_hi, b->slot_hi);
    assert_int_equal(a->applied, b->applied);
    assert_int_equal(a->last_valid.position, b->last_valid.position);
    assert_int_equal(a->last_valid.born, b->last_valid.born);
    assert_int_equal(a->now_ms, b->now_ms);
    assert_int_equal(a->objid_base, b->objid_base);
    assert_true(bytes_equal(buf_bytes(&a->config), buf_bytes(&b->config)));
    assert_int_equal(site_digest(a, &keys_a), site_digest(b, &keys_b));
    assert_int_equal(keys_a, keys_b);
    assert_int_equal(a->keys, b->keys);
    for (uint16_t s = a->slot_lo; s < a->slot_hi; s++)
        assert_int_equal(shard_slot_keys(a, s), shard_slot_keys(b, s));
}

/* ---- snapshots ---- */

static inline void site_chunk(void *ctx, struct bytes chunk, int error)
{
    assert_int_equal(error, 0);
    buf_clear(ctx);
    buf_append_bytes(ctx, chunk);
}

static inline void site_next_chunk(struct site *from, struct snapshot_out *o, struct buf *chunk)
{
    snapshot_out_next(o, site_chunk, chunk);
    pool_finish(&from->pool);
}

static inline struct snapshot_in *site_install(struct site *to, uint32_t group, uint16_t replica,
                                               struct bytes header)
{
    struct snapshot_in *in =
        snapshot_in_new(&(struct snapshot_in_options){.io = &to->pool.io,
                                                      .engine = to->engine,
                                                      .cache = to->cache,
                                                      .group = group,
                                                      .replica = replica,
                                                      .witness = to->witness,
                                                      .header = header,
                                                      .watermark = 1,
                                                      .gather_bytes = SITE_GATHER,
                                                      .begun = site_answer,
                                                      .ctx = to});
    if (in) pool_finish(&to->pool);
    return in;
}

static inline int site_take(struct site *to, struct snapshot_in *in, struct bytes chunk)
{
    snapshot_in_chunk(in, buf_copy(chunk), site_answer, to);
    pool_finish(&to->pool);
    return to->error;
}

static inline int site_finish(struct site *to, struct snapshot_in *in)
{
    snapshot_in_finish(in, site_answer, to);
    pool_finish(&to->pool);
    return to->error;
}

/* A whole install: everything of `o` goes to the replica of `group` at `to`, whose shard is closed
 * before and open after. 0, or what the first step that failed said. */
static inline int site_transfer(struct site *from, struct snapshot_out *o, struct site *to,
                                uint32_t group, uint16_t replica)
{
    struct buf chunk = {0};
    struct snapshot_in *in = site_install(to, group, replica, snapshot_out_header(o));
    assert_non_null(in);
    while (!to->error && !snapshot_out_ended(o)) {
        site_next_chunk(from, o, &chunk);
        (void)site_take(to, in, buf_bytes(&chunk));
    }
    if (!to->error) (void)site_finish(to, in);
    snapshot_in_free(in);
    buf_deinit(&chunk);
    if (!to->error && !site_open_shard(to, group)) fail_msg("%s", to->text);
    return to->error;
}

#endif
