/* What the log's source files share. Nothing outside src/store/log*.c includes this.
 *
 * Invariants (checked by log_check):
 *  L1  Live segments have consecutive sequences; the first is `oldest`, the last is where new
 * blocks go. A segment dies only as the first, so what is on disk is always a run of segments. L2
 * A record's place is known when it is appended, for the fill block's place is known when it is
 * begun. L3  segment.live is the number of index places in it; segment.promises the number of
 * groups whose promise is nowhere later. L4  A dead segment is written over only after a durable
 * block says `oldest` > its sequence, and while nobody reads it. L5  Writes complete in order:
 * `synced` never runs ahead of a block that is still in flight. L6  (Not checked: others take room
 * too.) What the engine has yet to write fits the room on the disk: no segment is made that would
 * not leave it, with a margin, and nothing is accepted that would eat it. So flushing never stops
 * for want of room, and in the end segments die. */
#ifndef SYNOD_STORE_LOG_INTERNAL_H
#define SYNOD_STORE_LOG_INTERNAL_H

#include "base/list.h"
#include "base/map.h"
#include "store/log_scan.h"

#define LOG_FLYING_MAX  2u         /* writes in flight */
#define LOG_BLOCK_BYTES (4u << 20) /* a block grows to this, unless one record is larger */
#define LOG_BLOCK_KEEP  (1u << 20) /* a larger buffer is given back after its write */
#define LOG_IDLE_NS                                                                                \
    5000000u /* idle for so long: prove the last write (docs/FORMAT.md, the window) */
#define LOG_RETRY_NS     1000000000u /* between attempts to make a segment on a full disk */
#define LOG_COLD_ENTRIES 32u         /* a group with at most these many live entries, */
#define LOG_COLD_BYTES   (16u << 10) /* and bytes, is moved to the tail instead of being flushed */
#define LOG_EXTENT_BYTES (1u << 20)  /* read at once for log_read */
#define LOG_READ_RECORDS 512u
#define INDEX_PAGE       16u /* a group in which nothing happens has one page */

struct log_segment {
    struct list link; /* dying */
    uint64_t sequence;
    struct io_file *file; /* NULL: waits for a spare */
    char name[LOG_NAME_MAX];
    uint64_t bytes;
    uint64_t end;      /* offset where the next block goes */
    uint64_t live;     /* L3 */
    uint32_t promises; /* L3 */
    uint32_t pins;     /* reads under way */
    bool noticed;      /* its reserved last block is used */
    uint64_t dead_lsn; /* of the last record that replaced one here; nothing here counts once that
                          is synced, if L3 says 0 */
    bool written;      /* its first block is on disk */
};

/* One write: [segment header] block header, records. */
struct log_block {
    struct list link;
    struct log *log;
    struct log_segment *segment;
    uint8_t *raw, *data; /* data is raw, aligned to IO_BLOCK */
    size_t capacity;     /* of data */
    size_t lead;         /* IO_BLOCK for a segment's first block, else 0 */
    size_t size;         /* used of data, lead and header included */
    uint64_t offset;     /* of the block in the segment */
    uint64_t lsn;        /* of its first record */
    uint32_t count;
    bool complete;
    uint64_t oldest, synced; /* as written */
    uint64_t started;
    struct io_write op;
};

struct index_page {
    uint64_t number; /* position / INDEX_PAGE */
    uint32_t live;
    struct log_place place[INDEX_PAGE];
};

/* How many live places of one group one segment holds; in order of sequence. */
struct index_run {
    uint32_t sequence;
    uint32_t live;
    uint64_t bytes;
};

struct log_group {
    uint32_t id;
    uint16_t replica;
    paxos_ballot promised; /* highest of promises and entries: an accepted entry's ballot binds as a
                              promise does */
    uint64_t chosen;
    uint64_t promise_sequence; /* last segment with a record that shows `promised` */
    uint64_t floor;
    struct index_page **page; /* in order of number */
    uint32_t page_count, page_capacity;
    struct index_run *run;
    uint32_t run_count, run_capacity;
};

/* Makes or removes a segment file off the reactor; one at a time. */
struct log_job {
    struct io_work work;
    struct io *io;
    struct log *log;
    char name[LOG_NAME_MAX];
    uint64_t create_bytes; /* 0: remove */
    struct io_file *file;
    int error;
    bool busy;
};

struct log_spare {
    struct io_file *file;
    char name[LOG_NAME_MAX];
};

struct log {
    struct io *io;
    struct log_options options;
    uint64_t log_id, epoch;
    uint64_t appended, synced;
    uint64_t reported; /* what the user was told; equals synced */
    uint64_t claimed;  /* highest `synced` that a block on disk states */
    uint64_t worth;    /* last lsn that is not a beat's */

    struct log_segment **segment; /* L1 */
    uint32_t segment_count, segment_capacity;
    struct list dying;
    uint64_t oldest_durable; /* what a durable block says */
    struct log_spare *spare;
    uint32_t spare_count, spare_capacity;
    uint64_t next_name;
    struct log_job job;
    bool make_failed; /* the last attempt to make a segment failed */
    uint64_t retry_at;
    uint64_t reserve; /* bytes the engine still has to write (log_set_reserve) */
    bool starved;     /* the disk has less than that, and room to merge in, and a margin */
    bool choked;      /* it has hardly that */
    bool yields;      /* a spare is to be given up */
    enum log_room room;

    struct log_block *fill; /* takes appends; NULL: none begun */
    struct list sealed, flying, idle_blocks;
    uint32_t flying_count, idle_count;
    uint64_t last_completion;

    struct map groups; /* id -> struct log_group */
    struct log_group *group_cache;

    struct list reads, reading; /* not begun; under way */
    struct log_read rewrite;
    bool rewriting, rewrite_failed;
    uint64_t rewrite_sequence;
    bool pressed, cold_left; /* cold_left: more groups to move than the one being moved */
    uint32_t pressed_group;

    uint32_t pending; /* operations the io has yet to call back for */
    bool freed;       /* log_free was called; the last callback destroys */
    struct log_stats stats;
};

/* log_index.c */
struct log_group *index_group(struct log *l, uint32_t id); /* NULL: nothing known */
void index_record(struct log *l, const struct log_record *r, const struct log_place *place);
const struct log_place *index_find(const struct log_group *g, uint64_t position); /* NULL: none */
uint64_t index_first(const struct log_group *g);                                  /* 0: none */
uint64_t index_first_in(const struct log_group *g,
                        uint64_t sequence); /* the first that is in this segment; 0: none */
void index_set_floor(struct log *l, struct log_group *g, uint64_t floor);
void index_drop(struct log *l, uint32_t id);
void index_deinit(struct log *l);
void index_check(const struct log *l);

/* log.c */
struct log_segment *log_segment_of(const struct log *l, uint64_t sequence); /* live ones; asserts */
uint64_t log_put(struct log *l, const struct log_record *r);
void log_called_back(
    struct log *l); /* ends every callback of the io: the log may be gone after it */
bool log_in_memory(const struct log *l, const struct log_place *place, const uint8_t **at);
uint8_t *log_align(uint8_t *raw);

/* log_gc.c */
void log_collect(struct log *l, uint64_t now);
bool log_take_spare(struct log *l, struct log_segment *s);
void log_add_spare(struct log *l, struct io_file *file, const char *name);

/* log_read.c */
void log_start_reads(struct log *l);
void log_free_reads(struct log *l);

#endif
