/* Allocation that does not fail: where memory runs out the process says so and ends, for the log on
 * disk holds all that was acknowledged. Every size that comes from a peer's or client's bytes is
 * bounded before it gets here. Not for pure layers. */
#ifndef SYNOD_BASE_MEM_H
#define SYNOD_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size);              /* uninitialised */
void *mem_zalloc(size_t size);             /* zeroed */
void *mem_realloc(void *old, size_t size); /* as realloc */
void *mem_dup(const void *data, size_t size);
char *mem_strdup(const char *text);
void mem_free(void *p); /* NULL is fine */

#endif
