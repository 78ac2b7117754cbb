/* What the machine of a job asks of its owner, carried out. */
#include "base/mem.h"
#include "base/mutant.h"
#include "node/job_internal.h"
#include "node/request.h"
#include "redis/cut.h"

#include <inttypes.h>

#define CUT_SPARE_MS (60 * 1000ull) /* a job's snapshot outlives its time limit by so much */
#define TEXT_NO_SNAPSHOT                                                                           \
    "there is no snapshot of that id (any more); SNAPSHOT LIST shows which there are"

static void step_of(struct owned *o, enum job_event_type type)
{
    owned_step(o, (struct job_event){.type = (uint8_t)type});
}

/* The text of an error, without its first word's dash and the end of its line. */
static struct bytes error_of(struct bytes reply)
{
    return reply.size > 3 && reply.data[0] == '-' ? bytes_of(reply.data + 1, reply.size - 3)
                                                  : BYTES("group 0 does not answer");
}

/* ---- tasks ---- */

static void put_inputs(const struct owned *o, struct buf *out)
{
    for (uint32_t i = 0; i < o->machine.maps; i++) {
        const struct job_task *t = &o->machine.task[i];
        job_input_put(out, &(struct job_input){(uint16_t)t->winner_node, t->winner});
    }
}

void owned_start(struct owned *o, uint32_t task, uint32_t number, uint32_t node)
{
    const struct job *j = &o->machine;
    struct buf inputs = {0};
    struct job_msg m = {.type = JOB_MSG_START,
                        .job = o->id,
                        .epoch = j->epoch,
                        .task = task,
                        .number = number,
                        .maps = j->maps,
                        .reduces = j->reduces,
                        .snapshot = j->snapshot,
                        .spec = buf_bytes(&o->spec_bytes)};
    if (!job_is_map(j, task))
        put_inputs(o, &inputs);
    else if (task < o->ranges)
        m.slot_lo = o->range[task].slot_lo, m.slot_hi = o->range[task].slot_hi;
    else if (o->spec.kind != JOB_KIND_TASKS)
        m.snapshot = 0, m.slot_hi = SLOT_COUNT; /* it is gone: whoever is asked says so */
    m.inputs = buf_bytes(&inputs);
    (void)job_send(o->node, (uint16_t)node, &m);
    buf_deinit(&inputs);
}

static void kill_run(struct owned *o, const struct job_effect *fx)
{
    struct job_msg m = {.type = JOB_MSG_KILL,
                        .job = o->id,
                        .epoch = fx->attempt.epoch,
                        .task = fx->task,
                        .number = fx->attempt.number};
    (void)job_send(o->node, (uint16_t)fx->node, &m);
    if (job_is_map(&o->machine, fx->task)) return;
    jobs_ask_numbers(o->node, "synod|job", "UNSTAGE",
                     (uint64_t[]){o->id, fx->task, fx->attempt.epoch, fx->attempt.number}, 4,
                     (struct bytes){0}, jobs_nobody, NULL);
}

static void tell_all(struct owned *o, enum job_msg_type type)
{
    struct job_msg m = {.type = (uint8_t)type, .job = o->id, .epoch = o->machine.epoch};
    for (uint16_t id = 1; id <= o->node->node_max; id++)
        if (id == o->node->identity.node || o->node->peers[id]) (void)job_send(o->node, id, &m);
}

void owned_fence(struct owned *o)
{
    tell_all(o, JOB_MSG_FENCE);
}

/* ---- the cut ---- */

void jobs_drop_cut(struct node *n, uint64_t cut)
{
    jobs_ask_numbers(n, "synod|snapshot", "DROP", &cut, 1, (struct bytes){0}, jobs_nobody, NULL);
    cut_drop(n, cut);
}

static void cut_failed(struct owned *o, struct bytes why)
{
    owned_log(o, "no snapshot: %.*s", (int)why.size, (const char *)why.data);
    owned_step(o, (struct job_event){.type = JOB_EV_CUT_FAILED, .text = why});
}

static void cut_ranged(struct owned *o, int32_t count)
{
    uint64_t cut = o->cut;
    bool own = !o->spec.snapshot;
    o->cut = 0;
    bool kept = MUTANT(MUTANT_JOB_NEW_CUT) && (uint32_t)count == o->machine.maps;
    if (count > 0 && (kept || job_set_maps(&o->machine, (uint32_t)count))) {
        ranges_hold(o);
        owned_step(o, (struct job_event){.type = JOB_EV_CUT_MADE, .snapshot = cut});
        return;
    }
    if (own) jobs_drop_cut(o->node, cut);
    if (count > 0)
        cut_failed(o, BYTES("the snapshot has more parts than a job may have tasks"));
    else
        cut_failed(o, count == RANGES_GONE ? BYTES(TEXT_NO_SNAPSHOT)
                                           : BYTES("the snapshot's row could not be read"));
}

static void cut_made(void *ctx, struct bytes reply)
{
    struct owned *o = ctx;
    struct bytes name;
    bool nil;
    if (!jobs_bulk(reply, &name, &nil) || !cut_name_get(name, &o->cut))
        cut_failed(o, error_of(reply));
    else
        ranges_ask(o, o->cut, cut_ranged);
}

static void make_cut(struct owned *o)
{
    uint64_t ttl_ms = o->spec.limits.time_ms + CUT_SPARE_MS;
    o->cut = o->spec.snapshot;
    if (o->cut)
        ranges_ask(o, o->cut, cut_ranged);
    else
        cut_begin(o->node, jobs_request(o->node, "snapshot|create", cut_made, o),
                  ttl_ms < CUT_TTL_MAX_MS ? ttl_ms : CUT_TTL_MAX_MS, o->id);
}

bool owned_forgotten(struct owned *o, struct bytes reply)
{
    struct bytes bulk;
    bool nil;
    (void)jobs_bulk(reply, &bulk, &nil);
    if (!nil) return false;
    tell_all(o, JOB_MSG_DROP);
    step_of(o, JOB_EV_DEPOSED);
    return true;
}

/* ---- the record ---- */

static void record_written(void *ctx, struct bytes reply)
{
    struct owned *o = ctx;
    struct job_event ev = {.type = JOB_EV_WRITE_LOST, .revision = o->machine.revision};
    if (owned_forgotten(o, reply)) return;
    if (jobs_said(reply, 1)) ev.type = JOB_EV_WRITTEN;
    if (jobs_said(reply, 0)) ev.type = JOB_EV_DEPOSED;
    owned_step(o, ev);
}

static void write_record(struct owned *o, const struct job_effect *fx)
{
    jobs_ask_numbers(
        o->node, "synod|job", "RECORD",
        (uint64_t[]){o->id, o->machine.epoch, fx->revision, fx->base_epoch, fx->base_revision}, 5,
        buf_bytes(&o->record), record_written, o);
}

/* ---- publishing ---- */

static void publish_failed(struct owned *o, struct bytes why, bool retry)
{
    owned_log(o, "the result cannot be published: %.*s", (int)why.size, (const char *)why.data);
    owned_step(o, (struct job_event){.type = JOB_EV_PUBLISH_FAILED, .text = why, .retry = retry});
}

static void published(void *ctx, struct bytes reply)
{
    struct owned *o = ctx;
    bool passing = bytes_begins(reply, "-TRYAGAIN") || bytes_begins(reply, "-CLUSTERDOWN") ||
                   bytes_begins(reply, "-TXNABORT") || bytes_begins(reply, "-OOM");
    if (jobs_said(reply, 1))
        step_of(o, JOB_EV_PUBLISHED);
    else if (jobs_said(reply, 0))
        step_of(o, JOB_EV_DEPOSED);
    else if (!reply.size || bytes_begins(reply, "-UNKNOWN"))
        step_of(o, JOB_EV_PUBLISH_LOST);
    else
        publish_failed(o, error_of(reply), passing);
}

struct publication {
    struct buf numbers, texts; /* texts: the keys' prefix and key, one behind the other */
    struct bytes *v;
    uint32_t count, capacity;
};

static void publication_add(struct publication *p, struct bytes s)
{
    if (p->count == p->capacity) {
        p->capacity = 2 * p->capacity + 16;
        p->v = mem_realloc(p->v, p->capacity * sizeof *p->v);
    }
    p->v[p->count++] = s;
}

/* Keys and values as strings into `texts`, blobs. Returns how many. */
static uint32_t put_keys(const struct owned *o, struct bytes pairs, struct buf *texts)
{
    struct reader r = reader_of(pairs);
    struct gather_pair pair;
    char number[40];
    uint32_t count = 0;
    while (reader_left(&r) && gather_next(&r, &pair)) {
        if (pair.note) continue;
        buf_varint(texts, o->spec.prefix.size + pair.key.size);
        buf_append_bytes(texts, o->spec.prefix);
        buf_append_bytes(texts, pair.key);
        buf_blob(texts, task_value_text(&pair.value, number));
        count++;
    }
    return count;
}

static void send_publication(struct owned *o, struct bytes texts)
{
    struct publication p = {0};
    struct reader r = reader_of(texts);
    publication_add(&p, BYTES("SYNOD"));
    publication_add(&p, BYTES("JOB-PUBLISH"));
    buf_u64(&p.numbers, o->id);
    buf_u64(&p.numbers, o->machine.epoch);
    buf_u64(&p.numbers, o->machine.revision);
    for (int i = 0; i < 3; i++) publication_add(&p, bytes_of(p.numbers.data + 8 * i, 8));
    publication_add(&p, buf_bytes(&o->record));
    while (reader_left(&r)) publication_add(&p, reader_blob(&r));
    jobs_publish(o->node, &(struct cmd_args){p.v, p.count}, published, o);
    buf_deinit(&p.numbers);
    mem_free(p.v);
}

static void gathered(void *ctx, struct bytes pairs, const char *error)
{
    struct owned *o = ctx;
    struct buf texts = {0};
    o->gather = NULL;
    if (error) {
        publish_failed(o, bytes_str(error), bytes_begins(bytes_str(error), "TRYAGAIN"));
        return;
    }
    if (put_keys(o, pairs, &texts) > JOB_PUBLISH_KEYS)
        publish_failed(o,
                       BYTES("the result has more than 10000 keys, which is the most that INTO "
                             "writes at once; reduce to less, or use RETURN"),
                       false);
    else
        send_publication(o, buf_bytes(&texts));
    buf_deinit(&texts);
}

static void publish(struct owned *o)
{
    const struct job *j = &o->machine;
    if (!o->spec.into) {
        send_publication(o, (struct bytes){0});
        return;
    }
    struct gather_winner *w = mem_alloc(j->reduces * sizeof *w);
    for (uint32_t i = 0; i < j->reduces; i++)
        w[i] = (struct gather_winner){j->maps + i, j->task[j->maps + i].winner};
    o->gather = gather_begin(o->node, o->id, w, j->reduces, JOB_PUBLISH_BYTES, gathered, o);
    mem_free(w);
}

/* ---- the end ---- */

static void cleaned(void *ctx, struct bytes reply)
{
    struct owned *o = ctx;
    if (owned_forgotten(o, reply)) return;
    if (jobs_said(reply, 0)) {
        step_of(o, JOB_EV_DEPOSED);
    } else if (!jobs_said(reply, 1)) {
        step_of(o, JOB_EV_DROP_FAILED);
    } else {
        if (o->machine.snapshot && !o->spec.snapshot) jobs_drop_cut(o->node, o->machine.snapshot);
        step_of(o, JOB_EV_DROPPED);
    }
}

static void drop(struct owned *o)
{
    tell_all(o, JOB_MSG_DROP);
    jobs_ask_numbers(o->node, "synod|job", "CLEAN", (uint64_t[]){o->id, o->machine.epoch}, 2,
                     (struct bytes){0}, cleaned, o);
}

void owned_carry(struct owned *o, const struct job_effect *fx)
{
    switch ((enum job_effect_type)fx->type) {
    case JOB_FX_FENCE: owned_fence(o); break;
    case JOB_FX_CUT: make_cut(o); break;
    case JOB_FX_START: owned_start(o, fx->task, fx->attempt.number, fx->node); break;
    case JOB_FX_KILL: kill_run(o, fx); break;
    case JOB_FX_WRITE: write_record(o, fx); break;
    case JOB_FX_PUBLISH: publish(o); break;
    case JOB_FX_DROP: drop(o); break;
    case JOB_FX_OVER: o->over = true; break;
    }
}
