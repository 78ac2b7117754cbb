/* The last events of a run, kept in memory for the moment an assertion fails.
 *
 * Each thread points at the trace of the node it is running (trace_use); TRACE writes one line into
 * that ring, or nowhere. A sink, where set, also sees every line at once: `synod sim --verbose` and
 * the tests that compare traces use it. */
#ifndef SYNOD_BASE_TRACE_H
#define SYNOD_BASE_TRACE_H

#include <stdint.h>

#define TRACE_LINES      128
#define TRACE_LINE_BYTES 160

struct trace {
    char line[TRACE_LINES][TRACE_LINE_BYTES];
    uint64_t count; /* lines ever written */
    void (*sink)(void *ctx, const char *line);
    void *sink_ctx;
};

void trace_use(struct trace *t); /* this thread's trace from now on; NULL: none */
void trace_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
