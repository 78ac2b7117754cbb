/* Faults of several acts, each a chain of events that chance alone would hardly ever bring about.
 * What a mistake in the code would make of them is said at each; the nodes must survive them all.
 */
#include "sim/nemesis.h"

/* ---- betrayal ---- */

static void cut_later(struct task *t)
{
    if (!t->n->s->calm) nemesis_cut_for(t->n, t->a, t->b, t->c * MICROSECOND);
}

static void betray(struct task *t)
{
    struct nemesis *n = t->n;
    struct member *m = &n->s->member[t->a];
    if (n->s->calm || m->state != MEMBER_UP) return;
    member_kill(m, WORLD_EXIT);
    nemesis_restart(n, m, draw_ms(n, 0, 10));
}

/* The leader loses its followers but one, and that one forgets that it supports it. */
void strike_betrayal(struct nemesis *n)
{
    struct sim *s = n->s;
    struct member *leader = nemesis_leader(n);
    if (!leader || nemesis_is_cut(n)) return;
    SIM_COUNT(s, betrayal);
    uint32_t friend = (leader->host + 1 + (uint32_t)draw(n, 0, s->nodes - 2)) % s->nodes;
    uint64_t time = nemesis_election_time(n);
    for (uint32_t i = 0; i < s->nodes; i++) {
        if (i == friend || i == leader->host) continue;
        nemesis_cut_for(n, i, leader->host, time);
        nemesis_cut_for(n, leader->host, i, time);
    }
    uint64_t at = draw_ms(n, 1, s->knobs.election_ms * 2ull);
    nemesis_after(n, at, betray, friend, 0, 0);
    if (draw(n, 0, 1)) { /* and is not there to remind it */
        uint64_t rest = time > at ? time - at : 1;
        nemesis_after(n, at, cut_later, leader->host, friend, (uint32_t)(rest / MICROSECOND));
        nemesis_after(n, at, cut_later, friend, leader->host, (uint32_t)(rest / MICROSECOND));
    }
}

/* ---- an empty disk ---- */

/* The disk is replaced by an empty one, and nobody is told. */
static void format(struct nemesis *n, struct member *m)
{
    SIM_COUNT(n->s, format);
    if (m->state == MEMBER_UP) member_kill(m, WORLD_POWER);
    m->damaged = true;
    world_say(n->s->w, m->host, "formatted");
    member_format(m);
}

/* Those who know go, once the one that forgot takes part, or will not. a: who forgot; b: who
 * lagged; c: how often to look again. */
static void rest_leaves(struct task *t)
{
    struct nemesis *n = t->n;
    const struct member *forgot = &n->s->member[t->a];
    bool takes_part = forgot->state == MEMBER_UP && node_takes_part(forgot->node);
    if (n->s->calm) return;
    if (t->c && forgot->state != MEMBER_LOST && !takes_part) {
        nemesis_after(n, 2 * MILLISECOND, rest_leaves, t->a, t->b, t->c - 1);
        return;
    }
    for (uint32_t i = 0; i < n->s->nodes; i++) {
        struct member *m = &n->s->member[i];
        if (i == t->a || (t->b >> i & 1) || m->state != MEMBER_UP) continue;
        member_kill(m, WORLD_POWER);
        nemesis_restart(n, m, draw_ms(n, 1000, 4000));
    }
}

/* The power fails, and takes a disk with it. */
static void amnesia(struct task *t)
{
    struct nemesis *n = t->n;
    struct member *forgets = &n->s->member[t->a];
    if (n->s->calm || forgets->state != MEMBER_UP || forgets->config.join || forgets->damaged ||
        !members_may_lose(n->s, forgets))
        return;
    format(n, forgets);
    nemesis_restart(n, forgets, draw_ms(n, 1, 50));
    for (uint32_t i = 0; i < n->s->nodes; i++) {
        struct member *m = &n->s->member[i];
        if (m->state != MEMBER_UP) continue;
        member_kill(m, WORLD_POWER);
        nemesis_restart(n, m, draw_ms(n, 1, 50));
    }
    nemesis_after(n, 2 * MILLISECOND, rest_leaves, t->a, t->b, 500);
}

/* A minority lags behind; then the power fails, and one of those who do not lag forgets everything.
 * All are back at once, for an empty disk takes part only where the others have recorded it, and
 * remember no earlier lives; but those who know meet the one that forgot alone, and leave. With the
 * minority it would be a majority now, of which nobody knows what was chosen meanwhile. */
void strike_format(struct nemesis *n)
{
    struct sim *s = n->s;
    struct member *m = nemesis_victim(n);
    uint32_t lag = 0, wanted = (s->nodes - 1) / 2;
    if (!m || m->config.join || s->founders < 3) return;
    while ((uint32_t)__builtin_popcount(lag) < wanted) {
        uint32_t i = (uint32_t)draw(n, 0, s->nodes - 1);
        if (i != m->host) lag |= 1u << i;
    }
    uint64_t time = draw_ms(n, 200, 1500);
    for (uint32_t i = 0; i < s->nodes; i++)
        for (uint32_t j = 0; j < s->nodes; j++) {
            bool forgets = i == m->host || j == m->host;
            if ((lag >> i & 1) != (lag >> j & 1))
                nemesis_cut_for(n, i, j, forgets ? time : time + SECOND);
        }
    nemesis_after(n, time, amnesia, m->host, lag, 0);
}
