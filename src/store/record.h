/* The bytes of the log on disk: segment headers, blocks (one group-commit write each) and records.
 * Pure: bytes in, facts out; docs/FORMAT.md has the layout byte by byte and the rule that tells a
 * torn tail from corruption. */
#ifndef SYNOD_STORE_RECORD_H
#define SYNOD_STORE_RECORD_H

#include "base/bytes.h"
#include "store/log.h"

#define RECORD_VERSION       1u
#define RECORD_SEGMENT_MAGIC "SYNODLOG"
#define RECORD_BLOCK_MAGIC   0x4b4c4253u /* "SBLK" */

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error                                                                                             \
    "the log is written little-endian by copying structs; a big-endian machine needs conversions here"
#endif

/* The first IO_BLOCK of a segment file, the rest of it zero. It leaves in one write with the
 * segment's first block. */
struct record_segment {
    char magic[8];
    uint64_t checksum; /* of the IO_BLOCK from `version` on */
    uint32_t version;
    uint32_t reserved;
    uint64_t log_id; /* random, of this log; also the seed of block and record checksums, so clients
                        cannot forge blocks */
    uint64_t sequence; /* rises by one from segment to segment; tells the lives of a recycled file
                          apart */
    uint64_t epoch;    /* rises with every opening of the log */
    uint64_t lsn;      /* of the segment's first record */
    uint64_t synced;   /* all records up to this lsn were on disk when this was written */
    uint64_t oldest;   /* segments of lower sequence hold nothing that counts */
};
_Static_assert(sizeof(struct record_segment) == 72, "a disk struct");
_Static_assert(offsetof(struct record_segment, version) == 16, "a disk struct");

/* A block: this header, `payload` bytes of records, zeros up to the next multiple of IO_BLOCK. */
struct record_block {
    uint32_t magic;
    uint32_t version;
    uint64_t checksum; /* of header and payload from `log_id` on */
    uint64_t log_id;
    uint64_t sequence;
    uint64_t epoch;
    uint64_t lsn;
    uint64_t synced;
    uint64_t oldest;
    uint32_t place; /* offset in the segment / IO_BLOCK */
    uint32_t count; /* of records; 0 only in a notice that ends a segment */
    uint32_t payload;
    uint32_t reserved;
};
_Static_assert(sizeof(struct record_block) == 80, "a disk struct");
_Static_assert(offsetof(struct record_block, log_id) == 16, "a disk struct");

/* A record: u64 checksum of all that follows, u32 size of the body, body. */
#define RECORD_HEAD 12u
/* The body without the value is never longer (type, kind, hash and eight varints). */
#define RECORD_BODY_MAX 96u

enum record_result {
    RECORD_OK,
    RECORD_EMPTY, /* zeros */
    RECORD_BAD,
    RECORD_VERSION_OTHER,
};

static inline uint64_t record_align(uint64_t bytes)
{
    return (bytes + IO_BLOCK - 1) & ~(uint64_t)(IO_BLOCK - 1);
}
/* What the block takes on disk. */
static inline uint64_t record_block_size(const struct record_block *b)
{
    return record_align(sizeof *b + b->payload);
}

/* Writes IO_BLOCK bytes at `out`; magic, version and checksum are filled in here. */
void record_segment_put(const struct record_segment *h, uint8_t *out);
/* `in` is the first IO_BLOCK of a file. *h is set unless EMPTY or BAD. */
enum record_result record_segment_get(struct bytes in, struct record_segment *h);

/* Writes header (magic, version, checksum) before a payload that is already in place behind it, and
 * zeros behind it. */
void record_block_put(struct record_block *h, uint8_t *at);
/* The block that starts at in.data, if a sound one of this log does that knows it belongs at
 * `offset`. The payload's records are not looked at. */
bool record_block_get(struct bytes in, uint64_t log_id, uint64_t offset, struct record_block *h);

/* Upper bound of the encoded size. */
static inline size_t record_size_max(const struct log_record *r)
{
    return RECORD_HEAD + RECORD_BODY_MAX + r->value.size;
}
/* Writes one record at `out` (room for record_size_max); returns its size, and the low half of its
 * checksum in *check. */
size_t record_put(const struct log_record *r, uint64_t log_id, uint8_t *out, uint32_t *check);
/* Takes one record from the front of *in. False: malformed or its checksum is wrong; *in is
 * unchanged then. r->value borrows. */
bool record_get(struct bytes *in, uint64_t log_id, struct log_record *r, uint32_t *check);

const char *record_type_name(uint8_t type);

/* ---- the classifier ---- */

/* Where a chain of sound blocks ends. */
struct record_end {
    uint64_t lsn;   /* of the last record */
    uint64_t epoch; /* of the last block */
};

/* Whether something found beyond the end (a sound block or segment header, with its epoch, first
 * lsn and synced) is of the chain's continuation, and not a leftover that an earlier opening of the
 * log cut off. */
bool record_follows(struct record_end end, uint64_t epoch, uint64_t lsn);

enum record_verdict {
    RECORD_TORN,    /* nothing proves that more than the chain was ever durable: cut */
    RECORD_CORRUPT, /* something was durable, thus perhaps promised or acknowledged, and is not
                       there any more: never cut */
};
/* `proven`: the highest `synced` of all that follows (0: nothing does). */
enum record_verdict record_classify(struct record_end end, uint64_t proven);

#endif
