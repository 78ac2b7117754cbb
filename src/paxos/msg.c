/* The byte form of a paxos message. Integers little-endian, v: LEB128 varint.
 *
 *   u8  type | u8 flags | u16 from | u16 to
 *   v   ballot | v promised | v released | v position | v chosen | v seq | v mark | v config
 *   v   number of entries, then each:
 *       v position | v ballot | v born | v base.position | v base.born | u64 hash | u8 kind | v
 * size | size bytes of value
 *
 * Valid: type and kind are known, size is 0 for a no-op, nothing is left over. Whether the content
 * makes sense is for paxos_step to say. Of a configuration: config.c. */
#include "paxos/msg.h"

static void entry_encode(const struct paxos_entry *e, struct bytes (*value_of)(void *handle),
                         struct buf *out)
{
    struct bytes value = e->value ? value_of(e->value) : (struct bytes){0};
    buf_varint(out, e->position);
    buf_varint(out, e->ballot);
    buf_varint(out, e->born);
    buf_varint(out, e->base.position);
    buf_varint(out, e->base.born);
    buf_u64(out, e->hash);
    buf_u8(out, e->kind);
    buf_blob(out, value);
}

void paxos_message_encode(const struct paxos_message *m, struct bytes (*value_of)(void *handle),
                          struct buf *out)
{
    buf_u8(out, m->type);
    buf_u8(out, m->flags);
    buf_u16(out, m->from);
    buf_u16(out, m->to);
    buf_varint(out, m->ballot);
    buf_varint(out, m->promised);
    buf_varint(out, m->released);
    buf_varint(out, m->position);
    buf_varint(out, m->chosen);
    buf_varint(out, m->seq);
    buf_varint(out, m->mark);
    buf_varint(out, m->config);
    buf_varint(out, m->entry_count);
    for (uint32_t i = 0; i < m->entry_count; i++) entry_encode(&m->entries[i], value_of, out);
}

static bool entry_decode(struct reader *r, struct paxos_entry *e, struct bytes *value)
{
    *e = (struct paxos_entry){0};
    e->position = reader_varint(r);
    e->ballot = reader_varint(r);
    e->born = reader_varint(r);
    e->base.position = reader_varint(r);
    e->base.born = reader_varint(r);
    e->hash = reader_u64(r);
    e->kind = reader_u8(r);
    *value = reader_blob(r);
    if (r->bad || value->size > UINT32_MAX || e->kind > PAXOS_CONFIG) return false;
    e->size = (uint32_t)value->size;
    return e->kind != PAXOS_NOOP || e->size == 0;
}

bool paxos_message_decode(struct bytes in, struct paxos_message *m, struct paxos_entry *entries,
                          struct bytes *values, uint32_t max)
{
    struct reader r = reader_of(in);
    struct paxos_message read = {0};
    read.type = reader_u8(&r);
    read.flags = reader_u8(&r);
    read.from = reader_u16(&r);
    read.to = reader_u16(&r);
    read.ballot = reader_varint(&r);
    read.promised = reader_varint(&r);
    read.released = reader_varint(&r);
    read.position = reader_varint(&r);
    read.chosen = reader_varint(&r);
    read.seq = reader_varint(&r);
    read.mark = reader_varint(&r);
    read.config = reader_varint(&r);
    uint64_t count = reader_varint(&r);
    if (r.bad || read.type >= PAXOS_MESSAGE_TYPES || count > max) return false;
    for (uint64_t i = 0; i < count; i++)
        if (!entry_decode(&r, &entries[i], &values[i])) return false;
    if (r.bad || reader_left(&r)) return false;
    read.entry_count = (uint32_t)count;
    read.entries = entries;
    *m = read;
    return true;
}

const char *paxos_message_name(uint8_t type)
{
    static const char *const name[PAXOS_MESSAGE_TYPES] = {
        "prevote", "prevote_ok", "prepare", "promise", "accept",    "accepted",    "nack",
        "commit",  "fetch",      "learn",   "confirm", "confirmed", "timeout_now", "resigned"};
    return type < PAXOS_MESSAGE_TYPES ? name[type] : "unknown";
}

void paxos_config_encode(const struct paxos_config *c, struct buf *out)
{
    buf_u8(out, PAXOS_CONFIG_VERSION);
    buf_u8(out, c->count);
    buf_u16(out, c->next_replica);
    for (int i = 0; i < c->count; i++) {
        buf_u16(out, c->member[i].replica);
        buf_u16(out, c->member[i].node);
        buf_u8(out, c->member[i].role);
    }
}
