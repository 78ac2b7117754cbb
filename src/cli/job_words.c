/* From options to the words of a command. */
#include "cli/job_words.h"

#include "base/assert.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#define NAME_PART_MAX 40

/* ---- quantities ---- */

struct unit {
    const char *name;
    uint64_t factor;
};

static bool quantity(const char *text, const struct unit *units, uint64_t *out)
{
    uint64_t number = 0;
    const char *at = text;
    for (; isdigit((unsigned char)*at); at++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
            return false;
    if (at == text) return false;
    while (units->name && strcasecmp(units->name, at) != 0) units++;
    if (!units->name || __builtin_mul_overflow(number, units->factor, &number)) return false;
    if (number > INT64_MAX) return false;
    *out = number;
    return true;
}

bool job_words_size(const char *text, uint64_t *bytes)
{
    static const struct unit units[] = {{"", 1},          {"b", 1},         {"k", 1u << 10},
                                        {"kb", 1u << 10}, {"m", 1u << 20},  {"mb", 1u << 20},
                                        {"g", 1u << 30},  {"gb", 1u << 30}, {0}};
    return quantity(text, units, bytes);
}

bool job_words_time(const char *text, uint64_t *ms)
{
    static const struct unit units[] = {{"", 1},      {"ms", 1},      {"s", 1000},
                                        {"m", 60000}, {"h", 3600000}, {0}};
    return quantity(text, units, ms);
}

/* ---- words ---- */

static void add(struct job_words *w, struct bytes word)
{
    ASSERT(w->count < JOB_WORDS_MAX);
    w->word[w->count++] = word;
}

static void add_pair(struct job_words *w, const char *name, const char *value)
{
    if (!value) return;
    add(w, bytes_str(name));
    add(w, bytes_str(value));
}

static int name_draw(struct job_words *w, const char *part)
{
    uint32_t number;
    char *to = w->name;
    if (getrandom(&number, sizeof number, 0) != sizeof number)
        return cli_fail("no random number: %s", strerror(errno));
    for (; *part && to < w->name + NAME_PART_MAX; part++)
        *to++ = isalnum((unsigned char)*part) || strchr("._-", *part) ? *part : '_';
    snprintf(to, 16, "-%08x", number);
    return EXIT_DONE;
}

static int begin(struct job_words *w, const struct job_request *q, const char *part)
{
    add(w, BYTES("JOB"));
    add(w, BYTES("SUBMIT"));
    int status = q->name ? EXIT_DONE : name_draw(w, part);
    add(w, bytes_str(q->name ? q->name : w->name));
    return status;
}

struct bytes job_words_name(const struct job_words *w)
{
    return w->word[2];
}

static int limit_add(struct job_words *w, const char *command, const char *text, size_t size)
{
    static const char *const names[] = {"TIME", "CPU", "MEMORY", "SPILL", "OUTPUT"};
    char name[16] = "", value[32] = "";
    uint64_t number;
    size_t cut = 0, i = 0;
    while (cut < size && text[cut] != '=') cut++;
    if (cut == size || cut >= sizeof name || size - cut > sizeof value)
        return cli_usage(command, "--limit takes NAME=VALUE (memory=256mb, time=10m), not '%.*s'",
                         (int)size, text);
    memcpy(name, text, cut);
    memcpy(value, text + cut + 1, size - cut - 1);
    while (i < 5 && strcasecmp(names[i], name) != 0) i++;
    if (i == 5)
        return cli_usage(command, "--limit knows time, cpu, memory, spill and output, not '%s'",
                         name);
    if (!(i < 2 ? job_words_time(value, &number) : job_words_size(value, &number)))
        return cli_usage(command, "--limit %s=%s is no %s", name, value,
                         i < 2 ? "time (30s, 10m, 1h, or milliseconds)"
                               : "size (64kb, 256mb, 1gb, or bytes)");
    if (w->limits == sizeof w->limit / sizeof *w->limit)
        return cli_usage(command, "--limit is given too often");
    char *to = w->limit[w->limits++];
    snprintf(to, sizeof w->limit[0], "%llu", (unsigned long long)number);
    add_pair(w, names[i], to);
    return EXIT_DONE;
}

static int limits_add(struct job_words *w, const char *command, const struct option_list *limits)
{
    int status = EXIT_DONE;
    if (limits->count) add(w, BYTES("LIMITS"));
    for (size_t i = 0; i < limits->count && status == EXIT_DONE; i++) {
        const char *at = limits->value[i];
        for (;;) {
            size_t size = strcspn(at, ",");
            status = limit_add(w, command, at, size);
            if (!at[size] || status != EXIT_DONE) break;
            at += size + 1;
        }
    }
    return status;
}

static int clauses_add(struct job_words *w, const char *command, const struct job_request *q)
{
    add_pair(w, "COMBINE", q->combine);
    add_pair(w, "REDUCE", q->reduce);
    add_pair(w, "MATCH", q->match);
    add_pair(w, "TYPE", q->type);
    add_pair(w, "SNAPSHOT", q->snapshot);
    add_pair(w, "INTO", q->into);
    if (q->partitions) {
        snprintf(w->number[1], sizeof w->number[1], "%llu", (unsigned long long)q->partitions);
        add_pair(w, "PARTITIONS", w->number[1]);
    }
    return limits_add(w, command, &q->limits);
}

/* ---- the two of them ---- */

static int source_read(struct job_words *w, const char *file)
{
    FILE *in = fopen(file, "re");
    if (!in) return cli_fail("cannot read %s: %s", file, strerror(errno));
    size_t size =
        fread(buf_reserve(&w->source, JOB_WORDS_FILE_MAX + 1), 1, JOB_WORDS_FILE_MAX + 1, in);
    bool bad = ferror(in);
    fclose(in);
    w->source.size = size;
    if (bad) return cli_fail("cannot read %s: %s", file, strerror(EISDIR));
    if (size > JOB_WORDS_FILE_MAX)
        return cli_fail("%s is larger than 1 MiB; is it a Lua program?", file);
    return size ? EXIT_DONE : cli_fail("%s is empty", file);
}

int job_words_of_file(struct job_words *w, const char *command, const struct job_request *q,
                      const char *file)
{
    char part[NAME_PART_MAX + 1];
    const char *base = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
    *w = (struct job_words){0};
    snprintf(part, sizeof part, "%.*s", (int)strcspn(base, "."), base);
    int status = source_read(w, file);
    if (status == EXIT_DONE) status = begin(w, q, *part ? part : "job");
    if (status != EXIT_DONE) return status;
    if (q->tasks) {
        snprintf(w->number[0], sizeof w->number[0], "%llu", (unsigned long long)q->tasks);
        add_pair(w, "TASKS", w->number[0]);
    } else {
        add(w, BYTES("MAP"));
    }
    add(w, BYTES("LUA"));
    add(w, buf_bytes(&w->source));
    return clauses_add(w, command, q);
}

int job_words_of_query(struct job_words *w, const char *command, const struct job_request *q,
                       int words, char **word)
{
    enum { ROOM = JOB_WORDS_MAX - 24 - 4 * OPTION_LIST_MAX - 1 };
    *w = (struct job_words){0};
    int status = begin(w, q, "query");
    if (status != EXIT_DONE) return status;
    if (words > ROOM) return cli_usage(command, "a query has at most %d words", ROOM);
    add(w, BYTES("MAP"));
    for (int i = 0; i < words; i++) add(w, bytes_str(word[i]));
    return clauses_add(w, command, q);
}

void job_words_free(struct job_words *w)
{
    buf_deinit(&w->source);
}
