#include "node/wire.h"
#include "base/assert.h"
#include "base/hash.h"
#include "ring/slot.h"
#include "redis/resp.h"

static const uint8_t wire_magic[2] = {'s', 'y'};

static uint64_t get_le(const uint8_t *p, int size)
{
    uint64_t v = 0;
    for (int i = 0; i < size; i++) v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static void put_le(uint8_t *p, uint64_t v, int size)
{
    for (int i = 0; i < size; i++) p[i] = (uint8_t)(v >> 8 * i);
}

size_t wire_frame_size(struct bytes in)
{
    if (in.size < WIRE_HEAD) return 0;
    size_t size = (size_t)get_le(in.data, 4);
    if (in.data[4] != wire_magic[0] || in.data[5] != wire_magic[1] || size > WIRE_FRAME_MAX)
        return SIZE_MAX;
    return in.size < WIRE_HEAD + size ? 0 : WIRE_HEAD + size;
}

bool wire_frame_may_disturb(struct bytes frame)
{
    uint8_t type = frame.size >= WIRE_HEAD ? frame.data[6] : 0;
    return type == WIRE_PAXOS || type == WIRE_HEARTBEAT || type == WIRE_ANSWER ||
           type == WIRE_STATE || type == WIRE_RING_ASK || type == WIRE_RING ||
           type == WIRE_CREATE || type == WIRE_JOB;
}

size_t wire_begin(struct buf *out, uint8_t type)
{
    size_t begun = out->size;
    uint8_t *head = buf_reserve(out, WIRE_HEAD);
    memset(head, 0, WIRE_HEAD);
    memcpy(head + 4, wire_magic, 2);
    head[6] = type;
    head[7] = WIRE_VERSION;
    out->size += WIRE_HEAD;
    return begun;
}

void wire_end(struct buf *out, size_t begun)
{
    uint8_t *head = out->data + begun;
    size_t size = out->size - begun - WIRE_HEAD;
    ASSERT(size <= WIRE_FRAME_MAX);
    put_le(head, size, 4);
    put_le(head + 8, hash64(bytes_of(head + WIRE_HEAD, size), head[6]), 8);
}

bool wire_open(struct bytes frame, uint8_t *type, struct bytes *payload)
{
    const uint8_t *head = frame.data;
    *type = head[6];
    *payload = bytes_of(head + WIRE_HEAD, frame.size - WIRE_HEAD);
    return head[7] == WIRE_VERSION && get_le(head + 8, 8) == hash64(*payload, *type);
}

void wire_put_hello(struct buf *out, const struct wire_hello *h)
{
    size_t begun = wire_begin(out, WIRE_HELLO);
    buf_u64(out, h->cluster);
    buf_u16(out, h->node);
    buf_u64(out, h->disk);
    buf_u64(out, h->incarnation);
    buf_u64(out, h->knows);
    buf_blob(out, h->client);
    buf_blob(out, h->http);
    buf_blob(out, h->zone);
    wire_end(out, begun);
}

bool wire_get_hello(struct bytes payload, struct wire_hello *h)
{
    struct reader r = reader_of(payload);
    h->cluster = reader_u64(&r);
    h->node = reader_u16(&r);
    h->disk = reader_u64(&r);
    h->incarnation = reader_u64(&r);
    h->knows = reader_u64(&r);
    h->client = reader_blob(&r);
    h->http = reader_blob(&r);
    h->zone = reader_blob(&r);
    return !r.bad;
}

void wire_put_text(struct buf *out, uint8_t type, const char *text)
{
    size_t begun = wire_begin(out, type);
    buf_append_bytes(out, bytes_str(text));
    wire_end(out, begun);
}

void wire_put_heartbeat(struct buf *out, const struct lease_heartbeat *h)
{
    size_t begun = wire_begin(out, WIRE_HEARTBEAT);
    buf_u64(out, h->incarnation);
    buf_u64(out, h->seq);
    buf_u64(out, h->t_send);
    wire_end(out, begun);
}

bool wire_get_heartbeat(struct bytes payload, struct lease_heartbeat *h)
{
    struct reader r = reader_of(payload);
    h->incarnation = reader_u64(&r);
    h->seq = reader_u64(&r);
    h->t_send = reader_u64(&r);
    return !r.bad;
}

void wire_put_answer(struct buf *out, const struct lease_answer *a)
{
    size_t begun = wire_begin(out, WIRE_ANSWER);
    buf_u64(out, a->incarnation);
    buf_u64(out, a->seq);
    buf_u64(out, a->t_send);
    buf_u64(out, a->mark);
    wire_end(out, begun);
}

bool wire_get_answer(struct bytes payload, struct lease_answer *a)
{
    struct reader r = reader_of(payload);
    a->incarnation = reader_u64(&r);
    a->seq = reader_u64(&r);
    a->t_send = reader_u64(&r);
    a->mark = reader_u64(&r);
    return !r.bad;
}

void wire_put_report(struct buf *out, const struct wire_report *r)
{
    const uint64_t v[] = {r->leads,        r->keys,      r->disk_bytes, r->log_bytes, r->room_bytes,
                          r->memory_bytes, r->ops_per_s, r->uptime_s,   r->uring,     r->epoch,
                          r->echo,         r->write_us,  r->slow,       r->full,      r->cut,
                          r->hears,        r->workers,   r->tasks,      r->pins};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) buf_varint(out, v[i]);
}

void wire_get_report(struct reader *in, struct wire_report *r)
{
    uint64_t *v[] = {&r->leads,      &r->keys,         &r->disk_bytes, &r->log_bytes,
                     &r->room_bytes, &r->memory_bytes, &r->ops_per_s,  &r->uptime_s};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) *v[i] = reader_varint(in);
    r->uring = reader_varint(in) != 0;
    r->epoch = reader_varint(in);
    r->echo = reader_varint(in);
    r->write_us = reader_varint(in);
    r->slow = reader_varint(in) != 0;
    r->full = reader_varint(in) != 0;
    r->cut = reader_varint(in) != 0;
    r->hears = reader_varint(in);
    r->workers = reader_varint(in);
    r->tasks = reader_varint(in);
    r->pins = reader_varint(in);
}

void wire_put_state(struct buf *out, const struct wire_state *s)
{
    buf_varint(out, s->group);
    buf_varint(out, s->replica);
    buf_varint(out, s->chosen);
    buf_varint(out, s->applied);
    buf_varint(out, s->flushed);
    buf_varint(out, s->log_first);
    buf_varint(out, s->keys);
    buf_varint(out, s->load);
    buf_u8(out, s->leads);
}

bool wire_get_state(struct reader *r, struct wire_state *s)
{
    s->group = (uint32_t)reader_varint(r);
    s->replica = (uint16_t)reader_varint(r);
    s->chosen = reader_varint(r);
    s->applied = reader_varint(r);
    s->flushed = reader_varint(r);
    s->log_first = reader_varint(r);
    s->keys = reader_varint(r);
    s->load = reader_varint(r);
    s->leads = reader_u8(r) != 0;
    return !r->bad;
}

void wire_put_join(struct buf *out, const struct wire_join *j)
{
    size_t begun = wire_begin(out, WIRE_JOIN);
    buf_u64(out, j->disk);
    buf_u32(out, j->capacity);
    buf_blob(out, j->peer);
    buf_blob(out, j->client);
    buf_blob(out, j->http);
    buf_blob(out, j->zone);
    buf_u8(out, j->witness);
    wire_end(out, begun);
}

bool wire_get_join(struct bytes payload, struct wire_join *j)
{
    struct reader r = reader_of(payload);
    j->disk = reader_u64(&r);
    j->capacity = reader_u32(&r);
    j->peer = reader_blob(&r);
    j->client = reader_blob(&r);
    j->http = reader_blob(&r);
    j->zone = reader_blob(&r);
    j->witness = reader_left(&r) && reader_u8(&r) != 0; /* older ones say nothing */
    return !r.bad;
}

void wire_put_joined(struct buf *out, const struct wire_joined *j)
{
    size_t begun = wire_begin(out, WIRE_JOINED);
    buf_u16(out, j->node);
    buf_u64(out, j->cluster);
    buf_append_bytes(out, j->rows);
    wire_end(out, begun);
}

bool wire_get_joined(struct bytes payload, struct wire_joined *j)
{
    struct reader r = reader_of(payload);
    j->node = reader_u16(&r);
    j->cluster = reader_u64(&r);
    j->rows = reader_take(&r, reader_left(&r));
    return !r.bad;
}

void wire_put_create(struct buf *out, const struct wire_create *c)
{
    size_t begun = wire_begin(out, WIRE_CREATE);
    buf_u32(out, c->group);
    buf_u16(out, c->replica);
    buf_u16(out, c->slot_lo);
    buf_u16(out, c->slot_hi);
    buf_u64(out, c->config_id.position);
    buf_u64(out, c->config_id.born);
    buf_blob(out, c->config);
    wire_end(out, begun);
}

bool wire_get_create(struct bytes payload, struct wire_create *c)
{
    struct reader r = reader_of(payload);
    c->group = reader_u32(&r);
    c->replica = reader_u16(&r);
    c->slot_lo = reader_u16(&r);
    c->slot_hi = reader_u16(&r);
    c->config_id.position = reader_u64(&r);
    c->config_id.born = reader_u64(&r);
    c->config = reader_blob(&r);
    return !r.bad && c->replica && c->slot_lo < c->slot_hi && c->slot_hi <= SLOT_COUNT;
}

void wire_put_snap(struct buf *out, uint8_t type, const struct wire_snap *s)
{
    size_t begun = wire_begin(out, type);
    buf_u32(out, s->group);
    buf_u16(out, s->replica);
    buf_u64(out, s->id);
    buf_u64(out, s->sequence);
    buf_u8(out, s->status);
    buf_append_bytes(out, s->bytes);
    wire_end(out, begun);
}

bool wire_get_snap(struct bytes payload, struct wire_snap *s)
{
    struct reader r = reader_of(payload);
    s->group = reader_u32(&r);
    s->replica = reader_u16(&r);
    s->id = reader_u64(&r);
    s->sequence = reader_u64(&r);
    s->status = reader_u8(&r);
    s->bytes = reader_take(&r, reader_left(&r));
    return !r.bad && s->status <= WIRE_SNAP_BEGUN;
}

void wire_put_command(struct buf *rows, const struct wire_command *c)
{
    buf_varint(rows, c->id);
    buf_varint(rows, c->client);
    buf_varint(rows, c->group);
    buf_u8(rows, (uint8_t)(c->version | (c->traced ? 0x80 : 0) | (c->slot_hi ? 0x40 : 0)));
    if (c->slot_hi) buf_u16(rows, c->slot_lo), buf_u16(rows, c->slot_hi);
    buf_varint(rows, c->args.count);
    for (uint32_t i = 0; i < c->args.count; i++) buf_blob(rows, c->args.v[i]);
}

bool wire_get_command(struct reader *r, struct wire_command *c, struct buf *storage)
{
    c->id = reader_varint(r);
    c->client = reader_varint(r);
    c->group = (uint32_t)reader_varint(r);
    c->version = reader_u8(r);
    c->traced = (c->version & 0x80) != 0;
    bool ranged = (c->version & 0x40) != 0;
    c->version &= 0x3f;
    c->slot_lo = ranged ? reader_u16(r) : 0;
    c->slot_hi = ranged ? reader_u16(r) : 0;
    if (c->slot_hi > SLOT_COUNT || (ranged && c->slot_lo >= c->slot_hi)) return false;
    uint64_t count = reader_varint(r);
    if (r->bad || count == 0 || count > RESP_ARGS_MAX || count > reader_left(r)) return false;

    buf_clear(storage);
    struct bytes *v = (struct bytes *)(void *)buf_reserve(storage, (size_t)count * sizeof *v);
    for (uint64_t i = 0; i < count; i++) v[i] = reader_blob(r);
    c->args = (struct cmd_args){v, (uint32_t)count};
    return !r->bad && (c->version == 2 || c->version == 3);
}

void wire_put_reply(struct buf *rows, const struct wire_reply *r)
{
    buf_varint(rows, r->id);
    buf_u8(rows, r->status);
    buf_blob(rows, r->reply);
}

bool wire_get_reply(struct reader *r, struct wire_reply *reply)
{
    reply->id = reader_varint(r);
    reply->status = reader_u8(r);
    reply->reply = reader_blob(r);
    return !r->bad && reply->status <= WIRE_FOREIGN;
}
