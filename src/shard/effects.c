#include "shard/effects.h"
#include "ring/slot.h"

void effects_put(struct buf *out, struct bytes key, struct bytes value)
{
    buf_u8(out, EFFECT_PUT);
    buf_blob(out, key);
    buf_blob(out, value);
}

void effects_del(struct buf *out, struct bytes key)
{
    buf_u8(out, EFFECT_DEL);
    buf_blob(out, key);
}

void effects_trash(struct buf *out, struct bytes prefix)
{
    buf_u8(out, EFFECT_TRASH);
    buf_blob(out, prefix);
}

void effects_wipe(struct buf *out)
{
    buf_u8(out, EFFECT_WIPE);
}

void effects_count(struct buf *out, uint16_t slot, int64_t delta)
{
    buf_u8(out, EFFECT_COUNT);
    buf_u16(out, slot);
    buf_varint(out, (uint64_t)delta << 1 ^ (uint64_t)(delta >> 63));
}

void effects_split(struct buf *out, uint32_t group, uint16_t at, struct bytes config)
{
    buf_u8(out, EFFECT_SPLIT);
    buf_u32(out, group);
    buf_u16(out, at);
    buf_blob(out, config);
}

void effects_seal(struct buf *out, bool on)
{
    buf_u8(out, EFFECT_SEAL);
    buf_u8(out, on);
}

void effects_merge(struct buf *out, uint32_t group, uint64_t sealed)
{
    buf_u8(out, EFFECT_MERGE);
    buf_u32(out, group);
    buf_u64(out, sealed);
}

void effects_snap(struct buf *out, uint64_t cut, uint64_t ttl_ms)
{
    buf_u8(out, EFFECT_SNAP);
    buf_u64(out, cut);
    buf_u64(out, ttl_ms);
}

int effects_next(struct reader *r, struct effect *e)
{
    *e = (struct effect){0};
    if (reader_left(r) == 0) return r->bad ? -1 : 0;

    e->op = reader_u8(r);
    switch (e->op) {
    case EFFECT_PUT:
        e->key = reader_blob(r);
        e->value = reader_blob(r);
        break;
    case EFFECT_DEL:
    case EFFECT_TRASH: e->key = reader_blob(r); break;
    case EFFECT_WIPE: break;
    case EFFECT_COUNT: {
        e->slot = reader_u16(r);
        uint64_t z = reader_varint(r);
        e->delta = (int64_t)(z >> 1) ^ -(int64_t)(z & 1);
        if (e->slot >= SLOT_COUNT) return -1;
        break;
    }
    case EFFECT_SPLIT:
        e->group = reader_u32(r);
        e->slot = reader_u16(r);
        e->value = reader_blob(r);
        break;
    case EFFECT_SEAL:
        e->sealed = reader_u8(r);
        if (e->sealed > 1) return -1;
        break;
    case EFFECT_MERGE:
        e->group = reader_u32(r);
        e->sealed = reader_u64(r);
        break;
    case EFFECT_SNAP:
        e->cut = reader_u64(r);
        e->ttl_ms = reader_u64(r);
        break;
    default: return -1;
    }
    return r->bad ? -1 : 1;
}
