/* Runs Lua scripts and functions (docs/COMPUTE.md): one LuaJIT state, which a node owns and hands
 * to its views as a struct script_runner. A run is a pure function of view and arguments: it may be
 * thrown away at any call that misses and be made again from the start, so nothing of a run is seen
 * by the next one, and nothing of it stays but compiled code.
 *
 * INV-SCRIPT-1: what a script can reach is as it was before the run, whatever the run before did.
 * INV-SCRIPT-2: a run that must end (a view that missed, a limit) ends: nothing in Lua catches it.
 * INV-SCRIPT-3: a run that ends by an error leaves no effects in the view.
 *
 * Compiled code is made by LuaJIT's interpreter alone: traces would not look at the limits.
 * Threading: the reactor's. */
#ifndef SYNOD_SCRIPT_ENGINE_H
#define SYNOD_SCRIPT_ENGINE_H

#include "redis/script.h"

enum script_log { SCRIPT_LOG_DEBUG, SCRIPT_LOG_VERBOSE, SCRIPT_LOG_NOTICE, SCRIPT_LOG_WARNING };

struct script_limits {
    uint64_t time_ns;   /* of one run, by `now`; not looked at where that is NULL */
    uint64_t steps;     /* instructions of the interpreter, about; and what costs as much */
    size_t memory;      /* bytes that one run may have allocated at a time */
    size_t cache_bytes; /* of code that is kept; */
    uint32_t cache_count;
};
#define SCRIPT_TIME_NS (200 * 1000000ull) /* others campaign after 300 ms of silence */
#define SCRIPT_STEPS   (80 * 1000000ull)
#define SCRIPT_MEMORY  (64u << 20)
#define SCRIPT_CACHE   (16u << 20)
#define SCRIPT_COUNT   1000u

struct script_host {
    uint64_t (*now)(void *ctx); /* ns; NULL: a run is bounded by its steps alone */
    void (*log)(void *ctx, enum script_log level, struct bytes text); /* NULL: nobody listens */
    void *ctx;
};

struct script_engine; /* opaque */

/* A state is made with the first run. */
struct script_engine *script_engine_new(const struct script_host *host);
void script_engine_free(struct script_engine *e);
/* What views are given; valid as long as the engine. */
struct script_runner *script_engine_runner(struct script_engine *e);
/* All are set after _new, to the values above; may be changed between runs. */
struct script_limits *script_engine_limits(struct script_engine *e);

/* Bodies that were met, by their SHA1 as 40 hexadecimal digits, any case: the latest ones, within
 * the limits. _body: valid until something else is kept or run. */
void script_engine_keep(struct script_engine *e, struct bytes body);
bool script_engine_body(struct script_engine *e, struct bytes sha, struct bytes *body);
void script_engine_forget(struct script_engine *e); /* all of them */
/* Notes of a body that it comes to keys of other groups, or not; is that known? */
void script_engine_note_abroad(struct script_engine *e, struct bytes body, bool abroad);
bool script_engine_is_abroad(struct script_engine *e, struct bytes body);
uint32_t script_engine_count(const struct script_engine *e);
size_t script_engine_memory(const struct script_engine *e); /* bytes that Lua has */

#endif
