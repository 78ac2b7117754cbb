/* Are transactions on lists strictly serializable? The judge of histories of appends and reads, as
 * Elle's (Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental
 * Observations", VLDB 2020).
 *
 * No value is appended to a key twice, so whoever reads a list reads its history. The longest read
 * of a key gives the order of its versions, every other one must be a prefix of it, and from this
 * follows who depends on whom:
 *
 *   ww  its append is the next version's, after the other one's
 *   wr  it read a list whose last element is the other one's
 *   rw  it read a list that lacks the other one's append, which is the next version
 *   rt  it had ended before the other one began
 *
 * A transaction that was committed and whose append no read shows comes after all that are shown:
 * who read the longest list has not seen it. Dependencies of one serial order have no cycle. What
 * has one is named after the strongest guarantee that it breaks, with the kinds of the cycle's
 * edges: G0 (ww), G1c (ww, wr), G-single (one rw), G2 (several rw), and with "-realtime" if there
 * is no such cycle without rt (Adya 1999).
 *
 * What it accepts may still be wrong, for not every order can be seen; what it rejects is. A
 * transaction of unknown outcome counts as committed if something of it was read, and else is left
 * out; it has no end. */
#ifndef SYNOD_SIM_CHECK_CYCLES_H
#define SYNOD_SIM_CHECK_CYCLES_H

#include "base/buf.h"

enum cycles_outcome {
    CYCLES_COMMITTED,
    CYCLES_ABORTED, /* nothing of it was done, or ever will be */
    CYCLES_UNKNOWN,
};

struct cycles_op {
    uint32_t key;
    bool append;
    uint32_t value;         /* of an append: no other has it for this key */
    const uint32_t *values; /* of a read: the list, from its first element */
    uint32_t count;
};

struct cycles_txn {
    uint32_t client;
    enum cycles_outcome outcome;
    uint64_t call, ret; /* in any unit; equal times overlap; ret: not looked at if UNKNOWN */
    const struct cycles_op *op;
    uint32_t ops; /* in their order; reads count only if COMMITTED */
};

enum cycles_anomaly {
    CYCLES_NONE,
    CYCLES_GARBAGE,   /* a read shows what nobody appended */
    CYCLES_DUPLICATE, /* ... or an element twice */
    CYCLES_INTERNAL,  /* ... or not what the transaction itself had read or appended before */
    CYCLES_G1A,       /* ... or what an aborted transaction appended */
    CYCLES_ORDER,     /* of two reads of a key neither is a prefix of the other */
    CYCLES_G1B,       /* a read ends between two appends of another transaction */
    CYCLES_G0,
    CYCLES_G1C,
    CYCLES_G_SINGLE,
    CYCLES_G2,
    CYCLES_G0_REALTIME,
    CYCLES_G1C_REALTIME,
    CYCLES_G_SINGLE_REALTIME,
    CYCLES_G2_REALTIME,
    CYCLES_ANOMALIES,
};
const char *cycles_anomaly_name(enum cycles_anomaly a);

struct cycles_history;
struct cycles_history *cycles_new(void);
void cycles_free(struct cycles_history *h);
/* Copies all of it. Returns its number, by which cycles_check calls it: T0, T1, ... */
uint32_t cycles_add(struct cycles_history *h, const struct cycles_txn *t);

/* The first anomaly that is found: those that reads show by themselves come before those that take
 * a cycle. `why` is cleared and says what it is: a sentence for each edge of the cycle, and its
 * transactions. */
enum cycles_anomaly cycles_check(const struct cycles_history *h, struct buf *why);

#endif
