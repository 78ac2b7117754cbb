/* A replica's copy of one group's state: applying chosen entries, and at the leader evaluating
 * commands on top of them.
 *
 * The value of a DATA entry: version:1 (1), now_ms:8, effects (shard/effects.h). now_ms is the
 * leader's clock when it evaluated, never less than the entry's before it: the group's own time, by
 * which keys expire (PROTOCOLS 4).
 *
 * Evaluation. Between two proposals the leader gathers the effects of all commands of a loop turn
 * in one batch, which will become the entry at position `next`. They are written to the space at
 * that position at once, so that later commands see them; shard_lost takes them back.
 *
 * Splitting. A SPLIT effect (view_split), alone in its entry at position p, divides the shard as it
 * is applied, at leader and followers alike: the shard keeps [slot_lo, at), the rest is the
 * *newborn's*, whose record says applied = p and last_valid = config_id = p. The next flush that
 * covers p writes both records in one ingest (INV-SHARD-1: before it the engine knows one replica,
 * after it two, never anything between), and then `born` is called: another shard may be opened on
 * the newborn's group. At the leader nothing that writes is evaluated from the evaluation of the
 * split until it is applied or lost (refused: VIEW_LATER).
 *
 * Merging. A SEAL in the right group ends reading and writing there; a MERGE in the left group, at
 * p, takes its slots over, as the engine has them. Each replica of the left group can apply it only
 * once the same node's replica of the right one has applied the seal, is flushed up to it and
 * closed (shard_merge_ready). A shard that is flushed up to its seal has nothing to flush any more,
 * so it can be closed at any time. The flush of the left one that covers p writes the wider record
 * and the other's tombstone in one ingest.
 *
 * Witnesses. A witness's shard reads entries for what they say of the replica itself (its slots,
 * its seal, its configuration, the chain) and writes no data: the engine has its record, and
 * nothing in its slots. It is never evaluated on, read, or copied from.
 *
 * Threading: the reactor's. */
#ifndef SYNOD_SHARD_H
#define SYNOD_SHARD_H

#include "ring/slot.h"
#include "shard/birth.h"
#include "shard/view.h"
#include "store/space.h"

#define SHARD_BATCH_MAX   (1u << 20)  /* effects of one entry, before the last command is added */
#define SHARD_EFFECTS_MAX (48u << 20) /* effects of one command */
#define SHARD_OBJECTS_MAX 0xffffu     /* collections one entry may create */

struct shard {
    uint32_t group;
    uint8_t state; /* LIVE; INSTALLING: nothing may be applied, flushed or read */
    bool witness;  /* entries count for its record alone; it has no data */
    uint16_t replica;
    uint16_t slot_lo, slot_hi;
    struct space *space;
    uint64_t sealed; /* position of the SEAL that holds; 0: none */
    uint64_t wiped;  /* position of the last wipe that was applied since it was opened */
    uint64_t objid_base;
    uint64_t installed;        /* as in its record (birth.h) */
    struct paxos_id config_id; /* the applied entry that brought `config`; {0, 0}: the founding */
    struct buf config;         /* as the node encoded it */

    uint64_t applied; /* highest position applied (or skipped) */
    struct paxos_id last_valid;
    int64_t now_ms;     /* of the last applied entry, or of the batch if later */
    int64_t entry_ms;   /* of the entry that was applied last: the same on all replicas */
    int64_t keys;       /* live keys, applied */
    int64_t *slot_keys; /* the same per slot, [slot_lo, slot_hi) */

    /* leader only */
    uint64_t next;         /* position of the open batch */
    uint64_t written_high; /* highest position written to the space: above applied while something
                              is pending */
    int64_t keys_pending;  /* difference that the pending writes make to keys */
    uint32_t objects;      /* object ids used in the open batch */
    uint64_t boundary; /* position of a split, seal or merge in the batch or proposed; 0: none */
    uint64_t passed;   /* position of the last entry that shard_passed let by; 0: none */
    struct buf batch;  /* value of the entry to propose: header and effects; empty: nothing */
    uint64_t *expiry_hint; /* per slot: no key expires before this (ms); 0: not known */

    uint64_t flushed;              /* position up to which the engine has everything */
    size_t batch_max, effects_max; /* bytes: SHARD_BATCH_MAX and SHARD_EFFECTS_MAX, or less */
};

struct shard_options {
    struct io *io;
    struct engine *engine;
    struct space_cache *cache;
    uint32_t group;
    bool witness;
    size_t batch_max, effects_max; /* 0: SHARD_BATCH_MAX and SHARD_EFFECTS_MAX */
    void (*flushed)(void *ctx, struct shard *s, int error);
    /* A flush brought a newborn's record: its shard may be opened. Before `flushed` of that flush;
     * may not free `s`. The record is borrowed for the call. May be NULL. */
    void (*born)(void *ctx, struct shard *s, const struct shard_record *newborn);
    /* A valid entry that is being applied puts or deletes a system row (slot 0). In its order. May
     * be NULL. */
    void (*system)(void *ctx, struct shard *s, struct bytes suffix, struct bytes value,
                   bool deleted);
    /* A valid entry that was just applied has a SNAP: the state as it is now is to be kept for so
     * long; 0: what was kept for this cut goes. Not of a witness. May be NULL. */
    void (*snap)(void *ctx, struct shard *s, uint64_t cut, uint64_t ttl_ms);
    void *ctx;
};

/* Opens the state as the engine has it, from its record (blocking): LIVE, or INSTALLING, for what
 * its configuration says. NULL: there is no such replica, the engine failed, or the record is
 * damaged; error says so. */
struct shard *shard_new(const struct shard_options *options, char *error, size_t error_size);
void shard_free(struct shard *s);

/* Applies a chosen entry, in order. own: the batch was evaluated here in this leadership and is in
 * the space already. A valid PAXOS_CONFIG entry's value becomes `config`. False: the value cannot
 * be decoded (a bug or damage: the node must stop). A configuration older than the one the replica
 * was born with is passed over. */
bool shard_apply(struct shard *s, const struct paxos_entry *e, bool valid, struct bytes value,
                 bool own);

/* Is the value of a valid DATA entry a MERGE, of which group, sealed at which of its positions? */
bool shard_value_merges(struct bytes value, uint32_t *group, uint64_t *sealed);
/* Can such an entry be applied now, once the other shard is closed? Not while the right group's
 * replica here has not the seal on disk, or is not there at all, and not while a wipe of this shard
 * waits for its flush. Reads from the disk. */
bool shard_merge_ready(struct shard *s, uint32_t group, uint64_t sealed);

/* ---- leader ---- */

/* A leadership begins: everything chosen is applied; the next entry goes to `next`. */
void shard_lead(struct shard *s, uint64_t next);
/* It ended: pending writes are forgotten. */
void shard_lost(struct shard *s);

enum shard_result {
    SHARD_DONE,
    SHARD_MISS,    /* nothing happened; the view's miss_lo/miss_hi say what to fetch */
    SHARD_FAILED,  /* nothing happened; the engine failed to read */
    SHARD_REFUSED, /* nothing happened; the view's `refused` says why. *saw is set */
};
/* What is evaluated: `run` reads and writes the view (a command of redis/command.h, as the node
 * wraps it). sees_all: what it read cannot be told by keys (DBSIZE, KEYS), so it saw everything
 * pending. */
struct shard_task {
    void (*run)(void *ctx, struct view *v);
    void *ctx;
    bool sees_all;
    bool block;     /* wait for the disk instead of a miss */
    bool on_sealed; /* runs on a sealed shard, too: to open it again; others are refused there */
};
/* Runs a task. On DONE its effects are in the batch, and *saw is the position that must be chosen
 * before the answer may leave (0: nothing pending was seen). After MISS run it again once the fetch
 * is done; the caller throws its answer away. */
enum shard_result shard_evaluate(struct shard *s, struct view *v, const struct shard_task *task,
                                 int64_t wall_ms, uint64_t random, uint64_t *saw);
/* Runs a task on what is applied, at a replica that does not lead; what it writes (it met an
 * expired key) is forgotten. Time is the group's as applied, so that a key is never gone here
 * before it is at the leader. */
enum shard_result shard_read(struct shard *s, struct view *v, const struct shard_task *task,
                             uint64_t random);
/* The batch is taken over by a proposal at `next`: the next batch goes to next + 1. The caller has
 * copied s->batch. */
void shard_proposed(struct shard *s);
/* Something else than a batch (a configuration) was proposed at `next`. The batch is empty: what
 * was evaluated for that position is in the space already. */
void shard_passed(struct shard *s);

/* Deletes what has expired, a bounded number, as effects in the batch. `touch` is given the row
 * that says when (keys.h, 'x' and 'y'), and looks at what it is about, which deletes it; false: not
 * now. Returns ms until it is worth calling again; -1: the view missed, fetch and call again; -2:
 * the engine failed to read. */
int64_t shard_expire(struct shard *s, struct view *v,
                     bool (*touch)(void *ctx, struct view *v, struct bytes row), void *ctx,
                     int64_t wall_ms, uint64_t random);

/* A key may expire before that time, as far as is known without looking. */
bool shard_expires(const struct shard *s, int64_t before_ms);

/* ---- flushing ---- */
bool shard_flush(struct shard *s);        /* starts; false: one runs already, or nothing to flush */
bool shard_unborn(const struct shard *s); /* a newborn waits for its flush */

/* Visits the applied system rows in the order of their suffixes; blocking: at start and after an
 * install. Nothing to visit in shards without slot 0. False: the engine failed. */
bool shard_system_each(struct shard *s,
                       void (*each)(void *ctx, struct bytes suffix, struct bytes value), void *ctx);

/* The same for the rows of transactions (keys.h): their whole keys. */
bool shard_txns_each(struct shard *s, void (*each)(void *ctx, struct bytes key, struct bytes value),
                     void *ctx);

/* Live keys in a slot, applied. */
int64_t shard_slot_keys(const struct shard *s, uint16_t slot);
void shard_check(const struct shard *s);

#endif
