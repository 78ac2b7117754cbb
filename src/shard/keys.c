#include "shard/keys.h"
#include "base/hash.h"

static void put_be(struct buf *out, uint64_t v, int size)
{
    uint8_t *p = buf_reserve(out, (size_t)size);
    for (int i = 0; i < size; i++) p[i] = (uint8_t)(v >> 8 * (size - 1 - i));
    out->size += (size_t)size;
}

void keys_slot(struct buf *out, uint16_t slot)
{
    buf_clear(out);
    put_be(out, slot, 2);
}

void keys_kind(struct buf *out, uint16_t slot, uint8_t kind)
{
    keys_slot(out, slot);
    buf_u8(out, kind);
}

uint64_t keys_h48(struct bytes key)
{
    return hash64(key, 0) >> 16;
}

void keys_meta_from(struct buf *out, uint16_t slot, uint64_t h48)
{
    keys_kind(out, slot, KEYS_META);
    put_be(out, h48, 6);
}

void keys_meta(struct buf *out, uint16_t slot, struct bytes key)
{
    keys_meta_from(out, slot, keys_h48(key));
    buf_append_bytes(out, key);
}

void keys_sub(struct buf *out, uint16_t slot, uint64_t objid, struct bytes member)
{
    keys_kind(out, slot, KEYS_SUB);
    put_be(out, objid, 8);
    buf_append_bytes(out, member);
}

void keys_expiry(struct buf *out, uint16_t slot, uint64_t ms, struct bytes key)
{
    keys_kind(out, slot, KEYS_EXPIRY);
    put_be(out, ms, 8);
    buf_append_bytes(out, key);
}

void keys_once(struct buf *out, uint16_t slot, struct bytes token)
{
    keys_kind(out, slot, KEYS_ONCE);
    buf_append_bytes(out, token);
}

void keys_once_expiry(struct buf *out, uint16_t slot, uint64_t ms, struct bytes token)
{
    keys_kind(out, slot, KEYS_ONCE_EXPIRY);
    put_be(out, ms, 8);
    buf_append_bytes(out, token);
}

void keys_system(struct buf *out, struct bytes suffix)
{
    keys_kind(out, 0, KEYS_SYSTEM);
    buf_append_bytes(out, suffix);
}

void keys_txn(struct buf *out, uint16_t slot, uint64_t who, uint64_t seq)
{
    keys_kind(out, slot, KEYS_TXN);
    put_be(out, who, 8);
    put_be(out, seq, 8);
}

void keys_applied(struct buf *out, uint32_t group)
{
    keys_kind(out, KEYS_RECORDS, KEYS_APPLIED);
    put_be(out, group, 4);
}

uint32_t keys_applied_group(struct bytes key)
{
    if (key.size != 7 || be16_get(key.data) != KEYS_RECORDS || key.data[2] != KEYS_APPLIED)
        return UINT32_MAX;
    return (uint32_t)be16_get(key.data + 3) << 16 | be16_get(key.data + 5);
}
