/* IDEMPOTENT: a request with a token (redis/once.h), as a client asks it. What only reads is done
 * as if it had none. */
#include "node/request.h"
#include "base/mem.h"
#include "redis/multi.h"
#include "redis/once.h"
#include "redis/script.h"

static void once_send(struct client *c, struct bytes token, const struct cmd_args *request,
                      struct reply *out)
{
    struct cmd_args a = {mem_alloc((3 + request->count) * sizeof(struct bytes)),
                         3 + request->count};
    a.v[0] = BYTES("SYNOD"), a.v[1] = BYTES("ONCE"), a.v[2] = token;
    memcpy(a.v + 3, request->v, request->count * sizeof(struct bytes));
    dispatch_keyed(c, command_named("synod|once"), &a, false, out);
    mem_free(a.v);
}

static bool is_called(const struct command *cmd, const char *name)
{
    return !cmd->parent && strcmp(cmd->name, name) == 0;
}

static bool is_refused(const struct client *c, struct bytes token, const struct command *cmd,
                       const struct cmd_args *request, struct reply *out)
{
    if (token.size == 0 || token.size > ONCE_TOKEN_MAX)
        reply_errorf(out, "ERR a token has 1 to %u bytes", ONCE_TOKEN_MAX);
    else if (is_called(cmd, "exec") || is_called(cmd, "commit"))
        return false;
    else if (multi_count(c) >= 0)
        reply_error(out, "ERR inside MULTI only EXEC has a token: IDEMPOTENT token EXEC");
    else if (!multi_takes(cmd))
        reply_errorf(out, "ERR IDEMPOTENT is for EXEC, COMMIT and commands on keys, not for '%s'",
                     cmd->name);
    else if (script_is(cmd) && bytes_equal(request->v[2], BYTES("0")))
        reply_error(out, "ERR a script with a token needs a key: the answer is kept beside it");
    else if (!c->node->group_count)
        reply_error(out, TEXT_NOT_JOINED);
    else
        return false;
    return true;
}

void once_ask(struct client *c, const struct cmd_args *a, struct reply *out)
{
    struct cmd_args request = {a->v + 2, a->count - 2};
    const struct command *cmd = command_find(&request, NULL);
    if (!cmd || cmd->flags & CMD_INTERNAL) {
        command_unknown(&request, out);
        multi_break(c);
    } else if (!multi_ends_badly(c, cmd, &request, out)) {
        if (!command_check_arity(cmd, &request, out) || is_refused(c, a->v[1], cmd, &request, out))
            multi_break(c);
        else if (is_called(cmd, "exec"))
            multi_end_exec(c, false, a->v[1], out);
        else if (is_called(cmd, "commit"))
            session_commit(c, cmd, &request, a->v[1], out);
        else if (once_takes(cmd))
            once_send(c, a->v[1], &request, out);
        else
            dispatch_keyed(c, cmd, &request, false, out);
    }
}
