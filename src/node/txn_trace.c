/* TRACE of a transaction over groups: what its coordinator asked of whom, and when.
 *
 * A trace belongs to all tries of one command, and to the client's request from the answer on: the
 * reply leaves when nothing of any try is open any more, so that it can tell how each group
 * finished, or TRACE_WAIT after the answer. Whatever is not traced pays for none of this but a look
 * at a pointer.
 *
 * The reply is lines of text and then the command's own, as that of trace.c. Programs
 * (cli/trace_picture.c) read of these lines:
 *
 *   group G: slots LO-HI, leader node N
 *   ASKED ANSWERED PHASE group G at node N: what came of it    times: us since the request, or -
 *   ASKED ANSWERED PHASE node N: what came of it               EVALUATE, ANSWER, TRY: here */
#include "base/assert.h"
#include "base/mem.h"
#include "node/txn.h"

#include <ctype.h>
#include <stdio.h>

#define STEPS_MAX  256
#define TRACE_WAIT (2000 * MS)
#define OUTCOME    88  /* bytes */
#define REPORT     256 /* bytes */

struct step {
    char phase[12];
    bool here; /* at the coordinator: no group's */
    uint32_t group;
    uint16_t node;
    uint64_t asked, answered; /* 0: not (yet) */
    char outcome[OUTCOME], report[REPORT];
};

struct txn_trace {
    struct node *node;
    struct request *r; /* answered but for this; NULL: not yet, or not any more */
    uint64_t began, answered, until;
    uint32_t holders, tries, open; /* holders: tries; open: steps without an answer */
    struct step *step;
    uint32_t steps, more; /* more: that found no room */
};

static uint64_t now(const struct txn_trace *trace)
{
    return io_now(trace->node->io);
}

static void put_text(char *out, size_t size, struct bytes text)
{
    size_t n = text.size < size - 1 ? text.size : size - 1;
    for (size_t i = 0; i < n; i++) out[i] = isprint(text.data[i]) ? (char)text.data[i] : ' ';
    out[n] = 0;
}

/* NULL: no room. */
static struct step *step_new(struct txn_trace *trace, const char *phase)
{
    if (trace->steps == STEPS_MAX) {
        trace->more++;
        return NULL;
    }
    if ((trace->steps & (trace->steps - 1)) == 0) /* 1, 2, 4, ... */
        trace->step =
            mem_realloc(trace->step, (trace->steps ? 2 * trace->steps : 1) * sizeof *trace->step);
    struct step *s = &trace->step[trace->steps++];
    *s = (struct step){.asked = now(trace)};
    snprintf(s->phase, sizeof s->phase, "%s", phase);
    return s;
}

static void step_here(struct txn_trace *trace, const char *phase, const char *outcome)
{
    struct step *s = step_new(trace, phase);
    if (!s) return;
    s->here = true;
    snprintf(s->outcome, sizeof s->outcome, "%s", outcome);
}

/* ---- its life ---- */

static void note_try(struct transaction *t)
{
    struct buf id = {0};
    char text[OUTCOME];
    txn_put_name(&id, t->id);
    snprintf(text, sizeof text, "%u, as transaction %.*s", ++t->trace->tries, (int)id.size,
             (const char *)id.data);
    step_here(t->trace, "TRY", text);
    buf_deinit(&id);
}

void txn_trace_begin(struct transaction *t)
{
    t->trace = mem_zalloc(sizeof *t->trace);
    t->trace->node = t->node;
    t->trace->began = now(t->trace);
    t->trace->holders = 1;
    note_try(t);
}

void txn_trace_again(const struct transaction *t, struct transaction *next)
{
    next->trace = t->trace;
    t->trace->holders++;
    note_try(next);
}

static void put_reply(struct txn_trace *trace);

/* The client gets what there is. */
static void leave(struct txn_trace *trace)
{
    struct request *r = trace->r;
    put_reply(trace);
    trace->r = NULL;
    r->children = 0;
    request_done(r);
}

void txn_trace_end(struct transaction *t)
{
    struct txn_trace *trace = t->trace;
    t->trace = NULL;
    if (--trace->holders) return;
    if (trace->r && !trace->node->dead) leave(trace);
    mem_free(trace->step);
    mem_free(trace);
}

void txn_trace_look(struct transaction *t)
{
    struct txn_trace *trace = t->trace;
    if (!trace->r) return;
    if (trace->node->now >= trace->until)
        leave(trace);
    else if (trace->until < trace->node->txn_at)
        trace->node->txn_at = trace->until;
}

void txn_trace_drop(struct transaction *t)
{
    t->trace->r = NULL; /* the node ends, and frees all requests itself */
}

/* ---- what is noted ---- */

uint32_t txn_trace_asked(struct transaction *t, uint32_t part, const char *name)
{
    struct node *n = t->node;
    char phase[12] = {0};
    const char *at = strchr(name, '|') + 1; /* "synod|prepare-free" */
    for (size_t i = 0; i + 1 < sizeof phase && at[i] && at[i] != '-'; i++)
        phase[i] = (char)toupper((unsigned char)at[i]);
    struct step *s = step_new(t->trace, phase);
    if (!s) return 0;
    const struct group *g = group_named(n, t->part[part].group);
    s->group = t->part[part].group;
    s->node = g ? group_leader_node(g) : 0;
    t->trace->open++;
    return t->trace->steps;
}

static const char *yes(const struct transaction *t, uint32_t part, const char *phase,
                       struct bytes reply)
{
    bool nil = reply.data[0] == '_' || (reply.size > 1 && reply.data[1] == '-');
    bool wrote = t->machine.commits && t->state[part].writes;
    switch (phase[0]) {
    case 'L': return nil ? "refused: a watched key was written to" : "locked";
    case 'H': return "all is still locked";
    case 'P': return bytes_equal(reply, BYTES(":0\r\n")) ? "it is not, nor will it be" : "prepared";
    case 'R': return bytes_equal(reply, BYTES(":1\r\n")) ? "committed" : "ended";
    case 'A': return "committed and applied";
    case 'D':
        return bytes_equal(reply, BYTES(":1\r\n")) ? "committed: this group is the anchor"
                                                   : "there is no such transaction (any more)";
    default: return wrote ? "applied" : "let go";
    }
}

void txn_trace_answered(struct transaction *t, uint32_t step, uint32_t part, struct bytes reply,
                        struct bytes report)
{
    struct step *s = &t->trace->step[step - 1];
    const struct group *g = group_named(t->node, s->group);
    t->trace->open--;
    s->answered = now(t->trace);
    if (g && group_leader_node(g)) s->node = group_leader_node(g);
    if (!reply.size)
        snprintf(s->outcome, sizeof s->outcome, "the node ended");
    else if (reply.data[0] == '-')
        put_text(s->outcome, sizeof s->outcome, bytes_of(reply.data + 1, reply.size - 3));
    else
        snprintf(s->outcome, sizeof s->outcome, "%s", yes(t, part, s->phase, reply));
    put_text(s->report, sizeof s->report, report);
}

void txn_trace_evaluates(struct transaction *t)
{
    step_here(t->trace, "EVALUATE", "");
}

void txn_trace_evaluated(struct transaction *t, const char *outcome)
{
    struct step *s = t->trace->steps ? &t->trace->step[t->trace->steps - 1] : NULL;
    if (!s || strcmp(s->phase, "EVALUATE") != 0 || s->answered) return; /* there was no room */
    s->answered = now(t->trace);
    snprintf(s->outcome, sizeof s->outcome, "%s", outcome);
}

void txn_trace_answer(struct transaction *t, struct request *r)
{
    struct txn_trace *trace = t->trace;
    struct bytes reply = buf_bytes(&r->reply);
    char text[OUTCOME] = "the client's reply is known";
    if (reply.size > 3 && reply.data[0] == '-')
        put_text(text, sizeof text, bytes_of(reply.data + 1, reply.size - 3));
    trace->answered = now(trace);
    trace->until = trace->node->now + TRACE_WAIT;
    trace->r = r;
    step_here(trace, "ANSWER", text);
    if (trace->until < trace->node->txn_at) trace->node->txn_at = trace->until;
}

/* ---- as text ---- */

static double us(const struct txn_trace *trace, uint64_t at)
{
    return (double)(at - trace->began) / 1000.0;
}

/* Its groups, each once, in the order in which they were first asked. */
static uint32_t put_groups(const struct txn_trace *trace, struct buf *out)
{
    const struct node *n = trace->node;
    uint32_t count = 0;
    for (uint32_t i = 0; i < trace->steps; i++) {
        const struct step *s = &trace->step[i];
        const struct group *g = s->here ? NULL : group_named(n, s->group);
        bool known = !g;
        for (uint32_t k = 0; k < i && !known; k++)
            known = !trace->step[k].here && trace->step[k].group == s->group;
        if (known) continue;
        count++;
        buf_printf(out, "group %u: slots %u-%u, leader node %u\n", s->group, g->slot_lo,
                   g->slot_hi ? g->slot_hi - 1 : 0, s->node);
    }
    return count;
}

static void put_step(const struct txn_trace *trace, const struct step *s, struct buf *out)
{
    buf_printf(out, "%10.1f  ", us(trace, s->asked));
    if (s->answered)
        buf_printf(out, "%11.1f  ", us(trace, s->answered));
    else
        buf_printf(out, "%11s  ", "-");
    buf_printf(out, "%-8s  ", s->phase);
    if (!s->here) buf_printf(out, "group %u at ", s->group);
    buf_printf(out, "node %u", s->here ? trace->node->identity.node : s->node);
    if (s->here || s->answered)
        buf_printf(out, ": %s\n", s->outcome);
    else
        buf_printf(out, ": not answered yet\n");
    if (s->report[0]) buf_printf(out, "%37s%s\n", "", s->report);
}

static void put_text_of(const struct txn_trace *trace, struct buf *out)
{
    struct buf groups = {0};
    uint32_t count = put_groups(trace, &groups);
    buf_printf(out, "transaction over %u group%s, coordinated by node %u, tries: %u\n", count,
               count == 1 ? "" : "s", trace->node->identity.node, trace->tries);
    buf_append_bytes(out, buf_bytes(&groups));
    buf_printf(out, "  asked us  answered us  phase     where: what came of it\n");
    for (uint32_t i = 0; i < trace->steps; i++) put_step(trace, &trace->step[i], out);
    if (trace->more) buf_printf(out, "... and %u more steps\n", trace->more);
    if (trace->open) buf_printf(out, "... %u steps are not answered yet\n", trace->open);
    buf_printf(out, "total at node %u: %.1f us to the answer, %.1f us until %s\n",
               trace->node->identity.node, us(trace, trace->answered), us(trace, now(trace)),
               trace->open ? "the rest was not waited for any longer" : "all was over");
    buf_deinit(&groups);
}

static void put_reply(struct txn_trace *trace)
{
    struct request *r = trace->r;
    struct buf whole = {0}, text = {0};
    put_text_of(trace, &text);
    trace_put_lines(&(struct reply){&whole, r->version}, buf_bytes(&text), buf_bytes(&r->reply));
    buf_deinit(&text);
    buf_deinit(&r->reply);
    r->reply = whole;
}
