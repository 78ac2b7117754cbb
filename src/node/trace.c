/* TRACE command ...: runs one command and answers its path with times, for people who want to see
 * how a write gets onto three disks.
 *
 * The leader keeps a timeline for each traced request and notes when its entry was sent, was on
 * disk and was chosen; the node that the client asked adds the steps before and after. On the wire
 * a traced reply is: size of the text:4, text, the command's own reply. What is asked of a group
 * for a transaction is told in one line, which its coordinator puts beside its own (txn_trace.c).
 */
#include "node/internal.h"
#include "base/assert.h"
#include "base/mem.h"
#include "redis/txn.h"

#include <stdio.h>

struct timeline {
    struct list link; /* node->traces */
    uint32_t group;
    bool brief;        /* one line will do */
    uint64_t position; /* 0: it wrote nothing */
    uint64_t lsn;
    uint64_t began, evaluated, appended, chosen;
    uint64_t sent[NODE_NODES_MAX + 1], disk[NODE_NODES_MAX + 1];
};

struct timeline *trace_begin(const struct request *r)
{
    struct node *n = r->node;
    struct timeline *t = mem_zalloc(sizeof *t);
    t->group = r->group;
    t->brief = txn_is(r->command);
    t->began = io_now(n->io);
    list_push(&n->traces, &t->link);
    return t;
}

void trace_end(struct timeline *t)
{
    if (!t) return;
    list_remove(&t->link);
    mem_free(t);
}

void trace_evaluated(struct node *n, struct timeline *t, uint64_t position)
{
    t->evaluated = io_now(n->io);
    t->position = position;
}

/* Calls `each` for the timelines of the group whose entry is at or below `upto`. */
#define TRACES_OF(n, g, upto, t)                                                                   \
    for (struct list *l_ = (n)->traces.next; l_ != &(n)->traces; l_ = l_->next)                    \
        for (struct timeline *t = LIST_OF(l_, struct timeline, link);                              \
             t && t->group == (g)->id && t->position && t->position <= (upto); t = NULL)

void trace_append(struct group *g, uint64_t position, uint64_t lsn)
{
    TRACES_OF(g->node, g, position, t)
    {
        if (t->position != position || t->appended) continue;
        t->appended = io_now(g->node->io);
        t->lsn = lsn;
    }
}

void trace_sent(struct group *g, uint64_t last, uint16_t node)
{
    TRACES_OF(g->node, g, last, t)
    {
        if (!t->sent[node]) t->sent[node] = io_now(g->node->io);
    }
}

void trace_synced(struct group *g, uint64_t lsn)
{
    TRACES_OF(g->node, g, UINT64_MAX, t)
    {
        uint64_t *at = &t->disk[g->node->identity.node];
        if (t->lsn && t->lsn <= lsn && !*at) *at = io_now(g->node->io);
    }
}

void trace_accepted(struct group *g, uint64_t upto, uint16_t node)
{
    TRACES_OF(g->node, g, upto, t)
    {
        if (!t->disk[node]) t->disk[node] = io_now(g->node->io);
    }
}

void trace_chosen(struct group *g, uint64_t position)
{
    TRACES_OF(g->node, g, position, t)
    {
        if (!t->chosen) t->chosen = io_now(g->node->io);
    }
}

static void line(struct buf *out, uint64_t began, uint64_t at, const char *what)
{
    if (at) buf_printf(out, "%+8.1f us  %s\n", (double)(at - began) / 1000.0, what);
}

/* Of a part of a transaction: what became of its entry, if it has one. Times are us since it was
 * evaluated. */
static void report_line(struct node *n, const struct timeline *t, struct buf *out)
{
    if (!t->position) return;
    const char *sign = ": ";
    buf_printf(out, "entry %llu", (unsigned long long)t->position);
    for (uint16_t i = 1; i <= n->node_max; i++) {
        if (!t->disk[i]) continue;
        buf_printf(out, "%son disk at node %u +%.1f us", sign, i,
                   (double)(t->disk[i] - t->evaluated) / 1000.0);
        sign = ", ";
    }
    if (t->chosen)
        buf_printf(out, "%schosen +%.1f us", sign, (double)(t->chosen - t->evaluated) / 1000.0);
}

/* What the leader knows, as text. */
void trace_report(struct node *n, const struct timeline *t, struct buf *out)
{
    char text[160];
    const struct group *g = n->group[t->group];
    if (t->brief) {
        report_line(n, t, out);
        return;
    }
    snprintf(text, sizeof text, "leader: node %u evaluates the command on its view of group %u",
             n->identity.node, t->group);
    line(out, t->began, t->evaluated, text);
    if (!t->position) {
        line(out, t->began, t->evaluated,
             "leader: nothing written; answered under the leader's lease (or a quorum's word), "
             "checked after the read");
        return;
    }
    snprintf(text, sizeof text,
             "leader: proposes the effects as the entry at position %llu, ballot %llu.%u",
             (unsigned long long)t->position, (unsigned long long)paxos_ballot_round(g->era_ballot),
             paxos_ballot_replica(g->era_ballot));
    line(out, t->began, t->appended, text);
    for (uint16_t i = 1; i <= n->node_max; i++) {
        snprintf(text, sizeof text, "Accept sent to node %u", i);
        line(out, t->began, t->sent[i], text);
    }
    for (uint16_t i = 1; i <= n->node_max; i++) {
        snprintf(text, sizeof text,
                 i == n->identity.node ? "on disk at node %u (the leader itself)"
                                       : "Accepted by node %u: it has it on disk",
                 i);
        line(out, t->began, t->disk[i], text);
    }
    line(out, t->began, t->chosen, "chosen (on disk at a majority) and applied at the leader");
    line(out, t->began, io_now(n->io), "reply released");
}

void trace_put_lines(struct reply *out, struct bytes text, struct bytes reply)
{
    size_t lines = 0, at = 0;
    for (size_t i = 0; i < text.size; i++) lines += text.data[i] == '\n';
    reply_array(out, lines + 1);
    while (at < text.size) {
        size_t end = at;
        while (text.data[end] != '\n') end++;
        reply_bulk(out, bytes_of(text.data + at, end - at));
        at = end + 1;
    }
    buf_append_bytes(out->out, reply);
}

/* What is read of a traced reply goes to the client as an array of lines and the command's own
 * reply, or to the coordinator apart. `wire` is text and reply as above. */
void trace_reply(struct request *r, struct bytes wire)
{
    struct node *n = r->node;
    struct buf whole = {0}, text = {0};
    struct reader in = reader_of(wire);
    struct bytes report = reader_take(&in, reader_u32(&in)),
                 reply = bytes_of(in.at, reader_left(&in));
    const struct group *g = n->group[r->group];

    if (in.bad) reply = wire, report = (struct bytes){0}; /* an error, sent as it is */
    if (r->report) {
        buf_append_bytes(r->report, report);
        buf_append_bytes(&r->reply, reply);
        return;
    }
    buf_printf(&text, "hash: slot %u, group %u (slots %u-%u)\n", r->slot, r->group, g->slot_lo,
               g->slot_hi - 1);
    buf_printf(&text, "route: asked node %u, leader node %u%s\n", n->identity.node,
               group_leader_node(g), group_leader_node(g) == n->identity.node ? "" : ", forwarded");
    buf_append_bytes(&text, report);
    buf_printf(&text, "total at node %u: %.1f us\n", n->identity.node,
               (double)(io_now(n->io) - r->began) / 1000.0);
    trace_put_lines(&(struct reply){&whole, r->version}, buf_bytes(&text), reply);
    buf_deinit(&text);
    buf_deinit(&r->reply);
    r->reply = whole;
}
