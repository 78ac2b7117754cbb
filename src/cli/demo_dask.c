/* synod demo: another system's workers read a snapshot (examples/dask). */
#include "cli/clock.h"
#include "cli/demo.h"
#include "cli/example.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define PYTHON "/usr/bin/python3" /* Debian's, for which Debian packages Dask */

static bool is_installed(void)
{
    return system(PYTHON " -c 'import distributed, redis' >/dev/null 2>&1") == 0;
}

/* What the program prints, indented. Its exit status, or -1. */
static int run_and_show(struct demo *d, const char *command)
{
    char line[512];
    FILE *said = popen(command, "re");
    if (!said) return -1;
    while (fgets(line, sizeof line, said)) {
        char *end = strchr(line, '\n');
        if (end) *end = 0;
        demo_say(d, "    %s", line);
    }
    int status = pclose(said);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool demo_dask(struct demo *d)
{
    char path[EXAMPLE_PATH_MAX], command[EXAMPLE_PATH_MAX + OPTION_ADDRESS_MAX + 64];
    uint64_t began = clock_ns();
    if (!example_find("dask/sections.py", path)) {
        demo_say(d, "\n(examples/dask is not here; it would read a snapshot with Dask's workers)");
        return true;
    }
    if (!is_installed()) {
        demo_say(d,
                 "\n(Dask is not installed; `apt-get install python3-distributed python3-redis`, "
                 "and its workers would read a snapshot here)");
        return true;
    }
    demo_say(d, "\nDask's workers read a snapshot, each a part of it: %s", path);
    snprintf(command, sizeof command, PYTHON " '%s' --at %s 2>/dev/null", path,
             d->loader.address[0]);
    int status = run_and_show(d, command);
    if (status != 0) {
        cli_fail("`%s` failed (%d)", command, status);
        return false;
    }
    demo_say(d, "  after %.1f s", (double)(clock_ns() - began) / 1e9);
    return true;
}
