/* The words of a JOB SUBMIT (job/spec.h) from what was asked for on the command line. Here only
 * what a node would not understand, or would understand wrongly, is refused: all else is the node's
 * to judge, in its own words. */
#ifndef SYNOD_CLI_JOB_WORDS_H
#define SYNOD_CLI_JOB_WORDS_H

#include "base/buf.h"
#include "cli/options.h"

#define JOB_WORDS_MAX      256
#define JOB_WORDS_FILE_MAX (1u << 20)

struct job_request {
    const char *name;                                              /* NULL: one is drawn */
    const char *match, *type, *snapshot, *combine, *reduce, *into; /* NULL: not said */
    uint64_t partitions, tasks;                                    /* 0: not said */
    struct option_list limits; /* "memory=256mb", "time=10m"; several with a comma between */
};

struct job_words {
    struct bytes word[JOB_WORDS_MAX];
    size_t count;
    char name[64]; /* if it was drawn */
    struct buf source;
    char number[2][24];
    char limit[2 * OPTION_LIST_MAX][24];
    size_t limits;
};

/* JOB SUBMIT of the Lua program in `file`. EXIT_DONE, EXIT_USAGE or EXIT_FAILED after a line on
 * stderr. *w borrows from *q. Free it in any case. */
int job_words_of_file(struct job_words *w, const char *command, const struct job_request *q,
                      const char *file);
/* JOB SUBMIT name MAP query ..., under a drawn name unless q has one. */
int job_words_of_query(struct job_words *w, const char *command, const struct job_request *q,
                       int words, char **word);
void job_words_free(struct job_words *w);

struct bytes job_words_name(const struct job_words *w);

/* "256mb" as bytes, "10s" as milliseconds; a bare number is either. False: it is none, or more than
 * an int64 holds. */
bool job_words_size(const char *text, uint64_t *bytes);
bool job_words_time(const char *text, uint64_t *ms);

#endif
