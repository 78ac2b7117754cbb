/* A log on a fake disk, and what it replayed and reported. */
#ifndef SYNOD_LOG_RIG_H
#define SYNOD_LOG_RIG_H

#include <setjmp.h>

#include "fake_io.h"
#include "store/log.h"
#include "store/log_internal.h"

struct rig_record {
    struct log_record r; /* value is the rig's copy */
};

struct rig {
    struct fake_io f;
    struct log *l;
    struct log_options options;
    struct rig_record *replayed;
    uint32_t replayed_count;
    uint64_t synced; /* last reported */
    char error[512];
    char fatal[256];
    jmp_buf on_fatal;
    bool expects_fatal;
};

void rig_init(struct rig *g, uint64_t seed, uint64_t segment_bytes);
void rig_deinit(struct rig *g);
enum log_open_result rig_open(struct rig *g);
/* Opens and insists that it works. */
void rig_start(struct rig *g);
/* Crash: bit i of the mask: the i-th write under way lands. */
void rig_crash(struct rig *g, uint64_t landing);
/* Turns and completions until nothing is under way. */
void rig_settle(struct rig *g);

struct log_record rig_entry(uint32_t group, uint64_t position, uint64_t round, struct bytes value);
uint64_t rig_append_entry(struct rig *g, uint32_t group, uint64_t position, uint64_t round,
                          const char *value);
uint64_t rig_append_promise(struct rig *g, uint32_t group, uint64_t round);
/* The entry at a position by log_read, as text; "-" if it cannot be read. Valid until the next
 * call. */
const char *rig_read(struct rig *g, uint32_t group, uint64_t position);
/* Highest promise replayed for a group, as a round; entries do not count. */
uint64_t rig_replayed_promise(const struct rig *g, uint32_t group);
/* Last entry replayed at a position; NULL: none. */
const struct log_record *rig_replayed_entry(const struct rig *g, uint32_t group, uint64_t position);

#endif
