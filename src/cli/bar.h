/* A bar for people: on a terminal one line that is drawn again, elsewhere a line for each tenth. */
#ifndef SYNOD_CLI_BAR_H
#define SYNOD_CLI_BAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define BAR_WIDTH 40

struct bar {
    FILE *out;
    bool tty;
    const char *verb; /* what goes on: "loading" */
    int tenth;        /* last shown without a terminal */
    size_t text_size; /* of the line on the terminal, to wipe its rest */
};

void bar_begin(struct bar *b, FILE *out, const char *verb);
/* Shows done of total (total 0: all), and behind it a note. */
void bar_show(struct bar *b, size_t done, size_t total, const char *note, ...)
    __attribute__((format(printf, 4, 5)));
/* Ends the line, or wipes it, so that something else can be said. Fine if there is none. */
void bar_end(struct bar *b, bool keep);

/* "[####------]" of `width` characters between the brackets, which fits in out[width + 3]. */
void bar_text(char *out, int width, size_t done, size_t total);

#endif
