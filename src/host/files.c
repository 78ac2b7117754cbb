/* The data directory: its lock, its files, and what makes both durable.
 *
 * Files are opened O_DIRECT|O_DSYNC, so a write that is done is on stable storage; where the file
 * system refuses O_DIRECT (tmpfs), O_DSYNC alone. A file is made under a name that begins with
 * ".new-" and renamed when all its zeros are on disk, so that a crash leaves either no file or a
 * whole one. Opening an old file syncs it before anything is read from it: what a crashed process
 * left in the page cache may be read only once it cannot vanish any more (PROTOCOLS.md 1.6). */
#include "base/assert.h"
#include "base/mem.h"
#include "host/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FILES_CHUNK    (1u << 20)
#define FILES_LOCK     "LOCK"
#define FILES_NEW      ".new-"
#define FILES_NAME_MAX 200

/* ---- the directory ---- */

/* Makes every missing part of the path; each new name is synced into its parent. */
static int files_make_dir(const char *path)
{
    char part[PATH_MAX];
    size_t size = strlen(path);
    if (size == 0) return -ENOENT;
    if (size >= sizeof part) return -ENAMETOOLONG;
    memcpy(part, path, size + 1);
    for (size_t i = 1; i <= size; i++) {
        if (part[i] != '/' && part[i] != 0) continue;
        part[i] = 0;
        if (mkdir(part, 0755) == 0) {
            char *slash = strrchr(part, '/');
            char kept = slash ? slash[1] : 0;
            if (slash) slash[1] = 0; /* "/a/b" -> "/a/" */
            int fd = open(slash ? part : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (slash) slash[1] = kept;
            if (fd >= 0) (void)fsync(fd), close(fd);
        } else if (errno != EEXIST) {
            return -errno;
        }
        part[i] = path[i];
    }
    return 0;
}

static int files_lock(struct host *h, const char *dir, char *error, size_t error_size)
{
    char pid[32] = "";
    h->lock_fd = openat(h->dir_fd, FILES_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (h->lock_fd < 0) {
        int failed = -errno;
        (void)snprintf(error, error_size, "cannot write in data directory '%s': %s", dir,
                       strerror(-failed));
        return failed;
    }
    if (flock(h->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
        if (ftruncate(h->lock_fd, 0) == 0)
            (void)!pwrite(h->lock_fd, pid, (size_t)n, 0); /* only for the message below */
        return 0;
    }
    int failed = -errno;
    ssize_t n = pread(h->lock_fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? strcspn(pid, "\n") : 0] = 0;
    if (failed == -EWOULDBLOCK)
        (void)snprintf(error, error_size,
                       "data directory '%s' is in use by another process (pid %s)", dir,
                       *pid ? pid : "?");
    else
        (void)snprintf(error, error_size, "cannot lock data directory '%s': %s", dir,
                       strerror(-failed));
    return failed;
}

static int files_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool files_is_plain(int dir_fd, const struct dirent *entry)
{
    struct stat st;
    if (entry->d_type != DT_UNKNOWN) return entry->d_type == DT_REG;
    return fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

/* All plain files whose names begin with prefix, sorted; the caller frees each name and the array.
 */
static int files_collect(struct host *h, const char *prefix, char ***names, size_t *count)
{
    *names = NULL;
    *count = 0;
    int fd = openat(h->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int error = -errno;
        if (fd >= 0) close(fd);
        return error;
    }
    size_t capacity = 0;
    errno = 0;
    for (const struct dirent *entry; (entry = readdir(dir)); errno = 0) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 ||
            !files_is_plain(h->dir_fd, entry))
            continue;
        if (*count == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            *names = mem_realloc(*names, capacity * sizeof **names);
        }
        (*names)[(*count)++] = mem_strdup(entry->d_name);
    }
    int error = -errno;
    closedir(dir);
    if (*count) qsort(*names, *count, sizeof **names, files_compare);
    return error;
}

static void files_free_names(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++) mem_free(names[i]);
    mem_free(names);
}

int files_start(struct host *h, const char *dir, char *error, size_t error_size)
{
    char **names;
    size_t count;
    int failed = files_make_dir(dir);
    if (failed == 0) {
        h->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (h->dir_fd < 0) failed = -errno;
    }
    if (failed) {
        (void)snprintf(error, error_size, "cannot use data directory '%s': %s", dir,
                       strerror(-failed));
        return failed;
    }
    failed = files_lock(h, dir, error, error_size);
    if (failed) return failed;

    failed = files_collect(h, FILES_NEW, &names, &count);
    if (failed)
        (void)snprintf(error, error_size, "cannot read data directory '%s': %s", dir,
                       strerror(-failed));
    for (size_t i = 0; i < count; i++)
        (void)unlinkat(h->dir_fd, names[i], 0); /* a crash left them half made */
    files_free_names(names, count);
    return failed;
}

/* ---- opening ---- */

static bool files_name_ok(const char *name)
{
    size_t size = strlen(name);
    return size > 0 && size <= FILES_NAME_MAX && name[0] != '.' && !strchr(name, '/') &&
           strcmp(name, FILES_LOCK) != 0;
}

static int files_fill_with_zeros(int fd, uint64_t size)
{
    int failed = posix_fallocate(fd, 0, (off_t)size); /* -ENOSPC now, rather than half way */
    if (failed && failed != EOPNOTSUPP && failed != EINVAL) return -failed;
    /* Written all the same: an allocated but unwritten block costs a journal commit when the log
     * first writes it. */
    uint8_t *zeros = mem_zalloc(FILES_CHUNK);
    uint64_t at = 0;
    failed = 0;
    while (at < size && !failed) {
        size_t chunk = size - at < FILES_CHUNK ? (size_t)(size - at) : FILES_CHUNK;
        ssize_t n = pwrite(fd, zeros, chunk, (off_t)at);
        if (n > 0)
            at += (uint64_t)n;
        else if (n < 0 && errno != EINTR)
            failed = -errno;
    }
    mem_free(zeros);
    if (!failed && fsync(fd) != 0) failed = -errno;
    return failed;
}

static int files_create(struct host *h, const char *name, uint64_t size)
{
    /* The name carries a number, for two threads may be making the same file. */
    char fresh[FILES_NAME_MAX + 64];
    (void)snprintf(fresh, sizeof fresh, FILES_NEW "%s-%lx", name, (unsigned long)pthread_self());
    int fd = openat(h->dir_fd, fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return -errno;
    int failed = files_fill_with_zeros(fd, size);
    close(fd);
    if (!failed && linkat(h->dir_fd, fresh, h->dir_fd, name, 0) != 0 && errno != EEXIST)
        failed = -errno;
    if (unlinkat(h->dir_fd, fresh, 0) != 0 && !failed) failed = -errno;
    if (!failed && fsync(h->dir_fd) != 0) failed = -errno;
    return failed;
}

static int files_open_fd(struct host *h, const char *name, bool *direct)
{
    int fd = openat(h->dir_fd, name, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC);
    *direct = fd >= 0;
    if (fd < 0 && errno == EINVAL) fd = openat(h->dir_fd, name, O_RDWR | O_DSYNC | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int files_open(struct io *io, const char *name, uint64_t create_size, struct io_file **out)
{
    struct host *h = host_of(io);
    bool direct;
    *out = NULL;
    if (h->dir_fd < 0 || !files_name_ok(name)) return -EINVAL;
    int fd = files_open_fd(h, name, &direct);
    if (fd == -ENOENT && create_size > 0) {
        int failed = files_create(h, name, create_size);
        if (failed) return failed;
        fd = files_open_fd(h, name, &direct);
    }
    if (fd < 0) return fd;
    if (fsync(fd) != 0) {
        int failed = -errno;
        close(fd);
        return failed;
    }
    struct io_file *f = mem_zalloc(sizeof *f);
    f->host = h;
    f->fd = fd;
    f->direct = direct;
    atomic_init(&f->users, 1);
    pthread_mutex_lock(&h->files_mutex);
    list_push(&h->files, &f->link);
    pthread_mutex_unlock(&h->files_mutex);
    *out = f;
    return 0;
}

static void files_free(struct io_file *f)
{
    close(f->fd);
    mem_free(f);
}

static void files_release(struct io_file *f)
{
    if (atomic_fetch_sub(&f->users, 1) != 1) return;
    pthread_mutex_lock(&f->host->files_mutex);
    list_remove(&f->link);
    pthread_mutex_unlock(&f->host->files_mutex);
    files_free(f);
}

void files_close(struct io *io, struct io_file *f)
{
    (void)io;
    files_release(f); /* operations under way keep it until they are done */
}

uint64_t files_size(struct io *io, struct io_file *f)
{
    (void)io;
    struct stat st;
    return fstat(f->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* ---- reading and writing ---- */

int files_write_whole(struct io_file *f, const void *data, size_t size, uint64_t offset)
{
    for (size_t at = 0; at < size;) {
        ssize_t n = pwrite(f->fd, (const uint8_t *)data + at, size - at, (off_t)(offset + at));
        if (n > 0)
            at += (size_t)n;
        else if (n == 0)
            return -EIO;
        else if (errno != EINTR)
            return -errno;
    }
    return 0;
}

int64_t files_read_whole(struct io_file *f, void *data, size_t size, uint64_t offset)
{
    size_t at = 0;
    while (at < size) {
        ssize_t n = pread(f->fd, (uint8_t *)data + at, size - at, (off_t)(offset + at));
        if (n == 0) break;
        if (n > 0)
            at += (size_t)n;
        else if (errno != EINTR)
            return -errno;
        /* A short read that is no multiple of a block ended at the end of the file; O_DIRECT would
         * refuse to go on there. */
        if (n > 0 && f->direct && n % IO_BLOCK) break;
    }
    return (int64_t)at;
}

static bool files_aligned(const void *data, size_t size, uint64_t offset)
{
    return (((uintptr_t)data | size | offset) & (IO_BLOCK - 1)) == 0;
}

static uint8_t *files_bounce(size_t size)
{
    void *p = NULL;
    ASSERT(posix_memalign(&p, IO_BLOCK, size) == 0);
    return p;
}

int64_t files_read_now(struct io *io, struct io_file *f, void *data, size_t size, uint64_t offset)
{
    (void)io;
    if (!f->direct || files_aligned(data, size, offset))
        return files_read_whole(f, data, size, offset);

    size_t chunk = size + 2 * IO_BLOCK < FILES_CHUNK
                       ? (size + 2 * IO_BLOCK) & ~(size_t)(IO_BLOCK - 1)
                       : FILES_CHUNK;
    uint8_t *bounce = files_bounce(chunk);
    int64_t done = 0;
    while ((size_t)done < size) {
        uint64_t at = offset + (uint64_t)done, from = at & ~(uint64_t)(IO_BLOCK - 1);
        size_t skip = (size_t)(at - from);
        int64_t n = files_read_whole(f, bounce, chunk, from);
        if (n < 0) done = n;
        if (n <= (int64_t)skip) break;
        size_t take =
            (size_t)n - skip < size - (size_t)done ? (size_t)n - skip : size - (size_t)done;
        memcpy((uint8_t *)data + done, bounce + skip, take);
        done += (int64_t)take;
        if ((size_t)n < chunk) break;
    }
    free(bounce);
    return done;
}

/* Writes one aligned window that holds [offset, offset + size), keeping what else is in its blocks.
 */
static int files_write_window(struct io_file *f, uint8_t *bounce, size_t window, const void *data,
                              size_t size, uint64_t offset)
{
    uint64_t from = offset & ~(uint64_t)(IO_BLOCK - 1);
    int64_t n = files_read_whole(f, bounce, window, from);
    if (n < 0) return (int)n;
    memset(bounce + n, 0, window - (size_t)n);
    memcpy(bounce + (offset - from), data, size);
    return files_write_whole(f, bounce, window, from);
}

static int files_write_unaligned(struct io_file *f, const void *data, size_t size, uint64_t offset)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0) return -errno;
    uint64_t end = offset + size, old_size = (uint64_t)st.st_size, written = old_size;
    uint8_t *bounce = files_bounce(FILES_CHUNK);
    int failed = 0;
    for (size_t at = 0; at < size && !failed;) {
        size_t skip = (size_t)((offset + at) % IO_BLOCK), take = FILES_CHUNK - skip;
        if (take > size - at) take = size - at;
        size_t window = (skip + take + IO_BLOCK - 1) & ~(size_t)(IO_BLOCK - 1);
        failed =
            files_write_window(f, bounce, window, (const uint8_t *)data + at, take, offset + at);
        uint64_t reached = offset + at - skip + window;
        if (reached > written) written = reached;
        at += take;
    }
    free(bounce);
    /* Whole blocks may have made the file longer than was asked for. */
    uint64_t wanted = end > old_size ? end : old_size;
    if (!failed && written > wanted && (ftruncate(f->fd, (off_t)wanted) != 0 || fsync(f->fd) != 0))
        failed = -errno;
    return failed;
}

int files_write_now(struct io *io, struct io_file *f, const void *data, size_t size,
                    uint64_t offset)
{
    if (fault_write_fails(&host_of(io)->fault)) return -EIO;
    if (!f->direct || files_aligned(data, size, offset))
        return files_write_whole(f, data, size, offset);
    return files_write_unaligned(f, data, size, offset);
}

/* ---- operations of the reactor ---- */

/* A write whose report waits: it is to fail without having been tried, or it is done and planted to
 * be slow. */
struct files_held {
    struct list link;
    struct io_write *write;
    int error;
    uint64_t due;
};

static void files_hold(struct host *h, struct io_write *w, int error, uint64_t due)
{
    struct files_held *held = mem_alloc(sizeof *held);
    *held = (struct files_held){.write = w, .error = error, .due = due};
    list_push(&h->held, &held->link);
}

void files_step(struct host *h, uint64_t now)
{
    while (!list_empty(&h->held)) {
        struct files_held *held = LIST_OF(h->held.next, struct files_held, link);
        if (held->due > now) break;
        struct io_write *w = held->write;
        int error = held->error;
        list_remove(&held->link);
        mem_free(held);
        w->done(w->ctx, error);
    }
}

uint64_t files_deadline(struct host *h)
{
    return list_empty(&h->held) ? UINT64_MAX : LIST_OF(h->held.next, struct files_held, link)->due;
}

void files_write(struct io *io, struct io_file *f, struct io_write *w)
{
    struct host *h = host_of(io);
    ASSERT(files_aligned(w->data, w->size, w->offset));
    ASSERT(w->size > 0);
    if (fault_write_fails(&h->fault)) {
        files_hold(h, w, -EIO, 0);
        return;
    }
    atomic_fetch_add(&f->users, 1);
    h->ops->file_write(h, f, w);
}

void files_read(struct io *io, struct io_file *f, struct io_read *r)
{
    struct host *h = host_of(io);
    ASSERT(files_aligned(r->data, r->size, r->offset));
    ASSERT(r->size > 0);
    atomic_fetch_add(&f->users, 1);
    h->ops->file_read(h, f, r);
}

void files_write_done(struct io_file *f, struct io_write *w, uint64_t since, int error)
{
    struct host *h = f->host;
    uint64_t now = host_now(), took = now - since;
    h->stats.file_writes++;
    h->stats.file_write_ns_total += took;
    if (took > h->stats.file_write_ns_max) h->stats.file_write_ns_max = took;
    files_release(f);
    if (h->fault.dsync_delay_ns)
        files_hold(h, w, error, now + h->fault.dsync_delay_ns);
    else
        w->done(w->ctx, error);
}

void files_read_done(struct io_file *f, struct io_read *r, int64_t result)
{
    files_release(f);
    r->done(r->ctx, result);
}

/* ---- names ---- */

int files_rename(struct io *io, const char *from, const char *to)
{
    struct host *h = host_of(io);
    if (h->dir_fd < 0 || !files_name_ok(from) || !files_name_ok(to)) return -EINVAL;
    if (renameat(h->dir_fd, from, h->dir_fd, to) != 0 || fsync(h->dir_fd) != 0) return -errno;
    return 0;
}

int files_remove(struct io *io, const char *name)
{
    struct host *h = host_of(io);
    if (h->dir_fd < 0 || !files_name_ok(name)) return -EINVAL;
    if (unlinkat(h->dir_fd, name, 0) != 0 || fsync(h->dir_fd) != 0) return -errno;
    return 0;
}

int files_list(struct io *io, const char *prefix, void (*each)(void *ctx, const char *name),
               void *ctx)
{
    struct host *h = host_of(io);
    char **names;
    size_t count;
    if (h->dir_fd < 0) return -EINVAL;
    int failed = files_collect(h, prefix, &names, &count);
    for (size_t i = 0; i < count && !failed; i++)
        if (files_name_ok(names[i])) each(ctx, names[i]);
    files_free_names(names, count);
    return failed;
}

int64_t files_room(struct io *io)
{
    struct host *h = host_of(io);
    struct statvfs st;
    if (h->dir_fd < 0) return -EINVAL;
    if (fstatvfs(h->dir_fd, &st) != 0) return -errno;
    uint64_t room = (uint64_t)st.f_bavail * st.f_frsize;
    return (int64_t)(room < h->fault.room_max ? room : h->fault.room_max);
}

void files_stop(struct host *h)
{
    for (struct list *link; (link = list_pop(&h->held));)
        mem_free(LIST_OF(link, struct files_held, link));
    for (struct list *link; (link = list_pop(&h->files));)
        files_free(LIST_OF(link, struct io_file, link));
    if (h->dir_fd >= 0) close(h->dir_fd);
    if (h->lock_fd >= 0) close(h->lock_fd); /* and with it the lock */
}
