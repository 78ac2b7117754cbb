/* What jobs (sim/jobs.h) must give: counted by hand over what a plain reader found in the same
 * snapshot. And why a job may fail. Pure but for memory. */
#ifndef SYNOD_SIM_JOBS_JUDGE_H
#define SYNOD_SIM_JOBS_JUDGE_H

#include "base/buf.h"

#define JOBS_TEXT_MAX  40 /* of a key or a value of a result */
#define JOBS_WORDS_MAX 10

enum jobs_kind {
    JOBS_COUNT,  /* MAP COUNT */
    JOBS_SUM,    /* MAP SUM, of the bank's accounts */
    JOBS_GROUP,  /* MAP GROUP COUNT, by the first part of the key */
    JOBS_BANK,   /* Lua: what the bank has (sim/bank.h), pair by pair */
    JOBS_WORDS,  /* Lua with combine and reduce: types counted, sizes of keys by first letter */
    JOBS_CHOKES, /* the same, but an error where a key begins with a certain letter */
    JOBS_TASKS,  /* TASKS n: numbers summed by their remainder */
    JOBS_KINDS
};

struct jobs_plan {
    enum jobs_kind kind;
    uint32_t tasks;   /* TASKS */
    char chokes;      /* CHOKES */
    char number[12];  /* room for what jobs_plan_words writes */
    char source[400]; /* likewise */
};
/* The words that say it in JOB SUBMIT, after the name; borrowed from the plan. Returns how many. */
uint32_t jobs_plan_words(struct jobs_plan *p, const char *word[JOBS_WORDS_MAX]);
static inline bool jobs_is_lua(const struct jobs_plan *p)
{
    return p->kind >= JOBS_BANK;
}

/* What a reader found: any record once. */
struct jobs_records {
    struct buf blobs; /* key, type, value (strings only) */
};
/* False: it is there already. */
bool jobs_records_add(struct jobs_records *r, struct bytes key, struct bytes type,
                      struct bytes value);

/* A result. */
struct jobs_row {
    char key[JOBS_TEXT_MAX], value[JOBS_TEXT_MAX];
};
struct jobs_rows {
    struct jobs_row *row;
    uint32_t count, capacity;
};
/* Both deinit and clear are fine for zeros. add: false if a text is too long. */
bool jobs_rows_add(struct jobs_rows *rows, struct bytes key, struct bytes value);
void jobs_rows_clear(struct jobs_rows *rows);
void jobs_rows_deinit(struct jobs_rows *rows);
const struct jobs_row *jobs_rows_find(const struct jobs_rows *rows, struct bytes key);

/* Into `rows`, which are empty. False: it must fail, for it meets what it chokes on. */
bool jobs_expected(const struct jobs_plan *p, const struct jobs_records *r, struct jobs_rows *rows);
/* In any order, and none twice. False: `why` says what is wrong. */
bool jobs_rows_equal(const struct jobs_rows *got, const struct jobs_rows *expected, char *why,
                     size_t size);

/* What there was that may make a job fail. */
#define JOBS_FAULTS  1u /* nodes may have been lost, leaders missing, holds too long */
#define JOBS_DROPPED 2u /* its snapshot was dropped meanwhile */
#define JOBS_CHOKED  4u /* it may have met what it chokes on */
bool jobs_may_fail(uint32_t world, struct bytes reason);

#endif
