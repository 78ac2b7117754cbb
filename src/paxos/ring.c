/* The slots of one group's log in memory: who owns which value, what is retained, and the one place
 * where an entry becomes chosen. See the picture in internal.h. */
#include "paxos/internal.h"

#include <string.h>

struct paxos_slot *ring_at(const struct paxos *px, uint64_t position)
{
    ASSERT(position > px->floor && position - px->floor <= px->capacity);
    return &px->ring[position & (px->capacity - 1)];
}

struct paxos_entry *ring_entry(const struct paxos *px, uint64_t position)
{
    if (position <= px->floor || position - px->floor > px->capacity) return NULL;
    struct paxos_entry *e = &ring_at(px, position)->entry;
    ASSERT(e->position == 0 || e->position == position);
    return e->position ? e : NULL;
}

/* The leader has at most `window` data entries, a CONFIG entry and one barrier above what is
 * chosen, and a follower hears of each choice before it is sent what this lets in; so more than
 * that is never needed (docs/PAXOS.md, P12). */
uint64_t ring_limit(const struct paxos *px)
{
    return px->chosen + px->opt.window_entries + 3;
}

bool entry_plausible(const struct paxos_entry *e)
{
    if (e->position == 0 || e->position >= UINT64_MAX / 2 || e->kind > PAXOS_CONFIG) return false;
    if (e->ballot == 0 || e->born == 0 || e->born > e->ballot) return false;
    if ((e->size == 0) != (e->value == NULL)) return false;
    if (e->kind == PAXOS_NOOP) return e->size == 0 && e->base.position == 0 && e->base.born == 0;
    if (e->kind == PAXOS_CONFIG && e->size == 0) return false;
    return e->base.position < e->position && e->base.born <= e->born;
}

void ring_release(struct turn *t, void *value)
{
    if (value) turn_emit(t, (struct paxos_effect){.type = PAXOS_FX_RELEASE, .value = value});
}

static void pending_drop(struct turn *t, struct paxos_slot *s)
{
    if (s->pending.position) ring_release(t, s->pending.value);
    s->pending = (struct paxos_entry){0};
}

/* Lets go of the lowest retained entry. */
static void floor_raise(struct turn *t)
{
    struct paxos *px = t->px;
    ASSERT(px->floor < px->chosen);

    struct paxos_slot *s = ring_at(px, px->floor + 1);
    ASSERT(s->entry.position == px->floor + 1 && s->pending.position == 0);
    px->retained_bytes -= s->entry.size;
    ring_release(t, s->entry.value);
    memset(s, 0, sizeof *s);
    px->floor += 1;
}

bool ring_room(struct turn *t, uint64_t position)
{
    struct paxos *px = t->px;
    while (position - px->floor > px->capacity && px->floor < px->chosen) floor_raise(t);
    return position - px->floor <= px->capacity;
}

static void switch_to(struct turn *t, const struct paxos_entry *e)
{
    struct paxos_config c;
    bool sound = config_read(t->px, e, &c);
    ASSERT(sound); /* message_plausible, leader_propose and paxos_restore_entry saw to it */
    config_switch(t, &c, (struct paxos_id){e->position, e->born});
}

void ring_accept(struct turn *t, struct paxos_entry *e, uint64_t chosen)
{
    struct paxos *px = t->px;
    struct paxos_slot *s = ring_at(px, e->position);
    ASSERT(e->position > px->chosen);
    ASSERT(s->entry.position == 0 || s->entry.position == e->position);

    void *old = s->entry.value;
    if (e->position <= px->last && s->entry.position) px->inflight_bytes -= s->entry.size;
    s->entry = *e;
    e->value = NULL;
    px->inflight_bytes += s->entry.size;
    s->lsn = ++px->lsn;
    if (s->entry.position > px->last) px->last = s->entry.position;
    turn_emit(
        t, (struct paxos_effect){
               .type = PAXOS_FX_APPEND_ENTRY, .lsn = s->lsn, .entry = &s->entry, .chosen = chosen});
    ring_release(t, old);
    if (MUTANT(MUTANT_CONFIG_ON_ACCEPT) && config_follows(px, &s->entry))
        switch_to(t, &s->entry), px->switched = false;
}

void ring_hold(struct turn *t, struct paxos_entry *e)
{
    struct paxos_slot *s = ring_at(t->px, e->position);
    ASSERT(e->position > t->px->chosen);
    bool keep = s->pending.position && s->pending.ballot >= e->ballot;
    if (MUTANT(MUTANT_LOWEST_BALLOT_WINS))
        keep = s->pending.position && s->pending.ballot <= e->ballot;
    if (keep) return; /* the caller releases e */

    pending_drop(t, s);
    s->pending = *e;
    e->value = NULL;
}

void ring_clear_pending(struct turn *t)
{
    for (uint32_t i = 0; i < t->px->capacity; i++) pending_drop(t, &t->px->ring[i]);
}

/* Is `e` the entry that set the present configuration? */
static bool sets_config(const struct paxos *px, const struct paxos_entry *e)
{
    return e->kind == PAXOS_CONFIG && e->position == px->opt.config_id.position &&
           e->born == px->opt.config_id.born;
}

/* The one place where an entry becomes chosen. Validity is a function of the chosen entries below
 * alone, hence the same on every replica: that is the effect chain (PROTOCOLS 0.1; Zab's primary
 * order, Junqueira et al., DSN 2011, by another road). */
void ring_choose(struct turn *t)
{
    struct paxos *px = t->px;
    struct paxos_slot *s = ring_at(px, px->chosen + 1);
    struct paxos_entry *e = &s->entry;
    ASSERT(e->position == px->chosen + 1 && px->chosen < px->last);
    ASSERT(px->inflight_bytes >= e->size && !px->installing);

    pending_drop(t, s);
    bool follows = config_follows(px, e);
    bool valid = e->kind == PAXOS_DATA && e->base.position == px->last_valid.position &&
                 e->base.born == px->last_valid.born;
    if (MUTANT(MUTANT_IGNORE_BASE)) valid = e->kind == PAXOS_DATA;
    if (valid) px->last_valid = (struct paxos_id){e->position, e->born};
    px->chosen += 1;
    if (px->streamed < px->chosen) px->streamed = px->chosen;
    if (px->heard < px->chosen) px->heard = px->chosen;
    px->inflight_bytes -= e->size;
    if (px->config_at == e->position) px->config_at = 0;
    if (follows) switch_to(t, e);

    bool retain = px->role == PAXOS_LEADER;
    turn_emit(t, (struct paxos_effect){.type = PAXOS_FX_CHOSEN,
                                       .entry = e,
                                       .valid = valid || sets_config(px, e),
                                       .position = e->position,
                                       .take_value = !retain && e->value != NULL});
    if (retain) {
        px->retained_bytes += e->size;
    } else {
        ASSERT(px->floor + 1 == px->chosen);
        memset(s, 0, sizeof *s);
        px->floor = px->chosen;
    }
}

void ring_trim(struct turn *t)
{
    struct paxos *px = t->px;
    uint64_t needed = px->chosen;
    for (int i = 0; px->role == PAXOS_LEADER && i < px->opt.config.count; i++)
        if (i != px->self && px->peer[i].live && px->peer[i].match < needed)
            needed = px->peer[i].match;

    uint64_t most =
        px->opt.window_entries + 4; /* so that a full window always fits beside what is retained */
    while (px->floor < px->chosen &&
           (px->floor < needed || px->retained_bytes > px->opt.retain_bytes ||
            px->chosen - px->floor > most))
        floor_raise(t);
}
