/* Jobs (docs/JOBS.md) as rows in group 0, and the commands that nodes send its leader about them.
 * What a record says, and when one follows another: job/job_record.h, job/job_state.h.
 *
 * Rows (shard/keys.h, KEYS_JOB), numbers in keys big-endian, in values little-endian:
 *   'n' name               job:8
 *   'j' job:8              submitted_ms:8, name (the rest)
 *   'd' job:8              what it is to do: the spec
 *   'e' job:8              epoch:8, the last that was given to an owner
 *   'r' job:8              the record
 *   'h' job:8              the record's head (job_rows.h), written with it: what decides and lists
 *                          needs no record, which may have a thousand times as many bytes
 *   'c' job:8              (empty) it is to be cancelled
 *   'p' job:8              what its owner says of its progress (job_news, below)
 *   'l' job:8              its log: lines of text
 *   't' job:8 task:4 epoch:8 number:4            pieces:4, of what this attempt has staged
 *   's' job:8 task:4 epoch:8 number:4 piece:4    pairs that an attempt of a reduce gave. Only what
 *                                                't' counts is there
 *
 * Commands, all at group 0; numbers are 8 bytes, little-endian; replies of ":1" say that it is so,
 * ":0" that it may not be any more:
 *
 *   SYNOD JOB NEW name spec
 *       bulk: job:8. Of a name that is there with the same spec: its job; with another: -JOBEXISTS.
 *       Ended jobs beyond JOB_HISTORY_MAX, the oldest, go
 *   SYNOD JOB OWN job
 *       a new epoch. Bulk (job_owned): epoch:8 submitted_ms:8 cancelled:1 name, spec,
 *       record (blobs; no record: empty). Nil: no such job
 *   SYNOD JOB RECORD job epoch revision base_epoch base_revision record
 *       :1 it is the record now (or was already), :0 deposed. Nil: no such job. DONE, which
 *       JOB-PUBLISH alone may bring, is an error unless it is on record
 *   SYNOD JOB NEWS job epoch what text
 *       'p': text is that row; 'l': lines that follow those that are there, of which the first go
 *       beyond JOB_LOG_MAX. :0 if that epoch is not the last one given. Nil: no such job
 *   SYNOD JOB STAGE job task epoch number piece pairs
 *       :0 unless the record is of that epoch and in its REDUCE
 *   SYNOD JOB UNSTAGE job task epoch number
 *       forgets what that attempt staged
 *   SYNOD JOB CLEAN job epoch
 *       of one that has ended: forgets all that is staged, but for a DONE job without INTO, whose
 *       winners gave its result. :0 if the epoch is not the last one given. Nil: no such job
 *   SYNOD JOB CANCEL job
 *       :1; :0 it has ended. Nil: no such job
 *   SYNOD JOB FORGET job
 *       of one that has ended: all rows go. :0: it has not. Nil
 *   SYNOD JOB-PUBLISH job epoch revision record [key value]...
 *       with keys of any groups: a transaction (txn_run). If the record is of (epoch, revision) and
 *       COMMITTING: sets all keys as SET does, and makes `record`, which says DONE and is of
 *       (epoch, revision + 1), the record: :1. If it is that already: :1, and nothing is done. :0
 *
 *   SYNOD JOB-READ LIVE
 *       array of bulks: job:8 cancelled:1, of all that are not ended and cleaned
 *   SYNOD JOB-READ LIST
 *       array of bulks (job_summary), in order of submission
 *   SYNOD JOB-READ GET name
 *       bulk (job_rows): job:8 submitted_ms:8 cancelled:1 name, spec, record, news, log (blobs;
 *       what is not there: empty). Nil
 *   SYNOD JOB-READ STAGED job task epoch number piece
 *       bulk; nil: there is no such piece
 *
 * FLUSHALL forgets them all. */
#ifndef SYNOD_REDIS_JOB_H
#define SYNOD_REDIS_JOB_H

#include "job/job_record.h"
#include "job/spec.h"
#include "redis/command.h"

#define JOB_LIVE_MAX      16 /* jobs that are not ended */
#define JOB_HISTORY_MAX   64 /* ... and that are */
#define JOB_LOG_MAX       (16u << 10)
#define JOB_PUBLISH_KEYS  10000
#define JOB_PUBLISH_BYTES (64u << 20)

cmd_fn job_publish;

/* The rows of a job that 'p' holds: how far the owner saw it to be. */
struct job_news {
    uint64_t epoch;
    uint16_t node;  /* the owner */
    uint64_t at_ms; /* wall clock of the owner */
    uint8_t phase;
    uint32_t maps, maps_done, reduces, reduces_done, running, failures;
    uint64_t spent_ms, records, bytes; /* of what is done and of what runs */
};
void job_news_put(struct buf *out, const struct job_news *news);
bool job_news_get(struct bytes in, struct job_news *news); /* false: malformed, or nothing */

/* For JOB-READ LIST. No record yet: SUBMITTED, zeros. */
struct job_summary {
    uint64_t job, submitted_ms, spent_ms;
    uint8_t phase;
    bool dropped;
    uint32_t maps, maps_done, reduces, reduces_done;
    struct bytes name, error; /* borrowed */
};
void job_summary_put(struct buf *out, const struct job_summary *s);
bool job_summary_get(struct bytes in, struct job_summary *s);

struct job_rows { /* what GET gives; borrowed */
    uint64_t job, submitted_ms;
    bool cancelled;
    struct bytes name, spec, record, news, log;
};
bool job_rows_get(struct bytes in, struct job_rows *r);
struct job_owned { /* what OWN gives; borrowed */
    uint64_t epoch, submitted_ms;
    bool cancelled;
    struct bytes name, spec, record;
};
bool job_owned_get(struct bytes in, struct job_owned *o);

/* The key of the row ('h') that says which record there is, if the command may change that: a
 * transaction that publishes locks it. False: it may not. */
bool job_row(const struct command *c, const struct cmd_args *a, struct buf *out);
/* Is it a NEW or a CANCEL, which the owner of jobs is to look at? */
bool job_begins(const struct command *c, const struct cmd_args *a);
/* Does it take room on the disk (CMD_DENYOOM, of some of the commands that are one)? */
bool job_takes_room(const struct command *c, const struct cmd_args *a);
/* Is it one of the commands above? */
bool job_is(const struct command *c);

#endif
