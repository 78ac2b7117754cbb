#include "shard/shard.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "shard/effects.h"
#include "shard/keys.h"

#include <stdio.h>

#define VALUE_VERSION  1
#define VALUE_HEAD     9
#define RECORD_VERSION 1
#define EXPIRE_BATCH   64 /* keys a call deletes in a slot */
#define EXPIRE_SLOTS   32 /* slots a call looks at */

/* ---- the record that travels with a flush ----
 * version:1, applied:8, last_valid.position:8, last_valid.born:8, now_ms:8, then per slot with
 * keys: slot:2, varint count. */

static void record_encode(const struct shard *s, struct buf *out)
{
    buf_u8(out, RECORD_VERSION);
    buf_u64(out, s->applied);
    buf_u64(out, s->last_valid.position);
    buf_u64(out, s->last_valid.born);
    buf_u64(out, (uint64_t)s->now_ms);
    for (uint16_t slot = s->slot_lo; slot < s->slot_hi; slot++) {
        int64_t count = s->slot_keys[slot - s->slot_lo];
        if (count <= 0) continue;
        buf_u16(out, slot);
        buf_varint(out, (uint64_t)count);
    }
}

static bool record_decode(struct shard *s, struct bytes in)
{
    struct reader r = reader_of(in);
    if (reader_u8(&r) != RECORD_VERSION) return false;
    s->applied = reader_u64(&r);
    s->last_valid.position = reader_u64(&r);
    s->last_valid.born = reader_u64(&r);
    s->now_ms = (int64_t)reader_u64(&r);
    while (reader_left(&r) > 0) {
        uint16_t slot = reader_u16(&r);
        int64_t count = (int64_t)reader_varint(&r);
        if (r.bad || slot < s->slot_lo || slot >= s->slot_hi) return false;
        s->slot_keys[slot - s->slot_lo] = count;
        s->keys += count;
    }
    return !r.bad;
}

/* ---- life ---- */

struct shard_owner {
    struct shard shard; /* first: a shard is freed by its owner's address */
    void (*flushed)(void *ctx, struct shard *s, int error);
    void *ctx;
};

static void shard_flushed(void *ctx, uint64_t position, int error)
{
    struct shard_owner *o = ctx;
    if (error == 0) o->shard.flushed = position;
    o->flushed(o->ctx, &o->shard, error);
}

static bool shard_open_record(struct shard *s, char *error, size_t error_size)
{
    struct buf record = {0};
    enum engine_result r = space_flushed_record(s->space, &record);
    bool ok = r == ENGINE_ABSENT ||
              (r == ENGINE_FOUND && (record.size == 0 || record_decode(s, buf_bytes(&record))));
    buf_deinit(&record);
    s->flushed = s->applied;
    if (ok) return true;
    snprintf(error, error_size,
             "group %u: the engine's applied record is unreadable or damaged; move this data "
             "directory away and rebuild the node from its peers",
             s->group);
    return false;
}

struct shard *shard_new(const struct shard_options *options, char *error, size_t error_size)
{
    struct shard_owner *o = mem_zalloc(sizeof *o);
    struct shard *s = &o->shard;
    struct buf lo = {0}, hi = {0}, applied_key = {0};
    size_t slots = (size_t)(options->slot_hi - options->slot_lo);

    ASSERT(options->slot_lo < options->slot_hi && options->slot_hi <= SLOT_COUNT);
    o->flushed = options->flushed;
    o->ctx = options->ctx;
    s->group = options->group;
    s->slot_lo = options->slot_lo;
    s->slot_hi = options->slot_hi;
    s->batch_max = options->batch_max ? options->batch_max : SHARD_BATCH_MAX;
    s->effects_max = options->effects_max ? options->effects_max : SHARD_EFFECTS_MAX;
    s->slot_keys = mem_zalloc(slots * sizeof *s->slot_keys);
    s->expiry_hint = mem_zalloc(slots * sizeof *s->expiry_hint);
    keys_slot(&lo, s->slot_lo);
    keys_slot(&hi, s->slot_hi);
    keys_applied(&applied_key, s->group);
    s->space = space_new(&(struct space_options){.io = options->io,
                                                 .engine = options->engine,
                                                 .cache = options->cache,
                                                 .lo = buf_bytes(&lo),
                                                 .hi = buf_bytes(&hi),
                                                 .applied_key = buf_bytes(&applied_key),
                                                 .flushed = shard_flushed,
                                                 .ctx = o});
    buf_deinit(&lo), buf_deinit(&hi), buf_deinit(&applied_key);
    if (shard_open_record(s, error, error_size)) return s;
    shard_free(s);
    return NULL;
}

void shard_free(struct shard *s)
{
    if (!s) return;
    space_free(s->space);
    buf_deinit(&s->batch);
    mem_free(s->slot_keys);
    mem_free(s->expiry_hint);
    mem_free(s);
}

/* ---- applying ---- */

static void hint_lower(struct shard *s, struct bytes key)
{
    if (key.size < KEYS_EXPIRY_HEAD || key.data[2] != KEYS_EXPIRY) return;
    uint16_t slot = be16_get(key.data);
    uint64_t *hint = &s->expiry_hint[slot - s->slot_lo], ms = be64_get(key.data + 3);
    if (*hint && ms < *hint) *hint = ms ? ms : 1;
}

static bool key_is_ours(const struct shard *s, struct bytes key)
{
    return key.size >= 3 && be16_get(key.data) >= s->slot_lo && be16_get(key.data) < s->slot_hi;
}

static void write_effect(struct shard *s, uint64_t position, const struct effect *e)
{
    switch (e->op) {
    case EFFECT_PUT:
        space_put(s->space, position, e->key, e->value);
        hint_lower(s, e->key);
        break;
    case EFFECT_DEL: space_del(s->space, position, e->key); break;
    case EFFECT_TRASH: space_trash(s->space, position, e->key); break;
    case EFFECT_WIPE: space_wipe(s->space, position); break;
    default: break;
    }
}

static void count_effect(struct shard *s, const struct effect *e)
{
    if (e->op == EFFECT_WIPE) {
        memset(s->slot_keys, 0, (size_t)(s->slot_hi - s->slot_lo) * sizeof *s->slot_keys);
        s->keys = 0;
    } else if (e->op == EFFECT_COUNT && e->slot >= s->slot_lo && e->slot < s->slot_hi) {
        s->slot_keys[e->slot - s->slot_lo] += e->delta;
        s->keys += e->delta;
    }
}

/* Every effect decodes and lies in the group: checked whole before anything is written. */
static bool effects_sound(const struct shard *s, struct reader r)
{
    struct effect e;
    int more;
    while ((more = effects_next(&r, &e)) == 1)
        if (e.op <= EFFECT_TRASH && !key_is_ours(s, e.key)) return false;
    return more == 0;
}

static bool apply_value(struct shard *s, uint64_t position, struct bytes value, bool own)
{
    struct reader r = reader_of(value);
    struct effect e;
    uint8_t version = reader_u8(&r);
    int64_t now_ms = (int64_t)reader_u64(&r);
    int64_t keys = s->keys;

    if (r.bad || version != VALUE_VERSION || !effects_sound(s, r)) return false;
    if (now_ms > s->now_ms) s->now_ms = now_ms;
    while (effects_next(&r, &e) == 1) {
        if (!own) write_effect(s, position, &e);
        count_effect(s, &e);
    }
    if (own) s->keys_pending -= s->keys - keys;
    return true;
}

bool shard_apply(struct shard *s, const struct paxos_entry *e, bool valid, struct bytes value,
                 bool own)
{
    ASSERT(e->position == s->applied + 1);
    ASSERT(!valid || e->kind == PAXOS_DATA);

    if (valid) {
        if (!apply_value(s, e->position, value, own)) return false;
        s->last_valid = (struct paxos_id){e->position, e->born};
    }
    s->applied = e->position;
    space_set_applied(s->space, s->applied);
    if (s->written_high < s->applied) s->written_high = s->applied;
    return true;
}

/* ---- leading ---- */

void shard_lead(struct shard *s, uint64_t next)
{
    ASSERT(next == s->applied + 1);
    ASSERT(s->batch.size == 0);
    s->next = next;
    s->written_high = s->applied;
    s->keys_pending = 0;
    s->objects = 0;
}

/* One large batch should not hold its memory for ever. */
static void batch_empty(struct shard *s)
{
    if (s->batch.capacity > 2 * SHARD_BATCH_MAX)
        buf_deinit(&s->batch);
    else
        buf_clear(&s->batch);
}

void shard_lost(struct shard *s)
{
    if (!MUTANT(MUTANT_KEEP_PENDING)) space_drop_pending(s->space);
    batch_empty(s);
    /* What was expired may be there again. */
    if (s->written_high > s->applied)
        memset(s->expiry_hint, 0, (size_t)(s->slot_hi - s->slot_lo) * sizeof *s->expiry_hint);
    s->written_high = s->applied;
    s->keys_pending = 0;
    s->next = 0;
}

struct source {
    struct shard *shard;
    bool block, failed;
    uint64_t saw;
};

static enum view_result view_result_of(struct source *c, enum engine_result r)
{
    switch (r) {
    case ENGINE_FOUND: return VIEW_FOUND;
    case ENGINE_ABSENT: return VIEW_ABSENT;
    case ENGINE_E_IO: c->failed = true; return VIEW_MISS;
    case ENGINE_MISS: break;
    }
    return VIEW_MISS;
}

static enum view_result source_get(void *ctx, struct bytes key, struct bytes *value)
{
    struct source *c = ctx;
    struct shard *s = c->shard;
    if (!key_is_ours(s, key)) return VIEW_ABSENT;
    uint64_t at;
    enum engine_result result = space_get_at(s->space, key, c->block, value, &at);
    if (at > s->applied && at > c->saw) c->saw = at;
    return view_result_of(c, result);
}

/* A range saw whatever is pending anywhere in the group: coarse, but a range rarely meets a busy
 * group. */
static enum view_result source_range(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                                     view_each *each, void *each_ctx)
{
    struct source *c = ctx;
    struct shard *s = c->shard;
    if (s->written_high > s->applied) c->saw = s->written_high;
    return view_result_of(c, space_range(s->space, lo, hi, reverse, c->block, each, each_ctx));
}

static void batch_add(struct shard *s, struct view *v)
{
    struct reader r = reader_of(buf_bytes(&v->effects));
    struct effect e;

    if (s->batch.size == 0) {
        buf_u8(&s->batch, VALUE_VERSION);
        buf_u64(&s->batch, 0);
    }
    if (v->now_ms > s->now_ms) s->now_ms = v->now_ms;
    for (int i = 0; i < 8; i++) s->batch.data[1 + i] = (uint8_t)((uint64_t)s->now_ms >> 8 * i);
    buf_append_bytes(&s->batch, buf_bytes(&v->effects));
    while (effects_next(&r, &e) == 1) {
        write_effect(s, s->next, &e);
        if (e.op == EFFECT_COUNT) s->keys_pending += e.delta;
        if (e.op == EFFECT_WIPE) s->keys_pending = -s->keys;
    }
    s->objects = (uint32_t)(v->objid_next - (s->next << 16));
    ASSERT(s->objects <= SHARD_OBJECTS_MAX);
    s->written_high = s->next;
}

static void evaluation_begin(struct shard *s, struct view *v, struct source *source,
                             int64_t wall_ms, uint64_t random)
{
    struct view_source src = {source_get, source_range, source};
    ASSERT(s->next > 0);
    view_begin(v, &src, wall_ms > s->now_ms ? wall_ms : s->now_ms, random,
               s->next << 16 | s->objects, s->slot_lo, s->slot_hi);
    v->keys = s->keys + s->keys_pending;
    v->effects_max = s->effects_max;
}

enum shard_result shard_evaluate(struct shard *s, struct view *v, const struct shard_task *task,
                                 int64_t wall_ms, uint64_t random, uint64_t *saw)
{
    struct source source = {s, task->block, false, 0};

    evaluation_begin(s, v, &source, wall_ms, random);
    task->run(task->ctx, v);
    if (v->objid_next - (s->next << 16) > SHARD_OBJECTS_MAX && !v->refused)
        v->refused = VIEW_EFFECTS_TOO_LARGE;
    *saw = source.saw;
    if (source.failed) return SHARD_FAILED;
    if (v->refused) return SHARD_REFUSED;
    if (v->missed) return SHARD_MISS;
    if (task->sees_all && s->written_high > s->applied) source.saw = s->written_high;
    if (view_wrote(v)) {
        batch_add(s, v);
        source.saw = s->next;
    }
    *saw = source.saw;
    return SHARD_DONE;
}

void shard_proposed(struct shard *s)
{
    ASSERT(s->batch.size > 0);
    batch_empty(s);
    s->next++;
    s->objects = 0;
}

/* ---- expiry ---- */

struct due {
    struct buf keys; /* blobs of engine keys */
    uint32_t count;
    bool more;        /* than these are due */
    uint64_t next_ms; /* of the first key that is not due */
    uint64_t now;
    size_t bytes_max; /* of keys, before the last one */
};

static bool due_each(void *ctx, struct bytes key, struct bytes value)
{
    struct due *d = ctx;
    (void)value;
    uint64_t ms = be64_get(key.data + 3);
    if (ms >= d->now || d->count == EXPIRE_BATCH || d->keys.size > d->bytes_max) {
        d->next_ms = ms;
        d->more = ms < d->now; /* a key lives through the millisecond that its expiry names */
        return false;
    }
    buf_blob(&d->keys, key);
    d->count++;
    return true;
}

/* 1: more are due in the slot; 0: no more; -1: missed; -2: the engine failed. */
static int expire_slot(struct shard *s, struct view *v, uint16_t slot,
                       void (*touch)(struct view *, struct bytes), int64_t wall_ms, uint64_t random)
{
    struct source source = {s, false, false, 0};
    struct due d = {.next_ms = UINT64_MAX, .bytes_max = s->effects_max / 8};
    struct buf lo = {0}, hi = {0};

    evaluation_begin(s, v, &source, wall_ms, random);
    d.now = (uint64_t)v->now_ms;
    keys_kind(&lo, slot, KEYS_EXPIRY);
    keys_kind(&hi, slot, KEYS_EXPIRY + 1);
    (void)view_range(v, buf_bytes(&lo), buf_bytes(&hi), false, due_each, &d);
    buf_deinit(&lo), buf_deinit(&hi);

    struct reader keys = reader_of(buf_bytes(&d.keys));
    for (uint32_t i = 0; i < d.count && !v->missed; i++)
        touch(v, keys_user(reader_blob(&keys), KEYS_EXPIRY_HEAD));
    buf_deinit(&d.keys);
    if (v->missed) return source.failed ? -2 : -1;
    s->expiry_hint[slot - s->slot_lo] = d.next_ms ? d.next_ms : 1;
    if (view_wrote(v)) batch_add(s, v);
    return d.more;
}

int64_t shard_expire(struct shard *s, struct view *v, void (*touch)(struct view *, struct bytes),
                     int64_t wall_ms, uint64_t random)
{
    uint32_t looked = 0;
    for (uint16_t slot = s->slot_lo; slot < s->slot_hi; slot++) {
        uint64_t *hint = &s->expiry_hint[slot - s->slot_lo];
        if (*hint > (uint64_t)wall_ms) continue;
        if (s->batch.size >= s->batch_max || looked++ >= EXPIRE_SLOTS) return 1;
        int more = expire_slot(s, v, slot, touch, wall_ms, random);
        if (more < 0) return more;
        if (more > 0) return 1;
    }
    return 100;
}

/* ---- the rest ---- */

bool shard_flush(struct shard *s)
{
    if (space_flushing(s->space) || s->applied == s->flushed) return false;
    struct buf record = {0};
    record_encode(s, &record);
    bool started = space_flush(s->space, s->applied, buf_bytes(&record));
    buf_deinit(&record);
    return started;
}

int64_t shard_slot_keys(const struct shard *s, uint16_t slot)
{
    return slot >= s->slot_lo && slot < s->slot_hi ? s->slot_keys[slot - s->slot_lo] : 0;
}

void shard_check(const struct shard *s)
{
    int64_t sum = 0;
    for (int i = 0; i < s->slot_hi - s->slot_lo; i++) sum += s->slot_keys[i];
    ASSERT(sum == s->keys);
    ASSERT(s->keys >= 0);
    ASSERT(s->flushed <= s->applied);
    ASSERT(s->last_valid.position <= s->applied);
    ASSERT(s->written_high >= s->applied || s->next == 0);
    space_check(s->space);
}
