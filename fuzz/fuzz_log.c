/* Fuzzes the log's decoders. The first byte chooses: 0 a record's body under a right checksum (so
 * that the fuzzer gets past it); 1 raw records; 2 a block's payload under a right header; 3 a raw
 * block and a raw segment header. What decodes must encode to something that decodes to the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "store/record.h"

enum { ID = 1 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode_again(const struct log_record *r)
{
    uint32_t check, check_back;
    struct log_record back;
    uint8_t *out = mem_alloc(record_size_max(r));
    size_t size = record_put(r, ID, out, &check);
    struct bytes in = bytes_of(out, size);
    ASSERT(size <= record_size_max(r));
    ASSERT(record_get(&in, ID, &back, &check_back) && in.size == 0 && check == check_back);
    ASSERT(back.type == r->type && back.group == r->group && back.replica == r->replica);
    ASSERT(back.promised == r->promised && back.chosen == r->chosen &&
           bytes_equal(back.value, r->value));
    ASSERT(back.entry.position == r->entry.position && back.entry.ballot == r->entry.ballot &&
           back.entry.born == r->entry.born);
    ASSERT(back.entry.base.position == r->entry.base.position &&
           back.entry.base.born == r->entry.base.born);
    ASSERT(back.entry.hash == r->entry.hash && back.entry.kind == r->entry.kind &&
           back.entry.size == r->entry.size);
    mem_free(out);
}

static void decode_records(struct bytes in)
{
    struct log_record r;
    uint32_t check;
    while (in.size && record_get(&in, ID, &r, &check)) encode_again(&r);
}

static void decode_body(struct bytes body)
{
    uint32_t size = (uint32_t)body.size;
    uint8_t *out = mem_alloc(RECORD_HEAD + body.size);
    memcpy(out + 8, &size, sizeof size);
    if (body.size) memcpy(out + RECORD_HEAD, body.data, body.size);
    uint64_t sum = hash64(bytes_of(out + 8, 4 + body.size), ID);
    memcpy(out, &sum, sizeof sum);
    decode_records(bytes_of(out, RECORD_HEAD + body.size));
    mem_free(out);
}

static void decode_block(struct bytes payload)
{
    struct record_block h = {.log_id = ID,
                             .sequence = 1,
                             .epoch = 1,
                             .lsn = 1,
                             .oldest = 1,
                             .place = 1,
                             .count = 1,
                             .payload = (uint32_t)payload.size},
                        back;
    uint8_t *out = mem_alloc((size_t)record_block_size(&h));
    if (payload.size) memcpy(out + sizeof h, payload.data, payload.size);
    record_block_put(&h, out);
    ASSERT(record_block_get(bytes_of(out, (size_t)record_block_size(&h)), ID, IO_BLOCK, &back));
    decode_records(bytes_of(out + sizeof h, back.payload));
    mem_free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record_block block;
    struct record_segment segment;
    if (!size) return 0;
    struct bytes in = bytes_of(data + 1, size - 1);
    switch (data[0] & 3) {
    case 0: decode_body(in); break;
    case 1: decode_records(in); break;
    case 2: decode_block(in); break;
    default: (void)record_block_get(in, ID, 0, &block); (void)record_segment_get(in, &segment);
    }
    return 0;
}
