#include "sim/check_linear.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>

/* ---- histories ---- */

/* A value as the model holds it: numbers are numbers, so that they can be counted, and other bytes
 * are known by their index, so that values compare in one step. (A strict decimal is the only text
 * of its number.) */
enum { ABSENT, NUMBER, TEXT };

struct value {
    int64_t n; /* the number, or the index of the text; 0 if absent */
    uint32_t kind;
    uint32_t text; /* index of the bytes as they were given; not part of the value */
};

struct item {
    uint32_t key, client; /* key: index of its text */
    uint8_t kind, outcome;
    struct value argument, expected, result;
    uint64_t call, ret;
};

struct text {
    struct buf bytes;
    uint32_t index;
    struct text *next; /* with the same hash */
};

struct check_history {
    struct item *items;
    size_t count, capacity;
    struct text **texts;
    size_t text_count, text_capacity;
    struct map text_of; /* by hash */
};

struct check_history *check_new(void)
{
    return mem_zalloc(sizeof(struct check_history));
}

void check_free(struct check_history *h)
{
    if (!h) return;
    for (size_t i = 0; i < h->text_count; i++) {
        buf_deinit(&h->texts[i]->bytes);
        mem_free(h->texts[i]);
    }
    map_deinit(&h->text_of);
    mem_free(h->texts);
    mem_free(h->items);
    mem_free(h);
}

/* The index of a text; equal texts have one. */
static uint32_t text_index(struct check_history *h, struct bytes bytes)
{
    uint64_t hash = hash64(bytes, 0);
    struct text *first = map_get(&h->text_of, hash), *t;
    for (t = first; t; t = t->next)
        if (bytes_equal(buf_bytes(&t->bytes), bytes)) return t->index;

    if (h->text_count == h->text_capacity) {
        h->text_capacity = h->text_capacity ? 2 * h->text_capacity : 64;
        h->texts = mem_realloc(h->texts, h->text_capacity * sizeof(struct text *));
    }
    t = mem_zalloc(sizeof *t);
    buf_append_bytes(&t->bytes, bytes);
    t->index = (uint32_t)h->text_count;
    t->next = first;
    h->texts[h->text_count++] = t;
    map_put(&h->text_of, hash, t);
    return t->index;
}

static struct value value_of(struct check_history *h, struct check_value v)
{
    struct value value = {0, ABSENT, 0};
    if (!v.there) return value;
    value.text = text_index(h, v.bytes);
    value.kind = bytes_to_i64(v.bytes, &value.n) ? NUMBER : TEXT;
    if (value.kind == TEXT) value.n = value.text;
    return value;
}

static struct check_value value_given(const struct check_history *h, struct value v)
{
    if (v.kind == ABSENT) return CHECK_NIL;
    return check_value(buf_bytes(&h->texts[v.text]->bytes));
}

static bool has_argument(uint8_t kind)
{
    return kind != CHECK_READ && kind != CHECK_DELETE && kind != CHECK_TAKE;
}

bool check_add(struct check_history *h, const struct check_op *op)
{
    struct item item = {.client = op->client, .kind = op->kind, .outcome = op->outcome};
    int64_t n;

    if (op->kind >= CHECK_KINDS || op->outcome > CHECK_UNKNOWN) return false;
    if (has_argument(op->kind) && !op->argument.there) return false;
    if (op->kind == CHECK_ADD && !bytes_to_i64(op->argument.bytes, &n)) return false;
    item.call = op->call;
    item.ret = op->outcome == CHECK_OK ? op->ret : UINT64_MAX;
    if (item.ret < item.call) return false;

    item.key = text_index(h, op->key);
    if (has_argument(op->kind)) item.argument = value_of(h, op->argument);
    if (op->kind == CHECK_CAS) item.expected = value_of(h, op->expected);
    if (op->outcome == CHECK_OK && op->kind != CHECK_WRITE) item.result = value_of(h, op->result);
    if (h->count == h->capacity) {
        h->capacity = h->capacity ? 2 * h->capacity : 256;
        h->items = mem_realloc(h->items, h->capacity * sizeof *h->items);
    }
    h->items[h->count++] = item;
    return true;
}

size_t check_count(const struct check_history *h)
{
    return h->count;
}

static struct check_op item_op(const struct check_history *h, const struct item *i)
{
    return (struct check_op){
        .key = buf_bytes(&h->texts[i->key]->bytes),
        .client = i->client,
        .kind = i->kind,
        .outcome = i->outcome,
        .argument = value_given(h, i->argument),
        .expected = value_given(h, i->expected),
        .result = value_given(h, i->result),
        .call = i->call,
        .ret = i->ret,
    };
}

struct check_op check_get(const struct check_history *h, size_t i)
{
    ASSERT(i < h->count);
    return item_op(h, &h->items[i]);
}

/* ---- the model ---- */

static bool same(struct value a, struct value b)
{
    return a.kind == b.kind && a.n == b.n;
}

static bool is_flag(struct value v, bool flag)
{
    return v.kind == NUMBER && v.n == flag;
}

/* Does `op` at value `old` answer as recorded (any answer will do if `wildcard`)? *now: the value
 * after it. A count that would be an error leaves the value alone; only a wildcard can stand for
 * that. */
static bool model_step(const struct item *op, bool wildcard, struct value old, struct value *now)
{
    static const struct value absent = {0, ABSENT, 0};
    bool there = old.kind != ABSENT;

    *now = old;
    switch (op->kind) {
    case CHECK_READ: return wildcard || same(op->result, old);
    case CHECK_WRITE: *now = op->argument; return true;
    case CHECK_PUT: *now = op->argument; return wildcard || is_flag(op->result, !there);
    case CHECK_CREATE:
        if (!there) *now = op->argument;
        return wildcard || is_flag(op->result, !there);
    case CHECK_SWAP: *now = op->argument; return wildcard || same(op->result, old);
    case CHECK_CAS:
        if (same(op->expected, old)) *now = op->argument;
        return wildcard || is_flag(op->result, same(op->expected, old));
    case CHECK_DELETE: *now = absent; return wildcard || is_flag(op->result, there);
    case CHECK_TAKE: *now = absent; return wildcard || same(op->result, old);
    case CHECK_ADD:
        if (old.kind == TEXT) return wildcard;
        if (__builtin_add_overflow(old.n, op->argument.n, &now->n)) {
            *now = old;
            return wildcard;
        }
        now->kind = NUMBER;
        return wildcard || same(op->result, *now);
    default: ASSERT(false); return false;
    }
}

/* Does the recorded answer say that the operation changed nothing, wherever it is placed? */
static bool changes_nothing(const struct item *op)
{
    switch (op->kind) {
    case CHECK_READ: return true;
    case CHECK_CREATE:
    case CHECK_DELETE: return is_flag(op->result, false);
    case CHECK_CAS: return is_flag(op->result, false) || same(op->argument, op->expected);
    case CHECK_SWAP: return same(op->argument, op->result);
    case CHECK_TAKE: return op->result.kind == ABSENT;
    default: return false;
    }
}

/* ---- the search ---- */

#define CACHE_BYTES_MAX ((size_t)256 << 20)

/* A call or a return in the list of what is not linearized yet, in order of time. */
struct event {
    struct event *prev, *next;
    struct event *match; /* of a call: its return, NULL if it has none; of a return: NULL */
    uint32_t op;
    bool is_call;
};

/* An operation of the key, in order of calls. Answered and unknown ones are counted apart: the sets
 * of the first are dense (all up to some point, then a few), those of the second sparse. */
struct op {
    const struct item *item;
    bool known, idle; /* idle: known, and its answer says that it changed nothing */
    uint32_t rank;    /* among the known, or the unknown */
};

struct frame {
    struct event *call;
    struct value before;
    bool forced; /* by rule C1 */
};

struct set {
    uint64_t *words;
    uint32_t first, last; /* words before first are full; words after last are empty */
};

struct search {
    struct op *ops;
    uint32_t count, known;
    struct event *events;
    struct event head;
    struct frame *stack;
    uint32_t depth, done; /* done: of the known */
    struct set linear[2]; /* linearized: unknown, known */
    struct value value;
    uint64_t steps, budget;

    uint64_t *hashes; /* the cache: open addressing, 0 free; `keys` has each key at offsets[i] */
    size_t *offsets;
    size_t cache_mask, cache_count;
    struct buf keys, key;

    uint32_t best_done, best_depth; /* the longest order found: of this length */
    uint32_t *best;                 /* its operations; NULL: not wanted */
    struct value best_value;
};

static int event_compare(const void *a, const void *b, void *ctx)
{
    const struct event *x = a, *y = b;
    const struct op *ops = ctx;
    uint64_t at = x->is_call ? ops[x->op].item->call : ops[x->op].item->ret;
    uint64_t bt = y->is_call ? ops[y->op].item->call : ops[y->op].item->ret;
    if (at != bt) return at < bt ? -1 : 1;
    if (x->is_call != y->is_call) return x->is_call ? -1 : 1; /* equal times overlap */
    return (x->op > y->op) - (x->op < y->op);
}

/* Takes the key's items up to the time `cut`: those that return later are pending then. */
static void search_ops(struct search *s, const struct item **items, uint32_t count, uint64_t cut)
{
    uint32_t rank[2] = {0, 0};
    s->ops = mem_alloc((count + 1) * sizeof *s->ops);
    for (uint32_t i = 0; i < count && items[i]->call <= cut; i++) {
        bool known = items[i]->outcome == CHECK_OK && items[i]->ret <= cut;
        if (!known && items[i]->kind == CHECK_READ)
            continue; /* rule C2: it never changes anything */
        s->ops[s->count++] =
            (struct op){items[i], known, known && changes_nothing(items[i]), rank[known]++};
    }
    s->known = rank[true];
    for (int k = 0; k < 2; k++)
        s->linear[k].words = mem_zalloc((rank[k] / 64 + 1) * sizeof(uint64_t));
}

static void search_events(struct search *s)
{
    uint32_t n = 0, total = s->count + s->known;
    s->events = mem_zalloc((total + 1) * sizeof *s->events);
    for (uint32_t i = 0; i < s->count; i++) {
        s->events[n++] = (struct event){.op = i, .is_call = true};
        if (s->ops[i].known) s->events[n++] = (struct event){.op = i, .is_call = false};
    }
    ASSERT(n == total);
    qsort_r(s->events, total, sizeof *s->events, event_compare, s->ops);

    struct event **calls = mem_zalloc((s->count + 1) * sizeof(struct event *)), *last = &s->head;
    for (uint32_t i = 0; i < total; i++) {
        struct event *e = &s->events[i];
        e->prev = last;
        last->next = e;
        last = e;
        if (e->is_call)
            calls[e->op] = e;
        else
            calls[e->op]->match = e;
    }
    mem_free(calls);
}

static void search_init(struct search *s, const struct item **items, uint32_t count, uint64_t cut,
                        uint64_t budget)
{
    *s = (struct search){.budget = budget};
    search_ops(s, items, count, cut);
    search_events(s);
    s->stack = mem_alloc((s->count + 1) * sizeof *s->stack);
    s->cache_mask = 1023;
    s->hashes = mem_zalloc((s->cache_mask + 1) * sizeof *s->hashes);
    s->offsets = mem_alloc((s->cache_mask + 1) * sizeof *s->offsets);
}

static void search_deinit(struct search *s)
{
    mem_free(s->ops);
    mem_free(s->events);
    mem_free(s->stack);
    mem_free(s->linear[0].words);
    mem_free(s->linear[1].words);
    mem_free(s->hashes);
    mem_free(s->offsets);
    mem_free(s->best);
    buf_deinit(&s->keys);
    buf_deinit(&s->key);
}

static void set_add(struct set *s, uint32_t i)
{
    s->words[i / 64] |= (uint64_t)1 << i % 64;
    while (s->words[s->first] == UINT64_MAX) s->first++; /* ends: the last word is never full */
    if (i / 64 > s->last) s->last = i / 64;
}

static void set_remove(struct set *s, uint32_t i)
{
    s->words[i / 64] &= ~((uint64_t)1 << i % 64);
    if (i / 64 < s->first) s->first = i / 64;
    while (s->last > 0 && s->words[s->last] == 0) s->last--;
}

static void unlink_event(struct event *e)
{
    e->prev->next = e->next;
    if (e->next) e->next->prev = e->prev;
}

static void relink_event(struct event *e)
{
    e->prev->next = e;
    if (e->next) e->next->prev = e;
}

static void linearize(struct search *s, struct event *call, struct value now, bool forced)
{
    const struct op *op = &s->ops[call->op];
    ASSERT(call->is_call && s->depth < s->count);
    s->stack[s->depth++] = (struct frame){call, s->value, forced};
    s->value = now;
    s->done += op->known;
    set_add(&s->linear[op->known], op->rank);
    unlink_event(call);
    if (call->match) unlink_event(call->match);
}

static struct frame undo(struct search *s)
{
    struct frame f = s->stack[--s->depth];
    const struct op *op = &s->ops[f.call->op];
    if (f.call->match) relink_event(f.call->match); /* in the reverse order of unlinking */
    relink_event(f.call);
    set_remove(&s->linear[op->known], op->rank);
    s->done -= op->known;
    s->value = f.before;
    return f;
}

static void key_set(struct buf *out, const struct set *s)
{
    uint32_t words = s->last >= s->first ? s->last - s->first + 1 : 0;
    buf_u32(out, s->first);
    buf_u32(out, words);
    if (words) buf_append(out, s->words + s->first, words * sizeof(uint64_t));
}

static void cache_grow(struct search *s)
{
    size_t mask = s->cache_mask * 2 + 1;
    uint64_t *hashes = mem_zalloc((mask + 1) * sizeof *hashes);
    size_t *offsets = mem_alloc((mask + 1) * sizeof *offsets);
    for (size_t i = 0; i <= s->cache_mask; i++) {
        if (!s->hashes[i]) continue;
        size_t at = s->hashes[i] & mask;
        while (hashes[at]) at = (at + 1) & mask;
        hashes[at] = s->hashes[i];
        offsets[at] = s->offsets[i];
    }
    mem_free(s->hashes);
    mem_free(s->offsets);
    s->hashes = hashes;
    s->offsets = offsets;
    s->cache_mask = mask;
}

/* Notes that `op` with value `now` after it is about to be tried. False: that set and value were
 * tried. */
static bool cache_add(struct search *s, const struct op *op, struct value now)
{
    s->steps++;
    buf_clear(&s->key);
    set_add(&s->linear[op->known], op->rank);
    for (int k = 0; k < 2; k++) key_set(&s->key, &s->linear[k]);
    set_remove(&s->linear[op->known], op->rank);
    buf_u64(&s->key, (uint64_t)now.n);
    buf_u8(&s->key, (uint8_t)now.kind);

    uint64_t hash = hash64(buf_bytes(&s->key), 0);
    if (!hash) hash = 1;
    size_t at = hash & s->cache_mask;
    for (; s->hashes[at]; at = (at + 1) & s->cache_mask) {
        const uint8_t *old =
            s->keys.data + s->offsets[at]; /* keys tell their own size: equal to it or not */
        if (s->hashes[at] == hash && s->keys.size - s->offsets[at] >= s->key.size &&
            memcmp(old, s->key.data, s->key.size) == 0)
            return false;
    }
    s->hashes[at] = hash;
    s->offsets[at] = s->keys.size;
    buf_append_bytes(&s->keys, buf_bytes(&s->key));
    if (++s->cache_count * 2 > s->cache_mask) cache_grow(s);
    return true;
}

/* Rule C1, until it applies no more. */
static void linearize_forced(struct search *s)
{
    struct event *e = s->head.next;
    while (e && e->is_call) {
        struct value now;
        const struct op *op = &s->ops[e->op];
        if (op->idle && model_step(op->item, false, s->value, &now)) {
            ASSERT(same(now, s->value));
            linearize(s, e, now, true);
            e = s->head.next; /* its return may have been the first */
        } else {
            e = e->next;
        }
    }
}

/* The next operation at or after `e` that may come next and was not tried, made so. False: none
 * before the first return. */
static bool linearize_next(struct search *s, struct event *e)
{
    for (; e && e->is_call; e = e->next) {
        struct value now;
        const struct op *op = &s->ops[e->op];
        if (op->idle || !model_step(op->item, !op->known, s->value, &now)) continue;
        if (!op->known && same(now, s->value)) continue; /* rule C2 */
        if (!cache_add(s, op, now)) continue;
        linearize(s, e, now, false);
        return true;
    }
    return false;
}

static void note_best(struct search *s)
{
    if (!s->best || s->done < s->best_done || (s->done == s->best_done && s->best_depth)) return;
    s->best_done = s->done;
    s->best_depth = s->depth;
    s->best_value = s->value;
    for (uint32_t i = 0; i < s->depth; i++) s->best[i] = s->stack[i].call->op;
}

static enum check_verdict search_run(struct search *s)
{
    struct event *from;
    do {
        linearize_forced(s);
        from = s->head.next;
        while (s->done < s->known && !linearize_next(s, from)) {
            struct frame f;
            note_best(s);
            do {
                if (s->depth == 0) return CHECK_VIOLATION;
                f = undo(s);
            } while (f.forced);
            from = f.call->next;
        }
        if (s->steps > s->budget || s->keys.size > CACHE_BYTES_MAX) return CHECK_TOO_HARD;
    } while (s->done < s->known);
    return CHECK_LINEARIZABLE;
}

/* ---- verdicts and explanations ---- */

static enum check_verdict judge(const struct item **items, uint32_t count, uint64_t cut,
                                uint64_t budget)
{
    struct search s;
    search_init(&s, items, count, cut, budget);
    enum check_verdict verdict = search_run(&s);
    search_deinit(&s);
    return verdict;
}

static int u64_compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The first return at which the history stops being linearizable. Beginnings of a linearizable
 * history are linearizable, so bisection finds it; what is too hard counts as linearizable, which
 * can only make the part longer. */
static uint64_t shortest_cut(const struct item **items, uint32_t count, uint64_t budget)
{
    uint64_t *returns = mem_alloc((count + 1) * sizeof *returns);
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++)
        if (items[i]->outcome == CHECK_OK) returns[n++] = items[i]->ret;
    qsort(returns, n, sizeof *returns, u64_compare);

    ASSERT(n > 0);
    uint32_t lo = 0, hi = n - 1; /* returns[hi] is bad */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (judge(items, count, returns[mid], budget) == CHECK_VIOLATION)
            hi = mid;
        else
            lo = mid + 1;
    }
    uint64_t cut = returns[hi];
    mem_free(returns);
    return cut;
}

#define LINES_MAX 64

/* As the operation stands at the cut: pending if it is not known yet. */
static void explain_op(const struct check_history *h, const struct op *op, const char *lead,
                       struct buf *out)
{
    struct check_op shown = item_op(h, op->item);
    if (!op->known) shown.outcome = CHECK_UNKNOWN;
    buf_printf(out, "%s", lead);
    check_write_op(&shown, out);
}

static void explain_value(const struct check_history *h, struct value v, struct buf *out)
{
    if (v.kind == ABSENT) {
        buf_printf(out, "absent");
    } else if (v.kind == NUMBER) {
        buf_printf(out, "%lld", (long long)v.n);
    } else {
        struct bytes b = buf_bytes(&h->texts[v.n]->bytes);
        buf_printf(out, "'%.*s'", b.size < 100 ? (int)b.size : 100, (const char *)b.data);
    }
}

static void explain_order(const struct check_history *h, const struct search *s, struct buf *out)
{
    bool *placed = mem_zalloc(s->count + 1);
    uint32_t from = s->best_depth > 10 ? s->best_depth - 10 : 0, missing = 0;

    buf_printf(out,
               "# The longest order found has %u of the %u that were answered; then the value is ",
               s->best_done, s->known);
    explain_value(h, s->best_value, out);
    buf_printf(out, ". It ends with:\n");
    for (uint32_t i = 0; i < s->best_depth; i++) {
        placed[s->best[i]] = true;
        if (i >= from) explain_op(h, &s->ops[s->best[i]], "#   ", out);
    }
    buf_printf(out, "# Answered, and with no place in it:\n");
    for (uint32_t i = 0; i < s->count && missing < 10; i++) {
        if (placed[i] || !s->ops[i].known) continue;
        explain_op(h, &s->ops[i], "#   ", out);
        missing++;
    }
    mem_free(placed);
}

static void explain(const struct check_history *h, const struct item **items, uint32_t count,
                    uint64_t budget, struct buf *out)
{
    struct search s;
    search_init(&s, items, count, shortest_cut(items, count, budget), budget);
    s.best = mem_alloc((s.count + 1) * sizeof *s.best);
    enum check_verdict verdict = search_run(&s);
    ASSERT(verdict == CHECK_VIOLATION);

    uint32_t from = s.count > LINES_MAX ? s.count - LINES_MAX : 0;
    struct bytes key = buf_bytes(&h->texts[items[0]->key]->bytes);
    buf_printf(out, "# Key '%.*s' is not linearizable: %u operations (of %u) show it",
               key.size < 100 ? (int)key.size : 100, (const char *)key.data, s.count, count);
    if (from) buf_printf(out, "; the last %u of them", LINES_MAX);
    buf_printf(out, ":\n");
    for (uint32_t i = from; i < s.count; i++) explain_op(h, &s.ops[i], "", out);
    explain_order(h, &s, out);
    search_deinit(&s);
}

static int item_compare(const void *a, const void *b)
{
    const struct item *x = *(const struct item *const *)a, *y = *(const struct item *const *)b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    if (x->call != y->call) return x->call < y->call ? -1 : 1;
    return (x > y) - (x < y); /* as added */
}

enum check_verdict check_linearizable(const struct check_history *h, uint64_t budget,
                                      struct buf *explanation)
{
    enum check_verdict worst = CHECK_LINEARIZABLE;
    const struct item **items = mem_alloc((h->count + 1) * sizeof(struct item *));

    if (explanation) buf_clear(explanation);
    for (size_t i = 0; i < h->count; i++) items[i] = &h->items[i];
    qsort(items, h->count, sizeof(struct item *), item_compare);
    for (size_t from = 0, to; from < h->count && worst != CHECK_VIOLATION; from = to) {
        for (to = from; to < h->count && items[to]->key == items[from]->key; to++) continue;
        enum check_verdict verdict = judge(items + from, (uint32_t)(to - from), UINT64_MAX, budget);
        if (verdict == CHECK_LINEARIZABLE) continue;
        worst = verdict;
        if (!explanation) continue;
        buf_clear(explanation);
        if (verdict == CHECK_VIOLATION) {
            explain(h, items + from, (uint32_t)(to - from), budget, explanation);
        } else {
            struct bytes key = buf_bytes(&h->texts[items[from]->key]->bytes);
            buf_printf(explanation, "# Key '%.*s': no verdict within %llu steps\n",
                       key.size < 100 ? (int)key.size : 100, (const char *)key.data,
                       (unsigned long long)budget);
        }
    }
    mem_free(items);
    return worst;
}
