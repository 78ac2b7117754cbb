/* Prints the reference page made from the command table; with a path, checks that the file there is
 * that page. */
#include "redis/command.h"

#include <stdio.h>

static int check(const char *path, struct bytes page)
{
    static char text[1 << 20];
    FILE *f = fopen(path, "rb");
    size_t size = f ? fread(text, 1, sizeof text, f) : 0;
    if (f) fclose(f);
    if (bytes_equal(page, bytes_of(text, size))) {
        printf("ok docs/COMMANDS.md is what the command table says\n");
        return 0;
    }
    printf("not ok docs/COMMANDS.md is what the command table says\n");
    printf("  %s is %s; redis_reference > docs/COMMANDS.md writes it\n", path,
           f ? "out of date" : "not there");
    return 1;
}

int main(int argc, char **argv)
{
    struct buf page = {0};
    int status = 0;
    command_reference(&page);
    if (argc > 1)
        status = check(argv[1], buf_bytes(&page));
    else
        status = fwrite(page.data, 1, page.size, stdout) != page.size;
    buf_deinit(&page);
    return status;
}
