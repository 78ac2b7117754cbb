#include "redis/world.h"
#include "base/assert.h"
#include "base/mem.h"
#include "redis/object.h"
#include "ring/slot.h"
#include "shard/effects.h"
#include "shard/keys.h"

void world_init(struct world *w)
{
    *w = (struct world){.now_ms = 1700000000000, .seed = 1, .position = 1, .version = 2};
    w->keys_of_slot = mem_zalloc(SLOT_COUNT * sizeof *w->keys_of_slot);
    view_init(&w->view);
}

static void row_deinit(struct world_row *row)
{
    buf_deinit(&row->key);
    buf_deinit(&row->value);
}

static void fetched_clear(struct world *w)
{
    for (uint32_t i = 0; i < w->fetched_count; i++) {
        buf_deinit(&w->fetched[i].lo);
        buf_deinit(&w->fetched[i].hi);
    }
    w->fetched_count = 0;
}

void world_deinit(struct world *w)
{
    for (size_t i = 0; i < w->count; i++) row_deinit(&w->rows[i]);
    fetched_clear(w);
    mem_free(w->fetched);
    mem_free(w->rows);
    mem_free(w->keys_of_slot);
    view_deinit(&w->view);
    resp_args_deinit(&w->args);
    buf_deinit(&w->first);
    buf_deinit(&w->second);
    buf_deinit(&w->effects);
    buf_deinit(&w->text);
    *w = (struct world){0};
}

/* ---- the source ---- */

/* Index of the first row with a key >= `key`. */
static size_t row_find(const struct world *w, struct bytes key)
{
    size_t lo = 0, hi = w->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (bytes_compare(buf_bytes(&w->rows[mid].key), key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool row_is(const struct world *w, size_t i, struct bytes key)
{
    return i < w->count && bytes_equal(buf_bytes(&w->rows[i].key), key);
}

/* Is all of [lo, hi), or the key lo if hi is empty, at hand? */
static bool at_hand(const struct world *w, struct bytes lo, struct bytes hi)
{
    if (!w->missing) return true;
    for (uint32_t i = 0; i < w->fetched_count; i++) {
        struct bytes flo = buf_bytes(&w->fetched[i].lo), fhi = buf_bytes(&w->fetched[i].hi);
        if (fhi.size == 0 && hi.size == 0 && bytes_equal(flo, lo)) return true;
        if (fhi.size == 0 || bytes_compare(flo, lo) > 0) continue;
        if (hi.size ? bytes_compare(hi, fhi) <= 0 : bytes_compare(lo, fhi) < 0) return true;
    }
    return false;
}

static enum view_result source_get(void *ctx, struct bytes key, struct bytes *value)
{
    struct world *w = ctx;
    if (!at_hand(w, key, (struct bytes){0})) return VIEW_MISS;
    size_t i = row_find(w, key);
    if (!row_is(w, i, key)) return VIEW_ABSENT;
    *value = buf_bytes(&w->rows[i].value);
    return VIEW_FOUND;
}

/* A range that is not at hand is visited for its first half, as a cache may hold a part; then it
 * misses. */
static enum view_result source_range(void *ctx, struct bytes lo, struct bytes hi, bool reverse,
                                     view_each *each, void *each_ctx)
{
    struct world *w = ctx;
    size_t from = row_find(w, lo), to = row_find(w, hi), visited = 0;
    bool whole = at_hand(w, lo, hi);

    ASSERT(hi.size > 0 && from <= to);
    for (size_t n = to - from; n > 0; n--, visited++) {
        const struct world_row *row = reverse ? &w->rows[from + n - 1] : &w->rows[to - n];
        if (!whole && visited >= (to - from) / 2) return VIEW_MISS;
        if (!each(each_ctx, buf_bytes(&row->key), buf_bytes(&row->value))) return VIEW_FOUND;
    }
    return whole ? VIEW_ABSENT : VIEW_MISS;
}

static void fetch(struct world *w)
{
    if (w->fetched_count == w->fetched_capacity) {
        w->fetched_capacity = w->fetched_capacity ? 2 * w->fetched_capacity : 16;
        w->fetched = mem_realloc(w->fetched, w->fetched_capacity * sizeof *w->fetched);
    }
    struct world_fetch *f = &w->fetched[w->fetched_count++];
    *f = (struct world_fetch){0};
    buf_append_bytes(&f->lo, buf_bytes(&w->view.miss_lo));
    buf_append_bytes(&f->hi, buf_bytes(&w->view.miss_hi));
    w->misses++;
}

/* ---- applying ---- */

static void row_put(struct world *w, struct bytes key, struct bytes value)
{
    size_t i = row_find(w, key);
    if (!row_is(w, i, key)) {
        if (w->count == w->capacity) {
            w->capacity = w->capacity ? 2 * w->capacity : 64;
            w->rows = mem_realloc(w->rows, w->capacity * sizeof *w->rows);
        }
        memmove(&w->rows[i + 1], &w->rows[i], (w->count - i) * sizeof *w->rows);
        w->rows[i] = (struct world_row){0};
        w->count++;
        buf_append_bytes(&w->rows[i].key, key);
    }
    buf_clear(&w->rows[i].value);
    buf_append_bytes(&w->rows[i].value, value);
}

static void rows_remove(struct world *w, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) row_deinit(&w->rows[i]);
    if (from < to) memmove(&w->rows[from], &w->rows[to], (w->count - to) * sizeof *w->rows);
    w->count -= to - from;
}

static void trash(struct world *w, struct bytes prefix)
{
    size_t from = row_find(w, prefix), to = from;
    while (to < w->count && w->rows[to].key.size >= prefix.size &&
           memcmp(w->rows[to].key.data, prefix.data, prefix.size) == 0)
        to++;
    rows_remove(w, from, to);
}

static void apply(struct world *w, struct bytes effects)
{
    struct reader r = reader_of(effects);
    struct effect e;
    int more;

    while ((more = effects_next(&r, &e)) == 1) {
        size_t i = row_find(w, e.key);
        switch (e.op) {
        case EFFECT_PUT: row_put(w, e.key, e.value); break;
        case EFFECT_DEL: rows_remove(w, i, i + row_is(w, i, e.key)); break;
        case EFFECT_TRASH: trash(w, e.key); break;
        case EFFECT_WIPE:
            rows_remove(w, 0, w->count);
            memset(w->keys_of_slot, 0, SLOT_COUNT * sizeof *w->keys_of_slot);
            w->keys = 0;
            break;
        case EFFECT_COUNT:
            w->keys_of_slot[e.slot] += e.delta;
            w->keys += e.delta;
            break;
        default: fail_msg("an effect that is none: %d", e.op);
        }
    }
    assert_int_equal(more, 0);
}

/* ---- running ---- */

static void evaluate(struct world *w, const struct command *c, const struct cmd_args *a,
                     struct buf *out)
{
    static const struct view_source vtable = {source_get, source_range, NULL};
    struct view_source source = vtable;
    struct reply reply = {out, w->version};

    source.ctx = w;
    buf_clear(out);
    view_begin(&w->view, &source, w->now_ms, w->seed, w->position << 16, 0, SLOT_COUNT);
    w->view.keys = w->keys;
    w->view.scripts = w->scripts;
    c->fn(&w->view, a, &reply);
}

/* Again from the start until nothing is missing: replies and effects must not know the difference.
 */
static void evaluate_with_misses(struct world *w, const struct command *c, const struct cmd_args *a)
{
    fetched_clear(w);
    w->missing = true;
    w->misses = 0;
    evaluate(w, c, a, &w->second);
    while (w->view.missed) {
        assert_true(w->misses < 100000); /* else the command asks for the same thing for ever */
        fetch(w);
        evaluate(w, c, a, &w->second);
    }
    w->missing = false;
    if (!bytes_equal(buf_bytes(&w->first), buf_bytes(&w->second)))
        fail_msg("%s answers otherwise after misses", c->name);
    if (!bytes_equal(buf_bytes(&w->effects), buf_bytes(&w->view.effects)))
        fail_msg("%s writes otherwise after misses", c->name);
}

struct bytes world_run_raw(struct world *w, struct bytes *v, uint32_t count)
{
    struct cmd_args a = {v, count};
    struct reply reply = {&w->first, w->version};
    const struct command *c = command_find(&a, NULL);

    w->wrote = false;
    buf_clear(&w->first);
    if (!c) {
        command_unknown(&a, &reply);
    } else if (!command_check_arity(c, &a, &reply) || !command_check_keys(c, &a, &reply)) {
        assert_true(w->first.size > 0);
    } else if (!c->fn) {
        if (strcmp(c->parent ? c->parent : c->name, "command") == 0)
            command_command(&a, &reply);
        else
            reply_errorf(&reply, "ERR '%s' needs a node", c->name);
    } else {
        evaluate(w, c, &a, &w->first);
        assert_false(w->view.missed);
        buf_clear(&w->effects);
        buf_append_bytes(&w->effects, buf_bytes(&w->view.effects));
        if (!w->once) evaluate_with_misses(w, c, &a);
        w->wrote = w->effects.size > 0;
        apply(w, buf_bytes(&w->effects));
        w->position++;
        w->seed++;
        if (!w->once) world_check(w);
    }
    assert_int_equal(resp_reply_size(buf_bytes(&w->first)), w->first.size);
    return buf_bytes(&w->first);
}

const char *world_run_args(struct world *w, struct bytes *v, uint32_t count)
{
    struct bytes reply = world_run_raw(w, v, count);
    buf_clear(&w->text);
    world_text(reply, &w->text);
    buf_u8(&w->text, 0);
    return (const char *)w->text.data;
}

const char *world_run(struct world *w, const char *line)
{
    struct buf request = {0};
    buf_printf(&request, "%s\r\n", line);
    resp_reset(&w->args);
    int64_t size = resp_parse(&w->args, buf_bytes(&request));
    if (size != (int64_t)request.size) fail_msg("not a line: %s", line);
    const char *text = world_run_args(w, w->args.v, w->args.count);
    buf_deinit(&request);
    return text;
}

/* ---- replies as text ---- */

static struct bytes take_line(struct reader *r)
{
    struct bytes rest = bytes_of(r->at, reader_left(r));
    const uint8_t *end = memmem(rest.data, rest.size, "\r\n", 2);
    assert_non_null(end);
    struct bytes line = reader_take(r, (size_t)(end - rest.data));
    reader_take(r, 2);
    return line;
}

static void quoted(struct bytes s, struct buf *out)
{
    buf_u8(out, '\'');
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        if (c == '\n')
            buf_printf(out, "\\n");
        else if (c == '\r')
            buf_printf(out, "\\r");
        else if (c == '\'' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < 32 || c > 126)
            buf_printf(out, "\\x%02x", c);
        else
            buf_u8(out, c);
    }
    buf_u8(out, '\'');
}

static void text_of(struct reader *r, struct buf *out);

static void text_of_many(struct reader *r, struct buf *out, int64_t count, const char *open,
                         const char *close, bool pairs)
{
    buf_printf(out, "%s", open);
    for (int64_t i = 0; i < count; i++) {
        if (i) buf_printf(out, "%s", ", ");
        text_of(r, out);
        if (!pairs) continue;
        buf_printf(out, ": ");
        text_of(r, out);
    }
    buf_printf(out, "%s", close);
}

static void text_of(struct reader *r, struct buf *out)
{
    struct bytes line = take_line(r), rest = bytes_of(line.data + 1, line.size - 1);
    int64_t n = 0;

    ASSERT(line.size > 0);
    (void)bytes_to_i64(rest, &n);
    switch (line.data[0]) {
    case '$':
        if (n < 0) {
            buf_printf(out, "nil");
            break;
        }
        quoted(reader_take(r, (size_t)n), out);
        reader_take(r, 2);
        break;
    case '=':
        buf_printf(out, "txt:");
        reader_take(r, 4);
        quoted(reader_take(r, (size_t)n - 4), out);
        reader_take(r, 2);
        break;
    case '*':
        if (n < 0)
            buf_printf(out, "nil-array");
        else
            text_of_many(r, out, n, "[", "]", false);
        break;
    case '%': text_of_many(r, out, n, "{", "}", true); break;
    case '~': text_of_many(r, out, n, "set[", "]", false); break;
    case '_': buf_printf(out, "nil"); break;
    case '#': buf_printf(out, rest.data[0] == 't' ? "true" : "false"); break;
    case ',': buf_append_bytes(out, line); break;
    default: buf_append_bytes(out, rest); break;
    }
}

void world_text(struct bytes reply, struct buf *out)
{
    struct reader r = reader_of(reply);
    text_of(&r, out);
    assert_false(r.bad);
    assert_int_equal(reader_left(&r), 0);
}

/* ---- invariants ---- */

static uint8_t row_kind(const struct world_row *row)
{
    return row->key.size > 2 ? row->key.data[2] : 0;
}

size_t world_rows(const struct world *w, uint8_t kind)
{
    size_t n = 0;
    for (size_t i = 0; i < w->count; i++) n += row_kind(&w->rows[i]) == kind;
    return n;
}

static size_t rows_below(const struct world *w, struct bytes prefix)
{
    size_t from = row_find(w, prefix), i = from;
    while (i < w->count && w->rows[i].key.size >= prefix.size &&
           memcmp(w->rows[i].key.data, prefix.data, prefix.size) == 0)
        i++;
    return i - from;
}

/* The fields of a packed hash; they rise. */
static uint64_t pack_count(struct bytes pack)
{
    struct reader r = reader_of(pack);
    struct bytes last = {0};
    uint64_t count = 0;
    for (; reader_left(&r); count++) {
        struct bytes name = reader_blob(&r);
        assert_true(!count || bytes_compare(last, name) < 0);
        (void)reader_blob(&r);
        last = name;
    }
    assert_false(r.bad);
    return count;
}

void world_check(struct world *w)
{
    size_t metas = 0, expiries = 0, elements = 0;
    int64_t counted = 0;
    struct buf key = {0};

    for (size_t i = 0; i < w->count; i++) {
        struct object o;
        if (i)
            assert_true(bytes_compare(buf_bytes(&w->rows[i - 1].key), buf_bytes(&w->rows[i].key)) <
                        0);
        if (row_kind(&w->rows[i]) != KEYS_META) continue;
        metas++;
        assert_true(object_decode(buf_bytes(&w->rows[i].key), buf_bytes(&w->rows[i].value), &o));
        assert_int_equal(o.slot, slot_of(o.key));
        if (o.expire_ms >= 0) {
            expiries++;
            keys_expiry(&key, o.slot, (uint64_t)o.expire_ms, o.key);
            assert_true(row_is(w, row_find(w, buf_bytes(&key)), buf_bytes(&key)));
        }
        if (o.type == OBJECT_STRING) continue;
        if (o.objid == 0) {
            assert_int_equal(pack_count(o.string), o.count);
            continue;
        }
        keys_sub(&key, o.slot, o.objid, (struct bytes){0});
        assert_int_equal(rows_below(w, buf_bytes(&key)), o.count);
        assert_true(o.count > 0);
        elements += o.count;
    }
    assert_int_equal(world_rows(w, KEYS_EXPIRY), expiries);
    assert_int_equal(world_rows(w, KEYS_SUB), elements);
    size_t once = world_rows(w, KEYS_ONCE);
    assert_int_equal(world_rows(w, KEYS_ONCE_EXPIRY), once);
    size_t system =
        world_rows(w, KEYS_SYSTEM) + world_rows(w, KEYS_SCRIPT) + world_rows(w, KEYS_JOB);
    assert_int_equal(metas + expiries + elements + 2 * once + system, w->count);
    for (uint32_t s = 0; s < SLOT_COUNT; s++) {
        assert_true(w->keys_of_slot[s] >= 0);
        counted += w->keys_of_slot[s];
    }
    assert_int_equal(counted, metas);
    assert_int_equal(w->keys, metas);
    buf_deinit(&key);
}
