/* Where examples lie. */
#include "cli/example.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool is_there(const char *directory, const char *name, char path[EXAMPLE_PATH_MAX])
{
    int size = snprintf(path, EXAMPLE_PATH_MAX, "%s/%s", directory, name);
    return size > 0 && size < EXAMPLE_PATH_MAX && access(path, R_OK) == 0;
}

bool example_find(const char *name, char path[EXAMPLE_PATH_MAX])
{
    char directory[PATH_MAX + 64];
    if (is_there("examples", name, path) || is_there(SYNOD_DATADIR, name, path)) return true;
    ssize_t size = readlink("/proc/self/exe", directory, PATH_MAX);
    if (size <= 0) return false;
    directory[size] = 0;
    char *slash = strrchr(directory, '/');
    if (!slash) return false;
    strcpy(slash, "/../../../examples");
    return is_there(directory, name, path);
}
