/* Prints the reference page made from the command table; with a path, checks that the file there is
 * that page, and that no command is missing from it. */
#include "redis/command.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

struct search {
    const char *page;
    int missing;
};

static void look_for(void *ctx, const struct command *c)
{
    struct search *s = ctx;
    char name[COMMAND_NAME_MAX], cell[COMMAND_NAME_MAX + 8];
    command_full_name(c, name);
    for (char *at = name; *at; at++) *at = *at == '|' ? ' ' : (char)toupper((unsigned char)*at);
    (void)snprintf(cell, sizeof cell, "| **%s**", name);
    if ((!(c->flags & CMD_CONTAINER) || c->arity == -1) && !strstr(s->page, cell)) {
        printf("not ok %s is on the page\n", name);
        s->missing++;
    }
    (void)command_children(c, look_for, s);
}

static int check_whole(struct buf *page)
{
    buf_u8(page, 0);
    struct search s = {.page = (const char *)page->data};
    (void)command_children(NULL, look_for, &s);
    page->size--;
    return s.missing != 0;
}

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
        status = check(argv[1], buf_bytes(&page)) | check_whole(&page);
    else
        status = fwrite(page.data, 1, page.size, stdout) != page.size;
    buf_deinit(&page);
    return status;
}
