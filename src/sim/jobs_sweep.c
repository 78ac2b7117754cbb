/* The end of jobs in a run: whatever still runs is cancelled, all are forgotten, and then nothing
 * may be left of them but the keys that those wrote that were done. */
#include "sim/jobs_internal.h"

#define TTL_JOBS (600 * 1000) /* ms; a snapshot that was made for longer is a job's own */

void clerks_sweep(struct clerks *k)
{
    if (!k) return;
    k->sweeps = true;
    k->clerk[0].next = ASK_LIST;
}

static void put_words(struct caller *c, const char *a, const char *b, const char *name)
{
    caller_put_head(c, 2 + (name != NULL));
    caller_put_word(c, a), caller_put_word(c, b);
    if (name) caller_put_word(c, name);
    caller_put_end(c);
}

void sweep_ask(struct clerks *k, struct caller *c)
{
    caller_begin(c, "what is left of jobs");
    switch (k->clerk[0].next) {
    case ASK_LIST: put_words(c, "JOB", "LIST", NULL); break;
    case ASK_END_CANCEL: put_words(c, "JOB", "CANCEL", k->name); break;
    case ASK_HISTORY: put_words(c, "JOB", "HISTORY", NULL); break;
    case ASK_END_FORGET: put_words(c, "JOB", "FORGET", k->name); break;
    case ASK_TIME: caller_put(c, "TIME", NULL, NULL); break;
    case ASK_SNAPSHOTS: put_words(c, "SNAPSHOT", "LIST", NULL); break;
    default: put_words(c, "KEYS", "into:*", NULL);
    }
}

/* ---- lists of maps ---- */

/* What a map of `pairs` pairs says of `name`. */
static struct reply_view value_of(struct bytes map, uint32_t pairs, const char *name)
{
    struct bytes item[40];
    ASSERT(2 * pairs <= 40);
    if (reply_items(map, item, 2 * pairs))
        for (uint32_t i = 0; i < pairs; i++)
            if (bytes_equal(reply_read(item[2 * i]).text, bytes_str(name)))
                return reply_read(item[2 * i + 1]);
    return (struct reply_view){REPLY_ERROR, 0, {0}};
}

/* The items of an array; *count of them, to be freed. NULL: it is none. */
static struct bytes *items_of(struct bytes whole, uint32_t *count)
{
    struct reply_view v = reply_read(whole);
    if (v.kind != REPLY_MANY) return NULL;
    struct bytes *item = mem_alloc((size_t)(v.number + 1) * sizeof *item);
    (void)reply_items(whole, item, (uint32_t)v.number);
    *count = (uint32_t)v.number;
    return item;
}

/* The first job's name, if there is any job; then `then`, else `otherwise`. */
static bool take_jobs(struct clerks *k, struct bytes whole, enum clerk_ask then,
                      enum clerk_ask otherwise)
{
    uint32_t count;
    struct bytes *item = items_of(whole, &count);
    if (!item) return false;
    if (count) {
        struct bytes name = value_of(item[0], 10, "name").text;
        snprintf(k->name, sizeof k->name, "%.*s", (int)name.size, (const char *)name.data);
    }
    k->clerk[0].next = count ? then : otherwise;
    mem_free(item);
    return true;
}

static bool take_time(struct clerks *k, const struct caller *c, struct bytes whole)
{
    struct bytes part[2];
    int64_t s;
    if (!reply_items(whole, part, 2) || !bytes_to_i64(reply_read(part[0]).text, &s)) return false;
    k->wall_ms = s * 1000;
    k->wall_node = c->node;
    k->clerk[0].next = ASK_SNAPSHOTS;
    return true;
}

/* What is left of a snapshot's time is told by the node's own clock, which may be anywhere. */
static bool take_snapshots(struct clerks *k, const struct caller *c, struct bytes whole)
{
    uint32_t count;
    struct bytes *item = items_of(whole, &count);
    if (!item) return false;
    k->leaks = 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t left = value_of(item[i], 6, "ttl-ms").number; /* 0: none by that clock */
        k->leaks += left && k->wall_ms + left - value_of(item[i], 6, "made-ms").number > TTL_JOBS;
    }
    mem_free(item);
    k->clerk[0].next = c->node == k->wall_node && !k->leaks ? ASK_PUBLISHED : ASK_TIME;
    return true;
}

/* ---- what was published ---- */

static struct book *book_of(struct clerks *k, struct bytes key)
{
    for (uint32_t i = 0; i < k->books; i++) {
        size_t size = strlen(k->book[i].prefix);
        if (key.size > size && memcmp(key.data, k->book[i].prefix, size) == 0) return &k->book[i];
    }
    return NULL;
}

static void judge_key(struct clerks *k, struct bytes key)
{
    char why[200];
    struct book *b = book_of(k, key);
    size_t prefix = b ? strlen(b->prefix) : 0;
    struct bytes rest = bytes_of(key.data + prefix, key.size - prefix);
    if (b) b->found++;
    if (b && b->may && (!b->known || jobs_rows_find(&b->rows, rest))) return;
    snprintf(why, sizeof why, "there is %.*s, which no job that is done has given", (int)key.size,
             (const char *)key.data);
    clerks_wrong(k, b ? b->prefix : "none", why);
}

/* While two groups merge, KEYS may name a key twice (docs/GUARANTEES.md; seed 62). */
static bool is_named_again(const struct bytes *item, uint32_t i)
{
    for (uint32_t j = 0; j < i; j++)
        if (bytes_equal(item[j], item[i])) return true;
    return false;
}

static bool take_published(struct clerks *k, struct bytes whole)
{
    char why[200];
    uint32_t count;
    struct bytes *item = items_of(whole, &count);
    if (!item) return false;
    for (uint32_t i = 0; i < k->books; i++) k->book[i].found = 0;
    for (uint32_t i = 0; i < count; i++)
        if (!is_named_again(item, i)) judge_key(k, reply_read(item[i]).text);
    for (uint32_t i = 0; i < k->books; i++) {
        const struct book *b = &k->book[i];
        bool all = b->found == b->rows.count;
        if (!b->known || all || (!b->must && !b->found)) continue;
        snprintf(why, sizeof why, "%u of %u keys are there", b->found, b->rows.count);
        clerks_wrong(k, b->prefix, why);
    }
    mem_free(item);
    k->clerk[0].next = ASK_NO_MORE;
    k->swept = true;
    return true;
}

void sweep_done(struct clerks *k, struct caller *c, struct bytes whole)
{
    bool good = true;
    switch (k->clerk[0].next) {
    case ASK_LIST: good = take_jobs(k, whole, ASK_END_CANCEL, ASK_HISTORY); break;
    case ASK_END_CANCEL: k->clerk[0].next = ASK_LIST; break;
    case ASK_HISTORY: good = take_jobs(k, whole, ASK_END_FORGET, ASK_TIME); break;
    case ASK_END_FORGET: k->clerk[0].next = ASK_HISTORY; break;
    case ASK_TIME: good = take_time(k, c, whole); break;
    case ASK_SNAPSHOTS: good = take_snapshots(k, c, whole); break;
    default: good = take_published(k, whole);
    }
    if (!good) caller_strange(c, whole);
}

/* ---- what nodes keep ---- */

bool clerks_swept(struct clerks *k, char *missing, size_t size)
{
    struct node_jobs left;
    if (!k) return true;
    if (!k->swept && k->leaks) {
        snprintf(missing, size, "%u snapshots of jobs are left", k->leaks);
        return false;
    }
    if (!k->swept) {
        snprintf(missing, size, "jobs are not swept up: clerk 0 is at %d, of %s: %s",
                 (int)k->clerk[0].next, k->name, k->callers.caller[0].said);
        return false;
    }
    for (uint32_t i = 0; i < k->callers.s->nodes; i++) {
        const struct member *m = &k->callers.s->member[i];
        if (m->state != MEMBER_UP || m->damaged) continue;
        node_jobs(m->node, &left);
        if (!left.rows && !left.attempts && !left.bytes) continue;
        snprintf(missing, size, "node %u keeps %u rows, %u attempts and %u bytes of jobs", i + 1,
                 left.rows, left.attempts, (unsigned)left.bytes);
        if (k->ghosts) { /* seed 100328: it came after the sweep */
            k->swept = false;
            k->clerk[0].next = ASK_LIST;
        }
        return false;
    }
    return true;
}
