/* What a command sees and does: its own writes over a source (a group's pending writes over what is
 * applied). A command is a pure function over a view; it may be run again from the start after a
 * miss, so nothing leaves the view before the runner takes it.
 *
 * Reading a thing that is not in memory makes the view *missed*: the call says VIEW_MISS, the
 * command returns at once (what it returns does not matter), the runner fetches what `miss` names
 * and runs the command again.
 *
 * Values and keys returned are borrowed until the next write to this view or the end of the
 * command. now_ms and random are fixed for the evaluation.
 *
 * A view also *refuses*: when a command's effects or its reply grow beyond what an entry or a frame
 * may hold, or it reads or writes outside the group's slots. It then is missed as well, so that the
 * command returns at once; `refused` says why, and the runner answers an error instead of fetching.
 *
 * A script's commands may have keys that nobody named before it ran. Each is announced by
 * view_touch, so that the runner can look whether it is locked, or lock it. */
#ifndef SYNOD_SHARD_VIEW_H
#define SYNOD_SHARD_VIEW_H

#include "base/buf.h"
#include "base/prng.h"

enum view_result { VIEW_FOUND, VIEW_ABSENT, VIEW_MISS };

enum view_refusal {
    VIEW_ALLOWED,
    VIEW_EFFECTS_TOO_LARGE,
    VIEW_REPLY_TOO_LARGE,
    VIEW_ANSWER_TOO_LARGE, /* to be kept for a token (redis/once.h) */
    VIEW_FOREIGN,          /* a key outside [slot_lo, slot_hi), read or written */
    VIEW_LATER,  /* set by the shard: a split or its like is under way; again once it is applied */
    VIEW_SEALED, /* set by the shard: the group is about to be taken over by its left neighbour */
    VIEW_LOCKED, /* set by the runner: a transaction has a key that was touched; once it is free */
};

struct view;
struct script_runner; /* redis/script.h */

typedef bool view_each(void *ctx, struct bytes key, struct bytes value);

/* Where a view reads what it has not written itself. get and range as space.h (block = false
 * there). */
struct view_source {
    enum view_result (*get)(void *ctx, struct bytes key, struct bytes *value);
    /* Rising, or falling if reverse; stops when each returns false: FOUND; at the end: ABSENT. */
    enum view_result (*range)(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                              view_each *each, void *each_ctx);
    void *ctx;
};

/* A key that a script came to. False: it may not be used in this evaluation. */
typedef bool view_toucher(void *ctx, struct view *v, struct bytes key, bool writes);

struct view_write { /* offsets into effects */
    uint32_t key_at, key_size, value_at, value_size;
    bool deleted;
};

struct view {
    struct view_source source;
    int64_t now_ms;
    int64_t keys; /* live keys in the group when the evaluation began (DBSIZE) */
    struct prng random;
    uint64_t objid_next;       /* next free object id */
    uint16_t slot_lo, slot_hi; /* slots [lo, hi) that this view covers (the group's) */
    struct bytes config;       /* the group's, for a split; empty after view_begin */
    size_t effects_max;        /* bytes; view_begin sets no bound (SIZE_MAX) */
    /* The runner's, for WATCH and EXEC, for transactions over groups and cuts; NULL after
     * view_begin. */
    struct watch *watch;
    struct locks *locks;
    struct cut_hold *hold; /* of this leader, for a cut (txn/hold.h) */
    uint32_t group;
    uint64_t leadership;     /* this leader's, and no other's */
    const struct buf *reply; /* watched while the command reads: refused beyond reply_max bytes. */
    size_t reply_max;        /* NULL after view_begin: not watched */
    struct script_runner *scripts; /* the runner's, for EVAL and its like; NULL after view_begin */
    view_toucher *touch;           /* the runner's; NULL after view_begin: any key will do */
    void *touch_ctx;

    struct buf
        effects; /* encoded effects in order of calls (shard/effects.h): what the runner proposes */
    struct view_write *writes; /* one a key, in order of first write */
    uint32_t write_count, write_capacity;
    uint32_t *index; /* hash of key -> write + 1; 0: free. Power of two */
    uint32_t index_mask;
    uint32_t *order;      /* writes sorted by key, made when a range is read */
    uint32_t order_count; /* how many of the writes `order` covers */
    bool wiped;           /* view_wipe was called: the source is hidden */
    bool alone;           /* view_split or its like was called: nothing else may be written */

    bool missed, miss_reverse;
    uint8_t refused;             /* enum view_refusal */
    struct buf miss_lo, miss_hi; /* what to fetch: one key (miss_hi empty), or a range */
};

void view_init(struct view *v); /* once; then view_begin for each run */
void view_deinit(struct view *v);
void view_begin(struct view *v, const struct view_source *source, int64_t now_ms,
                uint64_t random_seed, uint64_t objid_next, uint16_t slot_lo,
                uint16_t slot_hi); /* keys is 0; set it after */

enum view_result view_get(struct view *v, struct bytes key, struct bytes *value);
enum view_result view_range(struct view *v, struct bytes lo, struct bytes hi, bool reverse,
                            view_each *each, void *ctx);

/* Undoes what was written since there were `effects` bytes of effects, and that anything missed or
 * was refused. Only for what puts, deletes, trashes and counts. */
void view_rewind(struct view *v, size_t effects);

/* Announces a user's key that was not among the request's own. False: missed, return at once. */
bool view_touch(struct view *v, struct bytes key, bool writes);

void view_put(struct view *v, struct bytes key, struct bytes value);
void view_del(struct view *v, struct bytes key);
/* All keys with this prefix are garbage, unreachable from now on (the elements of a collection that
 * was deleted). */
void view_trash(struct view *v, struct bytes prefix);
/* Everything in the group is gone, but for the rows of the map and of scripts, which are read first
 * (may miss) and put again. */
void view_wipe(struct view *v);
/* The slots from `at` on become group `group`, which nobody has used before. It must be the only
 * thing that this evaluation writes. Refused (foreign) unless slot_lo < at < slot_hi. */
void view_split(struct view *v, uint32_t group, uint16_t at);
/* The group is sealed: nothing is read or written until it is taken over, or opened again. Alone,
 * like a split; and the only thing that a task for sealed shards may do. */
void view_seal(struct view *v, bool on);
/* The group takes over its right neighbour `group`, which was sealed at position `sealed`. Alone.
 */
void view_merge(struct view *v, uint32_t group, uint64_t sealed);
/* Each replica keeps the state behind this entry for a cut, for ttl_ms; 0: it lets go of what
 * it keeps for it. */
void view_snap(struct view *v, uint64_t cut, uint64_t ttl_ms);
/* The number of live keys in `slot` changed by delta (created +1, deleted -1). */
void view_count(struct view *v, uint16_t slot, int64_t delta);
uint64_t view_new_objid(struct view *v);

static inline int64_t view_keys(const struct view *v)
{
    return v->keys;
}
static inline bool view_wrote(const struct view *v)
{
    return v->effects.size > 0;
}

#endif
