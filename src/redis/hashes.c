/* Hashes: the commands. How fields are stored: redis/fields.h. */
#include "base/assert.h"
#include "base/mem.h"
#include "redis/fields.h"
#include "redis/scan.h"
#include "redis/types.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

static bool fields_fit(const struct cmd_args *a, uint32_t first, uint32_t step, struct reply *out)
{
    for (uint32_t i = first; i < a->count; i += step)
        if (a->v[i].size > COMMAND_KEY_MAX)
            return reply_error(out, "ERR field is longer than the limit of 64 KiB"), false;
    return true;
}

static bool hash_get(struct view *v, const struct cmd_args *a, struct object *o, struct reply *out)
{
    return object_get_typed(v, a->v[1], OBJECT_HASH, o, out) == OBJECT_OK;
}

/* ---- setting ---- */

static bool pairs_fit(const struct cmd_args *a, const char *name, struct reply *out)
{
    if (a->count % 2)
        return reply_errorf(out, "ERR wrong number of arguments for '%s' command", name), false;
    return fields_fit(a, 2, 2, out);
}

/* Sets the pairs from argument 2 on. False: answered or missed. */
static bool put_pairs(struct view *v, const struct cmd_args *a, const char *name, uint64_t *added,
                      struct reply *out)
{
    struct object o;
    struct fields_edit e;
    if (!pairs_fit(a, name, out) || !hash_get(v, a, &o, out)) return false;
    fields_begin(&e, v, &o);
    if (!fields_put_all(&e, a->v + 2, (a->count - 2) / 2, added)) return false;
    fields_end(&e);
    return true;
}

/* HSET key field value [field value ...] -> the number of new fields */
static void cmd_hset(struct view *v, const struct cmd_args *a, struct reply *out)
{
    uint64_t added;
    if (put_pairs(v, a, "hset", &added, out)) reply_i64(out, (int64_t)added);
}

/* HMSET key field value [field value ...] -> OK */
static void cmd_hmset(struct view *v, const struct cmd_args *a, struct reply *out)
{
    uint64_t added;
    if (put_pairs(v, a, "hmset", &added, out)) reply_ok(out);
}

static void put_one(struct view *v, struct object *o, struct bytes field, struct bytes value,
                    bool existed)
{
    struct fields_edit e;
    fields_begin(&e, v, o);
    fields_put(&e, field, value, existed);
    fields_end(&e);
}

/* HSETNX key field value -> 1 if it was set */
static void cmd_hsetnx(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    struct bytes old;
    if (!fields_fit(a, 2, 2, out) || !hash_get(v, a, &o, out)) return;
    enum view_result there = fields_get(v, &o, a->v[2], &old);
    if (v->missed) return;
    if (there == VIEW_ABSENT) put_one(v, &o, a->v[2], a->v[3], false);
    reply_i64(out, there == VIEW_ABSENT);
}

/* HINCRBY key field delta -> the sum */
static void cmd_hincrby(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    struct bytes old;
    int64_t delta, sum, was = 0;
    char text[REPLY_I64_MAX];

    if (!bytes_to_i64(a->v[3], &delta)) return reply_error(out, ERR_NOT_INTEGER);
    if (!fields_fit(a, 2, 2, out) || !hash_get(v, a, &o, out)) return;
    enum view_result there = fields_get(v, &o, a->v[2], &old);
    if (v->missed) return;
    if (there == VIEW_FOUND && !bytes_to_i64(old, &was))
        return reply_error(out, "ERR hash value is not an integer");
    if (__builtin_add_overflow(was, delta, &sum)) return reply_error(out, ERR_OVERFLOW);

    put_one(v, &o, a->v[2], bytes_of(text, reply_format_i64(text, sum)), there == VIEW_FOUND);
    reply_i64(out, sum);
}

/* HINCRBYFLOAT key field delta -> the sum, as text */
static void cmd_hincrbyfloat(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    struct bytes old;
    long double delta, was = 0;
    char text[REPLY_HUMAN_MAX];

    if (!bytes_to_double(a->v[3], &delta)) return reply_error(out, ERR_NOT_FLOAT);
    if (isinf(delta)) return reply_error(out, "ERR value is NaN or Infinity");
    if (!fields_fit(a, 2, 2, out) || !hash_get(v, a, &o, out)) return;
    enum view_result there = fields_get(v, &o, a->v[2], &old);
    if (v->missed) return;
    if (there == VIEW_FOUND && !bytes_to_double(old, &was))
        return reply_error(out, "ERR hash value is not a float");
    if (isnan(was + delta) || isinf(was + delta))
        return reply_error(out, "ERR increment would produce NaN or Infinity");

    struct bytes sum = bytes_of(text, reply_format_human(text, was + delta));
    put_one(v, &o, a->v[2], sum, there == VIEW_FOUND);
    reply_bulk(out, sum);
}

/* ---- deleting ---- */

/* HDEL key field [field ...] -> how many were there */
static void cmd_hdel(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    struct fields_edit e;
    struct bytes old;
    int64_t gone = 0;

    if (!hash_get(v, a, &o, out)) return;
    fields_begin(&e, v, &o);
    for (uint32_t i = 2; i < a->count; i++) {
        enum view_result there = fields_get(v, &o, a->v[i], &old);
        if (v->missed) return;
        if (there == VIEW_ABSENT) continue;
        fields_delete(&e, a->v[i]);
        gone++;
    }
    fields_end(&e);
    reply_i64(out, gone);
}

/* HGETDEL key FIELDS n field [field ...] -> the values, which are deleted */
static void cmd_hgetdel(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    struct fields_edit e;
    struct bytes old;
    int64_t n;

    if (!bytes_equal_nocase(a->v[2], "fields"))
        return reply_error(out,
                           "ERR Mandatory argument FIELDS is missing or not at the right position");
    if (!bytes_to_i64(a->v[3], &n) || n < 1)
        return reply_error(out, "ERR Number of fields must be a positive integer");
    if (n != (int64_t)a->count - 4)
        return reply_error(out, "ERR The `numfields` parameter must match the number of arguments");
    if (!hash_get(v, a, &o, out)) return;

    reply_array(out, (size_t)n);
    fields_begin(&e, v, &o);
    for (uint32_t i = 4; i < a->count; i++) {
        enum view_result there = fields_get(v, &o, a->v[i], &old);
        if (v->missed) return;
        if (there == VIEW_ABSENT) {
            reply_nil(out);
            continue;
        }
        reply_bulk(out, old);
        fields_delete(&e, a->v[i]);
    }
    fields_end(&e);
}

/* ---- reading fields ---- */

static void reply_field(struct view *v, const struct object *o, struct bytes field,
                        struct reply *out)
{
    struct bytes value;
    switch (fields_get(v, o, field, &value)) {
    case VIEW_FOUND: reply_bulk(out, value); break;
    case VIEW_ABSENT: reply_nil(out); break;
    case VIEW_MISS: break;
    }
}

static void cmd_hget(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (hash_get(v, a, &o, out)) reply_field(v, &o, a->v[2], out);
}

static void cmd_hmget(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (!hash_get(v, a, &o, out)) return;
    reply_array(out, a->count - 2);
    for (uint32_t i = 2; i < a->count && !v->missed; i++) reply_field(v, &o, a->v[i], out);
}

static void cmd_hexists(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    struct bytes value;
    if (!hash_get(v, a, &o, out)) return;
    enum view_result there = fields_get(v, &o, a->v[2], &value);
    if (!v->missed) reply_i64(out, there == VIEW_FOUND);
}

static void cmd_hstrlen(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    struct bytes value;
    if (!hash_get(v, a, &o, out)) return;
    (void)fields_get(v, &o, a->v[2], &value);
    if (!v->missed) reply_i64(out, (int64_t)value.size);
}

static void cmd_hlen(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (hash_get(v, a, &o, out)) reply_i64(out, (int64_t)o.count);
}

/* ---- reading all ---- */

enum { WITH_NAME = 1, WITH_VALUE = 2 };

struct all {
    struct reply *out;
    int with;
    uint64_t seen;
};

static bool all_one(void *ctx, struct bytes name, struct bytes value)
{
    struct all *all = ctx;
    if (all->with & WITH_NAME) reply_bulk(all->out, name);
    if (all->with & WITH_VALUE) reply_bulk(all->out, value);
    all->seen++;
    return true;
}

/* The items after an array's or map's head that promised o->count of them. */
static void reply_all(struct view *v, const struct object *o, int with, struct reply *out)
{
    struct all all = {out, with, 0};
    if (fields_each(v, o, (struct bytes){0}, all_one, &all)) ASSERT(all.seen == o->count);
}

static void cmd_hgetall(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (!hash_get(v, a, &o, out)) return;
    reply_map(out, o.count);
    reply_all(v, &o, WITH_NAME | WITH_VALUE, out);
}

static void cmd_hkeys(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (!hash_get(v, a, &o, out)) return;
    reply_array(out, o.count);
    reply_all(v, &o, WITH_NAME, out);
}

static void cmd_hvals(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    if (!hash_get(v, a, &o, out)) return;
    reply_array(out, o.count);
    reply_all(v, &o, WITH_VALUE, out);
}

/* ---- HRANDFIELD: fields have no rank in an ordered store, so the walk is as long as the last
 * field chosen; what is chosen is uniform ---- */

#define RANDOM_COUNT_MAX                                                                           \
    (1 << 20) /* with repetition: the reply is as long as the client says, so it needs a limit */
#define RANDOM_REPLY_MAX (64u << 20)

struct choice {
    uint64_t index;         /* rank of the field */
    uint32_t turn;          /* place in the reply */
    size_t at, name, value; /* its bytes in `text` */
};

struct choosing {
    struct choice *choices; /* by index */
    uint32_t count, at;
    uint64_t index;
    struct buf text;
};

static bool choose_one(void *ctx, struct bytes name, struct bytes value)
{
    struct choosing *c = ctx;
    size_t start = c->text.size;

    if (c->at < c->count && c->choices[c->at].index == c->index) {
        buf_append_bytes(&c->text, name);
        buf_append_bytes(&c->text, value);
    }
    for (; c->at < c->count && c->choices[c->at].index == c->index; c->at++) {
        struct choice *chosen = &c->choices[c->at];
        chosen->at = start;
        chosen->name = name.size;
        chosen->value = value.size;
    }
    c->index++;
    return c->at < c->count;
}

static int choice_by_index(const void *a, const void *b)
{
    const struct choice *x = a, *y = b;
    return (x->index > y->index) - (x->index < y->index);
}

static int choice_by_turn(const void *a, const void *b)
{
    const struct choice *x = a, *y = b;
    return (x->turn > y->turn) - (x->turn < y->turn);
}

/* Different ranks for each choice: Floyd's way would need a set; walking all ranks costs no more
 * than the walk that follows. */
static void draw_distinct(struct view *v, struct choosing *c, uint64_t fields)
{
    uint32_t need = c->count;
    for (uint64_t index = 0; need; index++) {
        if (prng_below(&v->random, fields - index) >= need) continue;
        c->choices[c->count - need].index = index;
        need--;
    }
}

static void reply_choice(struct reply *out, const struct choosing *c, const struct choice *chosen,
                         bool values)
{
    const uint8_t *p = c->text.data + chosen->at;
    if (values && out->version > 2) reply_array(out, 2);
    reply_bulk(out, bytes_of(p, chosen->name));
    if (values) reply_bulk(out, bytes_of(p + chosen->name, chosen->value));
}

static void choose(struct view *v, const struct object *o, uint32_t count, bool repeat, bool values,
                   struct reply *out)
{
    struct choosing c = {.choices = mem_zalloc(count * sizeof(struct choice)), .count = count};
    size_t size = 0;

    for (uint32_t i = 0; i < count; i++) c.choices[i].turn = i;
    if (repeat)
        for (uint32_t i = 0; i < count; i++) c.choices[i].index = prng_below(&v->random, o->count);
    else
        draw_distinct(v, &c, o->count);
    qsort(c.choices, count, sizeof *c.choices, choice_by_index);
    if (fields_each(v, o, (struct bytes){0}, choose_one, &c)) {
        ASSERT(c.at == count);
        for (uint32_t i = 0; i < count; i++) size += c.choices[i].name + c.choices[i].value;
        if (repeat && size > RANDOM_REPLY_MAX) {
            reply_error(out, "ERR the reply would be longer than the limit of 64 MiB");
        } else {
            qsort(c.choices, count, sizeof *c.choices, choice_by_turn);
            reply_array(out, values && out->version == 2 ? 2 * (size_t)count : count);
            for (uint32_t i = 0; i < count; i++) reply_choice(out, &c, &c.choices[i], values);
        }
    }
    buf_deinit(&c.text);
    mem_free(c.choices);
}

static void random_field(struct view *v, const struct object *o, struct reply *out)
{
    struct choice one = {.index = prng_below(&v->random, o->count)};
    struct choosing c = {.choices = &one, .count = 1};
    if (fields_each(v, o, (struct bytes){0}, choose_one, &c)) {
        ASSERT(c.at == 1);
        reply_choice(out, &c, &one, false);
    }
    buf_deinit(&c.text);
}

/* HRANDFIELD key [count [WITHVALUES]]: count different fields, or -count that may repeat */
static void cmd_hrandfield(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    int64_t count = 0;
    bool values = a->count == 4;

    if (a->count > 2 && !bytes_to_i64(a->v[2], &count)) return reply_error(out, ERR_NOT_INTEGER);
    if (count < -RANDOM_COUNT_MAX)
        return reply_errorf(out, "ERR value is out of range, value must between %d and %lld",
                            -RANDOM_COUNT_MAX, LLONG_MAX);
    if (a->count > 4 || (values && !bytes_equal_nocase(a->v[3], "withvalues")))
        return reply_error(out, ERR_SYNTAX);
    if (!hash_get(v, a, &o, out)) return;

    if (a->count == 2) {
        if (o.type == OBJECT_NONE) return reply_nil(out);
        return random_field(v, &o, out);
    }
    if (o.type == OBJECT_NONE || count == 0) return reply_array(out, 0);
    if (count < 0) return choose(v, &o, (uint32_t)-count, true, values, out);
    ASSERT(o.count <= UINT32_MAX);
    choose(v, &o, (uint64_t)count < o.count ? (uint32_t)count : (uint32_t)o.count, false, values,
           out);
}

/* ---- HSCAN ----
 *
 * Up to SCAN_WHOLE fields come at once, as in Redis. Above, the cursor is the first 7 bytes of the
 * next field's name as a number (zero-padded, big-endian): it needs no memory of the walk and
 * survives any change of the hash, so a field that is there all the time is returned. Fields that
 * agree in these bytes are never divided between two calls: where many do (a common prefix of 7
 * bytes or more), they come in one reply, however many they are. The first group is returned by the
 * call with cursor 0, so 0 never means "go on". */

#define SCAN_WHOLE  512
#define PLACE_BYTES 7

static uint64_t field_place(struct bytes name)
{
    uint64_t place = 0;
    for (size_t i = 0; i < PLACE_BYTES; i++)
        place = place << 8 | (i < name.size ? name.data[i] : 0u);
    return place;
}

/* The least name with this place: trailing zeros are left out, for "a" stands before "a\0" and has
 * the same place. */
static struct bytes place_name(uint64_t place, uint8_t name[8])
{
    be64_put(name, place << 8);
    size_t size = PLACE_BYTES;
    while (size && name[size - 1] == 0) size--;
    return bytes_of(name, size);
}

struct hscan {
    const struct scan_options *options;
    struct reply items;
    size_t count;
    uint64_t visited, limit, place, next;
};

static bool hscan_one(void *ctx, struct bytes name, struct bytes value)
{
    struct hscan *s = ctx;
    uint64_t place = field_place(name);

    if (s->visited >= s->limit && place != s->place) {
        s->next = place;
        return false;
    }
    s->visited++;
    s->place = place;
    if (!scan_matches(s->options, name)) return true;
    reply_bulk(&s->items, name);
    s->count++;
    if (s->options->no_values) return true;
    reply_bulk(&s->items, value);
    s->count++;
    return true;
}

/* HSCAN key cursor [MATCH pattern] [COUNT n] [NOVALUES] */
static void cmd_hscan(struct view *v, const struct cmd_args *a, struct reply *out)
{
    struct object o;
    struct scan_options options;
    struct buf items = {0};
    uint64_t cursor;
    uint8_t name[8];

    if (!scan_cursor_parse(a->v[2], &cursor, out) || !hash_get(v, a, &o, out)) return;
    if (o.type == OBJECT_NONE) return scan_reply(out, 0, 0, &items);
    if (!scan_options_parse(&options, a, 3, true, out)) return;

    bool whole = o.count <= SCAN_WHOLE;
    if (!whole && cursor >> 8 * PLACE_BYTES) return scan_reply(out, 0, 0, &items);
    struct hscan s = {
        &options, {&items, out->version}, .limit = whole ? UINT64_MAX : options.count};
    if (fields_each(v, &o, whole ? (struct bytes){0} : place_name(cursor, name), hscan_one, &s)) {
        ASSERT(s.next == 0 || (!whole && s.next > cursor));
        scan_reply(out, s.next, s.count, &items);
    }
    buf_deinit(&items);
}

/* ---- rows ---- */

#define KEY .first = 1, .last = 1, .step = 1, .group = "hash"

const struct command hashes_commands[] = {
    {"hdel", NULL, -3, CMD_WRITE | CMD_FAST, KEY, .fn = cmd_hdel, .since = "2.0.0",
     .complexity = "O(N) where N is the number of fields to delete",
     .summary = "Deletes fields; the key goes with its last field",
     .syntax = "key field [field ...]"},
    {"hexists", NULL, 3, CMD_READONLY | CMD_FAST, KEY, .fn = cmd_hexists, .since = "2.0.0",
     .complexity = "O(1)", .summary = "Tells whether a field exists", .syntax = "key field"},
    {"hget", NULL, 3, CMD_READONLY | CMD_FAST, KEY, .fn = cmd_hget, .since = "2.0.0",
     .complexity = "O(1)", .summary = "Returns a field's value", .syntax = "key field"},
    {"hgetall", NULL, 2, CMD_READONLY, KEY, .fn = cmd_hgetall, .since = "2.0.0",
     .complexity = "O(N) where N is the size of the hash",
     .summary = "Returns all fields and values", .syntax = "key"},
    {"hgetdel", NULL, -5, CMD_WRITE | CMD_FAST, KEY, .fn = cmd_hgetdel, .since = "8.0.0",
     .complexity = "O(N) where N is the number of fields",
     .summary = "Returns the values of fields and deletes them",
     .syntax = "key FIELDS numfields field [field ...]"},
    {"hincrby", NULL, 4, CMD_WRITE | CMD_DENYOOM | CMD_FAST, KEY, .fn = cmd_hincrby,
     .since = "2.0.0", .complexity = "O(1)",
     .summary = "Adds an integer to a field, which is 0 if there is none",
     .syntax = "key field increment"},
    {"hincrbyfloat", NULL, 4, CMD_WRITE | CMD_DENYOOM | CMD_FAST, KEY, .fn = cmd_hincrbyfloat,
     .since = "2.6.0", .complexity = "O(1)",
     .summary = "Adds a number to a field, which is 0 if there is none",
     .syntax = "key field increment"},
    {"hkeys", NULL, 2, CMD_READONLY, KEY, .fn = cmd_hkeys, .since = "2.0.0",
     .complexity = "O(N) where N is the size of the hash", .summary = "Returns all fields",
     .syntax = "key"},
    {"hlen", NULL, 2, CMD_READONLY | CMD_FAST, KEY, .fn = cmd_hlen, .since = "2.0.0",
     .complexity = "O(1)", .summary = "Returns the number of fields", .syntax = "key"},
    {"hmget", NULL, -3, CMD_READONLY | CMD_FAST, KEY, .fn = cmd_hmget, .since = "2.0.0",
     .complexity = "O(N) where N is the number of fields asked for",
     .summary = "Returns the values of fields", .syntax = "key field [field ...]"},
    {"hmset", NULL, -4, CMD_WRITE | CMD_DENYOOM | CMD_FAST, KEY, .fn = cmd_hmset, .since = "2.0.0",
     .complexity = "O(N) where N is the number of fields to set",
     .summary = "Sets fields (HSET does the same and counts)",
     .syntax = "key field value [field value ...]"},
    {"hrandfield", NULL, -2, CMD_READONLY, KEY, .fn = cmd_hrandfield, .since = "6.2.0",
     .complexity = "O(N) where N is the size of the hash: fields are ordered, not numbered",
     .summary = "Returns random fields, each as likely as any other",
     .syntax = "key [count [WITHVALUES]]"},
    {"hscan", NULL, -3, CMD_READONLY, KEY, .fn = cmd_hscan, .since = "2.8.0",
     .complexity =
         "O(COUNT) a call, and the fields that share their first 7 bytes with the last one",
     .summary = "Walks over the fields and values of a hash",
     .syntax = "key cursor [MATCH pattern] [COUNT count] [NOVALUES]"},
    {"hset", NULL, -4, CMD_WRITE | CMD_DENYOOM | CMD_FAST, KEY, .fn = cmd_hset, .since = "2.0.0",
     .complexity = "O(N) where N is the number of fields to set",
     .summary = "Sets fields and returns how many are new",
     .syntax = "key field value [field value ...]"},
    {"hsetnx", NULL, 4, CMD_WRITE | CMD_DENYOOM | CMD_FAST, KEY, .fn = cmd_hsetnx, .since = "2.0.0",
     .complexity = "O(1)", .summary = "Sets a field only if it does not exist",
     .syntax = "key field value"},
    {"hstrlen", NULL, 3, CMD_READONLY | CMD_FAST, KEY, .fn = cmd_hstrlen, .since = "3.2.0",
     .complexity = "O(1)", .summary = "Returns the length of a field's value",
     .syntax = "key field"},
    {"hvals", NULL, 2, CMD_READONLY, KEY, .fn = cmd_hvals, .since = "2.0.0",
     .complexity = "O(N) where N is the size of the hash", .summary = "Returns all values",
     .syntax = "key"},
};
const size_t hashes_command_count = sizeof hashes_commands / sizeof *hashes_commands;
