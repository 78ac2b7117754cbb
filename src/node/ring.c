/* The cluster map as this node knows it. Rows come from the replica of group 0, if it has one (each
 * as it is applied), and from peers, which say with every state how new their copy is. The copy is
 * kept in the file "ring", for a node must know whom to dial when it starts; a founding node that
 * loses it knows the others by their founding addresses, one that joined asks again (--join). Rows
 * only ever give way to newer ones. */
#include "node/internal.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "node/request.h"
#include "shard/keys.h"

#include <stdio.h>

#define RING_FILE    "ring"
#define RING_NEWFILE "newring"
#define RING_MAGIC   0x676e6972646f6e79u /* "ynodring" */
#define RING_HEAD    24                  /* magic:8, size:8 and checksum:8 of the rows */
#define BOOT_EVERY   (500 * MS)

/* ---- routing ---- */

void ring_route(struct node *n)
{
    for (uint32_t i = 0; i < n->group_count; i++) {
        const struct group *g = n->group[i];
        if (g->row.state != RING_GROUP_SERVING) continue;
        for (uint32_t s = g->row.slot_lo; s < g->row.slot_hi; s++) n->slot_group[s] = i;
    }
    /* A group that was born here, or took its neighbour over, has slots before the map says so. One
     * that has more without a merge has yet to apply a split (seed 40000870). */
    for (uint32_t i = 0; i < n->group_count; i++) {
        const struct group *g = n->group[i];
        bool took = g->row.merge_id && g->slot_hi > g->row.slot_hi;
        bool known = g->row.state == RING_GROUP_SERVING && !took;
        if (known || !g->shard || g->dying || ring_is_merged_away(&g->row)) continue;
        for (uint32_t s = g->slot_lo; s < g->slot_hi; s++) n->slot_group[s] = i;
    }
    n->leader_epoch++;
    for (uint32_t i = 0; i < n->group_count; i++)
        if (!list_empty(&n->group[i]->waiting)) group_retry(n->group[i]);
}

/* ---- rows ---- */

static void take_group(struct node *n, const struct ring_group *row)
{
    struct group *g = group_at(n, row->id);
    if (row->epoch <= g->row.epoch && !MUTANT(MUTANT_OLDER_ROW)) return;
    bool moved = row->slot_lo != g->row.slot_lo || row->slot_hi != g->row.slot_hi ||
                 row->state != g->row.state;
    g->row = *row;
    if (!g->px && !g->shard && !g->dying) { /* else the replica itself says */
        g->slot_lo = row->slot_lo;
        g->slot_hi = row->slot_hi;
        g->config = row->config;
    }
    g->reconcile_at = 0;
    group_busy(g);
    if (moved) ring_route(n);
}

void ring_take(struct node *n, const struct ring_row *row)
{
    switch (row->type) {
    case RING_ROW_SETTINGS:
        if (n->ring_there && row->settings.epoch <= n->ring.epoch) return;
        n->ring = row->settings;
        n->ring_there = true;
        n->state_at = 0; /* tell the others at once */
        break;
    case RING_ROW_NODE: {
        struct ring_node *at = &n->ring_node[row->node.id];
        if (at->id && row->node.epoch <= at->epoch) return;
        *at = row->node;
        peer_update(n, row->node.id);
        break;
    }
    default: take_group(n, &row->group); break;
    }
    n->ring_changed = true;
}

void ring_system(void *ctx, struct shard *s, struct bytes suffix, struct bytes value, bool deleted)
{
    struct group *g = ctx;
    struct ring_row row;
    (void)s, (void)suffix;
    if (!deleted && ring_row_decode(value, &row)) ring_take(g->node, &row);
}

void ring_row_stored(void *ctx, struct bytes suffix, struct bytes value)
{
    ring_system(ctx, NULL, suffix, value, false);
}

/* All rows that changed after epoch `above` (0: all), as blobs; the settings last, for their epoch
 * says that all is there. */
void ring_put_rows(struct node *n, uint64_t above, struct buf *out)
{
    struct buf one = {0};
    struct ring_row row = {.type = RING_ROW_NODE};
    for (uint16_t i = 1; i <= RING_NODES_MAX; i++) {
        if (!n->ring_node[i].id || (above && n->ring_node[i].epoch <= above)) continue;
        row.node = n->ring_node[i];
        buf_clear(&one);
        ring_row_encode(&row, &one);
        buf_blob(out, buf_bytes(&one));
    }
    row.type = RING_ROW_GROUP;
    for (uint32_t i = 0; i < n->group_count; i++) {
        const struct ring_group *g = &n->group[i]->row;
        bool known = g->state != RING_GROUP_FREE || ring_is_merged_away(g);
        if (!known || (above && g->epoch <= above)) continue;
        row.group = *g;
        buf_clear(&one);
        ring_row_encode(&row, &one);
        buf_blob(out, buf_bytes(&one));
    }
    row = (struct ring_row){.type = RING_ROW_SETTINGS, .settings = n->ring};
    buf_clear(&one);
    ring_row_encode(&row, &one);
    buf_blob(out, buf_bytes(&one));
    buf_deinit(&one);
}

/* ---- peers ---- */

void ring_put_ask(const struct node *n, struct buf *out)
{
    size_t begun = wire_begin(out, WIRE_RING_ASK);
    buf_u64(out, n->ring_there ? n->ring.epoch : 0);
    wire_end(out, begun);
}

void ring_heard(struct peer *p, uint64_t epoch)
{
    struct node *n = p->node;
    p->epoch = epoch;
    if (epoch <= n->ring.epoch && n->ring_there) return;
    struct buf *out = epoch ? peer_out(n, p->id) : NULL;
    if (out) ring_put_ask(n, out);
}

void ring_on_ask(struct peer *p, struct bytes payload)
{
    struct reader r = reader_of(payload);
    uint64_t above = reader_u64(&r);
    struct buf *out = p->node->ring_there && !r.bad ? peer_out(p->node, p->id) : NULL;
    if (!out) return;
    size_t begun = wire_begin(out, WIRE_RING);
    ring_put_rows(p->node, above, out);
    wire_end(out, begun);
}

/* The rows of one answer are all or none: a cluster's other map, or a damaged one, changes nothing.
 */
void ring_on_rows(struct peer *p, struct bytes payload)
{
    struct node *n = p->node;
    struct ring_row row;
    for (int take = 0; take < 2; take++) {
        struct reader r = reader_of(payload);
        while (reader_left(&r)) {
            struct bytes one = reader_blob(&r);
            bool good =
                !r.bad && ring_row_decode(one, &row) &&
                (row.type != RING_ROW_SETTINGS || row.settings.cluster == n->identity.cluster);
            if (!good) {
                n->stats.bad_frames++;
                return;
            }
            if (take) ring_take(n, &row);
        }
    }
}

bool ring_node_heard(struct node *n, uint16_t id)
{
    if (id == n->identity.node) return true;
    const struct peer *p = id <= NODE_NODES_MAX ? n->peers[id] : NULL;
    return p && p->out_ready &&
           !lease_suspects(&n->leases, id, n->config.election_ms * MS, n->started_at, n->now);
}

/* A disk that joins at the address of a node that is gone takes its place: there is one node at an
 * address, so the old one, should its disk turn up again, is refused, and not dialled. */
uint16_t ring_heir(const struct node *n, uint16_t id)
{
    const struct ring_node *old = &n->ring_node[id];
    for (uint16_t i = 1; i <= RING_NODES_MAX && old->state == RING_NODE_GONE; i++) {
        const struct ring_node *r = &n->ring_node[i];
        bool later = r->state != RING_NODE_GONE || r->epoch > old->epoch;
        if (i != id && ring_shows(n, i) && later && strcmp(r->peer, old->peer) == 0) return i;
    }
    return 0;
}

bool ring_is_cluster(const struct node *n)
{
    uint32_t nodes = 0;
    for (uint16_t i = 1; i <= n->node_max; i++) nodes += ring_shows(n, i);
    return nodes > 1;
}

/* ---- the copy on disk ---- */

struct ring_save {
    struct io_work work;
    struct node *node;
    struct io *io;
    struct buf bytes;
    int error;
};

static void save_run(void *ctx)
{
    struct ring_save *s = ctx;
    struct io_file *f;
    (void)io_file_remove(s->io, RING_NEWFILE);
    s->error = io_file_open(s->io, RING_NEWFILE, s->bytes.size, &f);
    if (s->error) return;
    s->error = io_file_write_now(s->io, f, s->bytes.data, s->bytes.size, 0);
    io_file_close(s->io, f);
    if (!s->error) s->error = io_file_rename(s->io, RING_NEWFILE, RING_FILE);
}

static void save_done(void *ctx)
{
    struct ring_save *s = ctx;
    struct node *n = s->node;
    if (s->error) n->ring_changed = true; /* tried again with the next turn that looks */
    ring_free(n);
}

void ring_free(struct node *n)
{
    if (n->ring_saving) buf_deinit(&n->ring_saving->bytes);
    mem_free(n->ring_saving);
    n->ring_saving = NULL;
}

static struct ring_save *save_new(struct node *n)
{
    struct ring_save *s = mem_zalloc(sizeof *s);
    struct buf rows = {0};
    ring_put_rows(n, 0, &rows);
    buf_u64(&s->bytes, RING_MAGIC);
    buf_u64(&s->bytes, rows.size);
    buf_u64(&s->bytes, hash64(buf_bytes(&rows), n->identity.cluster));
    buf_append_bytes(&s->bytes, buf_bytes(&rows));
    size_t whole = (s->bytes.size + IO_BLOCK - 1) / IO_BLOCK * IO_BLOCK,
           pad = whole - s->bytes.size;
    if (pad) memset(buf_reserve(&s->bytes, pad), 0, pad);
    s->bytes.size = whole;
    buf_deinit(&rows);
    s->node = n;
    s->io = n->io;
    return s;
}

static void ring_save(struct node *n)
{
    struct ring_save *s = save_new(n);
    s->work = (struct io_work){.run = save_run, .done = save_done, .ctx = s};
    n->ring_changed = false;
    n->ring_saving = s;
    io_work(n->io, &s->work);
}

int ring_save_now(struct node *n)
{
    struct ring_save *s = save_new(n);
    save_run(s);
    int error = s->error;
    buf_deinit(&s->bytes);
    mem_free(s);
    return error;
}

static void load_rows(struct node *n, struct bytes file)
{
    struct reader r = reader_of(file);
    struct ring_row row;
    uint64_t magic = reader_u64(&r), size = reader_u64(&r), sum = reader_u64(&r);
    if (r.bad || magic != RING_MAGIC || size > reader_left(&r)) return;
    struct bytes rows = reader_take(&r, (size_t)size);
    if (hash64(rows, n->identity.cluster) != sum)
        return; /* another cluster's, or damaged: asked for anew */
    r = reader_of(rows);
    while (reader_left(&r)) {
        struct bytes one = reader_blob(&r);
        if (!r.bad && ring_row_decode(one, &row)) ring_take(n, &row);
    }
}

bool ring_load(struct node *n, char *error, size_t error_size)
{
    struct io_file *f;
    int result = io_file_open(n->io, RING_FILE, 0, &f);
    if (result == -2 /* ENOENT */) return true;
    if (result) {
        snprintf(error, error_size, "cannot read the file '%s': %s", RING_FILE, strerror(-result));
        return false;
    }
    uint64_t size = io_file_size(n->io, f);
    if (size >= RING_HEAD && size <= 64u << 20) {
        uint8_t *bytes = mem_alloc(size);
        if (io_file_read_now(n->io, f, bytes, size, 0) == (int64_t)size)
            load_rows(n, bytes_of(bytes, size));
        mem_free(bytes);
    }
    io_file_close(n->io, f);
    n->ring_changed = false;
    return true;
}

/* ---- asking the keeper ---- */

static void keeper_ask(struct node *n, const struct cmd_args *a,
                       void (*done)(void *ctx, struct bytes reply), void *ctx)
{
    struct request *r = request_new(n);
    request_take(r, command_named("synod|map"), a, 2);
    r->done = done;
    r->done_ctx = ctx;
    r->group = 0;
    request_wait(r, n->group[0]);
    group_retry(n->group[0]);
}

void ring_ask(struct node *n, const struct bytes *word, uint32_t count,
              void (*done)(void *ctx, struct bytes reply), void *ctx)
{
    struct bytes v[24] = {BYTES("SYNOD"), BYTES("MAP")};
    ASSERT(count + 2 <= sizeof v / sizeof *v && n->group_count > 0);
    for (uint32_t i = 0; i < count; i++) v[2 + i] = word[i];
    keeper_ask(n, &(struct cmd_args){v, count + 2}, done, ctx);
}

static void asked(void *ctx, struct bytes reply)
{
    struct node *n = ctx;
    (void)reply;
    n->ring_asking = false;
}

/* This node has recorded a disk of node i, and that disk takes part: only such ones send
 * heartbeats. */
static bool takes_part(const struct node *n, int i)
{
    return n->identity.disks[i] && (i == n->identity.node || n->leases.peer[i].heard_at);
}

/* The first map, from what every founding node knows. It says which disk each id stands for, for
 * good: so it waits until all of them take part. A disk that was met, and does not yet, may be
 * refused by a majority that knows an earlier one (found_if_complete); and if it was not, it may
 * need a founding node that the map could let go of meanwhile (seed 13000812). */
static bool boot(struct node *n)
{
    const struct identity *id = &n->identity;
    struct buf rows = {0};
    for (int i = 1; i <= id->node_count; i++)
        if (!takes_part(n, i)) return false;
    for (int i = 1; i <= id->node_count; i++) n->ring_node[i].disk = id->disks[i];
    ring_put_rows(n, 0, &rows);
    struct reader r = reader_of(buf_bytes(&rows));
    size_t most = 3 + 1 + RING_NODES_MAX + (size_t)n->group_count;
    struct cmd_args a = {mem_zalloc(most * sizeof(struct bytes)), 3};
    a.v[0] = BYTES("SYNOD"), a.v[1] = BYTES("MAP"), a.v[2] = BYTES("BOOT");
    while (reader_left(&r)) a.v[a.count++] = reader_blob(&r);
    keeper_ask(n, &a, asked, n);
    buf_deinit(&rows);
    mem_free(a.v);
    return true;
}

static bool row_is_mine(const struct node *n, const struct ring_node *row)
{
    return row->disk == n->identity.disk && strcmp(row->client, n->listen) == 0 &&
           strcmp(row->peer, n->peer_address) == 0 && strcmp(row->http, n->http) == 0 &&
           strcmp(row->zone, n->zone) == 0;
}

/* This node's own row: addresses, zone and capacity as it was started with. */
static void say_who(struct node *n)
{
    char disk[24], capacity[24];
    struct bytes word[] = {
        BYTES("JOIN"),
        bytes_of(disk, (size_t)snprintf(disk, sizeof disk, "%lld", (long long)n->identity.disk)),
        bytes_of(capacity, (size_t)snprintf(capacity, sizeof capacity, "%u", n->config.capacity)),
        bytes_str(n->peer_address),
        bytes_str(n->listen),
        bytes_str(n->http),
        bytes_str(n->zone)};
    ring_ask(n, word, sizeof word / sizeof *word, asked, n);
}

void ring_turn(struct node *n)
{
    if (n->ring_changed && !n->ring_saving && n->ring_there) ring_save(n);
    if (!n->taking_part || n->ring_asking || n->now < n->ring_at || !n->group_count) return;
    n->ring_at = n->now + BOOT_EVERY;
    if (n->ring.epoch == 0)
        n->ring_asking = n->group[0]->leading && n->identity.node_count && boot(n);
    else if (!row_is_mine(n, &n->ring_node[n->identity.node]))
        n->ring_asking = true, say_who(n);
}
