/* The commands about jobs' rows. Every check and every read comes before the first write. */
#include "redis/job_rows.h"
#include "base/assert.h"
#include "base/mutant.h"
#include "redis/object.h"
#include "redis/ring_rows.h"
#include "redis/types.h"

#define ERR_BAD       "ERR not what nodes send each other of a job"
#define STAGED_MAX    (9u << 20) /* bytes of a piece */
#define STAGED_PIECES 65536u     /* of an attempt */
#define PUBLISH_FIRST 6          /* the first key among JOB-PUBLISH's arguments */

static uint64_t number_at(const struct cmd_args *a, uint32_t i)
{
    struct reader r = reader_of(a->v[i]);
    return reader_u64(&r);
}

/* Are arguments [from, to) numbers? */
static bool are_numbers(const struct cmd_args *a, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++)
        if (a->v[i].size != 8) return false;
    return true;
}

static bool fits32(const struct cmd_args *a, uint32_t i)
{
    return number_at(a, i) <= UINT32_MAX;
}

static bool job_is_there(struct view *v, uint64_t job)
{
    struct bytes row;
    return job_get(v, 'j', job, &row) == VIEW_FOUND;
}

/* ---- NEW ---- */

static void reply_job(struct reply *out, uint64_t job)
{
    struct buf id = {0};
    buf_u64(&id, job);
    reply_bulk(out, buf_bytes(&id));
    buf_deinit(&id);
}

/* The name is taken: by the same job, which was asked for twice, or by another one. */
static void new_again(struct view *v, uint64_t job, const struct cmd_args *a, struct reply *out)
{
    struct bytes spec;
    if (job_get(v, 'd', job, &spec) == VIEW_MISS) return;
    if (bytes_equal(spec, a->v[4]))
        reply_job(out, job);
    else
        reply_errorf(out,
                     "JOBEXISTS there is a job '%.*s' that does something else: choose another "
                     "name, or JOB FORGET it once it has ended",
                     (int)a->v[3].size, (const char *)a->v[3].data);
}

static uint32_t count_ended(const struct job_listing *l)
{
    uint32_t ended = 0;
    for (uint32_t i = 0; i < l->count; i++) ended += job_head_ended(&l->entry[i].head);
    return ended;
}

/* Forgets the oldest ended jobs beyond those that are kept; of those, the ones that nothing is left
 * to be done for go first. False: missed. */
static bool trim(struct view *v, struct job_listing *l)
{
    uint32_t ended = count_ended(l);
    job_listing_by_age(l);
    for (int undropped = 0; undropped < 2; undropped++)
        for (uint32_t i = 0; i < l->count && ended > JOB_HISTORY_MAX; i++) {
            const struct job_head *h = &l->entry[i].head;
            if (!job_head_ended(h) || h->dropped == undropped) continue;
            if (!job_forget(v, l->entry[i].job)) return false;
            ended--;
        }
    return true;
}

/* An id that no job has. 0: missed. */
static uint64_t draw(struct view *v)
{
    uint64_t job = 0;
    while (!v->missed && (!job || job_is_there(v, job))) job = prng_u64(&v->random);
    return v->missed ? 0 : job;
}

static void put_new(struct view *v, uint64_t job, const struct cmd_args *a)
{
    struct buf key = {0}, row = {0};
    buf_u64(&row, job);
    job_key_named(&key, a->v[3]);
    view_put(v, buf_bytes(&key), buf_bytes(&row));
    buf_clear(&row);
    buf_u64(&row, (uint64_t)v->now_ms);
    buf_append_bytes(&row, a->v[3]);
    job_put(v, 'j', job, buf_bytes(&row));
    job_put(v, 'd', job, a->v[4]);
    buf_deinit(&key), buf_deinit(&row);
}

static void new_job(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct job_listing l;
    uint64_t job = draw(v);
    if (job_list(v, &l)) {
        if (l.count - count_ended(&l) >= JOB_LIVE_MAX) {
            reply_errorf(out,
                         "ERR there are %d jobs that have not ended, the most there may be: wait "
                         "for one of them, or JOB CANCEL it",
                         JOB_LIVE_MAX);
        } else if (job && trim(v, &l)) {
            put_new(v, job, a);
            reply_job(out, job);
        }
    }
    job_listing_free(&l);
}

static void job_new(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct job_spec spec;
    struct buf key = {0};
    struct bytes row;
    if (!a->v[3].size || a->v[3].size > JOB_NAME_MAX || !job_spec_decode(a->v[4], &spec)) {
        reply_error(out, ERR_BAD);
        return;
    }
    job_key_named(&key, a->v[3]);
    enum view_result found = view_get(v, buf_bytes(&key), &row);
    buf_deinit(&key);
    if (found == VIEW_FOUND && !MUTANT(MUTANT_JOB_NAME_TWICE)) {
        struct reader r = reader_of(row);
        new_again(v, reader_u64(&r), a, out);
    } else if (found != VIEW_MISS) {
        new_job(v, a, out);
    }
}

/* ---- the owner's ---- */

/* The last epoch that was given; 0: none. */
static uint64_t last_epoch(struct view *v, uint64_t job)
{
    struct bytes row;
    if (job_get(v, 'e', job, &row) != VIEW_FOUND) return 0;
    struct reader r = reader_of(row);
    return reader_u64(&r);
}

/* Appends what 'j' says, as submitted_ms and (after whether it is cancelled) name; then those rows
 * of the job that `kinds` names, as blobs. False: missed, or there is no such job. */
static bool put_rows(struct view *v, uint64_t job, const char *kinds, struct buf *out)
{
    struct bytes row, cancelled, value;
    if (job_get(v, 'j', job, &row) != VIEW_FOUND) return false;
    enum view_result c = job_get(v, 'c', job, &cancelled);
    struct reader r = reader_of(row);
    buf_u64(out, reader_u64(&r));
    buf_u8(out, c == VIEW_FOUND);
    buf_blob(out, reader_take(&r, reader_left(&r)));
    for (; *kinds; kinds++) {
        (void)job_get(v, (uint8_t)*kinds, job, &value);
        buf_blob(out, value);
    }
    return !v->missed;
}

/* What was put, or nil: it was not there. */
static void reply_rows(struct view *v, bool there, struct buf *rows, struct reply *out)
{
    if (there)
        reply_bulk(out, buf_bytes(rows));
    else if (!v->missed)
        reply_nil(out);
    buf_deinit(rows);
}

static void job_own(struct view *v, const struct cmd_args *a, struct reply *out)
{
    uint64_t job = number_at(a, 3), last = last_epoch(v, job),
             epoch = last + !(MUTANT(MUTANT_JOB_EPOCH_AGAIN) && last);
    struct buf rows = {0}, row = {0};
    buf_u64(&rows, epoch);
    bool there = put_rows(v, job, "dr", &rows);
    if (there) {
        buf_u64(&row, epoch);
        job_put(v, 'e', job, buf_bytes(&row));
        buf_deinit(&row);
    }
    reply_rows(v, there, &rows, out);
}

static bool is_later(const struct job_head *a, const struct job_head *b)
{
    return a->epoch > b->epoch || (a->epoch == b->epoch && a->revision > b->revision);
}

/* The rule at the head of job/job_state.h, and J6: what follows an end says the same end, and that
 * less is left to be dropped. */
static bool follows(const struct job_head *next, const struct job_head *now, uint64_t base_epoch,
                    uint64_t base_revision)
{
    bool base = MUTANT(MUTANT_JOB_BASE_IGNORED) ||
                (now->epoch == base_epoch && now->revision == base_revision);
    if (!is_later(next, now) || !(base || now->epoch == next->epoch)) return false;
    return MUTANT(MUTANT_JOB_END_UNDONE) || !job_head_ended(now) ||
           (next->phase == now->phase && next->dropped >= now->dropped);
}

static bool is_same(const struct job_head *a, const struct job_head *b)
{
    return a->epoch == b->epoch && a->revision == b->revision && a->phase == b->phase;
}

static void put_record(struct view *v, uint64_t job, const struct job_head *h, struct bytes record)
{
    struct buf row = {0};
    job_head_put(&row, h);
    job_put(v, 'h', job, buf_bytes(&row));
    job_put(v, 'r', job, record);
    buf_deinit(&row);
}

static void job_record(struct view *v, const struct cmd_args *a, struct reply *out)
{
    uint64_t job = number_at(a, 3);
    struct job_head next, now;
    if (!job_head_of(a->v[8], &next) || next.epoch != number_at(a, 4) ||
        next.revision != number_at(a, 5)) {
        reply_error(out, ERR_BAD);
        return;
    }
    bool there = job_is_there(v, job);
    (void)job_head(v, job, &now);
    if (v->missed) return;
    if (!there) {
        reply_nil(out);
        return;
    }
    bool same = is_same(&next, &now);
    bool is = !same && follows(&next, &now, number_at(a, 6), number_at(a, 7));
    if (is && next.phase == JOB_DONE && now.phase != JOB_DONE) {
        reply_error(out, "ERR only JOB-PUBLISH makes a job DONE");
        return;
    }
    if (is) put_record(v, job, &next, a->v[8]);
    reply_i64(out, is || same);
}

/* The last whole lines of what was there and what comes, as far as they fit. */
static void put_log(struct view *v, uint64_t job, struct bytes before, struct bytes lines)
{
    struct buf log = {0};
    size_t over = before.size + lines.size;
    over = over > JOB_LOG_MAX ? over - JOB_LOG_MAX : 0;
    if (over) {
        const uint8_t *end = memchr(before.data + over - 1, '\n', before.size - over + 1);
        over = end ? (size_t)(end - before.data) + 1 : before.size;
    }
    buf_append_bytes(&log, bytes_of(before.data + over, before.size - over));
    buf_append_bytes(&log, lines);
    job_put(v, 'l', job, buf_bytes(&log));
    buf_deinit(&log);
}

static void job_news(struct view *v, const struct cmd_args *a, struct reply *out)
{
    uint64_t job = number_at(a, 3), epoch = number_at(a, 4);
    struct job_news news;
    bool progress = bytes_equal(a->v[5], BYTES("p")), log = bytes_equal(a->v[5], BYTES("l"));
    if (!(progress && job_news_get(a->v[6], &news)) && !(log && a->v[6].size <= JOB_LOG_MAX)) {
        reply_error(out, ERR_BAD);
        return;
    }
    uint64_t last = last_epoch(v, job);
    struct bytes before = {0};
    bool there = job_is_there(v, job);
    if (log) (void)job_get(v, 'l', job, &before);
    if (v->missed) return;
    if (!there) {
        reply_nil(out);
        return;
    }
    if (last && last == epoch && log)
        put_log(v, job, before, a->v[6]);
    else if (last && last == epoch)
        job_put(v, 'p', job, a->v[6]);
    reply_i64(out, last && last == epoch);
}

/* Only losers' outputs go while a job's winners may be wanted; of a DONE job without INTO they are
 * the result. */
static void job_clean(struct view *v, const struct cmd_args *a, struct reply *out)
{
    uint64_t job = number_at(a, 3), last = last_epoch(v, job);
    struct job_head head;
    struct job_spec spec;
    struct bytes row;
    (void)job_head(v, job, &head);
    enum view_result found = job_get(v, 'd', job, &row);
    if (v->missed) return;
    if (found == VIEW_ABSENT) {
        reply_nil(out);
        return;
    }
    if (last != number_at(a, 4) || !job_head_ended(&head)) {
        reply_i64(out, 0);
        return;
    }
    bool sound = job_spec_decode(row, &spec);
    ASSERT(sound);
    bool keeps = (head.phase == JOB_DONE && !spec.into && !MUTANT(MUTANT_JOB_WINNERS_GO)) ||
                 MUTANT(MUTANT_JOB_STAGING_STAYS);
    if (keeps || job_unstage_all(v, job)) reply_i64(out, 1);
}

/* ---- staging ---- */

/* From arguments 3 .. 6. */
static struct job_stage stage_of(const struct cmd_args *a)
{
    return (struct job_stage){.job = number_at(a, 3),
                              .task = (uint32_t)number_at(a, 4),
                              .epoch = number_at(a, 5),
                              .number = (uint32_t)number_at(a, 6)};
}

static bool stage_fits(const struct cmd_args *a)
{
    return fits32(a, 4) && fits32(a, 6);
}

/* How many pieces that attempt has staged: 0 too if it missed. */
static uint32_t pieces_of(struct view *v, const struct job_stage *s)
{
    struct buf key = {0};
    struct bytes row;
    job_key_staged(&key, s);
    enum view_result found = view_get(v, buf_bytes(&key), &row);
    buf_deinit(&key);
    if (found != VIEW_FOUND) return 0;
    struct reader r = reader_of(row);
    return reader_u32(&r);
}

static void put_piece(struct view *v, const struct job_stage *s, uint32_t piece, uint32_t pieces,
                      struct bytes pairs)
{
    struct buf key = {0}, row = {0};
    if (piece >= pieces) {
        buf_u32(&row, piece + 1);
        job_key_staged(&key, s);
        view_put(v, buf_bytes(&key), buf_bytes(&row));
    }
    job_key_piece(&key, s, piece);
    view_put(v, buf_bytes(&key), pairs);
    buf_deinit(&key), buf_deinit(&row);
}

static void job_stage(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct job_stage s = stage_of(a);
    struct job_head head;
    if (!stage_fits(a) || number_at(a, 7) >= STAGED_PIECES || a->v[8].size > STAGED_MAX) {
        reply_error(out, ERR_BAD);
        return;
    }
    enum view_result found = job_head(v, s.job, &head);
    uint32_t pieces = pieces_of(v, &s);
    if (v->missed) return;
    bool wanted = found == VIEW_FOUND && head.phase == JOB_REDUCE &&
                  (head.epoch == s.epoch || MUTANT(MUTANT_JOB_STAGE_ANY));
    if (wanted) put_piece(v, &s, (uint32_t)number_at(a, 7), pieces, a->v[8]);
    reply_i64(out, wanted);
}

/* One by one: the attempt may still be sending, and what is trash must not be written again. */
static void job_unstage(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct job_stage s = stage_of(a);
    struct buf key = {0};
    if (!stage_fits(a)) {
        reply_error(out, ERR_BAD);
        return;
    }
    uint32_t pieces = pieces_of(v, &s);
    bool there = job_is_there(v, s.job);
    if (v->missed) return;
    for (uint32_t i = 0; i < pieces; i++) {
        job_key_piece(&key, &s, i);
        view_del(v, buf_bytes(&key));
    }
    if (pieces) {
        job_key_staged(&key, &s);
        view_del(v, buf_bytes(&key));
    }
    buf_deinit(&key);
    reply_i64(out, there);
}

static void job_staged(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct job_stage s = stage_of(a);
    struct buf key = {0};
    struct bytes pairs;
    if (!stage_fits(a)) {
        reply_error(out, ERR_BAD);
        return;
    }
    uint64_t piece = number_at(a, 7);
    enum view_result found = VIEW_ABSENT;
    if (piece < pieces_of(v, &s)) {
        job_key_piece(&key, &s, (uint32_t)piece);
        found = view_get(v, buf_bytes(&key), &pairs);
        buf_deinit(&key);
    }
    if (v->missed) return;
    if (found == VIEW_FOUND)
        reply_bulk(out, pairs);
    else
        reply_nil(out);
}

/* ---- the users' ---- */

static void job_cancel(struct view *v, const struct cmd_args *a, struct reply *out)
{
    uint64_t job = number_at(a, 3);
    struct job_head head;
    bool there = job_is_there(v, job);
    (void)job_head(v, job, &head);
    if (v->missed) return;
    if (!there) {
        reply_nil(out);
        return;
    }
    if (!job_head_ended(&head)) job_put(v, 'c', job, (struct bytes){0});
    reply_i64(out, !job_head_ended(&head));
}

static void job_forgotten(struct view *v, const struct cmd_args *a, struct reply *out)
{
    uint64_t job = number_at(a, 3);
    struct job_head head;
    bool there = job_is_there(v, job);
    (void)job_head(v, job, &head);
    if (v->missed) return;
    if (!there)
        reply_nil(out);
    else if (!job_head_ended(&head))
        reply_i64(out, 0);
    else if (job_forget(v, job))
        reply_i64(out, 1);
}

static void job_live(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct job_listing l;
    struct buf row = {0};
    uint64_t live = 0;
    (void)a;
    if (job_list(v, &l)) {
        for (uint32_t i = 0; i < l.count; i++) live += !l.entry[i].head.dropped;
        reply_array(out, live);
        for (uint32_t i = 0; i < l.count; i++) {
            if (l.entry[i].head.dropped) continue;
            buf_clear(&row);
            buf_u64(&row, l.entry[i].job);
            buf_u8(&row, l.entry[i].cancelled);
            reply_bulk(out, buf_bytes(&row));
        }
    }
    buf_deinit(&row);
    job_listing_free(&l);
}

static void put_entry(const struct job_listing *l, const struct job_entry *e, struct buf *out)
{
    const struct job_head *h = &e->head;
    job_summary_put(
        out, &(struct job_summary){.job = e->job,
                                   .submitted_ms = e->submitted_ms,
                                   .spent_ms = h->spent_ms,
                                   .phase = h->phase,
                                   .dropped = h->dropped,
                                   .maps = h->maps,
                                   .maps_done = h->maps_done,
                                   .reduces = h->reduces,
                                   .reduces_done = h->reduces_done,
                                   .name = job_listing_text(l, e->name_at, e->name_size),
                                   .error = job_listing_text(l, e->error_at, e->error_size)});
}

static void job_listed(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct job_listing l;
    struct buf row = {0};
    (void)a;
    if (job_list(v, &l)) {
        job_listing_by_age(&l);
        reply_array(out, l.count);
        for (uint32_t i = 0; i < l.count; i++) {
            buf_clear(&row);
            put_entry(&l, &l.entry[i], &row);
            reply_bulk(out, buf_bytes(&row));
        }
    }
    buf_deinit(&row);
    job_listing_free(&l);
}

static void job_got(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct buf key = {0}, rows = {0};
    struct bytes row;
    job_key_named(&key, a->v[3]);
    bool there = view_get(v, buf_bytes(&key), &row) == VIEW_FOUND;
    buf_deinit(&key);
    if (there) {
        struct reader r = reader_of(row);
        uint64_t job = reader_u64(&r);
        buf_u64(&rows, job);
        there = put_rows(v, job, "drpl", &rows);
    }
    reply_rows(v, there, &rows, out);
}

/* ---- JOB-PUBLISH ---- */

static bool publish_fits(const struct cmd_args *a, struct reply *out)
{
    size_t bytes = 0, keys = (a->count - PUBLISH_FIRST) / 2;
    for (uint32_t i = PUBLISH_FIRST; i < a->count; i++) {
        size_t most = (i - PUBLISH_FIRST) % 2 ? COMMAND_VALUE_MAX : COMMAND_KEY_MAX;
        bytes += a->v[i].size;
        if (a->v[i].size <= most) continue;
        reply_errorf(out, "ERR the job gives a %s of %zu bytes; the limit is %zu",
                     most == COMMAND_KEY_MAX ? "key" : "value", a->v[i].size, most);
        return false;
    }
    bool fits = keys <= JOB_PUBLISH_KEYS && bytes <= JOB_PUBLISH_BYTES;
    if (!fits)
        reply_errorf(out,
                     "ERR the job would set %zu keys, of %zu bytes; at once at most %d, of %u MiB, "
                     "can be",
                     keys, bytes, JOB_PUBLISH_KEYS, JOB_PUBLISH_BYTES >> 20);
    return fits;
}

/* As SET does. False: missed. */
static bool publish_key(struct view *v, struct bytes key, struct bytes value)
{
    struct object o;
    if (object_get(v, key, &o) == OBJECT_MISSED) return false;
    object_put_string(v, &o, value, -1);
    return true;
}

/* J4. */
void job_publish(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct job_head next, now;
    bool sound = a->count % 2 == 0 && are_numbers(a, 2, 5) && job_head_of(a->v[5], &next) &&
                 next.epoch == number_at(a, 3) && next.revision == number_at(a, 4) + 1 &&
                 next.phase == JOB_DONE;
    if (!sound) {
        reply_error(out, ERR_BAD);
        return;
    }
    uint64_t job = number_at(a, 2);
    if (!publish_fits(a, out) || job_head(v, job, &now) == VIEW_MISS) return;
    bool due = MUTANT(MUTANT_JOB_PUBLISH_BLIND) ||
               (now.epoch == next.epoch && now.revision + 1 == next.revision &&
                now.phase == JOB_COMMITTING);
    for (uint32_t i = PUBLISH_FIRST; due && i < a->count; i += 2)
        if (!publish_key(v, a->v[i], a->v[i + 1])) return;
    if (due) put_record(v, job, &next, a->v[5]);
    reply_i64(out, due || is_same(&next, &now));
}

/* ---- the table ---- */

struct word { /* the third word of a command */
    const char *name;
    bool writes;
    uint8_t count;    /* of arguments, the first three words included */
    uint8_t from, to; /* those that are numbers */
    cmd_fn *fn;
};

static const struct word words[] = {
    {"new", true, 5, 0, 0, job_new},          {"own", true, 4, 3, 4, job_own},
    {"record", true, 9, 3, 8, job_record},    {"news", true, 7, 3, 5, job_news},
    {"stage", true, 9, 3, 8, job_stage},      {"unstage", true, 7, 3, 7, job_unstage},
    {"clean", true, 5, 3, 5, job_clean},      {"cancel", true, 4, 3, 4, job_cancel},
    {"forget", true, 4, 3, 4, job_forgotten}, {"live", false, 3, 0, 0, job_live},
    {"list", false, 3, 0, 0, job_listed},     {"get", false, 4, 0, 0, job_got},
    {"staged", false, 8, 3, 8, job_staged},
};

static void run(struct view *v, const struct cmd_args *a, bool writes, struct reply *out)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const struct word *w = &words[i];
        if (w->writes != writes || !arg_is(a, 2, w->name)) continue;
        if (a->count != w->count || !are_numbers(a, w->from, w->to)) break;
        w->fn(v, a, out);
        return;
    }
    reply_error(out, ERR_BAD);
}

static void job_write(struct view *v, const struct cmd_args *a, struct reply *out)
{
    run(v, a, true, out);
}

static void job_read(struct view *v, const struct cmd_args *a, struct reply *out)
{
    run(v, a, false, out);
}

bool job_row(const struct command *c, const struct cmd_args *a, struct buf *out)
{
    uint32_t at = c->fn == job_publish ? 2 : 3;
    bool is = c->fn == job_publish ||
              (c->fn == job_write && (arg_is(a, 2, "record") || arg_is(a, 2, "forget")));
    if (!is || a->count <= at || a->v[at].size != 8) return false;
    job_key(out, 'h', number_at(a, at));
    return true;
}

bool job_begins(const struct command *c, const struct cmd_args *a)
{
    return c->fn == job_write && (arg_is(a, 2, "new") || arg_is(a, 2, "cancel"));
}

bool job_takes_room(const struct command *c, const struct cmd_args *a)
{
    return c->fn == job_write && (arg_is(a, 2, "new") || arg_is(a, 2, "stage"));
}

bool job_is(const struct command *c)
{
    return c->fn == job_write || c->fn == job_read || c->fn == job_publish;
}

#define JOB(name, arity, flags, first, last, step, fn, summary)                                    \
    {                                                                                              \
        name, "synod", arity, CMD_INTERNAL | CMD_NOSCRIPT | (flags), first, last, step,            \
            CMD_SPREAD_NONE, fn, "cluster", "synod 0.1", "O(1)", summary, ""                       \
    }

const struct command job_commands[] = {
    JOB("job", -3, CMD_SYSTEM | CMD_WRITE, 0, 0, 0, job_write,
        "The rows of jobs: NEW, OWN, RECORD, NEWS, STAGE, UNSTAGE, CLEAN, CANCEL, FORGET"),
    JOB("job-publish", -6, CMD_WRITE | CMD_DENYOOM, PUBLISH_FIRST, -1, 2, job_publish,
        "What a job gave becomes keys, once"),
    JOB("job-read", -3, CMD_SYSTEM | CMD_READONLY, 0, 0, 0, job_read,
        "The rows of jobs: LIVE, LIST, GET, STAGED"),
};
const size_t job_command_count = sizeof job_commands / sizeof *job_commands;
