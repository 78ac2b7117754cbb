/* EVALSHA and FCALL, at the node that a client is connected to: the command that travels carries
 * the code (redis/script.h). What is not known here is asked of group 0, which has all that was
 * loaded; meanwhile the client's command stays unread, and comes again (client.c).
 *
 * A body never changes, so one that is known is used. Libraries do change: what this node knows of
 * them is used for FRESH after it was asked for, and no longer; and never if a client of this node
 * has changed something since. That a function is not there is only said after asking. */
#include "node/request.h"
#include "base/mem.h"
#include "base/sha1.h"
#include "redis/script.h"

#include <stdlib.h>

#define FRESH      (1000 * MS)
#define ASK_WITHIN (5000 * MS)

#define ERR_UNREAD                                                                                 \
    "CLUSTERDOWN group 0, which keeps scripts and functions, has no leader; nothing was done"

struct script_name {
    struct bytes function, code;
};

/* ---- life ---- */

static uint64_t now_ns(void *ctx)
{
    return io_now(((struct node *)ctx)->io);
}

static void log_line(void *ctx, enum script_log level, struct bytes text)
{
    struct node *n = ctx;
    if (level >= SCRIPT_LOG_NOTICE)
        node_log(n, "script: %.*s", (int)text.size, (const char *)text.data);
}

void script_init(struct node *n)
{
    struct script_host host = {now_ns, log_line, n};
    n->scripts.engine = script_engine_new(&host);
}

void script_deinit(struct node *n)
{
    struct scripts *s = &n->scripts;
    script_engine_free(s->engine);
    buf_deinit(&s->rows), buf_deinit(&s->text);
    mem_free(s->name);
}

/* ---- stalling ---- */

static void stall(struct client *c)
{
    c->stalled = true;
    c->script_asked = c->script_failed = false;
    if (!c->stalled_since) c->stalled_since = c->node->now;
}

static void unstall(struct client *c, bool failed)
{
    c->stalled = false;
    c->script_asked = true;
    c->script_failed = failed;
    client_pause(c);
}

static void for_nobody(void *ctx, struct bytes reply)
{
    (void)ctx, (void)reply;
}

/* Its question may be under way. */
void script_client_gone(struct client *c)
{
    struct node *n = c->node;
    if (!c->stalled) return;
    for (struct list *l = n->requests.next; l != &n->requests; l = l->next) {
        struct request *r = LIST_OF(l, struct request, all);
        if (r->done && r->done_ctx == c) r->done = for_nobody;
    }
}

static void ask(struct node *n, const char *name, struct bytes arg,
                void (*done)(void *ctx, struct bytes reply), void *ctx)
{
    txn_ask_for(n, 0, &(struct txn_question){name, &arg, 1, done, ctx, NULL, ASK_WITHIN});
}

/* The bulk string of an answer. False: an error, or nothing. *nil: it says that there is none. */
static bool bulk_of(struct bytes reply, struct bytes *bulk, bool *nil)
{
    int64_t size;
    size_t line;
    *nil = false;
    if (!request_reply_number(reply, '$', &size, &line)) return false;
    *nil = size < 0;
    *bulk = bytes_of(reply.data + line, *nil ? 0 : (size_t)size);
    return true;
}

/* ---- libraries ---- */

static int by_function(const void *a, const void *b)
{
    const struct script_name *x = a, *y = b;
    return bytes_compare(x->function, y->function);
}

static void index_library(struct scripts *s, const struct script_library *l, uint32_t *capacity)
{
    struct script_function f;
    struct reader functions = reader_of(l->functions);
    for (uint64_t n = reader_varint(&functions); n; n--) {
        if (!script_function_get(&functions, &f)) return;
        if (s->names == *capacity) {
            *capacity = 2 * *capacity + 16;
            s->name = mem_realloc(s->name, *capacity * sizeof *s->name);
        }
        s->name[s->names++] = (struct script_name){f.name, l->code};
    }
}

/* Makes the table of all functions anew, from the rows. */
static void index_rows(struct scripts *s)
{
    struct reader r = reader_of(buf_bytes(&s->rows));
    struct script_library l;
    uint32_t capacity = 0;
    mem_free(s->name);
    s->name = NULL;
    s->names = 0;
    while (reader_left(&r) && script_library_get(reader_blob(&r), &l))
        index_library(s, &l, &capacity);
    if (s->names) qsort(s->name, s->names, sizeof *s->name, by_function);
}

static const struct script_name *function_named(const struct scripts *s, struct bytes name)
{
    struct script_name key = {.function = name};
    return s->names ? bsearch(&key, s->name, s->names, sizeof key, by_function) : NULL;
}

static void functions_came(void *ctx, struct bytes reply)
{
    struct node *n = ctx;
    struct scripts *s = &n->scripts;
    struct bytes bulk;
    bool nil, good = bulk_of(reply, &bulk, &nil);
    if (good && !nil) {
        struct reader r = reader_of(bulk);
        s->version = reader_u64(&r);
        buf_clear(&s->rows);
        buf_append_bytes(&s->rows, reader_take(&r, reader_left(&r)));
        index_rows(s);
    }
    *(good ? &s->asked_at : &s->failed_at) = s->asking_at;
    s->asking_at = 0;
    for (struct list *l = n->clients.next; l != &n->clients; l = l->next) {
        struct client *c = LIST_OF(l, struct client, link);
        if (c->stalled && c->stalled_for_functions) unstall(c, !good);
    }
}

static void ask_for_functions(struct node *n)
{
    struct scripts *s = &n->scripts;
    struct buf version = {0};
    if (s->asking_at) return;
    s->asking_at = n->now;
    buf_u64(&version, s->asked_at ? s->version : UINT64_MAX);
    ask(n, "synod|functions", buf_bytes(&version), functions_came, n);
    buf_deinit(&version);
}

/* ---- resolving ---- */

static enum script_resolved answer(struct client *c, const char *text)
{
    size_t before = c->held.size;
    reply_error(&(struct reply){&c->held, c->version}, text);
    c->last_command = "script";
    client_answer(c, HOLD_NONE, before);
    multi_break(c);
    return SCRIPT_ANSWERED;
}

static enum script_resolved resolve_function(struct client *c, struct bytes *name)
{
    struct node *n = c->node;
    struct scripts *s = &n->scripts;
    const struct script_name *found = function_named(s, *name);
    bool changed = s->asked_at <= s->changed_at;
    bool fresh = s->asked_at && !changed && n->now < s->asked_at + FRESH;
    bool asked_for_it = c->stalled_since && !changed && s->asked_at >= c->stalled_since;
    if (c->script_failed) return answer(c, ERR_UNREAD);
    if (!asked_for_it && !(fresh && found)) {
        stall(c);
        c->stalled_for_functions = true;
        ask_for_functions(n);
        return SCRIPT_STALL;
    }
    if (!found) return SCRIPT_GO; /* which says so */
    buf_clear(&s->text);
    script_put_function(&s->text, found->function, found->code);
    *name = buf_bytes(&s->text);
    return SCRIPT_GO;
}

static void body_came(void *ctx, struct bytes reply)
{
    struct client *c = ctx;
    struct bytes body;
    bool nil, good = bulk_of(reply, &body, &nil);
    if (good && !nil) script_engine_keep(c->node->scripts.engine, body);
    unstall(c, !good);
}

static void ask_for_body(struct client *c, struct bytes sha)
{
    char lower[SHA1_HEX];
    for (size_t i = 0; i < sizeof lower; i++) {
        uint8_t d = sha.data[i];
        lower[i] = (char)(d >= 'A' && d <= 'F' ? d + 32 : d);
    }
    stall(c);
    c->stalled_for_functions = false;
    ask(c->node, "synod|script", bytes_of(lower, sizeof lower), body_came, c);
}

static enum script_resolved resolve_sha(struct client *c, struct bytes *name, struct bytes *sha)
{
    struct bytes body;
    if (script_engine_body(c->node->scripts.engine, *sha, &body)) {
        *name = name->size == strlen("evalsha") ? BYTES("EVAL") : BYTES("EVAL_RO");
        *sha = body;
        return SCRIPT_GO;
    }
    if (c->script_failed) return answer(c, ERR_UNREAD);
    if (c->script_asked || sha->size != SHA1_HEX) return SCRIPT_GO; /* which says NOSCRIPT */
    ask_for_body(c, *sha);
    return SCRIPT_STALL;
}

static bool is(struct bytes word, const char *name)
{
    return bytes_equal_nocase(word, name);
}

/* SCRIPT EXISTS: what this node has met is known, too. */
static void mark_known(struct node *n, struct resp_args *a)
{
    struct bytes body;
    for (uint32_t i = 2; i < a->count; i++) {
        if (script_engine_body(n->scripts.engine, a->v[i], &body))
            a->v[i] = BYTES("+");
        else if (a->v[i].size != SHA1_HEX)
            a->v[i] = BYTES("-");
    }
}

static void look_at_container(struct node *n, struct resp_args *a)
{
    if (is(a->v[0], "script") && is(a->v[1], "exists")) mark_known(n, a);
    if (is(a->v[0], "script") && is(a->v[1], "flush")) script_engine_forget(n->scripts.engine);
    if (is(a->v[0], "function")) n->scripts.changed_at = n->now;
}

static enum script_resolved resolve_at(struct client *c, struct bytes *v)
{
    if (is(v[0], "evalsha") || is(v[0], "evalsha_ro")) return resolve_sha(c, &v[0], &v[1]);
    if (is(v[0], "fcall") || is(v[0], "fcall_ro")) return resolve_function(c, &v[1]);
    if (is(v[0], "eval") || is(v[0], "eval_ro")) script_engine_keep(c->node->scripts.engine, v[1]);
    return SCRIPT_GO;
}

/* Where the command stands that is done: behind TRACE, or IDEMPOTENT and its token. */
static uint32_t inner(const struct resp_args *a)
{
    if (is(a->v[0], "trace")) return 1;
    return is(a->v[0], "idempotent") ? 2 : 0;
}

enum script_resolved script_resolve(struct client *c)
{
    struct resp_args *a = &c->args;
    uint8_t first = a->v[0].size ? a->v[0].data[0] | 0x20 : 0;
    if (first != 'e' && first != 'f' && first != 's' && first != 't' && first != 'i')
        return SCRIPT_GO; /* nearly all */
    uint32_t at = inner(a);
    enum script_resolved resolved = SCRIPT_GO;
    if (at + 2 < a->count && c->node->group_count) resolved = resolve_at(c, a->v + at);
    if (a->count >= 2 && (first == 'f' || first == 's')) look_at_container(c->node, a);
    if (resolved != SCRIPT_STALL) {
        c->stalled_since = 0;
        c->script_asked = c->script_failed = false;
    }
    return resolved;
}

void script_done(struct node *n, const struct command *cmd)
{
    bool function = cmd->parent && strcmp(cmd->parent, "function") == 0;
    if (function && cmd->flags & CMD_WRITE) n->scripts.changed_at = n->now;
}

/* ---- keys of other groups ---- */

/* The script's code, where the command runs one by itself. */
static bool code_of(const struct command *cmd, const struct cmd_args *a, struct bytes *code)
{
    *code = a->v[1];
    return script_is(cmd) && strncmp(cmd->name, "eval", 4) == 0;
}

void script_note_abroad(struct node *n, const struct command *cmd, const struct cmd_args *a,
                        bool abroad)
{
    struct bytes code;
    if (code_of(cmd, a, &code)) script_engine_note_abroad(n->scripts.engine, code, abroad);
}

bool script_goes_abroad(struct node *n, const struct command *cmd, const struct cmd_args *a)
{
    struct bytes code;
    return code_of(cmd, a, &code) && script_engine_is_abroad(n->scripts.engine, code);
}
