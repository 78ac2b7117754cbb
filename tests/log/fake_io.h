/* A struct io with files only, in memory, for the log's tests: operations complete when the test
 * says so and in the order it (or its generator) chooses; a crash keeps what completed and any
 * subset of the blocks or sectors of what had not; bits flip; the disk fills; writes fail. */
#ifndef SYNOD_FAKE_IO_H
#define SYNOD_FAKE_IO_H

#include "base/io.h"
#include "base/list.h"
#include "base/prng.h"

#define FAKE_FILES_MAX 64

struct fake_file {
    char name[32];
    uint8_t *data;
    uint64_t size;
};

struct fake_io {
    struct io io; /* first */
    struct prng random;
    struct fake_file file[FAKE_FILES_MAX];
    uint32_t file_count;
    struct list ops; /* not completed */
    uint32_t op_count;
    struct list handles; /* open ones */
    uint64_t now;
    int64_t room;        /* bytes a new file may take; INT64_MAX: no limit */
    int fail_writes;     /* errno for the next writes; 0: none */
    bool discard_writes; /* for measuring: data is not copied */
    uint32_t opened;     /* handles not closed */
    uint64_t writes, write_bytes;
};

void fake_init(struct fake_io *f, uint64_t seed);
void fake_deinit(struct fake_io *f);
/* Completes up to `count` operations, oldest first, or in random order. Returns how many. */
uint32_t fake_run(struct fake_io *f, uint32_t count, bool shuffled);
/* Completes the i-th operation (0: oldest). */
void fake_run_one(struct fake_io *f, uint32_t i);
/* Power fails: operations under way and open files are forgotten, but each block (or each sector)
 * of a write lands with probability ppm in a million. */
void fake_crash(struct fake_io *f, uint32_t ppm);
/* As fake_crash; bit i of the mask says whether the i-th write under way lands, whole. */
void fake_crash_landing(struct fake_io *f, uint64_t write_mask);
struct fake_file *fake_find(struct fake_io *f, const char *name);
void fake_flip(struct fake_io *f, const char *name, uint64_t byte);
#endif
