#include "ring/slot.h"

/* CRC-16/XMODEM: polynomial 0x1021, start 0, no reflection (the table is worked out once per call byte: 8 shifts replaced by a
 * nibble table that fits in a cache line). */
static const uint16_t crc_nibble[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
                                        0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};

uint16_t slot_crc16(struct bytes s)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < s.size; i++) {
        crc = (uint16_t)(crc << 4 ^ crc_nibble[(crc >> 12 ^ s.data[i] >> 4) & 15]);
        crc = (uint16_t)(crc << 4 ^ crc_nibble[(crc >> 12 ^ s.data[i]) & 15]);
    }
    return crc;
}

uint16_t slot_of(struct bytes key)
{
    const uint8_t *open = key.size ? memchr(key.data, '{', key.size) : NULL;
    if (open) {
        const uint8_t *tag = open + 1, *end = key.data + key.size;
        const uint8_t *close = tag < end ? memchr(tag, '}', (size_t)(end - tag)) : NULL;
        if (close && close > tag) key = bytes_of(tag, (size_t)(close - tag));
    }
    return slot_crc16(key) % SLOT_COUNT;
}
