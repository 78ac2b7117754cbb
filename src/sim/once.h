/* Askers: clients on the clients' host whose requests have tokens (redis/once.h), and who ask
 * again, here and there and also when they need not, until they are answered. Each has two counters
 * to itself, in different groups mostly, and so knows every answer beforehand: after n requests
 * that were answered a counter is n, not more and not less. Another answer is SIM_ATOMICITY. Half
 * of the seeds have them; the others are as if they did not exist. */
#ifndef SYNOD_SIM_ONCE_H
#define SYNOD_SIM_ONCE_H

#include <stdbool.h>
#include <stddef.h>

struct sim;
struct askers;

/* After bank_new. NULL: this seed has none, which is fine for the functions below. */
struct askers *askers_new(struct sim *s);
void askers_free(struct askers *a);   /* after workload_free */
void askers_demand(struct askers *a); /* each must get one more request answered */
bool askers_satisfied(const struct askers *a, char *missing, size_t size);
void askers_quiet(struct askers *a); /* no new requests */

#endif
