/* Reads a log's directory: finds the chain of blocks that makes the log, hands out its records in
 * append order, and tells a torn tail from corruption. Changes nothing. Used to open a log and to
 * print one. Blocking; one segment in memory at a time. */
#ifndef SYNOD_STORE_LOG_SCAN_H
#define SYNOD_STORE_LOG_SCAN_H

#include "base/mutant.h"
#include "store/record.h"

#define LOG_FILE_PREFIX "log-"
#define LOG_NAME_MAX    32

struct scan_file {
    char name[LOG_NAME_MAX];
    struct io_file *file;
    uint64_t bytes;
    enum record_result head;
    struct record_segment h; /* valid iff head is RECORD_OK */
    bool was_log;            /* begins with the magic, sound or not */
    bool live;               /* in the chain */
};

struct log_place {
    uint32_t sequence; /* of the segment */
    uint32_t offset;   /* of the record in it */
    uint32_t size;     /* of the record; 0: no place */
    uint32_t check;    /* low half of its checksum */
};

struct scan_sink {
    void (*segment)(void *ctx, const struct scan_file *f); /* the records that follow are in it */
    void (*block)(void *ctx, const struct scan_file *f, const struct record_block *h);
    void (*record)(void *ctx, const struct log_place *place, uint64_t lsn,
                   const struct log_record *r);
    void *ctx; /* any function may be NULL */
};

struct scan {
    struct io *io;
    struct scan_file *file;
    uint32_t count, capacity;
    uint64_t log_id;
    uint64_t oldest;   /* the chain begins with this segment */
    uint64_t sequence; /* where the chain ends: segment, and offset behind its last block */
    uint64_t offset;
    struct record_end end;
    uint64_t epoch_max; /* of anything sound, leftovers included */
    uint64_t proven;    /* highest lsn that something behind the end says was durable */
    bool torn;          /* there is something behind the end, not proven */
    uint8_t *image;     /* of file `image_of` */
    uint64_t image_capacity;
    uint32_t image_of; /* UINT32_MAX: none */
    char message[512];
};

/* LOG_OPENED with s->count == 0: there is no log. Otherwise records of a sound beginning may have
 * been handed out before damage is met; s->message then says what and where. */
enum log_open_result scan_run(struct scan *s, struct io *io, const struct scan_sink *sink);
/* Closes the files that nobody took (who takes one leaves NULL). */
void scan_deinit(struct scan *s);

#endif
