/* Assertions, memory, traces: the parts of base that touch the C library. */
#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local struct trace *trace_current;

void trace_use(struct trace *t)
{
    trace_current = t;
}

void trace_line(const char *format, ...)
{
    struct trace *t = trace_current;
    if (!t) return;

    char *line = t->line[t->count++ % TRACE_LINES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, TRACE_LINE_BYTES, format, args);
    va_end(args);
    if (t->sink) t->sink(t->sink_ctx, line);
}

static void trace_print(const struct trace *t)
{
    uint64_t first = t->count > TRACE_LINES ? t->count - TRACE_LINES : 0;
    for (uint64_t i = first; i < t->count; i++) fprintf(stderr, "  %s\n", t->line[i % TRACE_LINES]);
}

_Noreturn void assert_fail(const char *expression, const char *file, int line)
{
    fprintf(stderr,
            "synod: assertion failed: %s at %s:%d (this is a bug in synod; please report it with "
            "these lines)\n",
            expression, file, line);
    if (trace_current) trace_print(trace_current);
    abort();
}

static void *mem_check(void *p, size_t size)
{
    if (p || size == 0) return p;
    fprintf(stderr,
            "synod: out of memory for %zu bytes; give the machine more, or the node less data\n",
            size);
    abort();
}

void *mem_alloc(size_t size)
{
    return mem_check(malloc(size), size);
}

void *mem_zalloc(size_t size)
{
    return mem_check(calloc(1, size), size);
}

void *mem_realloc(void *old, size_t size)
{
    return mem_check(realloc(old, size), size);
}

void *mem_dup(const void *data, size_t size)
{
    void *copy = mem_alloc(size ? size : 1);
    if (size) memcpy(copy, data, size);
    return copy;
}

char *mem_strdup(const char *text)
{
    return mem_dup(text, strlen(text) + 1);
}

void mem_free(void *p)
{
    free(p);
}
