#include "fake_io.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"

struct io_file {
    struct list link;
    uint32_t index;
};

struct fake_op {
    struct list link;
    uint32_t index; /* of the file */
    struct io_write *write;
    struct io_read *read;
    struct io_work *work;
};

static struct fake_io *fake_of(struct io *io)
{
    return (struct fake_io *)(void *)io;
}

struct fake_file *fake_find(struct fake_io *f, const char *name)
{
    for (uint32_t i = 0; i < f->file_count; i++)
        if (f->file[i].data && !strcmp(f->file[i].name, name)) return &f->file[i];
    return NULL;
}

static uint64_t fake_now(struct io *io)
{
    return fake_of(io)->now += 1000;
}

static uint64_t fake_random(struct io *io)
{
    return prng_u64(&fake_of(io)->random);
}

static void fake_wake(struct io *io)
{
    (void)io;
}

static int fake_open(struct io *io, const char *name, uint64_t create_size, struct io_file **out)
{
    struct fake_io *f = fake_of(io);
    struct fake_file *file = fake_find(f, name);
    if (!file && !create_size) return -ENOENT;
    if (!file) {
        if (f->room < (int64_t)create_size) return -ENOSPC;
        if (f->room != INT64_MAX) f->room -= (int64_t)create_size;
        uint32_t i = 0;
        while (i < f->file_count && f->file[i].data) i++;
        if (i == f->file_count) f->file_count++;
        ASSERT(f->file_count <= FAKE_FILES_MAX);
        file = &f->file[i];
        snprintf(file->name, sizeof file->name, "%s", name);
        file->size = create_size;
        file->data = mem_zalloc(create_size);
    }
    *out = mem_zalloc(sizeof **out);
    (*out)->index = (uint32_t)(file - f->file);
    list_push(&f->handles, &(*out)->link);
    f->opened++;
    return 0;
}

static void fake_close(struct io *io, struct io_file *file)
{
    fake_of(io)->opened--;
    list_remove(&file->link);
    mem_free(file);
}

static uint64_t fake_size(struct io *io, struct io_file *file)
{
    return fake_of(io)->file[file->index].size;
}

static void push_op(struct fake_io *f, struct fake_op op)
{
    struct fake_op *copy = mem_dup(&op, sizeof op);
    list_push(&f->ops, &copy->link);
    f->op_count++;
}

static void fake_write(struct io *io, struct io_file *file, struct io_write *w)
{
    struct fake_io *f = fake_of(io);
    ASSERT((uintptr_t)w->data % IO_BLOCK == 0 && w->size % IO_BLOCK == 0 &&
           w->offset % IO_BLOCK == 0);
    ASSERT(w->size > 0 && w->offset + w->size <=
                              f->file[file->index].size); /* never beyond what was preallocated */
    f->writes++;
    f->write_bytes += w->size;
    push_op(f, (struct fake_op){.index = file->index, .write = w});
}

static void fake_read(struct io *io, struct io_file *file, struct io_read *r)
{
    ASSERT((uintptr_t)r->data % IO_BLOCK == 0 && r->size % IO_BLOCK == 0 &&
           r->offset % IO_BLOCK == 0);
    push_op(fake_of(io), (struct fake_op){.index = file->index, .read = r});
}

static int64_t read_at(const struct fake_file *file, void *data, size_t size, uint64_t offset)
{
    if (offset >= file->size) return 0;
    if (size > file->size - offset) size = file->size - offset;
    memcpy(data, file->data + offset, size);
    return (int64_t)size;
}

static int64_t fake_read_now(struct io *io, struct io_file *file, void *data, size_t size,
                             uint64_t offset)
{
    return read_at(&fake_of(io)->file[file->index], data, size, offset);
}

static int fake_write_now(struct io *io, struct io_file *file, const void *data, size_t size,
                          uint64_t offset)
{
    struct fake_file *f = &fake_of(io)->file[file->index];
    if (fake_of(io)->fail_writes) return -fake_of(io)->fail_writes;
    ASSERT(offset + size <= f->size);
    memcpy(f->data + offset, data, size);
    return 0;
}

static int fake_rename(struct io *io, const char *from, const char *to)
{
    struct fake_file *f = fake_find(fake_of(io), from);
    if (!f) return -ENOENT;
    snprintf(f->name, sizeof f->name, "%s", to);
    return 0;
}

static int fake_remove(struct io *io, const char *name)
{
    struct fake_io *f = fake_of(io);
    struct fake_file *file = fake_find(f, name);
    if (!file) return -ENOENT;
    if (f->room != INT64_MAX) f->room += (int64_t)file->size;
    mem_free(file->data);
    file->data = NULL;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int fake_list(struct io *io, const char *prefix, void (*each)(void *ctx, const char *name),
                     void *ctx)
{
    struct fake_io *f = fake_of(io);
    const char *name[FAKE_FILES_MAX];
    size_t count = 0;
    for (uint32_t i = 0; i < f->file_count; i++)
        if (f->file[i].data && !strncmp(f->file[i].name, prefix, strlen(prefix)))
            name[count++] = f->file[i].name;
    qsort(name, count, sizeof *name, by_name);
    for (size_t i = 0; i < count; i++) each(ctx, name[i]);
    return 0;
}

static int64_t fake_room(struct io *io)
{
    return fake_of(io)->room;
}

static void fake_work(struct io *io, struct io_work *w)
{
    push_op(fake_of(io), (struct fake_op){.work = w});
}

static const struct io_ops fake_ops = {
    .now = fake_now,
    .random = fake_random,
    .wake = fake_wake,
    .file_open = fake_open,
    .file_close = fake_close,
    .file_size = fake_size,
    .file_write = fake_write,
    .file_read = fake_read,
    .file_read_now = fake_read_now,
    .file_write_now = fake_write_now,
    .file_rename = fake_rename,
    .file_remove = fake_remove,
    .file_list = fake_list,
    .room = fake_room,
    .work = fake_work,
};

void fake_init(struct fake_io *f, uint64_t seed)
{
    *f = (struct fake_io){.io.ops = &fake_ops, .room = INT64_MAX, .now = 1000000000};
    prng_init(&f->random, seed);
    list_init(&f->ops);
    list_init(&f->handles);
}

void fake_deinit(struct fake_io *f)
{
    fake_crash(f, 0);
    for (uint32_t i = 0; i < f->file_count; i++) mem_free(f->file[i].data);
}

static void complete(struct fake_io *f, struct fake_op *op)
{
    struct fake_file *file = &f->file[op->index];
    if (op->write) {
        int error = -f->fail_writes;
        if (!error && !f->discard_writes)
            memcpy(file->data + op->write->offset, op->write->data, op->write->size);
        op->write->done(op->write->ctx, error);
    } else if (op->read) {
        int64_t got = read_at(file, op->read->data, op->read->size, op->read->offset);
        op->read->done(op->read->ctx, got);
    } else {
        op->work->run(op->work->ctx);
        op->work->done(op->work->ctx);
    }
}

void fake_run_one(struct fake_io *f, uint32_t i)
{
    ASSERT(i < f->op_count);
    struct list *link = f->ops.next;
    while (i--) link = link->next;
    struct fake_op *op = LIST_OF(link, struct fake_op, link);
    list_remove(link);
    f->op_count--;
    struct fake_op copy = *op; /* for a completion may never return here */
    mem_free(op);
    complete(f, &copy);
}

uint32_t fake_run(struct fake_io *f, uint32_t count, bool shuffled)
{
    uint32_t ran = 0;
    for (; ran < count && f->op_count; ran++)
        fake_run_one(f, shuffled ? (uint32_t)prng_below(&f->random, f->op_count) : 0);
    return ran;
}

static void land(struct fake_io *f, const struct fake_op *op, uint32_t ppm)
{
    struct fake_file *file = &f->file[op->index];
    const uint8_t *from = op->write->data;
    size_t unit = prng_chance(&f->random, 500000) ? IO_BLOCK : 512;
    for (size_t at = 0; at < op->write->size; at += unit)
        if (prng_chance(&f->random, ppm))
            memcpy(file->data + op->write->offset + at, from + at, unit);
}

void fake_crash(struct fake_io *f, uint32_t ppm)
{
    struct list *link;
    while ((link = list_pop(&f->ops))) {
        struct fake_op *op = LIST_OF(link, struct fake_op, link);
        if (op->write) land(f, op, ppm);
        mem_free(op);
    }
    f->op_count = 0;
    while ((link = list_pop(&f->handles))) mem_free(LIST_OF(link, struct io_file, link));
    f->opened = 0;
}

void fake_crash_landing(struct fake_io *f, uint64_t write_mask)
{
    for (struct list *i = f->ops.next; i != &f->ops; i = i->next) {
        struct fake_op *op = LIST_OF(i, struct fake_op, link);
        if (!op->write) continue;
        if (write_mask & 1) land(f, op, 1000000);
        write_mask >>= 1;
    }
    fake_crash(f, 0);
}

void fake_flip(struct fake_io *f, const char *name, uint64_t byte)
{
    struct fake_file *file = fake_find(f, name);
    ASSERT(file && byte < file->size);
    file->data[byte] ^= 0x10;
}
