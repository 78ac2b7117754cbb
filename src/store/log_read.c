/* Reading entries back: from blocks still in memory, or from disk with one read for as many records
 * as lie near each other. */
#include "base/assert.h"
#include "base/mem.h"
#include "store/log_internal.h"

struct read_op {
    struct list link;
    struct log *log;
    struct log_read *user;
    struct log_segment *segment; /* pinned; NULL: from memory */
    struct io_read op;
    uint8_t *raw, *data;
    uint64_t from; /* offset in the segment of data[0] */
    uint32_t count;
    struct log_place place[LOG_READ_RECORDS];
    uint32_t at[LOG_READ_RECORDS]; /* offset in data */
};

void log_read(struct log *l, struct log_read *r)
{
    ASSERT(!l->freed && r->done);
    struct read_op *op = mem_alloc(sizeof *op);
    list_init(&op->link);
    op->log = l;
    op->user = r;
    op->segment = NULL;
    op->raw = op->data = NULL;
    op->from = 0;
    op->count = 0;
    list_push(&l->reads, &op->link);
}

static void op_free(struct read_op *op)
{
    mem_free(op->raw);
    mem_free(op);
}

/* The records of the op that are sound, and still what the index says, up to the first that is not.
 */
static uint32_t op_decode(struct read_op *op, struct log_record *out)
{
    const struct log_read *r = op->user;
    const struct log_group *g = index_group(op->log, r->group);
    for (uint32_t i = 0; i < op->count; i++) {
        struct bytes in = bytes_of(op->data + op->at[i], op->place[i].size);
        const struct log_place *p = g ? index_find(g, r->position + i) : NULL;
        uint32_t check;
        if (!p || memcmp(p, &op->place[i], sizeof *p)) return i;
        bool sound = record_get(&in, op->log->log_id, &out[i], &check) && check == p->check;
        if (sound && out[i].type == LOG_ENTRY && out[i].group == r->group &&
            out[i].entry.position == r->position + i)
            continue;
        op->log->stats.read_errors++;
        return i;
    }
    return op->count;
}

static void op_finish(struct read_op *op, bool readable)
{
    struct log_read *r = op->user;
    struct log_record *records = op->count ? mem_alloc(op->count * sizeof *records) : NULL;
    uint32_t count = readable ? op_decode(op, records) : 0;
    r->done(r->ctx, r, records, count); /* r may be gone after it */
    mem_free(records);
    op_free(op);
}

static void read_done(void *ctx, int64_t result)
{
    struct read_op *op = ctx;
    struct log *l = op->log;
    op->segment->pins--;
    list_remove(&op->link);
    if (l->freed) {
        op_free(op);
    } else {
        bool whole = result == (int64_t)op->op.size;
        if (!whole) l->stats.read_errors++;
        op_finish(op, whole);
    }
    log_called_back(l);
}

/* Takes records from r->position on into the op while `takes` them; their places are all either in
 * memory or on disk. */
static void plan(struct read_op *op, const struct log_group *g)
{
    const struct log *l = op->log;
    const struct log_read *r = op->user;
    const struct log_place *first = index_find(g, r->position), *before = NULL;
    const uint8_t *at;
    uint64_t bytes = 0;
    if (!first || r->position > r->last) return;
    bool memory = log_in_memory(l, first, &at);
    for (uint32_t i = 0; i < LOG_READ_RECORDS && i <= r->last - r->position; i++) {
        const struct log_place *p = index_find(g, r->position + i);
        if (!p || (i && bytes + p->size > r->bytes_max)) break;
        if (i && log_in_memory(l, p, &at) != memory) break;
        bool near = memory || !before ||
                    (p->sequence == first->sequence && p->offset > before->offset &&
                     p->offset + p->size - first->offset <= LOG_EXTENT_BYTES);
        if (!near) break;
        op->place[op->count++] = *p;
        bytes += p->size;
        before = p;
    }
}

static void start_from_memory(struct read_op *op)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < op->count; i++) bytes += op->place[i].size;
    op->raw = op->data = mem_alloc(bytes);
    bytes = 0;
    for (uint32_t i = 0; i < op->count; i++) {
        const uint8_t *at = NULL;
        bool there = log_in_memory(op->log, &op->place[i], &at);
        ASSERT(there);
        op->at[i] = (uint32_t)bytes;
        memcpy(op->data + bytes, at, op->place[i].size);
        bytes += op->place[i].size;
    }
    op_finish(op, true);
}

static void start_from_disk(struct read_op *op)
{
    struct log *l = op->log;
    const struct log_place *first = &op->place[0], *last = &op->place[op->count - 1];
    op->from = first->offset & ~(uint64_t)(IO_BLOCK - 1);
    size_t size = (size_t)(record_align((uint64_t)last->offset + last->size) - op->from);
    op->raw = mem_alloc(size + IO_BLOCK);
    op->data = log_align(op->raw);
    for (uint32_t i = 0; i < op->count; i++) op->at[i] = (uint32_t)(op->place[i].offset - op->from);
    op->segment = log_segment_of(l, first->sequence);
    op->segment->pins++;
    op->op = (struct io_read){
        .data = op->data, .size = size, .offset = op->from, .done = read_done, .ctx = op};
    l->pending++;
    list_push(&l->reading, &op->link);
    io_file_read(l->io, op->segment->file, &op->op);
}

void log_start_reads(struct log *l)
{
    struct list batch, *link;
    list_init(&batch);
    while ((link = list_pop(&l->reads)))
        list_push(&batch, link); /* `done` may ask for more: that is for the next turn */
    while ((link = list_pop(&batch))) {
        struct read_op *op = LIST_OF(link, struct read_op, link);
        const struct log_group *g = index_group(l, op->user->group);
        const uint8_t *at;
        if (g) plan(op, g);
        if (!op->count)
            op_finish(op, false);
        else if (log_in_memory(l, &op->place[0], &at))
            start_from_memory(op);
        else
            start_from_disk(op);
    }
    if (!list_empty(&l->reads)) io_wake(l->io);
}

void log_free_reads(struct log *l)
{
    struct list *link;
    while ((link = list_pop(&l->reads)) || (link = list_pop(&l->reading)))
        op_free(LIST_OF(link, struct read_op, link));
}
