/* host: files are made whole, written durably, and refused with a clear word. */
#include "world.h"
#include "host/internal.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

enum { BLOCKS = 64, FILE_BYTES = BLOCKS * IO_BLOCK };

static uint8_t *aligned(size_t size)
{
    void *p = NULL;
    assert_int_equal(posix_memalign(&p, IO_BLOCK, size), 0);
    memset(p, 0, size);
    return p;
}

struct op {
    struct io_write write;
    struct io_read read;
    int done;
    int64_t result;
};

static void op_written(void *ctx, int error)
{
    struct op *o = ctx;
    o->done++;
    o->result = error;
}

static void op_read(void *ctx, int64_t result)
{
    struct op *o = ctx;
    o->done++;
    o->result = result;
}

static bool op_is_done(void *ctx)
{
    return ((struct op *)ctx)->done > 0;
}

static int64_t write_and_wait(struct world *w, struct io_file *f, const void *data, size_t size,
                              uint64_t offset)
{
    struct op o = {
        .write = {.data = data, .size = size, .offset = offset, .done = op_written, .ctx = &o}};
    io_file_write(w->io, f, &o.write);
    assert_int_equal(o.done, 0);
    world_run(w, op_is_done, &o);
    assert_int_equal(o.done, 1);
    return o.result;
}

static int64_t read_and_wait(struct world *w, struct io_file *f, void *data, size_t size,
                             uint64_t offset)
{
    struct op o = {
        .read = {.data = data, .size = size, .offset = offset, .done = op_read, .ctx = &o}};
    io_file_read(w->io, f, &o.read);
    assert_int_equal(o.done, 0);
    world_run(w, op_is_done, &o);
    assert_int_equal(o.done, 1);
    return o.result;
}

static void append_name(void *ctx, const char *name)
{
    strcat(ctx, name);
    strcat(ctx, " ");
}

ALL(files_are_made_listed_renamed_and_removed)
{
    struct world w = {0};
    struct io_file *f;
    char names[256] = "";
    world_make_dir(&w);
    world_start(&w, backend, NULL);
    assert_int_equal(io_file_open(w.io, "log-2", 0, &f), -ENOENT);
    assert_null(f);
    static const char *made[] = {"log-2", "log-10", "log-1", "meta"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(io_file_open(w.io, made[i], 100000, &f), 0);
        assert_int_equal(io_file_size(w.io, f), 100000);
        io_file_close(w.io, f);
    }
    static const char *bad[] = {"", "a/b", "..", ".hidden", "LOCK"};
    for (int i = 0; i < 5; i++) assert_int_equal(io_file_open(w.io, bad[i], 10, &f), -EINVAL);

    assert_int_equal(io_file_list(w.io, "log-", append_name, names), 0);
    assert_string_equal(names, "log-1 log-10 log-2 ");
    assert_int_equal(io_file_rename(w.io, "log-10", "log-3"), 0);
    assert_int_equal(io_file_remove(w.io, "log-1"), 0);
    assert_int_equal(io_file_remove(w.io, "log-1"), -ENOENT);
    names[0] = 0;
    assert_int_equal(io_file_list(w.io, "", append_name, names), 0);
    assert_string_equal(names, "log-2 log-3 meta ");
    assert_true(io_room(w.io) > 0);
    world_end(&w);
}

ALL(a_new_file_is_zeros_that_take_up_room)
{
    struct world w = {0};
    struct io_file *f;
    struct stat st;
    char path[256];
    world_make_dir(&w);
    world_start(&w, backend, NULL);
    assert_int_equal(io_file_open(w.io, "segment", 3 << 20, &f), 0);
    uint8_t *data = aligned(3 << 20), *zeros = aligned(3 << 20);
    memset(data, 1, 3 << 20);
    assert_int_equal(read_and_wait(&w, f, data, 3 << 20, 0), 3 << 20);
    assert_memory_equal(data, zeros, 3 << 20);
    snprintf(path, sizeof path, "%s/segment", w.dir);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_blocks * 512 >= 3 << 20);
    io_file_close(w.io, f);
    free(data);
    free(zeros);
    world_end(&w);
}

struct twin {
    struct op op[16];
    int done, errors;
};

static void twin_done(void *ctx, int error)
{
    struct twin *t = ctx;
    t->done++;
    t->errors += error != 0;
}

static bool twin_is_done(void *ctx)
{
    return ((struct twin *)ctx)->done == 16;
}

ALL(random_writes_at_once_leave_what_they_leave_in_memory)
{
    struct world w = {0};
    struct io_file *f;
    struct prng r;
    prng_init(&r, 7);
    world_make_dir(&w);
    world_start(&w, backend, NULL);
    assert_int_equal(io_file_open(w.io, "f", FILE_BYTES, &f), 0);
    uint8_t *model = aligned(FILE_BYTES), *data = aligned(16 * 4 * IO_BLOCK),
            *back = aligned(FILE_BYTES);

    for (int round = 0; round < 20; round++) {
        struct twin t = {0};
        for (int i = 0; i < 16;
             i++) { /* each in its own four blocks, so their order does not matter */
            uint8_t *p = data + i * 4 * IO_BLOCK;
            size_t blocks = 1 + prng_below(&r, 4);
            uint64_t offset = ((uint64_t)i * 4 + prng_below(&r, 5 - blocks)) * IO_BLOCK;
            for (size_t k = 0; k < blocks * IO_BLOCK; k++) p[k] = (uint8_t)prng_u64(&r);
            memcpy(model + offset, p, blocks * IO_BLOCK);
            t.op[i].write = (struct io_write){.data = p,
                                              .size = blocks * IO_BLOCK,
                                              .offset = offset,
                                              .done = twin_done,
                                              .ctx = &t};
            io_file_write(w.io, f, &t.op[i].write);
        }
        world_run(&w, twin_is_done, &t);
        assert_int_equal(t.errors, 0);
    }
    assert_int_equal(read_and_wait(&w, f, back, FILE_BYTES, 0), FILE_BYTES);
    assert_memory_equal(back, model, FILE_BYTES);
    assert_int_equal(read_and_wait(&w, f, back, 2 * IO_BLOCK, FILE_BYTES - IO_BLOCK), IO_BLOCK);
    assert_int_equal(read_and_wait(&w, f, back, IO_BLOCK, FILE_BYTES), 0);
    struct host_stats stats;
    host_stats(w.host, &stats);
    assert_int_equal(stats.file_writes, 320);
    assert_true(stats.file_write_ns_max > 0 &&
                stats.file_write_ns_total >= stats.file_write_ns_max);
    io_file_close(w.io, f);
    free(model), free(data), free(back);
    world_end(&w);
}

ALL(blocking_reads_and_writes_of_any_alignment_agree_with_memory)
{
    struct world w = {0};
    struct io_file *f;
    struct prng r;
    enum { SIZE = 3 * (1 << 20) + 777, MORE = SIZE + 5000 };
    prng_init(&r, 9);
    world_make_dir(&w);
    world_start(&w, backend, NULL);
    assert_int_equal(io_file_open(w.io, "f", SIZE, &f), 0);
    uint8_t *model = mem_zalloc(MORE), *data = mem_zalloc(MORE);
    uint64_t size = SIZE;
    for (int i = 0; i < 60; i++) {
        uint64_t offset = prng_below(&r, size + 1);
        size_t n = (size_t)prng_below(&r, prng_chance(&r, 800000) ? 9000 : 2500000) + 1;
        if (offset + n > MORE) n = (size_t)(MORE - offset);
        if (n == 0) continue;
        if (prng_chance(&r, 500000)) {
            for (size_t k = 0; k < n; k++) model[offset + k] = (uint8_t)prng_u64(&r);
            assert_int_equal(io_file_write_now(w.io, f, model + offset, n, offset), 0);
            if (offset + n > size) size = offset + n;
            assert_int_equal(io_file_size(w.io, f), size);
        } else {
            int64_t want = (int64_t)(offset + n > size ? size - offset : n);
            assert_int_equal(io_file_read_now(w.io, f, data, n, offset), want);
            assert_memory_equal(data, model + offset, (size_t)want);
        }
    }
    assert_true(size > SIZE);
    assert_int_equal(io_file_read_now(w.io, f, data, 100, size + 10000), 0);
    io_file_close(w.io, f);
    mem_free(model), mem_free(data);
    world_end(&w);
}

struct both_ways {
    struct world *w;
    struct io_file *f;
    struct io_work work;
    int error;
    bool done;
};

static void both_ways_run(void *ctx)
{
    struct both_ways *b = ctx;
    uint8_t data[1000], back[1000];
    for (int i = 0; i < 20 && !b->error; i++) {
        memset(data, i, sizeof data);
        b->error = io_file_write_now(b->w->io, b->f, data, sizeof data,
                                     (uint64_t)(40 * IO_BLOCK + i * 1000));
        if (!b->error && io_file_read_now(b->w->io, b->f, back, sizeof back,
                                          (uint64_t)(40 * IO_BLOCK + i * 1000)) != 1000)
            b->error = -EIO;
        if (!b->error && memcmp(data, back, sizeof data) != 0) b->error = -EBADMSG;
    }
    struct io_file *g;
    if (!b->error) b->error = io_file_open(b->w->io, "made-on-the-pool", 8192, &g);
    if (!b->error) io_file_close(b->w->io, g);
}

static void both_ways_done(void *ctx)
{
    ((struct both_ways *)ctx)->done = true;
}

ALL(pool_threads_may_use_files_while_the_reactor_writes)
{
    struct world w = {0};
    struct both_ways b = {.w = &w, .work = {both_ways_run, both_ways_done, &b}};
    world_make_dir(&w);
    world_start(&w, backend, NULL);
    assert_int_equal(io_file_open(w.io, "f", FILE_BYTES, &b.f), 0);
    uint8_t *data = aligned(IO_BLOCK);
    io_work(w.io, &b.work);
    for (int i = 0; i < 20; i++)
        assert_int_equal(write_and_wait(&w, b.f, data, IO_BLOCK, (uint64_t)i * IO_BLOCK), 0);
    world_run(&w, world_is_set, &b.done);
    assert_int_equal(b.error, 0);
    io_file_close(w.io, b.f);
    free(data);
    world_end(&w);
}

ALL(a_file_closed_under_a_write_stays_until_the_write_is_done)
{
    struct world w = {0};
    struct io_file *f;
    world_make_dir(&w);
    world_start(&w, backend, NULL);
    assert_int_equal(io_file_open(w.io, "f", FILE_BYTES, &f), 0);
    uint8_t *data = aligned(IO_BLOCK);
    memset(data, 5, IO_BLOCK);
    struct op o = {
        .write = {.data = data, .size = IO_BLOCK, .offset = 0, .done = op_written, .ctx = &o}};
    io_file_write(w.io, f, &o.write);
    io_file_close(w.io, f);
    world_run(&w, op_is_done, &o);
    assert_int_equal(o.result, 0);
    memset(data, 0, IO_BLOCK);
    assert_int_equal(io_file_open(w.io, "f", 0, &f), 0);
    assert_int_equal(io_file_read_now(w.io, f, data, IO_BLOCK, 0), IO_BLOCK);
    assert_int_equal(data[77], 5);
    o.done = 0;
    io_file_write(w.io, f,
                  &o.write); /* and a host freed under a write waits for it, and tells nobody */
    world_end(&w);
    assert_int_equal(o.done, 0);
    free(data);
}

/* A limit on the file's size makes the kernel write the first half only: the rest must be tried,
 * and its error told. */
ALL(a_write_that_the_system_cuts_short_is_never_called_done)
{
    struct world w = {0};
    struct io_file *f;
    struct rlimit old, tight;
    world_make_dir(&w);
    world_start(&w, backend, NULL);
    assert_int_equal(io_file_open(w.io, "f", 8 * IO_BLOCK, &f), 0);
    uint8_t *data = aligned(8 * IO_BLOCK);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    tight = (struct rlimit){4 * IO_BLOCK, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &tight);
    int64_t result = write_and_wait(&w, f, data, 8 * IO_BLOCK, 0);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(result, -EFBIG);
    io_file_close(w.io, f);
    free(data);
    world_end(&w);
}

/* ---- faults ---- */

ALL(planted_faults_fail_writes_delay_them_and_hide_room)
{
    struct world w = {0};
    struct io_file *f;
    world_make_dir(&w);
    world_start(&w, backend, "write-eio-after=2,enospc-room=12345,dsync-delay-ms=30");
    assert_int_equal(io_room(w.io), 12345);
    assert_int_equal(io_file_open(w.io, "f", FILE_BYTES, &f), 0);
    uint8_t *data = aligned(IO_BLOCK);
    uint64_t before = io_now(w.io);
    assert_int_equal(write_and_wait(&w, f, data, IO_BLOCK, 0), 0);
    assert_true(io_now(w.io) - before >= 30 * 1000000);
    assert_int_equal(io_file_write_now(w.io, f, data, 10, 0), 0);
    memset(data, 9, IO_BLOCK);
    assert_int_equal(write_and_wait(&w, f, data, IO_BLOCK, 0), -EIO);
    assert_int_equal(io_file_write_now(w.io, f, data, 10, 0), -EIO);
    assert_int_equal(read_and_wait(&w, f, data, IO_BLOCK, 0), IO_BLOCK);
    assert_int_equal(data[0], 0);
    io_file_close(w.io, f);
    free(data);
    world_end(&w);
}

TEST(an_unknown_fault_is_refused_by_name)
{
    static const char *bad[] = {"write-eio",
                                "write-eio-after=",
                                "write-eio-after=x",
                                "nonsense=3",
                                "enospc-room=1,oops=2",
                                ",",
                                "dsync-delay-ms=-1",
                                "dsync-delay-ms=9223372036854775807"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char error[256] = "";
        struct host_options options = {.fault = bad[i]};
        assert_null(host_new(&options, error, sizeof error));
        assert_non_null(strstr(error, "unknown fault"));
    }
}

/* ---- the directory ---- */

static struct host *try_dir(const char *dir, char error[256])
{
    struct host_options options = {.data_dir = dir, .backend = HOST_EPOLL};
    error[0] = 0;
    return host_new(&options, error, 256);
}

TEST(a_directory_serves_one_host_at_a_time)
{
    struct world w = {0};
    char error[256], pid[32];
    world_make_dir(&w);
    world_start(&w, HOST_EPOLL, NULL);
    assert_null(try_dir(w.dir, error));
    snprintf(pid, sizeof pid, "(pid %d)", getpid());
    assert_non_null(strstr(error, "in use by another process"));
    assert_non_null(strstr(error, pid));
    host_free(w.host);
    struct host *h = try_dir(w.dir, error);
    assert_non_null(h);
    w.host = h;
    world_end(&w);
}

TEST(a_missing_directory_is_made_with_its_parents_and_a_file_is_refused)
{
    struct world w = {0};
    char error[256], path[256], file[300];
    world_make_dir(&w);
    snprintf(path, sizeof path, "%s/a/b/", w.dir);
    struct host *h = try_dir(path, error);
    assert_non_null(h);
    host_free(h);
    snprintf(file, sizeof file, "%s/a/b/LOCK", w.dir);
    assert_null(try_dir(file, error));
    assert_non_null(strstr(error, "Not a directory"));
    assert_null(try_dir("", error));
    world_remove_dir(path);
    snprintf(path, sizeof path, "%s/a", w.dir);
    rmdir(path);
    rmdir(w.dir);
}

TEST(a_directory_without_permission_is_refused_with_that_word)
{
    struct world w = {0};
    int status;
    world_make_dir(&w);
    chmod(w.dir, 0555);
    pid_t pid = fork();
    if (pid == 0) {
        char error[256];
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) _exit(77);
        _exit(try_dir(w.dir, error) || !strstr(error, "Permission denied") ||
              !strstr(error, w.dir));
    }
    waitpid(pid, &status, 0);
    world_remove_dir(w.dir);
    if (WEXITSTATUS(status) == 77) skip();
    assert_int_equal(status, 0);
}

TEST(a_file_that_a_crash_left_half_made_is_removed_at_the_start)
{
    struct world w = {0};
    char path[256];
    world_make_dir(&w);
    snprintf(path, sizeof path, "%s/.new-log-1-7f", w.dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    assert_true(fd >= 0);
    close(fd);
    world_start(&w, HOST_EPOLL, NULL);
    assert_int_equal(access(path, F_OK), -1);
    world_end(&w);
}

ALL(a_file_system_without_direct_io_serves_too)
{
    struct world w = {.dir = "/dev/shm/synod-test-XXXXXX"};
    struct io_file *f;
    if (!mkdtemp(w.dir)) skip();
    world_start(&w, backend, NULL);
    assert_int_equal(io_file_open(w.io, "f", FILE_BYTES, &f), 0);
    uint8_t *data = aligned(IO_BLOCK);
    memset(data, 3, IO_BLOCK);
    assert_int_equal(write_and_wait(&w, f, data, IO_BLOCK, IO_BLOCK), 0);
    uint8_t byte = 0;
    assert_int_equal(io_file_read_now(w.io, f, &byte, 1, IO_BLOCK + 5), 1);
    assert_int_equal(byte, 3);
    io_file_close(w.io, f);
    free(data);
    world_end(&w);
}

/* ---- who writes ---- */

static void put_word(const char *dir, const char *name, const char *word)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, word, strlen(word)), strlen(word));
    close(fd);
}

TEST(a_disk_with_a_cache_and_without_fua_needs_flushes)
{
    struct world w = {0};
    world_make_dir(&w);
    assert_false(file_pool_queue_flushes(w.dir)); /* nothing known: tmpfs, overlay */
    put_word(w.dir, "write_cache", "write back\n");
    assert_true(file_pool_queue_flushes(w.dir)); /* an older Linux says nothing of FUA */
    put_word(w.dir, "fua", "0\n");
    assert_true(file_pool_queue_flushes(w.dir));
    put_word(w.dir, "fua", "1\n");
    assert_false(file_pool_queue_flushes(w.dir));
    put_word(w.dir, "write_cache", "write through\n");
    put_word(w.dir, "fua", "0\n");
    assert_false(file_pool_queue_flushes(w.dir));
    world_remove_dir(w.dir);
}

TEST(flushes_are_asked_of_the_disk_under_the_directory)
{
    struct world w = {.dir = "/dev/shm/synod-test-XXXXXX"};
    struct stat st;
    char path[128];
    if (!mkdtemp(w.dir)) skip();
    int fd = open(w.dir, O_RDONLY | O_DIRECTORY);
    assert_false(file_pool_flushes(fd));
    assert_false(file_pool_flushes(-1));
    close(fd);
    world_remove_dir(w.dir);

    world_make_dir(&w);
    fd = open(w.dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(fstat(fd, &st), 0);
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/queue", major(st.st_dev), minor(st.st_dev));
    if (access(path, F_OK) == 0)
        assert_int_equal(file_pool_flushes(fd), file_pool_queue_flushes(path));
    close(fd);
    world_remove_dir(w.dir);
}

TEST(threads_write_while_the_node_computes_and_the_disk_needs_flushes)
{
    static const uint64_t ms = 1000000;
    struct host h = {.writes = HOST_WRITES_AUTO};
    assert_false(file_pool_writes(&h, 5 * ms)); /* nothing was ever computed */
    h.computed_at = 1000 * ms;
    assert_true(file_pool_writes(&h, 1000 * ms));
    assert_true(file_pool_writes(&h, 5999 * ms));
    assert_false(file_pool_writes(&h, 6000 * ms));
    h.writes = HOST_WRITES_BY_RING;
    assert_false(file_pool_writes(&h, 1000 * ms));
    h.writes = HOST_WRITES_BY_THREADS;
    assert_true(file_pool_writes(&h, 9000 * ms));
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static void set_flag(void *ctx)
{
    *(bool *)ctx = true;
}

/* Threads of pools; the kernel's own for io_uring are not counted. */
static int threads(void)
{
    int count = 0;
    char path[300], name[32];
    DIR *dir = opendir("/proc/self/task");
    for (const struct dirent *e; (e = readdir(dir));) {
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", e->d_name);
        int fd = e->d_name[0] == '.' ? -1 : open(path, O_RDONLY);
        ssize_t n = fd < 0 ? -1 : read(fd, name, sizeof name - 1);
        name[n > 0 ? n : 0] = 0;
        count += n > 0 && strncmp(name, "iou-", 4) != 0;
        if (fd >= 0) close(fd);
    }
    closedir(dir);
    return count;
}

TEST(batch_work_gives_writes_to_threads)
{
    struct world w = {0};
    struct io_file *f;
    bool done = false;
    struct io_work work = {.run = nothing, .done = set_flag, .ctx = &done, .batch = true};
    if (!world_has_uring()) skip();
    world_make_dir(&w);
    world_start(&w, HOST_URING, NULL);
    w.host->writes = HOST_WRITES_AUTO; /* as on a disk that needs flushes */
    assert_int_equal(io_file_open(w.io, "f", FILE_BYTES, &f), 0);
    uint8_t *data = aligned(IO_BLOCK);
    int before = threads();
    assert_int_equal(write_and_wait(&w, f, data, IO_BLOCK, 0), 0);
    assert_int_equal(threads(), before);

    io_work(w.io, &work);
    world_run(&w, world_is_set, &done);
    before = threads();
    assert_int_equal(write_and_wait(&w, f, data, IO_BLOCK, 0), 0);
    assert_true(threads() > before);
    io_file_close(w.io, f);
    free(data);
    world_end(&w);
}

ALL(files_are_open_for_synchronous_writes)
{
    struct world w = {0};
    struct io_file *f;
    struct stat st, other;
    char path[256];
    int found = 0;
    world_make_dir(&w);
    world_start(&w, backend, NULL);
    assert_int_equal(io_file_open(w.io, "f", FILE_BYTES, &f), 0);
    snprintf(path, sizeof path, "%s/f", w.dir);
    assert_int_equal(stat(path, &st), 0);
    for (int fd = 3; fd < 256; fd++) {
        if (fstat(fd, &other) != 0 || other.st_ino != st.st_ino || other.st_dev != st.st_dev)
            continue;
        found++;
        assert_true(fcntl(fd, F_GETFL) & O_DSYNC);
    }
    assert_int_equal(found, 1);
    io_file_close(w.io, f);
    world_end(&w);
}

TEST_MAIN
