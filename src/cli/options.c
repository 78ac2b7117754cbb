/* The option parser: one table, fed by the command line and by a file. */
#include "cli/options.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define CONFIG_BYTES_MAX (1u << 20)

int cli_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("synod: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return EXIT_FAILED;
}

int cli_usage(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", command);
    vfprintf(stderr, format, args);
    fprintf(stderr, "; see `%s --help`\n", command);
    va_end(args);
    return EXIT_USAGE;
}

void options_text_free(struct options_text *text)
{
    mem_free(text->text);
    text->text = NULL;
}

bool address_split(const char *address, char *host, size_t host_size, uint16_t *port)
{
    const char *colon = strrchr(address, ':');
    if (!colon || colon == address) return false;

    const char *start = address, *end = colon;
    if (*start == '[') {
        if (end[-1] != ']') return false;
        start++;
        end--;
    } else if (memchr(start, ':', (size_t)(end - start))) {
        return false; /* a bare IPv6 address: which colon is the port's? */
    }
    size_t size = (size_t)(end - start);
    int64_t number;
    if (size == 0 || size >= host_size) return false;
    if (!bytes_to_i64(bytes_str(colon + 1), &number) || number < 1 || number > UINT16_MAX)
        return false;

    memcpy(host, start, size);
    host[size] = 0;
    *port = (uint16_t)number;
    return true;
}

bool address_with_port(const char *address, uint32_t port, char *out)
{
    char host[256];
    uint16_t old;
    if (port == 0 || port > UINT16_MAX || !address_split(address, host, sizeof host, &old))
        return false;
    const char *form = strchr(host, ':') ? "[%s]:%u" : "%s:%u";
    int size = snprintf(out, OPTION_ADDRESS_MAX, form, host, (unsigned)port);
    return size > 0 && size < OPTION_ADDRESS_MAX;
}

static const struct option *option_find(const struct option *table, const char *name, size_t size)
{
    for (const struct option *o = table; o->name; o++)
        if (strlen(o->name) == size && memcmp(o->name, name, size) == 0) return o;
    return NULL;
}

static int choice_set(const char *command, const struct option *o, const char *value)
{
    for (int i = 0; o->words[i]; i++) {
        if (strcmp(o->words[i], value) != 0) continue;
        *(int *)o->target = i;
        return EXIT_DONE;
    }
    char known[256] = "";
    size_t used = 0;
    for (int i = 0; o->words[i] && used < sizeof known; i++)
        used +=
            (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", o->words[i]);
    return cli_usage(command, "--%s is one of %s, not '%s'", o->name, known, value);
}

static int number_set(const char *command, const struct option *o, const char *value)
{
    int64_t number;
    if (!bytes_to_i64(bytes_str(value), &number) || number < 0 || (uint64_t)number < o->min ||
        (uint64_t)number > o->max)
        return cli_usage(command, "--%s takes a number from %llu to %llu, not '%s'", o->name,
                         (unsigned long long)o->min, (unsigned long long)o->max, value);
    *(uint64_t *)o->target = (uint64_t)number;
    return EXIT_DONE;
}

static int list_add(const char *command, const struct option *o, const char *value)
{
    struct option_list *list = o->target;
    if (!*value) return cli_usage(command, "--%s needs a value that is not empty", o->name);
    if (list->count == OPTION_LIST_MAX)
        return cli_usage(command, "--%s is given more than %d times", o->name, OPTION_LIST_MAX);
    list->value[list->count++] = value;
    return EXIT_DONE;
}

/* Sets one option from its text; value NULL means none was given. */
static int option_set(const char *command, const struct option *o, const char *value)
{
    char host[256];
    uint16_t port;
    if (o->given) *o->given = true;
    if (o->kind != OPTION_FLAG && !value) return cli_usage(command, "--%s needs a value", o->name);

    switch (o->kind) {
    case OPTION_FLAG:
        if (value && strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
            return cli_usage(command, "--%s is yes or no, not '%s'", o->name, value);
        *(bool *)o->target = !value || strcmp(value, "yes") == 0;
        return EXIT_DONE;
    case OPTION_TEXT:
        if (!*value) return cli_usage(command, "--%s needs a value that is not empty", o->name);
        *(const char **)o->target = value;
        return EXIT_DONE;
    case OPTION_LIST: return list_add(command, o, value);
    case OPTION_NUMBER: return number_set(command, o, value);
    case OPTION_CHOICE: return choice_set(command, o, value);
    case OPTION_ADDRESS:
        if (strlen(value) >= OPTION_ADDRESS_MAX || !address_split(value, host, sizeof host, &port))
            return cli_usage(command, "--%s takes HOST:PORT, not '%s'", o->name, value);
        strcpy(o->target, value);
        return EXIT_DONE;
    case OPTION_CONFIG: return EXIT_DONE; /* read before */
    }
    return EXIT_USAGE;
}

static int config_line(const struct option *table, const char *command, const char *file,
                       int number, char *line)
{
    line += strspn(line, " \t");
    size_t size = strlen(line);
    while (size && strchr(" \t\r", line[size - 1])) line[--size] = 0;
    if (size == 0 || *line == '#') return EXIT_DONE;

    size_t name_size = strcspn(line, " \t");
    const struct option *o = option_find(table, line, name_size);
    if (!o || o->kind == OPTION_CONFIG)
        return cli_usage(command, "%s:%d: there is no option '%.*s'", file, number, (int)name_size,
                         line);

    char *value = line + name_size;
    value += strspn(value, " \t");
    size = strlen(value);
    if (size >= 2 && (*value == '"' || *value == '\'') && value[size - 1] == *value) {
        value[size - 1] = 0;
        value++;
    }
    return option_set(command, o, *value ? value : NULL);
}

static int config_read(const struct option *table, const char *command, const char *file,
                       struct options_text *text)
{
    FILE *in = fopen(file, "re");
    if (!in) return cli_fail("cannot read %s: %s", file, strerror(errno));
    options_text_free(text);
    text->text = mem_alloc(CONFIG_BYTES_MAX + 1);
    size_t size = fread(text->text, 1, CONFIG_BYTES_MAX + 1, in);
    bool bad = ferror(in);
    fclose(in);
    if (bad) return cli_fail("cannot read %s: %s", file, strerror(EIO));
    if (size > CONFIG_BYTES_MAX)
        return cli_fail("%s is larger than 1 MiB; is it a configuration?", file);
    text->text[size] = 0;

    int status = EXIT_DONE, number = 1;
    for (char *line = text->text; line && status == EXIT_DONE; number++) {
        char *end = strchr(line, '\n');
        if (end) *end = 0;
        status = config_line(table, command, file, number, line);
        line = end ? end + 1 : NULL;
    }
    return status;
}

/* The option that argv[*at] names, with its value, *at moved behind both. NULL after a message. */
static const struct option *option_take(const struct option *table, int argc, char **argv, int *at,
                                        const char **value)
{
    const char *name = argv[(*at)++] + 2;
    size_t size = strcspn(name, "=");
    const struct option *o = option_find(table, name, size);
    if (!o) {
        cli_usage(argv[0], "there is no option --%.*s", (int)size, name);
        return NULL;
    }
    *value = name[size] == '=' ? name + size + 1 : NULL;
    if (!*value && o->kind != OPTION_FLAG && *at < argc) *value = argv[(*at)++];
    return o;
}

static int configs_read(const struct option *table, int argc, char **argv,
                        struct options_text *text)
{
    int status = EXIT_DONE;
    for (int at = 1; at < argc && status == EXIT_DONE;) {
        if (strncmp(argv[at], "--", 2) != 0 || strcmp(argv[at], "--help") == 0) {
            at++;
            continue;
        }
        if (strcmp(argv[at], "--") == 0) break;
        const char *value;
        const struct option *o = option_take(table, argc, argv, &at, &value);
        if (!o) return EXIT_USAGE;
        if (o->kind != OPTION_CONFIG) continue;
        if (!value) return cli_usage(argv[0], "--%s needs a file", o->name);
        status = config_read(table, argv[0], value, text);
    }
    return status;
}

static void options_help(const struct options *options)
{
    fputs(options->usage, stdout);
    for (const struct option *o = options->table; o->name; o++) {
        char left[80];
        snprintf(left, sizeof left, "--%s%s%s", o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        printf("  %-26s %s\n", left, o->help);
    }
}

int options_parse(const struct options *options, int argc, char **argv, int *words,
                  struct options_text *text)
{
    const struct option *table = options->table;
    int status = configs_read(table, argc, argv, text);
    int kept = 1;
    bool ended = false;

    for (int at = 1; at < argc && status == EXIT_DONE;) {
        if (!ended && strcmp(argv[at], "--") == 0) {
            ended = true;
            at++;
        } else if (!ended && strcmp(argv[at], "--help") == 0) {
            options_help(options);
            status = OPTIONS_HELPED;
        } else if (!ended && strncmp(argv[at], "--", 2) == 0) {
            const char *value;
            const struct option *o = option_take(table, argc, argv, &at, &value);
            status = o ? option_set(argv[0], o, value) : EXIT_USAGE;
        } else if (words) {
            argv[kept++] = argv[at++];
        } else {
            status = cli_usage(argv[0], "what is '%s'?", argv[at]);
        }
    }
    if (words) *words = kept - 1;
    return status;
}
