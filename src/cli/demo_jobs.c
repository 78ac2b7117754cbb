/* synod demo: jobs over the packages that were loaded. Queries, whose answers are counted here too;
 * then map and reduce in Lua, whose owner dies in the middle of it, beside awk over the file. */
#include "cli/ask.h"
#include "cli/clock.h"
#include "cli/demo.h"
#include "cli/example.h"
#include "cli/job_result.h"
#include "cli/job_run.h"

#include "base/mem.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RANKS      10
#define ROWS_SHOWN 12

/* ---- queries ---- */

static uint64_t count_records(const struct packages *p)
{
    return p->count;
}

static uint64_t sum_sizes(const struct packages *p)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < p->count; i++) {
        struct package_field field[PACKAGE_FIELDS_MAX];
        size_t fields = package_fields(p->list[i].record, field);
        for (size_t f = 0; f < fields; f++) {
            int64_t size;
            if (bytes_equal(field[f].name, BYTES("Installed-Size")) &&
                bytes_to_i64(field[f].value, &size))
                sum += (uint64_t)size;
        }
    }
    return sum;
}

static const struct query {
    const char *words;
    uint64_t (*here)(const struct packages *p); /* the same from what was loaded; NULL: not shown */
} queries[] = {
    {"COUNT", count_records},
    {"SUM FIELD Installed-Size", sum_sizes},
    {"TOP 10 FIELD Installed-Size", NULL},
    {"GROUP AVG FIELD Installed-Size BY Priority", NULL},
    {"QUANTILES FIELD Installed-Size", NULL},
};

static const struct client_reply *query_ask(struct link *l, const char *words)
{
    struct bytes word[16] = {BYTES("JOB"), BYTES("RUN")};
    size_t count = 2;
    for (const char *at = words; *at;) {
        size_t size = strcspn(at, " ");
        word[count++] = bytes_of(at, size);
        at += size + (at[size] == ' ');
    }
    word[count++] = BYTES("MATCH"), word[count++] = BYTES("pkg:*");
    return link_ask(l, 0, count, word);
}

static bool is_as_counted(const struct query *q, const struct packages *p,
                          const struct job_result *result)
{
    char expected[24];
    if (!q->here) return true;
    snprintf(expected, sizeof expected, "%llu", (unsigned long long)q->here(p));
    const struct client_reply *row = result->rows->items;
    if (result->rows->count == 1 && row->type == CLIENT_ARRAY && row->count &&
        bytes_equal(row->items[row->count - 1].text, bytes_str(expected)))
        return true;
    cli_fail("that is wrong: counted from the file it is %s", expected);
    return false;
}

static void show_rows(struct demo *d, const struct job_result *result)
{
    struct buf text = {0};
    job_result_table(result, ROWS_SHOWN, &text);
    for (size_t at = 0; at < text.size;) {
        size_t size = strcspn((char *)text.data + at, "\n");
        demo_say(d, "    %.*s", (int)size, (char *)text.data + at);
        at += size + 1;
    }
    buf_deinit(&text);
}

static bool query_run(struct demo *d, struct link *l, const struct query *q)
{
    struct job_result result;
    uint64_t began = clock_ns();
    const struct client_reply *r = query_ask(l, q->words);
    double seconds = (double)(clock_ns() - began) / 1e9;
    if (!r || !job_result_read(r, &result)) return job_run_refused(r, q->words) == EXIT_DONE;
    demo_say(d, "  JOB RUN %s MATCH pkg:*   %.2f s%s", q->words, seconds,
             q->here ? "; counted from the file it is the same" : "");
    show_rows(d, &result);
    return is_as_counted(q, &d->packages, &result);
}

static bool run_queries(struct demo *d, struct link *l)
{
    bool good = true;
    demo_say(d, "\nQueries over all packages, each at one moment, computed where the data is");
    for (size_t i = 0; i < sizeof queries / sizeof *queries && good; i++)
        good = query_run(d, l, &queries[i]);
    return good;
}

/* ---- map and reduce ---- */

struct rank {
    char name[200];
    uint64_t count;
};

struct ranking {
    struct rank rank[RANKS];
    size_t count;
};

struct murder { /* of the job's owner, while maps run */
    struct demo *d;
    struct link *link;
    bool done;
};

static unsigned owner_number(const struct demo *d, int64_t id)
{
    struct overview o;
    struct client *c = demo_connect(d->loader.address[0]);
    unsigned n = 0;
    if (c && ask_overview(&c, d->loader.address[0], &o)) {
        n = demo_number(d, &o, id);
        overview_free(&o);
    }
    client_free(c);
    return n;
}

static bool murder_turn(void *ctx, const struct job_view *v)
{
    struct murder *m = ctx;
    char line[120];
    bool amidst = strcmp(v->state, "map") == 0 && v->maps_done * 8 >= v->maps && v->owner;
    if (m->done || !amidst) return true;
    m->done = true;
    unsigned n = owner_number(m->d, v->owner);
    if (!n) {
        cli_fail("job %s has an owner that is no node of ours: %lld", v->name, (long long)v->owner);
        return false;
    }
    m->d->victim = n;
    snprintf(line, sizeof line,
             "kill -9 of node %u, which owns the job, and has computed some of it", n);
    if (m->link->say) m->link->say(m->link->ctx, line);
    return cluster_signal(&m->d->cluster, n, SIGKILL) == EXIT_DONE;
}

/* Rows are (" 1 libc6", "21815"). */
static bool ranking_of_rows(struct ranking *out, const struct client_reply *rows)
{
    *out = (struct ranking){0};
    for (size_t i = 0; i < rows->count && i < RANKS; i++) {
        const struct client_reply *row = &rows->items[i];
        char key[256];
        int rank, from = 0;
        int64_t count;
        if (row->type != CLIENT_ARRAY || row->count != 2 || row->items[0].text.size >= sizeof key ||
            !bytes_to_i64(row->items[1].text, &count))
            return false;
        snprintf(key, sizeof key, "%.*s", (int)row->items[0].text.size,
                 (const char *)row->items[0].text.data);
        if (sscanf(key, "%d %n", &rank, &from) != 1 || rank != (int)i + 1) return false;
        struct rank *r = &out->rank[out->count++];
        snprintf(r->name, sizeof r->name, "%.199s", key + from);
        r->count = (uint64_t)count;
    }
    return out->count > 0;
}

static bool rank_by_job(struct demo *d, struct link *l, struct ranking *out, double *seconds)
{
    struct job_words words;
    char path[EXAMPLE_PATH_MAX];
    struct job_request q = {.match = "pkg:*", .type = "hash", .partitions = 1};
    struct murder murder = {.d = d, .link = l};
    struct job_result result;
    if (!example_find("jobs/top_dependencies.lua", path))
        return cli_fail("examples/jobs/top_dependencies.lua is not here") == EXIT_DONE;
    demo_say(d, "\nWhich packages do most others depend on? %s, over all nodes", path);
    uint64_t began = clock_ns();
    bool good = job_words_of_file(&words, "synod demo", &q, path) == EXIT_DONE &&
                job_run_submit(l, &words) == EXIT_DONE;
    struct job_watch w = {.name = words.name, .bars = stdout, .turn = murder_turn, .ctx = &murder};
    good = good && job_run_watch(l, &w) == EXIT_DONE;
    *seconds = (double)(clock_ns() - began) / 1e9;
    const struct client_reply *r = good ? job_run_result(l, words.name) : NULL;
    good = r && job_result_read(r, &result);
    if (good && !ranking_of_rows(out, result.rows))
        good = cli_fail("the job has given something else than ranks") == EXIT_DONE;
    if (good && !murder.done) demo_say(d, "(it was over before anybody could be killed)");
    good = good && job_run_forget(l, words.name) == EXIT_DONE;
    job_words_free(&words);
    return good;
}

/* The file that was loaded, for awk: what apt-cache said is nowhere else. */
static bool file_write(const struct demo *d, const char *path)
{
    FILE *out = fopen(path, "we");
    bool good = out && fwrite(d->packages.text.data, 1, d->packages.text.size, out) ==
                           d->packages.text.size;
    if (out && fclose(out) != 0) good = false;
    if (!good) cli_fail("cannot write %s", path);
    return good;
}

static bool rank_by_awk(struct demo *d, struct ranking *out, double *seconds)
{
    char program[EXAMPLE_PATH_MAX], file[CLUSTER_DIR_MAX + 32];
    char command[sizeof program + sizeof file + 100], line[256];
    snprintf(file, sizeof file, "%s/packages", d->cluster.dir);
    if (!example_find("jobs/top_dependencies.awk", program))
        return cli_fail("examples/jobs/top_dependencies.awk is not here") == EXIT_DONE;
    if (!file_write(d, file)) return false;
    snprintf(command, sizeof command,
             "LC_ALL=C awk -f '%s' '%s' | LC_ALL=C sort -k1,1nr -k2,2 | sed -n 1,%dp", program,
             file, RANKS);
    uint64_t began = clock_ns();
    FILE *said = popen(command, "re");
    *out = (struct ranking){0};
    while (said && out->count < RANKS && fgets(line, sizeof line, said)) {
        unsigned long long count;
        struct rank *r = &out->rank[out->count];
        if (sscanf(line, "%llu %199s", &count, r->name) != 2) break;
        r->count = count;
        out->count++;
    }
    bool good = said && pclose(said) == 0;
    *seconds = (double)(clock_ns() - began) / 1e9;
    (void)unlink(file);
    if (!good) cli_fail("`%s` failed", command);
    return good;
}

static bool compare(struct demo *d, const struct ranking *job, const struct ranking *awk)
{
    bool same = job->count == awk->count;
    for (size_t i = 0; i < job->count || i < awk->count; i++) {
        const struct rank *a = &job->rank[i], *b = &awk->rank[i];
        bool equal = a->count == b->count && strcmp(a->name, b->name) == 0;
        demo_say(d, "  %2zu  %-24s %8llu   %-24s %8llu%s", i + 1, a->name,
                 (unsigned long long)a->count, b->name, (unsigned long long)b->count,
                 equal ? "" : "   differs");
        same &= equal;
    }
    if (same)
        demo_say(d, "  the same");
    else
        cli_fail(
            "the job and awk give different answers; keep the data directories, this is a bug");
    return same;
}

static bool run_ranking(struct demo *d, struct link *l)
{
    struct ranking job, awk;
    double job_s = 0, awk_s = 0;
    d->victim = 0;
    if (!rank_by_job(d, l, &job, &job_s)) return false;
    if (d->victim) {
        demo_say(d, "node %u is started again", d->victim);
        if (cluster_start(&d->cluster, d->victim) != EXIT_DONE) return false;
    }
    if (!rank_by_awk(d, &awk, &awk_s)) return false;
    demo_say(d, "      the job, %.1f s, a node lost     %9sawk over the file, %.1f s", job_s, "",
             awk_s);
    if (!compare(d, &job, &awk)) return false;
    return cluster_wait(&d->cluster, 0, false, CLUSTER_WAIT_MS) == EXIT_DONE;
}

bool demo_jobs(struct demo *d)
{
    struct link l;
    char address[OPTION_ADDRESS_MAX];
    cluster_address(&d->cluster, cluster_running(&d->cluster, 0), address);
    if (!link_open(&l, address)) return false;
    bool good = run_queries(d, &l) && run_ranking(d, &l);
    link_close(&l);
    return good;
}
