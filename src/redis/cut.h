/* Cuts of the whole database and the snapshots that come of them (docs/SNAPSHOTS.md), as commands
 * that nodes send each other: what a cut's coordinator asks of a group's leader, and the rows in
 * group 0 that say which snapshots there are.
 *
 * At a group's leader:
 *
 *   FREEZE cut: replies are held from now on. Bulk: leadership:8 slot_lo:2 slot_hi:2
 *
 *   SNAP cut leadership ttl_ms: while it is held, a SNAP goes into the log
 *
 *   RESUME cut leadership: lets go. If it was held all the time, bulk: position:8 of the SNAP,
 *   held_ns:8, rows
 *
 *   LETGO cut kept: lets go, and holds nothing for this cut any more; kept (1): what replicas keep
 *   for it goes, too
 *
 * At group 0: SNAPSHOT PUT row, DROP cut; SNAPSHOT-READ GET cut, LIST, and ORPHANS: bulk, cut:8 of
 * each that was made for a job which has no use for it (any more; and never will). Of PUT's row
 * expires_ms says for how long, and made_ms nothing: both are set by group 0's time.
 *
 * Numbers of 8 bytes, little-endian. Rows: of each transaction that is prepared or decided in the
 * group's part of the cut who:8 seq:8 decided:1 writers (LEB128) group:4 of each.
 *
 * The row of a snapshot: version:1 (2), cut:8, made_ms:8, expires_ms:8, hold_ns:8 (the longest that
 * a group was held), node:2 (who made it), job:8 (whose own it is; 0: a user's), count (LEB128) of
 * parts: group:4 slot_lo:2 slot_hi:2 position:8; then who:8 seq:8 of each transaction whose records
 * in the cut count as done. */
#ifndef SYNOD_REDIS_CUT_H
#define SYNOD_REDIS_CUT_H

#include "redis/command.h"
#include "txn/cut.h"
#include "txn/hold.h"

#define CUT_SNAPSHOTS_MAX 32
#define CUT_TTL_MAX_MS    (24 * 3600 * 1000ull)
#define CUT_ROWS_MAX      (1u << 20) /* bytes of rows in one group: more, and there is no cut now */

cmd_fn cut_freeze, cut_snap, cut_resume, cut_let_go;
/* Does it speak of a hold? Its own reply is never held. */
static inline bool cut_is(const struct command *c)
{
    return c->fn == cut_freeze || c->fn == cut_snap || c->fn == cut_resume || c->fn == cut_let_go;
}

/* Appends what the engine's row says of a transaction, for shard_txns_each. */
void cut_rows_each(void *rows, struct bytes key, struct bytes value); /* rows: a struct buf */
/* Takes one; group is the caller's to set. False: the end, or malformed (then r->bad). */
bool cut_rows_next(struct reader *r, struct cut_row *row);

struct cut_snapshot {
    uint64_t cut, made_ms, expires_ms, hold_ns;
    uint16_t node;
    uint64_t job; /* that made it for itself; 0: none */
    uint32_t parts;
    struct bytes part; /* CUT_PART bytes each */
    struct bytes in;   /* CUT_IN bytes each */
};
#define CUT_PART 16
#define CUT_IN   16
struct cut_snapshot_part {
    uint32_t group;
    uint16_t slot_lo, slot_hi;
    uint64_t position;
};
void cut_part_put(struct buf *out, const struct cut_snapshot_part *p);
struct cut_snapshot_part cut_part_get(const struct cut_snapshot *s, uint32_t i);
void cut_snapshot_put(struct buf *out, const struct cut_snapshot *s);
bool cut_snapshot_get(struct bytes in, struct cut_snapshot *s); /* false: malformed. Borrows */

/* An id as people see it: 16 hexadecimal digits. */
#define CUT_NAME 16
void cut_name_put(char name[CUT_NAME + 1], uint64_t cut);
bool cut_name_get(struct bytes name, uint64_t *cut);

/* Does over a view of a group's part of a cut what transactions that are in it have yet to do:
 * those of its prepared records whose ids are in `in` (of a row, above). False: the view missed. */
bool cut_overlay(struct view *v, struct bytes in);

/* ---- what a snapshot holds, key by key ---- */

struct cut_reading {
    uint64_t count;   /* keys to look at */
    size_t bytes_max; /* of records, before the last one */
    size_t value_max; /* bytes of one value: a larger one ends the reading as too large */
    bool no_values;
    /* what is wanted; NULL: all */
    bool (*wants)(void *ctx, struct bytes key, uint8_t type);
    void *ctx;
};
enum cut_read { CUT_READ, CUT_READ_TOO_LARGE, CUT_READ_MISSED };
/* Appends records of keys from *place on, up to the end of slot_end - 1: type:1, key blob, and if
 * values are wanted: of a string its bytes as a blob; of a collection the count (LEB128) of items,
 * and each as a blob: members and values by turns. *place: where to go on; CUT_PLACE_END: nowhere.
 * Keys of one place are never divided. */
enum cut_read cut_read(struct view *v, uint64_t *place, uint16_t slot_end,
                       const struct cut_reading *what, struct buf *records);
#define CUT_PLACE_END UINT64_MAX
static inline uint64_t cut_place_of_slot(uint16_t slot)
{
    return (uint64_t)slot << 48;
}
/* Takes one record. value: a string's; else items. False: the end. */
struct cut_record {
    uint8_t type; /* enum object_type */
    struct bytes key, value;
    uint64_t items;
    struct reader item; /* reader_blob gives them */
};
bool cut_record_next(struct reader *r, bool no_values, struct cut_record *out);

#endif
