/* States of replicas that are kept for snapshots, and streams over them (snapshot.h). A state is
 * kept from when the SNAP of its cut is applied, whether or not a cut comes of it: only the row in
 * group 0 makes it one, so that is asked for before anything is read. It goes with its time, when
 * the snapshot is dropped, when the replica leaves, and with the node's life: but a node that
 * starts again and applies the SNAP once more, for its store was older, keeps it again. */
#include "node/snapshot.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "node/read_ahead.h"
#include "node/request.h"
#include "redis/object.h"

#include <inttypes.h>
#include <stdio.h>

#define OPEN_MAX (10000 * MS) /* until what was in memory is on its way to the disk */
#define OBJIDS   (1ull << 62) /* of what transactions made that are in the cut */

struct pin {
    struct list link; /* group->pins */
    struct group *group;
    uint64_t cut, position, expires_at;
    uint16_t slot_lo, slot_hi;
    int64_t now_ms; /* of the entry: what has expired is the same wherever it is read */
    struct space_pin *state;
    uint32_t readers;
    bool dropped; /* goes with its last reader */
    bool known;   /* there is a row: `in` is its list of transactions */
    struct buf in;
};

struct snapshot_stream {
    struct list link; /* node->opens, while it waits */
    struct node *node;
    struct pin *pin;
    uint16_t slot_lo, slot_hi;
    uint64_t deadline;
    bool asking, ended; /* ended: of the node, with an answer on its way */
    void (*done)(void *ctx, struct snapshot_stream *s, const char *error);
    void *ctx;
    /* whoever reads */
    struct view view;
    bool begun, failed;
    bool keys_only; /* then elements would be read for nothing */
    struct read_ahead ahead;
};

/* ---- pins ---- */

static struct pin *pin_find(const struct group *g, uint64_t cut)
{
    for (struct list *l = g->pins.next; l != &g->pins; l = l->next) {
        struct pin *p = LIST_OF(l, struct pin, link);
        if (p->cut == cut && !p->dropped) return p;
    }
    return NULL;
}

static void pin_end(struct pin *p)
{
    list_remove(&p->link);
    p->group->node->pins--;
    space_pin_free(p->state);
    buf_deinit(&p->in);
    mem_free(p);
}

static void pin_let_go(struct pin *p)
{
    p->dropped = true;
    if (!p->readers) pin_end(p);
}

/* Who leads says who is prepared; who follows shows nothing to READONLY clients while its leader
 * may hold it back. */
static void note_snapped(struct group *g, uint64_t cut)
{
    struct shard *s = g->shard;
    if (!g->leading) {
        g->stale_after = g->node->now + HOLD_MAX;
        return;
    }
    if (g->hold.cut != cut || g->hold.snapped) return;
    buf_clear(&g->hold_rows);
    bool read = shard_txns_each(s, cut_rows_each, &g->hold_rows);
    if (read && g->hold_rows.size <= CUT_ROWS_MAX)
        hold_snapped(&g->hold, cut, s->applied, buf_bytes(&g->hold_rows));
}

static uint32_t pin_count(const struct group *g)
{
    uint32_t count = 0;
    for (const struct list *l = g->pins.next; l != &g->pins; l = l->next) count++;
    return count;
}

void pin_snap(void *ctx, struct shard *s, uint64_t cut, uint64_t ttl_ms)
{
    struct group *g = ctx;
    struct node *n = g->node;
    struct pin *p = pin_find(g, cut);
    if (!ttl_ms) {
        if (p) pin_let_go(p);
        return;
    }
    if (p || pin_count(g) >= 2 * CUT_SNAPSHOTS_MAX) return;
    p = mem_zalloc(sizeof *p);
    *p = (struct pin){.group = g,
                      .cut = cut,
                      .position = s->applied,
                      .slot_lo = s->slot_lo,
                      .slot_hi = s->slot_hi,
                      .now_ms = s->entry_ms,
                      .state = space_pin_new(s->space)};
    p->expires_at = io_now(n->io) + (ttl_ms < CUT_TTL_MAX_MS ? ttl_ms : CUT_TTL_MAX_MS) * MS;
    list_push(&g->pins, &p->link);
    n->pins++;
    note_snapped(g, cut);
    trace_line("group %u: keeps position %llu for cut %016llx", g->id,
               (unsigned long long)p->position, (unsigned long long)cut);
}

/* A group at rest is looked at every few seconds: that is soon enough. */
void pins_slow(struct group *g)
{
    struct list *next;
    for (struct list *l = g->pins.next; l != &g->pins; l = next) {
        struct pin *p = LIST_OF(l, struct pin, link);
        next = l->next;
        if (!p->dropped && g->node->now >= p->expires_at) pin_let_go(p);
    }
}

void pins_drop(struct group *g)
{
    struct list *next;
    for (struct list *l = g->pins.next; l != &g->pins; l = next) {
        next = l->next;
        pin_let_go(LIST_OF(l, struct pin, link));
    }
}

void pins_free(struct group *g)
{
    while (!list_empty(&g->pins)) pin_end(LIST_OF(g->pins.next, struct pin, link));
}

uint32_t pins_of(const struct node *n, uint64_t cut)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->group_count; i++) count += pin_find(n->group[i], cut) != NULL;
    return count;
}

static bool has_slots(const struct pin *p, uint16_t slot_lo, uint16_t slot_hi)
{
    return p && p->slot_lo <= slot_lo && slot_hi <= p->slot_hi;
}

/* Groups may have split or merged since: mostly it is where the slots are now. */
static struct pin *pin_of_slots(const struct node *n, uint64_t cut, uint16_t slot_lo,
                                uint16_t slot_hi)
{
    struct pin *p = pin_find(n->group[n->slot_group[slot_lo]], cut);
    for (uint32_t i = 0; i < n->group_count && !has_slots(p, slot_lo, slot_hi); i++)
        p = pin_find(n->group[i], cut);
    return has_slots(p, slot_lo, slot_hi) ? p : NULL;
}

/* ---- opening ---- */

static void stream_free(struct snapshot_stream *s)
{
    struct pin *p = s->pin;
    list_remove(&s->link);
    if (p && --p->readers == 0 && p->dropped) pin_end(p);
    if (s->begun) view_deinit(&s->view);
    read_ahead_free(&s->ahead);
    mem_free(s);
}

static void open_failed(struct snapshot_stream *s, const char *error)
{
    void (*done)(void *ctx, struct snapshot_stream *s, const char *error) = s->done;
    void *ctx = s->ctx;
    stream_free(s);
    done(ctx, NULL, error);
}

/* Is the pin the part of the snapshot that the row says? */
static bool is_part(const struct pin *p, const struct cut_snapshot *row)
{
    for (uint32_t i = 0; i < row->parts; i++) {
        struct cut_snapshot_part part = cut_part_get(row, i);
        if (part.group != p->group->id) continue;
        return part.position == p->position && part.slot_lo == p->slot_lo &&
               part.slot_hi == p->slot_hi;
    }
    return false;
}

static void open_look(struct snapshot_stream *s);

static void row_came(void *ctx, struct bytes reply)
{
    struct snapshot_stream *s = ctx;
    struct cut_snapshot row;
    int64_t size;
    size_t line;
    s->asking = false;
    if (s->ended) {
        stream_free(s);
        return;
    }
    bool number = request_reply_number(reply, '$', &size, &line);
    if (!number) {
        open_failed(s, "TRYAGAIN the keeper of snapshots does not answer; send it again");
    } else if (size < 0 || !cut_snapshot_get(bytes_of(reply.data + line, (size_t)size), &row) ||
               !is_part(s->pin, &row)) {
        open_failed(s, "NOSNAPSHOT there is no such snapshot (any more)");
    } else {
        s->pin->known = true;
        buf_clear(&s->pin->in);
        buf_append_bytes(&s->pin->in, row.in);
        open_look(s);
    }
}

static void ask_row(struct snapshot_stream *s)
{
    struct buf cut = {0};
    buf_u64(&cut, s->pin->cut);
    s->asking = true;
    txn_ask(s->node, 0, "synod|snapshot-read", (struct bytes[]){BYTES("GET"), buf_bytes(&cut)}, 2,
            row_came, s);
    buf_deinit(&cut);
}

/* A copy of what is in memory costs the reactor a millisecond at most; a flush costs every writer
 * of the disk more. */
static bool settles(struct pin *p)
{
    if (space_pin_settle(p->state)) return true;
    (void)group_flush(p->group);
    return space_pin_settle(p->state);
}

static void open_look(struct snapshot_stream *s)
{
    if (s->asking) return;
    if (s->pin->dropped) {
        open_failed(s, "NOSNAPSHOT the snapshot's time is over, or it was dropped");
    } else if (!s->pin->known) {
        ask_row(s);
    } else if (settles(s->pin)) {
        list_remove(&s->link);
        s->done(s->ctx, s, NULL);
    } else if (s->node->now > s->deadline) {
        open_failed(s, "TRYAGAIN this replica cannot write its memory to its store at the moment; "
                       "ask another one, or try again");
    }
}

void snapshot_open(struct node *n, uint64_t cut, uint16_t slot_lo, uint16_t slot_hi,
                   void (*done)(void *ctx, struct snapshot_stream *s, const char *error), void *ctx)
{
    ASSERT(slot_lo < slot_hi && slot_hi <= SLOT_COUNT);
    struct pin *p = pin_of_slots(n, cut, slot_lo, slot_hi);
    if (!p) {
        done(
            ctx, NULL,
            "NOSNAPSHOT this node does not have that part of the snapshot: it was started anew, "
            "has no replica of it, it is of several groups, or there is no such snapshot; SNAPSHOT "
            "SPLITS says which ranges there are, and who has them");
        return;
    }
    struct snapshot_stream *s = mem_zalloc(sizeof *s);
    *s = (struct snapshot_stream){.node = n,
                                  .pin = p,
                                  .slot_lo = slot_lo,
                                  .slot_hi = slot_hi,
                                  .deadline = n->now + OPEN_MAX,
                                  .done = done,
                                  .ctx = ctx};
    p->readers++;
    list_push(&n->opens, &s->link);
    open_look(s);
}

void snapshot_close(struct snapshot_stream *s)
{
    stream_free(s);
}

void opens_slow(struct node *n)
{
    struct list *next;
    for (struct list *l = n->opens.next; l != &n->opens; l = next) {
        next = l->next;
        open_look(LIST_OF(l, struct snapshot_stream, link));
    }
}

void opens_free(struct node *n)
{
    struct list *next;
    for (struct list *l = n->opens.next; l != &n->opens; l = next) {
        struct snapshot_stream *s = LIST_OF(l, struct snapshot_stream, link);
        next = l->next;
        s->ended = true;
        if (!s->asking) stream_free(s);
    }
}

/* ---- reading ---- */

/* Nothing that reads a cut asks for one row. */
static enum view_result source_get(void *ctx, struct bytes key, struct bytes *value)
{
    (void)ctx, (void)key, (void)value;
    ASSERT(!"only ranges are read");
    return VIEW_MISS;
}

static enum view_result source_range(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                                     view_each *each, void *each_ctx)
{
    struct snapshot_stream *s = ctx;
    ASSERT(!reverse);
    enum engine_result r = s->keys_only ? space_pin_range(s->pin->state, lo, hi, each, each_ctx)
                                        : read_ahead_range(&s->ahead, lo, hi, each, each_ctx);
    switch (r) {
    case ENGINE_FOUND: return VIEW_FOUND;
    case ENGINE_ABSENT: return VIEW_ABSENT;
    default: return VIEW_MISS;
    }
}

/* The first reader's thread does what transactions in the cut have yet to do. */
static bool stream_begin(struct snapshot_stream *s)
{
    const struct pin *p = s->pin;
    if (s->begun) return !s->failed;
    s->begun = true;
    s->ahead.state = p->state;
    view_init(&s->view);
    view_begin(&s->view, &(struct view_source){source_get, source_range, s}, p->now_ms, 0, OBJIDS,
               p->slot_lo, p->slot_hi);
    s->failed = !cut_overlay(&s->view, buf_bytes(&p->in));
    return !s->failed;
}

enum snapshot_result snapshot_piece(struct snapshot_stream *s, uint64_t *place,
                                    const struct cut_reading *what, struct buf *records)
{
    uint64_t lo = cut_place_of_slot(s->slot_lo), hi = cut_place_of_slot(s->slot_hi);
    if (*place < lo) *place = lo;
    if (*place >= hi) {
        *place = CUT_PLACE_END;
        return SNAPSHOT_END;
    }
    if (!stream_begin(s)) return SNAPSHOT_E_IO;
    s->keys_only = what->no_values;
    switch (cut_read(&s->view, place, s->slot_hi, what, records)) {
    case CUT_READ: return *place == CUT_PLACE_END ? SNAPSHOT_END : SNAPSHOT_PIECE;
    case CUT_READ_TOO_LARGE: return SNAPSHOT_E_TOO_LARGE;
    default: return SNAPSHOT_E_IO;
    }
}
