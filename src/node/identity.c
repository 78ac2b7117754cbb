#include "node/identity.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"

#define IDENTITY_FILE    "identity"
#define IDENTITY_COPIES  4
#define IDENTITY_MAGIC   0x797469746e656469u /* "identity" */
#define IDENTITY_VERSION 1

/* magic:8, version:4, size:4 of the body, checksum:8 of the body, body. One copy a block of
 * IO_BLOCK bytes. */
#define IDENTITY_HEAD 24

/* Flags of the body. */
enum { IDENTITY_FOUNDED = 1, IDENTITY_WITNESS = 2 };

static void body_encode(const struct identity *id, struct buf *out)
{
    buf_u64(out, id->sequence);
    buf_u64(out, id->cluster);
    buf_u16(out, id->node);
    buf_u64(out, id->disk);
    buf_u64(out, id->incarnation);
    buf_u32(out, id->groups);
    buf_u32(out, id->replicas);
    buf_u8(out,
           (uint8_t)((id->founded ? IDENTITY_FOUNDED : 0) | (id->witness ? IDENTITY_WITNESS : 0)));
    buf_u16(out, id->node_count);
    for (int i = 1; i <= id->node_count; i++) {
        buf_blob(out, bytes_str(id->address[i]));
        buf_u64(out, id->disks[i]);
    }
}

static bool body_decode(struct bytes body, struct identity *id)
{
    struct reader r = reader_of(body);
    *id = (struct identity){0};
    id->sequence = reader_u64(&r);
    id->cluster = reader_u64(&r);
    id->node = reader_u16(&r);
    id->disk = reader_u64(&r);
    id->incarnation = reader_u64(&r);
    id->groups = reader_u32(&r);
    id->replicas = reader_u32(&r);
    uint8_t flags = reader_u8(&r);
    id->founded = flags & IDENTITY_FOUNDED;
    id->witness = flags & IDENTITY_WITNESS;
    id->node_count = reader_u16(&r);
    if (r.bad || id->node_count > NODE_FOUND_MAX || id->node > NODE_NODES_MAX) return false;
    bool founder = id->node_count > 0;
    if (flags > (IDENTITY_FOUNDED | IDENTITY_WITNESS) || (founder && id->witness)) return false;
    if (founder && (id->node == 0 || id->node > id->node_count)) return false;
    if (founder && (id->groups == 0 || id->groups > NODE_GROUPS_MAX || id->replicas == 0))
        return false;
    if (!founder && (id->node == 0) != (id->cluster == 0)) return false;
    for (int i = 1; i <= id->node_count; i++) {
        struct bytes a = reader_blob(&r);
        if (a.size >= sizeof id->address[i]) return false;
        if (a.size) memcpy(id->address[i], a.data, a.size);
        id->disks[i] = reader_u64(&r);
    }
    return !r.bad;
}

static bool copy_decode(const uint8_t *block, struct identity *id)
{
    struct reader r = reader_of(bytes_of(block, IO_BLOCK));
    uint64_t magic = reader_u64(&r);
    uint32_t version = reader_u32(&r), size = reader_u32(&r);
    uint64_t checksum = reader_u64(&r);
    if (magic != IDENTITY_MAGIC || version != IDENTITY_VERSION || size > IO_BLOCK - IDENTITY_HEAD)
        return false;
    struct bytes body = reader_take(&r, size);
    return hash64(body, IDENTITY_MAGIC) == checksum && body_decode(body, id);
}

enum identity_result identity_load(struct io *io, struct identity *id)
{
    struct io_file *file;
    struct identity copy;
    uint8_t block[IO_BLOCK];
    int good = 0, last_written = -1, error = io_file_open(io, IDENTITY_FILE, 0, &file);

    if (error == -2 /* ENOENT */) return IDENTITY_NONE;
    if (error) return IDENTITY_E_IO;
    *id = (struct identity){0};
    for (uint64_t i = 0; i < IDENTITY_COPIES; i++) {
        if (io_file_read_now(io, file, block, sizeof block, i * IO_BLOCK) != (int64_t)sizeof block)
            continue;
        for (size_t b = 0; b < sizeof block; b++)
            if (block[b]) last_written = (int)i;
        if (!copy_decode(block, &copy)) continue;
        good++;
        if (copy.sequence > id->sequence) *id = copy;
    }
    io_file_close(io, file);
    if (good >= 2) return IDENTITY_FOUND;
    /* Copies are written one after another, so a crash during the very first save leaves nothing
     * behind the first copy. */
    return last_written <= 0 ? IDENTITY_NONE : IDENTITY_E_DAMAGED;
}

int identity_save(struct io *io, struct identity *id)
{
    struct io_file *file;
    struct buf body = {0}, block = {0};
    int error = io_file_open(io, IDENTITY_FILE, IDENTITY_COPIES * IO_BLOCK, &file);
    if (error) return error;

    id->sequence++;
    body_encode(id, &body);
    ASSERT(body.size <= IO_BLOCK - IDENTITY_HEAD);
    buf_u64(&block, IDENTITY_MAGIC);
    buf_u32(&block, IDENTITY_VERSION);
    buf_u32(&block, (uint32_t)body.size);
    buf_u64(&block, hash64(buf_bytes(&body), IDENTITY_MAGIC));
    buf_append_bytes(&block, buf_bytes(&body));
    memset(buf_reserve(&block, IO_BLOCK - block.size), 0, IO_BLOCK - block.size);
    for (uint64_t i = 0; i < IDENTITY_COPIES && !error; i++)
        error = io_file_write_now(io, file, block.data, IO_BLOCK, i * IO_BLOCK);
    io_file_close(io, file);
    buf_deinit(&body);
    buf_deinit(&block);
    return error;
}
