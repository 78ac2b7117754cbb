/* What the parts of the transactions' explorer share: the world (explorer.c), a group in it
 * (explorer_group.c), and the search (explorer_search.c). */
#ifndef SYNOD_TEST_TXN_EXPLORER_H
#define SYNOD_TEST_TXN_EXPLORER_H

#include "base/buf.h"
#include "redis/txn.h"
#include "txn/txn.h"

enum { GROUPS = 3, TXNS = 3, ASKS = 36, PENDING = 10, CELLS = 1 + TXNS };

/* Bytes are kept once, and named by a number; 0: none. */
uint16_t pool_id(struct bytes s);
struct bytes pool_bytes(uint16_t id);

/* A session: does a token name the open owner that is there? Nobody ever gets a token that another
 * had (G1), so one that names none now never will. */
enum { SESSION_NONE, SESSION_LIVE, SESSION_STALE };

enum ask_kind {
    LOCK,
    HOLDS,
    APPLY,
    PREPARE,
    DECIDE,
    FINISH,
    FORGET,
    PREPARED,
    RESOLVE,
    APPEND,
    GET,
    ASK_KINDS
};
enum ask_stage { NOWHERE, SENT, WAITING, HELD, ANSWERED };
enum ask_reply {
    R_NONE,
    R_OK,
    R_TRUE,
    R_FALSE,
    R_TWO,
    R_NONE_KNOWN,
    R_TXNLOST,
    R_ERROR,
    R_FAILED,
    R_UNKNOWN
};
enum {
    BY_NOBODY,
    BY_REQUEST,
    BY_ASKER
}; /* who hears the answer. BY_REQUEST: it is only sent again
      where it was not done, and a late lock is let go of */

struct xask {
    uint8_t stage, kind, txn, group;
    uint8_t from; /* 0: the coordinator; g + 1: an errand of group g */
    uint8_t heard, commit, exclusive;
    uint8_t session; /* that it is sent with */
    uint8_t got;     /* LOCK, once evaluated: the session that it has */
    uint8_t place;   /* HELD: how many of the pending entries it saw */
    uint8_t reply;
    uint16_t data; /* PREPARE: the record. APPLY: effects. LOCK, once evaluated: the key's value */
};

struct xentry { /* of a log, not yet chosen */
    uint8_t txn, what;
    uint8_t count, cell[2], unused;
    uint16_t value[2];
};
enum { E_OTHER, E_APPLIES, E_LETS_GO };

struct xowner {
    uint8_t state, exclusive; /* state: of enum lock_state, + 1. 0: there is none */
    uint8_t sees, unused;     /* how many of the pending entries */
    uint16_t record;
};

struct xgroup {
    uint16_t cell[CELLS]; /* chosen: the key's meta row, then the transactions' records */
    uint8_t pending, unused;
    struct xentry log[PENDING];
    struct xowner owner[TXNS]; /* the leader's table */
};

struct xcoordinator {
    uint8_t begun, dead, phase, answered, in_doubt, commits, anchor, open;
    uint8_t upgraded; /* the parts that are locked exclusively after all */
    uint8_t told;     /* the outcome + 1 */
    uint8_t before;   /* who was told "committed" before it began */
    uint8_t parts; /* that it has so far; no byte is without a name: worlds are compared as bytes */
    struct {
        uint8_t writes, open, asked, commit, again, session, prepared, lost;
        uint16_t read; /* the key's value */
    } part[GROUPS];
};

enum {
    ERRAND_NONE,
    ERRAND_GATHER,
    ERRAND_RESOLVE,
    ERRAND_DECIDE,
    ERRAND_FINISH,
    ERRAND_SWEEP,
    ERRAND_TELL,
    ERRAND_FORGET
};
struct xerrand {
    uint8_t phase, open, failed, anchor;
};

enum { FATE_NONE, FATE_APPLIED, FATE_LET_GO };

struct world {
    struct xgroup group[GROUPS];
    struct xcoordinator txn[TXNS];
    struct xerrand errand[GROUPS][TXNS];
    struct xask ask[ASKS]; /* sorted: a multiset */
    uint8_t asks;
    uint8_t crashes, changes, losses, failures, impatience, recoveries; /* used so far */
    uint8_t fate[GROUPS][TXNS]; /* history: of what is chosen */
    uint64_t unused;
};

/* How much may happen. */
struct bounds {
    uint32_t groups, txns, crashes, changes, losses, failures, impatience;
    uint32_t recoveries;           /* of a transaction whose coordinator is still at it */
    bool open;                     /* they get their parts one by one, as after BEGIN */
    bool retries;                  /* the last transaction is another try of the first */
    char access[TXNS][GROUPS + 1]; /* of each group's key: w(rite), r(ead), u(pgrade), . (none).
                                    a, g: it is a command of this group alone, APPEND or GET */
};

enum {
    A_BEGIN,
    A_DELIVER,
    A_ANSWER,
    A_CHOOSE,
    A_CHANGE,
    A_CRASH,
    A_LOSE,
    A_FAIL,
    A_AGAIN,
    A_GIVE_UP,
    A_RECOVER,
    A_SLOW
};
struct action {
    uint8_t type, a, b;
};

extern struct bounds bound;
extern struct world *w;       /* the world at work */
extern const char *violation; /* the first one, or NULL */
extern bool narrate;          /* print what happens */

void violate(const char *what);
struct txn_id id_of_txn(uint32_t t);
uint64_t start_of_txn(uint32_t t);
static inline char access_of(uint32_t t, uint32_t g)
{
    return bound.access[t][g];
}
static inline uint8_t letter_of(uint32_t t)
{
    return (uint8_t)('A' + t);
}

/* ---- a group ---- */

void groups_init(void); /* keys and their rows' names, within the bounds */
struct bytes group_key(uint32_t g);
struct bytes group_meta(uint32_t g); /* the key's row */
void group_items(uint32_t g, bool exclusive, struct buf *out);
/* Evaluates what was asked there, or has it wait. */
void group_deliver(struct xask *a);
void group_choose(uint32_t g, uint32_t count); /* the first ones that are pending */
void group_change(uint32_t g, uint32_t keep);  /* another leader */
void group_drop_open(uint32_t g, uint32_t t);
void group_session_lost(uint32_t g, uint32_t t); /* explorer.c: whoever names it names nobody now */
void group_chosen(uint32_t g, const struct xentry *e); /* explorer.c */

/* ---- the world ---- */

uint32_t groups_with(uint32_t t, uint8_t fate); /* in how many it has this fate */
uint32_t writers(uint32_t t);                   /* in how many it writes */
bool exclusive(uint32_t t, uint32_t g);         /* it writes there (u: as things are) */

void genesis(void);
uint32_t actions(struct action *out); /* all that may happen next: room for 4 * ASKS + 64 */
void act(struct action a);
void check_quiet(
    void); /* where nothing is under way: recovers all, on a copy, and looks at the end */
bool is_committed(uint32_t t);
bool is_clean(void); /* nothing is left to do */

#endif
