#include "store/record.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/hash.h"

/* ---- segment headers ---- */

static uint64_t segment_checksum(const uint8_t *block)
{
    size_t from = offsetof(struct record_segment, version);
    return hash64(bytes_of(block + from, IO_BLOCK - from), 0);
}

void record_segment_put(const struct record_segment *h, uint8_t *out)
{
    struct record_segment copy = *h;
    memcpy(copy.magic, RECORD_SEGMENT_MAGIC, sizeof copy.magic);
    copy.version = RECORD_VERSION;
    copy.reserved = 0;
    memset(out, 0, IO_BLOCK);
    memcpy(out, &copy, sizeof copy);
    copy.checksum = segment_checksum(out);
    memcpy(out, &copy, sizeof copy);
}

static bool all_zero(struct bytes s)
{
    for (size_t i = 0; i < s.size; i++)
        if (s.data[i]) return false;
    return true;
}

enum record_result record_segment_get(struct bytes in, struct record_segment *h)
{
    struct record_segment copy;
    if (in.size < IO_BLOCK) return RECORD_BAD;
    if (all_zero(bytes_of(in.data, IO_BLOCK))) return RECORD_EMPTY;
    memcpy(&copy, in.data, sizeof copy);
    if (memcmp(copy.magic, RECORD_SEGMENT_MAGIC, sizeof copy.magic)) return RECORD_BAD;
    /* Later versions keep magic, checksum and version where they are, so that a flipped bit in
     * `version` is not taken for one. */
    if (copy.checksum != segment_checksum(in.data)) return RECORD_BAD;
    *h = copy;
    return copy.version == RECORD_VERSION ? RECORD_OK : RECORD_VERSION_OTHER;
}

/* ---- blocks ---- */

static uint64_t block_checksum(const uint8_t *at, const struct record_block *h)
{
    size_t from = offsetof(struct record_block, log_id);
    return hash64(bytes_of(at + from, sizeof *h - from + h->payload), h->log_id);
}

void record_block_put(struct record_block *h, uint8_t *at)
{
    h->magic = RECORD_BLOCK_MAGIC;
    h->version = RECORD_VERSION;
    h->reserved = 0;
    memcpy(at, h, sizeof *h);
    h->checksum = block_checksum(at, h);
    memcpy(at, h, sizeof *h);
    uint64_t used = sizeof *h + h->payload;
    memset(at + used, 0, record_align(used) - used);
}

bool record_block_get(struct bytes in, uint64_t log_id, uint64_t offset, struct record_block *h)
{
    struct record_block copy;
    if (in.size < sizeof copy) return false;
    memcpy(&copy, in.data, sizeof copy);
    if (copy.magic != RECORD_BLOCK_MAGIC || copy.version != RECORD_VERSION) return false;
    if (copy.log_id != log_id || (uint64_t)copy.place * IO_BLOCK != offset) return false;
    if (record_block_size(&copy) > in.size) return false;
    if (copy.lsn == 0 || copy.count > UINT64_MAX - copy.lsn || copy.synced >= copy.lsn)
        return false;
    if (copy.checksum != block_checksum(in.data, &copy)) return false;
    *h = copy;
    return true;
}

/* ---- records ---- */

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) *p++ = (uint8_t)(v | 0x80), v >>= 7;
    *p++ = (uint8_t)v;
    return p;
}

static uint8_t *put_entry(const struct log_record *r, uint8_t *p)
{
    const struct paxos_entry *e = &r->entry;
    *p++ = e->kind;
    p = put_varint(p, r->chosen);
    p = put_varint(p, e->position);
    p = put_varint(p, e->ballot);
    p = put_varint(p, e->born);
    p = put_varint(p, e->base.position);
    p = put_varint(p, e->base.born);
    memcpy(p, &e->hash, sizeof e->hash);
    p += sizeof e->hash;
    if (r->value.size) memcpy(p, r->value.data, r->value.size);
    return p + r->value.size;
}

size_t record_put(const struct log_record *r, uint64_t log_id, uint8_t *out, uint32_t *check)
{
    uint8_t *body = out + RECORD_HEAD, *p = body;
    *p++ = r->type;
    p = put_varint(p, r->group);
    p = put_varint(p, r->replica);
    switch (r->type) {
    case LOG_PROMISE:
        p = put_varint(p, r->promised);
        p = put_varint(p, r->chosen);
        break;
    case LOG_ENTRY: p = put_entry(r, p); break;
    case LOG_CHOSEN: p = put_varint(p, r->chosen); break;
    default: break;
    }
    ASSERT((size_t)(p - body) <= RECORD_BODY_MAX + r->value.size);
    uint32_t size = (uint32_t)(p - body);
    memcpy(out + 8, &size, sizeof size);
    uint64_t sum = hash64(bytes_of(out + 8, sizeof size + size), log_id);
    memcpy(out, &sum, sizeof sum);
    *check = (uint32_t)sum;
    return RECORD_HEAD + size;
}

static void get_entry(struct reader *in, struct log_record *r)
{
    struct paxos_entry *e = &r->entry;
    e->kind = reader_u8(in);
    r->chosen = reader_varint(in);
    e->position = reader_varint(in);
    e->ballot = reader_varint(in);
    e->born = reader_varint(in);
    e->base.position = reader_varint(in);
    e->base.born = reader_varint(in);
    e->hash = reader_u64(in);
    if (in->bad || e->kind > PAXOS_CONFIG || e->position == 0) {
        in->bad = true;
        return;
    }
    r->value = reader_take(in, reader_left(in));
    e->size = (uint32_t)r->value.size;
}

static bool get_body(struct bytes body, struct log_record *r)
{
    struct reader in = reader_of(body);
    *r = (struct log_record){.type = reader_u8(&in)};
    uint64_t group = reader_varint(&in), replica = reader_varint(&in);
    if (group > UINT32_MAX || replica > UINT16_MAX) return false;
    r->group = (uint32_t)group;
    r->replica = (uint16_t)replica;
    switch (r->type) {
    case LOG_PROMISE:
        r->promised = reader_varint(&in);
        r->chosen = reader_varint(&in);
        break;
    case LOG_ENTRY: get_entry(&in, r); break;
    case LOG_CHOSEN: r->chosen = reader_varint(&in); break;
    case LOG_BEAT:
    case LOG_DROP: break;
    default: return false;
    }
    return !in.bad && reader_left(&in) == 0;
}

bool record_get(struct bytes *in, uint64_t log_id, struct log_record *r, uint32_t *check)
{
    uint64_t sum;
    uint32_t size;
    if (in->size < RECORD_HEAD) return false;
    memcpy(&sum, in->data, sizeof sum);
    memcpy(&size, in->data + 8, sizeof size);
    if (size > in->size - RECORD_HEAD) return false;
    if (sum != hash64(bytes_of(in->data + 8, sizeof size + size), log_id)) return false;
    if (!get_body(bytes_of(in->data + RECORD_HEAD, size), r)) return false;
    *check = (uint32_t)sum;
    *in = bytes_of(in->data + RECORD_HEAD + size, in->size - RECORD_HEAD - size);
    return true;
}

const char *record_type_name(uint8_t type)
{
    static const char *const name[] = {"?", "promise", "entry", "chosen", "beat", "drop"};
    return type < sizeof name / sizeof *name ? name[type] : "?";
}

/* ---- the classifier ---- */

bool record_follows(struct record_end end, uint64_t epoch, uint64_t lsn)
{
    return epoch >= end.epoch && lsn > end.lsn;
}

enum record_verdict record_classify(struct record_end end, uint64_t proven)
{
    return proven > end.lsn ? RECORD_CORRUPT : RECORD_TORN;
}
