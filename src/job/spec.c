#include "job/spec.h"
#include "job/job_state.h"
#include "job/records.h"

struct parse {
    const struct bytes *arg;
    size_t at, count;
    struct job_spec *s;
    struct job_spec_error *error;
};

const char *job_op_name(unsigned op)
{
    static const char *const name[JOB_OPS] = {
        "none",     "COUNT",     "SUM",       "MIN",   "MAX",  "AVG", "TOP",
        "DISTINCT", "QUANTILES", "HISTOGRAM", "GROUP", "JOIN", "GREP"};
    return op < JOB_OPS ? name[op] : "unknown";
}

static size_t put(char *to, size_t at, size_t room, struct bytes s, bool quote)
{
    for (size_t i = 0; i < s.size && at + 1 < room; i++) {
        uint8_t c = s.data[i];
        to[at++] = (char)(quote && (c < 32 || c > 126 || c == '\'') ? '?' : c);
    }
    return at;
}

/* "`what` 'word', `expected`": the word that is meant, as far as it is short. Always false. */
static bool wrong(struct parse *p, const char *what, const struct bytes *word, const char *expected)
{
    char *to = p->error->text;
    size_t room = sizeof p->error->text, n = put(to, 0, room, bytes_str(what), false);
    if (word) {
        size_t shown = word->size > 40 ? 40 : word->size;
        n = put(to, n, room, BYTES(" '"), false);
        n = put(to, n, room, bytes_of(word->data, shown), true);
        n = put(to, n, room, word->size > shown ? BYTES("...'") : BYTES("'"), false);
    }
    n = put(to, n, room, BYTES("; "), false);
    n = put(to, n, room, bytes_str(expected), false);
    to[n] = 0;
    return false;
}

static bool more(const struct parse *p)
{
    return p->at < p->count;
}

static bool word(struct parse *p, const char *w)
{
    if (!more(p) || !bytes_equal_nocase(p->arg[p->at], w)) return false;
    p->at++;
    return true;
}

static bool text(struct parse *p, const char *of, size_t max, struct bytes *out)
{
    struct bytes name = bytes_str(of);
    if (!more(p)) return wrong(p, "nothing follows", &name, "it takes an argument");
    *out = p->arg[p->at++];
    if (out->size <= max) return true;
    return wrong(p, "too long an argument for", &name, "see docs/JOBS.md, limits");
}

/* A number from lo to hi, or with k, m or g behind it (of 1024); `of` says which it takes. */
static bool number(struct parse *p, const char *of, int64_t lo, int64_t hi, uint64_t *out)
{
    struct bytes t = {0};
    int64_t v;
    unsigned shift = 0;
    if (!more(p)) return wrong(p, "a number is missing", NULL, of);
    struct bytes shown = t = p->arg[p->at++];
    if (t.size > 1) {
        uint8_t last = t.data[t.size - 1] | 0x20;
        shift = last == 'k' ? 10 : last == 'm' ? 20 : last == 'g' ? 30 : 0;
        if (shift) t.size--;
    }
    if (!bytes_to_i64(t, &v)) return wrong(p, "not a whole number:", &shown, of);
    if (v > hi >> shift || v < 0 || v << shift < lo) return wrong(p, "out of range:", &shown, of);
    *out = (uint64_t)v << shift;
    return true;
}

static bool source(struct parse *p, struct bytes *out)
{
    if (!text(p, "LUA", JOB_SOURCE_MAX, out)) return false;
    if (out->size && out->data[0] == 27)
        return wrong(p, "LUA was given bytecode", NULL, "give the source");
    if (!out->size) return wrong(p, "LUA was given an empty source", NULL, "it defines functions");
    return true;
}

/* What C does with the values of a key. What is combined is combined again: so no COUNT there. */
static uint8_t value_op(struct parse *p, enum job_op first)
{
    for (unsigned op = first; op <= JOB_OP_MAX; op++)
        if (word(p, job_op_name(op))) return (uint8_t)op;
    return JOB_OP_NONE;
}

static bool by(struct parse *p, struct job_query *q)
{
    uint64_t n;
    int64_t probe;
    if (p->at + 1 < p->count && bytes_equal_nocase(p->arg[p->at], "PART") &&
        bytes_to_i64(p->arg[p->at + 1], &probe)) {
        p->at++;
        if (!number(p, "BY PART takes a number from 1 to 64", 1, 64, &n)) return false;
        q->by = JOB_BY_PART;
        q->n = (uint32_t)n;
        return true;
    }
    q->by = JOB_BY_FIELD;
    return text(p, "BY", JOB_FIELD_MAX, &q->by_field);
}

static bool step(struct parse *p, struct job_query *q)
{
    struct bytes t = {0};
    long double v;
    if (!text(p, "STEP", 64, &t)) return false;
    if (!bytes_to_double(t, &v) || !(v >= 1e-300L && v <= 1e290L))
        return wrong(p, "not a width:", &t, "STEP takes a number above 0");
    q->step = (double)v;
    return true;
}

static bool query_head(struct parse *p, struct job_query *q)
{
    uint64_t n;
    for (uint8_t op = JOB_OP_COUNT; op < JOB_OPS && !q->op; op++)
        if (word(p, job_op_name(op))) q->op = op;
    switch (q->op) {
    case JOB_OP_NONE:
        return wrong(p, more(p) ? "unknown query" : "a query is missing",
                     more(p) ? &p->arg[p->at] : NULL,
                     "expected COUNT, SUM, MIN, MAX, AVG, TOP n, DISTINCT, QUANTILES, HISTOGRAM, "
                     "GROUP, JOIN pattern or GREP text");
    case JOB_OP_TOP:
        if (!number(p, "TOP takes a number from 1 to 100000", 1, JOB_TOP_MAX, &n)) return false;
        q->n = (uint32_t)n;
        return true;
    case JOB_OP_JOIN: return text(p, "JOIN", JOB_PATTERN_MAX, &q->argument);
    case JOB_OP_GREP: return text(p, "GREP", JOB_PATTERN_MAX, &q->argument);
    case JOB_OP_GROUP:
        for (uint8_t op = JOB_OP_COUNT; op <= JOB_OP_AVG && !q->group_op; op++)
            if (word(p, job_op_name(op))) q->group_op = op;
        if (!q->group_op) q->group_op = JOB_OP_COUNT;
    }
    return true;
}

/* FIELD, BY, STEP; 0: none of them, -1: wrong. */
static int query_clause(struct parse *p, struct job_query *q)
{
    if (word(p, "FIELD")) return text(p, "FIELD", JOB_FIELD_MAX, &q->field) ? 1 : -1;
    if (word(p, "BY")) return by(p, q) ? 1 : -1;
    if (q->op == JOB_OP_HISTOGRAM && word(p, "STEP")) return step(p, q) ? 1 : -1;
    return 0;
}

static bool query_end(struct parse *p, struct job_query *q)
{
    if (q->op <= JOB_OP_AVG && q->by) {
        q->group_op = q->op;
        q->op = JOB_OP_GROUP;
    }
    struct bytes name = bytes_str(job_op_name(q->op));
    if (q->op == JOB_OP_GROUP && !q->by)
        return wrong(p, "GROUP does not say by what", NULL, "add BY field, or BY PART n");
    if (q->op != JOB_OP_GROUP && q->by)
        return wrong(p, "BY is not for", &name, "it is for GROUP, COUNT, SUM, MIN, MAX and AVG");
    if (q->op == JOB_OP_JOIN && !q->field.size)
        return wrong(p, "JOIN does not say on what", NULL,
                     "add FIELD f: records with equal f are joined");
    return true;
}

static bool type(struct parse *p)
{
    for (unsigned t = 0; t < RECORD_TYPES; t++)
        if (word(p, record_kind_name(t))) {
            p->s->type = (uint8_t)(t + 1);
            return true;
        }
    return wrong(p, more(p) ? "unknown type" : "TYPE lacks its argument",
                 more(p) ? &p->arg[p->at] : NULL, "expected string, hash, list, set or zset");
}

static bool limits(struct parse *p)
{
    struct job_limits *l = &p->s->limits;
    const struct {
        const char *word, *range;
        uint64_t *to;
        int64_t lo, hi;
    } row[] = {
        {"TIME", "TIME takes milliseconds, 1000 to 86400000", &l->time_ms, 1000, 86400000},
        {"CPU", "CPU takes milliseconds, 1000 to 86400000", &l->cpu_ms, 1000, 86400000},
        {"MEMORY", "MEMORY takes bytes, 16m to 64g", &l->memory, 16 << 20, 64LL << 30},
        {"SPILL", "SPILL takes bytes, 0 to 1024g", &l->spill, 0, 1024LL << 30},
        {"OUTPUT", "OUTPUT takes bytes, 1k to 64g", &l->output, 1024, 64LL << 30},
    };
    size_t from = p->at;
    for (bool found = true; found;) {
        found = false;
        for (size_t i = 0; i < sizeof row / sizeof *row; i++)
            if (word(p, row[i].word)) {
                if (!number(p, row[i].range, row[i].lo, row[i].hi, row[i].to)) return false;
                found = true;
            }
    }
    if (p->at > from) return true;
    return wrong(p, more(p) ? "unknown limit" : "LIMITS lacks its arguments",
                 more(p) ? &p->arg[p->at] : NULL,
                 "expected TIME, CPU, MEMORY, SPILL or OUTPUT, and a number");
}

/* An id as people see it (redis/cut.h). */
static bool snapshot(struct parse *p)
{
    static const char of[] =
        "SNAPSHOT takes an id as SNAPSHOT CREATE gives it, 16 hexadecimal digits";
    struct bytes t;
    if (!more(p)) return wrong(p, "an id is missing", NULL, of);
    t = p->arg[p->at++];
    bool good = bytes_to_hex64(t, &p->s->snapshot) && p->s->snapshot;
    return good || wrong(p, "not an id:", &t, of);
}

/* What SUBMIT and RUN have in common; 0: none of it, -1: wrong. */
static int common_clause(struct parse *p)
{
    struct job_spec *s = p->s;
    if (word(p, "MATCH")) return text(p, "MATCH", JOB_PATTERN_MAX, &s->match) ? 1 : -1;
    if (word(p, "TYPE")) return type(p) ? 1 : -1;
    if (word(p, "SNAPSHOT")) return snapshot(p) ? 1 : -1;
    if (word(p, "LIMITS")) return limits(p) ? 1 : -1;
    return 0;
}

static bool step_clause(struct parse *p, bool combine, uint8_t *op, struct bytes *lua)
{
    struct bytes name = combine ? BYTES("COMBINE") : BYTES("REDUCE");
    if (word(p, "LUA")) return source(p, lua);
    *op = value_op(p, combine ? JOB_OP_SUM : JOB_OP_COUNT);
    if (*op) return true;
    return wrong(p, "what follows is no way to", &name,
                 combine ? "expected LUA source, SUM, MIN or MAX"
                         : "expected LUA source, SUM, COUNT, MIN or MAX");
}

static int submit_clause(struct parse *p)
{
    struct job_spec *s = p->s;
    uint64_t n;
    if (word(p, "COMBINE")) return step_clause(p, true, &s->combine_op, &s->combine) ? 1 : -1;
    if (word(p, "REDUCE")) return step_clause(p, false, &s->reduce_op, &s->reduce) ? 1 : -1;
    if (word(p, "RETURN")) {
        s->into = false;
        return 1;
    }
    if (word(p, "INTO")) {
        s->into = true;
        return text(p, "INTO", JOB_PATTERN_MAX, &s->prefix) ? 1 : -1;
    }
    if (word(p, "PARTITIONS")) {
        if (!number(p, "PARTITIONS takes a number from 1 to 1024", 1, JOB_PARTITIONS_MAX, &n))
            return -1;
        s->partitions = (uint32_t)n;
        return 1;
    }
    return 0;
}

static bool clauses(struct parse *p, bool submit)
{
    while (more(p)) {
        int found = common_clause(p);
        if (!found && submit) found = submit_clause(p);
        if (!found && p->s->kind == JOB_KIND_QUERY) found = query_clause(p, &p->s->query);
        if (found < 0) return false;
        if (found) continue;
        return wrong(p, "unknown word", &p->arg[p->at],
                     submit ? "expected COMBINE, REDUCE, MATCH, TYPE, SNAPSHOT, INTO, RETURN, "
                              "PARTITIONS, LIMITS (and for queries FIELD, BY)"
                            : "expected MATCH, TYPE, FIELD, BY, SNAPSHOT or LIMITS");
    }
    return p->s->kind != JOB_KIND_QUERY || query_end(p, &p->s->query);
}

static bool what(struct parse *p)
{
    struct job_spec *s = p->s;
    uint64_t n;
    if (word(p, "TASKS")) {
        s->kind = JOB_KIND_TASKS;
        if (!number(p, "TASKS takes a number from 1 to 15360", 1,
                    JOB_TASKS_MAX - JOB_PARTITIONS_MAX, &n))
            return false;
        s->tasks = (uint32_t)n;
        if (word(p, "LUA")) return source(p, &s->map);
        return wrong(p, "TASKS does not say what to do", NULL, "expected TASKS n LUA source");
    }
    if (!word(p, "MAP"))
        return wrong(p, "what to do is missing", NULL,
                     "expected MAP LUA source, MAP query or TASKS n LUA source after the name");
    if (word(p, "LUA")) return source(p, &s->map);
    s->kind = JOB_KIND_QUERY;
    return query_head(p, &s->query);
}

/* What does not go together. */
static bool sense(struct parse *p)
{
    const struct job_spec *s = p->s;
    if (s->kind == JOB_KIND_QUERY &&
        (s->combine.size || s->reduce.size || s->combine_op || s->reduce_op))
        return wrong(p, "COMBINE and REDUCE are not for queries", NULL, "a query brings its own");
    if (s->kind == JOB_KIND_TASKS && (s->type || s->snapshot || !bytes_equal(s->match, BYTES("*"))))
        return wrong(p, "MATCH, TYPE and SNAPSHOT are not for TASKS", NULL,
                     "its tasks read no keys");
    return true;
}

static void defaults(struct job_spec *s)
{
    *s = (struct job_spec){.match = BYTES("*"),
                           .query = {.step = 1},
                           .limits = {.time_ms = 3600 * 1000,
                                      .cpu_ms = 600 * 1000,
                                      .memory = 256u << 20,
                                      .spill = 16ull << 30,
                                      .output = 64u << 20}};
}

bool job_spec_submit(const struct bytes *args, size_t count, struct job_spec *out,
                     struct job_spec_error *error)
{
    struct parse p = {args, 0, count, out, error};
    defaults(out);
    if (!text(&p, "JOB SUBMIT", JOB_NAME_MAX, &out->name)) return false;
    if (!out->name.size) return wrong(&p, "the job's name is empty", NULL, "give it one");
    return what(&p) && clauses(&p, true) && sense(&p);
}

bool job_spec_run(const struct bytes *args, size_t count, struct job_spec *out,
                  struct job_spec_error *error)
{
    struct parse p = {args, 0, count, out, error};
    defaults(out);
    out->kind = JOB_KIND_QUERY;
    return query_head(&p, &out->query) && clauses(&p, false);
}

bool job_spec_wants(const struct job_spec *s, struct bytes key, uint8_t type)
{
    if (s->type && s->type != type + 1) return false;
    return bytes_glob(s->match, key, false) ||
           (s->query.op == JOB_OP_JOIN && bytes_glob(s->query.argument, key, false));
}
