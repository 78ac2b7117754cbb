/* Liveness and leases between nodes, one heartbeat a node pair for all groups (PROTOCOLS 1.4, 2.2).
 * Pure.
 *
 * Receiver's side: on a heartbeat from node X a node grants X, for `duration` of its own clock from
 * receipt, that it will promise no group away from X. The grant is volatile: a restarted node
 * promises nothing to anybody until `duration` has passed (lease_init with fresh = false).
 *
 * Sender's side: X counts on peer P for group g until t_send + duration * (1 - 2 drift), t_send
 * read before sending, and only if the *mark* that P sent with its promise for g equals the mark in
 * P's answer to that heartbeat. P's mark towards X is (P's incarnation, number of times P promised
 * a group away from X): equal marks mean that between its promise for g and the heartbeat P took no
 * group away from X, and after the heartbeat the grant binds it. So grants need no list of groups.
 */
#ifndef SYNOD_PAXOS_LEASE_H
#define SYNOD_PAXOS_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEASE_NODES_MAX                                                                            \
    64 /* nodes this node exchanges heartbeats with; node ids are below this in this version */

struct lease_peer {
    /* as a receiver of its heartbeats */
    uint64_t heard_at;      /* when its last heartbeat came; 0: never */
    uint64_t granted_until; /* my promise to it */
    uint32_t lost;          /* groups promised away from it */
    uint64_t incarnation;   /* its */
    /* as a sender of heartbeats to it */
    uint64_t seq;             /* last sent */
    uint64_t supported_until; /* by it, as of the best answer with `supported_mark` */
    uint64_t supported_mark;
    uint64_t answered_at; /* when its last answer came */
};

struct lease_table {
    uint16_t self;
    uint32_t incarnation;  /* low 32 bits: rises at every start of this node */
    uint64_t duration;     /* L, ns */
    uint32_t drift_ppm;    /* epsilon: 5000 is 0.5 % */
    uint64_t silent_until; /* after a restart: no promise before */
    bool released;         /* reserved: this node sends no heartbeats (disk or reactor stuck) */
    struct lease_peer peer[LEASE_NODES_MAX];
};

struct lease_heartbeat {
    uint64_t incarnation, seq, t_send;
};
struct lease_answer {
    uint64_t incarnation, seq, t_send; /* incarnation: the answerer's; seq and t_send: echoed */
    uint64_t mark;
};

/* fresh: this node never promised anything to anybody (an empty data directory), so it need not
 * wait. */
void lease_init(struct lease_table *t, uint16_t self, uint32_t incarnation, uint64_t duration_ns,
                uint32_t drift_ppm, uint64_t now, bool fresh);

/* Sender. */
struct lease_heartbeat lease_send(struct lease_table *t, uint16_t peer, uint64_t now);
void lease_on_answer(struct lease_table *t, uint16_t peer, const struct lease_answer *a,
                     uint64_t now);
/* Until when `peer` supports me in a group for which it last sent `mark`; 0: not known to. */
uint64_t lease_supported_until(const struct lease_table *t, uint16_t peer, uint64_t mark);

/* Receiver. */
struct lease_answer lease_on_heartbeat(struct lease_table *t, uint16_t peer,
                                       const struct lease_heartbeat *hb, uint64_t now);
/* May I promise a group, now led (as far as I promised) by node `holder`, to somebody else? holder
 * == self or 0: only the restart wait counts. */
bool lease_allows(const struct lease_table *t, uint16_t holder, uint64_t now);
/* I promised a group away from `holder`. Call after lease_allows said yes (or the holder released
 * it). */
void lease_lost(struct lease_table *t, uint16_t holder);
uint64_t lease_mark(const struct lease_table *t, uint16_t peer);
/* Has `peer` been silent for longer than `timeout`? Never heard: counted from `since`. */
bool lease_suspects(const struct lease_table *t, uint16_t peer, uint64_t timeout, uint64_t since,
                    uint64_t now);

#endif
