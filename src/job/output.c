#include "job/output.h"
#include "job/worker.h"
#include "base/assert.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

struct job_output {
    struct job_output_options o;
    uint32_t uses, last; /* last: the partition that is being written */
    int fd;              /* -1: all is in memory */
    uint64_t filed;      /* bytes in the file; what follows is in `memory` */
    struct buf memory;
    uint64_t *begins; /* [partitions + 1] */
};

struct job_output *job_output_new(const struct job_output_options *o)
{
    struct job_output *out = mem_zalloc(sizeof *out);
    ASSERT(o->partitions >= 1 && o->partitions <= JOB_PARTITIONS_MAX);
    *out = (struct job_output){.o = *o, .uses = 1, .fd = -1};
    out->begins = mem_zalloc((o->partitions + 1) * sizeof *out->begins);
    return out;
}

struct job_output *job_output_use(struct job_output *o)
{
    o->uses++;
    return o;
}

void job_output_release(struct job_output *o)
{
    if (!o || --o->uses) return;
    if (o->fd >= 0) (void)close(o->fd);
    buf_deinit(&o->memory);
    mem_free(o->begins);
    mem_free(o);
}

uint64_t job_output_bytes(const struct job_output *o)
{
    return o->filed + o->memory.size;
}

size_t job_output_memory(const struct job_output *o)
{
    return o->memory.capacity;
}

bool job_output_in_memory(const struct job_output *o)
{
    return o->fd < 0;
}

static bool system_says(char *why, const char *what)
{
    (void)snprintf(why, TASK_ERROR_MAX, "the output cannot be %s (%s)", what, strerror(errno));
    return false;
}

/* All of the memory goes to the end of the file. */
static bool to_file(struct job_output *o, char *why)
{
    if (o->fd < 0) o->fd = worker_spill_open(o->o.dir);
    if (o->fd < 0) return system_says(why, "kept in a file");
    for (size_t at = 0; at < o->memory.size;) {
        ssize_t n = pwrite(o->fd, o->memory.data + at, o->memory.size - at, (off_t)(o->filed + at));
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) errno = ENOSPC;
        if (n <= 0) return system_says(why, "written");
        at += (size_t)n;
    }
    o->filed += o->memory.size;
    buf_clear(&o->memory);
    return true;
}

bool job_output_put(void *ctx, uint32_t partition, struct bytes pairs, char *why)
{
    struct job_output *o = ctx;
    if (partition >= o->o.partitions || partition < o->last) {
        (void)snprintf(why, TASK_ERROR_MAX, "the output came out of order");
        return false;
    }
    if (job_output_bytes(o) + pairs.size > o->o.bytes_max) {
        (void)snprintf(why, TASK_ERROR_MAX,
                       "more than %llu bytes of output would be kept; raise LIMITS SPILL, or emit "
                       "less",
                       (unsigned long long)o->o.bytes_max);
        return false;
    }
    while (o->last < partition) o->begins[++o->last] = job_output_bytes(o);
    if (o->o.dir && o->memory.size && o->memory.size + pairs.size > o->o.memory_max &&
        !to_file(o, why))
        return false;
    buf_append_bytes(&o->memory, pairs);
    return true;
}

bool job_output_end(struct job_output *o, char *why)
{
    while (o->last < o->o.partitions) o->begins[++o->last] = job_output_bytes(o);
    bool large = o->fd >= 0 || (o->o.dir && o->memory.size > o->o.memory_max);
    if (large && !to_file(o, why)) return false;
    struct buf fit = o->memory.size ? buf_copy(buf_bytes(&o->memory)) : (struct buf){0};
    buf_deinit(&o->memory);
    o->memory = fit;
    return true;
}

static bool read_file(const struct job_output *o, uint64_t at, size_t size, struct buf *out)
{
    while (size) {
        ssize_t n = pread(o->fd, buf_reserve(out, size), size, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        out->size += (size_t)n;
        at += (uint64_t)n;
        size -= (size_t)n;
    }
    return true;
}

bool job_output_read(const struct job_output *o, uint32_t partition, uint64_t offset, size_t max,
                     struct buf *out, bool *end)
{
    ASSERT(o->last == o->o.partitions && partition < o->o.partitions);
    uint64_t from = o->begins[partition], size = o->begins[partition + 1] - from;
    if (offset > size) offset = size;
    size_t n = size - offset < max ? (size_t)(size - offset) : max;
    *end = offset + n == size;
    if (o->fd >= 0) return read_file(o, from + offset, n, out);
    buf_append(out, o->memory.data + from + offset, n);
    return true;
}
