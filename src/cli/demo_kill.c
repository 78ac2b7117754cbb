/* synod demo: a leader dies by kill -9 in the middle of the load, and comes back. */
#include "cli/client.h"
#include "cli/clock.h"
#include "cli/demo.h"

#include <signal.h>
#include <stdio.h>

#define PROBE_RETRY_NS 2000000ull
#define PROBE_MAX_NS   30000000000ull

/* Counts the ranges that each node leads, from CLUSTER SLOTS: [first, last, [host, port,
 * ...leader],
 * ...replicas]. */
static unsigned slots_victim(const struct demo *d, const struct client_reply *slots, unsigned *led)
{
    unsigned count[CLUSTER_NODES_MAX + 1] = {0}, best = 0;
    for (size_t i = 0; i < slots->count; i++) {
        const struct client_reply *range = &slots->items[i];
        if (range->count < 3 || range->items[2].count < 2) continue;
        int64_t node = range->items[2].items[1].integer - (int64_t)d->cluster.port + 1;
        if (node < 1 || node > d->cluster.nodes) continue;
        count[node]++;
        if (count[node] > count[best] || best == 0) best = (unsigned)node;
    }
    *led = count[best];
    return best;
}

static bool slot_led_by(const struct demo *d, const struct client_reply *slots, int64_t slot,
                        unsigned node)
{
    for (size_t i = 0; i < slots->count; i++) {
        const struct client_reply *range = &slots->items[i];
        if (range->count < 3 || range->items[2].count < 2) continue;
        if (slot < range->items[0].integer || slot > range->items[1].integer) continue;
        return range->items[2].items[1].integer == (int64_t)(d->cluster.port + node - 1);
    }
    return false;
}

/* Chooses the victim and a key of a group that it leads. */
static bool victim_choose(struct demo *d, unsigned *led)
{
    char address[OPTION_ADDRESS_MAX];
    cluster_address(&d->cluster, cluster_running(&d->cluster, 0), address);
    struct client *map = demo_connect(address), *ask = demo_connect(address);
    const struct client_reply *slots = map ? client_call(map, "CLUSTER SLOTS") : NULL;
    bool found = false;

    if (slots && slots->type == CLIENT_ARRAY && ask) {
        d->victim = slots_victim(d, slots, led);
        for (unsigned i = 0; d->victim && !found && i < 10000; i++) {
            snprintf(d->probe.key, sizeof d->probe.key, "demo:probe:%u", i);
            const struct client_reply *slot = client_call(ask, "CLUSTER KEYSLOT %s", d->probe.key);
            if (!slot || slot->type != CLIENT_INTEGER) break;
            found = slot_led_by(d, slots, slot->integer, d->victim);
        }
    }
    if (!found) cli_fail("CLUSTER SLOTS of %s does not say who leads", address);
    client_free(map);
    client_free(ask);
    return found;
}

static bool victim_kill(struct demo *d)
{
    unsigned led;
    if (!victim_choose(d, &led)) return false;
    cluster_address(&d->cluster, cluster_running(&d->cluster, d->victim), d->probe.address);
    d->probe.client = demo_connect(d->probe.address);

    demo_say(d, "kill -9 of node %u, which leads %u groups", d->victim, led);
    d->probe.killed_ns = clock_ns();
    d->stage = STAGE_KILLED;
    return cluster_signal(&d->cluster, d->victim, SIGKILL) == EXIT_DONE;
}

static void probe_lost(struct probe *p)
{
    char error[128];
    client_free(p->client);
    p->client = client_connect(p->address, 200, error, sizeof error);
    p->waiting = false;
}

/* One step of the probe; never waits. */
static void probe_step(struct probe *p)
{
    const struct client_reply *r;
    uint64_t now = clock_ns();
    if (p->accepted_ns || now < p->next_ns) return;
    if (!p->client) probe_lost(p);
    if (!p->client) return;
    if (!p->waiting) {
        client_appendf(p->client, "SET %s %llu", p->key, (unsigned long long)now);
        p->sent_ns = now;
        p->waiting = client_flush(p->client);
    }

    int got = p->waiting ? client_receive(p->client, 0) : -1;
    if (got > 0) got = client_next(p->client, &r);
    if (got < 0 || now - p->sent_ns > 2000000000ull) probe_lost(p);
    if (got <= 0) return;
    p->waiting = false;
    p->next_ns = now + PROBE_RETRY_NS;
    if (r->type == CLIENT_STATUS) p->accepted_ns = clock_ns();
}

/* After the kill: the probe; the victim comes back when the probe went through and a quarter is
 * left to load. */
static bool stage_step(struct demo *d, bool restart)
{
    if (d->stage == STAGE_KILLED) {
        probe_step(&d->probe);
        if (d->probe.accepted_ns) {
            demo_say(d, "its groups accept writes again after %.0f ms",
                     (double)(d->probe.accepted_ns - d->probe.killed_ns) / 1e6);
            d->stage = STAGE_BACK;
        } else if (clock_ns() - d->probe.killed_ns > PROBE_MAX_NS) {
            cli_fail("no write was accepted for %llu s after the kill",
                     PROBE_MAX_NS / 1000000000ull);
            return false;
        }
    }
    if (d->stage == STAGE_BACK && restart) {
        demo_say(d, "node %u is started again", d->victim);
        d->stage = STAGE_CALM;
        return cluster_start(&d->cluster, d->victim) == EXIT_DONE;
    }
    return true;
}

bool demo_kill_turn(struct demo *d, bool half, bool three_quarters)
{
    if (d->stage == STAGE_BEFORE && half && !victim_kill(d)) return false;
    return stage_step(d, three_quarters);
}

bool demo_kill_end(struct demo *d)
{
    while (d->stage != STAGE_CALM) {
        if (!stage_step(d, true)) return false;
        sleep_ms(1);
    }
    return true;
}
