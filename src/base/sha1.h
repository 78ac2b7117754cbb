/* SHA-1 (RFC 3174), which is how Redis names scripts. Not for anything that must resist an
 * attacker who may choose both of two texts. Pure. */
#ifndef SYNOD_BASE_SHA1_H
#define SYNOD_BASE_SHA1_H

#include "base/bytes.h"

#define SHA1_HEX 40

/* Writes the digest as 40 lower-case hexadecimal digits, without a NUL. */
void sha1_hex(struct bytes s, char out[SHA1_HEX]);

#endif
