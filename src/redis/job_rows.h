/* What job.c (the commands) and job_rows.c (the rows, and what is said of them as bytes) share. */
#ifndef SYNOD_REDIS_JOB_ROWS_H
#define SYNOD_REDIS_JOB_ROWS_H

#include "redis/job.h"

/* Row 'h': version:1 (1), then integers (LEB128): epoch revision phase dropped spent_ms maps
 * maps_done reduces reduces_done; error (the rest). */
struct job_head {
    uint64_t epoch, revision, spent_ms;
    uint8_t phase;
    bool dropped;
    uint32_t maps, maps_done, reduces, reduces_done;
    struct bytes error; /* borrowed */
};
static inline bool job_head_ended(const struct job_head *h)
{
    return h->phase >= JOB_DONE;
}
void job_head_put(struct buf *out, const struct job_head *h);
bool job_head_get(struct bytes in, struct job_head *h); /* false: malformed */
/* Of a record as it came. False: malformed. */
bool job_head_of(struct bytes record, struct job_head *h);

/* Clears `out` and writes the key of a row that a job has one of ('j', 'd', 'e', 'h', 'r', 'c',
 * 'p', 'l'); the start of all its rows of a kind that it has several of ('t', 's'). */
void job_key(struct buf *out, uint8_t kind, uint64_t job);
void job_key_named(struct buf *out, struct bytes name);
struct job_stage { /* an attempt of a reduce, as rows name it */
    uint64_t job, epoch;
    uint32_t task, number;
};
void job_key_staged(struct buf *out, const struct job_stage *s); /* 't' */
void job_key_piece(struct buf *out, const struct job_stage *s, uint32_t piece);

/* Reads a row of a job. As view_get. */
enum view_result job_get(struct view *v, uint8_t kind, uint64_t job, struct bytes *value);
void job_put(struct view *v, uint8_t kind, uint64_t job, struct bytes value);
void job_del(struct view *v, uint8_t kind, uint64_t job);
/* The head of its record; ABSENT: no record yet, and *h is that of a job that was submitted. */
enum view_result job_head(struct view *v, uint64_t job, struct job_head *h);

/* May the job want this snapshot, which was made for it? Once it does not, it never will. True too
 * if it missed. */
bool job_uses(struct view *v, uint64_t job, uint64_t snapshot);

/* All jobs, from rows that are small. */
struct job_entry {
    uint64_t job, submitted_ms;
    struct job_head head; /* error: empty; error_at and error_size of it */
    bool cancelled;
    size_t name_at, name_size, error_at, error_size; /* in the listing's text */
};
struct job_listing {
    struct job_entry *entry; /* rising by job */
    uint32_t count, capacity;
    struct buf text;
};
/* False: missed; job_listing_free all the same. */
bool job_list(struct view *v, struct job_listing *l);
void job_listing_by_age(struct job_listing *l); /* sorts it: the first submitted first */
void job_listing_free(struct job_listing *l);
static inline struct bytes job_listing_text(const struct job_listing *l, size_t at, size_t size)
{
    return size ? bytes_of(l->text.data + at, size) : (struct bytes){0};
}

/* What is staged of a job is gone. False: missed, and nothing was done. */
bool job_unstage_all(struct view *v, uint64_t job);
/* All its rows go. False: missed, and nothing was done. */
bool job_forget(struct view *v, uint64_t job);

#endif
