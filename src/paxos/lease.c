/* Leases between nodes: lease.h says what they promise; docs/PAXOS.md L1..L5 say why that suffices.
 * Every function is a few comparisons of clock readings, all of one machine each: no clock is ever
 * compared with another's, only rates are trusted, to within drift_ppm. (Gray and Cheriton,
 * "Leases", SOSP 1989, section 5, on clock rates.) */
#include "paxos/lease.h"

#include <string.h>

#include "base/assert.h"
#include "base/mutant.h"

static uint64_t mark_of(uint32_t incarnation, uint32_t lost)
{
    return (uint64_t)incarnation << 32 | lost;
}

void lease_init(struct lease_table *t, uint16_t self, uint32_t incarnation, uint64_t duration_ns,
                uint32_t drift_ppm, uint64_t now, bool fresh)
{
    ASSERT(self > 0 && self < LEASE_NODES_MAX);
    ASSERT(duration_ns > 0 && drift_ppm < 500000);

    memset(t, 0, sizeof *t);
    t->self = self;
    t->incarnation = incarnation;
    t->duration = duration_ns;
    t->drift_ppm = drift_ppm;
    /* Grants are volatile: whom this node granted what before it stopped, it does not know, so it
     * behaves as if it had granted everything to everybody just now (L4). */
    if (!fresh && !MUTANT(MUTANT_NO_RESTART_WAIT)) t->silent_until = now + duration_ns;
}

struct lease_heartbeat lease_send(struct lease_table *t, uint16_t peer, uint64_t now)
{
    ASSERT(peer < LEASE_NODES_MAX);
    ASSERT(peer != t->self);

    struct lease_peer *p = &t->peer[peer];
    /* Numbers carry the incarnation: an answer to what this node sent before it restarted speaks of
     * another clock (L5). */
    if (p->seq == 0) p->seq = (uint64_t)t->incarnation << 32;
    p->seq += 1;
    return (struct lease_heartbeat){.incarnation = t->incarnation, .seq = p->seq, .t_send = now};
}

/* The peer granted `duration` of its clock from the heartbeat's receipt, which is after t_send;
 * over that time our clock may have run faster than its by the drift of both (L2). */
void lease_on_answer(struct lease_table *t, uint16_t peer, const struct lease_answer *a,
                     uint64_t now)
{
    if (peer >= LEASE_NODES_MAX || peer == t->self) return; /* hostile */
    struct lease_peer *p = &t->peer[peer];
    /* An answer to a heartbeat that this incarnation did not send, or sent in the future, is a lie
     * or a left-over. */
    if (a->seq == 0 || a->seq >> 32 != t->incarnation || a->seq > p->seq || a->t_send > now) return;

    uint64_t slack = MUTANT(MUTANT_LEASE_NO_DRIFT) ? 0 : t->duration / 1000000 * 2 * t->drift_ppm;
    uint64_t from = MUTANT(MUTANT_LEASE_FROM_RECEIPT) ? now : a->t_send;
    uint64_t until = from + t->duration - slack;
    p->answered_at = now;
    /* Answers may overtake each other. The later end wins; with equal ends the later mark does. */
    if (until > p->supported_until ||
        (until == p->supported_until && a->mark > p->supported_mark)) {
        p->supported_until = until;
        p->supported_mark = a->mark;
    }
}

uint64_t lease_supported_until(const struct lease_table *t, uint16_t peer, uint64_t mark)
{
    if (peer >= LEASE_NODES_MAX) return 0;
    const struct lease_peer *p = &t->peer[peer];
    if (p->supported_mark != mark && !MUTANT(MUTANT_LEASE_MARK_IGNORED)) return 0;
    return p->supported_until;
}

struct lease_answer lease_on_heartbeat(struct lease_table *t, uint16_t peer,
                                       const struct lease_heartbeat *hb, uint64_t now)
{
    if (peer >= LEASE_NODES_MAX || peer == t->self) return (struct lease_answer){0};
    struct lease_peer *p = &t->peer[peer];

    /* A left-over of an incarnation that has ended earns no grant; support for an old incarnation
     * ends when it runs out, never earlier (PROTOCOLS 2.2), so granted_until only rises. */
    if (hb->incarnation < p->incarnation) return (struct lease_answer){0};
    p->incarnation = hb->incarnation;
    p->heard_at = now;
    if (now + t->duration > p->granted_until) p->granted_until = now + t->duration;
    return (struct lease_answer){.incarnation = t->incarnation,
                                 .seq = hb->seq,
                                 .t_send = hb->t_send,
                                 .mark = mark_of(t->incarnation, p->lost)};
}

bool lease_allows(const struct lease_table *t, uint16_t holder, uint64_t now)
{
    if (now < t->silent_until) return false;
    if (holder == 0 || holder == t->self || holder >= LEASE_NODES_MAX) return true;
    return MUTANT(MUTANT_GRANT_IGNORED) || now >= t->peer[holder].granted_until;
}

void lease_lost(struct lease_table *t, uint16_t holder)
{
    if (holder == 0 || holder == t->self || holder >= LEASE_NODES_MAX) return;
    t->peer[holder].lost += 1;
    ASSERT(t->peer[holder].lost != 0);
}

uint64_t lease_mark(const struct lease_table *t, uint16_t peer)
{
    if (peer >= LEASE_NODES_MAX) return 0;
    return mark_of(t->incarnation, t->peer[peer].lost);
}

bool lease_suspects(const struct lease_table *t, uint16_t peer, uint64_t timeout, uint64_t since,
                    uint64_t now)
{
    if (peer == t->self || peer >= LEASE_NODES_MAX) return false;
    uint64_t heard = t->peer[peer].heard_at;
    if (heard == 0) heard = since;
    return now > heard && now - heard > timeout;
}
