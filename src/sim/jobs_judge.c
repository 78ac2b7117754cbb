#include "sim/jobs_judge.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- what is asked for ---- */

#define SUMS                                                                                       \
    "local function sum(key, values, emit) local s = 0 for v in values do s = s + v end "          \
    "emit(key, s) end combine = sum reduce = sum "
#define BANK_KEYS "{acct = 1, teller = 1, last = 1, pair = 1}"

static void plan_source(struct jobs_plan *p)
{
    switch (p->kind) {
    case JOBS_BANK:
        snprintf(p->source, sizeof p->source,
                 "local bank = " BANK_KEYS " "
                 "function map(key, value, emit, type) "
                 "if bank[key:match('^(%%a+):')] then emit(key, value) end end "
                 "function reduce(key, values, emit) for v in values do emit(key, v) end end");
        break;
    case JOBS_TASKS:
        snprintf(p->source, sizeof p->source,
                 "function task(i, n, emit) emit('rest' .. i %% 3, i) emit('n', 1) end");
        break;
    default:
        snprintf(p->source, sizeof p->source,
                 SUMS "function map(key, value, emit, type) "
                      "if key:sub(1, 1) == '%c' then error('planted') end "
                      "emit(type, 1) emit(key:sub(1, 1), #key) end",
                 p->kind == JOBS_CHOKES ? p->chokes : '*');
    }
}

uint32_t jobs_plan_words(struct jobs_plan *p, const char *word[JOBS_WORDS_MAX])
{
    static const char *const query[][7] = {
        [JOBS_COUNT] = {"MAP", "COUNT"},
        [JOBS_SUM] = {"MAP", "SUM", "MATCH", "acct:*"},
        [JOBS_GROUP] = {"MAP", "GROUP", "COUNT", "BY", "PART", "1"},
        [JOBS_BANK] = {"MAP", "LUA"},
        [JOBS_WORDS] = {"MAP", "LUA"},
        [JOBS_CHOKES] = {"MAP", "LUA"},
        [JOBS_TASKS] = {"TASKS"},
    };
    uint32_t count = 0;
    for (; query[p->kind][count]; count++) word[count] = query[p->kind][count];
    if (!jobs_is_lua(p)) return count;
    plan_source(p);
    if (p->kind == JOBS_TASKS) {
        snprintf(p->number, sizeof p->number, "%u", p->tasks);
        word[count++] = p->number;
        word[count++] = "LUA";
    }
    word[count++] = p->source;
    if (p->kind == JOBS_TASKS) word[count++] = "REDUCE", word[count++] = "SUM";
    return count;
}

/* ---- what was found ---- */

struct record {
    struct bytes key, type, value;
};

static bool record_next(struct reader *r, struct record *out)
{
    if (!reader_left(r)) return false;
    out->key = reader_blob(r);
    out->type = reader_blob(r);
    out->value = reader_blob(r);
    return true;
}

bool jobs_records_add(struct jobs_records *r, struct bytes key, struct bytes type,
                      struct bytes value)
{
    struct reader all = reader_of(buf_bytes(&r->blobs));
    struct record known;
    while (record_next(&all, &known))
        if (bytes_equal(known.key, key)) return false;
    buf_blob(&r->blobs, key);
    buf_blob(&r->blobs, type);
    buf_blob(&r->blobs, value);
    return true;
}

/* ---- results ---- */

bool jobs_rows_add(struct jobs_rows *rows, struct bytes key, struct bytes value)
{
    if (key.size >= JOBS_TEXT_MAX || value.size >= JOBS_TEXT_MAX) return false;
    if (rows->count == rows->capacity) {
        rows->capacity = 2 * rows->capacity + 16;
        rows->row = mem_realloc(rows->row, rows->capacity * sizeof *rows->row);
    }
    struct jobs_row *row = &rows->row[rows->count++];
    memset(row, 0, sizeof *row);
    memcpy(row->key, key.data, key.size);
    if (value.size) memcpy(row->value, value.data, value.size);
    return true;
}

void jobs_rows_clear(struct jobs_rows *rows)
{
    rows->count = 0;
}

void jobs_rows_deinit(struct jobs_rows *rows)
{
    mem_free(rows->row);
    *rows = (struct jobs_rows){0};
}

const struct jobs_row *jobs_rows_find(const struct jobs_rows *rows, struct bytes key)
{
    for (uint32_t i = 0; i < rows->count; i++)
        if (bytes_equal(bytes_str(rows->row[i].key), key)) return &rows->row[i];
    return NULL;
}

static void count_in(struct jobs_rows *rows, struct bytes key, int64_t by)
{
    struct jobs_row *row = (struct jobs_row *)jobs_rows_find(rows, key);
    int64_t number = 0;
    if (!row) {
        (void)jobs_rows_add(rows, key, BYTES("0"));
        row = &rows->row[rows->count - 1];
    }
    (void)bytes_to_i64(bytes_str(row->value), &number);
    snprintf(row->value, sizeof row->value, "%" PRId64, number + by);
}

static struct bytes first_part(struct bytes key)
{
    const uint8_t *colon = memchr(key.data, ':', key.size);
    return bytes_of(key.data, colon ? (size_t)(colon - key.data) : key.size);
}

static bool is_bank(struct bytes part)
{
    return bytes_equal(part, BYTES("acct")) || bytes_equal(part, BYTES("teller")) ||
           bytes_equal(part, BYTES("last")) || bytes_equal(part, BYTES("pair"));
}

static void count_record(const struct jobs_plan *p, const struct record *r, struct jobs_rows *rows)
{
    struct bytes part = first_part(r->key);
    int64_t number = 0;
    switch (p->kind) {
    case JOBS_COUNT: count_in(rows, BYTES("count"), 1); break;
    case JOBS_SUM:
        if (!bytes_equal(part, BYTES("acct"))) break;
        (void)bytes_to_i64(r->value, &number);
        count_in(rows, BYTES("sum"), number);
        break;
    case JOBS_GROUP: count_in(rows, part, 1); break;
    case JOBS_BANK:
        if (is_bank(part) && part.size < r->key.size) (void)jobs_rows_add(rows, r->key, r->value);
        break;
    default:
        count_in(rows, r->type, 1);
        count_in(rows, bytes_of(r->key.data, 1), (int64_t)r->key.size);
    }
}

bool jobs_expected(const struct jobs_plan *p, const struct jobs_records *r, struct jobs_rows *rows)
{
    struct reader all = reader_of(buf_bytes(&r->blobs));
    struct record record;
    char rest[8];
    if (p->kind == JOBS_COUNT) count_in(rows, BYTES("count"), 0);
    if (p->kind == JOBS_SUM) count_in(rows, BYTES("sum"), 0);
    for (uint32_t i = 0; p->kind == JOBS_TASKS && i < p->tasks; i++) {
        snprintf(rest, sizeof rest, "rest%u", i % 3);
        count_in(rows, bytes_str(rest), i);
        count_in(rows, BYTES("n"), 1);
    }
    while (p->kind != JOBS_TASKS && record_next(&all, &record)) {
        if (p->kind == JOBS_CHOKES && record.key.data[0] == (uint8_t)p->chokes) return false;
        count_record(p, &record, rows);
    }
    return true;
}

bool jobs_rows_equal(const struct jobs_rows *got, const struct jobs_rows *expected, char *why,
                     size_t size)
{
    for (uint32_t i = 0; i < got->count; i++) {
        const struct jobs_row *row = &got->row[i];
        const struct jobs_row *is = jobs_rows_find(expected, bytes_str(row->key));
        bool first = jobs_rows_find(got, bytes_str(row->key)) == row;
        if (is && first && strcmp(row->value, is->value) == 0) continue;
        snprintf(why, size, "it gives %s as %s%s, a count by hand %s", row->key, row->value,
                 first ? "" : " (again)", is ? is->value : "nothing");
        return false;
    }
    for (uint32_t i = 0; i < expected->count; i++) {
        if (jobs_rows_find(got, bytes_str(expected->row[i].key))) continue;
        snprintf(why, size, "it lacks %s, which is %s", expected->row[i].key,
                 expected->row[i].value);
        return false;
    }
    return true;
}

/* ---- failing ---- */

static bool has(struct bytes text, const char *word)
{
    return memmem(text.data, text.size, word, strlen(word)) != NULL;
}

bool jobs_may_fail(uint32_t world, struct bytes reason)
{
    static const struct {
        uint32_t world; /* any of these is enough */
        const char *text;
    } may[] = {
        {JOBS_CHOKED, "planted"},
        {JOBS_FAULTS | JOBS_DROPPED, "no node has the job's snapshot any more"},
        {JOBS_FAULTS | JOBS_DROPPED, "there is no snapshot of that id (any more)"},
        {JOBS_FAULTS, "the snapshot's row could not be read"},
        {JOBS_FAULTS, "group 0 does not answer"},
        {JOBS_FAULTS, "the snapshot cannot be read"},
        {JOBS_FAULTS, "cannot reach node"},
        {JOBS_FAULTS, "the output of a map task was lost again and again"},
        {JOBS_FAULTS, "ERR there are 32 snapshots"},
        {JOBS_FAULTS, "TRYAGAIN"},
        {JOBS_FAULTS, "CLUSTERDOWN"},
        {JOBS_FAULTS, "TXNABORT"},
        {JOBS_FAULTS, "OOM"},
    };
    for (size_t i = 0; i < sizeof may / sizeof *may; i++)
        if ((may[i].world & world) && has(reason, may[i].text)) return true;
    return false;
}
