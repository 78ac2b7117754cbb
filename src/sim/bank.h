/* The bank: tellers, plain Redis clients on the clients' host, whose transactions concern keys of
 * all groups: transfers between accounts, audits of all accounts, and a pair of keys that are
 * written together. sim/bank_judge.h says what must hold of the answers; a failure is
 * SIM_ATOMICITY. Half of the seeds have one; the others are as if it did not exist. */
#ifndef SYNOD_SIM_BANK_H
#define SYNOD_SIM_BANK_H

#include "base/bytes.h"

#include <stdbool.h>
#include <stddef.h>

struct sim;
struct bank;

/* After workload_new, which boots the host. NULL: this seed has none, which is fine for the
 * functions below. */
struct bank *bank_new(struct sim *s);
void bank_free(struct bank *b);   /* after workload_free */
void bank_demand(struct bank *b); /* each teller must get one transfer and one audit done */
bool bank_satisfied(const struct bank *b, char *missing, size_t size);
void bank_quiet(struct bank *b); /* no new requests */

/* What a snapshot has of it (sim/cuts.h); b may be NULL: then all is right. One after another:
 * sent, when it is asked for; answered; take, for each key; judge. */
struct bank_cut;
struct bank_cut *bank_cut_new(void);
void bank_cut_free(struct bank_cut *c);
void bank_cut_sent(struct bank *b, struct bank_cut *c);
void bank_cut_answered(const struct bank *b, struct bank_cut *c);
bool bank_cut_take(const struct bank *b, struct bank_cut *c, struct bytes key,
                   struct bytes value); /* false: the key was there before */
bool bank_cut_judge(struct bank *b, struct bank_cut *c, char *why, size_t size);

#endif
