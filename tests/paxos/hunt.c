/* hunt [--mutant N] [--seeds N] [--seed S] [--reconfigure 1]: runs lease duels and storms with
 * planted bug N until one fails. Exit status 1: found (the mutant is dead); 0: it survived. With
 * mutant 0 the storms must all pass. */
#include "base/mutant.h"
#include "duel.h"
#include "storm.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int mutant_active;

/* An assertion in the core is a kill as good as a checker's. */
static void on_abort(int sig)
{
    (void)sig;
    _exit(1);
}

int main(int argc, char **argv)
{
    uint64_t seeds = 2000, first = 1;
    int reconfigure = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--mutant")) mutant_active = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--seeds")) seeds = (uint64_t)atoll(argv[i + 1]);
        if (!strcmp(argv[i], "--reconfigure")) reconfigure = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--seed")) first = (uint64_t)atoll(argv[i + 1]), seeds = 1;
    }
    signal(SIGABRT, on_abort);
    for (uint64_t seed = first; seed < first + 10 * seeds; seed++)
        if (lease_duel(seed, 5000))
            return printf("mutant %d: a lease outlived its grant\n", mutant_active), 1;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        const char *failure =
            reconfigure ? storm_reconfigure(seed) : storm_run(seed, seed % 4 == 3 ? 5 : 3);
        if (!failure) continue;
        printf("mutant %d: seed %llu: %s\n", mutant_active, (unsigned long long)seed, failure);
        return 1;
    }
    printf("mutant %d: %llu storms passed\n", mutant_active, (unsigned long long)seeds);
    return 0;
}
