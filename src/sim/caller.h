/* Callers: plain Redis clients on the clients' host, one connection each, to any node, that ask one
 * thing at a time: a command, or a transaction from MULTI to EXEC or from BEGIN to COMMIT. What
 * they ask, and what they make of the answers, is their owner's. */
#ifndef SYNOD_SIM_CALLER_H
#define SYNOD_SIM_CALLER_H

#include "base/buf.h"
#include "base/io.h"
#include "base/prng.h"
#include "sim/members.h"

#define CALLERS_MAX         5
#define CALLER_COMMANDS_MAX 24 /* MULTI, ..., EXEC */
#define CALLER_KEY_MAX      24

enum caller_outcome {
    CALLER_DONE,
    CALLER_REFUSED, /* nothing of it was done, or ever will be */
    CALLER_UNKNOWN, /* no answer, or one that does not tell */
};

struct callers;

struct caller {
    struct callers *all;
    uint32_t id, node;
    struct io_conn *conn;
    bool open;
    bool leaves;       /* this node is of no use: another one is asked */
    uint64_t next_at;  /* when to ask again, or to connect */
    uint64_t asked_at; /* something that is not answered yet */
    const char *asks;  /* what; NULL: nothing */
    struct buf text;
    size_t end[CALLER_COMMANDS_MAX]; /* of each command, in `text` */
    uint32_t commands, sent, answered;
    bool step_by_step; /* each command is sent when the one before is answered */
    bool opened;       /* from BEGIN to COMMIT: each is answered, in `replies` */
    struct buf replies;
    char refusal[80]; /* of what is asked: the first */
    char said[80];    /* the last refusal */
};

struct caller_owner {
    const char *name; /* of a caller: "teller" */
    uint64_t note;    /* the kind of the notes in the run's hash */
    /* Something new is to be asked: caller_begin, then caller_put. False: nothing. */
    bool (*ask)(void *ctx, struct caller *c);
    /* It ended so. DONE: `whole` is the last command's reply, and no error; or an array of the
     * replies between BEGIN and COMMIT. */
    void (*ended)(void *ctx, struct caller *c, enum caller_outcome how, struct bytes whole);
    /* Is this error, which is no refusal, an answer as good as another (DONE)? NULL: none is. */
    bool (*takes)(void *ctx, const struct caller *c, struct bytes text);
};

struct callers {
    struct sim *s;
    const struct caller_owner *owner;
    void *ctx;
    struct io *io;
    struct io_client others; /* whose turns go on beside theirs */
    struct prng random;
    uint64_t think_ns, timeout_ns;
    uint32_t step_ppm; /* how often step_by_step */
    struct caller caller[CALLERS_MAX];
    uint32_t count;
};

/* `all` has its owner, ctx, random and count, and is not moved afterwards. Draws how they behave.
 * After workload_new, which boots the host. */
void callers_start(struct callers *all, struct sim *s);
void callers_deinit(struct callers *all);    /* after workload_free */
void callers_wait_long(struct callers *all); /* from now on they wait for what they are told */
uint64_t callers_draw(struct callers *all, uint64_t min, uint64_t max);

void caller_begin(struct caller *c, const char *asks);
/* The same for what BEGIN and COMMIT enclose. If it is refused, the caller hangs up. */
void caller_begin_open(struct caller *c, const char *asks);
/* A command of up to three words, NULL where there are fewer. */
void caller_put(struct caller *c, const char *name, const char *key, const char *value);
/* A command word by word: the head says how many; the last word ends it. */
void caller_put_head(struct caller *c, uint32_t words);
void caller_put_word(struct caller *c, const char *word);
void caller_put_end(struct caller *c);
/* No client would understand the reply. */
void caller_strange(struct caller *c, struct bytes whole);

/* The first key "prefix:number" in the part-th of `parts` ranges of slots, so that keys of one kind
 * are of as many groups as may be. */
void caller_key(char key[CALLER_KEY_MAX], const char *prefix, uint32_t part, uint32_t parts);

#endif
