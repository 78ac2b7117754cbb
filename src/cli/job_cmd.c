/* synod job: runs jobs in the cluster and looks at them. */
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/job_print.h"
#include "cli/job_result.h"
#include "cli/job_run.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: synod job run FILE.lua [options]   runs its map and reduce over the keys, with bars\n"
    "       synod job query WORD ...           COUNT, SUM FIELD f, TOP 10 FIELD f, GROUP AVG "
    "FIELD\n"
    "                                          f BY g, QUANTILES, ...; MATCH 'pkg:*' TYPE hash\n"
    "       synod job status NAME              what it is at\n"
    "       synod job list | history           those that run; those that have ended\n"
    "       synod job wait NAME                bars until it ends\n"
    "       synod job result NAME              its rows\n"
    "       synod job log NAME                 what happened to it\n"
    "       synod job cancel NAME              ends it, nothing of it stays\n"
    "       synod job forget NAME              one that has ended goes from the history\n\n"
    "A job without --name is forgotten once its result was shown. `synod job VERB --help` has the "
    "options.\n"
    "What a job is: docs/COMPUTE.md.\n";

#define ROWS_DEFAULT 20

struct job_command {
    const char *typed; /* "synod job run" */
    char at[OPTION_ADDRESS_MAX];
    struct job_request request;
    uint64_t rows, timeout_s;
    bool json;
    int words;
    char **word;
};

/* ---- run and query ---- */

/* In a terminal one sees bars and result; a program that takes JSON gets nothing else. */
static FILE *bars_of(const struct job_command *q)
{
    return q->json ? stderr : stdout;
}

/* Such a job has no rows: it has written keys. */
static void say_into(const struct job_command *q)
{
    const struct client_reply said[2] = {{.type = CLIENT_BULK, .text = BYTES("into")},
                                         {.type = CLIENT_BULK, .text = bytes_str(q->request.into)}};
    const struct client_reply none = {.type = CLIENT_ARRAY};
    const struct client_reply notes = {.type = CLIENT_ARRAY, .count = 2, .items = said};
    struct buf text = {0};
    if (q->json) return job_result_json(&(struct job_result){&none, &notes}, stdout);
    job_result_text(said[1].text, &text);
    printf("the result is in the keys that begin with '%.*s'\n", (int)text.size,
           (const char *)text.data);
    buf_deinit(&text);
}

/* Submits, watches and shows it. A job whose name was drawn is forgotten if there is nothing more
 * to see of it. */
static int submit_and_show(const struct job_command *q, const struct job_words *words)
{
    struct link l;
    char name[JOB_VIEW_NAME_MAX];
    struct bytes typed = job_words_name(words);
    if (typed.size >= sizeof name)
        return cli_usage(q->typed, "a name has at most %zu bytes", sizeof name - 1);
    snprintf(name, sizeof name, "%.*s", (int)typed.size, (const char *)typed.data);
    if (!link_open(&l, q->at)) return EXIT_FAILED;

    int status = job_run_submit(&l, words);
    struct job_watch watch = {.name = name, .bars = bars_of(q)};
    if (status == EXIT_DONE) fprintf(watch.bars, "job %s\n", name);
    if (status == EXIT_DONE) status = job_run_watch(&l, &watch);
    if (status == EXIT_DONE && q->request.into)
        say_into(q);
    else if (status == EXIT_DONE)
        status = job_run_show(&l, name, q->rows, q->json);
    if (status == EXIT_DONE && !q->request.name) status = job_run_forget(&l, name);
    link_close(&l);
    return status;
}

static int verb_run(const struct job_command *q)
{
    struct job_words words;
    int status = job_words_of_file(&words, q->typed, &q->request, q->word[0]);
    if (status == EXIT_DONE) status = submit_and_show(q, &words);
    job_words_free(&words);
    return status;
}

static int verb_query(const struct job_command *q)
{
    struct job_words words;
    int status = job_words_of_query(&words, q->typed, &q->request, q->words, q->word);
    if (status == EXIT_DONE) status = submit_and_show(q, &words);
    job_words_free(&words);
    return status;
}

/* ---- looking and ending ---- */

static int show_status(const struct job_command *q, struct link *l)
{
    struct job_view v;
    const struct client_reply *r = link_askf(l, "STATUS", q->word[0]);
    if (!r || !job_view_read(r, &v)) return job_run_refused(r, q->word[0]);
    if (q->json)
        job_print_json(r, stdout);
    else
        job_print(&v, stdout);
    return EXIT_DONE;
}

static int show_list(const struct job_command *q, struct link *l, const char *verb)
{
    const struct client_reply *r = link_askf(l, verb, NULL);
    if (!r || r->type != CLIENT_ARRAY) return job_run_refused(r, verb);
    if (q->json)
        job_print_json(r, stdout);
    else if (!job_print_list(r, stdout))
        return cli_fail("the node says something of a job that is not understood; is it of the "
                        "same version?");
    return EXIT_DONE;
}

static int show_live(const struct job_command *q, struct link *l)
{
    return show_list(q, l, "LIST");
}

static int show_history(const struct job_command *q, struct link *l)
{
    return show_list(q, l, "HISTORY");
}

static int show_log(const struct job_command *q, struct link *l)
{
    struct buf text = {0};
    const struct client_reply *r = link_askf(l, "LOG", q->word[0]);
    if (!r || r->type != CLIENT_ARRAY) return job_run_refused(r, q->word[0]);
    for (size_t i = 0; i < r->count; i++) {
        job_result_text(r->items[i].text, &text);
        buf_u8(&text, '\n');
    }
    fwrite(text.data, 1, text.size, stdout);
    buf_deinit(&text);
    return EXIT_DONE;
}

static int change(const struct job_command *q, struct link *l, const char *verb, const char *said)
{
    const struct client_reply *r = link_askf(l, verb, q->word[0]);
    if (!r || r->type != CLIENT_STATUS) return job_run_refused(r, q->word[0]);
    printf("job %s %s\n", q->word[0], said);
    return EXIT_DONE;
}

static int cancel(const struct job_command *q, struct link *l)
{
    return change(q, l, "CANCEL", "is being cancelled");
}

static int forget(const struct job_command *q, struct link *l)
{
    return change(q, l, "FORGET", "is forgotten");
}

static int wait_for_end(const struct job_command *q, struct link *l)
{
    struct job_watch watch = {
        .name = q->word[0], .bars = stdout, .timeout_ms = q->timeout_s * 1000};
    return job_run_watch(l, &watch);
}

static int show_result(const struct job_command *q, struct link *l)
{
    return job_run_show(l, q->word[0], q->rows, q->json);
}

/* ---- verbs ---- */

enum { TAKES_SUBMIT = 1, TAKES_LUA = 2, TAKES_ROWS = 4, TAKES_JSON = 8, TAKES_TIMEOUT = 16 };

static const struct verb {
    const char *name, *takes;
    int words_min, words_max;
    unsigned options;
    int (*run)(const struct job_command *q); /* opens its own link, or: */
    int (*look)(const struct job_command *q, struct link *link);
} verbs[] = {
    {"run", "one Lua file", 1, 1, TAKES_SUBMIT | TAKES_LUA | TAKES_ROWS | TAKES_JSON, verb_run,
     NULL},
    {"query", "the words of a query: COUNT MATCH 'pkg:*'", 1, JOB_WORDS_MAX,
     TAKES_SUBMIT | TAKES_ROWS | TAKES_JSON, verb_query, NULL},
    {"status", "a job's name", 1, 1, TAKES_JSON, NULL, show_status},
    {"list", "nothing", 0, 0, TAKES_JSON, NULL, show_live},
    {"history", "nothing", 0, 0, TAKES_JSON, NULL, show_history},
    {"log", "a job's name", 1, 1, 0, NULL, show_log},
    {"cancel", "a job's name", 1, 1, 0, NULL, cancel},
    {"wait", "a job's name", 1, 1, TAKES_TIMEOUT, NULL, wait_for_end},
    {"result", "a job's name", 1, 1, TAKES_ROWS | TAKES_JSON, NULL, show_result},
    {"forget", "a job's name", 1, 1, 0, NULL, forget},
};

#define OPTIONS_MAX 20

/* The options that this verb takes, ended by an empty one. */
static void options_of(const struct verb *v, struct job_command *q, struct option out[OPTIONS_MAX])
{
    struct job_request *r = &q->request;
    const struct {
        unsigned of;
        struct option option;
    } all[] = {
        {0,
         {"at", OPTION_ADDRESS, q->at, .value = "HOST:PORT",
          .help = "any node's client address (one of ./synod-data, 127.0.0.1:7001, or 6379)"}},
        {TAKES_SUBMIT,
         {"name", OPTION_TEXT, &r->name, .value = "NAME", .help = "of the job; it is kept then"}},
        {TAKES_SUBMIT,
         {"match", OPTION_TEXT, &r->match, .value = "PATTERN",
          .help = "of the keys, as of KEYS (*)"}},
        {TAKES_SUBMIT,
         {"type", OPTION_TEXT, &r->type, .value = "TYPE",
          .help = "string, hash, list, set or zset (any)"}},
        {TAKES_SUBMIT,
         {"snapshot", OPTION_TEXT, &r->snapshot, .value = "ID",
          .help = "read this one; else the job cuts its own"}},
        {TAKES_SUBMIT,
         {"limit", OPTION_LIST, &r->limits, .value = "NAME=VALUE",
          .help = "time, cpu (10m); memory, spill, output (256mb). More than once"}},
        {TAKES_LUA,
         {"into", OPTION_TEXT, &r->into, .value = "PREFIX",
          .help = "the result becomes keys PREFIX..., all at once"}},
        {TAKES_LUA,
         {"partitions", OPTION_NUMBER, &r->partitions, 1, 1024, .value = "N", .help = "reduces"}},
        {TAKES_LUA,
         {"tasks", OPTION_NUMBER, &r->tasks, 1, 16384, .value = "N",
          .help = "reads no keys: runs task(i, n, emit) so often"}},
        {TAKES_LUA,
         {"combine", OPTION_TEXT, &r->combine, .value = "OP",
          .help = "sum, min or max, in place of the file's combine"}},
        {TAKES_LUA,
         {"reduce", OPTION_TEXT, &r->reduce, .value = "OP",
          .help = "sum, count, min or max, in place of the file's reduce"}},
        {TAKES_ROWS,
         {"rows", OPTION_NUMBER, &q->rows, 0, UINT32_MAX, .value = "N",
          .help = "shown at most (20)"}},
        {TAKES_JSON, {"json", OPTION_FLAG, &q->json, .help = "JSON on stdout; bars on stderr"}},
        {TAKES_TIMEOUT,
         {"timeout", OPTION_NUMBER, &q->timeout_s, 1, 1000000, .value = "SECONDS",
          .help = "then it fails, and the job goes on"}},
    };
    size_t count = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!all[i].of || (all[i].of & v->options)) out[count++] = all[i].option;
    out[count] = (struct option){0};
}

static int verb_parse(const struct verb *v, struct job_command *q, int argc, char **argv)
{
    struct option table[OPTIONS_MAX];
    char head[160];
    options_of(v, q, table);
    snprintf(head, sizeof head, "usage: %s [options]: takes %s\n\n", argv[0], v->takes);
    int status = options_parse(&(struct options){head, table}, argc, argv, &q->words, NULL);
    q->word = argv + 1;
    if (status != EXIT_DONE) return status;
    if (q->words < v->words_min || q->words > v->words_max)
        return cli_usage(argv[0], "it takes %s", v->takes);
    return EXIT_DONE;
}

static int verb_run_parsed(const struct verb *v, const struct job_command *q)
{
    struct link l;
    if (v->run) return v->run(q);
    if (!link_open(&l, q->at)) return EXIT_FAILED;
    int status = v->look(q, &l);
    link_close(&l);
    return status;
}

int cmd_job(int argc, char **argv)
{
    char typed[40];
    struct job_command q = {.typed = typed, .rows = ROWS_DEFAULT};
    if (argc < 2)
        return cli_usage(argv[0],
                         "run, query, status, list, history, wait, result, log, cancel or forget?");
    if (strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return OPTIONS_HELPED;
    }
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        const struct verb *v = &verbs[i];
        if (strcmp(v->name, argv[1]) != 0) continue;
        snprintf(typed, sizeof typed, "%s %s", argv[0], v->name);
        argv[1] = typed;
        int status = verb_parse(v, &q, argc - 1, argv + 1);
        return status == EXIT_DONE ? verb_run_parsed(v, &q) : status;
    }
    return cli_usage(
        argv[0], "there is no '%s'; the verb comes first: run, query, status, list, ...", argv[1]);
}
