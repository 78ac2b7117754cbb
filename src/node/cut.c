/* A cut of the whole database at its coordinator, the node whose client asked for a snapshot:
 * txn/cut.h says what comes after what; here that is carried out. An attempt that is void is
 * followed by another with an id of its own. What is made is written down in group 0, and only then
 * is there a snapshot: what replicas keep without that is found by nobody, and goes in its time. */
#include "node/request.h"
#include "base/assert.h"
#include "base/mem.h"
#include "redis/cut.h"

#include <inttypes.h>
#include <stdlib.h>

#define ATTEMPT_MAX (HOLD_MAX + 50 * MS) /* the holds are over by then */
#define TRY_FOR     (8000 * MS)
#define TRY_AFTER   (20 * MS) /* at least; twice as long each time, up to: */
#define TRY_LATEST  (500 * MS)
#define DROP_WITHIN (2000 * MS)

struct piece { /* one group's */
    uint32_t group;
    uint64_t leadership, position, held_ns;
    struct buf rows;
};

struct cutting {
    struct list link; /* node->cuts */
    struct node *node;
    struct request *r; /* NULL: it was answered */
    uint64_t cut, ttl_ms, job, deadline, try_at, late_at;
    struct cut machine;
    struct cut_part *state;
    struct piece *piece;
    uint32_t count;
    uint32_t open, tries;
    bool runs, over;
    struct buf why; /* the last attempt was void */
};

struct ask {
    struct cutting *c;
    uint64_t cut; /* the attempt */
    uint32_t part;
    uint8_t what; /* enum cut_effect_type */
};

/* ---- the end ---- */

static void pieces_free(struct cutting *c)
{
    for (uint32_t i = 0; i < c->count; i++) buf_deinit(&c->piece[i].rows);
    mem_free(c->piece);
    mem_free(c->state);
    c->piece = NULL;
    c->state = NULL;
    c->count = 0;
}

static void free_if_over(struct cutting *c)
{
    if (!c->over || c->open) return;
    pieces_free(c);
    list_remove(&c->link);
    buf_deinit(&c->why);
    mem_free(c);
}

static void finish(struct cutting *c)
{
    struct request *r = c->r;
    c->r = NULL;
    c->over = true;
    r->children = 0;
    request_done(r);
}

static void fail(struct cutting *c, const char *text)
{
    reply_error(&(struct reply){&c->r->reply, c->r->version}, text);
    c->r->refused = true;
    finish(c);
}

/* ---- asking ---- */

static void answered(void *ctx, struct bytes reply);

static void send(struct cutting *c, uint32_t part, uint8_t what, const char *name,
                 const uint64_t *number, uint32_t numbers)
{
    struct ask *a = mem_zalloc(sizeof *a);
    struct buf text = {0};
    struct bytes arg[3];
    *a = (struct ask){c, c->cut, part, what};
    for (uint32_t i = 0; i < numbers; i++) buf_u64(&text, number[i]);
    for (uint32_t i = 0; i < numbers; i++) arg[i] = bytes_of(text.data + (size_t)8 * i, 8);
    c->open++;
    txn_ask_for(c->node, c->piece[part].group,
                &(struct txn_question){.name = name,
                                       .arg = arg,
                                       .count = numbers,
                                       .done = answered,
                                       .ctx = a,
                                       .within = ATTEMPT_MAX});
    buf_deinit(&text);
}

static void keep_why(struct cutting *c, struct bytes reply)
{
    if (c->why.size) return;
    if (reply.size > 3)
        buf_append(&c->why, reply.data + 1, reply.size - 3); /* "-text\r\n" */
    else
        buf_append_bytes(&c->why, BYTES("no answer"));
}

static bool take_frozen(struct cutting *c, uint32_t i, struct reader *r)
{
    c->piece[i].leadership = reader_u64(r);
    c->state[i].slot_lo = reader_u16(r);
    c->state[i].slot_hi = reader_u16(r);
    return !r->bad;
}

static bool take_resumed(struct piece *p, struct reader *r)
{
    p->position = reader_u64(r);
    p->held_ns = reader_u64(r);
    if (r->bad || reader_left(r) > CUT_ROWS_MAX) return false;
    buf_append_bytes(&p->rows, bytes_of(r->at, reader_left(r)));
    return true;
}

static bool take(struct cutting *c, const struct ask *a, struct bytes reply)
{
    int64_t size;
    size_t line;
    if (!reply.size || reply.data[0] == '-') return false;
    if (a->what == CUT_FX_SNAP) return true;
    if (!request_reply_number(reply, '$', &size, &line) || size < 0) return false;
    struct reader r = reader_of(bytes_of(reply.data + line, (size_t)size));
    if (a->what == CUT_FX_FREEZE) return take_frozen(c, a->part, &r);
    return take_resumed(&c->piece[a->part], &r);
}

static void on_effect(void *ctx, const struct cut_effect *fx);

static void answered(void *ctx, struct bytes reply)
{
    struct ask *a = ctx;
    struct cutting *c = a->c;
    c->open--;
    if (!c->over && c->runs && a->cut == c->cut && a->what != CUT_FX_LET_GO) {
        bool yes = take(c, a, reply);
        if (!yes) keep_why(c, reply);
        cut_step(&c->machine, yes ? CUT_EV_YES : CUT_EV_NO, a->part, on_effect, c);
    }
    mem_free(a);
    free_if_over(c);
}

/* ---- what is made ---- */

static int row_compare(const void *a, const void *b)
{
    const struct cut_row *x = a, *y = b;
    if (x->who != y->who) return x->who < y->who ? -1 : 1;
    if (x->seq != y->seq) return x->seq < y->seq ? -1 : 1;
    return (x->group > y->group) - (x->group < y->group);
}

/* The ids of those that are in, and not yet done everywhere. */
static void put_in(const struct cutting *c, struct buf *in)
{
    struct cut_row *row = NULL;
    uint32_t count = 0, capacity = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        struct reader r = reader_of(buf_bytes(&c->piece[i].rows));
        struct cut_row one;
        while (cut_rows_next(&r, &one)) {
            if (count == capacity) {
                capacity = capacity ? 2 * capacity : 64;
                row = mem_realloc(row, capacity * sizeof *row);
            }
            row[count] = one;
            row[count++].group = c->piece[i].group;
        }
    }
    if (count) qsort(row, count, sizeof *row, row_compare);
    cut_resolve(row, count);
    for (uint32_t i = 0; i < count; i++) {
        bool again = i && row[i].who == row[i - 1].who && row[i].seq == row[i - 1].seq;
        if (row[i].in && !again) buf_u64(in, row[i].who), buf_u64(in, row[i].seq);
    }
    mem_free(row);
}

static void put_row(const struct cutting *c, struct buf *out)
{
    struct buf part = {0}, in = {0};
    struct cut_snapshot s = {.cut = c->cut,
                             .expires_ms = c->ttl_ms,
                             .node = c->node->identity.node,
                             .job = c->job,
                             .parts = c->count};
    for (uint32_t i = 0; i < c->count; i++) {
        const struct piece *p = &c->piece[i];
        if (s.hold_ns < p->held_ns) s.hold_ns = p->held_ns;
        cut_part_put(&part, &(struct cut_snapshot_part){p->group, c->state[i].slot_lo,
                                                        c->state[i].slot_hi, p->position});
    }
    put_in(c, &in);
    s.part = buf_bytes(&part);
    s.in = buf_bytes(&in);
    cut_snapshot_put(out, &s);
    buf_deinit(&part), buf_deinit(&in);
}

static void recorded(void *ctx, struct bytes reply)
{
    struct cutting *c = ctx;
    struct buf text = {0};
    c->open--;
    if (!c->over && reply.size && reply.data[0] == '+') {
        char name[CUT_NAME + 1];
        cut_name_put(name, c->cut);
        reply_bulk_str(&(struct reply){&c->r->reply, c->r->version}, name);
        finish(c);
    } else if (!c->over) {
        bool unknown = !reply.size || memcmp(reply.data, "-UNKNOWN", 8) == 0;
        if (!unknown) cut_drop(c->node, c->cut);
        if (reply.size > 3) buf_append(&text, reply.data + 1, reply.size - 3);
        buf_u8(&text, 0);
        fail(c, unknown ? "UNKNOWN the keeper of snapshots was lost before the outcome was known; "
                          "SNAPSHOT LIST tells"
                        : (const char *)text.data);
    }
    buf_deinit(&text);
    free_if_over(c);
}

static void record(struct cutting *c)
{
    struct buf row = {0};
    put_row(c, &row);
    c->open++;
    txn_ask(c->node, 0, "synod|snapshot", (struct bytes[]){BYTES("PUT"), buf_bytes(&row)}, 2,
            recorded, c);
    buf_deinit(&row);
}

/* ---- the machine's effects ---- */

static void is_void(struct cutting *c)
{
    struct node *n = c->node;
    uint64_t wait = TRY_AFTER << (c->tries < 5 ? c->tries : 5);
    if (wait > TRY_LATEST) wait = TRY_LATEST;
    c->runs = false;
    c->tries++;
    n->stats.cuts_void++;
    c->try_at = n->now + wait + prng_below(&n->random, wait);
}

static void on_effect(void *ctx, const struct cut_effect *fx)
{
    struct cutting *c = ctx;
    uint64_t leadership = c->piece ? c->piece[fx->part].leadership : 0;
    switch (fx->type) {
    case CUT_FX_FREEZE: send(c, fx->part, fx->type, "synod|freeze", (uint64_t[]){c->cut}, 1); break;
    case CUT_FX_SNAP:
        send(c, fx->part, fx->type, "synod|snap", (uint64_t[]){c->cut, leadership, c->ttl_ms}, 3);
        break;
    case CUT_FX_RESUME:
        send(c, fx->part, fx->type, "synod|resume", (uint64_t[]){c->cut, leadership}, 2);
        break;
    case CUT_FX_LET_GO:
        send(c, fx->part, fx->type, "synod|letgo", (uint64_t[]){c->cut, fx->kept}, 2);
        break;
    case CUT_FX_MADE:
        c->runs = false;
        c->node->stats.cuts_made++;
        record(c);
        break;
    default: is_void(c);
    }
}

/* ---- an attempt ---- */

/* All groups, in the order of their slots, each with a leader that is heard of: nobody is held in
 * vain. */
static bool pieces_make(struct cutting *c)
{
    struct node *n = c->node;
    uint32_t capacity = 0;
    pieces_free(c);
    for (uint32_t slot = 0; slot < SLOT_COUNT;) {
        struct group *g = n->group[n->slot_group[slot]];
        uint16_t leader = group_leader_node(g);
        bool led = leader && ring_node_heard(n, leader);
        if (!led) {
            buf_clear(&c->why);
            buf_printf(&c->why, "group %u has no leader", g->id);
            return false;
        }
        if (c->count == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            c->piece = mem_realloc(c->piece, capacity * sizeof *c->piece);
        }
        c->piece[c->count++] = (struct piece){.group = g->id};
        while (slot < SLOT_COUNT && n->slot_group[slot] == g->id) slot++;
    }
    c->state = mem_zalloc(c->count * sizeof *c->state);
    return true;
}

static void attempt(struct cutting *c)
{
    struct node *n = c->node;
    if (!pieces_make(c)) {
        is_void(c);
        return;
    }
    buf_clear(&c->why);
    do c->cut = io_random(n->io);
    while (!c->cut);
    c->late_at = n->now + ATTEMPT_MAX;
    c->runs = true;
    cut_init(&c->machine, c->state, c->count);
    cut_step(&c->machine, CUT_EV_BEGIN, 0, on_effect, c);
}

static void give_up(struct cutting *c)
{
    struct buf text = {0};
    buf_printf(&text,
               "TRYAGAIN no cut of all groups could be made within %u s (%.*s); nothing is held, "
               "try again later",
               (unsigned)(TRY_FOR / (1000 * MS)), (int)c->why.size, (const char *)c->why.data);
    buf_u8(&text, 0);
    fail(c, (const char *)text.data);
    buf_deinit(&text);
}

static void look(struct cutting *c)
{
    struct node *n = c->node;
    if (c->over) return;
    if (c->runs && n->now >= c->late_at) {
        keep_why(c, BYTES("-its time was over\r\n"));
        cut_step(&c->machine, CUT_EV_LATE, 0, on_effect, c);
    } else if (c->try_at && !c->runs && n->now >= c->try_at) {
        c->try_at = 0;
        if (n->now >= c->deadline || c->r->gone)
            give_up(c);
        else
            attempt(c);
    }
}

void cuts_slow(struct node *n)
{
    struct list *next;
    for (struct list *l = n->cuts.next; l != &n->cuts; l = next) {
        struct cutting *c = LIST_OF(l, struct cutting, link);
        next = l->next;
        look(c);
        free_if_over(c);
    }
}

void cut_begin(struct node *n, struct request *r, uint64_t ttl_ms, uint64_t job)
{
    struct cutting *c = mem_zalloc(sizeof *c);
    *c = (struct cutting){
        .node = n, .r = r, .ttl_ms = ttl_ms, .job = job, .deadline = n->now + TRY_FOR};
    list_push(&n->cuts, &c->link);
    attempt(c);
}

/* The requests that it asked with end it (request_free_all). */
void cuts_free_all(struct node *n)
{
    struct list *next;
    for (struct list *l = n->cuts.next; l != &n->cuts; l = next) {
        struct cutting *c = LIST_OF(l, struct cutting, link);
        next = l->next;
        c->over = true;
        c->r = NULL;
        free_if_over(c);
    }
}

/* ---- dropping ---- */

static void dropped(void *ctx, struct bytes reply)
{
    (void)ctx, (void)reply;
}

void cut_drop(struct node *n, uint64_t cut)
{
    struct buf text = {0};
    buf_u64(&text, cut);
    buf_u64(&text, 1);
    struct bytes arg[] = {bytes_of(text.data, 8), bytes_of(text.data + 8, 8)};
    for (uint32_t i = 0; i < n->group_count; i++) {
        if (n->group[i]->row.state != RING_GROUP_SERVING) continue;
        txn_ask_for(n, i,
                    &(struct txn_question){.name = "synod|letgo",
                                           .arg = arg,
                                           .count = 2,
                                           .done = dropped,
                                           .within = DROP_WITHIN});
    }
    buf_deinit(&text);
}
