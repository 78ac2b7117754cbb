#include "redis/once.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/mutant.h"
#include "redis/multi.h"
#include "ring/slot.h"
#include "shard/effects.h"
#include "shard/keys.h"

#define ERR_BAD   "ERR not a request as nodes send them to each other"
#define ERR_OTHER "ERR this token was used for another request; nothing was done"
#define ERR_RESP                                                                                   \
    "ERR the request with this token was done, and answered in another version of RESP: HELLO %u " \
    "and ask again"

/* ---- the request ---- */

bool once_takes(const struct command *c)
{
    return c->fn == multi_exec || (multi_takes(c) && c->flags & CMD_WRITE);
}

static bool arity_fits(const struct command *c, const struct cmd_args *a)
{
    struct buf text = {0};
    bool fits = command_check_arity(c, a, &(struct reply){&text, 2});
    buf_deinit(&text);
    return fits;
}

/* NULL: malformed. */
static const struct command *request_of(const struct cmd_args *a, struct cmd_args *request)
{
    if (a->count < 4 || a->v[2].size == 0 || a->v[2].size > ONCE_TOKEN_MAX) return NULL;
    *request = (struct cmd_args){a->v + 3, a->count - 3};
    const struct command *c = command_find(request, NULL);
    return c && once_takes(c) && arity_fits(c, request) ? c : NULL;
}

const struct command *once_request(const struct command *c, const struct cmd_args *a,
                                   struct cmd_args *request)
{
    *request = *a;
    if (c->fn != once_run) return c;
    const struct command *is = request_of(a, request);
    if (!is) *request = *a;
    return is ? is : c;
}

static void first_key(void *ctx, struct bytes key)
{
    int32_t *slot = ctx;
    if (*slot < 0) *slot = slot_of(key);
}

/* In the slot of its first key. */
static bool row_of(const struct command *c, const struct cmd_args *request, struct bytes token,
                   struct buf *out)
{
    int32_t slot = -1;
    if (c->fn == multi_exec)
        multi_keys(request, first_key, &slot);
    else
        (void)command_keys(c, request, first_key, &slot);
    if (slot >= 0) keys_once(out, (uint16_t)slot, token);
    return slot >= 0;
}

bool once_row(const struct command *c, const struct cmd_args *a, struct buf *out)
{
    struct cmd_args request;
    const struct command *is = c->fn == once_run ? request_of(a, &request) : NULL;
    return is && row_of(is, &request, a->v[2], out);
}

static void fold_command(void *ctx, const struct command *c, const struct cmd_args *a)
{
    uint64_t *print = ctx;
    (void)c;
    *print = hash_mix(*print + a->count);
    for (uint32_t i = 0; i < a->count; i++) *print = hash64(a->v[i], *print);
}

static uint64_t fingerprint(const struct command *c, const struct cmd_args *request)
{
    uint64_t print = c->fn == multi_exec;
    if (c->fn == multi_exec)
        multi_commands(request, fold_command, &print);
    else
        fold_command(&print, c, request);
    return print;
}

/* ---- what is kept ---- */

struct kept {
    uint64_t expire_ms, fingerprint;
    uint8_t version;
    struct bytes reply; /* borrowed as view_get's values */
};

static void index_key(struct bytes row, uint64_t ms, struct buf *out)
{
    keys_once_expiry(out, be16_get(row.data), ms, keys_user(row, KEYS_ONCE_HEAD));
}

static void kept_delete(struct view *v, struct bytes row, uint64_t expire_ms)
{
    struct buf index = {0};
    index_key(row, expire_ms, &index);
    view_del(v, row);
    view_del(v, buf_bytes(&index));
    buf_deinit(&index);
}

/* Whoever meets one whose time has come deletes it. */
static enum view_result kept_get(struct view *v, struct bytes row, struct kept *k)
{
    struct bytes value;
    enum view_result found = view_get(v, row, &value);
    if (found != VIEW_FOUND) return found;
    struct reader r = reader_of(value);
    k->expire_ms = reader_u64(&r);
    k->fingerprint = reader_u64(&r);
    k->version = reader_u8(&r);
    k->reply = reader_take(&r, reader_left(&r));
    ASSERT(!r.bad);
    if (v->now_ms <= (int64_t)k->expire_ms) return VIEW_FOUND;
    kept_delete(v, row, k->expire_ms);
    return VIEW_ABSENT;
}

static void kept_put(struct view *v, struct bytes row, const struct kept *k)
{
    struct buf value = {0}, index = {0};
    buf_u64(&value, k->expire_ms);
    buf_u64(&value, k->fingerprint);
    buf_u8(&value, k->version);
    buf_append_bytes(&value, k->reply);
    index_key(row, k->expire_ms, &index);
    view_put(v, row, buf_bytes(&value));
    view_put(v, buf_bytes(&index), (struct bytes){0});
    buf_deinit(&value), buf_deinit(&index);
}

static void kept_answer(const struct kept *k, uint64_t print, struct reply *out)
{
    if (k->fingerprint != print)
        reply_error(out, ERR_OTHER);
    else if (k->version != out->version)
        reply_errorf(out, ERR_RESP, k->version);
    else
        buf_append_bytes(out->out, k->reply);
}

/* ---- evaluating ---- */

static void run_and_keep(struct view *v, struct bytes row, const struct command *c,
                         const struct cmd_args *request, uint64_t print, bool nil,
                         struct reply *out)
{
    size_t before = out->out->size;
    if (nil)
        reply_nil_array(out);
    else
        c->fn(v, request, out);
    if (v->missed || MUTANT(MUTANT_ONCE_UNKEPT)) return;
    struct bytes reply = bytes_of(out->out->data + before, out->out->size - before);
    if (reply.size > ONCE_REPLY_MAX)
        v->refused = VIEW_ANSWER_TOO_LARGE;
    else
        kept_put(v, row,
                 &(struct kept){(uint64_t)(v->now_ms + ONCE_KEEP_MS), print, out->version, reply});
}

static void once(struct view *v, const struct cmd_args *a, struct reply *out, bool nil)
{
    struct cmd_args request;
    struct buf row = {0};
    struct kept kept;
    const struct command *c = request_of(a, &request);
    if (!c || !row_of(c, &request, a->v[2], &row)) {
        reply_error(out, ERR_BAD);
        buf_deinit(&row);
        return;
    }
    uint64_t print = fingerprint(c, &request);
    bool blind = !v->locks && MUTANT(MUTANT_ONCE_UNREAD);
    enum view_result found = blind ? VIEW_ABSENT : kept_get(v, buf_bytes(&row), &kept);
    if (found == VIEW_FOUND)
        kept_answer(&kept, print, out);
    else if (found == VIEW_ABSENT)
        run_and_keep(v, buf_bytes(&row), c, &request, print, nil, out);
    buf_deinit(&row);
}

void once_run(struct view *v, const struct cmd_args *a, struct reply *out)
{
    once(v, a, out, false);
}

void once_nil(struct view *v, const struct cmd_args *a, struct reply *out)
{
    once(v, a, out, true);
}

/* Of all COMMITs the same: a client that asks again may meanwhile have read, and written, other
 * things. */
#define PRINT_COMMIT 0x434f4d4d4954ull

enum view_result once_commit(struct view *v, struct bytes row, struct reply *out)
{
    struct kept kept;
    size_t before = out->out->size;
    enum view_result found = kept_get(v, row, &kept);
    if (found == VIEW_FOUND && kept.fingerprint != PRINT_COMMIT)
        reply_error(out, ERR_OTHER);
    else if (found != VIEW_MISS)
        reply_ok(out);
    if (found == VIEW_ABSENT && !MUTANT(MUTANT_ONCE_UNKEPT)) {
        struct bytes reply = bytes_of(out->out->data + before, out->out->size - before);
        uint64_t expire_ms = (uint64_t)(v->now_ms + ONCE_KEEP_MS);
        kept_put(v, row, &(struct kept){expire_ms, PRINT_COMMIT, out->version, reply});
    }
    return found;
}

bool once_did(const struct view *v)
{
    struct reader r = reader_of(buf_bytes(&v->effects));
    struct effect e;
    while (effects_next(&r, &e) == 1)
        if (e.op > EFFECT_TRASH || e.key.size < 3 ||
            (e.key.data[2] != KEYS_ONCE && e.key.data[2] != KEYS_ONCE_EXPIRY))
            return true;
    return false;
}

void once_expire(struct view *v, struct bytes index)
{
    struct buf row = {0};
    struct kept kept;
    keys_once(&row, be16_get(index.data), keys_user(index, KEYS_EXPIRY_HEAD));
    (void)kept_get(v, buf_bytes(&row), &kept);
    buf_deinit(&row);
}
