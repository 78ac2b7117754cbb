/* synod demo: a script of one line that moves something between keys of many groups, all or
 * nothing. */
#include "cli/client.h"
#include "cli/clock.h"
#include "cli/demo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHELVES      20
#define EACH         10
#define GROUPS_SHOWN (SHELVES + 1) /* no more keys, so no more groups */

#define SCRIPT       "for i = 1, 20 do redis.call('DECR', 'shelf:' .. i) redis.call('INCR', 'cart') end "
#define SCRIPT_MOVES SCRIPT "return redis.call('GET', 'cart')"
#define SCRIPT_FAILS SCRIPT "error('out of bags')"

static bool refused(const struct client *c, const struct client_reply *r)
{
    if (r)
        cli_fail("%.*s", (int)r->text.size, r->text.size ? (const char *)r->text.data : "");
    else
        cli_fail("%s", client_error(c));
    return false;
}

/* MSET or MGET of all shelves and of the cart. */
static const struct client_reply *call_all(struct client *c, bool set)
{
    char name[SHELVES][16];
    struct bytes v[3 + 2 * SHELVES] = {set ? BYTES("MSET") : BYTES("MGET"), BYTES("cart")};
    size_t count = 2;
    if (set) v[count++] = BYTES("0");
    for (int i = 0; i < SHELVES; i++) {
        snprintf(name[i], sizeof name[i], "shelf:%d", i + 1);
        v[count++] = bytes_str(name[i]);
        if (set) v[count++] = BYTES("10");
    }
    client_append(c, count, v);
    return client_wait(c);
}

static const struct client_reply *eval(struct client *c, bool trace, const char *script)
{
    struct bytes v[4] = {BYTES("TRACE"), BYTES("EVAL"), bytes_str(script), BYTES("0")};
    client_append(c, trace ? 4 : 3, trace ? v : v + 1);
    return client_wait(c);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* "0, 3, 4" of the lines "group 3: slots ..." of a trace. Returns how many. */
static size_t groups_of(const struct client_reply *trace, char *out, size_t size)
{
    uint64_t group[GROUPS_SHOWN];
    size_t count = 0;
    for (size_t i = 0; i < trace->count && count < GROUPS_SHOWN; i++) {
        char line[200];
        unsigned long long id, first;
        snprintf(line, sizeof line, "%.*s", (int)trace->items[i].text.size,
                 trace->items[i].text.size ? (const char *)trace->items[i].text.data : "");
        if (sscanf(line, "group %llu: slots %llu", &id, &first) == 2) group[count++] = id;
    }
    qsort(group, count, sizeof *group, by_number);
    *out = 0;
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(out);
        snprintf(out + used, size - used, "%s%llu", i ? ", " : "", (unsigned long long)group[i]);
    }
    return count;
}

static bool run_it(struct demo *d, struct client *c)
{
    char groups[200];
    uint64_t began = clock_ns();
    const struct client_reply *r = eval(c, true, SCRIPT_MOVES);
    if (!r || r->type != CLIENT_ARRAY || r->count == 0) return refused(c, r);
    size_t count = groups_of(r, groups, sizeof groups);
    const struct client_reply *answer = &r->items[r->count - 1];
    if (!bytes_equal(answer->text, BYTES("20"))) return refused(c, answer);
    demo_say(d, "  answer: %.*s, after %.0f ms; one transaction over %zu groups: %s",
             (int)answer->text.size, (const char *)answer->text.data,
             (double)(clock_ns() - began) / 1e6, count, groups);
    return true;
}

static bool fail_it(struct demo *d, struct client *c)
{
    const struct client_reply *r = eval(c, false, SCRIPT_FAILS);
    if (!r || r->type != CLIENT_ERROR) {
        cli_fail("a script that fails was not answered with an error");
        return false;
    }
    demo_say(d, "  the same with %s at its end: %.*s", "error('out of bags')", (int)r->text.size,
             (const char *)r->text.data);
    return true;
}

/* One of each shelf is in the cart: nothing of the run that failed is there. */
static bool look(struct demo *d, struct client *c)
{
    const struct client_reply *r = call_all(c, false);
    if (!r || r->type != CLIENT_ARRAY || r->count != SHELVES + 1) return refused(c, r);
    bool right = bytes_equal(r->items[0].text, BYTES("20"));
    for (int i = 1; i <= SHELVES; i++) right &= bytes_equal(r->items[i].text, BYTES("9"));
    if (right)
        demo_say(d, "  then there are 20 in the cart and 9 on each shelf: it left nothing behind");
    else
        cli_fail("a script that failed has left something behind");
    return right;
}

bool demo_script(struct demo *d)
{
    char address[OPTION_ADDRESS_MAX];
    cluster_address(&d->cluster, cluster_running(&d->cluster, 0), address);
    struct client *c = demo_connect(address);
    if (!c) return false;
    demo_say(
        d,
        "\nOne line of Lua over keys of many groups: %d shelves hold %d each, one of each goes "
        "into the cart.\n  EVAL \"%s\" 0",
        SHELVES, EACH, SCRIPT_MOVES);
    const struct client_reply *r = call_all(c, true);
    bool good = client_reply_is(r, CLIENT_STATUS, "OK") || refused(c, r);
    good = good && run_it(d, c) && fail_it(d, c) && look(d, c);
    client_free(c);
    return good;
}
