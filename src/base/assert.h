/* Assertions that are on in every build.
 *
 * ASSERT states what only a bug of ours could break: never what a peer, a client or a disk sent us
 * (those are errors with a name). It may be used in the pure layers: assert_fail is the one symbol
 * they may call that does not return. */
#ifndef SYNOD_BASE_ASSERT_H
#define SYNOD_BASE_ASSERT_H

/* Prints the expression, the place and, where a trace is at hand (base/trace.h), its last events,
 * then aborts. */
_Noreturn void assert_fail(const char *expression, const char *file, int line);

#define ASSERT(expression)                                                                         \
    (__builtin_expect(!(expression), 0) ? assert_fail(#expression, __FILE__, __LINE__) : (void)0)

#endif
