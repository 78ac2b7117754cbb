/* synod demo: another system's workers read a snapshot (examples/dask). */
#include "cli/clock.h"
#include "cli/demo.h"
#include "cli/example.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define LINES_SHOWN 11
#define PYTHON      "/usr/bin/python3" /* Debian's, for which Debian packages Dask */

static bool is_installed(void)
{
    return system(PYTHON " -c 'import distributed, redis' >/dev/null 2>&1") == 0;
}

/* What the program prints, indented, of each table the head. Its exit status, or -1. */
static int run_and_show(struct demo *d, const char *command)
{
    char line[512];
    unsigned shown = 0, left_out = 0;
    FILE *said = popen(command, "re");
    if (!said) return -1;
    while (fgets(line, sizeof line, said)) {
        char *end = strchr(line, '\n');
        if (end) *end = 0;
        if (*line && ++shown > LINES_SHOWN) {
            left_out++;
            continue;
        }
        if (!*line && left_out) demo_say(d, "    ... and %u more", left_out);
        if (!*line) shown = left_out = 0;
        demo_say(d, "    %s", line);
    }
    if (left_out) demo_say(d, "    ... and %u more", left_out);
    int status = pclose(said);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool demo_dask(struct demo *d)
{
    char path[EXAMPLE_PATH_MAX], log[CLUSTER_DIR_MAX + 16];
    char command[sizeof path + sizeof log + OPTION_ADDRESS_MAX + 64];
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
    demo_say(d,
             "\nDask's workers read a snapshot, each a part of it: %s (of alternatives it counts "
             "the first alone)",
             path);
    snprintf(log, sizeof log, "%s/dask.log", d->cluster.dir);
    snprintf(command, sizeof command, PYTHON " '%s' --at %s 2>'%s'", path, d->loader.address[0],
             log);
    int status = run_and_show(d, command);
    if (status != 0) {
        cli_fail("%s failed (%d); %s has what it said", path, status, log);
        return false;
    }
    demo_say(d, "  after %.1f s", (double)(clock_ns() - began) / 1e9);
    return true;
}
