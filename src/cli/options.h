/* Command-line options, declared as a table: --name VALUE, --name=VALUE, --flag. And the same names
 * from a file.
 *
 * A table of struct option says which names there are, what each takes, where the value goes and
 * between which bounds it may lie. Values are set as they are met, later ones over earlier ones; a
 * --config FILE is read before everything else, so the command line has the last word. In the file
 * a line is "name value" or "flag" (quotes around a value are taken off), "#" starts a comment
 * line.
 *
 * A wrong use is told in one line on stderr with a hint where to look; the caller then ends with
 * EXIT_USAGE. */
#ifndef SYNOD_CLI_OPTIONS_H
#define SYNOD_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };
enum {
    OPTIONS_HELPED = -1
}; /* help was asked for and printed: a command returns it, main makes it EXIT_DONE */

#define OPTION_ADDRESS_MAX 272 /* a host name of 255 bytes, brackets, a colon, five digits, NUL */

enum option_kind {
    OPTION_FLAG,    /* bool *: no value, or =yes/no */
    OPTION_TEXT,    /* const char **: borrowed from argv or from the config file's text (struct
                       options_text) */
    OPTION_NUMBER,  /* uint64_t *: decimal, min..max */
    OPTION_CHOICE,  /* int *: index into `words` */
    OPTION_LIST,    /* struct option_list *: as OPTION_TEXT, and may be given several times */
    OPTION_ADDRESS, /* char[OPTION_ADDRESS_MAX]: HOST:PORT, checked */
    OPTION_CONFIG,  /* the name under which a config file is given; target unused */
};

#define OPTION_LIST_MAX 16

struct option_list {
    const char *value[OPTION_LIST_MAX];
    size_t count;
};

struct option {
    const char *name; /* without dashes; NULL ends the table */
    enum option_kind kind;
    void *target;
    uint64_t min, max;        /* OPTION_NUMBER */
    const char *const *words; /* OPTION_CHOICE, NULL-ended */
    const char *value;        /* what help calls the value, "N", "DIR"; NULL for a flag */
    const char *help;         /* one line */
    bool *given;              /* set to true when met; may be NULL */
};

struct options {
    const char *usage; /* what --help prints above the table: one or more whole lines */
    const struct option *table;
};

/* Holds a config file's text, into which OPTION_TEXT values may point. {0} is empty. Free it after
 * the last use of those. */
struct options_text {
    char *text;
};
void options_text_free(struct options_text *text);

/* Parses argv[1..]; argv[0] is the command as the user typed it ("synod server"), for messages.
 * Words that are no options are moved to the front of argv, after argv[0], and their number goes to
 * *words; `words` NULL: none is allowed. "--" ends the options. Returns EXIT_DONE, OPTIONS_HELPED
 * after --help, EXIT_USAGE after a line on stderr, or EXIT_FAILED where the config file cannot be
 * read. `text` may be NULL if the table has no OPTION_CONFIG. */
int options_parse(const struct options *options, int argc, char **argv, int *words,
                  struct options_text *text);

/* Splits "host:port" or "[v6]:port": host without brackets. False if it is none or does not fit. */
bool address_split(const char *address, char *host, size_t host_size, uint16_t *port);

/* The same host with another port, as OPTION_ADDRESS_MAX bytes in `out`. False if address is none.
 */
bool address_with_port(const char *address, uint32_t port, char *out);

/* One line on stderr, "synod: ...", and EXIT_FAILED or EXIT_USAGE to return. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
int cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
