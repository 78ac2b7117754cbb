/* Per group: where the latest record of each position is, and what the group must not forget
 * (log_internal.h, L3).
 *
 * Positions live in pages of 16, kept in order: appends go to the last page nearly always, a jump
 * (after a snapshot) costs nothing, and a cold group has one page. */
#include "base/assert.h"
#include "base/mem.h"
#include "store/log_internal.h"

struct log_group *index_group(struct log *l, uint32_t id)
{
    if (l->group_cache && l->group_cache->id == id) return l->group_cache;
    struct log_group *g = map_get(&l->groups, id);
    if (g) l->group_cache = g;
    return g;
}

/* ---- runs: live places by segment ---- */

static uint32_t run_find(const struct log_group *g, uint32_t sequence)
{
    for (uint32_t i = g->run_count; i-- > 0;)
        if (g->run[i].sequence == sequence) return i;
    return g->run_count;
}

static void run_add(struct log *l, struct log_group *g, const struct log_place *p)
{
    struct index_run *last = g->run_count ? &g->run[g->run_count - 1] : NULL;
    if (!last || last->sequence != p->sequence) {
        ASSERT(!last || last->sequence < p->sequence);
        if (g->run_count == g->run_capacity) {
            g->run_capacity = g->run_capacity ? 2 * g->run_capacity : 2;
            g->run = mem_realloc(g->run, g->run_capacity * sizeof *g->run);
        }
        last = &g->run[g->run_count++];
        *last = (struct index_run){.sequence = p->sequence};
    }
    last->live++;
    last->bytes += p->size;
    log_segment_of(l, p->sequence)->live++;
}

/* replaced: by the record that was just appended; else the engine has it. */
static void run_remove(struct log *l, struct log_group *g, const struct log_place *p, bool replaced)
{
    uint32_t i = run_find(g, p->sequence);
    ASSERT(i < g->run_count && g->run[i].live > 0);
    struct log_segment *s = log_segment_of(l, p->sequence);
    ASSERT(s->live > 0);
    s->live--;
    if (replaced) s->dead_lsn = l->appended;
    g->run[i].live--;
    g->run[i].bytes -= p->size;
    if (g->run[i].live) return;
    memmove(&g->run[i], &g->run[i + 1], (g->run_count - i - 1) * sizeof *g->run);
    g->run_count--;
}

/* ---- pages ---- */

/* First page whose number is not below `number`. */
static uint32_t page_lower(const struct log_group *g, uint64_t number)
{
    uint32_t low = 0, high = g->page_count;
    if (high && g->page[high - 1]->number < number) return high;
    if (high && g->page[high - 1]->number == number) return high - 1;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (g->page[mid]->number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct index_page *page_get(struct log_group *g, uint64_t number)
{
    uint32_t i = page_lower(g, number);
    if (i < g->page_count && g->page[i]->number == number) return g->page[i];
    if (g->page_count == g->page_capacity) {
        g->page_capacity = g->page_capacity ? 2 * g->page_capacity : 4;
        g->page = mem_realloc(g->page, g->page_capacity * sizeof(struct index_page *));
    }
    memmove(&g->page[i + 1], &g->page[i], (g->page_count - i) * sizeof(struct index_page *));
    g->page_count++;
    g->page[i] = mem_zalloc(sizeof *g->page[i]);
    g->page[i]->number = number;
    return g->page[i];
}

const struct log_place *index_find(const struct log_group *g, uint64_t position)
{
    uint32_t i = page_lower(g, position / INDEX_PAGE);
    if (position < g->floor || i == g->page_count || g->page[i]->number != position / INDEX_PAGE)
        return NULL;
    const struct log_place *p = &g->page[i]->place[position % INDEX_PAGE];
    return p->size ? p : NULL;
}

uint64_t index_first(const struct log_group *g)
{
    for (uint32_t i = 0; i < g->page_count; i++)
        for (uint32_t k = 0; g->page[i]->live && k < INDEX_PAGE; k++)
            if (g->page[i]->place[k].size) return g->page[i]->number * INDEX_PAGE + k;
    return 0;
}

uint64_t index_first_in(const struct log_group *g, uint64_t sequence)
{
    for (uint32_t i = 0; i < g->page_count; i++) {
        const struct index_page *page = g->page[i];
        for (uint32_t k = 0; k < INDEX_PAGE; k++)
            if (page->place[k].size && page->place[k].sequence == sequence)
                return page->number * INDEX_PAGE + k;
    }
    return 0;
}

static void forget_below(struct log *l, struct log_group *g, struct index_page *p, uint64_t floor)
{
    uint64_t from = p->number * INDEX_PAGE;
    for (uint32_t k = 0; k < INDEX_PAGE && from + k < floor; k++) {
        if (!p->place[k].size) continue;
        run_remove(l, g, &p->place[k], false);
        p->place[k] = (struct log_place){0};
        p->live--;
    }
}

void index_set_floor(struct log *l, struct log_group *g, uint64_t floor)
{
    if (floor <= g->floor) return;
    g->floor = floor;
    uint32_t gone = 0;
    while (gone < g->page_count && g->page[gone]->number * INDEX_PAGE < floor) {
        forget_below(l, g, g->page[gone], floor);
        if (g->page[gone]->live) break;
        mem_free(g->page[gone++]);
    }
    if (!gone) return;
    memmove(g->page, g->page + gone, (g->page_count - gone) * sizeof(struct index_page *));
    g->page_count -= gone;
}

/* ---- records ---- */

static struct log_group *group_get(struct log *l, uint32_t id)
{
    struct log_group *g = index_group(l, id);
    if (g) return g;
    g = mem_zalloc(sizeof *g);
    g->id = id;
    map_put(&l->groups, id, g);
    return l->group_cache = g;
}

static void promise_remove(struct log *l, const struct log_group *g)
{
    if (!g->promise_sequence) return;
    struct log_segment *s = log_segment_of(l, g->promise_sequence);
    ASSERT(s->promises > 0);
    s->promises--;
    s->dead_lsn = l->appended;
}

static void note_promise(struct log *l, struct log_group *g, paxos_ballot ballot, uint64_t sequence)
{
    if (ballot < g->promised) return;
    g->promised = ballot;
    if (g->promise_sequence == sequence) return;
    promise_remove(l, g);
    g->promise_sequence = sequence;
    log_segment_of(l, sequence)->promises++;
}

static void note_entry(struct log *l, struct log_group *g, uint64_t position,
                       const struct log_place *place)
{
    if (position < g->floor) return;
    struct index_page *p = page_get(g, position / INDEX_PAGE);
    struct log_place *at = &p->place[position % INDEX_PAGE];
    if (at->size)
        run_remove(l, g, at, true);
    else
        p->live++;
    *at = *place;
    run_add(l, g, at);
}

void index_record(struct log *l, const struct log_record *r, const struct log_place *place)
{
    if (r->type == LOG_BEAT) return;
    if (r->type == LOG_DROP) {
        index_drop(l, r->group);
        return;
    }
    struct log_group *g = group_get(l, r->group);
    g->replica = r->replica;
    if (r->chosen > g->chosen) g->chosen = r->chosen;
    if (r->type == LOG_PROMISE) note_promise(l, g, r->promised, place->sequence);
    if (r->type == LOG_ENTRY) {
        note_promise(l, g, r->entry.ballot, place->sequence);
        note_entry(l, g, r->entry.position, place);
    }
    /* A group of which nothing but a watermark is known must stay known all the same
     * (log_has_group). */
    if (!g->promise_sequence) note_promise(l, g, 0, place->sequence);
}

static void group_free(struct log_group *g)
{
    for (uint32_t i = 0; i < g->page_count; i++) mem_free(g->page[i]);
    mem_free(g->page);
    mem_free(g->run);
    mem_free(g);
}

void index_drop(struct log *l, uint32_t id)
{
    struct log_group *g = map_remove(&l->groups, id);
    if (!g) return;
    for (uint32_t i = 0; i < g->run_count; i++)
        log_segment_of(l, g->run[i].sequence)->dead_lsn = l->appended;
    index_set_floor(l, g, UINT64_MAX);
    promise_remove(l, g);
    l->group_cache = NULL;
    group_free(g);
}

void index_deinit(struct log *l)
{
    size_t at = 0;
    uint64_t id;
    void *g;
    while (map_next(&l->groups, &at, &id, &g)) group_free(g);
    map_deinit(&l->groups);
    l->group_cache = NULL;
}

static void group_check(const struct log *l, const struct log_group *g, uint64_t *live)
{
    uint64_t places = 0, runs = 0;
    for (uint32_t i = 0; i < g->page_count; i++) {
        const struct index_page *p = g->page[i];
        uint32_t here = 0;
        ASSERT(i == 0 || g->page[i - 1]->number < p->number);
        for (uint32_t k = 0; k < INDEX_PAGE; k++) {
            if (!p->place[k].size) continue;
            here++;
            ASSERT(p->number * INDEX_PAGE + k >= g->floor);
            live[p->place[k].sequence - l->segment[0]->sequence]++;
        }
        ASSERT(here == p->live);
        places += here;
    }
    for (uint32_t i = 0; i < g->run_count; i++) runs += g->run[i].live;
    ASSERT(places == runs);
}

void index_check(const struct log *l)
{
    uint64_t *live = mem_zalloc(l->segment_count * sizeof *live),
             *promises = mem_zalloc(l->segment_count * sizeof *live);
    size_t at = 0;
    uint64_t id;
    void *g;
    while (map_next(&l->groups, &at, &id, &g)) {
        group_check(l, g, live);
        promises[((struct log_group *)g)->promise_sequence - l->segment[0]->sequence]++;
    }
    for (uint32_t i = 0; i < l->segment_count; i++) {
        ASSERT(l->segment[i]->live == live[i]);
        ASSERT(l->segment[i]->promises == promises[i]);
    }
    mem_free(live);
    mem_free(promises);
}
