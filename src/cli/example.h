/* Files that come with synod. */
#ifndef SYNOD_CLI_EXAMPLE_H
#define SYNOD_CLI_EXAMPLE_H

#include <limits.h>
#include <stdbool.h>

#define EXAMPLE_PATH_MAX (PATH_MAX + 128)

/* The file examples/NAME: in the source tree, seen from where we are or from the program in
 * build/src/cli, or where it was installed. False: it is in neither. */
bool example_find(const char *name, char path[EXAMPLE_PATH_MAX]);

#endif
