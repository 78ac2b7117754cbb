/* Disks: files whose bytes are durable or on their way.
 *
 * A write is applied when it completes, and completes later than others begun after it if it so
 * happens. A crash keeps what was completed and, of each write under way, any of its blocks, a
 * block perhaps cut in the middle. What was read is always what is durable. Blocking writes are
 * applied at once, unless the program dies in the midst of one (cut_ppm).
 *
 * Damage is confined: world_damage touches only a block whose write was told to the program before
 * the program asked for another write that completed. A log that records what is synced can tell
 * such damage from a torn tail; at the very tail nobody could. */
#include "sim/internal.h"

#define SECTOR 512u

struct disk_file {
    struct list in_host;
    char name[64];
    uint64_t size;
    uint8_t *data;
    uint64_t
        *told; /* per block: disk_order when its last write was told complete; 0: never written */
    uint32_t opens;
    bool removed;
};

struct io_file {
    struct list in_host;
    struct disk_file *file;
};

enum job_kind { JOB_WRITE, JOB_READ, JOB_WORK };

struct job {
    struct list in_host;
    struct host *h;
    struct disk_file *file;
    struct event *event;
    uint8_t kind;
    bool held; /* a stalled disk */
    int64_t result;
    uint64_t asked; /* disk_order at the request */
    uint64_t check; /* hash of the bytes at the request: they may not change */
    union {
        struct io_write *write;
        struct io_read *read;
        struct io_work *work;
    } of;
};

static struct bytes job_bytes(const struct job *j)
{
    return bytes_of(j->of.write->data, j->of.write->size);
}

/* ---- files ---- */

static struct disk_file *file_find(const struct host *h, const char *name)
{
    for (struct list *at = h->files.next; at != &h->files; at = at->next) {
        struct disk_file *f = LIST_OF(at, struct disk_file, in_host);
        if (!f->removed && strcmp(f->name, name) == 0) return f;
    }
    return NULL;
}

static void file_free(struct disk_file *f)
{
    list_remove(&f->in_host);
    mem_free(f->data);
    mem_free(f->told);
    mem_free(f);
}

static void file_release(struct disk_file *f)
{
    if (f->opens == 0 && f->removed) file_free(f);
}

static int64_t host_room(const struct host *h)
{
    uint64_t used = h->disk.taken;
    for (struct list *at = h->files.next; at != &h->files; at = at->next)
        used += LIST_OF(at, struct disk_file, in_host)->size;
    return used < h->disk.capacity ? (int64_t)(h->disk.capacity - used) : 0;
}

int64_t disk_room(struct io *io)
{
    return host_room(host_of(io));
}

static struct disk_file *file_create(struct host *h, const char *name, uint64_t size)
{
    struct disk_file *f = mem_zalloc(sizeof *f);
    snprintf(f->name, sizeof f->name, "%s", name);
    f->size = size;
    f->data = mem_zalloc(size);
    f->told = mem_zalloc((size / IO_BLOCK + 1) * sizeof *f->told);
    list_push(&h->files, &f->in_host);
    return f;
}

int disk_open(struct io *io, const char *name, uint64_t create_size, struct io_file **out)
{
    struct host *h = host_of(io);
    *out = NULL;
    if (h->dead) return -EIO;
    ASSERT(strlen(name) < sizeof(struct disk_file){0}.name && !strchr(name, '/'));
    struct disk_file *f = file_find(h, name);
    if (!f) {
        if (create_size == 0) return -ENOENT;
        if (host_room(h) < (int64_t)create_size) {
            h->w->counts.no_space++;
            return -ENOSPC;
        }
        f = file_create(h, name, create_size);
    }
    struct io_file *handle = mem_zalloc(sizeof *handle);
    handle->file = f;
    f->opens++;
    list_push(&h->handles, &handle->in_host);
    *out = handle;
    return 0;
}

static void handle_free(struct io_file *handle)
{
    list_remove(&handle->in_host);
    handle->file->opens--;
    file_release(handle->file);
    mem_free(handle);
}

void disk_close(struct io *io, struct io_file *handle)
{
    if (host_of(io)->dead || !handle) return;
    handle_free(handle);
}

uint64_t disk_size(struct io *io, struct io_file *handle)
{
    (void)io;
    return handle->file->size;
}

int disk_rename(struct io *io, const char *from, const char *to)
{
    struct host *h = host_of(io);
    if (h->dead) return -EIO;
    struct disk_file *f = file_find(h, from), *old = file_find(h, to);
    if (!f) return -ENOENT;
    ASSERT(strlen(to) < sizeof f->name && !strchr(to, '/'));
    if (old && old != f) {
        old->removed = true;
        file_release(old);
    }
    snprintf(f->name, sizeof f->name, "%s", to);
    return 0;
}

int disk_remove(struct io *io, const char *name)
{
    struct host *h = host_of(io);
    if (h->dead) return -EIO;
    struct disk_file *f = file_find(h, name);
    if (!f) return -ENOENT;
    f->removed = true;
    file_release(f);
    return 0;
}

int disk_list(struct io *io, const char *prefix, void (*each)(void *ctx, const char *name),
              void *ctx)
{
    struct host *h = host_of(io);
    char last[64] = "";
    if (h->dead) return -EIO;
    for (;;) { /* the next name in order, again and again: there are few */
        const char *next = NULL;
        for (struct list *at = h->files.next; at != &h->files; at = at->next) {
            struct disk_file *f = LIST_OF(at, struct disk_file, in_host);
            if (f->removed || strncmp(f->name, prefix, strlen(prefix)) != 0 ||
                strcmp(f->name, last) <= 0)
                continue;
            if (!next || strcmp(f->name, next) < 0) next = f->name;
        }
        if (!next) return 0;
        snprintf(last, sizeof last, "%s", next);
        each(ctx, last);
    }
}

/* ---- bytes ---- */

/* [from, to) of a write's bytes reach the file. */
static void file_put(struct disk_file *f, uint64_t offset, struct bytes data, uint64_t from,
                     uint64_t to)
{
    if (to > data.size) to = data.size;
    if (from < to) memcpy(f->data + offset + from, data.data + from, to - from);
}

/* An arbitrary subset of the blocks; now and then a block is cut between two sectors. */
static void file_tear(struct host *h, struct disk_file *f, uint64_t offset, struct bytes data)
{
    struct prng *r = &h->w->random;
    uint32_t keep_ppm = (uint32_t)(prng_below(r, 5) * 250000); /* none, few, half, most, all */
    bool torn = false;
    for (uint64_t at = 0; at < data.size; at += IO_BLOCK) {
        if (!prng_chance(r, keep_ppm)) {
            torn = true;
            continue;
        }
        uint64_t from = at, to = at + IO_BLOCK;
        if (prng_chance(r, 200000)) {
            uint64_t cut = at + SECTOR * prng_below(r, IO_BLOCK / SECTOR + 1);
            if (prng_chance(r, 500000))
                from = cut;
            else
                to = cut;
            torn = true;
        }
        file_put(f, offset, data, from, to);
    }
    h->w->counts.writes_torn += torn;
}

static void file_told(struct host *h, struct disk_file *f, uint64_t offset, uint64_t size,
                      uint64_t asked)
{
    uint64_t order = ++h->disk_order;
    for (uint64_t b = offset / IO_BLOCK; b <= (offset + size - 1) / IO_BLOCK; b++)
        f->told[b] = order;
    if (asked > h->covered_to) h->covered_to = asked;
}

int64_t disk_read_now(struct io *io, struct io_file *handle, void *data, size_t size,
                      uint64_t offset)
{
    if (host_of(io)->dead) return -EIO;
    const struct disk_file *f = handle->file;
    if (offset >= f->size) return 0;
    if (size > f->size - offset) size = f->size - offset;
    memcpy(data, f->data + offset, size);
    return (int64_t)size;
}

int disk_write_now(struct io *io, struct io_file *handle, const void *data, size_t size,
                   uint64_t offset)
{
    struct host *h = host_of(io);
    struct disk_file *f = handle->file;
    struct bytes bytes = bytes_of(data, size);

    if (h->dead) return -EIO;
    ASSERT(offset <= f->size && size <= f->size - offset);
    world_note(h->w, 'w', offset, hash64(bytes, h->id));
    if (prng_chance(&h->w->random, h->disk.cut_ppm)) {
        h->w->counts.write_cuts++;
        file_tear(h, f, offset, bytes);
        world_die(h->w, h->id);
        return -EIO;
    }
    uint64_t asked = ++h->disk_order;
    file_put(f, offset, bytes, 0, size);
    if (size) file_told(h, f, offset, size, asked);
    return 0;
}

/* ---- what takes time ---- */

static struct job *job_new(struct host *h, uint8_t kind)
{
    struct job *j = mem_zalloc(sizeof *j);
    j->h = h;
    j->kind = kind;
    j->asked = ++h->disk_order;
    list_push(&h->queued, &j->in_host);
    return j;
}

void disk_write(struct io *io, struct io_file *handle, struct io_write *w)
{
    struct host *h = host_of(io);
    if (h->dead) return;
    ASSERT((uintptr_t)w->data % IO_BLOCK == 0 && w->size % IO_BLOCK == 0 &&
           w->offset % IO_BLOCK == 0 && w->size > 0);
    ASSERT(w->offset <= handle->file->size && w->size <= handle->file->size - w->offset);
    struct job *j = job_new(h, JOB_WRITE);
    j->of.write = w;
    j->file = handle->file;
    j->file->opens++; /* it stays while the job lives */
    j->check = hash64(job_bytes(j), 0);
    h->w->counts.writes++;
    world_note(h->w, 'W', w->offset, j->check);
    if (!h->depth) disk_start(h); /* asked for between turns */
}

void disk_read(struct io *io, struct io_file *handle, struct io_read *r)
{
    struct host *h = host_of(io);
    if (h->dead) return;
    ASSERT((uintptr_t)r->data % IO_BLOCK == 0 && r->size % IO_BLOCK == 0 &&
           r->offset % IO_BLOCK == 0);
    struct job *j = job_new(h, JOB_READ);
    j->of.read = r;
    j->file = handle->file;
    j->file->opens++;
    if (!h->depth) disk_start(h);
}

void disk_work(struct io *io, struct io_work *w)
{
    struct host *h = host_of(io);
    if (h->dead) return;
    job_new(h, JOB_WORK)->of.work = w;
    h->w->counts.works++;
    if (!h->depth) disk_start(h);
}

static void job_free(struct job *j)
{
    event_cancel(&j->event);
    list_remove(&j->in_host);
    if (j->file) {
        j->file->opens--;
        file_release(j->file);
    }
    mem_free(j);
}

static void job_finish(struct job *j, int64_t result)
{
    struct host *h = j->h;
    j->result = result;
    list_remove(&j->in_host);
    list_push(&h->finished, &j->in_host);
    world_note(h->w, 'F', h->id, (uint64_t)result + j->kind);
    host_ready(h);
}

static void write_lands(struct job *j)
{
    struct host *h = j->h;
    ASSERT(hash64(job_bytes(j), 0) == j->check); /* the buffer was the disk's until now */
    if (prng_chance(&h->w->random, h->disk.error_ppm)) {
        h->w->counts.write_errors++;
        file_tear(h, j->file, j->of.write->offset, job_bytes(j));
        job_finish(j, -EIO);
        return;
    }
    file_put(j->file, j->of.write->offset, job_bytes(j), 0, j->of.write->size);
    job_finish(j, 0);
}

static void job_runs(void *ctx)
{
    struct job *j = ctx;
    struct host *h = j->h;
    struct world *w = h->w;

    j->event = NULL;
    switch (j->kind) {
    case JOB_WRITE:
        if (h->disk.stalled)
            j->held = true;
        else
            write_lands(j);
        break;
    case JOB_READ: {
        struct io_read *r = j->of.read;
        uint64_t left = r->offset < j->file->size ? j->file->size - r->offset : 0;
        uint64_t n = r->size < left ? r->size : left;
        memcpy(r->data, j->file->data + r->offset, n);
        job_finish(j, (int64_t)n);
        break;
    }
    default: { /* a pool thread's work, done in one piece */
        uint64_t skew = h->skew;
        world_enter(w, h->id);
        j->of.work->run(j->of.work->ctx);
        h->skew = skew;
        world_leave(w, h->id);
        if (h->dead) {
            if (w->options.died) w->options.died(w->options.ctx, h->id);
        } else {
            job_finish(j, 0);
        }
    }
    }
}

void disk_start(struct host *h)
{
    struct list *at;
    struct world *w = h->w;
    while ((at = list_pop(&h->queued))) {
        struct job *j = LIST_OF(at, struct job, in_host);
        uint64_t delay = h->skew;
        list_push(&h->inflight, &j->in_host);
        if (j->kind == JOB_WRITE)
            delay += h->disk.write_ns + prng_below(&w->random, h->disk.write_jitter_ns) +
                     j->of.write->size * 2;
        else if (j->kind == JOB_READ)
            delay += 50 * MICROSECOND + prng_below(&w->random, 200 * MICROSECOND);
        else
            delay += 20 * MICROSECOND + prng_below(&w->random, prng_chance(&w->random, 50000)
                                                                   ? 50 * MILLISECOND
                                                                   : MILLISECOND);
        j->event = world_event(w, delay, job_runs, j);
    }
}

void world_disk_resume(struct world *w, uint32_t host)
{
    struct host *h = w->host[host];
    h->disk.stalled = false;
    for (struct list *at = h->inflight.next; at != &h->inflight; at = at->next) {
        struct job *j = LIST_OF(at, struct job, in_host);
        if (!j->held) continue;
        j->held = false;
        j->event = world_event(w, prng_below(&w->random, MILLISECOND), job_runs, j);
    }
}

bool world_write_failed(struct world *w, uint32_t host)
{
    return w->host[host]->write_failed;
}

bool disk_handle(struct host *h)
{
    struct list *at = list_pop(&h->finished);
    if (!at) return false;
    struct job *j = LIST_OF(at, struct job, in_host);
    if (j->kind == JOB_WRITE) {
        struct io_write *w = j->of.write;
        if (j->result == 0)
            file_told(h, j->file, w->offset, w->size, j->asked);
        else
            h->write_failed = true;
        w->done(w->ctx, (int)j->result);
    } else if (j->kind == JOB_READ) {
        j->of.read->done(j->of.read->ctx, j->result);
    } else {
        j->of.work->done(j->of.work->ctx);
    }
    job_free(j);
    return true;
}

/* ---- ends ---- */

void disk_crash(struct host *h)
{
    for (struct list *at = h->inflight.next; at != &h->inflight; at = at->next) {
        struct job *j = LIST_OF(at, struct job, in_host);
        if (j->kind != JOB_WRITE) continue;
        file_tear(h, j->file, j->of.write->offset, job_bytes(j));
        h->w->counts.writes_lost++;
    }
}

void disk_reap(struct host *h)
{
    h->write_failed = false;
    struct list *const jobs[] = {&h->queued, &h->inflight, &h->finished};
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++)
        while (!list_empty(jobs[i])) job_free(LIST_OF(jobs[i]->next, struct job, in_host));
    while (!list_empty(&h->handles)) handle_free(LIST_OF(h->handles.next, struct io_file, in_host));
}

void disk_free(struct host *h)
{
    while (!list_empty(&h->files)) file_free(LIST_OF(h->files.next, struct disk_file, in_host));
}

void world_format(struct world *w, uint32_t host)
{
    ASSERT(!w->host[host]->on);
    disk_free(w->host[host]);
    w->host[host]->disk_order = w->host[host]->covered_to = 0;
}

/* ---- damage ---- */

/* A covered block that holds something, any with the same chance; its place as file and block. */
static struct disk_file *damage_place(struct host *h, uint64_t *block)
{
    struct disk_file *place = NULL;
    uint64_t count = 0;
    for (struct list *at = h->files.next; at != &h->files; at = at->next) {
        struct disk_file *f = LIST_OF(at, struct disk_file, in_host);
        for (uint64_t b = 0; b < f->size / IO_BLOCK; b++) {
            if (f->told[b] == 0 || f->told[b] >= h->covered_to) continue;
            if (prng_below(&h->w->random, ++count)) continue;
            place = f;
            *block = b;
        }
    }
    return place;
}

bool world_damage(struct world *w, uint32_t host, enum world_damage kind, char *what,
                  size_t what_size)
{
    struct host *h = w->host[host];
    uint64_t block = 0, other = 0;
    ASSERT(!h->on);
    struct disk_file *f = damage_place(h, &block), *from;
    if (!f) return false;
    uint8_t *at = f->data + block * IO_BLOCK;

    switch (kind) {
    case WORLD_FLIP:
        for (uint64_t n = 1 + prng_below(&w->random, 3); n > 0; n--)
            at[prng_below(&w->random, IO_BLOCK)] ^= (uint8_t)(1u << prng_below(&w->random, 8));
        break;
    case WORLD_ZERO: memset(at, 0, IO_BLOCK); break;
    default: /* what belongs elsewhere was written here */
        from = damage_place(h, &other);
        memmove(at, from->data + other * IO_BLOCK, IO_BLOCK);
    }
    snprintf(what, what_size, "%s block %llu %s", f->name, (unsigned long long)block,
             kind == WORLD_FLIP   ? "flipped"
             : kind == WORLD_ZERO ? "lost"
                                  : "misdirected");
    world_note(w, 'X', host, block);
    return true;
}
