/* Who the members are, whose votes count, and the switch from one configuration to the next.
 *
 * A CONFIG entry at position i is chosen by the members before it; the configuration it carries is
 * in force above i, at once and whole (docs/PAXOS.md, P13 to P19; Lamport, Malkhi and Zhou,
 * "Reconfiguring a State Machine", 2010, with a window of one: nothing is proposed above an
 * unchosen one). What a machine calls its configuration is the one in force above its watermark, or
 * a younger one that it was born with.
 *
 * The value of a CONFIG entry, integers little-endian:
 *
 *   u8 version (1) | u8 count | u16 next_replica | count times: u16 replica | u16 node | u8 role
 *
 * Valid: 1 to PAXOS_MEMBERS_MAX members, replicas and nodes distinct and not 0, replicas below
 * next_replica, roles known, a voter among them, nothing left over. */
#include "paxos/internal.h"

#include <string.h>

enum { CONFIG_HEAD = 4, CONFIG_MEMBER = 5 };

static uint16_t get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | (unsigned)p[1] << 8);
}

static bool config_sound(const struct paxos_config *c)
{
    bool voter = false;
    for (int i = 0; i < c->count; i++) {
        const struct paxos_member *m = &c->member[i];
        if (m->replica == 0 || m->replica >= c->next_replica || m->node == 0) return false;
        if (m->role > PAXOS_WITNESS) return false;
        voter |= m->role == PAXOS_VOTER;
        for (int k = 0; k < i; k++)
            if (c->member[k].replica == m->replica || c->member[k].node == m->node) return false;
    }
    return voter;
}

bool paxos_config_decode(struct bytes in, struct paxos_config *out)
{
    if (in.size < CONFIG_HEAD || in.data[0] != PAXOS_CONFIG_VERSION) return false;
    struct paxos_config c = {.count = in.data[1], .next_replica = get_u16(in.data + 2)};
    if (c.count > PAXOS_MEMBERS_MAX) return false;
    if (in.size != CONFIG_HEAD + (size_t)CONFIG_MEMBER * c.count) return false;
    for (int i = 0; i < c.count; i++) {
        const uint8_t *p = in.data + CONFIG_HEAD + CONFIG_MEMBER * i;
        c.member[i] = (struct paxos_member){get_u16(p), get_u16(p + 2), p[4]};
    }
    if (!config_sound(&c)) return false;
    *out = c;
    return true;
}

/* The configuration that a CONFIG entry carries; false: none that could be in force. */
bool config_read(const struct paxos *px, const struct paxos_entry *e, struct paxos_config *out)
{
    ASSERT(e->kind == PAXOS_CONFIG);
    return px->opt.value_of && paxos_config_decode(px->opt.value_of(e->value), out);
}

/* ---- members ---- */

static int index_of(const struct paxos_config *c, uint16_t replica)
{
    for (int i = 0; replica && i < c->count; i++)
        if (c->member[i].replica == replica) return i;
    return -1;
}

int paxos_member_of(const struct paxos *px, uint16_t replica)
{
    return index_of(&px->opt.config, replica);
}

uint16_t paxos_node_of(const struct paxos *px, uint16_t replica)
{
    int i = paxos_member_of(px, replica);
    return i < 0 ? 0 : px->opt.config.member[i].node;
}

/* The node whose lease a promise to `replica` may have to respect. One that is no voter of my
 * configuration has none: if it led, it stepped down before that configuration was known to be
 * chosen; if it leads under a younger one, I claimed no support for it (P17). */
uint16_t paxos_holder(const struct paxos *px, uint16_t replica)
{
    int i = paxos_member_of(px, replica);
    if (i < 0 || px->opt.config.member[i].role != PAXOS_VOTER) return 0;
    return px->opt.config.member[i].node;
}

/* My lease mark towards a replica's node. Where a grant would not be kept, none is claimed: 0 is
 * nobody's mark (P17). */
uint64_t paxos_mark_for(const struct paxos *px, uint16_t replica)
{
    uint16_t node = paxos_holder(px, replica);
    return node || MUTANT(MUTANT_STRANGER_MARK) ? lease_mark(px->opt.leases, node) : 0;
}

bool paxos_is_voter(const struct paxos *px)
{
    return px->self >= 0 && px->opt.config.member[px->self].role == PAXOS_VOTER;
}

static bool votes(const struct paxos_member *m)
{
    return m->role != PAXOS_LEARNER || MUTANT(MUTANT_LEARNER_VOTES);
}

/* Does member i's vote count? */
bool paxos_votes(const struct paxos *px, int i)
{
    return votes(&px->opt.config.member[i]);
}

static uint32_t majority(const struct paxos_config *c)
{
    uint32_t voting = 0;
    for (int i = 0; i < c->count; i++) voting += c->member[i].role != PAXOS_LEARNER;
    return voting / 2 + 1;
}

/* The two quorums need only meet each other (Howard, Malkhi and Spiegelman, "Flexible Paxos",
 * 2016); both are majorities here, and kept apart so that a configuration may come to say
 * otherwise. */
uint32_t paxos_quorum_prepare(const struct paxos_config *c)
{
    return majority(c);
}

uint32_t paxos_quorum_accept(const struct paxos_config *c)
{
    uint32_t quorum = majority(c);
    return MUTANT(MUTANT_MAJORITY_MINUS_ONE) && quorum > 1 ? quorum - 1 : quorum;
}

uint32_t paxos_count(const struct paxos *px, uint8_t members)
{
    uint32_t count = 0;
    for (int i = 0; i < px->opt.config.count; i++) count += members >> i & 1 && paxos_votes(px, i);
    return count;
}

uint64_t paxos_reached(const struct paxos_config *c, const uint64_t *value, uint32_t quorum)
{
    uint64_t best = 0;
    for (int i = 0; i < c->count; i++) {
        uint32_t reach = 0;
        for (int k = 0; k < c->count; k++) reach += votes(&c->member[k]) && value[k] >= value[i];
        if (reach >= quorum && value[i] > best) best = value[i];
    }
    return best;
}

/* Is mine the only vote? */
bool paxos_alone(const struct paxos *px)
{
    if (!paxos_is_voter(px)) return false;
    for (int i = 0; i < px->opt.config.count; i++)
        if (i != px->self && paxos_votes(px, i)) return false;
    return true;
}

/* May ever ask for votes, as things stand (P16, P19). */
bool paxos_may_campaign(const struct paxos *px)
{
    return paxos_is_voter(px) && !px->installing;
}

/* Knows all that is chosen under configurations before its own: it may lead under that one only if
 * it has nothing to propose below it (P13). */
bool paxos_may_lead(const struct paxos *px)
{
    return paxos_may_campaign(px) && px->chosen >= px->opt.config_id.position;
}

/* ---- the switch ---- */

/* Would `e`, chosen at its position, follow the configuration in force? */
bool config_follows(const struct paxos *px, const struct paxos_entry *e)
{
    const struct paxos_id *id = &px->opt.config_id;
    if (e->kind != PAXOS_CONFIG || e->position <= id->position) return false;
    if (MUTANT(MUTANT_CONFIG_BASE_IGNORED)) return true;
    return e->base.position == id->position && e->base.born == id->born;
}

/* What the leader knows of a member stays with its replica id; of a new one it knows nothing, its
 * lease mark least of all (P17). */
static void peers_remap(struct turn *t, const struct paxos_config *from)
{
    struct paxos *px = t->px;
    uint64_t wait = px->opt.election_timeout_ns / 8;
    struct paxos_peer old[PAXOS_MEMBERS_MAX];
    memcpy(old, px->peer, sizeof old);
    if (MUTANT(MUTANT_PEERS_BY_INDEX)) return;
    for (int i = 0; i < px->opt.config.count; i++) {
        int k = index_of(from, px->opt.config.member[i].replica);
        px->peer[i] = k >= 0 ? old[k]
                             : (struct paxos_peer){.next = px->chosen + 1,
                                                   .live = true,
                                                   .resend_wait = wait,
                                                   .resend_at = t->now + wait};
    }
}

/* Those who leave hear of it once from the leader; nobody will speak to them again. */
static void tell_leavers(struct turn *t, const struct paxos_config *from)
{
    struct paxos *px = t->px;
    for (int i = 0; i < from->count; i++)
        if (from->member[i].replica != px->opt.replica &&
            paxos_member_of(px, from->member[i].replica) < 0)
            turn_send(t, from->member[i].replica, 0,
                      (struct paxos_message){
                          .type = PAXOS_COMMIT, .ballot = px->ballot, .chosen = px->chosen});
}

/* From here on `next`, set by entry `id`, is the configuration. What follows from it for the role
 * is for config_settle, or leader_advance, to say. */
void config_switch(struct turn *t, const struct paxos_config *next, struct paxos_id id)
{
    struct paxos *px = t->px;
    ASSERT(id.position > px->opt.config_id.position);

    struct paxos_config from = px->opt.config;
    px->opt.config = *next;
    px->opt.config_id = id;
    px->self = (int8_t)paxos_member_of(px, px->opt.replica);
    px->votes = px->confirms = 0;
    px->switched = true;
    px->remind_at = 0;
    px->remind_wait = paxos_is_voter(px) ? 0 : px->opt.election_timeout_ns / 4;
    peers_remap(t, &from);
    if (px->role == PAXOS_LEADER) tell_leavers(t, &from);
}

/* After a step in which the configuration changed under a replica that does not lead. */
void config_settle(struct turn *t)
{
    struct paxos *px = t->px;
    if (!px->switched) return;
    ASSERT(px->role != PAXOS_LEADER);

    px->switched = false;
    if (px->role != PAXOS_FOLLOWER) election_step_down(t, px->role == PAXOS_CANDIDATE);
    bool leads = paxos_holder(px, px->leader) != 0;
    /* A leader that I do not know, while I know that I lack something, may be of a configuration
     * still to come. */
    if (!leads && (px->leader == 0 || px->heard <= px->chosen)) election_restart(t);
    if (px->remind_wait) config_remind(t, px->remind_wait);
}

/* ---- reminding (P18) ---- */

void config_remind(struct turn *t, uint64_t wait)
{
    t->px->remind_wait = wait;
    t->px->remind_at = t->now + wait;
}

/* A word from one who can campaign in the configuration, and has what it takes: no reminder needed.
 * A member hears of it when somebody leads; until then the one that asked may yet be lost. */
void config_heard(struct turn *t, const struct paxos_message *m)
{
    struct paxos *px = t->px;
    int i = paxos_member_of(px, m->from);
    if (i < 0 || px->opt.config.member[i].role != PAXOS_VOTER ||
        m->config < px->opt.config_id.position || m->chosen < px->opt.config_id.position)
        return;
    if (px->leader || px->self < 0)
        px->remind_at = px->remind_wait = 0;
    else
        config_remind(t, 4 * px->opt.election_timeout_ns);
}

/* The new voters may not know that they are: whoever chose the entry that says so may have told
 * nobody else and stopped. So those that know, and cannot lead themselves, remind them, ever less
 * often, until one shows that it knows. Where somebody leads that is at once. */
void config_tick(struct turn *t)
{
    struct paxos *px = t->px;
    if (!px->remind_at || t->now < px->remind_at) return;

    uint64_t timeout = px->opt.election_timeout_ns;
    config_remind(t, px->remind_wait < 4 * timeout ? 2 * px->remind_wait : px->remind_wait);
    for (int i = 0; i < px->opt.config.count; i++) {
        const struct paxos_member *m = &px->opt.config.member[i];
        if (i == px->self || m->role != PAXOS_VOTER) continue;
        if (lease_suspects(px->opt.leases, m->node, timeout, px->leader_since, t->now)) continue;
        turn_send(t, m->replica, 0,
                  (struct paxos_message){
                      .type = PAXOS_LEARN, .position = px->chosen, .chosen = px->chosen});
    }
}
