/* Agreement: every replica, in every life, applies the same entries in the same order with the same
 * effects, and an entry is valid exactly if it stands on the last valid one (PROTOCOLS 0.1). */
#include "sim/members.h"

#include <inttypes.h>

#define ID "%" PRIu64 "@%" PRIx64

static bool id_equal(struct paxos_id a, struct paxos_id b)
{
    return a.position == b.position && a.born == b.born;
}

static struct agreed *agree_add(struct agreement *a, uint32_t group)
{
    if (a->count[group] == a->capacity[group]) {
        a->capacity[group] = a->capacity[group] ? 2 * a->capacity[group] : 256;
        a->entry[group] =
            mem_realloc(a->entry[group], a->capacity[group] * sizeof *a->entry[group]);
    }
    return &a->entry[group][a->count[group]++];
}

static void agree_first(struct member *m, uint32_t group, const struct paxos_entry *e, bool valid,
                        uint64_t effects_hash)
{
    struct sim *s = m->s;
    struct agreement *a = &s->agreement;
    struct paxos_id last =
        a->count[group] ? a->entry[group][a->count[group] - 1].last_valid : (struct paxos_id){0};
    bool stands = e->kind == PAXOS_DATA && id_equal(e->base, last);

    if (stands != valid)
        sim_fail(s, SIM_AGREEMENT,
                 "node %u group %u position %" PRIu64 ": base " ID ", last valid " ID
                 ", taken as %s",
                 m->host + 1, group, e->position, e->base.position, e->base.born, last.position,
                 last.born, valid ? "valid" : "invalid");
    struct agreed *to = agree_add(a, group);
    *to = (struct agreed){.base = e->base,
                          .last_valid = last,
                          .born = e->born,
                          .hash = e->hash,
                          .effects_hash = effects_hash,
                          .size = e->size,
                          .kind = e->kind,
                          .valid = valid};
    if (valid) to->last_valid = (struct paxos_id){e->position, e->born};
    s->result->cover.noops += e->kind == PAXOS_NOOP;
    s->result->cover.invalid += e->kind == PAXOS_DATA && !valid;
    s->result->cover.reproposed += e->born != e->ballot;
}

static void agree_same(struct member *m, uint32_t group, const struct paxos_entry *e, bool valid,
                       uint64_t effects_hash)
{
    const struct agreed *was = &m->s->agreement.entry[group][e->position - 1];
    if (was->kind == e->kind && was->born == e->born && was->hash == e->hash &&
        was->size == e->size && id_equal(was->base, e->base) && was->valid == valid &&
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

void agree_applied(struct member *m, uint32_t group, const struct paxos_entry *e, bool valid,
                   uint64_t effects_hash)
{
    struct sim *s = m->s;
    if (group >= s->groups) {
        sim_fail(s, SIM_AGREEMENT, "node %u applied an entry of group %u, which there is not",
                 m->host + 1, group);
        return;
    }
    uint64_t here = m->applied[group];
    if (e->position == 0 ||
        (here ? e->position != here + 1 : e->position > m->applied_ever[group] + 1)) {
        sim_fail(s, SIM_AGREEMENT,
                 "node %u group %u applied position %" PRIu64 " after %" PRIu64
                 " (earlier lives: %" PRIu64 ")",
                 m->host + 1, group, e->position, here, m->applied_ever[group]);
        return;
    }
    m->applied[group] = e->position;
    if (e->position > m->applied_ever[group]) m->applied_ever[group] = e->position;
    SIM_COUNT(s, applied);
    world_note(s->w, 'A', (uint64_t)m->host << 32 | group, e->position ^ e->hash);
    if (e->position == s->agreement.count[group] + 1)
        agree_first(m, group, e, valid, effects_hash);
    else if (e->position <= s->agreement.count[group])
        agree_same(m, group, e, valid, effects_hash);
    else
        sim_fail(s, SIM_AGREEMENT,
                 "node %u group %u applied position %" PRIu64 ", but nobody the one before",
                 m->host + 1, group, e->position);
}

void agree_deinit(struct agreement *a)
{
    for (uint32_t g = 0; g < SIM_GROUPS_MAX; g++) mem_free(a->entry[g]);
}
