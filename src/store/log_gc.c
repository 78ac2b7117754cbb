/* Where segments come from and go to: spares made ahead of need, death of the oldest segment,
 * moving what little keeps it alive.
 *
 * A segment's life: file made (job) -> spare -> live, the last of them -> live, full -> dead
 * (nothing counts in it, and what replaced its records is synced) -> dying (until a durable block
 * says so and no read is under way) -> spare. */
#include <errno.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/log_internal.h"

/* ---- spares ---- */

void log_add_spare(struct log *l, struct io_file *file, const char *name)
{
    if (l->spare_count == l->spare_capacity) {
        l->spare_capacity = l->spare_capacity ? 2 * l->spare_capacity : 4;
        l->spare = mem_realloc(l->spare, l->spare_capacity * sizeof *l->spare);
    }
    struct log_spare *s = &l->spare[l->spare_count++];
    s->file = file;
    snprintf(s->name, sizeof s->name, "%s", name);
}

bool log_take_spare(struct log *l, struct log_segment *s)
{
    ASSERT(!s->file);
    if (!l->spare_count) return false;
    const struct log_spare *spare = &l->spare[--l->spare_count];
    s->file = spare->file;
    memcpy(s->name, spare->name, sizeof s->name);
    return true;
}

static void job_run(void *ctx) /* off the reactor: touches the job alone */
{
    struct log_job *j = ctx;
    if (!j->create_bytes) {
        j->error = io_file_remove(j->io, j->name);
        return;
    }
    j->error = io_file_open(j->io, j->name, j->create_bytes, &j->file);
    if (j->error || io_file_size(j->io, j->file) == j->create_bytes) return;
    io_file_close(j->io, j->file); /* left half made by an earlier attempt */
    io_file_remove(j->io, j->name);
    j->error = -EAGAIN;
}

static void job_done(void *ctx)
{
    struct log_job *j = ctx;
    struct log *l = j->log;
    bool made = j->create_bytes && !j->error;
    j->busy = false;
    if (l->freed) {
        if (made) io_file_close(l->io, j->file);
    } else if (made) {
        log_add_spare(l, j->file, j->name);
        l->next_name++;
        l->make_failed = false;
    } else if (j->create_bytes) {
        l->make_failed = true;
        l->retry_at = io_now(l->io) + LOG_RETRY_NS;
    }
    log_called_back(l);
}

static void job_start(struct log *l, uint64_t create_bytes)
{
    struct log_job *j = &l->job;
    ASSERT(!j->busy);
    j->io = l->io;
    j->log = l;
    j->create_bytes = create_bytes;
    j->busy = true;
    j->work = (struct io_work){.run = job_run, .done = job_done, .ctx = j};
    l->pending++;
    io_work(l->io, &j->work);
}

static bool tail_waits(const struct log *l)
{
    return !l->segment[l->segment_count - 1]->file;
}

static uint64_t tail_rest(const struct log *l)
{
    const struct log_segment *tail = l->segment[l->segment_count - 1];
    return tail->file ? tail->bytes - tail->end : 0;
}

static uint64_t margin(const struct log *l)
{
    return l->options.segment_bytes / 2;
}

/* L6. If the tail waits, what the engine has yet to write comes first as long as that can let a
 * segment die, for what it takes comes back; promises alone are moved by appends. */
static uint64_t room_for_a_segment(const struct log *l)
{
    uint64_t segment = l->options.segment_bytes;
    if (tail_waits(l)) return segment + (l->segment[0]->live ? l->reserve : 0);
    return segment + l->reserve + margin(l);
}

static uint32_t spares_kept(struct log *l)
{
    bool yields = l->yields && tail_rest(l) >= l->options.segment_bytes / 4;
    l->yields = false;
    return yields ? 0 : l->options.spare_segments + !l->starved;
}

static void make_spares(struct log *l, uint64_t now)
{
    if (l->job.busy) return;
    if (l->spare_count > spares_kept(l)) {
        const struct log_spare *spare = &l->spare[--l->spare_count];
        io_file_close(l->io, spare->file);
        memcpy(l->job.name, spare->name, sizeof l->job.name);
        job_start(l, 0);
        return;
    }
    bool will_be_taken = tail_waits(l) && l->spare_count; /* then the next turn sees what is left */
    if (will_be_taken || l->spare_count >= l->options.spare_segments + tail_waits(l)) return;
    if (l->make_failed && now < l->retry_at) return;
    if (io_room(l->io) < (int64_t)room_for_a_segment(l)) {
        l->make_failed = true;
        l->retry_at = now + LOG_RETRY_NS;
        return;
    }
    snprintf(l->job.name, sizeof l->job.name, LOG_FILE_PREFIX "%06llu",
             (unsigned long long)l->next_name);
    job_start(l, l->options.segment_bytes);
}

void log_set_reserve(struct log *l, uint64_t flush_bytes, uint64_t merge_bytes)
{
    int64_t room = io_room(l->io);
    if (room < 0) return; /* not known: writes will tell */
    uint64_t enough = flush_bytes + merge_bytes + margin(l);
    if (l->starved) enough += margin(l) / 2;
    l->reserve = flush_bytes;
    l->starved = (uint64_t)room < enough;
    l->choked = (uint64_t)room < flush_bytes + margin(l) / 2;
}

void log_yield(struct log *l)
{
    l->yields = true;
}

/* The last sixteenth of the last segment is left to promises and to what is moved to the tail:
 * without them the oldest segment could not die. */
static enum log_room room_now(const struct log *l)
{
    bool no_segment = !l->spare_count && l->make_failed;
    if (no_segment && tail_rest(l) < l->options.segment_bytes / 16) return LOG_ROOM_NONE;
    if (l->choked) return LOG_ROOM_NONE;
    return no_segment || l->starved ? LOG_ROOM_LOW : LOG_ROOM_OK;
}

enum log_room log_room(const struct log *l)
{
    return l->room;
}

/* ---- death ---- */

static void rewrite_promises(struct log *l, const struct log_segment *s)
{
    size_t at = 0;
    uint64_t id;
    void *value;
    while (map_next(&l->groups, &at, &id, &value)) {
        struct log_group *g = value;
        if (g->promise_sequence != s->sequence) continue;
        log_put(l, &(struct log_record){.type = LOG_PROMISE,
                                        .group = g->id,
                                        .replica = g->replica,
                                        .promised = g->promised,
                                        .chosen = g->chosen});
        ASSERT(g->promise_sequence > s->sequence);
    }
    ASSERT(s->promises == 0);
}

static void die(struct log *l)
{
    struct log_segment *s = l->segment[0];
    ASSERT(s->live == 0 && s->promises == 0 && l->segment_count > 1);
    memmove(l->segment, l->segment + 1, (l->segment_count - 1) * sizeof(struct log_segment *));
    l->segment_count--;
    list_push(&l->dying, &s->link);
    l->stats.recycled++;
}

/* The next segment must be on disk, for the chain begins with it then; and a segment that takes
 * appends is never looked at. */
static void let_die(struct log *l)
{
    while (l->segment_count > 1 && l->segment[1]->written) {
        struct log_segment *s = l->segment[0];
        if (s->live) return;
        if (s->promises) rewrite_promises(l, s);
        if (l->synced < s->dead_lsn) return;
        die(l);
    }
}

static void reap(struct log *l)
{
    for (struct list *i = l->dying.next, *next; i != &l->dying; i = next) {
        struct log_segment *s = LIST_OF(i, struct log_segment, link);
        next = i->next;
        if (s->sequence >= l->oldest_durable || s->pins) continue;
        list_remove(i);
        log_add_spare(l, s->file, s->name);
        mem_free(s);
    }
}

/* ---- pressure ---- */

static bool group_is_cold(const struct log *l, const struct log_group *g)
{
    uint64_t live = 0, bytes = 0, limit = l->options.segment_bytes / 64;
    if (limit > LOG_COLD_BYTES) limit = LOG_COLD_BYTES;
    for (uint32_t i = 0; i < g->run_count; i++) live += g->run[i].live, bytes += g->run[i].bytes;
    return live <= LOG_COLD_ENTRIES && bytes <= limit;
}

static bool keeps_oldest(const struct log *l, const struct log_group *g)
{
    return g && g->run_count && g->run[0].sequence == l->segment[0]->sequence;
}

/* Moves to the tail what still is the latest of its position and still in the oldest segment. */
static void rewrite_done(void *ctx, struct log_read *r, const struct log_record *records,
                         uint32_t count)
{
    struct log *l = ctx;
    uint32_t moved = 0;
    l->rewriting = false;
    for (uint32_t i = 0; i < count; i++) {
        const struct log_group *g = index_group(l, r->group);
        const struct log_place *p = g ? index_find(g, records[i].entry.position) : NULL;
        if (!p || p->sequence != l->segment[0]->sequence) continue;
        /* The record that said how far the group was chosen may die with this segment: say it
         * again, or a restart would know less than peers were told (they let go of what we have).
         */
        struct log_record again = records[i];
        if (g->chosen > again.chosen) again.chosen = g->chosen;
        log_put(l, &again);
        moved++;
    }
    if (!moved && keeps_oldest(l, index_group(l, r->group))) l->rewrite_failed = true;
}

static void start_rewrite(struct log *l, const struct log_group *g)
{
    l->rewriting = true;
    l->rewrite_sequence = l->segment[0]->sequence;
    l->rewrite = (struct log_read){.group = g->id,
                                   .position = index_first_in(g, l->rewrite_sequence),
                                   .last = UINT64_MAX,
                                   .bytes_max = 2 * LOG_COLD_BYTES,
                                   .done = rewrite_done,
                                   .ctx = l};
    log_read(l, &l->rewrite);
}

static bool over(const struct log *l)
{
    return l->segment_count * l->options.segment_bytes > l->options.quota_bytes ||
           l->room != LOG_ROOM_OK;
}

static void relieve(struct log *l)
{
    if (!over(l) || l->segment_count < 2 || !l->segment[1]->written || !l->segment[0]->live) {
        l->pressed = false;
        return;
    }
    if (l->rewrite_sequence != l->segment[0]->sequence) l->rewrite_failed = false;
    if (l->rewriting ||
        (l->pressed && !l->cold_left && keeps_oldest(l, index_group(l, l->pressed_group))))
        return;
    size_t at = 0;
    uint64_t id;
    void *value;
    const struct log_group *cold = NULL;
    l->pressed = l->cold_left = false;
    while (map_next(&l->groups, &at, &id, &value)) {
        const struct log_group *g = value;
        if (!keeps_oldest(l, g)) continue;
        if (!l->rewrite_failed && l->room != LOG_ROOM_NONE && group_is_cold(l, g)) {
            if (cold) l->cold_left = true;
            cold = g;
        } else if (!l->pressed) {
            l->pressed = true;
            l->pressed_group = g->id;
        }
    }
    if (cold) start_rewrite(l, cold);
}

bool log_pressure(const struct log *l, uint32_t *group)
{
    if (l->pressed) *group = l->pressed_group;
    return l->pressed;
}

void log_collect(struct log *l, uint64_t now)
{
    let_die(l);
    reap(l);
    make_spares(l, now);
    l->room = room_now(l);
    relieve(l);
}
