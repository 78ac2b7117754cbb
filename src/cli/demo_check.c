/* synod demo: are all replicas equal, and does redis-cli find the cluster whole? */
#include "cli/client.h"
#include "cli/clock.h"
#include "cli/demo.h"
#include "cli/overview.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST_WAIT_MS 60000

/* ---- digests ---- */

/* One group's digest reads all that the group has, so groups are asked for one by one: a node that
 * is busy for long would lose its leaderships, and with each change of them positions move on. */
struct digest {
    unsigned long long position;
    char text[64];
};

struct comparison {
    struct overview o;
    struct client *client[OVERVIEW_NODES_MAX + 1]; /* by node id */
    bool *equal;                                   /* by index in o.group */
    size_t equal_count;
    int64_t behind, different; /* a group that is not equal yet; one that never will be, or -1 */
};

static bool digest_ask(struct client *c, int64_t group, struct digest *out)
{
    char line[200];
    unsigned long long said;
    const struct client_reply *r = c ? client_call(c, "SYNOD DIGEST %lld", (long long)group) : NULL;
    if (!r || r->type != CLIENT_BULK || r->text.size >= sizeof line) return false;
    memcpy(line, r->text.data, r->text.size);
    line[r->text.size] = 0;
    return sscanf(line, "%llu %llu %63s", &said, &out->position, out->text) == 3 &&
           said == (unsigned long long)group;
}

static void group_compare(struct comparison *c, size_t index)
{
    const struct overview_group *g = &c->o.group[index];
    struct digest first = {0}, other;
    bool same = g->replica_count > 0;
    for (size_t i = 0; i < g->replica_count && same; i++) {
        int64_t node = g->replica[i].node;
        struct client *to = node > 0 && node <= OVERVIEW_NODES_MAX ? c->client[node] : NULL;
        if (!digest_ask(to, g->id, i ? &other : &first))
            same = false;
        else if (i && other.position != first.position)
            same = false;
        else if (i && strcmp(other.text, first.text) != 0)
            c->different = g->id, same = false;
    }
    c->equal[index] = same;
    c->equal_count += same;
    if (!same) c->behind = g->id;
}

static bool comparison_open(struct comparison *c, const char *address)
{
    char error[256];
    struct client *ask = demo_connect(address);
    *c = (struct comparison){.different = -1};
    bool asked = ask && overview_ask(&c->o, ask, error, sizeof error);
    if (ask && !asked) cli_fail("%s", error);
    client_free(ask);
    for (size_t i = 0; i < c->o.node_count && asked; i++) {
        const struct overview_node *n = &c->o.node[i];
        if (n->up && n->id > 0 && n->id <= OVERVIEW_NODES_MAX)
            c->client[n->id] = client_connect(n->address, DEMO_CALL_MS, error, sizeof error);
    }
    c->equal = mem_zalloc((c->o.group_count + 1) * sizeof *c->equal);
    return asked;
}

static void comparison_close(struct comparison *c)
{
    for (size_t i = 0; i <= OVERVIEW_NODES_MAX; i++) client_free(c->client[i]);
    mem_free(c->equal);
    overview_free(&c->o);
}

/* Waits until every group was seen at one position on all its replicas, and compares there. */
bool demo_digests(struct demo *d)
{
    struct comparison c;
    uint64_t deadline = clock_ns() + DIGEST_WAIT_MS * 1000000ull;
    if (!comparison_open(&c, d->loader.address[0])) return false;
    size_t groups = c.o.group_count;
    bool late = false;
    while (c.equal_count < groups && c.different < 0 && !late) {
        for (size_t i = 0; i < groups && c.different < 0; i++)
            if (!c.equal[i]) group_compare(&c, i);
        late = clock_ns() > deadline;
        if (c.equal_count < groups) sleep_ms(100);
    }
    bool good = c.equal_count == groups;
    if (c.different >= 0)
        cli_fail("group %lld differs between its replicas at one position; keep the data "
                 "directories, this is a bug",
                 (long long)c.different);
    else if (!good)
        cli_fail("%zu of %zu groups (group %lld) did not reach one position on all replicas within "
                 "%d s; `synod status` shows how far each is",
                 groups - c.equal_count, groups, (long long)c.behind, DIGEST_WAIT_MS / 1000);
    else
        demo_say(d, "equal on all replicas: %zu of %zu groups, by digest", c.equal_count, groups);
    comparison_close(&c);
    return good;
}

/* ---- redis-cli ---- */

bool demo_redis_check(struct demo *d)
{
    char command[OPTION_ADDRESS_MAX + 80], line[512];
    bool covered = false, agree = false, bad = false;
    snprintf(command, sizeof command, "redis-cli --cluster check %s 2>&1", d->loader.address[0]);
    FILE *said = popen(command, "re");
    if (!said) return true;
    while (fgets(line, sizeof line, said)) {
        covered |= strstr(line, "All 16384 slots covered") != NULL;
        agree |= strstr(line, "All nodes agree") != NULL;
        bad |= strstr(line, "[ERR]") || strstr(line, "[WARNING]");
    }
    int status = pclose(said);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        demo_say(d, "(redis-cli is not installed; it would check the cluster's slots)");
        return true;
    }
    if (!covered || !agree || bad) {
        cli_fail("`%s` finds something wrong", command);
        return false;
    }
    demo_say(d, "redis-cli --cluster check: all nodes agree, all 16384 slots are covered");
    return true;
}
