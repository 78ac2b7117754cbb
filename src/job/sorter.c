#include "job/sorter.h"
#include "base/assert.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum { FAN_IN = 64, READ_BYTES = 64 << 10, WRITE_BYTES = 256 << 10, MEMORY_MIN = 1 << 20 };

struct pair {
    uint32_t partition;
    struct bytes key, value;
};

struct slot {        /* of a pair in memory; 16 bytes */
    uint64_t prefix; /* the key's first eight, so that most comparisons look no further */
    uint32_t partition;
    uint32_t at; /* of key size, value size (varints), key, value in `data` */
};

struct run {
    uint64_t at, size;
};

struct run_reader {
    int fd;
    uint64_t at, left; /* what is not in `data` yet */
    struct buf data;
    size_t used;
    bool over;
    struct pair pair; /* the one it stands at */
};

struct groups {
    struct sorter *s;
    /* Over memory: */
    size_t next;
    /* Over runs: a heap of readers, the least first. */
    struct run_reader *reader;
    uint32_t heap[FAN_IN], readers;
    /* The pair it stands at; not yet given out if `fresh`. */
    struct pair pair;
    bool fresh, more, in_group, failed;
    struct buf key; /* the group's */
    uint32_t partition;
};

struct sorter_run {
    struct sorter *s;
    struct buf data;
    struct run run;
    bool failed;
};

struct sorter {
    struct sorter_options o;
    struct buf data;
    struct slot *slot, *scratch;
    size_t count, room;
    struct run *run;
    size_t runs, run_room;
    uint64_t spilled;
    struct groups all;
    struct run_reader reader[FAN_IN];
    char error[SORTER_ERROR_MAX];
};

struct sorter *sorter_new(const struct sorter_options *o)
{
    struct sorter *s = mem_zalloc(sizeof *s);
    s->o = *o;
    if (s->o.memory_max < MEMORY_MIN) s->o.memory_max = MEMORY_MIN;
    if (s->o.memory_max > UINT32_MAX) s->o.memory_max = UINT32_MAX;
    return s;
}

static void groups_deinit(struct groups *g)
{
    for (uint32_t i = 0; g->reader && i < FAN_IN; i++) {
        buf_deinit(&g->reader[i].data);
        g->reader[i] = (struct run_reader){0};
    }
    buf_deinit(&g->key);
}

void sorter_free(struct sorter *s)
{
    if (!s) return;
    groups_deinit(&s->all);
    buf_deinit(&s->data);
    mem_free(s->slot);
    mem_free(s->scratch);
    mem_free(s->run);
    mem_free(s);
}

const char *sorter_error(const struct sorter *s)
{
    return s->error;
}

uint64_t sorter_spilled(const struct sorter *s)
{
    return s->spilled;
}

/* ---- order ---- */

static struct pair pair_at(const struct sorter *s, const struct slot *slot)
{
    struct reader r = {s->data.data + slot->at, s->data.data + s->data.size, false};
    uint64_t key = reader_varint(&r), value = reader_varint(&r);
    return (struct pair){slot->partition, bytes_of(r.at, key), bytes_of(r.at + key, value)};
}

static uint64_t prefix_of(struct bytes key)
{
    uint8_t p[8] = {0};
    memcpy(p, key.data, key.size < 8 ? key.size : 8);
    return be64_get(p);
}

/* a is not after b. */
static bool in_order(const struct sorter *s, const struct slot *a, const struct slot *b)
{
    if (a->partition != b->partition) return a->partition < b->partition;
    if (a->prefix != b->prefix) return a->prefix < b->prefix;
    return bytes_compare(pair_at(s, a).key, pair_at(s, b).key) <= 0;
}

static void merge_halves(const struct sorter *s, struct slot *from, struct slot *to, size_t lo,
                         size_t mid, size_t hi)
{
    size_t a = lo, b = mid;
    for (size_t i = lo; i < hi; i++)
        to[i] = b >= hi || (a < mid && in_order(s, &from[a], &from[b])) ? from[a++] : from[b++];
}

/* Short pieces by insertion, then merged from below: stable, and without a recursion. */
static void sort(struct sorter *s)
{
    enum { PIECE = 12 };
    struct slot *from = s->slot, *to = s->scratch;
    for (size_t lo = 0; lo < s->count; lo += PIECE) {
        size_t hi = lo + PIECE < s->count ? lo + PIECE : s->count;
        for (size_t i = lo + 1; i < hi; i++) {
            struct slot x = from[i];
            size_t j = i;
            for (; j > lo && !in_order(s, &from[j - 1], &x); j--) from[j] = from[j - 1];
            from[j] = x;
        }
    }
    for (size_t width = PIECE; width < s->count; width *= 2) {
        for (size_t lo = 0; lo < s->count; lo += 2 * width) {
            size_t mid = lo + width < s->count ? lo + width : s->count;
            size_t hi = lo + 2 * width < s->count ? lo + 2 * width : s->count;
            merge_halves(s, from, to, lo, mid, hi);
        }
        struct slot *t = from;
        from = to, to = t;
    }
    s->slot = from;
    s->scratch = to;
}

static int compare_pairs(const struct pair *a, const struct pair *b)
{
    if (a->partition != b->partition) return a->partition < b->partition ? -1 : 1;
    return bytes_compare(a->key, b->key);
}

/* ---- runs ---- */

static void flush(struct sorter_run *out)
{
    struct sorter *s = out->s;
    size_t at = 0;
    if (out->failed) return;
    if (s->spilled + out->data.size > s->o.spill_max) {
        (void)snprintf(
            s->error, sizeof s->error,
            "more than %llu bytes would be spilled to disk; raise LIMITS SPILL, or emit less",
            (unsigned long long)s->o.spill_max);
        out->failed = true;
    }
    unsigned long long from = s->spilled;
    while (!out->failed && at < out->data.size) {
        ssize_t n = pwrite(s->o.spill_fd, out->data.data + at, out->data.size - at,
                           (off_t)(s->spilled + at));
        if (n < 0 && errno == EINTR) continue;
        if (n > 0) {
            at += (size_t)n;
            continue;
        }
        (void)snprintf(
            s->error, sizeof s->error,
            "the spill file cannot be written after %llu bytes (%s); free disk space, or emit less",
            from + at, n ? strerror(errno) : "no room");
        out->failed = true;
    }
    s->spilled += at;
    out->run.size += at;
    buf_clear(&out->data);
}

void sorter_write(struct sorter_run *out, uint32_t partition, struct bytes key, struct bytes value)
{
    buf_varint(&out->data, partition);
    buf_varint(&out->data, key.size);
    buf_varint(&out->data, value.size);
    buf_append_bytes(&out->data, key);
    buf_append_bytes(&out->data, value);
    if (out->data.size >= WRITE_BYTES) flush(out);
}

/* The rest of a reader's data and more after it, until `size` bytes are there or the run is over.
 */
static bool refill(struct sorter *s, struct run_reader *r, size_t size)
{
    buf_drop_front(&r->data, r->used);
    r->used = 0;
    while (r->data.size < size && r->left) {
        size_t want = size - r->data.size > READ_BYTES ? size - r->data.size : READ_BYTES;
        if (want > r->left) want = r->left;
        ssize_t n = pread(r->fd, buf_reserve(&r->data, want), want, (off_t)r->at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            (void)snprintf(s->error, sizeof s->error, "the spill file cannot be read (%s)",
                           n ? strerror(errno) : "it is shorter than what was written");
            return false;
        }
        r->data.size += (size_t)n;
        r->at += (uint64_t)n;
        r->left -= (uint64_t)n;
    }
    return true;
}

static bool damaged(struct sorter *s)
{
    (void)snprintf(s->error, sizeof s->error,
                   "the spill file is damaged: what is read is not what was written");
    return false;
}

/* Moves a reader to its next pair, or to its end. */
static bool advance(struct sorter *s, struct run_reader *r)
{
    if (r->data.size - r->used < 24 && r->left && !refill(s, r, 24)) return false;
    if (r->used == r->data.size) {
        r->over = true;
        return true;
    }
    struct reader in = reader_of(bytes_of(r->data.data + r->used, r->data.size - r->used));
    uint64_t partition = reader_varint(&in), key = reader_varint(&in), value = reader_varint(&in);
    if (in.bad || key > SORTER_KEY_MAX || value > SORTER_VALUE_MAX) return damaged(s);
    size_t head = (size_t)(in.at - r->data.data) - r->used, size = head + key + value;
    if (r->data.size - r->used < size && !refill(s, r, size)) return false;
    if (r->data.size - r->used < size) return damaged(s);
    const uint8_t *at = r->data.data + r->used + head;
    r->pair = (struct pair){(uint32_t)partition, bytes_of(at, key), bytes_of(at + key, value)};
    r->used += size;
    return true;
}

/* ---- the walk ---- */

/* Runs are numbered by age, so of equal keys the older run's come first. */
static bool before(const struct groups *g, uint32_t a, uint32_t b)
{
    int order = compare_pairs(&g->reader[a].pair, &g->reader[b].pair);
    return order ? order < 0 : a < b;
}

static void sift(struct groups *g, uint32_t i)
{
    for (;;) {
        uint32_t least = i;
        for (uint32_t c = 2 * i + 1; c <= 2 * i + 2 && c < g->readers; c++)
            if (before(g, g->heap[c], g->heap[least])) least = c;
        if (least == i) return;
        uint32_t t = g->heap[i];
        g->heap[i] = g->heap[least];
        g->heap[least] = t;
        i = least;
    }
}

static bool open_runs(struct groups *g, struct sorter *s, const struct run *run, size_t count)
{
    ASSERT(count <= FAN_IN);
    *g = (struct groups){.s = s, .reader = s->reader};
    for (uint32_t i = 0; i < count; i++) {
        s->reader[i] =
            (struct run_reader){.fd = s->o.spill_fd, .at = run[i].at, .left = run[i].size};
        if (!advance(s, &s->reader[i])) return false;
        if (!s->reader[i].over) g->heap[g->readers++] = i;
    }
    for (uint32_t i = g->readers; i-- > 0;) sift(g, i);
    return true;
}

/* The reader of the pair that was given out moves on only now: the pair lay in its buffer. */
static bool step_runs(struct groups *g)
{
    if (g->more) {
        struct run_reader *r = &g->reader[g->heap[0]];
        if (!advance(g->s, r)) return false;
        if (r->over) g->heap[0] = g->heap[--g->readers];
        sift(g, 0);
    }
    g->more = g->readers > 0;
    if (g->more) g->pair = g->reader[g->heap[0]].pair;
    return true;
}

static bool step(struct groups *g)
{
    if (g->failed) return false;
    if (g->reader) {
        g->failed = !step_runs(g);
    } else {
        g->more = g->next < g->s->count;
        if (g->more) g->pair = pair_at(g->s, &g->s->slot[g->next++]);
    }
    g->fresh = g->more;
    return !g->failed;
}

static bool of_this_group(const struct groups *g)
{
    return g->fresh && g->pair.partition == g->partition &&
           bytes_equal(g->pair.key, buf_bytes(&g->key));
}

int groups_value(struct groups *g, struct bytes *value)
{
    if (!g->in_group) return 0;
    if (!g->fresh && !step(g)) return -1;
    if (!of_this_group(g)) {
        g->in_group = false;
        return 0;
    }
    g->fresh = false;
    *value = g->pair.value;
    return 1;
}

int groups_next(struct groups *g, uint32_t *partition, struct bytes *key)
{
    struct bytes skipped;
    int r;
    while ((r = groups_value(g, &skipped)) > 0) continue;
    if (r < 0) return -1;
    if (!g->fresh && !step(g)) return -1;
    if (!g->fresh) return 0;
    buf_clear(&g->key);
    buf_append_bytes(&g->key, g->pair.key);
    *partition = g->partition = g->pair.partition;
    *key = buf_bytes(&g->key);
    g->in_group = true;
    return 1;
}

/* ---- spilling ---- */

static bool write_groups(struct sorter *s, struct groups *g, struct sorter_run *out, bool combine)
{
    uint32_t partition;
    struct bytes key, value;
    int r;
    while (!out->failed && (r = groups_next(g, &partition, &key)) != 0) {
        if (r < 0) return false;
        if (combine) {
            if (!s->o.combine(s->o.ctx, g, partition, key, out)) return false;
            continue;
        }
        while ((r = groups_value(g, &value)) > 0) sorter_write(out, partition, key, value);
        if (r < 0) return false;
    }
    flush(out);
    return !out->failed;
}

static void append_run(struct sorter *s, struct run run)
{
    if (s->runs == s->run_room) {
        s->run_room = s->run_room ? s->run_room * 2 : 16;
        s->run = mem_realloc(s->run, s->run_room * sizeof *s->run);
    }
    s->run[s->runs++] = run;
}

static bool spill(struct sorter *s)
{
    struct groups g = {.s = s};
    struct sorter_run out = {.s = s, .run = {.at = s->spilled}};
    if (s->o.spill_fd < 0) {
        (void)snprintf(s->error, sizeof s->error,
                       "what was emitted does not fit into memory, and there is no spill file");
        return false;
    }
    sort(s);
    bool good = write_groups(s, &g, &out, s->o.combine != NULL);
    groups_deinit(&g);
    buf_deinit(&out.data);
    if (!good) return false;
    append_run(s, out.run);
    s->count = 0;
    buf_clear(&s->data);
    return true;
}

/* The oldest FAN_IN runs become one, which is the oldest then. */
static bool merge_oldest(struct sorter *s)
{
    struct groups g;
    struct sorter_run out = {.s = s, .run = {.at = s->spilled}};
    bool good = open_runs(&g, s, s->run, FAN_IN) && write_groups(s, &g, &out, s->o.combine != NULL);
    groups_deinit(&g);
    buf_deinit(&out.data);
    if (!good) return false;
    s->run[0] = out.run;
    memmove(s->run + 1, s->run + FAN_IN, (s->runs - FAN_IN) * sizeof *s->run);
    s->runs -= FAN_IN - 1;
    return true;
}

static void grow_slots(struct sorter *s)
{
    s->room = s->room ? s->room * 2 : 1024;
    s->slot = mem_realloc(s->slot, s->room * sizeof *s->slot);
    s->scratch = mem_realloc(s->scratch, s->room * sizeof *s->scratch);
}

/* Buffers double when they grow: what they would take after that is what counts. */
static size_t memory_with(const struct sorter *s, size_t more)
{
    size_t data = s->data.capacity, slots = s->room;
    if (s->data.size + more > data) data = (s->data.size + more) * 2;
    if (s->count == slots) slots = slots ? slots * 2 : 1024;
    return data + slots * 2 * sizeof *s->slot;
}

bool sorter_add(struct sorter *s, uint32_t partition, struct bytes key, struct bytes value)
{
    ASSERT(key.size <= SORTER_KEY_MAX && value.size <= SORTER_VALUE_MAX);
    size_t more = key.size + value.size + 20;
    if (s->error[0]) return false;
    if (s->count && memory_with(s, more) > s->o.memory_max && !spill(s)) return false;
    if (s->count == s->room) grow_slots(s);
    s->slot[s->count++] = (struct slot){prefix_of(key), partition, (uint32_t)s->data.size};
    buf_varint(&s->data, key.size);
    buf_varint(&s->data, value.size);
    buf_append_bytes(&s->data, key);
    buf_append_bytes(&s->data, value);
    return true;
}

struct groups *sorter_groups(struct sorter *s)
{
    if (s->error[0]) return NULL;
    if (!s->runs) {
        sort(s);
        s->all = (struct groups){.s = s};
        return &s->all;
    }
    if (s->count && !spill(s)) return NULL;
    while (s->runs > FAN_IN)
        if (!merge_oldest(s)) return NULL;
    return open_runs(&s->all, s, s->run, s->runs) ? &s->all : NULL;
}
