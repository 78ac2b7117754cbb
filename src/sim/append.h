/* The lists: scribes, callers whose transactions append to lists in all groups and read them. What
 * they were told is a history for sim/check_cycles.h, which is judged when the run is over; a
 * failure is SIM_ISOLATION. A quarter of the seeds have them, whether or not there is a bank.
 *
 * Two of five transactions are opened by BEGIN, so each operation is answered before the next.
 *
 * A list is a string: APPEND puts "17," behind it, GET reads it whole. Lists are short: after some
 * appends another key takes the place of each. */
#ifndef SYNOD_SIM_APPEND_H
#define SYNOD_SIM_APPEND_H

#include <stdbool.h>
#include <stddef.h>

struct sim;
struct append_work;

/* After workload_new, which boots the host. NULL: this seed has none, which is fine for the
 * functions below. */
struct append_work *append_new(struct sim *s);
void append_free(struct append_work *a);         /* after workload_free */
void append_demand(struct append_work *a);       /* each scribe must get one transaction done */
void append_quiet(struct append_work *a);        /* no new requests */
void append_demand_reads(struct append_work *a); /* of every list that there ever was */
bool append_satisfied(const struct append_work *a, char *missing, size_t size);
void append_judge(struct append_work *a);

#endif
