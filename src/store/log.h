/* One log for all groups of a node: what paxos must not forget (docs/FORMAT.md has the bytes;
 * PROTOCOLS 1.6, 2.1 the reasons).
 *
 * Segments of fixed size, preallocated and recycled, written through struct io with durable writes
 * only. Appends of a turn are gathered and leave as one block-aligned write (group commit without
 * timers: the next write takes all that queued while the last was under way; at most two in flight,
 * completed in order). Every append has a number, its lsn, rising by one; `synced` reports the
 * highest lsn below which all is on disk.
 *
 * An in-memory index per group maps position -> place of its latest entry record, so entries can be
 * read back for peers that lag.
 *
 * Any error of a log write ends the process at once through `fatal` (never retried). Threading: the
 * reactor's. */
#ifndef SYNOD_STORE_LOG_H
#define SYNOD_STORE_LOG_H

#include "base/io.h"
#include "paxos/paxos.h"

enum log_record_type {
    LOG_PROMISE = 1, /* promised */
    LOG_ENTRY,       /* entry, value, chosen */
    LOG_CHOSEN,      /* chosen */
    LOG_BEAT,        /* nothing: proves that the device completes writes (PROTOCOLS 2.2) */
    LOG_DROP,        /* group forgotten: records before it do not count */
};

struct log_record {
    uint8_t type;
    uint32_t group;
    uint16_t replica; /* whose record: a replica's id in that group; a lost disk comes back under
                         another id */
    paxos_ballot promised;
    uint64_t chosen;          /* watermark known when it was written */
    struct paxos_entry entry; /* entry.value is not used; the bytes are in `value` */
    struct bytes
        value; /* borrowed: on append copied at once; on replay and read valid during the call */
};

struct log_options {
    uint64_t
        segment_bytes; /* 64 MiB; must hold the largest entry (33 MiB); the simulator uses less */
    uint64_t quota_bytes; /* segments beyond it: log_pressure() says which group holds the oldest */
    uint32_t spare_segments; /* kept preallocated ahead (1): room to go on when the disk is full */
    void (*synced)(void *ctx, uint64_t lsn);
    void (*fatal)(void *ctx, const char *why); /* does not return */
    void *ctx;
};

struct log;

enum log_open_result {
    LOG_OPENED, /* a torn tail, if there was one, was cut */
    LOG_E_IO,
    LOG_E_FORMAT,  /* another version, or not a log */
    LOG_E_CORRUPT, /* damage below what was synced: never cut; the node must not start with this
                      data */
};

/* Opens or creates the log in io's directory and replays every live record in append order through
 * `each` (borrowed for the call); beats are left out. Records may come again further on, with all
 * their fields, where the log moved them to its tail; so within a group positions need not rise. On
 * failure *out is NULL (records of a sound beginning may have been replayed), and `error` has one
 * line that says what and where (segment, offset) and what to do. On success `error` is empty, or
 * has a line for the operator: a torn tail was cut. */
enum log_open_result log_open(struct io *io, const struct log_options *options,
                              void (*each)(void *ctx, const struct log_record *), void *each_ctx,
                              struct log **out, char *error, size_t error_size);
/* Ends without waiting for writes: no callback of the log's user is called any more (reads asked
 * for are dropped). Buffers that the io still holds are freed as it calls back, so free the io
 * after this. Not from inside a callback of the log. */
void log_free(struct log *l);
/* After a simulated crash: the io has forgotten its files and will never call back. Frees at once
 * and does not touch the io. */
void log_abandon(struct log *l);

/* Queues a record; returns its lsn. The bytes are copied (value included). */
uint64_t log_append(struct log *l, const struct log_record *r);
/* Call once at the end of each turn: starts writing what is queued, if a write may start now. */
void log_turn(struct log *l);
/* When (io_now) log_turn should be called even if nothing happens; UINT64_MAX: never. A beat a few
 * ms after the last write narrows the window in which damage looks like a torn write
 * (docs/FORMAT.md), and a full disk is tried again each second. */
uint64_t log_deadline(const struct log *l);
uint64_t log_synced(const struct log *l);
uint64_t log_appended(const struct log *l);

enum log_room {
    LOG_ROOM_OK,
    LOG_ROOM_LOW,  /* no spare segment, or no room for the reserve: refuse client writes */
    LOG_ROOM_NONE, /* what little is left, of the disk or of the last segment, is for what lets
                      segments die; appends may wait until room appears: accept nothing new */
};
enum log_room log_room(const struct log *l);

/* Everything in the log goes to the engine once, and only then do segments die. So the log leaves
 * room for it: flush_bytes is what the engine has yet to write, merge_bytes what it should have
 * besides to merge in. No segment is made that leaves less than flush_bytes and a margin of half a
 * segment; without room for both and the margin, it is LOW; with hardly flush_bytes, NONE. Looks at
 * the disk: call it some times a second. */
void log_set_reserve(struct log *l, uint64_t flush_bytes, uint64_t merge_bytes);
/* Somebody else took the room, and the engine could not write: gives up a spare segment for it, if
 * there is one and the last segment is not short of room. */
void log_yield(struct log *l);

/* Entries below `floor` of the group are not needed any more (flushed by the engine, and no
 * straggler wants them). Segments in which nothing is live are recycled; a promise that lives only
 * in such a segment is rewritten first. */
void log_set_floor(struct log *l, uint32_t group, uint64_t floor);
/* First position of the group that can still be read; 0: none. */
uint64_t log_first(const struct log *l, uint32_t group);
/* When over the quota, or the disk is full: a group whose entries keep the oldest segment alive
 * (flush it, then raise its floor). Groups with little in it are moved to the tail instead. False:
 * no pressure. */
bool log_pressure(const struct log *l, uint32_t *group);
/* Whether the log contains anything of the group (a replica that should exist but has no records
 * has lost its disk). */
bool log_has_group(const struct log *l, uint32_t group);
void log_drop_group(struct log *l, uint32_t group); /* appends LOG_DROP */

/* Reads entries of `group` from `position` up to `last` inclusive, at most bytes_max of values (at
 * least one entry). `done` is called once, never from inside this call but from log_turn or later:
 * count entries, consecutive positions from `position` on, borrowed for the call. They may be fewer
 * than asked for: ask again behind the last. count 0: not readable here (below log_first, a
 * position never accepted here, dropped meanwhile, or damaged on disk). */
struct log_read {
    uint32_t group;
    uint64_t position, last;
    uint32_t bytes_max;
    void (*done)(void *ctx, struct log_read *r, const struct log_record *records, uint32_t count);
    void *ctx;
};
void log_read(struct log *l, struct log_read *r); /* r lives until done */

/* ns since the oldest write in flight began (0: none), and when a write last completed (io_now). */
uint64_t log_write_age(const struct log *l, uint64_t now);
uint64_t log_last_completion(const struct log *l);

struct log_stats {
    uint64_t records, bytes, writes, segments, segment_bytes, recycled, write_ns_total,
        write_ns_max;
    uint64_t
        read_errors; /* reads that failed, or found damaged records (which are not handed out) */
    uint64_t reserve_bytes; /* see log_set_reserve */
};
void log_stats(const struct log *l, struct log_stats *out);

/* Walks the invariants of segments and index (log_internal.h), ASSERTing each. Costs time in
 * proportion to the live entries. */
void log_check(const struct log *l);

/* For people: walks the segments in a directory without changing them; prints one line a record
 * (dump) or only a summary and all damage (check). 0: sound; 1: torn tail only; 2: corrupt or
 * unreadable. */
int log_print(struct io *io, bool dump, void (*line)(void *ctx, const char *text), void *ctx);

#endif
