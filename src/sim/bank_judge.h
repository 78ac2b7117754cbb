/* Judges what the tellers of the bank (sim/bank.h) were told: is there one order of their
 * transactions, in which each is done as a whole or not at all, at one moment between its call and
 * its answer? Pure but for memory.
 *
 * A transfer of teller t moves an amount from one account to another, adds 1 to t's counter and
 * swaps its serial number (1, 2, ... as sent) into t's `last`, all as one. So
 *
 *   B1  the accounts' sum is 0;
 *   B2  the accounts' sum, each weighted with its index, is BANK_STEP times (the counters of even
 *       tellers - those of odd ones), for an amount is BANK_STEP / (distance of the two accounts),
 *       upwards by even tellers and downwards by odd ones: the accounts show just those transfers
 *       that the counters count;
 *   B3  a transfer is done as the n-th of its teller for one n, or never, and no two are the n-th:
 *       a reply and an audit name pairs (serial, n), and may not contradict each other. This holds
 *       whatever the outcomes of others were. One that was refused has no n;
 *   B4  a counter is never below what any completed operation had shown before this one was sent,
 *       and never above the number of transfers that were sent and not refused;
 *   B5  audits are of one order: of any two, one has no counter lower than the other, and where all
 *       are equal so are the accounts.
 *
 * A transfer without an answer may be done at any time, or never. Of the pair of keys, which are
 * written together: both hold the same, and nothing that was overwritten before the read was sent
 * (B6). Functions that return bool: false: that was wrong, and `why` says in which way. */
#ifndef SYNOD_SIM_BANK_JUDGE_H
#define SYNOD_SIM_BANK_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BANK_TELLERS_MAX  5
#define BANK_ACCOUNTS_MAX 12
#define BANK_STEP         27720 /* any distance of two accounts divides it */

struct bank_transfer;
struct bank_snapshot;
struct bank_pair;

struct bank_teller {
    struct bank_transfer *transfer; /* [serial] */
    uint32_t sent, refused, capacity;
    uint32_t seen; /* the greatest counter that anybody was told of */
};

struct bank_judge {
    uint32_t tellers, accounts;
    struct bank_teller teller[BANK_TELLERS_MAX];
    struct bank_snapshot *audit; /* in their order */
    uint32_t audits, audits_capacity;
    struct bank_pair *pair; /* [value] */
    uint32_t pairs, pairs_capacity;
    uint64_t time;        /* counts what is sent and answered */
    uint64_t pair_newest; /* when the newest was sent of those that are known to be written */
    char why[300];
};

/* An audit under way, and what it saw. */
struct bank_audit {
    uint32_t floor[BANK_TELLERS_MAX];
};
struct bank_view { /* 0: absent */
    int64_t account[BANK_ACCOUNTS_MAX], counter[BANK_TELLERS_MAX], last[BANK_TELLERS_MAX];
};

void bank_judge_init(struct bank_judge *j, uint32_t tellers, uint32_t accounts);
void bank_judge_deinit(struct bank_judge *j);

/* A teller moves from `from` to `to`, which is above it for even tellers and else below. */
int64_t bank_amount(uint32_t from, uint32_t to);

/* Returns the serial number. What is never answered may be done at any time. */
uint32_t bank_transfer_sent(struct bank_judge *j, uint32_t teller);
/* before: what was in `last`; 0: absent. */
bool bank_transfer_done(struct bank_judge *j, uint32_t teller, uint32_t serial, int64_t counter,
                        int64_t before);
bool bank_transfer_refused(struct bank_judge *j, uint32_t teller, uint32_t serial);

struct bank_audit bank_audit_sent(const struct bank_judge *j);
bool bank_audit_done(struct bank_judge *j, const struct bank_audit *audit,
                     const struct bank_view *view);

/* Returns the value to write into both keys. */
uint32_t bank_pair_sent(struct bank_judge *j);
void bank_pair_done(struct bank_judge *j, uint32_t value);
bool bank_pair_refused(struct bank_judge *j, uint32_t value);
/* Returns what bank_pair_read is to be told as `since`. */
uint64_t bank_pair_read_sent(const struct bank_judge *j);
bool bank_pair_read(struct bank_judge *j, uint64_t since, int64_t a, int64_t b);

#endif
