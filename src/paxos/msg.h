/* The byte form of paxos messages, as sent between nodes. Values travel inside.
 *
 * paxos_message_encode appends to `out`; `value_of` maps a handle to its bytes.
 * paxos_message_decode reads one message; entry values are borrowed slices of the input, one struct
 * bytes an entry in `values` (room for `max`); the caller makes handles of them. False: malformed
 * (counted by the caller; nothing was changed). paxos_config_encode appends the byte form of a
 * configuration, the value of a CONFIG entry; paxos_config_decode is in paxos.h. */
#ifndef SYNOD_PAXOS_MSG_H
#define SYNOD_PAXOS_MSG_H

#include "base/buf.h"
#include "paxos/paxos.h"

void paxos_message_encode(const struct paxos_message *m, struct bytes (*value_of)(void *handle),
                          struct buf *out);
bool paxos_message_decode(struct bytes in, struct paxos_message *m, struct paxos_entry *entries,
                          struct bytes *values, uint32_t max);
const char *paxos_message_name(uint8_t type);
void paxos_config_encode(const struct paxos_config *c, struct buf *out);

#endif
