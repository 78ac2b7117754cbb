#include "sim/check_cycles.h"

#include "base/assert.h"
#include "base/map.h"
#include "base/mem.h"
#include "sim/cycles_graph.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *cycles_anomaly_name(enum cycles_anomaly a)
{
    static const char *const names[CYCLES_ANOMALIES] = {
        [CYCLES_NONE] = "none",
        [CYCLES_GARBAGE] = "garbage-read",
        [CYCLES_DUPLICATE] = "duplicate-elements",
        [CYCLES_INTERNAL] = "internal",
        [CYCLES_G1A] = "G1a",
        [CYCLES_ORDER] = "incompatible-order",
        [CYCLES_G1B] = "G1b",
        [CYCLES_G0] = "G0",
        [CYCLES_G1C] = "G1c",
        [CYCLES_G_SINGLE] = "G-single",
        [CYCLES_G2] = "G2",
        [CYCLES_G0_REALTIME] = "G0-realtime",
        [CYCLES_G1C_REALTIME] = "G1c-realtime",
        [CYCLES_G_SINGLE_REALTIME] = "G-single-realtime",
        [CYCLES_G2_REALTIME] = "G2-realtime",
    };
    ASSERT(a < CYCLES_ANOMALIES);
    return names[a];
}

/* ---- histories ---- */

struct cycles_history {
    struct cycles_txn *txn;
    uint32_t txns, capacity;
    uint32_t appends, keys; /* keys: the greatest, + 1 */
};

struct cycles_history *cycles_new(void)
{
    return mem_zalloc(sizeof(struct cycles_history));
}

void cycles_free(struct cycles_history *h)
{
    if (!h) return;
    for (uint32_t i = 0; i < h->txns; i++) {
        for (uint32_t o = 0; o < h->txn[i].ops; o++) mem_free((void *)h->txn[i].op[o].values);
        mem_free((void *)h->txn[i].op);
    }
    mem_free(h->txn);
    mem_free(h);
}

uint32_t cycles_add(struct cycles_history *h, const struct cycles_txn *t)
{
    ASSERT(t->outcome == CYCLES_UNKNOWN || t->ret >= t->call);
    if (h->txns == h->capacity) {
        h->capacity = h->capacity ? 2 * h->capacity : 64;
        h->txn = mem_realloc(h->txn, h->capacity * sizeof *h->txn);
    }
    struct cycles_op *op = mem_dup(t->op, t->ops * sizeof *op);
    for (uint32_t o = 0; o < t->ops; o++) {
        bool shows = !op[o].append && op[o].count && t->outcome == CYCLES_COMMITTED;
        op[o].values = shows ? mem_dup(op[o].values, op[o].count * sizeof(uint32_t)) : NULL;
        h->appends += op[o].append;
        if (op[o].key >= h->keys) h->keys = op[o].key + 1;
    }
    h->txn[h->txns] = *t;
    h->txn[h->txns].op = op;
    if (t->outcome == CYCLES_UNKNOWN) h->txn[h->txns].ret = UINT64_MAX;
    return h->txns++;
}

/* ---- a check ---- */

struct append {
    uint32_t txn, key, value;
    bool final;          /* of its transaction's for this key */
    uint64_t read;       /* the number of the last read that showed it; 0: none did */
    struct append *next; /* of the same key, both done and shown by no read */
};

struct key {
    const struct cycles_op *longest; /* NULL: nobody read it */
    uint32_t longest_by;
    struct append *unseen;
};

struct check {
    const struct cycles_history *h;
    struct buf *why;
    struct append *append;
    struct map append_of; /* (key, value) */
    struct key *key;
    bool *done; /* [transaction]: committed, or known to be */
    uint64_t reads;
    struct graph graph;
};

static uint64_t append_name(uint32_t key, uint32_t value)
{
    return (uint64_t)key << 32 | value;
}

static struct append *append_of(const struct check *c, uint32_t key, uint32_t value)
{
    return map_get(&c->append_of, append_name(key, value));
}

static void appends_list(struct check *c)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->h->txns; i++) {
        const struct cycles_txn *t = &c->h->txn[i];
        for (uint32_t o = 0; o < t->ops; o++) {
            if (!t->op[o].append) continue;
            struct append *a = &c->append[count++];
            *a = (struct append){.txn = i, .key = t->op[o].key, .value = t->op[o].value};
            ASSERT(!append_of(c, a->key, a->value));
            map_put(&c->append_of, append_name(a->key, a->value), a);
            a->final = true;
            for (uint32_t p = o + 1; p < t->ops; p++)
                a->final &= !t->op[p].append || t->op[p].key != a->key;
        }
    }
    ASSERT(count == c->h->appends);
}

/* ---- words ---- */

static void write_list(struct buf *out, const struct cycles_op *read)
{
    buf_printf(out, "[");
    for (uint32_t i = 0; i < read->count; i++)
        buf_printf(out, "%s%u", i ? " " : "", read->values[i]);
    buf_printf(out, "]");
}

static void write_txn(const struct check *c, uint32_t txn)
{
    static const char *const outcomes[] = {"committed", "aborted", "of unknown outcome"};
    const struct cycles_txn *t = &c->h->txn[txn];
    buf_printf(c->why, "\n  T%u, of client %u, from %" PRIu64 " to ", txn, t->client, t->call);
    if (t->outcome == CYCLES_UNKNOWN)
        buf_printf(c->why, "?");
    else
        buf_printf(c->why, "%" PRIu64, t->ret);
    buf_printf(c->why, ", %s:", outcomes[t->outcome]);
    for (uint32_t o = 0; o < t->ops; o++) {
        buf_printf(c->why, "%s %s k%u ", o ? "," : "", t->op[o].append ? "append" : "read",
                   t->op[o].key);
        if (t->op[o].append)
            buf_printf(c->why, "%u", t->op[o].value);
        else if (t->outcome == CYCLES_COMMITTED)
            write_list(c->why, &t->op[o]);
    }
}

#define SAY(c, ...) buf_printf((c)->why, __VA_ARGS__)

static void write_edge(struct check *c, const struct graph_edge *e)
{
    SAY(c, "\n  T%u ", e->from);
    switch (e->kind) {
    case DEPENDS_WW:
        SAY(c, "appended %u to k%u before T%u appended %u [ww]", e->before, e->key, e->to,
            e->value);
        break;
    case DEPENDS_WR:
        SAY(c, "appended %u to k%u, which T%u read [wr]", e->value, e->key, e->to);
        break;
    case DEPENDS_RW:
        SAY(c, "read k%u before T%u appended %u to it [rw]", e->key, e->to, e->value);
        break;
    default: SAY(c, "had ended before T%u began [rt]", e->to); break;
    }
}

/* ---- each read by itself ---- */

/* A read after earlier operations of its own transaction: what the last read of the key showed, and
 * behind it what was appended since. */
static bool is_consistent(const struct check *c, uint32_t txn, const struct cycles_op *read)
{
    const struct cycles_txn *t = &c->h->txn[txn];
    const struct cycles_op *before = NULL;
    uint32_t left = read->count;
    for (size_t o = (size_t)(read - t->op); o-- > 0 && !before;) {
        if (t->op[o].key != read->key) continue;
        if (!t->op[o].append)
            before = &t->op[o];
        else if (!left || read->values[--left] != t->op[o].value)
            return false;
    }
    if (before)
        return left == before->count &&
               (!left || memcmp(read->values, before->values, left * sizeof(uint32_t)) == 0);
    for (uint32_t i = 0; i < left; i++)
        if (append_of(c, read->key, read->values[i])->txn == txn) return false;
    return true;
}

static enum cycles_anomaly check_alone(struct check *c, uint32_t txn, const struct cycles_op *read)
{
    c->reads++;
    for (uint32_t i = 0; i < read->count; i++) {
        struct append *a = append_of(c, read->key, read->values[i]);
        if (!a || a->read == c->reads) {
            SAY(c, "T%u read %u of k%u, %s", txn, read->values[i], read->key,
                a ? "and again in the same list" : "which nobody appended");
            write_txn(c, txn);
            return a ? CYCLES_DUPLICATE : CYCLES_GARBAGE;
        }
        a->read = c->reads;
        c->done[a->txn] = true;
    }
    if (is_consistent(c, txn, read)) return CYCLES_NONE;
    SAY(c, "T%u read k%u, and not what it had read and appended itself", txn, read->key);
    write_txn(c, txn);
    return CYCLES_INTERNAL;
}

/* G1a. `done` is what was read, of whatever outcome. */
static enum cycles_anomaly check_aborted(struct check *c, uint32_t txn,
                                         const struct cycles_op *read)
{
    for (uint32_t i = 0; i < read->count; i++) {
        const struct append *a = append_of(c, read->key, read->values[i]);
        if (c->h->txn[a->txn].outcome != CYCLES_ABORTED) continue;
        SAY(c, "T%u read %u of k%u, which T%u appended, and T%u was aborted", txn, a->value, a->key,
            a->txn, a->txn);
        write_txn(c, a->txn);
        write_txn(c, txn);
        return CYCLES_G1A;
    }
    return CYCLES_NONE;
}

/* ---- reads of one key ---- */

static enum cycles_anomaly note_longest(struct check *c, uint32_t txn, const struct cycles_op *read)
{
    struct key *k = &c->key[read->key];
    if (k->longest && k->longest->count >= read->count) return CYCLES_NONE;
    k->longest = read;
    k->longest_by = txn;
    return CYCLES_NONE;
}

static enum cycles_anomaly check_order(struct check *c, uint32_t txn, const struct cycles_op *read)
{
    const struct key *k = &c->key[read->key];
    if (!read->count ||
        memcmp(read->values, k->longest->values, read->count * sizeof(uint32_t)) == 0)
        return CYCLES_NONE;
    SAY(c, "T%u and T%u read k%u, and neither read a prefix of what the other one did", txn,
        k->longest_by, read->key);
    write_txn(c, txn);
    write_txn(c, k->longest_by);
    return CYCLES_ORDER;
}

/* If another one's append comes between the two, that is a cycle of ww. */
static enum cycles_anomaly check_intermediate(struct check *c, uint32_t txn,
                                              const struct cycles_op *read)
{
    if (!read->count) return CYCLES_NONE;
    const struct append *a = append_of(c, read->key, read->values[read->count - 1]);
    if (a->txn == txn || a->final) return CYCLES_NONE;
    SAY(c, "T%u read k%u after T%u had appended %u to it, and before all that T%u appended", txn,
        a->key, a->txn, a->value, a->txn);
    write_txn(c, a->txn);
    write_txn(c, txn);
    return CYCLES_G1B;
}

static enum cycles_anomaly each_read(struct check *c,
                                     enum cycles_anomaly (*check)(struct check *c, uint32_t txn,
                                                                  const struct cycles_op *read))
{
    enum cycles_anomaly found = CYCLES_NONE;
    for (uint32_t i = 0; i < c->h->txns; i++) {
        const struct cycles_txn *t = &c->h->txn[i];
        for (uint32_t o = 0; t->outcome == CYCLES_COMMITTED && o < t->ops; o++)
            if (!t->op[o].append && (found = check(c, i, &t->op[o]))) return found;
    }
    return found;
}

static enum cycles_anomaly check_reads(struct check *c)
{
    enum cycles_anomaly found = each_read(c, check_alone);
    if (!found) found = each_read(c, check_aborted);
    if (!found) found = each_read(c, note_longest);
    if (!found) found = each_read(c, check_order);
    if (!found) found = each_read(c, check_intermediate);
    return found;
}

/* ---- dependencies ---- */

static void depends(struct check *c, uint32_t from, uint32_t to, enum dependency kind,
                    const struct append *a, const struct append *before)
{
    struct graph_edge e = {.from = from, .to = to, .kind = (uint8_t)kind};
    if (from == to) return;
    if (a) e.key = a->key, e.value = a->value;
    if (before) e.before = before->value;
    graph_add(&c->graph, e);
}

/* Of those that no read shows nothing more is known than that they come after the others. */
static void depend_versions(struct check *c)
{
    for (uint32_t i = 0; i < c->h->appends; i++) {
        struct append *a = &c->append[i];
        if (a->read || !c->done[a->txn]) continue;
        a->next = c->key[a->key].unseen;
        c->key[a->key].unseen = a;
    }
    for (uint32_t key = 0; key < c->h->keys; key++) {
        const struct key *k = &c->key[key];
        const struct append *last = NULL, *a;
        for (uint32_t i = 0; k->longest && i < k->longest->count; i++, last = a) {
            a = append_of(c, key, k->longest->values[i]);
            if (last) depends(c, last->txn, a->txn, DEPENDS_WW, a, last);
        }
        for (a = k->unseen; a && last; a = a->next)
            depends(c, last->txn, a->txn, DEPENDS_WW, a, last);
    }
}

static enum cycles_anomaly depend_read(struct check *c, uint32_t txn, const struct cycles_op *read)
{
    const struct key *k = &c->key[read->key];
    const struct append *a;
    if (read->count) {
        a = append_of(c, read->key, read->values[read->count - 1]);
        depends(c, a->txn, txn, DEPENDS_WR, a, NULL);
    }
    if (read->count < k->longest->count) {
        a = append_of(c, read->key, k->longest->values[read->count]);
        depends(c, txn, a->txn, DEPENDS_RW, a, NULL);
        return CYCLES_NONE;
    }
    for (a = k->unseen; a; a = a->next) depends(c, txn, a->txn, DEPENDS_RW, a, NULL);
    return CYCLES_NONE;
}

struct moment {
    uint64_t at;
    uint32_t txn;
};

static int moment_compare(const void *x, const void *y)
{
    const struct moment *a = x, *b = y;
    if (a->at != b->at) return a->at < b->at ? -1 : 1;
    return (a->txn > b->txn) - (a->txn < b->txn);
}

/* Of the transactions that have ended, the frontier keeps those after whose end none of the others
 * began: they overlap, so there are no more of them than clients. Who begins has an edge from each,
 * and the other edges follow. */
static void depend_time(struct check *c)
{
    size_t room = (c->h->txns + 1) * sizeof(struct moment);
    struct moment *begin = mem_alloc(room), *end = mem_alloc(room);
    uint32_t *frontier = mem_alloc((c->h->txns + 1) * sizeof *frontier);
    uint32_t count = 0, ended = 0, width = 0;
    for (uint32_t i = 0; i < c->h->txns; i++) {
        if (!c->done[i]) continue;
        begin[count] = (struct moment){c->h->txn[i].call, i};
        end[count++] = (struct moment){c->h->txn[i].ret, i};
    }
    qsort(begin, count, sizeof *begin, moment_compare);
    qsort(end, count, sizeof *end, moment_compare);
    for (uint32_t b = 0; b < count; b++) {
        for (; end[ended].at < begin[b].at; ended++) {
            uint32_t kept = 0, last = end[ended].txn;
            for (uint32_t f = 0; f < width; f++)
                if (c->h->txn[frontier[f]].ret >= c->h->txn[last].call)
                    frontier[kept++] = frontier[f];
            frontier[kept++] = last;
            width = kept;
        }
        for (uint32_t f = 0; f < width; f++)
            depends(c, frontier[f], begin[b].txn, DEPENDS_RT, NULL, NULL);
    }
    mem_free(begin), mem_free(end), mem_free(frontier);
}

/* ---- cycles ---- */

/* An edge of a kind in `first`, and any others of those in `rest`: the first row that has a cycle
 * names it. What a row above has is not in those below, so that G2 has two rw at least. */
static const struct {
    enum cycles_anomaly name;
    unsigned first, rest;
} cycle_kinds[] = {
    {CYCLES_G0, DEPENDS_WW, DEPENDS_WW},
    {CYCLES_G1C, DEPENDS_WR, DEPENDS_WW | DEPENDS_WR},
    {CYCLES_G_SINGLE, DEPENDS_RW, DEPENDS_WW | DEPENDS_WR},
    {CYCLES_G2, DEPENDS_RW, DEPENDS_WW | DEPENDS_WR | DEPENDS_RW},
    {CYCLES_G0_REALTIME, DEPENDS_WW, DEPENDS_WW | DEPENDS_RT},
    {CYCLES_G1C_REALTIME, DEPENDS_WR, DEPENDS_WW | DEPENDS_WR | DEPENDS_RT},
    {CYCLES_G_SINGLE_REALTIME, DEPENDS_RW, DEPENDS_WW | DEPENDS_WR | DEPENDS_RT},
    {CYCLES_G2_REALTIME, DEPENDS_RW, DEPENDS_WW | DEPENDS_WR | DEPENDS_RW | DEPENDS_RT},
};

static enum cycles_anomaly check_graph(struct check *c)
{
    c->graph.nodes = c->h->txns;
    depend_versions(c);
    (void)each_read(c, depend_read);
    depend_time(c);
    if (!graph_components(&c->graph)) return CYCLES_NONE;

    struct graph_edge *cycle = mem_alloc((c->graph.nodes + 1) * sizeof *cycle);
    enum cycles_anomaly found = CYCLES_NONE;
    for (size_t i = 0; !found && i < sizeof cycle_kinds / sizeof *cycle_kinds; i++) {
        uint32_t length =
            graph_shortest_cycle(&c->graph, cycle_kinds[i].first, cycle_kinds[i].rest, cycle);
        if (!length) continue;
        found = cycle_kinds[i].name;
        SAY(c, "a cycle of %u transactions, each of which must come before the next", length);
        for (uint32_t e = 0; e < length; e++) write_edge(c, &cycle[e]);
        for (uint32_t e = 0; e < length; e++) write_txn(c, cycle[e].from);
    }
    mem_free(cycle);
    ASSERT(found);
    return found;
}

enum cycles_anomaly cycles_check(const struct cycles_history *h, struct buf *why)
{
    struct check c = {.h = h,
                      .why = why,
                      .append = mem_zalloc((h->appends + 1) * sizeof *c.append),
                      .key = mem_zalloc((h->keys + 1) * sizeof *c.key),
                      .done = mem_zalloc(h->txns + 1)};
    buf_clear(why);
    for (uint32_t i = 0; i < h->txns; i++) c.done[i] = h->txn[i].outcome == CYCLES_COMMITTED;
    appends_list(&c);
    enum cycles_anomaly found = check_reads(&c);
    if (!found) found = check_graph(&c);
    graph_deinit(&c.graph);
    map_deinit(&c.append_of);
    mem_free(c.append), mem_free(c.key), mem_free(c.done);
    return found;
}
