/* Key -> slot, exactly as Redis Cluster: CRC16 (XMODEM) of the key, or of what stands between the
 * first { and the next } if that is not empty, modulo 16384. Pure. */
#ifndef SYNOD_RING_SLOT_H
#define SYNOD_RING_SLOT_H

#include "base/bytes.h"

#define SLOT_COUNT 16384

uint16_t slot_crc16(struct bytes s);
uint16_t slot_of(struct bytes key);

#endif
