/* A counter replicated by Multi-Paxos over pipes. Three replicas, each with a machine of
 * synod-paxos and a pipe for what others send it; whoever leads adds 1, 2, .. 10, each addition is
 * accepted by two replicas before it counts, and all three reach 55.
 *
 * What an embedder supplies is here in its smallest form: a transport, a clock, heartbeats for the
 * leases, a state machine (a sum) and a log. The log is memory that is called synced at once, so a
 * replica must not restart; a real one writes each APPEND_* to disk, steps SYNCED when it is there,
 * and holds each SEND back until its after_lsn is. (For threads, processes or machines, change
 * post() and receive().) */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <paxos/lease.h>
#include <paxos/msg.h>
#include <paxos/paxos.h>

enum { REPLICAS = 3, RING = 64, ADDITIONS = 10, MS = 1000000 };
static struct replica {
    struct paxos *px;
    struct paxos_slot *ring;
    struct lease_table leases;
    int inbox[2];
    uint64_t lsn, sum;
} replica[REPLICAS + 1]; /* by id, from 1 */
static uint64_t now =
    1000 * MS; /* nanoseconds; a program for more than show reads CLOCK_BOOTTIME */

static struct bytes value_of(void *handle)
{
    return bytes_of(handle, 1);
} /* a value: one byte on the heap */

static void post(const struct paxos_message
                     *m) /* u16 size, then the message; whole, since it is far below PIPE_BUF */
{
    struct buf b = {0};
    buf_u16(&b, 0);
    paxos_message_encode(m, value_of, &b);
    b.data[0] = (uint8_t)(b.size - 2), b.data[1] = (uint8_t)((b.size - 2) >> 8);
    if (write(replica[m->to].inbox[1], b.data, b.size) != (ssize_t)b.size) abort();
    buf_deinit(&b);
}

static void on_effect(void *ctx, const struct paxos_effect *fx)
{
    struct replica *r = ctx;
    if (fx->lsn > r->lsn) r->lsn = fx->lsn; /* APPEND_*: "written" */
    if (fx->type == PAXOS_FX_SEND) post(fx->message);
    if (fx->type == PAXOS_FX_RELEASE) free(fx->value);
    if (fx->type != PAXOS_FX_CHOSEN) return;
    if (fx->valid) r->sum += *(uint8_t *)fx->entry->value;
    if (fx->take_value) free(fx->entry->value);
}

static void step(struct replica *r, struct paxos_event ev)
{
    struct paxos_sink sink = {on_effect, r};
    ev.now = now, ev.random = now * 2654435761u + ev.type;
    paxos_step(r->px, &ev,
               &sink); /* never needs a larger ring: RING >= paxos_ring_max for a window of 8 */
    paxos_step(r->px, &(struct paxos_event){.type = PAXOS_EV_SYNCED, .now = now, .lsn = r->lsn},
               &sink);
}

static bool receive(struct replica *r)
{
    uint8_t size[2], data[4096];
    struct paxos_entry entries[16];
    struct bytes values[16];
    struct paxos_message m;
    if (read(r->inbox[0], size, 2) != 2) return false;
    ssize_t n = read(r->inbox[0], data, (size_t)(size[0] | size[1] << 8));
    if (n <= 0 || !paxos_message_decode(bytes_of(data, (size_t)n), &m, entries, values, 16))
        return false;
    for (uint32_t i = 0; i < m.entry_count; i++)
        if (entries[i].size) *(uint8_t *)(entries[i].value = malloc(1)) = values[i].data[0];
    step(r, (struct paxos_event){.type = PAXOS_EV_MESSAGE, .message = &m});
    return true;
}

static void heartbeat(uint16_t from,
                      uint16_t to) /* these too would travel; here they just happen */
{
    struct lease_heartbeat hb = lease_send(&replica[from].leases, to, now);
    struct lease_answer a = lease_on_heartbeat(&replica[to].leases, from, &hb, now);
    lease_on_answer(&replica[from].leases, to, &a, now);
}

int main(void)
{
    struct paxos_options o = {.election_timeout_ns = 300 * MS,
                              .window_entries = 8,
                              .window_bytes = 4096,
                              .config.count = REPLICAS};
    for (uint16_t i = 1; i <= REPLICAS; i++)
        o.config.member[i - 1] = (struct paxos_member){.replica = i, .node = i};
    for (uint16_t i = 1; i <= REPLICAS; i++) {
        struct replica *r = &replica[i];
        if (pipe2(r->inbox, O_NONBLOCK)) return 1;
        o.replica = i, o.leases = &r->leases;
        lease_init(&r->leases, i, 1, 500 * MS, 5000, now, true);
        paxos_init(r->px = malloc(paxos_size()), &o, r->ring = malloc(RING * paxos_slot_size()),
                   RING);
        paxos_start(r->px, now, i, 0, &(struct paxos_sink){on_effect, r});
    }
    int added = 0, failed = 0;
    for (int turn = 0; turn < 1000; turn++, now += 10 * MS)
        for (uint16_t i = 1; i <= REPLICAS; i++) {
            while (receive(&replica[i])) {
            }
            step(&replica[i], (struct paxos_event){.type = PAXOS_EV_TICK});
            for (uint16_t to = 1; to <= REPLICAS && turn % 5 == 0; to++)
                if (to != i) heartbeat(i, to);
            if (added == ADDITIONS || !paxos_can_propose(replica[i].px, 1)) continue;
            uint8_t *add = malloc(1);
            *add = (uint8_t)++added;
            step(&replica[i], (struct paxos_event){
                                  .type = PAXOS_EV_PROPOSE, .value = add, .size = 1, .hash = *add});
        }
    for (uint16_t i = 1; i <= REPLICAS; i++) {
        struct replica *r = &replica[i];
        printf("replica %u: the sum is %llu%s\n", i, (unsigned long long)r->sum,
               paxos_serving(r->px) ? " (leader)" : "");
        failed |= r->sum != ADDITIONS * (ADDITIONS + 1) / 2;
        paxos_deinit(r->px, &(struct paxos_sink){on_effect, r});
        free(r->px), free(r->ring);
    }
    return failed;
}
