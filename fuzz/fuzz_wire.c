/* Whatever a peer sends: frames, and the messages in them, with the checksum mended so that the
 * decoders behind it are reached. */
#include "base/hash.h"
#include "node/wire.h"
#include "paxos/msg.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bytes value_of(void *handle)
{
    return *(struct bytes *)handle;
}

/* What decodes must encode again, and decode to the same. */
static void paxos_again(const struct paxos_message *m, struct paxos_entry *entries,
                        struct bytes *values)
{
    struct buf out = {0};
    struct paxos_message again;
    struct paxos_entry *more = malloc(64 * sizeof *more);
    struct bytes *slices = malloc(64 * sizeof *slices);
    for (uint32_t i = 0; i < m->entry_count; i++)
        entries[i].value = values[i].size ? &values[i] : NULL;
    paxos_message_encode(m, value_of, &out);
    if (!paxos_message_decode(buf_bytes(&out), &again, more, slices, 64) ||
        again.entry_count != m->entry_count || again.ballot != m->ballot)
        abort();
    free(more), free(slices);
    buf_deinit(&out);
}

static void payload_any(struct bytes payload, struct buf *storage)
{
    struct wire_hello hello;
    struct wire_command command;
    struct wire_reply reply;
    struct wire_report report;
    struct wire_state state;
    struct lease_heartbeat hb;
    struct lease_answer answer;
    struct reader r = reader_of(payload);
    struct paxos_message m;
    struct paxos_entry entries[64];
    struct bytes values[64];

    (void)wire_get_hello(payload, &hello);
    struct reader commands = r, replies = r;
    while (reader_left(&commands) && wire_get_command(&commands, &command, storage)) continue;
    while (reader_left(&replies) && wire_get_reply(&replies, &reply)) continue;
    (void)wire_get_heartbeat(payload, &hb);
    (void)wire_get_answer(payload, &answer);
    wire_get_report(&r, &report);
    while (reader_left(&r) && wire_get_state(&r, &state)) continue;
    if (paxos_message_decode(payload, &m, entries, values, 64)) paxos_again(&m, entries, values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf storage = {0};
    struct bytes in = bytes_of(data, size), payload;
    size_t frame = wire_frame_size(in);
    uint8_t type;

    if (frame && frame != SIZE_MAX && wire_open(bytes_of(data, frame), &type, &payload))
        payload_any(payload, &storage);
    payload_any(in, &storage);
    buf_deinit(&storage);
    return 0;
}
