/* One machine under test, and the trace of what it does.
 *
 *   NODE(n, .id = 1, .replicas = 3);                      a fresh machine, synced, whose own
 * campaigns are far off node_recv(&n, PREPARE(.from = 2, .ballot = B(7, 2))); an event goes in
 *   EXPECT_TRACE(&n, "append promise b=7.2 lsn=1\n" ...); what came out since the last look; values
 * are single letters
 *
 * With TRACE_REWRITE=1 in the environment a difference does not fail: it prints what came out, and
 * rewrite.py puts it into the source. Commit a rewrite only if you can say why each line changed.
 */
#ifndef SYNOD_TEST_PAXOS_NODE_H
#define SYNOD_TEST_PAXOS_NODE_H

#include "test.h"
#include "paxos/internal.h"
#include "paxos/msg.h"

#define B(round, replica) paxos_ballot_make(round, replica)
#define MS                1000000ull
#define NODE_TIMEOUT      (1000 * MS)
#define NODE_LEASE        (2000 * MS)

struct node {
    uint16_t id, replicas, preferred;
    uint32_t window, retain;
    uint64_t promised; /* restored */
    char config;       /* a letter of the table below; 0: voters 1 to `replicas` */
    struct paxos_id config_id;
    bool restarted; /* must wait for leases it granted */
    uint64_t now;
    struct paxos px;
    struct paxos_slot ring[64];
    struct lease_table leases;
    char trace[16384];
    size_t length;
    int held[128]; /* letters given to the machine and not given back */
    bool quiet;
};

/* The configurations that tests speak of by a small letter: replica r lives on node r. */
static inline bool node_config(char letter, struct paxos_config *out)
{
    static const char *const members[] = {"123", "234", "4",   "12",   "123l4", "12w3",
                                          "145", "456", "1l2", "l145", "1234"};
    *out = (struct paxos_config){.next_replica = 10};
    if (letter < 'a' || letter - 'a' >= (int)(sizeof members / sizeof *members)) return false;
    for (const char *m = members[letter - 'a']; *m; m++) {
        uint8_t role = *m == 'l' ? PAXOS_LEARNER : *m == 'w' ? PAXOS_WITNESS : PAXOS_VOTER;
        m += role != PAXOS_VOTER;
        uint16_t id = (uint16_t)(*m - '0');
        out->member[out->count++] = (struct paxos_member){id, id, role};
    }
    return true;
}

/* The bytes of a letter: a configuration, or nothing that is one. Good until the next call. */
static inline struct bytes node_value(void *handle)
{
    static uint8_t bytes[64];
    struct paxos_config c;
    struct buf b = {0};
    if (!node_config((char)(uintptr_t)handle, &c)) return BYTES("x");
    paxos_config_encode(&c, &b);
    size_t size = b.size;
    memcpy(bytes, b.data, size);
    buf_deinit(&b);
    return bytes_of(bytes, size);
}

static inline void node_note(struct node *n, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!n->quiet)
        n->length +=
            (size_t)vsnprintf(n->trace + n->length, sizeof n->trace - n->length, format, args);
    va_end(args);
}

static inline void node_note_entry(struct node *n, const struct paxos_entry *e)
{
    node_note(n, " [%llu b=%llu.%u", (unsigned long long)e->position,
              (unsigned long long)paxos_ballot_round(e->ballot), paxos_ballot_replica(e->ballot));
    if (e->born != e->ballot)
        node_note(n, " born=%llu.%u", (unsigned long long)paxos_ballot_round(e->born),
                  paxos_ballot_replica(e->born));
    if (e->kind == PAXOS_NOOP)
        node_note(n, " noop]");
    else
        node_note(n, " %s%c on %llu]", e->kind == PAXOS_CONFIG ? "config " : "",
                  (char)(uintptr_t)e->value, (unsigned long long)e->base.position);
}

static inline void node_note_ballot(struct node *n, const char *name, paxos_ballot b)
{
    if (b)
        node_note(n, " %s=%llu.%u", name, (unsigned long long)paxos_ballot_round(b),
                  paxos_ballot_replica(b));
}

static inline void node_note_message(struct node *n, const struct paxos_message *m)
{
    node_note(n, "%u->%u %s", m->from, m->to, paxos_message_name(m->type));
    node_note_ballot(n, "b", m->ballot);
    node_note_ballot(n, "promised", m->promised);
    node_note_ballot(n, "released", m->released);
    if (m->position) node_note(n, " at=%llu", (unsigned long long)m->position);
    if (m->chosen) node_note(n, " chosen=%llu", (unsigned long long)m->chosen);
    if (m->config) node_note(n, " config=%llu", (unsigned long long)m->config);
    if (m->seq) node_note(n, " seq=%llu", (unsigned long long)m->seq);
    static const char *const flag[] = {"leader", "lease", "behind", "gap", "stream"};
    for (int i = 0; i < 5; i++)
        if (m->flags >> i & 1) node_note(n, " %s", flag[i]);
    for (uint32_t i = 0; i < m->entry_count; i++) node_note_entry(n, &m->entries[i]);
}

static inline void node_emit(void *ctx, const struct paxos_effect *fx)
{
    struct node *n = ctx;
    static const char *const role[] = {"follower", "precandidate", "candidate", "leader"};
    switch (fx->type) {
    case PAXOS_FX_APPEND_PROMISE:
        node_note(n, "append promise"), node_note_ballot(n, "b", fx->promised),
            node_note(n, " lsn=%llu\n", (unsigned long long)fx->lsn);
        break;
    case PAXOS_FX_APPEND_ENTRY:
        node_note(n, "append"), node_note_entry(n, fx->entry);
        node_note(n, " chosen=%llu lsn=%llu\n", (unsigned long long)fx->chosen,
                  (unsigned long long)fx->lsn);
        break;
    case PAXOS_FX_APPEND_CHOSEN:
        node_note(n, "append chosen %llu\n", (unsigned long long)fx->chosen);
        break;
    case PAXOS_FX_SEND:
        node_note(n, "send "), node_note_message(n, fx->message);
        if (fx->after_lsn) node_note(n, " after=%llu", (unsigned long long)fx->after_lsn);
        node_note(n, "\n");
        break;
    case PAXOS_FX_CHOSEN:
        node_note(n, "chosen"), node_note_entry(n, fx->entry);
        node_note(n, "%s%s\n", fx->valid ? " valid" : "", fx->take_value ? " take" : "");
        if (fx->take_value) n->held[(uintptr_t)fx->entry->value] -= 1;
        break;
    case PAXOS_FX_RELEASE:
        node_note(n, "release %c\n", (char)(uintptr_t)fx->value);
        n->held[(uintptr_t)fx->value] -= 1;
        assert_true(n->held[(uintptr_t)fx->value] >= 0);
        break;
    case PAXOS_FX_ROLE: node_note(n, "role %s leader=%u\n", role[n->px.role], n->px.leader); break;
    case PAXOS_FX_SERVING: node_note(n, "serving\n"); break;
    case PAXOS_FX_READ_READY:
        node_note(n, "read ready seq=%llu at=%llu\n", (unsigned long long)fx->seq,
                  (unsigned long long)fx->position);
        break;
    case PAXOS_FX_SERVE_FETCH:
        node_note(n, "serve fetch to=%u %llu..%llu\n", fx->to, (unsigned long long)fx->position,
                  (unsigned long long)fx->chosen);
        break;
    case PAXOS_FX_DROPPED:
        node_note(n, "dropped from %llu\n", (unsigned long long)fx->position);
        break;
    default: node_note(n, "effect %u\n", fx->type);
    }
}

static inline struct paxos_sink node_sink(struct node *n)
{
    return (struct paxos_sink){node_emit, n};
}

/* Initialises without starting, so that a test can restore something first. */
static inline void node_init(struct node *n)
{
    if (!n->window) n->window = 4;
    if (!n->retain) n->retain = 1000;
    n->now = 10000 * MS;
    struct paxos_options o = {.replica = n->id,
                              .leases = &n->leases,
                              .election_timeout_ns = NODE_TIMEOUT,
                              .preferred = n->preferred,
                              .window_entries = n->window,
                              .window_bytes = 1000,
                              .retain_bytes = n->retain,
                              .config_id = n->config_id,
                              .value_of = node_value,
                              .config.count = (uint8_t)n->replicas};
    for (uint16_t i = 1; i <= n->replicas; i++)
        o.config.member[i - 1] = (struct paxos_member){.replica = i, .node = i};
    if (n->config) assert_true(node_config(n->config, &o.config));
    lease_init(&n->leases, n->id, 1, NODE_LEASE, 0, n->now, !n->restarted);
    paxos_init(&n->px, &o, n->ring, 64);
}

static inline void node_start(struct node *n)
{
    struct paxos_sink sink = node_sink(n);
    paxos_start(&n->px, n->now, 0, 0, &sink);
}

static inline void node_boot(struct node *n)
{
    node_init(n);
    if (n->promised) paxos_restore_promise(&n->px, n->promised);
    node_start(n);
}

#define NODE(name, ...)                                                                            \
    struct node name = {__VA_ARGS__};                                                              \
    node_boot(&name)

static inline void node_step(struct node *n, struct paxos_event ev)
{
    struct paxos_sink sink = node_sink(n);
    ev.now = n->now;
    assert_true(paxos_ring_wanted(&n->px, &ev) <= 64);
    paxos_step(&n->px, &ev, &sink);
    paxos_check(&n->px);
}

static inline void node_recv(struct node *n, struct paxos_message m)
{
    if (!m.to) m.to = n->id;
    for (uint32_t i = 0; i < m.entry_count; i++)
        if (m.entries[i].value) n->held[(uintptr_t)m.entries[i].value] += 1;
    node_step(n, (struct paxos_event){.type = PAXOS_EV_MESSAGE, .message = &m});
    for (uint32_t i = 0; i < m.entry_count; i++)
        assert_null(m.entries[i].value); /* taken or given back, never forgotten */
}

static inline void node_sync(struct node *n)
{
    node_step(n, (struct paxos_event){.type = PAXOS_EV_SYNCED, .lsn = n->px.lsn});
}

static inline void node_tick(struct node *n, uint64_t ms)
{
    n->now += ms * MS;
    node_step(n, (struct paxos_event){.type = PAXOS_EV_TICK});
}

static inline void node_propose(struct node *n, char letter)
{
    n->held[(int)letter] += 1;
    node_step(n, (struct paxos_event){.type = PAXOS_EV_PROPOSE,
                                      .value = (void *)(uintptr_t)letter,
                                      .size = 10,
                                      .hash = (uint64_t)letter});
}

static inline void node_reconfigure(struct node *n, char letter)
{
    n->held[(int)letter] += 1;
    node_step(n, (struct paxos_event){.type = PAXOS_EV_RECONFIGURE,
                                      .value = (void *)(uintptr_t)letter,
                                      .size = 10,
                                      .hash = (uint64_t)letter});
}

static inline void node_forget_trace(struct node *n)
{
    n->length = 0;
    n->trace[0] = 0;
}

/* Hears from `peer`'s node (grants it a lease), or is answered by it (is granted one, at `mark`).
 */
static inline void node_hear(struct node *n, uint16_t peer)
{
    struct lease_heartbeat hb = {.incarnation = 1, .seq = 1, .t_send = n->now};
    (void)lease_on_heartbeat(&n->leases, peer, &hb, n->now);
}

static inline void node_supported(struct node *n, uint16_t peer, uint64_t mark)
{
    struct lease_heartbeat hb = lease_send(&n->leases, peer, n->now);
    struct lease_answer a = {.incarnation = 1, .seq = hb.seq, .t_send = hb.t_send, .mark = mark};
    lease_on_answer(&n->leases, peer, &a, n->now);
}

#define E(pos, b_, letter, base_pos, base_born)                                                    \
    {                                                                                              \
        .position = pos, .ballot = b_, .born = b_, .base = {base_pos, base_born},                  \
        .hash = (letter), .size = 10, .kind = PAXOS_DATA, .value = (void *)(uintptr_t)(letter)     \
    }
#define CONFIG(pos, b_, letter, base_pos, base_born)                                               \
    {                                                                                              \
        .position = pos, .ballot = b_, .born = b_, .base = {base_pos, base_born},                  \
        .hash = (letter), .size = 10, .kind = PAXOS_CONFIG, .value = (void *)(uintptr_t)(letter)   \
    }
#define NOOP(pos, b_)                                                                              \
    {                                                                                              \
        .position = pos, .ballot = b_, .born = b_, .kind = PAXOS_NOOP                              \
    }
#define ENTRIES(...)                                                                               \
    .entries = (struct paxos_entry[]){__VA_ARGS__},                                                \
    .entry_count = sizeof((struct paxos_entry[]){__VA_ARGS__}) / sizeof(struct paxos_entry)

#define MESSAGE(type_, ...) ((struct paxos_message){.type = type_, __VA_ARGS__})
#define PREVOTE(...)        MESSAGE(PAXOS_PREVOTE, __VA_ARGS__)
#define PREVOTE_OK(...)     MESSAGE(PAXOS_PREVOTE_OK, __VA_ARGS__)
#define PREPARE(...)        MESSAGE(PAXOS_PREPARE, __VA_ARGS__)
#define PROMISE(...)        MESSAGE(PAXOS_PROMISE, __VA_ARGS__)
#define ACCEPT(...)         MESSAGE(PAXOS_ACCEPT, __VA_ARGS__)
#define ACCEPTED(...)       MESSAGE(PAXOS_ACCEPTED, __VA_ARGS__)
#define NACK(...)           MESSAGE(PAXOS_NACK, __VA_ARGS__)
#define COMMIT(...)         MESSAGE(PAXOS_COMMIT, __VA_ARGS__)
#define FETCH(...)          MESSAGE(PAXOS_FETCH, __VA_ARGS__)
#define LEARN(...)          MESSAGE(PAXOS_LEARN, __VA_ARGS__)
#define CONFIRM(...)        MESSAGE(PAXOS_CONFIRM, __VA_ARGS__)
#define CONFIRMED(...)      MESSAGE(PAXOS_CONFIRMED, __VA_ARGS__)
#define TIMEOUT_NOW(...)    MESSAGE(PAXOS_TIMEOUT_NOW, __VA_ARGS__)
#define RESIGNED(...)       MESSAGE(PAXOS_RESIGNED, __VA_ARGS__)

static inline void node_expect(struct node *n, const char *expected, const char *file, int line)
{
    if (strcmp(n->trace, expected) != 0) {
        if (getenv("TRACE_REWRITE"))
            fprintf(stderr, "@@ %s %d\n%s@@\n", file, line, n->trace);
        else
            fail_msg("%s:%d: the trace is\n%s\nexpected\n%s", file, line, n->trace, expected);
    }
    node_forget_trace(n);
}
#define EXPECT_TRACE(n, expected) node_expect(n, expected, __FILE__, __LINE__)

/* Ends the machine: it gives back each value it still holds, exactly once. */
static inline void node_end(struct node *n)
{
    struct paxos_sink sink = node_sink(n);
    n->quiet = true;
    paxos_deinit(&n->px, &sink);
    for (int i = 0; i < 128; i++) assert_int_equal(n->held[i], 0);
}

/* A leader at ballot 1.id whose barrier, position 1, is chosen and known to all. */
static inline void node_lead(struct node *n)
{
    uint16_t a = n->id == 1 ? 2 : 1, b = n->id == 3 ? 2 : 3;
    n->quiet = true;
    node_step(n, (struct paxos_event){.type = PAXOS_EV_CAMPAIGN});
    node_recv(n, PREVOTE_OK(.from = a, .ballot = n->px.trial));
    node_sync(n);
    node_recv(n, PROMISE(.from = a, .ballot = n->px.ballot, .mark = 7));
    node_sync(n);
    node_recv(n,
              ACCEPTED(.from = a, .ballot = n->px.ballot, .position = 1, .chosen = 1, .mark = 7));
    node_recv(n,
              ACCEPTED(.from = b, .ballot = n->px.ballot, .position = 1, .chosen = 1, .mark = 7));
    n->quiet = false;
    assert_true(paxos_serving(&n->px));
}

#endif
