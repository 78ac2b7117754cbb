/* A job's record: the row of its home group from which any node goes on with it. Written whole, by
 * its owner, under (epoch, revision). The job's spec (spec.h) is another row, which never changes.
 *
 *   version:1  phase:1  flags:1                    integers are LEB128 below
 *   epoch revision snapshot submitted_ms spent_ms error:blob maps reduces
 *   then for each task, maps first:
 *     state:1 (WAITING or DONE)  failures:1
 *     DONE: winner's epoch, number, node, records, bytes
 *     holder count:1, unfit:1, then each holder
 *   checksum:8, XXH3 of all before it
 *
 * Valid: counts within JOB_TASKS_MAX and the room, states and phases known, nothing left over. */
#ifndef SYNOD_JOB_JOB_RECORD_H
#define SYNOD_JOB_JOB_RECORD_H

#include "base/buf.h"
#include "job/job_state.h"

#define JOB_RECORD_VERSION 1

/* Appends the record. A task that is REPORTED is written as done: that is what the write is for. */
void job_record_encode(const struct job *j, struct buf *out);

struct job_record_head { /* what is known without the tasks: for lists, and for fencing */
    uint8_t phase;
    bool dropped;
    uint64_t epoch, revision, snapshot;
    int64_t submitted_ms, spent_ms;
    struct bytes error; /* borrowed from the record */
    uint32_t maps, reduces, maps_done, reduces_done;
};

/* False: damaged, or of a version unknown. Needs no memory. */
bool job_record_peek(struct bytes record, struct job_record_head *head);

/* Makes `j`, on which job_init was called with this owner's epoch (above the record's) and the
 * job's spec, go on from the record. Tasks that ran wait again. False, and `j` is to be thrown
 * away: damaged, or no room for its tasks. Then JOB_EV_BEGIN. */
bool job_record_decode(struct job *j, struct bytes record);

#endif
