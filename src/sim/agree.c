/* Agreement: every replica, in every life, applies the same entries in the same order with the same
 * effects, an entry is valid exactly if it stands on the last valid one (PROTOCOLS 0.1), and a
 * configuration exactly if it follows the one in force. Where a replica's state comes from
 * somewhere else (its store, a snapshot, a split), it is the state that the others had there. */
#include "sim/members.h"

#include <inttypes.h>

#define ID "%" PRIu64 "@%" PRIx64

static bool id_equal(struct paxos_id a, struct paxos_id b)
{
    return a.position == b.position && a.born == b.born;
}

static struct agreed *entry_at(const struct chain *c, uint64_t position)
{
    return position > c->start && position <= c->last ? &c->entry[position - c->start - 1] : NULL;
}

static struct paxos_id valid_at(const struct chain *c, uint64_t position)
{
    const struct agreed *e = entry_at(c, position);
    return e ? e->last_valid : c->start_id;
}

static struct agreed *agree_add(struct chain *c)
{
    uint64_t count = c->last - c->start;
    if (count == c->capacity) {
        c->capacity = c->capacity ? 2 * c->capacity : 256;
        c->entry = mem_realloc(c->entry, c->capacity * sizeof *c->entry);
    }
    c->last++;
    return &c->entry[count];
}

bool agree_configured(const struct agreement *a, uint32_t group, uint64_t position)
{
    const struct chain *c = &a->chain[group];
    const struct agreed *e = entry_at(c, position);
    return position == c->start || (e && e->kind == PAXOS_CONFIG && e->valid);
}

/* ---- entries ---- */

static void agree_first(struct member *m, uint32_t group, const struct paxos_entry *e, bool valid,
                        uint64_t effects_hash)
{
    struct sim *s = m->s;
    struct chain *c = &s->agreement.chain[group];
    struct paxos_id last = valid_at(c, c->last), id = {e->position, e->born};
    bool config = e->kind == PAXOS_CONFIG;
    struct paxos_id base = config ? c->config : last;
    bool stands = e->kind != PAXOS_NOOP && id_equal(e->base, base);

    if (stands != valid)
        sim_fail(s, SIM_AGREEMENT,
                 "node %u group %u position %" PRIu64 ": base " ID ", last valid " ID
                 ", taken as %s",
                 m->host + 1, group, e->position, e->base.position, e->base.born, base.position,
                 base.born, valid ? "valid" : "invalid");
    *agree_add(c) = (struct agreed){.base = e->base,
                                    .last_valid = valid && !config ? id : last,
                                    .born = e->born,
                                    .hash = e->hash,
                                    .effects_hash = effects_hash,
                                    .size = e->size,
                                    .kind = e->kind,
                                    .valid = valid};
    if (config && valid) {
        c->config = id;
        SIM_COUNT(s, configs);
    }
    s->result->cover.noops += e->kind == PAXOS_NOOP;
    s->result->cover.invalid += e->kind == PAXOS_DATA && !valid;
    s->result->cover.reproposed += e->born != e->ballot;
}

/* Who was born with a younger configuration passes older ones over. */
static bool agree_valid(const struct agreed *was, const struct paxos_entry *e, bool valid)
{
    return was->valid == valid || (e->kind == PAXOS_CONFIG && !valid);
}

static void agree_same(struct member *m, uint32_t group, const struct paxos_entry *e, bool valid,
                       uint64_t effects_hash)
{
    const struct agreed *was = entry_at(&m->s->agreement.chain[group], e->position);
    if (was->kind == e->kind && was->born == e->born && was->hash == e->hash &&
        was->size == e->size && id_equal(was->base, e->base) && agree_valid(was, e, valid) &&
        was->effects_hash == effects_hash)
        return;
    sim_fail(m->s, SIM_AGREEMENT,
             "node %u group %u position %" PRIu64 ": applied kind %u born %" PRIx64 " hash %" PRIx64
             " %s effects %" PRIx64 ", others kind %u born %" PRIx64 " hash %" PRIx64
             " %s effects %" PRIx64,
             m->host + 1, group, e->position, e->kind, e->born, e->hash,
             valid ? "valid" : "invalid", effects_hash, was->kind, was->born, was->hash,
             was->valid ? "valid" : "invalid", was->effects_hash);
}

static bool group_is_known(struct member *m, uint32_t group)
{
    if (group < SIM_GROUPS_MAX && m->s->agreement.chain[group].known) return true;
    sim_fail(m->s, SIM_AGREEMENT, "node %u has something of group %u, which there is not",
             m->host + 1, group);
    return false;
}

void agree_applied(struct member *m, uint32_t group, const struct paxos_entry *e, bool valid,
                   uint64_t effects_hash)
{
    struct sim *s = m->s;
    if (!group_is_known(m, group)) return;
    struct seat *seat = &m->seat[group];
    struct chain *c = &s->agreement.chain[group];
    if (!seat->replica || e->position != seat->applied + 1 || e->position <= c->start) {
        sim_fail(s, SIM_AGREEMENT,
                 "node %u group %u replica %u applied position %" PRIu64 " after %" PRIu64,
                 m->host + 1, group, seat->replica, e->position, seat->applied);
        return;
    }
    seat->applied = e->position;
    SIM_COUNT(s, applied);
    world_note(s->w, 'A', (uint64_t)m->host << 32 | group, e->position ^ e->hash);
    if (e->position == c->last + 1)
        agree_first(m, group, e, valid, effects_hash);
    else if (e->position <= c->last)
        agree_same(m, group, e, valid, effects_hash);
    else
        sim_fail(s, SIM_AGREEMENT,
                 "node %u group %u applied position %" PRIu64 ", but nobody the one before",
                 m->host + 1, group, e->position);
}

/* ---- replicas ---- */

/* The first that is heard of a group: an entry of another one bore it. */
static void chain_begin(struct member *m, uint32_t group, struct paxos_id id)
{
    struct agreement *a = &m->s->agreement;
    struct chain *c = &a->chain[group];
    for (uint32_t g = 0; g < SIM_GROUPS_MAX && !c->known; g++) {
        const struct agreed *e = a->chain[g].known ? entry_at(&a->chain[g], id.position) : NULL;
        c->known = e && e->valid && e->kind == PAXOS_DATA && e->born == id.born;
    }
    c->start = c->last = id.position;
    c->start_id = c->config = id;
}

static void state_is(struct member *m, uint32_t group, uint64_t position,
                     struct paxos_id last_valid)
{
    const struct chain *c = &m->s->agreement.chain[group];
    m->seat[group].applied = position;
    if (position == 0) return; /* none yet */
    if (position >= c->start && position <= c->last && id_equal(valid_at(c, position), last_valid))
        return;
    sim_fail(m->s, SIM_AGREEMENT,
             "node %u group %u: a state of position %" PRIu64 ", last valid " ID
             "; agreed are %" PRIu64 " to %" PRIu64 ", last valid " ID,
             m->host + 1, group, position, last_valid.position, last_valid.born, c->start, c->last,
             valid_at(c, position).position, valid_at(c, position).born);
}

static void count_event(struct sim *s, enum node_replica_event what)
{
    switch (what) {
    case NODE_REPLICA_BORN: SIM_COUNT(s, births); break;
    case NODE_REPLICA_SPLIT: SIM_COUNT(s, split_births); break;
    case NODE_REPLICA_INSTALLED: SIM_COUNT(s, installed); break;
    case NODE_REPLICA_DROPPED: SIM_COUNT(s, drops); break;
    case NODE_REPLICA_YIELDS: SIM_COUNT(s, yields); break;
    case NODE_REPLICA_SENDS: SIM_COUNT(s, snapshots); break;
    case NODE_REPLICA_RESUMES: SIM_COUNT(s, resumed); break;
    default: break;
    }
}

void agree_replica(struct member *m, enum node_replica_event what, uint32_t group, uint16_t replica,
                   uint64_t position, struct paxos_id last_valid)
{
    struct sim *s = m->s;
    struct chain *c = group < SIM_GROUPS_MAX ? &s->agreement.chain[group] : NULL;
    count_event(s, what);
    world_note(s->w, 'B', (uint64_t)m->host << 40 | (uint64_t)what << 32 | group, position);
    if (what >= NODE_REPLICA_YIELDS) return;
    if (c && !c->known && position && last_valid.position == position) {
        chain_begin(m, group, last_valid);
        s->result->cover.splits += c->known;
    }
    if (!group_is_known(m, group)) return;
    struct seat *seat = &m->seat[group];
    if (what == NODE_REPLICA_DROPPED) {
        seat->buried = replica;
        seat->replica = 0;
        return;
    }
    if (replica <= seat->buried)
        sim_fail(s, SIM_AGREEMENT, "node %u group %u: replica %u is back, %u was dropped",
                 m->host + 1, group, replica, seat->buried);
    if (what == NODE_REPLICA_INSTALLED && position < seat->applied)
        sim_fail(s, SIM_AGREEMENT,
                 "node %u group %u: a snapshot of position %" PRIu64 " replaces %" PRIu64,
                 m->host + 1, group, position, seat->applied);
    seat->replica = replica;
    state_is(m, group, position, last_valid);
}

void agree_init(struct agreement *a, uint32_t groups)
{
    for (uint32_t g = 0; g < groups; g++) a->chain[g].known = true;
}

void agree_deinit(struct agreement *a)
{
    for (uint32_t g = 0; g < SIM_GROUPS_MAX; g++) mem_free(a->chain[g].entry);
}
