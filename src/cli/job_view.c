/* Jobs, read from replies. */
#include "cli/job_view.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t at, room; /* room 0: a number */
} fields[] = {
#define TEXT(name, field)                                                                          \
    {                                                                                              \
        name, offsetof(struct job_view, field), sizeof((struct job_view *)0)->field                \
    }
#define NUMBER(name, field)                                                                        \
    {                                                                                              \
        name, offsetof(struct job_view, field), 0                                                  \
    }
    TEXT("name", name),
    TEXT("id", id),
    TEXT("state", state),
    TEXT("snapshot", snapshot),
    TEXT("error", error),
    NUMBER("owner", owner),
    NUMBER("maps", maps),
    NUMBER("maps-done", maps_done),
    NUMBER("reduces", reduces),
    NUMBER("reduces-done", reduces_done),
    NUMBER("running", running),
    NUMBER("failures", failures),
    NUMBER("records", records),
    NUMBER("bytes", bytes),
    NUMBER("submitted-ms", submitted_ms),
    NUMBER("spent-ms", spent_ms),
#undef TEXT
#undef NUMBER
};

static const struct {
    const char *name;
    unsigned step;
} states[] = {{"submitted", JOB_STEP_CUT}, {"cut", JOB_STEP_CUT},
              {"map", JOB_STEP_MAP},       {"reduce", JOB_STEP_REDUCE},
              {"done", JOB_STEPS},         {"committing", JOB_STEP_PUBLISH},
              {"failed", JOB_STEPS + 1},   {"cancelled", JOB_STEPS + 1}};

#define STATES (sizeof states / sizeof *states)

static size_t state_find(const struct job_view *v)
{
    size_t i = 0;
    while (i < STATES && strcmp(states[i].name, v->state) != 0) i++;
    return i;
}

static void field_set(struct job_view *v, const struct client_reply *name,
                      const struct client_reply *value)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (!bytes_equal(name->text, bytes_str(fields[i].name))) continue;
        char *to = (char *)v + fields[i].at;
        int64_t number = value->integer;
        if (fields[i].room)
            (void)snprintf(to, fields[i].room, "%.*s", (int)value->text.size,
                           value->text.size ? (const char *)value->text.data : "");
        else if (value->type == CLIENT_INTEGER || bytes_to_i64(value->text, &number))
            memcpy(to, &number, sizeof number);
        return;
    }
}

static bool is_text(const struct client_reply *r)
{
    return r->type == CLIENT_BULK || r->type == CLIENT_STATUS;
}

bool job_view_read(const struct client_reply *r, struct job_view *v)
{
    *v = (struct job_view){0};
    if (r->type != CLIENT_ARRAY) return false;
    for (size_t i = 0; i + 1 < r->count; i += 2)
        if (is_text(&r->items[i])) field_set(v, &r->items[i], &r->items[i + 1]);
    if (v->name[0] && state_find(v) < STATES) return true;
    *v = (struct job_view){0};
    return false;
}

bool job_view_over(const struct job_view *v)
{
    return states[state_find(v)].step >= JOB_STEPS;
}

bool job_view_done(const struct job_view *v)
{
    return states[state_find(v)].step == JOB_STEPS;
}

unsigned job_view_step(const struct job_view *v)
{
    unsigned step = states[state_find(v)].step;
    if (step <= JOB_STEPS) return step;
    if (v->maps == 0) return JOB_STEP_CUT;
    if (v->maps_done < v->maps) return JOB_STEP_MAP;
    return v->reduces_done < v->reduces ? JOB_STEP_REDUCE : JOB_STEP_PUBLISH;
}
