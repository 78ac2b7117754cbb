/* Faults of several acts, each a chain of events that chance alone would hardly ever bring about.
 * What a mistake in the code would make of them is said at each; the nodes must survive them all.
 */
#include "sim/nemesis.h"

#define LOOK (10 * MILLISECOND)

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

/* ---- a stale log ---- */

/* These hosts and the others are apart: nothing goes either way. */
static void islands(struct nemesis *n, uint32_t hosts,
                    void (*each)(struct nemesis *, uint32_t, uint32_t))
{
    for (uint32_t i = 0; i < n->s->nodes; i++)
        for (uint32_t j = 0; j < n->s->nodes; j++)
            if ((hosts >> i & 1) != (hosts >> j & 1)) each(n, i, j);
}

static bool group_on(struct nemesis *n, uint32_t host, uint32_t group, struct node_group_view *v)
{
    const struct member *m = &n->s->member[host];
    return m->state == MEMBER_UP && node_group(m->node, group, v);
}

/* The host that runs a member of the group and has its state; UINT32_MAX: none. */
static uint32_t host_of(struct nemesis *n, uint32_t group, const struct paxos_member *p,
                        struct node_group_view *v)
{
    for (uint32_t i = 0; i < n->s->nodes; i++)
        if (n->s->member[i].id == p->node && group_on(n, i, group, v) && v->replica == p->replica &&
            !v->installing && v->chosen)
            return i;
    return UINT32_MAX;
}

static void stale_ends(struct task *t)
{
    islands(t->n, t->n->stale.meet, nemesis_uncut);
    t->n->stale.under_way = false;
}

/* A learner does not ask whoever knows more, but who leads: with one more voter, which is made to
 * wait, the leader of then leads again. */
static uint32_t helper(struct nemesis *n, const struct node_group_view *v)
{
    const struct stale *f = &n->stale;
    struct node_group_view its;
    for (int i = 0; i < v->config.count && f->learns; i++) {
        uint32_t host = host_of(n, f->group, &v->config.member[i], &its);
        if (host == UINT32_MAX || host == f->leader || host == f->sleeper || its.leads) continue;
        return host;
    }
    return f->leader;
}

static void stale_meets(struct nemesis *n, const struct node_group_view *v)
{
    struct stale *f = &n->stale;
    uint64_t both = (n->s->knobs.lease_ms + n->s->knobs.election_ms) * MILLISECOND;
    uint32_t third = helper(n, v);
    SIM_COUNT(n->s, jumps);
    f->meet = 1u << f->leader | 1u << f->sleeper | 1u << third;
    islands(n, f->meet, nemesis_cut);
    islands(n, 1u << f->sleeper, nemesis_uncut);
    if (third != f->leader) world_pause(n->s->w, third, 2 * both);
    nemesis_after(n, 5 * both, stale_ends, 0, 0, 0);
}

static void stale_is_off(struct nemesis *n)
{
    islands(n, 1u << n->stale.sleeper, nemesis_uncut);
    n->stale.under_way = false;
}

/* The leader of then is back among those who went on. c: how often to look again. */
static void stale_jumps(struct task *t)
{
    struct nemesis *n = t->n;
    struct stale *f = &n->stale;
    struct node_group_view v;
    bool there = group_on(n, f->leader, f->group, &v);
    if (n->s->calm || !t->c)
        stale_is_off(n);
    else if (there && !v.installing && v.chosen + 1 >= f->first)
        stale_meets(n, &v);
    else
        nemesis_after(n, LOOK, stale_jumps, 0, 0, t->c - 1);
}

/* The others go on until their log has no more what the old leader lacks. */
static void stale_outruns(struct task *t)
{
    struct nemesis *n = t->n;
    struct stale *f = &n->stale;
    struct node_group_view v;
    for (uint32_t i = 0; i < n->s->nodes; i++)
        if (i != f->leader && group_on(n, i, f->group, &v) && v.leads && v.log_first > f->first)
            f->first = v.log_first;
    bool outrun = f->first > f->chosen + 1, goes_on = !n->s->calm && t->c;
    if (goes_on && !outrun) {
        nemesis_after(n, LOOK, stale_outruns, 0, 0, t->c - 1);
        return;
    }
    islands(n, 1u << f->leader, nemesis_uncut);
    if (goes_on)
        nemesis_after(n, LOOK, stale_jumps, 0, 0, 300);
    else
        stale_is_off(n);
}

/* The leader hears, and is not heard, until it has accepted something alone. */
static void stale_speaks(struct task *t)
{
    struct nemesis *n = t->n;
    struct stale *f = &n->stale;
    struct node_group_view v;
    bool there = group_on(n, f->leader, f->group, &v), alone = there && v.accepted > v.chosen;
    if (!n->s->calm && !alone && t->c) {
        nemesis_after(n, MILLISECOND, stale_speaks, 0, 0, t->c - 1);
        return;
    }
    for (uint32_t i = 0; i < n->s->nodes; i++) nemesis_cut(n, i, f->leader);
    f->chosen = there ? v.chosen : 0;
    struct task next = {.n = n, .c = alone ? 400 : 0};
    stale_outruns(&next);
}

/* A leader and a member that the group can do without, the one or the other way. */
static bool stale_cast(struct nemesis *n, uint32_t group, uint32_t leader)
{
    struct node_group_view v, its;
    uint32_t voters = 0, up = 0;
    if (!group_on(n, leader, group, &v) || !v.serving) return false;
    for (int i = 0; i < v.config.count; i++) {
        bool votes = v.config.member[i].role != PAXOS_LEARNER;
        voters += votes;
        up += votes && host_of(n, group, &v.config.member[i], &its) != UINT32_MAX;
    }
    for (int i = 0; i < v.config.count; i++) {
        bool learns = v.config.member[i].role == PAXOS_LEARNER;
        uint32_t host = host_of(n, group, &v.config.member[i], &its);
        if (host == leader || host == UINT32_MAX || up - 1 - !learns <= voters / 2) continue;
        n->stale = (struct stale){
            .under_way = true, .learns = learns, .group = group, .leader = leader, .sleeper = host};
        return true;
    }
    return false;
}

/* c: how often to look again for a group that can be had. */
static void stale_begins(struct task *t)
{
    struct nemesis *n = t->n;
    struct sim *s = n->s;
    bool cast = false;
    if (s->calm || n->stale.under_way) return;
    for (uint32_t g = 0; g < s->groups && !cast; g++)
        for (uint32_t i = 0; i < s->nodes && !cast; i++) cast = stale_cast(n, g, i);
    if (cast) {
        SIM_COUNT(s, stale_log);
        islands(n, 1u << n->stale.sleeper, nemesis_cut);
        for (uint32_t i = 0; i < s->nodes; i++) nemesis_cut(n, n->stale.leader, i);
        nemesis_after(n, MILLISECOND, stale_speaks, 0, 0, s->knobs.election_ms);
    } else if (t->c) {
        nemesis_after(n, LOOK, stale_begins, 0, 0, t->c - 1);
    }
}

/* A leader is cut off, and has accepted what is never chosen when it jumps over it by a snapshot. A
 * member that was away all the time, and lags, then meets it alone, or with just enough others for
 * it to lead, and is to be served nothing of what its log has there. That takes a minority of two,
 * so of five voters or of a learner and three, and a log so short that there is a snapshot. */
void strike_stale_log(struct nemesis *n)
{
    if (!n->stale.under_way && n->s->knobs.log_segment_bytes <= SIM_SEGMENT_SHORT)
        nemesis_after(n, 0, stale_begins, 0, 0, 300);
}

/* ---- what only a witness knows ---- */

static void last_copy_lost(struct task *t)
{
    struct nemesis *n = t->n;
    struct member *m = &n->s->member[t->a];
    if (n->s->calm || m->state != MEMBER_UP || m->damaged || !members_may_lose(n->s, m)) return;
    SIM_COUNT(n->s, last_copies);
    member_kill(m, WORLD_POWER);
    member_wipe(m);
    nemesis_restart(n, m, draw_ms(n, 20, 3000));
}

/* Two that are up and hold data of a group with a witness. */
static bool beside_a_witness(struct nemesis *n, struct member **first, struct member **second)
{
    struct sim *s = n->s;
    const struct paxos_config *c = members_config(s, (uint32_t)draw(n, 0, s->groups - 1), NULL);
    uint16_t data[2] = {0};
    bool witness = false;
    for (int i = 0; c && i < c->count; i++) {
        witness |= c->member[i].role == PAXOS_WITNESS;
        if (c->member[i].role == PAXOS_VOTER) data[data[0] != 0] = c->member[i].node;
    }
    bool swap = draw(n, 0, 1);
    *first = *second = NULL;
    for (uint32_t i = 0; i < s->nodes; i++) {
        if (s->member[i].state != MEMBER_UP) continue;
        if (s->member[i].id == data[swap]) *first = &s->member[i];
        if (s->member[i].id == data[!swap]) *second = &s->member[i];
    }
    return witness && *first && *second;
}

/* What a witness is for: a member is away, not for so long that it were given up, while the other
 * goes on with the witness; then the other's disk is replaced, and the member comes back. */
void strike_last_copy(struct nemesis *n)
{
    struct member *stays, *away;
    if (!beside_a_witness(n, &stays, &away)) return;
    uint64_t time = draw_ms(n, 100, 2500);
    member_kill(away, WORLD_EXIT);
    nemesis_restart(n, away, time + draw_ms(n, 0, 100));
    nemesis_after(n, time, last_copy_lost, stays->host, 0, 0);
}
