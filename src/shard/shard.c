#include "shard/shard.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "shard/effects.h"
#include "shard/keys.h"

#include <stdio.h>

#define VALUE_VERSION 1
#define VALUE_HEAD    9
#define EXPIRE_BATCH  64 /* keys a call deletes in a slot */
#define EXPIRE_SLOTS  32 /* slots a call looks at */

/* A replica that a split bore and that waits for its flush. */
struct newborn {
    uint64_t position; /* of the split */
    uint32_t group;
    struct buf record;
};

struct shard_owner {
    struct shard shard; /* first: a shard is freed by its owner's address */
    struct newborn *newborn;
    uint32_t newborn_count;
    void (*flushed)(void *ctx, struct shard *s, int error);
    void (*born)(void *ctx, struct shard *s, const struct shard_record *newborn);
    void (*system)(void *ctx, struct shard *s, struct bytes suffix, struct bytes value,
                   bool deleted);
    void (*snap)(void *ctx, struct shard *s, uint64_t cut, uint64_t ttl_ms);
    void *ctx;
};

static struct shard_owner *owner_of(struct shard *s)
{
    return (struct shard_owner *)s;
}

/* ---- the record ---- */

static void record_encode_counts(const struct shard *s, uint16_t lo, uint16_t hi, struct buf *out)
{
    for (uint16_t slot = lo; slot < hi; slot++) {
        int64_t count = s->slot_keys[slot - s->slot_lo];
        if (count > 0) birth_encode_count(out, slot, (uint64_t)count);
    }
}

static void record_encode(const struct shard *s, struct buf *out)
{
    struct shard_record r = {.group = s->group,
                             .state = s->state,
                             .replica = s->replica,
                             .slot_lo = s->slot_lo,
                             .slot_hi = s->slot_hi,
                             .applied = s->applied,
                             .last_valid = s->last_valid,
                             .now_ms = s->now_ms,
                             .sealed = s->sealed,
                             .objid_base = s->objid_base,
                             .installed = s->installed,
                             .config_id = s->config_id,
                             .config = buf_bytes(&s->config)};
    birth_encode(&r, out);
    record_encode_counts(s, s->slot_lo, s->slot_hi, out);
}

/* Takes the state over from the record: the slots' memory is made here. */
static bool record_decode(struct shard *s, struct bytes in)
{
    struct shard_record r;
    struct reader counts;
    uint16_t slot;
    uint64_t count;
    int more;
    if (!birth_decode(s->group, in, &r, &counts) || r.state == SHARD_DEAD) return false;
    s->state = r.state;
    s->replica = r.replica;
    s->slot_lo = r.slot_lo;
    s->slot_hi = r.slot_hi;
    s->applied = s->flushed = r.applied;
    s->last_valid = r.last_valid;
    s->now_ms = r.now_ms;
    s->sealed = r.sealed;
    s->objid_base = r.objid_base;
    s->installed = r.installed;
    s->config_id = r.config_id;
    buf_append_bytes(&s->config, r.config);
    size_t slots = (size_t)(s->slot_hi - s->slot_lo);
    s->slot_keys = mem_zalloc(slots * sizeof *s->slot_keys);
    s->expiry_hint = mem_zalloc(slots * sizeof *s->expiry_hint);
    while ((more = birth_next_count(&r, &counts, &slot, &count)) == 1) {
        s->slot_keys[slot - s->slot_lo] = (int64_t)count;
        s->keys += (int64_t)count;
    }
    return more == 0;
}

/* ---- life ---- */

/* The newborns that a flush up to `position` brought, in the order of their splits. */
static void newborns_tell(struct shard_owner *o, uint64_t position)
{
    while (o->newborn_count && o->newborn[0].position <= position) {
        struct newborn n = o->newborn[0];
        struct shard_record r;
        struct reader counts;
        memmove(o->newborn, o->newborn + 1, --o->newborn_count * sizeof n);
        bool good = birth_decode(n.group, buf_bytes(&n.record), &r, &counts);
        ASSERT(good);
        if (o->born) o->born(o->ctx, &o->shard, &r);
        buf_deinit(&n.record);
    }
}

static void shard_flush_ended(void *ctx, uint64_t position, int error)
{
    struct shard_owner *o = ctx;
    if (error == 0) {
        ASSERT(position >= o->shard.flushed);
        o->shard.flushed = position;
        newborns_tell(o, position);
    }
    o->flushed(o->ctx, &o->shard, error);
}

static void shard_open_space(struct shard *s, const struct shard_options *options,
                             struct bytes applied_key, struct bytes record)
{
    struct buf lo = {0}, hi = {0};
    keys_slot(&lo, s->slot_lo);
    keys_slot(&hi, s->slot_hi);
    s->space = space_new(&(struct space_options){.io = options->io,
                                                 .engine = options->engine,
                                                 .cache = options->cache,
                                                 .lo = buf_bytes(&lo),
                                                 .hi = buf_bytes(&hi),
                                                 .applied_key = applied_key,
                                                 .record = record,
                                                 .flushed = shard_flush_ended,
                                                 .ctx = owner_of(s)});
    buf_deinit(&lo), buf_deinit(&hi);
}

struct shard *shard_new(const struct shard_options *options, char *error, size_t error_size)
{
    struct shard_owner *o = mem_zalloc(sizeof *o);
    struct shard *s = &o->shard;
    struct buf key = {0}, record = {0};

    o->flushed = options->flushed;
    o->born = options->born;
    o->system = options->system;
    o->snap = options->snap;
    o->ctx = options->ctx;
    s->group = options->group;
    s->witness = options->witness;
    s->batch_max = options->batch_max ? options->batch_max : SHARD_BATCH_MAX;
    s->effects_max = options->effects_max ? options->effects_max : SHARD_EFFECTS_MAX;
    keys_applied(&key, s->group);
    enum engine_result r = engine_get(options->engine, buf_bytes(&key), true, &record);
    bool ok = r == ENGINE_FOUND && record_decode(s, buf_bytes(&record));
    if (ok)
        shard_open_space(s, options, buf_bytes(&key), buf_bytes(&record));
    else if (r == ENGINE_ABSENT)
        snprintf(error, error_size, "group %u has no replica on this disk", s->group);
    else
        snprintf(error, error_size,
                 "group %u: the engine's applied record is unreadable or damaged; move this data "
                 "directory away and rebuild the node from its peers",
                 s->group);
    buf_deinit(&key), buf_deinit(&record);
    if (ok) return s;
    shard_free(s);
    return NULL;
}

void shard_free(struct shard *s)
{
    if (!s) return;
    struct shard_owner *o = owner_of(s);
    for (uint32_t i = 0; i < o->newborn_count; i++) buf_deinit(&o->newborn[i].record);
    mem_free(o->newborn);
    space_free(s->space);
    buf_deinit(&s->batch);
    buf_deinit(&s->config);
    mem_free(s->slot_keys);
    mem_free(s->expiry_hint);
    mem_free(s);
}

/* ---- applying ---- */

static void hint_lower(struct shard *s, struct bytes key)
{
    if (key.size < KEYS_EXPIRY_HEAD) return;
    if (key.data[2] != KEYS_EXPIRY && key.data[2] != KEYS_ONCE_EXPIRY) return;
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

static void count_effect(struct shard *s, uint64_t position, const struct effect *e)
{
    if (e->op == EFFECT_WIPE) {
        s->wiped = position;
        memset(s->slot_keys, 0, (size_t)(s->slot_hi - s->slot_lo) * sizeof *s->slot_keys);
        s->keys = 0;
    } else if (e->op == EFFECT_COUNT && e->slot >= s->slot_lo && e->slot < s->slot_hi) {
        s->slot_keys[e->slot - s->slot_lo] += e->delta;
        s->keys += e->delta;
    }
}

static bool alone_sound(const struct shard *s, const struct effect *e)
{
    switch (e->op) {
    case EFFECT_SPLIT: return e->slot > s->slot_lo && e->slot < s->slot_hi && e->group != s->group;
    case EFFECT_MERGE: return s->slot_hi < SLOT_COUNT && e->group != s->group;
    default: return true;
    }
}

/* Every effect decodes and lies in the group, one that must be alone is, and a sealed shard only
 * opens: checked whole before anything is written. *alone: that effect, or op 0. */
static bool effects_sound(const struct shard *s, struct reader r, struct effect *alone)
{
    struct effect e;
    int more;
    uint64_t count = 0;
    alone->op = 0;
    while ((more = effects_next(&r, &e)) == 1) {
        count++;
        if (e.op <= EFFECT_TRASH && !key_is_ours(s, e.key)) return false;
        if (s->sealed && e.op != EFFECT_SEAL) return false;
        if (!effect_is_alone(&e)) continue;
        if (!alone_sound(s, &e)) return false;
        *alone = e;
    }
    return more == 0 && (!alone->op || count == 1);
}

static void tell_system(struct shard *s, const struct effect *e)
{
    struct shard_owner *o = owner_of(s);
    if (o->system && (e->op == EFFECT_PUT || e->op == EFFECT_DEL) && keys_is_system(e->key))
        o->system(o->ctx, s, keys_user(e->key, KEYS_SYSTEM_HEAD), e->value, e->op == EFFECT_DEL);
}

/* What applying an entry found in it that is done once it is applied. */
struct after {
    struct effect alone; /* op 0: none */
    bool snaps;
};

static void tell_snaps(struct shard *s, struct bytes value)
{
    struct shard_owner *o = owner_of(s);
    struct reader r = reader_of(value);
    struct effect e;
    (void)reader_take(&r, VALUE_HEAD);
    while (o->snap && effects_next(&r, &e) == 1)
        if (e.op == EFFECT_SNAP) o->snap(o->ctx, s, e.cut, e.ttl_ms);
}

static bool apply_value(struct shard *s, uint64_t position, struct bytes value, bool own,
                        struct after *after)
{
    struct reader r = reader_of(value);
    struct effect e;
    uint8_t version = reader_u8(&r);
    int64_t now_ms = (int64_t)reader_u64(&r);
    int64_t keys = s->keys;

    if (r.bad || version != VALUE_VERSION || !effects_sound(s, r, &after->alone)) return false;
    if (now_ms > s->now_ms) s->now_ms = now_ms;
    s->entry_ms = now_ms;
    while (!s->witness && effects_next(&r, &e) == 1) {
        if (!own) write_effect(s, position, &e);
        count_effect(s, position, &e);
        tell_system(s, &e);
        after->snaps |= e.op == EFFECT_SNAP;
    }
    if (own) s->keys_pending -= s->keys - keys;
    return true;
}

/* The newborn's state is all that the shard held of its slots at the split. */
static void newborn_add(struct shard *s, const struct shard_record *r)
{
    struct shard_owner *o = owner_of(s);
    struct buf at = {0}, key = {0};
    o->newborn = mem_realloc(o->newborn, (o->newborn_count + 1) * sizeof *o->newborn);
    struct newborn *n = &o->newborn[o->newborn_count++];
    *n = (struct newborn){.position = r->applied, .group = r->group};
    birth_encode(r, &n->record);
    record_encode_counts(s, r->slot_lo, r->slot_hi, &n->record);
    keys_slot(&at, r->slot_lo);
    keys_applied(&key, r->group);
    space_narrow(s->space, buf_bytes(&at), buf_bytes(&key), buf_bytes(&n->record));
    buf_deinit(&at), buf_deinit(&key);
    if (MUTANT(MUTANT_BORN_EARLY)) newborns_tell(o, r->applied);
}

/* Nothing is pending: at the leader nothing was evaluated since the split was. */
static void shard_split(struct shard *s, const struct paxos_entry *e, const struct effect *split)
{
    struct paxos_id id = {e->position, e->born};
    struct shard_record r = {.group = split->group,
                             .state = SHARD_LIVE,
                             .replica = s->replica,
                             .slot_lo = split->slot,
                             .slot_hi = s->slot_hi,
                             .applied = e->position,
                             .last_valid = id,
                             .now_ms = s->now_ms,
                             .objid_base = s->objid_base, /* its positions go on from here */
                             .config_id = id,
                             .config = split->value};
    ASSERT(s->applied == e->position && s->written_high <= s->applied);
    newborn_add(s, &r);
    for (uint16_t slot = r.slot_lo; slot < r.slot_hi; slot++) {
        s->keys -= s->slot_keys[slot - s->slot_lo];
        s->slot_keys[slot - s->slot_lo] = 0;
    }
    s->slot_hi = split->slot;
}

/* ---- taking the right neighbour over ---- */

/* The other replica's record as the engine has it, its bytes in `value`; false: not as a merge
 * needs it. */
static bool neighbour_read(struct shard *s, const struct effect *e, struct buf *value,
                           struct shard_record *r, struct reader *counts)
{
    struct buf key = {0};
    struct io *io;
    struct engine *engine;
    space_source(s->space, &io, &engine);
    keys_applied(&key, e->group);
    enum engine_result result = engine_get(engine, buf_bytes(&key), true, value);
    buf_deinit(&key);
    return result == ENGINE_FOUND && birth_decode(e->group, buf_bytes(value), r, counts) &&
           r->state == SHARD_LIVE && r->slot_lo == s->slot_hi && r->sealed == e->sealed &&
           r->sealed > 0;
}

bool shard_value_merges(struct bytes value, uint32_t *group, uint64_t *sealed)
{
    struct reader in = reader_of(value);
    struct effect e;
    (void)reader_take(&in, VALUE_HEAD);
    if (effects_next(&in, &e) != 1 || e.op != EFFECT_MERGE) return false;
    *group = e.group;
    *sealed = e.sealed;
    return true;
}

bool shard_merge_ready(struct shard *s, uint32_t group, uint64_t sealed)
{
    struct reader counts;
    struct effect e = {.group = group, .sealed = sealed};
    struct shard_record r;
    struct buf record = {0};
    bool ready = !space_wiped(s->space) && neighbour_read(s, &e, &record, &r, &counts);
    buf_deinit(&record);
    return ready;
}

/* New slots without keys behind those there are. */
static void slots_grow(struct shard *s, uint16_t slot_hi)
{
    size_t had = (size_t)(s->slot_hi - s->slot_lo), slots = (size_t)(slot_hi - s->slot_lo);
    s->slot_keys = mem_realloc(s->slot_keys, slots * sizeof *s->slot_keys);
    s->expiry_hint = mem_realloc(s->expiry_hint, slots * sizeof *s->expiry_hint);
    memset(s->slot_keys + had, 0, (slots - had) * sizeof *s->slot_keys);
    memset(s->expiry_hint + had, 0, (slots - had) * sizeof *s->expiry_hint);
    s->slot_hi = slot_hi;
}

/* All replicas find the same there: a sealed group's state does not change. Object ids go on above
 * those of both groups. */
static bool shard_merge(struct shard *s, const struct effect *e)
{
    struct shard_record r;
    struct reader counts;
    struct buf value = {0}, key = {0}, hi = {0}, tombstone = {0};
    uint16_t slot;
    uint64_t count;
    bool good = neighbour_read(s, e, &value, &r, &counts);
    if (good) {
        slots_grow(s, r.slot_hi);
        while (birth_next_count(&r, &counts, &slot, &count) == 1) {
            s->slot_keys[slot - s->slot_lo] = (int64_t)count;
            s->keys += (int64_t)count;
        }
        if (s->objid_base < r.objid_base + r.sealed) s->objid_base = r.objid_base + r.sealed;
        if (s->now_ms < r.now_ms) s->now_ms = r.now_ms;
        r.state = SHARD_DEAD;
        birth_encode(&r, &tombstone);
        keys_applied(&key, e->group);
        keys_slot(&hi, s->slot_hi);
        space_widen(s->space, buf_bytes(&hi), buf_bytes(&key), buf_bytes(&tombstone));
    }
    buf_deinit(&value), buf_deinit(&key), buf_deinit(&hi), buf_deinit(&tombstone);
    return good;
}

/* ---- applying an entry ---- */

/* A joiner was born with the configuration that made it a member: what came before that is history
 * when it catches up. */
static void apply_config(struct shard *s, const struct paxos_entry *e, struct bytes value)
{
    if (e->position <= s->config_id.position) return;
    s->config_id = (struct paxos_id){e->position, e->born};
    buf_clear(&s->config);
    buf_append_bytes(&s->config, value);
}

bool shard_apply(struct shard *s, const struct paxos_entry *e, bool valid, struct bytes value,
                 bool own)
{
    struct after after = {0};
    const struct effect *alone = &after.alone;
    ASSERT(e->position == s->applied + 1 && s->state == SHARD_LIVE);
    ASSERT(!valid || e->kind == PAXOS_DATA || e->kind == PAXOS_CONFIG);

    if (valid && e->kind == PAXOS_CONFIG) {
        apply_config(s, e, value);
    } else if (valid) {
        if (!apply_value(s, e->position, value, own, &after)) return false;
        s->last_valid = (struct paxos_id){e->position, e->born};
    }
    s->applied = e->position;
    space_set_applied(s->space, s->applied);
    if (s->written_high < s->applied) s->written_high = s->applied;
    if (s->boundary <= s->applied) s->boundary = 0;
    if (s->passed <= s->applied) s->passed = 0;
    if (after.snaps) tell_snaps(s, value);
    if (alone->op == EFFECT_SPLIT) shard_split(s, e, alone);
    if (alone->op == EFFECT_SEAL) s->sealed = alone->sealed ? e->position : 0;
    return alone->op != EFFECT_MERGE || shard_merge(s, alone);
}

/* ---- leading ---- */

void shard_lead(struct shard *s, uint64_t next)
{
    ASSERT(next == s->applied + 1 && s->state == SHARD_LIVE && !s->witness);
    ASSERT(s->batch.size == 0);
    s->next = next;
    s->written_high = s->applied;
    s->keys_pending = 0;
    s->objects = 0;
    s->boundary = s->passed = 0;
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
    s->next = s->boundary = s->passed = 0;
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
    uint64_t at;
    ASSERT(key_is_ours(s, key)); /* the view refuses others */
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

static uint64_t objid_first(const struct shard *s)
{
    return (s->objid_base + s->next) << 16;
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
        if (effect_is_alone(&e)) s->boundary = s->next;
    }
    s->objects = (uint32_t)(v->objid_next - objid_first(s));
    ASSERT(s->objects <= SHARD_OBJECTS_MAX);
    s->written_high = s->next;
}

static void evaluation_begin(struct shard *s, struct view *v, struct source *source,
                             int64_t wall_ms, uint64_t random)
{
    struct view_source src = {source_get, source_range, source};
    ASSERT(s->next > 0);
    view_begin(v, &src, wall_ms > s->now_ms ? wall_ms : s->now_ms, random,
               objid_first(s) | s->objects, s->slot_lo, s->slot_hi);
    v->keys = s->keys + s->keys_pending;
    v->effects_max = s->effects_max;
    v->config = buf_bytes(&s->config);
}

/* A split is alone in its entry, carries the configuration of its position, and nothing is
 * evaluated behind it until it is applied. */
static bool must_wait(const struct shard *s, const struct view *v)
{
    return s->boundary || (v->alone && (s->batch.size || s->passed));
}

enum shard_result shard_evaluate(struct shard *s, struct view *v, const struct shard_task *task,
                                 int64_t wall_ms, uint64_t random, uint64_t *saw)
{
    struct source source = {s, task->block, false, 0};

    evaluation_begin(s, v, &source, wall_ms, random);
    *saw = 0;
    if (s->sealed && !task->on_sealed && !MUTANT(MUTANT_SEALED_SERVES)) {
        v->refused = VIEW_SEALED;
        return SHARD_REFUSED;
    }
    task->run(task->ctx, v);
    if (v->objid_next - objid_first(s) > SHARD_OBJECTS_MAX && !v->refused)
        v->refused = VIEW_EFFECTS_TOO_LARGE;
    *saw = source.saw;
    if (source.failed) return SHARD_FAILED;
    if (v->refused) return SHARD_REFUSED;
    if (v->missed) return SHARD_MISS;
    if (view_wrote(v) && must_wait(s, v)) {
        v->refused = VIEW_LATER;
        return SHARD_REFUSED;
    }
    if (task->sees_all && s->written_high > s->applied) source.saw = s->written_high;
    if (view_wrote(v)) {
        batch_add(s, v);
        source.saw = s->next;
    }
    *saw = source.saw;
    return SHARD_DONE;
}

enum shard_result shard_read(struct shard *s, struct view *v, const struct shard_task *task,
                             uint64_t random)
{
    struct source source = {s, task->block, false, 0};
    struct view_source src = {source_get, source_range, &source};

    ASSERT(s->next == 0 && s->state == SHARD_LIVE && !s->witness);
    view_begin(v, &src, s->now_ms, random, 0, s->slot_lo, s->slot_hi);
    v->keys = s->keys;
    task->run(task->ctx, v);
    if (source.failed) return SHARD_FAILED;
    if (v->refused) return SHARD_REFUSED;
    return v->missed ? SHARD_MISS : SHARD_DONE;
}

void shard_proposed(struct shard *s)
{
    ASSERT(s->batch.size > 0);
    batch_empty(s);
    s->next++;
    s->objects = 0;
}

void shard_passed(struct shard *s)
{
    ASSERT(s->next > 0 && s->batch.size == 0);
    s->passed = s->next++;
}

/* ---- expiry ---- */

struct due {
    struct buf keys; /* blobs of engine keys */
    uint32_t count;
    bool more;        /* than these are due */
    uint64_t next_ms; /* of the first one that is not due */
    uint64_t now;
    size_t bytes_max; /* of keys, before the last one */
};

static bool due_each(void *ctx, struct bytes key, struct bytes value)
{
    struct due *d = ctx;
    (void)value;
    uint64_t ms = be64_get(key.data + 3);
    if (ms >= d->now || d->count == EXPIRE_BATCH || d->keys.size > d->bytes_max) {
        if (ms < d->next_ms) d->next_ms = ms;
        d->more |= ms < d->now; /* a key lives through the millisecond that its expiry names */
        return false;
    }
    buf_blob(&d->keys, key);
    d->count++;
    return true;
}

/* 1: more are due in the slot; 0: no more; -1: missed; -2: the engine failed. */
static int expire_slot(struct shard *s, struct view *v, uint16_t slot,
                       bool (*touch)(void *ctx, struct view *, struct bytes row), void *ctx,
                       int64_t wall_ms, uint64_t random)
{
    struct source source = {s, false, false, 0};
    struct due d = {.next_ms = UINT64_MAX, .bytes_max = s->effects_max / 8};
    struct buf lo = {0}, hi = {0};

    evaluation_begin(s, v, &source, wall_ms, random);
    d.now = (uint64_t)v->now_ms;
    for (uint8_t kind = KEYS_EXPIRY; kind <= KEYS_ONCE_EXPIRY; kind++) {
        keys_kind(&lo, slot, kind);
        keys_kind(&hi, slot, kind + 1);
        (void)view_range(v, buf_bytes(&lo), buf_bytes(&hi), false, due_each, &d);
    }
    buf_deinit(&lo), buf_deinit(&hi);

    struct reader keys = reader_of(buf_bytes(&d.keys));
    bool all = true;
    for (uint32_t i = 0; i < d.count && !v->missed; i++) all &= touch(ctx, v, reader_blob(&keys));
    buf_deinit(&d.keys);
    if (v->missed) return source.failed ? -2 : -1;
    s->expiry_hint[slot - s->slot_lo] = d.next_ms && all ? d.next_ms : 1;
    if (view_wrote(v)) batch_add(s, v);
    return d.more && all;
}

int64_t shard_expire(struct shard *s, struct view *v,
                     bool (*touch)(void *ctx, struct view *, struct bytes row), void *ctx,
                     int64_t wall_ms, uint64_t random)
{
    uint32_t looked = 0;
    if (s->boundary || s->sealed) return 1;
    for (uint16_t slot = s->slot_lo; slot < s->slot_hi; slot++) {
        uint64_t *hint = &s->expiry_hint[slot - s->slot_lo];
        if (*hint > (uint64_t)wall_ms) continue;
        if (s->batch.size >= s->batch_max || looked++ >= EXPIRE_SLOTS) return 1;
        int more = expire_slot(s, v, slot, touch, ctx, wall_ms, random);
        if (more < 0) return more;
        if (more > 0) return 1;
    }
    return 100;
}

bool shard_expires(const struct shard *s, int64_t before_ms)
{
    for (uint16_t slot = 0; slot < s->slot_hi - s->slot_lo; slot++)
        if (s->expiry_hint[slot] < (uint64_t)before_ms) return true;
    return false;
}

/* ---- the rest ---- */

bool shard_flush(struct shard *s)
{
    bool rests = s->sealed && s->flushed >= s->sealed; /* and may be closed any time */
    if (space_flushing(s->space) || s->applied == s->flushed || s->state != SHARD_LIVE || rests)
        return false;
    struct buf record = {0};
    record_encode(s, &record);
    bool started = space_flush(s->space, s->applied, buf_bytes(&record));
    buf_deinit(&record);
    return started;
}

bool shard_unborn(const struct shard *s)
{
    return space_narrowed(s->space);
}

struct row_walk {
    void (*each)(void *ctx, struct bytes key, struct bytes value);
    void *ctx;
    size_t head; /* bytes of the key that are left away */
};

static bool row_visit(void *ctx, struct bytes key, struct bytes value)
{
    const struct row_walk *w = ctx;
    w->each(w->ctx, keys_user(key, w->head), value);
    return true;
}

static bool rows_of_kind(struct shard *s, uint16_t slot, uint8_t kind, struct row_walk *walk)
{
    struct buf lo = {0}, hi = {0};
    keys_kind(&lo, slot, kind);
    keys_kind(&hi, slot, kind + 1);
    enum engine_result result =
        space_range_applied(s->space, buf_bytes(&lo), buf_bytes(&hi), true, row_visit, walk);
    buf_deinit(&lo), buf_deinit(&hi);
    return result == ENGINE_ABSENT;
}

bool shard_system_each(struct shard *s,
                       void (*each)(void *ctx, struct bytes suffix, struct bytes value), void *ctx)
{
    struct row_walk walk = {each, ctx, KEYS_SYSTEM_HEAD};
    return s->slot_lo > 0 || rows_of_kind(s, 0, KEYS_SYSTEM, &walk);
}

bool shard_txns_each(struct shard *s, void (*each)(void *ctx, struct bytes key, struct bytes value),
                     void *ctx)
{
    struct row_walk walk = {each, ctx, 0};
    return rows_of_kind(s, s->slot_lo, KEYS_TXN, &walk);
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
    ASSERT(!s->witness || s->keys == 0);
    ASSERT(s->boundary == 0 || (s->boundary > s->applied && s->boundary <= s->next));
    space_check(s->space);
}
