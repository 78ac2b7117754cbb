/* The payload of FUNCTION DUMP, as Redis 7.0 writes it, so that libraries move between the two:
 *
 *   per library: 0xf5, its code (a string of RDB); then RDB version:2, CRC-64 (Jones) of all
 *   before:8, little-endian
 *
 * A string of RDB: a length, its bytes; or 0xc3, compressed length, length, LZF. A length:
 * 00xxxxxx; 01xxxxxx and one byte; 0x80 and four, 0x81 and eight bytes, big-endian. We write no
 * LZF. */
#include "base/buf.h"
#include "base/mem.h"
#include "redis/script.h"

#define OPCODE_FUNCTION 0xf5
#define RDB_VERSION     10
#define RDB_LZF         0xc3
#define FOOTER          10

static uint64_t crc64(struct bytes s)
{
    uint64_t crc = 0;
    for (size_t i = 0; i < s.size; i++) {
        crc ^= s.data[i];
        for (int k = 0; k < 8; k++) crc = crc & 1 ? crc >> 1 ^ 0x95ac9329ac4bc9b5ull : crc >> 1;
    }
    return crc;
}

void function_dump_begin(struct buf *out)
{
    buf_clear(out);
}

void function_dump_library(struct buf *out, struct bytes code)
{
    uint32_t size = (uint32_t)code.size;
    buf_u8(out, OPCODE_FUNCTION);
    buf_u8(out, 0x80);
    for (int i = 24; i >= 0; i -= 8) buf_u8(out, (uint8_t)(size >> i));
    buf_append_bytes(out, code);
}

void function_dump_end(struct buf *out)
{
    buf_u16(out, RDB_VERSION);
    buf_u64(out, crc64(buf_bytes(out)));
}

static uint64_t read_big(struct reader *r, int bytes)
{
    uint64_t v = 0;
    while (bytes--) v = v << 8 | reader_u8(r);
    return v;
}

static uint64_t read_length(struct reader *r, uint8_t first)
{
    if (first < 0x40) return first;
    if (first < 0x80) return (uint64_t)(first & 0x3f) << 8 | reader_u8(r);
    if (first == 0x80) return read_big(r, 4);
    if (first == 0x81) return read_big(r, 8);
    r->bad = true;
    return 0;
}

/* One back reference or literal run of LZF. False: malformed. */
static bool lzf_step(struct reader *in, struct buf *out, size_t size)
{
    uint8_t control = reader_u8(in);
    if (control < 32) {
        struct bytes run = reader_take(in, control + 1u);
        if (in->bad || out->size + run.size > size) return false;
        buf_append_bytes(out, run);
        return true;
    }
    size_t count = control >> 5;
    if (count == 7) count += reader_u8(in);
    size_t back = ((size_t)(control & 31) << 8 | reader_u8(in)) + 1;
    count += 2;
    if (in->bad || back > out->size || out->size + count > size) return false;
    for (; count; count--) buf_u8(out, out->data[out->size - back]);
    return true;
}

/* A string of RDB; `plain` holds what was compressed. False: malformed. */
static bool read_string(struct reader *r, struct buf *plain, struct bytes *s)
{
    uint8_t first = reader_u8(r);
    buf_clear(plain);
    if (first != RDB_LZF) {
        uint64_t size = read_length(r, first);
        if (r->bad || size > reader_left(r)) return false;
        *s = reader_take(r, (size_t)size);
        return true;
    }
    uint64_t packed = read_length(r, reader_u8(r)), size = read_length(r, reader_u8(r));
    if (r->bad || packed > reader_left(r) || size > SCRIPT_CODE_MAX) return false;
    struct reader in = reader_of(reader_take(r, (size_t)packed));
    (void)buf_reserve(plain, (size_t)size);
    while (reader_left(&in))
        if (!lzf_step(&in, plain, (size_t)size)) return false;
    *s = buf_bytes(plain);
    return plain->size == size;
}

bool function_dump_read(struct bytes payload, bool (*each)(void *ctx, struct bytes code), void *ctx)
{
    struct buf plain = {0};
    struct bytes code;
    if (payload.size < FOOTER) return false;
    struct bytes body = bytes_of(payload.data, payload.size - 8);
    struct reader footer = reader_of(bytes_of(payload.data + payload.size - FOOTER, FOOTER));
    uint16_t version = reader_u16(&footer);
    bool sound = version <= RDB_VERSION + 2 && reader_u64(&footer) == crc64(body);
    struct reader r = reader_of(bytes_of(payload.data, payload.size - FOOTER));
    while (sound && reader_left(&r))
        sound =
            reader_u8(&r) == OPCODE_FUNCTION && read_string(&r, &plain, &code) && each(ctx, code);
    buf_deinit(&plain);
    return sound;
}
