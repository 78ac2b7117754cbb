/* File operations by threads that block: all of them under epoll, which knows no files; under
 * io_uring the writes, if the disk needs a flush behind each and this node computes.
 *
 * Such a disk keeps writes in a cache of its own and cannot be told to keep one out of it (FUA).
 * Linux ends an asynchronous O_DSYNC write there in a kernel thread, which flushes, and which
 * stands in the scheduler beside the whole session of this process: where that computes, the kernel
 * thread waits until the session's time slice is over. A thread of our own that writes and flushes
 * belongs to the session, where what computes is SCHED_IDLE (pool.h) and gives way. Where
 * no flush is needed, or nothing computes, io_uring is the shorter way (docs/BENCHMARKS.md has all
 * four). */
#include "base/mem.h"
#include "host/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* So long after computing was last given out it is taken to go on: on this machine, if not in this
 * node, for a job ends on one node before it ends on another. */
#define FILE_POOL_COMPUTES_NS 5000000000u

/* ---- the choice ---- */

/* "" if there is no such file. */
static void file_pool_word(const char *queue, const char *name, char word[32])
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", queue, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, word, 31);
    word[n > 0 ? n : 0] = 0;
    word[strcspn(word, "\n")] = 0;
    if (fd >= 0) close(fd);
}

bool file_pool_queue_flushes(const char *queue)
{
    char cache[32], fua[32];
    file_pool_word(queue, "write_cache", cache);
    file_pool_word(queue, "fua", fua);
    return strcmp(cache, "write back") == 0 && strcmp(fua, "1") != 0;
}

bool file_pool_flushes(int dir_fd)
{
    struct stat st;
    char queue[128];
    if (dir_fd < 0 || fstat(dir_fd, &st) != 0) return false;
    int n =
        snprintf(queue, sizeof queue, "/sys/dev/block/%u:%u/", major(st.st_dev), minor(st.st_dev));
    (void)snprintf(queue + n, sizeof queue - (size_t)n, "queue");
    if (file_pool_queue_flushes(queue)) return true;
    (void)snprintf(queue + n, sizeof queue - (size_t)n, "../queue"); /* of a partition */
    return file_pool_queue_flushes(queue);
}

bool file_pool_writes(const struct host *h, uint64_t now)
{
    return h->writes == HOST_WRITES_BY_THREADS ||
           (h->writes == HOST_WRITES_AUTO && h->computed_at &&
            now - h->computed_at < FILE_POOL_COMPUTES_NS);
}

/* ---- operations ---- */

struct file_op {
    struct pool_job job; /* first */
    struct io_file *file;
    struct io_write *write; /* either of the two */
    struct io_read *read;
    uint64_t since;
    int64_t result;
};

static void file_op_run(struct pool_job *job)
{
    struct file_op *op = (struct file_op *)job;
    if (op->write)
        op->result =
            files_write_whole(op->file, op->write->data, op->write->size, op->write->offset);
    else
        op->result = files_read_whole(op->file, op->read->data, op->read->size, op->read->offset);
}

static void file_op_finish(struct pool_job *job)
{
    struct file_op op = *(struct file_op *)job;
    mem_free(job);
    if (op.write)
        files_write_done(op.file, op.write, op.since, (int)op.result);
    else
        files_read_done(op.file, op.read, op.result);
}

static void file_op_drop(struct pool_job *job)
{
    mem_free(job);
}

static void file_op_start(struct host *h, struct file_op op)
{
    struct file_op *job = mem_alloc(sizeof *job);
    op.job = (struct pool_job){.run = file_op_run, .finish = file_op_finish, .drop = file_op_drop};
    *job = op;
    pool_push(h->file_pool, &job->job);
}

void file_pool_write(struct host *h, struct io_file *f, struct io_write *w)
{
    file_op_start(h, (struct file_op){.file = f, .write = w, .since = host_now()});
}

void file_pool_read(struct host *h, struct io_file *f, struct io_read *r)
{
    file_op_start(h, (struct file_op){.file = f, .read = r});
}
