/* SNAPSHOT CREATE, LIST, INFO, DROP, SPLITS, SCAN (docs/SNAPSHOTS.md). What there is is said by
 * rows in group 0; what is in it, by the states that this node keeps (pin.c). */
#include "node/snapshot.h"
#include "base/mem.h"
#include "node/request.h"
#include "redis/scan.h"

#include <stdio.h>

#define TTL_DEFAULT_MS (15 * 60 * 1000ull)
#define SPLITS_MAX     4096
#define SCAN_BYTES     (4u << 20) /* of records in an answer, before the last one */

/* ---- arguments ---- */

static bool get_name(const struct cmd_args *a, uint64_t *cut, struct reply *out)
{
    if (cut_name_get(a->v[2], cut)) return true;
    reply_error(out, "ERR a snapshot's id is as SNAPSHOT CREATE and LIST give it: 16 hexadecimal "
                     "digits");
    return false;
}

static bool get_ttl(const struct cmd_args *a, uint64_t *ttl_ms, struct reply *out)
{
    int64_t s;
    *ttl_ms = TTL_DEFAULT_MS;
    if (a->count == 2) return true;
    if (a->count != 4 || !bytes_equal_nocase(a->v[2], "ttl") || !bytes_to_i64(a->v[3], &s)) {
        reply_error(out, ERR_SYNTAX);
        return false;
    }
    if (s < 1 || s > (int64_t)(CUT_TTL_MAX_MS / 1000)) {
        reply_errorf(out, "ERR a snapshot is kept for 1 to %d seconds",
                     (int)(CUT_TTL_MAX_MS / 1000));
        return false;
    }
    *ttl_ms = (uint64_t)s * 1000;
    return true;
}

/* "100-199": the first and the last slot. */
static bool get_split(struct bytes text, uint16_t *lo, uint16_t *hi, struct reply *out)
{
    const uint8_t *dash = text.size ? memchr(text.data, '-', text.size) : NULL;
    int64_t first, last;
    if (dash && bytes_to_i64(bytes_of(text.data, (size_t)(dash - text.data)), &first) &&
        bytes_to_i64(bytes_of(dash + 1, (size_t)(text.data + text.size - dash) - 1), &last) &&
        first >= 0 && first <= last && last < SLOT_COUNT) {
        *lo = (uint16_t)first;
        *hi = (uint16_t)(last + 1);
        return true;
    }
    reply_error(out, "ERR a split is as SNAPSHOT SPLITS gives it: first-last, of slots");
    return false;
}

/* ---- what the rows in group 0 say ---- */

struct inquiry {
    struct node *node;
    struct request *r;
    uint64_t cut;
    void (*take)(struct inquiry *q, const struct cut_snapshot *s, struct reply *out);
};

static void finish(struct request *r)
{
    r->children = 0;
    request_done(r);
}

static void put_error(struct bytes reply, struct reply *out)
{
    if (reply.size)
        buf_append_bytes(out->out, reply);
    else
        reply_error(out, TEXT_UNKNOWN);
}

static void came(void *ctx, struct bytes reply)
{
    struct inquiry *q = ctx;
    struct reply out = {&q->r->reply, q->r->version};
    struct cut_snapshot s;
    int64_t size;
    size_t line;
    if (q->node->dead) {
        mem_free(q);
        return;
    }
    if (!request_reply_number(reply, '$', &size, &line))
        put_error(reply, &out);
    else if (size < 0 || !cut_snapshot_get(bytes_of(reply.data + line, (size_t)size), &s))
        q->take(q, NULL, &out);
    else
        q->take(q, &s, &out);
    finish(q->r);
    mem_free(q);
}

static struct request *parent(struct client *c, const struct command *cmd, const struct cmd_args *a)
{
    struct request *r = request_parent(c, cmd, a);
    r->children = 1; /* it has its own end */
    return r;
}

/* Asks for the row, or that it go. */
static void inquire(struct client *c, const struct command *cmd, const struct cmd_args *a,
                    bool drop, struct reply *out,
                    void (*take)(struct inquiry *q, const struct cut_snapshot *s,
                                 struct reply *out))
{
    uint64_t cut;
    if (!get_name(a, &cut, out)) return;
    struct inquiry *q = mem_zalloc(sizeof *q);
    struct buf number = {0};
    *q = (struct inquiry){c->node, parent(c, cmd, a), cut, take};
    buf_u64(&number, cut);
    txn_ask(c->node, 0, drop ? "synod|snapshot" : "synod|snapshot-read",
            (struct bytes[]){drop ? BYTES("DROP") : BYTES("GET"), buf_bytes(&number)}, 2, came, q);
    buf_deinit(&number);
}

static void put_none(struct reply *out)
{
    reply_error(out, "NOSNAPSHOT there is no such snapshot: its time is over, or it was dropped");
}

static void put_head(const struct node *n, const struct cut_snapshot *s, struct reply *out)
{
    char name[CUT_NAME + 1];
    int64_t left_ms = (int64_t)s->expires_ms - n->wall_ms;
    cut_name_put(name, s->cut);
    reply_bulk_str(out, "id"), reply_bulk_str(out, name);
    reply_bulk_str(out, "made-ms"), reply_i64(out, (int64_t)s->made_ms);
    reply_bulk_str(out, "ttl-ms"), reply_i64(out, left_ms > 0 ? left_ms : 0);
    reply_bulk_str(out, "hold-us"), reply_i64(out, (int64_t)(s->hold_ns / 1000));
    reply_bulk_str(out, "groups"), reply_i64(out, s->parts);
    reply_bulk_str(out, "kept-here"), reply_i64(out, pins_of(n, s->cut));
}
#define HEAD_PAIRS 6

static void take_info(struct inquiry *q, const struct cut_snapshot *s, struct reply *out)
{
    if (!s) {
        put_none(out);
        return;
    }
    reply_map(out, HEAD_PAIRS + 2);
    put_head(q->node, s, out);
    reply_bulk_str(out, "coordinator"), reply_i64(out, s->node);
    reply_bulk_str(out, "transactions"), reply_i64(out, (int64_t)(s->in.size / CUT_IN));
}

static void take_drop(struct inquiry *q, const struct cut_snapshot *s, struct reply *out)
{
    reply_i64(out, s != NULL);
    if (s) cut_drop(q->node, q->cut);
}

static void listed(void *ctx, struct bytes reply)
{
    struct inquiry *q = ctx;
    struct reply out = {&q->r->reply, q->r->version};
    int64_t count, size;
    size_t line;
    if (q->node->dead) {
        mem_free(q);
        return;
    }
    if (request_reply_number(reply, '*', &count, &line)) {
        reply_array(&out, (size_t)count);
        for (struct bytes rest = bytes_of(reply.data + line, reply.size - line);
             request_reply_number(rest, '$', &size, &line);
             rest = bytes_of(rest.data + line + size + 2, rest.size - line - (size_t)size - 2)) {
            struct cut_snapshot s = {0};
            (void)cut_snapshot_get(bytes_of(rest.data + line, (size_t)size), &s);
            reply_map(&out, HEAD_PAIRS);
            put_head(q->node, &s, &out);
        }
    } else {
        put_error(reply, &out);
    }
    finish(q->r);
    mem_free(q);
}

static void list(struct client *c, const struct command *cmd, const struct cmd_args *a)
{
    struct inquiry *q = mem_zalloc(sizeof *q);
    *q = (struct inquiry){.node = c->node, .r = parent(c, cmd, a)};
    txn_ask(c->node, 0, "synod|snapshot-read", &BYTES("LIST"), 1, listed, q);
}

/* ---- splits ---- */

static const char *address_of(const struct node *n, uint16_t id)
{
    const struct peer *p = n->peers[id];
    return p && p->client[0] ? p->client : p ? n->ring_node[id].client : n->listen;
}

uint32_t snapshot_holders(struct node *n, uint32_t group, uint16_t *node)
{
    const struct group *g = group_named(n, group);
    uint16_t leader = g ? group_leader_node(g) : 0;
    uint32_t count = 0;
    bool leads = false;
    for (int i = 0; g && i < g->config.count; i++) {
        const struct paxos_member *m = &g->config.member[i];
        if (m->role == PAXOS_WITNESS || !address_of(n, m->node)[0]) continue;
        if (m->node == leader)
            leads = true;
        else
            node[count++] = m->node;
    }
    if (leads) node[count++] = leader;
    return count;
}

/* turn: whose turn it is to be the first of the followers. */
static void put_nodes(struct node *n, uint32_t group, uint32_t turn, struct reply *out)
{
    uint16_t node[PAXOS_MEMBERS_MAX];
    uint32_t count = snapshot_holders(n, group, node), followers = count;
    const struct group *g = group_named(n, group);
    if (count && node[count - 1] == group_leader_node(g)) followers--;
    reply_array(out, count);
    for (uint32_t i = 0; i < followers; i++)
        reply_bulk_str(out, address_of(n, node[(turn + i) % followers]));
    if (followers < count) reply_bulk_str(out, address_of(n, node[followers]));
}

uint32_t snapshot_pieces(const struct cut_snapshot_part *p, int64_t wanted)
{
    uint32_t width = (uint32_t)(p->slot_hi - p->slot_lo);
    uint32_t pieces = (uint32_t)(((uint64_t)wanted * width + SLOT_COUNT / 2) / SLOT_COUNT);
    return pieces < 1 ? 1 : pieces > width ? width : pieces;
}

void snapshot_range(const struct cut_snapshot_part *p, uint32_t pieces, uint32_t k, uint16_t *lo,
                    uint16_t *hi)
{
    uint32_t width = (uint32_t)(p->slot_hi - p->slot_lo);
    *lo = (uint16_t)(p->slot_lo + k * width / pieces);
    *hi = (uint16_t)(p->slot_lo + (k + 1) * width / pieces);
}

static void take_splits(struct inquiry *q, const struct cut_snapshot *s, struct reply *out)
{
    int64_t wanted = 1;
    size_t count = 0;
    uint32_t turn = 0;
    if (!s) {
        put_none(out);
        return;
    }
    (void)bytes_to_i64(q->r->args.v[3], &wanted);
    for (uint32_t i = 0; i < s->parts; i++) {
        struct cut_snapshot_part p = cut_part_get(s, i);
        count += snapshot_pieces(&p, wanted);
    }
    reply_array(out, count);
    for (uint32_t i = 0; i < s->parts; i++) {
        struct cut_snapshot_part p = cut_part_get(s, i);
        uint32_t pieces = snapshot_pieces(&p, wanted);
        for (uint32_t k = 0; k < pieces; k++) {
            char text[16];
            uint16_t lo, hi;
            snapshot_range(&p, pieces, k, &lo, &hi);
            (void)snprintf(text, sizeof text, "%u-%u", lo, hi - 1);
            reply_array(out, 2);
            reply_bulk_str(out, text);
            put_nodes(q->node, p.group, turn++, out);
        }
    }
}

static void splits(struct client *c, const struct command *cmd, const struct cmd_args *a,
                   struct reply *out)
{
    int64_t wanted;
    if (!bytes_to_i64(a->v[3], &wanted) || wanted < 1 || wanted > SPLITS_MAX)
        reply_errorf(out, "ERR there may be 1 to %d splits", SPLITS_MAX);
    else
        inquire(c, cmd, a, false, out, take_splits);
}

/* ---- scan ---- */

struct scan {
    struct list link; /* node->scans */
    struct node *node;
    struct request *r;
    struct snapshot_stream *stream;
    struct io_work work;
    struct scan_options options;
    bool values;
    uint64_t place;
    enum snapshot_result result;
    struct buf records;
};

static void scan_free(struct scan *s)
{
    list_remove(&s->link);
    if (s->stream) snapshot_close(s->stream);
    buf_deinit(&s->records);
    mem_free(s);
}

void snapshots_free(struct node *n)
{
    while (!list_empty(&n->scans)) scan_free(LIST_OF(n->scans.next, struct scan, link));
}

static bool scan_wants(void *ctx, struct bytes key, uint8_t type)
{
    const struct scan *s = ctx;
    return (!s->options.has_type || s->options.type == type) && scan_matches(&s->options, key);
}

static void scan_run(void *ctx)
{
    struct scan *s = ctx;
    struct cut_reading what = {.count = s->options.count,
                               .bytes_max = SCAN_BYTES,
                               .value_max = SNAPSHOT_VALUE_MAX / 2, /* all of it fits a frame */
                               .no_values = !s->values,
                               .wants = scan_wants,
                               .ctx = s};
    s->result = snapshot_piece(s->stream, &s->place, &what, &s->records);
}

static void put_record(const struct scan *s, struct cut_record *rec, struct reply *out)
{
    reply_bulk(out, rec->key);
    if (!s->values) return;
    reply_bulk_str(out, object_type_name(rec->type));
    if (rec->type == OBJECT_STRING) {
        reply_bulk(out, rec->value);
        return;
    }
    reply_array(out, rec->items);
    for (uint64_t i = 0; i < rec->items; i++) reply_bulk(out, reader_blob(&rec->item));
}

static void put_records(const struct scan *s, struct reply *out)
{
    struct reader r = reader_of(buf_bytes(&s->records));
    struct buf items = {0};
    struct reply to = {&items, out->version};
    struct cut_record rec;
    size_t count = 0;
    for (; cut_record_next(&r, !s->values, &rec); count += s->values ? 3 : 1)
        put_record(s, &rec, &to);
    scan_reply(out, s->place == CUT_PLACE_END ? 0 : s->place, count, &items);
    buf_deinit(&items);
}

static void scan_done(void *ctx)
{
    struct scan *s = ctx;
    struct reply out = {&s->r->reply, s->r->version};
    node_begin(s->node);
    switch (s->result) {
    case SNAPSHOT_PIECE:
    case SNAPSHOT_END: put_records(s, &out); break;
    case SNAPSHOT_E_TOO_LARGE:
        reply_errorf(
            &out,
            "ERR a collection here is larger than %u MiB; scan without WITHVALUES, and read "
            "it in parts",
            SNAPSHOT_VALUE_MAX >> 21);
        break;
    default: reply_error(&out, "IOERR the storage engine failed to read; ask another replica");
    }
    finish(s->r);
    scan_free(s);
}

static void scan_opened(void *ctx, struct snapshot_stream *stream, const char *error)
{
    struct scan *s = ctx;
    if (error) {
        reply_error(&(struct reply){&s->r->reply, s->r->version}, error);
        finish(s->r);
        scan_free(s);
        return;
    }
    s->stream = stream;
    s->work = (struct io_work){.run = scan_run, .done = scan_done, .ctx = s};
    io_work(s->node->io, &s->work);
}

/* The options, WITHVALUES apart. */
static bool get_options(const struct cmd_args *a, struct scan *s, struct reply *out)
{
    struct cmd_args rest = {mem_alloc(a->count * sizeof *rest.v), 0};
    for (uint32_t i = 5; i < a->count; i++) {
        bool value = i > 5 && rest.count % 2;
        if (!value && bytes_equal_nocase(a->v[i], "withvalues"))
            s->values = true;
        else
            rest.v[rest.count++] = a->v[i];
    }
    bool good = scan_options_parse(&s->options, &rest, 0, false, out);
    mem_free(rest.v);
    return good;
}

static void scan(struct client *c, const struct command *cmd, const struct cmd_args *a,
                 struct reply *out)
{
    uint64_t cut, cursor;
    uint16_t lo, hi;
    struct scan probe = {0};
    if (!get_name(a, &cut, out) || !get_split(a->v[3], &lo, &hi, out) ||
        !scan_cursor_parse(a->v[4], &cursor, out) || !get_options(a, &probe, out))
        return;
    struct scan *s = mem_zalloc(sizeof *s);
    s->node = c->node;
    s->r = parent(c, cmd, a);
    (void)get_options(&s->r->args, s, out); /* its pattern is the request's now */
    s->place = cursor;
    list_push(&s->node->scans, &s->link);
    snapshot_open(s->node, cut, lo, hi, scan_opened, s);
}

/* ---- the command ---- */

void snapshot_command(struct client *c, const struct command *cmd, const struct cmd_args *a,
                      struct reply *out)
{
    uint64_t ttl_ms;
    struct node *n = c->node;
    if (!n->group_count || !n->taking_part) {
        reply_error(out, TEXT_NOT_JOINED);
    } else if (strcmp(cmd->name, "create") == 0) {
        if (get_ttl(a, &ttl_ms, out)) cut_begin(n, parent(c, cmd, a), ttl_ms, 0);
    } else if (strcmp(cmd->name, "list") == 0) {
        list(c, cmd, a);
    } else if (strcmp(cmd->name, "info") == 0) {
        inquire(c, cmd, a, false, out, take_info);
    } else if (strcmp(cmd->name, "drop") == 0) {
        inquire(c, cmd, a, true, out, take_drop);
    } else if (strcmp(cmd->name, "splits") == 0) {
        splits(c, cmd, a, out);
    } else {
        scan(c, cmd, a, out);
    }
}
