/* The operator: asks any node for changes of the ring (SYNOD NODE, GROUP, SET), sensible ones and
 * others, and never waits for one to be done before the next. In the end it lets moves go on and
 * removes who has left. What it asks may be refused, in words that it understands. */
#include "ring/ring.h"
#include "sim/members.h"
#include "sim/reply.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#define PATIENCE   (4 * SECOND)
#define GROUPS_ASK 24 /* with more groups it splits none */
#define WORDS_MAX  8

enum verb {
    VERB_DRAIN,
    VERB_UNDRAIN,
    VERB_REMOVE,
    VERB_WEIGH,
    VERB_MOVE,
    VERB_SPLIT,
    VERB_MERGE,
    VERB_LEAD,
    VERB_SET,
    VERBS
};

struct operator
{
    struct sim *s;
    struct io *io;
    struct prng random;
    uint32_t chance[VERBS]; /* relative; 0: this seed's operator never does that */
    uint64_t mean_ns;
    struct io_conn *conn;
    uint32_t host;
    bool open, waits, moves_on;
    bool leaves; /* this node is of no use: another one is asked */
    bool asked_moves_on;
    uint64_t next_at, asked_at;
    char what[120];
};

static uint64_t draw(struct operator* o, uint64_t min, uint64_t max)
{
    return min + prng_below(&o->random, max - min + 1);
}

/* ---- what to ask ---- */

static bool node_row(const struct sim *s, uint16_t id, struct ring_node *out)
{
    struct node *map = members_map(s);
    struct ring_row row;
    if (!map || !node_ring_row(map, RING_ROW_NODE, id, &row)) return false;
    *out = row.node;
    return true;
}

/* A node in that state (or any, one time in five); 0: none. */
static uint16_t a_node(struct operator* o, uint8_t state)
{
    struct ring_node n;
    uint16_t found[RING_NODES_MAX + 1];
    uint32_t count = 0;
    bool any = draw(o, 0, 4) == 0;
    for (uint16_t i = 1; i <= RING_NODES_MAX; i++)
        if (node_row(o->s, i, &n) && (any || n.state == state)) found[count++] = i;
    return count ? found[draw(o, 0, count - 1)] : 0;
}

static bool holds_something(const struct sim *s, uint16_t node)
{
    for (uint32_t g = 0; g < s->groups; g++) {
        const struct paxos_config *c = members_config(s, g, NULL);
        if (c && paxos_config_member(c, node) >= 0) return true;
    }
    return false;
}

/* Who is to leave, or is gone, and holds nothing any more; else anybody who is to leave. */
static uint16_t a_leaver(struct operator* o)
{
    struct ring_node n;
    for (uint16_t i = 1; i <= RING_NODES_MAX; i++)
        if (node_row(o->s, i, &n) && (n.state == RING_NODE_DRAINING || n.state == RING_NODE_GONE) &&
            !holds_something(o->s, i))
            return i;
    if (o->s->calm) return 0;
    return a_node(o, draw(o, 0, 1) ? RING_NODE_DRAINING : RING_NODE_DOWN);
}

static void say(struct operator* o, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The words of `format`, separated by blanks, as one command. */
static void say(struct operator* o, const char *format, ...)
{
    struct buf *out = io_conn_out(o->conn);
    const char *word[WORDS_MAX];
    uint32_t count = 0;
    char text[sizeof o->what];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(o->what, text, sizeof text);
    for (char *at = strtok(text, " "); at && count < WORDS_MAX; at = strtok(NULL, " "))
        word[count++] = at;
    buf_printf(out, "*%u\r\n", count);
    for (uint32_t i = 0; i < count; i++)
        buf_printf(out, "$%zu\r\n%s\r\n", strlen(word[i]), word[i]);
    o->waits = true;
    o->asked_at = io_now(o->io);
    SIM_COUNT(o->s, asked);
    world_say(o->s->w, o->s->clients_host, "operator, node %u: %s", o->host + 1, o->what);
}

static void ask_node(struct operator* o, enum verb verb)
{
    uint16_t id;
    switch (verb) {
    case VERB_DRAIN:
        SIM_COUNT(o->s, drains);
        say(o, "SYNOD NODE DRAIN %u", a_node(o, RING_NODE_SERVING));
        break;
    case VERB_UNDRAIN:
        SIM_COUNT(o->s, undrains);
        say(o, "SYNOD NODE UNDRAIN %u", a_node(o, RING_NODE_DRAINING));
        break;
    case VERB_REMOVE:
        id = a_leaver(o);
        o->s->removed_ids |= 1ull << id;
        SIM_COUNT(o->s, removes);
        say(o, "SYNOD NODE REMOVE %u", id);
        break;
    default:
        SIM_COUNT(o->s, weights);
        say(o, "SYNOD NODE CAPACITY %u %u", a_node(o, RING_NODE_SERVING),
            (unsigned)draw(o, 20, 400));
        break;
    }
}

static uint16_t a_member(struct operator* o, uint32_t group)
{
    const struct paxos_config *c = members_config(o->s, group, NULL);
    return c ? c->member[draw(o, 0, (uint64_t)c->count - 1)].node : 1;
}

static void ask_group(struct operator* o, enum verb verb)
{
    uint32_t group = (uint32_t)draw(o, 0, o->s->groups - 1);
    switch (verb) {
    case VERB_MOVE:
        SIM_COUNT(o->s, moves);
        say(o, "SYNOD GROUP MOVE %u %u %u", group, a_member(o, group),
            a_node(o, RING_NODE_SERVING));
        break;
    case VERB_MERGE:
        SIM_COUNT(o->s, merges_asked);
        say(o, "SYNOD GROUP MERGE %u", group);
        break;
    case VERB_LEAD:
        SIM_COUNT(o->s, leaders_asked);
        say(o, "SYNOD GROUP TRANSFER %u %u", group, a_member(o, group));
        break;
    default:
        if (o->s->groups >= GROUPS_ASK) return;
        SIM_COUNT(o->s, splits_asked);
        if (draw(o, 0, 1))
            say(o, "SYNOD GROUP SPLIT %u", group);
        else
            say(o, "SYNOD GROUP SPLIT %u %u", group, (unsigned)draw(o, 0, SLOT_COUNT - 1));
        break;
    }
}

static void ask_setting(struct operator* o)
{
    SIM_COUNT(o->s, settings);
    switch (draw(o, 0, 4)) {
    case 0: say(o, "SYNOD SET moves-max %u", (unsigned)draw(o, 0, 8)); break;
    case 1:
        say(o, "SYNOD SET split-keys %u", (unsigned)(draw(o, 0, 1) ? draw(o, 20, 200) : 0));
        break;
    case 2:
        say(o, "SYNOD SET merge-keys %u", (unsigned)(draw(o, 0, 1) ? draw(o, 5, 100) : 0));
        break;
    case 3: say(o, "SYNOD SET grace-ms %u", (unsigned)draw(o, 1000, SIM_GRACE_SHORT)); break;
    default: /* fewer than three would leave nothing to lose */
        say(o, "SYNOD SET replicas %u", o->s->founders == 5 && draw(o, 0, 1) ? 5 : 3);
        break;
    }
}

/* In the end: what was stopped goes on, and who has left is removed. */
static void ask_calmly(struct operator* o)
{
    uint16_t leaver = o->moves_on ? a_leaver(o) : 0;
    o->asked_moves_on = !o->moves_on;
    if (!o->moves_on) {
        say(o, "SYNOD SET moves-max 4");
    } else if (leaver && !(o->s->removed_ids >> leaver & 1)) {
        o->s->removed_ids |= 1ull << leaver;
        SIM_COUNT(o->s, removes);
        say(o, "SYNOD NODE REMOVE %u", leaver);
    }
}

static void ask(struct operator* o)
{
    uint64_t all = 0, dice;
    if (o->s->calm) {
        ask_calmly(o);
        return;
    }
    for (int v = 0; v < VERBS; v++) all += o->chance[v];
    dice = draw(o, 0, all - 1);
    for (int v = 0; v < VERBS; v++) {
        if (dice < o->chance[v]) {
            if (v <= VERB_WEIGH)
                ask_node(o, (enum verb)v);
            else if (v < VERB_SET)
                ask_group(o, (enum verb)v);
            else
                ask_setting(o);
            return;
        }
        dice -= o->chance[v];
    }
}

/* ---- answers ---- */

static void answered(struct operator* o, struct bytes whole)
{
    static const char *const words[] = {"TRYAGAIN",  "CLUSTERDOWN",   "OOM",
                                        "REFUSED",   "ERR there is",  "ERR node",
                                        "ERR group", "ERR a capacity"};
    struct sim *s = o->s;
    struct reply_view v = reply_read(whole);
    world_note(s->w, 'O', hash64(whole, 0), 0);
    world_say(s->w, s->clients_host, "operator: %s: %.*s", o->what, (int)v.text.size,
              (const char *)v.text.data);
    o->waits = false;
    if (v.kind == REPLY_NUMBER || (v.kind == REPLY_TEXT && bytes_equal(v.text, BYTES("OK")))) {
        if (o->asked_moves_on) o->moves_on = true;
        SIM_COUNT(s, asked_ok);
        return;
    }
    if (v.kind == REPLY_ERROR && bytes_begins(v.text, "UNKNOWN")) {
        SIM_COUNT(s, asked_unknown);
        return;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words && v.kind == REPLY_ERROR; i++) {
        if (!bytes_begins(v.text, words[i])) continue;
        SIM_COUNT(s, asked_refused);
        o->leaves = s->calm;
        return;
    }
    sim_fail(s, SIM_PROTOCOL, "the operator got a strange reply to %s from node %u: %.*s", o->what,
             o->host + 1, (int)(whole.size < 200 ? whole.size : 200), (const char *)whole.data);
}

/* ---- the connection ---- */

static void hang_up(struct operator* o, uint64_t wait)
{
    if (o->waits) SIM_COUNT(o->s, asked_unknown);
    o->conn = NULL;
    o->open = o->waits = o->leaves = false;
    o->next_at = io_now(o->io) + wait;
}

static void on_opened(void *ctx, struct io_conn *conn)
{
    struct operator* o = ctx;
    (void)conn;
    o->open = true;
    o->next_at = 0;
}

static size_t on_data(void *ctx, struct io_conn *conn, struct bytes in)
{
    struct operator* o = ctx;
    int64_t n = reply_size(in);
    (void)conn;
    if (n == 0) return 0;
    if (n < 0 || !o->waits) {
        sim_fail(o->s, SIM_PROTOCOL, "the operator got a strange reply from node %u", o->host + 1);
        return in.size;
    }
    answered(o, (struct bytes){in.data, (size_t)n});
    return (size_t)n;
}

static void on_closed(void *ctx, struct io_conn *conn, int error)
{
    (void)conn, (void)error;
    hang_up(ctx, 20 * MILLISECOND);
}

static const struct io_handler operator_handler = {on_opened, on_data, NULL, on_closed};

static void dial(struct operator* o)
{
    char address[32];
    struct sim *s = o->s;
    o->host = (uint32_t)draw(o, 0, s->nodes - 1);
    for (uint32_t i = 0; i < s->nodes; i++) {
        const struct member *m = &s->member[o->host];
        if (m->state != MEMBER_IDLE && !(s->calm && (m->damaged || m->away))) break;
        o->host = (o->host + 1) % s->nodes;
    }
    snprintf(address, sizeof address, "10.0.0.%u:7000", o->host + 1);
    o->conn = io_connect(o->io, address, &operator_handler, o);
    o->asked_at = io_now(o->io);
}

uint64_t operator_turn(struct operator* o, uint64_t now)
{
    if (!o->s->elastic) return UINT64_MAX;
    if (!o->conn) {
        if (now < o->next_at) return o->next_at;
        dial(o);
    }
    if (o->leaves) {
        io_conn_close(o->conn, false);
        hang_up(o, 50 * MILLISECOND);
        return o->next_at;
    }
    if (o->open && !o->waits && now >= o->next_at) {
        o->next_at = now + (o->s->calm ? 100 * MILLISECOND : draw(o, 1, 2 * o->mean_ns));
        ask(o);
    }
    if (o->open && !o->waits) return o->next_at;
    if (now < o->asked_at + PATIENCE) return o->asked_at + PATIENCE;
    io_conn_close(o->conn, false);
    hang_up(o, draw(o, 0, 30) * MILLISECOND);
    return o->next_at;
}

struct operator* operator_new(struct sim *s)
{
    static const uint32_t weight[VERBS] = {3, 2, 3, 1, 4, 3, 3, 2, 2};
    struct operator* o = mem_zalloc(sizeof *o);
    uint32_t all = 0;
    o->s = s;
    o->io = world_io(s->w, s->clients_host);
    prng_init(&o->random, hash_mix(s->options.seed ^ 0x6f706572));
    for (int v = 0; v < VERBS; v++) all += o->chance[v] = draw(o, 0, 2) ? weight[v] : 0;
    if (!all) o->chance[VERB_MOVE] = 1;
    o->mean_ns = draw(o, 100, 2000) * MILLISECOND;
    o->next_at = 0;
    return o;
}

void operator_free(struct operator* o)
{
    mem_free(o);
}
