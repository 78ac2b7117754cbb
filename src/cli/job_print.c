/* What JOB STATUS, JOB LIST and JOB HISTORY say, for people and for programs. */
#include "cli/job_print.h"

#include "cli/job_result.h"

#include <jansson.h>
#include <string.h>
#include <time.h>

static const char *time_text(int64_t ms, char out[32])
{
    time_t at = (time_t)(ms / 1000);
    struct tm parts;
    if (!localtime_r(&at, &parts) || !strftime(out, 32, "%Y-%m-%d %H:%M:%S", &parts)) return "?";
    return out;
}

/* Names and errors are users' bytes. */
static void put(FILE *out, const char *text)
{
    struct buf b = {0};
    job_result_text(bytes_str(text), &b);
    fwrite(b.data, 1, b.size, out);
    buf_deinit(&b);
}

static void put_named(FILE *out, const char *name, const char *text)
{
    if (!*text) return;
    fprintf(out, "%-10s ", name);
    put(out, text);
    fputc('\n', out);
}

void job_print(const struct job_view *v, FILE *out)
{
    char when[32];
    put_named(out, "name", v->name);
    put_named(out, "id", v->id);
    put_named(out, "state", v->state);
    put_named(out, "error", v->error);
    fprintf(out, "%-10s %s, took %.1f s\n", "submitted", time_text(v->submitted_ms, when),
            (double)v->spent_ms / 1000);
    fprintf(out, "%-10s %lld of %lld maps, %lld of %lld reduces; %lld run, %lld failed\n", "tasks",
            (long long)v->maps_done, (long long)v->maps, (long long)v->reduces_done,
            (long long)v->reduces, (long long)v->running, (long long)v->failures);
    fprintf(out, "%-10s %lld records, %.1f MB\n", "input", (long long)v->records,
            (double)v->bytes / 1e6);
    put_named(out, "snapshot", v->snapshot);
    if (v->owner) fprintf(out, "%-10s node %lld\n", "owner", (long long)v->owner);
}

bool job_print_list(const struct client_reply *list, FILE *out)
{
    struct job_view v;
    char when[32];
    if (list->type != CLIENT_ARRAY) return false;
    if (list->count == 0) fputs("(none)\n", out);
    for (size_t i = 0; i < list->count; i++) {
        if (!job_view_read(&list->items[i], &v)) return false;
        if (i == 0)
            fprintf(out, "%-10s  %-19s  %8s  %11s  %11s  %s\n", "state", "submitted", "took s",
                    "maps", "reduces", "name");
        char maps[32], reduces[32];
        snprintf(maps, sizeof maps, "%lld/%lld", (long long)v.maps_done, (long long)v.maps);
        snprintf(reduces, sizeof reduces, "%lld/%lld", (long long)v.reduces_done,
                 (long long)v.reduces);
        fprintf(out, "%-10s  %-19s  %8.1f  %11s  %11s  ", v.state, time_text(v.submitted_ms, when),
                (double)v.spent_ms / 1000, maps, reduces);
        put(out, v.name);
        if (v.error[0]) fputs(": ", out), put(out, v.error);
        fputc('\n', out);
    }
    return true;
}

/* ---- JSON ---- */

static json_t *json_of(const struct client_reply *r);

static json_t *json_map(const struct client_reply *r)
{
    json_t *map = json_object();
    for (size_t i = 0; i + 1 < r->count; i += 2) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)r->items[i].text.size,
                 (const char *)r->items[i].text.data);
        json_object_set_new(map, name, json_of(&r->items[i + 1]));
    }
    return map;
}

static json_t *json_of(const struct client_reply *r)
{
    if (r->type == CLIENT_INTEGER) return json_integer(r->integer);
    if (r->type == CLIENT_NIL) return json_null();
    if (r->type != CLIENT_ARRAY) return job_result_json_text(r->text);
    if (r->count && r->items[0].type != CLIENT_ARRAY) return json_map(r);
    json_t *list = json_array();
    for (size_t i = 0; i < r->count; i++) json_array_append_new(list, json_of(&r->items[i]));
    return list;
}

void job_print_json(const struct client_reply *r, FILE *out)
{
    json_t *j = json_of(r);
    json_dumpf(j, out, 0);
    fputc('\n', out);
    json_decref(j);
}
