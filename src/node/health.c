/* Should this node lead? While it is ill it gives its leaderships away and takes none. Its votes it
 * keeps: others need not wait for them (PROTOCOLS 2.3). There are two ways to be ill:
 *
 * Its log device is slow. One that still completes writes keeps its node's leases, so without this
 * a half-failed disk would slow every client of the groups it leads, for ever. Each node tells its
 * peers how long its log writes took lately; one that is far slower than most of them is slow.
 *
 * It is cut off from some node that others hear. Its groups would go on, but a transaction over one
 * of them and one that is led at the other end of the cut could not, and would keep its keys locked
 * for everybody. Each node tells its peers how many nodes it hears; one that hears fewer than
 * another that it hears is cut off. Where a node dies all others hear one less.
 *
 * Each must last for a while, and then be over for a while, so that nothing swings. */
#include "node/internal.h"

#define LOOK_EVERY  (1000 * MS)
#define SLOW_TIMES  10           /* as slow as the median of the others */
#define SLOW_AT_US  4000         /* and no faster than this */
#define SLOW_AFTER  (4000 * MS)  /* of slowness */
#define WELL_AFTER  (60000 * MS) /* of being well */
#define CUT_AFTER   (1500 * MS)  /* of a death some hear a second later than others */
#define HEARS_AFTER (3000 * MS)
#define GIVE_EVERY  (100 * MS)

/* How long a write of the log took, on average, since the last look; one under way counts as it is.
 */
static uint64_t write_us(struct node *n)
{
    struct health *h = &n->health;
    struct log_stats s;
    log_stats(n->log, &s);
    uint64_t writes = s.writes - h->writes, ns = s.write_ns_total - h->write_ns;
    uint64_t us = writes ? ns / writes / 1000 : 0, age_us = log_write_age(n->log, n->now) / 1000;
    h->writes = s.writes;
    h->write_ns = s.write_ns_total;
    return us > age_us ? us : age_us;
}

static uint64_t median_of_others(const struct node *n)
{
    uint64_t v[NODE_NODES_MAX];
    uint32_t count = 0;
    for (uint16_t i = 1; i <= n->node_max; i++) {
        const struct peer *p = n->peers[i];
        if (!p || !p->out_ready || !p->report.write_us) continue;
        uint32_t at = count++;
        for (; at && v[at - 1] > p->report.write_us; at--) v[at] = v[at - 1];
        v[at] = p->report.write_us;
    }
    return count ? v[count / 2] : 0;
}

/* True: it begins, or is over. */
static bool ailment_look(struct ailment *a, bool bad, uint64_t now, uint64_t after, uint64_t well)
{
    if (bad != a->bad) a->since = now;
    a->bad = bad;
    if (bad == a->ill || now - a->since < (bad ? after : well)) return false;
    a->ill = bad;
    return true;
}

static void look_at_log(struct node *n)
{
    struct health *h = &n->health;
    uint64_t us = write_us(n), others = median_of_others(n);
    if (us) h->write_us = us; /* an idle log says nothing new */
    bool bad = others && h->write_us > SLOW_AT_US && h->write_us > SLOW_TIMES * others;
    if (!ailment_look(&h->slow, bad, n->now, SLOW_AFTER, WELL_AFTER)) return;
    if (h->slow.ill)
        node_log(n,
                 "the log device is slow: %llu us a write, others' take %llu; leaderships are "
                 "given away",
                 (unsigned long long)h->write_us, (unsigned long long)others);
    else
        node_log(n, "the log device has been well for a minute: leaderships may come back");
}

static void look_at_links(struct node *n)
{
    struct health *h = &n->health;
    uint64_t most = 0;
    h->hears = 0;
    for (uint16_t i = 1; i <= n->node_max; i++) {
        if (i == n->identity.node || !ring_node_heard(n, i)) continue;
        h->hears++;
        if (n->peers[i]->report.hears > most) most = n->peers[i]->report.hears;
    }
    if (!ailment_look(&h->cut, h->hears < most, n->now, CUT_AFTER, HEARS_AFTER)) return;
    if (h->cut.ill)
        node_log(n,
                 "only %llu other nodes are heard here, and %llu by another: the network is cut; "
                 "leaderships are given away",
                 (unsigned long long)h->hears, (unsigned long long)most);
    else
        node_log(n, "as many nodes are heard here as by others: leaderships may come back");
}

void health_turn(struct node *n)
{
    struct health *h = &n->health;
    if (!n->taking_part || n->now < h->look_at) return;
    if (n->now >= h->full_look_at) {
        h->full_look_at = n->now + LOOK_EVERY;
        look_at_log(n);
    }
    look_at_links(n);
    h->look_at = n->now + GIVE_EVERY;
    for (uint32_t i = 0; (h->slow.ill || h->cut.ill) && i < n->group_count; i++) {
        if (!n->group[i]->leading) continue;
        group_give_away(n->group[i]);
        if (!n->group[i]->leading) return;
    }
}

bool health_takes_leaders(const struct node *n, uint16_t other)
{
    const struct peer *p = n->peers[other];
    return p && !p->report.slow && !p->report.cut;
}
