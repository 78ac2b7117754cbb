/* The end of a path, in the explorer of transactions: where nothing is under way, recovery is
 * brought to its end, and what is there must be what some order of the committed ones makes
 * (explorer.c). */
#include "explorer.h"

#include <stdio.h>

bool is_committed(uint32_t t)
{
    return writers(t) ? groups_with(t, FATE_APPLIED) > 0 : w->txn[t].told == TXN_COMMITTED + 1;
}

/* Letters that were appended to a group's key. */
static struct bytes letters(uint16_t value)
{
    struct bytes b = pool_bytes(value);
    return b.size ? bytes_of(b.data + 2, b.size - 2) : b;
}

struct serial {
    struct buf value[GROUPS];
    uint8_t done;
};

static bool serial_from(struct serial *s, uint8_t all);

static bool serial_with(struct serial *s, uint32_t t, uint8_t all)
{
    const struct xcoordinator *c = &w->txn[t];
    if (c->before & all & ~s->done) return false;
    for (uint32_t g = 0; g < bound.groups; g++)
        if (access_of(t, g) != '.' && access_of(t, g) != 'a' &&
            !bytes_equal(letters(c->part[g].read), buf_bytes(&s->value[g])))
            return false;
    for (uint32_t g = 0; g < bound.groups; g++)
        if (exclusive(t, g)) buf_u8(&s->value[g], letter_of(t));
    s->done |= (uint8_t)(1 << t);
    bool good = serial_from(s, all);
    s->done &= (uint8_t) ~(1 << t);
    for (uint32_t g = 0; g < bound.groups; g++) s->value[g].size -= exclusive(t, g);
    return good;
}

static bool serial_from(struct serial *s, uint8_t all)
{
    bool good = false;
    if (s->done == all) {
        for (uint32_t g = 0; g < bound.groups; g++)
            if (!bytes_equal(letters(w->group[g].cell[0]), buf_bytes(&s->value[g]))) return false;
        return true;
    }
    for (uint32_t t = 0; t < bound.txns && !good; t++)
        if (all >> t & 1 && !(s->done >> t & 1)) good = serial_with(s, t, all);
    return good;
}

static void check_end(void)
{
    struct serial s = {0};
    uint8_t all = 0;
    for (uint32_t t = 0; t < bound.txns; t++) {
        uint32_t applied = groups_with(t, FATE_APPLIED);
        if (applied && applied != writers(t)) violate("a part of a transaction is applied");
        if (w->txn[t].told == TXN_COMMITTED + 1 && !is_committed(t))
            violate("who was told \"committed\" is not");
        all |= (uint8_t)(is_committed(t) << t);
    }
    if (bound.retries && is_committed(0) && is_committed(bound.txns - 1))
        violate("two tries of one transaction are committed");
    if (!serial_from(&s, all)) violate("no order of the committed ones explains what is there");
    for (uint32_t g = 0; g < bound.groups; g++) buf_deinit(&s.value[g]);
}

bool is_clean(void)
{
    bool clean = !w->asks;
    for (uint32_t g = 0; g < bound.groups; g++) {
        clean &= !w->group[g].pending;
        for (uint32_t t = 0; t < bound.txns; t++)
            clean &= !w->group[g].owner[t].state && !w->group[g].cell[1 + t];
    }
    for (uint32_t t = 0; t < bound.txns; t++)
        clean &= !w->txn[t].begun || w->txn[t].phase == TXN_OVER;
    return clean;
}

static bool is_quiet(void)
{
    bool quiet = !w->asks;
    for (uint32_t g = 0; g < bound.groups; g++) quiet &= !w->group[g].pending;
    for (uint32_t t = 0; t < bound.txns; t++)
        quiet &= !w->txn[t].begun || w->txn[t].phase == TXN_OVER;
    return quiet;
}

/* With no more mishaps. */
static bool recover_once(void)
{
    struct action list[4 * ASKS + 64];
    uint32_t n = actions(list);
    for (uint32_t i = 0; i < n; i++) {
        if (list[i].type == A_BEGIN) continue;
        if (list[i].type >= A_CHANGE && list[i].type <= A_FAIL) continue;
        act(list[i]);
        return true;
    }
    return false;
}

void check_quiet(void)
{
    static struct world kept;
    if (!is_quiet()) return;
    kept = *w;
    bool open = false;
    for (int i = 0; i < 200 && !violation && !is_clean(); i++) open = !recover_once();
    if (!violation && (open || !is_clean())) violate("recovery leaves something behind");
    if (!violation) check_end();
    if (violation && narrate) printf("  (after recovery)\n");
    *w = kept;
}
