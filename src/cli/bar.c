/* Progress, drawn. */
#include "cli/bar.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

void bar_text(char *out, int width, size_t done, size_t total)
{
    int filled = done >= total ? width : (int)((double)done * width / (double)total);
    out[0] = '[';
    memset(out + 1, '#', (size_t)filled);
    memset(out + 1 + filled, '-', (size_t)(width - filled));
    out[width + 1] = ']';
    out[width + 2] = 0;
}

void bar_begin(struct bar *b, FILE *out, const char *verb)
{
    *b = (struct bar){.out = out, .tty = isatty(fileno(out)), .verb = verb, .tenth = -1};
}

void bar_show(struct bar *b, size_t done, size_t total, const char *note, ...)
{
    char bar[BAR_WIDTH + 3], text[200];
    va_list args;
    int percent = done >= total ? 100 : (int)((double)done * 100 / (double)total);
    va_start(args, note);
    vsnprintf(text, sizeof text, note, args);
    va_end(args);

    if (b->tty) {
        bar_text(bar, BAR_WIDTH, done, total);
        int size = fprintf(b->out, "\r%-10s %s %3d %%  %s", b->verb, bar, percent, text);
        if ((size_t)size < b->text_size)
            fprintf(b->out, "%*s", (int)(b->text_size - (size_t)size), "");
        b->text_size = (size_t)size;
    } else if (percent / 10 > b->tenth) {
        b->tenth = percent / 10;
        fprintf(b->out, "%-10s %3d %%  %s\n", b->verb, percent, text);
    }
    fflush(b->out);
}

void bar_end(struct bar *b, bool keep)
{
    if (b->tty && b->text_size) fputs(keep ? "\n" : "\r\033[K", b->out);
    b->text_size = 0;
    fflush(b->out);
}
