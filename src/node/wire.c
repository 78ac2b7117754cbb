#include "node/wire.h"
#include "base/assert.h"
#include "base/hash.h"
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
           type == WIRE_STATE;
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
                          r->memory_bytes, r->ops_per_s, r->uptime_s,   r->uring};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) buf_varint(out, v[i]);
}

void wire_get_report(struct reader *in, struct wire_report *r)
{
    uint64_t *v[] = {&r->leads,      &r->keys,         &r->disk_bytes, &r->log_bytes,
                     &r->room_bytes, &r->memory_bytes, &r->ops_per_s,  &r->uptime_s};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) *v[i] = reader_varint(in);
    r->uring = reader_varint(in) != 0;
}

void wire_put_state(struct buf *out, const struct wire_state *s)
{
    buf_u32(out, s->group);
    buf_u64(out, s->chosen);
    buf_u64(out, s->flushed);
    buf_u64(out, s->log_first);
    buf_u8(out, s->leads);
}

bool wire_get_state(struct reader *r, struct wire_state *s)
{
    s->group = reader_u32(r);
    s->chosen = reader_u64(r);
    s->flushed = reader_u64(r);
    s->log_first = reader_u64(r);
    s->leads = reader_u8(r) != 0;
    return !r->bad;
}

void wire_put_command(struct buf *out, const struct wire_command *c)
{
    size_t begun = wire_begin(out, WIRE_COMMAND);
    buf_varint(out, c->id);
    buf_varint(out, c->client);
    buf_varint(out, c->group);
    buf_u8(out, (uint8_t)(c->version | (c->traced ? 0x80 : 0)));
    buf_varint(out, c->args.count);
    for (uint32_t i = 0; i < c->args.count; i++) buf_blob(out, c->args.v[i]);
    wire_end(out, begun);
}

bool wire_get_command(struct bytes payload, struct wire_command *c, struct buf *storage)
{
    struct reader r = reader_of(payload);
    c->id = reader_varint(&r);
    c->client = reader_varint(&r);
    c->group = (uint32_t)reader_varint(&r);
    c->version = reader_u8(&r);
    c->traced = (c->version & 0x80) != 0;
    c->version &= 0x7f;
    uint64_t count = reader_varint(&r);
    if (r.bad || count == 0 || count > RESP_ARGS_MAX || count > reader_left(&r)) return false;

    buf_clear(storage);
    struct bytes *v = (struct bytes *)(void *)buf_reserve(storage, (size_t)count * sizeof *v);
    for (uint64_t i = 0; i < count; i++) v[i] = reader_blob(&r);
    c->args = (struct cmd_args){v, (uint32_t)count};
    return !r.bad && (c->version == 2 || c->version == 3);
}

void wire_put_reply(struct buf *out, uint64_t id, uint8_t status, struct bytes reply)
{
    size_t begun = wire_begin(out, WIRE_REPLY);
    buf_varint(out, id);
    buf_u8(out, status);
    buf_append_bytes(out, reply);
    wire_end(out, begun);
}

bool wire_get_reply(struct bytes payload, struct wire_reply *out)
{
    struct reader r = reader_of(payload);
    out->id = reader_varint(&r);
    out->status = reader_u8(&r);
    out->reply = reader_take(&r, reader_left(&r));
    return !r.bad && out->status <= WIRE_UNKNOWN;
}
